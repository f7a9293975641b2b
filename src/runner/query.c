/* Folding the events that match a query: one read an item, merged by position, each event once. */
#include "runner/command_internal.h"

struct lane {
    struct stele_iterator *iterator;
    const struct stele_event *events;
    size_t count;
    size_t at;
    bool ended;
};

static int advance(struct lane *lane, struct stele_error *err)
{
    while (!lane->ended && lane->at == lane->count) {
        lane->at = 0;
        lane->count = 0;
        const int outcome = stele_iterator_next(lane->iterator, &lane->events, &lane->count, err);
        if (outcome == STELE_END) {
            lane->ended = true;
        } else if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

static int open_lane(struct stele_runner *runner, const struct stele_query_item *item,
                     uint64_t from, uint64_t until, struct lane *lane, struct stele_error *err)
{
    const struct stele_filter filter = {.types = item->types,
                                        .types_count = item->types_count,
                                        .tags = item->tags,
                                        .tags_count = item->tags_count};
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = from;
    options.as_of = until;
    options.filter = &filter;
    return stele_read_all(runner->store, &options, &lane->iterator, err);
}

static int merge(struct stele_runner *runner, struct lane *lanes, size_t count,
                 struct stele_state *state, struct stele_error *err)
{
    for (;;) {
        const struct stele_event *next = NULL;
        for (size_t i = 0; i < count; i++) {
            const int outcome = advance(&lanes[i], err);
            if (outcome != STELE_OK) {
                return outcome;
            }
            const struct lane *lane = &lanes[i];
            if (!lane->ended &&
                (next == NULL || lane->events[lane->at].position < next->position)) {
                next = &lane->events[lane->at];
            }
        }
        if (next == NULL) {
            return STELE_OK;
        }
        const uint64_t position = next->position;
        const int outcome = stele_state_apply(state, next, 1, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        stele_command__count(&runner->events_folded, 1);
        for (size_t i = 0; i < count; i++) {
            struct lane *lane = &lanes[i];
            lane->at += !lane->ended && lane->events[lane->at].position == position ? 1 : 0;
        }
    }
}

int stele_query__read(struct stele_runner *runner, const struct stele_query_item *items,
                      size_t count, struct stele_state *state, uint64_t *position,
                      struct stele_error *err)
{
    /* First the place, then the read: what comes in between fails the condition of the append. */
    const uint64_t until = stele_last_position(runner->store);
    if (until <= *position) {
        return STELE_OK;
    }
    struct lane lanes[STELE_CONDITIONS_MAX];
    STELE_ASSERT(count <= STELE_COUNT_OF(lanes));
    memset(lanes, 0, sizeof lanes);
    int outcome = STELE_OK;
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        outcome = open_lane(runner, &items[i], *position + 1, until, &lanes[i], err);
    }
    if (outcome == STELE_OK) {
        outcome = merge(runner, lanes, count, state, err);
    }
    for (size_t i = 0; i < count; i++) {
        stele_iterator_destroy(lanes[i].iterator);
    }
    if (outcome == STELE_OK) {
        *position = until;
    }
    return outcome;
}
