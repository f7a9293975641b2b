/* The run file: one range of the log, indexed. docs/internals/index-format.md explains it.
 *
 *     page 0      header, which has the counts from which all offsets follow
 *     sections    each begins at a page
 *     checksums   CRC-32C of every page before, 4 bytes each
 *     footer      CRC-32C of every page of checksums; the header has the footer's own
 *
 * Offsets are computed from the counts instead of being stored, because sections that cannot
 * overlap or lie outside the file need no check that they do not. */
#ifndef STELE_INDEX_FORMAT_H
#define STELE_INDEX_FORMAT_H

#include "base/bytes.h"
#include "base/compiler.h"
#include "index/index.h"

#define STELE_INDEX__PAGE 4096u
#define STELE_INDEX__VERSION 1u
#define STELE_INDEX__KEY_SIZE 40u
#define STELE_INDEX__FILTER_BLOCK 64u
/* Places count in units of 8 bytes from the run's start. Below this span they fit in 4 bytes. */
#define STELE_INDEX__NARROW_SPAN_MAX ((uint64_t)UINT32_MAX * 8)
/* Numbers of keys and of ids are 32 bits in the directories. */
#define STELE_INDEX__EVENTS_MAX ((uint64_t)1 << 31)

enum stele_index__section {
    STELE_INDEX__KEY_FILTER,
    STELE_INDEX__ID_FILTER,
    STELE_INDEX__KEY_DIRECTORY,
    STELE_INDEX__ID_DIRECTORY,
    STELE_INDEX__KEYS,
    STELE_INDEX__NAMES,
    STELE_INDEX__POSTINGS,
    STELE_INDEX__IDS,
    STELE_INDEX__ID_PLACES,
    STELE_INDEX__ORDER,
    STELE_INDEX__CHECKSUMS,
    STELE_INDEX__FOOTER,
    STELE_INDEX__SECTIONS,
};

struct stele_index__header {
    uint8_t store_id[16];
    uint64_t seed_check;
    uint64_t from;
    uint64_t to;
    uint64_t keys;
    uint64_t names_size;
    uint64_t postings;
    uint64_t ids;
    uint64_t names_first[STELE_SPACES];
    uint32_t footer_checksum;
};

struct stele_index__layout {
    uint32_t place_size; /* 4 or 8 */
    uint32_t key_blocks; /* Of the filters. */
    uint32_t id_blocks;
    uint32_t key_bits; /* Of the directories. */
    uint32_t id_bits;
    uint64_t pages; /* Covered by the checksums. */
    uint64_t offset[STELE_INDEX__SECTIONS];
    uint64_t size[STELE_INDEX__SECTIONS];
    uint64_t file_size;
};

/* The counts must be below STELE_INDEX__EVENTS_MAX (keys, ids) and 2^48 (the others). */
void stele_index__layout(const struct stele_index__header *header,
                         struct stele_index__layout *out_layout);

void stele_index__header_encode(const struct stele_index__header *header,
                                uint8_t page[STELE_INDEX__PAGE]);
/* STELE_OK: the checksum matches and all counts are possible in a file of this size.
 * STELE_E_CORRUPT otherwise. */
STELE_MUST_USE
int stele_index__header_decode(const uint8_t page[STELE_INDEX__PAGE], uint64_t file_size,
                               struct stele_index__header *out_header,
                               struct stele_index__layout *out_layout);
uint64_t stele_index__seed_check(uint64_t seed);

/* One name of a run. */
struct stele_index__key {
    uint64_t hash;
    uint64_t first;       /* Ordinal of its first event here. */
    uint64_t postings;    /* Number of its first posting. */
    uint64_t name_offset; /* In the names. */
    uint32_t count;       /* Ordinals here. */
    uint16_t name_size;
    uint8_t space;
    uint8_t flags;
};
void stele_index__key_encode(const struct stele_index__key *key,
                             uint8_t bytes[STELE_INDEX__KEY_SIZE]);
void stele_index__key_decode(const uint8_t bytes[STELE_INDEX__KEY_SIZE],
                             struct stele_index__key *out_key);

/* Order of keys in a run: hash, space, name. */
static inline int stele_index__key_compare(uint64_t hash_a, uint8_t space_a, struct stele_bytes a,
                                           uint64_t hash_b, uint8_t space_b, struct stele_bytes b)
{
    if (hash_a != hash_b) {
        return hash_a < hash_b ? -1 : 1;
    }
    if (space_a != space_b) {
        return space_a < space_b ? -1 : 1;
    }
    return stele_bytes_compare(a, b);
}

/* Where a hash belongs in a directory of 2^bits buckets, in a filter of so many blocks. Both grow
 * with the hash, so that a run is written front to back. */
static inline uint32_t stele_index__bucket(uint64_t hash, uint32_t bits)
{
    return bits == 0 ? 0 : (uint32_t)(hash >> (64 - bits));
}
static inline uint32_t stele_index__filter_block(uint64_t hash, uint32_t blocks)
{
    return (uint32_t)((hash >> 32) * blocks >> 32);
}

/* Filters: blocks of 512 bits, 6 bits of each hash in one of them, about 10 bits per hash. One
 * cache line answers; 1 to 2 % of the answers "perhaps" are wrong (Putze, Sanders, Singler:
 * Cache-, hash- and space-efficient Bloom filters, 2007). */
void stele_index__filter_add(uint8_t block[STELE_INDEX__FILTER_BLOCK], uint64_t hash);
bool stele_index__filter_has(const uint8_t block[STELE_INDEX__FILTER_BLOCK], uint64_t hash);

/* "0123456789abcdef-0123456789abcdef.run" and ".tmp" */
void stele_index__file_name(char name[STELE_FILE_NAME_MAX], uint64_t from, uint64_t to,
                            const char *ending);
bool stele_index__file_name_parse(const char *name, const char *ending, uint64_t *out_from,
                                  uint64_t *out_to);

#endif
