#include "index/run_write.h"

#include "base/checksum.h"

#define BUFFER_SIZE ((size_t)128 * 1024)

_Static_assert(BUFFER_SIZE % STELE_INDEX__PAGE == 0, "buffers are written page by page");

/* ---- Sections ---- */

static bool buffers_create(struct stele_index__writer *writer)
{
    const struct stele_index__layout *layout = &writer->layout;
    for (int i = 0; i < STELE_INDEX__CHECKSUMS; i++) {
        struct stele_index__stream *stream = &writer->streams[i];
        const uint64_t size = stele_align_up(layout->size[i], STELE_INDEX__PAGE);
        stream->at = layout->offset[i];
        if (size == 0) {
            continue;
        }
        stream->capacity = size < BUFFER_SIZE ? (size_t)size : BUFFER_SIZE;
        stream->buffer = stele_allocate(writer->io->alloc, stream->capacity);
        if (stream->buffer == NULL) {
            return false;
        }
    }
    writer->checksums =
        stele_allocate_zeroed(writer->io->alloc, (size_t)layout->size[STELE_INDEX__CHECKSUMS]);
    return writer->checksums != NULL;
}

static void buffers_destroy(struct stele_index__writer *writer)
{
    for (int i = 0; i < STELE_INDEX__CHECKSUMS; i++) {
        stele_release(writer->io->alloc, writer->streams[i].buffer, writer->streams[i].capacity);
    }
    stele_release(writer->io->alloc, writer->checksums,
                  (size_t)writer->layout.size[STELE_INDEX__CHECKSUMS]);
}

static void write_bytes(struct stele_index__writer *writer, uint64_t at, const uint8_t *data,
                        size_t size)
{
    if (writer->outcome != STELE_OK) {
        return;
    }
    const struct stele_bytes bytes = {.data = data, .size = size};
    writer->outcome = writer->io->ops->write(writer->file, at, bytes, writer->err);
    if (writer->outcome == STELE_OK && writer->on_bytes != NULL &&
        writer->on_bytes(writer->context, size) != 0) {
        writer->outcome =
            stele_fail(writer->err, STELE_E_CLOSED, 0, "index run %s: stopped", writer->name);
    }
}

/* Writes the buffer, whole pages of it, and notes their checksums. They are computed here, from
 * memory: read back from the disk, they would make whatever it returns look right. */
static void flush_stream(struct stele_index__writer *writer, struct stele_index__stream *stream)
{
    const size_t padded = (size_t)stele_align_up(stream->used, STELE_INDEX__PAGE);
    if (padded > stream->used) {
        memset(stream->buffer + stream->used, 0, padded - stream->used);
    }
    for (size_t at = 0; at < padded; at += STELE_INDEX__PAGE) {
        const struct stele_bytes page = {.data = stream->buffer + at, .size = STELE_INDEX__PAGE};
        stele_store_u32le(writer->checksums + (stream->at + at) / STELE_INDEX__PAGE * 4,
                          stele_crc32c(page));
    }
    if (padded > 0) {
        write_bytes(writer, stream->at, stream->buffer, padded);
    }
    stream->at += padded;
    stream->used = 0;
}

/* Room for size bytes of a section, or NULL if it has none or an earlier step failed. */
static uint8_t *put(struct stele_index__writer *writer, enum stele_index__section section,
                    size_t size)
{
    struct stele_index__stream *stream = &writer->streams[section];
    if (writer->outcome != STELE_OK) {
        return NULL;
    }
    if (size > writer->layout.size[section] - stream->put) {
        writer->outcome = stele_fail(writer->err, STELE_E_CORRUPT, 0,
                                     "index run %s: more content than counted", writer->name);
        return NULL;
    }
    STELE_ASSERT(stream->used + size <= stream->capacity);
    uint8_t *bytes = stream->buffer + stream->used;
    stream->put += size;
    return bytes;
}

static void did_put(struct stele_index__writer *writer, enum stele_index__section section,
                    size_t size)
{
    struct stele_index__stream *stream = &writer->streams[section];
    stream->used += size;
    if (stream->used == stream->capacity) {
        flush_stream(writer, stream);
    }
}

/* Any number of bytes: things need not divide the buffer. */
static void put_bytes(struct stele_index__writer *writer, enum stele_index__section section,
                      const uint8_t *data, size_t size)
{
    const struct stele_index__stream *stream = &writer->streams[section];
    while (size > 0) {
        const size_t room = stream->capacity - stream->used;
        const size_t piece = size < room ? size : room;
        uint8_t *bytes = stream->buffer == NULL ? NULL : put(writer, section, piece);
        if (bytes == NULL) {
            if (writer->outcome == STELE_OK) {
                writer->outcome = stele_fail(writer->err, STELE_E_CORRUPT, 0,
                                             "index run %s: unexpected content", writer->name);
            }
            return;
        }
        memcpy(bytes, data, piece);
        did_put(writer, section, piece);
        data += piece;
        size -= piece;
    }
}

static void put_u32(struct stele_index__writer *writer, enum stele_index__section section,
                    uint32_t value)
{
    uint8_t bytes[4];
    stele_store_u32le(bytes, value);
    put_bytes(writer, section, bytes, sizeof bytes);
}

static void put_u64(struct stele_index__writer *writer, enum stele_index__section section,
                    uint64_t value)
{
    uint8_t bytes[8];
    stele_store_u64le(bytes, value);
    put_bytes(writer, section, bytes, sizeof bytes);
}

static void put_place(struct stele_index__writer *writer, enum stele_index__section section,
                      uint64_t place)
{
    const uint64_t value = (place - writer->header.from) / 8;
    if (place < writer->header.from || place >= writer->header.to) {
        if (writer->outcome == STELE_OK) {
            writer->outcome = stele_fail(writer->err, STELE_E_CORRUPT, 0,
                                         "index run %s: a place outside", writer->name);
        }
    } else if (writer->layout.place_size == 4) {
        put_u32(writer, section, (uint32_t)value);
    } else {
        put_u64(writer, section, value);
    }
}

/* ---- Filter and directory ---- */

static void finder_flush_block(struct stele_index__writer *writer,
                               struct stele_index__finder *finder)
{
    put_bytes(writer, finder->filter, finder->block, sizeof finder->block);
    memset(finder->block, 0, sizeof finder->block);
    finder->block_at++;
}

/* Hash number n, in order. */
static void finder_add(struct stele_index__writer *writer, struct stele_index__finder *finder,
                       uint64_t hash, uint64_t number)
{
    const uint32_t block = stele_index__filter_block(hash, finder->blocks);
    while (finder->block_at < block) {
        finder_flush_block(writer, finder);
    }
    stele_index__filter_add(finder->block, hash);
    const uint64_t bucket = stele_index__bucket(hash, finder->bits);
    while (finder->buckets <= bucket) {
        put_u32(writer, finder->directory, (uint32_t)number);
        finder->buckets++;
    }
}

static void finder_end(struct stele_index__writer *writer, struct stele_index__finder *finder,
                       uint64_t count)
{
    while (finder->block_at < finder->blocks && writer->outcome == STELE_OK) {
        finder_flush_block(writer, finder);
    }
    while (finder->buckets <= (uint64_t)1 << finder->bits && writer->outcome == STELE_OK) {
        put_u32(writer, finder->directory, (uint32_t)count);
        finder->buckets++;
    }
}

/* ---- The run ---- */

int stele_index__writer_begin(struct stele_index__writer *writer, struct stele_io *io,
                              const struct stele_index__header *header,
                              int (*on_bytes)(void *context, uint64_t bytes), void *context,
                              struct stele_error *err)
{
    *writer = (struct stele_index__writer){
        .io = io, .header = *header, .on_bytes = on_bytes, .context = context, .err = err};
    stele_index__layout(header, &writer->layout);
    stele_index__file_name(writer->name, header->from, header->to, ".run");
    stele_index__file_name(writer->name_tmp, header->from, header->to, ".tmp");
    writer->keys = (struct stele_index__finder){.filter = STELE_INDEX__KEY_FILTER,
                                                .directory = STELE_INDEX__KEY_DIRECTORY,
                                                .blocks = writer->layout.key_blocks,
                                                .bits = writer->layout.key_bits};
    writer->ids = (struct stele_index__finder){.filter = STELE_INDEX__ID_FILTER,
                                               .directory = STELE_INDEX__ID_DIRECTORY,
                                               .blocks = writer->layout.id_blocks,
                                               .bits = writer->layout.id_bits};
    int outcome = STELE_OK;
    if (!buffers_create(writer)) {
        outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "index run %s: no memory", writer->name);
    } else {
        outcome = io->ops->create(io, writer->name_tmp, writer->layout.file_size, false,
                                  &writer->file, err);
    }
    if (outcome != STELE_OK) {
        buffers_destroy(writer);
    }
    return outcome;
}

void stele_index__writer_key(struct stele_index__writer *writer, struct stele_index__key *key,
                             struct stele_bytes name)
{
    const uint64_t place_size = writer->layout.place_size;
    key->name_offset = writer->streams[STELE_INDEX__NAMES].put;
    key->name_size = (uint16_t)name.size;
    key->postings = writer->streams[STELE_INDEX__POSTINGS].put / place_size;
    finder_add(writer, &writer->keys, key->hash, writer->keys_count++);
    uint8_t bytes[STELE_INDEX__KEY_SIZE];
    stele_index__key_encode(key, bytes);
    put_bytes(writer, STELE_INDEX__KEYS, bytes, sizeof bytes);
    put_bytes(writer, STELE_INDEX__NAMES, name.data, name.size);
}

void stele_index__writer_posting(struct stele_index__writer *writer, uint64_t place)
{
    put_place(writer, STELE_INDEX__POSTINGS, place);
}

void stele_index__writer_id(struct stele_index__writer *writer, uint64_t hash, uint64_t place)
{
    finder_add(writer, &writer->ids, hash, writer->ids_count++);
    put_u64(writer, STELE_INDEX__IDS, hash);
    put_place(writer, STELE_INDEX__ID_PLACES, place);
}

void stele_index__writer_order(struct stele_index__writer *writer, uint32_t number)
{
    put_u32(writer, STELE_INDEX__ORDER, number);
}

/* The rest of the sections; then what is computed from them; the header last. */
static void complete(struct stele_index__writer *writer)
{
    const struct stele_index__layout *layout = &writer->layout;
    finder_end(writer, &writer->keys, writer->keys_count);
    finder_end(writer, &writer->ids, writer->ids_count);
    for (int i = 0; i < STELE_INDEX__CHECKSUMS && writer->outcome == STELE_OK; i++) {
        if (writer->streams[i].put != layout->size[i]) {
            writer->outcome = stele_fail(writer->err, STELE_E_CORRUPT, 0,
                                         "index run %s: less content than counted", writer->name);
            return;
        }
        flush_stream(writer, &writer->streams[i]);
    }
    const size_t table_size = (size_t)layout->size[STELE_INDEX__CHECKSUMS];
    write_bytes(writer, layout->offset[STELE_INDEX__CHECKSUMS], writer->checksums, table_size);
    /* The footer replaces the table in its buffer: it is never larger. */
    const size_t footer_size = (size_t)layout->size[STELE_INDEX__FOOTER];
    for (size_t i = 0; i < footer_size / 4; i++) {
        const struct stele_bytes page = {.data = writer->checksums + i * STELE_INDEX__PAGE,
                                         .size = STELE_INDEX__PAGE};
        stele_store_u32le(writer->checksums + i * 4, stele_crc32c(page));
    }
    const struct stele_bytes footer = {.data = writer->checksums, .size = footer_size};
    write_bytes(writer, layout->offset[STELE_INDEX__FOOTER], footer.data, footer.size);
    writer->header.footer_checksum = stele_crc32c(footer);
    uint8_t page[STELE_INDEX__PAGE];
    stele_index__header_encode(&writer->header, page);
    write_bytes(writer, 0, page, sizeof page);
}

/* The content has to be durable before the name is. The other way round, a power cut in between
 * leaves a run that is whole by its name and holds nothing. */
static void publish(struct stele_index__writer *writer)
{
    const struct stele_io_ops *ops = writer->io->ops;
    if (writer->outcome == STELE_OK) {
        writer->outcome = ops->sync(writer->file, writer->err);
    }
    ops->close(writer->file);
    if (writer->outcome == STELE_OK) {
        writer->outcome = ops->rename(writer->io, writer->name_tmp, writer->name, writer->err);
        if (writer->outcome == STELE_NOT_FOUND) {
            writer->outcome = stele_fail(writer->err, STELE_E_IO, 0, "index run %s: has vanished",
                                         writer->name_tmp);
        }
    }
    if (writer->outcome != STELE_OK) {
        /* Best effort: what remains is removed when the store is opened. */
        (void)ops->remove(writer->io, writer->name_tmp, NULL);
        return;
    }
    writer->outcome = ops->sync_names(writer->io, writer->err);
    if (writer->outcome != STELE_OK) {
        (void)ops->remove(writer->io, writer->name, NULL);
    }
}

int stele_index__writer_end(struct stele_index__writer *writer)
{
    complete(writer);
    publish(writer);
    buffers_destroy(writer);
    return writer->outcome;
}
