/* A WAL on a disk in memory, and a plain list of all that was put, for tests of it. */
#ifndef STELE_TESTS_UNIT_RAFT_WAL_WORLD_H
#define STELE_TESTS_UNIT_RAFT_WAL_WORLD_H

#include "lib/check.h"
#include "lib/testalloc.h"
#include "raft/wal_internal.h"

#define WORLD_RECORDS_MAX 20000
#define WORLD_SECRET UINT64_C(0x5ec4e7a11ce5ba5e)

struct world_record {
    uint64_t place;
    uint32_t size;
    uint32_t serial; /* Everything else follows from it. */
};

struct world {
    struct testalloc alloc;
    struct stele_io *io;
    struct stele_wal_options options;
    struct stele_wal *wal;
    struct stele_error err;

    struct world_record records[WORLD_RECORDS_MAX]; /* Put, in order. */
    size_t count;
    uint32_t serial;

    size_t told;       /* By opening. */
    size_t told_first; /* Index in records of the first. */
    bool told_any_start;
    uint8_t *buffer; /* For payloads. */
};

#define WORLD_PAYLOAD_MAX (1 << 20)

static inline struct world *world_create(struct stele_io *io, uint64_t segment_size)
{
    struct world *const world = calloc(1, sizeof *world);
    CHECK(world != NULL);
    testalloc_init(&world->alloc, 1);
    world->io = io;
    io->alloc = &world->alloc.base;
    world->options = (struct stele_wal_options){
        .owner_id = {1, 9, 2, 8},
        .secret = WORLD_SECRET,
        .segment_size = segment_size,
        .spares_max = 2,
    };
    world->buffer = malloc(WORLD_PAYLOAD_MAX);
    CHECK(world->buffer != NULL);
    return world;
}

static inline struct stele_wal_record world_make(uint32_t serial, uint32_t size, uint8_t *buffer)
{
    CHECK(size <= WORLD_PAYLOAD_MAX);
    for (uint32_t at = 0; at < size; at++) {
        buffer[at] = (uint8_t)(serial * 31 + at * 7 + (at >> 8));
    }
    return (struct stele_wal_record){
        .kind = (uint8_t)(STELE_WAL_ENTRY + serial % 4),
        .type = (uint8_t)(serial * 3),
        .group = (uint16_t)(serial * 7),
        .index = serial * UINT64_C(1000003),
        .term = serial / 5,
        .payload = {.data = size > 0 ? buffer : NULL, .size = size},
    };
}

static inline void world_check_record(const struct world *world, const struct world_record *want,
                                      const struct stele_wal_record *got)
{
    const struct stele_wal_record record = world_make(want->serial, want->size, world->buffer);
    CHECK_EQ(got->kind, record.kind);
    CHECK_EQ(got->type, record.type);
    CHECK_EQ(got->group, record.group);
    CHECK_EQ(got->index, record.index);
    CHECK_EQ(got->term, record.term);
    CHECK_EQ(got->payload.size, record.payload.size);
    CHECK(stele_bytes_equal(got->payload, record.payload));
}

/* What is told begins anywhere, and goes on without a gap. */
static inline int world_on_record(void *context, const struct stele_wal_record *record,
                                  uint64_t place)
{
    struct world *const world = context;
    if (world->told == 0) {
        world->told_first = 0;
        while (world->told_first < world->count &&
               world->records[world->told_first].place != place) {
            world->told_first++;
        }
    }
    const size_t index = world->told_first + world->told;
    CHECK(index < world->count);
    CHECK_EQ(place, world->records[index].place);
    world_check_record(world, &world->records[index], record);
    world->told++;
    return STELE_OK;
}

static inline int world_try_open(struct world *world)
{
    CHECK(world->wal == NULL);
    world->told = 0;
    world->told_first = world->count;
    const int outcome = stele_wal_open(world->io, &world->options, world_on_record, world,
                                       &world->wal, &world->err);
    if (outcome == STELE_OK) {
        stele_wal_check(world->wal);
    }
    return outcome;
}

static inline void world_open(struct world *world)
{
    CHECK_OK(world_try_open(world), world->err);
}

static inline void world_close(struct world *world)
{
    stele_wal_close(world->wal);
    world->wal = NULL;
    CHECK_EQ(world->alloc.bytes, 0);
}

static inline void world_destroy(struct world *world)
{
    world_close(world);
    free(world->buffer);
    free(world);
}

static inline int world_put(struct world *world, uint32_t size)
{
    CHECK(world->count < WORLD_RECORDS_MAX);
    const uint32_t serial = world->serial++;
    const struct stele_wal_record record = world_make(serial, size, world->buffer);
    uint64_t place = 0;
    const uint64_t end = stele_wal_end(world->wal);
    const int outcome = stele_wal_put(world->wal, &record, &place, &world->err);
    stele_wal_check(world->wal);
    if (outcome == STELE_OK) {
        CHECK_EQ(place, end);
        world->records[world->count++] =
            (struct world_record){.place = place, .size = size, .serial = serial};
    } else {
        CHECK_EQ(stele_wal_end(world->wal), end);
    }
    return outcome;
}

static inline int world_write(const struct stele_wal_group *group)
{
    return group->file->io->ops->write_durable(group->file, group->offset, group->bytes, NULL);
}

/* Everything that is staged becomes durable, or what failed. */
static inline int world_flush(struct world *world)
{
    struct stele_wal_group group;
    int outcome = STELE_OK;
    while (outcome == STELE_OK && stele_wal_take(world->wal, &group)) {
        outcome = world_write(&group);
        stele_wal_done(world->wal, group.id, outcome);
        stele_wal_check(world->wal);
    }
    return outcome;
}

static inline void world_fill(struct world *world, uint32_t count, uint32_t size)
{
    for (uint32_t index = 0; index < count; index++) {
        CHECK_OK(world_put(world, size), world->err);
    }
    CHECK_OK(world_flush(world), world->err);
    CHECK_EQ(stele_wal_durable(world->wal), stele_wal_end(world->wal));
}

/* Forgets what an opening did not tell. */
static inline void world_forget(struct world *world)
{
    const size_t end = world->told == 0 ? 0 : world->told_first + world->told;
    CHECK(end <= world->count);
    world->count = end;
}

static inline int world_read(struct world *world, const struct world_record *record)
{
    struct stele_buf payload = {0};
    if (stele_buf_append(&payload, &world->alloc.base, stele_bytes_of_text("abc")) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    struct stele_wal_record got;
    const int outcome = stele_wal_read(world->wal, record->place, &got, &payload, &world->err);
    CHECK_BYTES_EQ(payload.data, "abc", 3);
    if (outcome == STELE_OK) {
        world_check_record(world, record, &got);
        CHECK_EQ(payload.size, 3 + got.payload.size);
    } else {
        CHECK_EQ(payload.size, 3);
    }
    stele_buf_deinit(&payload, &world->alloc.base);
    return outcome;
}

/* All that was put and not trimmed can be read, staged or not. */
static inline void world_check_reads(struct world *world)
{
    for (size_t index = 0; index < world->count; index++) {
        const int want =
            world->records[index].place < stele_wal_start(world->wal) ? STELE_NOT_FOUND : STELE_OK;
        CHECK_OUTCOME(world_read(world, &world->records[index]), want, world->err);
    }
}

#endif
