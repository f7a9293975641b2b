/* Inside src/subs: what follows and their hub know of each other.
 *
 * A follow is in exactly one place at a time, told by its state:
 *
 *     state          in                      reading        moves on by
 *     CATCHING_UP    the hub's queue         maybe open     its turn: a piece
 *     FULL           the list `kept`, if a   maybe kept     stele_follow_resume()
 *                    reading is kept; else
 *                    nowhere
 *     LIVE           its topic's list        none           an event, in order of position
 *     ENDED          nowhere                 none           stele_follow_stop()
 */
#ifndef STELE_SUBS_SUBS_INTERNAL_H
#define STELE_SUBS_SUBS_INTERNAL_H

#include "store/filter.h"
#include "subs/follow.h"

/* Bounds of one turn of the loop. */
#define DELIVERIES_A_TURN 4096
#define PIECES_A_TURN 8
/* Readings that a hub keeps open between turns: of follows that are behind, and of full ones. */
#define READINGS_MAX 64
#define SCAN_MAX_DEFAULT 1024
/* A reading that nothing was asked of for so long is closed: it pins files that scavenging replaced. */
#define IDLE_US ((int64_t)1000000)
#define RETRY_US ((int64_t)100000)

enum follow_state { CATCHING_UP, FULL, LIVE, ENDED };
enum follow_kind { OF_ALL, OF_STREAM, OF_CATEGORY, OF_TYPE };
#define KINDS 4

struct follow_list {
    struct stele_follow *first, *last;
};

/* A name that live follows wait for. */
struct topic {
    struct topic *next; /* In its bucket. */
    uint64_t hash;
    struct follow_list follows;
    uint8_t kind;
    bool walked; /* An event is being handed to its follows. */
    uint16_t name_size;
    char name[];
};

/* A filter of a follow, in both forms: the reading wants to be told it, live events are asked. */
struct want {
    struct stele_filter filter;
    struct stele_filter_program *program;
    struct stele_arena arena;
};

struct stele_follow {
    struct stele_hub *hub;
    struct stele_follow *next, *previous; /* Of the list that the state says. */
    struct topic *topic;                  /* LIVE, but for $all. */
    struct stele_follow *next_arriving;   /* Of the hub's, if arrives_at is not 0. */
    struct stele_follow_callbacks callbacks;
    void *context;
    struct want *want; /* NULL: everything. */

    struct stele_reading *reading;
    const struct stele_event *batch; /* Of the reading; from batch_at on not handed out. */
    size_t batch_count, batch_at;
    uint64_t scanned_by_reading; /* Of what the reading counts, added to `scanned` so far. */
    int64_t full_at_us;

    uint64_t from;       /* Where it goes on: a revision, a position, or an ordinal. */
    uint64_t seen;       /* Everything up to this position was handed out or is not wanted. */
    uint64_t scanned;    /* Looked at since the last on_progress. */
    uint64_t live_at;    /* The position at which it last went live. */
    uint64_t last_at;    /* The position of the last event that was handed out. */
    uint64_t arrives_at; /* LIVE: caught_up is told when the hub has come so far; 0: no need. */
    uint32_t scan_max;

    uint8_t state;
    uint8_t kind;
    bool by_ordinal;
    bool behind;     /* caught_up was not told since. */
    bool subscribed; /* The stream was open while it followed: a tombstone is an event for it. */
    bool ordinal_known;
    bool busy;    /* One of its callbacks is running. */
    bool stopped; /* And stopped it: released when it returns. */
    uint16_t name_size;
    char name[]; /* With its zero; empty for $all. */
};

struct stele_hub {
    struct stele_engine *engine;
    struct stele_loop *loop;
    struct stele_alloc *alloc;
    uint64_t seed;
    uint32_t follows;
    uint32_t readings; /* Open ones of follows. */

    struct follow_list queue; /* CATCHING_UP. */
    struct follow_list kept;  /* FULL with a reading, the longest first. */
    struct stele_task task;
    struct stele_timer timer;
    bool posted;
    bool timer_started;
    bool running; /* A turn: what it may not do twice at once. */
    bool over;    /* Destroyed; released when the posted task runs. */

    /* Live. */
    bool watching;
    uint32_t live;         /* Follows. */
    uint32_t kinds[KINDS]; /* Of them. */
    struct stele_watch watch;
    struct topic **buckets;
    size_t buckets_count; /* A power of two, or 0. */
    size_t topics;
    struct follow_list all;
    struct stele_follow *cursor;   /* The next one of the list that is being walked. */
    struct stele_follow *arriving; /* Live ones that wait for being told that they caught up. */
    uint64_t position;             /* Everything up to it was handed to live follows. */
    struct stele_reading *reading;
    int64_t read_at_us;
    const struct stele_event *batch;
    size_t batch_count, batch_at;
    struct stele_live event;
    struct stele_arena arena;
};

/* want.c */
STELE_MUST_USE
int stele_subs__want_create(struct stele_alloc *alloc, const struct stele_filter *filter,
                            struct want **out_want, struct stele_error *err);
void stele_subs__want_destroy(struct stele_alloc *alloc, struct want *want);

/* follow.c */
void stele_subs__append(struct follow_list *list, struct stele_follow *follow);
void stele_subs__remove(struct follow_list *list, struct stele_follow *follow);
/* One bounded piece of catching up. The follow is CATCHING_UP and in no queue. */
void stele_subs__piece(struct stele_follow *follow);
/* Live, and everything there is was handed out. */
void stele_subs__arrived(struct stele_follow *follow);
/* To the end of the queue. */
void stele_subs__queue(struct stele_follow *follow);
/* A live event that concerns the follow's name. */
void stele_subs__deliver(struct stele_follow *follow, const struct stele_event *event);
void stele_subs__close_reading(struct stele_follow *follow);
/* Takes the follow from wherever it is. */
void stele_subs__unlink(struct stele_follow *follow);

/* hub.c */
void stele_subs__wake(struct stele_hub *hub);
void stele_subs__keep(struct stele_hub *hub); /* Something to be closed when it has been idle. */
/* The follow has seen everything up to follow->seen, which is not before the hub's position. */
STELE_MUST_USE
int stele_subs__attach(struct stele_follow *follow);
void stele_subs__detach(struct stele_follow *follow); /* LIVE: from its topic. */

#endif
