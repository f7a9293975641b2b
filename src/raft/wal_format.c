/* The WAL's bytes. All numbers are little-endian, all sizes in bytes.
 *
 *     segment: header of 4096, records, anything           record: header, payload, zeros up to 8
 *
 *     offset  size  facts at the beginning of a segment's header, zeros behind them
 *          0     4  checksum   CRC-32C of bytes 4 … 511
 *          4     4  version    1
 *          8     8  magic      "STELEWAL"
 *         16    16  owner      the incarnation of the node
 *         32     8  number     of the segment: a file that got another's name is noticed
 *         40     8  base       place of the first record
 *         48     8  capacity   of the file, without the header
 *         56     8  durable    everything below this place was when the segment was made
 *         64     4  secret     CRC-32C of the secret: with a wrong one no record would verify, and
 *                              all would look like a torn tail
 *         72     8  salt       random, the same in all segments of a log
 *
 *     offset  size  header of a record
 *          0     4  checksum   CRC-32C of the segment's seed, then of bytes 4 … 47
 *          4     4  payload    CRC-32C of the segment's seed, then of the payload
 *          8     8  place      where this record begins: bytes from elsewhere are noticed
 *         16     8  durable    everything below this place was when the record was put
 *         24     8  index
 *         32     8  term
 *         40     4  size       of the payload
 *         44     2  group
 *         46     1  kind
 *         47     1  type
 *
 *     offset  size  slot of the mark; slots lie at 0 and 4096
 *          0     4  checksum   CRC-32C of bytes 4 … 511
 *          4     4  version    1
 *          8     8  magic      "STELWMRK"
 *         16    16  owner
 *         32     8  sequence   1, 2, …; slot = sequence mod 2, so that a torn write leaves the other
 *         40     8  durable    everything below this place was
 *         48     8  start      number of the first segment that counts
 *
 * The header has a checksum of its own because what it says of "durable" is true even if its payload
 * never reached the disk. */
#include "base/checksum.h"
#include "raft/wal_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define VERSION 1
#define CHECKSUM_AT 0
#define VERSION_AT 4
#define MAGIC_AT 8
#define OWNER_AT 16
#define NUMBER_AT 32
#define BASE_AT 40
#define CAPACITY_AT 48
#define SEGMENT_DURABLE_AT 56
#define SECRET_AT 64
#define SALT_AT 72

#define SEQUENCE_AT 32
#define MARK_DURABLE_AT 40
#define START_AT 48

#define PAYLOAD_CHECKSUM_AT 4
#define PLACE_AT 8
#define DURABLE_AT 16
#define INDEX_AT 24
#define TERM_AT 32
#define SIZE_AT 40
#define GROUP_AT 44
#define KIND_AT 46
#define TYPE_AT 47

_Static_assert(TYPE_AT + 1 == STELE_WAL__RECORD_HEADER, "a header has no gaps");
_Static_assert(STELE_WAL__RECORD_HEADER % STELE_WAL__ALIGN == 0, "records are aligned");
_Static_assert(STELE_WAL__FACTS_SIZE == STELE_WAL__MARK_SLOT, "both are sealed alike");
_Static_assert(STELE_WAL__FACTS_SIZE <= STELE_WAL__SEGMENT_HEADER, "facts lie in the header");

static const uint8_t magic_segment[8] = {'S', 'T', 'E', 'L', 'E', 'W', 'A', 'L'};
static const uint8_t magic_mark[8] = {'S', 'T', 'E', 'L', 'W', 'M', 'R', 'K'};

/* ---- Sectors: the facts of a segment, a slot of the mark ---- */

static uint32_t sector_checksum(const uint8_t *sector)
{
    return stele_crc32c((struct stele_bytes){.data = sector + VERSION_AT,
                                             .size = STELE_WAL__FACTS_SIZE - VERSION_AT});
}

static void sector_begin(uint8_t *sector, const uint8_t magic[8], const uint8_t owner_id[16])
{
    memset(sector, 0, STELE_WAL__FACTS_SIZE);
    stele_store_u32le(sector + VERSION_AT, VERSION);
    memcpy(sector + MAGIC_AT, magic, 8);
    memcpy(sector + OWNER_AT, owner_id, 16);
}

static int sector_check(const uint8_t *sector, const uint8_t magic[8])
{
    if (stele_load_u32le(sector + CHECKSUM_AT) != sector_checksum(sector) ||
        memcmp(sector + MAGIC_AT, magic, 8) != 0) {
        return STELE_E_CORRUPT;
    }
    return stele_load_u32le(sector + VERSION_AT) == VERSION ? STELE_OK : STELE_E_FORMAT;
}

void stele_wal__facts_encode(uint8_t buffer[STELE_WAL__FACTS_SIZE],
                             const struct stele_wal__facts *facts)
{
    sector_begin(buffer, magic_segment, facts->owner_id);
    stele_store_u64le(buffer + NUMBER_AT, facts->number);
    stele_store_u64le(buffer + BASE_AT, facts->base);
    stele_store_u64le(buffer + CAPACITY_AT, facts->capacity);
    stele_store_u64le(buffer + SEGMENT_DURABLE_AT, facts->durable);
    stele_store_u32le(buffer + SECRET_AT, facts->secret_check);
    stele_store_u64le(buffer + SALT_AT, facts->salt);
    stele_store_u32le(buffer + CHECKSUM_AT, sector_checksum(buffer));
}

int stele_wal__facts_decode(const uint8_t buffer[STELE_WAL__FACTS_SIZE],
                            struct stele_wal__facts *out_facts)
{
    const int outcome = sector_check(buffer, magic_segment);
    if (outcome == STELE_OK) {
        *out_facts = (struct stele_wal__facts){
            .secret_check = stele_load_u32le(buffer + SECRET_AT),
            .salt = stele_load_u64le(buffer + SALT_AT),
            .number = stele_load_u64le(buffer + NUMBER_AT),
            .base = stele_load_u64le(buffer + BASE_AT),
            .capacity = stele_load_u64le(buffer + CAPACITY_AT),
            .durable = stele_load_u64le(buffer + SEGMENT_DURABLE_AT),
        };
        memcpy(out_facts->owner_id, buffer + OWNER_AT, sizeof out_facts->owner_id);
    }
    return outcome;
}

void stele_wal__mark_encode(uint8_t buffer[STELE_WAL__MARK_SLOT],
                            const struct stele_wal__mark *mark)
{
    sector_begin(buffer, magic_mark, mark->owner_id);
    stele_store_u64le(buffer + SEQUENCE_AT, mark->sequence);
    stele_store_u64le(buffer + MARK_DURABLE_AT, mark->durable);
    stele_store_u64le(buffer + START_AT, mark->start);
    stele_store_u32le(buffer + CHECKSUM_AT, sector_checksum(buffer));
}

int stele_wal__mark_decode(const uint8_t buffer[STELE_WAL__MARK_SLOT],
                           struct stele_wal__mark *out_mark)
{
    const int outcome = sector_check(buffer, magic_mark);
    if (outcome == STELE_OK) {
        *out_mark = (struct stele_wal__mark){
            .sequence = stele_load_u64le(buffer + SEQUENCE_AT),
            .durable = stele_load_u64le(buffer + MARK_DURABLE_AT),
            .start = stele_load_u64le(buffer + START_AT),
        };
        memcpy(out_mark->owner_id, buffer + OWNER_AT, sizeof out_mark->owner_id);
    }
    return outcome;
}

/* ---- Records ---- */

uint32_t stele_wal__secret_check(uint64_t secret)
{
    uint8_t bytes[8];
    stele_store_u64le(bytes, secret);
    return stele_crc32c((struct stele_bytes){.data = bytes, .size = sizeof bytes});
}

uint32_t stele_wal__seed(uint64_t secret, uint64_t number)
{
    /* A CRC of four bytes is one-to-one, so numbers less than 2^32 apart never share a seed. */
    uint8_t bytes[12];
    stele_store_u64le(bytes, ~secret); /* Not what the segment's header shows. */
    stele_store_u32le(bytes + 8, (uint32_t)number);
    return stele_crc32c((struct stele_bytes){.data = bytes, .size = sizeof bytes});
}

static uint32_t header_checksum(const uint8_t *header, uint32_t seed)
{
    return stele_crc32c_extend(
        seed, (struct stele_bytes){.data = header + PAYLOAD_CHECKSUM_AT,
                                   .size = STELE_WAL__RECORD_HEADER - PAYLOAD_CHECKSUM_AT});
}

void stele_wal__header_encode(uint8_t buffer[STELE_WAL__RECORD_HEADER], uint32_t seed,
                              uint64_t place, uint64_t durable,
                              const struct stele_wal_record *record)
{
    stele_store_u32le(buffer + PAYLOAD_CHECKSUM_AT, stele_crc32c_extend(seed, record->payload));
    stele_store_u64le(buffer + PLACE_AT, place);
    stele_store_u64le(buffer + DURABLE_AT, durable);
    stele_store_u64le(buffer + INDEX_AT, record->index);
    stele_store_u64le(buffer + TERM_AT, record->term);
    stele_store_u32le(buffer + SIZE_AT, (uint32_t)record->payload.size);
    stele_store_u16le(buffer + GROUP_AT, record->group);
    buffer[KIND_AT] = record->kind;
    buffer[TYPE_AT] = record->type;
    stele_store_u32le(buffer + CHECKSUM_AT, header_checksum(buffer, seed));
}

bool stele_wal__header_decode(const uint8_t *buffer, uint32_t seed, uint64_t place,
                              struct stele_wal__header *out_header)
{
    /* The place first: a search asks at every eighth byte. */
    if (stele_load_u64le(buffer + PLACE_AT) != place ||
        stele_load_u32le(buffer + CHECKSUM_AT) != header_checksum(buffer, seed)) {
        return false;
    }
    const struct stele_wal__header header = {
        .place = place,
        .durable = stele_load_u64le(buffer + DURABLE_AT),
        .index = stele_load_u64le(buffer + INDEX_AT),
        .term = stele_load_u64le(buffer + TERM_AT),
        .size = stele_load_u32le(buffer + SIZE_AT),
        .payload_checksum = stele_load_u32le(buffer + PAYLOAD_CHECKSUM_AT),
        .group = stele_load_u16le(buffer + GROUP_AT),
        .kind = buffer[KIND_AT],
        .type = buffer[TYPE_AT],
    };
    if (header.kind < STELE_WAL_ENTRY || header.kind > STELE_WAL_NOTE || header.durable > place ||
        header.size > STELE_WAL_PAYLOAD_MAX) {
        return false;
    }
    *out_header = header;
    return true;
}

bool stele_wal__payload_is_intact(uint32_t seed, const struct stele_wal__header *header,
                                  struct stele_bytes payload)
{
    STELE_ASSERT(payload.size == header->size);
    return stele_crc32c_extend(seed, payload) == header->payload_checksum;
}

struct stele_wal_record stele_wal__record_of(const struct stele_wal__header *header,
                                             struct stele_bytes payload)
{
    return (struct stele_wal_record){
        .kind = header->kind,
        .type = header->type,
        .group = header->group,
        .index = header->index,
        .term = header->term,
        .payload = payload,
    };
}

/* ---- Names ---- */

void stele_wal__name(char name[STELE_FILE_NAME_MAX], uint64_t number, const char *suffix)
{
    const int length = snprintf(name, STELE_FILE_NAME_MAX, "%016" PRIx64 ".%s", number, suffix);
    STELE_ASSERT(length > 0);
    STELE_ASSERT(length < STELE_FILE_NAME_MAX);
}

bool stele_wal__parse_name(const char *name, const char *suffix, uint64_t *out_number)
{
    uint64_t number = 0;
    for (int index = 0; index < 16; index++) {
        const char digit = name[index];
        if (digit >= '0' && digit <= '9') {
            number = number << 4 | (uint64_t)(digit - '0');
        } else if (digit >= 'a' && digit <= 'f') {
            number = number << 4 | (uint64_t)(digit - 'a' + 10);
        } else {
            return false;
        }
    }
    if (name[16] != '.' || strcmp(name + 17, suffix) != 0) {
        return false;
    }
    *out_number = number;
    return true;
}
