#include "base/checksum.h"
#include "peers/peers_internal.h"

#include <errno.h>
#include <stdio.h>

/* An assembled frame's buffer above this is given back. */
#define IN_KEPT_MAX ((size_t)256 * 1024)
#define ENDING_US INT64_C(1000000)

/* ---- Life ---- */

struct stele_peers__conn *stele_peers__conn_create(struct stele_peers *peers, bool incoming)
{
    struct stele_peers__conn *const conn = stele_allocate_zeroed(peers->alloc, sizeof *conn);
    if (conn == NULL) {
        return NULL;
    }
    conn->peers = peers;
    conn->incoming = incoming;
    conn->serial = ++peers->serials;
    conn->next = peers->conns;
    if (peers->conns != NULL) {
        peers->conns->previous = conn;
    }
    peers->conns = conn;
    return conn;
}

/* From now on nobody comes back to it. It is released later, because somebody may be inside of it. */
static void bury(struct stele_peers__conn *conn)
{
    conn->state = STELE_PEERS__GONE;
    conn->node = NULL;
    conn->ask = NULL;
    conn->request = 0;
    stele_peers__timer_stop(conn->peers, &conn->tick);
    if (conn->socket != NULL) {
        stele_socket_abort(conn->socket);
        conn->socket = NULL;
    }
    stele_peers__timer(conn->peers, &conn->peers->reaper, 0);
}

void stele_peers__conn_cut(struct stele_peers__conn *conn)
{
    if (conn->state != STELE_PEERS__GONE) {
        bury(conn);
    }
}

static void release(struct stele_peers__conn *conn)
{
    struct stele_peers *const peers = conn->peers;
    while (conn->first != NULL) {
        struct stele_peers__packet *const next = conn->first->next;
        stele_release(peers->alloc, conn->first, sizeof *conn->first + conn->first->size);
        conn->first = next;
    }
    stele_tls_destroy(conn->tls);
    stele_buf_deinit(&conn->in, peers->alloc);
    stele_buf_deinit(&conn->greeting, peers->alloc);
    if (conn->previous != NULL) {
        conn->previous->next = conn->next;
    } else {
        peers->conns = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->previous = conn->previous;
    }
    stele_release(peers->alloc, conn, sizeof *conn);
}

void stele_peers__conns_reap(struct stele_peers *peers, bool all)
{
    struct stele_peers__conn *conn = peers->conns;
    while (conn != NULL) {
        struct stele_peers__conn *const next = conn->next;
        if (all) {
            stele_peers__conn_cut(conn);
        }
        if (conn->state == STELE_PEERS__GONE) {
            STELE_ASSERT(!conn->in_feed);
            release(conn);
        }
        conn = next;
    }
}

static void flush(struct stele_peers__conn *conn)
{
    if (conn->socket != NULL) {
        stele_socket_want_flush(conn->socket);
    }
}

/* Nobody's any more. What stands in greeting is sent, and the end. */
static void end_politely(struct stele_peers__conn *conn)
{
    conn->state = STELE_PEERS__ENDING;
    conn->node = NULL;
    conn->ask = NULL;
    conn->request = 0;
    stele_peers__timer(conn->peers, &conn->tick, ENDING_US);
    flush(conn);
}

/* It ended by itself: tells whose it was, as the last thing. */
void stele_peers__conn_fail(struct stele_peers__conn *conn, bool politely,
                            struct stele_peers_why why)
{
    struct stele_peers__node *const node = conn->node;
    struct stele_peers__ask *const ask = conn->ask;
    if (politely && conn->socket != NULL) {
        end_politely(conn);
    } else {
        bury(conn);
    }
    stele_peers__on_end(conn, node, ask, &why);
}

void stele_peers__conn_refuse(struct stele_peers__conn *conn, enum stele_peers_refusal refusal,
                              const char *words)
{
    uint8_t payload[STELE_PEERS_REFUSE_SIZE_MAX];
    const size_t size = stele_peers_refuse_encode((uint16_t)refusal, words, payload);
    conn->peers->counts.refused++;
    /* Without memory, the end has to say it all. */
    (void)stele_peers__conn_greet(conn, STELE_PEERS_REFUSE,
                                  (struct stele_bytes){.data = payload, .size = size});
    end_politely(conn);
}

/* What came is nothing that a node says. */
static void fail_malformed(struct stele_peers__conn *conn, enum stele_peers_refusal refusal,
                           const char *words)
{
    struct stele_peers_why why = {
        .cause = STELE_PEERS_REFUSING, .refusal = refusal, .words = words};
    conn->peers->counts.malformed++;
    if (!conn->incoming) {
        stele_peers__conn_fail(conn, false, why);
        return;
    }
    struct stele_peers__node *const node = conn->node;
    stele_peers__conn_refuse(conn, refusal, words);
    stele_peers__on_end(conn, node, NULL, &why);
}

/* ---- Keep-alive ---- */

static void on_tick(struct stele_timer *timer)
{
    struct stele_peers__conn *const conn =
        (struct stele_peers__conn *)(void *)((uint8_t *)timer -
                                             offsetof(struct stele_peers__conn, tick));
    struct stele_peers *const peers = conn->peers;
    if (conn->state == STELE_PEERS__ENDING) {
        bury(conn); /* It takes nothing. */
        return;
    }
    if (conn->state != STELE_PEERS__OPEN) {
        if (conn->incoming) {
            peers->counts.unshaken++;
        }
        stele_peers__conn_fail(
            conn, false,
            (struct stele_peers_why){
                .cause = STELE_PEERS_SILENT,
                .os_errno = ETIMEDOUT,
                .words = conn->state == STELE_PEERS__DIALLING  ? "no answer to the connection"
                         : conn->state == STELE_PEERS__SHAKING ? "no answer to the TLS handshake"
                                                               : "no answer to the hello"});
        return;
    }
    if (conn->incoming && conn->lane == STELE_PEERS_JOIN &&
        stele_peers__now(peers) - conn->since_us > (int64_t)peers->options.join_ms * 1000) {
        bury(conn);
        return;
    }
    conn->quiet = conn->heard || conn->paused ? 0 : conn->quiet + 1;
    conn->heard = false;
    if ((uint64_t)conn->quiet * peers->options.ping_ms >= peers->options.dead_ms) {
        stele_peers__conn_fail(conn, false,
                               (struct stele_peers_why){.cause = STELE_PEERS_SILENT,
                                                        .os_errno = ETIMEDOUT,
                                                        .words = "nothing came for too long"});
        return;
    }
    conn->ping_due = true;
    flush(conn);
    stele_peers__timer(peers, timer, (int64_t)peers->options.ping_ms * 1000);
}

void stele_peers__conn_open(struct stele_peers__conn *conn)
{
    conn->state = STELE_PEERS__OPEN;
    conn->since_us = stele_peers__now(conn->peers);
    conn->ping_due = !conn->incoming;
    conn->quiet = 0;
    stele_peers__timer(conn->peers, &conn->tick, (int64_t)conn->peers->options.ping_ms * 1000);
    flush(conn);
}

void stele_peers__conn_pause(struct stele_peers__conn *conn, bool paused)
{
    if (conn->paused == paused) {
        return;
    }
    conn->paused = paused;
    conn->quiet = 0;
    if (conn->socket == NULL) {
        return;
    }
    if (paused) {
        stele_socket_pause(conn->socket);
    } else {
        stele_socket_resume(conn->socket);
    }
}

/* ---- Out ---- */

static struct stele_bytes header_and(uint8_t to[STELE_PEERS_HEADER_SIZE + 8], uint8_t kind,
                                     uint8_t lane, uint64_t number)
{
    uint8_t payload[8];
    stele_store_u64le(payload, number);
    const struct stele_bytes part = {.data = payload, .size = sizeof payload};
    stele_peers_frame_encode(to, kind, lane, &part, 1);
    memcpy(to + STELE_PEERS_HEADER_SIZE, payload, sizeof payload);
    return (struct stele_bytes){.data = to, .size = STELE_PEERS_HEADER_SIZE + sizeof payload};
}

bool stele_peers__conn_greet(struct stele_peers__conn *conn, uint8_t kind,
                             struct stele_bytes payload)
{
    uint8_t header[STELE_PEERS_HEADER_SIZE];
    stele_peers_frame_encode(header, kind, (uint8_t)conn->lane, &payload, 1);
    if (stele_buf_reserve(&conn->greeting, conn->peers->alloc, sizeof header + payload.size) !=
        STELE_OK) {
        return false;
    }
    memcpy(conn->greeting.data + conn->greeting.size, header, sizeof header);
    memcpy(conn->greeting.data + conn->greeting.size + sizeof header, payload.data, payload.size);
    conn->greeting.size += sizeof header + payload.size;
    flush(conn);
    return true;
}

int stele_peers__conn_put(struct stele_peers__conn *conn, uint8_t kind,
                          const struct stele_bytes *parts, size_t count)
{
    size_t size = STELE_PEERS_HEADER_SIZE;
    for (size_t i = 0; i < count; i++) {
        size += parts[i].size;
    }
    STELE_ASSERT(size <= UINT32_MAX);
    struct stele_peers__packet *const packet =
        stele_allocate(conn->peers->alloc, sizeof *packet + size);
    if (packet == NULL) {
        return STELE_E_NO_MEMORY;
    }
    packet->next = NULL;
    packet->size = (uint32_t)size;
    stele_peers_frame_encode(packet->data, kind, (uint8_t)conn->lane, parts, count);
    size_t at = STELE_PEERS_HEADER_SIZE;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > 0) {
            memcpy(packet->data + at, parts[i].data, parts[i].size);
            at += parts[i].size;
        }
    }
    if (conn->first == NULL) {
        conn->first = packet;
    } else {
        conn->last->next = packet;
    }
    conn->last = packet;
    conn->queued += size;
    flush(conn);
    return STELE_OK;
}

bool stele_peers__conn_drop_oldest(struct stele_peers__conn *conn)
{
    struct stele_peers__packet **const link =
        conn->first_at > 0 ? &conn->first->next : &conn->first;
    struct stele_peers__packet *const packet = *link;
    if (packet == NULL) {
        return false;
    }
    *link = packet->next;
    if (conn->last == packet) {
        conn->last = conn->first; /* The one that has begun, or none. */
    }
    conn->queued -= packet->size;
    stele_release(conn->peers->alloc, packet, sizeof *packet + packet->size);
    return true;
}

static bool append(struct stele_peers__conn *conn, struct stele_buf *out, struct stele_bytes bytes)
{
    return stele_buf_append(out, conn->peers->alloc, bytes) == STELE_OK;
}

static bool append_urgent(struct stele_peers__conn *conn, struct stele_buf *out)
{
    const uint8_t lane = (uint8_t)conn->lane;
    uint8_t frame[STELE_PEERS_HEADER_SIZE + 8];
    bool fits = true;
    if (conn->pong_due) {
        fits = append(conn, out, header_and(frame, STELE_PEERS_PONG, lane, conn->pong_stamp));
    }
    if (fits && conn->credit_due) {
        fits = append(conn, out, header_and(frame, STELE_PEERS_CREDIT, lane, conn->taken));
        conn->credited = conn->taken;
    }
    if (fits && conn->ping_due) {
        const uint64_t stamp = (uint64_t)stele_peers__now(conn->peers);
        fits = append(conn, out, header_and(frame, STELE_PEERS_PING, lane, stamp));
    }
    conn->pong_due = false;
    conn->credit_due = false;
    conn->ping_due = false;
    return fits;
}

/* Large frames leave in pieces, so that no buffer of theirs is needed anywhere. */
static bool append_packets(struct stele_peers__conn *conn, struct stele_buf *out, size_t max)
{
    while (conn->first != NULL && out->size < max) {
        struct stele_peers__packet *const packet = conn->first;
        const size_t left = packet->size - conn->first_at;
        const size_t room = max - out->size;
        const size_t size = left < room ? left : room;
        if (!append(conn, out,
                    (struct stele_bytes){.data = packet->data + conn->first_at, .size = size})) {
            return false;
        }
        conn->queued -= size;
        conn->first_at += size;
        if (conn->first_at < packet->size) {
            break;
        }
        conn->first = packet->next;
        conn->first_at = 0;
        stele_release(conn->peers->alloc, packet, sizeof *packet + packet->size);
    }
    return true;
}

/* false: no memory. */
static bool take(struct stele_peers__conn *conn, struct stele_buf *out, size_t max)
{
    if (conn->first_at == 0 && conn->greeting.size > 0) {
        if (!append(
                conn, out,
                (struct stele_bytes){.data = conn->greeting.data, .size = conn->greeting.size})) {
            return false;
        }
        stele_buf_deinit(&conn->greeting, conn->peers->alloc);
    }
    if (conn->state != STELE_PEERS__OPEN) {
        return true;
    }
    /* A frame that has begun is finished first. */
    if (conn->first_at > 0 && !append_packets(conn, out, max)) {
        return false;
    }
    if (conn->first_at == 0 && !append_urgent(conn, out)) {
        return false;
    }
    return append_packets(conn, out, max);
}

static bool take_encrypted(struct stele_peers__conn *conn, struct stele_buf *out, size_t max)
{
    stele_tls_take(conn->tls, out);
    if (!stele_tls_is_ready(conn->tls)) {
        return true;
    }
    struct stele_buf *const plain = &conn->peers->plain;
    plain->size = 0;
    if (!take(conn, plain, max)) {
        return false;
    }
    const struct stele_bytes bytes = {.data = plain->data, .size = plain->size};
    return bytes.size == 0 || stele_tls_write(conn->tls, bytes, out);
}

static void on_flush(void *context, struct stele_buf *out, size_t max)
{
    struct stele_peers__conn *const conn = context;
    const bool fits = conn->tls != NULL ? take_encrypted(conn, out, max) : take(conn, out, max);
    if (conn->state == STELE_PEERS__ENDING) {
        /* A frame that was cut short in the middle hides the words, but not the end. */
        if (conn->tls != NULL) {
            stele_tls_close(conn->tls, out);
        }
        stele_socket_close(conn->socket);
        conn->socket = NULL;
        bury(conn);
    } else if (!fits) {
        stele_peers__conn_fail(
            conn, false,
            (struct stele_peers_why){.cause = STELE_PEERS_NO_MEMORY,
                                     .words = "no memory for what is to be sent"});
    }
}

/* ---- In ---- */

/* May a frame of this kind come here and now? */
static bool is_expected(const struct stele_peers__conn *conn, uint8_t kind)
{
    const bool open = conn->state == STELE_PEERS__OPEN;
    switch (kind) {
    case STELE_PEERS_HELLO:
        return conn->incoming && !open;
    case STELE_PEERS_WELCOME:
        return !conn->incoming && !open;
    case STELE_PEERS_REFUSE:
        return !conn->incoming;
    case STELE_PEERS_PING:
    case STELE_PEERS_PONG:
        return open;
    case STELE_PEERS_CREDIT:
        return open && !conn->incoming && conn->lane == STELE_PEERS_BULK;
    case STELE_PEERS_DATA:
        return open && conn->incoming && conn->lane != STELE_PEERS_JOIN;
    case STELE_PEERS_REQUEST:
        return open && conn->incoming && conn->lane == STELE_PEERS_JOIN && conn->request == 0;
    case STELE_PEERS_ANSWER:
        return open && !conn->incoming && conn->lane == STELE_PEERS_JOIN;
    default:
        return false;
    }
}

/* false: it was told, and the connection has ended. */
static bool read_header(struct stele_peers__conn *conn, struct stele_bytes bytes,
                        struct stele_peers_frame *out_frame)
{
    const int outcome =
        stele_peers_frame_decode(bytes, conn->peers->options.frame_size_max, out_frame);
    switch (outcome) {
    case STELE_OK:
        break;
    case STELE_INCOMPLETE:
        return false;
    case STELE_E_CORRUPT:
        fail_malformed(conn, STELE_PEERS_DAMAGED, "a frame's header is damaged");
        return false;
    case STELE_E_LIMIT:
        fail_malformed(conn, STELE_PEERS_TOO_LARGE, "a frame is larger than allowed");
        return false;
    default:
        fail_malformed(conn, STELE_PEERS_MALFORMED, "these are no frames of a node");
        return false;
    }
    if (!is_expected(conn, out_frame->kind)) {
        fail_malformed(conn, STELE_PEERS_MALFORMED, "a frame of a kind that may not come here");
        return false;
    }
    /* That of a hello counts from then on. Who refuses may not know it yet. */
    if (out_frame->kind != STELE_PEERS_HELLO && out_frame->kind != STELE_PEERS_REFUSE &&
        out_frame->lane != (uint8_t)conn->lane) {
        fail_malformed(conn, STELE_PEERS_MALFORMED, "a frame of another lane");
        return false;
    }
    return true;
}

static void handle(struct stele_peers__conn *conn, const struct stele_peers_frame *frame,
                   struct stele_bytes payload)
{
    if (stele_crc32c(payload) != frame->checksum) {
        fail_malformed(conn, STELE_PEERS_DAMAGED, "a frame is damaged");
        return;
    }
    const bool numeric = frame->kind == STELE_PEERS_PING || frame->kind == STELE_PEERS_PONG ||
                         frame->kind == STELE_PEERS_CREDIT;
    if (numeric && payload.size != sizeof(uint64_t)) {
        fail_malformed(conn, STELE_PEERS_MALFORMED, "a frame has the wrong size");
        return;
    }
    if (frame->kind == STELE_PEERS_PING) {
        conn->pong_due = true;
        conn->pong_stamp = stele_load_u64le(payload.data);
        flush(conn);
        return;
    }
    stele_peers__on_frame(conn, frame, payload);
    if (frame->kind == STELE_PEERS_DATA && conn->lane == STELE_PEERS_BULK &&
        conn->state == STELE_PEERS__OPEN) {
        conn->taken += STELE_PEERS_HEADER_SIZE + payload.size;
        if (conn->taken - conn->credited >= conn->hello.window / 4) {
            conn->credit_due = true;
            flush(conn);
        }
    }
}

static bool is_over(const struct stele_peers__conn *conn)
{
    return conn->state == STELE_PEERS__ENDING || conn->state == STELE_PEERS__GONE;
}

/* Moves up to `upto` bytes in all behind what was collected. false: no memory, told. */
static bool collect(struct stele_peers__conn *conn, struct stele_bytes *bytes, size_t upto)
{
    const size_t missing = upto - conn->in.size;
    const size_t size = missing < bytes->size ? missing : bytes->size;
    if (stele_buf_append(&conn->in, conn->peers->alloc, stele_bytes_slice(*bytes, 0, size)) !=
        STELE_OK) {
        stele_peers__conn_fail(conn, false,
                               (struct stele_peers_why){.cause = STELE_PEERS_NO_MEMORY,
                                                        .words = "no memory for a frame"});
        return false;
    }
    *bytes = stele_bytes_slice(*bytes, size, bytes->size - size);
    return true;
}

/* Goes on with the frame in conn->in. Its memory grows with the bytes that are there, not with those that its
 * header promises. */
static void feed_collected(struct stele_peers__conn *conn, struct stele_bytes *bytes)
{
    struct stele_peers_frame frame;
    if (conn->in.size < STELE_PEERS_HEADER_SIZE && !collect(conn, bytes, STELE_PEERS_HEADER_SIZE)) {
        return;
    }
    const struct stele_bytes header = {
        .data = conn->in.data,
        .size = conn->in.size < STELE_PEERS_HEADER_SIZE ? conn->in.size : STELE_PEERS_HEADER_SIZE};
    if (!read_header(conn, header, &frame)) {
        return;
    }
    const size_t size = STELE_PEERS_HEADER_SIZE + (size_t)frame.size;
    if (!collect(conn, bytes, size) || conn->in.size < size) {
        return;
    }
    handle(
        conn, &frame,
        (struct stele_bytes){.data = conn->in.data + STELE_PEERS_HEADER_SIZE, .size = frame.size});
    conn->in.size = 0;
    if (conn->in.capacity > IN_KEPT_MAX) {
        stele_buf_deinit(&conn->in, conn->peers->alloc);
    }
}

/* A frame that lies whole in bytes is taken from there. */
static void feed_directly(struct stele_peers__conn *conn, struct stele_bytes *bytes)
{
    struct stele_peers_frame frame;
    if (bytes->size < STELE_PEERS_HEADER_SIZE) {
        /* The first bytes say already whether it is one of us. */
        (void)(read_header(conn, *bytes, &frame) || is_over(conn) ||
               collect(conn, bytes, STELE_PEERS_HEADER_SIZE));
        return;
    }
    if (!read_header(conn, *bytes, &frame)) {
        return;
    }
    const size_t size = STELE_PEERS_HEADER_SIZE + (size_t)frame.size;
    if (bytes->size < size) {
        (void)collect(conn, bytes, size);
        return;
    }
    const struct stele_bytes payload =
        stele_bytes_slice(*bytes, STELE_PEERS_HEADER_SIZE, frame.size);
    *bytes = stele_bytes_slice(*bytes, size, bytes->size - size);
    handle(conn, &frame, payload);
}

static void feed(void *user, struct stele_bytes bytes)
{
    struct stele_peers__conn *const conn = user;
    while (bytes.size > 0 && !is_over(conn)) {
        if (conn->in.size > 0) {
            feed_collected(conn, &bytes);
        } else {
            feed_directly(conn, &bytes);
        }
    }
}

static void begin_plain(struct stele_peers__conn *conn)
{
    if (conn->state == STELE_PEERS__SHAKING || conn->state == STELE_PEERS__DIALLING) {
        conn->state = STELE_PEERS__GREETING;
        stele_peers__on_ready(conn);
    }
}

static void feed_decrypted(void *user, struct stele_bytes plain)
{
    struct stele_peers__conn *const conn = user;
    begin_plain(conn);
    feed(conn, plain);
}

static void feed_encrypted(struct stele_peers__conn *conn, struct stele_bytes bytes)
{
    const bool goes_on = stele_tls_feed(conn->tls, bytes, feed_decrypted, conn);
    if (is_over(conn)) {
        return;
    }
    if (goes_on) {
        if (stele_tls_is_ready(conn->tls)) {
            begin_plain(conn);
        }
        flush(conn);
        return;
    }
    const char *const failure = stele_tls_failure(conn->tls);
    if (!stele_tls_is_ready(conn->tls)) {
        conn->peers->counts.unshaken += conn->incoming ? 1 : 0;
    }
    stele_peers__conn_fail(
        conn, true,
        failure[0] != '\0'
            ? (struct stele_peers_why){.cause = STELE_PEERS_TLS, .words = failure}
            : (struct stele_peers_why){.cause = STELE_PEERS_ENDED, .words = "the peer ended it"});
}

static void on_bytes(void *context, struct stele_bytes bytes)
{
    struct stele_peers__conn *const conn = context;
    if (is_over(conn)) {
        return;
    }
    conn->heard = true;
    conn->in_feed = true;
    if (conn->tls != NULL) {
        feed_encrypted(conn, bytes);
    } else {
        feed(conn, bytes);
    }
    conn->in_feed = false;
}

static void on_eof(void *context)
{
    struct stele_peers__conn *const conn = context;
    if (!is_over(conn)) {
        stele_peers__conn_fail(
            conn, false,
            (struct stele_peers_why){.cause = STELE_PEERS_ENDED, .words = "the peer ended it"});
    }
}

static void on_lost(void *context, int os_errno)
{
    struct stele_peers__conn *const conn = context;
    conn->socket = NULL;
    if (is_over(conn)) {
        bury(conn);
        return;
    }
    char words[128];
    char text[96] = "";
    (void)snprintf(words, sizeof words, "%s: %s",
                   conn->state == STELE_PEERS__DIALLING ? "cannot connect" : "lost",
                   strerror_r(os_errno, text, sizeof text));
    stele_peers__conn_fail(
        conn, false,
        (struct stele_peers_why){.cause = STELE_PEERS_LOST, .os_errno = os_errno, .words = words});
}

/* ---- Beginning ---- */

/* false: no memory. */
static bool begin(struct stele_peers__conn *conn)
{
    struct stele_peers *const peers = conn->peers;
    struct stele_tls_context *const context = conn->incoming ? peers->server : peers->client;
    if (context == NULL) {
        begin_plain(conn);
        return true;
    }
    conn->state = STELE_PEERS__SHAKING;
    /* The authority is checked there; whose certificate it is, with the hello. */
    if (stele_tls_create(context, NULL, peers->alloc, &conn->tls) != STELE_OK) {
        return false;
    }
    if (!conn->incoming) {
        (void)stele_tls_start(conn->tls);
    }
    flush(conn);
    return true;
}

static void on_connected(void *context)
{
    struct stele_peers__conn *const conn = context;
    stele_peers__timer(conn->peers, &conn->tick, (int64_t)conn->peers->options.connect_ms * 1000);
    if (!begin(conn)) {
        stele_peers__conn_fail(
            conn, false,
            (struct stele_peers_why){.cause = STELE_PEERS_NO_MEMORY, .words = "no memory"});
    }
}

static const struct stele_socket_events socket_events = {
    .on_connected = on_connected,
    .on_bytes = on_bytes,
    .on_eof = on_eof,
    .on_flush = on_flush,
    .on_lost = on_lost,
};

static void start_deadline(struct stele_peers__conn *conn, uint32_t ms)
{
    conn->tick.on_due = on_tick;
    conn->since_us = stele_peers__now(conn->peers);
    stele_peers__timer(conn->peers, &conn->tick, (int64_t)ms * 1000);
}

bool stele_peers__conn_dial(struct stele_peers__conn *conn, const struct sockaddr *address,
                            socklen_t size, int *out_errno)
{
    struct stele_error err = {.os_errno = 0};
    conn->state = STELE_PEERS__DIALLING;
    stele_socket_address_text(address, conn->address, sizeof conn->address);
    /* Not longer than this: the system asks again only after one, two, four seconds, and by then
     * the peer may be there. */
    start_deadline(conn, conn->peers->options.dead_ms);
    if (stele_socket_connect(conn->peers->loop, address, size, &socket_events, conn, &conn->socket,
                             &err) != STELE_OK) {
        *out_errno = err.os_errno;
        return false;
    }
    return true;
}

bool stele_peers__conn_accepted(struct stele_peers__conn *conn, struct stele_socket *socket,
                                const struct stele_socket_events **out_events)
{
    conn->socket = socket;
    *out_events = &socket_events;
    start_deadline(conn, conn->peers->options.connect_ms);
    if (!begin(conn)) {
        conn->socket = NULL; /* Whoever asked closes it. */
        bury(conn);
        return false;
    }
    return true;
}
