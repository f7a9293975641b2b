/* A connection: finds out what the peer speaks, and watches the time.
 *
 * One timer serves all deadlines. It is not moved with every byte: when it is due, it looks which
 * deadline is the next one. Only a deadline that comes earlier moves it. */
#include "http/http_internal.h"

#define MS 1000
/* Frames that nghttp2 keeps for a peer that does not read. */
#define OUTBOUND_MAX 8192

static void on_due(struct stele_timer *timer);

int stele_http_conn_create(struct stele_loop *loop, const struct stele_http_limits *limits,
                           const struct stele_http_events *events, void *context,
                           const struct stele_http_peer *peer, struct stele_http_conn **out_conn)
{
    struct stele_http_conn *const conn = stele_allocate_zeroed(loop->alloc, sizeof *conn);
    if (conn == NULL) {
        return STELE_E_NO_MEMORY;
    }
    conn->loop = loop;
    conn->alloc = loop->alloc;
    conn->limits = *limits;
    conn->events = events;
    conn->context = context;
    conn->peer = *peer;
    const size_t address_size = strlen(peer->address);
    const size_t kept =
        address_size < sizeof conn->address ? address_size : sizeof conn->address - 1;
    memcpy(conn->address, peer->address, kept);
    conn->peer.address = conn->address;
    if (peer->client_cn != NULL) {
        const size_t size = strlen(peer->client_cn);
        /* Who is cut short would be somebody else. */
        conn->peer.client_cn = size < sizeof conn->client_cn ? conn->client_cn : NULL;
        memcpy(conn->client_cn, peer->client_cn, size < sizeof conn->client_cn ? size : 0);
    }
    conn->timer.on_due = on_due;
    conn->heard_us = stele_loop_now_us(loop);
    conn->idle_us = conn->heard_us;
    conn->headers_us = conn->heard_us > 0 ? conn->heard_us : 1;
    stele_http__conn_arm(conn, conn->headers_us + (int64_t)conn->limits.headers_ms * MS);
    *out_conn = conn;
    return STELE_OK;
}

void stele_http_conn_destroy(struct stele_http_conn *conn)
{
    if (conn == NULL) {
        return;
    }
    conn->depth++;
    conn->dying = true;
    conn->loop->ops->timer_stop(conn->loop, &conn->timer);
    while (conn->open != NULL) {
        stele_http__exchange_over(conn->open, false);
    }
    STELE_ASSERT(conn->open_count == 0);
    STELE_ASSERT(conn->pending == 0);
    while (conn->spare != NULL) {
        struct stele_exchange *const exchange = conn->spare;
        conn->spare = exchange->next;
        struct stele_alloc *const alloc = conn->alloc;
        stele_release(alloc, exchange->headers,
                      exchange->headers_capacity * sizeof exchange->headers[0]);
        stele_buf_deinit(&exchange->output, alloc);
        stele_buf_deinit(&exchange->text, alloc);
        stele_buf_deinit(&exchange->trailers, alloc);
        stele_release(alloc, exchange, sizeof *exchange);
    }
    nghttp2_session_del(conn->session);
    conn->session = NULL;
    stele_http__h2_forget_blocks(conn);
    stele_http__h1_deinit(conn);
    stele_release(conn->alloc, conn, sizeof *conn);
}

const struct stele_http_peer *stele_http_conn_peer(const struct stele_http_conn *conn)
{
    return &conn->peer;
}

uint32_t stele_http_conn_exchanges(const struct stele_http_conn *conn)
{
    return conn->open_count;
}

void stele_http_conn_visit(struct stele_http_conn *conn,
                           void (*visit)(void *context, struct stele_exchange *exchange),
                           void *context)
{
    /* None is released here: that comes with bytes, from either side. */
    for (struct stele_exchange *exchange = conn->open; exchange != NULL;
         exchange = exchange->next) {
        if (exchange->announced && !exchange->was_reset) {
            visit(context, exchange);
        }
    }
}

size_t stele_http_conn_pending(const struct stele_http_conn *conn)
{
    return conn->pending;
}

bool stele_http_conn_is_over(const struct stele_http_conn *conn)
{
    return conn->over;
}

void stele_http__conn_has_output(struct stele_http_conn *conn)
{
    if (conn->depth == 0 && !conn->told && !conn->over) {
        conn->told = true;
        conn->events->on_output(conn->context, conn);
    }
}

void stele_http__conn_abandon(struct stele_http_conn *conn)
{
    conn->closing = true;
    /* Nobody may answer any more, also not in on_close of a neighbour. */
    for (struct stele_exchange *e = conn->open; e != NULL; e = e->next) {
        e->was_reset = true;
    }
    while (conn->open != NULL) {
        struct stele_exchange *const exchange = conn->open;
        if (conn->session != NULL && exchange->stream_id != 0) {
            (void)nghttp2_session_set_stream_user_data(conn->session, exchange->stream_id, NULL);
        }
        conn->unconsumed -= exchange->unconsumed;
        stele_http__exchange_over(exchange, false);
    }
    conn->h1.exchange = NULL;
}

/* The peer has overdone it. Not from within nghttp2's callbacks. */
static void calm(struct stele_http_conn *conn)
{
    if (conn->calm && !conn->closing) {
        stele_http__h2_calm(conn);
        stele_http__conn_abandon(conn);
    }
}

/* Without memory nobody knows what nghttp2 has forgotten. */
static void end_if_starved(struct stele_http_conn *conn)
{
    if (conn->starved && !conn->over) {
        stele_http__conn_abandon(conn);
        conn->over = true;
    }
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

static void start_h1(struct stele_http_conn *conn)
{
    conn->version = STELE_HTTP__H1;
    stele_http__h1_init(conn);
}

/* The first bytes tell HTTP/2 from HTTP/1.1. No method of HTTP/1.1 begins like the preface. */
static void detect(struct stele_http_conn *conn, struct stele_bytes bytes)
{
    size_t used = 0;
    while (used < bytes.size && conn->preface_size < STELE_HTTP__PREFACE_SIZE) {
        if (bytes.data[used] != (uint8_t)STELE_HTTP__PREFACE[conn->preface_size]) {
            break;
        }
        conn->preface[conn->preface_size++] = bytes.data[used++];
    }
    const struct stele_bytes first = {.data = conn->preface, .size = conn->preface_size};
    const struct stele_bytes rest = stele_bytes_slice(bytes, used, bytes.size - used);
    if (conn->preface_size == STELE_HTTP__PREFACE_SIZE) {
        if (stele_http__h2_start(conn) != STELE_OK) {
            conn->over = true;
            return;
        }
        stele_http__h2_feed(conn, first);
        if (rest.size > 0 && !conn->closing) {
            stele_http__h2_feed(conn, rest);
        }
    } else if (rest.size > 0) {
        start_h1(conn);
        if (first.size > 0) {
            stele_http__h1_feed(conn, first);
        }
        if (conn->version == STELE_HTTP__H1 && !conn->closing) {
            stele_http__h1_feed(conn, rest);
        }
    }
}

bool stele_http_conn_feed(struct stele_http_conn *conn, struct stele_bytes bytes)
{
    if (conn->closing || conn->over || bytes.size == 0) {
        return !conn->closing && !conn->over;
    }
    conn->depth++;
    conn->heard_us = stele_loop_now_us(conn->loop);
    switch (conn->version) {
    case STELE_HTTP__UNKNOWN:
        detect(conn, bytes);
        break;
    case STELE_HTTP__H1:
        stele_http__h1_feed(conn, bytes);
        break;
    case STELE_HTTP__H2:
        stele_http__h2_feed(conn, bytes);
        break;
    }
    calm(conn);
    end_if_starved(conn);
    conn->depth--;
    return !conn->closing && !conn->over;
}

void stele_http_conn_eof(struct stele_http_conn *conn)
{
    conn->eof = true;
    /* HTTP/2 needs both directions. HTTP/1.1 allows to close one's own first, but a request that is
     * not whole never will be, and without one there is nothing to answer. */
    const struct stele_exchange *const exchange = conn->h1.exchange;
    if (conn->version != STELE_HTTP__H1 || exchange == NULL || !exchange->request_over) {
        conn->depth++;
        stele_http__conn_abandon(conn);
        conn->over = true;
        conn->depth--;
    } else {
        conn->h1.keep_alive = false;
    }
}

/* Those that may write again. A handler that fills its exchange again comes behind the others. */
static bool tell_writable(struct stele_http_conn *conn)
{
    struct stele_exchange *exchange = conn->writable;
    if (exchange == NULL) {
        return false;
    }
    conn->writable = exchange->next_writable;
    exchange->in_writable = false;
    if (exchange->announced && !exchange->was_reset && !exchange->finished) {
        conn->events->on_writable(conn->context, exchange);
    }
    return true;
}

bool stele_http_conn_take(struct stele_http_conn *conn, struct stele_buf *out, size_t max)
{
    const size_t before = out->size;
    const size_t end = before + max;
    conn->depth++;
    conn->told = false;
    for (bool again = true; again && out->size < end && !conn->over;) {
        const size_t size = out->size;
        if (conn->version == STELE_HTTP__H2) {
            stele_http__h2_take(conn, out, end - out->size);
            calm(conn);
        } else if (conn->version == STELE_HTTP__H1) {
            stele_http__h1_take(conn, out, end - out->size);
        }
        again = false;
        while (tell_writable(conn)) {
            again = true;
        }
        again = again || (out->size > size && conn->version == STELE_HTTP__H1);
    }
    if (conn->version == STELE_HTTP__H2 && out->size < end && stele_http__h2_is_over(conn)) {
        stele_http__conn_abandon(conn); /* nghttp2 gave up a peer that broke the rules. */
        conn->over = true;
    }
    end_if_starved(conn);
    conn->depth--;
    return out->size > before;
}

bool stele_http_conn_wants_input(const struct stele_http_conn *conn)
{
    if (conn->over || conn->closing || conn->eof) {
        return false;
    }
    if (conn->version == STELE_HTTP__H1) {
        return conn->held_count == 0 && conn->h1.backlog.size < STELE_HTTP__BACKLOG_MAX &&
               (conn->h1.exchange == NULL || conn->h1.exchange->unconsumed < conn->limits.window);
    }
    /* Answers to frames that need one, from a peer that does not take them. */
    return conn->version != STELE_HTTP__H2 || stele_http__h2_queue(conn) < OUTBOUND_MAX;
}

void stele_http_conn_drain(struct stele_http_conn *conn)
{
    if (conn->draining || conn->over) {
        return;
    }
    conn->draining = true;
    if (conn->version == STELE_HTTP__H2) {
        stele_http__h2_drain(conn);
    } else if (conn->open_count == 0) {
        conn->over = true;
        conn->closing = true;
    } else {
        conn->h1.keep_alive = false;
    }
    if (conn->depth == 0 && !conn->told) {
        conn->told = true;
        conn->events->on_output(conn->context, conn);
    }
}

/* ---- Time ------------------------------------------------------------------------------------ */

void stele_http__conn_arm(struct stele_http_conn *conn, int64_t due_us)
{
    if (conn->timer.place == 0 || conn->timer.due_us > due_us) {
        conn->loop->ops->timer_start(conn->loop, &conn->timer, due_us);
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Headers that never become whole (slowloris), or not one byte (half-open). */
static int64_t check_headers(struct stele_http_conn *conn, int64_t now_us)
{
    if (conn->headers_us == 0 || conn->limits.headers_ms == 0) {
        return INT64_MAX;
    }
    const int64_t due_us = conn->headers_us + (int64_t)conn->limits.headers_ms * MS;
    if (now_us < due_us) {
        return due_us;
    }
    if (conn->version == STELE_HTTP__H2) {
        conn->calm = true;
        calm(conn);
    } else if (conn->version == STELE_HTTP__H1) {
        stele_http__h1_fail(conn, 408);
    } else {
        conn->over = true;
    }
    conn->headers_us = 0;
    return INT64_MAX;
}

static int64_t check_idle(struct stele_http_conn *conn, int64_t now_us)
{
    const bool h1 = conn->version == STELE_HTTP__H1;
    const uint32_t idle_ms =
        h1 && conn->limits.idle_ms == 0 ? STELE_HTTP__H1_IDLE_MS : conn->limits.idle_ms;
    if (idle_ms == 0 || conn->open_count > 0 || conn->draining) {
        return INT64_MAX;
    }
    const int64_t due_us = conn->idle_us + (int64_t)idle_ms * MS;
    if (now_us < due_us) {
        return due_us;
    }
    stele_http_conn_drain(conn);
    return INT64_MAX;
}

/* HTTP/2 can ask whether the peer is there. Of HTTP/1.1, only a body that is due tells. */
static int64_t check_alive(struct stele_http_conn *conn, int64_t now_us)
{
    const int64_t silence_us = (int64_t)conn->limits.keepalive_ms * MS;
    const int64_t timeout_us = (int64_t)conn->limits.keepalive_timeout_ms * MS;
    if (silence_us == 0) {
        return INT64_MAX;
    }
    if (conn->version == STELE_HTTP__H1) {
        const struct stele_exchange *const exchange = conn->h1.exchange;
        if (exchange == NULL || !exchange->announced || exchange->request_over ||
            !stele_http_conn_wants_input(conn)) {
            return INT64_MAX;
        }
        const int64_t due_us = conn->heard_us + silence_us + timeout_us;
        if (now_us < due_us) {
            return due_us;
        }
        stele_http__h1_fail(conn, 408);
        return INT64_MAX;
    }
    if (conn->version != STELE_HTTP__H2) {
        return INT64_MAX;
    }
    if (conn->ping_us != 0) {
        if (now_us < conn->ping_us + timeout_us) {
            return conn->ping_us + timeout_us;
        }
        stele_http__conn_abandon(conn);
        conn->over = true;
        return INT64_MAX;
    }
    if (now_us < conn->heard_us + silence_us) {
        return conn->heard_us + silence_us;
    }
    conn->ping_us = now_us;
    stele_http__h2_ping(conn);
    return now_us + timeout_us;
}

static void on_due(struct stele_timer *timer)
{
    struct stele_http_conn *const conn =
        (struct stele_http_conn *)(void *)((uint8_t *)timer -
                                           offsetof(struct stele_http_conn, timer));
    const int64_t now_us = stele_loop_now_us(conn->loop);
    if (conn->over) {
        return;
    }
    conn->depth++;
    if (conn->open_count == 0) {
        stele_http__h2_forget_blocks(conn); /* Idle connections are many, perhaps. */
    }
    int64_t due_us =
        earlier(stele_http__exchanges_go_on(conn, now_us), check_headers(conn, now_us));
    due_us = earlier(due_us, stele_http__exchanges_linger(conn, now_us));
    if (!conn->closing && !conn->over) {
        due_us = earlier(due_us, check_idle(conn, now_us));
    }
    if (!conn->closing && !conn->over) {
        due_us = earlier(due_us, check_alive(conn, now_us));
    }
    conn->depth--;
    /* HTTP/1.1 has deadlines that begin without asking for the timer. */
    if (due_us == INT64_MAX && !conn->closing) {
        due_us = now_us + INT64_C(10000000);
    }
    if (due_us != INT64_MAX && !conn->over) {
        stele_http__conn_arm(conn, due_us);
    }
    if (!conn->told) {
        conn->told = true;
        conn->events->on_output(conn->context, conn);
    }
}
