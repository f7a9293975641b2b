/* What sealing costs: the same events plain, with the whole payload sealed, with two fields sealed.
 *
 *     sealed [--seconds S] [--events N] [--json]
 *
 * Three stores under $TMPDIR or /var/tmp, two of which use a keyring; the kinds take turns, so that they see the same
 * disk, and each ratio is that of medians of five turns. 1,000 streams, each about a person of its own, whose keys
 * are there. An operation that does not end as it should ends the program.
 *
 *     append1   append one event, wait until it is durable, again; the revision that is expected is exact
 *     any       the same, with "any" expected: where the stream ends has to be asked first
 *     batch100  100 events of one stream an append
 *     chain64   64 appends of one event under way, each of which begins the next one
 *     read      streams in random order, each from start to end
 *     all       every event in the order of the store */
#include "cli/bench_kit.h"

#include <stele/keys.h>

#include <ftw.h>
#include <semaphore.h>
#include <stdatomic.h>

#define STREAMS 1000u
#define TURNS 5
#define BATCH 100u
#define UNDER_WAY 64u
#define DATA_SIZE 200u

enum kind { PLAIN, WHOLE, FIELDS, KINDS };
static const char *const kind_names[KINDS] = {"plain", "whole", "fields"};
/* The policy goes by the type. */
static const char *const types[KINDS] = {"OrderPlaced", "WholePlaced", "FieldsPlaced"};
static const char policy[] =
    "{\"seal\":[{\"types\":[\"WholePlaced\"],\"subject\":\"$stream\"},"
    "{\"types\":[\"FieldsPlaced\"],\"subject\":\"$stream\",\"fields\":[\"/order\",\"/note\"]}]}";

struct bench {
    char path[256];
    struct bench_pool pool;
    struct stele *stores[KINDS];
    struct stele_keyring *keyring;
    uint64_t next[KINDS][STREAMS]; /* Revision of the next event. */
    uint64_t random;
    double seconds;
    uint32_t events; /* That reading finds in each store, at least. */
    bool json;
};

static void check(int outcome, const struct stele_error *err)
{
    if (outcome != STELE_OK) {
        (void)fprintf(stderr, "sealed: %s: %s\n", stele_outcome_name(outcome), err->message);
        exit(1);
    }
}

/* ---- Appending ---- */

static const char *stream_of(enum kind kind, uint32_t number, char to[BENCH_STREAM_NAME_SIZE])
{
    static const char *const categories[KINDS] = {"plain-", "whole-", "fields-"};
    (void)bench_stream_name_in(to, categories[kind], number);
    return to;
}

static struct stele_event_draft draft_of(const struct bench *bench, enum kind kind,
                                         uint64_t *random)
{
    struct stele_event_draft draft = {.type = types[kind],
                                      .data = bench_pool_pick(&bench->pool, random),
                                      .data_size = bench->pool.size};
    bench_random_id(random, draft.id);
    return draft;
}

static uint64_t expected_of(const struct bench *bench, enum kind kind, uint32_t stream)
{
    const uint64_t next = bench->next[kind][stream];
    return next == 0 ? STELE_EXPECT_NO_STREAM : next - 1;
}

static void append_one(struct bench *bench, enum kind kind, uint32_t count, bool any)
{
    struct stele_event_draft drafts[BATCH];
    struct stele_append_result result;
    struct stele_error err = {0};
    char name[BENCH_STREAM_NAME_SIZE];
    const uint32_t stream = bench_random_below(&bench->random, STREAMS);
    for (uint32_t i = 0; i < count; i++) {
        drafts[i] = draft_of(bench, kind, &bench->random);
    }
    check(stele_append(bench->stores[kind], stream_of(kind, stream, name),
                       any ? STELE_EXPECT_ANY : expected_of(bench, kind, stream), drafts, count,
                       &result, &err),
          &err);
    if (result.revision_last != bench->next[kind][stream] + count - 1) {
        (void)fputs("sealed: an append got another revision\n", stderr);
        exit(1);
    }
    bench->next[kind][stream] += count;
}

static uint64_t append1(struct bench *bench, enum kind kind)
{
    append_one(bench, kind, 1, false);
    return 1;
}

static uint64_t any(struct bench *bench, enum kind kind)
{
    append_one(bench, kind, 1, true);
    return 1;
}

static uint64_t batch100(struct bench *bench, enum kind kind)
{
    append_one(bench, kind, BATCH, false);
    return BATCH;
}

/* One of the appends under way; each has streams and random numbers of its own. */
struct chain {
    struct bench *bench;
    enum kind kind;
    uint64_t random;
    uint32_t stream;
    uint32_t left;
    sem_t *ended;
};

static void go_on(struct chain *chain);

static void on_appended(void *context, int outcome, const struct stele_append_result *result)
{
    struct chain *const chain = context;
    const struct stele_error err = {.outcome = outcome};
    (void)result;
    check(outcome, &err);
    chain->bench->next[chain->kind][chain->stream]++;
    if (--chain->left > 0) {
        go_on(chain);
    } else {
        (void)sem_post(chain->ended);
    }
}

static void go_on(struct chain *chain)
{
    struct bench *const bench = chain->bench;
    struct stele_error err = {0};
    char name[BENCH_STREAM_NAME_SIZE];
    const struct stele_event_draft draft = draft_of(bench, chain->kind, &chain->random);
    chain->stream = (chain->stream + UNDER_WAY) % (STREAMS / UNDER_WAY * UNDER_WAY);
    const struct stele_append one = {.stream = stream_of(chain->kind, chain->stream, name),
                                     .expected = expected_of(bench, chain->kind, chain->stream),
                                     .events = &draft,
                                     .count = 1};
    check(
        stele_append_async(bench->stores[chain->kind], &one, 1, NULL, 0, on_appended, chain, &err),
        &err);
}

static uint64_t chain64(struct bench *bench, enum kind kind)
{
    static const uint32_t each = 20;
    struct chain chains[UNDER_WAY];
    sem_t ended;
    (void)sem_init(&ended, 0, 0);
    for (uint32_t i = 0; i < UNDER_WAY; i++) {
        chains[i] = (struct chain){.bench = bench,
                                   .kind = kind,
                                   .random = bench_random(&bench->random),
                                   .stream = i,
                                   .left = each,
                                   .ended = &ended};
        go_on(&chains[i]);
    }
    for (uint32_t i = 0; i < UNDER_WAY; i++) {
        while (sem_wait(&ended) != 0) {
        }
    }
    (void)sem_destroy(&ended);
    return (uint64_t)UNDER_WAY * each;
}

/* ---- Reading ---- */

/* How many events there are; each has to be as it was appended. */
static uint64_t read_out(struct bench *bench, struct stele_iterator *iterator)
{
    const struct stele_event *events = NULL;
    struct stele_error err = {0};
    uint64_t read = 0;
    size_t count = 0;
    int outcome;
    while ((outcome = stele_iterator_next(iterator, &events, &count, &err)) == STELE_OK) {
        for (size_t i = 0; i < count; i++) {
            if (events[i].data_size != bench->pool.size ||
                memcmp(events[i].data, "{\"order\":\"", 10) != 0) {
                (void)fputs("sealed: an event is not what was appended\n", stderr);
                exit(1);
            }
        }
        read += count;
    }
    check(outcome == STELE_END ? STELE_OK : outcome, &err);
    stele_iterator_destroy(iterator);
    return read;
}

static uint64_t read_stream(struct bench *bench, enum kind kind)
{
    const struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    struct stele_error err = {0};
    char name[BENCH_STREAM_NAME_SIZE];
    const uint32_t stream = bench_random_below(&bench->random, STREAMS);
    check(stele_read_stream(bench->stores[kind], stream_of(kind, stream, name), &options, &iterator,
                            &err),
          &err);
    return read_out(bench, iterator);
}

static uint64_t read_all(struct bench *bench, enum kind kind)
{
    const struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    struct stele_error err = {0};
    check(stele_read_all(bench->stores[kind], &options, &iterator, &err), &err);
    return read_out(bench, iterator);
}

/* ---- Turns ---- */

static const struct workload {
    const char *name;
    uint64_t (*once)(struct bench *bench, enum kind kind);
} workloads[] = {
    {"append1", append1}, {"any", any},          {"batch100", batch100},
    {"chain64", chain64}, {"read", read_stream}, {"all", read_all},
};

struct turn {
    double rate;   /* Events a second. */
    double cpu_us; /* Of this process, an event. */
};

static struct turn take_turn(struct bench *bench, const struct workload *workload, enum kind kind)
{
    const struct bench_usage before = bench_usage_now();
    const uint64_t until = before.at_ns + bench_ns(bench->seconds);
    uint64_t events = 0;
    do {
        events += workload->once(bench, kind);
    } while (bench_now_ns() < until);
    const struct bench_usage after = bench_usage_now();
    const double seconds = (double)(after.at_ns - before.at_ns) / 1e9;
    return (struct turn){.rate = bench_per_second(events, seconds),
                         .cpu_us = (after.cpu_s - before.cpu_s) * 1e6 / (double)events};
}

static int by_value(const void *a, const void *b)
{
    const double left = *(const double *)a;
    const double right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(const struct turn turns[TURNS], bool of_cpu)
{
    double values[TURNS];
    for (size_t i = 0; i < TURNS; i++) {
        values[i] = of_cpu ? turns[i].cpu_us : turns[i].rate;
    }
    qsort(values, TURNS, sizeof *values, by_value);
    return values[TURNS / 2];
}

static void measure(struct bench *bench, const struct workload *workload)
{
    struct turn turns[KINDS][TURNS];
    for (size_t turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < KINDS; i++) {
            /* Another one begins each time. */
            const enum kind kind = (enum kind)(((size_t)i + turn) % KINDS);
            turns[kind][turn] = take_turn(bench, workload, kind);
        }
    }
    const double plain = median(turns[PLAIN], false);
    for (int kind = 0; kind < KINDS; kind++) {
        const double rate = median(turns[kind], false);
        const double cpu_us = median(turns[kind], true);
        (void)printf(bench->json
                         ? "{\"program\":\"sealed\",\"workload\":\"%s/%s\","
                           "\"events_per_s\":%.0f,\"of_plain\":%.3f,\"cpu_us\":%.2f}\n"
                         : "%-9s %-7s %10.0f events/s %6.2f of plain %8.2f us of processor\n",
                     workload->name, kind_names[kind], rate, rate / plain, cpu_us);
    }
    (void)fflush(stdout);
}

/* ---- All of it ---- */

static void open_all(struct bench *bench)
{
    static char names[2 * STREAMS][BENCH_STREAM_NAME_SIZE];
    static const char *subjects[2 * STREAMS];
    static const uint8_t key[STELE_MASTER_KEY_SIZE] = {1};
    const struct stele_master master = {.key = key};
    struct stele_error err = {0};
    char path[300];
    for (int kind = 0; kind < KINDS; kind++) {
        (void)snprintf(path, sizeof path, "%s/%s", bench->path, kind_names[kind]);
        check(stele_open(path, NULL, &bench->stores[kind], &err), &err);
    }
    (void)snprintf(path, sizeof path, "%s/ring", bench->path);
    check(stele_keyring_create(path, &master, &bench->keyring, &err), &err);
    check(stele_keyring_set_policy(bench->keyring, policy, sizeof policy - 1, &err), &err);
    for (uint32_t i = 0; i < 2 * STREAMS; i++) {
        subjects[i] = stream_of(i < STREAMS ? WHOLE : FIELDS, i % STREAMS, names[i]);
    }
    check(stele_keyring_add(bench->keyring, subjects, 2 * STREAMS, &err), &err);
    check(stele_use_keyring(bench->stores[WHOLE], bench->keyring, NULL, &err), &err);
    check(stele_use_keyring(bench->stores[FIELDS], bench->keyring, NULL, &err), &err);
}

/* Appends of one event to each of BATCH streams: the events of a stream lie apart. */
static void fill(struct bench *bench, enum kind kind)
{
    static char names[BATCH][BENCH_STREAM_NAME_SIZE];
    struct stele_event_draft drafts[BATCH];
    struct stele_append streams[BATCH];
    struct stele_error err = {0};
    const uint32_t events = bench->events > STREAMS ? bench->events : STREAMS;
    for (uint32_t done = 0; done < events; done += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) {
            const uint32_t stream = (done + i) % STREAMS;
            drafts[i] = draft_of(bench, kind, &bench->random);
            streams[i] = (struct stele_append){.stream = stream_of(kind, stream, names[i]),
                                               .expected = expected_of(bench, kind, stream),
                                               .events = &drafts[i],
                                               .count = 1};
            bench->next[kind][stream]++;
        }
        check(stele_append_many(bench->stores[kind], streams, BATCH, NULL, 0, NULL, NULL, &err),
              &err);
    }
}

static int remove_one(const char *name, const struct stat *status, int flag, struct FTW *walk)
{
    (void)status, (void)flag, (void)walk;
    return remove(name);
}

int main(int argc, char **argv)
{
    static struct bench bench = {.seconds = 1, .events = 200000};
    const char *const parent = getenv("TMPDIR");
    bool good = true;
    for (int i = 1; i < argc; i++) {
        const bool more = i + 1 < argc;
        if (strcmp(argv[i], "--json") == 0) {
            bench.json = true;
        } else if (strcmp(argv[i], "--seconds") == 0 && more) {
            bench.seconds = strtod(argv[++i], NULL);
        } else if (strcmp(argv[i], "--events") == 0 && more) {
            bench.events = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else {
            good = false;
        }
    }
    if (!good || bench.seconds <= 0 || bench.events == 0) {
        (void)fputs("usage: sealed [--seconds S] [--events N] [--json]\n", stderr);
        return 2;
    }
    (void)snprintf(bench.path, sizeof bench.path, "%s/stele-sealed-XXXXXX",
                   parent != NULL ? parent : "/var/tmp");
    if (mkdtemp(bench.path) == NULL) {
        perror(bench.path);
        return 1;
    }
    bench.random = bench_seed();
    bench_pool_init(&bench.pool, DATA_SIZE);
    open_all(&bench);
    for (int kind = 0; kind < KINDS; kind++) {
        fill(&bench, (enum kind)kind);
    }
    for (size_t i = 0; i < STELE_COUNT_OF(workloads); i++) {
        measure(&bench, &workloads[i]);
    }
    for (int kind = 0; kind < KINDS; kind++) {
        (void)stele_close(bench.stores[kind]);
    }
    stele_keyring_close(bench.keyring);
    bench_pool_deinit(&bench.pool);
    (void)nftw(bench.path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}
