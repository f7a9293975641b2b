/* The workload of threads that append and wait. */
#include "cli/bench_write.h"

static int fail_threads(void)
{
    return stele_cli_fail(STELE_CLI_FAILURE, "threads",
                          "the system gives no more threads; use fewer with --threads");
}

void bench_writer_append(struct bench_writer *writer)
{
    struct bench_source *const source = writer->source;
    bench_source_make_batch(source);
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
    struct bench_writer *const writer = context;
    while (bench_now_ns() < writer->end_ns && writer->errors < BENCH_ERRORS_MAX &&
           !stele_cli_interrupted()) {
        bench_writer_append(writer);
    }
    return NULL;
}

struct bench_writer *bench_writer_create(struct bench *bench, struct bench_fresh *fresh,
                                         uint32_t batch, bool spread)
{
    struct bench_writer *const writer = bench_alloc(1, sizeof *writer);
    writer->store = fresh->store;
    writer->source = bench_source_create(bench, batch, spread);
    writer->source->revisions = fresh->revisions;
    return writer;
}

void bench_writer_destroy(struct bench_writer *writer)
{
    if (writer != NULL) {
        bench_source_destroy(writer->source);
        free(writer);
    }
}

/* Starts threads that append; returns how many there are. */
uint32_t bench_writers_start(struct bench_writer **writers, uint32_t count, uint64_t measure_ns,
                             uint64_t end_ns)
{
    for (uint32_t i = 0; i < count; i++) {
        bench_source_take_part(writers[i]->source, i, count);
        writers[i]->measure_ns = measure_ns;
        writers[i]->end_ns = end_ns;
        if (pthread_create(&writers[i]->thread, NULL, run_writer, writers[i]) != 0) {
            return i;
        }
    }
    return count;
}

/* Waits for them and adds up; returns when the last append ended. */
uint64_t bench_writers_join(struct bench_writer **writers, uint32_t count,
                            struct bench_result *result, struct stele_error *out_first_error)
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

void bench_finish_appends(struct bench *bench, struct bench_result *result, uint64_t measure_ns,
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
    struct bench_fresh fresh = {0};
    int code = bench_fresh_open(bench, workload, &fresh);
    if (code != STELE_CLI_OK) {
        return bench_fresh_close(bench, &fresh, code);
    }
    struct bench_writer **const writers = bench_alloc(threads, sizeof(struct bench_writer *));
    for (uint32_t i = 0; i < threads; i++) {
        writers[i] = bench_writer_create(bench, &fresh, batch, workload->spread);
    }

    struct bench_result *const result = bench_alloc(1, sizeof *result);
    struct stele_error first_error = {0};
    result->program = "stele";
    result->workload = workload->name;
    const uint64_t measure = bench_now_ns() + bench_ns(bench->warmup);
    const uint32_t started =
        bench_writers_start(writers, threads, measure, measure + bench_ns(bench->seconds));
    bench_sleep_ns(bench_ns(bench->warmup));
    result->before = bench_usage_now();
    const uint64_t last = bench_writers_join(writers, started, result, &first_error);
    bench_finish_appends(bench, result, measure, last);
    if (started < threads) {
        code = fail_threads();
    } else {
        stele_cli_bench_report(bench, result, &first_error);
    }

    for (uint32_t i = 0; i < threads; i++) {
        bench_writer_destroy(writers[i]);
    }
    free(writers);
    free(result);
    return bench_fresh_close(bench, &fresh, code);
}
