/* Groups and ChangeGroup: persistent subscriptions, on subs/groups.h, which does what there is to do. */
#include "subs/groups.h"

#include "api/native/native_internal.h"

struct groups_call {
    struct stele_groups_request request; /* First: on_done finds the rest. */
    struct stele_call *call;
    struct stele_native__room room;
    struct stele_filter filter;
    bool asked;
};

/* ---- Refusals ---- */

static void fail_group(struct stele_call *call, int outcome, const struct stele_error *err)
{
    if (outcome == STELE_GROUPS_ELSEWHERE) {
        stele_native__fail_elsewhere(call);
        return;
    }
    if (outcome != STELE_GROUPS_EXISTS) {
        stele_native__fail(call, outcome, err);
        return;
    }
    stele_call_trailer(call, "stele-outcome", stele_bytes_of_text("group-exists"));
    stele_call_finish(call, STELE_GRPC_ALREADY_EXISTS, err->message);
}

/* ---- Requests ---- */

/* 0 is what KurrentDB's clients have if nobody says otherwise. */
static int32_t or_default(uint64_t value, int32_t if_zero)
{
    return value == 0 ? if_zero : (int32_t)value;
}

/* Negative: none, which groups write as 0. */
static int32_t or_none(uint64_t value, int32_t if_zero)
{
    const int32_t number = or_default(value, if_zero);
    return number < 0 ? 0 : number;
}

/* enum Strategy begins with what is usual; to and fro are the same. */
_Static_assert(STELE_GROUP_DISPATCH_TO_SINGLE == 0 && STELE_GROUP_ROUND_ROBIN == 1, "swapped");
static uint64_t swap_strategy(uint64_t strategy)
{
    return strategy <= 1 ? 1 - strategy : strategy;
}

static bool decode_settings(struct stele_bytes message, struct stele_group_settings *out)
{
    uint64_t numbers[15] = {0};
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number < STELE_COUNT_OF(numbers) && field.wire == STELE_PB_VARINT) {
            numbers[field.number] = field.value;
        }
    }
    *out = (struct stele_group_settings){
        .start = numbers[2] != 0 ? UINT64_MAX : numbers[1],
        .resolve_links = numbers[3] != 0,
        .strategy = (enum stele_group_strategy)swap_strategy(numbers[4] & 3),
        .max_retry_count = or_none(numbers[5], 10),
        .message_timeout_us = (int64_t)or_none(numbers[6], 30000) * 1000,
        .checkpoint_after_us = (int64_t)or_none(numbers[7], 2000) * 1000,
        .min_checkpoint_count = or_none(numbers[8], 10),
        .max_checkpoint_count = or_none(numbers[9], 1000),
        .max_subscriber_count = (int32_t)numbers[10],
        .live_buffer_size = or_default(numbers[11], 500),
        .history_buffer_size = or_default(numbers[12], 500),
        .read_batch_size = or_default(numbers[13], 20),
        .extra_statistics = numbers[14] != 0,
    };
    return !reader.bad && numbers[4] <= STELE_GROUP_PINNED_BY_CORRELATION;
}

/* CreateGroup. */
static int decode_create(struct stele_bytes message, struct groups_call *state,
                         struct stele_error *err)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    bool good = true;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            good = good && decode_settings(field.bytes, &state->request.settings);
        } else if (field.number == 2 && field.wire == STELE_PB_BYTES) {
            const int outcome =
                stele_native__decode_filter(field.bytes, &state->room, &state->filter, err);
            if (outcome != STELE_OK) {
                return outcome;
            }
            state->request.filter = &state->filter;
        }
    }
    return good && !reader.bad ? STELE_OK
                               : stele_fail(err, STELE_E_INVALID, 0, "the settings are malformed");
}

static bool decode_parked(struct stele_bytes message, uint64_t *below)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    *below = UINT64_MAX;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_VARINT && field.value != 0) {
            *below = field.value;
        }
    }
    return !reader.bad;
}

/* What a change is, by the number of its field in the request. */
static int decode_deed(const struct stele_pb_field *field, struct groups_call *state, bool *found,
                       struct stele_error *err)
{
    struct stele_groups_request *request = &state->request;
    const bool bytes = field->wire == STELE_PB_BYTES;
    bool good = true;
    if (field->number == 3 && bytes) {
        request->what = STELE_GROUPS_CREATE;
        (void)decode_settings((struct stele_bytes){.data = NULL}, &request->settings);
        *found = true;
        return decode_create(field->bytes, state, err);
    }
    if (field->number == 4 && bytes) {
        request->what = STELE_GROUPS_UPDATE;
        good = decode_settings(field->bytes, &request->settings);
    } else if (field->number == 5 && field->wire == STELE_PB_VARINT) {
        request->what = STELE_GROUPS_DELETE;
    } else if ((field->number == 6 || field->number == 7) && bytes) {
        request->what = field->number == 6 ? STELE_GROUPS_REPLAY : STELE_GROUPS_TRUNCATE;
        good = decode_parked(field->bytes, &request->stop_at);
    } else {
        return STELE_OK;
    }
    *found = true;
    return good ? STELE_OK : stele_fail(err, STELE_E_INVALID, 0, "the settings are malformed");
}

/* A name; "$all" as a stream is none. */
static int decode_name(struct stele_bytes bytes, struct groups_call *state, const char *what,
                       const char **out_name, struct stele_error *err)
{
    if (bytes.size == 0) {
        *out_name = NULL;
        return STELE_OK;
    }
    *out_name = stele_native__text(&state->room, bytes, what, err);
    return *out_name == NULL ? err->outcome : STELE_OK;
}

static int decode(struct stele_bytes message, bool changes, struct groups_call *state,
                  struct stele_error *err)
{
    struct stele_groups_request *request = &state->request;
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    bool found = !changes;
    int outcome = STELE_OK;
    request->stop_at = UINT64_MAX;
    while (outcome == STELE_OK && stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            outcome = decode_name(field.bytes, state, "the stream's name", &request->stream, err);
        } else if (field.number == 2 && field.wire == STELE_PB_BYTES) {
            outcome = decode_name(field.bytes, state, "the group's name", &request->group, err);
        } else if (changes) {
            outcome = decode_deed(&field, state, &found, err);
        }
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (reader.bad || !found) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          reader.bad ? "the request is malformed" : "no change is asked for");
    }
    if (changes ? request->stream == NULL || request->group == NULL
                : request->stream == NULL && request->group != NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "the stream and the group have to be named");
    }
    if (!changes) {
        request->all_streams = request->stream == NULL;
        request->what = request->group == NULL ? STELE_GROUPS_LIST : STELE_GROUPS_INFO;
    }
    if (request->stream != NULL && strcmp(request->stream, "$all") == 0) {
        request->stream = NULL;
    }
    return STELE_OK;
}

/* ---- Answers ---- */

/* Everything below is written to a buffer that grows; a nested message is written behind four bytes
 * of room for its length, which are then filled with a length of fixed width. */
struct out {
    struct stele_buf *buf;
    struct stele_alloc *alloc;
    bool failed;
};

static bool reserve(struct out *out, size_t size)
{
    out->failed = out->failed || stele_buf_reserve(out->buf, out->alloc, size) != STELE_OK;
    return !out->failed;
}

static void put_number(struct out *out, uint32_t number, uint64_t value)
{
    if (value != 0 && reserve(out, 16)) {
        uint8_t *to = out->buf->data + out->buf->size;
        out->buf->size += (size_t)(stele_pb_put_u64(to, number, value) - to);
    }
}

static void put_text(struct out *out, uint32_t number, const char *text)
{
    const size_t size = strlen(text);
    if (size > 0 && reserve(out, stele_pb_size_bytes(number, size))) {
        uint8_t *to = out->buf->data + out->buf->size;
        out->buf->size += (size_t)(stele_pb_put_bytes(to, number, text, size) - to);
    }
}

static size_t begin_message(struct out *out, uint32_t number)
{
    if (!reserve(out, 16)) {
        return 0;
    }
    uint8_t *to = out->buf->data + out->buf->size;
    out->buf->size += (size_t)(stele_pb_put_tag(to, number, STELE_PB_BYTES) - to) + 4;
    return out->buf->size;
}

static void end_message(struct out *out, size_t mark)
{
    if (out->failed) {
        return;
    }
    const size_t size = out->buf->size - mark;
    STELE_ASSERT(size < (size_t)1 << 28);
    uint8_t *length = out->buf->data + mark - 4;
    for (int i = 0; i < 4; i++) {
        length[i] = (uint8_t)((size >> (7 * i) & 0x7F) | (i < 3 ? 0x80U : 0));
    }
}

static uint64_t negative_if_none(int64_t value)
{
    return value == 0 ? (uint64_t)-1 : (uint64_t)value;
}

static void put_settings(struct out *out, uint32_t number, const struct stele_group_settings *s)
{
    const size_t mark = begin_message(out, number);
    put_number(out, 1, s->start == UINT64_MAX ? 0 : s->start);
    put_number(out, 2, s->start == UINT64_MAX);
    put_number(out, 3, s->resolve_links);
    put_number(out, 4, swap_strategy(s->strategy));
    put_number(out, 5, negative_if_none(s->max_retry_count));
    put_number(out, 6, negative_if_none(s->message_timeout_us / 1000));
    put_number(out, 7, negative_if_none(s->checkpoint_after_us / 1000));
    put_number(out, 8, negative_if_none(s->min_checkpoint_count));
    put_number(out, 9, negative_if_none(s->max_checkpoint_count));
    put_number(out, 10, (uint64_t)s->max_subscriber_count);
    put_number(out, 11, (uint64_t)s->live_buffer_size);
    put_number(out, 12, (uint64_t)s->history_buffer_size);
    put_number(out, 13, (uint64_t)s->read_batch_size);
    put_number(out, 14, s->extra_statistics);
    end_message(out, mark);
}

static void put_consumer(struct out *out, const struct stele_group_consumer_info *info)
{
    const size_t mark = begin_message(out, 14);
    put_text(out, 1, info->from);
    put_text(out, 2, info->user);
    put_text(out, 3, info->connection_name);
    put_number(out, 4, info->stats.total);
    put_number(out, 5, info->stats.in_flight);
    put_number(out, 6, info->stats.capacity);
    put_number(out, 7, info->stats.since_tick);
    end_message(out, mark);
}

static void put_group(struct out *out, const struct stele_group_info *info)
{
    const size_t mark = begin_message(out, 1);
    put_text(out, 1, info->stream == NULL ? "$all" : info->stream);
    put_text(out, 2, info->group);
    put_text(out, 3, info->is_live ? "live" : "behind");
    put_number(out, 4, info->stats.last_checkpoint);
    put_number(out, 5, info->stats.last_known);
    put_number(out, 6, info->stats.in_flight);
    put_number(out, 7, info->parked);
    put_number(out, 8, info->consumers_count);
    put_number(out, 9, info->stats.total);
    put_number(out, 10, info->stats.waiting);
    put_number(out, 11, info->stats.retrying);
    put_number(out, 12, info->stats.since_tick);
    put_settings(out, 13, &info->settings);
    for (size_t i = 0; i < info->consumers_count; i++) {
        put_consumer(out, &info->consumers[i]);
    }
    end_message(out, mark);
}

static void answer(struct stele_call *call, const struct stele_groups_request *request)
{
    struct out out = {.buf = stele_call_message_begin(call), .alloc = stele_call_loop(call)->alloc};
    for (size_t i = 0; i < request->infos_count; i++) {
        put_group(&out, &request->infos[i]);
    }
    if (out.failed) {
        stele_call_message_cancel(call);
        stele_native__refuse(call, STELE_E_NO_MEMORY, "no memory for the answer");
        return;
    }
    stele_call_message_end(call);
    stele_call_finish(call, STELE_GRPC_OK, "");
}

static void on_done(struct stele_groups_request *request)
{
    struct groups_call *state = (struct groups_call *)(void *)request;
    struct stele_call *call = state->call;
    if (!stele_call_is_over(call)) {
        const bool none = request->what == STELE_GROUPS_LIST && request->outcome == STELE_NOT_FOUND;
        if (request->outcome == STELE_OK || none) {
            answer(call, request);
        } else {
            fail_group(call, request->outcome, &request->err);
        }
    }
    stele_groups_request_deinit(request);
    stele_arena_deinit(&state->room.arena, state->room.alloc);
    stele_call_release(call);
}

/* ---- Calls ---- */

static void take_request(struct stele_call *call, struct stele_bytes message)
{
    struct groups_call *state = stele_call_state(call);
    struct stele_error err = {.outcome = STELE_OK};
    if (state->asked) {
        stele_native__refuse(call, STELE_E_INVALID, "one request was expected");
        return;
    }
    state->asked = true;
    const bool changes = stele_call_method(call)->rpc == STELE_RPC_NATIVE_CHANGE_GROUP;
    int outcome = decode(message, changes, state, &err);
    if (outcome == STELE_OK && stele_call_server(call)->groups == NULL) {
        outcome = stele_fail(&err, STELE_E_CLOSED, 0, "persistent subscriptions are not available");
    }
    if (outcome != STELE_OK) {
        stele_arena_deinit(&state->room.arena, state->room.alloc);
        stele_native__fail(call, outcome, &err);
        return;
    }
    state->call = call;
    state->request.user = stele_call_principal(call)->name;
    state->request.loop = stele_call_loop(call);
    state->request.on_done = on_done;
    stele_call_hold(call);
    stele_groups_ask(stele_call_server(call)->groups, &state->request);
}

static void on_start(struct stele_call *call)
{
    struct groups_call *state = stele_call_state(call);
    state->room.alloc = stele_call_loop(call)->alloc;
    state->room.arena.block_size = 1024;
}

static void on_half_closed(struct stele_call *call)
{
    const struct groups_call *state = stele_call_state(call);
    if (!state->asked) {
        stele_native__refuse(call, STELE_E_INVALID, "a request was expected");
    }
}

const struct stele_method stele_native__groups = {
    .rpc = STELE_RPC_NATIVE_GROUPS,
    .state_size = sizeof(struct groups_call),
    .start = on_start,
    .message = take_request,
    .half_closed = on_half_closed,
};

const struct stele_method stele_native__change_group = {
    .rpc = STELE_RPC_NATIVE_CHANGE_GROUP,
    .state_size = sizeof(struct groups_call),
    .start = on_start,
    .message = take_request,
    .half_closed = on_half_closed,
};
