/* A cluster that falls idle writes once more, how far its logs were durable, and then nothing: so
 * what rots in the last records is known to be damage. */
#include "nodes.h"

static struct nodes nodes;

static void damage_last_record(struct node *node)
{
    const struct memio_inode *const inode = memio_find(&node->disk, "0000000000000001.wal");
    CHECK(inode != NULL);
    uint64_t at = inode->size;
    while (inode->cache[--at] == 0) {
    }
    memio_damage(&node->disk, "0000000000000001.wal", at, 1);
}

TEST(an_idle_cluster_knows_its_last_records_and_writes_nothing)
{
    nodes_init(&nodes, 3, 3, 4, 1);
    for (uint64_t i = 1; i <= 3; i++) {
        node_start(&nodes.nodes[i]);
    }
    for (uint32_t group = 0; group < 4; group++) {
        (void)submit(await_leader(&nodes, group), group, 42, 100);
    }
    nodes_run(&nodes, 1000);
    uint64_t written[4];
    for (uint64_t i = 1; i <= 3; i++) {
        written[i] = nodes.nodes[i].disk.written;
    }
    nodes_run(&nodes, 3000);
    for (uint64_t i = 1; i <= 3; i++) {
        struct node *const node = &nodes.nodes[i];
        CHECK_EQ(node->disk.written, written[i]);
        stele_raft_close(node->raft);
        node->raft = NULL;
        damage_last_record(node);
        struct stele_error err = {0};
        CHECK_EQ(node_open(node, &err), STELE_E_CORRUPT);
        CHECK_TEXT_HAS(err.message, "mark says");
        damage_last_record(node); /* And undone. */
        node_start(node);
    }
    nodes_deinit(&nodes);
}
