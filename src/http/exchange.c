#include "http/http_internal.h"

#define HEADER_OVERHEAD 32 /* RFC 9113 section 6.5.2. */
#define TRAILER_PREFIX 8   /* Two sizes in front of each trailer. */
#define HEADERS_FIRST 16

/* Of a body that comes after the end of the response: more than what may have been on its way. */
#define LINGER_SIZE_MAX ((size_t)256 * 1024)

/* How far what all connections share may be behind, for each. */
#define TELL_STEP ((size_t)16 * 1024)

/* ---- Life ------------------------------------------------------------------------------------ */

struct stele_exchange *stele_http__exchange_new(struct stele_http_conn *conn)
{
    struct stele_exchange *exchange = conn->spare;
    if (exchange != NULL) {
        conn->spare = exchange->next;
        conn->spare_count--;
    } else {
        exchange = stele_allocate_zeroed(conn->alloc, sizeof *exchange);
        if (exchange == NULL) {
            return NULL;
        }
    }
    exchange->conn = conn;
    exchange->next = conn->open;
    exchange->previous = NULL;
    if (conn->open != NULL) {
        conn->open->previous = exchange;
    }
    conn->open = exchange;
    conn->open_count++;
    return exchange;
}

static void release_headers(struct stele_exchange *exchange)
{
    for (size_t i = 0; i < exchange->headers_count; i++) {
        if (exchange->headers[i].name_buf != NULL) {
            nghttp2_rcbuf_decref(exchange->headers[i].name_buf);
            nghttp2_rcbuf_decref(exchange->headers[i].value_buf);
        }
    }
    exchange->headers_count = 0;
}

static void release(struct stele_exchange *exchange)
{
    struct stele_http_conn *const conn = exchange->conn;
    struct stele_alloc *const alloc = conn->alloc;
    release_headers(exchange);
    if (exchange->output.capacity > STELE_HTTP__SPARE_OUTPUT_MAX) {
        stele_buf_deinit(&exchange->output, alloc);
    }
    if (exchange->text.capacity > STELE_HTTP__SPARE_OUTPUT_MAX) {
        stele_buf_deinit(&exchange->text, alloc);
    }
    if (conn->dying || conn->spare_count == STELE_HTTP__SPARE_MAX) {
        stele_release(alloc, exchange->headers,
                      exchange->headers_capacity * sizeof exchange->headers[0]);
        stele_buf_deinit(&exchange->output, alloc);
        stele_buf_deinit(&exchange->text, alloc);
        stele_buf_deinit(&exchange->trailers, alloc);
        stele_release(alloc, exchange, sizeof *exchange);
        return;
    }
    const struct stele_exchange kept = *exchange;
    *exchange = (struct stele_exchange){.headers = kept.headers,
                                        .headers_capacity = kept.headers_capacity,
                                        .output = kept.output,
                                        .text = kept.text,
                                        .trailers = kept.trailers,
                                        .next = conn->spare};
    exchange->output.size = 0;
    exchange->text.size = 0;
    exchange->trailers.size = 0;
    conn->spare = exchange;
    conn->spare_count++;
}

/* The connection's part of the memory that all share. Not with every message: others count there,
 * too, on other processors. */
static void tell_memory(struct stele_http_conn *conn)
{
    struct stele_http_memory *const memory = conn->limits.memory;
    const size_t told = conn->pending_told;
    if (memory == NULL || (conn->pending < told + TELL_STEP && conn->pending + TELL_STEP > told &&
                           (conn->pending > 0 || told == 0))) {
        return;
    }
    conn->pending_told = conn->pending;
    (void)__atomic_add_fetch(&memory->output, (uint64_t)conn->pending - (uint64_t)told,
                             __ATOMIC_RELAXED);
}

static void leave_writable(struct stele_exchange *exchange)
{
    struct stele_exchange **link = &exchange->conn->writable;
    while (*link != exchange) {
        link = &(*link)->next_writable;
    }
    *link = exchange->next_writable;
    exchange->in_writable = false;
}

void stele_http__exchange_over(struct stele_exchange *exchange, bool finished)
{
    struct stele_http_conn *const conn = exchange->conn;
    if (exchange->announced) {
        conn->events->on_close(conn->context, exchange, finished);
    }
    if (exchange->in_writable) {
        leave_writable(exchange);
    }
    if (exchange->held_until_us != 0) {
        conn->held_count--;
    }
    if (exchange->linger_until_us != 0) {
        conn->lingering--;
    }
    if (exchange->previous != NULL) {
        exchange->previous->next = exchange->next;
    } else {
        STELE_ASSERT(conn->open == exchange);
        conn->open = exchange->next;
    }
    if (exchange->next != NULL) {
        exchange->next->previous = exchange->previous;
    }
    STELE_ASSERT(conn->open_count > 0);
    conn->open_count--;
    STELE_ASSERT(conn->pending >= exchange->output_counted - exchange->output_at);
    conn->pending -= exchange->output_counted - exchange->output_at;
    tell_memory(conn);
    if (conn->open_count == 0) {
        conn->idle_us = stele_loop_now_us(conn->loop);
    }
    release(exchange);
}

/* ---- Slower ---------------------------------------------------------------------------------- */

void stele_exchange_set_meter(struct stele_exchange *exchange, stele_exchange_meter meter,
                              void *context)
{
    exchange->meter = meter;
    exchange->meter_context = context;
}

void stele_exchange_hold(struct stele_exchange *exchange, int64_t due_us)
{
    struct stele_http_conn *const conn = exchange->conn;
    if (conn->dying || exchange->was_reset || due_us <= exchange->held_until_us) {
        return;
    }
    if (exchange->held_until_us == 0) {
        conn->held_count++;
    }
    exchange->held_until_us = due_us;
    exchange->is_full = true;
    stele_http__conn_arm(conn, due_us);
}

static void pass_meter(struct stele_exchange *exchange, size_t size)
{
    if (exchange->meter == NULL || size == 0) {
        return;
    }
    const int64_t now_us = stele_loop_now_us(exchange->conn->loop);
    const int64_t wait_us = exchange->meter(exchange->meter_context, size, now_us);
    if (wait_us > 0) {
        stele_exchange_hold(exchange, now_us + wait_us);
    }
}

static void become_writable(struct stele_exchange *exchange)
{
    struct stele_http_conn *const conn = exchange->conn;
    exchange->is_full = false;
    if (!exchange->in_writable && !exchange->finished) {
        exchange->in_writable = true;
        exchange->next_writable = conn->writable;
        conn->writable = exchange;
    }
}

static bool is_low(const struct stele_exchange *exchange);

static void go_on(struct stele_exchange *exchange)
{
    struct stele_http_conn *const conn = exchange->conn;
    const size_t size = exchange->withheld;
    exchange->held_until_us = 0;
    exchange->withheld = 0;
    conn->held_count--;
    if (size > 0 && conn->version == STELE_HTTP__H2) {
        stele_http__h2_consume_stream(exchange, size);
    }
    if (exchange->is_full && is_low(exchange)) {
        become_writable(exchange);
    }
}

int64_t stele_http__exchanges_go_on(struct stele_http_conn *conn, int64_t now_us)
{
    int64_t next_us = INT64_MAX;
    if (conn->held_count == 0) {
        return next_us;
    }
    for (struct stele_exchange *e = conn->open; e != NULL; e = e->next) {
        if (e->held_until_us != 0 && e->held_until_us <= now_us) {
            go_on(e);
        } else if (e->held_until_us != 0 && e->held_until_us < next_us) {
            next_us = e->held_until_us;
        }
    }
    return next_us;
}

/* ---- Lingering ------------------------------------------------------------------------------- */

static void end_lingering(struct stele_exchange *exchange)
{
    if (exchange->linger_until_us != INT64_MAX) {
        exchange->linger_until_us = INT64_MAX;
        stele_http__h2_end_request(exchange);
    }
}

int64_t stele_http__exchanges_linger(struct stele_http_conn *conn, int64_t now_us)
{
    int64_t next_us = INT64_MAX;
    if (conn->lingering == 0) {
        return next_us;
    }
    for (struct stele_exchange *e = conn->open; e != NULL; e = e->next) {
        if (e->linger_until_us != 0 && e->linger_until_us <= now_us) {
            end_lingering(e);
        } else if (e->linger_until_us != 0 && e->linger_until_us < next_us) {
            next_us = e->linger_until_us;
        }
    }
    return next_us;
}

/* ---- The request ----------------------------------------------------------------------------- */

int stele_http__exchange_add_header(struct stele_exchange *exchange,
                                    const struct stele_http__header *header)
{
    struct stele_http_conn *const conn = exchange->conn;
    exchange->headers_size += header->name.size + header->value.size + HEADER_OVERHEAD;
    if (exchange->headers_size > conn->limits.header_size_max) {
        return STELE_E_LIMIT;
    }
    if (exchange->headers_count == exchange->headers_capacity) {
        const size_t size = sizeof exchange->headers[0];
        const size_t old = exchange->headers_capacity;
        const size_t capacity = old > 0 ? old * 2 : HEADERS_FIRST;
        void *const grown =
            conn->alloc->reallocate(conn->alloc, exchange->headers, old * size, capacity * size);
        if (grown == NULL) {
            return STELE_E_NO_MEMORY;
        }
        exchange->headers = grown;
        exchange->headers_capacity = capacity;
    }
    if (header->name_buf != NULL) {
        nghttp2_rcbuf_incref(header->name_buf);
        nghttp2_rcbuf_incref(header->value_buf);
    }
    exchange->headers[exchange->headers_count++] = *header;
    return STELE_OK;
}

/* RFC 9110 section 5.3: a header that is no list may come once. Of two that say who is calling, or
 * for whom a request is, a proxy before us may have believed the other one. */
static bool is_ambiguous(const struct stele_exchange *exchange)
{
    static const struct stele_text once[] = {{.data = "authorization", .size = 13},
                                             {.data = "content-type", .size = 12},
                                             {.data = "host", .size = 4}};
    uint32_t seen[STELE_COUNT_OF(once)] = {0};
    for (size_t i = 0; i < exchange->headers_count; i++) {
        const struct stele_text name = exchange->headers[i].name;
        for (size_t k = 0; k < STELE_COUNT_OF(once); k++) {
            if (name.size == once[k].size && memcmp(name.data, once[k].data, name.size) == 0 &&
                ++seen[k] > 1) {
                return true;
            }
        }
    }
    return false;
}

void stele_http__exchange_request(struct stele_exchange *exchange)
{
    STELE_ASSERT(!exchange->announced);
    if (is_ambiguous(exchange)) {
        exchange->conn->h1.keep_alive = false; /* Where it ends is not sure, either. */
        stele_http__exchange_refuse(exchange, 400);
        return;
    }
    const int64_t now_us = stele_loop_now_us(exchange->conn->loop);
    exchange->is_first = exchange->conn->began_us != now_us;
    exchange->conn->began_us = now_us;
    exchange->announced = true;
    exchange->conn->events->on_request(exchange->conn->context, exchange);
}

void stele_http__exchange_body(struct stele_exchange *exchange, struct stele_bytes bytes)
{
    struct stele_http_conn *const conn = exchange->conn;
    exchange->unconsumed += bytes.size;
    conn->unconsumed += bytes.size;
    pass_meter(exchange, bytes.size);
    if (exchange->announced && !exchange->was_reset && !exchange->finished) {
        conn->events->on_body(conn->context, exchange, bytes);
    } else {
        /* Nobody is interested: the peer may go on, what it sends is dropped. */
        stele_exchange_consume(exchange, bytes.size);
        exchange->dropped += bytes.size;
        if (exchange->linger_until_us != 0 && exchange->dropped > LINGER_SIZE_MAX) {
            end_lingering(exchange);
        }
    }
}

void stele_http__exchange_end(struct stele_exchange *exchange)
{
    exchange->request_over = true;
    if (exchange->announced && !exchange->was_reset && !exchange->finished) {
        exchange->conn->events->on_end(exchange->conn->context, exchange);
    }
}

void stele_exchange_consume(struct stele_exchange *exchange, size_t size)
{
    struct stele_http_conn *const conn = exchange->conn;
    STELE_ASSERT(size <= exchange->unconsumed);
    STELE_ASSERT(size <= conn->unconsumed);
    exchange->unconsumed -= size;
    conn->unconsumed -= size;
    if (conn->dying || size == 0) {
        return;
    }
    if (conn->version == STELE_HTTP__H2 && exchange->held_until_us != 0) {
        stele_http__h2_consume_connection(exchange, size);
        exchange->withheld += size;
    } else if (conn->version == STELE_HTTP__H2) {
        stele_http__h2_consume(exchange, size);
    }
    stele_http__conn_has_output(conn);
}

struct stele_text stele_exchange_method(const struct stele_exchange *exchange)
{
    return exchange->method;
}

struct stele_text stele_exchange_path(const struct stele_exchange *exchange)
{
    return exchange->path;
}

struct stele_text stele_exchange_authority(const struct stele_exchange *exchange)
{
    return exchange->authority;
}

bool stele_exchange_header_at(const struct stele_exchange *exchange, size_t index,
                              struct stele_text *out_name, struct stele_text *out_value)
{
    if (index >= exchange->headers_count) {
        return false;
    }
    *out_name = exchange->headers[index].name;
    *out_value = exchange->headers[index].value;
    return true;
}

struct stele_text stele_exchange_header(const struct stele_exchange *exchange, const char *name)
{
    const size_t size = strlen(name);
    for (size_t i = 0; i < exchange->headers_count; i++) {
        const struct stele_http__header *const header = &exchange->headers[i];
        if (header->name.size == size && memcmp(header->name.data, name, size) == 0) {
            return header->value;
        }
    }
    return (struct stele_text){.data = NULL, .size = 0};
}

bool stele_exchange_is_h2(const struct stele_exchange *exchange)
{
    return exchange->conn->version == STELE_HTTP__H2;
}

bool stele_exchange_is_first(const struct stele_exchange *exchange)
{
    return exchange->is_first;
}

struct stele_http_conn *stele_exchange_conn(const struct stele_exchange *exchange)
{
    return exchange->conn;
}

struct stele_loop *stele_exchange_loop(const struct stele_exchange *exchange)
{
    return exchange->conn->loop;
}

void *stele_exchange_user(const struct stele_exchange *exchange)
{
    return exchange->user;
}

void stele_exchange_set_user(struct stele_exchange *exchange, void *user)
{
    exchange->user = user;
}

uint8_t stele_exchange_kind(const struct stele_exchange *exchange)
{
    return exchange->kind;
}

void stele_exchange_set_kind(struct stele_exchange *exchange, uint8_t kind)
{
    exchange->kind = kind;
}

/* ---- The response ---------------------------------------------------------------------------- */

/* After this nothing of the response has an effect: the peer is not there, or does not listen. */
static bool is_mute(const struct stele_exchange *exchange)
{
    return exchange->was_reset || exchange->finished || exchange->conn->dying ||
           exchange->conn->over || exchange->conn->calm;
}

void stele_exchange_respond(struct stele_exchange *exchange, int status,
                            const struct stele_http_header *headers, size_t count, bool end)
{
    STELE_ASSERT(status >= 200);
    STELE_ASSERT(status <= 599);
    if (is_mute(exchange)) {
        return;
    }
    STELE_ASSERT(!exchange->responded);
    exchange->responded = true;
    exchange->finished = end;
    exchange->no_body = exchange->is_head || status == 204 || status == 304;
    if (exchange->conn->version == STELE_HTTP__H2) {
        stele_http__h2_respond(exchange, status, headers, count, end);
    } else {
        stele_http__h1_respond(exchange, status, headers, count, end);
    }
    stele_http__conn_has_output(exchange->conn);
}

bool stele_exchange_has_responded(const struct stele_exchange *exchange)
{
    return exchange->responded;
}

struct stele_buf *stele_exchange_output(struct stele_exchange *exchange)
{
    struct stele_buf *const output = &exchange->output;
    /* What is gone makes room for what comes, once it is the larger part: each byte moves at most
     * once for each time that as many have gone. */
    if (exchange->output_at > 0 && exchange->output_at >= output->size - exchange->output_at) {
        memmove(output->data, output->data + exchange->output_at,
                output->size - exchange->output_at);
        output->size -= exchange->output_at;
        exchange->output_counted -= exchange->output_at;
        exchange->output_at = 0;
    }
    return output;
}

/* Too much waits already: for the peer, or for all of them. */
static bool is_short(const struct stele_http_conn *conn)
{
    const struct stele_http_memory *const memory = conn->limits.memory;
    return conn->pending > conn->limits.conn_output_high ||
           (memory != NULL &&
            __atomic_load_n(&memory->output, __ATOMIC_RELAXED) > memory->output_max);
}

static size_t high_of(const struct stele_exchange *exchange)
{
    return is_short(exchange->conn) ? STELE_HTTP__OUTPUT_LITTLE
                                    : exchange->conn->limits.output_high;
}

static bool is_low(const struct stele_exchange *exchange)
{
    const struct stele_http_conn *const conn = exchange->conn;
    return stele_http__exchange_pending(exchange) <=
           (is_short(conn) ? STELE_HTTP__OUTPUT_LITTLE / 2 : conn->limits.output_low);
}

void stele_exchange_written(struct stele_exchange *exchange)
{
    struct stele_http_conn *const conn = exchange->conn;
    STELE_ASSERT(exchange->output.size >= exchange->output_counted);
    if (is_mute(exchange) || exchange->no_body) {
        exchange->output.size = exchange->output_counted;
        return;
    }
    STELE_ASSERT(exchange->responded);
    if (exchange->output.size == exchange->output_counted) {
        return;
    }
    const size_t written = exchange->output.size - exchange->output_counted;
    conn->pending += written;
    exchange->output_counted = exchange->output.size;
    tell_memory(conn);
    pass_meter(exchange, written);
    if (stele_http__exchange_pending(exchange) >= high_of(exchange)) {
        exchange->is_full = true;
    }
    if (conn->version == STELE_HTTP__H2) {
        stele_http__h2_resume(exchange);
    }
    stele_http__conn_has_output(conn);
}

bool stele_exchange_is_full(const struct stele_exchange *exchange)
{
    return exchange->is_full;
}

void stele_http__exchange_took(struct stele_exchange *exchange, size_t size)
{
    struct stele_http_conn *const conn = exchange->conn;
    STELE_ASSERT(size <= exchange->output_counted - exchange->output_at);
    exchange->output_at += size;
    conn->pending -= size;
    tell_memory(conn);
    if (stele_http__exchange_pending(exchange) == 0) {
        exchange->output.size = 0;
        exchange->output_at = 0;
        exchange->output_counted = 0;
    }
    if (exchange->is_full && exchange->held_until_us == 0 && is_low(exchange)) {
        become_writable(exchange);
    }
}

static int keep_trailer(struct stele_exchange *exchange, const struct stele_http_header *trailer)
{
    struct stele_buf *const buf = &exchange->trailers;
    const size_t size = TRAILER_PREFIX + trailer->name.size + trailer->value.size;
    const int outcome = stele_buf_reserve(buf, exchange->conn->alloc, size);
    if (outcome != STELE_OK) {
        return outcome;
    }
    uint8_t *to = buf->data + buf->size;
    stele_store_u32le(to, (uint32_t)trailer->name.size);
    stele_store_u32le(to + 4, (uint32_t)trailer->value.size);
    to += TRAILER_PREFIX;
    memcpy(to, trailer->name.data, trailer->name.size);
    if (trailer->value.size > 0) {
        memcpy(to + trailer->name.size, trailer->value.data, trailer->value.size);
    }
    buf->size += size;
    exchange->trailers_count++;
    return STELE_OK;
}

struct stele_http_header stele_http__exchange_trailer(const struct stele_exchange *exchange,
                                                      size_t *at)
{
    const uint8_t *const from = exchange->trailers.data + *at;
    const struct stele_http_header trailer = {
        .name = {.data = (const char *)from + TRAILER_PREFIX, .size = stele_load_u32le(from)},
        .value = {.data = (const char *)from + TRAILER_PREFIX + stele_load_u32le(from),
                  .size = stele_load_u32le(from + 4)}};
    *at += TRAILER_PREFIX + trailer.name.size + trailer.value.size;
    STELE_ASSERT(*at <= exchange->trailers.size);
    return trailer;
}

void stele_exchange_finish(struct stele_exchange *exchange,
                           const struct stele_http_header *trailers, size_t count)
{
    if (is_mute(exchange)) {
        return;
    }
    STELE_ASSERT(exchange->responded);
    stele_exchange_written(exchange);
    for (size_t i = 0; i < count; i++) {
        if (keep_trailer(exchange, &trailers[i]) != STELE_OK) {
            stele_exchange_reset(exchange, NGHTTP2_INTERNAL_ERROR);
            return;
        }
    }
    exchange->finished = true;
    if (exchange->conn->version == STELE_HTTP__H2) {
        stele_http__h2_resume(exchange);
    }
    stele_http__conn_has_output(exchange->conn);
}

void stele_exchange_reset(struct stele_exchange *exchange, uint32_t h2_error)
{
    struct stele_http_conn *const conn = exchange->conn;
    if (exchange->was_reset || conn->dying || conn->over || conn->calm) {
        return;
    }
    exchange->was_reset = true;
    if (conn->version == STELE_HTTP__H2) {
        stele_http__h2_reset(exchange, h2_error);
    } else {
        conn->closing = true;
    }
    stele_http__conn_has_output(conn);
}

void stele_http__exchange_refuse(struct stele_exchange *exchange, int status)
{
    const struct stele_http_header length = {.name = {"content-length", 14}, .value = {"0", 1}};
    stele_exchange_respond(exchange, status, &length, 1, true);
}
