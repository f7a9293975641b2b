/* The simulator of whole clusters: nodes with their disks, the network between them, and clients, in
 * one thread with a clock of its own.
 *
 * A run is a function of its seed. Everything that happens is an event in one queue, ordered by
 * virtual time. Each node is what ships: src/cluster/replica.h over src/raft over its WAL, and a store
 * that executes what the replica hands out, on disks that lose and tear what was not synced.
 *
 *     main      seeds, totals                      node      a node's life: up, paused, dead
 *     config    what a run is like (swarm)         disks     its disks: the WAL's and the store's writes
 *     queue     virtual time; failing, tracing     execute   commands on its store; answers
 *     net       messages between nodes             fetch     copying from another node's store
 *     world     faults, healing, peace             client    appends, retries; what they are told
 *     place     who votes, changed all the time    members   the table, its commands, greetings
 *     scavenge  what may go, and goes              losses    lost disks, new nodes, the operator
 *                                                  truth     what every node has to have done
 *
 * The truth is one sequence of executed commands. Whoever executes a command first extends it, by
 * what the reference model (lib/model.h) says; whoever executes it later must do the same. */
#ifndef STELE_TESTS_SIM_CLUSTER_WORLD_H
#define STELE_TESTS_SIM_CLUSTER_WORLD_H

#include "base/checksum.h"
#include "base/limits.h"
#include "base/position.h"
#include "cluster/hashes.h"
#include "cluster/plan.h"
#include "cluster/replica.h"
#include "lib/model.h"
#include "lib/rng.h"
#include "lib/simdisk.h"
#include "lib/testalloc.h"
#include "lib/workload.h"
#include "store/store.h"

#define MS UINT64_C(1000)
#define SECOND UINT64_C(1000000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)

#define NODES_MAX 8 /* Incarnations, those of replaced disks included. */
#define PARTITIONS_MAX 8
#define CLIENTS_MAX 8
#define WRITES_MAX 8 /* Of one disk, under way. */
#define TRACE_KEPT 128
#define ATTEMPT_BUCKETS 4096

struct world;
struct node;

/* What a run is like; 0: never. */
struct config {
    uint64_t duration_us;
    uint32_t nodes, partitions, clients;
    uint64_t think_us; /* Between two requests of a client. */
    uint64_t execute_us;
    uint32_t election_ms, heartbeat_ms, trailing;
    uint64_t wal_keep;
    uint64_t segment_size_wal, segment_size_store, index_memory, cache_size;
    uint64_t give_up_us, resend_us, tick_us, retry_us, announce_us;
    uint32_t proposals_max;
    /* The network. */
    uint64_t delay_us;
    uint32_t loss_one_in, twice_one_in, slow_one_in; /* Of Raft's frames. */
    uint64_t break_us;                               /* A connection breaks. */
    uint64_t partition_us, partition_for_us;
    /* Nodes. */
    uint64_t crash_us, downtime_us;
    uint64_t crash_all_us;
    uint32_t kill_percent, loop_percent;
    uint64_t pause_us, pause_for_us, pause_max_us;
    uint64_t clock_us;
    /* Disks. */
    uint64_t latency_us, stall_us, stall_for_us;
    uint64_t sync_us;       /* Between two syncs of a store; 0: with every write. */
    uint64_t full_us;       /* One disk is full for a while. */
    uint64_t fetch_us;      /* Between two chunks. */
    uint32_t damage_one_in; /* Of the chunks, on their way. */
    uint64_t read_us, work_us;
    /* Of lives of hours: most of the time little goes wrong, and now and then a lot. */
    uint64_t burst_us, burst_for_us, burst_every_us;
    uint64_t time_us, healed_us, idle_us;
};

/* ---- queue.c ---- */

typedef void (*world_handler)(struct world *world, struct node *node, void *object,
                              uint64_t number);

struct event {
    uint64_t time, sequence;
    struct node *node; /* NULL: nobody's. */
    uint64_t life;     /* Of the node: dropped in another one; 0: in any. */
    world_handler handler;
    void *object;
    void (*drop)(void *object);
    uint64_t number;
};

struct queue {
    struct event *events; /* A heap. */
    size_t count, capacity;
    uint64_t sequence;
};

/* In this life of the node only; object is released with drop if it does not happen. */
void after(struct world *world, struct node *node, uint64_t delay_us, world_handler handler,
           void *object, void (*drop)(void *object), uint64_t number);
/* Whatever happens. */
void after_always(struct world *world, struct node *node, uint64_t delay_us, world_handler handler,
                  uint64_t number);
/* Runs the next event. false: there is none before until_us. */
bool step(struct world *world, uint64_t until_us);
void queue_deinit(struct world *world);

__attribute__((format(printf, 2, 3))) _Noreturn void fail(struct world *world, const char *format,
                                                          ...);
/* what must be a constant text: it is kept. */
void trace(struct world *world, const struct node *node, const char *what, uint64_t a, uint64_t b,
           uint64_t c);

/* ---- net.c ---- */

struct link {
    uint64_t epoch;   /* Of the connection; what belongs to an older one is lost. */
    uint64_t last_us; /* When the last byte of the connection arrives. */
    uint64_t cut_until_us;
};

void net_send(struct world *world, struct node *from, uint64_t to, struct stele_bytes message);
void net_break(struct world *world, uint32_t a, uint32_t b);
void net_cut(struct world *world, uint32_t from, uint32_t to, uint64_t for_us);
void net_heal(struct world *world);

/* ---- disks.c ---- */

struct write {
    bool used;
    uint64_t id;
    struct stele_file *file;
    uint64_t offset;
    struct stele_bytes bytes;
    struct simdisk_sync *sync;
};

void disks_pump(struct world *world, struct node *node); /* Whatever is staged is on its way. */
void disks_crashed(struct node *node);
/* Of a store that is synced later: something is visible that is not synced. */
void disks_sync_soon(struct world *world, struct node *node);
bool disks_store_is_idle(const struct node *node);

/* ---- client.c ---- */

/* One command on its way; kept to the end of the run. */
struct attempt {
    struct stele_proposal proposal;
    struct client *client; /* NULL: nobody waits for it any more. */
    uint64_t origin, boot, id;
    uint64_t floor; /* A stamp that had been answered when it began. */
    uint8_t *bytes; /* NULL once nobody needs them. */
    bool never;     /* It was said to be in no log. */
    bool executed;  /* It is in the truth. */
    struct operation *operation;
    struct attempt *next; /* Of the same bucket. */
};

struct operation {
    struct workload_request *request;
    uint32_t times; /* It took effect. */
};

struct client {
    uint32_t index;
    struct operation *operation; /* NULL: thinking. */
    struct attempt *attempt;     /* Under way. */
    uint64_t begun_us, tries;
    struct node *node; /* Whom it asks; NULL: anybody. */
};

void client_start(struct world *world);
/* It is on its way under these numbers. */
void client_proposed(struct world *world, struct attempt *attempt);
struct attempt *client_find(struct world *world, uint64_t origin, uint64_t boot, uint64_t id);
/* How an attempt ended: an outcome of a store, STELE_E_OVERLOADED or STELE_E_UNKNOWN. */
void client_told(struct world *world, struct attempt *attempt, int outcome,
                 const struct stele_append_result *result);
/* One more request, of this node and nobody else, when all others have ended. */
void client_ask(struct world *world, struct node *node);
bool client_is_idle(const struct world *world);
void client_free_all(struct world *world);

/* ---- truth.c ---- */

struct truth {
    uint64_t stamp;
    uint64_t origin, boot, id;
    uint64_t hash;
    int outcome;
    struct stele_append_result result;
    uint32_t events; /* Of the model, after it. */
};

/* A node is about to decide a command … */
struct deciding {
    struct stele_command command;
    const struct stele_ordered *ordered;
    struct stele_bytes body;
    struct stele_buf json; /* Of a soft delete: what it is composed of here. */
    uint64_t json_expected;
    int json_outcome;
};
/* … and has decided it: is this what has to be? */
void truth_executed(struct world *world, struct node *node, const struct deciding *deciding,
                    int outcome, const struct stele_append_result *result);
/* The index of the first that is above this stamp. */
size_t truth_after(const struct world *world, uint64_t stamp);
/* Has the node executed everything? What was refused leaves nothing in the store: after a restart it is executed
 * again, or not if the log does not have it any more. */
bool truth_is_done(const struct world *world, const struct node *node);
/* The node's visible events go on as they have to. */
void truth_read(struct world *world, struct node *node);
/* All of them, from the beginning, and the streams. */
void truth_read_all(struct world *world, struct node *node);

/* ---- fetch.c ---- */

struct fetch {
    bool active, ended;
    bool broken;    /* The other one has died. */
    uint64_t from;  /* Whom to ask first; 0: anybody. */
    uint64_t stamp; /* Which is wanted at least. */
    uint64_t through;
    uint32_t peer;
    uint64_t life;
    struct stele_export *export;
    struct stele_replay *replay;
    uint8_t *chunk; /* Being appended. */
};

/* Once everything is durable that it was given to execute. */
void fetch_begin(struct world *world, struct node *node, uint64_t from, uint64_t stamp);
/* Before its store is closed. */
void fetch_crashed(struct world *world, struct node *node);

/* ---- execute.c ---- */

/* An answer that waits until the store is durable so far. */
struct answer {
    uint64_t stamp; /* 0: of looking back. */
    uint64_t place;
    struct attempt *attempt;
    int outcome;
    struct stele_append_result result;
    uint64_t hash; /* Of the command. */
};

void execute_push(struct world *world, struct node *node, struct stele_ordered *command);
/* Everything up to this stamp, of which this one has left something, survives a power cut. */
void execute_synced(struct node *node, uint64_t stamp, uint64_t effect);
void execute_durable(struct world *world, struct node *node);
void execute_crashed(struct world *world, struct node *node);
/* Looks back, then proposes. */
void execute_ask(struct world *world, struct node *node, struct attempt *attempt);

/* ---- node.c ---- */

/* A table of nodes on a disk. */
struct kept {
    uint8_t *bytes; /* NULL: what all founders begin with. */
    size_t size;
    uint64_t applied; /* Of the meta group's entries. */
};

struct node {
    uint32_t index; /* Its number is one more. */
    bool up;
    bool gone;                   /* For good. */
    bool impostor;               /* Its disks are of an earlier time. */
    bool damaged;                /* Bytes of its disks were changed at rest. */
    uint64_t starts;             /* On its disk, as is … */
    struct stele_meta_past past; /* … which of them it goes by, and knows of. */
    struct stele_meta *meta;
    uint64_t meta_applied;
    struct kept kept;
    struct stele_meta_seen seen[NODES_MAX];
    uint64_t heard[NODES_MAX]; /* The life of the one whose greeting was accepted; 0: none. */
    struct stele_hashes hashes;
    struct stele_hashes_peer hashes_of[NODES_MAX];
    uint64_t hashes_life[NODES_MAX];
    uint64_t life;
    uint64_t boot;
    uint64_t paused_until_us, slow_until_us;
    uint64_t loop_until_us; /* Dies again and again. */
    int64_t wall_us;        /* What its clock shows at 0. */
    int64_t mono_us;
    struct simdisk wal_disk, store_disk;
    struct testalloc alloc;
    struct stele_replica *replica;
    struct stele_store *store;
    struct stele_prepared *prepared;
    bool turn_scheduled;
    uint64_t timer;
    struct write wal_writes[WRITES_MAX], store_writes[WRITES_MAX];
    bool rolling;
    uint64_t roll_size;
    /* Executing. */
    struct stele_ordered *first, **last;
    bool executing;
    size_t cursor; /* In the truth: the next that it has to execute. */
    size_t high;   /* The furthest that the cursor has been, in any life. */
    struct answer *answers;
    size_t answers_count, answers_capacity;
    bool fetching; /* The replica waits for it. */
    struct fetch fetch;
    uint64_t visible;          /* Everything up to this stamp can be read here … */
    uint64_t effect;           /* … and the last of it that has left something. */
    struct simdisk_sync *sync; /* Of the store, and what it makes durable. */
    struct stele_log_sync sync_log;
    uint64_t sync_visible, sync_effect;
    bool sync_scheduled;
    /* Scavenging. */
    bool scavenging;
    uint64_t scavenge_base;
    struct stele_work *scavenge_work; /* It has run, and is to be ended. */
    int scavenge_outcome;
    struct stele_error scavenge_err;
    bool power_cut;    /* Since it was last up. */
    uint64_t promised; /* The highest stamp whose effect was said to be durable here. */
    uint32_t read;     /* Events of the model that were read here. */
};

void node_start(struct world *world, struct node *node);
/* If it is down, it is opened now. */
void node_hurry(struct world *world, struct node *node);
void node_kick(struct world *world, struct node *node);
void node_crash(struct world *world, struct node *node, bool power, uint64_t downtime_us);
void node_free(struct world *world, struct node *node);
int64_t node_now(const struct world *world, const struct node *node);
uint64_t node_number(const struct node *node);
/* An error of a call on a node: was it to be expected? Ends its life, or the run. */
void node_failed(struct world *world, struct node *node, int outcome, const char *what,
                 const struct stele_error *err);

/* ---- scavenge.c ---- */

void scavenge_init(struct world *world);
void scavenge_opened(struct world *world, struct node *node);
/* Before its store is closed. */
void scavenge_crashed(struct node *node);
/* The limits of this metastream's stream are about to change, or (NULL) somebody scavenges: what they hide, and is
 * old enough, may be missing from now on. */
void scavenge_mark(struct world *world, const char *metastream);

/* ---- place.c ---- */

struct places;
void place_init(struct world *world);
void place_deinit(struct world *world);
void place_start(struct world *world);
void place_opened(struct world *world, struct node *node);
/* Are all groups what the tables of all nodes say? */
bool place_is_done(struct world *world);
/* Without this node: is everybody there, and does nobody have to become anything? */
bool place_is_settled(struct world *world, const struct node *but);
/* In each row of every table; 0: everybody votes. */
uint32_t place_voters(const struct world *world);

/* ---- members.c, losses.c ---- */

struct members;
void members_init(struct world *world);
void members_deinit(struct world *world);
void members_start(struct world *world);
/* Do nodes come and go in this run? */
bool members_change(const struct world *world);
/* It has a boot. */
void members_opening(struct world *world, struct node *node);
void members_opened(struct world *world, struct node *node);
/* Its disks are at rest. */
void members_crashed(struct world *world, struct node *node);
/* Is this a node whose damage was found? Then it is lost. */
bool members_lose_damaged(struct world *world, struct node *node);
void members_meta(struct world *world, struct node *node, uint64_t index, struct stele_bytes body);
void members_meta_installed(struct world *world, struct node *node, uint64_t index,
                            struct stele_bytes data);
bool members_may_hear(struct world *world, struct node *from, struct node *to);
/* Asks for as many voters of each partition, any ones. */
void members_place(struct world *world, const uint64_t *rows);
bool members_are_done(const struct world *world);
/* With another node, as nodes do it while they run. */
void members_compare(struct world *world, struct node *node);

/* ---- world.c ---- */

struct stats {
    uint64_t events, operations, attempts, executed, executed_first, appended, refused, repeated,
        stale, unknown, overloaded, crashes, power_cuts, crash_all, pauses, partitions, breaks,
        clocks, stalls, full, messages, lost, twice, turns, elections, fetches, fetched, look_backs,
        reads, failed_opens, moves, bursts, replaced, rolled_back, copy_starts, damaged,
        damage_found, damaged_chunks, scavenges, scavenged, scavenged_events, missing, forgotten,
        refused_hellos, meta_proposed, meta_applied, compared, simulated_us;
};

/* How to run a seed. */
struct run {
    bool tracing;
    bool quick;     /* A life of seconds … */
    bool hours;     /* … or of hours, instead of minutes. */
    bool still;     /* Everybody votes, always. */
    bool whole;     /* No disk is lost, copied or damaged. */
    uint64_t until; /* Events; 0: to the end. */
};

struct trace_line {
    uint64_t time, a, b, c;
    const char *what;
    uint32_t node;
};

struct world {
    uint64_t seed;
    struct run run;
    struct config config;
    struct places *places;
    struct members *members;
    struct stats stats;
    struct rng rng_config, rng_workload, rng_schedule, rng_fault, rng_scavenge;
    uint64_t scavenge_us; /* Between two times on one node; 0: never. */
    struct queue queue;
    uint64_t now_us;
    uint64_t hash;
    bool calm;
    bool bursting; /* What goes wrong now does not come again by itself. */
    uint64_t busy_until_us;
    bool stopping; /* No new requests. */
    struct node nodes[NODES_MAX];
    uint32_t nodes_count;
    struct link links[NODES_MAX][NODES_MAX];
    struct client clients[CLIENTS_MAX];
    struct workload workload;
    struct model model;
    struct truth *truth;
    size_t truth_count, truth_capacity;
    struct attempt **attempts;
    size_t attempts_count, attempts_capacity;
    struct attempt *buckets[ATTEMPT_BUCKETS];
    struct operation **operations;
    size_t operations_count, operations_capacity;
    uint64_t answered; /* The highest stamp that a client was told of. */
    uint64_t next_id, next_boot;
    struct trace_line trace[TRACE_KEPT];
    uint64_t traced;
};

void config_draw(struct world *world);
void config_print(const struct config *config);
/* One whole run. Ends the process if a check fails. Returns its trace hash. */
uint64_t world_run(uint64_t seed, const struct run *run, struct stats *totals);

#endif
