/* Packed segments: whatever stands in the file, reading it ends, and serves nothing that does not
 * verify.
 *
 * The first byte chooses how deep the input goes: as the whole file, as the table, as a compressed
 * block, or as the entries of a block; what lies around it is made to verify. */
#include "lib/memio.h"
#include "lib/testalloc.h"
#include "log/log_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* That of the golden files, so that their frames can be a beginning. */
#define SECRET UINT64_C(0x5ec4e7a11ce5ba5e)
#define HEADER 4096
#define CAPACITY 65536
#define NAME "0000000000000000.pak"

static const struct stele_log__facts facts_first = {.capacity = CAPACITY, .partitions = 1};
static const struct stele_log__facts facts_last = {.base = CAPACITY,
                                                   .capacity = 8192,
                                                   .previous_end = 60000,
                                                   .position_before = 1 << 20,
                                                   .partitions = 1};

struct file {
    uint8_t bytes[HEADER + 300000];
    size_t size;
};

static void add(struct file *file, const void *bytes, size_t size)
{
    STELE_ASSERT(size <= sizeof file->bytes - file->size);
    memcpy(file->bytes + file->size, bytes, size);
    file->size += size;
}

static void add_block(struct file *file, uint32_t seed, const uint8_t *data, size_t size,
                      uint32_t raw_size, uint64_t place, struct stele_log__block *out_block)
{
    static uint8_t block[200000];
    const size_t padded = (size_t)stele_align_up(size, 8);
    const uint8_t codec = raw_size == size ? STELE_LOG__BLOCK_RAW : STELE_LOG__BLOCK_ZSTD;
    memset(block, 0, STELE_LOG__BLOCK_HEADER_SIZE + padded);
    memcpy(block + STELE_LOG__BLOCK_HEADER_SIZE, data, size);
    *out_block = (struct stele_log__block){
        .place = place, .offset = file->size, .stored_size = (uint32_t)size};
    out_block->checksum =
        stele_log__block_encode(block, seed, place, (uint32_t)size, raw_size, codec);
    add(file, block, STELE_LOG__BLOCK_HEADER_SIZE + padded);
}

static void add_table(struct file *file, uint32_t seed, const uint8_t *table, size_t blocks)
{
    const struct stele_log__footer footer = {
        .end = 60000, .blocks = blocks, .table_offset = file->size};
    const struct stele_bytes bytes = {.data = table, .size = blocks * STELE_LOG__TABLE_ENTRY_SIZE};
    uint8_t footer_bytes[STELE_LOG__FOOTER_SIZE];
    stele_log__footer_encode(footer_bytes, seed, bytes, &footer);
    add(file, table, bytes.size);
    add(file, footer_bytes, sizeof footer_bytes);
}

static void make_file(struct file *file, uint32_t seed, const uint8_t *data, size_t size)
{
    const uint8_t mode = data[0] % 4;
    data++;
    size--;
    if (mode == 0) {
        file->size = 0;
        add(file, data, size);
        return;
    }
    if (mode == 1) {
        add(file, data, size % 512); /* Something for the table to point at. */
        add_table(file, seed, data, size / STELE_LOG__TABLE_ENTRY_SIZE);
        return;
    }
    /* Two blocks; the first one's size, unpacked size and the place of the second are given. */
    uint8_t given[8] = {0};
    const size_t given_size = size < sizeof given ? size : sizeof given;
    memcpy(given, data, given_size);
    data += given_size;
    size -= given_size;
    size_t first = stele_load_u16le(given);
    first = first < size ? first : size;
    const uint32_t raw_size = mode == 2 ? stele_load_u16le(given + 2) : (uint32_t)first;
    const uint64_t place = stele_load_u32le(given + 4);
    struct stele_log__block blocks[2];
    add_block(file, seed, data, first, raw_size, 0, &blocks[0]);
    add_block(file, seed, data + first, size - first, (uint32_t)(size - first), place, &blocks[1]);
    uint8_t table[2 * STELE_LOG__TABLE_ENTRY_SIZE];
    stele_log__table_entry_encode(table, &blocks[0]);
    stele_log__table_entry_encode(table + STELE_LOG__TABLE_ENTRY_SIZE, &blocks[1]);
    add_table(file, seed, table, 2);
}

static int ignore_event(void *context, const struct stele_frame *frame, uint64_t place,
                        const struct stele_event *event)
{
    (void)context;
    (void)frame;
    (void)place;
    (void)event;
    return STELE_OK;
}

static void ignore_damage(void *context, const struct stele_log_damage *damage)
{
    (void)context;
    STELE_ASSERT(damage->what != NULL);
}

static void read_everything(struct stele_log *log, struct stele_alloc *alloc)
{
    struct stele_log_reader reader;
    struct stele_log_view *const view = stele_log_view_acquire(log);
    stele_log_reader_init(&reader, view, alloc, stele_log_durable(log));
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, 0);
    struct stele_event events[4];
    size_t count = 0;
    int outcome = STELE_OK;
    for (int steps = 0; outcome != STELE_END; steps++) {
        outcome = stele_log_scan(&reader, &cursor, events, NULL, 4, &count);
        STELE_ASSERT(outcome == STELE_OK || outcome == STELE_END || outcome == STELE_E_CORRUPT);
        STELE_ASSERT(steps < 100000);
    }
    for (uint64_t place = 0; place < CAPACITY; place += 512) {
        (void)(stele_log_read(&reader, place, &events[0]) == STELE_OK);
        (void)(stele_log_seek(&reader, place << 4, &cursor) == STELE_OK);
    }
    uint64_t place = UINT64_MAX;
    for (int steps = 0; stele_log_frame_before(&reader, place, &place) != STELE_END; steps++) {
        STELE_ASSERT(steps < 100000);
    }
    struct stele_log_chain chain = {0};
    outcome = stele_log_chain_extend(&reader, &chain, UINT64_MAX, UINT64_MAX, NULL, 0, NULL,
                                     ignore_damage, NULL, NULL);
    STELE_ASSERT(outcome == STELE_END);
    (void)stele_log__packed_is_whole(view, view->segments[0]);
    struct stele_log_pack_result result;
    outcome = stele_log_pack(&reader, 0, NULL, NULL, true, NULL, NULL, &result, NULL);
    STELE_ASSERT(outcome == STELE_OK || outcome == STELE_E_CORRUPT);
    stele_log_reader_deinit(&reader);
    stele_log_view_release(view);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 65536) {
        return 0;
    }
    const struct stele_log__identity identity = {
        .seed = stele_log__seed(SECRET), .partitions = 1, .header_size = HEADER};
    static const struct stele_log_partition partition;
    static struct file file;
    file.size = HEADER;
    stele_log__header_encode(file.bytes, &identity, &facts_first, &partition, true);
    make_file(&file, identity.seed, data, size);

    static uint8_t last[HEADER + 8192];
    stele_log__header_encode(last, &identity, &facts_last, &partition, false);
    struct testalloc alloc;
    static struct memio disk;
    testalloc_init(&alloc, 1);
    memio_init(&disk, &alloc.base, 1);
    memio_put(&disk, NAME, (struct stele_bytes){.data = file.bytes, .size = file.size});
    memio_put(&disk, "0000000000010000.seg",
              (struct stele_bytes){.data = last, .size = sizeof last});
    const struct stele_log_options options = {
        .secret = SECRET, .partitions = 1, .segment_size_first = 65536, .segment_size_max = 65536};
    struct stele_log *log = NULL;
    const int outcome =
        stele_log_open(&disk.io, &options, UINT64_MAX, UINT64_MAX, ignore_event, NULL, &log, NULL);
    STELE_ASSERT(outcome == STELE_OK);
    read_everything(log, &alloc.base);
    stele_log_close(log);
    memio_deinit(&disk);
    STELE_ASSERT(alloc.bytes == 0);
    return 0;
}
