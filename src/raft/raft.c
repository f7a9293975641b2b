/* Opening, closing, what comes in from the owner, facts. */
#include "raft/raft_internal.h"

/* Older ones commit what they must not. The library itself cannot be asked: the function is not exported; but
 * none of those has raft_step(). */
_Static_assert(RAFT_VERSION_NUMBER >= 2201, "libraft 0.22.1 or later is needed");

#define INBOUND_BYTES_MAX ((uint64_t)256 * 1024 * 1024)
#define SUBMITTED_BYTES_MAX ((uint64_t)128 * 1024 * 1024)
#define UNCOMMITTED_MAX 65536

struct stele_raft_options stele_raft_options_default(void)
{
    return (struct stele_raft_options){
        .wal = {.segment_size = (uint64_t)16 * 1024 * 1024, .spares_max = 4},
        .groups_count = 1,
        .election_ms = 300,
        .heartbeat_ms = 60,
        .entries_in_flight_max = 1024,
        .message_size_max = (uint64_t)1024 * 1024,
        .cache_size = (uint64_t)64 * 1024 * 1024,
        .trailing = 65536,
        .wal_keep = (uint64_t)128 * 1024 * 1024,
    };
}

static bool are_sound(const struct stele_raft_options *options)
{
    if (options->node == 0 || options->groups_count == 0 ||
        options->groups_count > STELE_RAFT_GROUPS_MAX ||
        options->founders_count > STELE_RAFT_NODES_MAX || options->election_ms == 0 ||
        options->heartbeat_ms == 0 || options->heartbeat_ms >= options->election_ms ||
        options->entries_in_flight_max == 0 || options->message_size_max == 0) {
        return false;
    }
    for (size_t i = 0; i < options->founders_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (options->founders[i] == options->founders[j]) {
                return false;
            }
        }
        if (options->founders[i] == 0) {
            return false;
        }
    }
    return true;
}

/* ---- Opening ---- */

/* What opening has put has to be durable before libraft is told that it is there. */
static int write_all(struct stele_raft *raft, struct stele_error *err)
{
    struct stele_wal_group group;
    while (stele_wal_take(raft->wal, &group)) {
        const int outcome =
            raft->io->ops->write_durable(group.file, group.offset, group.bytes, err);
        stele_wal_done(raft->wal, group.id, outcome);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

static int open_groups(struct stele_raft *raft, struct stele_error *err)
{
    for (uint32_t i = 0; i < raft->options.groups_count; i++) {
        raft->groups[i].number = i;
        raft->groups[i].first = 1;
        raft->groups[i].submits_end = &raft->groups[i].submits;
    }
    struct stele_raft__recovery recovery = {raft, err};
    int outcome = stele_wal_open(raft->io, &raft->options.wal, stele_raft__on_record, &recovery,
                                 &raft->wal, err);
    for (uint32_t i = 0; outcome == STELE_OK && i < raft->options.groups_count; i++) {
        outcome = stele_raft__settle(raft, &raft->groups[i], err);
    }
    if (outcome == STELE_OK && raft->stalled) {
        outcome = stele_fail(err, STELE_E_NO_SPACE, 0, "no room for the beginning of the log");
    }
    if (outcome == STELE_OK) {
        outcome = write_all(raft, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    raft->durable = stele_wal_durable(raft->wal);
    for (uint32_t i = 0; i < raft->options.groups_count; i++) {
        raft->groups[i].hard_pending = false;
        raft->groups[i].pending = false;
    }
    raft->pending_count = 0;
    for (uint32_t i = 0; outcome == STELE_OK && i < raft->options.groups_count; i++) {
        outcome = stele_raft__start(raft, &raft->groups[i], err);
    }
    return outcome;
}

int stele_raft_open(struct stele_io *io, const struct stele_raft_options *options,
                    const struct stele_raft_env *env, void *context, int64_t now_ms,
                    struct stele_raft **out_raft, struct stele_error *err)
{
    STELE_ASSERT(env->send != NULL);
    STELE_ASSERT(env->committed != NULL);
    STELE_ASSERT(env->changed != NULL);
    STELE_ASSERT(env->install != NULL);
    if (!are_sound(options)) {
        return stele_fail(err, STELE_E_INVALID, 0, "the options for the Raft groups are unsound");
    }
    struct stele_raft *const raft = stele_allocate_zeroed(io->alloc, sizeof *raft);
    if (raft == NULL) {
        return STELE_E_NO_MEMORY;
    }
    const uint32_t count = options->groups_count;
    raft->io = io;
    raft->alloc = io->alloc;
    raft->options = *options;
    raft->env = *env;
    raft->context = context;
    raft->dirty_first = UINT32_MAX;
    raft->inbound_end = &raft->inbound;
    raft->now_ms = now_ms;
    raft->origin_ms = now_ms;
    raft->due_ms = now_ms;
    stele_raft__address(options->node, raft->address);
    raft->groups = stele_allocate_zeroed(io->alloc, count * sizeof *raft->groups);
    raft->pending = stele_allocate_zeroed(io->alloc, count * sizeof *raft->pending);
    raft->pending_spare = stele_allocate_zeroed(io->alloc, count * sizeof *raft->pending);
    raft->dues_ms = stele_allocate_zeroed(io->alloc, count * sizeof *raft->dues_ms);
    int outcome = raft->groups == NULL || raft->pending == NULL || raft->pending_spare == NULL ||
                          raft->dues_ms == NULL
                      ? STELE_E_NO_MEMORY
                      : open_groups(raft, err);
    if (outcome != STELE_OK) {
        stele_raft_close(raft);
        return outcome;
    }
    /* The founders are the caller's and were needed until here only. */
    raft->options.founders = NULL;
    raft->options.founders_count = 0;
    *out_raft = raft;
    return STELE_OK;
}

static void close_group(struct stele_raft *raft, struct stele_raft__group *group)
{
    if (group->started) {
        raft_close(&group->raft, NULL);
    }
    while (group->submits != NULL) {
        struct stele_raft__submit *const submit = group->submits;
        group->submits = submit->next;
        stele_raft__payload_destroy(raft, submit->payload);
        stele_release(raft->alloc, submit, sizeof *submit);
    }
    stele_raft__queue_clear(raft, &group->held);
    if (group->capacity > 0) { /* Otherwise memory may have run out before it was made. */
        stele_raft__forget(raft, group, group->last);
    }
    stele_release(raft->alloc, group->entries, (size_t)group->capacity * sizeof *group->entries);
    stele_release(raft->alloc, group->configs, group->configs_capacity * sizeof *group->configs);
    stele_buf_deinit(&group->snapshot.data, raft->alloc);
    stele_buf_deinit(&group->install.data, raft->alloc);
}

void stele_raft_close(struct stele_raft *raft)
{
    if (raft == NULL) {
        return;
    }
    const uint32_t count = raft->options.groups_count;
    for (uint32_t i = 0; raft->groups != NULL && i < count; i++) {
        close_group(raft, &raft->groups[i]);
    }
    for (size_t i = 0; i < STELE_RAFT_NODES_MAX; i++) {
        stele_raft__queue_clear(raft, &raft->peers[i].queue);
        stele_release(raft->alloc, raft->peers[i].sent, count * sizeof *raft->peers[i].sent);
    }
    while (raft->free_messages != NULL) {
        struct stele_raft__message *const message = raft->free_messages;
        raft->free_messages = message->next;
        stele_release(raft->alloc, message, sizeof *message);
    }
    while (raft->inbound != NULL) {
        struct stele_raft__inbound *const inbound = raft->inbound;
        raft->inbound = inbound->next;
        stele_release(raft->alloc, inbound, sizeof *inbound + inbound->size);
    }
    stele_wal_close(raft->wal);
    stele_buf_deinit(&raft->frame, raft->alloc);
    stele_buf_deinit(&raft->scratch, raft->alloc);
    stele_release(raft->alloc, raft->batch, raft->batch_capacity * sizeof *raft->batch);
    stele_release(raft->alloc, raft->batch_payloads,
                  raft->batch_capacity * sizeof *raft->batch_payloads);
    stele_release(raft->alloc, raft->groups, count * sizeof *raft->groups);
    stele_release(raft->alloc, raft->pending, count * sizeof *raft->pending);
    stele_release(raft->alloc, raft->pending_spare, count * sizeof *raft->pending);
    stele_release(raft->alloc, raft->dues_ms, count * sizeof *raft->dues_ms);
    stele_release(raft->alloc, raft, sizeof *raft);
}

/* ---- In ---- */

int stele_raft_receive(struct stele_raft *raft, uint64_t from, struct stele_bytes frame,
                       struct stele_error *err)
{
    const char *why = NULL;
    if (from == raft->options.node ||
        !stele_raft__frame_is_valid(frame, from, raft->options.node, raft->options.groups_count,
                                    &why)) {
        return stele_fail(err, STELE_E_INVALID, 0, "a frame of node %llu %s",
                          (unsigned long long)from, why != NULL ? why : "is one's own");
    }
    raft->counts.frames_received++;
    struct stele_raft__inbound *const inbound =
        raft->inbound_bytes > INBOUND_BYTES_MAX
            ? NULL
            : stele_allocate(raft->alloc, sizeof *inbound + frame.size);
    if (inbound == NULL) {
        /* As if it had been lost on the way, which everybody has to live with. */
        raft->counts.messages_dropped++;
        return STELE_OK;
    }
    inbound->next = NULL;
    inbound->from = from;
    inbound->size = frame.size;
    memcpy(inbound->data, frame.data, frame.size);
    *raft->inbound_end = inbound;
    raft->inbound_end = &inbound->next;
    raft->inbound_bytes += frame.size;
    raft->due_ms = raft->now_ms;
    return STELE_OK;
}

/* An only voter leads before its term is durable; nobody hears of it until then, not even its owner, because
 * after a crash it would lead in the same term for the first time. */
static enum stele_raft_role role_of(const struct stele_raft__group *group)
{
    switch (group->raft.state) {
    case RAFT_LEADER:
        return group->hard_pending ? STELE_RAFT_CANDIDATE : STELE_RAFT_LEADER;
    case RAFT_CANDIDATE:
        return STELE_RAFT_CANDIDATE;
    default:
        return STELE_RAFT_FOLLOWER;
    }
}

bool stele_raft_is_full(const struct stele_raft *raft)
{
    return raft->stalled;
}

/* Would an entry find room on a majority? */
static bool has_room(const struct stele_raft *raft, const struct stele_raft__group *group)
{
    if (raft->stalled || raft->full_count == 0) {
        return !raft->stalled;
    }
    const struct stele_raft__members *const members = stele_raft__members_at(group, UINT64_MAX);
    uint32_t full = 0;
    for (size_t i = 0; i < STELE_RAFT_NODES_MAX; i++) {
        full += raft->peers[i].is_full &&
                stele_raft__members_role(members, raft->peers[i].node) == RAFT_VOTER;
    }
    const uint32_t voters = stele_raft__members_voters(members);
    return voters - full > voters / 2;
}

int stele_raft_submit(struct stele_raft *raft, uint32_t group_number, uint64_t term,
                      struct stele_bytes payload, uint64_t *out_index)
{
    STELE_ASSERT(group_number < raft->options.groups_count);
    STELE_ASSERT(payload.size > 0);
    STELE_ASSERT(payload.size <= STELE_RAFT__PAYLOAD_SIZE_MAX);
    struct stele_raft__group *const group = &raft->groups[group_number];
    if (raft->failed != STELE_OK) {
        return STELE_E_FENCED;
    }
    if (role_of(group) != STELE_RAFT_LEADER || raft_current_term(&group->raft) != term ||
        raft_transferee(&group->raft) != 0 || group->transfer_wanted) {
        return STELE_NOT_FOUND;
    }
    if (!has_room(raft, group)) {
        return STELE_E_NO_SPACE;
    }
    const uint64_t waiting = group->last - group->told + group->submits_count;
    if (waiting >= UNCOMMITTED_MAX || raft->submitted_bytes > SUBMITTED_BYTES_MAX) {
        return STELE_E_OVERLOADED;
    }
    const int outcome = stele_raft__submit_put(raft, group, term, RAFT_COMMAND, payload);
    if (outcome == STELE_OK) {
        *out_index = group->last + group->submits_count + group->want_barrier;
        raft->due_ms = raft->now_ms;
    }
    return outcome;
}

bool stele_raft_take(struct stele_raft *raft, struct stele_wal_group *out_group)
{
    return stele_wal_take(raft->wal, out_group);
}

void stele_raft_done(struct stele_raft *raft, uint64_t id, int outcome)
{
    stele_wal_done(raft->wal, id, outcome);
    raft->due_ms = raft->now_ms;
}

int64_t stele_raft_due_ms(const struct stele_raft *raft)
{
    return raft->due_ms;
}

/* ---- Facts ---- */

static uint64_t leader_of(const struct stele_raft *raft, const struct stele_raft__group *group)
{
    switch (group->raft.state) {
    case RAFT_LEADER:
        return group->hard_pending ? 0 : raft->options.node;
    case RAFT_FOLLOWER:
        /* libraft keeps the leader of the term before until it hears of another one. */
        return group->leader_term == raft_current_term(&group->raft)
                   ? group->raft.follower_state.current_leader.id
                   : 0;
    default:
        return 0;
    }
}

void stele_raft_status(const struct stele_raft *raft, uint32_t group_number,
                       struct stele_raft_status *out_status)
{
    STELE_ASSERT(group_number < raft->options.groups_count);
    const struct stele_raft__group *const group = &raft->groups[group_number];
    const uint64_t commit = raft_commit_index(&group->raft);
    *out_status = (struct stele_raft_status){
        .role = role_of(group),
        .term = raft_current_term(&group->raft),
        .leader = leader_of(raft, group),
        .first_index = group->first,
        .last_index = group->last,
        .stored_index = group->installing ? 0 : group->stored,
        .commit_index = group->installing        ? group->told
                        : commit < group->stored ? commit
                                                 : group->stored,
        .snapshot_index = group->snapshot.index,
        .installing = group->installing,
    };
}

struct stele_bytes stele_raft_snapshot_data(const struct stele_raft *raft, uint32_t group_number)
{
    STELE_ASSERT(group_number < raft->options.groups_count);
    const struct stele_buf *const data = &raft->groups[group_number].snapshot.data;
    return (struct stele_bytes){.data = data->data, .size = data->size};
}

void stele_raft_counts(const struct stele_raft *raft, struct stele_raft_counts *out_counts)
{
    *out_counts = raft->counts;
    out_counts->wal_bytes = stele_wal_end(raft->wal);
    out_counts->wal_size = stele_wal_size(raft->wal);
}

static void check_group(const struct stele_raft *raft, const struct stele_raft__group *group)
{
    STELE_ASSERT(group->first <= group->last + 1);
    STELE_ASSERT(group->last + 1 - group->first <= group->capacity);
    STELE_ASSERT(group->stored <= group->last);
    STELE_ASSERT(group->term == raft_current_term(&group->raft));
    STELE_ASSERT(group->vote == raft_voted_for(&group->raft));
    STELE_ASSERT(group->snapshot.index + 1 >= group->first || group->installing);
    STELE_ASSERT(group->held.count == 0 || group->hard_pending);
    if (!group->installing) {
        STELE_ASSERT(group->told <= group->stored);
        STELE_ASSERT(group->told >= group->snapshot.index);
        STELE_ASSERT(group->raft.last_stored == group->stored);
    }
    uint64_t term = 0;
    uint64_t place = 0;
    for (uint64_t index = group->first; index <= group->last; index++) {
        const struct stele_raft__entry *const entry = stele_raft__at(group, index);
        STELE_ASSERT(entry->term >= term);
        STELE_ASSERT(index <= group->stored || entry->place >= place);
        STELE_ASSERT(entry->place != STELE_RAFT__UNPLACED || raft->stalled);
        STELE_ASSERT(index > group->stored || entry->place != STELE_RAFT__UNPLACED);
        term = entry->term;
        place = entry->place;
    }
    STELE_ASSERT(term <= group->term);
}

void stele_raft_check(const struct stele_raft *raft)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < raft->options.groups_count; i++) {
        check_group(raft, &raft->groups[i]);
    }
    for (const struct stele_raft__payload *payload = raft->oldest; payload != NULL;
         payload = payload->newer) {
        bytes += sizeof *payload + payload->size;
    }
    STELE_ASSERT(bytes == raft->cache_bytes);
    stele_wal_check(raft->wal);
}
