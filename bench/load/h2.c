#include "h2.h"

#include "cli/bench_kit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define WINDOW 0x7fffffff
#define FRAME_MAX 16384
#define FRAME_HEAD 9
#define PREFIX 5
#define INPUT_SIZE ((size_t)256 << 10)
#define CALLS_MAX 4096u /* Places; a power of two. */
#define UPDATE_AT ((uint64_t)32 << 20)
#define CONNECTIONS_MAX 1024

enum frame {
    DATA = 0,
    HEADERS = 1,
    RESET = 3,
    SETTINGS = 4,
    PING = 6,
    GOAWAY = 7,
    WINDOW_UPDATE = 8
};
enum { END_STREAM = 1, END_HEADERS = 4, ACK = 1 };

struct h2_conn {
    struct h2_loop *loop;
    struct h2_conn *next_dirty;
    bool dirty;
    int fd;
    SSL *ssl;
    uint8_t *in;
    size_t in_size;
    uint8_t *out;
    size_t out_size, out_capacity;
    int64_t window;
    int64_t window_first; /* Of a call that is opened. */
    uint64_t consumed;
    uint32_t id_next;
    const char *path; /* Whose headers are remembered; NULL: none yet. */
    uint32_t remembered;
    struct h2_call *calls[CALLS_MAX];
};

struct h2_loop {
    SSL_CTX *tls;
    const char *authorization;
    int epoll_fd;
    struct h2_conn *conns[CONNECTIONS_MAX];
    uint32_t count;
    struct h2_conn *dirty;
    uint64_t received_ns;
};

void h2_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("server-load: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(1);
}

/* ---- Bytes ------------------------------------------------------------------------------------ */

static void put_u32be(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)(value >> 24);
    to[1] = (uint8_t)(value >> 16);
    to[2] = (uint8_t)(value >> 8);
    to[3] = (uint8_t)value;
}

static uint32_t get_u32be(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static uint8_t *put_frame(uint8_t *to, size_t size, enum frame type, uint8_t flags, uint32_t id)
{
    put_u32be(to, (uint32_t)size << 8 | (uint32_t)type);
    to[4] = flags;
    put_u32be(to + 5, id);
    return to + FRAME_HEAD;
}

uint8_t *h2_put_prefix(uint8_t *to, size_t size)
{
    to[0] = 0;
    put_u32be(to + 1, (uint32_t)size);
    return to + PREFIX;
}

/* Room at the end of what will be sent. */
static uint8_t *reserve(struct h2_conn *conn, size_t size)
{
    if (conn->out_capacity - conn->out_size < size) {
        conn->out_capacity = (conn->out_size + size) * 2;
        conn->out = realloc(conn->out, conn->out_capacity);
        if (conn->out == NULL) {
            h2_fail("memory ran out");
        }
    }
    if (!conn->dirty) {
        conn->dirty = true;
        conn->next_dirty = conn->loop->dirty;
        conn->loop->dirty = conn;
    }
    return conn->out + conn->out_size;
}

static void commit(struct h2_conn *conn, const uint8_t *end)
{
    conn->out_size = (size_t)(end - conn->out);
}

static void flush(struct h2_conn *conn)
{
    const uint8_t *data = conn->out;
    size_t left = conn->out_size;
    while (left > 0) {
        const ssize_t done = conn->ssl != NULL ? SSL_write(conn->ssl, data, (int)left)
                                               : send(conn->fd, data, left, MSG_NOSIGNAL);
        if (done <= 0) {
            h2_fail("the server is gone (while sending)");
        }
        data += done;
        left -= (size_t)done;
    }
    conn->out_size = 0;
}

static void flush_all(struct h2_loop *loop)
{
    struct h2_conn *next = NULL;
    for (struct h2_conn *conn = loop->dirty; conn != NULL; conn = next) {
        next = conn->next_dirty;
        conn->dirty = false;
        flush(conn);
    }
    loop->dirty = NULL;
}

/* ---- Calls ------------------------------------------------------------------------------------ */

static struct h2_call **place_of(struct h2_conn *conn, uint32_t id)
{
    return &conn->calls[(id >> 1) % CALLS_MAX];
}

static uint8_t *put_text(uint8_t *to, const char *text)
{
    const size_t size = strlen(text);
    if (size >= 127) { /* RFC 7541 section 5.1: 7 bits, then the rest. */
        *to++ = 127;
        size_t rest = size - 127;
        for (; rest >= 128; rest >>= 7) {
            *to++ = (uint8_t)(rest | 128);
        }
        *to++ = (uint8_t)rest;
    } else {
        *to++ = (uint8_t)size;
    }
    memcpy(to, text, size);
    return to + size;
}

/* First time: remembered by both (0x40, RFC 7541 section 6.2.1), then by their numbers. The last one
 * that was remembered is 62. Calls of another path are spelled out each time (0x00). */
static uint8_t *put_headers(struct h2_conn *conn, uint8_t *to, const char *path)
{
    const char *const headers[][2] = {
        {":method", "POST"},
        {":scheme", conn->ssl != NULL ? "https" : "http"},
        {":path", path},
        {":authority", "localhost"},
        {"content-type", "application/grpc"},
        {"te", "trailers"},
        {"authorization", conn->loop->authorization},
    };
    const uint32_t count = conn->loop->authorization != NULL ? 7 : 6;
    if (conn->path != NULL && strcmp(conn->path, path) == 0) {
        for (uint32_t i = 0; i < count; i++) {
            *to++ = (uint8_t)(0x80 | (62 + count - 1 - i));
        }
        return to;
    }
    const bool remember = conn->path == NULL;
    for (uint32_t i = 0; i < count; i++) {
        *to++ = remember ? 0x40 : 0;
        to = put_text(to, headers[i][0]);
        to = put_text(to, headers[i][1]);
    }
    conn->path = remember ? path : conn->path;
    return to;
}

void h2_call_start(struct h2_conn *conn, struct h2_call *call, const char *path)
{
    while (*place_of(conn, conn->id_next) != NULL) {
        conn->id_next += 2; /* One that has lasted long lies there. */
    }
    call->conn = conn;
    call->id = conn->id_next;
    call->window = conn->window_first;
    call->consumed = 0;
    call->partial_size = 0;
    *place_of(conn, call->id) = call;
    conn->id_next += 2;
    uint8_t *const begin = reserve(conn, 4096);
    const uint8_t *const end = put_headers(conn, begin + FRAME_HEAD, path);
    (void)put_frame(begin, (size_t)(end - begin) - FRAME_HEAD, HEADERS, END_HEADERS, call->id);
    commit(conn, end);
}

bool h2_call_has_room(const struct h2_call *call, size_t size)
{
    return call->window >= (int64_t)size && call->conn->window >= (int64_t)size;
}

void h2_call_send(struct h2_call *call, const void *data, size_t size, bool end)
{
    struct h2_conn *const conn = call->conn;
    if (!h2_call_has_room(call, size)) {
        h2_fail("a message of %zu bytes is more than the server takes at once", size);
    }
    call->window -= (int64_t)size;
    conn->window -= (int64_t)size;
    const uint8_t *from = data;
    do {
        const size_t part = size < FRAME_MAX ? size : FRAME_MAX;
        size -= part;
        uint8_t *const to = put_frame(reserve(conn, part + FRAME_HEAD), part, DATA,
                                      end && size == 0 ? END_STREAM : 0, call->id);
        memcpy(to, from, part);
        from += part;
        commit(conn, to + part);
    } while (size > 0);
}

/* ---- What comes ------------------------------------------------------------------------------- */

static void put_update(struct h2_conn *conn, uint32_t id, uint64_t size)
{
    uint8_t *const to = put_frame(reserve(conn, FRAME_HEAD + 4), 4, WINDOW_UPDATE, 0, id);
    put_u32be(to, (uint32_t)size);
    commit(conn, to + 4);
}

static void keep_partial(struct h2_call *call, const uint8_t *data, size_t size)
{
    if (call->partial_capacity - call->partial_size < size) {
        call->partial_capacity = (call->partial_size + size) * 2;
        call->partial = realloc(call->partial, call->partial_capacity);
        if (call->partial == NULL) {
            h2_fail("memory ran out");
        }
    }
    memcpy(call->partial + call->partial_size, data, size);
    call->partial_size += size;
}

static void take_messages(struct h2_call *call, const uint8_t *data, size_t size)
{
    while (size > 0) {
        if (call->partial_size == 0) {
            while (size >= PREFIX && size - PREFIX >= get_u32be(data + 1)) {
                const size_t whole = get_u32be(data + 1);
                call->on_message(call, data + PREFIX, whole);
                data += PREFIX + whole;
                size -= PREFIX + whole;
            }
        }
        const size_t want = call->partial_size < PREFIX
                                ? PREFIX - call->partial_size
                                : PREFIX + get_u32be(call->partial + 1) - call->partial_size;
        const size_t part = want < size ? want : size;
        if (part > 0) {
            keep_partial(call, data, part);
        }
        data += part;
        size -= part;
        if (call->partial_size >= PREFIX &&
            call->partial_size == PREFIX + (size_t)get_u32be(call->partial + 1)) {
            call->partial_size = 0;
            call->on_message(call, call->partial + PREFIX, get_u32be(call->partial + 1));
        }
    }
}

static void end_call(struct h2_conn *conn, uint32_t id)
{
    struct h2_call *const call = *place_of(conn, id);
    if (call != NULL && call->id == id) {
        *place_of(conn, id) = NULL;
        if (call->on_end != NULL) {
            call->on_end(call);
        }
    }
}

static void take_data(struct h2_conn *conn, uint32_t id, uint8_t flags, const uint8_t *data,
                      size_t size)
{
    struct h2_call *const call = *place_of(conn, id);
    if (call != NULL && call->id == id) {
        take_messages(call, data, size);
        call->consumed += size;
        if (call->consumed >= UPDATE_AT && (flags & END_STREAM) == 0) {
            put_update(conn, id, call->consumed);
            call->consumed = 0;
        }
    }
    conn->consumed += size;
    if (conn->consumed >= UPDATE_AT) {
        put_update(conn, 0, conn->consumed);
        conn->consumed = 0;
    }
    if ((flags & END_STREAM) != 0) {
        end_call(conn, id);
    }
}

static void take_settings(struct h2_conn *conn, uint8_t flags, const uint8_t *data, size_t size)
{
    if ((flags & ACK) != 0) {
        return;
    }
    for (size_t at = 0; at + 6 <= size; at += 6) {
        if (data[at] == 0 && data[at + 1] == 4) {
            const int64_t change = (int64_t)get_u32be(data + at + 2) - conn->window_first;
            conn->window_first += change;
            for (uint32_t i = 0; i < CALLS_MAX; i++) {
                if (conn->calls[i] != NULL) {
                    conn->calls[i]->window += change;
                }
            }
        }
    }
    commit(conn, put_frame(reserve(conn, FRAME_HEAD), 0, SETTINGS, ACK, 0));
}

static void take_update(struct h2_conn *conn, uint32_t id, const uint8_t *data)
{
    struct h2_call *const call = *place_of(conn, id);
    if (id == 0) {
        conn->window += get_u32be(data);
    } else if (call != NULL && call->id == id) {
        call->window += get_u32be(data);
    }
}

static void take_frame(struct h2_conn *conn, const uint8_t *head, const uint8_t *data, size_t size)
{
    const uint8_t flags = head[4];
    const uint32_t id = get_u32be(head + 5);
    switch (head[3]) {
    case DATA:
        take_data(conn, id, flags, data, size);
        break;
    case HEADERS:
        if ((flags & END_STREAM) != 0) {
            end_call(conn, id);
        }
        break;
    case RESET:
        h2_fail("the server has reset a call (%u)", get_u32be(data));
    case GOAWAY:
        h2_fail("the server has ended the connection (%u: %.*s)", get_u32be(data + 4),
                (int)(size - 8), (const char *)data + 8);
    case SETTINGS:
        take_settings(conn, flags, data, size);
        break;
    case PING:
        if ((flags & ACK) == 0) {
            uint8_t *const to = put_frame(reserve(conn, FRAME_HEAD + 8), 8, PING, ACK, 0);
            memcpy(to, data, 8);
            commit(conn, to + 8);
        }
        break;
    case WINDOW_UPDATE:
        take_update(conn, id, data);
        break;
    default:
        break;
    }
}

/* One receive. Returns whether there may be more that no poll() tells of. */
static bool receive(struct h2_conn *conn)
{
    uint8_t *const room = conn->in + conn->in_size;
    const size_t room_size = INPUT_SIZE - conn->in_size;
    ssize_t got = 0;
    if (conn->ssl != NULL) {
        got = SSL_read(conn->ssl, room, (int)room_size);
        if (got <= 0 && SSL_get_error(conn->ssl, (int)got) == SSL_ERROR_WANT_READ) {
            return SSL_pending(conn->ssl) > 0; /* A record without data, as a session ticket is. */
        }
    } else {
        got = recv(conn->fd, room, room_size, 0);
    }
    if (got <= 0) {
        h2_fail("the server is gone");
    }
    conn->loop->received_ns = bench_now_ns();
    conn->in_size += (size_t)got;
    size_t at = 0;
    while (conn->in_size - at >= FRAME_HEAD) {
        const size_t size = get_u32be(conn->in + at) >> 8;
        if (conn->in_size - at < FRAME_HEAD + size) {
            break;
        }
        take_frame(conn, conn->in + at, conn->in + at + FRAME_HEAD, size);
        at += FRAME_HEAD + size;
    }
    memmove(conn->in, conn->in + at, conn->in_size - at);
    conn->in_size -= at;
    return conn->ssl != NULL && SSL_has_pending(conn->ssl) != 0;
}

bool h2_turn(struct h2_loop *loop, int wait_ms)
{
    flush_all(loop);
    if (loop->count == 1) {
        struct pollfd poll_fd = {.fd = loop->conns[0]->fd, .events = POLLIN};
        if (wait_ms >= 0 && poll(&poll_fd, 1, wait_ms) <= 0) {
            return false;
        }
        while (receive(loop->conns[0])) {
        }
        return true;
    }
    struct epoll_event events[CONNECTIONS_MAX];
    const int count = epoll_wait(loop->epoll_fd, events, CONNECTIONS_MAX, wait_ms);
    for (int i = 0; i < count; i++) {
        while (receive(events[i].data.ptr)) {
        }
    }
    return count > 0;
}

uint64_t h2_received_ns(const struct h2_loop *loop)
{
    return loop->received_ns;
}

/* ---- Life ------------------------------------------------------------------------------------- */

static SSL_CTX *make_tls(void)
{
    static const unsigned char protocols[] = "\x02h2";
    SSL_CTX *const tls = SSL_CTX_new(TLS_client_method());
    if (tls == NULL || SSL_CTX_set_alpn_protos(tls, protocols, sizeof protocols - 1) != 0) {
        h2_fail("no TLS");
    }
    /* The server's name is not what is measured. */
    SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
    (void)SSL_CTX_clear_mode(tls, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(tls, 1);
    SSL_CTX_set_default_read_buffer_len(tls, INPUT_SIZE);
    return tls;
}

struct h2_loop *h2_loop_create(bool tls, const char *authorization)
{
    struct h2_loop *const loop = bench_alloc(1, sizeof *loop);
    loop->tls = tls ? make_tls() : NULL;
    loop->authorization = authorization;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return loop;
}

void h2_loop_destroy(struct h2_loop *loop)
{
    for (uint32_t i = 0; i < loop->count; i++) {
        SSL_free(loop->conns[i]->ssl);
        (void)close(loop->conns[i]->fd);
        free(loop->conns[i]->in);
        free(loop->conns[i]->out);
        free(loop->conns[i]);
    }
    SSL_CTX_free(loop->tls);
    (void)close(loop->epoll_fd);
    free(loop);
}

static void put_preface(struct h2_conn *conn)
{
    uint8_t *to = reserve(conn, 128);
    memcpy(to, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    to = put_frame(to + 24, 12, SETTINGS, 0, 0);
    memcpy(to, "\0\2\0\0\0\0\0\4", 8); /* No pushes; the window of a call. */
    put_u32be(to + 8, WINDOW);
    to = put_frame(to + 12, 4, WINDOW_UPDATE, 0, 0);
    put_u32be(to, WINDOW - 65535);
    commit(conn, to + 4);
}

struct h2_conn *h2_connect(struct h2_loop *loop, uint16_t port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int one = 1;
    if (loop->count == CONNECTIONS_MAX) {
        h2_fail("more than %d connections", CONNECTIONS_MAX);
    }
    struct h2_conn *const conn = bench_alloc(1, sizeof *conn);
    conn->loop = loop;
    conn->in = bench_alloc(1, INPUT_SIZE);
    conn->window = 65535;
    conn->window_first = 65535;
    conn->id_next = 1;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(conn->fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        h2_fail("port %u: %s", port, strerror(errno));
    }
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (loop->tls != NULL) {
        conn->ssl = SSL_new(loop->tls);
        if (conn->ssl == NULL || SSL_set_fd(conn->ssl, conn->fd) != 1 ||
            SSL_connect(conn->ssl) != 1) {
            h2_fail("TLS: %s", ERR_reason_error_string(ERR_get_error()));
        }
    }
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = conn}};
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event);
    loop->conns[loop->count++] = conn;
    put_preface(conn);
    return conn;
}
