/* The order of things within a turn.
 *
 * First what has become durable, because it lets messages go and entries be committed; then what came in, then
 * what is due; then all groups that any of this has touched, until none is left: what is submitted, committed,
 * changed. Last, one frame for each peer. So heartbeats of all groups travel together, and an entry that is appended,
 * and what follows from a hundred messages, cost one frame. */
#include "raft/raft_internal.h"

#define SILENT_SIZE_MAX ((uint64_t)64 * 1024)

/* ---- Time ---- */

static int64_t quantum(const struct stele_raft *raft)
{
    const int64_t third = (int64_t)raft->options.heartbeat_ms / 3;
    return third < 1 ? 1 : third;
}

/* Leaders of all groups have one beat, so that their heartbeats share a frame. */
void stele_raft__schedule(struct stele_raft *raft, struct stele_raft__group *group)
{
    if (group->raft.state == RAFT_LEADER) {
        const int64_t beat = (int64_t)raft->options.heartbeat_ms;
        raft->dues_ms[group->number] =
            raft->origin_ms + ((group->beat_ms - raft->origin_ms) / beat + 1) * beat;
        return;
    }
    group->beat_ms = raft->now_ms;
    raft->dues_ms[group->number] =
        (int64_t)raft_timeout(&group->raft) - STELE_RAFT__TIME_ORIGIN + raft->origin_ms;
}

/* Timeouts are rounded up, so that groups whose times lie close together come to share a frame. */
static void find_due(struct stele_raft *raft)
{
    if (raft->more || raft->stalled) {
        raft->due_ms = raft->now_ms + (raft->more ? 0 : quantum(raft));
        return;
    }
    int64_t first = INT64_MAX;
    for (uint32_t i = 0; i < raft->options.groups_count; i++) {
        first = raft->dues_ms[i] < first ? raft->dues_ms[i] : first;
    }
    const int64_t step = quantum(raft);
    const int64_t after = first - raft->origin_ms;
    raft->due_ms = raft->origin_ms + (after + step - 1) / step * step;
}

static int fire_timeouts(struct stele_raft *raft, struct stele_error *err)
{
    for (uint32_t i = 0; i < raft->options.groups_count; i++) {
        if (raft->dues_ms[i] > raft->now_ms) {
            continue;
        }
        struct stele_raft__group *const group = &raft->groups[i];
        /* It may have been put off by what came in meanwhile. */
        stele_raft__schedule(raft, group);
        if (raft->dues_ms[i] > raft->now_ms) {
            continue;
        }
        const int outcome = stele_raft__step_timeout(raft, group, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        group->beat_ms = raft->now_ms;
        stele_raft__schedule(raft, group);
        if (raft->dues_ms[i] <= raft->now_ms) {
            raft->dues_ms[i] = raft->now_ms + quantum(raft);
        }
    }
    return STELE_OK;
}

/* ---- What came in ---- */

static int work_off_inbound(struct stele_raft *raft, struct stele_error *err)
{
    int outcome = STELE_OK;
    while (raft->inbound != NULL && outcome == STELE_OK) {
        struct stele_raft__inbound *const inbound = raft->inbound;
        const struct stele_bytes frame = {inbound->data, inbound->size};
        struct stele_raft__peer *const peer = stele_raft__peer(raft, inbound->from);
        if (peer != NULL) {
            peer->heard_ms = raft->now_ms;
        }
        struct stele_raft__received received;
        size_t offset = 0;
        while (outcome == STELE_OK && stele_raft__frame_next(frame, &offset, &received)) {
            outcome = stele_raft__step_message(raft, inbound->from, &received, err);
        }
        raft->inbound = inbound->next;
        raft->inbound_bytes -= inbound->size;
        stele_release(raft->alloc, inbound, sizeof *inbound + inbound->size);
    }
    if (raft->inbound == NULL) {
        raft->inbound_end = &raft->inbound;
    }
    return outcome;
}

static bool waits(const struct stele_raft__group *group)
{
    return group->hard_pending || group->installed || group->stored < group->last;
}

static int work_off_durable(struct stele_raft *raft, struct stele_error *err)
{
    if (raft->stalled) {
        const int outcome = stele_raft__put_stalled(raft, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    const uint64_t durable = stele_wal_durable(raft->wal);
    if (durable == raft->durable) {
        return STELE_OK;
    }
    STELE_ASSERT(durable > raft->durable);
    raft->durable = durable;
    uint32_t *const list = raft->pending;
    const uint32_t count = raft->pending_count;
    raft->pending = raft->pending_spare;
    raft->pending_spare = list;
    raft->pending_count = 0;
    int outcome = STELE_OK;
    for (uint32_t i = 0; i < count; i++) {
        struct stele_raft__group *const group = &raft->groups[list[i]];
        group->pending = false;
        if (outcome == STELE_OK) {
            outcome = stele_raft__step_durable(raft, group, err);
        }
        if (waits(group)) {
            stele_raft__pend(raft, group);
        }
    }
    return outcome == STELE_OK ? stele_raft__trim_go_on(raft, err) : outcome;
}

/* ---- What follows for the owner ---- */

/* A follower knows that something is committed before it has it on disk; the owner is told afterwards. */
static int tell_committed(struct stele_raft *raft, struct stele_raft__group *group,
                          struct stele_error *err)
{
    while (!group->installing) {
        const uint64_t commit = raft_commit_index(&group->raft);
        const uint64_t to = commit < group->stored ? commit : group->stored;
        if (group->told >= to) {
            return STELE_OK;
        }
        const uint64_t index = group->told + 1;
        const struct stele_raft__entry entry = *stele_raft__at(group, index);
        struct stele_raft_entry told = {.index = index, .term = entry.term, .payload = {NULL, 0}};
        int outcome = STELE_OK;
        if (entry.type == RAFT_COMMAND) {
            outcome = stele_raft__payload(raft, group, index, &told.payload, err);
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
        group->told = index;
        raft->counts.entries_committed++;
        raft->env.committed(raft->context, group->number, &told);
        if (entry.type == RAFT_CHANGE) {
            outcome = stele_raft__step_configuration(raft, group, index, err);
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

static void tell_changed(struct stele_raft *raft, struct stele_raft__group *group)
{
    struct stele_raft_status status;
    stele_raft_status(raft, group->number, &status);
    if (status.role != group->role_told || status.term != group->term_told ||
        status.leader != group->leader_told) {
        group->role_told = status.role;
        group->term_told = status.term;
        group->leader_told = status.leader;
        raft->env.changed(raft->context, group->number, &status);
    }
}

static void tell_install(struct stele_raft *raft, struct stele_raft__group *group)
{
    if (group->installing && !group->install_told) {
        group->install_told = true;
        raft->env.install(raft->context, group->number, group->install_from, group->install.index,
                          group->install.term,
                          (struct stele_bytes){group->install.data.data, group->install.data.size});
    }
}

/* libraft tells followers what is committed with the next entries, or the next heartbeat. Whoever waits for an
 * entry to be committed on a follower would wait for that: so it is said at once, anchored where logs are known to
 * match. */
static int spread_commit(struct stele_raft *raft, struct stele_raft__group *group)
{
    if (group->raft.state != RAFT_LEADER || group->hard_pending) {
        return STELE_OK;
    }
    const uint64_t term = raft_current_term(&group->raft);
    const uint64_t commit = raft_commit_index(&group->raft);
    for (unsigned i = 0; i < group->raft.configuration.n; i++) {
        const uint64_t node = group->raft.configuration.servers[i].id;
        raft_index match = 0;
        if (node == raft->options.node || raft_match_index(&group->raft, node, &match) != 0) {
            continue;
        }
        const uint64_t known = match < commit ? match : commit;
        struct stele_raft__peer *const peer = stele_raft__peer(raft, node);
        if (peer == NULL || known == 0 || stele_raft__term_of(group, known) == 0) {
            continue;
        }
        struct stele_raft__sent *const sent = &peer->sent[group->number];
        if (sent->queued != NULL && sent->queued->message.append_entries.term == term) {
            struct raft_append_entries *const append = &sent->queued->message.append_entries;
            const uint64_t end = append->prev_log_index + append->n_entries;
            append->leader_commit = commit;
            sent->commit = commit < end ? commit : end;
        }
        if (sent->term == term && sent->commit >= known) {
            continue;
        }
        struct stele_raft__message *const message = stele_raft__message_take(raft);
        if (message == NULL) {
            return STELE_E_NO_MEMORY;
        }
        message->group = group->number;
        message->message = (struct raft_message){
            .type = RAFT_APPEND_ENTRIES,
            .server_id = node,
            .append_entries = {.term = term,
                               .prev_log_index = known,
                               .prev_log_term = stele_raft__term_of(group, known),
                               .leader_commit = commit}};
        raft->counts.messages_sent++;
        const int outcome = stele_raft__post(raft, group, message);
        if (outcome != STELE_OK) {
            return outcome;
        }
        sent->commit = known;
    }
    return STELE_OK;
}

/* ---- Groups that something has happened to ---- */

static int start_transfer(struct stele_raft *raft, struct stele_raft__group *group,
                          struct stele_error *err)
{
    group->transfer_wanted = false;
    /* libraft looks neither for the member nor for itself. */
    const struct stele_raft__members *const members = stele_raft__members_at(group, UINT64_MAX);
    if (group->raft.state != RAFT_LEADER || raft_transferee(&group->raft) != 0 ||
        stele_raft__members_role(members, group->transfer_to) != RAFT_VOTER) {
        return STELE_OK;
    }
    int refused = 0;
    struct raft_event event = {.type = RAFT_TRANSFER, .transfer.server_id = group->transfer_to};
    return stele_raft__step(raft, group, &event, &refused, err);
}

static int work_off_group(struct stele_raft *raft, struct stele_raft__group *group,
                          struct stele_error *err)
{
    int outcome = STELE_OK;
    if (group->submits != NULL || group->want_barrier) {
        outcome = stele_raft__step_submits(raft, group, err);
    }
    if (outcome == STELE_OK && group->transfer_wanted) {
        outcome = start_transfer(raft, group, err);
    }
    if (outcome == STELE_OK) {
        outcome = tell_committed(raft, group, err);
    }
    if (outcome == STELE_OK) {
        outcome = spread_commit(raft, group);
    }
    if (outcome == STELE_OK) {
        tell_changed(raft, group);
        tell_install(raft, group);
        stele_raft__schedule(raft, group);
    }
    return outcome;
}

static int work_off_groups(struct stele_raft *raft, struct stele_error *err)
{
    while (raft->dirty_first != UINT32_MAX) {
        struct stele_raft__group *const group = &raft->groups[raft->dirty_first];
        raft->dirty_first = group->next_dirty;
        group->dirty = false;
        const int outcome = work_off_group(raft, group, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

/* ---- Sending ---- */

/* How many of the entries go into one message: some, and not more bytes than allowed unless it is a single one. */
static uint32_t count_fitting(const struct stele_raft__group *group,
                              const struct raft_append_entries *append, uint64_t size_max)
{
    uint64_t size = 0;
    uint32_t count = 0;
    while (count < append->n_entries) {
        size += stele_raft__at(group, append->prev_log_index + 1 + count)->size;
        if (count > 0 && size > size_max) {
            break;
        }
        count++;
    }
    return count;
}

/* Writes a message, or the part of it that fits; *out_is_done: nothing is left of it. What has become untrue while it
 * waited is left out (*out_count stays): entries that went, a leader that is none any more. */
static int write_append(struct stele_raft *raft, struct stele_raft__peer *peer,
                        struct stele_raft__message *message, uint32_t *count, bool *out_is_done,
                        struct stele_error *err)
{
    struct stele_raft__group *const group = &raft->groups[message->group];
    struct raft_append_entries *const append = &message->message.append_entries;
    *out_is_done = true;
    if (group->raft.state != RAFT_LEADER || raft_current_term(&group->raft) != append->term ||
        append->prev_log_index + 1 < group->first ||
        append->prev_log_index + append->n_entries > group->last) {
        raft->counts.messages_dropped++;
        return STELE_OK;
    }
    /* To a peer that is silent, libraft sends a whole window at each beat: a little will do to hear of it again. */
    const bool is_silent = peer->heard_ms + (int64_t)raft->options.election_ms < raft->now_ms;
    struct raft_message part = message->message;
    part.append_entries.n_entries =
        count_fitting(group, append,
                      is_silent && raft->options.message_size_max > SILENT_SIZE_MAX
                          ? SILENT_SIZE_MAX
                          : raft->options.message_size_max);
    const size_t offset = raft->frame.size;
    int outcome =
        stele_raft__frame_message(&raft->frame, raft->alloc, message->group, &part,
                                  (struct stele_bytes){NULL, 0}, (struct stele_bytes){NULL, 0});
    for (uint32_t i = 0; outcome == STELE_OK && i < part.append_entries.n_entries; i++) {
        const uint64_t index = append->prev_log_index + 1 + i;
        struct stele_bytes payload;
        outcome = stele_raft__payload(raft, group, index, &payload, err);
        if (outcome == STELE_OK) {
            const struct stele_raft__entry *const entry = stele_raft__at(group, index);
            outcome = stele_raft__frame_entry(&raft->frame, raft->alloc, entry->term, entry->type,
                                              payload);
        }
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    stele_raft__frame_close(&raft->frame, offset);
    ++*count;
    append->prev_log_index += part.append_entries.n_entries;
    append->n_entries -= part.append_entries.n_entries;
    if (append->n_entries > 0 && !is_silent) {
        append->prev_log_term = stele_raft__term_of(group, append->prev_log_index);
        *out_is_done = false;
    }
    return STELE_OK;
}

static int write_message(struct stele_raft *raft, struct stele_raft__peer *peer,
                         struct stele_raft__message *message, uint32_t *count, bool *out_is_done,
                         struct stele_error *err)
{
    if (message->message.type == RAFT_APPEND_ENTRIES) {
        return write_append(raft, peer, message, count, out_is_done, err);
    }
    *out_is_done = true;
    const struct stele_raft__group *const group = &raft->groups[message->group];
    struct stele_bytes data = {NULL, 0};
    uint8_t bytes[STELE_RAFT__MEMBERS_SIZE_MAX];
    struct stele_bytes members = {bytes, 0};
    if (message->message.type == RAFT_INSTALL_SNAPSHOT) {
        if (group->raft.state != RAFT_LEADER ||
            message->message.install_snapshot.last_index != group->snapshot.index) {
            raft->counts.messages_dropped++;
            return STELE_OK;
        }
        members.size = stele_raft__members_encode(&group->snapshot.members, bytes);
        message->message.install_snapshot.conf_index = group->snapshot.members.index;
        data = (struct stele_bytes){group->snapshot.data.data, group->snapshot.data.size};
    }
    ++*count;
    return stele_raft__frame_message(&raft->frame, raft->alloc, message->group, &message->message,
                                     members, data);
}

/* One frame; what does not fit waits for the next turn, which comes at once. */
static int send_frame(struct stele_raft *raft, struct stele_raft__peer *peer,
                      struct stele_error *err)
{
    raft->frame.size = 0;
    int outcome =
        stele_raft__frame_begin(&raft->frame, raft->alloc, raft->options.node, peer->node);
    uint32_t count = 0;
    while (outcome == STELE_OK && peer->queue.first != NULL &&
           raft->frame.size < 4 * raft->options.message_size_max) {
        struct stele_raft__message *const message = peer->queue.first;
        bool is_done = false;
        outcome = write_message(raft, peer, message, &count, &is_done, err);
        if (outcome == STELE_OK && is_done) {
            if (peer->sent[message->group].queued == message) {
                peer->sent[message->group].queued = NULL;
            }
            peer->queue.first = message->next;
            peer->queue.count--;
            stele_raft__message_release(raft, message);
        }
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    raft->more = raft->more || peer->queue.first != NULL;
    if (count > 0) {
        stele_raft__frame_end(&raft->frame, count);
        raft->counts.frames_sent++;
        raft->env.send(raft->context, peer->node,
                       (struct stele_bytes){raft->frame.data, raft->frame.size});
    }
    return STELE_OK;
}

static int send_frames(struct stele_raft *raft, struct stele_error *err)
{
    for (size_t i = 0; i < STELE_RAFT_NODES_MAX; i++) {
        if (raft->peers[i].queue.first != NULL) {
            const int outcome = send_frame(raft, &raft->peers[i], err);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
    }
    return STELE_OK;
}

/* ---- The turn ---- */

/* The last records of a log that falls idle are the only ones of which no later one says that they were durable. */
static void mark_when_idle(struct stele_raft *raft)
{
    const uint64_t end = stele_wal_end(raft->wal);
    if (end != raft->quiet_end) {
        raft->quiet_end = end;
        raft->quiet_ms = raft->now_ms;
    } else if (raft->now_ms - raft->quiet_ms >= (int64_t)raft->options.election_ms &&
               end == stele_wal_durable(raft->wal)) {
        stele_wal_mark(raft->wal); /* Does nothing if that is said already. */
    }
}

int stele_raft_turn(struct stele_raft *raft, int64_t now_ms, struct stele_error *err)
{
    STELE_ASSERT(!raft->turning);
    if (raft->failed != STELE_OK) {
        return stele_fail(err, raft->failed, 0, "the driver of the Raft groups has failed before");
    }
    if (stele_wal_is_fenced(raft->wal)) {
        raft->failed = STELE_E_FENCED;
        return stele_fail(err, STELE_E_FENCED, 0, "a write of the log of the Raft groups failed");
    }
    raft->turning = true;
    raft->now_ms = now_ms > raft->now_ms ? now_ms : raft->now_ms;
    raft->more = false;
    int outcome = work_off_durable(raft, err);
    if (outcome == STELE_OK) {
        outcome = work_off_inbound(raft, err);
    }
    if (outcome == STELE_OK) {
        outcome = fire_timeouts(raft, err);
    }
    if (outcome == STELE_OK) {
        outcome = work_off_groups(raft, err);
    }
    if (outcome == STELE_OK) {
        outcome = send_frames(raft, err);
    }
    mark_when_idle(raft);
    stele_raft__evict(raft);
    find_due(raft);
    raft->turning = false;
    raft->failed = outcome;
    return outcome;
}
