/* Everything that a file declares, run together: projections, sagas and reactions, each on a thread of its own.
 *
 * What cannot reach its database or its store is tried again, ever more slowly; what is wrong ends, and the
 * others go on. */
#include "base/text.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/lines.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/project.h"
#include "cli/run.h"

#include <stele/sinks.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct stele_cli_command stele_cli_run_command = {
    .name = "run",
    .usage = "run FILE.yaml [options]",
    .summary = "Run what a file declares: projections, sagas, reactions",
    .text = "FILE.yaml names projections and their databases, sagas, and reactions to events:\n"
            "\n"
            "  store: stele://127.0.0.1:2113   (may be left out; --store is stronger)\n"
            "  projections:\n"
            "    - file: totals.sql\n"
            "      into: totals.db             (or an address, as for project)\n"
            "  reactions:\n"
            "    - reaction: welcome\n"
            "      on: UserRegistered\n"
            "      call: {url: \"http://127.0.0.1:8080/mails\"}\n"
            "  sagas:                          (docs/sagas.md explains them)\n"
            "\n"
            "Paths are relative to the file. Everything runs until Ctrl-C. What cannot reach its\n"
            "database is tried again; what is wrong ends, and the others go on. Sagas and "
            "reactions\n"
            "write to the store: if others do so, too, let it be a served one.",
    .examples = "stele run stele.yaml --once",
    .run = stele_cli_run,
};

void stele_cli_run_pause(unsigned *wait_ms)
{
    const struct timespec time = {.tv_nsec = 50000000};
    for (unsigned waited = 0; waited < *wait_ms && !stele_cli_interrupted(); waited += 50) {
        (void)nanosleep(&time, NULL);
    }
    *wait_ms = *wait_ms * 2 < STELE_CLI_AGAIN_LAST_MS ? *wait_ms * 2 : STELE_CLI_AGAIN_LAST_MS;
}

bool stele_cli_run_again(const struct stele_cli_runner *runner, int outcome)
{
    return !runner->world->once && !stele_cli_interrupted() &&
           (outcome == STELE_E_IO || outcome == STELE_E_OVERLOADED || outcome == STELE_E_UNKNOWN);
}

static int run_all(struct stele_cli_run_world *world)
{
    struct stele_cli_runner *const runners = world->runners;
    const size_t count = world->count;
    int code = STELE_CLI_OK;
    for (size_t i = 0; i < count; i++) {
        runners[i].started =
            pthread_create(&runners[i].thread, NULL,
                           runners[i].saga != NULL ? stele_cli_run_saga : stele_cli_run_projection,
                           &runners[i]) == 0;
        if (!runners[i].started) {
            (void)pthread_mutex_lock(&world->lock);
            runners[i].code = stele_cli_fail(STELE_CLI_FAILURE, "no-memory",
                                             "run: no thread for one more of them");
            runners[i].running = false;
            (void)pthread_mutex_unlock(&world->lock);
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

static int run_watched(struct stele_cli_run_world *world)
{
    struct stele_cli_run_metrics metrics;
    int code = stele_cli_run_metrics_start(&metrics, world);
    if (code == STELE_CLI_OK) {
        code = run_all(world);
        stele_cli_run_metrics_stop(&metrics);
    }
    return code;
}

static const char *variable(const char *name)
{
    return getenv(name);
}

/* All files are looked at before anything runs. */
static int load(const char *path, struct stele_declared_file **out_file)
{
    struct stele_text text = {.size = 0};
    struct stele_error err = {0};
    const int code = stele_cli_read_file(path, STELE_YAML_SIZE_MAX, &text);
    if (code != STELE_CLI_OK) {
        return code;
    }
    const int outcome = stele_declared_read(path, text.data, text.size, variable, out_file, &err);
    if (outcome == STELE_OK) {
        return STELE_CLI_OK;
    }
    return outcome == STELE_E_INVALID
               ? stele_cli_fail(STELE_CLI_INPUT, "invalid", "%s; see `stele run --help`",
                                err.message)
               : stele_cli_fail(stele_cli_exit_of(outcome),
                                outcome == STELE_NOT_FOUND ? "not-found" : "io",
                                "%s; check the path", err.message);
}

static int prepare(struct stele_cli_run_world *world, struct stele_cli_runner *runners)
{
    const struct stele_declared_file *const file = world->file;
    int code = STELE_CLI_OK;
    for (size_t i = 0; i < file->projections_count && code == STELE_CLI_OK; i++) {
        runners[i] = (struct stele_cli_runner){
            .world = world, .running = true, .entry = &file->projections[i]};
        code = stele_cli_project_load(file->projections[i].file, &runners[i].projection);
    }
    for (size_t i = 0; i < file->sagas_count; i++) {
        runners[file->projections_count + i] =
            (struct stele_cli_runner){.world = world, .running = true, .saga = &file->sagas[i]};
    }
    return code;
}

static int run_file(const struct stele_declared_file *file, bool once)
{
    struct stele_cli_run_world world = {.file = file, .once = once};
    const size_t count = file->projections_count + file->sagas_count;
    struct stele_cli_runner *const runners = stele_cli_keep(count * sizeof *runners);
    world.runners = runners;
    world.count = count;
    (void)pthread_mutex_init(&world.lock, NULL);
    if (stele_cli_globals.store == NULL && file->store != NULL) {
        stele_cli_globals.store = file->store;
    }
    int code = prepare(&world, runners);
    if (code == STELE_CLI_OK) {
        code =
            stele_cli_open(file->sagas_count > 0 ? STELE_CLI_WRITE : STELE_CLI_READ, &world.store);
    }
    if (code == STELE_CLI_OK) {
        stele_cli_catch_interrupts();
        code = stele_cli_close(world.store, run_watched(&world));
    }
    for (size_t i = 0; i < file->projections_count; i++) {
        stele_projection_destroy(runners[i].projection);
    }
    (void)pthread_mutex_destroy(&world.lock);
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
    struct stele_declared_file *file = NULL;
    /* If SQLite is at work already, projections are slower and nothing else. */
    (void)stele_sink_set_up_process(NULL);
    code = load(arguments[0], &file);
    if (code == STELE_CLI_OK) {
        code = run_file(file, once);
    }
    stele_declared_destroy(file);
    return code;
}
