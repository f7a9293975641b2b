/* The owner's face: frames told, connections that come in, sending, questions, beginning and end. */
#include "peers/peers_internal.h"

#include <stdio.h>

/* ---- Frames ---- */

static void on_refuse(struct stele_peers__conn *conn, struct stele_bytes payload)
{
    char words[STELE_PEERS_WORDS_MAX + 1] = "";
    uint16_t code = 0;
    if (stele_peers_refuse_decode(payload, &code, words) != STELE_OK || code == 0) {
        code = STELE_PEERS_MALFORMED;
        (void)snprintf(words, sizeof words, "a refusal that makes no sense");
    }
    stele_peers__conn_fail(conn, false,
                           (struct stele_peers_why){.cause = STELE_PEERS_REFUSED,
                                                    .refusal = (enum stele_peers_refusal)code,
                                                    .words = words});
}

static void on_credit(struct stele_peers__conn *conn, uint64_t acknowledged)
{
    struct stele_peers *const peers = conn->peers;
    if (acknowledged > conn->offered || acknowledged < conn->acknowledged) {
        stele_peers__conn_fail(
            conn, false,
            (struct stele_peers_why){.cause = STELE_PEERS_REFUSING,
                                     .refusal = STELE_PEERS_MALFORMED,
                                     .words = "it claims to have taken what was never sent"});
        return;
    }
    conn->acknowledged = acknowledged;
    struct stele_peers__way *const way = &conn->node->ways[conn->lane];
    if (way->wants_room && conn->offered - acknowledged <= peers->options.bulk_window / 2) {
        way->wants_room = false;
        peers->events.on_room(peers->context, conn->node->number, conn->lane);
    }
}

static void on_data(struct stele_peers__conn *conn, struct stele_bytes payload)
{
    struct stele_peers *const peers = conn->peers;
    struct stele_peers_status *const status = &conn->node->ways[conn->lane].status;
    status->frames_in++;
    status->bytes_in += payload.size;
    peers->events.on_frame(peers->context, conn->node->number, conn->lane, payload);
}

static void on_pong(struct stele_peers__conn *conn, uint64_t stamp)
{
    const uint64_t now = (uint64_t)stele_peers__now(conn->peers);
    if (conn->incoming || conn->node == NULL || stamp > now) {
        return; /* Or a stamp that was never sent; it is only a number for people. */
    }
    const uint64_t rtt = now - stamp < UINT32_MAX ? now - stamp : UINT32_MAX;
    conn->node->ways[conn->lane].status.rtt_us = rtt > 0 ? (uint32_t)rtt : 1;
}

void stele_peers__on_frame(struct stele_peers__conn *conn, const struct stele_peers_frame *frame,
                           struct stele_bytes payload)
{
    struct stele_peers *const peers = conn->peers;
    switch ((enum stele_peers_kind)frame->kind) {
    case STELE_PEERS_HELLO:
        stele_peers__on_hello(conn, payload);
        break;
    case STELE_PEERS_WELCOME:
        stele_peers__on_welcome(conn, payload);
        break;
    case STELE_PEERS_REFUSE:
        on_refuse(conn, payload);
        break;
    case STELE_PEERS_PONG:
        on_pong(conn, stele_load_u64le(payload.data));
        break;
    case STELE_PEERS_CREDIT:
        on_credit(conn, stele_load_u64le(payload.data));
        break;
    case STELE_PEERS_DATA:
        on_data(conn, payload);
        break;
    case STELE_PEERS_REQUEST:
        conn->request = ++peers->requests;
        peers->events.on_join(peers->context, conn->request, &conn->hello, payload);
        break;
    case STELE_PEERS_ANSWER:
        stele_peers__ask_end(conn->ask, NULL, payload);
        break;
    case STELE_PEERS_PING:
    case STELE_PEERS_KINDS_END:
        break;
    }
}

void stele_peers__on_end(struct stele_peers__conn *conn, struct stele_peers__node *node,
                         struct stele_peers__ask *ask, struct stele_peers_why *why)
{
    struct stele_peers *const peers = conn->peers;
    const enum stele_peers_lane lane = conn->lane;
    if (ask != NULL) {
        stele_peers__ask_lost(ask, conn->hello.name[0] != '\0', why);
    } else if (node != NULL && !conn->incoming) {
        stele_peers__way_lost(&node->ways[lane], why);
    } else if (node != NULL && node->inbound[lane] == conn) {
        node->inbound[lane] = NULL;
        node->ways[lane].status.inbound_since_us = stele_peers__now(peers);
        if (peers->events.on_inbound != NULL) {
            peers->events.on_inbound(peers->context, node->number, lane, false);
        }
    }
}

/* ---- Who comes in ---- */

static bool is_stranger(const struct stele_peers__conn *conn)
{
    return conn->incoming && conn->node == NULL && conn->state != STELE_PEERS__GONE;
}

static uint64_t count_strangers(const struct stele_peers *peers,
                                struct stele_peers__conn **out_oldest)
{
    uint64_t count = 0;
    struct stele_peers__conn *oldest = NULL;
    for (struct stele_peers__conn *conn = peers->conns; conn != NULL; conn = conn->next) {
        if (is_stranger(conn)) {
            count++;
            oldest = oldest == NULL || conn->serial < oldest->serial ? conn : oldest;
        }
    }
    *out_oldest = oldest;
    return count;
}

static bool on_accept(void *context, struct stele_socket *socket, const char *address,
                      bool is_loopback, const struct stele_socket_events **out_events,
                      void **out_context)
{
    struct stele_peers *const peers = context;
    struct stele_peers__conn *oldest = NULL;
    if (peers->server == NULL && !peers->options.insecure && !is_loopback) {
        return false;
    }
    peers->counts.accepted++;
    /* Who has been here longest and has not said who it is, is the least likely to be a node. */
    if (count_strangers(peers, &oldest) >= peers->options.strangers_max && oldest != NULL) {
        peers->counts.evicted++;
        stele_peers__conn_cut(oldest);
    }
    struct stele_peers__conn *const conn = stele_peers__conn_create(peers, true);
    if (conn == NULL) {
        return false;
    }
    (void)snprintf(conn->address, sizeof conn->address, "%s", address);
    *out_context = conn;
    return stele_peers__conn_accepted(conn, socket, out_events);
}

static const struct stele_listener_events listener_events = {.on_accept = on_accept};

static bool has_port(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        return ((const struct sockaddr_in *)(const void *)address)->sin_port != 0;
    }
    return address->sa_family == AF_INET6 &&
           ((const struct sockaddr_in6 *)(const void *)address)->sin6_port != 0;
}

int stele_peers_listen(struct stele_peers *peers, const struct sockaddr *address,
                       socklen_t address_size, uint16_t *out_port, struct stele_error *err)
{
    struct stele_listener *listener = NULL;
    if (peers->server == NULL && !peers->options.insecure && !stele_peers__is_loopback(address)) {
        char text[80];
        stele_socket_address_text(address, text, sizeof text);
        return stele_fail(err, STELE_E_INVALID, 0,
                          "cluster: listen on %s: plain text would show everything to the network; "
                          "give a TLS certificate, or say insecure",
                          text);
    }
    if (peers->listeners_count == STELE_PEERS_LISTENERS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "cluster: more than %d addresses to listen on",
                          STELE_PEERS_LISTENERS_MAX);
    }
    int outcome = has_port(address) ? stele_listener_probe(address, address_size, err) : STELE_OK;
    if (outcome == STELE_OK) {
        outcome = stele_listener_open(peers->loop, address, address_size, &listener_events, peers,
                                      &listener, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    peers->listeners[peers->listeners_count++] = listener;
    if (out_port != NULL) {
        *out_port = stele_listener_port(listener);
    }
    return STELE_OK;
}

/* ---- Sending ---- */

static size_t size_of(const struct stele_bytes *parts, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        /* Saturates: too large is too large. */
        size = parts[i].size > SIZE_MAX / 2 - size ? SIZE_MAX / 2 : size + parts[i].size;
    }
    return size;
}

int stele_peers_send_parts(struct stele_peers *peers, uint64_t node, enum stele_peers_lane lane,
                           const struct stele_bytes *parts, size_t count)
{
    struct stele_peers__way *const way = stele_peers__way_find(peers, node, lane);
    if (way == NULL) {
        return STELE_NOT_FOUND;
    }
    if (!way->status.up) {
        return STELE_E_CLOSED;
    }
    struct stele_peers__conn *const conn = way->conn;
    const size_t size = size_of(parts, count);
    if (size > peers->options.frame_size_max) {
        return STELE_E_LIMIT;
    }
    if (lane == STELE_PEERS_BULK &&
        conn->offered - conn->acknowledged >= peers->options.bulk_window) {
        way->wants_room = true;
        return STELE_E_OVERLOADED;
    }
    while (lane == STELE_PEERS_CONTROL && conn->queued + size > peers->options.control_queue_size &&
           stele_peers__conn_drop_oldest(conn)) {
        way->status.frames_dropped++;
    }
    const int outcome = stele_peers__conn_put(conn, STELE_PEERS_DATA, parts, count);
    if (outcome != STELE_OK) {
        return outcome;
    }
    conn->offered += STELE_PEERS_HEADER_SIZE + size;
    way->status.frames_out++;
    way->status.bytes_out += size;
    return STELE_OK;
}

int stele_peers_send(struct stele_peers *peers, uint64_t node, enum stele_peers_lane lane,
                     struct stele_bytes bytes)
{
    return stele_peers_send_parts(peers, node, lane, &bytes, 1);
}

bool stele_peers_is_up(const struct stele_peers *peers, uint64_t node, enum stele_peers_lane lane)
{
    const struct stele_peers__way *const way = stele_peers__way_find(peers, node, lane);
    return way != NULL && way->status.up;
}

void stele_peers_pause(struct stele_peers *peers, uint64_t node, enum stele_peers_lane lane,
                       bool paused)
{
    STELE_ASSERT((unsigned)lane < STELE_PEERS_LANES);
    struct stele_peers__node *const found = stele_peers__node_find(peers, node);
    if (found == NULL) {
        return;
    }
    found->paused[lane] = paused;
    if (found->inbound[lane] != NULL) {
        stele_peers__conn_pause(found->inbound[lane], paused);
    }
}

/* ---- Questions ---- */

int stele_peers_answer(struct stele_peers *peers, uint64_t request, struct stele_bytes bytes)
{
    STELE_ASSERT(request != 0);
    if (bytes.size > STELE_PEERS_JOIN_SIZE_MAX) {
        return STELE_E_LIMIT;
    }
    struct stele_peers__conn *conn = peers->conns;
    while (conn != NULL && conn->request != request) {
        conn = conn->next;
    }
    if (conn == NULL) {
        return STELE_NOT_FOUND;
    }
    conn->request = 0;
    return stele_peers__conn_put(conn, STELE_PEERS_ANSWER, &bytes, 1);
}

int stele_peers_ask(struct stele_peers *peers, const char *host, uint16_t port,
                    struct stele_bytes question, stele_peers_on_answer on_answer, void *context,
                    struct stele_error *err)
{
    if (peers->ask != NULL) {
        return stele_fail(err, STELE_E_OVERLOADED, 0, "cluster: one question at a time");
    }
    if (!stele_peers__is_host(host) || port == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "cluster: \"%.200s\" is no host, or its port",
                          host);
    }
    if (question.size > STELE_PEERS_JOIN_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "cluster: a question of %zu bytes", question.size);
    }
    struct stele_peers__ask *const ask = stele_allocate_zeroed(peers->alloc, sizeof *ask);
    if (ask == NULL || stele_buf_append(&ask->question, peers->alloc, question) != STELE_OK) {
        stele_release(peers->alloc, ask, sizeof *ask);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "cluster: no memory");
    }
    ask->peers = peers;
    ask->target.peers = peers;
    ask->target.port = port;
    ask->on_answer = on_answer;
    ask->context = context;
    (void)snprintf(ask->target.host, sizeof ask->target.host, "%s", host);
    peers->ask = ask;
    stele_peers__ask_begin(ask);
    return STELE_OK;
}

/* ---- Facts ---- */

bool stele_peers_status(const struct stele_peers *peers, uint64_t node, enum stele_peers_lane lane,
                        struct stele_peers_status *out_status)
{
    const struct stele_peers__way *const way = stele_peers__way_find(peers, node, lane);
    if (way == NULL) {
        return false;
    }
    const struct stele_peers__conn *const conn = way->conn;
    *out_status = way->status;
    out_status->inbound = way->node->inbound[lane] != NULL;
    if (way->status.up) {
        out_status->queued =
            lane == STELE_PEERS_BULK ? conn->offered - conn->acknowledged : conn->queued;
    }
    return true;
}

void stele_peers_counts(const struct stele_peers *peers, struct stele_peers_counts *out_counts)
{
    struct stele_peers__conn *oldest = NULL;
    *out_counts = peers->counts;
    out_counts->strangers = count_strangers(peers, &oldest);
}

int64_t stele_peers_tls_expires(const struct stele_peers *peers)
{
    return peers->server != NULL ? stele_tls_context_expires(peers->server) : INT64_MAX;
}

/* ---- Life ---- */

struct stele_peers_options stele_peers_options_default(void)
{
    return (struct stele_peers_options){
        .version_min = STELE_PEERS_VERSION,
        .version_max = STELE_PEERS_VERSION,
        .frame_size_max = STELE_PEERS_FRAME_SIZE_MAX,
        .control_queue_size = (uint32_t)64 * 1024 * 1024,
        .bulk_window = (uint32_t)4 * 1024 * 1024,
        .strangers_max = 64,
        .ping_ms = 250,
        .dead_ms = 1000,
        .connect_ms = 2000,
        .retry_ms_min = 20,
        .retry_ms_max = 1000,
        .join_ms = 10000,
    };
}

static int open_tls(struct stele_peers *peers, const struct stele_peers_tls_files *files,
                    struct stele_error *err)
{
    if (files == NULL) {
        return STELE_OK;
    }
    if (files->certificate == NULL || files->key == NULL || files->ca == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "cluster: TLS needs a certificate, its key and the authority that signs "
                          "the nodes");
    }
    const struct stele_tls_files server = {.certificate = files->certificate,
                                           .key = files->key,
                                           .client_ca = files->ca,
                                           .client_required = true};
    const int outcome = stele_tls_context_create(&server, &peers->server, err);
    return outcome != STELE_OK
               ? outcome
               : stele_tls_context_create_client(files->ca, true, files->certificate, files->key,
                                                 &peers->client, err);
}

int stele_peers_create(struct stele_linux_loop *loop, const struct stele_peers_options *options,
                       const struct stele_peers_events *events, void *context,
                       struct stele_peers **out_peers, struct stele_error *err)
{
    STELE_ASSERT(options->version_min <= options->version_max);
    STELE_ASSERT(options->frame_size_max <= STELE_PEERS_FRAME_SIZE_MAX);
    STELE_ASSERT(options->ping_ms > 0);
    STELE_ASSERT(options->retry_ms_min > 0);
    if (!stele_peers_name_is_valid(options->name, strlen(options->name))) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "cluster: a node's name has 1 to %d printable characters and begins with "
                          "a letter or a digit",
                          STELE_PEERS_NAME_MAX);
    }
    if ((options->host != NULL && !stele_peers__is_host(options->host)) ||
        (options->host == NULL) != (options->port == 0)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "cluster: the host and port where others find the node are none");
    }
    struct stele_loop *const base = stele_linux_loop_base(loop);
    struct stele_peers *const peers = stele_allocate_zeroed(base->alloc, sizeof *peers);
    if (peers == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "cluster: no memory");
    }
    peers->loop = loop;
    peers->base = base;
    peers->alloc = base->alloc;
    peers->options = *options;
    (void)snprintf(peers->name, sizeof peers->name, "%s", options->name);
    (void)snprintf(peers->host, sizeof peers->host, "%s",
                   options->host != NULL ? options->host : "");
    peers->options.name = peers->name;
    peers->options.host = peers->host;
    peers->events = *events;
    peers->context = context;
    peers->reaper.on_due = stele_peers__on_reap;
    base->ops->random(base, &peers->boot, sizeof peers->boot);
    const int outcome = open_tls(peers, options->tls, err);
    peers->options.tls = NULL; /* The caller's. */
    if (outcome != STELE_OK) {
        stele_peers_destroy(peers);
        return outcome;
    }
    *out_peers = peers;
    return STELE_OK;
}

void stele_peers_destroy(struct stele_peers *peers)
{
    if (peers == NULL) {
        return;
    }
    for (size_t i = 0; i < peers->listeners_count; i++) {
        stele_listener_close(peers->listeners[i]);
    }
    if (peers->ask != NULL) {
        stele_peers__ask_release(peers->ask);
    }
    for (struct stele_peers__node *node = peers->nodes; node != NULL; node = node->next) {
        for (int lane = 0; lane < STELE_PEERS_LANES; lane++) {
            stele_peers__way_deinit(&node->ways[lane]);
        }
        stele_peers__target_deinit(&node->target);
    }
    stele_peers__conns_reap(peers, true);
    stele_peers__nodes_release(peers, peers->nodes);
    stele_peers__nodes_release(peers, peers->removed);
    stele_peers__timer_stop(peers, &peers->reaper);
    stele_tls_context_destroy(peers->server);
    stele_tls_context_destroy(peers->client);
    stele_buf_deinit(&peers->plain, peers->alloc);
    stele_release(peers->alloc, peers, sizeof *peers);
}

void stele_peers_identify(struct stele_peers *peers, const uint8_t cluster_id[16], uint64_t number,
                          const uint8_t incarnation[16])
{
    STELE_ASSERT(peers->options.number == 0);
    STELE_ASSERT(number != 0);
    peers->options.number = number;
    memcpy(peers->options.cluster_id, cluster_id, 16);
    memcpy(peers->options.incarnation, incarnation, 16);
    for (struct stele_peers__node *node = peers->nodes; node != NULL; node = node->next) {
        node->kept = node->number != number;
    }
    stele_peers__nodes_remove_others(peers);
    for (struct stele_peers__node *node = peers->nodes; node != NULL; node = node->next) {
        for (int lane = 0; lane < STELE_PEERS_LANES; lane++) {
            stele_peers__way_kick(&node->ways[lane]);
        }
    }
}

int stele_peers_reload(struct stele_peers *peers, struct stele_error *err)
{
    if (peers->server == NULL) {
        return STELE_OK;
    }
    const int outcome = stele_tls_context_reload(peers->server, err);
    return outcome != STELE_OK ? outcome : stele_tls_context_reload(peers->client, err);
}
