/* The index of what is new: everything of one range of the log, in memory.
 *
 *     slots   open addressing: hash → entry           entries   name, ordinals, newest place
 *     ids     open addressing: hash → place           chunks    the older places of an entry
 *
 * An entry keeps the place of its newest event itself and all older ones of this memtable in
 * chunks. Most streams get one event per memtable and never need a chunk.
 *
 * Chunks form a ring: the entry points to the newest, whose `next` is the oldest. So the walk from
 * the oldest on (reading, flushing) needs no second pointer. Each is twice as large as the one
 * before it, so that the walk is short. */
#ifndef STELE_INDEX_MEMTABLE_H
#define STELE_INDEX_MEMTABLE_H

#include "base/alloc.h"
#include "base/limits.h"
#include "index/index.h"

#define STELE_INDEX__NAME_SIZE_MAX 2048 /* Public limits are below it; a run never has longer. */

/* Places of the ordinals first, first + 1, … */
struct stele_index__chunk {
    struct stele_index__chunk *next; /* The next newer; of the newest: the oldest. */
    uint64_t base;                   /* Place of its first event. */
    uint64_t first;                  /* Ordinal of its first event. */
    uint32_t count;
    uint32_t capacity;
    uint32_t offsets[]; /* (place - base) / 8 */
};

struct stele_index__entry {
    struct stele_index_entry head;    /* First: what callers see. */
    uint64_t first;                   /* Ordinal of the first event in this memtable. */
    uint64_t end;                     /* One behind that of the last one; first if none. */
    struct stele_index__chunk *chunk; /* The newest, or NULL. */
    uint16_t name_size;
    uint8_t space;
    uint8_t name[];
};

struct stele_index__slot {
    uint64_t hash;
    struct stele_index__entry *entry; /* NULL: free. */
};

struct stele_index__id {
    uint64_t hash;
    uint64_t place_and_1; /* Places are multiples of 8: the lowest bit says "in use". */
};

/* Memory for entries and small chunks. */
struct stele_index__block {
    struct stele_index__block *next;
    size_t size; /* Of the whole allocation. */
    uint8_t bytes[];
};
struct stele_index__pool {
    struct stele_index__block *blocks; /* In use; the first one has `left` bytes left. */
    struct stele_index__block *spares; /* Not yet in use. */
    size_t left;
    size_t spares_count;
    size_t promised; /* Bytes of smallest chunks that must always fit. */
};

struct stele_index__memtable {
    struct stele_alloc *alloc;
    uint64_t from; /* Covers the log from here … */
    uint64_t to;   /* … to here, once it is frozen. */
    uint64_t seen; /* One behind the newest place added; from if none. */
    struct stele_index__slot *slots;
    size_t slots_capacity; /* A power of two, or 0. */
    size_t entries;
    struct stele_index__id *ids;
    size_t ids_capacity;
    size_t events;
    uint64_t names_first[STELE_SPACES]; /* Names whose event 0 is here. */
    bool gaps; /* Some name begins here above where it ended before: next was raised. */
    size_t memory;
    struct stele_index__pool pool;
};

/* NULL when there is no memory. */
struct stele_index__memtable *stele_index__memtable_create(struct stele_alloc *alloc,
                                                           uint64_t from);
void stele_index__memtable_destroy(struct stele_index__memtable *table);
/* The ordinal with which a name goes on; otherwise: the one it had. */
typedef uint64_t (*stele_index__base_callback)(const void *context,
                                               const struct stele_index_key *key,
                                               uint64_t otherwise);

/* A new memtable with what an old one has at or above from, each name's ordinals counted from
 * base_of(…) on (NULL: as they were). NULL when there is no memory. */
struct stele_index__memtable *stele_index__memtable_rest(const struct stele_index__memtable *table,
                                                         uint64_t from,
                                                         stele_index__base_callback base_of,
                                                         const void *context);

struct stele_index__entry *stele_index__memtable_find(const struct stele_index__memtable *table,
                                                      const struct stele_index_key *key);
/* Adds an entry for a name that is not there yet. NULL when there is no memory. */
struct stele_index__entry *stele_index__memtable_insert(struct stele_index__memtable *table,
                                                        const struct stele_index_key *key,
                                                        const struct stele_index_state *state,
                                                        uint64_t place_last);
STELE_MUST_USE
int stele_index__memtable_reserve(struct stele_index__memtable *table, size_t events,
                                  size_t postings);

/* Adding: begin once per event, then one add per entry. */
void stele_index__memtable_begin(struct stele_index__memtable *table, uint64_t place,
                                 uint64_t id_hash);
void stele_index__memtable_add(struct stele_index__memtable *table,
                               struct stele_index__entry *entry, uint64_t place);

/* Places of lo, lo + 1, … below entry->end, at most max; lo must not be below entry->first. */
size_t stele_index__entry_places(const struct stele_index__entry *entry, uint64_t lo, size_t max,
                                 uint64_t *places);
/* The lowest ordinal of this entry whose place is at or above place; UINT64_MAX if none. */
uint64_t stele_index__entry_lower_bound(const struct stele_index__entry *entry, uint64_t place);
/* Adds to the places (newest first, at most max, of which count are there); the new count. */
size_t stele_index__memtable_ids(const struct stele_index__memtable *table, uint64_t id_hash,
                                 uint64_t *places, size_t count, size_t max);

static inline struct stele_bytes stele_index__entry_name(const struct stele_index__entry *entry)
{
    return (struct stele_bytes){.data = entry->name, .size = entry->name_size};
}

/* Has this memtable something to say in a run: events, or a mark? */
static inline bool stele_index__entry_counts(const struct stele_index__entry *entry)
{
    return entry->end > entry->first || entry->head.flags != 0;
}

void stele_index__memtable_check(const struct stele_index__memtable *table);

#endif
