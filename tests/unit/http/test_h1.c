/* HTTP/1.1: requests in any pieces are answered in order, whole, and only once; what is no request
 * ends the connection; an upgrade to h2c takes the request along.
 *
 * Method: bytes by hand, fed whole, one by one, and in every split of two. */
#include "handler.h"
#include "lib/simloop.h"
#include "lib/testalloc.h"

static struct testalloc alloc;
static struct simloop loop;
static struct handler handler;
static struct stele_http_conn *conn;
static struct stele_buf out;

static void set_up(void)
{
    static const struct stele_http_limits limits = STELE_HTTP_LIMITS_INIT;
    const struct stele_http_peer peer = {.address = "127.0.0.1:1", .is_loopback = true};
    testalloc_init(&alloc, 1);
    simloop_init(&loop, &alloc.base, 1);
    memset(&handler, 0, sizeof handler);
    CHECK_EQ(stele_http_conn_create(&loop.base, &limits, &handler_events, &handler, &peer, &conn),
             STELE_OK);
}

static void tear_down(void)
{
    stele_http_conn_destroy(conn);
    stele_buf_deinit(&out, &alloc.base);
    CHECK_EQ(handler.open, 0);
    simloop_deinit(&loop);
    CHECK_EQ(alloc.bytes, 0);
}

static void take(void)
{
    while (stele_http_conn_take(conn, &out, 65536)) {
    }
    CHECK_EQ(stele_buf_append(&out, &alloc.base,
                              (struct stele_bytes){.data = (const uint8_t *)"", .size = 1}),
             STELE_OK);
    out.size--;
}

static void feed(const char *text)
{
    (void)stele_http_conn_feed(conn, stele_bytes_of_text(text));
    take();
}

static const char *text(void)
{
    return (const char *)out.data;
}

static int count_of(const char *part)
{
    int count = 0;
    for (const char *at = text(); (at = strstr(at, part)) != NULL; at++) {
        count++;
    }
    return count;
}

TEST(a_request_is_answered_in_whatever_pieces_it_comes)
{
    static const char request[] = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
                                  "X-Empty:\r\nAccept: */*\r\n\r\nhello";
    static char whole[512];
    for (size_t split = 0; split < sizeof request - 1; split++) {
        set_up();
        for (size_t i = 0; i < sizeof request - 1; i++) {
            const size_t size = split == 0 ? 1 : i == 0 ? split : sizeof request - 1 - split;
            (void)stele_http_conn_feed(
                conn, (struct stele_bytes){.data = (const uint8_t *)request + i, .size = size});
            i += size - 1;
        }
        take();
        if (split == 0) {
            (void)snprintf(whole, sizeof whole, "%s", text());
            CHECK_TEXT_HAS(whole, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n");
            CHECK_TEXT_HAS(whole, "\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
                                  "x-size: 5\r\n\r\n");
            CHECK_TEXT_HAS(whole, "\r\ndate: Sun, 15 Jun 2025 15:06:4");
        }
        CHECK_TEXT_EQ(text(), whole);
        CHECK_EQ(handler.finished, 1);
        CHECK(!stele_http_conn_is_over(conn));
        tear_down();
    }
}

TEST(requests_sent_ahead_are_answered_in_order)
{
    set_up();
    feed("GET /ping HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\n"
         "GET /missing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /ping HTTP/1.1\r\n");
    const char *const ok = strstr(text(), "200 OK");
    const char *const none = strstr(text(), "204 No Content");
    const char *const missing = strstr(text(), "404 Not Found");
    CHECK(ok != NULL);
    CHECK(none != NULL);
    CHECK(missing != NULL);
    CHECK(ok < none);
    CHECK(none < missing);
    CHECK_EQ(handler.finished, 3);
    CHECK_EQ(count_of("connection: close"), 1);
    CHECK(stele_http_conn_is_over(conn));
    tear_down();
}

TEST(a_flood_of_requests_sent_ahead_stops_the_reading)
{
    set_up();
    feed("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
    for (int i = 0; i < 3000; i++) {
        if (stele_http_conn_wants_input(conn)) {
            feed("GET /ping HTTP/1.1\r\nHost: a\r\n\r\n");
        }
    }
    CHECK(!stele_http_conn_wants_input(conn));
    CHECK(alloc.bytes < 300000);
    tear_down();
}

TEST(http_1_0_gets_no_chunks_and_a_closed_connection)
{
    set_up();
    feed("POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi");
    CHECK_EQ(count_of("chunked"), 0);
    CHECK_TEXT_HAS(text(), "connection: close\r\n\r\nhi");
    CHECK(stele_http_conn_is_over(conn));
    tear_down();
}

TEST(head_is_answered_without_a_body)
{
    set_up();
    feed("HEAD /ping HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_EQ(count_of("pong"), 0);
    CHECK_TEXT_HAS(text() + strlen(text()) - 4, "\r\n\r\n");
    feed("GET /ping HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_EQ(count_of("pong"), 1);
    tear_down();
}

TEST(a_chunked_request_is_read_and_continue_is_said)
{
    set_up();
    feed("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
         "Expect: 100-continue\r\n\r\n");
    CHECK_EQ(count_of("HTTP/1.1 100 Continue\r\n\r\n"), 0); /* It has been answered already. */
    feed("3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Trailer: x\r\n\r\n");
    CHECK_TEXT_HAS(text(), "x-size: 7");
    tear_down();
    set_up();
    feed("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    CHECK_EQ(count_of("HTTP/1.1 100 Continue\r\n\r\n"), 1);
    tear_down();
}

TEST(what_is_no_request_gets_400_and_the_end)
{
    static const char *const bad[] = {
        "\x16\x03\x01\x02\x05 something of TLS",
        "GET / HTTP/1.1\r\n\r\n", /* No host. */
        "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\nHost a\n\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        set_up();
        feed(bad[i]);
        CHECK(stele_http_conn_is_over(conn));
        CHECK_TEXT_HAS(text(), "HTTP/1.1 ");
        CHECK(text()[9] == '4' || text()[9] == '5');
        CHECK_EQ(handler.requests, 0);
        tear_down();
    }
}

/* Whoever stands before us may have read it otherwise, and let through what it would not have. */
TEST(a_request_that_can_be_read_in_two_ways_is_refused)
{
    static const char *const headers[] = {
        "Host: a\r\nHost: b",
        "Host: a\r\nhOsT: a",
        "Host: a\r\nAuthorization: Basic YTpi\r\nAuthorization: Basic YWRtaW46eA==",
        "Host: a\r\nAuthorization: Basic YTpi\r\nAUTHORIZATION: Basic YTpi",
        "Host: a\r\nContent-Type: text/plain\r\nContent-Type: application/json",
        "Host: a\r\nTransfer-Encoding : chunked",
        "Host: a\r\nTransfer-Encoding: xchunked",
        "Host: a\r\nTransfer-Encoding: chunked, identity",
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
        "Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "Host: a\r\nContent-Length: 5\r\nContent-Length: 6",
        "Host: a\r\nContent-Length: +5",
        "Host: a\r\nContent-Length: -5",
        "Host: a\r\nContent-Length: 0x5",
        "Host: a\r\nContent-Length: 5 5",
        "Host: a\r\nContent-Length: 5, 5",
        "Host: a\r\nContent-Length: 18446744073709551617",
        "Host: a\r\nContent-Length",
        "Host: a\r\n: value",
        "Host: a\r\nX\tY: value",
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        char request[512];
        set_up();
        (void)snprintf(request, sizeof request,
                       "POST /echo HTTP/1.1\r\n%s\r\n\r\n5\r\nGET /\r\n0\r\n\r\n", headers[i]);
        feed(request);
        if (handler.requests != 0 || text()[9] != '4') {
            (void)printf("# %s\n", headers[i]);
        }
        CHECK_EQ(handler.requests, 0);
        CHECK_TEXT_HAS(text(), "HTTP/1.1 4");
        CHECK_EQ(count_of("HTTP/1.1 "), 1);
        tear_down();
    }
}

TEST(headers_without_end_are_refused_by_size_and_by_time)
{
    set_up();
    feed("GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 100000 && !stele_http_conn_is_over(conn); i++) {
        feed("X-Header: and on and on it goes\r\n");
    }
    CHECK_TEXT_HAS(text(), "HTTP/1.1 431 ");
    CHECK(stele_http_conn_is_over(conn));
    tear_down();
    set_up();
    for (int i = 0; i < 12 && !stele_http_conn_is_over(conn); i++) {
        feed(i == 0 ? "GET / HTTP/1.1\r\nHost: a\r\n" : "X: y\r\n");
        simloop_advance(&loop, 1000000);
        take();
    }
    CHECK_TEXT_HAS(text(), "HTTP/1.1 408 ");
    CHECK(stele_http_conn_is_over(conn));
    tear_down();
}

TEST(a_connection_that_says_nothing_is_closed)
{
    set_up();
    simloop_advance(&loop, 9000000);
    CHECK(!stele_http_conn_is_over(conn));
    simloop_advance(&loop, 2000000);
    take();
    CHECK(stele_http_conn_is_over(conn));
    CHECK_EQ(out.size, 0);
    tear_down();
}

TEST(a_body_that_stops_coming_is_given_up)
{
    set_up();
    feed("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    for (int i = 0; i < 10; i++) {
        simloop_advance(&loop, 15000000);
        feed("x");
    }
    CHECK(!stele_http_conn_is_over(conn));
    simloop_advance(&loop, 45000000);
    take();
    CHECK(stele_http_conn_is_over(conn));
    CHECK_EQ(handler.closes, 1);
    CHECK_EQ(handler.finished, 0);
    tear_down();
}

TEST(a_kept_connection_ends_after_a_while)
{
    set_up();
    feed("GET /ping HTTP/1.1\r\nHost: a\r\n\r\n");
    simloop_advance(&loop, 100000000);
    CHECK(!stele_http_conn_is_over(conn));
    simloop_advance(&loop, 40000000);
    CHECK(stele_http_conn_is_over(conn));
    tear_down();
}

TEST(a_reset_closes_the_connection)
{
    set_up();
    feed("GET /reset HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(stele_http_conn_is_over(conn));
    CHECK_EQ(handler.closes, 1);
    CHECK_EQ(out.size, 0);
    tear_down();
}

TEST(h2c_by_upgrade_answers_the_request_on_stream_1)
{
    set_up();
    feed("GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
         "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
    static const char switching[] = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                                    "Upgrade: h2c\r\n\r\n";
    CHECK(out.size > sizeof switching);
    CHECK_BYTES_EQ(out.data, switching, sizeof switching - 1);
    CHECK_EQ(out.data[sizeof switching - 1 + 3], 4); /* SETTINGS come first. */
    CHECK_EQ(handler.finished, 1);
    /* The client's preface and SETTINGS, and a PING that is answered. */
    static const uint8_t more[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
                                  "\0\0\10\6\0\0\0\0\0hellopin";
    out.size = 0;
    CHECK(stele_http_conn_feed(conn, (struct stele_bytes){.data = more, .size = sizeof more - 1}));
    take();
    static const uint8_t pong[] = "\0\0\10\6\1\0\0\0\0hellopin";
    CHECK(out.size >= sizeof pong - 1);
    CHECK_BYTES_EQ(out.data + out.size - (sizeof pong - 1), pong, sizeof pong - 1);
    tear_down();
}

TEST(an_upgrade_to_something_else_is_ignored)
{
    set_up();
    feed("GET /ping HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    CHECK_TEXT_HAS(text(), "HTTP/1.1 200 OK");
    CHECK_TEXT_HAS(text(), "pong");
    feed("GET /ping HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_EQ(count_of("pong"), 2);
    tear_down();
}

TEST(draining_answers_the_last_request_and_closes)
{
    set_up();
    feed("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    stele_http_conn_drain(conn);
    take();
    CHECK(!stele_http_conn_is_over(conn));
    feed("cd");
    CHECK_TEXT_HAS(text(), "x-size: 4");
    CHECK(stele_http_conn_is_over(conn));
    tear_down();
    set_up();
    feed("GET /ping HTTP/1.1\r\nHost: a\r\n\r\n");
    stele_http_conn_drain(conn);
    CHECK(stele_http_conn_is_over(conn));
    tear_down();
}

TEST(a_large_body_of_known_length_comes_whole)
{
    set_up();
    feed("GET /big HTTP/1.1\r\nHost: a\r\nsize: 1000000\r\n\r\n");
    CHECK(out.size > 1000000);
    CHECK(handler.writables > 0);
    CHECK_EQ(handler.finished, 1);
    tear_down();
}
