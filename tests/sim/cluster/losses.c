/* What disks go through, and the operator who looks after it.
 *
 * Disks are lost for good, and new nodes take the places of those that had them (STELE_META_REPLACE); others
 * come back as they were some time ago, or as a copy of a disk that goes on elsewhere. A node with such a
 * disk greets like any other, and nobody may let it in (K8); it is replaced as if it was lost. Bytes
 * change at rest: what opens is right, or says that it is damaged, and is replaced, too.
 *
 * The operator asks the node that leads the cluster, again and again until it is done. */
#include "members_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- The operator ---- */

/* What nodes ask for themselves. */
static bool update_nodes(struct world *world, struct node *leader)
{
    for (size_t i = 0; i < leader->meta->nodes_count; i++) {
        const struct stele_meta_node *is = &leader->meta->nodes[i];
        const uint32_t index = (uint32_t)is->number - 1;
        const struct node *node = &world->nodes[index];
        if (!node->up || node->impostor) {
            continue;
        }
        const bool gate = (leader->meta->gates & STELE_META_FEATURE_PAST) != 0;
        struct stele_meta_command *command =
            members_command_for(world, gate ? STELE_META_START : STELE_META_UPDATE, index, index);
        memcpy(command->node.name, is->name, sizeof is->name);
        command->past = node->past;
        if ((is->starts != command->node.starts || is->boot != command->node.boot) &&
            members_propose(world, leader, command)) {
            return true;
        }
        command->kind = STELE_META_ACTIVATE;
        if (is->state == STELE_META_JOINING && members_propose(world, leader, command)) {
            return true;
        }
    }
    return false;
}

/* Somebody has to be able to lead. */
static void undrain(struct world *world, struct node *leader)
{
    for (size_t i = 0; i < leader->meta->nodes_count; i++) {
        if (leader->meta->nodes[i].state == STELE_META_DRAINING) {
            const uint32_t index = (uint32_t)leader->meta->nodes[i].number - 1;
            (void)members_propose(world, leader,
                                  members_command_for(world, STELE_META_UNDRAIN, index, index));
            return;
        }
    }
}

static void replace_lost(struct world *world, struct node *leader)
{
    struct members *members = world->members;
    const uint32_t fresh = world->nodes_count;
    if (stele_meta_find(leader->meta, fresh + 1) != NULL) {
        STELE_ASSERT(stele_meta_find(leader->meta, members->lost + 1) == NULL);
        struct node *node = &world->nodes[world->nodes_count++];
        members_keep_table(&node->kept, leader->meta, leader->meta_applied);
        trace(world, node, "takes the place of", members->lost + 1, 0, 0);
        members->lost = NOBODY;
        node_start(world, node);
        return;
    }
    const struct stele_meta_node *lost = stele_meta_find(leader->meta, members->lost + 1);
    if (lost == NULL || leader->meta->next_number != fresh + 1) {
        fail(world, "the table of node %u does not have node %u, which was not replaced",
             leader->index + 1, members->lost + 1);
    }
    struct stele_meta_command *command =
        members_command_for(world, STELE_META_REPLACE, fresh, fresh);
    struct stele_meta_result result;
    memcpy(command->node.name, lost->name, sizeof command->node.name);
    /* An empty disk comes under the old name: no, not as if nothing had happened. */
    command->kind = STELE_META_JOIN;
    stele_meta_judge_command(leader->meta, command, &result);
    if (result.outcome != STELE_META_NAME_TAKEN) {
        fail(world, "an empty disk with the name of node %u ends with %s", members->lost + 1,
             stele_meta_outcome_name(result.outcome));
    }
    command->kind = STELE_META_REPLACE;
    command->number = members->lost + 1;
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        if (world->nodes[i].up && !world->nodes[i].impostor) {
            command->alive[command->alive_count++] = i + 1;
        }
    }
    stele_meta_judge_command(leader->meta, command, &result);
    if (result.outcome == STELE_META_LAST_NODE) {
        if (!update_nodes(world, leader)) {
            undrain(world, leader);
        }
        return;
    }
    (void)members_propose(world, leader, command);
}

/* To be crashed by the caller if it is up, or was being opened. */
static void lose(struct world *world, struct node *node)
{
    struct members *members = world->members;
    STELE_ASSERT(members->lost == NOBODY);
    world->stats.replaced++;
    trace(world, node, "lost for good", 0, 0, 0);
    members->lost = node->index;
    node->gone = true;
    if (members->impostor == node->index) {
        members->impostor = NOBODY;
    }
}

static void lose_and_crash(struct world *world, struct node *node)
{
    lose(world, node);
    if (node->up) {
        node_crash(world, node, true, MS);
    }
}

/* NULL: there is none, or it was lost already. */
static struct node *find_damaged(struct world *world)
{
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        if (world->nodes[i].damaged && !world->nodes[i].gone) {
            return &world->nodes[i];
        }
    }
    return NULL;
}

/* Somebody does not believe what it was told, and starts it again. */
static void start_impostor_again(struct world *world)
{
    struct members *members = world->members;
    struct node *node = &world->nodes[members->impostor];
    if (members->impostor_starts > 0 && node->up && rng_percent(&members->rng, 60)) {
        node_crash(world, node, rng_percent(&members->rng, 30), MS);
    }
}

static bool raise_gate(struct world *world, struct node *leader)
{
    return world->now_us >= world->members->gate_us &&
           (leader->meta->gates & STELE_META_FEATURE_PAST) == 0 &&
           members_propose(world, leader, members_command_for(world, STELE_META_GATE, 0, 0));
}

static bool can_bring_back(struct world *world);

/* A copy that is old enough does not wait until its node happens to crash. */
static void bring_copy_back(struct world *world)
{
    struct members *members = world->members;
    if (members->copy.node == NOBODY || world->calm || !rng_percent(&members->rng, 5)) {
        return;
    }
    struct node *node = &world->nodes[members->copy.node];
    if (node->up && can_bring_back(world)) {
        members->bring_back = true;
        node_crash(world, node, true, MS);
        members->bring_back = false;
    }
}

void members_on_operator(struct world *world, struct node *node, void *object, uint64_t number)
{
    struct members *members = world->members;
    (void)object;
    (void)number;
    after(world, NULL, members->look_us, members_on_operator, NULL, NULL, 0);
    if (members->impostor != NOBODY &&
        (world->calm || world->now_us >= members->impostor_until_us)) {
        lose_and_crash(world, &world->nodes[members->impostor]);
    } else if (members->impostor != NOBODY) {
        start_impostor_again(world);
    } else if (world->calm && members->lost == NOBODY && find_damaged(world) != NULL) {
        lose_and_crash(world,
                       find_damaged(world)); /* Verifying found what nobody had come across. */
    } else {
        bring_copy_back(world);
    }
    node = members_leader(world);
    if (node == NULL) {
        return;
    }
    if (members->lost != NOBODY) {
        replace_lost(world, node);
        return;
    }
    if (update_nodes(world, node) || raise_gate(world, node)) {
        return;
    }
    struct stele_meta_command *command = members_command_for(world, STELE_META_SET, 0, 0);
    (void)snprintf(command->setting.key, sizeof command->setting.key, "%s", STELE_META_REBALANCE);
    if (world->calm && stele_plan_is_paused(node->meta)) {
        (void)members_propose(world, node, command);
    } else if ((world->calm || rng_percent(&members->rng, 20)) &&
               !stele_plan_is_filled(node->meta) && node->meta->voters_version > 0) {
        (void)members_place_evenly(world, node);
    }
}

/* ---- What disks go through ---- */

bool members_can_lose(struct world *world, const struct node *node)
{
    const struct members *members = world->members;
    const struct node *damaged = find_damaged(world);
    if (damaged != NULL && damaged != node) {
        return false;
    }
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        const struct node *other = &world->nodes[i];
        /* After a replacement rows are shorter for a while. */
        if (!other->gone && other != node && other->meta != NULL &&
            other->meta->voters_version > 0 && !stele_plan_is_filled(other->meta)) {
            return false;
        }
    }
    return !world->calm && !node->gone && !node->impostor && members->lost == NOBODY &&
           members->impostor == NOBODY && world->nodes_count < NODES_MAX &&
           place_is_settled(world, node);
}

void members_on_replace(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    if (world->calm) {
        return;
    }
    after(world, NULL, rng_exponential(&world->members->rng, world->members->replace_us),
          members_on_replace, NULL, NULL, 0);
    node = &world->nodes[rng_below(&world->members->rng, world->nodes_count)];
    if (members_can_lose(world, node)) {
        lose_and_crash(world, node);
    }
}

/* Do all others know, durably, that this node was started after the copy was made, and that everybody tells of
 * earlier starts? Before, a count is all there is. */
static bool is_copy_old(struct world *world)
{
    static struct stele_meta kept;
    const struct copy *copy = &world->members->copy;
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        const struct node *other = &world->nodes[i];
        if (other->gone || i == copy->node) {
            continue;
        }
        members_read_kept(world, &other->kept, &kept);
        const struct stele_meta_node *node = stele_meta_find(&kept, copy->node + 1);
        if (node == NULL || node->starts <= copy->starts ||
            (kept.gates & STELE_META_FEATURE_PAST) == 0) {
            return false;
        }
    }
    return true;
}

static bool can_bring_back(struct world *world)
{
    return members_can_lose(world, &world->nodes[world->members->copy.node]) && is_copy_old(world);
}

static void copy_disks(struct world *world, struct node *node)
{
    struct copy *copy = &world->members->copy;
    struct simdisk *disks[] = {&node->wal_disk, &node->store_disk};
    members_forget_copy(world->members);
    for (size_t i = 0; i < 2; i++) {
        simdisk_copy(&copy->disks[i], disks[i], &node->alloc.base);
    }
    copy->node = node->index;
    copy->starts = node->starts;
    copy->past = node->past;
    members_read_kept(world, &node->kept, node->meta);
    members_keep_table(&copy->kept, node->meta, node->kept.bytes == NULL ? 0 : node->kept.applied);
    trace(world, node, "its disks are copied: starts", node->starts, 0, 0);
}

static void restore_disks(struct world *world, struct node *node)
{
    struct members *members = world->members;
    struct copy *copy = &members->copy;
    struct simdisk *disks[] = {&node->wal_disk, &node->store_disk};
    trace(world, node, "comes back with a copy: starts, then", node->starts, copy->starts, 0);
    for (size_t i = 0; i < 2; i++) {
        simdisk_deinit(disks[i]);
        simdisk_copy(disks[i], &copy->disks[i], &node->alloc.base);
    }
    free(node->kept.bytes);
    node->kept = copy->kept;
    /* As often as to pass the count that the table has, and some more. */
    members->impostor_starts = node->starts - copy->starts + rng_below(&members->rng, 6);
    members->impostor_starts = members->impostor_starts > 40 ? 40 : members->impostor_starts;
    node->starts = copy->starts;
    node->past = copy->past;
    copy->kept.bytes = NULL;
    members_forget_copy(members);
    node->impostor = true;
    node->promised = 0;
    members->impostor = node->index;
    members->impostor_until_us =
        world->now_us + (20 + 3 * members->impostor_starts) * members->look_us;
    world->stats.rolled_back++;
}

/* The name of the last segment: of the newest records, damage cannot be told from a torn write. */
static const char *last_segment(const struct simdisk *disk)
{
    const char *last = "";
    for (size_t i = 0; i < simdisk_files(disk); i++) {
        const char *name = simdisk_file_name(disk, i);
        const bool is_segment = strstr(name, ".seg") != NULL || strstr(name, ".wal") != NULL;
        last = is_segment && strcmp(name, last) > 0 ? name : last;
    }
    return last;
}

static void damage(struct world *world, struct node *node)
{
    struct rng *rng = &world->members->rng;
    struct simdisk *disk = rng_percent(rng, 50) ? &node->wal_disk : &node->store_disk;
    uint64_t size = 0;
    if (simdisk_files(disk) == 0) {
        return;
    }
    const char *name = simdisk_file_name(disk, rng_below(rng, simdisk_files(disk)));
    const enum simdisk_damage_kind kind = (enum simdisk_damage_kind)rng_below(rng, SIMDISK_DAMAGES);
    if (strcmp(name, last_segment(disk)) == 0 || !simdisk_size(disk, name, &size) || size == 0) {
        return;
    }
    const uint64_t at = rng_below(rng, size);
    if (simdisk_damage(disk, name, at, kind)) {
        world->stats.damaged++;
        node->damaged = true;
        trace(world, node, "damaged: disk, at, kind", disk == &node->store_disk, at, kind);
    }
}

void members_crashed(struct world *world, struct node *node)
{
    struct members *members = world->members;
    if (node->impostor && !node->gone) {
        if (world->calm || members->impostor_starts == 0) {
            lose(world, node); /* It was told what to do. */
        } else {
            members->impostor_starts--;
            world->stats.copy_starts++;
        }
        return;
    }
    if (world->calm || node->gone || members->copy_percent + members->damage_percent == 0) {
        return;
    }
    const bool copies = members->bring_back || rng_percent(&members->rng, members->copy_percent);
    const bool damages = rng_percent(&members->rng, members->damage_percent);
    if (copies && members->copy.node == NOBODY && !node->damaged) {
        copy_disks(world, node);
    } else if (copies && members->copy.node == node->index && can_bring_back(world)) {
        restore_disks(world, node);
    } else if (damages && members_can_lose(world, node)) {
        damage(world, node);
    }
}

bool members_lose_damaged(struct world *world, struct node *node)
{
    struct members *members = world->members;
    if (!node->damaged || (members->lost != NOBODY && members->lost != node->index)) {
        return false;
    }
    if (!node->gone) {
        world->stats.damage_found++;
        lose(world, node);
    }
    return true;
}
