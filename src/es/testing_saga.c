/* Sagas in a story: the machine of <stele/saga.h>, and a clock that moves when it is told to. */
#include "es/testing_internal.h"

#include <stdio.h>

#define DECISIONS_MAX 1000u /* In a row without waiting: a machine that never rests is broken. */
#define RUNNER 1

static void write_member(struct stele_output *output, const char *name, struct stele_text text)
{
    if (text.size > 0) {
        (void)stele_output_printf(output, "%s\"%s\":", output->buf.size > 1 ? "," : "", name);
        (void)stele_output_json_string(output, text.data, text.size);
    }
}

/* {"step":…,"attempt":…,"reason":…,"result":…}, each if there is one. */
static void add_event(struct stele_testing *story, const struct stele_saga_event *event)
{
    struct stele_output output;
    stele_output_init(&output, stele_memory_source(story->memory));
    (void)stele_output_write(&output, "{", 1);
    if (event->step != STELE_SAGA_NO_STEP) {
        const char *const name = story->plan->steps[event->step].name;
        write_member(&output, "step", (struct stele_text){name, strlen(name)});
    }
    if (event->attempt > 0) {
        (void)stele_output_printf(&output, "%s\"attempt\":%u", output.buf.size > 1 ? "," : "",
                                  event->attempt);
    }
    write_member(&output, "reason", event->reason);
    write_member(&output, "result", event->result);
    if (stele_output_write(&output, "}", 1) != STELE_OK || output.failed != STELE_OK) {
        stele_testing__fail(story, "no memory");
    } else {
        const struct stele_text data = {.data = (const char *)output.buf.data,
                                        .size = output.buf.size};
        stele_testing__add(story, &story->came, story->saga_stream,
                           stele_saga_event_type(event->kind), data);
    }
    stele_output_deinit(&output);
}

/* One decision. Returns how many events it made. */
static size_t decide(struct stele_testing *story, const struct stele_saga_input *input)
{
    struct stele_saga_event events[STELE_SAGA_EVENTS_MAX];
    size_t count = 0;
    int outcome = stele_saga_decide(story->plan, &story->saga, story->now_us, input, events, &count,
                                    &story->failure);
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        add_event(story, &events[i]);
        outcome = stele_saga_evolve(story->plan, &story->saga, &events[i], &story->failure);
    }
    return outcome == STELE_OK ? count : 0;
}

/* What follows at this moment, as a runner would do it. */
static void settle(struct stele_testing *story)
{
    const struct stele_saga_input tick = {.kind = STELE_SAGA_INPUT_TICK, .runner = RUNNER};
    for (unsigned i = 0; decide(story, &tick) > 0; i++) {
        if (i == DECISIONS_MAX) {
            stele_testing__fail(story, "the saga does not come to rest");
            return;
        }
    }
}

void stele_testing_tell(struct stele_testing *story, const struct stele_saga_input *input)
{
    if (story == NULL || story->failure.outcome != STELE_OK) {
        return;
    }
    if (input == NULL) {
        stele_testing__fail(story, "what the saga is told is NULL");
        return;
    }
    if (story->plan == NULL) {
        stele_testing__fail(story, "no saga was started");
        return;
    }
    struct stele_saga_input told = *input;
    told.runner = RUNNER;
    (void)decide(story, &told);
    if (story->failure.outcome == STELE_OK) {
        settle(story);
    }
}

void stele_testing_saga(struct stele_testing *story, const struct stele_saga_plan *plan,
                        const char *id)
{
    char stream[STELE_STREAM_NAME_SIZE_MAX + 1];
    if (story == NULL) {
        return;
    }
    if (plan == NULL || id == NULL) {
        stele_testing__fail(story, "the plan or the id of a saga is NULL");
        return;
    }
    (void)snprintf(stream, sizeof stream, "saga.%s-%s", plan->kind, id);
    story->plan = plan;
    story->saga_stream = stele_testing__copy(story, stream);
    story->saga = (struct stele_saga){.state = STELE_SAGA_NONE};
    const struct stele_saga_input start = {.kind = STELE_SAGA_INPUT_START,
                                           .step = STELE_SAGA_NO_STEP};
    stele_testing_tell(story, &start);
}

void stele_testing_answer(struct stele_testing *story, const char *step, int answer,
                          const char *reason)
{
    if (story == NULL) {
        return;
    }
    const struct stele_text name = {.data = step, .size = step != NULL ? strlen(step) : 0};
    const int number = story->plan != NULL ? stele_saga_plan_find(story->plan, name) : -1;
    if (number < 0) {
        stele_testing__fail(story, "there is no step \"%s\" to answer", step != NULL ? step : "");
        return;
    }
    const struct stele_saga_step_state *const state = &story->saga.steps[number];
    const struct stele_saga_input input = {
        .kind = STELE_SAGA_INPUT_ANSWER,
        .step = (uint32_t)number,
        .compensation = state->state == STELE_SAGA_STEP_COMPENSATING,
        .attempt = state->attempt,
        .answer = answer,
        .reason = {.data = reason, .size = reason != NULL ? strlen(reason) : 0},
    };
    stele_testing_tell(story, &input);
}

void stele_testing_wait(struct stele_testing *story, uint64_t ms)
{
    if (story == NULL) {
        return;
    }
    const uint64_t most_ms = (uint64_t)(INT64_MAX / 2000);
    const int64_t end_us = story->now_us + (int64_t)(ms < most_ms ? ms : most_ms) * 1000;
    while (story->plan != NULL && story->failure.outcome == STELE_OK) {
        const int64_t due_us = stele_saga_due(story->plan, &story->saga);
        if (due_us > end_us) {
            break;
        }
        const uint64_t before = story->saga.events;
        story->now_us = due_us > story->now_us ? due_us : story->now_us;
        settle(story);
        if (story->saga.events == before) {
            break; /* Nothing to do although it is due: waiting longer would not help. */
        }
    }
    story->now_us = end_us;
}
