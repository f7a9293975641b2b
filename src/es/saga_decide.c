/* What a saga does next. Decisions are made on a copy of its state, to which every event is applied as
 * soon as it is made: so what is decided is what the fold will see, and a second event may rest on the
 * first. */
#include "es/saga_internal.h"

struct decision {
    const struct stele_saga_plan *plan;
    const struct stele_saga_input *input;
    struct stele_saga saga;
    int64_t now_us;
    uint64_t random;
    uint32_t failed; /* The last step that failed for good, and why. */
    struct stele_text why;
    struct stele_saga_event *events;
    size_t count;
};

static struct stele_text words(const char *text)
{
    return (struct stele_text){text, strlen(text)};
}

static void emit(struct decision *d, struct stele_saga_event event)
{
    STELE_ASSERT(d->count < STELE_SAGA_EVENTS_MAX);
    event.at_us = d->now_us;
    if (event.reason.size >= STELE_SAGA_WORDS_SIZE_MAX) {
        event.reason.size = STELE_SAGA_WORDS_SIZE_MAX - 1;
    }
    const int outcome = stele_saga_evolve(d->plan, &d->saga, &event, NULL);
    STELE_ASSERT(outcome == STELE_OK);
    d->events[d->count++] = event;
}

static void emit_saga(struct decision *d, int kind, struct stele_text reason)
{
    emit(d, (struct stele_saga_event){.kind = kind, .step = STELE_SAGA_NO_STEP, .reason = reason});
}

static void emit_park(struct decision *d, uint32_t step, struct stele_text reason)
{
    emit(d, (struct stele_saga_event){
                .kind = STELE_SAGA_EVENT_PARKED, .step = step, .reason = reason});
}

/* ---- Asking and failing ------------------------------------------------------------------- */

static void request(struct decision *d, uint32_t index, bool compensation)
{
    const struct stele_saga_step_state *const step = &d->saga.steps[index];
    const bool first = compensation && step->state != STELE_SAGA_STEP_COMPENSATING;
    emit(d, (struct stele_saga_event){.kind = compensation ? STELE_SAGA_EVENT_COMPENSATION_REQUESTED
                                                           : STELE_SAGA_EVENT_STEP_REQUESTED,
                                      .step = index,
                                      .attempt = first ? 1 : step->attempt + 1,
                                      .due_us = d->now_us +
                                                (int64_t)d->plan->steps[index].timeout_ms * 1000,
                                      .runner = d->input->runner});
}

/* splitmix64: a draw for each step of a decision out of the one that the caller made. */
static uint64_t draw(struct decision *d)
{
    uint64_t z = d->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Half of the backoff for sure, the other half at random: those who failed together do not come back
 * together, and nobody comes back at once. */
static int64_t backoff_us(struct decision *d, const struct stele_saga_retry *retry,
                          uint32_t failures)
{
    int64_t whole_us = (int64_t)retry->backoff_ms * 1000;
    const int64_t max_us = (int64_t)retry->backoff_max_ms * 1000;
    for (uint32_t i = 1; i < failures && whole_us < max_us; i++) {
        whole_us *= 2;
    }
    whole_us = whole_us < max_us ? whole_us : max_us;
    const int64_t half_us = whole_us / 2;
    return half_us + (int64_t)(draw(d) % (uint64_t)(whole_us - half_us + 1));
}

/* How the last attempt of a step ended badly. */
struct failure {
    bool final;   /* Asking again is of no use. */
    bool unknown; /* It may have happened. */
    bool counts;
    bool at_once;
    int64_t retry_after_us;
    struct stele_text reason;
};

static int64_t retry_at(struct decision *d, const struct stele_saga_retry *retry, uint32_t failures,
                        const struct failure *failure)
{
    if (failure->at_once) {
        return d->now_us;
    }
    const int64_t wait_us = backoff_us(d, retry, failures);
    return d->now_us + (wait_us > failure->retry_after_us ? wait_us : failure->retry_after_us);
}

/* Is the saga still after the good end? */
static bool is_forward(const struct stele_saga *saga)
{
    return saga->state == STELE_SAGA_RUNNING ||
           (saga->state == STELE_SAGA_PARKED && saga->parked_from == STELE_SAGA_RUNNING);
}

static void fail_request(struct decision *d, uint32_t index, struct failure failure)
{
    const struct stele_saga_step_state *const step = &d->saga.steps[index];
    const struct stele_saga_retry *const retry = &d->plan->steps[index].retry;
    const uint32_t failures = step->failures + (failure.counts ? 1 : 0);
    /* A step of a saga that is being undone is not tried again: its end is all that is wanted. */
    const bool last = failure.final || failures >= retry->attempts_max || !is_forward(&d->saga);
    if (last) {
        d->failed = index;
        d->why = failure.reason;
    }
    emit(d, (struct stele_saga_event){
                .kind = last ? STELE_SAGA_EVENT_STEP_FAILED : STELE_SAGA_EVENT_STEP_RETRY,
                .step = index,
                .attempt = step->attempt,
                /* Also of a participant that says no: it speaks of what it has seen, and an earlier
                 * attempt that nobody answered may still be on its way to it. */
                .unknown = failure.unknown || step->unknown,
                .counts = failure.counts,
                .due_us = last ? STELE_SAGA_NEVER : retry_at(d, retry, failures, &failure),
                .reason = failure.reason});
}

static void fail_compensation(struct decision *d, uint32_t index, struct failure failure)
{
    const struct stele_saga_step_state *const step = &d->saga.steps[index];
    const struct stele_saga_retry *const retry = &d->plan->steps[index].compensation_retry;
    const uint32_t failures = step->failures + (failure.counts ? 1 : 0);
    const bool last = failure.final || failures >= retry->attempts_max;
    if (last && d->saga.state == STELE_SAGA_COMPENSATING) {
        emit_park(d, index, failure.reason);
        return;
    }
    emit(d, (struct stele_saga_event){.kind = STELE_SAGA_EVENT_COMPENSATION_RETRY,
                                      .step = index,
                                      .attempt = step->attempt,
                                      .counts = failure.counts,
                                      .due_us = retry_at(d, retry, failures, &failure),
                                      .reason = failure.reason});
}

static const struct failure TIMED_OUT = {
    .unknown = true,
    .counts = true,
    .reason = {"no answer in time", sizeof "no answer in time" - 1}};

/* ---- What follows by itself --------------------------------------------------------------- */

static bool is_overdue(const struct decision *d, const struct stele_saga_step_state *step)
{
    return step->due_us <= d->now_us;
}

/* Goes forward; false: nothing more to do in this state. */
static bool advance_running(struct decision *d)
{
    const struct stele_saga_plan *const plan = d->plan;
    struct stele_saga *const saga = &d->saga;
    bool all_done = true;
    for (uint32_t i = 0; i < plan->steps_count; i++) {
        if (saga->steps[i].state == STELE_SAGA_STEP_REQUESTED && saga->steps[i].in_flight &&
            is_overdue(d, &saga->steps[i])) {
            fail_request(d, i, TIMED_OUT);
        }
        all_done = all_done && saga->steps[i].state == STELE_SAGA_STEP_DONE;
    }
    if (all_done) {
        emit_saga(d, STELE_SAGA_EVENT_COMPLETED, words(""));
        return false;
    }
    for (uint32_t i = 0; i < plan->steps_count; i++) {
        if (saga->steps[i].state == STELE_SAGA_STEP_FAILED) {
            const bool park = plan->steps[i].on_failure == STELE_SAGA_PARK;
            emit(d, (struct stele_saga_event){
                        .kind = park ? STELE_SAGA_EVENT_PARKED : STELE_SAGA_EVENT_COMPENSATING,
                        .step = i,
                        .reason = d->failed == i ? d->why : words("it failed before")});
            return !park;
        }
    }
    if (plan->deadline_ms != 0 &&
        saga->started_at_us + (int64_t)plan->deadline_ms * 1000 <= d->now_us) {
        emit_saga(d, STELE_SAGA_EVENT_COMPENSATING, words("the saga's deadline has passed"));
        return true;
    }
    for (uint32_t i = 0; i < plan->steps_count; i++) {
        const struct stele_saga_step_state *const step = &saga->steps[i];
        if ((step->state == STELE_SAGA_STEP_WAITING &&
             stele_es__saga_turn(plan, saga, i) <= d->now_us) ||
            (step->state == STELE_SAGA_STEP_REQUESTED && !step->in_flight && is_overdue(d, step))) {
            request(d, i, false);
        }
    }
    return false;
}

/* The step that ended last of those that have to be undone, or NO_STEP. */
static uint32_t next_to_undo(const struct decision *d)
{
    uint32_t found = STELE_SAGA_NO_STEP;
    for (uint32_t i = 0; i < d->plan->steps_count; i++) {
        if (stele_es__saga_is_owed(d->plan, &d->saga, i) &&
            (found == STELE_SAGA_NO_STEP || d->saga.steps[i].order > d->saga.steps[found].order)) {
            found = i;
        }
    }
    return found;
}

static void advance_compensating(struct decision *d)
{
    struct stele_saga *const saga = &d->saga;
    bool busy = false;
    for (uint32_t i = 0; i < d->plan->steps_count; i++) {
        const struct stele_saga_step_state *const step = &saga->steps[i];
        if (step->state == STELE_SAGA_STEP_REQUESTED) {
            if (!step->in_flight) {
                fail_request(d, i,
                             (struct failure){.reason = words("given up: the saga is undone")});
            } else if (is_overdue(d, step)) {
                fail_request(d, i, TIMED_OUT);
            } else {
                /* Its answer decides whether it is to be undone, and when: after all of the
                 * others have ended comes the first compensation. Otherwise it could not be that of
                 * the last step. */
                busy = true;
            }
        } else if (step->state == STELE_SAGA_STEP_COMPENSATING) {
            busy = true;
            if (step->in_flight && is_overdue(d, step)) {
                fail_compensation(d, i, TIMED_OUT);
            }
            if (saga->state == STELE_SAGA_COMPENSATING && !step->in_flight && is_overdue(d, step)) {
                request(d, i, true);
            }
        }
    }
    if (busy || saga->state != STELE_SAGA_COMPENSATING) {
        return;
    }
    const uint32_t index = next_to_undo(d);
    if (index != STELE_SAGA_NO_STEP) {
        request(d, index, true);
    } else {
        emit_saga(d, STELE_SAGA_EVENT_COMPENSATED, words(""));
    }
}

static void advance(struct decision *d)
{
    if (d->saga.state == STELE_SAGA_RUNNING && !advance_running(d)) {
        return;
    }
    if (d->saga.state == STELE_SAGA_COMPENSATING) {
        advance_compensating(d);
    }
}

/* ---- Answers ------------------------------------------------------------------------------ */

static struct failure failure_of(const struct stele_saga_input *input)
{
    return (struct failure){
        .final = input->answer == STELE_SAGA_REFUSED,
        .unknown = input->answer == STELE_SAGA_UNKNOWN || input->answer == STELE_SAGA_INTERRUPTED,
        .counts = input->answer != STELE_SAGA_NOT_TRIED && input->answer != STELE_SAGA_INTERRUPTED,
        .at_once = input->answer == STELE_SAGA_INTERRUPTED,
        .retry_after_us = input->retry_after_ms > 0 ? input->retry_after_ms * 1000 : 0,
        .reason = input->reason};
}

/* A bad end of an attempt is one of the attempt under way, or old news. */
static bool is_current(const struct stele_saga_step_state *step,
                       const struct stele_saga_input *input)
{
    return step->in_flight && (input->attempt == 0 || input->attempt == step->attempt);
}

static void answer_request(struct decision *d)
{
    const struct stele_saga_input *const input = d->input;
    const struct stele_saga_step_state *const step = &d->saga.steps[input->step];
    const int state = step->state;
    if (input->answer == STELE_SAGA_DONE) {
        const bool wanted = state == STELE_SAGA_STEP_REQUESTED || state == STELE_SAGA_STEP_FAILED ||
                            (state == STELE_SAGA_STEP_DONE && step->skipped);
        if (wanted) {
            emit(d, (struct stele_saga_event){.kind = STELE_SAGA_EVENT_STEP_DONE,
                                              .step = input->step,
                                              .attempt = step->attempt,
                                              .reason = input->reason,
                                              .result = input->result});
        }
        return;
    }
    if (state != STELE_SAGA_STEP_REQUESTED ||
        (input->answer != STELE_SAGA_REFUSED && !is_current(step, input))) {
        return;
    }
    if (input->answer == STELE_SAGA_NEEDS_HELP && d->saga.state == STELE_SAGA_RUNNING) {
        emit_park(d, input->step, input->reason);
        return;
    }
    fail_request(d, input->step, failure_of(input));
}

static void answer_compensation(struct decision *d)
{
    const struct stele_saga_input *const input = d->input;
    const struct stele_saga_step_state *const step = &d->saga.steps[input->step];
    if (step->state != STELE_SAGA_STEP_COMPENSATING) {
        return;
    }
    if (input->answer == STELE_SAGA_DONE) {
        emit(d, (struct stele_saga_event){.kind = STELE_SAGA_EVENT_STEP_COMPENSATED,
                                          .step = input->step,
                                          .attempt = step->attempt,
                                          .result = input->result});
    } else if (is_current(step, input)) {
        struct failure failure = failure_of(input);
        failure.final = failure.final || input->answer == STELE_SAGA_NEEDS_HELP;
        fail_compensation(d, input->step, failure);
    }
}

/* ---- People ------------------------------------------------------------------------------- */

static int refuse(const struct decision *d, struct stele_error *err, const char *what,
                  const char *instead)
{
    return stele_fail(err, STELE_CONDITION_FAILED, 0, "cannot %s: the saga is %s; %s", what,
                      stele_saga_state_name(d->saga.state), instead);
}

static int refuse_step(const struct decision *d, struct stele_error *err, const char *what,
                       const char *why)
{
    const uint32_t index = d->input->step;
    if (index >= d->plan->steps_count) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0, "cannot %s: the saga has no such step",
                          what);
    }
    return stele_fail(err, STELE_CONDITION_FAILED, 0, "cannot %s step \"%s\", which is %s: %s",
                      what, d->plan->steps[index].name,
                      stele_saga_step_state_name(d->saga.steps[index].state), why);
}

static int person_step(struct decision *d, struct stele_error *err)
{
    const bool retry = d->input->kind == STELE_SAGA_INPUT_RETRY;
    const char *const what = retry ? "retry" : "skip";
    if (d->saga.state != STELE_SAGA_PARKED) {
        return refuse(d, err, what, "only a parked one takes that, so park it first");
    }
    if (d->input->step >= d->plan->steps_count) {
        return refuse_step(d, err, what, "");
    }
    const int state = d->saga.steps[d->input->step].state;
    if (state == STELE_SAGA_STEP_DONE || state == STELE_SAGA_STEP_COMPENSATED) {
        return refuse_step(d, err, what, "it has ended well");
    }
    if (retry && state == STELE_SAGA_STEP_WAITING) {
        return refuse_step(d, err, what, "it was never asked for");
    }
    if (retry && !is_forward(&d->saga) && state != STELE_SAGA_STEP_COMPENSATING) {
        return refuse_step(d, err, what, "the saga is being undone");
    }
    emit(d, (struct stele_saga_event){.kind = retry ? STELE_SAGA_EVENT_STEP_RETRIED
                                                    : STELE_SAGA_EVENT_STEP_SKIPPED,
                                      .step = d->input->step,
                                      .reason = d->input->reason});
    return STELE_OK;
}

static int person(struct decision *d, struct stele_error *err)
{
    const int state = d->saga.state;
    switch (d->input->kind) {
    case STELE_SAGA_INPUT_PARK:
        if (state != STELE_SAGA_RUNNING && state != STELE_SAGA_COMPENSATING) {
            return refuse(d, err, "park", "only one at work can be parked");
        }
        emit_park(d, STELE_SAGA_NO_STEP, d->input->reason);
        return STELE_OK;
    case STELE_SAGA_INPUT_RESUME:
        if (state != STELE_SAGA_PARKED) {
            return refuse(d, err, "resume", "only a parked one can be resumed");
        }
        emit_saga(d, STELE_SAGA_EVENT_RESUMED, d->input->reason);
        return STELE_OK;
    case STELE_SAGA_INPUT_CANCEL:
        if (!is_forward(&d->saga)) {
            return refuse(d, err, "cancel", "only one that is not being undone can be cancelled");
        }
        emit_saga(d, STELE_SAGA_EVENT_CANCELLED, d->input->reason);
        return STELE_OK;
    case STELE_SAGA_INPUT_ABANDON:
        if (state != STELE_SAGA_PARKED) {
            return refuse(d, err, "abandon",
                          "only a parked one can be abandoned, so park it first");
        }
        emit_saga(d, STELE_SAGA_EVENT_ABANDONED, d->input->reason);
        return STELE_OK;
    default:
        return person_step(d, err);
    }
}

/* ---- The decision ------------------------------------------------------------------------- */

int stele_saga_decide(const struct stele_saga_plan *plan, const struct stele_saga *saga,
                      int64_t now_us, const struct stele_saga_input *input,
                      struct stele_saga_event out_events[STELE_SAGA_EVENTS_MAX], size_t *out_count,
                      struct stele_error *err)
{
    if (plan == NULL || saga == NULL || input == NULL || out_events == NULL || out_count == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_saga_decide: an argument is NULL");
    }
    struct decision d = {.plan = plan,
                         .input = input,
                         .saga = *saga,
                         .now_us = now_us > saga->at_us ? now_us : saga->at_us,
                         .random = input->random,
                         .failed = STELE_SAGA_NO_STEP,
                         .events = out_events};
    int outcome = STELE_OK;
    switch (input->kind) {
    case STELE_SAGA_INPUT_START:
        if (saga->state == STELE_SAGA_NONE) {
            emit_saga(&d, STELE_SAGA_EVENT_STARTED, input->reason);
            advance(&d);
        }
        break;
    case STELE_SAGA_INPUT_TICK:
        advance(&d);
        break;
    case STELE_SAGA_INPUT_ANSWER:
        if (input->step >= plan->steps_count || input->answer < STELE_SAGA_DONE ||
            input->answer > STELE_SAGA_NEEDS_HELP) {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "answer %d about step %u: there is no such %s", input->answer,
                              input->step, input->step >= plan->steps_count ? "step" : "answer");
        }
        if (saga->state == STELE_SAGA_NONE || saga->state == STELE_SAGA_COMPLETED ||
            saga->state == STELE_SAGA_ABANDONED) {
            break; /* Nothing that can still be heard changes it. */
        }
        if (input->compensation) {
            answer_compensation(&d);
        } else {
            answer_request(&d);
        }
        advance(&d);
        break;
    case STELE_SAGA_INPUT_PARK:
    case STELE_SAGA_INPUT_RESUME:
    case STELE_SAGA_INPUT_RETRY:
    case STELE_SAGA_INPUT_SKIP:
    case STELE_SAGA_INPUT_CANCEL:
    case STELE_SAGA_INPUT_ABANDON:
        outcome = person(&d, err);
        break;
    default:
        return stele_fail(err, STELE_E_INVALID, 0, "a saga knows no input of the kind %d",
                          input->kind);
    }
    if (outcome == STELE_OK) {
        *out_count = d.count;
    }
    return outcome;
}
