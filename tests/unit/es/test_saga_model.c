/* Whatever participants, networks and people do, a saga ends whole or undone.
 *
 * Method: a world of participants that keep the contract of <stele/saga.h> and know the truth: what was
 * done, and what was undone. Requests, compensations and their answers are delayed, lost, and answered
 * in every way. Everything that may go one way or another is one call of choose(): either drawn from a
 * seed, over random tables, or walked through exhaustively, over a few small ones. */
#include "lib/check.h"
#include "lib/rng.h"

#include <stele/saga.h>

#define MESSAGES_MAX 512
#define HISTORY_MAX 4096
#define TURNS_MAX 3000

struct message {
    int64_t at_us;
    uint32_t step;
    uint32_t attempt;
    bool compensation;
    bool is_answer;
    int answer;
};

/* The truth about a step. */
struct participant {
    bool done, undone, refused;
    uint32_t times_done;
};

struct world {
    struct rng *rng;  /* NULL: walking. */
    uint8_t *path;    /* The choices of a walk … */
    uint8_t *width;   /* … and how many there were. */
    size_t path_size; /* So many are walked through; the rest are 0. */
    size_t choices;   /* Made so far. */
    uint64_t trouble; /* Choices that may still go wrong. */
    struct stele_saga_plan plan;
    struct stele_saga saga;
    int64_t now_us;
    struct participant participants[STELE_SAGA_STEPS_MAX];
    struct message messages[MESSAGES_MAX];
    size_t messages_count;
    struct stele_saga_event history[HISTORY_MAX];
    size_t history_count;
    uint32_t compensated[STELE_SAGA_STEPS_MAX]; /* Events. */
    uint32_t requested[STELE_SAGA_STEPS_MAX];
    bool skipped[STELE_SAGA_STEPS_MAX];
    bool abandoned;
};

/* 0 is the good way, always. */
static uint64_t choose(struct world *w, uint64_t ways)
{
    if (w->trouble == 0) {
        return 0;
    }
    w->trouble--;
    if (w->rng != NULL) {
        return rng_percent(w->rng, 50) ? 0 : rng_below(w->rng, ways);
    }
    if (w->choices >= w->path_size) {
        return 0;
    }
    w->width[w->choices] = (uint8_t)ways;
    return w->path[w->choices++];
}

static void send(struct world *w, struct message message)
{
    CHECK(w->messages_count < MESSAGES_MAX);
    w->messages[w->messages_count++] = message;
}

static int64_t late_us(const struct world *w, uint32_t step)
{
    return (int64_t)w->plan.steps[step].timeout_ms * 1000 * 5 / 2;
}

/* ---- The saga, and what is claimed of every decision ---------------------------------------- */

/* Before a compensation is asked for, whatever ended later than its step has been undone, and nothing
 * is under way that could still end. */
static void check_order(const struct world *w, uint32_t step)
{
    for (uint32_t i = 0; i < w->plan.steps_count; i++) {
        const struct stele_saga_step_state *const other = &w->saga.steps[i];
        CHECK(!(other->state == STELE_SAGA_STEP_REQUESTED && other->in_flight));
        const bool owed =
            w->plan.steps[i].compensates && !other->skipped && other->state == STELE_SAGA_STEP_DONE;
        if (i != step && owed) {
            CHECK(other->order < w->saga.steps[step].order);
            CHECK((w->plan.steps[i].after & UINT32_C(1) << step) == 0);
        }
        CHECK(i == step || other->state != STELE_SAGA_STEP_COMPENSATING);
    }
}

static void apply(struct world *w, const struct stele_saga_event *event)
{
    struct stele_error err = {0};
    if (event->kind == STELE_SAGA_EVENT_COMPENSATION_REQUESTED && event->attempt == 1) {
        check_order(w, event->step);
    }
    CHECK(event->at_us >= w->saga.at_us);
    CHECK_OK(stele_saga_evolve(&w->plan, &w->saga, event, &err), err);
    CHECK(w->history_count < HISTORY_MAX);
    w->history[w->history_count++] = *event;
    const bool request = event->kind == STELE_SAGA_EVENT_STEP_REQUESTED;
    if (request || event->kind == STELE_SAGA_EVENT_COMPENSATION_REQUESTED) {
        /* The only place in this file that makes requests: none without its event. */
        const struct message message = {.at_us = w->now_us,
                                        .step = event->step,
                                        .attempt = event->attempt,
                                        .compensation = !request};
        struct message sent = message;
        sent.at_us += choose(w, 5) == 4 ? late_us(w, event->step) : 0;
        send(w, sent);
        w->requested[event->step] += request;
        for (uint32_t i = 0; i < w->plan.steps_count && request; i++) {
            if (w->plan.steps[event->step].after & UINT32_C(1) << i) {
                CHECK_EQ(w->saga.steps[i].state, STELE_SAGA_STEP_DONE);
            }
        }
    }
    w->compensated[event->step % STELE_SAGA_STEPS_MAX] +=
        event->kind == STELE_SAGA_EVENT_STEP_COMPENSATED;
    if (event->kind == STELE_SAGA_EVENT_STEP_SKIPPED) {
        w->skipped[event->step] = true;
    }
    w->abandoned |= event->kind == STELE_SAGA_EVENT_ABANDONED;
}

static void decide(struct world *w, struct stele_saga_input input)
{
    static struct stele_saga_event events[STELE_SAGA_EVENTS_MAX];
    struct stele_error err = {0};
    size_t count = 0;
    input.random = (uint64_t)w->now_us * 77 + w->history_count;
    CHECK_OK(stele_saga_decide(&w->plan, &w->saga, w->now_us, &input, events, &count, &err), err);
    for (size_t i = 0; i < count; i++) {
        apply(w, &events[i]);
    }
}

/* ---- Participants --------------------------------------------------------------------------- */

static void answer(struct world *w, const struct message *request, int kind, int64_t after_us)
{
    struct message message = *request;
    message.is_answer = true;
    message.answer = kind;
    message.at_us = w->now_us + after_us;
    send(w, message);
}

static void take_request(struct world *w, const struct message *m)
{
    struct participant *const p = &w->participants[m->step];
    const bool waits = w->plan.steps[m->step].unknown == STELE_SAGA_UNKNOWN_WAIT;
    if (p->undone) {
        answer(w, m, STELE_SAGA_REFUSED, 0);
        return;
    }
    /* A no is not remembered: another attempt may be answered differently, also one that was sent before and
     * comes afterwards. */
    const uint64_t way = choose(w, 6);
    if (way == 1 && !p->done) {
        p->refused = true;
        answer(w, m, STELE_SAGA_REFUSED, 0);
    } else if (way == 2 && !p->done) {
        answer(w, m, STELE_SAGA_NOT_DONE, 0);
    } else if (way == 3 && !p->done) {
        /* It never came. */
    } else {
        p->times_done += !p->done;
        p->done = true;
        if (way == 4 && !waits) {
            answer(w, m, STELE_SAGA_UNKNOWN, 0); /* Done, and the answer broke off. */
        } else {
            answer(w, m, STELE_SAGA_DONE, way == 5 ? late_us(w, m->step) : 0);
        }
    }
}

static void take_compensation(struct world *w, const struct message *m)
{
    struct participant *const p = &w->participants[m->step];
    switch (choose(w, 5)) {
    case 1:
        answer(w, m, STELE_SAGA_REFUSED, 0); /* Needs a person. */
        break;
    case 2:
        break;
    case 3:
        p->undone = true;
        answer(w, m, STELE_SAGA_DONE, late_us(w, m->step));
        break;
    case 4:
        p->undone = true;
        break;
    default:
        p->undone = true;
        answer(w, m, STELE_SAGA_DONE, 0);
        break;
    }
}

/* ---- People --------------------------------------------------------------------------------- */

static void person(struct world *w)
{
    struct stele_saga_input input = {.kind = STELE_SAGA_INPUT_RESUME};
    const uint64_t way = choose(w, 4);
    const uint32_t cause = w->saga.cause;
    if (way == 1 && cause != STELE_SAGA_NO_STEP &&
        w->saga.steps[cause].state != STELE_SAGA_STEP_DONE &&
        w->saga.steps[cause].state != STELE_SAGA_STEP_COMPENSATED) {
        /* Who skips a step has seen to it: what was done is undone by hand, or wanted. */
        input.kind = STELE_SAGA_INPUT_SKIP;
        input.step = cause;
    } else if (w->saga.parked_from == STELE_SAGA_RUNNING &&
               (way == 2 || (cause != STELE_SAGA_NO_STEP && w->participants[cause].refused))) {
        /* To ask again somebody who has said no for good is of no use. */
        input.kind = STELE_SAGA_INPUT_CANCEL;
    } else if (way == 3) {
        input.kind = STELE_SAGA_INPUT_ABANDON;
    }
    decide(w, input);
    decide(w, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_TICK});
}

/* ---- The end -------------------------------------------------------------------------------- */

static void check_end(const struct world *w)
{
    CHECK(stele_saga_has_ended(&w->saga));
    CHECK_EQ(w->abandoned, w->saga.state == STELE_SAGA_ABANDONED);
    for (uint32_t i = 0; i < w->plan.steps_count; i++) {
        const struct participant *const p = &w->participants[i];
        CHECK(p->times_done <= 1);
        CHECK(w->compensated[i] <= 1);
        if (w->abandoned || w->skipped[i]) {
            continue;
        }
        const struct stele_saga_step_state *const step = &w->saga.steps[i];
        if (w->saga.state == STELE_SAGA_COMPLETED) {
            CHECK(p->done);
            CHECK(!p->undone);
            CHECK_EQ(w->compensated[i], 0);
        } else if (w->plan.steps[i].compensates) {
            CHECK(!p->done || p->undone);
            CHECK_EQ(w->compensated[i], step->state == STELE_SAGA_STEP_COMPENSATED);
            CHECK(step->state != STELE_SAGA_STEP_DONE);
        }
    }
    /* The state is what its events say, and nothing else. */
    struct stele_saga again;
    memset(&again, 0, sizeof again);
    for (size_t i = 0; i < w->history_count; i++) {
        CHECK_EQ(stele_saga_evolve(&w->plan, &again, &w->history[i], NULL), STELE_OK);
    }
    CHECK_BYTES_EQ(&again, &w->saga, sizeof again);
}

static void run_world(struct world *w)
{
    w->now_us = 1000000;
    decide(w, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_START});
    for (size_t turn = 0;; turn++) {
        CHECK(turn < TURNS_MAX);
        if (w->saga.state == STELE_SAGA_PARKED) {
            person(w);
            continue;
        }
        size_t next = w->messages_count;
        int64_t at_us = stele_saga_due(&w->plan, &w->saga);
        for (size_t i = 0; i < w->messages_count; i++) {
            if (w->messages[i].at_us < at_us || (w->messages[i].at_us == at_us &&
                                                 next == w->messages_count && at_us <= w->now_us)) {
                next = i;
                at_us = w->messages[i].at_us;
            }
        }
        if (at_us == STELE_SAGA_NEVER) {
            break;
        }
        w->now_us = at_us > w->now_us ? at_us : w->now_us;
        if (next == w->messages_count) {
            decide(w, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_TICK});
            CHECK(stele_saga_due(&w->plan, &w->saga) > w->now_us || w->messages_count > 0);
            continue;
        }
        const struct message m = w->messages[next];
        w->messages[next] = w->messages[--w->messages_count];
        if (m.is_answer) {
            decide(w, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_ANSWER,
                                                .step = m.step,
                                                .compensation = m.compensation,
                                                .attempt = m.attempt,
                                                .answer = m.answer});
        } else if (m.compensation) {
            take_compensation(w, &m);
        } else {
            take_request(w, &m);
        }
    }
    check_end(w);
}

/* ---- Random tables -------------------------------------------------------------------------- */

static void draw_plan(struct world *w, struct rng *rng)
{
    struct stele_saga_plan *const plan = &w->plan;
    (void)snprintf(plan->kind, sizeof plan->kind, "random");
    plan->steps_count = (uint32_t)rng_between(rng, 1, 8);
    plan->deadline_ms = rng_one_in(rng, 4) ? rng_between(rng, 1, 20000) : 0;
    const uint64_t density = rng_below(rng, 100);
    for (uint32_t i = 0; i < plan->steps_count; i++) {
        struct stele_saga_plan_step *const step = &plan->steps[i];
        (void)snprintf(step->name, sizeof step->name, "s%u", i);
        for (uint32_t j = 0; j < i; j++) {
            step->after |= rng_percent(rng, density) ? UINT32_C(1) << j : 0;
        }
        step->timeout_ms = (uint32_t)rng_between(rng, 10, 3000);
        step->delay_ms = rng_one_in(rng, 5) ? (uint32_t)rng_between(rng, 1, 5000) : 0;
        step->retry = (struct stele_saga_retry){(uint32_t)rng_between(rng, 1, 3), 100, 1000};
        step->compensation_retry = step->retry;
        step->compensates = !rng_one_in(rng, 5);
        step->on_failure = rng_one_in(rng, 5) ? STELE_SAGA_PARK : STELE_SAGA_UNDO;
        step->unknown = rng_one_in(rng, 3) ? STELE_SAGA_UNKNOWN_WAIT : STELE_SAGA_UNKNOWN_UNDO;
    }
    CHECK_EQ(stele_saga_plan_check(plan, NULL), STELE_OK);
}

TEST(random_sagas_end_whole_or_undone)
{
    static struct world w;
    uint32_t ends[STELE_SAGA_ABANDONED + 1] = {0};
    uint32_t undone_after_unknown = 0;
    for (uint64_t seed = 0; seed < 12000; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 0);
        memset(&w, 0, sizeof w);
        w.rng = &rng;
        w.trouble = rng_below(&rng, 60);
        draw_plan(&w, &rng);
        run_world(&w);
        ends[w.saga.state]++;
        for (uint32_t i = 0; i < w.plan.steps_count; i++) {
            undone_after_unknown += w.saga.steps[i].unknown && w.compensated[i] > 0;
        }
    }
    /* Otherwise the test would claim little. */
    CHECK(ends[STELE_SAGA_COMPLETED] > 600);
    CHECK(ends[STELE_SAGA_COMPENSATED] > 600);
    CHECK(ends[STELE_SAGA_ABANDONED] > 60);
    CHECK(undone_after_unknown > 300);
}

/* ---- Small tables, every way ---------------------------------------------------------------- */

#define PATH_MAX_CHOICES 7

static void walk(const struct stele_saga_plan *plan)
{
    static struct world w;
    uint8_t path[PATH_MAX_CHOICES] = {0};
    uint8_t width[PATH_MAX_CHOICES];
    for (;;) {
        memset(&w, 0, sizeof w);
        w.plan = *plan;
        w.path = path;
        w.width = width;
        w.path_size = PATH_MAX_CHOICES;
        w.trouble = 1000;
        run_world(&w);
        /* The next path: the last choice that has another way takes it, and those behind it begin
         * anew. */
        size_t last = w.choices;
        while (last > 0 && path[last - 1] + 1 >= width[last - 1]) {
            path[--last] = 0;
        }
        if (last == 0) {
            return;
        }
        path[last - 1]++;
    }
}

static void walk_table(const char *after_second, int unknown, int on_failure)
{
    struct stele_saga_step steps[2] = {
        {.name = "a", .compensation = "undo", .timeout_ms = 1000, .retry = {2, 100, 100}},
        {.name = "b",
         .after = after_second,
         .compensation = "undo",
         .timeout_ms = 1000,
         .retry = {2, 100, 100}}};
    for (size_t i = 0; i < 2; i++) {
        steps[i].compensation_retry = steps[i].retry;
        steps[i].unknown = unknown;
    }
    steps[1].on_failure = on_failure;
    const struct stele_saga_table table = {"small", steps, 2, 0};
    struct stele_saga_plan plan;
    CHECK_EQ(stele_saga_plan_init(&plan, &table, NULL), STELE_OK);
    walk(&plan);
}

TEST(every_way_through_two_steps_in_sequence)
{
    walk_table("a", STELE_SAGA_UNKNOWN_UNDO, STELE_SAGA_UNDO);
    walk_table("a", STELE_SAGA_UNKNOWN_WAIT, STELE_SAGA_UNDO);
}

TEST(every_way_through_two_steps_at_the_same_time)
{
    walk_table("", STELE_SAGA_UNKNOWN_UNDO, STELE_SAGA_UNDO);
    walk_table("", STELE_SAGA_UNKNOWN_WAIT, STELE_SAGA_UNDO);
}

TEST(every_way_through_a_step_that_parks)
{
    walk_table("a", STELE_SAGA_UNKNOWN_UNDO, STELE_SAGA_PARK);
}
