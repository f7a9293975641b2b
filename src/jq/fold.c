/* Folds in jq. The state is a value of libjq that stays one from event to event: nothing is written out and
 * read again in between. */
#include "base/status.h"
#include "base/text.h"
#include "jq/jq_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In front of a program, on its first line, so that its lines keep their numbers. */
#define BEFORE ".event as $event | .state | "
#define MERGE "if ($event.data | type) == \"object\" then (. // {}) * $event.data else . end"

struct stele_jq_fold {
    struct stele_jq *jq;
    struct stele_fold fold;
    jv initial;
    jv state;
    char words[WORDS_SIZE + STELE_STREAM_NAME_SIZE_MAX];
};

/* ---- An event as a value ------------------------------------------------------------------ */

static jv put(jv object, const char *name, jv value)
{
    return jv_object_set(object, jv_string(name), value);
}

static jv text_of(struct stele_text text)
{
    return jv_string_sized(text.data, (int)text.size);
}

static jv tags_of(const struct stele_event *event)
{
    jv tags = jv_array();
    for (uint32_t i = 0; i < event->tags_count; i++) {
        tags = jv_array_append(tags, text_of(stele_event_tag(event, i)));
    }
    return tags;
}

jv stele_jq__event(const struct stele_event *event)
{
    char id[37] = "";
    char created[STELE_TIME_SIZE] = "";
    stele_id_to_text(event->id, id);
    if (!stele_time_format(event->created_us, 6, created)) {
        created[0] = '\0'; /* A time that no calendar has. */
    }
    jv object = put(jv_object(), "id", jv_string(id));
    object = put(object, "type", text_of(event->type));
    object = put(object, "stream", text_of(event->stream));
    object = put(object, "revision", jv_number((double)event->revision));
    object = put(object, "position", jv_string_fmt("%llu", (unsigned long long)event->position));
    object = put(object, "created", jv_string(created));
    object = put(object, "data", stele_jq__parse(event->data, event->data_size));
    object = put(object, "metadata", stele_jq__parse(event->metadata, event->metadata_size));
    return put(object, "tags", tags_of(event));
}

/* ---- Folding ------------------------------------------------------------------------------- */

static int refuse(struct stele_jq_fold *fold, const struct stele_event *event, const char *words)
{
    (void)snprintf(fold->words, sizeof fold->words, "%s: %.*s@%llu (%.*s): %s", fold->jq->name,
                   (int)event->stream.size, event->stream.data, (unsigned long long)event->revision,
                   (int)(event->type.size < 80 ? event->type.size : 80), event->type.data, words);
    return STELE_E_INVALID;
}

static int initial(void *context, void *state, struct stele_memory *memory)
{
    struct stele_jq_fold *const fold = context;
    (void)state;
    (void)memory;
    jv_free(fold->state);
    fold->state = jv_copy(fold->initial);
    fold->words[0] = '\0';
    return STELE_OK;
}

/* What follows the first result: nothing is right. */
static int end(struct stele_jq_fold *fold, const struct stele_event *event)
{
    const jv more = jq_next(fold->jq->state);
    int outcome = STELE_OK;
    if (jv_is_valid(more)) {
        outcome = refuse(fold, event, "it gives more than one state");
    } else if (jv_invalid_has_msg(jv_copy(more)) != 0) {
        const jv message = stele_jq__message(jv_copy(more));
        outcome = refuse(fold, event, jv_string_value(message));
        jv_free(message);
    }
    jv_free(more);
    return outcome;
}

static int evolve(void *context, void *state, const struct stele_event *event, const void *fact,
                  struct stele_memory *memory)
{
    struct stele_jq_fold *const fold = context;
    (void)state;
    (void)fact;
    (void)memory;
    jv input = put(jv_object(), "state", jv_copy(fold->state));
    input = put(input, "event", stele_jq__event(event));
    jq_start(fold->jq->state, input, 0);
    const jv next = jq_next(fold->jq->state);
    if (!jv_is_valid(next)) {
        if (jv_invalid_has_msg(jv_copy(next)) == 0) {
            jv_free(next);
            return STELE_OK;
        }
        const jv message = stele_jq__message(next);
        const int outcome = refuse(fold, event, jv_string_value(message));
        jv_free(message);
        return outcome;
    }
    jv_free(fold->state);
    fold->state = next;
    return end(fold, event);
}

/* ---- Making and releasing ------------------------------------------------------------------ */

static int take_initial(struct stele_jq_fold *fold, const char *text, struct stele_error *err)
{
    fold->initial = text != NULL ? jv_parse(text) : jv_null();
    if (jv_is_valid(fold->initial)) {
        fold->state = jv_copy(fold->initial);
        return STELE_OK;
    }
    char words[WORDS_SIZE] = "there is nothing in it";
    if (jv_invalid_has_msg(jv_copy(fold->initial)) != 0) {
        const jv message = stele_jq__message(jv_copy(fold->initial));
        (void)snprintf(words, sizeof words, "%s", jv_string_value(message));
        jv_free(message);
    }
    return stele_fail(err, STELE_E_INVALID, 0, "the initial state is no JSON: %s", words);
}

int stele_jq_fold_create(const char *name, const char *program, const char *initial_json,
                         struct stele_jq_fold **out_fold, struct stele_error *err)
{
    if (name == NULL || out_fold == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_jq_fold_create: an argument is NULL");
    }
    struct stele_jq_fold *const fold = calloc(1, sizeof *fold);
    const char *const body = program != NULL ? program : MERGE;
    const size_t size = sizeof BEFORE + strlen(body);
    char *const whole = malloc(size);
    if (fold == NULL || whole == NULL) {
        free(fold);
        free(whole);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%s: no memory for a jq program", name);
    }
    (void)snprintf(whole, size, "%s%s", BEFORE, body);
    fold->initial = jv_null();
    fold->state = jv_null();
    int outcome = stele_jq_create(name, whole, &fold->jq, err);
    free(whole);
    if (outcome == STELE_OK) {
        outcome = take_initial(fold, initial_json, err);
    }
    if (outcome != STELE_OK) {
        stele_jq_fold_destroy(fold);
        return outcome;
    }
    fold->fold = (struct stele_fold){.struct_size = sizeof fold->fold,
                                     .name = fold->jq->name,
                                     .version = 1,
                                     .state_size = 1, /* The state itself is ours. */
                                     .context = fold,
                                     .initial = initial,
                                     .evolve = evolve};
    *out_fold = fold;
    return STELE_OK;
}

int stele_jq_fold_open(const char *path, const char *initial_json, struct stele_jq_fold **out_fold,
                       struct stele_error *err)
{
    char *program = NULL;
    int outcome = stele_jq__read(path, &program, err);
    if (outcome == STELE_OK) {
        outcome = stele_jq_fold_create(path, program, initial_json, out_fold, err);
        free(program);
    }
    return outcome;
}

void stele_jq_fold_destroy(struct stele_jq_fold *fold)
{
    if (fold != NULL) {
        jv_free(fold->state);
        jv_free(fold->initial);
        stele_jq_destroy(fold->jq);
        free(fold);
    }
}

const struct stele_fold *stele_jq_fold_of(struct stele_jq_fold *fold)
{
    return &fold->fold;
}

int stele_jq_fold_value(const struct stele_jq_fold *fold, int indented, struct stele_memory *memory,
                        struct stele_text *out_json)
{
    if (fold == NULL || memory == NULL || out_json == NULL) {
        return STELE_E_INVALID;
    }
    const jv text = jv_dump_string(jv_copy(fold->state),
                                   indented != 0 ? JV_PRINT_PRETTY | JV_PRINT_INDENT_FLAGS(2) : 0);
    const size_t size = (size_t)jv_string_length_bytes(jv_copy(text));
    const char *const copy = stele_memory_copy(memory, jv_string_value(text), size);
    jv_free(text);
    if (copy == NULL) {
        return STELE_E_NO_MEMORY;
    }
    *out_json = (struct stele_text){copy, size};
    return STELE_OK;
}

const char *stele_jq_fold_last_error(const struct stele_jq_fold *fold)
{
    return fold->words;
}
