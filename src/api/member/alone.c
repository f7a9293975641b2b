#include "api/member/alone.h"

#include "api/server.h"

#include <stdio.h>

static const struct stele_server *server_of(const struct stele_cluster *cluster)
{
    return ((const struct stele_alone *)(const void *)cluster)->server;
}

static void view(struct stele_cluster *cluster, struct stele_cluster_view *out_view)
{
    const struct stele_server *const server = server_of(cluster);
    struct stele_node_seen *const node = &out_view->nodes[0];
    *out_view = (struct stele_cluster_view){.leader = 0, .count = 1};
    node->state = STELE_NODE_LEADER;
    node->is_alive = true;
    if (server != NULL) {
        memcpy(node->instance_id, server->instance_id, sizeof node->instance_id);
        (void)snprintf(node->host, sizeof node->host, "%s", server->advertised_host);
        node->port = server->advertised_port;
        node->position_executed = server->engine->ops->last_position(server->engine);
    }
}

static bool is_leader(struct stele_cluster *cluster)
{
    (void)cluster;
    return true;
}

static bool leader(struct stele_cluster *cluster, struct stele_cluster_leader *out_leader)
{
    const struct stele_server *const server = server_of(cluster);
    *out_leader = (struct stele_cluster_leader){.number = 0};
    if (server != NULL) {
        (void)snprintf(out_leader->host, sizeof out_leader->host, "%s", server->advertised_host);
        out_leader->port = server->advertised_port;
    }
    return true;
}

static void readiness(struct stele_cluster *cluster, struct stele_cluster_readiness *out_readiness)
{
    (void)cluster;
    *out_readiness = (struct stele_cluster_readiness){.is_ready = true};
}

static bool counts(struct stele_cluster *cluster, struct stele_cluster_counts *out_counts)
{
    (void)cluster;
    (void)out_counts;
    return false;
}

/* Nothing ever changes. */
static void watch_nothing(struct stele_cluster *cluster, struct stele_role_watch *watch)
{
    (void)cluster;
    (void)watch;
}

static void run_linearized(struct stele_task *task)
{
    struct stele_linearizing *const linearizing =
        (struct stele_linearizing *)(void *)((uint8_t *)task -
                                             offsetof(struct stele_linearizing, task));
    linearizing->on_done(linearizing);
}

/* What was acknowledged was visible before. */
static void linearize(struct stele_cluster *cluster, struct stele_linearizing *linearizing)
{
    (void)cluster;
    linearizing->outcome = STELE_OK;
    linearizing->task.run = run_linearized;
    stele_loop_post(linearizing->loop, &linearizing->task);
}

static void run_refused(struct stele_task *task)
{
    struct stele_cluster_command *const command =
        (struct stele_cluster_command *)(void *)((uint8_t *)task -
                                                 offsetof(struct stele_cluster_command, task));
    command->on_done(command);
}

static void refuse(struct stele_cluster *cluster, struct stele_cluster_command *command)
{
    (void)cluster;
    command->outcome =
        stele_fail(&command->err, STELE_NOT_FOUND, 0, "this server is not part of a cluster");
    command->task.run = run_refused;
    stele_loop_post(command->loop, &command->task);
}

static int no_status(struct stele_cluster *cluster, struct stele_alloc *alloc,
                     struct stele_buf *out)
{
    (void)cluster;
    (void)alloc;
    (void)out;
    return STELE_NOT_FOUND;
}

static const struct stele_cluster_ops alone_ops = {
    .view = view,
    .is_leader = is_leader,
    .leader = leader,
    .readiness = readiness,
    .counts = counts,
    .watch_start = watch_nothing,
    .watch_stop = watch_nothing,
    .linearize = linearize,
    .command = refuse,
    .status_json = no_status,
};

void stele_alone_init(struct stele_alone *alone, const struct stele_server *server)
{
    *alone =
        (struct stele_alone){.cluster = {.ops = &alone_ops, .is_alone = true}, .server = server};
}
