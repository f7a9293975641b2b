/* LMDB as an event store, with its default sync: the data, then the page that makes it current.
 *
 * It has one writer at a time and no checksums. */
#include "peer.h"

#include <lmdb.h>

static MDB_env *environment;
static MDB_dbi by_position, by_stream;

static void check(int code, const char *what)
{
    if (code != MDB_SUCCESS) {
        peer_die(what, "%s", mdb_strerror(code));
    }
}

static MDB_txn *begin(unsigned flags)
{
    MDB_txn *transaction = NULL;
    check(mdb_txn_begin(environment, NULL, flags, &transaction), "begin");
    return transaction;
}

static MDB_cursor *open_cursor(MDB_txn *transaction, MDB_dbi table)
{
    MDB_cursor *cursor = NULL;
    check(mdb_cursor_open(transaction, table, &cursor), "cursor");
    return cursor;
}

static void open_environment(const char *directory, bool durable)
{
    check(mdb_env_create(&environment), "create");
    check(mdb_env_set_mapsize(environment, (size_t)64 << 30), "map size");
    check(mdb_env_set_maxdbs(environment, 2), "databases");
    check(mdb_env_open(environment, directory, durable ? 0 : MDB_NOSYNC, 0644), directory);
    MDB_txn *const transaction = begin(0);
    check(mdb_dbi_open(transaction, "position", MDB_CREATE | MDB_INTEGERKEY, &by_position),
          "position");
    check(mdb_dbi_open(transaction, "stream", MDB_CREATE, &by_stream), "stream");
    check(mdb_txn_commit(transaction), "commit");
}

static void close_environment(void)
{
    mdb_env_close(environment);
}

static uint64_t next_position(MDB_cursor *cursor)
{
    MDB_val key, value;
    uint64_t last = 0;
    if (mdb_cursor_get(cursor, &key, &value, MDB_LAST) != MDB_SUCCESS) {
        return 0;
    }
    memcpy(&last, key.mv_data, sizeof last);
    return last + 1;
}

static bool put_event(MDB_txn *transaction, const struct peer_event *event, uint64_t position)
{
    uint8_t key_bytes[8];
    MDB_val key = {sizeof key_bytes, key_bytes};
    MDB_val value;
    peer_put_u32be(key_bytes, event->stream);
    if (event->revision > 0) {
        peer_put_u32be(key_bytes + 4, event->revision - 1);
        if (mdb_get(transaction, by_stream, &key, &value) != MDB_SUCCESS) {
            return false;
        }
    }
    peer_put_u32be(key_bytes + 4, event->revision);
    value = (MDB_val){sizeof position, &position};
    if (mdb_put(transaction, by_stream, &key, &value, MDB_NOOVERWRITE) != MDB_SUCCESS) {
        return false;
    }
    key = (MDB_val){sizeof position, &position};
    value = (MDB_val){peer_record_size(event), NULL};
    check(mdb_put(transaction, by_position, &key, &value, MDB_APPEND | MDB_RESERVE), "put");
    peer_record_encode(event, value.mv_data);
    return true;
}

static bool append(const struct peer_event *events, uint32_t count)
{
    MDB_txn *const transaction = begin(0);
    MDB_cursor *const cursor = open_cursor(transaction, by_position);
    const uint64_t position = next_position(cursor);
    mdb_cursor_close(cursor);
    for (uint32_t i = 0; i < count; i++) {
        if (!put_event(transaction, &events[i], position + i)) {
            mdb_txn_abort(transaction);
            return false;
        }
    }
    check(mdb_txn_commit(transaction), "commit");
    return true;
}

static uint64_t read_stream(uint32_t stream)
{
    MDB_txn *const transaction = begin(MDB_RDONLY);
    MDB_cursor *const cursor = open_cursor(transaction, by_stream);
    uint8_t first[8] = {0};
    peer_put_u32be(first, stream);
    MDB_val key = {sizeof first, first};
    MDB_val position, event;
    uint64_t count = 0;
    int code = mdb_cursor_get(cursor, &key, &position, MDB_SET_RANGE);
    while (code == MDB_SUCCESS && memcmp(key.mv_data, first, 4) == 0) {
        check(mdb_get(transaction, by_position, &position, &event), "get");
        peer_sink += ((const uint8_t *)event.mv_data)[PEER_RECORD_DATA_AT];
        count++;
        code = mdb_cursor_get(cursor, &key, &position, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(transaction);
    return count;
}

static uint64_t read_all(void)
{
    MDB_txn *const transaction = begin(MDB_RDONLY);
    MDB_cursor *const cursor = open_cursor(transaction, by_position);
    MDB_val key, event;
    uint64_t count = 0;
    int code = mdb_cursor_get(cursor, &key, &event, MDB_FIRST);
    while (code == MDB_SUCCESS) {
        peer_sink += ((const uint8_t *)event.mv_data)[PEER_RECORD_DATA_AT];
        count++;
        code = mdb_cursor_get(cursor, &key, &event, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(transaction);
    return count;
}

const struct peer peer = {
    .name = "lmdb",
    .open = open_environment,
    .close = close_environment,
    .append = append,
    .read_stream = read_stream,
    .read_all = read_all,
};
