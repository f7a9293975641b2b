/* Inside src/subs: what the parts of groups.h share. Everything is on home but the loop's half of a
 * consumer. */
#ifndef STELE_SUBS_GROUPS_INTERNAL_H
#define STELE_SUBS_GROUPS_INTERNAL_H

#include "subs/groups.h"
#include "subs/subs_internal.h"

#define NAME_MAX_ (2 * STELE_STREAM_NAME_SIZE_MAX + 64)
#define GROUP_NAME_SIZE_MAX 512
#define CONFIG_STREAM "$persistentSubscriptionConfig"
#define CONFIG_TYPE "$PersistentConfig"
#define TICK_US ((int64_t)1000000)
#define REPLAYS_MAX 128 /* Replayed events that are in the machine at once. */
#define NEWS_MAX 64     /* Events in one message to a consumer. */

/* What a group is, apart from what it does: this is what is stored. */
struct group_config {
    char *stream; /* NULL: $all. */
    char *group;
    struct stele_group_settings settings;
    uint64_t from;     /* Where it began, in places: what an end meant at that moment. */
    struct want *want; /* NULL: everything. */
};

/* A group at work. */
struct hosted {
    struct hosted *next;
    struct stele_groups *groups;
    struct group_config config;
    bool by_ordinal; /* Places are ordinals of "$ce-…", "$et-…". */
    struct stele_group *machine;
    struct stele_follow *follow;
    uint32_t generation; /* Of the machine: answers for an older one are not for this. */
    bool in_events;      /* on_events is running. */
    bool resume;         /* The follow is to be resumed. */
    bool following_ended;
    uint32_t pending; /* Appends that will be answered. */
    bool removed;     /* Released when pending is 0. */
    bool unborn;      /* Its configuration is being written for the first time. */

    char *checkpoint_stream, *parked_stream;
    bool has_checkpoint_stream; /* Its metadata has been written. */
    struct stele_appending checkpoint;
    uint64_t checkpoint_place;
    uint32_t checkpoint_generation;

    uint64_t parked_first,
        parked_next; /* Revisions: the first that counts, the one after the last. */
    uint64_t replay_next, replay_stop; /* Being replayed; equal: none. */
    uint32_t replays;                  /* Of them in the machine. */
    bool truncating;
    uint64_t parked_requests, parked_replays;

    struct stele_consumer *consumers;
    int64_t started_us;
    uint64_t total_before; /* Of older machines. */
};

/*      ┌────────────── leads no more ──────────────┐
 *      ▼                                            │
 *   AWAY ── leads ──▶ COMING ── has seen, loaded ──▶ HERE
 *      ▲ leads no more │  ▲ tick │ failed
 *      └───────────────┘  └──────┘
 *
 * A server that stands alone is HERE from the start. AWAY and COMING: there is no hosted group. */
enum groups_standing { GROUPS_AWAY, GROUPS_COMING, GROUPS_HERE };

struct stele_groups {
    struct stele_engine *engine;
    struct stele_cluster *cluster;
    struct stele_role_watch watch; /* In a cluster. */
    enum groups_standing standing;
    _Atomic bool here; /* The same for other threads. */
    uint32_t era; /* Grows when groups go: what began before is of no concern to those that come. */
    struct stele_linearizing linearizing;
    bool is_linearizing;
    uint32_t linearizing_era;
    int coming_failed; /* COMING: why the last attempt failed; STELE_OK: it is under way. */
    struct stele_task *held, **held_last; /* Requests and consumers, while COMING is under way. */
    uint64_t config_revision; /* In a cluster: of the configuration that was loaded or written. */

    struct stele_hub *hub;
    struct stele_loop *loop;
    struct stele_alloc *alloc;
    uint64_t seed;
    struct hosted *first;
    struct stele_timer timer;
    bool ticking;

    /* One change of the configuration at a time; the others wait. */
    struct stele_groups_request *changes, **changes_last;
    bool changing;

    uint32_t pending;           /* Appends of all, also of removed ones. */
    struct stele_task *on_idle; /* Stopping: posted when pending is 0. */
    bool stopped;
};

/* config.c */
STELE_MUST_USE
int stele_subs__config_copy(struct stele_alloc *alloc, const struct stele_groups_request *request,
                            struct group_config *out_config, struct stele_error *err);
void stele_subs__config_deinit(struct stele_alloc *alloc, struct group_config *config);
/* All groups that are not removed, as the event of the configuration stream. *out_json is released
 * with free(). */
STELE_MUST_USE
int stele_subs__config_encode(const struct hosted *first, int64_t wall_us, const char *user,
                              char **out_json);
/* Calls on_config for each; it takes the config over. */
STELE_MUST_USE
int stele_subs__config_decode(struct stele_alloc *alloc, struct stele_bytes json,
                              int (*on_config)(void *context, struct group_config *config),
                              void *context, struct stele_error *err);
/* The data of a checkpoint event: a JSON string. */
size_t stele_subs__checkpoint_encode(bool is_all, uint64_t place, char text[64]);
bool stele_subs__checkpoint_decode(struct stele_bytes data, uint64_t *out_place);
/* "revision@stream". */
bool stele_subs__link_decode(struct stele_bytes data, uint64_t *out_revision,
                             struct stele_text *out_stream);
/* {"added":…,"reason":…,"subscriptionEventNumber":…}; released with free(), NULL: no memory. */
char *stele_subs__parked_encode(int64_t wall_us, const char *reason, uint64_t place);

/* hosted.c */
STELE_MUST_USE
int stele_subs__host(struct stele_groups *groups, struct group_config *take_config,
                     struct hosted **out_hosted, struct stele_error *err);
/* Loads checkpoint and parked numbers and begins to follow. */
STELE_MUST_USE
int stele_subs__hosted_start(struct hosted *hosted, struct stele_error *err);
/* As above, from a place that is known; STELE_GROUP_NO_PLACE: from config.from. */
STELE_MUST_USE
int stele_subs__hosted_run(struct hosted *hosted, uint64_t checkpoint, struct stele_error *err);
void stele_subs__hosted_tick(struct hosted *hosted);
/* Its checkpoints and parked events are deleted. */
void stele_subs__hosted_forget(struct hosted *hosted);
/* Drops its consumers and ends the machine; the memory goes when nothing is pending. */
void stele_subs__hosted_stop(struct hosted *hosted, int outcome);
void stele_subs__hosted_remove(struct hosted *hosted);
/* After anything that may have changed what can be done. */
void stele_subs__settle(struct hosted *hosted);
void stele_subs__replay(struct hosted *hosted, uint64_t stop_at);
void stele_subs__truncate(struct hosted *hosted, uint64_t stop_at);
/* A parked count as users see it. */
uint64_t stele_subs__parked_count(const struct hosted *hosted);
/* Keeps the memory of a removed group while something is under way, which ends with unpend. */
void stele_subs__pend(struct hosted *hosted);
void stele_subs__unpend(struct hosted *hosted);
void stele_subs__unpend_groups(struct stele_groups *groups);

/* consumer.c, at home */
void stele_subs__consumer_deliver(struct stele_consumer *consumer, struct stele_group_event *event,
                                  uint32_t retries);
void stele_subs__consumers_flush(struct hosted *hosted);
void stele_subs__consumers_drop(struct hosted *hosted, int outcome);
void stele_subs__consumer_info(const struct stele_consumer *consumer,
                               struct stele_group_consumer_info *out_info);

/* groups.c */
struct hosted *stele_subs__find(struct stele_groups *groups, const char *stream, const char *group);
/* Of two names, of which NULL is one. */
bool stele_subs__is_same(const char *a, const char *b);
/* Once a second, until there is nothing left that needs it. */
void stele_subs__start_ticking(struct stele_groups *groups);
/* Posts a request back to who asked. */
void stele_subs__answer(struct stele_groups_request *request, int outcome);
/* Both return the outcome, with its words. */
int stele_subs__fail_elsewhere(struct stele_groups_request *request);
int stele_subs__fail_not_found(struct stele_groups_request *request);

/* groups_change.c */
/* Begins the first change that waits, unless one is under way. */
void stele_subs__next_change(struct stele_groups *groups);

/* groups_look.c */
/* Fills the request's infos. */
int stele_subs__look(struct stele_groups *groups, struct stele_groups_request *request);

/* groups_lead.c */
/* Hosts and starts every group of the configuration. */
STELE_MUST_USE
int stele_subs__load(struct stele_groups *groups, struct stele_error *err);
/* Stops them all and loads them; in a cluster, what cannot be loaded is tried again by the clock. */
int stele_subs__load_again(struct stele_groups *groups, struct stele_error *err);
void stele_subs__stop_all(struct stele_groups *groups, int outcome);
void stele_subs__stand(struct stele_groups *groups, enum groups_standing standing);
/* Comes or goes if who leads has changed. */
void stele_subs__look_who_leads(struct stele_groups *groups);
/* Once a second: what has failed is tried again, and what another node has written while it still
 * believed to lead is not overlooked. */
void stele_subs__keep_standing(struct stele_groups *groups);
/* Runs what is held. */
void stele_subs__release_held(struct stele_groups *groups);
/* Looks who leads. true: the task is held and will be posted to home again; otherwise groups are HERE or
 * *out_outcome says why they are not. */
bool stele_subs__hold(struct stele_groups *groups, struct stele_task *task, int *out_outcome);
/* Takes a task back that may be held. */
void stele_subs__unhold(struct stele_groups *groups, struct stele_task *task);

#endif
