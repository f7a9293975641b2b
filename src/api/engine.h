/* What the services need of a store. In a server it is libstele (server/engine.c); in the simulator
 * and in unit tests it is a store that runs in the same thread; in a cluster it will be one that
 * routes. Services never see anything but this.
 *
 * Asynchrony: append() answers on the loop that asked, through a task. Reads are made on the
 * loop's thread in pieces: read_next() does a bounded amount of work. Following the end: the engine
 * runs every loop's on_visible tasks when something has become visible.
 *
 * Iterators are large (tens of KiB): whoever waits for events keeps a place, not an iterator. */
#ifndef STELE_API_ENGINE_H
#define STELE_API_ENGINE_H

#include "base/status.h"
#include "io/loop.h"

#include <stele/stele.h>

struct stele_engine;
struct stele_reading;

/* An append on its way. Embedded by whoever asks; alive until on_done. */
struct stele_appending {
    struct stele_task task; /* The engine's. */
    struct stele_loop *loop;
    void (*on_done)(struct stele_appending *appending); /* On the loop. */
    int outcome;                                        /* As stele_append_many(). */
    struct stele_append_result result;
    /* Of each stream of the request, in its order; the asker provides room (or NULL). */
    uint64_t *revisions_last;
    struct stele_error err;     /* If outcome is none that is expected. */
    void *engine;               /* The engine's, like the rest. */
    int64_t began_us, ended_us; /* By the monotonic clock; 0: not measured. */
    uint64_t events, bytes;
};

/* What an engine has done since it was made. Durations: from staging until durable (or refused). */
#define STELE_ENGINE_BOUNDS 16
struct stele_engine_took {
    uint64_t count, sum_us;
    uint64_t at_most[STELE_ENGINE_BOUNDS + 1]; /* [i]: above bound i - 1; the last: above all. */
};
struct stele_engine_counts {
    struct stele_engine_took done, refused; /* Appends. */
    uint64_t events_written, bytes_written; /* Data and metadata; repeated appends count again. */
    uint64_t events_read, bytes_read;
};
/* 50 us, 100 us, 200 us, 500 us, … 5 s: 1-2-5, so that no boundary is far from any duration. */
static inline uint64_t stele_engine_bound_us(size_t index)
{
    static const uint32_t bounds[STELE_ENGINE_BOUNDS] = {
        50,    100,   200,    500,    1000,   2000,    5000,    10000,
        20000, 50000, 100000, 200000, 500000, 1000000, 2000000, 5000000};
    return bounds[index];
}

/* Told when something new has become visible. Embedded; added to a loop's list. */
struct stele_watch {
    struct stele_watch *next, *previous; /* The engine's. */
    void (*on_visible)(struct stele_watch *watch);
    struct stele_loop *loop;
};

/* Work that takes long: it runs on a thread of the engine's. Embedded by whoever asks; alive until
 * on_done. */
enum stele_chore_kind { STELE_CHORE_SCAVENGE, STELE_CHORE_VERIFY, STELE_CHORE_DIGEST };

struct stele_chore_damage {
    struct stele_chore_damage *next;
    struct stele_damage damage; /* Its texts lie behind it. */
};

struct stele_chore {
    struct stele_task task, progress_task; /* The engine's. */
    struct stele_loop *loop;
    enum stele_chore_kind kind;
    uint64_t bytes_per_second;       /* SCAVENGE; 0: no throttle. */
    char against[STELE_DIGEST_SIZE]; /* VERIFY; "": nothing to compare with. */
    _Atomic bool stop;               /* Set it to end the chore early, from any thread. */
    /* On the loop, a few times a second at most; may be NULL. */
    void (*on_progress)(struct stele_chore *chore);
    _Atomic uint64_t done, total;               /* Bytes. */
    void (*on_done)(struct stele_chore *chore); /* On the loop, once. */
    int outcome;
    struct stele_error err;
    struct stele_scavenge_result scavenged;
    struct stele_verify_result verified; /* DIGEST: its digest. */
    struct stele_chore_damage *damages;  /* VERIFY: at most 1000, in order; the engine's. */
    void *engine;                        /* The engine's, like the rest. */
    _Atomic bool progress_posted;
    int64_t told_us;
    uint32_t damages_count;
};

struct stele_engine_ops {
    /* Everything of the request has been copied when this returns. STELE_OK: on_done will be called
     * (never before this returns). Otherwise nothing was done and err is set. */
    int (*append)(struct stele_engine *engine, struct stele_appending *appending,
                  const struct stele_append *streams, size_t streams_count,
                  const struct stele_condition *conditions, size_t conditions_count,
                  struct stele_error *err);
    int (*tombstone)(struct stele_engine *engine, struct stele_appending *appending,
                     const char *stream, uint64_t expected, struct stele_error *err);
    int (*soft_delete)(struct stele_engine *engine, struct stele_appending *appending,
                       const char *stream, uint64_t expected, struct stele_error *err);

    /* stream NULL: $all. Outcomes as stele_read_stream(). scan_max: most events that one read_next
     * looks at. */
    int (*read_open)(struct stele_engine *engine, const char *stream,
                     const struct stele_read_options *options, struct stele_reading **out_reading,
                     struct stele_error *err);
    /* As stele_iterator_next(), but STELE_OK with *out_count 0 says that the bound was reached. */
    int (*read_next)(struct stele_reading *reading, const struct stele_event **out_events,
                     size_t *out_count, struct stele_error *err);
    uint64_t (*read_position)(const struct stele_reading *reading);
    uint64_t (*read_scanned)(const struct stele_reading *reading); /* Events looked at so far. */
    /* Of the event of that index in the last batch, as stele_iterator_ordinal(). */
    uint64_t (*read_ordinal)(const struct stele_reading *reading, size_t index);
    void (*read_close)(struct stele_reading *reading);

    int (*stream_info)(struct stele_engine *engine, const char *stream,
                       struct stele_stream_info *out_info, struct stele_error *err);
    int (*get_metadata)(struct stele_engine *engine, const char *stream, char *buffer,
                        size_t buffer_size, size_t *out_size, uint64_t *out_revision,
                        struct stele_error *err);
    int (*list)(struct stele_engine *engine, int what, const char *prefix, const char *after,
                uint64_t limit, stele_name_callback on_name, void *context,
                struct stele_error *err);
    uint64_t (*last_position)(struct stele_engine *engine);
    int (*stats)(struct stele_engine *engine, struct stele_stats *out_stats,
                 struct stele_error *err);
    /* From any thread; NULL: this engine does not count. */
    void (*counts)(struct stele_engine *engine, struct stele_engine_counts *out_counts);
    /* STELE_OK: on_done will be called, never before this returns. on_done must call
     * chore_forget() when it has read the damages. */
    int (*chore)(struct stele_engine *engine, struct stele_chore *chore, struct stele_error *err);
    void (*chore_forget)(struct stele_engine *engine, struct stele_chore *chore);

    /* On the watch's loop. on_visible is called after every time that last_position() has grown
     * (many times may become one), on the loop. */
    void (*watch_start)(struct stele_engine *engine, struct stele_watch *watch);
    void (*watch_stop)(struct stele_engine *engine, struct stele_watch *watch);
};

struct stele_engine {
    const struct stele_engine_ops *ops;
};

#endif
