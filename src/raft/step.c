/* One event into libraft, and what follows from it.
 *
 * libraft's engine decides, and leaves everything else to its user. What it asks for is done in this
 * order: term and vote, entries, snapshot, messages (outbox.c), role. The functions that take something
 * in (here and in receive.c) have the guards against what libraft does not look at; each is named
 * D1 … D17 there, in the README and in its test. */
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
        outcome = stele_raft__take_messages(raft, group, event, &update);
    }
    take_state(raft, group, was_leader, &update);
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

int stele_raft__reserve_batch(struct stele_raft *raft, uint32_t count)
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
    int outcome = stele_raft__reserve_batch(raft, (uint32_t)group->submits_count + 1);
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
        stele_raft__is_only_voter(group, raft->options.node)) {
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
