/* A peer that makes work for nothing is told ENHANCE_YOUR_CALM and cut off, within a budget of frames
 * and of memory; a peer that is only busy is not.
 *
 * Method: raw frames, each flood with the clock standing still, so that nothing is forgiven. */
#include "handler.h"
#include "lib/simloop.h"
#include "lib/testalloc.h"
#include "lib/testclient.h"

#include <nghttp2/nghttp2.h>

#define CALM 11
#define MEMORY_MAX ((uint64_t)4 << 20)

static struct testalloc alloc;
static struct simloop loop;
static struct handler handler;
static struct stele_http_conn *conn;
static struct stele_buf out;
static nghttp2_hd_deflater *deflater;
static int32_t next_id;

static void send(const void *data, size_t size)
{
    (void)stele_http_conn_feed(conn, (struct stele_bytes){.data = data, .size = size});
}

static void take(void)
{
    while (stele_http_conn_take(conn, &out, 65536)) {
    }
    /* Only the last frames are of interest. */
    if (out.size > 65536) {
        memmove(out.data, out.data + out.size - 64, 64);
        out.size = 64;
    }
}

static void frame(uint8_t type, uint8_t flags, int32_t id, const void *payload, size_t size)
{
    static uint8_t bytes[9 + 16384];
    CHECK(size <= 16384);
    const uint8_t head[9] = {
        (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size,      type,       flags,
        (uint8_t)(id >> 24),   (uint8_t)(id >> 16),  (uint8_t)(id >> 8), (uint8_t)id};
    memcpy(bytes, head, 9);
    if (size > 0) {
        memcpy(bytes + 9, payload, size);
    }
    send(bytes, 9 + size);
}

static void set_up(void)
{
    static const struct stele_http_limits limits = STELE_HTTP_LIMITS_INIT;
    const struct stele_http_peer peer = {.address = "192.0.2.1:1"};
    testalloc_init(&alloc, 1);
    simloop_init(&loop, &alloc.base, 1);
    memset(&handler, 0, sizeof handler);
    CHECK_EQ(stele_http_conn_create(&loop.base, &limits, &handler_events, &handler, &peer, &conn),
             STELE_OK);
    CHECK_EQ(nghttp2_hd_deflate_new(&deflater, 4096), 0);
    next_id = 1;
    send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    frame(NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    take();
}

static void tear_down(void)
{
    nghttp2_hd_deflate_del(deflater);
    stele_http_conn_destroy(conn);
    stele_buf_deinit(&out, &alloc.base);
    CHECK_EQ(handler.open, 0);
    simloop_deinit(&loop);
    CHECK_EQ(alloc.bytes, 0);
}

static bool is_over(void)
{
    take();
    return stele_http_conn_is_over(conn);
}

/* The last frame was GOAWAY with this error, and nothing is held any more. */
static void check_goaway(uint32_t error)
{
    CHECK(stele_http_conn_is_over(conn));
    CHECK_EQ(handler.open, 0);
    CHECK(out.size >= 17);
    const uint8_t *at = out.data + out.size - 17;
    CHECK_EQ(at[3], NGHTTP2_GOAWAY);
    CHECK_EQ((uint32_t)at[13] << 24 | (uint32_t)at[14] << 16 | (uint32_t)at[15] << 8 | at[16],
             error);
    CHECK(alloc.bytes_max < MEMORY_MAX);
}

static size_t request_block(uint8_t *block, size_t capacity, const char *path)
{
    nghttp2_nv fields[] = {
        {(uint8_t *)(uintptr_t) ":method", (uint8_t *)(uintptr_t) "POST", 7, 4, 0},
        {(uint8_t *)(uintptr_t) ":scheme", (uint8_t *)(uintptr_t) "http", 7, 4, 0},
        {(uint8_t *)(uintptr_t) ":authority", (uint8_t *)(uintptr_t) "a", 10, 1, 0},
        {(uint8_t *)(uintptr_t) ":path", (uint8_t *)(uintptr_t)path, 5, strlen(path), 0}};
    const ssize_t size = nghttp2_hd_deflate_hd(deflater, block, capacity, fields, 4);
    CHECK(size > 0);
    return (size_t)size;
}

static int32_t open_stream(const char *path, bool end)
{
    uint8_t block[256];
    const size_t size = request_block(block, sizeof block, path);
    const int32_t id = next_id;
    next_id += 2;
    frame(NGHTTP2_HEADERS,
          (uint8_t)(NGHTTP2_FLAG_END_HEADERS | (end ? NGHTTP2_FLAG_END_STREAM : 0)), id, block,
          size);
    return id;
}

static void put_u32(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)(value >> 24);
    to[1] = (uint8_t)(value >> 16);
    to[2] = (uint8_t)(value >> 8);
    to[3] = (uint8_t)value;
}

static void window_update(int32_t id, uint32_t size)
{
    uint8_t payload[4];
    put_u32(payload, size);
    frame(NGHTTP2_WINDOW_UPDATE, 0, id, payload, 4);
}

/* CVE-2023-44487. */
TEST(rapid_reset_is_bounded)
{
    set_up();
    static const uint8_t cancel[4] = {0, 0, 0, NGHTTP2_CANCEL};
    int count = 0;
    for (; count < 100000 && !is_over(); count++) {
        const int32_t id = open_stream("/hang", true);
        frame(NGHTTP2_RST_STREAM, 0, id, cancel, 4);
    }
    CHECK(count < 3000);
    CHECK(handler.requests < 3000);
    check_goaway(CALM);
    tear_down();
}

/* That is how subscriptions end: a client with hundreds of them is only busy. */
TEST(resets_of_what_is_answered_already_are_frames_as_others)
{
    set_up();
    static const uint8_t cancel[4] = {0, 0, 0, NGHTTP2_CANCEL};
    int count = 0;
    for (; count < 100000 && !is_over(); count++) {
        const int32_t id = open_stream("/echo", false);
        take();
        frame(NGHTTP2_RST_STREAM, 0, id, cancel, 4);
    }
    CHECK(count > 3900);
    CHECK(count < 5000);
    check_goaway(CALM);
    tear_down();
}

/* Whoever does not let the answer come in between has not waited for it. */
TEST(a_reset_behind_its_request_is_not_taken_for_a_reader)
{
    set_up();
    static const uint8_t cancel[4] = {0, 0, 0, NGHTTP2_CANCEL};
    int count = 0;
    for (; count < 100000 && !is_over(); count++) {
        const int32_t id = open_stream("/echo", false); /* Is answered at once. */
        frame(NGHTTP2_RST_STREAM, 0, id, cancel, 4);
    }
    CHECK(count < 3000);
    check_goaway(CALM);
    tear_down();
}

/* CVE-2025-8671: the peer makes the server reset, which frees the stream while the work goes on. */
TEST(made_you_reset_is_bounded)
{
    set_up();
    int count = 0;
    for (; count < 100000 && !is_over(); count++) {
        const int32_t id = open_stream("/hang", false);
        window_update(id, 0x7fffffff);
    }
    CHECK(count < 3000);
    check_goaway(CALM);
    tear_down();
}

/* The same by frames that are wrong for the whole connection. */
TEST(frames_that_break_the_rules_end_the_connection)
{
    for (int kind = 0; kind < 4; kind++) {
        set_up();
        const int32_t id = open_stream("/hang", kind == 0);
        uint8_t priority[5] = {0, 0, 0, 0, 1};
        put_u32(priority, (uint32_t)id);
        int count = 0;
        for (; count < 5000 && !is_over(); count++) {
            switch (kind) {
            case 0:
                frame(NGHTTP2_DATA, 0, id, "x", 1); /* After END_STREAM. */
                break;
            case 1:
                window_update(id, 0);
                break;
            case 2:
                frame(NGHTTP2_PRIORITY, 0, id, priority, 5); /* Depends on itself. */
                break;
            default:
                frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 2, "", 0); /* Not a client's id. */
                break;
            }
        }
        CHECK(count < 5000);
        CHECK(stele_http_conn_is_over(conn));
        CHECK_EQ(handler.open, 0);
        tear_down();
    }
}

/* CVE-2024-28182. */
TEST(continuation_is_bounded)
{
    set_up();
    uint8_t block[256];
    const size_t size = request_block(block, sizeof block, "/hang");
    frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, block, size);
    /* A literal without indexing: "a: b". */
    static const uint8_t literal[] = {0, 1, 'a', 1, 'b'};
    int count = 0;
    for (; count < 100000 && !is_over(); count++) {
        frame(NGHTTP2_CONTINUATION, 0, 1, literal, sizeof literal);
    }
    CHECK(count < 100);
    CHECK(stele_http_conn_is_over(conn));
    CHECK_EQ(handler.requests, 0);
    tear_down();
}

static void flood(uint8_t type, uint8_t flags, const void *payload, size_t size, bool on_stream)
{
    set_up();
    const int32_t id = on_stream ? open_stream("/hang", false) : 0;
    int count = 0;
    for (; count < 100000 && !is_over(); count++) {
        frame(type, flags, id, payload, size);
    }
    CHECK(count > 1000);
    CHECK(count < 5000);
    check_goaway(CALM);
    tear_down();
}

TEST(frames_that_bring_nothing_are_bounded)
{
    static const uint8_t settings[6] = {0, 3, 0, 0, 0, 100};
    static const uint8_t priority[5] = {0, 0, 0, 0, 1};
    static const uint8_t padded[8] = {7, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t update[4] = {0, 0, 0, 1};
    flood(NGHTTP2_SETTINGS, 0, NULL, 0, false);
    flood(NGHTTP2_SETTINGS, 0, settings, 6, false);
    flood(NGHTTP2_PING, 0, "12345678", 8, false);
    flood(NGHTTP2_PING, NGHTTP2_FLAG_ACK, "12345678", 8, false);
    flood(NGHTTP2_PRIORITY, 0, priority, 5, true);
    flood(NGHTTP2_DATA, 0, NULL, 0, true);
    flood(NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, padded, 8, true);
    flood(NGHTTP2_WINDOW_UPDATE, 0, update, 4, false);
    flood(NGHTTP2_WINDOW_UPDATE, 0, update, 4, true);
    flood(99, 0, "?", 1, false);
}

TEST(acknowledgements_do_not_pile_up_for_a_peer_that_does_not_read)
{
    set_up();
    int count = 0;
    for (; count < 100000 && stele_http_conn_feed(conn, stele_bytes_of_text("")); count++) {
        frame(NGHTTP2_PING, 0, 0, "12345678", 8);
    }
    CHECK(count < 1000);
    take();
    check_goaway(CALM);
    tear_down();
}

/* One large header, kept in the peer's table, and then named again and again. */
TEST(an_hpack_bomb_is_bounded)
{
    set_up();
    uint8_t block[9000];
    size_t size = request_block(block, sizeof block, "/hang");
    block[size++] = 0x40; /* With indexing, a new name of one byte … */
    block[size++] = 1;
    block[size++] = 'a';
    block[size++] = 0x7f; /* … and a value of 3,900. */
    block[size++] = (uint8_t)(0x80 | ((3900 - 127) & 0x7f));
    block[size++] = (uint8_t)((3900 - 127) >> 7);
    memset(block + size, 'x', 3900);
    size += 3900;
    memset(block + size, 0xbe, 4000); /* Index 62: the newest entry. */
    size += 4000;
    frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 1, block, size);
    take();
    CHECK_EQ(handler.requests, 0);
    check_goaway(CALM);
    tear_down();
}

TEST(headers_that_never_end_are_given_up)
{
    set_up();
    uint8_t block[256];
    const size_t size = request_block(block, sizeof block, "/hang");
    frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, block, size);
    take();
    simloop_advance(&loop, 9000000);
    CHECK(!is_over());
    simloop_advance(&loop, 2000000);
    CHECK(is_over());
    check_goaway(CALM);
    tear_down();
}

TEST(a_peer_that_opened_and_says_no_more_is_given_up)
{
    set_up();
    (void)open_stream("/hang", false);
    (void)is_over();
    simloop_advance(&loop, 31000000);
    CHECK(is_over());
    CHECK_EQ(handler.open, 0);
    tear_down();
}

TEST(more_streams_than_allowed_are_refused_without_a_handler)
{
    set_up();
    for (int i = 0; i < 3000; i++) {
        (void)open_stream("/hang", true);
        CHECK(!is_over());
    }
    CHECK_EQ(handler.open, 1024);
    CHECK(alloc.bytes < MEMORY_MAX);
    for (int i = 0; i < 100000 && !is_over(); i++) {
        (void)open_stream("/hang", true);
    }
    check_goaway(CALM);
    tear_down();
}

/* ---- And who is only busy --------------------------------------------------------------------- */

TEST(a_busy_client_is_not_taken_for_a_flood)
{
    static struct testclient client;
    testalloc_init(&alloc, 1);
    simloop_init(&loop, &alloc.base, 1);
    memset(&handler, 0, sizeof handler);
    testclient_init_window(&client, &loop, NULL, &handler_events, &handler, 65535);
    /* 200 MB, with an update of both windows for every 16 KiB. */
    const char *const headers[] = {"size", "200000000"};
    const int32_t id = testclient_request(&client, "GET", "/big", headers, 1, true);
    const struct testclient_stream *const stream = testclient_stream(&client, id);
    size_t seen = 0;
    testclient_window_update(&client, 0, 1 << 30);
    while (!stream->closed) {
        testclient_run(&client);
        for (; stream->body_size - seen >= 16384; seen += 16384) {
            testclient_window_update(&client, id, 8192);
            testclient_window_update(&client, id, 8192);
        }
        if (seen + 65535 > 200000000) {
            testclient_window_update(&client, id, 100000);
        }
        CHECK(client.conn != NULL);
    }
    CHECK_EQ(stream->body_size, 200000000);
    CHECK(!client.goaway);
    /* Many calls at once that are given up together, as at a deadline. */
    int32_t ids[1000];
    for (int i = 0; i < 1000; i++) {
        ids[i] = testclient_request(&client, "GET", "/hang", NULL, 0, true);
    }
    testclient_run(&client);
    for (int i = 0; i < 1000; i++) {
        testclient_cancel(&client, ids[i]);
    }
    testclient_run(&client);
    CHECK(!client.goaway);
    CHECK_EQ(handler.open, 0);
    testclient_deinit(&client);
    simloop_deinit(&loop);
    CHECK_EQ(alloc.bytes, 0);
}
