/* Which member gets which event: pins, turns, and how much a group may have at hand. */
#include "base/checksum.h"
#include "subs/group_internal.h"

#include <jansson.h>

/* Bytes of events that wait, whatever the settings say; one event is always taken. */
#define WAITING_SIZE_MAX ((size_t)32 * 1024 * 1024)

bool stele_group__is_pinned(const struct stele_group *group)
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

uint16_t stele_group__pin_of(const struct stele_group *group, const struct stele_group_event *event)
{
    const struct stele_event *source =
        event->event.type.data != NULL ? &event->event : &event->link;
    uint64_t hash = 0;
    if (group->settings.strategy != STELE_GROUP_PINNED_BY_CORRELATION ||
        !hash_correlation(group, source, &hash)) {
        hash = hash_text(group, source->stream.data, source->stream.size);
    }
    return (uint16_t)(hash % GROUP_PINS);
}

void stele_group__unpin(struct group_pin *pin)
{
    if (pin->member != NULL) {
        pin->member->pins--;
    }
    pin->member = NULL;
    pin->leaving = false;
}

void stele_group__share_pins(struct stele_group *group)
{
    const uint32_t share = (GROUP_PINS + group->members_count - 1) / group->members_count;
    for (size_t i = 0; i < GROUP_PINS; i++) {
        struct group_pin *pin = &group->pins[i];
        if (pin->member == NULL || pin->leaving || pin->member->pins <= share) {
            continue;
        }
        if (pin->in_flight > 0) {
            pin->member->pins--;
            pin->leaving = true; /* It counts no more for the old one, who keeps it for a while. */
        } else {
            stele_group__unpin(pin);
        }
    }
}

static void pin_to_least(struct stele_group *group, struct group_pin *pin)
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
    struct group_pin *pin = &group->pins[index];
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
    if (stele_group__is_pinned(group)) {
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

static void deliver(struct stele_group *group, struct group_list *from,
                    struct stele_group_entry *entry, struct stele_group_member *member,
                    int64_t now_us)
{
    stele_group__list_take_out(from, entry);
    if (from == &group->waiting) {
        group->waiting_size -= entry->event->size;
    }
    entry->state = GROUP_IN_FLIGHT;
    entry->member = member;
    entry->sent_at_us = now_us;
    stele_group__list_append(&member->in_flight, entry);
    group->in_flight++;
    if (stele_group__is_pinned(group)) {
        group->pins[entry->pin].in_flight++;
    }
    stele_group__add_id(group, entry);
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
static void dispatch_list(struct stele_group *group, struct group_list *list, int64_t now_us)
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
