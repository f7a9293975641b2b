/* What was put is there, in order, until it is trimmed: across segments, groups in flight, openings
 * and files that are used again. */
#include "lib/memio.h"
#include "wal_world.h"

static struct memio disk;

static struct world *begin(uint64_t segment_size)
{
    memio_init(&disk, NULL, 1);
    struct world *const world = world_create(&disk.io, segment_size);
    world_open(world);
    CHECK_EQ(world->told, 0);
    return world;
}

static void end(struct world *world)
{
    world_destroy(world);
    CHECK_EQ(disk.open_count, 0);
    memio_deinit(&disk);
}

static void reopen(struct world *world)
{
    world_close(world);
    CHECK_EQ(disk.open_count, 0);
    world_open(world);
}

static uint32_t files_named(const char *part)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < disk.names.count; index++) {
        count += strstr(disk.names.entries[index].name, part) != NULL ? 1 : 0;
    }
    return count;
}

TEST(what_was_put_is_told_in_order_and_read_back)
{
    struct world *const world = begin(65536);
    static const uint32_t sizes[] = {0,    1,    7,    8,    9,     100,  4000,
                                     4047, 4048, 4049, 4096, 30000, 65488};
    for (int round = 0; round < 5; round++) {
        for (size_t index = 0; index < STELE_COUNT_OF(sizes); index++) {
            CHECK_OK(world_put(world, sizes[index]), world->err);
            world_check_reads(world);
        }
        CHECK_OK(world_flush(world), world->err);
        world_check_reads(world);
        reopen(world);
        CHECK_EQ(world->told, world->count);
        CHECK_EQ(stele_wal_durable(world->wal), stele_wal_end(world->wal));
        world_check_reads(world);
    }
    CHECK(files_named(".wal") > 5);
    end(world);
}

TEST(an_empty_log_stays_empty)
{
    struct world *const world = begin(65536);
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(stele_wal_size(world->wal), 0);
        CHECK(stele_wal_end(world->wal) > 0); /* 0 is no place. */
        reopen(world);
        CHECK_EQ(world->told, 0);
    }
    CHECK_EQ(disk.names.count, 2);
    end(world);
}

TEST(what_is_larger_than_a_segment_gets_its_own)
{
    struct world *const world = begin(65536);
    for (int round = 0; round < 3; round++) {
        world_fill(world, 1, 200000);
        world_fill(world, 3, 100);
        world_fill(world, 2, 200000);
        world_check_reads(world);
        reopen(world);
        CHECK_EQ(world->told, world->count);
    }
    /* Their files are of no use to others. */
    CHECK_OK(stele_wal_trim(world->wal, stele_wal_end(world->wal), &world->err), world->err);
    CHECK_EQ(files_named(".spare"), 2);
    for (uint32_t index = 0; index < disk.names.count; index++) {
        if (strstr(disk.names.entries[index].name, ".spare") != NULL) {
            CHECK_EQ(disk.names.entries[index].inode->size, 4096 + 65536);
        }
    }
    world_fill(world, 3, 100);
    reopen(world);
    end(world);
}

TEST(durable_grows_over_the_finished_prefix_in_every_order)
{
    struct world *const world = begin(65536);
    for (uint32_t order = 0; order < 24; order++) {
        struct stele_wal_group groups[5];
        uint64_t ends[4];
        const uint64_t before = stele_wal_durable(world->wal);
        for (uint32_t index = 0; index < 4; index++) {
            for (uint32_t count = 0; count <= index; count++) {
                CHECK_OK(world_put(world, 100), world->err);
            }
            CHECK(stele_wal_has_staged(world->wal));
            CHECK(stele_wal_take(world->wal, &groups[index]));
            CHECK(groups[index].bytes.size > 0);
            ends[index] = stele_wal_end(world->wal);
        }
        CHECK_OK(world_put(world, 5), world->err);
        CHECK(!stele_wal_take(world->wal, &groups[4]));
        world_check_reads(world);
        uint32_t left[4] = {0, 1, 2, 3};
        uint32_t code = order;
        bool finished[4] = {false};
        for (uint32_t step = 4; step > 0; step--) {
            const uint32_t pick = code % step;
            code /= step;
            const uint32_t index = left[pick];
            left[pick] = left[step - 1];
            CHECK_EQ(world_write(&groups[index]), STELE_OK);
            stele_wal_done(world->wal, groups[index].id, STELE_OK);
            stele_wal_check(world->wal);
            finished[index] = true;
            uint64_t want = before;
            for (uint32_t at = 0; at < 4 && finished[at]; at++) {
                want = ends[at];
            }
            CHECK_EQ(stele_wal_durable(world->wal), want);
            world_check_reads(world);
        }
        CHECK_OK(world_flush(world), world->err);
        CHECK_EQ(stele_wal_durable(world->wal), stele_wal_end(world->wal));
    }
    reopen(world);
    CHECK_EQ(world->told, world->count);
    end(world);
}

/* put() makes segments without waiting for what is staged. */
TEST(groups_of_several_segments_are_in_flight_at_once)
{
    struct world *const world = begin(65536);
    for (int round = 0; round < 4; round++) {
        for (int count = 0; count < 40; count++) {
            CHECK_OK(world_put(world, 10000), world->err);
        }
        world_check_reads(world);
        struct stele_wal_group groups[4];
        for (int index = 0; index < 4; index++) {
            CHECK(stele_wal_take(world->wal, &groups[index]));
            CHECK(groups[index].bytes.size <= 65536);
            CHECK(index == 0 || groups[index].file != groups[index - 1].file);
        }
        for (int index = 3; index >= 0; index--) {
            CHECK_EQ(world_write(&groups[index]), STELE_OK);
            stele_wal_done(world->wal, groups[index].id, STELE_OK);
            stele_wal_check(world->wal);
        }
        CHECK_OK(world_flush(world), world->err);
        world_check_reads(world);
        reopen(world);
        CHECK_EQ(world->told, world->count);
    }
    end(world);
}

TEST(a_group_that_fails_fences_the_log_for_good)
{
    for (uint32_t bad = 0; bad < 4; bad++) {
        struct world *const world = begin(65536);
        world_fill(world, 1, 10);
        struct stele_wal_group groups[4];
        uint64_t durable = stele_wal_durable(world->wal);
        for (uint32_t index = 0; index < 4; index++) {
            CHECK_OK(world_put(world, 10), world->err);
            CHECK(stele_wal_take(world->wal, &groups[index]));
        }
        for (uint32_t index = 0; index < 4; index++) {
            const int outcome = index == bad ? STELE_E_IO : world_write(&groups[index]);
            stele_wal_done(world->wal, groups[index].id, outcome);
            stele_wal_check(world->wal);
            durable += index < bad ? groups[index].bytes.size : 0;
            CHECK_EQ(stele_wal_durable(world->wal), durable);
            CHECK_EQ(stele_wal_is_fenced(world->wal), index >= bad);
        }
        CHECK_EQ(world_put(world, 10), STELE_E_FENCED);
        CHECK_EQ(stele_wal_trim(world->wal, 0, &world->err), STELE_E_FENCED);
        stele_wal_mark(world->wal);
        CHECK(!stele_wal_has_staged(world->wal));
        CHECK(!stele_wal_take(world->wal, &groups[0]));
        world_check_reads(world);
        reopen(world);
        CHECK(world->told >= 1 + bad);
        end(world);
    }
}

TEST(trimmed_files_are_used_again_and_the_disk_does_not_grow)
{
    struct world *const world = begin(65536);
    uint32_t files_max = 0;
    for (int round = 0; round < 60; round++) {
        world_fill(world, 10, 5000);
        const uint64_t place = world->records[world->count - 8].place;
        CHECK_OK(stele_wal_trim(world->wal, place, &world->err), world->err);
        stele_wal_check(world->wal);
        CHECK(stele_wal_start(world->wal) <= place);
        CHECK(stele_wal_size(world->wal) <= 3 * 65536);
        world_check_reads(world);
        files_max = disk.names.count > files_max ? disk.names.count : files_max;
        if (round % 7 == 0) {
            const uint64_t start = stele_wal_start(world->wal);
            reopen(world);
            CHECK_EQ(stele_wal_start(world->wal), start);
            CHECK_EQ(world->told_first + world->told, world->count);
            CHECK(world->records[world->told_first].place == start);
        }
    }
    CHECK(files_max <= 6);
    CHECK(files_named(".spare") > 0);
    end(world);
}

TEST(trimming_never_takes_what_is_not_durable_or_the_segment_that_is_written)
{
    struct world *const world = begin(65536);
    world_fill(world, 3, 30000);
    for (int count = 0; count < 10; count++) {
        CHECK_OK(world_put(world, 30000), world->err);
    }
    CHECK_OK(stele_wal_trim(world->wal, UINT64_MAX, &world->err), world->err);
    stele_wal_check(world->wal);
    CHECK(stele_wal_start(world->wal) <= stele_wal_durable(world->wal));
    for (size_t index = 3; index < world->count; index++) {
        CHECK_OK(world_read(world, &world->records[index]), world->err);
    }
    CHECK_OK(world_flush(world), world->err);
    CHECK_OK(stele_wal_trim(world->wal, UINT64_MAX, &world->err), world->err);
    CHECK(stele_wal_size(world->wal) <= 65536);
    world_check_reads(world);
    world_fill(world, 1, 10);
    reopen(world);
    CHECK_OK(world_read(world, &world->records[world->count - 1]), world->err);
    end(world);
}

TEST(more_spares_than_are_wanted_are_removed)
{
    struct world *const world = begin(65536);
    world_fill(world, 20, 30000);
    CHECK_OK(stele_wal_trim(world->wal, UINT64_MAX, &world->err), world->err);
    CHECK_EQ(files_named(".spare"), 2);
    CHECK_EQ(files_named(".wal"), 1);
    world->options.spares_max = 1;
    world_close(world);
    world_open(world);
    CHECK_EQ(files_named(".spare"), 1);
    world->options.spares_max = 0;
    world_close(world);
    world_open(world);
    CHECK_EQ(files_named(".spare"), 0);
    world_fill(world, 20, 30000);
    CHECK_OK(stele_wal_trim(world->wal, UINT64_MAX, &world->err), world->err);
    CHECK_EQ(files_named(".spare"), 0);
    end(world);
}

TEST(another_segment_size_takes_no_spares_and_reads_what_is_there)
{
    struct world *const world = begin(65536);
    world_fill(world, 20, 30000);
    CHECK_OK(stele_wal_trim(world->wal, world->records[10].place, &world->err), world->err);
    CHECK_EQ(files_named(".spare"), 2);
    world->options.segment_size = 131072;
    world_close(world);
    world_open(world);
    CHECK_EQ(files_named(".spare"), 0);
    world_check_reads(world);
    world_fill(world, 20, 30000);
    reopen(world);
    world_check_reads(world);
    end(world);
}

TEST(a_mark_is_written_once_and_only_when_it_says_more)
{
    struct world *const world = begin(65536);
    struct stele_wal_group group;
    stele_wal_mark(world->wal);
    CHECK_OK(world_flush(world), world->err);
    stele_wal_mark(world->wal);
    CHECK(!stele_wal_has_staged(world->wal));
    CHECK(!stele_wal_take(world->wal, &group));
    world_fill(world, 3, 100);
    CHECK(!stele_wal_take(world->wal, &group));
    stele_wal_mark(world->wal);
    CHECK(stele_wal_has_staged(world->wal));
    CHECK(stele_wal_take(world->wal, &group));
    CHECK_EQ(group.bytes.size, 512);
    stele_wal_mark(world->wal);
    CHECK(!stele_wal_take(world->wal, &group)); /* One at a time. */
    /* Nothing is given up while it is out. */
    const uint64_t start = stele_wal_start(world->wal);
    struct stele_wal_group others[4];
    for (int index = 0; index < 3; index++) {
        CHECK_OK(world_put(world, 60000), world->err);
        CHECK(stele_wal_take(world->wal, &others[index]));
    }
    CHECK_OK(world_put(world, 60000), world->err);
    CHECK(!stele_wal_take(world->wal, &others[3])); /* Four in all. */
    for (int index = 0; index < 3; index++) {
        stele_wal_done(world->wal, others[index].id, world_write(&others[index]));
    }
    CHECK_OK(stele_wal_trim(world->wal, UINT64_MAX, &world->err), world->err);
    CHECK_EQ(stele_wal_start(world->wal), start);
    stele_wal_done(world->wal, group.id, world_write(&group));
    CHECK_OK(stele_wal_trim(world->wal, UINT64_MAX, &world->err), world->err);
    CHECK(stele_wal_start(world->wal) > start);
    stele_wal_check(world->wal);
    reopen(world);
    end(world);
}

TEST(a_huge_record_does_not_keep_its_buffer)
{
    struct world *const world = begin(65536);
    world_fill(world, 1, 10);
    const uint64_t before = world->alloc.bytes;
    uint8_t *const huge = calloc(1, 16 << 20);
    const struct stele_wal_record record = {.kind = STELE_WAL_NOTE,
                                            .payload = {.data = huge, .size = 16 << 20}};
    uint64_t place = 0;
    CHECK_OK(stele_wal_put(world->wal, &record, &place, &world->err), world->err);
    CHECK_OK(world_flush(world), world->err);
    world_fill(world, 1, 10);
    CHECK(world->alloc.bytes < before + 65536);
    free(huge);
    world_destroy(world);
    memio_deinit(&disk);
}

TEST(in_steady_state_putting_allocates_nothing)
{
    struct world *const world = begin(1 << 20);
    for (int round = 0; round < 10; round++) {
        world_fill(world, 100, 100);
    }
    const uint64_t calls = world->alloc.calls;
    for (int round = 0; round < 20; round++) {
        world_fill(world, 100, 100);
    }
    CHECK_EQ(world->alloc.calls, calls);
    end(world);
}

TEST(another_owners_files_and_another_secret_are_refused_and_left_alone)
{
    struct world *const world = begin(65536);
    world_fill(world, 10, 30000);
    CHECK_OK(stele_wal_trim(world->wal, world->records[5].place, &world->err), world->err);
    world_close(world);
    const uint32_t files = disk.names.count;
    world->options.owner_id[3]++;
    CHECK_EQ(world_try_open(world), STELE_E_NOT_A_STORE);
    world->options.owner_id[3]--;
    world->options.secret++;
    CHECK_EQ(world_try_open(world), STELE_E_NOT_A_STORE);
    world->options.secret--;
    CHECK_EQ(disk.names.count, files);
    world_open(world);
    world_check_reads(world);
    end(world);
}

TEST(files_of_others_are_left_alone)
{
    struct world *const world = begin(65536);
    memio_put(&disk, "lock", stele_bytes_of_text("x"));
    memio_put(&disk, "0000000000000001.seg", stele_bytes_of_text("x"));
    world_fill(world, 10, 30000);
    reopen(world);
    CHECK(memio_find(&disk, "lock") != NULL);
    CHECK(memio_find(&disk, "0000000000000001.seg") != NULL);
    end(world);
}

static int stop_at_third(void *context, const struct stele_wal_record *record, uint64_t place)
{
    int *const count = context;
    (void)record;
    (void)place;
    return ++*count == 3 ? STELE_E_UNSUPPORTED : STELE_OK;
}

TEST(the_owner_can_end_an_opening)
{
    struct world *const world = begin(65536);
    world_fill(world, 10, 30000);
    world_close(world);
    int count = 0;
    CHECK_EQ(
        stele_wal_open(world->io, &world->options, stop_at_third, &count, &world->wal, &world->err),
        STELE_E_UNSUPPORTED);
    CHECK_EQ(count, 3);
    CHECK_EQ(world->alloc.bytes, 0);
    world_open(world);
    CHECK_EQ(world->told, 10);
    end(world);
}
