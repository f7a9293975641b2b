/* The index: from a name and an ordinal to a place in the log.
 *
 * Four spaces of names are kept in the same way: streams, categories, types, tags. For each name
 * there is a dense list of places: ordinal 0, 1, 2, … → place of the record. For a stream the
 * ordinal is the revision. Ids of events are found by hash.
 *
 * What is new lies in memory (a memtable); what is older lies in immutable sorted files (runs),
 * each for one range of the log, merged in the background:
 *
 *     log    |---- run ----|-- run --|- run -|== frozen memtable ==|== active memtable ==>
 *
 * Derived data only: a run that is missing or damaged leaves a hole, and holes are filled again
 * from the log. While there is one, lookups answer STELE_INCOMPLETE and the caller reads the log.
 *
 * Threads: functions that take struct stele_index run one at a time. A struct stele_index_view is
 * an immutable counted snapshot of the runs: acquired and released under the same exclusion as the
 * index, used from any thread. Queries of a view verify each 4 KiB page of a run the first time
 * they touch it.
 *
 * A consistent look at everything: under one exclusion, acquire a view and ask the memtables
 * (stele_index_mem_…); then, without it, ask the view. */
#ifndef STELE_INDEX_INDEX_H
#define STELE_INDEX_INDEX_H

#include "io/io.h"

struct stele_index;
struct stele_index_view;

#define STELE_SPACE_STREAM 0
#define STELE_SPACE_CATEGORY 1
#define STELE_SPACE_TYPE 2
#define STELE_SPACE_TAG 3
#define STELE_SPACES 4

#define STELE_INDEX_TOMBSTONED 1u /* Flag of a stream. */

/* A name to look for. hash: stele_index_hash(index or seed …). */
struct stele_index_key {
    uint8_t space;
    uint64_t hash;
    struct stele_bytes name;
};
/* The hash of a name: XXH3 with the store's seed, mixed with the space. */
struct stele_index_key stele_index_key(uint64_t seed, uint8_t space, struct stele_bytes name);
uint64_t stele_index_id_hash(uint64_t seed, const uint8_t id[16]);

struct stele_index_options {
    uint8_t store_id[16];
    uint64_t seed;
    bool read_only; /* Never writes or removes a file. */
};

/* Opens the runs of a store: files "<from>-<to>.run" (16 hexadecimal digits each). Contained and
 * foreign ones are removed (unless read_only), overlapping ones resolved in favour of the larger;
 * a run whose header does not verify is a hole. Only headers and footers are read. log_start and
 * log_end bound what may be there; a run that ends above log_end (stale) is removed. STELE_OK also
 * when there are no runs. */
STELE_MUST_USE
int stele_index_open(struct stele_io *io, const struct stele_index_options *options,
                     uint64_t log_start, uint64_t log_end, struct stele_index **out_index,
                     struct stele_error *err);
/* Every view must have been released. NULL is fine. */
void stele_index_close(struct stele_index *index);

/* The place up to which the runs reach (holes below included): the log from here on must be added
 * to the memtable. Equal to log_start when there are none. */
uint64_t stele_index_runs_end(const struct stele_index *index);

/* Declares the log from the runs' end up to `to` (a frame's place) a hole, to be filled in the
 * background: for a tail that is too long for memory. The active memtable must be empty. */
void stele_index_add_hole(struct stele_index *index, uint64_t to);

/* ---- Adding ---- */

/* What is known of one name, in memory. Opaque but for these. */
struct stele_index_entry {
    uint64_t next;       /* The next ordinal: number of events ever under this name. */
    uint64_t place_last; /* Place of the newest event; UINT64_MAX if it is only in the runs. */
    uint32_t flags;
};

/* The entry of a name in the active memtable, made from older memtables and runs if need be; for a
 * name that was never seen, next is 0. The pointer is good until the next freeze or close.
 * STELE_OK, STELE_INCOMPLETE (a hole hides the answer), STELE_E_NO_MEMORY, STELE_E_CORRUPT (the
 * damaged run has been turned into a hole: ask again). */
STELE_MUST_USE
int stele_index_entry(struct stele_index *index, const struct stele_index_key *key,
                      struct stele_index_entry **out_entry, struct stele_error *err);

/* One event. stream, category, type, tags: entries from stele_index_entry(). The ordinal under
 * each is its `next`, which grows by one. Places must grow from call to call. id_hash 0 is fine.
 * Cannot fail after stele_index_reserve() for at least this many events and tags. */
void stele_index_add(struct stele_index *index, uint64_t place, uint64_t id_hash,
                     struct stele_index_entry *stream, struct stele_index_entry *category,
                     struct stele_index_entry *type, struct stele_index_entry *const *tags,
                     size_t tags_count);
/* Marks a stream (STELE_INDEX_TOMBSTONED). */
void stele_index_mark(struct stele_index_entry *stream, uint32_t flags);
/* Makes room for events more events with postings entries in total; STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_index_reserve(struct stele_index *index, size_t events, size_t postings);

/* ---- Asking: memory part, under exclusion ---- */

struct stele_index_state {
    uint64_t next; /* Number of events ever; 0: never seen. */
    uint32_t flags;
};

/* What the memtables know: STELE_OK, or STELE_NOT_FOUND (ask the view). */
STELE_MUST_USE
int stele_index_mem_state(const struct stele_index *index, const struct stele_index_key *key,
                          struct stele_index_state *out_state);

/* Places of the ordinals lo, lo+1, … as far as memory has them, at most max. *out_lo: the lowest
 * ordinal that memory has for the name (UINT64_MAX: none); ordinals below it are in the runs. When
 * lo < *out_lo, places begin at *out_lo only if that is < lo + max, and *out_skip tells how many
 * were left out in front (they are the view's to answer). Returns the number of places written. */
size_t stele_index_mem_places(const struct stele_index *index, const struct stele_index_key *key,
                              uint64_t lo, size_t max, uint64_t *places, uint64_t *out_lo);

/* The lowest ordinal in memory whose place is at or above place; UINT64_MAX if none. */
uint64_t stele_index_mem_lower_bound(const struct stele_index *index,
                                     const struct stele_index_key *key, uint64_t place);

/* Places of events whose id has this hash, newest first, at most max. */
size_t stele_index_mem_ids(const struct stele_index *index, uint64_t id_hash, uint64_t *places,
                           size_t max);

/* ---- Asking: the runs, through a view, on any thread ---- */

struct stele_index_view *stele_index_view_acquire(struct stele_index *index);
void stele_index_view_release(struct stele_index_view *view);

/* All of these: STELE_INCOMPLETE if a hole hides the answer; STELE_E_CORRUPT if a run is damaged
 * (*out_damaged tells which: give it to stele_index_drop_run() under exclusion, and ask again with
 * a new view or read the log). */
STELE_MUST_USE
int stele_index_view_state(const struct stele_index_view *view, const struct stele_index_key *key,
                           struct stele_index_state *out_state, const char **out_damaged);
/* As mem_places: the places of lo, lo+1, … as far as the runs have them, without a gap. */
STELE_MUST_USE
int stele_index_view_places(const struct stele_index_view *view, const struct stele_index_key *key,
                            uint64_t lo, size_t max, uint64_t *places, size_t *out_count,
                            const char **out_damaged);
STELE_MUST_USE
int stele_index_view_lower_bound(const struct stele_index_view *view,
                                 const struct stele_index_key *key, uint64_t place,
                                 uint64_t *out_ordinal, const char **out_damaged);
STELE_MUST_USE
int stele_index_view_ids(const struct stele_index_view *view, uint64_t id_hash, uint64_t *places,
                         size_t max, size_t *out_count, const char **out_damaged);
bool stele_index_view_has_holes(const struct stele_index_view *view);

/* Turns a damaged run into a hole and removes its file (best effort). */
void stele_index_drop_run(struct stele_index *index, const char *name);

/* ---- Listing ---- */

/* Names of one space with a prefix, after a name, in byte order, merged over memory and runs. The
 * begin part takes its copy of memory and a view under exclusion; next runs without it; end again
 * under it. */
struct stele_index_lister;
STELE_MUST_USE
int stele_index_list_begin(struct stele_index *index, uint8_t space, struct stele_bytes prefix,
                           struct stele_bytes after, struct stele_index_lister **out_lister);
/* *out_name is good until the next call. STELE_END after the last. */
STELE_MUST_USE
int stele_index_list_next(struct stele_index_lister *lister, struct stele_bytes *out_name,
                          struct stele_index_state *out_state, const char **out_damaged);
void stele_index_list_end(struct stele_index_lister *lister);

/* ---- Background work: begin and end under exclusion, run on any thread without it ---- */

/* Bytes of log that the active memtable covers; bytes of memory that all memtables take. */
uint64_t stele_index_active_span(const struct stele_index *index);
uint64_t stele_index_memory(const struct stele_index *index);

struct stele_index_job;

/* Freezes the active memtable, which covers the log up to `to` (the log's end now), and gives the
 * job of writing it as a run. STELE_NOT_FOUND: nothing to do, or a frozen one is still there. The
 * caller runs the job only once the log is durable up to `to`. */
STELE_MUST_USE
int stele_index_flush_begin(struct stele_index *index, uint64_t to,
                            struct stele_index_job **out_job);
/* Takes a set of neighbouring runs of similar size (tiered, fan-in 4 to 8). STELE_NOT_FOUND if
 * nothing is worth merging. */
STELE_MUST_USE
int stele_index_merge_begin(struct stele_index *index, struct stele_index_job **out_job);
/* The first hole's next piece: *out_from … *out_to of the log (at most piece bytes) must be added
 * with stele_index_fill_add(), oldest first, before the job is run. STELE_NOT_FOUND: no holes. */
STELE_MUST_USE
int stele_index_fill_begin(struct stele_index *index, uint64_t piece, uint64_t *out_from,
                           uint64_t *out_to, struct stele_index_job **out_job);
/* Without exclusion. tags as in a record: one byte of size, then the tag. to_place: where the
 * piece really ended (a frame's end) is told by stele_index_fill_set_end(). */
STELE_MUST_USE
int stele_index_fill_add(struct stele_index_job *job, uint64_t place, const uint8_t id[16],
                         uint64_t revision, struct stele_bytes stream, struct stele_bytes category,
                         struct stele_bytes type, const uint8_t *tags, uint32_t tags_count,
                         uint32_t stream_flags);
void stele_index_fill_set_end(struct stele_index_job *job, uint64_t to);

/* Writes the job's run under a temporary name, syncs it, gives it its name, syncs names. One call
 * does it all; on_bytes as in stele_log_pack, may be NULL. */
STELE_MUST_USE
int stele_index_job_run(struct stele_index_job *job, int (*on_bytes)(void *context, uint64_t bytes),
                        void *context, struct stele_error *err);
/* Installs the result (outcome STELE_OK) or forgets it, releases the job. Replaced runs' files are
 * removed; views that hold them go on reading. After a failed flush the frozen memtable stays and
 * the flush may be tried again. */
STELE_MUST_USE
int stele_index_job_end(struct stele_index *index, struct stele_index_job *job, int outcome,
                        struct stele_error *err);

/* ---- Facts and checks ---- */
uint32_t stele_index_runs(const struct stele_index *index);
uint64_t stele_index_disk_size(const struct stele_index *index);
uint64_t stele_index_hole_bytes(const struct stele_index *index);
uint64_t stele_index_names(const struct stele_index *index,
                           uint8_t space); /* Ever seen; may be an estimate across holes. */

/* Read-only beside a living writer: looks at the directory again; runs that appeared take the
 * place of memtable contents below their end. */
STELE_MUST_USE
int stele_index_refresh(struct stele_index *index, uint64_t log_end, struct stele_error *err);

/* Verifies every checksum of every run. on_damage gets file and offset. STELE_OK or
 * STELE_E_CORRUPT. Without exclusion. */
STELE_MUST_USE
int stele_index_verify(struct stele_index_view *view,
                       void (*on_damage)(void *context, const char *file, uint64_t offset,
                                         const char *what),
                       void *context, uint64_t *out_entries, struct stele_error *err);

/* Debug and simulator builds. */
void stele_index_check(const struct stele_index *index);

#endif
