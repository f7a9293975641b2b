/* Shared by the files of src/http. Nobody else includes it.
 *
 *     conn.c      a connection: what the peer speaks, time, the end
 *     exchange.c  an exchange: headers, output, the same for both versions
 *     h1.c        HTTP/1.1 on http-parser
 *     h2.c        HTTP/2 on nghttp2
 *     budget.c    what a peer may do for nothing
 *
 * An exchange is released in one place, stele_http__exchange_over(), and never while a handler
 * of it is running: closing always comes from the peer's bytes, from take() or from destroy. */
#ifndef STELE_HTTP_HTTP_INTERNAL_H
#define STELE_HTTP_HTTP_INTERNAL_H

#include "http/http.h"

#include <http_parser.h>
#include <nghttp2/nghttp2.h>

#define STELE_HTTP__PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define STELE_HTTP__PREFACE_SIZE 24
#define STELE_HTTP__FRAME_HEAD 9 /* RFC 9113 section 4.1. */
#define STELE_HTTP__ADDRESS_SIZE 64
/* Exchanges that are kept for the next requests, with their memory. */
#define STELE_HTTP__SPARE_MAX 128
/* An output buffer larger than this is released with its exchange. */
#define STELE_HTTP__SPARE_OUTPUT_MAX 4096
/* Of an exchange's output, where its connection has too much already. */
#define STELE_HTTP__OUTPUT_LITTLE 4096
/* Bytes of HTTP/1.1 that wait until the exchange before them is over. */
#define STELE_HTTP__BACKLOG_MAX 65536
/* Small blocks that nghttp2 has given back, by their size. */
#define STELE_HTTP__BLOCK_STEP ((size_t)32)
#define STELE_HTTP__BLOCK_KINDS 16
/* Between two requests of HTTP/1.1, which has no way to ask whether the peer is still there. */
#define STELE_HTTP__H1_IDLE_MS 120000

/* ---- What a peer may do for nothing -------------------------------------------------------- */

/* A bucket that fills with time. In thousandths, so that microseconds are not lost in rounding. */
struct stele_http__bucket {
    int64_t level; /* Thousandths of tokens; never above capacity. */
    int64_t capacity;
    int64_t per_s; /* Tokens. */
    int64_t filled_us;
};

void stele_http__bucket_init(struct stele_http__bucket *bucket, uint32_t per_s, uint32_t burst,
                             int64_t now_us);
/* Takes tokens; false if there are not enough. */
STELE_MUST_USE
bool stele_http__bucket_take(struct stele_http__bucket *bucket, uint32_t tokens, int64_t now_us);
void stele_http__bucket_give(struct stele_http__bucket *bucket, uint32_t tokens);

/* ---- Exchanges ------------------------------------------------------------------------------- */

struct stele_http__header {
    struct stele_text name;
    struct stele_text value;
    nghttp2_rcbuf *name_buf; /* What they point into, or NULL: the exchange's text. */
    nghttp2_rcbuf *value_buf;
};

enum stele_http__end {
    STELE_HTTP__OPEN,     /* More of the response may come. */
    STELE_HTTP__FINISHED, /* finish() was called: trailers, if any, are in the list. */
};

struct stele_exchange {
    struct stele_http_conn *conn;
    struct stele_exchange *next, *previous; /* Open ones of the connection, or spare ones. */
    struct stele_exchange *next_writable;
    void *user;
    uint8_t kind;
    int32_t stream_id; /* HTTP/2. */

    bool is_first;     /* Of its connection in the turn in which it began. */
    bool announced;    /* on_request was called. */
    bool request_over; /* on_end was called, or the whole request came. */
    bool responded;
    bool finished;  /* finish() was called, or the response had no body. */
    bool head_sent; /* HTTP/2: the head of the response went to the connection. */
    bool cancelled; /* HTTP/2: the peer has reset it. */
    bool end_sent;  /* The end of the response went to the connection. */
    bool was_reset; /* By us. */
    bool deferred;  /* nghttp2 waits for resume. */
    bool is_full;   /* on_writable is owed. */
    bool in_writable;
    bool too_large; /* The headers. */
    bool is_head;
    bool no_body; /* The response has none, whatever is written: HEAD, 204, 304. */

    /* Slower. */
    stele_exchange_meter meter;
    void *meter_context;
    int64_t held_until_us; /* 0: it is not held. */
    size_t withheld;       /* Bytes that were consumed; the peer does not know yet. */

    /* HTTP/2: answered in full, while the request goes on. */
    int64_t linger_until_us; /* 0: it does not linger; INT64_MAX: its RST_STREAM is on its way. */
    size_t dropped;          /* Bytes of body since. */

    /* The request. */
    struct stele_http__header *headers;
    size_t headers_count;
    size_t headers_capacity;
    size_t headers_size;   /* RFC 9113 section 10.5.1: with 32 for each. */
    struct stele_buf text; /* HTTP/1.1: what headers, method and path point into. */
    struct stele_text method;
    struct stele_text path;
    struct stele_text authority;
    size_t unconsumed; /* Bytes of body that were delivered and not consumed. */

    /* The response. */
    struct stele_buf output;
    size_t output_at;          /* Bytes of it that are gone. */
    size_t output_counted;     /* Bytes of it that the connection has in its sum. */
    struct stele_buf trailers; /* name 0 value 0 …, sizes in front; see exchange.c. */
    size_t trailers_count;
};

static inline size_t stele_http__exchange_pending(const struct stele_exchange *exchange)
{
    return exchange->output.size - exchange->output_at;
}

STELE_MUST_USE
struct stele_exchange *stele_http__exchange_new(struct stele_http_conn *conn);
/* Tells the handler, if it knows of the exchange, and releases it. */
void stele_http__exchange_over(struct stele_exchange *exchange, bool finished);
/* STELE_OK, STELE_E_TOO_LARGE, STELE_E_NO_MEMORY. With buffers: takes a reference of each. */
STELE_MUST_USE
int stele_http__exchange_add_header(struct stele_exchange *exchange,
                                    const struct stele_http__header *header);
void stele_http__exchange_request(struct stele_exchange *exchange);
void stele_http__exchange_body(struct stele_exchange *exchange, struct stele_bytes bytes);
void stele_http__exchange_end(struct stele_exchange *exchange);
/* Those that have been held long enough go on. When the next one does, INT64_MAX: none is held. */
int64_t stele_http__exchanges_go_on(struct stele_http_conn *conn, int64_t now_us);
/* Those that have lingered long enough are reset. When the next one is, INT64_MAX: none lingers. */
int64_t stele_http__exchanges_linger(struct stele_http_conn *conn, int64_t now_us);
/* Bytes of the output have gone to the connection. */
void stele_http__exchange_took(struct stele_exchange *exchange, size_t size);
/* The trailer at *at, which moves to the next. */
struct stele_http_header stele_http__exchange_trailer(const struct stele_exchange *exchange,
                                                      size_t *at);
/* A response without a handler: 400, 408, 431 … */
void stele_http__exchange_refuse(struct stele_exchange *exchange, int status);

/* ---- Connections ------------------------------------------------------------------------------ */

enum stele_http__version { STELE_HTTP__UNKNOWN, STELE_HTTP__H1, STELE_HTTP__H2 };

struct stele_http__h1 {
    http_parser parser;
    struct stele_exchange *exchange; /* The request that is parsed or answered. */
    struct stele_buf backlog;        /* Bytes that wait for the exchange before them. */
    struct stele_buf head;           /* Bytes to send before anything else. */
    bool keep_alive;
    bool chunked;
    bool in_value; /* The parser is in a header's value. */
    bool upgrade;  /* To h2c. */
    bool head_over;
    bool failed;          /* The parser takes no more. */
    int64_t content_left; /* Of a response with a content-length; -1: not given. */
};

struct stele_http_conn {
    struct stele_loop *loop;
    struct stele_alloc *alloc;
    struct stele_http_limits limits;
    const struct stele_http_events *events;
    void *context;
    struct stele_http_peer peer;
    char address[STELE_HTTP__ADDRESS_SIZE];
    char client_cn[256];

    enum stele_http__version version;
    uint32_t depth; /* In feed, take, destroy: no on_output. */
    bool told;      /* on_output was called since the last take(). */
    bool closing;   /* No bytes are taken in any more. */
    bool over;
    bool draining;
    bool dying; /* In destroy. */
    bool eof;
    bool calm; /* The peer has overdone it: GOAWAY is due. */

    struct stele_exchange *open; /* Newest first. */
    uint32_t open_count;
    struct stele_exchange *spare;
    uint32_t spare_count;
    struct stele_exchange *writable; /* Owed an on_writable. */
    size_t pending;                  /* Bytes of output of all exchanges. */
    size_t pending_told;             /* As limits.memory knows it. */
    uint32_t held_count;             /* Exchanges that are held. */
    uint32_t lingering;              /* Exchanges that linger. */

    struct stele_timer timer;
    int64_t heard_us;   /* When the last bytes came. */
    int64_t headers_us; /* Since when headers are incomplete; 0: they are not. */
    int64_t ping_us;    /* When the PING was sent that is not answered; 0: none. */
    int64_t idle_us;    /* Since when there has been no exchange. */
    int64_t began_us;   /* When the last request began, on the clock that stands still in a turn. */

    uint8_t preface[STELE_HTTP__PREFACE_SIZE];
    size_t preface_size;

    struct stele_http__h1 h1;

    nghttp2_session *session;
    nghttp2_mem mem;
    struct stele_http__block *blocks[STELE_HTTP__BLOCK_KINDS];
    size_t blocks_size;
    struct stele_http__block *suspect; /* Given back since `starved`. */
    bool starved;           /* There was no memory for nghttp2: the connection is to end. */
    struct stele_buf *sink; /* Where take() collects. */
    uint8_t frame_head[STELE_HTTP__FRAME_HEAD]; /* Of the frame that comes next. */
    size_t frame_head_size;
    size_t frame_left; /* Bytes to the end of this one. */
    struct stele_http__bucket frames;
    struct stele_http__bucket resets;
    uint64_t credit; /* Bytes sent that have not been turned into tokens yet. */
    size_t unconsumed;
};

/* There is something to take: tells the owner, unless it looks anyway. */
void stele_http__conn_has_output(struct stele_http_conn *conn);
/* Ends all exchanges; nothing more is taken in. */
void stele_http__conn_abandon(struct stele_http_conn *conn);
void stele_http__conn_arm(struct stele_http_conn *conn, int64_t due_us);

void stele_http__h1_init(struct stele_http_conn *conn);
void stele_http__h1_deinit(struct stele_http_conn *conn);
void stele_http__h1_feed(struct stele_http_conn *conn, struct stele_bytes bytes);
void stele_http__h1_take(struct stele_http_conn *conn, struct stele_buf *out, size_t max);
void stele_http__h1_respond(struct stele_exchange *exchange, int status,
                            const struct stele_http_header *headers, size_t count, bool end);
void stele_http__h1_fail(struct stele_http_conn *conn, int status);

/* STELE_OK, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_http__h2_start(struct stele_http_conn *conn);
/* Takes the HTTP/1.1 exchange over as stream 1. settings: HTTP2-Settings, decoded. */
STELE_MUST_USE
int stele_http__h2_upgrade(struct stele_http_conn *conn, struct stele_exchange *exchange,
                           struct stele_bytes settings);
void stele_http__h2_feed(struct stele_http_conn *conn, struct stele_bytes bytes);
void stele_http__h2_take(struct stele_http_conn *conn, struct stele_buf *out, size_t max);
void stele_http__h2_respond(struct stele_exchange *exchange, int status,
                            const struct stele_http_header *headers, size_t count, bool end);
void stele_http__h2_resume(struct stele_exchange *exchange);
/* Says with RST_STREAM that the rest of the request is not wanted. The response is whole. */
void stele_http__h2_end_request(struct stele_exchange *exchange);
void stele_http__h2_reset(struct stele_exchange *exchange, uint32_t error);
void stele_http__h2_consume(struct stele_exchange *exchange, size_t size);
/* The two halves of it: others of the connection may go on, and the exchange itself. */
void stele_http__h2_consume_connection(struct stele_exchange *exchange, size_t size);
void stele_http__h2_consume_stream(struct stele_exchange *exchange, size_t size);
void stele_http__h2_drain(struct stele_http_conn *conn);
void stele_http__h2_ping(struct stele_http_conn *conn);
void stele_http__h2_calm(struct stele_http_conn *conn);
void stele_http__h2_forget_blocks(struct stele_http_conn *conn);
size_t stele_http__h2_queue(const struct stele_http_conn *conn);
bool stele_http__h2_is_over(const struct stele_http_conn *conn);

#endif
