/* A declared saga, or reaction, at work: its programs and calls behind a saga runner. */
#ifndef STELE_DECLARED_SAGA_H
#define STELE_DECLARED_SAGA_H

#include "declared/file.h"

struct stele_declared_running;

struct stele_declared_options {
    const char *name; /* Of the runner; see struct stele_saga_runner_options. */
    /* Told of what goes wrong with one saga, or with one event (id ""). Runs on the thread that takes turns. */
    void (*on_problem)(void *context, const char *kind, const char *id, const char *words);
    void *context;
};

/* saga and store are borrowed. Does nothing before the first turn. Outcomes as of stele_saga_runner_create(). */
STELE_MUST_USE
int stele_declared_start(struct stele *store, const struct stele_declared_saga *saga,
                         const struct stele_declared_options *options,
                         struct stele_declared_running **out_running, struct stele_error *err);
/* Of stele_saga_runner_turn() and _wait(). */
struct stele_saga_runner *stele_declared_runner(struct stele_declared_running *running);
/* NULL is fine. */
void stele_declared_stop(struct stele_declared_running *running);

#endif
