/* GET /metrics: the text format of Prometheus (github.com/prometheus/docs, exposition_formats.md).
 *
 * Names: stele_… are our own; kurrentdb_… those that dashboards made for KurrentDB look at, with its
 * units; eventstore_… and eventcore_… those of toolkits that came before. No label ever has the name
 * of a stream, a group or a user: their number has no bound, and a name may be a secret. */
#include "api/http/web_internal.h"
#include "net/net.h"

struct metric {
    const char *name, *kind, *help;
    double value;
};

static bool put_metrics(struct stele_buf *body, struct stele_alloc *alloc,
                        const struct metric *metrics, size_t count)
{
    bool fits = true;
    for (size_t i = 0; fits && i < count; i++) {
        const struct metric *m = &metrics[i];
        fits = stele_web__putf(body, alloc, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", m->name,
                               m->help, m->name, m->kind, m->name, m->value);
    }
    return fits;
}

static bool put_head(struct stele_buf *body, struct stele_alloc *alloc, const char *name,
                     const char *kind, const char *help)
{
    return stele_web__putf(body, alloc, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static bool put_store(struct stele_buf *body, struct stele_web__request *request,
                      const struct stele_stats *s)
{
    const struct metric metrics[] = {
        {"stele_events_total", "counter", "Events ever appended.", (double)s->events},
        {"stele_streams", "gauge", "Streams ever written.", (double)s->streams},
        {"stele_position", "gauge", "Position of the last event.", (double)s->position_last},
        {"stele_log_bytes", "gauge", "Bytes of log in use.", (double)s->log_size},
        {"stele_disk_bytes", "gauge", "Bytes of all files of the store.", (double)s->disk_size},
        {"stele_index_bytes", "gauge", "Bytes of index runs.", (double)s->index_size},
        {"stele_index_behind_bytes", "gauge", "Bytes of log that no index covers yet.",
         (double)s->index_behind},
        {"stele_index_runs", "gauge", "Index runs.", s->index_runs},
        {"stele_segments", "gauge", "Log segments.", s->segments},
        {"stele_memory_bytes", "gauge", "Bytes allocated by the store.", (double)s->memory},
        {"stele_fenced", "gauge", "1: a write failed, appends are refused.", s->fenced},
        {"stele_damages", "gauge", "Places of damage found since opening.", (double)s->damage},
        {"eventcore_service_health", "gauge", "1: appends are taken.", s->fenced ? 0 : 1},
    };
    return put_metrics(body, request->web->alloc, metrics, STELE_COUNT_OF(metrics));
}

static bool put_process(struct stele_buf *body, struct stele_web__request *request)
{
    struct stele_web *web = request->web;
    struct stele_auth_counts auth;
    stele_auth_counts(web->server->auth, &auth);
    const struct stele_web__usage usage = stele_web__read_usage();
    const int64_t now_us = request->loop->ops->wall_us(request->loop);
    const double up = (double)(now_us - web->server->started_wall_us) / 1e6;
    const struct metric metrics[] = {
        {"stele_http_requests_total", "counter", "HTTP requests that are not gRPC.",
         (double)atomic_load(&web->requests)},
        {"stele_http_tails", "gauge", "Open server-sent event streams.",
         (double)atomic_load(&web->tails)},
        {"stele_logins_total", "counter", "Proofs of identity checked and right.",
         (double)auth.logins_ok},
        {"stele_logins_failed_total", "counter", "Proofs of identity checked and wrong.",
         (double)auth.logins_failed},
        {"stele_logins_limited_total", "counter", "Proofs refused unchecked.",
         (double)auth.logins_limited},
        {"process_cpu_seconds_total", "counter", "CPU time of the process.", usage.cpu_seconds},
        {"process_start_time_seconds", "gauge", "Start of the process since 1970.",
         (double)web->server->started_wall_us / 1e6},
        {"kurrentdb_proc_up_time_seconds_total", "counter", "Seconds since the start.", up},
        {"kurrentdb_proc_mem_bytes", "gauge", "Most bytes resident so far.",
         (double)usage.resident},
        {"kurrentdb_proc_cpu", "gauge", "Share of one processor since the start.",
         up > 0 ? usage.cpu_seconds / up : 0},
    };
    return put_metrics(body, web->alloc, metrics, STELE_COUNT_OF(metrics));
}

static bool put_traffic(struct stele_buf *body, struct stele_alloc *alloc,
                        const struct stele_gate *gate)
{
    const double open = gate == NULL ? 0 : atomic_load(&gate->connections);
    const struct metric metrics[] = {
        {"eventcore_active_connections", "gauge", "Open connections.", open},
        {"kurrentdb_kestrel_connections", "gauge", "Open connections.", open},
        {"stele_connections", "gauge", "Open connections.", open},
        {"stele_connections_accepted_total", "counter", "Connections accepted.",
         gate == NULL ? 0 : (double)atomic_load(&gate->accepted)},
        {"stele_connections_refused_total", "counter", "Connections above the limit.",
         gate == NULL ? 0 : (double)atomic_load(&gate->refused)},
        {"stele_handshakes_failed_total", "counter", "TLS handshakes that failed.",
         gate == NULL ? 0 : (double)atomic_load(&gate->failed_handshakes)},
        {"stele_received_bytes_total", "counter", "Bytes received from clients.",
         gate == NULL ? 0 : (double)atomic_load(&gate->bytes_in)},
        {"stele_sent_bytes_total", "counter", "Bytes sent to clients.",
         gate == NULL ? 0 : (double)atomic_load(&gate->bytes_out)},
    };
    return put_metrics(body, alloc, metrics, STELE_COUNT_OF(metrics));
}

/* One series of a histogram. unit: how many microseconds one of its unit has. */
static bool put_took(struct stele_buf *body, struct stele_alloc *alloc, const char *name,
                     const char *labels, const struct stele_engine_took *took, double unit)
{
    unsigned long long below = 0;
    bool fits = true;
    for (size_t i = 0; fits && i < STELE_ENGINE_BOUNDS; i++) {
        below += took->at_most[i];
        fits = stele_web__putf(body, alloc, "%s_bucket{%s,le=\"%.10g\"} %llu\n", name, labels,
                               (double)stele_engine_bound_us(i) / unit, below);
    }
    below += took->at_most[STELE_ENGINE_BOUNDS];
    return fits && stele_web__putf(body, alloc,
                                   "%s_bucket{%s,le=\"+Inf\"} %llu\n%s_sum{%s} %.10g\n"
                                   "%s_count{%s} %llu\n",
                                   name, labels, below, name, labels, (double)took->sum_us / unit,
                                   name, labels, below);
}

static bool put_appends(struct stele_buf *body, struct stele_alloc *alloc,
                        const struct stele_engine_counts *counts)
{
    static const char own[] = "eventstore_append_duration_milliseconds";
    static const char theirs[] = "kurrentdb_grpc_method_duration_seconds";
    const struct metric metrics[] = {
        {"eventstore_append_success_total", "counter", "Appends that were stored.",
         (double)counts->done.count},
        {"eventstore_append_failure_total", "counter", "Appends that were refused, or failed.",
         (double)counts->refused.count},
        {"eventcore_events_published_total", "counter", "Events of appends that were stored.",
         (double)counts->events_written},
        {"eventcore_events_consumed_total", "counter", "Events read.", (double)counts->events_read},
    };
    return put_metrics(body, alloc, metrics, STELE_COUNT_OF(metrics)) &&
           put_head(body, alloc, own, "histogram", "How long appends took, until durable.") &&
           put_took(body, alloc, own, "success=\"true\"", &counts->done, 1e3) &&
           put_took(body, alloc, own, "success=\"false\"", &counts->refused, 1e3) &&
           put_head(body, alloc, theirs, "histogram", "How long appends took.") &&
           put_took(body, alloc, theirs, "activity=\"append\",status=\"successful\"", &counts->done,
                    1e6) &&
           put_took(body, alloc, theirs, "activity=\"append\",status=\"failed\"", &counts->refused,
                    1e6) &&
           put_head(body, alloc, "kurrentdb_io_events_total", "counter", "Events.") &&
           stele_web__putf(body, alloc,
                           "kurrentdb_io_events_total{activity=\"written\"} %llu\n"
                           "kurrentdb_io_events_total{activity=\"read\"} %llu\n",
                           (unsigned long long)counts->events_written,
                           (unsigned long long)counts->events_read) &&
           put_head(body, alloc, "kurrentdb_io_bytes_total", "counter", "Data and metadata.") &&
           stele_web__putf(body, alloc,
                           "kurrentdb_io_bytes_total{activity=\"written\"} %llu\n"
                           "kurrentdb_io_bytes_total{activity=\"read\"} %llu\n",
                           (unsigned long long)counts->bytes_written,
                           (unsigned long long)counts->bytes_read);
}

static bool put_groups(struct stele_buf *body, struct stele_alloc *alloc,
                       const struct stele_web__groups_sum *sum)
{
    const struct metric metrics[] = {
        {"stele_groups", "gauge", "Persistent subscription groups.", (double)sum->groups},
        {"stele_group_consumers", "gauge", "Consumers of all groups.", (double)sum->consumers},
        {"stele_group_in_flight", "gauge", "Events at consumers, of all groups.",
         (double)sum->in_flight},
        {"stele_group_parked", "gauge", "Events parked by all groups.", (double)sum->parked},
        {"stele_group_lag_events", "gauge", "Events that groups have yet to be done with.",
         (double)sum->lag_events},
        {"eventcore_event_lag_seconds", "gauge",
         "How far the group that is furthest behind is behind the last event.",
         sum->lag_seconds_max},
    };
    return put_metrics(body, alloc, metrics, STELE_COUNT_OF(metrics));
}

/* What KurrentDB's dashboards ask about a node. */
static bool put_node(struct stele_buf *body, struct stele_web__request *request, uint64_t position)
{
    struct stele_alloc *alloc = request->web->alloc;
    static const char *const names[] = {"writer", "chaser", "index", "replication"};
    bool fits = put_head(body, alloc, "kurrentdb_checkpoints", "gauge", "Positions.");
    for (size_t i = 0; fits && i < STELE_COUNT_OF(names); i++) {
        fits = stele_web__putf(body, alloc,
                               "kurrentdb_checkpoints{name=\"%s\",read=\"non-flushed\"} %llu\n",
                               names[i], (unsigned long long)position);
    }
    return fits && put_head(body, alloc, "kurrentdb_statuses", "gauge", "State of the node.") &&
           stele_web__putf(body, alloc, "kurrentdb_statuses{name=\"Node\",status=\"%s\"} 1\n",
                           stele_web__node_status(request));
}

/* Of a server that stands alone: nothing. */
static bool put_cluster(struct stele_buf *body, struct stele_web__request *request)
{
    struct stele_cluster *cluster = request->web->server->cluster;
    struct stele_cluster_counts counts;
    struct stele_cluster_readiness ready;
    if (!cluster->ops->counts(cluster, &counts)) {
        return true;
    }
    cluster->ops->readiness(cluster, &ready);
    const struct metric metrics[] = {
        {"stele_cluster_nodes", "gauge", "Nodes of the cluster.", (double)counts.nodes},
        {"stele_cluster_nodes_alive", "gauge", "Of them, heard of lately.",
         (double)counts.nodes_alive},
        {"stele_cluster_ready", "gauge", "1: this node serves.", ready.is_ready},
        {"stele_cluster_leader", "gauge", "1: this node leads the cluster.",
         cluster->ops->is_leader(cluster)},
        {"stele_cluster_groups", "gauge", "Raft groups.", (double)counts.groups},
        {"stele_cluster_groups_led", "gauge", "Raft groups that this node leads.",
         (double)counts.groups_led},
        {"stele_cluster_groups_leaderless", "gauge", "Raft groups without a leader, to this node.",
         (double)counts.groups_leaderless},
        {"stele_cluster_term_max", "gauge", "Highest term of all Raft groups.",
         (double)counts.term_max},
        {"stele_cluster_elections_total", "counter", "Changes of a leader.",
         (double)counts.elections},
        {"stele_cluster_log_lag_entries", "gauge", "Committed, and not yet executed here.",
         (double)counts.log_lag},
        {"stele_cluster_closed_lag_seconds", "gauge",
         "How far what can be executed is behind this node's clock.",
         (double)counts.closed_lag_us / 1e6},
        {"stele_cluster_commands_waiting", "gauge", "Appends of this node's clients on their way.",
         (double)counts.commands_waiting},
        {"stele_cluster_installs_total", "counter",
         "Times that this node fetched events instead of executing commands.",
         (double)counts.installs},
        {"stele_cluster_imbalance_groups", "gauge",
         "Raft groups that are not led where they should be.", (double)counts.imbalance},
        {"stele_cluster_imbalance_votes_ratio", "gauge",
         "How far the node that is furthest from the mean is from it, in votes.",
         (double)counts.imbalance_votes / 100},
        {"stele_cluster_imbalance_bytes_ratio", "gauge",
         "The same, in bytes of the partitions in which nodes vote.",
         (double)counts.imbalance_bytes / 100},
        {"stele_cluster_imbalance_rate_ratio", "gauge",
         "The same, in what is appended to these partitions.", (double)counts.imbalance_rate / 100},
        {"stele_cluster_imbalance_leaders_ratio", "gauge",
         "The same, in what is appended to the partitions that nodes should lead.",
         (double)counts.imbalance_leaders / 100},
        {"stele_cluster_moving_partitions", "gauge", "Partitions whose voters are changing places.",
         (double)counts.moving},
        {"stele_cluster_underreplicated_partitions", "gauge",
         "Partitions that have fewer voters than they should, and could have more.",
         (double)counts.missing},
        {"stele_cluster_moves_total", "counter",
         "Votes in partitions that this node led and handed on to another node.",
         (double)counts.moves},
        {"stele_cluster_replica_mismatch", "gauge",
         "Seconds in which another node executed otherwise than this one; above 0: look at `stele "
         "cluster check`.",
         (double)counts.mismatches},
        {"stele_cluster_disk_full", "gauge",
         "1: there is no room on this node's disk; it takes no appends and leads nothing.",
         (double)counts.disk_full},
        {"stele_cluster_wal_bytes", "gauge", "Bytes of the log of all groups.",
         (double)counts.wal_size},
    };
    return put_metrics(body, request->web->alloc, metrics, STELE_COUNT_OF(metrics));
}

static bool put_answers(struct stele_buf *body, struct stele_web *web)
{
    bool fits =
        put_head(body, web->alloc, "stele_http_answers_total", "counter", "Answers by class.");
    for (int class = 1; fits && class < 6; class ++) {
        fits = stele_web__putf(body, web->alloc, "stele_http_answers_total{class=\"%dxx\"} %llu\n",
                               class, (unsigned long long)atomic_load(&web->by_class[class]));
    }
    return fits;
}

static void on_sum(struct stele_web__request *request, const struct stele_web__groups_sum *sum)
{
    struct stele_web *web = request->web;
    struct stele_engine *engine = web->server->engine;
    struct stele_stats s;
    struct stele_engine_counts counts;
    struct stele_error err = {.outcome = STELE_OK};
    const int outcome = engine->ops->stats(engine, &s, &err);
    if (outcome != STELE_OK) {
        stele_web__fail(request, outcome, &err);
        return;
    }
    stele_web__read_counts(request, &counts);
    struct stele_buf body = {.data = NULL};
    const bool fits = put_store(&body, request, &s) && put_process(&body, request) &&
                      put_traffic(&body, web->alloc, web->server->gate) &&
                      put_appends(&body, web->alloc, &counts) &&
                      put_groups(&body, web->alloc, sum) &&
                      put_node(&body, request, s.position_last) && put_cluster(&body, request) &&
                      put_answers(&body, web);
    stele_web__answer_built(request, fits, "text/plain; version=0.0.4; charset=utf-8", &body);
}

void stele_web__metrics(struct stele_web__request *request)
{
    stele_web__sum_groups(request, on_sum);
}
