/* Shared by the member*.c files. Nobody else includes it. */
#ifndef STELE_SERVER_MEMBER_INTERNAL_H
#define STELE_SERVER_MEMBER_INTERNAL_H

#include "client/client.h"
#include "cluster/hashes.h"
#include "cluster/load.h"
#include "cluster/plan.h"
#include "cluster/replica.h"
#include "io/linux.h"
#include "peers/peers.h"
#include "server/member.h"
#include "server/roles.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

/* Messages between nodes, by their first byte; those of the replica come before. */
enum {
    STELE_MEMBER__HELLO = 32,   /* struct stele_meta_hello, after each connection. */
    STELE_MEMBER__REFUSED = 33, /* Words: "you may not speak". */
    STELE_MEMBER__STATUS = 34,
    STELE_MEMBER__ASK = 35,    /* A command for the table, to the leader of the meta group. */
    STELE_MEMBER__ANSWER = 36, /* What became of it. */
    STELE_MEMBER__FETCH = 37,  /* BULK: appends after a stamp, please. */
    STELE_MEMBER__APPENDS = 38,
    STELE_MEMBER__FETCHED = 39,
    STELE_MEMBER__MORE = 40,   /* BULK: credits. */
    STELE_MEMBER__HASHES = 41, /* What was executed, to be compared (cluster/hashes.h). */
};
#define STELE_MEMBER__HEADER 8 /* Kind, version 1, zeros. */

enum stele_member__deed { STELE_MEMBER__APPEND, STELE_MEMBER__LINEARIZE };

/* Something that a client waits for, from asking until its answer. */
struct stele_member__request {
    struct stele_member__request *next;
    struct stele_proposal proposal;
    struct stele_member *member;
    enum stele_member__deed deed;
    struct stele_appending *appending;
    struct stele_linearizing *linearizing;
    struct stele_buf body;
    uint64_t events, bytes;
    uint64_t after; /* A reader waits until what has this stamp is durable. */
};

/* A command for the table that somebody waits for. */
struct stele_member__ask {
    struct stele_member__ask *next;
    uint64_t id;       /* Own, for answers of the meta group's leader. */
    uint64_t entry_id; /* Of the entry, if this node leads it; 0: not submitted. */
    uint64_t from;     /* The node that asked, and its id; 0: this one. */
    uint64_t from_id;
    int64_t since_us, sent_us;
    bool sent;
    /* Of this node: told once. */
    void (*on_result)(struct stele_member *member, struct stele_member__ask *ask,
                      const struct stele_meta_result *result, int outcome);
    struct stele_cluster_command *command; /* Of an operator. */
    char verb[32];
    uint64_t join_request; /* Of a node that wants to join. */
    size_t size;
    uint8_t bytes[];
};

/* What another node told of itself, or this one of itself. */
struct stele_member__seen {
    uint64_t number;
    int64_t heard_us, heard_wall_us; /* 0: never. */
    uint8_t state;                   /* enum stele_node_state */
    uint64_t term, position, durable;
    uint32_t groups_led;
    uint64_t free, stored; /* Bytes, on its disk and in its store; 0: it did not say. */
    struct stele_meta_seen hello;
    struct stele_hashes_peer hashes;
    bool is_full;  /* Its disk has no room: it cannot lead. */
    bool is_apart; /* One of the others does not hear it, or it one of them: it should not lead. */
    uint64_t
        hears; /* Nodes, by their places in the table; 0: not told, or of another version of the table. */
    bool refused; /* This node does not listen to it. */
    char refused_why[STELE_META_WORDS_SIZE];
    bool refuses;    /* It does not listen to this node. */
    bool unsure;     /* It has to greet again before it is listened to. */
    bool knows_past; /* It reads the greeting that tells of earlier starts; of this connection. */
    uint32_t
        told_causes; /* Of failed attempts to connect, by enum stele_peers_cause and, 16 above, stele_peers_refusal. */
};

/* What this node knows of all partitions and of its own disk. The member thread's. */
struct stele_member__load {
    struct stele_load seen;
    uint64_t free, stored; /* As in what nodes tell of themselves. */
    int64_t looked_us, kept_us;
    struct stele_plan_imbalance imbalance;
    struct stele_plan_load plan;
    uint64_t bytes[STELE_PARTITIONS_MAX], rates[STELE_PARTITIONS_MAX];
};

/* What a node has to do with. */
struct stele_member__node_load {
    uint32_t votes;
    uint64_t bytes, rate;           /* Of the partitions in which it should vote. */
    uint64_t appends_led, rate_led; /* A second, of those that it leads. */
};

struct stele_member__numbers {
    _Atomic uint64_t count[2], sum_us[2], at_most[2][STELE_ENGINE_BOUNDS + 1];
    _Atomic uint64_t events, bytes;
};

struct stele_member {
    struct stele_engine engine; /* First. */
    struct stele_cluster cluster;
    struct stele_member_config config;
    struct stele_identity identity;
    struct stele_alloc *alloc;
    struct stele *store;
    struct stele_engine *embedded;
    char *client_address;
    char version[32];

    /* The member thread's. */
    struct stele_linux_loop *loop;
    struct stele_loop *base;
    struct stele_io *wal_io;
    struct stele_replica *replica;
    struct stele_peers *peers;
    struct stele_meta *meta;
    uint64_t boot;
    struct stele_task turn_task;
    bool turn_posted;
    struct stele_timer turn_timer, second_timer;
    pthread_t thread;
    bool has_thread;
    struct stele_member__ask *asks; /* In order. */
    uint64_t next_ask;
    struct stele_member__seen seen[STELE_META_NODES_MAX + 1];
    size_t seen_count;
    uint64_t meta_applied, meta_snapshot;
    uint64_t peers_version; /* Of the newest table that the peers were set by. */
    uint64_t meta_leader;
    int64_t elected_us; /* When a leader changed last, of any group. */
    int64_t asked_activate_us, updated_us;
    bool table_changed;
    uint32_t round_robin; /* Groups looked after in one second are a part of all. */
    bool handing_over;    /* Ending: gives away what it leads. */
    uint64_t elections, installs;
    uint64_t mismatches; /* Windows of time in which another node executed otherwise. */
    uint64_t features;   /* STELE_META_FEATURES, unless it pretends to be older. */
    int64_t asked_gates_us;
    uint64_t *group_leaders; /* Last known, for counting. */
    /* Who should lead each partition, as of a version of the table and those who were able then (bits, by place). */
    uint64_t *wanted_leaders;
    uint64_t wanted_version, wanted_able;
    uint64_t planned_version; /* Of the table, in which voters are as they should be … */
    int64_t planned_us;       /* … as they were asked for then. */
    struct stele_member__load *load;
    int64_t asked_place_us;
    uint32_t moves, missing; /* Partitions that change voters, and that have too few. */
    uint64_t moved;          /* Votes that were handed on by groups that this node led. */
    bool busy;               /* With the members of groups: look again soon. */

    /* Inbox: from front loops. */
    pthread_mutex_t inbox_lock;
    struct stele_member__request *inbox_first, **inbox_last;
    struct stele_cluster_command *commands;
    bool inbox_posted;
    struct stele_task inbox_task;
    bool closed; /* Nothing is taken any more. */

    /* Writing the WAL: one write at a time. */
    struct stele_task writes_task; /* The member thread's, like what follows up to the lock. */
    bool writes_posted;
    int64_t write_elsewhere_until_us;
    int64_t write_since_us; /* A write is held back since then; 0: none. */
    int hold_credit;        /* How often it paid of late. */
    uint32_t hold_skipped;
    pthread_mutex_t write_lock;
    pthread_cond_t write_wanted, write_idle;
    enum {
        STELE_MEMBER__WRITE_NONE,
        STELE_MEMBER__WRITE_GIVEN,
        STELE_MEMBER__WRITE_ENDED
    } write_stage;
    struct stele_wal_group write; /* Unless none. */
    int write_outcome;            /* Once it has ended; and how long it took. */
    int64_t write_took_us;
    bool write_stop;
    struct stele_task written_task;
    pthread_t writer;
    bool has_writer;

    /* The executor. */
    pthread_mutex_t execute_lock;
    pthread_cond_t execute_wanted, execute_idle;
    struct stele_ordered *execute_first, **execute_last;
    bool execute_busy, execute_stop;
    pthread_t executor;
    bool has_executor;
    _Atomic uint64_t durable; /* Stamp: what is left by commands up to it survives a power cut … */
    uint64_t visible;         /* … and by those up to this one can be read. */
    uint64_t outstanding;     /* Commands that were staged and not told as visible. */
    uint64_t staged, given;   /* Stamps of the last ones. */
    struct stele_member__request *readers;
    struct stele_hashes hashes; /* Of what is visible. */
    _Atomic int failed;         /* The outcome with which executing ended. */
    struct stele_error failure;
    pthread_cond_t sync_wanted;
    bool sync_idle, sync_stop;
    pthread_t syncer;
    bool has_syncer;

    /* Fetching. */
    struct stele_member__fetch *fetch;    /* By this node. */
    struct stele_member__export *exports; /* By others from this one. */
    uint64_t next_fetch;
    bool fetch_wanted;
    uint64_t fetch_from, fetch_stamp;
    int64_t fetch_again_us;
    size_t fetch_turn;

    /* What any thread may look at. */
    pthread_mutex_t view_lock;
    struct stele_cluster_view *view, *view_next;
    uint64_t told_leader;   /* The member thread's. */
    int64_t apart_since_us; /* Likewise; 0: it is not apart. */
    struct stele_cluster_counts counts;
    struct stele_cluster_readiness readiness;
    _Atomic bool is_leader;
    char *status_text;
    struct stele_member__digest *digests; /* Under view_lock, like the next two. */
    size_t digests_count;
    bool digests_closed;
    struct stele_roles roles;
    struct stele_member__numbers numbers;
    _Atomic uint64_t proposals; /* Requests that are not answered. */
    /* The disk has no room for the log of the groups (the member thread's word), for the store (the executor's). */
    _Atomic bool log_full, store_full;
    bool full_told;
    char stopped_why[256];
    bool stopped; /* Taking part has ended. */
};

/* ---- member.c ---- */
STELE_PRINTF(3, 4)
void stele_member__log(struct stele_member *member, enum stele_server_log level, const char *format,
                       ...);
/* A turn of the replica follows, in this turn of the loop. */
void stele_member__want_turn(struct stele_member *member);
int64_t stele_member__now_us(struct stele_member *member);
/* Is there no room on this node's disk? Any thread. */
bool stele_member__is_full(struct stele_member *member);
/* And on that of another one, or of this one, as far as is known? The member thread's. */
bool stele_member__is_full_there(struct stele_member *member, uint64_t number);
/* Taking part ends: reads go on, nothing else. */
STELE_PRINTF(2, 3)
void stele_member__stop_part(struct stele_member *member, const char *format, ...);
int stele_member__send(struct stele_member *member, uint64_t node, enum stele_peers_lane lane,
                       uint8_t kind, struct stele_bytes body);

/* ---- member_write.c ---- */
void stele_member__writer_init(struct stele_member *member);
void stele_member__writer_deinit(struct stele_member *member);
int stele_member__writer_start(struct stele_member *member);
void stele_member__writer_stop(struct stele_member *member);
/* Waits until nobody writes. What was being written counts as not told. */
void stele_member__writer_drain(struct stele_member *member);
/* What is staged is written when what this turn sends has left. */
void stele_member__writes_work(struct stele_member *member);

/* ---- member_engine.c ---- */
extern const struct stele_engine_ops stele_member__engine_ops;
/* Answers and releases. Any thread. */
void stele_member__answer(struct stele_member__request *request, int outcome,
                          const struct stele_append_result *result, const char *words);
void stele_member__ask_linearize(struct stele_cluster *cluster,
                                 struct stele_linearizing *linearizing);
void stele_member__run_inbox(struct stele_task *task);

/* ---- member_execute.c ---- */
int stele_member__executor_start(struct stele_member *member);
void stele_member__executor_stop(struct stele_member *member);
void stele_member__execute(void *context, struct stele_ordered *command);
/* The stamp up to which everything is durable, of what was given. */
uint64_t stele_member__executed(struct stele_member *member);
/* The store has everything up to this stamp by other means. */
void stele_member__executor_at(struct stele_member *member, uint64_t stamp);
/* Waits until everything that was given is durable. */
void stele_member__executor_drain(struct stele_member *member);

/* ---- member_meta.c ---- */
/* Taking part ends with the next turn. */
void stele_member__fail(struct stele_member *member, int outcome, const char *words);
/* What the last life knew of the cluster. */
int stele_member__table_read(struct stele_member *member, struct stele_error *err);
void stele_member__on_meta(void *context, uint64_t index, bool own, uint64_t id,
                           struct stele_bytes body);
void stele_member__on_meta_installed(void *context, uint64_t index, struct stele_bytes data);
/* Sees to it that a command for the table gets to the leader. ask: allocated with its bytes; the member's now. */
void stele_member__ask(struct stele_member *member, struct stele_member__ask *ask);
struct stele_member__ask *stele_member__ask_create(struct stele_member *member,
                                                   const struct stele_meta_command *command);
void stele_member__on_ask(struct stele_member *member, uint64_t from, struct stele_bytes message);
void stele_member__on_answer(struct stele_member *member, uint64_t from,
                             struct stele_bytes message);
/* Once in a while: founds, updates, activates; brings the groups towards the table. */
void stele_member__look_after(struct stele_member *member);
void stele_member__asks_work(struct stele_member *member);
void stele_member__asks_end(struct stele_member *member);
/* ---- member_place.c ---- */
/* Who should lead a group; 0: nobody can, or it is not known. */
uint64_t stele_member__wanted_leader(struct stele_member *member, uint32_t group);
/* Is this node in every group what the table says? */
bool stele_member__is_placed(struct stele_member *member);
/* Who answers: bits, by their places in the table. */
uint64_t stele_member__alive_nodes(struct stele_member *member);
/* Is this node cut from one that another one reaches? */
bool stele_member__is_apart(struct stele_member *member);
/* Do others vote in a partition than should? */
bool stele_member__is_moving(struct stele_member *member, uint32_t partition);
/* Brings the table and the groups that this node leads a step further. */
void stele_member__place(struct stele_member *member);

/* ---- member_load.c ---- */
int stele_member__load_create(struct stele_member *member);
void stele_member__load_destroy(struct stele_member *member);
/* For the next start. */
void stele_member__load_keep(struct stele_member *member);
/* Once in a while. */
void stele_member__load_work(struct stele_member *member);
/* By what is planned now; valid until the next call. */
const struct stele_plan_load *stele_member__plan_load(struct stele_member *member);
/* What others have stored and the node has not, as far as they have told. */
uint64_t stele_member__bytes_missing(struct stele_member *member, uint64_t number);
void stele_member__node_load(const struct stele_member *member, uint64_t number,
                             struct stele_member__node_load *out_load);

/* ---- member_move.c: what operators ask of placement. Words go into the command. ---- */
int stele_member__to_move(struct stele_member *member, struct stele_cluster_command *from,
                          const json_t *body, uint64_t from_node, uint64_t to_node,
                          struct stele_meta_command *to);
/* *out_answer: what to answer at once; NULL: `to` is to be done. */
int stele_member__to_rebalance(struct stele_member *member, struct stele_cluster_command *from,
                               const json_t *body, struct stele_meta_command *to,
                               json_t **out_answer);

/* ---- member_command.c: what operators ask for ---- */
void stele_member__command(struct stele_cluster *cluster, struct stele_cluster_command *command);
void stele_member__run_commands(struct stele_member *member);
/* Any thread. json: released; NULL: no memory. */
void stele_member__command_end(struct stele_cluster_command *command, int outcome);
void stele_member__command_answer(struct stele_cluster_command *command, json_t *json);
void stele_member__answer_join(struct stele_member *member, uint64_t request,
                               const struct stele_meta_result *result, int outcome);

/* ---- member_peers.c ---- */
int stele_member__peers_create(struct stele_member *member, struct stele_error *err);
void stele_member__peers_set(struct stele_member *member);
void stele_member__send_status(struct stele_member *member);
/* What this start goes by. */
const struct stele_meta_start *stele_member__start(const struct stele_member *member);
struct stele_member__seen *stele_member__seen_of(struct stele_member *member, uint64_t number);
bool stele_member__is_alive(struct stele_member *member, uint64_t number);
/* Into a command whose judge has to know. */
void stele_member__tell_alive(struct stele_member *member, struct stele_meta_command *to);
/* "host:port", "[::1]:1112". */
bool stele_member__split_address(const char *address, char host[256], uint16_t *out_port);

/* ---- member_fetch.c ---- */
void stele_member__fetch(void *context, uint64_t from, uint64_t stamp);
void stele_member__on_bulk(struct stele_member *member, uint64_t from, struct stele_bytes message);
void stele_member__on_room(struct stele_member *member, uint64_t node);
void stele_member__fetch_work(struct stele_member *member);
void stele_member__fetch_end(struct stele_member *member);
/* Once the loop has stopped. */
void stele_member__fetch_release(struct stele_member *member);

/* ---- member_check.c: replicas compared; features and gates ---- */
void stele_member__send_hashes(struct stele_member *member);
void stele_member__on_hashes(struct stele_member *member, uint64_t from, struct stele_bytes told);
/* On the node that leads the cluster: what all nodes know may be used from now on. */
void stele_member__raise_gates(struct stele_member *member);

/* ---- member_compare.c: questions about what is stored ---- */
/* Any thread. Answers by itself, on a thread of its own; also when the node takes no part any more. */
void stele_member__digest(struct stele_member *member, struct stele_cluster_command *command);
/* The member thread. */
void stele_member__cut(struct stele_member *member, struct stele_cluster_command *command);
/* Waits for those that are under way, and takes no more. */
void stele_member__digests_end(struct stele_member *member);

/* ---- member_view.c ---- */
extern const struct stele_cluster_ops stele_member__cluster_ops;
int stele_member__view_create(struct stele_member *member);
void stele_member__view_destroy(struct stele_member *member);
/* Takes a new look, and tells those who watch if the leader has changed. */
void stele_member__view_refresh(struct stele_member *member);

#endif
