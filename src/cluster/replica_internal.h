/* Shared by the files of the replica: replica.c (the order, and what follows from it) and forward.c (how commands get
 * into it). Nobody else includes it. */
#ifndef STELE_CLUSTER_REPLICA_INTERNAL_H
#define STELE_CLUSTER_REPLICA_INTERNAL_H

#include "base/position.h"
#include "cluster/replica.h"

/* Messages between nodes, after one byte that says which: a frame of Raft, commands that are forwarded to a leader
 * (number, then one after the other), what a leader has of them, and what time it is. */
enum { MESSAGE_RAFT = 1, MESSAGE_FORWARD = 2, MESSAGE_HAVE = 3, MESSAGE_TIME = 4 };
#define MESSAGE_VERSION 1
/* A time with this in its third byte comes before commands that are forwarded to who gets it: they would like these
 * stamps. Who does not know that takes it for any other time. */
#define TIME_IS_FOR_STAMPS 1

/* A list of proposals; the order is that of asking. */
struct list {
    struct stele_proposal *first, *last;
};

/* What an origin has forwarded to this node as leader of a group. */
struct inbound {
    uint64_t origin, boot, term, last;
};

struct group {
    /* As origin. */
    struct list queued; /* Not forwarded in the present term. */
    struct list sent;   /* Forwarded in lane_term, not seen as committed. */
    uint64_t lane_term;
    uint64_t lane_leader;
    uint64_t number; /* Of the last that was forwarded in lane_term. */
    uint64_t have;   /* The last that the leader said it has. */
    int64_t resend_at_us;
    bool resend;  /* From have + 1 on. */
    bool refused; /* Not now: wait for resend_at_us. */
    /* How long it takes from forwarding until this node has it in its log: to the leader and back. */
    int64_t distance_us;
    uint64_t asked_id; /* Of the one that is timed, since asked_at_us; 0: none. */
    int64_t asked_at_us;
    /* As anybody. */
    uint64_t leader, term; /* As libraft sees it. */
    bool leads;
    uint64_t stamp; /* The highest that the log of this node has, or is about to have. */
    uint64_t committed_term;
    /* A snapshot to be taken once everything up to its stamp is durable. */
    uint64_t next_index, next_stamp;
    uint64_t last_index, last_stamp; /* Committed. */
    bool installing;
    uint64_t install_stamp;
    struct inbound *inbound;
    size_t inbound_count, inbound_capacity;
};

struct clock_of {
    uint64_t node;
    int64_t ahead_us; /* Of ours. */
    int64_t at_us;
};

/* Stamps that were announced everywhere for commands that come next: see announce(). */
struct wish {
    uint64_t node;
    uint64_t tick; /* The first that is left; 0: none. */
};

struct stele_replica {
    struct stele_alloc *alloc;
    struct stele_raft *raft;
    struct stele_merge *merge;
    struct stele_replica_options options;
    struct stele_replica_env env;
    void *context;
    struct group *groups; /* partitions, then the meta group. */
    uint64_t proposals;
    uint64_t proposals_size;
    uint64_t next_id;
    struct stele_hlc clock;
    uint64_t wanted;    /* The highest stamp of a command in this node's log. */
    uint64_t durable;   /* Executed and durable, by what execute()'s owner has told. */
    uint64_t executing; /* The stamp of the last that was given to execute(). */
    uint64_t fetch_from, fetch_stamp;
    bool fetching;
    bool catching_up; /* fetch() is due, whatever the logs say. */
    bool opening;
    int64_t now_us;
    int64_t ticked_at_us, time_at_us, snapshot_at_us;
    struct clock_of clocks[STELE_RAFT_NODES_MAX];
    size_t clocks_count;
    struct wish wish; /* The last one. */
    struct stele_buf scratch;
    int outcome; /* What ended this node's part. */
    struct stele_replica_counts counts;
};

/* A message that means nothing: STELE_E_INVALID. */
int stele_replica__fail_message(struct stele_error *err, uint64_t from, const char *what);
/* A stamp above every other that this node has seen. 0: the clock has run out. */
uint64_t stele_replica__next_stamp(struct stele_replica *replica, uint32_t group);
/* The same for a command of this node: the one that was wished for, if it is above every other. */
uint64_t stele_replica__wished_stamp(struct stele_replica *replica, uint32_t group, uint64_t from);
/* Commands are about to be forwarded to this leader. */
void stele_replica__announce(struct stele_replica *replica, uint64_t leader, uint64_t count);

/* ---- forward.c ---- */

/* Puts an entry into the log of a group, as its leader in this term. As stele_raft_submit(). */
int stele_replica__submit(struct stele_replica *replica, uint32_t group, uint64_t term,
                          const struct stele_entry *entry);
/* Sends what is queued on its way, and again what was lost. */
void stele_replica__route(struct stele_replica *replica, uint32_t group);
int stele_replica__on_forward(struct stele_replica *replica, uint64_t from,
                              struct stele_bytes message, struct stele_error *err);
int stele_replica__on_have(struct stele_replica *replica, uint64_t from, struct stele_bytes message,
                           struct stele_error *err);

/* A command of this node's own was committed: which one was it? It is on no list any more. NULL: not known. */
struct stele_proposal *stele_replica__take_own(struct stele_replica *replica, uint32_t group,
                                               uint64_t id);
/* It stays this node's for a little longer: as if it had just been sent. */
void stele_replica__put_back(struct stele_replica *replica, struct stele_proposal *proposal);
/* A proposal that is on no list has come to its end. */
void stele_replica__forget(struct stele_replica *replica, const struct stele_proposal *proposal);
/* The same, and its owner is told that nobody here knows how. */
void stele_replica__end_unknown(struct stele_replica *replica, struct stele_proposal *proposal,
                                const char *words);
/* What was sent and may stand below a snapshot: nobody here will learn what became of it. */
void stele_replica__give_up_sent(struct stele_replica *replica, uint32_t group, const char *words);
void stele_replica__give_up_late(struct stele_replica *replica);
void stele_replica__give_up_all(struct stele_replica *replica);

#endif
