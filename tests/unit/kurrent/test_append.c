/* Streams.Append says what KurrentDB would: successes, conflicts in both of their forms, and errors
 * with the trailers that clients look at.
 *
 * Method: every state of a stream against every expectation; events are read back and compared byte
 * for byte. */
#include "bench.h"
#include "lib/check.h"

static struct bench bench;

#define RESULT(name) EVENT_STORE__CLIENT__STREAMS__APPEND_RESP__RESULT_##name
#define SUCCESS(name) EVENT_STORE__CLIENT__STREAMS__APPEND_RESP__SUCCESS__##name
#define WRONG(name) EVENT_STORE__CLIENT__STREAMS__APPEND_RESP__WRONG_EXPECTED_VERSION__##name

TEST(an_append_answers_revision_and_position)
{
    bench_open(&bench);
    AppendResp *response = NULL;
    CHECK_EQ(bench_try_append(&bench, "a", STELE_EXPECT_NO_STREAM, 0, 3, &response), 0);
    CHECK_EQ(response->result_case, RESULT(SUCCESS));
    CHECK_EQ(response->success->current_revision_option_case,
             SUCCESS(CURRENT_REVISION_OPTION_CURRENT_REVISION));
    CHECK_EQ(response->success->current_revision, 2);
    CHECK(response->success->position->commit_position > 0);
    bench_free(response);
    bench_close(&bench);
}

TEST(what_was_appended_is_read_byte_for_byte_with_both_forms_of_ids)
{
    bench_open(&bench);
    (void)bench_append_one(&bench, "a", 6, "Typ\xc3\xa4", "\x01\x02 data", "\xff meta", false);
    (void)bench_append_one(&bench, "a", 7, "json", "{}", "", true);
    for (int string = 0; string < 2; string++) {
        struct bench_read read;
        struct stele_exchange exchange;
        uint8_t id[16];
        char text[37];
        bench_read(&read, "a");
        if (string) {
            read.uuid.content_case =
                EVENT_STORE__CLIENT__STREAMS__READ_REQ__OPTIONS__UUIDOPTION__CONTENT_STRING;
        }
        bench_call(&bench, &exchange, STREAMS "Read", "");
        bench_send(&bench, &exchange, &read.request);
        for (uint32_t i = 0; i < 2; i++) {
            ReadResp *response = NEXT_READ(&bench, &exchange);
            const EventStore__Client__Streams__ReadResp__ReadEvent__RecordedEvent *event =
                response->event->event;
            bench_id(6 + i, id);
            stele_id_to_text(id, text);
            CHECK_EQ(event->stream_revision, i);
            if (string) {
                CHECK_EQ(event->id->value_case, EVENT_STORE__CLIENT__UUID__VALUE_STRING);
                CHECK_TEXT_EQ(event->id->string, text);
            } else {
                CHECK_EQ(event->id->value_case, EVENT_STORE__CLIENT__UUID__VALUE_STRUCTURED);
                CHECK_EQ(event->id->structured->most_significant_bits,
                         (int64_t)__builtin_bswap64(stele_load_u64le(id)));
                CHECK_EQ(event->id->structured->least_significant_bits,
                         (int64_t)__builtin_bswap64(stele_load_u64le(id + 8)));
            }
            CHECK_EQ(event->n_metadata, 3);
            CHECK_TEXT_EQ(event->metadata[0]->key, "type");
            CHECK_TEXT_EQ(event->metadata[0]->value, i == 0 ? "Typ\xc3\xa4" : "json");
            CHECK_TEXT_EQ(event->metadata[1]->key, "created");
            const uint64_t ticks = strtoull(event->metadata[1]->value, NULL, 10);
            CHECK(ticks > UINT64_C(17000000000000000));
            CHECK(ticks < UINT64_C(99000000000000000));
            CHECK_TEXT_EQ(event->metadata[2]->key, "content-type");
            CHECK_TEXT_EQ(event->metadata[2]->value,
                          i == 0 ? "application/octet-stream" : "application/json");
            CHECK_EQ(event->data.len, i == 0 ? 7 : 2);
            CHECK_BYTES_EQ(event->data.data, i == 0 ? "\x01\x02 data" : "{}", event->data.len);
            CHECK_EQ(event->custom_metadata.len, i == 0 ? 6 : 0);
            CHECK_BYTES_EQ(event->custom_metadata.data, "\xff meta", event->custom_metadata.len);
            bench_free(response);
        }
        fake_close(bench.grpc, &exchange);
    }
    bench_close(&bench);
}

/* "ok", "wrong", "deleted". */
static const char *outcome(const char *stream, uint64_t expected, uint32_t number, uint32_t count)
{
    AppendResp *response = NULL;
    const int status = bench_try_append(&bench, stream, expected, number, count, &response);
    const char *word = status == 9 ? "deleted" : "other";
    if (status == 0) {
        word = response->result_case == RESULT(SUCCESS) ? "ok" : "wrong";
        bench_free(response);
    }
    return word;
}

/* none, some (0..2), meta (metadata alone), soft (deleted at 2), dead (tombstoned). */
static void fill(void)
{
    struct stele_exchange exchange;
    bench_open(&bench);
    (void)bench_append(&bench, "some", STELE_EXPECT_ANY, 0, 3);
    (void)bench_append_one(&bench, "$$meta", 50, "$metadata", "{\"x\":1}", "", true);
    (void)bench_append(&bench, "soft", STELE_EXPECT_ANY, 10, 3);
    CHECK_EQ(bench_delete(&bench, &exchange, "Delete", "soft", 2), 0);
    fake_close(bench.grpc, &exchange);
    (void)bench_append(&bench, "dead", STELE_EXPECT_ANY, 20, 3);
    CHECK_EQ(bench_delete(&bench, &exchange, "Tombstone", "dead", 2), 0);
    fake_close(bench.grpc, &exchange);
}

TEST(expectations_meet_states_as_the_table_says)
{
    static const struct {
        const char *stream;
        uint64_t expected;
        const char *outcome;
    } cases[] = {
        {"none", STELE_EXPECT_ANY, "ok"},
        {"none", STELE_EXPECT_NO_STREAM, "ok"},
        {"none", STELE_EXPECT_EXISTS, "wrong"},
        {"none", 0, "wrong"},
        {"some", STELE_EXPECT_ANY, "ok"},
        {"some", STELE_EXPECT_NO_STREAM, "wrong"},
        {"some", STELE_EXPECT_EXISTS, "ok"},
        {"some", 2, "ok"},
        {"some", 1, "wrong"},
        {"some", 3, "wrong"},
        {"meta", STELE_EXPECT_EXISTS, "ok"},
        {"meta", STELE_EXPECT_NO_STREAM, "ok"},
        {"soft", STELE_EXPECT_ANY, "ok"},
        {"soft", STELE_EXPECT_NO_STREAM, "ok"},
        {"soft", STELE_EXPECT_EXISTS, "deleted"},
        {"soft", 2, "ok"},
        {"soft", 1, "wrong"},
        {"dead", STELE_EXPECT_ANY, "deleted"},
        {"dead", STELE_EXPECT_NO_STREAM, "deleted"},
        {"dead", STELE_EXPECT_EXISTS, "deleted"},
        {"dead", 2, "deleted"},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        for (uint32_t count = 0; count < 2; count++) {
            fill();
            /* An append without events answers as one with events would. */
            CHECK_TEXT_EQ(outcome(cases[i].stream, cases[i].expected, 1000, count),
                          cases[i].outcome);
            bench_close(&bench);
        }
    }
}

TEST(a_stream_that_was_deleted_goes_on_counting_where_it_was)
{
    fill();
    AppendResp *response = NULL;
    CHECK_EQ(bench_try_append(&bench, "soft", STELE_EXPECT_NO_STREAM, 90, 2, &response), 0);
    CHECK_EQ(response->success->current_revision, 4);
    bench_free(response);
    struct bench_read read;
    bench_read(&read, "soft");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "3@soft 4@soft end(0)");
    bench_close(&bench);
}

TEST(conflicts_are_told_in_the_fields_of_today_and_of_2020)
{
    fill();
    AppendResp *response = NULL;
    CHECK_EQ(bench_try_append(&bench, "some", 7, 100, 1, &response), 0);
    CHECK_EQ(response->result_case, RESULT(WRONG_EXPECTED_VERSION));
    const EventStore__Client__Streams__AppendResp__WrongExpectedVersion *wrong =
        response->wrong_expected_version;
    CHECK_EQ(wrong->current_revision_20_6_0, 2);
    CHECK_EQ(wrong->current_revision, 2);
    CHECK_EQ(wrong->expected_revision_20_6_0, 7);
    CHECK_EQ(wrong->expected_revision, 7);
    bench_free(response);
    CHECK_EQ(bench_try_append(&bench, "none", STELE_EXPECT_EXISTS, 100, 1, &response), 0);
    wrong = response->wrong_expected_version;
    CHECK_EQ(wrong->current_revision_option_case, WRONG(CURRENT_REVISION_OPTION_CURRENT_NO_STREAM));
    CHECK_EQ(wrong->current_revision_option_20_6_0_case,
             WRONG(CURRENT_REVISION_OPTION_20_6_0_NO_STREAM_20_6_0));
    CHECK_EQ(wrong->expected_revision_option_case,
             WRONG(EXPECTED_REVISION_OPTION_EXPECTED_STREAM_EXISTS));
    CHECK_EQ(wrong->expected_revision_option_20_6_0_case,
             WRONG(EXPECTED_REVISION_OPTION_20_6_0_STREAM_EXISTS_20_6_0));
    bench_free(response);
    CHECK_EQ(bench_try_append(&bench, "some", STELE_EXPECT_NO_STREAM, 100, 1, &response), 0);
    wrong = response->wrong_expected_version;
    CHECK_EQ(wrong->expected_revision_option_case,
             WRONG(EXPECTED_REVISION_OPTION_EXPECTED_NO_STREAM));
    CHECK_EQ(wrong->expected_revision_option_20_6_0_case, 0);
    bench_free(response);
    bench_close(&bench);
}

TEST(the_same_append_again_is_stored_once_and_answered_alike)
{
    fill();
    const uint64_t position = bench_append(&bench, "again", STELE_EXPECT_NO_STREAM, 100, 3);
    CHECK_EQ(bench_append(&bench, "again", STELE_EXPECT_NO_STREAM, 100, 3), position);
    CHECK_EQ(bench_append(&bench, "again", STELE_EXPECT_ANY, 100, 3), position);
    CHECK_EQ(bench_append(&bench, "again", STELE_EXPECT_EXISTS, 100, 3), position);
    CHECK_TEXT_EQ(outcome("again", STELE_EXPECT_ANY, 102, 2), "wrong"); /* Known, then unknown. */
    CHECK_TEXT_EQ(outcome("again", STELE_EXPECT_NO_STREAM, 101, 3), "wrong");
    struct bench_read read;
    bench_read(&read, "again");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "0@again 1@again 2@again end(0)");
    bench_close(&bench);
}

TEST(an_append_without_events_writes_nothing_and_tells_the_revision)
{
    fill();
    AppendResp *response = NULL;
    CHECK_EQ(bench_try_append(&bench, "some", STELE_EXPECT_ANY, 0, 0, &response), 0);
    CHECK_EQ(response->success->current_revision, 2);
    CHECK_EQ(response->success->position_option_case, SUCCESS(POSITION_OPTION_NO_POSITION));
    bench_free(response);
    CHECK_EQ(bench_try_append(&bench, "none", STELE_EXPECT_ANY, 0, 0, &response), 0);
    CHECK_EQ(response->success->current_revision_option_case,
             SUCCESS(CURRENT_REVISION_OPTION_NO_STREAM));
    bench_free(response);
    bench_close(&bench);
}

/* Sends bytes as a message; the exchange is left open. */
static int send_raw(struct stele_exchange *exchange, const char *user, const void *options,
                    size_t options_size, const void *event, size_t event_size)
{
    bench_call(&bench, exchange, STREAMS "Append", user);
    fake_send(bench.grpc, exchange, options, options_size);
    if (event_size > 0) {
        fake_send(bench.grpc, exchange, event, event_size);
    }
    bench_end(&bench, exchange);
    return bench_status(&bench, exchange);
}

/* Options: stream "a", any. */
#define OPTIONS "\x0a\x07\x0a\x03\x1a\x01\x61\x22\x00"
#define ID "\x0a\x06\x0a\x04\x08\x01\x10\x02"

TEST(malformed_requests_are_refused)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"", 0},                                     /* No options. */
        {"\x12\x02\x22\x00", 4},                     /* An event first. */
        {"\x0a\x05\x0a\x03\x1a\x01\x61", 7},         /* No expectation. */
        {"\x0a\x02\x22\x00", 4},                     /* No stream. */
        {"\x0a\x07\x0a\x03\x1a\x01\x00\x22\x00", 9}, /* A zero in the name. */
        {"\x0a\x07\x0a\x03\x1a\x05\x61\x22\x00", 9}, /* Cut. */
        {"\x0a", 1},
    };
    bench_open(&bench);
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        struct stele_exchange exchange;
        CHECK_EQ(send_raw(&exchange, "", cases[i].bytes, cases[i].size, NULL, 0), 3);
        fake_close(bench.grpc, &exchange);
    }
    bench_close(&bench);
}

TEST(an_event_without_type_or_content_type_is_refused_by_name)
{
    struct stele_exchange exchange;
    bench_open(&bench);
    static const char no_type[] = "\x12\x08" ID;
    CHECK_EQ(send_raw(&exchange, "", OPTIONS, 9, no_type, sizeof no_type - 1), 3);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "missing-required-metadata-property");
    CHECK_TEXT_EQ(fake_answer(&exchange, "required-metadata-properties"), "type,content-type");
    CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"),
                  "Required Metadata Property 'type' is missing");
    fake_close(bench.grpc, &exchange);
    static const char no_content[] = "\x12\x13" ID "\x12\x09\x0a\x04type\x12\x01t";
    CHECK_EQ(send_raw(&exchange, "", OPTIONS, 9, no_content, sizeof no_content - 1), 3);
    CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"),
                  "Required Metadata Property 'content-type' is missing");
    fake_close(bench.grpc, &exchange);
    bench_close(&bench);
}

TEST(what_is_too_large_is_refused_with_its_size)
{
    static char large[65536 + 10];
    static uint8_t event[sizeof large + 100];
    struct stele_exchange exchange;
    bench_open(&bench);
    memset(large, 'x', sizeof large - 1);
    static const char head[] = ID "\x12\x09\x0a\x04type\x12\x01t"
                                  "\x12\x20\x0a\x0c"
                                  "content-type\x12\x10"
                                  "application/json";
    uint8_t *to = stele_pb_put_message(
        event, 2, sizeof head - 1 + stele_pb_size_bytes(4, bench.server.event_size_max - 1));
    memcpy(to, head, sizeof head - 1);
    to = stele_pb_put_bytes(to + sizeof head - 1, 4, large, bench.server.event_size_max - 1);
    /* The type counts two bytes a letter. */
    CHECK_EQ(send_raw(&exchange, "", OPTIONS, 9, event, (size_t)(to - event)), 3);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "maximum-append-event-size-exceeded");
    CHECK_TEXT_EQ(fake_answer(&exchange, "maximum-append-event-size"), "65536");
    CHECK_TEXT_EQ(fake_answer(&exchange, "proposed-append-event-size"), "65537");
    CHECK_TEXT_EQ(fake_answer(&exchange, "event-id"), "00000000-0000-0001-0000-000000000002");
    fake_close(bench.grpc, &exchange);
    bench.server.append_size_max = 100;
    bench.server.event_size_max = 90;
    AppendResp *response = NULL;
    CHECK_EQ(bench_try_append(&bench, "a", STELE_EXPECT_ANY, 0, 10, &response), 3);
    bench_close(&bench);
}

TEST(who_may_not_write_is_told_access_denied)
{
    struct stele_exchange exchange;
    bench_open(&bench);
    CHECK_EQ(
        send_raw(&exchange, "somebody", "\x0a\x0d\x0a\x09\x1a\x07secretX\x22\x00", 15, NULL, 0), 7);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "access-denied");
    CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"), "Access Denied");
    fake_close(bench.grpc, &exchange);
    bench_close(&bench);
}

TEST(a_client_may_go_while_its_append_is_under_way)
{
    struct stele_exchange exchange;
    bench_open(&bench);
    static const char event[] = "\x12\x35" ID "\x12\x09\x0a\x04type\x12\x01t"
                                "\x12\x20\x0a\x0c"
                                "content-type\x12\x10"
                                "application/json";
    bench_call(&bench, &exchange, STREAMS "Append", "");
    fake_send(bench.grpc, &exchange, OPTIONS, 9);
    fake_send(bench.grpc, &exchange, event, sizeof event - 1);
    bench_end(&bench, &exchange);
    fake_close(bench.grpc, &exchange);
    /* It is durable at some moment, on a thread of the store's. */
    struct bench_read read;
    const char *said = "not-found(a) end(0)";
    for (int i = 0; i < 100 && strcmp(said, "not-found(a) end(0)") == 0; i++) {
        (void)fake_loop_wait(&bench.loop);
        bench_read(&read, "a");
        said = bench_said(&bench, &read, "");
    }
    CHECK_TEXT_EQ(said, "0@a end(0)");
    bench_close(&bench);
}
