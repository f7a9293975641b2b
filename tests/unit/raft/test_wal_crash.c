/* What was durable survives every power cut, whatever else of the writes and names does, and
 * nothing that was not put is ever told.
 *
 * Method: the same work is done again and again, and the process dies inside the 1st, 2nd, … call
 * that changes or reads the disk, until it does not die any more. Each time the power is cut in one
 * of five ways (sectors of 512 bytes are kept or lost on their own), the log is opened, compared
 * with the list of what was put, used, and opened again. Dying inside of that opening is part of it. */
#include "lib/simdisk.h"
#include "wal_world.h"

struct life {
    struct simdisk disk;
    struct world *world;
    struct rng rng;
    uint64_t durable; /* As far as the log has ever said. */
    uint64_t trimmed; /* Nothing below was needed. */
    struct stele_wal_group out[4];
    uint32_t out_count;
};

static void note_durable(struct life *life)
{
    const uint64_t durable = stele_wal_durable(life->world->wal);
    life->durable = durable > life->durable ? durable : life->durable;
}

static void take_one(struct life *life)
{
    struct stele_wal_group group;
    if (!stele_wal_take(life->world->wal, &group)) {
        return;
    }
    const int outcome = group.file->io->ops->write(group.file, group.offset, group.bytes, NULL);
    if (outcome != STELE_OK) {
        stele_wal_done(life->world->wal, group.id, outcome);
        return;
    }
    life->out[life->out_count++] = group;
}

static void finish_one(struct life *life)
{
    if (life->out_count == 0) {
        return;
    }
    const uint64_t pick = rng_below(&life->rng, life->out_count);
    const struct stele_wal_group group = life->out[pick];
    life->out[pick] = life->out[--life->out_count];
    struct simdisk_sync *const sync =
        simdisk_sync_range_begin(group.file, group.offset, group.bytes.size);
    stele_wal_done(life->world->wal, group.id, simdisk_sync_end(sync, NULL));
    note_durable(life);
}

static uint32_t draw_size(struct life *life)
{
    const uint64_t draw = rng_below(&life->rng, 100);
    if (draw < 60) {
        return (uint32_t)rng_below(&life->rng, 200);
    }
    if (draw < 97) {
        return (uint32_t)rng_below(&life->rng, 3000);
    }
    return draw < 99 ? 40000 : 70000;
}

static void trim(struct life *life)
{
    struct world *const world = life->world;
    const uint64_t start = stele_wal_start(world->wal);
    const uint64_t durable = stele_wal_durable(world->wal);
    const uint64_t place = start + (durable - start) * rng_below(&life->rng, 101) / 100;
    life->trimmed = place > life->trimmed ? place : life->trimmed;
    (void)!stele_wal_trim(world->wal, place, &world->err);
    note_durable(life);
}

/* true: goes on. */
static bool work(struct life *life, uint32_t steps)
{
    struct world *const world = life->world;
    for (uint32_t step = 0; step < steps; step++) {
        const uint64_t draw = rng_below(&life->rng, 100);
        if (draw < 50) {
            (void)world_put(world, draw_size(life));
        } else if (draw < 72) {
            take_one(life);
        } else if (draw < 94) {
            finish_one(life);
        } else if (draw < 97) {
            stele_wal_mark(world->wal);
        } else {
            trim(life);
        }
        stele_wal_check(world->wal);
        if (life->disk.dead || stele_wal_is_fenced(world->wal)) {
            return false;
        }
    }
    while (stele_wal_has_staged(world->wal) || life->out_count > 0) {
        take_one(life);
        finish_one(life);
        if (stele_wal_is_fenced(world->wal)) {
            return false;
        }
    }
    CHECK_EQ(life->durable, stele_wal_end(world->wal));
    return true;
}

static void check_opened(struct life *life)
{
    struct world *const world = life->world;
    const uint64_t end = stele_wal_end(world->wal);
    CHECK(end >= life->durable);
    CHECK_EQ(end, stele_wal_durable(world->wal));
    /* What was told is checked on the way; it has to begin before what was needed … */
    const uint64_t start = stele_wal_start(world->wal);
    CHECK(start <= life->trimmed || world->count == 0 || life->trimmed == 0);
    CHECK(world->told == 0 || world->records[world->told_first].place == start);
    if (world->told == 0) {
        CHECK_EQ(start, end);
    } else {
        /* … and to end where the log ends. */
        const struct world_record *const last =
            &world->records[world->told_first + world->told - 1];
        CHECK_EQ(last->place + stele_wal__record_size(last->size), end);
    }
    size_t count = 0;
    while (count < world->count && world->records[count].place < end) {
        count++;
    }
    world->count = count;
    life->durable = end;
    /* Looking does not count. */
    const struct simdisk_faults faults = life->disk.faults;
    const uint64_t die_after = life->disk.die_after;
    life->disk.faults = (struct simdisk_faults){0};
    life->disk.die_after = 0;
    world_check_reads(world);
    life->disk.faults = faults;
    life->disk.die_after = die_after;
}

static void end_process(struct life *life)
{
    life->out_count = 0;
    world_close(life->world);
}

static void begin(struct life *life, uint64_t seed)
{
    simdisk_init(&life->disk, seed, NULL);
    life->world = world_create(&life->disk.io, 65536);
    rng_init(&life->rng, seed, 7);
    life->durable = 0;
    life->trimmed = 0;
    life->out_count = 0;
}

static void finish(struct life *life)
{
    world_destroy(life->world);
    simdisk_deinit(&life->disk);
}

/* Opens until it does not die any more; it dies after so many calls the first time. */
static void open_dying(struct life *life, uint64_t die_after, bool power)
{
    struct world *const world = life->world;
    life->disk.die_after = die_after;
    while (world_try_open(world) != STELE_OK || life->disk.dead) {
        if (!life->disk.dead) {
            CHECK_OK(world->err.outcome, world->err); /* Prints why. */
        }
        world_close(world);
        if (power) {
            simdisk_power_cut(&life->disk, (enum simdisk_keep)rng_below(&life->rng, SIMDISK_KEEPS));
        } else {
            simdisk_restart(&life->disk);
        }
    }
    life->disk.die_after = 0;
    check_opened(life);
}

/* One life that ends inside call number die_after. false: it did not come to that. */
static bool live(uint64_t seed, uint64_t die_after, uint64_t die_after_again,
                 enum simdisk_keep keep, bool power)
{
    static struct life life;
    begin(&life, seed);
    bool died = true;
    life.disk.die_after = die_after;
    if (world_try_open(life.world) == STELE_OK) {
        if (work(&life, 120)) {
            end_process(&life);
            if (world_try_open(life.world) == STELE_OK) {
                check_opened(&life);
                died = !work(&life, 60);
            }
        }
    }
    end_process(&life);
    died = died && life.disk.dead;
    if (power) {
        simdisk_power_cut(&life.disk, keep);
    } else {
        simdisk_restart(&life.disk);
    }
    life.disk.die_after = 0;
    open_dying(&life, die_after_again, power);
    CHECK(work(&life, 40));
    end_process(&life);
    if (power) {
        simdisk_power_cut(&life.disk, SIMDISK_KEEP_NOTHING);
    } else {
        simdisk_restart(&life.disk);
    }
    open_dying(&life, 0, power);
    finish(&life);
    return died;
}

#define SEEDS 6

TEST(durable_records_survive_every_power_cut)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        bool died = true;
        uint64_t calls = 0;
        while (died) {
            calls++;
            died = false;
            for (int keep = 0; keep < SIMDISK_KEEPS; keep++) {
                died |=
                    live(seed, calls, (calls + (uint64_t)keep) % 40, (enum simdisk_keep)keep, true);
            }
        }
        CHECK(calls > 50);
    }
}

TEST(durable_records_survive_every_death_of_the_process)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t calls = 1;
        while (live(seed, calls, calls % 40, SIMDISK_KEEP_ALL, false)) {
            calls++;
        }
        CHECK(calls > 50);
    }
}

/* Errors instead of deaths: the log fences itself, or says why it does not open. What follows is
 * a power cut, or a new process that finds what a failed sync has left in the cache. */
TEST(durable_records_survive_every_failing_call)
{
    static struct life life;
    uint64_t refused = 0;
    uint64_t failed = 0;
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        begin(&life, seed);
        const uint32_t one_in = (uint32_t)rng_between(&life.rng, 5, 60);
        life.disk.faults.write_error = rng_percent(&life.rng, 50) ? one_in : 0;
        life.disk.faults.sync_error = rng_percent(&life.rng, 50) ? one_in : 0;
        life.disk.faults.name_error = rng_percent(&life.rng, 30) ? one_in : 0;
        life.disk.faults.read_error = rng_percent(&life.rng, 20) ? one_in * 4 : 0;
        life.disk.faults.no_space = rng_percent(&life.rng, 30) ? one_in : 0;
        life.disk.faults.writeback = life.disk.faults.sync_error == 0 ? 10 : 0;
        for (int round = 0; round < 4; round++) {
            const int outcome = world_try_open(life.world);
            if (outcome == STELE_OK) {
                check_opened(&life);
                failed += work(&life, 60) ? 0 : 1;
                end_process(&life);
            } else {
                CHECK(outcome == STELE_E_IO || outcome == STELE_E_NO_SPACE);
                refused++;
            }
            if (rng_percent(&life.rng, 50)) {
                simdisk_power_cut(&life.disk,
                                  (enum simdisk_keep)rng_below(&life.rng, SIMDISK_KEEPS));
            } else {
                simdisk_restart(&life.disk);
            }
        }
        life.disk.faults = (struct simdisk_faults){0};
        simdisk_power_cut(&life.disk, (enum simdisk_keep)rng_below(&life.rng, SIMDISK_KEEPS));
        open_dying(&life, 0, true);
        CHECK(work(&life, 40));
        end_process(&life);
        open_dying(&life, 0, true);
        finish(&life);
    }
    CHECK(refused > 100);
    CHECK(failed > 100);
}
