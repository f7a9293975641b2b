/* Every write is a record of a dot store, with an empty path; which of them are leaves, and what
 * descends from what, follows from their clocks and is not stored. */
#include "base/status.h"
#include "es/dots.h"

#include <stele/versions.h>

#include <inttypes.h>

#define FACTS_SIZE 16 /* Position and creator, before the clock. */

static struct stele_dots dots_of(const struct stele_versions *versions)
{
    return (struct stele_dots){
        .data = versions->data, .size = versions->size, .capacity = versions->capacity};
}

static void give_back(struct stele_versions *versions, const struct stele_dots *dots)
{
    *versions =
        (struct stele_versions){.data = dots->data, .size = dots->size, .capacity = dots->capacity};
}

static int check_record(uint8_t type, const struct stele_dots_record *record,
                        struct stele_error *err)
{
    if (type != STELE_VERSIONS_TYPE) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "type %u is not that of versions", type);
    }
    if (record->path.size != 0 || record->payload.size < FACTS_SIZE) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "it is not shaped as a version is");
    }
    struct stele_clock clock;
    size_t used = 0;
    struct stele_error why = {.outcome = STELE_OK};
    if (stele_clock_decode(record->payload.data + FACTS_SIZE, record->payload.size - FACTS_SIZE,
                           &clock, &used, &why) != STELE_OK) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "%s", why.message);
    }
    if (stele_clock_time(&clock, record->node) != record->time) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "its clock has another time than itself");
    }
    return STELE_OK;
}

static void read_version(const struct stele_dots_record *record, struct stele_version *out)
{
    const uint8_t *const at = record->payload.data;
    size_t used = 0;
    out->node = record->node;
    out->time = record->time;
    out->position = stele_load_u64le(at);
    out->creator = stele_load_u64le(at + 8);
    const int outcome = stele_clock_decode(at + FACTS_SIZE, record->payload.size - FACTS_SIZE,
                                           &out->clock, &used, NULL);
    STELE_ASSERT(outcome == STELE_OK);
    out->value = at + FACTS_SIZE + used;
    out->value_size = record->payload.size - FACTS_SIZE - used;
}

int stele_versions_init(struct stele_versions *versions, void *buffer, size_t capacity)
{
    struct stele_dots dots;
    const int outcome = stele_dots_init(&dots, buffer, capacity, STELE_VERSIONS_TYPE);
    if (outcome == STELE_OK) {
        give_back(versions, &dots);
    }
    return outcome;
}

int stele_versions_open(struct stele_versions *versions, void *buffer, size_t size, size_t capacity,
                        struct stele_error *err)
{
    struct stele_dots dots;
    struct stele_error why = {.outcome = STELE_OK};
    const int outcome = stele_dots_open(&dots, buffer, size, capacity, check_record, &why);
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "versions: %s", why.message);
    }
    if (stele_dots_type(&dots) != STELE_VERSIONS_TYPE ||
        stele_dots_count(&dots) > STELE_VERSIONS_MAX) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "versions: type %u with %" PRIu32 " records is no "
                          "state of versions",
                          stele_dots_type(&dots), stele_dots_count(&dots));
    }
    give_back(versions, &dots);
    return STELE_OK;
}

/* ---- Descent ---- */

/* A clock without the write that has it: what its writer had seen before. A time of 0 in it covers
 * nothing, like a node that is left out. */
static struct stele_clock past_of(const struct stele_clock *clock, uint64_t node)
{
    struct stele_clock past = *clock;
    for (uint32_t i = 0; i < past.count; i++) {
        if (past.entries[i].node == node) {
            past.entries[i].time--;
        }
    }
    return past;
}

/* What the writers of all versions within bound (NULL: of all versions) had seen together: a version
 * that this covers is not one of the newest there, and every other one is. */
static void past_within(const struct stele_dots *dots, const struct stele_clock *bound,
                        struct stele_clock *out_past)
{
    *out_past = (struct stele_clock){.count = 0};
    size_t cursor = 0;
    struct stele_dots_record record;
    while (stele_dots_next(dots, &cursor, &record)) {
        if (bound != NULL && !stele_dots_is_covered(&record, bound)) {
            continue;
        }
        struct stele_version version;
        read_version(&record, &version);
        const struct stele_clock past = past_of(&version.clock, version.node);
        /* Clocks of more nodes than one clock can have do not come through the functions below; of
         * bytes from elsewhere the rest is then left out. */
        (void)stele_clock_merge(out_past, &past);
    }
}

/* The newest versions within bound. */
struct newest {
    const struct stele_dots *dots;
    const struct stele_clock *bound;
    struct stele_clock past;
    size_t cursor;
};

static struct newest newest_of(const struct stele_dots *dots, const struct stele_clock *bound)
{
    struct newest newest = {.dots = dots, .bound = bound};
    past_within(dots, bound, &newest.past);
    return newest;
}

static bool next_newest(struct newest *newest, struct stele_version *out_version)
{
    struct stele_dots_record record;
    while (stele_dots_next(newest->dots, &newest->cursor, &record)) {
        if ((newest->bound == NULL || stele_dots_is_covered(&record, newest->bound)) &&
            !stele_dots_is_covered(&record, &newest->past)) {
            read_version(&record, out_version);
            return true;
        }
    }
    return false;
}

static int prefer(const struct stele_dots *dots, const struct stele_clock *bound,
                  stele_versions_rule rule, void *context, struct stele_version *out_version)
{
    struct newest newest = newest_of(dots, bound);
    struct stele_version best;
    if (!next_newest(&newest, &best)) {
        return STELE_NOT_FOUND;
    }
    struct stele_version other;
    while (next_newest(&newest, &other)) {
        if ((rule != NULL ? rule : stele_versions_last_writer)(context, &best, &other) < 0) {
            best = other;
        }
    }
    *out_version = best;
    return STELE_OK;
}

int stele_versions_last_writer(void *context, const struct stele_version *a,
                               const struct stele_version *b)
{
    (void)context;
    if (a->position != b->position) {
        return a->position > b->position ? 1 : -1;
    }
    return a->node > b->node ? 1 : a->node < b->node ? -1 : 0;
}

size_t stele_versions_count(const struct stele_versions *versions)
{
    const struct stele_dots dots = dots_of(versions);
    struct newest newest = newest_of(&dots, NULL);
    size_t count = 0;
    struct stele_version version;
    while (next_newest(&newest, &version)) {
        count++;
    }
    return count;
}

int stele_versions_leaf(const struct stele_versions *versions, size_t index,
                        struct stele_version *out_version)
{
    const struct stele_dots dots = dots_of(versions);
    struct newest newest = newest_of(&dots, NULL);
    struct stele_version version;
    for (size_t i = 0; next_newest(&newest, &version); i++) {
        if (i == index) {
            *out_version = version;
            return STELE_OK;
        }
    }
    return STELE_NOT_FOUND;
}

int stele_versions_value(const struct stele_versions *versions, stele_versions_rule rule,
                         void *context, struct stele_version *out_version)
{
    const struct stele_dots dots = dots_of(versions);
    return prefer(&dots, NULL, rule, context, out_version);
}

int stele_versions_base(const struct stele_versions *versions, const struct stele_stamp *stamp,
                        stele_versions_rule rule, void *context, struct stele_version *out_version)
{
    const struct stele_dots dots = dots_of(versions);
    const struct stele_clock past = past_of(stamp->clock, stamp->node);
    return prefer(&dots, &past, rule, context, out_version);
}

/* ---- Changing ---- */

size_t stele_versions_room(const struct stele_stamp *stamp, size_t value_size)
{
    return STELE_DOTS_RECORD_SIZE + FACTS_SIZE + stele_clock_encoded_size(stamp->clock) +
           stele_dots_see_room(stamp->clock) + value_size;
}

/* The creator of what this write descends from; its own node if that is nothing. */
static uint64_t creator_of(const struct stele_dots *dots, const struct stele_stamp *stamp)
{
    const struct stele_clock past = past_of(stamp->clock, stamp->node);
    struct newest newest = newest_of(dots, &past);
    struct stele_version version;
    if (!next_newest(&newest, &version)) {
        return stamp->node;
    }
    /* Two may have been created at the same time, and then joined. */
    uint64_t creator = version.creator;
    while (next_newest(&newest, &version)) {
        creator = version.creator < creator ? version.creator : creator;
    }
    return creator;
}

static int check_put(const struct stele_dots *dots, const struct stele_stamp *stamp,
                     size_t value_size, struct stele_error *err)
{
    if (stele_dots_count(dots) >= STELE_VERSIONS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "versions: there are %u, which is the most; prune those that every node "
                          "has seen",
                          STELE_VERSIONS_MAX);
    }
    if (value_size > STELE_VERSIONS_VALUE_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "versions: a value of %zu bytes; at most %u are allowed", value_size,
                          STELE_VERSIONS_VALUE_SIZE_MAX);
    }
    const size_t room = stele_versions_room(stamp, value_size);
    if (dots->capacity - dots->size < room) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "versions: %zu more bytes may be needed, and there is room for %zu", room,
                          dots->capacity - dots->size);
    }
    return STELE_OK;
}

static void put_record(struct stele_dots *dots, const struct stele_stamp *stamp, uint64_t creator,
                       const void *value, size_t value_size)
{
    uint8_t facts[FACTS_SIZE + STELE_CLOCK_ENCODED_SIZE_MAX];
    stele_store_u64le(facts, stamp->position);
    stele_store_u64le(facts + 8, creator);
    const size_t facts_size = FACTS_SIZE + stele_clock_encode(stamp->clock, facts + FACTS_SIZE);
    const struct stele_dots_record record = {
        .payload = {.data = facts, .size = facts_size},
        .node = stamp->node,
        .time = stele_clock_time(stamp->clock, stamp->node),
    };
    stele_dots_put_parts(dots, &record, (struct stele_bytes){.data = value, .size = value_size});
}

int stele_versions_put(struct stele_versions *versions, const struct stele_stamp *stamp,
                       const void *value, size_t value_size, struct stele_error *err)
{
    struct stele_dots dots = dots_of(versions);
    const uint64_t time = stele_clock_time(stamp->clock, stamp->node);
    if (time == 0) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "versions: the stamp's clock has no entry for its node %" PRIu64
                          "; the write itself belongs into it",
                          stamp->node);
    }
    if (stele_dots_has_seen(&dots, stamp->node, time)) {
        return STELE_OK;
    }
    int outcome = check_put(&dots, stamp, value_size, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_clock seen;
    stele_dots_seen(&dots, &seen);
    if (stele_clock_merge(&seen, stamp->clock) != STELE_OK) {
        return stele_fail(err, STELE_E_LIMIT, 0, "versions: more than %d nodes",
                          STELE_CLOCK_ENTRIES_MAX);
    }
    /* The value may lie in this very buffer, and what comes after this moves it. */
    put_record(&dots, stamp, creator_of(&dots, stamp), value, value_size);
    outcome = stele_dots_see(&dots, &seen);
    STELE_ASSERT(outcome == STELE_OK);
    give_back(versions, &dots);
    return STELE_OK;
}

int stele_versions_resolve(struct stele_versions *versions, const struct stele_stamp *stamp,
                           uint64_t node, uint64_t time, struct stele_error *err)
{
    const struct stele_dots dots = dots_of(versions);
    if (stele_clock_time(stamp->clock, stamp->node) != 0 &&
        stele_dots_has_seen(&dots, stamp->node, stele_clock_time(stamp->clock, stamp->node))) {
        return STELE_OK;
    }
    size_t cursor = 0;
    struct stele_dots_record record;
    while (stele_dots_next(&dots, &cursor, &record)) {
        if (record.node != node || record.time != time ||
            !stele_dots_is_covered(&record, stamp->clock)) {
            continue;
        }
        struct stele_version chosen;
        read_version(&record, &chosen);
        return stele_versions_put(versions, stamp, chosen.value, chosen.value_size, err);
    }
    return stele_fail(err, STELE_NOT_FOUND, 0,
                      "versions: the choice is for what node %" PRIu64 " wrote at %" PRIu64
                      ", which is not among the versions that it had seen",
                      node, time);
}

/* ---- Forgetting, merging ---- */

static bool is_past(const void *context, const struct stele_dots_record *record)
{
    return stele_dots_is_covered(record, (const struct stele_clock *)context);
}

void stele_versions_prune(struct stele_versions *versions, const struct stele_clock *stable)
{
    /* Whatever comes has seen all that is stable, and so the newest versions of that: it cannot
     * descend directly from one that those have seen. */
    struct stele_dots dots = dots_of(versions);
    struct stele_clock past;
    past_within(&dots, stable, &past);
    stele_dots_remove(&dots, is_past, &past);
    give_back(versions, &dots);
}

int stele_versions_merge(const struct stele_versions *a, const struct stele_versions *b,
                         struct stele_versions *out, struct stele_error *err)
{
    const struct stele_dots one = dots_of(a);
    const struct stele_dots two = dots_of(b);
    struct stele_dots joined = dots_of(out);
    struct stele_error why = {.outcome = STELE_OK};
    const int outcome = stele_dots_join(&one, &two, &joined, &why);
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "versions: %s", why.message);
    }
    if (stele_dots_count(&joined) > STELE_VERSIONS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "versions: together there are %" PRIu32
                          ", and at most %u are allowed; prune both",
                          stele_dots_count(&joined), STELE_VERSIONS_MAX);
    }
    give_back(out, &joined);
    return STELE_OK;
}
