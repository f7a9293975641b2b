/* SQLite as an event store: WAL with synchronous=FULL, which syncs the WAL at every commit. */
#include "peer.h"

#include <sqlite3.h>

static sqlite3 *database;
static sqlite3_stmt *insert, *last_revision, *stream_events, *all_events;

static void execute(const char *sql)
{
    if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK) {
        peer_die(sql, "%s", sqlite3_errmsg(database));
    }
}

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v3(database, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) !=
        SQLITE_OK) {
        peer_die(sql, "%s", sqlite3_errmsg(database));
    }
    return statement;
}

static void open_database(const char *directory, bool durable)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/events.db", directory);
    if (sqlite3_open(path, &database) != SQLITE_OK) {
        peer_die(path, "%s", sqlite3_errmsg(database));
    }
    execute("pragma journal_mode=wal");
    execute(durable ? "pragma synchronous=full" : "pragma synchronous=off");
    execute("pragma cache_size=-262144");
    execute("pragma mmap_size=17179869184");
    execute("create table if not exists events(position integer primary key, stream text not null,"
            " revision int not null, id blob not null, type text not null, data text not null,"
            " unique(stream, revision))");
    insert = prepare("insert into events(stream, revision, id, type, data) values(?, ?, ?, ?, ?)");
    last_revision = prepare("select max(revision) from events where stream = ?");
    stream_events = prepare("select position, revision, id, type, data from events"
                            " where stream = ? order by revision");
    all_events = prepare("select position, stream, revision, id, type, data from events"
                         " order by position");
}

static void close_database(void)
{
    (void)sqlite3_finalize(insert);
    (void)sqlite3_finalize(last_revision);
    (void)sqlite3_finalize(stream_events);
    (void)sqlite3_finalize(all_events);
    (void)sqlite3_close(database);
}

static bool revision_fits(const char *name, size_t name_size, uint32_t expected)
{
    (void)sqlite3_bind_text(last_revision, 1, name, (int)name_size, SQLITE_STATIC);
    if (sqlite3_step(last_revision) != SQLITE_ROW) {
        peer_die("last revision", "%s", sqlite3_errmsg(database));
    }
    const bool is_new = sqlite3_column_type(last_revision, 0) == SQLITE_NULL;
    const int64_t next = is_new ? 0 : sqlite3_column_int64(last_revision, 0) + 1;
    (void)sqlite3_reset(last_revision);
    return next == (int64_t)expected;
}

static bool append(const struct peer_event *events, uint32_t count)
{
    execute("begin immediate");
    char name[BENCH_STREAM_NAME_SIZE];
    size_t name_size = 0;
    for (uint32_t i = 0; i < count; i++) {
        /* The unique index checks the rest of a run of events of one stream. */
        if (i == 0 || events[i].stream != events[i - 1].stream) {
            name_size = bench_stream_name(name, events[i].stream);
            if (!revision_fits(name, name_size, events[i].revision)) {
                execute("rollback");
                return false;
            }
        }
        (void)sqlite3_bind_text(insert, 1, name, (int)name_size, SQLITE_STATIC);
        (void)sqlite3_bind_int64(insert, 2, events[i].revision);
        (void)sqlite3_bind_blob(insert, 3, events[i].id, 16, SQLITE_STATIC);
        (void)sqlite3_bind_text(insert, 4, BENCH_TYPE, sizeof BENCH_TYPE - 1, SQLITE_STATIC);
        (void)sqlite3_bind_text(insert, 5, events[i].data, (int)events[i].data_size, SQLITE_STATIC);
        if (sqlite3_step(insert) != SQLITE_DONE) {
            peer_die("insert", "%s", sqlite3_errmsg(database));
        }
        (void)sqlite3_reset(insert);
    }
    execute("commit");
    return true;
}

static uint64_t step_through(sqlite3_stmt *statement, int data_column)
{
    uint64_t count = 0;
    while (sqlite3_step(statement) == SQLITE_ROW) {
        peer_sink += *sqlite3_column_text(statement, data_column);
        count++;
    }
    (void)sqlite3_reset(statement);
    return count;
}

static uint64_t read_stream(uint32_t stream)
{
    char name[BENCH_STREAM_NAME_SIZE];
    const size_t size = bench_stream_name(name, stream);
    (void)sqlite3_bind_text(stream_events, 1, name, (int)size, SQLITE_STATIC);
    return step_through(stream_events, 4);
}

static uint64_t read_all(void)
{
    return step_through(all_events, 5);
}

const struct peer peer = {
    .name = "sqlite",
    .open = open_database,
    .close = close_database,
    .append = append,
    .read_stream = read_stream,
    .read_all = read_all,
};
