/* The workloads with many appends under way: submitted, chained, and while a store grows.
 *
 * One thread submits. Those that are done come back through a list that any thread may push to and
 * only the submitter takes from, all at once:
 *
 *     callback: flight ──push──▶ done ──take all──▶ submitter: count it, use it again
 *
 * The submitter sleeps when everything is under way; the first callback after that wakes it, and
 * while it wakes up more come back, so that waking is paid once for many. */
#include "cli/bench_write.h"

static void init_async(struct bench_async *async, struct bench *bench, struct stele *store,
                       uint32_t *revisions, uint32_t in_flight, uint32_t batch, bool spread)
{
    memset(async, 0, sizeof *async);
    async->store = store;
    async->source = bench_source_create(bench, batch, spread);
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

struct bench_async *bench_async_create(struct bench *bench, struct stele *store,
                                       uint32_t *revisions, uint32_t in_flight, uint32_t batch,
                                       bool spread)
{
    struct bench_async *const async = bench_alloc(1, sizeof *async);
    init_async(async, bench, store, revisions, in_flight, batch, spread);
    return async;
}

static void deinit_async(struct bench_async *async)
{
    (void)pthread_cond_destroy(&async->woken);
    (void)pthread_mutex_destroy(&async->lock);
    bench_source_destroy(async->source);
    free(async->flights);
}

void bench_async_destroy(struct bench_async *async)
{
    deinit_async(async);
    free(async);
}

static void prepare_flight(const struct bench_async *async, struct bench_flight *flight)
{
    const struct bench_source *const source = async->source;
    const uint64_t expected = source->appends[0].expected;
    flight->events = source->batch;
    flight->revision = expected == STELE_EXPECT_NO_STREAM ? 0 : expected + 1;
    flight->begin_ns = bench_now_ns();
}

static void finish_flight(struct bench_flight *flight, int outcome,
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
    struct bench_flight *const flight = context;
    struct bench_async *const async = flight->async;
    finish_flight(flight, outcome, result);
    struct bench_flight *head = atomic_load_explicit(&async->done, memory_order_relaxed);
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

static void count_flight(struct bench_async *async, struct bench_flight *flight)
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

static void take_done(struct bench_async *async)
{
    struct bench_flight *flight = atomic_exchange(&async->done, NULL);
    while (flight != NULL) {
        struct bench_flight *const next = flight->next;
        count_flight(async, flight);
        flight = next;
    }
}

static void wait_done(struct bench_async *async)
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
bool bench_async_submit(struct bench_async *async)
{
    struct bench_flight *const flight = async->idle;
    struct bench_source *const source = async->source;
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

void bench_async_wait_for_idle(struct bench_async *async)
{
    take_done(async);
    while (async->idle == NULL) {
        wait_done(async);
        take_done(async);
    }
}

void bench_async_drain(struct bench_async *async)
{
    take_done(async);
    while (async->under_way > 0) {
        wait_done(async);
        take_done(async);
    }
}

bool bench_async_may_go_on(const struct bench_async *async)
{
    return async->errors < BENCH_ERRORS_MAX && !stele_cli_interrupted();
}

/* Submits until a time, as many at once as there are flights. The clock is looked at by bench_async_submit();
 * asking it once more for each append would be a tenth of the load. */
static void submit_until(struct bench_async *async, uint64_t end_ns)
{
    uint64_t now = bench_now_ns();
    while (now < end_ns && bench_async_may_go_on(async)) {
        bench_async_wait_for_idle(async);
        bench_source_make_batch(async->source);
        const struct bench_flight *const flight = async->idle;
        (void)bench_async_submit(async);
        now = flight->begin_ns;
    }
}

static void report_async(struct bench *bench, struct bench_async *async,
                         struct bench_result *result)
{
    result->latency = async->latency;
    result->events = async->events;
    result->errors = async->errors;
    bench_finish_appends(bench, result, async->measure_ns, async->last_ns);
    stele_cli_bench_report(bench, result, &async->first_error);
}

int stele_cli_bench_async(struct bench *bench, const struct bench_workload *workload)
{
    const uint32_t in_flight =
        workload->in_flight != 0 ? workload->in_flight : (uint32_t)bench->in_flight;
    const uint32_t batch = workload->batch != 0 ? workload->batch : (uint32_t)bench->batch;
    struct bench_fresh fresh = {0};
    const int code = bench_fresh_open(bench, workload, &fresh);
    if (code != STELE_CLI_OK) {
        return bench_fresh_close(bench, &fresh, code);
    }
    struct bench_async *const async =
        bench_async_create(bench, fresh.store, fresh.revisions, in_flight, batch, workload->spread);
    struct bench_result *const result = bench_alloc(1, sizeof *result);
    result->program = "stele";
    result->workload = workload->name;

    async->measure_ns = bench_now_ns() + bench_ns(bench->warmup);
    submit_until(async, async->measure_ns);
    result->before = bench_usage_now();
    submit_until(async, async->measure_ns + bench_ns(bench->seconds));
    bench_async_drain(async);
    report_async(bench, async, result);

    free(result);
    bench_async_destroy(async);
    return bench_fresh_close(bench, &fresh, STELE_CLI_OK);
}

/* ---- Chains ---------------------------------------------------------------------------------------
 *
 * As many appends under way as before, but each is started by the callback of an earlier one, as
 * a program does that is built around completions: there is no submitter that has to be woken. */

struct chain {
    struct bench_async async; /* Its list and its sleep are not used. */
    pthread_mutex_t lock; /* Guards all of it. Recursive: a callback may come before the call that
                           * asked for it has returned. */
    pthread_cond_t ended;
    uint64_t end_ns;
};

static void on_link_done(void *context, int outcome, const struct stele_append_result *result);

/* Under the lock. */
static void start_link(struct bench_async *async)
{
    struct bench_flight *const flight = async->idle;
    struct bench_source *const source = async->source;
    bench_source_make_batch(source);
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
    struct bench_flight *const flight = context;
    struct chain *const chain = (struct chain *)flight->async;
    (void)pthread_mutex_lock(&chain->lock);
    finish_flight(flight, outcome, result);
    count_flight(&chain->async, flight);
    if (flight->end_ns < chain->end_ns && bench_async_may_go_on(&chain->async)) {
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
    struct bench_fresh fresh = {0};
    const int code = bench_fresh_open(bench, workload, &fresh);
    if (code != STELE_CLI_OK) {
        return bench_fresh_close(bench, &fresh, code);
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
    return bench_fresh_close(bench, &fresh, STELE_CLI_OK);
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
    struct bench_fresh fresh = {0};
    const int code = bench_fresh_open(bench, workload, &fresh);
    if (code != STELE_CLI_OK) {
        return bench_fresh_close(bench, &fresh, code);
    }
    struct bench_async *const async =
        bench_async_create(bench, fresh.store, fresh.revisions, workload->in_flight, 1, false);
    struct bench_result *const result = bench_alloc(1, sizeof *result);
    result->program = "stele";
    result->workload = workload->name;
    double rates[WINDOWS];
    uint32_t count = 0;
    const uint64_t window = bench->events < WINDOWS ? 1 : bench->events / WINDOWS;

    result->before = bench_usage_now();
    const uint64_t start = bench_now_ns();
    uint64_t window_start = start;
    while (count < WINDOWS && bench_async_may_go_on(async)) {
        for (uint64_t i = 0; i < window && bench_async_may_go_on(async); i++) {
            bench_async_wait_for_idle(async);
            bench_source_make_batch(async->source);
            (void)bench_async_submit(async);
        }
        const uint64_t now = bench_now_ns();
        rates[count++] = (double)window * 1e9 / (double)(now - window_start);
        window_start = now;
    }
    bench_async_drain(async);
    result->latency = async->latency;
    result->events = async->events;
    result->errors = async->errors;
    bench_finish_appends(bench, result, start, async->last_ns);
    if (count > 0) {
        add_windows(result, rates, count);
    }
    stele_cli_bench_report(bench, result, &async->first_error);

    free(result);
    bench_async_destroy(async);
    return bench_fresh_close(bench, &fresh, STELE_CLI_OK);
}
