/* Filling a store for the workloads that read, and appending to it while they do. */
#include "cli/bench_write.h"

static void submit_to(struct bench_async *async, const char *stream, uint32_t *revision,
                      uint32_t count)
{
    bench_async_wait_for_idle(async);
    struct bench_source *const source = async->source;
    const uint32_t batch = source->batch;
    source->batch = count;
    bench_source_make_drafts(source);
    source->appends[0] = (struct stele_append){.stream = stream,
                                               .expected = bench_expected_of(*revision),
                                               .events = source->drafts,
                                               .count = count};
    source->appends_count = 1;
    *revision += count;
    (void)bench_async_submit(async);
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

static void fill_streams(struct bench *bench, struct bench_async *async)
{
    char name[BENCH_STREAM_NAME_SIZE];
    stele_cli_bench_ledger_name(bench, BENCH_LEDGER_APART, name);
    const uint32_t ledger = ledger_events(bench);
    const uint64_t apart = bench->events / ledger;
    uint32_t ledger_revision = 0;
    uint64_t left = bench->events;
    while (left > 0 && bench_async_may_go_on(async)) {
        if (ledger_revision < ledger && bench->events - left >= ledger_revision * apart) {
            submit_to(async, name, &ledger_revision, 1);
        }
        async->source->batch =
            left < bench->fill_batch ? (uint32_t)left : (uint32_t)bench->fill_batch;
        bench_async_wait_for_idle(async);
        bench_source_make_batch(async->source);
        (void)bench_async_submit(async);
        left -= async->source->batch;
    }
    while (ledger_revision < ledger && bench_async_may_go_on(async)) {
        submit_to(async, name, &ledger_revision, 1);
    }
}

int stele_cli_bench_fill(struct bench *bench, struct stele *store)
{
    uint32_t *const revisions = bench_alloc(bench->streams_count, sizeof *revisions);
    struct bench_async *const async =
        bench_async_create(bench, store, revisions, 1024, (uint32_t)bench->fill_batch, true);
    fill_streams(bench, async);
    char name[BENCH_STREAM_NAME_SIZE];
    stele_cli_bench_ledger_name(bench, BENCH_LEDGER_TOGETHER, name);
    const uint32_t ledger = ledger_events(bench);
    uint32_t ledger_revision = 0;
    while (ledger_revision < ledger && bench_async_may_go_on(async)) {
        submit_to(async, name, &ledger_revision, 1);
    }
    bench_async_drain(async);

    int code = STELE_CLI_OK;
    if (async->errors > 0) {
        code = stele_cli_fail_outcome(async->first_error.outcome, &async->first_error,
                                      "fill the store");
    } else if (stele_cli_interrupted()) {
        code = STELE_CLI_INTERRUPTED;
    }
    bench_async_destroy(async);
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
    struct bench_async *const async = bench_async_create(bench, store, NULL, 1024, 1, false);
    while (bench_now_ns() < end_ns && async->errors == 0) {
        submit_to(async, stream, &revision, 1);
        *acknowledged = async->acknowledged;
    }
    bench_async_drain(async);
    *acknowledged = async->acknowledged;
    const int outcome = async->errors == 0 ? STELE_OK : async->first_error.outcome;
    bench_async_destroy(async);
    return outcome;
}
