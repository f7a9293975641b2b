#define CHECK_NO_MAIN
#include "testclient.h"

#include "check.h"

static struct testclient_stream *find(const struct testclient *client, int32_t id)
{
    CHECK(id > 0);
    CHECK(id / 2 < TESTCLIENT_STREAMS_MAX);
    return client->streams[id / 2];
}

static void grow(uint8_t **data, size_t *capacity, size_t size)
{
    if (size > *capacity) {
        *capacity = size * 2;
        *data = realloc(*data, *capacity);
        CHECK(*data != NULL);
    }
}

/* ---- What the server sends ------------------------------------------------------------------- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *user)
{
    (void)session;
    (void)flags;
    struct testclient_stream *const stream = find(user, frame->hd.stream_id);
    if (name_size == 7 && memcmp(name, ":status", 7) == 0) {
        stream->status = atoi((const char *)value);
        return 0;
    }
    CHECK(stream->fields_count < TESTCLIENT_HEADERS_MAX);
    struct testclient_field *const field = &stream->fields[stream->fields_count++];
    (void)snprintf(field->name, sizeof field->name, "%.*s", (int)name_size, (const char *)name);
    (void)snprintf(field->value, sizeof field->value, "%.*s", (int)value_size, (const char *)value);
    field->size = value_size;
    field->trailer = frame->headers.cat == NGHTTP2_HCAT_HEADERS;
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t size, void *user)
{
    (void)session;
    (void)flags;
    struct testclient_stream *const stream = find(user, id);
    grow(&stream->body, &stream->body_capacity, stream->body_size + size);
    memcpy(stream->body + stream->body_size, data, size);
    stream->body_size += size;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    struct testclient *const client = user;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        client->goaway = true;
        client->goaway_error = frame->goaway.error_code;
        client->goaway_last = frame->goaway.last_stream_id;
    }
    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) {
        return 0;
    }
    struct testclient_stream *const stream = find(client, frame->hd.stream_id);
    stream->frames += frame->hd.type == NGHTTP2_DATA;
    stream->ended = stream->ended || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    (void)session;
    struct testclient_stream *const stream = find(user, id);
    if (stream != NULL) {
        stream->closed = true;
        stream->error = error;
    }
    return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buffer, size_t size,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)source;
    struct testclient_stream *const stream = find(user, id);
    const size_t left = stream->out_size - stream->out_at;
    if (left == 0 && !stream->out_end) {
        stream->out_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    const size_t count = left < size ? left : size;
    if (count > 0) {
        memcpy(buffer, stream->out + stream->out_at, count);
    }
    stream->out_at += count;
    if (stream->out_end && stream->out_at == stream->out_size) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)count;
}

/* ---- The connection's events, passed on ------------------------------------------------------ */

static void pass_request(void *context, struct stele_exchange *exchange)
{
    const struct testclient *const client = context;
    client->theirs->on_request(client->context, exchange);
}

static void pass_body(void *context, struct stele_exchange *exchange, struct stele_bytes bytes)
{
    const struct testclient *const client = context;
    client->theirs->on_body(client->context, exchange, bytes);
}

static void pass_end(void *context, struct stele_exchange *exchange)
{
    const struct testclient *const client = context;
    client->theirs->on_end(client->context, exchange);
}

static void pass_writable(void *context, struct stele_exchange *exchange)
{
    const struct testclient *const client = context;
    client->theirs->on_writable(client->context, exchange);
}

static void pass_close(void *context, struct stele_exchange *exchange, bool finished)
{
    const struct testclient *const client = context;
    client->theirs->on_close(client->context, exchange, finished);
}

static void on_output(void *context, struct stele_http_conn *conn)
{
    struct testclient *const client = context;
    (void)conn;
    client->output_told = true;
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void start_session(struct testclient *client)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    CHECK_EQ(nghttp2_session_callbacks_new(&callbacks), 0);
    CHECK_EQ(nghttp2_option_new(&option), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_option_set_no_auto_window_update(option, client->window != 0);
    CHECK_EQ(nghttp2_session_client_new2(&client->session, callbacks, client, option), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, client->window != 0 ? client->window : 1u << 20}};
    CHECK_EQ(nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, entries, 2), 0);
    CHECK_EQ(nghttp2_session_set_local_window_size(client->session, NGHTTP2_FLAG_NONE, 0, 64 << 20),
             0);
}

void testclient_init(struct testclient *client, struct simloop *loop,
                     const struct stele_http_limits *limits, const struct stele_http_events *events,
                     void *context)
{
    testclient_init_window(client, loop, limits, events, context, 0);
}

void testclient_init_window(struct testclient *client, struct simloop *loop,
                            const struct stele_http_limits *limits,
                            const struct stele_http_events *events, void *context, uint32_t window)
{
    static const struct stele_http_limits usual = STELE_HTTP_LIMITS_INIT;
    const struct stele_http_peer peer = {
        .address = "127.0.0.1:51234", .is_loopback = true, .owner = client};
    memset(client, 0, sizeof *client);
    client->loop = loop;
    client->theirs = events;
    client->context = context;
    client->reads = true;
    client->window = window;
    client->events = (struct stele_http_events){.on_request = pass_request,
                                                .on_body = pass_body,
                                                .on_end = pass_end,
                                                .on_writable = pass_writable,
                                                .on_close = pass_close,
                                                .on_output = on_output};
    CHECK_EQ(stele_http_conn_create(&loop->base, limits != NULL ? limits : &usual, &client->events,
                                    client, &peer, &client->conn),
             STELE_OK);
    start_session(client);
}

void testclient_deinit(struct testclient *client)
{
    stele_http_conn_destroy(client->conn);
    client->conn = NULL;
    nghttp2_session_del(client->session);
    for (size_t i = 0; i < TESTCLIENT_STREAMS_MAX; i++) {
        if (client->streams[i] != NULL) {
            free(client->streams[i]->body);
            free(client->streams[i]->out);
            free(client->streams[i]);
        }
    }
}

/* ---- Requests -------------------------------------------------------------------------------- */

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

int32_t testclient_request(struct testclient *client, const char *method, const char *path,
                           const char *const *headers, size_t count, bool end)
{
    nghttp2_nv fields[TESTCLIENT_HEADERS_MAX];
    CHECK(count + 4 <= TESTCLIENT_HEADERS_MAX);
    fields[0] = field(":method", method);
    fields[1] = field(":scheme", "http");
    fields[2] = field(":authority", "localhost:2113");
    fields[3] = field(":path", path);
    for (size_t i = 0; i < count; i++) {
        fields[4 + i] = field(headers[2 * i], headers[2 * i + 1]);
    }
    const nghttp2_data_provider body = {.read_callback = read_body};
    const int32_t id =
        nghttp2_submit_request(client->session, NULL, fields, 4 + count, end ? NULL : &body, NULL);
    CHECK(id > 0);
    CHECK(id / 2 < TESTCLIENT_STREAMS_MAX);
    struct testclient_stream *const stream = calloc(1, sizeof *stream);
    CHECK(stream != NULL);
    stream->id = id;
    client->streams[id / 2] = stream;
    return id;
}

int32_t testclient_post(struct testclient *client, const char *path, const char *const *headers,
                        size_t count)
{
    const char *all[2 * TESTCLIENT_HEADERS_MAX] = {"content-type", "application/grpc", "te",
                                                   "trailers"};
    CHECK(count + 6 < TESTCLIENT_HEADERS_MAX);
    for (size_t i = 0; i < 2 * count; i++) {
        all[4 + i] = headers[i];
    }
    return testclient_request(client, "POST", path, all, count + 2, false);
}

void testclient_send(struct testclient *client, int32_t id, struct stele_bytes bytes, bool end)
{
    struct testclient_stream *const stream = find(client, id);
    grow(&stream->out, &stream->out_capacity, stream->out_size + bytes.size + 1);
    if (bytes.size > 0) {
        memcpy(stream->out + stream->out_size, bytes.data, bytes.size);
    }
    stream->out_size += bytes.size;
    stream->out_end = stream->out_end || end;
    if (stream->out_deferred) {
        stream->out_deferred = false;
        (void)nghttp2_session_resume_data(client->session, id);
    }
}

void testclient_send_message(struct testclient *client, int32_t id, struct stele_bytes message,
                             bool end)
{
    const uint8_t prefix[5] = {0, (uint8_t)(message.size >> 24), (uint8_t)(message.size >> 16),
                               (uint8_t)(message.size >> 8), (uint8_t)message.size};
    testclient_send(client, id, (struct stele_bytes){.data = prefix, .size = 5}, false);
    testclient_send(client, id, message, end);
}

void testclient_cancel(struct testclient *client, int32_t id)
{
    CHECK_EQ(nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL), 0);
}

void testclient_window_update(struct testclient *client, int32_t id, int32_t size)
{
    CHECK_EQ(nghttp2_submit_window_update(client->session, NGHTTP2_FLAG_NONE, id, size), 0);
}

/* ---- To and fro ------------------------------------------------------------------------------ */

static void hang_up(struct testclient *client)
{
    stele_http_conn_destroy(client->conn);
    client->conn = NULL;
}

static bool to_server(struct testclient *client)
{
    bool moved = false;
    while (client->conn != NULL && stele_http_conn_wants_input(client->conn)) {
        const uint8_t *data = NULL;
        const ssize_t size = nghttp2_session_mem_send(client->session, &data);
        CHECK(size >= 0);
        if (size == 0) {
            break;
        }
        moved = true;
        (void)stele_http_conn_feed(client->conn,
                                   (struct stele_bytes){.data = data, .size = (size_t)size});
    }
    return moved;
}

static bool from_server(struct testclient *client)
{
    struct stele_buf buf = {.data = NULL};
    struct stele_alloc *const alloc = client->loop->base.alloc;
    bool moved = false;
    if (client->conn == NULL || !client->reads) {
        return false;
    }
    client->output_told = false;
    while (stele_http_conn_take(client->conn, &buf, 65536)) {
        moved = true;
        client->taken += buf.size;
        const ssize_t used = nghttp2_session_mem_recv(client->session, buf.data, buf.size);
        CHECK_EQ(used, (ssize_t)buf.size);
        buf.size = 0;
    }
    stele_buf_deinit(&buf, alloc);
    if (stele_http_conn_is_over(client->conn)) {
        hang_up(client);
    }
    return moved;
}

void testclient_raw(struct testclient *client, struct stele_bytes bytes)
{
    if (client->conn != NULL) {
        (void)stele_http_conn_feed(client->conn, bytes);
    }
}

void testclient_run(struct testclient *client)
{
    bool moved = true;
    while (moved) {
        moved = to_server(client);
        moved = from_server(client) || moved;
        moved = simloop_run(client->loop) > 0 || moved;
    }
}

/* ---- What came ------------------------------------------------------------------------------- */

const struct testclient_stream *testclient_stream(const struct testclient *client, int32_t id)
{
    return find(client, id);
}

const char *testclient_header(const struct testclient_stream *stream, const char *name)
{
    for (size_t i = 0; i < stream->fields_count; i++) {
        if (strcmp(stream->fields[i].name, name) == 0) {
            return stream->fields[i].value;
        }
    }
    return NULL;
}

bool testclient_next_message(struct testclient *client, int32_t id, struct stele_bytes *out_message)
{
    struct testclient_stream *const stream = find(client, id);
    const uint8_t *const at = stream->body + stream->body_read;
    const size_t left = stream->body_size - stream->body_read;
    if (left < 5) {
        return false;
    }
    const size_t size =
        (size_t)at[1] << 24 | (size_t)at[2] << 16 | (size_t)at[3] << 8 | (size_t)at[4];
    if (left < 5 + size) {
        return false;
    }
    *out_message = (struct stele_bytes){.data = at + 5, .size = size};
    stream->body_read += 5 + size;
    return true;
}
