/* One command under way, for the two files that move it on: command.c on its caller's thread, submit.c
 * from append to append. */
#ifndef STELE_RUNNER_EXECUTION_H
#define STELE_RUNNER_EXECUTION_H

#include "es/decision.h"
#include "runner/command_internal.h"

/* What the decision wants at the same index: a kept state, or that of a query. */
struct stele_held {
    struct stele_kept *kept;
    struct stele_memory *memory; /* Of a query's state. */
    struct stele_state *state;
    uint64_t position;
};

/* What one attempt appends, and on what condition. Made in the execution's memory. */
struct stele_request {
    struct stele_append *streams;
    size_t streams_count;
    struct stele_condition *conditions;
    size_t conditions_count;
    size_t events;
};

struct stele_execution {
    struct stele_runner *runner;
    const struct stele_decider *decider;
    struct stele_command command;
    struct stele_memory *memory;
    struct stele_decision *decision;
    struct stele_held *held;
    size_t held_count;
    size_t held_capacity;
    uint64_t held_above;
    struct stele_output metadata;
    struct stele_request request;
    struct stele_command_result result;
    char traceparent[STELE_TRACEPARENT_SIZE];
    const char *parent; /* The origin's traceparent, "" for none. Borrowed. */
    uint64_t noise;
    int64_t start_us;
    uint64_t start_ns;
    /* It must not wait: where it would have to read, or to wait for a state, load ends with
     * STELE_EXECUTION_WAITS. */
    bool never_waits;
};

#define STELE_EXECUTION_WAITS 67 /* An outcome of this layer only. */

/* Everything that a command begins with; end releases it, whatever begin answered. */
STELE_MUST_USE
int stele_execution__begin(struct stele_execution *execution, struct stele_runner *runner,
                           const struct stele_decider *decider, const struct stele_command *command,
                           const struct stele_origin *origin, struct stele_error *err);
void stele_execution__end(struct stele_execution *execution);
/* Gives states back to others before the end; what is decided next loads them again. */
void stele_execution__release(struct stele_execution *execution);

/* Was it executed before, if it may have been, and otherwise all attempts. May wait. */
STELE_MUST_USE
int stele_execution__run(struct stele_execution *execution, bool again, struct stele_error *err);
/* One more attempt, up to the append: fills the request. No events: there is nothing to append. */
STELE_MUST_USE
int stele_execution__decide(struct stele_execution *execution, struct stele_error *err);
/* The append of the request has been answered; prepared may be NULL. Any outcome. */
void stele_execution__answered(struct stele_execution *execution, int outcome,
                               const struct stele_append_result *result,
                               const struct stele_prepared *appended, uint64_t append_start_ns);
/* After STELE_E_UNKNOWN: asks until somebody knows, or unknown_ms have passed. May wait. */
STELE_MUST_USE
int stele_execution__ask(struct stele_execution *execution, uint64_t append_start_ns,
                         struct stele_error *err);
/* After a conflict: STELE_OK, or `outcome` with words if it was the last attempt. */
STELE_MUST_USE
int stele_execution__conflict(struct stele_execution *execution, int outcome,
                              struct stele_error *err);
/* Waits as many conflicts ask for, and goes on with all attempts that are left. */
STELE_MUST_USE
int stele_execution__retry(struct stele_execution *execution, struct stele_error *err);
/* Figures and the span, once it has ended. */
void stele_execution__tell(struct stele_execution *execution, int outcome,
                           const struct stele_error *err);

#endif
