/* Who belongs to the cluster, and what its nodes agree on besides commands: the table of src/cluster/meta.h, changed
 * all the time by commands of the meta group, the same on every node. losses.c is what changes it most. */
#include "members_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- The table that all begin with ---- */

/* What its life goes by; 0, 0 before the first one. */
static struct stele_meta_start start_of(const struct node *node)
{
    static const struct stele_meta_start none;
    return node->past.count == 0 ? none : node->past.starts[node->past.count - 1];
}

static struct stele_meta_node describe(const struct world *world, uint32_t index, uint32_t name)
{
    struct stele_meta_node node = {.features = STELE_META_FEATURES, .incarnation = {1}};
    node.incarnation[1] = (uint8_t)index;
    node.starts = start_of(&world->nodes[index]).starts;
    node.boot = start_of(&world->nodes[index]).boot;
    (void)snprintf(node.name, sizeof node.name, "n%u", name);
    (void)snprintf(node.cluster_address, sizeof node.cluster_address, "h%u:%u", name, index + 1);
    (void)snprintf(node.client_address, sizeof node.client_address, "h%u:2", name);
    return node;
}

struct stele_meta_command *members_command_for(struct world *world, enum stele_meta_kind kind,
                                               uint32_t index, uint32_t name)
{
    static struct stele_meta_command command;
    memset(&command, 0, sizeof command);
    command.kind = kind;
    command.cluster_id[0] = 1;
    command.format = STELE_META_FORMAT;
    command.partitions = world->config.partitions;
    command.partition_key = STELE_KEY_STREAM;
    command.node = describe(world, index, name);
    command.number = index + 1;
    command.features = STELE_META_FEATURES;
    return &command;
}

static void apply_to_base(struct world *world, const struct stele_meta_command *command)
{
    uint8_t bytes[STELE_META_COMMAND_SIZE_MAX];
    struct stele_meta_result result;
    const struct stele_bytes entry = {.data = bytes,
                                      .size = stele_meta_command_encode(command, bytes)};
    const int outcome = stele_meta_apply(&world->members->base, entry, &result);
    if (outcome != STELE_OK || result.outcome != STELE_META_DONE) {
        fail(world, "the first table: %s", result.words);
    }
}

static void make_base(struct world *world, uint32_t voters)
{
    stele_meta_init(&world->members->base);
    for (uint32_t i = 0; i < world->config.nodes; i++) {
        apply_to_base(
            world, members_command_for(world, i == 0 ? STELE_META_FOUND : STELE_META_JOIN, i, i));
        if (i > 0) {
            apply_to_base(world, members_command_for(world, STELE_META_ACTIVATE, i, i));
        }
    }
    struct stele_meta_command *gate = members_command_for(world, STELE_META_GATE, 0, 0);
    gate->features &= world->members->gate_us > 0 ? ~STELE_META_FEATURE_PAST : UINT64_MAX;
    apply_to_base(world, gate);
    if (voters > 0) {
        struct stele_meta_command *command = members_command_for(world, STELE_META_SET, 0, 0);
        (void)snprintf(command->setting.key, sizeof command->setting.key, "%s",
                       STELE_META_REPLICATION_FACTOR);
        (void)snprintf(command->setting.value, sizeof command->setting.value, "%u", voters);
        apply_to_base(world, command);
    }
}

void members_init(struct world *world)
{
    struct members *members = calloc(1, sizeof *members);
    STELE_ASSERT(members != NULL);
    world->members = members;
    members->lost = NOBODY;
    members->impostor = NOBODY;
    members->copy.node = NOBODY;
    rng_init(&members->rng, world->seed, 7);
    struct rng *rng = &members->rng;
    const uint64_t beat = world->config.heartbeat_ms * MS;
    const bool hours = world->run.hours;
    const uint64_t replace_us =
        hours ? rng_log(rng, 50 * beat, 1000 * beat) : rng_log(rng, 2 * SECOND, 20 * SECOND);
    const uint64_t meta_us =
        hours ? rng_log(rng, 2 * beat, 200 * beat) : rng_log(rng, 50 * MS, 3 * SECOND);
    const uint32_t voters = place_voters(world);
    /* Who is lost must not be half of those who have something. */
    const bool members_can_lose =
        world->config.nodes >= 3 && (voters == 0 || voters >= 3) && !world->run.whole;
    members->replace_us = rng_percent(rng, 40) && members_can_lose ? replace_us : 0;
    members->meta_us = rng_percent(rng, 60) ? meta_us : 0;
    members->copy_percent = rng_percent(rng, 40) && members_can_lose ? 30 : 0;
    members->damage_percent = rng_percent(rng, 40) && members_can_lose ? 20 : 0;
    members->look_us = hours ? 2 * beat : 200 * MS;
    if (world->run.still) {
        members->replace_us = 0;
        members->meta_us = 0;
        members->copy_percent = 0;
        members->damage_percent = 0;
    }
    const uint64_t gate_us = rng_below(rng, world->config.duration_us + 1);
    members->gate_us = rng_percent(rng, 20) && !world->run.still ? gate_us : 0;
    make_base(world, voters);
    if (world->run.tracing) {
        printf("members: replace_us %llu, meta_us %llu, copies %u %%, damage %u %%\n",
               (unsigned long long)members->replace_us, (unsigned long long)members->meta_us,
               members->copy_percent, members->damage_percent);
    }
}

void members_forget_copy(struct members *members)
{
    if (members->copy.node != NOBODY) {
        simdisk_deinit(&members->copy.disks[0]);
        simdisk_deinit(&members->copy.disks[1]);
        free(members->copy.kept.bytes);
        members->copy = (struct copy){.node = NOBODY};
    }
}

void members_deinit(struct world *world)
{
    members_forget_copy(world->members);
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        free(world->nodes[i].meta);
        free(world->nodes[i].kept.bytes);
    }
    free(world->members->hashes);
    free(world->members);
    world->members = NULL;
}

bool members_change(const struct world *world)
{
    const struct members *members = world->members;
    return members->replace_us != 0 || members->copy_percent != 0 || members->damage_percent != 0;
}

/* ---- The table of each node ---- */

void members_keep_table(struct kept *kept, const struct stele_meta *meta, uint64_t applied)
{
    static uint8_t bytes[STELE_META_SNAPSHOT_SIZE_MAX];
    kept->size = stele_meta_encode(meta, bytes);
    kept->bytes = realloc(kept->bytes, kept->size);
    STELE_ASSERT(kept->bytes != NULL);
    memcpy(kept->bytes, bytes, kept->size);
    kept->applied = applied;
}

void members_read_kept(struct world *world, const struct kept *kept, struct stele_meta *to)
{
    if (kept->bytes == NULL) {
        *to = world->members->base;
        return;
    }
    const struct stele_bytes bytes = {.data = kept->bytes, .size = kept->size};
    if (stele_meta_decode(bytes, to) != STELE_OK) {
        fail(world, "a table that was kept cannot be read");
    }
}

static void compare_table(struct world *world, const struct node *node)
{
    static uint8_t bytes[STELE_META_SNAPSHOT_SIZE_MAX];
    struct members *members = world->members;
    const uint64_t index = node->meta_applied;
    if (index >= members->hashes_capacity) {
        const size_t capacity = 2 * (size_t)index + 256;
        members->hashes = realloc(members->hashes, capacity * sizeof *members->hashes);
        STELE_ASSERT(members->hashes != NULL);
        memset(members->hashes + members->hashes_capacity, 0,
               (capacity - members->hashes_capacity) * sizeof *members->hashes);
        members->hashes_capacity = capacity;
    }
    const struct stele_bytes table = {.data = bytes, .size = stele_meta_encode(node->meta, bytes)};
    const uint64_t hash = stele_hash64(table, index) | 1;
    if (members->hashes[index] != 0 && members->hashes[index] != hash) {
        fail(world, "T1: node %u has another table at index %llu than others", node->index + 1,
             (unsigned long long)index);
    }
    members->hashes[index] = hash;
    members->last = index > members->last ? index : members->last;
}

void members_meta(struct world *world, struct node *node, uint64_t index, struct stele_bytes body)
{
    struct stele_meta_result result;
    if (index <= node->meta_applied) {
        return; /* What was kept has it. */
    }
    const int outcome = stele_meta_apply(node->meta, body, &result);
    if (outcome != STELE_OK) {
        fail(world, "node %u does not understand entry %llu of the meta group: %s", node->index + 1,
             (unsigned long long)index, stele_outcome_name(outcome));
    }
    node->meta_applied = index;
    world->stats.meta_applied++;
    compare_table(world, node);
}

void members_meta_installed(struct world *world, struct node *node, uint64_t index,
                            struct stele_bytes data)
{
    if (index <= node->meta_applied) {
        return;
    }
    if (stele_meta_decode(data, node->meta) != STELE_OK) {
        fail(world, "node %u is given a table that is none", node->index + 1);
    }
    node->meta_applied = index;
    compare_table(world, node);
    members_keep_table(&node->kept, node->meta, index);
}

static void snapshot(struct world *world, struct node *node)
{
    struct stele_error err = {.outcome = 0};
    members_keep_table(&node->kept, node->meta, node->meta_applied);
    const struct stele_bytes data = {.data = node->kept.bytes, .size = node->kept.size};
    const int outcome = stele_replica_meta_snapshot(node->replica, node->meta_applied, data, &err);
    trace(world, node, "meta snapshot: index, outcome", node->meta_applied, (uint64_t)outcome, 0);
}

/* ---- Who may speak to whom ---- */

static void greet(const struct world *world, const struct node *node,
                  struct stele_meta_hello *hello)
{
    const struct stele_meta_node self = describe(world, node->index, node->index);
    *hello = (struct stele_meta_hello){.number = node_number(node),
                                       .format = STELE_META_FORMAT,
                                       .cluster_id = {1},
                                       .features = STELE_META_FEATURES,
                                       .partitions = world->config.partitions,
                                       .partition_key = STELE_KEY_STREAM,
                                       .starts = self.starts,
                                       .boot = self.boot,
                                       .table_version = node->meta->version,
                                       .durable = stele_store_ordered_synced(node->store)};
    memcpy(hello->incarnation, self.incarnation, sizeof hello->incarnation);
}

static enum stele_meta_outcome judge(struct world *world, struct node *from, struct node *to,
                                     struct stele_meta_hello *hello,
                                     char words[STELE_META_WORDS_SIZE])
{
    greet(world, from, hello);
    if ((from->meta->gates & STELE_META_FEATURE_PAST) != 0) {
        hello->past = from->past;
    }
    const struct stele_meta_seen *seen = &to->seen[from->index];
    const enum stele_meta_outcome outcome =
        stele_meta_judge_hello(to->meta, node_number(to), hello, seen, words);
    if (outcome != STELE_META_STALE) {
        return outcome;
    }
    hello->past = from->past; /* It was greeted by one that knows what that is. */
    return stele_meta_judge_hello(to->meta, node_number(to), hello, seen, words);
}

bool members_may_hear(struct world *world, struct node *from, struct node *to)
{
    char words[STELE_META_WORDS_SIZE];
    struct stele_meta_hello hello;
    if (to->impostor) {
        return false; /* Whoever it greets hangs up. */
    }
    if (!from->up || to->heard[from->index] == from->life) {
        return to->heard[from->index] != 0;
    }
    const enum stele_meta_outcome outcome = judge(world, from, to, &hello, words);
    if (outcome == STELE_META_DONE && from->impostor) {
        fail(world, "K8: node %u lets node %u in, whose disk is of an earlier time", to->index + 1,
             from->index + 1);
    }
    if (outcome != STELE_META_DONE) {
        const bool stranger = outcome == STELE_META_UNKNOWN_NODE || outcome == STELE_META_REMOVED;
        /* A page of zeros at its end looks as if nothing had been written there: others know better. */
        const bool lost_its_end = from->damaged && outcome == STELE_META_ROLLED_BACK;
        if (!from->impostor && !stranger && !lost_its_end) {
            fail(world, "node %u is refused (%s) by node %u: %s", from->index + 1,
                 stele_meta_outcome_name(outcome), to->index + 1, words);
        }
        world->stats.refused_hellos++;
        return false;
    }
    stele_meta_seen_add(&to->seen[from->index], &hello);
    to->heard[from->index] = from->life;
    return true;
}

/* ---- Asking whoever leads the cluster ---- */

struct node *members_leader(struct world *world)
{
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        struct node *node = &world->nodes[i];
        if (node->up && node->paused_until_us <= world->now_us && !node->impostor &&
            stele_replica_leader(node->replica, world->config.partitions) == node_number(node)) {
            return node;
        }
    }
    return NULL;
}

bool members_propose(struct world *world, struct node *leader,
                     const struct stele_meta_command *command)
{
    uint8_t bytes[STELE_META_COMMAND_SIZE_MAX];
    struct stele_meta_result result;
    uint64_t id = 0;
    stele_meta_judge_command(leader->meta, command, &result);
    if (result.outcome != STELE_META_DONE && !rng_percent(&world->members->rng, 20)) {
        return false; /* Mostly. */
    }
    const struct stele_bytes body = {.data = bytes,
                                     .size = stele_meta_command_encode(command, bytes)};
    const bool done = stele_replica_propose_meta(leader->replica, body, &id) == STELE_OK;
    world->stats.meta_proposed += done;
    node_kick(world, leader);
    return done;
}

void members_place(struct world *world, const uint64_t *rows)
{
    struct node *leader = members_leader(world);
    if (leader == NULL) {
        return;
    }
    struct stele_meta_command *command = members_command_for(world, STELE_META_PLACE, 0, 0);
    command->if_version = leader->meta->version;
    for (uint32_t i = 0; i < world->config.partitions; i++) {
        size_t count = 0;
        uint64_t left = rows[i]; /* As many of the nodes, by any numbers. */
        for (size_t k = 0; k < leader->meta->nodes_count && left > 0; k++) {
            if (rng_below(&world->members->rng, leader->meta->nodes_count - k) < left) {
                command->voters[i][count++] = (uint8_t)(k + 1);
                left--;
            }
        }
    }
    (void)members_propose(world, leader, command);
}

bool members_place_evenly(struct world *world, struct node *leader)
{
    struct testalloc alloc;
    struct stele_meta_command *command = members_command_for(world, STELE_META_PLACE, 0, 0);
    testalloc_init(&alloc, 0);
    return stele_plan_voters(&alloc.base, leader->meta, NULL, STELE_PLACEMENT_BEGIN, command) ==
               STELE_OK &&
           members_propose(world, leader, command);
}

/* Whatever people and programs ask for. */
static void chatter(struct world *world, struct node *leader)
{
    struct rng *rng = &world->members->rng;
    static const enum stele_meta_kind kinds[] = {STELE_META_SET,    STELE_META_SET,
                                                 STELE_META_DRAIN,  STELE_META_UNDRAIN,
                                                 STELE_META_PREFER, STELE_META_PLACE};
    const enum stele_meta_kind kind = kinds[rng_below(rng, STELE_COUNT_OF(kinds))];
    const uint32_t number = (uint32_t)rng_below(rng, world->nodes_count);
    struct stele_meta_command *command = members_command_for(world, kind, number, number);
    const uint64_t value = rng_below(rng, 4);
    if (kind == STELE_META_PLACE) {
        (void)members_place_evenly(world, leader);
        return;
    }
    if (kind == STELE_META_SET && rng_percent(rng, 30)) {
        (void)snprintf(command->setting.key, sizeof command->setting.key, "%s",
                       STELE_META_REBALANCE);
        (void)snprintf(command->setting.value, sizeof command->setting.value, "%s",
                       value == 0 ? "paused" : "");
    } else if (kind == STELE_META_SET) {
        (void)snprintf(command->setting.key, sizeof command->setting.key, "k%u", number);
        (void)snprintf(command->setting.value, sizeof command->setting.value, "%u",
                       (unsigned)value);
    }
    for (uint32_t i = 0; i < world->config.partitions && kind == STELE_META_PREFER; i++) {
        command->leaders[i] = rng_below(rng, world->nodes_count + 1);
    }
    (void)members_propose(world, leader, command);
}

static void on_chatter(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    if (world->calm) {
        return;
    }
    node = members_leader(world);
    if (node != NULL) {
        chatter(world, node);
    }
    after(world, NULL, rng_exponential(&world->members->rng, world->members->meta_us), on_chatter,
          NULL, NULL, 0);
}

/* ---- Opening ---- */

void members_opening(struct world *world, struct node *node)
{
    if (node->meta == NULL) {
        node->meta = malloc(sizeof *node->meta);
        STELE_ASSERT(node->meta != NULL);
    }
    members_read_kept(world, &node->kept, node->meta);
    node->meta_applied = node->kept.bytes == NULL ? 0 : node->kept.applied;
    const struct stele_meta_node *own = stele_meta_find(node->meta, node_number(node));
    if (own != NULL) {
        stele_meta_past_found(&node->past, own->starts, own->boot);
    }
    node->starts++;
    (void)stele_meta_past_add(&node->past, node->starts, node->boot);
    memset(node->seen, 0, sizeof node->seen);
    memset(node->heard, 0, sizeof node->heard);
    memset(&node->hashes, 0, sizeof node->hashes);
    memset(node->hashes_of, 0, sizeof node->hashes_of);
}

static void on_snapshot(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    if (node->meta_applied >= node->kept.applied + 8) {
        snapshot(world, node);
    }
    after(world, node, world->members->look_us, on_snapshot, NULL, NULL, 0);
}

void members_opened(struct world *world, struct node *node)
{
    struct stele_replica_counts counts;
    stele_replica_counts(node->replica, &counts);
    stele_hashes_begin(&node->hashes, counts.seen);
    if (!world->run.still) {
        after(world, node, world->members->look_us, on_snapshot, NULL, NULL, 0);
    }
}

void members_start(struct world *world)
{
    struct members *members = world->members;
    if (!world->run.still) {
        after(world, NULL, members->look_us, members_on_operator, NULL, NULL, 0);
    }
    if (members->meta_us != 0) {
        after(world, NULL, members->meta_us, on_chatter, NULL, NULL, 0);
    }
    if (members->replace_us != 0) {
        after(world, NULL, members->replace_us, members_on_replace, NULL, NULL, 0);
    }
}

/* Has the operator nothing to ask for any more, as this node's table is? */
static bool is_in_order(const struct world *world, const struct node *node)
{
    const struct stele_meta *meta = node->meta;
    for (size_t i = 0; i < meta->nodes_count; i++) {
        const struct node *other = &world->nodes[meta->nodes[i].number - 1];
        const struct stele_meta_start start = start_of(other);
        if (meta->nodes[i].state == STELE_META_JOINING || meta->nodes[i].starts != start.starts ||
            meta->nodes[i].boot != start.boot) {
            return false;
        }
    }
    return !stele_plan_is_paused(meta) && (meta->voters_version == 0 || stele_plan_is_filled(meta));
}

bool members_are_done(const struct world *world)
{
    const struct members *members = world->members;
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        const struct node *node = &world->nodes[i];
        if (!node->gone && (!node->up || node->meta_applied != members->last ||
                            (!world->run.still && !is_in_order(world, node)))) {
            return false;
        }
    }
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        if (world->nodes[i].damaged && !world->nodes[i].gone) {
            return false;
        }
    }
    return members->lost == NOBODY && members->impostor == NOBODY;
}

/* ---- What was executed, compared as nodes do it ---- */

void members_compare(struct world *world, struct node *node)
{
    uint8_t bytes[STELE_HASHES_SIZE_MAX];
    struct node *other = &world->nodes[rng_below(&world->members->rng, world->nodes_count)];
    if (other == node || !other->up || other->impostor || node->impostor) {
        return;
    }
    const struct stele_bytes told = {.data = bytes,
                                     .size = stele_hashes_encode(&other->hashes, bytes)};
    struct stele_hashes_peer *peer = &node->hashes_of[other->index];
    if (node->hashes_life[other->index] != other->life) {
        node->hashes_life[other->index] = other->life;
        *peer = (struct stele_hashes_peer){.settled = 0};
    }
    const uint64_t compared = peer->compared;
    if (stele_hashes_compare(&node->hashes, told, peer) != 0) {
        fail(world, "H1: nodes %u and %u are told apart in the window that ends with %llx",
             node->index + 1, other->index + 1, (unsigned long long)peer->last.through);
    }
    world->stats.compared += peer->compared - compared;
}
