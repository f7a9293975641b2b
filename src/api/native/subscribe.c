/* SubscribeToStream and SubscribeToAll: a follow, credits, and heartbeats that carry a checkpoint.
 *
 * A heartbeat goes out after `heartbeat_events` events looked at, after `heartbeat_ms` without any
 * message, and when the end is reached. Credits (if the client uses them) bound what is sent before
 * it asks for more; without them HTTP/2's window does. */
#include "api/native/native_internal.h"
#include "subs/follow.h"

#define HEARTBEAT_EVENTS_DEFAULT 100
#define HEARTBEAT_MS_DEFAULT 1000

struct subscribe_call {
    struct stele_timer timer;
    struct stele_call *call;
    struct stele_follow *follow;
    struct stele_native__room room;
    bool started;   /* The request came. */
    bool announced; /* And was answered: the first heartbeat went out. */
    bool all;
    bool by_ordinal;
    bool uses_credits;
    bool stalled; /* on_events was full. */
    bool live;    /* The end was reached last. */
    uint64_t credits;
    uint64_t checkpoint;
    uint64_t scanned; /* Since the last heartbeat. */
    uint32_t heartbeat_events;
    int64_t heartbeat_us;
    int64_t sent_us;     /* When the last message was. */
    uint64_t generation; /* Of rights. */
    char stream[STELE_STREAM_NAME_SIZE_MAX + 3];
};

/* The end was reached, and nothing has become visible since that was not handed out yet. */
static bool is_at_end(const struct subscribe_call *state)
{
    struct stele_engine *engine = stele_call_server(state->call)->engine;
    return state->live && state->follow != NULL &&
           stele_follow_position(state->follow) >= engine->ops->last_position(engine);
}

/* caught_up: this is the end at this moment. The first one says that it has started. */
static void send_heartbeat(struct subscribe_call *state, bool caught_up)
{
    struct stele_call *call = state->call;
    struct stele_loop *loop = stele_call_loop(call);
    struct stele_buf *buf = stele_call_message_begin(call);
    if (stele_buf_reserve(buf, loop->alloc, 64) != STELE_OK) {
        stele_call_message_cancel(call);
        return; /* The next one will do. */
    }
    const bool started = !state->announced;
    const uint64_t time_us = (uint64_t)loop->ops->wall_us(loop);
    const size_t size =
        stele_native__number_size(1, state->checkpoint) + stele_native__number_size(2, caught_up) +
        stele_native__number_size(3, time_us) + stele_native__number_size(4, started);
    uint8_t *to = stele_pb_put_message(buf->data + buf->size, 2, size);
    to = stele_native__put_number(to, 1, state->checkpoint);
    to = stele_native__put_number(to, 2, caught_up);
    to = stele_native__put_number(to, 3, time_us);
    to = stele_native__put_number(to, 4, started);
    buf->size = (size_t)(to - buf->data);
    stele_call_message_end(call);
    state->announced = true;
    state->scanned = 0;
    state->sent_us = stele_loop_now_us(loop);
}

static bool still_allowed(struct subscribe_call *state)
{
    const uint64_t generation = stele_auth_generation(stele_call_server(state->call)->auth);
    if (generation == state->generation) {
        return true;
    }
    state->generation = generation;
    return stele_native__allow(state->call, state->all ? NULL : state->stream, STELE_RIGHT_READ);
}

static void on_timer(struct stele_timer *timer)
{
    struct subscribe_call *state = (struct subscribe_call *)timer;
    struct stele_loop *loop = stele_call_loop(state->call);
    if (stele_call_is_over(state->call) || !still_allowed(state)) {
        return;
    }
    struct stele_call *call = state->call;
    stele_call_hold(call);
    const int64_t now_us = stele_loop_now_us(loop);
    const bool idle = now_us - state->sent_us >= state->heartbeat_us;
    if (idle && !stele_call_is_full(call)) {
        send_heartbeat(state, is_at_end(state));
    }
    if (!stele_call_is_over(call)) {
        loop->ops->timer_start(loop, timer, (idle ? now_us : state->sent_us) + state->heartbeat_us);
    }
    stele_call_release(call);
}

static bool is_hidden(struct stele_call *call, const struct stele_event *event)
{
    const struct subscribe_call *state = stele_call_state(call);
    const struct stele_text subject = {.data = state->all ? NULL : state->stream,
                                       .size = state->all ? 0 : strlen(state->stream)};
    return stele_auth_hides_in(stele_call_server(call)->auth, stele_call_principal(call), subject,
                               event->stream);
}

static size_t send_events(void *context, const struct stele_event *events, size_t count,
                          uint64_t ordinal, struct stele_live *live)
{
    (void)live;
    struct subscribe_call *state = context;
    struct stele_call *call = state->call;
    if (!still_allowed(state)) {
        return count;
    }
    size_t taken = 0;
    while (taken < count && !stele_call_is_full(call) &&
           (!state->uses_credits || state->credits > 0)) {
        /* Before a message is begun, so that none is empty; further ones end it. */
        if (is_hidden(call, &events[taken])) {
            state->checkpoint = events[taken++].position;
            continue;
        }
        struct stele_buf *buf = stele_call_message_begin(call);
        const size_t begin = buf->size;
        const size_t before = taken;
        while (taken < count && buf->size - begin < STELE_NATIVE__MESSAGE_SIZE &&
               !is_hidden(call, &events[taken]) &&
               (!state->uses_credits || state->credits > taken - before) &&
               stele_native__add_event(buf, stele_call_loop(call)->alloc, 1, &events[taken],
                                       state->by_ordinal ? ordinal + taken + 1 : 0)) {
            taken++;
        }
        if (taken == before) {
            stele_call_message_cancel(call);
            stele_native__refuse(call, STELE_E_NO_MEMORY, "no memory for the event");
            return count;
        }
        stele_call_message_end(call);
        state->credits -= state->uses_credits ? taken - before : 0;
        state->checkpoint = events[taken - 1].position;
        state->sent_us = stele_loop_now_us(stele_call_loop(call));
    }
    state->live = state->live && taken == count;
    state->stalled = taken < count;
    return taken;
}

static size_t on_events(void *context, const struct stele_event *events, size_t count,
                        uint64_t ordinal, struct stele_live *live)
{
    struct stele_call *call = ((struct subscribe_call *)context)->call;
    stele_call_hold(call); /* Sending may end it. */
    const size_t taken = send_events(context, events, count, ordinal, live);
    stele_call_release(call);
    return taken;
}

static void on_progress(void *context, uint64_t position, uint64_t scanned, bool caught_up)
{
    struct subscribe_call *state = context;
    state->checkpoint = position > state->checkpoint ? position : state->checkpoint;
    state->scanned += scanned;
    const bool arrived = caught_up && !state->live;
    state->live = state->live || caught_up;
    struct stele_call *call = state->call;
    if (!stele_call_is_over(call) && (arrived || state->scanned >= state->heartbeat_events)) {
        stele_call_hold(call);
        send_heartbeat(state, arrived || is_at_end(state));
        stele_call_release(call);
    }
}

static void on_end(void *context, int outcome, const struct stele_error *err)
{
    const struct subscribe_call *state = context;
    if (!stele_call_is_over(state->call)) { /* Its end stops the follow. */
        stele_native__fail(state->call, outcome, err);
    }
}

static const struct stele_follow_callbacks callbacks = {
    .on_events = on_events, .on_progress = on_progress, .on_end = on_end};

struct start_request {
    const char *stream;
    uint64_t from;
    struct stele_filter filter;
    bool has_filter;
    bool by_ordinal;
};

static int decode_start(struct stele_bytes message, struct subscribe_call *state,
                        struct start_request *start, struct stele_error *err)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_bytes stream = {.data = NULL};
    bool from_end = false;
    *start = (struct start_request){.from = 0};
    while (stele_pb_next(&reader, &field)) {
        switch (field.number) {
        case 1:
            stream = field.bytes;
            break;
        case 2:
            start->from = field.value;
            break;
        case 3:
            from_end = field.value != 0;
            break;
        case 4: {
            const int outcome =
                stele_native__decode_filter(field.bytes, &state->room, &start->filter, err);
            if (outcome != STELE_OK) {
                return outcome;
            }
            start->has_filter = true;
            break;
        }
        case 6:
            state->credits = field.value;
            state->uses_credits = field.value > 0;
            break;
        case 7:
            start->by_ordinal = field.value != 0;
            break;
        case 8:
            state->heartbeat_events = field.value > 1000000 ? 1000000 : (uint32_t)field.value;
            break;
        case 9:
            state->heartbeat_us = (int64_t)(field.value > 3600000 ? 3600000 : field.value) * 1000;
            break;
        default:
            break;
        }
    }
    if (reader.bad) {
        return stele_fail(err, STELE_E_INVALID, 0, "the request is malformed");
    }
    start->from = from_end ? STELE_FROM_END : start->from;
    if (!state->all) {
        start->stream = stele_native__text(&state->room, stream, "the stream's name", err);
        if (start->stream == NULL) {
            return err->outcome;
        }
        if (stream.size == 0 || stream.size >= sizeof state->stream) {
            return stele_fail(err, stream.size == 0 ? STELE_E_INVALID : STELE_E_LIMIT, 0,
                              "the stream's name is %s", stream.size == 0 ? "empty" : "too long");
        }
        memcpy(state->stream, start->stream, stream.size + 1);
    }
    return STELE_OK;
}

/* Sending may end the call: it is held meanwhile. */
static void begin_held(struct stele_call *call, struct stele_bytes message)
{
    struct subscribe_call *state = stele_call_state(call);
    struct stele_loop *loop = stele_call_loop(call);
    struct stele_server *server = stele_call_server(call);
    struct stele_error err = {.outcome = STELE_OK};
    struct start_request start;
    int outcome = decode_start(message, state, &start, &err);
    if (outcome == STELE_OK &&
        !stele_native__allow(call, state->all ? NULL : start.stream, STELE_RIGHT_READ)) {
        return;
    }
    if (outcome == STELE_OK) {
        state->generation = stele_auth_generation(server->auth);
        state->by_ordinal = start.by_ordinal;
        const struct stele_follow_options options = {
            .stream = start.stream,
            .from = start.from,
            .filter = start.has_filter ? &start.filter : NULL,
            .scan_max = state->heartbeat_events,
            .by_ordinal = start.by_ordinal,
        };
        outcome = stele_follow_start(stele_hub_of(server->hubs, loop), &options, &callbacks, state,
                                     &state->follow, &err);
    }
    stele_arena_deinit(&state->room.arena, state->room.alloc);
    if (outcome != STELE_OK) {
        stele_native__fail(call, outcome, &err);
        return;
    }
    if (start.from != 0 && start.from != STELE_FROM_END && state->all) {
        state->checkpoint = start.from - 1;
    }
    send_heartbeat(state, false);
    if (stele_call_is_over(call)) {
        return;
    }
    loop->ops->timer_start(loop, &state->timer, stele_loop_now_us(loop) + state->heartbeat_us);
}

static void begin(struct stele_call *call, struct stele_bytes message)
{
    stele_call_hold(call);
    begin_held(call, message);
    stele_call_release(call);
}

static void take_credits(struct subscribe_call *state, uint64_t credits)
{
    state->credits += credits > UINT32_MAX ? UINT32_MAX : credits;
    if (state->stalled && state->follow != NULL && !stele_call_is_full(state->call)) {
        state->stalled = false;
        stele_follow_resume(state->follow);
    }
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    struct subscribe_call *state = stele_call_state(call);
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field) && !stele_call_is_over(call)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES && !state->started) {
            state->started = true;
            begin(call, field.bytes);
        } else if (field.number == 2 && field.wire == STELE_PB_VARINT && state->started) {
            take_credits(state, field.value);
        }
    }
    if (!stele_call_is_over(call) && (reader.bad || !state->started)) {
        stele_native__refuse(call, STELE_E_INVALID,
                             reader.bad ? "the request is malformed"
                                        : "the first message has to start the subscription");
    }
}

static void on_start(struct stele_call *call)
{
    struct subscribe_call *state = stele_call_state(call);
    state->call = call;
    state->timer.on_due = on_timer;
    state->room.alloc = stele_call_loop(call)->alloc;
    state->room.arena.block_size = 1024;
    state->heartbeat_events = HEARTBEAT_EVENTS_DEFAULT;
    state->heartbeat_us = (int64_t)HEARTBEAT_MS_DEFAULT * 1000;
    state->all = stele_call_method(call)->rpc == STELE_RPC_NATIVE_SUBSCRIBE_TO_ALL;
}

static void on_half_closed(struct stele_call *call)
{
    const struct subscribe_call *state = stele_call_state(call);
    if (!state->started) {
        stele_native__refuse(call, STELE_E_INVALID, "a request was expected");
    }
}

static void on_writable(struct stele_call *call)
{
    take_credits(stele_call_state(call), 0);
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)reason;
    struct subscribe_call *state = stele_call_state(call);
    struct stele_loop *loop = stele_call_loop(call);
    loop->ops->timer_stop(loop, &state->timer);
    if (state->follow != NULL) {
        stele_follow_stop(state->follow);
        state->follow = NULL;
    }
    stele_arena_deinit(&state->room.arena, state->room.alloc);
}

const struct stele_method stele_native__subscribe_to_stream = {
    .rpc = STELE_RPC_NATIVE_SUBSCRIBE_TO_STREAM,
    .state_size = sizeof(struct subscribe_call),
    .start = on_start,
    .message = on_message,
    .half_closed = on_half_closed,
    .writable = on_writable,
    .closed = on_closed,
};

const struct stele_method stele_native__subscribe_to_all = {
    .rpc = STELE_RPC_NATIVE_SUBSCRIBE_TO_ALL,
    .state_size = sizeof(struct subscribe_call),
    .start = on_start,
    .message = on_message,
    .half_closed = on_half_closed,
    .writable = on_writable,
    .closed = on_closed,
};
