/* SPEC(kurrent/errors): clients branch on the trailer "exception", one of them on English text. */
#include "api/kurrent/kurrent_internal.h"

#include <stdio.h>

static void trailer_text(struct stele_call *call, const char *name, const char *value)
{
    stele_call_trailer(call, name, stele_bytes_of_text(value));
}

static void trailer_number(struct stele_call *call, const char *name, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    trailer_text(call, name, text);
}

void stele_kurrent__fail_access(struct stele_call *call)
{
    trailer_text(call, "exception", "access-denied");
    stele_call_finish(call, STELE_GRPC_PERMISSION_DENIED, "Access Denied");
}

void stele_kurrent__fail_invalid(struct stele_call *call, const char *message)
{
    stele_call_finish(call, STELE_GRPC_INVALID_ARGUMENT, message);
}

void stele_kurrent__fail_deleted(struct stele_call *call, struct stele_text stream)
{
    trailer_text(call, "exception", "stream-deleted");
    stele_call_trailer(call, "stream-name", stele_kurrent__bytes(stream));
    stele_call_fail(call, STELE_GRPC_FAILED_PRECONDITION, "Event stream '%.*s' is deleted.",
                    (int)stream.size, stream.data);
}

int64_t stele_kurrent__expected_number(uint64_t expected)
{
    switch (expected) {
    case STELE_EXPECT_NO_STREAM:
        return -1;
    case STELE_EXPECT_ANY:
        return -2;
    case STELE_EXPECT_EXISTS:
        return -4;
    default:
        return (int64_t)expected;
    }
}

void stele_kurrent__fail_expected(struct stele_call *call, struct stele_text stream,
                                  uint64_t expected, uint64_t actual)
{
    const int64_t wanted = stele_kurrent__expected_number(expected);
    const int64_t found = stele_kurrent__expected_number(actual);
    trailer_text(call, "exception", "wrong-expected-version");
    stele_call_trailer(call, "stream-name", stele_kurrent__bytes(stream));
    trailer_number(call, "expected-version", wanted);
    trailer_number(call, "actual-version", found);
    stele_call_fail(call, STELE_GRPC_FAILED_PRECONDITION,
                    "Delete failed due to WrongExpectedVersion. Stream: %.*s, Expected version: "
                    "%lld, Actual version: %lld",
                    (int)stream.size, stream.data, (long long)wanted, (long long)found);
}

void stele_kurrent__fail_append_size(struct stele_call *call, uint32_t size_max)
{
    trailer_text(call, "exception", "maximum-append-size-exceeded");
    trailer_number(call, "maximum-append-size", size_max);
    stele_call_fail(call, STELE_GRPC_INVALID_ARGUMENT, "Maximum Append Size of %u Exceeded.",
                    size_max);
}

void stele_kurrent__fail_event_size(struct stele_call *call, const uint8_t id[16], uint64_t size,
                                    uint32_t size_max)
{
    char text[37];
    stele_id_to_text(id, text);
    trailer_text(call, "exception", "maximum-append-event-size-exceeded");
    trailer_number(call, "maximum-append-event-size", size_max);
    trailer_text(call, "event-id", text);
    trailer_number(call, "proposed-append-event-size", (int64_t)size);
    stele_call_fail(call, STELE_GRPC_INVALID_ARGUMENT,
                    "Event with Id: %s, Size: %llu, exceeds Maximum Append Event Size of %u.", text,
                    (unsigned long long)size, size_max);
}

void stele_kurrent__fail_metadata(struct stele_call *call, const char *property)
{
    trailer_text(call, "exception", "missing-required-metadata-property");
    trailer_text(call, "required-metadata-properties", "type,content-type");
    stele_call_fail(call, STELE_GRPC_INVALID_ARGUMENT, "Required Metadata Property '%s' is missing",
                    property);
}

void stele_kurrent__fail_outcome(struct stele_call *call, int outcome, const char *message)
{
    switch (outcome) {
    case STELE_E_INVALID:
    case STELE_E_LIMIT:
        stele_call_finish(call, STELE_GRPC_INVALID_ARGUMENT, message);
        break;
    case STELE_E_OVERLOADED:
    case STELE_E_NO_MEMORY:
        stele_call_finish(call, STELE_GRPC_UNAVAILABLE, "Server Is Too Busy");
        break;
    case STELE_E_UNKNOWN:
        /* Clients take this code for "may have happened", which is what it is. */
        stele_call_fail(call, STELE_GRPC_ABORTED, "Operation timed out: %s", message);
        break;
    case STELE_E_CORRUPT:
        stele_call_finish(call, STELE_GRPC_DATA_LOSS, message);
        break;
    case STELE_E_FENCED:
    case STELE_E_NO_SPACE:
    case STELE_E_READ_ONLY:
    case STELE_E_CLOSED:
    case STELE_E_IO:
        stele_call_fail(call, STELE_GRPC_UNAVAILABLE, "Server Is Not Ready");
        break;
    case STELE_E_UNSUPPORTED:
        stele_call_finish(call, STELE_GRPC_UNIMPLEMENTED, message);
        break;
    default:
        stele_call_fail(call, STELE_GRPC_INTERNAL, "%s: %s", stele_outcome_name(outcome), message);
        break;
    }
}

void stele_kurrent__fail_detailed(struct stele_call *call, enum stele_grpc_code code,
                                  const char *message, const char *type, const uint8_t *value,
                                  size_t value_size)
{
    char url[160];
    const size_t url_size = (size_t)snprintf(url, sizeof url, "type.googleapis.com/%s", type);
    const size_t message_size = strlen(message);
    const size_t any = stele_pb_size_bytes(1, url_size) + stele_pb_size_bytes(2, value_size);
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    struct stele_buf status = {0};
    if (stele_buf_reserve(&status, alloc, any + message_size + 32) == STELE_OK) {
        uint8_t *to = stele_pb_put_u64(status.data, 1, (uint64_t)code);
        to = stele_pb_put_bytes(to, 2, message, message_size);
        to = stele_pb_put_message(to, 3, any);
        to = stele_pb_put_bytes(to, 1, url, url_size);
        to = stele_pb_put_bytes(to, 2, value, value_size);
        stele_call_trailer(
            call, "grpc-status-details-bin",
            (struct stele_bytes){.data = status.data, .size = (size_t)(to - status.data)});
    }
    stele_buf_deinit(&status, alloc);
    stele_call_finish(call, code, message);
}
