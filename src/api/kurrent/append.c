/* Streams.Append: options, then events, one message each; stored when the client has sent all. */
#include "api/kurrent/kurrent_internal.h"

struct append {
    struct stele_appending appending; /* First: on_done finds the rest. */
    struct stele_call *call;
    struct stele_kurrent__batch batch;
    uint64_t expected; /* As the client said. */
    bool has_options;
    char name[STELE_KURRENT__NAME_SIZE];
};

static struct append *append_of(struct stele_call *call)
{
    return stele_call_state(call);
}

/* ---- The answer ------------------------------------------------------------------------------- */

static void send(struct stele_call *call, uint32_t field, const uint8_t *inner, size_t size)
{
    uint8_t message[160];
    STELE_ASSERT(size < sizeof message - 8);
    const uint8_t *to = stele_pb_put_bytes(message, field, inner, size);
    stele_call_send(call, (struct stele_bytes){.data = message, .size = (size_t)(to - message)});
    stele_call_finish(call, STELE_GRPC_OK, "");
}

static void answer_success(struct stele_call *call, uint64_t current, bool written,
                           uint64_t position)
{
    uint8_t inner[64];
    uint8_t *to = current == STELE_EXPECT_NO_STREAM ? stele_pb_put_message(inner, 2, 0)
                                                    : stele_pb_put_u64(inner, 1, current);
    to = written ? stele_kurrent__put_position(to, 3, position) : stele_pb_put_message(to, 4, 0);
    send(call, 1, inner, (size_t)(to - inner));
}

/* SPEC(kurrent/append/wrong-expected-version): no error but an answer, in the fields of today and in
 * those that clients of 2020 look at. */
static void answer_expected(struct stele_call *call, uint64_t expected, uint64_t current)
{
    uint8_t inner[64];
    const bool none = current == STELE_EXPECT_NO_STREAM;
    uint8_t *to = none ? stele_pb_put_message(inner, 2, 0) : stele_pb_put_u64(inner, 1, current);
    switch (expected) {
    case STELE_EXPECT_ANY:
        to = stele_pb_put_message(to, 4, 0);
        break;
    case STELE_EXPECT_EXISTS:
        to = stele_pb_put_message(to, 5, 0);
        break;
    case STELE_EXPECT_NO_STREAM:
        break; /* Those of 2020 had no word for it. */
    default:
        to = stele_pb_put_u64(to, 3, expected);
        break;
    }
    to = none ? stele_pb_put_message(to, 7, 0) : stele_pb_put_u64(to, 6, current);
    switch (expected) {
    case STELE_EXPECT_ANY:
        to = stele_pb_put_message(to, 9, 0);
        break;
    case STELE_EXPECT_EXISTS:
        to = stele_pb_put_message(to, 10, 0);
        break;
    case STELE_EXPECT_NO_STREAM:
        to = stele_pb_put_message(to, 11, 0);
        break;
    default:
        to = stele_pb_put_u64(to, 8, expected);
        break;
    }
    send(call, 2, inner, (size_t)(to - inner));
}

static void answer(struct append *append, enum stele_kurrent__ending ending, uint64_t current,
                   bool written)
{
    struct stele_call *call = append->call;
    switch (ending) {
    case ENDING_OK:
        answer_success(call, current, written, append->appending.result.position_last);
        break;
    case ENDING_EXPECTED:
        answer_expected(call, append->expected, current);
        break;
    case ENDING_DELETED:
        stele_kurrent__fail_deleted(call, stele_kurrent__text_of(append->name));
        break;
    case ENDING_OTHER:
        stele_kurrent__fail_outcome(call, append->appending.outcome, append->appending.err.message);
        break;
    }
}

static void on_done(struct stele_appending *appending)
{
    struct append *append = (struct append *)(void *)appending;
    struct stele_call *call = append->call;
    if (!stele_call_is_over(call)) {
        uint64_t current = 0;
        const enum stele_kurrent__ending ending = stele_kurrent__ending(
            stele_call_server(call)->engine, append->name, append->expected, appending, &current);
        answer(append, ending, current, true);
    }
    stele_call_release(call);
}

/* ---- The request ------------------------------------------------------------------------------ */

static bool take_options(struct append *append, struct stele_bytes message)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_text name = {.data = "", .size = 0};
    bool has_expected = false;
    while (stele_pb_next(&reader, &field)) {
        switch (field.number) {
        case 1:
            if (field.wire != STELE_PB_BYTES || !stele_kurrent__get_stream(field.bytes, &name)) {
                return false;
            }
            break;
        case 2:
        case 3:
        case 4:
        case 5:
            has_expected = stele_kurrent__take_expected(&field, &append->expected);
            break;
        default:
            break;
        }
    }
    return !reader.bad && has_expected && stele_kurrent__copy_name(name, append->name);
}

static void begin(struct append *append, struct stele_bytes message)
{
    struct stele_call *call = append->call;
    if (!take_options(append, message)) {
        stele_kurrent__fail_invalid(call, "the options are malformed");
        return;
    }
    append->has_options = true;
    if (!stele_auth_may(stele_call_server(call)->auth, stele_call_principal(call),
                        stele_kurrent__text_of(append->name), STELE_RIGHT_WRITE)) {
        stele_kurrent__fail_access(call);
    }
}

static void refuse(struct append *append, enum stele_kurrent__refusal refusal,
                   const struct stele_kurrent__proposed *event)
{
    struct stele_call *call = append->call;
    const struct stele_server *server = stele_call_server(call);
    switch (refusal) {
    case REFUSAL_NONE:
        break;
    case REFUSAL_NO_MEMORY:
        stele_kurrent__fail_outcome(call, STELE_E_NO_MEMORY, "");
        break;
    case REFUSAL_NO_TYPE:
        stele_kurrent__fail_metadata(call, "type");
        break;
    case REFUSAL_NO_CONTENT_TYPE:
        stele_kurrent__fail_metadata(call, "content-type");
        break;
    case REFUSAL_INVALID:
        stele_kurrent__fail_invalid(call, "the proposed message is malformed");
        break;
    case REFUSAL_EVENT_SIZE:
        stele_kurrent__fail_event_size(
            call, event->id,
            stele_kurrent__event_size(event->type, event->data.size, event->metadata.size),
            server->event_size_max);
        break;
    case REFUSAL_APPEND_SIZE:
        stele_kurrent__fail_append_size(call, server->append_size_max);
        break;
    }
}

static void propose(struct append *append, struct stele_bytes message)
{
    struct stele_call *call = append->call;
    struct stele_kurrent__proposed event;
    if (!append->has_options || !stele_kurrent__get_proposed(message, &event)) {
        stele_kurrent__fail_invalid(call, append->has_options
                                              ? "the proposed message is malformed"
                                              : "the first message has to be the options");
        return;
    }
    refuse(append,
           stele_kurrent__batch_add(&append->batch, stele_call_loop(call)->alloc,
                                    stele_call_server(call), &event, true),
           &event);
}

static void on_start(struct stele_call *call)
{
    append_of(call)->call = call;
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    struct append *append = append_of(call);
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (!stele_call_is_over(call) && stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES && !append->has_options) {
            begin(append, field.bytes);
        } else if (field.number == 1) {
            stele_kurrent__fail_invalid(call, "the options come once, first");
        } else if (field.number == 2 && field.wire == STELE_PB_BYTES) {
            propose(append, field.bytes);
        }
    }
    if (reader.bad && !stele_call_is_over(call)) {
        stele_kurrent__fail_invalid(call, "the request is malformed");
    }
}

static void on_half_closed(struct stele_call *call)
{
    struct append *append = append_of(call);
    struct stele_engine *engine = stele_call_server(call)->engine;
    struct stele_error err = {.outcome = STELE_OK};
    uint64_t current = 0;
    if (!append->has_options) {
        stele_kurrent__fail_invalid(call, "the options are missing");
        return;
    }
    const size_t count = stele_kurrent__batch_count(&append->batch);
    if (count == 0) {
        /* SPEC(kurrent/append/empty): succeeds where its expectation holds, and writes nothing. */
        const enum stele_kurrent__ending ending =
            stele_kurrent__check_only(engine, append->name, append->expected, &current);
        append->appending.outcome = STELE_E_IO;
        answer(append, ending, current, false);
        return;
    }
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    const struct stele_event_draft *drafts =
        stele_kurrent__batch_keep_deleted(&append->batch, alloc, engine, append->name) == STELE_OK
            ? stele_kurrent__batch_drafts(&append->batch, alloc)
            : NULL;
    if (drafts == NULL) {
        stele_kurrent__fail_outcome(call, STELE_E_NO_MEMORY, "");
        return;
    }
    const struct stele_append stream = {
        .stream = append->name,
        .expected = stele_kurrent__expectation(engine, append->name, append->expected),
        .events = drafts,
        .count = count,
    };
    append->appending.loop = stele_call_loop(call);
    append->appending.on_done = on_done;
    stele_call_hold(call);
    const int outcome = engine->ops->append(engine, &append->appending, &stream, 1, NULL, 0, &err);
    if (outcome != STELE_OK) {
        stele_kurrent__fail_outcome(call, outcome, err.message);
        stele_call_release(call);
        return;
    }
    stele_kurrent__batch_deinit(&append->batch, stele_call_loop(call)->alloc);
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)reason;
    stele_kurrent__batch_deinit(&append_of(call)->batch, stele_call_loop(call)->alloc);
}

const struct stele_method stele_kurrent__append_method = {
    .rpc = STELE_RPC_KURRENT_STREAMS_APPEND,
    .state_size = sizeof(struct append),
    .message_max = STELE_KURRENT__MESSAGE_MAX,
    .admit = stele_kurrent__admit,
    .start = on_start,
    .message = on_message,
    .half_closed = on_half_closed,
    .closed = on_closed,
};
