/* Projections, as far as there are any: the system projections of KurrentDB, whose streams are here
 * answered from the index (see link.c). They can be looked at, and stopped and started; which are
 * stopped is remembered in the store. Projections that users write are refused with a reason. */
#include "api/kurrent/cold.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define STATE_STREAM "$projections-system"
#define STATE_TYPE "$SystemProjectionsChanged"
#define UNSUPPORTED                                                                                \
    "Projections written by users are not supported: there is no JavaScript engine in this "       \
    "server. "                                                                                     \
    "The system projections are."

static const char *const names[] = {"$by_category", "$by_event_type", "$by_correlation_id",
                                    "$streams", "$stream_by_category"};
#define PROJECTIONS 5
_Static_assert(STELE_COUNT_OF(names) == PROJECTIONS, "every projection has a name");

struct projections {
    struct stele_appending appending; /* First: on_done finds the rest. */
    struct stele_call *call;
    bool asked;
};

/* ---- What is remembered --------------------------------------------------------------------- */

/* Which are stopped. A store without a word about it has all of them running. */
static int load(struct stele_engine *engine, bool stopped[PROJECTIONS], struct stele_error *err)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = STELE_FROM_END;
    options.backwards = 1;
    options.limit = 1;
    memset(stopped, 0, PROJECTIONS * sizeof *stopped);
    struct stele_reading *reading = NULL;
    int outcome = engine->ops->read_open(engine, STATE_STREAM, &options, &reading, err);
    if (outcome == STELE_NO_STREAM || outcome == STELE_STREAM_DELETED) {
        return STELE_OK;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_event *events = NULL;
    size_t count = 0;
    outcome = engine->ops->read_next(reading, &events, &count, err);
    if (outcome == STELE_OK && count > 0) {
        json_t *json = json_loadb(events[0].data, events[0].data_size, 0, NULL);
        for (size_t i = 0; i < PROJECTIONS; i++) {
            stopped[i] = json_is_false(json_object_get(json, names[i]));
        }
        json_decref(json);
    }
    engine->ops->read_close(reading);
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* Released with free(). */
static char *encode(const bool stopped[PROJECTIONS])
{
    json_t *json = json_object();
    for (size_t i = 0; i < PROJECTIONS; i++) {
        (void)json_object_set_new(json, names[i], json_boolean(!stopped[i]));
    }
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
}

static void on_done(struct stele_appending *appending)
{
    struct projections *state = (struct projections *)(void *)appending;
    if (!stele_call_is_over(state->call)) {
        if (appending->outcome == STELE_OK) {
            stele_kurrent__answer_empty(state->call);
        } else {
            stele_kurrent__fail_outcome(state->call, appending->outcome, appending->err.message);
        }
    }
    stele_call_release(state->call);
}

static void remember(struct projections *state, const bool stopped[PROJECTIONS])
{
    struct stele_call *call = state->call;
    struct stele_loop *loop = stele_call_loop(call);
    struct stele_engine *engine = stele_call_server(call)->engine;
    struct stele_error err = {.outcome = STELE_OK};
    char *json = encode(stopped);
    int outcome = STELE_E_NO_MEMORY;
    if (json != NULL) {
        struct stele_event_draft draft = {
            .type = STATE_TYPE, .data = json, .data_size = strlen(json)};
        loop->ops->random(loop, draft.id, sizeof draft.id);
        const struct stele_append one = {
            .stream = STATE_STREAM, .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
        state->appending.loop = loop;
        state->appending.on_done = on_done;
        stele_call_hold(call);
        outcome = engine->ops->append(engine, &state->appending, &one, 1, NULL, 0, &err);
        if (outcome != STELE_OK) {
            stele_call_release(call);
        }
        free(json);
    }
    if (outcome != STELE_OK) {
        stele_kurrent__fail_outcome(call, outcome, err.message);
    }
}

/* ---- Requests ------------------------------------------------------------------------------- */

/* Every request is {1: options}, and in most of them the first member is the name. */
static bool get_options(struct stele_bytes message, struct stele_bytes *out_options)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    *out_options = (struct stele_bytes){.data = (const uint8_t *)"", .size = 0};
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            *out_options = field.bytes;
        }
    }
    return !reader.bad;
}

static bool get_name(struct stele_bytes options, uint32_t number, struct stele_text *out_name)
{
    struct stele_pb_reader reader = stele_pb_reader(options);
    struct stele_pb_field field;
    *out_name = (struct stele_text){.data = "", .size = 0};
    while (stele_pb_next(&reader, &field)) {
        if (field.number == number && field.wire == STELE_PB_BYTES) {
            *out_name = stele_kurrent__text(field.bytes);
        }
    }
    return !reader.bad;
}

/* PROJECTIONS: none of that name. */
static size_t find(struct stele_text name)
{
    size_t i = 0;
    while (i < PROJECTIONS && !stele_kurrent__is(name, names[i])) {
        i++;
    }
    return i;
}

static void fail_missing(struct stele_call *call, struct stele_text name)
{
    stele_call_fail(call, STELE_GRPC_NOT_FOUND, "Projection '%.*s' not found", (int)name.size,
                    name.data);
}

static void fail_unsupported(struct stele_call *call)
{
    stele_call_trailer(call, "exception", stele_bytes_of_text("projections-not-supported"));
    stele_call_finish(call, STELE_GRPC_UNIMPLEMENTED, UNSUPPORTED);
}

/* ---- Statistics ----------------------------------------------------------------------------- */

/* Options {1: name, 2: all, 3: transient, 4: continuous, 5: one time}. */
static bool get_selection(struct stele_bytes options, struct stele_text *out_name, bool *out_system)
{
    struct stele_pb_reader reader = stele_pb_reader(options);
    struct stele_pb_field field;
    *out_name = (struct stele_text){.data = NULL, .size = 0};
    *out_system = false;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            *out_name = stele_kurrent__text(field.bytes);
        }
        *out_system = *out_system || field.number == 2 || field.number == 4;
    }
    return !reader.bad;
}

/* StatisticsResp {1: details}. What is answered from the index is always where the store is. */
static bool send_details(struct stele_call *call, size_t index, bool is_stopped)
{
    struct stele_kurrent__out out = {.alloc = stele_call_loop(call)->alloc};
    struct stele_engine *engine = stele_call_server(call)->engine;
    const unsigned long long last = engine->ops->last_position(engine);
    char position[64];
    (void)snprintf(position, sizeof position, "C:%llu/P:%llu", last, last);
    const size_t mark = stele_kurrent__out_begin(&out, 1);
    stele_kurrent__out_text(&out, 4, names[index]);
    stele_kurrent__out_text(&out, 8, is_stopped ? "Stopped" : "Running");
    stele_kurrent__out_text(&out, 10, names[index]);
    stele_kurrent__out_text(&out, 11, "Continuous");
    stele_kurrent__out_text(&out, 12, position);
    stele_kurrent__out_float(&out, 13, 100.0F);
    stele_kurrent__out_text(&out, 14, position);
    stele_kurrent__out_end(&out, mark);
    const bool sent = stele_kurrent__out_send(&out, call);
    stele_kurrent__out_deinit(&out);
    return sent;
}

static void on_statistics(struct stele_call *call, struct stele_bytes message)
{
    struct stele_bytes options;
    struct stele_text name;
    bool system = false;
    bool stopped[PROJECTIONS];
    struct stele_error err;
    if (!get_options(message, &options) || !get_selection(options, &name, &system)) {
        stele_kurrent__fail_invalid(call, "the request is malformed");
        return;
    }
    const int outcome = load(stele_call_server(call)->engine, stopped, &err);
    if (outcome != STELE_OK) {
        stele_kurrent__fail_outcome(call, outcome, err.message);
        return;
    }
    if (name.data != NULL && find(name) == PROJECTIONS) {
        fail_missing(call, name);
        return;
    }
    for (size_t i = 0; i < PROJECTIONS; i++) {
        const bool wanted = name.data != NULL ? find(name) == i : system;
        if (wanted && !send_details(call, i, stopped[i])) {
            return;
        }
    }
    stele_call_finish(call, STELE_GRPC_OK, "");
}

/* ---- The others ----------------------------------------------------------------------------- */

/* Enable, Disable, Reset: all have the name first. */
static void on_switch(struct stele_call *call, struct stele_bytes message)
{
    struct projections *state = stele_call_state(call);
    struct stele_bytes options;
    struct stele_text name;
    bool stopped[PROJECTIONS];
    struct stele_error err;
    if (state->asked || !get_options(message, &options) || !get_name(options, 1, &name)) {
        stele_kurrent__fail_invalid(call, "the request is malformed");
        return;
    }
    state->asked = true;
    state->call = call;
    const size_t index = find(name);
    if (index == PROJECTIONS) {
        fail_missing(call, name);
        return;
    }
    const int outcome = load(stele_call_server(call)->engine, stopped, &err);
    if (outcome != STELE_OK) {
        stele_kurrent__fail_outcome(call, outcome, err.message);
        return;
    }
    const enum stele_rpc rpc = stele_call_method(call)->rpc;
    const bool stop = rpc == STELE_RPC_KURRENT_PROJECTIONS_DISABLE;
    /* There is nothing to begin again: what a reset would rebuild is read from the index. */
    if (rpc == STELE_RPC_KURRENT_PROJECTIONS_RESET || stopped[index] == stop) {
        stele_kurrent__answer_empty(call);
        return;
    }
    stopped[index] = stop;
    remember(state, stopped);
}

/* {1: one time, 2: transient {1: name}, 3: continuous {1: name}}. */
static void on_create(struct stele_call *call, struct stele_bytes message)
{
    struct stele_bytes options;
    if (!get_options(message, &options)) {
        stele_kurrent__fail_invalid(call, "the request is malformed");
        return;
    }
    struct stele_pb_reader reader = stele_pb_reader(options);
    struct stele_pb_field field;
    struct stele_text name = {.data = "", .size = 0};
    while (stele_pb_next(&reader, &field)) {
        if ((field.number == 2 || field.number == 3) && field.wire == STELE_PB_BYTES &&
            !get_name(field.bytes, 1, &name)) {
            break;
        }
    }
    if (find(name) < PROJECTIONS) {
        stele_call_fail(call, STELE_GRPC_ALREADY_EXISTS, "Projection '%.*s' already exists",
                        (int)name.size, name.data);
        return;
    }
    fail_unsupported(call);
}

/* Update, Delete. */
static void on_change(struct stele_call *call, struct stele_bytes message)
{
    struct stele_bytes options;
    struct stele_text name;
    if (!get_options(message, &options) || !get_name(options, 1, &name)) {
        stele_kurrent__fail_invalid(call, "the request is malformed");
    } else if (find(name) == PROJECTIONS) {
        fail_missing(call, name);
    } else {
        stele_call_fail(call, STELE_GRPC_PERMISSION_DENIED,
                        "'%.*s' is a system projection: it can be stopped and started, not changed",
                        (int)name.size, name.data);
    }
}

/* State, Result: {1: Value}, which is an empty struct {5: {}} for what keeps no state. */
static void on_result(struct stele_call *call, struct stele_bytes message)
{
    static const uint8_t empty[] = {0x0a, 0x02, 0x2a, 0x00};
    struct stele_bytes options;
    struct stele_text name;
    if (!get_options(message, &options) || !get_name(options, 1, &name)) {
        stele_kurrent__fail_invalid(call, "the request is malformed");
    } else if (find(name) == PROJECTIONS) {
        fail_missing(call, name);
    } else {
        stele_call_send(call, (struct stele_bytes){.data = empty, .size = sizeof empty});
        stele_call_finish(call, STELE_GRPC_OK, "");
    }
}

static void on_restart(struct stele_call *call, struct stele_bytes message)
{
    (void)message;
    stele_kurrent__answer_empty(call);
}

static void on_start(struct stele_call *call)
{
    (void)call;
}

#define METHOD(name, handler)                                                                      \
    {                                                                                              \
        .rpc = STELE_RPC_KURRENT_PROJECTIONS_##name, .state_size = sizeof(struct projections),     \
        .admit = stele_kurrent__admit, .start = on_start, .message = (handler),                    \
    }

static const struct stele_method methods[] = {
    METHOD(CREATE, on_create),         METHOD(UPDATE, on_change),  METHOD(DELETE, on_change),
    METHOD(STATISTICS, on_statistics), METHOD(DISABLE, on_switch), METHOD(ENABLE, on_switch),
    METHOD(RESET, on_switch),          METHOD(STATE, on_result),   METHOD(RESULT, on_result),
    METHOD(RESTART, on_restart),
};

void stele_kurrent_projections_register(struct stele_grpc_table *table)
{
    for (size_t i = 0; i < STELE_COUNT_OF(methods); i++) {
        table->methods[methods[i].rpc] = &methods[i];
    }
}
