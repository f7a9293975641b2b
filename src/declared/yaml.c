#include "declared/yaml.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Nodes --------------------------------------------------------------------------------- */

unsigned stele_yaml_line(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.line + 1;
}

int stele_yaml_fail(const struct stele_yaml *yaml, const yaml_node_t *node, struct stele_error *err,
                    const char *format, ...)
{
    char words[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return stele_fail(err, STELE_E_INVALID, 0, "%s:%u: %s", yaml->path, stele_yaml_line(node),
                      words);
}

const char *stele_yaml_scalar(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : NULL;
}

const yaml_node_t *stele_yaml_item(struct stele_yaml *yaml, const yaml_node_t *node, size_t index)
{
    return yaml_document_get_node(&yaml->document, node->data.sequence.items.start[index]);
}

const char *stele_yaml_text(struct stele_yaml *yaml, const struct stele_yaml_list *list,
                            size_t index)
{
    return stele_yaml_scalar(list->node->type == YAML_SEQUENCE_NODE
                                 ? stele_yaml_item(yaml, list->node, index)
                                 : list->node);
}

int stele_yaml_items(struct stele_yaml *yaml, const yaml_node_t *node, const char *what, size_t max,
                     size_t *out_count, struct stele_error *err)
{
    if (node->type != YAML_SEQUENCE_NODE) {
        return stele_yaml_fail(yaml, node, err, "%s: a list is wanted, one \"- …\" for each", what);
    }
    const size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (count == 0 || count > max) {
        return stele_yaml_fail(yaml, node, err, "%s: there are %zu, where 1 to %zu may be", what,
                               count, max);
    }
    *out_count = count;
    return STELE_OK;
}

/* ---- Values -------------------------------------------------------------------------------- */

static int take_text(struct stele_yaml *yaml, const yaml_node_t *node, const char *key,
                     const char **out_text, struct stele_error *err)
{
    const char *const text = stele_yaml_scalar(node);
    if (text == NULL || text[0] == '\0' || strlen(text) != node->data.scalar.length) {
        return stele_yaml_fail(yaml, node, err, "%s: a text is wanted here", key);
    }
    *out_text = text;
    return STELE_OK;
}

/* One text, or several. An empty list is a list as well. */
static int take_list(struct stele_yaml *yaml, const yaml_node_t *node, const char *key,
                     struct stele_yaml_list *out_list, struct stele_error *err)
{
    const char *text = NULL;
    size_t count = 1;
    if (node->type == YAML_SEQUENCE_NODE) {
        count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
        for (size_t i = 0; i < count; i++) {
            const int outcome = take_text(yaml, stele_yaml_item(yaml, node, i), key, &text, err);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
    } else {
        const int outcome = take_text(yaml, node, key, &text, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    *out_list = (struct stele_yaml_list){.node = node, .count = count};
    return STELE_OK;
}

static bool parse_number(const char *text, uint64_t *out_number, const char **out_rest)
{
    char *end = NULL;
    if (text == NULL || !isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    *out_number = strtoull(text, &end, 10);
    *out_rest = end;
    return errno == 0;
}

static int take_number(struct stele_yaml *yaml, const yaml_node_t *node, const char *key,
                       uint32_t *out_number, struct stele_error *err)
{
    uint64_t number = 0;
    const char *rest = "";
    if (!parse_number(stele_yaml_scalar(node), &number, &rest) || rest[0] != '\0' ||
        number > 1000000000) {
        return stele_yaml_fail(yaml, node, err, "%s: a number from 0 to 1000000000 is wanted", key);
    }
    *out_number = (uint32_t)number;
    return STELE_OK;
}

static int take_duration(struct stele_yaml *yaml, const yaml_node_t *node, const char *key,
                         uint64_t *out_ms, struct stele_error *err)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } UNITS[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    uint64_t number = 0;
    const char *rest = "";
    const bool is_number = parse_number(stele_yaml_scalar(node), &number, &rest);
    for (size_t i = 0; is_number && i < sizeof UNITS / sizeof UNITS[0]; i++) {
        if (strcmp(rest, UNITS[i].unit) == 0 && number <= UINT32_MAX / UNITS[i].ms) {
            *out_ms = number * UNITS[i].ms;
            return STELE_OK;
        }
    }
    return stele_yaml_fail(yaml, node, err,
                           "%s: a time like 250ms, 5s, 10m, 2h or 7d is wanted, at most 49d", key);
}

static int take_choice(struct stele_yaml *yaml, const yaml_node_t *node,
                       const struct stele_yaml_field *field, struct stele_error *err)
{
    const char *const text = stele_yaml_scalar(node);
    char all[120] = "";
    for (int i = 0; field->choices[i] != NULL; i++) {
        if (text != NULL && strcmp(text, field->choices[i]) == 0) {
            *(int *)field->target = i;
            return STELE_OK;
        }
        const size_t size = strlen(all);
        (void)snprintf(all + size, sizeof all - size, "%s%s", i > 0 ? ", " : "", field->choices[i]);
    }
    return stele_yaml_fail(yaml, node, err, "%s: one of these is wanted: %s", field->key, all);
}

static int take(struct stele_yaml *yaml, const yaml_node_t *node,
                const struct stele_yaml_field *field, struct stele_error *err)
{
    switch (field->kind) {
    case STELE_YAML_TEXT:
        return take_text(yaml, node, field->key, field->target, err);
    case STELE_YAML_LIST:
        return take_list(yaml, node, field->key, field->target, err);
    case STELE_YAML_NUMBER:
        return take_number(yaml, node, field->key, field->target, err);
    case STELE_YAML_DURATION:
        return take_duration(yaml, node, field->key, field->target, err);
    case STELE_YAML_CHOICE:
        return take_choice(yaml, node, field, err);
    case STELE_YAML_NODE:
    default:
        *(const yaml_node_t **)field->target = node;
        return STELE_OK;
    }
}

/* ---- Mappings ------------------------------------------------------------------------------ */

static int unknown_key(struct stele_yaml *yaml, const yaml_node_t *key, const char *what,
                       const struct stele_yaml_field *fields, size_t count, struct stele_error *err)
{
    char all[260] = "";
    for (size_t i = 0; i < count; i++) {
        const size_t size = strlen(all);
        (void)snprintf(all + size, sizeof all - size, "%s%s", i > 0 ? ", " : "", fields[i].key);
    }
    const char *const name = stele_yaml_scalar(key);
    return stele_yaml_fail(yaml, key, err, "Unexpected key: %.60s; %s has %s",
                           name != NULL ? name : "(no text)", what, all);
}

static const struct stele_yaml_field *find(const yaml_node_t *key,
                                           const struct stele_yaml_field *fields, size_t count)
{
    const char *const name = stele_yaml_scalar(key);
    for (size_t i = 0; name != NULL && i < count; i++) {
        if (strcmp(fields[i].key, name) == 0) {
            return &fields[i];
        }
    }
    return NULL;
}

int stele_yaml_map(struct stele_yaml *yaml, const yaml_node_t *node, const char *what,
                   const struct stele_yaml_field *fields, size_t count, struct stele_error *err)
{
    uint64_t seen = 0;
    if (node->type != YAML_MAPPING_NODE) {
        return stele_yaml_fail(yaml, node, err, "%s: \"key: value\" is wanted, for example %s: …",
                               what, fields[0].key);
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *const key = yaml_document_get_node(&yaml->document, pair->key);
        const struct stele_yaml_field *const field = find(key, fields, count);
        if (field == NULL) {
            return unknown_key(yaml, key, what, fields, count, err);
        }
        const uint64_t bit = UINT64_C(1) << (field - fields);
        if ((seen & bit) != 0) {
            return stele_yaml_fail(yaml, key, err, "%s is there twice", field->key);
        }
        seen |= bit;
        const int outcome =
            take(yaml, yaml_document_get_node(&yaml->document, pair->value), field, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (fields[i].required && (seen & UINT64_C(1) << i) == 0) {
            return stele_yaml_fail(yaml, node, err, "%s lacks %s", what, fields[i].key);
        }
    }
    return STELE_OK;
}

/* ---- Documents ----------------------------------------------------------------------------- */

int stele_yaml_init(struct stele_yaml *yaml, const char *path, const void *text, size_t size,
                    struct stele_error *err)
{
    yaml_parser_t parser;
    yaml->path = path;
    if (yaml_parser_initialize(&parser) != 1) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%s: no memory", path);
    }
    yaml_parser_set_input_string(&parser, text, size);
    const bool parsed = yaml_parser_load(&parser, &yaml->document) == 1;
    int outcome = STELE_OK;
    if (!parsed) {
        outcome = stele_fail(
            err, parser.error == YAML_MEMORY_ERROR ? STELE_E_NO_MEMORY : STELE_E_INVALID, 0,
            "%s:%zu: %s%s%s", path, parser.problem_mark.line + 1,
            parser.problem != NULL ? parser.problem : "this is no YAML",
            parser.context != NULL ? " " : "", parser.context != NULL ? parser.context : "");
    } else if (yaml_document_get_root_node(&yaml->document) == NULL) {
        yaml_document_delete(&yaml->document);
        outcome = stele_fail(err, STELE_E_INVALID, 0, "%s:1: there is nothing in it", path);
    }
    yaml_parser_delete(&parser);
    return outcome;
}

void stele_yaml_deinit(struct stele_yaml *yaml)
{
    yaml_document_delete(&yaml->document);
}
