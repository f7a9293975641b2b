/* A log on a disk in memory, and a plain list of everything that was appended to it, for tests of
 * src/log. One log at a time. */
#ifndef STELE_TESTS_UNIT_LOG_WORLD_H
#define STELE_TESTS_UNIT_LOG_WORLD_H

#include "lib/check.h"
#include "lib/memio.h"
#include "lib/testalloc.h"
#include "log/log_internal.h"

#include <stdarg.h>

#define WORLD_EVENTS_MAX 20000
#define WORLD_SECRET UINT64_C(0x5ec4e7a11ce5ba5e)

struct world_event {
    uint64_t place;
    uint64_t frame; /* Place of its frame. */
    uint64_t position;
    uint64_t revision;
    uint32_t data_size;
    bool gone; /* Scavenged. */
};

struct world {
    struct testalloc alloc;
    struct memio disk;
    struct stele_log_options options;
    struct stele_log *log;
    struct stele_error err;

    /* Appended so far: the model. */
    uint64_t stamp; /* Of what is staged next. */
    struct world_event events[WORLD_EVENTS_MAX];
    size_t count;
    uint64_t frames[WORLD_EVENTS_MAX];
    size_t frames_count;
    uint64_t position;

    /* What recovery told. */
    size_t told;
    uint64_t told_first;
    uint64_t told_last;
};

static inline uint8_t world_byte(uint64_t revision, uint32_t at)
{
    return (uint8_t)(revision * 31 + at * 7 + (at >> 8));
}

static inline struct stele_record_draft world_draft(uint64_t position, uint64_t revision,
                                                    uint32_t data_size, uint8_t *data)
{
    static const uint8_t id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    for (uint32_t at = 0; at < data_size; at++) {
        data[at] = world_byte(revision, at);
    }
    return (struct stele_record_draft){
        .position = position,
        .revision = revision,
        .id = id,
        .created_us = 1700000000000000 + (int64_t)revision,
        .stream = stele_bytes_of_text("account-1"),
        .type = stele_bytes_of_text("Deposited"),
        .data = {.data = data, .size = data_size},
    };
}

static inline void world_init(struct world *world, uint64_t segment_size_first,
                              uint64_t segment_size_max)
{
    memset(world, 0, sizeof *world);
    testalloc_init(&world->alloc, 1);
    memio_init(&world->disk, &world->alloc.base, 1);
    world->options = (struct stele_log_options){
        .store_id = {1, 9, 2, 8},
        .secret = WORLD_SECRET,
        .partitions = 4,
        .segment_size_first = segment_size_first,
        .segment_size_max = segment_size_max,
    };
}

static inline int world_on_event(void *context, const struct stele_frame *frame, uint64_t place,
                                 const struct stele_event *event)
{
    struct world *const world = context;
    CHECK(place > frame->place);
    if (world->told == 0) {
        world->told_first = event->revision;
    }
    world->told_last = event->revision;
    world->told++;
    return STELE_OK;
}

static inline int world_try_open(struct world *world, uint64_t events_from)
{
    world->told = 0;
    CHECK(world->log == NULL);
    return stele_log_open(&world->disk.io, &world->options, events_from, UINT64_MAX, world_on_event,
                          world, &world->log, &world->err);
}

static inline void world_open(struct world *world)
{
    const int outcome = world_try_open(world, 0);
    if (outcome != STELE_OK) {
        (void)printf("# %s\n", world->err.message);
    }
    CHECK_EQ(outcome, STELE_OK);
    stele_log_check(world->log);
}

static inline void world_close(struct world *world)
{
    stele_log_close(world->log);
    world->log = NULL;
}

static inline void world_deinit(struct world *world)
{
    world_close(world);
    CHECK_EQ(world->disk.open_count, 0);
    memio_deinit(&world->disk);
    CHECK_EQ(world->alloc.bytes, 0);
}

static inline struct world *world_create(uint64_t segment_size_first, uint64_t segment_size_max)
{
    struct world *const world = malloc(sizeof *world);
    CHECK(world != NULL);
    world_init(world, segment_size_first, segment_size_max);
    return world;
}

static inline void world_destroy(struct world *world)
{
    world_deinit(world);
    free(world);
}

/* One atomic append of groups frames (partitions 0, 1, …) of events_each events each. Not one
 * byte of it is written yet. */
static inline int world_stage(struct world *world, uint16_t groups, uint32_t events_each,
                              uint32_t data_size)
{
    uint8_t *const data = malloc(data_size + 1);
    CHECK(data != NULL);
    struct stele_record_draft draft = world_draft(0, 0, data_size, data);
    const uint64_t record_size = stele_record_size(&draft);
    const uint64_t size = groups * (STELE_FRAME_HEADER_SIZE + (uint64_t)events_each * record_size);
    uint8_t *bytes = NULL;
    uint64_t place = 0;
    const int outcome = stele_log_reserve(world->log, size, &bytes, &place);
    if (outcome != STELE_OK) {
        free(data);
        return outcome;
    }
    for (uint16_t group = 0; group < groups; group++) {
        struct stele_frame frame = {.kind = STELE_FRAME_EVENTS,
                                    .term = world->stamp,
                                    .partition = group,
                                    .count = events_each,
                                    .group_count = groups,
                                    .group_index = group,
                                    .size = (uint32_t)(events_each * record_size)};
        uint8_t *const header = bytes;
        const uint64_t frame_place = place;
        bytes += STELE_FRAME_HEADER_SIZE;
        place += STELE_FRAME_HEADER_SIZE;
        for (uint32_t index = 0; index < events_each; index++) {
            CHECK(world->count < WORLD_EVENTS_MAX);
            world->position += 1024;
            draft = world_draft(world->position, world->count, data_size, data);
            frame.payload_checksum =
                stele_frame_extend(frame.payload_checksum, stele_record_encode(bytes, &draft));
            world->events[world->count] = (struct world_event){.place = place,
                                                               .frame = frame_place,
                                                               .position = world->position,
                                                               .revision = world->count,
                                                               .data_size = data_size};
            world->count++;
            bytes += record_size;
            place += record_size;
        }
        stele_log_put_frame(world->log, header, &frame);
        CHECK_EQ(frame.place, frame_place);
        world->frames[world->frames_count++] = frame_place;
    }
    stele_log_commit(world->log, world->position, (uint64_t)groups * events_each);
    free(data);
    return STELE_OK;
}

static inline int world_write(struct world *world, const struct stele_log_group *group)
{
    const struct stele_io_ops *const ops = world->disk.io.ops;
    return world->options.syncs_later
               ? ops->write(group->file, group->offset, group->bytes, NULL)
               : ops->write_durable(group->file, group->offset, group->bytes, NULL);
}

/* Writes all that is staged. */
static inline int world_flush(struct world *world)
{
    int result = STELE_OK;
    struct stele_log_group group;
    while (stele_log_take(world->log, &group)) {
        const int outcome = world_write(world, &group);
        stele_log_done(world->log, group.id, outcome);
        result = result == STELE_OK ? outcome : result;
    }
    return result;
}

/* Stages, rolling where needed, and flushes. */
static inline int world_try_append(struct world *world, uint16_t groups, uint32_t events_each,
                                   uint32_t data_size)
{
    int outcome = world_stage(world, groups, events_each, data_size);
    if (outcome == STELE_INCOMPLETE) {
        outcome = world_flush(world);
        if (outcome == STELE_OK) {
            const uint64_t size =
                (uint64_t)groups * (64 + (uint64_t)events_each * (data_size + 96));
            outcome = stele_log_roll(world->log, size, &world->err);
        }
        if (outcome == STELE_OK) {
            outcome = world_stage(world, groups, events_each, data_size);
        }
    }
    return outcome == STELE_OK ? world_flush(world) : outcome;
}

static inline void world_append(struct world *world, uint16_t groups, uint32_t events_each,
                                uint32_t data_size)
{
    CHECK_EQ(world_try_append(world, groups, events_each, data_size), STELE_OK);
    stele_log_check(world->log);
}

static inline void world_check_event(const struct world_event *want,
                                     const struct stele_event *event)
{
    CHECK_EQ(event->position, want->position);
    CHECK_EQ(event->revision, want->revision);
    CHECK_EQ(event->data_size, want->data_size);
    for (uint32_t at = 0; at < want->data_size; at++) {
        CHECK_EQ(((const uint8_t *)event->data)[at], world_byte(want->revision, at));
    }
}

/* How many events begin before a place. */
static inline size_t world_events_below(const struct world *world, uint64_t place)
{
    size_t count = 0;
    while (count < world->count && world->events[count].place < place) {
        count++;
    }
    return count;
}

static inline void world_reader(struct world *world, struct stele_log_reader *reader)
{
    stele_log_reader_init(reader, stele_log_view_acquire(world->log), &world->alloc.base,
                          stele_log_durable(world->log));
}

static inline void world_reader_end(struct stele_log_reader *reader)
{
    struct stele_log_view *const view = reader->view;
    stele_log_reader_deinit(reader);
    stele_log_view_release(view);
}

/* Scans everything in batches of batch and compares it with the model, of which the first `count`
 * events that are not gone must be there and nothing else. */
static inline void world_check_scan(struct world *world, size_t count, size_t batch)
{
    struct stele_log_reader reader;
    world_reader(world, &reader);
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, stele_log_start(world->log));
    struct stele_event events[64];
    uint64_t places[64];
    CHECK(batch <= 64);
    size_t next = 0;
    for (;;) {
        size_t got = 0;
        const int outcome = stele_log_scan(&reader, &cursor, events, places, batch, &got);
        if (outcome == STELE_E_CORRUPT) {
            (void)printf("# %s %llu %s\n", reader.damage.file,
                         (unsigned long long)reader.damage.offset, reader.damage.what);
        }
        if (outcome == STELE_END) {
            break;
        }
        CHECK_EQ(outcome, STELE_OK);
        CHECK(got > 0);
        for (size_t index = 0; index < got; index++) {
            while (next < count && world->events[next].gone) {
                next++;
            }
            CHECK(next < count);
            CHECK_EQ(places[index], world->events[next].place);
            world_check_event(&world->events[next], &events[index]);
            next++;
        }
    }
    while (next < count && world->events[next].gone) {
        next++;
    }
    CHECK_EQ(next, count);
    world_reader_end(&reader);
}

/* Reads every event of the model by its place. */
static inline void world_check_reads(struct world *world, size_t count)
{
    struct stele_log_reader reader;
    world_reader(world, &reader);
    for (size_t index = 0; index < count; index++) {
        struct stele_event event;
        const int outcome = stele_log_read(&reader, world->events[index].place, &event);
        if (world->events[index].gone) {
            CHECK_EQ(outcome, STELE_NOT_FOUND);
        } else {
            CHECK_EQ(outcome, STELE_OK);
            world_check_event(&world->events[index], &event);
        }
    }
    world_reader_end(&reader);
}

#endif
