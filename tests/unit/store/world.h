/* A store on a disk in memory, driven by hand: one append at a time, each made durable at once,
 * background work only when a test asks for it. */
#ifndef STELE_TESTS_UNIT_STORE_WORLD_H
#define STELE_TESTS_UNIT_STORE_WORLD_H

#include "lib/check.h"
#include "lib/memio.h"
#include "lib/testalloc.h"
#include "store/store.h"

#include <stdlib.h>

struct world {
    struct testalloc alloc;
    struct memio disk;
    struct stele_store_options options;
    struct stele_store *store;
    struct stele_error err;
    uint64_t next_id;
};

static inline struct world *world_create(void)
{
    struct world *world = calloc(1, sizeof *world);
    STELE_ASSERT(world != NULL);
    testalloc_init(&world->alloc, 1);
    memio_init(&world->disk, &world->alloc.base, 1);
    world->disk.now_us = INT64_C(1750000000000000);
    world->options = (struct stele_store_options){.public = STELE_OPTIONS_INIT};
    world->options.public.partitions = 4;
    world->options.public.segment_size_max = 64 * 1024;
    world->options.public.index_memory = 16 * 1024;
    world->options.public.scrub_days = 0;
    world->options.live_end = UINT64_MAX;
    return world;
}

static inline int world_try_open(struct world *world)
{
    return stele_store_open(&world->disk.io, &world->options, &world->store, &world->err);
}

static inline void world_open(struct world *world)
{
    CHECK_OK(world_try_open(world), world->err);
}

static inline void world_close(struct world *world)
{
    stele_store_close(world->store);
    world->store = NULL;
    memio_kill(&world->disk);
}

static inline void world_destroy(struct world *world)
{
    if (world->store != NULL) {
        world_close(world);
    }
    CHECK_EQ(world->alloc.bytes, 0);
    memio_deinit(&world->disk);
    free(world);
}

/* All background work there is. Returns the last outcome that was not STELE_OK, if any. */
static inline int world_work(struct world *world, bool closing)
{
    int last = STELE_OK;
    for (int i = 0; i < 10000; i++) {
        struct stele_work *work = NULL;
        world->disk.now_us += 100 * INT64_C(1000000); /* Whatever waits has waited long enough. */
        if (stele_work_begin(world->store, world->disk.now_us, closing, &work, NULL) != STELE_OK) {
            return last;
        }
        int outcome = stele_work_run(work, &world->err);
        outcome = stele_work_end(world->store, work, outcome, NULL);
        last = outcome != STELE_OK ? outcome : last;
        if (outcome != STELE_OK && i > 100) {
            return last;
        }
    }
    CHECK(0 && "background work has an end");
    return last;
}

static inline void world_commit(struct world *world)
{
    struct stele_log_group group;
    while (stele_store_take(world->store, &group)) {
        int outcome = world->disk.io.ops->write(group.file, group.offset, group.bytes, NULL);
        if (outcome == STELE_OK) {
            outcome = world->disk.io.ops->sync(group.file, NULL);
        }
        stele_store_done(world->store, group.id, outcome);
    }
}

/* Appends, rolling when the segment is full, and makes it durable. */
static inline int world_append_these(struct world *world, const struct stele_append *append,
                                     struct stele_append_result *result)
{
    struct stele_append_result unused;
    struct stele_prepared *prepared = NULL;
    CHECK_OK(stele_prepared_create(world->store, &prepared, &world->err), world->err);
    world->disk.now_us += 1000;
    CHECK_OK(stele_prepare(prepared, append, 1, NULL, 0, world->disk.now_us, &world->err),
             world->err);
    int outcome = STELE_STORE_ROLL;
    for (int tries = 0; outcome == STELE_STORE_ROLL && tries < 3; tries++) {
        struct stele_ticket ticket = {.place = 0};
        outcome = stele_store_append(world->store, prepared, world->disk.now_us, &ticket, NULL,
                                     result == NULL ? &unused : result, &world->err);
        world_commit(world);
        if (outcome == STELE_STORE_ROLL) {
            CHECK_OK(stele_store_roll(world->store, ticket.roll_size, &world->err), world->err);
        }
    }
    stele_prepared_destroy(prepared);
    return outcome;
}

/* One event of 100 bytes. */
static inline int world_append(struct world *world, const char *stream, uint64_t expected,
                               struct stele_append_result *result)
{
    static const uint8_t data[100] = {1};
    struct stele_event_draft draft = {
        .type = "Happened", .data = data, .data_size = sizeof data, .content_type = "x/y"};
    const uint64_t id = ++world->next_id;
    memcpy(draft.id, &id, sizeof id);
    const struct stele_append append = {
        .stream = stream, .expected = expected, .events = &draft, .count = 1};
    return world_append_these(world, &append, result);
}

/* Reads a stream, a category ($ce-…) or a type ($et-…) from its beginning. Returns the number of
 * events; *out_outcome is STELE_END or the error that came first. For a stream, revisions must have
 * no gap. */
static inline uint64_t world_count(struct stele_store *store, const char *name, int *out_outcome)
{
    const struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_error err;
    struct stele_read *read = NULL;
    uint64_t total = 0;
    uint64_t before = 0;
    int outcome = stele_read_begin(store, name, &options, false, 0, &read, &err);
    while (outcome == STELE_OK) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_read_next(read, &events, &count, &err);
        if (outcome == STELE_INCOMPLETE) {
            outcome = stele_read_refill(store, read, &err);
            continue;
        }
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            CHECK(events[i].position > before);
            before = events[i].position;
            CHECK(name[0] == '$' || events[i].revision == total);
            total++;
        }
    }
    *out_outcome = outcome;
    stele_read_end(store, read);
    return total;
}

#endif
