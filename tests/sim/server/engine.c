/* The engine of the simulated server: the store of the simulation, asked as its own clients ask it.
 *
 * An append is decided by the store and by the model, and told when it is durable. Whoever watches is
 * told by a task of its loop, as by the engine of the process. */
#include "lib/storeread.h"
#include "server.h"

#include <stdlib.h>

struct stele_reading {
    struct srv_engine *engine;
    struct stele_read *read;
    bool bounded;
};

struct srv_ask {
    struct sim_client client; /* First. */
    struct srv_engine *engine;
    struct stele_appending *appending;
    size_t streams_count;
};

static struct srv_engine *engine_of(struct stele_engine *engine)
{
    return (struct srv_engine *)(void *)engine;
}

static struct sim *sim_of(const struct srv_engine *engine)
{
    return engine->sim;
}

static bool is_gone(const struct srv_engine *engine)
{
    return engine->dying || sim_of(engine)->store == NULL;
}

static int gone(struct stele_error *err)
{
    return stele_fail(err, STELE_E_CLOSED, 0, "the store is closed");
}

/* ---- Appending ---- */

static void run_done(struct stele_task *task)
{
    struct stele_appending *appending =
        (struct stele_appending *)((char *)task - offsetof(struct stele_appending, task));
    appending->on_done(appending);
}

static void on_told(struct sim *sim, struct sim_client *client, int outcome)
{
    struct srv_ask *ask = (struct srv_ask *)(void *)client;
    struct stele_appending *appending = ask->appending;
    (void)sim;
    appending->outcome = outcome;
    appending->result = client->op.result;
    appending->err = client->err;
    if (appending->revisions_last != NULL) {
        memcpy(appending->revisions_last, client->revisions_last,
               ask->streams_count * sizeof *appending->revisions_last);
    }
    appending->task.run = run_done;
    ask->engine->appends--;
    stele_loop_post(appending->loop, &appending->task);
    free(ask);
}

static int submit(struct srv_engine *engine, struct stele_appending *appending,
                  struct workload_request *request)
{
    struct sim *sim = sim_of(engine);
    struct srv_ask *ask = calloc(1, sizeof *ask);
    STELE_ASSERT(ask != NULL);
    ask->engine = engine;
    ask->appending = appending;
    ask->streams_count = request->streams_count;
    ask->client.on_told = on_told;
    ask->client.index = 100;
    engine->appends++;
    for (size_t i = 0; i < request->drafts_count; i++) {
        const size_t size = request->drafts[i].data_size + request->drafts[i].metadata_size;
        if (size > engine->srv->event_size_max) {
            engine->srv->event_size_max = size;
        }
    }
    sim_client_ask(sim, &ask->client, request);
    return STELE_OK;
}

/* What libstele looks at before anything is done. */
static int look_at(struct srv_engine *engine, const struct workload_request *request,
                   struct stele_error *err)
{
    struct stele_prepared *prepared = NULL;
    struct sim *sim = sim_of(engine);
    int outcome = stele_prepared_create(sim->store, &prepared, err);
    if (outcome == STELE_OK) {
        outcome =
            request->kind == WORKLOAD_TOMBSTONE
                ? stele_prepare_tombstone(prepared, request->streams[0].stream,
                                          request->streams[0].expected, sim_wall(sim), err)
                : stele_prepare(prepared, request->streams, request->streams_count,
                                request->conditions, request->conditions_count, sim_wall(sim), err);
    }
    stele_prepared_destroy(prepared);
    return outcome;
}

static int append(struct stele_engine *base, struct stele_appending *appending,
                  const struct stele_append *streams, size_t streams_count,
                  const struct stele_condition *conditions, size_t conditions_count,
                  struct stele_error *err)
{
    struct srv_engine *engine = engine_of(base);
    if (is_gone(engine)) {
        return gone(err);
    }
    struct workload_request *request =
        workload_of(streams, streams_count, conditions, conditions_count);
    const int outcome = look_at(engine, request, err);
    if (outcome != STELE_OK) {
        workload_free(request);
        return outcome;
    }
    return submit(engine, appending, request);
}

static int remove_stream(struct stele_engine *base, enum workload_kind kind,
                         struct stele_appending *appending, const char *stream, uint64_t expected,
                         struct stele_error *err)
{
    struct srv_engine *engine = engine_of(base);
    if (is_gone(engine)) {
        return gone(err);
    }
    const struct stele_event_draft draft = {.type = "$tombstone"};
    const struct stele_append one = {
        .stream = stream, .expected = expected, .events = &draft, .count = 1};
    struct workload_request *request = workload_of(&one, 1, NULL, 0);
    request->kind = kind;
    request->streams[0].count = kind == WORKLOAD_TOMBSTONE ? 1 : 0;
    return submit(engine, appending, request);
}

static int tombstone(struct stele_engine *engine, struct stele_appending *appending,
                     const char *stream, uint64_t expected, struct stele_error *err)
{
    return remove_stream(engine, WORKLOAD_TOMBSTONE, appending, stream, expected, err);
}

static int soft_delete(struct stele_engine *engine, struct stele_appending *appending,
                       const char *stream, uint64_t expected, struct stele_error *err)
{
    return remove_stream(engine, WORKLOAD_DELETE, appending, stream, expected, err);
}

/* ---- Reading ---- */

static int read_open(struct stele_engine *base, const char *stream,
                     const struct stele_read_options *options, struct stele_reading **out_reading,
                     struct stele_error *err)
{
    struct srv_engine *engine = engine_of(base);
    if (is_gone(engine)) {
        return gone(err);
    }
    struct sim *sim = sim_of(engine);
    struct stele_read *read = NULL;
    const int outcome =
        stele_read_begin(sim->store, stream, options, false, sim_wall(sim), &read, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_reading *reading = calloc(1, sizeof *reading);
    STELE_ASSERT(reading != NULL);
    *reading = (struct stele_reading){
        .engine = engine, .read = read, .bounded = options != NULL && options->scan_max != 0};
    engine->readings++;
    *out_reading = reading;
    return STELE_OK;
}

static int read_next(struct stele_reading *reading, const struct stele_event **out_events,
                     size_t *out_count, struct stele_error *err)
{
    if (is_gone(reading->engine)) {
        return gone(err);
    }
    return storeread_next(sim_of(reading->engine)->store, reading->read, reading->bounded,
                          out_events, out_count, err);
}

static uint64_t read_position(const struct stele_reading *reading)
{
    return stele_read_position(reading->read);
}

static uint64_t read_scanned(const struct stele_reading *reading)
{
    return stele_read_scanned(reading->read);
}

static uint64_t read_ordinal(const struct stele_reading *reading, size_t index)
{
    return stele_read_ordinal(reading->read, index);
}

static void read_close(struct stele_reading *reading)
{
    if (reading != NULL) {
        stele_read_end(sim_of(reading->engine)->store, reading->read);
        reading->engine->readings--;
        free(reading);
    }
}

/* ---- The rest ---- */

static int stream_info(struct stele_engine *base, const char *stream,
                       struct stele_stream_info *out_info, struct stele_error *err)
{
    struct srv_engine *engine = engine_of(base);
    struct sim *sim = sim_of(engine);
    return is_gone(engine)
               ? gone(err)
               : stele_store_stream_info(sim->store, stream, sim_wall(sim), out_info, err);
}

static int get_metadata(struct stele_engine *base, const char *stream, char *buffer,
                        size_t buffer_size, size_t *out_size, uint64_t *out_revision,
                        struct stele_error *err)
{
    struct srv_engine *engine = engine_of(base);
    struct sim *sim = sim_of(engine);
    struct stele_buf json = {.data = NULL};
    uint64_t revision = 0;
    if (is_gone(engine)) {
        return gone(err);
    }
    const int outcome = stele_store_metadata(sim->store, stream, &json, &revision, err);
    if (outcome == STELE_OK) {
        const size_t fits = json.size < buffer_size ? json.size : buffer_size;
        if (fits > 0) {
            memcpy(buffer, json.data, fits);
        }
        *out_size = json.size;
        if (out_revision != NULL) {
            *out_revision = revision;
        }
    }
    stele_buf_deinit(&json, &sim->alloc.base);
    return outcome;
}

static int list(struct stele_engine *base, int what, const char *prefix, const char *after,
                uint64_t limit, stele_name_callback on_name, void *context, struct stele_error *err)
{
    struct srv_engine *engine = engine_of(base);
    struct sim *sim = sim_of(engine);
    struct stele_list *names = NULL;
    if (is_gone(engine)) {
        return gone(err);
    }
    int outcome = stele_list_begin(sim->store, what, prefix, after, sim_wall(sim), &names, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    for (uint64_t told = 0; limit == 0 || told < limit; told++) {
        struct stele_text name;
        uint64_t count = 0;
        outcome = stele_list_next(names, &name, &count, err);
        if (outcome != STELE_OK || on_name(context, name, count) != 0) {
            break;
        }
    }
    stele_list_end(sim->store, names);
    return outcome == STELE_END ? STELE_OK : outcome;
}

static uint64_t last_position(struct stele_engine *base)
{
    struct srv_engine *engine = engine_of(base);
    return sim_of(engine)->store == NULL ? 0 : stele_store_position(sim_of(engine)->store);
}

static int stats(struct stele_engine *base, struct stele_stats *out_stats, struct stele_error *err)
{
    struct srv_engine *engine = engine_of(base);
    if (is_gone(engine)) {
        return gone(err);
    }
    stele_store_stats(sim_of(engine)->store, out_stats);
    return STELE_OK;
}

/* ---- Watching ---- */

static void run_visible(struct stele_task *task)
{
    struct srv_station *station =
        (struct srv_station *)((char *)task - offsetof(struct srv_station, task));
    station->posted = false;
    for (struct stele_watch *watch = station->first; watch != NULL; watch = station->next_told) {
        station->next_told = watch->next;
        watch->on_visible(watch);
    }
    station->next_told = NULL;
}

void srv_engine_visible(struct srv_engine *engine)
{
    for (uint32_t i = 0; i < engine->srv->config.loops; i++) {
        struct srv_station *station = &engine->stations[i];
        if (!station->posted) {
            station->posted = true;
            stele_loop_post(station->loop, &station->task);
        }
    }
}

static struct srv_station *station_of(struct srv_engine *engine, const struct stele_loop *loop)
{
    for (uint32_t i = 0; i < engine->srv->config.loops; i++) {
        if (engine->stations[i].loop == loop) {
            return &engine->stations[i];
        }
    }
    STELE_ASSERT(false);
    return NULL;
}

static void watch_start(struct stele_engine *base, struct stele_watch *watch)
{
    struct srv_station *station = station_of(engine_of(base), watch->loop);
    watch->previous = NULL;
    watch->next = station->first;
    if (station->first != NULL) {
        station->first->previous = watch;
    }
    station->first = watch;
}

static void watch_stop(struct stele_engine *base, struct stele_watch *watch)
{
    struct srv_station *station = station_of(engine_of(base), watch->loop);
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
}

static const struct stele_engine_ops ops = {
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
    .watch_start = watch_start,
    .watch_stop = watch_stop,
};

void srv_engine_init(struct srv_engine *engine, struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    *engine = (struct srv_engine){.base = {.ops = &ops}, .sim = sim, .srv = srv};
    for (uint32_t i = 0; i < srv->config.loops; i++) {
        engine->stations[i] = (struct srv_station){
            .engine = engine, .loop = &srv->host.loops[i].base, .task = {.run = run_visible}};
    }
}
