/* Admin: statistics at once; scavenging, verifying and digests as chores, with progress. The call's
 * end stops the chore. */
#include "api/native/native_internal.h"

#include <stdatomic.h>

struct admin_call {
    struct stele_chore chore;
    struct stele_call *call;
    bool has_request;
    bool running;
};

static struct stele_engine *engine_of(struct stele_call *call)
{
    return stele_call_server(call)->engine;
}

/* One message with one field that is a message. */
static void send_inside(struct stele_call *call, uint32_t number, const uint8_t *body, size_t size)
{
    if (stele_call_is_over(call)) {
        return;
    }
    struct stele_buf *buf = stele_call_message_begin(call);
    if (stele_buf_reserve(buf, stele_call_loop(call)->alloc, size + 16) != STELE_OK) {
        stele_call_message_cancel(call);
        return;
    }
    buf->size = (size_t)(stele_pb_put_bytes(buf->data + buf->size, number, body, size) - buf->data);
    stele_call_message_end(call);
}

static void answer_stats(struct stele_call *call)
{
    struct stele_engine *engine = engine_of(call);
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_stats stats;
    const int outcome = engine->ops->stats(engine, &stats, &err);
    if (outcome != STELE_OK) {
        stele_native__fail(call, outcome, &err);
        return;
    }
    const uint64_t numbers[] = {
        stats.events,     stats.position_last, stats.log_size,    stats.disk_size,
        stats.index_size, stats.segments,      stats.index_runs,  stats.index_behind,
        stats.memory,     stats.partitions,    stats.fenced != 0, stats.damage,
        stats.streams,
    };
    uint8_t body[32 + 13 * 12];
    uint8_t *to = stele_pb_put_bytes(body, 1, stats.store_id, sizeof stats.store_id);
    for (uint32_t i = 0; i < STELE_COUNT_OF(numbers); i++) {
        to = stele_native__put_number(to, i + 2, numbers[i]);
    }
    stele_call_hold(call);
    send_inside(call, 1, body, (size_t)(to - body));
    if (!stele_call_is_over(call)) {
        stele_call_finish(call, STELE_GRPC_OK, "");
    }
    stele_call_release(call);
}

static void on_progress(struct stele_chore *chore)
{
    struct admin_call *state = (struct admin_call *)chore;
    if (stele_call_is_over(state->call) || stele_call_is_full(state->call)) {
        return;
    }
    uint8_t body[32];
    uint8_t *to = stele_native__put_number(body, 1, atomic_load(&chore->done));
    to = stele_native__put_number(to, 2, atomic_load(&chore->total));
    send_inside(state->call, 2, body, (size_t)(to - body));
}

static void send_scavenged(struct stele_call *call, const struct stele_scavenge_result *result)
{
    uint8_t body[64];
    uint8_t *to = stele_native__put_number(body, 1, result->segments);
    to = stele_native__put_number(to, 2, result->segments_rewritten);
    to = stele_native__put_number(to, 3, result->events_removed);
    to = stele_native__put_number(to, 4, result->bytes_before);
    to = stele_native__put_number(to, 5, result->bytes_after);
    send_inside(call, 3, body, (size_t)(to - body));
}

static void send_damage(struct stele_call *call, const struct stele_damage *damage)
{
    uint8_t body[1024];
    const size_t file = strnlen(damage->file, 255);
    const size_t what = strnlen(damage->what, 600);
    uint8_t *to = stele_pb_put_bytes(body, 1, damage->file, file);
    to = stele_native__put_number(to, 2, damage->offset);
    to = stele_native__put_number(to, 3, damage->position);
    to = stele_pb_put_bytes(to, 4, damage->what, what);
    send_inside(call, 4, body, (size_t)(to - body));
}

static void send_verified(struct stele_call *call, const struct stele_chore *chore)
{
    const struct stele_verify_result *result = &chore->verified;
    for (const struct stele_chore_damage *noted = chore->damages; noted != NULL;
         noted = noted->next) {
        send_damage(call, &noted->damage);
    }
    uint8_t body[80 + STELE_DIGEST_SIZE];
    uint8_t *to = stele_native__put_number(body, 1, result->frames);
    to = stele_native__put_number(to, 2, result->events);
    to = stele_native__put_number(to, 3, result->bytes);
    to = stele_native__put_number(to, 4, result->index_entries);
    to = stele_native__put_number(to, 5, result->damages);
    to = stele_pb_put_bytes(to, 6, result->digest, strnlen(result->digest, STELE_DIGEST_SIZE));
    send_inside(call, 5, body, (size_t)(to - body));
}

static void on_done(struct stele_chore *chore)
{
    struct admin_call *state = (struct admin_call *)chore;
    struct stele_call *call = state->call;
    state->running = false;
    if (!stele_call_is_over(call)) {
        const bool found = chore->kind == STELE_CHORE_VERIFY && chore->verified.damages > 0;
        if (chore->outcome != STELE_OK && !found) {
            stele_native__fail(call, chore->outcome, &chore->err);
        } else {
            if (chore->kind == STELE_CHORE_SCAVENGE) {
                send_scavenged(call, &chore->scavenged);
            } else if (chore->kind == STELE_CHORE_VERIFY) {
                send_verified(call, chore);
            } else {
                send_inside(call, 6, (const uint8_t *)chore->verified.digest,
                            strnlen(chore->verified.digest, STELE_DIGEST_SIZE));
            }
            if (!stele_call_is_over(call)) {
                stele_call_finish(call, STELE_GRPC_OK, "");
            }
        }
    }
    engine_of(call)->ops->chore_forget(engine_of(call), chore);
    stele_call_release(call);
}

/* The chore that a request asks for; false: it asks for none. */
static bool decode_chore(struct stele_bytes message, struct stele_chore *chore, bool *wants_stats)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    bool found = false;
    while (stele_pb_next(&reader, &field)) {
        struct stele_pb_reader inner = stele_pb_reader(field.bytes);
        struct stele_pb_field value;
        *wants_stats = *wants_stats || field.number == 1;
        if (field.number == 2 && field.wire == STELE_PB_BYTES) {
            found = true;
            chore->kind = STELE_CHORE_SCAVENGE;
            while (stele_pb_next(&inner, &value)) {
                chore->bytes_per_second = value.number == 1 ? value.value : chore->bytes_per_second;
            }
        } else if (field.number == 3 && field.wire == STELE_PB_BYTES) {
            found = true;
            chore->kind = STELE_CHORE_VERIFY;
            while (stele_pb_next(&inner, &value)) {
                if (value.number == 1 && value.bytes.size >= sizeof chore->against) {
                    return false;
                }
                if (value.number == 1 && value.wire == STELE_PB_BYTES && value.bytes.size > 0) {
                    memcpy(chore->against, value.bytes.data, value.bytes.size);
                }
            }
        } else if (field.number == 4) {
            found = true;
            chore->kind = STELE_CHORE_DIGEST;
        } else {
            continue;
        }
        if (field.wire == STELE_PB_BYTES && inner.bad) {
            return false;
        }
    }
    return found && !reader.bad;
}

static void take_request(struct stele_call *call, struct stele_bytes message)
{
    struct admin_call *state = stele_call_state(call);
    struct stele_error err = {.outcome = STELE_OK};
    bool wants_stats = false;
    const bool chore = !state->has_request && decode_chore(message, &state->chore, &wants_stats);
    if (!chore && (!wants_stats || state->has_request)) {
        stele_native__refuse(call, STELE_E_INVALID, "the request is malformed");
        return;
    }
    state->has_request = true;
    if (!chore) {
        answer_stats(call);
        return;
    }
    state->call = call;
    state->chore.loop = stele_call_loop(call);
    state->chore.on_progress = on_progress;
    state->chore.on_done = on_done;
    stele_call_hold(call);
    const int outcome = engine_of(call)->ops->chore(engine_of(call), &state->chore, &err);
    if (outcome != STELE_OK) {
        stele_native__fail(call, outcome, &err);
        stele_call_release(call);
        return;
    }
    state->running = true;
}

static void start_nothing(struct stele_call *call)
{
    (void)call;
}

static void on_half_closed(struct stele_call *call)
{
    const struct admin_call *state = stele_call_state(call);
    if (!state->has_request) {
        stele_native__refuse(call, STELE_E_INVALID, "a request was expected");
    }
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)reason;
    struct admin_call *state = stele_call_state(call);
    if (state->running) {
        atomic_store(&state->chore.stop, true);
    }
}

const struct stele_method stele_native__admin = {
    .rpc = STELE_RPC_NATIVE_ADMIN,
    .state_size = sizeof(struct admin_call),
    .start = start_nothing,
    .message = take_request,
    .half_closed = on_half_closed,
    .closed = on_closed,
};
