/* A run of a projection, as its parts see it. */
#ifndef STELE_RUNNER_RUN_H
#define STELE_RUNNER_RUN_H

#include "runner/project_effective.h"
#include "runner/sink.h"
#include "runner/text_set.h"

#include <pthread.h>
#include <stdatomic.h>

/* A run, as its signal knows it. */
struct stele_run_told {
    struct stele_run_told *next;
    const char *name;
    uint64_t position;
};

struct stele_run {
    struct stele *store;
    struct stele_projection *projection;
    struct stele_sink *sink;
    struct stele_project_options options;
    struct stele_sink_place place;
    uint64_t target; /* Where a run that does not follow ends. */

    pthread_mutex_t lock; /* Of what follows. */
    struct stele_project_progress progress;
    struct stele_run_told told;
    uint64_t positions[STELE_PROJECT_LANES_MAX];
    uint64_t parked_streams; /* Newly parked by this run. */
    atomic_bool stop;
};

/* One lane on its way. Used by one thread. */
struct stele_run_lane {
    struct stele_run *run;
    uint32_t index;
    struct stele_sink_lane at; /* What is committed. */
    uint64_t bound;            /* Nothing after this position; 0: no bound. */
    bool follow;
    struct stele_iterator *iterator;
    struct stele_text_set parked;
    struct stele_run_effective effective; /* Of the open transaction. */

    bool open; /* A transaction is. */
    uint64_t applied, parked_now;
    uint64_t parked_streams_now;
    int64_t begun_ms, committed_ms;
    /* Events from here to there are done in a transaction of their own each. */
    uint64_t careful_from, careful_until;
    unsigned failures; /* STELE_E_OVERLOADED in a row. */

    int outcome;
    struct stele_error err;
    pthread_t thread;
};

/* Works until the bound is reached, the run is stopped, or something fails; sets outcome and err.
 * STELE_NOT_FOUND: the build is gone. */
void stele_runner__work(struct stele_run_lane *lane);

/* Applies the lane's events up to bound on the connection of lane 0, whose transaction is open.
 * *out_applied counts. */
int stele_runner__apply_locked(struct stele_run_lane *lane, uint64_t bound, uint64_t *out_applied,
                               struct stele_error *err);

/* Is the stream one of this lane? */
bool stele_runner__is_of_lane(const struct stele_run_lane *lane, struct stele_text stream);

/* Tells how far the run is. false: it is to stop. */
bool stele_runner__tell(struct stele_run_lane *lane);

int64_t stele_runner__now_ms(void);
void stele_runner__pause(unsigned ms);

/* A signal may be NULL. */
void stele_runner__signal_begin(struct stele_project_signal *signal, struct stele_run_told *told);
void stele_runner__signal_tell(struct stele_project_signal *signal, struct stele_run_told *told,
                               uint64_t position);
void stele_runner__signal_end(struct stele_project_signal *signal, struct stele_run_told *told);

/* Brings a build to where the live one is and makes it the live one. */
int stele_runner__rebuild(struct stele_run *run, struct stele_error *err);
/* Runs all lanes up to their bounds (NULL: options and target say how far). */
int stele_runner__run_lanes(struct stele_run *run, const uint64_t *bounds, struct stele_error *err);

#endif
