/* Sagas: business processes of several steps that end whole or undone, and circuit breakers.
 *
 * A saga asks participants (handlers in C, services behind HTTP, whatever reads events) to do one step
 * after the other, or several at once. When a step fails for good, the steps that were done are undone
 * in reverse. Everything a saga knows is the fold of its own stream of events: a process that dies goes
 * on where it was, timers included.
 *
 * Read these first:
 *  - A participant may be asked more than once for the same thing, always with the same key
 *    (stele_saga_key). It has to do it once, and to give the same answer again.
 *  - A request that nobody answered may have happened, or may still happen: also when it was asked for
 *    again and refused. Unless its step says otherwise its compensation is asked for as well. So a
 *    participant must take the compensation of a request that it never saw, and has to refuse that
 *    request when it comes afterwards.
 *  - A compensation that fails for good parks the saga: a person decides (`stele saga`).
 *
 * The first half of this header (the machine) is pure: no I/O, no clock, no allocation, safe from any
 * thread as long as two do not share a struct. Example: docs/sagas.md */
#ifndef STELE_SAGA_H
#define STELE_SAGA_H

#include <stele/stele.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The table ---------------------------------------------------------------------------- */

#define STELE_SAGA_STEPS_MAX 32u
#define STELE_SAGA_NAME_SIZE_MAX 63u /* bytes: of a kind and of a step: letters, digits, "_", "." */
#define STELE_SAGA_ID_SIZE_MAX 255u  /* bytes of a saga's id */
#define STELE_SAGA_KEY_SIZE_MAX 400u /* bytes of a key with its terminating zero */
#define STELE_SAGA_WORDS_SIZE_MAX 240u /* bytes of a reason with its terminating zero */

/* When and how often to ask again. Attempt n + 1 follows after backoff_ms * 2^(n - 1), at most
 * backoff_max_ms, of which the upper half is drawn at random. 0 takes the default. */
struct stele_saga_retry {
    uint32_t attempts_max;   /* Failures that end it; default 5 (compensations: 10). */
    uint32_t backoff_ms;     /* Default 1,000. */
    uint32_t backoff_max_ms; /* Default 60,000. */
};

/* What becomes of the saga when a step has failed for good. */
#define STELE_SAGA_UNDO 0 /* The steps that were done are compensated. */
#define STELE_SAGA_PARK 1 /* It waits for a person: for steps behind the point of no return. */

/* What becomes of a step that failed, and of which nobody knows whether it happened. */
#define STELE_SAGA_UNKNOWN_UNDO 0 /* It is compensated with the others. */
#define STELE_SAGA_UNKNOWN_WAIT 1 /* Only if its success is told later. */

struct stele_saga_step {
    const char *name;
    /* Names of the steps that have to be done before, separated by spaces. NULL: the step before it in
     * the table; "": none. Steps whose predecessors are done are asked for at the same time. */
    const char *after;
    const char *request; /* The command that asks for it. NULL: the step's name. */
    const char *success; /* Type of the event that says it was done. NULL: the handler's answer. */
    const char *failure; /* Type of the event that says no. NULL: none. */
    const char *compensation; /* The command that undoes it. NULL: there is nothing to undo. */
    const char *compensated; /* Type of the event that says it was undone. NULL: as with success. */
    uint32_t timeout_ms;     /* For one attempt to be answered; default 30,000. */
    uint32_t delay_ms;       /* Between its turn and the first request; default 0. */
    struct stele_saga_retry retry;
    struct stele_saga_retry compensation_retry;
    int on_failure; /* STELE_SAGA_UNDO or STELE_SAGA_PARK. */
    int unknown;    /* STELE_SAGA_UNKNOWN_… */
};

struct stele_saga_table {
    const char *kind; /* "order"; its sagas' streams are "saga.order-<id>". */
    const struct stele_saga_step *steps;
    size_t steps_count;
    uint64_t deadline_ms; /* From the start; a saga that still runs then is undone. 0: none. */
};

/* A table that was checked, with what the machine needs of it. It borrows nothing. A saga's first
 * event holds it, so that a saga ends by the table it was started with. */
struct stele_saga_plan_step {
    char name[STELE_SAGA_NAME_SIZE_MAX + 1];
    uint32_t after; /* Bit n: step number n. */
    uint32_t timeout_ms;
    uint32_t delay_ms;
    struct stele_saga_retry retry;
    struct stele_saga_retry compensation_retry;
    int compensates;
    int on_failure;
    int unknown;
};

struct stele_saga_plan {
    char kind[STELE_SAGA_NAME_SIZE_MAX + 1];
    uint32_t steps_count;
    uint64_t deadline_ms;
    struct stele_saga_plan_step steps[STELE_SAGA_STEPS_MAX];
};

/* STELE_E_INVALID  A name is missing, twice there or of other characters; a predecessor does not
 *                  exist; steps wait for each other: the message has the circle, "a -> b -> a".
 * STELE_E_LIMIT    Too many steps, too long a name. */
STELE_API int stele_saga_plan_init(struct stele_saga_plan *out_plan,
                                   const struct stele_saga_table *table, struct stele_error *err);

/* The same of a plan whose fields were filled in, by a decoder for example: checks, defaults. */
STELE_API int stele_saga_plan_check(struct stele_saga_plan *plan, struct stele_error *err);

/* The number of a step, or -1. */
STELE_API int stele_saga_plan_find(const struct stele_saga_plan *plan, struct stele_text name);

/* ---- State and events --------------------------------------------------------------------- */

/* Of a saga.
 *
 *     RUNNING ── every step done ──▶ COMPLETED
 *        │  ▲ resume, retry, skip
 *        │  └────────────────────────── PARKED ── abandon ──▶ ABANDONED
 *        │ a step failed, cancelled,      ▲ │
 *        │ deadline                       │ ▼
 *        └───────────────────────▶ COMPENSATING ── all undone ──▶ COMPENSATED
 *                                         ▲                            │
 *                                         └──── a success comes late ──┘ */
#define STELE_SAGA_NONE 0 /* Not started. */
#define STELE_SAGA_RUNNING 1
#define STELE_SAGA_COMPENSATING 2
#define STELE_SAGA_PARKED 3
#define STELE_SAGA_COMPLETED 4
#define STELE_SAGA_COMPENSATED 5
#define STELE_SAGA_ABANDONED 6

/* Of a step. */
#define STELE_SAGA_STEP_WAITING 0
#define STELE_SAGA_STEP_REQUESTED 1
#define STELE_SAGA_STEP_DONE 2
#define STELE_SAGA_STEP_FAILED 3
#define STELE_SAGA_STEP_COMPENSATING 4
#define STELE_SAGA_STEP_COMPENSATED 5

#define STELE_SAGA_NEVER INT64_MAX /* A time. */
#define STELE_SAGA_NO_STEP UINT32_MAX

struct stele_saga_step_state {
    int state;
    int in_flight;     /* Was asked, and the answer is awaited until due_us. */
    int unknown;       /* An attempt ended without an answer: it may have happened. */
    int skipped;       /* A person vouched for it: there is nothing to undo. */
    uint32_t attempt;  /* Number of the last request (or compensation), from 1. */
    uint32_t failures; /* Of its attempts, as far as they count. */
    uint32_t order;    /* Place in the order of endings, from 1; they are undone backwards. */
    int64_t due_us;    /* When to give up waiting (in flight) or to ask again. */
    int64_t done_at_us;
    uint64_t runner; /* Who asked. */
};

struct stele_saga {
    int state;
    int parked_from;  /* STELE_SAGA_RUNNING or _COMPENSATING, of a parked one. */
    uint32_t cause;   /* The step whose failure parked it or made it be undone, or _NO_STEP. */
    uint32_t endings; /* How many places of the order are taken. */
    uint64_t events;  /* Folded so far: the stream's next revision. */
    int64_t started_at_us;
    int64_t at_us;                          /* Of the last event. Never goes back. */
    char reason[STELE_SAGA_WORDS_SIZE_MAX]; /* Why it was parked, undone or abandoned. */
    struct stele_saga_step_state steps[STELE_SAGA_STEPS_MAX];
};

/* Events of a saga's stream. */
#define STELE_SAGA_EVENT_STARTED 1
#define STELE_SAGA_EVENT_STEP_REQUESTED 2 /* Leads to a request. */
#define STELE_SAGA_EVENT_STEP_DONE 3
#define STELE_SAGA_EVENT_STEP_RETRY 4 /* An attempt failed; due_us says when the next one is. */
#define STELE_SAGA_EVENT_STEP_FAILED 5
#define STELE_SAGA_EVENT_COMPENSATING 6
#define STELE_SAGA_EVENT_COMPENSATION_REQUESTED 7 /* Leads to a compensation. */
#define STELE_SAGA_EVENT_COMPENSATION_RETRY 8
#define STELE_SAGA_EVENT_STEP_COMPENSATED 9
#define STELE_SAGA_EVENT_PARKED 10
#define STELE_SAGA_EVENT_RESUMED 11      /* A person: go on; what failed is tried again. */
#define STELE_SAGA_EVENT_STEP_RETRIED 12 /* A person: go on, with this step again. */
#define STELE_SAGA_EVENT_STEP_SKIPPED 13 /* A person: go on, this step was seen to. */
#define STELE_SAGA_EVENT_CANCELLED 14    /* A person: undo what was done. */
#define STELE_SAGA_EVENT_ABANDONED 15    /* A person: leave everything as it is. */
#define STELE_SAGA_EVENT_COMPLETED 16
#define STELE_SAGA_EVENT_COMPENSATED 17
#define STELE_SAGA_EVENT_KINDS 18

/* The event's type in the store: "SagaStarted", "SagaStepRequested" …; "" for none of the above. */
STELE_API const char *stele_saga_event_type(int kind);
/* The other way round; 0: none. */
STELE_API int stele_saga_event_kind(struct stele_text type);
/* "running", "parked" …; "requested", "compensated" … */
STELE_API const char *stele_saga_state_name(int state);
STELE_API const char *stele_saga_step_state_name(int state);

struct stele_saga_event {
    int kind;
    uint32_t step;    /* STELE_SAGA_NO_STEP where it is about none. */
    uint32_t attempt; /* Of requests and their failures. */
    int unknown;      /* Of failures: it may have happened. */
    int counts;       /* Of _RETRY: it is one of attempts_max. */
    int64_t at_us;
    int64_t due_us;  /* Requests: when to give up waiting; _RETRY: when to ask again. */
    uint64_t runner; /* Requests: who asks. */
    struct stele_text reason;
    struct stele_text result; /* _STEP_DONE: what the participant answered. */
};

/* Folds one event. Every state but those of a zeroed saga comes from here.
 *
 * STELE_E_CORRUPT  The event cannot follow what was folded so far; the message says why. *saga is
 *                  unchanged. */
STELE_API int stele_saga_evolve(const struct stele_saga_plan *plan, struct stele_saga *saga,
                                const struct stele_saga_event *event, struct stele_error *err);

/* ---- Deciding ----------------------------------------------------------------------------- */

/* How an attempt ended. */
#define STELE_SAGA_DONE 1
#define STELE_SAGA_REFUSED 2     /* The participant says no, and that nothing has happened. */
#define STELE_SAGA_NOT_DONE 3    /* It has definitely not happened; asking again may help. */
#define STELE_SAGA_UNKNOWN 4     /* No answer, or a broken one; asking again may help. */
#define STELE_SAGA_NOT_TRIED 5   /* As _NOT_DONE, and does not count: a circuit is open. */
#define STELE_SAGA_INTERRUPTED 6 /* As _UNKNOWN, does not count, and is asked again at once. */
#define STELE_SAGA_NEEDS_HELP 7  /* Only a person can go on: no such handler. */
#define STELE_SAGA_LATER 8       /* Of handlers: the answer will come; see the runner. */

#define STELE_SAGA_INPUT_START 1
#define STELE_SAGA_INPUT_TICK 2   /* Time has passed, or others have changed something. */
#define STELE_SAGA_INPUT_ANSWER 3 /* step, compensation, attempt, answer, reason, result. */
#define STELE_SAGA_INPUT_PARK 4
#define STELE_SAGA_INPUT_RESUME 5
#define STELE_SAGA_INPUT_RETRY 6 /* step */
#define STELE_SAGA_INPUT_SKIP 7  /* step */
#define STELE_SAGA_INPUT_CANCEL 8
#define STELE_SAGA_INPUT_ABANDON 9

struct stele_saga_input {
    int kind;
    uint32_t step;
    int compensation; /* The answer is about the compensation, not about the request. */
    uint32_t attempt; /* That the answer is about; 0: any. */
    int answer;
    int64_t retry_after_ms;   /* Of _NOT_DONE and _NOT_TRIED: not before; 0: as the table says. */
    struct stele_text reason; /* In words; cut to STELE_SAGA_WORDS_SIZE_MAX - 1. */
    struct stele_text result;
    uint64_t runner; /* Who decides: the one that will ask. */
    uint64_t random; /* For jitter; drawn anew for every call. What was drawn is in the events. */
};

/* Most events of one decision. */
#define STELE_SAGA_EVENTS_MAX (4u * STELE_SAGA_STEPS_MAX + 4u)

/* What happens now. The events are to be appended in one piece, expecting the revision of the last event
 * that was folded, and then folded with stele_saga_evolve(); only then may the requests that they
 * contain be made. *saga is not changed. Words and results in the events are borrowed from the
 * input, or constant.
 *
 * A person's input makes one event: what follows from it is decided by the runner, with a tick.
 *
 * STELE_OK                *out_count events; none is an answer that changes nothing.
 * STELE_CONDITION_FAILED  A person's input that does not fit the saga's state; err says why. */
STELE_API int stele_saga_decide(const struct stele_saga_plan *plan, const struct stele_saga *saga,
                                int64_t now_us, const struct stele_saga_input *input,
                                struct stele_saga_event out_events[STELE_SAGA_EVENTS_MAX],
                                size_t *out_count, struct stele_error *err);

/* When a tick is due at the latest; STELE_SAGA_NEVER if only an answer or a person can go on. */
STELE_API int64_t stele_saga_due(const struct stele_saga_plan *plan, const struct stele_saga *saga);

/* 1: completed, compensated or abandoned. */
STELE_API int stele_saga_has_ended(const struct stele_saga *saga);

/* The key of a request, "order/17/payment", and of its compensation, "order/17/payment/undo": the
 * same for every attempt. The size without the zero is returned; text has to have room. */
STELE_API size_t stele_saga_key(const char *kind, const char *id, const char *step,
                                int compensation, char text[STELE_SAGA_KEY_SIZE_MAX]);

/* An event id that follows from a key: a handler that appends events with these ids does so once,
 * however often it is asked. number tells the events of one request apart. */
STELE_API void stele_saga_event_id(const char *key, uint32_t number, uint8_t id[16]);

/* ---- Circuit breakers --------------------------------------------------------------------- */

/* Keeps calls from a service that does not work. Pure: its owner says what time it is, and is the
 * only one to call.
 *
 *     CLOSED ── failures reach the rate ──▶ OPEN ── open time is over ──▶ HALF_OPEN
 *        ▲                                   ▲                               │
 *        │                                   └──── the probe fails ──────────┤
 *        └────────────────────────────────────── enough probes succeed ──────┘
 *
 * One probe at a time is let through. A probe that nobody reports on for open_ms is taken for lost,
 * and the next call is the probe. Each opening in a row doubles the time, up to open_ms_max, with
 * up to a fifth of it added at random, so that many callers do not come back as one. */
#define STELE_BREAKER_CLOSED 0
#define STELE_BREAKER_OPEN 1
#define STELE_BREAKER_HALF_OPEN 2

struct stele_breaker_config {
    uint32_t window_ms;       /* Calls of this long count; default 10,000. */
    uint32_t calls_min;       /* Fewer calls in the window decide nothing; default 10. */
    uint32_t failure_percent; /* At or above it the circuit opens; default 50. */
    uint32_t open_ms;         /* Default 5,000. */
    uint32_t open_ms_max;     /* Default 60,000. */
    uint32_t probes;          /* Successes in a row that close it; default 1. */
};

#define STELE_BREAKER_SLOTS 10u

struct stele_breaker {
    struct stele_breaker_config config;
    int state;
    uint32_t calls[STELE_BREAKER_SLOTS]; /* Of the window, in tenths. */
    uint32_t failures[STELE_BREAKER_SLOTS];
    int64_t slot;     /* Number of the newest tenth since 1970. */
    int64_t until_us; /* OPEN: end of it. HALF_OPEN with a probe: when it counts as lost. */
    uint32_t opened;  /* In a row. */
    uint32_t passed;  /* Probes that succeeded in a row. */
    uint64_t era;     /* Grows with every change of state and every probe. */
    int probing;      /* HALF_OPEN: a probe is under way. */
};

/* config: NULL or zeros for the defaults. */
STELE_API void stele_breaker_init(struct stele_breaker *breaker,
                                  const struct stele_breaker_config *config);

/* May a call be made? STELE_OK: yes, and its end has to be reported with *out_ticket.
 * STELE_E_OVERLOADED: no; *out_until_us says when to ask again. */
STELE_API int stele_breaker_permit(struct stele_breaker *breaker, int64_t now_us,
                                   uint64_t *out_ticket, int64_t *out_until_us);

/* Tells how a call ended; a call that timed out has failed. Calls that were let through in an earlier
 * state of the circuit say nothing about this one, and are not counted. */
STELE_API void stele_breaker_report(struct stele_breaker *breaker, int64_t now_us, uint64_t ticket,
                                    int succeeded, uint64_t random);

/* ---- Running ------------------------------------------------------------------------------ */

/* What a handler is asked for. Everything is borrowed for the call. */
struct stele_saga_call {
    const char *kind;
    const char *id;
    const char *step;
    const char *command; /* The table's request, or its compensation. */
    const char *key;     /* The same for every attempt. */
    int compensation;
    uint32_t attempt;
    int64_t due_us;          /* When the answer is no longer waited for; microseconds since 1970. */
    struct stele_text input; /* The data of the event that started the saga. */
    /* What the request was answered with; of compensations, and empty if nobody knows. */
    struct stele_text result;
    /* For the metadata of what follows: "$correlationId", "$causationId", "traceparent" (or ""). */
    const char *correlation_id;
    const char *causation_id;
    const char *traceparent;
    const void *of; /* For stele_saga_call_result(). */
};

/* What a step before it was answered with; empty if it was not done, or does not exist. */
STELE_API struct stele_text stele_saga_call_result(const struct stele_saga_call *call,
                                                   const char *step);

struct stele_saga_reply {
    char reason[STELE_SAGA_WORDS_SIZE_MAX]; /* In words, why it was not done. */
    struct stele_text
        result;             /* JSON is kept as such. Borrowed until the handler is called again. */
    int64_t retry_after_ms; /* 0: as the table says. */
};

/* Does what is asked, or has it done: returns STELE_SAGA_DONE, _REFUSED, _NOT_DONE, _UNKNOWN,
 * _NEEDS_HELP, or _LATER: then stele_saga_runner_answer() tells. Of a step whose table names an event
 * for the answer, _DONE means that the command has been delivered. Runs on the runner's thread,
 * and must not call the runner. */
typedef int (*stele_saga_handler)(void *context, const struct stele_saga_call *call,
                                  struct stele_saga_reply *reply);

/* Which saga an event belongs to: one that starts sagas, or answers. 0: *id is set; anything else:
 * to none. */
typedef int (*stele_saga_identify)(void *context, const struct stele_event *event,
                                   char id[STELE_SAGA_ID_SIZE_MAX + 1]);

/* Everything is borrowed as long as the runner lives. */
struct stele_saga_definition {
    const struct stele_saga_table *table;
    const char *const *triggers; /* Types of the events that start a saga. */
    size_t triggers_count;
    stele_saga_identify identify; /* NULL: the stream's name behind its first "-". */
    stele_saga_handler handle;
    void *context; /* Of all three. */
    /* What a saga is started with: call.input. 0: *out_input is set, borrowed until the next call;
     * anything else: the event starts none. NULL: the event's data. */
    int (*input)(void *context, const struct stele_event *event, struct stele_text *out_input);
};

struct stele_saga_runner_options {
    size_t struct_size;
    /* Of this runner among those of the same kind, which may be many on one store; default "runner". Two
     * of one name must not run at once: a runner that starts takes up what its name had begun. */
    const char *name;
    /* Where a kind that never ran looks for events that start sagas: STELE_FROM_END (default) for
     * those that come from now on, 0 for all there are: a replay of side effects that has to be asked
     * for. Has no effect later, when there is a checkpoint. */
    uint64_t from;
    int rebuild; /* 1: look for sagas at work in all streams of the kind, not in the checkpoint. */
    uint32_t
        active_max; /* Sagas at work, about 4 KiB each; default 100,000. Above it none is started
                          * before others end. */
    uint32_t
        checkpoint_events; /* A checkpoint at the latest after so many events (default 1,000) … */
    uint32_t checkpoint_ms;              /* … or so long (default 10,000). */
    struct stele_breaker_config breaker; /* Each step has a circuit. */
    /* Told of what goes wrong with one saga, and does not end the runner. May be NULL. */
    void (*on_problem)(void *context, const char *id, const char *words);
    void *context;
};
#define STELE_SAGA_RUNNER_OPTIONS_INIT                                                             \
    {                                                                                              \
        sizeof(struct stele_saga_runner_options), NULL, STELE_FROM_END, 0, 0, 0, 0,                \
            {0, 0, 0, 0, 0, 0}, NULL, NULL                                                         \
    }

struct stele_saga_runner;

/* A runner of one kind of sagas, on an embedded or a remote store, which has to outlive it. Loads what was
 * at work; nothing is asked for before the first turn.
 *
 * STELE_E_INVALID, STELE_E_LIMIT  The table; see stele_saga_plan_init(). Nothing was written.
 * Else what reading and appending end with. */
STELE_API int stele_saga_runner_create(struct stele *store,
                                       const struct stele_saga_definition *definition,
                                       const struct stele_saga_runner_options *options,
                                       struct stele_saga_runner **out_runner,
                                       struct stele_error *err);

/* Does what there is to do, without waiting: new events, answers, timers. *out_due_us: when the next
 * timer is due (STELE_SAGA_NEVER), 0 if there is more to do at once. An error leaves nothing half done;
 * the next turn tries again. One thread at a time. */
STELE_API int stele_saga_runner_turn(struct stele_saga_runner *runner, int64_t *out_due_us,
                                     struct stele_error *err);

/* Waits until there may be something to do: until due_us, as the last turn gave it, or a fraction of a second.
 * For those who take turns themselves. */
STELE_API void stele_saga_runner_wait(struct stele_saga_runner *runner, int64_t due_us);

/* Takes turns and waits in between, until stele_saga_runner_stop() or an error. */
STELE_API int stele_saga_runner_run(struct stele_saga_runner *runner, struct stele_error *err);

/* From any thread, also from a signal's handler: run returns soon. */
STELE_API void stele_saga_runner_stop(struct stele_saga_runner *runner);

/* The answer to a call that returned STELE_SAGA_LATER, from any thread. Also an answer that comes after
 * everybody has given up is worth telling. result is copied.
 *
 * STELE_E_INVALID     The key is none of this kind.
 * STELE_E_OVERLOADED  Too many answers wait for a turn. */
STELE_API int stele_saga_runner_answer(struct stele_saga_runner *runner, const char *key,
                                       uint32_t attempt, int answer,
                                       const struct stele_saga_reply *reply);

struct stele_saga_runner_stats {
    uint64_t active;    /* Sagas at work. */
    uint64_t started;   /* By this runner, as all that follows. */
    uint64_t ended;     /* Completed, compensated, abandoned. */
    uint64_t parked;    /* Times. */
    uint64_t calls;     /* Of the handler. */
    uint64_t not_tried; /* Calls that an open circuit kept back. */
    uint64_t timers;    /* That were due. */
    uint64_t conflicts; /* Decisions that others were faster with. */
    uint64_t position;  /* Everything up to it has been looked at. */
};
STELE_API void stele_saga_runner_stats(struct stele_saga_runner *runner,
                                       struct stele_saga_runner_stats *out_stats);

/* Writes a checkpoint, if it can, and releases everything. NULL is fine. */
STELE_API void stele_saga_runner_destroy(struct stele_saga_runner *runner);

/* ---- For people --------------------------------------------------------------------------- */

/* Folds a saga's stream. *out_plan is the one that the saga was started with.
 * STELE_NO_STREAM  There is no such saga. STELE_E_CORRUPT  Its events do not follow each other. */
STELE_API int stele_saga_load(struct stele *store, const char *kind, const char *id,
                              struct stele_saga_plan *out_plan, struct stele_saga *out_saga,
                              struct stele_error *err);

/* Appends what a person wants (STELE_SAGA_INPUT_PARK … _ABANDON); step is the step's name, or NULL where
 * none is needed. The runner sees it and goes on.
 * STELE_CONDITION_FAILED  It does not fit the saga's state. STELE_NOT_FOUND  There is no such step. */
STELE_API int stele_saga_operate(struct stele *store, const char *kind, const char *id, int input,
                                 const char *step, const char *reason, struct stele_error *err);

#ifdef __cplusplus
}
#endif

#endif
