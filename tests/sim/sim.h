/* The simulator: one store, its clients and its disk in one thread, with a clock of its own.
 *
 * A run is a function of its seed. Everything that happens is an event in one queue, ordered by
 * virtual time; handling one may schedule others. The store's core is the real one; what the
 * library does around it with threads (group commit, background work, waiting) is done here by
 * events, so that every interleaving that threads could produce can come up, and comes up again
 * with the same seed.
 *
 *     main      seeds, totals                     client   appends, deletes, retries
 *     config    what this run is like (swarm)     writer   groups, durability, rolling
 *     world     opening, crashing, recovering     reader   reads, subscriptions, followers
 *     queue     virtual time                      work     background work, scavenge, verify
 *     check     failing, tracing, heavy checks    alone    nobody but these uses the store
 *
 * server/ has a second program of the same parts, in which a server and its clients use the store,
 * too: the *guest* (struct sim_guest).
 *
 * The history is checked against the reference model (lib/model.h) at every step; the disk
 * (lib/simdisk.h) is asked what is really on it at every acknowledgement. */
#ifndef STELE_TESTS_SIM_SIM_H
#define STELE_TESTS_SIM_SIM_H

#include "base/limits.h"
#include "lib/model.h"
#include "lib/rng.h"
#include "lib/simdisk.h"
#include "lib/testalloc.h"
#include "lib/workload.h"
#include "store/store.h"

#define SIM_MS UINT64_C(1000)
#define SIM_SECOND UINT64_C(1000000)
#define SIM_MINUTE (60 * SIM_SECOND)
#define SIM_HOUR (60 * SIM_MINUTE)

#define SIM_CLIENTS_MAX 8
#define SIM_READERS_MAX 12
#define SIM_WORKS_MAX 3
#define SIM_GROUPS_MAX 64
#define SIM_TRACE_KEPT 256
#define SIM_DIGESTS_MAX 8

struct sim;

/* ---- config.c ---- */

/* What a run is like. Each fault class is first switched on or off by a coin, then gets a rate on
 * a logarithmic scale: what a run leaves out matters as much as what it has. */
struct sim_config {
    uint64_t duration_us;
    /* The store. */
    uint32_t partitions, partition_key;
    uint64_t segment_size_max, index_memory;
    bool compress;
    uint32_t scrub_days;
    /* Clients. Means; 0: never. */
    uint32_t clients;
    uint64_t think_us;
    uint64_t read_us;
    uint32_t subscriptions;
    uint64_t scavenge_us, verify_us, work_us, follow_us;
    /* The disk. */
    uint64_t latency_us;
    uint64_t group_delay_us;
    uint32_t groups_in_flight;
    uint64_t slow_us; /* Mean time between slow spells. */
    struct simdisk_faults faults;
    /* Everything else that goes wrong. */
    uint64_t crash_us;
    uint32_t kill_percent;    /* Of crashes: only the process dies. */
    uint32_t in_call_percent; /* Of crashes: inside a call to the disk. */
    uint32_t clean_percent;   /* Of crashes: not one at all, but an orderly restart. */
    uint32_t in_open_percent; /* Of openings: dies in the middle. */
    uint64_t downtime_us;
    uint32_t alloc_one_in;
    uint64_t clock_us;
    bool clock_frozen;
    uint32_t rot_index_percent; /* Of restarts: something of the index is damaged. */
    uint32_t lose_runs_percent; /* Of restarts: a run is missing. */
    uint32_t rot_log_percent;   /* Of restarts: something of the log is damaged. */
    uint32_t read_only_percent; /* Of restarts: looked at read-only first. */
    uint32_t check_every;       /* Events between two heavy checks. */
};

void sim_config_draw(struct sim_config *config, struct workload *workload, struct rng *rng,
                     bool quick);
void sim_config_print(const struct sim_config *config, const struct workload *workload);

/* ---- queue.c ---- */

typedef void (*sim_handler)(struct sim *sim, void *object, uint64_t number);

struct sim_event {
    uint64_t time;
    uint64_t sequence;
    uint64_t life; /* Dropped when this life of the process is over; 0: never. */
    sim_handler handler;
    void *object;
    uint64_t number;
};

struct sim_queue {
    struct sim_event *events; /* A heap. */
    size_t count, capacity;
    uint64_t sequence;
};

/* In this life of the process only. */
void sim_after(struct sim *sim, uint64_t delay_us, sim_handler handler, void *object,
               uint64_t number);
/* Whatever happens to the process. */
void sim_after_always(struct sim *sim, uint64_t delay_us, sim_handler handler, void *object,
                      uint64_t number);
bool sim_next_event(struct sim *sim, struct sim_event *out);

/* ---- client.c ---- */

enum sim_op_state {
    SIM_OP_NONE,
    SIM_OP_ASKING,  /* The store has not decided yet: a full segment, a hole in the index. */
    SIM_OP_WAITING, /* Decided; to be told once durable. */
    SIM_OP_UNKNOWN, /* The process died, or the log was fenced: to be repeated. */
};

struct sim_op {
    enum sim_op_state state;
    struct workload_request *request;
    uint64_t begun_us;
    uint64_t tries;
    struct stele_ticket ticket;
    int outcome;
    struct stele_append_result result;
    uint32_t append; /* Of the model, that it made or repeats. */
};

struct sim_client {
    struct sim_op op;
    struct stele_prepared *prepared;
    uint32_t index;
    uint64_t revisions_last[WORKLOAD_STREAMS_MAX]; /* Of each stream, once decided. */
    /* Of one that is the guest's. */
    struct sim_client *next;
    struct stele_error err;
    void (*on_told)(struct sim *sim, struct sim_client *client, int outcome);
};

void sim_client_start(struct sim *sim);
/* A guest's append: zero but for on_told, which is called once, perhaps before this returns;
 * STELE_E_UNKNOWN if nobody knows. Takes the request over. */
void sim_client_ask(struct sim *sim, struct sim_client *client, struct workload_request *request);
/* Tells all of the guest's that nothing more will come. */
void sim_client_forget_asked(struct sim *sim);
/* The log got room, or could not: those who wait for it go on. */
void sim_client_rolled(struct sim *sim, int outcome);
/* The durable place has grown, or the log was fenced. */
void sim_client_durable(struct sim *sim);
void sim_client_crashed(struct sim *sim);
bool sim_client_is_idle(const struct sim *sim);

/* ---- writer.c ---- */

struct sim_group {
    uint64_t id;
    uint64_t place_end;
    struct stele_file *file;
    uint64_t inode;
    uint64_t offset;
    uint8_t *copy; /* To find it again on the device. */
    size_t size;
    struct stele_bytes bytes;
    struct simdisk_sync *sync;
    bool done;
    int outcome;
};

void sim_writer_kick(struct sim *sim);
void sim_writer_crashed(struct sim *sim);
/* Asks for the next segment once everything under way is durable. */
void sim_writer_roll(struct sim *sim, uint64_t size);
bool sim_writer_is_idle(const struct sim *sim);

/* ---- reader.c ---- */

struct sim_reader {
    bool used;
    bool follows; /* A subscription: goes on for ever, also after a crash. */
    uint32_t number;
    struct workload_query query;
    struct stele_read *read;
    struct model_reader model;
    uint64_t checkpoint; /* Subscriptions: go on after this revision or position … */
    bool has_checkpoint;
    uint64_t events;
};

void sim_reader_start(struct sim *sim);
void sim_reader_opened(struct sim *sim);
void sim_reader_crashed(struct sim *sim);
/* All events are read, and so many of the streams, and compared. */
void sim_read_everything(struct sim *sim, uint32_t streams);
/* One query, begun and ended at once, on any store that shows the model's visible events. */
void sim_read_query(struct sim *sim, struct stele_store *store, struct workload_query *query);
/* Reads $all from an event of the model on. Returns how many events the store has; those beyond
 * the model are an error. */
uint32_t sim_read_tail(struct sim *sim, struct stele_store *store, uint32_t from);

/* ---- work.c ---- */

struct sim_work {
    bool used;
    bool scavenge;
    struct stele_work *work;
    int outcome;
    bool ran;
};

void sim_work_start(struct sim *sim);
void sim_work_opened(struct sim *sim);
void sim_work_crashed(struct sim *sim);
/* What a library does before it closes a store. */
void sim_work_close(struct sim *sim);
/* All background work there is, at once. */
void sim_work_drain(struct sim *sim);
void sim_verify_now(struct sim *sim);

/* ---- Whoever else uses the store ---- */

/* All may be NULL. */
struct sim_guest {
    const char *command; /* What repeats a run: "./dev sim". */
    void (*configure)(struct sim *sim, struct rng *rng);
    void (*print)(const struct sim *sim); /* Its configuration. */
    void (*start)(struct sim *sim);       /* Before the first opening. */
    void (*opened)(struct sim *sim);
    void (*visible)(struct sim *sim); /* More than before, perhaps. */
    void (*crashed)(struct sim *sim); /* Before the store is closed. */
    bool (*closing)(struct sim *sim); /* An orderly end has begun. false: ask again. */
    void (*checked)(struct sim *sim); /* After every event. */
    void (*calm)(struct sim *sim);    /* No more faults. */
    bool (*is_at_peace)(const struct sim *sim);
    void (*finish)(struct sim *sim); /* After the last restart. */
    void (*end)(struct sim *sim);
    void (*print_totals)(const uint64_t *counts, const char *prefix);
};

/* Each program has one. */
extern const struct sim_guest sim_guest;

#define SIM_GUEST_COUNTS 24

/* ---- world.c ---- */

struct sim_stats {
    uint64_t events, crashes, kills, power_cuts, in_call, in_open, clean, opens, opens_failed;
    uint64_t appends, appended_events, refused, idempotent, unknown, unknown_there, errors, fenced;
    uint64_t reads, read_events, subscriptions, subscription_events, corrupt_reads;
    uint64_t groups, rolls, works[8], scavenges, packed, verifies, digests, follows, read_only;
    uint64_t checks, rotten, runs_lost, clock_jumps, alloc_failures, full;
    uint64_t disk_errors, disk_no_space, sectors_lost, sectors_torn, names_lost, disk_calls;
    uint64_t simulated_us;
    uint64_t guest[SIM_GUEST_COUNTS];
};

struct sim_trace {
    uint64_t time;
    const char *what;
    uint64_t a, b, c;
};

struct sim {
    uint64_t seed;
    bool tracing, quick;
    uint64_t until; /* Stop after so many events; 0: do not. */
    struct sim_config config;
    struct sim_stats stats;
    struct rng rng_config, rng_workload, rng_schedule, rng_crash;
    struct sim_queue queue;
    uint64_t now_us; /* Virtual, from 0. */
    uint64_t life;   /* Of the process, from 1. */
    int64_t wall_us; /* What the clock would show at 0. */
    uint64_t hash;

    struct simdisk disk;
    struct testalloc alloc;
    struct model model;
    struct workload workload;

    struct stele_store *store; /* NULL while down. */
    bool going_down;           /* An orderly end: nothing new is begun. */
    bool calm;                 /* The end: no more faults. */
    bool damaged_log, damaged_index;
    bool counts_lost; /* The index was rebuilt from a log that had been scavenged. */
    bool ever_scavenged;

    struct sim_client clients[SIM_CLIENTS_MAX];
    struct sim_client *asked; /* The guest's, in order of asking. */
    void *guest;
    struct sim_group groups[SIM_GROUPS_MAX]; /* In order of taking; a ring. */
    uint64_t groups_first, groups_next;
    uint64_t taken_end; /* Place up to which groups have been taken in this life. */
    bool take_scheduled, rolling;
    uint64_t roll_size;
    uint64_t proven; /* Place that a frame on disk says was durable, and the inode … */
    struct sim_reader readers[SIM_READERS_MAX];
    struct stele_store *follower;
    uint64_t follower_end; /* Events of the model that it has been told of. */
    struct sim_work works[SIM_WORKS_MAX];
    bool scavenging;
    uint64_t scavenge_base;
    struct stele_verify *verify;
    bool verify_digest;
    char digests[SIM_DIGESTS_MAX][STELE_DIGEST_SIZE];
    uint32_t digests_count;
    uint64_t slow_until_us;
    uint64_t check_at; /* The event after which everything is checked again. */
    uint64_t frozen_at_us;
    bool frozen;

    struct sim_trace trace[SIM_TRACE_KEPT];
    uint64_t traced;
};

/* One whole run. Ends the process if a check fails. Returns its trace hash. */
uint64_t sim_run(uint64_t seed, bool tracing, bool quick, uint64_t until, struct sim_stats *totals);

int64_t sim_wall(const struct sim *sim);
/* The process dies, and the machine with it if power. */
void sim_crash(struct sim *sim, bool power);
void sim_schedule_restart(struct sim *sim, uint64_t delay_us);

/* ---- check.c ---- */

__attribute__((format(printf, 2, 3))) _Noreturn void sim_fail(struct sim *sim, const char *format,
                                                              ...);
/* what must be a constant text: it is kept. */
void sim_trace(struct sim *sim, const char *what, uint64_t a, uint64_t b, uint64_t c);

/* Was an error of a call to be expected? Take a mark before it. */
struct sim_mark {
    uint64_t errors, no_space, failures;
};
struct sim_mark sim_mark(const struct sim *sim);
bool sim_is_excused(const struct sim *sim, struct sim_mark mark, int outcome);
/* Fails unless it is excused. */
void sim_excuse(struct sim *sim, struct sim_mark mark, int outcome, const char *call,
                const struct stele_error *err);

/* Light checks after every event, heavy ones every so often. */
void sim_check(struct sim *sim);
void sim_check_all(struct sim *sim, uint32_t streams);

#endif
