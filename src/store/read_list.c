/* Reads that follow the places that the index has for one name, in memory and in runs; and how such
 * a read becomes a scan of the log where the index has a hole. */
#include "store/read_internal.h"

#define PREFETCH_AHEAD 16

static bool is_visible(const struct stele_read *read, uint64_t place)
{
    return place < read->end || place == STELE_STORE__NO_PLACE;
}

/* The memory part of a list from the ordinal on, as far as it is durable. */
void stele_read__list_refill(struct stele_store *store, struct stele_read *read)
{
    uint64_t lo = read->ordinal;
    size_t max = STELE_READ__BATCH;
    if (read->backwards) {
        lo = read->ordinal > STELE_READ__BATCH ? read->ordinal - STELE_READ__BATCH : 0;
        max = (size_t)(read->ordinal - lo);
    }
    read->places_count = 0;
    read->places_of_memory = true;
    read->memory_lo = UINT64_MAX;
    if (max == 0) {
        return;
    }
    const size_t count =
        stele_index_mem_places(store->index, &read->key, lo, max, read->places, &read->memory_lo);
    read->places_first = read->memory_lo > lo ? read->memory_lo : lo;
    while (read->places_count < count && is_visible(read, read->places[read->places_count])) {
        read->places_count++;
    }
    read->memory_end = read->places_count < max;
}

/* Makes an outcome of the view ours: damage is remembered for the store, and hides the answer. */
static int view_outcome(struct stele_read *read, int outcome, const char *damaged)
{
    if (outcome == STELE_E_CORRUPT) {
        STELE_ASSERT(damaged != NULL);
        STELE_ASSERT(strlen(damaged) < sizeof read->damaged_run);
        memcpy(read->damaged_run, damaged, strlen(damaged) + 1);
        return STELE_INCOMPLETE;
    }
    return outcome;
}

/* Places of the next ordinals from the runs. STELE_NOT_FOUND: the runs have none from lo on. */
static int list_from_view(struct stele_read *read, uint64_t lo, size_t max)
{
    const char *damaged = NULL;
    size_t count = 0;
    int outcome =
        stele_index_view_places(read->view, &read->key, lo, max, read->places, &count, &damaged);
    read->places_count = 0;
    read->places_of_memory = false;
    outcome = view_outcome(read, outcome, damaged);
    if (outcome != STELE_OK) {
        return outcome;
    }
    while (count > 0 && !is_visible(read, read->places[count - 1])) {
        count--; /* A follower's runs may be ahead of what it has been told to be durable. */
    }
    read->places_first = lo;
    read->places_count = count;
    return count == 0 ? STELE_NOT_FOUND : STELE_OK;
}

/* The runs have nothing at the ordinal. Below the name's first ordinal that is because scavenging
 * came before the index was rebuilt: go on at the first. In the middle it is damage that was passed
 * over: let the log tell. STELE_OK: ordinal was moved; STELE_NOT_FOUND: the runs have no more. */
static int step_over_gap(struct stele_read *read)
{
    const char *damaged = NULL;
    struct stele_index_state state = {.next = 0};
    int outcome = view_outcome(
        read, stele_index_view_state(read->view, &read->key, &state, &damaged), damaged);
    if (outcome != STELE_OK || state.next <= read->ordinal) {
        return outcome == STELE_OK ? STELE_NOT_FOUND : outcome;
    }
    if (read->gaps) {
        return STELE_INCOMPLETE;
    }
    uint64_t first = UINT64_MAX;
    outcome = view_outcome(
        read, stele_index_view_lower_bound(read->view, &read->key, 0, &first, &damaged), damaged);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (first <= read->ordinal || first == UINT64_MAX) {
        return STELE_INCOMPLETE;
    }
    read->ordinal = first;
    return STELE_OK;
}

/* Makes places hold the next ordinal. STELE_OK; STELE_NOT_FOUND: this snapshot has no more;
 * STELE_INCOMPLETE: a hole. */
static int list_forward(struct stele_read *read)
{
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        if (read->ordinal >= read->places_first &&
            read->ordinal - read->places_first < read->places_count) {
            return STELE_OK;
        }
        if (read->ordinal >= read->memory_lo) {
            /* Memory has more than one refill brings, or the view's places took its room. */
            read->fresh = read->fresh && read->places_of_memory && read->memory_end;
            return STELE_NOT_FOUND;
        }
        const uint64_t below = read->memory_lo - read->ordinal;
        outcome = list_from_view(read, read->ordinal,
                                 below < STELE_READ__BATCH ? (size_t)below : STELE_READ__BATCH);
        if (outcome == STELE_NOT_FOUND) {
            outcome = step_over_gap(read);
        }
        if (outcome == STELE_NOT_FOUND && read->memory_lo != UINT64_MAX) {
            read->ordinal = read->memory_lo;
            outcome = STELE_OK;
        }
    }
    return outcome;
}

static int list_backward(struct stele_read *read)
{
    size_t chunk = STELE_READ__BATCH;
    while (read->ordinal > read->revision_min) {
        if (read->ordinal > read->places_first &&
            read->ordinal - read->places_first <= read->places_count) {
            return STELE_OK;
        }
        if (read->ordinal > read->memory_lo) {
            read->fresh = false;
            return STELE_NOT_FOUND;
        }
        const uint64_t above = read->ordinal - read->revision_min;
        const size_t wanted = above < chunk ? (size_t)above : chunk;
        const int outcome = list_from_view(read, read->ordinal - wanted, wanted);
        if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
            return outcome;
        }
        /* A gap (see step_over_gap): go down one by one until there is something again. */
        if (read->places_count < wanted) {
            read->places_count = wanted == 1 ? 0 : read->places_count;
            read->ordinal -= wanted == 1 ? 1 : 0;
            read->places_first = UINT64_MAX;
            chunk = 1;
        }
    }
    read->over = true;
    return STELE_NOT_FOUND;
}

/* The events of a stream are scattered over the log. Their cache misses and page walks overlap if
 * many are asked for in one go; one at a time, each would wait for its own. */
static void prefetch(const struct stele_read *read, size_t at)
{
    if (at % PREFETCH_AHEAD != 0 && at != (read->backwards ? read->places_count - 1 : 0)) {
        return;
    }
    for (size_t i = 0; i < 2 * PREFETCH_AHEAD; i++) {
        if (read->backwards ? i > at : at + i >= read->places_count) {
            break;
        }
        stele_log_prefetch(&read->reader, read->places[read->backwards ? at - i : at + i]);
    }
}

/* The next event of the list: STELE_OK, STELE_NOT_FOUND, STELE_INCOMPLETE, STELE_E_CORRUPT, … */
int stele_read__list_next(struct stele_read *read, struct stele_event *event,
                          struct stele_error *err)
{
    int outcome = STELE_NOT_FOUND;
    while (outcome == STELE_NOT_FOUND) {
        outcome = read->backwards ? list_backward(read) : list_forward(read);
        if (outcome != STELE_OK) {
            return outcome;
        }
        const uint64_t ordinal = read->backwards ? --read->ordinal : read->ordinal++;
        const size_t at = (size_t)(ordinal - read->places_first);
        prefetch(read, at);
        outcome = read->places[at] == STELE_STORE__NO_PLACE
                      ? STELE_NOT_FOUND
                      : stele_log_read(&read->reader, read->places[at], event);
        if (outcome == STELE_NOT_FOUND && read->gaps) {
            read->ordinal = read->backwards ? ordinal + 1 : ordinal;
            return STELE_INCOMPLETE;
        }
        if (outcome == STELE_E_CORRUPT) {
            return stele_read__fail_damage(read, err);
        }
        if (outcome == STELE_OK && (!stele_read__is_of_name(read, event) ||
                                    (read->is_stream && event->revision != ordinal))) {
            /* The record verifies, so it is the index that is wrong: look for ourselves. */
            read->ordinal = read->backwards ? ordinal + 1 : ordinal;
            return STELE_INCOMPLETE;
        }
        if (read->over) {
            return STELE_NOT_FOUND;
        }
    }
    return outcome;
}

/* The index cannot be asked: looks for the same events in the log, from where the list stood. */
int stele_read__turn_into_scan(struct stele_read *read)
{
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, read->end);
    if (!read->backwards) {
        const uint64_t position = read->is_stream ? 0 : read->position + 1;
        const int outcome = stele_log_seek(&read->reader, position, &cursor);
        if (outcome == STELE_END) {
            stele_log_cursor_at(&cursor, read->end);
        } else if (outcome != STELE_OK) {
            return outcome; /* It is still the list that it was. */
        }
    }
    read->cursor = cursor;
    /* The seek ends a few frames early. */
    read->after = read->backwards || read->is_stream ? 0 : read->position;
    read->is_list = false;
    read->by_name = true;
    read->places_count = 0;
    /* Counting goes on behind the last event that was passed, or begins at the log's. */
    if (read->by_ordinal && read->position == (read->backwards ? UINT64_MAX : 0)) {
        read->ordinal = read->backwards ? read->ordinals_end : 0;
    }
    if (read->backwards && read->by_ordinal) {
        if (read->position != UINT64_MAX) {
            read->as_of = read->position == 0 ? 0 : read->position - 1;
        }
        read->before = read->end;
        return STELE_OK;
    }
    if (read->backwards) {
        if (read->is_stream) {
            read->from = read->ordinal == 0 ? 0 : read->ordinal - 1;
            read->over = read->over || read->ordinal == 0;
        } else if (read->position != UINT64_MAX) {
            read->from = read->position == 0 ? 0 : read->position - 1;
        }
        read->before = read->end;
        return STELE_OK;
    }
    if (read->is_stream) {
        read->from = read->ordinal > read->from ? read->ordinal : read->from;
    }
    return STELE_OK;
}
