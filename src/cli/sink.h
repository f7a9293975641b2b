/* Appending what a command has read: telling failures, and going on where an earlier run stopped. */
#ifndef STELE_CLI_SINK_H
#define STELE_CLI_SINK_H

#include <jansson.h>
#include <stddef.h>
#include <stele.h>

/* Tells why an append to the stream failed and returns the exit code. where is what the events came
 * from ("events.jsonl:7"), NULL for the command line. events may have ids to repeat. */
int stele_cli_append_failed(const char *where, const char *stream, uint64_t expected, int outcome,
                            const struct stele_append_result *result,
                            const struct stele_event_draft *events, size_t count,
                            const struct stele_error *err);

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
