/* The script that Redis runs for a projection: redis_begin.lua, the sections of the file as functions,
 * redis_end.lua. */
#include "sinks/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int put(struct stele_sinks_redis *sink, const void *bytes, size_t size)
{
    return stele_buf_append(&sink->script, sink->alloc,
                            (struct stele_bytes){.data = bytes, .size = size});
}

static int put_text(struct stele_sinks_redis *sink, const char *text)
{
    return put(sink, text, strlen(text));
}

/* "[[TYPE]]" with as many = as it takes: nothing in a type ends it. */
static int put_type(struct stele_sinks_redis *sink, struct stele_text type)
{
    int outcome = put_text(sink, "['");
    for (size_t i = 0; i < type.size && outcome == STELE_OK; i++) {
        char escaped[8];
        (void)snprintf(escaped, sizeof escaped, "\\%03u", (unsigned char)type.data[i]);
        outcome = put_text(sink, escaped);
    }
    return outcome == STELE_OK ? put_text(sink, "']") : outcome;
}

static int put_section(struct stele_sinks_redis *sink, size_t index)
{
    const struct stele_section *const section = &sink->projection->sections[index];
    char text[120];
    (void)snprintf(text, sizeof text, "sections[%zu] = {effect = %s, run = function(event)\n",
                   index + 1, section->effect ? "true" : "false");
    int outcome = put_text(sink, text);
    if (outcome == STELE_OK) {
        outcome = put(sink, section->script.text.data, section->script.text.size);
    }
    return outcome == STELE_OK ? put_text(sink, "\nend}\n") : outcome;
}

/* The sections that run for a type, in the order of the file. NULL data: for one that none names. */
static int put_route(struct stele_sinks_redis *sink, struct stele_text type)
{
    const struct stele_projection *const projection = sink->projection;
    int outcome = put_text(sink, "{");
    for (size_t i = 0; i < projection->sections_count && outcome == STELE_OK; i++) {
        const struct stele_section *const section = &projection->sections[i];
        if (type.data != NULL ? stele_section_wants(section, type) : section->types_count == 0) {
            char number[24];
            (void)snprintf(number, sizeof number, "%zu,", i + 1);
            outcome = put_text(sink, number);
        }
    }
    return outcome == STELE_OK ? put_text(sink, "}") : outcome;
}

static int put_routes(struct stele_sinks_redis *sink)
{
    const struct stele_projection *const projection = sink->projection;
    int outcome = put_text(sink, "of_every = ");
    if (outcome == STELE_OK) {
        outcome = put_route(sink, (struct stele_text){.data = NULL});
    }
    if (outcome == STELE_OK) {
        outcome = put_text(sink, " of_type = {");
    }
    for (size_t i = 0; i < projection->sections_count && outcome == STELE_OK; i++) {
        const struct stele_section *const section = &projection->sections[i];
        for (size_t j = 0; j < section->types_count && outcome == STELE_OK; j++) {
            outcome = put_type(sink, section->types[j]);
            if (outcome == STELE_OK) {
                outcome = put_text(sink, " = ");
            }
            if (outcome == STELE_OK) {
                outcome = put_route(sink, section->types[j]);
            }
            if (outcome == STELE_OK) {
                outcome = put_text(sink, ",");
            }
        }
    }
    return outcome == STELE_OK ? put_text(sink, "}\n") : outcome;
}

int stele_sinks__redis_write_script(struct stele_sinks_redis *sink, struct stele_error *err)
{
    sink->script.size = 0;
    int outcome = put_text(sink, "local of_every, of_type\n");
    if (outcome == STELE_OK) {
        outcome = put(sink, stele_sinks__redis_begin, stele_sinks__redis_begin_size);
    }
    for (size_t i = 0; i < sink->projection->sections_count && outcome == STELE_OK; i++) {
        outcome = put_section(sink, i);
    }
    if (outcome == STELE_OK) {
        outcome = put_routes(sink);
    }
    if (outcome == STELE_OK) {
        outcome = put(sink, stele_sinks__redis_end, stele_sinks__redis_end_size);
    }
    if (outcome == STELE_OK) {
        outcome = put(sink, "", 1);
    }
    if (outcome == STELE_OK) {
        sink->script.size--;
        return STELE_OK;
    }
    return stele_fail(err, outcome, 0, "make a script for Redis: no memory");
}

/* ---- Lines ---- */

static unsigned lines_of(const void *text, size_t size)
{
    unsigned lines = 0;
    for (size_t i = 0; i < size; i++) {
        lines += ((const char *)text)[i] == '\n' ? 1 : 0;
    }
    return lines;
}

/* The line of the file that a line of the script is; 0 if it is none. */
static unsigned line_of_file(const struct stele_sinks_redis *sink, unsigned line)
{
    unsigned before = 1 + lines_of(stele_sinks__redis_begin, stele_sinks__redis_begin_size);
    for (size_t i = 0; i < sink->projection->sections_count; i++) {
        const struct stele_script *const script = &sink->projection->sections[i].script;
        const unsigned lines = lines_of(script->text.data, script->text.size) + 1;
        before++;
        if (line > before && line <= before + lines) {
            return script->line + (line - before - 1);
        }
        before += lines + 1;
    }
    return 0;
}

void stele_sinks__redis_name_lines(const struct stele_sinks_redis *sink, const char *words,
                                   char *out, size_t out_size)
{
    static const char mark[] = "user_script:";
    const char *const at = strstr(words, mark);
    char *end = NULL;
    const unsigned line = at != NULL ? (unsigned)strtoul(at + sizeof mark - 1, &end, 10) : 0;
    const unsigned of_file = line > 0 ? line_of_file(sink, line) : 0;
    if (of_file == 0) {
        (void)snprintf(out, out_size, "%s", words);
        return;
    }
    (void)snprintf(out, out_size, "%.80s:%u%s", sink->projection->file, of_file, end);
}
