/* Readers: one-off reads and subscriptions, each compared with the model event by event.
 *
 * A reader lives over many events of the simulation: between two of its steps appends become
 * durable, runs are merged, segments are packed. A subscription remembers where it is and goes on
 * there after a crash, from its last event or from the position that the read gave as looked at. */
#include "sim.h"

#include <stdlib.h>

#define EVENTS_A_STEP 4
#define BACKWARDS_MAX 1000

static void on_step(struct sim *sim, void *object, uint64_t number);

static const char *name_of(const struct workload_query *query)
{
    return query->is_all ? NULL : query->stream;
}

static void fail_reader(struct sim *sim, const struct model_reader *reader,
                        const struct workload_query *query, const struct stele_event *event)
{
    const struct stele_read_options *o = &reader->options;
    sim_fail(sim,
             "read of %s (from %llu, limit %llu, %s, as of %llu, filter %d, ignoring limits %d): "
             "%s; model event %u (of %u, %u visible), position %llu; event at %llu, revision %llu",
             query->is_all ? "$all" : query->stream, (unsigned long long)o->from,
             (unsigned long long)o->limit, o->backwards ? "backwards" : "forwards",
             (unsigned long long)o->as_of, o->filter != NULL, o->ignore_limits, reader->problem,
             reader->problem_event, sim->model.count, sim->model.visible,
             reader->problem_event == MODEL_NONE
                 ? 0ULL
                 : (unsigned long long)sim->model.events[reader->problem_event].position,
             event == NULL ? 0ULL : (unsigned long long)event->position,
             event == NULL ? 0ULL : (unsigned long long)event->revision);
}

enum step {
    STEP_MORE,
    STEP_END,
    STEP_FAILED, /* With an error that is excused. */
};

/* One call of next, and all its consequences. */
static enum step step(struct sim *sim, struct stele_store *store, struct stele_read *read,
                      struct model_reader *model, const struct workload_query *query,
                      uint64_t *out_events)
{
    const struct stele_event *events = NULL;
    size_t count = 0;
    struct stele_error err = {.outcome = 0};
    const struct sim_mark mark = sim_mark(sim);
    int outcome = stele_read_next(read, &events, &count, &err);
    if (outcome == STELE_INCOMPLETE) {
        outcome = stele_read_refill(store, read, &err);
        if (outcome != STELE_OK) {
            sim_excuse(sim, mark, outcome, "refill", &err);
            return STEP_FAILED;
        }
        model_read_refill(model);
        return STEP_MORE;
    }
    if (outcome == STELE_END) {
        if (!model_read_at_end(model)) {
            fail_reader(sim, model, query, NULL);
        }
        return STEP_END;
    }
    if (outcome == STELE_E_CORRUPT && sim->damaged_log) {
        sim->stats.corrupt_reads++;
        model->damaged = true;
        return STEP_MORE;
    }
    if (outcome != STELE_OK) {
        sim_excuse(sim, mark, outcome, "read", &err);
        return STEP_FAILED;
    }
    for (size_t i = 0; i < count; i++) {
        if (!model_read_event(model, &events[i])) {
            fail_reader(sim, model, query, &events[i]);
        }
    }
    *out_events += count;
    if (!model->options.backwards && !model_read_passed(model, stele_read_position(read))) {
        fail_reader(sim, model, query, NULL);
    }
    return STEP_MORE;
}

/* Begins a read on both sides. STELE_OK, or the outcome of both; STELE_E_… if excused. */
static int begin(struct sim *sim, struct stele_store *store, struct workload_query *query,
                 bool wait, struct stele_read **out_read, struct model_reader *model)
{
    struct stele_error err = {.outcome = 0};
    const struct sim_mark mark = sim_mark(sim);
    const int64_t now_us = sim_wall(sim);
    const int want =
        model_read_begin(model, &sim->model, name_of(query), &query->options, wait, now_us);
    const int outcome =
        stele_read_begin(store, name_of(query), &query->options, wait, now_us, out_read, &err);
    if (outcome == want) {
        return outcome;
    }
    if (want == STELE_OK) {
        model_read_end(model);
    }
    if (outcome >= 0) {
        if (outcome == STELE_OK) {
            stele_read_end(store, *out_read);
        }
        /* While the log is damaged, the newest metadata may not be found by a slow look-up. */
        if (!sim->damaged_log) {
            sim_fail(sim, "reading %s gives %s instead of %s: %s",
                     query->is_all ? "$all" : query->stream, stele_outcome_name(outcome),
                     stele_outcome_name(want), err.message);
        }
        return STELE_E_CORRUPT;
    }
    sim_excuse(sim, mark, outcome, "beginning to read", &err);
    return outcome;
}

void sim_read_query(struct sim *sim, struct stele_store *store, struct workload_query *query)
{
    struct stele_read *read = NULL;
    struct model_reader model;
    uint64_t events = 0;
    if (begin(sim, store, query, false, &read, &model) != STELE_OK) {
        return;
    }
    enum step done = STEP_MORE;
    for (uint64_t steps = 0; done == STEP_MORE; steps++) {
        if (steps > 1000000) {
            sim_fail(sim, "a read of %s does not end", query->is_all ? "$all" : query->stream);
        }
        done = step(sim, store, read, &model, query, &events);
    }
    sim->stats.reads++;
    sim->stats.read_events += events;
    stele_read_end(store, read);
    model_read_end(&model);
}

static void read_stream(struct sim *sim, uint32_t stream)
{
    struct workload_query query = {.options = STELE_READ_OPTIONS_INIT};
    const size_t size = strlen(sim->model.streams.names[stream]);
    STELE_ASSERT(size < sizeof query.stream);
    memcpy(query.stream, sim->model.streams.names[stream], size + 1);
    sim_read_query(sim, sim->store, &query);
    query.options.ignore_limits = 1;
    query.options.backwards = (int)(stream & 1);
    query.options.from = (stream & 1) != 0 ? STELE_FROM_END : STELE_FROM_START;
    sim_read_query(sim, sim->store, &query);
}

void sim_read_everything(struct sim *sim, uint32_t streams)
{
    struct workload_query query = {.is_all = true, .options = STELE_READ_OPTIONS_INIT};
    sim_read_query(sim, sim->store, &query);
    query.options.backwards = 1;
    query.options.from = STELE_FROM_END;
    query.options.limit = BACKWARDS_MAX;
    sim_read_query(sim, sim->store, &query);
    const uint32_t count = sim->model.streams.count;
    const uint32_t first = streams >= count ? 0 : (uint32_t)rng_below(&sim->rng_schedule, count);
    for (uint32_t i = 0; i < streams && i < count; i++) {
        read_stream(sim, (first + i) % count);
    }
}

/* ---- Reads that take their time ---- */

static void stop(struct sim *sim, struct sim_reader *reader)
{
    if (reader->read != NULL) {
        stele_read_end(sim->store, reader->read);
        model_read_end(&reader->model);
        reader->read = NULL;
    }
    if (!reader->follows) {
        reader->used = false;
    }
}

static void take_checkpoint(struct sim *sim, struct sim_reader *reader)
{
    const bool by_revision = reader->model.kind == MODEL_STREAM;
    if (by_revision) {
        if (reader->model.handed_out > 0) {
            reader->checkpoint = reader->model.revision_last;
            reader->has_checkpoint = true;
        }
    } else if (rng_percent(&sim->rng_schedule, 50)) {
        reader->checkpoint = stele_read_position(reader->read);
        reader->has_checkpoint = true;
    } else if (reader->model.handed_out > 0 &&
               (!reader->has_checkpoint || reader->model.position_last > reader->checkpoint)) {
        reader->checkpoint = reader->model.position_last;
        reader->has_checkpoint = true;
    }
}

static void open_reader(struct sim *sim, struct sim_reader *reader)
{
    struct workload_query *query = &reader->query;
    if (reader->has_checkpoint) {
        query->options.from = reader->checkpoint + 1;
    }
    const int outcome =
        begin(sim, sim->store, query, reader->follows, &reader->read, &reader->model);
    if (outcome != STELE_OK) {
        reader->read = NULL;
        if (outcome > 0) {
            reader->used = false; /* A tombstone: there is nothing to follow any more. */
        } else if (reader->follows) {
            sim_after(sim, SIM_SECOND, on_step, reader, reader->number);
        } else {
            reader->used = false;
        }
        return;
    }
    sim_after(sim, 0, on_step, reader, reader->number);
}

/* A new one-off read may take the place of one that ended: the number tells them apart. */
static void on_step(struct sim *sim, void *object, uint64_t number)
{
    struct sim_reader *reader = object;
    if (!reader->used || reader->number != number || sim->going_down) {
        return;
    }
    if (reader->read == NULL) {
        open_reader(sim, reader);
        return;
    }
    enum step done = STEP_MORE;
    for (int i = 0; i < EVENTS_A_STEP && done == STEP_MORE; i++) {
        done = step(sim, sim->store, reader->read, &reader->model, &reader->query, &reader->events);
    }
    if (reader->follows) {
        take_checkpoint(sim, reader);
    }
    sim_trace(sim, "reader: number, events, position", number, reader->events,
              stele_read_position(reader->read));
    if (done == STEP_FAILED || (done == STEP_END && !reader->follows)) {
        sim->stats.reads++;
        sim->stats.read_events += reader->events;
        stop(sim, reader);
        if (reader->used) {
            sim_after(sim, SIM_SECOND, on_step, reader, number);
        }
        return;
    }
    if (reader->follows && rng_one_in(&sim->rng_schedule, 200)) {
        stop(sim, reader); /* Comes again where it was. */
    }
    const uint64_t pause = done == STEP_END ? 300 * SIM_MS : SIM_MS;
    sim_after(sim, rng_exponential(&sim->rng_schedule, pause), on_step, reader, number);
}

static struct sim_reader *free_reader(struct sim *sim)
{
    for (size_t i = 0; i < SIM_READERS_MAX; i++) {
        if (!sim->readers[i].used) {
            return &sim->readers[i];
        }
    }
    return NULL;
}

static void begin_reader(struct sim *sim, bool follows)
{
    struct sim_reader *reader = free_reader(sim);
    if (reader == NULL) {
        return;
    }
    *reader = (struct sim_reader){
        .used = true,
        .follows = follows,
        .number = (uint32_t)(sim->stats.reads + ++sim->stats.subscriptions),
    };
    workload_query(&sim->workload, &sim->model, follows, &reader->query);
    open_reader(sim, reader);
}

static void on_read(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    if (sim->going_down || sim->calm) {
        return;
    }
    if (rng_percent(&sim->rng_workload, 50)) {
        begin_reader(sim, false);
    } else {
        struct workload_query query;
        workload_query(&sim->workload, &sim->model, false, &query);
        sim_read_query(sim, sim->store, &query);
    }
    sim_after(sim, rng_exponential(&sim->rng_schedule, sim->config.read_us), on_read, NULL, 0);
}

void sim_reader_start(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->config.subscriptions; i++) {
        begin_reader(sim, true);
    }
}

void sim_reader_opened(struct sim *sim)
{
    for (size_t i = 0; i < SIM_READERS_MAX; i++) {
        if (sim->readers[i].used) {
            STELE_ASSERT(sim->readers[i].follows && sim->readers[i].read == NULL);
            sim_after(sim, rng_exponential(&sim->rng_schedule, SIM_SECOND), on_step,
                      &sim->readers[i], sim->readers[i].number);
        }
    }
    sim_after(sim, rng_exponential(&sim->rng_schedule, sim->config.read_us), on_read, NULL, 0);
}

void sim_reader_crashed(struct sim *sim)
{
    for (size_t i = 0; i < SIM_READERS_MAX; i++) {
        stop(sim, &sim->readers[i]);
    }
}

/* ---- After opening: what is there? ---- */

uint32_t sim_read_tail(struct sim *sim, struct stele_store *store, uint32_t from)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = from == 0 ? 0 : sim->model.events[from - 1].position + 1;
    struct stele_read *read = NULL;
    struct stele_error err = {.outcome = 0};
    const struct sim_mark mark = sim_mark(sim);
    int outcome = stele_read_begin(store, NULL, &options, false, sim_wall(sim), &read, &err);
    uint32_t at = from;
    while (outcome == STELE_OK) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_read_next(read, &events, &count, &err);
        if (outcome == STELE_INCOMPLETE) {
            outcome = stele_read_refill(store, read, &err);
            continue;
        }
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            while (at < sim->model.count && sim->model.events[at].position != events[i].position &&
                   sim->model.events[at].optional) {
                at++;
            }
            if (at == sim->model.count) {
                sim_fail(sim, "the store has an event at %llu that was never appended",
                         (unsigned long long)events[i].position);
            }
            const char *difference = model_compare(&sim->model, at, &events[i]);
            if (difference != NULL) {
                sim_fail(sim, "after opening, event %u of %u (position %llu, found %llu): %s", at,
                         sim->model.count, (unsigned long long)sim->model.events[at].position,
                         (unsigned long long)events[i].position, difference);
            }
            at++;
        }
    }
    if (read != NULL) {
        stele_read_end(store, read);
    }
    if (outcome != STELE_END) {
        if (!(outcome == STELE_E_CORRUPT && sim->damaged_log)) {
            sim_excuse(sim, mark, outcome, "reading the tail", &err);
        }
        return UINT32_MAX;
    }
    return at;
}
