/* Appends over the network. A client that is not told the outcome repeats the same append, with the
 * same ids, until it is.
 *
 * What is acknowledged is durable, where the answer says, once. What was refused never appears. */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>

#define PATIENCE_US (8 * SIM_SECOND)

static void on_think(struct sim *sim, void *object, uint64_t number);

static void think(struct sim *sim, struct srv_appender *appender)
{
    struct srv *srv = srv_of(sim);
    uint64_t pause = rng_exponential(&srv->rng_clients, srv->config.think_us);
    pause = rng_percent(&srv->rng_clients, 30) ? pause / 100 : pause;
    sim_after_always(sim, pause, on_think, appender, 0);
}

static _Noreturn void fail(struct sim *sim, const struct srv_appender *appender, const char *what,
                           uint64_t number)
{
    sim_fail(sim, "appender %u (%u events to %s, way %d, try %u): %s: %llu", appender->number,
             appender->count, appender->stream, (int)appender->way, appender->tries, what,
             (unsigned long long)number);
}

/* ---- Outcomes ---- */

static void check_done(struct sim *sim, const struct srv_appender *appender, uint64_t revision,
                       uint64_t position)
{
    const struct model *model = &sim->model;
    const uint32_t stream = model_stream(model, appender->stream);
    if (stream == MODEL_NONE || revision >= model->stream_of[stream].count) {
        fail(sim, appender, "it is acknowledged at a revision that there is not", revision);
    }
    for (uint32_t i = 0; i < appender->count; i++) {
        const uint32_t place = (uint32_t)revision - (appender->count - 1) + i;
        const uint32_t index = model->stream_of[stream].events[place];
        const struct model_event *event = &model->events[index];
        if (index >= model->visible) {
            fail(sim, appender, "it is acknowledged before it is durable", event->position);
        }
        if (memcmp(event->id, appender->ids[i], 16) != 0) {
            fail(sim, appender, "it is acknowledged, but there is another event", event->position);
        }
        if (i + 1 == appender->count && event->position != position) {
            fail(sim, appender, "it is acknowledged at another position", position);
        }
    }
}

static void done(struct sim *sim, struct srv_appender *appender, uint64_t revision,
                 uint64_t position)
{
    check_done(sim, appender, revision, position);
    srv_count(sim, SRV_APPENDS, 1);
    srv_count(sim, SRV_REPEATED, appender->tries > 1);
    sim_trace(sim, "acknowledged: appender, position, tries", appender->number, position,
              appender->tries);
    appender->busy = false;
    think(sim, appender);
}

static void refused(struct sim *sim, struct srv_appender *appender)
{
    struct srv *srv = srv_of(sim);
    if (srv->refused_count + appender->count > srv->refused_capacity) {
        srv->refused_capacity = srv->refused_capacity * 2 + 64;
        srv->refused = realloc(srv->refused, srv->refused_capacity * sizeof *srv->refused);
        STELE_ASSERT(srv->refused != NULL);
    }
    for (uint32_t i = 0; i < appender->count; i++) {
        memcpy(srv->refused[srv->refused_count++], appender->ids[i], 16);
    }
    srv_count(sim, SRV_REFUSED, 1);
    sim_trace(sim, "refused: appender, tries", appender->number, appender->tries, 0);
    appender->busy = false;
    think(sim, appender);
}

void srv_appender_check_refused(struct sim *sim)
{
    const struct srv *srv = srv_of(sim);
    for (uint32_t e = 0; e < sim->model.count; e++) {
        const struct model_event *event = &sim->model.events[e];
        if (strncmp(sim->model.streams.names[event->stream], "acct-", 5) != 0) {
            continue;
        }
        for (size_t i = 0; i < srv->refused_count; i++) {
            if (memcmp(event->id, srv->refused[i], 16) == 0 && !event->optional) {
                sim_fail(sim, "an append was refused, but its event is there at %llu",
                         (unsigned long long)event->position);
            }
        }
    }
}

/* ---- Asking ---- */

static void put_expected(struct srv_message *message, uint64_t expected)
{
    switch (expected) {
    case STELE_EXPECT_ANY:
        srv_put_bytes(message, 4, NULL, 0);
        break;
    case STELE_EXPECT_NO_STREAM:
        srv_put_bytes(message, 3, NULL, 0);
        break;
    default:
        srv_put_u64(message, 2, expected);
        break;
    }
}

static void put_entry(struct srv_message *message, uint32_t field, const char *key,
                      const char *value)
{
    const size_t mark = srv_put_begin(message, field);
    srv_put_text(message, 1, key);
    srv_put_text(message, 2, value);
    srv_put_end(message, mark);
}

static void put_proposed(struct srv_message *message, uint32_t field,
                         const struct srv_appender *appender, uint32_t i)
{
    const size_t mark = srv_put_begin(message, field);
    srv_put_uuid(message, 1, appender->ids[i]);
    put_entry(message, 2, "type", appender->types[i]);
    put_entry(message, 2, "content-type", "application/json");
    srv_put_text(message, 3, appender->metadata[i]);
    srv_put_text(message, 4, appender->data[i]);
    srv_put_end(message, mark);
}

static void send_append(struct sim *sim, struct srv_appender *appender)
{
    struct srv_message *message = &srv_of(sim)->message;
    message->size = 0;
    const size_t mark = srv_put_begin(message, 1);
    srv_put_stream(message, 1, appender->stream);
    put_expected(message, appender->expected);
    srv_put_end(message, mark);
    srv_call_send(sim, &appender->call, srv_message(message), false);
    for (uint32_t i = 0; i < appender->count; i++) {
        message->size = 0;
        put_proposed(message, 2, appender, i);
        srv_call_send(sim, &appender->call, srv_message(message), i + 1 == appender->count);
    }
}

static void correlation_of(const struct srv_appender *appender, uint8_t id[16])
{
    memset(id, 0x5a, 16);
    stele_store_u64le(id, appender->correlation);
}

/* One message, or two of which the second is the last. */
static void send_batch(struct sim *sim, struct srv_appender *appender)
{
    struct srv_message *message = &srv_of(sim)->message;
    uint8_t correlation[16];
    correlation_of(appender, correlation);
    const uint32_t first = appender->count > 2 ? appender->count / 2 : appender->count;
    for (uint32_t at = 0; at < appender->count;) {
        const uint32_t end = at == 0 ? first : appender->count;
        message->size = 0;
        srv_put_uuid(message, 1, correlation);
        if (at == 0) {
            const size_t mark = srv_put_begin(message, 2);
            srv_put_stream(message, 1, appender->stream);
            put_expected(message, appender->expected);
            srv_put_end(message, mark);
        }
        for (; at < end; at++) {
            put_proposed(message, 3, appender, at);
        }
        srv_put_u64(message, 4, at == appender->count);
        srv_call_send(sim, &appender->call, srv_message(message), false);
    }
}

static void send_native(struct sim *sim, struct srv_appender *appender)
{
    struct srv_message *message = &srv_of(sim)->message;
    const uint64_t expected = appender->expected;
    message->size = 0;
    srv_put_u64(message, 1, appender->correlation);
    const size_t mark = srv_put_begin(message, 2);
    srv_put_text(message, 1, appender->stream);
    if (expected != STELE_EXPECT_ANY) {
        srv_put_u64(message, 2, expected == STELE_EXPECT_NO_STREAM ? 1 : 3);
        srv_put_u64(message, 3, expected == STELE_EXPECT_NO_STREAM ? 0 : expected);
    }
    for (uint32_t i = 0; i < appender->count; i++) {
        const size_t draft = srv_put_begin(message, 4);
        srv_put_bytes(message, 1, appender->ids[i], 16);
        srv_put_text(message, 2, appender->types[i]);
        srv_put_text(message, 3, appender->data[i]);
        srv_put_text(message, 4, appender->metadata[i]);
        srv_put_end(message, draft);
    }
    srv_put_end(message, mark);
    srv_call_send(sim, &appender->call, srv_message(message), appender->way == SRV_NATIVE);
}

/* Nothing is heard: the call is given up, perhaps with the whole connection. */
static void on_patience(struct sim *sim, void *object, uint64_t number)
{
    struct srv_appender *appender = object;
    struct srv *srv = srv_of(sim);
    if (!appender->busy || appender->patience != number || !appender->sent) {
        return;
    }
    if (rng_percent(&srv->rng_clients, 50)) {
        srv_peer_drop(sim, appender->peer);
    } else if (srv_call_is_on(&appender->call)) {
        srv_call_cancel(sim, &appender->call);
        appender->call.on_end(sim, &appender->call);
    }
}

static void ask(struct sim *sim, struct srv_appender *appender)
{
    static const char *const paths[] = {"/event_store.client.streams.Streams/Append",
                                        "/event_store.client.streams.Streams/BatchAppend",
                                        "/stele.v1.EventStore/Append",
                                        "/stele.v1.EventStore/AppendEvents"};
    if (!appender->busy || appender->sent) {
        return;
    }
    if (!srv_call_is_on(&appender->call) &&
        !srv_call_start(sim, appender->peer, &appender->call, paths[appender->way])) {
        return; /* When it is connected. */
    }
    appender->sent = true;
    appender->tries++;
    appender->patience++;
    sim_after_always(sim, PATIENCE_US, on_patience, appender, appender->patience);
    switch (appender->way) {
    case SRV_APPEND:
        send_append(sim, appender);
        break;
    case SRV_BATCH:
        send_batch(sim, appender);
        break;
    default:
        send_native(sim, appender);
        break;
    }
}

/* ---- Answers ---- */

static void append_answer(struct sim *sim, struct srv_appender *appender,
                          struct stele_bytes message)
{
    struct stele_pb_field field, position;
    if (srv_get(message, 1, &field)) {
        if (!srv_get(field.bytes, 3, &position)) {
            fail(sim, appender, "the answer has no position", message.size);
        }
        done(sim, appender, srv_get_u64(field.bytes, 1), srv_get_u64(position.bytes, 1));
    } else if (srv_get(message, 2, &field)) {
        refused(sim, appender);
    } else {
        fail(sim, appender, "the answer cannot be read", message.size);
    }
}

static void batch_answer(struct sim *sim, struct srv_appender *appender, struct stele_bytes message)
{
    struct stele_pb_field field, inner;
    uint8_t correlation[16], got[16];
    correlation_of(appender, correlation);
    if (!srv_get(message, 1, &field) || !srv_get_uuid(field.bytes, got) ||
        memcmp(correlation, got, 16) != 0) {
        return; /* Of an earlier one that was given up. */
    }
    appender->sent = false;
    if (srv_get(message, 3, &field)) {
        if (!srv_get(field.bytes, 3, &inner)) {
            fail(sim, appender, "the answer has no position", message.size);
        }
        done(sim, appender, srv_get_u64(field.bytes, 1), srv_get_u64(inner.bytes, 1));
    } else if (srv_get(message, 2, &field)) {
        /* google.rpc.Status {1: code, 2: text, 3: google.protobuf.Any {1: type}}. */
        const bool wrong =
            srv_get(field.bytes, 3, &inner) && srv_get(inner.bytes, 1, &inner) &&
            memmem(inner.bytes.data, inner.bytes.size, "WrongExpectedVersion", 20) != NULL;
        if (wrong) {
            refused(sim, appender);
        } else {
            sim_trace(sim, "batch error: appender, code", appender->number,
                      srv_get_u64(field.bytes, 1), 0);
            srv_peer_drop(sim, appender->peer);
        }
    } else {
        fail(sim, appender, "the answer cannot be read", message.size);
    }
}

static void native_answer(struct sim *sim, struct srv_appender *appender,
                          struct stele_bytes message)
{
    if (srv_get_u64(message, 1) != appender->correlation) {
        return;
    }
    appender->sent = false;
    const uint64_t outcome = srv_get_u64(message, 2);
    if (outcome == 0) {
        done(sim, appender, srv_get_u64(message, 6), srv_get_u64(message, 4));
    } else if (outcome == 1) {
        refused(sim, appender);
    } else if (appender->way == SRV_STREAMING) {
        sim_trace(sim, "native error: appender, outcome", appender->number, outcome, 0);
        srv_peer_drop(sim, appender->peer); /* And again. */
    }
}

static void on_message(struct sim *sim, struct srv_call *call, struct stele_bytes message)
{
    struct srv_appender *appender = call->owner;
    if (!appender->busy) {
        return;
    }
    switch (appender->way) {
    case SRV_APPEND:
        appender->sent = false;
        append_answer(sim, appender, message);
        break;
    case SRV_BATCH:
        batch_answer(sim, appender, message);
        break;
    default:
        native_answer(sim, appender, message);
        break;
    }
}

static void on_retry(struct sim *sim, void *object, uint64_t number)
{
    (void)number;
    ask(sim, object);
}

static void on_end(struct sim *sim, struct srv_call *call)
{
    struct srv_appender *appender = call->owner;
    appender->sent = false;
    if (!appender->busy) {
        return;
    }
    sim_trace(sim, "append ended: appender, status", appender->number,
              (uint64_t)(int64_t)call->status, 0);
    sim_after_always(sim, rng_exponential(&srv_of(sim)->rng_clients, SIM_SECOND / 2), on_retry,
                     appender, 0);
}

static void on_connected(struct sim *sim, void *actor)
{
    ask(sim, actor);
}

/* ---- What is asked ---- */

static void draw_event(struct sim *sim, struct srv_appender *appender, uint32_t i)
{
    static const char *const types[] = {"Deposited", "Withdrawn", "Moved", "$special"};
    struct srv *srv = srv_of(sim);
    struct rng *rng = &srv->rng_clients;
    const uint64_t id = ++srv->next_id;
    memset(appender->ids[i], 0xc1, 16);
    stele_store_u64le(appender->ids[i], id * UINT64_C(0x9e3779b97f4a7c15));
    stele_store_u64le(appender->ids[i] + 8, id | UINT64_C(0x8000) << 48);
    (void)snprintf(appender->types[i], sizeof appender->types[i], "%s",
                   types[rng_percent(rng, 95) ? rng_below(rng, 3) : 3]);
    const uint64_t size = rng_percent(rng, 90) ? rng_log(rng, 1, 100) : rng_log(rng, 100, 1900);
    (void)snprintf(appender->data[i], sizeof appender->data[i], "{\"n\":%llu,\"fill\":\"%0*d\"}",
                   (unsigned long long)id, (int)size, 0);
    (void)snprintf(appender->metadata[i], sizeof appender->metadata[i],
                   "{\"$correlationId\":\"c%llu\"}", (unsigned long long)rng_below(rng, 5));
}

static uint64_t draw_expected(struct sim *sim, const struct srv_appender *appender)
{
    struct rng *rng = &srv_of(sim)->rng_clients;
    if (rng_percent(rng, 50)) {
        return STELE_EXPECT_ANY;
    }
    const uint32_t stream = model_stream(&sim->model, appender->stream);
    const uint64_t next = model_next(&sim->model, stream, false);
    return next == 0 ? STELE_EXPECT_NO_STREAM : next - 1;
}

static void on_think(struct sim *sim, void *object, uint64_t number)
{
    struct srv_appender *appender = object;
    struct rng *rng = &srv_of(sim)->rng_clients;
    (void)number;
    if (sim->calm || appender->busy) {
        return;
    }
    const enum srv_way way = (enum srv_way)rng_below(rng, SRV_WAYS);
    if (way != appender->way || rng_percent(rng, 10)) {
        /* A stream of appends that is no longer needed. */
        if (srv_call_is_on(&appender->call)) {
            srv_call_cancel(sim, &appender->call);
        }
        appender->way = way;
    }
    appender->busy = true;
    appender->sent = false;
    appender->tries = 0;
    appender->correlation++;
    appender->count = (uint32_t)(rng_percent(rng, 60) ? 1 : rng_between(rng, 1, SRV_BATCH_MAX));
    (void)snprintf(appender->stream, sizeof appender->stream, "acct-%u",
                   (unsigned)rng_below(rng, 4));
    for (uint32_t i = 0; i < appender->count; i++) {
        draw_event(sim, appender, i);
    }
    appender->expected = draw_expected(sim, appender);
    ask(sim, appender);
}

void srv_appender_start(struct sim *sim, struct srv_appender *appender, uint32_t number)
{
    appender->number = number;
    appender->call =
        (struct srv_call){.owner = appender, .on_message = on_message, .on_end = on_end};
    appender->peer = srv_peer_create(sim, 65535, appender, on_connected);
    think(sim, appender);
}

void srv_appender_end(struct sim *sim, struct srv_appender *appender)
{
    srv_peer_destroy(sim, appender->peer);
}
