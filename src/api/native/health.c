/* grpc.health.v1.Health (github.com/grpc/grpc, doc/health-checking.md): load balancers ask whether a
 * service takes requests. Whoever can ask a server that stands alone is served; a node of a cluster
 * knows whether it is ready. A draining server ends its calls. */
#include "api/native/native_internal.h"
#include "api/server.h"

#define SERVING 1
#define NOT_SERVING 2
#define SERVICE_UNKNOWN 3
#define LOOK_US ((int64_t)1000000)

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
    /* Watching. */
    struct stele_call *call;
    struct stele_timer timer;
    uint64_t told;
};

static uint64_t status_of(struct stele_call *call)
{
    struct stele_cluster *cluster = stele_call_server(call)->cluster;
    struct stele_cluster_readiness readiness;
    cluster->ops->readiness(cluster, &readiness);
    return readiness.is_ready ? SERVING : NOT_SERVING;
}

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
        send_status(call, status_of(call));
        stele_call_finish(call, STELE_GRPC_OK, "");
    }
}

static void take_watch(struct stele_call *call, struct stele_bytes message)
{
    struct stele_bytes service;
    if (!begin(call, message, &service)) {
        return;
    }
    if (!is_known(call, service)) {
        send_status(call, SERVICE_UNKNOWN);
        return;
    }
    struct health_call *state = stele_call_state(call);
    struct stele_loop *loop = stele_call_loop(call);
    state->told = status_of(call);
    send_status(call, state->told);
    if (!stele_call_is_over(call) && !stele_call_server(call)->cluster->is_alone) {
        loop->ops->timer_start(loop, &state->timer, stele_loop_now_us(loop) + LOOK_US);
    }
}

static void on_due(struct stele_timer *timer)
{
    struct health_call *state =
        (struct health_call *)((char *)timer - offsetof(struct health_call, timer));
    struct stele_loop *loop = stele_call_loop(state->call);
    const uint64_t status = status_of(state->call);
    loop->ops->timer_start(loop, timer, stele_loop_now_us(loop) + LOOK_US);
    if (status != state->told && !stele_call_is_full(state->call)) {
        state->told = status;
        send_status(state->call, status); /* May end the call. */
    }
}

static void start_watching(struct stele_call *call)
{
    struct health_call *state = stele_call_state(call);
    state->call = call;
    state->timer.on_due = on_due;
}

static void close_watching(struct stele_call *call, enum stele_grpc_code reason)
{
    struct health_call *state = stele_call_state(call);
    struct stele_loop *loop = stele_call_loop(call);
    (void)reason;
    loop->ops->timer_stop(loop, &state->timer);
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
    .start = start_watching,
    .message = take_watch,
    .half_closed = on_half_closed,
    .closed = close_watching,
};
