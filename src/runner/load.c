/* States from the store: from a snapshot or from the start, and then on to what is new.
 *
 * A state that goes on is *anchored*: the last event that it has seen is read again, and has to be
 * the same one at the same position. Otherwise the stream was deleted, cut off or restored since, and
 * the state is made anew. The one event more costs nothing that can be measured; a balance that goes
 * on from another history would. So a state is always that of the events that can be seen: who cuts
 * a stream off ($tb, $maxAge, $maxCount) changes the state, snapshot or not.
 *
 * Where the store tells when a stream changed (it is this process' own), most states need no read at
 * all: such a state is *certain* when it was made by a read that began at a position behind which
 * neither the stream nor its metadata changed, or when it went on from there with what a command
 * appended itself, checked against the revision that the state had. A stream with $maxAge loses events
 * without any change, so its states are never certain. */
#include "io/linux.h"
#include "runner/command_internal.h"
#include "runner/history.h"

#define MEMORY_BLOCK_SIZE ((size_t)1024)

static bool anchor_holds(const struct stele_state *state, const struct stele_event *events,
                         size_t count)
{
    return count > 0 && events[0].revision == stele_state_revision(state) &&
           events[0].position == stele_state_position(state);
}

/* STELE_NOT_FOUND: the anchor does not hold. */
static int fold_batches(struct stele_runner *runner, struct stele_iterator *iterator,
                        struct stele_state *state, struct stele_error *err)
{
    bool anchored = stele_state_revision(state) != STELE_EXPECT_NO_STREAM;
    int outcome;
    do {
        const struct stele_event *events = NULL;
        size_t count = 0;
        size_t skip = 0;
        outcome = stele_iterator_next(iterator, &events, &count, err);
        if (outcome != STELE_OK && outcome != STELE_END) {
            return outcome;
        }
        count = outcome == STELE_END ? 0 : count;
        if (anchored) {
            if (!anchor_holds(state, events, count)) {
                return STELE_NOT_FOUND;
            }
            skip = 1;
            anchored = false;
        }
        if (count > skip) {
            const int folded = stele_state_apply(state, events + skip, count - skip, err);
            if (folded != STELE_OK) {
                return folded;
            }
            stele_command__count(&runner->events_folded, count - skip);
        }
    } while (outcome == STELE_OK);
    return STELE_OK;
}

/* Folds what comes behind the state. STELE_NOT_FOUND: the state is not one of this stream. */
static int read_on(struct stele_runner *runner, struct stele_state *state, const char *stream,
                   uint64_t as_of, struct stele_look *out_look, struct stele_error *err)
{
    *out_look = (struct stele_look){.certain = false};
    const uint64_t revision = stele_state_revision(state);
    const bool anchored = revision != STELE_EXPECT_NO_STREAM;
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = anchored ? revision : STELE_FROM_START;
    options.as_of = as_of;
    struct stele_iterator *iterator;
    int outcome = stele_read_stream(runner->store, stream, &options, &iterator, err);
    if (outcome == STELE_NO_STREAM) {
        return anchored ? STELE_NOT_FOUND : STELE_OK;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    bool expires = true;
    out_look->certain = stele_client_read_look(iterator, &out_look->position, &expires) && !expires;
    outcome = fold_batches(runner, iterator, state, err);
    stele_iterator_destroy(iterator);
    return outcome;
}

static int from_snapshot(struct stele_runner *runner, const struct stele_fold *fold,
                         const char *stream, uint64_t as_of, struct stele_memory *memory,
                         struct stele_state **out_state, uint64_t *out_count, int64_t *out_us,
                         struct stele_look *out_look, struct stele_error *err)
{
    struct stele_snapshot snapshot;
    int outcome = stele_snapshot__find(runner, fold, stream, as_of, memory, &snapshot);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_state *state;
    outcome = stele_state_decode(memory, fold, snapshot.data, snapshot.data_size, snapshot.count,
                                 snapshot.revision, snapshot.position, &state, err);
    if (outcome == STELE_OK) {
        outcome = read_on(runner, state, stream, as_of, out_look, err);
    } else if (outcome != STELE_E_NO_MEMORY) {
        outcome = STELE_NOT_FOUND;
    }
    if (outcome == STELE_NOT_FOUND) {
        stele_command__count(&runner->snapshots_unusable, 1);
        return outcome;
    }
    if (outcome == STELE_OK) {
        stele_command__count(&runner->snapshots_used, 1);
        *out_state = state;
        *out_count = snapshot.count;
        *out_us = snapshot.created_us;
    }
    return outcome;
}

int stele_load__state(struct stele_runner *runner, const struct stele_fold *fold,
                      const char *stream, uint64_t as_of, struct stele_memory *memory,
                      struct stele_state **out_state, uint64_t *out_snapshot_count,
                      int64_t *out_snapshot_us, struct stele_look *out_look,
                      struct stele_error *err)
{
    int outcome = STELE_NOT_FOUND;
    if (runner->options.snapshot_events > 0 || runner->options.snapshot_hours > 0) {
        outcome = from_snapshot(runner, fold, stream, as_of, memory, out_state, out_snapshot_count,
                                out_snapshot_us, out_look, err);
    }
    if (outcome != STELE_NOT_FOUND) {
        return outcome;
    }
    struct stele_state *state;
    outcome = stele_state_create(memory, fold, &state, err);
    if (outcome == STELE_OK) {
        outcome = read_on(runner, state, stream, as_of, out_look, err);
    }
    if (outcome == STELE_OK) {
        *out_state = state;
        *out_snapshot_count = 0;
        *out_snapshot_us = stele_command__now_us();
    }
    return outcome;
}

bool stele_load__is_current(const struct stele_runner *runner, const struct stele_kept *kept)
{
    return kept->state != NULL && runner->watching && kept->certain &&
           stele_client_is_unchanged(runner->store, kept->stream, kept->seen, kept->limits_seen);
}

void stele_load__go_on(struct stele_runner *runner, struct stele_kept *kept,
                       const struct stele_prepared *appended, size_t events, uint64_t position_last)
{
    /* A stream that was deleted, or cut off, between the read and the append has begun again with
     * these events: then the next command finds out by reading. */
    if (!kept->certain ||
        !stele_client_is_unchanged(runner->store, kept->stream, UINT64_MAX, kept->limits_seen)) {
        kept->certain = false;
        return;
    }
    for (size_t i = 0; i < events; i++) {
        struct stele_event event;
        stele_prepared_event(appended, i, &event);
        if (event.stream.size != strlen(kept->stream) ||
            memcmp(event.stream.data, kept->stream, event.stream.size) != 0) {
            continue;
        }
        STELE_ASSERT(event.position <= position_last);
        if (stele_state_apply(kept->state, &event, 1, NULL) != STELE_OK) {
            /* The command is done. The next one meets the same failure, and has words for it. */
            stele_kept__forget(kept);
            return;
        }
        stele_command__count(&runner->events_folded, 1);
        kept->seen = position_last;
    }
}

int stele_load__refresh(struct stele_runner *runner, struct stele_kept *kept,
                        struct stele_error *err)
{
    int outcome = STELE_NOT_FOUND;
    struct stele_look look = {.certain = false};
    if (stele_load__is_current(runner, kept)) {
        stele_command__count(&runner->states_current, 1);
        stele_snapshot__consider(runner, kept->state, kept->stream, &kept->snapshot_count,
                                 &kept->snapshot_us);
        return STELE_OK;
    }
    if (kept->state != NULL) {
        outcome = read_on(runner, kept->state, kept->stream, 0, &look, err);
    }
    if (outcome == STELE_NOT_FOUND) {
        stele_kept__forget(kept);
        kept->memory = stele_memory_create_in(runner->alloc, MEMORY_BLOCK_SIZE);
        if (kept->memory == NULL) {
            return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a state of %s",
                              kept->stream);
        }
        outcome = stele_load__state(runner, kept->fold, kept->stream, 0, kept->memory, &kept->state,
                                    &kept->snapshot_count, &kept->snapshot_us, &look, err);
    }
    if (outcome != STELE_OK) {
        stele_kept__forget(kept);
        return outcome;
    }
    const uint64_t position = stele_state_position(kept->state);
    kept->certain = look.certain;
    kept->seen = look.position > position ? look.position : position;
    kept->limits_seen = look.position;
    stele_snapshot__consider(runner, kept->state, kept->stream, &kept->snapshot_count,
                             &kept->snapshot_us);
    return STELE_OK;
}

/* ---- Effective order ---------------------------------------------------------------------- */

int stele_runner_load_effective(struct stele_runner *runner, const struct stele_fold *fold,
                                const char *stream, uint64_t known_at, int64_t until_us,
                                struct stele_memory *memory, struct stele_state **out_state,
                                struct stele_error *err)
{
    if (runner == NULL || memory == NULL || out_state == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "stele_runner_load_effective: an argument is NULL");
    }
    struct stele_state *state;
    int outcome = stele_state_create(memory, fold, &state, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_history history = {.memory = stele_memory_create_in(runner->alloc, 0)};
    if (history.memory == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for the events of %s", stream);
    }
    outcome = stele_history__read(runner->store, stream, known_at, false, &history, err);
    stele_command__count(&runner->events_folded, history.count);
    if (outcome == STELE_OK) {
        outcome = stele_state_apply_effective(state, history.events, history.count, known_at,
                                              until_us, err);
    }
    stele_memory_destroy(history.memory);
    if (outcome == STELE_OK) {
        *out_state = state;
    }
    return outcome;
}
