/* A projection of `stele run`: tried again while its database cannot be reached, ended when it is wrong. */
#include "cli/project.h"
#include "cli/run.h"

#include <stele/sinks.h>

static int on_progress(void *context, const struct stele_project_progress *progress)
{
    struct stele_cli_runner *const runner = context;
    (void)pthread_mutex_lock(&runner->world->lock);
    runner->progress = *progress;
    (void)pthread_mutex_unlock(&runner->world->lock);
    return stele_cli_interrupted() ? 1 : 0;
}

static int run_once(struct stele_cli_runner *runner, struct stele_project_progress *progress,
                    struct stele_error *err)
{
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    struct stele_sink *sink = NULL;
    int outcome = stele_sink_open(runner->entry->into, STELE_SINK_CREATE, &sink, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    options.follow = runner->world->once ? 0 : 1;
    options.lanes = runner->entry->lanes;
    options.batch_max = runner->entry->batch;
    options.on_progress = on_progress;
    options.context = runner;
    outcome =
        stele_project_run(runner->world->store, runner->projection, sink, &options, progress, err);
    stele_sink_close(sink);
    return outcome;
}

/* Takes over what the run has done; true: that was all. */
static bool end_run(struct stele_cli_runner *runner, int outcome,
                    struct stele_project_progress *progress, const struct stele_error *err)
{
    const bool again = outcome != STELE_OK && stele_cli_run_again(runner, outcome);
    const char *const name = stele_projection_name(runner->projection);
    (void)pthread_mutex_lock(&runner->world->lock);
    runner->events += progress->events;
    runner->progress = *progress;
    runner->progress.events = 0;
    if (outcome == STELE_OK) {
        progress->events = runner->events;
        stele_cli_project_out(name, progress);
    } else {
        const int code = stele_cli_project_fail(outcome, err, name);
        runner->code = again ? runner->code : code;
        runner->failures++;
    }
    runner->running = again;
    (void)pthread_mutex_unlock(&runner->world->lock);
    return !again;
}

void *stele_cli_run_projection(void *context)
{
    struct stele_cli_runner *const runner = context;
    unsigned wait_ms = STELE_CLI_AGAIN_FIRST_MS;
    for (;;) {
        struct stele_project_progress progress = {0};
        struct stele_error err = {0};
        const int outcome = run_once(runner, &progress, &err);
        const bool moved = progress.commits > 0;
        if (end_run(runner, outcome, &progress, &err)) {
            return NULL;
        }
        wait_ms = moved ? STELE_CLI_AGAIN_FIRST_MS : wait_ms;
        stele_cli_run_pause(&wait_ms);
    }
}
