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
 * A log that was scavenged gives back less than it once had: then some ordinals have no place any
 * more. They count on (a list has no end before its name's `next`), and their place is UINT64_MAX:
 * skip them. Scavenging must keep the last event of every stream, else a filled hole would not
 * know where its revisions go on.
 *
 * Places are multiples of 8, as is every end of a range of the log.
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

/* Opens the runs of a store: files "<from>-<to>.run" (16 hexadecimal digits each). Only headers
 * and footers are read. Of runs that overlap the larger is taken (the others went into it). A run
 * whose header or footer does not verify is a hole. log_start and log_end bound what may be there.
 * Unless read_only, all other runs (contained in a larger one, of another store, ending above
 * log_end, damaged) and temporary files are removed. STELE_OK also when there are no runs.
 * A failing seam, as opposed to damage, fails the opening. */
STELE_MUST_USE
int stele_index_open(struct stele_io *io, const struct stele_index_options *options,
                     uint64_t log_start, uint64_t log_end, struct stele_index **out_index,
                     struct stele_error *err);
/* Every view must have been released. NULL is fine. */
void stele_index_close(struct stele_index *index);

/* The place up to which the runs reach (holes below included): the log from here on must be added
 * to the memtable. Equal to log_start when there are none. A damaged run counts: its name tells
 * how far it went, and the hole is filled in the background. */
uint64_t stele_index_runs_end(const struct stele_index *index);

/* Declares the log from the runs' end up to `to` (a frame's place) a hole, to be filled in the
 * background: for a tail that is too long for memory. Right after opening: nothing has been added
 * or asked for, no view is held. */
void stele_index_add_hole(struct stele_index *index, uint64_t to);

/* ---- Adding ---- */

/* What is known of one name, in memory. Opaque but for these. */
struct stele_index_entry {
    uint64_t next;       /* The next ordinal: number of events ever under this name. The caller
                          * may raise a stream's, to the revision of the event that it adds next:
                          * those between are gone, damaged or scavenged. */
    uint64_t place_last; /* Place of the newest event; UINT64_MAX if it is only in the runs. */
    uint32_t flags;
};

/* The entry of a name in the active memtable, made from older memtables and runs if need be; for a
 * name that was never seen, next is 0. The pointer is good until the next
 * stele_index_flush_begin(), stele_index_refresh() or close.
 * STELE_OK, STELE_INCOMPLETE (a hole hides the answer), STELE_E_NO_MEMORY, STELE_E_CORRUPT (the
 * damaged run has been turned into a hole: ask again). */
STELE_MUST_USE
int stele_index_entry(struct stele_index *index, const struct stele_index_key *key,
                      struct stele_index_entry **out_entry, struct stele_error *err);

/* One event. stream, category, type, tags: entries from stele_index_entry(). The ordinal under
 * each is its `next`, which grows by one; an entry that is given twice counts once. Places must
 * grow from call to call. Any id_hash is fine, also the same one again. Cannot fail after
 * stele_index_reserve() for at least this many events and postings. */
void stele_index_add(struct stele_index *index, uint64_t place, uint64_t id_hash,
                     struct stele_index_entry *stream, struct stele_index_entry *category,
                     struct stele_index_entry *type, struct stele_index_entry *const *tags,
                     size_t tags_count);
/* Marks a stream (STELE_INDEX_TOMBSTONED). */
void stele_index_mark(struct stele_index_entry *stream, uint32_t flags);
/* Makes room for events more events with postings entries in total (3 + tags for each event).
 * Making entries uses up nothing of it. Holds until the next stele_index_flush_begin(). STELE_OK,
 * or STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_index_reserve(struct stele_index *index, size_t events, size_t postings);

/* ---- Asking: memory part, under exclusion ---- */

struct stele_index_state {
    uint64_t next; /* Number of events ever; 0: never seen. */
    uint32_t flags;
};

/* What the memtables know: STELE_OK (also with next 0, for a name that was asked for by
 * stele_index_entry() and has no events), or STELE_NOT_FOUND (ask the view). */
STELE_MUST_USE
int stele_index_mem_state(const struct stele_index *index, const struct stele_index_key *key,
                          struct stele_index_state *out_state);

/* Places of the ordinals from max(lo, *out_lo) on, as far as memory has them and below lo + max.
 * *out_lo: the lowest ordinal that memory answers for (UINT64_MAX: none). Ordinals below it are the
 * view's to answer: ask it for *out_lo - lo of them. Returns the number of places written, 0 when
 * *out_lo is not below lo + max. */
size_t stele_index_mem_places(const struct stele_index *index, const struct stele_index_key *key,
                              uint64_t lo, size_t max, uint64_t *places, uint64_t *out_lo);

/* The lowest ordinal in memory whose place is at or above place; UINT64_MAX if none. The runs
 * have lower ones: ask the view first. */
uint64_t stele_index_mem_lower_bound(const struct stele_index *index,
                                     const struct stele_index_key *key, uint64_t place);

/* Places of events whose id has this hash, newest first, at most max. */
size_t stele_index_mem_ids(const struct stele_index *index, uint64_t id_hash, uint64_t *places,
                           size_t max);

/* ---- Asking: the runs, through a view, on any thread ---- */

struct stele_index_view *stele_index_view_acquire(struct stele_index *index);
void stele_index_view_release(struct stele_index_view *view);

/* All of these: STELE_OK; STELE_INCOMPLETE if a hole hides the answer; STELE_E_CORRUPT if a run is
 * damaged (*out_damaged tells which, as long as the view is held: give it to
 * stele_index_drop_run() under exclusion, and ask again with a new view or read the log). What a
 * name or an id has in memory is not part of the answer. */

/* next is 0 for a name that the runs do not have. */
STELE_MUST_USE
int stele_index_view_state(const struct stele_index_view *view, const struct stele_index_key *key,
                           struct stele_index_state *out_state, const char **out_damaged);
/* The places of lo, lo + 1, … as far as the runs reach, at most max, without a gap (but see above:
 * UINT64_MAX stands for an event that is gone). *out_count 0: the runs end before lo. */
STELE_MUST_USE
int stele_index_view_places(const struct stele_index_view *view, const struct stele_index_key *key,
                            uint64_t lo, size_t max, uint64_t *places, size_t *out_count,
                            const char **out_damaged);
/* The lowest ordinal in the runs whose place is at or above place; UINT64_MAX if none. Looks only
 * at runs that reach above place: holes below do not matter. */
STELE_MUST_USE
int stele_index_view_lower_bound(const struct stele_index_view *view,
                                 const struct stele_index_key *key, uint64_t place,
                                 uint64_t *out_ordinal, const char **out_damaged);
/* Places of events whose id has this hash, newest first, at most max. */
STELE_MUST_USE
int stele_index_view_ids(const struct stele_index_view *view, uint64_t id_hash, uint64_t *places,
                         size_t max, size_t *out_count, const char **out_damaged);
bool stele_index_view_has_holes(const struct stele_index_view *view);

/* Turns a damaged run into a hole and removes its file (best effort; not if read_only). A name
 * that is no run's any more is fine. Without memory nothing happens, and whoever meets the damage
 * next asks again. */
void stele_index_drop_run(struct stele_index *index, const char *name);

/* ---- Listing ---- */

/* Names of one space with a prefix, after a name (data NULL: from the first), in byte order, merged
 * over memory and runs; names without events are left out. The begin part takes its copy of memory
 * (of what is listed) and a view under exclusion; next runs without it; end again under it.
 * begin: STELE_OK; STELE_INCOMPLETE: there are holes; STELE_E_NO_MEMORY. */
struct stele_index_lister;
STELE_MUST_USE
int stele_index_list_begin(struct stele_index *index, uint8_t space, struct stele_bytes prefix,
                           struct stele_bytes after, struct stele_index_lister **out_lister);
/* *out_name is good until the next call. STELE_OK, STELE_END after the last, STELE_E_CORRUPT. */
STELE_MUST_USE
int stele_index_list_next(struct stele_index_lister *lister, struct stele_bytes *out_name,
                          struct stele_index_state *out_state, const char **out_damaged);
void stele_index_list_end(struct stele_index_lister *lister);

/* ---- Background work: begin and end under exclusion, run on any thread without it ---- */

/* Bytes of log that the active memtable covers; bytes of memory that all memtables take. */
uint64_t stele_index_active_span(const struct stele_index *index);
uint64_t stele_index_memory(const struct stele_index *index);

struct stele_index_job;

/* One flush, one filling and any number of merges may be under way at once. Every job that was
 * begun is ended, whether it was run or not. */

/* Freezes the active memtable, which covers the log up to `to` (the log's end now), and gives the
 * job of writing it as a run. After a flush that failed the frozen memtable is still there: then
 * this is the job of writing that one, and `to` means nothing. The caller runs the job only once
 * the log is durable up to `to`. STELE_OK; STELE_NOT_FOUND: nothing was added to the log, or a
 * flush is under way; STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_index_flush_begin(struct stele_index *index, uint64_t to,
                            struct stele_index_job **out_job);
/* Takes a set of neighbouring runs of similar size (tiered, fan-in 4 to 8). STELE_OK;
 * STELE_NOT_FOUND: nothing is worth merging; STELE_E_NO_MEMORY. Running it takes 1.4 MB and 4
 * bytes for each name of each run. */
STELE_MUST_USE
int stele_index_merge_begin(struct stele_index *index, struct stele_index_job **out_job);
/* The first hole's next piece: *out_from … *out_to of the log (at most piece bytes) must be added
 * with stele_index_fill_add(), oldest first, before the job is run. STELE_OK; STELE_NOT_FOUND: no
 * holes, or a filling is under way; STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_index_fill_begin(struct stele_index *index, uint64_t piece, uint64_t *out_from,
                           uint64_t *out_to, struct stele_index_job **out_job);
/* One event of the piece; without exclusion. tags as in a record: one byte of size, then the tag.
 * Revisions may jump ahead over events that are gone. What lies behind the hole is ignored.
 * STELE_OK; STELE_E_NO_MEMORY; STELE_E_CORRUPT: an older run is damaged (ending the job with this
 * outcome makes it a hole), or the revision was there before. */
STELE_MUST_USE
int stele_index_fill_add(struct stele_index_job *job, uint64_t place, const uint8_t id[16],
                         uint64_t revision, struct stele_bytes stream, struct stele_bytes category,
                         struct stele_bytes type, const uint8_t *tags, uint32_t tags_count,
                         uint32_t stream_flags);
/* Where the piece really ended: at a frame's end, at or above *out_to. All events below it have
 * been added. */
void stele_index_fill_set_end(struct stele_index_job *job, uint64_t to);

/* Writes the job's run under a temporary name, syncs it, gives it its name, syncs names. One call
 * does it all, once; leaves no file behind when it fails. on_bytes, if not NULL, is called with each
 * number of bytes written, for throttling; anything but 0 returned stops with STELE_E_CLOSED. */
STELE_MUST_USE
int stele_index_job_run(struct stele_index_job *job, int (*on_bytes)(void *context, uint64_t bytes),
                        void *context, struct stele_error *err);
/* Installs the result (outcome: what running it returned; STELE_OK) or forgets it (anything else),
 * releases the job. Replaced runs' files are removed; views that hold them go on reading. After a
 * failed flush the frozen memtable stays and the flush may be tried again. After STELE_E_CORRUPT a
 * run that the job found damaged is a hole.
 *
 * Returns outcome, or STELE_E_NO_MEMORY, or STELE_NOT_FOUND: a run that went into the merge was
 * dropped meanwhile, so the result was forgotten. */
STELE_MUST_USE
int stele_index_job_end(struct stele_index *index, struct stele_index_job *job, int outcome,
                        struct stele_error *err);

/* ---- Facts and checks ---- */

/* Changes when ordinals of categories, types or tags in memory have changed: a refresh took up runs
 * that were made before a part of the log was scavenged. An ordinal that was learned earlier means
 * nothing then. Those of streams are revisions and stay. */
uint64_t stele_index_numbering(const struct stele_index *index);
uint32_t stele_index_runs(const struct stele_index *index);
uint64_t stele_index_disk_size(const struct stele_index *index);
uint64_t stele_index_hole_bytes(const struct stele_index *index);
/* Names that ever had an event. Too low by those that begin in a hole. */
uint64_t stele_index_names(const struct stele_index *index, uint8_t space);

/* Read-only beside a living writer: looks at the directory again; runs that appeared take the
 * place of memtable contents below their end. When what is seen does not fit together, because the
 * writer is in the middle of something, everything stays as it was until the next time. Runs that
 * end above log_end are not seen. */
STELE_MUST_USE
int stele_index_refresh(struct stele_index *index, uint64_t log_end, struct stele_error *err);

/* Verifies every checksum of every run, and that every name is found where it is. on_damage, which
 * may be NULL, gets file and offset; *out_entries, the number of postings, is set in both cases.
 * STELE_OK or STELE_E_CORRUPT. Without exclusion. */
STELE_MUST_USE
int stele_index_verify(struct stele_index_view *view,
                       void (*on_damage)(void *context, const char *file, uint64_t offset,
                                         const char *what),
                       void *context, uint64_t *out_entries, struct stele_error *err);

/* Debug and simulator builds. */
void stele_index_check(const struct stele_index *index);

#endif
