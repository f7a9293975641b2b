#include "index/flush.h"

#include "base/checksum.h"
#include "index/run_write.h"
#include "index/sort.h"

struct stele_index__header stele_index__target_header(const struct stele_index__target *target)
{
    struct stele_index__header header = {
        .seed_check = stele_index__seed_check(target->options->seed),
        .from = target->from,
        .to = target->to,
    };
    memcpy(header.store_id, target->options->store_id, sizeof header.store_id);
    return header;
}

static bool entry_less(const struct stele_index__hashed *a, const struct stele_index__hashed *b)
{
    const struct stele_index__entry *left = a->of.entry;
    const struct stele_index__entry *right = b->of.entry;
    if (left->space != right->space) {
        return left->space < right->space;
    }
    return stele_bytes_compare(stele_index__entry_name(left), stele_index__entry_name(right)) < 0;
}

static bool place_less(const struct stele_index__hashed *a, const struct stele_index__hashed *b)
{
    return a->of.place < b->of.place;
}

/* The entries that the run will have, sorted, and the counts of the header. */
static size_t gather_entries(const struct stele_index__memtable *table,
                             struct stele_index__hashed *things, struct stele_index__header *header)
{
    size_t count = 0;
    for (size_t i = 0; i < table->slots_capacity; i++) {
        const struct stele_index__entry *entry = table->slots[i].entry;
        if (entry != NULL && stele_index__entry_counts(entry)) {
            things[count++] =
                (struct stele_index__hashed){.hash = table->slots[i].hash, .of.entry = entry};
            header->names_size += entry->name_size;
            header->postings += entry->end - entry->first;
        }
    }
    header->keys = count;
    header->ids = table->events;
    memcpy(header->names_first, table->names_first, sizeof header->names_first);
    return count;
}

/* Postings from *ordinal up to last, which is at place. Those before last have no place any more
 * (their events were scavenged, or damaged, when this was indexed); they repeat the next one. */
static void write_up_to(struct stele_index__writer *writer, uint64_t *ordinal, uint64_t last,
                        uint64_t place)
{
    for (; *ordinal <= last; (*ordinal)++) {
        stele_index__writer_posting(writer, place);
    }
}

static void write_postings(struct stele_index__writer *writer,
                           const struct stele_index__entry *entry)
{
    if (entry->end == entry->first) {
        return;
    }
    uint64_t ordinal = entry->first;
    if (entry->chunk != NULL) {
        const struct stele_index__chunk *chunk = entry->chunk;
        do {
            chunk = chunk->next;
            for (uint32_t i = 0; i < chunk->count; i++) {
                write_up_to(writer, &ordinal, chunk->first + i,
                            chunk->base + (uint64_t)chunk->offsets[i] * 8);
            }
        } while (chunk != entry->chunk);
    }
    write_up_to(writer, &ordinal, entry->end - 1, entry->head.place_last);
}

static void write_entries(struct stele_index__writer *writer,
                          const struct stele_index__hashed *things, size_t count,
                          struct stele_index__named *names)
{
    for (size_t i = 0; i < count && writer->outcome == STELE_OK; i++) {
        const struct stele_index__entry *entry = things[i].of.entry;
        STELE_ASSERT(entry->head.flags <= UINT8_MAX);
        struct stele_index__key key = {
            .hash = things[i].hash,
            .first = entry->first,
            .count = (uint32_t)(entry->end - entry->first),
            .space = entry->space,
            .flags = (uint8_t)entry->head.flags,
        };
        stele_index__writer_key(writer, &key, stele_index__entry_name(entry));
        write_postings(writer, entry);
        names[i] = (struct stele_index__named){.name = entry->name,
                                               .size = entry->name_size,
                                               .space = entry->space,
                                               .number = (uint32_t)i};
    }
}

static void write_ids(struct stele_index__writer *writer, const struct stele_index__memtable *table,
                      struct stele_index__hashed *things, struct stele_index__hashed *scratch)
{
    size_t count = 0;
    for (size_t i = 0; i < table->ids_capacity; i++) {
        const struct stele_index__id *id = &table->ids[i];
        if (id->place_and_1 != 0) {
            things[count++] =
                (struct stele_index__hashed){.hash = id->hash, .of.place = id->place_and_1 - 1};
        }
    }
    stele_index__sort_hashed(things, scratch, count, place_less);
    for (size_t i = 0; i < count && writer->outcome == STELE_OK; i++) {
        stele_index__writer_id(writer, things[i].hash, things[i].of.place);
    }
}

/* What sorting takes: twice the larger of entries and ids, and the names. */
struct desk {
    struct stele_alloc *alloc;
    size_t count;
    struct stele_index__hashed *things;
    struct stele_index__hashed *scratch;
    struct stele_index__named *names;
};

static void desk_deinit(struct desk *desk)
{
    stele_release(desk->alloc, desk->things, desk->count * sizeof *desk->things);
    stele_release(desk->alloc, desk->scratch, desk->count * sizeof *desk->scratch);
    stele_release(desk->alloc, desk->names, desk->count * sizeof *desk->names);
}

static bool desk_init(struct desk *desk, struct stele_alloc *alloc, size_t count)
{
    *desk = (struct desk){.alloc = alloc, .count = count};
    desk->things = stele_allocate(alloc, count * sizeof *desk->things);
    desk->scratch = stele_allocate(alloc, count * sizeof *desk->scratch);
    desk->names = stele_allocate(alloc, count * sizeof *desk->names);
    if (desk->things == NULL || desk->scratch == NULL || desk->names == NULL) {
        desk_deinit(desk);
        return false;
    }
    return true;
}

static int write_table(const struct stele_index__memtable *table,
                       const struct stele_index__target *target, struct desk *desk,
                       struct stele_error *err)
{
    struct stele_index__header header = stele_index__target_header(target);
    const size_t count = gather_entries(table, desk->things, &header);
    if (header.postings > UINT32_MAX || header.ids >= STELE_INDEX__EVENTS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "index: %llu postings are too many for one run",
                          (unsigned long long)header.postings);
    }
    stele_index__sort_hashed(desk->things, desk->scratch, count, entry_less);
    struct stele_index__writer writer;
    const int outcome = stele_index__writer_begin(&writer, target->io, &header, target->on_bytes,
                                                  target->context, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    write_entries(&writer, desk->things, count, desk->names);
    write_ids(&writer, table, desk->things, desk->scratch);
    if (writer.outcome == STELE_OK) {
        stele_index__sort_named(desk->names, count);
    }
    for (size_t i = 0; i < count && writer.outcome == STELE_OK; i++) {
        stele_index__writer_order(&writer, desk->names[i].number);
    }
    return stele_index__writer_end(&writer);
}

int stele_index__flush(const struct stele_index__memtable *table,
                       const struct stele_index__target *target, struct stele_error *err)
{
    STELE_ASSERT(target->from == table->from);
    STELE_ASSERT(target->to >= table->seen);
    struct desk desk;
    const size_t larger = table->entries > table->events ? table->entries : table->events;
    if (!desk_init(&desk, target->io->alloc, larger + 1)) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "index: no memory to write a run");
    }
    const int outcome = write_table(table, target, &desk, err);
    desk_deinit(&desk);
    return outcome;
}
