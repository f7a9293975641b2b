/* What `stele project` is made of. */
#ifndef STELE_CLI_PROJECT_H
#define STELE_CLI_PROJECT_H

#include <stele/project.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stele_cli_project {
    const char *verb;
    const char *const *arguments; /* Behind the verb. */
    size_t count;
    const char *into;
    const char *as_of_text;
    const char *effective_text;
    const char *position_text;
    uint64_t lanes, batch, timeout_s;
    bool once, follow, effects;
};

int stele_cli_project_run(const struct stele_cli_project *project);
int stele_cli_project_status(const struct stele_cli_project *project);
int stele_cli_project_wait(const struct stele_cli_project *project);
int stele_cli_project_park(const struct stele_cli_project *project);
int stele_cli_project_drop(const struct stele_cli_project *project);

/* Reads and parses an SQL file. STELE_CLI_OK or, after telling, an exit code. */
int stele_cli_project_load(const char *path, struct stele_projection **out_projection);
/* What a call of the library ended with; a bad file is bad input and no misuse of an option. */
int stele_cli_project_fail(int outcome, const struct stele_error *err, const char *what);
/* Says how far a run has come. */
void stele_cli_project_out(const char *name, const struct stele_project_progress *progress);

#endif
