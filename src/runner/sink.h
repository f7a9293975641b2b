/* What the runner of projections asks of a place for read models.
 *
 * A sink keeps, for every projection, its builds: numbered sets of tables, one of them live (readers see
 * it through views), at most one being built. A build has lanes, each with its own checkpoint; a
 * stream belongs to one lane. One lane is used by one thread at a time, different ones by different
 * threads at once. Between begin and commit or rollback of a lane lies a transaction.
 *
 * Outcomes have the same meaning in all calls:
 *   STELE_E_INVALID     From apply and commit: the read model refuses this event. Elsewhere: the
 *                       projection is not right.
 *   STELE_E_OVERLOADED  Somebody else was in the way (locks, deadlocks); the same again may go well.
 *   STELE_E_FENCED      From commit: the checkpoint is not where this lane left it, or parked events
 *                       were retried. The lane has to rollback() and reload().
 * A call that fails inside a transaction leaves only rollback() to be called. */
#ifndef STELE_RUNNER_SINK_H
#define STELE_RUNNER_SINK_H

#include "runner/projection.h"

struct stele_sink_lane {
    uint64_t position;      /* Everything of this lane up to here is done. */
    uint64_t effects_after; /* Side effects are only for events after this position. */
};

struct stele_sink_request {
    const struct stele_projection *projection;
    const uint8_t *store_id; /* 16 bytes. */
    uint64_t effects_after;  /* Of a first build. */
    uint32_t lanes;          /* 0: as before, of a first build 1. */
    bool rebuild;
    bool must_exist; /* STELE_NOT_FOUND unless there is a live build. */
};

struct stele_sink_place {
    uint64_t build;
    bool building; /* There is an older one that readers see. */
    uint32_t lanes;
    struct stele_sink_lane lane[STELE_PROJECT_LANES_MAX];
};

typedef int (*stele_sink_stream_callback)(void *context, struct stele_text stream);
typedef int (*stele_sink_position_callback)(void *context, uint64_t position);

/* What the books have of a stream for a projection in effective order. */
struct stele_sink_stream {
    uint64_t events;   /* So many were taken. */
    int64_t latest_us; /* When the last one in effective order counts. */
};

/* What projections in effective order need besides. All inside a transaction of the lane. */
struct stele_sink_effective_ops {
    int (*apply)(struct stele_sink *sink, uint32_t lane, const struct stele_event *event,
                 int64_t effective_us, uint64_t *out_culprit, struct stele_error *err);
    /* Takes out what the events of a stream have left in the read model. */
    int (*undo)(struct stele_sink *sink, uint32_t lane, const char *stream,
                struct stele_error *err);
    /* STELE_NOT_FOUND: no event of it was taken yet. */
    int (*stream)(struct stele_sink *sink, uint32_t lane, const char *stream,
                  struct stele_sink_stream *out_stream, struct stele_error *err);
    int (*keep_stream)(struct stele_sink *sink, uint32_t lane, const char *stream,
                       const struct stele_sink_stream *at, struct stele_error *err);
    /* Events that were left out for ever: of a stream, and one more (on lane 0). */
    int (*skipped)(struct stele_sink *sink, uint32_t lane, const char *stream,
                   stele_sink_position_callback on_position, void *context,
                   struct stele_error *err);
    int (*skip)(struct stele_sink *sink, const char *stream, uint64_t position,
                struct stele_error *err);
};

struct stele_sink_ops {
    const struct stele_sink_effective_ops *effective; /* NULL: it has no such projections. */
    /* Finds or makes the build that the request is about, and prepares every lane. All or nothing. */
    int (*attach)(struct stele_sink *sink, const struct stele_sink_request *request,
                  struct stele_sink_place *out_place, struct stele_error *err);
    void (*detach)(struct stele_sink *sink);

    int (*begin)(struct stele_sink *sink, uint32_t lane, struct stele_error *err);
    /* *out_culprit is set with STELE_E_INVALID: the position of the event that is refused, which may
     * be an earlier one of the transaction; 0 if that is not known. */
    int (*apply)(struct stele_sink *sink, uint32_t lane, const struct stele_event *event,
                 bool replay, uint64_t *out_culprit, struct stele_error *err);
    /* Is the transaction as large as one should be? NULL: it never is. */
    bool (*is_full)(const struct stele_sink *sink, uint32_t lane);
    /* reason NULL: it waits behind another one of its stream. */
    int (*park)(struct stele_sink *sink, uint32_t lane, const struct stele_event *event,
                const char *reason, struct stele_error *err);
    /* Moves the checkpoint from `from` to `to` and ends the transaction. */
    int (*commit)(struct stele_sink *sink, uint32_t lane, uint64_t from, uint64_t to,
                  uint64_t applied, uint64_t *out_culprit, struct stele_error *err);
    void (*rollback)(struct stele_sink *sink, uint32_t lane);
    /* Looks again, after STELE_E_FENCED. STELE_NOT_FOUND: the build is gone, attach again. */
    int (*reload)(struct stele_sink *sink, uint32_t lane, struct stele_sink_lane *out_lane,
                  struct stele_error *err);
    /* The streams of the build that have parked events, each once. */
    int (*parked_streams)(struct stele_sink *sink, uint32_t lane,
                          stele_sink_stream_callback on_stream, void *context,
                          struct stele_error *err);

    /* While building: the checkpoints of the live build, as many as there are lanes. lock: inside a
     * transaction of lane 0; they do not move until its end. STELE_NOT_FOUND: it is gone. */
    int (*live)(struct stele_sink *sink, bool lock, uint64_t *out_positions,
                struct stele_error *err);
    /* Inside a transaction of lane 0, with the live build locked: makes the new build the live one,
     * with its lanes at the positions of the old one, drops that one, and commits. */
    int (*switch_over)(struct stele_sink *sink, const uint64_t *positions, uint64_t applied,
                       struct stele_error *err);

    /* Inside a transaction of lane 0: keeps runs of the projection from committing what they have
     * begun. */
    int (*bump)(struct stele_sink *sink, struct stele_error *err);
    /* The first parked event of the stream. STELE_NOT_FOUND: there is none. */
    int (*first_parked)(struct stele_sink *sink, const char *stream, uint64_t *out_position,
                        struct stele_error *err);
    /* Takes a parked event out, counting `applied` (0 or 1); or keeps it with a new reason. */
    int (*unpark)(struct stele_sink *sink, uint64_t position, uint64_t applied,
                  struct stele_error *err);
    int (*keep_parked)(struct stele_sink *sink, uint64_t position, const char *reason,
                       struct stele_error *err);
    int (*end)(struct stele_sink *sink, uint64_t *out_culprit, struct stele_error *err);

    int (*list)(struct stele_sink *sink, stele_project_callback on_projection, void *context,
                struct stele_error *err);
    int (*parked)(struct stele_sink *sink, const char *name, stele_parked_callback on_parked,
                  void *context, struct stele_error *err);
    /* The lowest checkpoint of the live build. */
    int (*position)(struct stele_sink *sink, const char *name, uint64_t *out_position,
                    struct stele_error *err);
    int (*drop)(struct stele_sink *sink, const struct stele_projection *projection,
                struct stele_error *err);
    void (*close)(struct stele_sink *sink);
};

/* The first member of every sink. */
struct stele_sink {
    const struct stele_sink_ops *ops;
};

#endif
