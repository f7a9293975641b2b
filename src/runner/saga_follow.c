/* What the store's events mean to sagas: some start one, some answer for a participant, some are those of
 * other runners and of people. And the checkpoint: up to where they were looked at. */
#include "runner/saga_internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECKPOINT_SIZE_MAX (12u * 1024u * 1024u)

/* ---- Which saga ---------------------------------------------------------------------------- */

static bool identify(const struct stele_saga_runner *runner, const struct stele_event *event,
                     char id[STELE_SAGA_ID_SIZE_MAX + 1])
{
    if (runner->definition->identify != NULL) {
        id[0] = '\0';
        return runner->definition->identify(runner->definition->context, event, id) == 0 &&
               id[0] != '\0';
    }
    const char *const dash = memchr(event->stream.data, '-', event->stream.size);
    const size_t before = dash != NULL ? (size_t)(dash - event->stream.data) + 1 : 0;
    const size_t size = event->stream.size - before;
    if (dash == NULL || size == 0 || size > STELE_SAGA_ID_SIZE_MAX ||
        memchr(dash, '\0', size) != NULL) {
        return false;
    }
    memcpy(id, dash + 1, size);
    id[size] = '\0';
    return true;
}

/* The id, if it is one of this kind's streams. */
static bool own_id(const struct stele_saga_runner *runner, struct stele_text stream,
                   char id[STELE_SAGA_ID_SIZE_MAX + 1])
{
    char prefix[STREAM_SIZE_MAX];
    stele_runner__saga_stream(runner->plan.kind, "", prefix);
    const size_t size = strlen(prefix);
    if (stream.size <= size || stream.size - size > STELE_SAGA_ID_SIZE_MAX ||
        memcmp(stream.data, prefix, size) != 0) {
        return false;
    }
    memcpy(id, stream.data + size, stream.size - size);
    id[stream.size - size] = '\0';
    return true;
}

static bool is_type(const struct stele_event *event, const char *type)
{
    return type != NULL && strlen(type) == event->type.size &&
           memcmp(type, event->type.data, event->type.size) == 0;
}

/* ---- Starting ------------------------------------------------------------------------------ */

static bool is_full(struct stele_saga_runner *runner)
{
    runner->full = runner->set.count - runner->resting_count >= runner->options.active_max;
    return runner->full;
}

/* What it is started with. false: nothing is started. */
static bool take_input(struct stele_saga_runner *runner, const struct stele_event *event,
                       struct stele_text *out_input)
{
    *out_input = (struct stele_text){event->data, event->data_size};
    return runner->definition->input == NULL ||
           runner->definition->input(runner->definition->context, event, out_input) == 0;
}

static int start(struct stele_saga_runner *runner, const struct stele_event *event, const char *id,
                 struct stele_error *err)
{
    struct saga_entry *entry = stele_runner__saga_set_find(&runner->set, id);
    const bool is_new = entry == NULL;
    struct stele_text text;
    if ((!is_new && (entry->plan != NULL || entry->broken)) || !take_input(runner, event, &text)) {
        return STELE_OK; /* It was started before, and once is enough; or it is nothing to start with. */
    }
    if (is_new) {
        if (is_full(runner)) {
            return STELE_E_OVERLOADED;
        }
        entry = stele_runner__saga_set_add(&runner->set, runner->plan.kind, id);
        if (entry == NULL) {
            return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for one more saga");
        }
        stele_id_to_text(event->id, entry->correlation_id);
        char given[CORRELATION_SIZE];
        stele_runner__saga_metadata_member(event, "$correlationId", given, sizeof given);
        if (given[0] != '\0') {
            memcpy(entry->correlation_id, given, sizeof given);
        }
        stele_runner__saga_metadata_member(event, "traceparent", entry->traceparent,
                                           sizeof entry->traceparent);
    }
    char cause[ID_TEXT_SIZE];
    stele_id_to_text(event->id, cause);
    const struct saga_start given = {.id = id, .input = text, .trigger = event};
    const struct stele_saga_input input = {.kind = STELE_SAGA_INPUT_START};
    const int outcome = stele_runner__saga_feed(runner, entry, input, &given, cause, err);
    /* Of one that was there already, this runner may have begun something in an earlier life. */
    return outcome == STELE_OK ? stele_runner__saga_take_up(runner, entry, err) : outcome;
}

/* ---- Events ------------------------------------------------------------------------------- */

/* Can it bring a saga to life that rests? */
static bool wakes(int kind)
{
    return kind == STELE_SAGA_EVENT_STARTED || kind == STELE_SAGA_EVENT_STEP_DONE ||
           kind == STELE_SAGA_EVENT_RESUMED || kind == STELE_SAGA_EVENT_STEP_RETRIED ||
           kind == STELE_SAGA_EVENT_STEP_SKIPPED || kind == STELE_SAGA_EVENT_CANCELLED;
}

static int on_own(struct stele_saga_runner *runner, const struct stele_event *event, const char *id,
                  struct stele_error *err)
{
    struct saga_entry *entry = stele_runner__saga_set_find(&runner->set, id);
    if (entry != NULL && event->revision < entry->revisions) {
        return STELE_OK;
    }
    const int kind = stele_saga_event_kind(event->type);
    if (kind == 0 || (entry == NULL && !wakes(kind))) {
        return STELE_OK;
    }
    int outcome = STELE_OK;
    if (entry == NULL) {
        outcome = stele_runner__saga_find(runner, id, &entry, err);
    } else if (!entry->broken) {
        outcome = stele_runner__saga_catch_up(runner, entry, err);
    }
    return outcome == STELE_OK && entry != NULL ? stele_runner__saga_take_up(runner, entry, err)
                                                : outcome;
}

static int answer_step(struct stele_saga_runner *runner, const struct stele_event *event,
                       const struct stele_saga_step *step, const char *id, struct stele_error *err)
{
    struct saga_entry *entry = NULL;
    const int outcome = stele_runner__saga_find(runner, id, &entry, err);
    if (outcome != STELE_OK || entry == NULL) {
        return outcome;
    }
    const int index =
        stele_saga_plan_find(entry->plan, (struct stele_text){step->name, strlen(step->name)});
    if (index < 0) {
        return STELE_OK;
    }
    char cause[ID_TEXT_SIZE];
    stele_id_to_text(event->id, cause);
    const bool failed = is_type(event, step->failure);
    const struct stele_saga_input input = {
        .kind = STELE_SAGA_INPUT_ANSWER,
        .step = (uint32_t)index,
        .compensation = is_type(event, step->compensated),
        .answer = failed ? STELE_SAGA_REFUSED : STELE_SAGA_DONE,
        .reason = failed ? event->type : (struct stele_text){NULL, 0},
        .result = failed ? (struct stele_text){NULL, 0}
                         : (struct stele_text){event->data, event->data_size}};
    return stele_runner__saga_feed(runner, entry, input, NULL, cause, err);
}

struct following {
    struct stele_saga_runner *runner;
    struct stele_error *err;
};

static int on_event(void *context, const struct stele_event *event)
{
    struct stele_saga_runner *const runner = ((struct following *)context)->runner;
    struct stele_error *const err = ((struct following *)context)->err;
    const struct stele_saga_definition *const definition = runner->definition;
    char id[STELE_SAGA_ID_SIZE_MAX + 1];
    runner->since_checkpoint++;
    int outcome = STELE_OK;
    if (own_id(runner, event->stream, id)) {
        outcome = on_own(runner, event, id, err);
    }
    for (size_t i = 0; i < definition->triggers_count && outcome == STELE_OK; i++) {
        if (is_type(event, definition->triggers[i]) && identify(runner, event, id)) {
            outcome = start(runner, event, id, err);
        }
    }
    for (size_t i = 0; i < definition->table->steps_count && outcome == STELE_OK; i++) {
        const struct stele_saga_step *const step = &definition->table->steps[i];
        if ((is_type(event, step->success) || is_type(event, step->failure) ||
             is_type(event, step->compensated)) &&
            identify(runner, event, id)) {
            outcome = answer_step(runner, event, step, id, err);
        }
    }
    return outcome;
}

int stele_runner__saga_follow(struct stele_saga_runner *runner, struct stele_error *err)
{
    struct following following = {runner, err};
    runner->full = false;
    const int outcome = runner->port->ops->follow(runner->port, runner->types, runner->types_count,
                                                  &runner->position, on_event, &following, err);
    runner->behind = outcome == STELE_OK;
    if (outcome == STELE_END || runner->full) {
        return STELE_OK;
    }
    return outcome;
}

/* ---- The checkpoint ------------------------------------------------------------------------ */

static void checkpoint_stream(const struct stele_saga_runner *runner, char to[STREAM_SIZE_MAX])
{
    /* No "-" in it: it is nobody's saga. */
    (void)snprintf(to, STREAM_SIZE_MAX, "saga.%s.checkpoint", runner->plan.kind);
}

static json_t *active_ids(const struct stele_saga_runner *runner)
{
    json_t *const ids = json_array();
    for (size_t i = 0; i < runner->set.buckets_count; i++) {
        for (const struct saga_entry *entry = runner->set.buckets[i]; entry != NULL;
             entry = entry->next) {
            /* One whose last append may be stored, or not, is on the list whatever it looks like. */
            if (entry->stale || !stele_runner__saga_may_rest(entry)) {
                (void)json_array_append_new(ids, json_string(entry->id));
            }
        }
    }
    return ids;
}

int stele_runner__saga_write_checkpoint(struct stele_saga_runner *runner, struct stele_error *err)
{
    json_t *const object = json_pack("{s:I,s:o}", "position", (json_int_t)runner->position,
                                     "active", active_ids(runner));
    char *const text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (text == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for the checkpoint of sagas");
    }
    char stream[STREAM_SIZE_MAX];
    checkpoint_stream(runner, stream);
    struct stele_event_draft draft;
    memset(&draft, 0, sizeof draft);
    runner->port->ops->random(runner->port, draft.id, sizeof draft.id);
    draft.type = "SagaCheckpoint";
    draft.data = text;
    draft.data_size = strlen(text);
    int outcome = STELE_OK;
    if (draft.data_size > CHECKPOINT_SIZE_MAX) {
        stele_runner__saga_problem(runner, "", "too many sagas at work for a checkpoint");
    } else {
        uint64_t position = 0;
        outcome = runner->port->ops->append(runner->port, stream, STELE_EXPECT_ANY, &draft, 1,
                                            &position, err);
    }
    free(text);
    if (outcome == STELE_OK) {
        runner->since_checkpoint = 0;
        runner->checkpoint_at_us = runner->port->ops->now_us(runner->port);
    }
    return outcome;
}

/* ---- Loading ------------------------------------------------------------------------------- */

struct loading {
    struct stele_saga_runner *runner;
    struct stele_error *err;
    bool found;
    int outcome;
};

static int load_one(struct loading *loading, const char *id)
{
    struct stele_saga_runner *const runner = loading->runner;
    struct saga_entry *entry = NULL;
    loading->outcome = stele_runner__saga_find(runner, id, &entry, loading->err);
    if (loading->outcome == STELE_OK && entry != NULL && !stele_runner__saga_may_rest(entry)) {
        /* The first turn looks at it. Nothing is asked for before. */
        stele_runner__saga_set_time(&runner->set, entry, 0);
    }
    return loading->outcome;
}

static int on_checkpoint(void *context, const struct stele_event *event)
{
    struct loading *const loading = context;
    json_t *const object = json_loadb(event->data, event->data_size, 0, NULL);
    const json_t *const ids = json_object_get(object, "active");
    const json_t *const position = json_object_get(object, "position");
    int outcome = STELE_OK;
    loading->found = json_is_array(ids) && json_is_integer(position);
    if (loading->found) {
        loading->runner->position = (uint64_t)json_integer_value(position);
        for (size_t i = 0; i < json_array_size(ids) && outcome == STELE_OK; i++) {
            const char *const id = json_string_value(json_array_get(ids, i));
            if (id != NULL && strlen(id) <= STELE_SAGA_ID_SIZE_MAX) {
                outcome = load_one(loading, id);
            }
        }
    }
    json_decref(object);
    return outcome;
}

static int on_stream(void *context, struct stele_text name, uint64_t count)
{
    struct loading *const loading = context;
    char id[STELE_SAGA_ID_SIZE_MAX + 1];
    (void)count;
    return own_id(loading->runner, name, id) ? load_one(loading, id) : 0;
}

int stele_runner__saga_load_all(struct stele_saga_runner *runner, struct stele_error *err)
{
    struct saga_port *const port = runner->port;
    struct loading loading = {.runner = runner, .err = err};
    /* Looked up first: what comes while the streams are read is then followed. */
    const uint64_t last = port->ops->last_position(port);
    char stream[STREAM_SIZE_MAX];
    checkpoint_stream(runner, stream);
    int outcome = STELE_OK;
    if (!runner->options.rebuild) {
        outcome = port->ops->read_last(port, stream, on_checkpoint, &loading, err);
    }
    if (outcome != STELE_OK || loading.found) {
        runner->checkpoint_at_us = port->ops->now_us(port);
        return outcome;
    }
    const uint64_t from = runner->options.from;
    runner->position = from == STELE_FROM_END ? last : from > 0 ? from - 1 : 0;
    char prefix[STREAM_SIZE_MAX];
    stele_runner__saga_stream(runner->plan.kind, "", prefix);
    outcome = port->ops->list(port, prefix, on_stream, &loading, err);
    if (outcome == STELE_OK) {
        outcome = loading.outcome;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    /* Written at once: otherwise a runner that dies early would begin at another end next time, and miss
     * what had come in between. */
    outcome = stele_runner__saga_write_checkpoint(runner, err);
    if (outcome == STELE_OK) {
        port->ops->keep_newest(port, stream);
    }
    return outcome;
}
