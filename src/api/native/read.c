/* Read and ReadMany: one piece a turn, as long as the client takes it. */
#include "api/native/native_internal.h"

#define READS_MAX 64
#define TURN_SIZE ((size_t)512 * 1024) /* Bytes that one turn of the loop may encode. */
#define SCAN_MAX 4096

struct read_call {
    struct stele_task task; /* Goes on in the next turn. */
    struct stele_linear linear;
    struct stele_call *call;
    bool posted;
    bool many;
    bool has_request;
    struct stele_native__room room;
    struct stele_native__read_request *requests;
    size_t count;
    size_t at; /* The request that is being answered. */
    struct stele_reading *reading;
    const struct stele_event *events;
    size_t events_count;
    size_t events_at;
};

static struct stele_engine *engine_of(struct stele_call *call)
{
    return stele_call_server(call)->engine;
}

static void close_reading(struct stele_call *call, struct read_call *state)
{
    if (state->reading != NULL) {
        engine_of(call)->ops->read_close(state->reading);
        state->reading = NULL;
    }
    state->events_count = 0;
    state->events_at = 0;
}

/* The last message of one read. */
static void send_end(struct stele_call *call, struct read_call *state, int outcome,
                     const struct stele_error *err)
{
    const uint64_t position =
        state->reading == NULL ? 0 : engine_of(call)->ops->read_position(state->reading);
    const char *words = outcome == STELE_OK || outcome == STELE_NO_STREAM ? "" : err->message;
    const size_t words_size = strlen(words);
    const bool no_stream = outcome == STELE_NO_STREAM;
    const uint32_t told = no_stream ? 0 : stele_native__outcome(outcome);
    const size_t size =
        stele_native__number_size(1, position) + stele_native__number_size(2, told) +
        stele_native__number_size(3, no_stream) + stele_native__bytes_size(4, words_size);
    struct stele_buf *buf = stele_call_message_begin(call);
    if (stele_buf_reserve(buf, stele_call_loop(call)->alloc, size + 24) != STELE_OK) {
        stele_call_message_cancel(call);
        stele_native__refuse(call, STELE_E_NO_MEMORY, "no memory for the answer");
        return;
    }
    uint8_t *to = buf->data + buf->size;
    to = stele_native__put_number(to, 1, state->at);
    to = stele_pb_put_message(to, 3, size);
    to = stele_native__put_number(to, 1, position);
    to = stele_native__put_number(to, 2, told);
    to = stele_native__put_number(to, 3, no_stream);
    to = stele_native__put_bytes(to, 4, words, words_size);
    buf->size = (size_t)(to - buf->data);
    stele_call_message_end(call);
}

/* One message of events, as many as are at hand. */
static bool send_events(struct stele_call *call, struct read_call *state)
{
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    struct stele_buf *buf = stele_call_message_begin(call);
    const size_t begin = buf->size;
    bool fits = stele_buf_reserve(buf, alloc, 16) == STELE_OK;
    if (fits && state->at != 0) {
        buf->size = (size_t)(stele_pb_put_u64(buf->data + buf->size, 1, state->at) - buf->data);
    }
    const bool ordinals = state->requests[state->at].options.by_ordinal != 0;
    const char *const stream = state->requests[state->at].stream;
    const struct stele_text subject = {.data = stream, .size = stream == NULL ? 0 : strlen(stream)};
    bool any = false;
    while (fits && state->events_at < state->events_count &&
           buf->size - begin < STELE_NATIVE__MESSAGE_SIZE) {
        if (stele_auth_hides_in(stele_call_server(call)->auth, stele_call_principal(call), subject,
                                state->events[state->events_at].stream)) {
            state->events_at++;
            continue;
        }
        const uint64_t ordinal =
            ordinals ? engine_of(call)->ops->read_ordinal(state->reading, state->events_at) + 1 : 0;
        fits = stele_native__add_event(buf, alloc, 2, &state->events[state->events_at], ordinal);
        state->events_at += fits;
        any = true;
    }
    if (fits && !any) {
        stele_call_message_cancel(call);
        return true;
    }
    if (!fits) {
        stele_call_message_cancel(call);
        stele_native__refuse(call, STELE_E_NO_MEMORY, "no memory for the answer");
        return false;
    }
    stele_call_message_end(call);
    return true;
}

/* Ends the read under way. false: the call is over. */
static bool next_read(struct stele_call *call, struct read_call *state, int outcome,
                      const struct stele_error *err)
{
    if (!state->many && outcome != STELE_OK && outcome != STELE_NO_STREAM) {
        stele_native__fail(call, outcome, err);
        return false;
    }
    send_end(call, state, outcome, err);
    close_reading(call, state);
    if (stele_call_is_over(call)) {
        return false;
    }
    if (++state->at == state->count) {
        stele_call_finish(call, STELE_GRPC_OK, "");
        return false;
    }
    return true;
}

/* Makes a batch of events be at hand. false: the call is over. */
static bool fetch(struct stele_call *call, struct read_call *state)
{
    struct stele_engine *engine = engine_of(call);
    struct stele_error err = {.outcome = STELE_OK};
    int outcome = STELE_OK;
    if (state->reading == NULL) {
        struct stele_native__read_request *request = &state->requests[state->at];
        request->options.scan_max = SCAN_MAX;
        outcome = engine->ops->read_open(engine, request->stream, &request->options,
                                         &state->reading, &err);
    }
    if (outcome == STELE_OK) {
        outcome =
            engine->ops->read_next(state->reading, &state->events, &state->events_count, &err);
        state->events_at = 0;
    }
    if (outcome == STELE_OK) {
        return true;
    }
    state->events_count = 0;
    return next_read(call, state, outcome == STELE_END ? STELE_OK : outcome, &err);
}

static void go_on_later(struct stele_call *call, struct read_call *state)
{
    if (!state->posted) {
        state->posted = true;
        stele_call_hold(call);
        stele_loop_post(stele_call_loop(call), &state->task);
    }
}

/* Sending may end the call when there is no memory: whoever calls this holds it. */
static void pump_held(struct stele_call *call)
{
    struct read_call *state = stele_call_state(call);
    size_t sent = 0;
    for (int fetched = 0; !stele_call_is_over(call) && !stele_call_is_full(call);) {
        if (state->events_at < state->events_count) {
            const size_t before = state->events_at;
            if (!send_events(call, state)) {
                return;
            }
            sent += (state->events_at - before) * 64 + STELE_NATIVE__MESSAGE_SIZE / 4;
        } else if (sent >= TURN_SIZE || fetched == 64) {
            go_on_later(call, state);
            return;
        } else {
            fetched++;
            if (!fetch(call, state)) {
                return;
            }
        }
    }
}

static void pump(struct stele_call *call)
{
    stele_call_hold(call);
    pump_held(call);
    stele_call_release(call);
}

static void run_later(struct stele_task *task)
{
    struct read_call *state = (struct read_call *)task;
    struct stele_call *call = state->call;
    state->posted = false;
    if (!stele_call_is_over(call)) {
        pump(call);
    }
    stele_call_release(call);
}

static void on_start(struct stele_call *call)
{
    struct read_call *state = stele_call_state(call);
    state->task.run = run_later;
    state->call = call;
    state->room.alloc = stele_call_loop(call)->alloc;
    state->room.arena.block_size = 1024;
    stele_native__linearize(&state->linear, call);
}

static int decode_many(struct stele_bytes message, struct read_call *state, struct stele_error *err)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number != 1 || field.wire != STELE_PB_BYTES) {
            continue;
        }
        if (state->count == READS_MAX) {
            return stele_fail(err, STELE_E_LIMIT, 0, "more than %d reads in one call", READS_MAX);
        }
        const int outcome = stele_native__decode_read(field.bytes, &state->room,
                                                      &state->requests[state->count], err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        struct stele_native__read_request *request = &state->requests[state->count++];
        if (request->options.filter != NULL) {
            request->options.filter = &request->filter;
        }
    }
    if (reader.bad || state->count == 0) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          reader.bad ? "the request is malformed" : "no reads are asked for");
    }
    return STELE_OK;
}

static void take_request(struct stele_call *call, struct stele_bytes message)
{
    struct read_call *state = stele_call_state(call);
    struct stele_error err = {.outcome = STELE_OK};
    if (state->has_request) {
        stele_native__refuse(call, STELE_E_INVALID, "one request was expected");
        return;
    }
    state->has_request = true;
    state->many = stele_call_method(call)->rpc == STELE_RPC_NATIVE_READ_MANY;
    const size_t room = (state->many ? READS_MAX : 1) * sizeof *state->requests;
    state->requests = stele_arena_allocate(&state->room.arena, state->room.alloc, room);
    int outcome = STELE_E_NO_MEMORY;
    if (state->requests == NULL) {
        (void)stele_fail(&err, STELE_E_NO_MEMORY, 0, "no memory for the request");
    } else if (state->many) {
        outcome = decode_many(message, state, &err);
    } else {
        state->count = 1;
        outcome = stele_native__decode_read(message, &state->room, state->requests, &err);
    }
    if (outcome != STELE_OK) {
        stele_native__fail(call, outcome, &err);
        return;
    }
    for (size_t i = 0; i < state->count; i++) {
        if (!stele_native__allow(call, state->requests[i].stream, STELE_RIGHT_READ)) {
            return;
        }
    }
    if (stele_call_is_first(call)) {
        pump(call);
    } else {
        go_on_later(call, state);
    }
}

static void on_half_closed(struct stele_call *call)
{
    const struct read_call *state = stele_call_state(call);
    if (!state->has_request) {
        stele_native__refuse(call, STELE_E_INVALID, "a request was expected");
    }
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)reason;
    struct read_call *state = stele_call_state(call);
    close_reading(call, state);
    stele_arena_deinit(&state->room.arena, state->room.alloc);
}

const struct stele_method stele_native__read = {
    .rpc = STELE_RPC_NATIVE_READ,
    .state_size = sizeof(struct read_call),
    .start = on_start,
    .message = take_request,
    .half_closed = on_half_closed,
    .writable = pump,
    .closed = on_closed,
};

const struct stele_method stele_native__read_many = {
    .rpc = STELE_RPC_NATIVE_READ_MANY,
    .state_size = sizeof(struct read_call),
    .start = on_start,
    .message = take_request,
    .half_closed = on_half_closed,
    .writable = pump,
    .closed = on_closed,
};
