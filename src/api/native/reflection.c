/* gRPC's server reflection (proto/grpc/reflection): tools ask what there is and how its messages look.
 * Both names of the service are the same on the wire. */
#include "api/native/native_internal.h"

/* Fields of a request, and of a response the ones that answer it. */
enum {
    REQUEST_FILE = 3,
    REQUEST_SYMBOL = 4,
    REQUEST_EXTENSION = 5,
    REQUEST_EXTENSIONS = 6,
    REQUEST_SERVICES = 7,
    RESPONSE_HOST = 1,
    RESPONSE_REQUEST = 2,
    RESPONSE_FILES = 4,
    RESPONSE_EXTENSIONS = 5,
    RESPONSE_SERVICES = 6,
    RESPONSE_ERROR = 7,
};

struct request {
    uint32_t kind; /* REQUEST_…; 0: none. */
    struct stele_bytes text;
    struct stele_bytes host;
};

static bool decode(struct stele_bytes message, struct request *request)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    *request = (struct request){.kind = 0};
    while (stele_pb_next(&reader, &field)) {
        if (field.wire != STELE_PB_BYTES) {
            continue;
        }
        if (field.number == 1) {
            request->host = field.bytes;
        } else if (field.number >= REQUEST_FILE && field.number <= REQUEST_SERVICES) {
            request->kind = field.number;
            request->text = field.bytes;
        }
    }
    return !reader.bad && request->kind != 0;
}

/* One answer: its field, and how it is written when its size is known. */
struct answer {
    uint32_t number;
    size_t size;
    struct stele_native__files files;
    struct stele_bytes name;
    const char *error;
};

/* The RPCs of a service stand one behind the other in the table: the first one that the server has
 * stands for it. */
static bool begins_service(const struct stele_call *call, enum stele_rpc rpc)
{
    if (!stele_call_knows(call, rpc)) {
        return false;
    }
    for (int before = (int)rpc - 1; before >= 0; before--) {
        if (!stele_bytes_equal(stele_native__service_of((enum stele_rpc)before),
                               stele_native__service_of(rpc))) {
            return true;
        }
        if (stele_call_knows(call, (enum stele_rpc)before)) {
            return false;
        }
    }
    return true;
}

static size_t service_size(enum stele_rpc rpc)
{
    return stele_pb_size_bytes(1, stele_native__service_of(rpc).size);
}

static void fail(struct answer *answer, const char *message)
{
    answer->number = RESPONSE_ERROR;
    answer->error = message;
    answer->size =
        stele_pb_size_varint(1, STELE_GRPC_NOT_FOUND) + stele_pb_size_bytes(2, strlen(message));
}

static void find(const struct stele_call *call, const struct request *request,
                 struct answer *answer)
{
    *answer = (struct answer){.number = RESPONSE_FILES};
    switch (request->kind) {
    case REQUEST_FILE:
        stele_native__file_named(request->text, &answer->files);
        break;
    case REQUEST_SYMBOL:
        stele_native__file_with_symbol(request->text, &answer->files);
        break;
    case REQUEST_EXTENSIONS: /* None of the messages has extensions. */
        if (!stele_native__is_message(request->text)) {
            fail(answer, "there is no such type");
            return;
        }
        answer->number = RESPONSE_EXTENSIONS;
        answer->name = request->text;
        answer->size = stele_pb_size_bytes(1, request->text.size);
        return;
    case REQUEST_SERVICES:
        answer->number = RESPONSE_SERVICES;
        for (int rpc = 0; rpc < STELE_RPC_COUNT; rpc++) {
            if (begins_service(call, (enum stele_rpc)rpc)) {
                answer->size += stele_pb_size_bytes(1, service_size((enum stele_rpc)rpc));
            }
        }
        return;
    default:
        break;
    }
    for (uint32_t i = 0; i < answer->files.count; i++) {
        answer->size += stele_pb_size_bytes(1, answer->files.at[i].size);
    }
    if (answer->files.count == 0) {
        fail(answer, request->kind == REQUEST_FILE     ? "there is no such file"
                     : request->kind == REQUEST_SYMBOL ? "there is no such symbol"
                                                       : "there is no such extension");
    }
}

static uint8_t *put_services(const struct stele_call *call, uint8_t *to)
{
    for (int rpc = 0; rpc < STELE_RPC_COUNT; rpc++) {
        if (begins_service(call, (enum stele_rpc)rpc)) {
            const struct stele_bytes name = stele_native__service_of((enum stele_rpc)rpc);
            to = stele_pb_put_message(to, 1, service_size((enum stele_rpc)rpc));
            to = stele_pb_put_bytes(to, 1, name.data, name.size);
        }
    }
    return to;
}

static uint8_t *put_answer(const struct stele_call *call, const struct answer *answer, uint8_t *to)
{
    to = stele_pb_put_message(to, answer->number, answer->size);
    switch (answer->number) {
    case RESPONSE_FILES:
        for (uint32_t i = 0; i < answer->files.count; i++) {
            to = stele_pb_put_bytes(to, 1, answer->files.at[i].data, answer->files.at[i].size);
        }
        return to;
    case RESPONSE_EXTENSIONS:
        return stele_pb_put_bytes(to, 1, answer->name.data, answer->name.size);
    case RESPONSE_SERVICES:
        return put_services(call, to);
    default:
        to = stele_pb_put_u64(to, 1, STELE_GRPC_NOT_FOUND);
        return stele_pb_put_bytes(to, 2, answer->error, strlen(answer->error));
    }
}

static void take_message(struct stele_call *call, struct stele_bytes message)
{
    struct request request;
    struct answer answer;
    if (!decode(message, &request)) {
        stele_call_fail(call, STELE_GRPC_INVALID_ARGUMENT, "the request is malformed");
        return;
    }
    find(call, &request, &answer);
    struct stele_buf *buf = stele_call_message_begin(call);
    const size_t size = stele_pb_size_bytes(RESPONSE_HOST, request.host.size) +
                        stele_pb_size_bytes(RESPONSE_REQUEST, message.size) +
                        stele_pb_size_bytes(answer.number, answer.size);
    if (stele_buf_reserve(buf, stele_call_loop(call)->alloc, size) != STELE_OK) {
        stele_call_message_cancel(call);
        stele_call_fail(call, STELE_GRPC_RESOURCE_EXHAUSTED, "no memory for the answer");
        return;
    }
    uint8_t *const begin = buf->data + buf->size;
    uint8_t *to = begin;
    if (request.host.size > 0) {
        to = stele_pb_put_bytes(to, RESPONSE_HOST, request.host.data, request.host.size);
    }
    to = stele_pb_put_bytes(to, RESPONSE_REQUEST, message.data, message.size);
    to = put_answer(call, &answer, to);
    STELE_ASSERT((size_t)(to - begin) <= size);
    buf->size += (size_t)(to - begin);
    stele_call_message_end(call);
    /* Answers are much larger than requests: take no more of them until these are on their way. */
    if (!stele_call_is_over(call) && stele_call_is_full(call)) {
        stele_call_pause(call);
    }
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    stele_call_hold(call); /* Sending may end it. */
    take_message(call, message);
    stele_call_release(call);
}

static void start_nothing(struct stele_call *call)
{
    (void)call;
}

static void close_nothing(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)call;
    (void)reason;
}

static void on_half_closed(struct stele_call *call)
{
    stele_call_finish(call, STELE_GRPC_OK, "");
}

const struct stele_method stele_native__reflection_v1 = {
    .rpc = STELE_RPC_REFLECTION_V1,
    .message_max = 4096,
    .start = start_nothing,
    .message = on_message,
    .half_closed = on_half_closed,
    .writable = stele_call_resume,
    .closed = close_nothing,
};

const struct stele_method stele_native__reflection_v1alpha = {
    .rpc = STELE_RPC_REFLECTION_V1ALPHA,
    .message_max = 4096,
    .start = start_nothing,
    .message = on_message,
    .half_closed = on_half_closed,
    .writable = stele_call_resume,
    .closed = close_nothing,
};
