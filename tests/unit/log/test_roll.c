/* Making segments: sizes, spares, failures and power cuts at every step. */
#include "world.h"

static void fill(struct world *world)
{
    for (;;) {
        const int outcome = world_stage(world, 1, 1, 700);
        CHECK_EQ(world_flush(world), STELE_OK);
        if (outcome == STELE_INCOMPLETE) {
            return;
        }
        CHECK_EQ(outcome, STELE_OK);
    }
}

static uint64_t size_of_last(const struct world *world)
{
    return stele_log__last(world->log->view)->size;
}

TEST(segments_double_up_to_the_largest_size)
{
    struct world *const world = world_create(16384, 100000);
    world_open(world);
    static const uint64_t want[] = {16384, 32768, 65536, 102400, 102400};
    uint64_t disk_size = 0;
    for (size_t index = 0; index < STELE_COUNT_OF(want); index++) {
        CHECK_EQ(size_of_last(world), want[index]);
        disk_size += want[index];
        CHECK_EQ(stele_log_disk_size(world->log), disk_size);
        CHECK_EQ(stele_log_segments(world->log), index + 1);
        fill(world);
        CHECK_EQ(stele_log_roll(world->log, 800, &world->err), STELE_OK);
        CHECK_EQ(stele_log_end(world->log), stele_log_durable(world->log));
        stele_log_check(world->log);
    }
    world_check_scan(world, world->count, 8);
    world_destroy(world);
}

TEST(a_group_larger_than_a_segment_gets_one_of_its_own)
{
    struct world *const world = world_create(16384, 32768);
    world_open(world);
    world_append(world, 1, 1, 10);
    CHECK_EQ(world_stage(world, 3, 2, 50000), STELE_INCOMPLETE);
    world_append(world, 3, 2, 50000);
    CHECK(size_of_last(world) > 300000);
    world_append(world, 1, 1, 10);
    world_check_scan(world, world->count, 8);
    world_check_reads(world, world->count);
    world_close(world);
    world_open(world);
    world_check_scan(world, world->count, 8);
    uint8_t *bytes = NULL;
    uint64_t place = 0;
    CHECK_EQ(stele_log_reserve(world->log, STELE_FRAME_SIZE_MAX + 8, &bytes, &place),
             STELE_E_LIMIT);
    world_destroy(world);
}

TEST(a_spare_is_wanted_late_used_once_and_found_again)
{
    struct world *const world = world_create(16384, 32768);
    world_open(world);
    uint64_t size = 0;
    CHECK(!stele_log_wants_spare(world->log, &size));
    fill(world);
    CHECK(stele_log_wants_spare(world->log, &size));
    CHECK_EQ(size, 32768);
    CHECK_EQ(stele_log_make_spare(&world->disk.io, size, &world->err), STELE_OK);
    CHECK(memio_find(&world->disk, "spare.seg") != NULL);
    stele_log_have_spare(world->log, size);
    CHECK(!stele_log_wants_spare(world->log, &size));
    /* The next process finds it. */
    CHECK_EQ(world->disk.io.ops->sync_names(&world->disk.io, NULL), STELE_OK);
    world_close(world);
    memio_crash(&world->disk, MEMIO_KEEP_NONE);
    world_open(world);
    CHECK(!stele_log_wants_spare(world->log, &size));
    const struct memio_inode *const spare = memio_find(&world->disk, "spare.seg");
    CHECK_EQ(stele_log_roll(world->log, 100, &world->err), STELE_OK);
    CHECK(memio_find(&world->disk, "spare.seg") == NULL);
    CHECK(memio_find(&world->disk, stele_log__last(world->log->view)->file->name) == spare);
    world_append(world, 1, 1, 30);
    world_check_scan(world, world->count, 8);
    world_destroy(world);
}

TEST(a_spare_that_does_not_fit_is_not_used)
{
    struct world *const world = world_create(16384, 32768);
    world_open(world);
    CHECK_EQ(stele_log_make_spare(&world->disk.io, 16384, &world->err), STELE_OK);
    stele_log_have_spare(world->log, 16384);
    CHECK_EQ(stele_log_roll(world->log, 20000, &world->err), STELE_OK);
    CHECK_EQ(size_of_last(world), 32768);
    CHECK(memio_find(&world->disk, "spare.seg") != NULL);
    CHECK_EQ(stele_log_roll(world->log, 2000, &world->err), STELE_OK);
    CHECK_EQ(size_of_last(world), 16384);
    /* One of a strange size is removed when the log is opened. */
    CHECK_EQ(stele_log_make_spare(&world->disk.io, 5000, &world->err), STELE_OK);
    world_close(world);
    world_open(world);
    CHECK(memio_find(&world->disk, "spare.seg") == NULL);
    world_destroy(world);
}

TEST(a_spare_that_vanished_fails_one_roll_only)
{
    struct world *const world = world_create(16384, 32768);
    world_open(world);
    fill(world);
    stele_log_have_spare(world->log, 32768);
    CHECK_EQ(stele_log_roll(world->log, 100, &world->err), STELE_E_IO);
    CHECK(!stele_log_is_fenced(world->log));
    CHECK_EQ(stele_log_roll(world->log, 100, &world->err), STELE_OK);
    world_append(world, 1, 1, 30);
    world_check_scan(world, world->count, 8);
    world_destroy(world);
}

TEST(a_full_disk_leaves_the_log_as_it_was)
{
    struct world *const world = world_create(16384, 65536);
    world_open(world);
    world_append(world, 1, 1, 6000);
    world->disk.space = 20000;
    const uint64_t end = stele_log_end(world->log);
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(world_try_append(world, 1, 1, 9000), STELE_E_NO_SPACE);
        CHECK_EQ(stele_log_end(world->log), end);
        CHECK_EQ(world->disk.names.count, 1);
        CHECK(!stele_log_is_fenced(world->log));
        stele_log_check(world->log);
    }
    CHECK_EQ(stele_log_make_spare(&world->disk.io, 65536, &world->err), STELE_E_NO_SPACE);
    CHECK_EQ(world->disk.names.count, 1);
    world_append(world, 1, 1, 100); /* There is room for small ones. */
    world->disk.space = UINT64_MAX / 2;
    world_append(world, 1, 1, 9000);
    world_check_scan(world, world->count, 8);
    world_destroy(world);
}

/* ---- Every step fails ---- */

/* A log with a segment that is full and, if asked for, a spare. */
static struct world *full_segment(bool spare)
{
    struct world *const world = world_create(16384, 32768);
    world_open(world);
    fill(world);
    if (spare) {
        CHECK_EQ(stele_log_make_spare(&world->disk.io, 32768, &world->err), STELE_OK);
        stele_log_have_spare(world->log, 32768);
    }
    return world;
}

static void check_after(struct world *world, size_t count)
{
    world_close(world);
    world->disk.fail_at = 0;
    world_open(world);
    CHECK_EQ(stele_log_events(world->log), count);
    CHECK_EQ(world->told <= count, 1);
    world_check_scan(world, count, 8);
    world->count = count;
    /* What is appended from here on stays: names that a dead process left behind, too. */
    world_append(world, 1, 1, 40);
    world_close(world);
    memio_crash(&world->disk, MEMIO_KEEP_NONE);
    world_open(world);
    CHECK_EQ(stele_log_events(world->log), count + 1);
    world_append(world, 1, 1, 9000);
    world_check_scan(world, count + 2, 8);
    CHECK(memio_find(&world->disk, "0000000000003000.new") == NULL);
}

TEST(no_failing_call_of_a_roll_loses_anything)
{
    for (int spare = 0; spare < 2; spare++) {
        for (int sticky = 0; sticky < 2; sticky++) {
            for (int keep = 0; keep < 4; keep++) {
                uint64_t failures = 1;
                for (uint64_t at = 1; failures > 0; at++) {
                    struct world *const world = full_segment(spare == 1);
                    rng_init(&world->disk.rng, at * 7 + (uint64_t)keep, 5);
                    world->disk.calls = 0;
                    world->disk.fail_at = at;
                    world->disk.fail_sticky = sticky == 1;
                    const size_t sealed = world->count;
                    const int outcome = stele_log_roll(world->log, 100, &world->err);
                    failures = world->disk.failures;
                    CHECK_EQ(outcome == STELE_OK, failures == 0);
                    stele_log_check(world->log);
                    world->disk.fail_at = 0;
                    if (outcome == STELE_OK) {
                        CHECK_EQ(stele_log_segments(world->log), 2);
                        world_append(world, 1, 1, 30);
                    } else if (!stele_log_is_fenced(world->log)) {
                        /* It was as if nothing had happened, also for the disk: appends that are
                         * acknowledged now have to survive the power cut. */
                        CHECK_EQ(stele_log_segments(world->log), 1);
                        if (world_try_append(world, 1, 1, 30) != STELE_OK) {
                            CHECK(false);
                        }
                    } else {
                        CHECK_EQ(world_stage(world, 1, 1, 10), STELE_E_FENCED);
                    }
                    CHECK(world->count >= sealed);
                    world_close(world);
                    if (keep < 3) {
                        memio_crash(&world->disk, keep);
                    } else {
                        memio_kill(&world->disk);
                    }
                    check_after(world, world->count);
                    world_destroy(world);
                }
            }
        }
    }
}

TEST(no_failing_allocation_of_a_roll_changes_anything)
{
    for (int sticky = 0; sticky < 2; sticky++) {
        bool failed = true;
        for (uint64_t at = 1; failed; at++) {
            struct world *const world = full_segment(true);
            const size_t count = world->count;
            world->alloc.fail_at = world->alloc.calls + at;
            world->alloc.fail_sticky = sticky == 1;
            const int outcome = stele_log_roll(world->log, 100, &world->err);
            failed = world->alloc.failures > 0;
            CHECK_EQ(outcome, failed ? STELE_E_NO_MEMORY : STELE_OK);
            world->alloc.fail_at = 0;
            CHECK(!stele_log_is_fenced(world->log));
            CHECK_EQ(stele_log_segments(world->log), failed ? 1 : 2);
            world_append(world, 1, 1, 30);
            check_after(world, count + 1);
            world_destroy(world);
        }
    }
}

TEST(a_power_cut_at_any_step_of_a_roll_leaves_the_old_or_the_new_state)
{
    for (int spare = 0; spare < 2; spare++) {
        for (uint64_t at = 1; at < 12; at++) {
            for (uint64_t seed = 0; seed < 12; seed++) {
                struct world *const world = full_segment(spare == 1);
                const size_t count = world->count;
                /* The machine dies at the at-th call: that one and all later ones do nothing. */
                world->disk.calls = 0;
                world->disk.fail_at = at;
                world->disk.fail_sticky = true;
                const int outcome = stele_log_roll(world->log, 100, &world->err);
                CHECK_EQ(outcome == STELE_OK, world->disk.failures == 0);
                world->disk.fail_at = 0;
                world_close(world);
                rng_init(&world->disk.rng, seed, at);
                memio_crash(&world->disk, MEMIO_KEEP_RANDOM);
                check_after(world, count);
                world_destroy(world);
            }
        }
    }
}

TEST(making_the_first_segment_survives_every_failure)
{
    for (int sticky = 0; sticky < 2; sticky++) {
        uint64_t failures = 1;
        for (uint64_t at = 1; failures > 0; at++) {
            struct world *const world = world_create(16384, 32768);
            world->disk.fail_at = at;
            world->disk.fail_sticky = sticky == 1;
            const int outcome = world_try_open(world, 0);
            failures = world->disk.failures;
            CHECK(outcome == STELE_OK || failures > 0);
            world->disk.fail_at = 0;
            world_close(world);
            memio_crash(&world->disk, MEMIO_KEEP_RANDOM);
            world_open(world);
            world_append(world, 1, 1, 10);
            world_check_scan(world, 1, 8);
            world_destroy(world);
        }
    }
}
