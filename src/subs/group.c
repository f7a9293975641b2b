/* The state machine of a group; its design stands in group.h. */
#include "subs/group_internal.h"

#include <stdio.h>

#define IDS_MIN 64
#define REASON_MAX 1024

/* ---- Checkpoints ---- */

/* The last place up to which everything is finished. */
static uint64_t finished_to(const struct stele_group *group)
{
    return group->order_first != NULL ? group->order_first->before : group->passed;
}

static void write_checkpoint(struct stele_group *group)
{
    const uint64_t place = finished_to(group);
    if (group->checkpointing || place == STELE_GROUP_NO_PLACE || place == group->checkpoint) {
        return;
    }
    STELE_ASSERT(group->checkpoint == STELE_GROUP_NO_PLACE || place > group->checkpoint);
    group->checkpointing = true;
    group->finished_at_writing = group->finished;
    group->effects->checkpoint(group->context, place);
}

static bool is_checkpoint_due(const struct stele_group *group)
{
    return group->settings.max_checkpoint_count > 0 &&
           group->finished >= (uint64_t)group->settings.max_checkpoint_count;
}

static void note_finished(struct stele_group *group, uint64_t count)
{
    group->finished += count;
    if (is_checkpoint_due(group)) {
        write_checkpoint(group);
    }
}

void stele_group_checkpointed(struct stele_group *group, uint64_t place, bool stored,
                              int64_t now_us)
{
    STELE_ASSERT(group->checkpointing);
    group->checkpointing = false;
    group->checkpoint_at_us = now_us;
    if (stored) {
        group->checkpoint = place;
        /* What was finished meanwhile is not in it. */
        group->finished -= group->finished_at_writing;
    }
}

void stele_group_flush(struct stele_group *group)
{
    write_checkpoint(group);
}

uint64_t stele_group_finished_to(const struct stele_group *group)
{
    return finished_to(group);
}

/* ---- Finishing ---- */

static void leave_flight(struct stele_group *group, struct stele_group_entry *entry)
{
    STELE_ASSERT(entry->state == GROUP_IN_FLIGHT);
    stele_group__list_take_out(&entry->member->in_flight, entry);
    group->in_flight--;
    if (stele_group__is_pinned(group)) {
        struct group_pin *pin = &group->pins[entry->pin];
        STELE_ASSERT(pin->in_flight > 0);
        pin->in_flight--;
        if (pin->in_flight == 0 && pin->leaving) {
            pin->member = NULL;
            pin->leaving = false;
        }
    }
    entry->member = NULL;
}

static void leave_list(struct stele_group *group, struct stele_group_entry *entry)
{
    switch (entry->state) {
    case GROUP_WAITING:
        stele_group__list_take_out(&group->waiting, entry);
        group->waiting_size -= entry->event->size;
        break;
    case GROUP_RETRY:
        stele_group__list_take_out(&group->retries, entry);
        break;
    case GROUP_IN_FLIGHT:
        leave_flight(group, entry);
        break;
    default:
        stele_group__list_take_out(&group->parking, entry);
        break;
    }
}

static void leave_order(struct stele_group *group, struct stele_group_entry *entry)
{
    if (entry->is_replayed) {
        return;
    }
    if (entry->order_previous != NULL) {
        entry->order_previous->order_next = entry->order_next;
    } else {
        STELE_ASSERT(group->order_first == entry);
        group->order_first = entry->order_next;
    }
    if (entry->order_next != NULL) {
        entry->order_next->order_previous = entry->order_previous;
    } else {
        group->order_last = entry->order_previous;
    }
}

static void release(struct stele_group *group, struct stele_group_entry *entry)
{
    leave_list(group, entry);
    leave_order(group, entry);
    stele_group__remove_id(group, entry);
    stele_group_event_unref(entry->event);
    stele_release(group->alloc, entry, sizeof *entry);
}

static void finish(struct stele_group *group, struct stele_group_entry *entry)
{
    if (entry->is_replayed) {
        const uint64_t number = entry->parked_number;
        release(group, entry);
        group->effects->replayed(group->context, number);
        return;
    }
    release(group, entry);
    note_finished(group, 1);
}

/* Behind those of lower places: what comes back comes back in order. Replayed ones have none. */
static void put_back(struct stele_group *group, struct stele_group_entry *entry)
{
    struct stele_group_entry *at = group->retries.first;
    while (at != NULL &&
           (entry->is_replayed || at->is_replayed || at->event->place < entry->event->place)) {
        at = at->next;
    }
    entry->state = GROUP_RETRY;
    stele_group__list_insert_before(&group->retries, entry, at);
}

static void park(struct stele_group *group, struct stele_group_entry *entry, const char *reason)
{
    /* If that fails, it is handed out again. What waits for that already is counted already. */
    entry->retries += entry->state == GROUP_IN_FLIGHT ? 1 : 0;
    leave_list(group, entry);
    entry->state = GROUP_PARKING;
    stele_group__list_append(&group->parking, entry);
    if (!group->effects->park(group->context, entry, entry->event, reason)) {
        stele_group__list_take_out(&group->parking, entry);
        put_back(group, entry);
    }
}

void stele_group_parked(struct stele_group *group, struct stele_group_entry *entry, bool stored)
{
    STELE_ASSERT(entry->state == GROUP_PARKING);
    if (stored) {
        finish(group, entry);
        return;
    }
    stele_group__list_take_out(&group->parking, entry);
    put_back(group, entry);
}

static void retry(struct stele_group *group, struct stele_group_entry *entry)
{
    if (group->settings.max_retry_count >= 0 &&
        entry->retries >= (uint32_t)group->settings.max_retry_count) {
        char reason[64];
        (void)snprintf(reason, sizeof reason, "Reached retry count of %d",
                       group->settings.max_retry_count);
        park(group, entry, reason);
        return;
    }
    leave_list(group, entry);
    entry->retries++;
    put_back(group, entry);
}

/* ---- What consumers say ---- */

static void measure(struct stele_group_member *member, int64_t us)
{
    if (member != NULL && member->latencies != NULL) {
        const int64_t ms = us / 1000;
        member->latencies[member->latencies_count++ % GROUP_LATENCIES] = ms < 0 ? 0
                                                                         : ms > INT32_MAX
                                                                             ? INT32_MAX
                                                                             : (uint32_t)ms;
    }
}

void stele_group_ack(struct stele_group *group, struct stele_group_member *member,
                     const uint8_t id[16], int64_t now_us)
{
    struct stele_group_entry *entry = stele_group__find(group, member, id);
    if (entry != NULL) {
        measure(entry->member, now_us - entry->sent_at_us);
        finish(group, entry);
    }
}

void stele_group_nack(struct stele_group *group, struct stele_group_member *member,
                      const uint8_t id[16], enum stele_group_nack action, const char *reason)
{
    struct stele_group_entry *entry = stele_group__find(group, member, id);
    if (entry == NULL || action == STELE_GROUP_NACK_STOP) {
        return;
    }
    if (action == STELE_GROUP_NACK_SKIP) {
        finish(group, entry);
    } else if (action == STELE_GROUP_NACK_PARK) {
        char words[REASON_MAX];
        (void)snprintf(words, sizeof words, "Client explicitly NAK'ed message.\n%s", reason);
        park(group, entry, words);
    } else if (entry->state == GROUP_IN_FLIGHT) {
        retry(group, entry);
    }
}

int stele_group_join(struct stele_group *group, uint32_t capacity, void *member_context,
                     struct stele_group_member **out_member)
{
    const int32_t max = group->settings.max_subscriber_count;
    if (max > 0 && group->members_count >= (uint32_t)max) {
        return STELE_E_LIMIT;
    }
    struct stele_group_member *member = stele_allocate_zeroed(group->alloc, sizeof *member);
    if (member == NULL) {
        return STELE_E_NO_MEMORY;
    }
    if (group->settings.extra_statistics) {
        member->latencies =
            stele_allocate_zeroed(group->alloc, GROUP_LATENCIES * sizeof *member->latencies);
        if (member->latencies == NULL) {
            stele_release(group->alloc, member, sizeof *member);
            return STELE_E_NO_MEMORY;
        }
    }
    member->context = member_context;
    member->capacity = capacity == 0 ? 1 : capacity;
    member->previous = group->members_last;
    if (group->members_last != NULL) {
        group->members_last->next = member;
    } else {
        group->members = member;
    }
    group->members_last = member;
    group->members_count++;
    if (stele_group__is_pinned(group)) {
        stele_group__share_pins(group);
    }
    *out_member = member;
    return STELE_OK;
}

static void forget_member(struct stele_group *group, struct stele_group_member *member)
{
    stele_release(group->alloc, member->latencies, GROUP_LATENCIES * sizeof *member->latencies);
    stele_release(group->alloc, member, sizeof *member);
}

void stele_group_leave(struct stele_group *group, struct stele_group_member *member)
{
    while (member->in_flight.last != NULL) {
        struct stele_group_entry *entry = member->in_flight.last;
        leave_flight(group, entry);
        entry->retries++;
        put_back(group, entry);
    }
    for (size_t i = 0; stele_group__is_pinned(group) && i < GROUP_PINS; i++) {
        if (group->pins[i].member == member) {
            STELE_ASSERT(group->pins[i].in_flight == 0);
            stele_group__unpin(&group->pins[i]);
        }
    }
    if (group->turn == member) {
        group->turn = member->next;
    }
    if (member->previous != NULL) {
        member->previous->next = member->next;
    } else {
        group->members = member->next;
    }
    if (member->next != NULL) {
        member->next->previous = member->previous;
    } else {
        group->members_last = member->previous;
    }
    group->members_count--;
    forget_member(group, member);
}

/* ---- What is read ---- */

static struct stele_group_entry *make_entry(struct stele_group *group,
                                            struct stele_group_event *event)
{
    struct stele_group_entry *entry = stele_allocate_zeroed(group->alloc, sizeof *entry);
    if (entry != NULL) {
        entry->event = event;
        entry->pin = stele_group__is_pinned(group) ? stele_group__pin_of(group, event) : 0;
    }
    return entry;
}

int stele_group_push(struct stele_group *group, struct stele_group_event *event)
{
    STELE_ASSERT(stele_group_room(group) > 0);
    STELE_ASSERT(group->last_known == STELE_GROUP_NO_PLACE || event->place > group->last_known);
    struct stele_group_entry *entry = make_entry(group, event);
    if (entry == NULL) {
        return STELE_E_NO_MEMORY;
    }
    entry->state = GROUP_WAITING;
    entry->before = group->passed;
    stele_group__list_append(&group->waiting, entry);
    group->waiting_size += event->size;
    entry->order_previous = group->order_last;
    if (group->order_last != NULL) {
        group->order_last->order_next = entry;
    } else {
        group->order_first = entry;
    }
    group->order_last = entry;
    group->last_known = event->place;
    group->passed = event->place;
    group->was_full = group->was_full || stele_group_room(group) == 0;
    return STELE_OK;
}

void stele_group_passed(struct stele_group *group, uint64_t place, uint64_t scanned)
{
    if (group->passed != STELE_GROUP_NO_PLACE && place <= group->passed) {
        return;
    }
    group->passed = place;
    if (group->order_first == NULL) {
        note_finished(group, scanned);
    }
}

int stele_group_replay(struct stele_group *group, struct stele_group_event *event,
                       uint64_t parked_number)
{
    struct stele_group_entry *entry = make_entry(group, event);
    if (entry == NULL) {
        return STELE_E_NO_MEMORY;
    }
    entry->is_replayed = true;
    entry->parked_number = parked_number;
    put_back(group, entry);
    return STELE_OK;
}

/* ---- Time ---- */

static void time_out(struct stele_group *group, struct stele_group_member *member, int64_t now_us)
{
    const int64_t timeout_us = group->settings.message_timeout_us;
    struct stele_group_entry *entry = member->in_flight.first;
    while (entry != NULL && now_us - entry->sent_at_us >= timeout_us) {
        struct stele_group_entry *next = entry->next;
        retry(group, entry);
        entry = next;
    }
}

void stele_group_tick(struct stele_group *group, int64_t now_us)
{
    for (struct stele_group_member *member = group->members; member != NULL;
         member = member->next) {
        if (group->settings.message_timeout_us > 0) {
            time_out(group, member, now_us);
        }
        member->since_tick = member->counting;
        member->counting = 0;
    }
    group->since_tick = group->counting;
    group->counting = 0;
    const bool is_enough =
        group->finished > 0 &&
        group->finished >= (uint64_t)(group->settings.min_checkpoint_count < 0
                                          ? 0
                                          : group->settings.min_checkpoint_count) &&
        now_us - group->checkpoint_at_us >= group->settings.checkpoint_after_us;
    /* Due already: while the one before was being stored. */
    if (is_enough || is_checkpoint_due(group)) {
        write_checkpoint(group);
    }
    stele_group_dispatch(group, now_us);
}

/* ---- ---- */

int stele_group_create(struct stele_alloc *alloc, const struct stele_group_settings *settings,
                       uint64_t checkpoint, uint64_t seed,
                       const struct stele_group_effects *effects, void *context, int64_t now_us,
                       struct stele_group **out_group)
{
    struct stele_group *group = stele_allocate_zeroed(alloc, sizeof *group);
    if (group == NULL) {
        return STELE_E_NO_MEMORY;
    }
    group->alloc = alloc;
    group->settings = *settings;
    group->effects = effects;
    group->context = context;
    group->seed = seed;
    group->last_known = checkpoint;
    group->passed = checkpoint;
    group->checkpoint = checkpoint;
    group->checkpoint_at_us = now_us;
    group->ids_capacity = IDS_MIN;
    group->ids = stele_allocate_zeroed(alloc, IDS_MIN * sizeof(struct stele_group_entry *));
    const bool pinned = settings->strategy == STELE_GROUP_PINNED ||
                        settings->strategy == STELE_GROUP_PINNED_BY_CORRELATION;
    group->pins = pinned ? stele_allocate_zeroed(alloc, GROUP_PINS * sizeof *group->pins) : NULL;
    if (group->ids == NULL || (pinned && group->pins == NULL)) {
        stele_group_destroy(group);
        return STELE_E_NO_MEMORY;
    }
    *out_group = group;
    return STELE_OK;
}

static void release_list(struct stele_group *group, struct group_list *list)
{
    while (list->first != NULL) {
        struct stele_group_entry *entry = list->first;
        stele_group__list_take_out(list, entry);
        stele_group_event_unref(entry->event);
        stele_release(group->alloc, entry, sizeof *entry);
    }
}

void stele_group_destroy(struct stele_group *group)
{
    if (group == NULL) {
        return;
    }
    struct stele_group_member *member = group->members;
    while (member != NULL) {
        struct stele_group_member *next = member->next;
        release_list(group, &member->in_flight);
        forget_member(group, member);
        member = next;
    }
    release_list(group, &group->waiting);
    release_list(group, &group->retries);
    release_list(group, &group->parking);
    if (group->ids != NULL) {
        stele_release(group->alloc, group->ids, group->ids_capacity * sizeof *group->ids);
    }
    stele_release(group->alloc, group->pins, GROUP_PINS * sizeof *group->pins);
    stele_release(group->alloc, group, sizeof *group);
}

const struct stele_group_settings *stele_group_settings(const struct stele_group *group)
{
    return &group->settings;
}
