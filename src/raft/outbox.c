/* What a group says: messages of a step on their way to the queues of those that they are for.
 *
 * A message leaves once the term and vote that it speaks of are durable (entries, as far as a message
 * vouches for them: libraft speaks of those only after it has been told that they are). */
#include "raft/raft_internal.h"

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

int stele_raft__take_messages(struct stele_raft *raft, struct stele_raft__group *group,
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
