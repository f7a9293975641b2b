/* Neighbouring runs become one. */
#ifndef STELE_INDEX_MERGE_H
#define STELE_INDEX_MERGE_H

#include "index/flush.h"
#include "index/run.h"

#define STELE_INDEX__FAN_IN_MIN 4u
#define STELE_INDEX__FAN_IN_MAX 8u

/* Which runs of a view are worth merging now: how many from *out_first on, or 0. */
uint32_t stele_index__merge_pick(const struct stele_index_view *view, uint32_t *out_first);

/* Writes runs, neighbours in the order of the log, as one. STELE_E_CORRUPT sets *out_damaged if
 * one of them is damaged. */
STELE_MUST_USE
int stele_index__merge(struct stele_index__run *const *runs, uint32_t count,
                       const struct stele_index__target *target,
                       struct stele_index__run **out_damaged, struct stele_error *err);

#endif
