/* Opening and closing; threads for background work. */
#include "base/limits.h"
#include "client/client.h"
#include "client/keyring.h"
#include "client/remote.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define LIVE_SIZE 4096
#define LIVE_WAIT_MS 5000
#define READ_TRIES 3
#define WORK_PAUSE_MS 250
#define LIVE_RETRY_US ((int64_t)100000)

/* Counts forks of this process: a handle that was opened before one is not ours. */
static _Atomic unsigned forks;
static pthread_once_t forks_once = PTHREAD_ONCE_INIT;

static void on_fork_in_child(void)
{
    atomic_fetch_add(&forks, 1);
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, on_fork_in_child);
}

int stele_client__enter(const struct stele *store, struct stele_error *err)
{
    if (store == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "the store is NULL");
    }
    if (store->forks != atomic_load_explicit(&forks, memory_order_relaxed)) {
        return stele_fail(
            err, STELE_E_FORKED, 0,
            "this handle was opened before fork(); open the store again in the child");
    }
    return STELE_OK;
}

int64_t stele_client__now_us(const struct stele *store)
{
    return store->io->ops->now_us(store->io);
}

/* ---- Background work ---- */

static void pause_until(pthread_cond_t *condition, pthread_mutex_t *lock, int ms)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    at.tv_sec += ms / 1000 + at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(condition, lock, &at);
}

/* Under the lock. One piece of work, if there is any. */
static bool work_once(struct stele *store, bool closing)
{
    struct stele_work *work = NULL;
    struct stele_error err = {.outcome = STELE_OK};
    int outcome = stele_work_begin(store->core, stele_client__now_us(store), closing, &work, &err);
    if (outcome != STELE_OK) {
        return false;
    }
    (void)pthread_mutex_unlock(&store->lock);
    outcome = stele_work_run(work, &err);
    (void)pthread_mutex_lock(&store->lock);
    outcome = stele_work_end(store->core, work, outcome, &err);
    store->fills++;
    (void)pthread_cond_broadcast(&store->filled);
    return outcome == STELE_OK;
}

static void *run_worker(void *context)
{
    struct stele *store = context;
    (void)pthread_mutex_lock(&store->lock);
    while (!store->closing) {
        if (!work_once(store, false)) {
            pause_until(&store->work, &store->lock, WORK_PAUSE_MS);
        }
    }
    (void)pthread_mutex_unlock(&store->lock);
    return NULL;
}

int stele_client__start_workers(struct stele *store, struct stele_error *err)
{
    while (store->workers_started < WORKERS) {
        const int failed =
            pthread_create(&store->workers[store->workers_started], NULL, run_worker, store);
        if (failed != 0) {
            return stele_fail(err, STELE_E_NO_MEMORY, failed, "no thread for background work");
        }
        store->workers_started++;
    }
    return STELE_OK;
}

void stele_client__stop_workers(struct stele *store)
{
    (void)pthread_mutex_lock(&store->lock);
    (void)pthread_cond_broadcast(&store->work);
    (void)pthread_mutex_unlock(&store->lock);
    for (uint32_t i = 0; i < store->workers_started; i++) {
        (void)pthread_join(store->workers[i], NULL);
    }
}

int stele_client__wait_index(struct stele *store, struct stele_error *err)
{
    if (store->read_only) {
        return stele_fail(err, STELE_E_UNSUPPORTED, 0,
                          "the index is incomplete and the store was opened for reading only; open "
                          "it once for writing");
    }
    const int outcome = stele_store_check_index(store->core, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    (void)pthread_cond_signal(&store->work);
    pause_until(&store->filled, &store->lock, WORK_PAUSE_MS);
    return store->closing ? stele_fail(err, STELE_E_CLOSED, 0, "the store is being closed")
                          : STELE_OK;
}

/* ---- Beside a writer ---- */

static uint64_t live_end(const struct stele *store)
{
    return store->live == NULL ? 0 : atomic_load(&store->live->durable);
}

static void map_live(struct stele *store)
{
    void *memory = NULL;
    if (store->live == NULL &&
        stele_linux_io_share(store->io, false, LIVE_SIZE, &memory, NULL) == STELE_OK) {
        store->live = memory;
    }
}

/* Waits until a writer that has just begun to open the store has said how far it is durable. */
static uint64_t wait_for_live(struct stele *store)
{
    /* Before the log is looked at: what differs from it later was written since, also by a writer that
     * comes and goes while nobody looks. By itself it says nothing: it may be older than the files. */
    map_live(store);
    store->live_first = live_end(store);
    for (int waited = 0; waited < LIVE_WAIT_MS && stele_linux_io_is_locked(store->io);
         waited += 5) {
        map_live(store);
        if (live_end(store) != 0) {
            return live_end(store);
        }
        (void)usleep(5000);
    }
    return UINT64_MAX;
}

int stele_client__follow(struct stele *store, struct stele_error *err)
{
    if (!store->read_only) {
        return STELE_OK;
    }
    if (store->live == NULL) {
        const int64_t now_us = stele_client__now_us(store);
        if (now_us - store->live_tried_at_us < LIVE_RETRY_US && now_us >= store->live_tried_at_us) {
            return STELE_OK;
        }
        store->live_tried_at_us = now_us;
        map_live(store); /* There was none when the store was opened: a writer has come since. */
    }
    const uint64_t end = live_end(store);
    return end != store->live_first && end > stele_store_durable(store->core)
               ? stele_store_follow(store->core, end, err)
               : STELE_OK;
}

/* ---- Opening ---- */

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

static void destroy(struct stele *store)
{
    stele_client__destroy_pool(store);
    stele_store_close(store->core);
    if (store->io != NULL) {
        stele_linux_io_close(store->io);
    }
    struct stele_alloc *alloc = store->alloc;
    stele_release(alloc, store->ring, store->ring_capacity * sizeof *store->ring);
    (void)pthread_mutex_destroy(&store->lock);
    (void)pthread_mutex_destroy(&store->pool_lock);
    (void)pthread_cond_destroy(&store->visible);
    (void)pthread_cond_destroy(&store->drained);
    (void)pthread_cond_destroy(&store->staged);
    (void)pthread_cond_destroy(&store->work);
    (void)pthread_cond_destroy(&store->filled);
    stele_release(alloc, store, sizeof *store);
    stele_linux_alloc_destroy(alloc);
}

/* Options of a caller that was compiled with an older, shorter struct keep their defaults. */
static int read_options(const struct stele_options *given, struct stele_options *out,
                        struct stele_error *err)
{
    const struct stele_options defaults = STELE_OPTIONS_INIT;
    *out = defaults;
    if (given == NULL) {
        return STELE_OK;
    }
    if (given->struct_size < sizeof(size_t) + sizeof(int) || given->struct_size > sizeof *out) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "the options were not initialised with STELE_OPTIONS_INIT");
    }
    memcpy(out, given, given->struct_size);
    out->struct_size = sizeof *out;
    if (out->async_queue_max == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "async_queue_max is 0");
    }
    return STELE_OK;
}

/* A writer may begin while the tail is being looked at. What it writes meanwhile looks like damage,
 * or is not durable yet; so the result counts only if there is still no writer. */
static int open_for_reading(struct stele *store, struct stele_store_options *options,
                            struct stele_error *err)
{
    for (int tries = 1;; tries++) {
        options->live_end = wait_for_live(store);
        const int outcome = stele_store_open(store->io, options, &store->core, err);
        if (options->live_end != UINT64_MAX || tries == READ_TRIES ||
            !stele_linux_io_is_locked(store->io)) {
            return outcome;
        }
        if (outcome == STELE_OK) {
            stele_store_close(store->core);
            store->core = NULL;
        }
    }
}

static int open_core(struct stele *store, const char *path, struct stele_error *err)
{
    int outcome = stele_linux_io_open(path, store->options.create != 0 && !store->read_only,
                                      store->read_only, store->alloc, &store->io, err);
    if (outcome == STELE_NOT_FOUND) {
        return stele_fail(err, STELE_E_NOT_A_STORE, ENOENT,
                          "%s does not exist; create a store with a write", path);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_store_options options = {.public = store->options,
                                          .read_only = store->read_only,
                                          .ordered = store->ordered,
                                          .syncs_later = store->ordered,
                                          .live_end = UINT64_MAX};
    if (store->read_only) {
        return open_for_reading(store, &options, err);
    }
    /* Before the lock leaves a file in a directory that may be somebody's thesis. */
    bool creates = false;
    outcome = stele_store_look(store->io, &options, &creates, err);
    if (outcome == STELE_OK && creates && !store->ordered) { /* A node's has "cluster" in it. */
        outcome = stele_linux_io_check_bare(store->io, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_linux_io_lock(store->io, err);
    }
    void *memory = NULL;
    if (outcome == STELE_OK) {
        outcome = stele_linux_io_share(store->io, true, LIVE_SIZE, &memory, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    store->live = memory;
    atomic_store(&store->live->durable, 0);
    return stele_store_open(store->io, &options, &store->core, err);
}

static int open_store(const char *path, const struct stele_options *given, bool ordered,
                      struct stele **out_store, struct stele_error *err)
{
    struct stele_options options;
    if (path == NULL || path[0] == '\0' || out_store == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "open: the path is empty");
    }
    int outcome = read_options(given, &options, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    (void)pthread_once(&forks_once, watch_forks);
    if (ordered && (stele_remote_is_address(path) || options.read_only != 0)) {
        return stele_fail(err, STELE_E_INVALID, 0, "open: the store of a node is written by it");
    }
    if (stele_remote_is_address(path)) {
        outcome = stele_remote_open(path, &options, out_store, err);
        if (outcome == STELE_OK) {
            (*out_store)->forks = atomic_load(&forks);
        }
        return outcome;
    }
    struct stele_alloc *alloc = stele_linux_alloc_create();
    struct stele *store = alloc == NULL ? NULL : stele_allocate_zeroed(alloc, sizeof(struct stele));
    if (store == NULL) {
        stele_linux_alloc_destroy(alloc);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "open: no memory");
    }
    store->alloc = alloc;
    store->options = options;
    store->read_only = options.read_only != 0;
    store->ordered = ordered;
    store->forks = atomic_load(&forks);
    (void)pthread_mutex_init(&store->lock, NULL);
    (void)pthread_mutex_init(&store->pool_lock, NULL);
    init_condition(&store->visible);
    init_condition(&store->drained);
    init_condition(&store->staged);
    init_condition(&store->work);
    init_condition(&store->filled);
    outcome = open_core(store, path, err);
    if (outcome == STELE_OK && !store->read_only) {
        atomic_store(&store->live->durable, stele_store_durable(store->core));
        outcome = stele_client__start_workers(store, err);
    }
    if (outcome != STELE_OK) {
        (void)pthread_mutex_lock(&store->lock);
        store->closing = true;
        (void)pthread_mutex_unlock(&store->lock);
        stele_client__stop_workers(store);
        destroy(store);
        return outcome;
    }
    *out_store = store;
    return STELE_OK;
}

static int open_with_words(const char *path, const struct stele_options *given, bool ordered,
                           struct stele **out_store, struct stele_error *err)
{
    /* Opening goes around many failures (a file that is not there yet, a copy that is damaged), and
     * leaves their words behind. The caller's are written when it fails for good. */
    struct stele_error words = {.outcome = STELE_OK};
    const int outcome = open_store(path, given, ordered, out_store, &words);
    if (outcome != STELE_OK && err != NULL) {
        *err = words;
    }
    return outcome;
}

int stele_open(const char *path, const struct stele_options *given, struct stele **out_store,
               struct stele_error *err)
{
    return open_with_words(path, given, false, out_store, err);
}

int stele_client_open_ordered(const char *path, const struct stele_options *given,
                              struct stele **out_store, struct stele_error *err)
{
    return open_with_words(path, given, true, out_store, err);
}

/* ---- Closing ---- */

int stele_close(struct stele *store)
{
    if (store == NULL) {
        return STELE_OK;
    }
    if (store->forks != atomic_load(&forks)) {
        return STELE_E_FORKED; /* Threads and locks are the parent's: what memory there is stays. */
    }
    /* Last, because callbacks that still come may append. */
    struct sealer *sealer = store->sealer;
    if (store->far != NULL) {
        const int closed = stele_remote_close(store);
        stele_client__sealer_destroy(sealer);
        return closed;
    }
    (void)pthread_mutex_lock(&store->lock);
    store->closing = true;
    (void)pthread_cond_broadcast(&store->visible);
    (void)pthread_mutex_unlock(&store->lock);
    stele_client__stop_writers(store);
    stele_client__stop_workers(store);

    int outcome = STELE_OK;
    if (!store->read_only) {
        (void)pthread_mutex_lock(&store->lock);
        while (!stele_store_is_fenced(store->core) && stele_store_has_staged(store->core) &&
               stele_client__commit(store)) {
        }
        (void)pthread_mutex_unlock(&store->lock);
        struct stele_error err;
        const int synced = stele_client_sync(store, &err); /* A failure fences. */
        (void)synced;
        (void)pthread_mutex_lock(&store->lock);
        while (work_once(store, true)) {
        }
        outcome = stele_store_is_fenced(store->core) ? store->work_error.outcome : STELE_OK;
        atomic_store(&store->live->durable, stele_store_durable(store->core));
        (void)pthread_mutex_unlock(&store->lock);
    }
    destroy(store);
    stele_client__sealer_destroy(sealer);
    return outcome;
}
