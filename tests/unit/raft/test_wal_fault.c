/* Whatever fails, the log says so, loses nothing that was durable, and goes on or is fenced.
 *
 * Method: the same work again and again, with the 1st, 2nd, … allocation or call failing, once or
 * from then on, until none fails. */
#include "lib/memio.h"
#include "wal_world.h"

static struct memio disk;

struct run {
    struct world *world;
    uint64_t durable;
    uint64_t trimmed;
};

static void begin(struct run *run)
{
    memio_init(&disk, NULL, 1);
    run->world = world_create(&disk.io, 65536);
    run->durable = 0;
    run->trimmed = 0;
}

static void end(struct run *run)
{
    world_destroy(run->world);
    CHECK_EQ(disk.open_count, 0);
    memio_deinit(&disk);
}

static void note_durable(struct run *run)
{
    const uint64_t durable = stele_wal_durable(run->world->wal);
    run->durable = durable > run->durable ? durable : run->durable;
}

static void check_opened(struct run *run)
{
    struct world *const world = run->world;
    CHECK(stele_wal_end(world->wal) >= run->durable);
    size_t count = 0;
    while (count < world->count && world->records[count].place < stele_wal_end(world->wal)) {
        count++;
    }
    CHECK(world->told == 0 || world->told_first + world->told == count);
    const uint64_t start =
        world->told == 0 ? stele_wal_end(world->wal) : world->records[world->told_first].place;
    CHECK(start <= run->trimmed || start == STELE_WAL__FIRST);
    world->count = count;
    run->durable = stele_wal_end(world->wal);
}

/* Twice: opens, fills several segments, reads, trims, marks, closes. The first outcome that is not STELE_OK ends it. */
static int work(struct run *run)
{
    struct world *const world = run->world;
    for (int round = 0; round < 2; round++) {
        int outcome = world_try_open(world);
        if (outcome != STELE_OK) {
            return outcome;
        }
        check_opened(run);
        for (uint32_t index = 0; index < 8; index++) {
            outcome = world_put(world, index == 5 ? 100000 : 30000 + index);
            if (outcome == STELE_OK) {
                outcome = world_put(world, index);
            }
            if (outcome == STELE_OK && index % 3 == 2) {
                outcome = world_flush(world);
                note_durable(run);
            }
            if (outcome == STELE_OK) {
                outcome = world_read(world, &world->records[world->count - 2]);
            }
            if (outcome == STELE_OK) {
                outcome = world_read(world, &world->records[world->count - 1]);
            }
            if (outcome == STELE_OK && index == 6) {
                run->trimmed = world->records[world->count - 6].place;
                outcome = stele_wal_trim(world->wal, run->trimmed, &world->err);
            }
            stele_wal_check(world->wal);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
        stele_wal_mark(world->wal);
        outcome = world_flush(world);
        note_durable(run);
        if (outcome != STELE_OK) {
            return outcome;
        }
        world_close(world);
        CHECK_EQ(disk.open_count, 0);
    }
    return STELE_OK;
}

TEST(every_allocation_may_fail)
{
    for (int sticky = 0; sticky < 2; sticky++) {
        uint64_t nth = 0;
        bool failed = true;
        while (failed) {
            nth++;
            struct run run;
            begin(&run);
            run.world->alloc.fail_at = nth;
            run.world->alloc.fail_sticky = sticky == 1;
            const int outcome = work(&run);
            failed = run.world->alloc.failures > 0;
            CHECK_EQ(outcome, failed ? STELE_E_NO_MEMORY : STELE_OK);
            run.world->alloc.fail_at = 0;
            run.world->alloc.fail_sticky = false;
            /* Nothing has changed: the log goes on. */
            if (run.world->wal != NULL) {
                CHECK(!stele_wal_is_fenced(run.world->wal));
                world_fill(run.world, 3, 30000);
                note_durable(&run);
                world_close(run.world);
            }
            world_open(run.world);
            check_opened(&run);
            world_check_reads(run.world);
            end(&run);
        }
        CHECK(nth > 10);
    }
}

static uint64_t sweep_calls(int outcome_given, bool sticky, int ending)
{
    uint64_t nth = 0;
    bool failed = true;
    while (failed) {
        nth++;
        struct run run;
        begin(&run);
        disk.fail_at = nth;
        disk.fail_sticky = sticky;
        disk.fail_outcome = outcome_given;
        const int outcome = work(&run);
        failed = disk.failures > 0;
        CHECK(failed || outcome == STELE_OK);
        disk.fail_at = 0;
        disk.fail_sticky = false;
        struct world *const world = run.world;
        if (world->wal != NULL && !stele_wal_is_fenced(world->wal)) {
            /* It goes on, if not where it was. */
            world_fill(world, 3, 30000);
            note_durable(&run);
        }
        world_close(world);
        if (ending == 0) {
            memio_kill(&disk);
            const int opened = world_try_open(world);
            CHECK(opened == STELE_OK || opened == STELE_E_IO); /* The cache may lie. */
            if (opened == STELE_OK) {
                check_opened(&run);
                world_close(world);
            }
        }
        memio_crash(&disk, ending == 1 ? MEMIO_KEEP_NONE : MEMIO_KEEP_RANDOM);
        world_open(world);
        check_opened(&run);
        world_check_reads(world);
        world_fill(world, 5, 30000);
        note_durable(&run);
        world_close(world);
        world_open(world);
        check_opened(&run);
        end(&run);
    }
    return nth;
}

TEST(every_call_may_fail)
{
    for (int ending = 0; ending < 3; ending++) {
        CHECK(sweep_calls(STELE_E_IO, false, ending) > 50);
        CHECK(sweep_calls(STELE_E_IO, true, ending) > 50);
        CHECK(sweep_calls(STELE_E_NO_SPACE, false, ending) > 50);
    }
}

TEST(a_full_disk_refuses_new_segments_and_goes_on_when_there_is_room)
{
    struct run run;
    begin(&run);
    struct world *const world = run.world;
    world_open(world);
    world_fill(world, 2, 30000);
    disk.space = 8192 + 65536 + 4096;
    for (int attempt = 0; attempt < 5; attempt++) {
        CHECK_EQ(world_put(world, 30000), STELE_E_NO_SPACE);
        CHECK(!stele_wal_is_fenced(world->wal));
    }
    world_fill(world, 3, 100); /* These still fit. */
    world_check_reads(world);
    disk.space += 65536 + 4096;
    world_fill(world, 2, 30000);
    CHECK_EQ(world_put(world, 30000), STELE_E_NO_SPACE);
    /* Trimming makes room: its file is used again. */
    CHECK_OK(stele_wal_trim(world->wal, UINT64_MAX, &world->err), world->err);
    world_fill(world, 2, 30000);
    world_close(world);
    world_open(world);
    world_check_reads(world);
    end(&run);
}

/* Recovery cuts in place, so it needs no room. */
TEST(a_torn_log_opens_on_a_full_disk)
{
    struct run run;
    begin(&run);
    struct world *const world = run.world;
    world_open(world);
    world_fill(world, 1, 30000);
    struct stele_wal_group groups[2];
    for (int index = 0; index < 2; index++) {
        CHECK_OK(world_put(world, 30000 + (uint32_t)index * 10000), world->err);
        CHECK(stele_wal_take(world->wal, &groups[index]));
    }
    CHECK_EQ(world_write(&groups[1]), STELE_OK);
    world_close(world);
    disk.space = 1;
    memio_crash(&disk, MEMIO_KEEP_NONE);
    world_open(world);
    CHECK_EQ(world->told, 1);
    world_forget(world);
    world_fill(world, 1, 100);
    end(&run);
}

static uint32_t count_spares(void)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < disk.names.count; index++) {
        count += strstr(disk.names.entries[index].name, ".spare") != NULL ? 1 : 0;
    }
    return count;
}

/* A new name may need room in the directory. */
TEST(what_cannot_be_renamed_on_a_full_disk_is_removed)
{
    struct run run;
    begin(&run);
    struct world *const world = run.world;
    world_open(world);
    world_fill(world, 9, 30000);
    CHECK_OK(stele_wal_trim(world->wal, world->records[4].place, &world->err), world->err);
    CHECK_EQ(count_spares(), 2);
    disk.fail_mask = MEMIO_RENAME;
    disk.fail_outcome = STELE_E_NO_SPACE;
    disk.fail_sticky = true;
    disk.calls = 0;
    disk.fail_at = 1;
    disk.space = (uint64_t)(disk.names.count + 1) * 70000;
    for (int attempt = 0; attempt < 4; attempt++) {
        for (int count = 0; count < 4; count++) {
            const int outcome = world_put(world, 30000);
            CHECK(outcome == STELE_OK || outcome == STELE_E_NO_SPACE);
        }
        CHECK_OK(world_flush(world), world->err);
        CHECK(!stele_wal_is_fenced(world->wal));
    }
    CHECK_EQ(count_spares(), 0); /* No file that nobody knows of is left. */
    CHECK_OK(stele_wal_trim(world->wal, UINT64_MAX, &world->err), world->err);
    CHECK_EQ(disk.names.count, 2);
    disk.fail_at = 0;
    disk.fail_sticky = false;
    world_fill(world, 4, 30000);
    world_close(world);
    world_open(world);
    world_check_reads(world);
    end(&run);
}
