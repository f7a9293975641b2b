/* Conditions, Streams and Meta: questions with short answers, and changes of one stream. */
#include "api/native/native_internal.h"

static struct stele_engine *engine_of(struct stele_call *call)
{
    return stele_call_server(call)->engine;
}

static void expect_request(struct stele_call *call)
{
    if (!stele_call_is_over(call)) {
        stele_native__refuse(call, STELE_E_INVALID, "a request was expected");
    }
}

/* ---- Conditions ---- */

/* The first event after a position that has one type (NULL: any) and all tags: each of these reads
 * goes through the index. */
static int find_one(struct stele_engine *engine, const char *type,
                    const struct stele_query_item *item, uint64_t after, uint64_t *position,
                    struct stele_error *err)
{
    const struct stele_filter filter = {.types = &type,
                                        .types_count = type == NULL ? 0 : 1,
                                        .tags = item->tags,
                                        .tags_count = item->tags_count};
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.filter = &filter;
    options.from = after + 1;
    options.limit = 1;
    struct stele_reading *reading = NULL;
    int outcome = engine->ops->read_open(engine, NULL, &options, &reading, err);
    size_t count = 0;
    while (outcome == STELE_OK && count == 0) {
        const struct stele_event *events = NULL;
        outcome = engine->ops->read_next(reading, &events, &count, err);
        if (outcome == STELE_OK && count > 0 && (*position == 0 || events->position < *position)) {
            *position = events->position;
        }
    }
    engine->ops->read_close(reading);
    return outcome == STELE_END ? STELE_OK : outcome;
}

static int find_conflict(struct stele_engine *engine, const struct stele_condition *condition,
                         uint64_t *position, struct stele_error *err)
{
    int outcome = STELE_OK;
    for (size_t i = 0; outcome == STELE_OK && i < condition->items_count; i++) {
        const struct stele_query_item *item = &condition->items[i];
        if (item->types_count == 0) {
            outcome = find_one(engine, NULL, item, condition->after, position, err);
        }
        for (size_t t = 0; outcome == STELE_OK && t < item->types_count; t++) {
            outcome = find_one(engine, item->types[t], item, condition->after, position, err);
        }
    }
    return outcome;
}

static void take_conditions(struct stele_call *call, struct stele_bytes message)
{
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    struct stele_native__room room = {.arena = {.block_size = 4096}, .alloc = alloc};
    struct stele_condition *conditions = NULL;
    size_t count = 0;
    struct stele_error err = {.outcome = STELE_OK};
    if (!stele_native__allow(call, NULL, STELE_RIGHT_READ)) {
        return;
    }
    int outcome = stele_native__decode_conditions(message, 1, &room, &conditions, &count, &err);
    uint64_t conflicts[STELE_CONDITIONS_MAX] = {0};
    size_t size = 0;
    for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
        outcome = find_conflict(engine_of(call), &conditions[i], &conflicts[i], &err);
        size += stele_pb_varint_size(conflicts[i]);
    }
    stele_arena_deinit(&room.arena, alloc);
    struct stele_buf *buf = NULL;
    if (outcome == STELE_OK) {
        buf = stele_call_message_begin(call);
        outcome = stele_buf_reserve(buf, alloc, size + 16);
        if (outcome != STELE_OK) {
            stele_call_message_cancel(call);
            (void)stele_fail(&err, outcome, 0, "no memory for the answer");
        }
    }
    if (outcome != STELE_OK) {
        stele_native__fail(call, outcome, &err);
        return;
    }
    uint8_t *to = buf->data + buf->size;
    if (count > 0) {
        to = stele_pb_put_message(to, 1, size);
        for (size_t i = 0; i < count; i++) {
            to = stele_pb_put_varint(to, conflicts[i]);
        }
    }
    buf->size = (size_t)(to - buf->data);
    stele_call_message_end(call);
    stele_call_finish(call, STELE_GRPC_OK, "");
}

static void start_conditions(struct stele_call *call)
{
    stele_native__linearize(stele_call_state(call), call);
}

static void close_nothing(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)call;
    (void)reason;
}

const struct stele_method stele_native__conditions = {
    .rpc = STELE_RPC_NATIVE_CONDITIONS,
    .state_size = sizeof(struct stele_linear),
    .start = start_conditions,
    .message = take_conditions,
    .half_closed = expect_request,
    .closed = close_nothing,
};

/* ---- Streams ---- */

#define NAMES_A_TURN 1000

struct streams_call {
    struct stele_task task;
    struct stele_linear linear;
    struct stele_call *call;
    bool posted;
    bool has_request;
    int what;
    uint64_t limit; /* 0: none. */
    uint64_t told;
    char prefix[STELE_STREAM_NAME_SIZE_MAX + 3];
    char after[STELE_STREAM_NAME_SIZE_MAX + 3];
    bool has_after;
    struct stele_buf *buf; /* Of the message under way. */
    bool failed;
    uint64_t in_turn;
};

static int on_name(void *context, struct stele_text name, uint64_t count)
{
    struct streams_call *state = context;
    struct stele_alloc *alloc = stele_call_loop(state->call)->alloc;
    const struct stele_server *server = stele_call_server(state->call);
    state->in_turn++;
    if (name.size < sizeof state->after) {
        memcpy(state->after, name.data, name.size);
        state->after[name.size] = '\0';
        state->has_after = true;
    }
    if (state->what == STELE_LIST_STREAMS &&
        !stele_auth_may(server->auth, stele_call_principal(state->call), name, STELE_RIGHT_READ)) {
        return 0;
    }
    const size_t size = stele_pb_size_bytes(1, name.size) + stele_pb_size_varint(2, count);
    if (stele_buf_reserve(state->buf, alloc, stele_pb_size_bytes(1, size)) != STELE_OK) {
        state->failed = true;
        return 1;
    }
    uint8_t *to = stele_pb_put_message(state->buf->data + state->buf->size, 1, size);
    to = stele_pb_put_bytes(to, 1, name.data, name.size);
    to = stele_pb_put_u64(to, 2, count);
    state->buf->size = (size_t)(to - state->buf->data);
    state->told++;
    return state->limit != 0 && state->told == state->limit;
}

/* One page of names, as one message. Sending may end the call: it is held meanwhile. */
static void list_held(struct stele_call *call)
{
    struct streams_call *state = stele_call_state(call);
    struct stele_engine *engine = engine_of(call);
    if (stele_call_is_over(call) || stele_call_is_full(call) || state->posted) {
        return;
    }
    struct stele_error err = {.outcome = STELE_OK};
    state->in_turn = 0;
    state->buf = stele_call_message_begin(call);
    const size_t begin = state->buf->size;
    int outcome = engine->ops->list(engine, state->what, state->prefix,
                                    state->has_after ? state->after : NULL, NAMES_A_TURN, on_name,
                                    state, &err);
    if (outcome == STELE_OK && state->failed) {
        outcome = stele_fail(&err, STELE_E_NO_MEMORY, 0, "no memory for the answer");
    }
    if (outcome != STELE_OK) {
        stele_call_message_cancel(call);
        stele_native__fail(call, outcome, &err);
        return;
    }
    if (state->buf->size > begin) {
        stele_call_message_end(call);
    } else {
        stele_call_message_cancel(call);
    }
    if (stele_call_is_over(call)) {
        return;
    }
    if (state->in_turn < NAMES_A_TURN || (state->limit != 0 && state->told == state->limit)) {
        stele_call_finish(call, STELE_GRPC_OK, "");
        return;
    }
    state->posted = true;
    stele_call_hold(call);
    stele_loop_post(stele_call_loop(call), &state->task);
}

static void list_on(struct stele_call *call)
{
    stele_call_hold(call);
    list_held(call);
    stele_call_release(call);
}

static void run_later(struct stele_task *task)
{
    struct streams_call *state = (struct streams_call *)task;
    struct stele_call *call = state->call;
    state->posted = false;
    list_on(call);
    stele_call_release(call);
}

static void tell_about(struct stele_call *call, const char *stream)
{
    struct stele_engine *engine = engine_of(call);
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_stream_info info;
    if (!stele_native__allow(call, stream, STELE_RIGHT_READ)) {
        return;
    }
    const int outcome = engine->ops->stream_info(engine, stream, &info, &err);
    if (outcome != STELE_OK) {
        stele_native__fail(call, outcome, &err);
        return;
    }
    uint8_t body[80];
    uint8_t *to = stele_native__put_number(body, 1, info.revision_first);
    to = stele_native__put_number(to, 2, info.revision_last);
    to = stele_native__put_number(to, 3, info.position_last);
    to = stele_native__put_number(to, 4, info.partition);
    to = stele_native__put_number(to, 5, info.deleted != 0);
    to = stele_native__put_number(to, 6, info.tombstoned != 0);
    uint8_t answer[96];
    const uint8_t *end = stele_pb_put_bytes(answer, 2, body, (size_t)(to - body));
    stele_call_send(call, (struct stele_bytes){.data = answer, .size = (size_t)(end - answer)});
    stele_call_finish(call, STELE_GRPC_OK, "");
}

/* Copies a name; false: too long, or it holds a zero byte. */
static bool copy_name(char to[STELE_STREAM_NAME_SIZE_MAX + 3], struct stele_bytes from)
{
    if (from.size > STELE_STREAM_NAME_SIZE_MAX + 2 ||
        (from.size > 0 && memchr(from.data, '\0', from.size) != NULL)) {
        return false;
    }
    if (from.size > 0) {
        memcpy(to, from.data, from.size);
    }
    to[from.size] = '\0';
    return true;
}

static void take_streams(struct stele_call *call, struct stele_bytes message)
{
    struct streams_call *state = stele_call_state(call);
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    char info[STELE_STREAM_NAME_SIZE_MAX + 3];
    bool asks_info = false;
    bool fits = true;
    state->has_request = true;
    while (stele_pb_next(&reader, &field)) {
        const bool text = field.wire == STELE_PB_BYTES;
        if (field.number == 1 && !text) {
            fits = fits && field.value <= STELE_LIST_TAGS;
            state->what = (int)(field.value & 3);
        } else if (field.number == 2 && text) {
            fits = fits && copy_name(state->prefix, field.bytes);
        } else if (field.number == 3 && text) {
            fits = fits && copy_name(state->after, field.bytes);
            state->has_after = field.bytes.size > 0;
        } else if (field.number == 4 && !text) {
            state->limit = field.value;
        } else if (field.number == 5 && text) {
            fits = fits && copy_name(info, field.bytes);
            asks_info = true;
        }
    }
    if (reader.bad || !fits) {
        stele_native__refuse(call, STELE_E_INVALID, "the request is malformed");
        return;
    }
    if (asks_info) {
        tell_about(call, info);
        return;
    }
    if (state->what != STELE_LIST_STREAMS && !stele_native__allow(call, NULL, STELE_RIGHT_READ)) {
        return;
    }
    list_on(call);
}

static void start_streams(struct stele_call *call)
{
    struct streams_call *state = stele_call_state(call);
    state->task.run = run_later;
    state->call = call;
    stele_native__linearize(&state->linear, call);
}

static void half_close_streams(struct stele_call *call)
{
    const struct streams_call *state = stele_call_state(call);
    if (!state->has_request) {
        expect_request(call);
    }
}

const struct stele_method stele_native__streams = {
    .rpc = STELE_RPC_NATIVE_STREAMS,
    .state_size = sizeof(struct streams_call),
    .start = start_streams,
    .message = take_streams,
    .half_closed = half_close_streams,
    .writable = list_on,
    .closed = close_nothing,
};

/* ---- Meta ---- */

#define METADATA_SIZE_MAX ((size_t)1024 * 1024)

struct meta_call {
    struct stele_appending appending;
    struct stele_linear linear;
    struct stele_call *call;
    bool has_request;
};

static void send_result(struct stele_call *call, const struct stele_appending *appending)
{
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    struct stele_buf result = {.data = NULL};
    struct stele_buf *buf = stele_call_message_begin(call);
    const bool fits =
        stele_native__add_append_response(&result, alloc, 0, appending->outcome, &appending->result,
                                          NULL, 0, appending->err.message) &&
        stele_buf_reserve(buf, alloc, result.size + 16) == STELE_OK;
    if (fits) {
        buf->size =
            (size_t)(stele_pb_put_bytes(buf->data + buf->size, 4, result.data, result.size) -
                     buf->data);
        stele_call_message_end(call);
        stele_call_finish(call, STELE_GRPC_OK, "");
    } else {
        stele_call_message_cancel(call);
        stele_native__refuse(call, STELE_E_NO_MEMORY, "no memory for the answer");
    }
    stele_buf_deinit(&result, alloc);
}

static void on_changed(struct stele_appending *appending)
{
    struct meta_call *state = (struct meta_call *)appending;
    struct stele_call *call = state->call;
    if (appending->outcome != STELE_OK && appending->err.message[0] == '\0') {
        (void)stele_fail(&appending->err, appending->outcome, 0, "%s",
                         stele_outcome_name(appending->outcome));
    }
    if (!stele_call_is_over(call)) {
        send_result(call, appending);
    }
    stele_call_release(call);
}

static void get_metadata(struct stele_call *call, const char *stream)
{
    struct stele_engine *engine = engine_of(call);
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    struct stele_error err = {.outcome = STELE_OK};
    uint64_t revision = 0;
    size_t size = 0;
    char small[4096];
    char *json = small;
    size_t room = sizeof small;
    int outcome = engine->ops->get_metadata(engine, stream, json, room, &size, &revision, &err);
    if (outcome == STELE_OK && size > room) {
        json = size > METADATA_SIZE_MAX * 17 ? NULL : stele_allocate(alloc, size);
        room = size;
        outcome =
            json == NULL
                ? stele_fail(&err, STELE_E_NO_MEMORY, 0, "no memory for the metadata")
                : engine->ops->get_metadata(engine, stream, json, room, &size, &revision, &err);
        size = size < room ? size : room;
    }
    if (outcome == STELE_OK || outcome == STELE_NOT_FOUND) {
        struct stele_buf *buf = stele_call_message_begin(call);
        const bool found = outcome == STELE_OK;
        if (stele_buf_reserve(buf, alloc, size + 32) == STELE_OK) {
            uint8_t *to = buf->data + buf->size;
            if (found) {
                to = stele_pb_put_u64(to, 1, 1);
                to = stele_native__put_bytes(to, 2, json, size);
                to = stele_native__put_number(to, 3, revision);
            }
            buf->size = (size_t)(to - buf->data);
            stele_call_message_end(call);
            stele_call_finish(call, STELE_GRPC_OK, "");
        } else {
            stele_call_message_cancel(call);
            stele_native__refuse(call, STELE_E_NO_MEMORY, "no memory for the answer");
        }
    } else {
        stele_native__fail(call, outcome, &err);
    }
    if (json != small && json != NULL) {
        stele_release(alloc, json, room);
    }
}

enum meta_deed { META_NONE = 0, META_GET = 2, META_SET = 3, META_DELETE = 4, META_TOMBSTONE = 5 };

struct meta_request {
    char stream[STELE_STREAM_NAME_SIZE_MAX + 5]; /* Behind "$$". */
    enum meta_deed deed;
    struct stele_bytes json;
    uint64_t expectation;
    uint64_t revision;
};

static bool decode_meta(struct stele_bytes message, struct meta_request *request)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    *request = (struct meta_request){.stream = "$$"};
    bool fits = true;
    while (stele_pb_next(&reader, &field)) {
        const bool bytes = field.wire == STELE_PB_BYTES;
        if (field.number == 1 && bytes) {
            fits = fits && copy_name(request->stream + 2, field.bytes);
        } else if (field.number == META_SET && bytes) {
            request->deed = META_SET;
            request->json = field.bytes;
        } else if (field.number == 6 && !bytes) {
            request->expectation = field.value;
        } else if (field.number == 7 && !bytes) {
            request->revision = field.value;
        } else if (field.number >= META_GET && field.number <= META_TOMBSTONE && !bytes) {
            request->deed = (enum meta_deed)field.number;
        }
    }
    return fits && !reader.bad && request->deed != META_NONE && request->stream[2] != '\0';
}

static int change(struct stele_call *call, const struct meta_request *request,
                  struct stele_error *err)
{
    struct meta_call *state = stele_call_state(call);
    struct stele_engine *engine = engine_of(call);
    const uint64_t expected = stele_native__expected(request->expectation, request->revision);
    const char *stream = request->stream + 2;
    if (request->deed == META_DELETE) {
        return engine->ops->soft_delete(engine, &state->appending, stream, expected, err);
    }
    if (request->deed == META_TOMBSTONE) {
        return engine->ops->tombstone(engine, &state->appending, stream, expected, err);
    }
    const struct stele_event_draft draft = {
        .type = "$metadata", .data = request->json.data, .data_size = request->json.size};
    const struct stele_append append = {
        .stream = request->stream, .expected = expected, .events = &draft, .count = 1};
    return engine->ops->append(engine, &state->appending, &append, 1, NULL, 0, err);
}

static void take_meta(struct stele_call *call, struct stele_bytes message)
{
    struct meta_call *state = stele_call_state(call);
    struct meta_request request;
    if (state->has_request || !decode_meta(message, &request)) {
        stele_native__refuse(call, STELE_E_INVALID, "the request is malformed");
        return;
    }
    state->has_request = true;
    const enum stele_right right = request.deed == META_GET   ? STELE_RIGHT_META_READ
                                   : request.deed == META_SET ? STELE_RIGHT_META_WRITE
                                                              : STELE_RIGHT_DELETE;
    if (!stele_native__allow(call, request.stream + 2, right)) {
        return;
    }
    if (request.deed == META_GET) {
        get_metadata(call, request.stream + 2);
        return;
    }
    struct stele_error err = {.outcome = STELE_OK};
    state->call = call;
    state->appending.loop = stele_call_loop(call);
    state->appending.on_done = on_changed;
    stele_call_hold(call);
    const int outcome = change(call, &request, &err);
    if (outcome != STELE_OK) {
        stele_native__fail(call, outcome, &err);
        stele_call_release(call);
    }
}

static void half_close_meta(struct stele_call *call)
{
    const struct meta_call *state = stele_call_state(call);
    if (!state->has_request) {
        expect_request(call);
    }
}

static void start_meta(struct stele_call *call)
{
    struct meta_call *state = stele_call_state(call);
    stele_native__linearize(&state->linear, call);
}

const struct stele_method stele_native__meta = {
    .rpc = STELE_RPC_NATIVE_META,
    .state_size = sizeof(struct meta_call),
    .start = start_meta,
    .message = take_meta,
    .half_closed = half_close_meta,
    .closed = close_nothing,
};
