/* The merge hands commands out in the order of their stamps, and none too early.
 *
 * Method: random interleavings of adding, closing, taking and skipping, beside a model that knows
 * every command and looks through all of them each time. */
#include "base/position.h"
#include "cluster/merge.h"
#include "lib/check.h"
#include "lib/dies.h"
#include "lib/rng.h"
#include "lib/testalloc.h"

#include <stdlib.h>

#define PARTITIONS_MAX 8
#define COMMANDS_MAX 4096

struct model {
    uint32_t partitions;
    uint64_t closed[PARTITIONS_MAX];
    uint64_t waiting[COMMANDS_MAX]; /* Stamps, in no order; 0: gone. */
    size_t count;
    uint64_t done;
    uint64_t tick;
    uint64_t skipped;
};

static uint64_t lowest_closed(const struct model *model)
{
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = 0; i < model->partitions; i++) {
        lowest = model->closed[i] < lowest ? model->closed[i] : lowest;
    }
    return lowest;
}

static uint64_t *lowest_waiting(struct model *model)
{
    uint64_t *lowest = NULL;
    for (size_t i = 0; i < model->count; i++) {
        uint64_t *at = &model->waiting[i];
        if (*at != 0 && (lowest == NULL || *at < *lowest)) {
            lowest = at;
        }
    }
    return lowest;
}

static size_t count_waiting(const struct model *model)
{
    size_t count = 0;
    for (size_t i = 0; i < model->count; i++) {
        count += model->waiting[i] != 0;
    }
    return count;
}

/* A stamp that this partition may still get: above what is closed there, and above what was done. */
static uint64_t draw_stamp(struct model *model, struct rng *rng, uint32_t partition)
{
    uint64_t floor =
        model->closed[partition] > model->done ? model->closed[partition] : model->done;
    return stele_position_make(stele_position_tick(floor) + rng_between(rng, 1, 40), partition);
}

static void check_next(struct stele_merge *merge, struct model *model, struct testalloc *alloc)
{
    uint64_t *want = lowest_waiting(model);
    struct stele_ordered *got = stele_merge_next(merge);
    if (want == NULL || *want > lowest_closed(model)) { /* O2 */
        CHECK(got == NULL);
        return;
    }
    CHECK(got != NULL);
    CHECK_EQ(got->stamp, *want);
    CHECK(got->stamp > model->done); /* O1 */
    CHECK_EQ(got->size, 8);
    CHECK_EQ(stele_load_u64le(got->bytes), got->stamp);
    CHECK(got->next == NULL);
    model->done = *want;
    *want = 0;
    stele_ordered_release(&alloc->base, got);
}

static void on_skipped(void *context, struct stele_ordered *command)
{
    struct model *model = context;
    CHECK(command->own == model);
    uint64_t *want = lowest_waiting(model);
    CHECK(want != NULL);
    CHECK_EQ(command->stamp, *want);
    *want = 0;
    model->skipped++;
}

static void check_skip(struct stele_merge *merge, struct model *model, uint64_t stamp)
{
    const size_t before = count_waiting(model);
    size_t expected = 0;
    for (size_t i = 0; i < model->count; i++) {
        expected += model->waiting[i] != 0 && model->waiting[i] <= stamp;
    }
    const uint64_t skipped = model->skipped;
    stele_merge_skip(merge, stamp, on_skipped, model);
    CHECK_EQ(model->skipped - skipped, expected);
    CHECK_EQ(count_waiting(model), before - expected);
    model->done = stamp > model->done ? stamp : model->done;
}

static void compare(const struct stele_merge *merge, struct model *model)
{
    const uint64_t *first = lowest_waiting(model);
    stele_merge_check(merge);
    CHECK_EQ(stele_merge_first(merge), first == NULL ? UINT64_MAX : *first);
    for (uint32_t i = 0; i < model->partitions; i++) {
        CHECK_EQ(stele_merge_closed(merge, i), model->closed[i]);
    }
    uint32_t slowest = UINT32_MAX;
    CHECK_EQ(stele_merge_closed_all(merge, &slowest), lowest_closed(model));
    CHECK(slowest < model->partitions);
    CHECK_EQ(model->closed[slowest], lowest_closed(model));
    CHECK_EQ(stele_merge_done(merge), model->done);
    CHECK_EQ(stele_merge_waiting(merge), count_waiting(model));
    CHECK_EQ(stele_merge_waiting_size(merge), 8 * count_waiting(model));
}

static void add(struct stele_merge *merge, struct model *model, struct rng *rng,
                struct testalloc *alloc)
{
    const uint32_t partition = (uint32_t)rng_below(rng, model->partitions);
    const uint64_t stamp = draw_stamp(model, rng, partition);
    uint8_t bytes[8];
    stele_store_u64le(bytes, stamp);
    const bool fails = rng_one_in(rng, 20);
    alloc->fail_at = fails ? alloc->calls + 1 : 0;
    struct stele_ordered *command =
        stele_merge_add(merge, stamp, (struct stele_bytes){.data = bytes, .size = sizeof bytes});
    CHECK_EQ(command == NULL, fails);
    if (command != NULL) {
        command->own = model;
        model->closed[partition] = stamp; /* O3 */
        model->waiting[model->count++] = stamp;
    }
}

static void walk(uint64_t seed)
{
    struct testalloc alloc;
    testalloc_init(&alloc, seed);
    struct rng rng;
    rng_init(&rng, seed, 0);
    static struct model model;
    model = (struct model){.partitions = (uint32_t)rng_between(&rng, 1, PARTITIONS_MAX),
                           .done = rng_percent(&rng, 50) ? 0 : rng_below(&rng, 100000)};
    struct stele_merge *merge = NULL;
    CHECK_EQ(stele_merge_create(&alloc.base, model.partitions, model.done, &merge), STELE_OK);
    const uint64_t take_percent = rng_between(&rng, 10, 60);
    for (int step = 0; step < 1500; step++) {
        if (rng_percent(&rng, take_percent)) {
            check_next(merge, &model, &alloc);
        } else if (rng_percent(&rng, 60)) {
            add(merge, &model, &rng, &alloc);
        } else if (rng_percent(&rng, 95)) {
            const uint32_t partition = (uint32_t)rng_below(&rng, model.partitions);
            model.closed[partition] = draw_stamp(&model, &rng, partition);
            stele_merge_close(merge, partition, model.closed[partition]);
        } else {
            check_skip(merge, &model,
                       stele_position_make(stele_position_tick(model.done) + rng_below(&rng, 60),
                                           (uint32_t)rng_below(&rng, model.partitions)));
        }
        compare(merge, &model);
    }
    stele_merge_destroy(merge);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(commands_come_in_order_and_never_above_what_is_closed)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        walk(seed);
    }
}

TEST(one_partition_that_is_behind_holds_all)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_merge *merge = NULL;
    CHECK_EQ(stele_merge_create(&alloc.base, 3, 0, &merge), STELE_OK);
    const struct stele_bytes nothing = {.data = NULL, .size = 0};
    const uint64_t first = stele_position_make(10, 1);
    const uint64_t second = stele_position_make(11, 0);
    CHECK(stele_merge_add(merge, first, nothing) != NULL);
    CHECK(stele_merge_add(merge, second, nothing) != NULL);
    CHECK(stele_merge_next(merge) == NULL);
    stele_merge_close(merge, 2, stele_position_make(9, 2));
    CHECK(stele_merge_next(merge) == NULL);
    /* The same tick, and a higher partition: nothing can come before it any more. */
    stele_merge_close(merge, 2, stele_position_make(10, 2));
    struct stele_ordered *got = stele_merge_next(merge);
    CHECK(got != NULL);
    CHECK_EQ(got->stamp, first);
    stele_ordered_release(&alloc.base, got);
    CHECK(stele_merge_next(merge) == NULL);
    stele_merge_close(merge, 1, stele_position_make(12, 1));
    stele_merge_close(merge, 2, stele_position_make(12, 2));
    got = stele_merge_next(merge);
    CHECK(got != NULL);
    CHECK_EQ(got->stamp, second);
    stele_ordered_release(&alloc.base, got);
    stele_merge_destroy(merge);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(a_stamp_that_does_not_grow_is_a_mistake)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_merge *merge = NULL;
    CHECK_EQ(stele_merge_create(&alloc.base, 2, stele_position_make(5, 0), &merge), STELE_OK);
    const struct stele_bytes nothing = {.data = NULL, .size = 0};
    stele_merge_close(merge, 1, stele_position_make(7, 1));
    CHECK_DIES(stele_merge_close(merge, 1, stele_position_make(7, 1)));
    CHECK_DIES(stele_merge_close(merge, 2, stele_position_make(8, 1)));
    CHECK_DIES((void)stele_merge_add(merge, stele_position_make(6, 1), nothing));
    CHECK_DIES((void)stele_merge_add(merge, stele_position_make(5, 0), nothing));
    CHECK_DIES((void)stele_merge_add(merge, stele_position_make(9, 2), nothing));
    stele_merge_destroy(merge);
}

TEST(creating_fails_without_memory_and_leaves_nothing)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_merge *merge = NULL;
    for (uint64_t n = 1; n <= 3; n++) {
        alloc.fail_at = alloc.calls + n;
        CHECK_EQ(stele_merge_create(&alloc.base, 4, 0, &merge), STELE_E_NO_MEMORY);
        CHECK_EQ(alloc.bytes, 0);
    }
}
