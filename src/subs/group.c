/* The state machine of a group; its design stands in group.h. */
#include "subs/group.h"

#include "base/checksum.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define PINS 1024
#define LATENCIES 512
/* Bytes of events that wait, whatever the settings say; one event is always taken. */
#define WAITING_SIZE_MAX ((size_t)32 * 1024 * 1024)
#define IDS_MIN 64
#define REASON_MAX 1024

enum state { WAITING, RETRY, IN_FLIGHT, PARKING };

struct entry_list {
    struct stele_group_entry *first, *last;
    uint32_t count;
};

struct stele_group_entry {
    /* Unfinished ones in the order of their places; replayed ones are not in it. */
    struct stele_group_entry *order_next, *order_previous;
    /* Of the list that the state says: waiting, retries, the member's, parking. */
    struct stele_group_entry *next, *previous;
    struct stele_group_entry *same_hash; /* In `ids`, once it was handed out. */
    struct stele_group_event *event;
    struct stele_group_member *member; /* IN_FLIGHT. */
    uint64_t before;                   /* The place before it: a checkpoint if it is the first. */
    uint64_t parked_number;            /* Of a replayed one. */
    int64_t sent_at_us;
    uint32_t retries;
    uint16_t pin;
    uint8_t state;
    bool is_replayed;
    bool in_ids;
};

struct stele_group_member {
    struct stele_group_member *next, *previous; /* In the order of joining. */
    void *context;
    struct entry_list in_flight;
    uint32_t capacity;
    uint32_t pins; /* Keys that are pinned to it. */
    uint64_t total, since_tick, counting;
    uint32_t *latencies; /* ms, a ring; only with extra statistics. */
    uint32_t latencies_count;
};

/* Events whose key falls on one pin go to one member. When the pin is to move (a member joined), the
 * old one keeps it until nothing is in flight: `leaving`. */
struct pin {
    struct stele_group_member *member;
    uint32_t in_flight;
    bool leaving;
};

struct stele_group {
    struct stele_alloc *alloc;
    struct stele_group_settings settings;
    const struct stele_group_effects *effects;
    void *context;
    uint64_t seed;

    struct stele_group_entry *order_first, *order_last;
    struct entry_list waiting, retries, parking;
    size_t waiting_size;
    uint32_t in_flight;
    bool was_full;
    struct stele_group_entry **ids;
    size_t ids_capacity, ids_count;

    struct stele_group_member *members, *members_last;
    uint32_t members_count;
    struct stele_group_member *turn; /* Round robin: whose turn it is, or NULL: the first one's. */
    struct pin *pins;

    uint64_t last_known; /* Place of the last event pushed. */
    uint64_t passed;     /* Everything up to it was pushed or is not wanted. */
    uint64_t checkpoint;
    bool checkpointing;
    uint64_t finished;            /* Since the last checkpoint. */
    uint64_t finished_at_writing; /* The same, when the one being written was begun. */
    int64_t checkpoint_at_us;
    uint64_t total, since_tick, counting;
};

const char *const stele_group_measurement_names[STELE_GROUP_MEASUREMENTS] = {
    "Mean",       "Median", "Fastest", "Quintile 1", "Quintile 2", "Quintile 3", "Quintile 4",
    "Quintile 5", "90%",    "95%",     "99%",        "99.5%",      "99.9%",      "Highest"};

/* ---- Lists ---- */

static void append(struct entry_list *list, struct stele_group_entry *entry)
{
    entry->next = NULL;
    entry->previous = list->last;
    if (list->last != NULL) {
        list->last->next = entry;
    } else {
        list->first = entry;
    }
    list->last = entry;
    list->count++;
}

static void insert_before(struct entry_list *list, struct stele_group_entry *entry,
                          struct stele_group_entry *at)
{
    if (at == NULL) {
        append(list, entry);
        return;
    }
    entry->next = at;
    entry->previous = at->previous;
    if (at->previous != NULL) {
        at->previous->next = entry;
    } else {
        list->first = entry;
    }
    at->previous = entry;
    list->count++;
}

static void take_out(struct entry_list *list, struct stele_group_entry *entry)
{
    if (entry->previous != NULL) {
        entry->previous->next = entry->next;
    } else {
        STELE_ASSERT(list->first == entry);
        list->first = entry->next;
    }
    if (entry->next != NULL) {
        entry->next->previous = entry->previous;
    } else {
        STELE_ASSERT(list->last == entry);
        list->last = entry->previous;
    }
    entry->next = NULL;
    entry->previous = NULL;
    STELE_ASSERT(list->count > 0);
    list->count--;
}

/* ---- Ids ---- */

static struct stele_group_entry **id_slot(const struct stele_group *group, const uint8_t id[16])
{
    const uint64_t hash = stele_hash64((struct stele_bytes){.data = id, .size = 16}, group->seed);
    return &group->ids[hash & (group->ids_capacity - 1)];
}

/* Without memory the chains grow longer. */
static void grow_ids(struct stele_group *group)
{
    const size_t old = group->ids_capacity;
    struct stele_group_entry **ids = stele_allocate_zeroed(group->alloc, old * 2 * sizeof *ids);
    if (ids == NULL) {
        return;
    }
    struct stele_group_entry **before = group->ids;
    group->ids = ids;
    group->ids_capacity = old * 2;
    for (size_t i = 0; i < old; i++) {
        for (struct stele_group_entry *entry = before[i], *next = NULL; entry != NULL;
             entry = next) {
            next = entry->same_hash;
            struct stele_group_entry **slot = id_slot(group, stele_group_event_id(entry->event));
            entry->same_hash = *slot;
            *slot = entry;
        }
    }
    stele_release(group->alloc, before, old * sizeof *before);
}

static void add_id(struct stele_group *group, struct stele_group_entry *entry)
{
    if (entry->in_ids) {
        return;
    }
    if (group->ids_count >= group->ids_capacity) {
        grow_ids(group);
    }
    struct stele_group_entry **slot = id_slot(group, stele_group_event_id(entry->event));
    entry->same_hash = *slot;
    *slot = entry;
    entry->in_ids = true;
    group->ids_count++;
}

static void remove_id(struct stele_group *group, struct stele_group_entry *entry)
{
    if (!entry->in_ids) {
        return;
    }
    struct stele_group_entry **at = id_slot(group, stele_group_event_id(entry->event));
    while (*at != entry) {
        at = &(*at)->same_hash;
    }
    *at = entry->same_hash;
    entry->in_ids = false;
    group->ids_count--;
}

/* Two events may have one id. The one that this member holds is meant; or, late, one that was taken
 * back from it and waits to be handed out again. */
static struct stele_group_entry *find(const struct stele_group *group,
                                      const struct stele_group_member *member, const uint8_t id[16])
{
    struct stele_group_entry *late = NULL;
    for (struct stele_group_entry *entry = *id_slot(group, id); entry != NULL;
         entry = entry->same_hash) {
        if (memcmp(stele_group_event_id(entry->event), id, 16) != 0) {
            continue;
        }
        if (entry->state == IN_FLIGHT && entry->member == member) {
            return entry;
        }
        late = entry->state == RETRY ? entry : late;
    }
    return late;
}

/* ---- Pins ---- */

static bool is_pinned(const struct stele_group *group)
{
    return group->pins != NULL;
}

static uint64_t hash_text(const struct stele_group *group, const char *data, size_t size)
{
    return stele_hash64((struct stele_bytes){.data = (const uint8_t *)data, .size = size},
                        group->seed);
}

/* false: the metadata has none. */
static bool hash_correlation(const struct stele_group *group, const struct stele_event *event,
                             uint64_t *out_hash)
{
    if (event->metadata_size == 0) {
        return false;
    }
    json_t *json = json_loadb(event->metadata, event->metadata_size, JSON_REJECT_DUPLICATES, NULL);
    const json_t *id = json_object_get(json, "$correlationId");
    const bool found = json_is_string(id);
    if (found) {
        *out_hash = hash_text(group, json_string_value(id), json_string_length(id));
    }
    json_decref(json);
    return found;
}

static uint16_t pin_of(const struct stele_group *group, const struct stele_group_event *event)
{
    const struct stele_event *source =
        event->event.type.data != NULL ? &event->event : &event->link;
    uint64_t hash = 0;
    if (group->settings.strategy != STELE_GROUP_PINNED_BY_CORRELATION ||
        !hash_correlation(group, source, &hash)) {
        hash = hash_text(group, source->stream.data, source->stream.size);
    }
    return (uint16_t)(hash % PINS);
}

static void unpin(struct pin *pin)
{
    if (pin->member != NULL) {
        pin->member->pins--;
    }
    pin->member = NULL;
    pin->leaving = false;
}

/* A member has joined: the others give up what is above their share. */
static void share_pins(struct stele_group *group)
{
    const uint32_t share = (PINS + group->members_count - 1) / group->members_count;
    for (size_t i = 0; i < PINS; i++) {
        struct pin *pin = &group->pins[i];
        if (pin->member == NULL || pin->leaving || pin->member->pins <= share) {
            continue;
        }
        if (pin->in_flight > 0) {
            pin->member->pins--;
            pin->leaving = true; /* It counts no more for the old one, who keeps it for a while. */
        } else {
            unpin(pin);
        }
    }
}

static void pin_to_least(struct stele_group *group, struct pin *pin)
{
    struct stele_group_member *least = group->members;
    for (struct stele_group_member *member = least; member != NULL; member = member->next) {
        least = member->pins < least->pins ? member : least;
    }
    STELE_ASSERT(least != NULL);
    pin->member = least;
    least->pins++;
}

static bool has_room(const struct stele_group_member *member)
{
    return member->in_flight.count < member->capacity;
}

static struct stele_group_member *choose_pinned(struct stele_group *group, uint16_t index)
{
    struct pin *pin = &group->pins[index];
    if (pin->leaving) {
        return NULL;
    }
    if (pin->member == NULL) {
        STELE_ASSERT(pin->in_flight == 0);
        pin_to_least(group, pin);
    }
    return has_room(pin->member) ? pin->member : NULL;
}

/* ---- Handing out ---- */

static struct stele_group_member *choose(struct stele_group *group,
                                         const struct stele_group_entry *entry)
{
    if (is_pinned(group)) {
        return choose_pinned(group, entry->pin);
    }
    const bool in_turn = group->settings.strategy == STELE_GROUP_ROUND_ROBIN;
    struct stele_group_member *first =
        in_turn && group->turn != NULL ? group->turn : group->members;
    struct stele_group_member *member = first;
    do {
        STELE_ASSERT(member != NULL); /* Only a group with members is asked to choose. */
        struct stele_group_member *next = member->next != NULL ? member->next : group->members;
        if (has_room(member)) {
            group->turn = in_turn ? next : NULL;
            return member;
        }
        member = next;
    } while (member != first);
    return NULL;
}

static void deliver(struct stele_group *group, struct entry_list *from,
                    struct stele_group_entry *entry, struct stele_group_member *member,
                    int64_t now_us)
{
    take_out(from, entry);
    if (from == &group->waiting) {
        group->waiting_size -= entry->event->size;
    }
    entry->state = IN_FLIGHT;
    entry->member = member;
    entry->sent_at_us = now_us;
    append(&member->in_flight, entry);
    group->in_flight++;
    if (is_pinned(group)) {
        group->pins[entry->pin].in_flight++;
    }
    add_id(group, entry);
    group->total++;
    group->counting++;
    member->total++;
    member->counting++;
    group->effects->deliver(group->context, member->context, entry->event, entry->retries);
}

static bool somebody_has_room(const struct stele_group *group)
{
    for (const struct stele_group_member *member = group->members; member != NULL;
         member = member->next) {
        if (has_room(member)) {
            return true;
        }
    }
    return false;
}

/* A pin that cannot take an event now cannot take a later one either, so that none overtakes. */
static void dispatch_list(struct stele_group *group, struct entry_list *list, int64_t now_us)
{
    struct stele_group_entry *entry = list->first;
    while (entry != NULL && somebody_has_room(group)) {
        struct stele_group_entry *next = entry->next;
        struct stele_group_member *member = choose(group, entry);
        if (member != NULL) {
            deliver(group, list, entry, member, now_us);
        }
        entry = next;
    }
}

static size_t waiting_max(const struct stele_group *group)
{
    const struct stele_group_settings *s = &group->settings;
    const int32_t most =
        s->live_buffer_size > s->history_buffer_size ? s->live_buffer_size : s->history_buffer_size;
    return most < 1 ? 1 : (size_t)most;
}

size_t stele_group_room(const struct stele_group *group)
{
    const size_t max = waiting_max(group);
    if (group->waiting.count >= max ||
        (group->waiting.count > 0 && group->waiting_size >= WAITING_SIZE_MAX)) {
        return 0;
    }
    return max - group->waiting.count;
}

void stele_group_dispatch(struct stele_group *group, int64_t now_us)
{
    dispatch_list(group, &group->retries, now_us);
    dispatch_list(group, &group->waiting, now_us);
    if (group->was_full && group->waiting.count <= waiting_max(group) / 2) {
        group->was_full = false;
        group->effects->has_room(group->context);
    }
}

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
    STELE_ASSERT(entry->state == IN_FLIGHT);
    take_out(&entry->member->in_flight, entry);
    group->in_flight--;
    if (is_pinned(group)) {
        struct pin *pin = &group->pins[entry->pin];
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
    case WAITING:
        take_out(&group->waiting, entry);
        group->waiting_size -= entry->event->size;
        break;
    case RETRY:
        take_out(&group->retries, entry);
        break;
    case IN_FLIGHT:
        leave_flight(group, entry);
        break;
    default:
        take_out(&group->parking, entry);
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
    remove_id(group, entry);
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
    entry->state = RETRY;
    insert_before(&group->retries, entry, at);
}

static void park(struct stele_group *group, struct stele_group_entry *entry, const char *reason)
{
    /* If that fails, it is handed out again. What waits for that already is counted already. */
    entry->retries += entry->state == IN_FLIGHT ? 1 : 0;
    leave_list(group, entry);
    entry->state = PARKING;
    append(&group->parking, entry);
    if (!group->effects->park(group->context, entry, entry->event, reason)) {
        take_out(&group->parking, entry);
        put_back(group, entry);
    }
}

void stele_group_parked(struct stele_group *group, struct stele_group_entry *entry, bool stored)
{
    STELE_ASSERT(entry->state == PARKING);
    if (stored) {
        finish(group, entry);
        return;
    }
    take_out(&group->parking, entry);
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

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a;
    const uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void measure(struct stele_group_member *member, int64_t us)
{
    if (member != NULL && member->latencies != NULL) {
        const int64_t ms = us / 1000;
        member->latencies[member->latencies_count++ % LATENCIES] = ms < 0           ? 0
                                                                   : ms > INT32_MAX ? INT32_MAX
                                                                                    : (uint32_t)ms;
    }
}

void stele_group_ack(struct stele_group *group, struct stele_group_member *member,
                     const uint8_t id[16], int64_t now_us)
{
    struct stele_group_entry *entry = find(group, member, id);
    if (entry != NULL) {
        measure(entry->member, now_us - entry->sent_at_us);
        finish(group, entry);
    }
}

void stele_group_nack(struct stele_group *group, struct stele_group_member *member,
                      const uint8_t id[16], enum stele_group_nack action, const char *reason)
{
    struct stele_group_entry *entry = find(group, member, id);
    if (entry == NULL || action == STELE_GROUP_NACK_STOP) {
        return;
    }
    if (action == STELE_GROUP_NACK_SKIP) {
        finish(group, entry);
    } else if (action == STELE_GROUP_NACK_PARK) {
        char words[REASON_MAX];
        (void)snprintf(words, sizeof words, "Client explicitly NAK'ed message.\n%s", reason);
        park(group, entry, words);
    } else if (entry->state == IN_FLIGHT) {
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
            stele_allocate_zeroed(group->alloc, LATENCIES * sizeof *member->latencies);
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
    if (is_pinned(group)) {
        share_pins(group);
    }
    *out_member = member;
    return STELE_OK;
}

static void forget_member(struct stele_group *group, struct stele_group_member *member)
{
    stele_release(group->alloc, member->latencies, LATENCIES * sizeof *member->latencies);
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
    for (size_t i = 0; is_pinned(group) && i < PINS; i++) {
        if (group->pins[i].member == member) {
            STELE_ASSERT(group->pins[i].in_flight == 0);
            unpin(&group->pins[i]);
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
        entry->pin = is_pinned(group) ? pin_of(group, event) : 0;
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
    entry->state = WAITING;
    entry->before = group->passed;
    append(&group->waiting, entry);
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
    group->pins = pinned ? stele_allocate_zeroed(alloc, PINS * sizeof *group->pins) : NULL;
    if (group->ids == NULL || (pinned && group->pins == NULL)) {
        stele_group_destroy(group);
        return STELE_E_NO_MEMORY;
    }
    *out_group = group;
    return STELE_OK;
}

static void release_list(struct stele_group *group, struct entry_list *list)
{
    while (list->first != NULL) {
        struct stele_group_entry *entry = list->first;
        take_out(list, entry);
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
    stele_release(group->alloc, group->pins, PINS * sizeof *group->pins);
    stele_release(group->alloc, group, sizeof *group);
}

const struct stele_group_settings *stele_group_settings(const struct stele_group *group)
{
    return &group->settings;
}

/* ---- Looking ---- */

void stele_group_stats(const struct stele_group *group, struct stele_group_stats *out_stats)
{
    *out_stats = (struct stele_group_stats){
        .total = group->total,
        .since_tick = group->since_tick,
        .last_checkpoint = group->checkpoint,
        .last_known = group->last_known,
        .waiting = group->waiting.count,
        .retrying = group->retries.count,
        .in_flight = group->in_flight,
        .parking = group->parking.count,
        .members = group->members_count,
    };
}

static void summarize(const struct stele_group_member *member,
                      struct stele_group_member_stats *out_stats)
{
    static const uint16_t permille[STELE_GROUP_MEASUREMENTS] = {
        0, 500, 0, 200, 400, 600, 800, 1000, 900, 950, 990, 995, 999, 1000};
    const uint32_t count =
        member->latencies_count < LATENCIES ? member->latencies_count : LATENCIES;
    uint32_t sorted[LATENCIES];
    uint64_t sum = 0;
    memcpy(sorted, member->latencies, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_u32);
    for (uint32_t i = 0; i < count; i++) {
        sum += sorted[i];
    }
    out_stats->measured = count;
    for (size_t i = 0; i < STELE_GROUP_MEASUREMENTS; i++) {
        out_stats->measurements[i] = sorted[(size_t)(count - 1) * permille[i] / 1000];
    }
    out_stats->measurements[0] = (int64_t)(sum / count);
}

bool stele_group_member_stats(const struct stele_group *group, uint32_t index,
                              struct stele_group_member_stats *out_stats)
{
    const struct stele_group_member *member = group->members;
    while (member != NULL && index > 0) {
        member = member->next;
        index--;
    }
    if (member == NULL) {
        return false;
    }
    *out_stats = (struct stele_group_member_stats){
        .member_context = member->context,
        .total = member->total,
        .since_tick = member->since_tick,
        .in_flight = member->in_flight.count,
        .capacity = member->capacity,
    };
    if (member->latencies != NULL && member->latencies_count > 0) {
        summarize(member, out_stats);
    }
    return true;
}

void stele_group_check(const struct stele_group *group)
{
    uint64_t place = group->checkpoint;
    uint64_t unfinished = 0;
    for (const struct stele_group_entry *entry = group->order_first; entry != NULL;
         entry = entry->order_next) {
        STELE_ASSERT(!entry->is_replayed);
        STELE_ASSERT(place == STELE_GROUP_NO_PLACE || entry->event->place > place); /* G2 */
        place = entry->event->place;
        unfinished++;
    }
    uint64_t in_flight = 0;
    uint32_t members = 0;
    for (const struct stele_group_member *member = group->members; member != NULL;
         member = member->next) {
        STELE_ASSERT(member->in_flight.count <= member->capacity); /* G3 */
        in_flight += member->in_flight.count;
        members++;
        for (const struct stele_group_entry *entry = member->in_flight.first; entry != NULL;
             entry = entry->next) {
            STELE_ASSERT(entry->member == member);
            STELE_ASSERT(!is_pinned(group) || group->pins[entry->pin].member == member); /* G4 */
        }
    }
    STELE_ASSERT(members == group->members_count);
    STELE_ASSERT(in_flight == group->in_flight);
    STELE_ASSERT(unfinished <= in_flight + group->waiting.count + group->retries.count +
                                   group->parking.count); /* G1 */
}
