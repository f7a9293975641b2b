/* What the files of src/index share. Nobody else includes this but the module's own tests. */
#ifndef STELE_INDEX_INDEX_INTERNAL_H
#define STELE_INDEX_INDEX_INTERNAL_H

#include "base/limits.h"
#include "index/index.h"
#include "index/memtable.h"
#include "index/run.h"

/* A counted, immutable array of runs in the order of the log. What lies between two neighbours
 * that do not touch is a hole. */
struct stele_index_view {
    struct stele_alloc *alloc;
    uint64_t from; /* The log's start. */
    uint64_t to;   /* How far the runs reach, holes included. */
    uint32_t refs;
    uint32_t count;
    size_t size; /* Of this allocation. */
    struct stele_index__run *runs[];
};

struct stele_index {
    struct stele_io *io;
    struct stele_index_options options;
    struct stele_index_view *view;
    struct stele_index__memtable *active;
    struct stele_index__memtable *frozen; /* NULL, or being written. */
    uint64_t hash_mask;                   /* All ones; tests weaken the hashes of fills with it. */
    uint32_t jobs;
    bool flushing;
    bool filling;
    bool was_filled;    /* A hole: ordinals between runs and memory may be missing. */
    uint64_t numbering; /* Grows when names in memory, other than streams, are numbered anew. */
};

/* An empty view with room for capacity runs; refs is 1. NULL when there is no memory. */
struct stele_index_view *stele_index__view_create(struct stele_alloc *alloc, uint64_t from,
                                                  uint64_t to, uint32_t capacity);
/* Counts the run and puts it at the end. */
void stele_index__view_push(struct stele_index_view *view, struct stele_index__run *run);
void stele_index__view_unref(struct stele_index_view *view);
/* Puts a view in the place of the current one, if any. */
void stele_index__view_install(struct stele_index *index, struct stele_index_view *take_view);

/* As stele_index_view_state(), looking only at what lies below `below`. */
STELE_MUST_USE
int stele_index__view_state_below(const struct stele_index_view *view,
                                  const struct stele_index_key *key, uint64_t below,
                                  struct stele_index_state *out_state,
                                  struct stele_index__run **out_damaged);

/* Lists the runs of the directory, opens those that are not open yet, and makes a view of those
 * that go together. Unless read_only, removes all other files of the index. */
STELE_MUST_USE
int stele_index__load(struct stele_index *index, uint64_t log_start, uint64_t log_end,
                      struct stele_index_view **out_view, struct stele_error *err);

#endif
