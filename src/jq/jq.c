/* Programs, and upcasters in jq, on libjq: see <stele/jq.h>. */
#include "base/status.h"
#include "jq/jq_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM_SIZE_MAX ((size_t)1 << 20)

/* An upcaster of a program: the context of its function. */
struct use {
    struct use *next;
    struct stele_jq *jq;
    uint32_t version;
};

/* ---- Compiling ---------------------------------------------------------------------------- */

/* Called for each message of libjq; the first one says what is wrong, the others how many there are. */
static void on_error(void *context, jv message)
{
    struct stele_jq *jq = context;
    if (jq->words[0] == '\0' && jv_get_kind(message) == JV_KIND_STRING) {
        (void)snprintf(jq->words, sizeof jq->words, "%s", jv_string_value(message));
    }
    jv_free(message);
}

/* "jq: error: syntax error, … at <top-level>, line 2:\n…": the line, 0 if it has none. Cuts the words
 * down to what is wrong. */
static unsigned take_line(char *words)
{
    static const char prefix[] = "jq: error: ";
    unsigned line = 0;
    if (strncmp(words, prefix, sizeof prefix - 1) == 0) {
        memmove(words, words + sizeof prefix - 1, strlen(words) - (sizeof prefix - 1) + 1);
    }
    char *at = strstr(words, " at <top-level>");
    if (at != NULL) {
        const char *number = strstr(at, "line ");
        line = number != NULL ? (unsigned)strtoul(number + 5, NULL, 10) : 0;
        *at = '\0';
    }
    for (char *c = words; *c != '\0'; c++) {
        *c = *c == '\n' ? ' ' : *c;
    }
    return line;
}

int stele_jq_create(const char *name, const char *program, struct stele_jq **out_jq,
                    struct stele_error *err)
{
    if (name == NULL || program == NULL || out_jq == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_jq_create: an argument is NULL");
    }
    struct stele_jq *jq = calloc(1, sizeof *jq);
    if (jq != NULL) {
        jq->state = jq_init();
    }
    if (jq == NULL || jq->state == NULL) {
        free(jq);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%s: no memory for a jq program", name);
    }
    (void)pthread_mutex_init(&jq->lock, NULL);
    (void)snprintf(jq->name, sizeof jq->name, "%s", name);
    jq_set_error_cb(jq->state, on_error, jq);
    if (jq_compile(jq->state, program) == 0) {
        const unsigned line = take_line(jq->words);
        const int outcome = stele_fail(err, STELE_E_INVALID, 0, "%s:%u: %s", name, line, jq->words);
        stele_jq_destroy(jq);
        return outcome;
    }
    jq->words[0] = '\0';
    *out_jq = jq;
    return STELE_OK;
}

int stele_jq__read(const char *path, char **out_program, struct stele_error *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        const int outcome = errno == ENOENT ? STELE_NOT_FOUND : STELE_E_IO;
        return stele_fail(err, outcome, errno, "%s: the jq program cannot be opened", path);
    }
    char *program = malloc(PROGRAM_SIZE_MAX + 1);
    const size_t size = program != NULL ? fread(program, 1, PROGRAM_SIZE_MAX + 1, file) : 0;
    const int failed = ferror(file);
    (void)fclose(file);
    int outcome = STELE_OK;
    if (program == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%s: no memory for a jq program", path);
    }
    if (failed != 0) {
        outcome = stele_fail(err, STELE_E_IO, 0, "%s: the jq program cannot be read", path);
    } else if (size > PROGRAM_SIZE_MAX) {
        outcome = stele_fail(err, STELE_E_LIMIT, 0, "%s: a jq program has at most %zu bytes", path,
                             PROGRAM_SIZE_MAX);
    } else if (memchr(program, '\0', size) != NULL) {
        outcome = stele_fail(err, STELE_E_INVALID, 0, "%s: is no text, but has a zero byte", path);
    }
    if (outcome != STELE_OK) {
        free(program);
        return outcome;
    }
    program[size] = '\0';
    *out_program = program;
    return STELE_OK;
}

int stele_jq_open(const char *path, struct stele_jq **out_jq, struct stele_error *err)
{
    char *program = NULL;
    int outcome = stele_jq__read(path, &program, err);
    if (outcome == STELE_OK) {
        outcome = stele_jq_create(path, program, out_jq, err);
        free(program);
    }
    return outcome;
}

void stele_jq_destroy(struct stele_jq *jq)
{
    if (jq != NULL) {
        jq_teardown(&jq->state);
        while (jq->uses != NULL) {
            struct use *next = jq->uses->next;
            free(jq->uses);
            jq->uses = next;
        }
        (void)pthread_mutex_destroy(&jq->lock);
        free(jq);
    }
}

void stele_jq_last_error(struct stele_jq *jq, char *buffer, size_t size)
{
    if (jq == NULL || (buffer == NULL && size > 0)) {
        return;
    }
    (void)pthread_mutex_lock(&jq->lock);
    (void)snprintf(buffer, size, "%s", jq->words);
    (void)pthread_mutex_unlock(&jq->lock);
}

/* ---- Running ------------------------------------------------------------------------------ */

jv stele_jq__parse(const void *data, size_t size)
{
    if (size == 0 || size > INT32_MAX) {
        return jv_null();
    }
    const jv value = jv_parse_sized(data, (int)size);
    if (jv_is_valid(value)) {
        return value;
    }
    jv_free(value);
    return jv_null();
}

static jv text_of(struct stele_text text)
{
    return jv_string_sized(text.data, (int)text.size);
}

static jv input_of(const struct stele_event *event, uint32_t version)
{
    jv input = jv_object();
    input = jv_object_set(input, jv_string("type"), text_of(event->type));
    input = jv_object_set(input, jv_string("version"), jv_number(version));
    input = jv_object_set(input, jv_string("stream"), text_of(event->stream));
    input = jv_object_set(input, jv_string("revision"), jv_number((double)event->revision));
    input = jv_object_set(input, jv_string("data"), stele_jq__parse(event->data, event->data_size));
    return jv_object_set(input, jv_string("metadata"),
                         stele_jq__parse(event->metadata, event->metadata_size));
}

static int fail(struct stele_jq *jq, int outcome, const char *what)
{
    (void)snprintf(jq->words, sizeof jq->words, "%s: %s", jq->name, what);
    return outcome;
}

/* A member of what the program gave, as text in memory; nothing if it is absent or null. */
static int take_json(jv output, const char *name, struct stele_memory *memory, const void **data,
                     size_t *size)
{
    const jv value = jv_object_get(jv_copy(output), jv_string(name));
    if (!jv_is_valid(value) || jv_get_kind(value) == JV_KIND_NULL) {
        jv_free(value);
        return STELE_OK;
    }
    const jv text = jv_dump_string(value, 0);
    const size_t length = (size_t)jv_string_length_bytes(jv_copy(text));
    const void *copy = stele_memory_copy(memory, jv_string_value(text), length);
    jv_free(text);
    if (copy == NULL) {
        return STELE_E_NO_MEMORY;
    }
    *data = copy;
    *size = length;
    return STELE_OK;
}

static int take_type(struct stele_jq *jq, jv output, struct stele_memory *memory,
                     struct stele_text *type)
{
    const jv value = jv_object_get(jv_copy(output), jv_string("type"));
    int outcome = STELE_OK;
    if (jv_get_kind(value) == JV_KIND_STRING) {
        const size_t size = (size_t)jv_string_length_bytes(jv_copy(value));
        type->data = stele_memory_copy(memory, jv_string_value(value), size);
        type->size = size;
        outcome = type->data != NULL ? STELE_OK : STELE_E_NO_MEMORY;
    } else if (jv_is_valid(value)) {
        outcome = fail(jq, STELE_E_INVALID, "the type that it gave is no text");
    }
    jv_free(value);
    return outcome;
}

static uint32_t take_version(jv output)
{
    const jv value = jv_object_get(jv_copy(output), jv_string("version"));
    const double number = jv_get_kind(value) == JV_KIND_NUMBER ? jv_number_value(value) : 0;
    jv_free(value);
    return number >= 1 && number <= UINT32_MAX ? (uint32_t)number : 0;
}

static int emit(struct stele_jq *jq, uint32_t version, const struct stele_event *event, jv output,
                struct stele_upcast *upcast)
{
    if (jv_get_kind(output) != JV_KIND_OBJECT) {
        return fail(jq, STELE_E_INVALID, "it gave something that is no object");
    }
    struct stele_memory *memory = stele_upcast_memory(upcast);
    struct stele_event changed = *event;
    int outcome = take_type(jq, output, memory, &changed.type);
    if (outcome == STELE_OK) {
        outcome = take_json(output, "data", memory, &changed.data, &changed.data_size);
    }
    if (outcome == STELE_OK) {
        outcome = take_json(output, "metadata", memory, &changed.metadata, &changed.metadata_size);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const int same = changed.type.size == event->type.size &&
                     memcmp(changed.type.data, event->type.data, changed.type.size) == 0;
    uint32_t given = take_version(output);
    if (same != 0 && version > 0 && given <= version) {
        given = version + 1;
    } else if (same == 0 && given == version) {
        given = 0; /* The input's version, handed on: it means nothing for another type. */
    }
    return stele_upcast_emit(upcast, &changed, given);
}

jv stele_jq__message(jv invalid)
{
    const jv message = jv_invalid_get_msg(invalid);
    return jv_get_kind(message) == JV_KIND_STRING ? message : jv_dump_string(message, 0);
}

static int run(struct stele_jq *jq, uint32_t version, const struct stele_event *event,
               struct stele_upcast *upcast)
{
    int outcome = STELE_OK;
    jq->words[0] = '\0';
    jq_start(jq->state, input_of(event, version), 0);
    jv output = jq_next(jq->state);
    while (jv_is_valid(output) && outcome == STELE_OK) {
        outcome = emit(jq, version, event, output, upcast);
        jv_free(output);
        output = outcome == STELE_OK ? jq_next(jq->state) : jv_invalid();
    }
    if (outcome == STELE_OK && jv_invalid_has_msg(jv_copy(output)) != 0) {
        const jv message = stele_jq__message(output);
        outcome = fail(jq, STELE_E_INVALID, jv_string_value(message));
        jv_free(message);
    } else {
        jv_free(output);
    }
    return outcome;
}

static int upcast_by(void *context, const struct stele_event *event, struct stele_upcast *upcast)
{
    const struct use *use = context;
    (void)pthread_mutex_lock(&use->jq->lock);
    const int outcome = run(use->jq, use->version, event, upcast);
    (void)pthread_mutex_unlock(&use->jq->lock);
    return outcome;
}

/* ---- On JSON ------------------------------------------------------------------------------- */

static int run_on(struct stele_jq *jq, jv take_input, stele_jq_callback on_result, void *context,
                  struct stele_error *err)
{
    int outcome = STELE_OK;
    jq_start(jq->state, take_input, 0);
    jv output = jq_next(jq->state);
    while (jv_is_valid(output) && outcome == STELE_OK) {
        const jv text = jv_dump_string(output, 0);
        outcome = on_result(context, jv_string_value(text),
                            (size_t)jv_string_length_bytes(jv_copy(text)));
        jv_free(text);
        output = outcome == STELE_OK ? jq_next(jq->state) : jv_invalid();
    }
    if (outcome == STELE_OK && jv_invalid_has_msg(jv_copy(output)) != 0) {
        const jv message = stele_jq__message(output);
        outcome = stele_fail(err, STELE_E_INVALID, 0, "%s: %s", jq->name, jv_string_value(message));
        jv_free(message);
        return outcome;
    }
    jv_free(output);
    return outcome;
}

int stele_jq_run(struct stele_jq *jq, const void *json, size_t size, stele_jq_callback on_result,
                 void *context, struct stele_error *err)
{
    if (jq == NULL || (json == NULL && size > 0)) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_jq_run: an argument is NULL");
    }
    const jv input = size <= INT32_MAX ? jv_parse_sized(json, (int)size) : jv_invalid();
    if (!jv_is_valid(input)) {
        jv_free(input);
        return stele_fail(err, STELE_E_INVALID, 0, "%s: what it is given is no JSON", jq->name);
    }
    (void)pthread_mutex_lock(&jq->lock);
    const int outcome = run_on(jq, input, on_result, context, err);
    (void)pthread_mutex_unlock(&jq->lock);
    return outcome;
}

int stele_jq_run_event(struct stele_jq *jq, const struct stele_event *event,
                       stele_jq_callback on_result, void *context, struct stele_error *err)
{
    if (jq == NULL || event == NULL || on_result == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_jq_run_event: an argument is NULL");
    }
    (void)pthread_mutex_lock(&jq->lock);
    const int outcome = run_on(jq, stele_jq__event(event), on_result, context, err);
    (void)pthread_mutex_unlock(&jq->lock);
    return outcome;
}

int stele_jq_upcaster(struct stele_jq *jq, const char *type, uint32_t version,
                      struct stele_upcaster *out_upcaster)
{
    if (jq == NULL || out_upcaster == NULL) {
        return STELE_E_INVALID;
    }
    struct use *use = malloc(sizeof *use);
    if (use == NULL) {
        return STELE_E_NO_MEMORY;
    }
    (void)pthread_mutex_lock(&jq->lock);
    *use = (struct use){.next = jq->uses, .jq = jq, .version = version};
    jq->uses = use;
    (void)pthread_mutex_unlock(&jq->lock);
    *out_upcaster = (struct stele_upcaster){
        .struct_size = sizeof *out_upcaster,
        .type = type,
        .version = version,
        .context = use,
        .upcast = upcast_by,
    };
    return STELE_OK;
}
