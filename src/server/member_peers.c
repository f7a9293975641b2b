/* The other nodes: who may speak, what they tell of themselves. */
#include "server/member_internal.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#define STATUS_SIZE 48 /* Of the first version; later ones say more. */
#define STATUS_SIZE_MAX 64
#define DEAD_US 2000000

bool stele_member__split_address(const char *address, char host[256], uint16_t *out_port)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon == address) {
        return false;
    }
    const char *begin = address;
    size_t size = (size_t)(colon - address);
    if (begin[0] == '[' && colon[-1] == ']' && size > 2) {
        begin++;
        size -= 2;
    }
    char *end = NULL;
    const unsigned long port = strtoul(colon + 1, &end, 10);
    if (size == 0 || size > 255 || end == colon + 1 || *end != 0 || port == 0 || port > 65535) {
        return false;
    }
    memcpy(host, begin, size);
    host[size] = 0;
    *out_port = (uint16_t)port;
    return true;
}

struct stele_member__seen *stele_member__seen_of(struct stele_member *member, uint64_t number)
{
    for (size_t i = 0; i < member->seen_count; i++) {
        if (member->seen[i].number == number) {
            return &member->seen[i];
        }
    }
    if (member->seen_count == sizeof member->seen / sizeof member->seen[0]) {
        /* Those that the table does not know any more make room. */
        for (size_t i = 0; i < member->seen_count; i++) {
            if (stele_meta_find(member->meta, member->seen[i].number) == NULL) {
                member->seen[i] = (struct stele_member__seen){.number = number};
                return &member->seen[i];
            }
        }
        return NULL;
    }
    member->seen[member->seen_count] = (struct stele_member__seen){.number = number};
    return &member->seen[member->seen_count++];
}

bool stele_member__is_alive(struct stele_member *member, uint64_t number)
{
    if (number == member->identity.number) {
        return !member->stopped;
    }
    const struct stele_member__seen *seen = stele_member__seen_of(member, number);
    return seen != NULL && seen->heard_us > 0 &&
           stele_member__now_us(member) - seen->heard_us < DEAD_US;
}

void stele_member__tell_alive(struct stele_member *member, struct stele_meta_command *to)
{
    to->alive_count = 0;
    for (size_t i = 0; i < member->meta->nodes_count; i++) {
        const uint64_t number = member->meta->nodes[i].number;
        if (stele_member__is_alive(member, number)) {
            to->alive[to->alive_count++] = number;
        }
    }
}

/* ---- Greetings ---- */

const struct stele_meta_start *stele_member__start(const struct stele_member *member)
{
    const struct stele_meta_past *const past = &member->identity.past;
    STELE_ASSERT(past->count > 0);
    return &past->starts[past->count - 1];
}

/* From when the gate has risen, everybody reads what tells of earlier starts; before, who says so. */
static bool reads_past(struct stele_member *member, uint64_t node)
{
    const struct stele_member__seen *seen = stele_member__seen_of(member, node);
    return (member->features & STELE_META_FEATURE_PAST) != 0 &&
           ((member->meta->gates & STELE_META_FEATURE_PAST) != 0 ||
            (seen != NULL && seen->knows_past));
}

static void say_hello(struct stele_member *member, uint64_t node)
{
    struct stele_meta_hello hello = {
        .number = member->identity.number,
        .format = STELE_META_FORMAT,
        .features = member->features,
        .partitions = member->identity.partitions,
        .partition_key = member->identity.partition_key,
        .starts = stele_member__start(member)->starts,
        .boot = stele_member__start(member)->boot,
        .table_version = member->meta->version,
    };
    struct stele_client_ordered ordered;
    stele_client_ordered(member->store, &ordered);
    hello.durable = ordered.stamp_synced;
    if (reads_past(member, node)) {
        hello.past = member->identity.past;
    }
    memcpy(hello.cluster_id, member->identity.cluster_id, sizeof hello.cluster_id);
    memcpy(hello.incarnation, member->identity.incarnation, sizeof hello.incarnation);
    (void)snprintf(hello.version, sizeof hello.version, "%s", member->version);
    uint8_t bytes[STELE_META_HELLO_SIZE_MAX];
    const struct stele_bytes body = {.data = bytes, .size = stele_meta_hello_encode(&hello, bytes)};
    (void)stele_member__send(member, node, STELE_PEERS_CONTROL, STELE_MEMBER__HELLO, body);
}

/* This node's table may be too old for it to have told everything at once. */
static void answer_hello(struct stele_member *member, uint64_t from, uint64_t features,
                         struct stele_member__seen *seen)
{
    if (seen == NULL || seen->knows_past || (features & STELE_META_FEATURE_PAST) == 0) {
        return;
    }
    const bool told = reads_past(member, from);
    seen->knows_past = true;
    if (!told && reads_past(member, from)) {
        say_hello(member, from);
    }
}

static void on_hello_message(struct stele_member *member, uint64_t from, struct stele_bytes body)
{
    struct stele_meta_hello hello;
    struct stele_member__seen *seen = stele_member__seen_of(member, from);
    char words[STELE_META_WORDS_SIZE] = "what it says is not understood";
    enum stele_meta_outcome outcome = STELE_META_INVALID;
    if (stele_meta_hello_decode(body, &hello) == STELE_OK && hello.number == from) {
        outcome = stele_meta_judge_hello(member->meta, member->identity.number, &hello,
                                         seen == NULL ? NULL : &seen->hello, words);
        answer_hello(member, from, hello.features, seen);
    }
    if (seen != NULL) {
        seen->unsure = outcome == STELE_META_STALE;
    }
    if (outcome == STELE_META_STALE) {
        return;
    }
    if (outcome == STELE_META_DONE) {
        if (seen != NULL) {
            stele_meta_seen_add(&seen->hello, &hello);
            seen->refused = false;
        }
        return;
    }
    if (member->meta->version == 0) {
        return; /* This node knows too little to judge. */
    }
    if (seen != NULL) {
        seen->refused = true;
        (void)snprintf(seen->refused_why, sizeof seen->refused_why, "%s", words);
    }
    stele_member__log(member, STELE_SERVER_WARNING, "node %llu is refused (%s): %s",
                      (unsigned long long)from, stele_meta_outcome_name(outcome), words);
    const struct stele_bytes text = stele_bytes_of_text(words);
    (void)stele_member__send(member, from, STELE_PEERS_CONTROL, STELE_MEMBER__REFUSED, text);
}

static void set_peers_and(struct stele_member *member, const struct stele_peers_hello *hello);

static enum stele_peers_refusal on_hello(void *context, const struct stele_peers_hello *hello,
                                         bool incoming, const char *address, char *words,
                                         size_t words_size)
{
    struct stele_member *member = context;
    (void)incoming;
    (void)address;
    if (hello->lane == STELE_PEERS_JOIN) {
        return STELE_PEERS_ACCEPT; /* The question is judged. */
    }
    if (memcmp(hello->cluster_id, member->identity.cluster_id, 16) != 0) {
        (void)snprintf(words, words_size, "this node belongs to another cluster");
        return STELE_PEERS_WRONG_CLUSTER;
    }
    const struct stele_meta_node *node = stele_meta_find(member->meta, hello->number);
    if (node == NULL && member->meta->version < member->peers_version) {
        /* This node knows too little to judge: it may have been away while others came. */
        set_peers_and(member, hello);
        return STELE_PEERS_ACCEPT;
    }
    if (node == NULL) {
        for (size_t i = 0; i < member->meta->removed_count; i++) {
            if (member->meta->removed[i].number == hello->number) {
                (void)snprintf(words, words_size,
                               "node %llu was removed; its store can be read, and a new store can "
                               "join",
                               (unsigned long long)hello->number);
                return STELE_PEERS_REMOVED_NODE;
            }
        }
        return STELE_PEERS_UNKNOWN_NODE;
    }
    if (memcmp(node->incarnation, hello->incarnation, 16) != 0) {
        (void)snprintf(words, words_size,
                       "number %llu was given to another disk; a wiped node joins as a new one "
                       "(stele cluster replace)",
                       (unsigned long long)hello->number);
        return STELE_PEERS_WRONG_INCARNATION;
    }
    if (strcmp(node->name, hello->name) != 0) {
        (void)snprintf(words, words_size, "node %llu is called %s here",
                       (unsigned long long)hello->number, node->name);
        return STELE_PEERS_WRONG_NAME;
    }
    return STELE_PEERS_ACCEPT;
}

/* ---- Status ---- */

static enum stele_node_state own_state(struct stele_member *member)
{
    const struct stele_meta_node *node = stele_meta_find(member->meta, member->identity.number);
    if (member->stopped || member->handing_over) {
        return STELE_NODE_STOPPED;
    }
    if (node == NULL || member->replica == NULL) {
        return STELE_NODE_STARTING;
    }
    if (node->state == STELE_META_JOINING) {
        return STELE_NODE_CATCHING_UP;
    }
    struct stele_replica_counts counts;
    stele_replica_counts(member->replica, &counts);
    if (counts.fetching) {
        return STELE_NODE_CATCHING_UP;
    }
    if (member->meta_leader == 0) {
        return STELE_NODE_LEADERLESS;
    }
    if (member->meta_leader == member->identity.number) {
        return STELE_NODE_LEADER;
    }
    return node->state == STELE_META_DRAINING ? STELE_NODE_DRAINING : STELE_NODE_FOLLOWER;
}

static void own_status(struct stele_member *member, struct stele_member__seen *own)
{
    struct stele_client_ordered ordered;
    struct stele_raft_counts counts = {.groups_led = 0};
    struct stele_raft_status status = {.term = 0};
    stele_client_ordered(member->store, &ordered);
    if (member->replica != NULL) {
        struct stele_raft *raft = stele_replica_raft(member->replica);
        stele_raft_counts(raft, &counts);
        stele_raft_status(raft, stele_replica_meta_group(member->replica), &status);
    }
    own->state = (uint8_t)own_state(member);
    own->term = status.term;
    own->position = ordered.position_durable;
    own->durable = atomic_load(&member->durable);
    own->is_full = stele_member__is_full(member);
    own->is_apart = stele_member__is_apart(member);
    own->hears = stele_member__alive_nodes(member);
    own->groups_led = (uint32_t)counts.groups_led;
    own->free = member->load->free;
    own->stored = member->load->stored;
    own->heard_us = stele_member__now_us(member);
    own->heard_wall_us = member->base->ops->wall_us(member->base);
}

void stele_member__send_status(struct stele_member *member)
{
    struct stele_member__seen *own = stele_member__seen_of(member, member->identity.number);
    if (own == NULL) {
        return;
    }
    own_status(member, own);
    uint8_t bytes[STATUS_SIZE_MAX] = {own->state, own->is_full, own->is_apart};
    stele_store_u32le(bytes + 4, own->groups_led);
    stele_store_u64le(bytes + 8, own->term);
    stele_store_u64le(bytes + 16, own->position);
    stele_store_u64le(bytes + 24, own->durable);
    stele_store_u64le(bytes + 32, member->meta->version);
    stele_store_u64le(bytes + 40, own->free);
    stele_store_u64le(bytes + 48, own->stored);
    stele_store_u64le(bytes + 56, own->hears);
    const struct stele_bytes body = {.data = bytes, .size = sizeof bytes};
    for (size_t i = 0; i < member->meta->nodes_count; i++) {
        const uint64_t number = member->meta->nodes[i].number;
        if (number != member->identity.number) {
            (void)stele_member__send(member, number, STELE_PEERS_CONTROL, STELE_MEMBER__STATUS,
                                     body);
        }
    }
}

static void on_status(struct stele_member *member, uint64_t from, struct stele_bytes body)
{
    struct stele_member__seen *seen = stele_member__seen_of(member, from);
    if (seen == NULL || body.size < STATUS_SIZE || body.data[0] > STELE_NODE_STOPPED) {
        return;
    }
    seen->state = body.data[0];
    seen->is_full = body.data[1] != 0; /* 0 of a version that does not tell. */
    seen->is_apart = body.data[2] != 0;
    /* Places are those of its table. */
    seen->hears =
        body.size >= STATUS_SIZE_MAX && stele_load_u64le(body.data + 32) == member->meta->version
            ? stele_load_u64le(body.data + 56)
            : 0;
    seen->groups_led = stele_load_u32le(body.data + 4);
    seen->term = stele_load_u64le(body.data + 8);
    seen->position = stele_load_u64le(body.data + 16);
    seen->durable = stele_load_u64le(body.data + 24);
    seen->free = stele_load_u64le(body.data + 40);
    seen->stored = body.size < STATUS_SIZE_MAX ? 0 : stele_load_u64le(body.data + 48);
    seen->heard_us = stele_member__now_us(member);
    seen->heard_wall_us = member->base->ops->wall_us(member->base);
}

/* ---- Frames ---- */

static void on_refused(struct stele_member *member, uint64_t from, struct stele_bytes body)
{
    struct stele_member__seen *seen = stele_member__seen_of(member, from);
    if (seen != NULL) {
        seen->refuses = true;
        stele_member__view_refresh(member);
    }
    stele_member__log(member, STELE_SERVER_ERROR, "node %llu refuses this node: %.*s",
                      (unsigned long long)from, (int)(body.size < 400 ? body.size : 400),
                      (const char *)body.data);
}

static void on_frame(void *context, uint64_t node, enum stele_peers_lane lane,
                     struct stele_bytes bytes)
{
    struct stele_member *member = context;
    if (bytes.size < STELE_MEMBER__HEADER || member->replica == NULL) {
        return;
    }
    if (lane == STELE_PEERS_BULK) {
        stele_member__on_bulk(member, node, bytes);
        return;
    }
    const struct stele_member__seen *seen = stele_member__seen_of(member, node);
    const struct stele_bytes body =
        stele_bytes_slice(bytes, STELE_MEMBER__HEADER, bytes.size - STELE_MEMBER__HEADER);
    if (bytes.data[0] == STELE_MEMBER__HELLO) {
        on_hello_message(member, node, body);
        return;
    }
    if (seen != NULL && (seen->refused || seen->unsure)) {
        return;
    }
    struct stele_error err = {.outcome = STELE_OK};
    switch (bytes.data[0]) {
    case STELE_MEMBER__REFUSED:
        on_refused(member, node, body);
        break;
    case STELE_MEMBER__STATUS:
        on_status(member, node, body);
        break;
    case STELE_MEMBER__HASHES:
        stele_member__on_hashes(member, node, body);
        break;
    case STELE_MEMBER__ASK:
        stele_member__on_ask(member, node, body);
        break;
    case STELE_MEMBER__ANSWER:
        stele_member__on_answer(member, node, body);
        break;
    default:
        if (stele_replica_receive(member->replica, node, bytes, stele_member__now_us(member),
                                  &err) != STELE_OK) {
            stele_member__log(member, STELE_SERVER_WARNING, "%s", err.message);
        }
        break;
    }
    stele_member__want_turn(member);
}

static void on_up(void *context, uint64_t node, enum stele_peers_lane lane)
{
    struct stele_member *member = context;
    if (lane == STELE_PEERS_CONTROL) {
        struct stele_member__seen *seen = stele_member__seen_of(member, node);
        if (seen != NULL) {
            seen->told_causes = 0;
            seen->refuses = false; /* It judges again. */
        }
        say_hello(member, node);
        if (seen != NULL && seen->refused) {
            /* When it was judged there may have been no way to tell it. */
            (void)stele_member__send(member, node, STELE_PEERS_CONTROL, STELE_MEMBER__REFUSED,
                                     stele_bytes_of_text(seen->refused_why));
        }
        stele_member__log(member, STELE_SERVER_INFO, "connected to node %llu",
                          (unsigned long long)node);
    }
    stele_member__want_turn(member);
}

static void on_down(void *context, uint64_t node, enum stele_peers_lane lane,
                    const struct stele_peers_why *why)
{
    struct stele_member *member = context;
    struct stele_member__seen *seen = stele_member__seen_of(member, node);
    /* Attempts go on for ever; each cause is told once, until there is a connection again. */
    const uint32_t cause = (uint32_t)1 << why->cause |
                           (why->cause == STELE_PEERS_REFUSED ? 0x10000U << why->refusal : 0);
    const bool is_new = seen == NULL || (seen->told_causes & cause) != cause;
    if (lane == STELE_PEERS_CONTROL && (why->was_up || is_new)) {
        stele_member__log(member, STELE_SERVER_WARNING, "node %llu is not connected: %s",
                          (unsigned long long)node, why->words);
    }
    if (lane == STELE_PEERS_CONTROL && seen != NULL) {
        seen->told_causes |= cause;
        seen->knows_past = false; /* It may come back as an older version. */
    }
    if (lane == STELE_PEERS_CONTROL && !why->was_up && why->cause == STELE_PEERS_REFUSED &&
        why->refusal == STELE_PEERS_REMOVED_NODE) {
        /* Nobody tells it through the log any more, and numbers are not given again. */
        stele_member__fail(member, STELE_E_CLOSED,
                           "it was removed from the cluster; its store can still be read");
        stele_member__want_turn(member);
    }
}

static void on_room(void *context, uint64_t node, enum stele_peers_lane lane)
{
    struct stele_member *member = context;
    if (lane == STELE_PEERS_BULK && member->replica != NULL) {
        stele_member__on_room(member, node);
    }
}

/* ---- Joining: the side that is asked ---- */

static void on_join(void *context, uint64_t request, const struct stele_peers_hello *hello,
                    struct stele_bytes bytes)
{
    struct stele_member *member = context;
    (void)hello;
    struct stele_meta_command *command = stele_allocate(member->alloc, sizeof *command);
    struct stele_member__ask *ask = NULL;
    if (command != NULL && member->replica != NULL &&
        stele_meta_command_decode(bytes, command) == STELE_OK &&
        (command->kind == STELE_META_JOIN || command->kind == STELE_META_REPLACE)) {
        static const uint8_t any[STELE_META_ID_SIZE] = {0};
        if (memcmp(command->cluster_id, any, sizeof any) == 0) {
            /* Whatever cluster the seed belongs to is meant. */
            memcpy(command->cluster_id, member->identity.cluster_id, sizeof any);
            if (command->partitions == 0) {
                command->partitions = member->identity.partitions;
                command->partition_key = member->identity.partition_key;
            }
        }
        if (command->kind == STELE_META_REPLACE) {
            /* Who wants to take a node's place cannot know whether that node is lost. */
            stele_member__tell_alive(member, command);
        }
        ask = stele_member__ask_create(member, command);
    }
    if (command != NULL) {
        stele_release(member->alloc, command, sizeof *command);
    }
    if (ask == NULL) {
        const struct stele_bytes none = {.data = NULL, .size = 0};
        const int outcome = stele_peers_answer(member->peers, request, none);
        (void)outcome; /* Who asked is gone. */
        return;
    }
    ask->join_request = request;
    stele_member__ask(member, ask);
    stele_member__want_turn(member);
}

static const struct stele_peers_events peers_events = {
    .on_hello = on_hello,
    .on_frame = on_frame,
    .on_up = on_up,
    .on_down = on_down,
    .on_room = on_room,
    .on_join = on_join,
};

/* ---- Up ---- */

/* The nodes of the table, and one more (or NULL) that only its own hello tells of. */
static void set_peers_and(struct stele_member *member, const struct stele_peers_hello *hello)
{
    struct stele_peers_node nodes[STELE_META_NODES_MAX];
    _Static_assert(sizeof nodes < 8192, "it lies on the stack");
    char(*hosts)[256] = stele_allocate(member->alloc, STELE_META_NODES_MAX * sizeof *hosts);
    size_t count = 0;
    if (hosts == NULL) {
        return;
    }
    for (size_t i = 0; i < member->meta->nodes_count; i++) {
        const struct stele_meta_node *node = &member->meta->nodes[i];
        uint16_t port = 0;
        if (stele_member__split_address(node->cluster_address, hosts[count], &port)) {
            nodes[count] = (struct stele_peers_node){
                .number = node->number, .name = node->name, .host = hosts[count], .port = port};
            count++;
        }
    }
    if (hello != NULL && hello->port != 0 && count < STELE_META_NODES_MAX) {
        nodes[count++] = (struct stele_peers_node){
            .number = hello->number, .name = hello->name, .host = hello->host, .port = hello->port};
    }
    struct stele_error err = {.outcome = STELE_OK};
    if (stele_peers_set(member->peers, nodes, count, &err) != STELE_OK) {
        stele_member__log(member, STELE_SERVER_ERROR, "the nodes of the table: %s", err.message);
    }
    stele_release(member->alloc, hosts, STELE_META_NODES_MAX * sizeof *hosts);
}

void stele_member__peers_set(struct stele_member *member)
{
    set_peers_and(member, NULL);
}

static int listen_at(struct stele_member *member, struct stele_error *err)
{
    const char *const given = member->config.listen;
    const bool apart = given != NULL && given[0] != '\0';
    const char *const address = apart ? given : member->identity.address;
    const char *const what = apart ? "cluster-listen" : "the cluster address";
    char host[256];
    char port_text[8];
    uint16_t port = 0;
    if (!stele_member__split_address(address, host, &port)) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s %s is not host:port", what, address);
    }
    (void)snprintf(port_text, sizeof port_text, "%u", port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    const int failed = getaddrinfo(host, port_text, &hints, &found);
    if (failed != 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s %s: %s", what, address,
                          gai_strerror(failed));
    }
    const int outcome =
        stele_peers_listen(member->peers, found->ai_addr, found->ai_addrlen, NULL, err);
    freeaddrinfo(found);
    return outcome;
}

int stele_member__peers_create(struct stele_member *member, struct stele_error *err)
{
    const struct stele_peers_tls_files tls = {.certificate = member->config.tls_certificate,
                                              .key = member->config.tls_key,
                                              .ca = member->config.tls_ca};
    struct stele_peers_options options = stele_peers_options_default();
    char host[256];
    uint16_t port = 0;
    if (!stele_member__split_address(member->identity.address, host, &port)) {
        return stele_fail(err, STELE_E_INVALID, 0, "the cluster address %s is not host:port",
                          member->identity.address);
    }
    memcpy(options.cluster_id, member->identity.cluster_id, 16);
    memcpy(options.incarnation, member->identity.incarnation, 16);
    options.number = member->identity.number;
    options.name = member->identity.name;
    options.host = host;
    options.port = port;
    options.tls = member->config.tls_certificate == NULL ? NULL : &tls;
    options.insecure = member->config.insecure;
    const int outcome =
        stele_peers_create(member->loop, &options, &peers_events, member, &member->peers, err);
    return outcome == STELE_OK ? listen_at(member, err) : outcome;
}
