#include "declared/append.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX 1000u

struct made {
    json_t *results; /* An array. */
    struct stele_memory *memory;
    struct stele_append *appends;
    struct stele_event_draft *drafts; /* Room for all of them in a row. */
    size_t appends_count;
    const char *wrong; /* What a result lacks. */
};

static int on_result(void *context, const char *json, size_t size)
{
    struct made *const made = context;
    json_t *const value = json_loadb(json, size, JSON_DECODE_ANY, NULL);
    if (json_array_size(made->results) >= EVENTS_MAX) {
        json_decref(value);
        return STELE_E_LIMIT;
    }
    return json_array_append_new(made->results, value) == 0 ? STELE_OK : STELE_E_NO_MEMORY;
}

/* ---- One event ----------------------------------------------------------------------------- */

static const char *dump(struct made *made, const json_t *value, size_t *out_size)
{
    char *const text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    const size_t size = text != NULL ? strlen(text) : 0;
    const char *const copy = text != NULL ? stele_memory_copy(made->memory, text, size) : NULL;
    free(text);
    *out_size = size;
    return copy;
}

static void add(json_t *metadata, const char *name, const char *value)
{
    if (value[0] != '\0' && json_object_get(metadata, name) == NULL) {
        (void)json_object_set_new(metadata, name, json_string(value));
    }
}

static const char *take_metadata(struct made *made, const json_t *event,
                                 const struct stele_saga_call *call, const char *causation,
                                 struct stele_event_draft *draft)
{
    json_t *const given = json_object_get(event, "metadata");
    if (given != NULL && !json_is_object(given) && !json_is_null(given)) {
        return "metadata are an object";
    }
    json_t *const metadata = json_is_object(given) ? json_incref(given) : json_object();
    add(metadata, "$correlationId", call->correlation_id);
    add(metadata, "$causationId", causation);
    add(metadata, "traceparent", call->traceparent);
    draft->metadata = dump(made, metadata, &draft->metadata_size);
    json_decref(metadata);
    return draft->metadata != NULL ? NULL : "no memory";
}

static const char *take_tags(struct made *made, const json_t *event,
                             struct stele_event_draft *draft)
{
    const json_t *const tags = json_object_get(event, "tags");
    if (tags == NULL || json_is_null(tags)) {
        return NULL;
    }
    const size_t count = json_array_size(tags);
    const char **const texts =
        stele_memory_allocate(made->memory, (count + 1) * sizeof(const char *));
    if (!json_is_array(tags) || texts == NULL) {
        return "tags are a list of texts";
    }
    for (size_t i = 0; i < count; i++) {
        texts[i] = json_string_value(json_array_get(tags, i));
        if (texts[i] == NULL) {
            return "tags are a list of texts";
        }
    }
    draft->tags = texts;
    draft->tags_count = count;
    return NULL;
}

/* NULL, or what is wrong. */
static const char *take_event(struct made *made, const json_t *event, uint32_t number,
                              const struct stele_saga_call *call, const char *causation,
                              struct stele_event_draft *draft)
{
    memset(draft, 0, sizeof *draft);
    stele_saga_event_id(call->key, number, draft->id);
    draft->type = json_string_value(json_object_get(event, "type"));
    if (draft->type == NULL || json_string_value(json_object_get(event, "stream")) == NULL) {
        return "an event has a stream and a type, which are texts";
    }
    const json_t *const data = json_object_get(event, "data");
    if (data != NULL) {
        draft->data = dump(made, data, &draft->data_size);
        if (draft->data == NULL) {
            return "no memory";
        }
    }
    const char *const wrong = take_tags(made, event, draft);
    return wrong != NULL ? wrong : take_metadata(made, event, call, causation, draft);
}

/* ---- All of them --------------------------------------------------------------------------- */

/* The events of one stream stand together, in their order: an append names a stream once. */
static bool arrange(struct made *made, const struct stele_saga_call *call, const char *causation)
{
    const size_t count = json_array_size(made->results);
    bool *const done = stele_memory_allocate(made->memory, count + 1);
    made->appends = stele_memory_allocate(made->memory, (count + 1) * sizeof *made->appends);
    made->drafts = stele_memory_allocate(made->memory, (count + 1) * sizeof *made->drafts);
    if (done == NULL || made->appends == NULL || made->drafts == NULL) {
        made->wrong = "no memory";
        return false;
    }
    memset(done, 0, count + 1);
    for (size_t i = 0, at = 0; i < count; i++) {
        const json_t *const name = json_object_get(json_array_get(made->results, i), "stream");
        const size_t first = at;
        for (size_t k = i; k < count && !done[i]; k++) {
            const json_t *const event = json_array_get(made->results, k);
            if (k == i || (!done[k] && json_equal(name, json_object_get(event, "stream")) != 0)) {
                made->wrong =
                    take_event(made, event, (uint32_t)k, call, causation, &made->drafts[at++]);
                done[k] = k != i;
            }
            if (made->wrong != NULL) {
                return false;
            }
        }
        if (at > first) {
            made->appends[made->appends_count++] =
                (struct stele_append){.stream = json_string_value(name),
                                      .expected = STELE_EXPECT_ANY,
                                      .events = made->drafts + first,
                                      .count = at - first};
        }
    }
    return true;
}

static int answer_of(int outcome)
{
    switch (outcome) {
    case STELE_OK:
    case STELE_E_ID_CONFLICT: /* Stored before, when the program gave something else. */
        return STELE_SAGA_DONE;
    case STELE_E_UNKNOWN:
        return STELE_SAGA_UNKNOWN;
    case STELE_STREAM_DELETED:
    case STELE_E_INVALID:
    case STELE_E_LIMIT:
    case STELE_E_READ_ONLY:
    case STELE_E_PERMISSION:
        return STELE_SAGA_NEEDS_HELP;
    default:
        return STELE_SAGA_NOT_DONE;
    }
}

static int append_all(struct stele *store, struct made *made, const struct stele_saga_call *call,
                      const char *causation, struct stele_saga_reply *reply)
{
    struct stele_error err = {0};
    if (!arrange(made, call, causation)) {
        (void)snprintf(reply->reason, sizeof reply->reason, "append: %s", made->wrong);
        return STELE_SAGA_NEEDS_HELP;
    }
    if (made->appends_count == 0) {
        return STELE_SAGA_DONE; /* A program may find that there is nothing to say. */
    }
    const int outcome =
        stele_append_many(store, made->appends, made->appends_count, NULL, 0, NULL, NULL, &err);
    const int answer = answer_of(outcome);
    if (answer != STELE_SAGA_DONE) {
        (void)snprintf(reply->reason, sizeof reply->reason, "append: %.200s", err.message);
    }
    return answer;
}

int stele_declared_append(struct stele *store, struct stele_jq *program, const char *json,
                          const struct stele_saga_call *call, const char *causation,
                          struct stele_saga_reply *reply)
{
    struct made made = {.results = json_array(), .memory = stele_memory_create()};
    struct stele_error err = {0};
    int answer = STELE_SAGA_NOT_TRIED;
    if (made.results != NULL && made.memory != NULL) {
        const int outcome = stele_jq_run(program, json, strlen(json), on_result, &made, &err);
        if (outcome == STELE_OK) {
            answer = append_all(store, &made, call, causation, reply);
        } else {
            answer = STELE_SAGA_NEEDS_HELP;
            (void)snprintf(reply->reason, sizeof reply->reason, "append: %.200s",
                           outcome == STELE_E_LIMIT ? "it gives more than 1000 events"
                                                    : err.message);
        }
    }
    stele_memory_destroy(made.memory);
    json_decref(made.results);
    return answer;
}
