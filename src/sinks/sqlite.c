/* SQLite as a place for read models.
 *
 * Write-ahead log, so that readers are never in the way, and synchronous=NORMAL: what a loss of power
 * takes back it takes back with the checkpoint in it, and the next run applies it again. */
#include "base/text.h"
#include "io/linux.h"
#include "sinks/driver.h"

#include <stele/sinks.h>

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* How long a transaction waits for the one before it: a rebuild's take a fraction of a second. */
#define BUSY_MS 10000
/* Statements that are kept, because each transaction has the same beginning, checkpoint and end: making
 * them anew took longer than carrying them out. */
#define KEPT_MAX 8u

struct connection {
    sqlite3 *sqlite;
    sqlite3_stmt *kept[KEPT_MAX]; /* Reset, nothing bound, used by nobody. NULL: a free place. */
    size_t kept_next;             /* The place that is given up next. */
    uint64_t culprit;
    bool made; /* The file was not there before. */
    char *path;
};

struct prepared {
    sqlite3_stmt *sqlite;
    uint32_t params;
};

static int outcome_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_SCHEMA:
        return STELE_E_OVERLOADED;
    case SQLITE_NOMEM:
        return STELE_E_NO_MEMORY;
    case SQLITE_FULL:
        return STELE_E_NO_SPACE;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
    case SQLITE_NOLFS:
        return STELE_E_IO;
    case SQLITE_CORRUPT:
        return STELE_E_CORRUPT;
    case SQLITE_READONLY:
        return STELE_E_READ_ONLY;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return STELE_E_PERMISSION;
    default:
        /* Constraints, types, functions that give up on what they are given. */
        return STELE_E_INVALID;
    }
}

static int failed(struct connection *connection, int code, struct stele_error *err)
{
    const int outcome = outcome_of(code);
    return stele_fail(err, outcome, 0, "%s%.400s", outcome == STELE_E_INVALID ? "" : "SQLite: ",
                      connection->sqlite != NULL ? sqlite3_errmsg(connection->sqlite)
                                                 : sqlite3_errstr(code));
}

/* ---- Connecting ---- */

static void disconnect(void *db, bool keep)
{
    struct connection *const connection = db;
    struct stele_alloc *const alloc = stele_linux_alloc();
    for (size_t i = 0; i < KEPT_MAX; i++) {
        (void)sqlite3_finalize(connection->kept[i]);
    }
    (void)sqlite3_close(connection->sqlite);
    if (connection->made && !keep) {
        char name[4200];
        (void)unlink(connection->path);
        (void)snprintf(name, sizeof name, "%.4096s-wal", connection->path);
        (void)unlink(name);
        (void)snprintf(name, sizeof name, "%.4096s-shm", connection->path);
        (void)unlink(name);
    }
    stele_release(alloc, connection->path, strlen(connection->path) + 1);
    stele_release(alloc, connection, sizeof *connection);
}

static int run(struct connection *connection, const char *sql, struct stele_error *err)
{
    const int code = sqlite3_exec(connection->sqlite, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? STELE_OK : failed(connection, code, err);
}

static int set_up(struct connection *connection, uint32_t flags, struct stele_error *err)
{
    (void)sqlite3_extended_result_codes(connection->sqlite, 1);
    (void)sqlite3_busy_timeout(connection->sqlite, BUSY_MS);
    /* The first one that looks into the file. */
    int outcome = run(connection, "PRAGMA schema_version", err);
    if (outcome == STELE_OK && (flags & STELE_SINK_READ_ONLY) == 0) {
        outcome = run(connection,
                      "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA "
                      "cache_size=-32768; PRAGMA wal_autocheckpoint=4000; PRAGMA temp_store=MEMORY",
                      err);
    }
    return outcome;
}

static int check_path(const char *path, uint32_t flags, bool *out_made, struct stele_error *err)
{
    const bool there = access(path, F_OK) == 0;
    if (!there && errno != ENOENT) {
        const int error = errno;
        return stele_fail(err, error == EACCES ? STELE_E_PERMISSION : STELE_E_IO, error,
                          "%.300s: %s", path, sqlite3_errstr(SQLITE_CANTOPEN));
    }
    if (there && (flags & STELE_SINK_NEW) != 0) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "%.300s: there is such a file already; a fresh one is wanted", path);
    }
    if (!there && (flags & (STELE_SINK_NEW | STELE_SINK_CREATE)) == 0) {
        return stele_fail(err, STELE_NOT_FOUND, 0, "%.300s: there is no such database", path);
    }
    *out_made = !there;
    return STELE_OK;
}

static int connect_sqlite(const char *where, uint32_t flags, void **out_db, struct stele_error *err)
{
    struct stele_alloc *const alloc = stele_linux_alloc();
    const char *const path = strncmp(where, "sqlite:", 7) == 0 ? where + 7 : where;
    bool made = false;
    int outcome = check_path(path, flags, &made, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct connection *const connection = stele_allocate_zeroed(alloc, sizeof *connection);
    char *const copy = stele_allocate(alloc, strlen(path) + 1);
    if (connection == NULL || copy == NULL) {
        stele_release(alloc, connection, sizeof *connection);
        stele_release(alloc, copy, strlen(path) + 1);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "open %.300s: no memory", path);
    }
    memcpy(copy, path, strlen(path) + 1);
    connection->path = copy;
    connection->made = made;
    const int access_flags = (flags & STELE_SINK_READ_ONLY) != 0
                                 ? SQLITE_OPEN_READONLY
                                 : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    const int code =
        sqlite3_open_v2(path, &connection->sqlite, access_flags | SQLITE_OPEN_NOMUTEX, NULL);
    outcome = code == SQLITE_OK ? set_up(connection, flags, err) : failed(connection, code, err);
    if (outcome != STELE_OK) {
        if (err != NULL) {
            char words[sizeof err->message];
            (void)snprintf(words, sizeof words, "%s", err->message);
            (void)stele_fail(err, outcome, 0, "%.200s: %.280s", path, words);
        }
        disconnect(connection, false);
        return outcome;
    }
    *out_db = connection;
    return STELE_OK;
}

static void *handle(void *db)
{
    return ((struct connection *)db)->sqlite;
}

/* ---- Statements ---- */

static size_t error_offset(struct connection *connection)
{
    const int offset = sqlite3_error_offset(connection->sqlite);
    return offset < 0 ? SIZE_MAX : (size_t)offset;
}

static int prepare_text(struct connection *connection, const char *sql, unsigned flags,
                        sqlite3_stmt **out_statement, size_t *out_offset, struct stele_error *err)
{
    const int code = sqlite3_prepare_v3(connection->sqlite, sql, -1, flags, out_statement, NULL);
    if (code != SQLITE_OK) {
        if (out_offset != NULL) {
            *out_offset = error_offset(connection);
        }
        return failed(connection, code, err);
    }
    return STELE_OK;
}

static int finish(struct connection *connection, sqlite3_stmt *statement, int outcome,
                  struct stele_error *err)
{
    const int code = sqlite3_finalize(statement);
    return outcome == STELE_OK && code != SQLITE_OK ? failed(connection, code, err) : outcome;
}

static int execute(void *db, const char *sql, size_t *out_offset, struct stele_error *err)
{
    struct connection *const connection = db;
    sqlite3_stmt *statement = NULL;
    const int outcome = prepare_text(connection, sql, 0, &statement, out_offset, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    int code = SQLITE_ROW;
    while (code == SQLITE_ROW) {
        code = sqlite3_step(statement);
    }
    return finish(connection, statement, STELE_OK, err);
}

/* A statement of this text, for give_back(). */
static int take_kept(struct connection *connection, const char *sql, sqlite3_stmt **out_statement,
                     struct stele_error *err)
{
    for (size_t i = 0; i < KEPT_MAX; i++) {
        sqlite3_stmt *const kept = connection->kept[i];
        if (kept != NULL && strcmp(sqlite3_sql(kept), sql) == 0) {
            connection->kept[i] = NULL;
            *out_statement = kept;
            return STELE_OK;
        }
    }
    return prepare_text(connection, sql, SQLITE_PREPARE_PERSISTENT, out_statement, NULL, err);
}

/* Ends what the statement was about, and keeps it. What went wrong in it is the outcome, if that was STELE_OK. */
static int give_back(struct connection *connection, sqlite3_stmt *statement, int outcome,
                     struct stele_error *err)
{
    const int code = sqlite3_reset(statement);
    if (code != SQLITE_OK) {
        outcome = outcome == STELE_OK ? failed(connection, code, err) : outcome;
        (void)sqlite3_finalize(statement);
        return outcome;
    }
    (void)sqlite3_clear_bindings(statement);
    size_t place = connection->kept_next;
    for (size_t i = 0; i < KEPT_MAX; i++) {
        place = connection->kept[i] == NULL ? i : place;
    }
    if (connection->kept[place] != NULL) {
        (void)sqlite3_finalize(connection->kept[place]);
        connection->kept_next = (place + 1) % KEPT_MAX;
    }
    connection->kept[place] = statement;
    return outcome;
}

static int hand_out(sqlite3_stmt *statement, stele_sinks_row on_row, void *context)
{
    struct stele_text columns[16];
    const int count = sqlite3_column_count(statement);
    STELE_ASSERT(count <= (int)STELE_COUNT_OF(columns));
    for (int i = 0; i < count; i++) {
        const char *const text = (const char *)sqlite3_column_text(statement, i);
        columns[i] = (struct stele_text){.data = text != NULL ? text : "",
                                         .size = (size_t)sqlite3_column_bytes(statement, i)};
    }
    return on_row(context, columns, (size_t)count);
}

static int query(void *db, const char *sql, const struct stele_sinks_value *values, size_t count,
                 stele_sinks_row on_row, void *context, uint64_t *out_changes,
                 struct stele_error *err)
{
    struct connection *const connection = db;
    sqlite3_stmt *statement = NULL;
    int outcome = take_kept(connection, sql, &statement, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    for (size_t i = 0; i < count; i++) {
        if (values[i].text != NULL) {
            (void)sqlite3_bind_text(statement, (int)i + 1, values[i].text, -1, SQLITE_STATIC);
        } else if (!values[i].is_null) {
            (void)sqlite3_bind_int64(statement, (int)i + 1, values[i].number);
        }
    }
    int code = SQLITE_ROW;
    while (outcome == STELE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        outcome = on_row != NULL ? hand_out(statement, on_row, context) : STELE_OK;
    }
    if (outcome == STELE_OK && code == SQLITE_DONE && out_changes != NULL) {
        *out_changes = (uint64_t)sqlite3_changes64(connection->sqlite);
    }
    return give_back(connection, statement, outcome, err);
}

/* ---- Transactions ---- */

static int step_kept(struct connection *connection, const char *sql, struct stele_error *err)
{
    sqlite3_stmt *statement = NULL;
    int outcome = take_kept(connection, sql, &statement, err);
    if (outcome == STELE_OK) {
        (void)sqlite3_step(statement);
        outcome = give_back(connection, statement, STELE_OK, err);
    }
    return outcome;
}

static int begin(void *db, struct stele_error *err)
{
    /* Those that only read and write later fail in the middle if another writer was faster. */
    return step_kept(db, "BEGIN IMMEDIATE", err);
}

static int commit(void *db, struct stele_error *err)
{
    struct connection *const connection = db;
    connection->culprit = 0;
    return step_kept(connection, "COMMIT", err);
}

static void rollback(void *db)
{
    struct connection *const connection = db;
    if (sqlite3_get_autocommit(connection->sqlite) == 0) {
        (void)run(connection, "ROLLBACK", NULL);
    }
}

/* A "?" or "$x" that is none of ours would be NULL for ever. */
static int check_params(sqlite3_stmt *statement, struct stele_error *err)
{
    const int count = sqlite3_bind_parameter_count(statement);
    for (int i = 1; i <= count; i++) {
        const char *const name = sqlite3_bind_parameter_name(statement, i);
        if (i > STELE_PARAMS || (name != NULL && name[0] != '?')) {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "%s is no parameter; an event's are written :stream, :data and so on",
                              name != NULL ? name : "?");
        }
    }
    return STELE_OK;
}

static int prepare(void *db, const char *sql, size_t number, uint32_t params, void **out_statement,
                   size_t *out_offset, struct stele_error *err)
{
    struct connection *const connection = db;
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct prepared *const prepared = stele_allocate_zeroed(alloc, sizeof *prepared);
    (void)number;
    if (prepared == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "prepare a statement: no memory");
    }
    int outcome = prepare_text(connection, sql, SQLITE_PREPARE_PERSISTENT, &prepared->sqlite,
                               out_offset, err);
    if (outcome == STELE_OK) {
        outcome = check_params(prepared->sqlite, err);
    }
    if (outcome != STELE_OK) {
        (void)sqlite3_finalize(prepared->sqlite);
        stele_release(alloc, prepared, sizeof *prepared);
        return outcome;
    }
    prepared->params = params;
    *out_statement = prepared;
    return STELE_OK;
}

static void release(void *db, void *statement)
{
    struct prepared *const prepared = statement;
    (void)db;
    (void)sqlite3_finalize(prepared->sqlite);
    stele_release(stele_linux_alloc(), prepared, sizeof *prepared);
}

/* ---- Events ---- */

static int bind_text(sqlite3_stmt *statement, int number, const void *text, size_t size)
{
    return sqlite3_bind_text64(statement, number, text != NULL ? text : "", size, SQLITE_STATIC,
                               SQLITE_UTF8);
}

static int bind_blob(sqlite3_stmt *statement, int number, const void *bytes, size_t size)
{
    return sqlite3_bind_blob64(statement, number, bytes != NULL ? bytes : "", size, SQLITE_STATIC);
}

static int bind_time(sqlite3_stmt *statement, int number, int64_t time_us)
{
    char text[37];
    return stele_time_format(time_us, 6, text)
               ? sqlite3_bind_text(statement, number, text, -1, SQLITE_TRANSIENT)
               : sqlite3_bind_null(statement, number);
}

static int bind(sqlite3_stmt *statement, enum stele_projection_param param,
                const struct stele_event *event, int64_t effective_us)
{
    const int number = (int)param + 1;
    char text[37];
    switch (param) {
    case STELE_PARAM_STREAM:
        return bind_text(statement, number, event->stream.data, event->stream.size);
    case STELE_PARAM_REVISION:
        return sqlite3_bind_int64(statement, number, (int64_t)event->revision);
    case STELE_PARAM_POSITION:
        return sqlite3_bind_int64(statement, number, (int64_t)event->position);
    case STELE_PARAM_TYPE:
        return bind_text(statement, number, event->type.data, event->type.size);
    case STELE_PARAM_CREATED:
        return bind_time(statement, number, event->created_us);
    case STELE_PARAM_EFFECTIVE:
        return bind_time(statement, number, effective_us);
    case STELE_PARAM_DATA:
        return (event->flags & STELE_EVENT_JSON) != 0
                   ? bind_text(statement, number, event->data, event->data_size)
                   : bind_blob(statement, number, event->data, event->data_size);
    case STELE_PARAM_METADATA:
        return event->metadata_size == 0
                   ? sqlite3_bind_null(statement, number)
                   : bind_text(statement, number, event->metadata, event->metadata_size);
    case STELE_PARAM_ID:
        stele_id_to_text(event->id, text);
        return sqlite3_bind_text(statement, number, text, 36, SQLITE_TRANSIENT);
    case STELE_PARAM_BYTES:
    case STELE_PARAMS:
        break;
    }
    return bind_blob(statement, number, event->data, event->data_size);
}

static int apply(void *db, void *statement, const struct stele_event *event, int64_t effective_us,
                 struct stele_error *err)
{
    struct connection *const connection = db;
    const struct prepared *const prepared = statement;
    int code = SQLITE_OK;
    for (uint32_t left = prepared->params; left != 0 && code == SQLITE_OK; left &= left - 1) {
        code = bind(prepared->sqlite, (enum stele_projection_param)__builtin_ctz(left), event,
                    effective_us);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_step(prepared->sqlite);
        while (code == SQLITE_ROW) {
            code = sqlite3_step(prepared->sqlite);
        }
    }
    if (code == SQLITE_DONE) {
        (void)sqlite3_reset(prepared->sqlite);
        return STELE_OK;
    }
    connection->culprit = event->position;
    const int outcome = failed(connection, code, err);
    (void)sqlite3_reset(prepared->sqlite);
    return outcome;
}

static uint64_t culprit(const void *db)
{
    return ((const struct connection *)db)->culprit;
}

int stele_sink_set_up_process(struct stele_error *err)
{
    if (sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) != SQLITE_OK) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "set up the process: SQLite is in use already; call this first");
    }
    return STELE_OK;
}

const struct stele_sinks_driver stele_sinks_sqlite = {
    .name = "SQLite",
    .dialect = STELE_DIALECT_SQLITE,
    .lanes_max = 1,
    .lock_all = NULL,
    .for_update = "",
    .has_tables = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'stele_builds'",
    .replace_view = NULL,
    .connect = connect_sqlite,
    .disconnect = disconnect,
    .handle = handle,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .execute = execute,
    .query = query,
    .prepare = prepare,
    .release = release,
    .apply = apply,
    .culprit = culprit,
};
