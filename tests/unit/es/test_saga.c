/* Each transition of a saga, one after the other.
 *
 * Method: a small table, a clock that the test turns, and every event that comes out compared with what
 * should. test_saga_model.c has the histories that nobody would think of. */
#include "lib/check.h"

#include <stele/saga.h>

#include <stdbool.h>

#define SECOND INT64_C(1000000)
#define START (100 * SECOND)

enum { ORDER, PAYMENT, STOCK, SHIPPING };

static const struct stele_saga_step STEPS[] = {
    {.name = "order", .compensation = "CancelOrder", .timeout_ms = 1000, .retry = {3, 1000, 8000}},
    {.name = "payment",
     .after = "order",
     .compensation = "Refund",
     .timeout_ms = 2000,
     .retry = {2, 1000, 8000},
     .compensation_retry = {2, 1000, 8000}},
    {.name = "stock", .after = "order", .compensation = "Release", .timeout_ms = 5000},
    {.name = "shipping", .after = "payment stock", .on_failure = STELE_SAGA_PARK},
};
static const struct stele_saga_table TABLE = {"order", STEPS, 4, 0};

struct bench {
    struct stele_saga_plan plan;
    struct stele_saga saga;
    int64_t now_us;
    struct stele_saga_event events[STELE_SAGA_EVENTS_MAX];
    struct stele_error err;
};

/* What comes out, as words: "SagaStepRequested order 1, SagaCompleted". */
static const char *decide(struct bench *b, struct stele_saga_input input)
{
    static char words[1024];
    size_t count = 0;
    size_t size = 0;
    words[0] = '\0';
    const int outcome =
        stele_saga_decide(&b->plan, &b->saga, b->now_us, &input, b->events, &count, &b->err);
    if (outcome != STELE_OK) {
        return b->err.message;
    }
    for (size_t i = 0; i < count; i++) {
        const struct stele_saga_event *const e = &b->events[i];
        CHECK_OK(stele_saga_evolve(&b->plan, &b->saga, e, &b->err), b->err);
        CHECK_EQ(e->at_us, b->saga.at_us);
        const bool named = e->step != STELE_SAGA_NO_STEP;
        size += (size_t)snprintf(words + size, sizeof words - size, "%s%s%s%s", i > 0 ? ", " : "",
                                 stele_saga_event_type(e->kind) + 4, named ? " " : "",
                                 named ? b->plan.steps[e->step].name : "");
        if (e->attempt > 1) {
            size += (size_t)snprintf(words + size, sizeof words - size, " %u", e->attempt);
        }
    }
    return words;
}

static const char *tick(struct bench *b)
{
    return decide(b, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_TICK});
}

static const char *answer(struct bench *b, uint32_t step, int kind)
{
    return decide(b, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_ANSWER,
                                               .step = step,
                                               .answer = kind,
                                               .reason = {"words", 5}});
}

static const char *undone(struct bench *b, uint32_t step, int kind)
{
    return decide(b, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_ANSWER,
                                               .step = step,
                                               .compensation = 1,
                                               .answer = kind,
                                               .reason = {"no", 2}});
}

static const char *person(struct bench *b, int kind, uint32_t step)
{
    return decide(b,
                  (struct stele_saga_input){.kind = kind, .step = step, .reason = {"by hand", 7}});
}

static void begin(struct bench *b)
{
    memset(b, 0, sizeof *b);
    CHECK_OK(stele_saga_plan_init(&b->plan, &TABLE, &b->err), b->err);
    b->now_us = START;
    CHECK_TEXT_EQ(decide(b, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_START}),
                  "Started, StepRequested order");
}

/* With payment and stock asked for. */
static void begin_at_two(struct bench *b)
{
    begin(b);
    CHECK_TEXT_EQ(answer(b, ORDER, STELE_SAGA_DONE),
                  "StepDone order, StepRequested payment, StepRequested stock");
}

TEST(a_saga_that_goes_well_asks_in_order_and_completes)
{
    struct bench b;
    begin_at_two(&b);
    CHECK_TEXT_EQ(answer(&b, STOCK, STELE_SAGA_DONE), "StepDone stock");
    CHECK_TEXT_EQ(answer(&b, PAYMENT, STELE_SAGA_DONE), "StepDone payment, StepRequested shipping");
    CHECK_TEXT_EQ(answer(&b, SHIPPING, STELE_SAGA_DONE), "StepDone shipping, Completed");
    CHECK_EQ(b.saga.state, STELE_SAGA_COMPLETED);
    CHECK(stele_saga_has_ended(&b.saga));
    CHECK_EQ(stele_saga_due(&b.plan, &b.saga), STELE_SAGA_NEVER);
    CHECK_TEXT_EQ(tick(&b), "");
    CHECK_TEXT_EQ(answer(&b, SHIPPING, STELE_SAGA_DONE), "");
}

TEST(a_step_without_after_follows_the_one_before_it)
{
    const struct stele_saga_step steps[] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
    const struct stele_saga_table table = {"k", steps, 3, 0};
    struct stele_saga_plan plan;
    CHECK_EQ(stele_saga_plan_init(&plan, &table, NULL), STELE_OK);
    CHECK_EQ(plan.steps[0].after, 0);
    CHECK_EQ(plan.steps[1].after, 1);
    CHECK_EQ(plan.steps[2].after, 2);
}

TEST(a_refusal_undoes_what_was_done_in_reverse_and_waits_for_what_is_under_way)
{
    struct bench b;
    begin_at_two(&b);
    CHECK_TEXT_EQ(answer(&b, PAYMENT, STELE_SAGA_REFUSED),
                  "StepFailed payment, Compensating payment");
    CHECK_TEXT_EQ(b.saga.reason, "words");
    CHECK_TEXT_EQ(answer(&b, STOCK, STELE_SAGA_DONE),
                  "StepDone stock, CompensationRequested stock");
    CHECK_TEXT_EQ(undone(&b, STOCK, STELE_SAGA_DONE),
                  "StepCompensated stock, CompensationRequested order");
    CHECK_TEXT_EQ(undone(&b, ORDER, STELE_SAGA_DONE), "StepCompensated order, Compensated");
    CHECK_EQ(b.saga.state, STELE_SAGA_COMPENSATED);
}

TEST(an_attempt_that_is_not_answered_in_time_is_tried_again_with_growing_waits)
{
    struct bench b;
    begin(&b);
    CHECK_EQ(stele_saga_due(&b.plan, &b.saga), START + SECOND);
    b.now_us = START + SECOND - 1;
    CHECK_TEXT_EQ(tick(&b), "");
    int64_t wait_us = SECOND;
    for (uint32_t attempt = 1; attempt < 3; attempt++, wait_us *= 2) {
        b.now_us = stele_saga_due(&b.plan, &b.saga);
        (void)tick(&b);
        CHECK_EQ(b.events[0].kind, STELE_SAGA_EVENT_STEP_RETRY);
        CHECK_EQ(b.events[0].attempt, attempt);
        CHECK(b.events[0].due_us >= b.now_us + wait_us / 2);
        CHECK(b.events[0].due_us <= b.now_us + wait_us);
        CHECK_EQ(stele_saga_due(&b.plan, &b.saga), b.events[0].due_us);
        b.now_us = b.events[0].due_us;
        CHECK_TEXT_EQ(tick(&b), attempt == 1 ? "StepRequested order 2" : "StepRequested order 3");
    }
    b.now_us += SECOND;
    /* Nobody knows whether it happened. */
    CHECK_TEXT_EQ(tick(&b), "StepFailed order 3, Compensating order, CompensationRequested order");
    CHECK_TEXT_EQ(b.saga.reason, "no answer in time");
}

TEST(the_wait_is_drawn_from_what_was_passed_in)
{
    int64_t least_us = INT64_MAX;
    int64_t most_us = 0;
    for (uint64_t random = 0; random < 300; random++) {
        struct bench b;
        begin(&b);
        (void)decide(&b, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_ANSWER,
                                                   .answer = STELE_SAGA_NOT_DONE,
                                                   .random = random});
        const int64_t wait_us = b.saga.steps[ORDER].due_us - b.now_us;
        least_us = wait_us < least_us ? wait_us : least_us;
        most_us = wait_us > most_us ? wait_us : most_us;
    }
    CHECK(least_us >= SECOND / 2);
    CHECK(most_us <= SECOND);
    CHECK(most_us - least_us > SECOND / 3);
}

TEST(a_bad_answer_to_an_old_attempt_changes_nothing_and_a_good_one_does)
{
    struct bench b;
    begin(&b);
    CHECK_TEXT_EQ(answer(&b, ORDER, STELE_SAGA_NOT_DONE), "StepWillRetry order");
    CHECK_TEXT_EQ(answer(&b, ORDER, STELE_SAGA_UNKNOWN), "");
    b.now_us = stele_saga_due(&b.plan, &b.saga);
    CHECK_TEXT_EQ(tick(&b), "StepRequested order 2");
    CHECK_TEXT_EQ(decide(&b, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_ANSWER,
                                                       .attempt = 1,
                                                       .answer = STELE_SAGA_UNKNOWN}),
                  "");
    CHECK_TEXT_EQ(decide(&b, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_ANSWER,
                                                       .attempt = 1,
                                                       .answer = STELE_SAGA_DONE}),
                  "StepDone order 2, StepRequested payment, StepRequested stock");
}

TEST(what_was_not_tried_or_was_interrupted_does_not_count_as_a_failure)
{
    struct bench b;
    begin(&b);
    for (int i = 0; i < 10; i++) {
        (void)decide(&b, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_ANSWER,
                                                   .answer = STELE_SAGA_NOT_TRIED,
                                                   .retry_after_ms = 7000});
        CHECK_EQ(b.saga.steps[ORDER].due_us, b.now_us + 7 * SECOND);
        b.now_us = b.saga.steps[ORDER].due_us;
        (void)tick(&b);
        (void)answer(&b, ORDER, STELE_SAGA_INTERRUPTED); /* Is asked for again at once. */
        CHECK(b.saga.steps[ORDER].in_flight);
        CHECK(b.saga.steps[ORDER].unknown);
    }
    CHECK_EQ(b.saga.steps[ORDER].failures, 0);
    CHECK_EQ(b.saga.steps[ORDER].attempt, 21);
}

TEST(a_definite_failure_has_nothing_to_undo)
{
    struct bench b;
    begin(&b);
    for (int i = 0; i < 2; i++) {
        (void)answer(&b, ORDER, STELE_SAGA_NOT_DONE);
        b.now_us = stele_saga_due(&b.plan, &b.saga);
        (void)tick(&b);
    }
    CHECK_TEXT_EQ(answer(&b, ORDER, STELE_SAGA_NOT_DONE),
                  "StepFailed order 3, Compensating order, Compensated");
}

/* The first attempt may be still on its way, and come when there is no reason to refuse it any more. */
TEST(a_refusal_after_silence_is_undone_all_the_same)
{
    struct bench b;
    begin(&b);
    b.now_us = stele_saga_due(&b.plan, &b.saga);
    CHECK_TEXT_EQ(tick(&b), "StepWillRetry order");
    b.now_us = stele_saga_due(&b.plan, &b.saga);
    CHECK_TEXT_EQ(tick(&b), "StepRequested order 2");
    CHECK_TEXT_EQ(answer(&b, ORDER, STELE_SAGA_REFUSED),
                  "StepFailed order 2, Compensating order, CompensationRequested order");
    CHECK_TEXT_EQ(undone(&b, ORDER, STELE_SAGA_DONE), "StepCompensated order, Compensated");
}

TEST(a_success_that_comes_late_is_undone_also_after_the_end)
{
    struct bench b;
    begin(&b);
    CHECK_TEXT_EQ(answer(&b, ORDER, STELE_SAGA_REFUSED),
                  "StepFailed order, Compensating order, Compensated");
    CHECK_TEXT_EQ(answer(&b, ORDER, STELE_SAGA_DONE),
                  "StepDone order, CompensationRequested order");
    CHECK_EQ(b.saga.state, STELE_SAGA_COMPENSATING);
    CHECK_TEXT_EQ(undone(&b, ORDER, STELE_SAGA_DONE), "StepCompensated order, Compensated");
    CHECK_TEXT_EQ(answer(&b, ORDER, STELE_SAGA_DONE), "");
}

TEST(a_step_that_waits_for_late_news_is_not_undone_before_they_come)
{
    struct bench b;
    begin(&b);
    b.plan.steps[ORDER].unknown = STELE_SAGA_UNKNOWN_WAIT;
    b.plan.steps[ORDER].retry.attempts_max = 1;
    b.now_us = stele_saga_due(&b.plan, &b.saga);
    CHECK_TEXT_EQ(tick(&b), "StepFailed order, Compensating order, Compensated");
    CHECK_TEXT_EQ(answer(&b, ORDER, STELE_SAGA_DONE),
                  "StepDone order, CompensationRequested order");
}

TEST(a_compensation_that_fails_for_good_parks_and_goes_on_when_resumed)
{
    struct bench b;
    begin_at_two(&b);
    (void)answer(&b, PAYMENT, STELE_SAGA_DONE);
    CHECK_TEXT_EQ(answer(&b, STOCK, STELE_SAGA_REFUSED),
                  "StepFailed stock, Compensating stock, CompensationRequested payment");
    CHECK_TEXT_EQ(undone(&b, PAYMENT, STELE_SAGA_UNKNOWN), "CompensationWillRetry payment");
    b.now_us = stele_saga_due(&b.plan, &b.saga);
    CHECK_TEXT_EQ(tick(&b), "CompensationRequested payment 2");
    CHECK_TEXT_EQ(undone(&b, PAYMENT, STELE_SAGA_NOT_DONE), "Parked payment");
    CHECK_TEXT_EQ(b.saga.reason, "no");
    CHECK_EQ(stele_saga_due(&b.plan, &b.saga), STELE_SAGA_NEVER);
    b.now_us += 1000 * SECOND;
    CHECK_TEXT_EQ(tick(&b), "");
    CHECK_TEXT_EQ(person(&b, STELE_SAGA_INPUT_RESUME, 0), "Resumed");
    CHECK_TEXT_EQ(tick(&b), "CompensationRequested payment 3");
    CHECK_TEXT_EQ(undone(&b, PAYMENT, STELE_SAGA_REFUSED), "Parked payment");
    CHECK_TEXT_EQ(person(&b, STELE_SAGA_INPUT_SKIP, PAYMENT), "StepSkipped payment");
    CHECK_TEXT_EQ(tick(&b), "CompensationRequested order");
}

TEST(a_step_behind_the_point_of_no_return_parks)
{
    struct bench b;
    begin_at_two(&b);
    (void)answer(&b, STOCK, STELE_SAGA_DONE);
    (void)answer(&b, PAYMENT, STELE_SAGA_DONE);
    CHECK_TEXT_EQ(answer(&b, SHIPPING, STELE_SAGA_REFUSED), "StepFailed shipping, Parked shipping");
    CHECK_TEXT_EQ(person(&b, STELE_SAGA_INPUT_RETRY, SHIPPING), "StepRetried shipping");
    CHECK_TEXT_EQ(tick(&b), "StepRequested shipping 2");
    CHECK_TEXT_EQ(answer(&b, SHIPPING, STELE_SAGA_NEEDS_HELP), "Parked shipping");
    CHECK_TEXT_EQ(person(&b, STELE_SAGA_INPUT_CANCEL, 0), "Cancelled");
    /* shipping may have happened for all anybody knows: no, it was held, and has nothing to undo. */
    CHECK_TEXT_EQ(tick(&b), "StepFailed shipping 2, CompensationRequested payment");
}

TEST(people_are_told_what_does_not_fit)
{
    struct bench b;
    begin(&b);
    CHECK_TEXT_HAS(person(&b, STELE_SAGA_INPUT_RESUME, 0), "only a parked one can be resumed");
    CHECK_TEXT_HAS(person(&b, STELE_SAGA_INPUT_SKIP, ORDER), "park it first");
    CHECK_TEXT_HAS(person(&b, STELE_SAGA_INPUT_ABANDON, 0), "park it first");
    CHECK_TEXT_EQ(person(&b, STELE_SAGA_INPUT_PARK, 0), "Parked");
    CHECK_TEXT_HAS(person(&b, STELE_SAGA_INPUT_PARK, 0), "the saga is parked");
    CHECK_TEXT_HAS(person(&b, STELE_SAGA_INPUT_RETRY, PAYMENT), "it was never asked for");
    CHECK_TEXT_HAS(person(&b, STELE_SAGA_INPUT_RETRY, 9), "no such step");
    CHECK_TEXT_EQ(answer(&b, ORDER, STELE_SAGA_DONE), "StepDone order"); /* A fact is kept. */
    CHECK_TEXT_HAS(person(&b, STELE_SAGA_INPUT_RETRY, ORDER), "ended well");
    CHECK_TEXT_EQ(person(&b, STELE_SAGA_INPUT_ABANDON, 0), "Abandoned");
    CHECK_TEXT_HAS(person(&b, STELE_SAGA_INPUT_CANCEL, 0), "the saga is abandoned");
    CHECK_TEXT_EQ(answer(&b, PAYMENT, STELE_SAGA_DONE), "");
}

TEST(a_deadline_undoes_a_saga_that_still_runs)
{
    struct bench b;
    begin(&b);
    b.plan.deadline_ms = 1500;
    (void)answer(&b, ORDER, STELE_SAGA_DONE);
    CHECK_EQ(stele_saga_due(&b.plan, &b.saga), START + 3 * SECOND / 2);
    b.now_us = START + 3 * SECOND / 2;
    CHECK_TEXT_EQ(tick(&b), "Compensating");
    b.now_us = START + 2 * SECOND;
    /* What is under way is waited for, then everything that may have happened is undone. */
    CHECK_TEXT_EQ(tick(&b), "StepFailed payment");
    b.now_us = START + 5 * SECOND;
    CHECK_TEXT_EQ(tick(&b), "StepFailed stock, CompensationRequested stock");
    CHECK_TEXT_EQ(undone(&b, STOCK, STELE_SAGA_DONE),
                  "StepCompensated stock, CompensationRequested payment");
}

TEST(a_delayed_step_is_asked_for_when_its_time_has_come)
{
    const struct stele_saga_step steps[] = {{.name = "a"}, {.name = "b", .delay_ms = 60000}};
    const struct stele_saga_table table = {"k", steps, 2, 0};
    struct bench b;
    memset(&b, 0, sizeof b);
    CHECK_OK(stele_saga_plan_init(&b.plan, &table, &b.err), b.err);
    b.now_us = START;
    (void)decide(&b, (struct stele_saga_input){.kind = STELE_SAGA_INPUT_START});
    CHECK_TEXT_EQ(answer(&b, 0, STELE_SAGA_DONE), "StepDone a");
    CHECK_EQ(stele_saga_due(&b.plan, &b.saga), START + 60 * SECOND);
    b.now_us = START + 60 * SECOND - 1;
    CHECK_TEXT_EQ(tick(&b), "");
    b.now_us++;
    CHECK_TEXT_EQ(tick(&b), "StepRequested b");
}

TEST(time_in_a_saga_never_goes_back)
{
    struct bench b;
    begin(&b);
    b.now_us = START - 50 * SECOND;
    (void)answer(&b, ORDER, STELE_SAGA_DONE);
    CHECK_EQ(b.saga.at_us, START);
    CHECK_EQ(b.saga.steps[PAYMENT].due_us, START + 2 * SECOND);
}

static void check_refused(const struct stele_saga_table *table, int outcome, const char *part)
{
    struct stele_saga_plan plan;
    struct stele_error err = {0};
    memset(&plan, 0x55, sizeof plan);
    const struct stele_saga_plan before = plan;
    CHECK_OUTCOME(stele_saga_plan_init(&plan, table, &err), outcome, err);
    CHECK_TEXT_HAS(err.message, part);
    CHECK_BYTES_EQ(&plan, &before, sizeof plan);
}

TEST(a_table_that_cannot_work_is_refused_with_words)
{
    const struct stele_saga_step circle[] = {{.name = "ship", .after = "pay"},
                                             {.name = "first", .after = ""},
                                             {.name = "pay", .after = "first pack"},
                                             {.name = "pack", .after = "ship"},
                                             {.name = "behind", .after = "pack"}};
    check_refused(&(struct stele_saga_table){"k", circle, 5, 0}, STELE_E_INVALID,
                  "in a circle: ship -> pack -> pay -> ship");
    const struct stele_saga_step itself[] = {{.name = "a", .after = "a"}};
    check_refused(&(struct stele_saga_table){"k", itself, 1, 0}, STELE_E_INVALID, "a -> a");
    const struct stele_saga_step nobody[] = {{.name = "a", .after = "  b"}};
    check_refused(&(struct stele_saga_table){"k", nobody, 1, 0}, STELE_E_INVALID, "after \"b\"");
    const struct stele_saga_step twice[] = {{.name = "a"}, {.name = "a"}};
    check_refused(&(struct stele_saga_table){"k", twice, 2, 0}, STELE_E_INVALID, "two steps");
    const struct stele_saga_step undo[] = {{.name = "undo"}};
    check_refused(&(struct stele_saga_table){"k", undo, 1, 0}, STELE_E_INVALID, "called \"undo\"");
    const struct stele_saga_step blank[] = {{.name = "a b"}};
    check_refused(&(struct stele_saga_table){"k", blank, 1, 0}, STELE_E_INVALID, "a b");
    const struct stele_saga_step unnamed[] = {{.name = NULL}};
    check_refused(&(struct stele_saga_table){"k", unnamed, 1, 0}, STELE_E_INVALID, "no name");
    const struct stele_saga_step choice[] = {{.name = "a", .on_failure = 7}};
    check_refused(&(struct stele_saga_table){"k", choice, 1, 0}, STELE_E_INVALID, "no choice");
    check_refused(&(struct stele_saga_table){"k", twice, 0, 0}, STELE_E_INVALID, "no steps");
    check_refused(&(struct stele_saga_table){"k", twice, 33, 0}, STELE_E_LIMIT, "33 steps");
    check_refused(&(struct stele_saga_table){"k-1", itself, 1, 0}, STELE_E_INVALID, "k-1");
    char longest[80];
    memset(longest, 'x', sizeof longest);
    longest[64] = '\0';
    check_refused(&(struct stele_saga_table){longest, twice, 1, 0}, STELE_E_LIMIT, "63 bytes");
}

TEST(events_that_cannot_follow_are_refused_and_change_nothing)
{
    struct bench b;
    begin_at_two(&b);
    const struct stele_saga before = b.saga;
    for (int kind = -1; kind <= STELE_SAGA_EVENT_KINDS; kind++) {
        for (uint32_t step = 0; step < 6; step++) {
            const struct stele_saga_event event = {
                .kind = kind, .step = step == 5 ? STELE_SAGA_NO_STEP : step, .at_us = b.now_us};
            struct stele_saga saga = before;
            const int outcome = stele_saga_evolve(&b.plan, &saga, &event, &b.err);
            if (outcome != STELE_OK) {
                CHECK_EQ(outcome, STELE_E_CORRUPT);
                CHECK_BYTES_EQ(&saga, &before, sizeof saga);
            } else {
                CHECK_EQ(saga.events, before.events + 1);
            }
        }
    }
    const struct stele_saga_event asked = {.kind = STELE_SAGA_EVENT_STEP_REQUESTED, .step = STOCK};
    CHECK_EQ(stele_saga_evolve(&b.plan, &b.saga, &asked, &b.err), STELE_E_CORRUPT);
    CHECK_TEXT_HAS(b.err.message, "the answer is still awaited");
    const struct stele_saga_event again = {.kind = STELE_SAGA_EVENT_STEP_DONE, .step = ORDER};
    CHECK_EQ(stele_saga_evolve(&b.plan, &b.saga, &again, &b.err), STELE_E_CORRUPT);
    const struct stele_saga_event started = {.kind = STELE_SAGA_EVENT_STARTED,
                                             .step = STELE_SAGA_NO_STEP};
    CHECK_EQ(stele_saga_evolve(&b.plan, &b.saga, &started, &b.err), STELE_E_CORRUPT);
    CHECK_TEXT_HAS(b.err.message, "the saga is running");
}

TEST(keys_do_not_depend_on_the_attempt_and_give_ids)
{
    char key[STELE_SAGA_KEY_SIZE_MAX];
    CHECK_EQ(stele_saga_key("order", "17", "payment", 0, key), 16);
    CHECK_TEXT_EQ(key, "order/17/payment");
    (void)stele_saga_key("order", "17", "payment", 1, key);
    CHECK_TEXT_EQ(key, "order/17/payment/undo");
    uint8_t a[16];
    uint8_t b[16];
    stele_saga_event_id(key, 0, a);
    stele_saga_event_id(key, 0, b);
    CHECK_BYTES_EQ(a, b, 16);
    stele_saga_event_id(key, 1, b);
    CHECK(memcmp(a, b, 16) != 0);
    CHECK_EQ(a[6] >> 4, 8);
}

TEST(every_kind_of_event_and_state_has_a_name)
{
    for (int kind = 1; kind < STELE_SAGA_EVENT_KINDS; kind++) {
        const char *const type = stele_saga_event_type(kind);
        CHECK_EQ(stele_saga_event_kind((struct stele_text){type, strlen(type)}), kind);
    }
    CHECK_EQ(stele_saga_event_kind((struct stele_text){"OrderPlaced", 11}), 0);
    CHECK_TEXT_EQ(stele_saga_event_type(0), "");
    CHECK_TEXT_EQ(stele_saga_state_name(STELE_SAGA_PARKED), "parked");
    CHECK_TEXT_EQ(stele_saga_state_name(-1), "");
    CHECK_TEXT_EQ(stele_saga_step_state_name(STELE_SAGA_STEP_COMPENSATED), "compensated");
    CHECK_TEXT_EQ(stele_saga_step_state_name(6), "");
}
