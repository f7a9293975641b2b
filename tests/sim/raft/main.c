/* Runs seeds and adds up.
 *
 *     sim-raft [--seed N]    the first seed (default 1)
 *              [--seeds N]   that many, one after the other (default 1)
 *              [--until N]   stop before event N
 *              [--trace]     print what happens
 *              [--quick]     short runs
 *              [--twice]     each seed twice, and compare the hashes of what happened
 *              [--hashes]    print each seed's hash
 *              [--tap]       say the result in TAP
 *              [--limit S]   begin no new seed after S seconds of CPU time */
#include "raft_sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static const char *command;

void sim_mix(struct sim *sim, uint64_t value)
{
    uint64_t state = sim->hash ^ value;
    sim->hash = rng_mix(&state);
}

void sim_trace(struct sim *sim, const char *format, ...)
{
    char *const line = sim->last[sim->last_count++ % LAST_EVENTS];
    const int begin = snprintf(line, sizeof sim->last[0], "%llu.%06llu ",
                               (unsigned long long)sim->now_us / 1000000,
                               (unsigned long long)sim->now_us % 1000000);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line + begin, sizeof sim->last[0] - (size_t)begin, format, args);
    va_end(args);
    if (sim->trace) {
        (void)printf("%s\n", line);
    }
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    (void)printf("FAILED: ");
    va_list args;
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)printf("\n\nThe last events:\n");
    const uint64_t first = sim->last_count < LAST_EVENTS ? 0 : sim->last_count - LAST_EVENTS;
    for (uint64_t i = first; i < sim->last_count; i++) {
        (void)printf("  %s\n", sim->last[i % LAST_EVENTS]);
    }
    (void)printf("\nat %llu us, event %llu\n", (unsigned long long)sim->now_us,
                 (unsigned long long)sim->order);
    config_print(sim);
    (void)printf("\nAgain: %s --seed %llu\n", command, (unsigned long long)sim->seed);
    (void)fflush(stdout);
    exit(EXIT_FAILURE);
}

uint64_t sim_run(uint64_t seed, bool trace, bool quick, uint64_t until, struct stats *stats)
{
    static struct sim sim;
    memset(&sim, 0, sizeof sim);
    sim.seed = seed;
    sim.trace = trace;
    sim.stats = stats;
    rng_init(&sim.rng, seed, 1);
    rng_init(&sim.rng_net, seed, 2);
    rng_init(&sim.rng_disk, seed, 3);
    rng_init(&sim.rng_client, seed, 4);
    rng_init(&sim.rng_fault, seed, 5);
    config_draw(&sim, quick);
    world_start(&sim);
    uint64_t events = 0;
    struct event event;
    while (!sim.over && sim_next(&sim, &event)) {
        sim.now_us = event.at_us;
        if (until == 0 || events < until) {
            world_event(&sim, &event);
        }
        free(event.bytes);
        events++;
    }
    sim_mix(&sim, events);
    stats->events += events;
    stats->simulated_us += sim.now_us;
    world_stop(&sim);
    for (size_t i = 0; i < sim.heap_count; i++) {
        free(sim.heap[i].bytes);
    }
    free(sim.heap);
    for (uint32_t i = 0; i < GROUPS_MAX; i++) {
        free(sim.groups[i].entries);
        free(sim.groups[i].leaders);
    }
    return sim.hash;
}

/* ---- The command line ---- */

struct arguments {
    uint64_t seed, seeds, until;
    double limit_s;
    bool trace, quick, twice, hashes, tap;
};

static void usage(void)
{
    (void)fprintf(stderr, "usage: sim-raft [--seed N] [--seeds N] [--until N] [--trace] [--quick] "
                          "[--twice] [--hashes] [--tap] [--limit SECONDS]\n");
    exit(2);
}

static void parse(int argc, char **argv, struct arguments *arguments)
{
    *arguments = (struct arguments){.seed = 1, .seeds = 1};
    const struct {
        const char *word;
        uint64_t *value;
        bool *flag;
    } words[] = {
        {"--seed", &arguments->seed, NULL},
        {"--seeds", &arguments->seeds, NULL},
        {"--until", &arguments->until, NULL},
        {"--trace", NULL, &arguments->trace},
        {"--quick", NULL, &arguments->quick},
        {"--twice", NULL, &arguments->twice},
        {"--hashes", NULL, &arguments->hashes},
        {"--tap", NULL, &arguments->tap},
        {"--limit", NULL, NULL},
    };
    for (int i = 1; i < argc; i++) {
        size_t w = 0;
        while (w < STELE_COUNT_OF(words) && strcmp(words[w].word, argv[i]) != 0) {
            w++;
        }
        if (w == STELE_COUNT_OF(words) || (words[w].flag == NULL && i + 1 == argc)) {
            usage();
        }
        if (words[w].flag != NULL) {
            *words[w].flag = true;
        } else if (words[w].value != NULL) {
            *words[w].value = strtoull(argv[++i], NULL, 10);
        } else {
            arguments->limit_s = strtod(argv[++i], NULL);
        }
    }
}

static double cpu_s(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void print_totals(const struct stats *s, uint64_t seeds, const char *prefix)
{
#define N(member) ((unsigned long long)s->member)
    printf("%s%llu seeds, %.1f simulated hours, %llu events, %.1f s of CPU time\n", prefix,
           (unsigned long long)seeds, (double)s->simulated_us / 1e6 / 3600, N(events), cpu_s());
    printf("%scommitted %llu (%llu with payload), elections %llu, frames %llu, of which lost %llu, "
           "damaged %llu\n",
           prefix, N(committed), N(acknowledged), N(elections), N(frames), N(frames_lost),
           N(damaged));
    printf(
        "%scrashes %llu, power cuts %llu, openings %llu, failed %llu, claims checked %llu, cuts of "
        "the network %llu, pauses %llu\n",
        prefix, N(crashes), N(power_cuts), N(opens), N(opens_failed), N(claims_checked), N(cuts),
        N(pauses));
    printf("%schanges of members %llu (asked for %llu), transfers %llu, snapshots %llu, installed "
           "%llu of %llu, trims %llu, largest log %llu\n",
           prefix, N(changes_done), N(changes), N(transfers), N(snapshots), N(installed),
           N(installs), N(trims), N(most_wal));
    printf(
        "%sfaults: disk errors %llu, full disks %llu, fenced %llu, no memory %llu; refused submits "
        "%llu\n",
        prefix, N(disk_errors), N(full), N(fenced), N(no_memory), N(refused));
#undef N
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    parse(argc, argv, &arguments);
    command = arguments.quick ? "sim-raft --quick" : "sim-raft";
    struct stats totals = {.events = 0};
    uint64_t done = 0;
    while (done < arguments.seeds && (arguments.limit_s <= 0 || cpu_s() < arguments.limit_s)) {
        const uint64_t seed = arguments.seed + done;
        const uint64_t hash =
            sim_run(seed, arguments.trace, arguments.quick, arguments.until, &totals);
        if (arguments.twice &&
            hash != sim_run(seed, false, arguments.quick, arguments.until, &totals)) {
            printf("FAILED: seed %llu does not do the same twice\n", (unsigned long long)seed);
            return EXIT_FAILURE;
        }
        if (arguments.hashes) {
            printf("%s %llu %016llx\n", arguments.quick ? "quick" : "long",
                   (unsigned long long)seed, (unsigned long long)hash);
            (void)fflush(stdout);
        }
        done++;
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
