/* What two nodes say before anything else, and who is let in. */
#include "peers/peers_internal.h"

#include <stdio.h>

void stele_peers__hello_own(struct stele_peers *peers, enum stele_peers_lane lane, uint64_t to,
                            struct stele_peers_hello *out_hello)
{
    *out_hello = (struct stele_peers_hello){
        .version_min = peers->options.version_min,
        .version_max = peers->options.version_max,
        .lane = lane,
        .number = peers->options.number,
        .boot = peers->boot,
        .attempt = ++peers->attempts,
        .to = to,
        .window = peers->options.bulk_window,
    };
    memcpy(out_hello->cluster_id, peers->options.cluster_id, 16);
    memcpy(out_hello->incarnation, peers->options.incarnation, 16);
    memcpy(out_hello->name, peers->name, sizeof out_hello->name);
    memcpy(out_hello->host, peers->host, sizeof out_hello->host);
    out_hello->port = peers->options.port;
}

static bool send_hello(struct stele_peers__conn *conn, uint8_t kind,
                       const struct stele_peers_hello *hello)
{
    uint8_t payload[STELE_PEERS_HELLO_SIZE_MAX];
    const size_t size = stele_peers_hello_encode(hello, payload);
    return stele_peers__conn_greet(conn, kind, (struct stele_bytes){.data = payload, .size = size});
}

static void fail_without_memory(struct stele_peers__conn *conn)
{
    stele_peers__conn_fail(
        conn, false,
        (struct stele_peers_why){.cause = STELE_PEERS_NO_MEMORY, .words = "no memory"});
}

void stele_peers__on_ready(struct stele_peers__conn *conn)
{
    struct stele_peers_hello hello;
    if (conn->incoming) {
        return; /* Who dials begins. */
    }
    stele_peers__hello_own(conn->peers, conn->lane, conn->node != NULL ? conn->node->number : 0,
                           &hello);
    if (!send_hello(conn, STELE_PEERS_HELLO, &hello)) {
        fail_without_memory(conn);
    }
}

/* Whose the table says the number is has to be certified, not who the other side says it is. */
static bool is_certified(const struct stele_peers__conn *conn, const char *name, const char *host)
{
    return conn->tls == NULL || conn->peers->options.any_name ||
           stele_tls_peer_is(conn->tls, name) ||
           (host != NULL && stele_tls_peer_is(conn->tls, host));
}

/* What does not need the owner. */
static enum stele_peers_refusal judge(const struct stele_peers__conn *conn,
                                      const struct stele_peers_hello *hello, char *words,
                                      size_t size)
{
    const struct stele_peers *const peers = conn->peers;
    const struct stele_peers_options *const own = &peers->options;
    if (hello->version_min > own->version_max || hello->version_max < own->version_min) {
        (void)snprintf(words, size,
                       "protocol versions %u to %u are spoken here, and %u to %u there; upgrade "
                       "the older node",
                       own->version_min, own->version_max, hello->version_min, hello->version_max);
        return STELE_PEERS_WRONG_VERSION;
    }
    if (hello->lane == STELE_PEERS_JOIN ? hello->to != 0 && hello->to != own->number
                                        : hello->to != own->number || hello->to == 0) {
        (void)snprintf(words, size, "node %llu is meant, and this is node %llu",
                       (unsigned long long)hello->to, (unsigned long long)own->number);
        return STELE_PEERS_WRONG_NODE;
    }
    if (hello->lane != STELE_PEERS_JOIN && hello->number == own->number) {
        (void)snprintf(words, size,
                       "node %llu is the one that is asked: this is an older or a copied disk",
                       (unsigned long long)own->number);
        return STELE_PEERS_WRONG_INCARNATION;
    }
    const struct stele_peers__node *const node =
        hello->number != 0 ? stele_peers__node_find(peers, hello->number) : NULL;
    const char *const name = node != NULL ? node->name : hello->name;
    if (!is_certified(conn, name, node != NULL ? node->target.host : NULL)) {
        (void)snprintf(words, size, "the certificate is not for \"%.200s\"", name);
        return STELE_PEERS_WRONG_NAME;
    }
    return STELE_PEERS_ACCEPT;
}

static void refuse(struct stele_peers__conn *conn, enum stele_peers_refusal refusal,
                   const char *words)
{
    stele_peers__conn_refuse(conn, refusal,
                             words[0] != '\0' ? words : stele_peers_refusal_name(refusal));
}

/* false: it was cut. */
static bool welcome(struct stele_peers__conn *conn)
{
    struct stele_peers *const peers = conn->peers;
    const uint16_t theirs = conn->hello.version_max;
    const uint16_t ours = peers->options.version_max;
    struct stele_peers_hello hello;
    stele_peers__hello_own(peers, conn->lane, conn->hello.number, &hello);
    hello.version_max = theirs < ours ? theirs : ours;
    hello.version_min = hello.version_max;
    if (!send_hello(conn, STELE_PEERS_WELCOME, &hello)) {
        stele_peers__conn_cut(conn); /* The other side sees an end, and tries again. */
        return false;
    }
    stele_peers__conn_open(conn);
    return true;
}

static void take_in(struct stele_peers__conn *conn, struct stele_peers__node *node)
{
    struct stele_peers *const peers = conn->peers;
    const enum stele_peers_lane lane = conn->lane;
    struct stele_peers__conn *const older = node->inbound[lane];
    const struct stele_peers_hello *const hello = &conn->hello;
    if (older != NULL && older->hello.boot == hello->boot &&
        older->hello.attempt > hello->attempt) {
        refuse(conn, STELE_PEERS_STALE, "a newer connection is there already");
        return;
    }
    if (!welcome(conn)) {
        return;
    }
    if (older != NULL) {
        /* First of all: never two at once. What it has not delivered yet it never will. */
        stele_peers__conn_cut(older);
    }
    struct stele_peers_status *const status = &node->ways[lane].status;
    node->inbound[lane] = conn;
    conn->node = node;
    status->inbound_since_us = stele_peers__now(peers);
    status->inbound_connects++;
    stele_peers__conn_pause(conn, node->paused[lane]);
    for (int i = 0; i < STELE_PEERS_LANES; i++) {
        if (!node->ways[i].status.up) {
            stele_peers__way_kick(&node->ways[i]); /* It is there. */
        }
    }
    if (peers->events.on_inbound != NULL) {
        peers->events.on_inbound(peers->context, node->number, lane, true);
    }
}

void stele_peers__on_hello(struct stele_peers__conn *conn, struct stele_bytes payload)
{
    struct stele_peers *const peers = conn->peers;
    char words[STELE_PEERS_WORDS_MAX + 1] = "";
    if (stele_peers_hello_decode(payload, &conn->hello) != STELE_OK) {
        peers->counts.malformed++;
        refuse(conn, STELE_PEERS_MALFORMED, "this is no hello");
        return;
    }
    conn->lane = conn->hello.lane;
    enum stele_peers_refusal refusal = judge(conn, &conn->hello, words, sizeof words);
    if (refusal == STELE_PEERS_ACCEPT) {
        refusal = peers->events.on_hello(peers->context, &conn->hello, true, conn->address, words,
                                         sizeof words);
    }
    if (conn->state != STELE_PEERS__GREETING) {
        return;
    }
    if (refusal != STELE_PEERS_ACCEPT) {
        refuse(conn, refusal, words);
        return;
    }
    if (conn->lane == STELE_PEERS_JOIN) {
        (void)welcome(conn);
        return;
    }
    struct stele_peers__node *const node = stele_peers__node_find(peers, conn->hello.number);
    if (node == NULL || conn->hello.number == 0) {
        refuse(conn, STELE_PEERS_UNKNOWN_NODE, "no node of this number is known here");
        return;
    }
    take_in(conn, node);
}

static enum stele_peers_refusal judge_welcome(const struct stele_peers__conn *conn, char *words,
                                              size_t size)
{
    const struct stele_peers_options *const own = &conn->peers->options;
    const struct stele_peers_hello *const hello = &conn->hello;
    static const uint8_t none[16] = {0};
    if (hello->version_min != hello->version_max || hello->version_max < own->version_min ||
        hello->version_max > own->version_max) {
        (void)snprintf(words, size, "it answers in protocol version %u", hello->version_max);
        return STELE_PEERS_WRONG_VERSION;
    }
    const struct stele_peers__target *const target =
        conn->node != NULL ? &conn->node->target : &conn->ask->target;
    if (!is_certified(conn, conn->node != NULL ? conn->node->name : hello->name, target->host)) {
        (void)snprintf(words, size, "the certificate is not for \"%.200s\"",
                       conn->node != NULL ? conn->node->name : hello->name);
        return STELE_PEERS_WRONG_NAME;
    }
    /* Who has no cluster yet may ask to be let in. */
    if (memcmp(hello->cluster_id, own->cluster_id, 16) != 0 &&
        (conn->node != NULL || memcmp(own->cluster_id, none, 16) != 0)) {
        (void)snprintf(words, size, "it belongs to another cluster");
        return STELE_PEERS_WRONG_CLUSTER;
    }
    if (conn->node != NULL && hello->number != conn->node->number) {
        (void)snprintf(words, size, "node %llu answers there", (unsigned long long)hello->number);
        return STELE_PEERS_WRONG_NODE;
    }
    return STELE_PEERS_ACCEPT;
}

void stele_peers__on_welcome(struct stele_peers__conn *conn, struct stele_bytes payload)
{
    struct stele_peers *const peers = conn->peers;
    char words[STELE_PEERS_WORDS_MAX + 1] = "";
    enum stele_peers_refusal refusal = STELE_PEERS_MALFORMED;
    if (stele_peers_hello_decode(payload, &conn->hello) == STELE_OK &&
        conn->hello.lane == conn->lane) {
        refusal = judge_welcome(conn, words, sizeof words);
        if (refusal == STELE_PEERS_ACCEPT) {
            refusal = peers->events.on_hello(peers->context, &conn->hello, false, conn->address,
                                             words, sizeof words);
        }
    }
    if (conn->state != STELE_PEERS__GREETING) {
        return; /* The owner has changed his mind, or the table. */
    }
    if (refusal != STELE_PEERS_ACCEPT) {
        stele_peers__conn_fail(
            conn, false,
            (struct stele_peers_why){
                .cause = STELE_PEERS_REFUSING,
                .refusal = refusal,
                .words = words[0] != '\0' ? words : stele_peers_refusal_name(refusal)});
        return;
    }
    stele_peers__conn_open(conn);
    if (conn->node != NULL) {
        stele_peers__way_welcome(&conn->node->ways[conn->lane]);
        return;
    }
    const struct stele_bytes question = {.data = conn->ask->question.data,
                                         .size = conn->ask->question.size};
    if (stele_peers__conn_put(conn, STELE_PEERS_REQUEST, &question, 1) != STELE_OK) {
        fail_without_memory(conn);
    }
}
