/* What the caller of an append to several streams is told: revisions, or what was wrong, as
 * google.rpc.Status with one detail. */
#include "api/kurrent/v2_internal.h"

#include <stdio.h>

static uint8_t *put_stream(uint8_t *to, const char *stream)
{
    return stele_pb_put_bytes(to, 1, stream, strlen(stream));
}

static uint8_t *put_signed(uint8_t *to, uint32_t field, int64_t value)
{
    return value == 0 ? to : stele_pb_put_u64(to, field, stele_pb_zigzag_of(value));
}

void stele_kurrent__v2_fail_request(struct v2_session *session, const char *field,
                                    const char *description)
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

void stele_kurrent__v2_fail_access(struct v2_session *session)
{
    static const char operation[] = "streams:write";
    uint8_t value[64];
    const uint8_t *to = stele_pb_put_bytes(value, 1, operation, sizeof operation - 1);
    stele_kurrent__fail_detailed(session->call, STELE_GRPC_PERMISSION_DENIED, "Access Denied",
                                 "kurrent.rpc.AccessDeniedErrorDetails", value,
                                 (size_t)(to - value));
}

void stele_kurrent__v2_fail_stream(struct v2_session *session, enum stele_grpc_code code,
                                   const char *what, const char *type, const char *stream)
{
    uint8_t value[STELE_KURRENT__NAME_SIZE + 16];
    char message[STELE_KURRENT__NAME_SIZE + 80];
    const uint8_t *to = put_stream(value, stream);
    (void)snprintf(message, sizeof message, "Stream '%s' %s.", stream, what);
    stele_kurrent__fail_detailed(session->call, code, message, type, value, (size_t)(to - value));
}

static void fail_conflict(struct v2_session *session, const char *stream, int64_t expected,
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
                                 V2_ERRORS "StreamRevisionConflictErrorDetails", value,
                                 (size_t)(to - value));
}

void stele_kurrent__v2_fail_record_size(struct v2_session *session, const char *stream,
                                        const uint8_t id[16], uint64_t size)
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
                                 V2_ERRORS "AppendRecordSizeExceededErrorDetails", value,
                                 (size_t)(to - value));
}

void stele_kurrent__v2_fail_transaction_size(struct v2_session *session)
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
                                 V2_ERRORS "AppendTransactionSizeExceededErrorDetails", value,
                                 (size_t)(to - value));
}

void stele_kurrent__v2_fail_memory(struct v2_session *session)
{
    stele_call_finish(session->call, STELE_GRPC_UNAVAILABLE, "Server Is Too Busy");
}

/* ---- The answer -------------------------------------------------------------------------------- */

/* What a stream is at this moment. */
int64_t stele_kurrent__v2_state(struct v2_session *session, const char *stream)
{
    struct stele_engine *engine = stele_call_server(session->call)->engine;
    struct stele_stream_info info;
    if (engine->ops->stream_info(engine, stream, &info, NULL) != STELE_OK) {
        return V2_STATE_NO_STREAM;
    }
    if (info.tombstoned) {
        return V2_STATE_TOMBSTONED;
    }
    return info.deleted ? V2_STATE_SOFT_DELETED : (int64_t)info.revision_last;
}

/* SPEC(kurrent/v2/consistency-checks): the table of expected against actual states. */
bool stele_kurrent__v2_holds(struct v2_session *session, const struct v2_target *target,
                             int64_t actual)
{
    struct stele_engine *engine = stele_call_server(session->call)->engine;
    struct stele_stream_info info;
    const bool written = target->records_count > 0;
    const int64_t expected = target->expected;
    if (actual == V2_STATE_TOMBSTONED) {
        return !written && (expected == V2_STATE_NO_STREAM || expected == V2_STATE_ANY ||
                            expected == V2_STATE_TOMBSTONED);
    }
    switch (expected) {
    case V2_STATE_ANY:
        return true;
    case V2_STATE_NO_STREAM:
        return actual == V2_STATE_NO_STREAM || actual == V2_STATE_SOFT_DELETED;
    case V2_STATE_EXISTS:
    case V2_STATE_TOMBSTONED:
        return actual >= 0;
    case V2_STATE_SOFT_DELETED:
        return actual == V2_STATE_SOFT_DELETED;
    default:
        return actual == expected || (actual == V2_STATE_SOFT_DELETED &&
                                      engine->ops->stream_info(engine, v2_name_of(session, target),
                                                               &info, NULL) == STELE_OK &&
                                      (int64_t)info.revision_last == expected);
    }
}

static size_t violation_size(const struct v2_session *session, const struct v2_target *target,
                             int64_t actual, size_t *out_state)
{
    const size_t name = strlen(v2_name_of(session, target));
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
void stele_kurrent__v2_fail_checks(struct v2_session *session, size_t failed)
{
    struct stele_buf value = {0};
    const struct v2_target *targets = v2_targets_of(session);
    for (int again = 0; again < 2 && value.size == 0; again++) {
        for (size_t i = 0; i < v2_targets_count(session); i++) {
            const int64_t actual =
                stele_kurrent__v2_state(session, v2_name_of(session, &targets[i]));
            size_t state = 0;
            if (stele_kurrent__v2_holds(session, &targets[i], actual) &&
                !(again == 1 && i == failed)) {
                continue;
            }
            const size_t size = violation_size(session, &targets[i], actual, &state);
            if (stele_buf_reserve(&value, v2_alloc_of(session), size + 16) != STELE_OK) {
                continue;
            }
            uint8_t *to = stele_pb_put_message(value.data + value.size, 1, size);
            to = targets[i].check_index == SIZE_MAX || targets[i].check_index == 0
                     ? to
                     : stele_pb_put_u64(to, 1, targets[i].check_index);
            to = stele_pb_put_message(to, 2, state);
            to = put_stream(to, v2_name_of(session, &targets[i]));
            to = put_signed(to, 2, targets[i].expected);
            to = put_signed(to, 3, actual);
            value.size = (size_t)(to - value.data);
        }
    }
    stele_kurrent__fail_detailed(session->call, STELE_GRPC_FAILED_PRECONDITION,
                                 "Append failed due to consistency violations.",
                                 V2_ERRORS "AppendConsistencyViolationErrorDetails", value.data,
                                 value.size);
    stele_buf_deinit(&value, v2_alloc_of(session));
}

static void fail_session(struct v2_session *session, const struct v2_target *target)
{
    const char *stream = v2_name_of(session, target);
    const int64_t actual = stele_kurrent__v2_state(session, stream);
    if (actual == V2_STATE_TOMBSTONED) {
        stele_kurrent__v2_fail_stream(session, STELE_GRPC_FAILED_PRECONDITION, "is tombstoned",
                                      V2_ERRORS "StreamTombstonedErrorDetails", stream);
    } else if (actual == V2_STATE_SOFT_DELETED && target->expected == V2_STATE_EXISTS) {
        stele_kurrent__v2_fail_stream(session, STELE_GRPC_FAILED_PRECONDITION, "is deleted",
                                      V2_ERRORS "StreamDeletedErrorDetails", stream);
    } else {
        fail_conflict(session, stream, target->expected,
                      actual == V2_STATE_SOFT_DELETED ? V2_STATE_NO_STREAM : actual);
    }
}

static void answer_done(struct v2_session *session)
{
    struct stele_call *call = session->call;
    const struct v2_target *targets = v2_targets_of(session);
    const uint64_t *revisions = (const uint64_t *)(const void *)session->revisions.data;
    const uint32_t *order = (const uint32_t *)(const void *)session->order.data;
    struct stele_buf *buf = stele_call_message_begin(call);
    bool room = true;
    for (size_t i = 0; i < session->order.size / sizeof *order && room; i++) {
        const struct v2_target *target = &targets[order[i]];
        const char *name = v2_name_of(session, target);
        const size_t name_size = strlen(name);
        const uint64_t revision = stele_pb_zigzag_of((int64_t)revisions[i]);
        const size_t size = stele_pb_size_bytes(1, name_size) +
                            (revision == 0 ? 0 : stele_pb_size_varint(2, revision));
        if (target->records_count == 0) {
            continue;
        }
        room = stele_buf_reserve(buf, v2_alloc_of(session), size + 16) == STELE_OK;
        if (room) {
            uint8_t *to = stele_pb_put_message(buf->data + buf->size, 1, size);
            to = stele_pb_put_bytes(to, 1, name, name_size);
            to = revision == 0 ? to : stele_pb_put_u64(to, 2, revision);
            buf->size = (size_t)(to - buf->data);
        }
    }
    if (!room || stele_buf_reserve(buf, v2_alloc_of(session), 16) != STELE_OK) {
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

void stele_kurrent__v2_answer(struct v2_session *session)
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
            fail_session(session, &v2_targets_of(session)[failed]);
        } else {
            stele_kurrent__v2_fail_checks(session, failed);
        }
        break;
    case STELE_E_INVALID:
    case STELE_E_LIMIT:
        stele_kurrent__v2_fail_request(session, "records", appending->err.message);
        break;
    case STELE_E_UNKNOWN:
        stele_call_finish(session->call, STELE_GRPC_DEADLINE_EXCEEDED, appending->err.message);
        break;
    default:
        stele_kurrent__fail_outcome(session->call, appending->outcome, appending->err.message);
        break;
    }
}
