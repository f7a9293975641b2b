/* Projections: read models that are kept up to date with a store, each event counted exactly once.
 *
 * A projection says what events mean for a read model; a sink is where the read model lives. The
 * runner reads the store in order, gives the events to the sink in batches, and in the same
 * transaction stores how far it has come (the checkpoint). So whatever ends a runner, also kill -9,
 * the next one goes on as if nothing had happened.
 *
 * Read these first:
 *  - Everything a projection's database work creates gets the number of its build behind its name
 *    ("balance__1"); readers use views of the plain names, which are switched from build to build in
 *    one transaction.
 *  - An event that the database refuses is parked, and so are all later ones of its stream, in order.
 *    Other streams go on.
 *  - Several runners of one projection do no harm: every transaction checks that the checkpoint is
 *    still where it began. They only do work in vain.
 *  - Events count in the order in which they were stored, or, where a projection says so, in the order of
 *    their effective dates, with corrections applied.
 *  - A projection and a sink belong to one thread at a time.
 *
 * Sinks are opened by the functions of <stele/sinks.h>, in the library stele-run. */
#ifndef STELE_PROJECT_H
#define STELE_PROJECT_H

#include <stele/stele.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STELE_PROJECT_NAME_SIZE_MAX 48 /* bytes of a projection's name, and of a table's */
#define STELE_PROJECT_LANES_MAX 32

struct stele_projection;     /* What events mean. */
struct stele_sink;           /* An open place of read models. */
struct stele_project_signal; /* Wakes who waits for a run. */
struct stele_effective;      /* When an event counts: <stele/es.h>. */

/* ---- Projections ------------------------------------------------------------------------- */

/* Takes a projection from the text of an SQL file (docs/projections.md has its form). file is its
 * name for messages. Everything is copied.
 *
 * STELE_OK         *out_projection is set; release it with stele_projection_destroy().
 * STELE_E_INVALID  The message begins with "FILE:LINE: ".
 * STELE_E_NO_MEMORY */
STELE_API int stele_projection_parse(const char *file, const char *text, size_t size,
                                     struct stele_projection **out_projection,
                                     struct stele_error *err);

/* What a projection in C gets with every event. */
struct stele_project_step {
    void *handle;       /* Of the sink: sqlite3 * or PGconn *, inside a transaction that is not the
                         * callback's to end. NULL if the sink has none. */
    const char *suffix; /* Goes behind the name of every table: "__1". */
    int replay;         /* 1: this event was already processed by an earlier build, or was there
                         * before the projection was: leave side effects alone. In effective order
                         * always 1, because events are applied again and again. */
    int64_t effective_us; /* When the event counts; in stored order that is when it was stored. */
};

/* A projection in C. */
struct stele_projection_options {
    size_t struct_size;
    const char *name;                  /* Letters, digits, "_", "-". */
    uint64_t version;                  /* From 1; to be raised whenever the meaning changes. */
    const struct stele_filter *filter; /* Which events it wants; copied. NULL: all but system's. */
    const char *const *tables;         /* What create makes, for the views; may be NULL. */
    size_t tables_count;
    /* Makes the tables. STELE_OK, or anything else with words in err: nothing is kept. May be NULL. */
    int (*create)(void *context, const struct stele_project_step *step, struct stele_error *err);
    /* Applies one event. STELE_OK; STELE_E_INVALID with words: the event is parked; anything else
     * ends the run. A batch may be rolled back and its events applied again. */
    int (*apply)(void *context, const struct stele_project_step *step,
                 const struct stele_event *event, struct stele_error *err);
    void *context;
    /* 1: events are folded stream by stream in the order in which they count, corrections in the place
     * of what they correct: see stele_state_apply_effective(). An event may then change only what
     * belongs to its own stream. The filter may choose streams, prefixes of streams and categories. */
    int effective_order;
    /* With effective_order: takes out all that events of the stream have left in the tables, so that they
     * can be applied in another order. Outcomes as of apply. */
    int (*undo)(void *context, const struct stele_project_step *step, const char *stream,
                struct stele_error *err);
    /* With effective_order, when an event counts. NULL: members of its metadata, see struct stele_fold. */
    int (*effective)(void *context, const struct stele_event *event, struct stele_effective *out);
};
#define STELE_PROJECTION_OPTIONS_INIT                                                              \
    {                                                                                              \
        sizeof(struct stele_projection_options), NULL, 1, NULL, NULL, 0, NULL, NULL, NULL, 0,      \
            NULL, NULL                                                                             \
    }

/* STELE_OK, STELE_E_INVALID, STELE_E_NO_MEMORY */
STELE_API int stele_projection_create(const struct stele_projection_options *options,
                                      struct stele_projection **out_projection,
                                      struct stele_error *err);
/* NULL is fine. No sink may be using it. */
STELE_API void stele_projection_destroy(struct stele_projection *projection);
/* Valid as long as the projection. */
STELE_API const char *stele_projection_name(const struct stele_projection *projection);
STELE_API uint64_t stele_projection_version(const struct stele_projection *projection);

/* ---- Running ----------------------------------------------------------------------------- */

struct stele_project_progress {
    uint64_t position; /* Everything up to here is in the read model, or parked. */
    uint64_t events;   /* Applied by this run. */
    uint64_t parked;   /* By this run. */
    uint64_t commits;  /* Transactions of this run. */
    uint64_t build;    /* Which build is being written. */
};

struct stele_project_options {
    size_t struct_size;
    int follow;          /* 1: goes on with what comes until it is stopped. 0 (default): ends when
                           * everything that was there at the beginning is done. */
    int rebuild;         /* 1: makes a new build beside the present one, brings it to where that one
                           * is, switches the views in one transaction, drops the old one. */
    uint64_t as_of;      /* Nothing after this position; 0 for no bound. Not with follow. */
    uint32_t lanes;      /* Connections that work side by side, each on streams of its own. Default
                           * 1; SQLite has one writer and takes only 1. Kept when a projection is
                           * run again: 0 means as before. */
    uint32_t batch_max;  /* Events of one transaction, default 8192. */
    uint32_t linger_ms;  /* How long a commit is put off, while following, for more events to come.
                           * Default 0. */
    uint32_t parked_max; /* Streams that may be parked before the run ends with STELE_E_LIMIT,
                           * because then it is the projection that is wrong. Default 1000. */
    int effects_of_past; /* 1: side effects also for events that were there before the
                           * projection was. */
    /* Asked after every transaction and at least five times a second, from any thread of the run.
     * Anything but 0 returned ends the run. May be NULL. */
    int (*on_progress)(void *context, const struct stele_project_progress *progress);
    void *context;
    /* For a projection in effective order: nothing that counts later, in microseconds since 1970; 0 for
     * no bound. With as_of both times can be asked about: what counted then, as it was known then. Not
     * with follow or rebuild, and each bound into a sink of its own. */
    int64_t effective_until_us;
    /* Is told how far the run has come, for stele_project_wait_signal(). May be NULL. */
    struct stele_project_signal *signal;
};
#define STELE_PROJECT_OPTIONS_INIT                                                                 \
    {                                                                                              \
        sizeof(struct stele_project_options), 0, 0, 0, 0, 8192, 0, 1000, 0, NULL, NULL, 0, NULL    \
    }

/* Runs a projection on the thread that calls (and one more for every further lane). out_progress
 * may be NULL; it is written whatever the outcome.
 *
 * STELE_OK                Everything is done, or on_progress ended it.
 * STELE_E_INVALID         The projection does not go with the database: bad SQL (FILE:LINE), tables
 *                         that are in the way. Nothing was changed.
 * STELE_CONDITION_FAILED  The database has another version of the projection, or the same version
 *                         with other words, or it is of another store.
 * STELE_E_LIMIT           parked_max.
 * and what reading the store or the sink can end with. What was committed stays. */
STELE_API int stele_project_run(struct stele *store, struct stele_projection *projection,
                                struct stele_sink *sink,
                                const struct stele_project_options *options,
                                struct stele_project_progress *out_progress,
                                struct stele_error *err);

/* Waits until the read model has everything up to position, at most timeout_ms (-1: for ever). The
 * sink has to be one that no run is using. The database is asked, at first after a millisecond, then
 * every STELE_PROJECT_POLL_MS.
 *
 * STELE_OK, STELE_TIMED_OUT, STELE_NOT_FOUND (no such projection there), errors of the sink */
#define STELE_PROJECT_POLL_MS 20
STELE_API int stele_project_wait(struct stele_sink *sink, const char *name, uint64_t position,
                                 int timeout_ms, struct stele_error *err);

/* Waits without asking again and again, while a run of that projection goes on in this process which has
 * the same signal among its options: it wakes who waits when it has come so far. While there is no such
 * run (it is in another process, or between two attempts) the database is asked as above. Outcomes too
 * are the same; signal may be NULL. Thread-safe, each waiting with a sink of its own. */
STELE_API int stele_project_wait_signal(struct stele_project_signal *signal,
                                        struct stele_sink *sink, const char *name,
                                        uint64_t position, int timeout_ms, struct stele_error *err);
/* One for all runs into one database. STELE_OK, STELE_E_NO_MEMORY */
STELE_API int stele_project_signal_create(struct stele_project_signal **out_signal,
                                          struct stele_error *err);
/* When no run and nobody who waits uses it any more. NULL is fine. */
STELE_API void stele_project_signal_destroy(struct stele_project_signal *signal);

/* ---- Looking after them ------------------------------------------------------------------ */

struct stele_project_info {
    const char *name;
    uint64_t version;
    uint64_t build;
    int building; /* 1: a rebuild that readers do not see yet. */
    uint32_t lanes;
    uint64_t position;  /* The checkpoint; of several lanes the lowest. */
    uint64_t events;    /* Applied by this build. */
    uint64_t parked;    /* Events that are parked. */
    const char *source; /* The text of its SQL file; "" for a projection in C. */
};
/* Called for every build in a sink, by name. Anything but 0 returned ends the listing. */
typedef int (*stele_project_callback)(void *context, const struct stele_project_info *info);
STELE_API int stele_project_list(struct stele_sink *sink, stele_project_callback on_projection,
                                 void *context, struct stele_error *err);

/* How far a build is behind: its events that the store has after the checkpoint, counted up to
 * limit, and the microseconds from the checkpoint to the last of them (0: nothing to do). */
struct stele_project_lag {
    uint64_t events;
    int64_t time_us;
};
STELE_API int stele_project_lag(struct stele *store, const struct stele_projection *projection,
                                uint64_t position, uint64_t limit,
                                struct stele_project_lag *out_lag, struct stele_error *err);

struct stele_project_parked {
    const char *name;
    const char *stream;
    const char *type;
    uint64_t revision;
    uint64_t position;
    uint64_t attempts;  /* How often it was tried; 0 for one that only waits behind another. */
    const char *reason; /* In the database's words; "" for one that waits. */
};
typedef int (*stele_parked_callback)(void *context, const struct stele_project_parked *parked);
/* The parked events of the live build of a projection (NULL: of all), by stream, in order. */
STELE_API int stele_project_parked(struct stele_sink *sink, const char *name,
                                   stele_parked_callback on_parked, void *context,
                                   struct stele_error *err);

struct stele_project_retried {
    uint64_t applied; /* Events that are in the read model now. */
    uint64_t skipped;
    uint64_t left; /* Events that are still parked. */
};
/* Applies the parked events of a stream (NULL: of every parked stream) in order, until one is
 * refused again. skip: leaves out the first one of the stream, for ever. A run of the same
 * projection, in whatever process, takes notice.
 *
 * STELE_OK (also if some are refused again), STELE_NOT_FOUND (nothing is parked), … */
STELE_API int stele_project_retry(struct stele *store, struct stele_projection *projection,
                                  struct stele_sink *sink, const char *stream, int skip,
                                  struct stele_project_retried *out_retried,
                                  struct stele_error *err);

/* Removes a projection from its database: tables, views, checkpoint, parked events. */
STELE_API int stele_project_drop(struct stele_sink *sink, struct stele_projection *projection,
                                 struct stele_error *err);

/* Releases a sink. NULL is fine. */
STELE_API void stele_sink_close(struct stele_sink *sink);

#ifdef __cplusplus
}
#endif

#endif
