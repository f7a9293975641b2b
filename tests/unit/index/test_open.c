/* Opening makes of any directory what is true of it: leftovers go, runs that overlap are resolved,
 * damaged ones become holes; after a power cut at any moment nothing is wrong and nothing is lost
 * that the log does not give back. */
#include "world.h"

static void append(struct world *world, int events)
{
    for (int i = 0; i < events; i++) {
        CHECK_EQ(world_index_event(world, world_new_event(world)), STELE_OK);
    }
}

static void make_runs(struct world *world, uint64_t seed, int runs)
{
    world_init(world, seed, UINT64_MAX);
    CHECK_EQ(world_open_index(world, false), STELE_OK);
    for (int i = 0; i < runs; i++) {
        append(world, 40);
        CHECK_EQ(world_flush(world), STELE_OK);
    }
}

static void reopen_and_heal(struct world *world)
{
    CHECK_EQ(world_open_index(world, false), STELE_OK);
    while (world_has_holes(world)) {
        CHECK_EQ(world_fill(world, 2000), STELE_OK);
    }
    CHECK_EQ(world_replay(world), STELE_OK);
    CHECK_EQ(world->disk.names.count, stele_index_runs(world->index));
    world_check(world);
}

/* A copy of a file under any name. */
static void copy_file(struct world *world, const char *from, const char *to)
{
    static uint8_t bytes[1 << 17];
    const struct memio_inode *inode = memio_find(&world->disk, from);
    CHECK(inode != NULL);
    CHECK(inode->size <= sizeof bytes);
    memcpy(bytes, inode->cache, (size_t)inode->size);
    memio_put(&world->disk, to, (struct stele_bytes){.data = bytes, .size = (size_t)inode->size});
}

TEST(leftovers_and_foreign_files_are_removed_and_others_stay)
{
    static struct world world;
    static struct world other;
    make_runs(&world, 1, 2);
    make_runs(&other, 2, 1);
    const struct stele_bytes junk = stele_bytes_of_text("junk");
    char beyond[STELE_FILE_NAME_MAX];
    stele_index__file_name(beyond, world.end, world.end + 800, ".run");
    memio_put(&world.disk, "0000000000001000-0000000000002000.tmp", junk);
    memio_put(&world.disk, "0000000000002000-0000000000001000.run", junk); /* Backwards. */
    memio_put(&world.disk, "0000000000000000-0000000000001008.run", junk); /* Before the log. */
    memio_put(&world.disk, beyond, junk);                                  /* Behind it. */
    memio_put(&world.disk, "0000000000001000.seg", junk);
    memio_put(&world.disk, "0000000000001000.tmp", junk);
    memio_put(&world.disk, "mark", junk);
    /* A run of another store, whose range lies within this one's. */
    const struct memio_inode *inode = memio_find(&other.disk, other.index->view->runs[0]->name);
    memio_put(&world.disk, other.index->view->runs[0]->name,
              (struct stele_bytes){.data = inode->cache, .size = (size_t)inode->size});
    world_close(&world);
    CHECK_EQ(world_open_index(&world, true), STELE_OK);
    CHECK_EQ(world.disk.names.count, 2 + 8); /* Whoever only reads removes nothing. */
    world_check(&world);
    world_close(&world);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    CHECK_EQ(world.disk.names.count, 2 + 3);
    CHECK_EQ(stele_index_runs(world.index), 2);
    CHECK_EQ(stele_index_runs_end(world.index), world.end);
    CHECK(!world_has_holes(&world));
    world_check(&world);
    world_deinit(&world);
    world_deinit(&other);
}

TEST(the_larger_of_overlapping_runs_is_taken)
{
    static struct world world;
    make_runs(&world, 3, 4);
    char names[4][STELE_FILE_NAME_MAX];
    for (int i = 0; i < 4; i++) {
        memcpy(names[i], world.index->view->runs[i]->name, sizeof names[i]);
        char kept[STELE_FILE_NAME_MAX];
        (void)snprintf(kept, sizeof kept, "kept%d", i);
        copy_file(&world, names[i], kept);
    }
    CHECK_EQ(world_merge(&world), STELE_OK);
    world_close(&world);
    /* As after a power cut before the merged ones were removed. */
    for (int i = 0; i < 4; i++) {
        char kept[STELE_FILE_NAME_MAX];
        (void)snprintf(kept, sizeof kept, "kept%d", i);
        copy_file(&world, kept, names[i]);
    }
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    CHECK_EQ(stele_index_runs(world.index), 1);
    CHECK_EQ(world.disk.names.count, 1 + 4);
    world_check(&world);
    /* The merged one rots: those that went into it are good enough, if they are still there. */
    const char *merged = world.index->view->runs[0]->name;
    memio_damage(&world.disk, merged, 50, 1);
    for (int i = 0; i < 4; i++) {
        char kept[STELE_FILE_NAME_MAX];
        (void)snprintf(kept, sizeof kept, "kept%d", i);
        copy_file(&world, kept, names[i]);
    }
    world_close(&world);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    CHECK_EQ(stele_index_runs(world.index), 4);
    CHECK(!world_has_holes(&world));
    world_check(&world);
    world_deinit(&world);
}

TEST(a_run_that_is_gone_or_damaged_is_a_hole)
{
    for (int which = 0; which < 3; which++) {
        for (int damaged = 0; damaged < 2; damaged++) {
            static struct world world;
            make_runs(&world, 5, 3);
            char name[STELE_FILE_NAME_MAX];
            memcpy(name, world.index->view->runs[which]->name, sizeof name);
            const uint64_t from = world.index->view->runs[which]->header.from;
            world_close(&world);
            if (damaged) {
                memio_damage(&world.disk, name, 60, 1);
            } else {
                memio_drop(&world.disk, name);
            }
            CHECK_EQ(world_open_index(&world, false), STELE_OK);
            /* A last run that is missing without a trace is simply not reached by the runs. */
            const bool known = which < 2 || damaged;
            CHECK_EQ(stele_index_runs_end(world.index), known ? world.end : from);
            CHECK_EQ(world_has_holes(&world), known);
            CHECK(memio_find(&world.disk, name) == NULL);
            CHECK_EQ(world_replay(&world), STELE_OK);
            world_check(&world);
            world_close(&world);
            reopen_and_heal(&world);
            CHECK_EQ(stele_index_hole_bytes(world.index), 0);
            world_deinit(&world);
        }
    }
}

TEST(a_long_tail_can_be_made_a_hole)
{
    static struct world world;
    make_runs(&world, 6, 2);
    append(&world, 100);
    world_close(&world);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    stele_index_add_hole(world.index, world.end);
    CHECK_EQ(stele_index_runs_end(world.index), world.end);
    CHECK(world_has_holes(&world));
    world_check(&world);
    while (world_has_holes(&world)) {
        CHECK_EQ(world_fill(&world, 700), STELE_OK);
    }
    append(&world, 20);
    world_check(&world);
    world_deinit(&world);
}

TEST(what_was_installed_survives_a_power_cut)
{
    static struct world world;
    make_runs(&world, 8, 3);
    world_close(&world);
    memio_crash(&world.disk, MEMIO_KEEP_NONE);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    CHECK_EQ(stele_index_runs(world.index), 3);
    CHECK_EQ(stele_index_runs_end(world.index), world.end);
    world_check(&world);
    append(&world, 30);
    CHECK_EQ(world_flush(&world), STELE_OK);
    CHECK_EQ(world_merge(&world), STELE_OK);
    world_close(&world);
    memio_crash(&world.disk, MEMIO_KEEP_NONE);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    CHECK_EQ(stele_index_runs(world.index), 1);
    CHECK_EQ(stele_index_runs_end(world.index), world.end);
    world_check(&world);
    CHECK(!world_has_holes(&world));
    world_deinit(&world);
}

/* A life in which the n-th call is the last before the power is cut. */
static bool live_until(struct world *world, uint64_t n)
{
    world->disk.calls = 0;
    world->disk.fail_at = n;
    world->disk.fail_sticky = true;
    int outcome = STELE_OK;
    for (int run = 0; run < 5 && outcome == STELE_OK; run++) {
        append(world, 25);
        outcome = world_flush(world);
    }
    if (outcome == STELE_OK) {
        outcome = world_merge(world);
    }
    if (outcome == STELE_OK) {
        append(world, 10);
        stele_index_drop_run(world->index, world->index->view->runs[0]->name);
        outcome = world_fill(world, 1000);
    }
    if (outcome == STELE_OK) {
        outcome = world_flush(world);
    }
    const bool failed = world->disk.failures > 0;
    world->disk.fail_at = 0;
    world->disk.fail_sticky = false;
    return failed;
}

TEST(the_power_may_be_cut_at_any_call)
{
    static const int kinds[] = {MEMIO_KEEP_NONE, MEMIO_KEEP_ALL, MEMIO_KEEP_RANDOM,
                                MEMIO_KEEP_RANDOM};
    for (size_t kind = 0; kind < STELE_COUNT_OF(kinds); kind++) {
        bool failed = true;
        for (uint64_t n = 1; failed; n++) {
            static struct world world;
            world_init(&world, 7 + kind, UINT64_MAX);
            CHECK_EQ(world_open_index(&world, false), STELE_OK);
            failed = live_until(&world, n);
            world_close(&world);
            memio_crash(&world.disk, kinds[kind]);
            reopen_and_heal(&world);
            world_deinit(&world);
        }
    }
}
