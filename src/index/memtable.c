#include "index/memtable.h"

#define BLOCK_SIZE ((size_t)64 * 1024)
#define CHUNK_CAPACITY_MIN 4u
#define CHUNK_CAPACITY_MAX 65536u
/* Chunks above this get memory of their own: a block must not be wasted on the rest of one. */
#define POOL_OBJECT_MAX ((size_t)8 * 1024)
#define TABLE_CAPACITY_MIN 64
#define IDS_CAPACITY_MIN 64

_Static_assert(sizeof(struct stele_index__chunk) % 8 == 0, "chunks follow each other in a block");
_Static_assert(sizeof(struct stele_index__block) % 8 == 0, "so does the first one");
_Static_assert(offsetof(struct stele_index__entry, name) + STELE_INDEX__NAME_SIZE_MAX <=
                   POOL_OBJECT_MAX,
               "every entry fits into a block");

static size_t chunk_size(uint32_t capacity)
{
    return sizeof(struct stele_index__chunk) + (size_t)capacity * sizeof(uint32_t);
}

#define CHUNK_SIZE_MIN (sizeof(struct stele_index__chunk) + CHUNK_CAPACITY_MIN * sizeof(uint32_t))
#define BLOCK_ROOM (BLOCK_SIZE - sizeof(struct stele_index__block))

/* ---- Memory ---- */

/* Bytes of smallest chunks that fit for certain: the end of each block is lost. */
static size_t certain(size_t left)
{
    return left / CHUNK_SIZE_MIN * CHUNK_SIZE_MIN;
}

static struct stele_index__block *block_create(struct stele_index__memtable *table, size_t size)
{
    struct stele_index__block *block = stele_allocate(table->alloc, size);
    if (block != NULL) {
        block->size = size;
        table->memory += size;
    }
    return block;
}

static bool add_spare(struct stele_index__memtable *table)
{
    struct stele_index__block *block = block_create(table, BLOCK_SIZE);
    if (block == NULL) {
        return false;
    }
    block->next = table->pool.spares;
    table->pool.spares = block;
    table->pool.spares_count++;
    return true;
}

/* Takes size bytes, which must fit into the current block or the next spare. */
static void *take(struct stele_index__pool *pool, size_t size)
{
    if (pool->left < size) {
        struct stele_index__block *block = pool->spares;
        STELE_ASSERT(block != NULL);
        pool->spares = block->next;
        pool->spares_count--;
        block->next = pool->blocks;
        pool->blocks = block;
        pool->left = BLOCK_ROOM;
    }
    STELE_ASSERT(pool->left >= size);
    pool->left -= size;
    return pool->blocks->bytes + pool->left;
}

/* Would what was promised still be there after size bytes were taken? */
static bool can_spare(const struct stele_index__pool *pool, size_t size)
{
    size_t left = pool->left;
    size_t spares = pool->spares_count;
    if (left < size) {
        if (spares == 0) {
            return false;
        }
        spares--;
        left = BLOCK_ROOM;
    }
    return certain(left - size) + spares * certain(BLOCK_ROOM) >= pool->promised;
}

/* size bytes that no promise stands on. NULL when there is no memory. */
static void *take_free(struct stele_index__memtable *table, size_t size)
{
    const size_t rounded = (size_t)stele_align_up(size, 8);
    while (!can_spare(&table->pool, rounded)) {
        if (!add_spare(table)) {
            return NULL;
        }
    }
    return take(&table->pool, rounded);
}

static void *take_large(struct stele_index__memtable *table, size_t size)
{
    struct stele_index__block *block =
        block_create(table, sizeof(struct stele_index__block) + size);
    if (block == NULL) {
        return NULL;
    }
    /* Behind the first one, which is being filled. */
    struct stele_index__block **place =
        table->pool.blocks == NULL ? &table->pool.blocks : &table->pool.blocks->next;
    block->next = *place;
    *place = block;
    return block->bytes;
}

static void release_blocks(struct stele_index__memtable *table, struct stele_index__block *block)
{
    while (block != NULL) {
        struct stele_index__block *next = block->next;
        stele_release(table->alloc, block, block->size);
        block = next;
    }
}

struct stele_index__memtable *stele_index__memtable_create(struct stele_alloc *alloc, uint64_t from)
{
    struct stele_index__memtable *table = stele_allocate_zeroed(alloc, sizeof *table);
    if (table != NULL) {
        table->alloc = alloc;
        table->from = from;
        table->seen = from;
        table->memory = sizeof *table;
    }
    return table;
}

void stele_index__memtable_destroy(struct stele_index__memtable *table)
{
    if (table == NULL) {
        return;
    }
    release_blocks(table, table->pool.blocks);
    release_blocks(table, table->pool.spares);
    stele_release(table->alloc, table->slots, table->slots_capacity * sizeof *table->slots);
    stele_release(table->alloc, table->ids, table->ids_capacity * sizeof *table->ids);
    stele_release(table->alloc, table, sizeof *table);
}

/* ---- Entries ---- */

struct stele_index__entry *stele_index__memtable_find(const struct stele_index__memtable *table,
                                                      const struct stele_index_key *key)
{
    if (table->slots_capacity == 0) {
        return NULL;
    }
    const size_t mask = table->slots_capacity - 1;
    for (size_t i = key->hash & mask;; i = (i + 1) & mask) {
        const struct stele_index__slot *slot = &table->slots[i];
        if (slot->entry == NULL) {
            return NULL;
        }
        if (slot->hash == key->hash && slot->entry->space == key->space &&
            stele_bytes_equal(stele_index__entry_name(slot->entry), key->name)) {
            return slot->entry;
        }
    }
}

static void put_slot(struct stele_index__slot *slots, size_t capacity,
                     struct stele_index__slot slot)
{
    const size_t mask = capacity - 1;
    size_t i = slot.hash & mask;
    while (slots[i].entry != NULL) {
        i = (i + 1) & mask;
    }
    slots[i] = slot;
}

/* Room for one more entry, with a third of the slots free. */
static bool grow_slots(struct stele_index__memtable *table)
{
    if ((table->entries + 1) * 3 <= table->slots_capacity * 2) {
        return true;
    }
    const size_t capacity =
        table->slots_capacity == 0 ? TABLE_CAPACITY_MIN : table->slots_capacity * 2;
    struct stele_index__slot *slots = stele_allocate_zeroed(table->alloc, capacity * sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < table->slots_capacity; i++) {
        if (table->slots[i].entry != NULL) {
            put_slot(slots, capacity, table->slots[i]);
        }
    }
    stele_release(table->alloc, table->slots, table->slots_capacity * sizeof *slots);
    table->memory += (capacity - table->slots_capacity) * sizeof *slots;
    table->slots = slots;
    table->slots_capacity = capacity;
    return true;
}

struct stele_index__entry *stele_index__memtable_insert(struct stele_index__memtable *table,
                                                        const struct stele_index_key *key,
                                                        const struct stele_index_state *state,
                                                        uint64_t place_last)
{
    STELE_ASSERT(key->name.size <= STELE_INDEX__NAME_SIZE_MAX);
    STELE_ASSERT(key->space < STELE_SPACES);
    if (!grow_slots(table)) {
        return NULL;
    }
    struct stele_index__entry *entry =
        take_free(table, offsetof(struct stele_index__entry, name) + key->name.size);
    if (entry == NULL) {
        return NULL;
    }
    entry->head = (struct stele_index_entry){
        .next = state->next, .place_last = place_last, .flags = state->flags};
    entry->first = state->next;
    entry->end = state->next;
    entry->chunk = NULL;
    entry->name_size = (uint16_t)key->name.size;
    entry->space = key->space;
    if (key->name.size > 0) {
        memcpy(entry->name, key->name.data, key->name.size);
    }
    put_slot(table->slots, table->slots_capacity,
             (struct stele_index__slot){.hash = key->hash, .entry = entry});
    table->entries++;
    return entry;
}

/* ---- Adding ---- */

static void put_id(struct stele_index__id *ids, size_t capacity, struct stele_index__id id)
{
    const size_t mask = capacity - 1;
    size_t i = id.hash & mask;
    while (ids[i].place_and_1 != 0) {
        i = (i + 1) & mask;
    }
    ids[i] = id;
}

static bool grow_ids(struct stele_index__memtable *table, size_t events)
{
    size_t capacity = table->ids_capacity == 0 ? IDS_CAPACITY_MIN : table->ids_capacity;
    while ((table->events + events) * 3 > capacity * 2) {
        capacity *= 2;
    }
    if (capacity == table->ids_capacity) {
        return true;
    }
    struct stele_index__id *ids = stele_allocate_zeroed(table->alloc, capacity * sizeof *ids);
    if (ids == NULL) {
        return false;
    }
    for (size_t i = 0; i < table->ids_capacity; i++) {
        if (table->ids[i].place_and_1 != 0) {
            put_id(ids, capacity, table->ids[i]);
        }
    }
    stele_release(table->alloc, table->ids, table->ids_capacity * sizeof *ids);
    table->memory += (capacity - table->ids_capacity) * sizeof *ids;
    table->ids = ids;
    table->ids_capacity = capacity;
    return true;
}

int stele_index__memtable_reserve(struct stele_index__memtable *table, size_t events,
                                  size_t postings)
{
    struct stele_index__pool *pool = &table->pool;
    const size_t promised = postings * CHUNK_SIZE_MIN;
    while (certain(pool->left) + pool->spares_count * certain(BLOCK_ROOM) < promised) {
        if (!add_spare(table)) {
            return STELE_E_NO_MEMORY;
        }
    }
    if (!grow_ids(table, events)) {
        return STELE_E_NO_MEMORY;
    }
    pool->promised = promised;
    return STELE_OK;
}

/* The smallest chunk is what stele_index__memtable_reserve() promised. Everything above it is
 * taken only if there is memory, so that adding never fails. */
static struct stele_index__chunk *chunk_create(struct stele_index__memtable *table,
                                               uint32_t capacity)
{
    const size_t size = chunk_size(capacity);
    struct stele_index__chunk *chunk =
        size <= POOL_OBJECT_MAX ? take_free(table, size) : take_large(table, size);
    if (chunk == NULL) {
        STELE_ASSERT(table->pool.promised >= CHUNK_SIZE_MIN);
        table->pool.promised -= CHUNK_SIZE_MIN;
        chunk = take(&table->pool, CHUNK_SIZE_MIN);
        capacity = CHUNK_CAPACITY_MIN;
    }
    chunk->count = 0;
    chunk->capacity = capacity;
    return chunk;
}

static bool chunk_takes(const struct stele_index__chunk *chunk, uint64_t ordinal, uint64_t place)
{
    return chunk->count < chunk->capacity && ordinal == chunk->first + chunk->count &&
           (place - chunk->base) / 8 <= UINT32_MAX;
}

static struct stele_index__chunk *add_chunk(struct stele_index__memtable *table,
                                            struct stele_index__entry *entry, uint64_t ordinal,
                                            uint64_t place)
{
    struct stele_index__chunk *newest = entry->chunk;
    const uint32_t doubled = newest == NULL ? CHUNK_CAPACITY_MIN : newest->capacity * 2;
    struct stele_index__chunk *chunk =
        chunk_create(table, doubled < CHUNK_CAPACITY_MAX ? doubled : CHUNK_CAPACITY_MAX);
    chunk->base = place;
    chunk->first = ordinal;
    if (newest == NULL) {
        chunk->next = chunk;
    } else {
        chunk->next = newest->next;
        newest->next = chunk;
    }
    entry->chunk = chunk;
    return chunk;
}

void stele_index__memtable_begin(struct stele_index__memtable *table, uint64_t place,
                                 uint64_t id_hash)
{
    STELE_ASSERT(place >= table->seen);
    STELE_ASSERT(place % 8 == 0);
    STELE_ASSERT((table->events + 1) * 3 <= table->ids_capacity * 2); /* Reserved. */
    put_id(table->ids, table->ids_capacity,
           (struct stele_index__id){.hash = id_hash, .place_and_1 = place | 1});
    table->events++;
    table->seen = place + 8;
}

void stele_index__memtable_add(struct stele_index__memtable *table,
                               struct stele_index__entry *entry, uint64_t place)
{
    const bool has_events = entry->end > entry->first;
    if (has_events && entry->head.place_last == place) {
        return; /* One event may carry a tag twice. It is one event. */
    }
    const uint64_t ordinal = entry->head.next;
    STELE_ASSERT(ordinal >= entry->end);
    if (has_events) {
        const uint64_t last = entry->end - 1;
        struct stele_index__chunk *chunk = entry->chunk;
        if (chunk == NULL || !chunk_takes(chunk, last, entry->head.place_last)) {
            chunk = add_chunk(table, entry, last, entry->head.place_last);
        }
        chunk->offsets[chunk->count++] = (uint32_t)((entry->head.place_last - chunk->base) / 8);
    } else if (ordinal > entry->first) {
        entry->first = ordinal;
        table->gaps = true;
    }
    entry->head.place_last = place;
    entry->head.next = ordinal + 1;
    entry->end = ordinal + 1;
    if (ordinal == 0) {
        table->names_first[entry->space]++;
    }
}

/* ---- Asking ---- */

static uint64_t chunk_place(const struct stele_index__chunk *chunk, size_t i)
{
    return chunk->base + (uint64_t)chunk->offsets[i] * 8;
}

static void copy_chunk(const struct stele_index__chunk *chunk, uint64_t lo, uint64_t hi,
                       uint64_t *places)
{
    const uint64_t from = chunk->first > lo ? chunk->first : lo;
    const uint64_t end = chunk->first + chunk->count;
    const uint64_t to = end < hi ? end : hi;
    for (uint64_t ordinal = from; ordinal < to; ordinal++) {
        places[ordinal - lo] = chunk_place(chunk, (size_t)(ordinal - chunk->first));
    }
}

size_t stele_index__entry_places(const struct stele_index__entry *entry, uint64_t lo, size_t max,
                                 uint64_t *places)
{
    STELE_ASSERT(lo >= entry->first);
    if (lo >= entry->end) {
        return 0;
    }
    const uint64_t known = entry->end - lo;
    const size_t count = known < max ? (size_t)known : max;
    /* Ordinals in no chunk are those that the caller left out. */
    memset(places, 0xff, count * sizeof *places);
    const struct stele_index__chunk *newest = entry->chunk;
    if (newest != NULL) {
        const struct stele_index__chunk *chunk = newest;
        do {
            chunk = chunk->next;
            copy_chunk(chunk, lo, lo + count, places);
        } while (chunk != newest && chunk->first + chunk->count < lo + count);
    }
    if (count == known) {
        places[count - 1] = entry->head.place_last;
    }
    return count;
}

static uint64_t chunk_lower_bound(const struct stele_index__chunk *chunk, uint64_t place)
{
    size_t lo = 0;
    size_t hi = chunk->count;
    while (lo < hi) {
        const size_t middle = lo + (hi - lo) / 2;
        if (chunk_place(chunk, middle) < place) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return chunk->first + lo;
}

uint64_t stele_index__entry_lower_bound(const struct stele_index__entry *entry, uint64_t place)
{
    if (entry->end == entry->first || entry->head.place_last < place) {
        return UINT64_MAX;
    }
    const struct stele_index__chunk *newest = entry->chunk;
    if (newest != NULL && chunk_place(newest, newest->count - 1) >= place) {
        const struct stele_index__chunk *chunk = newest->next;
        while (chunk_place(chunk, chunk->count - 1) < place) {
            chunk = chunk->next;
        }
        return chunk_lower_bound(chunk, place);
    }
    return entry->end - 1;
}

/* Keeps the places sorted, newest first, and the newest of them when there are too many. */
static size_t insert_place(uint64_t *places, size_t count, size_t max, uint64_t place)
{
    size_t at = count;
    while (at > 0 && places[at - 1] < place) {
        at--;
    }
    if (at == max) {
        return count;
    }
    const size_t kept = count < max ? count : max - 1;
    memmove(places + at + 1, places + at, (kept - at) * sizeof *places);
    places[at] = place;
    return kept + 1;
}

size_t stele_index__memtable_ids(const struct stele_index__memtable *table, uint64_t id_hash,
                                 uint64_t *places, size_t count, size_t max)
{
    if (table->ids_capacity == 0) {
        return count;
    }
    const size_t mask = table->ids_capacity - 1;
    for (size_t i = id_hash & mask; table->ids[i].place_and_1 != 0; i = (i + 1) & mask) {
        if (table->ids[i].hash == id_hash) {
            count = insert_place(places, count, max, table->ids[i].place_and_1 - 1);
        }
    }
    return count;
}

/* ---- What is left above a place ---- */

static size_t count_from(const struct stele_index__memtable *table, uint64_t from)
{
    size_t events = 0;
    for (size_t i = 0; i < table->ids_capacity; i++) {
        events += table->ids[i].place_and_1 > from;
    }
    return events;
}

static void copy_ids(struct stele_index__memtable *rest, const struct stele_index__memtable *table)
{
    for (size_t i = 0; i < table->ids_capacity; i++) {
        if (table->ids[i].place_and_1 > rest->from) {
            put_id(rest->ids, rest->ids_capacity, table->ids[i]);
            rest->events++;
        }
    }
}

#define COPIED_AT_ONCE 64

/* The ordinals from lo on, which become base, base + 1, … */
static bool copy_entry(struct stele_index__memtable *rest, const struct stele_index__slot *slot,
                       const struct stele_index_key *key, uint64_t lo, uint64_t base)
{
    const struct stele_index__entry *entry = slot->entry;
    const struct stele_index_state state = {.next = base, .flags = entry->head.flags};
    struct stele_index__entry *copy =
        stele_index__memtable_insert(rest, key, &state, entry->head.place_last);
    if (copy == NULL) {
        return false;
    }
    uint64_t places[COPIED_AT_ONCE];
    size_t count = 0;
    for (uint64_t at = lo; at < entry->end; at += count) {
        count = stele_index__entry_places(entry, at, COPIED_AT_ONCE, places);
        if (stele_index__memtable_reserve(rest, 0, count) != STELE_OK) {
            return false;
        }
        for (size_t i = 0; i < count; i++) {
            if (places[i] != UINT64_MAX) {
                copy->head.next = base + (at + i - lo);
                stele_index__memtable_add(rest, copy, places[i]);
            }
        }
    }
    copy->head.next = base + (entry->head.next - lo);
    return true;
}

struct stele_index__memtable *stele_index__memtable_rest(const struct stele_index__memtable *table,
                                                         uint64_t from,
                                                         stele_index__base_callback base_of,
                                                         const void *context)
{
    struct stele_index__memtable *rest = stele_index__memtable_create(table->alloc, from);
    bool done =
        rest != NULL && stele_index__memtable_reserve(rest, count_from(table, from), 0) == STELE_OK;
    if (done) {
        copy_ids(rest, table);
        rest->gaps = table->gaps;
        rest->seen = table->seen > from ? table->seen : from;
    }
    for (size_t i = 0; done && i < table->slots_capacity; i++) {
        const struct stele_index__slot *slot = &table->slots[i];
        const uint64_t lo =
            slot->entry == NULL ? UINT64_MAX : stele_index__entry_lower_bound(slot->entry, from);
        if (lo != UINT64_MAX) {
            const struct stele_index_key key = {.space = slot->entry->space,
                                                .hash = slot->hash,
                                                .name = stele_index__entry_name(slot->entry)};
            done =
                copy_entry(rest, slot, &key, lo, base_of == NULL ? lo : base_of(context, &key, lo));
        }
    }
    if (!done) {
        stele_index__memtable_destroy(rest);
        return NULL;
    }
    return rest;
}

/* ---- Checking ---- */

static void check_entry(const struct stele_index__memtable *table,
                        const struct stele_index__entry *entry)
{
    STELE_ASSERT(entry->first <= entry->end);
    STELE_ASSERT(entry->end <= entry->head.next);
    if (entry->end == entry->first) {
        STELE_ASSERT(entry->chunk == NULL);
        return;
    }
    STELE_ASSERT(entry->head.place_last >= table->from);
    STELE_ASSERT(entry->head.place_last < table->seen);
    if (entry->chunk == NULL) {
        STELE_ASSERT(entry->end == entry->first + 1);
        return;
    }
    const struct stele_index__chunk *chunk = entry->chunk->next;
    uint64_t next = entry->first;
    STELE_ASSERT(chunk->first == next);
    for (;; chunk = chunk->next) {
        STELE_ASSERT(chunk->count > 0);
        STELE_ASSERT(chunk->count <= chunk->capacity);
        STELE_ASSERT(chunk->first >= next);
        next = chunk->first + chunk->count;
        if (chunk == entry->chunk) {
            break;
        }
        STELE_ASSERT(chunk_place(chunk, chunk->count - 1) < chunk->next->base);
    }
    STELE_ASSERT(next <= entry->end - 1);
    STELE_ASSERT(chunk_place(chunk, chunk->count - 1) < entry->head.place_last);
}

void stele_index__memtable_check(const struct stele_index__memtable *table)
{
    size_t entries = 0;
    for (size_t i = 0; i < table->slots_capacity; i++) {
        if (table->slots[i].entry != NULL) {
            check_entry(table, table->slots[i].entry);
            entries++;
        }
    }
    STELE_ASSERT(entries == table->entries);
    size_t events = 0;
    for (size_t i = 0; i < table->ids_capacity; i++) {
        events += table->ids[i].place_and_1 != 0;
    }
    STELE_ASSERT(events == table->events);
}
