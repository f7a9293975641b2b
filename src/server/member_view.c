/* What services see of the cluster (api/cluster.h): a copy that the member thread refreshes. */
#include "base/hex.h"
#include "server/member_internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static struct stele_member *member_of(struct stele_cluster *cluster)
{
    return (struct stele_member *)(void *)((uint8_t *)cluster -
                                           offsetof(struct stele_member, cluster));
}

/* ---- Watching ---- */

static void watch_start(struct stele_cluster *cluster, struct stele_role_watch *watch)
{
    stele_roles_watch_start(&member_of(cluster)->roles, watch);
}

static void watch_stop(struct stele_cluster *cluster, struct stele_role_watch *watch)
{
    stele_roles_watch_stop(&member_of(cluster)->roles, watch);
}

/* ---- A new look ---- */

static void look_at_node(struct stele_member *member, const struct stele_meta_node *node,
                         struct stele_node_seen *to)
{
    const struct stele_member__seen *seen = stele_member__seen_of(member, node->number);
    *to = (struct stele_node_seen){.number = node->number};
    memcpy(to->instance_id, node->incarnation, sizeof to->instance_id);
    to->instance_id[6] = (uint8_t)(0x40 | (to->instance_id[6] & 0x0f));
    to->instance_id[8] = (uint8_t)(0x80 | (to->instance_id[8] & 0x3f));
    (void)snprintf(to->name, sizeof to->name, "%s", node->name);
    (void)snprintf(to->version, sizeof to->version, "%s", node->version);
    uint16_t port = 0;
    if (stele_member__split_address(node->client_address, to->host, &port)) {
        to->port = port;
    }
    to->is_alive = stele_member__is_alive(member, node->number);
    to->state = STELE_NODE_STARTING;
    if (seen != NULL && seen->heard_us > 0) {
        to->state = (enum stele_node_state)seen->state;
        to->heard_wall_us = seen->heard_wall_us;
        to->term = seen->term;
        to->position_executed = seen->position;
    }
    /* Who leads is what this node knows; the others' own words may be older. */
    if (node->number == member->meta_leader) {
        to->state = STELE_NODE_LEADER;
    } else if (to->state == STELE_NODE_LEADER) {
        to->state = STELE_NODE_FOLLOWER;
    }
}

static void look_at_nodes(struct stele_member *member, struct stele_cluster_view *view)
{
    *view = (struct stele_cluster_view){.is_cluster = true, .leader = SIZE_MAX};
    memcpy(view->cluster_id, member->identity.cluster_id, sizeof view->cluster_id);
    view->this_node = SIZE_MAX;
    for (size_t i = 0; i < member->meta->nodes_count && i < STELE_CLUSTER_NODES_MAX; i++) {
        const struct stele_meta_node *node = &member->meta->nodes[i];
        look_at_node(member, node, &view->nodes[view->count]);
        view->this_node = node->number == member->identity.number ? view->count : view->this_node;
        view->leader = node->number == member->meta_leader ? view->count : view->leader;
        view->count++;
    }
    if (view->this_node == SIZE_MAX && view->count < STELE_CLUSTER_NODES_MAX) {
        struct stele_node_seen *own = &view->nodes[view->count];
        *own = (struct stele_node_seen){
            .number = member->identity.number, .is_alive = true, .state = STELE_NODE_STARTING};
        memcpy(own->instance_id, member->identity.incarnation, sizeof own->instance_id);
        (void)snprintf(own->name, sizeof own->name, "%s", member->identity.name);
        uint16_t port = 0;
        if (member->client_address != NULL &&
            stele_member__split_address(member->client_address, own->host, &port)) {
            own->port = port;
        }
        view->this_node = view->count++;
    }
}

static uint64_t stamp_ms(uint64_t stamp)
{
    return stamp >> (STELE_POSITION_PARTITION_BITS + STELE_POSITION_COUNTER_BITS);
}

static void look_at_numbers(struct stele_member *member, const struct stele_cluster_view *view,
                            struct stele_cluster_counts *to)
{
    *to = (struct stele_cluster_counts){.nodes = view->count,
                                        .groups = member->identity.partitions + 1,
                                        .elections = member->elections,
                                        .installs = member->installs,
                                        .mismatches = member->mismatches,
                                        .disk_full = stele_member__is_full(member),
                                        .commands_waiting = atomic_load(&member->proposals)};
    for (size_t i = 0; i < view->count; i++) {
        to->nodes_alive += view->nodes[i].is_alive ? 1 : 0;
    }
    if (member->replica == NULL) {
        to->groups_leaderless = to->groups;
        return;
    }
    struct stele_replica_counts counts;
    struct stele_raft_counts raft;
    stele_replica_counts(member->replica, &counts);
    stele_raft_counts(stele_replica_raft(member->replica), &raft);
    to->groups_led = raft.groups_led;
    to->log_lag = counts.waiting;
    to->wal_size = raft.wal_size;
    if (counts.wanted > counts.closed) {
        to->closed_lag_us = (stamp_ms(counts.wanted) - stamp_ms(counts.closed)) * 1000;
    }
    to->moving = member->moves;
    to->missing = member->missing;
    to->moves = member->moved;
    const struct stele_plan_imbalance *const imbalance = &member->load->imbalance;
    to->imbalance_votes = imbalance->votes;
    to->imbalance_bytes = imbalance->bytes;
    to->imbalance_rate = imbalance->rate;
    to->imbalance_leaders = imbalance->leaders;
    for (uint32_t g = 0; g < to->groups; g++) {
        struct stele_raft_status status;
        stele_raft_status(stele_replica_raft(member->replica), g, &status);
        to->term_max = status.term > to->term_max ? status.term : to->term_max;
        const uint64_t leader = stele_replica_leader(member->replica, g);
        to->groups_leaderless += leader == 0 ? 1 : 0;
        if (leader == member->identity.number) {
            const uint64_t wanted = stele_member__wanted_leader(member, g);
            to->imbalance += wanted != 0 && wanted != leader ? 1 : 0;
        }
    }
}

static void judge_readiness(struct stele_member *member, const struct stele_cluster_counts *numbers,
                            struct stele_cluster_readiness *to)
{
    *to = (struct stele_cluster_readiness){.is_ready = false};
    const struct stele_meta_node *own = stele_meta_find(member->meta, member->identity.number);
    struct stele_replica_counts counts = {.fetching = false};
    uint64_t refusing = 0;
    if (member->replica != NULL) {
        stele_replica_counts(member->replica, &counts);
    }
    for (size_t i = 0; i < member->seen_count; i++) {
        const struct stele_member__seen *seen = &member->seen[i];
        const bool counts_here = stele_meta_find(member->meta, seen->number) != NULL;
        refusing = seen->refuses && counts_here ? seen->number : refusing;
    }
    if (member->stopped) {
        (void)snprintf(to->why, sizeof to->why, "it takes no part any more: %.140s",
                       member->stopped_why);
    } else if (member->handing_over) {
        (void)snprintf(to->why, sizeof to->why, "it is ending");
    } else if (refusing != 0) {
        (void)snprintf(to->why, sizeof to->why, "node %llu refuses it (its log says why)",
                       (unsigned long long)refusing);
    } else if (own == NULL) {
        (void)snprintf(to->why, sizeof to->why, "it is not in the table of nodes yet");
    } else if (counts.fetching || own->state == STELE_META_JOINING) {
        (void)snprintf(to->why, sizeof to->why, "it is catching up");
    } else if (numbers->disk_full > 0) {
        (void)snprintf(to->why, sizeof to->why,
                       "its disk is full; it goes on by itself when there is room");
    } else if (numbers->groups_leaderless > 0) {
        (void)snprintf(to->why, sizeof to->why, "%llu of %llu groups have no leader",
                       (unsigned long long)numbers->groups_leaderless,
                       (unsigned long long)numbers->groups);
    } else {
        to->is_ready = true;
    }
}

/* The document of GET /cluster. */
/* Who votes in a partition, as far as this node's log has it. */
static json_t *render_voters(struct stele_member *member, uint32_t group)
{
    uint64_t nodes[STELE_RAFT_NODES_MAX];
    enum stele_raft_member members[STELE_RAFT_NODES_MAX];
    const size_t count =
        stele_raft_members(stele_replica_raft(member->replica), group, nodes, members);
    json_t *voters = json_array();
    for (size_t i = 0; i < count; i++) {
        if (members[i] == STELE_RAFT_VOTER) {
            (void)json_array_append_new(voters, json_integer((json_int_t)nodes[i]));
        }
    }
    return voters;
}

static const char *rebalance_of(const struct stele_member *member)
{
    if (stele_plan_is_paused(member->meta)) {
        return "paused";
    }
    if (member->moves + member->missing > 0) {
        return "moving";
    }
    return stele_plan_is_manual(member->meta) ? "manual" : "idle";
}

/* What a node has to do with, and how much room it has. */
static void render_load(struct stele_member *member, uint64_t number,
                        const struct stele_member__seen *seen, json_t *to)
{
    struct stele_member__node_load load;
    stele_member__node_load(member, number, &load);
    (void)json_object_set_new(to, "votes", json_integer((json_int_t)load.votes));
    (void)json_object_set_new(to, "vote_bytes", json_integer((json_int_t)load.bytes));
    (void)json_object_set_new(to, "vote_bytes_per_second", json_integer((json_int_t)load.rate));
    (void)json_object_set_new(to, "led_appends_per_second",
                              json_integer((json_int_t)load.appends_led));
    (void)json_object_set_new(to, "led_bytes_per_second", json_integer((json_int_t)load.rate_led));
    (void)json_object_set_new(to, "stored",
                              json_integer(seen == NULL ? 0 : (json_int_t)seen->stored));
    (void)json_object_set_new(to, "disk_free",
                              json_integer(seen == NULL ? 0 : (json_int_t)seen->free));
}

static char *render(struct stele_member *member, const struct stele_cluster_view *view,
                    const struct stele_cluster_counts *numbers,
                    const struct stele_cluster_readiness *readiness)
{
    char id[33];
    stele_hex_encode(view->cluster_id, 16, id);
    json_t *nodes = json_array();
    for (size_t i = 0; i < view->count; i++) {
        const struct stele_node_seen *node = &view->nodes[i];
        const struct stele_meta_node *meta = stele_meta_find(member->meta, node->number);
        const struct stele_member__seen *seen = stele_member__seen_of(member, node->number);
        static const char *const roles[] = {"starting", "catching-up", "leaderless", "follower",
                                            "leader",   "draining",    "stopped"};
        json_t *one = json_object();
        (void)json_object_set_new(one, "number", json_integer((json_int_t)node->number));
        (void)json_object_set_new(one, "name", json_string(node->name));
        (void)json_object_set_new(
            one, "state",
            json_string(meta == NULL ? "joining" : stele_meta_state_name(meta->state)));
        (void)json_object_set_new(one, "role", json_string(roles[node->state]));
        (void)json_object_set_new(one, "alive", json_boolean(node->is_alive));
        (void)json_object_set_new(one, "zone", json_string(meta == NULL ? "" : meta->zone));
        (void)json_object_set_new(one, "address",
                                  json_string(meta == NULL ? "" : meta->cluster_address));
        (void)json_object_set_new(one, "client_address",
                                  json_string(meta == NULL ? "" : meta->client_address));
        (void)json_object_set_new(one, "version", json_string(node->version));
        (void)json_object_set_new(one, "term", json_integer((json_int_t)node->term));
        (void)json_object_set_new(one, "position",
                                  json_integer((json_int_t)node->position_executed));
        (void)json_object_set_new(one, "groups_led",
                                  json_integer(seen == NULL ? 0 : (json_int_t)seen->groups_led));
        render_load(member, node->number, seen, one);
        if (seen != NULL && seen->hashes.differing > 0) {
            (void)json_object_set_new(
                one, "differs_since",
                json_integer((json_int_t)stele_hashes_stamp(seen->hashes.first)));
        }
        (void)json_array_append_new(nodes, one);
    }
    json_t *leaders = json_array();
    json_t *voters = json_array();
    for (uint32_t g = 0; g < member->identity.partitions && member->replica != NULL; g++) {
        (void)json_array_append_new(
            leaders, json_integer((json_int_t)stele_replica_leader(member->replica, g)));
        (void)json_array_append_new(voters, render_voters(member, g));
    }
    json_t *root = json_object();
    (void)json_object_set_new(root, "cluster", json_string(id));
    (void)json_object_set_new(root, "table_version",
                              json_integer((json_int_t)member->meta->version));
    (void)json_object_set_new(root, "this", json_integer((json_int_t)member->identity.number));
    (void)json_object_set_new(root, "leader", json_integer((json_int_t)member->meta_leader));
    (void)json_object_set_new(root, "partitions", json_integer(member->identity.partitions));
    (void)json_object_set_new(root, "ready", json_boolean(readiness->is_ready));
    (void)json_object_set_new(root, "why", json_string(readiness->why));
    (void)json_object_set_new(root, "groups_leaderless",
                              json_integer((json_int_t)numbers->groups_leaderless));
    (void)json_object_set_new(root, "log_lag", json_integer((json_int_t)numbers->log_lag));
    (void)json_object_set_new(root, "closed_lag_us",
                              json_integer((json_int_t)numbers->closed_lag_us));
    (void)json_object_set_new(root, "imbalance", json_integer((json_int_t)numbers->imbalance));
    (void)json_object_set_new(
        root, "imbalance_percent",
        json_pack("{s:i, s:i, s:i, s:i}", "votes", (int)numbers->imbalance_votes, "bytes",
                  (int)numbers->imbalance_bytes, "rate", (int)numbers->imbalance_rate, "leaders",
                  (int)numbers->imbalance_leaders));
    (void)json_object_set_new(root, "wal_size", json_integer((json_int_t)numbers->wal_size));
    (void)json_object_set_new(root, "mismatches", json_integer((json_int_t)numbers->mismatches));
    (void)json_object_set_new(root, "features", json_integer((json_int_t)member->meta->gates));
    (void)json_object_set_new(root, "replication_factor",
                              json_integer((json_int_t)stele_plan_replicas(member->meta)));
    (void)json_object_set_new(root, "rebalance", json_string(rebalance_of(member)));
    (void)json_object_set_new(root, "moving", json_integer((json_int_t)numbers->moving));
    (void)json_object_set_new(root, "missing", json_integer((json_int_t)numbers->missing));
    (void)json_object_set_new(root, "leaders", leaders);
    (void)json_object_set_new(root, "voters", voters);
    (void)json_object_set_new(root, "nodes", nodes);
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    return text;
}

void stele_member__view_refresh(struct stele_member *member)
{
    struct stele_cluster_view *view = member->view_next;
    struct stele_cluster_counts numbers;
    struct stele_cluster_readiness readiness;
    look_at_nodes(member, view);
    look_at_numbers(member, view, &numbers);
    judge_readiness(member, &numbers, &readiness);
    char *text = render(member, view, &numbers, &readiness);
    const uint64_t leader = view->leader == SIZE_MAX ? 0 : view->nodes[view->leader].number;
    (void)pthread_mutex_lock(&member->view_lock);
    member->view_next = member->view;
    member->view = view;
    member->counts = numbers;
    member->readiness = readiness;
    char *old = member->status_text;
    member->status_text = text == NULL ? old : text;
    old = text == NULL ? NULL : old;
    (void)pthread_mutex_unlock(&member->view_lock);
    free(old);
    const bool leads =
        leader == member->identity.number && !member->handing_over && !member->stopped;
    if (leader != member->told_leader || leads != atomic_load(&member->is_leader)) {
        member->told_leader = leader;
        atomic_store(&member->is_leader, leads);
        stele_roles_changed(&member->roles);
    }
}

int stele_member__view_create(struct stele_member *member)
{
    stele_roles_init(&member->roles, member->alloc);
    member->view = stele_allocate_zeroed(member->alloc, sizeof *member->view);
    member->view_next = stele_allocate_zeroed(member->alloc, sizeof *member->view_next);
    return member->view == NULL || member->view_next == NULL ? STELE_E_NO_MEMORY : STELE_OK;
}

void stele_member__view_destroy(struct stele_member *member)
{
    stele_roles_deinit(&member->roles);
    stele_release(member->alloc, member->view, sizeof *member->view);
    stele_release(member->alloc, member->view_next, sizeof *member->view_next);
    free(member->status_text);
}

/* ---- What services ask ---- */

static void view(struct stele_cluster *cluster, struct stele_cluster_view *out_view)
{
    struct stele_member *member = member_of(cluster);
    (void)pthread_mutex_lock(&member->view_lock);
    *out_view = *member->view;
    (void)pthread_mutex_unlock(&member->view_lock);
}

static bool is_leader(struct stele_cluster *cluster)
{
    return atomic_load(&member_of(cluster)->is_leader);
}

static bool leader(struct stele_cluster *cluster, struct stele_cluster_leader *out_leader)
{
    struct stele_member *member = member_of(cluster);
    (void)pthread_mutex_lock(&member->view_lock);
    const struct stele_cluster_view *now = member->view;
    const bool known = now->leader != SIZE_MAX && now->nodes[now->leader].port != 0;
    if (known) {
        const struct stele_node_seen *node = &now->nodes[now->leader];
        *out_leader = (struct stele_cluster_leader){.number = node->number, .port = node->port};
        memcpy(out_leader->host, node->host, sizeof out_leader->host);
    }
    (void)pthread_mutex_unlock(&member->view_lock);
    return known;
}

static void readiness(struct stele_cluster *cluster, struct stele_cluster_readiness *out_readiness)
{
    struct stele_member *member = member_of(cluster);
    (void)pthread_mutex_lock(&member->view_lock);
    *out_readiness = member->readiness;
    (void)pthread_mutex_unlock(&member->view_lock);
}

static bool counts(struct stele_cluster *cluster, struct stele_cluster_counts *out_counts)
{
    struct stele_member *member = member_of(cluster);
    (void)pthread_mutex_lock(&member->view_lock);
    *out_counts = member->counts;
    (void)pthread_mutex_unlock(&member->view_lock);
    return true;
}

static int status_json(struct stele_cluster *cluster, struct stele_alloc *alloc,
                       struct stele_buf *out)
{
    struct stele_member *member = member_of(cluster);
    (void)pthread_mutex_lock(&member->view_lock);
    int outcome = STELE_E_NO_MEMORY;
    if (member->status_text != NULL) {
        outcome = stele_buf_append(out, alloc, stele_bytes_of_text(member->status_text));
    }
    (void)pthread_mutex_unlock(&member->view_lock);
    return outcome == STELE_OK ? stele_buf_append(out, alloc, stele_bytes_of_text("\n")) : outcome;
}

const struct stele_cluster_ops stele_member__cluster_ops = {
    .view = view,
    .is_leader = is_leader,
    .leader = leader,
    .readiness = readiness,
    .counts = counts,
    .watch_start = watch_start,
    .watch_stop = watch_stop,
    .linearize = stele_member__ask_linearize,
    .command = stele_member__command,
    .status_json = status_json,
};
