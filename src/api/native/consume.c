/* Consume: a consumer of a persistent subscription.
 *
 * An event goes to the call at once while the client reads. When its output is full, deliveries wait
 * as references (the group keeps those events anyway) in a ring of as many places as the consumer may
 * have in flight: a client that does not read costs no more than that. */
#include "api/native/native_internal.h"
#include "subs/groups.h"
#include "subs/sight.h"

#define IN_FLIGHT_DEFAULT 10
#define IN_FLIGHT_MAX 2000
#define IDS_MAX 2000 /* Of one decision. */
#define GROUP_NAME_SIZE_MAX 512
#define CONNECTION_NAME_SIZE_MAX 1024

struct delivery {
    struct stele_group_event *event;
    uint32_t retries;
};

struct consume_call {
    struct stele_call *call;
    struct stele_consumer *consumer;
    struct stele_native__room room;
    const char *stream; /* NULL: $all. */
    const char *group;
    uint64_t generation; /* Of the rights that were looked at. */
    struct delivery *ring;
    uint32_t ring_size, ring_at, ring_count;
};

/* ---- Deliveries ---- */

static void on_confirmed(void *context)
{
    static const uint8_t joined[] = {0x08, 0x01}; /* Field 1: true. */
    const struct consume_call *state = context;
    stele_call_send(state->call, (struct stele_bytes){.data = joined, .size = sizeof joined});
}

static bool still_allowed(struct consume_call *state)
{
    const uint64_t generation = stele_auth_generation(stele_call_server(state->call)->auth);
    if (generation == state->generation) {
        return true;
    }
    state->generation = generation;
    return stele_native__allow(state->call, state->stream, STELE_RIGHT_READ);
}

static size_t part_size(uint32_t number, const struct stele_event *event)
{
    return event == NULL ? 0 : stele_pb_size_bytes(number, stele_native__event_size(event, 0));
}

static uint8_t *put_part(uint8_t *to, uint32_t number, const struct stele_event *event)
{
    if (event == NULL) {
        return to;
    }
    to = stele_pb_put_message(to, number, stele_native__event_size(event, 0));
    return stele_native__put_event(to, event, 0);
}

bool stele_native__add_delivery(struct stele_buf *buf, struct stele_alloc *alloc,
                                const struct stele_group_event *event, bool sees, uint32_t retries)
{
    const struct stele_event *target =
        sees && event->event.type.data != NULL ? &event->event : NULL;
    const struct stele_event *link = event->link.type.data != NULL ? &event->link : NULL;
    const size_t size = part_size(1, target) + part_size(2, link) +
                        (retries == 0 ? 0 : stele_pb_size_varint(3, retries));
    if (stele_buf_reserve(buf, alloc, stele_pb_size_bytes(2, size)) != STELE_OK) {
        return false;
    }
    uint8_t *const begin = buf->data + buf->size;
    uint8_t *to = stele_pb_put_message(begin, 2, size);
    to = put_part(to, 1, target);
    to = put_part(to, 2, link);
    to = retries == 0 ? to : stele_pb_put_u64(to, 3, retries);
    buf->size += (size_t)(to - begin);
    return true;
}

/* Sends it, or parks it if this consumer may not see it. The call is held. */
static void send(struct consume_call *state, const struct stele_group_event *event,
                 uint32_t retries)
{
    struct stele_call *call = state->call;
    const bool sees =
        stele_group_event_is_for(event, stele_call_server(call)->auth, stele_call_principal(call));
    if (!sees && event->link.type.data == NULL) {
        static const struct stele_text why = {.data = "The consumer may not read it.", .size = 29};
        stele_consumer_nack(state->consumer, stele_group_event_id(event), 1, STELE_GROUP_NACK_PARK,
                            why);
        return;
    }
    struct stele_buf *buf = stele_call_message_begin(call);
    if (!stele_native__add_delivery(buf, stele_call_loop(call)->alloc, event, sees, retries)) {
        stele_call_message_cancel(call);
        stele_native__refuse(call, STELE_E_NO_MEMORY, "no memory for the event");
        return;
    }
    stele_call_message_end(call);
}

static void keep(struct consume_call *state, struct stele_group_event *event, uint32_t retries)
{
    if (state->ring_count == state->ring_size) {
        return; /* Timed out while it waited here, and handed out again: one of the two is enough. */
    }
    stele_group_event_ref(event);
    state->ring[(state->ring_at + state->ring_count) % state->ring_size] =
        (struct delivery){.event = event, .retries = retries};
    state->ring_count++;
}

static void on_event(void *context, struct stele_group_event *event, uint32_t retries)
{
    struct consume_call *state = context;
    struct stele_call *call = state->call;
    stele_call_hold(call); /* Sending may end it. */
    if (still_allowed(state)) {
        if (state->ring_count > 0 || stele_call_is_full(call)) {
            keep(state, event, retries);
        } else {
            send(state, event, retries);
        }
    }
    stele_call_release(call);
}

static void on_writable(struct stele_call *call)
{
    struct consume_call *state = stele_call_state(call);
    stele_call_hold(call);
    while (state->ring_count > 0 && !stele_call_is_over(call) && !stele_call_is_full(call) &&
           still_allowed(state)) {
        const struct delivery next = state->ring[state->ring_at];
        state->ring_at = (state->ring_at + 1) % state->ring_size;
        state->ring_count--;
        send(state, next.event, next.retries);
        stele_group_event_unref(next.event);
    }
    stele_call_release(call);
}

static void on_end(void *context, int outcome)
{
    const struct consume_call *state = context;
    struct stele_error err;
    const char *stream = state->stream == NULL ? "$all" : state->stream;
    if (outcome == STELE_GROUPS_ELSEWHERE) {
        stele_native__fail_elsewhere(state->call);
        return;
    }
    (void)stele_fail(&err, outcome, 0,
                     outcome == STELE_NOT_FOUND ? "group %s on %s does not exist"
                     : outcome == STELE_E_LIMIT ? "group %s on %s has all the consumers it may have"
                     : outcome == STELE_E_CLOSED ? "group %s on %s was changed, deleted or stopped"
                                                 : "group %s on %s cannot be consumed now",
                     state->group, stream);
    if (outcome == STELE_E_LIMIT) {
        stele_call_trailer(state->call, "stele-outcome",
                           stele_bytes_of_text(stele_outcome_name(outcome)));
        stele_call_finish(state->call, STELE_GRPC_FAILED_PRECONDITION, err.message);
        return;
    }
    stele_native__fail(state->call, outcome, &err);
}

static const struct stele_consumer_callbacks callbacks = {
    .on_confirmed = on_confirmed, .on_event = on_event, .on_end = on_end};

/* ---- Requests ---- */

/* The name of the connection, as the client gave it; "": it did not. */
static const char *connection_name(struct consume_call *state)
{
    const struct stele_text name = stele_call_metadata(state->call, "connection-name");
    struct stele_error err;
    if (name.size == 0 || name.size > CONNECTION_NAME_SIZE_MAX) {
        return "";
    }
    const char *copy = stele_native__text(
        &state->room, (struct stele_bytes){.data = (const uint8_t *)name.data, .size = name.size},
        "the connection's name", &err);
    return copy == NULL ? "" : copy;
}

static int decode_join(struct stele_bytes message, struct consume_call *state,
                       struct stele_error *err)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_bytes stream = {.data = NULL};
    struct stele_bytes group = {.data = NULL};
    uint64_t in_flight = 0;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            stream = field.bytes;
        } else if (field.number == 2 && field.wire == STELE_PB_BYTES) {
            group = field.bytes;
        } else if (field.number == 3 && field.wire == STELE_PB_VARINT) {
            in_flight = field.value;
        }
    }
    if (reader.bad || stream.size == 0 || group.size == 0) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          reader.bad ? "the request is malformed"
                                     : "the stream and the group have to be named");
    }
    if (stream.size > STELE_STREAM_NAME_SIZE_MAX || group.size > GROUP_NAME_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "the name is too long");
    }
    state->stream = stele_native__text(&state->room, stream, "the stream's name", err);
    state->group = state->stream == NULL
                       ? NULL
                       : stele_native__text(&state->room, group, "the group's name", err);
    if (state->group == NULL) {
        return err->outcome;
    }
    if (strcmp(state->stream, "$all") == 0) {
        state->stream = NULL;
    }
    state->ring_size = in_flight == 0              ? IN_FLIGHT_DEFAULT
                       : in_flight > IN_FLIGHT_MAX ? IN_FLIGHT_MAX
                                                   : (uint32_t)in_flight;
    state->ring = stele_allocate(state->room.alloc, state->ring_size * sizeof *state->ring);
    return state->ring == NULL ? stele_fail(err, STELE_E_NO_MEMORY, 0, "request: no memory")
                               : STELE_OK;
}

static void join(struct stele_call *call, struct stele_bytes message)
{
    struct consume_call *state = stele_call_state(call);
    const struct stele_server *server = stele_call_server(call);
    struct stele_error err = {.outcome = STELE_OK};
    int outcome = decode_join(message, state, &err);
    if (outcome == STELE_OK && !stele_native__allow(call, state->stream, STELE_RIGHT_READ)) {
        return;
    }
    if (outcome == STELE_OK && server->groups == NULL) {
        outcome = stele_fail(&err, STELE_E_CLOSED, 0, "persistent subscriptions are not available");
    }
    if (outcome == STELE_OK) {
        const struct stele_consumer_options options = {
            .stream = state->stream,
            .group = state->group,
            .from = stele_call_peer(call),
            .user = stele_call_principal(call)->name,
            .connection_name = connection_name(state),
            .buffer_size = state->ring_size,
        };
        state->generation = stele_auth_generation(server->auth);
        outcome = stele_consumer_start(server->groups, stele_call_loop(call), &options, &callbacks,
                                       state, &state->consumer, &err);
    }
    if (outcome != STELE_OK) {
        stele_native__fail(call, outcome, &err);
    }
}

struct decision {
    bool is_ack;
    enum stele_group_nack action;
    struct stele_text reason;
    size_t count;
    uint8_t ids[IDS_MAX][16];
};

static bool decode_decision(struct stele_bytes message, struct decision *out)
{
    static const enum stele_group_nack actions[] = {STELE_GROUP_NACK_RETRY, STELE_GROUP_NACK_PARK,
                                                    STELE_GROUP_NACK_SKIP};
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    out->count = 0;
    out->action = STELE_GROUP_NACK_RETRY;
    out->reason = (struct stele_text){.data = "", .size = 0};
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1) {
            if (field.wire != STELE_PB_BYTES || field.bytes.size != sizeof out->ids[0] ||
                out->count == IDS_MAX) {
                return false;
            }
            memcpy(out->ids[out->count++], field.bytes.data, sizeof out->ids[0]);
        } else if (field.number == 2 && field.wire == STELE_PB_VARINT) {
            if (field.value >= STELE_COUNT_OF(actions)) {
                return false;
            }
            out->action = actions[field.value];
        } else if (field.number == 3 && field.wire == STELE_PB_BYTES) {
            out->reason = (struct stele_text){.data = (const char *)field.bytes.data,
                                              .size = field.bytes.size};
        }
    }
    return !reader.bad;
}

static void decide(struct stele_call *call, bool is_ack, struct stele_bytes message)
{
    struct consume_call *state = stele_call_state(call);
    STELE_UNINITIALIZED struct decision decision;
    if (!decode_decision(message, &decision)) {
        stele_native__refuse(call, STELE_E_INVALID,
                             "the decision is malformed, or about more than 2000 events");
    } else if (is_ack) {
        stele_consumer_ack(state->consumer, decision.ids[0], decision.count);
    } else {
        stele_consumer_nack(state->consumer, decision.ids[0], decision.count, decision.action,
                            decision.reason);
    }
}

static void take_message(struct stele_call *call, struct stele_bytes message)
{
    struct consume_call *state = stele_call_state(call);
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_pb_field what = {.number = 0};
    while (stele_pb_next(&reader, &field)) {
        if (field.number >= 1 && field.number <= 3 && field.wire == STELE_PB_BYTES) {
            what = field; /* The last one counts, as in every oneof. */
        }
    }
    if (reader.bad || what.number == 0) {
        stele_native__refuse(call, STELE_E_INVALID, "the request is malformed");
    } else if ((what.number == 1) != (state->consumer == NULL)) {
        stele_native__refuse(call, STELE_E_INVALID,
                             what.number == 1 ? "it has joined already"
                                              : "the first message has to join a group");
    } else if (what.number == 1) {
        join(call, what.bytes);
    } else {
        decide(call, what.number == 2, what.bytes);
    }
}

/* ---- Calls ---- */

static void on_start(struct stele_call *call)
{
    struct consume_call *state = stele_call_state(call);
    state->call = call;
    state->room.alloc = stele_call_loop(call)->alloc;
    state->room.arena.block_size = 1024;
}

/* A consumer that will acknowledge nothing any more has left. */
static void on_half_closed(struct stele_call *call)
{
    stele_call_finish(call, STELE_GRPC_OK, "");
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    struct consume_call *state = stele_call_state(call);
    (void)reason;
    stele_consumer_stop(state->consumer); /* What waits here goes back to the group as well. */
    state->consumer = NULL;
    while (state->ring_count > 0) {
        stele_group_event_unref(state->ring[state->ring_at].event);
        state->ring_at = (state->ring_at + 1) % state->ring_size;
        state->ring_count--;
    }
    if (state->ring != NULL) {
        stele_release(state->room.alloc, state->ring, state->ring_size * sizeof *state->ring);
        state->ring = NULL;
    }
    stele_arena_deinit(&state->room.arena, state->room.alloc);
}

const struct stele_method stele_native__consume = {
    .rpc = STELE_RPC_NATIVE_CONSUME,
    .state_size = sizeof(struct consume_call),
    .start = on_start,
    .message = take_message,
    .half_closed = on_half_closed,
    .writable = on_writable,
    .closed = on_closed,
};
