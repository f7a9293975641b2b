/* Loops and their threads: made before anything else, stopped after everything else. */
#include "io/linux.h"
#include "server/server_internal.h"
#include "subs/follow.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* So long calls may end by themselves before they are told that the server goes. */
#define PATIENCE_US INT64_C(300000)
#define POLL_US INT64_C(5000)

static uint32_t count_workers(const struct stele_server_config *config)
{
    long count = config->threads;
    if (count == 0) {
        /* The store's writer has work of its own. */
        count = sysconf(_SC_NPROCESSORS_ONLN) - 1;
    }
    return count < 1 ? 1 : count > STELE_LOOPS_MAX ? STELE_LOOPS_MAX : (uint32_t)count;
}

static int create_worker(struct stele_server__worker *worker, struct stele_error *err)
{
    struct stele_server__process *const process = worker->process;
    worker->alloc = stele_linux_alloc_create();
    if (worker->alloc == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "server: no memory");
    }
    const int outcome = stele_linux_loop_create(worker->alloc, &worker->loop, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    worker->base = stele_linux_loop_base(worker->loop);
    if (stele_net_create(worker->loop, &process->gate, &stele_server__events, worker,
                         &worker->net) != STELE_OK ||
        stele_hub_create(process->server.engine, worker->base, &worker->hub) != STELE_OK) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "server: no memory");
    }
    process->hubs.at[process->hubs.count].loop = worker->base;
    process->hubs.at[process->hubs.count].hub = worker->hub;
    process->hubs.count++;
    return STELE_OK;
}

int stele_server__workers_create(struct stele_server__process *process, struct stele_error *err)
{
    process->workers_count = count_workers(process->config);
    for (uint32_t i = 0; i < process->workers_count; i++) {
        process->workers[i].process = process;
        const int outcome = create_worker(&process->workers[i], err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    process->server.home = process->workers[0].base;
    process->server.hubs = &process->hubs;
    return STELE_OK;
}

static void *run_worker(void *context)
{
    struct stele_server__worker *const worker = context;
    char name[16];
    (void)snprintf(name, sizeof name, "loop-%u", (unsigned)(worker - worker->process->workers));
    (void)pthread_setname_np(pthread_self(), name);
    stele_linux_loop_run(worker->loop);
    return NULL;
}

int stele_server__workers_start(struct stele_server__process *process, struct stele_error *err)
{
    for (uint32_t i = 0; i < process->workers_count; i++) {
        struct stele_server__worker *const worker = &process->workers[i];
        const int failed = pthread_create(&worker->thread, NULL, run_worker, worker);
        if (failed != 0) {
            return stele_fail(err, STELE_E_NO_MEMORY, failed, "server: no thread");
        }
        worker->has_thread = true;
    }
    return STELE_OK;
}

/* ---- Work on every thread --------------------------------------------------------------------- */

struct errand {
    struct stele_task task;
    struct stele_server__worker *worker;
    void (*work)(struct stele_server__worker *worker);
    pthread_mutex_t *mutex;
    pthread_cond_t *done;
    uint32_t *left;
};

static void run_errand(struct stele_task *task)
{
    struct errand *const errand =
        (struct errand *)(void *)((uint8_t *)task - offsetof(struct errand, task));
    errand->work(errand->worker);
    (void)pthread_mutex_lock(errand->mutex);
    (*errand->left)--;
    (void)pthread_cond_signal(errand->done);
    (void)pthread_mutex_unlock(errand->mutex);
}

void stele_server__workers_do(struct stele_server__process *process,
                              void (*work)(struct stele_server__worker *worker))
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t done = PTHREAD_COND_INITIALIZER;
    struct errand errands[STELE_LOOPS_MAX];
    uint32_t left = process->workers_count;
    for (uint32_t i = 0; i < process->workers_count; i++) {
        errands[i] = (struct errand){.task = {.run = run_errand},
                                     .worker = &process->workers[i],
                                     .work = work,
                                     .mutex = &mutex,
                                     .done = &done,
                                     .left = &left};
        if (process->workers[i].has_thread) {
            stele_loop_post(process->workers[i].base, &errands[i].task);
        } else {
            run_errand(&errands[i].task);
        }
    }
    (void)pthread_mutex_lock(&mutex);
    while (left > 0) {
        (void)pthread_cond_wait(&done, &mutex);
    }
    (void)pthread_mutex_unlock(&mutex);
    (void)pthread_mutex_destroy(&mutex);
    (void)pthread_cond_destroy(&done);
}

/* ---- The end ----------------------------------------------------------------------------------- */

static void ignore(void *context)
{
    (void)context;
}

static void start_draining(struct stele_server__worker *worker)
{
    stele_net_drain(worker->net, ignore, NULL);
}

static void tell_unavailable(void *context, struct stele_exchange *exchange)
{
    (void)context;
    if (stele_grpc_wants(exchange)) {
        struct stele_call *const call = stele_exchange_user(exchange);
        if (call != NULL && !stele_call_is_over(call)) {
            stele_call_fail(call, STELE_GRPC_UNAVAILABLE, "the server is shutting down");
        }
    } else {
        stele_exchange_reset(exchange, 0);
    }
}

static void end_calls(struct stele_server__worker *worker)
{
    stele_net_visit(worker->net, tell_unavailable, NULL);
}

static int64_t now_us(void)
{
    struct timespec now = {.tv_sec = 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* true: no connection is left. */
static bool wait_for_none(struct stele_server__process *process, int64_t until_us)
{
    while (atomic_load(&process->gate.connections) > 0) {
        if (now_us() >= until_us) {
            return false;
        }
        const struct timespec pause = {.tv_nsec = POLL_US * 1000};
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

void stele_server__workers_drain(struct stele_server__process *process)
{
    const int64_t start_us = now_us();
    stele_server__workers_do(process, start_draining);
    if (wait_for_none(process, start_us + PATIENCE_US)) {
        return;
    }
    stele_server__workers_do(process, end_calls);
    if (!wait_for_none(process, start_us + (int64_t)process->config->drain_ms * 1000)) {
        stele_server__log(process, STELE_SERVER_WARNING,
                          "%u connections did not end in time and are cut",
                          atomic_load(&process->gate.connections));
    }
}

void stele_server__workers_stop(struct stele_server__process *process)
{
    for (uint32_t i = 0; i < process->workers_count; i++) {
        struct stele_server__worker *const worker = &process->workers[i];
        if (worker->has_thread) {
            stele_linux_loop_stop(worker->loop);
            (void)pthread_join(worker->thread, NULL);
            worker->has_thread = false;
        }
    }
}

void stele_server__workers_destroy(struct stele_server__process *process)
{
    for (uint32_t i = 0; i < process->workers_count; i++) {
        struct stele_server__worker *const worker = &process->workers[i];
        if (worker->loop != NULL) {
            /* What was posted since its thread ended. */
            stele_linux_loop_stop(worker->loop);
            stele_linux_loop_run(worker->loop);
            stele_linux_loop_destroy(worker->loop);
        }
        stele_linux_alloc_destroy(worker->alloc);
    }
}
