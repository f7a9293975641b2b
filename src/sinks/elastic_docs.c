/* Documents that a projection in jq makes of events, as lines of a bulk request.
 *
 * Every line carries the event's position as an external version: the server keeps the document of the
 * latest event and refuses older ones, so that lines may be sent any number of times. */
#include "base/text.h"
#include "sinks/elastic.h"

#include <jq.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_SIZE_MAX 512 /* Elasticsearch's own bound. */

struct stele_sinks_elastic_docs {
    const struct stele_projection *projection;
    jq_state **programs; /* As many as there are sections, and @tables behind them. */
    size_t count;
    char words[300]; /* What jq said last. */
};

static void on_error(void *context, jv message)
{
    struct stele_sinks_elastic_docs *const docs = context;
    if (docs->words[0] == '\0' && jv_get_kind(message) == JV_KIND_STRING) {
        (void)snprintf(docs->words, sizeof docs->words, "%.290s", jv_string_value(message));
    }
    jv_free(message);
}

/* "jq: error: syntax error, … at <top-level>, line 2:": what is wrong, and the line. */
static unsigned take_line(char *words, unsigned otherwise)
{
    static const char prefix[] = "jq: error: ";
    unsigned line = otherwise;
    if (strncmp(words, prefix, sizeof prefix - 1) == 0) {
        memmove(words, words + sizeof prefix - 1, strlen(words) - (sizeof prefix - 1) + 1);
    }
    char *const at = strstr(words, " at <top-level>");
    if (at != NULL) {
        const char *const number = strstr(at, "line ");
        line = number != NULL ? (unsigned)strtoul(number + 5, NULL, 10) : otherwise;
        *at = '\0';
    }
    for (char *c = words; *c != '\0'; c++) {
        *c = *c == '\n' ? ' ' : *c;
    }
    return line;
}

/* As many empty lines stand before the program as before it in the file, so that jq counts right. */
static int compile(struct stele_sinks_elastic_docs *docs, const struct stele_script *script,
                   jq_state **out_program, struct stele_error *err)
{
    const size_t before = script->line > 0 ? script->line - 1 : 0;
    char *const text = malloc(before + script->text.size + 1);
    jq_state *program = text != NULL ? jq_init() : NULL;
    if (program == NULL) {
        free(text);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%.80s: no memory", docs->projection->file);
    }
    memset(text, '\n', before);
    memcpy(text + before, script->text.data, script->text.size);
    text[before + script->text.size] = '\0';
    docs->words[0] = '\0';
    jq_set_error_cb(program, on_error, docs);
    const int good = jq_compile(program, text);
    free(text);
    if (good == 0) {
        const unsigned line = take_line(docs->words, script->line);
        jq_teardown(&program);
        return stele_fail(err, STELE_E_INVALID, 0, "%.80s:%u: %s", docs->projection->file, line,
                          docs->words);
    }
    *out_program = program;
    return STELE_OK;
}

int stele_sinks__elastic_docs_create(const struct stele_projection *projection,
                                     struct stele_sinks_elastic_docs **out_docs,
                                     struct stele_error *err)
{
    struct stele_sinks_elastic_docs *const docs = calloc(1, sizeof *docs);
    int outcome = STELE_OK;
    if (docs != NULL) {
        docs->projection = projection;
        docs->count = projection->sections_count + 1;
        docs->programs = calloc(docs->count, sizeof(jq_state *));
    }
    if (docs == NULL || docs->programs == NULL) {
        free(docs);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%.80s: no memory", projection->file);
    }
    for (size_t i = 0; i < projection->sections_count && outcome == STELE_OK; i++) {
        outcome = compile(docs, &projection->sections[i].script, &docs->programs[i], err);
    }
    if (outcome == STELE_OK && projection->setup.text.size > 0 && !projection->setup.is_empty) {
        outcome = compile(docs, &projection->setup, &docs->programs[docs->count - 1], err);
    }
    if (outcome != STELE_OK) {
        stele_sinks__elastic_docs_destroy(docs);
        return outcome;
    }
    *out_docs = docs;
    return STELE_OK;
}

void stele_sinks__elastic_docs_destroy(struct stele_sinks_elastic_docs *docs)
{
    for (size_t i = 0; docs != NULL && i < docs->count; i++) {
        if (docs->programs[i] != NULL) {
            jq_teardown(&docs->programs[i]);
        }
    }
    if (docs != NULL) {
        free((void *)docs->programs);
        free(docs);
    }
}

/* The words of a program that ended with an error. */
static int program_failed(const struct stele_sinks_elastic_docs *docs, jv problem, uint32_t line,
                          struct stele_error *err)
{
    jv message = jv_invalid_get_msg(problem);
    const int outcome = stele_fail(
        err, STELE_E_INVALID, 0, "%.80s:%u: %.300s", docs->projection->file, (unsigned)line,
        jv_get_kind(message) == JV_KIND_STRING ? jv_string_value(message) : "error");
    jv_free(message);
    return outcome;
}

int stele_sinks__elastic_docs_setup(struct stele_sinks_elastic_docs *docs, char **out_body,
                                    struct stele_error *err)
{
    jq_state *const program = docs->programs[docs->count - 1];
    jv body = jv_object();
    if (program != NULL) {
        jv_free(body);
        jq_start(program, jv_null(), 0);
        body = jq_next(program);
    }
    if (!jv_is_valid(body)) {
        return program_failed(docs, body, docs->projection->setup.line, err);
    }
    if (jv_get_kind(body) != JV_KIND_OBJECT) {
        jv_free(body);
        return stele_fail(err, STELE_E_INVALID, 0, "%.80s:%u: behind @tables stands one object",
                          docs->projection->file, (unsigned)docs->projection->setup.line);
    }
    jv text = jv_dump_string(body, 0);
    *out_body = strdup(jv_string_value(text));
    jv_free(text);
    return *out_body != NULL ? STELE_OK
                             : stele_fail(err, STELE_E_NO_MEMORY, 0, "make an index: no memory");
}

/* ---- An event ---- */

static jv text_of(const char *bytes, size_t size)
{
    return jv_string_sized(bytes != NULL ? bytes : "", (int)size);
}

static jv json_of(const void *bytes, size_t size)
{
    return size > 0 ? jv_parse_sized(bytes, (int)size) : jv_null();
}

/* The input of a program. Invalid: the data or metadata are no JSON. */
static jv input_of(const struct stele_event *event)
{
    char text[40];
    jv data =
        (event->flags & STELE_EVENT_JSON) != 0 ? json_of(event->data, event->data_size) : jv_null();
    jv metadata = json_of(event->metadata, event->metadata_size);
    if (!jv_is_valid(data) || !jv_is_valid(metadata)) {
        jv_free(data);
        jv_free(metadata);
        return jv_invalid_with_msg(jv_string("the data or the metadata are no JSON"));
    }
    jv input = jv_object();
    input = jv_object_set(input, jv_string("data"), data);
    input = jv_object_set(input, jv_string("metadata"), metadata);
    input =
        jv_object_set(input, jv_string("stream"), text_of(event->stream.data, event->stream.size));
    input = jv_object_set(input, jv_string("type"), text_of(event->type.data, event->type.size));
    input = jv_object_set(input, jv_string("revision"), jv_number((double)event->revision));
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)event->position);
    input = jv_object_set(input, jv_string("position"), jv_string(text));
    stele_id_to_text(event->id, text);
    input = jv_object_set(input, jv_string("id"), jv_string(text));
    if (!stele_time_format(event->created_us, 6, text)) {
        text[0] = '\0';
    }
    return jv_object_set(input, jv_string("created"), jv_string(text));
}

struct lines {
    struct stele_alloc *alloc;
    struct stele_buf *buf;
    const char *index;
    uint64_t position;
    size_t items;
};

static int put_line(struct lines *lines, jv object)
{
    jv text = jv_dump_string(object, 0);
    const struct stele_bytes bytes = {.data = (const uint8_t *)jv_string_value(text),
                                      .size = (size_t)jv_string_length_bytes(jv_copy(text))};
    int outcome = stele_buf_append(lines->buf, lines->alloc, bytes);
    jv_free(text);
    if (outcome == STELE_OK) {
        outcome = stele_buf_append(lines->buf, lines->alloc,
                                   (struct stele_bytes){.data = (const uint8_t *)"\n", .size = 1});
    }
    return outcome;
}

/* The version does not go through jq's numbers, which have 53 bits. */
static int put_action(struct lines *lines, const char *action, jv id)
{
    char begin[200];
    jv text = jv_dump_string(id, 0);
    (void)snprintf(begin, sizeof begin,
                   "{\"%s\":{\"_index\":\"%.100s\",\"version\":%llu,\"version_type\":"
                   "\"external_gte\",\"_id\":",
                   action, lines->index, (unsigned long long)lines->position);
    int outcome = stele_buf_append(lines->buf, lines->alloc, stele_bytes_of_text(begin));
    if (outcome == STELE_OK) {
        outcome =
            stele_buf_append(lines->buf, lines->alloc, stele_bytes_of_text(jv_string_value(text)));
    }
    jv_free(text);
    return outcome == STELE_OK
               ? stele_buf_append(lines->buf, lines->alloc, stele_bytes_of_text("}}\n"))
               : outcome;
}

/* {"id": …, "doc": {…}} or {"id": …, "delete": true} */
static int put_output(const struct stele_sinks_elastic_docs *docs, struct lines *lines, jv output,
                      uint32_t line, struct stele_error *err)
{
    jv id = jv_null();
    jv doc = jv_null();
    jv gone = jv_null();
    if (jv_get_kind(output) == JV_KIND_OBJECT) {
        id = jv_object_get(jv_copy(output), jv_string("id"));
        doc = jv_object_get(jv_copy(output), jv_string("doc"));
        gone = jv_object_get(jv_copy(output), jv_string("delete"));
    }
    jv_free(output);
    const bool deletes = jv_get_kind(gone) == JV_KIND_TRUE;
    const size_t id_size =
        jv_get_kind(id) == JV_KIND_STRING ? (size_t)jv_string_length_bytes(jv_copy(id)) : 0;
    int outcome = STELE_OK;
    if (id_size == 0 || id_size > ID_SIZE_MAX || (!deletes && jv_get_kind(doc) != JV_KIND_OBJECT)) {
        outcome = stele_fail(err, STELE_E_INVALID, 0,
                             "%.80s:%u: a section gives {\"id\": …, \"doc\": {…}} or {\"id\": …, "
                             "\"delete\": true}; an id is a text of 1 to %d bytes",
                             docs->projection->file, (unsigned)line, ID_SIZE_MAX);
    }
    if (outcome == STELE_OK) {
        outcome = put_action(lines, deletes ? "delete" : "index", jv_copy(id));
    }
    if (outcome == STELE_OK && !deletes) {
        outcome = put_line(lines, jv_copy(doc));
    }
    lines->items += outcome == STELE_OK ? 1 : 0;
    jv_free(id);
    jv_free(doc);
    jv_free(gone);
    return outcome;
}

static int run_section(struct stele_sinks_elastic_docs *docs, size_t number, jv input,
                       struct lines *lines, struct stele_error *err)
{
    const uint32_t line = docs->projection->sections[number].script.line;
    jq_state *const program = docs->programs[number];
    int outcome = STELE_OK;
    jq_start(program, input, 0);
    jv output = jq_next(program);
    while (outcome == STELE_OK && jv_is_valid(output)) {
        outcome = put_output(docs, lines, output, line, err);
        output = jq_next(program);
    }
    if (outcome == STELE_OK && jv_invalid_has_msg(jv_copy(output))) {
        return program_failed(docs, output, line, err);
    }
    jv_free(output);
    return outcome;
}

int stele_sinks__elastic_docs_add(struct stele_sinks_elastic_docs *docs,
                                  const struct stele_event *event, bool replay, const char *index,
                                  struct stele_alloc *alloc, struct stele_buf *lines,
                                  size_t *out_items, struct stele_error *err)
{
    const struct stele_projection *const projection = docs->projection;
    const size_t before = lines->size;
    struct lines to = {.alloc = alloc, .buf = lines, .index = index, .position = event->position};
    jv input = input_of(event);
    if (!jv_is_valid(input)) {
        return program_failed(docs, input, projection->sections[0].script.line, err);
    }
    int outcome = STELE_OK;
    for (size_t i = 0; i < projection->sections_count && outcome == STELE_OK; i++) {
        const struct stele_section *const section = &projection->sections[i];
        if (stele_section_wants(section, event->type) && !(replay && section->effect)) {
            outcome = run_section(docs, i, jv_copy(input), &to, err);
        }
    }
    jv_free(input);
    if (outcome != STELE_OK) {
        lines->size = before;
        return outcome == STELE_E_NO_MEMORY
                   ? stele_fail(err, outcome, 0, "projection %s: no memory", projection->name)
                   : outcome;
    }
    *out_items = to.items;
    return STELE_OK;
}
