/* `stele project run` and `rebuild`. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/project.h"
#include "cli/text.h"

#include <stele/sinks.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_SIZE_MAX (1024u * 1024u)

int stele_cli_project_fail(int outcome, const struct stele_error *err, const char *what)
{
    if (outcome == STELE_E_INVALID && err->message[0] != '\0') {
        return stele_cli_fail(
            STELE_CLI_INPUT, stele_outcome_name(outcome), "%s%s", err->message,
            strchr(err->message, ';') != NULL ? "" : "; put it right and run the command again");
    }
    return stele_cli_fail_outcome(outcome, err, what);
}

int stele_cli_project_load(const char *path, struct stele_projection **out_projection)
{
    struct stele_error err = {0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        const int error = errno;
        return stele_cli_fail(error == ENOENT ? STELE_CLI_NOT_FOUND : STELE_CLI_IO,
                              error == ENOENT ? "not-found" : "io", "%s: %s; check the path", path,
                              strerror(error));
    }
    char *const text = stele_cli_alloc(FILE_SIZE_MAX + 1);
    size_t size = 0;
    ssize_t got = 1;
    while (got > 0 && size <= FILE_SIZE_MAX) {
        got = read(fd, text + size, FILE_SIZE_MAX + 1 - size);
        size += got > 0 ? (size_t)got : 0;
    }
    const int error = errno;
    (void)close(fd);
    if (got < 0) {
        free(text);
        return stele_cli_fail(STELE_CLI_IO, "io", "%s: %s; check the path", path, strerror(error));
    }
    const int outcome = stele_projection_parse(path, text, size, out_projection, &err);
    free(text);
    return outcome == STELE_OK ? STELE_CLI_OK : stele_cli_project_fail(outcome, &err, path);
}

static int on_progress(void *context, const struct stele_project_progress *progress)
{
    (void)context;
    (void)progress;
    return stele_cli_interrupted() ? 1 : 0;
}

void stele_cli_project_out(const char *name, const struct stele_project_progress *progress)
{
    if (stele_cli_globals.json) {
        stele_cli_out("{\"name\":");
        stele_cli_out_json_text(stele_cli_text(name));
        stele_cli_outf(",\"build\":%llu,\"events\":%llu,\"parked\":%llu,\"position\":\"%llu\"}\n",
                       (unsigned long long)progress->build, (unsigned long long)progress->events,
                       (unsigned long long)progress->parked,
                       (unsigned long long)progress->position);
        return;
    }
    stele_cli_outf("%s: %llu event%s applied", name, (unsigned long long)progress->events,
                   progress->events == 1 ? "" : "s");
    if (progress->parked > 0) {
        stele_cli_outf(", %llu parked", (unsigned long long)progress->parked);
    }
    stele_cli_outf(" (build %llu)\n", (unsigned long long)progress->build);
}

static int run(const struct stele_cli_project *project, struct stele *store,
               struct stele_projection *projection, struct stele_sink *sink,
               const struct stele_project_options *options)
{
    struct stele_project_progress progress = {0};
    struct stele_error err = {0};
    const char *const name = stele_projection_name(projection);
    stele_cli_catch_interrupts();
    const int outcome = stele_project_run(store, projection, sink, options, &progress, &err);
    if (outcome != STELE_OK) {
        return stele_cli_project_fail(outcome, &err, "project");
    }
    stele_cli_project_out(name, &progress);
    if (options->follow == 0 && stele_cli_interrupted()) {
        return stele_cli_fail(STELE_CLI_INTERRUPTED, "interrupted",
                              "%s: interrupted; the same command goes on from there",
                              project->verb);
    }
    return STELE_CLI_OK;
}

int stele_cli_project_run(const struct stele_cli_project *project)
{
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    struct stele_projection *projection = NULL;
    struct stele_sink *sink = NULL;
    struct stele *store = NULL;
    struct stele_error err = {0};
    int code = STELE_CLI_GO_ON;
    options.rebuild = strcmp(project->verb, "rebuild") == 0;
    options.follow = options.rebuild ? project->follow
                                     : !project->once && project->as_of_text == NULL &&
                                           project->effective_text == NULL;
    options.lanes = (uint32_t)project->lanes;
    options.batch_max = (uint32_t)project->batch;
    options.effects_of_past = project->effects;
    options.on_progress = on_progress;
    if (project->as_of_text != NULL) {
        code = stele_cli_position(&stele_cli_project_command, "as-of", project->as_of_text,
                                  &options.as_of);
        if (code != STELE_CLI_GO_ON) {
            return code;
        }
    }
    if (project->effective_text != NULL) {
        code = stele_cli_effective(&stele_cli_project_command, project->effective_text,
                                   &options.effective_until_us);
        if (code != STELE_CLI_GO_ON) {
            return code;
        }
    }
    code = stele_cli_project_load(project->arguments[0], &projection);
    if (code == STELE_CLI_OK) {
        code = stele_cli_open(STELE_CLI_READ, &store);
    }
    if (code == STELE_CLI_OK) {
        /* A read model of the past is not one of the present: never into the same place. */
        const uint32_t flags = options.as_of != 0 || project->effective_text != NULL
                                   ? STELE_SINK_NEW
                                   : STELE_SINK_CREATE;
        const int outcome = stele_sink_open(project->into, flags, &sink, &err);
        code = outcome == STELE_OK ? run(project, store, projection, sink, &options)
                                   : stele_cli_project_fail(outcome, &err, "project");
    }
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    return store != NULL ? stele_cli_close(store, code) : code;
}
