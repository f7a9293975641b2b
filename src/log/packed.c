/* Packed segments: what is left of a sealed segment, every byte at the place it always had.
 *
 *     header | block | block | … | table | footer
 *
 * The header is that of a plain segment with another magic. A block holds entries, perhaps
 * compressed as a whole:
 *
 *     offset  size  field of a block
 *          0     4  checksum     CRC-32C of the store's secret, then of bytes 4 … of the block,
 *                                padding included
 *          4     4  stored_size  bytes of entries as they are stored here
 *          8     4  raw_size     bytes of entries
 *         12     1  codec        0 as they are; 1 zstd
 *         13     3  zeros
 *         16     8  place        of the first entry
 *         24        entries, zeros up to a multiple of 8
 *
 *     offset  size  field of an entry, at a multiple of 8, by ascending place
 *          0     8  place
 *          8     4  size         bytes that follow this header, a multiple of 8
 *         12     1  kind         1 bytes of the log from place on, cut between records only
 *                                2 a frame that lost events: its header (64), the SHA-256 of all
 *                                  of it as it was (32), the checksums of all its records (4 each,
 *                                  padded to 8). What is left of its records follows as kind 1
 *         13     3  zeros
 *
 *     offset  size  field of a table entry, one per block
 *          0     8  place        of the first entry of the block
 *          8     8  offset       of the block in the file
 *         16     8  frame        place of the frame that the first entry belongs to
 *         24     8  position     the last one before this block
 *         32     4  checksum     of the block
 *         36     4  stored_size
 *
 *     offset  size  field of the footer, the last 64 bytes of the file
 *          0     4  checksum     CRC-32C of the secret, then of the table, then of bytes 4 … 63
 *          4     4  version      1
 *          8     8  magic        "STELEEND"
 *         16     8  base         of the segment
 *         24     8  end          place where its frames end
 *         32     8  blocks
 *         40     8  table        its offset in the file
 *         48     8  events kept
 *         56     8  events removed
 *
 * This file reads; pack.c writes. */
#include "base/checksum.h"
#include "log/log_internal.h"

#include <zstd.h>

static const uint8_t footer_magic[8] = {'S', 'T', 'E', 'L', 'E', 'E', 'N', 'D'};

#define FOOTER_VERSION 1

/* ---- Encoding ---- */

static uint32_t block_checksum(const uint8_t *block, uint32_t seed, uint32_t stored_size)
{
    const size_t size =
        STELE_LOG__BLOCK_HEADER_SIZE + (size_t)stele_align_up(stored_size, STELE_RECORD_ALIGN);
    return stele_crc32c_extend(seed, (struct stele_bytes){.data = block + 4, .size = size - 4});
}

uint32_t stele_log__block_encode(uint8_t *block, uint32_t seed, uint64_t place,
                                 uint32_t stored_size, uint32_t raw_size, uint8_t codec)
{
    memset(block, 0, STELE_LOG__BLOCK_HEADER_SIZE);
    stele_store_u32le(block + 4, stored_size);
    stele_store_u32le(block + 8, raw_size);
    block[12] = codec;
    stele_store_u64le(block + 16, place);
    const uint32_t checksum = block_checksum(block, seed, stored_size);
    stele_store_u32le(block, checksum);
    return checksum;
}

void stele_log__entry_encode(uint8_t *buffer, uint64_t place, uint32_t size, uint8_t kind)
{
    STELE_ASSERT(size % STELE_RECORD_ALIGN == 0);
    memset(buffer, 0, STELE_LOG__ENTRY_HEADER_SIZE);
    stele_store_u64le(buffer, place);
    stele_store_u32le(buffer + 8, size);
    buffer[12] = kind;
}

void stele_log__table_entry_encode(uint8_t *buffer, const struct stele_log__block *block)
{
    stele_store_u64le(buffer, block->place);
    stele_store_u64le(buffer + 8, block->offset);
    stele_store_u64le(buffer + 16, block->frame_place);
    stele_store_u64le(buffer + 24, block->position_before);
    stele_store_u32le(buffer + 32, block->checksum);
    stele_store_u32le(buffer + 36, block->stored_size);
}

static uint32_t footer_checksum(const uint8_t *footer, uint32_t seed, struct stele_bytes table)
{
    return stele_crc32c_extend(
        stele_crc32c_extend(seed, table),
        (struct stele_bytes){.data = footer + 4, .size = STELE_LOG__FOOTER_SIZE - 4});
}

void stele_log__footer_encode(uint8_t *buffer, uint32_t seed, struct stele_bytes table,
                              const struct stele_log__footer *footer)
{
    STELE_ASSERT(table.size == footer->blocks * STELE_LOG__TABLE_ENTRY_SIZE);
    stele_store_u32le(buffer + 4, FOOTER_VERSION);
    memcpy(buffer + 8, footer_magic, sizeof footer_magic);
    stele_store_u64le(buffer + 16, footer->base);
    stele_store_u64le(buffer + 24, footer->end);
    stele_store_u64le(buffer + 32, footer->blocks);
    stele_store_u64le(buffer + 40, footer->table_offset);
    stele_store_u64le(buffer + 48, footer->events_kept);
    stele_store_u64le(buffer + 56, footer->events_removed);
    stele_store_u32le(buffer, footer_checksum(buffer, seed, table));
}

/* ---- Table and footer ---- */

static void load_footer(const struct stele_log_segment *segment, struct stele_log__footer *out)
{
    const uint8_t *const footer = segment->data + segment->size - STELE_LOG__FOOTER_SIZE;
    out->base = stele_load_u64le(footer + 16);
    out->end = stele_load_u64le(footer + 24);
    out->blocks = stele_load_u64le(footer + 32);
    out->table_offset = stele_load_u64le(footer + 40);
    out->events_kept = stele_load_u64le(footer + 48);
    out->events_removed = stele_load_u64le(footer + 56);
}

static const uint8_t *table_entry(const struct stele_log_segment *segment,
                                  const struct stele_log__footer *footer, uint64_t index)
{
    STELE_ASSERT(index < footer->blocks);
    return segment->data + footer->table_offset + index * STELE_LOG__TABLE_ENTRY_SIZE;
}

static void load_block(const struct stele_log_segment *segment,
                       const struct stele_log__footer *footer, uint64_t index,
                       struct stele_log__block *out_block)
{
    const uint8_t *const entry = table_entry(segment, footer, index);
    out_block->place = stele_load_u64le(entry);
    out_block->offset = stele_load_u64le(entry + 8);
    out_block->frame_place = stele_load_u64le(entry + 16);
    out_block->position_before = stele_load_u64le(entry + 24);
    out_block->checksum = stele_load_u32le(entry + 32);
    out_block->stored_size = stele_load_u32le(entry + 36);
}

/* Whoever has found a table to be the one that was written may still meet one that nobody would
 * write, should the checksum be fooled: places then at least are places, and in order. */
static bool table_makes_sense(const struct stele_log_segment *segment,
                              const struct stele_log__footer *footer)
{
    uint64_t place_min = segment->base;
    for (uint64_t index = 0; index < footer->blocks; index++) {
        struct stele_log__block block;
        load_block(segment, footer, index, &block);
        if (block.place < place_min || block.place % STELE_RECORD_ALIGN != 0 ||
            block.place >= footer->end || block.frame_place > block.place ||
            block.frame_place < segment->base || block.frame_place % STELE_RECORD_ALIGN != 0) {
            return false;
        }
        place_min = block.place + STELE_RECORD_ALIGN;
    }
    return footer->end >= segment->base && footer->end % STELE_RECORD_ALIGN == 0 &&
           footer->end <= UINT64_MAX / 2;
}

static const char *const bad_table = "the block table of the packed segment does not verify";

static int verify_table(const struct stele_log_view *view, const struct stele_log_segment *segment,
                        struct stele_log__footer *out_footer, const char **out_what)
{
    *out_what = bad_table;
    const uint64_t header_size = view->identity.header_size;
    if (segment->size < header_size + STELE_LOG__FOOTER_SIZE) {
        return STELE_E_CORRUPT;
    }
    const uint64_t footer_at = segment->size - STELE_LOG__FOOTER_SIZE;
    const uint8_t *const footer = segment->data + footer_at;
    load_footer(segment, out_footer);
    if (out_footer->table_offset < header_size || out_footer->table_offset > footer_at ||
        out_footer->blocks !=
            (footer_at - out_footer->table_offset) / STELE_LOG__TABLE_ENTRY_SIZE ||
        (footer_at - out_footer->table_offset) % STELE_LOG__TABLE_ENTRY_SIZE != 0) {
        return STELE_E_CORRUPT;
    }
    const struct stele_bytes table = {.data = segment->data + out_footer->table_offset,
                                      .size = (size_t)(footer_at - out_footer->table_offset)};
    if (stele_load_u32le(footer) != footer_checksum(footer, view->identity.seed, table) ||
        memcmp(footer + 8, footer_magic, sizeof footer_magic) != 0 ||
        out_footer->base != segment->base) {
        return STELE_E_CORRUPT;
    }
    if (stele_load_u32le(footer + 4) != FOOTER_VERSION) {
        *out_what = "the packed segment was written by a newer version";
        return STELE_E_CORRUPT;
    }
    return table_makes_sense(segment, out_footer) ? STELE_OK : STELE_E_CORRUPT;
}

static int get_footer(const struct stele_log_view *view, struct stele_log_segment *segment,
                      struct stele_log__footer *out_footer, const char **out_what)
{
    if (atomic_load_explicit(&segment->table_state, memory_order_acquire) == STELE_LOG__INTACT) {
        load_footer(segment, out_footer);
        return STELE_OK;
    }
    const int outcome = verify_table(view, segment, out_footer, out_what);
    if (outcome == STELE_OK) {
        atomic_store_explicit(&segment->table_state, STELE_LOG__INTACT, memory_order_release);
    }
    return outcome;
}

#define TABLE_PLACE_AT 0
#define TABLE_FRAME_AT 16
#define TABLE_POSITION_AT 24

/* The last block whose field is below the bound; 0 if none is. There is at least one block. */
static uint64_t bisect(const struct stele_log_segment *segment,
                       const struct stele_log__footer *footer, size_t field, uint64_t bound)
{
    uint64_t low = 0;
    uint64_t count = footer->blocks;
    while (count > 1) {
        const uint64_t half = count / 2;
        const uint8_t *const entry = table_entry(segment, footer, low + half);
        low += stele_load_u64le(entry + field) < bound ? half : 0;
        count -= half;
    }
    return low;
}

int stele_log__packed_end(const struct stele_log_view *view, struct stele_log_segment *segment,
                          uint64_t *out_end, const char **out_what)
{
    struct stele_log__footer footer;
    const int outcome = get_footer(view, segment, &footer, out_what);
    if (outcome == STELE_OK) {
        *out_end = footer.end;
    }
    return outcome;
}

int stele_log__packed_bisect(struct stele_log_reader *reader, struct stele_log_segment *segment,
                             uint64_t key, bool is_place, uint64_t *out_place)
{
    struct stele_log__footer footer;
    const char *what = NULL;
    if (get_footer(reader->view, segment, &footer, &what) != STELE_OK) {
        return stele_log__damage(reader, segment, segment->size, segment->base, what);
    }
    *out_place = segment->base;
    if (footer.blocks > 0) {
        const uint64_t index =
            bisect(segment, &footer, is_place ? TABLE_FRAME_AT : TABLE_POSITION_AT, key);
        const uint64_t place =
            stele_load_u64le(table_entry(segment, &footer, index) + TABLE_FRAME_AT);
        if (!is_place || place < key) {
            *out_place = place;
        }
    }
    return STELE_OK;
}

/* ---- Blocks ---- */

static bool was_seen(const struct stele_log_segment *segment, uint64_t index)
{
    const uint64_t word = index / 64;
    return word < segment->blocks_seen_words &&
           (atomic_load_explicit(&segment->blocks_seen[word], memory_order_acquire) >>
                (index % 64) &
            1) != 0;
}

static void note_seen(const struct stele_log_segment *segment, uint64_t index)
{
    const uint64_t word = index / 64;
    if (word < segment->blocks_seen_words) {
        (void)atomic_fetch_or_explicit(&segment->blocks_seen[word], UINT64_C(1) << (index % 64),
                                       memory_order_release);
    }
}

/* Is the block where the table says, with the bytes that were written? */
static bool block_is_intact(const struct stele_log_view *view,
                            const struct stele_log_segment *segment,
                            const struct stele_log__footer *footer,
                            const struct stele_log__block *block)
{
    const uint64_t size =
        STELE_LOG__BLOCK_HEADER_SIZE + stele_align_up(block->stored_size, STELE_RECORD_ALIGN);
    if (block->offset < view->identity.header_size || block->offset > footer->table_offset ||
        size > footer->table_offset - block->offset) {
        return false;
    }
    const uint8_t *const data = segment->data + block->offset;
    return stele_load_u32le(data + 4) == block->stored_size &&
           stele_load_u32le(data) == block->checksum &&
           block_checksum(data, view->identity.seed, block->stored_size) == block->checksum &&
           stele_load_u64le(data + 16) == block->place;
}

/* Unpacks into reader->block. */
static int unpack(struct stele_log_reader *reader, const uint8_t *data, uint32_t stored_size,
                  uint32_t raw_size)
{
    if (raw_size > STELE_LOG__BLOCK_SIZE_MAX) {
        return STELE_E_CORRUPT;
    }
    if (reader->unpacker == NULL) {
        reader->unpacker = ZSTD_createDCtx();
    }
    reader->block.size = 0;
    if (reader->unpacker == NULL ||
        stele_buf_reserve(&reader->block, reader->alloc, raw_size) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    const size_t size = ZSTD_decompressDCtx(reader->unpacker, reader->block.data,
                                            reader->block.capacity, data, stored_size);
    if (ZSTD_isError(size) || size != raw_size) {
        return STELE_E_CORRUPT;
    }
    reader->block.size = size;
    reader->entries = (struct stele_bytes){.data = reader->block.data, .size = size};
    return STELE_OK;
}

/* Makes block number index the one at hand. */
static int open_block(struct stele_log_reader *reader, struct stele_log_segment *segment,
                      const struct stele_log__footer *footer, uint64_t index,
                      const struct stele_log__block *block)
{
    if (reader->block_segment == segment && reader->block_index == index) {
        return STELE_OK;
    }
    reader->block_segment = NULL;
    bool intact = was_seen(segment, index);
    if (!intact) {
        intact = block_is_intact(reader->view, segment, footer, block);
    }
    if (!intact) {
        return STELE_E_CORRUPT;
    }
    const uint8_t *const data = segment->data + block->offset;
    const uint32_t raw_size = stele_load_u32le(data + 8);
    const uint8_t codec = data[12];
    const uint8_t *const stored = data + STELE_LOG__BLOCK_HEADER_SIZE;
    int outcome = STELE_E_CORRUPT;
    if (codec == STELE_LOG__BLOCK_RAW && raw_size == block->stored_size) {
        note_seen(segment, index);
        reader->entries = (struct stele_bytes){.data = stored, .size = raw_size};
        outcome = STELE_OK;
    } else if (codec == STELE_LOG__BLOCK_ZSTD) {
        outcome = unpack(reader, stored, block->stored_size, raw_size);
    }
    if (outcome == STELE_OK) {
        reader->block_segment = segment;
        reader->block_index = index;
        reader->entry_at = 0;
    }
    return outcome;
}

bool stele_log__packed_is_at_hand(const struct stele_log_reader *reader,
                                  struct stele_log_segment *segment, uint64_t place)
{
    if (reader->block_segment != segment) {
        return false;
    }
    struct stele_log__footer footer;
    load_footer(segment, &footer); /* Verified when the block was opened. */
    return bisect(segment, &footer, TABLE_PLACE_AT, place + 1) == reader->block_index;
}

/* The entry at offset at of the block at hand. false: no entry can lie there. */
static bool load_entry(const struct stele_log_reader *reader, size_t at,
                       struct stele_log__piece *out_piece, size_t *out_next)
{
    const size_t rest = reader->entries.size - at;
    if (rest < STELE_LOG__ENTRY_HEADER_SIZE) {
        return false;
    }
    const uint8_t *const entry = reader->entries.data + at;
    const uint32_t size = stele_load_u32le(entry + 8);
    const uint8_t kind = entry[12];
    const uint32_t size_min =
        kind == STELE_LOG__ENTRY_REDUCED ? STELE_LOG__REDUCED_CHECKSUMS_AT : STELE_RECORD_ALIGN;
    if (size % STELE_RECORD_ALIGN != 0 || size > rest - STELE_LOG__ENTRY_HEADER_SIZE ||
        size < size_min || kind < STELE_LOG__ENTRY_BYTES || kind > STELE_LOG__ENTRY_REDUCED) {
        return false;
    }
    const uint64_t place = stele_load_u64le(entry);
    if (place % STELE_RECORD_ALIGN != 0 || place > UINT64_MAX / 2) {
        return false;
    }
    out_piece->reduced = kind == STELE_LOG__ENTRY_REDUCED;
    out_piece->place = place;
    out_piece->bytes =
        (struct stele_bytes){.data = entry + STELE_LOG__ENTRY_HEADER_SIZE, .size = size};
    *out_next = at + STELE_LOG__ENTRY_HEADER_SIZE + size;
    return true;
}

/* Finds the entry in the block at hand. STELE_END: all of them end at or below place. */
static int find_entry(struct stele_log_reader *reader, uint64_t place,
                      struct stele_log__piece *out_piece)
{
    /* Mostly the place is at or a little behind the last one asked for. */
    struct stele_log__piece piece;
    size_t next = 0;
    size_t at = reader->entry_at;
    if (at > 0 && (!load_entry(reader, at, &piece, &next) || piece.place > place)) {
        at = 0;
    }
    while (at < reader->entries.size) {
        if (!load_entry(reader, at, &piece, &next)) {
            return STELE_E_CORRUPT;
        }
        const uint64_t end =
            piece.place + (piece.reduced ? STELE_FRAME_HEADER_SIZE : piece.bytes.size);
        if (end > place) {
            if (!piece.reduced && piece.place < place) {
                const size_t skip = (size_t)(place - piece.place);
                piece.bytes = stele_bytes_slice(piece.bytes, skip, piece.bytes.size - skip);
                piece.place = place;
            }
            *out_piece = piece;
            reader->entry_at = at;
            return STELE_OK;
        }
        at = next;
    }
    return STELE_END;
}

int stele_log__packed_find(struct stele_log_reader *reader, struct stele_log_segment *segment,
                           uint64_t place, struct stele_log__piece *out_piece, uint64_t *out_resume)
{
    struct stele_log__footer footer;
    const char *what = NULL;
    uint64_t resume = UINT64_MAX;
    if (get_footer(reader->view, segment, &footer, &what) != STELE_OK) {
        if (out_resume != NULL) {
            *out_resume = resume;
        }
        return stele_log__damage(reader, segment, segment->size, place, what);
    }
    if (footer.blocks == 0) {
        return STELE_END;
    }
    const uint64_t index = bisect(segment, &footer, TABLE_PLACE_AT, place + 1);
    struct stele_log__block block;
    load_block(segment, &footer, index, &block);
    if (index + 1 < footer.blocks) {
        resume = stele_load_u64le(table_entry(segment, &footer, index + 1) + TABLE_PLACE_AT);
        STELE_ASSERT(resume > place);
    }
    int outcome = open_block(reader, segment, &footer, index, &block);
    if (outcome == STELE_OK) {
        outcome = find_entry(reader, place, out_piece);
        if (outcome == STELE_OK) {
            out_piece->offset = block.offset;
        }
    }
    if (outcome == STELE_E_CORRUPT) {
        if (out_resume != NULL) {
            *out_resume = resume;
        }
        return stele_log__damage(reader, segment, block.offset, place,
                                 "a block of the packed segment does not verify");
    }
    if (outcome == STELE_END && resume != UINT64_MAX) {
        *out_piece = (struct stele_log__piece){.place = resume, .offset = block.offset};
        return STELE_OK;
    }
    return outcome;
}

bool stele_log__packed_is_whole(const struct stele_log_view *view,
                                struct stele_log_segment *segment)
{
    struct stele_log__facts facts;
    struct stele_log__footer footer;
    const char *what = NULL;
    if (stele_log__segment_facts(view, segment, &facts, &what) != STELE_OK ||
        get_footer(view, segment, &footer, &what) != STELE_OK) {
        return false;
    }
    uint64_t offset = view->identity.header_size;
    for (uint64_t index = 0; index < footer.blocks; index++) {
        struct stele_log__block block;
        load_block(segment, &footer, index, &block);
        if (block.offset != offset || !block_is_intact(view, segment, &footer, &block)) {
            return false;
        }
        offset +=
            STELE_LOG__BLOCK_HEADER_SIZE + stele_align_up(block.stored_size, STELE_RECORD_ALIGN);
    }
    return offset == footer.table_offset;
}

void stele_log__packed_deinit(struct stele_log_reader *reader)
{
    (void)ZSTD_freeDCtx(reader->unpacker);
    reader->unpacker = NULL;
    stele_buf_deinit(&reader->block, reader->alloc);
    reader->block_segment = NULL;
}
