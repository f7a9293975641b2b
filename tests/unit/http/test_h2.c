/* HTTP/2: every exchange is answered once and closed once, bodies arrive whole however small the
 * windows, and nothing is left in memory.
 *
 * Method: a client on nghttp2, tied to the machine in memory (lib/testclient.h). */
#include "handler.h"
#include "lib/testalloc.h"
#include "lib/testclient.h"

static struct testalloc alloc;
static struct simloop loop;
static struct handler handler;
static struct testclient client;

static void set_up(const struct stele_http_limits *limits, uint32_t window)
{
    testalloc_init(&alloc, 1);
    simloop_init(&loop, &alloc.base, 1);
    memset(&handler, 0, sizeof handler);
    testclient_init_window(&client, &loop, limits, &handler_events, &handler, window);
}

static void tear_down(void)
{
    testclient_deinit(&client);
    CHECK_EQ(handler.open, 0);
    CHECK_EQ(handler.requests, handler.closes);
    simloop_deinit(&loop);
    CHECK_EQ(alloc.bytes, 0);
}

static int32_t get(const char *path)
{
    return testclient_request(&client, "GET", path, NULL, 0, true);
}

TEST(a_request_is_answered_and_closed_as_finished)
{
    set_up(NULL, 0);
    const int32_t id = get("/ping");
    testclient_run(&client);
    const struct testclient_stream *const stream = testclient_stream(&client, id);
    CHECK_EQ(stream->status, 200);
    CHECK_EQ(stream->body_size, 4);
    CHECK_BYTES_EQ(stream->body, "pong", 4);
    CHECK_TEXT_EQ(testclient_header(stream, "content-type"), "text/plain");
    CHECK(stream->closed);
    CHECK_EQ(stream->error, 0);
    CHECK_EQ(handler.ends, 0); /* Its handler had finished already. */
    CHECK_EQ(handler.finished, 1);
    tear_down();
}

TEST(a_body_goes_both_ways_and_trailers_come_behind_it)
{
    set_up(NULL, 0);
    const int32_t id = testclient_request(&client, "POST", "/echo", NULL, 0, false);
    uint8_t *const body = malloc(3000000);
    CHECK(body != NULL);
    for (size_t i = 0; i < 3000000; i++) {
        body[i] = (uint8_t)(i * 7 + i / 999);
    }
    testclient_send(&client, id, (struct stele_bytes){.data = body, .size = 1000000}, false);
    testclient_run(&client);
    CHECK_EQ(testclient_stream(&client, id)->body_size, 1000000);
    testclient_send(&client, id, (struct stele_bytes){.data = body + 1000000, .size = 2000000},
                    true);
    testclient_run(&client);
    const struct testclient_stream *const stream = testclient_stream(&client, id);
    CHECK_EQ(stream->body_size, 3000000);
    CHECK_BYTES_EQ(stream->body, body, 3000000);
    CHECK_TEXT_EQ(testclient_header(stream, "x-size"), "3000000");
    CHECK(stream->fields[stream->fields_count - 1].trailer);
    CHECK(stream->closed);
    CHECK_EQ(handler.finished, 1);
    free(body);
    tear_down();
}

TEST(an_early_answer_lets_the_client_end_its_request)
{
    set_up(NULL, 0);
    const int32_t id = testclient_request(&client, "POST", "/early", NULL, 0, false);
    testclient_run(&client);
    const struct testclient_stream *const stream = testclient_stream(&client, id);
    CHECK(stream->ended);
    simloop_advance(&loop, 900000);
    testclient_run(&client);
    CHECK(!stream->closed); /* No RST_STREAM, which some take for a failure. */
    testclient_send(&client, id, stele_bytes_of_text("rest"), true);
    testclient_run(&client);
    CHECK(stream->closed);
    CHECK_EQ(stream->error, 0);
    CHECK_EQ(handler.finished, 1);
    CHECK_EQ(stele_http_conn_exchanges(client.conn), 0);
    simloop_advance(&loop, 5000000);
    testclient_run(&client);
    CHECK(get("/ping") > 0);
    testclient_run(&client);
    CHECK_EQ(handler.finished, 2);
    tear_down();
}

TEST(an_early_answer_does_not_wait_long_for_the_end_of_its_request)
{
    set_up(NULL, 0);
    const int32_t id = testclient_request(&client, "POST", "/early", NULL, 0, false);
    testclient_run(&client);
    CHECK_EQ(testclient_stream(&client, id)->status, 403);
    CHECK(!testclient_stream(&client, id)->closed);
    simloop_advance(&loop, 1000000);
    testclient_run(&client);
    CHECK(testclient_stream(&client, id)->closed);
    CHECK_EQ(testclient_stream(&client, id)->error, NGHTTP2_NO_ERROR);
    CHECK_EQ(handler.finished, 1);
    CHECK_EQ(stele_http_conn_exchanges(client.conn), 0);
    tear_down();
}

TEST(an_early_answer_takes_no_large_body_for_nothing)
{
    static uint8_t body[1 << 20];
    set_up(NULL, 0);
    const int32_t id = testclient_request(&client, "POST", "/early", NULL, 0, false);
    testclient_run(&client);
    testclient_send(&client, id, (struct stele_bytes){.data = body, .size = 200000}, false);
    testclient_run(&client);
    CHECK(!testclient_stream(&client, id)->closed);
    testclient_send(&client, id, (struct stele_bytes){.data = body, .size = sizeof body}, false);
    testclient_run(&client);
    CHECK(testclient_stream(&client, id)->closed);
    CHECK_EQ(testclient_stream(&client, id)->error, NGHTTP2_NO_ERROR);
    CHECK_EQ(handler.finished, 1);
    tear_down();
}

TEST(a_response_without_body_is_one_frame_of_headers)
{
    set_up(NULL, 0);
    const int32_t none = get("/none");
    const int32_t missing = get("/missing");
    testclient_run(&client);
    CHECK_EQ(testclient_stream(&client, none)->status, 204);
    CHECK_EQ(testclient_stream(&client, none)->frames, 0);
    CHECK(testclient_stream(&client, none)->closed);
    CHECK_EQ(testclient_stream(&client, missing)->status, 404);
    CHECK_EQ(testclient_stream(&client, missing)->frames, 0);
    CHECK_EQ(handler.finished, 2);
    tear_down();
}

TEST(frames_are_filled_across_small_writes)
{
    set_up(NULL, 0);
    const char *const headers[] = {"size", "160000"};
    const int32_t id = testclient_request(&client, "GET", "/big", headers, 1, true);
    testclient_run(&client);
    const struct testclient_stream *const stream = testclient_stream(&client, id);
    CHECK_EQ(stream->body_size, 160000);
    /* The first window of a connection is 65,535 bytes, which ends a frame early. */
    CHECK(stream->frames <= 160000 / 16384 + 3);
    tear_down();
}

TEST(a_slow_reader_bounds_what_waits_for_it)
{
    set_up(NULL, 1000);
    const char *const headers[] = {"size", "5000000"};
    const int32_t id = testclient_request(&client, "GET", "/big", headers, 1, true);
    testclient_run(&client);
    const struct testclient_stream *const stream = testclient_stream(&client, id);
    CHECK_EQ(stream->body_size, 1000);
    CHECK(stele_http_conn_pending(client.conn) <= 256 * 1024 + 1000);
    while (!stream->closed) {
        testclient_window_update(&client, id, 40000);
        testclient_window_update(&client, 0, 40000);
        testclient_run(&client);
        CHECK(stele_http_conn_pending(client.conn) <= 256 * 1024 + 1000);
    }
    CHECK_EQ(stream->body_size, 5000000);
    for (size_t i = 0; i < stream->body_size; i += 997) {
        CHECK_EQ(stream->body[i], (uint8_t)(5000000 - i));
    }
    CHECK(handler.writables > 20);
    CHECK_EQ(handler.finished, 1);
    tear_down();
}

TEST(many_slow_readers_bound_what_waits_on_one_connection)
{
    set_up(NULL, 1);
    const char *const headers[] = {"size", "5000000"};
    for (int i = 0; i < 1000; i++) {
        (void)testclient_request(&client, "GET", "/big", headers, 1, true);
    }
    testclient_run(&client);
    CHECK_EQ(handler.open, 1000);
    CHECK(stele_http_conn_pending(client.conn) <= (size_t)10 << 20);
    CHECK(alloc.bytes < (size_t)20 << 20);
    tear_down();
}

TEST(a_body_that_is_not_consumed_stops_its_sender_and_no_other)
{
    const struct stele_http_limits limits = STELE_HTTP_LIMITS_INIT;
    set_up(&limits, 0);
    const int32_t slow = testclient_request(&client, "POST", "/slow", NULL, 0, false);
    const int32_t echo = testclient_request(&client, "POST", "/echo", NULL, 0, false);
    uint8_t *const body = calloc(1, 4 << 20);
    CHECK(body != NULL);
    testclient_send(&client, slow, (struct stele_bytes){.data = body, .size = 4 << 20}, true);
    testclient_run(&client);
    CHECK_EQ(handler.body, limits.window);
    testclient_send(&client, echo, (struct stele_bytes){.data = body, .size = 3 << 20}, true);
    testclient_run(&client);
    CHECK_EQ(testclient_stream(&client, echo)->body_size, 3 << 20);
    /* Cancelling it frees its part of the connection's window. */
    testclient_cancel(&client, slow);
    testclient_run(&client);
    for (int i = 0; i < 40; i++) {
        const int32_t id = testclient_request(&client, "POST", "/slow", NULL, 0, false);
        testclient_send(&client, id, (struct stele_bytes){.data = body, .size = 1 << 20}, false);
        testclient_run(&client);
        testclient_cancel(&client, id);
        testclient_run(&client);
    }
    CHECK_EQ(handler.body, (size_t)(44) << 20);
    free(body);
    tear_down();
}

TEST(all_connections_together_are_bounded_in_what_waits_for_them)
{
    enum { PEERS = 20 };
    static struct testclient clients[PEERS];
    struct stele_http_memory memory = {.output_max = (uint64_t)2 << 20};
    struct stele_http_limits limits = STELE_HTTP_LIMITS_INIT;
    limits.memory = &memory;
    const char *const headers[] = {"size", "5000000"};
    set_up(&limits, 1);
    for (int i = 0; i < PEERS; i++) {
        testclient_init_window(&clients[i], &loop, &limits, &handler_events, &handler, 1);
        for (int k = 0; k < 10; k++) {
            (void)testclient_request(&clients[i], "GET", "/big", headers, 1, true);
        }
        testclient_run(&clients[i]);
    }
    uint64_t pending = 0;
    for (int i = 0; i < PEERS; i++) {
        pending += stele_http_conn_pending(clients[i].conn);
    }
    /* Without it 4 MiB for each; with it, what was there and 5 KiB for each request. */
    CHECK(pending < ((uint64_t)3 << 20) + (uint64_t)PEERS * 10 * 6000);
    CHECK(memory.output > memory.output_max);
    CHECK(memory.output < pending + (uint64_t)PEERS * 16 * 1024);
    for (int i = 0; i < PEERS; i++) {
        testclient_deinit(&clients[i]);
    }
    CHECK_EQ(memory.output, 0);
    tear_down();
}

TEST(a_metered_response_comes_at_its_rate_and_others_are_not_held)
{
    set_up(NULL, 0);
    const char *const headers[] = {"size", "3000000"};
    handler.metered = true;
    const int32_t slow = testclient_request(&client, "GET", "/big", headers, 1, true);
    testclient_run(&client);
    handler.metered = false;
    CHECK(testclient_stream(&client, slow)->body_size <= 301000);
    const int32_t fast = testclient_request(&client, "GET", "/big", headers, 1, true);
    testclient_run(&client);
    CHECK_EQ(testclient_stream(&client, fast)->body_size, 3000000);
    const int64_t begin_us = loop.now_us;
    while (!testclient_stream(&client, slow)->closed) {
        const size_t before = testclient_stream(&client, slow)->body_size;
        simloop_advance(&loop, 100000);
        testclient_run(&client);
        CHECK(testclient_stream(&client, slow)->body_size < before + 400000);
        CHECK(loop.now_us < begin_us + 5000000);
    }
    CHECK_EQ(testclient_stream(&client, slow)->body_size, 3000000);
    CHECK(loop.now_us > begin_us + 2500000);
    tear_down();
}

TEST(a_metered_request_opens_its_window_at_its_rate_and_others_are_not_held)
{
    set_up(NULL, 0);
    uint8_t *const body = calloc(1, 4 << 20);
    CHECK(body != NULL);
    handler.metered = true;
    const int32_t slow = testclient_request(&client, "POST", "/missing", NULL, 0, false);
    const int32_t echo = testclient_request(&client, "POST", "/echo", NULL, 0, false);
    testclient_cancel(&client, slow);
    testclient_send(&client, echo, (struct stele_bytes){.data = body, .size = 4 << 20}, true);
    testclient_run(&client);
    CHECK(handler.body <= (size_t)2 << 20);
    handler.metered = false;
    const size_t before = handler.body;
    const int32_t other = testclient_request(&client, "POST", "/echo", NULL, 0, false);
    testclient_send(&client, other, (struct stele_bytes){.data = body, .size = 4 << 20}, true);
    testclient_run(&client);
    CHECK_EQ(handler.body, before + ((size_t)4 << 20));
    const int64_t begin_us = loop.now_us;
    while (!testclient_stream(&client, echo)->closed) {
        simloop_advance(&loop, 100000);
        testclient_run(&client);
        CHECK(loop.now_us < begin_us + 20000000);
    }
    CHECK_EQ(testclient_stream(&client, echo)->body_size, 4 << 20);
    /* Each byte twice: it came in and went out. */
    CHECK(loop.now_us > begin_us + 5000000);
    free(body);
    tear_down();
}

TEST(a_cancelled_exchange_is_closed_as_unfinished)
{
    set_up(NULL, 0);
    const int32_t id = get("/hang");
    testclient_run(&client);
    CHECK_EQ(handler.open, 1);
    testclient_cancel(&client, id);
    testclient_run(&client);
    CHECK_EQ(handler.open, 0);
    CHECK_EQ(handler.closes, 1);
    CHECK_EQ(handler.finished, 0);
    CHECK(!client.goaway);
    tear_down();
}

TEST(a_reset_by_the_handler_reaches_the_peer)
{
    set_up(NULL, 0);
    const int32_t id = get("/reset");
    testclient_run(&client);
    CHECK(testclient_stream(&client, id)->closed);
    CHECK_EQ(testclient_stream(&client, id)->error, 7);
    CHECK_EQ(handler.closes, 1);
    CHECK_EQ(handler.finished, 0);
    tear_down();
}

TEST(headers_that_are_too_large_are_refused_and_the_connection_lives)
{
    struct stele_http_limits limits = STELE_HTTP_LIMITS_INIT;
    limits.header_size_max = 16384;
    set_up(&limits, 0);
    char *const large = malloc(10001);
    CHECK(large != NULL);
    memset(large, 'x', 10000);
    large[10000] = 0;
    const char *const fits[] = {"a", large};
    const char *const does_not[] = {"a", large, "b", large};
    const int32_t first = testclient_request(&client, "GET", "/ping", fits, 1, true);
    testclient_run(&client);
    CHECK_EQ(testclient_stream(&client, first)->status, 200);
    const int32_t second = testclient_request(&client, "GET", "/ping", does_not, 2, true);
    testclient_run(&client);
    CHECK_EQ(testclient_stream(&client, second)->status, 431);
    const int32_t third = get("/ping");
    testclient_run(&client);
    CHECK_EQ(testclient_stream(&client, third)->status, 200);
    CHECK_EQ(handler.requests, 2);
    free(large);
    tear_down();
}

TEST(two_headers_that_say_who_is_calling_are_refused_and_the_connection_lives)
{
    set_up(NULL, 0);
    const char *const twice[] = {"authorization", "Basic YTpi", "authorization", "Basic YTpj"};
    const int32_t id = testclient_request(&client, "GET", "/ping", twice, 2, true);
    testclient_run(&client);
    CHECK_EQ(testclient_stream(&client, id)->status, 400);
    CHECK_EQ(handler.requests, 0);
    const int32_t next = testclient_request(&client, "GET", "/ping", twice, 1, true);
    testclient_run(&client);
    CHECK_EQ(testclient_stream(&client, next)->status, 200);
    tear_down();
}

TEST(draining_serves_what_was_begun_and_takes_nothing_new)
{
    set_up(NULL, 0);
    const int32_t id = testclient_request(&client, "POST", "/echo", NULL, 0, false);
    testclient_run(&client);
    stele_http_conn_drain(client.conn);
    testclient_run(&client);
    CHECK(client.goaway);
    CHECK_EQ(client.goaway_error, 0);
    CHECK_EQ(client.goaway_last, id);
    CHECK(client.conn != NULL);
    testclient_send(&client, id, stele_bytes_of_text("last"), true);
    testclient_run(&client);
    CHECK_EQ(testclient_stream(&client, id)->body_size, 4);
    CHECK_EQ(handler.finished, 1);
    CHECK(client.conn == NULL);
    tear_down();
}

TEST(a_silent_peer_is_asked_and_then_given_up)
{
    set_up(NULL, 0);
    (void)get("/hang");
    testclient_run(&client);
    simloop_advance(&loop, 9000000);
    testclient_run(&client);
    CHECK(client.conn != NULL);
    /* It answers the PING: it stays, for as long as it does. */
    for (int i = 0; i < 20; i++) {
        simloop_advance(&loop, 9000000);
        testclient_run(&client);
    }
    CHECK(client.conn != NULL);
    CHECK_EQ(handler.open, 1);
    client.reads = false;
    simloop_advance(&loop, 60000000);
    client.reads = true;
    testclient_run(&client);
    CHECK(client.conn == NULL);
    CHECK_EQ(handler.open, 0);
    tear_down();
}

TEST(an_idle_connection_is_ended_when_that_is_asked_for)
{
    struct stele_http_limits limits = STELE_HTTP_LIMITS_INIT;
    limits.idle_ms = 30000;
    set_up(&limits, 0);
    (void)get("/ping");
    testclient_run(&client);
    for (int i = 0; i < 6; i++) {
        simloop_advance(&loop, 4500000);
        testclient_run(&client);
    }
    CHECK(client.conn != NULL);
    simloop_advance(&loop, 4500000);
    testclient_run(&client);
    CHECK(client.conn == NULL);
    CHECK(client.goaway);
    CHECK_EQ(client.goaway_error, 0);
    tear_down();
}

TEST(the_end_of_the_peer_closes_every_exchange)
{
    set_up(NULL, 0);
    for (int i = 0; i < 10; i++) {
        (void)get("/hang");
    }
    testclient_run(&client);
    CHECK_EQ(handler.open, 10);
    stele_http_conn_eof(client.conn);
    CHECK_EQ(handler.open, 0);
    testclient_run(&client);
    CHECK(client.conn == NULL);
    tear_down();
}

TEST(the_owner_is_told_once_that_there_is_output)
{
    set_up(NULL, 0);
    const int32_t id = testclient_request(&client, "POST", "/echo", NULL, 0, false);
    testclient_run(&client);
    client.output_told = false;
    testclient_send(&client, id, stele_bytes_of_text("x"), true);
    testclient_run(&client);
    CHECK(!client.output_told); /* Inside of feed the owner looks by itself. */
    stele_http_conn_drain(client.conn);
    CHECK(client.output_told);
    testclient_run(&client);
    tear_down();
}

/* Whichever allocation fails, the machine neither crashes nor leaks, and says that it is over or
 * goes on. */
TEST(every_failed_allocation_is_survived)
{
    for (uint64_t fail_at = 1;; fail_at++) {
        testalloc_init(&alloc, 1);
        simloop_init(&loop, &alloc.base, 1);
        memset(&handler, 0, sizeof handler);
        testclient_init(&client, &loop, NULL, &handler_events, &handler);
        alloc.fail_at = alloc.calls + fail_at;
        const uint64_t before = alloc.failures;
        const int32_t id = get("/none");
        (void)get("/early");
        (void)get("/hang");
        for (int i = 0; i < 3 && client.conn != NULL; i++) {
            testclient_run(&client);
        }
        const bool done = alloc.failures == before;
        CHECK(!done || testclient_stream(&client, id)->status == 204);
        alloc.fail_at = 0;
        tear_down();
        if (done) {
            break;
        }
    }
}
