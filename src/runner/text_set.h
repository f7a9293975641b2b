/* A set of texts that it owns. */
#ifndef STELE_RUNNER_TEXT_SET_H
#define STELE_RUNNER_TEXT_SET_H

#include "base/alloc.h"

#include <stele/stele.h>

/* Zero-initialised is empty. */
struct stele_text_set {
    struct stele_text *slots; /* A power of two; data NULL is free. */
    size_t capacity, count;
    struct stele_arena arena;
};

bool stele_text_set_has(const struct stele_text_set *set, struct stele_text text);
/* STELE_OK, also if it is there already; STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_text_set_add(struct stele_text_set *set, struct stele_alloc *alloc,
                       struct stele_text text);
/* Empties it. */
void stele_text_set_deinit(struct stele_text_set *set, struct stele_alloc *alloc);

#endif
