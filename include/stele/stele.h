/* Stele: an event store in your process.
 *
 * A store is a directory. Applications append immutable events to streams, read them back, follow
 * them live. One process writes; any number read. Every function may be called from any thread
 * unless it says otherwise.
 *
 * Read these first:
 *  - STELE_OK from an append means that the events are on stable storage.
 *  - STELE_E_UNKNOWN means that nobody knows; send the same append (same event ids) again, and it
 *    is stored exactly once.
 *  - A handle does not survive fork(): the child gets STELE_E_FORKED and opens its own.
 *  - Structs with a struct_size field must be initialised with their _INIT macro: it is how later
 *    versions of the library know what the caller was compiled with.
 *
 * Example: examples/hello.c */
#ifndef STELE_STELE_H
#define STELE_STELE_H

#include <stele/outcome.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STELE_VERSION_MAJOR 0
#define STELE_VERSION_MINOR 1
#define STELE_VERSION_PATCH 0

/* The version of the library in use, "0.1.0". It may differ from the macros above. */
STELE_API const char *stele_version(void);

/* ---- Limits ----------------------------------------------------------------------------- */

#define STELE_STREAM_NAME_SIZE_MAX 1024             /* bytes of UTF-8 */
#define STELE_TYPE_SIZE_MAX 255                     /* bytes of UTF-8 */
#define STELE_TAG_SIZE_MAX 255                      /* bytes of UTF-8 */
#define STELE_TAGS_MAX 32                           /* tags of one event */
#define STELE_CONTENT_TYPE_SIZE_MAX 255             /* bytes of UTF-8 */
#define STELE_EVENT_SIZE_MAX (16u * 1024u * 1024u)  /* data + metadata of one event, default */
#define STELE_APPEND_EVENTS_MAX 65536u              /* events of one append */
#define STELE_APPEND_SIZE_MAX (64u * 1024u * 1024u) /* bytes of one append, everything counted */
#define STELE_APPEND_STREAMS_MAX 1024u              /* streams of one append */
#define STELE_CONDITIONS_MAX 64u                    /* conditions of one append */

/* ---- Revisions and positions ------------------------------------------------------------- */

/* Expected revisions of an append. Every other value is an exact revision: that of the last event
 * of the stream, counted from 0. */
#define STELE_EXPECT_ANY UINT64_MAX             /* No check. */
#define STELE_EXPECT_NO_STREAM (UINT64_MAX - 1) /* The stream has no events, or was deleted. */
#define STELE_EXPECT_EXISTS (UINT64_MAX - 2)    /* The stream has at least one event. */
#define STELE_REVISION_MAX (UINT64_MAX - 16)

/* Where a read starts. */
#define STELE_FROM_START 0
#define STELE_FROM_END UINT64_MAX

/* A position is a place in the order of all events of the store: 41 bits of milliseconds since
 * 2020-01-01T00:00:00Z, 12 bits of counter, 10 bits of partition. Positions grow, with gaps. A
 * position is also a time, so "as of 15:00" is a position. */
#define STELE_POSITION_MAX ((uint64_t)INT64_MAX)

/* The greatest position that belongs to a time, in microseconds since 1970-01-01T00:00:00Z; times
 * before 2020 give 0. "As of this time" includes every event up to that position. */
STELE_API uint64_t stele_position_at(int64_t time_us);

/* The time in a position, in microseconds since 1970 (a multiple of 1000). */
STELE_API int64_t stele_position_time(uint64_t position);

/* ---- Opening ----------------------------------------------------------------------------- */

struct stele; /* An open store. */

/* What decides the partition of a stream, fixed when the store is created. */
#define STELE_KEY_STREAM 0   /* The stream's name, or what stands between { and } in it. */
#define STELE_KEY_CATEGORY 1 /* The stream's category. */

struct stele_options {
    size_t struct_size;
    int create;                /* 1: create the store if the path has none (default). */
    int read_only;             /* 1: never write; works beside a writing process. */
    uint32_t partitions;       /* Of a new store: 1 .. 1024, default 128. */
    uint32_t partition_key;    /* Of a new store: STELE_KEY_STREAM or STELE_KEY_CATEGORY. */
    uint64_t segment_size_max; /* Bytes of a log segment, default 64 MiB, at least 64 KiB. The
                                  * first segments of a store are smaller and double up to it. */
    uint64_t index_memory;     /* Bytes of events after which the index in memory is written to
                                  * disk, default 48 MiB. Bounds memory and the time to open. */
    uint32_t event_size_max;   /* Data + metadata of one event, default 16 MiB, which is also
                                  * the most. */
    uint32_t async_queue_max;  /* Asynchronous appends under way before stele_append_async()
                                  * answers STELE_E_OVERLOADED, default 65536. */
    int compress;              /* 1: sealed segments are compressed with zstd. Default 0. */
    uint32_t scrub_days;       /* Every byte of the log is checked once in so many days while the
                                  * store is open (for hours a day: in several times as many); 0
                                  * turns the background scrub off. Default 7. */
};
#define STELE_OPTIONS_INIT                                                                         \
    {                                                                                              \
        sizeof(struct stele_options), 1, 0, 128, STELE_KEY_STREAM, 64u * 1024u * 1024u,            \
            48u * 1024u * 1024u, STELE_EVENT_SIZE_MAX, 65536u, 0, 7u                               \
    }

/* Opens the store in the directory path. options may be NULL for the defaults.
 *
 * STELE_OK            *out_store is set; release it with stele_close().
 * STELE_E_LOCKED      Another process has it open for writing; the message has its pid and host.
 * STELE_E_NOT_A_STORE The directory is something else, or does not exist and create is 0.
 * STELE_E_FORMAT      A newer version wrote it.
 * STELE_E_CORRUPT     Something that was acknowledged is damaged and cannot be worked around; the
 *                     message has file and offset. `stele verify` tells more.
 * STELE_E_INVALID, _IO, _NO_SPACE, _NO_MEMORY, _PERMISSION, _READ_ONLY */
STELE_API int stele_open(const char *path, const struct stele_options *options,
                         struct stele **out_store, struct stele_error *err);

/* Waits for what is under way, makes the next opening fast, releases everything. NULL is fine.
 * Iterators and subscriptions of the store must have been destroyed. Returns STELE_OK, or the
 * error that a last write ended with (nothing acknowledged is lost by it). */
STELE_API int stele_close(struct stele *store);

/* ---- Events ------------------------------------------------------------------------------ */

/* Bytes that are not terminated by a zero. */
struct stele_text {
    const char *data;
    size_t size;
};

/* An event to append. Everything is borrowed until the call returns, also by asynchronous calls,
 * which copy. */
struct stele_event_draft {
    uint8_t id[16];   /* Makes retrying safe. All zeros: the library makes one, and then a
                               * retry is a new event. */
    const char *type; /* What happened: "OrderPlaced". Not empty. */
    const void *data; /* The payload, may be NULL when data_size is 0. */
    size_t data_size;
    const void *metadata; /* About the event: who, why, correlation. May be NULL. */
    size_t metadata_size;
    const char *content_type; /* Of data; NULL for "application/json". */
    const char *const *tags;  /* Names that conditions and filters can ask for; may be NULL. */
    size_t tags_count;
    int64_t created_us; /* Microseconds since 1970 when it happened, for imports; 0: now. */
};

/* A stored event. Everything is borrowed from whoever handed it out. */
struct stele_event {
    uint64_t position;
    uint64_t revision;
    uint8_t id[16];
    int64_t created_us; /* Microseconds since 1970. */
    struct stele_text stream;
    struct stele_text type;
    struct stele_text content_type;
    const void *data;
    size_t data_size;
    const void *metadata;
    size_t metadata_size;
    const uint8_t
        *tags; /* tags_count times: one byte of size, then the tag. See stele_event_tag. */
    uint32_t tags_count;
    uint32_t flags; /* STELE_EVENT_… */
};
#define STELE_EVENT_JSON 1u      /* The content type is application/json. */
#define STELE_EVENT_TOMBSTONE 2u /* Closes its stream. */
#define STELE_EVENT_SHREDDED                                                                       \
    4u /* Data was lost with its key: null stands for it; <stele/keys.h>. */

/* The tag number index (from 0) of an event; size 0 and data NULL past the last. */
STELE_API struct stele_text stele_event_tag(const struct stele_event *event, uint32_t index);

/* ---- Appending --------------------------------------------------------------------------- */

/* What one append does to one stream. count may be 0: then the stream is only checked. */
struct stele_append {
    const char *stream;
    uint64_t expected; /* STELE_EXPECT_… or an exact revision. */
    const struct stele_event_draft *events;
    size_t count;
};

/* One alternative of a query: an event matches if its type is one of types (or types_count is 0)
 * and it has all of the tags. Both empty matches every event. */
struct stele_query_item {
    const char *const *types;
    size_t types_count;
    const char *const *tags;
    size_t tags_count;
};

/* "Fail if an event that matches one of the items exists after this position." The position is
 * normally the last one the caller had seen when it decided; 0 asks about all history. (Dynamic
 * consistency boundaries, dcb.events.) */
struct stele_condition {
    const struct stele_query_item *items;
    size_t items_count;
    uint64_t after;
};

#define STELE_TOKEN_SIZE 64

struct stele_append_result {
    uint64_t position_first; /* The lowest and the highest position of its events. Those of one */
    uint64_t position_last;  /* partition stand together, in order of the request. */
    uint64_t revision_first; /* Of the first stream of the request that has events. */
    uint64_t revision_last;  /* Of the same. On STELE_WRONG_REVISION: the revision that stream
                              * `failed` is really at, or STELE_EXPECT_NO_STREAM. */
    size_t failed;           /* On STELE_WRONG_REVISION, STELE_STREAM_DELETED: which stream of
                              * the request; on STELE_CONDITION_FAILED: which condition. */
    uint64_t conflict_position; /* On STELE_CONDITION_FAILED: of an event that matched. */
    int idempotent;             /* 1: these ids were stored before; this is that append's result. */
    char token[STELE_TOKEN_SIZE]; /* Causal token: reads that are given it see these events. */
};

/* Appends count events (at least 1) to one stream: all of them, or none.
 *
 * STELE_OK, STELE_WRONG_REVISION, STELE_STREAM_DELETED, STELE_E_ID_CONFLICT, STELE_E_INVALID,
 * STELE_E_LIMIT, STELE_E_NO_SPACE, STELE_E_FENCED, STELE_E_UNKNOWN, STELE_E_READ_ONLY, …
 * *out_result may be NULL; it is written on STELE_OK and where its fields say so. */
STELE_API int stele_append(struct stele *store, const char *stream, uint64_t expected,
                           const struct stele_event_draft *events, size_t count,
                           struct stele_append_result *out_result, struct stele_error *err);

/* Appends to several streams, all or none, if every expectation and condition holds. A stream may
 * be named once. revisions_last, if not NULL, has room for streams_count revisions and gets the
 * last revision of each stream (STELE_EXPECT_NO_STREAM for an empty one). */
STELE_API int stele_append_many(struct stele *store, const struct stele_append *streams,
                                size_t streams_count, const struct stele_condition *conditions,
                                size_t conditions_count, uint64_t *revisions_last,
                                struct stele_append_result *out_result, struct stele_error *err);

/* Called once for an asynchronous append, on a thread of the library, in the order of completion.
 * result is valid during the call. The callback must not block and must not close the store; it
 * may start further appends. */
typedef void (*stele_append_callback)(void *context, int outcome,
                                      const struct stele_append_result *result);

/* Starts stele_append_many() and returns. STELE_OK: callback will be called exactly once, perhaps
 * before this returns. Anything else: it never will. Appends from one thread are taken up in the
 * order of the calls. STELE_E_OVERLOADED: async_queue_max appends are under way. */
STELE_API int stele_append_async(struct stele *store, const struct stele_append *streams,
                                 size_t streams_count, const struct stele_condition *conditions,
                                 size_t conditions_count, stele_append_callback callback,
                                 void *context, struct stele_error *err);

/* ---- Reading ----------------------------------------------------------------------------- */

/* Which events of $all, of a category or of a stream to hand out. Within one field any value
 * matches; across fields all that are set must. Zero-initialise it. */
struct stele_filter {
    const char *const *types; /* Exact types. */
    size_t types_count;
    const char *const *type_prefixes;
    size_t type_prefixes_count;
    const char *type_regex;     /* PCRE2, found anywhere in the type. */
    const char *const *streams; /* Exact stream names. */
    size_t streams_count;
    const char *const *stream_prefixes;
    size_t stream_prefixes_count;
    const char *stream_regex;
    const char *const *categories; /* "account" for "account-1". */
    size_t categories_count;
    const char *const *tags; /* All of them, unlike the other fields. */
    size_t tags_count;
    int exclude_system; /* 1: no types and streams that begin with "$". */
};

struct stele_read_options {
    size_t struct_size;
    uint64_t from;  /* A revision (stream) or a position ($all, category …): the first one
                           * handed out is at or after it; backwards, at or before it. */
    uint64_t limit; /* Most events handed out; 0 for no limit. */
    int backwards;
    uint64_t as_of;                    /* Nothing after this position; 0 for no bound. */
    const struct stele_filter *filter; /* Copied. NULL: everything. */
    const char *token; /* A causal token; the read sees at least what it stands for. */
    int ignore_limits; /* 1: also events that $maxAge, $maxCount, truncate-before or a soft
                           * delete hide, as far as they are not scavenged yet. */
    int by_ordinal;    /* 1: from counts the events of a "$ce-…" or "$et-…" from 0, not
                        * positions; see stele_iterator_ordinal(). */
    uint64_t scan_max; /* Most events that one stele_iterator_next() looks at: when so many did not
                        * match the filter it answers STELE_OK with no events. 0: goes on until
                        * there is one, or the end. A remote store does not bound it. */
};
#define STELE_READ_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(struct stele_read_options), 0, 0, 0, 0, NULL, NULL, 0, 0, 0                         \
    }

struct stele_iterator;

/* Starts reading a stream. "$ce-NAME" and "$et-TYPE" read a category and an event type: the
 * original events, in the order of the store, with from and limit counting in positions.
 *
 * STELE_OK              *out_iterator is set, also when there is nothing to hand out.
 * STELE_NO_STREAM       Never written, or deleted.
 * STELE_STREAM_DELETED  Tombstoned. */
STELE_API int stele_read_stream(struct stele *store, const char *stream,
                                const struct stele_read_options *options,
                                struct stele_iterator **out_iterator, struct stele_error *err);

/* Starts reading all events of the store, in the order of positions. */
STELE_API int stele_read_all(struct stele *store, const struct stele_read_options *options,
                             struct stele_iterator **out_iterator, struct stele_error *err);

/* Hands out the next events: at least one (but see scan_max) and as many as are at hand. They are
 * borrowed until the next call on this iterator, which one thread at a time may use.
 *
 * STELE_OK         *out_events, *out_count are set.
 * STELE_END        Nothing more now. A forward iterator may be asked again after further appends.
 * STELE_E_CORRUPT  The next event is damaged; err has file and offset. The next call goes on
 *                  behind the damage, so that the rest can be saved. */
STELE_API int stele_iterator_next(struct stele_iterator *iterator,
                                  const struct stele_event **out_events, size_t *out_count,
                                  struct stele_error *err);

/* The position up to which everything has been handed out or filtered away. A read of $all that
 * starts after it continues without skip and repeat. */
STELE_API uint64_t stele_iterator_position(const struct stele_iterator *iterator);

/* Events looked at so far, whether they were handed out or filtered away. */
STELE_API uint64_t stele_iterator_scanned(const struct stele_iterator *iterator);

/* Of the event of this index (from 0) in the last batch: its revision, or with by_ordinal its place
 * among the events of the category or type, counted from 0. Scavenging makes gaps; an index that
 * had to be built again afterwards counts only what was left. */
STELE_API uint64_t stele_iterator_ordinal(const struct stele_iterator *iterator, size_t index);

/* NULL is fine. */
STELE_API void stele_iterator_destroy(struct stele_iterator *iterator);

/* The last visible event's position; 0 for an empty store. Reads see at least everything up to it. */
STELE_API uint64_t stele_last_position(struct stele *store);

/* Waits until the store has an event after this position, at most timeout_ms (-1: for ever).
 * STELE_OK, STELE_TIMED_OUT, STELE_E_CLOSED. */
STELE_API int stele_wait(struct stele *store, uint64_t after, int timeout_ms,
                         struct stele_error *err);

/* Calls callback after something has become visible (see stele_wait), on the thread that made it so;
 * several appends may be told of as one. It must neither block nor call the library. One callback a
 * store; NULL takes it back, and when that returns it is not running. A store that another process
 * writes tells nothing: use stele_wait(). */
typedef void (*stele_visible_callback)(void *context);
STELE_API void stele_on_visible(struct stele *store, stele_visible_callback callback,
                                void *context);

/* The position in a causal token. STELE_E_INVALID if it is none. */
STELE_API int stele_token_position(const char *token, uint64_t *out_position);

/* ---- Following --------------------------------------------------------------------------- */

struct stele_subscription;

/* Called on the subscription's own thread for every run of events, in order, none skipped and
 * none twice. count 0 says: caught up with the end, or (filtered) that everything up to
 * checkpoint has been looked at. Anything but 0 returned ends the subscription. */
typedef int (*stele_event_callback)(void *context, const struct stele_event *events, size_t count,
                                    uint64_t checkpoint);
/* Called once, last, unless the subscription was stopped by stele_unsubscribe(). */
typedef void (*stele_end_callback)(void *context, int outcome, const struct stele_error *err);

/* Follows a stream (also "$ce-…", "$et-…"), or all events when stream is NULL or "$all": first
 * what there is, then what comes. options->from is where to begin, STELE_FROM_END for only what
 * comes; limit and backwards are not allowed. A stream that does not exist yet is waited for. */
STELE_API int stele_subscribe(struct stele *store, const char *stream,
                              const struct stele_read_options *options,
                              stele_event_callback on_events, stele_end_callback on_end,
                              void *context, struct stele_subscription **out_subscription,
                              struct stele_error *err);

/* Stops and releases it. Returns when no callback is running nor will run. Must not be called from
 * its callbacks. NULL is fine. */
STELE_API void stele_unsubscribe(struct stele_subscription *subscription);

/* ---- Streams ----------------------------------------------------------------------------- */

struct stele_stream_info {
    uint64_t revision_first; /* Of the oldest event that a read hands out. */
    uint64_t revision_last;
    uint64_t position_last;
    uint32_t partition;
    int deleted;    /* 1: soft-deleted; appending to it brings it back. */
    int tombstoned; /* 1: closed for ever. */
};

/* STELE_OK, STELE_NO_STREAM (never written). */
STELE_API int stele_stream_info(struct stele *store, const char *stream,
                                struct stele_stream_info *out_info, struct stele_error *err);

/* What can be listed. */
#define STELE_LIST_STREAMS 0
#define STELE_LIST_CATEGORIES 1
#define STELE_LIST_TYPES 2
#define STELE_LIST_TAGS 3

/* Called for each name in byte order; count is its number of events ever appended. Anything but 0
 * returned ends the listing. */
typedef int (*stele_name_callback)(void *context, struct stele_text name, uint64_t count);

/* Lists names with the prefix ("" for all) that come after the name after (NULL: from the first),
 * at most limit (0: all). Tombstoned streams are left out, soft-deleted ones are not. Counts may
 * include events that are being written at this moment. */
STELE_API int stele_list(struct stele *store, int what, const char *prefix, const char *after,
                         uint64_t limit, stele_name_callback on_name, void *context,
                         struct stele_error *err);

/* Metadata of a stream: a JSON object, kept as events of the stream "$$" + name. These members
 * mean something to the store: "$maxAge" (seconds), "$maxCount", "$tb" (truncate before this
 * revision), "$cacheControl" (seconds), "$acl". expected is the revision of the metadata.
 * STELE_E_INVALID names the member that is not right. */
STELE_API int stele_set_metadata(struct stele *store, const char *stream, uint64_t expected,
                                 const char *json, size_t json_size,
                                 struct stele_append_result *out_result, struct stele_error *err);

/* Copies the metadata into buffer (as much as fits, no terminator); *out_size is its full size.
 * STELE_NOT_FOUND: it has none. */
STELE_API int stele_get_metadata(struct stele *store, const char *stream, char *buffer,
                                 size_t buffer_size, size_t *out_size, uint64_t *out_revision,
                                 struct stele_error *err);

/* Soft delete: the events are hidden and reclaimed by the next scavenging; appending brings the
 * stream back, its revisions going on where they were. */
STELE_API int stele_delete(struct stele *store, const char *stream, uint64_t expected,
                           struct stele_append_result *out_result, struct stele_error *err);

/* Tombstone: as above, and nothing can ever be appended again. */
STELE_API int stele_tombstone(struct stele *store, const char *stream, uint64_t expected,
                              struct stele_append_result *out_result, struct stele_error *err);

/* ---- Looking after a store --------------------------------------------------------------- */

struct stele_stats {
    uint8_t store_id[16];
    uint64_t events; /* Ever appended. */
    uint64_t position_last;
    uint64_t log_size;   /* Bytes of log in use, counted before reclaiming. */
    uint64_t disk_size;  /* Bytes of all files. */
    uint64_t index_size; /* Bytes of index runs. */
    uint32_t segments;
    uint32_t index_runs;
    uint64_t index_behind; /* Bytes of log that no index covers yet (being rebuilt). */
    uint64_t memory;       /* Bytes allocated by the store. */
    uint32_t partitions;
    int fenced;       /* 1: a write failed; reopen. */
    uint64_t damage;  /* Places of damage found by reads and scrub since opening. */
    uint64_t streams; /* Streams ever written. */
};
STELE_API int stele_stats(struct stele *store, struct stele_stats *out_stats,
                          struct stele_error *err);

/* Progress of long work: done of total, in bytes. Anything but 0 returned stops the work, which
 * can be taken up again. */
typedef int (*stele_progress_callback)(void *context, uint64_t done, uint64_t total);

struct stele_scavenge_options {
    size_t struct_size;
    uint64_t bytes_per_second; /* Throttle; 0: none. */
    stele_progress_callback on_progress;
    void *context;
};
#define STELE_SCAVENGE_OPTIONS_INIT                                                                \
    {                                                                                              \
        sizeof(struct stele_scavenge_options), 0, NULL, NULL                                       \
    }

struct stele_scavenge_result {
    uint64_t segments; /* Looked at. */
    uint64_t segments_rewritten;
    uint64_t events_removed;
    uint64_t bytes_before; /* Of the files that were rewritten. */
    uint64_t bytes_after;
};

/* Reclaims the space of events that deletes, tombstones and metadata hide. Online; segment by
 * segment; a run that is stopped or killed goes on where it was. Positions and revisions of what
 * stays do not change. Sealed segments only. */
STELE_API int stele_scavenge(struct stele *store, const struct stele_scavenge_options *options,
                             struct stele_scavenge_result *out_result, struct stele_error *err);

/* One thing that verify found. */
struct stele_damage {
    const char *file;  /* Name inside the store. */
    uint64_t offset;   /* In that file. */
    uint64_t position; /* Of the event, 0 if unknown. */
    const char *what;  /* In words. */
};
typedef void (*stele_damage_callback)(void *context, const struct stele_damage *damage);

#define STELE_DIGEST_SIZE 160 /* Text with its terminating zero. */

struct stele_verify_options {
    size_t struct_size;
    const char *against; /* A digest that stele_digest() gave earlier, or NULL. */
    stele_damage_callback on_damage;
    stele_progress_callback on_progress;
    void *context;
};
#define STELE_VERIFY_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(struct stele_verify_options), NULL, NULL, NULL, NULL                                \
    }

struct stele_verify_result {
    uint64_t frames, events, bytes;
    uint64_t index_entries;
    uint64_t damages;
    char digest[STELE_DIGEST_SIZE]; /* Of the whole history as it was found. */
};

/* Reads everything: checksums, order of positions, revisions dense from 0, index against log, and
 * the hash chain against a digest. STELE_OK: all is well. STELE_E_CORRUPT: on_damage was told. */
STELE_API int stele_verify(struct stele *store, const struct stele_verify_options *options,
                           struct stele_verify_result *out_result, struct stele_error *err);

/* The digest of all history up to now: "stele1:<log place>:<position>:<SHA-256>". Keep it
 * elsewhere; stele_verify() against it proves that nothing before it was changed since. */
STELE_API int stele_digest(struct stele *store, char digest[STELE_DIGEST_SIZE],
                           struct stele_error *err);

/* Damage that background scrub and reads have found since opening, newest first; at most 64 are
 * kept. */
STELE_API int stele_damages(struct stele *store, stele_damage_callback on_damage, void *context);

/* ---- Small helpers ----------------------------------------------------------------------- */

/* A new random id: UUID version 7, RFC 9562 section 5.7. */
STELE_API void stele_new_id(uint8_t id[16]);
/* 36 characters and a zero. */
STELE_API void stele_id_to_text(const uint8_t id[16], char text[37]);
/* STELE_E_INVALID unless text is 36 characters in the form of RFC 9562 section 4. */
STELE_API int stele_id_from_text(const char *text, uint8_t id[16]);

#ifdef __cplusplus
}
#endif

#endif
