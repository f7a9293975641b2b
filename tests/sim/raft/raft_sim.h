/* Shared by the files of the simulator of the Raft driver: several nodes, each with the driver (src/raft) and its
 * WAL on a simulated disk, and a network between them, in one thread with a clock of its own. */
#ifndef STELE_TESTS_SIM_RAFT_RAFT_SIM_H
#define STELE_TESTS_SIM_RAFT_RAFT_SIM_H

#include "lib/rng.h"
#include "lib/simdisk.h"
#include "lib/testalloc.h"
#include "raft/raft_internal.h"

#include <stdlib.h>

#define NODES_MAX 7 /* Numbers 1 … 7. */
#define GROUPS_MAX 8
#define WRITES_MAX 4
#define LAST_EVENTS 64

/* ---- What a run is like, drawn from its seed ---- */

struct config {
    uint32_t nodes, founders, groups;
    uint64_t faulty_us, calm_us; /* First the one, then the other. */
    /* The network: percent of frames, or microseconds. */
    uint32_t loss, twice, late;
    uint64_t delay_us, late_us;
    bool reorder;
    uint32_t damage; /* One in so many frames; 0: none. */
    /* Mean times between faults; 0: never. */
    uint64_t crash_us, cut_us, pause_us, change_us, transfer_us, full_us;
    uint32_t kill_percent, in_call_percent, alloc_one_in;
    struct simdisk_faults disk;
    uint64_t disk_us;
    uint32_t stall; /* Percent of writes that take up to 600 ms. */
    uint64_t submit_us, snapshot_us, trim_us, install_us;
    uint32_t payload_max, voters_min;
    struct stele_raft_options options;
};

/* ---- What is true ---- */

struct truth_entry {
    uint64_t term; /* 0: not known yet. */
    uint64_t commit_term;
    uint64_t value;         /* Of the payload; 0: none. */
    uint64_t expected_term; /* Where submit() said that the entry would be, and in which term. */
    uint64_t expected_value;
    uint64_t chain; /* Over all entries up to this one. */
};

struct truth_group {
    struct truth_entry *entries; /* By index. */
    uint64_t capacity;
    uint64_t last;     /* Known to be committed up to here, without gaps. */
    uint64_t *leaders; /* By term: the node. */
    uint64_t terms;
    uint64_t acknowledged;
};

/* ---- Nodes ---- */

struct write {
    struct simdisk_sync *sync; /* NULL: free. */
    uint64_t id;
    bool used;
};

/* What a node has said of a group in messages, and so has to hold to for ever. */
struct claim {
    uint64_t term, vote_term, vote;
    uint64_t last, last_term; /* "I have the entry at last." */
};

struct owner {
    uint64_t next;  /* Index of the next entry that it wants to be told. */
    uint64_t chain; /* Over all before that. */
    uint64_t durable;
    bool installing;
    uint64_t install_index;
};

struct node {
    uint64_t number;
    struct simdisk disk;
    struct testalloc alloc;
    struct stele_raft *raft; /* NULL: down. */
    uint32_t life;           /* Events of earlier lives count no more. */
    uint64_t wake_us;        /* UINT64_MAX: none planned. */
    uint64_t paused_until_us;
    struct write writes[WRITES_MAX];
    struct claim claims[GROUPS_MAX];
    struct owner owners[GROUPS_MAX];
    bool is_leader[GROUPS_MAX];
    uint64_t errors_before, full_before;
    bool founded;
};

enum event_kind {
    EVENT_WAKE,
    EVENT_FRAME,
    EVENT_WRITTEN,
    EVENT_RESTART,
    EVENT_INSTALLED,
    EVENT_SUBMIT,
    EVENT_SNAPSHOT,
    EVENT_TRIM,
    EVENT_CRASH,
    EVENT_CUT,
    EVENT_PAUSE,
    EVENT_CHANGE,
    EVENT_TRANSFER,
    EVENT_FULL,
    EVENT_CALM,
    EVENT_LATE_CHANGE,
    EVENT_END,
};

struct event {
    uint64_t at_us, order;
    enum event_kind kind;
    uint32_t life;
    uint64_t node, other; /* Receiver and sender; or node and what it is about. */
    uint8_t *bytes;
    size_t size;
};

struct stats {
    uint64_t events, simulated_us, frames, frames_lost, damaged, committed, acknowledged, elections;
    uint64_t crashes, power_cuts, opens, opens_failed, cuts, pauses, changes, changes_done,
        transfers, snapshots, installs, installed, trims, disk_errors, full, refused, fenced,
        no_memory, claims_checked, most_wal;
};

struct sim {
    uint64_t seed, now_us, until;
    bool trace, calm, over;
    struct config config;
    struct rng rng, rng_net, rng_disk, rng_client, rng_fault;
    struct node nodes[NODES_MAX + 1];
    struct truth_group groups[GROUPS_MAX];
    struct event *heap;
    size_t heap_count, heap_capacity;
    uint64_t order;
    bool cut[NODES_MAX + 1][NODES_MAX + 1]; /* From … to … */
    uint64_t fifo_us[NODES_MAX + 1][NODES_MAX + 1];
    uint64_t value;
    uint64_t told; /* To all, when that was last looked at. */
    uint64_t hash;
    uint64_t late_submits[GROUPS_MAX]; /* Committed after calm had come. */
    uint64_t late_changes[GROUPS_MAX];
    char last[LAST_EVENTS][120];
    uint64_t last_count;
    struct stats *stats;
};

/* main.c */
__attribute__((format(printf, 2, 3))) __attribute__((noreturn)) void
sim_fail(struct sim *sim, const char *format, ...);
__attribute__((format(printf, 2, 3))) void sim_trace(struct sim *sim, const char *format, ...);
void sim_mix(struct sim *sim, uint64_t value);

/* config.c */
void config_draw(struct sim *sim, bool quick);
void config_print(const struct sim *sim);

/* net.c: time and the network */
void sim_plan(struct sim *sim, uint64_t after_us, struct event event);
bool sim_next(struct sim *sim, struct event *out_event);
void net_send(struct sim *sim, uint64_t from, uint64_t to, struct stele_bytes frame);

/* truth.c: what is checked */
struct truth_entry *truth_at(struct sim *sim, uint32_t group, uint64_t index);
uint64_t truth_value(struct stele_bytes payload);
void truth_told(struct sim *sim, struct node *node, uint32_t group,
                const struct stele_raft_entry *entry);
/* After each turn, opening, change: what can be seen of a node. */
void truth_look(struct sim *sim, struct node *node);
/* After an opening: is what was claimed still there? */
void truth_reopened(struct sim *sim, struct node *node);
void truth_sent(struct sim *sim, struct node *node, struct stele_bytes frame);
/* Is somebody behind, and has got something since the last time that this was asked? */
bool truth_goes_on(struct sim *sim);
void truth_end(struct sim *sim);

/* world.c */
void world_start(struct sim *sim);
void world_event(struct sim *sim, const struct event *event);
void world_stop(struct sim *sim);
struct node *world_leader(struct sim *sim, uint32_t group);

uint64_t sim_run(uint64_t seed, bool trace, bool quick, uint64_t until, struct stats *stats);

#endif
