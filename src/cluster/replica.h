/* A node's part of a cluster: from what clients ask to one order that every node executes.
 *
 *     propose ──▶ [ forward to the leader ] ──▶ Raft ──▶ committed ──▶ merge by stamp ──▶ execute
 *
 * docs/internals/cluster.md is the design; K1 … K9 are its invariants. Everything here is a state
 * machine: it owns no thread, lock, clock, socket or file (but the WAL's, through struct stele_io), and
 * calls back only from stele_replica_turn() and stele_replica_open(). One thread at a time.
 *
 * The store is the owner's: execute() hands him the next command of the order, and he tells how far its effects
 * are durable. */
#ifndef STELE_REPLICA_CLUSTER_H
#define STELE_REPLICA_CLUSTER_H

#include "cluster/command.h"
#include "cluster/merge.h"
#include "raft/raft.h"

struct stele_replica;

/* A command of this node's clients on its way. Embedded by whoever proposes it; alive until it was
 * executed or given up. */
struct stele_proposal {
    struct stele_proposal *next, *previous; /* The cluster's, like all but bytes and group. */
    struct stele_bytes bytes;               /* A command; the owner's, unchanged until the end. */
    uint64_t id;
    uint64_t number; /* Among those forwarded in the lane's term. */
    int64_t since_us;
    uint32_t group; /* The partition of its first stream: the owner's. */
};

struct stele_replica_env {
    int64_t (*wall_us)(void *context); /* Microseconds since 1970; may jump. */
    /* Copied before it returns. May be lost, late, twice, but per connection in order. */
    void (*send)(void *context, uint64_t node, struct stele_bytes message);
    /* The next command of the order, to be executed on the store behind all before it. It is the callee's now. Its own
     * is the proposal it came from, which the cluster forgets, or NULL for another node's. */
    void (*execute)(void *context, struct stele_ordered *command);
    /* It will not be executed by this call's doing: STELE_E_OVERLOADED (definitely not done) or STELE_E_UNKNOWN. */
    void (*give_up)(void *context, struct stele_proposal *own, int outcome, const char *words);
    /* Everything that was given to execute() is to be finished; then get the store's appends up to at least this stamp from
     * another node (from, or anybody if it is 0), and call stele_replica_fetched(). Nothing is given to execute() meanwhile. */
    void (*fetch)(void *context, uint64_t from, uint64_t stamp);
    /* A committed entry of the meta group, in order. own: proposed here with this id. */
    void (*meta)(void *context, uint64_t index, bool own, uint64_t id, struct stele_bytes body);
    /* The meta group continues behind a snapshot: the owner's state becomes this. */
    void (*meta_installed)(void *context, uint64_t index, struct stele_bytes data);
    /* Leaders or terms have changed; ask with stele_replica_leader(). */
    void (*changed)(void *context, uint32_t group);
};

struct stele_replica_options {
    struct stele_raft_options raft; /* groups_count is set from partitions. */
    uint32_t partitions;
    uint64_t boot;     /* Another one in each life of the process. */
    uint64_t executed; /* The stamp up to which the store has everything. */
    bool catching_up;  /* A copy of another node's store was not finished: fetch() comes first. */
    uint32_t proposals_max;
    uint64_t proposals_size_max; /* Bytes. */
    int64_t resend_us;           /* Forwarded and nothing heard. */
    int64_t give_up_us;          /* No leader, or nothing heard. */
    /* Commands are announced to all nodes when a leader is at least as far as this, there and back: see
     * docs/internals/cluster.md. */
    int64_t announce_us;
    /* Least time between two rounds of ticks. Commands wait for ticks everywhere: to save some costs more than they do. */
    int64_t tick_us;
    int64_t
        time_us; /* Between two messages about what time it is, and what there is to be closed. */
};
struct stele_replica_options stele_replica_options_default(void);

STELE_MUST_USE
int stele_replica_open(struct stele_io *io, const struct stele_replica_options *options,
                       const struct stele_replica_env *env, void *context, int64_t now_us,
                       struct stele_replica **out_replica, struct stele_error *err);
/* Gives every proposal up. NULL is fine. */
void stele_replica_close(struct stele_replica *replica);

/* STELE_OK: it is on its way: execute() or give_up() will be called with it. STELE_E_OVERLOADED, STELE_E_INVALID. */
STELE_MUST_USE
int stele_replica_propose(struct stele_replica *replica, struct stele_proposal *proposal,
                          int64_t now_us, struct stele_error *err);
/* An entry of the meta group. STELE_NOT_FOUND: this node does not lead it. */
STELE_MUST_USE
int stele_replica_propose_meta(struct stele_replica *replica, struct stele_bytes body,
                               uint64_t *out_id);

/* A message of a peer. STELE_E_INVALID: it means nothing; the connection is to be closed. */
STELE_MUST_USE
int stele_replica_receive(struct stele_replica *replica, uint64_t from, struct stele_bytes message,
                          int64_t now_us, struct stele_error *err);
/* As stele_raft_turn(). now_us: monotonic. */
STELE_MUST_USE
int stele_replica_turn(struct stele_replica *replica, int64_t now_us, struct stele_error *err);
int64_t stele_replica_due_us(const struct stele_replica *replica);

/* Group commit of the WAL. */
bool stele_replica_take(struct stele_replica *replica, struct stele_wal_group *out_group);
void stele_replica_done(struct stele_replica *replica, uint64_t id, int outcome);

/* Is something of other nodes about to come that belongs into the same write as what is staged? Their partitions have to
 * close above the newest command that was seen. */
bool stele_replica_expects(const struct stele_replica *replica);

/* The effects of the command with this stamp, and of all before it, are durable. */
void stele_replica_executed(struct stele_replica *replica, uint64_t stamp);
/* The store has everything up to this stamp, durably. */
void stele_replica_fetched(struct stele_replica *replica, uint64_t stamp);
/* The meta group's entries up to index have become this snapshot. */
STELE_MUST_USE
int stele_replica_meta_snapshot(struct stele_replica *replica, uint64_t index,
                                struct stele_bytes data, struct stele_error *err);

/* ---- Facts ---- */
struct stele_raft *stele_replica_raft(struct stele_replica *replica);
uint32_t stele_replica_meta_group(const struct stele_replica *replica);
/* 0: not known now. */
uint64_t stele_replica_leader(const struct stele_replica *replica, uint32_t group);
struct stele_replica_counts {
    uint64_t closed; /* The lowest closed stamp. */
    uint64_t wanted; /* The highest stamp of a command that was seen. */
    uint64_t
        seen; /* No stamp that this node has ever had is above it, also those that it has trimmed. */
    uint64_t durable;   /* Everything up to this stamp is executed and durable here. */
    uint64_t executed;  /* Commands, in this life. */
    uint64_t waiting;   /* Committed and not executed. */
    uint64_t proposals; /* Of this node's clients, under way. */
    uint64_t ticks, forwarded, resent, refused, unknown, skipped;
    bool fetching;
    uint32_t slowest; /* The partition with the lowest closed stamp. */
};
void stele_replica_counts(const struct stele_replica *replica,
                          struct stele_replica_counts *out_counts);
void stele_replica_check(const struct stele_replica *replica);

#endif
