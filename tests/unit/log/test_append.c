/* What was appended is there, in order, also after closing and opening: across rolls, with groups
 * of frames, with several groups in flight. */
#include "world.h"

TEST(an_empty_log_has_nothing_and_opens_again)
{
    struct world *const world = world_create(16384, 65536);
    for (int round = 0; round < 3; round++) {
        world_open(world);
        CHECK_EQ(stele_log_end(world->log), 0);
        CHECK_EQ(stele_log_events(world->log), 0);
        CHECK_EQ(stele_log_position(world->log), 0);
        world_check_scan(world, 0, 8);
        world_close(world);
    }
    world_destroy(world);
}

TEST(events_come_back_in_order_across_segments_and_openings)
{
    struct world *const world = world_create(16384, 65536);
    world_open(world);
    for (uint32_t round = 0; round < 300; round++) {
        world_append(world, (uint16_t)(1 + round % 4), 1 + round % 7, round % 200);
    }
    CHECK(stele_log_segments(world->log) > 5);
    CHECK_EQ(stele_log_events(world->log), world->count);
    CHECK_EQ(stele_log_position(world->log), world->position);
    CHECK_EQ(stele_log_position_durable(world->log), world->position);
    for (size_t batch = 1; batch <= 64; batch += 7) {
        world_check_scan(world, world->count, batch);
    }
    world_check_reads(world, world->count);
    const uint64_t end = stele_log_end(world->log);
    const struct stele_log_partition partition = *stele_log_partition(world->log, 2);
    world_close(world);

    world_open(world);
    CHECK_EQ(stele_log_end(world->log), end);
    CHECK_EQ(stele_log_durable(world->log), end);
    CHECK_EQ(stele_log_events(world->log), world->count);
    CHECK_EQ(stele_log_position(world->log), world->position);
    CHECK_EQ(stele_log_partition(world->log, 2)->index, partition.index);
    CHECK(partition.index > 100);
    CHECK_EQ(world->told_last, world->count - 1);
    world_check_scan(world, world->count, 64);
    world_append(world, 2, 3, 50);
    world_check_scan(world, world->count, 64);
    world_destroy(world);
}
