/* HTTP/2, on nghttp2's session, which takes bytes and gives bytes.
 *
 * Bodies go out in DATA frames that nghttp2 asks for one at a time (NGHTTP2_DATA_FLAG_NO_COPY): the
 * bytes are copied once, from the exchange's output behind the frame's header in what take() gives.
 *
 * nghttp2 bounds some floods (CONTINUATION, SETTINGS entries, acknowledgements that pile up). What
 * it does not bound is counted here, in two buckets: frames that bring no data, and resets, those
 * that the peer sends (CVE-2023-44487) as well as those that it makes us send (CVE-2025-8671). Its
 * own limit of resets is turned off, because it looks at the clock by itself. */
#include "http/http_internal.h"

#define FRAME_HEAD STELE_HTTP__FRAME_HEAD
#define DATA_FRAME_MAX 16384
#define SETTINGS_ENTRIES_MAX 32
#define ACKS_WAITING_MAX 256
#define CONTINUATIONS_MAX 8
#define DYNAMIC_TABLE_SIZE 4096
/* A connection may have so many windows of exchanges in what was received and not consumed. */
#define CONNECTION_WINDOWS 16
/* A peer that took so many bytes has good reason to send a WINDOW_UPDATE or a PING. */
#define CREDIT_SIZE 2048
/* A peer whose headers expand to this many times the limit wants us to spend memory and time. */
#define HEADER_BOMB_FACTOR 4
#define RESPONSE_HEADERS_MAX 64
/* For the end of a request that is answered already. */
#define LINGER_US INT64_C(1000000)

/* ---- Memory ---------------------------------------------------------------------------------- */

/* nghttp2 frees without saying how much, so the size stands in front. It takes and gives back a dozen
 * small blocks for each request, many requests at a time: these are kept for the next ones. */
#define SIZE_PREFIX 16
#define BLOCK_STEP STELE_HTTP__BLOCK_STEP
#define BLOCKS_KEPT_MAX ((size_t)64 * 1024)

/* In front of each block. One that nghttp2 has is its own next: so it can be told from a free one.
 *
 * When there was no memory once, nghttp2 1.52 may give a block back twice while it cleans up. From
 * then on blocks that come back are neither handed out nor released before the session is gone
 * (`starved`), a second return is seen, and the connection ends. */
struct stele_http__block {
    uint64_t size; /* With this. */
    struct stele_http__block *next;
};
_Static_assert(sizeof(struct stele_http__block) <= SIZE_PREFIX, "it fits in front");

/* What malloc() would be asked for. */
static size_t whole_size(size_t size)
{
    const size_t whole = size + SIZE_PREFIX;
    return whole > BLOCK_STEP * STELE_HTTP__BLOCK_KINDS ? whole
                                                        : (size_t)stele_align_up(whole, BLOCK_STEP);
}

/* The list of blocks of that size; NULL: they are not kept. */
static struct stele_http__block **kept_of(struct stele_http_conn *conn, size_t whole)
{
    return whole > BLOCK_STEP * STELE_HTTP__BLOCK_KINDS ? NULL
                                                        : &conn->blocks[whole / BLOCK_STEP - 1];
}

static void *mem_malloc(size_t size, void *user)
{
    struct stele_http_conn *const conn = user;
    STELE_ASSERT(conn != NULL);
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    const size_t whole = whole_size(size);
    struct stele_http__block **const kept = kept_of(conn, whole);
    struct stele_http__block *block = NULL;
    if (kept != NULL && *kept != NULL) {
        block = *kept;
        *kept = block->next;
        conn->blocks_size -= whole;
    } else {
        block = stele_allocate(conn->alloc, whole);
    }
    if (block == NULL) {
        conn->starved = true;
        return NULL;
    }
    *block = (struct stele_http__block){.size = whole, .next = block};
    return (uint8_t *)block + SIZE_PREFIX;
}

static struct stele_http__block *block_of(void *pointer)
{
    return (struct stele_http__block *)(void *)((uint8_t *)pointer - SIZE_PREFIX);
}

static void mem_free(void *pointer, void *user)
{
    struct stele_http_conn *const conn = user;
    if (pointer == NULL) {
        return;
    }
    struct stele_http__block *const block = block_of(pointer);
    if (conn->starved) {
        if (block->next == block) {
            block->next = conn->suspect;
            conn->suspect = block;
        }
        return;
    }
    STELE_ASSERT(block->next == block);
    struct stele_http__block **const kept = kept_of(conn, block->size);
    if (kept == NULL || conn->blocks_size + block->size > BLOCKS_KEPT_MAX) {
        stele_release(conn->alloc, block, block->size);
        return;
    }
    block->next = *kept;
    *kept = block;
    conn->blocks_size += block->size;
}

static void *mem_realloc(void *pointer, size_t size, void *user)
{
    if (pointer == NULL) {
        return mem_malloc(size, user);
    }
    const size_t room = block_of(pointer)->size - SIZE_PREFIX;
    if (size <= room) {
        return pointer;
    }
    void *const grown = mem_malloc(size, user);
    if (grown != NULL) {
        memcpy(grown, pointer, room);
        mem_free(pointer, user);
    }
    return grown;
}

static void *mem_calloc(size_t count, size_t size, void *user)
{
    if (size > 0 && count > SIZE_MAX / 2 / size) {
        return NULL;
    }
    void *const memory = mem_malloc(count * size, user);
    if (memory != NULL) {
        memset(memory, 0, count * size);
    }
    return memory;
}

void stele_http__h2_forget_blocks(struct stele_http_conn *conn)
{
    for (size_t kind = 0; kind < STELE_HTTP__BLOCK_KINDS; kind++) {
        while (conn->blocks[kind] != NULL) {
            struct stele_http__block *const block = conn->blocks[kind];
            conn->blocks[kind] = block->next;
            stele_release(conn->alloc, block, block->size);
        }
    }
    conn->blocks_size = 0;
    while (conn->session == NULL && conn->suspect != NULL) {
        struct stele_http__block *const block = conn->suspect;
        conn->suspect = block->next;
        stele_release(conn->alloc, block, block->size);
    }
}

/* ---- What the peer sends --------------------------------------------------------------------- */

static struct stele_exchange *exchange_of(struct stele_http_conn *conn, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(conn->session, stream_id);
}

/* Ends nghttp2_session_mem_recv(); feed() sees why. */
static int too_much(struct stele_http_conn *conn)
{
    conn->calm = true;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* Frames that cost the peer something, or are bounded by themselves. */
static bool is_free(const uint8_t head[FRAME_HEAD])
{
    const size_t length = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    switch (head[3]) {
    case NGHTTP2_HEADERS:
        return true; /* By exchanges_max and the resets. */
    case NGHTTP2_DATA:
        return length > 0 && (head[4] & NGHTTP2_FLAG_PADDED) == 0;
    default:
        return false;
    }
}

/* Counts the frames in bytes that nghttp2 is about to get, because it does not tell of those that it
 * does not know. false: they are too many. */
static bool scan(struct stele_http_conn *conn, struct stele_bytes bytes)
{
    size_t at = 0;
    while (at < bytes.size) {
        const size_t left = bytes.size - at;
        if (conn->frame_left > 0) {
            const size_t skipped = conn->frame_left < left ? conn->frame_left : left;
            conn->frame_left -= skipped;
            at += skipped;
            continue;
        }
        conn->frame_head[conn->frame_head_size++] = bytes.data[at++];
        if (conn->frame_head_size < FRAME_HEAD) {
            continue;
        }
        const uint8_t *const head = conn->frame_head;
        conn->frame_head_size = 0;
        conn->frame_left = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (!is_free(head) &&
            !stele_http__bucket_take(&conn->frames, 1, stele_loop_now_us(conn->loop))) {
            return false;
        }
    }
    return true;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct stele_http_conn *const conn = user;
    if (conn->headers_us == 0) {
        conn->headers_us = stele_loop_now_us(conn->loop);
    }
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    struct stele_exchange *const exchange = stele_http__exchange_new(conn);
    if (exchange == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    exchange->stream_id = frame->hd.stream_id;
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, exchange);
}

static struct stele_text *pseudo_header(struct stele_exchange *exchange, struct stele_text name)
{
    static const struct stele_text method = {.data = ":method", .size = 7};
    static const struct stele_text path = {.data = ":path", .size = 5};
    static const struct stele_text authority = {.data = ":authority", .size = 10};
    if (name.size == method.size && memcmp(name.data, method.data, name.size) == 0) {
        return &exchange->method;
    }
    if (name.size == path.size && memcmp(name.data, path.data, name.size) == 0) {
        return &exchange->path;
    }
    if (name.size == authority.size && memcmp(name.data, authority.data, name.size) == 0) {
        return &exchange->authority;
    }
    return NULL;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name_buf,
                     nghttp2_rcbuf *value_buf, uint8_t flags, void *user)
{
    (void)session;
    (void)flags;
    struct stele_http_conn *const conn = user;
    const nghttp2_vec name = nghttp2_rcbuf_get_buf(name_buf);
    const nghttp2_vec value = nghttp2_rcbuf_get_buf(value_buf);
    struct stele_exchange *const exchange = exchange_of(conn, frame->hd.stream_id);
    if (exchange == NULL || exchange->announced) {
        return 0; /* Trailers of a request mean nothing to us. */
    }
    const struct stele_http__header header = {
        .name = {.data = (const char *)name.base, .size = name.len},
        .value = {.data = (const char *)value.base, .size = value.len},
        .name_buf = name_buf,
        .value_buf = value_buf};
    const int outcome = stele_http__exchange_add_header(exchange, &header);
    if (outcome == STELE_E_NO_MEMORY) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (outcome == STELE_E_LIMIT) {
        exchange->too_large = true;
        const size_t bomb = (size_t)conn->limits.header_size_max * HEADER_BOMB_FACTOR;
        return exchange->headers_size > bomb ? too_much(conn) : 0;
    }
    struct stele_text *const pseudo =
        name.len > 0 && name.base[0] == ':' ? pseudo_header(exchange, header.name) : NULL;
    if (pseudo != NULL) {
        *pseudo = header.value;
    }
    return 0;
}

static void start_request(struct stele_exchange *exchange)
{
    if (exchange->authority.data == NULL) {
        exchange->authority = stele_exchange_header(exchange, "host");
    }
    exchange->is_head = exchange->method.size == 4 && memcmp(exchange->method.data, "HEAD", 4) == 0;
    if (exchange->too_large) {
        stele_http__exchange_refuse(exchange, 431);
    } else if (exchange->path.data == NULL) {
        stele_http__exchange_refuse(exchange, 400); /* CONNECT. */
    } else {
        stele_http__exchange_request(exchange);
    }
}

/* The peer has reset one. Whoever waits for an answer before it goes away makes little more work than
 * one who reads it all (that is how subscriptions and long reads end): then it is a frame as others
 * are. false: they are too many. */
static bool cancel(struct stele_http_conn *conn, struct stele_exchange *exchange)
{
    if (exchange != NULL) {
        exchange->cancelled = true;
    }
    return (exchange != NULL && exchange->head_sent) ||
           stele_http__bucket_take(&conn->resets, 1, stele_loop_now_us(conn->loop));
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    struct stele_http_conn *const conn = user;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        return cancel(conn, exchange_of(conn, frame->hd.stream_id)) ? 0 : too_much(conn);
    }
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
        conn->ping_us = 0;
        return 0;
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) {
        return 0;
    }
    struct stele_exchange *const exchange = exchange_of(conn, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_HEADERS) {
        conn->headers_us = 0;
        if (exchange != NULL && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
            start_request(exchange);
        }
    }
    if (exchange != NULL && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        stele_http__exchange_end(exchange);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t size, void *user)
{
    (void)flags;
    struct stele_http_conn *const conn = user;
    struct stele_exchange *const exchange = exchange_of(conn, stream_id);
    if (exchange == NULL) {
        return nghttp2_session_consume(session, stream_id, size);
    }
    stele_http__exchange_body(exchange, (struct stele_bytes){.data = data, .size = size});
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error, void *user)
{
    struct stele_http_conn *const conn = user;
    struct stele_exchange *const exchange = exchange_of(conn, stream_id);
    if (exchange == NULL) {
        return 0;
    }
    (void)nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    (void)error;
    /* What it has not consumed fills a part of the connection's window that others need. */
    const size_t left = exchange->unconsumed;
    if (left > 0) {
        conn->unconsumed -= left;
        exchange->unconsumed = 0;
        (void)nghttp2_session_consume_connection(session, left);
    }
    if (exchange->announced && !exchange->was_reset && !exchange->cancelled) {
        stele_http__bucket_give(&conn->frames, 1);
    }
    stele_http__exchange_over(exchange, exchange->end_sent && !exchange->was_reset);
    return 0;
}

/* ---- What we send ---------------------------------------------------------------------------- */

static int submit_trailers(struct stele_exchange *exchange)
{
    STELE_UNINITIALIZED nghttp2_nv fields[RESPONSE_HEADERS_MAX];
    size_t count = 0;
    for (size_t at = 0; at < exchange->trailers.size && count < STELE_COUNT_OF(fields);) {
        const struct stele_http_header trailer = stele_http__exchange_trailer(exchange, &at);
        fields[count++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)trailer.name.data,
                                       .value = (uint8_t *)(uintptr_t)trailer.value.data,
                                       .namelen = trailer.name.size,
                                       .valuelen = trailer.value.size};
    }
    return nghttp2_submit_trailer(exchange->conn->session, exchange->stream_id, fields, count);
}

/* How much the next DATA frame may have, and whether it is the last. */
static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t size,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)buffer;
    (void)source;
    struct stele_exchange *const exchange = exchange_of(user, stream_id);
    if (exchange == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    const size_t pending = exchange->output_counted - exchange->output_at;
    if (pending == 0 && !exchange->finished) {
        exchange->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (pending > size || !exchange->finished) {
        return (ssize_t)(pending < size ? pending : size);
    }
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (exchange->trailers_count > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (submit_trailers(exchange) != 0) {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)pending;
}

static ssize_t read_length(nghttp2_session *session, uint8_t frame_type, int32_t stream_id,
                           int32_t session_window, int32_t stream_window, uint32_t frame_max,
                           void *user)
{
    (void)session;
    (void)frame_type;
    (void)stream_id;
    (void)frame_max; /* At least as large. */
    (void)user;
    int32_t length = DATA_FRAME_MAX;
    length = session_window < length ? session_window : length;
    length = stream_window < length ? stream_window : length;
    return length;
}

/* The frame that read_body() announced: header and bytes, straight to where take() collects. */
static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *header,
                     size_t size, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)source;
    struct stele_http_conn *const conn = user;
    struct stele_exchange *const exchange = exchange_of(conn, frame->hd.stream_id);
    STELE_ASSERT(exchange != NULL);
    STELE_ASSERT(frame->data.padlen == 0);
    struct stele_buf *const sink = conn->sink;
    if (stele_buf_reserve(sink, conn->alloc, FRAME_HEAD + size) != STELE_OK) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    memcpy(sink->data + sink->size, header, FRAME_HEAD);
    if (size > 0) {
        memcpy(sink->data + sink->size + FRAME_HEAD, exchange->output.data + exchange->output_at,
               size);
    }
    sink->size += FRAME_HEAD + size;
    stele_http__exchange_took(exchange, size);
    conn->credit += size;
    if (conn->credit >= CREDIT_SIZE) {
        stele_http__bucket_give(&conn->frames, (uint32_t)(conn->credit / CREDIT_SIZE));
        conn->credit %= CREDIT_SIZE;
    }
    return 0;
}

/* RFC 9113 section 8.1 lets a server say with RST_STREAM(NO_ERROR) that the rest of a request would
 * be for nothing. Clients that have only its end left to send may take that for a failure and forget
 * the answer (hyperium/h2 does), so they get some time for it. */
static void linger(struct stele_exchange *exchange)
{
    struct stele_http_conn *const conn = exchange->conn;
    exchange->linger_until_us = stele_loop_now_us(conn->loop) + LINGER_US;
    conn->lingering++;
    stele_http__conn_arm(conn, exchange->linger_until_us);
}

void stele_http__h2_end_request(struct stele_exchange *exchange)
{
    (void)nghttp2_submit_rst_stream(exchange->conn->session, NGHTTP2_FLAG_NONE, exchange->stream_id,
                                    NGHTTP2_NO_ERROR);
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    struct stele_http_conn *const conn = user;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        const struct stele_exchange *const exchange = exchange_of(conn, frame->hd.stream_id);
        const bool ours = exchange != NULL && (exchange->was_reset || exchange->end_sent);
        /* Refused because there are too many: a client that has not read our SETTINGS yet. */
        const bool refused = frame->rst_stream.error_code == NGHTTP2_REFUSED_STREAM;
        struct stele_http__bucket *const bucket = refused ? &conn->frames : &conn->resets;
        if (!ours && !stele_http__bucket_take(bucket, 1, stele_loop_now_us(conn->loop))) {
            conn->calm = true;
        }
        return 0;
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) {
        return 0;
    }
    struct stele_exchange *const exchange = exchange_of(conn, frame->hd.stream_id);
    if (exchange == NULL) {
        return 0;
    }
    exchange->head_sent = true;
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        exchange->end_sent = true;
        if (!exchange->request_over) {
            linger(exchange);
        }
    }
    return 0;
}

static void digits(char text[3], int status)
{
    text[0] = (char)('0' + status / 100);
    text[1] = (char)('0' + status / 10 % 10);
    text[2] = (char)('0' + status % 10);
}

void stele_http__h2_respond(struct stele_exchange *exchange, int status,
                            const struct stele_http_header *headers, size_t count, bool end)
{
    static const uint8_t name[] = ":status";
    STELE_ASSERT(count < RESPONSE_HEADERS_MAX);
    STELE_UNINITIALIZED nghttp2_nv fields[RESPONSE_HEADERS_MAX];
    char text[3];
    digits(text, status);
    fields[0] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                             .namelen = sizeof name - 1,
                             .value = (uint8_t *)text,
                             .valuelen = sizeof text};
    for (size_t i = 0; i < count; i++) {
        fields[i + 1] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)headers[i].name.data,
                                     .value = (uint8_t *)(uintptr_t)headers[i].value.data,
                                     .namelen = headers[i].name.size,
                                     .valuelen = headers[i].value.size};
    }
    const nghttp2_data_provider body = {.read_callback = read_body};
    if (nghttp2_submit_response(exchange->conn->session, exchange->stream_id, fields, count + 1,
                                end ? NULL : &body) != 0) {
        stele_http__h2_reset(exchange, NGHTTP2_INTERNAL_ERROR);
    }
}

void stele_http__h2_resume(struct stele_exchange *exchange)
{
    if (exchange->deferred) {
        exchange->deferred = false;
        (void)nghttp2_session_resume_data(exchange->conn->session, exchange->stream_id);
    }
}

void stele_http__h2_reset(struct stele_exchange *exchange, uint32_t error)
{
    exchange->was_reset = true;
    (void)nghttp2_submit_rst_stream(exchange->conn->session, NGHTTP2_FLAG_NONE, exchange->stream_id,
                                    error);
}

void stele_http__h2_consume(struct stele_exchange *exchange, size_t size)
{
    (void)nghttp2_session_consume(exchange->conn->session, exchange->stream_id, size);
}

void stele_http__h2_consume_connection(struct stele_exchange *exchange, size_t size)
{
    (void)nghttp2_session_consume_connection(exchange->conn->session, size);
}

void stele_http__h2_consume_stream(struct stele_exchange *exchange, size_t size)
{
    (void)nghttp2_session_consume_stream(exchange->conn->session, exchange->stream_id, size);
}

void stele_http__h2_drain(struct stele_http_conn *conn)
{
    /* Those that are on their way when this arrives are served as well; see RFC 9113 section 6.8. */
    (void)nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(conn->session),
                                NGHTTP2_NO_ERROR, NULL, 0);
}

void stele_http__h2_ping(struct stele_http_conn *conn)
{
    (void)nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL);
}

void stele_http__h2_calm(struct stele_http_conn *conn)
{
    (void)nghttp2_session_terminate_session(conn->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* ---- The session ----------------------------------------------------------------------------- */

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *callbacks = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        return NULL;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, read_length);
    return callbacks;
}

static nghttp2_option *make_options(const struct stele_http_limits *limits)
{
    nghttp2_option *option = NULL;
    if (nghttp2_option_new(&option) != 0) {
        return NULL;
    }
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_settings(option, SETTINGS_ENTRIES_MAX);
    nghttp2_option_set_max_outbound_ack(option, ACKS_WAITING_MAX);
    nghttp2_option_set_max_continuations(option, CONTINUATIONS_MAX);
    nghttp2_option_set_max_deflate_dynamic_table_size(option, DYNAMIC_TABLE_SIZE);
    nghttp2_option_set_stream_reset_rate_limit(option, UINT64_C(1) << 40, UINT64_C(1) << 40);
    nghttp2_option_set_max_send_header_block_length(option, limits->header_size_max);
    return option;
}

static int submit_settings(struct stele_http_conn *conn)
{
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, conn->limits.exchanges_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, conn->limits.window},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, conn->limits.header_size_max},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    const int64_t window = (int64_t)conn->limits.window * CONNECTION_WINDOWS;
    if (nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, entries,
                                STELE_COUNT_OF(entries)) != 0 ||
        nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0,
                                              window > INT32_MAX ? INT32_MAX : (int32_t)window) !=
            0) {
        return STELE_E_NO_MEMORY;
    }
    return STELE_OK;
}

int stele_http__h2_start(struct stele_http_conn *conn)
{
    conn->mem = (nghttp2_mem){.mem_user_data = conn,
                              .malloc = mem_malloc,
                              .free = mem_free,
                              .calloc = mem_calloc,
                              .realloc = mem_realloc};
    nghttp2_session_callbacks *const callbacks = make_callbacks();
    nghttp2_option *const option = make_options(&conn->limits);
    int result = NGHTTP2_ERR_NOMEM;
    if (callbacks != NULL && option != NULL) {
        result = nghttp2_session_server_new3(&conn->session, callbacks, conn, option, &conn->mem);
    }
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    if (result != 0) {
        conn->session = NULL;
        return STELE_E_NO_MEMORY;
    }
    conn->version = STELE_HTTP__H2;
    conn->headers_us = 0;
    conn->frame_left = STELE_HTTP__PREFACE_SIZE;
    const int64_t now_us = stele_loop_now_us(conn->loop);
    const struct stele_http_limits *const limits = &conn->limits;
    stele_http__bucket_init(&conn->frames, limits->frames_per_s, limits->frames_per_s, now_us);
    stele_http__bucket_init(&conn->resets, limits->resets_per_s,
                            limits->resets_per_s + limits->exchanges_max, now_us);
    return submit_settings(conn);
}

int stele_http__h2_upgrade(struct stele_http_conn *conn, struct stele_exchange *exchange,
                           struct stele_bytes settings)
{
    const int outcome = stele_http__h2_start(conn);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (nghttp2_session_upgrade2(conn->session, settings.data, settings.size, exchange->is_head,
                                 NULL) != 0 ||
        nghttp2_session_set_stream_user_data(conn->session, 1, exchange) != 0) {
        return STELE_E_INVALID;
    }
    exchange->stream_id = 1;
    return STELE_OK;
}

void stele_http__h2_feed(struct stele_http_conn *conn, struct stele_bytes bytes)
{
    if (!scan(conn, bytes)) {
        conn->calm = true;
        return;
    }
    const ssize_t result = nghttp2_session_mem_recv(conn->session, bytes.data, bytes.size);
    if (result >= 0) {
        if (conn->headers_us != 0) {
            stele_http__conn_arm(conn, conn->headers_us + (int64_t)conn->limits.headers_ms * 1000);
        }
        return;
    }
    if (result == NGHTTP2_ERR_FLOODED) {
        conn->calm = true;
    }
    if (!conn->calm) {
        (void)nghttp2_session_terminate_session(conn->session, result == NGHTTP2_ERR_NOMEM
                                                                   ? NGHTTP2_INTERNAL_ERROR
                                                                   : NGHTTP2_PROTOCOL_ERROR);
        stele_http__conn_abandon(conn);
    }
}

void stele_http__h2_take(struct stele_http_conn *conn, struct stele_buf *out, size_t max)
{
    const size_t end = out->size + max;
    conn->sink = out;
    if (conn->h1.head.size > 0) { /* 101 Switching Protocols. */
        const struct stele_bytes head = {.data = conn->h1.head.data, .size = conn->h1.head.size};
        if (stele_buf_append(out, conn->alloc, head) != STELE_OK) {
            conn->over = true;
        }
        conn->h1.head.size = 0;
    }
    while (out->size < end) {
        const uint8_t *data = NULL;
        const ssize_t size = nghttp2_session_mem_send(conn->session, &data);
        if (size == 0) {
            break;
        }
        const struct stele_bytes bytes = {.data = data, .size = size > 0 ? (size_t)size : 0};
        if (size < 0 || stele_buf_append(out, conn->alloc, bytes) != STELE_OK) {
            conn->over = true;
            break;
        }
    }
    conn->sink = NULL;
}

size_t stele_http__h2_queue(const struct stele_http_conn *conn)
{
    return nghttp2_session_get_outbound_queue_size(conn->session);
}

bool stele_http__h2_is_over(const struct stele_http_conn *conn)
{
    return nghttp2_session_want_read(conn->session) == 0 &&
           nghttp2_session_want_write(conn->session) == 0;
}
