/* Who votes where, changed all the time: tables that follow each other, of which each node knows one or another, and the
 * leader of each group bringing it towards the one that it knows, as servers do. The tables are those of members.c. */
#include "world.h"

#include <stdlib.h>

struct places {
    struct rng rng;
    uint32_t voters; /* In each row of every table; 0: everybody votes. */
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
}

uint32_t place_voters(const struct world *world)
{
    return world->places->voters;
}

void place_deinit(struct world *world)
{
    free(world->places);
    world->places = NULL;
}

static uint64_t alive(const struct world *world, const struct stele_meta *meta)
{
    uint64_t alive = 0;
    for (size_t i = 0; i < meta->nodes_count; i++) {
        const struct node *node = &world->nodes[meta->nodes[i].number - 1];
        alive |= (uint64_t)(node->up && !node->impostor) << i;
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

static uint32_t count_voters(const struct stele_plan_group *group)
{
    uint32_t voters = 0;
    for (size_t i = 0; i < group->count; i++) {
        voters += group->roles[i] == STELE_PLAN_VOTER;
    }
    return voters;
}

static bool is_begun(const struct node *node, const struct stele_plan_group *group)
{
    uint32_t should = 0;
    for (size_t k = 0; k < node->meta->nodes_count; k++) {
        should += stele_plan_role(node->meta, group->partition, node->meta->nodes[k].number) ==
                  STELE_PLAN_VOTER;
    }
    return count_voters(group) > should;
}

/* V2: somebody is about to vote in the place of another one. */
static void check_moves(struct world *world, const struct node *node)
{
    uint32_t begun = 0;
    for (uint32_t i = 0; i < world->config.partitions; i++) {
        uint64_t nodes[STELE_RAFT_NODES_MAX];
        enum stele_plan_role roles[STELE_RAFT_NODES_MAX];
        struct stele_plan_group group;
        see_group(node, i, &group, nodes, roles);
        begun +=
            is_begun(node, &group) &&
            stele_plan_state(node->meta, &group, alive(world, node->meta)) == STELE_PLAN_MOVING;
    }
    if (begun >= STELE_PLACEMENT_MOVES_MAX) {
        fail(world, "V2: node %u begins to move one more partition; %u are under way",
             node->index + 1, begun);
    }
}

/* One step of a group that this node leads, if it has one to make. */
static void place_step(struct world *world, struct node *node, uint32_t partition,
                       const struct stele_plan_moving *moving)
{
    struct stele_raft *raft = stele_replica_raft(node->replica);
    uint64_t nodes[STELE_RAFT_NODES_MAX];
    enum stele_plan_role roles[STELE_RAFT_NODES_MAX];
    struct stele_plan_group group;
    struct stele_plan_step to;
    see_group(node, partition, &group, nodes, roles);
    const uint32_t voters = count_voters(&group);
    /* Who is lost leaves before another one comes (V4). */
    if (group.count > 0 && voters + world->stats.replaced < world->places->voters) {
        fail(world, "V1: partition %u has %u voters, as node %u knows it; it should have %u",
             partition, voters, node->index + 1, world->places->voters);
    }
    if (stele_replica_leader(node->replica, partition) != node_number(node)) {
        return;
    }
    const bool may_begin = stele_plan_may_begin(moving, node->meta, &group);
    for (size_t skip = 0;
         stele_plan_step(node->meta, &group, alive(world, node->meta), may_begin, skip, &to);
         skip++) {
        trace(world, node, "member: partition, node, role", partition, to.node, to.role);
        if (to.node == node_number(node) && to.role != STELE_PLAN_VOTER) {
            (void)(stele_raft_transfer(raft, partition, 0, NULL) == STELE_OK);
            return;
        }
        const enum stele_raft_member role = to.role == STELE_PLAN_VOTER     ? STELE_RAFT_VOTER
                                            : to.role == STELE_PLAN_STANDBY ? STELE_RAFT_STANDBY
                                                                            : STELE_RAFT_NONE;
        if (role == STELE_RAFT_VOTER && !is_begun(node, &group) &&
            stele_plan_state(node->meta, &group, alive(world, node->meta)) == STELE_PLAN_MOVING) {
            check_moves(world, node);
        }
        if (stele_raft_configure(raft, partition, to.node, role, NULL) == STELE_OK) {
            world->stats.moves++;
            return;
        }
    }
}

static void on_place(struct world *world, struct node *node, void *object, uint64_t number)
{
    struct places *places = world->places;
    struct stele_plan_moving moving = {.count = 0};
    (void)object;
    (void)number;
    for (uint32_t i = 0; i < world->config.partitions; i++) {
        uint64_t nodes[STELE_RAFT_NODES_MAX];
        enum stele_plan_role roles[STELE_RAFT_NODES_MAX];
        struct stele_plan_group group;
        see_group(node, i, &group, nodes, roles);
        stele_plan_moving_add(&moving, node->meta, &group, alive(world, node->meta));
    }
    for (uint32_t i = 0; i <= world->config.partitions; i++) {
        place_step(world, node, i, &moving);
    }
    node_kick(world, node);
    after(world, node, rng_exponential(&places->rng, places->look_us), on_place, NULL, NULL, 0);
}

static void on_table(struct world *world, struct node *node, void *object, uint64_t number)
{
    struct places *places = world->places;
    uint64_t rows[PARTITIONS_MAX];
    (void)node;
    (void)object;
    (void)number;
    if (world->calm) {
        return;
    }
    for (uint32_t i = 0; i < PARTITIONS_MAX; i++) {
        rows[i] = places->voters;
    }
    members_place(world, rows);
    after(world, NULL, rng_exponential(&places->rng, places->every_us), on_table, NULL, NULL, 0);
}

void place_start(struct world *world)
{
    if (world->places->voters > 0) {
        after(world, NULL, SECOND, on_table, NULL, NULL, 0);
    }
}

static bool is_active(const struct world *world)
{
    return world->places->voters > 0 || members_change(world);
}

void place_opened(struct world *world, struct node *node)
{
    if (is_active(world)) {
        after(world, node, world->places->look_us, on_place, NULL, NULL, 0);
    }
}

bool place_is_settled(struct world *world, const struct node *but)
{
    for (uint32_t k = 0; k < world->nodes_count && is_active(world); k++) {
        const struct node *node = &world->nodes[k];
        if (node->gone || node == but) {
            continue;
        }
        for (uint32_t i = 0; i <= world->config.partitions && node->up; i++) {
            uint64_t nodes[STELE_RAFT_NODES_MAX];
            enum stele_plan_role roles[STELE_RAFT_NODES_MAX];
            struct stele_plan_group group;
            struct stele_plan_step to;
            see_group(node, i, &group, nodes, roles);
            if (stele_plan_step(node->meta, &group, UINT64_MAX, true, 0, &to)) {
                return false;
            }
        }
        if (!node->up) {
            return false;
        }
    }
    return true;
}

bool place_is_done(struct world *world)
{
    return place_is_settled(world, NULL);
}
