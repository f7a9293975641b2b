/* The engine of a server that has its store in the same process.
 *
 * Appends: those of one turn of a loop are staged as they come and flushed once, by a task that runs
 * at the end of the turn. One alone is committed by the loop's own thread: the hand-over to a writer
 * and back would take as long as the sync. Many go to libstele's writers, and the loop goes on; also
 * one that has no company at this moment, if there was some a moment ago: while this thread waited
 * for the disk, nobody would take in what the others send.
 *
 *     turn:  append, append, … ─▶ flush task ─▶ alone? commit here : wake a writer
 *     writer: … durable ─▶ callback ─▶ post to the asker's loop ─▶ on_done
 *
 * What is visible: libstele calls on_visible() after each group, which posts one task to each loop
 * that watches, unless that loop's last one has not run yet. */
#include "server/engine.h"

#include "client/client.h"

#include <pthread.h>
#include <time.h>

/* When so many events of a turn wait for the flush at its end, a writer is woken at once. */
#define EARLY_EVENTS 128

/* So many appends in a row have to find no other under way before one is committed by the loop. */
#define CROWD 16

struct embedded;

/* What the engine keeps for one loop. Lives as long as the engine. */
struct station {
    struct station *next;
    struct embedded *engine;
    struct stele_loop *loop;
    struct stele_task flush_task; /* The loop's thread only, like the next two. */
    uint32_t staged;
    uint64_t staged_events; /* Since the last flush. */
    uint32_t under_way;     /* Appends that are not done. */
    /* Tasks that the loop has yet to run and that end here: answers and the flush. Written by the
     * loop's thread alone, read by whoever winds down. */
    _Atomic uint32_t owed;
    uint32_t crowd; /* Flushes left until this loop is taken to have one appender alone. */
    bool flush_posted;
    struct stele_task visible_task;
    _Atomic bool visible_posted;
    struct stele_watch *first;     /* Watches. */
    struct stele_watch *next_told; /* While they are being told. */
    int64_t staged_us;             /* When the first of this turn was staged. */
    /* The loop's thread alone writes, without locking the bus; anybody reads. */
    struct counts {
        _Atomic uint64_t count[2], sum_us[2], at_most[2][STELE_ENGINE_BOUNDS + 1];
        _Atomic uint64_t events, bytes;
    } counts; /* [0]: done, [1]: refused or failed. */
};

enum deed { TOMBSTONE, SOFT_DELETE };

struct job {
    struct job *next;
    enum deed deed;
    struct stele_appending *appending;
    uint64_t expected;
    size_t size; /* Of this, with the name. */
    char stream[];
};

struct embedded {
    struct stele_engine engine;
    struct stele *store;
    struct stele_alloc *alloc;
    pthread_mutex_t lock; /* Stations' list and jobs. */
    struct station *_Atomic stations;
    pthread_cond_t work;
    struct job *first, **last;
    bool stopping;
    pthread_t worker;
    _Atomic uint64_t events_read, bytes_read;
};

/* A chore's thread. */
struct labour {
    struct embedded *engine;
    pthread_t thread;
};

struct stele_reading {
    struct stele_iterator *iterator;
    struct embedded *engine;
};

static struct embedded *embedded_of(struct stele_engine *engine)
{
    return (struct embedded *)engine;
}

/* ---- Stations ---- */

static void owe(struct station *station)
{
    atomic_store_explicit(&station->owed,
                          atomic_load_explicit(&station->owed, memory_order_relaxed) + 1,
                          memory_order_release);
}

/* The last that a task does: from here on the station may go away. */
static void settle(struct station *station)
{
    const uint32_t owed = atomic_load_explicit(&station->owed, memory_order_relaxed);
    STELE_ASSERT(owed > 0);
    atomic_store_explicit(&station->owed, owed - 1, memory_order_release);
}

static void run_flush(struct stele_task *task)
{
    struct station *station =
        (struct station *)((char *)task - offsetof(struct station, flush_task));
    if (station->under_way > 1) {
        station->crowd = CROWD;
    } else if (station->crowd > 0) {
        station->crowd--;
    }
    const bool alone = station->staged == 1 && station->crowd == 0;
    station->staged = 0;
    station->staged_events = 0;
    station->flush_posted = false;
    stele_client_flush(station->engine->store, alone);
    settle(station);
}

static void run_visible(struct stele_task *task)
{
    struct station *station =
        (struct station *)((char *)task - offsetof(struct station, visible_task));
    owe(station); /* Before the flag: who winds down looks at the flag first. */
    atomic_store(&station->visible_posted, false);
    for (struct stele_watch *watch = station->first; watch != NULL; watch = station->next_told) {
        station->next_told = watch->next;
        watch->on_visible(watch);
    }
    station->next_told = NULL;
    settle(station);
}

static struct station *find_station(struct embedded *engine, const struct stele_loop *loop)
{
    struct station *station = atomic_load(&engine->stations);
    while (station != NULL && station->loop != loop) {
        station = station->next;
    }
    return station;
}

/* Called on the loop's thread, so that no two make the same one. */
static struct station *station_of(struct embedded *engine, struct stele_loop *loop)
{
    struct station *station = find_station(engine, loop);
    if (station != NULL) {
        return station;
    }
    station = stele_allocate_zeroed(engine->alloc, sizeof *station);
    if (station == NULL) {
        return NULL;
    }
    station->engine = engine;
    station->loop = loop;
    station->flush_task.run = run_flush;
    station->visible_task.run = run_visible;
    (void)pthread_mutex_lock(&engine->lock);
    station->next = atomic_load(&engine->stations);
    atomic_store(&engine->stations, station);
    (void)pthread_mutex_unlock(&engine->lock);
    return station;
}

/* On the thread that made something visible. Stations are never removed while this can run. */
static void on_visible(void *context)
{
    struct embedded *engine = context;
    for (struct station *station = atomic_load(&engine->stations); station != NULL;
         station = station->next) {
        if (!atomic_exchange(&station->visible_posted, true)) {
            stele_loop_post(station->loop, &station->visible_task);
        }
    }
}

static void watch_start(struct stele_engine *engine, struct stele_watch *watch)
{
    struct station *station = station_of(embedded_of(engine), watch->loop);
    STELE_ASSERT(station != NULL); /* A few hundred bytes, once for each loop, at its start. */
    watch->previous = NULL;
    watch->next = station->first;
    if (station->first != NULL) {
        station->first->previous = watch;
    }
    station->first = watch;
}

static void watch_stop(struct stele_engine *engine, struct stele_watch *watch)
{
    struct station *station = find_station(embedded_of(engine), watch->loop);
    STELE_ASSERT(station != NULL);
    if (station->next_told == watch) {
        station->next_told = watch->next;
    }
    if (watch->next != NULL) {
        watch->next->previous = watch->previous;
    }
    if (watch->previous != NULL) {
        watch->previous->next = watch->next;
    } else {
        STELE_ASSERT(station->first == watch);
        station->first = watch->next;
    }
    watch->next = NULL;
    watch->previous = NULL;
}

/* ---- Appending ---- */

static int64_t monotonic_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void add(_Atomic uint64_t *to, uint64_t value)
{
    atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + value,
                          memory_order_relaxed);
}

static void count(struct station *station, const struct stele_appending *appending)
{
    const int64_t took_us = appending->ended_us - appending->began_us;
    struct counts *counts = &station->counts;
    const int kind = appending->outcome == STELE_OK ? 0 : 1;
    size_t at = 0;
    while (at < STELE_ENGINE_BOUNDS && took_us > (int64_t)stele_engine_bound_us(at)) {
        at++;
    }
    add(&counts->count[kind], 1);
    add(&counts->sum_us[kind], (uint64_t)took_us);
    add(&counts->at_most[kind][at], 1);
    if (kind == 0) {
        add(&counts->events, appending->events);
        add(&counts->bytes, appending->bytes);
    }
}

static void run_done(struct stele_task *task)
{
    struct stele_appending *appending =
        (struct stele_appending *)((char *)task - offsetof(struct stele_appending, task));
    struct station *const station = appending->engine;
    STELE_ASSERT(station->under_way > 0);
    station->under_way--;
    count(station, appending);
    appending->on_done(appending); /* May ask for more, and be gone. */
    settle(station);
}

static void on_appended(void *context, int outcome, const struct stele_append_result *result)
{
    struct stele_appending *appending = context;
    appending->outcome = outcome;
    appending->result = *result;
    appending->ended_us = monotonic_us();
    stele_loop_post(appending->loop, &appending->task);
}

static void weigh(struct stele_appending *appending, const struct stele_append *streams,
                  size_t streams_count)
{
    appending->events = 0;
    appending->bytes = 0;
    for (size_t i = 0; i < streams_count; i++) {
        appending->events += streams[i].count;
        for (size_t k = 0; k < streams[i].count; k++) {
            appending->bytes += streams[i].events[k].data_size + streams[i].events[k].metadata_size;
        }
    }
}

static int append(struct stele_engine *base, struct stele_appending *appending,
                  const struct stele_append *streams, size_t streams_count,
                  const struct stele_condition *conditions, size_t conditions_count,
                  struct stele_error *err)
{
    struct embedded *engine = embedded_of(base);
    struct station *station = station_of(engine, appending->loop);
    if (station == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "append: no memory");
    }
    appending->task.run = run_done;
    appending->engine = station;
    if (station->staged == 0) {
        station->staged_us = monotonic_us();
    }
    appending->began_us = station->staged_us;
    weigh(appending, streams, streams_count);
    const int outcome = stele_client_append_stage(engine->store, streams, streams_count, conditions,
                                                  conditions_count, appending->revisions_last,
                                                  &appending->err, on_appended, appending, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    station->staged++;
    station->under_way++;
    owe(station);
    station->staged_events += appending->events;
    if (station->staged_events >= EARLY_EVENTS) {
        /* The rest of this turn is parsed while these are written. */
        station->staged_events = 0;
        station->crowd = CROWD;
        stele_client_flush(engine->store, false);
    }
    if (!station->flush_posted) {
        station->flush_posted = true;
        owe(station);
        stele_loop_post(station->loop, &station->flush_task);
    }
    return STELE_OK;
}

/* ---- Deletes: libstele has them with waiting only ---- */

static void run_job_done(struct stele_task *task)
{
    struct stele_appending *appending =
        (struct stele_appending *)((char *)task - offsetof(struct stele_appending, task));
    struct station *const station = appending->engine;
    appending->on_done(appending);
    settle(station);
}

static void do_job(struct embedded *engine, const struct job *job)
{
    struct stele_appending *appending = job->appending;
    appending->outcome = job->deed == TOMBSTONE
                             ? stele_tombstone(engine->store, job->stream, job->expected,
                                               &appending->result, &appending->err)
                             : stele_delete(engine->store, job->stream, job->expected,
                                            &appending->result, &appending->err);
    stele_loop_post(appending->loop, &appending->task);
}

static void *run_worker(void *context)
{
    struct embedded *engine = context;
    (void)pthread_mutex_lock(&engine->lock);
    for (;;) {
        struct job *job = engine->first;
        if (job == NULL && engine->stopping) {
            break;
        }
        if (job == NULL) {
            (void)pthread_cond_wait(&engine->work, &engine->lock);
            continue;
        }
        engine->first = job->next;
        if (engine->first == NULL) {
            engine->last = &engine->first;
        }
        (void)pthread_mutex_unlock(&engine->lock);
        do_job(engine, job);
        stele_release(engine->alloc, job, job->size);
        (void)pthread_mutex_lock(&engine->lock);
    }
    (void)pthread_mutex_unlock(&engine->lock);
    return NULL;
}

static int give_job(struct embedded *engine, enum deed deed, struct stele_appending *appending,
                    const char *stream, uint64_t expected, struct stele_error *err)
{
    const size_t size = strnlen(stream, STELE_STREAM_NAME_SIZE_MAX + 3);
    struct station *station = station_of(engine, appending->loop);
    struct job *job =
        station == NULL ? NULL : stele_allocate(engine->alloc, sizeof *job + size + 1);
    if (job == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "delete: no memory");
    }
    *job = (struct job){
        .deed = deed, .appending = appending, .expected = expected, .size = sizeof *job + size + 1};
    memcpy(job->stream, stream, size);
    job->stream[size] = '\0';
    appending->task.run = run_job_done;
    appending->engine = station;
    owe(station);
    (void)pthread_mutex_lock(&engine->lock);
    *engine->last = job;
    engine->last = &job->next;
    (void)pthread_cond_signal(&engine->work);
    (void)pthread_mutex_unlock(&engine->lock);
    return STELE_OK;
}

static int tombstone(struct stele_engine *engine, struct stele_appending *appending,
                     const char *stream, uint64_t expected, struct stele_error *err)
{
    return give_job(embedded_of(engine), TOMBSTONE, appending, stream, expected, err);
}

static int soft_delete(struct stele_engine *engine, struct stele_appending *appending,
                       const char *stream, uint64_t expected, struct stele_error *err)
{
    return give_job(embedded_of(engine), SOFT_DELETE, appending, stream, expected, err);
}

/* ---- Reading ---- */

static int read_open(struct stele_engine *base, const char *stream,
                     const struct stele_read_options *options, struct stele_reading **out_reading,
                     struct stele_error *err)
{
    struct embedded *engine = embedded_of(base);
    struct stele_reading *reading = stele_allocate(engine->alloc, sizeof *reading);
    if (reading == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "read: no memory");
    }
    reading->engine = engine;
    const int outcome =
        stream == NULL ? stele_read_all(engine->store, options, &reading->iterator, err)
                       : stele_read_stream(engine->store, stream, options, &reading->iterator, err);
    if (outcome != STELE_OK) {
        stele_release(engine->alloc, reading, sizeof *reading);
        return outcome;
    }
    *out_reading = reading;
    return STELE_OK;
}

static int read_next(struct stele_reading *reading, const struct stele_event **out_events,
                     size_t *out_count, struct stele_error *err)
{
    const int outcome = stele_iterator_next(reading->iterator, out_events, out_count, err);
    if (outcome == STELE_OK && *out_count > 0) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < *out_count; i++) {
            bytes += (*out_events)[i].data_size + (*out_events)[i].metadata_size;
        }
        atomic_fetch_add_explicit(&reading->engine->events_read, *out_count, memory_order_relaxed);
        atomic_fetch_add_explicit(&reading->engine->bytes_read, bytes, memory_order_relaxed);
    }
    return outcome;
}

static uint64_t read_position(const struct stele_reading *reading)
{
    return stele_iterator_position(reading->iterator);
}

static uint64_t read_scanned(const struct stele_reading *reading)
{
    return stele_iterator_scanned(reading->iterator);
}

static uint64_t read_ordinal(const struct stele_reading *reading, size_t index)
{
    return stele_iterator_ordinal(reading->iterator, index);
}

static void read_close(struct stele_reading *reading)
{
    if (reading != NULL) {
        stele_iterator_destroy(reading->iterator);
        stele_release(reading->engine->alloc, reading, sizeof *reading);
    }
}

/* ---- The rest is libstele's ---- */

static int stream_info(struct stele_engine *engine, const char *stream,
                       struct stele_stream_info *out_info, struct stele_error *err)
{
    return stele_stream_info(embedded_of(engine)->store, stream, out_info, err);
}

static int get_metadata(struct stele_engine *engine, const char *stream, char *buffer,
                        size_t buffer_size, size_t *out_size, uint64_t *out_revision,
                        struct stele_error *err)
{
    return stele_get_metadata(embedded_of(engine)->store, stream, buffer, buffer_size, out_size,
                              out_revision, err);
}

static int list(struct stele_engine *engine, int what, const char *prefix, const char *after,
                uint64_t limit, stele_name_callback on_name, void *context, struct stele_error *err)
{
    return stele_list(embedded_of(engine)->store, what, prefix, after, limit, on_name, context,
                      err);
}

static uint64_t last_position(struct stele_engine *engine)
{
    return stele_last_position(embedded_of(engine)->store);
}

static int stats(struct stele_engine *engine, struct stele_stats *out_stats,
                 struct stele_error *err)
{
    return stele_stats(embedded_of(engine)->store, out_stats, err);
}

static uint64_t get(const _Atomic uint64_t *from)
{
    return atomic_load_explicit(from, memory_order_relaxed);
}

static void add_took(struct stele_engine_took *took, const struct counts *counts, int kind)
{
    took->count += get(&counts->count[kind]);
    took->sum_us += get(&counts->sum_us[kind]);
    for (size_t i = 0; i <= STELE_ENGINE_BOUNDS; i++) {
        took->at_most[i] += get(&counts->at_most[kind][i]);
    }
}

static void give_counts(struct stele_engine *base, struct stele_engine_counts *out_counts)
{
    struct embedded *engine = embedded_of(base);
    *out_counts = (struct stele_engine_counts){.events_read = get(&engine->events_read),
                                               .bytes_read = get(&engine->bytes_read)};
    for (struct station *station = atomic_load(&engine->stations); station != NULL;
         station = station->next) {
        add_took(&out_counts->done, &station->counts, 0);
        add_took(&out_counts->refused, &station->counts, 1);
        out_counts->events_written += get(&station->counts.events);
        out_counts->bytes_written += get(&station->counts.bytes);
    }
}

/* ---- Chores: one thread each ---- */

#define DAMAGES_MAX 1000
#define PROGRESS_US 200000

static void run_progress(struct stele_task *task)
{
    struct stele_chore *chore =
        (struct stele_chore *)((char *)task - offsetof(struct stele_chore, progress_task));
    atomic_store(&chore->progress_posted, false);
    chore->on_progress(chore);
}

static void run_chore_done(struct stele_task *task)
{
    struct stele_chore *chore =
        (struct stele_chore *)((char *)task - offsetof(struct stele_chore, task));
    struct labour *const labour = chore->engine;
    struct embedded *const engine = labour->engine;
    struct station *const station = find_station(engine, chore->loop);
    /* It posted this as its last act. What libraries keep for a thread is given back when it ends. */
    (void)pthread_join(labour->thread, NULL);
    stele_release(engine->alloc, labour, sizeof *labour);
    chore->engine = engine;
    chore->on_done(chore);
    settle(station);
}

static int on_chore_progress(void *context, uint64_t done, uint64_t total)
{
    struct stele_chore *chore = context;
    const int64_t now_us = monotonic_us();
    atomic_store(&chore->done, done);
    atomic_store(&chore->total, total);
    if (chore->on_progress != NULL && now_us - chore->told_us >= PROGRESS_US &&
        !atomic_exchange(&chore->progress_posted, true)) {
        chore->told_us = now_us;
        stele_loop_post(chore->loop, &chore->progress_task);
    }
    return atomic_load(&chore->stop) ? 1 : 0;
}

static void on_chore_damage(void *context, const struct stele_damage *damage)
{
    struct stele_chore *chore = context;
    struct embedded *engine = ((struct labour *)chore->engine)->engine;
    const char *file = damage->file == NULL ? "" : damage->file;
    const char *what = damage->what == NULL ? "" : damage->what;
    const size_t file_size = strlen(file) + 1;
    const size_t what_size = strlen(what) + 1;
    struct stele_chore_damage *noted =
        chore->damages_count == DAMAGES_MAX
            ? NULL
            : stele_allocate(engine->alloc, sizeof *noted + file_size + what_size);
    if (noted == NULL) {
        return; /* The result counts it all the same. */
    }
    char *texts = (char *)(noted + 1);
    memcpy(texts, file, file_size);
    memcpy(texts + file_size, what, what_size);
    *noted = (struct stele_chore_damage){.damage = *damage};
    noted->damage.file = texts;
    noted->damage.what = texts + file_size;
    struct stele_chore_damage **last = &chore->damages;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = noted;
    chore->damages_count++;
}

static void do_chore(struct embedded *engine, struct stele_chore *chore)
{
    struct stele_scavenge_options scavenge = STELE_SCAVENGE_OPTIONS_INIT;
    struct stele_verify_options verify = STELE_VERIFY_OPTIONS_INIT;
    switch (chore->kind) {
    case STELE_CHORE_SCAVENGE:
        scavenge.bytes_per_second = chore->bytes_per_second;
        scavenge.on_progress = on_chore_progress;
        scavenge.context = chore;
        chore->outcome = stele_scavenge(engine->store, &scavenge, &chore->scavenged, &chore->err);
        break;
    case STELE_CHORE_VERIFY:
        verify.against = chore->against[0] == '\0' ? NULL : chore->against;
        verify.on_damage = on_chore_damage;
        verify.on_progress = on_chore_progress;
        verify.context = chore;
        chore->outcome = stele_verify(engine->store, &verify, &chore->verified, &chore->err);
        break;
    case STELE_CHORE_DIGEST:
    default:
        chore->outcome = stele_digest(engine->store, chore->verified.digest, &chore->err);
        break;
    }
}

static void *run_chore(void *context)
{
    struct stele_chore *chore = context;
    do_chore(((struct labour *)chore->engine)->engine, chore);
    stele_loop_post(chore->loop, &chore->task);
    return NULL;
}

static int start_chore(struct stele_engine *base, struct stele_chore *chore,
                       struct stele_error *err)
{
    struct embedded *engine = embedded_of(base);
    struct station *station = station_of(engine, chore->loop);
    struct labour *labour = station == NULL ? NULL : stele_allocate(engine->alloc, sizeof *labour);
    if (labour == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for the work");
    }
    labour->engine = engine;
    chore->engine = labour;
    chore->task.run = run_chore_done;
    chore->progress_task.run = run_progress;
    const int failed = pthread_create(&labour->thread, NULL, run_chore, chore);
    if (failed != 0) {
        stele_release(engine->alloc, labour, sizeof *labour);
        return stele_fail(err, STELE_E_NO_MEMORY, failed, "no thread for the work");
    }
    owe(station); /* Settled by this thread, later. */
    return STELE_OK;
}

static void forget_chore(struct stele_engine *base, struct stele_chore *chore)
{
    struct embedded *engine = embedded_of(base);
    while (chore->damages != NULL) {
        struct stele_chore_damage *first = chore->damages;
        chore->damages = first->next;
        const size_t size =
            sizeof *first + strlen(first->damage.file) + strlen(first->damage.what) + 2;
        stele_release(engine->alloc, first, size);
    }
    chore->damages_count = 0;
}

static const struct stele_engine_ops embedded_ops = {
    .append = append,
    .tombstone = tombstone,
    .soft_delete = soft_delete,
    .read_open = read_open,
    .read_next = read_next,
    .read_position = read_position,
    .read_scanned = read_scanned,
    .read_ordinal = read_ordinal,
    .read_close = read_close,
    .stream_info = stream_info,
    .get_metadata = get_metadata,
    .list = list,
    .last_position = last_position,
    .stats = stats,
    .counts = give_counts,
    .chore = start_chore,
    .chore_forget = forget_chore,
    .watch_start = watch_start,
    .watch_stop = watch_stop,
};

const struct stele_engine_ops *const stele_engine_embedded = &embedded_ops;

int stele_engine_create(struct stele *store, struct stele_alloc *alloc,
                        struct stele_engine **out_engine, struct stele_error *err)
{
    struct embedded *engine = stele_allocate_zeroed(alloc, sizeof *engine);
    if (engine == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "engine: no memory");
    }
    engine->engine.ops = &embedded_ops;
    engine->store = store;
    engine->alloc = alloc;
    engine->last = &engine->first;
    (void)pthread_mutex_init(&engine->lock, NULL);
    (void)pthread_cond_init(&engine->work, NULL);
    const int failed = pthread_create(&engine->worker, NULL, run_worker, engine);
    if (failed != 0) {
        (void)pthread_mutex_destroy(&engine->lock);
        (void)pthread_cond_destroy(&engine->work);
        stele_release(alloc, engine, sizeof *engine);
        return stele_fail(err, STELE_E_NO_MEMORY, failed, "engine: no thread");
    }
    stele_on_visible(store, on_visible, engine);
    *out_engine = &engine->engine;
    return STELE_OK;
}

uint64_t stele_engine_wind_down(struct stele_engine *base)
{
    struct embedded *engine = embedded_of(base);
    uint64_t left = 0;
    /* Waits for those who are calling it: what they post is counted below. */
    stele_on_visible(engine->store, NULL, NULL);
    for (struct station *station = atomic_load(&engine->stations); station != NULL;
         station = station->next) {
        left += atomic_load(&station->visible_posted) ? 1 : 0;
        left += atomic_load_explicit(&station->owed, memory_order_acquire);
    }
    return left;
}

void stele_engine_destroy(struct stele_engine *base)
{
    if (base == NULL) {
        return;
    }
    struct embedded *engine = embedded_of(base);
    stele_on_visible(engine->store, NULL, NULL);
    (void)pthread_mutex_lock(&engine->lock);
    engine->stopping = true;
    (void)pthread_cond_broadcast(&engine->work);
    (void)pthread_mutex_unlock(&engine->lock);
    (void)pthread_join(engine->worker, NULL);
    struct station *station = atomic_load(&engine->stations);
    while (station != NULL) {
        struct station *next = station->next;
        STELE_ASSERT(station->first == NULL);
        STELE_ASSERT(atomic_load(&station->owed) == 0);
        stele_release(engine->alloc, station, sizeof *station);
        station = next;
    }
    (void)pthread_cond_destroy(&engine->work);
    (void)pthread_mutex_destroy(&engine->lock);
    stele_release(engine->alloc, engine, sizeof *engine);
}
