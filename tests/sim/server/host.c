/* The server's life: made of the parts that src/server makes it of, in the same order, and unmade in
 * the same order, whether it has been told to end or dies.
 *
 * A death is not a call to abort(): the network is cut first and the engine answers nothing any more,
 * so that nothing that is done after it can be seen; then everything has to be released. */
#include "api/kurrent/kurrent.h"
#include "api/native/native.h"
#include "server.h"

#include <stdio.h>

#define PATIENCE_US (300 * SIM_MS)
#define DRAIN_US (10 * SIM_SECOND)
#define STEPS_MAX 6 /* Of one turn. */

static void on_turn(struct sim *sim, void *object, uint64_t number);

/* ---- Time ---- */

struct simloop *srv_host_enter(struct sim *sim, uint32_t loop)
{
    struct simloop *entered = &srv_of(sim)->host.loops[loop];
    entered->now_us = SRV_LOOP_START_US + (int64_t)sim->now_us;
    return entered;
}

static void flush_links(struct sim *sim, uint32_t loop)
{
    struct srv *srv = srv_of(sim);
    for (size_t i = 0; i < SRV_LINKS_MAX && srv->host.up; i++) {
        struct srv_link *link = &srv->links[i];
        if (link->used && link->conn != NULL && link->loop == loop &&
            (link->flushing || stele_http_conn_is_over(link->conn))) {
            srv_link_flush(sim, link);
        }
    }
}

void srv_host_wake(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    if (!srv->host.up) {
        return;
    }
    for (uint32_t i = 0; i < srv->config.loops; i++) {
        const struct simloop *loop = srv_host_enter(sim, i);
        const int64_t due = simloop_due_us(loop);
        if (due == INT64_MAX) {
            continue;
        }
        uint64_t at = (uint64_t)(due - SRV_LOOP_START_US);
        at = at < sim->now_us ? sim->now_us : at;
        if (at < srv->host.turn_due_us[i]) {
            srv->host.turn_due_us[i] = at;
            sim_after(sim, at - sim->now_us + rng_exponential(&srv->rng_net, srv->config.turn_us),
                      on_turn, NULL, ++srv->host.turns * SRV_LOOPS_MAX + i);
            srv->host.turn_number[i] = srv->host.turns;
        }
    }
}

static void on_turn(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    struct srv *srv = srv_of(sim);
    const uint32_t i = (uint32_t)(number % SRV_LOOPS_MAX);
    if (!srv->host.up || srv->host.turn_number[i] != number / SRV_LOOPS_MAX) {
        return; /* Something was due earlier, and did it. */
    }
    srv->host.turn_due_us[i] = UINT64_MAX;
    struct simloop *loop = srv_host_enter(sim, i);
    const uint64_t steps = rng_between(&srv->rng_net, 1, STEPS_MAX);
    for (uint64_t step = 0; step < steps && simloop_step(loop); step++) {
    }
    flush_links(sim, i);
}

/* ---- Requests ---- */

static void on_request(void *context, struct stele_exchange *exchange)
{
    struct srv_host *host = context;
    STELE_ASSERT(stele_grpc_wants(exchange));
    stele_grpc_on_request(host->grpc, exchange);
}

static void on_body(void *context, struct stele_exchange *exchange, struct stele_bytes bytes)
{
    stele_grpc_on_body(((struct srv_host *)context)->grpc, exchange, bytes);
}

static void on_end(void *context, struct stele_exchange *exchange)
{
    stele_grpc_on_end(((struct srv_host *)context)->grpc, exchange);
}

static void on_writable(void *context, struct stele_exchange *exchange)
{
    stele_grpc_on_writable(((struct srv_host *)context)->grpc, exchange);
}

static void on_close(void *context, struct stele_exchange *exchange, bool finished)
{
    stele_grpc_on_close(((struct srv_host *)context)->grpc, exchange, finished);
}

static void on_output(void *context, struct stele_http_conn *conn)
{
    (void)context;
    ((struct srv_link *)stele_http_conn_peer(conn)->owner)->flushing = true;
}

/* ---- Up ---- */

static int make(struct sim *sim, struct stele_error *err)
{
    struct srv *srv = srv_of(sim);
    struct srv_host *host = &srv->host;
    struct stele_server *server = &host->server;
    const struct stele_auth_options auth = {.insecure = true, .hash_on_loop = true};
    int outcome = STELE_OK;
    for (uint32_t i = 0; i < srv->config.loops && outcome == STELE_OK; i++) {
        host->hubs.at[i].loop = &host->loops[i].base;
        outcome = stele_hub_create(&host->engine.base, &host->loops[i].base, &host->hubs.at[i].hub);
        host->hubs.count += outcome == STELE_OK;
    }
    if (outcome == STELE_OK) {
        outcome = stele_auth_create(server->engine, server->home, &auth, &server->auth, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_groups_create(server->engine, server->cluster, host->hubs.at[0].hub,
                                      server->home, server->alloc, &server->groups, err);
    }
    if (outcome == STELE_OK) {
        struct stele_grpc_table table = {.methods = {NULL}};
        stele_kurrent_streams_register(&table);
        stele_kurrent_persistent_register(&table);
        stele_native_register(&table);
        outcome = stele_grpc_create(server, server->auth, &table, server->alloc, &host->grpc);
    }
    return outcome;
}

void srv_host_up(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    struct srv_host *host = &srv->host;
    struct stele_error err = {.outcome = STELE_OK};
    const uint64_t failures = sim->alloc.failures + host->alloc.failures;
    const uint64_t errors = sim->disk.counts.errors;
    STELE_ASSERT(!host->up);
    host->up = true;
    host->closing = SRV_OPEN;
    host->grpc = NULL;
    host->hubs = (struct stele_hubs){.count = 0};
    for (uint32_t i = 0; i < srv->config.loops; i++) {
        simloop_init(&host->loops[i], &host->alloc.base, sim->seed * 64 + sim->life * 4 + i);
        host->loops[i].wall_us = (int64_t)SRV_WALL_US;
        host->turn_due_us[i] = UINT64_MAX;
        (void)srv_host_enter(sim, i);
    }
    srv_engine_init(&host->engine, sim);
    host->server = (struct stele_server){
        .alloc = &host->alloc.base,
        .engine = &host->engine.base,
        .hubs = &host->hubs,
        .home = &host->loops[0].base,
        .advertised_host = "node",
        .advertised_port = 2113,
        .insecure = true,
        .append_size_max = 1u << 20,
        .event_size_max = 1u << 20,
    };
    stele_alone_init(&host->alone, &host->server);
    host->server.cluster = &host->alone.cluster;
    host->events = (struct stele_http_events){.on_request = on_request,
                                              .on_body = on_body,
                                              .on_end = on_end,
                                              .on_writable = on_writable,
                                              .on_close = on_close,
                                              .on_output = on_output};
    const int outcome = make(sim, &err);
    sim_trace(sim, "server up: outcome", (uint64_t)outcome, 0, 0);
    if (outcome != STELE_OK) {
        if (sim->alloc.failures + host->alloc.failures == failures &&
            sim->disk.counts.errors == errors && !sim->disk.dead) {
            sim_fail(sim, "the server does not start: %s (%d)", err.message, outcome);
        }
        srv_host_down(sim);
        sim_schedule_restart(sim, SIM_SECOND);
    }
}

/* ---- Down ---- */

static void run_all(struct sim *sim)
{
    bool moved = true;
    while (moved) {
        moved = false;
        for (uint32_t i = 0; i < srv_of(sim)->config.loops; i++) {
            moved = simloop_run(srv_host_enter(sim, i)) > 0 || moved;
        }
    }
}

static void on_stopped(struct stele_task *task)
{
    ((struct srv_host *)((char *)task - offsetof(struct srv_host, stopped)))->groups_stopped = true;
}

static void stop_groups(struct srv_host *host)
{
    host->groups_stopped = host->server.groups == NULL;
    host->stopped.run = on_stopped;
    if (host->server.groups != NULL) {
        stele_groups_stop(host->server.groups, &host->stopped);
    }
}

static void release(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    struct srv_host *host = &srv->host;
    stele_groups_destroy(host->server.groups);
    for (uint32_t i = 0; i < host->hubs.count; i++) {
        stele_hub_destroy(host->hubs.at[i].hub);
    }
    stele_auth_destroy(host->server.auth);
    run_all(sim);
    stele_grpc_destroy(host->grpc);
    for (uint32_t i = 0; i < srv->config.loops; i++) {
        if (simloop_due_us(&host->loops[i]) != INT64_MAX) {
            sim_fail(sim, "the server has ended, and something is left to do on loop %u", i);
        }
        simloop_deinit(&host->loops[i]);
    }
    if (host->engine.readings != 0 || host->engine.appends != 0) {
        sim_fail(sim, "the server has ended, and has %u readings and %u appends",
                 host->engine.readings, host->engine.appends);
    }
    if (host->alloc.bytes != 0 || host->alloc.blocks != 0) {
        sim_fail(sim, "the server has ended, and %llu bytes in %llu blocks are not released",
                 (unsigned long long)host->alloc.bytes, (unsigned long long)host->alloc.blocks);
    }
    host->up = false;
    host->closing = SRV_DOWN;
}

void srv_host_down(struct sim *sim)
{
    struct srv_host *host = &srv_of(sim)->host;
    if (!host->up) {
        return;
    }
    const uint32_t one_in = host->alloc.fail_one_in;
    host->alloc.fail_one_in = 0;
    host->engine.dying = true;
    srv_net_server_died(sim);
    sim_client_forget_asked(sim);
    run_all(sim);
    if (host->closing < SRV_STOPPING) {
        stop_groups(host);
    }
    run_all(sim);
    if (!host->groups_stopped) {
        sim_fail(sim, "the groups do not stop");
    }
    release(sim);
    host->alloc.fail_one_in = one_in;
    sim_trace(sim, "server down", 0, 0, 0);
}

/* ---- An orderly end ---- */

static void tell_unavailable(void *context, struct stele_exchange *exchange)
{
    (void)context;
    struct stele_call *call = stele_exchange_user(exchange);
    if (call != NULL && !stele_call_is_over(call)) {
        stele_call_fail(call, STELE_GRPC_UNAVAILABLE, "the server is shutting down");
    }
}

static void drain(struct sim *sim, bool tell)
{
    struct srv *srv = srv_of(sim);
    for (size_t i = 0; i < SRV_LINKS_MAX; i++) {
        struct srv_link *link = &srv->links[i];
        if (!link->used || link->conn == NULL) {
            continue;
        }
        (void)srv_host_enter(sim, link->loop);
        if (tell) {
            stele_http_conn_visit(link->conn, tell_unavailable, NULL);
        } else {
            stele_http_conn_drain(link->conn);
        }
        srv_link_flush(sim, link);
    }
}

bool srv_host_close(struct sim *sim)
{
    struct srv_host *host = &srv_of(sim)->host;
    if (!host->up) {
        return true;
    }
    const uint64_t waited = sim->now_us - host->closing_us;
    switch (host->closing) {
    case SRV_OPEN:
        host->closing = SRV_DRAINING;
        host->closing_us = sim->now_us;
        srv_count(sim, SRV_DRAINS, 1);
        drain(sim, false);
        return false;
    case SRV_DRAINING:
        if (!srv_net_is_empty(sim) && waited < PATIENCE_US) {
            return false;
        }
        host->closing = SRV_TOLD;
        drain(sim, true);
        return false;
    case SRV_TOLD:
        if (!srv_net_is_empty(sim) && waited < DRAIN_US) {
            return false;
        }
        srv_net_server_died(sim); /* What is left is cut. */
        host->closing = SRV_STOPPING;
        (void)srv_host_enter(sim, 0);
        stop_groups(host);
        return false;
    default:
        break;
    }
    if (!host->groups_stopped) {
        return false;
    }
    const uint32_t one_in = host->alloc.fail_one_in;
    host->alloc.fail_one_in = 0;
    run_all(sim);
    if (host->engine.appends > 0) { /* Somebody's who has gone: it is answered all the same. */
        host->alloc.fail_one_in = one_in;
        return false;
    }
    release(sim);
    host->alloc.fail_one_in = one_in;
    return true;
}

/* ---- While it runs ---- */

/* Nobody who does not read makes the server keep more than this for them: what the limits say of the
 * connection, and one message beyond of each exchange, since it is full only then; a consumer gets
 * its buffer size of events whether it reads or not. */
static size_t bound_of(const struct sim *sim, const struct stele_http_conn *conn)
{
    const struct srv *srv = srv_of(sim);
    const size_t message = srv->event_size_max * 2 + 4096;
    return srv->config.limits.conn_output_high +
           stele_http_conn_exchanges(conn) * (8192 + message * (1 + SRV_HELD_MAX));
}

void srv_host_check(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    for (size_t i = 0; i < SRV_LINKS_MAX && srv->host.up; i++) {
        const struct srv_link *link = &srv->links[i];
        if (link->used && link->conn != NULL &&
            stele_http_conn_pending(link->conn) > bound_of(sim, link->conn)) {
            sim_fail(sim, "the server keeps %llu bytes for link %u, which are more than %llu",
                     (unsigned long long)stele_http_conn_pending(link->conn), link->number,
                     (unsigned long long)bound_of(sim, link->conn));
        }
    }
}
