/* Placement: who votes and who leads, from the table of nodes to the groups that this node leads. What is to be done is
 * worked out by cluster/plan.h, from the table and from what the groups are: nothing of it is kept. */
#include "server/member_internal.h"

#define CALM_US 3000000 /* After the last election, before leaders are moved. */
#define CHANGES_MAX 64  /* Of members or leaders, in one look. */
#define ASK_AGAIN_US 2000000
#define PLAN_AGAIN_US 10000000 /* Loads change without the table. */
/* A node that dies is not noticed by all others at the same moment. */
#define APART_US 1500000

struct seen_group {
    struct stele_plan_group group;
    uint64_t nodes[STELE_RAFT_NODES_MAX];
    enum stele_plan_role roles[STELE_RAFT_NODES_MAX];
};

/* A group as this node's log has it: every node is a member of every group. */
static void see_group(struct stele_member *member, uint32_t group, struct seen_group *to)
{
    enum stele_raft_member members[STELE_RAFT_NODES_MAX];
    const size_t count =
        stele_raft_members(stele_replica_raft(member->replica), group, to->nodes, members);
    for (size_t i = 0; i < count; i++) {
        to->roles[i] = members[i] == STELE_RAFT_VOTER ? STELE_PLAN_VOTER : STELE_PLAN_STANDBY;
    }
    to->group = (struct stele_plan_group){
        .partition = group, .count = count, .nodes = to->nodes, .roles = to->roles};
}

uint64_t stele_member__alive_nodes(struct stele_member *member)
{
    uint64_t alive = 0;
    for (size_t i = 0; i < member->meta->nodes_count; i++) {
        alive |= (uint64_t)stele_member__is_alive(member, member->meta->nodes[i].number) << i;
    }
    return alive;
}

bool stele_member__is_moving(struct stele_member *member, uint32_t partition)
{
    struct seen_group seen;
    see_group(member, partition, &seen);
    return stele_plan_state(member->meta, &seen.group, UINT64_MAX) != STELE_PLAN_SETTLED;
}

/* ---- Leaders ---- */

/* Of three nodes, two that cannot reach each other, and a third that reaches both: whoever of the two leads holds up
 * the other, which gets nothing of its groups, closes none of them, executes nothing, and does not answer its clients. If
 * the third leads, all go on. */
static bool has_broken_way(struct stele_member *member, uint64_t alive)
{
    const struct stele_meta *meta = member->meta;
    uint64_t heard_by_others = 0;
    uint64_t deaf = 0; /* Those that do not hear this node. */
    uint64_t hearing = 0;
    size_t own = 0;
    while (own < meta->nodes_count && meta->nodes[own].number != member->identity.number) {
        own++;
    }
    for (size_t i = 0; i < meta->nodes_count; i++) {
        const struct stele_member__seen *seen =
            stele_member__seen_of(member, meta->nodes[i].number);
        if (i == own || (alive >> i & 1) == 0 || seen == NULL || seen->hears == 0 ||
            meta->nodes[i].state != STELE_META_ACTIVE) {
            continue;
        }
        const uint64_t bit = UINT64_C(1) << i;
        heard_by_others |= seen->hears;
        *((seen->hears >> own & 1) == 0 ? &deaf : &hearing) |= bit;
    }
    return (heard_by_others & ~alive) != 0 || (deaf != 0 && hearing != 0);
}

bool stele_member__is_apart(struct stele_member *member)
{
    const int64_t now_us = stele_member__now_us(member);
    if (!has_broken_way(member, stele_member__alive_nodes(member))) {
        member->apart_since_us = 0;
        return false;
    }
    member->apart_since_us = member->apart_since_us == 0 ? now_us : member->apart_since_us;
    return now_us - member->apart_since_us >= APART_US;
}

/* Those who could lead at the moment: bits, by their places in the table. */
static uint64_t able_nodes(struct stele_member *member)
{
    uint64_t able = 0;
    uint64_t apart = 0;
    for (size_t i = 0; i < member->meta->nodes_count; i++) {
        const struct stele_meta_node *node = &member->meta->nodes[i];
        const bool is_own = node->number == member->identity.number;
        const struct stele_member__seen *seen = stele_member__seen_of(member, node->number);
        const bool is_apart =
            is_own ? stele_member__is_apart(member) : seen != NULL && seen->is_apart;
        apart |= (uint64_t)is_apart << i;
        if (node->state == STELE_META_ACTIVE && !(is_own && member->handing_over) &&
            !stele_member__is_full_there(member, node->number) &&
            stele_member__is_alive(member, node->number)) {
            able |= UINT64_C(1) << i;
        }
    }
    /* If nobody reaches everybody, it is as good as if all did. */
    return (able & ~apart) != 0 ? able & ~apart : able;
}

uint64_t stele_member__wanted_leader(struct stele_member *member, uint32_t group)
{
    const struct stele_meta *meta = member->meta;
    const uint64_t able = able_nodes(member);
    /* The meta group stays where it is: the leader of the cluster does not change without a reason. */
    if (group == member->identity.partitions) {
        size_t first = 0;
        while (first < meta->nodes_count && (able >> first & 1) == 0) {
            first++;
        }
        for (size_t i = 0; i < meta->nodes_count; i++) {
            if (meta->nodes[i].number == member->identity.number && (able >> i & 1) != 0) {
                return member->identity.number;
            }
        }
        return first == meta->nodes_count ? 0 : meta->nodes[first].number;
    }
    if (meta->version == 0 || meta->partitions != member->identity.partitions) {
        return 0;
    }
    if (member->wanted_version != meta->version || member->wanted_able != able) {
        member->wanted_version = 0;
        if (stele_plan_leaders(member->alloc, meta, able, member->wanted_leaders) != STELE_OK) {
            return 0; /* Leaders stay where they are. */
        }
        member->wanted_version = meta->version;
        member->wanted_able = able;
    }
    return member->wanted_leaders[group];
}

/* ---- Members ---- */

bool stele_member__is_placed(struct stele_member *member)
{
    const uint64_t own = member->identity.number;
    if (!stele_plan_is_filled(member->meta)) {
        return false;
    }
    for (uint32_t g = 0; g <= member->identity.partitions; g++) {
        struct seen_group seen;
        struct stele_raft_status status;
        enum stele_plan_role is = STELE_PLAN_NONE;
        see_group(member, g, &seen);
        for (size_t i = 0; i < seen.group.count; i++) {
            is = seen.nodes[i] == own ? seen.roles[i] : is;
        }
        stele_raft_status(stele_replica_raft(member->replica), g, &status);
        if (is != stele_plan_role(member->meta, g, own) || status.last_index == 0 ||
            status.installing) {
            return false;
        }
    }
    return true;
}

/* The leader of a group that is not to vote there any more lets another one lead. */
static bool give_away(struct stele_member *member, uint32_t group)
{
    const uint64_t wanted = stele_member__wanted_leader(member, group);
    struct stele_raft *raft = stele_replica_raft(member->replica);
    if (wanted != 0 && wanted != member->identity.number &&
        stele_raft_transfer(raft, group, wanted, NULL) == STELE_OK) {
        return true;
    }
    return stele_raft_transfer(raft, group, 0, NULL) == STELE_OK;
}

/* One step of a group towards the table. true: something was begun. */
static bool configure(struct stele_member *member, const struct stele_plan_group *group,
                      uint64_t alive, bool may_begin)
{
    struct stele_raft *raft = stele_replica_raft(member->replica);
    struct stele_plan_step step;
    for (size_t skip = 0; stele_plan_step(member->meta, group, alive, may_begin, skip, &step);
         skip++) {
        if (step.node == member->identity.number && step.role != STELE_PLAN_VOTER) {
            return give_away(member, group->partition);
        }
        const enum stele_raft_member role = step.role == STELE_PLAN_VOTER     ? STELE_RAFT_VOTER
                                            : step.role == STELE_PLAN_STANDBY ? STELE_RAFT_STANDBY
                                                                              : STELE_RAFT_NONE;
        const int outcome = stele_raft_configure(raft, group->partition, step.node, role, NULL);
        if (outcome == STELE_OK) {
            member->moved += step.role == STELE_PLAN_VOTER &&
                             stele_plan_state(member->meta, group, alive) == STELE_PLAN_MOVING;
            return true;
        }
    }
    return false;
}

static void find_moving(struct stele_member *member, uint64_t alive, struct stele_plan_moving *to)
{
    *to = (struct stele_plan_moving){.count = 0};
    for (uint32_t g = 0; g < member->identity.partitions; g++) {
        struct seen_group seen;
        see_group(member, g, &seen);
        stele_plan_moving_add(to, member->meta, &seen.group, alive);
    }
}

static bool move_leader(struct stele_member *member, uint32_t group)
{
    const bool calm = stele_member__now_us(member) - member->elected_us > CALM_US;
    const uint64_t wanted = stele_member__wanted_leader(member, group);
    const struct stele_meta_node *own = stele_meta_find(member->meta, member->identity.number);
    const bool at_once = member->handing_over || stele_member__is_full(member) ||
                         stele_member__is_apart(member) ||
                         (own != NULL && own->state == STELE_META_DRAINING);
    return wanted != 0 && wanted != member->identity.number && (calm || at_once) &&
           stele_raft_transfer(stele_replica_raft(member->replica), group, wanted, NULL) ==
               STELE_OK;
}

static void look_after_groups(struct stele_member *member)
{
    const uint32_t groups = member->identity.partitions + 1;
    STELE_ASSERT(groups > 1);
    const uint64_t alive = stele_member__alive_nodes(member);
    struct stele_plan_moving moving;
    uint32_t changes = 0;
    find_moving(member, alive, &moving);
    member->moves = moving.count;
    member->missing = moving.filling;
    for (uint32_t i = 0; i < groups && changes < CHANGES_MAX; i++) {
        const uint32_t group = (member->round_robin + i) % groups;
        if (stele_replica_leader(member->replica, group) != member->identity.number) {
            continue;
        }
        struct seen_group seen;
        see_group(member, group, &seen);
        const bool begun = !member->handing_over &&
                           configure(member, &seen.group, alive,
                                     stele_plan_may_begin(&moving, member->meta, &seen.group));
        changes += begun || move_leader(member, group) ? 1 : 0;
    }
    member->round_robin = (member->round_robin + changes) % groups;
    member->busy = moving.count + moving.filling > 0;
}

/* ---- The table ---- */

/* Only then is it known what is uneven for good: what a dead node led is with others for a while. */
static bool everybody_leads(struct stele_member *member)
{
    const uint64_t able = able_nodes(member);
    bool all = member->moves + member->missing == 0;
    for (size_t i = 0; i < member->meta->nodes_count; i++) {
        all = all && ((able >> i & 1) != 0 || member->meta->nodes[i].state != STELE_META_ACTIVE);
    }
    return all;
}

/* As the node that leads the cluster: sees to it that the table says who votes. */
static void look_after_voters(struct stele_member *member)
{
    const int64_t now_us = stele_member__now_us(member);
    const bool is_planned =
        member->planned_version == member->meta->version &&
        (now_us - member->planned_us < PLAN_AGAIN_US || member->moves + member->missing > 0);
    if (member->meta_leader != member->identity.number || member->asks != NULL || is_planned ||
        now_us - member->asked_place_us < ASK_AGAIN_US) {
        return;
    }
    struct stele_meta_command *command = stele_allocate(member->alloc, sizeof *command);
    if (command == NULL) {
        return; /* Again later. */
    }
    const struct stele_plan_load *const load = stele_member__plan_load(member);
    int outcome =
        stele_plan_voters(member->alloc, member->meta, load, STELE_PLACEMENT_BEGIN, command);
    if (outcome == STELE_NOT_FOUND && everybody_leads(member)) {
        outcome = stele_plan_lead(member->alloc, member->meta, load, command);
    }
    if (outcome == STELE_NOT_FOUND) {
        member->planned_version = member->meta->version;
        member->planned_us = now_us;
    } else if (outcome == STELE_OK) {
        struct stele_member__ask *ask = stele_member__ask_create(member, command);
        if (ask != NULL) {
            member->asked_place_us = now_us;
            stele_member__ask(member, ask);
        }
    }
    stele_release(member->alloc, command, sizeof *command);
}

void stele_member__place(struct stele_member *member)
{
    look_after_voters(member);
    look_after_groups(member);
}
