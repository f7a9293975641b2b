/* Sagas in memory: by id, and by the time of their next timer. */
#include "base/checksum.h"
#include "runner/saga_internal.h"

#define BUCKETS_MIN 64

static size_t bucket_of(const char *id, size_t count)
{
    return (size_t)stele_hash64(stele_bytes_of_text(id), 1) & (count - 1);
}

struct saga_entry *stele_runner__saga_set_find(const struct saga_set *set, const char *id)
{
    if (set->buckets_count == 0) {
        return NULL;
    }
    struct saga_entry *entry = set->buckets[bucket_of(id, set->buckets_count)];
    while (entry != NULL && strcmp(entry->id, id) != 0) {
        entry = entry->next;
    }
    return entry;
}

static bool grow_buckets(struct saga_set *set)
{
    const size_t count = set->buckets_count > 0 ? set->buckets_count * 2 : BUCKETS_MIN;
    struct saga_entry **const buckets =
        stele_allocate_zeroed(set->alloc, count * sizeof(struct saga_entry *));
    if (buckets == NULL) {
        return false;
    }
    for (size_t i = 0; i < set->buckets_count; i++) {
        for (struct saga_entry *entry = set->buckets[i]; entry != NULL;) {
            struct saga_entry *const next = entry->next;
            const size_t to = bucket_of(entry->id, count);
            entry->next = buckets[to];
            buckets[to] = entry;
            entry = next;
        }
    }
    stele_release(set->alloc, set->buckets, set->buckets_count * sizeof(struct saga_entry *));
    set->buckets = buckets;
    set->buckets_count = count;
    return true;
}

/* Room in the heap for every entry, so that setting a time never fails. */
static bool grow_heap(struct saga_set *set)
{
    const size_t capacity = set->heap_capacity > 0 ? set->heap_capacity * 2 : BUCKETS_MIN;
    struct saga_entry **const heap = set->alloc->reallocate(
        set->alloc, set->heap, set->heap_capacity * sizeof(struct saga_entry *),
        capacity * sizeof(struct saga_entry *));
    if (heap == NULL) {
        return false;
    }
    set->heap = heap;
    set->heap_capacity = capacity;
    return true;
}

struct saga_entry *stele_runner__saga_set_add(struct saga_set *set, const char *kind,
                                              const char *id)
{
    STELE_ASSERT(stele_runner__saga_set_find(set, id) == NULL);
    if ((set->count >= set->buckets_count && !grow_buckets(set)) ||
        (set->count >= set->heap_capacity && !grow_heap(set))) {
        return NULL;
    }
    struct saga_entry *const entry = stele_allocate_zeroed(set->alloc, sizeof *entry);
    if (entry == NULL) {
        return NULL;
    }
    entry->id = stele_allocate(set->alloc, strlen(id) + 1);
    if (entry->id == NULL) {
        stele_release(set->alloc, entry, sizeof *entry);
        return NULL;
    }
    memcpy(entry->id, id, strlen(id) + 1);
    stele_runner__saga_stream(kind, id, entry->stream);
    entry->timer = SIZE_MAX;
    entry->due_us = STELE_SAGA_NEVER;
    const size_t to = bucket_of(id, set->buckets_count);
    entry->next = set->buckets[to];
    set->buckets[to] = entry;
    set->count++;
    return entry;
}

static void release_text(struct saga_set *set, struct saga_text *text)
{
    stele_release(set->alloc, text->data, text->size);
}

static void release_entry(struct saga_set *set, struct saga_entry *entry)
{
    release_text(set, &entry->input);
    for (size_t i = 0; i < STELE_SAGA_STEPS_MAX; i++) {
        release_text(set, &entry->results[i]);
    }
    if (entry->own_plan != NULL) {
        stele_release(set->alloc, entry->own_plan, sizeof *entry->own_plan);
    }
    stele_release(set->alloc, entry->id, strlen(entry->id) + 1);
    stele_release(set->alloc, entry, sizeof *entry);
}

void stele_runner__saga_set_remove(struct saga_set *set, struct saga_entry *entry)
{
    STELE_ASSERT(!entry->queued);
    stele_runner__saga_set_time(set, entry, STELE_SAGA_NEVER);
    struct saga_entry **at = &set->buckets[bucket_of(entry->id, set->buckets_count)];
    while (*at != entry) {
        at = &(*at)->next;
    }
    *at = entry->next;
    set->count--;
    release_entry(set, entry);
}

/* ---- The heap: a parent is due no later than its children ---------------------------------- */

static void place(struct saga_set *set, size_t at, struct saga_entry *entry)
{
    set->heap[at] = entry;
    entry->timer = at;
}

static void sift(struct saga_set *set, size_t at)
{
    struct saga_entry *const entry = set->heap[at];
    while (at > 0 && set->heap[(at - 1) / 2]->due_us > entry->due_us) {
        place(set, at, set->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < set->heap_count &&
            set->heap[child + 1]->due_us < set->heap[child]->due_us) {
            child++;
        }
        if (child >= set->heap_count || set->heap[child]->due_us >= entry->due_us) {
            break;
        }
        place(set, at, set->heap[child]);
        at = child;
    }
    place(set, at, entry);
}

void stele_runner__saga_set_time(struct saga_set *set, struct saga_entry *entry, int64_t due_us)
{
    entry->due_us = due_us;
    if (due_us != STELE_SAGA_NEVER) {
        if (entry->timer == SIZE_MAX) {
            STELE_ASSERT(set->heap_count < set->heap_capacity);
            place(set, set->heap_count++, entry);
        }
        sift(set, entry->timer);
    } else if (entry->timer != SIZE_MAX) {
        const size_t at = entry->timer;
        struct saga_entry *const last = set->heap[--set->heap_count];
        entry->timer = SIZE_MAX;
        if (last != entry) {
            place(set, at, last);
            sift(set, at);
        }
    }
}

void stele_runner__saga_set_deinit(struct saga_set *set)
{
    for (size_t i = 0; i < set->buckets_count; i++) {
        for (struct saga_entry *entry = set->buckets[i]; entry != NULL;) {
            struct saga_entry *const next = entry->next;
            release_entry(set, entry);
            entry = next;
        }
    }
    stele_release(set->alloc, set->buckets, set->buckets_count * sizeof(struct saga_entry *));
    stele_release(set->alloc, set->heap, set->heap_capacity * sizeof(struct saga_entry *));
    memset(set, 0, sizeof *set);
}
