/* What is checked.
 *
 *   - at most one leader in a term of a group
 *   - an entry that any node takes for committed is the same entry on all nodes for ever, also before anybody is told
 *   - a leader has all that was committed in earlier terms
 *   - every node is told the entries in order, without gaps, with the payload that was submitted
 *   - what submit() said about where an entry would be is true, if an entry of that term is there
 *   - what a node said in a message (a term, a vote, that it has an entry) it still knows after any crash
 *   - in the end, when faults have stopped: there is a leader, it commits, everybody has everything, members agree,
 *     and can be changed */
#include "raft_sim.h"

struct truth_entry *truth_at(struct sim *sim, uint32_t group_number, uint64_t index)
{
    struct truth_group *const group = &sim->groups[group_number];
    if (index >= group->capacity) {
        const uint64_t capacity = index * 2 + 1024;
        group->entries = realloc(group->entries, capacity * sizeof *group->entries);
        STELE_ASSERT(group->entries != NULL);
        memset(group->entries + group->capacity, 0,
               (capacity - group->capacity) * sizeof *group->entries);
        group->capacity = capacity;
    }
    return &group->entries[index];
}

uint64_t truth_value(struct stele_bytes payload)
{
    if (payload.size == 0) {
        return 0;
    }
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ payload.size;
    for (size_t i = 0; i < payload.size; i++) {
        hash = (hash ^ payload.data[i]) * UINT64_C(0x100000001b3);
    }
    return hash == 0 ? 1 : hash;
}

static uint64_t link_chain(uint64_t chain, uint64_t term, uint64_t value)
{
    uint64_t state = chain ^ term * UINT64_C(0x9e3779b97f4a7c15) ^ value;
    return rng_mix(&state);
}

/* A node takes the entry for committed. value 0 with is_empty false: not known. */
static void committed(struct sim *sim, struct node *node, uint32_t group_number, uint64_t index,
                      uint64_t term)
{
    struct truth_entry *const entry = truth_at(sim, group_number, index);
    if (entry->term == 0) {
        entry->term = term;
        entry->commit_term = raft_current_term(&node->raft->groups[group_number].raft);
        sim->stats->committed++;
        if (index == sim->groups[group_number].last + 1) {
            sim->groups[group_number].last = index;
        } else {
            sim_fail(sim, "node %llu commits group %u index %llu, and %llu is the last one known",
                     (unsigned long long)node->number, group_number, (unsigned long long)index,
                     (unsigned long long)sim->groups[group_number].last);
        }
    } else if (entry->term != term) {
        sim_fail(
            sim,
            "node %llu takes entry %llu of term %llu of group %u for committed, but that of term "
            "%llu was",
            (unsigned long long)node->number, (unsigned long long)index, (unsigned long long)term,
            group_number, (unsigned long long)entry->term);
    }
}

void truth_told(struct sim *sim, struct node *node, uint32_t group_number,
                const struct stele_raft_entry *told)
{
    struct owner *const owner = &node->owners[group_number];
    if (told->index != owner->next) {
        sim_fail(sim, "node %llu is told entry %llu of group %u after %llu",
                 (unsigned long long)node->number, (unsigned long long)told->index, group_number,
                 (unsigned long long)owner->next - 1);
    }
    committed(sim, node, group_number, told->index, told->term);
    struct truth_entry *const entry = truth_at(sim, group_number, told->index);
    const uint64_t value = truth_value(told->payload);
    if (entry->chain == 0) {
        entry->value = value;
        const uint64_t before =
            told->index == 1 ? 1 : truth_at(sim, group_number, told->index - 1)->chain;
        STELE_ASSERT(before != 0);
        truth_at(sim, group_number, told->index)->chain = link_chain(before, told->term, value);
        if (entry->expected_term == told->term && entry->expected_value != value) {
            sim_fail(
                sim,
                "entry %llu of group %u is not the one that submit() said would be there in term "
                "%llu",
                (unsigned long long)told->index, group_number, (unsigned long long)told->term);
        }
        sim->groups[group_number].acknowledged += value != 0;
        sim->stats->acknowledged += value != 0;
        sim->late_submits[group_number] += sim->calm && value != 0;
    } else if (entry->value != value) {
        sim_fail(sim, "node %llu is told another payload for entry %llu of group %u",
                 (unsigned long long)node->number, (unsigned long long)told->index, group_number);
    }
    owner->chain = link_chain(owner->chain, told->term, value);
    owner->next++;
    if (owner->chain != truth_at(sim, group_number, told->index)->chain) {
        sim_fail(sim, "node %llu has come to another state at entry %llu of group %u",
                 (unsigned long long)node->number, (unsigned long long)told->index, group_number);
    }
}

/* ---- Leaders ---- */

static void became_leader(struct sim *sim, struct node *node, uint32_t number)
{
    const struct stele_raft__group *const group = &node->raft->groups[number];
    const struct truth_group *const truth = &sim->groups[number];
    const uint64_t term = raft_current_term(&group->raft);
    sim->stats->elections++;
    for (uint64_t index = group->first; index <= truth->last; index++) {
        const struct truth_entry *const entry = &truth->entries[index];
        if (entry->commit_term < term && stele_raft__term_of(group, index) != entry->term) {
            sim_fail(
                sim,
                "node %llu leads group %u in term %llu without entry %llu, which was committed in "
                "term %llu",
                (unsigned long long)node->number, number, (unsigned long long)term,
                (unsigned long long)index, (unsigned long long)entry->commit_term);
        }
    }
}

static void look_at_leader(struct sim *sim, struct node *node, uint32_t number)
{
    const struct stele_raft__group *const group = &node->raft->groups[number];
    struct truth_group *const truth = &sim->groups[number];
    /* An only voter leads before its term is durable, and nobody hears of it. */
    const bool is_leader = group->raft.state == RAFT_LEADER && !group->hard_pending;
    const uint64_t term = raft_current_term(&group->raft);
    if (!is_leader) {
        node->is_leader[number] = false;
        return;
    }
    if (term >= truth->terms) {
        const uint64_t terms = term * 2 + 64;
        truth->leaders = realloc(truth->leaders, terms * sizeof *truth->leaders);
        STELE_ASSERT(truth->leaders != NULL);
        memset(truth->leaders + truth->terms, 0, (terms - truth->terms) * sizeof *truth->leaders);
        truth->terms = terms;
    }
    if (truth->leaders[term] == 0) {
        truth->leaders[term] = node->number;
        became_leader(sim, node, number);
    } else if (truth->leaders[term] != node->number) {
        sim_fail(sim, "nodes %llu and %llu both lead group %u in term %llu",
                 (unsigned long long)truth->leaders[term], (unsigned long long)node->number, number,
                 (unsigned long long)term);
    } else if (!node->is_leader[number]) {
        sim_fail(sim, "node %llu leads group %u in term %llu for the second time",
                 (unsigned long long)node->number, number, (unsigned long long)term);
    }
    node->is_leader[number] = true;
}

void truth_look(struct sim *sim, struct node *node)
{
    if (node->raft == NULL) {
        return;
    }
    for (uint32_t i = 0; i < sim->config.groups; i++) {
        const struct stele_raft__group *const group = &node->raft->groups[i];
        look_at_leader(sim, node, i);
        /* Also what is not on its disk yet, and what nobody has been told. */
        const uint64_t commit = raft_commit_index(&group->raft);
        const uint64_t end = commit < group->last ? commit : group->last;
        uint64_t index = sim->groups[i].last + 1;
        index = index < group->first ? group->first : index;
        index = index > group->told + 1 ? group->told + 1 : index;
        index = index < group->first ? group->first : index;
        for (; !group->installing && index <= end; index++) {
            committed(sim, node, i, index, stele_raft__term_of(group, index));
        }
        struct claim *const claim = &node->claims[i];
        if (claim->last != 0 && claim->last >= group->first &&
            stele_raft__term_of(group, claim->last) != claim->last_term) {
            claim->last = 0; /* Taken back by a later leader, as it may. */
        }
        if (group->raft.configuration_uncommitted_index != 0 &&
            group->raft.configuration_uncommitted_index <= group->told) {
            sim_fail(sim, "node %llu does not know that change %llu of group %u is committed",
                     (unsigned long long)node->number,
                     (unsigned long long)group->raft.configuration_uncommitted_index, i);
        }
    }
}

/* ---- Claims ---- */

static void claim_term(struct claim *claim, uint64_t term)
{
    claim->term = term > claim->term ? term : claim->term;
}

static void on_message(struct sim *sim, struct node *node,
                       const struct stele_raft__received *received)
{
    struct claim *const claim = &node->claims[received->group];
    const struct stele_raft__group *const group = &node->raft->groups[received->group];
    const struct raft_message *const message = &received->message;
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        claim_term(claim, message->append_entries.term);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        claim_term(claim, message->install_snapshot.term);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        claim_term(claim, message->append_entries_result.term);
        if (message->append_entries_result.rejected == 0 &&
            message->append_entries_result.term == group->term &&
            message->append_entries_result.last_log_index > 0) {
            claim->last = message->append_entries_result.last_log_index;
            claim->last_term = stele_raft__term_of(group, claim->last);
            if (group->installing) {
                claim->last = 0; /* Said before, and the log goes now. */
            } else if (claim->last > group->stored) {
                sim_fail(sim, "node %llu says that it has entry %llu of group %u, and has %llu",
                         (unsigned long long)node->number, (unsigned long long)claim->last,
                         received->group, (unsigned long long)group->stored);
            }
            claim->last = claim->last_term == 0 ? 0 : claim->last;
        }
        break;
    case RAFT_REQUEST_VOTE:
        if (!message->request_vote.pre_vote) {
            claim_term(claim, message->request_vote.term);
            claim->vote_term = message->request_vote.term;
            claim->vote = node->number;
        }
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        if (!message->request_vote_result.pre_vote) {
            claim_term(claim, message->request_vote_result.term);
            if (message->request_vote_result.vote_granted &&
                message->request_vote_result.term == group->term) {
                claim->vote_term = group->term;
                claim->vote = group->vote;
            }
        }
        break;
    default:
        break;
    }
}

void truth_sent(struct sim *sim, struct node *node, struct stele_bytes frame)
{
    struct stele_raft__received received;
    size_t offset = 0;
    while (stele_raft__frame_next(frame, &offset, &received)) {
        on_message(sim, node, &received);
    }
}

void truth_reopened(struct sim *sim, struct node *node)
{
    for (uint32_t i = 0; i < sim->config.groups; i++) {
        const struct stele_raft__group *const group = &node->raft->groups[i];
        struct claim *const claim = &node->claims[i];
        sim->stats->claims_checked++;
        if (group->term < claim->term) {
            sim_fail(sim, "node %llu spoke in term %llu of group %u, and comes back in term %llu",
                     (unsigned long long)node->number, (unsigned long long)claim->term, i,
                     (unsigned long long)group->term);
        }
        if (claim->vote != 0 && group->term == claim->vote_term && group->vote != claim->vote) {
            sim_fail(sim, "node %llu voted for %llu in term %llu of group %u, and now for %llu",
                     (unsigned long long)node->number, (unsigned long long)claim->vote,
                     (unsigned long long)claim->vote_term, i, (unsigned long long)group->vote);
        }
        if (claim->last != 0 && claim->last >= group->first &&
            stele_raft__term_of(group, claim->last) != claim->last_term) {
            sim_fail(sim,
                     "node %llu said that it has entry %llu of group %u, and comes back without it",
                     (unsigned long long)node->number, (unsigned long long)claim->last, i);
        }
        struct owner *const owner = &node->owners[i];
        if (group->snapshot.index > owner->durable) {
            sim_fail(sim,
                     "node %llu comes back with a snapshot of group %u that nobody has given it",
                     (unsigned long long)node->number, i);
        }
        owner->next = group->snapshot.index + 1;
        owner->chain =
            group->snapshot.index == 0 ? 1 : truth_at(sim, i, group->snapshot.index)->chain;
        owner->installing = false;
        node->is_leader[i] = false;
    }
}

/* ---- In the end ---- */

static void end_of_group(struct sim *sim, uint32_t number)
{
    struct node *const leader = world_leader(sim, number);
    const struct truth_group *const truth = &sim->groups[number];
    if (leader == NULL) {
        sim_fail(sim, "group %u has no leader in the end", number);
    }
    if (sim->late_submits[number] < 3) {
        sim_fail(sim, "group %u did not commit in the end", number);
    }
    if (sim->late_changes[number] == 0) {
        sim_fail(sim, "the members of group %u cannot be changed in the end", number);
    }
    uint64_t numbers[STELE_RAFT_NODES_MAX];
    enum stele_raft_member members[STELE_RAFT_NODES_MAX];
    const size_t count = stele_raft_members(leader->raft, number, numbers, members);
    for (size_t i = 0; i < count; i++) {
        const struct node *const node = &sim->nodes[numbers[i]];
        uint64_t others[STELE_RAFT_NODES_MAX];
        enum stele_raft_member roles[STELE_RAFT_NODES_MAX];
        STELE_ASSERT(node->raft != NULL);
        if (node->owners[number].next <= truth->last) {
            sim_fail(sim, "node %llu has group %u up to %llu of %llu in the end",
                     (unsigned long long)node->number, number,
                     (unsigned long long)node->owners[number].next - 1,
                     (unsigned long long)truth->last);
        }
        if (stele_raft_members(node->raft, number, others, roles) != count ||
            memcmp(others, numbers, count * sizeof others[0]) != 0 ||
            memcmp(roles, members, count * sizeof roles[0]) != 0) {
            sim_fail(sim, "nodes %llu and %llu do not agree about the members of group %u",
                     (unsigned long long)leader->number, (unsigned long long)node->number, number);
        }
    }
}

/* A small window over a slow network takes its time with who was added late. */
bool truth_goes_on(struct sim *sim)
{
    uint64_t told = 0;
    bool behind = false;
    for (uint32_t i = 0; i < sim->config.groups; i++) {
        struct node *const leader = world_leader(sim, i);
        uint64_t numbers[STELE_RAFT_NODES_MAX];
        enum stele_raft_member members[STELE_RAFT_NODES_MAX];
        const size_t count =
            leader == NULL ? 0 : stele_raft_members(leader->raft, i, numbers, members);
        for (size_t k = 0; k < count; k++) {
            const uint64_t next = sim->nodes[numbers[k]].owners[i].next;
            behind = behind || next <= sim->groups[i].last;
            told += next;
        }
    }
    const bool more = told > sim->told;
    sim->told = told;
    return behind && more;
}

void truth_end(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->config.groups; i++) {
        end_of_group(sim, i);
    }
}
