/* Snapshots: when they are made, who writes them, how they are found.
 *
 * The state is encoded where it is at hand; writing is the business of one thread behind a bounded
 * queue, so that no command waits for it and none fails with it. In the store a snapshot is an event
 * of a stream of its own; the stream keeps the last few by its metadata ($maxCount). */
#include "runner/command_internal.h"

#include <stdio.h>

#define TYPE "$snapshot"
#define CONTENT_TYPE "application/octet-stream"
#define NAME_SIZE (STELE_STREAM_NAME_SIZE_MAX + 1)

void stele_snapshot__init(struct stele_snapshots *snapshots)
{
    (void)pthread_mutex_init(&snapshots->lock, NULL);
    (void)pthread_cond_init(&snapshots->changed, NULL);
    snapshots->last = &snapshots->first;
}

/* false: the name would be longer than a stream's may be. */
static bool stream_name(const struct stele_runner *runner, const char *fold, const char *stream,
                        char name[NAME_SIZE])
{
    const int size = snprintf(name, NAME_SIZE, "%s%s-%s", runner->prefix, fold, stream);
    return size > 0 && size < NAME_SIZE;
}

/* ---- Writing ------------------------------------------------------------------------------ */

static int write_event(struct stele_runner *runner, const struct stele_snapshot_job *job)
{
    char name[NAME_SIZE];
    char metadata[200];
    if (!stream_name(runner, job->fold, job->stream, name)) {
        return STELE_E_LIMIT;
    }
    const int size =
        snprintf(metadata, sizeof metadata,
                 "{\"fingerprint\":\"%016llx\",\"revision\":%llu,\"position\":%llu,\"count\":%llu}",
                 (unsigned long long)job->fingerprint, (unsigned long long)job->revision,
                 (unsigned long long)job->position, (unsigned long long)job->count);
    struct stele_event_draft draft = {.type = TYPE,
                                      .data = job->data,
                                      .data_size = job->data_size,
                                      .metadata = metadata,
                                      .metadata_size = (size_t)size,
                                      .content_type = CONTENT_TYPE};
    stele_new_id(draft.id);
    struct stele_append_result result = {.revision_first = 0};
    const int outcome =
        stele_append(runner->store, name, STELE_EXPECT_ANY, &draft, 1, &result, NULL);
    if (outcome != STELE_OK || result.revision_first != 0) {
        return outcome;
    }
    /* Should this fail, the stream keeps all of them, which is more than was asked for. */
    char limit[40];
    const int limit_size =
        snprintf(limit, sizeof limit, "{\"$maxCount\":%u}", runner->options.snapshots_kept);
    (void)stele_set_metadata(runner->store, name, STELE_EXPECT_ANY, limit, (size_t)limit_size, NULL,
                             NULL);
    return STELE_OK;
}

static void write_job(struct stele_runner *runner, const struct stele_snapshot_job *job)
{
    const int outcome = runner->directory != NULL ? stele_snapshot__write_file(runner, job)
                                                  : write_event(runner, job);
    stele_command__count(
        outcome == STELE_OK ? &runner->snapshots_written : &runner->snapshots_failed, 1);
}

static void *work(void *context)
{
    struct stele_runner *runner = context;
    struct stele_snapshots *snapshots = &runner->snapshots;
    (void)pthread_mutex_lock(&snapshots->lock);
    while (snapshots->first != NULL || !snapshots->closing) {
        struct stele_snapshot_job *job = snapshots->first;
        if (job == NULL) {
            (void)pthread_cond_wait(&snapshots->changed, &snapshots->lock);
            continue;
        }
        snapshots->first = job->next;
        if (snapshots->first == NULL) {
            snapshots->last = &snapshots->first;
        }
        (void)pthread_mutex_unlock(&snapshots->lock);
        write_job(runner, job);
        stele_release(runner->alloc, job, job->size);
        (void)pthread_mutex_lock(&snapshots->lock);
        snapshots->waiting--;
        (void)pthread_cond_broadcast(&snapshots->changed);
    }
    (void)pthread_mutex_unlock(&snapshots->lock);
    return NULL;
}

void stele_runner_flush(struct stele_runner *runner)
{
    if (runner == NULL) {
        return;
    }
    struct stele_snapshots *snapshots = &runner->snapshots;
    (void)pthread_mutex_lock(&snapshots->lock);
    while (snapshots->waiting > 0) {
        (void)pthread_cond_wait(&snapshots->changed, &snapshots->lock);
    }
    (void)pthread_mutex_unlock(&snapshots->lock);
}

void stele_snapshot__stop(struct stele_runner *runner)
{
    struct stele_snapshots *snapshots = &runner->snapshots;
    (void)pthread_mutex_lock(&snapshots->lock);
    snapshots->closing = true;
    (void)pthread_cond_broadcast(&snapshots->changed);
    const bool started = snapshots->started;
    (void)pthread_mutex_unlock(&snapshots->lock);
    if (started) {
        (void)pthread_join(snapshots->worker, NULL);
    }
    STELE_ASSERT(snapshots->first == NULL);
    (void)pthread_cond_destroy(&snapshots->changed);
    (void)pthread_mutex_destroy(&snapshots->lock);
}

/* false: there is no room, or no thread. */
static bool enqueue(struct stele_runner *runner, struct stele_snapshot_job *job)
{
    struct stele_snapshots *snapshots = &runner->snapshots;
    (void)pthread_mutex_lock(&snapshots->lock);
    if (!snapshots->started) {
        snapshots->started = pthread_create(&snapshots->worker, NULL, work, runner) == 0;
    }
    const bool room = snapshots->started && snapshots->waiting < STELE_SNAPSHOTS_QUEUED_MAX;
    if (room) {
        *snapshots->last = job;
        snapshots->last = &job->next;
        snapshots->waiting++;
        (void)pthread_cond_broadcast(&snapshots->changed);
    }
    (void)pthread_mutex_unlock(&snapshots->lock);
    return room;
}

static bool make_job(struct stele_runner *runner, struct stele_state *state, const char *stream)
{
    struct stele_text data;
    const struct stele_fold *fold = stele_state_fold(state);
    if (stele_state_encode(state, &data, NULL) != STELE_OK ||
        data.size > STELE_EVENT_SIZE_MAX / 2) {
        return false;
    }
    const size_t fold_size = strlen(fold->name) + 1;
    const size_t stream_size = strlen(stream) + 1;
    struct stele_snapshot_job *job =
        stele_allocate(runner->alloc, sizeof *job + data.size + fold_size + stream_size);
    if (job == NULL) {
        return false;
    }
    *job = (struct stele_snapshot_job){
        .size = sizeof *job + data.size + fold_size + stream_size,
        .fold = (char *)job->data + data.size,
        .stream = (char *)job->data + data.size + fold_size,
        .fingerprint = stele_fold_fingerprint(fold),
        .count = stele_state_count(state),
        .revision = stele_state_revision(state),
        .position = stele_state_position(state),
        .data_size = data.size,
    };
    memcpy(job->data, data.data, data.size);
    memcpy(job->data + data.size, fold->name, fold_size);
    memcpy(job->data + data.size + fold_size, stream, stream_size);
    if (!enqueue(runner, job)) {
        stele_release(runner->alloc, job, job->size);
        return false;
    }
    return true;
}

void stele_snapshot__consider(struct stele_runner *runner, struct stele_state *state,
                              const char *stream, uint64_t *snapshot_count, int64_t *snapshot_us)
{
    const struct stele_runner_options *options = &runner->options;
    const uint64_t count = stele_state_count(state);
    STELE_ASSERT(count >= *snapshot_count);
    const uint64_t fresh = count - *snapshot_count;
    if (fresh == 0) {
        return;
    }
    /* "So many or more", not "every so many": an append of several events steps over a boundary. */
    bool due = options->snapshot_events > 0 && fresh >= options->snapshot_events;
    if (!due && options->snapshot_hours > 0) {
        const int64_t now_us = stele_command__now_us();
        due = now_us - *snapshot_us >= (int64_t)options->snapshot_hours * 3600 * 1000000;
    }
    if (!due) {
        return;
    }
    if (!make_job(runner, state, stream)) {
        stele_command__count(&runner->snapshots_failed, 1);
    }
    /* Also after a failure: the next try is made at the next boundary and not at every command. */
    *snapshot_count = count;
    *snapshot_us = stele_command__now_us();
}

/* ---- Finding ------------------------------------------------------------------------------ */

/* false: not one of ours, or of another version. */
static bool parse(const struct stele_event *event, uint64_t fingerprint,
                  struct stele_snapshot *out_snapshot)
{
    char wanted[20];
    struct stele_text text;
    int64_t revision = -1;
    int64_t position = -1;
    int64_t count = -1;
    (void)snprintf(wanted, sizeof wanted, "\"%016llx\"", (unsigned long long)fingerprint);
    const void *metadata = event->metadata;
    const size_t size = event->metadata_size;
    if (stele_json_member(metadata, size, "fingerprint", &text) != STELE_OK ||
        text.size != strlen(wanted) || memcmp(text.data, wanted, text.size) != 0 ||
        stele_json_integer(metadata, size, "revision", &revision) != STELE_OK || revision < 0 ||
        stele_json_integer(metadata, size, "position", &position) != STELE_OK || position <= 0 ||
        stele_json_integer(metadata, size, "count", &count) != STELE_OK || count <= 0) {
        return false;
    }
    *out_snapshot = (struct stele_snapshot){.count = (uint64_t)count,
                                            .revision = (uint64_t)revision,
                                            .position = (uint64_t)position,
                                            .created_us = event->created_us};
    return true;
}

static int find_event(struct stele_runner *runner, const struct stele_fold *fold,
                      const char *stream, uint64_t as_of, struct stele_memory *memory,
                      struct stele_snapshot *out_snapshot)
{
    char name[NAME_SIZE];
    if (!stream_name(runner, fold->name, stream, name)) {
        return STELE_NOT_FOUND;
    }
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = STELE_FROM_END;
    options.backwards = 1;
    /* The newest one is wanted; an earlier one only as of a time. */
    options.limit = as_of == 0 ? 1 : runner->options.snapshots_kept;
    struct stele_iterator *iterator;
    if (stele_read_stream(runner->store, name, &options, &iterator, NULL) != STELE_OK) {
        return STELE_NOT_FOUND;
    }
    const uint64_t fingerprint = stele_fold_fingerprint(fold);
    const struct stele_event *events;
    size_t count;
    int found = STELE_NOT_FOUND;
    while (found == STELE_NOT_FOUND &&
           stele_iterator_next(iterator, &events, &count, NULL) == STELE_OK) {
        for (size_t i = 0; i < count && found == STELE_NOT_FOUND; i++) {
            if (!parse(&events[i], fingerprint, out_snapshot)) {
                stele_command__count(&runner->snapshots_unusable, 1);
                continue;
            }
            if (as_of != 0 && out_snapshot->position > as_of) {
                continue;
            }
            out_snapshot->data = stele_memory_copy(memory, events[i].data, events[i].data_size);
            out_snapshot->data_size = events[i].data_size;
            found = out_snapshot->data != NULL ? STELE_OK : STELE_E_NO_MEMORY;
        }
    }
    stele_iterator_destroy(iterator);
    return found;
}

int stele_snapshot__find(struct stele_runner *runner, const struct stele_fold *fold,
                         const char *stream, uint64_t as_of, struct stele_memory *memory,
                         struct stele_snapshot *out_snapshot)
{
    return runner->directory != NULL
               ? stele_snapshot__read_file(runner, fold, stream, as_of, memory, out_snapshot)
               : find_event(runner, fold, stream, as_of, memory, out_snapshot);
}
