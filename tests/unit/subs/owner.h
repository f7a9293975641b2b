/* Somebody who follows: takes events as long as there is room, writes down what came. */
#ifndef STELE_TESTS_UNIT_SUBS_OWNER_H
#define STELE_TESTS_UNIT_SUBS_OWNER_H

#include "lib/check.h"
#include "lib/memengine.h"
#include "lib/miniloop.h"
#include "lib/testalloc.h"
#include "subs/follow.h"

struct owner {
    struct stele_follow *follow;
    uint64_t *positions; /* And revisions or ordinals, alternating. */
    size_t count, capacity;
    size_t room; /* Events that it takes before it is full. */
    uint64_t scanned;
    uint64_t progress; /* Position last told. */
    uint64_t progress_calls;
    uint64_t scanned_max; /* The most between two calls. */
    uint64_t live_events;
    uint32_t caught_up;
    size_t caught_up_at; /* Events handed out when it was told last. */
    int ended;           /* The outcome; 0: not. */
    bool tombstone;      /* The last event was one. */
    bool stop_in_event;  /* Stops itself at the next event. */
    struct owner *stop_other;
    char message[128];
};

static inline void owner_stop(struct owner *owner)
{
    stele_follow_stop(owner->follow);
    owner->follow = NULL;
}

static size_t owner_on_events(void *context, const struct stele_event *events, size_t count,
                              uint64_t ordinal, struct stele_live *live)
{
    struct owner *owner = context;
    CHECK_EQ(owner->ended, 0);
    CHECK(owner->follow != NULL);
    CHECK(live == NULL || count == 1);
    CHECK(count > 0);
    if (owner->stop_other != NULL) {
        owner_stop(owner->stop_other);
        owner->stop_other = NULL;
    }
    if (owner->stop_in_event) {
        owner_stop(owner);
        return 0;
    }
    const size_t taken = count < owner->room ? count : owner->room;
    for (size_t i = 0; i < taken; i++) {
        if (owner->count * 2 + 2 > owner->capacity) {
            owner->capacity = owner->capacity == 0 ? 64 : owner->capacity * 2;
            owner->positions =
                realloc(owner->positions, owner->capacity * sizeof *owner->positions);
            CHECK(owner->positions != NULL);
        }
        owner->positions[owner->count * 2] = events[i].position;
        owner->positions[owner->count * 2 + 1] = ordinal + i;
        owner->count++;
        owner->tombstone = (events[i].flags & STELE_EVENT_TOMBSTONE) != 0;
        owner->live_events += live != NULL;
    }
    owner->room -= taken;
    return taken;
}

static void owner_on_progress(void *context, uint64_t position, uint64_t scanned, bool caught_up)
{
    struct owner *owner = context;
    CHECK_EQ(owner->ended, 0);
    CHECK(position >= owner->progress);
    owner->progress = position;
    owner->progress_calls++;
    owner->scanned += scanned;
    owner->scanned_max = scanned > owner->scanned_max ? scanned : owner->scanned_max;
    if (caught_up) {
        owner->caught_up++;
        owner->caught_up_at = owner->count;
    }
}

static void owner_on_end(void *context, int outcome, const struct stele_error *err)
{
    struct owner *owner = context;
    CHECK_EQ(owner->ended, 0);
    CHECK(outcome != 0);
    owner->ended = outcome;
    (void)snprintf(owner->message, sizeof owner->message, "%.100s", err->message);
    owner_stop(owner);
}

static const struct stele_follow_callbacks owner_callbacks = {
    .on_events = owner_on_events, .on_progress = owner_on_progress, .on_end = owner_on_end};

static inline void owner_start(struct owner *owner, struct stele_hub *hub,
                               const struct stele_follow_options *options)
{
    struct stele_error err;
    const struct owner zero = {.room = SIZE_MAX};
    *owner = zero;
    CHECK_OK(stele_follow_start(hub, options, &owner_callbacks, owner, &owner->follow, &err), err);
    CHECK_EQ(owner->count, 0);
    CHECK_EQ(owner->progress_calls, 0);
}

static inline void owner_deinit(struct owner *owner)
{
    owner_stop(owner);
    free(owner->positions);
    owner->positions = NULL;
}

/* What every test stands on. */
struct world {
    struct testalloc alloc;
    struct miniloop loop;
    struct memengine *mem;
    struct stele_hub *hub;
};

static inline void world_init(struct world *world, uint64_t seed)
{
    testalloc_init(&world->alloc, seed);
    miniloop_init(&world->loop, &world->alloc.base, seed);
    world->mem = memengine_create(&world->loop.loop, &world->alloc.base, seed);
    CHECK_EQ(stele_hub_create(&world->mem->engine, &world->loop.loop, &world->hub), STELE_OK);
}

static inline void world_deinit(struct world *world)
{
    stele_hub_destroy(world->hub);
    miniloop_run(&world->loop);
    memengine_destroy(world->mem);
    CHECK_EQ(world->alloc.bytes, 0);
    CHECK_EQ(world->alloc.blocks, 0);
}

#endif
