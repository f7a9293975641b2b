/* Inside process.c, process_emit.c and process_place.c. */
#ifndef STELE_RUNNER_PROCESS_INTERNAL_H
#define STELE_RUNNER_PROCESS_INTERNAL_H

#include "runner/command_internal.h"

#include <stele/process.h>

#define PROCESS_STREAM_PREFIX "$processor-"

/* An event that is to be appended. */
struct process_emitted {
    const char *stream;
    size_t number; /* In the order of emission. */
    struct stele_event_draft draft;
};

/* A processor at work. */
struct process_run {
    struct stele *source;
    struct stele *target;
    const struct stele_processor *processor;
    struct stele_processor_options options;
    char stream[sizeof PROCESS_STREAM_PREFIX + STELE_PROCESSOR_NAME_SIZE_MAX];
    uint8_t source_id[16];
    uint64_t revision; /* Of the own stream; STELE_EXPECT_NO_STREAM if there is none yet. */
    uint64_t saved;    /* Handled events at the last append. */
    struct stele_processor_progress progress;
    struct stele_memory *memory; /* Of the batch. */
    struct process_emitted *batch;
    size_t count;
    size_t capacity;
    size_t size;
    size_t kept; /* Emitted by events that are done; what is behind belongs to the one at work. */
    size_t kept_size;
    struct stele_memory *state_memory;
    struct stele_state *state;
    bool is_ahead; /* The state has seen an event that was not handled: it goes with no place. */
};

/* One event at its handler. */
struct stele_process {
    struct process_run *run;
    const struct stele_event *event;
    struct stele_memory *memory; /* Of the call. */
    struct stele_bytes origin; /* Members that what is emitted gets; made at the first emission. */
    uint32_t emitted;
    int failed; /* The first emission that was. */
    char words[sizeof((struct stele_error *)0)->message];
};

/* ---- process_place.c ---- */

/* Returns the outcome, with words that name the processor. */
int stele_process__fail(const struct process_run *run, struct stele_error *err, int outcome,
                        const char *words);

/* The stream that has the places of a processor. */
void stele_process__name_stream(const char *name, char *out, size_t size);
/* Whether the event is of such a stream, whosever. */
bool stele_process__is_place(const struct stele_event *event);

/* Sets place, revision and state to what the last run has left in the target, or to the beginning. */
int stele_process__load_place(struct process_run *run, struct stele_error *err);

/* What the processor reads, from a position on. */
int stele_process__begin_reading(const struct process_run *run, uint64_t from, uint64_t as_of,
                                 struct stele_iterator **out, struct stele_error *err);

#endif
