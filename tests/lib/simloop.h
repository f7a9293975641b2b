/* A loop (io/loop.h) driven by hand: time stands still until the test moves it, tasks run when the
 * test says so, random numbers come from a seed.
 *
 *     struct simloop loop;
 *     simloop_init(&loop, &alloc.base, 1);
 *     …
 *     simloop_run(&loop);                run tasks until there are none
 *     simloop_advance(&loop, 5000000);   five seconds, with every timer that falls due on the way
 *     simloop_deinit(&loop);             claims that no task and no timer was left behind
 *
 * post() may come from another thread, so that what answers from threads of its own (a store) can
 * be tested as well: simloop_wait() then waits for real time. Everything else is one thread. */
#ifndef STELE_TESTS_LIB_SIMLOOP_H
#define STELE_TESTS_LIB_SIMLOOP_H

#include "io/loop.h"
#include "rng.h"

#include <pthread.h>

struct simloop {
    struct stele_loop base;
    int64_t now_us;
    int64_t wall_us; /* At now_us 0. */
    struct rng rng;
    struct stele_timer **timers; /* Not ordered; place is the index plus one. */
    size_t timers_count;
    size_t timers_capacity;
    pthread_mutex_t mutex; /* Of the tasks. */
    pthread_cond_t posted;
    struct stele_task *first;
    struct stele_task **last;
};

/* Time begins at one second, so that 0 is not a time. */
void simloop_init(struct simloop *loop, struct stele_alloc *alloc, uint64_t seed);
void simloop_deinit(struct simloop *loop);
/* Runs posted tasks, and those that they post, and the timers that are due. Returns how many. */
size_t simloop_run(struct simloop *loop);
/* One task, or one timer that is due. false: there is none. */
bool simloop_step(struct simloop *loop);
/* When simloop_step() will have something to do: now_us if there is a task, INT64_MAX if nothing. */
int64_t simloop_due_us(const struct simloop *loop);
/* Moves the time, from timer to timer, running everything. */
void simloop_advance(struct simloop *loop, int64_t us);
/* Waits (real time) until a task is posted, at most so long, and runs. false: none came. */
bool simloop_wait(struct simloop *loop, int timeout_ms);

#endif
