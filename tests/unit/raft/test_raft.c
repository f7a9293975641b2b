/* What is committed on a majority is told to all nodes, in one order, and stays.
 *
 * Method: three nodes, or as many as a claim needs, with disks in memory; the smallest schedule that shows the
 * claim. */
#include "nodes.h"

static struct nodes nodes;

static void start_all(uint64_t count, uint32_t groups_count, uint64_t seed)
{
    nodes_init(&nodes, count, count, groups_count, seed);
    for (uint64_t i = 1; i <= count; i++) {
        node_start(&nodes.nodes[i]);
    }
}

TEST(three_nodes_elect_one_leader_and_commit)
{
    start_all(3, 1, 1);
    struct node *const leader = await_leader(&nodes, 0);
    nodes_run(&nodes, 20);
    const uint64_t index = submit(leader, 0, 42, 100);
    nodes_run(&nodes, 20);
    for (uint64_t i = 1; i <= 3; i++) {
        CHECK(has_told(&nodes.nodes[i], 0, index, 42));
        const struct told *const told = told_at(&nodes.nodes[i], 0, index);
        CHECK(told != NULL && told->size == 100);
        CHECK_EQ(nodes.nodes[i].stored_count, 1);
        struct stele_raft_status status;
        stele_raft_status(nodes.nodes[i].raft, 0, &status);
        CHECK_EQ(status.leader, leader->number);
        CHECK_EQ(status.commit_index, index);
    }
    nodes_deinit(&nodes);
}

TEST(followers_hear_of_a_commit_at_once)
{
    start_all(3, 1, 2);
    struct node *const leader = await_leader(&nodes, 0);
    nodes_run(&nodes, 200);
    const uint64_t index = submit(leader, 0, 7, 8);
    /* Out, there and back, out again: without a heartbeat, of which there is one in 60 ms. */
    nodes_run(&nodes, 6);
    for (uint64_t i = 1; i <= 3; i++) {
        CHECK(has_told(&nodes.nodes[i], 0, index, 7));
    }
    nodes_deinit(&nodes);
}

TEST(one_node_alone_is_a_cluster)
{
    start_all(1, 2, 3);
    struct node *const node = await_leader(&nodes, 0);
    nodes_run(&nodes, 5);
    const uint64_t index = submit(node, 0, 9, 8);
    CHECK_EQ(submit(node, 1, 10, 8), index);
    nodes_run(&nodes, 5);
    CHECK(has_told(node, 0, index, 9));
    CHECK(has_told(node, 1, index, 10));
    nodes_deinit(&nodes);
}

TEST(what_was_committed_is_told_again_after_a_restart)
{
    start_all(3, 2, 4);
    struct node *const leader = await_leader(&nodes, 0);
    nodes_run(&nodes, 20);
    uint64_t index = 0;
    for (uint64_t i = 1; i <= 50; i++) {
        index = submit(leader, 0, i, 200);
        nodes_run(&nodes, 1);
    }
    nodes_run(&nodes, 20);
    for (uint64_t i = 1; i <= 3; i++) {
        node_crash(&nodes.nodes[i], MEMIO_KEEP_NONE);
    }
    for (uint64_t i = 1; i <= 3; i++) {
        node_start(&nodes.nodes[i]);
        CHECK_EQ(nodes.nodes[i].told_count[0], 0);
    }
    (void)await_leader(&nodes, 0);
    nodes_run(&nodes, 50);
    for (uint64_t i = 1; i <= 3; i++) {
        for (uint64_t value = 1; value <= 50; value++) {
            CHECK(has_told(&nodes.nodes[i], 0, index - 50 + value, value));
        }
        CHECK_EQ(nodes.nodes[i].told[0][0].index, 1);
    }
    nodes_deinit(&nodes);
}

TEST(a_leader_that_is_gone_is_replaced_and_catches_up_later)
{
    start_all(3, 1, 5);
    struct node *const old = await_leader(&nodes, 0);
    nodes_run(&nodes, 20);
    const uint64_t before = submit(old, 0, 1, 8);
    nodes_run(&nodes, 20);
    nodes.cut = UINT64_C(1) << old->number;
    uint64_t lost = 0;
    CHECK_EQ(try_submit(old, 0, 666, 8, &lost), STELE_OK);
    nodes_run(&nodes, 3000);
    struct node *const now = await_leader(&nodes, 0);
    CHECK(now != old);
    struct stele_raft_status status;
    stele_raft_status(old->raft, 0, &status);
    CHECK(status.role != STELE_RAFT_LEADER);
    CHECK_EQ(try_submit(old, 0, 667, 8, &lost), STELE_NOT_FOUND);
    const uint64_t after = submit(now, 0, 2, 8);
    nodes_run(&nodes, 20);
    nodes.cut = 0;
    nodes_run(&nodes, 1000);
    for (uint64_t i = 1; i <= 3; i++) {
        CHECK(has_told(&nodes.nodes[i], 0, before, 1));
        CHECK(has_told(&nodes.nodes[i], 0, after, 2));
        for (size_t t = 0; t < nodes.nodes[i].told_count[0]; t++) {
            CHECK(nodes.nodes[i].told[0][t].value != 666);
        }
    }
    nodes_deinit(&nodes);
}

TEST(nothing_is_committed_that_is_not_durable_on_a_majority)
{
    start_all(3, 1, 6);
    struct node *const leader = await_leader(&nodes, 0);
    nodes_run(&nodes, 20);
    for (uint64_t i = 1; i <= 3; i++) {
        nodes.nodes[i].disk_held = &nodes.nodes[i] != leader;
    }
    const uint64_t index = submit(leader, 0, 5, 8);
    nodes_run(&nodes, 100);
    CHECK(told_at(leader, 0, index) == NULL);
    const uint64_t other = leader->number == 1 ? 2 : 1;
    nodes.nodes[other].disk_held = false;
    nodes_run(&nodes, 20);
    CHECK(has_told(leader, 0, index, 5));
    for (uint64_t i = 1; i <= 3; i++) {
        /* A follower knows that it is committed, and does not have it yet. */
        CHECK_EQ(told_at(&nodes.nodes[i], 0, index) == NULL ? 1 : 0,
                 nodes.nodes[i].disk_held ? 1 : 0);
    }
    nodes_deinit(&nodes);
}
