/* What people and tools do with sagas, without a runner. */
#include "io/linux.h"
#include "runner/saga_internal.h"

#include <stdlib.h>

#define TRIES 8

struct reading {
    struct stele_saga_plan *plan;
    bool has_plan;
    struct stele_saga *saga;
    uint64_t revision;
    char correlation_id[CORRELATION_SIZE];
    char traceparent[TRACEPARENT_SIZE];
    struct stele_error *err;
};

static int on_event(void *context, const struct stele_event *event)
{
    struct reading *const reading = context;
    struct saga_decoded decoded;
    int outcome = stele_runner__saga_decode(reading->has_plan ? reading->plan : NULL, event,
                                            &decoded, reading->err);
    reading->revision = event->revision;
    if (outcome != STELE_OK) {
        return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
    }
    if (decoded.plan != NULL && !reading->has_plan) {
        *reading->plan = *decoded.plan;
        reading->has_plan = true;
        stele_runner__saga_metadata_member(event, "$correlationId", reading->correlation_id,
                                           sizeof reading->correlation_id);
        stele_runner__saga_metadata_member(event, "traceparent", reading->traceparent,
                                           sizeof reading->traceparent);
    }
    outcome = reading->has_plan
                  ? stele_saga_evolve(reading->plan, reading->saga, &decoded.event, reading->err)
                  : stele_fail(reading->err, STELE_E_CORRUPT, 0,
                               "the saga's stream does not begin with SagaStarted");
    stele_runner__saga_decoded_deinit(&decoded);
    return outcome;
}

static int load(struct saga_port *port, const char *stream, struct stele_saga_plan *plan,
                struct stele_saga *saga, struct reading *reading, struct stele_error *err)
{
    memset(plan, 0, sizeof *plan);
    memset(saga, 0, sizeof *saga);
    memset(reading, 0, sizeof *reading);
    reading->plan = plan;
    reading->saga = saga;
    reading->err = err;
    const int outcome = port->ops->read(port, stream, 0, on_event, reading, err);
    if (outcome == STELE_OK && !reading->has_plan) {
        return stele_fail(err, STELE_NO_STREAM, 0, "%s: there is no such saga", stream);
    }
    return outcome;
}

static int check_names(const char *kind, const char *id, struct stele_error *err)
{
    if (kind[0] == '\0' || strlen(kind) > STELE_SAGA_NAME_SIZE_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "a kind of sagas has 1 to %u bytes",
                          STELE_SAGA_NAME_SIZE_MAX);
    }
    if (id[0] == '\0' || strlen(id) > STELE_SAGA_ID_SIZE_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "a saga's id has 1 to %u bytes",
                          STELE_SAGA_ID_SIZE_MAX);
    }
    return STELE_OK;
}

int stele_saga_load(struct stele *store, const char *kind, const char *id,
                    struct stele_saga_plan *out_plan, struct stele_saga *out_saga,
                    struct stele_error *err)
{
    if (kind == NULL || id == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_saga_load: an argument is NULL");
    }
    struct saga_port *port = NULL;
    int outcome = check_names(kind, id, err);
    if (outcome == STELE_OK) {
        outcome = stele_runner__saga_store_port(store, stele_linux_alloc(), &port, err);
    }
    if (outcome == STELE_OK) {
        char stream[STREAM_SIZE_MAX];
        struct stele_saga_plan plan;
        struct stele_saga saga;
        struct reading reading;
        stele_runner__saga_stream(kind, id, stream);
        outcome = load(port, stream, &plan, &saga, &reading, err);
        if (outcome == STELE_OK) {
            *out_plan = plan;
            *out_saga = saga;
        }
        port->ops->destroy(port);
    }
    return outcome;
}

static int append_one(struct saga_port *port, const char *stream, const struct reading *reading,
                      const struct stele_saga_event *event, struct stele_error *err)
{
    char *const data = stele_runner__saga_encode(reading->plan, event, "", NULL);
    char *const metadata =
        stele_runner__saga_metadata(reading->correlation_id, "", reading->traceparent);
    int outcome = STELE_E_NO_MEMORY;
    if (data != NULL && metadata != NULL) {
        struct stele_event_draft draft;
        memset(&draft, 0, sizeof draft);
        stele_new_id(draft.id);
        draft.type = stele_saga_event_type(event->kind);
        draft.data = data;
        draft.data_size = strlen(data);
        draft.metadata = metadata;
        draft.metadata_size = strlen(metadata);
        uint64_t position = 0;
        outcome = port->ops->append(port, stream, reading->revision, &draft, 1, &position, err);
    }
    free(data);
    free(metadata);
    return outcome;
}

static int operate(struct saga_port *port, const char *stream, int kind, const char *step,
                   const char *reason, struct stele_error *err)
{
    struct stele_saga_plan plan;
    struct stele_saga saga;
    struct reading reading;
    struct stele_saga_event events[STELE_SAGA_EVENTS_MAX];
    size_t count = 0;
    int outcome = load(port, stream, &plan, &saga, &reading, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_saga_input input = {.kind = kind, .step = STELE_SAGA_NO_STEP};
    if (reason != NULL) {
        input.reason = (struct stele_text){reason, strlen(reason)};
    }
    if (step != NULL) {
        const int index = stele_saga_plan_find(&plan, (struct stele_text){step, strlen(step)});
        if (index < 0) {
            return stele_fail(err, STELE_NOT_FOUND, 0, "%s has no step \"%.100s\"", stream, step);
        }
        input.step = (uint32_t)index;
    }
    outcome = stele_saga_decide(&plan, &saga, port->ops->now_us(port), &input, events, &count, err);
    return outcome == STELE_OK && count > 0 ? append_one(port, stream, &reading, &events[0], err)
                                            : outcome;
}

int stele_saga_operate(struct stele *store, const char *kind, const char *id, int input,
                       const char *step, const char *reason, struct stele_error *err)
{
    if (input < STELE_SAGA_INPUT_PARK || input > STELE_SAGA_INPUT_ABANDON) {
        return stele_fail(err, STELE_E_INVALID, 0, "input %d is not one of a person's", input);
    }
    struct saga_port *port = NULL;
    int outcome = check_names(kind, id, err);
    if (outcome == STELE_OK) {
        outcome = stele_runner__saga_store_port(store, stele_linux_alloc(), &port, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    char stream[STREAM_SIZE_MAX];
    stele_runner__saga_stream(kind, id, stream);
    outcome = STELE_WRONG_REVISION;
    /* The runner may be at work on it: what a person wants is decided anew on what it has become. */
    for (int i = 0; i < TRIES && outcome == STELE_WRONG_REVISION; i++) {
        outcome = operate(port, stream, input, step, reason, err);
    }
    port->ops->destroy(port);
    return outcome;
}
