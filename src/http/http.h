/* HTTP/1.1 and HTTP/2 for the server, as a machine: bytes in, bytes out, no sockets.
 *
 * A *connection* takes the bytes that a peer sent and has bytes for it. It finds out by itself what
 * the peer speaks: HTTP/2 with prior knowledge (RFC 9113 section 3.3: "PRI * HTTP/2.0"), HTTP/1.1,
 * or h2c by upgrade (RFC 7540 section 3.2). What ALPN chose is told by the first bytes as well.
 * An *exchange* is one request with its response, the same for both versions.
 *
 *     socket ─▶ (tls) ─▶ stele_http_conn_feed ─▶ on_request, on_body, on_end ─▶ the handler
 *     socket ◀─ (tls) ◀─ stele_http_conn_take ◀─ respond, output, finish     ◀─
 *
 * Whatever drives it (net/, the simulator) calls take() when on_output says so and after feed().
 *
 * Bounds (each a field of struct stele_http_limits): requests at once, header bytes, frames that
 * carry no data per second (RFC 9113 section 10.5; the known floods), resets per second, time until
 * the headers are whole (slowloris), bytes of output that a peer does not take. Above them:
 * GOAWAY(ENHANCE_YOUR_CALM), or 408, 429, 431, and the connection ends.
 *
 * One thread: the loop's. */
#ifndef STELE_HTTP_HTTP_H
#define STELE_HTTP_HTTP_H

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/status.h"
#include "io/loop.h"

#include <stele/stele.h>

struct stele_http_conn;
struct stele_exchange;

struct stele_http_header {
    struct stele_text name; /* Lower case. */
    struct stele_text value;
};

/* Output that peers do not take, of all connections that share this, on whatever loop: when it is more
 * than output_max, every exchange with 4 KiB of its own is full. */
struct stele_http_memory {
    uint64_t output_max;
    uint64_t output; /* Atomic. In steps of some KiB for each connection. */
};

struct stele_http_limits {
    uint32_t exchanges_max;        /* At once on one connection. Default 1024. */
    uint32_t header_size_max;      /* Bytes of all headers of a request. Default 64 KiB. */
    uint32_t idle_ms;              /* Without an exchange; 0: for ever. Default 0. */
    uint32_t headers_ms;           /* From the first byte of a request. Default 10 s. */
    uint32_t keepalive_ms;         /* An HTTP/2 PING after this silence. Default 10 s. */
    uint32_t keepalive_timeout_ms; /* No answer to it: the connection is lost. Default 10 s. */
    uint32_t frames_per_s;     /* Frames that bring no data (bucket of as many). Default 4000. */
    uint32_t resets_per_s;     /* Of requests that have no answer yet. Default 400. */
    uint32_t window;           /* Of received data, of one exchange. Default 1 MiB. */
    uint32_t output_high;      /* Bytes of one exchange's output at which it is full: 256 KiB. */
    uint32_t output_low;       /* And on_writable comes: 64 KiB. */
    uint32_t conn_output_high; /* Of all exchanges of a connection; above it every exchange with
                                  * 4 KiB of its own is full. Default 4 MiB. */
    struct stele_http_memory *memory; /* Of all connections together; NULL: not bounded. */
};
#define STELE_HTTP_LIMITS_INIT                                                                     \
    {                                                                                              \
        1024u, 65536u, 0u, 10000u, 10000u, 10000u, 4000u, 400u, 1u << 20, 256u << 10, 64u << 10,   \
            4u << 20, NULL                                                                         \
    }

/* How the server is told. For each exchange: on_request, then any on_body, then on_end unless the
 * peer goes before; on_close is always the last and comes exactly once. Once the handler has finished
 * its response, neither on_body nor on_end come, only on_close. Handlers may call every
 * stele_exchange_ function from here, and later from tasks and timers of the same loop. */
struct stele_http_events {
    void (*on_request)(void *context, struct stele_exchange *exchange);
    /* bytes are borrowed. The peer may send more only when they were consumed: see _consume. */
    void (*on_body)(void *context, struct stele_exchange *exchange, struct stele_bytes bytes);
    void (*on_end)(void *context, struct stele_exchange *exchange);
    /* The output was full (stele_exchange_is_full) and is below output_low now. */
    void (*on_writable)(void *context, struct stele_exchange *exchange);
    /* finished: the response went out whole (to the connection). Otherwise the peer reset the
     * exchange or is gone. The exchange must not be touched afterwards. */
    void (*on_close)(void *context, struct stele_exchange *exchange, bool finished);
    /* The connection has bytes to take, outside of feed() and of another event; once until take().
     * Take note: neither take() nor destroy() from here. */
    void (*on_output)(void *context, struct stele_http_conn *conn);
};

/* peer is "127.0.0.1:51234", copied. is_tls and client_cn (NULL: none) describe the transport.
 * owner: for whoever drives it. */
struct stele_http_peer {
    const char *address;
    bool is_tls;
    bool is_loopback;
    const char *client_cn; /* Common name of a verified client certificate, or NULL. */
    void *owner;
};

STELE_MUST_USE
int stele_http_conn_create(struct stele_loop *loop, const struct stele_http_limits *limits,
                           const struct stele_http_events *events, void *context,
                           const struct stele_http_peer *peer, struct stele_http_conn **out_conn);
/* Closes what is open (on_close of each), releases. */
void stele_http_conn_destroy(struct stele_http_conn *conn);

/* Bytes of the peer. false: the connection is to be closed once take() gives no more. */
bool stele_http_conn_feed(struct stele_http_conn *conn, struct stele_bytes bytes);
/* The peer sends no more. */
void stele_http_conn_eof(struct stele_http_conn *conn);
/* Moves up to about max bytes for the peer to the end of out. Returns false when there were none.
 * Call again until out is as full as one write should be (256 KiB). */
bool stele_http_conn_take(struct stele_http_conn *conn, struct stele_buf *out, size_t max);
/* Nothing more to read or write: close the socket. */
bool stele_http_conn_is_over(const struct stele_http_conn *conn);
/* Should more bytes be read from the peer? false: it has sent more than is being dealt with, or does
 * not take what it asked for. Asked again after take(). */
bool stele_http_conn_wants_input(const struct stele_http_conn *conn);
/* Bytes of bodies that wait for take(). */
size_t stele_http_conn_pending(const struct stele_http_conn *conn);
/* Graceful: no new exchanges (GOAWAY, Connection: close), is_over when the last one has ended. */
void stele_http_conn_drain(struct stele_http_conn *conn);
const struct stele_http_peer *stele_http_conn_peer(const struct stele_http_conn *conn);
uint32_t stele_http_conn_exchanges(const struct stele_http_conn *conn);
/* Calls visit for each open exchange that a handler knows of. It may finish or reset it. */
void stele_http_conn_visit(struct stele_http_conn *conn,
                           void (*visit)(void *context, struct stele_exchange *exchange),
                           void *context);

/* ---- Whom a request was meant for: the authority of an exchange, with or without a port ---- */

/* A number of IP, localhost, or a name below it: nobody's name server says what these mean. */
bool stele_http_host_is_plain(struct stele_text authority);
/* That very name, in whatever case, also with a dot at its end. */
bool stele_http_host_is(struct stele_text authority, const char *name);

/* ---- Exchanges ---- */

struct stele_text stele_exchange_method(const struct stele_exchange *exchange);
struct stele_text stele_exchange_path(const struct stele_exchange *exchange); /* With the query. */
struct stele_text stele_exchange_authority(const struct stele_exchange *exchange);
/* The value of the first header of that (lower-case) name; data NULL if there is none. */
struct stele_text stele_exchange_header(const struct stele_exchange *exchange, const char *name);
/* The headers one after the other, names in lower case; false: there are no more. */
bool stele_exchange_header_at(const struct stele_exchange *exchange, size_t index,
                              struct stele_text *out_name, struct stele_text *out_value);
bool stele_exchange_is_h2(const struct stele_exchange *exchange);
struct stele_http_conn *stele_exchange_conn(const struct stele_exchange *exchange);
struct stele_loop *stele_exchange_loop(const struct stele_exchange *exchange);

void *stele_exchange_user(const struct stele_exchange *exchange);
void stele_exchange_set_user(struct stele_exchange *exchange, void *user);
/* A number for whoever hands exchanges to their handlers; 0 at first. */
uint8_t stele_exchange_kind(const struct stele_exchange *exchange);
void stele_exchange_set_kind(struct stele_exchange *exchange, uint8_t kind);

/* This much of the request body is done with; lets the peer send as much again. */
void stele_exchange_consume(struct stele_exchange *exchange, size_t size);

/* Starts the response. Headers are copied. end: there is no body (HTTP/2: END_STREAM; with gRPC
 * this is a "trailers-only" response). HTTP/1.1 adds what it needs (chunked, or content-length if
 * given, date, connection). */
void stele_exchange_respond(struct stele_exchange *exchange, int status,
                            const struct stele_http_header *headers, size_t count, bool end);
bool stele_exchange_has_responded(const struct stele_exchange *exchange);
/* The body: append to this buffer (with the loop's alloc), then call _written. Nothing is copied on
 * the way to DATA frames of up to 16 KiB, which are filled across calls. */
struct stele_buf *stele_exchange_output(struct stele_exchange *exchange);
void stele_exchange_written(struct stele_exchange *exchange);
/* More than output_high is waiting: stop, on_writable will come. */
bool stele_exchange_is_full(const struct stele_exchange *exchange);
/* Ends the response behind its body, with trailers (HTTP/1.1: dropped unless chunked). */
void stele_exchange_finish(struct stele_exchange *exchange,
                           const struct stele_http_header *trailers, size_t count);
/* RST_STREAM (HTTP/2) or closing the connection (HTTP/1.1). on_close comes, perhaps at once. */
void stele_exchange_reset(struct stele_exchange *exchange, uint32_t h2_error);

/* The first one of its connection in this turn of the loop. A peer may begin a hundred at once: what is
 * much work, and not the first, had better begin in a task, which shares the turn with others. */
bool stele_exchange_is_first(const struct stele_exchange *exchange);

/* ---- Slower ---- */

/* Is told the bytes of bodies, of the request and of the response, and returns for how many
 * microseconds there should be no more of them: 0, or the exchange is held so long. Until on_close. */
typedef int64_t (*stele_exchange_meter)(void *context, size_t bytes, int64_t now_us);
void stele_exchange_set_meter(struct stele_exchange *exchange, stele_exchange_meter meter,
                              void *context);
/* Until due_us nothing that is consumed lets the peer send more, and the output is full. */
void stele_exchange_hold(struct stele_exchange *exchange, int64_t due_us);

#endif
