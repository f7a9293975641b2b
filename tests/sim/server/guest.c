/* What a run with a server is like, and the hooks of ../sim.h. */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>

static bool coin(struct rng *rng)
{
    return rng_percent(rng, 50);
}

static void draw_network(struct srv_config *config, struct rng *rng)
{
    config->delay_us = rng_log(rng, 50, 100 * SIM_MS);
    config->piece_max = (uint32_t)rng_log(rng, 256, 65536);
    config->tiny_percent = coin(rng) ? 0 : (uint32_t)rng_log(rng, 1, 40);
    config->pipe_size = (uint32_t)rng_log(rng, 2048, 262144);
    config->reset_us = coin(rng) ? 0 : rng_log(rng, SIM_SECOND, SIM_MINUTE);
    config->half_open_percent = coin(rng) ? 0 : (uint32_t)rng_below(rng, 60);
    config->stall_us = coin(rng) ? 0 : rng_log(rng, SIM_SECOND, SIM_MINUTE);
}

static void draw_server(struct srv_config *config, struct rng *rng)
{
    struct stele_http_limits *limits = &config->limits;
    *limits = (struct stele_http_limits)STELE_HTTP_LIMITS_INIT;
    config->loops = (uint32_t)rng_between(rng, 1, SRV_LOOPS_MAX);
    config->turn_us = rng_log(rng, 1, 2 * SIM_MS);
    config->alloc_one_in = rng_percent(rng, 30) ? (uint32_t)rng_log(rng, 300, 50000) : 0;
    if (coin(rng)) {
        limits->output_high = (uint32_t)rng_log(rng, 512, 65536);
        limits->output_low = limits->output_high / 4;
        limits->conn_output_high = limits->output_high * (uint32_t)rng_between(rng, 1, 8);
    }
    if (coin(rng)) {
        limits->window = (uint32_t)rng_log(rng, 16384, 1u << 20);
        limits->keepalive_ms = (uint32_t)rng_log(rng, 1000, 10000);
        limits->keepalive_timeout_ms = limits->keepalive_ms;
    }
}

static void draw_callers(struct srv_config *config, struct rng *rng)
{
    config->appenders = (uint32_t)rng_between(rng, 1, SRV_APPENDERS_MAX);
    config->followers = (uint32_t)rng_between(rng, 0, SRV_FOLLOWERS_MAX);
    config->groups = (uint32_t)rng_below(rng, SRV_GROUPS_MAX + 1);
    config->think_us = rng_log(rng, 200 * SIM_MS, 5 * SIM_SECOND);
    config->slow_percent = coin(rng) ? 0 : (uint32_t)rng_below(rng, 80);
    config->window_min = (uint32_t)rng_log(rng, 64, 16384);
    config->window_max = config->window_min * (uint32_t)rng_log(rng, 1, 256);
    config->leave_us = coin(rng) ? 0 : rng_log(rng, 2 * SIM_SECOND, SIM_MINUTE);
    config->hang_percent = coin(rng) ? 0 : (uint32_t)rng_log(rng, 1, 20);
    config->nack_percent = coin(rng) ? 0 : (uint32_t)rng_log(rng, 1, 40);
    config->replay_us = coin(rng) ? 0 : rng_log(rng, 5 * SIM_SECOND, SIM_MINUTE);
}

/* Damage at rest is for the runs without a server: here a read has to give what there is. */
static void temper(struct sim *sim, struct rng *rng)
{
    struct sim_config *config = &sim->config;
    config->duration_us = sim->quick ? rng_between(rng, 20 * SIM_SECOND, 60 * SIM_SECOND)
                                     : rng_between(rng, 3 * SIM_MINUTE, 10 * SIM_MINUTE);
    config->clients = coin(rng) ? 0 : (uint32_t)rng_between(rng, 1, 2);
    config->subscriptions = 0;
    config->read_us = SIM_HOUR;
    config->follow_us = 0;
    config->verify_us = 0;
    config->latency_us = rng_log(rng, 50, 30 * SIM_MS);
    config->crash_us = rng_percent(rng, 60) ? rng_log(rng, 3 * SIM_SECOND, SIM_MINUTE) : 0;
    config->downtime_us = rng_log(rng, 20 * SIM_MS, 5 * SIM_SECOND);
    config->rot_index_percent = 0;
    config->rot_log_percent = 0;
    config->lose_runs_percent = 0;
    config->read_only_percent = 0;
    config->check_every = 20000;
    if (sim->workload.large_size > 20000) {
        sim->workload.large_size = 20000;
    }
    /* Ids that are the library's are told to nobody, and "wrong" is the appenders' business. */
    sim->workload.nameless_percent = 0;
}

static void configure(struct sim *sim, struct rng *rng)
{
    struct srv *srv = calloc(1, sizeof *srv);
    STELE_ASSERT(srv != NULL);
    sim->guest = srv;
    rng_init(&srv->rng_net, sim->seed, 20);
    rng_init(&srv->rng_clients, sim->seed, 21);
    temper(sim, rng);
    draw_server(&srv->config, rng);
    draw_network(&srv->config, rng);
    draw_callers(&srv->config, rng);
    testalloc_init(&srv->host.alloc, sim->seed + 1);
    srv->host.alloc.fail_one_in = srv->config.alloc_one_in;
    srv->host.closing = SRV_DOWN;
}

static void print_callers(const struct sim *sim);

static void print(const struct sim *sim)
{
    const struct srv_config *c = &srv_of(sim)->config;
    printf("  server: loops %u, a turn every %llu us, output %u to %u (connection %u), window %u, "
           "keepalive %u ms, no memory 1/%u\n",
           c->loops, (unsigned long long)c->turn_us, c->limits.output_low, c->limits.output_high,
           c->limits.conn_output_high, c->limits.window, c->limits.keepalive_ms, c->alloc_one_in);
    printf("  network: delay %llu us, pieces up to %u (tiny %u%%), pipe %u, reset every %llu ms "
           "(half open %u%%), stall every %llu ms\n",
           (unsigned long long)c->delay_us, c->piece_max, c->tiny_percent, c->pipe_size,
           (unsigned long long)(c->reset_us / SIM_MS), c->half_open_percent,
           (unsigned long long)(c->stall_us / SIM_MS));
    printf(
        "  callers: appenders %u, subscribers %u (slow %u%%, windows %u to %u), groups %u; think "
        "%llu ms, leave every %llu ms, hang %u%%, refuse %u%%, replay every %llu ms\n",
        c->appenders, c->followers, c->slow_percent, c->window_min, c->window_max, c->groups,
        (unsigned long long)(c->think_us / SIM_MS), (unsigned long long)(c->leave_us / SIM_MS),
        c->hang_percent, c->nack_percent, (unsigned long long)(c->replay_us / SIM_MS));
    if (sim->now_us > 0) {
        print_callers(sim);
    }
}

/* Who is not at peace, and why. */
static void print_callers(const struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    for (uint32_t i = 0; i < srv->config.appenders; i++) {
        const struct srv_appender *a = &srv->appenders[i];
        if (a->busy) {
            printf("  appender %u waits: way %d, try %u, sent %d\n", i, (int)a->way, a->tries,
                   a->sent);
        }
    }
    for (uint32_t i = 0; i < srv->config.groups; i++) {
        srv_group_print(sim, &srv->groups[i]);
    }
    for (uint32_t i = 0; i < srv->config.followers; i++) {
        const struct srv_follower *f = &srv->followers[i];
        if (!srv_follower_is_at_peace(sim, f)) {
            printf("  subscriber %u: confirmed %d, caught up %d, told up to event %u of %u\n", i,
                   f->confirmed, f->caught_up, f->at, sim->model.visible);
        }
    }
}

static void start(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    srv_net_start(sim);
    for (uint32_t i = 0; i < srv->config.appenders; i++) {
        srv_appender_start(sim, &srv->appenders[i], i);
    }
    for (uint32_t i = 0; i < srv->config.followers; i++) {
        srv_follower_start(sim, &srv->followers[i], i);
    }
    for (uint32_t i = 0; i < srv->config.groups; i++) {
        srv_group_start(sim, &srv->groups[i], i);
    }
}

static void opened(struct sim *sim)
{
    srv_truth_visible(sim);
    srv_host_up(sim);
}

static void visible(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    srv_truth_visible(sim);
    if (srv->host.up) {
        srv_engine_visible(&srv->host.engine);
    }
}

static void checked(struct sim *sim)
{
    srv_host_wake(sim);
    if (sim->stats.events % 8 == 0) {
        srv_host_check(sim);
    }
}

static void calm(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    srv->host.alloc.fail_one_in = 0;
    /* A slow network would only take its time. */
    srv->config.delay_us = srv->config.delay_us < SIM_MS ? srv->config.delay_us : SIM_MS;
    srv->config.piece_max = 65536;
    srv->config.tiny_percent = 0;
    for (uint32_t i = 0; i < srv->config.groups; i++) {
        srv_group_calm(sim, &srv->groups[i]);
    }
}

static bool is_at_peace(const struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    bool peace = srv->host.up;
    for (uint32_t i = 0; peace && i < srv->config.appenders; i++) {
        peace = !srv->appenders[i].busy;
    }
    for (uint32_t i = 0; peace && i < srv->config.groups; i++) {
        peace = srv_group_is_at_peace(sim, &srv->groups[i]);
    }
    for (uint32_t i = 0; peace && i < srv->config.followers; i++) {
        peace = srv_follower_is_at_peace(sim, &srv->followers[i]);
    }
    return peace;
}

static void finish(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    srv_appender_check_refused(sim);
    for (uint32_t i = 0; i < srv->config.groups; i++) {
        srv_group_check_done(sim, &srv->groups[i]);
    }
}

static void end(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    srv_count(sim, SRV_NO_MEMORY, srv->host.alloc.failures);
    for (uint32_t i = 0; i < srv->config.appenders; i++) {
        srv_appender_end(sim, &srv->appenders[i]);
    }
    for (uint32_t i = 0; i < srv->config.followers; i++) {
        srv_follower_end(sim, &srv->followers[i]);
    }
    for (uint32_t i = 0; i < srv->config.groups; i++) {
        srv_group_end(sim, &srv->groups[i]);
    }
    srv_net_end(sim);
    free(srv->visible_us);
    free(srv->refused);
    free(srv);
    sim->guest = NULL;
}

static void print_totals(const uint64_t *counts, const char *prefix)
{
#define N(count) ((unsigned long long)counts[count])
    printf(
        "%sserver: connections %llu (cut %llu, half open %llu, stalled %llu), %llu bytes in %llu "
        "pieces, orderly ends %llu, no memory %llu\n",
        prefix, N(SRV_LINKS), N(SRV_RESETS), N(SRV_HALF_OPEN), N(SRV_STALLS), N(SRV_BYTES),
        N(SRV_PIECES), N(SRV_DRAINS), N(SRV_NO_MEMORY));
    printf(
        "%sappends acknowledged %llu (not at once %llu), refused %llu; subscriptions %llu (from a "
        "checkpoint %llu), events told %llu, checkpoints %llu, caught up %llu\n",
        prefix, N(SRV_APPENDS), N(SRV_REPEATED), N(SRV_REFUSED), N(SRV_SUBSCRIPTIONS),
        N(SRV_RESUMED_AT_CHECKPOINT), N(SRV_EVENTS), N(SRV_CHECKPOINTS), N(SRV_CAUGHT_UP));
    printf(
        "%sconsumers %llu, events handed out %llu (again %llu), acknowledged %llu, refused %llu, "
        "replays %llu\n",
        prefix, N(SRV_CONSUMERS), N(SRV_GROUP_EVENTS), N(SRV_REDELIVERED), N(SRV_ACKED),
        N(SRV_NACKED), N(SRV_REPLAYS));
#undef N
}

const struct sim_guest sim_guest = {
    .command = "./dev sim server",
    .configure = configure,
    .print = print,
    .start = start,
    .opened = opened,
    .visible = visible,
    .crashed = srv_host_down,
    .closing = srv_host_close,
    .checked = checked,
    .calm = calm,
    .is_at_peace = is_at_peace,
    .finish = finish,
    .end = end,
    .print_totals = print_totals,
};
