/* What operators ask for: a verb and a JSON object, which become a command for the table of nodes. */
#include "server/member_internal.h"

#include <jansson.h>
#include <stdio.h>

static void run_done(struct stele_task *task)
{
    struct stele_cluster_command *command =
        (struct stele_cluster_command *)(void *)((uint8_t *)task -
                                                 offsetof(struct stele_cluster_command, task));
    command->on_done(command);
}

void stele_member__command_end(struct stele_cluster_command *command, int outcome)
{
    command->outcome = outcome;
    command->task.run = run_done;
    stele_loop_post(command->loop, &command->task);
}

void stele_member__command_answer(struct stele_cluster_command *command, json_t *json)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    int outcome = STELE_E_NO_MEMORY;
    if (text != NULL) {
        outcome = stele_buf_append(&command->answer, command->alloc, stele_bytes_of_text(text));
    }
    free(text);
    stele_member__command_end(command, outcome);
}

static void on_result(struct stele_member *member, struct stele_member__ask *ask,
                      const struct stele_meta_result *result, int outcome)
{
    (void)member;
    struct stele_cluster_command *command = ask->command;
    if (result == NULL) {
        stele_member__command_end(
            command,
            stele_fail(&command->err, outcome == STELE_OK ? STELE_E_UNKNOWN : outcome, 0,
                       "%s: no answer from the node that leads the cluster", command->verb));
        return;
    }
    if (result->outcome != STELE_META_DONE && result->outcome != STELE_META_SAME) {
        const bool unknown = result->outcome == STELE_META_UNKNOWN_NODE;
        stele_member__command_end(
            command, stele_fail(&command->err, unknown ? STELE_NOT_FOUND : STELE_CONDITION_FAILED,
                                0, "%s: %s", command->verb, result->words));
        return;
    }
    stele_member__command_answer(command, json_pack("{s:s, s:I, s:I}", "outcome",
                                                    stele_meta_outcome_name(result->outcome),
                                                    "number", (json_int_t)result->number,
                                                    "table_version", (json_int_t)result->version));
}

/* {"node": 2} or {"node": "n2"}. */
static uint64_t node_of(struct stele_member *member, const json_t *body, const char *key)
{
    const json_t *value = json_object_get(body, key);
    if (json_is_integer(value) && json_integer_value(value) > 0) {
        return (uint64_t)json_integer_value(value);
    }
    const struct stele_meta_node *node =
        json_is_string(value) ? stele_meta_find_name(member->meta, json_string_value(value)) : NULL;
    return node == NULL ? 0 : node->number;
}

static int to_meta(struct stele_member *member, struct stele_cluster_command *from,
                   const json_t *body, struct stele_meta_command *to)
{
    static const struct {
        const char *verb;
        enum stele_meta_kind kind;
    } verbs[] = {{"drain", STELE_META_DRAIN},   {"undrain", STELE_META_UNDRAIN},
                 {"remove", STELE_META_REMOVE}, {"set", STELE_META_SET},
                 {"pause", STELE_META_SET},     {"resume", STELE_META_SET},
                 {"move", STELE_META_PLACE}};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(from->verb, verbs[i].verb) == 0) {
            to->kind = verbs[i].kind;
        }
    }
    if (to->kind == 0) {
        return stele_fail(&from->err, STELE_NOT_FOUND, 0,
                          "%s: there is no such command; there are cut, digest, drain, undrain, "
                          "remove, set, transfer, move, rebalance, pause and resume",
                          from->verb);
    }
    const json_t *version = json_object_get(body, "if_version");
    to->if_version = json_is_integer(version) ? (uint64_t)json_integer_value(version) : 0;
    if (to->kind == STELE_META_PLACE) {
        return stele_member__to_move(member, from, body, node_of(member, body, "from"),
                                     node_of(member, body, "to"), to);
    }
    if (to->kind == STELE_META_SET && strcmp(from->verb, "set") != 0) {
        (void)snprintf(to->setting.key, sizeof to->setting.key, "%s", STELE_META_REBALANCE);
        (void)snprintf(to->setting.value, sizeof to->setting.value, "%s",
                       strcmp(from->verb, "pause") == 0 ? "paused" : "");
        return STELE_OK;
    }
    if (to->kind == STELE_META_SET) {
        const char *key = json_string_value(json_object_get(body, "key"));
        const char *value = json_string_value(json_object_get(body, "value"));
        if (key == NULL || value == NULL || strlen(key) > STELE_META_KEY_MAX ||
            strlen(value) > STELE_META_VALUE_MAX) {
            return stele_fail(&from->err, STELE_E_INVALID, 0,
                              "set: give a key and a value, as texts of at most %d and %d bytes",
                              STELE_META_KEY_MAX, STELE_META_VALUE_MAX);
        }
        if (strcmp(key, STELE_META_REPLICATION_FACTOR) == 0 && !stele_plan_is_replicas(value)) {
            return stele_fail(&from->err, STELE_E_INVALID, 0,
                              "set: %s is how many nodes vote in each partition: 1 to %d, or "
                              "nothing, for all of them",
                              STELE_META_REPLICATION_FACTOR, STELE_META_REPLICAS_MAX);
        }
        if (strcmp(key, STELE_META_REBALANCE) == 0 && !stele_plan_is_rebalance(value)) {
            return stele_fail(&from->err, STELE_E_INVALID, 0,
                              "set: %s is \"paused\" (nothing moves), \"manual\" (what has to, and "
                              "what an operator asks for), or nothing, for by itself",
                              STELE_META_REBALANCE);
        }
        if (strcmp(key, STELE_PLAN_COPY_RATE_KEY) == 0 && !stele_plan_is_copy_rate(value)) {
            return stele_fail(&from->err, STELE_E_INVALID, 0,
                              "set: %s is how much a node may get in a second while it catches up: "
                              "20MiB, at least %dKiB, or nothing, for %d MiB",
                              STELE_PLAN_COPY_RATE_KEY, (int)(STELE_PLAN_COPY_RATE_MIN >> 10),
                              (int)(STELE_PLAN_COPY_RATE >> 20));
        }
        if (strcmp(key, STELE_META_DISK_RESERVE) == 0 && !stele_plan_is_size(value, NULL)) {
            return stele_fail(&from->err, STELE_E_INVALID, 0,
                              "set: %s is what has to stay free on the disk of a node: 500MiB, "
                              "20GiB, or nothing, for %d MiB",
                              STELE_META_DISK_RESERVE, (int)(STELE_PLAN_DISK_RESERVE >> 20));
        }
        (void)snprintf(to->setting.key, sizeof to->setting.key, "%s", key);
        (void)snprintf(to->setting.value, sizeof to->setting.value, "%s", value);
        return STELE_OK;
    }
    to->number = node_of(member, body, "node");
    if (to->number == 0) {
        return stele_fail(&from->err, STELE_NOT_FOUND, 0,
                          "%s: name a node of the cluster: {\"node\": \"n2\"} or {\"node\": 2}",
                          from->verb);
    }
    stele_member__tell_alive(member, to);
    return STELE_OK;
}

/* Leadership of one partition, now. */
static void transfer(struct stele_member *member, struct stele_cluster_command *command,
                     const json_t *body)
{
    const json_t *partition = json_object_get(body, "partition");
    const uint64_t to = node_of(member, body, "to");
    if (!json_is_integer(partition) || json_integer_value(partition) < 0 ||
        json_integer_value(partition) > member->identity.partitions || to == 0) {
        stele_member__command_end(command,
                                  stele_fail(&command->err, STELE_E_INVALID, 0,
                                             "transfer: give a partition below %u and a node: "
                                             "{\"partition\": 3, \"to\": \"n2\"}",
                                             member->identity.partitions));
        return;
    }
    const uint32_t group = (uint32_t)json_integer_value(partition);
    const uint64_t leader = stele_replica_leader(member->replica, group);
    if (leader != member->identity.number) {
        stele_member__command_end(
            command, stele_fail(&command->err, STELE_CONDITION_FAILED, 0,
                                "transfer: partition %u is led by node %llu: ask that one", group,
                                (unsigned long long)leader));
        return;
    }
    if (stele_member__is_full_there(member, to)) {
        stele_member__command_end(
            command, stele_fail(&command->err, STELE_CONDITION_FAILED, 0,
                                "transfer: the disk of node %llu is full, so it could not lead: "
                                "make room there first",
                                (unsigned long long)to));
        return;
    }
    const int outcome =
        stele_raft_transfer(stele_replica_raft(member->replica), group, to, &command->err);
    if (outcome != STELE_OK) {
        stele_member__command_end(
            command, outcome == STELE_INCOMPLETE
                         ? stele_fail(&command->err, STELE_CONDITION_FAILED, 0,
                                      "transfer: not now, because that node lags behind or the "
                                      "group is being changed; try again")
                         : outcome);
        return;
    }
    stele_member__want_turn(member);
    stele_member__command_answer(command, json_pack("{s:s, s:i, s:I}", "outcome", "begun",
                                                    "partition", (int)group, "to", (json_int_t)to));
}

static void run(struct stele_member *member, struct stele_cluster_command *command)
{
    if (member->replica == NULL) {
        stele_member__command_end(command, stele_fail(&command->err, STELE_E_CLOSED, 0,
                                                      "%s: this node takes no part in the cluster",
                                                      command->verb));
        return;
    }
    json_error_t error;
    json_t *body = command->body.size == 0
                       ? json_object()
                       : json_loadb((const char *)command->body.data, command->body.size,
                                    JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(body)) {
        json_decref(body);
        stele_member__command_end(command,
                                  stele_fail(&command->err, STELE_E_INVALID, 0,
                                             "%s: the body is no JSON object", command->verb));
        return;
    }
    if (strcmp(command->verb, "cut") == 0) {
        stele_member__cut(member, command);
        json_decref(body);
        return;
    }
    if (strcmp(command->verb, "transfer") == 0) {
        transfer(member, command, body);
        json_decref(body);
        return;
    }
    struct stele_meta_command *meta = stele_allocate_zeroed(member->alloc, sizeof *meta);
    json_t *at_once = NULL;
    int outcome = STELE_OK;
    if (meta == NULL) {
        outcome = stele_fail(&command->err, STELE_E_NO_MEMORY, 0, "no memory");
    } else if (strcmp(command->verb, "rebalance") == 0) {
        outcome = stele_member__to_rebalance(member, command, body, meta, &at_once);
    } else {
        outcome = to_meta(member, command, body, meta);
    }
    json_decref(body);
    if (outcome == STELE_OK && at_once != NULL) {
        stele_member__command_answer(command, at_once);
    } else if (outcome == STELE_OK) {
        struct stele_member__ask *ask = stele_member__ask_create(member, meta);
        if (ask == NULL) {
            outcome = stele_fail(&command->err, STELE_E_NO_MEMORY, 0, "no memory");
        } else {
            ask->command = command;
            ask->on_result = on_result;
            stele_member__ask(member, ask);
        }
    }
    if (meta != NULL) {
        stele_release(member->alloc, meta, sizeof *meta);
    }
    if (outcome != STELE_OK) {
        stele_member__command_end(command, outcome);
    }
}

void stele_member__run_commands(struct stele_member *member)
{
    (void)pthread_mutex_lock(&member->inbox_lock);
    struct stele_cluster_command *command = member->commands;
    member->commands = NULL;
    (void)pthread_mutex_unlock(&member->inbox_lock);
    while (command != NULL) {
        struct stele_cluster_command *next = command->next;
        run(member, command);
        command = next;
    }
}

void stele_member__command(struct stele_cluster *cluster, struct stele_cluster_command *command)
{
    struct stele_member *member =
        (struct stele_member *)(void *)((uint8_t *)cluster -
                                        offsetof(struct stele_member, cluster));
    if (strcmp(command->verb, "digest") == 0) {
        stele_member__digest(member, command);
        return;
    }
    (void)pthread_mutex_lock(&member->inbox_lock);
    const bool closed = member->closed;
    bool post = false;
    if (!closed) {
        struct stele_cluster_command **last = &member->commands;
        while (*last != NULL) {
            last = &(*last)->next;
        }
        command->next = NULL;
        *last = command;
        post = !member->inbox_posted;
        member->inbox_posted = true;
    }
    (void)pthread_mutex_unlock(&member->inbox_lock);
    if (closed) {
        stele_member__command_end(command, stele_fail(&command->err, STELE_E_CLOSED, 0,
                                                      "%s: this node takes no part in the cluster",
                                                      command->verb));
    } else if (post) {
        stele_loop_post(member->base, &member->inbox_task);
    }
}
