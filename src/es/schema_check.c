/* Checking data against a schema that has been made: see schema.h. */
#include "base/status.h"
#include "es/schema_internal.h"

#include <stdio.h>

#define PATH_SIZE 200

struct place {
    const struct place *above;
    const char *member; /* NULL: the element of that index. */
    size_t index;
};

struct checking {
    const struct stele_schema *schema;
    struct stele_error *err;
};

static size_t write_place(const struct place *place, char path[PATH_SIZE])
{
    if (place == NULL) {
        return (size_t)snprintf(path, PATH_SIZE, "$");
    }
    size_t size = write_place(place->above, path);
    if (size < PATH_SIZE) {
        size += place->member != NULL
                    ? (size_t)snprintf(path + size, PATH_SIZE - size, ".%s", place->member)
                    : (size_t)snprintf(path + size, PATH_SIZE - size, "[%zu]", place->index);
    }
    return size;
}

STELE_PRINTF(3, 4)
static int wrong(const struct checking *checking, const struct place *place, const char *format,
                 ...)
{
    char path[PATH_SIZE];
    char what[200];
    (void)write_place(place, path);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return stele_fail(checking->err, STELE_E_INVALID, 0, "%s %s", path, what);
}

static int check_node(const struct checking *checking, const json_t *node, const json_t *value,
                      const struct place *place, unsigned depth);

/* ---- Any value ---------------------------------------------------------------------------- */

static unsigned types_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_NULL:
        return STELE_SCHEMA_NULL;
    case JSON_TRUE:
    case JSON_FALSE:
        return STELE_SCHEMA_BOOLEAN;
    case JSON_INTEGER:
        return STELE_SCHEMA_INTEGER | STELE_SCHEMA_NUMBER;
    case JSON_REAL: {
        /* 1.0 is an integer; what does not fit into 64 bits is left a number. */
        const double real = json_real_value(value);
        const bool whole = real > -9e18 && real < 9e18 && !((double)(int64_t)real < real) &&
                           !((double)(int64_t)real > real);
        return whole ? STELE_SCHEMA_INTEGER | STELE_SCHEMA_NUMBER : STELE_SCHEMA_NUMBER;
    }
    case JSON_STRING:
        return STELE_SCHEMA_STRING;
    case JSON_ARRAY:
        return STELE_SCHEMA_ARRAY;
    case JSON_OBJECT:
    default:
        return STELE_SCHEMA_OBJECT;
    }
}

static int check_type(const struct checking *checking, const json_t *types, const json_t *value,
                      const struct place *place)
{
    unsigned allowed = 0;
    char list[100] = "";
    size_t size = 0;
    const size_t count = json_is_array(types) ? json_array_size(types) : 1;
    for (size_t i = 0; i < count; i++) {
        const char *name =
            json_string_value(json_is_array(types) ? json_array_get(types, i) : types);
        allowed |= stele_schema__type(name);
        size += (size_t)snprintf(list + size, size < sizeof list ? sizeof list - size : 0, "%s%s",
                                 i > 0 ? " or " : "", name);
        size = size < sizeof list ? size : sizeof list - 1;
    }
    return (types_of(value) & allowed) != 0 ? STELE_OK
                                            : wrong(checking, place, "has to be of type %s", list);
}

static int check_values(const struct checking *checking, const json_t *node, const json_t *value,
                        const struct place *place)
{
    const json_t *constant = json_object_get(node, "const");
    if (constant != NULL && json_equal(constant, value) == 0) {
        return wrong(checking, place, "is not the one value that is allowed");
    }
    const json_t *choice = json_object_get(node, "enum");
    if (choice == NULL) {
        return STELE_OK;
    }
    for (size_t i = 0; i < json_array_size(choice); i++) {
        if (json_equal(json_array_get(choice, i), value) != 0) {
            return STELE_OK;
        }
    }
    return wrong(checking, place, "is none of the values that are allowed");
}

/* Only the error that counts is told: those of alternatives that did not fit would confuse. */
static size_t count_fitting(const struct checking *checking, const json_t *list,
                            const json_t *value, const struct place *place, unsigned depth)
{
    const struct checking quiet = {.schema = checking->schema};
    size_t fitting = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        fitting += check_node(&quiet, json_array_get(list, i), value, place, depth + 1) == STELE_OK
                       ? 1
                       : 0;
    }
    return fitting;
}

static int check_combined(const struct checking *checking, const json_t *node, const json_t *value,
                          const struct place *place, unsigned depth)
{
    const json_t *list = json_object_get(node, "allOf");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const int outcome = check_node(checking, json_array_get(list, i), value, place, depth + 1);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    list = json_object_get(node, "anyOf");
    if (list != NULL && count_fitting(checking, list, value, place, depth) == 0) {
        return wrong(checking, place, "fits none of the alternatives of \"anyOf\"");
    }
    list = json_object_get(node, "oneOf");
    if (list != NULL) {
        const size_t fitting = count_fitting(checking, list, value, place, depth);
        if (fitting != 1) {
            return wrong(checking, place, "fits %zu of the alternatives of \"oneOf\" and not one",
                         fitting);
        }
    }
    const json_t *never = json_object_get(node, "not");
    if (never != NULL) {
        const struct checking quiet = {.schema = checking->schema};
        if (check_node(&quiet, never, value, place, depth + 1) == STELE_OK) {
            return wrong(checking, place, "is what \"not\" forbids");
        }
    }
    const json_t *reference = json_object_get(node, "$ref");
    return reference == NULL
               ? STELE_OK
               : check_node(checking,
                            stele_schema__resolve(checking->schema, json_string_value(reference)),
                            value, place, depth + 1);
}

/* ---- Numbers, strings, lists, objects ----------------------------------------------------- */

/* -1, 0, 1. Integers are compared as such: as doubles, those above 2^53 would run together. */
static int compare_numbers(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b)) {
        const json_int_t left = json_integer_value(a);
        const json_int_t right = json_integer_value(b);
        return (left > right) - (left < right);
    }
    const double left = json_number_value(a);
    const double right = json_number_value(b);
    return (left > right) - (left < right);
}

static int check_number(const struct checking *checking, const json_t *node, const json_t *value,
                        const struct place *place)
{
    const json_t *bound = json_object_get(node, "minimum");
    if (bound != NULL && compare_numbers(value, bound) < 0) {
        return wrong(checking, place, "is below the minimum of %.17g", json_number_value(bound));
    }
    bound = json_object_get(node, "maximum");
    if (bound != NULL && compare_numbers(value, bound) > 0) {
        return wrong(checking, place, "is above the maximum of %.17g", json_number_value(bound));
    }
    bound = json_object_get(node, "exclusiveMinimum");
    if (bound != NULL && compare_numbers(value, bound) <= 0) {
        return wrong(checking, place, "has to be above %.17g", json_number_value(bound));
    }
    bound = json_object_get(node, "exclusiveMaximum");
    if (bound != NULL && compare_numbers(value, bound) >= 0) {
        return wrong(checking, place, "has to be below %.17g", json_number_value(bound));
    }
    bound = json_object_get(node, "multipleOf");
    if (bound != NULL) {
        const json_int_t whole = json_is_integer(value) ? json_integer_value(value)
                                 : (types_of(value) & STELE_SCHEMA_INTEGER) != 0
                                     ? (json_int_t)json_real_value(value)
                                     : 1;
        const bool is_whole = (types_of(value) & STELE_SCHEMA_INTEGER) != 0;
        if (!is_whole || whole % json_integer_value(bound) != 0) {
            return wrong(checking, place, "is no multiple of %" JSON_INTEGER_FORMAT,
                         json_integer_value(bound));
        }
    }
    return STELE_OK;
}

static int check_count(const struct checking *checking, const json_t *node, const char *least,
                       const char *most, size_t count, const struct place *place)
{
    const json_t *bound = json_object_get(node, least);
    if (bound != NULL && count < (size_t)json_integer_value(bound)) {
        return wrong(checking, place, "has %zu where \"%s\" is %" JSON_INTEGER_FORMAT, count, least,
                     json_integer_value(bound));
    }
    bound = json_object_get(node, most);
    if (bound != NULL && count > (size_t)json_integer_value(bound)) {
        return wrong(checking, place, "has %zu where \"%s\" is %" JSON_INTEGER_FORMAT, count, most,
                     json_integer_value(bound));
    }
    return STELE_OK;
}

static int check_string(const struct checking *checking, const json_t *node, const json_t *value,
                        const struct place *place)
{
    const char *text = json_string_value(value);
    const size_t size = json_string_length(value);
    size_t characters = 0;
    for (size_t i = 0; i < size; i++) {
        characters += ((uint8_t)text[i] & 0xc0u) != 0x80u ? 1 : 0;
    }
    const int outcome = check_count(checking, node, "minLength", "maxLength", characters, place);
    if (outcome != STELE_OK || json_object_get(node, "pattern") == NULL) {
        return outcome;
    }
    const struct stele_schema *schema = checking->schema;
    for (size_t i = 0; i < schema->patterns_count; i++) {
        if (schema->patterns[i].where != node) {
            continue;
        }
        pcre2_match_data *match =
            pcre2_match_data_create_from_pattern(schema->patterns[i].code, NULL);
        if (match == NULL) {
            return stele_fail(checking->err, STELE_E_NO_MEMORY, 0, "no memory for a pattern");
        }
        const int found = pcre2_match(schema->patterns[i].code, (PCRE2_SPTR)text, size, 0,
                                      PCRE2_NO_UTF_CHECK, match, NULL);
        pcre2_match_data_free(match);
        if (found < 0) {
            return wrong(checking, place, "does not match the pattern %s",
                         json_string_value(json_object_get(node, "pattern")));
        }
    }
    return STELE_OK;
}

static int check_array(const struct checking *checking, const json_t *node, const json_t *value,
                       const struct place *place, unsigned depth)
{
    int outcome =
        check_count(checking, node, "minItems", "maxItems", json_array_size(value), place);
    const json_t *items = json_object_get(node, "items");
    for (size_t i = 0; items != NULL && i < json_array_size(value) && outcome == STELE_OK; i++) {
        const struct place inner = {.above = place, .index = i};
        outcome = check_node(checking, items, json_array_get(value, i), &inner, depth + 1);
    }
    return outcome;
}

static int check_required(const struct checking *checking, const json_t *node, const json_t *value,
                          const struct place *place)
{
    const json_t *required = json_object_get(node, "required");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (json_object_get(value, name) == NULL) {
            return wrong(checking, place, "has no member \"%s\", which is required", name);
        }
    }
    return STELE_OK;
}

static int check_object(const struct checking *checking, const json_t *node, const json_t *value,
                        const struct place *place, unsigned depth)
{
    int outcome = check_count(checking, node, "minProperties", "maxProperties",
                              json_object_size(value), place);
    if (outcome == STELE_OK) {
        outcome = check_required(checking, node, value, place);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const json_t *known = json_object_get(node, "properties");
    const json_t *others = json_object_get(node, "additionalProperties");
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        const struct place inner = {.above = place, .member = name};
        const json_t *schema = json_object_get(known, name);
        schema = schema != NULL ? schema : others;
        if (schema == others && json_is_false(others)) {
            return wrong(checking, &inner, "is a member that the schema does not know");
        }
        outcome =
            schema != NULL ? check_node(checking, schema, member, &inner, depth + 1) : STELE_OK;
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

/* ---- All of it ---------------------------------------------------------------------------- */

static int check_kind(const struct checking *checking, const json_t *node, const json_t *value,
                      const struct place *place, unsigned depth)
{
    switch (json_typeof(value)) {
    case JSON_INTEGER:
    case JSON_REAL:
        return check_number(checking, node, value, place);
    case JSON_STRING:
        return check_string(checking, node, value, place);
    case JSON_ARRAY:
        return check_array(checking, node, value, place, depth);
    case JSON_OBJECT:
        return check_object(checking, node, value, place, depth);
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL:
    default:
        return STELE_OK;
    }
}

static int check_node(const struct checking *checking, const json_t *node, const json_t *value,
                      const struct place *place, unsigned depth)
{
    if (depth > STELE_SCHEMA_DEPTH_MAX) {
        return wrong(checking, place, "lies deeper than %u schemas", STELE_SCHEMA_DEPTH_MAX);
    }
    if (json_is_true(node)) {
        return STELE_OK;
    }
    if (json_is_false(node)) {
        return wrong(checking, place, "is not allowed to be there");
    }
    const json_t *types = json_object_get(node, "type");
    int outcome = types != NULL ? check_type(checking, types, value, place) : STELE_OK;
    if (outcome == STELE_OK) {
        outcome = check_values(checking, node, value, place);
    }
    if (outcome == STELE_OK) {
        outcome = check_kind(checking, node, value, place, depth);
    }
    return outcome == STELE_OK ? check_combined(checking, node, value, place, depth) : outcome;
}

int stele_schema_check(const struct stele_schema *schema, struct stele_bytes data,
                       struct stele_error *err)
{
    json_error_t error;
    json_t *value = json_loadb(data.size > 0 ? (const char *)data.data : "", data.size,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (value == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "the data are no JSON: line %d, column %d: %s",
                          error.line, error.column, error.text);
    }
    const struct checking checking = {.schema = schema, .err = err};
    const int outcome = check_node(&checking, schema->root, value, NULL, 0);
    json_decref(value);
    return outcome;
}
