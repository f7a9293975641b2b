#include "lib/fakecluster.h"

#include <stdio.h>

static struct fakecluster *fake_of(struct stele_cluster *cluster)
{
    return (struct fakecluster *)(void *)cluster;
}

static void view(struct stele_cluster *cluster, struct stele_cluster_view *out_view)
{
    *out_view = fake_of(cluster)->nodes;
}

static bool is_leader(struct stele_cluster *cluster)
{
    return fake_of(cluster)->leads;
}

static bool leader(struct stele_cluster *cluster, struct stele_cluster_leader *out_leader)
{
    const struct fakecluster *fake = fake_of(cluster);
    if (!fake->has_leader) {
        return false;
    }
    const struct stele_node_seen *node = &fake->nodes.nodes[fake->nodes.leader];
    *out_leader = (struct stele_cluster_leader){.number = node->number, .port = node->port};
    (void)snprintf(out_leader->host, sizeof out_leader->host, "%s", node->host);
    return true;
}

static void readiness(struct stele_cluster *cluster, struct stele_cluster_readiness *out_readiness)
{
    *out_readiness = fake_of(cluster)->ready;
}

static bool counts(struct stele_cluster *cluster, struct stele_cluster_counts *out_counts)
{
    *out_counts = fake_of(cluster)->numbers;
    return true;
}

static void watch_start(struct stele_cluster *cluster, struct stele_role_watch *watch)
{
    struct fakecluster *fake = fake_of(cluster);
    watch->previous = NULL;
    watch->next = fake->watches;
    if (fake->watches != NULL) {
        fake->watches->previous = watch;
    }
    fake->watches = watch;
}

static void watch_stop(struct stele_cluster *cluster, struct stele_role_watch *watch)
{
    *(watch->previous != NULL ? &watch->previous->next : &fake_of(cluster)->watches) = watch->next;
    if (watch->next != NULL) {
        watch->next->previous = watch->previous;
    }
}

static void run_linearized(struct stele_task *task)
{
    struct stele_linearizing *linearizing =
        (struct stele_linearizing *)(void *)((char *)task -
                                             offsetof(struct stele_linearizing, task));
    linearizing->on_done(linearizing);
}

static void answer(struct stele_linearizing *linearizing, int outcome)
{
    linearizing->outcome = outcome;
    linearizing->task.run = run_linearized;
    stele_loop_post(linearizing->loop, &linearizing->task);
}

static void linearize(struct stele_cluster *cluster, struct stele_linearizing *linearizing)
{
    struct fakecluster *fake = fake_of(cluster);
    fake->linearized++;
    if (fake->hold_linearizing) {
        linearizing->next = fake->linearizing;
        fake->linearizing = linearizing;
    } else {
        answer(linearizing, fake->linearize_outcome);
    }
}

static void run_commanded(struct stele_task *task)
{
    struct stele_cluster_command *command =
        (struct stele_cluster_command *)(void *)((char *)task -
                                                 offsetof(struct stele_cluster_command, task));
    command->on_done(command);
}

static void command(struct stele_cluster *cluster, struct stele_cluster_command *asked)
{
    struct fakecluster *fake = fake_of(cluster);
    fake->commands++;
    (void)snprintf(fake->command, sizeof fake->command, "%s %s %.*s", asked->verb, asked->user,
                   (int)asked->body.size, (const char *)asked->body.data);
    asked->outcome = fake->command_outcome;
    if (asked->outcome != STELE_OK) {
        (void)stele_fail(&asked->err, asked->outcome, 0, "the fake does not want to");
    }
    asked->task.run = run_commanded;
    stele_loop_post(asked->loop, &asked->task);
}

static int status_json(struct stele_cluster *cluster, struct stele_alloc *alloc,
                       struct stele_buf *out)
{
    (void)cluster;
    return stele_buf_append(out, alloc, stele_bytes_of_text("{\"fake\":true}\n"));
}

static const struct stele_cluster_ops fake_ops = {
    .view = view,
    .is_leader = is_leader,
    .leader = leader,
    .readiness = readiness,
    .counts = counts,
    .watch_start = watch_start,
    .watch_stop = watch_stop,
    .linearize = linearize,
    .command = command,
    .status_json = status_json,
};

void fakecluster_init(struct fakecluster *fake)
{
    *fake = (struct fakecluster){.cluster = {.ops = &fake_ops},
                                 .nodes = {.is_cluster = true, .this_node = 1, .count = 3},
                                 .ready = {.is_ready = true}};
    memset(fake->nodes.cluster_id, 0xcc, sizeof fake->nodes.cluster_id);
    for (size_t i = 0; i < 3; i++) {
        struct stele_node_seen *node = &fake->nodes.nodes[i];
        node->number = i + 1;
        memset(node->instance_id, (int)(0x11 * (i + 1)), sizeof node->instance_id);
        (void)snprintf(node->name, sizeof node->name, "n%zu", i + 1);
        (void)snprintf(node->host, sizeof node->host, "host-%zu", i + 1);
        node->port = (uint16_t)(2001 + i);
        node->is_alive = true;
        node->heard_wall_us = 1600000000000000;
        node->term = 7;
        (void)snprintf(node->version, sizeof node->version, i == 1 ? "" : "9.9.9");
    }
    fakecluster_lead(fake, 3);
}

void fakecluster_lead(struct fakecluster *fake, size_t leader)
{
    fake->has_leader = leader < 3;
    fake->nodes.leader = fake->has_leader ? leader : SIZE_MAX;
    fake->leads = leader == 1;
    for (size_t i = 0; i < 3; i++) {
        fake->nodes.nodes[i].state = i == leader ? STELE_NODE_LEADER : STELE_NODE_FOLLOWER;
    }
    struct stele_role_watch *next = NULL;
    for (struct stele_role_watch *watch = fake->watches; watch != NULL; watch = next) {
        next = watch->next;
        watch->on_role_changed(watch);
    }
}

void fakecluster_linearize(struct fakecluster *fake)
{
    while (fake->linearizing != NULL) {
        struct stele_linearizing *linearizing = fake->linearizing;
        fake->linearizing = linearizing->next;
        answer(linearizing, fake->linearize_outcome);
    }
}
