/* Waiting for a read model: by asking its database, or, for a run in this process, by being told.
 *
 * A run tells its signal how far it has come after every commit. Who waits asks the database first, then
 * sleeps until some run of that name has come far enough, and asks again: the database has the last word,
 * because a run may be a rebuild that nobody reads yet. While no run of that name is in this process,
 * the database is asked again and again. */
#include "io/linux.h"
#include "runner/run.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define WAIT_FIRST_MS 1
#define WAIT_LAST_MS STELE_PROJECT_POLL_MS

struct stele_project_signal {
    pthread_mutex_t lock;
    pthread_cond_t told;
    struct stele_run_told *runs; /* Those that are going on. */
};

int stele_project_signal_create(struct stele_project_signal **out_signal, struct stele_error *err)
{
    if (out_signal == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "stele_project_signal_create: an argument is NULL");
    }
    struct stele_project_signal *const signal =
        stele_allocate_zeroed(stele_linux_alloc(), sizeof *signal);
    if (signal == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "make a signal: no memory");
    }
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&signal->told, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&signal->lock, NULL);
    *out_signal = signal;
    return STELE_OK;
}

void stele_project_signal_destroy(struct stele_project_signal *signal)
{
    if (signal == NULL) {
        return;
    }
    STELE_ASSERT(signal->runs == NULL);
    (void)pthread_cond_destroy(&signal->told);
    (void)pthread_mutex_destroy(&signal->lock);
    stele_release(stele_linux_alloc(), signal, sizeof *signal);
}

/* ---- Runs ---- */

void stele_runner__signal_begin(struct stele_project_signal *signal, struct stele_run_told *told)
{
    if (signal == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&signal->lock);
    told->next = signal->runs;
    signal->runs = told;
    (void)pthread_cond_broadcast(&signal->told);
    (void)pthread_mutex_unlock(&signal->lock);
}

void stele_runner__signal_tell(struct stele_project_signal *signal, struct stele_run_told *told,
                               uint64_t position)
{
    if (signal == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&signal->lock);
    if (position != told->position) {
        told->position = position;
        (void)pthread_cond_broadcast(&signal->told);
    }
    (void)pthread_mutex_unlock(&signal->lock);
}

void stele_runner__signal_end(struct stele_project_signal *signal, struct stele_run_told *told)
{
    if (signal == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&signal->lock);
    struct stele_run_told **at = &signal->runs;
    while (*at != told) {
        STELE_ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = told->next;
    (void)pthread_cond_broadcast(&signal->told);
    (void)pthread_mutex_unlock(&signal->lock);
}

/* ---- Waiting ---- */

/* The furthest run of that name; NULL: none is going on. */
static const struct stele_run_told *furthest(const struct stele_project_signal *signal,
                                             const char *name)
{
    const struct stele_run_told *found = NULL;
    for (const struct stele_run_told *at = signal->runs; at != NULL; at = at->next) {
        if (strcmp(at->name, name) == 0 && (found == NULL || at->position > found->position)) {
            found = at;
        }
    }
    return found;
}

/* Until a run of this process has come so far, or no run is left that could; at most left_ms (-1: no
 * bound). false: there is no use in waiting for one. */
static bool wait_to_be_told(struct stele_project_signal *signal, const char *name,
                            uint64_t position, int64_t left_ms)
{
    struct timespec until = {0};
    int error = 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(left_ms / 1000);
    until.tv_nsec += (long)(left_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_mutex_lock(&signal->lock);
    const struct stele_run_told *run = furthest(signal, name);
    const bool waits = run != NULL && run->position < position;
    while (run != NULL && run->position < position && error != ETIMEDOUT) {
        error = left_ms < 0 ? pthread_cond_wait(&signal->told, &signal->lock)
                            : pthread_cond_timedwait(&signal->told, &signal->lock, &until);
        run = furthest(signal, name);
    }
    (void)pthread_mutex_unlock(&signal->lock);
    return waits;
}

int stele_project_wait_signal(struct stele_project_signal *signal, struct stele_sink *sink,
                              const char *name, uint64_t position, int timeout_ms,
                              struct stele_error *err)
{
    if (sink == NULL || name == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_project_wait: an argument is NULL");
    }
    const int64_t until = stele_runner__now_ms() + timeout_ms;
    unsigned pause = WAIT_FIRST_MS;
    for (;;) {
        uint64_t at = 0;
        const int outcome = sink->ops->position(sink, name, &at, err);
        if (outcome != STELE_OK && outcome != STELE_E_OVERLOADED) {
            return outcome;
        }
        if (outcome == STELE_OK && at >= position) {
            return STELE_OK;
        }
        const int64_t left = timeout_ms < 0 ? -1 : until - stele_runner__now_ms();
        if (timeout_ms >= 0 && left <= 0) {
            return STELE_TIMED_OUT;
        }
        if (signal != NULL && wait_to_be_told(signal, name, position, left)) {
            continue;
        }
        stele_runner__pause(left >= 0 && left < (int64_t)pause ? (unsigned)left : pause);
        pause = pause * 2 < WAIT_LAST_MS ? pause * 2 : WAIT_LAST_MS;
    }
}

int stele_project_wait(struct stele_sink *sink, const char *name, uint64_t position, int timeout_ms,
                       struct stele_error *err)
{
    return stele_project_wait_signal(NULL, sink, name, position, timeout_ms, err);
}
