/* Segments: their headers, their names, and views of many of them.
 *
 *     offset  size  field
 *          0     8  magic            "STELELOG"; "STELEPAK" in a packed segment
 *          8     4  version          1
 *         12     4  header_size      multiple of 4096
 *         16    16  store id
 *         32     8  base             place of the first frame
 *         40     8  capacity         bytes of places: the next segment's base is base + capacity
 *         48     8  previous_end     where the frames of the segment before end
 *         56     8  position_before  last position in the log before this segment
 *         64     8  events_before    events in the log before this segment
 *         72     4  previous         header_checksum of the last frame before this segment
 *         76     4  partitions
 *         80    16  per partition, before this segment: its last term that is not 0 (8), the index
 *                   of its last frame (8)
 *          …     0  zeros
 *        −4     4  checksum         CRC-32C of the store's secret, then of everything before
 *
 * The header tells the reader of the segment before where that one ends: the rest of it is zeros,
 * and zeros earlier than that are damage. */
#include "base/checksum.h"
#include "log/log_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define VERSION_AT 8
#define HEADER_SIZE_AT 12
#define STORE_ID_AT 16
#define BASE_AT 32
#define CAPACITY_AT 40
#define PREVIOUS_END_AT 48
#define POSITION_BEFORE_AT 56
#define EVENTS_BEFORE_AT 64
#define PREVIOUS_AT 72
#define PARTITIONS_COUNT_AT 76

_Static_assert(PARTITIONS_COUNT_AT + 4 == STELE_LOG__HEADER_PARTITIONS_AT, "no gap");

#define CHECKSUM_SIZE 4

static const uint8_t magic_plain[8] = {'S', 'T', 'E', 'L', 'E', 'L', 'O', 'G'};
static const uint8_t magic_packed[8] = {'S', 'T', 'E', 'L', 'E', 'P', 'A', 'K'};

uint32_t stele_log__header_size(uint32_t partitions)
{
    const uint64_t size =
        STELE_LOG__HEADER_PARTITIONS_AT + (uint64_t)partitions * 16 + CHECKSUM_SIZE;
    return (uint32_t)stele_align_up(size, STELE_LOG__HEADER_UNIT);
}

static uint32_t header_checksum(const uint8_t *header, const struct stele_log__identity *identity)
{
    return stele_crc32c_extend(
        identity->seed,
        (struct stele_bytes){.data = header, .size = identity->header_size - CHECKSUM_SIZE});
}

void stele_log__header_encode(uint8_t *buffer, const struct stele_log__identity *identity,
                              const struct stele_log__facts *facts,
                              const struct stele_log_partition *partitions, bool packed)
{
    STELE_ASSERT(facts->partitions == identity->partitions);
    STELE_ASSERT(facts->base % STELE_RECORD_ALIGN == 0);
    STELE_ASSERT(facts->capacity % STELE_RECORD_ALIGN == 0);
    STELE_ASSERT(facts->previous_end <= facts->base);
    memset(buffer, 0, identity->header_size);
    memcpy(buffer, packed ? magic_packed : magic_plain, sizeof magic_plain);
    stele_store_u32le(buffer + VERSION_AT, STELE_LOG__HEADER_VERSION);
    stele_store_u32le(buffer + HEADER_SIZE_AT, identity->header_size);
    memcpy(buffer + STORE_ID_AT, identity->store_id, sizeof identity->store_id);
    stele_store_u64le(buffer + BASE_AT, facts->base);
    stele_store_u64le(buffer + CAPACITY_AT, facts->capacity);
    stele_store_u64le(buffer + PREVIOUS_END_AT, facts->previous_end);
    stele_store_u64le(buffer + POSITION_BEFORE_AT, facts->position_before);
    stele_store_u64le(buffer + EVENTS_BEFORE_AT, facts->events_before);
    stele_store_u32le(buffer + PREVIOUS_AT, facts->previous);
    stele_store_u32le(buffer + PARTITIONS_COUNT_AT, facts->partitions);
    uint8_t *to = buffer + STELE_LOG__HEADER_PARTITIONS_AT;
    for (uint32_t partition = 0; partition < facts->partitions; partition++) {
        stele_store_u64le(to, partitions[partition].term);
        stele_store_u64le(to + 8, partitions[partition].index);
        to += 16;
    }
    STELE_ASSERT(to <= buffer + identity->header_size - CHECKSUM_SIZE);
    stele_store_u32le(buffer + identity->header_size - CHECKSUM_SIZE,
                      header_checksum(buffer, identity));
}

static void load_facts(const uint8_t *header, struct stele_log__facts *out_facts)
{
    out_facts->base = stele_load_u64le(header + BASE_AT);
    out_facts->capacity = stele_load_u64le(header + CAPACITY_AT);
    out_facts->previous_end = stele_load_u64le(header + PREVIOUS_END_AT);
    out_facts->position_before = stele_load_u64le(header + POSITION_BEFORE_AT);
    out_facts->events_before = stele_load_u64le(header + EVENTS_BEFORE_AT);
    out_facts->previous = stele_load_u32le(header + PREVIOUS_AT);
    out_facts->partitions = stele_load_u32le(header + PARTITIONS_COUNT_AT);
}

int stele_log__header_decode(struct stele_bytes bytes, const struct stele_log__identity *identity,
                             uint64_t base, bool packed, struct stele_log__facts *out_facts,
                             const char **out_what)
{
    const uint8_t *header = bytes.data;
    if (bytes.size < identity->header_size) {
        *out_what = "the file ends inside its header";
        return STELE_E_CORRUPT;
    }
    const uint32_t checksum = stele_load_u32le(header + identity->header_size - CHECKSUM_SIZE);
    if (checksum != header_checksum(header, identity)) {
        *out_what = "the header of the segment does not verify";
        return STELE_E_CORRUPT;
    }
    if (memcmp(header, packed ? magic_packed : magic_plain, sizeof magic_plain) != 0) {
        *out_what = "the header is not that of a segment of this kind";
        return STELE_E_CORRUPT;
    }
    const uint32_t version = stele_load_u32le(header + VERSION_AT);
    if (version > STELE_LOG__HEADER_VERSION) {
        *out_what = "the segment was written by a newer version";
        return STELE_E_FORMAT;
    }
    struct stele_log__facts facts;
    load_facts(header, &facts);
    if (version == 0 || memcmp(header + STORE_ID_AT, identity->store_id, 16) != 0 ||
        stele_load_u32le(header + HEADER_SIZE_AT) != identity->header_size ||
        facts.partitions != identity->partitions || facts.base != base ||
        facts.previous_end > facts.base || facts.capacity % STELE_RECORD_ALIGN != 0 ||
        facts.capacity > UINT64_MAX / 2 - facts.base) {
        *out_what = "the segment belongs to another store or place";
        return STELE_E_CORRUPT;
    }
    *out_facts = facts;
    return STELE_OK;
}

void stele_log__header_partition(const uint8_t *header, uint32_t partition,
                                 struct stele_log_partition *out_partition)
{
    const uint8_t *from = header + STELE_LOG__HEADER_PARTITIONS_AT + (size_t)partition * 16;
    out_partition->term = stele_load_u64le(from);
    out_partition->index = stele_load_u64le(from + 8);
}

/* ---- Names ---- */

void stele_log__name(char name[STELE_FILE_NAME_MAX], uint64_t base, const char *suffix)
{
    const int length = snprintf(name, STELE_FILE_NAME_MAX, "%016" PRIx64 ".%s", base, suffix);
    STELE_ASSERT(length > 0);
    STELE_ASSERT(length < STELE_FILE_NAME_MAX);
}

bool stele_log__parse_name(const char *name, const char *suffix, uint64_t *out_base)
{
    uint64_t base = 0;
    for (int index = 0; index < 16; index++) {
        const char digit = name[index];
        if (digit >= '0' && digit <= '9') {
            base = base << 4 | (uint64_t)(digit - '0');
        } else if (digit >= 'a' && digit <= 'f') {
            base = base << 4 | (uint64_t)(digit - 'a' + 10);
        } else {
            return false;
        }
    }
    if (name[16] != '.' || strcmp(name + 17, suffix) != 0) {
        return false;
    }
    *out_base = base;
    return true;
}

/* ---- One segment ---- */

/* Blocks of packed segments hold at least this much unless what follows is large, so one bit for
 * each such piece of the file is enough to remember nearly all of them. */
#define BLOCK_BYTES_PER_BIT ((uint64_t)16 * 1024)

static int open_and_map(struct stele_io *io, bool writable, struct stele_log_segment *segment,
                        const char *name, struct stele_error *err)
{
    int outcome = io->ops->open(io, name, writable, &segment->file, err);
    if (outcome != STELE_OK) {
        segment->file = NULL;
        return outcome;
    }
    outcome = io->ops->size(segment->file, &segment->size, err);
    if (outcome == STELE_OK && segment->size > 0) {
        outcome = io->ops->map(segment->file, segment->size, &segment->data, err);
    }
    return outcome;
}

static void segment_destroy(struct stele_io *io, struct stele_log_segment *segment)
{
    if (segment->file != NULL) {
        io->ops->close(segment->file);
    }
    /* By way of an integer because no cast takes _Atomic away. */
    stele_release(io->alloc, (void *)(uintptr_t)segment->blocks_seen,
                  segment->blocks_seen_words * sizeof(uint64_t));
    stele_release(io->alloc, segment, sizeof *segment);
}

int stele_log__segment_open(struct stele_io *io, const struct stele_log__identity *identity,
                            uint64_t base, bool packed, bool writable,
                            struct stele_log_segment **out_segment, struct stele_error *err)
{
    char name[STELE_FILE_NAME_MAX];
    stele_log__name(name, base, packed ? "pak" : "seg");
    struct stele_log_segment *segment = stele_allocate_zeroed(io->alloc, sizeof *segment);
    if (segment == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "segment %s: no memory", name);
    }
    segment->refs = 1;
    segment->packed = packed;
    segment->base = base;
    int outcome = open_and_map(io, writable, segment, name, err);
    if (outcome == STELE_OK && packed) {
        segment->blocks_seen_words = segment->size / (BLOCK_BYTES_PER_BIT * 64) + 1;
        segment->blocks_seen =
            stele_allocate_zeroed(io->alloc, segment->blocks_seen_words * sizeof(uint64_t));
        if (segment->blocks_seen == NULL) {
            segment->blocks_seen_words = 0;
            outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "segment %s: no memory", name);
        }
    }
    if (outcome != STELE_OK) {
        segment_destroy(io, segment);
        return outcome;
    }
    segment->limit = UINT64_MAX;
    if (!packed) {
        const uint64_t room =
            segment->size > identity->header_size ? segment->size - identity->header_size : 0;
        segment->limit = base + room / STELE_RECORD_ALIGN * STELE_RECORD_ALIGN;
    }
    *out_segment = segment;
    return STELE_OK;
}

void stele_log__segment_unref(struct stele_io *io, struct stele_log_segment *segment)
{
    STELE_ASSERT(segment->refs > 0);
    segment->refs--;
    if (segment->refs == 0) {
        segment_destroy(io, segment);
    }
}

int stele_log__segment_facts(const struct stele_log_view *view, struct stele_log_segment *segment,
                             struct stele_log__facts *out_facts, const char **out_what)
{
    const uint32_t state = atomic_load_explicit(&segment->header_state, memory_order_acquire);
    if (state == STELE_LOG__INTACT) {
        load_facts(segment->data, out_facts);
        return STELE_OK;
    }
    const struct stele_bytes bytes = {.data = segment->data, .size = (size_t)segment->size};
    const int outcome = stele_log__header_decode(bytes, &view->identity, segment->base,
                                                 segment->packed, out_facts, out_what);
    if (outcome == STELE_OK) {
        atomic_store_explicit(&segment->header_state, STELE_LOG__INTACT, memory_order_release);
    }
    return outcome;
}

/* ---- Views ---- */

static size_t view_size(uint32_t count)
{
    return sizeof(struct stele_log_view) +
           count * (sizeof(struct stele_log_segment *) + sizeof(uint64_t));
}

struct stele_log_view *stele_log__view_create(struct stele_io *io,
                                              const struct stele_log__identity *identity,
                                              uint32_t count)
{
    STELE_ASSERT(count > 0);
    struct stele_log_view *view = stele_allocate_zeroed(io->alloc, view_size(count));
    if (view == NULL) {
        return NULL;
    }
    view->refs = 1;
    view->count = count;
    view->io = io;
    view->identity = *identity;
    view->bases = (uint64_t *)(void *)(view->segments + count);
    return view;
}

void stele_log__view_put(struct stele_log_view *view, uint32_t index,
                         struct stele_log_segment *take_segment)
{
    STELE_ASSERT(index < view->count);
    STELE_ASSERT(view->segments[index] == NULL);
    STELE_ASSERT(index == 0 || view->bases[index - 1] < take_segment->base);
    view->segments[index] = take_segment;
    view->bases[index] = take_segment->base;
}

struct stele_log_view *stele_log_view_acquire(struct stele_log *log)
{
    log->view->refs++;
    return log->view;
}

void stele_log_view_release(struct stele_log_view *view)
{
    if (view == NULL) {
        return;
    }
    STELE_ASSERT(view->refs > 0);
    view->refs--;
    if (view->refs > 0) {
        return;
    }
    for (uint32_t index = 0; index < view->count; index++) {
        if (view->segments[index] != NULL) {
            stele_log__segment_unref(view->io, view->segments[index]);
        }
    }
    stele_release(view->io->alloc, view, view_size(view->count));
}

uint32_t stele_log__view_find(const struct stele_log_view *view, uint64_t place)
{
    uint32_t low = 0;
    uint32_t count = view->count;
    while (count > 1) {
        const uint32_t half = count / 2;
        low += view->bases[low + half] <= place ? half : 0;
        count -= half;
    }
    return low;
}

uint64_t stele_log__segment_end(const struct stele_log_view *view, uint32_t index, uint64_t end,
                                bool *out_exact)
{
    struct stele_log_segment *const segment = view->segments[index];
    uint64_t bound = segment->limit;
    const char *what = NULL;
    *out_exact = false;
    if (segment->packed) {
        *out_exact = stele_log__packed_end(view, segment, &bound, &what) == STELE_OK;
    } else if (index + 1 < view->count) {
        /* If the segment behind this one is missing, or this file is cut off, the end that the
         * next header tells lies outside. */
        struct stele_log__facts facts;
        if (stele_log__segment_facts(view, view->segments[index + 1], &facts, &what) == STELE_OK &&
            facts.previous_end >= segment->base && facts.previous_end <= segment->limit) {
            bound = facts.previous_end;
            *out_exact = true;
        }
    }
    if (index + 1 < view->count && bound > view->bases[index + 1]) {
        bound = view->bases[index + 1];
    }
    if (end < bound) {
        *out_exact = true;
        return end;
    }
    return bound;
}

int stele_log__damage(struct stele_log_reader *reader, const struct stele_log_segment *segment,
                      uint64_t offset, uint64_t place, const char *what)
{
    stele_log__name(reader->damage.file, segment->base, segment->packed ? "pak" : "seg");
    reader->damage.offset = offset;
    reader->damage.place = place;
    reader->damage.what = what;
    return STELE_E_CORRUPT;
}
