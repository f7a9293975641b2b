/* Asking about projections, and looking after their parked events. */
#include "io/linux.h"
#include "runner/run.h"

#include <stdio.h>
#include <string.h>

void stele_sink_close(struct stele_sink *sink)
{
    if (sink != NULL) {
        sink->ops->close(sink);
    }
}

int stele_project_list(struct stele_sink *sink, stele_project_callback on_projection, void *context,
                       struct stele_error *err)
{
    if (sink == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_project_list: an argument is NULL");
    }
    return sink->ops->list(sink, on_projection, context, err);
}

int stele_project_parked(struct stele_sink *sink, const char *name, stele_parked_callback on_parked,
                         void *context, struct stele_error *err)
{
    if (sink == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_project_parked: an argument is NULL");
    }
    return sink->ops->parked(sink, name, on_parked, context, err);
}

int stele_project_drop(struct stele_sink *sink, struct stele_projection *projection,
                       struct stele_error *err)
{
    if (sink == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_project_drop: an argument is NULL");
    }
    return sink->ops->drop(sink, projection, err);
}

int stele_project_lag(struct stele *store, const struct stele_projection *projection,
                      uint64_t position, uint64_t limit, struct stele_project_lag *out_lag,
                      struct stele_error *err)
{
    if (projection == NULL || out_lag == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_project_lag: an argument is NULL");
    }
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    struct stele_project_lag lag = {.events = 0};
    uint64_t last = position;
    options.from = position == 0 ? 0 : position + 1;
    options.limit = limit;
    options.filter = &projection->filter;
    int outcome = stele_read_all(store, &options, &iterator, err);
    while (outcome == STELE_OK) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_iterator_next(iterator, &events, &count, err);
        if (outcome == STELE_OK && count > 0) {
            lag.events += count;
            last = events[count - 1].position;
        }
    }
    stele_iterator_destroy(iterator);
    if (outcome != STELE_END) {
        return outcome;
    }
    if (lag.events > 0 && position > 0) {
        lag.time_us = stele_position_time(last) - stele_position_time(position);
    }
    *out_lag = lag;
    return STELE_OK;
}

/* ---- Retrying ---- */

struct retry {
    struct stele *store;
    struct stele_projection *projection;
    struct stele_sink *sink;
    struct stele_sink_place place;
    struct stele_project_retried done;
    struct stele_error *err;
};

/* Streams as they were when the retry began. */
struct streams {
    struct stele_arena arena;
    struct stele_text_set seen;
    const char **names;
    size_t count, capacity;
};

static int on_stream(void *context, struct stele_text stream)
{
    struct streams *const streams = context;
    struct stele_alloc *const alloc = stele_linux_alloc();
    if (streams->count == streams->capacity) {
        const size_t capacity = streams->capacity == 0 ? 16 : streams->capacity * 2;
        const char **const names =
            stele_arena_allocate(&streams->arena, alloc, capacity * sizeof *names);
        if (names == NULL) {
            return STELE_E_NO_MEMORY;
        }
        if (streams->count > 0) {
            memcpy(names, streams->names, streams->count * sizeof *names);
        }
        streams->names = names;
        streams->capacity = capacity;
    }
    char *const name = stele_arena_allocate(&streams->arena, alloc, stream.size + 1);
    if (name == NULL) {
        return STELE_E_NO_MEMORY;
    }
    memcpy(name, stream.data, stream.size);
    name[stream.size] = '\0';
    streams->names[streams->count++] = name;
    return STELE_OK;
}

static uint32_t lane_of(const struct retry *retry, const char *stream)
{
    struct stele_run run = {.place = retry->place};
    struct stele_run_lane lane = {.run = &run};
    const struct stele_text name = {.data = stream, .size = strlen(stream)};
    while (!stele_runner__is_of_lane(&lane, name)) {
        lane.index++;
    }
    return lane.index;
}

/* Applies the event at the position inside the open transaction. STELE_NOT_FOUND: the store does not
 * have it any more. */
static int apply_at(struct retry *retry, const char *stream, uint64_t position)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    uint64_t culprit = 0;
    options.from = position;
    options.as_of = position;
    int outcome = stele_read_all(retry->store, &options, &iterator, retry->err);
    if (outcome == STELE_OK) {
        outcome = stele_iterator_next(iterator, &events, &count, retry->err);
    }
    if (outcome == STELE_OK && count > 0 && retry->projection->effective) {
        struct stele_run run = {
            .store = retry->store, .projection = retry->projection, .sink = retry->sink};
        struct stele_run_effective effective = {.count = 0};
        outcome =
            stele_runner__effective_take(&run, &effective, 0, &events[0], &culprit, retry->err);
        if (outcome == STELE_OK) {
            outcome = stele_runner__effective_finish(&run, &effective, 0, retry->err);
        }
        stele_runner__effective_deinit(&effective);
    } else if (outcome == STELE_OK && count > 0) {
        const uint64_t effects_after = retry->place.lane[lane_of(retry, stream)].effects_after;
        outcome = retry->sink->ops->apply(retry->sink, 0, &events[0], position <= effects_after,
                                          &culprit, retry->err);
    } else if (outcome == STELE_END || outcome == STELE_OK) {
        outcome = STELE_NOT_FOUND;
    }
    stele_iterator_destroy(iterator);
    return outcome;
}

/* Keeps the event with a new reason, in a transaction of its own. */
static int refuse_again(struct retry *retry, uint64_t position, const char *reason)
{
    const struct stele_sink_ops *const ops = retry->sink->ops;
    uint64_t culprit = 0;
    int outcome = ops->begin(retry->sink, 0, retry->err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = ops->keep_parked(retry->sink, position, reason, retry->err);
    if (outcome == STELE_OK) {
        outcome = ops->end(retry->sink, &culprit, retry->err);
    }
    if (outcome != STELE_OK) {
        ops->rollback(retry->sink, 0);
    }
    return outcome;
}

/* The first parked event of a stream. STELE_END: it was refused again. STELE_NOT_FOUND: there is
 * none. Runs are fenced first, so that nobody adds to the stream meanwhile. */
static int retry_first(struct retry *retry, const char *stream, bool skip)
{
    const struct stele_sink_ops *const ops = retry->sink->ops;
    uint64_t position = 0;
    uint64_t culprit = 0;
    int outcome = ops->begin(retry->sink, 0, retry->err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = ops->bump(retry->sink, retry->err);
    if (outcome == STELE_OK) {
        outcome = ops->first_parked(retry->sink, stream, &position, retry->err);
    }
    if (outcome != STELE_OK) {
        ops->rollback(retry->sink, 0);
        return outcome;
    }
    bool gone = skip;
    if (!skip) {
        outcome = apply_at(retry, stream, position);
        gone = outcome == STELE_NOT_FOUND; /* Scavenged: there is nothing left to apply. */
    }
    if (skip && retry->projection->effective) {
        outcome = ops->effective->skip(retry->sink, stream, position, retry->err);
    }
    if (outcome == STELE_OK || outcome == STELE_NOT_FOUND) {
        outcome = ops->unpark(retry->sink, position, gone ? 0 : 1, retry->err);
    }
    if (outcome == STELE_OK) {
        outcome = ops->end(retry->sink, &culprit, retry->err);
    }
    if (outcome != STELE_OK) {
        struct stele_error reason = {.message = "it was refused"};
        if (retry->err != NULL) {
            reason = *retry->err;
        }
        ops->rollback(retry->sink, 0);
        if (outcome != STELE_E_INVALID) {
            return outcome;
        }
        outcome = refuse_again(retry, position, reason.message);
        return outcome == STELE_OK ? STELE_END : outcome;
    }
    retry->done.applied += gone ? 0 : 1;
    retry->done.skipped += gone ? 1 : 0;
    return STELE_OK;
}

static int retry_stream(struct retry *retry, const char *stream, bool skip)
{
    unsigned tries = 0;
    for (;;) {
        const int outcome = retry_first(retry, stream, skip);
        if (outcome == STELE_E_OVERLOADED && ++tries < 10) {
            stele_runner__pause(1u << tries);
            continue;
        }
        if (outcome == STELE_END || outcome == STELE_NOT_FOUND) {
            return STELE_OK;
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
        tries = 0;
        skip = false;
    }
}

static int count_left(void *context, const struct stele_project_parked *parked)
{
    (void)parked;
    ++*(uint64_t *)context;
    return 0;
}

static int retry_streams(struct retry *retry, const char *stream, bool skip)
{
    struct streams streams = {.count = 0};
    struct stele_alloc *const alloc = stele_linux_alloc();
    bool found = false;
    int outcome = retry->sink->ops->parked_streams(retry->sink, 0, on_stream, &streams, retry->err);
    for (size_t i = 0; i < streams.count && outcome == STELE_OK; i++) {
        if (stream == NULL || strcmp(stream, streams.names[i]) == 0) {
            found = true;
            outcome = retry_stream(retry, streams.names[i], skip);
        }
    }
    stele_arena_deinit(&streams.arena, alloc);
    if (outcome == STELE_OK && !found) {
        return stele_fail(retry->err, STELE_NOT_FOUND, 0,
                          "projection %s: nothing is parked%s%.200s", retry->projection->name,
                          stream != NULL ? " of " : "", stream != NULL ? stream : "");
    }
    return outcome;
}

int stele_project_retry(struct stele *store, struct stele_projection *projection,
                        struct stele_sink *sink, const char *stream, int skip,
                        struct stele_project_retried *out_retried, struct stele_error *err)
{
    if (projection == NULL || sink == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_project_retry: an argument is NULL");
    }
    struct stele_error own = {.outcome = STELE_OK};
    struct stele_stats stats;
    struct retry retry = {
        .store = store, .projection = projection, .sink = sink, .err = err != NULL ? err : &own};
    if (skip != 0 && stream == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "skip an event: of which stream?");
    }
    int outcome = stele_runner__effective_check(projection, sink, retry.err);
    if (outcome == STELE_OK) {
        outcome = stele_stats(store, &stats, retry.err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_sink_request request = {
        .projection = projection, .store_id = stats.store_id, .must_exist = true};
    outcome = sink->ops->attach(sink, &request, &retry.place, retry.err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = retry_streams(&retry, stream, skip != 0);
    sink->ops->detach(sink);
    if (outcome == STELE_OK) {
        outcome =
            sink->ops->parked(sink, projection->name, count_left, &retry.done.left, retry.err);
    }
    if (out_retried != NULL) {
        *out_retried = retry.done;
    }
    return outcome;
}
