/* Where a group's events are: in lists, and by their id once they were handed out. */
#include "base/checksum.h"
#include "subs/group_internal.h"

void stele_group__list_append(struct group_list *list, struct stele_group_entry *entry)
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

void stele_group__list_insert_before(struct group_list *list, struct stele_group_entry *entry,
                                     struct stele_group_entry *at)
{
    if (at == NULL) {
        stele_group__list_append(list, entry);
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

void stele_group__list_take_out(struct group_list *list, struct stele_group_entry *entry)
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

void stele_group__add_id(struct stele_group *group, struct stele_group_entry *entry)
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

void stele_group__remove_id(struct stele_group *group, struct stele_group_entry *entry)
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

struct stele_group_entry *stele_group__find(const struct stele_group *group,
                                            const struct stele_group_member *member,
                                            const uint8_t id[16])
{
    struct stele_group_entry *late = NULL;
    for (struct stele_group_entry *entry = *id_slot(group, id); entry != NULL;
         entry = entry->same_hash) {
        if (memcmp(stele_group_event_id(entry->event), id, 16) != 0) {
            continue;
        }
        if (entry->state == GROUP_IN_FLIGHT && entry->member == member) {
            return entry;
        }
        late = entry->state == GROUP_RETRY ? entry : late;
    }
    return late;
}
