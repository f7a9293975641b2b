/* The command runner from the inside: states that are kept, how they are loaded, snapshots, figures.
 *
 * A *kept* state is one stream folded by one fold. While a command uses it, it is busy: others that
 * want it wait, so that commands on one stream queue up here and do not conflict in the store. */
#ifndef STELE_RUNNER_COMMAND_INTERNAL_H
#define STELE_RUNNER_COMMAND_INTERNAL_H

#include "base/alloc.h"
#include "base/status.h"
#include "client/client.h"
#include "es/json.h"
#include "es/memory.h"

#include <stele/run.h>

#include <pthread.h>
#include <stdatomic.h>

#define STELE_KEPT_SHARDS 16
#define STELE_KEPT_CHAINS 256          /* Of a shard. */
#define STELE_KEPT_SIZE_MAX (1u << 20) /* Bytes; a larger state is loaded anew each time. */
#define STELE_SNAPSHOTS_QUEUED_MAX 256
#define STELE_FIGURES_NAMES_MAX 512 /* Label values of one figure; the rest counts as "other". */
#define STELE_FIGURES_BUCKETS 20

/* ---- States that are kept ---- */

struct stele_kept {
    struct stele_kept *chain;
    struct stele_kept *newer; /* Among those of its shard that nobody uses. */
    struct stele_kept *older;
    uint64_t hash;
    const struct stele_fold *fold;
    char *stream;
    bool shared; /* In the table; otherwise one command's own. */
    bool busy;
    uint32_t waiters;
    struct stele_memory *memory; /* Of the state; NULL: nothing is loaded. */
    struct stele_state *state;
    uint64_t snapshot_count; /* Events in the last snapshot that is known of. */
    int64_t snapshot_us;     /* When it was made, or when the state was first seen without one. */
    /* What the state is known to be without reading again: that of all events up to `seen`, with the
     * stream's metadata as they were at `limits_seen`. */
    bool certain;
    uint64_t seen;
    uint64_t limits_seen;
    uint64_t
        hidden; /* The revision that a stream was last told to have when it was not that of its state,
                      * because its last events cannot be seen; otherwise STELE_EXPECT_NO_STREAM. */
};

struct stele_kept_shard {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    struct stele_kept *chains[STELE_KEPT_CHAINS];
    struct stele_kept *newest;
    struct stele_kept *oldest;
    size_t count;
};

struct stele_kept_table {
    struct stele_kept_shard shards[STELE_KEPT_SHARDS];
    size_t shard_max;
};

/* ---- Snapshots ---- */

struct stele_snapshot_job {
    struct stele_snapshot_job *next;
    size_t size;
    const char *fold; /* The names lie behind the data. */
    const char *stream;
    uint64_t fingerprint;
    uint64_t count;
    uint64_t revision;
    uint64_t position;
    size_t data_size;
    uint8_t data[];
};

struct stele_snapshots {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct stele_snapshot_job *first;
    struct stele_snapshot_job **last;
    size_t waiting; /* Being written included. */
    bool started;
    bool closing;
    pthread_t worker;
};

/* A snapshot that was found. */
struct stele_snapshot {
    uint64_t count;
    uint64_t revision;
    uint64_t position;
    int64_t created_us;
    const void *data;
    size_t data_size;
};

/* ---- Figures ---- */

struct stele_figures_row {
    char *name;
    uint64_t total;
    uint64_t errors;
    uint64_t sum_ns;
    uint64_t buckets[STELE_FIGURES_BUCKETS];
};

struct stele_figures_table {
    struct stele_figures_row *rows;
    size_t count;
    uint32_t index[2 * STELE_FIGURES_NAMES_MAX]; /* Of the row, plus 1; 0 is free. */
};

struct stele_figures {
    pthread_mutex_t lock;
    struct stele_figures_table commands;
    struct stele_figures_table events;
    struct stele_figures_table appends[2]; /* By category: failed, done. */
};

/* ---- Submitted commands ---- */

#define STELE_SUBMIT_WORKERS_MAX 8

struct submitted;

/* All under the lock. */
struct stele_submissions {
    pthread_mutex_t lock;
    pthread_cond_t queued;
    pthread_cond_t changed;  /* Nothing is under way any more. */
    struct submitted *first; /* What a worker has to do. */
    struct submitted **last;
    size_t under_way; /* Submitted, and their callback has not returned yet. */
    uint32_t idle;
    uint32_t workers_count;
    bool closing;
    pthread_t workers[STELE_SUBMIT_WORKERS_MAX];
};

/* ---- The runner ---- */

struct stele_runner {
    struct stele_alloc *alloc;
    struct stele *store;
    bool watching; /* The store tells where streams change. */
    struct stele_runner_options options;
    char *prefix;
    char *directory; /* NULL: snapshots are in the store. */
    struct stele_kept_table kept;
    struct stele_snapshots snapshots;
    struct stele_submissions submissions;
    struct stele_figures figures;
    _Atomic uint64_t commands, commands_ok, commands_rejected, conflicts, asked_again,
        events_appended, events_folded, snapshots_written, snapshots_used, snapshots_unusable,
        snapshots_failed, states_current;
};

static inline void stele_command__count(_Atomic uint64_t *counter, uint64_t by)
{
    /* Relaxed: figures for people, nothing is ordered by them. */
    (void)atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

int64_t stele_command__now_us(void);
uint64_t stele_command__ticks_ns(void);
void stele_command__pause(uint64_t ns);
/* NULL when there is no memory. Released with strlen() + 1. */
char *stele_command__text(struct stele_alloc *alloc, const char *text);

/* kept.c. Both initialise and release all of it. */
void stele_kept__init(struct stele_kept_table *table, size_t states_max);
void stele_kept__deinit(struct stele_runner *runner);
size_t stele_kept__count(struct stele_kept_table *table);
/* Takes a state for a command's own use. held_above: the greatest hash that the command holds
 * already, 0 for none: it waits only for what lies above it, so that no two commands wait for each
 * other, and gets one of its own otherwise. NULL: no memory; with never_waits and *out_busy, another
 * command has it. */
struct stele_kept *stele_kept__take(struct stele_runner *runner, const struct stele_fold *fold,
                                    const char *stream, uint64_t held_above, bool never_waits,
                                    bool *out_busy);
void stele_kept__give_back(struct stele_runner *runner, struct stele_kept *kept);
/* Forgets what was loaded. */
void stele_kept__forget(struct stele_kept *kept);

/* load.c. Brings a kept state up to what is in the store now, without a read if nothing can have come. */
STELE_MUST_USE
int stele_load__refresh(struct stele_runner *runner, struct stele_kept *kept,
                        struct stele_error *err);
/* Is it that already? Makes no call that waits. */
bool stele_load__is_current(const struct stele_runner *runner, const struct stele_kept *kept);
/* Goes on with what a command has just appended to the stream that its state was checked against. */
void stele_load__go_on(struct stele_runner *runner, struct stele_kept *kept,
                       const struct stele_prepared *appended, size_t events,
                       uint64_t position_last);

/* What a read says of itself. */
struct stele_look {
    bool certain; /* Nothing of the stream hides as time goes by. */
    uint64_t position;
};
/* A state in the caller's memory, as of a position (0: now). */
STELE_MUST_USE
int stele_load__state(struct stele_runner *runner, const struct stele_fold *fold,
                      const char *stream, uint64_t as_of, struct stele_memory *memory,
                      struct stele_state **out_state, uint64_t *out_snapshot_count,
                      int64_t *out_snapshot_us, struct stele_look *out_look,
                      struct stele_error *err);

/* query.c. Folds the events behind *position that match into the state; *position becomes the place
 * up to which was read. */
STELE_MUST_USE
int stele_query__read(struct stele_runner *runner, const struct stele_query_item *items,
                      size_t count, struct stele_state *state, uint64_t *position,
                      struct stele_error *err);

/* submit.c. stop waits until what was submitted has ended. */
void stele_submit__init(struct stele_submissions *all);
void stele_submit__stop(struct stele_runner *runner);

/* snapshot.c */
void stele_snapshot__init(struct stele_snapshots *snapshots);
void stele_snapshot__stop(struct stele_runner *runner);
/* Has a snapshot made if it is time. Never fails: what goes wrong is counted. */
void stele_snapshot__consider(struct stele_runner *runner, struct stele_state *state,
                              const char *stream, uint64_t *snapshot_count, int64_t *snapshot_us);
/* The latest one that serves at as_of (0: now). Data are made in memory.
 * STELE_OK, STELE_NOT_FOUND; STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_snapshot__find(struct stele_runner *runner, const struct stele_fold *fold,
                         const char *stream, uint64_t as_of, struct stele_memory *memory,
                         struct stele_snapshot *out_snapshot);

/* snapshot_file.c: beside the store. */
STELE_MUST_USE
int stele_snapshot__write_file(struct stele_runner *runner, const struct stele_snapshot_job *job);
STELE_MUST_USE
int stele_snapshot__read_file(struct stele_runner *runner, const struct stele_fold *fold,
                              const char *stream, uint64_t as_of, struct stele_memory *memory,
                              struct stele_snapshot *out_snapshot);

/* trace.c */
#define STELE_TRACEPARENT_SIZE 56
/* The metadata that all events of a command get, as a JSON object. traceparent: the span's own, "" if
 * there is no trace. */
STELE_MUST_USE
int stele_trace__metadata(const struct stele_origin *origin, const uint8_t command_id[16],
                          char traceparent[STELE_TRACEPARENT_SIZE], struct stele_output *output,
                          struct stele_error *err);

/* figures.c */
void stele_figures__init(struct stele_figures *figures);
void stele_figures__deinit(struct stele_runner *runner);
void stele_figures__command(struct stele_runner *runner, const char *type, bool failed,
                            uint64_t duration_ns);
void stele_figures__events(struct stele_runner *runner, const struct stele_emitted *events,
                           size_t count);
void stele_figures__append(struct stele_runner *runner, const char *stream, bool done,
                           uint64_t duration_ns);

#endif
