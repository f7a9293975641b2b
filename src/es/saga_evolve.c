/* The fold of a saga: which events may follow, and what each of them changes. */
#include "es/saga_internal.h"

#define IN(state) (1u << (state))
#define ANY_STEP 0x3fu

#define RUNNING IN(STELE_SAGA_RUNNING)
#define COMPENSATING IN(STELE_SAGA_COMPENSATING)
#define PARKED IN(STELE_SAGA_PARKED)
#define COMPENSATED IN(STELE_SAGA_COMPENSATED)

#define S_WAITING IN(STELE_SAGA_STEP_WAITING)
#define S_REQUESTED IN(STELE_SAGA_STEP_REQUESTED)
#define S_DONE IN(STELE_SAGA_STEP_DONE)
#define S_FAILED IN(STELE_SAGA_STEP_FAILED)
#define S_COMPENSATING IN(STELE_SAGA_STEP_COMPENSATING)

/* Where the saga and the step have to be for an event. steps 0: it is about no step; ANY_STEP: it may be
 * about one. */
static const struct move {
    unsigned sagas;
    unsigned steps;
} MOVES[STELE_SAGA_EVENT_KINDS] = {
    [STELE_SAGA_EVENT_STARTED] = {IN(STELE_SAGA_NONE), 0},
    [STELE_SAGA_EVENT_STEP_REQUESTED] = {RUNNING, S_WAITING | S_REQUESTED},
    /* S_DONE: of a step that was skipped, and is done after all. */
    [STELE_SAGA_EVENT_STEP_DONE] = {RUNNING | COMPENSATING | PARKED | COMPENSATED,
                                    S_REQUESTED | S_FAILED | S_DONE},
    [STELE_SAGA_EVENT_STEP_RETRY] = {RUNNING | PARKED, S_REQUESTED},
    [STELE_SAGA_EVENT_STEP_FAILED] = {RUNNING | COMPENSATING | PARKED, S_REQUESTED},
    [STELE_SAGA_EVENT_COMPENSATING] = {RUNNING, ANY_STEP},
    [STELE_SAGA_EVENT_COMPENSATION_REQUESTED] = {COMPENSATING, S_DONE | S_FAILED | S_COMPENSATING},
    [STELE_SAGA_EVENT_COMPENSATION_RETRY] = {COMPENSATING | PARKED, S_COMPENSATING},
    [STELE_SAGA_EVENT_STEP_COMPENSATED] = {COMPENSATING | PARKED, S_COMPENSATING},
    [STELE_SAGA_EVENT_PARKED] = {RUNNING | COMPENSATING, ANY_STEP},
    [STELE_SAGA_EVENT_RESUMED] = {PARKED, 0},
    [STELE_SAGA_EVENT_STEP_RETRIED] = {PARKED, S_REQUESTED | S_FAILED | S_COMPENSATING},
    [STELE_SAGA_EVENT_STEP_SKIPPED] = {PARKED, S_WAITING | S_REQUESTED | S_FAILED | S_COMPENSATING},
    [STELE_SAGA_EVENT_CANCELLED] = {RUNNING | PARKED, 0},
    [STELE_SAGA_EVENT_ABANDONED] = {PARKED, 0},
    [STELE_SAGA_EVENT_COMPLETED] = {RUNNING, 0},
    [STELE_SAGA_EVENT_COMPENSATED] = {COMPENSATING, 0},
};

/* What the table above cannot say. NULL: the event fits. */
static const char *objection(const struct stele_saga_plan *plan, const struct stele_saga *saga,
                             const struct stele_saga_event *event)
{
    const struct stele_saga_step_state *const step =
        event->step < plan->steps_count ? &saga->steps[event->step] : NULL;
    switch (event->kind) {
    case STELE_SAGA_EVENT_STEP_REQUESTED:
    case STELE_SAGA_EVENT_COMPENSATION_REQUESTED:
        STELE_ASSERT(step != NULL); /* The table has seen to it, here and below. */
        if (step->in_flight) {
            return "it was asked for, and the answer is still awaited";
        }
        if (event->kind == STELE_SAGA_EVENT_COMPENSATION_REQUESTED &&
            step->state != STELE_SAGA_STEP_COMPENSATING &&
            !stele_es__saga_is_owed(plan, saga, event->step)) {
            return "there is nothing to undo";
        }
        return NULL;
    case STELE_SAGA_EVENT_STEP_DONE:
        STELE_ASSERT(step != NULL);
        return step->state == STELE_SAGA_STEP_DONE && !step->skipped ? "it was done before" : NULL;
    case STELE_SAGA_EVENT_CANCELLED:
        return saga->state == STELE_SAGA_PARKED && saga->parked_from != STELE_SAGA_RUNNING
                   ? "it is being undone already"
                   : NULL;
    default:
        return NULL;
    }
}

static int check_move(const struct stele_saga_plan *plan, const struct stele_saga *saga,
                      const struct stele_saga_event *event, struct stele_error *err)
{
    if (event->kind <= 0 || event->kind >= STELE_SAGA_EVENT_KINDS) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "event %llu of the saga is of no known kind (%d)",
                          (unsigned long long)saga->events, event->kind);
    }
    const struct move *const move = &MOVES[event->kind];
    if ((move->sagas & IN(saga->state)) == 0) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "event %llu of the saga, %s, cannot follow: the saga is %s",
                          (unsigned long long)saga->events, stele_saga_event_type(event->kind),
                          stele_saga_state_name(saga->state));
    }
    const bool about_none = event->step == STELE_SAGA_NO_STEP;
    if (about_none ? move->steps != 0 && move->steps != ANY_STEP
                   : move->steps == 0 || event->step >= plan->steps_count) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "event %llu of the saga, %s, is about no step of it",
                          (unsigned long long)saga->events, stele_saga_event_type(event->kind));
    }
    const char *why = NULL;
    if (!about_none && (move->steps & IN(saga->steps[event->step].state)) == 0) {
        why = stele_saga_step_state_name(saga->steps[event->step].state);
    } else {
        why = objection(plan, saga, event);
    }
    return why == NULL
               ? STELE_OK
               : stele_fail(err, STELE_E_CORRUPT, 0,
                            "event %llu of the saga, %s of step \"%s\", cannot follow: %s",
                            (unsigned long long)saga->events, stele_saga_event_type(event->kind),
                            about_none ? "" : plan->steps[event->step].name, why);
}

static void keep_reason(struct stele_saga *saga, struct stele_text reason)
{
    const size_t room = sizeof saga->reason - 1;
    const size_t size = reason.size < room ? reason.size : room;
    if (size > 0) {
        memcpy(saga->reason, reason.data, size);
    }
    saga->reason[size] = '\0';
}

/* Steps come to an end in an order, and are undone against it. */
static void end_step(struct stele_saga *saga, struct stele_saga_step_state *step, int state,
                     int64_t at_us)
{
    STELE_ASSERT(step != NULL);
    step->state = state;
    step->in_flight = 0;
    step->due_us = STELE_SAGA_NEVER;
    step->done_at_us = at_us;
    step->order = ++saga->endings;
}

/* It is asked again at once, with all its attempts. */
static void again(struct stele_saga_step_state *step, int64_t at_us)
{
    STELE_ASSERT(step != NULL);
    if (step->state == STELE_SAGA_STEP_FAILED) {
        step->state = STELE_SAGA_STEP_REQUESTED;
    }
    step->failures = 0;
    if (!step->in_flight) {
        step->due_us = at_us;
    }
}

static void leave_park(const struct stele_saga_plan *plan, struct stele_saga *saga, int64_t at_us)
{
    saga->state = saga->parked_from;
    saga->parked_from = STELE_SAGA_NONE;
    saga->cause = STELE_SAGA_NO_STEP;
    saga->reason[0] = '\0';
    /* Nothing stays behind that neither time nor an answer would move. */
    for (uint32_t i = 0; i < plan->steps_count; i++) {
        if (stele_es__saga_is_held(&saga->steps[i])) {
            again(&saga->steps[i], at_us);
        }
    }
}

static void evolve_step(struct stele_saga *saga, struct stele_saga_step_state *step,
                        const struct stele_saga_event *event)
{
    switch (event->kind) {
    case STELE_SAGA_EVENT_STEP_REQUESTED:
    case STELE_SAGA_EVENT_COMPENSATION_REQUESTED: {
        const int state = event->kind == STELE_SAGA_EVENT_STEP_REQUESTED
                              ? STELE_SAGA_STEP_REQUESTED
                              : STELE_SAGA_STEP_COMPENSATING;
        if (step->state != state) {
            step->failures = 0;
        }
        step->state = state;
        step->in_flight = 1;
        step->attempt = event->attempt;
        step->due_us = event->due_us;
        step->runner = event->runner;
        break;
    }
    case STELE_SAGA_EVENT_STEP_RETRY:
    case STELE_SAGA_EVENT_COMPENSATION_RETRY:
        step->in_flight = 0;
        step->failures += event->counts ? 1 : 0;
        step->unknown |= event->unknown && event->kind == STELE_SAGA_EVENT_STEP_RETRY;
        step->due_us = event->due_us;
        break;
    case STELE_SAGA_EVENT_STEP_DONE:
        /* One that was skipped keeps its place: steps that came after it may have been done since, and
         * have to be undone before it. */
        if (!step->skipped) {
            end_step(saga, step, STELE_SAGA_STEP_DONE, event->at_us);
        }
        step->skipped = 0;
        if (saga->state == STELE_SAGA_COMPENSATED) {
            saga->state = STELE_SAGA_COMPENSATING;
        }
        break;
    case STELE_SAGA_EVENT_STEP_FAILED:
        end_step(saga, step, STELE_SAGA_STEP_FAILED, event->at_us);
        step->unknown = event->unknown;
        break;
    case STELE_SAGA_EVENT_STEP_COMPENSATED:
        step->state = STELE_SAGA_STEP_COMPENSATED;
        step->in_flight = 0;
        step->due_us = STELE_SAGA_NEVER;
        break;
    default:
        break;
    }
}

static void evolve_parking(const struct stele_saga_plan *plan, struct stele_saga *saga,
                           const struct stele_saga_event *event)
{
    struct stele_saga_step_state *const step =
        event->step != STELE_SAGA_NO_STEP ? &saga->steps[event->step] : NULL;
    switch (event->kind) {
    case STELE_SAGA_EVENT_PARKED:
        saga->parked_from = saga->state;
        saga->cause = event->step;
        saga->state = STELE_SAGA_PARKED;
        keep_reason(saga, event->reason);
        if (step != NULL && (step->state == STELE_SAGA_STEP_REQUESTED ||
                             step->state == STELE_SAGA_STEP_COMPENSATING)) {
            step->in_flight = 0;
            step->due_us = STELE_SAGA_NEVER;
        }
        break;
    case STELE_SAGA_EVENT_RESUMED:
        leave_park(plan, saga, event->at_us);
        for (uint32_t i = 0; i < plan->steps_count && saga->state == STELE_SAGA_RUNNING; i++) {
            if (saga->steps[i].state == STELE_SAGA_STEP_FAILED) {
                again(&saga->steps[i], event->at_us);
            }
        }
        break;
    case STELE_SAGA_EVENT_STEP_RETRIED:
        again(step, event->at_us);
        leave_park(plan, saga, event->at_us);
        break;
    case STELE_SAGA_EVENT_STEP_SKIPPED:
        STELE_ASSERT(step != NULL);
        if (step->state == STELE_SAGA_STEP_COMPENSATING) {
            step->state = STELE_SAGA_STEP_COMPENSATED;
            step->in_flight = 0;
            step->due_us = STELE_SAGA_NEVER;
        } else {
            end_step(saga, step, STELE_SAGA_STEP_DONE, event->at_us);
        }
        step->skipped = 1;
        leave_park(plan, saga, event->at_us);
        break;
    case STELE_SAGA_EVENT_CANCELLED:
        if (saga->state == STELE_SAGA_PARKED) {
            leave_park(plan, saga, event->at_us);
        }
        saga->state = STELE_SAGA_COMPENSATING;
        keep_reason(saga, event->reason);
        break;
    default:
        break;
    }
}

int stele_saga_evolve(const struct stele_saga_plan *plan, struct stele_saga *saga,
                      const struct stele_saga_event *event, struct stele_error *err)
{
    if (plan == NULL || saga == NULL || event == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_saga_evolve: an argument is NULL");
    }
    const int outcome = check_move(plan, saga, event, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    switch (event->kind) {
    case STELE_SAGA_EVENT_STARTED:
        saga->state = STELE_SAGA_RUNNING;
        saga->cause = STELE_SAGA_NO_STEP;
        saga->started_at_us = event->at_us;
        for (uint32_t i = 0; i < plan->steps_count; i++) {
            saga->steps[i].due_us = STELE_SAGA_NEVER;
        }
        break;
    case STELE_SAGA_EVENT_COMPENSATING:
        saga->state = STELE_SAGA_COMPENSATING;
        saga->cause = event->step;
        keep_reason(saga, event->reason);
        break;
    case STELE_SAGA_EVENT_COMPLETED:
        saga->state = STELE_SAGA_COMPLETED;
        break;
    case STELE_SAGA_EVENT_COMPENSATED:
        saga->state = STELE_SAGA_COMPENSATED;
        break;
    case STELE_SAGA_EVENT_ABANDONED:
        saga->state = STELE_SAGA_ABANDONED;
        keep_reason(saga, event->reason);
        break;
    case STELE_SAGA_EVENT_PARKED:
    case STELE_SAGA_EVENT_RESUMED:
    case STELE_SAGA_EVENT_STEP_RETRIED:
    case STELE_SAGA_EVENT_STEP_SKIPPED:
    case STELE_SAGA_EVENT_CANCELLED:
        evolve_parking(plan, saga, event);
        break;
    default:
        evolve_step(saga, &saga->steps[event->step], event);
        break;
    }
    saga->at_us = event->at_us > saga->at_us ? event->at_us : saga->at_us;
    saga->events++;
    return STELE_OK;
}

int64_t stele_es__saga_turn(const struct stele_saga_plan *plan, const struct stele_saga *saga,
                            uint32_t index)
{
    int64_t at_us = saga->started_at_us;
    for (uint32_t i = 0; i < plan->steps_count; i++) {
        if ((plan->steps[index].after & UINT32_C(1) << i) == 0) {
            continue;
        }
        if (saga->steps[i].state != STELE_SAGA_STEP_DONE) {
            return STELE_SAGA_NEVER;
        }
        at_us = saga->steps[i].done_at_us > at_us ? saga->steps[i].done_at_us : at_us;
    }
    return at_us + (int64_t)plan->steps[index].delay_ms * 1000;
}

static int64_t deadline(const struct stele_saga_plan *plan, const struct stele_saga *saga)
{
    return plan->deadline_ms != 0 ? saga->started_at_us + (int64_t)plan->deadline_ms * 1000
                                  : STELE_SAGA_NEVER;
}

int64_t stele_saga_due(const struct stele_saga_plan *plan, const struct stele_saga *saga)
{
    if (saga == NULL) {
        return STELE_SAGA_NEVER;
    }
    if (saga->state != STELE_SAGA_RUNNING && saga->state != STELE_SAGA_COMPENSATING) {
        return STELE_SAGA_NEVER;
    }
    int64_t due_us = saga->state == STELE_SAGA_RUNNING ? deadline(plan, saga) : STELE_SAGA_NEVER;
    for (uint32_t i = 0; i < plan->steps_count; i++) {
        int64_t at_us = saga->steps[i].due_us;
        if (saga->state == STELE_SAGA_RUNNING && saga->steps[i].state == STELE_SAGA_STEP_WAITING) {
            at_us = stele_es__saga_turn(plan, saga, i);
        }
        due_us = at_us < due_us ? at_us : due_us;
    }
    return due_us;
}

int stele_saga_has_ended(const struct stele_saga *saga)
{
    if (saga == NULL) {
        return 0;
    }
    return saga->state == STELE_SAGA_COMPLETED || saga->state == STELE_SAGA_COMPENSATED ||
           saga->state == STELE_SAGA_ABANDONED;
}
