/* What `stele run` is made of: a thread for each projection, saga and reaction that a file declares. */
#ifndef STELE_CLI_RUN_H
#define STELE_CLI_RUN_H

#include "cli/cli.h"
#include "declared/file.h"

#include <stele/project.h>

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define STELE_CLI_AGAIN_FIRST_MS 250u
#define STELE_CLI_AGAIN_LAST_MS 30000u

/* What the threads share. */
struct stele_cli_run_world {
    const struct stele_declared_file *file;
    struct stele *store;
    bool once;
    pthread_mutex_t lock; /* Of standard error and output, and of what follows. */
    uint64_t work;        /* Turns of sagas in which something happened. */
    struct stele_cli_runner *runners;
    size_t count;
};

/* One thread. */
struct stele_cli_runner {
    struct stele_cli_run_world *world;
    pthread_t thread;
    bool started;
    const struct stele_declared_projection *entry; /* Of a projection; else NULL. */
    struct stele_projection *projection;
    const struct stele_declared_saga *saga; /* Of a saga or a reaction; else NULL. */
    int code;                               /* What it ended with. */
    /* Figures, under the lock. */
    bool running;
    uint64_t failures; /* Times it had to begin again. */
    struct stele_project_progress progress;
    uint64_t events; /* Applied by earlier runs of this thread. */
    struct stele_saga_runner_stats stats;
    uint64_t
        idle_at; /* What the world's work was before a turn that found nothing to do, plus 1; 0: it is busy. */
};

/* The thread that answers monitoring. */
struct stele_cli_run_metrics {
    struct stele_cli_run_world *world;
    int fd;
    pthread_t thread;
    bool started;
    atomic_bool stop;
};

/* Listens where the file says; does nothing if it says nothing. STELE_CLI_OK or, after telling, an exit code. */
int stele_cli_run_metrics_start(struct stele_cli_run_metrics *metrics,
                                struct stele_cli_run_world *world);
/* Also after a start that failed. */
void stele_cli_run_metrics_stop(struct stele_cli_run_metrics *metrics);

/* Of a thread; the context is its struct stele_cli_runner. */
void *stele_cli_run_projection(void *runner);
void *stele_cli_run_saga(void *runner);

/* Waits before another try, unless interrupted, and doubles the time. */
void stele_cli_run_pause(unsigned *wait_ms);
/* May it be tried again? */
bool stele_cli_run_again(const struct stele_cli_runner *runner, int outcome);

#endif
