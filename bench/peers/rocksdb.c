/* RocksDB as an event store: every write batch synced, checksums on, and what its documentation
 * advises: a bloom filter, a large write buffer, recycled log files.
 *
 * Keys are 'p' and the position, 's' and stream and revision. Several threads append at once, and
 * RocksDB commits them as a group. Positions are taken before the commit, so a reader of all
 * events could skip one: a store with a true order does more for its number. */
#include "peer.h"

#include <rocksdb/c.h>
#include <stdatomic.h>

#define POSITION_KEY_SIZE 9u
#define STREAM_KEY_SIZE 9u

static rocksdb_t *database;
static rocksdb_options_t *options;
static rocksdb_writeoptions_t *write_options;
static rocksdb_readoptions_t *read_options;
static _Atomic uint64_t position_next;

static void check(char *error, const char *what)
{
    if (error != NULL) {
        peer_die(what, "%s", error);
    }
}

static void put_position_key(uint8_t to[POSITION_KEY_SIZE], uint64_t position)
{
    to[0] = 'p';
    peer_put_u64be(to + 1, position);
}

static void put_stream_key(uint8_t to[STREAM_KEY_SIZE], uint32_t stream, uint32_t revision)
{
    to[0] = 's';
    peer_put_u32be(to + 1, stream);
    peer_put_u32be(to + 5, revision);
}

static uint64_t find_next_position(void)
{
    rocksdb_iterator_t *const iterator = rocksdb_create_iterator(database, read_options);
    rocksdb_iter_seek_for_prev(iterator, "q", 1);
    uint64_t next = 0;
    if (rocksdb_iter_valid(iterator)) {
        size_t size = 0;
        const char *const key = rocksdb_iter_key(iterator, &size);
        if (size == POSITION_KEY_SIZE && key[0] == 'p') {
            memcpy(&next, key + 1, sizeof next);
            next = __builtin_bswap64(next) + 1;
        }
    }
    rocksdb_iter_destroy(iterator);
    return next;
}

static void open_database(const char *directory, bool durable)
{
    options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_increase_parallelism(options, 2);
    rocksdb_options_set_write_buffer_size(options, (size_t)128 << 20);
    rocksdb_options_set_recycle_log_file_num(options, 4);
    rocksdb_block_based_table_options_t *const table = rocksdb_block_based_options_create();
    rocksdb_cache_t *const cache = rocksdb_cache_create_lru((size_t)1 << 30);
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom(10));
    rocksdb_options_set_block_based_table_factory(options, table);
    char *error = NULL;
    database = rocksdb_open(options, directory, &error);
    check(error, directory);
    rocksdb_block_based_options_destroy(table);
    rocksdb_cache_destroy(cache);
    write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(write_options, durable ? 1 : 0);
    read_options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(read_options, 1);
    position_next = find_next_position();
}

static void close_database(void)
{
    rocksdb_close(database);
    rocksdb_options_destroy(options);
    rocksdb_writeoptions_destroy(write_options);
    rocksdb_readoptions_destroy(read_options);
}

static bool exists(const uint8_t key[STREAM_KEY_SIZE])
{
    char *error = NULL;
    rocksdb_pinnableslice_t *const found =
        rocksdb_get_pinned(database, read_options, (const char *)key, STREAM_KEY_SIZE, &error);
    check(error, "get");
    if (found == NULL) {
        return false;
    }
    rocksdb_pinnableslice_destroy(found);
    return true;
}

static void put_event(rocksdb_writebatch_t *batch, const struct peer_event *event,
                      uint64_t position)
{
    uint8_t stream_key[STREAM_KEY_SIZE];
    uint8_t position_key[POSITION_KEY_SIZE];
    uint8_t head[PEER_RECORD_DATA_AT];
    struct peer_event without_data = *event;
    without_data.data_size = 0;
    peer_record_encode(&without_data, head);
    put_stream_key(stream_key, event->stream, event->revision);
    put_position_key(position_key, position);
    rocksdb_writebatch_put(batch, (const char *)stream_key, sizeof stream_key,
                           (const char *)&position, sizeof position);
    const char *const key_parts[] = {(const char *)position_key};
    const size_t key_sizes[] = {sizeof position_key};
    const char *const value_parts[] = {(const char *)head, event->data};
    const size_t value_sizes[] = {sizeof head, event->data_size};
    rocksdb_writebatch_putv(batch, 1, key_parts, key_sizes, 2, value_parts, value_sizes);
}

static bool append(const struct peer_event *events, uint32_t count)
{
    const uint64_t position = atomic_fetch_add(&position_next, count);
    rocksdb_writebatch_t *const batch = rocksdb_writebatch_create();
    bool fits = true;
    for (uint32_t i = 0; i < count && fits; i++) {
        const bool continues = i > 0 && events[i].stream == events[i - 1].stream &&
                               events[i].revision == events[i - 1].revision + 1;
        if (events[i].revision > 0 && !continues) {
            uint8_t before[STREAM_KEY_SIZE];
            put_stream_key(before, events[i].stream, events[i].revision - 1);
            fits = exists(before);
        }
        put_event(batch, &events[i], position + i);
    }
    if (fits) {
        char *error = NULL;
        rocksdb_write(database, write_options, batch, &error);
        check(error, "write");
    }
    rocksdb_writebatch_destroy(batch);
    return fits;
}

static void look_at(uint64_t position)
{
    uint8_t key[POSITION_KEY_SIZE];
    put_position_key(key, position);
    char *error = NULL;
    rocksdb_pinnableslice_t *const event =
        rocksdb_get_pinned(database, read_options, (const char *)key, sizeof key, &error);
    check(error, "get");
    size_t size = 0;
    const char *const bytes = rocksdb_pinnableslice_value(event, &size);
    peer_sink += (uint8_t)bytes[PEER_RECORD_DATA_AT];
    rocksdb_pinnableslice_destroy(event);
}

static uint64_t read_stream(uint32_t stream)
{
    uint8_t first[STREAM_KEY_SIZE];
    put_stream_key(first, stream, 0);
    rocksdb_iterator_t *const iterator = rocksdb_create_iterator(database, read_options);
    rocksdb_iter_seek(iterator, (const char *)first, sizeof first);
    uint64_t count = 0;
    while (rocksdb_iter_valid(iterator)) {
        size_t size = 0;
        const char *const key = rocksdb_iter_key(iterator, &size);
        if (size != STREAM_KEY_SIZE || memcmp(key, first, 5) != 0) {
            break;
        }
        uint64_t position = 0;
        memcpy(&position, rocksdb_iter_value(iterator, &size), sizeof position);
        look_at(position);
        count++;
        rocksdb_iter_next(iterator);
    }
    rocksdb_iter_destroy(iterator);
    return count;
}

static uint64_t read_all(void)
{
    rocksdb_iterator_t *const iterator = rocksdb_create_iterator(database, read_options);
    rocksdb_iter_seek(iterator, "p", 1);
    uint64_t count = 0;
    while (rocksdb_iter_valid(iterator)) {
        size_t size = 0;
        if (*rocksdb_iter_key(iterator, &size) != 'p') {
            break;
        }
        peer_sink += (uint8_t)rocksdb_iter_value(iterator, &size)[PEER_RECORD_DATA_AT];
        count++;
        rocksdb_iter_next(iterator);
    }
    rocksdb_iter_destroy(iterator);
    return count;
}

const struct peer peer = {
    .name = "rocksdb",
    .many_writers = true,
    .open = open_database,
    .close = close_database,
    .append = append,
    .read_stream = read_stream,
    .read_all = read_all,
};
