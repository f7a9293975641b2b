/* What the SQL sink asks of a database. One connection is used by one thread at a time.
 *
 * A driver may put off statements of events; it has to have executed them when commit() returns, and
 * a later call may report what an earlier one ran into. culprit() then says whose fault it was. */
#ifndef STELE_SINKS_DRIVER_H
#define STELE_SINKS_DRIVER_H

#include "runner/projection.h"

/* A value of a bookkeeping statement: a number if text is NULL, and NULL if is_null. */
struct stele_sinks_value {
    const char *text;
    int64_t number;
    bool is_null;
};

/* One row; NULL is an empty text. Anything but STELE_OK returned ends the query with it. */
typedef int (*stele_sinks_row)(void *context, const struct stele_text *columns, size_t count);

struct stele_sinks_driver {
    const char *name; /* For messages. */
    enum stele_dialect dialect;
    uint32_t lanes_max;
    const char *lock_all;     /* Keeps other attachings out until the transaction ends; NULL: begin
                               * does. */
    const char *for_update;   /* Behind a SELECT whose rows are to stay as they are. */
    const char *has_tables;   /* Has one row if the bookkeeping tables are there. */
    const char *replace_view; /* Words that make a view in place of one; NULL: there are none. */

    int (*connect)(const char *where, uint32_t flags, void **out_db, struct stele_error *err);
    /* keep: the database is wanted. Otherwise a file that connect made is removed again. */
    void (*disconnect)(void *db, bool keep);
    void *(*handle)(void *db);

    int (*begin)(void *db, struct stele_error *err);
    int (*commit)(void *db, struct stele_error *err);
    void (*rollback)(void *db);
    /* One statement without values or rows. *out_offset: where in it the mistake is, SIZE_MAX if that
     * is not known; may be NULL. */
    int (*execute)(void *db, const char *sql, size_t *out_offset, struct stele_error *err);
    /* One statement with ?1, ?2, …. on_row and out_changes may be NULL. */
    int (*query)(void *db, const char *sql, const struct stele_sinks_value *values, size_t count,
                 stele_sinks_row on_row, void *context, uint64_t *out_changes,
                 struct stele_error *err);
    int (*prepare)(void *db, const char *sql, size_t number, uint32_t params, void **out_statement,
                   size_t *out_offset, struct stele_error *err);
    void (*release)(void *db, void *statement);
    int (*apply)(void *db, void *statement, const struct stele_event *event, int64_t effective_us,
                 struct stele_error *err);
    uint64_t (*culprit)(const void *db);
};

extern const struct stele_sinks_driver stele_sinks_sqlite;
extern const struct stele_sinks_driver stele_sinks_postgres;

/* A sink on a database, connected once. */
STELE_MUST_USE
int stele_sinks_open_sql(const struct stele_sinks_driver *driver, const char *where, uint32_t flags,
                         struct stele_sink **out_sink, struct stele_error *err);

/* A sink on Elasticsearch. */
STELE_MUST_USE
int stele_sinks_open_elastic(const char *where, uint32_t flags, struct stele_sink **out_sink,
                             struct stele_error *err);
/* A sink on Redis. */
STELE_MUST_USE
int stele_sinks_open_redis(const char *where, uint32_t flags, struct stele_sink **out_sink,
                           struct stele_error *err);

/* What the nonces of a sink begin with: 128 random bits, as text. */
#define STELE_SINKS_SEED_SIZE 33
STELE_MUST_USE
int stele_sinks_seed(char to[STELE_SINKS_SEED_SIZE], struct stele_error *err);

#endif
