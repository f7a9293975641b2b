/* Opening after anything that may have happened: what was acknowledged is there, what is left of
 * unacknowledged appends is there as a whole or not at all, and what was acknowledged and is
 * damaged is reported, never cut.
 *
 * Method: every length, every byte, every bit where the log is small; seeds where it is not. */
#include "world.h"

#define SEGMENT "0000000000000000.seg"
#define HEADER 4096

/* The events that are there after opening: a prefix of the model. The model forgets the rest. */
static size_t settle(struct world *world)
{
    const size_t count = (size_t)stele_log_events(world->log);
    CHECK(count <= world->count);
    world->count = count;
    while (world->frames_count > 0 &&
           world->frames[world->frames_count - 1] >= stele_log_end(world->log)) {
        world->frames_count--;
    }
    world->position = count == 0 ? 0 : world->events[count - 1].position;
    CHECK_EQ(stele_log_position(world->log), world->position);
    world_check_scan(world, count, 16);
    return count;
}

static uint64_t file_offset(uint64_t place)
{
    return HEADER + place;
}

/* ---- Torn ---- */

static void check_torn_at(uint64_t length, uint64_t junk)
{
    struct world *const world = world_create(16384, 65536);
    world_open(world);
    world_append(world, 1, 2, 20);
    world_append(world, 2, 1, 9);
    const size_t whole = world->count;
    CHECK_EQ(world_stage(world, 3, 2, 14), STELE_OK);
    struct stele_log_group group;
    CHECK(stele_log_take(world->log, &group));
    CHECK(length <= group.bytes.size);
    const struct stele_bytes part = stele_bytes_slice(group.bytes, 0, (size_t)length);
    CHECK_EQ(world->disk.io.ops->write(group.file, group.offset, part, NULL), STELE_OK);
    if (junk != 0) {
        const struct stele_bytes bytes = {.data = (const uint8_t *)"junkjunk", .size = 8};
        CHECK_EQ(world->disk.io.ops->write(group.file, group.offset + junk, bytes, NULL), STELE_OK);
    }
    const bool complete = length == group.bytes.size;
    world_close(world);
    world_open(world);
    CHECK_EQ(settle(world), complete ? whole + 6 : whole);
    CHECK_EQ(world->told, world->count);
    /* Behind the end everything is zero again, and the log goes on. */
    const struct memio_inode *const inode = memio_find(&world->disk, SEGMENT);
    for (uint64_t at = file_offset(stele_log_end(world->log)); at < inode->size; at++) {
        CHECK_EQ(inode->disk[at], 0);
    }
    world_append(world, 1, 1, 1);
    world_close(world);
    world_open(world);
    CHECK_EQ(settle(world), complete ? whole + 7 : whole + 1);
    world_destroy(world);
}

TEST(every_torn_length_of_a_group_is_cut_as_a_whole)
{
    /* No padding: a zero that is missing from the end would not be missed. */
    const uint64_t size = 3 * (64 + 2 * (64 + 18 + 14));
    for (uint64_t length = 0; length <= size; length++) {
        check_torn_at(length, 0);
    }
    for (uint64_t length = 0; length < size; length += 64) {
        check_torn_at(length, 4096);
    }
}

TEST(a_whole_group_behind_a_torn_one_goes_too)
{
    struct world *const world = world_create(16384, 65536);
    world_open(world);
    world_append(world, 1, 1, 20);
    struct stele_log_group groups[3];
    for (int index = 0; index < 3; index++) {
        CHECK_EQ(world_stage(world, 1, 1, 20), STELE_OK);
        CHECK(stele_log_take(world->log, &groups[index]));
    }
    CHECK_EQ(world_write(world, &groups[1]), STELE_OK);
    CHECK_EQ(world_write(world, &groups[2]), STELE_OK);
    world_close(world);
    world_open(world);
    CHECK_EQ(settle(world), 1);
    world_append(world, 1, 1, 20);
    world_close(world);
    world_open(world);
    CHECK_EQ(settle(world), 2);
    world_destroy(world);
}

/* ---- Power cuts at random ---- */

struct run {
    struct world *world;
    struct rng rng;
    struct stele_log_group groups[STELE_COMMITS_IN_FLIGHT_MAX];
    int out;
    size_t acked; /* Events whose append was acknowledged. */
};

static void finish_one(struct run *run)
{
    const int index = (int)rng_below(&run->rng, (uint64_t)run->out);
    CHECK_EQ(world_write(run->world, &run->groups[index]), STELE_OK);
    stele_log_done(run->world->log, run->groups[index].id, STELE_OK);
    run->groups[index] = run->groups[--run->out];
    run->acked = world_events_below(run->world, stele_log_synced(run->world->log));
}

/* A sync that takes its time: something else is written meanwhile. */
static void sync_slowly(struct run *run)
{
    struct stele_log *const log = run->world->log;
    struct stele_log_sync sync;
    if (stele_log_sync_begin(log, &sync)) {
        if (run->out > 0) {
            finish_one(run);
        }
        stele_log_sync_end(log, &sync, run->world->disk.io.ops->sync(sync.file, NULL));
    }
    run->acked = world_events_below(run->world, stele_log_synced(log));
}

static void one_step(struct run *run)
{
    struct world *const world = run->world;
    if (world->options.syncs_later && rng_one_in(&run->rng, 10)) {
        sync_slowly(run);
    } else if (run->out > 0 && rng_one_in(&run->rng, 3)) {
        finish_one(run);
    } else if (rng_one_in(&run->rng, 2)) {
        const uint16_t groups = (uint16_t)rng_between(&run->rng, 1, 4);
        const uint32_t each = (uint32_t)rng_between(&run->rng, 1, 5);
        const uint32_t size = (uint32_t)rng_below(&run->rng, 400);
        if (world_stage(world, groups, each, size) == STELE_INCOMPLETE) {
            while (run->out > 0) {
                finish_one(run);
            }
            CHECK_EQ(world_flush(world), STELE_OK);
            uint64_t spare = 0;
            if (stele_log_wants_spare(world->log, &spare) && rng_one_in(&run->rng, 2)) {
                CHECK_EQ(stele_log_make_spare(&world->disk.io, spare, NULL), STELE_OK);
                stele_log_have_spare(world->log, spare);
            }
            CHECK_EQ(stele_log_roll(world->log, 20000, &world->err), STELE_OK);
            run->acked = world->count;
        }
    } else if (run->out < STELE_COMMITS_IN_FLIGHT_MAX) {
        run->out += stele_log_take(world->log, &run->groups[run->out]) ? 1 : 0;
    } else if (rng_one_in(&run->rng, 4)) {
        struct stele_log_mark mark;
        stele_log_get_mark(world->log, &mark);
        CHECK_EQ(stele_log_put_mark(&world->disk.io, &mark, NULL), STELE_OK);
    }
    stele_log_check(world->log);
}

static void check_power_cuts(uint64_t seed, bool syncs_later)
{
    struct run run = {.world = world_create(32768, 131072)};
    struct world *const world = run.world;
    world->options.syncs_later = syncs_later;
    rng_init(&run.rng, seed, 3);
    rng_init(&world->disk.rng, seed, 4);
    for (int life = 0; life < 4; life++) {
        world_open(world);
        const size_t count = settle(world);
        CHECK(count >= run.acked);
        run.acked = count;
        run.out = 0;
        const uint64_t steps = rng_below(&run.rng, 150);
        for (uint64_t step = 0; step < steps && world->count < WORLD_EVENTS_MAX - 100; step++) {
            one_step(&run);
        }
        /* Some writes are under way when the power goes. */
        for (int index = 0; index < run.out; index++) {
            if (rng_one_in(&run.rng, 2)) {
                const struct stele_log_group *const group = &run.groups[index];
                CHECK_EQ(world->disk.io.ops->write(group->file, group->offset, group->bytes, NULL),
                         STELE_OK);
            }
        }
        world_close(world);
        memio_crash(&world->disk, MEMIO_KEEP_RANDOM);
    }
    world_open(world);
    CHECK(settle(world) >= run.acked);
    world_destroy(world);
}

TEST(no_power_cut_loses_what_was_acknowledged_or_tears_a_group)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        check_power_cuts(seed, false);
    }
}

TEST(no_power_cut_loses_what_was_synced_and_none_is_damage)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        check_power_cuts(seed, true);
    }
}

TEST(a_sync_that_fails_fences_and_what_was_written_may_be_gone)
{
    struct world *const world = world_create(16384, 65536);
    world->options.syncs_later = true;
    world_open(world);
    world_append(world, 1, 1, 20);
    CHECK_EQ(stele_log_sync(world->log, &world->err), STELE_OK);
    CHECK_EQ(stele_log_synced(world->log), stele_log_durable(world->log));
    world_append(world, 1, 1, 20);
    CHECK(stele_log_synced(world->log) < stele_log_durable(world->log));
    world->disk.fail_mask = MEMIO_SYNC;
    world->disk.calls = 0;
    world->disk.fail_at = 1;
    CHECK_EQ(stele_log_sync(world->log, &world->err), STELE_E_IO);
    CHECK(stele_log_is_fenced(world->log));
    CHECK(stele_log_synced(world->log) < stele_log_durable(world->log));
    CHECK_EQ(world_stage(world, 1, 1, 20), STELE_E_FENCED);
    world->disk.fail_at = 0;
    world_close(world);
    memio_crash(&world->disk, MEMIO_KEEP_NONE);
    world_open(world);
    CHECK_EQ(settle(world), 1);
    world_destroy(world);
}

/* ---- Damaged ---- */

/* Three appends, each durable before the next; a mark if asked for. */
static struct world *three_appends(bool mark)
{
    struct world *const world = world_create(16384, 65536);
    world_open(world);
    world_append(world, 1, 2, 20);
    world_append(world, 2, 1, 9);
    world_append(world, 1, 1, 0);
    if (mark) {
        struct stele_log_mark bytes;
        stele_log_get_mark(world->log, &bytes);
        CHECK_EQ(stele_log_put_mark(&world->disk.io, &bytes, NULL), STELE_OK);
    }
    world_close(world);
    return world;
}

/* How many of the model's events a scan of whatever is open shows; each must be right. */
static size_t scan_what_is_left(struct world *world, size_t *out_damages)
{
    struct stele_log_reader reader;
    world_reader(world, &reader);
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, stele_log_start(world->log));
    size_t count = 0;
    size_t next = 0;
    *out_damages = 0;
    for (;;) {
        struct stele_event events[4];
        uint64_t places[4];
        size_t got = 0;
        const int outcome = stele_log_scan(&reader, &cursor, events, places, 4, &got);
        if (outcome == STELE_END) {
            break;
        }
        if (outcome == STELE_E_CORRUPT) {
            ++*out_damages;
            CHECK(*out_damages < 100);
            CHECK(reader.damage.file[0] != '\0');
            continue;
        }
        CHECK_EQ(outcome, STELE_OK);
        for (size_t index = 0; index < got; index++) {
            while (next < world->count && world->events[next].place != places[index]) {
                next++;
            }
            CHECK(next < world->count);
            world_check_event(&world->events[next], &events[index]);
            next++;
            count++;
        }
    }
    world_reader_end(&reader);
    return count;
}

TEST(no_flipped_bit_of_acknowledged_frames_goes_unnoticed)
{
    for (int mark = 0; mark < 2; mark++) {
        struct world *const world = three_appends(mark == 1);
        const uint64_t last = world->frames[world->frames_count - 1];
        const uint64_t end = last + 64 + 64 + 24;
        for (uint64_t bit = 0; bit < file_offset(end) * 8; bit++) {
            const bool in_header = bit / 8 < HEADER;
            if (in_header && bit % 8 != bit / 8 % 8) {
                continue; /* test_segment.c does it thoroughly. */
            }
            memio_damage(&world->disk, SEGMENT, bit / 8, (uint8_t)(1U << bit % 8));
            const bool in_last = bit / 8 >= file_offset(last);
            const int outcome = world_try_open(world, 0);
            if (outcome == STELE_OK) {
                /* Only the very last frame can be taken for torn, and only without a mark. */
                CHECK(in_last);
                CHECK_EQ(mark, 0);
                CHECK_EQ(stele_log_events(world->log), 4);
                world_close(world);
                memio_deinit(&world->disk);
                CHECK_EQ(world->alloc.bytes, 0);
                struct world *const again = three_appends(false);
                *world = *again;
                free(again);
                world->disk.io.alloc = &world->alloc.base;
                continue;
            }
            CHECK_EQ(outcome, STELE_E_CORRUPT);
            CHECK_TEXT_HAS(world->err.message, SEGMENT);
            world->options.read_only = true;
            CHECK_EQ(world_try_open(world, 0), in_header ? STELE_E_CORRUPT : STELE_OK);
            if (!in_header) {
                size_t damages = 0;
                const size_t left = scan_what_is_left(world, &damages);
                CHECK(left < 5);
                CHECK(left >= 3);
                CHECK_EQ(damages, in_last && mark == 0 ? 0 : 1);
                CHECK(world->told <= left); /* Of a damaged frame nothing is told. */
                CHECK(world->told >= 3);
            }
            world_close(world);
            world->options.read_only = false;
            memio_damage(&world->disk, SEGMENT, bit / 8, (uint8_t)(1U << bit % 8));
        }
        world_open(world);
        CHECK_EQ(settle(world), 5);
        world_destroy(world);
    }
}

TEST(zeroed_sectors_of_acknowledged_frames_are_damage)
{
    for (uint64_t from = 0; from < 1024; from += 64) {
        struct world *const world = three_appends(true);
        struct memio_inode *const inode = memio_find(&world->disk, SEGMENT);
        memset(inode->cache + file_offset(from), 0, 8192);
        memset(inode->disk + file_offset(from), 0, 8192);
        const uint64_t end = world->frames[world->frames_count - 1] + 64 + 64 + 24;
        CHECK_EQ(world_try_open(world, 0), from < end ? STELE_E_CORRUPT : STELE_OK);
        world_destroy(world);
    }
}

TEST(damage_below_what_the_index_covers_is_left_to_readers)
{
    struct world *const world = three_appends(true);
    memio_damage(&world->disk, SEGMENT, file_offset(world->events[1].place + 70), 1);
    /* The damaged event is the second; the index covers the first append. */
    CHECK_EQ(world_try_open(world, world->frames[0]), STELE_E_CORRUPT);
    CHECK_EQ(world_try_open(world, world->frames[1]), STELE_OK);
    CHECK_EQ(world->told, 3);
    CHECK_EQ(world->told_first, 2);
    size_t damages = 0;
    CHECK_EQ(scan_what_is_left(world, &damages), 4);
    CHECK_EQ(damages, 1);
    world_append(world, 1, 1, 5);
    CHECK_EQ(scan_what_is_left(world, &damages), 5);
    world_destroy(world);
}

static void count_damage(void *context, const struct stele_log_damage *damage)
{
    (void)damage;
    ++*(uint64_t *)context;
}

/* The damage is repaired later, as from a backup. What was appended meanwhile must fit behind what
 * is there again: counts, indexes of frames, the chain. */
TEST(what_is_appended_behind_damage_fits_when_it_is_repaired)
{
    int appended = 0;
    for (uint64_t offset = 0; offset < 200; offset++) {
        struct world *const world = world_create(16384, 16384);
        world_open(world);
        world_append(world, 1, 1, 50);
        world_append(world, 3, 2, 30);
        world_append(world, 1, 1, 50);
        world_close(world);
        const uint64_t at = file_offset(world->frames[1]) + offset;
        memio_damage(&world->disk, SEGMENT, at, 4);
        const int outcome = world_try_open(world, world->frames[4]);
        if (outcome == STELE_OK) {
            appended++;
            CHECK_EQ(stele_log_events(world->log), world->count);
            world_append(world, 3, 1, 10);
            world_close(world);
        } else {
            CHECK_EQ(outcome, STELE_E_CORRUPT);
        }
        memio_damage(&world->disk, SEGMENT, at, 4);
        CHECK_EQ(world_try_open(world, 0), STELE_OK);
        CHECK_EQ(world->told, world->count);
        CHECK_EQ(stele_log_events(world->log), world->count);
        uint64_t damages = 0;
        struct stele_log_reader reader;
        world_reader(world, &reader);
        struct stele_log_chain chain = {.place = stele_log_start(world->log)};
        uint64_t indexes[4] = {0};
        CHECK_EQ(stele_log_chain_extend(&reader, &chain, reader.end, UINT64_MAX, indexes, 4, NULL,
                                        count_damage, &damages, &world->err),
                 STELE_END);
        CHECK_EQ(damages, 0);
        world_reader_end(&reader);
        world_destroy(world);
    }
    CHECK(appended > 50);
}

TEST(only_events_from_the_given_place_on_are_told)
{
    struct world *const world = three_appends(false);
    for (size_t index = 0; index <= world->count; index++) {
        const uint64_t from = index < world->count ? world->events[index].place : UINT64_MAX;
        CHECK_EQ(world_try_open(world, from), STELE_OK);
        CHECK_EQ(world->told, world->count - index);
        CHECK_EQ(stele_log_events(world->log), world->count);
        world_close(world);
    }
    world_destroy(world);
}

static int refuse(void *context, const struct stele_frame *frame, uint64_t place,
                  const struct stele_event *event)
{
    (void)frame;
    (void)place;
    int *const left = context;
    return event->revision > 100 || --*left < 0 ? STELE_E_NO_MEMORY : STELE_OK;
}

TEST(what_the_callback_ends_with_ends_the_opening)
{
    struct world *const world = three_appends(false);
    for (int allowed = 0; allowed < 5; allowed++) {
        int left = allowed;
        CHECK_EQ(stele_log_open(&world->disk.io, &world->options, 0, UINT64_MAX, refuse, &left,
                                &world->log, &world->err),
                 STELE_E_NO_MEMORY);
        CHECK(world->log == NULL);
    }
    world_destroy(world);
}

/* Changes a header as somebody would who has the secret. */
static void forge(struct world *world, size_t index, void (*change)(struct stele_frame *frame))
{
    struct memio_inode *const inode = memio_find(&world->disk, SEGMENT);
    uint8_t *const header = inode->cache + file_offset(world->frames[index]);
    const struct stele_bytes bytes = {.data = header, .size = STELE_FRAME_HEADER_SIZE};
    struct stele_frame frame;
    CHECK_EQ(stele_frame_decode(bytes, WORLD_SECRET, world->frames[index], &frame), STELE_OK);
    change(&frame);
    (void)stele_frame_encode(header, WORLD_SECRET, &frame);
    memcpy(inode->disk, inode->cache, inode->size);
}

static void other_previous(struct stele_frame *frame)
{
    frame->previous ^= 1;
}

static void other_group_index(struct stele_frame *frame)
{
    frame->group_index ^= 1;
}

static void other_group_count(struct stele_frame *frame)
{
    frame->group_count++;
}

TEST(frames_that_verify_but_do_not_continue_are_not_taken)
{
    static void (*const changes[])(struct stele_frame *) = {other_previous, other_group_index,
                                                            other_group_count};
    for (size_t index = 0; index < STELE_COUNT_OF(changes); index++) {
        /* The second frame of the last group, and the only one of the last group. */
        for (uint16_t groups = 1; groups <= 2; groups++) {
            if (groups == 1 && changes[index] == other_group_index) {
                continue; /* Not below its count: never written. */
            }
            struct world *const world = world_create(16384, 65536);
            world_open(world);
            world_append(world, 1, 2, 20);
            world_append(world, groups, 1, 9);
            world_close(world);
            forge(world, groups, changes[index]);
            world_open(world);
            CHECK_EQ(settle(world), 2);
            world_destroy(world);
        }
        /* With a witness behind it, it is damage. */
        struct world *const world = three_appends(false);
        forge(world, 2, changes[index]);
        CHECK_EQ(world_try_open(world, 0), STELE_E_CORRUPT);
        world_destroy(world);
    }
}

/* ---- The mark ---- */

TEST(a_mark_beyond_the_log_says_that_something_is_missing)
{
    struct world *const world = three_appends(true);
    struct memio_inode *const mark = memio_find(&world->disk, "mark");
    uint8_t bytes[1024];
    CHECK_EQ(mark->size, sizeof bytes);
    memcpy(bytes, mark->disk, sizeof bytes);
    /* The same store without its log. */
    memio_drop(&world->disk, SEGMENT);
    CHECK_EQ(world_try_open(world, 0), STELE_E_CORRUPT);
    /* An older state of it: as if the last append had never been. */
    world_destroy(world);
}

TEST(a_mark_of_another_history_is_noticed)
{
    struct world *const world = three_appends(true);
    struct memio_inode *const inode = memio_find(&world->disk, "mark");
    uint8_t bytes[1024];
    memcpy(bytes, inode->disk, sizeof bytes);
    /* Another log of the same shape, with other bytes. */
    struct world *const other = world_create(16384, 65536);
    world_open(other);
    other->position = 5;
    world_append(other, 1, 2, 20);
    world_append(other, 2, 1, 9);
    world_append(other, 1, 1, 0);
    world_close(other);
    memio_put(&other->disk, "mark", (struct stele_bytes){.data = bytes, .size = sizeof bytes});
    CHECK_EQ(world_try_open(other, 0), STELE_E_CORRUPT);
    CHECK_TEXT_HAS(other->err.message, "not the frame that was acknowledged");
    world_destroy(other);
    world_destroy(world);
}

TEST(a_torn_mark_leaves_the_one_before)
{
    const uint32_t seed = stele_log__seed(WORLD_SECRET);
    uint8_t bytes[1024];
    const struct stele_log__mark older = {.sequence = 8, .durable = 640, .checksum = 7};
    const struct stele_log__mark newer = {.sequence = 9, .durable = 1280, .checksum = 9};
    stele_log__mark_encode(bytes, seed, &older);
    stele_log__mark_encode(bytes + 512, seed, &newer);
    struct stele_log__mark mark;
    stele_log__mark_decode((struct stele_bytes){.data = bytes, .size = sizeof bytes}, seed, &mark);
    CHECK_EQ(mark.sequence, 9);
    CHECK_EQ(mark.durable, 1280);
    CHECK_EQ(mark.checksum, 9);
    for (size_t bit = 0; bit < 512 * 8; bit++) {
        bytes[512 + bit / 8] ^= (uint8_t)(1U << bit % 8);
        stele_log__mark_decode((struct stele_bytes){.data = bytes, .size = sizeof bytes}, seed,
                               &mark);
        CHECK_EQ(mark.sequence, 8);
        CHECK_EQ(mark.durable, 640);
        bytes[512 + bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t size = 0; size < 512; size++) {
        stele_log__mark_decode((struct stele_bytes){.data = bytes, .size = size}, seed, &mark);
        CHECK_EQ(mark.sequence, 0);
    }
}

TEST(marks_are_written_to_both_slots_in_turn)
{
    struct world *const world = world_create(16384, 65536);
    world_open(world);
    for (uint64_t round = 1; round <= 5; round++) {
        world_append(world, 1, 1, 5);
        struct stele_log_mark mark;
        stele_log_get_mark(world->log, &mark);
        CHECK_EQ(mark.slot_offset, round % 2 * 512);
        CHECK_EQ(stele_log_put_mark(&world->disk.io, &mark, NULL), STELE_OK);
        struct stele_log__mark read;
        CHECK_EQ(stele_log__mark_read(&world->disk.io, stele_log__seed(WORLD_SECRET), &read, NULL),
                 STELE_OK);
        CHECK_EQ(read.durable, stele_log_durable(world->log));
        CHECK_EQ(read.sequence, round);
        world_close(world);
        memio_crash(&world->disk, MEMIO_KEEP_NONE);
        world_open(world);
        CHECK_EQ(settle(world), round);
    }
    world_destroy(world);
}

/* ---- The page cache ---- */

TEST(bytes_that_only_the_page_cache_has_do_not_count)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct world *const world = world_create(16384, 65536);
        rng_init(&world->disk.rng, seed, 1);
        world_open(world);
        world_append(world, 1, 1, 20);
        world->disk.fail_at = 1;
        world->disk.fail_mask = MEMIO_SYNC;
        world->disk.calls = 0;
        CHECK_EQ(world_try_append(world, 1, 2, 3000), STELE_E_IO);
        CHECK(stele_log_is_fenced(world->log));
        CHECK_EQ(world_stage(world, 1, 1, 1), STELE_E_FENCED);
        CHECK_EQ(stele_log_roll(world->log, 100, &world->err), STELE_E_FENCED);
        CHECK(world_events_below(world, stele_log_durable(world->log)) == 1);
        world_check_scan(world, 1, 4);
        world->disk.fail_at = 0;
        world_close(world);
        memio_kill(&world->disk); /* The machine goes on, and so does its cache. */
        world_open(world);
        const size_t count = settle(world);
        CHECK(count == 1 || count == 3);
        world_close(world);
        memio_crash(&world->disk, MEMIO_KEEP_NONE);
        world_open(world);
        CHECK_EQ(settle(world), count);
        world_destroy(world);
    }
}

TEST(a_cache_that_cannot_be_dropped_and_lies_is_refused)
{
    struct world *const world = world_create(16384, 65536);
    world_open(world);
    world_append(world, 1, 1, 20);
    world->disk.fail_at = 1;
    world->disk.fail_mask = MEMIO_SYNC;
    world->disk.calls = 0;
    CHECK_EQ(world_try_append(world, 1, 2, 3000), STELE_E_IO);
    world->disk.fail_at = 0;
    world_close(world);
    memio_kill(&world->disk);
    world->disk.drop_is_idle = true;
    CHECK_EQ(world_try_open(world, 0), STELE_E_IO);
    CHECK_TEXT_HAS(world->err.message, "page cache");
    world->disk.drop_is_idle = false;
    world_open(world);
    world_destroy(world);
}

TEST(what_opening_has_shown_stays_after_a_power_cut)
{
    struct world *const world = world_create(16384, 65536);
    world_open(world);
    world_append(world, 1, 1, 20);
    CHECK_EQ(world_stage(world, 1, 2, 20), STELE_OK);
    struct stele_log_group group;
    CHECK(stele_log_take(world->log, &group));
    CHECK_EQ(world->disk.io.ops->write(group.file, group.offset, group.bytes, NULL), STELE_OK);
    world_close(world);
    memio_kill(&world->disk); /* Before the sync: the bytes are in the page cache only. */
    world_open(world);
    CHECK_EQ(settle(world), 3);
    world_close(world);
    memio_crash(&world->disk, MEMIO_KEEP_NONE);
    world_open(world);
    CHECK_EQ(settle(world), 3);
    world_destroy(world);
}

/* ---- Reading only ---- */

TEST(reading_only_writes_nothing)
{
    struct world *const world = three_appends(true);
    memio_put(&world->disk, "0000000000003000.new", stele_bytes_of_text("half"));
    memio_put(&world->disk, "0000000000000000.tmp", stele_bytes_of_text("half"));
    memio_put(&world->disk, "spare.tmp", stele_bytes_of_text("half"));
    memio_put(&world->disk, "something.else", stele_bytes_of_text("not ours"));
    /* Something torn behind the end, too. */
    struct memio_inode *const inode = memio_find(&world->disk, SEGMENT);
    inode->cache[12000] = inode->disk[12000] = 1;
    const uint64_t written = world->disk.written;
    const uint64_t syncs = world->disk.syncs;
    world->options.read_only = true;
    world_open(world);
    CHECK_EQ(settle(world), 5);
    uint64_t size = 0;
    CHECK(!stele_log_wants_spare(world->log, &size));
    world_close(world);
    CHECK_EQ(world->disk.written, written);
    CHECK_EQ(world->disk.syncs, syncs);
    CHECK_EQ(world->disk.names.count, 6);
    CHECK_EQ(inode->disk[12000], 1);

    world->options.read_only = false;
    world_open(world);
    CHECK_EQ(settle(world), 5);
    CHECK_EQ(world->disk.names.count, 3);
    CHECK(memio_find(&world->disk, "something.else") != NULL);
    CHECK_EQ(inode->disk[12000], 0);
    world_destroy(world);
}

TEST(a_store_without_a_log_cannot_be_read)
{
    struct world *const world = world_create(16384, 65536);
    world->options.read_only = true;
    CHECK_EQ(world_try_open(world, 0), STELE_E_NOT_A_STORE);
    world_destroy(world);
}

/* ---- Files ---- */

TEST(segments_that_are_missing_or_cut_off_are_damage)
{
    struct world *const world = world_create(16384, 16384);
    world_open(world);
    for (int round = 0; round < 60; round++) {
        world_append(world, 1, 1, 500);
    }
    CHECK(stele_log_segments(world->log) >= 4);
    world_close(world);
    const struct memio_names names = world->disk.names;
    for (uint32_t index = 0; index < names.count; index++) {
        struct memio copy;
        memio_copy(&world->disk, &copy);
        struct memio *const original = malloc(sizeof *original);
        *original = world->disk;
        world->disk = copy;
        memio_drop(&world->disk, names.entries[index].name);
        size_t damages = 0;
        if (index + 1 < names.count) {
            CHECK_EQ(world_try_open(world, 0), STELE_OK);
            CHECK(scan_what_is_left(world, &damages) < world->count);
            CHECK_EQ(damages, 1);
        } else {
            /* Without a mark nothing says that there was another one. */
            CHECK_EQ(world_try_open(world, 0), STELE_OK);
            CHECK(scan_what_is_left(world, &damages) < world->count);
        }
        world_close(world);
        memio_deinit(&world->disk);
        world->disk = *original;
        free(original);
    }
    for (uint32_t index = 0; index < names.count; index++) {
        struct memio_inode *const inode = memio_find(&world->disk, names.entries[index].name);
        for (uint64_t size = 0; size < inode->capacity; size += 1000) {
            const uint64_t whole = inode->size;
            inode->size = inode->size_disk = size;
            size_t damages = 0;
            const int outcome = world_try_open(world, 0);
            CHECK_EQ(outcome, index + 1 < names.count ? STELE_OK : STELE_E_CORRUPT);
            if (outcome == STELE_OK) {
                CHECK(scan_what_is_left(world, &damages) <= world->count);
                CHECK(damages >= 1);
            }
            world_close(world);
            inode->size = inode->size_disk = whole;
        }
    }
    world_open(world);
    world_check_scan(world, world->count, 8);
    world_destroy(world);
}

TEST(segments_of_another_store_or_shape_are_refused)
{
    struct world *const world = three_appends(false);
    world->options.store_id[3] ^= 1;
    CHECK_EQ(world_try_open(world, 0), STELE_E_CORRUPT);
    world->options.store_id[3] ^= 1;
    world->options.secret++;
    CHECK_EQ(world_try_open(world, 0), STELE_E_CORRUPT);
    world->options.secret--;
    world->options.partitions++;
    CHECK_EQ(world_try_open(world, 0), STELE_E_CORRUPT);
    world->options.partitions--;
    world_open(world);
    CHECK_EQ(settle(world), 5);
    world_destroy(world);
}

TEST(a_frame_of_a_newer_version_is_not_cut)
{
    struct world *const world = three_appends(false);
    struct memio_inode *const inode = memio_find(&world->disk, SEGMENT);
    const uint64_t last = world->frames[world->frames_count - 1];
    uint8_t *const header = inode->disk + file_offset(last);
    header[12] = STELE_FRAME_VERSION + 1;
    const uint32_t seed = stele_log__seed(WORLD_SECRET);
    uint32_t crc = ~seed;
    for (size_t at = 4; at < 64; at++) {
        crc ^= header[at];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0x82f63b78 & (0 - (crc & 1)));
        }
    }
    stele_store_u32le(header, ~crc);
    memcpy(inode->cache, inode->disk, inode->size);
    CHECK_EQ(world_try_open(world, 0), STELE_E_FORMAT);
    CHECK_TEXT_HAS(world->err.message, "newer version");
    world_destroy(world);
}
