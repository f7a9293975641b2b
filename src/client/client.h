/* libstele's runtime, shared by the files of src/client: threads, locks, the public calls.
 *
 * One mutex, `lock`, guards the core (src/store). Long work happens outside of it: encoding a
 * request, writing and syncing a group, reading, background work.
 *
 * Group commit without a dedicated thread: whoever stages and finds nothing in flight commits what
 * is staged (so a lone append costs no wake-up); whoever finds a commit in flight sleeps until its
 * group is durable, or until it is told to commit the next group. Asynchronous appends are
 * committed by two writer threads, which are started with the first of them. */
#ifndef STELE_CLIENT_CLIENT_H
#define STELE_CLIENT_CLIENT_H

#include "base/position.h"
#include "io/linux.h"
#include "store/store.h"

#include <stele/stele.h>

#include <pthread.h>
#include <stdatomic.h>

#define SLOTS 16 /* Groups that may have sleepers at once; more than can be in flight. */
#define WRITERS 2
#define WORKERS 2
#define POOL_MAX 128

/* Where the appends of one group sleep. word: number of the last finished group of this slot, times
 * two, plus one if a sleeper is asked to commit the next group. Slots are reused; numbers grow.
 * others: the first of the sleepers who sees that the group has ended is to wake the others. Whoever
 * ends a group holds the lock, and wakes only one of what may be dozens. */
struct slot {
    _Atomic uint32_t word;
    _Atomic bool others;
    uint32_t sleepers; /* Under the lock. */
};

/* An asynchronous append that waits for a place to become durable. */
struct completion {
    stele_append_callback callback;
    void *context;
    uint64_t place;
    int outcome;
    struct stele_error *words; /* Where the caller wants to find them, or NULL. */
    struct stele_append_result result;
};

/* What a writing process tells those who read the same store, in the shared file "live". */
struct live {
    _Atomic uint64_t durable; /* 0: not open yet. */
};

struct far;
struct sealer;

struct stele {
    struct stele_alloc *alloc;
    struct sealer *sealer; /* It uses a keyring: see client/keyring.h. */
    struct far *far; /* The store is another process': see client/remote.h. Most of what follows is
                      * not used then. */
    struct stele_io *io;
    struct stele_store *core;
    struct stele_options options;
    bool read_only;
    bool ordered;   /* Opened by a node of a cluster. */
    bool syncing;   /* stele_client_sync() is. */
    unsigned forks; /* The process' count of forks when it was opened. */
    struct live *live;
    int64_t live_tried_at_us;
    uint64_t live_first; /* What it said before the store was opened for reading. */

    pthread_mutex_t lock;
    pthread_cond_t visible; /* Something became durable, or the store is closing or fenced. */
    uint32_t visible_waiters;
    stele_visible_callback on_visible; /* Called without the lock. */
    void *on_visible_context;
    uint32_t visible_calls; /* Calls of it that are running. */
    bool closing;

    /* Commits. */
    struct slot slots[SLOTS];
    uint32_t taken;            /* Groups taken so far: the next one is taken + 1. */
    uint32_t woken;            /* Groups whose sleepers were let go. */
    uint64_t group_end[SLOTS]; /* Where the groups between them end. */
    uint64_t taken_end;        /* Nothing at or above it was ever handed to the disk. */
    _Atomic bool fenced;
    pthread_cond_t drained; /* A group has ended, or a roll. */
    bool rolling;

    /* Asynchronous appends: a ring. */
    struct completion *ring;
    size_t ring_capacity, ring_first, ring_count, ring_reserved;
    bool delivering;
    pthread_cond_t staged; /* For the writers. */
    uint32_t writers_idle;
    pthread_t writers[WRITERS];
    uint32_t writers_started;

    /* Background work. */
    pthread_cond_t work;
    pthread_t workers[WORKERS];
    uint32_t workers_started;
    uint64_t work_signalled_at; /* A place. */
    uint64_t fills;             /* Pieces of the index that were rebuilt. */
    pthread_cond_t filled;
    bool scavenging;
    struct stele_error work_error; /* Of the last background failure. */

    pthread_mutex_t pool_lock;
    struct stele_prepared *pool[POOL_MAX];
    uint32_t pool_count;
};

int64_t stele_client__now_us(const struct stele *store);

/* STELE_OK, or STELE_E_FORKED. */
int stele_client__enter(const struct stele *store, struct stele_error *err);

/* Under the lock. Writes and syncs what is staged as one group; the lock is released meanwhile.
 * false: nothing staged, too much in flight, or fenced. */
bool stele_client__commit(struct stele *store);

/* Under the lock. Sees to it that what is staged is committed by somebody. */
void stele_client__hand_over(struct stele *store);

/* Called under the lock, returns without it. Sleeps until the log is durable up to place, or helps
 * to make it so: STELE_OK; STELE_E_UNKNOWN if the log is fenced before; STELE_E_FENCED if it is and
 * nothing from this place on was given to the disk. */
int stele_client__wait_durable(struct stele *store, uint64_t place, struct stele_error *err);

/* Under the lock. The two reasons why the core asks to try again. */
int stele_client__roll(struct stele *store, uint64_t size, struct stele_error *err);
int stele_client__wait_index(struct stele *store, struct stele_error *err);

/* Under the lock. Calls what is due; the lock is released during the calls. false: nothing was. */
bool stele_client__deliver(struct stele *store);
/* Under the lock. Is it worth a writer's while to take what is staged now? If not, whoever ends the
 * commit that is in flight does. */
bool stele_client__writer_may_take(const struct stele *store);
int stele_client__start_writers(struct stele *store, struct stele_error *err);
void stele_client__stop_writers(struct stele *store);

int stele_client__start_workers(struct stele *store, struct stele_error *err);
void stele_client__stop_workers(struct stele *store);
void stele_client__destroy_pool(struct stele *store);

/* Under the lock, read-only beside a writer: takes up what it has made durable. */
int stele_client__follow(struct stele *store, struct stele_error *err);

/* A prepared request in use; release gives it back to the pool. */
int stele_client__prepared_acquire(struct stele *store, struct stele_prepared **out_prepared,
                                   struct stele_error *err);
void stele_client__prepared_release(struct stele *store, struct stele_prepared *prepared);

/* Decides, stages and waits: what every synchronous append comes down to. */
int stele_client__append(struct stele *store, struct stele_prepared *prepared,
                         uint64_t *revisions_last, struct stele_append_result *out_result,
                         struct stele_error *err);

/* As stele_append_many(), stele_append_async() and stele_read_…(), whatever keyring the store uses. */
int stele_client__append_plain(struct stele *store, const struct stele_append *streams,
                               size_t streams_count, const struct stele_condition *conditions,
                               size_t conditions_count, uint64_t *revisions_last,
                               struct stele_append_result *out_result, struct stele_error *err);
int stele_client__append_plain_async(struct stele *store, const struct stele_append *streams,
                                     size_t streams_count, const struct stele_condition *conditions,
                                     size_t conditions_count, stele_append_callback callback,
                                     void *context, struct stele_error *err);
int stele_client__read_plain(struct stele *store, const char *stream,
                             const struct stele_read_options *options,
                             struct stele_iterator **out_iterator, struct stele_error *err);

/* Under the lock. Room for one more completion: taken by stele_client__complete(), or given back. */
int stele_client__reserve(struct stele *store, struct stele_error *err);
void stele_client__unreserve(struct stele *store);
/* Under the lock. What was decided is told once the log is durable up to its place, after all that
 * were decided before. */
void stele_client__complete(struct stele *store, const struct completion *completion);

/* As stele_append_async(), for servers: revisions_last (room for one each stream, or NULL) and the
 * words of an error (or NULL) are written before the callback is called; both must last till then.
 * Nobody is told to commit it: stele_client_flush() must follow, once for any number of appends. */
int stele_client_append_stage(struct stele *store, const struct stele_append *streams,
                              size_t streams_count, const struct stele_condition *conditions,
                              size_t conditions_count, uint64_t *revisions_last,
                              struct stele_error *words, stele_append_callback callback,
                              void *context, struct stele_error *err);

/* Sees to it that what was staged is committed. alone: what one thread has staged is all there is to
 * do, so if nothing else is under way it is committed by this thread (and its callback called from
 * here), because waking a writer takes half as long as a sync. */
void stele_client_flush(struct stele *store, bool alone);

/* ---- For those who keep what they have read of streams ---- */

/* Begins to note where streams change. STELE_E_UNSUPPORTED: it cannot be known here, because others
 * append to the store (it is a server's, open for reading, a node's), or what reads hand out is not
 * what was appended (it uses a keyring). */
int stele_client_watch(struct stele *store, struct stele_error *err);
/* The stream as it can be seen is what a read saw that began at the position `seen`, and found the
 * metadata at `limits_seen`, as far as time does not hide events of it. No lock; only after
 * stele_client_watch(). false: perhaps not. */
bool stele_client_is_unchanged(const struct stele *store, const char *stream, uint64_t seen,
                               uint64_t limits_seen);
/* Right after stele_read_stream(): what the read sees at least, and whether time hides events of the
 * stream. false: unknown. */
bool stele_client_read_look(const struct stele_iterator *iterator, uint64_t *out_position,
                            bool *out_expires);

/* As stele_append_many() and stele_append_async(), for a store that is watched. *out_prepared is what
 * stele_prepared_event() takes when the outcome is STELE_OK and the result not idempotent, NULL after
 * any other outcome of the call itself; given back by stele_client_told(). Of the asynchronous one, it
 * is set before the callback is called. STELE_E_UNSUPPORTED: a keyring is used by now. */
int stele_client_append_tell(struct stele *store, const struct stele_append *streams,
                             size_t streams_count, const struct stele_condition *conditions,
                             size_t conditions_count, struct stele_prepared **out_prepared,
                             struct stele_append_result *out_result, struct stele_error *err);
int stele_client_append_tell_async(struct stele *store, const struct stele_append *streams,
                                   size_t streams_count, const struct stele_condition *conditions,
                                   size_t conditions_count, struct stele_prepared **out_prepared,
                                   struct stele_error *words, stele_append_callback callback,
                                   void *context, struct stele_error *err);
void stele_client_told(struct stele *store, struct stele_prepared *prepared);

/* ---- For nodes of clusters ---- */

/* As stele_open(), for the store of a node: it takes commands, and for ever refuses other appends,
 * through whatever it is opened, with STELE_E_READ_ONLY. It can be read like any other. */
int stele_client_open_ordered(const char *path, const struct stele_options *options,
                              struct stele **out_store, struct stele_error *err);

#define STELE_CLIENT_APPEND 1
#define STELE_CLIENT_TOMBSTONE 2 /* Of streams[0], which has no events. */
#define STELE_CLIENT_DELETE 3    /* The soft delete of it. */

struct stele_client_command {
    int kind;
    struct stele_order order;
    const struct stele_append *streams; /* Their events have ids. */
    size_t streams_count;
    const struct stele_condition *conditions;
    size_t conditions_count;
    uint8_t id[16]; /* Of the tombstone, or of the metadata. */
};

/* Executes a command: one thread at a time, in the order of their stamps. As
 * stele_client_append_stage(), and stele_client_execute_flush() must follow, or stele_client_flush():
 *
 * STELE_OK: it was decided, and the callback will be called once, in the order of these calls, with
 * the outcome, the same on every node (also STELE_STORE_STALE). But with STELE_E_UNKNOWN and
 * STELE_E_FENCED, when a write failed, what became of it on this node's disk is known only when the
 * store has been opened again.
 * Anything else: this node cannot decide now; nothing was changed and the callback is not called. The
 * same command may be executed again later, and no other before it. */
int stele_client_execute_stage(struct stele *store, const struct stele_client_command *command,
                               uint64_t *revisions_last, struct stele_error *words,
                               stele_append_callback callback, void *context,
                               struct stele_error *err);

/* Sees to it that what was staged is committed, by this thread if nobody else is at it (then callbacks come from
 * here): what comes meanwhile goes together with the next. */
void stele_client_execute_flush(struct stele *store);

/* Before a request becomes a command; any thread. STELE_NOT_FOUND: *out_seen is for the command, and
 * the callback is not called. STELE_OK: the answer is known, and the callback is called with it: an
 * earlier append with these ids, or a refusal that is final. Otherwise an error, and no callback. A
 * tombstone and a delete need no look: their `seen` is stele_client_ordered()'s position. */
int stele_client_look_back(struct stele *store, const struct stele_append *streams,
                           size_t streams_count, const struct stele_condition *conditions,
                           size_t conditions_count, uint64_t *out_seen, uint64_t *revisions_last,
                           struct stele_error *words, stele_append_callback callback, void *context,
                           struct stele_error *err);

/* The partition of a stream. Any thread. */
uint32_t stele_client_partition(const struct stele *store, const char *stream);

/* How far commands have been executed, as far as they appended anything. */
struct stele_client_ordered {
    uint64_t stamp;         /* Of the last one, durable or not; 0: none. */
    uint64_t position;      /* Of the last event. */
    uint64_t stamp_durable; /* Of the last durable one: its effects can be read. */
    uint64_t stamp_synced;  /* Of the last one that survives a power cut: stele_client_sync(). */
    uint64_t position_durable;
    bool is_catching_up; /* A copy from another node has begun and is not complete. */
};
void stele_client_ordered(struct stele *store, struct stele_client_ordered *out);
/* The store of a node is written when it is told that it is durable, and synced here: what its commands have left must
 * not be forgotten elsewhere before. STELE_OK: all that was durable when this was called survives a power cut. A
 * failure is final until the store is opened again. Any thread. */
STELE_MUST_USE
int stele_client_sync(struct stele *store, struct stele_error *err);

/* Copying what another node has appended; see store.h. An export is used by one thread at a time, and
 * ended before the store is closed. */
int stele_client_export_begin(struct stele *store, uint64_t after_stamp, uint64_t after_position,
                              struct stele_export **out_export, struct stele_error *err);
void stele_client_export_end(struct stele *store, struct stele_export *export);

/* One copy at a time, and nothing executed beside it. begin makes the store incomplete; append takes a
 * chunk as stele_export_next() gave it, verifies and stages it, and returns when no more than a
 * bounded number of bytes wait for the disk; end waits until all of it is durable (complete: the
 * export was at its end), and releases the copy whatever its outcome. A copy that failed is gone on
 * with by another one, from the position that was reached. */
struct stele_client_copy;
int stele_client_copy_begin(struct stele *store, struct stele_client_copy **out_copy,
                            struct stele_error *err);
int stele_client_copy_append(struct stele_client_copy *copy, struct stele_bytes chunk,
                             struct stele_error *err);
/* Adds the bytes of the last chunk to those of each partition. */
void stele_client_copy_sizes(const struct stele_client_copy *copy,
                             uint64_t sizes[STELE_PARTITIONS_MAX]);
int stele_client_copy_end(struct stele_client_copy *copy, bool complete, struct stele_error *err);

#endif
