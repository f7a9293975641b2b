/* What the workloads that append append, and the stores that they begin with.
 *
 * Every append names the exact revision that it expects, as an application that has decided on
 * the basis of what it read does. Threads have streams of their own for that reason. */
#include "cli/bench_write.h"

struct bench_source *bench_source_create(struct bench *bench, uint32_t batch, bool spread)
{
    struct bench_source *const source = bench_alloc(1, sizeof *source);
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

void bench_source_destroy(struct bench_source *source)
{
    bench_streams_deinit(&source->streams);
    free(source->batches);
    free(source);
}

/* For a thread of several: its own part of the streams and other random numbers. */
void bench_source_take_part(struct bench_source *source, uint32_t first, uint32_t step)
{
    source->first = first;
    source->step = step;
    source->random += first * UINT64_C(7919);
    bench_streams_deinit(&source->streams);
    bench_streams_init(&source->streams, (uint32_t)source->bench->streams_count / step,
                       source->bench->zipf);
}

static uint32_t pick(struct bench_source *source)
{
    return bench_streams_pick(&source->streams, &source->random) * source->step + source->first;
}

static uint32_t pick_another(struct bench_source *source)
{
    uint32_t stream = pick(source);
    while (source->batches[stream] == source->batch_now) {
        stream = pick(source);
    }
    source->batches[stream] = source->batch_now;
    return stream;
}

uint64_t bench_expected_of(uint32_t next_revision)
{
    return next_revision == 0 ? STELE_EXPECT_NO_STREAM : next_revision - 1;
}

void bench_source_make_drafts(struct bench_source *source)
{
    for (uint32_t i = 0; i < source->batch; i++) {
        bench_random_id(&source->random, source->drafts[i].id);
        source->drafts[i].data = bench_pool_pick(&source->bench->pool, &source->random);
    }
}

static void make_append(struct bench_source *source, uint32_t index, uint32_t stream,
                        uint32_t count)
{
    (void)bench_stream_name_in(source->names[index], source->bench->category, stream);
    source->appends[index] = (struct stele_append){
        .stream = source->names[index],
        .expected = bench_expected_of(source->revisions[stream]),
        .events = &source->drafts[index],
        .count = count,
    };
    source->revisions[stream] += count;
}

void bench_source_make_batch(struct bench_source *source)
{
    bench_source_make_drafts(source);
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

int bench_fresh_open(struct bench *bench, const struct bench_workload *workload,
                     struct bench_fresh *fresh)
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

int bench_fresh_close(struct bench *bench, struct bench_fresh *fresh, int code)
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
