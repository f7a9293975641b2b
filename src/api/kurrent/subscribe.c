/* Streams.Read as a subscription: what there is after a place, then what comes, for ever.
 *
 * The follow (subs/follow.h) hands out events; a client that does not take them in is not fed: the
 * follow waits until the exchange is writable, and reads again from where it was. */
#include "api/kurrent/kurrent_internal.h"
#include "subs/follow.h"

#define SCAN_MAX 1024

/* ---- Messages that are no events -------------------------------------------------------------- */

static void send_confirmation(struct stele_kurrent__read *read)
{
    struct stele_loop *loop = stele_call_loop(read->call);
    uint8_t id[16];
    char text[37];
    uint8_t message[64];
    loop->ops->random(loop, id, sizeof id);
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
    stele_id_to_text(id, text);
    uint8_t *to = stele_pb_put_message(message, 2, stele_pb_size_bytes(1, 36));
    to = stele_pb_put_bytes(to, 1, text, 36);
    stele_call_send(read->call,
                    (struct stele_bytes){.data = message, .size = (size_t)(to - message)});
}

static void send_nested(struct stele_call *call, uint32_t field, const uint8_t *inner, size_t size)
{
    uint8_t message[80];
    const uint8_t *to = stele_pb_put_bytes(message, field, inner, size);
    stele_call_send(call, (struct stele_bytes){.data = message, .size = (size_t)(to - message)});
}

static void send_checkpoint(struct stele_kurrent__read *read, uint64_t position)
{
    struct stele_loop *loop = stele_call_loop(read->call);
    uint8_t inner[64];
    uint8_t *to = inner;
    if (position > 0) {
        to = stele_pb_put_u64(to, 1, position);
        to = stele_pb_put_u64(to, 2, position);
    }
    to = stele_kurrent__put_timestamp(to, 3, loop->ops->wall_us(loop));
    read->scanned = 0;
    send_nested(read->call, 3, inner, (size_t)(to - inner));
}

static void send_caught_up(struct stele_kurrent__read *read, uint64_t position)
{
    struct stele_loop *loop = stele_call_loop(read->call);
    uint8_t inner[64];
    uint8_t *to = stele_kurrent__put_timestamp(inner, 1, loop->ops->wall_us(loop));
    if (read->name == NULL && read->view == VIEW_NONE) {
        to = stele_kurrent__put_position(to, 3, position);
    } else if (read->last_revision != STELE_EXPECT_NO_STREAM) {
        to = stele_pb_put_u64(to, 2, read->last_revision);
    }
    send_nested(read->call, 8, inner, (size_t)(to - inner));
}

/* ---- What the follow tells -------------------------------------------------------------------- */

/* Rights may have been taken away meanwhile. false: the call is over. */
static bool may_go_on(struct stele_kurrent__read *read)
{
    struct stele_auth *auth = read->server->auth;
    const uint64_t generation = stele_auth_generation(auth);
    if (generation == read->generation) {
        return true;
    }
    read->generation = generation;
    const struct stele_text subject = read->name == NULL && read->view == VIEW_NONE
                                          ? stele_kurrent__text_of("$all")
                                          : read->view_name;
    if (stele_auth_may(auth, stele_call_principal(read->call), subject, STELE_RIGHT_READ)) {
        return true;
    }
    stele_kurrent__fail_access(read->call);
    return false;
}

/* An event that others wait for as well was perhaps encoded before. */
static bool send_live(struct stele_kurrent__read *read, const struct stele_event *event,
                      struct stele_live *live)
{
    struct stele_alloc *alloc = stele_call_loop(read->call)->alloc;
    struct stele_bytes *encoded = &live->encoded[read->uuid == UUID_STRUCTURED ? 0 : 1];
    struct stele_buf *buf = stele_call_message_begin(read->call);
    const size_t before = buf->size;
    if (encoded->data != NULL) {
        if (stele_buf_append(buf, alloc, *encoded) != STELE_OK) {
            stele_call_message_cancel(read->call);
            stele_kurrent__fail_outcome(read->call, STELE_E_NO_MEMORY, "");
            return false;
        }
        stele_call_message_end(read->call);
        return !stele_call_is_over(read->call);
    }
    if (stele_kurrent__put_read_event(buf, alloc, event, NULL, read->uuid) != STELE_OK) {
        stele_call_message_cancel(read->call);
        stele_kurrent__fail_outcome(read->call, STELE_E_NO_MEMORY, "");
        return false;
    }
    const size_t size = buf->size - before;
    uint8_t *copy = stele_arena_allocate(live->arena, alloc, size);
    if (copy != NULL) {
        memcpy(copy, buf->data + before, size);
        *encoded = (struct stele_bytes){.data = copy, .size = size};
    }
    stele_call_message_end(read->call);
    return !stele_call_is_over(read->call);
}

static bool is_plain(const struct stele_kurrent__read *read, const struct stele_event *event)
{
    return read->view == VIEW_NONE &&
           !(read->resolve_links && stele_kurrent__is(event->type, "$>"));
}

/* false: the call is over. */
static bool offer(struct stele_kurrent__read *read, const struct stele_event *event,
                  uint64_t ordinal, struct stele_live *live)
{
    if (stele_kurrent__hides(read, event)) {
        return true;
    }
    if (stele_kurrent__view_is_scanned(read->view)) {
        if (!stele_kurrent__view_has(read->view, read->view_name, event)) {
            return true;
        }
        ordinal = read->ordinal++;
        if (ordinal < read->after || read->only_new) {
            return true;
        }
    }
    const bool sent = live != NULL && is_plain(read, event)
                          ? send_live(read, event, live)
                          : stele_kurrent__send_event(read, event, ordinal);
    if (sent) {
        read->last_revision = read->view != VIEW_NONE ? ordinal : event->revision;
    }
    return sent;
}

static size_t on_events(void *context, const struct stele_event *events, size_t count,
                        uint64_t ordinal, struct stele_live *live)
{
    struct stele_kurrent__read *read = context;
    struct stele_call *call = read->call;
    stele_call_hold(call);
    size_t taken = 0;
    if (may_go_on(read)) {
        for (; taken < count && !stele_call_is_full(call); taken++) {
            if (!offer(read, &events[taken], ordinal + taken, live)) {
                break;
            }
        }
    }
    read->full = taken < count && !stele_call_is_over(call);
    stele_call_release(call);
    return taken;
}

static void on_progress(void *context, uint64_t position, uint64_t scanned, bool caught_up)
{
    struct stele_kurrent__read *read = context;
    struct stele_call *call = read->call;
    stele_call_hold(call);
    if (may_go_on(read)) {
        read->scanned += scanned;
        /* SPEC(kurrent/subscribe/checkpoint): at the interval, and when going live. */
        if (read->filtered &&
            ((caught_up && position > 0) || read->scanned >= read->checkpoint_every)) {
            send_checkpoint(read, position);
        }
        if (caught_up && !stele_call_is_over(call)) {
            read->only_new = false;
            send_caught_up(read, position);
        }
    }
    stele_call_release(call);
}

static void on_end(void *context, int outcome, const struct stele_error *err)
{
    struct stele_kurrent__read *read = context;
    if (outcome == STELE_STREAM_DELETED) {
        stele_kurrent__fail_deleted(read->call, read->view_name);
    } else {
        stele_kurrent__fail_outcome(read->call, outcome, err != NULL ? err->message : "");
    }
}

void stele_kurrent__subscription_writable(struct stele_kurrent__read *read)
{
    if (read->full) {
        read->full = false;
        stele_follow_resume(read->follow);
    }
}

/* ---- Beginning -------------------------------------------------------------------------------- */

/* SPEC(kurrent/subscribe/from): after a revision or position; from the start; only what comes. */
static bool choose_place(struct stele_kurrent__read *read,
                         const struct stele_kurrent__read_options *options, uint64_t *out_from)
{
    switch (options->from) {
    case FROM_START:
        *out_from = 0;
        return true;
    case FROM_END:
        *out_from = UINT64_MAX;
        return true;
    case FROM_PLACE:
    case FROM_UNSET:
        break;
    }
    if (options->has_all && options->commit < options->prepare) {
        stele_kurrent__fail_invalid(read->call, "Trying to read from an invalid position.");
        return false;
    }
    const uint64_t place = options->has_all ? options->commit : options->revision;
    *out_from = place == UINT64_MAX ? UINT64_MAX : place + 1;
    if (!options->has_all && place != UINT64_MAX) {
        read->last_revision = place;
    }
    return true;
}

void stele_kurrent__subscribe(struct stele_kurrent__read *read,
                              const struct stele_kurrent__read_options *options)
{
    static const struct stele_follow_callbacks callbacks = {
        .on_events = on_events, .on_progress = on_progress, .on_end = on_end};
    struct stele_error err = {.outcome = STELE_OK};
    uint64_t from = 0;
    if (!choose_place(read, options, &from)) {
        return;
    }
    if (stele_kurrent__view_is_scanned(read->view)) {
        /* Ordinals are counted from the front. */
        read->only_new = from == UINT64_MAX;
        read->after = read->only_new ? 0 : from;
        from = 0;
    }
    const uint64_t interval = read->filtered ? read->checkpoint_every : SCAN_MAX;
    const struct stele_follow_options follow = {
        .stream = read->name,
        .from = from,
        .filter = read->filtered ? &read->filter : NULL,
        .scan_max = interval < SCAN_MAX ? (uint32_t)interval : SCAN_MAX,
        .by_ordinal = read->view == VIEW_CATEGORY || read->view == VIEW_TYPE,
    };
    struct stele_hub *hub = stele_hub_of(read->server->hubs, stele_call_loop(read->call));
    const int outcome = stele_follow_start(hub, &follow, &callbacks, read, &read->follow, &err);
    if (outcome == STELE_STREAM_DELETED) {
        stele_kurrent__fail_deleted(read->call, read->view_name);
    } else if (outcome != STELE_OK) {
        stele_kurrent__fail_outcome(read->call, outcome, err.message);
    } else {
        send_confirmation(read);
    }
}
