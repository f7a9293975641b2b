/* Runs seeds and adds up.
 *
 *     sim [--seed N]     the first seed (default 1)
 *         [--seeds N]    that many, one after the other (default 1)
 *         [--hours H]    as many as it takes for so many simulated hours
 *         [--until N]    stop before event N
 *         [--trace]      print every event
 *         [--quick]      short runs of one to three minutes
 *         [--twice]      each seed twice, and compare the trace hashes
 *         [--hashes]     print each seed's trace hash
 *         [--golden F]   run the seeds of a file of such hashes, and compare
 *         [--tap]        say the result in TAP
 *         [--limit S]    begin no new seed after S seconds of CPU time */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct arguments {
    uint64_t seed, seeds, until;
    double hours, limit_s;
    bool trace, quick, twice, hashes, tap;
    const char *golden;
};

static void usage(void)
{
    (void)fprintf(stderr, "usage: sim [--seed N] [--seeds N] [--hours H] [--until N] [--trace] "
                          "[--quick] [--twice] [--hashes] [--golden FILE] [--tap] "
                          "[--limit SECONDS]\n");
    exit(2);
}

static bool takes_value(const char *word)
{
    static const char *const words[] = {"--seed",  "--seeds", "--hours",
                                        "--until", "--limit", "--golden"};
    for (size_t i = 0; i < STELE_COUNT_OF(words); i++) {
        if (strcmp(word, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void set_value(struct arguments *arguments, const char *word, const char *value)
{
    if (strcmp(word, "--golden") == 0) {
        arguments->golden = value;
        return;
    }
    char *end = NULL;
    const double number = strtod(value, &end);
    if (end == value || *end != '\0' || number < 0) {
        usage();
    }
    const uint64_t whole = strtoull(value, NULL, 10);
    if (strcmp(word, "--seed") == 0) {
        arguments->seed = whole;
    } else if (strcmp(word, "--seeds") == 0) {
        arguments->seeds = whole;
    } else if (strcmp(word, "--until") == 0) {
        arguments->until = whole;
    } else if (strcmp(word, "--limit") == 0) {
        arguments->limit_s = number;
    } else {
        arguments->hours = number;
    }
}

static void set_flag(struct arguments *arguments, const char *word)
{
    if (strcmp(word, "--trace") == 0) {
        arguments->trace = true;
    } else if (strcmp(word, "--quick") == 0) {
        arguments->quick = true;
    } else if (strcmp(word, "--twice") == 0) {
        arguments->twice = true;
    } else if (strcmp(word, "--hashes") == 0) {
        arguments->hashes = true;
    } else if (strcmp(word, "--tap") == 0) {
        arguments->tap = true;
    } else {
        usage();
    }
}

static void parse(int argc, char **argv, struct arguments *arguments)
{
    *arguments = (struct arguments){.seed = 1, .seeds = 1};
    for (int i = 1; i < argc; i++) {
        if (takes_value(argv[i])) {
            if (i + 1 == argc) {
                usage();
            }
            set_value(arguments, argv[i], argv[i + 1]);
            i++;
        } else {
            set_flag(arguments, argv[i]);
        }
    }
}

static double cpu_s(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void print_totals(const struct sim_stats *s, uint64_t seeds, const char *prefix)
{
#define N(member) ((unsigned long long)s->member)
    printf("%s%llu seeds, %.1f simulated hours, %llu events, %.1f s of CPU time\n", prefix,
           (unsigned long long)seeds, (double)s->simulated_us / 1e6 / 3600, N(events), cpu_s());
    printf("%scrashes %llu (inside a call %llu), orderly ends %llu, power cuts %llu, kills %llu; "
           "openings %llu, failed %llu (%llu of them died), read-only %llu\n",
           prefix, N(crashes), N(in_call), N(clean), N(power_cuts), N(kills), N(opens),
           N(opens_failed), N(in_open), N(read_only));
    printf("%sappends %llu (repeated %llu) of %llu events, refused %llu, errors %llu, unknown %llu "
           "(%llu events were there), fenced %llu\n",
           prefix, N(appends), N(idempotent), N(appended_events), N(refused), N(errors), N(unknown),
           N(unknown_there), N(fenced));
    printf("%sreads %llu of %llu events, subscriptions' events %llu, follower %llu, damaged reads "
           "%llu, heavy checks %llu\n",
           prefix, N(reads), N(read_events), N(subscription_events), N(follows), N(corrupt_reads),
           N(checks));
    printf(
        "%sgroups %llu, segments %llu, spares %llu, flushes %llu, merges %llu, fills %llu, packs "
        "%llu, scrubs %llu, marks %llu, scavenges %llu (segments %llu), verifies %llu, digests "
        "%llu\n",
        prefix, N(groups), N(rolls), N(works[STELE_WORK_SPARE]), N(works[STELE_WORK_FLUSH]),
        N(works[STELE_WORK_MERGE]), N(works[STELE_WORK_FILL]), N(works[STELE_WORK_PACK]),
        N(works[STELE_WORK_SCRUB]), N(works[STELE_WORK_MARK]), N(scavenges), N(packed), N(verifies),
        N(digests));
    printf("%sfaults: disk errors %llu, no space %llu, sectors lost %llu, torn %llu, names lost "
           "%llu, rotten %llu, runs lost %llu, no memory %llu, clock %llu; disk calls %llu\n",
           prefix, N(disk_errors), N(disk_no_space), N(sectors_lost), N(sectors_torn),
           N(names_lost), N(rotten), N(runs_lost), N(alloc_failures), N(clock_jumps),
           N(disk_calls));
#undef N
    if (sim_guest.print_totals != NULL) {
        sim_guest.print_totals(s->guest, prefix);
    }
}

/* Every build, by whatever compiler with whatever checks, has to go through the same events. */
static int compare_golden(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        perror(path);
        return EXIT_FAILURE;
    }
    struct sim_stats totals = {.events = 0};
    uint64_t done = 0;
    char line[128];
    while (fgets(line, sizeof line, file) != NULL) {
        const bool quick = strncmp(line, "quick ", 6) == 0;
        char *end = NULL;
        if (!quick && strncmp(line, "long ", 5) != 0) {
            continue;
        }
        const uint64_t seed = strtoull(line + (quick ? 6 : 5), &end, 10);
        const uint64_t want = strtoull(end, NULL, 16);
        const uint64_t got = sim_run(seed, false, quick, 0, &totals);
        if (got != want) {
            printf("FAILED: the trace of seed %llu%s has the hash %016llx instead of %016llx. If "
                   "what happens was changed on purpose, renew %s: its first lines say how\n",
                   (unsigned long long)seed, quick ? " --quick" : "", (unsigned long long)got,
                   (unsigned long long)want, path);
            (void)fclose(file);
            return EXIT_FAILURE;
        }
        done++;
    }
    (void)fclose(file);
    printf("1..1\n");
    print_totals(&totals, done, "# ");
    printf("ok 1 - every build goes through the same events\n");
    return done > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    parse(argc, argv, &arguments);
    if (arguments.golden != NULL) {
        return compare_golden(arguments.golden);
    }
    struct sim_stats totals = {.events = 0};
    uint64_t done = 0;
    bool more = true;
    while (more) {
        const uint64_t seed = arguments.seed + done;
        const uint64_t hash =
            sim_run(seed, arguments.trace, arguments.quick, arguments.until, &totals);
        if (arguments.twice &&
            hash != sim_run(seed, arguments.trace, arguments.quick, arguments.until, &totals)) {
            printf("FAILED: seed %llu does not do the same twice\n", (unsigned long long)seed);
            return EXIT_FAILURE;
        }
        if (arguments.hashes) {
            printf("%s %llu %016llx\n", arguments.quick ? "quick" : "long",
                   (unsigned long long)seed, (unsigned long long)hash);
            (void)fflush(stdout);
        }
        done++;
        more = arguments.hours > 0 ? (double)totals.simulated_us / 1e6 / 3600 < arguments.hours
                                   : done < arguments.seeds;
        more = more && (arguments.limit_s <= 0 || cpu_s() < arguments.limit_s);
    }
    if (arguments.tap) {
        printf("1..1\n");
        print_totals(&totals, done, "# ");
        printf("ok 1 - %s\n", arguments.twice ? "a seed does the same every time"
                                              : "no history breaks a promise, whatever fails");
    } else {
        print_totals(&totals, done, "");
    }
    return EXIT_SUCCESS;
}
