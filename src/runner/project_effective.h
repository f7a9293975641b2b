/* A lane of a projection that folds in effective order: what its open transaction has touched. */
#ifndef STELE_RUNNER_PROJECT_EFFECTIVE_H
#define STELE_RUNNER_PROJECT_EFFECTIVE_H

#include "runner/sink.h"

struct stele_run;
struct stele_memory;

/* A stream that has events in the open transaction. */
struct stele_run_touched {
    struct stele_text name;      /* With a zero behind it. */
    struct stele_sink_stream at; /* What the books are to say. */
    bool known;                  /* at says something: an event of the stream has been taken. */
    bool dirty;                  /* What it left in the read model has to be made anew. */
    uint64_t last;               /* Position of its last event that was taken. */
};

/* Zero-initialised is empty. */
struct stele_run_effective {
    struct stele_memory *names;   /* Of the table; emptied with it. */
    struct stele_memory *history; /* While a stream is folded anew. */
    struct stele_memory *scratch;
    struct stele_run_touched *touched;
    size_t count, capacity;
    uint32_t *places; /* By name: index + 1, 0 is free. A power of two. */
    size_t places_count;
};

/* Takes an event, in stored order. It is applied, or its stream is noted to be folded anew.
 * *out_culprit is set with STELE_E_INVALID: the event's position, or 0 if another one may be at fault.
 * Outcomes are those of the sink's apply. */
STELE_MUST_USE
int stele_runner__effective_take(struct stele_run *run, struct stele_run_effective *effective,
                                 uint32_t lane, const struct stele_event *event,
                                 uint64_t *out_culprit, struct stele_error *err);
/* Before the transaction ends: folds anew what has to be, and writes the books. STELE_E_INVALID: an
 * event of the transaction makes a fold be refused; which one is not known. */
STELE_MUST_USE
int stele_runner__effective_finish(struct stele_run *run, struct stele_run_effective *effective,
                                   uint32_t lane, struct stele_error *err);
/* After it has ended, in whatever way. */
void stele_runner__effective_forget(struct stele_run_effective *effective);
void stele_runner__effective_deinit(struct stele_run_effective *effective);

/* Can the sink do what the projection asks for? STELE_OK; STELE_E_INVALID with words */
STELE_MUST_USE
int stele_runner__effective_check(const struct stele_projection *projection,
                                  const struct stele_sink *sink, struct stele_error *err);

#endif
