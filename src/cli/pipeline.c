#include "cli/pipeline.h"

#include "cli/cli.h"
#include "cli/sink.h"
#include "cli/text.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS_MAX 1024                        /* Under way. */
#define BYTES_MAX ((size_t)64 * 1024 * 1024) /* Of events under way, about. */
#define RUN_BYTES_MAX ((size_t)1024 * 1024)  /* Of one run, unless one event has more. */
#define STREAMS_MAX ((size_t)100 * 1000)     /* Remembered. */
#define SLOTS ((size_t)1 << 18)              /* Of the table of streams. */

_Static_assert(SLOTS > 2 * STREAMS_MAX, "the table stays sparse");

#define REVISION_UNKNOWN UINT64_MAX /* Of a stream that existed before, until an append ends. */

struct stream {
    char *name;
    uint64_t hash;
    uint64_t expected;    /* For the next run: STELE_EXPECT_NO_STREAM, a revision, or unknown. */
    uint64_t next_before; /* The stream's next revision before this import. */
    size_t under_way;     /* Runs. */
};

/* Events of one stream that follow each other. */
struct run {
    struct stele_cli_pipeline *pipeline;
    struct stele_cli_arena arena;
    struct stream *stream;
    uint64_t expected;
    struct stele_event_draft *events;
    uint64_t *lines; /* Of each event. */
    size_t count;
    size_t count_max;
    size_t room;
    bool done; /* Under the lock, as the two below. */
    int outcome;
    struct stele_append_result result;
};

struct stele_cli_pipeline {
    struct stele *store;
    const char *name;
    size_t run_max;
    uint64_t without_id;
    struct stele_cli_pipeline_counts counts;
    struct stele_cli_arena line; /* The line that is being taken in: its stream is known late. */

    struct run *runs; /* A ring of RUNS_MAX: [first, first + count) are under way. */
    size_t first;
    size_t count;
    size_t bytes;     /* Of them. */
    struct run *open; /* The run that is being filled, the slot behind those; NULL: none. */

    struct stream *streams;
    size_t streams_count;

    pthread_mutex_t lock; /* Taken by the library's threads when an append ends. */
    pthread_cond_t ended;
};

struct stele_cli_pipeline *stele_cli_pipeline_create(struct stele *store, const char *name,
                                                     size_t run_max)
{
    struct stele_cli_pipeline *const pipeline = stele_cli_alloc(sizeof *pipeline);
    *pipeline = (struct stele_cli_pipeline){
        .store = store, .name = name, .run_max = run_max, .counts = {.streams_exact = true}};
    pipeline->runs = stele_cli_alloc(RUNS_MAX * sizeof *pipeline->runs);
    pipeline->streams = stele_cli_alloc(SLOTS * sizeof *pipeline->streams);
    memset(pipeline->streams, 0, SLOTS * sizeof *pipeline->streams);
    for (size_t i = 0; i < RUNS_MAX; i++) {
        pipeline->runs[i] = (struct run){.pipeline = pipeline};
    }
    (void)pthread_mutex_init(&pipeline->lock, NULL);
    (void)pthread_cond_init(&pipeline->ended, NULL);
    return pipeline;
}

/* ---- Streams ---- */

static uint64_t hash_of(const char *name)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a, 64 bits */
    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * 1099511628211u;
    }
    return hash;
}

static void forget_streams(struct stele_cli_pipeline *pipeline)
{
    for (size_t i = 0; i < SLOTS; i++) {
        free(pipeline->streams[i].name);
    }
    memset(pipeline->streams, 0, SLOTS * sizeof *pipeline->streams);
    pipeline->streams_count = 0;
}

static struct stream *find_stream(struct stele_cli_pipeline *pipeline, const char *name)
{
    const uint64_t hash = hash_of(name);
    size_t slot = (size_t)(hash % SLOTS);
    while (
        pipeline->streams[slot].name != NULL &&
        (pipeline->streams[slot].hash != hash || strcmp(pipeline->streams[slot].name, name) != 0)) {
        slot = (slot + 1) % SLOTS;
    }
    pipeline->streams[slot].hash = hash;
    return &pipeline->streams[slot];
}

/* A stream that does not exist is known to be at NO_STREAM; of one that exists, or that cannot be
 * asked about, the first append tells. */
static void remember_stream(struct stele_cli_pipeline *pipeline, struct stream *stream,
                            const char *name)
{
    struct stele_stream_info info;
    const size_t size = strlen(name) + 1;
    const int outcome = stele_stream_info(pipeline->store, name, &info, NULL);
    stream->name = stele_cli_alloc(size);
    memcpy(stream->name, name, size);
    stream->expected = outcome == STELE_NO_STREAM ? STELE_EXPECT_NO_STREAM : REVISION_UNKNOWN;
    stream->next_before = outcome == STELE_OK ? info.revision_last + 1 : 0;
    pipeline->streams_count++;
    pipeline->counts.streams++;
}

/* ---- The end of a run ---- */

static void on_end(void *context, int outcome, const struct stele_append_result *result)
{
    struct run *const run = context;
    struct stele_cli_pipeline *const pipeline = run->pipeline;
    (void)pthread_mutex_lock(&pipeline->lock);
    run->outcome = outcome;
    run->result = *result;
    run->done = true;
    (void)pthread_cond_signal(&pipeline->ended);
    (void)pthread_mutex_unlock(&pipeline->lock);
}

static void wait_for(struct stele_cli_pipeline *pipeline, const struct run *run)
{
    (void)pthread_mutex_lock(&pipeline->lock);
    while (!run->done) {
        (void)pthread_cond_wait(&pipeline->ended, &pipeline->lock);
    }
    (void)pthread_mutex_unlock(&pipeline->lock);
}

static int tell_failure(const struct run *run, size_t event, int outcome,
                        const struct stele_error *err)
{
    char where[512];
    (void)snprintf(where, sizeof where, "%.400s:%llu", run->pipeline->name,
                   (unsigned long long)run->lines[event]);
    const struct stele_cli_attempt attempt = {
        where,         "append to",         run->stream->name,
        run->expected, run->events + event, run->count - event};
    return stele_cli_write_failed(&attempt, outcome, &run->result, err);
}

/* A run that was not accepted as it is: perhaps a part of it is there already. This also finds the
 * words for what is wrong, and which line it is. */
static int append_carefully(struct run *run)
{
    struct stele_cli_pipeline *const pipeline = run->pipeline;
    struct stele_cli_stored stored;
    struct stele_error err = {0};
    run->expected = STELE_EXPECT_ANY;
    const int outcome = stele_cli_append_rest(pipeline->store, run->stream->name, run->events,
                                              run->count, &stored, &run->result, &err);
    pipeline->counts.events += stored.done;
    pipeline->counts.known += stored.done - stored.added;
    if (outcome != STELE_OK) {
        return tell_failure(run, stored.done, outcome, &err);
    }
    /* Runs of this stream under way expect what does not hold any more; each comes here, too. */
    run->stream->expected = run->stream->under_way == 1 ? stored.revision_last : REVISION_UNKNOWN;
    return STELE_CLI_OK;
}

static int end_run(struct run *run)
{
    struct stele_cli_pipeline *const pipeline = run->pipeline;
    if (run->outcome == STELE_E_UNKNOWN || run->outcome == STELE_E_FENCED) {
        static const struct stele_error words = {
            .message =
                "a write failed, so it is unknown whether the events are stored; look at the "
                "disk and run the same import again"};
        return tell_failure(run, 0, run->outcome, &words);
    }
    if (run->outcome != STELE_OK) {
        return append_carefully(run);
    }
    pipeline->counts.events += run->count;
    pipeline->counts.known += run->result.idempotent ? run->count : 0;
    if (run->expected == STELE_EXPECT_ANY && run->stream->under_way == 1) {
        run->stream->expected = run->result.revision_last;
    }
    return STELE_CLI_OK;
}

static void drop_run(struct stele_cli_pipeline *pipeline, struct run *run)
{
    pipeline->bytes -= run->arena.size;
    stele_cli_arena_reset(&run->arena);
    run->count = 0;
    run->stream->under_way--;
}

/* Takes the oldest run off the ring. */
static int reap(struct stele_cli_pipeline *pipeline)
{
    struct run *const run = &pipeline->runs[pipeline->first];
    wait_for(pipeline, run);
    const int code = end_run(run);
    if (code == STELE_CLI_OK) {
        pipeline->counts.line_last = run->lines[run->count - 1];
    }
    drop_run(pipeline, run);
    pipeline->first = (pipeline->first + 1) % RUNS_MAX;
    pipeline->count--;
    return code;
}

static int reap_all(struct stele_cli_pipeline *pipeline)
{
    int code = STELE_CLI_OK;
    while (pipeline->count > 0 && code == STELE_CLI_OK) {
        code = reap(pipeline);
    }
    return code;
}

/* ---- The beginning of a run ---- */

/* Waits until it is known what the stream's next run has to expect, or that it must ask (ANY). */
static int settle(struct stele_cli_pipeline *pipeline, const struct stream *stream)
{
    int code = STELE_CLI_OK;
    while (stream->expected == REVISION_UNKNOWN && stream->under_way > 0 && code == STELE_CLI_OK) {
        code = reap(pipeline);
    }
    return code;
}

/* How many events the stream's next run may have, so that the library sees either what an earlier
 * import stored or something new, and not one append that is both: that would be refused, and
 * what is under way behind it would come before it. */
static size_t count_max(const struct stele_cli_pipeline *pipeline, const struct stream *stream)
{
    if (stream->expected == REVISION_UNKNOWN) {
        return 1; /* Of a stream that existed before: the first event tells where in it we are. */
    }
    const uint64_t next = stream->expected == STELE_EXPECT_NO_STREAM ? 0 : stream->expected + 1;
    const uint64_t left = stream->next_before > next ? stream->next_before - next : UINT64_MAX;
    return left < pipeline->run_max ? (size_t)left : pipeline->run_max;
}

static uint64_t advance(uint64_t expected, size_t count)
{
    return expected == STELE_EXPECT_NO_STREAM ? count - 1 : expected + count;
}

static int submit(struct stele_cli_pipeline *pipeline)
{
    struct run *const run = pipeline->open;
    if (run == NULL) {
        return STELE_CLI_OK;
    }
    struct stream *const stream = run->stream;
    int code = STELE_CLI_OK;
    const bool unknown = stream->expected == REVISION_UNKNOWN;
    run->expected = unknown ? STELE_EXPECT_ANY : stream->expected;
    run->done = false;
    run->result = (struct stele_append_result){.failed = 0};
    const struct stele_append append = {stream->name, run->expected, run->events, run->count};
    int outcome = STELE_E_OVERLOADED;
    while (outcome == STELE_E_OVERLOADED && code == STELE_CLI_OK) {
        outcome = stele_append_async(pipeline->store, &append, 1, NULL, 0, on_end, run, NULL);
        if (outcome == STELE_E_OVERLOADED && pipeline->count > 0) {
            code = reap(pipeline);
        }
    }
    if (code != STELE_CLI_OK) {
        return code;
    }
    if (outcome != STELE_OK) {
        /* It will be looked at when its turn comes, after the runs before it. */
        run->outcome = outcome;
        run->done = true;
    }
    stream->expected = unknown ? REVISION_UNKNOWN : advance(stream->expected, run->count);
    stream->under_way++;
    pipeline->open = NULL;
    pipeline->count++;
    pipeline->bytes += run->arena.size;
    return STELE_CLI_OK;
}

/* Makes the slot behind the runs under way the open run, for a stream. */
static int begin_run(struct stele_cli_pipeline *pipeline, const char *name)
{
    int code = submit(pipeline);
    while (code == STELE_CLI_OK && pipeline->count > 0 &&
           (pipeline->count == RUNS_MAX || pipeline->bytes > BYTES_MAX)) {
        code = reap(pipeline);
    }
    if (code == STELE_CLI_OK && pipeline->streams_count == STREAMS_MAX) {
        code = reap_all(pipeline);
        forget_streams(pipeline);
        pipeline->counts.streams_exact = false;
    }
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct run *const run = &pipeline->runs[(pipeline->first + pipeline->count) % RUNS_MAX];
    run->stream = find_stream(pipeline, name);
    if (run->stream->name == NULL) {
        remember_stream(pipeline, run->stream, name);
    }
    code = settle(pipeline, run->stream);
    run->count = 0;
    run->count_max = count_max(pipeline, run->stream);
    run->room = 0;
    pipeline->open = code == STELE_CLI_OK ? run : NULL;
    return code;
}

/* ---- Lines ---- */

static int close_stream(struct stele_cli_pipeline *pipeline, const struct stele_cli_input *input,
                        uint64_t number)
{
    int code = submit(pipeline);
    code = code == STELE_CLI_OK ? reap_all(pipeline) : code;
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct stele_error err = {0};
    const int outcome =
        stele_tombstone(pipeline->store, input->stream, STELE_EXPECT_ANY, NULL, &err);
    /* Closed already: by the run that this one repeats, or by somebody else, which is the same. */
    if (outcome != STELE_OK && outcome != STELE_STREAM_DELETED) {
        char what[512];
        (void)snprintf(what, sizeof what, "%.200s:%llu: close %.200s", pipeline->name,
                       (unsigned long long)number, input->stream);
        return stele_cli_fail_outcome(outcome, &err, what);
    }
    pipeline->counts.tombstones++;
    pipeline->counts.line_last = number;
    return STELE_CLI_OK;
}

static void make_room(struct run *run)
{
    if (run->count < run->room) {
        return;
    }
    run->room = run->room == 0 ? 4 : 2 * run->room;
    struct stele_event_draft *const events =
        stele_cli_arena_alloc(&run->arena, run->room * sizeof *events);
    uint64_t *const lines = stele_cli_arena_alloc(&run->arena, run->room * sizeof *lines);
    if (run->count > 0) {
        memcpy(events, run->events, run->count * sizeof *events);
        memcpy(lines, run->lines, run->count * sizeof *lines);
    }
    run->events = events;
    run->lines = lines;
}

static const void *copy_or_null(struct stele_cli_arena *arena, const void *data, size_t size)
{
    return data != NULL ? stele_cli_arena_copy(arena, data, size) : NULL;
}

static const char *copy_text(struct stele_cli_arena *arena, const char *text)
{
    return text != NULL ? stele_cli_arena_copy(arena, text, strlen(text)) : NULL;
}

static struct stele_event_draft copy_draft(struct stele_cli_arena *arena,
                                           const struct stele_event_draft *draft)
{
    struct stele_event_draft copy = *draft;
    copy.type = copy_text(arena, draft->type);
    copy.content_type = copy_text(arena, draft->content_type);
    copy.data = copy_or_null(arena, draft->data, draft->data_size);
    copy.metadata = copy_or_null(arena, draft->metadata, draft->metadata_size);
    if (draft->tags_count > 0) {
        const char **const tags = stele_cli_arena_alloc(arena, draft->tags_count * sizeof *tags);
        for (size_t i = 0; i < draft->tags_count; i++) {
            tags[i] = copy_text(arena, draft->tags[i]);
        }
        copy.tags = tags;
    }
    return copy;
}

static int take(struct stele_cli_pipeline *pipeline, struct stele_cli_input *input, uint64_t number)
{
    struct run *run = pipeline->open;
    if (run == NULL || run->count == run->count_max || run->arena.size >= RUN_BYTES_MAX ||
        strcmp(run->stream->name, input->stream) != 0) {
        const int code = begin_run(pipeline, input->stream);
        if (code != STELE_CLI_OK) {
            return code;
        }
        run = pipeline->open;
    }
    if (!input->has_id) {
        stele_new_id(input->draft.id);
        pipeline->without_id++;
    }
    make_room(run);
    run->events[run->count] = copy_draft(&run->arena, &input->draft);
    run->lines[run->count] = number;
    run->count++;
    return STELE_CLI_OK;
}

int stele_cli_pipeline_line(struct stele_cli_pipeline *pipeline, struct stele_text line,
                            uint64_t number)
{
    struct stele_cli_input input;
    struct stele_cli_mistake mistake;
    stele_cli_arena_reset(&pipeline->line);
    if (!stele_cli_event_read(line, &pipeline->line, &input, &mistake)) {
        return stele_cli_bad_line(pipeline->name, number, &mistake);
    }
    if (input.stream == NULL) {
        (void)snprintf(mistake.text, sizeof mistake.text,
                       "\"stream\" is missing; every line of an import names its stream");
        return stele_cli_bad_line(pipeline->name, number, &mistake);
    }
    return input.tombstone ? close_stream(pipeline, &input, number)
                           : take(pipeline, &input, number);
}

int stele_cli_pipeline_finish(struct stele_cli_pipeline *pipeline)
{
    const int code = submit(pipeline);
    return code == STELE_CLI_OK ? reap_all(pipeline) : code;
}

void stele_cli_pipeline_destroy(struct stele_cli_pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->count; i++) {
        wait_for(pipeline, &pipeline->runs[(pipeline->first + i) % RUNS_MAX]);
    }
    for (size_t i = 0; i < RUNS_MAX; i++) {
        stele_cli_arena_free(&pipeline->runs[i].arena);
    }
    forget_streams(pipeline);
    stele_cli_arena_free(&pipeline->line);
    (void)pthread_cond_destroy(&pipeline->ended);
    (void)pthread_mutex_destroy(&pipeline->lock);
    free(pipeline->streams);
    free(pipeline->runs);
    free(pipeline);
}

struct stele_cli_pipeline_counts
stele_cli_pipeline_counts(const struct stele_cli_pipeline *pipeline)
{
    return pipeline->counts;
}

uint64_t stele_cli_pipeline_without_id(const struct stele_cli_pipeline *pipeline)
{
    return pipeline->without_id;
}
