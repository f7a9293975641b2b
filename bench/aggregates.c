/* How fast states are folded and commands executed: aggregates [WORKLOAD …], in a directory of its own
 * under $TMPDIR or /var/tmp. Only the public interface. One line a workload, the median of five where
 * a run is short; an operation that does not end as it should ends the program.
 *
 *     fold        a trivial evolve over 10,000 events in memory
 *     load        a stream of 10,000 events in the store: loaded and folded, without snapshots
 *     snapshots   a random one of streams with up to 365,000 events, with snapshots every 100
 *     commands1   1 thread: load, decide, append durable; and the bare append beside it
 *     commands64  64 threads on 10,000 accounts; and the bare append beside it
 *     transfers   64 threads, two runners that know nothing of each other: one of ten transfers is
 *                 between two hot accounts
 *
 * The last two also with 64 commands under way that were submitted, each callback submitting the next. */
#include <stele/run.h>

#include <ftw.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RUNS 5
#define EVENTS 10000u
#define LONGEST 365000u
#define ACCOUNTS 10000u
#define SECONDS 2.0
#define HOT 16u

static struct stele *store;
static char path[256];

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void check(int outcome, const struct stele_error *err)
{
    if (outcome != STELE_OK) {
        (void)fprintf(stderr, "aggregates: %s: %s\n", stele_outcome_name(outcome), err->message);
        exit(1);
    }
}

static int compare(const void *a, const void *b)
{
    const double left = *(const double *)a;
    const double right = *(const double *)b;
    return (left > right) - (left < right);
}

static double quantile(double *values, size_t count, double q)
{
    qsort(values, count, sizeof *values, compare);
    return values[(size_t)((double)(count - 1) * q)];
}

/* ---- The account -------------------------------------------------------------------------- */

struct account {
    int64_t balance;
    int64_t events;
};

static int evolve(void *context, void *state, const struct stele_event *event, const void *fact,
                  struct stele_memory *memory)
{
    (void)context, (void)fact, (void)memory;
    struct account *account = state;
    int64_t amount;
    if (event->data_size == sizeof amount) {
        memcpy(&amount, event->data, sizeof amount);
        account->balance += amount;
    }
    account->events++;
    return STELE_OK;
}

static const struct stele_fold fold = {.struct_size = sizeof(struct stele_fold),
                                       .name = "account",
                                       .state_size = sizeof(struct account),
                                       .evolve = evolve};

struct order {
    int64_t amount;
    const char *to;
};

static int decide(void *context, const struct stele_command *command,
                  struct stele_decision *decision)
{
    (void)context;
    const struct order *order = command->data;
    const struct account *from = stele_decision_state(decision, command->stream, &fold);
    if (from == NULL) {
        return STELE_INCOMPLETE;
    }
    if (order->to != NULL) {
        const struct account *to = stele_decision_state(decision, order->to, &fold);
        if (to == NULL) {
            return STELE_INCOMPLETE;
        }
        const int64_t minus = -order->amount;
        (void)stele_decision_emit_data(decision, order->to, "Deposited", &order->amount,
                                       sizeof order->amount);
        return stele_decision_emit_data(decision, command->stream, "Withdrawn", &minus,
                                        sizeof minus);
    }
    return stele_decision_emit_data(decision, command->stream, "Deposited", &order->amount,
                                    sizeof order->amount);
}

static const struct stele_decider bank = {
    .struct_size = sizeof(struct stele_decider), .name = "bank", .fold = &fold, .decide = decide};

static void fill(const char *stream, unsigned events)
{
    static struct stele_event_draft drafts[1000];
    const int64_t one = 1;
    struct stele_error err;
    for (unsigned done = 0; done < events;) {
        const unsigned count = events - done < 1000 ? events - done : 1000;
        for (unsigned i = 0; i < count; i++) {
            drafts[i] = (struct stele_event_draft){
                .type = "Deposited", .data = &one, .data_size = sizeof one};
        }
        check(stele_append(store, stream, STELE_EXPECT_ANY, drafts, count, NULL, &err), &err);
        done += count;
    }
}

/* ---- States ------------------------------------------------------------------------------- */

static void bench_fold(void)
{
    static struct stele_event events[EVENTS];
    double rates[RUNS];
    const int64_t one = 1;
    struct stele_error err;
    for (size_t i = 0; i < EVENTS; i++) {
        events[i] = (struct stele_event){.revision = i,
                                         .position = i + 1,
                                         .type = {"Deposited", 9},
                                         .data = &one,
                                         .data_size = sizeof one};
    }
    for (size_t run = 0; run < RUNS; run++) {
        struct stele_memory *memory = stele_memory_create();
        struct stele_state *state = NULL;
        check(stele_state_create(memory, &fold, &state, &err), &err);
        const double start = now();
        for (int i = 0; i < 1000; i++) {
            check(stele_state_apply(state, events, EVENTS, &err), &err);
        }
        rates[run] = 1000.0 * EVENTS / (now() - start);
        stele_memory_destroy(memory);
    }
    printf("fold        %.1f M events/s\n", quantile(rates, RUNS, 0.5) / 1e6);
}

static double load_ms(struct stele_runner *runner, const char *stream, int64_t want)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_state *state = NULL;
    struct stele_error err;
    const double start = now();
    check(stele_runner_load(runner, &fold, stream, 0, memory, &state, &err), &err);
    const double took = (now() - start) * 1e3;
    const struct account *account = stele_state_value(state);
    if (account->balance != want) {
        (void)fprintf(stderr, "aggregates: %s has %lld, not %lld\n", stream,
                      (long long)account->balance, (long long)want);
        exit(1);
    }
    stele_memory_destroy(memory);
    return took;
}

static struct stele_runner *make_runner(struct stele_runner_options options)
{
    struct stele_runner *runner = NULL;
    struct stele_error err;
    check(stele_runner_create(store, &options, &runner, &err), &err);
    return runner;
}

static void bench_load(void)
{
    struct stele_runner_options options = STELE_RUNNER_OPTIONS_INIT;
    double took[200];
    options.snapshot_events = 0;
    options.snapshot_hours = 0;
    struct stele_runner *runner = make_runner(options);
    fill("account-load", EVENTS);
    for (size_t i = 0; i < 200; i++) {
        took[i] = load_ms(runner, "account-load", EVENTS);
    }
    printf("load        10,000 events: p50 %.2f ms, p99 %.2f ms\n", quantile(took, 200, 0.5),
           quantile(took, 200, 0.99));
    stele_runner_destroy(runner);
}

static void bench_snapshots(void)
{
    static const unsigned sizes[] = {100, 1000, 10050, 99999, LONGEST};
    const struct stele_runner_options options = STELE_RUNNER_OPTIONS_INIT;
    struct stele_runner *runner = make_runner(options);
    char stream[40];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        (void)snprintf(stream, sizeof stream, "account-long-%u", sizes[i]);
        fill(stream, sizes[i]);
        (void)load_ms(runner, stream, sizes[i]);
        /* So that the state is never the snapshot alone. */
        fill(stream, 50);
    }
    stele_runner_flush(runner);
    stele_runner_destroy(runner);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        double took[1000];
        runner = make_runner(options);
        (void)snprintf(stream, sizeof stream, "account-long-%u", sizes[i]);
        for (size_t run = 0; run < 1000; run++) {
            took[run] = load_ms(runner, stream, sizes[i] + 50);
        }
        printf("snapshots   %u events: p50 %.3f ms, p99 %.3f ms\n", sizes[i] + 50,
               quantile(took, 1000, 0.5), quantile(took, 1000, 0.99));
        stele_runner_destroy(runner);
    }
}

/* ---- Commands ----------------------------------------------------------------------------- */

#define BARE 0
#define COMMANDS 1
#define TRANSFERS 2

static struct stele_runner *runners[2];
static int what;
static double until;
static _Atomic uint64_t done;

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Chooses the accounts of the next command. */
static void choose(uint64_t *seed, char from[32], char to[32])
{
    const int hot = what == TRANSFERS && next(seed) % 10 == 0;
    const uint64_t range = hot ? HOT : ACCOUNTS;
    const uint64_t a = next(seed) % range;
    (void)snprintf(from, 32, hot ? "account-hot-%u" : "account-%u", (unsigned)a);
    (void)snprintf(to, 32, hot ? "account-hot-%u" : "account-%u",
                   (unsigned)((a + 1 + next(seed) % (range - 1)) % range));
}

static void *work(void *context)
{
    const size_t number = (size_t)context;
    uint64_t seed = number + 1;
    uint64_t count = 0;
    struct stele_error err;
    while (now() < until) {
        char from[32];
        char to[32];
        choose(&seed, from, to);
        if (what == BARE) {
            const int64_t one = 1;
            struct stele_event_draft draft = {
                .type = "Deposited", .data = &one, .data_size = sizeof one};
            check(stele_append(store, from, STELE_EXPECT_ANY, &draft, 1, NULL, &err), &err);
        } else {
            const struct order order = {1, what == TRANSFERS ? to : NULL};
            const struct stele_command command = {.struct_size = sizeof command,
                                                  .type = "Move",
                                                  .stream = from,
                                                  .data = &order,
                                                  .data_size = sizeof order};
            check(stele_runner_execute(runners[number % 2], &bank, &command, NULL, NULL, &err),
                  &err);
        }
        count++;
    }
    atomic_fetch_add(&done, count);
    return NULL;
}

struct chain {
    uint64_t seed;
    uint64_t count;
    struct stele_runner *runner;
    char from[32];
    char to[32];
    struct order order;
};

static sem_t chain_ended;

static void submit_next(struct chain *chain);

static void on_ended(void *context, int outcome, const struct stele_command_result *result,
                     const struct stele_error *err)
{
    (void)result;
    struct chain *chain = context;
    check(outcome, err);
    chain->count++;
    if (now() < until) {
        submit_next(chain);
    } else {
        atomic_fetch_add(&done, chain->count);
        (void)sem_post(&chain_ended);
    }
}

static void submit_next(struct chain *chain)
{
    struct stele_error err;
    choose(&chain->seed, chain->from, chain->to);
    chain->order = (struct order){1, what == TRANSFERS ? chain->to : NULL};
    const struct stele_command command = {.struct_size = sizeof command,
                                          .type = "Move",
                                          .stream = chain->from,
                                          .data = &chain->order,
                                          .data_size = sizeof chain->order};
    check(stele_runner_submit(chain->runner, &bank, &command, NULL, on_ended, chain, &err), &err);
}

static double rate_submitted(int kind)
{
    static struct chain chains[64];
    what = kind;
    atomic_store(&done, 0);
    (void)sem_init(&chain_ended, 0, 0);
    const double start = now();
    until = start + SECONDS;
    for (size_t i = 0; i < 64; i++) {
        chains[i] = (struct chain){.seed = i + 1, .runner = runners[i % 2]};
        submit_next(&chains[i]);
    }
    for (size_t i = 0; i < 64; i++) {
        (void)sem_wait(&chain_ended);
    }
    (void)sem_destroy(&chain_ended);
    return (double)atomic_load(&done) / (now() - start);
}

static double rate_of(int kind, size_t threads)
{
    pthread_t ids[64];
    what = kind;
    atomic_store(&done, 0);
    const double start = now();
    until = start + SECONDS;
    for (size_t i = 0; i < threads; i++) {
        if (pthread_create(&ids[i], NULL, work, (void *)i) != 0) {
            exit(1);
        }
    }
    for (size_t i = 0; i < threads; i++) {
        (void)pthread_join(ids[i], NULL);
    }
    return (double)atomic_load(&done) / (now() - start);
}

static void bench_commands(const char *name, size_t threads)
{
    struct stele_runner_options options = STELE_RUNNER_OPTIONS_INIT;
    options.states_max = 2 * ACCOUNTS;
    runners[0] = make_runner(options);
    runners[1] = runners[0];
    double bare[RUNS];
    double commands[RUNS];
    double submitted[RUNS];
    /* In turns, so that all see the same machine. */
    for (size_t i = 0; i < RUNS; i++) {
        bare[i] = rate_of(BARE, threads);
        commands[i] = rate_of(COMMANDS, threads);
        submitted[i] = threads > 1 ? rate_submitted(COMMANDS) : 0;
    }
    const double b = quantile(bare, RUNS, 0.5);
    const double c = quantile(commands, RUNS, 0.5);
    const double s = quantile(submitted, RUNS, 0.5);
    printf("%-11s %.0f commands/s, bare appends %.0f/s: %.0f %%; submitted %.0f/s: %.0f %%\n", name,
           c, b, 100 * c / b, s, 100 * s / b);
    stele_runner_destroy(runners[0]);
}

static void bench_transfers(void)
{
    struct stele_runner_options options = STELE_RUNNER_OPTIONS_INIT;
    struct stele_runner_stats stats[2];
    options.states_max = 2 * ACCOUNTS;
    runners[0] = make_runner(options);
    runners[1] = make_runner(options);
    double rates[RUNS];
    double submitted[RUNS];
    for (size_t i = 0; i < RUNS; i++) {
        rates[i] = rate_of(TRANSFERS, 64);
        submitted[i] = rate_submitted(TRANSFERS);
    }
    stele_runner_stats(runners[0], &stats[0]);
    stele_runner_stats(runners[1], &stats[1]);
    const double commands = (double)(stats[0].commands + stats[1].commands);
    const double conflicts = (double)(stats[0].conflicts + stats[1].conflicts);
    printf("transfers   %.0f transfers/s, submitted %.0f/s, %.1f %% conflicts\n",
           quantile(rates, RUNS, 0.5), quantile(submitted, RUNS, 0.5), 100 * conflicts / commands);
    stele_runner_destroy(runners[0]);
    stele_runner_destroy(runners[1]);
}

/* ---- All of it ---------------------------------------------------------------------------- */

static int remove_one(const char *name, const struct stat *status, int flag, struct FTW *walk)
{
    (void)status, (void)flag, (void)walk;
    return remove(name);
}

static int wanted(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return 1;
        }
    }
    return argc == 1;
}

int main(int argc, char **argv)
{
    const char *const parent = getenv("TMPDIR");
    struct stele_error err;
    (void)snprintf(path, sizeof path, "%s/stele-aggregates-XXXXXX",
                   parent != NULL ? parent : "/var/tmp");
    if (mkdtemp(path) == NULL) {
        perror(path);
        return 1;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    check(stele_open(path, NULL, &store, &err), &err);
    if (wanted(argc, argv, "fold")) {
        bench_fold();
    }
    if (wanted(argc, argv, "load")) {
        bench_load();
    }
    if (wanted(argc, argv, "snapshots")) {
        bench_snapshots();
    }
    if (wanted(argc, argv, "commands1")) {
        bench_commands("commands1", 1);
    }
    if (wanted(argc, argv, "commands64")) {
        bench_commands("commands64", 64);
    }
    if (wanted(argc, argv, "transfers")) {
        bench_transfers();
    }
    (void)stele_close(store);
    (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}
