/* Streams.BatchAppend: interleaved appends, each answered once, with every error in its own form.
 *
 * Method: batches in one message and in parts, in every state of their streams; time is the test's. */
#include "bench.h"
#include "lib/check.h"

static struct bench bench;
static struct stele_exchange exchange;

#define OPTION(name)                                                                               \
    EVENT_STORE__CLIENT__STREAMS__BATCH_APPEND_REQ__OPTIONS__EXPECTED_STREAM_POSITION_##name
#define RESULT(name) EVENT_STORE__CLIENT__STREAMS__BATCH_APPEND_RESP__RESULT_##name

struct part {
    uint32_t correlation;
    const char *stream; /* NULL: no options. */
    uint64_t expected;
    uint32_t number, count;
    bool is_final;
    int64_t deadline_ms; /* 0: none. */
    size_t data_size;    /* 0: a few bytes. */
};

static void send_part(const struct part *part)
{
    BatchReq request = EVENT_STORE__CLIENT__STREAMS__BATCH_APPEND_REQ__INIT;
    EventStore__Client__Streams__BatchAppendReq__Options options =
        EVENT_STORE__CLIENT__STREAMS__BATCH_APPEND_REQ__OPTIONS__INIT;
    EventStore__Client__StreamIdentifier identifier = EVENT_STORE__CLIENT__STREAM_IDENTIFIER__INIT;
    EventStore__Client__UUID correlation = EVENT_STORE__CLIENT__UUID__INIT;
    EventStore__Client__UUID__Structured structured = EVENT_STORE__CLIENT__UUID__STRUCTURED__INIT;
    Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
    Google__Protobuf__Duration duration = GOOGLE__PROTOBUF__DURATION__INIT;
    structured.most_significant_bits = part->correlation;
    correlation.value_case = EVENT_STORE__CLIENT__UUID__VALUE_STRUCTURED;
    correlation.structured = &structured;
    request.correlation_id = &correlation;
    request.is_final = part->is_final;
    if (part->stream != NULL) {
        identifier.stream_name.data = (uint8_t *)(uintptr_t)part->stream;
        identifier.stream_name.len = strlen(part->stream);
        options.stream_identifier = &identifier;
        options.any = &empty;
        switch (part->expected) {
        case STELE_EXPECT_ANY:
            options.expected_stream_position_case = OPTION(ANY);
            break;
        case STELE_EXPECT_NO_STREAM:
            options.expected_stream_position_case = OPTION(NO_STREAM);
            break;
        case STELE_EXPECT_EXISTS:
            options.expected_stream_position_case = OPTION(STREAM_EXISTS);
            break;
        default:
            options.expected_stream_position_case = OPTION(STREAM_POSITION);
            options.stream_position = part->expected;
            break;
        }
        if (part->deadline_ms != 0) {
            duration.seconds = part->deadline_ms / 1000;
            duration.nanos = (int32_t)(part->deadline_ms % 1000 * 1000000);
            options.deadline_option_case =
                EVENT_STORE__CLIENT__STREAMS__BATCH_APPEND_REQ__OPTIONS__DEADLINE_OPTION_DEADLINE;
            options.deadline = &duration;
        }
        request.options = &options;
    }
    EventStore__Client__Streams__BatchAppendReq__ProposedMessage events[8];
    EventStore__Client__Streams__BatchAppendReq__ProposedMessage *list[8];
    EventStore__Client__UUID uuids[8];
    EventStore__Client__UUID__Structured ids[8];
    EventStore__Client__Streams__BatchAppendReq__ProposedMessage__MetadataEntry entries[2] = {
        EVENT_STORE__CLIENT__STREAMS__BATCH_APPEND_REQ__PROPOSED_MESSAGE__METADATA_ENTRY__INIT,
        EVENT_STORE__CLIENT__STREAMS__BATCH_APPEND_REQ__PROPOSED_MESSAGE__METADATA_ENTRY__INIT};
    EventStore__Client__Streams__BatchAppendReq__ProposedMessage__MetadataEntry *entry_list[2] = {
        &entries[0], &entries[1]};
    static uint8_t data[100000];
    entries[0].key = (char *)(uintptr_t) "type";
    entries[0].value = (char *)(uintptr_t) "t";
    entries[1].key = (char *)(uintptr_t) "content-type";
    entries[1].value = (char *)(uintptr_t) "application/json";
    CHECK(part->count <= 8);
    for (uint32_t i = 0; i < part->count; i++) {
        events[i] = (EventStore__Client__Streams__BatchAppendReq__ProposedMessage)
            EVENT_STORE__CLIENT__STREAMS__BATCH_APPEND_REQ__PROPOSED_MESSAGE__INIT;
        uuids[i] = (EventStore__Client__UUID)EVENT_STORE__CLIENT__UUID__INIT;
        ids[i] = (EventStore__Client__UUID__Structured)EVENT_STORE__CLIENT__UUID__STRUCTURED__INIT;
        ids[i].most_significant_bits = part->number + i;
        ids[i].least_significant_bits = 1;
        uuids[i].value_case = EVENT_STORE__CLIENT__UUID__VALUE_STRUCTURED;
        uuids[i].structured = &ids[i];
        events[i].id = &uuids[i];
        events[i].n_metadata = 2;
        events[i].metadata = entry_list;
        events[i].data.data = data;
        events[i].data.len = part->data_size > 0 ? part->data_size : 2;
        list[i] = &events[i];
    }
    request.n_proposed_messages = part->count;
    request.proposed_messages = list;
    bench_send(&bench, &exchange, &request);
}

/* "1:ok(2)", "1:ok(no-stream)", "1:error(6 WrongExpectedVersion)", "end(0)". */
static const char *next(void)
{
    static char said[512];
    BatchResp *response =
        bench_next(&bench, &exchange, &event_store__client__streams__batch_append_resp__descriptor);
    if (response == NULL) {
        (void)snprintf(said, sizeof said, "end(%d)", fake_status(&exchange));
        return said;
    }
    CHECK(response->stream_identifier != NULL);
    const long long id = response->correlation_id->structured->most_significant_bits;
    if (response->result_case == RESULT(ERROR)) {
        CHECK_EQ(response->error->n_details, 1);
        (void)snprintf(said, sizeof said, "%lld:error(%d %s %s)", id, (int)response->error->code,
                       response->error->message, response->error->details[0]->type_url);
    } else if (
        response->success->current_revision_option_case ==
        EVENT_STORE__CLIENT__STREAMS__BATCH_APPEND_RESP__SUCCESS__CURRENT_REVISION_OPTION_NO_STREAM) {
        (void)snprintf(said, sizeof said, "%lld:ok(no-stream)", id);
    } else {
        (void)snprintf(said, sizeof said, "%lld:ok(%llu)", id,
                       (unsigned long long)response->success->current_revision);
    }
    bench_free(response);
    return said;
}

static void begin(const char *user)
{
    bench_open(&bench);
    bench_call(&bench, &exchange, STREAMS "BatchAppend", user);
}

static void end(void)
{
    fake_close(bench.grpc, &exchange);
    bench_close(&bench);
}

#define URL "type.googleapis.com/event_store.client."

TEST(a_batch_in_one_message_is_stored_and_answered)
{
    begin("");
    send_part(&(struct part){1, "a", STELE_EXPECT_NO_STREAM, 0, 3, true, 0, 0});
    CHECK_TEXT_EQ(next(), "1:ok(2)");
    send_part(&(struct part){2, "a", 2, 10, 2, true, 0, 0});
    CHECK_TEXT_EQ(next(), "2:ok(4)");
    bench_end(&bench, &exchange);
    CHECK_TEXT_EQ(next(), "end(0)");
    struct bench_read read;
    bench_read(&read, "a");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "0@a 1@a 2@a 3@a 4@a end(0)");
    end();
}

TEST(the_answer_echoes_correlation_stream_and_expectation)
{
    begin("");
    send_part(&(struct part){7, "a", STELE_EXPECT_NO_STREAM, 0, 1, true, 0, 0});
    BatchResp *response =
        bench_next(&bench, &exchange, &event_store__client__streams__batch_append_resp__descriptor);
    CHECK_EQ(response->stream_identifier->stream_name.len, 1);
    CHECK_EQ(response->expected_stream_position_case,
             EVENT_STORE__CLIENT__STREAMS__BATCH_APPEND_RESP__EXPECTED_STREAM_POSITION_NO_STREAM);
    CHECK(response->success->position->commit_position > 0);
    bench_free(response);
    end();
}

TEST(batches_in_parts_may_be_interleaved)
{
    begin("");
    send_part(&(struct part){1, "a", STELE_EXPECT_ANY, 0, 2, false, 0, 0});
    send_part(&(struct part){2, "b", STELE_EXPECT_ANY, 10, 1, false, 0, 0});
    send_part(&(struct part){1, NULL, 0, 2, 1, false, 0, 0});
    send_part(&(struct part){2, NULL, 0, 11, 1, true, 0, 0});
    CHECK_TEXT_EQ(next(), "2:ok(1)");
    send_part(&(struct part){1, NULL, 0, 3, 0, true, 0, 0});
    CHECK_TEXT_EQ(next(), "1:ok(2)");
    /* Nobody knows it any more. */
    send_part(&(struct part){1, NULL, 0, 50, 1, true, 0, 0});
    bench_end(&bench, &exchange);
    CHECK_TEXT_EQ(next(), "end(0)");
    end();
}

TEST(every_batch_under_way_is_answered_before_the_call_ends)
{
    begin("");
    for (uint32_t i = 0; i < 100; i++) {
        send_part(&(struct part){i + 1, "a", STELE_EXPECT_ANY, 10 * i, 2, true, 0, 0});
    }
    bench_end(&bench, &exchange);
    bool seen[101] = {false};
    for (uint32_t i = 0; i < 100; i++) {
        const unsigned long id = strtoul(next(), NULL, 10);
        CHECK(id >= 1);
        CHECK(id <= 100);
        CHECK(!seen[id]);
        seen[id] = true;
    }
    CHECK_TEXT_EQ(next(), "end(0)");
    end();
}

TEST(refusals_have_their_codes_texts_and_details)
{
    struct stele_exchange other;
    bench_open(&bench);
    (void)bench_append(&bench, "some", STELE_EXPECT_ANY, 100, 3);
    (void)bench_append(&bench, "soft", STELE_EXPECT_ANY, 200, 3);
    CHECK_EQ(bench_delete(&bench, &other, "Delete", "soft", 2), 0);
    fake_close(bench.grpc, &other);
    CHECK_EQ(bench_delete(&bench, &other, "Tombstone", "dead", STELE_EXPECT_ANY), 0);
    fake_close(bench.grpc, &other);
    bench_call(&bench, &exchange, STREAMS "BatchAppend", "somebody");
    send_part(&(struct part){1, "some", 5, 0, 1, true, 0, 0});
    CHECK_TEXT_EQ(next(), "1:error(6 WrongExpectedVersion " URL "WrongExpectedVersion)");
    send_part(&(struct part){2, "none", STELE_EXPECT_EXISTS, 0, 1, true, 0, 0});
    CHECK_TEXT_EQ(next(), "2:error(6 WrongExpectedVersion " URL "WrongExpectedVersion)");
    send_part(&(struct part){3, "soft", STELE_EXPECT_EXISTS, 0, 1, true, 0, 0});
    CHECK_TEXT_EQ(next(), "3:error(5 StreamDeleted " URL "StreamDeleted)");
    send_part(&(struct part){4, "dead", STELE_EXPECT_ANY, 0, 1, true, 0, 0});
    CHECK_TEXT_EQ(next(), "4:error(5 StreamDeleted " URL "StreamDeleted)");
    send_part(&(struct part){5, "secret", STELE_EXPECT_ANY, 0, 1, true, 0, 0});
    CHECK_TEXT_EQ(next(), "5:error(7 AccessDenied " URL "AccessDenied)");
    send_part(&(struct part){6, "a", STELE_EXPECT_ANY, 0, 1, true, -5, 0});
    CHECK_TEXT_EQ(next(), "6:error(4 Timeout " URL "Timeout)");
    send_part(&(struct part){7, "a", STELE_EXPECT_ANY, 0, 1, true, 0, 65536});
    CHECK_TEXT_EQ(next(), "7:error(3 MaximumAppendEventSizeExceeded " URL
                          "MaximumAppendEventSizeExceeded)");
    bench.server.append_size_max = 100;
    send_part(&(struct part){8, "a", STELE_EXPECT_ANY, 0, 2, true, 0, 90});
    CHECK_TEXT_EQ(next(), "8:error(3 MaximumAppendSizeExceeded " URL "MaximumAppendSizeExceeded)");
    send_part(&(struct part){9, "", STELE_EXPECT_ANY, 0, 1, true, 0, 0});
    CHECK_TEXT_EQ(next(), "9:error(3 BadRequest " URL "BadRequest)");
    send_part(&(struct part){10, "none", STELE_EXPECT_ANY, 0, 0, true, 0, 0});
    CHECK_TEXT_EQ(next(), "10:ok(no-stream)");
    /* And it still works. */
    send_part(&(struct part){11, "some", 2, 0, 1, true, 0, 0});
    CHECK_TEXT_EQ(next(), "11:ok(3)");
    end();
}

TEST(a_conflict_tells_what_is_and_what_was_expected)
{
    begin("");
    (void)bench_append(&bench, "some", STELE_EXPECT_ANY, 100, 3);
    send_part(&(struct part){1, "some", 5, 0, 1, true, 0, 0});
    BatchResp *response =
        bench_next(&bench, &exchange, &event_store__client__streams__batch_append_resp__descriptor);
    const ProtobufCBinaryData *value = &response->error->details[0]->value;
    EventStore__Client__WrongExpectedVersion *wrong =
        event_store__client__wrong_expected_version__unpack(NULL, value->len, value->data);
    CHECK(wrong != NULL);
    CHECK_EQ(wrong->current_stream_revision, 2);
    CHECK_EQ(wrong->expected_stream_position, 5);
    bench_free(wrong);
    bench_free(response);
    end();
}

TEST(a_batch_that_is_not_complete_in_time_is_answered_and_forgotten)
{
    begin("");
    send_part(&(struct part){1, "a", STELE_EXPECT_ANY, 0, 1, false, 500, 0});
    send_part(&(struct part){2, "b", STELE_EXPECT_ANY, 5, 1, false, 0, 0});
    fake_loop_advance(&bench.loop, 499000);
    struct stele_bytes bytes;
    CHECK(!fake_next(&exchange, &bytes));
    fake_loop_advance(&bench.loop, 1000);
    CHECK_TEXT_EQ(next(), "1:error(4 Timeout " URL "Timeout)");
    send_part(&(struct part){1, NULL, 0, 1, 1, true, 0, 0});
    fake_loop_advance(&bench.loop, 1500000); /* No more than two seconds. */
    CHECK_TEXT_EQ(next(), "2:error(4 Timeout " URL "Timeout)");
    bench_end(&bench, &exchange);
    CHECK_TEXT_EQ(next(), "end(0)");
    end();
}

TEST(a_late_append_is_answered_once_although_it_is_stored)
{
    begin("");
    send_part(&(struct part){1, "a", STELE_EXPECT_ANY, 0, 1, true, 500, 0});
    fake_loop_advance(&bench.loop, 500000);
    const char *said = next();
    CHECK(strcmp(said, "1:error(4 Timeout " URL "Timeout)") == 0 || strcmp(said, "1:ok(0)") == 0);
    bench_end(&bench, &exchange);
    CHECK_TEXT_EQ(next(), "end(0)");
    end();
}

TEST(a_client_that_goes_away_leaves_nothing)
{
    begin("");
    send_part(&(struct part){1, "a", STELE_EXPECT_ANY, 0, 1, true, 0, 0});
    send_part(&(struct part){2, "b", STELE_EXPECT_ANY, 5, 1, false, 0, 0});
    fake_close(bench.grpc, &exchange);
    (void)fake_loop_wait(&bench.loop);
    bench_close(&bench);
}

TEST(a_message_that_is_none_ends_the_call)
{
    begin("");
    fake_send(bench.grpc, &exchange, "\x0a\x09", 2);
    CHECK_TEXT_EQ(next(), "end(3)");
    end();
    begin("");
    fake_send(bench.grpc, &exchange, "\x20\x01", 2); /* No correlation. */
    CHECK_TEXT_EQ(next(), "end(3)");
    end();
}
