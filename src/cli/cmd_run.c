/* Everything that a file declares, run together: projections, each on a thread of its own.
 *
 * A projection whose database cannot be reached is tried again, ever more slowly; one that is wrong ends,
 * and the others go on. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/project.h"
#include "cli/run_file.h"
#include "cli/text.h"

#include <stele/sinks.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AGAIN_FIRST_MS 250
#define AGAIN_LAST_MS 30000

const struct stele_cli_command stele_cli_run_command = {
    .name = "run",
    .usage = "run FILE.yaml [options]",
    .summary = "Run everything that a file declares: projections",
    .text = "FILE.yaml names projections and their databases:\n"
            "\n"
            "  store: stele-data            (may be left out; --store is stronger)\n"
            "  projections:\n"
            "    - file: totals.sql\n"
            "      into: totals.db          (or postgresql://…)\n"
            "      lanes: 1                 (may be left out, as batch)\n"
            "\n"
            "Paths are relative to the file. Everything runs until Ctrl-C. A projection whose "
            "database\n"
            "cannot be reached is tried again; one that is wrong ends, and the others go on.",
    .examples = "stele run stele.yaml --once",
    .run = stele_cli_run,
};

struct runner {
    pthread_t thread;
    bool started;
    const struct stele_cli_run_entry *entry;
    struct stele *store;
    struct stele_projection *projection;
    bool once;
    pthread_mutex_t *lock; /* Of standard error and output. */
    int code;
};

static int on_progress(void *context, const struct stele_project_progress *progress)
{
    (void)context;
    (void)progress;
    return stele_cli_interrupted() ? 1 : 0;
}

static void pause_ms(unsigned ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

static int run_once(struct runner *runner, struct stele_project_progress *progress,
                    struct stele_error *err)
{
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    struct stele_sink *sink = NULL;
    int outcome = stele_sink_open(runner->entry->into, STELE_SINK_CREATE, &sink, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    options.follow = runner->once ? 0 : 1;
    options.lanes = runner->entry->lanes;
    options.batch_max = runner->entry->batch;
    options.on_progress = on_progress;
    outcome = stele_project_run(runner->store, runner->projection, sink, &options, progress, err);
    stele_sink_close(sink);
    return outcome;
}

static void tell(struct runner *runner, const struct stele_project_progress *progress)
{
    (void)pthread_mutex_lock(runner->lock);
    stele_cli_project_out(stele_projection_name(runner->projection), progress);
    (void)pthread_mutex_unlock(runner->lock);
}

static void *runner_main(void *context)
{
    struct runner *const runner = context;
    struct stele_project_progress progress = {0};
    uint64_t events = 0;
    unsigned wait_ms = AGAIN_FIRST_MS;
    for (;;) {
        struct stele_error err = {0};
        const int outcome = run_once(runner, &progress, &err);
        events += progress.events;
        if (outcome == STELE_OK) {
            progress.events = events;
            tell(runner, &progress);
            return NULL;
        }
        const bool again = !runner->once && !stele_cli_interrupted() &&
                           (outcome == STELE_E_IO || outcome == STELE_E_OVERLOADED);
        (void)pthread_mutex_lock(runner->lock);
        const int code =
            stele_cli_project_fail(outcome, &err, stele_projection_name(runner->projection));
        (void)pthread_mutex_unlock(runner->lock);
        if (!again) {
            runner->code = code;
            return NULL;
        }
        wait_ms = progress.commits > 0 ? AGAIN_FIRST_MS : wait_ms;
        for (unsigned waited = 0; waited < wait_ms && !stele_cli_interrupted(); waited += 50) {
            pause_ms(50);
        }
        wait_ms = wait_ms * 2 < AGAIN_LAST_MS ? wait_ms * 2 : AGAIN_LAST_MS;
    }
}

static int run_all(struct runner *runners, size_t count, struct stele *store, bool once)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    int code = STELE_CLI_OK;
    stele_cli_catch_interrupts();
    for (size_t i = 0; i < count; i++) {
        runners[i].store = store;
        runners[i].once = once;
        runners[i].lock = &lock;
        runners[i].started =
            pthread_create(&runners[i].thread, NULL, runner_main, &runners[i]) == 0;
        if (!runners[i].started) {
            runners[i].code = stele_cli_fail(STELE_CLI_FAILURE, "no-memory",
                                             "run: no thread for another projection");
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (runners[i].started) {
            (void)pthread_join(runners[i].thread, NULL);
        }
        code = code == STELE_CLI_OK ? runners[i].code : code;
    }
    return code;
}

int stele_cli_run(int argc, char **argv)
{
    const char *arguments[1];
    size_t count = 0;
    bool once = false;
    const struct stele_cli_option options[] = {
        {"once", NULL, "end when everything that is there is done", STELE_CLI_FLAG, &once},
    };
    int code = stele_cli_parse(&stele_cli_run_command, options, STELE_COUNT_OF(options), argc, argv,
                               arguments, 1, 1, &count);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct stele_cli_run_file file;
    code = stele_cli_run_file_load(arguments[0], &file);
    if (code != STELE_CLI_OK) {
        return code;
    }
    if (stele_cli_globals.store == NULL && file.store != NULL) {
        stele_cli_globals.store = file.store;
    }
    /* All files are looked at before anything runs. */
    struct runner *const runners = stele_cli_keep(file.count * sizeof *runners);
    struct stele *store = NULL;
    for (size_t i = 0; i < file.count && code == STELE_CLI_OK; i++) {
        runners[i].entry = &file.entries[i];
        code = stele_cli_project_load(file.entries[i].file, &runners[i].projection);
    }
    if (code == STELE_CLI_OK) {
        code = stele_cli_open(STELE_CLI_READ, &store);
    }
    if (code == STELE_CLI_OK) {
        code = stele_cli_close(store, run_all(runners, file.count, store, once));
    }
    for (size_t i = 0; i < file.count; i++) {
        stele_projection_destroy(runners[i].projection);
    }
    return code;
}
