/* A reading process beside a writing one sees the same, whatever runs appear and vanish.
 *
 * Method: two indexes on one disk. The reader indexes events itself, as it sees them in the log,
 * and takes up runs now and then; the writer flushes, merges and drops as it likes. */
#include "world.h"

struct pair {
    struct world world; /* Its index is the writer's, except while the reader is asked. */
    struct stele_index *reader;
    uint32_t seen; /* Events that the reader has indexed. */
};

static void swap(struct pair *pair)
{
    struct stele_index *kept = pair->world.index;
    pair->world.index = pair->reader;
    pair->reader = kept;
    pair->world.options.read_only = !pair->world.options.read_only;
}

static void open_pair(struct pair *pair, uint64_t seed)
{
    world_init(&pair->world, seed, UINT64_MAX);
    CHECK_EQ(world_open_index(&pair->world, true), STELE_OK);
    pair->reader = pair->world.index;
    CHECK_EQ(world_open_index(&pair->world, false), STELE_OK);
    pair->seen = 0;
}

/* The reader indexes what is new; false if a hole prevents it (a real one reads the log then). */
static bool follow(struct pair *pair)
{
    for (; pair->seen < pair->world.count; pair->seen++) {
        const int outcome = world_index_event(&pair->world, &pair->world.events[pair->seen]);
        if (outcome != STELE_OK) {
            CHECK_EQ(outcome, STELE_INCOMPLETE);
            return false;
        }
    }
    return true;
}

/* The reader starts anew, as it does when it cannot go on. */
static void restart(struct pair *pair)
{
    world_close(&pair->world);
    CHECK_EQ(world_open_index(&pair->world, true), STELE_OK);
    if (!world_has_holes(&pair->world)) {
        CHECK_EQ(world_replay(&pair->world), STELE_OK);
        pair->seen = pair->world.count;
    }
}

static void read_something(struct pair *pair)
{
    swap(pair);
    struct world *world = &pair->world;
    if (!rng_one_in(&world->rng, 3)) {
        CHECK_EQ(stele_index_refresh(world->index, world->end, NULL), STELE_OK);
    }
    if (!world_has_holes(world) && pair->seen < world->count && !follow(pair)) {
        restart(pair);
    }
    if (pair->seen == world->count) {
        world_check(world);
    }
    swap(pair);
}

static void write_something(struct pair *pair)
{
    struct world *world = &pair->world;
    switch (rng_below(&world->rng, 6)) {
    case 0:
    case 1:
        for (int i = 0; i < 20; i++) {
            CHECK_EQ(world_index_event(world, world_new_event(world)), STELE_OK);
        }
        break;
    case 2:
    case 3:
        CHECK(world_flush(world) <= STELE_NOT_FOUND);
        break;
    case 4:
        CHECK(world_merge(world) <= STELE_NOT_FOUND);
        break;
    default:
        if (stele_index_runs(world->index) > 0 && rng_one_in(&world->rng, 3)) {
            stele_index_drop_run(world->index, world->index->view->runs[0]->name);
            while (world_has_holes(world)) {
                CHECK_EQ(world_fill(world, 3000), STELE_OK);
            }
        }
        break;
    }
}

TEST(a_reader_sees_what_the_writer_sees)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        static struct pair pair;
        open_pair(&pair, seed);
        for (int i = 0; i < 250; i++) {
            write_something(&pair);
            read_something(&pair);
        }
        CHECK(stele_index_runs(pair.reader) > 0);
        stele_index_close(pair.reader);
        world_deinit(&pair.world);
    }
}

TEST(memory_does_not_grow_with_what_runs_have)
{
    static struct pair pair;
    open_pair(&pair, 9);
    uint64_t memory_max = 0;
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < 20; k++) {
            CHECK_EQ(world_index_event(&pair.world, world_new_event(&pair.world)), STELE_OK);
        }
        CHECK_EQ(world_flush(&pair.world), STELE_OK);
        swap(&pair);
        CHECK(follow(&pair));
        CHECK_EQ(stele_index_refresh(pair.world.index, pair.world.end, NULL), STELE_OK);
        CHECK_EQ(stele_index_active_span(pair.world.index), 0);
        const uint64_t memory = stele_index_memory(pair.world.index);
        memory_max = memory > memory_max ? memory : memory_max;
        swap(&pair);
    }
    CHECK(memory_max <= 100000);
    stele_index_close(pair.reader);
    world_deinit(&pair.world);
}

/* Between two steps of the writer, or of somebody who repairs the directory, files may be missing.
 * What is open already is good enough until they are back. */
TEST(what_the_reader_has_is_not_given_up_for_less)
{
    for (int missing = 0; missing < 3; missing++) {
        static struct pair pair;
        open_pair(&pair, 10);
        for (int run = 0; run < 3; run++) {
            for (int i = 0; i < 20; i++) {
                CHECK_EQ(world_index_event(&pair.world, world_new_event(&pair.world)), STELE_OK);
            }
            CHECK_EQ(world_flush(&pair.world), STELE_OK);
        }
        swap(&pair);
        CHECK_EQ(stele_index_refresh(pair.world.index, pair.world.end, NULL), STELE_OK);
        pair.seen = pair.world.count;
        memio_drop(&pair.world.disk, pair.world.index->view->runs[missing]->name);
        CHECK_EQ(stele_index_refresh(pair.world.index, pair.world.end, NULL), STELE_OK);
        CHECK_EQ(stele_index_runs(pair.world.index), 3);
        CHECK(!world_has_holes(&pair.world));
        world_check(&pair.world);
        stele_index_close(pair.reader);
        world_deinit(&pair.world);
    }
}

TEST(a_refresh_that_fails_changes_nothing)
{
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        static struct pair pair;
        open_pair(&pair, 11);
        for (int i = 0; i < 60; i++) {
            CHECK_EQ(world_index_event(&pair.world, world_new_event(&pair.world)), STELE_OK);
            if (i == 20 || i == 40) {
                CHECK_EQ(world_flush(&pair.world), STELE_OK);
            }
        }
        swap(&pair);
        CHECK(follow(&pair));
        struct testalloc *alloc = &pair.world.alloc;
        const uint64_t memory = stele_index_memory(pair.world.index);
        alloc->fail_at = alloc->calls + n;
        const int outcome = stele_index_refresh(pair.world.index, pair.world.end, NULL);
        failed = alloc->failures > 0;
        alloc->fail_at = 0;
        CHECK_EQ(outcome, failed ? STELE_E_NO_MEMORY : STELE_OK);
        CHECK_EQ(stele_index_runs(pair.world.index), failed ? 0 : 2);
        CHECK_EQ(stele_index_memory(pair.world.index) == memory, failed);
        world_check(&pair.world);
        CHECK_EQ(stele_index_refresh(pair.world.index, pair.world.end, NULL), STELE_OK);
        world_check(&pair.world);
        stele_index_close(pair.reader);
        world_deinit(&pair.world);
    }
}

/* A reader that began with a log from which something had been scavenged counts less than the
 * writer, whose memory is older than the scavenging. Taking up the writer's run, it must count on
 * where that ends: between run and memory nothing may be skipped or come twice. */
TEST(what_is_left_in_memory_is_numbered_behind_the_runs)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        static struct pair pair;
        open_pair(&pair, seed);
        struct world *world = &pair.world;
        for (int i = 0; i < 60; i++) {
            CHECK_EQ(world_index_event(world, world_new_event(world)), STELE_OK);
        }
        const uint64_t flushed = world->end;
        struct stele_index_job *job = NULL;
        CHECK_EQ(stele_index_flush_begin(world->index, flushed, &job), STELE_OK);
        for (int i = 0; i < 40; i++) {
            CHECK_EQ(world_index_event(world, world_new_event(world)), STELE_OK);
        }
        swap(&pair);
        for (uint32_t i = 0; i < world->count; i++) {
            const struct world_event *event = &world->events[i];
            const bool last = event->revision + 1 == world->next_revision[event->name[0]];
            if (event->place >= flushed || last || !rng_one_in(&world->rng, 3)) {
                CHECK_EQ(world_index_event(world, event), STELE_OK);
            }
        }
        swap(&pair);
        CHECK_EQ(world_end_job(world, job), STELE_OK);
        swap(&pair);
        const uint64_t numbering = stele_index_numbering(world->index);
        CHECK_EQ(stele_index_refresh(world->index, world->end, NULL), STELE_OK);
        CHECK(stele_index_numbering(world->index) > numbering);
        CHECK_EQ(stele_index_runs_end(world->index), flushed);
        world_check(world);
        /* Nothing new: nothing changes. */
        const uint64_t after = stele_index_numbering(world->index);
        CHECK_EQ(stele_index_refresh(world->index, world->end, NULL), STELE_OK);
        CHECK_EQ(stele_index_numbering(world->index), after);
        stele_index_close(pair.reader);
        world_deinit(world);
    }
}

/* A run that vanishes between being listed and being opened: the seam of the reader lets the
 * writer merge at that moment. */
struct racing_io {
    struct stele_io io; /* First. */
    struct stele_io_ops ops;
    struct stele_io *inner;
    struct world *world;
    int races_left;
};

static int racing_list(struct stele_io *io, stele_io_name_callback on_name, void *context,
                       struct stele_error *err)
{
    struct racing_io *racing = (struct racing_io *)io;
    const int outcome = racing->inner->ops->list(racing->inner, on_name, context, err);
    if (racing->races_left > 0) {
        racing->races_left--;
        struct world *world = racing->world;
        for (int run = 0; run < 4; run++) {
            CHECK_EQ(world_index_event(world, world_new_event(world)), STELE_OK);
            CHECK_EQ(world_flush(world), STELE_OK);
            (void)world_merge(world);
        }
    }
    return outcome;
}

static int racing_open(struct stele_io *io, const char *name, bool writable,
                       struct stele_file **out_file, struct stele_error *err)
{
    const struct racing_io *racing = (struct racing_io *)io;
    return racing->inner->ops->open(racing->inner, name, writable, out_file, err);
}

TEST(runs_may_vanish_between_list_and_open)
{
    for (int races = 1; races < 12; races++) {
        static struct world world;
        world_init(&world, 31, UINT64_MAX);
        CHECK_EQ(world_open_index(&world, false), STELE_OK);
        for (int run = 0; run < 4; run++) {
            CHECK_EQ(world_index_event(&world, world_new_event(&world)), STELE_OK);
            CHECK_EQ(world_flush(&world), STELE_OK);
        }
        struct racing_io racing = {.io = world.disk.io,
                                   .ops = *world.disk.io.ops,
                                   .inner = &world.disk.io,
                                   .world = &world,
                                   .races_left = races};
        racing.ops.list = racing_list;
        racing.ops.open = racing_open;
        racing.io.ops = &racing.ops;
        struct stele_index_options options = world.options;
        options.read_only = true;
        struct stele_index *reader = NULL;
        CHECK_EQ(stele_index_open(&racing.io, &options, WORLD_LOG_START, UINT64_MAX & ~UINT64_C(7),
                                  &reader, NULL),
                 STELE_OK);
        if (races < 8) {
            CHECK_EQ(stele_index_hole_bytes(reader), 0);
            CHECK_EQ(stele_index_runs_end(reader), world.end);
        }
        /* Bounded: a writer that never rests does not keep it for ever; the next look helps. */
        racing.races_left = 0;
        CHECK_EQ(stele_index_refresh(reader, world.end, NULL), STELE_OK);
        CHECK_EQ(stele_index_hole_bytes(reader), 0);
        CHECK_EQ(stele_index_runs_end(reader), world.end);
        stele_index_close(reader);
        world_deinit(&world);
    }
}
