/* Folding in the order in which events count.
 *
 * A *slot* is an event that counts. A correction takes over the slot of what it corrects, and so
 * does a correction of a correction; a cancellation empties it. When all events have been looked at
 * in stored order, the slots are sorted by the time at which they count and folded. */
#include "es/effective.h"

#include "base/status.h"
#include "base/text.h"
#include "es/fold.h"

#include <stdlib.h>

struct by_id {
    uint8_t id[16];
    size_t order;
    size_t slot; /* SIZE_MAX: the event is in none. */
};

static int compare_ids(const void *a, const void *b)
{
    const struct by_id *left = a;
    const struct by_id *right = b;
    const int order = memcmp(left->id, right->id, sizeof left->id);
    return order != 0 ? order : (left->order > right->order) - (left->order < right->order);
}

static int compare_slots(const void *a, const void *b)
{
    const struct stele_effective_slot *left = a;
    const struct stele_effective_slot *right = b;
    if (left->effective_us != right->effective_us) {
        return left->effective_us < right->effective_us ? -1 : 1;
    }
    return (left->order > right->order) - (left->order < right->order);
}

/* ---- What events say of themselves -------------------------------------------------------- */

/* A string among the metadata. Metadata that are no JSON say nothing, nor does null. A member that is
 * there and is no string is an error: to pass over a correction would be a wrong balance. */
static int read_member(const struct stele_event *event, const char *name,
                       struct stele_memory *memory, struct stele_text *out)
{
    const int outcome = stele_json_string(event->metadata, event->metadata_size, name, memory, out);
    if (outcome != STELE_E_INVALID) {
        return outcome;
    }
    struct stele_text value;
    if (stele_json_member(event->metadata, event->metadata_size, name, &value) != STELE_OK ||
        (value.size == 4 && memcmp(value.data, "null", 4) == 0)) {
        return STELE_NOT_FOUND;
    }
    return STELE_E_INVALID;
}

static int read_id(const struct stele_event *event, const char *name, struct stele_memory *memory,
                   struct stele_effective *out, int *out_found)
{
    struct stele_text text;
    const int outcome = read_member(event, name, memory, &text);
    if (outcome == STELE_OK) {
        *out_found = 1;
        return stele_id_from_text(text.data, out->id);
    }
    return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
}

static int read_metadata(const struct stele_event *event, struct stele_memory *memory,
                         struct stele_effective *out)
{
    struct stele_text text;
    int outcome = read_member(event, "effective", memory, &text);
    if (outcome == STELE_OK && !stele_time_parse(text.data, &out->effective_us)) {
        return STELE_E_INVALID;
    }
    if (outcome == STELE_OK || outcome == STELE_NOT_FOUND) {
        outcome = read_id(event, "corrects", memory, out, &out->corrects);
    }
    if (outcome == STELE_OK && out->corrects == 0) {
        outcome = read_id(event, "cancels", memory, out, &out->cancels);
    }
    return outcome;
}

int stele_effective_ask(const struct stele_effective_reader *reader,
                        const struct stele_event *event, struct stele_memory *scratch,
                        struct stele_effective *out, struct stele_error *err)
{
    *out = (struct stele_effective){.effective_us = 0};
    int outcome;
    if (reader->effective != NULL) {
        outcome = reader->effective(reader->context, event, out);
    } else {
        outcome = read_metadata(event, scratch, out);
        stele_memory_reset(scratch);
    }
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0,
                          "%s %s: when %.*s at revision %llu of %.*s counts cannot be told: the "
                          "members \"effective\" (RFC 3339), \"corrects\" and \"cancels\" (ids) of "
                          "its metadata have to be right",
                          reader->what, reader->name, (int)event->type.size, event->type.data,
                          (unsigned long long)event->revision, (int)event->stream.size,
                          event->stream.data);
    }
    return STELE_OK;
}

/* ---- Slots -------------------------------------------------------------------------------- */

struct sorting {
    struct stele_effective_slot *slots;
    size_t slots_count;
    struct by_id *ids; /* Sorted. */
    size_t count;
};

/* The earlier event with that id; NULL if there is none. */
static struct by_id *find(const struct sorting *sorting, const uint8_t id[16], size_t before)
{
    size_t low = 0;
    size_t high = sorting->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (memcmp(sorting->ids[middle].id, id, 16) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < sorting->count && memcmp(sorting->ids[low].id, id, 16) == 0 &&
        sorting->ids[low].order < before) {
        return &sorting->ids[low];
    }
    return NULL;
}

static struct by_id *own(const struct sorting *sorting, const struct stele_event *event,
                         size_t order)
{
    const struct by_id key = {.order = order};
    struct by_id wanted = key;
    memcpy(wanted.id, event->id, sizeof wanted.id);
    return bsearch(&wanted, sorting->ids, sorting->count, sizeof wanted, compare_ids);
}

static void place(struct sorting *sorting, const struct stele_event *event, size_t order,
                  const struct stele_effective *effective)
{
    struct by_id *self = own(sorting, event, order);
    STELE_ASSERT(self != NULL);
    const struct by_id *target = effective->corrects != 0 || effective->cancels != 0
                                     ? find(sorting, effective->id, order)
                                     : NULL;
    if (target != NULL && target->slot != SIZE_MAX) {
        struct stele_effective_slot *slot = &sorting->slots[target->slot];
        self->slot = target->slot;
        slot->event = effective->cancels != 0 ? NULL : event;
        if (effective->effective_us != 0 && effective->cancels == 0) {
            slot->effective_us = effective->effective_us;
        }
    } else if (effective->cancels == 0) {
        self->slot = sorting->slots_count;
        sorting->slots[sorting->slots_count++] = (struct stele_effective_slot){
            .effective_us =
                effective->effective_us != 0 ? effective->effective_us : event->created_us,
            .order = order,
            .event = event,
        };
    }
}

int stele_effective_sort(const struct stele_effective_reader *reader,
                         const struct stele_event *events, size_t count,
                         struct stele_memory *memory, struct stele_memory *scratch,
                         const struct stele_effective_slot **out_slots, size_t *out_count,
                         struct stele_error *err)
{
    struct sorting sorting = {.count = count};
    if (count <= SIZE_MAX / 64) {
        sorting.slots = stele_memory_allocate(memory, count * sizeof *sorting.slots);
        sorting.ids = stele_memory_allocate(memory, count * sizeof *sorting.ids);
    }
    if (sorting.slots == NULL || sorting.ids == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%s %s: no memory to sort %zu events",
                          reader->what, reader->name, count);
    }
    for (size_t i = 0; i < count; i++) {
        sorting.ids[i] = (struct by_id){.order = i, .slot = SIZE_MAX};
        memcpy(sorting.ids[i].id, events[i].id, sizeof events[i].id);
    }
    qsort(sorting.ids, count, sizeof *sorting.ids, compare_ids);
    for (size_t i = 0; i < count; i++) {
        struct stele_effective effective;
        const int outcome = stele_effective_ask(reader, &events[i], scratch, &effective, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        place(&sorting, &events[i], i, &effective);
    }
    qsort(sorting.slots, sorting.slots_count, sizeof *sorting.slots, compare_slots);
    *out_slots = sorting.slots;
    *out_count = sorting.slots_count;
    return STELE_OK;
}

static int fold_slots(struct stele_state *state, const struct stele_effective_slot *slots,
                      size_t count, int64_t until_us, struct stele_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct stele_effective_slot *slot = &slots[i];
        if (until_us != 0 && slot->effective_us > until_us) {
            break;
        }
        const int outcome =
            slot->event != NULL ? stele_state__fold_one(state, slot->event, err) : STELE_OK;
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

int stele_state_apply_effective(struct stele_state *state, const struct stele_event *events,
                                size_t count, uint64_t known_at, int64_t until_us,
                                struct stele_error *err)
{
    if (state == NULL || (events == NULL && count > 0)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "stele_state_apply_effective: an argument is NULL");
    }
    if (state->failed != STELE_OK || state->count > 0) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "fold %s: folding in effective order needs a fresh state",
                          state->fold->name);
    }
    while (known_at != 0 && count > 0 && events[count - 1].position > known_at) {
        count--;
    }
    if (count == 0) {
        return STELE_OK;
    }
    /* The table of slots is short-lived, but the scratch memory is emptied while folding. */
    struct stele_memory *table = stele_memory_child(state->memory);
    if (table != NULL && state->scratch == NULL) {
        state->scratch = stele_memory_child(state->memory);
    }
    if (table == NULL || state->scratch == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "fold %s: no memory to sort %zu events",
                          state->fold->name, count);
    }
    const struct stele_effective_reader reader = {.effective = state->fold->effective,
                                                  .context = state->fold->context,
                                                  .what = "fold",
                                                  .name = state->fold->name};
    const struct stele_effective_slot *slots = NULL;
    size_t slots_count = 0;
    int outcome = stele_effective_sort(&reader, events, count, table, state->scratch, &slots,
                                       &slots_count, err);
    if (outcome == STELE_OK) {
        outcome = fold_slots(state, slots, slots_count, until_us, err);
    }
    stele_memory_reset(table);
    state->failed = outcome;
    if (outcome == STELE_OK) {
        state->count = count;
        state->revision = events[count - 1].revision;
        state->position = events[count - 1].position;
    }
    return outcome;
}
