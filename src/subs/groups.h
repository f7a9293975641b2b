/* All persistent subscription groups of a server: their configuration, checkpoints and parked events
 * in the store, what they follow, and their consumers.
 *
 * Everything happens on one loop, `home`. Others ask by posting: a *request* (create, update, info,
 * …) is embedded in whoever asks and is answered on its own loop; a *consumer* has a half on its own
 * loop and a half at home, which send each other messages.
 *
 *     consumer's loop                          home
 *     stele_consumer_start ──── join ────────▶ stele_group_join
 *     on_confirmed, on_event ◀── news ──────── deliver
 *     stele_consumer_ack  ──── order ────────▶ stele_group_ack
 *     stele_consumer_stop ──── leave ────────▶ stele_group_leave
 *                         ◀─── gone ────────── (the last message: memory is released)
 *
 * What lies in the store (names as KurrentDB has them, so that its tools find their way):
 *   $persistentSubscriptionConfig                         $PersistentConfig: all groups, each change
 *   $persistentsubscription-<stream>::<group>-checkpoint  $SubscriptionCheckpoint: "12", "C:9/P:9"
 *   $persistentsubscription-<stream>::<group>-parked      $>: "revision@stream"; why in the metadata
 *
 * Invariants:
 *  G5  A change of the configuration is answered only when it is durable.
 *  G6  Replayed events leave the parked stream only when consumers are done with them.
 *  G7  A consumer's memory is released by the last message from home, never while one may come.
 *  G8  In a cluster groups are at work on the node that leads, after it has seen what was
 *      acknowledged before; a node that has heard that it does not lead any more asks for no append.
 *      Two nodes may lead for a moment: of two changes of the configuration one is refused. */
#ifndef STELE_SUBS_GROUPS_H
#define STELE_SUBS_GROUPS_H

#include "api/cluster.h"
#include "api/engine.h"
#include "subs/follow.h"
#include "subs/group.h"

struct stele_groups;

/* On the loop of hub, which becomes home. A server that stands alone loads what the store has; in a
 * cluster that comes when this node leads. */
STELE_MUST_USE
int stele_groups_create(struct stele_engine *engine, struct stele_cluster *cluster,
                        struct stele_hub *hub, struct stele_loop *loop, struct stele_alloc *alloc,
                        struct stele_groups **out_groups, struct stele_error *err);
/* Any thread. In a cluster: this node leads, and has seen all that was acknowledged before it came to. */
bool stele_groups_are_here(const struct stele_groups *groups);
/* On home. Writes the last checkpoints; task is posted to home when nothing is under way any more.
 * Consumers have been stopped, or are dropped. */
void stele_groups_stop(struct stele_groups *groups, struct stele_task *task);
/* After that; NULL is fine. */
void stele_groups_destroy(struct stele_groups *groups);

/* ---- Requests ---- */

enum stele_groups_what {
    STELE_GROUPS_CREATE,
    STELE_GROUPS_UPDATE,
    STELE_GROUPS_DELETE,
    STELE_GROUPS_INFO,     /* Of one group. */
    STELE_GROUPS_LIST,     /* Of all of stream; of all streams with all_streams. */
    STELE_GROUPS_REPLAY,   /* Parked events with numbers below stop_at. */
    STELE_GROUPS_TRUNCATE, /* The same are forgotten. */
    STELE_GROUPS_RESTART,  /* Everything is dropped and loaded again. */
};

/* Beside STELE_OK, STELE_NOT_FOUND (no such group), STELE_E_INVALID and operating errors. What comes
 * while this node takes over waits until it has. */
#define STELE_GROUPS_EXISTS 64
#define STELE_GROUPS_ELSEWHERE 65 /* Groups are on the leader, which is not this node. */

struct stele_group_consumer_info {
    const char *from, *user, *connection_name;
    struct stele_group_member_stats stats;
};

struct stele_group_info {
    const char *stream; /* NULL: $all. */
    const char *group;
    bool is_live;
    uint64_t start; /* As it was asked for; UINT64_MAX: the end. */
    struct stele_group_settings settings;
    struct stele_group_stats stats;
    uint64_t average_per_second;
    uint64_t parked;
    uint64_t parked_replays; /* Since the start of the server, as the next two. */
    uint64_t parked_requests;
    const struct stele_group_consumer_info *consumers;
    size_t consumers_count;
};

struct stele_groups_request {
    struct stele_task task; /* The module's, as the next three. */
    struct stele_groups *groups;
    struct stele_groups_request *next;
    struct stele_arena arena;

    struct stele_loop *loop; /* Where on_done is called. */
    void (*on_done)(struct stele_groups_request *request);
    enum stele_groups_what what;
    /* Borrowed until on_done. */
    const char *stream; /* NULL: $all. */
    const char *group;
    const char *user;                  /* Who asks: kept with the configuration. */
    const struct stele_filter *filter; /* CREATE of $all. */
    struct stele_group_settings settings;
    bool all_streams;
    bool at_once;     /* ELSEWHERE, too, while this node takes over: numbers for a chart. */
    uint64_t stop_at; /* UINT64_MAX: all. */

    int outcome;
    struct stele_error err;
    /* INFO, LIST: until stele_groups_request_deinit(). */
    const struct stele_group_info *infos;
    size_t infos_count;
};

/* Any thread. The request stays alive until on_done. */
void stele_groups_ask(struct stele_groups *groups, struct stele_groups_request *request);
/* Releases the answer. On the loop of the request. */
void stele_groups_request_deinit(struct stele_groups_request *request);

/* ---- Consumers ---- */

struct stele_consumer; /* Opaque; made by start. */

struct stele_consumer_options {
    const char *stream; /* NULL: $all. All texts are copied. */
    const char *group;
    const char *from; /* The peer's address. */
    const char *user;
    const char *connection_name;
    uint32_t buffer_size; /* Most events in flight. */
};

/* All on the consumer's loop, never before start returned, never after stop. */
struct stele_consumer_callbacks {
    void (*on_confirmed)(void *context);
    /* event is borrowed for the call; take a reference to keep it. */
    void (*on_event)(void *context, struct stele_group_event *event, uint32_t retries);
    /* The last one. STELE_NOT_FOUND: no such group; STELE_E_LIMIT: too many consumers;
     * STELE_E_CLOSED: dropped (the group was changed or deleted, the server stops);
     * STELE_GROUPS_ELSEWHERE: another node leads; others. The owner still calls stop, from here or
     * later. */
    void (*on_end)(void *context, int outcome);
};

STELE_MUST_USE
int stele_consumer_start(struct stele_groups *groups, struct stele_loop *loop,
                         const struct stele_consumer_options *options,
                         const struct stele_consumer_callbacks *callbacks, void *context,
                         struct stele_consumer **out_consumer, struct stele_error *err);
/* ids: count times 16 bytes. Without memory they are lost: the events come again. */
void stele_consumer_ack(struct stele_consumer *consumer, const uint8_t *ids, size_t count);
void stele_consumer_nack(struct stele_consumer *consumer, const uint8_t *ids, size_t count,
                         enum stele_group_nack action, struct stele_text reason);
/* No callback comes afterwards; what it has in flight goes back. NULL is fine. */
void stele_consumer_stop(struct stele_consumer *consumer);

#endif
