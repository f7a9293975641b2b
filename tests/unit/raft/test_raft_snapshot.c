/* What a snapshot covers may leave the log; whoever needs it gets the snapshot instead.
 *
 * Method: a follower that is away while the log is cut; small logs that have to be trimmed all the time; restarts at
 * every point that matters. */
#include "nodes.h"

static struct nodes nodes;

static void start_all(uint64_t count, uint32_t groups_count, uint64_t seed, uint32_t trailing,
                      uint64_t wal_keep)
{
    nodes_init(&nodes, count, count, groups_count, seed);
    nodes.options.trailing = trailing;
    nodes.options.wal_keep = wal_keep;
    for (uint64_t i = 1; i <= count; i++) {
        node_start(&nodes.nodes[i]);
    }
}

/* Everything that was told has its effect elsewhere now. */
static void snapshot(struct node *node, uint32_t group)
{
    const size_t count = node->told_count[group];
    if (node->raft == NULL || count == 0) {
        return;
    }
    const struct told *const last = &node->told[group][count - 1];
    uint8_t data[16];
    stele_store_u64le(data, last->index * 1000);
    stele_store_u64le(data + 8, 0);
    struct stele_error err = {0};
    CHECK_EQ(stele_raft_snapshot(node->raft, group, last->index,
                                 (struct stele_bytes){data, sizeof data}, &err),
             STELE_OK);
}

TEST(a_follower_that_was_away_too_long_gets_a_snapshot)
{
    start_all(3, 1, 1, 5, 1 << 20);
    struct node *const leader = await_leader(&nodes, 0);
    nodes_run(&nodes, 20);
    struct node *const away = &nodes.nodes[leader->number == 1 ? 2 : 1];
    nodes.cut = UINT64_C(1) << away->number;
    uint64_t index = 0;
    for (uint64_t i = 1; i <= 100; i++) {
        index = submit(leader, 0, i, 8);
        nodes_run(&nodes, 2);
    }
    nodes_run(&nodes, 20);
    snapshot(leader, 0);
    nodes.cut = 0;
    nodes_run(&nodes, 1000);
    CHECK_EQ(away->installs, 1);
    CHECK_EQ(away->install_index[0], index);
    CHECK_EQ(away->install_value[0], index * 1000);
    struct stele_raft_status status;
    stele_raft_status(away->raft, 0, &status);
    CHECK(status.installing);
    /* More entries come, and wait until it has been there. */
    const uint64_t later = submit(leader, 0, 555, 8);
    nodes_run(&nodes, 200);
    CHECK(told_at(away, 0, later) == NULL);
    struct stele_error err = {0};
    away->told_count[0] = 0;
    CHECK_EQ(stele_raft_installed(away->raft, 0, &err), STELE_OK);
    nodes_run(&nodes, 3000);
    CHECK(has_told(away, 0, later, 555));
    CHECK_EQ(away->told[0][0].index, index + 1);
    stele_raft_status(away->raft, 0, &status);
    CHECK(!status.installing);
    CHECK_EQ(status.snapshot_index, index);
    /* And all of it is still so after a restart. */
    node_crash(away, MEMIO_KEEP_NONE);
    node_start(away);
    nodes_run(&nodes, 1000);
    CHECK_EQ(away->told[0][0].index, index + 1);
    CHECK(has_told(away, 0, later, 555));
    nodes_deinit(&nodes);
}

/* libraft takes entry 1 for one that is there when the snapshot ends with it. */
TEST(a_snapshot_of_the_first_entry_alone_reaches_who_has_nothing)
{
    nodes_init(&nodes, 3, 2, 1, 9);
    nodes.options.trailing = 0;
    for (uint64_t i = 1; i <= 3; i++) {
        node_start(&nodes.nodes[i]);
    }
    struct node *const leader = await_leader(&nodes, 0);
    struct node *const late = &nodes.nodes[3];
    nodes_run(&nodes, 100);
    uint8_t data[16] = {0};
    stele_store_u64le(data, 1000);
    struct stele_error err = {0};
    CHECK_EQ(stele_raft_snapshot(leader->raft, 0, 1, (struct stele_bytes){data, sizeof data}, &err),
             STELE_OK);
    CHECK_EQ(stele_raft_configure(leader->raft, 0, 3, STELE_RAFT_STANDBY, &err), STELE_OK);
    nodes_run(&nodes, 3000);
    CHECK_EQ(late->installs, 1);
    CHECK_EQ(late->install_index[0], 1);
    CHECK_EQ(stele_raft_installed(late->raft, 0, &err), STELE_OK);
    nodes_run(&nodes, 3000);
    const uint64_t later = submit(await_leader(&nodes, 0), 0, 5, 8);
    nodes_run(&nodes, 1000);
    CHECK(has_told(late, 0, later, 5));
    nodes_deinit(&nodes);
}

TEST(a_restart_in_the_middle_of_an_installation_begins_it_again)
{
    start_all(3, 1, 2, 5, 1 << 20);
    struct node *const leader = await_leader(&nodes, 0);
    nodes_run(&nodes, 20);
    struct node *const away = &nodes.nodes[leader->number == 1 ? 2 : 1];
    nodes.cut = UINT64_C(1) << away->number;
    uint64_t index = 0;
    for (uint64_t i = 1; i <= 100; i++) {
        index = submit(leader, 0, i, 8);
        nodes_run(&nodes, 2);
    }
    snapshot(leader, 0);
    nodes.cut = 0;
    nodes_run(&nodes, 1000);
    CHECK_EQ(away->installs, 1);
    node_crash(away, MEMIO_KEEP_ALL);
    node_start(away);
    nodes_run(&nodes, 5000);
    CHECK_EQ(away->installs, 2);
    struct stele_error err = {0};
    away->told_count[0] = 0;
    CHECK_EQ(stele_raft_installed(away->raft, 0, &err), STELE_OK);
    nodes_run(&nodes, 1000);
    const uint64_t later = submit(await_leader(&nodes, 0), 0, 5, 8);
    nodes_run(&nodes, 100);
    CHECK(has_told(away, 0, later, 5));
    CHECK(later > index);
    nodes_deinit(&nodes);
}

TEST(an_idle_group_does_not_hold_the_log)
{
    start_all(3, 3, 3, 8, 64 << 10);
    struct node *const busy = await_leader(&nodes, 0);
    struct node *const idle = await_leader(&nodes, 1);
    nodes_run(&nodes, 20);
    const uint64_t early = submit(idle, 1, 77, 100);
    uint64_t last = 0;
    uint64_t size_max = 0;
    for (uint64_t i = 1; i <= 3000; i++) {
        last = submit(busy, 0, i, 500);
        nodes_run(&nodes, 1);
        if (i % 20 == 0) {
            for (uint64_t n = 1; n <= 3; n++) {
                snapshot(&nodes.nodes[n], 0);
                struct stele_error err = {0};
                CHECK_EQ(stele_raft_trim(nodes.nodes[n].raft, &err), STELE_OK);
                struct stele_raft_counts counts;
                stele_raft_counts(nodes.nodes[n].raft, &counts);
                size_max = counts.wal_size > size_max ? counts.wal_size : size_max;
            }
        }
    }
    CHECK(size_max < 400 << 10);
    nodes_run(&nodes, 50);
    for (uint64_t n = 1; n <= 3; n++) {
        node_crash(&nodes.nodes[n], MEMIO_KEEP_NONE);
    }
    for (uint64_t n = 1; n <= 3; n++) {
        node_start(&nodes.nodes[n]);
    }
    (void)await_leader(&nodes, 0);
    (void)await_leader(&nodes, 1);
    (void)await_leader(&nodes, 2);
    nodes_run(&nodes, 100);
    for (uint64_t n = 1; n <= 3; n++) {
        CHECK(has_told(&nodes.nodes[n], 1, early, 77));
        CHECK(nodes.nodes[n].told[0][0].index > last - 30);
    }
    const uint64_t more = submit(await_leader(&nodes, 1), 1, 78, 8);
    nodes_run(&nodes, 20);
    CHECK(has_told(&nodes.nodes[1], 1, more, 78));
    nodes_deinit(&nodes);
}

TEST(payloads_that_are_not_in_memory_come_from_the_log)
{
    start_all(3, 1, 4, 1000, 1 << 20);
    for (uint64_t n = 1; n <= 3; n++) {
        node_crash(&nodes.nodes[n], MEMIO_KEEP_ALL);
    }
    nodes.options.cache_size = 0;
    for (uint64_t n = 1; n <= 3; n++) {
        node_start(&nodes.nodes[n]);
    }
    struct node *const leader = await_leader(&nodes, 0);
    nodes_run(&nodes, 20);
    struct node *const away = &nodes.nodes[leader->number == 1 ? 2 : 1];
    nodes.cut = UINT64_C(1) << away->number;
    uint64_t index = 0;
    for (uint64_t i = 1; i <= 300; i++) {
        index = submit(leader, 0, i, 1000);
        nodes_run(&nodes, 1);
    }
    nodes.cut = 0;
    nodes_run(&nodes, 2000);
    for (uint64_t i = 1; i <= 300; i++) {
        CHECK(has_told(away, 0, index - 300 + i, i));
    }
    nodes_deinit(&nodes);
}

TEST(many_bytes_travel_in_several_messages)
{
    start_all(3, 1, 5, 1000, 64 << 20);
    struct node *const leader = await_leader(&nodes, 0);
    nodes_run(&nodes, 20);
    struct node *const away = &nodes.nodes[leader->number == 1 ? 2 : 1];
    nodes.cut = UINT64_C(1) << away->number;
    uint64_t index = 0;
    for (uint64_t i = 1; i <= 40; i++) {
        index = submit(leader, 0, i, 400 << 10);
        nodes_run(&nodes, 2);
    }
    nodes.cut = 0;
    nodes_run(&nodes, 2000);
    for (uint64_t i = 1; i <= 40; i++) {
        CHECK(has_told(away, 0, index - 40 + i, i));
    }
    nodes_deinit(&nodes);
}

TEST(without_room_on_disk_nothing_is_acknowledged_and_all_goes_on_when_there_is)
{
    start_all(3, 1, 6, 1000, 1 << 20);
    struct node *const leader = await_leader(&nodes, 0);
    nodes_run(&nodes, 20);
    for (uint64_t n = 1; n <= 3; n++) {
        nodes.nodes[n].disk.space = 0;
    }
    uint64_t index = 0;
    int outcome = STELE_OK;
    uint64_t value = 0;
    while (outcome == STELE_OK) {
        outcome = try_submit(leader, 0, ++value, 4000, &index);
        nodes_run(&nodes, 2);
        CHECK(value < 1000);
    }
    CHECK(outcome == STELE_E_NO_SPACE || outcome == STELE_NOT_FOUND);
    nodes_run(&nodes, 2000);
    for (uint64_t n = 1; n <= 3; n++) {
        CHECK_EQ(nodes.nodes[n].failed, STELE_OK);
        nodes.nodes[n].disk.space = UINT64_MAX;
    }
    nodes_run(&nodes, 3000);
    struct node *const now = await_leader(&nodes, 0);
    nodes_run(&nodes, 100);
    index = submit(now, 0, 999999, 8);
    nodes_run(&nodes, 100);
    for (uint64_t n = 1; n <= 3; n++) {
        CHECK(has_told(&nodes.nodes[n], 0, index, 999999));
    }
    nodes_deinit(&nodes);
}
