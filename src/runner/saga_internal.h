/* The inside of the saga runner. Its contract is <stele/saga.h>, its rules are in SAGAS.md.
 *
 *     events of the store ─┐
 *     answers of handlers ─┼─▶ entry ── decide ──▶ append ──▶ fold ──▶ calls ──▶ handler
 *     timers ──────────────┘      ▲                  │ wrong revision
 *                                 └── catch up ◀─────┘
 *
 * Everything outside comes through a port, so that tests can put a world of their own behind it. */
#ifndef STELE_RUNNER_SAGA_INTERNAL_H
#define STELE_RUNNER_SAGA_INTERNAL_H

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/status.h"

#include <stele/saga.h>

#include <pthread.h>
#include <stdatomic.h>

#define STREAM_SIZE_MAX (STELE_SAGA_NAME_SIZE_MAX + STELE_SAGA_ID_SIZE_MAX + 32)
#define ID_TEXT_SIZE 37
#define CORRELATION_SIZE 128
#define TRACEPARENT_SIZE 64

/* ---- The port ----------------------------------------------------------------------------- */

/* Anything but 0 ends the reading with that outcome. */
typedef int (*saga_on_event)(void *context, const struct stele_event *event);

struct saga_port;
struct saga_port_ops {
    /* *out_position: of the last event. */
    int (*append)(struct saga_port *port, const char *stream, uint64_t expected,
                  const struct stele_event_draft *events, size_t count, uint64_t *out_position,
                  struct stele_error *err);
    /* Events of a stream from a revision on. STELE_OK also when it does not exist. */
    int (*read)(struct saga_port *port, const char *stream, uint64_t from, saga_on_event on_event,
                void *context, struct stele_error *err);
    /* The last event of a stream, if there is one. */
    int (*read_last)(struct saga_port *port, const char *stream, saga_on_event on_event,
                     void *context, struct stele_error *err);
    /* Some of the events behind *position whose type is one of those; *position says up to where all
     * of them were handed out. STELE_END: there is nothing more now. */
    int (*follow)(struct saga_port *port, const char *const *types, size_t types_count,
                  uint64_t *position, saga_on_event on_event, void *context,
                  struct stele_error *err);
    /* Names of streams with a prefix. */
    int (*list)(struct saga_port *port, const char *prefix, stele_name_callback on_name,
                void *context, struct stele_error *err);
    /* Keeps only the newest events of a stream. Best effort. */
    void (*keep_newest)(struct saga_port *port, const char *stream);
    uint64_t (*last_position)(struct saga_port *port);
    int64_t (*now_us)(struct saga_port *port);
    void (*random)(struct saga_port *port, void *buffer, size_t size);
    /* Until something comes behind a position, for at most so long. */
    void (*wait)(struct saga_port *port, uint64_t after, int timeout_ms);
    void (*destroy)(struct saga_port *port);
};

struct saga_port {
    const struct saga_port_ops *ops;
};

int stele_runner__saga_store_port(struct stele *store, struct stele_alloc *alloc,
                                  struct saga_port **out_port, struct stele_error *err);

/* ---- Events as JSON ----------------------------------------------------------------------- */

/* What a first event says beside what the machine wants to know. */
struct saga_start {
    const char *id;
    struct stele_text input;
    const struct stele_event *trigger; /* NULL: none. */
};

/* The data of an event: malloc()'s memory, for free(). start: of STELE_SAGA_EVENT_STARTED.
 * NULL: no memory. */
char *stele_runner__saga_encode(const struct stele_saga_plan *plan,
                                const struct stele_saga_event *event, const char *runner,
                                const struct saga_start *start);

struct saga_decoded {
    struct stele_saga_event event; /* reason and result point into what follows. */
    struct stele_saga_plan *plan;  /* Of _STARTED: malloc()'s memory. */
    char *input;                   /* Of _STARTED: the same. */
    size_t input_size;
    char *result;
    char reason[STELE_SAGA_WORDS_SIZE_MAX];
};

/* plan: NULL for the first event. Releases nothing on failure, and leaves nothing to be released.
 * STELE_NOT_FOUND: it is no event of a saga. */
int stele_runner__saga_decode(const struct stele_saga_plan *plan, const struct stele_event *event,
                              struct saga_decoded *out_decoded, struct stele_error *err);
void stele_runner__saga_decoded_deinit(struct saga_decoded *decoded);

/* "$correlationId" and others as JSON, for free(). Empty ones are left out. */
char *stele_runner__saga_metadata(const char *correlation_id, const char *causation_id,
                                  const char *traceparent);
/* Copies a member of an event's metadata; "" if it has none, or a longer one. */
void stele_runner__saga_metadata_member(const struct stele_event *event, const char *member,
                                        char *to, size_t size);

void stele_runner__saga_stream(const char *kind, const char *id, char to[STREAM_SIZE_MAX]);
uint64_t stele_runner__saga_name_hash(const char *name);

/* ---- Sagas in memory ---------------------------------------------------------------------- */

struct saga_text {
    char *data;
    size_t size;
};

struct saga_entry {
    char *id;
    char stream[STREAM_SIZE_MAX];
    struct saga_entry *next; /* Of its bucket. */
    size_t timer;            /* Place in the heap, SIZE_MAX: none. */
    int64_t due_us;
    const struct stele_saga_plan *plan; /* The runner's, or own_plan. NULL: not read yet. */
    struct stele_saga_plan *own_plan;
    struct stele_saga saga;
    uint64_t revisions;           /* Of its stream, as far as it was read: the next one. */
    uint64_t position;            /* Of the last event that was read. */
    struct saga_entry *rest_next; /* Of those that may be forgotten. */
    bool resting;
    bool stale;       /* An append ended without anybody knowing how: read before deciding. */
    bool broken;      /* Its events do not follow each other: left alone. */
    bool queued;      /* Waits for its calls. */
    uint32_t to_call; /* Bit n: step n's call follows from an event that this process stored. */
    uint32_t open;    /* Bit n: step n's call was made, and is not answered yet. */
    uint64_t
        asked[STELE_SAGA_STEPS_MAX]; /* What was called last in this process; see call_code(). */
    uint64_t tickets[STELE_SAGA_STEPS_MAX];
    struct saga_text input;
    struct saga_text results[STELE_SAGA_STEPS_MAX];
    char last_event_id[ID_TEXT_SIZE];
    char correlation_id[CORRELATION_SIZE];
    char traceparent[TRACEPARENT_SIZE];
};

/* All entries by id, and those with a time in the order of times. */
struct saga_set {
    struct stele_alloc *alloc;
    struct saga_entry **buckets;
    size_t buckets_count;
    size_t count;
    struct saga_entry **heap;
    size_t heap_count, heap_capacity;
};

struct saga_entry *stele_runner__saga_set_find(const struct saga_set *set, const char *id);
/* NULL: no memory. */
struct saga_entry *stele_runner__saga_set_add(struct saga_set *set, const char *kind,
                                              const char *id);
void stele_runner__saga_set_remove(struct saga_set *set, struct saga_entry *entry);
void stele_runner__saga_set_time(struct saga_set *set, struct saga_entry *entry, int64_t due_us);
void stele_runner__saga_set_deinit(struct saga_set *set);

/* ---- The runner --------------------------------------------------------------------------- */

struct saga_answer {
    struct saga_answer *next;
    char *key; /* Behind the struct, as the result is. */
    uint32_t attempt;
    int answer;
    int64_t retry_after_ms;
    char reason[STELE_SAGA_WORDS_SIZE_MAX];
    struct stele_text result;
    size_t size; /* Of the allocation. */
};

struct stele_saga_runner {
    struct stele_alloc *alloc;
    struct saga_port *port;
    const struct stele_saga_definition *definition;
    struct stele_saga_runner_options options;
    struct stele_saga_plan plan;
    char name[STELE_SAGA_NAME_SIZE_MAX + 1];
    uint64_t name_hash;
    struct saga_set set;
    struct saga_entry **calls; /* Entries with calls to be made, oldest first. */
    size_t calls_count, calls_capacity;
    const char **types; /* To follow. */
    size_t types_count;
    uint64_t position;
    uint64_t since_checkpoint; /* Events. */
    int64_t checkpoint_at_us;
    bool behind;    /* There was more to follow. */
    bool full;      /* An event would have started one saga too many. */
    uint32_t later; /* Calls whose answer will come from another thread. */
    struct saga_entry *rest_first, **rest_end;
    size_t resting_count;
    struct stele_breaker breakers[STELE_SAGA_STEPS_MAX];
    struct stele_saga_event events[STELE_SAGA_EVENTS_MAX];
    struct stele_saga_runner_stats stats;
    atomic_int stop;
    pthread_mutex_t lock; /* Of what follows. */
    struct saga_answer *answers, **answers_end;
    size_t answers_count;
};

/* As stele_saga_runner_create(), behind any port, which is taken over on success. */
int stele_runner__saga_create(struct saga_port *take_port, struct stele_alloc *alloc,
                              const struct stele_saga_definition *definition,
                              const struct stele_saga_runner_options *options,
                              struct stele_saga_runner **out_runner, struct stele_error *err);

/* Which attempt of a request or compensation. Never 0. */
static inline uint64_t stele_runner__saga_call_code(const struct stele_saga_step_state *step)
{
    return (uint64_t)step->attempt * 2 + (step->state == STELE_SAGA_STEP_COMPENSATING);
}

/* Is it something that may be forgotten until an event speaks of it? */
static inline bool stele_runner__saga_may_rest(const struct saga_entry *entry)
{
    return entry->broken || entry->plan == NULL || stele_saga_has_ended(&entry->saga) ||
           entry->saga.state == STELE_SAGA_PARKED;
}

/* Reads what the entry does not have of its stream. */
int stele_runner__saga_catch_up(struct stele_saga_runner *runner, struct saga_entry *entry,
                                struct stele_error *err);
/* Decides, appends, folds, and puts the calls that follow into the queue. causation: id of an event, or
 * "". start: of STELE_SAGA_INPUT_START. */
int stele_runner__saga_feed(struct stele_saga_runner *runner, struct saga_entry *entry,
                            struct stele_saga_input input, const struct saga_start *start,
                            const char *causation, struct stele_error *err);
/* What this runner had begun before it died, or before it lost sight of it, is begun again; then what
 * is due is done. */
int stele_runner__saga_take_up(struct stele_saga_runner *runner, struct saga_entry *entry,
                               struct stele_error *err);
/* The entry of an id, read from its stream if it is not in memory. *out_entry is NULL if there is no
 * such saga. */
int stele_runner__saga_find(struct stele_saga_runner *runner, const char *id,
                            struct saga_entry **out_entry, struct stele_error *err);
/* Forgets what rests, and what the runner's position has passed. */
void stele_runner__saga_forget(struct stele_saga_runner *runner);

/* Makes all calls that wait. */
int stele_runner__saga_make_calls(struct stele_saga_runner *runner, struct stele_error *err);
/* Closes the call of a step, and tells its circuit. */
void stele_runner__saga_close_call(struct stele_saga_runner *runner, struct saga_entry *entry,
                                   uint32_t step, bool succeeded);
/* Tells the sagas what handlers have answered from other threads. */
int stele_runner__saga_take_answers(struct stele_saga_runner *runner, struct stele_error *err);
void stele_runner__saga_problem(struct stele_saga_runner *runner, const char *id,
                                const char *words);
/* Takes one batch of the store's events; runner->behind: there may be more. */
int stele_runner__saga_follow(struct stele_saga_runner *runner, struct stele_error *err);
int stele_runner__saga_write_checkpoint(struct stele_saga_runner *runner, struct stele_error *err);
/* Reads the sagas at work, by the checkpoint or by looking for them. */
int stele_runner__saga_load_all(struct stele_saga_runner *runner, struct stele_error *err);

#endif
