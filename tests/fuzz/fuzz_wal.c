/* The WAL: whatever stands in its files, opening ends, tells only what verifies, and what it leaves
 * is a log that can be used and opened again with the same records.
 *
 * The first byte chooses how deep the input goes: as the mark, as a whole segment, as what stands
 * behind a segment's header, or as a list of records whose headers are made to verify. */
#include "base/checksum.h"
#include "lib/memio.h"
#include "lib/testalloc.h"
#include "raft/wal_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET UINT64_C(0x5ec4e7a11ce5ba5e)
#define CAPACITY 65536
#define HEADER STELE_WAL__SEGMENT_HEADER

static const uint8_t owner_id[16] = {1, 9, 2, 8};

struct segment {
    uint8_t bytes[HEADER + CAPACITY];
};

static void make_segment(struct segment *segment, uint64_t number, uint64_t base)
{
    memset(segment, 0, sizeof *segment);
    struct stele_wal__facts facts = {
        .secret_check = stele_wal__secret_check(SECRET),
        .number = number,
        .base = base,
        .capacity = CAPACITY,
    };
    memcpy(facts.owner_id, owner_id, sizeof owner_id);
    stele_wal__facts_encode(segment->bytes, &facts);
}

/* Eight bytes each: size, gap before it, kind, what it says of durable, and which segment. */
static void put_records(struct segment segments[2], const uint64_t bases[2], const uint8_t *data,
                        size_t size)
{
    uint64_t places[2] = {bases[0], bases[1]};
    for (; size >= 8; data += 8, size -= 8) {
        const int which = data[7] & 1;
        const uint64_t limit = bases[which] + CAPACITY;
        const uint64_t place = places[which] + (uint64_t)(data[3] & 7) * 8;
        if (place + STELE_WAL__RECORD_HEADER > limit) {
            continue;
        }
        uint8_t *const to = segments[which].bytes + HEADER + (place - bases[which]);
        const uint64_t room = limit - place - STELE_WAL__RECORD_HEADER;
        const uint64_t said = stele_load_u16le(data);
        const struct stele_wal_record record = {
            .kind = data[2],
            .index = said,
            .payload = {.data = to + STELE_WAL__RECORD_HEADER,
                        .size = (size_t)(said < room ? said : room)},
        };
        const uint64_t durable = (data[3] & 8) != 0 ? place : bases[0] + data[4] * 64U;
        stele_wal__header_encode(to, stele_wal__seed(SECRET, 1 + (uint64_t)which), place, durable,
                                 &record);
        if ((data[7] & 2) != 0) {
            to[data[5] % STELE_WAL__RECORD_HEADER] ^= data[6];
        }
        places[which] = place + stele_wal__record_size(record.payload.size);
    }
}

static int on_record(void *context, const struct stele_wal_record *record, uint64_t place)
{
    uint64_t *const told = context;
    STELE_ASSERT(place % 8 == 0);
    STELE_ASSERT(record->kind >= STELE_WAL_ENTRY && record->kind <= STELE_WAL_NOTE);
    STELE_ASSERT(record->payload.size <= CAPACITY);
    *told = stele_hash64(record->payload, *told + place + record->index);
    return STELE_OK;
}

static void use(struct stele_wal *wal, uint64_t *out_place)
{
    stele_wal_check(wal);
    const struct stele_wal_record record = {
        .kind = STELE_WAL_NOTE, .group = 3, .payload = stele_bytes_of_text("hello")};
    STELE_ASSERT(stele_wal_put(wal, &record, out_place, NULL) == STELE_OK);
    struct stele_wal_group group;
    stele_wal_mark(wal);
    while (stele_wal_take(wal, &group)) {
        stele_wal_done(
            wal, group.id,
            group.file->io->ops->write_durable(group.file, group.offset, group.bytes, NULL));
    }
    STELE_ASSERT(stele_wal_durable(wal) == stele_wal_end(wal));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4 || size > 65536) {
        return 0;
    }
    const uint8_t mode = data[0] & 3;
    const bool is_marked = (data[0] & 4) != 0;
    const uint64_t bases[2] = {STELE_WAL__FIRST,
                               STELE_WAL__FIRST + stele_load_u16le(data + 1) / 8 * 8};
    data += 3;
    size -= 3;
    static struct segment segments[2];
    make_segment(&segments[0], 1, bases[0]);
    make_segment(&segments[1], 2, bases[1]);
    uint8_t mark[STELE_WAL__MARK_SIZE] = {0};
    struct stele_wal__mark facts = {.sequence = 1, .start = 1, .durable = bases[0]};
    memcpy(facts.owner_id, owner_id, sizeof owner_id);
    stele_wal__mark_encode(mark, &facts);
    if (mode == 0) {
        memcpy(mark, data, size < sizeof mark ? size : sizeof mark);
    } else if (mode == 1) {
        memcpy(segments[1].bytes, data, size);
    } else if (mode == 2) {
        memcpy(segments[1].bytes + HEADER, data, size);
    } else {
        put_records(segments, bases, data, size);
    }
    struct testalloc alloc;
    static struct memio disk;
    testalloc_init(&alloc, 1);
    memio_init(&disk, &alloc.base, 1);
    memio_put(&disk, "0000000000000001.wal",
              (struct stele_bytes){segments[0].bytes, sizeof segments[0].bytes});
    if (mode != 3 || bases[1] != bases[0]) {
        memio_put(&disk, "0000000000000002.wal",
                  (struct stele_bytes){segments[1].bytes, sizeof segments[1].bytes});
    }
    if (is_marked || mode == 0) {
        memio_put(&disk, "mark", (struct stele_bytes){mark, sizeof mark});
    }
    struct stele_wal_options options = {
        .secret = SECRET, .segment_size = CAPACITY, .spares_max = 1};
    memcpy(options.owner_id, owner_id, sizeof owner_id);
    struct stele_wal *wal = NULL;
    uint64_t told = 0;
    if (stele_wal_open(&disk.io, &options, on_record, &told, &wal, NULL) == STELE_OK) {
        const uint64_t end = stele_wal_end(wal);
        uint64_t place = 0;
        use(wal, &place);
        STELE_ASSERT(place == end);
        stele_wal_close(wal);
        uint64_t told_again = 0;
        STELE_ASSERT(stele_wal_open(&disk.io, &options, on_record, &told_again, &wal, NULL) ==
                     STELE_OK);
        STELE_ASSERT(told_again == stele_hash64(stele_bytes_of_text("hello"), told + place));
        stele_wal_close(wal);
    }
    STELE_ASSERT(alloc.bytes == 0);
    STELE_ASSERT(disk.open_count == 0);
    memio_deinit(&disk);
    return 0;
}
