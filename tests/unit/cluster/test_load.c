/* What nodes plan by is what they have seen: averages that follow a change within minutes and no second of haste, bytes that
 * add up to what the store has, and nothing that overflows.
 *
 * Method: a clock that is turned by hand; loads that are known exactly; random ones up to the limits of the numbers. */
#include "base/status.h"
#include "cluster/load.h"
#include "lib/check.h"
#include "lib/rng.h"

#define SECOND INT64_C(1000000)

static struct stele_load load, other;
static uint64_t bytes[STELE_PARTITIONS_MAX], rates[STELE_PARTITIONS_MAX];
static uint8_t encoded[STELE_LOAD_ENCODED_MAX];
static int64_t now_us;

static void set_up(uint32_t partitions)
{
    stele_load_init(&load, partitions);
    now_us = 77 * SECOND;
    stele_load_tick(&load, now_us);
}

/* So many appends of 100 bytes a second, of partition 1. */
static void run(unsigned seconds, unsigned appends)
{
    for (unsigned i = 0; i < seconds; i++) {
        for (unsigned k = 0; k < appends; k++) {
            stele_load_add(&load, 1, 100);
        }
        now_us += SECOND;
        stele_load_tick(&load, now_us);
    }
}

TEST(an_average_is_told_after_a_minute_and_is_what_was_done)
{
    set_up(4);
    run(59, 50);
    CHECK_EQ(stele_load_appends(&load, 1), 0);
    CHECK_EQ(stele_load_rate(&load, 1), 0);
    run(1, 50);
    CHECK_EQ(stele_load_appends(&load, 1), 50);
    CHECK_EQ(stele_load_rate(&load, 1), 5000);
    CHECK_EQ(stele_load_appends(&load, 0), 0);
    run(1000, 50);
    CHECK(stele_load_appends(&load, 1) >= 49 && stele_load_appends(&load, 1) <= 50);
    CHECK_EQ(load.of[1].bytes, UINT64_C(1060) * 50 * 100);
}

TEST(a_change_counts_little_at_first_and_wholly_in_the_end)
{
    set_up(4);
    run(600, 100);
    run(10, 0);
    CHECK(stele_load_appends(&load, 1) >= 95);
    run(290, 0);
    CHECK(stele_load_appends(&load, 1) >= 30 && stele_load_appends(&load, 1) <= 40);
    run(1500, 0);
    CHECK_EQ(stele_load_appends(&load, 1), 0);
}

TEST(how_often_the_clock_is_asked_and_whether_it_stands_does_not_matter)
{
    set_up(2);
    for (unsigned i = 0; i < 400; i++) {
        stele_load_add(&load, 1, 1000);
        now_us += SECOND / 4;
        stele_load_tick(&load, now_us);
        stele_load_tick(&load, now_us);
        stele_load_tick(&load, now_us - SECOND); /* A clock that goes back is not followed. */
    }
    CHECK_EQ(stele_load_appends(&load, 1), 4);
    CHECK_EQ(stele_load_rate(&load, 1), 4000);
    /* A node that stood still for an hour knows an hour without anything. */
    now_us += 3600 * SECOND;
    stele_load_tick(&load, now_us);
    CHECK_EQ(stele_load_appends(&load, 1), 0);
}

static uint64_t sum_of(uint64_t stored)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < load.partitions; i++) {
        sum += stele_load_bytes(&load, i, stored);
    }
    return sum;
}

TEST(bytes_add_up_to_what_the_store_has)
{
    set_up(4);
    stele_load_copied(&load, 0, 3000);
    stele_load_copied(&load, 1, 1000);
    CHECK_EQ(stele_load_bytes(&load, 0, 4000), 3000);
    CHECK_EQ(stele_load_bytes(&load, 0, 0), 3000);
    /* Four thousand came before anybody counted. */
    CHECK_EQ(stele_load_bytes(&load, 0, 8000), 4000);
    CHECK_EQ(stele_load_bytes(&load, 3, 8000), 1000);
    /* Half of it was scavenged. */
    CHECK_EQ(stele_load_bytes(&load, 0, 2000), 1500);
    CHECK_EQ(stele_load_bytes(&load, 1, 2000), 500);
    CHECK_EQ(stele_load_appends(&load, 0), 0);
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 1);
        set_up((uint32_t)rng_between(&rng, 1, 40));
        for (uint32_t i = 0; i < load.partitions; i++) {
            stele_load_copied(&load, i, rng_log(&rng, 1, UINT64_C(1) << 44));
        }
        const uint64_t stored = rng_log(&rng, 1, UINT64_C(1) << 44);
        CHECK(sum_of(stored) <= stored);
        CHECK(sum_of(stored) + load.partitions + stored / 10000 >= stored);
    }
}

TEST(nothing_overflows_and_no_weight_is_zero)
{
    set_up(STELE_PARTITIONS_MAX);
    for (unsigned second = 0; second < 100; second++) {
        for (uint32_t i = 0; i < STELE_PARTITIONS_MAX; i += 3) {
            stele_load_add(&load, i, UINT64_C(1) << 50);
            stele_load_add(&load, i, UINT32_MAX / 3);
        }
        now_us += SECOND;
        stele_load_tick(&load, now_us);
    }
    stele_load_weights(&load, UINT64_MAX / 2, bytes, rates);
    for (uint32_t i = 0; i < STELE_PARTITIONS_MAX; i++) {
        CHECK(bytes[i] >= STELE_LOAD_FLOOR_BYTES && bytes[i] < UINT64_MAX / 2);
        CHECK(rates[i] >= STELE_LOAD_FLOOR_RATE && rates[i] < UINT64_C(1) << 40);
        CHECK(i % 3 == 0 || (rates[i] == STELE_LOAD_FLOOR_RATE));
    }
}

TEST(small_partitions_weigh_nearly_the_same)
{
    set_up(16);
    stele_load_copied(&load, 3, 1 << 20);
    stele_load_weights(&load, 1 << 20, bytes, rates);
    CHECK(bytes[3] * 100 <= bytes[4] * 107);
    CHECK_EQ(rates[3], rates[4]);
}

TEST(the_next_start_knows_the_bytes_and_no_damage_is_believed)
{
    set_up(9);
    for (uint32_t i = 0; i < 9; i++) {
        stele_load_add(&load, i, UINT64_C(1000000007) * i);
    }
    const size_t size = stele_load_encode(&load, encoded);
    CHECK_EQ(size, 16 + 9 * 8);
    stele_load_init(&other, 9);
    CHECK_EQ(stele_load_decode(&other, (struct stele_bytes){.data = encoded, .size = size}),
             STELE_OK);
    for (uint32_t i = 0; i < 9; i++) {
        CHECK_EQ(other.of[i].bytes, load.of[i].bytes);
    }
    const struct stele_load before = other;
    for (size_t cut = 0; cut < size; cut++) {
        CHECK_EQ(stele_load_decode(&other, (struct stele_bytes){.data = encoded, .size = cut}),
                 STELE_E_CORRUPT);
    }
    for (size_t bit = 0; bit < 8 * size; bit++) {
        encoded[bit / 8] ^= (uint8_t)(1 << bit % 8);
        const int outcome =
            stele_load_decode(&other, (struct stele_bytes){.data = encoded, .size = size});
        CHECK(outcome == STELE_E_CORRUPT ||
              (bit >= 8 && bit < 64)); /* Zeros, for later versions. */
        encoded[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK(memcmp(&before, &other, sizeof before) == 0);
    stele_load_init(&other, 8);
    CHECK_EQ(stele_load_decode(&other, (struct stele_bytes){.data = encoded, .size = size}),
             STELE_E_CORRUPT);
}
