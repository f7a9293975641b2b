/* Whatever is done to an index in whatever order, it answers as plain arrays do; where a hole hides
 * the answer it says so, and filling the hole brings the answer back.
 *
 * Method: random histories of appending, flushing, merging, dropping runs, filling holes, reopening
 * and scavenging, with everything asked in between. Once with good hashes, once with hashes of
 * three bits, where all names collide. */
#include "world.h"

#define STEPS 120

static void append_some(struct world *world)
{
    for (uint64_t n = rng_below(&world->rng, 30); n > 0; n--) {
        const struct world_event *event = world_new_event(world);
        int outcome = world_index_event(world, event);
        while (outcome == STELE_INCOMPLETE) {
            CHECK_EQ(world_fill(world, UINT64_MAX), STELE_OK);
            outcome = world_index_event(world, event);
        }
        CHECK_EQ(outcome, STELE_OK);
    }
}

static void drop_some(struct world *world)
{
    const uint32_t runs = stele_index_runs(world->index);
    if (runs > 0) {
        char name[STELE_FILE_NAME_MAX];
        memcpy(name, world->index->view->runs[rng_below(&world->rng, runs)]->name, sizeof name);
        stele_index_drop_run(world->index, name);
        CHECK(memio_find(&world->disk, name) == NULL);
    }
}

static void reopen(struct world *world)
{
    world_close(world);
    CHECK_EQ(world_open_index(world, false), STELE_OK);
    int outcome = world_replay(world);
    while (outcome == STELE_INCOMPLETE) {
        /* As the store does: names that lie in a hole cannot be continued before it is filled. */
        world_close(world);
        CHECK_EQ(world_open_index(world, false), STELE_OK);
        while (world_has_holes(world)) {
            CHECK_EQ(world_fill(world, UINT64_MAX), STELE_OK);
        }
        outcome = world_replay(world);
    }
    CHECK_EQ(outcome, STELE_OK);
}

/* Takes the event out of the log. What the index knows of it may stay. */
static void scavenge_some(struct world *world)
{
    const uint64_t durable = stele_index_runs_end(world->index);
    for (uint32_t i = 0; i < world->count; i++) {
        if (world->events[i].place < durable && rng_one_in(&world->rng, 50) &&
            !world->events[i].tombstone) {
            world->events[i].scavenged = true;
        }
    }
}

static void step(struct world *world, bool scavenge)
{
    switch (rng_below(&world->rng, 12)) {
    case 0:
    case 1:
    case 2:
    case 3:
        append_some(world);
        break;
    case 4:
    case 5:
    case 6: {
        const int outcome = world_flush(world);
        CHECK(outcome == STELE_OK || outcome == STELE_NOT_FOUND);
        break;
    }
    case 7: {
        const int outcome = world_merge(world);
        CHECK(outcome == STELE_OK || outcome == STELE_NOT_FOUND);
        break;
    }
    case 8:
        drop_some(world);
        break;
    case 9: {
        const int outcome = world_fill(world, 8 + rng_below(&world->rng, 4000));
        CHECK(outcome == STELE_OK || outcome == STELE_NOT_FOUND);
        break;
    }
    case 10:
        if (rng_one_in(&world->rng, 4)) {
            reopen(world);
        }
        break;
    default:
        if (scavenge) {
            scavenge_some(world);
        }
        break;
    }
}

static void live(uint64_t seed, uint64_t hash_mask, bool scavenge)
{
    static struct world world;
    world_init(&world, seed, hash_mask);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    for (int i = 0; i < STEPS; i++) {
        step(&world, scavenge);
        if (i % 5 == 0) {
            world_check(&world);
        }
    }
    while (world_has_holes(&world)) {
        CHECK_EQ(world_fill(&world, 1000), STELE_OK);
    }
    world_check(&world);
    CHECK_EQ(world_merge(&world) <= STELE_NOT_FOUND, 1);
    world_check(&world);
    uint64_t entries = 0;
    struct stele_index_view *view = stele_index_view_acquire(world.index);
    CHECK_EQ(stele_index_verify(view, NULL, NULL, &entries, NULL), STELE_OK);
    stele_index_view_release(view);
    world_deinit(&world);
    CHECK_EQ(world.disk.open_count, 0);
}

TEST(random_histories_answer_as_arrays_do)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        live(seed, UINT64_MAX, false);
    }
}

TEST(names_and_ids_that_collide_are_told_apart)
{
    for (uint64_t seed = 100; seed < 108; seed++) {
        live(seed, UINT64_C(0x8000000000010001), false);
        live(seed, 0, false);
    }
}

TEST(scavenged_events_leave_gaps_and_nothing_else)
{
    for (uint64_t seed = 200; seed < 212; seed++) {
        live(seed, UINT64_MAX, true);
    }
}

/* Some events cannot be read when a run is made again, but later they can: the runs behind it were
 * numbered without them. */
TEST(events_that_come_back_are_numbered_again)
{
    for (uint64_t seed = 300; seed < 310; seed++) {
        static struct world world;
        world_init(&world, seed, UINT64_MAX);
        CHECK_EQ(world_open_index(&world, false), STELE_OK);
        for (int run = 0; run < 3; run++) {
            for (int i = 0; i < 40; i++) {
                CHECK_EQ(world_index_event(&world, world_new_event(&world)), STELE_OK);
            }
            CHECK_EQ(world_flush(&world), STELE_OK);
        }
        scavenge_some(&world);
        for (int run = 0; run < 3; run++) {
            stele_index_drop_run(world.index, world.index->view->runs[run]->name);
            CHECK_EQ(world_fill(&world, UINT64_MAX), STELE_OK);
        }
        world_check(&world);
        for (uint32_t i = 0; i < 40; i++) {
            world.events[i].scavenged = false;
        }
        stele_index_drop_run(world.index, world.index->view->runs[0]->name);
        while (world_has_holes(&world)) {
            CHECK_EQ(world_fill(&world, UINT64_MAX), STELE_OK);
        }
        world_check(&world);
        world_deinit(&world);
    }
}

/* ---- Several jobs at once ---- */

#define JOBS_MAX 4

struct pending {
    struct stele_index_job *job; /* NULL: none. */
    int outcome;                 /* Of running it; STELE_E_CLOSED while it was not run. */
};

static void begin_job(struct world *world, struct pending *pending)
{
    uint64_t from = 0;
    uint64_t to = 0;
    int outcome = STELE_OK;
    pending->outcome = STELE_E_CLOSED;
    switch (rng_below(&world->rng, 3)) {
    case 0:
        outcome = stele_index_flush_begin(world->index, world->end, &pending->job);
        break;
    case 1:
        outcome = stele_index_merge_begin(world->index, &pending->job);
        break;
    default:
        outcome = stele_index_fill_begin(world->index, rng_below(&world->rng, 3000), &from, &to,
                                         &pending->job);
        if (outcome == STELE_OK) {
            CHECK_EQ(world_fill_piece(world, pending->job, from, to), STELE_OK);
        }
        break;
    }
    CHECK(outcome == STELE_OK || outcome == STELE_NOT_FOUND);
}

static void go_on_with_job(struct world *world, struct pending *pending)
{
    if (pending->job == NULL) {
        begin_job(world, pending);
    } else if (pending->outcome == STELE_E_CLOSED && !rng_one_in(&world->rng, 5)) {
        pending->outcome = stele_index_job_run(pending->job, NULL, NULL, NULL);
        CHECK_EQ(pending->outcome, STELE_OK);
    } else {
        const int outcome = stele_index_job_end(world->index, pending->job, pending->outcome, NULL);
        /* A merge whose runs were dropped meanwhile is forgotten. */
        CHECK(outcome == pending->outcome || outcome == STELE_NOT_FOUND);
        pending->job = NULL;
    }
}

/* New events whose names do not lie in a hole. */
static void append_what_can_be(struct world *world)
{
    for (int i = 0; i < 10 && !world_has_holes(world); i++) {
        CHECK_EQ(world_index_event(world, world_new_event(world)), STELE_OK);
    }
}

TEST(jobs_may_overlap_and_end_in_any_order)
{
    for (uint64_t seed = 400; seed < 412; seed++) {
        static struct world world;
        struct pending pending[JOBS_MAX] = {{.job = NULL}};
        world_init(&world, seed, UINT64_MAX);
        CHECK_EQ(world_open_index(&world, false), STELE_OK);
        for (int i = 0; i < 600; i++) {
            go_on_with_job(&world, &pending[rng_below(&world.rng, JOBS_MAX)]);
            if (rng_one_in(&world.rng, 2)) {
                append_what_can_be(&world);
            }
            if (rng_one_in(&world.rng, 30)) {
                drop_some(&world);
            }
            if (i % 15 == 0) {
                world_check(&world);
            }
        }
        for (int i = 0; i < JOBS_MAX; i++) {
            if (pending[i].job != NULL) {
                CHECK(stele_index_job_end(world.index, pending[i].job, STELE_E_CLOSED, NULL) ==
                      STELE_E_CLOSED);
            }
        }
        while (world_has_holes(&world)) {
            CHECK_EQ(world_fill(&world, 1000), STELE_OK);
        }
        world_check(&world);
        CHECK_EQ(world.disk.names.count, stele_index_runs(world.index));
        world_deinit(&world);
    }
}
