/* Runs seeds and adds up. The arguments are those of ../main.c, as far as they make sense:
 * --seed N, --seeds N, --hours H, --until N, --trace, --quick, --twice, --hashes, --known F, --tap,
 * --limit S, --hours-long (lives of hours), --whole (no disk is lost, copied or damaged), --still (everybody votes, always, as with --known). --known: the seeds of a file, one a line, each once broke something. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct arguments {
    uint64_t seed, seeds;
    double hours, limit_s;
    struct run run;
    bool twice, hashes, tap;
    const char *known;
};

static void usage(void)
{
    (void)fprintf(stderr, "usage: sim-cluster [--seed N] [--seeds N] [--hours H] [--until N] "
                          "[--trace] [--quick | --hours-long] [--twice] [--hashes] [--known FILE] "
                          "[--tap] [--still] [--whole] "
                          "[--limit SECONDS]\n");
    exit(2);
}

static bool set_flag(struct arguments *a, const char *word)
{
    const struct {
        const char *word;
        bool *flag;
    } flags[] = {{"--trace", &a->run.tracing},    {"--quick", &a->run.quick},
                 {"--hours-long", &a->run.hours}, {"--still", &a->run.still},
                 {"--whole", &a->run.whole},      {"--twice", &a->twice},
                 {"--hashes", &a->hashes},        {"--tap", &a->tap}};
    for (size_t i = 0; i < STELE_COUNT_OF(flags); i++) {
        if (strcmp(word, flags[i].word) == 0) {
            *flags[i].flag = true;
            return true;
        }
    }
    return false;
}

static void set_value(struct arguments *a, const char *word, const char *value)
{
    const struct {
        const char *word;
        uint64_t *whole;
        double *number;
    } values[] = {{"--seed", &a->seed, NULL},
                  {"--seeds", &a->seeds, NULL},
                  {"--until", &a->run.until, NULL},
                  {"--hours", NULL, &a->hours},
                  {"--limit", NULL, &a->limit_s}};
    for (size_t i = 0; i < STELE_COUNT_OF(values); i++) {
        if (strcmp(word, values[i].word) == 0) {
            if (values[i].whole != NULL) {
                *values[i].whole = strtoull(value, NULL, 10);
            } else {
                *values[i].number = strtod(value, NULL);
            }
            return;
        }
    }
    usage();
}

static void parse(int argc, char **argv, struct arguments *a)
{
    *a = (struct arguments){.seed = 1, .seeds = 1};
    for (int i = 1; i < argc; i++) {
        if (set_flag(a, argv[i])) {
            continue;
        }
        if (i + 1 == argc) {
            usage();
        }
        if (strcmp(argv[i], "--known") == 0) {
            a->known = argv[i + 1];
        } else {
            set_value(a, argv[i], argv[i + 1]);
        }
        i++;
    }
}

static double cpu_s(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void print_totals(const struct stats *s, uint64_t seeds, const char *prefix)
{
#define N(member) ((unsigned long long)s->member)
    printf("%s%llu seeds, %.2f simulated hours, %llu events, %.1f s of CPU time\n", prefix,
           (unsigned long long)seeds, (double)s->simulated_us / 1e6 / 3600, N(events), cpu_s());
    const uint64_t faults = s->crashes + s->pauses + s->clocks + s->stalls + s->full +
                            s->partitions + s->breaks + s->moves + s->replaced + s->rolled_back +
                            s->damaged;
    printf("%s%llu faults and changes of members, %.1f an hour; %llu bursts\n", prefix,
           (unsigned long long)faults, (double)faults / ((double)s->simulated_us / 1e6 / 3600),
           N(bursts));
    printf("%srequests %llu in %llu attempts: appended %llu, refused %llu, found again %llu (%llu "
           "before anything was proposed), stale %llu; unknown %llu, not taken %llu\n",
           prefix, N(operations), N(attempts), N(appended), N(refused), N(repeated), N(look_backs),
           N(stale), N(unknown), N(overloaded));
    printf("%scommands %llu, executed %llu times; fetches %llu of %llu appends; reads %llu\n",
           prefix, N(executed_first), N(executed), N(fetches), N(fetched), N(reads));
    printf("%sdisks lost %llu, of an earlier time %llu (started again %llu times, greetings "
           "refused %llu), damaged %llu "
           "(noticed %llu); "
           "chunks damaged %llu; of the table: asked %llu, applied %llu; windows compared %llu\n",
           prefix, N(replaced), N(rolled_back), N(copy_starts), N(refused_hellos), N(damaged),
           N(damage_found), N(damaged_chunks), N(meta_proposed), N(meta_applied), N(compared));
    printf("%scrashes %llu (power cuts %llu), of all at once %llu; failed openings %llu; pauses "
           "%llu, clocks %llu, stalls %llu, full disks %llu\n",
           prefix, N(crashes), N(power_cuts), N(crash_all), N(failed_opens), N(pauses), N(clocks),
           N(stalls), N(full));
    printf("%smessages %llu, lost %llu, twice %llu; partitions %llu, broken connections %llu; "
           "elections %llu, turns %llu; changes of members %llu\n",
           prefix, N(messages), N(lost), N(twice), N(partitions), N(breaks), N(elections), N(turns),
           N(moves));
    printf("%sscavenged %llu times, %llu segments, %llu events; missing in reads %llu; repeated "
           "when what was repeated may have been gone %llu\n",
           prefix, N(scavenges), N(scavenged), N(scavenged_events), N(missing), N(forgotten));
#undef N
}

static void run(const struct arguments *a, uint64_t seed, const struct run *how,
                struct stats *totals)
{
    const uint64_t hash = world_run(seed, how, totals);
    if (a->twice && hash != world_run(seed, how, totals)) {
        printf("FAILED: seed %llu does not do the same twice\n", (unsigned long long)seed);
        exit(EXIT_FAILURE);
    }
    if (a->hashes) {
        printf("%s %llu %016llx\n", how->quick ? "quick" : "long", (unsigned long long)seed,
               (unsigned long long)hash);
        (void)fflush(stdout);
    }
}

static uint64_t run_known(const struct arguments *a, struct stats *totals)
{
    char line[128];
    uint64_t done = 0;
    FILE *file = fopen(a->known, "r");
    if (file == NULL) {
        printf("FAILED: %s cannot be read\n", a->known);
        exit(EXIT_FAILURE);
    }
    while (fgets(line, sizeof line, file) != NULL) {
        char *end = NULL;
        const uint64_t seed = strtoull(line, &end, 10);
        if (end != line) {
            struct run how = a->run;
            how.quick = strncmp(end, " quick", 6) == 0;
            how.still = true;
            run(a, seed, &how, totals);
            done++;
        }
    }
    (void)fclose(file);
    return done;
}

int main(int argc, char **argv)
{
    struct arguments a;
    struct stats totals = {.events = 0};
    uint64_t done = 0;
    parse(argc, argv, &a);
    if (a.known != NULL) {
        done = run_known(&a, &totals);
    }
    bool more = a.known == NULL;
    while (more) {
        run(&a, a.seed + done, &a.run, &totals);
        done++;
        more = a.hours > 0 ? (double)totals.simulated_us / 1e6 / 3600 < a.hours : done < a.seeds;
        more = more && (a.limit_s <= 0 || cpu_s() < a.limit_s);
    }
    if (a.tap) {
        printf("1..1\n");
    }
    print_totals(&totals, done, a.tap ? "# " : "");
    if (a.tap) {
        printf("ok 1 - %s\n", a.twice ? "a seed does the same every time"
                                      : "no history of a cluster breaks a promise");
    }
    return EXIT_SUCCESS;
}
