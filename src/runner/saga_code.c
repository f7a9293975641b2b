/* A saga's events as JSON, and back. What people read in the stream is what the fold reads. */
#include "base/checksum.h"
#include "base/text.h"
#include "runner/saga_internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define DUMP (JSON_COMPACT | JSON_ENCODE_ANY)

void stele_runner__saga_stream(const char *kind, const char *id, char to[STREAM_SIZE_MAX])
{
    (void)snprintf(to, STREAM_SIZE_MAX, "saga.%s-%s", kind, id);
}

uint64_t stele_runner__saga_name_hash(const char *name)
{
    return stele_hash64(stele_bytes_of_text(name), 0);
}

/* ---- Encoding ----------------------------------------------------------------------------- */

/* JSON is kept as JSON, so that people and projections can read it; all else as base64. */
static void put_payload(json_t *object, const char *name, struct stele_text payload)
{
    if (payload.size == 0) {
        return;
    }
    json_t *const value =
        json_loadb(payload.data, payload.size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    if (value != NULL) {
        (void)json_object_set_new(object, name, value);
        return;
    }
    char *const text = malloc(stele_base64_size(payload.size) + 1);
    if (text != NULL) {
        stele_base64_encode((struct stele_bytes){(const uint8_t *)payload.data, payload.size},
                            text);
        char member[32];
        (void)snprintf(member, sizeof member, "%s_base64", name);
        (void)json_object_set_new(object, member,
                                  json_stringn(text, stele_base64_size(payload.size)));
        free(text);
    }
}

static json_t *encode_retry(const struct stele_saga_retry *retry)
{
    return json_pack("{s:I,s:I,s:I}", "attempts_max", (json_int_t)retry->attempts_max, "backoff_ms",
                     (json_int_t)retry->backoff_ms, "backoff_max_ms",
                     (json_int_t)retry->backoff_max_ms);
}

static json_t *encode_plan(const struct stele_saga_plan *plan)
{
    json_t *const steps = json_array();
    for (uint32_t i = 0; i < plan->steps_count; i++) {
        const struct stele_saga_plan_step *const step = &plan->steps[i];
        json_t *const after = json_array();
        for (uint32_t j = 0; j < plan->steps_count; j++) {
            if ((step->after & UINT32_C(1) << j) != 0) {
                (void)json_array_append_new(after, json_string(plan->steps[j].name));
            }
        }
        (void)json_array_append_new(
            steps, json_pack("{s:s,s:o,s:I,s:I,s:b,s:s,s:s,s:o,s:o}", "name", step->name, "after",
                             after, "timeout_ms", (json_int_t)step->timeout_ms, "delay_ms",
                             (json_int_t)step->delay_ms, "compensates", step->compensates,
                             "on_failure", step->on_failure == STELE_SAGA_PARK ? "park" : "undo",
                             "unknown", step->unknown == STELE_SAGA_UNKNOWN_WAIT ? "wait" : "undo",
                             "retry", encode_retry(&step->retry), "compensation_retry",
                             encode_retry(&step->compensation_retry)));
    }
    return steps;
}

static void put_start(json_t *object, const struct stele_saga_plan *plan,
                      const struct saga_start *start)
{
    (void)json_object_set_new(object, "kind", json_string(plan->kind));
    (void)json_object_set_new(object, "id", json_string(start->id));
    (void)json_object_set_new(object, "deadline_ms", json_integer((json_int_t)plan->deadline_ms));
    (void)json_object_set_new(object, "steps", encode_plan(plan));
    put_payload(object, "input", start->input);
    if (start->trigger != NULL) {
        char id[ID_TEXT_SIZE];
        stele_id_to_text(start->trigger->id, id);
        (void)json_object_set_new(object, "trigger",
                                  json_pack("{s:s%,s:I,s:s}", "stream", start->trigger->stream.data,
                                            start->trigger->stream.size, "revision",
                                            (json_int_t)start->trigger->revision, "event_id", id));
    }
}

char *stele_runner__saga_encode(const struct stele_saga_plan *plan,
                                const struct stele_saga_event *event, const char *runner,
                                const struct saga_start *start)
{
    json_t *const object = json_object();
    (void)json_object_set_new(object, "at_us", json_integer(event->at_us));
    if (event->kind == STELE_SAGA_EVENT_STARTED) {
        put_start(object, plan, start);
    }
    if (event->step != STELE_SAGA_NO_STEP) {
        (void)json_object_set_new(object, "step", json_string(plan->steps[event->step].name));
    }
    if (event->attempt != 0) {
        (void)json_object_set_new(object, "attempt", json_integer(event->attempt));
    }
    const bool request = event->kind == STELE_SAGA_EVENT_STEP_REQUESTED ||
                         event->kind == STELE_SAGA_EVENT_COMPENSATION_REQUESTED;
    const bool retry = event->kind == STELE_SAGA_EVENT_STEP_RETRY ||
                       event->kind == STELE_SAGA_EVENT_COMPENSATION_RETRY;
    if (request || retry) {
        (void)json_object_set_new(object, "due_us", json_integer(event->due_us));
    }
    if (request) {
        (void)json_object_set_new(object, "runner", json_string(runner));
    }
    if (retry || event->kind == STELE_SAGA_EVENT_STEP_FAILED) {
        (void)json_object_set_new(object, "unknown", json_boolean(event->unknown));
        (void)json_object_set_new(object, "counts", json_boolean(event->counts));
    }
    if (event->reason.size > 0) {
        /* Words that are no UTF-8 are left out by jansson, as a whole. */
        (void)json_object_set_new(object, "reason",
                                  json_stringn(event->reason.data, event->reason.size));
    }
    put_payload(object, "result", event->result);
    char *const text = object != NULL ? json_dumps(object, DUMP) : NULL;
    json_decref(object);
    return text;
}

char *stele_runner__saga_metadata(const char *correlation_id, const char *causation_id,
                                  const char *traceparent)
{
    json_t *const object = json_object();
    const char *const members[][2] = {{"$correlationId", correlation_id},
                                      {"$causationId", causation_id},
                                      {"traceparent", traceparent}};
    for (size_t i = 0; i < STELE_COUNT_OF(members); i++) {
        if (members[i][1][0] != '\0') {
            (void)json_object_set_new(object, members[i][0], json_string(members[i][1]));
        }
    }
    char *const text = object != NULL ? json_dumps(object, DUMP) : NULL;
    json_decref(object);
    return text;
}

void stele_runner__saga_metadata_member(const struct stele_event *event, const char *member,
                                        char *to, size_t size)
{
    to[0] = '\0';
    json_t *const object = event->metadata_size > 0
                               ? json_loadb(event->metadata, event->metadata_size, 0, NULL)
                               : NULL;
    const char *const value = json_string_value(json_object_get(object, member));
    if (value != NULL && strlen(value) < size) {
        memcpy(to, value, strlen(value) + 1);
    }
    json_decref(object);
}

/* ---- Decoding ----------------------------------------------------------------------------- */

static int64_t number(const json_t *object, const char *name)
{
    return (int64_t)json_integer_value(json_object_get(object, name));
}

/* Numbers that do not fit are none: the plan's check then takes the default, or refuses. */
static uint32_t small(const json_t *object, const char *name)
{
    const int64_t value = number(object, name);
    return value > 0 && value <= UINT32_MAX ? (uint32_t)value : 0;
}

static struct stele_saga_retry decode_retry(const json_t *object)
{
    return (struct stele_saga_retry){small(object, "attempts_max"), small(object, "backoff_ms"),
                                     small(object, "backoff_max_ms")};
}

static bool is_text(const json_t *object, const char *name, const char *text)
{
    const char *const value = json_string_value(json_object_get(object, name));
    return value != NULL && strcmp(value, text) == 0;
}

static bool copy_name(char to[STELE_SAGA_NAME_SIZE_MAX + 1], const json_t *value)
{
    const char *const text = json_string_value(value);
    if (text == NULL || strlen(text) > STELE_SAGA_NAME_SIZE_MAX) {
        return false;
    }
    memcpy(to, text, strlen(text) + 1);
    return true;
}

static bool decode_after(struct stele_saga_plan *plan, uint32_t index, const json_t *after)
{
    size_t i = 0;
    json_t *name = NULL;
    json_array_foreach(after, i, name)
    {
        const int found = stele_saga_plan_find(
            plan, (struct stele_text){json_string_value(name), json_string_length(name)});
        if (found < 0) {
            return false;
        }
        plan->steps[index].after |= UINT32_C(1) << found;
    }
    return true;
}

static int decode_plan(const json_t *object, struct stele_saga_plan *plan, struct stele_error *err)
{
    const json_t *const steps = json_object_get(object, "steps");
    memset(plan, 0, sizeof *plan);
    bool right = copy_name(plan->kind, json_object_get(object, "kind")) &&
                 json_array_size(steps) <= STELE_SAGA_STEPS_MAX;
    plan->deadline_ms = (uint64_t)number(object, "deadline_ms");
    plan->steps_count = (uint32_t)json_array_size(steps);
    for (uint32_t i = 0; i < plan->steps_count && right; i++) {
        const json_t *const from = json_array_get(steps, i);
        struct stele_saga_plan_step *const step = &plan->steps[i];
        right = copy_name(step->name, json_object_get(from, "name"));
        step->timeout_ms = small(from, "timeout_ms");
        step->delay_ms = small(from, "delay_ms");
        step->compensates = json_is_true(json_object_get(from, "compensates"));
        step->on_failure = is_text(from, "on_failure", "park") ? STELE_SAGA_PARK : STELE_SAGA_UNDO;
        step->unknown =
            is_text(from, "unknown", "wait") ? STELE_SAGA_UNKNOWN_WAIT : STELE_SAGA_UNKNOWN_UNDO;
        step->retry = decode_retry(json_object_get(from, "retry"));
        step->compensation_retry = decode_retry(json_object_get(from, "compensation_retry"));
    }
    for (uint32_t i = 0; i < plan->steps_count && right; i++) {
        right = decode_after(plan, i, json_object_get(json_array_get(steps, i), "after"));
    }
    if (!right) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "the saga's first event holds no table of steps that can be read");
    }
    const int outcome = stele_saga_plan_check(plan, err);
    return outcome == STELE_OK ? STELE_OK : STELE_E_CORRUPT;
}

/* false: no memory. */
static bool take_payload(const json_t *object, const char *name, char **out_data, size_t *out_size)
{
    char member[32];
    (void)snprintf(member, sizeof member, "%s_base64", name);
    const json_t *const value = json_object_get(object, name);
    const json_t *const text = json_object_get(object, member);
    if (value != NULL) {
        *out_data = json_dumps(value, DUMP);
        *out_size = *out_data != NULL ? strlen(*out_data) : 0;
        return *out_data != NULL;
    }
    if (json_is_string(text)) {
        const struct stele_bytes bytes = {(const uint8_t *)json_string_value(text),
                                          json_string_length(text)};
        *out_data = malloc(stele_base64_decoded_size_max(bytes.size) + 1);
        if (*out_data == NULL) {
            return false;
        }
        if (!stele_base64_decode(bytes, 0, (uint8_t *)*out_data, out_size)) {
            *out_size = 0;
        }
    }
    return true;
}

static int decode_start(const json_t *object, struct saga_decoded *decoded, struct stele_error *err)
{
    decoded->plan = malloc(sizeof *decoded->plan);
    if (decoded->plan == NULL ||
        !take_payload(object, "input", &decoded->input, &decoded->input_size)) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a saga");
    }
    return decode_plan(object, decoded->plan, err);
}

static int decode_members(const struct stele_saga_plan *plan, const json_t *object,
                          struct saga_decoded *decoded, struct stele_error *err)
{
    struct stele_saga_event *const event = &decoded->event;
    const char *const step = json_string_value(json_object_get(object, "step"));
    event->step = STELE_SAGA_NO_STEP;
    if (step != NULL) {
        const int found =
            plan != NULL ? stele_saga_plan_find(plan, (struct stele_text){step, strlen(step)}) : -1;
        if (found < 0) {
            return stele_fail(err, STELE_E_CORRUPT, 0,
                              "%s is about \"%.60s\", which is no step of the saga",
                              stele_saga_event_type(event->kind), step);
        }
        event->step = (uint32_t)found;
    }
    const char *const runner = json_string_value(json_object_get(object, "runner"));
    const json_t *const due = json_object_get(object, "due_us");
    event->at_us = number(object, "at_us");
    event->attempt = small(object, "attempt");
    event->due_us = due != NULL ? number(object, "due_us") : STELE_SAGA_NEVER;
    event->unknown = json_is_true(json_object_get(object, "unknown"));
    event->counts = json_is_true(json_object_get(object, "counts"));
    event->runner = runner != NULL ? stele_runner__saga_name_hash(runner) : 0;
    const json_t *const reason = json_object_get(object, "reason");
    event->reason.data = decoded->reason;
    event->reason.size = json_string_length(reason) < sizeof decoded->reason
                             ? json_string_length(reason)
                             : sizeof decoded->reason - 1;
    if (event->reason.size > 0) {
        memcpy(decoded->reason, json_string_value(reason), event->reason.size);
    }
    if (!take_payload(object, "result", &decoded->result, &event->result.size)) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a saga");
    }
    event->result.data = decoded->result;
    return event->kind == STELE_SAGA_EVENT_STARTED ? decode_start(object, decoded, err) : STELE_OK;
}

int stele_runner__saga_decode(const struct stele_saga_plan *plan, const struct stele_event *event,
                              struct saga_decoded *out_decoded, struct stele_error *err)
{
    memset(out_decoded, 0, sizeof *out_decoded);
    out_decoded->event.kind = stele_saga_event_kind(event->type);
    if (out_decoded->event.kind == 0) {
        return STELE_NOT_FOUND;
    }
    json_t *const object = json_loadb(event->data, event->data_size, 0, NULL);
    int outcome = STELE_OK;
    if (!json_is_object(object)) {
        outcome =
            stele_fail(err, STELE_E_CORRUPT, 0, "event %llu of the saga's stream is no JSON object",
                       (unsigned long long)event->revision);
    } else {
        outcome = decode_members(plan, object, out_decoded, err);
    }
    json_decref(object);
    if (outcome != STELE_OK) {
        stele_runner__saga_decoded_deinit(out_decoded);
    }
    return outcome;
}

void stele_runner__saga_decoded_deinit(struct saga_decoded *decoded)
{
    free(decoded->plan);
    free(decoded->input);
    free(decoded->result);
    memset(decoded, 0, sizeof *decoded);
}
