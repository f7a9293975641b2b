/* From the records of the WAL to started groups.
 *
 * Records are told in the order in which they were written, but the oldest may have been trimmed away; whatever of
 * them is still needed was written again before that, marked so (STELE_RAFT__AGAIN). Three rules follow:
 *
 *   - an entry at an index that the log has takes back what was there and behind it, unless it is marked and is
 *     the same entry: then only its place has changed
 *   - an entry before the log, or behind a gap, begins the log anew: what was read before belongs to a log
 *     whose other part is gone, so it is void, or comes again
 *   - what a log lacks at the end of all records was lost, and that is damage */
#include "raft/raft_internal.h"

static void begin_log(struct stele_raft *raft, struct stele_raft__group *group, uint64_t first)
{
    stele_raft__forget(raft, group, group->last);
    group->first = first;
    group->last = first - 1;
    group->configs_count = 0;
}

static int on_entry(struct stele_raft *raft, struct stele_raft__group *group,
                    const struct stele_wal_record *record, uint64_t place)
{
    const bool is_again = (record->type & STELE_RAFT__AGAIN) != 0;
    const uint8_t type = record->type & (uint8_t)~STELE_RAFT__AGAIN;
    if (record->index == 0 || record->term == 0 || type < RAFT_COMMAND || type > RAFT_CHANGE) {
        return STELE_E_CORRUPT;
    }
    if (record->index < group->first || record->index > group->last + 1) {
        begin_log(raft, group, record->index);
    }
    if (record->index <= group->last) {
        struct stele_raft__entry *const entry = stele_raft__at(group, record->index);
        if (is_again && entry->term == record->term && entry->type == type) {
            entry->place = place;
            return STELE_OK;
        }
        stele_raft__truncate(raft, group, record->index);
    }
    int outcome =
        stele_raft__add(raft, group, record->term, type, (uint32_t)record->payload.size, place);
    if (outcome == STELE_OK && type == RAFT_CHANGE) {
        outcome = stele_raft__members_push(raft, group, record->index, record->payload);
    }
    if (outcome == STELE_OK && type == RAFT_COMMAND && record->payload.size > 0 &&
        raft->env.stored != NULL) {
        const struct stele_raft_entry stored = {
            .index = record->index, .term = record->term, .payload = record->payload};
        raft->env.stored(raft->context, group->number, &stored);
    }
    return outcome;
}

static int on_snapshot(struct stele_raft *raft, struct stele_raft__group *group,
                       const struct stele_wal_record *record, uint64_t place)
{
    const struct stele_bytes payload = record->payload;
    if (record->index == 0 || record->term == 0 ||
        payload.size < STELE_RAFT__SNAPSHOT_HEADER_SIZE ||
        payload.data[0] != STELE_RAFT__SNAPSHOT_VERSION) {
        return STELE_E_CORRUPT;
    }
    const uint32_t members_size = stele_load_u32le(payload.data + 4);
    if (members_size > payload.size - STELE_RAFT__SNAPSHOT_HEADER_SIZE) {
        return STELE_E_CORRUPT;
    }
    struct stele_raft__snapshot *const snapshot = &group->snapshot;
    snapshot->members.index = stele_load_u64le(payload.data + 8);
    if (!stele_raft__members_decode(
            stele_bytes_slice(payload, STELE_RAFT__SNAPSHOT_HEADER_SIZE, members_size),
            &snapshot->members)) {
        return STELE_E_CORRUPT;
    }
    snapshot->index = record->index;
    snapshot->term = record->term;
    snapshot->place = place;
    snapshot->data.size = 0;
    const size_t data_at = STELE_RAFT__SNAPSHOT_HEADER_SIZE + members_size;
    if ((payload.data[1] & STELE_RAFT__SNAPSHOT_INSTALL) != 0) {
        begin_log(raft, group, record->index + 1);
    }
    return stele_buf_append(&snapshot->data, raft->alloc,
                            stele_bytes_slice(payload, data_at, payload.size - data_at));
}

int stele_raft__on_record(void *context, const struct stele_wal_record *record, uint64_t place)
{
    const struct stele_raft__recovery *const recovery = context;
    struct stele_raft *const raft = recovery->raft;
    if (record->group >= raft->options.groups_count) {
        return stele_fail(recovery->err, STELE_E_INVALID, 0,
                          "the log knows group %u, and there are to be %u", record->group,
                          raft->options.groups_count);
    }
    struct stele_raft__group *const group = &raft->groups[record->group];
    int outcome = STELE_OK;
    switch (record->kind) {
    case STELE_WAL_ENTRY:
        outcome = on_entry(raft, group, record, place);
        break;
    case STELE_WAL_HARD:
        group->term = record->term;
        group->vote = record->index;
        group->hard_place = place;
        break;
    case STELE_WAL_SNAPSHOT:
        outcome = on_snapshot(raft, group, record, place);
        break;
    default:
        break;
    }
    if (outcome == STELE_E_CORRUPT) {
        return stele_fail(recovery->err, outcome, 0,
                          "group %u: the record at place %llu makes no sense", record->group,
                          (unsigned long long)place);
    }
    return outcome;
}

/* ---- What was found ---- */

static bool is_whole(const struct stele_raft__group *group)
{
    const struct stele_raft__snapshot *const snapshot = &group->snapshot;
    const uint64_t last_term =
        group->last >= group->first ? stele_raft__at(group, group->last)->term : snapshot->term;
    if (last_term > group->term) {
        return false;
    }
    if (snapshot->index == 0) {
        return group->last < group->first ||
               (group->first == 1 && stele_raft__at(group, 1)->type == RAFT_CHANGE);
    }
    return group->first <= snapshot->index + 1 &&
           (group->first > snapshot->index ||
            stele_raft__at(group, snapshot->index)->term == snapshot->term);
}

/* The beginning that all members agree on: the same entry, in the same term, that nobody has voted in. */
static int found(struct stele_raft *raft, struct stele_raft__group *group, struct stele_error *err)
{
    struct stele_raft__members members = {.index = 1,
                                          .count = (uint32_t)raft->options.founders_count};
    for (uint32_t i = 0; i < members.count; i++) {
        members.nodes[i] = raft->options.founders[i];
        members.roles[i] = RAFT_VOTER;
    }
    uint8_t bytes[STELE_RAFT__MEMBERS_SIZE_MAX];
    const size_t size = stele_raft__members_encode(&members, bytes);
    group->term = 1;
    group->vote = 0;
    int outcome = stele_raft__put_hard(raft, group, err);
    if (outcome == STELE_OK) {
        outcome =
            stele_raft__add(raft, group, 1, RAFT_CHANGE, (uint32_t)size, STELE_RAFT__UNPLACED);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_raft__payload *const payload =
        stele_raft__payload_create(raft, (struct stele_bytes){bytes, size});
    if (payload == NULL) {
        return STELE_E_NO_MEMORY;
    }
    stele_raft__keep(raft, group, 1, payload);
    outcome = stele_raft__members_push(raft, group, 1, (struct stele_bytes){bytes, size});
    return outcome == STELE_OK ? stele_raft__put_entry(raft, group, 1, false, err) : outcome;
}

int stele_raft__settle(struct stele_raft *raft, struct stele_raft__group *group,
                       struct stele_error *err)
{
    const struct stele_raft__snapshot *const snapshot = &group->snapshot;
    if (group->last < snapshot->index) {
        begin_log(raft, group, snapshot->index + 1);
    }
    if (!is_whole(group)) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "group %u: the log has entries %llu to %llu, which do not fit its "
                          "snapshot (%llu) and term (%llu)",
                          group->number, (unsigned long long)group->first,
                          (unsigned long long)group->last, (unsigned long long)snapshot->index,
                          (unsigned long long)group->term);
    }
    uint32_t void_count = 0;
    while (void_count < group->configs_count &&
           group->configs[void_count].index <= snapshot->members.index) {
        void_count++;
    }
    group->configs_count -= void_count;
    if (group->configs_count > 0) {
        memmove(group->configs, group->configs + void_count,
                group->configs_count * sizeof *group->configs);
    }
    group->told = snapshot->index;
    if (raft->options.founders_count > 0 && group->last == 0 && group->term <= 1 &&
        group->vote == 0) {
        const int outcome = found(raft, group, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    group->stored = group->last;
    return STELE_OK;
}

/* ---- Starting ---- */

static void set_up(const struct stele_raft *raft, struct stele_raft__group *group)
{
    struct raft *const engine = &group->raft;
    /* It traces to standard error if an environment variable says so, through a buffer of the whole process. */
    engine->tracer = NULL;
    /* Any two groups and nodes differ, or their elections would collide for ever; 0 is a fixed point. */
    const uint64_t seed = (raft->options.seed + raft->options.node * 0x9e3779b97f4a7c15u +
                           group->number * 0xd1342543de82ef95u) *
                          0xbf58476d1ce4e5b9u;
    raft_seed(engine, (unsigned)(seed >> 32) | 1u);
    raft_set_election_timeout(engine, raft->options.election_ms);
    raft_set_heartbeat_timeout(engine, raft->options.heartbeat_ms);
    raft_set_install_snapshot_timeout(engine, 8 * raft->options.election_ms);
    raft_set_pre_vote(engine, true);
    raft_set_max_catch_up_rounds(engine, 100);
    raft_set_max_catch_up_round_duration(engine, 100 * raft->options.election_ms);
}

/* libraft wants one record for each entry, with bytes for changes of members only. */
static struct raft_entry *list_entries(const struct stele_raft__group *group, uint8_t *members)
{
    const uint64_t count = group->last + 1 - group->first;
    struct raft_entry *const entries = raft_calloc((size_t)count, sizeof *entries);
    if (entries == NULL) {
        return NULL;
    }
    for (uint64_t i = 0; i < count; i++) {
        const struct stele_raft__entry *const entry = stele_raft__at(group, group->first + i);
        entries[i].term = entry->term;
        entries[i].type = (enum raft_entry_type)entry->type;
    }
    for (uint32_t i = 0; i < group->configs_count; i++) {
        struct raft_entry *const entry = &entries[group->configs[i].index - group->first];
        entry->buf.base = members + (size_t)i * STELE_RAFT__MEMBERS_SIZE_MAX;
        entry->buf.len = stele_raft__members_encode(&group->configs[i], entry->buf.base);
    }
    return entries;
}

static int fire_start(struct stele_raft *raft, struct stele_raft__group *group,
                      struct stele_error *err)
{
    struct raft_event event = {.type = RAFT_START};
    struct raft_snapshot_metadata metadata;
    event.start.term = group->term;
    event.start.voted_for = group->vote;
    event.start.start_index = group->first;
    if (group->snapshot.index != 0) {
        metadata.index = group->snapshot.index;
        metadata.term = group->snapshot.term;
        metadata.configuration_index = group->snapshot.members.index;
        const int outcome =
            stele_raft__members_export(&group->snapshot.members, &metadata.configuration);
        if (outcome != STELE_OK) {
            return outcome;
        }
        event.start.metadata = &metadata;
    }
    event.start.n_entries = (unsigned)(group->last + 1 - group->first);
    const size_t members_size = group->configs_count * (size_t)STELE_RAFT__MEMBERS_SIZE_MAX;
    uint8_t *const members = members_size > 0 ? stele_allocate(raft->alloc, members_size) : NULL;
    if (members_size > 0 && members == NULL) {
        return STELE_E_NO_MEMORY;
    }
    int outcome = STELE_OK;
    if (event.start.n_entries > 0) {
        event.start.entries = list_entries(group, members);
        outcome = event.start.entries == NULL ? STELE_E_NO_MEMORY : STELE_OK;
    }
    if (outcome == STELE_OK) {
        outcome = stele_raft__step(raft, group, &event, NULL, err);
        if (outcome == STELE_OK) {
            raft_free(event.start.entries); /* On failure it has done so. */
        }
    }
    stele_release(raft->alloc, members, members_size);
    return outcome;
}

int stele_raft__start(struct stele_raft *raft, struct stele_raft__group *group,
                      struct stele_error *err)
{
    if (raft_init(&group->raft, NULL, NULL, raft->options.node, raft->address) != 0) {
        return STELE_E_NO_MEMORY;
    }
    group->started = true;
    group->beat_ms = raft->now_ms;
    group->leader_heard_ms = raft->now_ms;
    set_up(raft, group);
    /* D10: libraft makes an only voter the leader at once, and of the term in which it was before. */
    const struct stele_raft__members *const members = stele_raft__members_at(group, UINT64_MAX);
    if (members != NULL && stele_raft__members_voters(members) == 1 &&
        stele_raft__members_role(members, raft->options.node) == RAFT_VOTER) {
        group->term++;
        group->vote = raft->options.node;
        group->alone_term = group->term;
        const int outcome = stele_raft__put_hard(raft, group, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    const int outcome = fire_start(raft, group, err);
    if (outcome == STELE_OK) {
        stele_raft__schedule(raft, group);
    }
    return outcome;
}
