/* Subscriptions: what there is, "caught up", then what comes; from where the client says, without
 * skip and repeat.
 *
 * Method: events appended before, between and while the client does not take anything in. */
#include "bench.h"
#include "lib/check.h"

static struct bench bench;
static struct stele_exchange exchange;

static void subscribe(struct bench_read *read, const char *user)
{
    bench_read_subscribe(read);
    bench_call(&bench, &exchange, STREAMS "Read", user);
    bench_send(&bench, &exchange, &read->request);
}

#define TOLD(text) CHECK_TEXT_EQ(bench_told(&bench, &exchange), text)

static void end(void)
{
    fake_close(bench.grpc, &exchange);
    bench_close(&bench);
}

static void nothing_more(void)
{
    struct stele_bytes bytes;
    bench_rest(&bench);
    CHECK(!fake_next(&exchange, &bytes));
}

TEST(a_stream_is_followed_from_its_start)
{
    struct bench_read read;
    bench_open(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 3);
    bench_read(&read, "a");
    subscribe(&read, "");
    TOLD("confirmed");
    TOLD("0@a");
    TOLD("1@a");
    TOLD("2@a");
    TOLD("caught-up(2)");
    (void)bench_append(&bench, "b", STELE_EXPECT_ANY, 50, 2);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 10, 2);
    TOLD("3@a");
    TOLD("4@a");
    nothing_more();
    end();
}

TEST(a_place_is_exclusive_and_the_end_is_only_what_comes)
{
    struct bench_read read;
    bench_open(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 3);
    bench_read(&read, "a");
    bench_read_from(&read, 1);
    subscribe(&read, "");
    TOLD("confirmed");
    TOLD("2@a");
    TOLD("caught-up(2)");
    fake_close(bench.grpc, &exchange);
    bench_read(&read, "a");
    bench_read_from_end(&read);
    subscribe(&read, "");
    TOLD("confirmed");
    TOLD("caught-up");
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 10, 1);
    TOLD("3@a");
    end();
}

TEST(a_stream_that_does_not_exist_yet_is_waited_for)
{
    struct bench_read read;
    bench_open(&bench);
    bench_read(&read, "a");
    subscribe(&read, "");
    TOLD("confirmed");
    TOLD("caught-up");
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 1);
    TOLD("0@a");
    end();
}

TEST(all_events_are_followed_after_a_position)
{
    struct bench_read read;
    bench_open(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 1);
    const uint64_t position = bench_append(&bench, "a", STELE_EXPECT_ANY, 1, 1);
    (void)bench_append(&bench, "b", STELE_EXPECT_ANY, 2, 1);
    bench_read(&read, NULL);
    bench_read_from(&read, position);
    subscribe(&read, "");
    TOLD("confirmed");
    TOLD("0@b");
    TOLD("caught-up(all)");
    (void)bench_append(&bench, "$persistentsubscription-$all::g-parked", STELE_EXPECT_ANY, 40, 2);
    (void)bench_append(&bench, "c", STELE_EXPECT_ANY, 3, 2);
    TOLD("0@c");
    TOLD("1@c");
    end();
}

TEST(filtered_subscriptions_get_checkpoints_while_nothing_matches)
{
    struct bench_read read;
    bench_open(&bench);
    for (uint32_t i = 0; i < 20; i++) {
        (void)bench_append(&bench, i == 10 ? "yes" : "no", STELE_EXPECT_ANY, i, 1);
    }
    bench_read(&read, NULL);
    bench_read_filter(&read, true, NULL, "yes"); /* Every 4 events. */
    subscribe(&read, "");
    TOLD("confirmed");
    size_t checkpoints = 0;
    size_t events = 0;
    for (;;) {
        const char *told = bench_told(&bench, &exchange);
        if (strcmp(told, "caught-up(all)") == 0) {
            break;
        }
        checkpoints += strcmp(told, "checkpoint") == 0 ? 1 : 0;
        events += strcmp(told, "0@yes") == 0 ? 1 : 0;
    }
    CHECK_EQ(events, 1);
    CHECK(checkpoints >= 4);
    CHECK(checkpoints <= 7);
    for (uint32_t i = 30; i < 40; i++) {
        (void)bench_append(&bench, "no", STELE_EXPECT_ANY, i, 1);
    }
    TOLD("checkpoint");
    TOLD("checkpoint");
    (void)bench_append(&bench, "yes", STELE_EXPECT_ANY, 60, 1);
    TOLD("1@yes");
    end();
}

TEST(a_checkpoint_is_never_behind_an_event_that_was_not_sent)
{
    struct bench_read read;
    bench_open(&bench);
    uint64_t position = 0;
    for (uint32_t i = 0; i < 30; i++) {
        const uint64_t at = bench_append(&bench, i % 7 == 3 ? "yes" : "no", STELE_EXPECT_ANY, i, 1);
        position = i % 7 == 3 ? at : position;
    }
    bench_read(&read, NULL);
    bench_read_filter(&read, true, NULL, "yes");
    subscribe(&read, "");
    uint64_t sent = 0;
    for (bool caught_up = false; !caught_up;) {
        ReadResp *response = NEXT_READ(&bench, &exchange);
        if (response->content_case == EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_EVENT) {
            CHECK(response->event->commit_position > sent);
            sent = response->event->commit_position;
        } else if (response->content_case ==
                   EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_CHECKPOINT) {
            CHECK(response->checkpoint->commit_position >= sent);
            sent = response->checkpoint->commit_position;
        }
        caught_up =
            response->content_case == EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_CAUGHT_UP;
        bench_free(response);
    }
    CHECK(sent >= position);
    end();
}

TEST(a_tombstone_is_delivered_and_ends_the_subscription)
{
    struct bench_read read;
    struct stele_exchange other;
    bench_open(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 1);
    bench_read(&read, "a");
    subscribe(&read, "");
    TOLD("confirmed");
    TOLD("0@a");
    TOLD("caught-up(0)");
    CHECK_EQ(bench_delete(&bench, &other, "Tombstone", "a", STELE_EXPECT_ANY), 0);
    fake_close(bench.grpc, &other);
    TOLD("9223372036854775807@a");
    TOLD("end(9)");
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "stream-deleted");
    fake_close(bench.grpc, &exchange);
    bench_read(&read, "a");
    subscribe(&read, "");
    const char *told = bench_told(&bench, &exchange);
    if (strcmp(told, "confirmed") == 0) {
        told = bench_told(&bench, &exchange);
    }
    CHECK_TEXT_EQ(told, "end(9)");
    CHECK_TEXT_EQ(fake_answer(&exchange, "stream-name"), "a");
    end();
}

TEST(a_slow_subscriber_misses_nothing_and_is_not_waited_for)
{
    struct bench_read read;
    bench_open(&bench);
    bench_read(&read, NULL);
    bench_read_subscribe(&read);
    bench_call(&bench, &exchange, STREAMS "Read", "");
    exchange.full_at = 2000;
    bench_send(&bench, &exchange, &read.request);
    uint32_t next = 0;
    for (uint32_t i = 0; i < 300; i++) {
        (void)bench_append(&bench, "a", STELE_EXPECT_ANY, i, 1);
        bench_rest(&bench);
        CHECK(exchange.output.size - exchange.read_at < 3000);
        struct stele_bytes bytes;
        while (i % 50 == 49 && fake_next(&exchange, &bytes)) {
            ReadResp *response = (ReadResp *)protobuf_c_message_unpack(
                &event_store__client__streams__read_resp__descriptor, NULL, bytes.size, bytes.data);
            if (response->content_case == EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_EVENT) {
                CHECK_EQ(response->event->event->stream_revision, next++);
            }
            bench_free(response);
        }
        if (i % 50 == 49 && exchange.full) {
            exchange.full = false;
            stele_grpc_on_writable(bench.grpc, &exchange);
        }
    }
    CHECK(next > 20);
    exchange.full_at = 0;
    exchange.full = false;
    stele_grpc_on_writable(bench.grpc, &exchange);
    while (next < 300) {
        ReadResp *response = NEXT_READ(&bench, &exchange);
        if (response->content_case == EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_EVENT) {
            CHECK_EQ(response->event->event->stream_revision, next++);
        }
        bench_free(response);
    }
    end();
}

TEST(rights_that_are_taken_away_end_the_subscription)
{
    struct bench_read read;
    bench_open(&bench);
    bench_read(&read, "a");
    subscribe(&read, "somebody");
    TOLD("confirmed");
    TOLD("caught-up");
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 1);
    TOLD("0@a");
    bench.auth.closed = "a";
    bench.auth.generation++;
    (void)bench_append_one(&bench, "a", 1, "t", "{}", "", true);
    TOLD("end(7)");
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "access-denied");
    end();
}

TEST(many_subscribers_get_the_same_bytes)
{
    struct stele_exchange many[10];
    struct bench_read read;
    bench_open(&bench);
    for (size_t i = 0; i < 10; i++) {
        bench_read(&read, i % 2 == 0 ? "a" : NULL);
        bench_read_subscribe(&read);
        if (i >= 5) {
            read.uuid.content_case =
                EVENT_STORE__CLIENT__STREAMS__READ_REQ__OPTIONS__UUIDOPTION__CONTENT_STRING;
        }
        bench_call(&bench, &many[i], STREAMS "Read", "");
        bench_send(&bench, &many[i], &read.request);
        CHECK_TEXT_EQ(bench_told(&bench, &many[i]), "confirmed");
        CHECK_TEXT_HAS(bench_told(&bench, &many[i]), "caught-up");
    }
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 1);
    uint8_t id[16];
    char text[37];
    bench_id(0, id);
    stele_id_to_text(id, text);
    for (size_t i = 0; i < 10; i++) {
        ReadResp *response = NEXT_READ(&bench, &many[i]);
        if (i >= 5) {
            CHECK_TEXT_EQ(response->event->event->id->string, text);
        } else {
            CHECK_EQ(response->event->event->id->structured->most_significant_bits,
                     (int64_t)__builtin_bswap64(stele_load_u64le(id)));
        }
        CHECK_EQ(response->event->event->data.len, 7);
        bench_free(response);
        fake_close(bench.grpc, &many[i]);
    }
    bench_close(&bench);
}
