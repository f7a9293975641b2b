/* Following a stream, a category, a type or all events for ever: first what there is, then what
 * comes, none skipped, none twice (P4).
 *
 * One *hub* a loop reads the end of $all once for everybody and hands each event to the *follows*
 * that want it. A follow that is behind reads for itself (an engine reading, one bounded piece a
 * turn) until it has seen everything up to the hub's position in the same turn of the loop, and only
 * then is attached. Both halves are on one thread, so there is no moment between them. A follow
 * whose owner is full is detached and reads for itself again later: nothing is buffered for the slow.
 *
 *       ┌────────── read: END and position >= hub's, same turn ─────────┐
 *   CATCHING_UP                                                        LIVE
 *       └────────── owner is full (on_events said false) ───────────────┘
 *
 * Events of an append of several streams come in order of position like all others. */
#ifndef STELE_SUBS_FOLLOW_H
#define STELE_SUBS_FOLLOW_H

#include "api/engine.h"

struct stele_hub; /* One for each loop. */

STELE_MUST_USE
int stele_hub_create(struct stele_engine *engine, struct stele_loop *loop,
                     struct stele_hub **out_hub);
/* Its follows have been stopped. What it still holds is released by the loop's next turn. */
void stele_hub_destroy(struct stele_hub *hub);

/* An event that the hub hands to many: room for its encoded form, so that it is encoded once for
 * each kind of encoding and copied to the others. kind: STELE_LIVE_KIND_…; data NULL until set. */
#define STELE_LIVE_KINDS 6
struct stele_live {
    struct stele_bytes encoded[STELE_LIVE_KINDS];
    struct stele_arena *arena; /* Memory that lasts as long as the event does. */
};

struct stele_follow_options {
    const char *stream; /* NULL: $all. "$ce-…" and "$et-…" as in libstele. Copied. */
    uint64_t from;      /* Inclusive: revision or position; UINT64_MAX: only what comes. */
    const struct stele_filter *filter; /* Copied; NULL: everything. */
    uint32_t scan_max;                 /* Most events looked at between two on_progress; 0: 1024. */
    int by_ordinal; /* "$ce-…", "$et-…": from counts events of the name, not positions. */
};

/* The place from which on only what comes is followed (what from UINT64_MAX stands for). */
STELE_MUST_USE
int stele_follow_end(struct stele_engine *engine, const char *stream, int by_ordinal,
                     uint64_t *out_from, struct stele_error *err);

struct stele_follow; /* Opaque; made by start. */

struct stele_follow_callbacks {
    /* Events in order. live is NULL unless they come from the hub (then count is 1). ordinal: of the
     * first one, for "$ce-…" and "$et-…" with by_ordinal; those of the others follow it one by one.
     * Returns how many were taken: fewer than count says "I am full": the rest comes after
     * stele_follow_resume(). */
    size_t (*on_events)(void *context, const struct stele_event *events, size_t count,
                        uint64_t ordinal, struct stele_live *live);
    /* Everything up to position was handed out or does not match; scanned events were looked at
     * since the last call. caught_up: this is the end at this moment (comes once each time the end
     * is reached after having been behind). */
    void (*on_progress)(void *context, uint64_t position, uint64_t scanned, bool caught_up);
    /* The last call: STELE_STREAM_DELETED (a tombstone that came while it followed was handed out
     * before), STELE_E_CORRUPT, …; not after stele_follow_stop(). The owner still calls
     * stele_follow_stop(), from here or later, which releases the follow. */
    void (*on_end)(void *context, int outcome, const struct stele_error *err);
};

/* Callbacks come later, never before this returns. */
STELE_MUST_USE
int stele_follow_start(struct stele_hub *hub, const struct stele_follow_options *options,
                       const struct stele_follow_callbacks *callbacks, void *context,
                       struct stele_follow **out_follow, struct stele_error *err);
/* Goes on after on_events was full. Not from inside a callback. */
void stele_follow_resume(struct stele_follow *follow);
/* Ends and releases it. Also from inside its callbacks, and from those of other follows; no callback
 * comes afterwards. NULL is fine. */
void stele_follow_stop(struct stele_follow *follow);
bool stele_follow_is_live(const struct stele_follow *follow);
/* Everything that it wants up to this position was handed out. While it is live this moves on
 * without on_progress being called (only filtered ones are told, every scan_max events). */
uint64_t stele_follow_position(const struct stele_follow *follow);

#endif
