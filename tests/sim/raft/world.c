/* The nodes: what they do, what their disks do, and what happens to them.
 *
 * The owner of each node's driver is as simple as can be: it chains hashes of what it is told. A snapshot is the chain
 * up to an index, and so can be compared wherever it arrives. */
#include "raft_sim.h"

/* Before the end, for everybody to get everything. */
#define QUIET_US 6000000

static void plan_wake(struct sim *sim, struct node *node, uint64_t at_us)
{
    at_us = at_us < sim->now_us ? sim->now_us : at_us;
    at_us = at_us < node->paused_until_us ? node->paused_until_us : at_us;
    if (at_us < node->wake_us) {
        node->wake_us = at_us;
        sim_plan(sim, at_us - sim->now_us,
                 (struct event){.kind = EVENT_WAKE, .node = node->number, .life = node->life});
    }
}

/* ---- What the driver calls ---- */

struct context {
    struct sim *sim;
    struct node *node;
};
static struct context contexts[NODES_MAX + 1];

static void on_send(void *context, uint64_t to, struct stele_bytes frame)
{
    struct context *const it = context;
    sim_mix(it->sim, it->node->number << 32 | to);
    sim_mix(it->sim, truth_value(frame));
    truth_sent(it->sim, it->node, frame);
    net_send(it->sim, it->node->number, to, frame);
}

static void on_stored(void *context, uint32_t group, const struct stele_raft_entry *entry)
{
    struct context *const it = context;
    sim_mix(it->sim, group + entry->index);
    STELE_ASSERT(entry->payload.size > 0);
}

static void on_committed(void *context, uint32_t group, const struct stele_raft_entry *entry)
{
    struct context *const it = context;
    truth_told(it->sim, it->node, group, entry);
}

static void on_changed(void *context, uint32_t group, const struct stele_raft_status *status)
{
    struct context *const it = context;
    sim_trace(it->sim, "node %llu group %u: role %d term %llu leader %llu",
              (unsigned long long)it->node->number, group, (int)status->role,
              (unsigned long long)status->term, (unsigned long long)status->leader);
}

static void on_install(void *context, uint32_t group, uint64_t from, uint64_t index, uint64_t term,
                       struct stele_bytes data)
{
    struct context *const it = context;
    struct sim *const sim = it->sim;
    struct owner *const owner = &it->node->owners[group];
    const struct truth_entry *const entry = truth_at(sim, group, index);
    sim_trace(sim, "node %llu group %u: install %llu of node %llu",
              (unsigned long long)it->node->number, group, (unsigned long long)index,
              (unsigned long long)from);
    if (index < owner->next || entry->term != term || data.size != 16 ||
        stele_load_u64le(data.data) != index || stele_load_u64le(data.data + 8) != entry->chain) {
        sim_fail(sim, "node %llu is to install a snapshot of group %u at %llu that is none",
                 (unsigned long long)it->node->number, group, (unsigned long long)index);
    }
    sim->stats->installs++;
    owner->installing = true;
    owner->install_index = index;
    sim_plan(sim, rng_between(&sim->rng, 1, sim->config.install_us),
             (struct event){.kind = EVENT_INSTALLED,
                            .node = it->node->number,
                            .other = group,
                            .life = it->node->life});
}

static const struct stele_raft_env env = {.send = on_send,
                                          .stored = on_stored,
                                          .committed = on_committed,
                                          .changed = on_changed,
                                          .install = on_install};

/* ---- Up and down ---- */

static void end_writes(struct node *node)
{
    for (size_t i = 0; i < WRITES_MAX; i++) {
        if (node->writes[i].sync != NULL) {
            (void)simdisk_sync_end(node->writes[i].sync, NULL);
        }
        node->writes[i] = (struct write){.sync = NULL};
    }
}

static void take_down(struct sim *sim, struct node *node, bool power)
{
    node->disk.dead = true;
    end_writes(node);
    stele_raft_close(node->raft);
    node->raft = NULL;
    node->life++;
    node->wake_us = UINT64_MAX;
    node->paused_until_us = 0;
    if (node->alloc.blocks != 0) {
        sim_fail(sim, "node %llu leaks %llu blocks", (unsigned long long)node->number,
                 (unsigned long long)node->alloc.blocks);
    }
    sim->stats->disk_errors += node->disk.counts.errors - node->errors_before;
    node->errors_before = node->disk.counts.errors;
    node->disk.die_after = 0;
    if (power) {
        sim->stats->power_cuts++;
        simdisk_power_cut(&node->disk,
                          (enum simdisk_keep)rng_below(&sim->rng_fault, SIMDISK_KEEPS));
    } else {
        simdisk_restart(&node->disk);
    }
    node->disk.broken = false;
}

static void crash(struct sim *sim, struct node *node, bool power)
{
    sim->stats->crashes++;
    sim_trace(sim, "node %llu goes down, power %d", (unsigned long long)node->number, (int)power);
    take_down(sim, node, power);
    const uint64_t after = sim->calm ? 100000 : rng_log(&sim->rng_fault, 5000, 3000000);
    sim_plan(sim, after, (struct event){.kind = EVENT_RESTART, .node = node->number});
}

static bool draw_power(struct sim *sim)
{
    return !rng_percent(&sim->rng_fault, sim->config.kill_percent);
}

/* An outcome that only faults explain takes the node down, as it would the process. */
static void has_failed(struct sim *sim, struct node *node, int outcome,
                       const struct stele_error *err)
{
    const bool has_errors = node->disk.counts.errors != node->errors_before || node->disk.dead;
    sim_trace(sim, "node %llu fails: %s (%s)", (unsigned long long)node->number,
              stele_outcome_name(outcome), err->message);
    sim->stats->fenced += outcome == STELE_E_FENCED;
    sim->stats->no_memory += outcome == STELE_E_NO_MEMORY;
    /* A process that is killed after a failed write finds a cache that lies, and notices. */
    const bool has_liar = simdisk_cache_lies(&node->disk);
    const bool is_explained =
        (outcome == STELE_E_IO && has_liar) ||
        ((outcome == STELE_E_IO || outcome == STELE_E_FENCED) && has_errors) ||
        (outcome == STELE_E_NO_SPACE && node->disk.faults.capacity != 0) ||
        (outcome == STELE_E_NO_MEMORY && node->alloc.failures > 0);
    if (!is_explained) {
        sim_fail(sim, "node %llu ends with %s (%d) without a reason: %s",
                 (unsigned long long)node->number, stele_outcome_name(outcome), outcome,
                 err->message);
    }
    if (node->raft != NULL) {
        crash(sim, node, draw_power(sim));
    } else {
        sim->stats->opens_failed++;
        sim->stats->disk_errors += node->disk.counts.errors - node->errors_before;
        node->errors_before = node->disk.counts.errors;
        if (node->disk.dead || has_liar) {
            take_down(sim, node, has_liar || draw_power(sim));
        }
        sim_plan(sim, rng_log(&sim->rng_fault, 5000, 1000000),
                 (struct event){.kind = EVENT_RESTART, .node = node->number});
    }
}

static int64_t clock_of(const struct sim *sim, const struct node *node)
{
    return (int64_t)(sim->now_us / 1000) + (int64_t)node->number * 1000003 - 3000000;
}

static void open_node(struct sim *sim, struct node *node)
{
    if (node->raft != NULL) {
        return;
    }
    static const uint64_t founders[] = {1, 2, 3, 4, 5};
    struct stele_raft_options options = sim->config.options;
    options.node = node->number;
    options.seed = sim->seed;
    options.wal.owner_id[0] = (uint8_t)node->number;
    options.wal.secret = sim->seed * 7 + node->number;
    options.founders = founders;
    options.founders_count = node->number <= sim->config.founders ? sim->config.founders : 0;
    contexts[node->number] = (struct context){sim, node};
    struct stele_error err = {0};
    if (!sim->calm && rng_percent(&sim->rng_fault, sim->config.in_call_percent / 4)) {
        node->disk.die_after = rng_log(&sim->rng_fault, 1, 64);
    }
    struct stele_raft *raft = NULL;
    const int outcome = stele_raft_open(&node->disk.io, &options, &env, &contexts[node->number],
                                        clock_of(sim, node), &raft, &err);
    if (outcome != STELE_OK) {
        has_failed(sim, node, outcome, &err);
        return;
    }
    node->raft = raft;
    sim->stats->opens++;
    sim_trace(sim, "node %llu is up", (unsigned long long)node->number);
    truth_reopened(sim, node);
    truth_look(sim, node);
    plan_wake(sim, node, sim->now_us);
}

/* ---- Turns and writes ---- */

static void take_writes(struct sim *sim, struct node *node)
{
    for (size_t i = 0; i < WRITES_MAX; i++) {
        struct write *const write = &node->writes[i];
        struct stele_wal_group group;
        if (write->used || !stele_raft_take(node->raft, &group)) {
            continue;
        }
        write->used = true;
        write->id = group.id;
        write->sync = NULL;
        const int outcome = node->disk.io.ops->write(group.file, group.offset, group.bytes, NULL);
        if (outcome == STELE_OK) {
            write->sync = simdisk_sync_range_begin(group.file, group.offset, group.bytes.size);
        }
        uint64_t after = rng_between(&sim->rng_disk, 1, sim->config.disk_us);
        if (!sim->calm && rng_percent(&sim->rng_disk, sim->config.stall)) {
            after = rng_between(&sim->rng_disk, 5000, 600000);
        }
        sim_plan(sim, after,
                 (struct event){
                     .kind = EVENT_WRITTEN, .node = node->number, .other = i, .life = node->life});
    }
}

static void written(struct sim *sim, struct node *node, uint64_t number)
{
    struct write *const write = &node->writes[number];
    int outcome = STELE_E_IO;
    if (write->sync != NULL) {
        outcome = simdisk_sync_end(write->sync, NULL);
    }
    const uint64_t id = write->id;
    *write = (struct write){.sync = NULL};
    stele_raft_done(node->raft, id, outcome);
    plan_wake(sim, node, sim->now_us);
}

static void turn(struct sim *sim, struct node *node)
{
    struct stele_error err = {0};
    const int outcome = stele_raft_turn(node->raft, clock_of(sim, node), &err);
    if (outcome != STELE_OK || node->disk.dead) {
        has_failed(sim, node, outcome == STELE_OK ? STELE_E_IO : outcome, &err);
        return;
    }
    truth_look(sim, node);
    if (rng_one_in(&sim->rng, 8)) {
        stele_raft_check(node->raft);
    }
    take_writes(sim, node);
    struct stele_raft_counts counts;
    stele_raft_counts(node->raft, &counts);
    sim->stats->most_wal =
        counts.wal_size > sim->stats->most_wal ? counts.wal_size : sim->stats->most_wal;
    const int64_t wait = stele_raft_due_ms(node->raft) - clock_of(sim, node);
    plan_wake(sim, node, wait <= 0 ? sim->now_us + 10 : sim->now_us + (uint64_t)wait * 1000);
}

static void receive(struct sim *sim, const struct event *event)
{
    struct node *const node = &sim->nodes[event->node];
    if (node->raft == NULL || sim->cut[event->other][event->node]) {
        return;
    }
    struct stele_error err = {0};
    const int outcome = stele_raft_receive(node->raft, event->other,
                                           (struct stele_bytes){event->bytes, event->size}, &err);
    if (outcome != STELE_OK && event->life == 0) {
        sim_fail(sim, "node %llu refuses a frame: %s", (unsigned long long)node->number,
                 err.message);
    }
    if (outcome == STELE_OK && event->life != 0) {
        sim_fail(sim, "node %llu takes a damaged frame", (unsigned long long)node->number);
    }
    plan_wake(sim, node, sim->now_us);
}

/* ---- What owners ask for ---- */

struct node *world_leader(struct sim *sim, uint32_t group)
{
    struct node *leader = NULL;
    uint64_t term = 0;
    for (uint64_t i = 1; i <= sim->config.nodes; i++) {
        struct stele_raft_status status;
        if (sim->nodes[i].raft == NULL) {
            continue;
        }
        stele_raft_status(sim->nodes[i].raft, group, &status);
        if (status.role == STELE_RAFT_LEADER && status.term > term) {
            leader = &sim->nodes[i];
            term = status.term;
        }
    }
    return leader;
}

static void submit_one(struct sim *sim, struct node *node, uint32_t group)
{
    static uint8_t payload[16384];
    struct stele_raft_status status;
    stele_raft_status(node->raft, group, &status);
    if (status.role != STELE_RAFT_LEADER) {
        return;
    }
    const size_t size = 8 + (size_t)rng_below(&sim->rng_client, sim->config.payload_max);
    memset(payload, (int)(sim->value & 0xff), size);
    stele_store_u64le(payload, ++sim->value);
    uint64_t index = 0;
    const struct stele_bytes bytes = {payload, size};
    const int outcome = stele_raft_submit(node->raft, group, status.term, bytes, &index);
    if (outcome == STELE_OK) {
        struct truth_entry *const entry = truth_at(sim, group, index);
        /* A later one may take the place of one that was dropped. */
        if (entry->expected_term <= status.term) {
            entry->expected_term = status.term;
            entry->expected_value = truth_value(bytes);
        }
        plan_wake(sim, node, sim->now_us);
    } else {
        sim->stats->refused++;
        const bool is_expected = outcome == STELE_NOT_FOUND || outcome == STELE_E_OVERLOADED ||
                                 outcome == STELE_E_NO_SPACE || outcome == STELE_E_FENCED ||
                                 outcome == STELE_E_NO_MEMORY;
        if (!is_expected) {
            sim_fail(sim, "submit() says %s", stele_outcome_name(outcome));
        }
    }
}

static void submit(struct sim *sim)
{
    for (uint64_t i = 1; i <= sim->config.nodes; i++) {
        struct node *const node = &sim->nodes[i];
        const uint32_t group = (uint32_t)rng_below(&sim->rng_client, sim->config.groups);
        if (node->raft == NULL || node->paused_until_us > sim->now_us) {
            continue;
        }
        const uint64_t count = rng_between(&sim->rng_client, 1, 4);
        for (uint64_t k = 0; k < count; k++) {
            submit_one(sim, node, group);
        }
    }
}

static void snapshot(struct sim *sim)
{
    const uint64_t number = rng_between(&sim->rng, 1, sim->config.nodes);
    const uint32_t group = (uint32_t)rng_below(&sim->rng, sim->config.groups);
    struct node *const node = &sim->nodes[number];
    struct owner *const owner = &node->owners[group];
    if (node->raft == NULL || owner->installing || owner->next == 1) {
        return;
    }
    struct stele_raft_status status;
    stele_raft_status(node->raft, group, &status);
    if (owner->next - 1 <= status.snapshot_index) {
        return;
    }
    /* Rarely up to the last one, as an owner that lags. */
    uint64_t index = owner->next - 1;
    if (rng_one_in(&sim->rng, 3)) {
        index = rng_between(&sim->rng, status.snapshot_index + 1, index);
    }
    uint8_t data[16];
    stele_store_u64le(data, index);
    stele_store_u64le(data + 8, truth_at(sim, group, index)->chain);
    owner->durable = index > owner->durable ? index : owner->durable;
    struct stele_error err = {0};
    const int outcome = stele_raft_snapshot(node->raft, group, index,
                                            (struct stele_bytes){data, sizeof data}, &err);
    sim->stats->snapshots++;
    if (outcome != STELE_OK || node->disk.dead) {
        has_failed(sim, node, outcome == STELE_OK ? STELE_E_IO : outcome, &err);
        return;
    }
    plan_wake(sim, node, sim->now_us);
}

static void trim(struct sim *sim)
{
    for (uint64_t i = 1; i <= sim->config.nodes; i++) {
        struct node *const node = &sim->nodes[i];
        if (node->raft == NULL || !rng_one_in(&sim->rng, 2)) {
            continue;
        }
        struct stele_error err = {0};
        const int outcome = stele_raft_trim(node->raft, &err);
        sim->stats->trims++;
        if (outcome != STELE_OK || node->disk.dead) {
            has_failed(sim, node, outcome == STELE_OK ? STELE_E_IO : outcome, &err);
            continue;
        }
        plan_wake(sim, node, sim->now_us);
    }
}

static void installed(struct sim *sim, struct node *node, uint32_t group)
{
    struct owner *const owner = &node->owners[group];
    STELE_ASSERT(owner->installing);
    owner->installing = false;
    owner->next = owner->install_index + 1;
    owner->chain = truth_at(sim, group, owner->install_index)->chain;
    owner->durable = owner->install_index > owner->durable ? owner->install_index : owner->durable;
    sim->stats->installed++;
    struct stele_error err = {0};
    const int outcome = stele_raft_installed(node->raft, group, &err);
    if (outcome != STELE_OK || node->disk.dead) {
        has_failed(sim, node, outcome == STELE_OK ? STELE_E_IO : outcome, &err);
        return;
    }
    plan_wake(sim, node, sim->now_us);
}

static uint32_t count_voters(const struct node *node, uint32_t group, uint64_t number,
                             enum stele_raft_member *out_member)
{
    uint64_t numbers[STELE_RAFT_NODES_MAX];
    enum stele_raft_member members[STELE_RAFT_NODES_MAX];
    const size_t count = stele_raft_members(node->raft, group, numbers, members);
    uint32_t voters = 0;
    *out_member = STELE_RAFT_NONE;
    for (size_t i = 0; i < count; i++) {
        voters += members[i] == STELE_RAFT_VOTER;
        if (numbers[i] == number) {
            *out_member = members[i];
        }
    }
    return voters;
}

static void change(struct sim *sim)
{
    const uint32_t group = (uint32_t)rng_below(&sim->rng_fault, sim->config.groups);
    struct node *const leader = world_leader(sim, group);
    const uint64_t number = rng_between(&sim->rng_fault, 1, sim->config.nodes);
    const enum stele_raft_member wanted = rng_one_in(&sim->rng_fault, 2)   ? STELE_RAFT_VOTER
                                          : rng_one_in(&sim->rng_fault, 2) ? STELE_RAFT_NONE
                                                                           : STELE_RAFT_STANDBY;
    if (leader == NULL || leader->paused_until_us > sim->now_us) {
        return;
    }
    enum stele_raft_member member = STELE_RAFT_NONE;
    const uint32_t voters = count_voters(leader, group, number, &member);
    if (member == STELE_RAFT_VOTER && wanted != STELE_RAFT_VOTER &&
        voters <= sim->config.voters_min) {
        return;
    }
    struct stele_error err = {0};
    const int outcome = stele_raft_configure(leader->raft, group, number, wanted, &err);
    sim->stats->changes++;
    sim->stats->changes_done += outcome == STELE_OK && member != wanted;
    if (outcome != STELE_OK && outcome != STELE_INCOMPLETE && outcome != STELE_NOT_FOUND &&
        outcome != STELE_E_NO_MEMORY) {
        sim_fail(sim, "configure() says %s: %s", stele_outcome_name(outcome), err.message);
    }
    if (outcome == STELE_OK && member != wanted) {
        sim_trace(sim, "group %u: node %llu is to be %d, says node %llu", group,
                  (unsigned long long)number, (int)wanted, (unsigned long long)leader->number);
    }
    plan_wake(sim, leader, sim->now_us);
}

/* When all is calm, members have to be changeable: the last node with a number comes and goes. */
static void late_change(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->config.groups; i++) {
        struct node *const leader = world_leader(sim, i);
        if (leader == NULL || sim->late_changes[i] > 0) {
            continue;
        }
        enum stele_raft_member member = STELE_RAFT_NONE;
        const uint64_t number = leader->number == sim->config.nodes ? 1 : sim->config.nodes;
        const uint32_t voters = count_voters(leader, i, number, &member);
        if (sim->config.nodes == 1 || (member == STELE_RAFT_VOTER && voters <= 2)) {
            sim->late_changes[i]++;
            continue;
        }
        struct stele_error err = {0};
        const int outcome = stele_raft_configure(
            leader->raft, i, number,
            member == STELE_RAFT_NONE ? STELE_RAFT_STANDBY : STELE_RAFT_NONE, &err);
        if (outcome == STELE_OK) {
            sim->late_changes[i]++;
        }
        plan_wake(sim, leader, sim->now_us);
    }
}

static void transfer(struct sim *sim)
{
    const uint32_t group = (uint32_t)rng_below(&sim->rng_fault, sim->config.groups);
    struct node *const leader = world_leader(sim, group);
    const uint64_t to = rng_below(&sim->rng_fault, sim->config.nodes + 1);
    if (leader == NULL || leader->paused_until_us > sim->now_us) {
        return;
    }
    struct stele_error err = {0};
    const int outcome = stele_raft_transfer(leader->raft, group, to, &err);
    sim->stats->transfers += outcome == STELE_OK;
    if (outcome != STELE_OK && outcome != STELE_INCOMPLETE && outcome != STELE_NOT_FOUND &&
        outcome != STELE_E_INVALID) {
        sim_fail(sim, "transfer() says %s: %s", stele_outcome_name(outcome), err.message);
    }
    plan_wake(sim, leader, sim->now_us);
}

/* ---- What happens to nodes ---- */

static void crash_one(struct sim *sim)
{
    struct node *const node = &sim->nodes[rng_between(&sim->rng_fault, 1, sim->config.nodes)];
    if (node->raft == NULL) {
        return;
    }
    if (rng_percent(&sim->rng_fault, sim->config.in_call_percent)) {
        node->disk.die_after = rng_log(&sim->rng_fault, 1, 64);
    } else {
        crash(sim, node, draw_power(sim));
    }
}

static void cut_some(struct sim *sim)
{
    const uint32_t nodes = sim->config.nodes;
    sim->stats->cuts++;
    const uint64_t kind = rng_below(&sim->rng_fault, 6);
    const uint64_t a = rng_between(&sim->rng_fault, 1, nodes);
    const uint64_t b = rng_between(&sim->rng_fault, 1, nodes);
    if (kind <= 1) {
        memset(sim->cut, 0, sizeof sim->cut);
        return;
    }
    for (uint64_t i = 1; i <= nodes; i++) {
        if (kind == 2) { /* One is alone. */
            sim->cut[a][i] = sim->cut[i][a] = true;
        } else if (kind == 3) { /* It hears, and is not heard. */
            sim->cut[a][i] = true;
        } else if (kind == 4) { /* It speaks, and does not hear. */
            sim->cut[i][a] = true;
        }
    }
    if (kind == 5) {
        sim->cut[a][b] = true;
    }
}

static void become_calm(struct sim *sim)
{
    sim->calm = true;
    memset(sim->cut, 0, sizeof sim->cut);
    for (uint64_t i = 1; i <= sim->config.nodes; i++) {
        struct node *const node = &sim->nodes[i];
        node->disk.faults = (struct simdisk_faults){.capacity = 0};
        node->disk.broken = false;
        node->disk.die_after = 0;
        node->alloc.fail_one_in = 0;
        node->paused_until_us = 0;
        if (node->raft == NULL) {
            sim_plan(sim, 1000, (struct event){.kind = EVENT_RESTART, .node = i});
        } else {
            plan_wake(sim, node, sim->now_us);
        }
    }
    sim_trace(sim, "calm");
}

static void plan_again(struct sim *sim, enum event_kind kind, uint64_t mean_us)
{
    if (mean_us != 0) {
        sim_plan(sim, rng_exponential(&sim->rng, mean_us) + 1, (struct event){.kind = kind});
    }
}

static void fault(struct sim *sim, enum event_kind kind)
{
    const struct config *const config = &sim->config;
    struct node *const node = &sim->nodes[rng_between(&sim->rng_fault, 1, config->nodes)];
    switch (kind) {
    case EVENT_CRASH:
        crash_one(sim);
        plan_again(sim, kind, config->crash_us);
        break;
    case EVENT_CUT:
        cut_some(sim);
        plan_again(sim, kind, config->cut_us);
        break;
    case EVENT_PAUSE:
        node->paused_until_us = sim->now_us + rng_log(&sim->rng_fault, 10000, 3000000);
        sim->stats->pauses++;
        plan_again(sim, kind, config->pause_us);
        break;
    case EVENT_FULL:
        node->disk.faults.capacity =
            node->disk.faults.capacity != 0 ? 0 : simdisk_used(&node->disk) + 1;
        sim->stats->full++;
        plan_again(sim, kind, config->full_us / 2 + 1);
        break;
    case EVENT_CHANGE:
        change(sim);
        plan_again(sim, kind, config->change_us);
        break;
    default:
        transfer(sim);
        plan_again(sim, kind, config->transfer_us);
        break;
    }
}

static bool is_of_this_life(const struct sim *sim, const struct event *event)
{
    const struct node *const node = &sim->nodes[event->node];
    return node->raft != NULL && node->life == event->life;
}

static void node_event(struct sim *sim, const struct event *event)
{
    struct node *const node = &sim->nodes[event->node];
    if (event->kind == EVENT_RESTART) {
        open_node(sim, node);
        return;
    }
    if (!is_of_this_life(sim, event)) {
        return;
    }
    if (event->kind == EVENT_WAKE) {
        if (node->wake_us > sim->now_us || node->wake_us != event->at_us) {
            return;
        }
        node->wake_us = UINT64_MAX;
        if (node->paused_until_us > sim->now_us) {
            plan_wake(sim, node, node->paused_until_us);
            return;
        }
        turn(sim, node);
    } else if (event->kind == EVENT_WRITTEN) {
        written(sim, node, event->other);
    } else {
        installed(sim, node, (uint32_t)event->other);
    }
}

void world_event(struct sim *sim, const struct event *event)
{
    const struct config *const config = &sim->config;
    switch (event->kind) {
    case EVENT_FRAME:
        receive(sim, event);
        break;
    case EVENT_SUBMIT:
        submit(sim);
        if (sim->now_us < config->faulty_us + config->calm_us - QUIET_US) {
            plan_again(sim, event->kind, config->submit_us);
        }
        break;
    case EVENT_SNAPSHOT:
        snapshot(sim);
        plan_again(sim, event->kind, config->snapshot_us);
        break;
    case EVENT_TRIM:
        trim(sim);
        plan_again(sim, event->kind, config->trim_us);
        break;
    case EVENT_CALM:
        become_calm(sim);
        break;
    case EVENT_LATE_CHANGE:
        late_change(sim);
        sim_plan(sim, 50000, (struct event){.kind = EVENT_LATE_CHANGE});
        break;
    case EVENT_END:
        if (truth_goes_on(sim)) {
            sim_plan(sim, 1000000, (struct event){.kind = EVENT_END});
            break;
        }
        truth_end(sim);
        sim->over = true;
        break;
    case EVENT_CRASH:
    case EVENT_CUT:
    case EVENT_PAUSE:
    case EVENT_FULL:
    case EVENT_CHANGE:
    case EVENT_TRANSFER:
        if (!sim->calm) {
            fault(sim, event->kind);
        }
        break;
    default:
        node_event(sim, event);
    }
}

void world_start(struct sim *sim)
{
    const struct config *const config = &sim->config;
    for (uint64_t i = 1; i <= config->nodes; i++) {
        struct node *const node = &sim->nodes[i];
        memset(node, 0, sizeof *node);
        node->number = i;
        node->wake_us = UINT64_MAX;
        testalloc_init(&node->alloc, sim->seed * 31 + i);
        simdisk_init(&node->disk, sim->seed * 17 + i, &node->alloc.base);
        open_node(sim, node);
        node->disk.faults = config->disk;
        node->alloc.fail_one_in = config->alloc_one_in;
    }
    plan_again(sim, EVENT_SUBMIT, config->submit_us);
    plan_again(sim, EVENT_SNAPSHOT, config->snapshot_us);
    plan_again(sim, EVENT_TRIM, config->trim_us);
    plan_again(sim, EVENT_CRASH, config->crash_us);
    plan_again(sim, EVENT_CUT, config->cut_us);
    plan_again(sim, EVENT_PAUSE, config->pause_us);
    plan_again(sim, EVENT_FULL, config->full_us);
    plan_again(sim, EVENT_CHANGE, config->change_us);
    plan_again(sim, EVENT_TRANSFER, config->transfer_us);
    sim_plan(sim, config->faulty_us, (struct event){.kind = EVENT_CALM});
    sim_plan(sim, config->faulty_us + config->calm_us / 2,
             (struct event){.kind = EVENT_LATE_CHANGE});
    sim_plan(sim, config->faulty_us + config->calm_us, (struct event){.kind = EVENT_END});
}

void world_stop(struct sim *sim)
{
    for (uint64_t i = 1; i <= sim->config.nodes; i++) {
        struct node *const node = &sim->nodes[i];
        take_down(sim, node, false);
        simdisk_deinit(&node->disk);
    }
}
