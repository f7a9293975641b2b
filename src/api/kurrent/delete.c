/* Streams.Delete and Streams.Tombstone: the requests have the same form, so have the answers. */
#include "api/kurrent/kurrent_internal.h"

struct delete
{
    struct stele_appending appending; /* First: on_done finds the rest. */
    struct stele_call *call;
    uint64_t expected;
    bool started;
    char name[STELE_KURRENT__NAME_SIZE];
};

static struct delete *delete_of(struct stele_call *call)
{
    return stele_call_state(call);
}

static bool is_tombstone(const struct delete *delete)
{
    return stele_call_method(delete->call)->rpc == STELE_RPC_KURRENT_STREAMS_TOMBSTONE;
}

static void answer_position(struct stele_call *call, uint64_t position)
{
    uint8_t message[32];
    const uint8_t *to = stele_kurrent__put_position(message, 1, position);
    stele_call_send(call, (struct stele_bytes){.data = message, .size = (size_t)(to - message)});
    stele_call_finish(call, STELE_GRPC_OK, "");
}

/* SPEC(kurrent/delete/metadata-only): a stream that has only metadata has nothing to hide. */
static void answer_nothing_to_delete(struct stele_call *call)
{
    static const uint8_t no_position[] = {0x12, 0};
    stele_call_send(call, (struct stele_bytes){.data = no_position, .size = sizeof no_position});
    stele_call_finish(call, STELE_GRPC_OK, "");
}

/* The engine knows no such stream, or it is soft-deleted already. */
static void answer_no_stream(struct delete *delete)
{
    struct stele_engine *engine = stele_call_server(delete->call)->engine;
    struct stele_stream_info info;
    const struct stele_text name = stele_kurrent__text_of(delete->name);
    if (engine->ops->stream_info(engine, delete->name, &info, NULL) != STELE_OK) {
        if (!is_tombstone(delete) && delete->expected != STELE_EXPECT_EXISTS &&
            stele_kurrent__expectation(engine, delete->name, STELE_EXPECT_EXISTS) ==
                STELE_EXPECT_NO_STREAM &&
            (delete->expected == STELE_EXPECT_ANY || delete->expected == STELE_EXPECT_NO_STREAM)) {
            answer_nothing_to_delete(delete->call);
            return;
        }
        stele_kurrent__fail_expected(delete->call, name, delete->expected, STELE_EXPECT_NO_STREAM);
    } else if (delete->expected == STELE_EXPECT_EXISTS) {
        stele_kurrent__fail_deleted(delete->call, name);
    } else if (delete->expected == STELE_EXPECT_ANY || delete->expected == STELE_EXPECT_NO_STREAM ||
               delete->expected == info.revision_last) {
        /* SPEC(kurrent/delete/again): deleting twice is no mistake. */
        answer_position(delete->call, info.position_last);
    } else {
        stele_kurrent__fail_expected(delete->call, name, delete->expected, info.revision_last);
    }
}

static void on_done(struct stele_appending *appending)
{
    struct delete *delete = (struct delete *)(void *)appending;
    struct stele_call *call = delete->call;
    const struct stele_text name = stele_kurrent__text_of(delete->name);
    if (!stele_call_is_over(call)) {
        uint64_t current = 0;
        const enum stele_kurrent__ending ending = stele_kurrent__ending(
            stele_call_server(call)->engine, delete->name, delete->expected, appending, &current);
        if (appending->outcome == STELE_NO_STREAM) {
            answer_no_stream(delete);
        } else if (ending == ENDING_OK) {
            answer_position(call, appending->result.position_last);
        } else if (ending == ENDING_EXPECTED) {
            stele_kurrent__fail_expected(call, name, delete->expected, current);
        } else if (ending == ENDING_DELETED) {
            stele_kurrent__fail_deleted(call, name);
        } else {
            stele_kurrent__fail_outcome(call, appending->outcome, appending->err.message);
        }
    }
    stele_call_release(call);
}

/* The only field of the request: the options. */
static bool take_options(struct delete *delete, struct stele_bytes message)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_text name = {.data = "", .size = 0};
    bool has_expected = false;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 &&
            (field.wire != STELE_PB_BYTES || !stele_kurrent__get_stream(field.bytes, &name))) {
            return false;
        }
        if (field.number == 2) {
            delete->expected = field.value;
            has_expected = field.wire == STELE_PB_VARINT;
        } else if (field.number >= 3 && field.number <= 5) {
            static const uint64_t named[] = {STELE_EXPECT_NO_STREAM, STELE_EXPECT_ANY,
                                             STELE_EXPECT_EXISTS};
            delete->expected = named[field.number - 3];
            has_expected = true;
        }
    }
    return !reader.bad && has_expected && stele_kurrent__copy_name(name, delete->name);
}

static bool take_request(struct delete *delete, struct stele_bytes message)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    bool found = false;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            found = take_options(delete, field.bytes);
        }
    }
    return found && !reader.bad;
}

static void begin(struct delete *delete)
{
    struct stele_call *call = delete->call;
    const struct stele_server *server = stele_call_server(call);
    struct stele_engine *engine = server->engine;
    const struct stele_text name = stele_kurrent__text_of(delete->name);
    struct stele_error err = {.outcome = STELE_OK};
    if (stele_kurrent__starts(name, "$$") || stele_kurrent__is(name, "$all") ||
        !stele_auth_may(server->auth, stele_call_principal(call), name, STELE_RIGHT_DELETE)) {
        stele_kurrent__fail_access(call);
        return;
    }
    delete->appending.loop = stele_call_loop(call);
    delete->appending.on_done = on_done;
    stele_call_hold(call);
    const uint64_t expected = stele_kurrent__expectation(engine, delete->name, delete->expected);
    const int outcome =
        is_tombstone(delete)
            ? engine->ops->tombstone(engine, &delete->appending, delete->name, expected, &err)
            : engine->ops->soft_delete(engine, &delete->appending, delete->name, expected, &err);
    if (outcome != STELE_OK) {
        stele_kurrent__fail_outcome(call, outcome, err.message);
        stele_call_release(call);
    }
}

static void on_start(struct stele_call *call)
{
    delete_of(call)->call = call;
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    struct delete *delete = delete_of(call);
    if (delete->started || !take_request(delete, message)) {
        stele_kurrent__fail_invalid(call, delete->started ? "only one request is expected"
                                                          : "the request is malformed");
        return;
    }
    delete->started = true;
    begin(delete);
}

static void on_half_closed(struct stele_call *call)
{
    if (!delete_of(call)->started) {
        stele_kurrent__fail_invalid(call, "the request is missing");
    }
}

const struct stele_method stele_kurrent__delete_method = {
    .rpc = STELE_RPC_KURRENT_STREAMS_DELETE,
    .state_size = sizeof(struct delete),
    .admit = stele_kurrent__admit,
    .start = on_start,
    .message = on_message,
    .half_closed = on_half_closed,
};

const struct stele_method stele_kurrent__tombstone_method = {
    .rpc = STELE_RPC_KURRENT_STREAMS_TOMBSTONE,
    .state_size = sizeof(struct delete),
    .admit = stele_kurrent__admit,
    .start = on_start,
    .message = on_message,
    .half_closed = on_half_closed,
};
