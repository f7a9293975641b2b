/* The configuration file: a mapping of settings, as YAML. */
#include "ops/config_internal.h"

#include <errno.h>
#include <stdio.h>
#include <yaml.h>

#define FILE_SIZE_MAX ((size_t)1024 * 1024)

struct reading {
    struct stele_config *config;
    const char *path;
    yaml_parser_t parser;
    bool seen[STELE_SETTING_COUNT];
};

/* "FILE, line N: " and the three parts. */
static int fail_line(const struct reading *reading, size_t line, struct stele_error *err,
                     const char *before, const char *name, const char *after)
{
    return stele_fail(err, STELE_E_INVALID, 0, "%.120s, line %zu: %s%s%s", reading->path, line + 1,
                      before, name, after);
}

/* Gets the next event; the caller deletes it. */
static int next(struct reading *reading, yaml_event_t *event, struct stele_error *err)
{
    if (yaml_parser_parse(&reading->parser, event) == 1) {
        return STELE_OK;
    }
    return fail_line(reading, reading->parser.problem_mark.line, err, "this is no YAML: ",
                     reading->parser.problem != NULL ? reading->parser.problem : "", "");
}

static const char *text_of(const yaml_event_t *event)
{
    return (const char *)event->data.scalar.value;
}

static bool is_text(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT && strlen(text_of(event)) == event->data.scalar.length;
}

/* "- a" lines of a list, after its beginning. */
static int read_items(struct reading *reading, enum stele_setting setting, const char *where,
                      struct stele_error *err)
{
    char items[CONFIG_VALUE_SIZE_MAX];
    struct config_candidate candidate = {.text = items};
    for (;;) {
        yaml_event_t event;
        const int outcome = next(reading, &event, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        const size_t line = event.start_mark.line;
        const bool is_end = event.type == YAML_SEQUENCE_END_EVENT;
        const bool fits = is_text(&event) && candidate.items < CONFIG_ITEMS_MAX &&
                          event.data.scalar.length + 1 <= sizeof items - candidate.size;
        if (fits) {
            memcpy(items + candidate.size, text_of(&event), event.data.scalar.length + 1);
            candidate.size += event.data.scalar.length + 1;
            candidate.items++;
        }
        yaml_event_delete(&event);
        if (is_end) {
            break;
        }
        if (!fits) {
            return fail_line(reading, line, err, "", stele_config__rows[setting].name,
                             " lists something that is no text, or too much");
        }
    }
    if (candidate.items == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s: %s has no items", where,
                          stele_config__rows[setting].name);
    }
    return stele_config__put(reading->config, setting, STELE_CONFIG_FILE, where, &candidate, err);
}

static int read_value(struct reading *reading, enum stele_setting setting, size_t line,
                      struct stele_error *err)
{
    yaml_event_t event;
    char where[160];
    (void)snprintf(where, sizeof where, "%.120s, line %zu", reading->path, line + 1);
    int outcome = next(reading, &event, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (is_text(&event)) {
        outcome = stele_config__put_text(reading->config, setting, STELE_CONFIG_FILE, where,
                                         text_of(&event), err);
    } else if (event.type == YAML_SEQUENCE_START_EVENT &&
               stele_config__rows[setting].kind == STELE_SETTING_KIND_LIST) {
        outcome = read_items(reading, setting, where, err);
    } else {
        outcome = fail_line(reading, line, err, stele_config__rows[setting].name, " has to be ",
                            stele_config__form_of(stele_config__rows[setting].kind));
    }
    yaml_event_delete(&event);
    if (outcome == STELE_OK) {
        reading->config->values[setting].line = (unsigned)line + 1;
    }
    return outcome;
}

static int read_key(struct reading *reading, const yaml_event_t *event, struct stele_error *err)
{
    const size_t line = event->start_mark.line;
    if (!is_text(event)) {
        return fail_line(reading, line, err, "the name of a setting has to be a text", "", "");
    }
    const enum stele_setting setting = stele_config__find(text_of(event));
    if (setting == STELE_SETTING_COUNT) {
        const char *const nearest = stele_config__nearest_to(text_of(event));
        char advice[160];
        (void)snprintf(advice, sizeof advice, "%.64s'%s%s%s", text_of(event),
                       nearest != NULL ? "; did you mean '" : "", nearest != NULL ? nearest : "",
                       nearest != NULL ? "'?" : "");
        return fail_line(reading, line, err, "there is no setting '", advice, "");
    }
    if (reading->seen[setting]) {
        return fail_line(reading, line, err, "", stele_config__rows[setting].name, " is set twice");
    }
    reading->seen[setting] = true;
    return read_value(reading, setting, line, err);
}

static int read_mapping(struct reading *reading, struct stele_error *err)
{
    for (;;) {
        yaml_event_t event;
        int outcome = next(reading, &event, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        const bool is_end = event.type == YAML_MAPPING_END_EVENT;
        if (!is_end) {
            outcome = read_key(reading, &event, err);
        }
        yaml_event_delete(&event);
        if (is_end || outcome != STELE_OK) {
            return outcome;
        }
    }
}

/* Stream start, document start, one mapping. A second document is a mistake. */
static int read_stream(struct reading *reading, struct stele_error *err)
{
    bool done = false;
    for (;;) {
        yaml_event_t event;
        int outcome = next(reading, &event, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        const yaml_event_type_t type = event.type;
        const bool is_empty = type == YAML_SCALAR_EVENT && event.data.scalar.length == 0;
        if (type == YAML_MAPPING_START_EVENT && !done) {
            done = true;
            outcome = read_mapping(reading, err);
        } else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
                   type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT && !is_empty) {
            outcome = fail_line(reading, event.start_mark.line, err,
                                "expected lines of the form 'name: value'", "", "");
        }
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT || outcome != STELE_OK) {
            return outcome;
        }
    }
}

int stele_config_add_yaml(struct stele_config *config, const char *path, struct stele_bytes yaml,
                          struct stele_error *err)
{
    struct reading reading = {.config = config, .path = path};
    if (yaml_parser_initialize(&reading.parser) != 1) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%.120s: no memory", path);
    }
    yaml_parser_set_input_string(&reading.parser, yaml.data, yaml.size);
    (void)snprintf(config->path, sizeof config->path, "%s", path);
    const int outcome = read_stream(&reading, err);
    yaml_parser_delete(&reading.parser);
    return outcome;
}

static int fail_file(struct stele_error *err, const char *path, int os_errno)
{
    char words[128];
    const int outcome = os_errno == ENOENT   ? STELE_NOT_FOUND
                        : os_errno == EACCES ? STELE_E_PERMISSION
                                             : STELE_E_IO;
    return stele_fail(err, outcome, os_errno, "read %.300s: %s", path,
                      strerror_r(os_errno, words, sizeof words));
}

int stele_config_add_file(struct stele_config *config, const char *path, struct stele_error *err)
{
    FILE *const file = fopen(path, "rbe");
    if (file == NULL) {
        return fail_file(err, path, errno);
    }
    uint8_t *const bytes = stele_allocate(config->alloc, FILE_SIZE_MAX);
    int outcome = STELE_E_NO_MEMORY;
    if (bytes != NULL) {
        const size_t size = fread(bytes, 1, FILE_SIZE_MAX, file);
        if (ferror(file) != 0) {
            outcome = fail_file(err, path, errno);
        } else if (size == FILE_SIZE_MAX) {
            outcome = stele_fail(err, STELE_E_INVALID, 0, "%.300s is larger than 1 MiB", path);
        } else {
            outcome = stele_config_add_yaml(config, path,
                                            (struct stele_bytes){.data = bytes, .size = size}, err);
        }
        explicit_bzero(bytes, size);
    }
    stele_release(config->alloc, bytes, FILE_SIZE_MAX);
    (void)fclose(file);
    return outcome;
}
