/* PostgreSQL as a place for read models.
 *
 * Statements of events go out in libpq's pipeline mode: nobody waits for their answers before the end of
 * the transaction, or until so many are under way that memory would grow. Everything is sent in binary,
 * so that texts need no zero at their end and numbers no digits. Bookkeeping statements are few and
 * wait for their answers. */
#include "io/linux.h"
#include "sinks/driver.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define UNDER_WAY_MAX 1024u
#define QUERY_SIZE_MAX 1500u
#define VALUES_MAX 16u
/* 2000-01-01, from which PostgreSQL counts. */
#define EPOCH_US INT64_C(946684800000000)

/* Of pg_type.h, which is not installed with the client's library; they never change. */
enum { OID_BYTEA = 17, OID_INT8 = 20, OID_TEXT = 25, OID_TIMESTAMPTZ = 1184, OID_JSONB = 3802 };

struct connection {
    PGconn *pg;
    uint64_t culprit;
    unsigned names; /* Of prepared statements so far. */
    uint64_t
        under_way[UNDER_WAY_MAX]; /* Positions of the events of statements without an answer. */
    size_t count;
    bool sends; /* In pipeline mode. */
    struct stele_buf json;
};

struct prepared {
    char name[24];
    uint32_t params;
    int count;
};

/* ---- Errors ---- */

static int outcome_of(const char *state)
{
    static const struct {
        const char *prefix;
        int outcome;
    } known[] = {
        {"40", STELE_E_OVERLOADED},  {"55P03", STELE_E_OVERLOADED},
        {"53100", STELE_E_NO_SPACE}, {"53200", STELE_E_NO_MEMORY},
        {"28", STELE_E_PERMISSION},  {"42501", STELE_E_PERMISSION},
        {"3D", STELE_NOT_FOUND},     {"08", STELE_E_IO},
        {"53", STELE_E_IO},          {"57", STELE_E_IO},
        {"58", STELE_E_IO},          {"XX", STELE_E_IO},
    };
    if (state == NULL) {
        return STELE_E_IO;
    }
    for (size_t i = 0; i < STELE_COUNT_OF(known); i++) {
        if (strncmp(state, known[i].prefix, strlen(known[i].prefix)) == 0) {
            return known[i].outcome;
        }
    }
    /* Data that does not fit, constraints, exceptions of functions, bad SQL. */
    return STELE_E_INVALID;
}

/* The first line of what libpq says. */
static int lost(const struct connection *connection, struct stele_error *err)
{
    const char *const words = PQerrorMessage(connection->pg);
    return stele_fail(err, STELE_E_IO, 0, "PostgreSQL: %.*s", (int)strcspn(words, "\n"), words);
}

static int failed(const struct connection *connection, const PGresult *result,
                  struct stele_error *err)
{
    const char *const state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *const words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (state == NULL || words == NULL) {
        return lost(connection, err);
    }
    const int outcome = outcome_of(state);
    return stele_fail(err, outcome, 0, "%s%.400s",
                      outcome == STELE_E_INVALID ? "" : "PostgreSQL: ", words);
}

static bool is_good(const PGresult *result)
{
    const ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

/* ---- Connecting ---- */

static void no_notice(void *context, const char *message)
{
    (void)context;
    (void)message;
}

static void disconnect(void *db, bool keep)
{
    struct connection *const connection = db;
    struct stele_alloc *const alloc = stele_linux_alloc();
    (void)keep;
    PQfinish(connection->pg);
    stele_buf_deinit(&connection->json, alloc);
    stele_release(alloc, connection, sizeof *connection);
}

static int connect_postgres(const char *where, uint32_t flags, void **out_db,
                            struct stele_error *err)
{
    struct connection *const connection =
        stele_allocate_zeroed(stele_linux_alloc(), sizeof *connection);
    (void)flags;
    if (connection == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "connect to PostgreSQL: no memory");
    }
    connection->pg = PQconnectdb(where);
    if (PQstatus(connection->pg) != CONNECTION_OK) {
        const int outcome = lost(connection, err);
        disconnect(connection, false);
        return outcome;
    }
    (void)PQsetNoticeProcessor(connection->pg, no_notice, NULL);
    *out_db = connection;
    return STELE_OK;
}

static void *handle(void *db)
{
    return ((struct connection *)db)->pg;
}

/* ---- The pipeline ---- */

/* Sends what waits to be sent. The server may not read on while its own answers are not taken, so
 * both ways are watched. */
static int send_out(struct connection *connection, struct stele_error *err)
{
    for (;;) {
        const int left = PQflush(connection->pg);
        if (left == 0) {
            return STELE_OK;
        }
        struct pollfd ready = {.fd = PQsocket(connection->pg), .events = POLLIN | POLLOUT};
        if (left < 0 || poll(&ready, 1, -1) < 0 ||
            ((ready.revents & POLLIN) != 0 && PQconsumeInput(connection->pg) == 0)) {
            return lost(connection, err);
        }
    }
}

/* The answers of everything that is under way, in order. */
static int take_answers(struct connection *connection, struct stele_error *err)
{
    size_t answered = 0;
    unsigned silence = 0;
    int outcome = STELE_OK;
    for (;;) {
        PGresult *const result = PQgetResult(connection->pg);
        if (result == NULL) {
            /* Between two statements there is one of these; more of them come from a connection that
             * has broken off. */
            if (++silence > 2 || PQstatus(connection->pg) != CONNECTION_OK) {
                return lost(connection, err);
            }
            continue;
        }
        silence = 0;
        const ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_PIPELINE_SYNC) {
            PQclear(result);
            return outcome;
        }
        if (status == PGRES_FATAL_ERROR && outcome == STELE_OK) {
            connection->culprit =
                answered < connection->count ? connection->under_way[answered] : 0;
            outcome = failed(connection, result, err);
        }
        answered++;
        PQclear(result);
    }
}

static int drain(struct connection *connection, struct stele_error *err)
{
    if (connection->count == 0) {
        return STELE_OK;
    }
    connection->culprit = 0;
    if (PQpipelineSync(connection->pg) == 0) {
        return lost(connection, err);
    }
    int outcome = send_out(connection, err);
    if (outcome == STELE_OK) {
        outcome = take_answers(connection, err);
    }
    connection->count = 0;
    return outcome;
}

/* Back to one statement and one answer. */
static int settle(struct connection *connection, struct stele_error *err)
{
    if (!connection->sends) {
        return STELE_OK;
    }
    const int outcome = drain(connection, err);
    if (PQexitPipelineMode(connection->pg) == 0 || PQsetnonblocking(connection->pg, 0) != 0) {
        return outcome != STELE_OK ? outcome : lost(connection, err);
    }
    connection->sends = false;
    return outcome;
}

static int start_sending(struct connection *connection, struct stele_error *err)
{
    if (connection->sends) {
        return STELE_OK;
    }
    if (PQsetnonblocking(connection->pg, 1) != 0 || PQenterPipelineMode(connection->pg) == 0) {
        return lost(connection, err);
    }
    connection->sends = true;
    return STELE_OK;
}

/* ---- Statements ---- */

/* PostgreSQL counts characters from 1. */
static size_t offset_of(const PGresult *result, const char *sql)
{
    const char *const field = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
    size_t characters = 0;
    size_t offset = 0;
    if (field == NULL) {
        return SIZE_MAX;
    }
    for (const char *c = field; *c >= '0' && *c <= '9'; c++) {
        characters = characters * 10 + (size_t)(*c - '0');
    }
    while (characters > 1 && sql[offset] != '\0') {
        offset++;
        characters -= ((unsigned char)sql[offset] & 0xc0) != 0x80 ? 1 : 0;
    }
    return offset;
}

static int execute(void *db, const char *sql, size_t *out_offset, struct stele_error *err)
{
    struct connection *const connection = db;
    int outcome = settle(connection, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    PGresult *const result = PQexec(connection->pg, sql);
    if (!is_good(result)) {
        outcome = failed(connection, result, err);
        if (out_offset != NULL) {
            *out_offset = offset_of(result, sql);
        }
    }
    PQclear(result);
    return outcome;
}

static int begin(void *db, struct stele_error *err)
{
    return execute(db, "BEGIN", NULL, err);
}

static int commit(void *db, struct stele_error *err)
{
    struct connection *const connection = db;
    connection->culprit = 0;
    return execute(db, "COMMIT", NULL, err);
}

static void rollback(void *db)
{
    struct connection *const connection = db;
    (void)settle(connection, NULL);
    if (PQtransactionStatus(connection->pg) != PQTRANS_IDLE) {
        PQclear(PQexec(connection->pg, "ROLLBACK"));
    }
}

static int hand_out(const PGresult *result, stele_sinks_row on_row, void *context)
{
    struct stele_text columns[VALUES_MAX];
    const int count = PQnfields(result);
    int outcome = STELE_OK;
    STELE_ASSERT(count <= (int)VALUES_MAX);
    for (int row = 0; row < PQntuples(result) && outcome == STELE_OK; row++) {
        for (int i = 0; i < count; i++) {
            columns[i] = (struct stele_text){.data = PQgetvalue(result, row, i),
                                             .size = (size_t)PQgetlength(result, row, i)};
        }
        outcome = on_row(context, columns, (size_t)count);
    }
    return outcome;
}

static uint64_t changes_of(PGresult *result)
{
    uint64_t changes = 0;
    for (const char *c = PQcmdTuples(result); *c >= '0' && *c <= '9'; c++) {
        changes = changes * 10 + (uint64_t)(*c - '0');
    }
    return changes;
}

/* Bookkeeping statements write ?1 for $1. */
static void with_dollars(const char *sql, char to[QUERY_SIZE_MAX])
{
    size_t i = 0;
    for (; i < QUERY_SIZE_MAX - 1 && sql[i] != '\0'; i++) {
        to[i] = sql[i] == '?' ? '$' : sql[i];
    }
    STELE_ASSERT(sql[i] == '\0');
    to[i] = '\0';
}

static int query(void *db, const char *sql, const struct stele_sinks_value *values, size_t count,
                 stele_sinks_row on_row, void *context, uint64_t *out_changes,
                 struct stele_error *err)
{
    struct connection *const connection = db;
    char text[QUERY_SIZE_MAX];
    char numbers[VALUES_MAX][24];
    const char *params[VALUES_MAX];
    Oid types[VALUES_MAX];
    STELE_ASSERT(count <= VALUES_MAX);
    int outcome = settle(connection, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    with_dollars(sql, text);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(numbers[i], sizeof numbers[i], "%lld", (long long)values[i].number);
        params[i] = values[i].text != NULL ? values[i].text : values[i].is_null ? NULL : numbers[i];
        types[i] = values[i].text != NULL ? OID_TEXT : OID_INT8;
    }
    PGresult *const result =
        PQexecParams(connection->pg, text, (int)count, types, params, NULL, NULL, 0);
    if (!is_good(result)) {
        outcome = failed(connection, result, err);
        connection->culprit = 0;
    } else if (on_row != NULL) {
        outcome = hand_out(result, on_row, context);
    }
    if (outcome == STELE_OK && out_changes != NULL) {
        *out_changes = changes_of(result);
    }
    PQclear(result);
    return outcome;
}

static Oid type_of(enum stele_projection_param param)
{
    switch (param) {
    case STELE_PARAM_REVISION:
    case STELE_PARAM_POSITION:
        return OID_INT8;
    case STELE_PARAM_CREATED:
    case STELE_PARAM_EFFECTIVE:
        return OID_TIMESTAMPTZ;
    case STELE_PARAM_DATA:
    case STELE_PARAM_METADATA:
        return OID_JSONB;
    case STELE_PARAM_BYTES:
        return OID_BYTEA;
    case STELE_PARAM_STREAM:
    case STELE_PARAM_TYPE:
    case STELE_PARAM_ID:
    case STELE_PARAMS:
        break;
    }
    return OID_TEXT;
}

static int prepare(void *db, const char *sql, size_t number, uint32_t params, void **out_statement,
                   size_t *out_offset, struct stele_error *err)
{
    struct connection *const connection = db;
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct prepared *const prepared = stele_allocate_zeroed(alloc, sizeof *prepared);
    Oid types[STELE_PARAMS];
    (void)number;
    if (prepared == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "prepare a statement: no memory");
    }
    for (uint32_t left = params; left != 0; left &= left - 1) {
        types[prepared->count++] = type_of((enum stele_projection_param)__builtin_ctz(left));
    }
    prepared->params = params;
    (void)snprintf(prepared->name, sizeof prepared->name, "stele_%u", connection->names++);
    int outcome = settle(connection, err);
    if (outcome == STELE_OK) {
        PGresult *const result =
            PQprepare(connection->pg, prepared->name, sql, prepared->count, types);
        if (!is_good(result)) {
            outcome = failed(connection, result, err);
            *out_offset = offset_of(result, sql);
        }
        PQclear(result);
    }
    if (outcome != STELE_OK) {
        stele_release(alloc, prepared, sizeof *prepared);
        return outcome;
    }
    *out_statement = prepared;
    return STELE_OK;
}

static void release(void *db, void *statement)
{
    struct connection *const connection = db;
    struct prepared *const prepared = statement;
    char sql[64];
    (void)snprintf(sql, sizeof sql, "DEALLOCATE %s", prepared->name);
    (void)settle(connection, NULL);
    PQclear(PQexec(connection->pg, sql));
    stele_release(stele_linux_alloc(), prepared, sizeof *prepared);
}

/* ---- Events ---- */

/* The values of one statement, in binary. */
struct binding {
    const char *values[STELE_PARAMS];
    int sizes[STELE_PARAMS];
    int formats[STELE_PARAMS];
    char numbers[STELE_PARAMS][8];
    char id[37];
    int count;
};

static void bind_bytes(struct binding *binding, const void *bytes, size_t size)
{
    binding->values[binding->count] = bytes != NULL ? bytes : "";
    binding->sizes[binding->count] = (int)size;
    binding->formats[binding->count] = 1;
    binding->count++;
}

static void bind_number(struct binding *binding, uint64_t number)
{
    char *const to = binding->numbers[binding->count];
    for (int i = 0; i < 8; i++) {
        to[i] = (char)(number >> (56 - 8 * i));
    }
    bind_bytes(binding, to, 8);
}

/* jsonb in binary is a version and the text. The buffer holds two of them at most, so it is grown
 * before. */
static void bind_json(struct binding *binding, struct connection *connection, const void *json,
                      size_t size)
{
    uint8_t *const to = connection->json.data + connection->json.size;
    to[0] = 1;
    if (size > 0) {
        memcpy(to + 1, json, size);
    }
    connection->json.size += size + 1;
    bind_bytes(binding, to, size + 1);
}

static void bind(struct binding *binding, struct connection *connection,
                 enum stele_projection_param param, const struct stele_event *event,
                 int64_t effective_us)
{
    switch (param) {
    case STELE_PARAM_STREAM:
        bind_bytes(binding, event->stream.data, event->stream.size);
        return;
    case STELE_PARAM_REVISION:
        bind_number(binding, event->revision);
        return;
    case STELE_PARAM_POSITION:
        bind_number(binding, event->position);
        return;
    case STELE_PARAM_TYPE:
        bind_bytes(binding, event->type.data, event->type.size);
        return;
    case STELE_PARAM_CREATED:
        bind_number(binding, (uint64_t)(event->created_us - EPOCH_US));
        return;
    case STELE_PARAM_EFFECTIVE:
        bind_number(binding, (uint64_t)(effective_us - EPOCH_US));
        return;
    case STELE_PARAM_DATA:
        bind_json(binding, connection, event->data, event->data_size);
        return;
    case STELE_PARAM_METADATA:
        if (event->metadata_size == 0) {
            bind_bytes(binding, NULL, 0);
            binding->values[binding->count - 1] = NULL;
            return;
        }
        bind_json(binding, connection, event->metadata, event->metadata_size);
        return;
    case STELE_PARAM_ID:
        stele_id_to_text(event->id, binding->id);
        bind_bytes(binding, binding->id, 36);
        return;
    case STELE_PARAM_BYTES:
    case STELE_PARAMS:
        break;
    }
    bind_bytes(binding, event->data, event->data_size);
}

static int apply(void *db, void *statement, const struct stele_event *event, int64_t effective_us,
                 struct stele_error *err)
{
    struct connection *const connection = db;
    const struct prepared *const prepared = statement;
    struct binding binding;
    binding.count = 0;
    connection->json.size = 0;
    int outcome = stele_buf_reserve(&connection->json, stele_linux_alloc(),
                                    event->data_size + event->metadata_size + 2);
    if (outcome == STELE_OK) {
        outcome = start_sending(connection, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    for (uint32_t left = prepared->params; left != 0; left &= left - 1) {
        bind(&binding, connection, (enum stele_projection_param)__builtin_ctz(left), event,
             effective_us);
    }
    if (PQsendQueryPrepared(connection->pg, prepared->name, binding.count, binding.values,
                            binding.sizes, binding.formats, 0) == 0) {
        return lost(connection, err);
    }
    connection->under_way[connection->count++] = event->position;
    outcome = send_out(connection, err);
    return outcome == STELE_OK && connection->count == UNDER_WAY_MAX ? drain(connection, err)
                                                                     : outcome;
}

static uint64_t culprit(const void *db)
{
    return ((const struct connection *)db)->culprit;
}

const struct stele_sinks_driver stele_sinks_postgres = {
    .name = "PostgreSQL",
    .dialect = STELE_DIALECT_POSTGRES,
    .lanes_max = STELE_PROJECT_LANES_MAX,
    .lock_all = "SELECT pg_advisory_xact_lock(8389753974190531173)",
    .for_update = " FOR UPDATE",
    .has_tables = "SELECT 1 WHERE to_regclass('stele_builds') IS NOT NULL",
    .replace_view = "CREATE OR REPLACE VIEW ",
    .connect = connect_postgres,
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
