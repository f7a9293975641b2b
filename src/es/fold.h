/* A state while events are folded into it: see <stele/es.h>. */
#ifndef STELE_ES_FOLD_H
#define STELE_ES_FOLD_H

#include "es/memory.h"

struct stele_state {
    const struct stele_fold *fold;
    struct stele_memory *memory;
    struct stele_memory *scratch; /* NULL until something short-lived is needed. */
    void *value;
    uint64_t count;
    uint64_t revision;
    uint64_t position;
    int failed; /* What an apply ended with; the state is not used any more. */
    struct stele_output encoded;
};

/* Folds one event without counting it. */
STELE_MUST_USE
int stele_state__fold_one(struct stele_state *state, const struct stele_event *event,
                          struct stele_error *err);

/* Is the fold complete? The message says what it lacks. */
STELE_MUST_USE
int stele_fold_check(const struct stele_fold *fold, struct stele_error *err);

#endif
