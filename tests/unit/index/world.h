/* An index on a disk in memory, and beside it the same facts in plain arrays: what every test of
 * the index compares with.
 *
 * Hashes may be weakened (hash_mask), so that different names and ids collide all the time. */
#ifndef STELE_TESTS_UNIT_INDEX_WORLD_H
#define STELE_TESTS_UNIT_INDEX_WORLD_H

#include "index/index_internal.h"
#include "lib/check.h"
#include "lib/memio.h"
#include "lib/testalloc.h"

#define WORLD_EVENTS_MAX 4096
#define WORLD_STREAMS 40
#define WORLD_CATEGORIES 6
#define WORLD_TYPES 5
#define WORLD_TAGS 8
#define WORLD_NAMES_MAX 40
#define WORLD_LOG_START UINT64_C(4096)

struct world_event {
    uint64_t place;
    uint64_t place_end;
    uint64_t revision;
    uint32_t name[3]; /* By space: stream, category, type. */
    uint32_t tags;    /* Bits. */
    uint32_t id;      /* Ids repeat now and then. */
    bool tombstone;
    bool scavenged;
};

struct world {
    struct memio disk;
    struct testalloc alloc;
    struct rng rng;
    struct stele_index *index;
    struct stele_index_options options;
    uint64_t hash_mask;
    struct world_event events[WORLD_EVENTS_MAX];
    uint32_t count;
    uint64_t end;
    uint64_t next_revision[WORLD_STREAMS];
};

static inline uint32_t world_names(uint8_t space)
{
    static const uint32_t names[STELE_SPACES] = {WORLD_STREAMS, WORLD_CATEGORIES, WORLD_TYPES,
                                                 WORLD_TAGS};
    return names[space];
}

/* Names of different lengths, some of them the beginning of others. */
static inline struct stele_bytes world_name(uint8_t space, uint32_t number, char buffer[64])
{
    static const char letters[STELE_SPACES] = {'s', 's', 't', 'g'};
    int size = snprintf(buffer, 64, "%c%u", letters[space], number);
    if (number % 3 == 2) {
        size = snprintf(buffer, 64, "%c-a-longer-name-than-the-others-%u", letters[space], number);
    }
    return (struct stele_bytes){.data = (const uint8_t *)buffer, .size = (size_t)size};
}

static inline struct stele_index_key world_key(const struct world *world, uint8_t space,
                                               struct stele_bytes name)
{
    struct stele_index_key key = stele_index_key(world->options.seed, space, name);
    key.hash &= world->hash_mask;
    return key;
}

static inline void world_id(uint32_t id, uint8_t bytes[16])
{
    memset(bytes, 0, 16);
    memcpy(bytes, &id, sizeof id);
}

static inline uint64_t world_id_hash(const struct world *world, uint32_t id)
{
    uint8_t bytes[16];
    world_id(id, bytes);
    return stele_index_id_hash(world->options.seed, bytes) & world->hash_mask;
}

/* Does the event stand under this name? */
static inline bool world_has(const struct world_event *event, uint8_t space, uint32_t number)
{
    return space == STELE_SPACE_TAG ? (event->tags >> number & 1) != 0
                                    : event->name[space] == number;
}

static inline void world_init(struct world *world, uint64_t seed, uint64_t hash_mask)
{
    memset(world, 0, sizeof *world);
    testalloc_init(&world->alloc, seed);
    memio_init(&world->disk, &world->alloc.base, seed);
    rng_init(&world->rng, seed, 1);
    world->hash_mask = hash_mask;
    world->options.seed = seed * 77 + 1;
    memset(world->options.store_id, 0x5e, sizeof world->options.store_id);
    world->end = WORLD_LOG_START;
}

static inline int world_open_index(struct world *world, bool read_only)
{
    world->options.read_only = read_only;
    const int outcome = stele_index_open(&world->disk.io, &world->options, WORLD_LOG_START,
                                         world->end, &world->index, NULL);
    if (outcome == STELE_OK) {
        world->index->hash_mask = world->hash_mask;
    }
    return outcome;
}

/* Adds one event to the index's memory. Damaged runs become holes on the way. */
static inline int world_index_event(struct world *world, const struct world_event *event)
{
    struct stele_index_entry *entries[3 + WORLD_TAGS] = {NULL};
    size_t count = 0;
    int outcome = stele_index_reserve(world->index, 1, 3 + WORLD_TAGS);
    for (uint8_t space = 0; space < STELE_SPACES && outcome == STELE_OK; space++) {
        for (uint32_t i = 0; i < world_names(space) && outcome == STELE_OK; i++) {
            if (world_has(event, space, i)) {
                char buffer[64];
                const struct stele_index_key key =
                    world_key(world, space, world_name(space, i, buffer));
                outcome = stele_index_entry(world->index, &key, &entries[count++], NULL);
            }
        }
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    CHECK(event->revision >= entries[0]->next);
    entries[0]->next = event->revision;
    if (event->tombstone) {
        stele_index_mark(entries[0], STELE_INDEX_TOMBSTONED);
    }
    stele_index_add(world->index, event->place, world_id_hash(world, event->id), entries[0],
                    entries[1], entries[2], entries + 3, count - 3);
    return STELE_OK;
}

/* A new event in the log. It is in the index only after world_index_event(). */
static inline struct world_event *world_new_event(struct world *world)
{
    CHECK(world->count < WORLD_EVENTS_MAX);
    struct world_event *event = &world->events[world->count++];
    struct rng *rng = &world->rng;
    const uint32_t stream = (uint32_t)rng_below(rng, rng_one_in(rng, 2) ? WORLD_STREAMS : 3);
    *event = (struct world_event){
        .place = world->end + rng_below(rng, 4) * 8,
        .revision = world->next_revision[stream]++,
        .name = {stream, stream % WORLD_CATEGORIES, (uint32_t)rng_below(rng, WORLD_TYPES)},
        .tags = (uint32_t)(rng_next(rng) & rng_next(rng) & ((1U << WORLD_TAGS) - 1)),
        .id = rng_one_in(rng, 10) ? (uint32_t)rng_below(rng, 5) : 1000 + world->count,
        .tombstone = rng_one_in(rng, 200),
    };
    event->place_end = event->place + 8 + rng_below(rng, 20) * 8;
    world->end = event->place_end;
    return event;
}

/* Adds to memory what the runs do not cover, as the store does after opening. */
static inline int world_replay(struct world *world)
{
    const uint64_t from = stele_index_runs_end(world->index);
    int outcome = STELE_OK;
    for (uint32_t i = 0; i < world->count && outcome == STELE_OK; i++) {
        if (world->events[i].place >= from && !world->events[i].scavenged) {
            outcome = world_index_event(world, &world->events[i]);
        }
    }
    return outcome;
}

static inline int world_end_job(struct world *world, struct stele_index_job *job)
{
    const int outcome = stele_index_job_run(job, NULL, NULL, NULL);
    return stele_index_job_end(world->index, job, outcome, NULL);
}

static inline int world_flush(struct world *world)
{
    struct stele_index_job *job = NULL;
    const int outcome = stele_index_flush_begin(world->index, world->end, &job);
    return outcome == STELE_OK ? world_end_job(world, job) : outcome;
}

static inline int world_merge(struct world *world)
{
    struct stele_index_job *job = NULL;
    const int outcome = stele_index_merge_begin(world->index, &job);
    return outcome == STELE_OK ? world_end_job(world, job) : outcome;
}

static inline int world_fill_event(struct world *world, struct stele_index_job *job,
                                   const struct world_event *event)
{
    char names[3][64];
    uint8_t tags[1024];
    uint8_t id[16];
    uint8_t *at = tags;
    uint32_t tags_count = 0;
    for (uint32_t i = 0; i < WORLD_TAGS; i++) {
        if (world_has(event, STELE_SPACE_TAG, i)) {
            char buffer[64];
            const struct stele_bytes tag = world_name(STELE_SPACE_TAG, i, buffer);
            *at++ = (uint8_t)tag.size;
            memcpy(at, tag.data, tag.size);
            at += tag.size;
            tags_count++;
        }
    }
    world_id(event->id, id);
    (void)world;
    return stele_index_fill_add(
        job, event->place, id, event->revision, world_name(0, event->name[0], names[0]),
        world_name(1, event->name[1], names[1]), world_name(2, event->name[2], names[2]), tags,
        tags_count, event->tombstone ? STELE_INDEX_TOMBSTONED : 0);
}

/* Gives a filling what the log has for its piece. */
static inline int world_fill_piece(struct world *world, struct stele_index_job *job, uint64_t from,
                                   uint64_t to)
{
    int outcome = STELE_OK;
    uint64_t end = from;
    for (uint32_t i = 0; i < world->count && outcome == STELE_OK; i++) {
        const struct world_event *event = &world->events[i];
        if (event->place >= from && event->place < to) {
            end = event->place_end;
            if (!event->scavenged) {
                outcome = world_fill_event(world, job, event);
            }
        }
    }
    if (outcome == STELE_OK) {
        stele_index_fill_set_end(job, end > to ? end : to);
    }
    return outcome;
}

/* Fills one piece of a hole. */
static inline int world_fill(struct world *world, uint64_t piece)
{
    struct stele_index_job *job = NULL;
    uint64_t from = 0;
    uint64_t to = 0;
    int outcome = stele_index_fill_begin(world->index, piece, &from, &to, &job);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = world_fill_piece(world, job, from, to);
    if (outcome == STELE_OK) {
        outcome = stele_index_job_run(job, NULL, NULL, NULL);
    }
    return stele_index_job_end(world->index, job, outcome, NULL);
}

/* ---- Questions as the store asks them ---- */

/* Looks at an outcome of a view: damage is turned into a hole. */
static inline int world_judge(struct world *world, int outcome, const char *damaged)
{
    if (outcome == STELE_E_CORRUPT) {
        CHECK(damaged != NULL);
        stele_index_drop_run(world->index, damaged);
        return STELE_INCOMPLETE;
    }
    return outcome;
}

static inline int world_state(struct world *world, const struct stele_index_key *key,
                              struct stele_index_state *out_state)
{
    int outcome = stele_index_mem_state(world->index, key, out_state);
    if (outcome == STELE_NOT_FOUND) {
        const char *damaged = NULL;
        struct stele_index_view *view = stele_index_view_acquire(world->index);
        outcome = stele_index_view_state(view, key, out_state, &damaged);
        outcome = world_judge(world, outcome, damaged);
        stele_index_view_release(view);
    }
    return outcome;
}

static inline int world_places_once(struct world *world, const struct stele_index_key *key,
                                    uint64_t lo, size_t max, uint64_t *places, size_t *out_count)
{
    uint64_t memory_lo = 0;
    const size_t in_memory = stele_index_mem_places(world->index, key, lo, max, places, &memory_lo);
    if (memory_lo <= lo) {
        *out_count = in_memory;
        return STELE_OK;
    }
    CHECK_EQ(in_memory > 0, memory_lo != UINT64_MAX && memory_lo - lo < max);
    const size_t wanted = memory_lo - lo < max ? (size_t)(memory_lo - lo) : max;
    const char *damaged = NULL;
    struct stele_index_view *view = stele_index_view_acquire(world->index);
    int outcome = stele_index_view_places(view, key, lo, wanted, places, out_count, &damaged);
    outcome = world_judge(world, outcome, damaged);
    stele_index_view_release(view);
    return outcome;
}

/* All places from lo on. */
static inline int world_places(struct world *world, const struct stele_index_key *key, uint64_t lo,
                               uint64_t *places, size_t *out_count)
{
    size_t count = 0;
    for (;;) {
        size_t more = 0;
        const size_t max = 1 + (size_t)rng_below(&world->rng, 100);
        CHECK(count + max <= WORLD_EVENTS_MAX + 100);
        const int outcome = world_places_once(world, key, lo + count, max, places + count, &more);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (more == 0) {
            *out_count = count;
            return STELE_OK;
        }
        count += more;
    }
}

static inline int world_lower_bound(struct world *world, const struct stele_index_key *key,
                                    uint64_t place, uint64_t *out_ordinal)
{
    const char *damaged = NULL;
    struct stele_index_view *view = stele_index_view_acquire(world->index);
    int outcome = stele_index_view_lower_bound(view, key, place, out_ordinal, &damaged);
    outcome = world_judge(world, outcome, damaged);
    stele_index_view_release(view);
    if (outcome == STELE_OK && *out_ordinal == UINT64_MAX) {
        *out_ordinal = stele_index_mem_lower_bound(world->index, key, place);
    }
    return outcome;
}

static inline int world_ids(struct world *world, uint64_t hash, uint64_t *places, size_t max,
                            size_t *out_count)
{
    const size_t count = stele_index_mem_ids(world->index, hash, places, max);
    size_t older = 0;
    const char *damaged = NULL;
    struct stele_index_view *view = stele_index_view_acquire(world->index);
    int outcome = stele_index_view_ids(view, hash, places + count, max - count, &older, &damaged);
    outcome = world_judge(world, outcome, damaged);
    stele_index_view_release(view);
    *out_count = count + older;
    return outcome;
}

/* ---- Comparing ---- */

static inline bool world_has_holes(struct world *world)
{
    struct stele_index_view *view = stele_index_view_acquire(world->index);
    const bool holes = stele_index_view_has_holes(view);
    stele_index_view_release(view);
    CHECK_EQ(holes, stele_index_hole_bytes(world->index) > 0);
    return holes;
}

/* An answer that is not STELE_OK must have a hole behind it. */
static inline bool world_answered(struct world *world, int outcome)
{
    if (outcome == STELE_OK) {
        return true;
    }
    CHECK_EQ(outcome, STELE_INCOMPLETE);
    CHECK(world_has_holes(world));
    return false;
}

/* Streams: ordinal is revision, exactly. The others: the events in their order; ordinals without
 * an event may stand between once something was scavenged. */
static inline void world_check_places(struct world *world, uint8_t space, uint32_t number,
                                      uint64_t next)
{
    static uint64_t places[WORLD_EVENTS_MAX + 100];
    char buffer[64];
    const struct stele_index_key key = world_key(world, space, world_name(space, number, buffer));
    size_t count = 0;
    if (!world_answered(world, world_places(world, &key, 0, places, &count))) {
        return;
    }
    CHECK_EQ(count, next);
    size_t at = 0;
    for (uint32_t i = 0; i < world->count; i++) {
        const struct world_event *event = &world->events[i];
        if (!world_has(event, space, number)) {
            continue;
        }
        if (space == STELE_SPACE_STREAM && event->revision >= count) {
            CHECK(event->scavenged);
            continue;
        }
        if (space == STELE_SPACE_STREAM) {
            at = (size_t)event->revision;
        }
        while (space != STELE_SPACE_STREAM && at < count && places[at] == UINT64_MAX) {
            at++;
        }
        const bool found = at < count && places[at] == event->place;
        CHECK(found || event->scavenged);
        at += found;
    }
    while (at < count && places[at] == UINT64_MAX) {
        at++;
    }
    CHECK(at == count || space == STELE_SPACE_STREAM);
}

static inline void world_check_bound(struct world *world, uint8_t space, uint32_t number,
                                     uint64_t place)
{
    char buffer[64];
    const struct stele_index_key key = world_key(world, space, world_name(space, number, buffer));
    uint64_t ordinal = 0;
    if (!world_answered(world, world_lower_bound(world, &key, place, &ordinal))) {
        return;
    }
    const struct world_event *first = NULL;
    for (uint32_t i = 0; i < world->count && first == NULL; i++) {
        if (world_has(&world->events[i], space, number) && world->events[i].place >= place &&
            !world->events[i].scavenged) {
            first = &world->events[i];
        }
    }
    if (first == NULL) {
        return; /* Only scavenged ones, or none: checked by what follows in world_check(). */
    }
    CHECK(ordinal != UINT64_MAX);
    uint64_t found = 0;
    size_t count = 0;
    if (!world_answered(world, world_places_once(world, &key, ordinal, 1, &found, &count))) {
        return;
    }
    CHECK_EQ(count, 1);
    CHECK(found >= place);
    CHECK(found <= first->place);
}

static inline void world_check_ids(struct world *world, uint32_t id)
{
    enum { MAX = 12 };
    uint64_t places[MAX];
    size_t count = 0;
    const uint64_t hash = world_id_hash(world, id);
    if (!world_answered(world, world_ids(world, hash, places, MAX, &count))) {
        return;
    }
    size_t at = 0;
    for (uint32_t i = world->count; i > 0 && at < MAX; i--) {
        const struct world_event *event = &world->events[i - 1];
        if (world_id_hash(world, event->id) == hash) {
            const bool found = at < count && places[at] == event->place;
            CHECK(found || event->scavenged);
            at += found;
        }
    }
    CHECK_EQ(at, count);
}

static inline void world_check_name(struct world *world, uint8_t space, uint32_t number)
{
    char buffer[64];
    const struct stele_index_key key = world_key(world, space, world_name(space, number, buffer));
    struct stele_index_state state = {.next = 0};
    uint64_t total = 0;
    uint64_t kept = 0;
    bool tombstoned = false;
    for (uint32_t i = 0; i < world->count; i++) {
        if (world_has(&world->events[i], space, number)) {
            total++;
            kept = world->events[i].scavenged ? kept
                   : space == 0               ? world->events[i].revision + 1
                                              : kept + 1;
            tombstoned |= space == 0 && world->events[i].tombstone && !world->events[i].scavenged;
        }
    }
    if (!world_answered(world, world_state(world, &key, &state))) {
        return;
    }
    CHECK(state.next <= total);
    CHECK(state.next >= kept);
    CHECK(!tombstoned || (state.flags & STELE_INDEX_TOMBSTONED) != 0);
    world_check_places(world, space, number, state.next);
}

static inline int compare_listed(const void *a, const void *b)
{
    const char *const *left = a;
    const char *const *right = b;
    return strcmp(*left, *right);
}

struct world_listed {
    const char *name;
    struct stele_index_state state;
};

/* What a listing has to tell; false if a hole hides it. */
static inline bool world_expect_list(struct world *world, uint8_t space, const char *prefix,
                                     const char *after, struct world_listed *listed,
                                     size_t *out_count)
{
    static char buffers[WORLD_NAMES_MAX][64];
    const char *sorted[WORLD_NAMES_MAX];
    for (uint32_t i = 0; i < world_names(space); i++) {
        (void)world_name(space, i, buffers[i]);
        sorted[i] = buffers[i];
    }
    qsort(sorted, world_names(space), sizeof *sorted, compare_listed);
    size_t count = 0;
    for (uint32_t i = 0; i < world_names(space); i++) {
        struct stele_index_state state = {.next = 0};
        const struct stele_index_key key = world_key(world, space, stele_bytes_of_text(sorted[i]));
        if (!world_answered(world, world_state(world, &key, &state))) {
            return false;
        }
        if (strncmp(sorted[i], prefix, strlen(prefix)) == 0 &&
            (after == NULL || strcmp(sorted[i], after) > 0) && state.next > 0) {
            listed[count++] = (struct world_listed){.name = sorted[i], .state = state};
        }
    }
    *out_count = count;
    return true;
}

/* Every name that has events, in order, with the state that a lookup tells. */
static inline void world_check_list(struct world *world, uint8_t space, const char *prefix,
                                    const char *after)
{
    struct world_listed listed[WORLD_NAMES_MAX];
    size_t count = 0;
    struct stele_index_lister *lister = NULL;
    const struct stele_bytes none = {.data = NULL, .size = 0};
    if (!world_expect_list(world, space, prefix, after, listed, &count) ||
        !world_answered(world, stele_index_list_begin(
                                   world->index, space, stele_bytes_of_text(prefix),
                                   after == NULL ? none : stele_bytes_of_text(after), &lister))) {
        return;
    }
    for (size_t i = 0; i <= count; i++) {
        struct stele_bytes name;
        struct stele_index_state state;
        const char *damaged = NULL;
        const int outcome = stele_index_list_next(lister, &name, &state, &damaged);
        if (world_judge(world, outcome, damaged) == STELE_INCOMPLETE) {
            break;
        }
        CHECK_EQ(outcome, i == count ? STELE_END : STELE_OK);
        if (i < count) {
            CHECK_SLICE_EQ(name, listed[i].name);
            CHECK_EQ(state.next, listed[i].state.next);
            CHECK_EQ(state.flags, listed[i].state.flags);
        }
    }
    stele_index_list_end(lister);
}

/* Everything that can be asked. */
static inline void world_check(struct world *world)
{
    stele_index_check(world->index);
    for (uint8_t space = 0; space < STELE_SPACES; space++) {
        for (uint32_t i = 0; i < world_names(space); i++) {
            world_check_name(world, space, i);
            const uint64_t place =
                WORLD_LOG_START + rng_below(&world->rng, world->end - WORLD_LOG_START + 16);
            world_check_bound(world, space, i, place);
        }
        world_check_list(world, space, "", NULL);
    }
    world_check_list(world, STELE_SPACE_STREAM, "s-", "s-a-longer-name-than-the-others-2");
    world_check_list(world, STELE_SPACE_STREAM, "s1", "s");
    for (uint32_t id = 0; id < 5; id++) {
        world_check_ids(world, id);
    }
    for (int i = 0; i < 10 && world->count > 0; i++) {
        world_check_ids(world, world->events[rng_below(&world->rng, world->count)].id);
    }
}

static inline void world_close(struct world *world)
{
    stele_index_close(world->index);
    world->index = NULL;
}

static inline void world_deinit(struct world *world)
{
    world_close(world);
    memio_deinit(&world->disk);
    CHECK_EQ(world->alloc.bytes, 0);
}

#endif
