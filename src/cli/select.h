/* Which events a command reads: the stream, where from, until when, which of them. */
#ifndef STELE_CLI_SELECT_H
#define STELE_CLI_SELECT_H

#include "cli/event.h"
#include "cli/options.h"

#include <stdbool.h>
#include <stele.h>

struct stele_cli_select {
    const char *from;
    const char *as_of;
    const char *token;
    uint64_t limit;
    bool backwards;
    bool ignore_limits;
    bool exclude_system;
    struct stele_cli_list types;
    struct stele_cli_list type_prefixes;
    struct stele_cli_list streams;
    struct stele_cli_list stream_prefixes;
    struct stele_cli_list categories;
    struct stele_cli_list tags;
    const char *type_regex;
    const char *stream_regex;

    /* Filled by stele_cli_select(). */
    struct stele_filter filter;
    struct stele_read_options options;
};

/* The options that choose events, for the table of a command. */
#define STELE_CLI_FILTER_OPTIONS(select)                                                           \
    {"type", "T", "only events of this type; may be given several times", STELE_CLI_LIST,          \
     &(select)->types},                                                                            \
        {"prefix", "P", "only types that begin with P; several: any of them", STELE_CLI_LIST,      \
         &(select)->type_prefixes},                                                                \
        {"regex", "R", "only types in which this regular expression (PCRE2) is found",             \
         STELE_CLI_TEXT, &(select)->type_regex},                                                   \
        {"stream", "S", "only events of this stream; may be given several times", STELE_CLI_LIST,  \
         &(select)->streams},                                                                      \
        {"stream-prefix", "P", "only streams whose names begin with P; several: any of them",      \
         STELE_CLI_LIST, &(select)->stream_prefixes},                                              \
        {"stream-regex", "R", "only streams in whose names this regular expression is found",      \
         STELE_CLI_TEXT, &(select)->stream_regex},                                                 \
        {"category", "C", "only streams of this category: \"order\" for \"order-1\"",              \
         STELE_CLI_LIST, &(select)->categories},                                                   \
        {"tag", "T", "only events that have this tag; several: all of them", STELE_CLI_LIST,       \
         &(select)->tags},                                                                         \
    {                                                                                              \
        "exclude-system", NULL, "no types and streams that begin with $", STELE_CLI_FLAG,          \
            &(select)->exclude_system                                                              \
    }

#define STELE_CLI_IGNORE_LIMITS_OPTION(select)                                                     \
    {                                                                                              \
        "ignore-limits", NULL,                                                                     \
            "also events that a delete or the stream's metadata hides, as far as\n"                \
            "they are not scavenged yet ($all, $ce-… and $et-… always hand them out)",             \
            STELE_CLI_FLAG, &(select)->ignore_limits                                               \
    }

#define STELE_CLI_AS_OF_OPTION(select)                                                             \
    {                                                                                              \
        "as-of", "TIME|POSITION",                                                                  \
            "nothing newer than this: a time like 2026-11-20T15:00:00Z,\nor a position",           \
            STELE_CLI_TEXT, &(select)->as_of                                                       \
    }

/* "$all", "$ce-…" and "$et-…" count in positions; a stream counts in revisions. */
bool stele_cli_counts_positions(const char *stream);

/* Checks the name of a stream that is to be read. */
int stele_cli_check_stream(const struct stele_cli_command *command, const char *stream);

/* Fills select->options and select->filter, which points into select. STELE_CLI_GO_ON or, after
 * telling, an exit code. */
int stele_cli_select(const struct stele_cli_command *command, const char *stream,
                     struct stele_cli_select *select);

struct stele_cli_printing {
    enum stele_cli_form form;
    bool skip_damage; /* 1: damage is told, and what comes after it is read. */
    uint64_t events;  /* Handed out so far. */
    /* Changes an event before it is shown. May be NULL. */
    void (*adapt)(void *context, struct stele_event *event);
    void *context;
};

/* Reads and prints until there is nothing more. Tells what fails; returns an exit code. */
int stele_cli_print_events(struct stele *store, const char *stream,
                           const struct stele_cli_select *select,
                           struct stele_cli_printing *printing);

#endif
