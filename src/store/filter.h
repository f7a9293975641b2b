/* Filters, for those who are handed events otherwise than by a read (hubs of live events). */
#ifndef STELE_STORE_FILTER_H
#define STELE_STORE_FILTER_H

#include "base/alloc.h"
#include "base/status.h"

#include <stele/stele.h>

/* A filter, compiled. One thread at a time. */
struct stele_filter_program;

/* Everything of the filter is copied. STELE_OK, STELE_E_INVALID, STELE_E_LIMIT, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_filter_compile(struct stele_alloc *alloc, const struct stele_filter *filter,
                         struct stele_filter_program **out_program, struct stele_error *err);
void stele_filter_release(struct stele_alloc *alloc, struct stele_filter_program *program);
/* STELE_OK: *out_matches is set. STELE_E_NO_MEMORY: a regular expression needed more than there was,
 * and nobody knows. */
STELE_MUST_USE
int stele_filter_matches(struct stele_filter_program *program, const struct stele_event *event,
                         bool *out_matches);

/* The category that the index lists an event of this stream under. */
struct stele_bytes stele_filter_category(struct stele_bytes stream);

#endif
