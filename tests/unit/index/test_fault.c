/* Whatever call or allocation fails, once or from then on: the failing operation says so, changes
 * nothing, leaves nothing behind, and works when it is tried again.
 *
 * Method: one life of an index (open, append, flush, merge, lose a run, fill, list, reopen), in
 * which the n-th call fails, for every n until none does. What fails is tried again after the
 * fault is over; at the end everything is asked. */
#include "world.h"

struct fault {
    bool in_memory; /* Allocations fail; else calls of the seam do. */
    bool sticky;    /* All from the n-th on, until the operation has been refused twice. */
    int outcome;
};

static void arm(struct world *world, const struct fault *fault, uint64_t n)
{
    if (fault->in_memory) {
        world->alloc.fail_at = world->alloc.calls + n;
        world->alloc.fail_sticky = fault->sticky;
    } else {
        world->disk.calls = 0;
        world->disk.fail_at = n;
        world->disk.fail_sticky = fault->sticky;
        world->disk.fail_outcome = fault->outcome;
    }
}

static uint64_t failures(const struct world *world)
{
    return world->alloc.failures + world->disk.failures;
}

static void disarm(struct world *world)
{
    world->alloc.fail_at = 0;
    world->alloc.fail_sticky = false;
    world->disk.fail_at = 0;
    world->disk.fail_sticky = false;
}

/* One operation: fails only if a fault was injected, and then works when it is over. */
static void must(struct world *world, const struct fault *fault,
                 int (*operation)(struct world *world))
{
    int outcome = operation(world);
    for (int again = 0; again < 2 && outcome != STELE_OK; again++) {
        CHECK(failures(world) > 0);
        CHECK(outcome == fault->outcome);
        if (world->index != NULL) {
            stele_index_check(world->index);
        }
        if (again == 1) {
            disarm(world);
        }
        outcome = operation(world);
    }
    if (outcome != STELE_OK) {
        CHECK_EQ(outcome, fault->outcome);
        disarm(world);
        outcome = operation(world);
    }
    CHECK_EQ(outcome, STELE_OK);
}

static int op_open(struct world *world)
{
    return world_open_index(world, false);
}

static int op_replay(struct world *world)
{
    return world_replay(world);
}

static int op_flush(struct world *world)
{
    return world_flush(world);
}

static int op_merge(struct world *world)
{
    return world_merge(world);
}

static int op_fill(struct world *world)
{
    while (world_has_holes(world)) {
        const int outcome = world_fill(world, 1500);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

static int op_list(struct world *world)
{
    const struct stele_bytes none = {.data = NULL, .size = 0};
    struct stele_index_lister *lister = NULL;
    const int outcome =
        stele_index_list_begin(world->index, 0, stele_bytes_of_text("s"), none, &lister);
    if (outcome == STELE_OK) {
        stele_index_list_end(lister);
    }
    return outcome;
}

/* The last event of the world goes into the index. */
static int op_index(struct world *world)
{
    return world_index_event(world, &world->events[world->count - 1]);
}

static void live(struct world *world, const struct fault *fault, uint64_t n)
{
    arm(world, fault, n);
    must(world, fault, op_open);
    for (int run = 0; run < 4; run++) {
        for (int i = 0; i < 25; i++) {
            (void)world_new_event(world);
            must(world, fault, op_index);
        }
        must(world, fault, op_flush);
    }
    char name[STELE_FILE_NAME_MAX];
    memcpy(name, world->index->view->runs[1]->name, sizeof name);
    stele_index_drop_run(world->index, name); /* Cannot fail; may do nothing. */
    must(world, fault, op_fill);
    if (stele_index_runs(world->index) >= 4) {
        must(world, fault, op_merge);
    }
    must(world, fault, op_list);
    world_close(world);
    must(world, fault, op_open);
    must(world, fault, op_replay);
}

/* Only whole runs may be left, and those that are known. */
static void check_files(struct world *world)
{
    CHECK_EQ(world->disk.open_count, stele_index_runs(world->index));
    CHECK_EQ(world->disk.names.count, stele_index_runs(world->index));
}

static void sweep(struct fault fault)
{
    for (uint64_t n = 1;; n++) {
        static struct world world;
        world_init(&world, 21, UINT64_MAX);
        live(&world, &fault, n);
        disarm(&world);
        const bool failed = failures(&world) > 0;
        world_check(&world);
        /* What could not be removed then is removed now. */
        world_close(&world);
        CHECK_EQ(world_open_index(&world, false), STELE_OK);
        CHECK_EQ(world_replay(&world), STELE_OK);
        check_files(&world);
        world_check(&world);
        world_deinit(&world);
        CHECK_EQ(world.disk.open_count, 0);
        if (!failed) {
            CHECK(n > 50);
            break;
        }
    }
}

TEST(any_allocation_may_fail)
{
    sweep((struct fault){.in_memory = true, .outcome = STELE_E_NO_MEMORY});
}

TEST(all_allocations_may_fail_for_a_while)
{
    sweep((struct fault){.in_memory = true, .sticky = true, .outcome = STELE_E_NO_MEMORY});
}

TEST(any_call_of_the_seam_may_fail)
{
    sweep((struct fault){.outcome = STELE_E_IO});
    sweep((struct fault){.outcome = STELE_E_NO_SPACE});
}

TEST(all_calls_of_the_seam_may_fail_for_a_while)
{
    sweep((struct fault){.sticky = true, .outcome = STELE_E_IO});
}

TEST(a_full_disk_leaves_what_was_there)
{
    static struct world world;
    world_init(&world, 22, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    for (int i = 0; i < 300; i++) {
        CHECK_EQ(world_index_event(&world, world_new_event(&world)), STELE_OK);
        if (i % 50 == 49) {
            world.disk.space = i == 249 ? 4096 : UINT64_MAX;
            CHECK_EQ(world_flush(&world), i == 249 ? STELE_E_NO_SPACE : STELE_OK);
            world_check(&world);
        }
    }
    world_check(&world);
    world_deinit(&world);
}
