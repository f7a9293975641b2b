/* A node's life: opened, turned, killed, opened again with what its disks have. */
#include "world.h"

#include <stdlib.h>

static void on_open(struct world *world, struct node *node, void *object, uint64_t number);

uint64_t node_number(const struct node *node)
{
    return node->index + 1;
}

int64_t node_now(const struct world *world, const struct node *node)
{
    return node->mono_us + (int64_t)world->now_us;
}

/* ---- What the replica calls ---- */

struct view {
    struct world *world;
    struct node *node;
};

static struct view views[NODES_MAX]; /* One run at a time. */

static int64_t wall(void *context)
{
    const struct view *view = context;
    return view->node->wall_us + (int64_t)view->world->now_us;
}

static void on_send(void *context, uint64_t to, struct stele_bytes message)
{
    const struct view *view = context;
    net_send(view->world, view->node, to, message);
}

static void on_execute(void *context, struct stele_ordered *command)
{
    const struct view *view = context;
    execute_push(view->world, view->node, command);
}

static void on_give_up(void *context, struct stele_proposal *own, int outcome, const char *words)
{
    const struct view *view = context;
    (void)words;
    struct attempt *attempt = (struct attempt *)own; /* Its first member. */
    if (outcome == STELE_E_OVERLOADED) {
        view->world->stats.overloaded++;
        attempt->never = true;
        if (attempt->executed) {
            fail(view->world, "K5: a command that was executed is said to be in no log");
        }
    } else if (outcome == STELE_E_UNKNOWN) {
        view->world->stats.unknown++;
    } else {
        fail(view->world, "a proposal is given up with %s", stele_outcome_name(outcome));
    }
    client_told(view->world, attempt, outcome, NULL);
}

static void on_fetch(void *context, uint64_t from, uint64_t stamp)
{
    const struct view *view = context;
    view->node->fetching = true;
    fetch_begin(view->world, view->node, from, stamp);
}

static void on_meta(void *context, uint64_t index, bool own, uint64_t id, struct stele_bytes body)
{
    const struct view *view = context;
    trace(view->world, view->node, "meta: index, own, id", index, own, id);
    members_meta(view->world, view->node, index, body);
}

static void on_meta_installed(void *context, uint64_t index, struct stele_bytes data)
{
    const struct view *view = context;
    trace(view->world, view->node, "meta installed: index, size", index, data.size, 0);
    members_meta_installed(view->world, view->node, index, data);
}

static void on_changed(void *context, uint32_t group)
{
    const struct view *view = context;
    const uint64_t leader = stele_replica_leader(view->node->replica, group);
    trace(view->world, view->node, "leader: group, node", group, leader, 0);
    view->world->stats.elections += leader == node_number(view->node);
}

static const struct stele_replica_env replica_env = {.wall_us = wall,
                                                     .send = on_send,
                                                     .execute = on_execute,
                                                     .give_up = on_give_up,
                                                     .fetch = on_fetch,
                                                     .meta = on_meta,
                                                     .meta_installed = on_meta_installed,
                                                     .changed = on_changed};

/* ---- Turning ---- */

static void on_turn(struct world *world, struct node *node, void *object, uint64_t number);

static void on_timer(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    if (number == node->timer) {
        node_kick(world, node);
    }
}

static void on_turn(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct stele_error err = {.outcome = 0};
    node->turn_scheduled = false;
    world->stats.turns++;
    const int outcome = stele_replica_turn(node->replica, node_now(world, node), &err);
    if (outcome != STELE_OK) {
        node_failed(world, node, outcome, "a turn", &err);
        return;
    }
    disks_pump(world, node);
    const int64_t due_us = stele_replica_due_us(node->replica) - node_now(world, node);
    after(world, node, due_us > 0 ? (uint64_t)due_us : 1, on_timer, NULL, NULL, ++node->timer);
}

void node_kick(struct world *world, struct node *node)
{
    if (node->up && !node->turn_scheduled) {
        node->turn_scheduled = true;
        after(world, node, rng_below(&world->rng_schedule, 100), on_turn, NULL, NULL, 0);
    }
}

/* ---- Looking after it ---- */

static void on_look(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    stele_replica_check(node->replica);
    stele_store_check(node->store);
    truth_read(world, node);
    if (!node->up) {
        return;
    }
    members_compare(world, node);
    after(world, node, rng_exponential(&world->rng_schedule, world->config.read_us), on_look, NULL,
          NULL, 0);
}

/* Background work of the store, at once: when is no matter of this simulator. */
static void on_work(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct stele_error err = {.outcome = 0};
    struct stele_work *work = NULL;
    const int64_t wall_us = node->wall_us + (int64_t)world->now_us;
    if (stele_work_begin(node->store, wall_us, false, &work, &err) == STELE_OK) {
        const int outcome = stele_work_run(work, &err);
        (void)(stele_work_end(node->store, work, outcome, &err) == STELE_OK);
    }
    after(world, node, rng_exponential(&world->rng_schedule, world->config.work_us), on_work, NULL,
          NULL, 0);
}

/* ---- Opening ---- */

static int open_store(struct world *world, struct node *node, struct stele_error *err)
{
    struct stele_store_options options = {.public = STELE_OPTIONS_INIT,
                                          .ordered = true,
                                          .syncs_later = world->config.sync_us > 0,
                                          .live_end = UINT64_MAX};
    options.public.partitions = world->config.partitions;
    options.public.segment_size_max = world->config.segment_size_store;
    options.public.index_memory = world->config.index_memory;
    const int outcome = stele_store_open(&node->store_disk.io, &options, &node->store, err);
    return outcome == STELE_OK ? stele_prepared_create(node->store, &node->prepared, err) : outcome;
}

static int open_replica(struct world *world, struct node *node, struct stele_error *err)
{
    uint64_t founders[NODES_MAX];
    for (uint32_t i = 0; i < world->config.nodes; i++) {
        founders[i] = i + 1;
    }
    struct stele_replica_options options = stele_replica_options_default();
    memset(options.raft.wal.owner_id, (int)node_number(node), sizeof options.raft.wal.owner_id);
    options.raft.wal.secret = 77;
    options.raft.wal.segment_size = world->config.segment_size_wal;
    options.raft.wal.spares_max = 2;
    options.raft.node = node_number(node);
    options.raft.founders = founders;
    options.raft.founders_count = node->index < world->config.nodes ? world->config.nodes : 0;
    options.raft.seed = world->seed ^ node->boot;
    options.raft.election_ms = world->config.election_ms;
    options.raft.heartbeat_ms = world->config.heartbeat_ms;
    options.raft.trailing = world->config.trailing;
    options.raft.wal_keep = world->config.wal_keep;
    options.raft.cache_size = world->config.cache_size;
    options.partitions = world->config.partitions;
    options.boot = node->boot;
    options.executed = stele_store_ordered_durable(node->store);
    options.catching_up = stele_store_is_catching_up(node->store);
    options.proposals_max = world->config.proposals_max;
    options.resend_us = (int64_t)world->config.resend_us;
    options.give_up_us = (int64_t)world->config.give_up_us;
    options.tick_us = (int64_t)world->config.tick_us;
    options.time_us = (int64_t)world->config.time_us;
    options.announce_us = (int64_t)world->config.announce_us;
    views[node->index] = (struct view){.world = world, .node = node};
    return stele_replica_open(&node->wal_disk.io, &options, &replica_env, &views[node->index],
                              node_now(world, node), &node->replica, err);
}

static void close_all(struct world *world, struct node *node)
{
    disks_crashed(node);
    stele_replica_close(node->replica);
    node->replica = NULL;
    execute_crashed(world, node);
    fetch_crashed(world, node);
    scavenge_crashed(node);
    stele_prepared_destroy(node->prepared);
    node->prepared = NULL;
    stele_store_close(node->store);
    node->store = NULL;
    if (node->alloc.bytes != 0) {
        fail(world, "node %u is closed and %llu bytes in %llu blocks are not released",
             node->index + 1, (unsigned long long)node->alloc.bytes,
             (unsigned long long)node->alloc.blocks);
    }
    if (node->wal_disk.open_files + node->store_disk.open_files != 0) {
        fail(world, "node %u is closed and has open files", node->index + 1);
    }
}

static void on_open(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct stele_error err = {.outcome = 0};
    STELE_ASSERT(!node->up);
    if (node->gone) {
        return;
    }
    node->boot = ++world->next_boot * 7919;
    members_opening(world, node);
    node->mono_us = (int64_t)rng_below(&world->rng_schedule, HOUR);
    int outcome = open_store(world, node, &err);
    if (outcome == STELE_OK) {
        outcome = open_replica(world, node, &err);
    }
    if (outcome != STELE_OK) {
        world->stats.failed_opens++;
        node_failed(world, node, outcome, "opening", &err);
        return;
    }
    const uint64_t executed = stele_store_ordered_durable(node->store);
    if (executed < node->promised) {
        fail(world,
             "P1: node %u said that the effects of %llx are durable; opened again it has those up "
             "to %llx",
             node->index + 1, (unsigned long long)node->promised, (unsigned long long)executed);
    }
    if ((node->power_cut && stele_store_syncs_later(node->store)) || node->impostor) {
        /* What was executed and not synced is in the logs of a majority, and is executed here again. */
        while (node->read > 0 &&
               world->model.events[node->read - 1].position > stele_store_position(node->store)) {
            node->read--;
        }
    }
    node->power_cut = false;
    node->up = true;
    node->visible = executed;
    node->effect = executed;
    node->cursor = truth_after(world, executed);
    trace(world, node, "open: executed, next, boot", executed, node->cursor, node->boot);
    node_kick(world, node);
    place_opened(world, node);
    members_opened(world, node);
    scavenge_opened(world, node);
    after(world, node, rng_exponential(&world->rng_schedule, world->config.read_us), on_look, NULL,
          NULL, 0);
    after(world, node, rng_exponential(&world->rng_schedule, world->config.work_us), on_work, NULL,
          NULL, 0);
}

void node_start(struct world *world, struct node *node)
{
    testalloc_init(&node->alloc, world->seed + node->index);
    simdisk_init(&node->wal_disk, world->seed * 16 + 2 * node->index, &node->alloc.base);
    simdisk_init(&node->store_disk, world->seed * 16 + 2 * node->index + 1, &node->alloc.base);
    node->life = 1;
    node->last = &node->first;
    after(world, node, rng_below(&world->rng_schedule, SECOND), on_open, NULL, NULL, 0);
}

void node_hurry(struct world *world, struct node *node)
{
    if (!node->up) {
        node->life++; /* The opening that was planned is not. */
        after(world, node, rng_below(&world->rng_schedule, SECOND), on_open, NULL, NULL, 0);
    }
}

/* ---- Dying ---- */

void node_crash(struct world *world, struct node *node, bool power, uint64_t downtime_us)
{
    node->power_cut = node->power_cut || power; /* Openings in between may fail. */
    struct simdisk *disks[] = {&node->wal_disk, &node->store_disk};
    world->stats.crashes++;
    world->stats.power_cuts += power;
    trace(world, node, "crash: power, downtime", power, downtime_us, 0);
    for (size_t i = 0; i < 2; i++) {
        disks[i]->dead = true;
    }
    node->up = false;
    node->life++;
    close_all(world, node);
    node->turn_scheduled = false;
    node->paused_until_us = 0;
    node->slow_until_us = 0;
    for (size_t i = 0; i < 2; i++) {
        if (power) {
            simdisk_power_cut(disks[i],
                              (enum simdisk_keep)rng_below(&world->rng_fault, SIMDISK_KEEPS));
        } else {
            simdisk_restart(disks[i]);
        }
        disks[i]->broken = false;
    }
    members_crashed(world, node);
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        net_break(world, node->index, i);
    }
    after(world, node, downtime_us, on_open, NULL, NULL, 0);
}

void node_failed(struct world *world, struct node *node, int outcome, const char *what,
                 const struct stele_error *err)
{
    const uint64_t reasons = node->wal_disk.counts.errors + node->wal_disk.counts.no_space +
                             node->store_disk.counts.errors + node->store_disk.counts.no_space;
    const bool may =
        outcome == STELE_E_IO || outcome == STELE_E_NO_SPACE || outcome == STELE_E_FENCED;
    trace(world, node, "failed: outcome, reasons", (uint64_t)outcome, reasons, 0);
    if (members_lose_damaged(world, node)) {
        node_crash(world, node, true, MS);
        return;
    }
    if (!may || reasons == 0) {
        fail(world, "node %u: %s ends with %s without a reason: %s", node->index + 1, what,
             stele_outcome_name(outcome), err->message);
    }
    node_crash(world, node, false, rng_exponential(&world->rng_fault, SECOND));
}

void node_free(struct world *world, struct node *node)
{
    if (node->up) {
        node->up = false;
        node->life++;
        node->wal_disk.dead = true;
        node->store_disk.dead = true;
        close_all(world, node);
    }
    simdisk_deinit(&node->wal_disk);
    simdisk_deinit(&node->store_disk);
    free(node->answers);
}
