/* Options and arguments of a command: parsed from a table, explained from the same table.
 *
 *     --name VALUE   --name=VALUE   --flag   -s PATH   -h   -- (no options after it)
 *
 * Every command also takes --store, --json and --help; the tables do not list them. */
#ifndef STELE_CLI_OPTIONS_H
#define STELE_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stele.h>

enum stele_cli_kind {
    STELE_CLI_FLAG,     /* bool *                                             */
    STELE_CLI_TEXT,     /* const char **                                      */
    STELE_CLI_NUMBER,   /* uint64_t *: digits only                            */
    STELE_CLI_POSITIVE, /* uint64_t *: as above, not 0                        */
    STELE_CLI_DURATION, /* uint64_t *: seconds                                */
    STELE_CLI_LIST,     /* struct stele_cli_list *: may be given several times */
};

struct stele_cli_list {
    const char **items;
    size_t count;
};

struct stele_cli_option {
    const char *name;     /* Without the dashes. */
    const char *argument; /* What its value is called; NULL for a flag. */
    const char *help;     /* May have several lines. */
    enum stele_cli_kind kind;
    void *target; /* Unchanged when the option is not given. */
};

struct stele_cli_command {
    const char *name;
    const char *usage;   /* "read STREAM [options]" */
    const char *summary; /* One line, for the overview. */
    const char *text;    /* What a user has to know; paragraphs. May be NULL. */
    const char *examples;
    int (*run)(int argc, char **argv);
    bool no_store; /* 1: takes no --store. */
};

#define STELE_CLI_GO_ON (-1)

/* Parses argv (argv[0] is the command). The arguments that are no options go to arguments, in
 * order; at least arguments_min and at most arguments_max must be there.
 *
 * STELE_CLI_GO_ON  Everything is set.
 * anything else    The exit code: the help was printed, or a mistake was told. */
int stele_cli_parse(const struct stele_cli_command *command, const struct stele_cli_option *options,
                    size_t options_count, int argc, char **argv, const char **arguments,
                    size_t arguments_min, size_t arguments_max, size_t *out_arguments_count);

/* "a mistake; try `stele read --help`", exit code 2. */
__attribute__((format(printf, 2, 3))) int
stele_cli_usage_error(const struct stele_cli_command *command, const char *format, ...);

/* The nearest of the words, or NULL if none is near. next gives word number i, NULL at the end. */
const char *stele_cli_suggest(const char *word, const char *(*next)(const void *context, size_t i),
                              const void *context);

/* The path of the store: --store, or STELE_STORE, or "stele-data". */
const char *stele_cli_store_path(void);
/* The same for people to see: of an address only scheme and hosts, because the rest may be secret. The
 * text is valid until the next call. */
const char *stele_cli_store_shown(void);

/* How a command wants the store. */
enum stele_cli_access {
    STELE_CLI_READ,   /* Beside a process that writes. */
    STELE_CLI_WRITE,  /* It must be there. */
    STELE_CLI_CREATE, /* It is made if there is none, and a note says so. */
};
/* Opens it, with the keyring that the environment names; returns STELE_CLI_OK or, after telling why not,
 * the exit code. */
int stele_cli_open(enum stele_cli_access access, struct stele **out_store);
/* Without a keyring: events as they are stored. */
int stele_cli_open_plain(enum stele_cli_access access, struct stele **out_store);
/* Closes it. Returns code, or if that is STELE_CLI_OK what closing ended with. */
int stele_cli_close(struct stele *store, int code);

/* ---- Values of options ---- */

/* "any", "none", "exists" or a revision. NULL: `otherwise`. Tells and returns an exit code. */
int stele_cli_expected(const struct stele_cli_command *command, const char *text,
                       uint64_t otherwise, uint64_t *out_expected);

/* "now", a time, or a position: the greatest position that belongs to it, at least 1. */
int stele_cli_position(const struct stele_cli_command *command, const char *option,
                       const char *text, uint64_t *out_position);

/* --effective, until when events count: "now", "all" (0: no bound), or a time. */
int stele_cli_effective(const struct stele_cli_command *command, const char *text,
                        int64_t *out_until_us);

/* A name from the command line: not empty, UTF-8, not too long. */
int stele_cli_check_name(const struct stele_cli_command *command, const char *what,
                         const char *name, size_t size_max);

#endif
