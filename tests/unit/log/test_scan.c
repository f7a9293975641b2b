/* Reading: by place, by position, forward and backward, over segments and past damage, compared
 * with a plain list. */
#include "world.h"

/* Several segments, frames of many shapes. */
static struct world *mixed_world(uint64_t seed, int rounds)
{
    struct world *const world = world_create(16384, 65536);
    struct rng rng;
    rng_init(&rng, seed, 2);
    world_open(world);
    for (int round = 0; round < rounds; round++) {
        const uint32_t size = rng_one_in(&rng, 30) ? 20000 : (uint32_t)rng_below(&rng, 300);
        world_append(world, (uint16_t)rng_between(&rng, 1, 3), (uint32_t)rng_between(&rng, 1, 6),
                     size);
    }
    return world;
}

static size_t frame_at_or_after(const struct world *world, uint64_t place)
{
    size_t index = 0;
    while (index < world->frames_count && world->frames[index] < place) {
        index++;
    }
    return index;
}

TEST(a_seek_comes_at_most_a_few_frames_too_early_and_never_too_late)
{
    struct world *const world = mixed_world(1, 300);
    CHECK(stele_log_segments(world->log) > 4);
    struct stele_log_reader reader;
    world_reader(world, &reader);
    for (uint64_t position = 0; position <= world->position + 3000; position += 509) {
        struct stele_log_cursor cursor;
        CHECK_EQ(stele_log_seek(&reader, position, &cursor), STELE_OK);
        size_t first = 0;
        while (first < world->count && world->events[first].position < position) {
            first++;
        }
        CHECK_EQ(cursor.frame_end, 0);
        const size_t found = frame_at_or_after(world, cursor.place);
        if (first < world->count) {
            CHECK(cursor.place <= world->events[first].frame);
            const size_t wanted = frame_at_or_after(world, world->events[first].frame);
            CHECK(wanted - found <= 2);
        } else {
            CHECK(world->frames_count - found <= 2);
        }
        /* It is a frame's place: the scan goes on from there without damage. */
        struct stele_event events[8];
        size_t count = 0;
        const int outcome = stele_log_scan(&reader, &cursor, events, NULL, 8, &count);
        CHECK(outcome == STELE_OK || (outcome == STELE_END && first == world->count));
    }
    world_reader_end(&reader);
    world_destroy(world);
}

TEST(going_backward_visits_every_frame)
{
    struct world *const world = mixed_world(2, 200);
    CHECK(stele_log_segments(world->log) > 3);
    struct stele_log_reader reader;
    world_reader(world, &reader);
    uint64_t place = reader.end;
    for (size_t index = world->frames_count; index > 0; index--) {
        CHECK_EQ(stele_log_frame_before(&reader, place, &place), STELE_OK);
        CHECK_EQ(place, world->frames[index - 1]);
    }
    CHECK_EQ(stele_log_frame_before(&reader, place, &place), STELE_END);
    /* And in no order at all, so that what the reader remembers does not help. */
    struct rng rng;
    rng_init(&rng, 4, 4);
    for (int round = 0; round < 500; round++) {
        const size_t index = (size_t)rng_between(&rng, 1, world->frames_count - 1);
        CHECK_EQ(stele_log_frame_before(&reader, world->frames[index], &place), STELE_OK);
        CHECK_EQ(place, world->frames[index - 1]);
    }
    /* The place behind the last frame of each segment, too. */
    for (uint32_t index = 1; index < reader.view->count; index++) {
        CHECK_EQ(stele_log_frame_before(&reader, reader.view->bases[index], &place), STELE_OK);
        const size_t frame = frame_at_or_after(world, reader.view->bases[index]);
        CHECK_EQ(place, world->frames[frame - 1]);
    }
    world_reader_end(&reader);
    world_destroy(world);
}

TEST(going_backward_over_tiny_frames_skips_none)
{
    struct world *const world = world_create(262144, 262144);
    world_open(world);
    for (int round = 0; round < 1000; round++) {
        world_append(world, 1, 1, (uint32_t)round % 3);
    }
    struct stele_log_reader reader;
    world_reader(world, &reader);
    uint64_t place = reader.end;
    for (size_t index = world->frames_count; index > 0; index--) {
        CHECK_EQ(stele_log_frame_before(&reader, place, &place), STELE_OK);
        CHECK_EQ(place, world->frames[index - 1]);
    }
    for (size_t index = 1; index < world->frames_count; index++) {
        CHECK_EQ(stele_log_frame_before(&reader, world->frames[index], &place), STELE_OK);
        CHECK_EQ(place, world->frames[index - 1]);
    }
    world_reader_end(&reader);
    world_destroy(world);
}

TEST(nothing_at_or_above_the_readers_end_is_seen)
{
    struct world *const world = mixed_world(3, 60);
    CHECK(stele_log_segments(world->log) > 1);
    for (size_t frame = 0; frame < world->frames_count; frame++) {
        struct stele_log_reader reader;
        world_reader(world, &reader);
        reader.end = world->frames[frame];
        struct stele_log_cursor cursor;
        stele_log_cursor_at(&cursor, 0);
        size_t seen = 0;
        struct stele_event events[64];
        uint64_t places[64];
        size_t count = 0;
        int outcome = STELE_OK;
        while ((outcome = stele_log_scan(&reader, &cursor, events, places, 64, &count)) ==
               STELE_OK) {
            CHECK(places[count - 1] < reader.end);
            seen += count;
        }
        CHECK_EQ(outcome, STELE_END);
        CHECK(seen == world->count || world->events[seen].frame == world->frames[frame]);
        uint64_t place = 0;
        CHECK_EQ(stele_log_frame_before(&reader, UINT64_MAX, &place),
                 frame == 0 ? STELE_END : STELE_OK);
        CHECK(frame == 0 || place == world->frames[frame - 1]);
        world_reader_end(&reader);
    }
    world_destroy(world);
}

TEST(a_scan_goes_on_where_it_ended_when_more_is_durable)
{
    struct world *const world = world_create(16384, 32768);
    world_open(world);
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, 0);
    size_t next = 0;
    for (int round = 0; round < 120; round++) {
        world_append(world, 2, 2, 150);
        struct stele_log_reader reader;
        world_reader(world, &reader);
        struct stele_event events[3];
        size_t count = 0;
        while (stele_log_scan(&reader, &cursor, events, NULL, 3, &count) == STELE_OK) {
            for (size_t index = 0; index < count; index++) {
                world_check_event(&world->events[next++], &events[index]);
            }
        }
        CHECK_EQ(next, world->count);
        world_reader_end(&reader);
    }
    world_destroy(world);
}

TEST(an_old_view_sees_the_old_log)
{
    struct world *const world = world_create(16384, 16384);
    struct stele_log_reader readers[10];
    size_t counts[10];
    world_open(world);
    for (int index = 0; index < 10; index++) {
        world_append(world, 1, 1, 9000);
        world_reader(world, &readers[index]);
        counts[index] = world->count;
    }
    CHECK(stele_log_segments(world->log) > 5);
    for (int index = 9; index >= 0; index -= 2) {
        world_reader_end(&readers[index]);
    }
    for (int index = 0; index < 10; index += 2) {
        struct stele_log_cursor cursor;
        stele_log_cursor_at(&cursor, 0);
        struct stele_event event;
        size_t count = 0;
        size_t seen = 0;
        while (stele_log_scan(&readers[index], &cursor, &event, NULL, 1, &count) == STELE_OK) {
            world_check_event(&world->events[seen++], &event);
        }
        CHECK_EQ(seen, counts[index]);
        world_reader_end(&readers[index]);
    }
    world_destroy(world);
}

TEST(places_that_are_no_records_are_damage_and_safe)
{
    struct world *const world = mixed_world(4, 30);
    struct stele_log_reader reader;
    world_reader(world, &reader);
    size_t known = 0;
    for (uint64_t place = 0; place < 12000; place++) {
        struct stele_event event;
        stele_log_prefetch(&reader, place);
        const int outcome = stele_log_read(&reader, place, &event);
        while (known < world->count && world->events[known].place < place) {
            known++;
        }
        CHECK_EQ(outcome, world->events[known].place == place ? STELE_OK : STELE_E_CORRUPT);
        CHECK(outcome == STELE_OK || reader.damage.place == place);
    }
    struct stele_event event;
    CHECK_EQ(stele_log_read(&reader, reader.end, &event), STELE_E_CORRUPT);
    CHECK_EQ(stele_log_read(&reader, UINT64_MAX - 7, &event), STELE_E_CORRUPT);
    stele_log_prefetch(&reader, UINT64_MAX - 7);
    world_reader_end(&reader);
    world_destroy(world);
}

/* ---- Damage ---- */

struct left {
    size_t events;
    size_t damages;
    uint64_t offset;
    char file[STELE_FILE_NAME_MAX];
};

/* Scans all; whatever is handed out must be right and in order. */
static struct left scan_all(struct world *world, size_t batch)
{
    struct left left = {0};
    struct stele_log_reader reader;
    world_reader(world, &reader);
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, 0);
    size_t next = 0;
    for (;;) {
        struct stele_event events[16];
        uint64_t places[16];
        size_t count = 0;
        const int outcome = stele_log_scan(&reader, &cursor, events, places, batch, &count);
        if (outcome == STELE_END) {
            break;
        }
        if (outcome == STELE_E_CORRUPT) {
            left.damages++;
            left.offset = reader.damage.offset;
            memcpy(left.file, reader.damage.file, sizeof left.file);
            CHECK(left.damages < 1000);
            continue;
        }
        CHECK_EQ(outcome, STELE_OK);
        for (size_t index = 0; index < count; index++) {
            while (next < world->count && world->events[next].place != places[index]) {
                next++;
            }
            CHECK(next < world->count);
            world_check_event(&world->events[next++], &events[index]);
            left.events++;
        }
    }
    world_reader_end(&reader);
    return left;
}

/* Three small segments; the first one's frames are damaged in every bit. */
static struct world *small_world(void)
{
    struct world *const world = world_create(8192, 8192);
    world_open(world);
    world_append(world, 1, 3, 14);
    world_append(world, 2, 2, 6);
    world_append(world, 1, 1, 0);
    CHECK_EQ(stele_log_roll(world->log, 100, &world->err), STELE_OK);
    world_append(world, 1, 2, 6);
    CHECK_EQ(stele_log_roll(world->log, 100, &world->err), STELE_OK);
    world_append(world, 1, 2, 6);
    return world;
}

TEST(every_flipped_bit_of_a_sealed_segment_is_reported_once_where_it_is)
{
    struct world *const world = small_world();
    const char *const name = "0000000000000000.seg";
    const uint64_t end = world->events[7].place + 64 + 24;
    for (uint64_t bit = 4096 * 8; bit < (4096 + end) * 8; bit++) {
        memio_damage(&world->disk, name, bit / 8, (uint8_t)(1U << bit % 8));
        const struct left left = scan_all(world, 1 + bit % 9);
        CHECK_EQ(left.damages, 1);
        CHECK_TEXT_EQ(left.file, name);
        CHECK(left.offset <= bit / 8);
        CHECK(left.events < world->count);
        /* At the worst a whole frame is lost. */
        CHECK(left.events >= world->count - 3);
        memio_damage(&world->disk, name, bit / 8, (uint8_t)(1U << bit % 8));
    }
    CHECK_EQ(scan_all(world, 16).damages, 0);
    CHECK_EQ(scan_all(world, 16).events, world->count);
    world_destroy(world);
}

TEST(a_damaged_body_costs_its_event_only)
{
    struct world *const world = small_world();
    for (size_t index = 0; index < world->count - 4; index++) {
        const uint64_t offset = 4096 + world->events[index].place + 70;
        memio_damage(&world->disk, "0000000000000000.seg", offset, 0x10);
        const struct left left = scan_all(world, 4);
        CHECK_EQ(left.damages, 1);
        CHECK_EQ(left.events, world->count - 1);
        CHECK_EQ(left.offset, offset - 70);
        memio_damage(&world->disk, "0000000000000000.seg", offset, 0x10);
    }
    world_destroy(world);
}

TEST(records_that_verify_and_belong_elsewhere_are_noticed)
{
    struct world *const world = small_world();
    struct memio_inode *const inode = memio_find(&world->disk, "0000000000000000.seg");
    const size_t size = (size_t)(world->events[1].place - world->events[0].place);
    uint8_t *const first = inode->cache + 4096 + world->events[0].place;
    uint8_t record[256];
    CHECK(size <= sizeof record);
    memcpy(record, first, size);
    memcpy(first, first + size, size);
    memcpy(first + size, record, size);
    const struct left left = scan_all(world, 16);
    CHECK_EQ(left.damages, 1);
    CHECK_EQ(left.offset, 4096);
    CHECK_EQ(left.events, world->count - 3);
    world_destroy(world);
}

TEST(any_zeroed_part_of_a_sealed_segment_is_reported)
{
    struct world *const world = small_world();
    struct memio_inode *const inode = memio_find(&world->disk, "0000000000000000.seg");
    uint8_t whole[8192];
    memcpy(whole, inode->cache, sizeof whole);
    const uint64_t end = 4096 + world->events[7].place + 64 + 18;
    for (uint64_t from = 4096; from < end; from += 24) {
        for (uint64_t to = from + 8; to <= 8192; to += 264) {
            memset(inode->cache + from, 0, to - from);
            const struct left left = scan_all(world, 4);
            const bool same = memcmp(inode->cache, whole, sizeof whole) == 0;
            CHECK_EQ(left.damages == 0, same);
            CHECK_EQ(left.events == world->count, same);
            memcpy(inode->cache + from, whole + from, to - from);
        }
    }
    world_destroy(world);
}

TEST(a_damaged_header_is_reported_and_its_segment_read_all_the_same)
{
    struct world *const world = small_world();
    world_close(world);
    const char *const name = "0000000000001000.seg";
    for (uint64_t offset = 0; offset < 4096; offset += 7) {
        memio_damage(&world->disk, name, offset, 0x40);
        world_open(world);
        const struct left left = scan_all(world, 4);
        CHECK_EQ(left.damages, 1);
        CHECK_TEXT_EQ(left.file, name);
        CHECK_EQ(left.offset, 0);
        CHECK_EQ(left.events, world->count);
        world_check_reads(world, world->count);
        /* Backward, too. */
        struct stele_log_reader reader;
        world_reader(world, &reader);
        uint64_t place = UINT64_MAX;
        for (size_t index = world->frames_count; index > 0; index--) {
            CHECK_EQ(stele_log_frame_before(&reader, place, &place), STELE_OK);
            CHECK_EQ(place, world->frames[index - 1]);
        }
        struct stele_log_cursor cursor;
        CHECK_EQ(stele_log_seek(&reader, world->events[9].position, &cursor), STELE_OK);
        CHECK(cursor.place <= world->events[9].frame);
        world_reader_end(&reader);
        world_close(world);
        memio_damage(&world->disk, name, offset, 0x40);
    }
    world_destroy(world);
}

TEST(backward_over_damage_reports_it_and_goes_on)
{
    struct world *const world = small_world();
    for (size_t bad = 0; bad < 4; bad++) {
        const uint64_t offset = 4096 + world->frames[bad] + 20;
        memio_damage(&world->disk, "0000000000000000.seg", offset, 1);
        struct stele_log_reader reader;
        world_reader(world, &reader);
        uint64_t place = UINT64_MAX;
        size_t damages = 0;
        size_t frames = 0;
        int outcome = STELE_OK;
        while ((outcome = stele_log_frame_before(&reader, place, &place)) != STELE_END) {
            CHECK(outcome == STELE_OK || outcome == STELE_E_CORRUPT);
            damages += outcome == STELE_E_CORRUPT ? 1 : 0;
            frames++;
            CHECK(frames < 20);
        }
        CHECK_EQ(damages, 1);
        world_reader_end(&reader);
        memio_damage(&world->disk, "0000000000000000.seg", offset, 1);
    }
    world_destroy(world);
}

TEST(an_event_that_looks_like_a_frame_is_not_taken_for_one)
{
    /* Somebody who knows the format, but not the secret, stores frames as data. */
    struct world *const world = world_create(65536, 65536);
    world_open(world);
    uint8_t *bytes = NULL;
    uint64_t place = 0;
    static uint8_t data[64 * 100];
    static const uint8_t id[16] = {1};
    struct stele_record_draft draft = {.position = 1024,
                                       .id = id,
                                       .stream = stele_bytes_of_text("abcdefgh"),
                                       .data = {.data = data, .size = sizeof data}};
    const size_t size = stele_record_size(&draft) + STELE_FRAME_HEADER_SIZE;
    CHECK_EQ(stele_log_reserve(world->log, size, &bytes, &place), STELE_OK);
    const uint64_t data_place = place + 64 + 64 + 8;
    for (uint64_t index = 0; index < 100; index++) {
        const struct stele_frame fake = {.place = data_place + index * 64,
                                         .durable = UINT64_MAX,
                                         .index = 5,
                                         .group_count = 1,
                                         .kind = STELE_FRAME_EVENTS};
        (void)stele_frame_encode(data + index * 64, WORLD_SECRET + 1, &fake);
    }
    struct stele_frame frame = {.kind = STELE_FRAME_EVENTS,
                                .count = 1,
                                .group_count = 1,
                                .size = (uint32_t)size - STELE_FRAME_HEADER_SIZE};
    frame.payload_checksum =
        stele_frame_extend(0, stele_record_encode(bytes + STELE_FRAME_HEADER_SIZE, &draft));
    stele_log_put_frame(world->log, bytes, &frame);
    stele_log_commit(world->log, 1024, 1);
    CHECK_EQ(world_flush(world), STELE_OK);
    struct stele_frame found;
    const struct stele_log_segment *const segment = stele_log__last(world->log->view);
    CHECK_EQ(
        stele_log__search(segment->data + 4096, 0, 8, 60000, world->log->identity.seed, 0, &found),
        UINT64_MAX);
    /* Torn, it is cut, because nobody who can be trusted says that it was durable. */
    world_close(world);
    memio_damage(&world->disk, "0000000000000000.seg", 4096 + 10, 1);
    world_open(world);
    CHECK_EQ(stele_log_events(world->log), 0);
    world_destroy(world);
}
