/* Streams.BatchAppend: many appends, interleaved, over one call.
 *
 * Each is known by its correlation id. It comes in one message or in several; it is answered when it
 * is durable, refused, or late, in whatever order that happens.
 *
 *     message ─▶ COLLECTING ─ is_final ─▶ STORING ─▶ answered, forgotten
 *                    └─ deadline ─▶ answered "Timeout", forgotten ─┘
 *
 * What comes for a correlation that was forgotten (and brings no options) is ignored. An append
 * that is late is answered, and still on its way: its outcome goes nowhere, as its memory waits. */
#include "api/kurrent/kurrent_internal.h"

#include <stdio.h>

#define TIMEOUT_US INT64_C(2000000) /* The longest that a client can ask for. */
#define UNDER_WAY_MAX 4096          /* Appends of one call; above it nothing is taken in. */
#define UNDER_WAY_LOW 2048
#define CORRELATION_SIZE_MAX 48   /* Of the id's message, which is echoed. */
#define SPARE_MAX 256             /* Kept for the next appends. */
#define COLLECTED_MAX UINT64_C(2) /* Largest appends whose events wait for the rest of theirs. */

enum batch_state { BATCH_COLLECTING, BATCH_STORING, BATCH_LATE };

struct batch {
    struct stele_appending appending; /* First: on_done finds the rest. */
    struct call_state *owner;
    struct batch *next, *previous; /* Of the call's list. */
    struct batch *chain;           /* Of the same slot. */
    enum batch_state state;
    uint64_t expected; /* As the client said. */
    int64_t due_us;
    uint8_t key[16];
    uint8_t correlation[CORRELATION_SIZE_MAX];
    uint8_t correlation_size;
    bool writes; /* It has events. */
    uint16_t name_size;
    struct stele_kurrent__batch events;
    uint64_t collected; /* Of the call's, by this one. */
    char name[STELE_KURRENT__NAME_SIZE];
};

#define SLOTS 64

struct call_state {
    struct stele_call *call;
    struct batch *first; /* All of the call, newest first. */
    struct batch *spare;
    size_t spare_count;
    size_t count;
    uint64_t collected;         /* Bytes of events of batches that are not complete. */
    struct batch *slots[SLOTS]; /* COLLECTING, by correlation id. */
    struct stele_timer timer;
    int64_t timer_due_us; /* INT64_MAX: not started. */
    bool paused;
    bool half_closed;
    struct stele_kurrent__batch one; /* For appends that come whole, in one message. */
};

static struct call_state *state_of(struct stele_call *call)
{
    return stele_call_state(call);
}

/* ---- Batches ---------------------------------------------------------------------------------- */

static struct batch **slot_of(struct call_state *state, const uint8_t key[16])
{
    return &state->slots[(key[0] ^ key[7] ^ key[15]) % SLOTS];
}

static struct batch *find(struct call_state *state, const uint8_t key[16])
{
    for (struct batch *batch = *slot_of(state, key); batch != NULL; batch = batch->chain) {
        if (memcmp(batch->key, key, 16) == 0) {
            return batch;
        }
    }
    return NULL;
}

static void unchain(struct call_state *state, struct batch *batch)
{
    for (struct batch **link = slot_of(state, batch->key); *link != NULL; link = &(*link)->chain) {
        if (*link == batch) {
            *link = batch->chain;
            return;
        }
    }
}

static struct batch *take_batch(struct call_state *state)
{
    struct stele_alloc *alloc = stele_call_loop(state->call)->alloc;
    struct batch *batch = state->spare;
    if (batch != NULL) {
        state->spare = batch->next;
        state->spare_count--;
    } else {
        batch = stele_allocate_zeroed(alloc, sizeof *batch);
        if (batch == NULL) {
            return NULL;
        }
        batch->owner = state;
    }
    batch->state = BATCH_COLLECTING;
    batch->chain = NULL;
    batch->writes = false;
    batch->previous = NULL;
    batch->next = state->first;
    if (state->first != NULL) {
        state->first->previous = batch;
    }
    state->first = batch;
    state->count++;
    return batch;
}

static void give_batch(struct call_state *state, struct batch *batch)
{
    struct stele_alloc *alloc = stele_call_loop(state->call)->alloc;
    *(batch->previous != NULL ? &batch->previous->next : &state->first) = batch->next;
    if (batch->next != NULL) {
        batch->next->previous = batch->previous;
    }
    STELE_ASSERT(state->count > 0);
    state->count--;
    STELE_ASSERT(state->collected >= batch->collected);
    state->collected -= batch->collected;
    batch->collected = 0;
    stele_kurrent__batch_deinit(&batch->events, alloc);
    if (state->spare_count < SPARE_MAX && !stele_call_is_over(state->call)) {
        batch->next = state->spare;
        state->spare = batch;
        state->spare_count++;
        return;
    }
    stele_release(alloc, batch, sizeof *batch);
}

/* For a batch that is not with the engine: if answering it has ended the call (no memory), on_closed
 * has released it. */
static void drop_batch(struct call_state *state, struct batch *batch)
{
    if (!stele_call_is_over(state->call)) {
        give_batch(state, batch);
    }
}

/* ---- Answers ---------------------------------------------------------------------------------- */

struct detail {
    uint32_t code;
    const char *message; /* And the last part of the type's name, unless type says otherwise. */
    const char *type;
    uint8_t value[STELE_KURRENT__NAME_SIZE + 64];
    size_t value_size;
};

#define URL "type.googleapis.com/"

/* google.rpc.Status, with its details. */
static uint8_t *put_status(uint8_t *to, uint32_t field, const struct detail *detail)
{
    char url[128];
    const int url_size =
        snprintf(url, sizeof url, URL "%s%s", detail->type != NULL ? "" : "event_store.client.",
                 detail->type != NULL ? detail->type : detail->message);
    const size_t any = stele_pb_size_bytes(1, (size_t)url_size) +
                       (detail->value_size > 0 ? stele_pb_size_bytes(2, detail->value_size) : 0);
    const size_t message = strlen(detail->message);
    const size_t size = (detail->code != 0 ? stele_pb_size_varint(1, detail->code) : 0) +
                        stele_pb_size_bytes(2, message) + stele_pb_size_bytes(3, any);
    to = stele_pb_put_message(to, field, size);
    to = detail->code != 0 ? stele_pb_put_u64(to, 1, detail->code) : to;
    to = stele_pb_put_bytes(to, 2, detail->message, message);
    to = stele_pb_put_message(to, 3, any);
    to = stele_pb_put_bytes(to, 1, url, (size_t)url_size);
    return detail->value_size > 0 ? stele_pb_put_bytes(to, 2, detail->value, detail->value_size)
                                  : to;
}

static uint8_t *put_success(uint8_t *to, const struct batch *batch, uint64_t current)
{
    uint8_t inner[64];
    uint8_t *at = current == STELE_EXPECT_NO_STREAM ? stele_pb_put_message(inner, 2, 0)
                                                    : stele_pb_put_u64(inner, 1, current);
    at = batch->writes ? stele_kurrent__put_position(at, 3, batch->appending.result.position_last)
                       : stele_pb_put_message(at, 4, 0);
    return stele_pb_put_bytes(to, 3, inner, (size_t)(at - inner));
}

static uint8_t *put_expectation(uint8_t *to, uint64_t expected)
{
    switch (expected) {
    case STELE_EXPECT_NO_STREAM:
        return stele_pb_put_message(to, 6, 0);
    case STELE_EXPECT_ANY:
        return stele_pb_put_message(to, 7, 0);
    case STELE_EXPECT_EXISTS:
        return stele_pb_put_message(to, 8, 0);
    default:
        return stele_pb_put_u64(to, 5, expected);
    }
}

/* detail NULL: success. The batch is forgotten, unless it still waits for the engine. */
static void answer(struct batch *batch, const struct detail *detail, uint64_t current)
{
    struct stele_call *call = batch->owner->call;
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    struct stele_buf *buf = stele_call_message_begin(call);
    const size_t room = 512 + (size_t)2 * STELE_KURRENT__NAME_SIZE;
    if (stele_buf_reserve(buf, alloc, room) != STELE_OK) {
        stele_call_message_cancel(call);
        stele_kurrent__fail_outcome(call, STELE_E_NO_MEMORY, "");
        return;
    }
    uint8_t *to = buf->data + buf->size;
    to = stele_pb_put_bytes(to, 1, batch->correlation, batch->correlation_size);
    to = detail != NULL ? put_status(to, 2, detail) : put_success(to, batch, current);
    to = stele_kurrent__put_stream(
        to, 4, (struct stele_text){.data = batch->name, .size = batch->name_size});
    to = put_expectation(to, batch->expected);
    STELE_ASSERT((size_t)(to - buf->data) <= buf->size + room);
    buf->size = (size_t)(to - buf->data);
    stele_call_message_end(call);
}

/* Codes and texts: SPEC(kurrent/batch-append/errors). */
static void answer_plain(struct batch *batch, uint32_t code, const char *message, const char *type)
{
    const struct detail detail = {.code = code, .message = message, .type = type};
    answer(batch, &detail, 0);
}

static void answer_expected(struct batch *batch, uint64_t current)
{
    struct detail detail = {.code = 6, .message = "WrongExpectedVersion"};
    uint8_t *to = detail.value;
    to = current == STELE_EXPECT_NO_STREAM ? stele_pb_put_message(to, 2, 0)
                                           : stele_pb_put_u64(to, 1, current);
    switch (batch->expected) {
    case STELE_EXPECT_ANY:
        to = stele_pb_put_message(to, 4, 0);
        break;
    case STELE_EXPECT_EXISTS:
        to = stele_pb_put_message(to, 5, 0);
        break;
    case STELE_EXPECT_NO_STREAM:
        to = stele_pb_put_message(to, 6, 0);
        break;
    default:
        to = stele_pb_put_u64(to, 3, batch->expected);
        break;
    }
    detail.value_size = (size_t)(to - detail.value);
    answer(batch, &detail, 0);
}

static void answer_deleted(struct batch *batch)
{
    struct detail detail = {.code = 5, .message = "StreamDeleted"};
    const uint8_t *to = stele_kurrent__put_stream(
        detail.value, 1, (struct stele_text){.data = batch->name, .size = batch->name_size});
    detail.value_size = (size_t)(to - detail.value);
    answer(batch, &detail, 0);
}

static void answer_bad(struct batch *batch, const char *message)
{
    struct detail detail = {.code = 3, .message = "BadRequest"};
    const size_t size = strlen(message);
    const size_t most = size < 256 ? size : 256;
    const uint8_t *to = stele_pb_put_bytes(detail.value, 1, message, most);
    detail.value_size = (size_t)(to - detail.value);
    answer(batch, &detail, 0);
}

static void answer_outcome(struct batch *batch, int outcome, const char *message)
{
    switch (outcome) {
    case STELE_E_INVALID:
    case STELE_E_LIMIT:
        answer_bad(batch, message);
        break;
    case STELE_E_UNKNOWN:
        answer_plain(batch, 4, "Timeout", NULL);
        break;
    case STELE_E_OVERLOADED:
    case STELE_E_NO_MEMORY:
        answer_plain(batch, 0, "Server Is Busy", "google.protobuf.Empty");
        break;
    case STELE_E_FENCED:
    case STELE_E_NO_SPACE:
    case STELE_E_CLOSED:
    case STELE_E_READ_ONLY:
        answer_plain(batch, 0, "Server Is Not Ready", "google.protobuf.Empty");
        break;
    default:
        answer_plain(batch, 13, stele_outcome_name(outcome), "google.protobuf.Empty");
        break;
    }
}

static void answer_ending(struct batch *batch, enum stele_kurrent__ending ending, uint64_t current)
{
    switch (ending) {
    case ENDING_OK:
        answer(batch, NULL, current);
        break;
    case ENDING_EXPECTED:
        answer_expected(batch, current);
        break;
    case ENDING_DELETED:
        answer_deleted(batch);
        break;
    case ENDING_OTHER:
        answer_outcome(batch, batch->appending.outcome, batch->appending.err.message);
        break;
    }
}

static void answer_refusal(struct batch *batch, enum stele_kurrent__refusal refusal,
                           const struct stele_kurrent__proposed *event)
{
    const struct stele_server *server = stele_call_server(batch->owner->call);
    struct detail detail = {.code = 3};
    uint8_t *to = detail.value;
    char id[37];
    switch (refusal) {
    case REFUSAL_NONE:
        return;
    case REFUSAL_NO_MEMORY:
        answer_outcome(batch, STELE_E_NO_MEMORY, "");
        return;
    case REFUSAL_NO_TYPE:
        answer_bad(batch, "Required Metadata Property 'type' is missing");
        return;
    case REFUSAL_NO_CONTENT_TYPE:
        answer_bad(batch, "Required Metadata Property 'content-type' is missing");
        return;
    case REFUSAL_INVALID:
        answer_bad(batch, "the proposed message is malformed");
        return;
    case REFUSAL_APPEND_SIZE:
        detail.message = "MaximumAppendSizeExceeded";
        to = stele_pb_put_u64(to, 1, server->append_size_max);
        break;
    case REFUSAL_EVENT_SIZE:
        detail.message = "MaximumAppendEventSizeExceeded";
        stele_id_to_text(event->id, id);
        to = stele_pb_put_bytes(to, 1, id, 36);
        to = stele_pb_put_u64(
            to, 2, stele_kurrent__event_size(event->type, event->data.size, event->metadata.size));
        to = stele_pb_put_u64(to, 3, server->event_size_max);
        break;
    }
    detail.value_size = (size_t)(to - detail.value);
    answer(batch, &detail, 0);
}

/* ---- Room, deadlines, the end ----------------------------------------------------------------- */

static void arm(struct call_state *state, int64_t due_us)
{
    struct stele_loop *loop = stele_call_loop(state->call);
    if (due_us < state->timer_due_us) {
        state->timer_due_us = due_us;
        loop->ops->timer_start(loop, &state->timer, due_us);
    }
}

/* After answers: take in more, or end. */
static void settle(struct call_state *state)
{
    struct stele_call *call = state->call;
    if (stele_call_is_over(call)) {
        return;
    }
    if (state->paused && state->count < UNDER_WAY_LOW && !stele_call_is_full(call)) {
        state->paused = false;
        stele_call_resume(call);
    }
    if (stele_call_is_over(call) || !state->half_closed) {
        return;
    }
    for (const struct batch *batch = state->first; batch != NULL; batch = batch->next) {
        if (batch->state == BATCH_STORING) {
            return;
        }
    }
    /* What was never completed cannot be any more. */
    stele_call_finish(call, STELE_GRPC_OK, "");
}

static void on_done(struct stele_appending *appending)
{
    struct batch *batch = (struct batch *)(void *)appending;
    struct call_state *state = batch->owner;
    struct stele_call *call = state->call;
    if (!stele_call_is_over(call) && batch->state == BATCH_STORING) {
        uint64_t current = 0;
        const enum stele_kurrent__ending ending = stele_kurrent__ending(
            stele_call_server(call)->engine, batch->name, batch->expected, appending, &current);
        answer_ending(batch, ending, current);
    }
    give_batch(state, batch);
    settle(state);
    stele_call_release(call);
}

static void on_due(struct stele_timer *timer)
{
    struct call_state *state =
        (struct call_state *)(void *)((uint8_t *)timer - offsetof(struct call_state, timer));
    struct stele_call *call = state->call;
    const int64_t now_us = stele_loop_now_us(stele_call_loop(call));
    int64_t next_us = INT64_MAX;
    stele_call_hold(call);
    state->timer_due_us = INT64_MAX;
    struct batch *next = NULL;
    for (struct batch *batch = state->first; batch != NULL; batch = next) {
        next = batch->next;
        if (batch->state == BATCH_LATE) {
            continue;
        }
        if (batch->due_us > now_us) {
            next_us = batch->due_us < next_us ? batch->due_us : next_us;
            continue;
        }
        answer_plain(batch, 4, "Timeout", NULL);
        if (stele_call_is_over(call)) {
            break;
        }
        if (batch->state == BATCH_STORING) {
            batch->state = BATCH_LATE;
        } else {
            unchain(state, batch);
            give_batch(state, batch);
        }
    }
    if (!stele_call_is_over(call) && next_us != INT64_MAX) {
        arm(state, next_us);
    }
    settle(state);
    stele_call_release(call);
}

/* ---- Messages --------------------------------------------------------------------------------- */

/* BatchAppendReq. Everything is borrowed. */
struct request {
    struct stele_bytes whole;
    struct stele_bytes correlation; /* The id's message. */
    struct stele_bytes options;
    uint8_t key[16];
    bool has_correlation, has_options, is_final;
};

static bool get_request(struct stele_bytes message, struct request *out)
{
    *out = (struct request){.whole = message};
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            out->correlation = field.bytes;
            out->has_correlation = stele_kurrent__get_uuid(field.bytes, out->key) &&
                                   field.bytes.size <= CORRELATION_SIZE_MAX;
        } else if (field.number == 2 && field.wire == STELE_PB_BYTES) {
            out->has_options = true;
            out->options = field.bytes;
        } else if (field.number == 4 && field.wire == STELE_PB_VARINT) {
            out->is_final = field.value != 0;
        }
    }
    return !reader.bad && out->has_correlation;
}

/* Timestamp and Duration look the same. */
static bool get_time(struct stele_bytes message, int64_t *out_us)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    int64_t seconds = 0;
    int64_t nanos = 0;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_VARINT) {
            seconds = (int64_t)field.value;
        } else if (field.number == 2 && field.wire == STELE_PB_VARINT) {
            nanos = (int64_t)field.value;
        }
    }
    /* A century is for ever here, and does not overflow. */
    const int64_t most = INT64_C(3155760000);
    seconds = seconds > most ? most : (seconds < 0 ? -1 : seconds);
    *out_us = seconds * 1000000 + (int32_t)nanos / 1000;
    return !reader.bad;
}

static bool take_options(struct batch *batch, struct stele_bytes message)
{
    struct stele_loop *loop = stele_call_loop(batch->owner->call);
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_text name = {.data = "", .size = 0};
    int64_t left_us = TIMEOUT_US;
    int64_t time_us = 0;
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
            has_expected = stele_kurrent__take_expected(&field, &batch->expected);
            break;
        case 6:
        case 7:
            if (field.wire != STELE_PB_BYTES || !get_time(field.bytes, &time_us)) {
                return false;
            }
            /* A point in time, or a length. */
            time_us -= field.number == 6 ? loop->ops->wall_us(loop) : 0;
            left_us = time_us < left_us ? time_us : left_us;
            break;
        default:
            break;
        }
    }
    batch->due_us = stele_loop_now_us(loop) + left_us;
    if (reader.bad || !has_expected || !stele_kurrent__copy_name(name, batch->name)) {
        return false;
    }
    batch->name_size = (uint16_t)name.size;
    return true;
}

/* The batch that a message begins. NULL: there is none (any more). */
static struct batch *begin_batch(struct call_state *state, const struct request *request)
{
    struct stele_call *call = state->call;
    const struct stele_server *server = stele_call_server(call);
    struct batch *batch = take_batch(state);
    if (batch == NULL) {
        stele_kurrent__fail_outcome(call, STELE_E_NO_MEMORY, "");
        return NULL;
    }
    memcpy(batch->key, request->key, sizeof batch->key);
    memcpy(batch->correlation, request->correlation.data, request->correlation.size);
    batch->correlation_size = (uint8_t)request->correlation.size;
    batch->name[0] = '\0';
    batch->name_size = 0;
    batch->expected = STELE_EXPECT_ANY;
    if (!take_options(batch, request->options)) {
        answer_bad(batch, "the options are malformed");
    } else if (!stele_auth_may(server->auth, stele_call_principal(call),
                               (struct stele_text){.data = batch->name, .size = batch->name_size},
                               STELE_RIGHT_WRITE)) {
        answer_plain(batch, 7, "AccessDenied", NULL);
    } else if (batch->due_us <= stele_loop_now_us(stele_call_loop(call))) {
        answer_plain(batch, 4, "Timeout", NULL);
    } else {
        return batch;
    }
    drop_batch(state, batch);
    return NULL;
}

/* Adds the message's events. false: the batch was answered. */
static bool add_events(struct batch *batch, struct stele_kurrent__batch *events,
                       const struct request *request, bool copy)
{
    struct stele_call *call = batch->owner->call;
    const struct stele_server *server = stele_call_server(call);
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    struct stele_pb_reader reader = stele_pb_reader(request->whole);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        struct stele_kurrent__proposed event;
        if (field.number != 3 || field.wire != STELE_PB_BYTES) {
            continue;
        }
        const enum stele_kurrent__refusal refusal =
            stele_kurrent__get_proposed(field.bytes, &event)
                ? stele_kurrent__batch_add(events, alloc, server, &event, copy)
                : REFUSAL_INVALID;
        if (refusal != REFUSAL_NONE) {
            answer_refusal(batch, refusal, &event);
            return false;
        }
    }
    return true;
}

/* false: the batch was answered. */
static bool store(struct batch *batch, struct stele_kurrent__batch *events)
{
    struct stele_call *call = batch->owner->call;
    struct stele_engine *engine = stele_call_server(call)->engine;
    struct stele_error err = {.outcome = STELE_OK};
    uint64_t current = 0;
    const size_t count = stele_kurrent__batch_count(events);
    if (count == 0) {
        const enum stele_kurrent__ending ending =
            stele_kurrent__check_only(engine, batch->name, batch->expected, &current);
        batch->appending.outcome = STELE_E_IO;
        answer_ending(batch, ending, current);
        return false;
    }
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    const struct stele_event_draft *drafts =
        stele_kurrent__batch_keep_deleted(events, alloc, engine, batch->name) == STELE_OK
            ? stele_kurrent__batch_drafts(events, alloc)
            : NULL;
    if (drafts == NULL) {
        answer_outcome(batch, STELE_E_NO_MEMORY, "");
        return false;
    }
    const struct stele_append stream = {
        .stream = batch->name,
        .expected = stele_kurrent__expectation(engine, batch->name, batch->expected),
        .events = drafts,
        .count = count,
    };
    batch->writes = true;
    batch->state = BATCH_STORING;
    batch->appending.loop = stele_call_loop(call);
    batch->appending.on_done = on_done;
    stele_call_hold(call);
    const int outcome = engine->ops->append(engine, &batch->appending, &stream, 1, NULL, 0, &err);
    if (outcome != STELE_OK) {
        batch->state = BATCH_COLLECTING;
        answer_outcome(batch, outcome, err.message);
        stele_call_release(call);
        return false;
    }
    return true;
}

static void forget(struct call_state *state, struct batch *batch)
{
    if (!stele_call_is_over(state->call)) {
        unchain(state, batch);
        give_batch(state, batch);
    }
}

/* The usual case: options, events and is_final in one message. Payloads stay where they are. */
static void take_whole(struct call_state *state, const struct request *request)
{
    struct batch *batch = begin_batch(state, request);
    if (batch == NULL) {
        return;
    }
    stele_kurrent__batch_clear(&state->one);
    if (!add_events(batch, &state->one, request, false) || !store(batch, &state->one)) {
        drop_batch(state, batch);
        return;
    }
    arm(state, batch->due_us);
    if (state->one.bytes.capacity > 65536 || state->one.items.capacity > 262144) {
        stele_kurrent__batch_deinit(&state->one, stele_call_loop(state->call)->alloc);
    }
}

static void take_part(struct call_state *state, struct batch *batch, const struct request *request)
{
    if (batch == NULL) {
        batch = begin_batch(state, request);
        if (batch == NULL) {
            return;
        }
        struct batch **slot = slot_of(state, batch->key);
        batch->chain = *slot;
        *slot = batch;
        arm(state, batch->due_us);
    }
    const uint64_t before = batch->collected;
    const bool added = add_events(batch, &batch->events, request, true);
    if (stele_call_is_over(state->call)) {
        return;
    }
    batch->collected = batch->events.size;
    state->collected += batch->collected - before;
    if (!added) {
        forget(state, batch);
        return;
    }
    if (state->collected > COLLECTED_MAX * stele_call_server(state->call)->append_size_max) {
        answer_outcome(batch, STELE_E_OVERLOADED, "");
        forget(state, batch);
        return;
    }
    if (!request->is_final) {
        return;
    }
    unchain(state, batch);
    if (!store(batch, &batch->events)) {
        drop_batch(state, batch);
        return;
    }
    state->collected -= batch->collected;
    batch->collected = 0;
    stele_kurrent__batch_deinit(&batch->events, stele_call_loop(state->call)->alloc);
}

static void on_start(struct stele_call *call)
{
    struct call_state *state = state_of(call);
    state->call = call;
    state->timer.on_due = on_due;
    state->timer_due_us = INT64_MAX;
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    struct call_state *state = state_of(call);
    struct request request;
    if (!get_request(message, &request)) {
        stele_kurrent__fail_invalid(call, "the request is malformed");
        return;
    }
    struct batch *batch = find(state, request.key);
    if (batch == NULL && request.has_options && request.is_final) {
        take_whole(state, &request);
    } else if (batch != NULL || request.has_options) {
        take_part(state, batch, &request);
    }
    if (!stele_call_is_over(call) && !state->paused &&
        (state->count >= UNDER_WAY_MAX || stele_call_is_full(call))) {
        state->paused = true;
        stele_call_pause(call);
    }
}

static void on_half_closed(struct stele_call *call)
{
    state_of(call)->half_closed = true;
    settle(state_of(call));
}

static void on_writable(struct stele_call *call)
{
    settle(state_of(call));
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)reason;
    struct call_state *state = state_of(call);
    struct stele_loop *loop = stele_call_loop(call);
    loop->ops->timer_stop(loop, &state->timer);
    struct batch *next = NULL;
    for (struct batch *batch = state->first; batch != NULL; batch = next) {
        next = batch->next;
        if (batch->state == BATCH_COLLECTING) {
            give_batch(state, batch);
        }
    }
    while (state->spare != NULL) {
        struct batch *spare = state->spare;
        state->spare = spare->next;
        stele_release(loop->alloc, spare, sizeof *spare);
    }
    state->spare_count = 0;
    stele_kurrent__batch_deinit(&state->one, loop->alloc);
}

const struct stele_method stele_kurrent__batch_append_method = {
    .rpc = STELE_RPC_KURRENT_STREAMS_BATCH_APPEND,
    .state_size = sizeof(struct call_state),
    .message_max = STELE_KURRENT__MESSAGE_MAX,
    .admit = stele_kurrent__admit,
    .start = on_start,
    .message = on_message,
    .half_closed = on_half_closed,
    .writable = on_writable,
    .closed = on_closed,
};
