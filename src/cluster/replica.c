/* The order: what Raft has committed, merged up to the closed stamp; ticks, snapshots, fetching. */
#include "cluster/replica_internal.h"

#define TIME_SIZE 24 /* kind, version, is for stamps, 0, wall clock, highest stamp of a command */
/* A clock that is further ahead than this of what most nodes say is not followed. */
#define AHEAD_US ((int64_t)500000)
#define SNAPSHOT_EVERY_US ((int64_t)500000)
#define TICK_AGAIN_US ((int64_t)1000)
/* The leader may have seen a little more than the origin. */
#define WISH_ABOVE 16

static const char words_fell_behind[] =
    "this node fell behind and took over what the others had decided";

struct stele_replica_options stele_replica_options_default(void)
{
    return (struct stele_replica_options){
        .raft = stele_raft_options_default(),
        .partitions = 128,
        .proposals_max = 65536,
        .proposals_size_max = (uint64_t)256 * 1024 * 1024,
        .resend_us = 200000,
        .give_up_us = 20000000,
        .time_us = 250000,
        .announce_us = 5000,
    };
}

/* ---- Time ---- */

static int compare_ahead(const int64_t *values, size_t count, int64_t value)
{
    int below = 0;
    for (size_t i = 0; i < count; i++) {
        below += values[i] < value ? 1 : 0;
    }
    return below;
}

/* The wall clock, but not further ahead than the clock in the middle says: one clock that is wrong by years must
 * not become everybody's. */
static int64_t sane_wall_us(struct stele_replica *replica)
{
    const int64_t wall = replica->env.wall_us(replica->context);
    int64_t ahead[STELE_RAFT_NODES_MAX + 1];
    size_t count = 0;
    ahead[count++] = 0;
    for (size_t i = 0; i < replica->clocks_count; i++) {
        if (replica->now_us - replica->clocks[i].at_us < 4 * replica->options.time_us) {
            ahead[count++] = replica->clocks[i].ahead_us;
        }
    }
    if (count < 3) {
        return wall;
    }
    int64_t middle = 0;
    for (size_t i = 0; i < count; i++) {
        const int below = compare_ahead(ahead, count, ahead[i]);
        if (below <= (int)(count - 1) / 2) {
            middle = i == 0 || ahead[i] > middle ? ahead[i] : middle;
        }
    }
    return middle < -AHEAD_US ? wall + middle : wall;
}

/* A stamp above every other that this node has seen. 0: the clock has run out. */
uint64_t stele_replica__next_stamp(struct stele_replica *replica, uint32_t group)
{
    uint64_t tick = 0;
    if (stele_hlc_take(&replica->clock, sane_wall_us(replica) / 1000, 1, &tick) != STELE_OK) {
        return 0;
    }
    return stele_position_make(tick, group);
}

/* A wish that is as old, or as far ahead, as no clock in order would have it is not followed. */
uint64_t stele_replica__wished_stamp(struct stele_replica *replica, uint32_t group, uint64_t from)
{
    struct wish *wish = &replica->wish;
    const int64_t wall_us = sane_wall_us(replica);
    if (wish->tick == 0 || wish->node != from || wish->tick <= replica->clock.tick ||
        wish->tick < stele_tick_of_ms((wall_us - AHEAD_US) / 1000) ||
        wish->tick > stele_tick_of_ms((wall_us + AHEAD_US) / 1000)) {
        return stele_replica__next_stamp(replica, group);
    }
    replica->clock.tick = wish->tick++;
    return stele_position_make(replica->clock.tick, group);
}

static void see_stamp(struct stele_replica *replica, uint64_t stamp)
{
    const uint64_t tick = stele_position_tick(stamp);
    if (tick > replica->clock.tick) {
        replica->clock.tick = tick;
    }
}

/* ---- What Raft tells ---- */

static void on_send(void *context, uint64_t node, struct stele_bytes frame)
{
    struct stele_replica *replica = context;
    replica->scratch.size = 0;
    if (stele_buf_reserve(&replica->scratch, replica->alloc, frame.size + 8) != STELE_OK) {
        return; /* As if the network had lost it. */
    }
    memset(replica->scratch.data, 0, 8);
    replica->scratch.data[0] = MESSAGE_RAFT;
    replica->scratch.data[1] = MESSAGE_VERSION;
    memcpy(replica->scratch.data + 8, frame.data, frame.size);
    const struct stele_bytes message = {.data = replica->scratch.data, .size = frame.size + 8};
    replica->env.send(replica->context, node, message);
}

static void on_stored(void *context, uint32_t group, const struct stele_raft_entry *raw)
{
    struct stele_replica *replica = context;
    struct stele_entry entry;
    if (raw->payload.size == 0 || group >= replica->options.partitions ||
        stele_entry_decode(raw->payload, &entry) != STELE_OK) {
        return; /* What it means is decided when it is committed. */
    }
    see_stamp(replica, entry.stamp);
    struct group *at = &replica->groups[group];
    /* Not the highest ever, but that of the log as it is now: what is taken back does not count. */
    at->stamp = entry.stamp;
    if (at->asked_id != 0 && entry.id == at->asked_id &&
        entry.origin == replica->options.raft.node && entry.boot == replica->options.boot) {
        const int64_t took_us = replica->now_us - at->asked_at_us;
        /* The shortest of late: what a busy machine adds is no distance. */
        at->distance_us = took_us < at->distance_us
                              ? took_us
                              : at->distance_us + (took_us - at->distance_us) / 16;
        at->asked_id = 0;
    }
    if (entry.kind == STELE_ENTRY_COMMAND && entry.stamp > replica->wanted) {
        replica->wanted = entry.stamp;
    }
}

static void on_committed_meta(struct stele_replica *replica, const struct stele_raft_entry *raw)
{
    struct stele_entry entry;
    if (raw->payload.size == 0) {
        return;
    }
    if (stele_entry_decode(raw->payload, &entry) != STELE_OK) {
        replica->outcome = STELE_E_FORMAT;
        return;
    }
    const bool own =
        entry.origin == replica->options.raft.node && entry.boot == replica->options.boot;
    replica->env.meta(replica->context, raw->index, own, entry.id, entry.body);
}

static void on_committed(void *context, uint32_t group, const struct stele_raft_entry *raw)
{
    struct stele_replica *replica = context;
    struct group *at = &replica->groups[group];
    STELE_ASSERT(raw->term >= at->committed_term);
    at->committed_term = raw->term;
    at->last_index = raw->index;
    if (replica->outcome != STELE_OK) {
        return;
    }
    if (group == replica->options.partitions) {
        on_committed_meta(replica, raw);
        return;
    }
    if (raw->payload.size == 0) {
        return;
    }
    struct stele_entry entry;
    const int outcome = stele_entry_decode(raw->payload, &entry);
    if (outcome != STELE_OK || stele_position_partition(entry.stamp) != group ||
        entry.stamp <= stele_merge_closed(replica->merge, group)) {
        /* To go on would be to guess: others may have understood it. */
        replica->outcome = outcome == STELE_E_FORMAT ? STELE_E_FORMAT : STELE_E_CORRUPT;
        return;
    }
    at->last_stamp = entry.stamp;
    struct stele_proposal *own = NULL;
    if (entry.kind == STELE_ENTRY_COMMAND && entry.origin == replica->options.raft.node &&
        entry.boot == replica->options.boot) {
        own = stele_replica__take_own(replica, group, entry.id);
    }
    if (entry.kind != STELE_ENTRY_COMMAND || entry.stamp <= stele_merge_done(replica->merge)) {
        stele_merge_close(replica->merge, group, entry.stamp);
        if (own != NULL) {
            /* It came with what was fetched: how it ended is not known here. */
            stele_replica__end_unknown(replica, own, words_fell_behind);
        }
        return;
    }
    struct stele_ordered *command = stele_merge_add(replica->merge, entry.stamp, entry.body);
    if (command == NULL) {
        replica->outcome = STELE_E_NO_MEMORY;
        if (own != NULL) {
            stele_replica__put_back(replica, own);
        }
        return;
    }
    command->origin = entry.origin;
    command->boot = entry.boot;
    command->id = entry.id;
    command->own = own;
}

static void on_changed(void *context, uint32_t group, const struct stele_raft_status *status)
{
    struct stele_replica *replica = context;
    struct group *at = &replica->groups[group];
    at->leader = status->leader;
    at->term = status->term;
    const bool led = at->leads;
    at->leads = status->role == STELE_RAFT_LEADER;
    if (at->leads) {
        at->leader = replica->options.raft.node;
    }
    if (at->leads && !led && group < replica->options.partitions) {
        /* What was submitted or stored above that may have been taken back, which nobody tells: a tick too many
         * does no harm, one that is missing holds all commands. */
        at->stamp = stele_merge_closed(replica->merge, group);
    }
    if (!replica->opening) {
        replica->env.changed(replica->context, group);
    }
}

static void on_install(void *context, uint32_t group, uint64_t from, uint64_t index, uint64_t term,
                       struct stele_bytes data)
{
    struct stele_replica *replica = context;
    struct group *at = &replica->groups[group];
    at->installing = true;
    at->last_index = index;
    at->committed_term = term > at->committed_term ? term : at->committed_term;
    if (group == replica->options.partitions) {
        at->install_stamp = 0;
        replica->env.meta_installed(replica->context, index, data);
        return;
    }
    if (data.size != 8) {
        replica->outcome = STELE_E_CORRUPT;
        return;
    }
    at->install_stamp = stele_load_u64le(data.data);
    if (at->install_stamp > replica->fetch_stamp) {
        replica->fetch_stamp = at->install_stamp;
        replica->fetch_from = from;
    }
}

static const struct stele_raft_env raft_env = {.send = on_send,
                                               .stored = on_stored,
                                               .committed = on_committed,
                                               .changed = on_changed,
                                               .install = on_install};

/* ---- Opening ---- */

/* What the logs no longer have: how far each partition had closed, and the table of nodes. Otherwise a partition
 * that has been idle since would look as if it had closed nothing, and all would wait for its next entry. */
static int restore(struct stele_replica *replica, struct stele_error *err)
{
    for (uint32_t i = 0; i <= replica->options.partitions; i++) {
        struct stele_raft_status status;
        stele_raft_status(replica->raft, i, &status);
        const struct stele_bytes data = stele_raft_snapshot_data(replica->raft, i);
        if (status.snapshot_index == 0) {
            continue;
        }
        replica->groups[i].last_index = status.snapshot_index;
        if (i == replica->options.partitions) {
            replica->env.meta_installed(replica->context, status.snapshot_index, data);
            continue;
        }
        if (data.size != 8) {
            return stele_fail(err, STELE_E_CORRUPT, 0,
                              "cluster: the snapshot of partition %u is of another size", i);
        }
        const uint64_t stamp = stele_load_u64le(data.data);
        struct group *at = &replica->groups[i];
        at->stamp = stamp > at->stamp ? stamp : at->stamp;
        at->last_stamp = stamp;
        at->next_stamp = stamp;
        see_stamp(replica, stamp);
        if (stamp > 0) {
            stele_merge_close(replica->merge, i, stamp);
        }
    }
    return STELE_OK;
}

int stele_replica_open(struct stele_io *io, const struct stele_replica_options *options,
                       const struct stele_replica_env *env, void *context, int64_t now_us,
                       struct stele_replica **out_replica, struct stele_error *err)
{
    struct stele_alloc *alloc = io->alloc;
    if (options->partitions == 0 || options->partitions > STELE_PARTITIONS_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "cluster: %u partitions", options->partitions);
    }
    struct stele_replica *replica = stele_allocate_zeroed(alloc, sizeof *replica);
    if (replica == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "cluster: no memory");
    }
    const size_t groups_count = (size_t)options->partitions + 1;
    replica->alloc = alloc;
    replica->options = *options;
    replica->options.raft.groups_count = (uint32_t)groups_count;
    replica->env = *env;
    replica->context = context;
    replica->durable = options->executed;
    replica->executing = options->executed;
    replica->catching_up = options->catching_up;
    replica->now_us = now_us;
    replica->next_id = 1;
    see_stamp(replica, options->executed);
    replica->groups = stele_allocate_zeroed(alloc, groups_count * sizeof *replica->groups);
    int outcome = STELE_E_NO_MEMORY;
    if (replica->groups != NULL) {
        outcome =
            stele_merge_create(alloc, options->partitions, options->executed, &replica->merge);
    }
    if (outcome == STELE_OK) {
        replica->opening = true;
        outcome = stele_raft_open(io, &replica->options.raft, &raft_env, replica, now_us / 1000,
                                  &replica->raft, err);
        replica->opening = false;
        outcome = outcome == STELE_OK ? restore(replica, err) : outcome;
    } else {
        outcome = stele_fail(err, outcome, 0, "cluster: no memory");
    }
    if (outcome != STELE_OK) {
        stele_replica_close(replica);
        return outcome;
    }
    *out_replica = replica;
    return STELE_OK;
}

static void on_skipped(void *context, struct stele_ordered *command)
{
    struct stele_replica *replica = context;
    struct stele_proposal *own = command->own;
    replica->counts.skipped++;
    if (own != NULL) {
        stele_replica__end_unknown(replica, own, words_fell_behind);
    }
}

void stele_replica_close(struct stele_replica *replica)
{
    if (replica == NULL) {
        return;
    }
    struct stele_alloc *alloc = replica->alloc;
    const size_t groups_count = (size_t)replica->options.partitions + 1;
    if (replica->groups != NULL) {
        stele_replica__give_up_all(replica);
        for (size_t i = 0; i < groups_count; i++) {
            stele_release(alloc, replica->groups[i].inbound,
                          replica->groups[i].inbound_capacity * sizeof(struct inbound));
        }
    }
    if (replica->merge != NULL) {
        stele_merge_skip(replica->merge, UINT64_MAX, on_skipped, replica);
    }
    stele_raft_close(replica->raft);
    stele_merge_destroy(replica->merge);
    stele_release(alloc, replica->groups, groups_count * sizeof *replica->groups);
    stele_buf_deinit(&replica->scratch, alloc);
    stele_release(alloc, replica, sizeof *replica);
}

/* ---- What peers say ---- */

int stele_replica__fail_message(struct stele_error *err, uint64_t from, const char *what)
{
    return stele_fail(err, STELE_E_INVALID, 0, "a message of node %llu: %s",
                      (unsigned long long)from, what);
}

static int on_time(struct stele_replica *replica, uint64_t from, struct stele_bytes message,
                   struct stele_error *err)
{
    if (message.size != TIME_SIZE) {
        return stele_replica__fail_message(err, from, "a time of another size");
    }
    /* Who does not hear the leader of a command's partition would never close its own ones: nobody could
     * execute the command, although a majority has it. */
    const uint64_t wanted = stele_load_u64le(message.data + 16);
    if (message.data[2] == TIME_IS_FOR_STAMPS) {
        replica->wish = (struct wish){
            .node = from, .tick = wanted <= STELE_POSITION_MAX ? stele_position_tick(wanted) : 0};
    } else if (wanted > replica->wanted && wanted <= STELE_POSITION_MAX) {
        replica->wanted = wanted;
        see_stamp(replica, wanted);
    }
    const int64_t wall = (int64_t)stele_load_u64le(message.data + 8);
    const int64_t own = replica->env.wall_us(replica->context);
    size_t at = 0;
    while (at < replica->clocks_count && replica->clocks[at].node != from) {
        at++;
    }
    if (at == STELE_RAFT_NODES_MAX) {
        return STELE_OK;
    }
    replica->clocks_count = at == replica->clocks_count ? at + 1 : replica->clocks_count;
    int64_t ahead = 0;
    if (__builtin_sub_overflow(wall, own, &ahead)) {
        ahead = 0;
    }
    replica->clocks[at] =
        (struct clock_of){.node = from, .ahead_us = ahead, .at_us = replica->now_us};
    return STELE_OK;
}

int stele_replica_receive(struct stele_replica *replica, uint64_t from, struct stele_bytes message,
                          int64_t now_us, struct stele_error *err)
{
    replica->now_us = now_us > replica->now_us ? now_us : replica->now_us;
    if (message.size < 8 || message.data[1] != MESSAGE_VERSION) {
        return stele_replica__fail_message(err, from, "neither of this version nor long enough");
    }
    switch (message.data[0]) {
    case MESSAGE_RAFT:
        return stele_raft_receive(replica->raft, from,
                                  stele_bytes_slice(message, 8, message.size - 8), err);
    case MESSAGE_FORWARD:
        return stele_replica__on_forward(replica, from, message, err);
    case MESSAGE_HAVE:
        return stele_replica__on_have(replica, from, message, err);
    case MESSAGE_TIME:
        return on_time(replica, from, message, err);
    default:
        return stele_replica__fail_message(err, from, "of a kind that is not known");
    }
}

/* ---- A turn ---- */

/* Closes what lags behind the newest command, in every partition that this node leads. */
static bool tick(struct stele_replica *replica)
{
    bool any = false;
    for (uint32_t i = 0; i < replica->options.partitions; i++) {
        struct group *group = &replica->groups[i];
        if (!group->leads || group->stamp >= replica->wanted) {
            continue;
        }
        const struct stele_entry entry = {.kind = STELE_ENTRY_TICK,
                                          .stamp = stele_replica__next_stamp(replica, i)};
        if (entry.stamp != 0 &&
            stele_replica__submit(replica, i, group->term, &entry) == STELE_OK) {
            group->stamp = entry.stamp;
            replica->counts.ticks++;
            any = true;
        }
    }
    return any;
}

static bool tick_is_due(const struct stele_replica *replica)
{
    for (uint32_t i = 0; i < replica->options.partitions; i++) {
        if (replica->groups[i].leads && replica->groups[i].stamp < replica->wanted) {
            return true;
        }
    }
    return false;
}

static void execute(struct stele_replica *replica)
{
    if (replica->fetching || replica->outcome != STELE_OK) {
        return;
    }
    for (;;) {
        struct stele_ordered *command = stele_merge_next(replica->merge);
        if (command == NULL) {
            return;
        }
        struct stele_proposal *own = command->own;
        if (own != NULL) {
            stele_replica__forget(replica, own);
        }
        STELE_ASSERT(command->stamp > replica->executing); /* K2. */
        replica->executing = command->stamp;
        replica->counts.executed++;
        replica->env.execute(replica->context, command);
    }
}

/* Everything up to this stamp is executed and durable here. */
static uint64_t durable_through(const struct stele_replica *replica)
{
    if (replica->durable < replica->executing || replica->fetching || replica->catching_up) {
        return replica->durable;
    }
    const uint64_t closed = stele_merge_closed_all(replica->merge, NULL);
    if (stele_merge_first(replica->merge) <= closed) {
        return replica->durable; /* The next turn gives it to execute(). */
    }
    return closed > replica->durable ? closed : replica->durable;
}

/* Lets entries go whose effects are durable. */
static int snapshot(struct stele_replica *replica, struct stele_error *err)
{
    const uint64_t through = durable_through(replica);
    for (uint32_t i = 0; i < replica->options.partitions; i++) {
        struct group *group = &replica->groups[i];
        if (group->next_index > 0 && group->next_stamp <= through && !group->installing) {
            uint8_t data[8];
            stele_store_u64le(data, group->next_stamp);
            const struct stele_bytes bytes = {.data = data, .size = sizeof data};
            const int outcome =
                stele_raft_snapshot(replica->raft, i, group->next_index, bytes, err);
            if (outcome != STELE_OK) {
                return outcome;
            }
            group->next_index = 0;
        }
        if (group->next_index == 0 && group->last_stamp > group->next_stamp) {
            group->next_index = group->last_index;
            group->next_stamp = group->last_stamp;
        }
    }
    return stele_raft_trim(replica->raft, err);
}

int stele_replica_meta_snapshot(struct stele_replica *replica, uint64_t index,
                                struct stele_bytes data, struct stele_error *err)
{
    return stele_raft_snapshot(replica->raft, replica->options.partitions, index, data, err);
}

static int finish_installs(struct stele_replica *replica, struct stele_error *err)
{
    if ((replica->fetch_stamp > replica->durable || replica->catching_up) && !replica->fetching) {
        replica->fetching = true;
        replica->catching_up = false;
        replica->env.fetch(replica->context, replica->fetch_from, replica->fetch_stamp);
    }
    for (uint32_t i = 0; i <= replica->options.partitions; i++) {
        struct group *group = &replica->groups[i];
        if (!group->installing || group->install_stamp > replica->durable) {
            continue;
        }
        if (i < replica->options.partitions) {
            if (group->install_stamp > stele_merge_closed(replica->merge, i)) {
                stele_merge_close(replica->merge, i, group->install_stamp);
            }
            group->stamp =
                group->install_stamp > group->stamp ? group->install_stamp : group->stamp;
            group->last_stamp = group->install_stamp;
            group->next_index = 0;
            group->next_stamp = group->install_stamp;
            see_stamp(replica, group->install_stamp);
            /* What was forwarded may have been committed below the snapshot. */
            stele_replica__give_up_sent(replica, i, words_fell_behind);
        }
        group->installing = false;
        const int outcome = stele_raft_installed(replica->raft, i, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

/* To one node, what may be its stamps; to all others, a time. */
static void send_times(struct stele_replica *replica, uint64_t to, uint64_t wished)
{
    uint64_t nodes[STELE_RAFT_NODES_MAX];
    enum stele_raft_member members[STELE_RAFT_NODES_MAX];
    const size_t count =
        stele_raft_members(replica->raft, replica->options.partitions, nodes, members);
    const uint64_t wall_us = (uint64_t)replica->env.wall_us(replica->context);
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[TIME_SIZE] = {MESSAGE_TIME, MESSAGE_VERSION};
        bytes[2] = nodes[i] == to ? TIME_IS_FOR_STAMPS : 0;
        stele_store_u64le(bytes + 8, wall_us);
        stele_store_u64le(bytes + 16, nodes[i] == to ? wished : replica->wanted);
        const struct stele_bytes message = {.data = bytes, .size = sizeof bytes};
        if (nodes[i] != replica->options.raft.node) {
            replica->env.send(replica->context, nodes[i], message);
        }
    }
}

/* Without this, other partitions would tick when the command reaches them from its leader; now they do so at the same
 * time. All that is said is that there will be a command with such a stamp, which the leader gives it if it can. If it
 * cannot, or the command never comes, they have ticked once too often. */
void stele_replica__announce(struct stele_replica *replica, uint64_t leader, uint64_t count)
{
    STELE_ASSERT(count > 0);
    struct stele_hlc clock = replica->clock;
    uint64_t first = 0;
    if (stele_hlc_take(&clock, sane_wall_us(replica) / 1000, count + WISH_ABOVE, &first) !=
        STELE_OK) {
        return;
    }
    const uint64_t wanted = stele_position_make(clock.tick, STELE_PARTITIONS_MAX - 1);
    replica->clock = clock;
    replica->wanted = wanted > replica->wanted ? wanted : replica->wanted;
    send_times(replica, leader, stele_position_make(first + WISH_ABOVE, 0));
}

static int raft_turn(struct stele_replica *replica, struct stele_error *err)
{
    const int outcome = stele_raft_turn(replica->raft, replica->now_us / 1000, err);
    if (outcome != STELE_OK) {
        replica->outcome = outcome;
        return outcome;
    }
    if (replica->outcome != STELE_OK) {
        return stele_fail(err, replica->outcome, 0,
                          "the log of the cluster holds something that this node cannot execute");
    }
    return STELE_OK;
}

int stele_replica_turn(struct stele_replica *replica, int64_t now_us, struct stele_error *err)
{
    replica->now_us = now_us > replica->now_us ? now_us : replica->now_us;
    if (replica->outcome != STELE_OK) {
        return stele_fail(err, replica->outcome, 0, "this node has stopped taking part");
    }
    for (uint32_t i = 0; i < replica->options.partitions; i++) {
        stele_replica__route(replica, i);
    }
    int outcome = raft_turn(replica, err);
    if (outcome == STELE_OK &&
        replica->now_us - replica->ticked_at_us >= replica->options.tick_us && tick(replica)) {
        replica->ticked_at_us = replica->now_us;
        outcome = raft_turn(replica, err);
    }
    if (outcome == STELE_OK) {
        outcome = finish_installs(replica, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    execute(replica);
    if (replica->now_us - replica->time_at_us >= replica->options.time_us) {
        replica->time_at_us = replica->now_us;
        send_times(replica, 0, 0);
        stele_replica__give_up_late(replica);
    }
    if (replica->now_us - replica->snapshot_at_us >= SNAPSHOT_EVERY_US) {
        replica->snapshot_at_us = replica->now_us;
        outcome = snapshot(replica, err);
    }
    return outcome;
}

int64_t stele_replica_due_us(const struct stele_replica *replica)
{
    int64_t due = stele_raft_due_ms(replica->raft) * 1000;
    const int64_t time = replica->time_at_us + replica->options.time_us;
    due = time < due ? time : due;
    if (tick_is_due(replica)) {
        /* Those that were due and are still there could not be submitted: not again at once. */
        int64_t next = replica->ticked_at_us + replica->options.tick_us;
        next = next > replica->now_us ? next : replica->now_us + TICK_AGAIN_US;
        due = next < due ? next : due;
    }
    for (uint32_t i = 0; i < replica->options.partitions; i++) {
        const struct group *group = &replica->groups[i];
        if ((group->sent.first != NULL || group->queued.first != NULL) &&
            group->resend_at_us > replica->now_us && group->resend_at_us < due) {
            due = group->resend_at_us;
        }
    }
    return due;
}

bool stele_replica_take(struct stele_replica *replica, struct stele_wal_group *out_group)
{
    return stele_raft_take(replica->raft, out_group);
}

void stele_replica_done(struct stele_replica *replica, uint64_t id, int outcome)
{
    stele_raft_done(replica->raft, id, outcome);
}

bool stele_replica_expects(const struct stele_replica *replica)
{
    for (uint32_t i = 0; i < replica->options.partitions; i++) {
        const struct group *group = &replica->groups[i];
        if (!group->leads && group->leader != 0 && group->stamp < replica->wanted) {
            return true;
        }
    }
    return false;
}

void stele_replica_executed(struct stele_replica *replica, uint64_t stamp)
{
    STELE_ASSERT(stamp <= replica->executing);
    replica->durable = stamp > replica->durable ? stamp : replica->durable;
}

void stele_replica_fetched(struct stele_replica *replica, uint64_t stamp)
{
    STELE_ASSERT(replica->fetching);
    replica->fetching = false;
    if (stamp > replica->durable) {
        replica->durable = stamp;
        replica->executing = stamp > replica->executing ? stamp : replica->executing;
        see_stamp(replica, stamp);
        stele_merge_skip(replica->merge, stamp, on_skipped, replica);
    }
}

/* ---- Facts ---- */

struct stele_raft *stele_replica_raft(struct stele_replica *replica)
{
    return replica->raft;
}

uint32_t stele_replica_meta_group(const struct stele_replica *replica)
{
    return replica->options.partitions;
}

uint64_t stele_replica_leader(const struct stele_replica *replica, uint32_t group)
{
    STELE_ASSERT(group <= replica->options.partitions);
    return replica->groups[group].leader;
}

void stele_replica_counts(const struct stele_replica *replica,
                          struct stele_replica_counts *out_counts)
{
    *out_counts = replica->counts;
    out_counts->closed = stele_merge_closed_all(replica->merge, &out_counts->slowest);
    out_counts->wanted = replica->wanted;
    out_counts->seen = stele_position_make(replica->clock.tick, STELE_PARTITIONS_MAX - 1);
    out_counts->durable = durable_through(replica);
    out_counts->waiting = stele_merge_waiting(replica->merge);
    out_counts->proposals = replica->proposals;
    out_counts->fetching = replica->fetching;
}

void stele_replica_check(const struct stele_replica *replica)
{
    stele_merge_check(replica->merge);
    stele_raft_check(replica->raft);
    STELE_ASSERT(replica->durable <= replica->executing);
    for (uint32_t i = 0; i < replica->options.partitions; i++) {
        const struct group *group = &replica->groups[i];
        STELE_ASSERT(stele_position_tick(group->stamp) <= replica->clock.tick); /* K3 */
        STELE_ASSERT(group->sent.first == NULL || group->lane_term > 0);
    }
}
