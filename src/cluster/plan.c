#include "cluster/plan.h"

#include "base/status.h"
#include "cluster/placement.h"

/* The nodes of the table, those in `open` as ones that take something. */
static void list_nodes(const struct stele_meta *meta, uint64_t open,
                       struct stele_placement_node nodes[STELE_META_NODES_MAX])
{
    for (size_t i = 0; i < meta->nodes_count; i++) {
        nodes[i] = (struct stele_placement_node){.number = meta->nodes[i].number,
                                                 .zone = meta->nodes[i].zone,
                                                 .open = (open >> i & 1) != 0};
    }
}

static uint64_t active_of(const struct stele_meta *meta)
{
    uint64_t active = 0;
    for (size_t i = 0; i < meta->nodes_count; i++) {
        active |= (uint64_t)(meta->nodes[i].state == STELE_META_ACTIVE) << i;
    }
    return active;
}

/* Who may lead: the voters of each partition, STELE_META_REPLICAS_MAX in a row; NULL: everybody. */
static const uint64_t *rows_of(const struct stele_meta *meta)
{
    return meta->voters_version == 0 ? NULL : &meta->voters[0][0];
}

/* leaders: those that stay if they may, or NULL. May be the same as out_leaders. */
static int spread(struct stele_alloc *alloc, const struct stele_meta *meta, uint64_t open,
                  const uint64_t *leaders, uint32_t percent, uint64_t *out_leaders)
{
    struct stele_placement_node nodes[STELE_META_NODES_MAX];
    list_nodes(meta, open, nodes);
    const struct stele_placement placement = {.nodes = nodes,
                                              .nodes_count = meta->nodes_count,
                                              .partitions = meta->partitions,
                                              .replicas = STELE_META_REPLICAS_MAX};
    return stele_placement_leaders(alloc, &placement, rows_of(meta), leaders, percent, out_leaders);
}

static bool is_in(const struct stele_meta *meta, uint64_t nodes, uint64_t number)
{
    for (size_t i = 0; i < meta->nodes_count; i++) {
        if (meta->nodes[i].number == number) {
            return (nodes >> i & 1) != 0;
        }
    }
    return false;
}

int stele_plan_leaders(struct stele_alloc *alloc, const struct stele_meta *meta, uint64_t able,
                       uint64_t *out_leaders)
{
    const uint64_t active = active_of(meta);
    STELE_ASSERT(meta->version > 0);
    if ((active & able) == 0) {
        memset(out_leaders, 0, meta->partitions * sizeof out_leaders[0]);
        return STELE_OK;
    }
    int outcome = spread(alloc, meta, active, NULL, 0, out_leaders);
    for (uint32_t i = 0; i < meta->partitions && outcome == STELE_OK; i++) {
        const uint64_t named = meta->leaders[i];
        out_leaders[i] =
            named != 0 && stele_meta_should_vote(meta, i, named) ? named : out_leaders[i];
    }
    if (outcome == STELE_OK && (active & ~able) != 0) {
        /* Only what has lost its leader: evenness waits until they come back, or go for good. */
        outcome = spread(alloc, meta, active & able, out_leaders, 100, out_leaders);
    }
    for (uint32_t i = 0; i < meta->partitions && outcome == STELE_OK; i++) {
        const uint64_t named = meta->leaders[i];
        if (named != 0 && is_in(meta, active & able, named) &&
            stele_meta_should_vote(meta, i, named)) {
            out_leaders[i] = named;
        }
    }
    return outcome;
}

/* ---- Voters ---- */

bool stele_plan_is_replicas(const char *value)
{
    return value[0] == '\0' ||
           (value[0] >= '1' && value[0] <= '0' + STELE_META_REPLICAS_MAX && value[1] == '\0');
}

uint32_t stele_plan_replicas(const struct stele_meta *meta)
{
    const char *const value = stele_meta_setting(meta, STELE_META_REPLICATION_FACTOR);
    return value == NULL || !stele_plan_is_replicas(value) ? 0 : (uint32_t)(value[0] - '0');
}

bool stele_plan_is_paused(const struct stele_meta *meta)
{
    const char *const value = stele_meta_setting(meta, STELE_META_REBALANCE);
    return value != NULL && strcmp(value, "paused") == 0;
}

static bool has_votes(const struct stele_meta *meta, uint64_t number)
{
    for (uint32_t i = 0; i < meta->partitions; i++) {
        for (size_t k = 0; k < STELE_META_REPLICAS_MAX; k++) {
            if (meta->voters[i][k] == number) {
                return true;
            }
        }
    }
    return false;
}

/* Who may vote. Those that are drained keep what they have while nothing may move; and some do where there are too few
 * others, first of all those that have votes already. */
static uint64_t open_of(const struct stele_meta *meta)
{
    const bool paused = stele_plan_is_paused(meta);
    uint64_t open = 0;
    for (size_t i = 0; i < meta->nodes_count; i++) {
        open |= (uint64_t)(meta->nodes[i].state != STELE_META_DRAINING) << i;
    }
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < meta->nodes_count; i++) {
            const bool lacks = (uint32_t)__builtin_popcountll(open) < stele_plan_replicas(meta);
            const bool has = round == 0 && has_votes(meta, meta->nodes[i].number);
            if ((open >> i & 1) == 0 && ((lacks && (has || round > 0)) || (paused && has))) {
                open |= UINT64_C(1) << i;
            }
        }
    }
    return open;
}

static size_t width_of(const struct stele_meta *meta)
{
    const size_t open = (size_t)__builtin_popcountll(open_of(meta));
    const size_t replicas = stele_plan_replicas(meta);
    return replicas < open ? replicas : open;
}

bool stele_plan_is_filled(const struct stele_meta *meta)
{
    const bool is_placed =
        stele_plan_replicas(meta) > 0 && (meta->gates & STELE_META_FEATURE_VOTERS) != 0;
    for (uint32_t i = 0; i < meta->partitions && is_placed; i++) {
        if (stele_meta_voters_count(meta, i) < width_of(meta)) {
            return false;
        }
    }
    return true;
}

/* Rows as placement has them, into rows as the table has them. true: they are others than in the table. */
static bool write_rows(const struct stele_meta *meta, const uint64_t *rows, size_t width,
                       struct stele_meta_command *command)
{
    bool differs = false;
    for (uint32_t i = 0; i < meta->partitions; i++) {
        size_t count = 0;
        for (size_t place = 0; place < meta->nodes_count; place++) {
            const uint64_t number = meta->nodes[place].number;
            bool is_there = false;
            for (size_t k = 0; k < width; k++) {
                is_there = is_there || rows[i * width + k] == number;
            }
            if (is_there) {
                differs = differs || meta->voters[i][count] != number;
                command->voters[i][count++] = (uint8_t)(place + 1);
            }
        }
        differs = differs || count != stele_meta_voters_count(meta, i);
    }
    return differs;
}

int stele_plan_voters(struct stele_alloc *alloc, const struct stele_meta *meta, uint32_t begin,
                      struct stele_meta_command *out_command)
{
    const uint32_t replicas = stele_plan_replicas(meta);
    if (replicas == 0 || meta->version == 0 || (meta->gates & STELE_META_FEATURE_VOTERS) == 0) {
        return STELE_NOT_FOUND;
    }
    struct stele_placement_node nodes[STELE_META_NODES_MAX];
    const size_t width = width_of(meta);
    list_nodes(meta, open_of(meta), nodes);
    const struct stele_placement placement = {.nodes = nodes,
                                              .nodes_count = meta->nodes_count,
                                              .partitions = meta->partitions,
                                              .replicas = STELE_META_REPLICAS_MAX};
    struct stele_placement target = placement;
    target.replicas = (uint32_t)width;
    /* What there is, as wide as it may be, and after it what there should be. */
    const size_t size = 2 * (size_t)meta->partitions * STELE_META_REPLICAS_MAX * sizeof(uint64_t);
    uint64_t *const there = stele_allocate_zeroed(alloc, size);
    if (there == NULL) {
        return STELE_E_NO_MEMORY;
    }
    uint64_t *const rows = there + (size_t)meta->partitions * STELE_META_REPLICAS_MAX;
    for (uint32_t i = 0; i < meta->partitions; i++) {
        memcpy(there + i * width, meta->voters[i], width * sizeof(uint64_t));
    }
    const bool uneven =
        !stele_plan_is_paused(meta) && stele_placement_imbalance(&target, there) >= begin;
    int outcome =
        stele_placement_adjust(alloc, &target, there, uneven ? STELE_PLACEMENT_END : 100, rows);
    if (outcome == STELE_OK) {
        memset(out_command, 0, sizeof *out_command);
        out_command->kind = STELE_META_PLACE;
        out_command->if_version = meta->version;
        out_command->partitions = meta->partitions;
        outcome = write_rows(meta, rows, width, out_command) ? STELE_OK : STELE_NOT_FOUND;
    }
    stele_release(alloc, there, size);
    return outcome;
}

/* ---- Steps ---- */

enum stele_plan_role stele_plan_role(const struct stele_meta *meta, uint32_t partition,
                                     uint64_t number)
{
    if (stele_meta_find(meta, number) == NULL) {
        return STELE_PLAN_NONE;
    }
    return partition >= meta->partitions || stele_meta_should_vote(meta, partition, number)
               ? STELE_PLAN_VOTER
               : STELE_PLAN_STANDBY;
}

static enum stele_plan_role role_in(const struct stele_plan_group *group, uint64_t number)
{
    for (size_t i = 0; i < group->count; i++) {
        if (group->nodes[i] == number) {
            return group->roles[i];
        }
    }
    return STELE_PLAN_NONE;
}

/* Of those who should vote and do not: all, or only those that answer. */
static size_t count_missing(const struct stele_meta *meta, const struct stele_plan_group *group,
                            uint64_t among)
{
    size_t missing = 0;
    for (size_t i = 0; i < meta->nodes_count; i++) {
        const uint64_t number = meta->nodes[i].number;
        missing += (among >> i & 1) != 0 && role_in(group, number) != STELE_PLAN_VOTER &&
                   stele_plan_role(meta, group->partition, number) == STELE_PLAN_VOTER;
    }
    return missing;
}

/* Who votes and should not. */
static size_t count_extra(const struct stele_meta *meta, const struct stele_plan_group *group)
{
    size_t extra = 0;
    for (size_t i = 0; i < group->count; i++) {
        extra += group->roles[i] == STELE_PLAN_VOTER &&
                 stele_plan_role(meta, group->partition, group->nodes[i]) != STELE_PLAN_VOTER;
    }
    return extra;
}

enum stele_plan_state stele_plan_state(const struct stele_meta *meta,
                                       const struct stele_plan_group *group, uint64_t alive)
{
    const size_t missing = count_missing(meta, group, alive);
    const size_t extra = count_extra(meta, group);
    if (missing > extra) {
        return STELE_PLAN_FILLING;
    }
    return missing > 0 || (extra > 0 && count_missing(meta, group, UINT64_MAX) == 0)
               ? STELE_PLAN_MOVING
               : STELE_PLAN_SETTLED;
}

/* Has somebody come, and nobody gone yet? */
static bool is_begun(const struct stele_meta *meta, const struct stele_plan_group *group)
{
    size_t votes = 0;
    size_t should = 0;
    for (size_t i = 0; i < group->count; i++) {
        votes += group->roles[i] == STELE_PLAN_VOTER;
    }
    for (size_t i = 0; i < meta->nodes_count; i++) {
        should +=
            stele_plan_role(meta, group->partition, meta->nodes[i].number) == STELE_PLAN_VOTER;
    }
    return votes > should;
}

void stele_plan_moving_add(struct stele_plan_moving *moving, const struct stele_meta *meta,
                           const struct stele_plan_group *group, uint64_t alive)
{
    const enum stele_plan_state state = stele_plan_state(meta, group, alive);
    moving->filling += state == STELE_PLAN_FILLING ? 1 : 0;
    if (state != STELE_PLAN_MOVING) {
        return;
    }
    moving->count++;
    if (is_begun(meta, group)) {
        moving->begun++;
        return;
    }
    if (moving->waiting < STELE_PLACEMENT_MOVES_MAX) {
        moving->first[moving->waiting] = group->partition;
    }
    moving->waiting++;
}

bool stele_plan_may_begin(const struct stele_plan_moving *moving, const struct stele_meta *meta,
                          const struct stele_plan_group *group)
{
    bool may = is_begun(meta, group);
    for (uint32_t i = 0; i < moving->waiting && moving->begun + i < STELE_PLACEMENT_MOVES_MAX;
         i++) {
        may = may || moving->first[i] == group->partition;
    }
    return may && !stele_plan_is_paused(meta);
}

static bool is_step(struct stele_plan_step *step, size_t *skip, uint64_t node,
                    enum stele_plan_role role)
{
    *step = (struct stele_plan_step){.node = node, .role = role};
    return (*skip)-- == 0;
}

/* Those who answer and should be more in the group than they are: become standbys, or voters. */
static bool step_up(const struct stele_meta *meta, const struct stele_plan_group *group,
                    uint64_t alive, enum stele_plan_role to, size_t *skip,
                    struct stele_plan_step *out_step)
{
    for (size_t i = 0; i < meta->nodes_count; i++) {
        const uint64_t number = meta->nodes[i].number;
        const enum stele_plan_role is = role_in(group, number);
        const enum stele_plan_role should = stele_plan_role(meta, group->partition, number);
        const enum stele_plan_role next =
            is == STELE_PLAN_NONE ? STELE_PLAN_STANDBY : STELE_PLAN_VOTER;
        if ((alive >> i & 1) != 0 && is != STELE_PLAN_VOTER && is != should && next == to &&
            is_step(out_step, skip, number, to)) {
            return true;
        }
    }
    return false;
}

/* Those who should be less: gone from the group, or standbys. */
static bool step_down(const struct stele_meta *meta, const struct stele_plan_group *group,
                      enum stele_plan_role to, size_t *skip, struct stele_plan_step *out_step)
{
    for (size_t i = 0; i < group->count; i++) {
        const uint64_t number = group->nodes[i];
        if (stele_plan_role(meta, group->partition, number) == to && group->roles[i] > to &&
            is_step(out_step, skip, number, to)) {
            return true;
        }
    }
    return false;
}

bool stele_plan_step(const struct stele_meta *meta, const struct stele_plan_group *group,
                     uint64_t alive, bool may_begin, size_t skip, struct stele_plan_step *out_step)
{
    const size_t missing = count_missing(meta, group, UINT64_MAX);
    const bool fills = missing > count_extra(meta, group);
    return step_up(meta, group, alive, STELE_PLAN_STANDBY, &skip, out_step) ||
           step_down(meta, group, STELE_PLAN_NONE, &skip, out_step) || /* V4. */
           ((fills || may_begin) &&
            step_up(meta, group, alive, STELE_PLAN_VOTER, &skip, out_step)) ||
           (missing == 0 && step_down(meta, group, STELE_PLAN_STANDBY, &skip, out_step)); /* V1. */
}
