/* The workloads with a subscriber: from append to event, and everything at once. */
#include "cli/bench_write.h"

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

static void append_and_listen(struct bench_writer *writer, struct listener *listener)
{
    uint64_t events = 0;
    while (bench_now_ns() < writer->end_ns && writer->errors < BENCH_ERRORS_MAX &&
           !stele_cli_interrupted()) {
        bench_sleep_ns(LIVE_PAUSE_NS);
        atomic_store(&listener->sent_ns, bench_now_ns());
        bench_writer_append(writer);
        events++;
        if (writer->errors == 0 && !wait_for_listener(listener, events)) {
            writer->errors = BENCH_ERRORS_MAX;
        }
    }
}

int stele_cli_bench_live(struct bench *bench, const struct bench_workload *workload)
{
    struct bench_fresh fresh = {0};
    int code = bench_fresh_open(bench, workload, &fresh);
    if (code != STELE_CLI_OK) {
        return bench_fresh_close(bench, &fresh, code);
    }
    struct bench_writer *const writer = bench_writer_create(bench, &fresh, 1, false);
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
        bench_finish_appends(bench, result, writer->measure_ns, writer->last_ns);
        bench_result_add(result, "append_p50_us",
                         bench_us(bench_histogram_percentile(&writer->latency, 0.5)));
        stele_cli_bench_report(bench, result, &writer->first_error);
        free(result);
    }
    free(listener);
    bench_writer_destroy(writer);
    return bench_fresh_close(bench, &fresh, code);
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
    struct bench_writer *writers[MIXED_WRITERS];
    struct reader *readers[MIXED_READERS];
    uint32_t writers_started, readers_started;
    struct listener *listener;
    uint64_t measure_ns, end_ns;
};

static void start_mixed(struct mixed *mixed)
{
    mixed->writers_started =
        bench_writers_start(mixed->writers, MIXED_WRITERS, mixed->measure_ns, mixed->end_ns);
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
        bench_writers_join(mixed->writers, mixed->writers_started, result, &first_error);
    bench_finish_appends(bench, result, mixed->measure_ns, last);
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
    bench_finish_appends(bench, result, mixed->measure_ns, last);
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
    bench_finish_appends(bench, result, mixed->measure_ns, bench_now_ns());
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
    struct bench_fresh fresh = {0};
    int code = bench_fresh_open(bench, workload, &fresh);
    if (code != STELE_CLI_OK) {
        return bench_fresh_close(bench, &fresh, code);
    }
    struct mixed mixed = {.listener = bench_alloc(1, sizeof *mixed.listener)};
    for (uint32_t i = 0; i < MIXED_WRITERS; i++) {
        mixed.writers[i] = bench_writer_create(bench, &fresh, 1, false);
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
        bench_writer_destroy(mixed.writers[i]);
    }
    for (uint32_t i = 0; i < MIXED_READERS; i++) {
        bench_streams_deinit(&mixed.readers[i]->streams);
        free(mixed.readers[i]);
    }
    free(mixed.listener);
    return bench_fresh_close(bench, &fresh, code);
}
