/* Reads a JSON line into an event.
 *
 * jansson decides whether the line is JSON and what its members are. It does not say where in the
 * line a member stands, which is what keeps data as it was written; that is found by walking over
 * a text that is known to be valid, which needs no parser: only strings and brackets matter. */
#include "cli/cli.h"
#include "cli/event.h"
#include "cli/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The place of a member ---- */

static size_t skip_space(struct stele_text json, size_t at)
{
    while (at < json.size && memchr(" \t\r\n", json.data[at], 4) != NULL) {
        at++;
    }
    return at;
}

/* at: an opening quote. The place behind the closing one. */
static size_t skip_string(struct stele_text json, size_t at)
{
    at++;
    while (at < json.size && json.data[at] != '"') {
        at += json.data[at] == '\\' ? 2 : 1;
    }
    return at + 1;
}

static size_t skip_value(struct stele_text json, size_t at)
{
    size_t depth = 0;
    while (at < json.size) {
        const char byte = json.data[at];
        if (byte == '"') {
            at = skip_string(json, at);
        } else if (byte == '{' || byte == '[') {
            depth++;
            at++;
        } else if (byte == '}' || byte == ']') {
            if (depth == 0) {
                return at; /* The end of what the value stands in. */
            }
            depth--;
            at++;
        } else if (depth == 0 && memchr(", \t\r\n", byte, 5) != NULL) {
            return at;
        } else {
            at++;
        }
        if (depth == 0 && (byte == '"' || byte == '}' || byte == ']')) {
            return at;
        }
    }
    return at;
}

struct stele_text stele_cli_json_member(struct stele_text object, const char *name)
{
    struct stele_text found = {NULL, 0};
    size_t at = skip_space(object, 0) + 1;
    while (at < object.size) {
        at = skip_space(object, at);
        if (at >= object.size || object.data[at] != '"') {
            return found; /* The closing brace. */
        }
        const size_t name_at = at + 1;
        at = skip_string(object, at);
        const struct stele_text member = {object.data + name_at, at - 1 - name_at};
        at = skip_space(object, at) + 1; /* The colon. */
        at = skip_space(object, at);
        const size_t value_at = at;
        at = skip_value(object, at);
        if (stele_cli_text_is(member, name)) {
            found = (struct stele_text){object.data + value_at, at - value_at};
        }
        at = skip_space(object, at) + 1; /* The comma. */
    }
    return found;
}

/* ---- Shared by both forms ---- */

bool stele_cli_reader_fail(struct stele_cli_reader *reader, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reader->mistake->text, sizeof reader->mistake->text, format, args);
    va_end(args);
    reader->mistake->column = 0;
    return false;
}

bool stele_cli_reader_text(struct stele_cli_reader *reader, const char *member, const char **out)
{
    const json_t *const value = json_object_get(reader->object, member);
    if (value == NULL || json_is_null(value)) {
        return true;
    }
    if (!json_is_string(value)) {
        return stele_cli_reader_fail(reader, "\"%s\" is no string; put it in quotes", member);
    }
    const char *const text = json_string_value(value);
    const size_t size = json_string_length(value);
    if (strlen(text) != size) {
        return stele_cli_reader_fail(reader, "\"%s\" has a zero byte (\\u0000); leave it out",
                                     member);
    }
    *out = stele_cli_arena_copy(reader->arena, text, size);
    return true;
}

static bool read_base64(struct stele_cli_reader *reader, const char *member, const json_t *value,
                        const void **out_data, size_t *out_size)
{
    const struct stele_text text = {json_string_value(value), json_string_length(value)};
    if (!json_is_string(value)) {
        return stele_cli_reader_fail(reader, "\"%s\" is no string; write base64 in quotes", member);
    }
    uint8_t *const data =
        stele_cli_arena_alloc(reader->arena, stele_base64_decoded_size_max(text.size));
    if (!stele_base64_decode(stele_cli_bytes(text), 0, data, out_size)) {
        return stele_cli_reader_fail(
            reader, "\"%s\" is no base64; use the alphabet of RFC 4648, section 4, with padding",
            member);
    }
    *out_data = data;
    return true;
}

bool stele_cli_reader_data(struct stele_cli_reader *reader, const char *member,
                           const char *base64_member, const char *content_type,
                           const void **out_data, size_t *out_size)
{
    const json_t *const value = json_object_get(reader->object, member);
    const json_t *const base64 = json_object_get(reader->object, base64_member);
    if (value != NULL && base64 != NULL) {
        return stele_cli_reader_fail(reader, "\"%s\" and \"%s\" exclude each other; keep one",
                                     member, base64_member);
    }
    if (base64 != NULL) {
        return read_base64(reader, base64_member, base64, out_data, out_size);
    }
    if (value == NULL) {
        return true;
    }
    if (stele_cli_is_json_type(stele_cli_text(content_type))) {
        const struct stele_text json = stele_cli_json_member(reader->line, member);
        if (json.size == 0) {
            return stele_cli_reader_fail(reader,
                                         "the name \"%s\" is written with escapes; "
                                         "write it out",
                                         member);
        }
        *out_data = stele_cli_arena_copy(reader->arena, json.data, json.size);
        *out_size = json.size;
        return true;
    }
    if (!json_is_string(value)) {
        return stele_cli_reader_fail(
            reader, "\"%s\" has to be a string for the content type %.100s; or use \"%s\"", member,
            content_type, base64_member);
    }
    *out_data =
        stele_cli_arena_copy(reader->arena, json_string_value(value), json_string_length(value));
    *out_size = json_string_length(value);
    return true;
}

bool stele_cli_reader_tags(struct stele_cli_reader *reader, const json_t *tags)
{
    if (tags == NULL || json_is_null(tags)) {
        return true;
    }
    if (!json_is_array(tags)) {
        return stele_cli_reader_fail(reader, "\"tags\" is no list; write [\"one\",\"two\"]");
    }
    const size_t count = json_array_size(tags);
    const char **const copies = stele_cli_arena_alloc(reader->arena, count * sizeof *copies);
    for (size_t i = 0; i < count; i++) {
        const json_t *const tag = json_array_get(tags, i);
        const char *const text = json_string_value(tag);
        if (text == NULL || strlen(text) != json_string_length(tag) || *text == '\0') {
            return stele_cli_reader_fail(reader, "\"tags\" has something that is no name; every "
                                                 "tag is a string that is not empty");
        }
        copies[i] = stele_cli_arena_copy(reader->arena, text, json_string_length(tag));
    }
    reader->input->draft.tags = copies;
    reader->input->draft.tags_count = count;
    return true;
}

/* A number: what export writes for years that a date of four digits cannot say. */
static bool read_microseconds(struct stele_cli_reader *reader, const char *member)
{
    const struct stele_text text = stele_cli_json_member(reader->line, member);
    const char *const copy = stele_cli_arena_copy(reader->arena, text.data, text.size);
    char *end = NULL;
    errno = 0;
    const long long created_us = strtoll(copy, &end, 10);
    if (errno != 0 || end == copy || *end != '\0') {
        return stele_cli_reader_fail(
            reader, "\"%s\" is no whole number of microseconds since 1970; or write a time",
            member);
    }
    reader->input->draft.created_us = created_us != 0 ? created_us : 1;
    return true;
}

bool stele_cli_reader_time(struct stele_cli_reader *reader, const char *member)
{
    const json_t *const value = json_object_get(reader->object, member);
    int64_t *const created_us = &reader->input->draft.created_us;
    if (value == NULL || json_is_null(value)) {
        return true;
    }
    if (json_is_number(value)) {
        return read_microseconds(reader, member);
    }
    if (!json_is_string(value) || !stele_time_parse(json_string_value(value), created_us)) {
        return stele_cli_reader_fail(
            reader, "\"%s\" is no time; write \"2026-11-20T15:00:00Z\" (RFC 3339)", member);
    }
    /* 0 asks the library for the present time. An event of 1970-01-01T00:00:00Z, which is what a
     * missing time often looks like, keeps its time to a microsecond. */
    *created_us = *created_us == 0 ? 1 : *created_us;
    return true;
}

bool stele_cli_id_parse(const char *text, uint8_t id[16])
{
    /* All zeros ask the library to make one, which is not what somebody who wrote them meant. */
    static const uint8_t zeros[16];
    return stele_id_from_text(text, id) == STELE_OK && memcmp(id, zeros, sizeof zeros) != 0;
}

/* ---- JSON lines ---- */

static bool read_id(struct stele_cli_reader *reader)
{
    const char *text = NULL;
    if (!stele_cli_reader_text(reader, "id", &text)) {
        return false;
    }
    if (text == NULL) {
        return true;
    }
    if (!stele_cli_id_parse(text, reader->input->draft.id)) {
        return stele_cli_reader_fail(
            reader, "\"id\" is no UUID; write 01234567-89ab-7def-8123-456789abcdef, or leave it "
                    "out");
    }
    reader->input->has_id = true;
    return true;
}

static bool check_members(struct stele_cli_reader *reader)
{
    static const char *const known[] = {
        "stream",    "revision",     "position",    "id",       "type", "created",
        "data",      "content_type", "data_base64", "metadata", "tags", "metadata_base64",
        "tombstone",
    };
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(reader->object, name, value)
    {
        bool found = false;
        for (size_t i = 0; i < STELE_COUNT_OF(known); i++) {
            found = found || strcmp(name, known[i]) == 0;
        }
        if (!found) {
            return stele_cli_reader_fail(
                reader, "the member \"%.60s\" means nothing; put your own into data or metadata",
                name);
        }
    }
    return true;
}

static bool read_json_line(struct stele_cli_reader *reader)
{
    struct stele_cli_input *const input = reader->input;
    const char *content_type = NULL;
    if (!check_members(reader) || !stele_cli_reader_text(reader, "stream", &input->stream) ||
        !stele_cli_reader_text(reader, "type", &input->draft.type) ||
        !stele_cli_reader_text(reader, "content_type", &content_type) || !read_id(reader) ||
        !stele_cli_reader_time(reader, "created") ||
        !stele_cli_reader_tags(reader, json_object_get(reader->object, "tags"))) {
        return false;
    }
    input->draft.content_type = content_type;
    input->tombstone = json_is_true(json_object_get(reader->object, "tombstone"));
    return stele_cli_reader_data(reader, "data", "data_base64",
                                 content_type != NULL ? content_type : "application/json",
                                 &input->draft.data, &input->draft.data_size) &&
           stele_cli_reader_data(reader, "metadata", "metadata_base64", "application/json",
                                 &input->draft.metadata, &input->draft.metadata_size);
}

static bool check_sizes(struct stele_cli_reader *reader)
{
    const struct stele_event_draft *const draft = &reader->input->draft;
    if (draft->type == NULL || *draft->type == '\0') {
        return stele_cli_reader_fail(reader, "\"type\" is missing; every event says what happened");
    }
    if (reader->input->stream != NULL && *reader->input->stream == '\0') {
        return stele_cli_reader_fail(reader, "\"stream\" is empty; name the stream");
    }
    return true;
}

bool stele_cli_event_read(struct stele_text line, struct stele_cli_arena *arena,
                          struct stele_cli_input *out_input, struct stele_cli_mistake *out_mistake)
{
    *out_input = (struct stele_cli_input){.stream = NULL};
    *out_mistake = (struct stele_cli_mistake){.column = 0};
    json_error_t error;
    /* INT_AS_REAL: numbers of any size may stand in data, which is not taken from here. */
    json_t *const object = json_loadb(
        line.data, line.size, JSON_ALLOW_NUL | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error);
    struct stele_cli_reader reader = {line, object, arena, out_input, out_mistake};
    if (object == NULL) {
        (void)stele_cli_reader_fail(&reader, "%.200s; give one JSON object a line", error.text);
        out_mistake->column = error.column;
        return false;
    }
    bool good = false;
    if (!json_is_object(object)) {
        (void)stele_cli_reader_fail(&reader, "it is JSON, but no object; give one object a line");
    } else if (json_object_get(object, "specversion") != NULL) {
        good = stele_cli_event_read_cloudevent(&reader);
    } else {
        good = read_json_line(&reader);
    }
    good = good && check_sizes(&reader);
    json_decref(object);
    return good;
}

int stele_cli_bad_line(const char *name, uint64_t number, const struct stele_cli_mistake *mistake)
{
    json_t *const details = json_object();
    (void)json_object_set_new(details, "file", json_string(name));
    (void)json_object_set_new(details, "line", json_integer((json_int_t)number));
    if (mistake->column == 0) {
        return stele_cli_fail_with(details, STELE_CLI_INPUT, "input", "%s:%llu: %s", name,
                                   (unsigned long long)number, mistake->text);
    }
    (void)json_object_set_new(details, "column", json_integer(mistake->column));
    return stele_cli_fail_with(details, STELE_CLI_INPUT, "input", "%s:%llu:%d: no JSON: %s", name,
                               (unsigned long long)number, mistake->column, mistake->text);
}

bool stele_cli_is_blank(struct stele_text line)
{
    return skip_space(line, 0) == line.size;
}
