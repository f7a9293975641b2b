/* Persistent subscriptions: groups whose consumers acknowledge, refuse, hang, die and come again.
 *
 * Each event that a group wants is handed out until somebody has answered for it: at the end every
 * one was acknowledged, skipped on request, or lies in the parked stream; and after a replay none
 * lies there any more. With the pinned strategies first deliveries of one stream come in order, and
 * events of one stream are at one consumer at a time. */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>

#define PS "/event_store.client.persistent_subscriptions.PersistentSubscriptions/"
#define ACTION_PARK 1
#define ACTION_RETRY 2
#define ACTION_SKIP 3
#define PINNED 2
#define PINNED_BY_CORRELATION 3

static void on_consumer_again(struct sim *sim, void *object, uint64_t number);
static void on_group_again(struct sim *sim, void *object, uint64_t number);

static struct srv_answered *state_of(struct srv_group *group, uint32_t index)
{
    if (index >= group->states_capacity) {
        const uint32_t capacity = index * 2 + 256;
        group->states = realloc(group->states, capacity * sizeof *group->states);
        STELE_ASSERT(group->states != NULL);
        memset(group->states + group->states_capacity, 0,
               (capacity - group->states_capacity) * sizeof *group->states);
        group->states_capacity = capacity;
    }
    return &group->states[index];
}

static void put_name(struct srv_message *message, const struct srv_group *group, uint32_t stream,
                     uint32_t all)
{
    if (group->want.kind == SRV_ALL) {
        srv_put_bytes(message, all, NULL, 0);
    } else {
        srv_put_stream(message, stream, group->want.name);
    }
}

/* ---- Consumers ---- */

/* By its id: an event that was parked twice comes twice, with two links. */
static struct srv_held *held_of(struct srv_consumer *consumer, const uint8_t id[16])
{
    for (size_t i = 0; i < SRV_HELD_MAX; i++) {
        if (consumer->held[i].used && memcmp(consumer->held[i].id, id, 16) == 0) {
            return &consumer->held[i];
        }
    }
    return NULL;
}

static void forget_held(struct srv_consumer *consumer)
{
    memset(consumer->held, 0, sizeof consumer->held);
    consumer->held_count = 0;
    if (consumer->last_of_stream != NULL) {
        memset(consumer->last_of_stream, 0,
               consumer->last_capacity * sizeof *consumer->last_of_stream);
    }
}

static void answer(struct sim *sim, struct srv_consumer *consumer, struct srv_held *held)
{
    struct srv *srv = srv_of(sim);
    struct srv_message *message = &srv->message;
    struct rng *rng = &srv->rng_clients;
    const bool refuses = !sim->calm && rng_percent(rng, srv->config.nack_percent);
    message->size = 0;
    const size_t mark = srv_put_begin(message, refuses ? 3 : 2);
    srv_put_uuid(message, 2, held->id);
    if (refuses) {
        static const uint64_t actions[] = {ACTION_PARK, ACTION_RETRY, ACTION_SKIP};
        const uint64_t action = actions[rng_below(rng, 3)];
        srv_put_u64(message, 3, action);
        srv_put_text(message, 4, "because");
        if (action == ACTION_SKIP) {
            state_of(consumer->group, held->index)->done = true;
        }
        srv_count(sim, SRV_NACKED, 1);
    } else {
        state_of(consumer->group, held->index)->done = true;
        srv_count(sim, SRV_ACKED, 1);
    }
    srv_put_end(message, mark);
    sim_trace(sim, "answered: group and consumer, event, refused",
              consumer->group->number * 16 + consumer->number, held->index, refuses);
    held->used = false;
    consumer->held_count--;
    srv_call_send(sim, &consumer->call, srv_message(message), false);
}

static void on_answer(struct sim *sim, void *object, uint64_t number)
{
    struct srv_consumer *consumer = object;
    struct srv_held *held = &consumer->held[number % SRV_HELD_MAX];
    if (held->used && held->number == number && srv_call_is_on(&consumer->call)) {
        answer(sim, consumer, held);
    }
}

/* Is the consumer there for the server as well? One that there was no memory for has been dropped,
 * and is told a little later. */
static bool is_known(const struct sim *sim, const struct srv_consumer *consumer)
{
    return srv_of(sim)->host.alloc.failures == 0 && srv_call_is_on(&consumer->call) &&
           consumer->peer->link != NULL && consumer->peer->link->conn != NULL &&
           !consumer->call.ended;
}

static void check_pinned(struct sim *sim, struct srv_consumer *consumer, uint32_t index, bool first)
{
    struct srv_group *group = consumer->group;
    const struct model *model = &sim->model;
    const uint32_t stream = model->events[index].stream;
    /* What the server sent before it died may arrive late. */
    if (group->strategy != PINNED || !is_known(sim, consumer)) {
        return;
    }
    if (stream >= consumer->last_capacity) {
        const uint32_t capacity = stream * 2 + 16;
        consumer->last_of_stream =
            realloc(consumer->last_of_stream, capacity * sizeof *consumer->last_of_stream);
        STELE_ASSERT(consumer->last_of_stream != NULL);
        memset(consumer->last_of_stream + consumer->last_capacity, 0,
               (capacity - consumer->last_capacity) * sizeof *consumer->last_of_stream);
        consumer->last_capacity = capacity;
    }
    uint32_t *last = &consumer->last_of_stream[stream];
    if (first) {
        if (*last > index) {
            sim_fail(sim, "group %u, consumer %u: event %u of %s came after event %u",
                     group->number, consumer->number, index, model->streams.names[stream],
                     *last - 1);
        }
        *last = index + 1;
    }
    for (uint32_t i = 0; i < group->consumers_count; i++) {
        struct srv_consumer *other = &group->consumers[i];
        for (size_t k = 0; other != consumer && is_known(sim, other) && k < SRV_HELD_MAX; k++) {
            if (other->held[k].used && model->events[other->held[k].index].stream == stream) {
                sim_fail(sim,
                         "group %u: event %u of %s is at consumer %u, and event %u at consumer %u",
                         group->number, index, model->streams.names[stream], consumer->number,
                         other->held[k].index, other->number);
            }
        }
    }
}

static void hold(struct sim *sim, struct srv_consumer *consumer, uint32_t index,
                 const uint8_t id[16])
{
    struct srv *srv = srv_of(sim);
    struct rng *rng = &srv->rng_clients;
    struct srv_held *held = NULL;
    for (size_t i = 0; i < SRV_HELD_MAX && held == NULL; i++) {
        held = consumer->held[i].used ? NULL : &consumer->held[i];
    }
    if (held == NULL || consumer->held_count >= consumer->buffer_size) {
        sim_fail(sim, "group %u, consumer %u: more than %u events without an answer",
                 consumer->group->number, consumer->number, consumer->buffer_size);
    }
    srv->held_numbers++;
    *held = (struct srv_held){
        .used = true,
        .index = index,
        .number = srv->held_numbers * SRV_HELD_MAX + (uint64_t)(held - consumer->held),
    };
    memcpy(held->id, id, 16);
    consumer->held_count++;
    if (sim->calm || !rng_percent(rng, srv->config.hang_percent)) {
        sim_after_always(sim, rng_exponential(rng, rng_percent(rng, 90) ? 20 * SIM_MS : SIM_SECOND),
                         on_answer, consumer, held->number);
    }
}

static void on_consumer_message(struct sim *sim, struct srv_call *call, struct stele_bytes message)
{
    struct srv_consumer *consumer = call->owner;
    struct srv_group *group = consumer->group;
    struct stele_pb_field field, inner;
    struct srv_event event;
    char who[48];
    if (srv_get(message, 2, &field)) {
        consumer->confirmed = true;
        return;
    }
    if (!srv_get(message, 1, &field) || !srv_get(field.bytes, 1, &inner) ||
        !srv_get_recorded(inner.bytes, &event)) {
        sim_fail(sim, "group %u: an event cannot be read", group->number);
    }
    /* What was parked comes again with the link that parked it, and is answered for by its id. */
    uint8_t id[16];
    struct srv_event link;
    memcpy(id, event.id, 16);
    const bool replayed = srv_get(field.bytes, 2, &inner);
    if (replayed) {
        if (!srv_get_recorded(inner.bytes, &link)) {
            sim_fail(sim, "group %u: a link cannot be read", group->number);
        }
        memcpy(id, link.id, 16);
    }
    const uint64_t retries = srv_get_u64(field.bytes, 5);
    (void)snprintf(who, sizeof who, "group %u, consumer %u", group->number, consumer->number);
    const uint32_t index = srv_truth_find(sim, &event, who);
    if (!srv_truth_wants(sim, &group->want, index)) {
        sim_fail(sim, "%s is told of event %u, which nobody asked for", who, index);
    }
    struct srv_answered *state = state_of(group, index);
    /* What could not be parked comes again without counting as tried. */
    const bool first = retries == 0 && !replayed && state->life != sim->life;
    srv_count(sim, SRV_GROUP_EVENTS, 1);
    srv_count(sim, SRV_REDELIVERED, state->life != 0);
    state->life = sim->life;
    sim_trace(sim, "handed out: group and consumer, event, retries",
              group->number * 16 + consumer->number, index, retries);
    /* After a time-out the same may come again while it is still held. */
    struct srv_held *held = held_of(consumer, id);
    if (held != NULL) {
        if (group->timeout_ms == 0) {
            sim_fail(sim, "%s is told of event %u while it holds it", who, index);
        }
        held->used = false;
        consumer->held_count--;
    }
    check_pinned(sim, consumer, index, first);
    /* Events that timed out are still in our hands. */
    if (group->timeout_ms != 0 && consumer->held_count >= consumer->buffer_size) {
        for (size_t i = 0; i < SRV_HELD_MAX; i++) {
            if (consumer->held[i].used) {
                consumer->held[i].used = false;
                consumer->held_count--;
                break;
            }
        }
    }
    hold(sim, consumer, index, id);
}

static void on_consumer_end(struct sim *sim, struct srv_call *call)
{
    struct srv_consumer *consumer = call->owner;
    sim_trace(sim, "consumer ended: group and consumer, status",
              consumer->group->number * 16 + consumer->number, (uint64_t)(int64_t)call->status, 0);
    forget_held(consumer);
    consumer->confirmed = false;
    if (!consumer->again) {
        consumer->again = true;
        sim_after_always(sim, rng_exponential(&srv_of(sim)->rng_clients, SIM_SECOND / 2),
                         on_consumer_again, consumer, 0);
    }
}

static void consume(struct sim *sim, struct srv_consumer *consumer)
{
    struct srv_message *message = &srv_of(sim)->message;
    const struct srv_group *group = consumer->group;
    if (!group->created || srv_call_is_on(&consumer->call) ||
        !srv_call_start(sim, consumer->peer, &consumer->call, PS "Read")) {
        return;
    }
    forget_held(consumer);
    message->size = 0;
    const size_t options = srv_put_begin(message, 1);
    put_name(message, group, 1, 5);
    srv_put_text(message, 2, group->name);
    srv_put_u64(message, 3, consumer->buffer_size);
    const size_t mark = srv_put_begin(message, 4);
    srv_put_bytes(message, 1, NULL, 0);
    srv_put_end(message, mark);
    srv_put_end(message, options);
    srv_call_send(sim, &consumer->call, srv_message(message), false);
    srv_count(sim, SRV_CONSUMERS, 1);
}

static void on_consumer_again(struct sim *sim, void *object, uint64_t number)
{
    struct srv_consumer *consumer = object;
    (void)number;
    consumer->again = false;
    consume(sim, consumer);
}

static void on_consumer_connected(struct sim *sim, void *actor)
{
    consume(sim, actor);
}

static void on_leave(struct sim *sim, void *object, uint64_t number)
{
    struct srv_consumer *consumer = object;
    struct srv *srv = srv_of(sim);
    (void)number;
    if (sim->calm) {
        return;
    }
    if (rng_percent(&srv->rng_clients, 50)) {
        srv_peer_drop(sim, consumer->peer);
    } else if (srv_call_is_on(&consumer->call)) {
        srv_call_cancel(sim, &consumer->call);
        consumer->call.status = -1;
        on_consumer_end(sim, &consumer->call);
    }
    sim_after_always(sim, rng_exponential(&srv->rng_clients, srv->config.leave_us), on_leave,
                     consumer, 0);
}

/* ---- The group ---- */

static void send_create(struct sim *sim, struct srv_group *group)
{
    static const char *const strategies[] = {"DispatchToSingle", "RoundRobin", "Pinned",
                                             "PinnedByCorrelation"};
    struct srv_message *message = &srv_of(sim)->message;
    message->size = 0;
    const size_t options = srv_put_begin(message, 1);
    size_t mark = srv_put_begin(message, group->want.kind == SRV_ALL ? 5 : 4);
    if (group->want.kind == SRV_ALL) {
        srv_put_bytes(message, 2, NULL, 0);
        const size_t filter = srv_put_begin(message, 4);
        const size_t expression = srv_put_begin(message, 1);
        srv_put_text(message, 2, group->want.text);
        srv_put_end(message, expression);
        srv_put_u64(message, 3, 32);
        srv_put_u64(message, 5, 1);
        srv_put_end(message, filter);
    } else {
        srv_put_stream(message, 1, group->want.name);
        srv_put_bytes(message, 3, NULL, 0);
    }
    srv_put_end(message, mark);
    srv_put_text(message, 2, group->name);
    mark = srv_put_begin(message, 3);
    srv_put_u64(message, 5, (uint64_t)group->max_retries);
    srv_put_u64(message, 7, 1 + group->number * 3);
    srv_put_u64(message, 8, 5 + group->number * 7);
    srv_put_u64(message, 10, 20 + group->number * 10);
    srv_put_u64(message, 11, 10);
    srv_put_u64(message, 12, 20);
    srv_put_u64(message, 14, group->timeout_ms);
    srv_put_u64(message, 15, 1500);
    srv_put_text(message, 16, strategies[group->strategy]);
    srv_put_end(message, mark);
    srv_put_end(message, options);
    srv_call_send(sim, &group->call, srv_message(message), true);
}

static void send_replay(struct sim *sim, struct srv_group *group)
{
    struct srv_message *message = &srv_of(sim)->message;
    message->size = 0;
    const size_t options = srv_put_begin(message, 1);
    srv_put_text(message, 1, group->name);
    put_name(message, group, 2, 3);
    srv_put_bytes(message, 5, NULL, 0);
    srv_put_end(message, options);
    srv_call_send(sim, &group->call, srv_message(message), true);
    srv_count(sim, SRV_REPLAYS, 1);
}

static void manage(struct sim *sim, struct srv_group *group)
{
    if ((group->created && !group->asked_replay) || srv_call_is_on(&group->call) ||
        !srv_call_start(sim, group->peer, &group->call,
                        group->created ? PS "ReplayParked" : PS "Create")) {
        return;
    }
    if (group->created) {
        send_replay(sim, group);
    } else {
        send_create(sim, group);
    }
}

static void on_group_message(struct sim *sim, struct srv_call *call, struct stele_bytes message)
{
    (void)sim;
    (void)call;
    (void)message;
}

static void on_group_end(struct sim *sim, struct srv_call *call)
{
    struct srv_group *group = call->owner;
    sim_trace(sim, "group asked: number, status", group->number, (uint64_t)(int64_t)call->status,
              group->created);
    if (group->created) {
        group->asked_replay = group->asked_replay && call->status != STELE_GRPC_OK;
    } else if (call->status == STELE_GRPC_OK || call->status == STELE_GRPC_ALREADY_EXISTS) {
        group->created = true;
        for (uint32_t i = 0; i < group->consumers_count; i++) {
            consume(sim, &group->consumers[i]);
        }
    }
    if (!group->again) {
        group->again = true;
        sim_after_always(sim, SIM_SECOND, on_group_again, group, 0);
    }
}

static void on_group_again(struct sim *sim, void *object, uint64_t number)
{
    struct srv_group *group = object;
    (void)number;
    group->again = false;
    manage(sim, group);
}

static void on_group_connected(struct sim *sim, void *actor)
{
    manage(sim, actor);
}

static void on_replay(struct sim *sim, void *object, uint64_t number)
{
    struct srv_group *group = object;
    struct srv *srv = srv_of(sim);
    (void)number;
    group->asked_replay = true;
    manage(sim, group);
    const uint64_t mean_us = srv->config.replay_us == 0 ? 20 * SIM_SECOND : srv->config.replay_us;
    sim_after_always(sim, rng_exponential(&srv->rng_clients, mean_us), on_replay, group, 0);
}

static void draw_group(struct rng *rng, struct srv_group *group)
{
    struct srv_want *want = &group->want;
    group->strategy = (uint32_t)rng_below(rng, 4);
    group->max_retries = (int32_t)rng_between(rng, 0, 6);
    group->timeout_ms = group->strategy >= PINNED ? 0 : (uint32_t)rng_log(rng, 2000, 20000);
    if (rng_percent(rng, 50)) {
        want->kind = SRV_ALL;
        want->filtered = true;
        (void)snprintf(want->text, sizeof want->text, "acct-");
        want->texts[0] = want->text;
        want->filter.stream_prefixes = want->texts;
        want->filter.stream_prefixes_count = 1;
    } else {
        want->kind = SRV_STREAM;
        (void)snprintf(want->name, sizeof want->name, "acct-%u", (unsigned)rng_below(rng, 3));
    }
}

void srv_group_start(struct sim *sim, struct srv_group *group, uint32_t number)
{
    struct srv *srv = srv_of(sim);
    struct rng *rng = &srv->rng_clients;
    group->number = number;
    (void)snprintf(group->name, sizeof group->name, "group-%u", number);
    draw_group(rng, group);
    group->call =
        (struct srv_call){.owner = group, .on_message = on_group_message, .on_end = on_group_end};
    group->peer = srv_peer_create(sim, 65535, group, on_group_connected);
    group->consumers_count = (uint32_t)rng_between(rng, 1, SRV_CONSUMERS_MAX);
    for (uint32_t i = 0; i < group->consumers_count; i++) {
        struct srv_consumer *consumer = &group->consumers[i];
        *consumer = (struct srv_consumer){
            .group = group,
            .number = i,
            .buffer_size = (uint32_t)rng_log(rng, 1, 20),
            .call = {.owner = consumer,
                     .on_message = on_consumer_message,
                     .on_end = on_consumer_end},
        };
        consumer->peer = srv_peer_create(
            sim, (uint32_t)rng_log(rng, srv->config.window_min, srv->config.window_max), consumer,
            on_consumer_connected);
        if (srv->config.leave_us != 0) {
            sim_after_always(sim, rng_exponential(rng, srv->config.leave_us), on_leave, consumer,
                             0);
        }
    }
    group->replays = srv->config.replay_us != 0;
    if (group->replays) {
        sim_after_always(sim, rng_exponential(rng, srv->config.replay_us), on_replay, group, 0);
    }
}

/* Hanging consumers answer, and what is parked is asked for. */
void srv_group_calm(struct sim *sim, struct srv_group *group)
{
    for (uint32_t i = 0; i < group->consumers_count; i++) {
        srv_peer_drop(sim, group->consumers[i].peer);
    }
    if (!group->replays) {
        group->replays = true;
        sim_after_always(sim, 20 * SIM_SECOND, on_replay, group, 0);
    }
}

/* ---- What was parked ---- */

static uint32_t parked_stream(const struct sim *sim, const struct srv_group *group)
{
    char name[128];
    (void)snprintf(name, sizeof name, "$persistentsubscription-%s::%s-parked",
                   group->want.kind == SRV_ALL ? "$all" : group->want.name, group->name);
    return model_stream(&sim->model, name);
}

static bool has_parked(const struct sim *sim, const struct srv_group *group)
{
    const uint32_t stream = parked_stream(sim, group);
    return stream != MODEL_NONE && model_limits(&sim->model, stream, false).truncate_before <
                                       model_next(&sim->model, stream, false);
}

/* The first event that nobody has answered for; model.visible if there is none. */
static uint32_t undone(const struct sim *sim, struct srv_group *group)
{
    for (; group->done_to < sim->model.visible; group->done_to++) {
        const uint32_t i = group->done_to;
        const bool done = i < group->states_capacity && group->states[i].done;
        if (!done && srv_truth_wants(sim, &group->want, i) &&
            !srv_truth_may_lack(sim, &group->want, i)) {
            return i;
        }
    }
    return sim->model.visible;
}

bool srv_group_is_at_peace(const struct sim *sim, struct srv_group *group)
{
    return group->created && undone(sim, group) == sim->model.visible && !has_parked(sim, group);
}

void srv_group_print(const struct sim *sim, struct srv_group *group)
{
    if (srv_group_is_at_peace(sim, group)) {
        return;
    }
    const uint32_t index = undone(sim, group);
    printf("  group %u (%s of %s): created %d, has parked %d, answered for up to event %u of %u "
           "(delivered %d), consumers:",
           group->number, group->name, group->want.kind == SRV_ALL ? "$all" : group->want.name,
           group->created, has_parked(sim, group), index, sim->model.visible,
           index < group->states_capacity && group->states[index].life != 0);
    for (uint32_t i = 0; i < group->consumers_count; i++) {
        printf(" %d/%u", group->consumers[i].confirmed, group->consumers[i].held_count);
    }
    printf("\n");
}

/* Each event was answered for, or is parked. */
void srv_group_check_done(struct sim *sim, struct srv_group *group)
{
    const uint32_t index = undone(sim, group);
    if (index < sim->model.visible) {
        const struct model_event *event = &sim->model.events[index];
        sim_fail(sim, "group %u: nobody has answered for event %u (revision %llu of %s), %s",
                 group->number, index, (unsigned long long)event->revision,
                 sim->model.streams.names[event->stream],
                 index < group->states_capacity && group->states[index].life != 0
                     ? "which was handed out"
                     : "which was never handed out");
    }
    if (has_parked(sim, group)) {
        sim_fail(sim, "group %u: events are parked although they were replayed", group->number);
    }
}

void srv_group_end(struct sim *sim, struct srv_group *group)
{
    srv_peer_destroy(sim, group->peer);
    for (uint32_t i = 0; i < group->consumers_count; i++) {
        srv_peer_destroy(sim, group->consumers[i].peer);
        free(group->consumers[i].last_of_stream);
    }
    free(group->states);
}
