/* The merge: commands of all partitions, in the order of their stamps, up to the lowest closed stamp.
 *
 *     closed(p, stamp), add(p, stamp, …)  ──▶  next() … next()
 *
 * Pure. A stamp is (tick, partition) as in base/position.h, so no two are alike.
 *
 * Invariants: O1 what next() hands out grows strictly. O2 nothing is handed out above the lowest closed
 * stamp. O3 the closed stamp of a partition grows strictly with what is added to it. */
#ifndef STELE_CLUSTER_MERGE_H
#define STELE_CLUSTER_MERGE_H

#include "base/alloc.h"
#include "base/status.h"

struct stele_merge;

/* A committed command that waits for its turn. */
struct stele_ordered {
    struct stele_ordered *next;
    uint64_t stamp;
    uint64_t origin, boot, id;
    void *own; /* Of whoever added it. */
    size_t size;
    uint8_t bytes[];
};

STELE_MUST_USE
int stele_merge_create(struct stele_alloc *alloc, uint32_t partitions, uint64_t done,
                       struct stele_merge **out_merge);
void stele_merge_destroy(struct stele_merge *merge);

/* Nothing at or below stamp can come any more in this partition. Above all before of this partition. */
void stele_merge_close(struct stele_merge *merge, uint32_t partition, uint64_t stamp);
/* Adds a command; its partition is in its stamp. Closes up to it. NULL: no memory, nothing has changed. */
struct stele_ordered *stele_merge_add(struct stele_merge *merge, uint64_t stamp,
                                      struct stele_bytes bytes);
/* The next one whose turn it is, or NULL. It is the caller's, to be released on any thread. */
struct stele_ordered *stele_merge_next(struct stele_merge *merge);
void stele_ordered_release(struct stele_alloc *alloc, struct stele_ordered *command);
/* What is at or below stamp has been done by other means: forgets it. own of each is handed to on_skipped. */
void stele_merge_skip(struct stele_merge *merge, uint64_t stamp,
                      void (*on_skipped)(void *context, struct stele_ordered *command),
                      void *context);

uint64_t stele_merge_closed(const struct stele_merge *merge, uint32_t partition);
/* The lowest closed stamp, and whose. */
uint64_t stele_merge_closed_all(const struct stele_merge *merge, uint32_t *out_partition);
/* The stamp of the last that next() handed out, or of skip(), or done. */
uint64_t stele_merge_done(const struct stele_merge *merge);
/* The lowest stamp that waits; UINT64_MAX: none. */
uint64_t stele_merge_first(const struct stele_merge *merge);
uint64_t stele_merge_waiting(const struct stele_merge *merge);
uint64_t stele_merge_waiting_size(const struct stele_merge *merge); /* Bytes. */
void stele_merge_check(const struct stele_merge *merge);

#endif
