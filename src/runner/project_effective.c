/* Projections in effective order: what a read model holds of a stream is what its events give when they
 * are folded in the order in which they count, corrections in the place of what they correct.
 *
 * An event that counts no earlier than all before it in its stream, and corrects nothing, is simply
 * applied: it comes last in either order. Any other one makes its stream *dirty*. Before the transaction
 * ends, what a dirty stream has left in the read model is taken out (@undo) and all its events, read
 * from the store, are applied in effective order: once for each transaction, however many of its events
 * were late. Which of the two it is depends on the latest time of the stream so far, which stands in the
 * books beside the checkpoint and moves with it. */
#include "runner/project_effective.h"

#include "base/checksum.h"
#include "es/effective.h"
#include "io/linux.h"
#include "runner/history.h"
#include "runner/run.h"

#include <string.h>

#define PLACES_MIN 64u

static struct stele_effective_reader reader_of(const struct stele_run *run)
{
    return (struct stele_effective_reader){.effective = run->projection->c.effective,
                                           .context = run->projection->c.context,
                                           .what = "projection",
                                           .name = run->projection->name};
}

static int no_memory(const struct stele_run *run, struct stele_error *err)
{
    return stele_fail(err, STELE_E_NO_MEMORY, 0, "projection %s: no memory", run->projection->name);
}

int stele_runner__effective_check(const struct stele_projection *projection,
                                  const struct stele_sink *sink, struct stele_error *err)
{
    if (projection->effective && sink->ops->effective == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "%.80s: a projection in effective order goes into SQLite or PostgreSQL",
                          projection->file);
    }
    return STELE_OK;
}

static int set_up(struct stele_run *run, struct stele_run_effective *effective,
                  struct stele_error *err)
{
    struct stele_memory **const memories[] = {&effective->names, &effective->history,
                                              &effective->scratch};
    for (size_t i = 0; i < STELE_COUNT_OF(memories); i++) {
        if (*memories[i] == NULL) {
            *memories[i] = stele_memory_create_in(stele_linux_alloc(), 0);
        }
        if (*memories[i] == NULL) {
            return no_memory(run, err);
        }
    }
    return STELE_OK;
}

void stele_runner__effective_forget(struct stele_run_effective *effective)
{
    if (effective->names != NULL) {
        stele_memory_reset(effective->names);
    }
    effective->touched = NULL;
    effective->places = NULL;
    effective->count = effective->capacity = effective->places_count = 0;
}

void stele_runner__effective_deinit(struct stele_run_effective *effective)
{
    stele_memory_destroy(effective->names);
    stele_memory_destroy(effective->history);
    stele_memory_destroy(effective->scratch);
    *effective = (struct stele_run_effective){.names = NULL};
}

/* ---- Streams of the transaction ---- */

static uint32_t *place_of(const struct stele_run_effective *effective, struct stele_text name)
{
    const struct stele_bytes bytes = {.data = (const uint8_t *)name.data, .size = name.size};
    size_t at = stele_murmur3(bytes) & (effective->places_count - 1);
    for (;;) {
        uint32_t *const place = &effective->places[at];
        if (*place == 0) {
            return place;
        }
        const struct stele_text there = effective->touched[*place - 1].name;
        if (there.size == name.size && memcmp(there.data, name.data, name.size) == 0) {
            return place;
        }
        at = (at + 1) & (effective->places_count - 1);
    }
}

static bool make_room(struct stele_run_effective *effective)
{
    if (effective->count + effective->count / 2 < effective->places_count) {
        return true;
    }
    const size_t count = effective->places_count == 0 ? PLACES_MIN : effective->places_count * 2;
    uint32_t *const places = stele_memory_allocate_zeroed(effective->names, count * sizeof *places);
    if (places == NULL) {
        return false;
    }
    effective->places = places;
    effective->places_count = count;
    for (size_t i = 0; i < effective->count; i++) {
        *place_of(effective, effective->touched[i].name) = (uint32_t)i + 1;
    }
    return true;
}

/* The stream, as the transaction has it; at first as the books have it. */
static int touch(struct stele_run *run, struct stele_run_effective *effective, uint32_t lane,
                 struct stele_text name, struct stele_run_touched **out_touched,
                 struct stele_error *err)
{
    if (!make_room(effective)) {
        return no_memory(run, err);
    }
    uint32_t *const place = place_of(effective, name);
    if (*place != 0) {
        *out_touched = &effective->touched[*place - 1];
        return STELE_OK;
    }
    struct stele_run_touched new = {
        .name = {.data = stele_memory_copy(effective->names, name.data, name.size),
                 .size = name.size}};
    struct stele_run_touched *const all =
        stele_memory_grow(effective->names, effective->touched, &effective->capacity,
                          effective->count + 1, sizeof *all);
    if (new.name.data == NULL || all == NULL) {
        return no_memory(run, err);
    }
    effective->touched = all;
    const int outcome =
        run->sink->ops->effective->stream(run->sink, lane, new.name.data, &new.at, err);
    if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
        return outcome;
    }
    new.known = outcome == STELE_OK;
    all[effective->count++] = new;
    *place = (uint32_t)effective->count;
    *out_touched = &all[effective->count - 1];
    return STELE_OK;
}

static bool counts(const struct stele_run *run, int64_t effective_us)
{
    return run->options.effective_until_us == 0 || effective_us <= run->options.effective_until_us;
}

int stele_runner__effective_take(struct stele_run *run, struct stele_run_effective *effective,
                                 uint32_t lane, const struct stele_event *event,
                                 uint64_t *out_culprit, struct stele_error *err)
{
    const struct stele_effective_reader reader = reader_of(run);
    struct stele_effective says;
    struct stele_run_touched *touched = NULL;
    int outcome = set_up(run, effective, err);
    if (outcome == STELE_OK) {
        *out_culprit = event->position;
        outcome = stele_effective_ask(&reader, event, effective->scratch, &says, err);
    }
    if (outcome == STELE_OK) {
        *out_culprit = 0;
        outcome = touch(run, effective, lane, event->stream, &touched, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    STELE_ASSERT(touched != NULL);
    STELE_ASSERT(touched->last < event->position);
    const int64_t time = says.effective_us != 0 ? says.effective_us : event->created_us;
    touched->last = event->position;
    if (!touched->known) {
        touched->known = true;
        touched->at = (struct stele_sink_stream){.latest_us = INT64_MIN};
    }
    touched->at.events++;
    if (says.corrects != 0 || says.cancels != 0 || time < touched->at.latest_us) {
        touched->dirty = true;
    }
    if (touched->dirty) {
        return STELE_OK;
    }
    touched->at.latest_us = time;
    if (!counts(run, time)) {
        return STELE_OK;
    }
    outcome = run->sink->ops->effective->apply(run->sink, lane, event, time, out_culprit, err);
    /* A statement that the database was given earlier may have been that of an event which was only
     * applied again. */
    *out_culprit = *out_culprit == event->position ? event->position : 0;
    return outcome;
}

/* ---- Folding anew ---- */

static int on_skipped(void *context, uint64_t position)
{
    struct stele_history *const history = context;
    size_t kept = 0;
    for (size_t i = 0; i < history->count; i++) {
        if (history->events[i].position != position) {
            history->events[kept++] = history->events[i];
        }
    }
    history->count = kept;
    return STELE_OK;
}

/* What reading everything would not have found. */
static void leave_out_system(struct stele_history *history)
{
    size_t kept = 0;
    for (size_t i = 0; i < history->count; i++) {
        const struct stele_text type = history->events[i].type;
        if (type.size == 0 || type.data[0] != '$') {
            history->events[kept++] = history->events[i];
        }
    }
    history->count = kept;
}

/* The events of the stream that this build has taken, from the store. */
static int read_all_of(struct stele_run *run, const struct stele_run_touched *touched,
                       uint32_t lane, struct stele_history *history, struct stele_error *err)
{
    /* Like a rebuild, which reads what limits hide as long as it is there. */
    int outcome =
        stele_history__read(run->store, touched->name.data, touched->last, true, history, err);
    if (outcome == STELE_OK && run->projection->filter.exclude_system != 0) {
        leave_out_system(history);
    }
    if (outcome == STELE_OK) {
        outcome = run->sink->ops->effective->skipped(run->sink, lane, touched->name.data,
                                                     on_skipped, history, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    /* What is in the read model and cannot be read any more would be lost without a word. */
    if (history->count != touched->at.events) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "%.200s cannot be folded anew: %llu of its events are in the read model, "
                          "and the store has %zu of them; the others were scavenged",
                          touched->name.data, (unsigned long long)touched->at.events,
                          history->count);
    }
    return STELE_OK;
}

static int apply_slots(struct stele_run *run, uint32_t lane,
                       const struct stele_effective_slot *slots, size_t count,
                       struct stele_error *err)
{
    uint64_t culprit = 0;
    int outcome = STELE_OK;
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        if (!counts(run, slots[i].effective_us)) {
            break;
        }
        if (slots[i].event != NULL) {
            outcome = run->sink->ops->effective->apply(run->sink, lane, slots[i].event,
                                                       slots[i].effective_us, &culprit, err);
        }
    }
    return outcome;
}

static int fold_anew(struct stele_run *run, struct stele_run_effective *effective,
                     struct stele_run_touched *touched, uint32_t lane, struct stele_error *err)
{
    const struct stele_effective_reader reader = reader_of(run);
    struct stele_history history = {.memory = effective->history};
    const struct stele_effective_slot *slots = NULL;
    size_t count = 0;
    int outcome = read_all_of(run, touched, lane, &history, err);
    if (outcome == STELE_OK) {
        outcome = stele_effective_sort(&reader, history.events, history.count, effective->history,
                                       effective->scratch, &slots, &count, err);
    }
    if (outcome == STELE_OK) {
        outcome = run->sink->ops->effective->undo(run->sink, lane, touched->name.data, err);
    }
    if (outcome == STELE_OK) {
        outcome = apply_slots(run, lane, slots, count, err);
    }
    if (outcome == STELE_OK) {
        touched->at.latest_us = count > 0 ? slots[count - 1].effective_us : INT64_MIN;
        touched->dirty = false;
    }
    stele_memory_reset(effective->history);
    return outcome;
}

int stele_runner__effective_finish(struct stele_run *run, struct stele_run_effective *effective,
                                   uint32_t lane, struct stele_error *err)
{
    int outcome = STELE_OK;
    for (size_t i = 0; i < effective->count && outcome == STELE_OK; i++) {
        struct stele_run_touched *const touched = &effective->touched[i];
        if (touched->dirty) {
            outcome = fold_anew(run, effective, touched, lane, err);
        }
        if (outcome == STELE_OK && touched->last != 0) {
            outcome = run->sink->ops->effective->keep_stream(run->sink, lane, touched->name.data,
                                                             &touched->at, err);
        }
    }
    return outcome;
}
