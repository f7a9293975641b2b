/* A saga or a reaction of `stele run`. */
#include "cli/run.h"
#include "declared/saga.h"

#include <stdio.h>
#include <string.h>

#define NAME "run"

static void on_problem(void *context, const char *kind, const char *id, const char *words)
{
    const struct stele_cli_runner *const runner = context;
    (void)pthread_mutex_lock(&runner->world->lock);
    stele_cli_note("%s%s%s: %s", kind, id[0] != '\0' ? " " : "", id, words);
    (void)pthread_mutex_unlock(&runner->world->lock);
}

static uint64_t work_before(struct stele_cli_runner *runner)
{
    (void)pthread_mutex_lock(&runner->world->lock);
    const uint64_t work = runner->world->work;
    (void)pthread_mutex_unlock(&runner->world->lock);
    return work;
}

static bool has_moved(const struct stele_saga_runner_stats *a,
                      const struct stele_saga_runner_stats *b)
{
    return a->started != b->started || a->calls != b->calls || a->ended != b->ended ||
           a->parked != b->parked || a->timers != b->timers || a->active != b->active;
}

/* One saga's event may be another one's trigger. So everything is done when each runner has found nothing to do in a
 * turn that began after the last one in which anything happened. */
static bool are_all_idle(const struct stele_cli_run_world *world)
{
    for (size_t i = 0; i < world->count; i++) {
        const struct stele_cli_runner *const other = &world->runners[i];
        if (other->saga != NULL && other->running && other->idle_at != world->work + 1) {
            return false;
        }
    }
    return true;
}

/* Takes over the figures of a turn. true: everything that is there is done; what waits for a person is. */
static bool end_turn(struct stele_cli_runner *runner, struct stele_declared_running *running,
                     uint64_t before, int64_t due_us)
{
    struct stele_cli_run_world *const world = runner->world;
    struct stele_saga_runner_stats stats;
    stele_saga_runner_stats(stele_declared_runner(running), &stats);
    (void)pthread_mutex_lock(&world->lock);
    if (has_moved(&stats, &runner->stats)) {
        world->work++;
    }
    runner->stats = stats;
    runner->idle_at = due_us != 0 && stats.active == 0 ? before + 1 : 0;
    const bool done = world->once && are_all_idle(world);
    (void)pthread_mutex_unlock(&world->lock);
    return done;
}

static int take_turns(struct stele_cli_runner *runner, struct stele_declared_running *running,
                      bool *out_moved, struct stele_error *err)
{
    struct stele_saga_runner *const saga_runner = stele_declared_runner(running);
    int outcome = STELE_OK;
    while (outcome == STELE_OK && !stele_cli_interrupted()) {
        int64_t due_us = 0;
        const uint64_t before = work_before(runner);
        outcome = stele_saga_runner_turn(saga_runner, &due_us, err);
        if (outcome == STELE_OK) {
            *out_moved = true;
            if (end_turn(runner, running, before, due_us)) {
                break;
            }
            stele_saga_runner_wait(saga_runner, due_us);
        }
    }
    return outcome;
}

static int run_once(struct stele_cli_runner *runner, bool *out_moved, struct stele_error *err)
{
    const struct stele_declared_options options = {
        .name = runner->world->file->name != NULL ? runner->world->file->name : NAME,
        .on_problem = on_problem,
        .context = runner};
    struct stele_declared_running *running = NULL;
    int outcome = stele_declared_start(runner->world->store, runner->saga, &options, &running, err);
    if (outcome == STELE_OK) {
        outcome = take_turns(runner, running, out_moved, err);
    }
    stele_declared_stop(running);
    return outcome;
}

/* Tells what it ended with; true: that was all. */
static bool end_run(struct stele_cli_runner *runner, int outcome, const struct stele_error *err)
{
    const char *const kind = runner->saga->table.kind;
    const bool again = outcome != STELE_OK && stele_cli_run_again(runner, outcome);
    char what[STELE_SAGA_NAME_SIZE_MAX + 16];
    (void)snprintf(what, sizeof what, "run %s", kind);
    (void)pthread_mutex_lock(&runner->world->lock);
    if (outcome != STELE_OK) {
        const int code = stele_cli_fail_outcome(outcome, err, what);
        runner->code = again ? runner->code : code;
        runner->failures++;
    }
    runner->running = again;
    (void)pthread_mutex_unlock(&runner->world->lock);
    return !again;
}

void *stele_cli_run_saga(void *context)
{
    struct stele_cli_runner *const runner = context;
    unsigned wait_ms = STELE_CLI_AGAIN_FIRST_MS;
    for (;;) {
        bool moved = false;
        struct stele_error err = {0};
        const int outcome = run_once(runner, &moved, &err);
        if (end_run(runner, outcome, &err)) {
            return NULL;
        }
        wait_ms = moved ? STELE_CLI_AGAIN_FIRST_MS : wait_ms;
        stele_cli_run_pause(&wait_ms);
    }
}
