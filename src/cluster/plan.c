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
    uint64_t bit = 1;
    for (size_t i = 0; i < meta->nodes_count; i++, bit <<= 1) {
        active |= meta->nodes[i].state == STELE_META_ACTIVE ? bit : 0;
    }
    return active;
}

/* Who may lead: the voters of each partition, STELE_META_REPLICAS_MAX in a row; NULL: everybody. */
static const uint64_t *rows_of(const struct stele_meta *meta)
{
    return meta->voters_version == 0 ? NULL : &meta->voters[0][0];
}

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

/* By rates, the leaders that there should be, and room for others. The whole is `leaders`, to be released. */
struct leading {
    struct stele_placement_node nodes[STELE_META_NODES_MAX];
    struct stele_placement placement;
    uint64_t *leaders, *others;
    size_t size;
};

static int leading_create(struct stele_alloc *alloc, const struct stele_meta *meta,
                          const struct stele_plan_load *load, struct leading *leading)
{
    list_nodes(meta, active_of(meta), leading->nodes);
    leading->placement = (struct stele_placement){.nodes = leading->nodes,
                                                  .nodes_count = meta->nodes_count,
                                                  .partitions = meta->partitions,
                                                  .replicas = 1,
                                                  .rates = load == NULL ? NULL : load->rates};
    leading->size = 2 * (size_t)meta->partitions * sizeof(uint64_t);
    leading->leaders = stele_allocate_zeroed(alloc, leading->size);
    if (leading->leaders == NULL) {
        return STELE_E_NO_MEMORY;
    }
    leading->others = leading->leaders + meta->partitions;
    const int outcome = stele_plan_leaders(alloc, meta, UINT64_MAX, leading->leaders);
    if (outcome != STELE_OK) {
        stele_release(alloc, leading->leaders, leading->size);
    }
    return outcome;
}

int stele_plan_lead(struct stele_alloc *alloc, const struct stele_meta *meta,
                    const struct stele_plan_load *load, struct stele_meta_command *out_command)
{
    struct leading leading;
    if (meta->version == 0 || stele_plan_is_paused(meta) || stele_plan_is_manual(meta)) {
        return STELE_NOT_FOUND;
    }
    int outcome = leading_create(alloc, meta, load, &leading);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const uint32_t before = stele_placement_imbalance(&leading.placement, leading.leaders);
    struct stele_placement wide = leading.placement;
    wide.replicas = STELE_META_REPLICAS_MAX;
    outcome = before < STELE_PLACEMENT_BEGIN
                  ? STELE_NOT_FOUND
                  : stele_placement_leaders(alloc, &wide, rows_of(meta), leading.leaders,
                                            STELE_PLACEMENT_END, leading.others);
    if (outcome == STELE_OK &&
        stele_placement_imbalance(&leading.placement, leading.others) + STELE_PLACEMENT_GAIN >
            before) {
        outcome = STELE_NOT_FOUND;
    }
    if (outcome == STELE_OK) {
        memset(out_command, 0, sizeof *out_command);
        out_command->kind = STELE_META_PREFER;
        out_command->if_version = meta->version;
        out_command->partitions = meta->partitions;
        memcpy(out_command->leaders, leading.others, meta->partitions * sizeof(uint64_t));
    }
    stele_release(alloc, leading.leaders, leading.size);
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

static bool is_rebalance(const struct stele_meta *meta, const char *value)
{
    const char *const is = stele_meta_setting(meta, STELE_META_REBALANCE);
    return is != NULL && strcmp(is, value) == 0;
}

bool stele_plan_is_paused(const struct stele_meta *meta)
{
    return is_rebalance(meta, "paused");
}

bool stele_plan_is_manual(const struct stele_meta *meta)
{
    return is_rebalance(meta, "manual");
}

bool stele_plan_is_rebalance(const char *value)
{
    return value[0] == '\0' || strcmp(value, "paused") == 0 || strcmp(value, "manual") == 0;
}

bool stele_plan_is_size(const char *value, uint64_t *out_size)
{
    static const struct {
        const char *name;
        unsigned shift;
    } units[] = {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
    uint64_t size = 0;
    const char *at = value;
    for (; *at >= '0' && *at <= '9' && size < UINT64_C(1) << 40; at++) {
        size = size * 10 + (uint64_t)(*at - '0');
    }
    for (size_t i = 0; i < STELE_COUNT_OF(units); i++) {
        const bool fits = size < UINT64_C(1) << (62 - units[i].shift);
        if (strcmp(at, units[i].name) == 0 && fits && (at > value || *at == '\0')) {
            if (out_size != NULL) {
                *out_size = size << units[i].shift;
            }
            return true;
        }
    }
    return false;
}

uint64_t stele_plan_disk_reserve(const struct stele_meta *meta)
{
    const char *const value = stele_meta_setting(meta, STELE_META_DISK_RESERVE);
    uint64_t size = STELE_PLAN_DISK_RESERVE;
    return value != NULL && value[0] != '\0' && stele_plan_is_size(value, &size)
               ? size
               : STELE_PLAN_DISK_RESERVE;
}

uint64_t stele_plan_copy_rate(const struct stele_meta *meta)
{
    const char *const value = stele_meta_setting(meta, STELE_PLAN_COPY_RATE_KEY);
    uint64_t rate = 0;
    if (value == NULL || !stele_plan_is_size(value, &rate) || rate == 0) {
        return STELE_PLAN_COPY_RATE;
    }
    return rate < STELE_PLAN_COPY_RATE_MIN ? STELE_PLAN_COPY_RATE_MIN : rate;
}

bool stele_plan_is_copy_rate(const char *value)
{
    uint64_t rate = 0;
    return stele_plan_is_size(value, &rate) &&
           (value[0] == '\0' || rate >= STELE_PLAN_COPY_RATE_MIN);
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
    uint64_t bit = 1;
    for (size_t i = 0; i < meta->nodes_count; i++, bit <<= 1) {
        open |= meta->nodes[i].state != STELE_META_DRAINING ? bit : 0;
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

/* The votes that there are, as placement has them. */
struct votes {
    struct stele_placement_node nodes[STELE_META_NODES_MAX];
    struct stele_placement placement;
    uint64_t *there, *rows; /* What there is, and room for what there should be. */
    size_t size;            /* Of both, in bytes. */
};

static int votes_create(struct stele_alloc *alloc, const struct stele_meta *meta,
                        const struct stele_plan_load *load, struct votes *votes)
{
    const size_t width = width_of(meta);
    list_nodes(meta, open_of(meta), votes->nodes);
    for (size_t i = 0; i < meta->nodes_count && load != NULL; i++) {
        votes->nodes[i].full = (load->full >> i & 1) != 0;
    }
    votes->placement = (struct stele_placement){
        .nodes = votes->nodes,
        .nodes_count = meta->nodes_count,
        .partitions = meta->partitions,
        .replicas = (uint32_t)width,
        .bytes = load == NULL ? NULL : load->bytes,
        .rates = load == NULL ? NULL : load->rates,
    };
    votes->size = 2 * (size_t)meta->partitions * STELE_META_REPLICAS_MAX * sizeof(uint64_t);
    votes->there = stele_allocate_zeroed(alloc, votes->size);
    if (votes->there == NULL) {
        return STELE_E_NO_MEMORY;
    }
    votes->rows = votes->there + (size_t)meta->partitions * STELE_META_REPLICAS_MAX;
    for (uint32_t i = 0; i < meta->partitions; i++) {
        memcpy(votes->there + i * width, meta->voters[i], width * sizeof(uint64_t));
    }
    return STELE_OK;
}

static void votes_destroy(struct stele_alloc *alloc, struct votes *votes)
{
    stele_release(alloc, votes->there, votes->size);
}

/* What is even enough stays, and so does what gains too little by moving; what is missing is filled in any case. */
static int adjust(struct stele_alloc *alloc, struct votes *votes, bool may_even, uint32_t begin)
{
    const struct stele_placement *const placement = &votes->placement;
    const uint32_t before = stele_placement_imbalance(placement, votes->there);
    int outcome = STELE_OK;
    bool is_worth = false;
    if (may_even && before >= begin) {
        outcome = stele_placement_adjust(alloc, placement, votes->there, STELE_PLACEMENT_END,
                                         votes->rows);
        const uint32_t after = stele_placement_imbalance(placement, votes->rows);
        is_worth = begin == 0 || after + STELE_PLACEMENT_GAIN <= before;
    }
    return is_worth || outcome != STELE_OK
               ? outcome
               : stele_placement_adjust(alloc, placement, votes->there, STELE_PLACEMENT_NEVER,
                                        votes->rows);
}

int stele_plan_voters(struct stele_alloc *alloc, const struct stele_meta *meta,
                      const struct stele_plan_load *load, uint32_t begin,
                      struct stele_meta_command *out_command)
{
    if (stele_plan_replicas(meta) == 0 || meta->version == 0 ||
        (meta->gates & STELE_META_FEATURE_VOTERS) == 0) {
        return STELE_NOT_FOUND;
    }
    struct votes votes;
    int outcome = votes_create(alloc, meta, load, &votes);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const bool may_even =
        !stele_plan_is_paused(meta) && (begin == 0 || !stele_plan_is_manual(meta));
    outcome = adjust(alloc, &votes, may_even, begin);
    if (outcome == STELE_OK) {
        memset(out_command, 0, sizeof *out_command);
        out_command->kind = STELE_META_PLACE;
        out_command->if_version = meta->version;
        out_command->partitions = meta->partitions;
        outcome = write_rows(meta, votes.rows, votes.placement.replicas, out_command)
                      ? STELE_OK
                      : STELE_NOT_FOUND;
    }
    votes_destroy(alloc, &votes);
    return outcome;
}

static uint32_t imbalance_by(const struct votes *votes, const uint64_t *weights)
{
    struct stele_placement placement = votes->placement;
    placement.bytes = weights;
    placement.rates = NULL;
    return stele_placement_imbalance(&placement, votes->there);
}

int stele_plan_imbalance(struct stele_alloc *alloc, const struct stele_meta *meta,
                         const struct stele_plan_load *load,
                         struct stele_plan_imbalance *out_imbalance)
{
    *out_imbalance = (struct stele_plan_imbalance){.votes = 0};
    struct leading leading;
    int outcome =
        meta->version == 0 ? STELE_NOT_FOUND : leading_create(alloc, meta, load, &leading);
    if (outcome != STELE_OK) {
        return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
    }
    out_imbalance->leaders = stele_placement_imbalance(&leading.placement, leading.leaders);
    stele_release(alloc, leading.leaders, leading.size);
    struct votes votes;
    if (meta->voters_version == 0 || width_of(meta) == 0) {
        return STELE_OK; /* Everybody votes everywhere. */
    }
    outcome = votes_create(alloc, meta, load, &votes);
    if (outcome == STELE_OK) {
        out_imbalance->votes = imbalance_by(&votes, NULL);
        out_imbalance->bytes = imbalance_by(&votes, load == NULL ? NULL : load->bytes);
        out_imbalance->rate = imbalance_by(&votes, load == NULL ? NULL : load->rates);
        votes_destroy(alloc, &votes);
    }
    return outcome;
}

void stele_plan_apply(struct stele_meta *meta, const struct stele_meta_command *command)
{
    for (uint32_t i = 0; i < meta->partitions && command->kind == STELE_META_PLACE; i++) {
        for (size_t k = 0; k < STELE_META_REPLICAS_MAX; k++) {
            const uint8_t place = command->voters[i][k];
            meta->voters[i][k] = place == 0 ? 0 : meta->nodes[place - 1].number;
        }
    }
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
