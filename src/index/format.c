#include "index/format.h"

#include "base/checksum.h"

#include <stdio.h>

#define MAGIC "STELEIDX"
#define MAGIC_SIZE 8

/* Offsets in the header. */
#define VERSION_AT 8
#define STORE_ID_AT 16
#define SEED_CHECK_AT 32
#define FROM_AT 40
#define TO_AT 48
#define KEYS_AT 56
#define NAMES_SIZE_AT 64
#define POSTINGS_AT 72
#define IDS_AT 80
#define NAMES_FIRST_AT 88
#define FILE_SIZE_AT 120
#define FOOTER_CHECKSUM_AT 128
#define CHECKSUM_AT (STELE_INDEX__PAGE - 4)

#define FILTER_BITS_PER_HASH 10
#define HASHES_PER_BUCKET 4
#define DIRECTORY_BITS_MAX 21

static uint32_t filter_blocks(uint64_t hashes)
{
    const uint64_t bits = hashes * FILTER_BITS_PER_HASH;
    const uint64_t block_bits = (uint64_t)STELE_INDEX__FILTER_BLOCK * 8;
    return (uint32_t)((bits + block_bits - 1) / block_bits);
}

static uint32_t directory_bits(uint64_t hashes)
{
    uint32_t bits = 0;
    while (bits < DIRECTORY_BITS_MAX && ((uint64_t)HASHES_PER_BUCKET << bits) < hashes) {
        bits++;
    }
    return bits;
}

static uint64_t directory_size(uint32_t bits)
{
    /* One more than there are buckets: the last says where the last bucket ends. */
    return (((uint64_t)1 << bits) + 1) * 4;
}

void stele_index__layout(const struct stele_index__header *header,
                         struct stele_index__layout *out_layout)
{
    struct stele_index__layout layout = {
        .place_size = header->to - header->from <= STELE_INDEX__NARROW_SPAN_MAX ? 4 : 8,
        .key_blocks = filter_blocks(header->keys),
        .id_blocks = filter_blocks(header->ids),
        .key_bits = directory_bits(header->keys),
        .id_bits = directory_bits(header->ids),
    };
    layout.size[STELE_INDEX__KEY_FILTER] = (uint64_t)layout.key_blocks * STELE_INDEX__FILTER_BLOCK;
    layout.size[STELE_INDEX__ID_FILTER] = (uint64_t)layout.id_blocks * STELE_INDEX__FILTER_BLOCK;
    layout.size[STELE_INDEX__KEY_DIRECTORY] = directory_size(layout.key_bits);
    layout.size[STELE_INDEX__ID_DIRECTORY] = directory_size(layout.id_bits);
    layout.size[STELE_INDEX__KEYS] = header->keys * STELE_INDEX__KEY_SIZE;
    layout.size[STELE_INDEX__NAMES] = header->names_size;
    layout.size[STELE_INDEX__POSTINGS] = header->postings * layout.place_size;
    layout.size[STELE_INDEX__IDS] = header->ids * 8;
    layout.size[STELE_INDEX__ID_PLACES] = header->ids * layout.place_size;
    layout.size[STELE_INDEX__ORDER] = header->keys * 4;
    uint64_t at = STELE_INDEX__PAGE;
    for (int section = 0; section < STELE_INDEX__CHECKSUMS; section++) {
        layout.offset[section] = at;
        at = stele_align_up(at + layout.size[section], STELE_INDEX__PAGE);
    }
    layout.pages = at / STELE_INDEX__PAGE;
    layout.offset[STELE_INDEX__CHECKSUMS] = at;
    layout.size[STELE_INDEX__CHECKSUMS] = stele_align_up(layout.pages * 4, STELE_INDEX__PAGE);
    at += layout.size[STELE_INDEX__CHECKSUMS];
    layout.offset[STELE_INDEX__FOOTER] = at;
    layout.size[STELE_INDEX__FOOTER] = layout.size[STELE_INDEX__CHECKSUMS] / STELE_INDEX__PAGE * 4;
    layout.file_size = at + layout.size[STELE_INDEX__FOOTER];
    *out_layout = layout;
}

void stele_index__header_encode(const struct stele_index__header *header,
                                uint8_t page[STELE_INDEX__PAGE])
{
    struct stele_index__layout layout;
    stele_index__layout(header, &layout);
    memset(page, 0, STELE_INDEX__PAGE);
    memcpy(page, MAGIC, MAGIC_SIZE);
    stele_store_u32le(page + VERSION_AT, STELE_INDEX__VERSION);
    memcpy(page + STORE_ID_AT, header->store_id, sizeof header->store_id);
    stele_store_u64le(page + SEED_CHECK_AT, header->seed_check);
    stele_store_u64le(page + FROM_AT, header->from);
    stele_store_u64le(page + TO_AT, header->to);
    stele_store_u64le(page + KEYS_AT, header->keys);
    stele_store_u64le(page + NAMES_SIZE_AT, header->names_size);
    stele_store_u64le(page + POSTINGS_AT, header->postings);
    stele_store_u64le(page + IDS_AT, header->ids);
    for (size_t space = 0; space < STELE_SPACES; space++) {
        stele_store_u64le(page + NAMES_FIRST_AT + space * 8, header->names_first[space]);
    }
    stele_store_u64le(page + FILE_SIZE_AT, layout.file_size);
    stele_store_u32le(page + FOOTER_CHECKSUM_AT, header->footer_checksum);
    stele_store_u32le(page + CHECKSUM_AT,
                      stele_crc32c((struct stele_bytes){.data = page, .size = CHECKSUM_AT}));
}

/* The checksum has passed, but whoever wrote the file may have meant ill: a count that the file
 * has no room for must not reach the arithmetic of the layout. */
static bool counts_fit(const struct stele_index__header *header, uint64_t file_size)
{
    return header->from < header->to && header->from % 8 == 0 && header->to % 8 == 0 &&
           header->keys < STELE_INDEX__EVENTS_MAX && header->ids < STELE_INDEX__EVENTS_MAX &&
           header->keys <= file_size / STELE_INDEX__KEY_SIZE && header->ids <= file_size / 12 &&
           header->postings <= file_size / 4 && header->names_size <= file_size;
}

int stele_index__header_decode(const uint8_t page[STELE_INDEX__PAGE], uint64_t file_size,
                               struct stele_index__header *out_header,
                               struct stele_index__layout *out_layout)
{
    const uint32_t checksum = stele_crc32c((struct stele_bytes){.data = page, .size = CHECKSUM_AT});
    if (memcmp(page, MAGIC, MAGIC_SIZE) != 0 || stele_load_u32le(page + CHECKSUM_AT) != checksum ||
        stele_load_u32le(page + VERSION_AT) != STELE_INDEX__VERSION) {
        return STELE_E_CORRUPT;
    }
    struct stele_index__header header = {
        .seed_check = stele_load_u64le(page + SEED_CHECK_AT),
        .from = stele_load_u64le(page + FROM_AT),
        .to = stele_load_u64le(page + TO_AT),
        .keys = stele_load_u64le(page + KEYS_AT),
        .names_size = stele_load_u64le(page + NAMES_SIZE_AT),
        .postings = stele_load_u64le(page + POSTINGS_AT),
        .ids = stele_load_u64le(page + IDS_AT),
        .footer_checksum = stele_load_u32le(page + FOOTER_CHECKSUM_AT),
    };
    memcpy(header.store_id, page + STORE_ID_AT, sizeof header.store_id);
    for (size_t space = 0; space < STELE_SPACES; space++) {
        header.names_first[space] = stele_load_u64le(page + NAMES_FIRST_AT + space * 8);
    }
    struct stele_index__layout layout;
    if (!counts_fit(&header, file_size)) {
        return STELE_E_CORRUPT;
    }
    stele_index__layout(&header, &layout);
    if (layout.file_size != file_size || stele_load_u64le(page + FILE_SIZE_AT) != file_size) {
        return STELE_E_CORRUPT;
    }
    *out_header = header;
    *out_layout = layout;
    return STELE_OK;
}

uint64_t stele_index__seed_check(uint64_t seed)
{
    return stele_hash64(stele_bytes_of_text("stele index run"), seed);
}

void stele_index__key_encode(const struct stele_index__key *key,
                             uint8_t bytes[STELE_INDEX__KEY_SIZE])
{
    stele_store_u64le(bytes, key->hash);
    stele_store_u64le(bytes + 8, key->first);
    stele_store_u64le(bytes + 16, key->postings);
    stele_store_u64le(bytes + 24, key->name_offset);
    stele_store_u32le(bytes + 32, key->count);
    stele_store_u16le(bytes + 36, key->name_size);
    bytes[38] = key->space;
    bytes[39] = key->flags;
}

void stele_index__key_decode(const uint8_t bytes[STELE_INDEX__KEY_SIZE],
                             struct stele_index__key *out_key)
{
    *out_key = (struct stele_index__key){
        .hash = stele_load_u64le(bytes),
        .first = stele_load_u64le(bytes + 8),
        .postings = stele_load_u64le(bytes + 16),
        .name_offset = stele_load_u64le(bytes + 24),
        .count = stele_load_u32le(bytes + 32),
        .name_size = stele_load_u16le(bytes + 36),
        .space = bytes[38],
        .flags = bytes[39],
    };
}

/* ---- Filters ---- */

#define PROBES 6
#define PROBE_BITS 9

/* The block is chosen by the hash's upper bits; the probes must not depend on these alone. */
static uint64_t probes_of(uint64_t hash)
{
    const uint64_t mixed = hash * UINT64_C(0x9e3779b97f4a7c15);
    return mixed ^ mixed >> 32;
}

void stele_index__filter_add(uint8_t block[STELE_INDEX__FILTER_BLOCK], uint64_t hash)
{
    uint64_t probes = probes_of(hash);
    for (int i = 0; i < PROBES; i++) {
        const uint32_t bit = probes & ((1u << PROBE_BITS) - 1);
        block[bit / 8] |= (uint8_t)(1u << bit % 8);
        probes >>= PROBE_BITS;
    }
}

bool stele_index__filter_has(const uint8_t block[STELE_INDEX__FILTER_BLOCK], uint64_t hash)
{
    uint64_t probes = probes_of(hash);
    for (int i = 0; i < PROBES; i++) {
        const uint32_t bit = probes & ((1u << PROBE_BITS) - 1);
        if ((block[bit / 8] & 1u << bit % 8) == 0) {
            return false;
        }
        probes >>= PROBE_BITS;
    }
    return true;
}

/* ---- Names of files ---- */

#define HEX_DIGITS 16

void stele_index__file_name(char name[STELE_FILE_NAME_MAX], uint64_t from, uint64_t to,
                            const char *ending)
{
    (void)snprintf(name, STELE_FILE_NAME_MAX, "%016llx-%016llx%s", (unsigned long long)from,
                   (unsigned long long)to, ending);
}

static bool parse_hex(const char *text, uint64_t *out_value)
{
    uint64_t value = 0;
    for (int i = 0; i < HEX_DIGITS; i++) {
        const char c = text[i];
        if (c >= '0' && c <= '9') {
            value = value << 4 | (uint64_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        } else {
            return false;
        }
    }
    *out_value = value;
    return true;
}

bool stele_index__file_name_parse(const char *name, const char *ending, uint64_t *out_from,
                                  uint64_t *out_to)
{
    return strlen(name) == 2 * HEX_DIGITS + 1 + strlen(ending) && parse_hex(name, out_from) &&
           name[HEX_DIGITS] == '-' && parse_hex(name + HEX_DIGITS + 1, out_to) &&
           strcmp(name + 2 * HEX_DIGITS + 1, ending) == 0;
}
