/* Append conditions: does an event that matches a query exist after a position? Staged events
 * count too: they come before this append in the log, whether they are durable yet or not. */
#include "store/store_internal.h"

#define CHUNK 64

static bool type_matches(const struct stele_prepared *prepared,
                         const struct stele_prepared_item *item, const struct stele_event *event)
{
    for (size_t i = 0; i < item->types_count; i++) {
        if (stele_bytes_equal(prepared->condition_keys[item->types_first + i].name,
                              stele_store__bytes(event->type))) {
            return true;
        }
    }
    return item->types_count == 0;
}

static bool tags_match(const struct stele_prepared *prepared,
                       const struct stele_prepared_item *item, const struct stele_event *event)
{
    for (size_t i = 0; i < item->tags_count; i++) {
        if (!stele_store__event_has_tag(event,
                                        prepared->condition_keys[item->tags_first + i].name)) {
            return false;
        }
    }
    return true;
}

/* Walks the events of one name from the newest back to the position. */
static int check_key(struct stele_store *store, const struct stele_prepared *prepared,
                     const struct stele_prepared_item *item, const struct stele_index_key *key,
                     uint64_t next, uint64_t after, uint64_t *out_position, struct stele_error *err)
{
    while (next > 0) {
        STELE_UNINITIALIZED uint64_t places[CHUNK];
        const uint64_t lo = next > CHUNK ? next - CHUNK : 0;
        size_t count = 0;
        int outcome = STELE_OK;
        /* The runs and memory answer one after the other. */
        for (size_t more = 1; more > 0 && lo + count < next; count += more) {
            outcome = stele_store__places(store, key, lo + count, (size_t)(next - lo) - count,
                                          places + count, &more, err);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
        while (count > 0) {
            struct stele_event event;
            outcome = stele_store__event(store, places[--count], &event, err);
            if (outcome == STELE_NOT_FOUND) {
                continue; /* Scavenged. */
            }
            if (outcome != STELE_OK) {
                return outcome;
            }
            if (event.position <= after) {
                return STELE_OK;
            }
            if (type_matches(prepared, item, &event) && tags_match(prepared, item, &event)) {
                *out_position = event.position;
                return STELE_CONDITION_FAILED;
            }
        }
        next = lo;
    }
    return STELE_OK;
}

/* The tag with the fewest events: its list decides. */
static int rarest_tag(struct stele_store *store, const struct stele_prepared *prepared,
                      const struct stele_prepared_item *item, size_t *out_tag, uint64_t *out_next,
                      struct stele_error *err)
{
    *out_next = UINT64_MAX;
    for (size_t i = 0; i < item->tags_count; i++) {
        struct stele_index_state state = {.next = 0};
        const int outcome =
            stele_store__state(store, &prepared->condition_keys[item->tags_first + i], &state, err);
        if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
            return outcome;
        }
        const uint64_t next = outcome == STELE_OK ? state.next : 0;
        if (next < *out_next) {
            *out_next = next;
            *out_tag = item->tags_first + i;
        }
    }
    return STELE_OK;
}

static int check_item(struct stele_store *store, const struct stele_prepared *prepared,
                      const struct stele_prepared_item *item, uint64_t after,
                      uint64_t *out_position, struct stele_error *err)
{
    if (item->types_count == 0 && item->tags_count == 0) {
        *out_position = stele_log_position(store->log);
        return *out_position > after ? STELE_CONDITION_FAILED : STELE_OK;
    }
    if (item->tags_count > 0) {
        size_t tag = 0;
        uint64_t next = 0;
        const int outcome = rarest_tag(store, prepared, item, &tag, &next, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        return check_key(store, prepared, item, &prepared->condition_keys[tag], next, after,
                         out_position, err);
    }
    for (size_t i = 0; i < item->types_count; i++) {
        const struct stele_index_key *key = &prepared->condition_keys[item->types_first + i];
        struct stele_index_state state = {.next = 0};
        int outcome = stele_store__state(store, key, &state, err);
        if (outcome == STELE_OK) {
            outcome = check_key(store, prepared, item, key, state.next, after, out_position, err);
        }
        if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
            return outcome;
        }
    }
    return STELE_OK;
}

int stele_store__check_conditions(struct stele_store *store, const struct stele_prepared *prepared,
                                  uint64_t seen, size_t *out_failed, uint64_t *out_position,
                                  struct stele_error *err)
{
    for (size_t c = 0; c < prepared->conditions_count; c++) {
        const struct stele_prepared_condition *condition = &prepared->conditions[c];
        const uint64_t after = condition->after > seen ? condition->after : seen;
        for (size_t i = 0; i < condition->items_count; i++) {
            const int outcome =
                check_item(store, prepared, &prepared->items[condition->items_first + i], after,
                           out_position, err);
            if (outcome != STELE_OK) {
                *out_failed = c;
                return outcome;
            }
        }
    }
    return STELE_OK;
}
