/* Appending what a command has read: telling failures, and going on where an earlier run stopped. */
#ifndef STELE_CLI_SINK_H
#define STELE_CLI_SINK_H

#include <jansson.h>
#include <stddef.h>
#include <stele.h>

/* A write that was tried, for telling why it failed. */
struct stele_cli_attempt {
    const char *where; /* What the events came from ("events.jsonl:7"); NULL: the command line. */
    const char *verb;  /* "append to", "delete". */
    const char *stream;
    uint64_t expected;
    const struct stele_event_draft *events; /* Whose ids are to be repeated; may be NULL. */
    size_t count;
};

/* Tells why it failed and returns the exit code. */
int stele_cli_write_failed(const struct stele_cli_attempt *attempt, int outcome,
                           const struct stele_append_result *result, const struct stele_error *err);

struct stele_cli_stored {
    size_t done;  /* So many of the events are in the stream now; on failure, which one failed. */
    size_t added; /* Of these, how many were not there before. */
    uint64_t revision_last;
};

/* Appends those of the events that the stream does not have yet, by id.
 *
 * An append is repeated safely only in the same pieces. An import that is repeated with a longer
 * file, or cut into other pieces, meets a stream that has the beginning of what is to be
 * appended: this finds how far it goes. Works on the assumption that the events of the earlier
 * run are in the same order.
 *
 * STELE_OK, or what the append of event number out_stored->done ended with. */
int stele_cli_append_rest(struct stele *store, const char *stream,
                          const struct stele_event_draft *events, size_t count,
                          struct stele_cli_stored *out_stored, struct stele_append_result *result,
                          struct stele_error *err);

#endif
