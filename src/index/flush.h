/* A memtable becomes a run. */
#ifndef STELE_INDEX_FLUSH_H
#define STELE_INDEX_FLUSH_H

#include "index/format.h"
#include "index/memtable.h"

/* Where and for whom a run is written. */
struct stele_index__target {
    struct stele_io *io;
    const struct stele_index_options *options;
    uint64_t from;
    uint64_t to;
    int (*on_bytes)(void *context, uint64_t bytes);
    void *context;
};

/* The header of a target's run, all counts 0. */
struct stele_index__header stele_index__target_header(const struct stele_index__target *target);

/* Writes table, which does not change meanwhile, as the run from … to. Nothing is left behind on
 * failure. */
STELE_MUST_USE
int stele_index__flush(const struct stele_index__memtable *table,
                       const struct stele_index__target *target, struct stele_error *err);

#endif
