/* What services may ask about the cluster that this node belongs to, and ask of it. A server that
 * stands alone has one, too (api/member/alone.h): of one node, which leads for ever. Services never
 * look behind this.
 *
 * Appends and reads do not come through here: struct stele_engine (api/engine.h) is the same in a
 * cluster and without one. What comes through here is
 *
 *   who is there        view(): gossip, discovery by clients, consoles
 *   who leads           is_leader(), leader(), role watches: what exists once in a cluster lives on
 *                       the node that leads, and the others send its clients there
 *   may it serve        readiness(): load balancers
 *   what is true now    linearize(): reads that must see everything acknowledged before them
 *   what operators do   status_json(), command()
 *
 * "The leader" is one node of the cluster: the one that leads its meta group. Two nodes may believe
 * for a moment that they are it, so whatever must not be done twice is decided by the store (an
 * expected revision), never by is_leader(). */
#ifndef STELE_API_CLUSTER_H
#define STELE_API_CLUSTER_H

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/status.h"
#include "io/loop.h"

#define STELE_CLUSTER_NODES_MAX 64
#define STELE_CLUSTER_HOST_SIZE 256
#define STELE_CLUSTER_NAME_SIZE 64
#define STELE_CLUSTER_BODY_MAX 65536 /* Bytes of a command. */

struct stele_cluster;

/* ---- Who is there ---- */

enum stele_node_state {
    STELE_NODE_STARTING,    /* Known, and nothing heard of it yet. */
    STELE_NODE_CATCHING_UP, /* Joining, or too far behind to be read from. */
    STELE_NODE_LEADERLESS,  /* Its store can be read; it knows no majority. */
    STELE_NODE_FOLLOWER,
    STELE_NODE_LEADER,
    STELE_NODE_DRAINING, /* Still a member; gives up what it leads. */
    STELE_NODE_STOPPED,  /* It said that it goes, or was removed. */
};

struct stele_node_seen {
    uint64_t number;         /* 0: a server that stands alone. */
    uint8_t instance_id[16]; /* Of its incarnation; version 4, as some clients insist on it. */
    char name[STELE_CLUSTER_NAME_SIZE];
    char host[STELE_CLUSTER_HOST_SIZE]; /* For clients. */
    uint16_t port;
    enum stele_node_state state;
    bool is_alive;              /* Heard of lately. Of this node: true. */
    int64_t heard_wall_us;      /* When; of this node: 0, which is to say now. */
    uint64_t term;              /* The highest of its meta group that it told of. */
    uint64_t position_executed; /* Of the last event in its store. */
    char version[32];           /* Of this node: "", which is to say ours. */
};

/* Everything as of one moment. About 25 KB: for the heap, or a struct that lies there. */
struct stele_cluster_view {
    bool is_cluster; /* false: a server that stands alone. */
    uint8_t cluster_id[16];
    size_t this_node; /* Index. */
    size_t leader;    /* Index; SIZE_MAX: none is known. */
    size_t count;     /* At least 1. In order of their numbers. */
    struct stele_node_seen nodes[STELE_CLUSTER_NODES_MAX];
};

/* ---- Who leads ---- */

/* Where the leader is. */
struct stele_cluster_leader {
    uint64_t number;
    char host[STELE_CLUSTER_HOST_SIZE];
    uint16_t port;
};

/* Told when is_leader() or leader() may have changed. Embedded in whoever wants to know; stop it
 * before that goes. */
struct stele_role_watch {
    struct stele_role_watch *next, *previous; /* The cluster's. */
    struct stele_loop *loop;
    /* On the loop. Many changes may become one call, and nothing may have changed: ask. May stop
     * this watch, not others. */
    void (*on_role_changed)(struct stele_role_watch *watch);
};

/* ---- May it serve ---- */

struct stele_cluster_readiness {
    bool is_ready;
    /* If not: "catching up: 12,000 events behind", "no majority of the nodes is there", … */
    char why[192];
};

/* ---- What is true now ---- */

/* Embedded by whoever asks; alive until on_done, which comes once, on the loop, never before
 * linearize() has returned, and within a bounded time. */
struct stele_linearizing {
    struct stele_task task; /* The cluster's, like the next. */
    void *cluster;
    struct stele_linearizing *next;
    int64_t due_us;

    struct stele_loop *loop;
    void (*on_done)(struct stele_linearizing *linearizing);
    /* STELE_OK: a read begun now, on any loop of this node, sees all that was acknowledged anywhere
     * before linearize() was called. STELE_TIMED_OUT: no majority, or far behind. STELE_E_CLOSED. */
    int outcome;
};

/* ---- What operators do ---- */

/* A change of the cluster. The words and the bodies are the cluster's: services pass them on. Alive
 * until on_done (as above). */
struct stele_cluster_command {
    struct stele_task task; /* The cluster's, like the next two. */
    void *cluster;
    struct stele_cluster_command *next;

    struct stele_loop *loop;
    void (*on_done)(struct stele_cluster_command *command);
    char verb[32];           /* "join", "drain", "remove", …: what stood in the request. */
    struct stele_bytes body; /* JSON or nothing, up to STELE_CLUSTER_BODY_MAX; borrowed. */
    const char *user;        /* Who asks; borrowed, too, until on_done. */
    /* STELE_OK; STELE_NOT_FOUND (no such verb or node); STELE_E_INVALID; STELE_CONDITION_FAILED
     * (not in this state of the cluster); STELE_E_UNKNOWN (it may happen yet);
     * STELE_E_OVERLOADED, STELE_E_CLOSED, … */
    int outcome;
    struct stele_error err;
    /* JSON, allocated with alloc; filled if the outcome is STELE_OK. Whoever asked releases it. */
    struct stele_alloc *alloc;
    struct stele_buf answer;
};

/* ---- Numbers ---- */

struct stele_cluster_counts {
    uint64_t nodes, nodes_alive;
    uint64_t groups;            /* Raft groups, the meta group among them. */
    uint64_t groups_led;        /* By this node. */
    uint64_t groups_leaderless; /* Of which this node knows no leader. */
    uint64_t term_max;          /* Over all groups. */
    uint64_t elections;         /* Changes of a leader that this node has seen since it started. */
    uint64_t log_lag;           /* Entries that are committed and not yet executed here. */
    uint64_t closed_lag_us;     /* How far the closed stamp is behind this node's clock; idle: 0. */
    uint64_t commands_waiting;  /* Of this node's clients. */
    uint64_t installs;  /* Times that this node fetched instead of executing, since it started. */
    uint64_t imbalance; /* Groups that this node leads and another one should. */
    uint64_t wal_size;  /* Bytes. */
    uint64_t moving;    /* Partitions whose voters change places. */
    uint64_t missing;   /* Partitions that have fewer voters than they should. */
    /* How far the node that is furthest from the mean is from it, in percent: in votes, in the bytes and the work of the
     * partitions in which nodes vote, and in the work of those that they lead. */
    uint32_t imbalance_votes, imbalance_bytes, imbalance_rate, imbalance_leaders;
    uint64_t moves; /* Votes that were handed on by groups that this node led, since it started. */
    uint64_t disk_full; /* 1: no room on this node's disk. It takes no appends and leads nothing. */
    uint64_t
        mismatches; /* Windows of time in which another node executed otherwise than this one. */
};

struct stele_cluster_ops {
    /* Any thread, all of these; none blocks for longer than it takes to copy. */
    void (*view)(struct stele_cluster *cluster, struct stele_cluster_view *out_view);
    bool (*is_leader)(struct stele_cluster *cluster);
    /* false: none is known (an election). */
    bool (*leader)(struct stele_cluster *cluster, struct stele_cluster_leader *out_leader);
    void (*readiness)(struct stele_cluster *cluster, struct stele_cluster_readiness *out_readiness);
    /* false: a server that stands alone; nothing is written. */
    bool (*counts)(struct stele_cluster *cluster, struct stele_cluster_counts *out_counts);

    /* On the watch's loop. After start() has returned, every change is told; after stop(), none is. */
    void (*watch_start)(struct stele_cluster *cluster, struct stele_role_watch *watch);
    void (*watch_stop)(struct stele_cluster *cluster, struct stele_role_watch *watch);

    /* On the asker's loop. */
    void (*linearize)(struct stele_cluster *cluster, struct stele_linearizing *linearizing);
    void (*command)(struct stele_cluster *cluster, struct stele_cluster_command *command);
    /* Appends the document of GET /cluster (JSON, with a newline at its end). STELE_OK,
     * STELE_E_NO_MEMORY, STELE_NOT_FOUND: this is no cluster. */
    STELE_MUST_USE
    int (*status_json)(struct stele_cluster *cluster, struct stele_alloc *alloc,
                       struct stele_buf *out);
};

struct stele_cluster {
    const struct stele_cluster_ops *ops;
    bool is_alone; /* One node for ever: leads, is never asked to linearize, has no document. */
};

#endif
