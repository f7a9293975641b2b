/* The runner: turns, and what lies between them. */
#include "io/linux.h"
#include "runner/saga_internal.h"

#include <stdio.h>

#define NAME "runner"
#define ACTIVE_MAX 100000u
#define CHECKPOINT_EVENTS 1000u
#define CHECKPOINT_MS 10000u
#define FOLLOWS_MAX 16  /* Batches of events in one turn. */
#define TIMERS_MAX 1000 /* Of one turn. */
#define WAIT_MS_MAX 100 /* A stop is noticed after so long. */
#define WAIT_LATER_MS 5 /* And an answer from another thread after so long. */
#define FULL_WAIT_US 100000

/* ---- Making and releasing ------------------------------------------------------------------ */

static void add_type(struct stele_saga_runner *runner, const char *type)
{
    for (size_t i = 0; type != NULL && i < runner->types_count; i++) {
        if (strcmp(runner->types[i], type) == 0) {
            return;
        }
    }
    if (type != NULL) {
        runner->types[runner->types_count++] = type;
    }
}

static size_t types_room(const struct stele_saga_definition *definition)
{
    return STELE_SAGA_EVENT_KINDS + definition->triggers_count + 3 * definition->table->steps_count;
}

/* The types of all events that mean something to these sagas. */
static int take_types(struct stele_saga_runner *runner, struct stele_error *err)
{
    const struct stele_saga_definition *const definition = runner->definition;
    runner->types = stele_allocate(runner->alloc, types_room(definition) * sizeof(const char *));
    if (runner->types == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a saga runner");
    }
    for (int kind = 1; kind < STELE_SAGA_EVENT_KINDS; kind++) {
        add_type(runner, stele_saga_event_type(kind));
    }
    for (size_t i = 0; i < definition->triggers_count; i++) {
        add_type(runner, definition->triggers[i]);
    }
    for (size_t i = 0; i < definition->table->steps_count; i++) {
        add_type(runner, definition->table->steps[i].success);
        add_type(runner, definition->table->steps[i].failure);
        add_type(runner, definition->table->steps[i].compensated);
    }
    return STELE_OK;
}

static int take_options(struct stele_saga_runner *runner,
                        const struct stele_saga_runner_options *given, struct stele_error *err)
{
    const struct stele_saga_runner_options standard = STELE_SAGA_RUNNER_OPTIONS_INIT;
    struct stele_saga_runner_options *const options = &runner->options;
    *options = given != NULL ? *given : standard;
    if (options->struct_size != sizeof *options) {
        return stele_fail(
            err, STELE_E_INVALID, 0,
            "saga runner options: initialise them with STELE_SAGA_RUNNER_OPTIONS_INIT");
    }
    const char *const name = options->name != NULL ? options->name : NAME;
    if (name[0] == '\0' || strlen(name) > STELE_SAGA_NAME_SIZE_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "a runner's name has 1 to %u bytes",
                          STELE_SAGA_NAME_SIZE_MAX);
    }
    memcpy(runner->name, name, strlen(name) + 1);
    runner->name_hash = stele_runner__saga_name_hash(name);
    options->active_max = options->active_max != 0 ? options->active_max : ACTIVE_MAX;
    options->checkpoint_events =
        options->checkpoint_events != 0 ? options->checkpoint_events : CHECKPOINT_EVENTS;
    options->checkpoint_ms = options->checkpoint_ms != 0 ? options->checkpoint_ms : CHECKPOINT_MS;
    for (size_t i = 0; i < STELE_SAGA_STEPS_MAX; i++) {
        stele_breaker_init(&runner->breakers[i], &options->breaker);
    }
    return STELE_OK;
}

static void release(struct stele_saga_runner *runner)
{
    while (runner->answers != NULL) {
        struct saga_answer *const told = runner->answers;
        runner->answers = told->next;
        stele_release(runner->alloc, told, told->size);
    }
    stele_runner__saga_set_deinit(&runner->set);
    stele_release(runner->alloc, runner->calls,
                  runner->calls_capacity * sizeof(struct saga_entry *));
    if (runner->types != NULL) {
        stele_release(runner->alloc, runner->types,
                      types_room(runner->definition) * sizeof(const char *));
    }
    (void)pthread_mutex_destroy(&runner->lock);
    stele_release(runner->alloc, runner, sizeof *runner);
}

int stele_runner__saga_create(struct saga_port *take_port, struct stele_alloc *alloc,
                              const struct stele_saga_definition *definition,
                              const struct stele_saga_runner_options *options,
                              struct stele_saga_runner **out_runner, struct stele_error *err)
{
    struct stele_saga_plan plan;
    memset(&plan, 0, sizeof plan);
    int outcome = stele_saga_plan_init(&plan, definition->table, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (definition->handle == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "saga \"%s\": its definition has no handler",
                          plan.kind);
    }
    struct stele_saga_runner *const runner = stele_allocate_zeroed(alloc, sizeof *runner);
    if (runner == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a saga runner");
    }
    runner->alloc = alloc;
    runner->port = take_port;
    runner->definition = definition;
    memcpy(&runner->plan, &plan, sizeof plan);
    runner->set.alloc = alloc;
    runner->answers_end = &runner->answers;
    runner->rest_end = &runner->rest_first;
    (void)pthread_mutex_init(&runner->lock, NULL);
    outcome = take_options(runner, options, err);
    if (outcome == STELE_OK) {
        outcome = take_types(runner, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_runner__saga_load_all(runner, err);
    }
    if (outcome != STELE_OK) {
        release(runner);
        return outcome;
    }
    *out_runner = runner;
    return STELE_OK;
}

int stele_saga_runner_create(struct stele *store, const struct stele_saga_definition *definition,
                             const struct stele_saga_runner_options *options,
                             struct stele_saga_runner **out_runner, struct stele_error *err)
{
    if (definition == NULL || out_runner == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_saga_runner_create: an argument is NULL");
    }
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct saga_port *port = NULL;
    int outcome = stele_runner__saga_store_port(store, alloc, &port, err);
    if (outcome == STELE_OK) {
        outcome = stele_runner__saga_create(port, alloc, definition, options, out_runner, err);
        if (outcome != STELE_OK) {
            port->ops->destroy(port);
        }
    }
    return outcome;
}

void stele_saga_runner_destroy(struct stele_saga_runner *runner)
{
    if (runner == NULL) {
        return;
    }
    if (runner->since_checkpoint > 0) {
        /* If it cannot be written, the next runner looks at some events once more. */
        (void)stele_runner__saga_write_checkpoint(runner, NULL);
    }
    runner->port->ops->destroy(runner->port);
    release(runner);
}

/* ---- Turns -------------------------------------------------------------------------------- */

static int fire_timers(struct stele_saga_runner *runner, struct stele_error *err)
{
    int outcome = STELE_OK;
    const int64_t now_us = runner->port->ops->now_us(runner->port);
    for (int i = 0; i < TIMERS_MAX && outcome == STELE_OK && runner->set.heap_count > 0 &&
                    runner->set.heap[0]->due_us <= now_us;
         i++) {
        runner->stats.timers++;
        outcome = stele_runner__saga_take_up(runner, runner->set.heap[0], err);
    }
    return outcome;
}

/* A checkpoint is as long as there are sagas at work: the more, the rarer. */
static bool is_checkpoint_due(const struct stele_saga_runner *runner)
{
    const uint64_t active = runner->set.count - runner->resting_count;
    const uint64_t events = runner->options.checkpoint_events;
    const int64_t wait_us =
        (int64_t)runner->options.checkpoint_ms * 1000 * (int64_t)(1 + active / 1000);
    return runner->since_checkpoint >= (active > events ? active : events) ||
           (runner->since_checkpoint > 0 &&
            runner->port->ops->now_us(runner->port) >= runner->checkpoint_at_us + wait_us);
}

static int take_turn(struct stele_saga_runner *runner, struct stele_error *err)
{
    int outcome = stele_runner__saga_take_answers(runner, err);
    if (outcome == STELE_OK) {
        outcome = stele_runner__saga_make_calls(runner, err);
    }
    runner->behind = true;
    for (int i = 0; i < FOLLOWS_MAX && outcome == STELE_OK && runner->behind && !runner->full;
         i++) {
        outcome = stele_runner__saga_follow(runner, err);
        if (outcome == STELE_OK) {
            outcome = stele_runner__saga_make_calls(runner, err);
        }
    }
    if (outcome == STELE_OK) {
        outcome = fire_timers(runner, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_runner__saga_make_calls(runner, err);
    }
    stele_runner__saga_forget(runner);
    if (outcome == STELE_OK && is_checkpoint_due(runner)) {
        outcome = stele_runner__saga_write_checkpoint(runner, err);
    }
    return outcome;
}

int stele_saga_runner_turn(struct stele_saga_runner *runner, int64_t *out_due_us,
                           struct stele_error *err)
{
    if (runner == NULL || out_due_us == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_saga_runner_turn: an argument is NULL");
    }
    runner->full = false;
    const int outcome = take_turn(runner, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    int64_t due_us = runner->set.heap_count > 0 ? runner->set.heap[0]->due_us : STELE_SAGA_NEVER;
    const int64_t now_us = runner->port->ops->now_us(runner->port);
    if (runner->full && due_us > now_us + FULL_WAIT_US) {
        due_us = now_us + FULL_WAIT_US;
    }
    *out_due_us = runner->behind && !runner->full ? 0 : due_us;
    return STELE_OK;
}

void stele_saga_runner_wait(struct stele_saga_runner *runner, int64_t due_us)
{
    if (runner == NULL) {
        return;
    }
    const int64_t most_ms = runner->later > 0 ? WAIT_LATER_MS : WAIT_MS_MAX;
    const int64_t now_us = runner->port->ops->now_us(runner->port);
    int64_t wait_ms = due_us <= now_us ? 0 : (due_us - now_us) / 1000 + 1;
    wait_ms = wait_ms < most_ms ? wait_ms : most_ms;
    if (wait_ms > 0) {
        runner->port->ops->wait(runner->port, runner->position, (int)wait_ms);
    }
}

int stele_saga_runner_run(struct stele_saga_runner *runner, struct stele_error *err)
{
    while (atomic_load(&runner->stop) == 0) {
        int64_t due_us = 0;
        const int outcome = stele_saga_runner_turn(runner, &due_us, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        stele_saga_runner_wait(runner, due_us);
    }
    return STELE_OK;
}

void stele_saga_runner_stop(struct stele_saga_runner *runner)
{
    if (runner == NULL) {
        return;
    }
    atomic_store(&runner->stop, 1);
}

void stele_saga_runner_stats(struct stele_saga_runner *runner,
                             struct stele_saga_runner_stats *out_stats)
{
    if (runner == NULL || out_stats == NULL) {
        return;
    }
    *out_stats = runner->stats;
    out_stats->position = runner->position;
    out_stats->active = 0;
    for (size_t i = 0; i < runner->set.buckets_count; i++) {
        for (const struct saga_entry *entry = runner->set.buckets[i]; entry != NULL;
             entry = entry->next) {
            out_stats->active += !stele_runner__saga_may_rest(entry);
        }
    }
}
