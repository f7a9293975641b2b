/* What operators ask of placement: one vote moved, all of them evened out, moving paused. What is refused is refused here,
 * with words; the rest is one command for the table, for exactly the version that was looked at. */
#include "server/member_internal.h"

#include <jansson.h>

#define MOVES_MAX 4096 /* That are told. */

/* The version that the operator has seen, if he says which. */
static int judge_version(const struct stele_member *member, struct stele_cluster_command *from,
                         const json_t *body)
{
    const json_t *version = json_object_get(body, "if_version");
    if (json_is_integer(version) &&
        (uint64_t)json_integer_value(version) != member->meta->version) {
        return stele_fail(&from->err, STELE_CONDITION_FAILED, 0,
                          "%s: the cluster has changed since this was planned (its table has "
                          "version %llu); look at it again",
                          from->verb, (unsigned long long)member->meta->version);
    }
    return STELE_OK;
}

int stele_member__to_move(struct stele_member *member, struct stele_cluster_command *from,
                          const json_t *body, uint64_t from_node, uint64_t to_node,
                          struct stele_meta_command *to)
{
    const json_t *partition = json_object_get(body, "partition");
    if (!json_is_integer(partition) || json_integer_value(partition) < 0 ||
        json_integer_value(partition) >= member->identity.partitions) {
        return stele_fail(&from->err, STELE_E_INVALID, 0,
                          "move: give a partition below %u and two nodes: "
                          "{\"partition\": 3, \"from\": \"n1\", \"to\": \"n2\"}",
                          member->identity.partitions);
    }
    if (from_node == 0 || to_node == 0) {
        return stele_fail(&from->err, STELE_NOT_FOUND, 0,
                          "move: \"%s\" is no node of the cluster: {\"partition\": 3, \"from\": "
                          "\"n1\", \"to\": \"n2\"}",
                          from_node == 0 ? "from" : "to");
    }
    const struct stele_placement_move move = {
        .partition = (uint32_t)json_integer_value(partition), .from = from_node, .to = to_node};
    struct stele_error err = {.outcome = STELE_OK};
    int outcome = judge_version(member, from, body);
    if (outcome == STELE_OK && stele_member__is_moving(member, move.partition)) {
        return stele_fail(&from->err, STELE_CONDITION_FAILED, 0,
                          "move: the voters of partition %u are changing already; wait until they "
                          "have",
                          move.partition);
    }
    if (outcome == STELE_OK && stele_member__is_full_there(member, move.to)) {
        return stele_fail(&from->err, STELE_CONDITION_FAILED, 0,
                          "move: the disk of node %llu is full, so it could not vote: make room "
                          "there first",
                          (unsigned long long)move.to);
    }
    if (outcome == STELE_OK) {
        outcome = stele_plan_move(member->alloc, member->meta, stele_member__plan_load(member),
                                  stele_member__alive_nodes(member), &move, to, &err);
        outcome = outcome == STELE_OK ? outcome
                                      : stele_fail(&from->err, outcome, 0, "move: %s", err.message);
    }
    return outcome;
}

static json_t *render_imbalance(const struct stele_plan_imbalance *imbalance)
{
    return json_pack("{s:i, s:i, s:i}", "votes", (int)imbalance->votes, "bytes",
                     (int)imbalance->bytes, "rate", (int)imbalance->rate);
}

static json_t *render_list(struct stele_member *member, const struct stele_meta_command *command,
                           uint64_t *out_bytes)
{
    struct stele_placement_move *moves = stele_allocate(member->alloc, MOVES_MAX * sizeof moves[0]);
    json_t *list = json_array();
    if (moves == NULL) {
        return list;
    }
    const size_t count = stele_plan_moves(member->meta, command, moves, MOVES_MAX);
    for (size_t i = 0; i < count && i < MOVES_MAX; i++) {
        const uint64_t bytes =
            stele_load_bytes(&member->load->seen, moves[i].partition, member->load->stored);
        *out_bytes += bytes;
        (void)json_array_append_new(
            list, json_pack("{s:i, s:I, s:I, s:I}", "partition", (int)moves[i].partition, "from",
                            (json_int_t)moves[i].from, "to", (json_int_t)moves[i].to, "bytes",
                            (json_int_t)bytes));
    }
    stele_release(member->alloc, moves, MOVES_MAX * sizeof moves[0]);
    return list;
}

/* Where every node has everything a vote is handed on without its bytes, except to nodes that are still getting them. */
static uint64_t bytes_to_copy(struct stele_member *member, const json_t *list)
{
    uint64_t bytes = 0;
    size_t i = 0;
    const json_t *one = NULL;
    json_array_foreach(list, i, one)
    {
        const struct stele_meta_node *const to =
            stele_meta_find(member->meta, (uint64_t)json_integer_value(json_object_get(one, "to")));
        if (to != NULL && to->state == STELE_META_JOINING) {
            bytes += (uint64_t)json_integer_value(json_object_get(one, "bytes"));
        }
    }
    return bytes;
}

/* What a command would change, and how even it was and would be. command: NULL: none is needed. */
static json_t *render_plan(struct stele_member *member, const struct stele_meta_command *command,
                           const struct stele_plan_load *load)
{
    char words[STELE_PLAN_WORDS_SIZE] = "";
    struct stele_plan_imbalance before = {.votes = 0};
    struct stele_plan_imbalance after = {.votes = 0};
    struct stele_meta *const moved = stele_allocate(member->alloc, sizeof *moved);
    uint64_t bytes = 0;
    int outcome = moved == NULL ? STELE_E_NO_MEMORY
                                : stele_plan_imbalance(member->alloc, member->meta, load, &before);
    if (outcome == STELE_OK) {
        *moved = *member->meta;
        if (command != NULL) {
            stele_plan_apply(moved, command);
        }
        outcome = stele_plan_imbalance(member->alloc, moved, load, &after);
        stele_plan_explain(moved, load, &after, words);
    }
    if (moved != NULL) {
        stele_release(member->alloc, moved, sizeof *moved);
    }
    if (outcome != STELE_OK) {
        return NULL;
    }
    json_t *const list = command == NULL ? json_array() : render_list(member, command, &bytes);
    return json_pack("{s:s, s:I, s:o, s:I, s:I, s:o, s:o, s:s}", "outcome",
                     json_array_size(list) == 0 ? "same" : "planned", "table_version",
                     (json_int_t)member->meta->version, "moves", list, "bytes", (json_int_t)bytes,
                     "bytes_to_copy", (json_int_t)bytes_to_copy(member, list), "before",
                     render_imbalance(&before), "after", render_imbalance(&after), "words", words);
}

int stele_member__to_rebalance(struct stele_member *member, struct stele_cluster_command *from,
                               const json_t *body, struct stele_meta_command *to,
                               json_t **out_answer)
{
    *out_answer = NULL;
    if (stele_plan_replicas(member->meta) == 0) {
        return stele_fail(&from->err, STELE_CONDITION_FAILED, 0,
                          "rebalance: all nodes vote in every partition, so there is nothing to "
                          "move; to change that: stele cluster set %s 3",
                          STELE_META_REPLICATION_FACTOR);
    }
    if (stele_plan_is_paused(member->meta)) {
        return stele_fail(&from->err, STELE_CONDITION_FAILED, 0,
                          "rebalance: moving is paused; to go on: stele cluster resume");
    }
    int outcome = judge_version(member, from, body);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_plan_load *const load = stele_member__plan_load(member);
    outcome = stele_plan_voters(member->alloc, member->meta, load, 0, to);
    if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
        return stele_fail(&from->err, outcome, 0, "rebalance: no memory");
    }
    if (outcome == STELE_NOT_FOUND || json_is_true(json_object_get(body, "dry_run"))) {
        *out_answer = render_plan(member, outcome == STELE_OK ? to : NULL, load);
        return *out_answer == NULL
                   ? stele_fail(&from->err, STELE_E_NO_MEMORY, 0, "rebalance: no memory")
                   : STELE_OK;
    }
    return STELE_OK;
}
