/* How a command gets from the node that was asked into the log of its partition, exactly once: docs/internals/cluster.md,
 * "Exactly once, without timeouts". */
#include "cluster/replica_internal.h"

/* kind, version, group, count, term, boot, number of the first; and the number up to which none comes any more */
#define FORWARD_HEADER_SIZE 40
#define FORWARD_EACH_SIZE 12 /* id, size */
#define HAVE_SIZE 32         /* kind, version, group, refused, term, boot, last number */
/* Forwarded in one message, so that a large backlog does not become one piece. */
#define FORWARD_SIZE_MAX ((size_t)1024 * 1024)

/* ---- Lists ---- */

static void push(struct list *list, struct stele_proposal *proposal)
{
    proposal->next = NULL;
    proposal->previous = list->last;
    if (list->last != NULL) {
        list->last->next = proposal;
    } else {
        list->first = proposal;
    }
    list->last = proposal;
}

static void take_out(struct list *list, struct stele_proposal *proposal)
{
    if (proposal->previous != NULL) {
        proposal->previous->next = proposal->next;
    } else {
        STELE_ASSERT(list->first == proposal);
        list->first = proposal->next;
    }
    if (proposal->next != NULL) {
        proposal->next->previous = proposal->previous;
    } else {
        STELE_ASSERT(list->last == proposal);
        list->last = proposal->previous;
    }
    proposal->next = NULL;
    proposal->previous = NULL;
}

/* All of from goes in front of to. */
static void put_in_front(struct list *to, struct list *from)
{
    if (from->first == NULL) {
        return;
    }
    from->last->next = to->first;
    if (to->first != NULL) {
        to->first->previous = from->last;
    } else {
        to->last = from->last;
    }
    to->first = from->first;
    *from = (struct list){.first = NULL};
}

void stele_replica__forget(struct stele_replica *replica, const struct stele_proposal *proposal)
{
    STELE_ASSERT(replica->proposals > 0);
    STELE_ASSERT(replica->proposals_size >= proposal->bytes.size);
    replica->proposals--;
    replica->proposals_size -= proposal->bytes.size;
}

static void give_up(struct stele_replica *replica, struct list *list,
                    struct stele_proposal *proposal, int outcome, const char *words)
{
    take_out(list, proposal);
    stele_replica__forget(replica, proposal);
    replica->counts.unknown += outcome == STELE_E_UNKNOWN ? 1 : 0;
    replica->counts.refused += outcome == STELE_E_UNKNOWN ? 0 : 1;
    replica->env.give_up(replica->context, proposal, outcome, words);
}

void stele_replica__end_unknown(struct stele_replica *replica, struct stele_proposal *proposal,
                                const char *words)
{
    stele_replica__forget(replica, proposal);
    replica->counts.unknown++;
    replica->env.give_up(replica->context, proposal, STELE_E_UNKNOWN, words);
}

void stele_replica__put_back(struct stele_replica *replica, struct stele_proposal *proposal)
{
    push(&replica->groups[proposal->group].sent, proposal);
}

void stele_replica__give_up_sent(struct stele_replica *replica, uint32_t group, const char *words)
{
    struct list *sent = &replica->groups[group].sent;
    while (sent->first != NULL) {
        give_up(replica, sent, sent->first, STELE_E_UNKNOWN, words);
    }
}

struct stele_proposal *stele_replica__take_own(struct stele_replica *replica, uint32_t group_number,
                                               uint64_t id)
{
    struct group *group = &replica->groups[group_number];
    group->resend_at_us = replica->now_us + replica->options.resend_us;
    for (struct stele_proposal *p = group->sent.first; p != NULL; p = p->next) {
        if (p->id == id) {
            take_out(&group->sent, p);
            return p;
        }
    }
    for (struct stele_proposal *p = group->queued.first; p != NULL; p = p->next) {
        if (p->id == id) {
            take_out(&group->queued, p);
            return p;
        }
    }
    return NULL;
}

void stele_replica__give_up_all(struct stele_replica *replica)
{
    static const char words[] = "this node is ending, or has lost its place in the cluster";
    for (uint32_t i = 0; i < replica->options.partitions; i++) {
        struct group *group = &replica->groups[i];
        while (group->sent.first != NULL) {
            give_up(replica, &group->sent, group->sent.first, STELE_E_UNKNOWN, words);
        }
        while (group->queued.first != NULL) {
            give_up(replica, &group->queued, group->queued.first, STELE_E_OVERLOADED, words);
        }
    }
}

/* ---- Proposing ---- */

int stele_replica_propose(struct stele_replica *replica, struct stele_proposal *proposal,
                          int64_t now_us, struct stele_error *err)
{
    if (proposal->group >= replica->options.partitions) {
        return stele_fail(err, STELE_E_INVALID, 0, "append: partition %u of %u", proposal->group,
                          replica->options.partitions);
    }
    if (replica->outcome != STELE_OK) {
        return stele_fail(err, STELE_E_FENCED, 0, "append: this node has stopped taking part");
    }
    if (replica->proposals >= replica->options.proposals_max ||
        replica->proposals_size + proposal->bytes.size > replica->options.proposals_size_max) {
        return stele_fail(err, STELE_E_OVERLOADED, 0,
                          "append: %llu are under way in this node; wait for some to end",
                          (unsigned long long)replica->proposals);
    }
    proposal->id = replica->next_id++;
    proposal->number = 0;
    proposal->since_us = now_us;
    push(&replica->groups[proposal->group].queued, proposal);
    replica->proposals++;
    replica->proposals_size += proposal->bytes.size;
    return STELE_OK;
}

int stele_replica__submit(struct stele_replica *replica, uint32_t group, uint64_t term,
                          const struct stele_entry *entry)
{
    const size_t size = stele_entry_size(entry);
    replica->scratch.size = 0;
    if (stele_buf_reserve(&replica->scratch, replica->alloc, size) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    stele_entry_encode(entry, replica->scratch.data);
    uint64_t index = 0;
    const struct stele_bytes bytes = {.data = replica->scratch.data, .size = size};
    return stele_raft_submit(replica->raft, group, term, bytes, &index);
}

/* Gives a command its stamp and puts it into the log of its partition. */
static int submit_command(struct stele_replica *replica, uint32_t group, uint64_t term,
                          uint64_t origin, uint64_t boot, uint64_t id, struct stele_bytes body)
{
    struct stele_entry entry = {.kind = STELE_ENTRY_COMMAND,
                                .origin = origin,
                                .boot = boot,
                                .id = id,
                                .body = body,
                                .stamp = stele_replica__wished_stamp(replica, group, origin)};
    if (entry.stamp == 0) {
        return STELE_E_LIMIT;
    }
    const int outcome = stele_replica__submit(replica, group, term, &entry);
    if (outcome == STELE_OK) {
        replica->groups[group].stamp = entry.stamp;
        if (entry.stamp > replica->wanted) {
            replica->wanted = entry.stamp;
        }
    }
    return outcome;
}

int stele_replica_propose_meta(struct stele_replica *replica, struct stele_bytes body,
                               uint64_t *out_id)
{
    const uint32_t group = replica->options.partitions;
    const struct group *at = &replica->groups[group];
    if (!at->leads) {
        return STELE_NOT_FOUND;
    }
    const struct stele_entry entry = {.kind = STELE_ENTRY_META,
                                      .origin = replica->options.raft.node,
                                      .boot = replica->options.boot,
                                      .id = replica->next_id,
                                      .body = body};
    const int outcome = stele_replica__submit(replica, group, at->term, &entry);
    if (outcome == STELE_OK) {
        *out_id = replica->next_id++;
    }
    return outcome;
}

/* ---- Forwarding ---- */

/* One message with as many as fit, from `first` on. Returns the first that did not, or NULL. */
static const struct stele_proposal *send_forward(struct stele_replica *replica, uint32_t group,
                                                 const struct stele_proposal *first)
{
    const struct group *at = &replica->groups[group];
    size_t size = FORWARD_HEADER_SIZE;
    uint32_t count = 0;
    const struct stele_proposal *end = first;
    while (end != NULL && (count == 0 || size + end->bytes.size <= FORWARD_SIZE_MAX)) {
        size += FORWARD_EACH_SIZE + end->bytes.size;
        count++;
        end = end->next;
    }
    replica->scratch.size = 0;
    if (stele_buf_reserve(&replica->scratch, replica->alloc, size) != STELE_OK) {
        return NULL; /* Sent again later. */
    }
    uint8_t *to = replica->scratch.data;
    memset(to, 0, FORWARD_HEADER_SIZE);
    to[0] = MESSAGE_FORWARD;
    to[1] = MESSAGE_VERSION;
    stele_store_u16le(to + 2, (uint16_t)group);
    stele_store_u32le(to + 4, count);
    stele_store_u64le(to + 8, at->lane_term);
    stele_store_u64le(to + 16, replica->options.boot);
    stele_store_u64le(to + 24, first->number);
    /* Those before are in the log, or were given up: the leader may not have got them, and must not wait for them. */
    stele_store_u64le(to + 32, at->sent.first->number - 1);
    to += FORWARD_HEADER_SIZE;
    for (const struct stele_proposal *p = first; p != end; p = p->next) {
        stele_store_u64le(to, p->id);
        stele_store_u32le(to + 8, (uint32_t)p->bytes.size);
        memcpy(to + FORWARD_EACH_SIZE, p->bytes.data, p->bytes.size);
        to += FORWARD_EACH_SIZE + p->bytes.size;
    }
    STELE_ASSERT((size_t)(to - replica->scratch.data) == size);
    const struct stele_bytes message = {.data = replica->scratch.data, .size = size};
    replica->env.send(replica->context, at->lane_leader, message);
    replica->counts.forwarded += count;
    return end;
}

static void send_from(struct stele_replica *replica, uint32_t group,
                      const struct stele_proposal *first)
{
    while (first != NULL) {
        first = send_forward(replica, group, first);
    }
}

/* This node leads the group: no message needed. */
static void submit_queued(struct stele_replica *replica, uint32_t group)
{
    struct group *at = &replica->groups[group];
    while (at->queued.first != NULL) {
        struct stele_proposal *proposal = at->queued.first;
        const int outcome =
            submit_command(replica, group, at->lane_term, replica->options.raft.node,
                           replica->options.boot, proposal->id, proposal->bytes);
        if (outcome != STELE_OK) {
            at->refused = true;
            at->resend_at_us = replica->now_us + 10000;
            return;
        }
        take_out(&at->queued, proposal);
        push(&at->sent, proposal);
    }
}

static void forward_queued(struct stele_replica *replica, uint32_t group)
{
    struct group *at = &replica->groups[group];
    const struct stele_proposal *first = at->queued.first;
    if (at->sent.first == NULL) {
        at->resend_at_us = replica->now_us + replica->options.resend_us;
    }
    const uint64_t before = at->number;
    while (at->queued.first != NULL) {
        struct stele_proposal *proposal = at->queued.first;
        take_out(&at->queued, proposal);
        proposal->number = ++at->number;
        push(&at->sent, proposal);
    }
    STELE_ASSERT(first != NULL); /* route() */
    if (at->asked_id == 0) {
        at->asked_id = first->id;
        at->asked_at_us = replica->now_us;
    }
    if (at->distance_us >= replica->options.announce_us) {
        stele_replica__announce(replica, at->lane_leader, at->number - before);
    }
    send_from(replica, group, first);
}

static void resend(struct stele_replica *replica, uint32_t group)
{
    struct group *at = &replica->groups[group];
    const struct stele_proposal *first = at->sent.first;
    while (first != NULL && first->number <= at->have) {
        first = first->next;
    }
    at->resend = false;
    at->resend_at_us = replica->now_us + replica->options.resend_us;
    if (first != NULL) {
        replica->counts.resent++;
        send_from(replica, group, first);
    }
}

void stele_replica__route(struct stele_replica *replica, uint32_t group)
{
    struct group *at = &replica->groups[group];
    if (at->installing) {
        return; /* What was sent may stand below the snapshot: see finish_installs(). */
    }
    if (at->sent.first != NULL && at->committed_term > at->lane_term) {
        /* None of them is in the log, nor will be: the log has gone on in a later term. */
        put_in_front(&at->queued, &at->sent);
    }
    if (at->sent.first == NULL && at->lane_term != at->term) {
        at->lane_term = 0;
    }
    if (at->queued.first == NULL && at->sent.first == NULL) {
        return;
    }
    if (at->leader == 0) {
        return;
    }
    if (at->sent.first == NULL && (at->lane_term != at->term || at->lane_leader != at->leader)) {
        at->lane_term = at->term;
        at->lane_leader = at->leader;
        at->number = 0;
        at->have = 0;
        at->resend = false;
        at->refused = false;
        at->distance_us = 0;
        at->asked_id = 0;
    }
    if (at->lane_term != at->term || at->lane_leader != at->leader) {
        return; /* Those of the term before are in doubt. */
    }
    if (at->refused && replica->now_us < at->resend_at_us) {
        return;
    }
    const bool is_own = at->lane_leader == replica->options.raft.node;
    at->refused = false;
    if (!is_own && at->sent.first != NULL && (at->resend || replica->now_us >= at->resend_at_us)) {
        resend(replica, group);
    }
    if (at->queued.first != NULL) {
        if (is_own) {
            submit_queued(replica, group);
        } else {
            forward_queued(replica, group);
        }
    }
}

/* ---- The leader's side, and its answers ---- */

static struct inbound *inbound_of(struct stele_replica *replica, struct group *group,
                                  uint64_t origin)
{
    for (size_t i = 0; i < group->inbound_count; i++) {
        if (group->inbound[i].origin == origin) {
            return &group->inbound[i];
        }
    }
    if (group->inbound_count == group->inbound_capacity) {
        const size_t capacity = group->inbound_capacity == 0 ? 4 : 2 * group->inbound_capacity;
        struct inbound *grown = replica->alloc->reallocate(replica->alloc, group->inbound,
                                                           group->inbound_capacity * sizeof *grown,
                                                           capacity * sizeof *grown);
        if (grown == NULL) {
            return NULL;
        }
        group->inbound = grown;
        group->inbound_capacity = capacity;
    }
    group->inbound[group->inbound_count] = (struct inbound){.origin = origin};
    return &group->inbound[group->inbound_count++];
}

static void send_have(struct stele_replica *replica, uint64_t to, uint32_t group, uint64_t term,
                      uint64_t boot, uint64_t last, bool refused)
{
    uint8_t bytes[HAVE_SIZE] = {MESSAGE_HAVE, MESSAGE_VERSION};
    stele_store_u16le(bytes + 2, (uint16_t)group);
    bytes[4] = refused ? 1 : 0;
    stele_store_u64le(bytes + 8, term);
    stele_store_u64le(bytes + 16, boot);
    stele_store_u64le(bytes + 24, last);
    const struct stele_bytes message = {.data = bytes, .size = sizeof bytes};
    replica->env.send(replica->context, to, message);
}

int stele_replica__on_forward(struct stele_replica *replica, uint64_t from,
                              struct stele_bytes message, struct stele_error *err)
{
    if (message.size < FORWARD_HEADER_SIZE) {
        return stele_replica__fail_message(err, from, "too short for commands");
    }
    const uint32_t group = stele_load_u16le(message.data + 2);
    const uint32_t count = stele_load_u32le(message.data + 4);
    const uint64_t term = stele_load_u64le(message.data + 8);
    const uint64_t boot = stele_load_u64le(message.data + 16);
    uint64_t number = stele_load_u64le(message.data + 24);
    const uint64_t gone = stele_load_u64le(message.data + 32);
    if (group >= replica->options.partitions || number == 0 || gone >= number) {
        return stele_replica__fail_message(err, from, "commands for a partition that is none");
    }
    struct group *at = &replica->groups[group];
    if (!at->leads || at->term != term) {
        send_have(replica, from, group, term, boot, 0, true);
        return STELE_OK;
    }
    struct inbound *inbound = inbound_of(replica, at, from);
    if (inbound == NULL) {
        return STELE_OK; /* No memory: it comes again. */
    }
    if (boot < inbound->boot) {
        return STELE_OK; /* Of a life of the origin that is over: counted anew, it would be done twice. */
    }
    if (inbound->boot != boot || inbound->term != term) {
        *inbound = (struct inbound){.origin = from, .boot = boot, .term = term};
    }
    /* What was sent of these may still be on its way: it comes too late then. */
    inbound->last = gone > inbound->last ? gone : inbound->last;
    if (number > inbound->last + 1) {
        send_have(replica, from, group, term, boot, inbound->last, false);
        return STELE_OK;
    }
    size_t place = FORWARD_HEADER_SIZE;
    for (uint32_t i = 0; i < count; i++, number++) {
        if (message.size - place < FORWARD_EACH_SIZE) {
            return stele_replica__fail_message(err, from, "commands that are cut off");
        }
        const uint64_t id = stele_load_u64le(message.data + place);
        const size_t size = stele_load_u32le(message.data + place + 8);
        place += FORWARD_EACH_SIZE;
        if (message.size - place < size) {
            return stele_replica__fail_message(err, from, "a command that is cut off");
        }
        if (number == inbound->last + 1) {
            const struct stele_bytes body = stele_bytes_slice(message, place, size);
            if (submit_command(replica, group, term, from, boot, id, body) != STELE_OK) {
                send_have(replica, from, group, term, boot, inbound->last, true);
                return STELE_OK;
            }
            inbound->last = number;
        }
        place += size;
    }
    return STELE_OK;
}

int stele_replica__on_have(struct stele_replica *replica, uint64_t from, struct stele_bytes message,
                           struct stele_error *err)
{
    if (message.size != HAVE_SIZE) {
        return stele_replica__fail_message(err, from, "an answer to commands of another size");
    }
    const uint32_t group = stele_load_u16le(message.data + 2);
    const bool refused = message.data[4] != 0;
    const uint64_t term = stele_load_u64le(message.data + 8);
    const uint64_t boot = stele_load_u64le(message.data + 16);
    const uint64_t last = stele_load_u64le(message.data + 24);
    if (group >= replica->options.partitions) {
        return stele_replica__fail_message(err, from, "an answer for a partition that is none");
    }
    struct group *at = &replica->groups[group];
    if (at->lane_term != term || at->lane_leader != from || boot != replica->options.boot ||
        last > at->number) {
        return STELE_OK; /* Of a time that is over. */
    }
    at->have = last > at->have ? last : at->have;
    if (refused) {
        at->refused = true;
        at->resend_at_us = replica->now_us + 20000;
    }
    at->resend = true;
    return STELE_OK;
}

void stele_replica__give_up_late(struct stele_replica *replica)
{
    const int64_t limit = replica->now_us - replica->options.give_up_us;
    for (uint32_t i = 0; i < replica->options.partitions; i++) {
        struct group *group = &replica->groups[i];
        while (group->sent.first != NULL && group->sent.first->since_us < limit) {
            give_up(replica, &group->sent, group->sent.first, STELE_E_UNKNOWN,
                    "the partition's leader has not answered; ask again with the same ids");
        }
        while (group->queued.first != NULL && group->queued.first->since_us < limit) {
            give_up(replica, &group->queued, group->queued.first, STELE_E_OVERLOADED,
                    "no majority of the nodes can be reached; nothing was stored");
        }
    }
}
