/* Whatever call fails, nothing that was acknowledged is lost, nothing is doubled, an append of
 * unknown outcome is there whole or not at all, and the store opens again.
 *
 * Method: the life of life.h again and again; the first call to the disk fails, then the second,
 * and so on until none is left that fails; once, and from there on for ever; with an input/output
 * error and with a full disk. Then the power is cut (any part of what was not synced stays), and
 * everything is checked. The same for allocations. Nobody lists the calls here, so one that is added
 * to the code is under test the day it is added.
 *
 * Under a slow sanitizer STELE_SWEEP_STRIDE=n fails only every n-th; STELE_SWEEP_SEED draws other
 * power cuts, and STELE_CRASH_IMAGES says how many. */
#include "life.h"

#define STRIDE 1

/* A full disk refuses to write; it does not refuse to read. Space is promised to a file when it is
 * made, but not every file system keeps that promise: those that copy on write, or are thinly
 * provisioned, find out when bytes are written, or even later. */
#define FILLS_UP (MEMIO_CREATE | MEMIO_RENAME | MEMIO_SYNC_NAMES)
#define FILLS_UP_LATE (FILLS_UP | MEMIO_WRITE | MEMIO_SYNC)

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static uint64_t stride(void)
{
    return from_environment("STELE_SWEEP_STRIDE", STRIDE);
}

static uint64_t first(void)
{
    return 1 + from_environment("STELE_SWEEP_SEED", 0) % stride();
}

/* One life in which call number n fails. Returns whether there was such a call. */
static bool fail_io(uint64_t n, bool sticky, int outcome, uint32_t calls, int keep, bool compress)
{
    static struct life life;
    life_init(&life, n, compress);
    life.disk.fail_at = n;
    life.disk.fail_sticky = sticky;
    life.disk.fail_outcome = outcome;
    life.disk.fail_mask = calls;
    life_run(&life);
    const bool failed = life.disk.failures > 0;
    life.disk.fail_at = 0;
    life.disk.fail_sticky = false;
    stele_store_close(life.store);
    life.store = NULL;
    memio_crash(&life.disk, keep);
    life_check(&life);
    life_deinit(&life);
    return failed;
}

static void sweep_io(bool sticky, int outcome, uint32_t calls, int keep, bool compress)
{
    /* Few calls make files: all of them fail in turn. */
    const uint64_t step = calls == FILLS_UP ? 1 : stride();
    uint64_t n = calls == FILLS_UP ? 1 : first();
    uint64_t lives = 0;
    for (; fail_io(n, sticky, outcome, calls, keep, compress); n += step) {
        lives++;
    }
    (void)printf("# %llu lives, %llu calls each\n", (unsigned long long)lives,
                 (unsigned long long)n);
    CHECK(lives > 20);
}

TEST(no_failed_call_to_the_disk_loses_anything)
{
    sweep_io(false, STELE_E_IO, MEMIO_ALL, MEMIO_KEEP_RANDOM, false);
}

TEST(no_disk_that_is_dead_from_some_call_on_loses_anything)
{
    sweep_io(true, STELE_E_IO, MEMIO_ALL, MEMIO_KEEP_RANDOM, true);
}

TEST(no_failed_call_loses_anything_when_nothing_unsynced_survives)
{
    sweep_io(false, STELE_E_IO, MEMIO_ALL, MEMIO_KEEP_NONE, true);
}

TEST(a_full_disk_loses_nothing)
{
    sweep_io(false, STELE_E_NO_SPACE, FILLS_UP, MEMIO_KEEP_RANDOM, false);
    sweep_io(true, STELE_E_NO_SPACE, FILLS_UP, MEMIO_KEEP_RANDOM, false);
}

TEST(a_disk_that_finds_out_late_that_it_is_full_loses_nothing)
{
    sweep_io(false, STELE_E_NO_SPACE, FILLS_UP_LATE, MEMIO_KEEP_RANDOM, true);
    sweep_io(true, STELE_E_NO_SPACE, FILLS_UP_LATE, MEMIO_KEEP_RANDOM, false);
}

static bool fail_memory(uint64_t n, bool sticky)
{
    static struct life life;
    life_init(&life, n, false);
    life.alloc.fail_at = n;
    life.alloc.fail_sticky = sticky;
    life_run(&life);
    const bool failed = life.alloc.failures > 0;
    life.alloc.fail_at = 0;
    life.alloc.fail_sticky = false;
    stele_store_close(life.store);
    life.store = NULL;
    memio_crash(&life.disk, MEMIO_KEEP_RANDOM);
    life_check(&life);
    life_deinit(&life);
    return failed;
}

TEST(no_failed_allocation_loses_anything)
{
    uint64_t n = first();
    uint64_t lives = 0;
    for (; fail_memory(n, false); n += stride()) {
        lives++;
    }
    (void)printf("# %llu lives, %llu allocations each\n", (unsigned long long)lives,
                 (unsigned long long)n);
    CHECK(lives > 20);
}

TEST(no_end_of_memory_loses_anything)
{
    uint64_t n = first();
    while (fail_memory(n, true)) {
        n += stride();
    }
}

static uint64_t calls_of_a_life(void)
{
    static struct life life;
    life_init(&life, 0, false);
    life_run(&life);
    const uint64_t calls = life.disk.calls;
    CHECK(!life.over);
    life_deinit(&life);
    return calls;
}

/* Crash images: the power is cut at a random call of the life (that call fails, and all after it do),
 * and a random part of what was not synced survives. */
TEST(five_thousand_power_cuts_lose_nothing)
{
    static struct life life;
    const uint64_t calls = calls_of_a_life();
    uint64_t cut_short = 0;
    uint64_t rounds = 0;
    const uint64_t seed = from_environment("STELE_SWEEP_SEED", 1);
    const uint64_t wanted = from_environment("STELE_CRASH_IMAGES", 5000);
    uint64_t images = 0;
    for (uint64_t round = 0; images < wanted; round++, rounds++) {
        life_init(&life, seed * 1000003 + round, round % 2 == 0);
        life.disk.fail_sticky = true;
        life.disk.fail_at = 1 + (round * 7919 + seed * 104729) % calls;
        life_run(&life);
        cut_short += life.disk.failures > 0 ? 1 : 0;
        life.disk.fail_at = 0;
        life.disk.fail_sticky = false;
        stele_store_close(life.store);
        life.store = NULL;
        /* Many images of the same moment. */
        for (int i = 0; i < 10; i++, images++) {
            static struct life image;
            image = life;
            memio_copy(&life.disk, &image.disk);
            testalloc_init(&image.alloc, images);
            image.disk.io.alloc = &image.alloc.base;
            rng_init(&image.disk.rng, seed * 31 + images, 0);
            memio_crash(&image.disk, MEMIO_KEEP_RANDOM);
            life_check(&image);
            life_deinit(&image);
        }
        life_deinit(&life);
    }
    (void)printf("# %llu images of %llu lives\n", (unsigned long long)images,
                 (unsigned long long)rounds);
    /* Not at the end of its life, where little is under way. */
    CHECK(cut_short * 10 >= rounds * 9);
}
