/* Monitoring.Stats: numbers of the store, again and again, as a map of texts. */
#include "api/kurrent/cold.h"

#include <stdio.h>

#define PERIOD_MS_MIN 50
#define PERIOD_MS_MAX 3600000

struct monitoring {
    struct stele_call *call;
    struct stele_timer timer;
    int64_t period_us; /* 0: not asked yet. */
};

static void out_entry(struct stele_kurrent__out *out, const char *key, uint64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    const size_t mark = stele_kurrent__out_begin(out, 1);
    stele_kurrent__out_text(out, 1, key);
    stele_kurrent__out_text(out, 2, text);
    stele_kurrent__out_end(out, mark);
}

static bool send_stats(struct monitoring *state)
{
    struct stele_call *call = state->call;
    struct stele_loop *loop = stele_call_loop(call);
    const struct stele_server *server = stele_call_server(call);
    struct stele_stats stats;
    struct stele_error err;
    const int outcome = server->engine->ops->stats(server->engine, &stats, &err);
    if (outcome != STELE_OK) {
        stele_kurrent__fail_outcome(call, outcome, err.message);
        return false;
    }
    const int64_t up_us = loop->ops->wall_us(loop) - server->started_wall_us;
    const struct {
        const char *key;
        uint64_t value;
    } entries[] = {
        {"proc-mem", stats.memory},
        {"proc-upTimeSeconds", up_us < 0 ? 0 : (uint64_t)(up_us / 1000000)},
        {"es-events", stats.events},
        {"es-streams", stats.streams},
        {"es-lastPosition", stats.position_last},
        {"es-log-bytes", stats.log_size},
        {"es-disk-bytes", stats.disk_size},
        {"es-index-bytes", stats.index_size},
        {"es-index-behind", stats.index_behind},
        {"es-index-runs", stats.index_runs},
        {"es-segments", stats.segments},
        {"es-damage", stats.damage},
        {"es-fenced", (uint64_t)stats.fenced},
    };
    struct stele_kurrent__out out = {.alloc = loop->alloc};
    for (size_t i = 0; i < STELE_COUNT_OF(entries); i++) {
        out_entry(&out, entries[i].key, entries[i].value);
    }
    const bool sent = stele_kurrent__out_send(&out, call);
    stele_kurrent__out_deinit(&out);
    return sent;
}

static void on_due(struct stele_timer *timer)
{
    struct monitoring *state =
        (struct monitoring *)((char *)timer - offsetof(struct monitoring, timer));
    struct stele_loop *loop = stele_call_loop(state->call);
    /* Who does not read misses numbers that are old by now. */
    if (stele_call_is_full(state->call) || send_stats(state)) {
        loop->ops->timer_start(loop, timer, stele_loop_now_us(loop) + state->period_us);
    }
}

static void on_start(struct stele_call *call)
{
    (void)call;
}

/* StatsReq {1: use_metadata, 4: refresh_time_period_in_ms}. */
static void on_message(struct stele_call *call, struct stele_bytes message)
{
    struct monitoring *state = stele_call_state(call);
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    uint64_t period_ms = 1000;
    while (stele_pb_next(&reader, &field)) {
        period_ms = field.number == 4 ? field.value : period_ms;
    }
    if (reader.bad || state->period_us != 0) {
        stele_kurrent__fail_invalid(call, "the request is malformed");
        return;
    }
    period_ms = period_ms < PERIOD_MS_MIN ? PERIOD_MS_MIN : period_ms;
    period_ms = period_ms > PERIOD_MS_MAX ? PERIOD_MS_MAX : period_ms;
    state->call = call;
    state->period_us = (int64_t)period_ms * 1000;
    state->timer.on_due = on_due;
    on_due(&state->timer);
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    struct monitoring *state = stele_call_state(call);
    struct stele_loop *loop = stele_call_loop(call);
    (void)reason;
    loop->ops->timer_stop(loop, &state->timer);
}

static const struct stele_method stats_method = {
    .rpc = STELE_RPC_KURRENT_MONITORING_STATS,
    .state_size = sizeof(struct monitoring),
    .start = on_start,
    .message = on_message,
    .closed = on_closed,
};

void stele_kurrent_monitoring_register(struct stele_grpc_table *table)
{
    table->methods[STELE_RPC_KURRENT_MONITORING_STATS] = &stats_method;
}
