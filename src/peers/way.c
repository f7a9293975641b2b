/* Dialling: a lane to a node, again and again; a question, once. */
#include "peers/peers_internal.h"

#include <stdio.h>

#define UP_LONG_US INT64_C(1000000)
/* A connection that is being made for so long was made to somebody who was not there yet. */
#define DIALLED_LONG_US INT64_C(100000)
/* Between two attempts, at least. */
#define KICK_US INT64_C(20000)

bool stele_peers__is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *const in = (const struct sockaddr_in *)(const void *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *const in = (const struct sockaddr_in6 *)(const void *)address;
        return IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
    }
    return address->sa_family == AF_UNIX;
}

/* Begins a connection to the target. NULL: there is none; *out_why says why, or has no cause while the
 * name is being looked up. */
static struct stele_peers__conn *dial(struct stele_peers__target *target,
                                      enum stele_peers_lane lane, uint32_t *out_index,
                                      char text[96], struct stele_peers_why *out_why)
{
    struct stele_peers *const peers = target->peers;
    socklen_t size = 0;
    const struct sockaddr *const address = stele_peers__target_pick(target, &size, out_index);
    *out_why = (struct stele_peers_why){.os_errno = 0};
    if (address == NULL) {
        return NULL;
    }
    if (peers->client == NULL && !peers->options.insecure && !stele_peers__is_loopback(address)) {
        *out_why = (struct stele_peers_why){
            .cause = STELE_PEERS_REFUSING,
            .refusal = STELE_PEERS_NOT_ALLOWED,
            .words = "plain text would show everything to the network; give a TLS certificate, or "
                     "say insecure"};
        return NULL;
    }
    struct stele_peers__conn *const conn = stele_peers__conn_create(peers, false);
    if (conn == NULL) {
        *out_why = (struct stele_peers_why){.cause = STELE_PEERS_NO_MEMORY, .words = "no memory"};
        return NULL;
    }
    conn->lane = lane;
    int os_errno = 0;
    if (!stele_peers__conn_dial(conn, address, size, &os_errno)) {
        stele_peers__conn_cut(conn);
        *out_why = (struct stele_peers_why){.cause = STELE_PEERS_LOST,
                                            .os_errno = os_errno,
                                            .words = strerror_r(os_errno, text, 96)};
        return NULL;
    }
    return conn;
}

/* ---- A lane to a node ---- */

/* Half of it by chance: nodes that were cut off together do not come back in step. */
static int64_t next_delay_us(struct stele_peers__way *way)
{
    struct stele_peers *const peers = way->node->peers;
    const uint32_t most = peers->options.retry_ms_max;
    uint32_t chance = 0;
    peers->base->ops->random(peers->base, &chance, sizeof chance);
    const int64_t half_us = (int64_t)way->backoff_ms * 500;
    way->backoff_ms = way->backoff_ms > most / 2 ? most : way->backoff_ms * 2;
    return half_us + (int64_t)((uint64_t)half_us * chance >> 32);
}

static void note_down(struct stele_peers__way *way, const struct stele_peers_why *why)
{
    struct stele_peers_status *const status = &way->status;
    if (status->up) {
        status->up = false;
        status->since_us = stele_peers__now(way->node->peers);
    }
    status->cause = why->cause;
    status->refusal = why->refusal;
    (void)snprintf(status->words, sizeof status->words, "%s", why->words);
    way->wants_room = false;
}

void stele_peers__way_lost(struct stele_peers__way *way, struct stele_peers_why *why)
{
    struct stele_peers *const peers = way->node->peers;
    const int64_t up_us = stele_peers__now(peers) - way->status.since_us;
    why->was_up = way->status.up;
    way->conn = NULL;
    if (why->was_up && up_us >= UP_LONG_US) {
        way->backoff_ms = peers->options.retry_ms_min;
    }
    if (!why->was_up) {
        stele_peers__target_failed(&way->node->target, way->address_index);
    }
    note_down(way, why);
    stele_peers__timer(peers, &way->retry, next_delay_us(way));
    peers->events.on_down(peers->context, way->node->number, way->lane, why);
}

static void dial_way(struct stele_peers__way *way)
{
    struct stele_peers *const peers = way->node->peers;
    struct stele_peers_why why;
    char text[96];
    STELE_ASSERT(way->conn == NULL);
    if (peers->options.number == 0) {
        return; /* Nobody would accept us; identify() begins. */
    }
    way->dialled_us = stele_peers__now(peers);
    way->conn = dial(&way->node->target, way->lane, &way->address_index, text, &why);
    if (way->conn != NULL) {
        way->conn->node = way->node;
        way->status.attempts++;
        (void)snprintf(way->status.address, sizeof way->status.address, "%s", way->conn->address);
    } else if (why.cause != 0) {
        way->status.attempts++;
        stele_peers__way_lost(way, &why);
    }
}

static void on_retry(struct stele_timer *timer)
{
    struct stele_peers__way *const way =
        (struct stele_peers__way *)(void *)((uint8_t *)timer -
                                            offsetof(struct stele_peers__way, retry));
    struct stele_peers *const peers = way->node->peers;
    if (!way->moved) {
        dial_way(way);
        return;
    }
    const struct stele_peers_why why = {
        .cause = STELE_PEERS_MOVED, .was_up = true, .words = "it has another address now"};
    way->moved = false;
    stele_peers__timer(peers, timer, 0);
    note_down(way, &why);
    peers->events.on_down(peers->context, way->node->number, way->lane, &why);
}

void stele_peers__node_resolved(struct stele_peers__target *target, const char *words)
{
    struct stele_peers__node *const node =
        (struct stele_peers__node *)(void *)((uint8_t *)target -
                                             offsetof(struct stele_peers__node, target));
    for (int lane = 0; lane < STELE_PEERS_LANES && !node->removed; lane++) {
        struct stele_peers__way *const way = &node->ways[lane];
        if (way->conn != NULL || way->retry.place != 0) {
            continue;
        }
        if (words[0] == '\0') {
            dial_way(way);
            continue;
        }
        struct stele_peers_why why = {.cause = STELE_PEERS_UNRESOLVED, .words = words};
        way->address_index = UINT32_MAX;
        way->status.attempts++;
        stele_peers__way_lost(way, &why);
    }
}

void stele_peers__way_init(struct stele_peers__way *way, struct stele_peers__node *node,
                           enum stele_peers_lane lane)
{
    way->node = node;
    way->lane = lane;
    way->retry.on_due = on_retry;
    way->backoff_ms = node->peers->options.retry_ms_min;
    way->status.since_us = stele_peers__now(node->peers);
}

void stele_peers__way_kick(struct stele_peers__way *way)
{
    struct stele_peers *const peers = way->node->peers;
    const int64_t age_us = stele_peers__now(peers) - way->dialled_us;
    if (way->conn != NULL && way->conn->state == STELE_PEERS__DIALLING &&
        age_us > DIALLED_LONG_US) {
        stele_peers__conn_cut(way->conn);
        way->conn = NULL;
    }
    if (way->conn != NULL || way->node->target.poll.place != 0) {
        return;
    }
    way->backoff_ms = peers->options.retry_ms_min;
    stele_peers__timer(peers, &way->retry,
                       age_us < KICK_US && way->status.attempts > 0 ? KICK_US - age_us : 0);
}

void stele_peers__way_move(struct stele_peers__way *way)
{
    if (way->conn != NULL) {
        stele_peers__conn_cut(way->conn);
        way->conn = NULL;
    }
    way->moved = way->moved || way->status.up;
    way->backoff_ms = way->node->peers->options.retry_ms_min;
    /* Sending is over at once, being told comes with the turn. */
    way->status.up = false;
    way->status.since_us = stele_peers__now(way->node->peers);
    stele_peers__timer(way->node->peers, &way->retry, 0);
}

void stele_peers__way_welcome(struct stele_peers__way *way)
{
    struct stele_peers *const peers = way->node->peers;
    way->status.up = true;
    way->status.since_us = stele_peers__now(peers);
    way->status.connects++;
    way->status.rtt_us = 0;
    stele_peers__target_worked(&way->node->target);
    peers->events.on_up(peers->context, way->node->number, way->lane);
}

void stele_peers__way_deinit(struct stele_peers__way *way)
{
    stele_peers__timer_stop(way->node->peers, &way->retry);
    if (way->conn != NULL) {
        stele_peers__conn_cut(way->conn);
        way->conn = NULL;
    }
    way->status.up = false;
}

/* ---- A question ---- */

void stele_peers__ask_release(struct stele_peers__ask *ask)
{
    struct stele_peers *const peers = ask->peers;
    if (ask->conn != NULL) {
        stele_peers__conn_cut(ask->conn);
    }
    stele_peers__timer_stop(peers, &ask->deadline);
    stele_peers__target_deinit(&ask->target);
    stele_buf_deinit(&ask->question, peers->alloc);
    stele_release(peers->alloc, ask, sizeof *ask);
}

void stele_peers__ask_end(struct stele_peers__ask *ask, const struct stele_peers_why *why,
                          struct stele_bytes answer)
{
    struct stele_peers *const peers = ask->peers;
    const stele_peers_on_answer on_answer = ask->on_answer;
    void *const context = ask->context;
    STELE_ASSERT(peers->ask == ask);
    peers->ask = NULL; /* The next one may be asked from there. */
    stele_peers__ask_release(ask);
    on_answer(context, why, answer);
}

static const struct stele_bytes nothing = {.data = NULL, .size = 0};

/* Tries the addresses that are left. */
static void dial_ask(struct stele_peers__ask *ask)
{
    struct stele_peers_why why = {.os_errno = 0};
    char text[96];
    for (;;) {
        ask->conn = dial(&ask->target, STELE_PEERS_JOIN, &ask->address_index, text, &why);
        if (ask->conn != NULL) {
            ask->conn->ask = ask;
            return;
        }
        if (why.cause == 0) {
            return; /* The name is being looked up. */
        }
        stele_peers__target_failed(&ask->target, ask->address_index);
        if (ask->target.left == 0) {
            stele_peers__ask_end(ask, &why, nothing);
            return;
        }
    }
}

void stele_peers__ask_lost(struct stele_peers__ask *ask, bool was_open, struct stele_peers_why *why)
{
    ask->conn = NULL;
    why->was_up = was_open;
    stele_peers__target_failed(&ask->target, ask->address_index);
    if (was_open || ask->target.left == 0) {
        stele_peers__ask_end(ask, why, nothing);
    } else {
        dial_ask(ask);
    }
}

static void on_ask_resolved(struct stele_peers__target *target, const char *words)
{
    struct stele_peers__ask *const ask =
        (struct stele_peers__ask *)(void *)((uint8_t *)target -
                                            offsetof(struct stele_peers__ask, target));
    if (words[0] != '\0') {
        const struct stele_peers_why why = {.cause = STELE_PEERS_UNRESOLVED, .words = words};
        stele_peers__ask_end(ask, &why, nothing);
        return;
    }
    dial_ask(ask);
}

static void on_ask_due(struct stele_timer *timer)
{
    struct stele_peers__ask *const ask =
        (struct stele_peers__ask *)(void *)((uint8_t *)timer -
                                            offsetof(struct stele_peers__ask, deadline));
    if (ask->begun) {
        const struct stele_peers_why why = {.cause = STELE_PEERS_SILENT,
                                            .was_up = ask->conn != NULL &&
                                                      ask->conn->state == STELE_PEERS__OPEN,
                                            .words = "no answer to the question"};
        stele_peers__ask_end(ask, &why, nothing);
        return;
    }
    ask->begun = true;
    stele_peers__timer(ask->peers, timer, (int64_t)ask->peers->options.join_ms * 1000);
    dial_ask(ask);
}

void stele_peers__ask_begin(struct stele_peers__ask *ask)
{
    ask->target.on_resolved = on_ask_resolved;
    ask->deadline.on_due = on_ask_due;
    stele_peers__timer(ask->peers, &ask->deadline, 0);
}
