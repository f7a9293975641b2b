/* Who votes where, changed all the time: tables that follow each other, of which each node knows one or another, and the
 * leader of each group bringing it towards the one that it knows, as servers do. */
#include "world.h"

#include <stdlib.h>

struct places {
    struct rng rng;
    struct stele_meta meta; /* As the node knows it that is looking. */
    uint32_t voters;        /* In each row of every table. */
    uint32_t tables;        /* There have been so many; 0: everybody votes. */
    uint64_t every_us, look_us;
};

void place_init(struct world *world)
{
    struct places *places = calloc(1, sizeof *places);
    STELE_ASSERT(places != NULL);
    world->places = places;
    /* Numbers of its own, so that everything else is as it was without. */
    rng_init(&places->rng, world->seed, 5);
    const bool moves =
        rng_percent(&places->rng, 60) && world->config.nodes > 1 && !world->run.still;
    places->voters = moves ? (uint32_t)rng_between(&places->rng, 1, world->config.nodes) : 0;
    places->every_us = rng_log(&places->rng, 200 * MS, 10 * SECOND);
    places->look_us = rng_log(&places->rng, 10 * MS, 500 * MS);
    if (world->run.hours) {
        const uint64_t beat = world->config.heartbeat_ms * MS;
        places->every_us = rng_log(&places->rng, 10 * beat, 500 * beat);
        places->look_us = rng_log(&places->rng, beat, 8 * beat);
    }
    struct stele_meta *meta = &places->meta;
    meta->version = 1;
    meta->partitions = world->config.partitions;
    meta->nodes_count = world->config.nodes;
    for (uint32_t i = 0; i < world->config.nodes; i++) {
        meta->nodes[i] = (struct stele_meta_node){.number = i + 1, .state = STELE_META_ACTIVE};
    }
}

void place_deinit(struct world *world)
{
    free(world->places);
    world->places = NULL;
}

/* The table with this number: any nodes, as many as there should be. */
static void make_table(struct world *world, uint32_t number)
{
    struct stele_meta *meta = &world->places->meta;
    struct rng rng;
    rng_init(&rng, world->seed * 1000 + number, 6);
    memset(meta->voters, 0, sizeof meta->voters);
    meta->voters_version = number == 0 ? 0 : 1;
    for (uint32_t i = 0; i < meta->partitions && number > 0; i++) {
        size_t count = 0;
        uint32_t left = world->places->voters;
        for (uint32_t node = 0; node < world->config.nodes; node++) {
            if (rng_below(&rng, world->config.nodes - node) < left) {
                meta->voters[i][count++] = node + 1;
                left--;
            }
        }
    }
}

static uint64_t alive(const struct world *world)
{
    uint64_t alive = 0;
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        alive |= (uint64_t)world->nodes[i].up << i;
    }
    return alive;
}

static void see_group(const struct node *node, uint32_t partition, struct stele_plan_group *group,
                      uint64_t nodes[STELE_RAFT_NODES_MAX],
                      enum stele_plan_role roles[STELE_RAFT_NODES_MAX])
{
    enum stele_raft_member members[STELE_RAFT_NODES_MAX];
    const size_t count =
        stele_raft_members(stele_replica_raft(node->replica), partition, nodes, members);
    for (size_t i = 0; i < count; i++) {
        roles[i] = members[i] == STELE_RAFT_VOTER ? STELE_PLAN_VOTER : STELE_PLAN_STANDBY;
    }
    *group = (struct stele_plan_group){
        .partition = partition, .count = count, .nodes = nodes, .roles = roles};
}

/* One step of a group that this node leads, if it has one to make. */
static void place_step(struct world *world, struct node *node, uint32_t partition)
{
    struct stele_raft *raft = stele_replica_raft(node->replica);
    uint64_t nodes[STELE_RAFT_NODES_MAX];
    enum stele_plan_role roles[STELE_RAFT_NODES_MAX];
    struct stele_plan_group group;
    struct stele_plan_step to;
    uint32_t voters = 0;
    see_group(node, partition, &group, nodes, roles);
    for (size_t i = 0; i < group.count; i++) {
        voters += roles[i] == STELE_PLAN_VOTER;
    }
    if (group.count > 0 && voters < world->places->voters) {
        fail(world, "V1: partition %u has %u voters, as node %u knows it; it should have %u",
             partition, voters, node->index + 1, world->places->voters);
    }
    if (stele_replica_leader(node->replica, partition) != node_number(node)) {
        return;
    }
    for (size_t skip = 0;
         stele_plan_step(&world->places->meta, &group, alive(world), true, skip, &to); skip++) {
        trace(world, node, "member: partition, node, role", partition, to.node, to.role);
        if (to.node == node_number(node) && to.role != STELE_PLAN_VOTER) {
            (void)(stele_raft_transfer(raft, partition, 0, NULL) == STELE_OK);
            return;
        }
        const enum stele_raft_member role = to.role == STELE_PLAN_VOTER     ? STELE_RAFT_VOTER
                                            : to.role == STELE_PLAN_STANDBY ? STELE_RAFT_STANDBY
                                                                            : STELE_RAFT_NONE;
        if (stele_raft_configure(raft, partition, to.node, role, NULL) == STELE_OK) {
            world->stats.moves++;
            return;
        }
    }
}

static void on_place(struct world *world, struct node *node, void *object, uint64_t number)
{
    struct places *places = world->places;
    (void)object;
    (void)number;
    /* Who is behind learns of newer tables sooner or later; in peace at once. */
    if (world->calm) {
        node->table = places->tables;
    } else if (node->table < places->tables && rng_percent(&places->rng, 50)) {
        node->table = (uint32_t)rng_between(&places->rng, node->table, places->tables);
    }
    make_table(world, node->table);
    for (uint32_t i = 0; i < world->config.partitions; i++) {
        place_step(world, node, i);
    }
    node_kick(world, node);
    after(world, node, rng_exponential(&places->rng, places->look_us), on_place, NULL, NULL, 0);
}

static void on_table(struct world *world, struct node *node, void *object, uint64_t number)
{
    struct places *places = world->places;
    (void)node;
    (void)object;
    (void)number;
    if (!world->calm) {
        places->tables++;
        trace(world, NULL, "table", places->tables, 0, 0);
        after(world, NULL, rng_exponential(&places->rng, places->every_us), on_table, NULL, NULL,
              0);
    }
}

void place_start(struct world *world)
{
    if (world->places->voters > 0) {
        after(world, NULL, SECOND, on_table, NULL, NULL, 0);
    }
}

void place_opened(struct world *world, struct node *node)
{
    if (world->places->voters > 0) {
        after(world, node, world->places->look_us, on_place, NULL, NULL, 0);
    }
}

bool place_is_done(struct world *world)
{
    make_table(world, world->places->tables);
    for (uint32_t i = 0; i < world->config.partitions && world->places->voters > 0; i++) {
        for (uint32_t k = 0; k < world->nodes_count; k++) {
            uint64_t nodes[STELE_RAFT_NODES_MAX];
            enum stele_plan_role roles[STELE_RAFT_NODES_MAX];
            struct stele_plan_group group;
            struct stele_plan_step to;
            if (!world->nodes[k].up) {
                return false;
            }
            see_group(&world->nodes[k], i, &group, nodes, roles);
            if (stele_plan_step(&world->places->meta, &group, UINT64_MAX, true, 0, &to)) {
                return false;
            }
        }
    }
    return true;
}
