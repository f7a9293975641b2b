/* The read models: balance and number of entries of every account, as SQL and as C; and one that wants
 * only the events of a rare type, as most read models of a store of many types do. */
#include "project.h"

#include <sqlite3.h>

#define TABLE                                                                                      \
    "CREATE TABLE accounts (account TEXT PRIMARY KEY, cents INTEGER NOT NULL, entries INTEGER "    \
    "NOT NULL);\n"
#define UPSERT(cents)                                                                              \
    " (account, cents, entries) VALUES (:stream, " cents                                           \
    ", 1) ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents, "                    \
    "entries = entries + 1"

static const char all_text[] =
    "-- @projection totals\n-- @version 1\n-- @category account\n-- @tables\n" TABLE
    "-- @on Deposited\nINSERT INTO accounts" UPSERT(
        ":data ->> '$.cents'") ";\n"
                               "-- @on Withdrawn\nINSERT INTO accounts" UPSERT(
                                   "-(:data ->> '$.cents')") ";\n";

static const char rare_text[] =
    "-- @projection totals\n-- @version 1\n-- @category account\n-- @tables\n" TABLE
    "-- @on Withdrawn\nINSERT INTO accounts" UPSERT("-(:data ->> '$.cents')") ";\n";

enum kind project_kind(const struct plan *plan, unsigned number)
{
    static const enum kind mix[] = {KIND_SQL, KIND_C};
    if (strcmp(plan->kinds, "mixed") == 0) {
        return mix[number % STELE_COUNT_OF(mix)];
    }
    return strcmp(plan->kinds, "c") == 0      ? KIND_C
           : strcmp(plan->kinds, "rare") == 0 ? KIND_RARE
                                              : KIND_SQL;
}

/* ---- In C ---- */

/* Of one projection; used by the one thread that runs it. */
struct totals {
    sqlite3 *sqlite; /* Whose statement it is. */
    sqlite3_stmt *upsert;
    char suffix[32];
};

static int make_table(void *context, const struct stele_project_step *step, struct stele_error *err)
{
    char sql[300];
    (void)context;
    (void)snprintf(sql, sizeof sql,
                   "CREATE TABLE accounts%s (account TEXT PRIMARY KEY, cents INTEGER NOT NULL, "
                   "entries INTEGER NOT NULL)",
                   step->suffix);
    if (sqlite3_exec(step->handle, sql, NULL, NULL, NULL) != SQLITE_OK) {
        (void)snprintf(err->message, sizeof err->message, "%.200s", sqlite3_errmsg(step->handle));
        return STELE_E_IO;
    }
    return STELE_OK;
}

static int prepare(struct totals *totals, const struct stele_project_step *step)
{
    char sql[400];
    if (totals->sqlite == step->handle && strcmp(totals->suffix, step->suffix) == 0) {
        return SQLITE_OK;
    }
    (void)snprintf(
        sql, sizeof sql,
        "INSERT INTO accounts%s (account, cents, entries) VALUES (?1, ?2, 1) ON CONFLICT "
        "(account) DO UPDATE SET cents = cents + excluded.cents, entries = entries + 1",
        step->suffix);
    (void)snprintf(totals->suffix, sizeof totals->suffix, "%s", step->suffix);
    totals->sqlite = step->handle;
    return sqlite3_prepare_v3(totals->sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, &totals->upsert,
                              NULL);
}

static int apply(void *context, const struct stele_project_step *step,
                 const struct stele_event *event, struct stele_error *err)
{
    static const char key[] = "\"cents\":";
    struct totals *const totals = context;
    const char *const found = memmem(event->data, event->data_size, key, sizeof key - 1);
    int code = found != NULL ? prepare(totals, step) : SQLITE_MISMATCH;
    if (code == SQLITE_OK) {
        /* What follows the number is a comma or a bracket, so it ends within the data. */
        const int64_t cents = strtoll(found + sizeof key - 1, NULL, 10);
        (void)sqlite3_bind_text(totals->upsert, 1, event->stream.data, (int)event->stream.size,
                                SQLITE_STATIC);
        (void)sqlite3_bind_int64(totals->upsert, 2, event->type.data[0] == 'D' ? cents : -cents);
        (void)sqlite3_step(totals->upsert);
        code = sqlite3_reset(totals->upsert);
    }
    if (code != SQLITE_OK) {
        (void)snprintf(err->message, sizeof err->message, "%.200s", sqlite3_errstr(code));
        return STELE_E_INVALID;
    }
    return STELE_OK;
}

/* ---- Both ---- */

struct stele_projection *project_model(struct shared *shared, enum kind kind, unsigned number)
{
    /* They live as long as the process: a sink that is closed before its statements are released waits
     * for them, and nobody comes back to a database of this program. */
    static struct totals totals[PROJECTIONS_MAX];
    static const char *const categories[] = {"account"};
    static const char *const tables[] = {"accounts"};
    struct stele_projection *projection = NULL;
    struct stele_error err = {0};
    int outcome;
    if (kind == KIND_C) {
        const struct stele_filter filter = {.categories = categories, .categories_count = 1};
        struct stele_projection_options options = STELE_PROJECTION_OPTIONS_INIT;
        options.name = "totals";
        options.filter = &filter;
        options.tables = tables;
        options.tables_count = 1;
        options.create = make_table;
        options.apply = apply;
        options.context = &totals[number];
        outcome = stele_projection_create(&options, &projection, &err);
    } else {
        const char *const text = kind == KIND_RARE ? rare_text : all_text;
        outcome = stele_projection_parse("bench", text, strlen(text), &projection, &err);
    }
    if (outcome != STELE_OK) {
        project_die(shared, "make a projection", &err);
    }
    return projection;
}
