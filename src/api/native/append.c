/* Append and AppendEvents.
 *
 * Every request becomes a pending append; answers go out in the order of the requests, so the first
 * pending one holds up the others (the engine finishes them in that order anyway, but for requests
 * that are refused at once). At most PENDING_MAX are under way for a call, then its messages wait. */
#include "api/native/native_internal.h"

#define PENDING_MAX 1024

struct pending {
    struct stele_appending appending;
    struct pending *next;
    struct stele_call *call;
    uint64_t correlation;
    bool done;
    size_t size; /* Of this, with revisions. */
    size_t streams_count;
    uint64_t revisions[];
};

struct append_call {
    struct pending *first, **last;
    uint32_t count;
    bool paused;
    bool half_closed;
    bool single;
};

void stele_native__fail(struct stele_call *call, int outcome, const struct stele_error *err)
{
    enum stele_grpc_code code = STELE_GRPC_INTERNAL;
    switch (outcome) {
    case STELE_WRONG_REVISION:
    case STELE_STREAM_DELETED:
    case STELE_CONDITION_FAILED:
        code = STELE_GRPC_FAILED_PRECONDITION;
        break;
    case STELE_NO_STREAM:
    case STELE_NOT_FOUND:
        code = STELE_GRPC_NOT_FOUND;
        break;
    case STELE_E_INVALID:
    case STELE_E_LIMIT:
        code = STELE_GRPC_INVALID_ARGUMENT;
        break;
    case STELE_E_ID_CONFLICT:
        code = STELE_GRPC_ALREADY_EXISTS;
        break;
    case STELE_E_CORRUPT:
        code = STELE_GRPC_DATA_LOSS;
        break;
    case STELE_E_NO_SPACE:
    case STELE_E_NO_MEMORY:
    case STELE_E_OVERLOADED:
        code = STELE_GRPC_RESOURCE_EXHAUSTED;
        break;
    case STELE_E_FENCED:
    case STELE_E_CLOSED:
        code = STELE_GRPC_UNAVAILABLE;
        break;
    case STELE_E_PERMISSION:
        code = STELE_GRPC_PERMISSION_DENIED;
        break;
    case STELE_E_UNKNOWN:
        code = STELE_GRPC_UNKNOWN;
        break;
    case STELE_E_UNSUPPORTED:
        code = STELE_GRPC_UNIMPLEMENTED;
        break;
    default:
        break;
    }
    stele_call_trailer(call, "stele-outcome", stele_bytes_of_text(stele_outcome_name(outcome)));
    stele_call_finish(call, code, err->message);
}

void stele_native__refuse(struct stele_call *call, int outcome, const char *words)
{
    struct stele_error err;
    (void)stele_fail(&err, outcome, 0, "%s", words);
    stele_native__fail(call, outcome, &err);
}

bool stele_native__allow(struct stele_call *call, const char *stream, enum stele_right right)
{
    struct stele_server *server = stele_call_server(call);
    const char *name = stream == NULL ? "$all" : stream;
    const struct stele_text text = {.data = name, .size = strlen(name)};
    if (stele_auth_may(server->auth, stele_call_principal(call), text, right)) {
        return true;
    }
    struct stele_error err;
    stele_native__fail(call, STELE_E_PERMISSION,
                       (stele_fail(&err, STELE_E_PERMISSION, 0, "no right to %s %s",
                                   right == STELE_RIGHT_READ ? "read" : "change", name),
                        &err));
    return false;
}

static void release(struct stele_call *call, struct pending *pending)
{
    stele_release(stele_call_loop(call)->alloc, pending, pending->size);
}

/* Sends what is done, in order. Sending may end the call: it is held meanwhile. */
static void answer_held(struct stele_call *call)
{
    struct append_call *state = stele_call_state(call);
    while (state->first != NULL && state->first->done) {
        struct pending *pending = state->first;
        state->first = pending->next;
        if (state->first == NULL) {
            state->last = &state->first;
        }
        state->count--;
        if (!stele_call_is_over(call)) {
            struct stele_buf *buf = stele_call_message_begin(call);
            const bool fits = stele_native__add_append_response(
                buf, stele_call_loop(call)->alloc, pending->correlation, pending->appending.outcome,
                &pending->appending.result, pending->revisions, pending->streams_count,
                pending->appending.err.message);
            if (fits) {
                stele_call_message_end(call);
            } else {
                stele_call_message_cancel(call);
                stele_native__refuse(call, STELE_E_NO_MEMORY, "no memory for the answer");
            }
        }
        release(call, pending);
    }
    if (stele_call_is_over(call)) {
        return;
    }
    if (state->half_closed && state->first == NULL) {
        stele_call_finish(call, STELE_GRPC_OK, "");
        return;
    }
    if (state->paused && state->count < PENDING_MAX / 2 && !stele_call_is_full(call)) {
        state->paused = false;
        stele_call_resume(call);
    }
}

static void answer(struct stele_call *call)
{
    stele_call_hold(call);
    answer_held(call);
    stele_call_release(call);
}

static void on_done(struct stele_appending *appending)
{
    struct pending *pending = (struct pending *)appending;
    struct stele_call *call = pending->call;
    pending->done = true;
    if (appending->outcome != STELE_OK && appending->err.message[0] == '\0') {
        (void)stele_fail(&appending->err, appending->outcome, 0, "%s",
                         stele_outcome_name(appending->outcome));
    }
    answer(call);
    stele_call_release(call);
}

static int check_rights(struct stele_call *call, const struct stele_native__append_request *request,
                        struct stele_error *err)
{
    struct stele_server *server = stele_call_server(call);
    const struct stele_principal *principal = stele_call_principal(call);
    for (size_t i = 0; i < request->streams_count; i++) {
        const struct stele_append *append = &request->streams[i];
        const struct stele_text name = {.data = append->stream, .size = strlen(append->stream)};
        if (!stele_auth_may(server->auth, principal, name,
                            append->count > 0 ? STELE_RIGHT_WRITE : STELE_RIGHT_READ)) {
            return stele_fail(err, STELE_E_PERMISSION, 0, "no right to %s %s",
                              append->count > 0 ? "append to" : "check", append->stream);
        }
    }
    const struct stele_text all = {.data = "$all", .size = 4};
    if (request->conditions_count > 0 &&
        !stele_auth_may(server->auth, principal, all, STELE_RIGHT_READ)) {
        return stele_fail(err, STELE_E_PERMISSION, 0, "conditions need the right to read $all");
    }
    return STELE_OK;
}

static void take_message(struct stele_call *call, struct stele_bytes message)
{
    struct append_call *state = stele_call_state(call);
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    if (state->last == NULL) {
        state->last = &state->first;
    }
    struct stele_native__room room = {.arena = {.block_size = 8192}, .alloc = alloc};
    struct stele_native__append_request request = {.streams_count = 0};
    struct stele_error err = {.outcome = STELE_OK};
    int outcome = stele_native__decode_append(message, &room, &request, &err);
    const size_t streams = outcome == STELE_OK ? request.streams_count : 0;
    const size_t size = sizeof(struct pending) + streams * sizeof(uint64_t);
    struct pending *pending = stele_allocate_zeroed(alloc, size);
    if (pending == NULL) {
        stele_arena_deinit(&room.arena, alloc);
        stele_native__refuse(call, STELE_E_NO_MEMORY, "no memory for the request");
        return;
    }
    pending->size = size;
    pending->call = call;
    pending->correlation = request.correlation;
    pending->streams_count = streams;
    pending->appending.loop = stele_call_loop(call);
    pending->appending.on_done = on_done;
    pending->appending.revisions_last = pending->revisions;
    *state->last = pending;
    state->last = &pending->next;
    state->count++;
    if (outcome == STELE_OK) {
        outcome = check_rights(call, &request, &err);
    }
    if (outcome == STELE_OK) {
        stele_call_hold(call);
        struct stele_engine *engine = stele_call_server(call)->engine;
        outcome =
            engine->ops->append(engine, &pending->appending, request.streams, request.streams_count,
                                request.conditions, request.conditions_count, &err);
        if (outcome != STELE_OK) {
            stele_call_release(call);
        }
    }
    stele_arena_deinit(&room.arena, alloc);
    if (outcome != STELE_OK) {
        pending->appending.outcome = outcome;
        pending->appending.err = err;
        pending->done = true;
    }
    if (state->count >= PENDING_MAX || stele_call_is_full(call)) {
        state->paused = true;
        stele_call_pause(call);
    }
    answer(call);
}

static void on_half_closed(struct stele_call *call)
{
    struct append_call *state = stele_call_state(call);
    state->half_closed = true;
    answer(call);
}

static void take_single(struct stele_call *call, struct stele_bytes message)
{
    struct append_call *state = stele_call_state(call);
    if (state->single) {
        stele_native__refuse(call, STELE_E_INVALID, "one request was expected");
        return;
    }
    state->single = true;
    take_message(call, message);
}

static void on_single_half_closed(struct stele_call *call)
{
    struct append_call *state = stele_call_state(call);
    if (!state->single) {
        stele_native__refuse(call, STELE_E_INVALID, "a request was expected");
        return;
    }
    state->half_closed = true;
    answer(call);
}

/* Pending appends hold the call and release themselves; what is done and waits its turn goes now. */
static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)reason;
    answer(call);
}

static void on_start(struct stele_call *call)
{
    struct append_call *state = stele_call_state(call);
    state->last = &state->first;
}

static void on_writable(struct stele_call *call)
{
    answer(call);
}

const struct stele_method stele_native__append_events = {
    .rpc = STELE_RPC_NATIVE_APPEND_EVENTS,
    .state_size = sizeof(struct append_call),
    .message_max = STELE_APPEND_SIZE_MAX + 1024 * 1024,
    .start = on_start,
    .message = take_message,
    .half_closed = on_half_closed,
    .writable = on_writable,
    .closed = on_closed,
};

const struct stele_method stele_native__append = {
    .rpc = STELE_RPC_NATIVE_APPEND,
    .state_size = sizeof(struct append_call),
    .message_max = STELE_APPEND_SIZE_MAX + 1024 * 1024,
    .start = on_start,
    .message = take_single,
    .half_closed = on_single_half_closed,
    .writable = on_writable,
    .closed = on_closed,
};
