/* The newer StreamsService: appends to several streams, all or none.
 *
 * AppendSession gets one request for each stream; AppendRecords one request whose records name their
 * streams, and checks of streams that need not be written. Both become one append of the engine. */
#include "api/kurrent/v2_internal.h"

#include <stdio.h>
#include <strings.h>

#define ERRORS "kurrentdb.protocol.v2.streams.errors."

/* States of a stream as this protocol counts them; what is not negative is a revision. */
#define STATE_NO_STREAM INT64_C(-1)
#define STATE_ANY INT64_C(-2)
#define STATE_EXISTS INT64_C(-4)
#define STATE_SOFT_DELETED INT64_C(-5)
#define STATE_TOMBSTONED INT64_C(-6)

/* A stream of the append: written, checked, or both. */
struct target {
    size_t name_at; /* In texts. */
    int64_t expected;
    size_t check_index;   /* Of AppendRecords; SIZE_MAX: none. */
    size_t records_count; /* Written by so many. */
    size_t drafts_at;
};

struct record {
    uint8_t id[16];
    uint32_t target;
    uint32_t format;
    size_t type_at, data_at, data_size, metadata_at, metadata_size; /* In texts. */
};

struct session {
    struct stele_appending appending; /* First: on_done finds the rest. */
    struct stele_call *call;
    bool is_session; /* AppendSession. */
    bool started;
    struct stele_buf texts;
    struct stele_buf targets;
    struct stele_buf records;
    struct stele_buf revisions; /* What the engine fills. */
    struct stele_buf order;     /* Of the engine's streams: the target's index. */
    uint64_t size;
};

static struct session *session_of(struct stele_call *call)
{
    return stele_call_state(call);
}

static struct target *targets_of(const struct session *session)
{
    return (struct target *)(void *)session->targets.data;
}

static size_t targets_count(const struct session *session)
{
    return session->targets.size / sizeof(struct target);
}

static struct record *records_of(const struct session *session)
{
    return (struct record *)(void *)session->records.data;
}

static size_t records_count(const struct session *session)
{
    return session->records.size / sizeof(struct record);
}

static const char *name_of(const struct session *session, const struct target *target)
{
    return (const char *)session->texts.data + target->name_at;
}

/* ---- Errors: google.rpc.Status with one detail ------------------------------------------------- */

struct detail {
    uint8_t value[STELE_KURRENT__NAME_SIZE * 2 + 256];
    uint8_t *to;
};

static uint8_t *put_stream(uint8_t *to, const char *stream)
{
    return stele_pb_put_bytes(to, 1, stream, strlen(stream));
}

static uint8_t *put_signed(uint8_t *to, uint32_t field, int64_t value)
{
    return value == 0 ? to : stele_pb_put_u64(to, field, stele_pb_zigzag_of(value));
}

static void fail_request(struct session *session, const char *field, const char *description)
{
    uint8_t value[512];
    const size_t field_size = strlen(field);
    const size_t size = strlen(description);
    STELE_ASSERT(field_size + size + 16 < sizeof value);
    uint8_t *to = stele_pb_put_message(
        value, 1, stele_pb_size_bytes(1, field_size) + stele_pb_size_bytes(2, size));
    to = stele_pb_put_bytes(to, 1, field, field_size);
    to = stele_pb_put_bytes(to, 2, description, size);
    stele_kurrent__fail_detailed(session->call, STELE_GRPC_INVALID_ARGUMENT, description,
                                 "google.rpc.BadRequest", value, (size_t)(to - value));
}

static void fail_access(struct session *session)
{
    static const char operation[] = "streams:write";
    uint8_t value[64];
    const uint8_t *to = stele_pb_put_bytes(value, 1, operation, sizeof operation - 1);
    stele_kurrent__fail_detailed(session->call, STELE_GRPC_PERMISSION_DENIED, "Access Denied",
                                 "kurrent.rpc.AccessDeniedErrorDetails", value,
                                 (size_t)(to - value));
}

static void fail_stream(struct session *session, enum stele_grpc_code code, const char *what,
                        const char *type, const char *stream)
{
    uint8_t value[STELE_KURRENT__NAME_SIZE + 16];
    char message[STELE_KURRENT__NAME_SIZE + 80];
    const uint8_t *to = put_stream(value, stream);
    (void)snprintf(message, sizeof message, "Stream '%s' %s.", stream, what);
    stele_kurrent__fail_detailed(session->call, code, message, type, value, (size_t)(to - value));
}

static void fail_conflict(struct session *session, const char *stream, int64_t expected,
                          int64_t actual)
{
    uint8_t value[STELE_KURRENT__NAME_SIZE + 64];
    char message[STELE_KURRENT__NAME_SIZE + 160];
    uint8_t *to = put_stream(value, stream);
    to = put_signed(to, 2, expected);
    to = put_signed(to, 3, actual);
    (void)snprintf(message, sizeof message,
                   "Append failed due to a revision conflict on stream '%s'. Expected revision: "
                   "%lld. Actual revision: %lld.",
                   stream, (long long)expected, (long long)actual);
    stele_kurrent__fail_detailed(session->call, STELE_GRPC_FAILED_PRECONDITION, message,
                                 ERRORS "StreamRevisionConflictErrorDetails", value,
                                 (size_t)(to - value));
}

static void fail_record_size(struct session *session, const char *stream, const uint8_t id[16],
                             uint64_t size)
{
    const uint32_t size_max = stele_call_server(session->call)->event_size_max;
    uint8_t value[STELE_KURRENT__NAME_SIZE + 96];
    char text[37];
    char message[STELE_KURRENT__NAME_SIZE + 160];
    stele_id_to_text(id, text);
    uint8_t *to = put_stream(value, stream);
    to = stele_pb_put_bytes(to, 2, text, 36);
    to = stele_pb_put_u64(to, 3, size);
    to = stele_pb_put_u64(to, 4, size_max);
    (void)snprintf(message, sizeof message,
                   "The size of record '%s' (%llu bytes) exceeds the maximum allowed size of %u "
                   "bytes.",
                   text, (unsigned long long)size, size_max);
    stele_kurrent__fail_detailed(session->call, STELE_GRPC_INVALID_ARGUMENT, message,
                                 ERRORS "AppendRecordSizeExceededErrorDetails", value,
                                 (size_t)(to - value));
}

static void fail_transaction_size(struct session *session)
{
    const uint32_t size_max = stele_call_server(session->call)->append_size_max;
    uint8_t value[32];
    char message[160];
    uint8_t *to = stele_pb_put_u64(value, 1, session->size);
    to = stele_pb_put_u64(to, 2, size_max);
    (void)snprintf(message, sizeof message,
                   "The total size of the append transaction (%llu bytes) exceeds the maximum "
                   "allowed size of %u bytes.",
                   (unsigned long long)session->size, size_max);
    stele_kurrent__fail_detailed(session->call, STELE_GRPC_ABORTED, message,
                                 ERRORS "AppendTransactionSizeExceededErrorDetails", value,
                                 (size_t)(to - value));
}

static void fail_memory(struct session *session)
{
    stele_call_finish(session->call, STELE_GRPC_UNAVAILABLE, "Server Is Too Busy");
}

/* ---- Collecting -------------------------------------------------------------------------------- */

static struct stele_alloc *alloc_of(const struct session *session)
{
    return stele_call_loop(session->call)->alloc;
}

static int keep(struct session *session, struct stele_bytes bytes, size_t *out_at)
{
    *out_at = session->texts.size;
    if (stele_buf_reserve(&session->texts, alloc_of(session), bytes.size + 1) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    uint8_t *to = session->texts.data + session->texts.size;
    if (bytes.size > 0) {
        memcpy(to, bytes.data, bytes.size);
    }
    to[bytes.size] = 0;
    session->texts.size += bytes.size + 1;
    return STELE_OK;
}

/* The target of that name, in whatever case; targets_count(): none. */
static size_t find_target(const struct session *session, const char *name)
{
    const struct target *targets = targets_of(session);
    size_t i = 0;
    while (i < targets_count(session) && strcasecmp(name_of(session, &targets[i]), name) != 0) {
        i++;
    }
    return i;
}

/* false: the call was failed. */
static bool add_target(struct session *session, const char *name, int64_t expected,
                       size_t check_index)
{
    struct target target = {.expected = expected, .check_index = check_index};
    if (targets_count(session) == STELE_APPEND_STREAMS_MAX) {
        fail_request(session, "stream", "too many streams in one append");
        return false;
    }
    if (keep(session, stele_bytes_of_text(name), &target.name_at) != STELE_OK ||
        stele_buf_append(&session->targets, alloc_of(session),
                         (struct stele_bytes){.data = (const uint8_t *)&target,
                                              .size = sizeof target}) != STELE_OK) {
        fail_memory(session);
        return false;
    }
    return true;
}

static bool check_rights(struct session *session, const char *stream, enum stele_right right)
{
    if (stele_auth_may(stele_call_server(session->call)->auth, stele_call_principal(session->call),
                       stele_kurrent__text_of(stream), right)) {
        return true;
    }
    fail_access(session);
    return false;
}

/* AppendRecord, borrowed. */
struct draft {
    struct stele_bytes id, schema_name, schema_id, data, stream, whole;
    uint64_t format;
    bool has_properties;
};

static bool get_schema(struct stele_bytes message, struct draft *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_VARINT) {
            out->format = field.value;
        } else if (field.number == 2 && field.wire == STELE_PB_BYTES) {
            out->schema_name = field.bytes;
        } else if (field.number == 3 && field.wire == STELE_PB_BYTES) {
            out->schema_id = field.bytes;
        }
    }
    return !reader.bad;
}

static bool get_record(struct stele_bytes message, struct draft *out)
{
    *out = (struct draft){.whole = message};
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.wire != STELE_PB_BYTES) {
            continue;
        }
        switch (field.number) {
        case 1:
            out->id = field.bytes;
            break;
        case 2:
            out->has_properties = true;
            break;
        case 3:
            if (!get_schema(field.bytes, out)) {
                return false;
            }
            break;
        case 4:
            out->data = field.bytes;
            break;
        case 5:
            out->stream = field.bytes;
            break;
        default:
            break;
        }
    }
    return !reader.bad;
}

/* Properties and schema as one JSON object, without its braces and with a comma at the end: what a
 * client that reads the event by the older services gets for its metadata.
 * SPEC(kurrent/append-records/schema-in-metadata) */
static int put_properties(struct session *session, const struct draft *draft, struct stele_buf *to)
{
    static const char *const formats[] = {"", "Json", "Protobuf", "Avro", "Bytes"};
    struct stele_alloc *alloc = alloc_of(session);
    struct stele_pb_reader reader = stele_pb_reader(draft->whole);
    struct stele_pb_field field;
    int outcome = STELE_OK;
    const struct stele_bytes comma = stele_bytes_of_text(",");
    while (outcome == STELE_OK && stele_pb_next(&reader, &field)) {
        if (field.number == 2 && field.wire == STELE_PB_BYTES) {
            outcome = stele_kurrent__put_json_member(to, alloc, field.bytes, 0);
            outcome = outcome == STELE_OK ? stele_buf_append(to, alloc, comma) : outcome;
        }
    }
    if (outcome == STELE_OK) {
        outcome = stele_buf_append(to, alloc, stele_bytes_of_text("\"$schema.name\":"));
        outcome = outcome == STELE_OK
                      ? stele_kurrent__put_json_string(to, alloc, draft->schema_name)
                      : outcome;
    }
    if (outcome == STELE_OK) {
        char text[48];
        (void)snprintf(text, sizeof text, ",\"$schema.format\":\"%s\",", formats[draft->format]);
        outcome = stele_buf_append(to, alloc, stele_bytes_of_text(text));
    }
    if (outcome == STELE_OK && draft->schema_id.size > 0) {
        outcome = stele_buf_append(to, alloc, stele_bytes_of_text("\"$schema.id\":"));
        outcome = outcome == STELE_OK ? stele_kurrent__put_json_string(to, alloc, draft->schema_id)
                                      : outcome;
        outcome = outcome == STELE_OK ? stele_buf_append(to, alloc, comma) : outcome;
    }
    return outcome;
}

/* [\p{L}\p{N}_.$:-]+, with everything beyond ASCII taken for letters. */
static bool is_schema_name(struct stele_bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        const uint8_t byte = name.data[i];
        const bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                            (byte >= '0' && byte <= '9') || byte >= 0x80;
        if (!letter && (byte == 0 || strchr("_.$:-", byte) == NULL)) {
            return false;
        }
    }
    return name.size > 0;
}

static bool take_id(struct session *session, const struct draft *draft, uint8_t id[16])
{
    char text[37] = {0};
    if (draft->id.size == 0) {
        stele_new_id(id);
        return true;
    }
    if (draft->id.size == 36) {
        memcpy(text, draft->id.data, 36);
    }
    if (stele_id_from_text(text, id) != STELE_OK) {
        fail_request(session, "record_id", "The record id is not a UUID.");
        return false;
    }
    return true;
}

static bool keep_record(struct session *session, const struct draft *draft, struct record *record,
                        const char *stream)
{
    struct stele_alloc *alloc = alloc_of(session);
    struct stele_buf json = {0};
    const struct stele_server *server = stele_call_server(session->call);
    int outcome = put_properties(session, draft, &json);
    if (outcome == STELE_OK && json.size > 0) {
        json.data[json.size - 1] = '}';
    }
    const struct stele_bytes open = stele_bytes_of_text("{");
    record->data_size = draft->data.size;
    record->metadata_size = json.size > 0 ? json.size + 1 : 0;
    const uint64_t size = draft->data.size + record->metadata_size + draft->schema_name.size;
    session->size += size;
    const bool fits = size <= server->event_size_max && session->size <= server->append_size_max;
    if (outcome == STELE_OK && fits) {
        outcome = keep(session, draft->schema_name, &record->type_at);
        outcome = outcome == STELE_OK ? keep(session, draft->data, &record->data_at) : outcome;
        record->metadata_at = session->texts.size;
        outcome = outcome == STELE_OK && json.size > 0
                      ? stele_buf_append(&session->texts, alloc, open)
                      : outcome;
        outcome = outcome == STELE_OK
                      ? stele_buf_append(&session->texts, alloc,
                                         (struct stele_bytes){.data = json.data, .size = json.size})
                      : outcome;
    }
    stele_buf_deinit(&json, alloc);
    if (outcome == STELE_E_INVALID) {
        fail_request(session, "properties", "A property has no key, or no value.");
    } else if (outcome != STELE_OK) {
        fail_memory(session);
    } else if (size > server->event_size_max) {
        fail_record_size(session, stream, record->id, size);
    } else if (!fits) {
        fail_transaction_size(session);
    } else {
        return true;
    }
    return false;
}

static bool add_record(struct session *session, const struct draft *draft, size_t target)
{
    struct record record = {.target = (uint32_t)target};
    char stream[STELE_KURRENT__NAME_SIZE];
    (void)snprintf(stream, sizeof stream, "%s", name_of(session, &targets_of(session)[target]));
    if (draft->format < 1 || draft->format > 4) {
        fail_request(session, "schema.format", "The schema's format is not specified.");
        return false;
    }
    if (!is_schema_name(draft->schema_name)) {
        fail_request(session, "schema.name", "The schema's name is empty or not allowed.");
        return false;
    }
    record.format = (uint32_t)draft->format;
    if (!take_id(session, draft, record.id) || !keep_record(session, draft, &record, stream)) {
        return false;
    }
    if (stele_buf_append(&session->records, alloc_of(session),
                         (struct stele_bytes){.data = (const uint8_t *)&record,
                                              .size = sizeof record}) != STELE_OK) {
        fail_memory(session);
        return false;
    }
    targets_of(session)[target].records_count++;
    return true;
}

/* ---- The answer -------------------------------------------------------------------------------- */

/* What a stream is at this moment. */
static int64_t state_of_stream(struct session *session, const char *stream)
{
    struct stele_engine *engine = stele_call_server(session->call)->engine;
    struct stele_stream_info info;
    if (engine->ops->stream_info(engine, stream, &info, NULL) != STELE_OK) {
        return STATE_NO_STREAM;
    }
    if (info.tombstoned) {
        return STATE_TOMBSTONED;
    }
    return info.deleted ? STATE_SOFT_DELETED : (int64_t)info.revision_last;
}

/* SPEC(kurrent/v2/consistency-checks): the table of expected against actual states. */
static bool holds(struct session *session, const struct target *target, int64_t actual)
{
    struct stele_engine *engine = stele_call_server(session->call)->engine;
    struct stele_stream_info info;
    const bool written = target->records_count > 0;
    const int64_t expected = target->expected;
    if (actual == STATE_TOMBSTONED) {
        return !written && (expected == STATE_NO_STREAM || expected == STATE_ANY ||
                            expected == STATE_TOMBSTONED);
    }
    switch (expected) {
    case STATE_ANY:
        return true;
    case STATE_NO_STREAM:
        return actual == STATE_NO_STREAM || actual == STATE_SOFT_DELETED;
    case STATE_EXISTS:
    case STATE_TOMBSTONED:
        return actual >= 0;
    case STATE_SOFT_DELETED:
        return actual == STATE_SOFT_DELETED;
    default:
        return actual == expected || (actual == STATE_SOFT_DELETED &&
                                      engine->ops->stream_info(engine, name_of(session, target),
                                                               &info, NULL) == STELE_OK &&
                                      (int64_t)info.revision_last == expected);
    }
}

static size_t violation_size(const struct session *session, const struct target *target,
                             int64_t actual, size_t *out_state)
{
    const size_t name = strlen(name_of(session, target));
    *out_state =
        stele_pb_size_bytes(1, name) +
        (target->expected == 0 ? 0
                               : stele_pb_size_varint(2, stele_pb_zigzag_of(target->expected))) +
        (actual == 0 ? 0 : stele_pb_size_varint(3, stele_pb_zigzag_of(actual)));
    const size_t index = target->check_index == SIZE_MAX || target->check_index == 0
                             ? 0
                             : stele_pb_size_varint(1, target->check_index);
    return index + stele_pb_size_bytes(2, *out_state);
}

/* AppendConsistencyViolationErrorDetails: everything that does not hold now. failed: what the
 * engine found, and is told if all holds by now. */
static void fail_checks(struct session *session, size_t failed)
{
    struct stele_buf value = {0};
    const struct target *targets = targets_of(session);
    for (int again = 0; again < 2 && value.size == 0; again++) {
        for (size_t i = 0; i < targets_count(session); i++) {
            const int64_t actual = state_of_stream(session, name_of(session, &targets[i]));
            size_t state = 0;
            if (holds(session, &targets[i], actual) && !(again == 1 && i == failed)) {
                continue;
            }
            const size_t size = violation_size(session, &targets[i], actual, &state);
            if (stele_buf_reserve(&value, alloc_of(session), size + 16) != STELE_OK) {
                continue;
            }
            uint8_t *to = stele_pb_put_message(value.data + value.size, 1, size);
            to = targets[i].check_index == SIZE_MAX || targets[i].check_index == 0
                     ? to
                     : stele_pb_put_u64(to, 1, targets[i].check_index);
            to = stele_pb_put_message(to, 2, state);
            to = put_stream(to, name_of(session, &targets[i]));
            to = put_signed(to, 2, targets[i].expected);
            to = put_signed(to, 3, actual);
            value.size = (size_t)(to - value.data);
        }
    }
    stele_kurrent__fail_detailed(session->call, STELE_GRPC_FAILED_PRECONDITION,
                                 "Append failed due to consistency violations.",
                                 ERRORS "AppendConsistencyViolationErrorDetails", value.data,
                                 value.size);
    stele_buf_deinit(&value, alloc_of(session));
}

static void fail_session(struct session *session, const struct target *target)
{
    const char *stream = name_of(session, target);
    const int64_t actual = state_of_stream(session, stream);
    if (actual == STATE_TOMBSTONED) {
        fail_stream(session, STELE_GRPC_FAILED_PRECONDITION, "is tombstoned",
                    ERRORS "StreamTombstonedErrorDetails", stream);
    } else if (actual == STATE_SOFT_DELETED && target->expected == STATE_EXISTS) {
        fail_stream(session, STELE_GRPC_FAILED_PRECONDITION, "is deleted",
                    ERRORS "StreamDeletedErrorDetails", stream);
    } else {
        fail_conflict(session, stream, target->expected,
                      actual == STATE_SOFT_DELETED ? STATE_NO_STREAM : actual);
    }
}

static void answer_done(struct session *session)
{
    struct stele_call *call = session->call;
    const struct target *targets = targets_of(session);
    const uint64_t *revisions = (const uint64_t *)(const void *)session->revisions.data;
    const uint32_t *order = (const uint32_t *)(const void *)session->order.data;
    struct stele_buf *buf = stele_call_message_begin(call);
    bool room = true;
    for (size_t i = 0; i < session->order.size / sizeof *order && room; i++) {
        const struct target *target = &targets[order[i]];
        const char *name = name_of(session, target);
        const size_t name_size = strlen(name);
        const uint64_t revision = stele_pb_zigzag_of((int64_t)revisions[i]);
        const size_t size = stele_pb_size_bytes(1, name_size) +
                            (revision == 0 ? 0 : stele_pb_size_varint(2, revision));
        if (target->records_count == 0) {
            continue;
        }
        room = stele_buf_reserve(buf, alloc_of(session), size + 16) == STELE_OK;
        if (room) {
            uint8_t *to = stele_pb_put_message(buf->data + buf->size, 1, size);
            to = stele_pb_put_bytes(to, 1, name, name_size);
            to = revision == 0 ? to : stele_pb_put_u64(to, 2, revision);
            buf->size = (size_t)(to - buf->data);
        }
    }
    if (!room || stele_buf_reserve(buf, alloc_of(session), 16) != STELE_OK) {
        stele_call_message_cancel(call);
        /* It was stored: only the answer cannot be given. */
        stele_call_finish(call, STELE_GRPC_DEADLINE_EXCEEDED, "no memory for the answer");
        return;
    }
    const uint8_t *to =
        put_signed(buf->data + buf->size, 2, (int64_t)session->appending.result.position_last);
    buf->size = (size_t)(to - buf->data);
    stele_call_message_end(call);
    stele_call_finish(call, STELE_GRPC_OK, "");
}

static void answer(struct session *session)
{
    const struct stele_appending *appending = &session->appending;
    const uint32_t *order = (const uint32_t *)(const void *)session->order.data;
    const size_t failed = appending->result.failed < session->order.size / sizeof *order
                              ? order[appending->result.failed]
                              : 0;
    switch (appending->outcome) {
    case STELE_OK:
        answer_done(session);
        break;
    case STELE_WRONG_REVISION:
    case STELE_STREAM_DELETED:
    case STELE_E_ID_CONFLICT:
        if (session->is_session) {
            fail_session(session, &targets_of(session)[failed]);
        } else {
            fail_checks(session, failed);
        }
        break;
    case STELE_E_INVALID:
    case STELE_E_LIMIT:
        fail_request(session, "records", appending->err.message);
        break;
    case STELE_E_UNKNOWN:
        stele_call_finish(session->call, STELE_GRPC_DEADLINE_EXCEEDED, appending->err.message);
        break;
    default:
        stele_kurrent__fail_outcome(session->call, appending->outcome, appending->err.message);
        break;
    }
}

static void release(struct session *session)
{
    struct stele_alloc *alloc = alloc_of(session);
    stele_buf_deinit(&session->texts, alloc);
    stele_buf_deinit(&session->targets, alloc);
    stele_buf_deinit(&session->records, alloc);
    stele_buf_deinit(&session->revisions, alloc);
    stele_buf_deinit(&session->order, alloc);
}

static void on_done(struct stele_appending *appending)
{
    struct session *session = (struct session *)(void *)appending;
    struct stele_call *call = session->call;
    appending->on_done = NULL;
    if (stele_call_is_over(call)) {
        release(session);
    } else {
        answer(session);
    }
    stele_call_release(call);
}

/* ---- Storing ----------------------------------------------------------------------------------- */

/* The engine's expectation of a target. false: it has none to be told (check-only, and holds). */
static bool expectation_of(struct session *session, const struct target *target,
                           uint64_t *out_expected)
{
    struct stele_engine *engine = stele_call_server(session->call)->engine;
    const char *stream = name_of(session, target);
    struct stele_stream_info info;
    const bool known = engine->ops->stream_info(engine, stream, &info, NULL) == STELE_OK;
    const bool written = target->records_count > 0;
    if (known && info.tombstoned && !written) {
        return false; /* For ever: what holds of it now always will. */
    }
    switch (target->expected) {
    case STATE_ANY:
        *out_expected = STELE_EXPECT_ANY;
        return written;
    case STATE_NO_STREAM:
        *out_expected = STELE_EXPECT_NO_STREAM;
        return true;
    case STATE_EXISTS:
        *out_expected = stele_kurrent__expectation(engine, stream, STELE_EXPECT_EXISTS);
        return true;
    case STATE_SOFT_DELETED:
    case STATE_TOMBSTONED:
        /* Held a moment ago (see check_now): at this revision it still does. */
        *out_expected = known ? info.revision_last : STELE_EXPECT_NO_STREAM;
        return true;
    default:
        *out_expected = (uint64_t)target->expected;
        return true;
    }
}

/* Checks that the engine has no word for, before it is asked. false: the call was failed. */
static bool check_now(struct session *session)
{
    const struct target *targets = targets_of(session);
    for (size_t i = 0; i < targets_count(session) && !session->is_session; i++) {
        const bool special =
            targets[i].expected == STATE_SOFT_DELETED || targets[i].expected == STATE_TOMBSTONED;
        const int64_t actual = state_of_stream(session, name_of(session, &targets[i]));
        const bool closed = actual == STATE_TOMBSTONED && targets[i].records_count == 0;
        if ((special || closed) && !holds(session, &targets[i], actual)) {
            fail_checks(session, i);
            return false;
        }
    }
    return true;
}

static bool reserve(struct session *session, struct stele_buf *buf, size_t count, size_t size)
{
    return stele_buf_reserve(buf, alloc_of(session), (count + 1) * size) == STELE_OK;
}

/* Drafts stand stream by stream, in the order in which each stream's records came. */
static void make_drafts(struct session *session, struct stele_event_draft *drafts)
{
    struct target *targets = targets_of(session);
    const struct record *records = records_of(session);
    const uint8_t *texts = session->texts.data;
    size_t at = 0;
    for (size_t i = 0; i < targets_count(session); i++) {
        targets[i].drafts_at = at;
        at += targets[i].records_count;
        targets[i].records_count = 0;
    }
    for (size_t i = 0; i < records_count(session); i++) {
        const struct record *record = &records[i];
        struct target *target = &targets[record->target];
        struct stele_event_draft *draft = &drafts[target->drafts_at + target->records_count++];
        *draft = (struct stele_event_draft){
            .type = (const char *)texts + record->type_at,
            .data = texts + record->data_at,
            .data_size = record->data_size,
            .metadata = texts + record->metadata_at,
            .metadata_size = record->metadata_size,
            .content_type = record->format == 1 ? NULL : "application/octet-stream",
        };
        memcpy(draft->id, record->id, sizeof draft->id);
    }
}

static void store(struct session *session)
{
    struct stele_call *call = session->call;
    struct stele_engine *engine = stele_call_server(call)->engine;
    struct stele_alloc *alloc = alloc_of(session);
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_buf drafts_buf = {0};
    struct stele_buf streams_buf = {0};
    const size_t count = targets_count(session);
    if (!check_now(session)) {
        return;
    }
    int outcome = STELE_E_NO_MEMORY;
    if (reserve(session, &drafts_buf, records_count(session), sizeof(struct stele_event_draft)) &&
        reserve(session, &streams_buf, count, sizeof(struct stele_append)) &&
        reserve(session, &session->revisions, count, sizeof(uint64_t)) &&
        reserve(session, &session->order, count, sizeof(uint32_t))) {
        struct stele_event_draft *drafts = (struct stele_event_draft *)(void *)drafts_buf.data;
        struct stele_append *streams = (struct stele_append *)(void *)streams_buf.data;
        uint32_t *order = (uint32_t *)(void *)session->order.data;
        size_t streams_count = 0;
        make_drafts(session, drafts);
        for (size_t i = 0; i < count; i++) {
            const struct target *target = &targets_of(session)[i];
            struct stele_append *stream = &streams[streams_count];
            if (expectation_of(session, target, &stream->expected)) {
                stream->stream = name_of(session, target);
                stream->events = drafts + target->drafts_at;
                stream->count = target->records_count;
                order[streams_count++] = (uint32_t)i;
            }
        }
        session->order.size = streams_count * sizeof *order;
        session->appending.loop = stele_call_loop(call);
        session->appending.on_done = on_done;
        session->appending.revisions_last = (uint64_t *)(void *)session->revisions.data;
        stele_call_hold(call);
        outcome =
            engine->ops->append(engine, &session->appending, streams, streams_count, NULL, 0, &err);
        if (outcome != STELE_OK) {
            session->appending.on_done = NULL;
            session->appending.outcome = outcome;
            session->appending.err = err;
            answer(session);
            stele_call_release(call);
        }
    } else {
        fail_memory(session);
    }
    stele_buf_deinit(&drafts_buf, alloc);
    stele_buf_deinit(&streams_buf, alloc);
}

/* ---- AppendSession ----------------------------------------------------------------------------- */

static bool begin_stream(struct session *session, struct stele_bytes message)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_text name = {.data = "", .size = 0};
    int64_t expected = STATE_ANY;
    char stream[STELE_KURRENT__NAME_SIZE];
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            name = stele_kurrent__text(field.bytes);
        } else if (field.number == 3 && field.wire == STELE_PB_VARINT) {
            expected = stele_pb_zigzag(field.value);
        }
    }
    if (reader.bad || !stele_kurrent__copy_name(name, stream)) {
        fail_request(session, "stream", "The stream's name is empty or not allowed.");
        return false;
    }
    if (expected < 0 && expected != STATE_ANY && expected != STATE_NO_STREAM &&
        expected != STATE_EXISTS) {
        fail_request(session, "expected_revision", "The expected revision is not allowed.");
        return false;
    }
    if (find_target(session, stream) < targets_count(session)) {
        fail_stream(session, STELE_GRPC_ABORTED, "is in this append session already",
                    ERRORS "StreamAlreadyInAppendSessionErrorDetails", stream);
        return false;
    }
    return check_rights(session, stream, STELE_RIGHT_WRITE) &&
           add_target(session, stream, expected, SIZE_MAX);
}

static void take_session_request(struct session *session, struct stele_bytes message)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    if (!begin_stream(session, message)) {
        return;
    }
    const size_t target = targets_count(session) - 1;
    while (stele_pb_next(&reader, &field)) {
        struct draft draft;
        if (field.number != 2 || field.wire != STELE_PB_BYTES) {
            continue;
        }
        if (!get_record(field.bytes, &draft)) {
            fail_request(session, "records", "A record is malformed.");
            return;
        }
        if (!add_record(session, &draft, target)) {
            return;
        }
    }
    if (targets_of(session)[target].records_count == 0) {
        fail_request(session, "records", "A request without records is not allowed.");
    }
}

/* ---- AppendRecords ----------------------------------------------------------------------------- */

static bool take_check(struct session *session, struct stele_bytes message, size_t check_index)
{
    struct stele_pb_reader outer = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_text name = {.data = "", .size = 0};
    int64_t expected = 0;
    bool found = false;
    bool bad = false;
    while (stele_pb_next(&outer, &field)) {
        if (field.number != 1 || field.wire != STELE_PB_BYTES) {
            continue;
        }
        struct stele_pb_reader reader = stele_pb_reader(field.bytes);
        struct stele_pb_field part;
        found = true;
        while (stele_pb_next(&reader, &part)) {
            if (part.number == 1 && part.wire == STELE_PB_BYTES) {
                name = stele_kurrent__text(part.bytes);
            } else if (part.number == 2 && part.wire == STELE_PB_VARINT) {
                expected = stele_pb_zigzag(part.value);
            }
        }
        bad = bad || reader.bad;
    }
    char stream[STELE_KURRENT__NAME_SIZE];
    if (!found || bad || outer.bad || !stele_kurrent__copy_name(name, stream)) {
        fail_request(session, "checks", "A check is malformed.");
        return false;
    }
    if (expected < STATE_TOMBSTONED || expected == STATE_ANY || expected == -3) {
        fail_request(session, "checks", "The expected state is not allowed.");
        return false;
    }
    const size_t target = find_target(session, stream);
    if (target == targets_count(session)) {
        return check_rights(session, stream, STELE_RIGHT_READ) &&
               add_target(session, stream, expected, check_index);
    }
    if (targets_of(session)[target].check_index != SIZE_MAX) {
        fail_request(session, "checks", "A stream is checked twice.");
        return false;
    }
    targets_of(session)[target].expected = expected;
    targets_of(session)[target].check_index = check_index;
    return true;
}

static bool take_record(struct session *session, struct stele_bytes message)
{
    struct draft draft;
    char stream[STELE_KURRENT__NAME_SIZE];
    if (!get_record(message, &draft) ||
        !stele_kurrent__copy_name(stele_kurrent__text(draft.stream), stream)) {
        fail_request(session, "records", "A record is malformed, or names no stream.");
        return false;
    }
    const size_t target = find_target(session, stream);
    if (target == targets_count(session) && (!check_rights(session, stream, STELE_RIGHT_WRITE) ||
                                             !add_target(session, stream, STATE_ANY, SIZE_MAX))) {
        return false;
    }
    return add_record(session, &draft, target);
}

static void take_records_request(struct session *session, struct stele_bytes message)
{
    size_t checks = 0;
    for (uint32_t part = 1; part <= 2; part++) {
        struct stele_pb_reader reader = stele_pb_reader(message);
        struct stele_pb_field field;
        while (stele_pb_next(&reader, &field)) {
            if (field.number != part || field.wire != STELE_PB_BYTES) {
                continue;
            }
            if (!(part == 1 ? take_record(session, field.bytes)
                            : take_check(session, field.bytes, checks++))) {
                return;
            }
        }
        if (reader.bad) {
            fail_request(session, "records", "The request is malformed.");
            return;
        }
    }
    if (records_count(session) == 0) {
        fail_request(session, "records", "A request without records is not allowed.");
        return;
    }
    store(session);
}

/* ---- The methods ------------------------------------------------------------------------------- */

static void on_start(struct stele_call *call)
{
    struct session *session = session_of(call);
    session->call = call;
    session->is_session = stele_call_method(call)->rpc == STELE_RPC_KURRENT_V2_APPEND_SESSION;
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    struct session *session = session_of(call);
    if (session->is_session) {
        take_session_request(session, message);
    } else if (!session->started) {
        session->started = true;
        take_records_request(session, message);
    } else {
        fail_request(session, "records", "Only one request is expected.");
    }
}

static void on_half_closed(struct stele_call *call)
{
    struct session *session = session_of(call);
    if (session->is_session && targets_count(session) == 0) {
        stele_call_finish(call, STELE_GRPC_FAILED_PRECONDITION,
                          "The append session has no requests.");
    } else if (session->is_session) {
        store(session);
    } else if (!session->started) {
        fail_request(session, "records", "The request is missing.");
    }
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)reason;
    struct session *session = session_of(call);
    /* While the engine works on it, it writes to revisions: then on_done releases. */
    if (session->appending.on_done == NULL) {
        release(session);
    }
}

void stele_kurrent_v2_register(struct stele_grpc_table *table)
{
    static const struct stele_method append_session = {
        .rpc = STELE_RPC_KURRENT_V2_APPEND_SESSION,
        .state_size = sizeof(struct session),
        .message_max = STELE_KURRENT__MESSAGE_MAX,
        .admit = stele_kurrent__admit_v2,
        .start = on_start,
        .message = on_message,
        .half_closed = on_half_closed,
        .closed = on_closed,
    };
    static const struct stele_method append_records = {
        .rpc = STELE_RPC_KURRENT_V2_APPEND_RECORDS,
        .state_size = sizeof(struct session),
        .message_max = STELE_KURRENT__MESSAGE_MAX,
        .admit = stele_kurrent__admit_v2,
        .start = on_start,
        .message = on_message,
        .half_closed = on_half_closed,
        .closed = on_closed,
    };
    table->methods[append_session.rpc] = &append_session;
    table->methods[append_records.rpc] = &append_records;
}
