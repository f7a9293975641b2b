/* Catch-up subscriptions, which come again after every loss where they were: at their last event, or
 * at the last checkpoint that they were told.
 *
 * Of everything that comes: an event is the next one that is wanted (no skip, no repeat); nothing
 * that is wanted lies before a checkpoint and was not told; "caught up" was true when the server said
 * it. A hash over what was told equals that over the same prefix of the true order. */
#include "server.h"

#include <stdio.h>

#define STREAMS_READ "/event_store.client.streams.Streams/Read"
#define NATIVE_STREAM "/stele.v1.EventStore/SubscribeToStream"
#define NATIVE_ALL "/stele.v1.EventStore/SubscribeToAll"

static void on_again(struct sim *sim, void *object, uint64_t number);

static const char *name_of(const struct srv_follower *follower)
{
    static const char *const kinds[] = {"$all", "a stream", "a category", "a type"};
    return kinds[follower->want.kind];
}

static _Noreturn void fail(struct sim *sim, const struct srv_follower *follower, const char *what,
                           uint64_t number, uint64_t other)
{
    sim_fail(
        sim,
        "subscriber %u (%s %s%s%s, %s%s%s): %s: %llu, %llu; it was told of %llu events, goes on "
        "at event %u (position %llu) of %u",
        follower->number, name_of(follower), follower->want.name,
        follower->want.filtered ? ", filter " : "", follower->want.text,
        follower->native ? "native" : "kurrent", follower->slow ? ", slow" : "",
        follower->by_checkpoint ? ", by checkpoints" : "", what, (unsigned long long)number,
        (unsigned long long)other, (unsigned long long)follower->events, follower->at,
        follower->at < sim->model.count
            ? (unsigned long long)sim->model.events[follower->at].position
            : 0ULL,
        sim->model.visible);
}

/* ---- What comes ---- */

static void take_place(struct srv_follower *follower, uint64_t place)
{
    if (!follower->has_place || place > follower->place) {
        follower->place = place;
        follower->has_place = true;
    }
}

/* Everything wanted up to `end` must have been told. */
static void check_told(struct sim *sim, struct srv_follower *follower, uint32_t end,
                       const char *what, uint64_t number)
{
    const uint32_t next = srv_truth_next(sim, &follower->want, follower->at, end);
    if (next < end) {
        fail(sim, follower, what, number, sim->model.events[next].position);
    }
}

static void on_event(struct sim *sim, struct srv_follower *follower, const struct srv_event *event)
{
    char who[32];
    (void)snprintf(who, sizeof who, "subscriber %u", follower->number);
    const uint32_t index = srv_truth_find(sim, event, who);
    if (!srv_truth_wants(sim, &follower->want, index)) {
        fail(sim, follower, "an event came that was not asked for", event->position, 0);
    }
    if (index < follower->at) {
        fail(sim, follower, "an event came again", event->position, index);
    }
    check_told(sim, follower, index, "an event was skipped before this one", event->position);
    follower->hash_told = srv_event_hash(follower->hash_told, event);
    follower->hash_true = srv_truth_hash(follower->hash_true, sim, index);
    if (follower->hash_told != follower->hash_true) {
        fail(sim, follower, "the hash of what it was told differs", event->position, index);
    }
    follower->at = index + 1;
    follower->events++;
    srv_count(sim, SRV_EVENTS, 1);
    sim_trace(sim, "told: subscriber, position, events", follower->number, event->position,
              follower->events);
    if (follower->want.kind == SRV_STREAM) {
        take_place(follower, sim->model.events[index].revision);
    } else if (!follower->by_checkpoint) {
        take_place(follower, event->position);
    }
}

static void on_checkpoint(struct sim *sim, struct srv_follower *follower, uint64_t position)
{
    check_told(sim, follower, srv_truth_after_position(sim, position),
               "a checkpoint is ahead of an event", position);
    srv_count(sim, SRV_CHECKPOINTS, 1);
    sim_trace(sim, "checkpoint: subscriber, position", follower->number, position, 0);
    if (follower->want.kind != SRV_STREAM) {
        take_place(follower, position);
    }
}

/* At that time of the server's clock there was nothing that it had not been told. */
static void on_caught_up(struct sim *sim, struct srv_follower *follower, uint64_t wall_us)
{
    const uint32_t end = sim->model.visible;
    const uint32_t next = srv_truth_next(sim, &follower->want, follower->at, end);
    if (next < end && srv_truth_visible_us(sim, next) < wall_us) {
        fail(sim, follower, "it is said to have caught up, but lacks an event", wall_us,
             sim->model.events[next].position);
    }
    follower->caught_up = true;
    srv_count(sim, SRV_CAUGHT_UP, 1);
    sim_trace(sim, "caught up: subscriber", follower->number, wall_us, 0);
}

static void kurrent_message(struct sim *sim, struct srv_follower *follower,
                            struct stele_bytes message)
{
    struct stele_pb_field field, inner;
    struct srv_event event;
    if (srv_get(message, 1, &field)) {
        if (!srv_get(field.bytes, 1, &inner) || !srv_get_recorded(inner.bytes, &event)) {
            fail(sim, follower, "an event cannot be read", message.size, 0);
        }
        on_event(sim, follower, &event);
    } else if (srv_get(message, 2, &field)) {
        follower->confirmed = true;
    } else if (srv_get(message, 3, &field)) {
        on_checkpoint(sim, follower, srv_get_u64(field.bytes, 1));
    } else if (srv_get(message, 8, &field)) {
        const uint64_t wall_us =
            srv_get(field.bytes, 1, &inner) ? srv_get_timestamp(inner.bytes) : 0;
        if (srv_get(field.bytes, 3, &inner)) {
            on_checkpoint(sim, follower, srv_get_u64(inner.bytes, 1));
        }
        on_caught_up(sim, follower, wall_us);
    } else {
        fail(sim, follower, "an unknown message came", message.size, 0);
    }
}

static void native_message(struct sim *sim, struct srv_follower *follower,
                           struct stele_bytes message)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct srv_event event;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1) {
            if (!srv_get_native(field.bytes, &event)) {
                fail(sim, follower, "an event cannot be read", message.size, 0);
            }
            if (follower->credits > 0) {
                if (follower->credits_left == 0) {
                    fail(sim, follower, "an event came without a credit", event.position, 0);
                }
                follower->credits_left--;
            }
            on_event(sim, follower, &event);
        } else if (field.number == 2) {
            follower->confirmed = follower->confirmed || srv_get_u64(field.bytes, 4) != 0;
            const uint64_t checkpoint = srv_get_u64(field.bytes, 1);
            if (checkpoint > 0) {
                on_checkpoint(sim, follower, checkpoint);
            }
            if (srv_get_u64(field.bytes, 2) != 0) {
                on_caught_up(sim, follower, srv_get_u64(field.bytes, 3));
            }
        }
    }
    if (reader.bad) {
        fail(sim, follower, "a message cannot be read", message.size, 0);
    }
}

static void give_credits(struct sim *sim, struct srv_follower *follower)
{
    struct srv_message *message = &srv_of(sim)->message;
    if (follower->credits == 0 || follower->credits_left > follower->credits / 2) {
        return;
    }
    message->size = 0;
    srv_put_u64(message, 2, follower->credits);
    follower->credits_left += follower->credits;
    srv_call_send(sim, &follower->call, srv_message(message), false);
}

static void on_message(struct sim *sim, struct srv_call *call, struct stele_bytes message)
{
    struct srv_follower *follower = call->owner;
    if (follower->native) {
        native_message(sim, follower, message);
        give_credits(sim, follower);
    } else {
        kurrent_message(sim, follower, message);
    }
}

/* ---- Slow ones ---- */

static void on_read(struct sim *sim, void *object, uint64_t number)
{
    struct srv_follower *follower = object;
    struct srv *srv = srv_of(sim);
    (void)number;
    uint64_t pause = rng_exponential(&srv->rng_clients, 20 * SIM_MS);
    if (!sim->calm && rng_percent(&srv->rng_clients, 3)) {
        pause = rng_log(&srv->rng_clients, SIM_SECOND, 30 * SIM_SECOND);
    }
    for (uint64_t i = 0, most = sim->calm ? 64 : rng_log(&srv->rng_clients, 1, 16);
         i < most && srv_call_next(sim, &follower->call); i++) {
    }
    if (follower->call.peer != NULL && follower->call.ended && follower->call.in_whole == 0) {
        struct srv_call *call = &follower->call;
        const bool was_ended = call->ended;
        srv_call_cancel(sim, call);
        STELE_ASSERT(was_ended);
        call->on_end(sim, call);
    }
    sim_after_always(sim, pause, on_read, follower, 0);
}

/* ---- Beginning, ending, beginning again ---- */

static void on_end(struct sim *sim, struct srv_call *call)
{
    struct srv_follower *follower = call->owner;
    sim_trace(sim, "subscription ended: subscriber, status", follower->number,
              (uint64_t)(int64_t)call->status, 0);
    follower->confirmed = false;
    follower->caught_up = false;
    if (follower->want.kind == SRV_STREAM && call->status == STELE_GRPC_FAILED_PRECONDITION) {
        const uint32_t stream = model_stream(&sim->model, follower->want.name);
        if (stream == MODEL_NONE || !model_is_tombstoned(&sim->model, stream, false)) {
            fail(sim, follower, "it is told that the stream is deleted", 0, 0);
        }
        follower->closed = true;
        return;
    }
    if (!follower->again) {
        follower->again = true;
        sim_after_always(sim, rng_exponential(&srv_of(sim)->rng_clients, SIM_SECOND / 2), on_again,
                         follower, 0);
    }
}

static void put_filter_kurrent(struct srv_message *message, const struct srv_follower *follower)
{
    const struct stele_filter *filter = &follower->want.filter;
    const size_t mark = srv_put_begin(message, 7);
    const bool by_stream = filter->stream_prefixes_count > 0 || filter->stream_regex != NULL;
    const size_t inner = srv_put_begin(message, by_stream ? 1 : 2);
    if (filter->stream_regex != NULL || filter->type_regex != NULL) {
        srv_put_text(message, 1, follower->want.text);
    } else {
        srv_put_text(message, 2, follower->want.text);
    }
    srv_put_end(message, inner);
    srv_put_u64(message, 3, 32);
    srv_put_u64(message, 5, 1 + follower->number % 3);
    srv_put_end(message, mark);
}

static void make_kurrent(struct srv_message *message, const struct srv_follower *follower)
{
    const size_t options = srv_put_begin(message, 1);
    size_t mark = srv_put_begin(message, follower->want.kind == SRV_STREAM ? 1 : 2);
    if (follower->want.kind == SRV_STREAM) {
        srv_put_stream(message, 1, follower->want.name);
        if (follower->has_place) {
            srv_put_u64(message, 2, follower->place);
        } else {
            srv_put_bytes(message, 3, NULL, 0);
        }
    } else if (follower->has_place) {
        const size_t position = srv_put_begin(message, 1);
        srv_put_u64(message, 1, follower->place);
        srv_put_u64(message, 2, follower->place);
        srv_put_end(message, position);
    } else {
        srv_put_bytes(message, 2, NULL, 0);
    }
    srv_put_end(message, mark);
    srv_put_u64(message, 3, 0);
    srv_put_bytes(message, 6, NULL, 0);
    if (follower->want.filtered) {
        put_filter_kurrent(message, follower);
    } else {
        srv_put_bytes(message, 8, NULL, 0);
    }
    mark = srv_put_begin(message, 9);
    srv_put_bytes(message, 1, NULL, 0);
    srv_put_end(message, mark);
    mark = srv_put_begin(message, 10);
    srv_put_u64(message, 1, 21);
    srv_put_end(message, mark);
    srv_put_end(message, options);
}

static void make_native(struct srv_message *message, struct srv_follower *follower)
{
    const struct srv_want *want = &follower->want;
    const size_t start = srv_put_begin(message, 1);
    if (want->kind != SRV_ALL) {
        char name[80];
        (void)snprintf(name, sizeof name, "%s%s",
                       want->kind == SRV_CATEGORY ? "$ce-"
                       : want->kind == SRV_TYPE   ? "$et-"
                                                  : "",
                       want->name);
        srv_put_text(message, 1, name);
    }
    srv_put_u64(message, 2, follower->has_place ? follower->place + 1 : 0);
    const size_t mark = srv_put_begin(message, 4);
    if (want->filtered) {
        const struct stele_filter *filter = &want->filter;
        srv_put_text(message,
                     filter->stream_prefixes_count > 0 ? 5
                     : filter->stream_regex != NULL    ? 6
                     : filter->type_regex != NULL      ? 3
                                                       : 2,
                     want->text);
    }
    srv_put_u64(message, 9, 1); /* Of system streams, too. */
    srv_put_end(message, mark);
    if (follower->credits > 0) {
        srv_put_u64(message, 6, follower->credits);
        follower->credits_left = follower->credits;
    }
    srv_put_u64(message, 8, 7 + follower->number * 5);
    srv_put_end(message, start);
}

static void subscribe(struct sim *sim, struct srv_follower *follower)
{
    struct srv_message *message = &srv_of(sim)->message;
    const char *path = !follower->native                ? STREAMS_READ
                       : follower->want.kind == SRV_ALL ? NATIVE_ALL
                                                        : NATIVE_STREAM;
    if (follower->closed || srv_call_is_on(&follower->call) ||
        !srv_call_start(sim, follower->peer, &follower->call, path)) {
        return;
    }
    /* A client that keeps checkpoints only is told again what came behind the last one. */
    if (follower->by_checkpoint) {
        follower->at = follower->has_place ? srv_truth_after_position(sim, follower->place) : 0;
        srv_count(sim, SRV_RESUMED_AT_CHECKPOINT, follower->has_place);
    }
    follower->started_us = sim->now_us;
    follower->confirmed = false;
    follower->caught_up = false;
    message->size = 0;
    if (follower->native) {
        make_native(message, follower);
    } else {
        make_kurrent(message, follower);
    }
    sim_trace(sim, "subscribe: subscriber, place", follower->number,
              follower->has_place ? follower->place : 0, follower->has_place);
    srv_call_send(sim, &follower->call, srv_message(message), !follower->native);
    srv_count(sim, SRV_SUBSCRIPTIONS, 1);
}

static void on_again(struct sim *sim, void *object, uint64_t number)
{
    struct srv_follower *follower = object;
    (void)number;
    follower->again = false;
    subscribe(sim, follower);
}

static void on_connected(struct sim *sim, void *actor)
{
    subscribe(sim, actor);
}

/* Goes, by RST_STREAM or with the whole connection, and comes again. */
static void on_leave(struct sim *sim, void *object, uint64_t number)
{
    struct srv_follower *follower = object;
    struct srv *srv = srv_of(sim);
    (void)number;
    if (sim->calm) {
        return;
    }
    if (rng_percent(&srv->rng_clients, 50)) {
        srv_peer_drop(sim, follower->peer);
    } else if (srv_call_is_on(&follower->call)) {
        srv_call_cancel(sim, &follower->call);
        follower->call.status = -1;
        on_end(sim, &follower->call);
    }
    sim_after_always(sim, rng_exponential(&srv->rng_clients, srv->config.leave_us), on_leave,
                     follower, 0);
}

static void draw_filter(struct rng *rng, struct srv_want *want)
{
    static const struct {
        const char *text;
        bool stream, regex;
    } forms[] = {
        {"acct-", true, false},  {"acct-1", true, false},    {"Deposited", false, false},
        {"With", false, false},  {"^acct-[02]", true, true}, {"^(Deposited|Moved)$", false, true},
        {"Never", false, false}, {"order-", true, false},    {"$", true, false},
    };
    const size_t form = rng_below(rng, STELE_COUNT_OF(forms));
    (void)snprintf(want->text, sizeof want->text, "%s", forms[form].text);
    want->texts[0] = want->text;
    want->filtered = true;
    struct stele_filter *filter = &want->filter;
    if (forms[form].regex) {
        *(forms[form].stream ? &filter->stream_regex : &filter->type_regex) = want->text;
    } else if (forms[form].stream) {
        filter->stream_prefixes = want->texts;
        filter->stream_prefixes_count = 1;
    } else {
        filter->type_prefixes = want->texts;
        filter->type_prefixes_count = 1;
    }
}

static void draw_want(struct rng *rng, struct srv_follower *follower)
{
    struct srv_want *want = &follower->want;
    static const enum srv_kind kinds[] = {SRV_ALL, SRV_ALL, SRV_STREAM, SRV_CATEGORY, SRV_TYPE};
    want->kind = kinds[rng_below(rng, follower->native ? 5 : 3)];
    want->hides = !follower->native;
    switch (want->kind) {
    case SRV_ALL:
        if (rng_percent(rng, 65)) {
            draw_filter(rng, want);
        }
        break;
    case SRV_STREAM:
        (void)snprintf(want->name, sizeof want->name, "acct-%u", (unsigned)rng_below(rng, 3));
        break;
    case SRV_CATEGORY:
        (void)snprintf(want->name, sizeof want->name, "%s",
                       rng_percent(rng, 70) ? "acct" : "order");
        break;
    default:
        (void)snprintf(want->name, sizeof want->name, "%s",
                       rng_percent(rng, 70) ? "Deposited" : "Moved");
        break;
    }
}

void srv_follower_start(struct sim *sim, struct srv_follower *follower, uint32_t number)
{
    struct srv *srv = srv_of(sim);
    struct rng *rng = &srv->rng_clients;
    follower->number = number;
    follower->native = rng_percent(rng, 50);
    draw_want(rng, follower);
    follower->slow = rng_percent(rng, srv->config.slow_percent);
    follower->by_checkpoint = follower->want.kind == SRV_ALL &&
                              (follower->native || follower->want.filtered) && rng_percent(rng, 50);
    follower->credits =
        follower->native && rng_percent(rng, 50) ? (uint32_t)rng_log(rng, 1, 60) : 0;
    follower->call = (struct srv_call){
        .slow = follower->slow, .owner = follower, .on_message = on_message, .on_end = on_end};
    follower->peer =
        srv_peer_create(sim, (uint32_t)rng_log(rng, srv->config.window_min, srv->config.window_max),
                        follower, on_connected);
    if (follower->slow) {
        sim_after_always(sim, SIM_SECOND, on_read, follower, 0);
    }
    if (srv->config.leave_us != 0) {
        sim_after_always(sim, rng_exponential(rng, srv->config.leave_us), on_leave, follower, 0);
    }
}

bool srv_follower_is_at_peace(const struct sim *sim, const struct srv_follower *follower)
{
    const uint32_t end = sim->model.visible;
    return follower->closed || (follower->confirmed && follower->caught_up &&
                                srv_truth_next(sim, &follower->want, follower->at, end) == end);
}

void srv_follower_end(struct sim *sim, struct srv_follower *follower)
{
    srv_peer_destroy(sim, follower->peer);
}
