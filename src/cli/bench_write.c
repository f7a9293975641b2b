/* The workloads of `stele bench` that append.
 *
 * Every append names the exact revision that it expects, as an application that has decided on
 * the basis of what it read does. Threads have streams of their own for that reason. */
#include "cli/bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* More failures than this and the rest of the run says nothing any more. */
#define ERRORS_MAX 1000u

/* ---- What to append -------------------------------------------------------------------------- */

/* Streams, what revision each is at, and the next batch for them. */
struct source {
    struct bench *bench;
    struct bench_streams streams;
    uint32_t first, step; /* Only streams whose number modulo step is first. */
    uint32_t *revisions;  /* The next one of each stream; shared by sources with other streams. */
    uint32_t *batches;    /* The last batch that each stream was in, to take none twice. */
    uint32_t batch_now;
    uint64_t random;
    uint32_t batch;
    bool spread;

    /* The batch. */
    struct stele_append appends[STELE_CLI_BENCH_BATCH_MAX];
    struct stele_event_draft drafts[STELE_CLI_BENCH_BATCH_MAX];
    char names[STELE_CLI_BENCH_BATCH_MAX][BENCH_STREAM_NAME_SIZE];
    size_t appends_count;
};

static struct source *create_source(struct bench *bench, uint32_t batch, bool spread)
{
    struct source *const source = bench_alloc(1, sizeof *source);
    source->bench = bench;
    source->step = 1;
    source->batch = batch;
    source->spread = spread && batch > 1;
    source->random = bench_seed();
    bench_streams_init(&source->streams, (uint32_t)bench->streams_count, bench->zipf);
    if (source->spread) {
        source->batches = bench_alloc(bench->streams_count, sizeof *source->batches);
    }
    for (size_t i = 0; i < STELE_CLI_BENCH_BATCH_MAX; i++) {
        source->drafts[i].type = BENCH_TYPE;
        source->drafts[i].data_size = bench->pool.size;
    }
    return source;
}

static void destroy_source(struct source *source)
{
    bench_streams_deinit(&source->streams);
    free(source->batches);
    free(source);
}

/* For a thread of several: its own part of the streams and other random numbers. */
static void take_part(struct source *source, uint32_t first, uint32_t step)
{
    source->first = first;
    source->step = step;
    source->random += first * UINT64_C(7919);
    bench_streams_deinit(&source->streams);
    bench_streams_init(&source->streams, (uint32_t)source->bench->streams_count / step,
                       source->bench->zipf);
}

static uint32_t pick(struct source *source)
{
    return bench_streams_pick(&source->streams, &source->random) * source->step + source->first;
}

static uint32_t pick_another(struct source *source)
{
    uint32_t stream = pick(source);
    while (source->batches[stream] == source->batch_now) {
        stream = pick(source);
    }
    source->batches[stream] = source->batch_now;
    return stream;
}

static uint64_t expected_of(uint32_t next_revision)
{
    return next_revision == 0 ? STELE_EXPECT_NO_STREAM : next_revision - 1;
}

static void make_drafts(struct source *source)
{
    for (uint32_t i = 0; i < source->batch; i++) {
        bench_random_id(&source->random, source->drafts[i].id);
        source->drafts[i].data = bench_pool_pick(&source->bench->pool, &source->random);
    }
}

static void make_append(struct source *source, uint32_t index, uint32_t stream, uint32_t count)
{
    (void)bench_stream_name_in(source->names[index], source->bench->category, stream);
    source->appends[index] = (struct stele_append){
        .stream = source->names[index],
        .expected = expected_of(source->revisions[stream]),
        .events = &source->drafts[index],
        .count = count,
    };
    source->revisions[stream] += count;
}

static void make_batch(struct source *source)
{
    make_drafts(source);
    source->batch_now++;
    if (!source->spread) {
        make_append(source, 0, pick(source), source->batch);
        source->appends_count = 1;
        return;
    }
    for (uint32_t i = 0; i < source->batch; i++) {
        make_append(source, i, pick_another(source), 1);
    }
    source->appends_count = source->batch;
}

/* ---- A store of its own for each workload ------------------------------------------------------ */

struct fresh {
    char path[STELE_CLI_BENCH_PATH_SIZE]; /* "": nothing to remove. */
    struct stele *store;
    uint32_t *revisions;
};

static int open_fresh(struct bench *bench, const struct bench_workload *workload,
                      struct fresh *fresh)
{
    if (bench->remote != NULL) {
        stele_cli_bench_take_category(bench);
        fresh->revisions = bench_alloc(bench->streams_count, sizeof *fresh->revisions);
        return stele_cli_bench_open(bench, bench->remote, &fresh->store);
    }
    const int size =
        snprintf(fresh->path, sizeof fresh->path, "%s/%s-XXXXXX", bench->directory, workload->name);
    if (size < 0 || (size_t)size >= sizeof fresh->path || mkdtemp(fresh->path) == NULL) {
        return stele_cli_fail(STELE_CLI_IO, "io",
                              "cannot make a directory in %s; choose another with --store",
                              bench->directory);
    }
    fresh->revisions = bench_alloc(bench->streams_count, sizeof *fresh->revisions);
    return stele_cli_bench_open(bench, fresh->path, &fresh->store);
}

static int close_fresh(struct bench *bench, struct fresh *fresh, int code)
{
    if (fresh->store != NULL) {
        const int outcome = stele_close(fresh->store);
        if (outcome != STELE_OK && code == STELE_CLI_OK) {
            code = stele_cli_fail_outcome(outcome, NULL, "close the store");
        }
    }
    free(fresh->revisions);
    if (!bench->keep && fresh->path[0] != '\0') {
        stele_cli_bench_remove(fresh->path);
    }
    return code;
}

static int fail_threads(void)
{
    return stele_cli_fail(STELE_CLI_FAILURE, "threads",
                          "the system gives no more threads; use fewer with --threads");
}

/* ---- Synchronous appends ------------------------------------------------------------------------- */

/* A thread that appends and waits. */
struct writer {
    pthread_t thread;
    struct stele *store;
    struct source *source;
    uint64_t measure_ns, end_ns;

    uint64_t events, errors, last_ns;
    uint64_t acknowledged; /* Events, with those before measure_ns. */
    struct stele_error first_error;
    struct bench_histogram latency;
};

static void append_batch(struct writer *writer)
{
    struct source *const source = writer->source;
    make_batch(source);
    const struct stele_append *const first = &source->appends[0];
    struct stele_error err = {0};
    struct stele_append_result result;
    const uint64_t begin = bench_now_ns();
    const int outcome = source->spread
                            ? stele_append_many(writer->store, source->appends,
                                                source->appends_count, NULL, 0, NULL, &result, &err)
                            : stele_append(writer->store, first->stream, first->expected,
                                           first->events, first->count, &result, &err);
    const uint64_t now = bench_now_ns();
    if (outcome != STELE_OK) {
        writer->first_error = writer->errors == 0 ? err : writer->first_error;
        writer->first_error.outcome = outcome;
        writer->errors++;
        return;
    }
    /* The store says at which revision the events are; it has to be where we counted them to. */
    const uint64_t wanted = first->expected == STELE_EXPECT_NO_STREAM ? 0 : first->expected + 1;
    writer->errors += result.revision_first == wanted && result.idempotent == 0 ? 0 : 1;
    writer->acknowledged += source->batch;
    if (begin < writer->measure_ns) {
        return;
    }
    writer->events += source->batch;
    writer->last_ns = now;
    bench_histogram_add(&writer->latency, now - begin);
}

static void *run_writer(void *context)
{
    struct writer *const writer = context;
    while (bench_now_ns() < writer->end_ns && writer->errors < ERRORS_MAX &&
           !stele_cli_interrupted()) {
        append_batch(writer);
    }
    return NULL;
}

static struct writer *create_writer(struct bench *bench, struct fresh *fresh, uint32_t batch,
                                    bool spread)
{
    struct writer *const writer = bench_alloc(1, sizeof *writer);
    writer->store = fresh->store;
    writer->source = create_source(bench, batch, spread);
    writer->source->revisions = fresh->revisions;
    return writer;
}

static void destroy_writer(struct writer *writer)
{
    if (writer != NULL) {
        destroy_source(writer->source);
        free(writer);
    }
}

/* Starts threads that append; returns how many there are. */
static uint32_t start_writers(struct writer **writers, uint32_t count, uint64_t measure_ns,
                              uint64_t end_ns)
{
    for (uint32_t i = 0; i < count; i++) {
        take_part(writers[i]->source, i, count);
        writers[i]->measure_ns = measure_ns;
        writers[i]->end_ns = end_ns;
        if (pthread_create(&writers[i]->thread, NULL, run_writer, writers[i]) != 0) {
            return i;
        }
    }
    return count;
}

/* Waits for them and adds up; returns when the last append ended. */
static uint64_t join_writers(struct writer **writers, uint32_t count, struct bench_result *result,
                             struct stele_error *out_first_error)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i < count; i++) {
        (void)pthread_join(writers[i]->thread, NULL);
        bench_histogram_merge(&result->latency, &writers[i]->latency);
        result->events += writers[i]->events;
        result->errors += writers[i]->errors;
        last = writers[i]->last_ns > last ? writers[i]->last_ns : last;
        if (writers[i]->first_error.outcome != STELE_OK) {
            *out_first_error = writers[i]->first_error;
        }
    }
    return last;
}

static void finish_appends(struct bench *bench, struct bench_result *result, uint64_t measure_ns,
                           uint64_t last_ns)
{
    result->after = bench_usage_now();
    result->operations = result->latency.count;
    result->bytes = result->events * bench->pool.size;
    result->seconds = last_ns > measure_ns ? (double)(last_ns - measure_ns) / 1e9 : 0;
}

int stele_cli_bench_append(struct bench *bench, const struct bench_workload *workload)
{
    const uint32_t threads = workload->threads != 0 ? workload->threads : (uint32_t)bench->threads;
    const uint32_t batch = workload->batch != 0 ? workload->batch : (uint32_t)bench->batch;
    struct fresh fresh = {0};
    int code = open_fresh(bench, workload, &fresh);
    if (code != STELE_CLI_OK) {
        return close_fresh(bench, &fresh, code);
    }
    struct writer **const writers = bench_alloc(threads, sizeof(struct writer *));
    for (uint32_t i = 0; i < threads; i++) {
        writers[i] = create_writer(bench, &fresh, batch, workload->spread);
    }

    struct bench_result *const result = bench_alloc(1, sizeof *result);
    struct stele_error first_error = {0};
    result->program = "stele";
    result->workload = workload->name;
    const uint64_t measure = bench_now_ns() + bench_ns(bench->warmup);
    const uint32_t started =
        start_writers(writers, threads, measure, measure + bench_ns(bench->seconds));
    bench_sleep_ns(bench_ns(bench->warmup));
    result->before = bench_usage_now();
    const uint64_t last = join_writers(writers, started, result, &first_error);
    finish_appends(bench, result, measure, last);
    if (started < threads) {
        code = fail_threads();
    } else {
        stele_cli_bench_report(bench, result, &first_error);
    }

    for (uint32_t i = 0; i < threads; i++) {
        destroy_writer(writers[i]);
    }
    free(writers);
    free(result);
    return close_fresh(bench, &fresh, code);
}

/* ---- Asynchronous appends -------------------------------------------------------------------------
 *
 * One thread submits. Those that are done come back through a list that any thread may push to and
 * only the submitter takes from, all at once:
 *
 *     callback: flight ──push──▶ done ──take all──▶ submitter: count it, use it again
 *
 * The submitter sleeps when everything is under way; the first callback after that wakes it, and
 * while it wakes up more come back, so that waking is paid once for many. */

struct flight {
    struct async *async;
    struct flight *next;
    uint64_t begin_ns, end_ns;
    uint64_t revision; /* That the first event must get. */
    uint32_t events;
    int outcome;
};

struct async {
    struct stele *store;
    struct source *source;
    struct flight *flights;
    struct flight *idle;
    uint32_t under_way;

    _Atomic(struct flight *) done;
    _Atomic bool asleep;
    pthread_mutex_t lock;
    pthread_cond_t woken;

    uint64_t measure_ns; /* Appends submitted from then on are counted. */
    uint64_t events, acknowledged, errors, last_ns;
    struct stele_error first_error;
    struct bench_histogram latency;
};

static void init_async(struct async *async, struct bench *bench, struct stele *store,
                       uint32_t *revisions, uint32_t in_flight, uint32_t batch, bool spread)
{
    memset(async, 0, sizeof *async);
    async->store = store;
    async->source = create_source(bench, batch, spread);
    async->source->revisions = revisions;
    async->flights = bench_alloc(in_flight, sizeof *async->flights);
    for (uint32_t i = 0; i < in_flight; i++) {
        async->flights[i].async = async;
        async->flights[i].next = async->idle;
        async->idle = &async->flights[i];
    }
    (void)pthread_mutex_init(&async->lock, NULL);
    (void)pthread_cond_init(&async->woken, NULL);
}

static struct async *create_async(struct bench *bench, struct stele *store, uint32_t *revisions,
                                  uint32_t in_flight, uint32_t batch, bool spread)
{
    struct async *const async = bench_alloc(1, sizeof *async);
    init_async(async, bench, store, revisions, in_flight, batch, spread);
    return async;
}

static void deinit_async(struct async *async)
{
    (void)pthread_cond_destroy(&async->woken);
    (void)pthread_mutex_destroy(&async->lock);
    destroy_source(async->source);
    free(async->flights);
}

static void destroy_async(struct async *async)
{
    deinit_async(async);
    free(async);
}

static void prepare_flight(const struct async *async, struct flight *flight)
{
    const struct source *const source = async->source;
    const uint64_t expected = source->appends[0].expected;
    flight->events = source->batch;
    flight->revision = expected == STELE_EXPECT_NO_STREAM ? 0 : expected + 1;
    flight->begin_ns = bench_now_ns();
}

static void finish_flight(struct flight *flight, int outcome,
                          const struct stele_append_result *result)
{
    flight->end_ns = bench_now_ns();
    flight->outcome = outcome;
    if (outcome == STELE_OK &&
        (result->revision_first != flight->revision || result->idempotent != 0)) {
        flight->outcome = STELE_WRONG_REVISION;
    }
}

static void on_done(void *context, int outcome, const struct stele_append_result *result)
{
    struct flight *const flight = context;
    struct async *const async = flight->async;
    finish_flight(flight, outcome, result);
    struct flight *head = atomic_load_explicit(&async->done, memory_order_relaxed);
    do {
        flight->next = head;
    } while (!atomic_compare_exchange_weak(&async->done, &head, flight));
    /* Sequentially consistent, like the submitter's store and load the other way round: one of us
     * two sees what the other one did. */
    if (atomic_load(&async->asleep) && atomic_exchange(&async->asleep, false)) {
        (void)pthread_mutex_lock(&async->lock);
        (void)pthread_cond_signal(&async->woken);
        (void)pthread_mutex_unlock(&async->lock);
    }
}

static void count_flight(struct async *async, struct flight *flight)
{
    if (flight->outcome != STELE_OK) {
        async->errors++;
        async->first_error.outcome = flight->outcome;
    } else {
        async->acknowledged += flight->events;
    }
    if (flight->outcome == STELE_OK && flight->begin_ns >= async->measure_ns) {
        async->events += flight->events;
        bench_histogram_add(&async->latency, flight->end_ns - flight->begin_ns);
        async->last_ns = flight->end_ns > async->last_ns ? flight->end_ns : async->last_ns;
    }
    flight->next = async->idle;
    async->idle = flight;
    async->under_way--;
}

static void take_done(struct async *async)
{
    struct flight *flight = atomic_exchange(&async->done, NULL);
    while (flight != NULL) {
        struct flight *const next = flight->next;
        count_flight(async, flight);
        flight = next;
    }
}

static void wait_done(struct async *async)
{
    (void)pthread_mutex_lock(&async->lock);
    for (;;) {
        atomic_store(&async->asleep, true);
        if (atomic_load(&async->done) != NULL) {
            break;
        }
        (void)pthread_cond_wait(&async->woken, &async->lock);
    }
    atomic_store(&async->asleep, false);
    (void)pthread_mutex_unlock(&async->lock);
}

/* Submits what the source has made. There must be an idle flight. */
static bool submit(struct async *async)
{
    struct flight *const flight = async->idle;
    struct source *const source = async->source;
    async->idle = flight->next;
    async->under_way++;
    prepare_flight(async, flight);
    struct stele_error err = {0};
    const int outcome = stele_append_async(async->store, source->appends, source->appends_count,
                                           NULL, 0, on_done, flight, &err);
    if (outcome != STELE_OK) {
        flight->outcome = outcome;
        count_flight(async, flight);
        async->first_error = err;
        async->first_error.outcome = outcome;
    }
    return outcome == STELE_OK;
}

static void wait_for_idle(struct async *async)
{
    take_done(async);
    while (async->idle == NULL) {
        wait_done(async);
        take_done(async);
    }
}

static void drain(struct async *async)
{
    take_done(async);
    while (async->under_way > 0) {
        wait_done(async);
        take_done(async);
    }
}

static bool may_go_on(const struct async *async)
{
    return async->errors < ERRORS_MAX && !stele_cli_interrupted();
}

/* Submits until a time, as many at once as there are flights. The clock is looked at by submit();
 * asking it once more for each append would be a tenth of the load. */
static void submit_until(struct async *async, uint64_t end_ns)
{
    uint64_t now = bench_now_ns();
    while (now < end_ns && may_go_on(async)) {
        wait_for_idle(async);
        make_batch(async->source);
        const struct flight *const flight = async->idle;
        (void)submit(async);
        now = flight->begin_ns;
    }
}

static void report_async(struct bench *bench, struct async *async, struct bench_result *result)
{
    result->latency = async->latency;
    result->events = async->events;
    result->errors = async->errors;
    finish_appends(bench, result, async->measure_ns, async->last_ns);
    stele_cli_bench_report(bench, result, &async->first_error);
}

int stele_cli_bench_async(struct bench *bench, const struct bench_workload *workload)
{
    const uint32_t in_flight =
        workload->in_flight != 0 ? workload->in_flight : (uint32_t)bench->in_flight;
    const uint32_t batch = workload->batch != 0 ? workload->batch : (uint32_t)bench->batch;
    struct fresh fresh = {0};
    const int code = open_fresh(bench, workload, &fresh);
    if (code != STELE_CLI_OK) {
        return close_fresh(bench, &fresh, code);
    }
    struct async *const async =
        create_async(bench, fresh.store, fresh.revisions, in_flight, batch, workload->spread);
    struct bench_result *const result = bench_alloc(1, sizeof *result);
    result->program = "stele";
    result->workload = workload->name;

    async->measure_ns = bench_now_ns() + bench_ns(bench->warmup);
    submit_until(async, async->measure_ns);
    result->before = bench_usage_now();
    submit_until(async, async->measure_ns + bench_ns(bench->seconds));
    drain(async);
    report_async(bench, async, result);

    free(result);
    destroy_async(async);
    return close_fresh(bench, &fresh, STELE_CLI_OK);
}

/* ---- Chains ---------------------------------------------------------------------------------------
 *
 * As many appends under way as before, but each is started by the callback of an earlier one, as
 * a program does that is built around completions: there is no submitter that has to be woken. */

struct chain {
    struct async async;   /* Its list and its sleep are not used. */
    pthread_mutex_t lock; /* Guards all of it. Recursive: a callback may come before the call that
                           * asked for it has returned. */
    pthread_cond_t ended;
    uint64_t end_ns;
};

static void on_link_done(void *context, int outcome, const struct stele_append_result *result);

/* Under the lock. */
static void start_link(struct async *async)
{
    struct flight *const flight = async->idle;
    struct source *const source = async->source;
    make_batch(source);
    async->idle = flight->next;
    async->under_way++;
    prepare_flight(async, flight);
    struct stele_error err = {0};
    const int outcome = stele_append_async(async->store, source->appends, source->appends_count,
                                           NULL, 0, on_link_done, flight, &err);
    if (outcome != STELE_OK) {
        flight->outcome = outcome;
        count_flight(async, flight);
        async->first_error = err;
    }
}

static void on_link_done(void *context, int outcome, const struct stele_append_result *result)
{
    struct flight *const flight = context;
    struct chain *const chain = (struct chain *)flight->async;
    (void)pthread_mutex_lock(&chain->lock);
    finish_flight(flight, outcome, result);
    count_flight(&chain->async, flight);
    if (flight->end_ns < chain->end_ns && may_go_on(&chain->async)) {
        start_link(&chain->async);
    }
    if (chain->async.under_way == 0) {
        (void)pthread_cond_signal(&chain->ended);
    }
    (void)pthread_mutex_unlock(&chain->lock);
}

static void init_recursive(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    (void)pthread_mutexattr_init(&attributes);
    (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(lock, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
}

static void run_chain(struct bench *bench, struct chain *chain, uint32_t in_flight,
                      struct bench_result *result)
{
    chain->async.measure_ns = bench_now_ns() + bench_ns(bench->warmup);
    chain->end_ns = chain->async.measure_ns + bench_ns(bench->seconds);
    (void)pthread_mutex_lock(&chain->lock);
    for (uint32_t i = 0; i < in_flight; i++) {
        start_link(&chain->async);
    }
    (void)pthread_mutex_unlock(&chain->lock);
    bench_sleep_ns(bench_ns(bench->warmup));
    result->before = bench_usage_now();
    (void)pthread_mutex_lock(&chain->lock);
    while (chain->async.under_way > 0) {
        (void)pthread_cond_wait(&chain->ended, &chain->lock);
    }
    (void)pthread_mutex_unlock(&chain->lock);
}

int stele_cli_bench_chain(struct bench *bench, const struct bench_workload *workload)
{
    struct fresh fresh = {0};
    const int code = open_fresh(bench, workload, &fresh);
    if (code != STELE_CLI_OK) {
        return close_fresh(bench, &fresh, code);
    }
    struct chain *const chain = bench_alloc(1, sizeof *chain);
    struct bench_result *const result = bench_alloc(1, sizeof *result);
    init_async(&chain->async, bench, fresh.store, fresh.revisions, workload->in_flight, 1, false);
    init_recursive(&chain->lock);
    (void)pthread_cond_init(&chain->ended, NULL);
    result->program = "stele";
    result->workload = workload->name;
    run_chain(bench, chain, workload->in_flight, result);
    report_async(bench, &chain->async, result);

    (void)pthread_cond_destroy(&chain->ended);
    (void)pthread_mutex_destroy(&chain->lock);
    deinit_async(&chain->async);
    free(result);
    free(chain);
    return close_fresh(bench, &fresh, STELE_CLI_OK);
}

/* ---- Filling ------------------------------------------------------------------------------------ */

static void submit_to(struct async *async, const char *stream, uint32_t *revision, uint32_t count)
{
    wait_for_idle(async);
    struct source *const source = async->source;
    const uint32_t batch = source->batch;
    source->batch = count;
    make_drafts(source);
    source->appends[0] = (struct stele_append){.stream = stream,
                                               .expected = expected_of(*revision),
                                               .events = source->drafts,
                                               .count = count};
    source->appends_count = 1;
    *revision += count;
    (void)submit(async);
    source->batch = batch;
}

static uint32_t ledger_events(const struct bench *bench)
{
    return bench->events < STELE_CLI_BENCH_LEDGER_EVENTS ? (uint32_t)bench->events
                                                         : STELE_CLI_BENCH_LEDGER_EVENTS;
}

void stele_cli_bench_ledger_name(const struct bench *bench, enum bench_ledger ledger,
                                 char to[BENCH_STREAM_NAME_SIZE])
{
    const char *const category = bench->remote != NULL ? bench->category_filled : "ledger-";
    (void)snprintf(to, BENCH_STREAM_NAME_SIZE, "%s%s", category,
                   ledger == BENCH_LEDGER_APART ? "apart" : "together");
}

static void fill_streams(struct bench *bench, struct async *async)
{
    char name[BENCH_STREAM_NAME_SIZE];
    stele_cli_bench_ledger_name(bench, BENCH_LEDGER_APART, name);
    const uint32_t ledger = ledger_events(bench);
    const uint64_t apart = bench->events / ledger;
    uint32_t ledger_revision = 0;
    uint64_t left = bench->events;
    while (left > 0 && may_go_on(async)) {
        if (ledger_revision < ledger && bench->events - left >= ledger_revision * apart) {
            submit_to(async, name, &ledger_revision, 1);
        }
        async->source->batch =
            left < bench->fill_batch ? (uint32_t)left : (uint32_t)bench->fill_batch;
        wait_for_idle(async);
        make_batch(async->source);
        (void)submit(async);
        left -= async->source->batch;
    }
    while (ledger_revision < ledger && may_go_on(async)) {
        submit_to(async, name, &ledger_revision, 1);
    }
}

int stele_cli_bench_fill(struct bench *bench, struct stele *store)
{
    uint32_t *const revisions = bench_alloc(bench->streams_count, sizeof *revisions);
    struct async *const async =
        create_async(bench, store, revisions, 1024, (uint32_t)bench->fill_batch, true);
    fill_streams(bench, async);
    char name[BENCH_STREAM_NAME_SIZE];
    stele_cli_bench_ledger_name(bench, BENCH_LEDGER_TOGETHER, name);
    const uint32_t ledger = ledger_events(bench);
    uint32_t ledger_revision = 0;
    while (ledger_revision < ledger && may_go_on(async)) {
        submit_to(async, name, &ledger_revision, 1);
    }
    drain(async);

    int code = STELE_CLI_OK;
    if (async->errors > 0) {
        code = stele_cli_fail_outcome(async->first_error.outcome, &async->first_error,
                                      "fill the store");
    } else if (stele_cli_interrupted()) {
        code = STELE_CLI_INTERRUPTED;
    }
    destroy_async(async);
    free(revisions);
    return code;
}

int stele_cli_bench_append_until(struct bench *bench, struct stele *store, uint64_t end_ns,
                                 volatile uint64_t *acknowledged)
{
    /* Streams of this moment only, because those of the filled store have revisions that nobody
     * here knows. */
    char stream[64];
    uint32_t revision = 0;
    (void)snprintf(stream, sizeof stream, "extra-%" PRIx64, bench_seed());
    struct async *const async = create_async(bench, store, NULL, 1024, 1, false);
    while (bench_now_ns() < end_ns && async->errors == 0) {
        submit_to(async, stream, &revision, 1);
        *acknowledged = async->acknowledged;
    }
    drain(async);
    *acknowledged = async->acknowledged;
    const int outcome = async->errors == 0 ? STELE_OK : async->first_error.outcome;
    destroy_async(async);
    return outcome;
}

/* ---- Growth ----------------------------------------------------------------------------------------
 *
 * The rate while a store grows from nothing to all events, in windows of a fiftieth. */

#define WINDOWS 50u

static void add_windows(struct bench_result *result, const double *rates, uint32_t count)
{
    /* The first window pays for the first segments; the second is "one million of fifty". */
    const double early = rates[count > 1 ? 1 : 0];
    double slowest = rates[0];
    double late = 0;
    const uint32_t late_count = count < 5 ? count : 5;
    for (uint32_t i = 0; i < count; i++) {
        slowest = rates[i] < slowest ? rates[i] : slowest;
        late += i >= count - late_count ? rates[i] / late_count : 0;
    }
    bench_result_add(result, "early_per_s", early);
    bench_result_add(result, "late_per_s", late);
    bench_result_add(result, "slowest_per_s", slowest);
    bench_result_add(result, "late_to_early", early > 0 ? late / early : 0);
}

int stele_cli_bench_growth(struct bench *bench, const struct bench_workload *workload)
{
    struct fresh fresh = {0};
    const int code = open_fresh(bench, workload, &fresh);
    if (code != STELE_CLI_OK) {
        return close_fresh(bench, &fresh, code);
    }
    struct async *const async =
        create_async(bench, fresh.store, fresh.revisions, workload->in_flight, 1, false);
    struct bench_result *const result = bench_alloc(1, sizeof *result);
    result->program = "stele";
    result->workload = workload->name;
    double rates[WINDOWS];
    uint32_t count = 0;
    const uint64_t window = bench->events < WINDOWS ? 1 : bench->events / WINDOWS;

    result->before = bench_usage_now();
    const uint64_t start = bench_now_ns();
    uint64_t window_start = start;
    while (count < WINDOWS && may_go_on(async)) {
        for (uint64_t i = 0; i < window && may_go_on(async); i++) {
            wait_for_idle(async);
            make_batch(async->source);
            (void)submit(async);
        }
        const uint64_t now = bench_now_ns();
        rates[count++] = (double)window * 1e9 / (double)(now - window_start);
        window_start = now;
    }
    drain(async);
    result->latency = async->latency;
    result->events = async->events;
    result->errors = async->errors;
    finish_appends(bench, result, start, async->last_ns);
    if (count > 0) {
        add_windows(result, rates, count);
    }
    stele_cli_bench_report(bench, result, &async->first_error);

    free(result);
    destroy_async(async);
    return close_fresh(bench, &fresh, STELE_CLI_OK);
}

/* ---- Live ------------------------------------------------------------------------------------------
 *
 * From the call of an append to the moment when a subscriber holds the event. One event at a time,
 * with a pause before each, so that every thread involved has gone to sleep: the honest case. */

#define LIVE_PAUSE_NS UINT64_C(500000)
#define LIVE_PATIENCE_NS (5 * BENCH_NS_PER_S)

struct listener {
    _Atomic uint64_t sent_ns;
    _Atomic uint64_t events;
    uint64_t position; /* Of the last event: the next one has to be greater. */
    uint64_t errors;
    uint64_t measure_ns;
    struct bench_histogram latency;
};

static int on_events(void *context, const struct stele_event *events, size_t count,
                     uint64_t checkpoint)
{
    struct listener *const listener = context;
    const uint64_t now = bench_now_ns();
    const uint64_t sent = atomic_load(&listener->sent_ns);
    (void)checkpoint;
    for (size_t i = 0; i < count; i++) {
        listener->errors += events[i].position > listener->position ? 0 : 1;
        listener->position = events[i].position;
        if (sent >= listener->measure_ns) {
            bench_histogram_add(&listener->latency, now - sent);
        }
    }
    (void)atomic_fetch_add(&listener->events, count);
    return 0;
}

/* To everything, or to what this run appends where others do as well. */
static int subscribe(const struct bench *bench, struct stele *store, struct listener *listener,
                     struct stele_subscription **out_subscription)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    const char *const prefixes[] = {bench->category};
    const struct stele_filter filter = {.stream_prefixes = prefixes, .stream_prefixes_count = 1};
    options.filter = bench->remote != NULL ? &filter : NULL;
    struct stele_error err = {0};
    const int outcome =
        stele_subscribe(store, NULL, &options, on_events, NULL, listener, out_subscription, &err);
    return outcome == STELE_OK ? STELE_CLI_OK : stele_cli_fail_outcome(outcome, &err, "subscribe");
}

/* Until the listener has so many events; false: it did not get them. */
static bool wait_for_listener(struct listener *listener, uint64_t events)
{
    const uint64_t patience = bench_now_ns() + LIVE_PATIENCE_NS;
    while (atomic_load(&listener->events) < events) {
        if (bench_now_ns() > patience) {
            return false;
        }
        bench_sleep_ns(20000);
    }
    return true;
}

static void append_and_listen(struct writer *writer, struct listener *listener)
{
    uint64_t events = 0;
    while (bench_now_ns() < writer->end_ns && writer->errors < ERRORS_MAX &&
           !stele_cli_interrupted()) {
        bench_sleep_ns(LIVE_PAUSE_NS);
        atomic_store(&listener->sent_ns, bench_now_ns());
        append_batch(writer);
        events++;
        if (writer->errors == 0 && !wait_for_listener(listener, events)) {
            writer->errors = ERRORS_MAX;
        }
    }
}

int stele_cli_bench_live(struct bench *bench, const struct bench_workload *workload)
{
    struct fresh fresh = {0};
    int code = open_fresh(bench, workload, &fresh);
    if (code != STELE_CLI_OK) {
        return close_fresh(bench, &fresh, code);
    }
    struct writer *const writer = create_writer(bench, &fresh, 1, false);
    struct listener *const listener = bench_alloc(1, sizeof *listener);
    struct stele_subscription *subscription = NULL;
    writer->measure_ns = listener->measure_ns = bench_now_ns() + bench_ns(bench->warmup);
    writer->end_ns = writer->measure_ns + bench_ns(bench->seconds);
    code = subscribe(bench, fresh.store, listener, &subscription);
    if (code == STELE_CLI_OK) {
        struct bench_result *const result = bench_alloc(1, sizeof *result);
        result->program = "stele";
        result->workload = workload->name;
        result->before = bench_usage_now();
        append_and_listen(writer, listener);
        stele_unsubscribe(subscription);
        result->latency = listener->latency;
        result->events = listener->latency.count;
        result->errors = writer->errors + listener->errors;
        finish_appends(bench, result, writer->measure_ns, writer->last_ns);
        bench_result_add(result, "append_p50_us",
                         bench_us(bench_histogram_percentile(&writer->latency, 0.5)));
        stele_cli_bench_report(bench, result, &writer->first_error);
        free(result);
    }
    free(listener);
    destroy_writer(writer);
    return close_fresh(bench, &fresh, code);
}

/* ---- Mixed -------------------------------------------------------------------------------------------
 *
 * Threads that append, threads that read streams, a subscriber that follows everything, at once. */

#define MIXED_WRITERS 4u
#define MIXED_READERS 2u

struct reader {
    pthread_t thread;
    struct stele *store;
    const char *category;
    struct bench_streams streams;
    uint64_t random;
    uint64_t measure_ns, end_ns;
    uint64_t events, errors, last_ns;
    struct stele_error first_error;
    struct bench_histogram latency;
};

static void *run_reader(void *context)
{
    struct reader *const reader = context;
    while (bench_now_ns() < reader->end_ns && !stele_cli_interrupted()) {
        char name[BENCH_STREAM_NAME_SIZE];
        (void)bench_stream_name_in(name, reader->category,
                                   bench_streams_pick(&reader->streams, &reader->random));
        uint64_t count = 0;
        struct stele_error err = {0};
        const uint64_t begin = bench_now_ns();
        const int outcome = stele_cli_bench_read(reader->store, name, &count, &err);
        const uint64_t now = bench_now_ns();
        if (outcome != STELE_OK && outcome != STELE_NO_STREAM) {
            reader->first_error = err;
            reader->errors++;
        } else if (begin >= reader->measure_ns) {
            reader->events += count;
            reader->last_ns = now;
            bench_histogram_add(&reader->latency, now - begin);
        }
    }
    return NULL;
}

struct mixed {
    struct writer *writers[MIXED_WRITERS];
    struct reader *readers[MIXED_READERS];
    uint32_t writers_started, readers_started;
    struct listener *listener;
    uint64_t measure_ns, end_ns;
};

static void start_mixed(struct mixed *mixed)
{
    mixed->writers_started =
        start_writers(mixed->writers, MIXED_WRITERS, mixed->measure_ns, mixed->end_ns);
    for (uint32_t i = 0; i < MIXED_READERS; i++) {
        mixed->readers[i]->measure_ns = mixed->measure_ns;
        mixed->readers[i]->end_ns = mixed->end_ns;
        if (pthread_create(&mixed->readers[i]->thread, NULL, run_reader, mixed->readers[i]) != 0) {
            break;
        }
        mixed->readers_started++;
    }
}

static void report_mixed_appends(struct bench *bench, struct mixed *mixed,
                                 struct bench_result *result)
{
    struct stele_error first_error = {0};
    const uint64_t last =
        join_writers(mixed->writers, mixed->writers_started, result, &first_error);
    finish_appends(bench, result, mixed->measure_ns, last);
    result->workload = "mixed/append";
    stele_cli_bench_report(bench, result, &first_error);
}

static void report_mixed_reads(struct bench *bench, struct mixed *mixed,
                               struct bench_result *result)
{
    struct stele_error first_error = {0};
    uint64_t last = 0;
    for (uint32_t i = 0; i < mixed->readers_started; i++) {
        struct reader *const reader = mixed->readers[i];
        (void)pthread_join(reader->thread, NULL);
        bench_histogram_merge(&result->latency, &reader->latency);
        result->events += reader->events;
        result->errors += reader->errors;
        last = reader->last_ns > last ? reader->last_ns : last;
        first_error = reader->errors > 0 ? reader->first_error : first_error;
    }
    finish_appends(bench, result, mixed->measure_ns, last);
    result->workload = "mixed/read";
    stele_cli_bench_report(bench, result, &first_error);
}

static void report_mixed_live(struct bench *bench, struct mixed *mixed, struct bench_result *result)
{
    uint64_t appended = 0;
    for (uint32_t i = 0; i < mixed->writers_started; i++) {
        appended += mixed->writers[i]->acknowledged;
    }
    const bool complete = wait_for_listener(mixed->listener, appended);
    result->events = atomic_load(&mixed->listener->events);
    result->errors = mixed->listener->errors + (complete && result->events == appended ? 0 : 1);
    finish_appends(bench, result, mixed->measure_ns, bench_now_ns());
    /* From when the store was opened, since it counts all events. */
    result->seconds += bench->warmup;
    result->workload = "mixed/live";
    stele_cli_bench_report(bench, result, NULL);
}

static struct reader *create_reader(struct bench *bench, struct stele *store, uint32_t number)
{
    struct reader *const reader = bench_alloc(1, sizeof *reader);
    reader->store = store;
    reader->category = bench->category;
    reader->random = bench_seed() + number;
    bench_streams_init(&reader->streams, (uint32_t)bench->streams_count, bench->zipf);
    return reader;
}

static void report_mixed(struct bench *bench, struct mixed *mixed, const struct bench_usage *before)
{
    void (*const reports[])(struct bench *, struct mixed *,
                            struct bench_result *) = {report_mixed_appends, report_mixed_reads};
    struct bench_result *const result = bench_alloc(1, sizeof *result);
    for (size_t i = 0; i < STELE_COUNT_OF(reports); i++) {
        *result = (struct bench_result){.program = "stele", .before = *before};
        reports[i](bench, mixed, result);
    }
    *result = (struct bench_result){.program = "stele", .before = *before};
    report_mixed_live(bench, mixed, result);
    free(result);
}

int stele_cli_bench_mixed(struct bench *bench, const struct bench_workload *workload)
{
    struct fresh fresh = {0};
    int code = open_fresh(bench, workload, &fresh);
    if (code != STELE_CLI_OK) {
        return close_fresh(bench, &fresh, code);
    }
    struct mixed mixed = {.listener = bench_alloc(1, sizeof *mixed.listener)};
    for (uint32_t i = 0; i < MIXED_WRITERS; i++) {
        mixed.writers[i] = create_writer(bench, &fresh, 1, false);
    }
    for (uint32_t i = 0; i < MIXED_READERS; i++) {
        mixed.readers[i] = create_reader(bench, fresh.store, i);
    }
    struct stele_subscription *subscription = NULL;
    mixed.measure_ns = bench_now_ns() + bench_ns(bench->warmup);
    mixed.end_ns = mixed.measure_ns + bench_ns(bench->seconds);
    /* Its figure is a rate: when each event was sent is not known here. */
    mixed.listener->measure_ns = UINT64_MAX;
    code = subscribe(bench, fresh.store, mixed.listener, &subscription);
    if (code == STELE_CLI_OK) {
        start_mixed(&mixed);
        bench_sleep_ns(bench_ns(bench->warmup));
        const struct bench_usage before = bench_usage_now();
        report_mixed(bench, &mixed, &before);
        stele_unsubscribe(subscription);
    }
    for (uint32_t i = 0; i < MIXED_WRITERS; i++) {
        destroy_writer(mixed.writers[i]);
    }
    for (uint32_t i = 0; i < MIXED_READERS; i++) {
        bench_streams_deinit(&mixed.readers[i]->streams);
        free(mixed.readers[i]);
    }
    free(mixed.listener);
    return close_fresh(bench, &fresh, code);
}
