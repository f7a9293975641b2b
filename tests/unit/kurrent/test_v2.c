/* AppendSession and AppendRecords: all or none, and errors with their details.
 *
 * Method: expected against actual states as in the protocol's table; details are read from the
 * trailer by protobuf-c. */
#include "bench.h"
#include "lib/check.h"

static struct bench bench;
static struct stele_exchange exchange;

typedef Kurrentdb__Protocol__V2__Streams__AppendRecord Record;
typedef Kurrentdb__Protocol__V2__Streams__AppendRequest Request;

struct record {
    Record record;
    Kurrentdb__Protocol__V2__Streams__SchemaInfo schema;
    Kurrentdb__Protocol__V2__Streams__AppendRecord__PropertiesEntry entry;
    Kurrentdb__Protocol__V2__Streams__AppendRecord__PropertiesEntry *entries[1];
    Google__Protobuf__Value value;
    char id[37];
};

static char *mutable(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void make_record(struct record *record, const char *stream, uint32_t number)
{
    uint8_t id[16];
    *record = (struct record){
        .record = KURRENTDB__PROTOCOL__V2__STREAMS__APPEND_RECORD__INIT,
        .schema = KURRENTDB__PROTOCOL__V2__STREAMS__SCHEMA_INFO__INIT,
        .entry = KURRENTDB__PROTOCOL__V2__STREAMS__APPEND_RECORD__PROPERTIES_ENTRY__INIT,
        .value = GOOGLE__PROTOBUF__VALUE__INIT,
    };
    bench_id(number, id);
    stele_id_to_text(id, record->id);
    record->record.record_id = record->id;
    record->record.stream = mutable(stream);
    record->schema.format = KURRENTDB__PROTOCOL__V2__STREAMS__SCHEMA_FORMAT__SCHEMA_FORMAT_JSON;
    record->schema.name = mutable("thing-happened");
    record->record.schema = &record->schema;
    record->record.data.data = (uint8_t *)mutable("{}");
    record->record.data.len = 2;
    record->value.kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
    record->value.number_value = number;
    record->entry.key = mutable("n\"");
    record->entry.value = &record->value;
    record->entries[0] = &record->entry;
    record->record.n_properties = 1;
    record->record.properties = record->entries;
}

static void session(const char *user)
{
    bench_call(&bench, &exchange, V2 "AppendSession", user);
}

static void add(const char *stream, int64_t expected, uint32_t number, uint32_t count)
{
    Request request = KURRENTDB__PROTOCOL__V2__STREAMS__APPEND_REQUEST__INIT;
    struct record records[4];
    Record *list[4];
    for (uint32_t i = 0; i < count; i++) {
        make_record(&records[i], "", number + i);
        list[i] = &records[i].record;
    }
    request.stream = mutable(stream);
    request.expected_revision = expected;
    request.n_records = count;
    request.records = list;
    bench_send(&bench, &exchange, &request);
}

static int end_session(void)
{
    bench_end(&bench, &exchange);
    return bench_status(&bench, &exchange);
}

static void done(void)
{
    fake_close(bench.grpc, &exchange);
}

static uint8_t value_of(char digit)
{
    const char *digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    return (uint8_t)(strchr(digits, digit) - digits);
}

/* The one detail, whose type has to be as named. */
static void *detail(const char *type, const ProtobufCMessageDescriptor *descriptor)
{
    uint8_t bytes[4096];
    size_t size = 0;
    char url[128];
    const char *text = fake_answer(&exchange, "grpc-status-details-bin");
    for (size_t i = 0; text[i] != '\0'; i += 4) {
        const uint32_t bits = (uint32_t)value_of(text[i]) << 18 |
                              (uint32_t)value_of(text[i + 1]) << 12 |
                              (text[i + 2] == '=' ? 0 : (uint32_t)value_of(text[i + 2]) << 6) |
                              (text[i + 3] == '=' ? 0 : (uint32_t)value_of(text[i + 3]));
        bytes[size++] = (uint8_t)(bits >> 16);
        bytes[size++] = (uint8_t)(bits >> 8);
        bytes[size++] = (uint8_t)bits;
        size -= (text[i + 2] == '=' ? 1u : 0u) + (text[i + 3] == '=' ? 1u : 0u);
    }
    Google__Rpc__Status *status = google__rpc__status__unpack(NULL, size, bytes);
    CHECK(status != NULL);
    CHECK_EQ(status->code, fake_status(&exchange));
    CHECK_EQ(status->n_details, 1);
    (void)snprintf(url, sizeof url, "type.googleapis.com/%s", type);
    CHECK_TEXT_EQ(status->details[0]->type_url, url);
    void *message = protobuf_c_message_unpack(descriptor, NULL, status->details[0]->value.len,
                                              status->details[0]->value.data);
    CHECK(message != NULL);
    bench_free(status);
    return message;
}

#define DETAIL(name, lower)                                                                        \
    detail("kurrentdb.protocol.v2.streams.errors." name,                                           \
           &kurrentdb__protocol__v2__streams__errors__##lower##__descriptor)

static void fill(void)
{
    struct stele_exchange other;
    bench_open(&bench);
    (void)bench_append(&bench, "some", STELE_EXPECT_ANY, 1000, 3);
    (void)bench_append(&bench, "soft", STELE_EXPECT_ANY, 2000, 3);
    CHECK_EQ(bench_delete(&bench, &other, "Delete", "soft", 2), 0);
    fake_close(bench.grpc, &other);
    CHECK_EQ(bench_delete(&bench, &other, "Tombstone", "dead", STELE_EXPECT_ANY), 0);
    fake_close(bench.grpc, &other);
}

TEST(a_session_appends_to_all_of_its_streams)
{
    fill();
    session("");
    add("a", -1, 0, 2);
    add("some", 2, 10, 1);
    add("b", -2, 20, 3);
    CHECK_EQ(end_session(), 0);
    Kurrentdb__Protocol__V2__Streams__AppendSessionResponse *response = bench_next(
        &bench, &exchange, &kurrentdb__protocol__v2__streams__append_session_response__descriptor);
    CHECK_EQ(response->n_output, 3);
    CHECK_TEXT_EQ(response->output[0]->stream, "a");
    CHECK_EQ(response->output[0]->stream_revision, 1);
    CHECK_TEXT_EQ(response->output[1]->stream, "some");
    CHECK_EQ(response->output[1]->stream_revision, 3);
    CHECK_EQ(response->output[2]->stream_revision, 2);
    CHECK(response->position > 0);
    bench_free(response);
    done();
    struct bench_read read;
    bench_read(&read, "b");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "0@b 1@b 2@b end(0)");
    bench_close(&bench);
}

TEST(properties_are_read_as_json_metadata)
{
    struct record record;
    struct bench_read read;
    bench_open(&bench);
    bench_call(&bench, &exchange, V2 "AppendRecords", "");
    Kurrentdb__Protocol__V2__Streams__AppendRecordsRequest request =
        KURRENTDB__PROTOCOL__V2__STREAMS__APPEND_RECORDS_REQUEST__INIT;
    make_record(&record, "a", 7);
    Record *list[1] = {&record.record};
    record.schema.format = KURRENTDB__PROTOCOL__V2__STREAMS__SCHEMA_FORMAT__SCHEMA_FORMAT_BYTES;
    record.schema.id = mutable("x-1");
    request.n_records = 1;
    request.records = list;
    bench_send(&bench, &exchange, &request);
    CHECK_EQ(end_session(), 0);
    done();
    bench_read(&read, "a");
    bench_call(&bench, &exchange, STREAMS "Read", "");
    bench_send(&bench, &exchange, &read.request);
    ReadResp *response = NEXT_READ(&bench, &exchange);
    const ProtobufCBinaryData *metadata = &response->event->event->custom_metadata;
    const char want[] = "{\"n\\\"\":7,\"$schema.name\":\"thing-happened\","
                        "\"$schema.format\":\"Bytes\",\"$schema.id\":\"x-1\"}";
    CHECK_EQ(metadata->len, sizeof want - 1);
    CHECK_BYTES_EQ(metadata->data, want, sizeof want - 1);
    CHECK_TEXT_EQ(response->event->event->metadata[0]->value, "thing-happened");
    CHECK_TEXT_EQ(response->event->event->metadata[2]->value, "application/octet-stream");
    bench_free(response);
    done();
    bench_close(&bench);
}

TEST(a_session_that_conflicts_appends_nothing)
{
    fill();
    session("");
    add("a", -2, 0, 2);
    add("some", 7, 10, 1);
    CHECK_EQ(end_session(), 9);
    Kurrentdb__Protocol__V2__Streams__Errors__StreamRevisionConflictErrorDetails *conflict =
        DETAIL("StreamRevisionConflictErrorDetails", stream_revision_conflict_error_details);
    CHECK_TEXT_EQ(conflict->stream, "some");
    CHECK_EQ(conflict->expected_revision, 7);
    CHECK_EQ(conflict->actual_revision, 2);
    bench_free(conflict);
    done();
    struct bench_read read;
    bench_read(&read, "a");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "not-found(a) end(0)");
    bench_close(&bench);
}

TEST(sessions_are_refused_with_details)
{
    fill();
    session("");
    add("dead", -2, 0, 1);
    CHECK_EQ(end_session(), 9);
    bench_free(DETAIL("StreamTombstonedErrorDetails", stream_tombstoned_error_details));
    done();
    session("");
    add("a", -2, 0, 1);
    add("A", -2, 5, 1);
    CHECK_EQ(bench_status(&bench, &exchange), 10);
    bench_free(DETAIL("StreamAlreadyInAppendSessionErrorDetails",
                      stream_already_in_append_session_error_details));
    done();
    session("");
    CHECK_EQ(end_session(), 9);
    done();
    session("");
    add("a", -2, 0, 0);
    CHECK_EQ(bench_status(&bench, &exchange), 3);
    done();
    session("");
    add("a", -3, 0, 1);
    CHECK_EQ(bench_status(&bench, &exchange), 3);
    done();
    session("somebody");
    add("secret", -2, 0, 1);
    CHECK_EQ(bench_status(&bench, &exchange), 7);
    bench_free(detail("kurrent.rpc.AccessDeniedErrorDetails",
                      &kurrent__rpc__access_denied_error_details__descriptor));
    done();
    bench.server.event_size_max = 10;
    session("");
    add("a", -2, 0, 1);
    CHECK_EQ(bench_status(&bench, &exchange), 3);
    bench_free(
        DETAIL("AppendRecordSizeExceededErrorDetails", append_record_size_exceeded_error_details));
    done();
    bench.server.event_size_max = 1000;
    bench.server.append_size_max = 50;
    session("");
    add("a", -2, 0, 3);
    CHECK_EQ(bench_status(&bench, &exchange), 10);
    bench_free(DETAIL("AppendTransactionSizeExceededErrorDetails",
                      append_transaction_size_exceeded_error_details));
    done();
    bench_close(&bench);
}

/* Appends one record to stream "w" (or to the checked one) under one check. */
static int check_one(const char *stream, int64_t expected, bool write)
{
    struct record record;
    Kurrentdb__Protocol__V2__Streams__AppendRecordsRequest request =
        KURRENTDB__PROTOCOL__V2__STREAMS__APPEND_RECORDS_REQUEST__INIT;
    Kurrentdb__Protocol__V2__Streams__ConsistencyCheck check =
        KURRENTDB__PROTOCOL__V2__STREAMS__CONSISTENCY_CHECK__INIT;
    Kurrentdb__Protocol__V2__Streams__ConsistencyCheck__StreamStateCheck state =
        KURRENTDB__PROTOCOL__V2__STREAMS__CONSISTENCY_CHECK__STREAM_STATE_CHECK__INIT;
    Kurrentdb__Protocol__V2__Streams__ConsistencyCheck *checks[1] = {&check};
    make_record(&record, write ? stream : "w", 7);
    Record *list[1] = {&record.record};
    state.stream = mutable(stream);
    state.expected_state = expected;
    check.type_case = KURRENTDB__PROTOCOL__V2__STREAMS__CONSISTENCY_CHECK__TYPE_STREAM_STATE;
    check.stream_state = &state;
    request.n_checks = 1;
    request.checks = checks;
    request.n_records = 1;
    request.records = list;
    bench_call(&bench, &exchange, V2 "AppendRecords", "");
    bench_send(&bench, &exchange, &request);
    return end_session();
}

TEST(checks_meet_states_as_the_table_says)
{
    /* actual: 99 is "holds". */
    static const struct {
        const char *stream;
        int64_t expected;
        int64_t checked, written;
    } cases[] = {
        {"some", 2, 99, 99},  {"some", 1, 2, 2},    {"some", -1, 2, 2},   {"some", -4, 99, 99},
        {"some", -5, 2, 2},   {"some", -6, 99, 99}, {"none", 0, -1, -1},  {"none", -1, 99, 99},
        {"none", -4, -1, -1}, {"none", -5, -1, -1}, {"none", -6, -1, -1}, {"soft", 2, 99, 99},
        {"soft", 1, -5, -5},  {"soft", -1, 99, 99}, {"soft", -4, -5, -5}, {"soft", -5, 99, 99},
        {"soft", -6, -5, -5}, {"dead", 2, -6, -6},  {"dead", -1, 99, -6}, {"dead", -4, -6, -6},
        {"dead", -5, -6, -6}, {"dead", -6, 99, -6},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        for (int write = 0; write < 2; write++) {
            fill();
            const int64_t actual = write ? cases[i].written : cases[i].checked;
            const int status = check_one(cases[i].stream, cases[i].expected, write == 1);
            if (status != (actual == 99 ? 0 : 9)) {
                (void)printf("# %s expected %lld write %d: status %d\n", cases[i].stream,
                             (long long)cases[i].expected, write, status);
            }
            CHECK_EQ(status, actual == 99 ? 0 : 9);
            if (actual != 99) {
                Kurrentdb__Protocol__V2__Streams__Errors__AppendConsistencyViolationErrorDetails
                    *v = DETAIL("AppendConsistencyViolationErrorDetails",
                                append_consistency_violation_error_details);
                CHECK_EQ(v->n_violations, 1);
                CHECK_EQ(v->violations[0]->check_index, 0);
                CHECK_TEXT_EQ(v->violations[0]->stream_state->stream, cases[i].stream);
                CHECK_EQ(v->violations[0]->stream_state->expected_state, cases[i].expected);
                CHECK_EQ(v->violations[0]->stream_state->actual_state, actual);
                bench_free(v);
            }
            done();
            bench_close(&bench);
        }
    }
}

TEST(records_of_several_streams_may_be_interleaved)
{
    struct record records[4];
    Record *list[4];
    bench_open(&bench);
    Kurrentdb__Protocol__V2__Streams__AppendRecordsRequest request =
        KURRENTDB__PROTOCOL__V2__STREAMS__APPEND_RECORDS_REQUEST__INIT;
    for (uint32_t i = 0; i < 4; i++) {
        make_record(&records[i], i % 2 == 0 ? "a" : "b", i);
        list[i] = &records[i].record;
    }
    request.n_records = 4;
    request.records = list;
    for (int again = 0; again < 2; again++) {
        bench_call(&bench, &exchange, V2 "AppendRecords", "");
        bench_send(&bench, &exchange, &request);
        CHECK_EQ(end_session(), 0);
        Kurrentdb__Protocol__V2__Streams__AppendRecordsResponse *response =
            bench_next(&bench, &exchange,
                       &kurrentdb__protocol__v2__streams__append_records_response__descriptor);
        CHECK_EQ(response->n_revisions, 2);
        CHECK_TEXT_EQ(response->revisions[0]->stream, "a");
        CHECK_EQ(response->revisions[0]->revision, 1);
        CHECK_TEXT_EQ(response->revisions[1]->stream, "b");
        bench_free(response);
        done();
    }
    struct bench_read read;
    bench_read(&read, "b");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "0@b 1@b end(0)");
    bench_close(&bench);
}
