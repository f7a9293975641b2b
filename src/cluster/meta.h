/* The table of a cluster: who its nodes are, what they agreed on. It is the state machine of the meta
 * group: every node applies the same entries in the same order and so has the same table.
 *
 *     JOINING ──ACTIVATE──▶ ACTIVE ◀─UNDRAIN── DRAINING
 *        │                    │ └────DRAIN───────▶ │
 *        └──────── REMOVE, REPLACE: gone, remembered by incarnation ◀┘
 *
 * A node's number stands for one incarnation of one disk and is never given again (K8). Whoever comes
 * with a number and another incarnation, with an incarnation and another number, or with less than it
 * was known to have, is refused with words that say what has happened and what to do.
 *
 * Pure: no memory of its own, no clock, no I/O. What it does depends on the entry and on the table
 * alone. A command that is refused leaves nothing, not even a version.
 *
 * Invariants: T1 equal entries give equal tables, byte for byte in their snapshots. T2 numbers are given
 * once. T3 an incarnation is in the table at most once, removed ones included. T4 names and cluster
 * addresses of nodes that are not removed differ. T5 at least one node is ACTIVE. T6 every node
 * has all features of the gates. T7 leaders are ACTIVE nodes. T8 the version grows by one with every change,
 * and only then. T9 voters are nodes of the table, each once in a row and by number. */
#ifndef STELE_CLUSTER_META_H
#define STELE_CLUSTER_META_H

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/position.h"

#define STELE_META_NODES_MAX 64 /* Not removed: as many as a Raft group can have. */
/* Removed ones whose incarnation is remembered; the oldest is forgotten first. Their numbers are
 * refused for ever all the same. */
#define STELE_META_REMOVED_MAX 128
#define STELE_META_SETTINGS_MAX 32
/* Settings that mean something to the cluster itself. */
#define STELE_META_REPLICATION_FACTOR "replication-factor" /* 1 … 7: voters of each partition. */
/* "paused": nothing moves; "manual": what has to, and what an operator asks for. */
#define STELE_META_REBALANCE "rebalance"
/* Bytes that have to stay free on a node's disk for it to get more: "500MiB", "20GiB". */
#define STELE_META_DISK_RESERVE "disk-reserve"
#define STELE_META_REPLICAS_MAX 7
/* Bytes of text, without the zero at the end. */
#define STELE_META_NAME_MAX 32
#define STELE_META_ADDRESS_MAX 260 /* The longest host name, ":" and a port. */
#define STELE_META_VERSION_MAX 32
#define STELE_META_KEY_MAX 32
#define STELE_META_VALUE_MAX 128

#define STELE_META_ID_SIZE 16
#define STELE_META_SNAPSHOT_SIZE_MAX ((size_t)64 * 1024)
#define STELE_META_COMMAND_SIZE_MAX ((size_t)10 * 1024)
#define STELE_META_HELLO_SIZE_MAX ((size_t)640)
#define STELE_META_PAST_MAX 16
#define STELE_META_WORDS_SIZE 400

/* What the nodes of a cluster must understand to be in it at all. Smaller novelties are features. */
#define STELE_META_FORMAT 1
/* What this version knows beyond that, a bit for each. It is used from when the gate has risen, which it
 * does when every node of the table has it, and it never falls again. */
#define STELE_META_FEATURE_HASHES UINT64_C(1) /* Nodes tell each other hashes.h's hashes. */
#define STELE_META_FEATURE_VOTERS UINT64_C(2) /* Partitions have voters of their own: PLACE. */
#define STELE_META_FEATURE_PAST                                                                    \
    UINT64_C(4) /* Nodes tell which starts their disks know of: START. */
#define STELE_META_FEATURES                                                                        \
    (STELE_META_FEATURE_HASHES | STELE_META_FEATURE_VOTERS | STELE_META_FEATURE_PAST)

enum stele_meta_state {
    STELE_META_JOINING = 1, /* Gets the events; no voter yet, or not in every group. */
    STELE_META_ACTIVE = 2,
    STELE_META_DRAINING = 3, /* A voter that leads nothing: about to be restarted or removed. */
};

/* The starts that a disk knows of, the newest last, by their counts, which grow. It forgets those before one that it
 * found in the table. Who was copied and the copy go on with different random numbers, so a disk that
 * does not know the start that the table has is not the one that was started then, however often it is started. */
struct stele_meta_past {
    size_t count;
    struct stele_meta_start {
        uint64_t starts, boot; /* As in struct stele_meta_node. */
    } starts[STELE_META_PAST_MAX];
};

/* One more start, before anybody is told of it. false: there is no room, because none of so many has reached the table
 * that this disk has; then this one goes by the last one's numbers, and nobody has to know it. */
bool stele_meta_past_add(struct stele_meta_past *past, uint64_t starts, uint64_t boot);
/* The table has this one: those before it cannot come up any more, unless in older tables. */
void stele_meta_past_found(struct stele_meta_past *past, uint64_t starts, uint64_t boot);
/* Could this be a start of the disk that tells this? False only if it cannot be. */
bool stele_meta_past_may_have(const struct stele_meta_past *past, uint64_t starts, uint64_t boot);

struct stele_meta_node {
    uint64_t number; /* 1 … */
    uint8_t incarnation[STELE_META_ID_SIZE];
    enum stele_meta_state state;
    char name[STELE_META_NAME_MAX + 1];               /* [A-Za-z0-9][A-Za-z0-9._-]* */
    char zone[STELE_META_NAME_MAX + 1];               /* As a name, or empty. */
    char cluster_address[STELE_META_ADDRESS_MAX + 1]; /* host:port, for nodes. */
    char client_address[STELE_META_ADDRESS_MAX + 1];  /* host:port, for clients. */
    char version[STELE_META_VERSION_MAX + 1];         /* Of its software: for people. */
    uint64_t features;                                /* A bit for each gate that it could pass. */
    /* How often this incarnation had been started, counted durably on its disk before it says a word;
     * and a random number of that start. 0, 0: it does not count. Starts that went by the numbers of an
     * earlier one (stele_meta_past_add()) are not seen here. */
    uint64_t starts, boot;
};

struct stele_meta_removed {
    uint64_t number;
    uint8_t incarnation[STELE_META_ID_SIZE];
    char name[STELE_META_NAME_MAX + 1];
};

struct stele_meta_setting {
    char key[STELE_META_KEY_MAX + 1]; /* [a-z0-9][a-z0-9._-]* */
    char value[STELE_META_VALUE_MAX + 1];
};

/* To read; changed by stele_meta_apply() only. About 140 KiB: keep it off small stacks. */
struct stele_meta {
    uint64_t version; /* 0: not founded, and nothing else counts. */
    uint8_t cluster_id[STELE_META_ID_SIZE];
    uint32_t format;
    uint32_t partitions;    /* 1 … 1024 */
    uint32_t partition_key; /* STELE_KEY_… */
    uint64_t next_number;
    uint64_t gates;
    uint64_t leaders_version; /* Of the table, when the leaders last changed. */
    uint64_t voters_version;  /* And the voters; 0: they were never placed. */
    size_t nodes_count, removed_count, settings_count;
    struct stele_meta_node nodes[STELE_META_NODES_MAX];          /* By number. */
    struct stele_meta_removed removed[STELE_META_REMOVED_MAX];   /* By number. */
    struct stele_meta_setting settings[STELE_META_SETTINGS_MAX]; /* By key. */
    uint64_t leaders[STELE_PARTITIONS_MAX]; /* Who should lead each partition; 0: anybody. */
    /* Who should vote in each partition, by number, then 0; nobody: every node should. The others get its log as well,
     * and do not count. */
    uint64_t voters[STELE_PARTITIONS_MAX][STELE_META_REPLICAS_MAX];
};

/* ---- Outcomes, of commands and of greetings ---- */

enum stele_meta_outcome {
    STELE_META_DONE,
    STELE_META_SAME, /* It is so already. */
    /* Refusals. */
    STELE_META_NOT_FOUNDED,
    STELE_META_FOUNDED_ALREADY,
    STELE_META_WRONG_CLUSTER,
    STELE_META_OTHER_PARTITIONS,
    STELE_META_OLDER_FORMAT, /* The other's is older than this cluster's. */
    STELE_META_NEWER_FORMAT,
    STELE_META_SOFTWARE_TOO_OLD, /* It lacks features that the cluster already uses. */
    STELE_META_NAME_TAKEN,
    STELE_META_ADDRESS_TAKEN,
    STELE_META_CLONED,      /* Data of one node are used by two. */
    STELE_META_WIPED,       /* A number with other data than it was given for. */
    STELE_META_ROLLED_BACK, /* Data of an earlier time. */
    STELE_META_REMOVED,
    STELE_META_UNKNOWN_NODE,
    STELE_META_FULL,
    STELE_META_LAST_NODE,
    STELE_META_NO_QUORUM,
    STELE_META_STILL_ALIVE,
    STELE_META_WRONG_STATE,
    STELE_META_STALE, /* The table has changed since the plan was made. */
    STELE_META_INVALID,
    STELE_META_OUTCOMES_COUNT
};

/* "name-taken" for STELE_META_NAME_TAKEN, and so on. */
const char *stele_meta_outcome_name(enum stele_meta_outcome outcome);
/* "joining", "active", "draining". */
const char *stele_meta_state_name(enum stele_meta_state state);

struct stele_meta_result {
    enum stele_meta_outcome outcome;
    uint64_t number;                   /* Of the node that it was about; 0: none. */
    uint64_t version;                  /* Of the table afterwards. */
    char words[STELE_META_WORDS_SIZE]; /* Of refusals: what and why, and what to do. Else empty. */
};

/* ---- Commands ---- */

enum stele_meta_kind {
    STELE_META_FOUND = 1,    /* cluster, node: the first entry; node gets number 1 and is ACTIVE. */
    STELE_META_JOIN = 2,     /* cluster, node */
    STELE_META_ACTIVATE = 3, /* number: its data are complete, it votes everywhere. */
    STELE_META_DRAIN = 4,    /* number */
    STELE_META_UNDRAIN = 5,  /* number */
    STELE_META_REMOVE = 6,   /* number, alive */
    STELE_META_REPLACE = 7,  /* number (the lost one), alive, cluster, node (the new one) */
    STELE_META_UPDATE = 8,   /* number, node: what it has become, on each start. */
    STELE_META_GATE = 9,     /* features: gates to raise. */
    STELE_META_SET = 10,     /* setting; an empty value takes it away. */
    STELE_META_PREFER = 11,  /* leaders of all partitions */
    STELE_META_PLACE = 12,   /* voters of all partitions; if_version is not 0 */
    STELE_META_START =
        13, /* number, node, past: UPDATE from when the gate STELE_META_FEATURE_PAST has risen. */
};

/* Only what stands at the kind counts. */
struct stele_meta_command {
    enum stele_meta_kind kind;
    uint64_t if_version; /* Refused as stale unless the table has this version; 0: any. */
    uint64_t number;
    /* Of the cluster that is founded, or that the node believes to join. */
    uint8_t cluster_id[STELE_META_ID_SIZE];
    uint32_t format, partitions, partition_key;
    struct stele_meta_node node; /* Its number and state do not count. */
    struct stele_meta_past past; /* Ends with the node's start. */
    /* Who answers at present, as far as the proposer knows (itself included); none: not known. Removing looks
     * at it, because what must not happen is that those who remain cannot decide any more. */
    size_t alive_count;
    uint64_t alive[STELE_META_NODES_MAX];
    uint64_t features;
    struct stele_meta_setting setting;
    uint64_t leaders[STELE_PARTITIONS_MAX]; /* The first `partitions` ones. */
    /* Of the first `partitions` ones: 1 + the places of nodes in the table, growing, then 0. */
    uint8_t voters[STELE_PARTITIONS_MAX][STELE_META_REPLICAS_MAX];
};

/* Returns the size. What is encoded has to fit: texts end within their arrays, counts are in their bounds. */
size_t stele_meta_command_encode(const struct stele_meta_command *command,
                                 uint8_t to[STELE_META_COMMAND_SIZE_MAX]);
/* Any bytes are safe. Only the form is looked at; what a command means is judged by the table.
 * STELE_OK, STELE_E_CORRUPT (no command), STELE_E_FORMAT (one of a newer version). */
STELE_MUST_USE
int stele_meta_command_decode(struct stele_bytes bytes, struct stele_meta_command *out_command);

/* ---- The table ---- */

void stele_meta_init(struct stele_meta *meta);

/* Applies one committed entry. An empty one (Raft's own) is the same as nothing.
 *
 * STELE_OK; *out_result says what became of it. STELE_E_CORRUPT, STELE_E_FORMAT: the entry cannot be understood,
 * so this node must not go on: others may have. Nothing was changed. */
STELE_MUST_USE
int stele_meta_apply(struct stele_meta *meta, struct stele_bytes entry,
                     struct stele_meta_result *out_result);
/* What applying it would end with, as far as the table is the newest: for plans, and in order not to submit
 * what will be refused. The table stays as it is. */
void stele_meta_judge_command(const struct stele_meta *meta,
                              const struct stele_meta_command *command,
                              struct stele_meta_result *out_result);

/* NULL: there is no such node, or it has been removed. */
const struct stele_meta_node *stele_meta_find(const struct stele_meta *meta, uint64_t number);
const struct stele_meta_node *stele_meta_find_name(const struct stele_meta *meta, const char *name);
/* How many voters a partition has in the table; 0: every node votes. */
size_t stele_meta_voters_count(const struct stele_meta *meta, uint32_t partition);
/* Should this node of the table vote in this partition? */
bool stele_meta_should_vote(const struct stele_meta *meta, uint32_t partition, uint64_t number);
/* NULL: it is not set. */
const char *stele_meta_setting(const struct stele_meta *meta, const char *key);
/* Features that every node has: what GATE may raise. All bits if there is no node. */
uint64_t stele_meta_common_features(const struct stele_meta *meta);

/* Returns the size. */
size_t stele_meta_encode(const struct stele_meta *meta, uint8_t to[STELE_META_SNAPSHOT_SIZE_MAX]);
/* Any bytes are safe. STELE_OK, STELE_E_CORRUPT, STELE_E_FORMAT; *out_meta is undefined unless STELE_OK. */
STELE_MUST_USE
int stele_meta_decode(struct stele_bytes bytes, struct stele_meta *out_meta);

/* Asserts T2 to T7. */
void stele_meta_check(const struct stele_meta *meta);

/* ---- Greetings ---- */

/* What a node says first to another. */
struct stele_meta_hello {
    uint8_t cluster_id[STELE_META_ID_SIZE];
    uint64_t number;
    uint8_t incarnation[STELE_META_ID_SIZE];
    uint32_t format, partitions, partition_key;
    uint64_t features;
    uint64_t starts, boot;  /* As in the table. */
    uint64_t table_version; /* Of the table that it has. */
    uint64_t durable; /* A number that never falls on one disk: where its log ends, durably. */
    char version[STELE_META_VERSION_MAX + 1];
    struct stele_meta_past
        past; /* Ends with this start; none: to nodes that may be too old to know what it is. */
};

/* Returns the size. */
size_t stele_meta_hello_encode(const struct stele_meta_hello *hello,
                               uint8_t to[STELE_META_HELLO_SIZE_MAX]);
/* Any bytes are safe. STELE_OK, STELE_E_CORRUPT, STELE_E_FORMAT. */
STELE_MUST_USE
int stele_meta_hello_decode(struct stele_bytes bytes, struct stele_meta_hello *out_hello);

/* The most that this node has seen of another one since it was started; all 0: nothing. */
struct stele_meta_seen {
    uint64_t starts, boot, durable;
};
/* After an accepted greeting. */
void stele_meta_seen_add(struct stele_meta_seen *seen, const struct stele_meta_hello *hello);

/* May the node that says this speak to node `self`, which has this table? STELE_META_DONE, or a refusal with
 * words for the operator of that node. A number that is not in the table yet is let in if its table is newer.
 * STELE_META_STALE is no refusal: it has to greet again, with its past, before it may say more; it does so as soon as
 * it was greeted. seen may be NULL. */
enum stele_meta_outcome stele_meta_judge_hello(const struct stele_meta *meta, uint64_t self,
                                               const struct stele_meta_hello *hello,
                                               const struct stele_meta_seen *seen,
                                               char words[STELE_META_WORDS_SIZE]);

#endif
