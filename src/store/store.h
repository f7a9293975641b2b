/* The store: streams, revisions, conditions, reads, retention, over the log and the index.
 *
 * Sans-I/O: it owns no thread, lock, clock or random source. Whoever drives it (libstele's runtime,
 * or the simulator) calls it with the time, performs the effects it asks for, and tells it how they
 * ended:
 *
 *     prepare ──▶ append ──▶ take ──▶ write + sync (driver) ──▶ done ──▶ durable(place)?
 *
 * Threads: functions that take struct stele_store run one at a time ("under the lock", the
 * driver's). Those marked "no lock" may run on any thread beside them.
 *
 * Invariants (each asserted in stele_store_check() and attacked in tests):
 *  S1 revisions of a stream are dense; S2 positions grow in log order; S3 nothing is visible that
 *  is not durable; S4 all events of an append become visible at once; S5 an append that was
 *  answered with an outcome other than OK has left nothing behind. */
#ifndef STELE_STORE_STORE_H
#define STELE_STORE_STORE_H

#include "base/position.h"
#include "index/index.h"
#include "log/log.h"

#include <stele/stele.h>

struct stele_store;

struct stele_store_options {
    struct stele_options public;
    bool read_only;
    bool ordered;      /* A node of a cluster opens it: from now on it is nobody else's to write. */
    bool syncs_later;  /* See stele_log_sync_begin(). */
    uint64_t live_end; /* Read-only beside a writer: end of what is durable; else UINT64_MAX. */
};

/* Opens the store whose files io reaches, or creates it (public.create, not read_only). */
STELE_MUST_USE
int stele_store_open(struct stele_io *io, const struct stele_store_options *options,
                     struct stele_store **out_store, struct stele_error *err);

/* Would opening for writing begin, going by the options and the file that every store has? Changes
 * nothing, so that a directory that is something else stays as it is. What it refuses,
 * stele_store_open() would have refused with the same outcome. *out_creates: there is no store yet. */
STELE_MUST_USE
int stele_store_look(struct stele_io *io, const struct stele_store_options *options,
                     bool *out_creates, struct stele_error *err);

/* Releases memory; writes nothing (see stele_store_close_job). Reads must have ended. NULL is fine. */
void stele_store_close(struct stele_store *store);

/* ---- Appending ---- */

/* A request, checked and encoded as far as possible without knowing the store's state. No lock.
 * Everything of the request has been copied. May be reused: begin again with prepare. */
struct stele_prepared;

STELE_MUST_USE
int stele_prepared_create(const struct stele_store *store, struct stele_prepared **out_prepared,
                          struct stele_error *err);
void stele_prepared_destroy(struct stele_prepared *prepared);
/* Does it hold more memory than is worth keeping for the next request? */
bool stele_prepared_is_large(const struct stele_prepared *prepared);

/* After stele_store_append() has staged it (STELE_OK, and not idempotent): the event of that index, in
 * the order of the request, as reads will hand it out. Borrowed from prepared. No lock. */
void stele_prepared_event(const struct stele_prepared *prepared, size_t index,
                          struct stele_event *out_event);

/* What prepare would refuse in any store, without one: for requests that go elsewhere. */
STELE_MUST_USE
int stele_store_check_append(const struct stele_append *streams, size_t streams_count,
                             const struct stele_condition *conditions, size_t conditions_count,
                             struct stele_error *err);

/* No lock. now_us stamps events without a time of their own; random makes ids for drafts without.
 * STELE_OK, STELE_E_INVALID, STELE_E_LIMIT, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_prepare(struct stele_prepared *prepared, const struct stele_append *streams,
                  size_t streams_count, const struct stele_condition *conditions,
                  size_t conditions_count, int64_t now_us, struct stele_error *err);
/* As above for one event of the type "$tombstone" that closes the stream. */
STELE_MUST_USE
int stele_prepare_tombstone(struct stele_prepared *prepared, const char *stream, uint64_t expected,
                            int64_t now_us, struct stele_error *err);

/* Internal outcomes of stele_store_append(). Nothing was changed. */
#define STELE_STORE_ROLL 64  /* Let all groups finish, stele_store_roll(size), try again. */
#define STELE_STORE_INDEX 65 /* The index has a hole: let it be filled (background), try again. */

/* Before waiting for a hole to be filled: STELE_E_CORRUPT if damage of the log prevents it for as
 * long as the store is open. */
STELE_MUST_USE
int stele_store_check_index(const struct stele_store *store, struct stele_error *err);

/* What the caller must wait for: the append is acknowledged once stele_store_durable() >= place.
 * A refusal (STELE_WRONG_REVISION, STELE_CONDITION_FAILED, …) has a place too: it may rest on
 * events that are staged, and is told only when they are durable. If the log is fenced before, a
 * refused append has definitely not happened. */
struct stele_ticket {
    uint64_t place;
    uint64_t roll_size; /* On STELE_STORE_ROLL. */
};

/* Decides and stages. On STELE_OK the outcome is decided, not durable: *out_ticket. *out_result is
 * complete (to be told to the user only when durable). Any other outcome is final and nothing was
 * staged. revisions_last may be NULL. */
STELE_MUST_USE
int stele_store_append(struct stele_store *store, struct stele_prepared *prepared, int64_t now_us,
                       struct stele_ticket *out_ticket, uint64_t *revisions_last,
                       struct stele_append_result *out_result, struct stele_error *err);

/* ---- Commands of a cluster: appends that every node decides alike ----
 *
 * A store that was opened with options.ordered takes commands in the order of their stamps, and
 * ordinary appends no more: they end with STELE_E_READ_ONLY, for ever. Given the same commands, such
 * stores give the same outcomes, positions, revisions and events, whatever their options are and
 * whatever each has scavenged, flushed, fetched, or lost and been reopened after. */

/* stamp: milliseconds, counter and partition, laid out as a position; larger than that of any command
 * before. seen: the position up to which whoever made the command has looked for earlier appends
 * with its ids, and for events that its conditions forbid (stele_store_look_back()). */
struct stele_order {
    uint64_t stamp;
    uint64_t seen;
};

/* The partition of a stream: where commands that begin with it belong. No lock. */
uint32_t stele_store_partition(const struct stele_store *store, struct stele_bytes stream);

/* Microseconds since 1970 of a stamp. */
int64_t stele_order_time_us(uint64_t stamp);

/* As stele_prepare() for a command: an event without an id is STELE_E_INVALID, one without a time of
 * its own has the stamp's, and this node's event_size_max does not count. No lock. */
STELE_MUST_USE
int stele_prepare_at(struct stele_prepared *prepared, const struct stele_append *streams,
                     size_t streams_count, const struct stele_condition *conditions,
                     size_t conditions_count, uint64_t stamp, struct stele_error *err);
STELE_MUST_USE
int stele_prepare_tombstone_at(struct stele_prepared *prepared, const char *stream,
                               uint64_t expected, const uint8_t id[16], uint64_t stamp,
                               struct stele_error *err);

/* Internal outcome of a command: what was appended since `seen` goes so far back that it may have been
 * scavenged elsewhere. It was refused, on every node; look back and give it again. */
#define STELE_STORE_STALE 66
/* How far, in milliseconds of the log's time, and what scavenging leaves alone at least. */
#define STELE_SEEN_AGE_MS UINT64_C(3600000)
#define STELE_SCAVENGE_AGE_MS (2 * STELE_SEEN_AGE_MS)

/* As stele_store_append(), at a stamp. Which outcomes are decisions, stele_order_is_decision() says:
 * the command is done, here as everywhere. Any other outcome says that this node cannot decide:
 * nothing was changed, and no later command may be executed before this one was. */
STELE_MUST_USE
int stele_store_append_at(struct stele_store *store, struct stele_prepared *prepared,
                          const struct stele_order *order, struct stele_ticket *out_ticket,
                          uint64_t *revisions_last, struct stele_append_result *out_result,
                          struct stele_error *err);
/* The soft delete of a stream, as a command: appends metadata with this id, made of what the metadata
 * is at that stamp. prepared is used for it. Outcomes also STELE_NO_STREAM. */
STELE_MUST_USE
int stele_store_delete_at(struct stele_store *store, struct stele_prepared *prepared,
                          const char *stream, uint64_t expected, const uint8_t id[16],
                          const struct stele_order *order, struct stele_ticket *out_ticket,
                          struct stele_append_result *out_result, struct stele_error *err);
bool stele_order_is_decision(int outcome);

/* Before a command is made of a request: was it appended before, or can it never be?
 *
 * STELE_OK          It was, *out_result says where; to be told when *out_ticket is durable.
 * STELE_NOT_FOUND   Neither is known: *out_seen is for the command.
 * STELE_CONDITION_FAILED, STELE_E_ID_CONFLICT: refused for good, when *out_ticket is durable.
 * STELE_STORE_INDEX and errors as stele_store_append(). */
STELE_MUST_USE
int stele_store_look_back(struct stele_store *store, struct stele_prepared *prepared,
                          uint64_t *out_seen, struct stele_ticket *out_ticket,
                          uint64_t *revisions_last, struct stele_append_result *out_result,
                          struct stele_error *err);

/* The stamp of the last command that appended something, staged ones counted; 0: none. Executing goes
 * on behind it after a restart. */
uint64_t stele_store_ordered(const struct stele_store *store);
uint64_t stele_store_ordered_durable(const struct stele_store *store);
uint64_t stele_store_ordered_synced(const struct stele_store *store);
/* May nobody but a cluster append here? */
bool stele_store_is_ordered(const struct stele_store *store);

/* ---- Catching up: what one store has appended, copied to another as it is ----
 *
 * The copy has the same events: positions, revisions, times, ids, stamps, bytes. What the other one
 * had scavenged is missing in the copy too, and otherwise they cannot be told apart. Both have as many
 * partitions, by the same key. */

/* Hands out what is durable now and came after this position (and stamp, which its last append has; 0
 * for both: everything). begin and end under the lock, next without.
 * STELE_NOT_FOUND from begin: this store ends before that. */
struct stele_export;
STELE_MUST_USE
int stele_export_begin(struct stele_store *store, uint64_t after_stamp, uint64_t after_position,
                       struct stele_export **out_export, struct stele_error *err);
void stele_export_end(struct stele_store *store, struct stele_export *export);
/* The last stamp that is handed out. */
uint64_t stele_export_stamp(const struct stele_export *export);
/* Whole appends of about size bytes together, at least one, in the form that chunk.c describes; valid
 * until the next call. STELE_OK, STELE_END, STELE_E_CORRUPT (this store is damaged there: nothing more
 * comes, ask another), STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_export_next(struct stele_export *export, size_t size, struct stele_bytes *out_chunk,
                      struct stele_error *err);

/* What is equal in all stores of a cluster, of a range of positions: for comparing them. */
struct stele_export_sum {
    uint64_t events;
    uint64_t hash;    /* Over stamps and records, in order. */
    uint64_t through; /* The range that it is about ends here, inclusively. */
    bool complete;    /* It is all of what was asked for. */
};
/* Sums up what the export would hand out, up to position `through`, of at most events_max events and about
 * bytes_max bytes; *out begins with what it held before, 0. Each is told, if on_event is not NULL: anything
 * but STELE_OK returned ends it with that. Outcomes as stele_export_next(), but for STELE_END. */
STELE_MUST_USE
int stele_export_sum(struct stele_export *export, uint64_t through, uint64_t events_max,
                     uint64_t bytes_max,
                     int (*on_event)(void *context, const struct stele_event *event, uint64_t hash),
                     void *context, struct stele_export_sum *out, struct stele_error *err);

/* Under the lock. Before the first chunk of an export: from here on, over restarts too, commands are
 * refused (STELE_E_UNSUPPORTED) until an export has been copied to its end, because only there the
 * store is in a state that the other one has ever been in. Makes a file. */
STELE_MUST_USE
int stele_replay_begin(struct stele_store *store, struct stele_error *err);
/* Under the lock, when everything is durable; syncs it. complete: the export gave STELE_END, and all of it was
 * appended. */
STELE_MUST_USE
int stele_replay_end(struct stele_store *store, bool complete, struct stele_error *err);
bool stele_store_is_catching_up(const struct stele_store *store);

struct stele_replay;
STELE_MUST_USE
int stele_replay_create(const struct stele_store *store, struct stele_replay **out_replay,
                        struct stele_error *err);
void stele_replay_destroy(struct stele_replay *replay);
/* No lock. Verifies a chunk, any bytes: STELE_OK, STELE_E_CORRUPT, STELE_E_NO_MEMORY. It is borrowed
 * until all of it has been appended. */
STELE_MUST_USE
int stele_replay_decode(struct stele_replay *replay, struct stele_bytes chunk,
                        struct stele_error *err);
/* Adds the bytes of what was decoded to those of each partition, by its stamps. */
void stele_replay_sizes(const struct stele_replay *replay, uint64_t sizes[STELE_PARTITIONS_MAX]);
/* Stages the chunk's next append, whole or not at all. STELE_OK; STELE_END: there is none;
 * STELE_STORE_ROLL, STELE_STORE_INDEX: as stele_store_append(); STELE_E_CORRUPT: it does not continue
 * this store. */
STELE_MUST_USE
int stele_store_replay(struct stele_store *store, struct stele_replay *replay,
                       struct stele_ticket *out_ticket, struct stele_error *err);

/* The driver's side of group commit; see log.h. */
bool stele_store_take(struct stele_store *store, struct stele_log_group *out_group);
void stele_store_done(struct stele_store *store, uint64_t group_id, int outcome);
STELE_MUST_USE
int stele_store_roll(struct stele_store *store, uint64_t size, struct stele_error *err);
bool stele_store_syncs_later(const struct stele_store *store);
bool stele_store_sync_begin(struct stele_store *store, struct stele_log_sync *out_sync);
void stele_store_sync_end(struct stele_store *store, const struct stele_log_sync *sync,
                          int outcome);
uint64_t stele_store_durable(const struct stele_store *store); /* A place. */
bool stele_store_is_fenced(const struct stele_store *store);
bool stele_store_has_staged(const struct stele_store *store);
uint64_t stele_store_staged_size(const struct stele_store *store);
uint32_t stele_store_in_flight(const struct stele_store *store);
/* The last visible position; 0: none. */
uint64_t stele_store_position(const struct stele_store *store);
/* The last position, durable or not. */
uint64_t stele_store_position_staged(const struct stele_store *store);
/* The place behind everything, durable or not. */
uint64_t stele_store_end(const struct stele_store *store);

/* ---- Reading ---- */

/* One read. begin, refill and end under the lock; next without it. */
struct stele_read;

/* stream NULL or "$all": all events. Outcomes as stele_read_stream(); also STELE_STORE_INDEX never:
 * a hole in the index is read around, slowly. wait_for_stream: a stream that does not exist gives
 * an empty read instead of STELE_NO_STREAM (for subscriptions). */
STELE_MUST_USE
int stele_read_begin(struct stele_store *store, const char *stream,
                     const struct stele_read_options *options, bool wait_for_stream, int64_t now_us,
                     struct stele_read **out_read, struct stele_error *err);
void stele_read_end(struct stele_store *store, struct stele_read *read);

/* No lock. STELE_OK, STELE_END, STELE_E_CORRUPT as stele_iterator_next(); STELE_INCOMPLETE: call
 * refill under the lock and try again. A read that ended goes on after a refill when more has
 * become visible. STELE_OK with *out_count 0: a bound of one call's work was reached; ask again. */
STELE_MUST_USE
int stele_read_next(struct stele_read *read, const struct stele_event **out_events,
                    size_t *out_count, struct stele_error *err);
/* Takes a newer look: what has become durable, what memory has. */
STELE_MUST_USE
int stele_read_refill(struct stele_store *store, struct stele_read *read, struct stele_error *err);
/* Everything at or below this position was handed out or filtered away. */
uint64_t stele_read_position(const struct stele_read *read);
/* Events looked at so far, also those that did not match. */
uint64_t stele_read_scanned(const struct stele_read *read);
/* Of the event of that index in the last batch: its place among the events of the name. */
uint64_t stele_read_ordinal(const struct stele_read *read, size_t index);

/* What a read of a stream saw when it began: everything visible up to *out_position, and whether events
 * vanish from it as time goes by ($maxAge). */
void stele_read_look(const struct stele_read *read, uint64_t *out_position, bool *out_expires);

/* ---- Knowing without a read that a stream is as it was ----
 *
 * Under the lock: begins to note where streams change; does nothing the second time. Not for a store
 * that is open for reading only. STELE_OK, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_store_watch(struct stele_store *store, struct stele_error *err);
/* No lock, once watch has answered. Nothing was appended to the stream, nor to its metadata, behind
 * these positions since watching began; staged is appended. Perhaps not there either. */
void stele_store_changed(const struct stele_store *store, const char *stream, uint64_t *out_stream,
                         uint64_t *out_metadata);

/* ---- Streams ---- */
STELE_MUST_USE
int stele_store_stream_info(struct stele_store *store, const char *stream, int64_t now_us,
                            struct stele_stream_info *out_info, struct stele_error *err);
/* Copies the newest metadata of a stream: *out_json is released by the caller with alloc. */
STELE_MUST_USE
int stele_store_metadata(struct stele_store *store, const char *stream, struct stele_buf *out_json,
                         uint64_t *out_revision, struct stele_error *err);
/* Checks a metadata object as stele_set_metadata() does. No lock. */
STELE_MUST_USE
int stele_metadata_check(const char *json, size_t size, struct stele_error *err);
/* The metadata object that soft-deletes the stream: its present one with "$tb" past the last. */
STELE_MUST_USE
int stele_store_delete_metadata(struct stele_store *store, const char *stream, uint64_t expected,
                                struct stele_buf *out_json, uint64_t *out_expected,
                                struct stele_append_result *out_result, struct stele_error *err);

/* Listing: begin and end under the lock, next without. */
struct stele_list;
STELE_MUST_USE
int stele_list_begin(struct stele_store *store, int what, const char *prefix, const char *after,
                     int64_t now_us, struct stele_list **out_list, struct stele_error *err);
STELE_MUST_USE
int stele_list_next(struct stele_list *list, struct stele_text *out_name, uint64_t *out_count,
                    struct stele_error *err);
void stele_list_end(struct stele_store *store, struct stele_list *list);

void stele_store_stats(struct stele_store *store, struct stele_stats *out_stats);

/* ---- Background work ---- */

/* One piece of work: begin (lock) decides what is most needed; run (no lock) does it; end (lock)
 * installs it. STELE_NOT_FOUND from begin: nothing to do now. closing: write what makes the next
 * opening fast, regardless of thresholds. */
struct stele_work;
#define STELE_WORK_SPARE 1
#define STELE_WORK_FLUSH 2
#define STELE_WORK_MERGE 3
#define STELE_WORK_FILL 4
#define STELE_WORK_PACK 5
#define STELE_WORK_SCRUB 6
#define STELE_WORK_MARK 7
STELE_MUST_USE
int stele_work_begin(struct stele_store *store, int64_t now_us, bool closing,
                     struct stele_work **out_work, struct stele_error *err);
int stele_work_kind(const struct stele_work *work);
STELE_MUST_USE
int stele_work_run(struct stele_work *work, struct stele_error *err);
STELE_MUST_USE
int stele_work_end(struct stele_store *store, struct stele_work *work, int outcome,
                   struct stele_error *err);

/* Scavenging, one segment at a time: begin (lock) with the base to start from (0 first); run (no
 * lock); end (lock) tells the next base. STELE_NOT_FOUND from begin: all segments were seen. */
STELE_MUST_USE
int stele_scavenge_begin(struct stele_store *store, uint64_t base, bool compress, int64_t now_us,
                         int (*on_bytes)(void *context, uint64_t bytes), void *context,
                         struct stele_work **out_work, struct stele_error *err);
STELE_MUST_USE
int stele_scavenge_end(struct stele_store *store, struct stele_work *work, int outcome,
                       uint64_t *out_next_base, struct stele_log_pack_result *out_result,
                       struct stele_error *err);

/* ---- Verifying: begin and end under the lock, step without ---- */
struct stele_verify;
STELE_MUST_USE
int stele_verify_begin(struct stele_store *store, const char *against,
                       stele_damage_callback on_damage, void *context, bool digest_only,
                       struct stele_verify **out_verify, struct stele_error *err);
/* STELE_OK: more to do; STELE_END: done, *out_result is set. */
STELE_MUST_USE
int stele_verify_step(struct stele_verify *verify, uint64_t *out_done, uint64_t *out_total,
                      struct stele_verify_result *out_result, struct stele_error *err);
void stele_verify_end(struct stele_store *store, struct stele_verify *verify);

/* ---- Read-only beside a writer ---- */
STELE_MUST_USE
int stele_store_follow(struct stele_store *store, uint64_t live_end, struct stele_error *err);

/* Damage found since opening; reads report through stele_read_end and refill. */
int stele_store_damages(struct stele_store *store, stele_damage_callback on_damage, void *context);

/* Debug and simulator builds: asserts every invariant that can be seen in memory. */
void stele_store_check(struct stele_store *store);

#endif
