/* The command line: one function per command, and the failures that all of them share.
 *
 * A command gets its own name as argv[0] and returns the exit code of the process. It opens the
 * store itself, so that `--help` and a mistyped option never touch a disk. Everything here runs on
 * the main thread, except where a function says otherwise. */
#ifndef STELE_CLI_CLI_H
#define STELE_CLI_CLI_H

#include "base/compiler.h"

#include <jansson.h>
#include <stdbool.h>
#include <stele.h>

/* Exit codes. Scripts depend on them: a number never changes its meaning. `stele help exit-codes`
 * and docs/cli.md have the same table. */
#define STELE_CLI_OK 0
#define STELE_CLI_FAILURE 1       /* What no other number stands for. */
#define STELE_CLI_USAGE 2         /* Options or arguments that are not allowed. */
#define STELE_CLI_CONFLICT 3      /* A wrong revision, or a condition that failed. */
#define STELE_CLI_DAMAGE 4        /* Stored bytes are not the bytes that were written. */
#define STELE_CLI_NOT_FOUND 5     /* No such store, stream, metadata; a stream that was deleted. */
#define STELE_CLI_LOCKED 6        /* Another process writes to the store. */
#define STELE_CLI_NO_SPACE 7      /* The disk is full. */
#define STELE_CLI_LIMIT 8         /* Something is larger than it may be. */
#define STELE_CLI_INPUT 9         /* The input is not what it should be: no JSON, a wrong member. */
#define STELE_CLI_UNKNOWN 10      /* Nobody knows whether the append happened; repeat it. */
#define STELE_CLI_PERMISSION 11   /* Access denied, or the store can only be read. */
#define STELE_CLI_IO 12           /* The operating system reported an error. */
#define STELE_CLI_FORMAT 13       /* A newer version wrote the store, or it cannot be done here. */
#define STELE_CLI_ID_CONFLICT 14  /* An event id was used before, for something else. */
#define STELE_CLI_TIMED_OUT 15    /* The wait ended before everything asked for had come. */
#define STELE_CLI_INTERRUPTED 130 /* Ctrl-C: 128 + SIGINT, as the shell would say. */
#define STELE_CLI_CLOSED 141      /* Nobody reads standard output any more: 128 + SIGPIPE. */

int stele_cli_append(int argc, char **argv);
int stele_cli_bench(int argc, char **argv);
int stele_cli_delete(int argc, char **argv);
int stele_cli_digest(int argc, char **argv);
int stele_cli_export(int argc, char **argv);
int stele_cli_help(int argc, char **argv);
int stele_cli_import(int argc, char **argv);
int stele_cli_info(int argc, char **argv);
int stele_cli_keys(int argc, char **argv);
int stele_cli_meta(int argc, char **argv);
int stele_cli_project(int argc, char **argv);
int stele_cli_read(int argc, char **argv);
int stele_cli_run(int argc, char **argv);
int stele_cli_saga(int argc, char **argv);
int stele_cli_scavenge(int argc, char **argv);
int stele_cli_serve(int argc, char **argv);
int stele_cli_shred(int argc, char **argv);
int stele_cli_state(int argc, char **argv);
int stele_cli_streams(int argc, char **argv);
int stele_cli_tail(int argc, char **argv);
int stele_cli_user(int argc, char **argv);
int stele_cli_cluster(int argc, char **argv);
int stele_cli_verify(int argc, char **argv);
int stele_cli_version(int argc, char **argv);

/* What was said before the command: `stele --store X read …` means `stele read … --store X`. */
struct stele_cli_globals {
    const char *store; /* NULL: not said. */
    bool json;
};
extern struct stele_cli_globals stele_cli_globals;

/* Writes one line "stele: <message>" to standard error, or a JSON object with --json, and returns
 * code. The message says what was tried, why it failed, and what to do next; bytes that would
 * move a terminal's cursor are escaped. name is the failure's name for programs. */
STELE_PRINTF(3, 4)
int stele_cli_fail(int code, const char *name, const char *format, ...);

/* As above, with members for programs: details is taken over (its reference is released) and its
 * members stand beside "error", "exit_code" and "message". */
STELE_PRINTF(4, 5)
int stele_cli_fail_with(json_t *take_details, int code, const char *name, const char *format, ...);

/* Says what a call of the library ended with. what says what was tried ("append to order-1"); it
 * is used when the library has no words of its own in err, which may be NULL. */
int stele_cli_fail_outcome(int outcome, const struct stele_error *err, const char *what);

/* The exit code of an outcome of the library. */
int stele_cli_exit_of(int outcome);

/* A remark on standard error that is no failure. */
STELE_PRINTF(1, 2)
void stele_cli_note(const char *format, ...);

/* Memory or the end of the process: a command line that runs out of memory has nothing to save. */
void *stele_cli_alloc(size_t size);
void *stele_cli_realloc(void *memory, size_t size);

/* Memory that main() releases at the end. */
void *stele_cli_keep(size_t size);
void stele_cli_keep_free(void);

/* From now on Ctrl-C and SIGTERM ask the command to stop at the next good place, which it learns
 * from stele_cli_interrupted(), instead of ending the process. Waiting reads return EINTR. */
void stele_cli_catch_interrupts(void);
bool stele_cli_interrupted(void);

#endif
