/* The clock only goes forward, stays at the wall clock as far as it can, and takes from others
 * only what is plausible.
 *
 * Method: the laws one by one at their edges, then seeded walks in which the wall clock jumps
 * about and remote ticks come in, with every law checked after every step. */
#include "base/position.h"
#include "lib/check.h"
#include "lib/dies.h"
#include "lib/rng.h"

#define NOW_MS (STELE_EPOCH_MS + INT64_C(200000000000)) /* 2026 */
#define TICKS_PER_MS (UINT64_C(1) << STELE_POSITION_COUNTER_BITS)
#define LAST_MS (STELE_EPOCH_MS + (INT64_C(1) << 41) - 1)

static uint64_t take(struct stele_hlc *clock, int64_t now_ms, uint64_t count)
{
    uint64_t first = 0;
    CHECK_EQ(stele_hlc_take(clock, now_ms, count, &first), STELE_OK);
    CHECK_EQ(clock->tick, first + count - 1);
    return first;
}

TEST(positions_take_apart_into_what_they_were_made_of)
{
    static const uint64_t TICKS[] = {0, 1, 4095, 4096, STELE_TICK_MAX - 1, STELE_TICK_MAX};
    for (size_t i = 0; i < STELE_COUNT_OF(TICKS); i++) {
        for (uint32_t partition = 0; partition < STELE_PARTITIONS_MAX; partition += 93) {
            const uint64_t position = stele_position_make(TICKS[i], partition);
            CHECK_EQ(stele_position_tick(position), TICKS[i]);
            CHECK_EQ(stele_position_partition(position), partition);
            CHECK_EQ(position >> 63, 0);
        }
    }
    CHECK_EQ(stele_position_make(STELE_TICK_MAX, STELE_PARTITIONS_MAX - 1), INT64_MAX);
    CHECK_DIES((void)stele_position_make(STELE_TICK_MAX + 1, 0));
    CHECK_DIES((void)stele_position_make(0, STELE_PARTITIONS_MAX));
}

TEST(positions_sort_by_tick_before_partition)
{
    CHECK(stele_position_make(7, STELE_PARTITIONS_MAX - 1) < stele_position_make(8, 0));
    CHECK(stele_position_make(8, 0) < stele_position_make(8, 1));
}

TEST(ticks_of_times_begin_in_2020_and_end_in_2089)
{
    CHECK_EQ(stele_tick_of_ms(INT64_MIN), 0);
    CHECK_EQ(stele_tick_of_ms(0), 0);
    CHECK_EQ(stele_tick_of_ms(STELE_EPOCH_MS), 0);
    CHECK_EQ(stele_tick_of_ms(STELE_EPOCH_MS + 1), TICKS_PER_MS);
    CHECK_EQ(stele_tick_of_ms(LAST_MS), STELE_TICK_MAX - TICKS_PER_MS + 1);
    CHECK_EQ(stele_tick_of_ms(LAST_MS + 1), STELE_TICK_MAX);
    CHECK_EQ(stele_tick_of_ms(INT64_MAX), STELE_TICK_MAX);
}

TEST(the_first_tick_is_that_of_the_wall_clock)
{
    struct stele_hlc clock = {0};
    CHECK_EQ(take(&clock, NOW_MS, 1), stele_tick_of_ms(NOW_MS));
}

TEST(no_tick_is_given_out_twice_and_zero_never)
{
    struct stele_hlc clock = {0};
    CHECK_EQ(take(&clock, 0, 1), 1);
    CHECK_EQ(take(&clock, 0, 3), 2);
    CHECK_EQ(take(&clock, 0, 1), 5);
}

TEST(a_full_counter_spills_into_the_next_millisecond)
{
    struct stele_hlc clock = {0};
    const uint64_t now = stele_tick_of_ms(NOW_MS);
    CHECK_EQ(take(&clock, NOW_MS, TICKS_PER_MS), now);
    CHECK_EQ(take(&clock, NOW_MS, 1), now + TICKS_PER_MS);
    CHECK_EQ(clock.tick, stele_tick_of_ms(NOW_MS + 1));
    /* When the wall clock gets there, that millisecond goes on where the spill stopped. */
    CHECK_EQ(take(&clock, NOW_MS + 1, 1), now + TICKS_PER_MS + 1);
    /* And one later, the wall clock has caught up. */
    CHECK_EQ(take(&clock, NOW_MS + 2, 1), stele_tick_of_ms(NOW_MS + 2));
}

TEST(one_take_may_span_several_milliseconds)
{
    struct stele_hlc clock = {0};
    const uint64_t first = take(&clock, NOW_MS, 65536);
    CHECK_EQ(take(&clock, NOW_MS, 1), first + 65536);
    CHECK_EQ(clock.tick >> STELE_POSITION_COUNTER_BITS,
             (stele_tick_of_ms(NOW_MS) >> STELE_POSITION_COUNTER_BITS) + 16);
}

TEST(a_wall_clock_that_steps_back_is_ignored)
{
    struct stele_hlc clock = {0};
    const uint64_t first = take(&clock, NOW_MS, 1);
    static const int64_t BACK_MS[] = {1, 1000, 86400000, NOW_MS - STELE_EPOCH_MS, NOW_MS};
    for (size_t i = 0; i < STELE_COUNT_OF(BACK_MS); i++) {
        CHECK_EQ(take(&clock, NOW_MS - BACK_MS[i], 1), first + 1 + i);
    }
    CHECK_EQ(take(&clock, INT64_MIN, 1), first + 1 + STELE_COUNT_OF(BACK_MS));
}

TEST(what_was_seen_is_below_what_is_given_out)
{
    struct stele_hlc clock = {0};
    const uint64_t remote = stele_tick_of_ms(NOW_MS + 5) + 77;
    CHECK_EQ(stele_hlc_observe(&clock, NOW_MS, 10, remote), STELE_OK);
    CHECK_EQ(take(&clock, NOW_MS, 1), remote + 1);
    /* And an old one changes nothing. */
    CHECK_EQ(stele_hlc_observe(&clock, NOW_MS, 10, remote - 1000), STELE_OK);
    CHECK_EQ(clock.tick, remote + 1);
}

TEST(a_remote_clock_too_far_ahead_is_refused_and_leaves_no_trace)
{
    const int64_t ahead_ms = 500;
    const uint64_t bound = stele_tick_of_ms(NOW_MS + ahead_ms + 1); /* First that is too far. */
    static const uint64_t BEYOND[] = {0, 1, 4096, UINT64_C(1) << 40};
    for (size_t i = 0; i < STELE_COUNT_OF(BEYOND); i++) {
        struct stele_hlc clock = {.tick = 123};
        CHECK_EQ(stele_hlc_observe(&clock, NOW_MS, ahead_ms, bound + BEYOND[i]), STELE_E_INVALID);
        CHECK_EQ(clock.tick, 123);
    }
    struct stele_hlc clock = {.tick = 123};
    CHECK_EQ(stele_hlc_observe(&clock, NOW_MS, ahead_ms, bound - 1), STELE_OK);
    CHECK_EQ(clock.tick, bound - 1);
}

TEST(a_tick_of_more_than_53_bits_is_refused)
{
    struct stele_hlc clock = {.tick = 123};
    CHECK_EQ(stele_hlc_observe(&clock, NOW_MS, INT64_MAX, STELE_TICK_MAX + 1), STELE_E_INVALID);
    CHECK_EQ(stele_hlc_observe(&clock, NOW_MS, INT64_MAX, UINT64_MAX), STELE_E_INVALID);
    CHECK_EQ(clock.tick, 123);
    CHECK_EQ(stele_hlc_observe(&clock, NOW_MS, INT64_MAX, STELE_TICK_MAX), STELE_OK);
}

TEST(wild_wall_clocks_do_not_overflow)
{
    static const int64_t TIMES[] = {INT64_MIN, -1, 0, NOW_MS, LAST_MS, LAST_MS + 1, INT64_MAX};
    for (size_t i = 0; i < STELE_COUNT_OF(TIMES); i++) {
        struct stele_hlc clock = {.tick = 5};
        CHECK_EQ(stele_hlc_observe(&clock, TIMES[i], INT64_MAX, 9), STELE_OK);
        CHECK_EQ(stele_hlc_observe(&clock, TIMES[i], 0, 10), STELE_OK); /* 2020 is in the past. */
        CHECK_EQ(clock.tick, 10);
    }
}

TEST(the_last_tick_can_be_taken_and_none_after_it)
{
    struct stele_hlc clock = {.tick = STELE_TICK_MAX - 3};
    uint64_t first = 42;
    CHECK_EQ(stele_hlc_take(&clock, NOW_MS, 4, &first), STELE_E_LIMIT);
    CHECK_EQ(stele_hlc_take(&clock, NOW_MS, UINT64_MAX, &first), STELE_E_LIMIT);
    CHECK_EQ(clock.tick, STELE_TICK_MAX - 3);
    CHECK_EQ(first, 42);
    CHECK_EQ(take(&clock, NOW_MS, 3), STELE_TICK_MAX - 2);
    CHECK_EQ(stele_hlc_take(&clock, NOW_MS, 1, &first), STELE_E_LIMIT);
}

TEST(a_wall_clock_beyond_2089_does_not_use_up_the_ticks)
{
    struct stele_hlc clock = {0};
    uint64_t first = 42;
    CHECK_EQ(stele_hlc_take(&clock, LAST_MS + 1, 1, &first), STELE_E_LIMIT);
    CHECK_EQ(stele_hlc_take(&clock, INT64_MAX, 1, &first), STELE_E_LIMIT);
    CHECK_EQ(clock.tick, 0);
    CHECK_EQ(first, 42);
    CHECK_EQ(take(&clock, NOW_MS, 1), stele_tick_of_ms(NOW_MS));
    CHECK_EQ(take(&clock, LAST_MS, 1), stele_tick_of_ms(LAST_MS));
}

/* Two clocks with wall clocks of their own, which jump, and messages in between. */
TEST(walks_of_two_clocks_keep_every_law)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 0);
        struct stele_hlc clocks[2] = {{0}, {0}};
        int64_t now_ms[2] = {NOW_MS, NOW_MS};
        for (int step = 0; step < 300; step++) {
            const uint64_t a = rng_below(&rng, 2);
            now_ms[a] += (int64_t)rng_below(&rng, 20) - 5;
            const struct stele_hlc before = clocks[a];
            if (rng_one_in(&rng, 3)) {
                const uint64_t tick = clocks[1 - a].tick;
                const int outcome = stele_hlc_observe(&clocks[a], now_ms[a], 100, tick);
                const bool too_far = tick >= stele_tick_of_ms(now_ms[a] + 101);
                CHECK_EQ(outcome, too_far ? STELE_E_INVALID : STELE_OK);
                CHECK_EQ(clocks[a].tick, too_far || tick < before.tick ? before.tick : tick);
                continue;
            }
            const uint64_t first = take(&clocks[a], now_ms[a], rng_log(&rng, 1, 20000));
            const uint64_t wall = stele_tick_of_ms(now_ms[a]);
            CHECK(first > before.tick);
            CHECK(first >= wall);
            CHECK(first == wall || first == before.tick + 1);
        }
    }
}
