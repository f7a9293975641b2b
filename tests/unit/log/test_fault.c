/* Every call to the disk and every allocation fails once, and once for good, during a life of the
 * log: append, roll, mark, close, open, read, scan, pack. Whatever happens, what was acknowledged
 * is there afterwards, nothing leaks and nothing is served that is not right. */
#include "world.h"

static void ignore_damage(void *context, const struct stele_log_damage *damage)
{
    (void)context;
    (void)damage;
}

/* Reads all that is durable, in every way; what fails fails with one of the outcomes that may. */
static void try_reading(struct world *world)
{
    struct stele_log_reader reader;
    world_reader(world, &reader);
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, 0);
    struct stele_event events[8];
    uint64_t places[8];
    size_t count = 0;
    size_t next = 0;
    int outcome = STELE_OK;
    while ((outcome = stele_log_scan(&reader, &cursor, events, places, 8, &count)) == STELE_OK) {
        for (size_t index = 0; index < count; index++) {
            CHECK_EQ(places[index], world->events[next].place);
            world_check_event(&world->events[next++], &events[index]);
        }
    }
    CHECK(outcome == STELE_END || outcome == STELE_E_NO_MEMORY);
    uint64_t place = UINT64_MAX;
    while ((outcome = stele_log_frame_before(&reader, place, &place)) == STELE_OK) {
    }
    CHECK(outcome == STELE_END || outcome == STELE_E_NO_MEMORY);
    for (size_t index = 0; index < next; index += 5) {
        outcome = stele_log_read(&reader, world->events[index].place, &events[0]);
        CHECK(outcome == STELE_OK || outcome == STELE_E_NO_MEMORY);
        outcome = stele_log_seek(&reader, world->events[index].position, &cursor);
        CHECK(outcome == STELE_OK || outcome == STELE_E_NO_MEMORY);
    }
    struct stele_log_chain chain = {0};
    outcome = stele_log_chain_extend(&reader, &chain, UINT64_MAX, UINT64_MAX, NULL, 0, NULL,
                                     ignore_damage, NULL, &world->err);
    CHECK(outcome == STELE_END || outcome == STELE_E_NO_MEMORY);
    world_reader_end(&reader);
}

static void try_packing(struct world *world)
{
    uint64_t base = 0;
    uint64_t size = 0;
    struct stele_log_reader reader;
    world_reader(world, &reader);
    int outcome = stele_log_sealed_next(reader.view, 0, &base, &size);
    struct stele_log_pack_result result = {0};
    if (outcome == STELE_OK) {
        outcome = stele_log_pack(&reader, base, NULL, NULL, true, NULL, NULL, &result, &world->err);
    }
    world_reader_end(&reader);
    if (outcome == STELE_OK && result.changed) {
        (void)(stele_log_install_packed(world->log, base, &world->err) == STELE_OK);
    }
}

/* Returns the number of events that were acknowledged. */
static size_t live(struct world *world)
{
    size_t acked = world->count;
    if (world_try_open(world, 0) != STELE_OK) {
        CHECK(world->log == NULL);
        return acked;
    }
    /* Events of an earlier life that were not acknowledged may be there or not. */
    world->count = (size_t)stele_log_events(world->log);
    CHECK(world->count >= acked);
    for (int round = 0; round < 12; round++) {
        const int outcome = world_try_append(world, (uint16_t)(1 + round % 2), 3, 450);
        stele_log_check(world->log);
        acked = 0;
        while (acked < world->count && world->events[acked].place < stele_log_durable(world->log)) {
            acked++;
        }
        CHECK(outcome != STELE_OK || acked == world->count);
        uint64_t spare = 0;
        if (stele_log_wants_spare(world->log, &spare) &&
            stele_log_make_spare(&world->disk.io, spare, &world->err) == STELE_OK) {
            stele_log_have_spare(world->log, spare);
        }
    }
    struct stele_log_mark mark;
    stele_log_get_mark(world->log, &mark);
    (void)(stele_log_put_mark(&world->disk.io, &mark, &world->err) == STELE_OK);
    const size_t staged = world->count;
    world->count = acked;
    try_reading(world);
    try_packing(world);
    try_reading(world);
    world->count = staged;
    world_close(world);
    return acked;
}

/* Lives once without faults, so that there is something to open, then once with. */
static bool one_case(uint64_t disk_at, uint64_t alloc_at, bool sticky, int keep)
{
    struct world *const world = world_create(8192, 16384);
    world->count = live(world);
    rng_init(&world->disk.rng, disk_at + alloc_at * 1000, (uint64_t)keep);
    world->disk.calls = 0;
    world->disk.fail_at = disk_at;
    world->disk.fail_sticky = sticky;
    world->alloc.fail_at = alloc_at == 0 ? 0 : world->alloc.calls + alloc_at;
    world->alloc.fail_sticky = sticky;
    const size_t acked = live(world);
    const bool failed = world->disk.failures > 0 || world->alloc.failures > 0;
    world->disk.fail_at = 0;
    world->alloc.fail_at = 0;
    memio_kill(&world->disk);
    if (keep >= 0) {
        memio_crash(&world->disk, keep);
    }
    world_open(world);
    const size_t events = (size_t)stele_log_events(world->log);
    CHECK(events >= acked);
    CHECK(events <= world->count);
    world->count = events;
    world->position = events == 0 ? 0 : world->events[events - 1].position;
    world_check_scan(world, events, 8);
    world_check_reads(world, events);
    world_append(world, 1, 1, 3000);
    world_check_scan(world, events + 1, 8);
    CHECK_EQ(world->log->mark_sequence <= 3, 1);
    world_destroy(world);
    return failed;
}

TEST(every_call_to_the_disk_may_fail)
{
    for (int sticky = 0; sticky < 2; sticky++) {
        bool failed = true;
        for (uint64_t at = 1; failed; at++) {
            failed = one_case(at, 0, sticky == 1, (int)(at % 4) - 1);
        }
    }
}

TEST(every_allocation_may_fail)
{
    for (int sticky = 0; sticky < 2; sticky++) {
        bool failed = true;
        for (uint64_t at = 1; failed; at++) {
            failed = one_case(0, at, sticky == 1, (int)(at % 4) - 1);
        }
    }
}

TEST(appending_allocates_nothing_once_it_is_warm)
{
    struct world *const world = world_create(1 << 20, 1 << 20);
    world_open(world);
    for (int round = 0; round < 20; round++) {
        world_append(world, 2, 4, 100);
    }
    const uint64_t calls = world->alloc.calls;
    for (int round = 0; round < 300; round++) {
        world_append(world, 2, 4, 100);
    }
    CHECK_EQ(world->alloc.calls, calls);
    CHECK_EQ(stele_log_segments(world->log), 1);
    world_destroy(world);
}
