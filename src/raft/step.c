/* One event into libraft, and what follows from it.
 *
 * libraft's engine decides, and leaves everything else to its user. What it asks for is done in this order: term and
 * vote, entries, snapshot, messages, role; a message leaves once the term and vote that it speaks of are
 * durable (entries, as far as a message vouches for them: libraft speaks of those only after it has been told that
 * they are). The functions that take something in have the guards against what libraft does not look at; each is
 * named D1 … D16 here, in the README and in its test. */
#include "raft/raft_internal.h"

int stele_raft__outcome(int from_libraft, struct stele_error *err, uint32_t group)
{
    if (from_libraft == RAFT_NOMEM) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "group %u: no memory", group);
    }
    return stele_fail(err, STELE_E_CORRUPT, 0,
                      "group %u: %s: this node and the leader disagree about what was committed",
                      group, raft_strerror(from_libraft));
}

void stele_raft__touch(struct stele_raft *raft, struct stele_raft__group *group)
{
    if (!group->dirty) {
        group->dirty = true;
        group->next_dirty = raft->dirty_first;
        raft->dirty_first = group->number;
    }
}

/* ---- Messages ---- */

struct stele_raft__message *stele_raft__message_take(struct stele_raft *raft)
{
    struct stele_raft__message *message = raft->free_messages;
    if (message != NULL) {
        raft->free_messages = message->next;
    } else {
        message = stele_allocate(raft->alloc, sizeof *message);
    }
    if (message != NULL) {
        message->next = NULL;
    }
    return message;
}

void stele_raft__message_release(struct stele_raft *raft, struct stele_raft__message *message)
{
    message->next = raft->free_messages;
    raft->free_messages = message;
}

static void queue_push(struct stele_raft__queue *queue, struct stele_raft__message *message)
{
    if (queue->first == NULL) {
        queue->end = &queue->first;
    }
    message->next = NULL;
    *queue->end = message;
    queue->end = &message->next;
    queue->count++;
}

void stele_raft__queue_clear(struct stele_raft *raft, struct stele_raft__queue *queue)
{
    while (queue->first != NULL) {
        struct stele_raft__message *const message = queue->first;
        queue->first = message->next;
        stele_raft__message_release(raft, message);
    }
    queue->count = 0;
}

/* Nodes come and go; a place is taken over from one that nothing is meant for. */
struct stele_raft__peer *stele_raft__peer(struct stele_raft *raft, uint64_t node)
{
    struct stele_raft__peer *free = NULL;
    for (size_t i = 0; i < STELE_RAFT_NODES_MAX; i++) {
        struct stele_raft__peer *const peer = &raft->peers[i];
        if (peer->node == node) {
            return peer;
        }
        if (peer->queue.count == 0 && (free == NULL || peer->node == 0 ||
                                       (free->node != 0 && peer->heard_ms < free->heard_ms))) {
            free = free != NULL && free->node == 0 ? free : peer;
        }
    }
    if (free == NULL) {
        return NULL;
    }
    const size_t size = raft->options.groups_count * sizeof *free->sent;
    if (free->sent == NULL) {
        free->sent = stele_allocate(raft->alloc, size);
        if (free->sent == NULL) {
            return NULL;
        }
    }
    memset(free->sent, 0, size);
    raft->full_count -= free->is_full;
    free->is_full = false;
    free->node = node;
    free->heard_ms = INT64_MIN / 2;
    return free;
}

/* D8: While the window is full, libraft sends an empty AppendEntries with every submit, and while it probes a
 * follower, the same entries again. One that says nothing new is left out, and what it says goes with the one that
 * waits already. Heartbeats always go: an answer is what they are for. */
static bool is_said_already(struct stele_raft *raft, struct stele_raft__sent *sent,
                            const struct raft_append_entries *append)
{
    if (sent->queued != NULL) {
        struct raft_append_entries *const queued = &sent->queued->message.append_entries;
        if (queued->term == append->term &&
            queued->prev_log_index + queued->n_entries == append->prev_log_index) {
            queued->n_entries += append->n_entries;
            if (queued->leader_commit < append->leader_commit) {
                queued->leader_commit = append->leader_commit;
            }
            return true;
        }
    }
    if (raft->beating || sent->term != append->term ||
        raft->now_ms >= sent->at_ms + (int64_t)raft->options.heartbeat_ms / 2) {
        return false;
    }
    if (append->n_entries > 0) {
        return sent->begin == append->prev_log_index && sent->end > sent->begin;
    }
    return sent->end == append->prev_log_index &&
           (append->leader_commit <= sent->commit || sent->commit >= append->prev_log_index);
}

int stele_raft__post(struct stele_raft *raft, struct stele_raft__group *group,
                     struct stele_raft__message *take_message)
{
    struct raft_message *const message = &take_message->message;
    struct stele_raft__peer *const peer = stele_raft__peer(raft, message->server_id);
    if (peer == NULL || peer->queue.count > 4 * raft->options.groups_count + 1024) {
        raft->counts.messages_dropped++;
        stele_raft__message_release(raft, take_message);
        return STELE_OK;
    }
    if (message->type == RAFT_APPEND_ENTRIES) {
        struct stele_raft__sent *const sent = &peer->sent[group->number];
        const struct raft_append_entries append = message->append_entries;
        const bool is_said = is_said_already(raft, sent, &append);
        if (is_said && sent->queued == NULL) {
            stele_raft__message_release(raft, take_message);
            return STELE_OK;
        }
        sent->term = append.term;
        sent->end = append.prev_log_index + append.n_entries;
        if (is_said) {
            stele_raft__message_release(raft, take_message);
            const uint64_t commit = sent->queued->message.append_entries.leader_commit;
            sent->commit = commit < sent->end ? commit : sent->end;
            return STELE_OK;
        }
        sent->begin = append.prev_log_index;
        sent->commit = append.leader_commit < sent->end ? append.leader_commit : sent->end;
        sent->at_ms = raft->now_ms;
        sent->queued = take_message;
    }
    queue_push(&peer->queue, take_message);
    return STELE_OK;
}

/* D14: answering a message of an older term, libraft says nothing of its log and leaves there whatever was
 * on its stack. Nobody looks at it, as the term is higher, but it is no index either. */
static void complete_result(const struct stele_raft__group *group, const struct raft_event *event,
                            struct raft_message *message)
{
    if (message->type == RAFT_REQUEST_VOTE_RESULT) {
        /* D17: asked whether it would vote in an older term, libraft refuses and says that term, not its own. The other
         * one never learns that it has to ask in a later one; and if it is the one that has everything, no
         * one can be elected. */
        struct raft_request_vote_result *const result = &message->request_vote_result;
        if (result->pre_vote && !result->vote_granted &&
            result->term < raft_current_term(&group->raft)) {
            result->term = raft_current_term(&group->raft);
        }
        return;
    }
    if (message->type != RAFT_APPEND_ENTRIES_RESULT || event->type != RAFT_RECEIVE) {
        return;
    }
    const struct raft_message *const cause = event->receive.message;
    const bool is_old = (cause->type == RAFT_APPEND_ENTRIES &&
                         cause->append_entries.term < raft_current_term(&group->raft)) ||
                        (cause->type == RAFT_INSTALL_SNAPSHOT &&
                         cause->install_snapshot.term < raft_current_term(&group->raft));
    if (is_old) {
        message->append_entries_result.last_log_index = 0;
    }
}

/* D16: libraft takes the first entry for one that it has, also where it is only known as the last one of the
 * snapshot, and sends from there what nobody has any more. Who needs it gets the snapshot, once a heartbeat. */
static bool is_snapshot_due(const struct stele_raft__group *group,
                            const struct raft_message *message)
{
    return message->type == RAFT_APPEND_ENTRIES && message->append_entries.prev_log_index == 0 &&
           group->raft.trail.offset > 0;
}

static void become_snapshot(const struct stele_raft__group *group, struct raft_message *message)
{
    const raft_term term = message->append_entries.term;
    message->type = RAFT_INSTALL_SNAPSHOT;
    message->install_snapshot = (struct raft_install_snapshot){
        .term = term,
        .last_index = group->raft.trail.snapshot.index,
        .last_term = group->raft.trail.snapshot.term,
    };
}

static int take_messages(struct stele_raft *raft, struct stele_raft__group *group,
                         const struct raft_event *event, const struct raft_update *update)
{
    for (unsigned i = 0; i < update->messages.n; i++) {
        const struct raft_message *const from = &update->messages.batch[i];
        if (from->server_id == raft->options.node || from->server_id == 0) {
            continue;
        }
        const bool is_snapshot = is_snapshot_due(group, from);
        if (is_snapshot && !raft->beating) {
            continue;
        }
        struct stele_raft__message *const message = stele_raft__message_take(raft);
        if (message == NULL) {
            return STELE_E_NO_MEMORY;
        }
        message->group = group->number;
        message->message = *from;
        message->message.server_address = NULL;
        complete_result(group, event, &message->message);
        if (is_snapshot) {
            become_snapshot(group, &message->message);
        }
        raft->counts.messages_sent++;
        if (group->hard_pending) {
            queue_push(&group->held, message);
        } else {
            const int outcome = stele_raft__post(raft, group, message);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
    }
    return STELE_OK;
}

/* ---- What follows from a step ---- */

static int take_entry(struct stele_raft *raft, struct stele_raft__group *group,
                      const struct raft_entry *entry, struct stele_raft__payload *take_payload,
                      struct stele_error *err)
{
    struct stele_raft__payload *payload = take_payload;
    const size_t size = entry->type == RAFT_BARRIER ? 0 : entry->buf.len;
    if (payload == NULL && size > 0) {
        payload = stele_raft__payload_create(raft, (struct stele_bytes){entry->buf.base, size});
        if (payload == NULL) {
            return STELE_E_NO_MEMORY;
        }
    }
    int outcome = stele_raft__add(raft, group, entry->term, (uint8_t)entry->type, (uint32_t)size,
                                  STELE_RAFT__UNPLACED);
    if (outcome != STELE_OK) {
        stele_raft__payload_destroy(raft, payload);
        return outcome;
    }
    const uint64_t index = group->last;
    if (payload != NULL && size == 0) {
        stele_raft__payload_destroy(raft, payload);
    } else if (payload != NULL) {
        stele_raft__keep(raft, group, index, payload);
    }
    if (entry->type == RAFT_CHANGE) {
        STELE_ASSERT(payload != NULL); /* It names the members. */
        outcome = stele_raft__members_push(raft, group, index,
                                           (struct stele_bytes){payload->data, payload->size});
    }
    if (outcome == STELE_OK) {
        outcome = stele_raft__put_entry(raft, group, index, false, err);
    }
    if (outcome == STELE_OK && entry->type == RAFT_COMMAND && size > 0 &&
        raft->env.stored != NULL) {
        const struct stele_raft_entry stored = {
            .index = index, .term = entry->term, .payload = {payload->data, payload->size}};
        raft->env.stored(raft->context, group->number, &stored);
    }
    return outcome;
}

static int take_entries(struct stele_raft *raft, struct stele_raft__group *group,
                        const struct raft_event *event, const struct raft_update *update,
                        struct stele_error *err)
{
    const bool is_own_barrier = update->entries.batch == &group->raft.barrier;
    STELE_ASSERT(update->entries.index > group->told);
    if (update->entries.index <= group->last) {
        stele_raft__truncate(raft, group, update->entries.index);
    }
    STELE_ASSERT(update->entries.index == group->last + 1);
    int outcome = STELE_OK;
    for (unsigned i = 0; outcome == STELE_OK && i < update->entries.n; i++) {
        struct stele_raft__payload *payload = NULL;
        if (event->type == RAFT_SUBMIT) {
            payload = raft->batch_payloads[i];
            raft->batch_payloads[i] = NULL;
        }
        outcome = take_entry(raft, group, &update->entries.batch[i], payload, err);
    }
    if (is_own_barrier) {
        raft_free(group->raft.barrier.buf.base);
        group->raft.barrier.buf.base = NULL;
    }
    return outcome;
}

/* The old log is as good as gone; on disk it stays until the new beginning is durable. */
static int take_snapshot(struct stele_raft *raft, struct stele_raft__group *group,
                         struct raft_update *update)
{
    const struct stele_raft__received *const received = raft->receiving;
    STELE_ASSERT(!group->installing);
    STELE_ASSERT(received != NULL);
    raft_configuration_close(&update->snapshot.metadata.configuration);
    group->installing = true;
    group->installed = false;
    group->install_told = false;
    group->install_from = received->message.server_id;
    group->install_floor =
        group->first <= group->last ? stele_raft__at(group, group->first)->place : UINT64_MAX;
    group->install.index = update->snapshot.metadata.index;
    group->install.term = update->snapshot.metadata.term;
    group->install.place = STELE_RAFT__UNPLACED;
    group->install.members.index = update->snapshot.metadata.configuration_index;
    raft->counts.installs_begun++;
    STELE_ASSERT(group->install.index > group->told);
    stele_raft__forget(raft, group, group->last);
    group->first = group->install.index + 1;
    group->last = group->install.index;
    group->stored = group->install.index;
    group->configs_count = 0;
    group->install.data.size = 0;
    if (!stele_raft__members_decode(received->members, &group->install.members)) {
        return STELE_E_CORRUPT;
    }
    return stele_buf_append(&group->install.data, raft->alloc, received->data);
}

static int take_hard(struct stele_raft *raft, struct stele_raft__group *group,
                     struct stele_error *err)
{
    const uint64_t term = raft_current_term(&group->raft);
    const uint64_t vote = raft_voted_for(&group->raft);
    if (term == group->term && vote == group->vote) {
        return STELE_OK;
    }
    STELE_ASSERT(term >= group->term);
    STELE_ASSERT(term > group->term || group->vote == 0);
    group->term = term;
    group->vote = vote;
    return stele_raft__put_hard(raft, group, err);
}

static void drop_submits(struct stele_raft *raft, struct stele_raft__group *group)
{
    while (group->submits != NULL) {
        struct stele_raft__submit *const submit = group->submits;
        group->submits = submit->next;
        raft->submitted_bytes -= submit->payload != NULL ? submit->payload->size : 0;
        stele_raft__payload_destroy(raft, submit->payload);
        stele_release(raft->alloc, submit, sizeof *submit);
    }
    group->submits_end = &group->submits;
    group->submits_count = 0;
    group->change_wanted = false;
}

static void take_state(struct stele_raft *raft, struct stele_raft__group *group, bool was_leader,
                       const struct raft_update *update)
{
    const bool is_leader = group->raft.state == RAFT_LEADER;
    if (is_leader && !was_leader) {
        raft->counts.elections++;
        raft->counts.groups_led++;
        /* Every term has an entry of its own, also where libraft sees no need: only then is known what was
         * committed before, and that nothing more will come from earlier terms. */
        group->want_barrier = (update->flags & (RAFT_UPDATE_ENTRIES)) == 0;
    } else if (was_leader && !is_leader) {
        raft->counts.groups_led--;
        group->want_barrier = false;
        group->transfer_wanted = false;
        drop_submits(raft, group);
    }
}

/* What one follower may be sent before it answers, in entries, because libraft counts those. */
static unsigned window(const struct stele_raft *raft, const struct stele_raft__group *group)
{
    const uint64_t fits = 8 * raft->options.message_size_max / (group->size_average + 32);
    const uint64_t least = fits < 4 ? 4 : fits;
    return (unsigned)(least < raft->options.entries_in_flight_max
                          ? least
                          : raft->options.entries_in_flight_max);
}

int stele_raft__step(struct stele_raft *raft, struct stele_raft__group *group,
                     struct raft_event *event, int *out_refused, struct stele_error *err)
{
    struct raft_update update;
    memset(&update, 0, sizeof update);
    event->time = (raft_time)(raft->now_ms - raft->origin_ms + STELE_RAFT__TIME_ORIGIN);
    event->capacity = raft->stalled ? 0 : UINT16_MAX;
    raft_set_max_inflight_entries(&group->raft, window(raft, group));
    const bool was_leader = group->raft.state == RAFT_LEADER;
    const int refused = raft_step(&group->raft, event, &update);
    raft->entries_taken = refused == 0 && (update.flags & (RAFT_UPDATE_ENTRIES)) != 0;
    stele_raft__touch(raft, group);
    if (refused != 0) {
        if (out_refused != NULL && refused != RAFT_NOMEM) {
            *out_refused = refused;
            return STELE_OK;
        }
        return stele_raft__outcome(refused, err, group->number);
    }
    if (out_refused != NULL) {
        *out_refused = 0;
    }
    int outcome = take_hard(raft, group, err);
    if (outcome == STELE_OK && (update.flags & (RAFT_UPDATE_ENTRIES)) != 0) {
        outcome = take_entries(raft, group, event, &update, err);
    }
    if (outcome == STELE_OK && (update.flags & (RAFT_UPDATE_SNAPSHOT)) != 0) {
        outcome = take_snapshot(raft, group, &update);
    }
    if (outcome == STELE_OK && (update.flags & (RAFT_UPDATE_MESSAGES)) != 0) {
        outcome = take_messages(raft, group, event, &update);
    }
    take_state(raft, group, was_leader, &update);
    return outcome;
}

/* ---- Messages from others ---- */

static bool is_only_voter(const struct stele_raft__group *group, uint64_t node)
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
        return is_only_voter(group, raft->options.node);
    default:
        return false;
    }
}

static int reserve_batch(struct stele_raft *raft, uint32_t count)
{
    if (count <= raft->batch_capacity) {
        return STELE_OK;
    }
    uint32_t capacity = raft->batch_capacity == 0 ? 64 : raft->batch_capacity;
    while (capacity < count) {
        capacity *= 2;
    }
    struct raft_entry *const batch = raft->alloc->reallocate(
        raft->alloc, raft->batch, raft->batch_capacity * sizeof *batch, capacity * sizeof *batch);
    if (batch == NULL) {
        return STELE_E_NO_MEMORY;
    }
    raft->batch = batch;
    struct stele_raft__payload **const payloads = raft->alloc->reallocate(
        raft->alloc, raft->batch_payloads, raft->batch_capacity * sizeof *payloads,
        capacity * sizeof *payloads);
    if (payloads == NULL) {
        /* The next call grows the first one from its old size again, which only the allocator's books would
         * notice: shrink it back, which cannot fail for long. */
        raft->batch = raft->alloc->reallocate(raft->alloc, batch, capacity * sizeof *batch,
                                              raft->batch_capacity * sizeof *batch);
        return STELE_E_NO_MEMORY;
    }
    raft->batch_payloads = payloads;
    raft->batch_capacity = capacity;
    return STELE_OK;
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
    int outcome = reserve_batch(raft, count);
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

/* ---- Submits ---- */

int stele_raft__submit_put(struct stele_raft *raft, struct stele_raft__group *group, uint64_t term,
                           uint8_t type, struct stele_bytes payload)
{
    struct stele_raft__submit *const submit = stele_allocate(raft->alloc, sizeof *submit);
    if (submit == NULL) {
        return STELE_E_NO_MEMORY;
    }
    *submit = (struct stele_raft__submit){.term = term, .type = type};
    submit->payload = stele_raft__payload_create(raft, payload);
    if (submit->payload == NULL) {
        stele_release(raft->alloc, submit, sizeof *submit);
        return STELE_E_NO_MEMORY;
    }
    if (group->submits == NULL) {
        group->submits_end = &group->submits;
    }
    *group->submits_end = submit;
    group->submits_end = &submit->next;
    group->submits_count++;
    raft->submitted_bytes += payload.size;
    stele_raft__touch(raft, group);
    return STELE_OK;
}

static int submit_batch(struct stele_raft *raft, struct stele_raft__group *group, uint32_t count,
                        struct stele_error *err)
{
    struct raft_event event = {.type = RAFT_SUBMIT, .submit = {.entries = raft->batch, .n = count}};
    int refused = 0;
    /* A follower that it probes would get nothing until the next heartbeat (D8 keeps this from becoming much). */
    raft_set_heartbeat_timeout(&group->raft, 1);
    const int outcome = stele_raft__step(raft, group, &event, &refused, err);
    raft_set_heartbeat_timeout(&group->raft, raft->options.heartbeat_ms);
    for (uint32_t i = 0; i < count; i++) {
        stele_raft__payload_destroy(raft, raft->batch_payloads[i]);
        raft->batch_payloads[i] = NULL;
    }
    /* What submit() has said about indexes would not be true for those that come later. */
    STELE_ASSERT(refused == 0);
    if (refused == 0) {
        raft->counts.entries_submitted += count;
    }
    return outcome;
}

static void fill_batch(struct stele_raft *raft, uint32_t at, uint64_t term, uint8_t type,
                       struct stele_raft__payload *payload)
{
    raft->batch_payloads[at] = payload;
    raft->batch[at] = (struct raft_entry){
        .term = term,
        .type = (enum raft_entry_type)type,
        .buf = {.base = payload != NULL ? payload->data : NULL,
                .len = payload != NULL ? payload->size : 0},
        .batch = raft, /* Anything but NULL. */
    };
}

int stele_raft__step_submits(struct stele_raft *raft, struct stele_raft__group *group,
                             struct stele_error *err)
{
    int outcome = reserve_batch(raft, (uint32_t)group->submits_count + 1);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (group->want_barrier && group->raft.state == RAFT_LEADER) {
        group->want_barrier = false;
        fill_batch(raft, 0, raft_current_term(&group->raft), RAFT_BARRIER, NULL);
        outcome = submit_batch(raft, group, 1, err);
    }
    while (outcome == STELE_OK && group->submits != NULL) {
        /* A change of members goes alone: refused, it would take the others with it, but not out of libraft's
         * idea of the log. */
        uint32_t count = 0;
        bool is_change = false;
        while (group->submits != NULL && !is_change &&
               (count == 0 || group->submits->type != RAFT_CHANGE)) {
            struct stele_raft__submit *const submit = group->submits;
            is_change = submit->type == RAFT_CHANGE;
            group->submits = submit->next;
            group->submits_count--;
            raft->submitted_bytes -= submit->payload->size;
            if (submit->term == raft_current_term(&group->raft) &&
                group->raft.state == RAFT_LEADER && raft_transferee(&group->raft) == 0) {
                fill_batch(raft, count++, submit->term, submit->type, submit->payload);
            } else {
                stele_raft__payload_destroy(raft, submit->payload);
            }
            stele_release(raft->alloc, submit, sizeof *submit);
        }
        if (is_change) {
            group->change_wanted = false;
        }
        if (count > 0) {
            outcome = submit_batch(raft, group, count, err);
        }
    }
    if (group->submits == NULL) {
        group->submits_end = &group->submits;
    }
    return outcome;
}

/* ---- Everything else ---- */

/* D10: libraft makes an only voter the leader of the term that it is in, of which somebody else may be the leader
 * or may have been. So it asks itself for its vote in the next term first, and stands one timeout later. */
static int vote_for_oneself(struct stele_raft *raft, struct stele_raft__group *group,
                            struct stele_error *err)
{
    struct raft_message message = {
        .type = RAFT_REQUEST_VOTE,
        .server_id = raft->options.node,
        .server_address = raft->address,
        .request_vote = {.version = 2,
                         .term = raft_current_term(&group->raft) + 1,
                         .candidate_id = raft->options.node,
                         .last_log_index = group->last,
                         .last_log_term = stele_raft__term_of(group, group->last),
                         .disrupt_leader = true},
    };
    group->alone_term = message.request_vote.term;
    struct raft_event event = {.type = RAFT_RECEIVE, .receive.message = &message};
    return stele_raft__step(raft, group, &event, NULL, err);
}

int stele_raft__step_timeout(struct stele_raft *raft, struct stele_raft__group *group,
                             struct stele_error *err)
{
    if (group->raft.state == RAFT_FOLLOWER && !group->installing && group->stored == group->last &&
        group->alone_term != raft_current_term(&group->raft) &&
        is_only_voter(group, raft->options.node)) {
        return vote_for_oneself(raft, group, err);
    }
    /* D12: libraft takes a follower for unreachable that has not answered since the last timeout, also if it has not
     * been asked since, because it got something shortly before; the next entries then wait for a heartbeat. So each
     * timeout of a leader asks everybody, and they come at an even beat (stele_raft__schedule). */
    struct raft_event event = {.type = RAFT_TIMEOUT};
    raft_set_heartbeat_timeout(&group->raft, 1);
    raft->beating = true;
    const int outcome = stele_raft__step(raft, group, &event, NULL, err);
    raft->beating = false;
    raft_set_heartbeat_timeout(&group->raft, raft->options.heartbeat_ms);
    return outcome;
}

int stele_raft__step_configuration(struct stele_raft *raft, struct stele_raft__group *group,
                                   uint64_t index, struct stele_error *err)
{
    const struct stele_raft__members *const members = stele_raft__members_at(group, index);
    STELE_ASSERT(members != NULL);
    STELE_ASSERT(members->index == index);
    struct raft_event event = {.type = RAFT_CONFIGURATION, .configuration.index = index};
    const int outcome = stele_raft__members_export(members, &event.configuration.conf);
    return outcome != STELE_OK ? outcome : stele_raft__step(raft, group, &event, NULL, err);
}

static int finish_install(struct stele_raft *raft, struct stele_raft__group *group,
                          struct stele_error *err)
{
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT};
    event.persisted_snapshot.metadata.index = group->install.index;
    event.persisted_snapshot.metadata.term = group->install.term;
    event.persisted_snapshot.metadata.configuration_index = group->install.members.index;
    event.persisted_snapshot.last = true;
    const int outcome = stele_raft__members_export(
        &group->install.members, &event.persisted_snapshot.metadata.configuration);
    if (outcome != STELE_OK) {
        return outcome;
    }
    group->installing = false;
    group->installed = false;
    const struct stele_buf old = group->snapshot.data;
    group->snapshot = group->install;
    group->install.data = (struct stele_buf){.data = old.data, .size = 0, .capacity = old.capacity};
    group->install.index = 0;
    group->told = group->snapshot.index;
    STELE_ASSERT(group->last == group->snapshot.index);
    return stele_raft__step(raft, group, &event, NULL, err);
}

int stele_raft__step_durable(struct stele_raft *raft, struct stele_raft__group *group,
                             struct stele_error *err)
{
    if (group->hard_pending && group->hard_place < raft->durable) {
        group->hard_pending = false;
        stele_raft__touch(raft, group);
        while (group->held.first != NULL) {
            struct stele_raft__message *const message = group->held.first;
            group->held.first = message->next;
            group->held.count--;
            const int outcome = stele_raft__post(raft, group, message);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
    }
    if (group->installed && group->install.place < raft->durable) {
        return finish_install(raft, group, err);
    }
    uint64_t stored = group->stored;
    while (stored < group->last && stele_raft__at(group, stored + 1)->place < raft->durable) {
        stored++;
    }
    if (stored == group->stored || group->installing) {
        return STELE_OK;
    }
    group->stored = stored;
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES, .persisted_entries.index = stored};
    return stele_raft__step(raft, group, &event, NULL, err);
}

int stele_raft__step_snapshot(struct stele_raft *raft, struct stele_raft__group *group,
                              uint64_t index, uint64_t trailing, struct stele_error *err)
{
    const struct stele_raft__members *const members = stele_raft__members_at(group, index);
    STELE_ASSERT(members != NULL);
    STELE_ASSERT(index <= group->told);
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    event.snapshot.metadata.index = index;
    event.snapshot.metadata.term = stele_raft__term_of(group, index);
    event.snapshot.metadata.configuration_index = members->index;
    event.snapshot.trailing = trailing > UINT32_MAX ? UINT32_MAX : (unsigned)trailing;
    STELE_ASSERT(event.snapshot.metadata.term != 0);
    const int outcome = stele_raft__members_export(members, &event.snapshot.metadata.configuration);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const int stepped = stele_raft__step(raft, group, &event, NULL, err);
    if (stepped == STELE_OK) {
        stele_raft__forget(raft, group, group->raft.trail.offset);
    }
    return stepped;
}
