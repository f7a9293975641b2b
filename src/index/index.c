#include "base/checksum.h"
#include "index/index_internal.h"

/* ---- Hashes ---- */

struct stele_index_key stele_index_key(uint64_t seed, uint8_t space, struct stele_bytes name)
{
    STELE_ASSERT(space < STELE_SPACES);
    /* A category and a stream may have the same name. */
    const uint64_t mixed = seed + space * UINT64_C(0x9e3779b97f4a7c15);
    return (struct stele_index_key){
        .space = space, .hash = stele_hash64(name, mixed), .name = name};
}

uint64_t stele_index_id_hash(uint64_t seed, const uint8_t id[16])
{
    return stele_hash64((struct stele_bytes){.data = id, .size = 16}, seed);
}

/* ---- Opening ---- */

int stele_index_open(struct stele_io *io, const struct stele_index_options *options,
                     uint64_t log_start, uint64_t log_end, struct stele_index **out_index,
                     struct stele_error *err)
{
    STELE_ASSERT(log_start <= log_end);
    struct stele_index *index = stele_allocate_zeroed(io->alloc, sizeof *index);
    if (index == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "index: no memory");
    }
    index->io = io;
    index->options = *options;
    index->hash_mask = UINT64_MAX;
    int outcome = stele_index__load(index, log_start, log_end, &index->view, err);
    if (outcome == STELE_OK) {
        index->active = stele_index__memtable_create(io->alloc, index->view->to);
        if (index->active == NULL) {
            outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "index: no memory");
        }
    }
    if (outcome != STELE_OK) {
        stele_index_close(index);
        return outcome;
    }
    *out_index = index;
    return STELE_OK;
}

void stele_index_close(struct stele_index *index)
{
    if (index == NULL) {
        return;
    }
    STELE_ASSERT(index->jobs == 0);
    if (index->view != NULL) {
        STELE_ASSERT(index->view->refs == 1);
        stele_index__view_unref(index->view);
    }
    stele_index__memtable_destroy(index->active);
    stele_index__memtable_destroy(index->frozen);
    stele_release(index->io->alloc, index, sizeof *index);
}

uint64_t stele_index_runs_end(const struct stele_index *index)
{
    return index->view->to;
}

void stele_index_add_hole(struct stele_index *index, uint64_t to)
{
    STELE_ASSERT(to >= index->view->to);
    STELE_ASSERT(to % 8 == 0);
    STELE_ASSERT(index->view->refs == 1);
    STELE_ASSERT(index->frozen == NULL);
    STELE_ASSERT(index->active->entries == 0);
    index->view->to = to;
    index->active->from = to;
    index->active->seen = to;
}

/* ---- Adding ---- */

/* What older memtables and runs know of a name that the active memtable has not. */
static int older_state(struct stele_index *index, const struct stele_index_key *key,
                       struct stele_index_state *out_state, uint64_t *out_place_last,
                       struct stele_error *err)
{
    *out_place_last = UINT64_MAX;
    const struct stele_index__entry *entry =
        index->frozen == NULL ? NULL : stele_index__memtable_find(index->frozen, key);
    if (entry != NULL) {
        *out_state =
            (struct stele_index_state){.next = entry->head.next, .flags = entry->head.flags};
        *out_place_last = entry->head.place_last;
        return STELE_OK;
    }
    struct stele_index__run *damaged = NULL;
    const int outcome =
        stele_index__view_state_below(index->view, key, index->view->to, out_state, &damaged);
    if (outcome == STELE_E_CORRUPT) {
        (void)stele_fail(err, outcome, 0, "index run %s: damaged; it is built again",
                         damaged->name);
        stele_index_drop_run(index, damaged->name);
    }
    return outcome;
}

int stele_index_entry(struct stele_index *index, const struct stele_index_key *key,
                      struct stele_index_entry **out_entry, struct stele_error *err)
{
    struct stele_index__entry *entry = stele_index__memtable_find(index->active, key);
    if (entry == NULL) {
        struct stele_index_state state;
        uint64_t place_last = 0;
        const int outcome = older_state(index, key, &state, &place_last, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        entry = stele_index__memtable_insert(index->active, key, &state, place_last);
        if (entry == NULL) {
            return stele_fail(err, STELE_E_NO_MEMORY, 0, "index: no memory for a name");
        }
    }
    *out_entry = &entry->head;
    return STELE_OK;
}

static struct stele_index__entry *inner(struct stele_index_entry *entry)
{
    return (struct stele_index__entry *)entry; /* Its first member. */
}

void stele_index_add(struct stele_index *index, uint64_t place, uint64_t id_hash,
                     struct stele_index_entry *stream, struct stele_index_entry *category,
                     struct stele_index_entry *type, struct stele_index_entry *const *tags,
                     size_t tags_count)
{
    struct stele_index__memtable *table = index->active;
    stele_index__memtable_begin(table, place, id_hash);
    stele_index__memtable_add(table, inner(stream), place);
    stele_index__memtable_add(table, inner(category), place);
    stele_index__memtable_add(table, inner(type), place);
    for (size_t i = 0; i < tags_count; i++) {
        stele_index__memtable_add(table, inner(tags[i]), place);
    }
}

void stele_index_mark(struct stele_index_entry *stream, uint32_t flags)
{
    STELE_ASSERT(flags <= UINT8_MAX);
    stream->flags |= flags;
}

int stele_index_reserve(struct stele_index *index, size_t events, size_t postings)
{
    return stele_index__memtable_reserve(index->active, events, postings);
}

/* ---- Asking memory ---- */

int stele_index_mem_state(const struct stele_index *index, const struct stele_index_key *key,
                          struct stele_index_state *out_state)
{
    const struct stele_index__entry *entry = stele_index__memtable_find(index->active, key);
    if (entry == NULL && index->frozen != NULL) {
        entry = stele_index__memtable_find(index->frozen, key);
    }
    if (entry == NULL) {
        return STELE_NOT_FOUND;
    }
    *out_state = (struct stele_index_state){.next = entry->head.next, .flags = entry->head.flags};
    return STELE_OK;
}

/* What memory has of a name: the entries with events, the older first. */
struct pieces {
    const struct stele_index__entry *entries[2];
    size_t count;
    uint64_t first; /* Memory answers for the ordinals from here on … (UINT64_MAX: for none) */
    uint64_t end;   /* … to here. */
};

static void add_piece(struct pieces *pieces, const struct stele_index__memtable *table,
                      const struct stele_index_key *key)
{
    const struct stele_index__entry *entry =
        table == NULL ? NULL : stele_index__memtable_find(table, key);
    if (entry != NULL && entry->end > entry->first) {
        pieces->first = pieces->count == 0 ? entry->first : pieces->first;
        pieces->end = entry->end;
        pieces->entries[pieces->count++] = entry;
    }
}

static struct pieces find_pieces(const struct stele_index *index, const struct stele_index_key *key)
{
    struct pieces pieces = {.first = UINT64_MAX};
    add_piece(&pieces, index->frozen, key);
    add_piece(&pieces, index->active, key);
    return pieces;
}

/* A hole that was filled again from a scavenged log has fewer events than it had when the names
 * in memory were numbered; and a caller may number on behind events that are gone. Memory then answers for the ordinals that nobody has any more, so that
 * the places of a name have no end before its next ordinal. */
static void answer_for_gap(const struct stele_index *index, const struct stele_index_key *key,
                           uint64_t lo, struct pieces *pieces)
{
    const bool gaps =
        index->was_filled || index->active->gaps || (index->frozen != NULL && index->frozen->gaps);
    struct stele_index_state memory;
    struct stele_index_state runs;
    struct stele_index__run *damaged = NULL;
    if (!gaps || lo >= pieces->first || stele_index_mem_state(index, key, &memory) != STELE_OK ||
        stele_index__view_state_below(index->view, key, index->view->to, &runs, &damaged) !=
            STELE_OK) {
        return;
    }
    if (pieces->count == 0) {
        pieces->end = memory.next;
    }
    const uint64_t known = pieces->count == 0 ? memory.next : pieces->first;
    if (runs.next < known) {
        pieces->first = runs.next;
    }
}

/* Copies what an entry has of lo … lo + max. */
static void copy_piece(const struct stele_index__entry *entry, uint64_t lo, size_t max,
                       uint64_t *places)
{
    const uint64_t from = lo > entry->first ? lo : entry->first;
    if (from - lo < max && from < entry->end) {
        const size_t skip = (size_t)(from - lo);
        (void)stele_index__entry_places(entry, from, max - skip, places + skip);
    }
}

size_t stele_index_mem_places(const struct stele_index *index, const struct stele_index_key *key,
                              uint64_t lo, size_t max, uint64_t *places, uint64_t *out_lo)
{
    struct pieces pieces = find_pieces(index, key);
    answer_for_gap(index, key, lo, &pieces);
    *out_lo = pieces.first;
    const uint64_t from = lo > pieces.first ? lo : pieces.first;
    if (from >= pieces.end || from - lo >= max) {
        return 0;
    }
    const size_t room = max - (size_t)(from - lo);
    const size_t count = pieces.end - from < room ? (size_t)(pieces.end - from) : room;
    memset(places, 0xff, count * sizeof *places);
    for (size_t i = 0; i < pieces.count; i++) {
        copy_piece(pieces.entries[i], from, count, places);
    }
    return count;
}

uint64_t stele_index_mem_lower_bound(const struct stele_index *index,
                                     const struct stele_index_key *key, uint64_t place)
{
    const struct pieces pieces = find_pieces(index, key);
    for (size_t i = 0; i < pieces.count; i++) {
        const uint64_t ordinal = stele_index__entry_lower_bound(pieces.entries[i], place);
        if (ordinal != UINT64_MAX) {
            return ordinal;
        }
    }
    return UINT64_MAX;
}

size_t stele_index_mem_ids(const struct stele_index *index, uint64_t id_hash, uint64_t *places,
                           size_t max)
{
    const size_t count = stele_index__memtable_ids(index->active, id_hash, places, 0, max);
    return index->frozen == NULL
               ? count
               : stele_index__memtable_ids(index->frozen, id_hash, places, count, max);
}

/* ---- Facts ---- */

uint64_t stele_index_active_span(const struct stele_index *index)
{
    return index->active->seen - index->active->from;
}

uint64_t stele_index_memory(const struct stele_index *index)
{
    return index->active->memory + (index->frozen == NULL ? 0 : index->frozen->memory);
}

uint64_t stele_index_numbering(const struct stele_index *index)
{
    return index->numbering;
}

uint32_t stele_index_runs(const struct stele_index *index)
{
    return index->view->count;
}

uint64_t stele_index_disk_size(const struct stele_index *index)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < index->view->count; i++) {
        size += index->view->runs[i]->layout.file_size;
    }
    return size;
}

uint64_t stele_index_hole_bytes(const struct stele_index *index)
{
    uint64_t covered = 0;
    for (uint32_t i = 0; i < index->view->count; i++) {
        covered += index->view->runs[i]->header.to - index->view->runs[i]->header.from;
    }
    return index->view->to - index->view->from - covered;
}

uint64_t stele_index_names(const struct stele_index *index, uint8_t space)
{
    STELE_ASSERT(space < STELE_SPACES);
    uint64_t names = index->active->names_first[space];
    if (index->frozen != NULL) {
        names += index->frozen->names_first[space];
    }
    for (uint32_t i = 0; i < index->view->count; i++) {
        names += index->view->runs[i]->header.names_first[space];
    }
    return names;
}
