/* Streams.Read gives what KurrentDB would: directions, places, counts, filters, and what is said of
 * streams that are not there.
 *
 * Method: a store of a few streams, every kind of request, and what came in words. Requests and
 * answers are made and read by protobuf-c. */
#include "bench.h"
#include "lib/check.h"

static struct bench bench;
static uint64_t position_b1;

/* a: 0..4, b: 0..2, one by one: a0 b0 a1 b1 a2 b2 a3 a4. */
static void fill(void)
{
    bench_open(&bench);
    for (uint32_t i = 0; i < 5; i++) {
        (void)bench_append(&bench, "a", STELE_EXPECT_ANY, i, 1);
        if (i < 3) {
            const uint64_t position = bench_append(&bench, "b", STELE_EXPECT_ANY, 100 + i, 1);
            position_b1 = i == 1 ? position : position_b1;
        }
    }
}

TEST(a_stream_is_read_forwards_from_any_revision)
{
    fill();
    struct bench_read read;
    bench_read(&read, "a");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "0@a 1@a 2@a 3@a 4@a end(0)");
    read.options.count = 2;
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "0@a 1@a end(0)");
    bench_read_from(&read, 3);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "3@a 4@a end(0)");
    bench_read_from(&read, 4);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "4@a end(0)");
    bench_read_from(&read, 5);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(0)");
    bench_read_from_end(&read);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(0)");
    read.options.count = 0;
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(0)");
    bench_close(&bench);
}

TEST(a_stream_is_read_backwards_from_any_revision)
{
    fill();
    struct bench_read read;
    bench_read(&read, "a");
    bench_read_backwards(&read);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "0@a end(0)");
    bench_read_from_end(&read);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "4@a 3@a 2@a 1@a 0@a end(0)");
    read.options.count = 2;
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "4@a 3@a end(0)");
    bench_read_from(&read, 1);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "1@a 0@a end(0)");
    bench_read_from(&read, 100);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "4@a 3@a end(0)");
    bench_close(&bench);
}

TEST(all_events_are_read_forwards_inclusively_and_backwards_exclusively)
{
    fill();
    struct bench_read read;
    bench_read(&read, NULL);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "0@a 0@b 1@a 1@b 2@a 2@b 3@a 4@a end(0)");
    read.options.count = 3;
    bench_read_from(&read, position_b1);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "1@b 2@a 2@b end(0)");
    bench_read_backwards(&read);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "1@a 0@b 0@a end(0)");
    bench_read_from_end(&read);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "4@a 3@a 2@b end(0)");
    bench_read_from(&read, 0);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(0)");
    bench_read(&read, NULL);
    bench_read_backwards(&read);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(0)");
    bench_read_from(&read, position_b1);
    read.position.prepare_position++;
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(3)");
    bench_close(&bench);
}

TEST(the_position_of_an_append_is_that_of_the_event_everywhere)
{
    fill();
    struct bench_read read;
    for (int all = 0; all < 2; all++) {
        struct stele_exchange exchange;
        bench_read(&read, all ? NULL : "b");
        bench_read_from(&read, all ? position_b1 : 1);
        read.options.count = 1;
        bench_call(&bench, &exchange, STREAMS "Read", "");
        bench_send(&bench, &exchange, &read.request);
        ReadResp *response = NEXT_READ(&bench, &exchange);
        CHECK_EQ(response->event->position_case,
                 EVENT_STORE__CLIENT__STREAMS__READ_RESP__READ_EVENT__POSITION_COMMIT_POSITION);
        CHECK_EQ(response->event->commit_position, position_b1);
        CHECK_EQ(response->event->event->commit_position, position_b1);
        CHECK_EQ(response->event->event->prepare_position, position_b1);
        bench_free(response);
        fake_close(bench.grpc, &exchange);
    }
    bench_close(&bench);
}

TEST(filters_take_prefixes_and_regular_expressions_of_streams_and_types)
{
    fill();
    struct bench_read read;
    bench_read(&read, NULL);
    bench_read_filter(&read, true, NULL, "b");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "0@b 1@b 2@b end(0)");
    bench_read(&read, NULL);
    bench_read_filter(&read, false, NULL, "type-10");
    read.prefixes[1] = read.prefixes[0];
    read.prefixes[0] = (char *)(uintptr_t) "type-4";
    read.expression.n_prefix = 2;
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "0@b 1@b 2@b 4@a end(0)");
    bench_read(&read, NULL);
    bench_read_filter(&read, false, "^type-[13]$", NULL);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "1@a 3@a end(0)");
    bench_read_backwards(&read);
    bench_read_from_end(&read);
    read.options.count = 1;
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "3@a end(0)");
    bench_read_filter(&read, false, "(", NULL);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(3)");
    bench_close(&bench);
}

TEST(indexes_are_read_as_prefixes_with_their_names)
{
    bench_open(&bench);
    (void)bench_append(&bench, "cat-1", STELE_EXPECT_ANY, 0, 1);
    (void)bench_append(&bench, "dog-1", STELE_EXPECT_ANY, 1, 1);
    (void)bench_append(&bench, "cat-2", STELE_EXPECT_ANY, 2, 1);
    (void)bench_append_one(&bench, "$sys", 3, "t", "{}", "", true);
    static const char *const cases[][2] = {
        {"$idx-all", "0@cat-1 0@dog-1 0@cat-2 end(0)"},
        {"$idx-ce-cat", "0@cat-1 0@cat-2 end(0)"},
        {"$idx-et-type-1", "0@dog-1 end(0)"},
        {"$idx-other", "end(5)"},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        struct bench_read read;
        bench_read(&read, NULL);
        bench_read_filter(&read, true, NULL, cases[i][0]);
        CHECK_TEXT_EQ(bench_said(&bench, &read, ""), cases[i][1]);
    }
    bench_close(&bench);
}

TEST(streams_that_are_not_there_are_told_apart)
{
    fill();
    struct bench_read read;
    struct stele_exchange exchange;
    bench_read(&read, "nobody");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "not-found(nobody) end(0)");
    read.options.count = 0;
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "not-found(nobody) end(0)");
    CHECK_EQ(bench_delete(&bench, &exchange, "Delete", "a", 4), 0);
    fake_close(bench.grpc, &exchange);
    bench_read(&read, "a");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "not-found(a) end(0)");
    (void)bench_append(&bench, "a", 4, 50, 1);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "5@a end(0)");
    CHECK_EQ(bench_delete(&bench, &exchange, "Tombstone", "a", STELE_EXPECT_ANY), 0);
    fake_close(bench.grpc, &exchange);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(9)");
    bench_read(&read, "$$a");
    bench_call(&bench, &exchange, STREAMS "Read", "");
    bench_send(&bench, &exchange, &read.request);
    CHECK_EQ(bench_status(&bench, &exchange), 9);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "stream-deleted");
    CHECK_TEXT_EQ(fake_answer(&exchange, "stream-name"), "$$a");
    CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"), "Event stream '$$a' is deleted.");
    fake_close(bench.grpc, &exchange);
    bench_close(&bench);
}

TEST(a_tombstone_is_seen_in_all_as_the_last_event_there_can_be)
{
    bench_open(&bench);
    struct stele_exchange exchange;
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 1);
    CHECK_EQ(bench_delete(&bench, &exchange, "Tombstone", "a", 0), 0);
    fake_close(bench.grpc, &exchange);
    struct bench_read read;
    bench_read(&read, NULL);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "0@a 9223372036854775807@a end(0)");
    bench_close(&bench);
}

TEST(clients_that_ask_for_it_are_told_the_last_and_first_revision)
{
    fill();
    struct bench_read read;
    bench_read(&read, "a");
    read.options.control_option = &read.control;
    read.control.compatibility = 1;
    read.options.count = 1;
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "0@a last(4) end(0)");
    (void)bench_append_one(&bench, "$$a", 60, "$metadata", "{\"$tb\":3}", "", true);
    bench_read_from(&read, 0);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "3@a last(4) end(0)");
    bench_read_from(&read, 7);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "last(4) end(0)");
    bench_close(&bench);
}

TEST(what_belongs_to_groups_on_all_is_not_seen_in_all_and_not_counted)
{
    bench_open(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 2);
    (void)bench_append(&bench, "$persistentsubscription-$all::g-checkpoint", STELE_EXPECT_ANY, 10,
                       3);
    (void)bench_append(&bench, "$persistentsubscription-$all::g-parked", STELE_EXPECT_ANY, 20, 1);
    (void)bench_append(&bench, "$persistentsubscription-a::g-checkpoint", STELE_EXPECT_ANY, 30, 1);
    (void)bench_append(&bench, "b", STELE_EXPECT_ANY, 40, 3);
    struct bench_read read;
    bench_read(&read, NULL);
    read.options.count = 5;
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""),
                  "0@a 1@a 0@$persistentsubscription-a::g-checkpoint 0@b 1@b end(0)");
    bench_read_backwards(&read);
    bench_read_from_end(&read);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""),
                  "2@b 1@b 0@b 0@$persistentsubscription-a::g-checkpoint 1@a end(0)");
    bench_close(&bench);
}

TEST(combinations_that_make_no_sense_are_refused)
{
    fill();
    struct bench_read read;
    bench_read(&read, "a");
    read.options.uuid_option = NULL;
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(3)");
    bench_read(&read, "a");
    bench_read_filter(&read, false, NULL, "x");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(3)");
    bench_read(&read, "a");
    bench_read_subscribe(&read);
    bench_read_backwards(&read);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(3)");
    bench_read(&read, "");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(3)");
    bench_read(&read, "$$");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(3)");
    bench_close(&bench);
}

TEST(who_may_not_read_is_told_access_denied)
{
    fill();
    struct bench_read read;
    bench_read(&read, "secret-1");
    CHECK_TEXT_EQ(bench_said(&bench, &read, "somebody"), "end(7)");
    CHECK_TEXT_EQ(bench_said(&bench, &read, "admin"), "not-found(secret-1) end(0)");
    bench.auth.closed = "$all";
    bench_read(&read, NULL);
    CHECK_TEXT_EQ(bench_said(&bench, &read, "somebody"), "end(7)");
    bench_close(&bench);
}

TEST(a_client_that_reads_slowly_gets_everything_and_holds_up_little)
{
    bench_open(&bench);
    for (uint32_t i = 0; i < 50; i++) {
        (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 100 * i, 100);
    }
    struct bench_read read;
    struct stele_exchange exchange;
    bench_read(&read, "a");
    read.options.count = 100000;
    bench_call(&bench, &exchange, STREAMS "Read", "");
    exchange.full_at = 10000;
    bench_send(&bench, &exchange, &read.request);
    uint64_t expected = 0;
    while (!exchange.ended || exchange.read_at < exchange.output.size) {
        struct stele_bytes bytes;
        (void)fake_loop_run(&bench.loop);
        CHECK(exchange.output.size - exchange.read_at < 11000);
        while (fake_next(&exchange, &bytes)) {
            ReadResp *response = (ReadResp *)protobuf_c_message_unpack(
                &event_store__client__streams__read_resp__descriptor, NULL, bytes.size, bytes.data);
            CHECK(response != NULL);
            CHECK_EQ(response->event->event->stream_revision, expected++);
            bench_free(response);
        }
        exchange.full = false;
        if (!exchange.ended) {
            stele_grpc_on_writable(bench.grpc, &exchange);
        }
    }
    CHECK_EQ(expected, 5000);
    CHECK_EQ(fake_status(&exchange), 0);
    fake_close(bench.grpc, &exchange);
    bench_close(&bench);
}

TEST(a_client_that_goes_away_in_the_middle_leaves_nothing)
{
    bench_open(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 100);
    struct bench_read read;
    struct stele_exchange exchange;
    bench_read(&read, "a");
    bench_call(&bench, &exchange, STREAMS "Read", "");
    exchange.full_at = 100;
    bench_send(&bench, &exchange, &read.request);
    CHECK_EQ(fake_status(&exchange), -1);
    fake_close(bench.grpc, &exchange);
    bench_close(&bench);
}

TEST(who_may_read_all_events_does_not_see_those_of_users)
{
    bench_open(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 1);
    (void)bench_append(&bench, "$user-anna", STELE_EXPECT_ANY, 10, 2);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 1, 1);
    struct bench_read read;
    bench_read(&read, NULL);
    read.options.count = 2;
    CHECK_TEXT_EQ(bench_said(&bench, &read, "somebody"), "0@a 1@a end(0)");
    CHECK_TEXT_EQ(bench_said(&bench, &read, "admin"), "0@a 0@$user-anna end(0)");
    bench_read(&read, "$et-type-10");
    CHECK_TEXT_EQ(bench_said(&bench, &read, "somebody"), "end(0)");
    bench_close(&bench);
}
