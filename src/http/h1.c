/* HTTP/1.1, on http-parser. One exchange at a time: what a peer sends ahead (pipelining) waits in
 * the backlog until the response before it is out.
 *
 * The text of a request is kept as it comes, one piece after the other:
 *
 *     path | name | value | name | value …
 *
 * and only the sizes are noted, because the buffer moves while it grows. When the headers are whole
 * the pointers are set. */
#include "base/text.h"
#include "http/http_internal.h"

#include <stdio.h>
#include <time.h>

#define CHUNK_HEAD_MAX 20
#define HEADER_OVERHEAD 32
#define HTTP2_SETTINGS_SIZE_MAX 1024

static struct stele_http_conn *conn_of(http_parser *parser)
{
    return parser->data;
}

static bool text_is(struct stele_text text, const char *word)
{
    const size_t size = strlen(word);
    if (text.size != size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        const char c = text.data[i];
        if ((c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c) != word[i]) {
            return false;
        }
    }
    return true;
}

static void put(struct stele_http_conn *conn, const char *data, size_t size)
{
    const struct stele_bytes bytes = {.data = (const uint8_t *)data, .size = size};
    if (stele_buf_append(&conn->h1.head, conn->alloc, bytes) != STELE_OK) {
        conn->over = true; /* Half a response must not be taken for a whole one. */
    }
}

static void put_text(struct stele_http_conn *conn, const char *text)
{
    put(conn, text, strlen(text));
}

/* ---- The request ----------------------------------------------------------------------------- */

/* The parser stops where a callback returns this. */
#define STOP (-1)

static int refuse(struct stele_http_conn *conn, int status)
{
    stele_http__h1_fail(conn, status);
    return STOP;
}

static int keep_text(struct stele_http_conn *conn, const char *data, size_t size, bool lower)
{
    struct stele_exchange *const exchange = conn->h1.exchange;
    const size_t overhead = exchange->headers_count * HEADER_OVERHEAD;
    if (exchange->text.size + size + overhead > conn->limits.header_size_max) {
        return refuse(conn, exchange->headers_count == 0 ? 414 : 431);
    }
    const struct stele_bytes bytes = {.data = (const uint8_t *)data, .size = size};
    if (stele_buf_append(&exchange->text, conn->alloc, bytes) != STELE_OK) {
        return refuse(conn, 503);
    }
    for (size_t i = exchange->text.size - size; lower && i < exchange->text.size; i++) {
        const uint8_t c = exchange->text.data[i];
        exchange->text.data[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
    }
    return 0;
}

static int on_message_begin(http_parser *parser)
{
    struct stele_http_conn *const conn = conn_of(parser);
    STELE_ASSERT(conn->h1.exchange == NULL);
    conn->h1.exchange = stele_http__exchange_new(conn);
    conn->h1.head_over = false;
    conn->h1.in_value = true;
    conn->h1.upgrade = false;
    return conn->h1.exchange != NULL ? 0 : refuse(conn, 503);
}

static int on_url(http_parser *parser, const char *data, size_t size)
{
    struct stele_exchange *const exchange = conn_of(parser)->h1.exchange;
    exchange->path.size += size;
    return keep_text(conn_of(parser), data, size, false);
}

static int on_field(http_parser *parser, const char *data, size_t size)
{
    struct stele_http_conn *const conn = conn_of(parser);
    struct stele_exchange *const exchange = conn->h1.exchange;
    if (conn->h1.head_over) {
        return 0; /* Trailers of a request mean nothing to us. */
    }
    if (conn->h1.in_value) {
        conn->h1.in_value = false;
        const struct stele_http__header empty = {.name = {.size = 0}};
        const int outcome = stele_http__exchange_add_header(exchange, &empty);
        if (outcome != STELE_OK) {
            return refuse(conn, outcome == STELE_E_LIMIT ? 431 : 503);
        }
    }
    exchange->headers[exchange->headers_count - 1].name.size += size;
    return keep_text(conn, data, size, true);
}

static int on_value(http_parser *parser, const char *data, size_t size)
{
    struct stele_http_conn *const conn = conn_of(parser);
    if (conn->h1.head_over) {
        return 0;
    }
    conn->h1.in_value = true;
    conn->h1.exchange->headers[conn->h1.exchange->headers_count - 1].value.size += size;
    return keep_text(conn, data, size, false);
}

/* "http://host/path", which a proxy may send, means "/path". */
static void strip_origin(struct stele_exchange *exchange)
{
    struct stele_text *const path = &exchange->path;
    if (path->size > 7 && memcmp(path->data, "http://", 7) == 0) {
        const char *const slash = memchr(path->data + 7, '/', path->size - 7);
        if (slash != NULL) {
            path->size -= (size_t)(slash - path->data);
            path->data = slash;
        }
    }
}

static void set_pointers(struct stele_exchange *exchange)
{
    const char *at = (const char *)exchange->text.data;
    exchange->path.data = at;
    at += exchange->path.size;
    for (size_t i = 0; i < exchange->headers_count; i++) {
        struct stele_http__header *const header = &exchange->headers[i];
        header->name.data = at;
        at += header->name.size;
        header->value.data = at;
        at += header->value.size;
    }
    STELE_ASSERT(at == (const char *)exchange->text.data + exchange->text.size);
    exchange->authority = stele_exchange_header(exchange, "host");
    strip_origin(exchange);
}

/* RFC 9112 section 5.1: no blank before the colon. http-parser takes it for a part of the name, so that
 * "Transfer-Encoding : chunked" would say nothing to us and perhaps something to a proxy. */
static bool has_blank_name(const struct stele_exchange *exchange)
{
    for (size_t i = 0; i < exchange->headers_count; i++) {
        const struct stele_text name = exchange->headers[i].name;
        if (memchr(name.data, ' ', name.size) != NULL) {
            return true;
        }
    }
    return false;
}

/* What we cannot decode has an end that we cannot find. */
static bool has_other_coding(const struct stele_exchange *exchange)
{
    uint32_t count = 0;
    for (size_t i = 0; i < exchange->headers_count; i++) {
        const struct stele_http__header *const header = &exchange->headers[i];
        if (text_is(header->name, "transfer-encoding") &&
            (++count > 1 || !text_is(header->value, "chunked"))) {
            return true;
        }
    }
    return false;
}

static int on_headers_complete(http_parser *parser)
{
    struct stele_http_conn *const conn = conn_of(parser);
    struct stele_http__h1 *const h1 = &conn->h1;
    struct stele_exchange *const exchange = h1->exchange;
    h1->head_over = true;
    conn->headers_us = 0;
    set_pointers(exchange);
    exchange->method.data = http_method_str((enum http_method)parser->method);
    exchange->method.size = strlen(exchange->method.data);
    exchange->is_head = parser->method == HTTP_HEAD;
    const bool is_11 = parser->http_major == 1 && parser->http_minor >= 1;
    h1->keep_alive = http_should_keep_alive(parser) != 0 && !conn->draining && !conn->eof;
    if (parser->http_major != 1) {
        return refuse(conn, 505);
    }
    if (has_blank_name(exchange) || has_other_coding(exchange)) {
        return refuse(conn, 400);
    }
    if (is_11 && exchange->authority.data == NULL) {
        return refuse(conn, 400); /* RFC 9112 section 3.2. */
    }
    if (parser->method == HTTP_CONNECT) {
        return refuse(conn, 501);
    }
    const bool has_body = (parser->flags & F_CHUNKED) != 0 ||
                          (parser->content_length > 0 && parser->content_length != UINT64_MAX);
    h1->upgrade = parser->upgrade != 0 && !has_body && !conn->peer.is_tls && !conn->draining &&
                  text_is(stele_exchange_header(exchange, "upgrade"), "h2c") &&
                  stele_exchange_header(exchange, "http2-settings").data != NULL;
    if (h1->upgrade) {
        return 0; /* on_message_complete comes at once. */
    }
    parser->upgrade = 0;
    stele_http__exchange_request(exchange);
    if (has_body && is_11 && !exchange->responded &&
        text_is(stele_exchange_header(exchange, "expect"), "100-continue")) {
        put_text(conn, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    return conn->closing ? STOP : 0;
}

static int on_body(http_parser *parser, const char *data, size_t size)
{
    struct stele_http_conn *const conn = conn_of(parser);
    const struct stele_bytes bytes = {.data = (const uint8_t *)data, .size = size};
    stele_http__exchange_body(conn->h1.exchange, bytes);
    return conn->closing ? STOP : 0;
}

static int on_message_complete(http_parser *parser)
{
    struct stele_http_conn *const conn = conn_of(parser);
    if (!conn->h1.upgrade) {
        stele_http__exchange_end(conn->h1.exchange);
    }
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- Upgrade to h2c (RFC 7540 section 3.2) --------------------------------------------------- */

static void upgrade(struct stele_http_conn *conn)
{
    struct stele_exchange *const exchange = conn->h1.exchange;
    const struct stele_text header = stele_exchange_header(exchange, "http2-settings");
    const struct stele_bytes encoded = {.data = (const uint8_t *)header.data, .size = header.size};
    uint8_t decoded[HTTP2_SETTINGS_SIZE_MAX];
    size_t size = 0;
    if (stele_base64_decoded_size_max(encoded.size) > sizeof decoded ||
        !stele_base64_decode(encoded, STELE_BASE64_URL | STELE_BASE64_UNPADDED, decoded, &size)) {
        stele_http__h1_fail(conn, 400);
        return;
    }
    const struct stele_bytes bytes = {.data = decoded, .size = size};
    if (stele_http__h2_upgrade(conn, exchange, bytes) != STELE_OK) {
        conn->version = STELE_HTTP__H1;
        stele_http__h1_fail(conn, 400);
        return;
    }
    put_text(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                   "Upgrade: h2c\r\n\r\n");
    conn->h1.exchange = NULL;
    stele_http__exchange_request(exchange);
    stele_http__exchange_end(exchange);
}

/* ---- Bytes in -------------------------------------------------------------------------------- */

void stele_http__h1_init(struct stele_http_conn *conn)
{
    http_parser_init(&conn->h1.parser, HTTP_REQUEST);
    conn->h1.parser.data = conn;
    conn->h1.keep_alive = true;
}

void stele_http__h1_deinit(struct stele_http_conn *conn)
{
    stele_buf_deinit(&conn->h1.backlog, conn->alloc);
    stele_buf_deinit(&conn->h1.head, conn->alloc);
}

void stele_http__h1_fail(struct stele_http_conn *conn, int status)
{
    const struct stele_exchange *const exchange = conn->h1.exchange;
    const bool begun = exchange != NULL && exchange->responded;
    if (conn->closing) {
        return;
    }
    conn->closing = true;
    conn->h1.failed = true;
    if (!begun && conn->preface_size < STELE_HTTP__PREFACE_SIZE) {
        char line[128];
        (void)snprintf(line, sizeof line,
                       "HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", status,
                       http_status_str((enum http_status)status));
        put_text(conn, line);
    }
}

/* Returns how many of the bytes are done with: all, or up to the end of a request. */
static size_t parse(struct stele_http_conn *conn, struct stele_bytes bytes)
{
    struct stele_http__h1 *const h1 = &conn->h1;
    if (h1->exchange == NULL && conn->headers_us == 0) {
        const int64_t now_us = stele_loop_now_us(conn->loop);
        conn->headers_us = now_us > 0 ? now_us : 1;
        stele_http__conn_arm(conn, now_us + (int64_t)conn->limits.headers_ms * 1000);
    }
    http_parser_pause(&h1->parser, 0);
    const size_t used =
        http_parser_execute(&h1->parser, &settings, (const char *)bytes.data, bytes.size);
    const enum http_errno error = HTTP_PARSER_ERRNO(&h1->parser);
    if (conn->closing) {
        return bytes.size;
    }
    if (error != HPE_OK && error != HPE_PAUSED) {
        stele_http__h1_fail(conn, error == HPE_HEADER_OVERFLOW ? 431 : 400);
        return bytes.size;
    }
    if (h1->upgrade && h1->exchange != NULL) {
        upgrade(conn);
    }
    return used;
}

static void feed_next(struct stele_http_conn *conn, struct stele_bytes bytes)
{
    if (conn->closing || bytes.size == 0) {
        return;
    }
    if (conn->version == STELE_HTTP__H2) {
        stele_http__h2_feed(conn, bytes);
    } else if (conn->h1.keep_alive &&
               stele_buf_append(&conn->h1.backlog, conn->alloc, bytes) != STELE_OK) {
        stele_http__h1_fail(conn, 503);
    }
}

void stele_http__h1_feed(struct stele_http_conn *conn, struct stele_bytes bytes)
{
    const struct stele_exchange *const exchange = conn->h1.exchange;
    if (conn->h1.backlog.size > 0 || (exchange != NULL && exchange->request_over)) {
        feed_next(conn, bytes);
        return;
    }
    const size_t used = parse(conn, bytes);
    STELE_ASSERT(used <= bytes.size);
    feed_next(conn, stele_bytes_slice(bytes, used, bytes.size - used));
}

/* The exchange before is over: on with what came meanwhile. */
static void feed_backlog(struct stele_http_conn *conn)
{
    struct stele_buf backlog = conn->h1.backlog;
    if (backlog.size == 0) {
        return;
    }
    conn->h1.backlog = (struct stele_buf){.data = NULL};
    stele_http__h1_feed(conn, (struct stele_bytes){.data = backlog.data, .size = backlog.size});
    stele_buf_deinit(&backlog, conn->alloc);
}

/* ---- The response ---------------------------------------------------------------------------- */

static void put_date(struct stele_http_conn *conn)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const time_t now = (time_t)(conn->loop->ops->wall_us(conn->loop) / 1000000);
    struct tm tm;
    char line[64];
    if (gmtime_r(&now, &tm) == NULL) {
        return;
    }
    (void)snprintf(line, sizeof line, "date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n",
                   days[(unsigned)tm.tm_wday % 7], tm.tm_mday, months[(unsigned)tm.tm_mon % 12],
                   tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    put_text(conn, line);
}

static int64_t number_of(struct stele_text text)
{
    int64_t number = 0;
    for (size_t i = 0; i < text.size; i++) {
        STELE_ASSERT(text.data[i] >= '0');
        STELE_ASSERT(text.data[i] <= '9');
        STELE_ASSERT(number < INT64_MAX / 10 - 9);
        number = number * 10 + (text.data[i] - '0');
    }
    return number;
}

static void put_header(struct stele_http_conn *conn, const struct stele_http_header *header)
{
    put(conn, header->name.data, header->name.size);
    put(conn, ": ", 2);
    put(conn, header->value.data, header->value.size);
    put(conn, "\r\n", 2);
}

void stele_http__h1_respond(struct stele_exchange *exchange, int status,
                            const struct stele_http_header *headers, size_t count, bool end)
{
    struct stele_http_conn *const conn = exchange->conn;
    struct stele_http__h1 *const h1 = &conn->h1;
    char line[64];
    (void)snprintf(line, sizeof line, "HTTP/1.1 %d %s\r\n", status,
                   http_status_str((enum http_status)status));
    put_text(conn, line);
    h1->content_left = -1;
    for (size_t i = 0; i < count; i++) {
        put_header(conn, &headers[i]);
        if (text_is(headers[i].name, "content-length")) {
            h1->content_left = number_of(headers[i].value);
        }
    }
    put_date(conn);
    const bool is_11 = h1->parser.http_minor >= 1;
    const bool bodyless = status == 204 || status == 304;
    h1->chunked = h1->content_left < 0 && !end && is_11 && !bodyless;
    if (h1->chunked) {
        put_text(conn, "transfer-encoding: chunked\r\n");
    } else if (h1->content_left < 0 && end && !bodyless && !exchange->is_head) {
        put_text(conn, "content-length: 0\r\n");
    } else if (h1->content_left < 0 && !end && !bodyless) {
        h1->keep_alive = false; /* HTTP/1.0: the end of the connection is the end of the body. */
    }
    if (!h1->keep_alive) {
        put_text(conn, "connection: close\r\n");
    } else if (!is_11) {
        put_text(conn, "connection: keep-alive\r\n");
    }
    put(conn, "\r\n", 2);
}

static void out_append(struct stele_http_conn *conn, struct stele_buf *out, const void *data,
                       size_t size)
{
    const struct stele_bytes bytes = {.data = data, .size = size};
    if (stele_buf_append(out, conn->alloc, bytes) != STELE_OK) {
        conn->over = true;
    }
}

static void take_body(struct stele_exchange *exchange, struct stele_buf *out, size_t max)
{
    struct stele_http_conn *const conn = exchange->conn;
    struct stele_http__h1 *const h1 = &conn->h1;
    size_t size = exchange->output_counted - exchange->output_at;
    size = size < max ? size : max;
    if (size == 0) {
        return;
    }
    const uint8_t *const data = exchange->output.data + exchange->output_at;
    if (h1->chunked) {
        char head[CHUNK_HEAD_MAX];
        const int head_size = snprintf(head, sizeof head, "%zx\r\n", size);
        out_append(conn, out, head, (size_t)head_size);
        out_append(conn, out, data, size);
        out_append(conn, out, "\r\n", 2);
    } else if (h1->content_left >= 0) {
        /* More than was announced would be taken for the next response. */
        const size_t left = (size_t)h1->content_left;
        out_append(conn, out, data, size < left ? size : left);
        h1->content_left -= (int64_t)(size < left ? size : left);
    } else {
        out_append(conn, out, data, size);
    }
    stele_http__exchange_took(exchange, size);
}

static void take_end(struct stele_exchange *exchange, struct stele_buf *out)
{
    struct stele_http_conn *const conn = exchange->conn;
    struct stele_http__h1 *const h1 = &conn->h1;
    if (h1->chunked && !exchange->is_head) {
        out_append(conn, out, "0\r\n", 3);
        for (size_t at = 0; at < exchange->trailers.size;) {
            const struct stele_http_header trailer = stele_http__exchange_trailer(exchange, &at);
            out_append(conn, out, trailer.name.data, trailer.name.size);
            out_append(conn, out, ": ", 2);
            out_append(conn, out, trailer.value.data, trailer.value.size);
            out_append(conn, out, "\r\n", 2);
        }
        out_append(conn, out, "\r\n", 2);
    }
    exchange->end_sent = true;
    const bool short_of = h1->content_left > 0 && !exchange->no_body;
    const bool next = h1->keep_alive && exchange->request_over && !short_of;
    h1->exchange = NULL;
    conn->unconsumed -= exchange->unconsumed;
    stele_http__exchange_over(exchange, !short_of);
    if (next && !conn->closing && !conn->draining) {
        feed_backlog(conn);
    } else {
        conn->closing = true;
        conn->over = conn->h1.head.size == 0;
    }
}

void stele_http__h1_take(struct stele_http_conn *conn, struct stele_buf *out, size_t max)
{
    const size_t end = out->size + max;
    struct stele_http__h1 *const h1 = &conn->h1;
    if (h1->head.size > 0) {
        out_append(conn, out, h1->head.data, h1->head.size);
        h1->head.size = 0;
    }
    if (conn->closing) {
        stele_http__conn_abandon(conn);
        conn->over = true;
        return;
    }
    struct stele_exchange *const exchange = h1->exchange;
    if (exchange == NULL || !exchange->responded) {
        return;
    }
    if (out->size < end) {
        take_body(exchange, out, end - out->size);
    }
    if (exchange->finished && stele_http__exchange_pending(exchange) == 0) {
        take_end(exchange, out);
    }
}
