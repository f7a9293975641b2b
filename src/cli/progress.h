/* Progress of long work, on standard error, when that is a terminal. Nothing otherwise. */
#ifndef STELE_CLI_PROGRESS_H
#define STELE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct stele_cli_progress {
    const char *what;
    bool wanted;
    bool shown;
    int64_t next_ms; /* When to show again. */
};

void stele_cli_progress_init(struct stele_cli_progress *progress, const char *what);
void stele_cli_progress_lines(struct stele_cli_progress *progress, uint64_t lines, uint64_t bytes);
/* done of total bytes. */
void stele_cli_progress_part(struct stele_cli_progress *progress, uint64_t done, uint64_t total);
/* Takes the line away, before anything else is written. */
void stele_cli_progress_clear(struct stele_cli_progress *progress);

/* For stele_verify() and stele_scavenge(): context is a struct stele_cli_progress. Asks the work to
 * stop when the user has pressed Ctrl-C. */
int stele_cli_on_progress(void *context, uint64_t done, uint64_t total);

#endif
