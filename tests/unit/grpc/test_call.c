/* A call goes start, messages, half_closed, closed, whatever the client and the method do; closed
 * comes exactly once.
 *
 * Method: one service that writes down what it is told, over exchanges that are buffers. Requests
 * come whole, in pieces of every size, zipped, too large, cut, and from clients that go away. */
#include "grpc/grpc_internal.h"
#include "lib/check.h"
#include "lib/fakegrpc.h"
#include "lib/testalloc.h"

#include <zlib.h>

/* What the method of the test does and was told; one call at a time. */
static struct {
    struct stele_call *call;
    char said[8192]; /* "start message(abc) …" */
    bool pause_in_message;
    bool finish_in_message;
    bool finish_in_start;
    int closed;
    enum stele_grpc_code reason;
} noted;

static void say(const char *what)
{
    const size_t size = strlen(noted.said);
    (void)snprintf(noted.said + size, sizeof noted.said - size, "%s%s", size > 0 ? " " : "", what);
}

static void on_start(struct stele_call *call)
{
    noted.call = call;
    say("start");
    if (noted.finish_in_start) {
        stele_call_finish(call, STELE_GRPC_OK, "");
    }
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    char text[80];
    if (message.size < 60) {
        (void)snprintf(text, sizeof text, "message(%.*s)", (int)message.size,
                       (const char *)message.data);
    } else {
        (void)snprintf(text, sizeof text, "message[%zu]", message.size);
    }
    say(text);
    if (noted.pause_in_message) {
        stele_call_pause(call);
    }
    if (noted.finish_in_message) {
        stele_call_finish(call, STELE_GRPC_ABORTED, "enough");
    }
}

static void on_half_closed(struct stele_call *call)
{
    (void)call;
    say("half_closed");
}

static void on_writable(struct stele_call *call)
{
    (void)call;
    say("writable");
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    CHECK(call == noted.call);
    CHECK(stele_call_is_over(call));
    noted.closed++;
    noted.reason = reason;
    say("closed");
}

static const struct stele_method method = {
    .rpc = STELE_RPC_KURRENT_STREAMS_APPEND,
    .state_size = 24,
    .message_max = 10000,
    .start = on_start,
    .message = on_message,
    .half_closed = on_half_closed,
    .writable = on_writable,
    .closed = on_closed,
};
static const struct stele_method method_of_ops = {
    .rpc = STELE_RPC_KURRENT_OPERATIONS_SHUTDOWN,
    .start = on_start,
    .closed = on_closed,
};
#define PATH "/event_store.client.streams.Streams/Append"
#define PATH_OF_OPS "/event_store.client.operations.Operations/Shutdown"

struct bench {
    struct testalloc alloc;
    struct fake_loop loop;
    struct stele_auth auth;
    struct stele_grpc *grpc;
    struct stele_exchange exchange;
};

static void set_up(struct bench *bench)
{
    memset(&noted, 0, sizeof noted);
    *bench = (struct bench){.grpc = NULL};
    testalloc_init(&bench->alloc, 1);
    fake_loop_init(&bench->loop, &bench->alloc.base);
    struct stele_grpc_table table = {.methods = {NULL}};
    table.methods[method.rpc] = &method;
    table.methods[method_of_ops.rpc] = &method_of_ops;
    CHECK_EQ(stele_grpc_create(NULL, &bench->auth, &table, &bench->alloc.base, &bench->grpc), 0);
}

static void tear_down(struct bench *bench)
{
    fake_close(bench->grpc, &bench->exchange);
    (void)fake_loop_run(&bench->loop);
    stele_grpc_destroy(bench->grpc);
    fake_loop_deinit(&bench->loop);
    CHECK_EQ(bench->alloc.blocks, 0);
}

static void request(struct bench *bench, const char *path, const char *user)
{
    fake_request(&bench->exchange, &bench->loop, path, user);
    stele_grpc_on_request(bench->grpc, &bench->exchange);
}

static void body(struct bench *bench, const void *data, size_t size)
{
    bench->exchange.received += size;
    stele_grpc_on_body(bench->grpc, &bench->exchange,
                       (struct stele_bytes){.data = data, .size = size});
}

static void end(struct bench *bench)
{
    stele_grpc_on_end(bench->grpc, &bench->exchange);
}

TEST(messages_are_the_same_in_however_many_pieces_they_come)
{
    static const char bytes[] = "\0\0\0\0\3abc\0\0\0\0\0\0\0\0\0\6defghi";
    for (size_t step = 1; step < sizeof bytes; step++) {
        struct bench bench;
        set_up(&bench);
        request(&bench, PATH, "");
        for (size_t at = 0; at < sizeof bytes - 1; at += step) {
            const size_t left = sizeof bytes - 1 - at;
            body(&bench, bytes + at, left < step ? left : step);
        }
        end(&bench);
        CHECK_TEXT_EQ(noted.said, "start message(abc) message() message(defghi) half_closed");
        CHECK_EQ(bench.exchange.consumed, sizeof bytes - 1);
        stele_call_finish(noted.call, STELE_GRPC_OK, "");
        CHECK_EQ(noted.closed, 1);
        CHECK_EQ(fake_status(&bench.exchange), 0);
        tear_down(&bench);
        CHECK_EQ(noted.closed, 1);
    }
}

TEST(the_state_of_a_call_begins_as_zeros)
{
    struct bench bench;
    set_up(&bench);
    request(&bench, PATH, "");
    static const uint8_t zeros[24];
    CHECK_BYTES_EQ(stele_call_state(noted.call), zeros, sizeof zeros);
    CHECK_EQ((uintptr_t)stele_call_state(noted.call) % 16, 0);
    tear_down(&bench);
    CHECK_EQ(noted.closed, 1);
    CHECK_EQ(noted.reason, STELE_GRPC_CANCELLED);
}

TEST(a_path_that_nobody_answers_to_is_unimplemented)
{
    static const char *const paths[] = {"/a.B/C", "", "/event_store.client.streams.Streams/append",
                                        "/event_store.client.streams.Streams/Read"};
    for (size_t i = 0; i < STELE_COUNT_OF(paths); i++) {
        struct bench bench;
        set_up(&bench);
        request(&bench, paths[i], "");
        CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_UNIMPLEMENTED);
        CHECK_EQ(bench.exchange.status, 200);
        body(&bench, "\0\0\0\0\1a", 6);
        end(&bench);
        CHECK_EQ(bench.exchange.consumed, 6);
        CHECK_TEXT_EQ(noted.said, "");
        tear_down(&bench);
    }
}

TEST(only_calls_with_the_content_type_of_grpc_are_wanted)
{
    static const struct {
        const char *type;
        bool wanted;
    } cases[] = {{"application/grpc", true},     {"application/grpc+proto", true},
                 {"application/grpc;x=y", true}, {"application/grpc-web", false},
                 {"application/grp", false},     {"application/grpcfoo", false}};
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        struct stele_exchange exchange = {.headers_count = 0};
        fake_header(&exchange, "content-type", cases[i].type);
        CHECK_EQ(stele_grpc_wants(&exchange), cases[i].wanted);
    }
    const struct stele_exchange none = {.headers_count = 0};
    CHECK(!stele_grpc_wants(&none));
}

TEST(a_status_without_messages_is_one_block_of_headers)
{
    struct bench bench;
    set_up(&bench);
    request(&bench, PATH, "");
    stele_call_trailer(noted.call, "exception", stele_bytes_of_text("stream-deleted"));
    stele_call_trailer(noted.call, "stream-name", stele_bytes_of_text("caf\xc3\xa9 100%"));
    stele_call_fail(noted.call, STELE_GRPC_FAILED_PRECONDITION, "'$%s' is \x01 50%% gone", "x");
    CHECK(bench.exchange.ended);
    CHECK_TEXT_EQ(bench.exchange.response, "content-type: application/grpc\n"
                                           "grpc-status: 9\n"
                                           "grpc-message: '$x' is %01 50%25 gone\n"
                                           "exception: stream-deleted\n"
                                           "stream-name: caf%C3%A9 100%\n");
    CHECK_TEXT_EQ(noted.said, "start closed");
    CHECK_EQ(noted.reason, STELE_GRPC_FAILED_PRECONDITION);
    tear_down(&bench);
}

TEST(answers_are_framed_and_followed_by_trailers)
{
    struct bench bench;
    set_up(&bench);
    request(&bench, PATH, "");
    stele_call_send(noted.call, stele_bytes_of_text("one"));
    struct stele_buf *buf = stele_call_message_begin(noted.call);
    CHECK_EQ(stele_buf_append(buf, &bench.alloc.base, stele_bytes_of_text("gone")), 0);
    stele_call_message_cancel(noted.call);
    stele_call_send(noted.call, stele_bytes_of_text(""));
    CHECK_EQ(bench.exchange.output.size, 13);
    CHECK_BYTES_EQ(bench.exchange.output.data, "\0\0\0\0\3one\0\0\0\0\0", 13);
    stele_call_trailer(noted.call, "grpc-status-details-bin",
                       (struct stele_bytes){.data = (const uint8_t *)"\xff\xfe\xfd\0", .size = 4});
    stele_call_finish(noted.call, STELE_GRPC_OK, "");
    CHECK_TEXT_EQ(bench.exchange.response, "content-type: application/grpc\n"
                                           "grpc-status: 0\n"
                                           "grpc-status-details-bin: //79AA==\n");
    tear_down(&bench);
}

TEST(base64_of_every_remainder_is_that_of_rfc_4648)
{
    static const char *const cases[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        struct bench bench;
        set_up(&bench);
        request(&bench, PATH, "");
        stele_call_trailer(noted.call, "a-bin", stele_bytes_of_text(cases[i][0]));
        stele_call_finish(noted.call, STELE_GRPC_OK, "");
        CHECK_TEXT_EQ(fake_answer(&bench.exchange, "a-bin"), cases[i][1]);
        tear_down(&bench);
    }
}

TEST(a_deadline_ends_the_call)
{
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {{"100m", 100000},   {"2S", 2000000}, {"1M", 60000000},
                 {"1H", 3600000000}, {"700u", 700},   {"1500n", 2}};
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        struct bench bench;
        set_up(&bench);
        fake_request(&bench.exchange, &bench.loop, PATH, "");
        fake_header(&bench.exchange, "grpc-timeout", cases[i].text);
        stele_grpc_on_request(bench.grpc, &bench.exchange);
        CHECK_EQ(stele_call_deadline_us(noted.call), bench.loop.now_us + cases[i].us);
        fake_loop_advance(&bench.loop, cases[i].us - 1);
        CHECK_EQ(noted.closed, 0);
        fake_loop_advance(&bench.loop, 1);
        CHECK_EQ(noted.closed, 1);
        CHECK_EQ(noted.reason, STELE_GRPC_DEADLINE_EXCEEDED);
        CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_DEADLINE_EXCEEDED);
        tear_down(&bench);
    }
}

TEST(a_malformed_deadline_is_refused)
{
    static const char *const cases[] = {"", "m", "10", "10x", "-1m", "123456789m", "1 m"};
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        struct bench bench;
        set_up(&bench);
        fake_request(&bench.exchange, &bench.loop, PATH, "");
        fake_header(&bench.exchange, "grpc-timeout", cases[i]);
        stele_grpc_on_request(bench.grpc, &bench.exchange);
        CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_INVALID_ARGUMENT);
        CHECK_TEXT_EQ(noted.said, "");
        tear_down(&bench);
    }
}

TEST(a_client_that_goes_away_closes_the_call_once)
{
    struct bench bench;
    set_up(&bench);
    request(&bench, PATH, "");
    stele_call_hold(noted.call);
    stele_call_send(noted.call, stele_bytes_of_text("one"));
    fake_close(bench.grpc, &bench.exchange);
    CHECK_EQ(noted.closed, 1);
    CHECK_EQ(noted.reason, STELE_GRPC_CANCELLED);
    /* What still comes from a service that did not know yet has no effect. */
    CHECK(stele_call_is_full(noted.call));
    stele_call_send(noted.call, stele_bytes_of_text("two"));
    (void)stele_call_message_begin(noted.call);
    stele_call_message_end(noted.call);
    stele_call_trailer(noted.call, "a", stele_bytes_of_text("b"));
    stele_call_finish(noted.call, STELE_GRPC_OK, "");
    CHECK(stele_call_metadata(noted.call, "te").data == NULL);
    CHECK_TEXT_EQ(stele_call_peer(noted.call), "");
    CHECK_EQ(noted.closed, 1);
    stele_call_release(noted.call);
    tear_down(&bench);
}

TEST(a_paused_call_gets_nothing_and_takes_in_no_more_than_the_window)
{
    struct bench bench;
    set_up(&bench);
    noted.pause_in_message = true;
    request(&bench, PATH, "");
    body(&bench, "\0\0\0\0\1a\0\0\0\0\1b\0\0\0\0\1c\0\0", 20);
    CHECK_TEXT_EQ(noted.said, "start message(a)");
    CHECK_EQ(bench.exchange.consumed, 6);
    end(&bench);
    stele_call_resume(noted.call);
    CHECK_TEXT_EQ(noted.said, "start message(a) message(b)");
    CHECK_EQ(bench.exchange.consumed, 12);
    noted.pause_in_message = false;
    stele_call_resume(noted.call);
    /* The last one was cut. */
    CHECK_TEXT_EQ(noted.said, "start message(a) message(b) message(c) closed");
    CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_INTERNAL);
    CHECK_EQ(bench.exchange.consumed, 20);
    tear_down(&bench);
}

TEST(half_closed_waits_behind_messages_that_wait)
{
    struct bench bench;
    set_up(&bench);
    noted.pause_in_message = true;
    request(&bench, PATH, "");
    body(&bench, "\0\0\0\0\1a", 6);
    end(&bench);
    CHECK_TEXT_EQ(noted.said, "start message(a)");
    stele_call_resume(noted.call);
    CHECK_TEXT_EQ(noted.said, "start message(a) half_closed");
    tear_down(&bench);
}

TEST(nothing_comes_after_a_finish_inside_of_a_message)
{
    struct bench bench;
    set_up(&bench);
    noted.finish_in_message = true;
    request(&bench, PATH, "");
    body(&bench, "\0\0\0\0\1a\0\0\0\0\1b", 12);
    end(&bench);
    CHECK_TEXT_EQ(noted.said, "start message(a) closed");
    CHECK_EQ(bench.exchange.consumed, 12);
    CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_ABORTED);
    tear_down(&bench);
    set_up(&bench);
    noted.finish_in_start = true;
    request(&bench, PATH, "");
    body(&bench, "\0\0\0\0\1a", 6);
    CHECK_TEXT_EQ(noted.said, "start closed");
    tear_down(&bench);
}

TEST(a_message_that_is_too_large_is_refused_before_it_has_come)
{
    struct bench bench;
    set_up(&bench);
    request(&bench, PATH, "");
    body(&bench, "\0\0\0\x27\x11", 5);
    CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_RESOURCE_EXHAUSTED);
    CHECK_TEXT_EQ(fake_answer(&bench.exchange, "grpc-message"),
                  "Received message larger than max (10001 vs. 10000)");
    tear_down(&bench);
}

static size_t zip(int window, const void *data, size_t size, uint8_t *to, size_t room)
{
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size};
    CHECK_EQ(deflateInit2(&stream, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    to[0] = 1;
    stream.next_out = to + 5;
    stream.avail_out = (uInt)(room - 5);
    CHECK_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
    const size_t zipped = room - 5 - stream.avail_out;
    CHECK_EQ(deflateEnd(&stream), Z_OK);
    to[1] = 0;
    to[2] = 0;
    to[3] = (uint8_t)(zipped >> 8);
    to[4] = (uint8_t)zipped;
    return zipped + 5;
}

static void request_zipped(struct bench *bench, const char *coding)
{
    fake_request(&bench->exchange, &bench->loop, PATH, "");
    fake_header(&bench->exchange, "grpc-encoding", coding);
    stele_grpc_on_request(bench->grpc, &bench->exchange);
}

TEST(zipped_messages_are_unzipped)
{
    static char large[10001];
    uint8_t bytes[256];
    for (int gzip = 0; gzip < 2; gzip++) {
        struct bench bench;
        set_up(&bench);
        request_zipped(&bench, gzip ? "gzip" : "deflate");
        body(&bench, bytes, zip(gzip ? 31 : 15, "hello hello hello", 17, bytes, sizeof bytes));
        body(&bench, "\0\0\0\0\1a", 6); /* The flag decides, message by message. */
        body(&bench, bytes, zip(gzip ? 31 : 15, large, 10000, bytes, sizeof bytes));
        body(&bench, bytes, zip(gzip ? 31 : 15, "", 0, bytes, sizeof bytes));
        CHECK_TEXT_EQ(noted.said, "start message(hello hello hello) message(a) message[10000] "
                                  "message()");
        tear_down(&bench);
    }
}

TEST(a_bomb_is_refused_at_the_size_of_a_message)
{
    static char large[10001];
    uint8_t bytes[256];
    struct bench bench;
    set_up(&bench);
    request_zipped(&bench, "gzip");
    body(&bench, bytes, zip(31, large, 10001, bytes, sizeof bytes));
    CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_RESOURCE_EXHAUSTED);
    tear_down(&bench);
}

TEST(what_a_bomb_unzips_to_is_given_back_at_once)
{
    static char large[10000];
    uint8_t bytes[256];
    struct bench bench;
    struct stele_method big = method;
    big.message_max = 50 << 20;
    set_up(&bench);
    bench.grpc->table.methods[method.rpc] = &big;
    request_zipped(&bench, "gzip");
    body(&bench, bytes, zip(31, large, 10000, bytes, sizeof bytes));
    const uint64_t before = bench.alloc.bytes;
    char *const huge = calloc(1, (size_t)40 << 20);
    uint8_t *const zipped = malloc(1 << 20);
    CHECK(huge != NULL);
    CHECK(zipped != NULL);
    body(&bench, zipped, zip(31, huge, (size_t)1 << 20, zipped, 1 << 20));
    CHECK(strstr(noted.said, "message[1048576]") != NULL);
    CHECK_EQ(noted.closed, 0);
    CHECK(bench.alloc.bytes < before + 65536);
    /* Much larger than what came: refused before it is there. */
    const uint64_t most = bench.alloc.bytes_max;
    body(&bench, zipped, zip(31, huge, (size_t)40 << 20, zipped, 1 << 20));
    CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_RESOURCE_EXHAUSTED);
    CHECK(bench.alloc.bytes_max < most + ((uint64_t)16 << 20));
    free(huge);
    free(zipped);
    tear_down(&bench);
}

TEST(zipped_messages_that_are_damaged_or_unexpected_are_refused)
{
    uint8_t bytes[256];
    const size_t size = zip(31, "hello hello hello", 17, bytes, sizeof bytes);
    for (size_t cut = 0; cut < size - 5; cut++) {
        struct bench bench;
        set_up(&bench);
        request_zipped(&bench, "gzip");
        uint8_t copy[256];
        memcpy(copy, bytes, size);
        copy[4] = (uint8_t)cut;
        body(&bench, copy, 5 + cut);
        CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_INTERNAL);
        tear_down(&bench);
    }
    struct bench bench;
    set_up(&bench);
    request(&bench, PATH, "");
    body(&bench, bytes, size);
    CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_INTERNAL);
    tear_down(&bench);
    set_up(&bench);
    request_zipped(&bench, "snappy");
    CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_UNIMPLEMENTED);
    CHECK_TEXT_EQ(fake_answer(&bench.exchange, "grpc-accept-encoding"), "identity,deflate,gzip");
    tear_down(&bench);
    set_up(&bench);
    request(&bench, PATH, "");
    body(&bench, "\2\0\0\0\0", 5);
    CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_INTERNAL);
    tear_down(&bench);
}

TEST(who_may_not_call_is_told_so_before_the_method_knows)
{
    static const struct {
        const char *user;
        int status;
    } cases[] = {{"wrong", STELE_GRPC_UNAUTHENTICATED},
                 {"busy", STELE_GRPC_UNAVAILABLE},
                 {"somebody", STELE_GRPC_PERMISSION_DENIED},
                 {"", STELE_GRPC_PERMISSION_DENIED},
                 {"ops", -1},
                 {"admin", -1}};
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        struct bench bench;
        set_up(&bench);
        bench.auth.anonymous_is_nobody = true;
        request(&bench, PATH_OF_OPS, cases[i].user);
        CHECK_EQ(fake_status(&bench.exchange), cases[i].status);
        CHECK_TEXT_EQ(noted.said, cases[i].status < 0 ? "start" : "");
        if (cases[i].status == STELE_GRPC_PERMISSION_DENIED) {
            CHECK_TEXT_EQ(fake_answer(&bench.exchange, "exception"), "access-denied");
            CHECK_TEXT_EQ(fake_answer(&bench.exchange, "grpc-message"), "Access Denied");
        }
        tear_down(&bench);
    }
}

TEST(what_comes_while_a_password_is_being_checked_waits)
{
    struct bench bench;
    set_up(&bench);
    request(&bench, PATH, "slow");
    body(&bench, "\0\0\0\0\1a", 6);
    end(&bench);
    CHECK_TEXT_EQ(noted.said, "");
    CHECK_EQ(bench.exchange.consumed, 0);
    CHECK_EQ(fake_loop_run(&bench.loop), 1);
    CHECK_TEXT_EQ(noted.said, "start message(a) half_closed");
    CHECK_TEXT_EQ(stele_call_principal(noted.call)->name, "slow");
    CHECK_EQ(bench.exchange.consumed, 6);
    tear_down(&bench);
}

TEST(a_client_may_go_while_its_password_is_being_checked)
{
    struct bench bench;
    set_up(&bench);
    request(&bench, PATH, "slow");
    fake_close(bench.grpc, &bench.exchange);
    CHECK_EQ(fake_loop_run(&bench.loop), 1);
    CHECK_TEXT_EQ(noted.said, "");
    tear_down(&bench);
}

TEST(who_asks_too_often_is_told_when_to_come_again)
{
    struct bench bench;
    set_up(&bench);
    bench.auth.quota.limits.requests_per_s = 4;
    for (int i = 0; i < 4; i++) {
        request(&bench, PATH, "ada");
        CHECK_EQ(noted.closed, i);
        fake_close(bench.grpc, &bench.exchange);
    }
    memset(&noted, 0, sizeof noted);
    request(&bench, PATH, "ada");
    CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_RESOURCE_EXHAUSTED);
    CHECK_TEXT_EQ(fake_answer(&bench.exchange, "grpc-retry-pushback-ms"), "250");
    CHECK_TEXT_EQ(noted.said, "");
    CHECK_EQ(bench.auth.quota.calls, 0);
    fake_close(bench.grpc, &bench.exchange);
    fake_loop_advance(&bench.loop, 250000);
    request(&bench, PATH, "ada");
    CHECK_TEXT_EQ(noted.said, "start");
    CHECK_EQ(bench.auth.quota.calls, 1);
    tear_down(&bench);
    CHECK_EQ(bench.auth.quota.calls, 0);
}

TEST(messages_of_a_stream_count_and_slow_it_down)
{
    struct bench bench;
    set_up(&bench);
    bench.auth.quota.limits.requests_per_s = 10;
    request(&bench, PATH, "ada");
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(bench.exchange.held_until_us, 0);
        body(&bench, "\0\0\0\0\1a", 6);
    }
    body(&bench, "\0\0\0\0\1a", 6);
    CHECK_EQ(bench.exchange.held_until_us, bench.loop.now_us + 100000);
    CHECK_EQ(fake_status(&bench.exchange), -1); /* It is not refused. */
    tear_down(&bench);
}

TEST(bytes_both_ways_are_metered_where_they_are_bounded)
{
    struct bench bench;
    set_up(&bench);
    request(&bench, PATH, "ada");
    CHECK(bench.exchange.meter == NULL);
    fake_close(bench.grpc, &bench.exchange);
    bench.auth.quota.limits.bytes_per_s = 1000;
    request(&bench, PATH, "ada");
    CHECK(bench.exchange.meter != NULL);
    CHECK_EQ(bench.exchange.meter(bench.exchange.meter_context, 1500, bench.loop.now_us), 500000);
    tear_down(&bench);
}

TEST(memory_for_half_messages_is_bounded_for_each_user)
{
    static const char half[9000] = {0, 0, 0, 0x27, 0x10}; /* Of 10,000 bytes. */
    struct bench bench;
    set_up(&bench);
    bench.auth.quota.limits.memory = 20000;
    CHECK(stele_quota_keep(&bench.auth.quota, 0, 15000)); /* By another call. */
    request(&bench, PATH, "ada");
    body(&bench, half, 4000);
    CHECK_EQ(fake_status(&bench.exchange), -1);
    body(&bench, half + 4000, 5000);
    CHECK_EQ(fake_status(&bench.exchange), STELE_GRPC_RESOURCE_EXHAUSTED);
    CHECK_TEXT_EQ(fake_answer(&bench.exchange, "grpc-retry-pushback-ms"), "1000");
    CHECK_EQ(noted.closed, 1);
    CHECK_EQ(bench.auth.quota.memory, 15000);
    fake_close(bench.grpc, &bench.exchange);
    CHECK(stele_quota_keep(&bench.auth.quota, 15000, 0));
    request(&bench, PATH, "ada");
    body(&bench, half, 9000);
    CHECK(bench.auth.quota.memory >= 9000);
    body(&bench, half, 1005); /* Its end. */
    CHECK(strstr(noted.said, "message[10000]") != NULL);
    tear_down(&bench);
    CHECK_EQ(bench.auth.quota.memory, 0);
}

TEST(a_writer_that_was_full_is_told_when_it_is_not)
{
    struct bench bench;
    set_up(&bench);
    bench.exchange.full_at = 4;
    request(&bench, PATH, "");
    bench.exchange.full_at = 4;
    CHECK(!stele_call_is_full(noted.call));
    stele_call_send(noted.call, stele_bytes_of_text("one"));
    CHECK(stele_call_is_full(noted.call));
    bench.exchange.full = false;
    stele_grpc_on_writable(bench.grpc, &bench.exchange);
    CHECK_TEXT_EQ(noted.said, "start writable");
    tear_down(&bench);
}

TEST(a_call_survives_every_lack_of_memory)
{
    uint8_t zipped[256];
    const size_t size = zip(31, "hello hello hello", 17, zipped, sizeof zipped);
    for (uint64_t n = 1;; n++) {
        struct bench bench;
        set_up(&bench);
        bench.alloc.fail_at = bench.alloc.calls + n;
        request_zipped(&bench, "gzip");
        body(&bench, zipped, 20);
        body(&bench, zipped + 20, size - 20);
        body(&bench, "\0\0\0\0", 4);
        body(&bench, "\1a", 2);
        if (noted.call != NULL && noted.closed == 0) {
            stele_call_send(noted.call, stele_bytes_of_text("answer"));
        }
        if (noted.call != NULL && noted.closed == 0) {
            stele_call_trailer(noted.call, "a-bin", stele_bytes_of_text("answer"));
            stele_call_finish(noted.call, STELE_GRPC_OK, "fine");
        }
        CHECK(bench.exchange.ended);
        const bool failed = bench.alloc.failures > 0;
        CHECK(failed || fake_status(&bench.exchange) == 0);
        tear_down(&bench);
        if (!failed) {
            break;
        }
    }
}
