/* Who belongs to the cluster, and what its nodes agree on besides commands: the table of src/cluster/meta.h, changed all
 * the time by commands of the meta group, the same on every node.
 *
 * Disks are lost for good, and new nodes take the places of those that had them (STELE_META_REPLACE); others come back
 * as they were some time ago, or as a copy of a disk that goes on elsewhere. A node with such a disk greets like
 * any other, and nobody may let it in (K8); it is replaced as if it was lost. Bytes change at rest: what
 * opens is right, or says that it is damaged, and is replaced, too.
 *
 * An operator looks after all that: asks the node that leads the cluster, again and again until it is done. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

#define NOBODY UINT32_MAX

struct members {
    struct rng rng;
    uint64_t replace_us, meta_us, look_us;
    uint32_t copy_percent, damage_percent; /* Of crashes. */
    struct stele_meta base;                /* What every founder begins with. */
    uint64_t *hashes;                      /* Of the table, by index; 0: not known. */
    size_t hashes_capacity;
    uint64_t last;
    uint32_t lost;     /* To be replaced. */
    uint32_t impostor; /* It runs with data of an earlier time. */
    uint64_t impostor_until_us;
    uint64_t impostor_starts; /* So often it is started again. */
    bool bring_back;          /* Now, if there is one. */
    uint64_t gate_us;         /* Until then nobody tells of earlier starts. */
    struct copy {
        struct simdisk disks[2]; /* The WAL's and the store's. */
        uint32_t node;
        uint64_t starts;
        struct stele_meta_past past;
        struct kept kept;
    } copy;
};

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

static struct stele_meta_command *command_for(struct world *world, enum stele_meta_kind kind,
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
        apply_to_base(world, command_for(world, i == 0 ? STELE_META_FOUND : STELE_META_JOIN, i, i));
        if (i > 0) {
            apply_to_base(world, command_for(world, STELE_META_ACTIVATE, i, i));
        }
    }
    struct stele_meta_command *gate = command_for(world, STELE_META_GATE, 0, 0);
    gate->features &= world->members->gate_us > 0 ? ~STELE_META_FEATURE_PAST : UINT64_MAX;
    apply_to_base(world, gate);
    if (voters > 0) {
        struct stele_meta_command *command = command_for(world, STELE_META_SET, 0, 0);
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
    const bool can_lose =
        world->config.nodes >= 3 && (voters == 0 || voters >= 3) && !world->run.whole;
    members->replace_us = rng_percent(rng, 40) && can_lose ? replace_us : 0;
    members->meta_us = rng_percent(rng, 60) ? meta_us : 0;
    members->copy_percent = rng_percent(rng, 40) && can_lose ? 30 : 0;
    members->damage_percent = rng_percent(rng, 40) && can_lose ? 20 : 0;
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

static void forget_copy(struct members *members)
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
    forget_copy(world->members);
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

static void keep(struct kept *kept, const struct stele_meta *meta, uint64_t applied)
{
    static uint8_t bytes[STELE_META_SNAPSHOT_SIZE_MAX];
    kept->size = stele_meta_encode(meta, bytes);
    kept->bytes = realloc(kept->bytes, kept->size);
    STELE_ASSERT(kept->bytes != NULL);
    memcpy(kept->bytes, bytes, kept->size);
    kept->applied = applied;
}

static void read_kept(struct world *world, const struct kept *kept, struct stele_meta *to)
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
    keep(&node->kept, node->meta, index);
}

static void snapshot(struct world *world, struct node *node)
{
    struct stele_error err = {.outcome = 0};
    keep(&node->kept, node->meta, node->meta_applied);
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
        if (!from->impostor && !stranger) {
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

static struct node *leader_of_cluster(struct world *world)
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

static bool propose(struct world *world, struct node *leader,
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
    struct node *leader = leader_of_cluster(world);
    if (leader == NULL) {
        return;
    }
    struct stele_meta_command *command = command_for(world, STELE_META_PLACE, 0, 0);
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
    (void)propose(world, leader, command);
}

/* As servers do: what is missing is filled, what is uneven is evened out. */
static bool place_evenly(struct world *world, struct node *leader)
{
    struct testalloc alloc;
    struct stele_meta_command *command = command_for(world, STELE_META_PLACE, 0, 0);
    testalloc_init(&alloc, 0);
    return stele_plan_voters(&alloc.base, leader->meta, NULL, STELE_PLACEMENT_BEGIN, command) ==
               STELE_OK &&
           propose(world, leader, command);
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
    struct stele_meta_command *command = command_for(world, kind, number, number);
    const uint64_t value = rng_below(rng, 4);
    if (kind == STELE_META_PLACE) {
        (void)place_evenly(world, leader);
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
    (void)propose(world, leader, command);
}

static void on_chatter(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    if (world->calm) {
        return;
    }
    node = leader_of_cluster(world);
    if (node != NULL) {
        chatter(world, node);
    }
    after(world, NULL, rng_exponential(&world->members->rng, world->members->meta_us), on_chatter,
          NULL, NULL, 0);
}

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
            command_for(world, gate ? STELE_META_START : STELE_META_UPDATE, index, index);
        memcpy(command->node.name, is->name, sizeof is->name);
        command->past = node->past;
        if ((is->starts != command->node.starts || is->boot != command->node.boot) &&
            propose(world, leader, command)) {
            return true;
        }
        command->kind = STELE_META_ACTIVATE;
        if (is->state == STELE_META_JOINING && propose(world, leader, command)) {
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
            (void)propose(world, leader, command_for(world, STELE_META_UNDRAIN, index, index));
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
        keep(&node->kept, leader->meta, leader->meta_applied);
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
    struct stele_meta_command *command = command_for(world, STELE_META_REPLACE, fresh, fresh);
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
    (void)propose(world, leader, command);
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
           propose(world, leader, command_for(world, STELE_META_GATE, 0, 0));
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

static void on_operator(struct world *world, struct node *node, void *object, uint64_t number)
{
    struct members *members = world->members;
    (void)object;
    (void)number;
    after(world, NULL, members->look_us, on_operator, NULL, NULL, 0);
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
    node = leader_of_cluster(world);
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
    struct stele_meta_command *command = command_for(world, STELE_META_SET, 0, 0);
    (void)snprintf(command->setting.key, sizeof command->setting.key, "%s", STELE_META_REBALANCE);
    if (world->calm && stele_plan_is_paused(node->meta)) {
        (void)propose(world, node, command);
    } else if ((world->calm || rng_percent(&members->rng, 20)) &&
               !stele_plan_is_filled(node->meta) && node->meta->voters_version > 0) {
        (void)place_evenly(world, node);
    }
}

/* ---- What disks go through ---- */

/* Could this one be lost now? All others have everything that counts, and nobody else is being replaced. */
static bool can_lose(struct world *world, const struct node *node)
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

static void on_replace(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    if (world->calm) {
        return;
    }
    after(world, NULL, rng_exponential(&world->members->rng, world->members->replace_us),
          on_replace, NULL, NULL, 0);
    node = &world->nodes[rng_below(&world->members->rng, world->nodes_count)];
    if (can_lose(world, node)) {
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
        read_kept(world, &other->kept, &kept);
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
    return can_lose(world, &world->nodes[world->members->copy.node]) && is_copy_old(world);
}

static void copy_disks(struct world *world, struct node *node)
{
    struct copy *copy = &world->members->copy;
    struct simdisk *disks[] = {&node->wal_disk, &node->store_disk};
    forget_copy(world->members);
    for (size_t i = 0; i < 2; i++) {
        simdisk_copy(&copy->disks[i], disks[i], &node->alloc.base);
    }
    copy->node = node->index;
    copy->starts = node->starts;
    copy->past = node->past;
    read_kept(world, &node->kept, node->meta);
    keep(&copy->kept, node->meta, node->kept.bytes == NULL ? 0 : node->kept.applied);
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
    forget_copy(members);
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
    } else if (damages && can_lose(world, node)) {
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

/* ---- Opening ---- */

void members_opening(struct world *world, struct node *node)
{
    if (node->meta == NULL) {
        node->meta = malloc(sizeof *node->meta);
        STELE_ASSERT(node->meta != NULL);
    }
    read_kept(world, &node->kept, node->meta);
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
        after(world, NULL, members->look_us, on_operator, NULL, NULL, 0);
    }
    if (members->meta_us != 0) {
        after(world, NULL, members->meta_us, on_chatter, NULL, NULL, 0);
    }
    if (members->replace_us != 0) {
        after(world, NULL, members->replace_us, on_replace, NULL, NULL, 0);
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
