/* grpc.health.v1.Health (github.com/grpc/grpc, doc/health-checking.md): load balancers ask whether a
 * service takes requests. Whoever can ask is served; a draining server ends its calls. */
#include "api/native/native_internal.h"

#define SERVING 1

static bool is_known(const struct stele_call *call, struct stele_bytes service)
{
    bool known = service.size == 0; /* The server as a whole. */
    for (int rpc = 0; rpc < STELE_RPC_COUNT && !known; rpc++) {
        known = stele_call_knows(call, (enum stele_rpc)rpc) &&
                stele_bytes_equal(service, stele_native__service_of((enum stele_rpc)rpc));
    }
    return known;
}

static bool decode(struct stele_bytes message, struct stele_bytes *service)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    *service = (struct stele_bytes){.data = NULL};
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            *service = field.bytes;
        }
    }
    return !reader.bad;
}

static void send_status(struct stele_call *call, uint64_t status)
{
    uint8_t message[16];
    const uint8_t *end = stele_pb_put_u64(message, 1, status);
    stele_call_send(call, (struct stele_bytes){.data = message, .size = (size_t)(end - message)});
}

struct health_call {
    bool asked;
};

/* Without a request there is nothing that could be answered, ever. */
static void on_half_closed(struct stele_call *call)
{
    const struct health_call *state = stele_call_state(call);
    if (!state->asked) {
        stele_call_fail(call, STELE_GRPC_INVALID_ARGUMENT, "a request was expected");
    }
}

/* false: the call was ended. */
static bool begin(struct stele_call *call, struct stele_bytes message, struct stele_bytes *service)
{
    struct health_call *state = stele_call_state(call);
    if (state->asked || !decode(message, service)) {
        stele_call_fail(call, STELE_GRPC_INVALID_ARGUMENT,
                        state->asked ? "one request was expected" : "the request is malformed");
        return false;
    }
    state->asked = true;
    return true;
}

static void take_check(struct stele_call *call, struct stele_bytes message)
{
    struct stele_bytes service;
    if (!begin(call, message, &service)) {
        return;
    }
    if (!is_known(call, service)) {
        stele_call_fail(call, STELE_GRPC_NOT_FOUND, "unknown service");
    } else {
        send_status(call, SERVING);
        stele_call_finish(call, STELE_GRPC_OK, "");
    }
}

static void take_watch(struct stele_call *call, struct stele_bytes message)
{
    struct stele_bytes service;
    if (!begin(call, message, &service)) {
        return;
    }
    send_status(call, is_known(call, service) ? SERVING : 3 /* SERVICE_UNKNOWN */);
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

const struct stele_method stele_native__health_check = {
    .rpc = STELE_RPC_HEALTH_CHECK,
    .state_size = sizeof(struct health_call),
    .start = start_nothing,
    .message = take_check,
    .half_closed = on_half_closed,
    .closed = close_nothing,
};

const struct stele_method stele_native__health_watch = {
    .rpc = STELE_RPC_HEALTH_WATCH,
    .state_size = sizeof(struct health_call),
    .start = start_nothing,
    .message = take_watch,
    .half_closed = on_half_closed,
    .closed = close_nothing,
};
