/* What operators see of placement: one vote of one partition from one node to another, refused with words or a command; and
 * what a command would change, and leave uneven. */
#include "base/status.h"
#include "cluster/plan.h"

#include <inttypes.h>
#include <stdio.h>

static size_t place_of(const struct stele_meta *meta, uint64_t number)
{
    size_t place = 0;
    while (place < meta->nodes_count && meta->nodes[place].number != number) {
        place++;
    }
    return place;
}

static int judge_nodes(const struct stele_meta *meta, const struct stele_plan_load *load,
                       uint64_t alive, const struct stele_placement_move *move,
                       struct stele_error *err)
{
    const size_t from = place_of(meta, move->from);
    const size_t to = place_of(meta, move->to);
    if (from == meta->nodes_count || to == meta->nodes_count) {
        return stele_fail(err, STELE_NOT_FOUND, 0, "there is no node %" PRIu64,
                          from == meta->nodes_count ? move->from : move->to);
    }
    const struct stele_meta_node *const target = &meta->nodes[to];
    if (!stele_meta_should_vote(meta, move->partition, move->from)) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "%s has no vote in partition %" PRIu32
                          ": `stele cluster status --json` shows who has",
                          meta->nodes[from].name, move->partition);
    }
    if (stele_meta_should_vote(meta, move->partition, move->to)) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "%s has a vote in partition %" PRIu32
                          " already; to let it lead: stele cluster transfer %" PRIu32 " %s",
                          target->name, move->partition, move->partition, target->name);
    }
    if (target->state == STELE_META_DRAINING) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "%s is drained and gets no votes; to take that back: stele cluster "
                          "undrain %s",
                          target->name, target->name);
    }
    if (target->state == STELE_META_JOINING) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "%s is still joining: wait until it is active", target->name);
    }
    if ((alive >> to & 1) == 0) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "%s does not answer, so it could not vote: start it first", target->name);
    }
    if (load != NULL && (load->full >> to & 1) != 0) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "the disk of %s is full, or nearly: it has less room than has to stay "
                          "free (setting %s); make room there, or choose another node",
                          target->name, STELE_META_DISK_RESERVE);
    }
    return STELE_OK;
}

/* Is a majority of those who would vote there? */
static int judge_quorum(const struct stele_meta *meta, uint64_t alive,
                        const struct stele_placement_move *move, struct stele_error *err)
{
    const size_t count = stele_meta_voters_count(meta, move->partition);
    size_t answer = 0;
    for (size_t k = 0; k < count; k++) {
        const uint64_t number = meta->voters[move->partition][k];
        const size_t place = place_of(meta, number == move->from ? move->to : number);
        answer += (alive >> place & 1) != 0;
    }
    return 2 * answer > count
               ? STELE_OK
               : stele_fail(err, STELE_CONDITION_FAILED, 0,
                            "only %zu of the %zu nodes that would vote in partition %" PRIu32
                            " answer, which is no majority: start the others first",
                            answer, count, move->partition);
}

/* The row with the one in the place of the other. */
static void change_row(struct stele_meta *meta, const struct stele_placement_move *move)
{
    uint64_t *const row = meta->voters[move->partition];
    const size_t count = stele_meta_voters_count(meta, move->partition);
    size_t at = 0;
    while (row[at] != move->from) {
        at++;
    }
    row[at] = move->to;
    for (; at > 0 && row[at - 1] > row[at]; at--) {
        const uint64_t swapped = row[at];
        row[at] = row[at - 1];
        row[at - 1] = swapped;
    }
    for (; at + 1 < count && row[at + 1] < row[at]; at++) {
        const uint64_t swapped = row[at];
        row[at] = row[at + 1];
        row[at + 1] = swapped;
    }
}

static void write_command(const struct stele_meta *meta, struct stele_meta_command *command)
{
    memset(command, 0, sizeof *command);
    command->kind = STELE_META_PLACE;
    command->if_version = meta->version;
    command->partitions = meta->partitions;
    for (uint32_t i = 0; i < meta->partitions; i++) {
        const size_t count = stele_meta_voters_count(meta, i);
        for (size_t k = 0; k < count; k++) {
            command->voters[i][k] = (uint8_t)(place_of(meta, meta->voters[i][k]) + 1);
        }
    }
}

int stele_plan_move(struct stele_alloc *alloc, const struct stele_meta *meta,
                    const struct stele_plan_load *load, uint64_t alive,
                    const struct stele_placement_move *move, struct stele_meta_command *out_command,
                    struct stele_error *err)
{
    if (meta->voters_version == 0 || stele_plan_replicas(meta) == 0) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "all nodes vote in every partition, so there is nothing to move; to "
                          "change that: stele cluster set %s 3",
                          STELE_META_REPLICATION_FACTOR);
    }
    if (stele_plan_is_paused(meta)) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "moving is paused; to go on: stele cluster resume");
    }
    if (move->partition >= meta->partitions) {
        return stele_fail(err, STELE_E_INVALID, 0, "partitions are 0 to %" PRIu32,
                          meta->partitions - 1);
    }
    int outcome = judge_nodes(meta, load, alive, move, err);
    outcome = outcome == STELE_OK ? judge_quorum(meta, alive, move, err) : outcome;
    struct stele_meta *const moved =
        outcome == STELE_OK ? stele_allocate(alloc, sizeof *moved) : NULL;
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (moved == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory");
    }
    *moved = *meta;
    change_row(moved, move);
    /* Would it be taken back? */
    outcome = stele_plan_voters(alloc, moved, load, STELE_PLACEMENT_BEGIN, out_command);
    if (outcome == STELE_OK) {
        outcome =
            stele_fail(err, STELE_CONDITION_FAILED, 0,
                       "%s has its share, or its zone has a vote in partition %" PRIu32
                       " already: votes would be moved on at once; move one away from it first",
                       meta->nodes[place_of(meta, move->to)].name, move->partition);
    } else if (outcome == STELE_NOT_FOUND) {
        write_command(moved, out_command);
        outcome = STELE_OK;
    } else {
        outcome = stele_fail(err, outcome, 0, "no memory");
    }
    stele_release(alloc, moved, sizeof *moved);
    return outcome;
}

size_t stele_plan_moves(const struct stele_meta *meta, const struct stele_meta_command *command,
                        struct stele_placement_move *out_moves, size_t moves_max)
{
    size_t moves = 0;
    for (uint32_t i = 0; i < meta->partitions; i++) {
        uint64_t before = 0;
        uint64_t after = 0;
        for (size_t k = 0; k < STELE_META_REPLICAS_MAX; k++) {
            const uint64_t number = meta->voters[i][k];
            before |= number == 0 ? 0 : UINT64_C(1) << place_of(meta, number);
            after |= command->voters[i][k] == 0 ? 0 : UINT64_C(1) << (command->voters[i][k] - 1);
        }
        uint64_t go = before & ~after;
        for (uint64_t come = after & ~before; come != 0 || go != 0; moves++) {
            const size_t from = go == 0 ? meta->nodes_count : (size_t)__builtin_ctzll(go);
            const size_t to = come == 0 ? meta->nodes_count : (size_t)__builtin_ctzll(come);
            if (moves < moves_max) {
                out_moves[moves] =
                    (struct stele_placement_move){.partition = i,
                                                  .from = go == 0 ? 0 : meta->nodes[from].number,
                                                  .to = come == 0 ? 0 : meta->nodes[to].number};
            }
            go &= go == 0 ? 0 : go - 1;
            come &= come == 0 ? 0 : come - 1;
        }
    }
    return moves;
}

/* Of all partitions, in percent: the largest one. */
static uint32_t largest_share(const struct stele_meta *meta, const uint64_t *weights,
                              uint32_t *out_partition)
{
    uint64_t total = 0;
    uint32_t largest = 0;
    for (uint32_t i = 0; i < meta->partitions; i++) {
        total += weights[i] >> 16; /* 1024 of them, times 100, have to fit. */
        largest = weights[i] > weights[largest] ? i : largest;
    }
    *out_partition = largest;
    return total == 0 ? 0 : (uint32_t)((weights[largest] >> 16) * 100 / total);
}

void stele_plan_explain(const struct stele_meta *meta, const struct stele_plan_load *load,
                        const struct stele_plan_imbalance *after, char words[STELE_PLAN_WORDS_SIZE])
{
    words[0] = '\0';
    const bool is_bytes = after->bytes >= after->rate;
    const uint64_t *const weights = load == NULL ? NULL : is_bytes ? load->bytes : load->rates;
    if ((is_bytes ? after->bytes : after->rate) <= STELE_PLACEMENT_END) {
        return;
    }
    uint32_t partition = 0;
    const uint32_t share = weights == NULL ? 0 : largest_share(meta, weights, &partition);
    /* Of what a node would have if all had the same. */
    const size_t replicas = stele_plan_replicas(meta);
    const bool is_huge = replicas > 0 && share * meta->nodes_count > 50 * replicas;
    if (is_huge) {
        (void)snprintf(words, STELE_PLAN_WORDS_SIZE,
                       "it cannot be more even: partition %" PRIu32 " alone has %" PRIu32
                       " %% of all %s, and a partition cannot be split",
                       partition, share, is_bytes ? "bytes" : "work");
    } else {
        (void)snprintf(words, STELE_PLAN_WORDS_SIZE,
                       "it cannot be more even with whole partitions, zones kept apart and nodes "
                       "that have room");
    }
}
