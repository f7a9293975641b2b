/* What the parts of the benchmark of live read models share.
 *
 * Writer and projections may be two processes: `struct shared` lies in memory that both have, and is
 * made before they part. */
#ifndef BENCH_PROJECT_H
#define BENCH_PROJECT_H

#include "cli/bench_kit.h"

#include <stele/sinks.h>

#include <pthread.h>
#include <stdatomic.h>

#define PROJECTIONS_MAX 200u
#define ACCOUNTS 10000u
#define RARE_EVERY 20u /* So many deposits come between two withdrawals. */

enum kind { KIND_SQL, KIND_C, KIND_RARE };

struct plan {
    const char *directory;
    const char *server; /* The program stele; NULL: no server. */
    const char *kinds;  /* sql, c, rare, mixed */
    bool apart;         /* The projections are a process of their own and read the same files. */
    bool json;
    unsigned projections;
    unsigned rate;  /* Events a second. */
    unsigned group; /* Events of one append. */
    unsigned linger_ms;
    double seconds;
};

/* When an append was durable. */
struct mark {
    uint64_t position;
    uint64_t at_ns;
};

/* How far a projection is, as it says itself after each of its transactions. */
struct follower_state {
    atomic_bool ready;  /* It follows. */
    atomic_size_t seen; /* Marks that are in the read model. */
    uint64_t done_ns;   /* When the last mark was. */
    uint64_t commits;
    uint64_t parked;
    struct bench_histogram lag; /* Of every mark. */
};

struct shared {
    atomic_bool stop;   /* Everything is written: end as soon as it is in the read model. */
    atomic_bool failed; /* Somebody had to give up. */
    atomic_size_t marks_count;
    size_t marks_max;
    double followers_cpu_s; /* Of the threads that run projections. */
    struct follower_state followers[PROJECTIONS_MAX];
    struct mark marks[];
};

/* What the writer has to tell. */
struct written {
    double seconds; /* Until the last append was begun. */
    double cpu_s;   /* Of its thread. */
    struct bench_histogram latency;
    size_t behind_half[PROJECTIONS_MAX]; /* Marks, when half of the time was over. */
    size_t behind_end[PROJECTIONS_MAX];
    uint64_t ended_ns;
};

/* Says what went wrong, tells everybody, and ends the process. */
_Noreturn void project_die(struct shared *shared, const char *what, const struct stele_error *err);
double project_thread_cpu(void);

/* Writes at the plan's rate until its seconds are over and everything is durable. */
void project_write(const struct plan *plan, struct shared *shared, struct stele *store,
                   struct written *out_written);

/* Which kind the projection of this number is. */
enum kind project_kind(const struct plan *plan, unsigned number);
/* A projection of this kind. It is to be released by the caller. */
struct stele_projection *project_model(struct shared *shared, enum kind kind, unsigned number);

#endif
