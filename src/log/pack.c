/* Packing: rewriting a sealed segment without the events that nobody keeps, perhaps compressed.
 *
 * Two passes over the segment: the first verifies everything and asks which events stay, the
 * second writes. So nothing is written for a segment with nothing to gain, and damage is never
 * packed: the segment then stays as it is, with what can still be read of it. */
#include "base/checksum.h"
#include "log/log_internal.h"

#include <zstd.h>

#define COMPRESSION_LEVEL 3
/* Entries of a block end here, unless a single record is larger. Compressed blocks are larger,
 * because there is more to find in them and they have to be unpacked anyway. */
#define BLOCK_SIZE_RAW ((size_t)64 * 1024)
#define BLOCK_SIZE_ZSTD ((size_t)128 * 1024)

struct packer {
    struct stele_log_reader *reader;
    struct stele_log_segment *segment;
    struct stele_alloc *alloc;
    stele_log_keep_callback keep;
    void *keep_context;
    int (*on_bytes)(void *context, uint64_t bytes);
    void *on_bytes_context;
    struct stele_error *err;

    /* The first pass. One bit per event that was there: does it stay? */
    struct stele_buf bits;
    uint64_t events;
    uint64_t events_removed;
    uint64_t end; /* Of the frames. */

    /* The second pass. */
    struct stele_file *file;
    uint64_t offset; /* Bytes written to file. */
    uint64_t bit;
    size_t block_size;
    struct stele_buf block;  /* The header's room, then entries. */
    size_t run_at;           /* Of the entry that may go on growing; 0: none. */
    uint64_t run_end;        /* Place behind it. */
    uint64_t block_frame;    /* Of the block's first entry. */
    uint64_t block_position; /* Last one before the block. */
    uint64_t frame_place;
    uint64_t position;
    ZSTD_CCtx *compressor; /* NULL: blocks stay as they are. */
    struct stele_buf compressed;
    struct stele_buf table;
    struct stele_log__sha sha;
};

static int no_memory(const struct packer *packer)
{
    return stele_fail(packer->err, STELE_E_NO_MEMORY, 0, "packing: no memory");
}

/* ---- Both passes walk alike ---- */

typedef int (*frame_callback)(struct packer *packer, const struct stele_log__loaded *loaded);

static int for_each_frame(struct packer *packer, frame_callback on_frame)
{
    struct stele_log_reader *const reader = packer->reader;
    uint64_t place = packer->segment->base;
    for (;;) {
        struct stele_log__spot spot;
        int outcome = stele_log__enter(reader, place, packer->segment->base, &spot);
        if (outcome == STELE_OK && spot.segment == packer->segment) {
            uint64_t resume = 0;
            outcome = stele_log__load(reader, &spot, &resume);
        } else if (outcome == STELE_OK || outcome == STELE_END || spot.place > place) {
            /* At another segment, whatever is the matter with that one. */
            packer->end = place;
            return STELE_OK;
        }
        if (outcome == STELE_E_CORRUPT) {
            return stele_fail(packer->err, outcome, 0, "%s, offset %llu: %s", reader->damage.file,
                              (unsigned long long)reader->damage.offset, reader->damage.what);
        }
        if (outcome == STELE_OK) {
            outcome = on_frame(packer, reader->loaded);
        }
        if (outcome == STELE_E_NO_MEMORY) {
            return no_memory(packer);
        }
        if (outcome != STELE_OK) {
            return outcome == STELE_END ? STELE_E_CORRUPT : outcome;
        }
        place = stele_log__frame_end(&reader->loaded->frame);
    }
}

/* ---- The first pass ---- */

static int decide(struct packer *packer, const struct stele_log__loaded *loaded)
{
    for (size_t index = 0; index < loaded->spans_count; index++) {
        const struct stele_log__span *const span = &stele_log__loaded_spans(loaded)[index];
        struct stele_event event;
        size_t size = 0;
        const int decoded = stele_record_decode_trusted(
            stele_bytes_slice(loaded->bytes, span->offset, span->size), &event, &size);
        STELE_ASSERT(decoded == STELE_OK);
        const bool kept = packer->keep == NULL || packer->keep(packer->keep_context, &event);
        if (packer->events % 8 == 0) {
            const uint8_t zero = 0;
            const int outcome = stele_buf_append(&packer->bits, packer->alloc,
                                                 (struct stele_bytes){.data = &zero, .size = 1});
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
        const uint8_t bit = (uint8_t)(kept ? 1U << (packer->events % 8) : 0U);
        packer->bits.data[packer->events / 8] |= bit;
        packer->events++;
        packer->events_removed += kept ? 0 : 1;
    }
    return STELE_OK;
}

static bool is_kept(const struct packer *packer, uint64_t event)
{
    STELE_ASSERT(event < packer->events);
    return ((uint32_t)packer->bits.data[event / 8] >> (event % 8) & 1U) != 0;
}

/* ---- Writing ---- */

static int write_bytes(struct packer *packer, struct stele_bytes bytes)
{
    const struct stele_io_ops *const ops = packer->file->io->ops;
    const int outcome = ops->write(packer->file, packer->offset, bytes, packer->err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    packer->offset += bytes.size;
    if (packer->on_bytes != NULL && packer->on_bytes(packer->on_bytes_context, bytes.size) != 0) {
        return stele_fail(packer->err, STELE_E_CLOSED, 0, "packing was stopped");
    }
    return STELE_OK;
}

static int begin_block(struct packer *packer)
{
    static const uint8_t zeros[STELE_LOG__BLOCK_HEADER_SIZE];
    packer->block.size = 0;
    packer->run_at = 0;
    return stele_buf_append(&packer->block, packer->alloc,
                            (struct stele_bytes){.data = zeros, .size = sizeof zeros});
}

/* The entries of the block, compressed if that makes them smaller, behind room for the header. */
static int compress_block(struct packer *packer, size_t raw_size, size_t *out_size)
{
    const size_t bound = ZSTD_compressBound(raw_size);
    packer->compressed.size = 0;
    const int outcome =
        stele_buf_reserve(&packer->compressed, packer->alloc, STELE_LOG__BLOCK_HEADER_SIZE + bound);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const size_t size = ZSTD_compressCCtx(
        packer->compressor, packer->compressed.data + STELE_LOG__BLOCK_HEADER_SIZE, bound,
        packer->block.data + STELE_LOG__BLOCK_HEADER_SIZE, raw_size, COMPRESSION_LEVEL);
    if (ZSTD_isError(size)) {
        return STELE_E_NO_MEMORY; /* The room is enough: nothing else can be missing. */
    }
    *out_size = size;
    return STELE_OK;
}

static int end_block(struct packer *packer)
{
    const size_t raw_size = packer->block.size - STELE_LOG__BLOCK_HEADER_SIZE;
    if (raw_size == 0) {
        return STELE_OK;
    }
    STELE_ASSERT(raw_size <= STELE_LOG__BLOCK_SIZE_MAX);
    struct stele_buf *stored = &packer->block;
    size_t stored_size = raw_size;
    uint8_t codec = STELE_LOG__BLOCK_RAW;
    const uint64_t place = stele_load_u64le(packer->block.data + STELE_LOG__BLOCK_HEADER_SIZE);
    if (packer->compressor != NULL) {
        size_t compressed_size = 0;
        const int outcome = compress_block(packer, raw_size, &compressed_size);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (compressed_size < raw_size) {
            stored = &packer->compressed;
            stored_size = compressed_size;
            codec = STELE_LOG__BLOCK_ZSTD;
        }
    }
    /* The bound of the compressor leaves room for the padding, too. */
    const size_t padded = (size_t)stele_align_up(stored_size, STELE_RECORD_ALIGN);
    STELE_ASSERT(STELE_LOG__BLOCK_HEADER_SIZE + padded <= stored->capacity);
    memset(stored->data + STELE_LOG__BLOCK_HEADER_SIZE + stored_size, 0, padded - stored_size);
    const struct stele_log__block block = {
        .place = place,
        .offset = packer->offset,
        .frame_place = packer->block_frame,
        .position_before = packer->block_position,
        .checksum =
            stele_log__block_encode(stored->data, packer->reader->view->identity.seed, place,
                                    (uint32_t)stored_size, (uint32_t)raw_size, codec),
        .stored_size = (uint32_t)stored_size,
    };
    uint8_t entry[STELE_LOG__TABLE_ENTRY_SIZE];
    stele_log__table_entry_encode(entry, &block);
    int outcome = stele_buf_append(&packer->table, packer->alloc,
                                   (struct stele_bytes){.data = entry, .size = sizeof entry});
    if (outcome == STELE_OK) {
        outcome = write_bytes(packer,
                              (struct stele_bytes){.data = stored->data,
                                                   .size = STELE_LOG__BLOCK_HEADER_SIZE + padded});
    }
    return outcome == STELE_OK ? begin_block(packer) : outcome;
}

/* Makes room for size bytes more in this block, or begins the next one. */
static int make_room(struct packer *packer, size_t size)
{
    const size_t used = packer->block.size - STELE_LOG__BLOCK_HEADER_SIZE;
    if (used > 0 && used + STELE_LOG__ENTRY_HEADER_SIZE + size > packer->block_size) {
        const int outcome = end_block(packer);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    if (packer->block.size == STELE_LOG__BLOCK_HEADER_SIZE) {
        packer->block_frame = packer->frame_place;
        packer->block_position = packer->position;
    }
    return STELE_OK;
}

static int add_entry(struct packer *packer, uint64_t place, uint32_t size, uint8_t kind)
{
    uint8_t header[STELE_LOG__ENTRY_HEADER_SIZE];
    stele_log__entry_encode(header, place, size, kind);
    return stele_buf_append(&packer->block, packer->alloc,
                            (struct stele_bytes){.data = header, .size = sizeof header});
}

/* Bytes of the log that must not be cut. */
static int add_bytes(struct packer *packer, uint64_t place, struct stele_bytes bytes)
{
    int outcome = make_room(packer, bytes.size);
    if (outcome == STELE_OK && (packer->run_at == 0 || packer->run_end != place)) {
        packer->run_at = packer->block.size;
        outcome = add_entry(packer, place, 0, STELE_LOG__ENTRY_BYTES);
    }
    if (outcome == STELE_OK) {
        outcome = stele_buf_append(&packer->block, packer->alloc, bytes);
    }
    if (outcome == STELE_OK) {
        uint8_t *const size_at = packer->block.data + packer->run_at + 8;
        stele_store_u32le(size_at, stele_load_u32le(size_at) + (uint32_t)bytes.size);
        packer->run_end = place + bytes.size;
    }
    return outcome;
}

/* ---- The second pass ---- */

static int add_reduced(struct packer *packer, const struct stele_log__loaded *loaded,
                       const uint8_t hash[32], struct stele_bytes checksums)
{
    static const uint8_t zeros[STELE_RECORD_ALIGN];
    const size_t padded = (size_t)stele_align_up(checksums.size, STELE_RECORD_ALIGN);
    const size_t size = STELE_LOG__REDUCED_CHECKSUMS_AT + padded;
    int outcome = make_room(packer, size);
    packer->run_at = 0;
    if (outcome == STELE_OK) {
        outcome = add_entry(packer, loaded->frame.place, (uint32_t)size, STELE_LOG__ENTRY_REDUCED);
    }
    const struct stele_bytes parts[] = {
        {.data = loaded->header, .size = sizeof loaded->header},
        {.data = hash, .size = 32},
        checksums,
        {.data = zeros, .size = padded - checksums.size},
    };
    for (size_t index = 0; outcome == STELE_OK && index < STELE_COUNT_OF(parts); index++) {
        outcome = stele_buf_append(&packer->block, packer->alloc, parts[index]);
    }
    return outcome;
}

/* A frame that was whole and now loses events: its hash and the checksums of all its records. */
static int add_newly_reduced(struct packer *packer, const struct stele_log__loaded *loaded)
{
    uint8_t hash[32];
    if (!stele_log__sha_frame(
            &packer->sha,
            (struct stele_bytes){.data = loaded->header, .size = sizeof loaded->header},
            loaded->bytes, hash)) {
        return STELE_E_NO_MEMORY;
    }
    struct stele_buf checksums = {0};
    int outcome = STELE_OK;
    for (size_t index = 0; outcome == STELE_OK && index < loaded->spans_count; index++) {
        const struct stele_log__span *const span = &stele_log__loaded_spans(loaded)[index];
        outcome = stele_buf_append(&checksums, packer->alloc,
                                   stele_bytes_slice(loaded->bytes, span->offset, 4));
    }
    if (outcome == STELE_OK) {
        outcome = add_reduced(packer, loaded, hash,
                              (struct stele_bytes){.data = checksums.data, .size = checksums.size});
    }
    stele_buf_deinit(&checksums, packer->alloc);
    return outcome;
}

static bool loses_events(const struct packer *packer, const struct stele_log__loaded *loaded)
{
    for (size_t index = 0; index < loaded->spans_count; index++) {
        if (!is_kept(packer, packer->bit + index)) {
            return true;
        }
    }
    return false;
}

static int write_frame(struct packer *packer, const struct stele_log__loaded *loaded)
{
    packer->frame_place = loaded->frame.place;
    int outcome = STELE_OK;
    if (loaded->reduced) {
        outcome = add_reduced(
            packer, loaded, loaded->hash,
            (struct stele_bytes){.data = loaded->checksums.data, .size = loaded->checksums.size});
    } else if (loses_events(packer, loaded)) {
        outcome = add_newly_reduced(packer, loaded);
    } else {
        outcome =
            add_bytes(packer, loaded->frame.place,
                      (struct stele_bytes){.data = loaded->header, .size = sizeof loaded->header});
    }
    if (outcome == STELE_OK && loaded->frame.kind != STELE_FRAME_EVENTS && loaded->bytes.size > 0) {
        return add_bytes(packer, loaded->frame.place + STELE_FRAME_HEADER_SIZE, loaded->bytes);
    }
    for (size_t index = 0; outcome == STELE_OK && index < loaded->spans_count; index++) {
        if (!is_kept(packer, packer->bit++)) {
            continue;
        }
        const struct stele_log__span *const span = &stele_log__loaded_spans(loaded)[index];
        const struct stele_bytes record =
            stele_bytes_slice(loaded->bytes, span->offset, span->size);
        struct stele_event event;
        size_t size = 0;
        const int decoded = stele_record_decode_trusted(record, &event, &size);
        STELE_ASSERT(decoded == STELE_OK);
        outcome = add_bytes(packer, span->place, record);
        packer->position = event.position;
    }
    return outcome;
}

static int write_header(struct packer *packer, const struct stele_log__facts *facts)
{
    const struct stele_log__identity *const identity = &packer->reader->view->identity;
    const size_t partitions_size = identity->partitions * sizeof(struct stele_log_partition);
    struct stele_log_partition *const partitions = stele_allocate(packer->alloc, partitions_size);
    uint8_t *const header = stele_allocate(packer->alloc, identity->header_size);
    int outcome = STELE_E_NO_MEMORY;
    if (partitions != NULL && header != NULL) {
        for (uint32_t index = 0; index < identity->partitions; index++) {
            stele_log__header_partition(packer->segment->data, index, &partitions[index]);
        }
        stele_log__header_encode(header, identity, facts, partitions, true);
        outcome = write_bytes(packer,
                              (struct stele_bytes){.data = header, .size = identity->header_size});
    }
    stele_release(packer->alloc, partitions, partitions_size);
    stele_release(packer->alloc, header, identity->header_size);
    return outcome;
}

static int write_table(struct packer *packer)
{
    const struct stele_log__footer footer = {
        .base = packer->segment->base,
        .end = packer->end,
        .blocks = packer->table.size / STELE_LOG__TABLE_ENTRY_SIZE,
        .table_offset = packer->offset,
        .events_kept = packer->events - packer->events_removed,
        .events_removed = packer->events_removed,
    };
    uint8_t bytes[STELE_LOG__FOOTER_SIZE];
    const struct stele_bytes table = {.data = packer->table.data, .size = packer->table.size};
    stele_log__footer_encode(bytes, packer->reader->view->identity.seed, table, &footer);
    const int outcome = stele_buf_append(&packer->table, packer->alloc,
                                         (struct stele_bytes){.data = bytes, .size = sizeof bytes});
    return outcome != STELE_OK
               ? outcome
               : write_bytes(packer, (struct stele_bytes){.data = packer->table.data,
                                                          .size = packer->table.size});
}

static int write_file(struct packer *packer, const struct stele_log__facts *facts)
{
    packer->position = facts->position_before;
    int outcome = begin_block(packer);
    if (outcome == STELE_OK) {
        outcome = write_header(packer, facts);
    }
    if (outcome == STELE_OK) {
        outcome = for_each_frame(packer, write_frame);
    }
    if (outcome == STELE_OK) {
        outcome = end_block(packer);
    }
    if (outcome == STELE_OK) {
        outcome = write_table(packer);
    }
    if (outcome == STELE_OK) {
        outcome = packer->file->io->ops->sync(packer->file, packer->err);
    }
    return outcome == STELE_E_NO_MEMORY ? no_memory(packer) : outcome;
}

/* ---- The face ---- */

static int pack(struct packer *packer, bool compress, struct stele_log_pack_result *result)
{
    struct stele_io *const io = packer->reader->view->io;
    struct stele_log__facts facts;
    const char *what = NULL;
    int outcome = stele_log__segment_facts(packer->reader->view, packer->segment, &facts, &what);
    if (outcome != STELE_OK) {
        return stele_fail(packer->err, outcome, 0, "%s, offset 0: %s", packer->segment->file->name,
                          what);
    }
    outcome = for_each_frame(packer, decide);
    if (outcome != STELE_OK || (packer->events_removed == 0 && !compress)) {
        return outcome;
    }
    if (compress) {
        packer->compressor = ZSTD_createCCtx();
        if (packer->compressor == NULL) {
            return no_memory(packer);
        }
    }
    char name[STELE_FILE_NAME_MAX];
    stele_log__name(name, packer->segment->base, "tmp");
    outcome = io->ops->create(io, name, 0, false, &packer->file, packer->err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    packer->block_size = compress ? BLOCK_SIZE_ZSTD : BLOCK_SIZE_RAW;
    outcome = write_file(packer, &facts);
    io->ops->close(packer->file);
    result->events_removed = packer->events_removed;
    result->bytes_after = packer->offset;
    result->changed = outcome == STELE_OK &&
                      (packer->events_removed > 0 || packer->offset < packer->segment->size);
    if (!result->changed) {
        result->bytes_after = packer->segment->size;
        (void)io->ops->remove(io, name, NULL); /* Opening the log removes what is left. */
    }
    return outcome;
}

int stele_log_pack(struct stele_log_reader *reader, uint64_t base, stele_log_keep_callback keep,
                   void *keep_context, bool compress,
                   int (*on_bytes)(void *context, uint64_t bytes), void *on_bytes_context,
                   struct stele_log_pack_result *out_result, struct stele_error *err)
{
    const uint32_t index = stele_log__view_find(reader->view, base);
    STELE_ASSERT(index + 1 < reader->view->count);
    STELE_ASSERT(reader->view->bases[index] == base);
    struct packer packer = {
        .reader = reader,
        .segment = reader->view->segments[index],
        .alloc = reader->alloc,
        .keep = keep,
        .keep_context = keep_context,
        .on_bytes = on_bytes,
        .on_bytes_context = on_bytes_context,
        .err = err,
    };
    struct stele_log_pack_result result = {
        .base = base,
        .bytes_before = packer.segment->size,
        .bytes_after = packer.segment->size,
    };
    if (!stele_log__sha_init(&packer.sha)) {
        return no_memory(&packer);
    }
    const int outcome = pack(&packer, compress, &result);
    stele_log__sha_deinit(&packer.sha);
    (void)ZSTD_freeCCtx(packer.compressor);
    stele_buf_deinit(&packer.bits, packer.alloc);
    stele_buf_deinit(&packer.block, packer.alloc);
    stele_buf_deinit(&packer.compressed, packer.alloc);
    stele_buf_deinit(&packer.table, packer.alloc);
    if (outcome == STELE_OK) {
        *out_result = result;
    }
    return outcome;
}

int stele_log_sealed_next(const struct stele_log_view *view, uint64_t base, uint64_t *out_base,
                          uint64_t *out_file_size)
{
    for (uint32_t index = 0; index + 1 < view->count; index++) {
        if (view->bases[index] >= base) {
            *out_base = view->bases[index];
            *out_file_size = view->segments[index]->size;
            return STELE_OK;
        }
    }
    return STELE_END;
}

/* The view with another segment at index; takes over the reference. */
static struct stele_log_view *view_with(const struct stele_log *log, uint32_t index,
                                        struct stele_log_segment *take_segment)
{
    const struct stele_log_view *const old = log->view;
    struct stele_log_view *const view = stele_log__view_create(log->io, &log->identity, old->count);
    for (uint32_t at = 0; view != NULL && at < old->count; at++) {
        if (at == index) {
            stele_log__view_put(view, at, take_segment);
        } else {
            old->segments[at]->refs++;
            stele_log__view_put(view, at, old->segments[at]);
        }
    }
    return view;
}

int stele_log_install_packed(struct stele_log *log, uint64_t base, struct stele_error *err)
{
    STELE_ASSERT(!log->options.read_only);
    const uint32_t index = stele_log__view_find(log->view, base);
    STELE_ASSERT(index + 1 < log->view->count);
    STELE_ASSERT(log->view->bases[index] == base);
    struct stele_io *const io = log->io;
    const bool was_packed = log->view->segments[index]->packed;
    char name_tmp[STELE_FILE_NAME_MAX];
    char name_packed[STELE_FILE_NAME_MAX];
    char name_plain[STELE_FILE_NAME_MAX];
    stele_log__name(name_tmp, base, "tmp");
    stele_log__name(name_packed, base, "pak");
    stele_log__name(name_plain, base, "seg");
    int outcome = io->ops->rename(io, name_tmp, name_packed, err);
    if (outcome == STELE_OK) {
        /* The plain file must not go before the packed one is sure to stay. */
        outcome = io->ops->sync_names(io, err);
    }
    struct stele_log_segment *segment = NULL;
    if (outcome == STELE_OK) {
        outcome = stele_log__segment_open(io, &log->identity, base, true, false, &segment, err);
    }
    if (outcome != STELE_OK) {
        /* Readers go on with the old file. Should the new one stay, the next opening takes it. */
        return outcome == STELE_NOT_FOUND ? STELE_E_IO : outcome;
    }
    struct stele_log_view *const view = view_with(log, index, segment);
    if (view == NULL) {
        stele_log__segment_unref(io, segment);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "packing: no memory");
    }
    stele_log_view_release(log->view);
    log->view = view;
    if (!was_packed) {
        outcome = io->ops->remove(io, name_plain, err);
        if (outcome == STELE_OK) {
            outcome = io->ops->sync_names(io, err);
        }
        outcome = outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
    }
    return outcome;
}
