/* A run: faults for a while, then healing, and then everything has to come to rest. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

#define WALL_US INT64_C(1700000000000000) /* 2023 */
#define YEAR_US INT64_C(31536000000000)
#define ASKED 4 /* Requests of each node, in the end … */
#define TRIES 4 /* … and how often each. */

static struct node *pick(struct world *world)
{
    return &world->nodes[rng_below(&world->rng_fault, world->nodes_count)];
}

static bool is_power(struct world *world)
{
    return !rng_percent(&world->rng_fault, world->config.kill_percent);
}

/* Two draws in one call's arguments would come in any order. */
static void crash(struct world *world, struct node *node)
{
    const bool power = is_power(world);
    node_crash(world, node, power, rng_exponential(&world->rng_fault, world->config.downtime_us));
}

/* ---- Faults: each comes again after a while ---- */

static void again(struct world *world, uint64_t mean_us, world_handler handler)
{
    if (!world->calm && mean_us != 0 && !world->bursting) {
        after(world, NULL, rng_exponential(&world->rng_fault, mean_us), handler, NULL, NULL, 0);
    }
}

static void on_crash(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    again(world, world->config.crash_us, on_crash);
    node = pick(world);
    if (world->calm || !node->up) {
        return;
    }
    if (rng_percent(&world->rng_fault, world->config.loop_percent)) {
        node->loop_until_us = world->now_us + 20 * SECOND;
    }
    crash(world, node);
}

static void on_loop(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    again(world, SECOND, on_loop);
    for (uint32_t i = 0; i < world->nodes_count && !world->calm; i++) {
        node = &world->nodes[i];
        if (node->up && node->loop_until_us > world->now_us) {
            const bool power = is_power(world);
            node_crash(world, node, power, rng_below(&world->rng_fault, 300 * MS));
        }
    }
}

static void on_crash_all(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    again(world, world->config.crash_all_us, on_crash_all);
    const bool power = is_power(world);
    world->stats.crash_all += !world->calm;
    for (uint32_t i = 0; i < world->nodes_count && !world->calm; i++) {
        node = &world->nodes[i];
        if (node->up) {
            node_crash(world, node, power,
                       rng_exponential(&world->rng_fault, world->config.downtime_us));
        }
    }
}

static void on_pause(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    again(world, world->config.pause_us, on_pause);
    node = pick(world);
    if (!world->calm && node->up) {
        const uint64_t for_us = rng_exponential(&world->rng_fault, world->config.pause_for_us) %
                                world->config.pause_max_us;
        world->stats.pauses++;
        node->paused_until_us = world->now_us + for_us;
        trace(world, node, "pause", for_us, 0, 0);
    }
}

static void on_clock(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct rng *rng = &world->rng_fault;
    again(world, world->config.clock_us, on_clock);
    node = pick(world);
    const int64_t jump = (int64_t)rng_log(rng, MS, (uint64_t)(3 * YEAR_US));
    const bool ahead = rng_percent(rng, 50);
    const int64_t wall_us = node->wall_us + (ahead ? jump : -jump);
    if (!world->calm && wall_us > WALL_US - 20 * YEAR_US && wall_us < WALL_US + 40 * YEAR_US) {
        world->stats.clocks++;
        node->wall_us = rng_percent(rng, 20) ? WALL_US : wall_us;
        trace(world, node, "clock", (uint64_t)node->wall_us, 0, 0);
    }
}

static void on_stall(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    again(world, world->config.stall_us, on_stall);
    node = pick(world);
    if (!world->calm && node->up) {
        world->stats.stalls++;
        node->slow_until_us =
            world->now_us + rng_exponential(&world->rng_fault, world->config.stall_for_us);
        trace(world, node, "disk stalls", node->slow_until_us - world->now_us, 0, 0);
    }
}

static void on_space(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    node->wal_disk.faults.no_space = 0;
    node->store_disk.faults.no_space = 0;
    trace(world, node, "space again", 0, 0, 0);
}

static void on_full(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct rng *rng = &world->rng_fault;
    again(world, world->config.full_us, on_full);
    node = pick(world);
    if (!world->calm) {
        struct simdisk *disk = rng_percent(rng, 50) ? &node->wal_disk : &node->store_disk;
        world->stats.full++;
        disk->faults.no_space = rng_percent(rng, 50) ? 1 : 10;
        trace(world, node, "disk full: which", disk == &node->wal_disk, 0, 0);
        after_always(world, node, rng_exponential(rng, 3 * SECOND), on_space, 0);
    }
}

static void on_break(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    again(world, world->config.break_us, on_break);
    if (!world->calm) {
        world->stats.breaks++;
        node = pick(world);
        net_break(world, node->index, pick(world)->index);
    }
}

/* Whole, one-way, or of some links only. */
static void on_partition(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct rng *rng = &world->rng_fault;
    again(world, world->config.partition_us, on_partition);
    if (world->calm) {
        return;
    }
    const uint64_t for_us = rng_exponential(rng, world->config.partition_for_us);
    const uint64_t side = rng_next(rng);
    const uint64_t kind = rng_below(rng, 3);
    world->stats.partitions++;
    trace(world, NULL, "partition: side, kind, for", side & 0xff, kind, for_us);
    for (uint32_t a = 0; a < world->nodes_count; a++) {
        for (uint32_t b = 0; b < world->nodes_count; b++) {
            const bool apart = (side >> a & 1) != (side >> b & 1);
            if (kind == 0   ? apart
                : kind == 1 ? apart && (side >> a & 1) != 0
                            : a != b && rng_percent(rng, 30)) {
                net_cut(world, a, b, for_us);
            }
        }
    }
    (void)node;
}

/* One thing after the other goes wrong, and clients are in a hurry. */
static void on_burst(struct world *world, struct node *node, void *object, uint64_t number)
{
    const struct config *c = &world->config;
    const struct {
        uint64_t mean_us;
        world_handler handler;
    } faults[] = {{c->crash_us, on_crash}, {c->crash_all_us, on_crash_all}, {c->pause_us, on_pause},
                  {c->clock_us, on_clock}, {c->stall_us, on_stall},         {c->full_us, on_full},
                  {c->break_us, on_break}, {c->partition_us, on_partition}};
    (void)node;
    (void)object;
    if (world->calm) {
        return;
    }
    if (number == 0) { /* It begins. */
        world->stats.bursts++;
        world->busy_until_us = world->now_us + c->burst_for_us;
    }
    const size_t which = rng_below(&world->rng_fault, STELE_COUNT_OF(faults));
    if (faults[which].mean_us != 0) {
        world->bursting = true;
        faults[which].handler(world, NULL, NULL, 0);
        world->bursting = false;
    }
    const bool goes_on = world->now_us < world->busy_until_us;
    after(world, NULL,
          rng_exponential(&world->rng_fault, goes_on ? c->burst_every_us : c->burst_us), on_burst,
          NULL, NULL, goes_on ? 1 : 0);
}

static void begin_faults(struct world *world)
{
    const struct config *c = &world->config;
    again(world, c->crash_us, on_crash);
    again(world, c->loop_percent == 0 ? 0 : SECOND, on_loop);
    again(world, c->crash_all_us, on_crash_all);
    again(world, c->pause_us, on_pause);
    again(world, c->clock_us, on_clock);
    again(world, c->stall_us, on_stall);
    again(world, c->full_us, on_full);
    again(world, c->break_us, on_break);
    again(world, c->partition_us, on_partition);
    again(world, c->burst_us, on_burst);
}

/* ---- Peace ---- */

static void heal(struct world *world)
{
    world->calm = true;
    net_heal(world);
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        struct node *node = &world->nodes[i];
        node->paused_until_us = 0;
        node->slow_until_us = 0;
        node->loop_until_us = 0;
        node->wal_disk.faults.no_space = 0;
        node->store_disk.faults.no_space = 0;
        if (world->run.hours) {
            node_hurry(world, node);
        }
    }
    trace(world, NULL, "healed", 0, 0, 0);
}

/* Has this node executed everything, durably? */
static bool has_all(const struct world *world, const struct node *node)
{
    return node->up && truth_is_done(world, node) && node->first == NULL &&
           node->answers_count == 0 && disks_store_is_idle(node) && !node->fetching;
}

static bool is_at_rest(struct world *world)
{
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        if (!world->nodes[i].gone && !has_all(world, &world->nodes[i])) {
            return false;
        }
    }
    return client_is_idle(world) && members_are_done(world) && place_is_done(world);
}

/* What somebody who looks for the reason wants to know first. */
static void print_groups(const struct world *world)
{
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        const struct node *node = &world->nodes[i];
        for (uint32_t group = 0; node->up && group <= world->config.partitions; group++) {
            struct stele_raft_status status;
            uint64_t numbers[STELE_RAFT_NODES_MAX];
            enum stele_raft_member members[STELE_RAFT_NODES_MAX];
            struct stele_raft *raft = stele_replica_raft(node->replica);
            stele_raft_status(raft, group, &status);
            const size_t count = stele_raft_members(raft, group, numbers, members);
            printf("node %u, group %u: role %d, term %llu, leader %llu, last %llu, committed %llu, "
                   "snapshot %llu; members",
                   i + 1, group, (int)status.role, (unsigned long long)status.term,
                   (unsigned long long)status.leader, (unsigned long long)status.last_index,
                   (unsigned long long)status.commit_index,
                   (unsigned long long)status.snapshot_index);
            for (size_t k = 0; k < count; k++) {
                printf(" %llu%s", (unsigned long long)numbers[k],
                       members[k] == STELE_RAFT_VOTER ? "" : "-");
            }
            printf("\n");
        }
    }
}

static void wait_for_rest(struct world *world, const char *when)
{
    const uint64_t until_us = world->now_us + world->config.healed_us;
    while (!is_at_rest(world) && step(world, until_us)) {
    }
    if (!is_at_rest(world)) {
        print_groups(world);
    }
    for (uint32_t i = 0; i < world->config.clients; i++) {
        if (world->clients[i].operation != NULL) {
            fail(world, "%s: client %u has waited for %llu s, and asked %llu times", when, i,
                 (unsigned long long)((world->now_us - world->clients[i].begun_us) / SECOND),
                 (unsigned long long)world->clients[i].tries);
        }
    }
    if (!members_are_done(world)) {
        fail(world, "%s: somebody is not replaced, or has not the newest table", when);
    }
    if (!place_is_done(world)) {
        fail(world, "%s: those do not vote who should", when);
    }
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        struct node *node = &world->nodes[i];
        struct stele_replica_counts counts = {.closed = 0};
        if (!node->gone && !has_all(world, node)) {
            if (node->up) {
                stele_replica_counts(node->replica, &counts);
            }
            fail(
                world,
                "%s: node %u is %s and has executed %zu of %zu; closed %llx (partition %u), wanted "
                "%llx, durable %llx, waiting %llu",
                when, i + 1, node->up ? "up" : "down", node->cursor, world->truth_count,
                (unsigned long long)counts.closed, counts.slowest,
                (unsigned long long)counts.wanted, (unsigned long long)counts.durable,
                (unsigned long long)counts.waiting);
        }
    }
}

static uint64_t written(const struct world *world)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        struct stele_raft_counts counts;
        if (world->nodes[i].gone) {
            continue;
        }
        stele_raft_counts(stele_replica_raft(world->nodes[i].replica), &counts);
        bytes += counts.entries_submitted;
    }
    return bytes;
}

static void run_for(struct world *world, uint64_t us)
{
    const uint64_t until_us = world->now_us + us;
    while (step(world, until_us)) {
        if (world->run.until != 0 && world->stats.events >= world->run.until) {
            fail(world, "stopped, as asked");
        }
    }
}

/* Who has nothing to do submits nothing. A plan of placement is done step by step, each a few beats after the
 * last, so some stretches may pass before there is nothing to do. */
static void check_idle(struct world *world)
{
    enum { STRETCHES_MAX = 6 };
    uint64_t before = written(world);
    for (int i = 0; i < STRETCHES_MAX; i++) {
        run_for(world, world->config.idle_us);
        const uint64_t now = written(world);
        if (now == before) {
            return;
        }
        before = now;
    }
    run_for(world, world->config.idle_us);
    if (written(world) != before) {
        fail(world, "a cluster without work has submitted %llu entries in its last idle stretch",
             (unsigned long long)(written(world) - before));
    }
}

/* Without faults every node answers what it is asked, if not at once, because it is still falling behind or catching up,
 * then when it is asked again. */
static void check_answers(struct world *world)
{
    for (uint32_t i = 0; i < world->nodes_count * ASKED; i++) {
        struct node *node = &world->nodes[i / ASKED];
        if (node->gone) {
            continue;
        }
        client_ask(world, node);
        wait_for_rest(world, "asked in peace");
        if (world->clients[0].tries > TRIES) {
            fail(world, "in peace node %u is asked %llu times", node->index + 1,
                 (unsigned long long)world->clients[0].tries);
        }
    }
}

static void check_end(struct world *world)
{
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        struct node *node = &world->nodes[i];
        if (node->gone) {
            continue;
        }
        stele_replica_check(node->replica);
        stele_store_check(node->store);
        truth_read_all(world, node);
    }
}

static void add_counts(struct stats *totals, const struct stats *stats)
{
    uint64_t *to = (uint64_t *)totals;
    const uint64_t *from = (const uint64_t *)stats;
    for (size_t i = 0; i < sizeof *stats / sizeof *to; i++) {
        to[i] += from[i];
    }
}

static struct world *world_create(uint64_t seed, const struct run *run)
{
    struct world *world = calloc(1, sizeof *world);
    STELE_ASSERT(world != NULL);
    world->seed = seed;
    world->run = *run;
    rng_init(&world->rng_config, seed, 1);
    rng_init(&world->rng_workload, seed, 2);
    rng_init(&world->rng_schedule, seed, 3);
    rng_init(&world->rng_fault, seed, 4);
    config_draw(world);
    if (run->tracing) {
        config_print(&world->config);
    }
    world->nodes_count = world->config.nodes;
    place_init(world);
    members_init(world);
    scavenge_init(world);
    model_init(&world->model, world->config.partitions, STELE_KEY_STREAM);
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        for (uint32_t k = 0; k < NODES_MAX; k++) {
            world->links[i][k].epoch = 1;
        }
        world->nodes[i].index = i;
        world->nodes[i].wall_us = WALL_US;
    }
    return world;
}

static void world_destroy(struct world *world)
{
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        node_free(world, &world->nodes[i]);
    }
    queue_deinit(world);
    client_free_all(world);
    workload_deinit(&world->workload);
    model_deinit(&world->model);
    members_deinit(world);
    place_deinit(world);
    free(world->truth);
    free(world);
}

uint64_t world_run(uint64_t seed, const struct run *run, struct stats *totals)
{
    struct world *world = world_create(seed, run);
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        node_start(world, &world->nodes[i]);
    }
    client_start(world);
    begin_faults(world);
    place_start(world);
    members_start(world);
    run_for(world, world->config.duration_us);
    world->stopping = true;
    heal(world);
    wait_for_rest(world, "after healing");
    check_answers(world);
    check_idle(world);
    check_end(world);
    /* All at once, once more: what they have is on their disks. */
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        if (!world->nodes[i].gone) {
            node_crash(world, &world->nodes[i], true, MS);
        }
    }
    run_for(world, 10 * SECOND);
    wait_for_rest(world, "after everything was restarted");
    check_end(world);
    world->stats.simulated_us = world->now_us;
    add_counts(totals, &world->stats);
    const uint64_t hash = world->hash;
    world_destroy(world);
    return hash;
}
