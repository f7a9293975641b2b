/* Making a schema: every keyword is looked at once, so that checking data need not doubt it. */
#include "es/schema.h"

#include "base/status.h"
#include "es/schema_internal.h"

struct making {
    struct stele_memory *memory;
    struct stele_schema *schema;
    struct stele_error *err;
};

unsigned stele_schema__type(const char *name)
{
    static const char *const names[] = {"null",   "boolean", "integer", "number",
                                        "string", "array",   "object"};
    for (unsigned i = 0; i < STELE_COUNT_OF(names); i++) {
        if (strcmp(names[i], name) == 0) {
            return 1u << i;
        }
    }
    return 0;
}

const json_t *stele_schema__resolve(const struct stele_schema *schema, const char *reference)
{
    static const char *const places[] = {"$defs", "definitions"};
    if (strcmp(reference, "#") == 0) {
        return schema->root;
    }
    for (size_t i = 0; i < STELE_COUNT_OF(places); i++) {
        const size_t size = strlen(places[i]);
        if (strncmp(reference, "#/", 2) == 0 && strncmp(reference + 2, places[i], size) == 0 &&
            reference[2 + size] == '/') {
            return json_object_get(json_object_get(schema->root, places[i]), reference + size + 3);
        }
    }
    return NULL;
}

static int bad(const struct making *making, const char *keyword, const char *what)
{
    return stele_fail(making->err, STELE_E_INVALID, 0, "\"%s\": %s", keyword, what);
}

/* ---- One function a shape of value -------------------------------------------------------- */

static int make_node(const struct making *making, const json_t *node, unsigned depth);

static int anything(const struct making *making, const char *keyword, const json_t *value,
                    unsigned depth)
{
    (void)making, (void)keyword, (void)value, (void)depth;
    return STELE_OK;
}

static int one_type(const struct making *making, const char *keyword, const json_t *value)
{
    const char *name = json_string_value(value);
    return name != NULL && stele_schema__type(name) != 0
               ? STELE_OK
               : bad(making, keyword, "is not the name of a type");
}

static int types(const struct making *making, const char *keyword, const json_t *value,
                 unsigned depth)
{
    (void)depth;
    if (!json_is_array(value)) {
        return one_type(making, keyword, value);
    }
    int outcome = STELE_OK;
    for (size_t i = 0; i < json_array_size(value) && outcome == STELE_OK; i++) {
        outcome = one_type(making, keyword, json_array_get(value, i));
    }
    return outcome;
}

static int list(const struct making *making, const char *keyword, const json_t *value,
                unsigned depth)
{
    (void)depth;
    return json_array_size(value) > 0 ? STELE_OK : bad(making, keyword, "needs a list of values");
}

static int names(const struct making *making, const char *keyword, const json_t *value,
                 unsigned depth)
{
    (void)depth;
    if (!json_is_array(value)) {
        return bad(making, keyword, "needs a list of names");
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!json_is_string(json_array_get(value, i))) {
            return bad(making, keyword, "needs a list of names");
        }
    }
    return STELE_OK;
}

static int count(const struct making *making, const char *keyword, const json_t *value,
                 unsigned depth)
{
    (void)depth;
    return json_is_integer(value) && json_integer_value(value) >= 0
               ? STELE_OK
               : bad(making, keyword, "needs a number that is whole and not below 0");
}

static int number(const struct making *making, const char *keyword, const json_t *value,
                  unsigned depth)
{
    (void)depth;
    return json_is_number(value) ? STELE_OK : bad(making, keyword, "needs a number");
}

static int divisor(const struct making *making, const char *keyword, const json_t *value,
                   unsigned depth)
{
    (void)depth;
    return json_is_integer(value) && json_integer_value(value) > 0
               ? STELE_OK
               : bad(making, keyword, "needs a whole number above 0; others are not supported");
}

static int schema(const struct making *making, const char *keyword, const json_t *value,
                  unsigned depth)
{
    (void)keyword;
    return make_node(making, value, depth + 1);
}

static int schemas(const struct making *making, const char *keyword, const json_t *value,
                   unsigned depth)
{
    int outcome = list(making, keyword, value, depth);
    for (size_t i = 0; i < json_array_size(value) && outcome == STELE_OK; i++) {
        outcome = make_node(making, json_array_get(value, i), depth + 1);
    }
    return outcome;
}

static int members(const struct making *making, const char *keyword, const json_t *value,
                   unsigned depth)
{
    if (!json_is_object(value)) {
        return bad(making, keyword, "needs an object of schemas");
    }
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        const int outcome = make_node(making, member, depth + 1);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

static int reference(const struct making *making, const char *keyword, const json_t *value,
                     unsigned depth)
{
    (void)depth;
    const char *text = json_string_value(value);
    return text != NULL && stele_schema__resolve(making->schema, text) != NULL
               ? STELE_OK
               : bad(making, keyword,
                     "has to be \"#\", \"#/$defs/NAME\" or \"#/definitions/NAME\", and be there");
}

/* ---- Keywords ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int (*make)(const struct making *making, const char *keyword, const json_t *value,
                unsigned depth);
} keywords[] = {
    {"$comment", anything},
    {"$defs", members},
    {"$id", anything},
    {"$ref", reference},
    {"$schema", anything},
    {"additionalProperties", schema},
    {"allOf", schemas},
    {"anyOf", schemas},
    {"const", anything},
    {"default", anything},
    {"definitions", members},
    {"deprecated", anything},
    {"description", anything},
    {"enum", list},
    {"examples", anything},
    {"exclusiveMaximum", number},
    {"exclusiveMinimum", number},
    {"format", anything},
    {"items", schema},
    {"maxItems", count},
    {"maxLength", count},
    {"maxProperties", count},
    {"maximum", number},
    {"minItems", count},
    {"minLength", count},
    {"minProperties", count},
    {"minimum", number},
    {"multipleOf", divisor},
    {"not", schema},
    {"oneOf", schemas},
    {"pattern", anything},
    {"properties", members},
    {"readOnly", anything},
    {"required", names},
    {"title", anything},
    {"type", types},
    {"writeOnly", anything},
};

static int make_pattern(const struct making *making, const json_t *node, const json_t *value)
{
    const char *text = json_string_value(value);
    if (text == NULL) {
        return bad(making, "pattern", "needs a text");
    }
    struct stele_schema *made = making->schema;
    struct stele_schema_pattern *all =
        stele_memory_grow(making->memory, made->patterns, &made->patterns_capacity,
                          made->patterns_count + 1, sizeof *all);
    if (all == NULL) {
        return stele_fail(making->err, STELE_E_NO_MEMORY, 0, "no memory for a pattern");
    }
    made->patterns = all;
    int number_of;
    PCRE2_SIZE at;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)text, strlen(text), PCRE2_UTF | PCRE2_UCP, &number_of, &at, NULL);
    if (code == NULL) {
        return stele_fail(making->err, STELE_E_INVALID, 0,
                          "\"pattern\": \"%s\" is no regular expression (at %zu)", text, at);
    }
    all[made->patterns_count++] = (struct stele_schema_pattern){.where = node, .code = code};
    return STELE_OK;
}

static int make_keyword(const struct making *making, const json_t *node, const char *keyword,
                        const json_t *value, unsigned depth)
{
    if (strcmp(keyword, "pattern") == 0) {
        return make_pattern(making, node, value);
    }
    for (size_t i = 0; i < STELE_COUNT_OF(keywords); i++) {
        if (strcmp(keywords[i].name, keyword) == 0) {
            return keywords[i].make(making, keyword, value, depth);
        }
    }
    return bad(making, keyword,
               "this keyword is not known here, and passing over it would check "
               "less than it says: leave it out");
}

static int make_node(const struct making *making, const json_t *node, unsigned depth)
{
    if (depth > STELE_SCHEMA_DEPTH_MAX) {
        return stele_fail(making->err, STELE_E_LIMIT, 0, "schemas lie more than %u deep",
                          STELE_SCHEMA_DEPTH_MAX);
    }
    if (json_is_boolean(node)) {
        return STELE_OK;
    }
    if (!json_is_object(node)) {
        return stele_fail(making->err, STELE_E_INVALID, 0,
                          "a schema has to be an object, true or false");
    }
    const char *keyword;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)node, keyword, value)
    {
        const int outcome = make_keyword(making, node, keyword, value, depth);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

static void release_schema(void *made)
{
    struct stele_schema *released = made;
    for (size_t i = 0; i < released->patterns_count; i++) {
        pcre2_code_free(released->patterns[i].code);
    }
    json_decref(released->root);
}

int stele_schema_create(struct stele_memory *memory, const char *text,
                        struct stele_schema **out_schema, struct stele_error *err)
{
    struct stele_schema *made = stele_memory_allocate_zeroed(memory, sizeof *made);
    if (made == NULL || stele_memory_keep(memory, release_schema, made) != STELE_OK) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a schema");
    }
    json_error_t error;
    made->root = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (made->root == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "line %d, column %d: %s", error.line,
                          error.column, error.text);
    }
    const struct making making = {.memory = memory, .schema = made, .err = err};
    const int outcome = make_node(&making, made->root, 0);
    if (outcome == STELE_OK) {
        *out_schema = made;
    }
    return outcome;
}
