/* A persistent subscription group: competing consumers share the events of one stream (or of all),
 * each event is handed to one of them until somebody has acknowledged it.
 *
 * A pure state machine: events, acknowledgements and the time go in; effects come out through struct
 * stele_group_effects. It reads nothing, writes nothing and owns no clock. subs/groups.h drives it.
 *
 *     push ──▶ WAITING ──▶ IN_FLIGHT ──ack, skip──▶ (finished)
 *                 ▲            │ nack retry, timeout, consumer gone: count + 1
 *                 └── RETRY ◀──┤
 *                              │ nack park, or too many retries
 *                              └──▶ PARKING ──parked──▶ (finished)
 *                                       └──failed──▶ RETRY
 *
 * Invariants (each asserted in stele_group_check(), attacked in tests/unit/subs):
 *  G1  An event that was pushed is finished only by an acknowledgement, a skip, or by having been
 *      stored in the parked stream.
 *  G2  A checkpoint never names a place behind which an event is unfinished.
 *  G3  A consumer has at most as many events in flight as it asked for.
 *  G4  Pinned strategies: events of one key are at one consumer at a time, and never overtake. */
#ifndef STELE_SUBS_GROUP_H
#define STELE_SUBS_GROUP_H

#include "base/alloc.h"
#include "base/status.h"

#include <stele/stele.h>

#define STELE_GROUP_NO_PLACE UINT64_MAX

enum stele_group_strategy {
    STELE_GROUP_DISPATCH_TO_SINGLE, /* The first consumer that has room. */
    STELE_GROUP_ROUND_ROBIN,
    STELE_GROUP_PINNED,                /* By the stream an event was written to. */
    STELE_GROUP_PINNED_BY_CORRELATION, /* By $correlationId in its metadata, else by the stream. */
};

struct stele_group_settings {
    enum stele_group_strategy strategy;
    bool resolve_links;
    bool extra_statistics;
    int32_t max_retry_count;
    int32_t min_checkpoint_count;
    int32_t max_checkpoint_count;
    int32_t max_subscriber_count; /* 0: no limit. */
    int32_t live_buffer_size;
    int32_t read_batch_size;
    int32_t history_buffer_size;
    int64_t message_timeout_us; /* 0: none. */
    int64_t checkpoint_after_us;
    uint64_t start; /* Inclusive; UINT64_MAX: only what comes after creating. */
};

/* A copy of an event that consumers on any loop may look at. Counted; immutable. */
struct stele_group_event {
    _Atomic uint32_t refs;
    struct stele_alloc *alloc;
    size_t size;              /* Of all of it. */
    struct stele_event event; /* The original; type.data NULL if a link's target is gone. */
    struct stele_event link;  /* The link that led to it; type.data NULL if none. */
    uint64_t place;           /* Revision, position or ordinal in what the group follows. */
};

/* Copies. link may be NULL; event may be NULL if link is not. NULL when there is no memory. */
struct stele_group_event *stele_group_event_create(struct stele_alloc *alloc,
                                                   const struct stele_event *event,
                                                   const struct stele_event *link, uint64_t place);
void stele_group_event_ref(struct stele_group_event *event);
void stele_group_event_unref(struct stele_group_event *event);
/* What consumers acknowledge it by: the link's id if there is one. */
const uint8_t *stele_group_event_id(const struct stele_group_event *event);

struct stele_group;
struct stele_group_member; /* A consumer, as the group sees it. */
struct stele_group_entry;  /* An event that is not finished. */

/* Called from inside the group's functions; must not call them. */
struct stele_group_effects {
    void (*deliver)(void *context, void *member_context, struct stele_group_event *event,
                    uint32_t retries);
    /* Store it in the parked stream, then (later) call stele_group_parked(). false: cannot be done
     * now, stele_group_parked() will not be called. */
    bool (*park)(void *context, struct stele_group_entry *entry,
                 const struct stele_group_event *event, const char *reason);
    /* Everything up to place is finished: write that down, then call stele_group_checkpointed(). */
    void (*checkpoint)(void *context, uint64_t place);
    /* An event that was replayed from the parked stream is finished. */
    void (*replayed)(void *context, uint64_t parked_number);
    /* There is room again after push had none. */
    void (*has_room)(void *context);
};

/* checkpoint: the last one that was written, or STELE_GROUP_NO_PLACE. settings are copied. */
STELE_MUST_USE
int stele_group_create(struct stele_alloc *alloc, const struct stele_group_settings *settings,
                       uint64_t checkpoint, uint64_t seed,
                       const struct stele_group_effects *effects, void *context, int64_t now_us,
                       struct stele_group **out_group);
/* Members are forgotten. */
void stele_group_destroy(struct stele_group *group);
const struct stele_group_settings *stele_group_settings(const struct stele_group *group);

/* ---- What is read ---- */

/* How many more events it takes now. */
size_t stele_group_room(const struct stele_group *group);
/* The next event in order of place; takes over the reference. STELE_OK, STELE_E_NO_MEMORY (nothing
 * taken). There must be room. Followed by stele_group_dispatch(). */
STELE_MUST_USE
int stele_group_push(struct stele_group *group, struct stele_group_event *event);
/* Everything up to place was pushed or is not wanted. */
void stele_group_passed(struct stele_group *group, uint64_t place, uint64_t scanned);
/* An event from the parked stream: goes before those that wait. As push. */
STELE_MUST_USE
int stele_group_replay(struct stele_group *group, struct stele_group_event *event,
                       uint64_t parked_number);
/* Hands out what can be handed out. */
void stele_group_dispatch(struct stele_group *group, int64_t now_us);

/* ---- Consumers ---- */

/* STELE_OK, STELE_E_LIMIT (max_subscriber_count), STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_group_join(struct stele_group *group, uint32_t capacity, void *member_context,
                     struct stele_group_member **out_member);
/* What it has in flight goes back to the front. */
void stele_group_leave(struct stele_group *group, struct stele_group_member *member);
/* Ids that are unknown are ignored. */
void stele_group_ack(struct stele_group *group, struct stele_group_member *member,
                     const uint8_t id[16], int64_t now_us);

enum stele_group_nack {
    STELE_GROUP_NACK_UNKNOWN = 0,
    STELE_GROUP_NACK_PARK = 1,
    STELE_GROUP_NACK_RETRY = 2,
    STELE_GROUP_NACK_SKIP = 3,
    STELE_GROUP_NACK_STOP = 4,
};
void stele_group_nack(struct stele_group *group, struct stele_group_member *member,
                      const uint8_t id[16], enum stele_group_nack action, const char *reason);

/* ---- Answers to effects, time ---- */

/* stored false: it goes back to the consumers. */
void stele_group_parked(struct stele_group *group, struct stele_group_entry *entry, bool stored);
void stele_group_checkpointed(struct stele_group *group, uint64_t place, bool stored,
                              int64_t now_us);
/* Once a second: timeouts, checkpoints. */
void stele_group_tick(struct stele_group *group, int64_t now_us);
/* Writes down how far it is, regardless of counts: before it is stopped. */
void stele_group_flush(struct stele_group *group);
/* Everything up to this place is finished; STELE_GROUP_NO_PLACE: nothing is. */
uint64_t stele_group_finished_to(const struct stele_group *group);

/* ---- Looking ---- */

struct stele_group_stats {
    uint64_t total;           /* Handed out, ever. */
    uint64_t since_tick;      /* During the last second. */
    uint64_t last_checkpoint; /* STELE_GROUP_NO_PLACE: none. */
    uint64_t last_known;      /* Place of the last event that was pushed. */
    uint32_t waiting;         /* Not handed out yet. */
    uint32_t retrying;        /* To be handed out again. */
    uint32_t in_flight;       /* At consumers. */
    uint32_t parking;         /* Being stored in the parked stream. */
    uint32_t members;
};
void stele_group_stats(const struct stele_group *group, struct stele_group_stats *out_stats);

#define STELE_GROUP_MEASUREMENTS 14
struct stele_group_member_stats {
    void *member_context;
    uint64_t total;
    uint64_t since_tick;
    uint32_t in_flight;
    uint32_t capacity;
    uint32_t measured;                              /* 0: there are no measurements. */
    int64_t measurements[STELE_GROUP_MEASUREMENTS]; /* ms; see stele_group_measurement_names. */
};
extern const char *const stele_group_measurement_names[STELE_GROUP_MEASUREMENTS];
/* The first one is index 0; false: there is none of that index. */
bool stele_group_member_stats(const struct stele_group *group, uint32_t index,
                              struct stele_group_member_stats *out_stats);

/* Tests: asserts every invariant that can be seen. */
void stele_group_check(const struct stele_group *group);

#endif
