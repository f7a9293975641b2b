/* Messages of other nodes into libraft, with the guards (D…) against what it does not look at. */
#include "raft/raft_internal.h"

bool stele_raft__is_only_voter(const struct stele_raft__group *group, uint64_t node)
{
    const struct raft_configuration *const all = &group->raft.configuration;
    uint32_t voters = 0;
    bool is_voter = false;
    for (unsigned i = 0; i < all->n; i++) {
        voters += all->servers[i].role == RAFT_VOTER;
        is_voter = is_voter || (all->servers[i].role == RAFT_VOTER && all->servers[i].id == node);
    }
    return is_voter && voters == 1;
}

/* What libraft would misunderstand is as good as lost on the way. */
static bool is_to_be_dropped(const struct stele_raft *raft, const struct stele_raft__group *group,
                             uint64_t from, const struct raft_message *message)
{
    const uint64_t term = raft_current_term(&group->raft);
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        return group->raft.state == RAFT_LEADER && message->append_entries.term == term;
    case RAFT_INSTALL_SNAPSHOT:
        /* While one is installed, libraft forgets to release the second. */
        return group->installing ||
               (group->raft.state == RAFT_LEADER && message->install_snapshot.term == term);
    case RAFT_APPEND_ENTRIES_RESULT: {
        /* D4: a rejection that was overtaken by an acknowledgement makes it send nothing but heartbeats. */
        const struct raft_append_entries_result *const result = &message->append_entries_result;
        raft_index match = 0;
        return result->rejected != 0 && result->term == term &&
               raft_match_index(&group->raft, from, &match) == 0 && result->rejected <= match;
    }
    case RAFT_REQUEST_VOTE_RESULT:
        /* D5: it looks into the state of a candidate without being one. */
        return group->raft.state != RAFT_CANDIDATE;
    case RAFT_TIMEOUT_NOW:
        /* D10: an only voter becomes leader without a new term. */
        return stele_raft__is_only_voter(group, raft->options.node);
    default:
        return false;
    }
}

/* Hands over part of an AppendEntries: count entries from batch[0] on, behind (prev, prev_term). */
static int append_piece(struct stele_raft *raft, struct stele_raft__group *group,
                        struct raft_message *message, uint64_t prev, uint64_t prev_term,
                        struct raft_entry *entries, uint32_t count, struct stele_error *err)
{
    struct raft_append_entries *const append = &message->append_entries;
    append->prev_log_index = prev;
    append->prev_log_term = prev_term;
    append->entries = entries;
    append->n_entries = count;
    /* libraft releases one block per message unless it takes the entries; it never looks into it. */
    void *const block = count > 0 ? raft_malloc(1) : NULL;
    if (count > 0 && block == NULL) {
        return STELE_E_NO_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        entries[i].batch = block;
    }
    struct raft_event event = {.type = RAFT_RECEIVE, .receive.message = message};
    const int outcome = stele_raft__step(raft, group, &event, NULL, err);
    if (raft->entries_taken) {
        raft_free(block);
    }
    return outcome;
}

/* D11: a second change of members makes libraft forget that it did not know yet of the first one that it was
 * committed, and a truncation would then go back too far. Whoever proposes a second one knows: so the first one
 * is committed, provided that what comes before the second is what we have. */
static int commit_earlier_change(struct stele_raft *raft, struct stele_raft__group *group,
                                 uint64_t prev, uint64_t prev_term, const struct raft_entry *entry,
                                 struct stele_error *err)
{
    const uint64_t uncommitted = group->raft.configuration_uncommitted_index;
    if (entry->type != RAFT_CHANGE || uncommitted == 0 || uncommitted > prev ||
        stele_raft__term_of(group, prev) != prev_term ||
        stele_raft__term_of(group, prev + 1) == entry->term) {
        return STELE_OK;
    }
    return stele_raft__step_configuration(raft, group, uncommitted, err);
}

static int step_append(struct stele_raft *raft, struct stele_raft__group *group,
                       struct raft_message *message, struct stele_bytes entries,
                       struct stele_error *err)
{
    const struct raft_append_entries append = message->append_entries;
    uint32_t count = append.n_entries;
    uint64_t prev = append.prev_log_index;
    uint64_t prev_term = append.prev_log_term;
    if (append.term < raft_current_term(&group->raft) || raft->stalled) {
        return append_piece(raft, group, message, prev, prev_term, NULL, 0, err);
    }
    int outcome = stele_raft__reserve_batch(raft, count);
    if (outcome != STELE_OK) {
        return outcome;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct stele_raft__received_entry entry;
        const bool is_there = stele_raft__frame_next_entry(&entries, &entry);
        STELE_ASSERT(is_there);
        /* D2: what a snapshot covers would be appended once more, at the end. */
        if (!group->installing && append.prev_log_index + 1 + i <= group->snapshot.index) {
            continue;
        }
        raft->batch[kept++] = (struct raft_entry){
            .term = entry.term,
            .type = (enum raft_entry_type)entry.type,
            /* Read only: libraft's type knows no other. */
            .buf = {.base = (void *)(uintptr_t)entry.payload.data, .len = entry.payload.size},
        };
    }
    if (!group->installing && prev < group->snapshot.index) {
        prev = group->snapshot.index;
        prev_term = group->snapshot.term;
    }
    count = kept;
    if (group->installing && count > 1) {
        count = 1; /* Ignored as a whole; one says so as well as all. */
    }
    uint32_t at = 0;
    do {
        /* D1: the index of a change of members is taken to be that of the message's first entry. */
        uint32_t size = count > at ? 1 : 0;
        while (at + size < count && raft->batch[at + size].type != RAFT_CHANGE) {
            size++;
        }
        if (size > 0 && !group->installing) {
            outcome = commit_earlier_change(raft, group, prev, prev_term, &raft->batch[at], err);
        }
        if (outcome == STELE_OK) {
            outcome = append_piece(raft, group, message, prev, prev_term,
                                   size > 0 ? raft->batch + at : NULL, size, err);
        }
        prev += size;
        prev_term = size > 0 ? raft->batch[at + size - 1].term : prev_term;
        at += size;
        /* Rejected: so would be the rest. */
    } while (outcome == STELE_OK && at < count && stele_raft__term_of(group, prev) == prev_term);
    return outcome;
}

static int step_install(struct stele_raft *raft, struct stele_raft__group *group,
                        struct raft_message *message, const struct stele_raft__received *received,
                        struct stele_error *err)
{
    struct stele_raft__members members = {.index = 0};
    const bool is_decoded = stele_raft__members_decode(received->members, &members);
    STELE_ASSERT(is_decoded);
    int outcome = stele_raft__members_export(&members, &message->install_snapshot.conf);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct raft_event event = {.type = RAFT_RECEIVE, .receive.message = message};
    raft->receiving = received;
    outcome = stele_raft__step(raft, group, &event, NULL, err);
    raft->receiving = NULL;
    return outcome;
}

static bool is_voter(const struct stele_raft__group *group, uint64_t node)
{
    const struct raft_configuration *const all = &group->raft.configuration;
    for (unsigned i = 0; i < all->n; i++) {
        if (all->servers[i].id == node) {
            return all->servers[i].role == RAFT_VOTER;
        }
    }
    return false;
}

/* D6: Who does not know itself to be a voter refuses its vote. But its configuration may be the older one: a cluster
 * that grows from one node to two, and is interrupted in between, has the second voter only in the log of the first,
 * who needs its vote. So everybody votes, whatever it takes itself for (Ongaro's dissertation, section 4.1), and
 * the candidate knows whose votes count. And it has no leader any more when it has not heard of one for long,
 * which libraft finds out for voters only. */
static int step_vote(struct stele_raft *raft, struct stele_raft__group *group,
                     struct raft_event *event, struct stele_error *err)
{
    struct raft *const engine = &group->raft;
    if (engine->state != RAFT_FOLLOWER || is_voter(group, raft->options.node)) {
        return stele_raft__step(raft, group, event, NULL, err);
    }
    struct raft_server self = {
        .id = raft->options.node, .address = raft->address, .role = RAFT_VOTER};
    const struct raft_configuration configuration = engine->configuration;
    const raft_id leader = engine->follower_state.current_leader.id;
    const raft_term term = raft_current_term(engine);
    engine->configuration = (struct raft_configuration){.servers = &self, .n = 1};
    if (raft->now_ms >= group->leader_heard_ms + (int64_t)raft->options.election_ms) {
        engine->follower_state.current_leader.id = 0;
    }
    const int outcome = stele_raft__step(raft, group, event, NULL, err);
    STELE_ASSERT(engine->configuration.servers == &self);
    engine->configuration = configuration;
    if (engine->state == RAFT_FOLLOWER && raft_current_term(engine) == term) {
        engine->follower_state.current_leader.id = leader;
    }
    return outcome;
}

/* The log is one for all groups, so a peer without room has none for any. libraft's own test of it is not used:
 * it refuses what was submitted after submit() has accepted it, and its own first entry in the middle of becoming
 * leader (D13). */
static void note_capacity(struct stele_raft *raft, uint64_t from, unsigned short capacity)
{
    struct stele_raft__peer *const peer = stele_raft__peer(raft, from);
    if (peer != NULL && peer->is_full != (capacity == 0)) {
        peer->is_full = capacity == 0;
        raft->full_count += peer->is_full ? 1 : UINT32_MAX;
    }
}

static int step_message(struct stele_raft *raft, uint64_t from,
                        const struct stele_raft__received *received, struct stele_error *err)
{
    struct stele_raft__group *const group = &raft->groups[received->group];
    raft->counts.messages_received++;
    if (is_to_be_dropped(raft, group, from, &received->message)) {
        raft->counts.messages_dropped++;
        return STELE_OK;
    }
    char address[STELE_RAFT__ADDRESS_SIZE];
    stele_raft__address(from, address);
    struct raft_message message = received->message;
    message.server_id = from;
    message.server_address = address;
    if (message.type == RAFT_APPEND_ENTRIES) {
        if (message.append_entries.term >= raft_current_term(&group->raft)) {
            group->leader_heard_ms = raft->now_ms;
        }
        return step_append(raft, group, &message, received->entries, err);
    }
    if (message.type == RAFT_APPEND_ENTRIES_RESULT) {
        note_capacity(raft, from, message.append_entries_result.capacity);
    }
    if (message.type == RAFT_INSTALL_SNAPSHOT) {
        return step_install(raft, group, &message, received, err);
    }
    struct raft_event event = {.type = RAFT_RECEIVE, .receive.message = &message};
    if (message.type == RAFT_REQUEST_VOTE) {
        return step_vote(raft, group, &event, err);
    }
    return stele_raft__step(raft, group, &event, NULL, err);
}

int stele_raft__step_message(struct stele_raft *raft, uint64_t from,
                             const struct stele_raft__received *received, struct stele_error *err)
{
    struct stele_raft__group *const group = &raft->groups[received->group];
    const struct raft_message *const message = &received->message;
    uint64_t leader_term = 0; /* Only leaders say these. */
    if (message->type == RAFT_APPEND_ENTRIES) {
        leader_term = message->append_entries.term;
    } else if (message->type == RAFT_INSTALL_SNAPSHOT) {
        leader_term = message->install_snapshot.term;
    }
    const int outcome = step_message(raft, from, received, err);
    if (leader_term == raft_current_term(&group->raft) && group->raft.state == RAFT_FOLLOWER &&
        group->raft.follower_state.current_leader.id == from) {
        group->leader_term = leader_term;
    }
    return outcome;
}
