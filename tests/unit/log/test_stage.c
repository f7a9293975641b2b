/* Groups in flight: any order of their ends, and one that fails. */
#include "world.h"

static const struct stele_log_group *staged(struct world *world, struct stele_log_group *group,
                                            uint32_t events)
{
    CHECK_EQ(world_stage(world, 1, events, 30), STELE_OK);
    CHECK(stele_log_has_staged(world->log));
    CHECK(stele_log_take(world->log, group));
    CHECK(!stele_log_has_staged(world->log));
    return group;
}

TEST(durable_grows_over_the_finished_prefix_in_every_order)
{
    static const int orders[24][4] = {
        {0, 1, 2, 3}, {0, 1, 3, 2}, {0, 2, 1, 3}, {0, 2, 3, 1}, {0, 3, 1, 2}, {0, 3, 2, 1},
        {1, 0, 2, 3}, {1, 0, 3, 2}, {1, 2, 0, 3}, {1, 2, 3, 0}, {1, 3, 0, 2}, {1, 3, 2, 0},
        {2, 0, 1, 3}, {2, 0, 3, 1}, {2, 1, 0, 3}, {2, 1, 3, 0}, {2, 3, 0, 1}, {2, 3, 1, 0},
        {3, 0, 1, 2}, {3, 0, 2, 1}, {3, 1, 0, 2}, {3, 1, 2, 0}, {3, 2, 0, 1}, {3, 2, 1, 0}};
    struct world *const world = world_create(1 << 20, 1 << 20);
    world_open(world);
    for (int order = 0; order < 24; order++) {
        struct stele_log_group groups[4];
        const uint64_t before = stele_log_durable(world->log);
        for (uint32_t index = 0; index < 4; index++) {
            (void)staged(world, &groups[index], index + 1);
            CHECK_EQ(groups[index].offset,
                     4096 + groups[index].place_end - groups[index].bytes.size);
        }
        CHECK_EQ(stele_log_in_flight(world->log), 4);
        CHECK_EQ(world_stage(world, 1, 1, 30), STELE_OK);
        struct stele_log_group fifth;
        CHECK(!stele_log_take(world->log, &fifth));
        bool finished[4] = {false};
        for (int step = 0; step < 4; step++) {
            const int index = orders[order][step];
            CHECK_EQ(world_write(world, &groups[index]), STELE_OK);
            stele_log_done(world->log, groups[index].id, STELE_OK);
            stele_log_check(world->log);
            finished[index] = true;
            uint64_t want = before;
            for (int at = 0; at < 4 && finished[at]; at++) {
                want = groups[at].place_end;
            }
            CHECK_EQ(stele_log_durable(world->log), want);
            CHECK_EQ(stele_log_in_flight(world->log), 3 - step);
        }
        CHECK_EQ(world_flush(world), STELE_OK);
        CHECK_EQ(stele_log_durable(world->log), stele_log_end(world->log));
    }
    world_check_scan(world, world->count, 8);
    world_destroy(world);
}

TEST(what_is_not_durable_yet_can_be_looked_at)
{
    struct world *const world = world_create(1 << 20, 1 << 20);
    world_open(world);
    for (int round = 0; round < 20; round++) {
        struct stele_log_group groups[4];
        const size_t first = world->count;
        for (uint32_t index = 0; index < 3; index++) {
            (void)staged(world, &groups[index], index + 1);
        }
        CHECK_EQ(world_stage(world, 1, 3, 30), STELE_OK);
        /* The second has ended: it waits for the first, and can still be looked at. */
        stele_log_done(world->log, groups[1].id, world_write(world, &groups[1]));
        for (size_t index = first; index < world->count; index++) {
            const struct stele_bytes bytes =
                stele_log_staged(world->log, world->events[index].place);
            struct stele_event event;
            size_t size = 0;
            CHECK_EQ(stele_record_decode(bytes, &event, &size), STELE_OK);
            world_check_event(&world->events[index], &event);
        }
        stele_log_done(world->log, groups[2].id, world_write(world, &groups[2]));
        stele_log_done(world->log, groups[0].id, world_write(world, &groups[0]));
        CHECK_EQ(world_flush(world), STELE_OK);
    }
    world_destroy(world);
}

TEST(a_group_that_fails_fences_the_log_for_good)
{
    for (int bad = 0; bad < 4; bad++) {
        struct world *const world = world_create(1 << 20, 1 << 20);
        world_open(world);
        world_append(world, 1, 1, 1);
        struct stele_log_group groups[4];
        for (uint32_t index = 0; index < 4; index++) {
            (void)staged(world, &groups[index], 1);
        }
        CHECK_EQ(world_stage(world, 1, 1, 30), STELE_OK);
        uint64_t durable = stele_log_durable(world->log);
        for (int index = 0; index < 4; index++) {
            const int outcome = index == bad ? STELE_E_IO : world_write(world, &groups[index]);
            stele_log_done(world->log, groups[index].id, outcome);
            stele_log_check(world->log);
            durable = index < bad ? groups[index].place_end : durable;
            CHECK_EQ(stele_log_durable(world->log), durable);
            CHECK_EQ(stele_log_is_fenced(world->log), index >= bad);
        }
        struct stele_log_group group;
        uint64_t size = 0;
        CHECK(!stele_log_take(world->log, &group));
        CHECK(!stele_log_wants_spare(world->log, &size));
        CHECK_EQ(world_stage(world, 1, 1, 30), STELE_E_FENCED);
        CHECK_EQ(stele_log_roll(world->log, 100, &world->err), STELE_E_FENCED);
        CHECK_EQ(stele_log_in_flight(world->log), 0);
        /* What nobody knows can still be looked at, and what is known can be read. */
        CHECK(stele_log_staged(world->log, world->events[world->count - 1].place).size > 0);
        world_check_scan(world, 1 + (size_t)bad, 8);
        world_close(world);
        world_open(world);
        CHECK(stele_log_events(world->log) >= 1 + (uint64_t)bad);
        world_destroy(world);
    }
}

TEST(a_huge_append_does_not_keep_its_buffer)
{
    struct world *const world = world_create(65536, 65536);
    world_open(world);
    world_append(world, 1, 1, 10);
    const uint64_t before = world->alloc.bytes;
    world_append(world, 1, 1, 12 << 20);
    world_append(world, 1, 1, 10);
    CHECK(world->alloc.bytes < before + (1 << 20));
    world_check_scan(world, world->count, 4);
    world_destroy(world);
}
