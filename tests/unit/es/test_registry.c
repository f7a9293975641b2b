/* A schema checks what it says, and says so with the place; what it could not check it refuses.
 *
 * Method: a table of schemas, each with data that fit and data that do not. */
#include "lib/check.h"

#include <stele/es.h>

static int check(const char *schema, const char *data, struct stele_error *err)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_registry *registry = NULL;
    const struct stele_event_type type = {
        .struct_size = sizeof type, .type = "T", .schema = schema};
    int outcome = stele_registry_create(memory, &type, 1, 0, &registry, err);
    if (outcome == STELE_OK) {
        outcome = stele_registry_check(registry, "T", data, strlen(data), err);
    } else {
        CHECK_EQ(outcome, STELE_E_INVALID);
        outcome = STELE_E_UNSUPPORTED;
    }
    stele_memory_destroy(memory);
    return outcome;
}

TEST(every_keyword_lets_through_what_fits_and_names_the_place_of_what_does_not)
{
    static const struct {
        const char *schema, *good, *bad, *words;
    } cases[] = {
        {"{\"type\":\"object\"}", "{}", "[]", "$ has to be of type object"},
        {"{\"type\":[\"string\",\"null\"]}", "null", "1", "string or null"},
        {"{\"type\":\"integer\"}", "1.0", "1.5", "integer"},
        {"{\"type\":\"number\"}", "1", "\"1\"", "number"},
        {"{\"type\":\"boolean\"}", "true", "0", "boolean"},
        {"{\"enum\":[1,\"a\"]}", "\"a\"", "\"b\"", "none of the values"},
        {"{\"const\":{\"a\":1}}", "{\"a\":1}", "{\"a\":2}", "the one value"},
        {"{\"properties\":{\"a\":{\"type\":\"integer\"}}}", "{\"a\":1}", "{\"a\":\"x\"}",
         "$.a has to be of type integer"},
        {"{\"required\":[\"a\"]}", "{\"a\":null}", "{\"b\":1}", "no member \"a\""},
        {"{\"properties\":{\"a\":true},\"additionalProperties\":false}", "{\"a\":1}",
         "{\"a\":1,\"b\":1}", "$.b is a member that the schema does not know"},
        {"{\"additionalProperties\":{\"minimum\":3}}", "{\"x\":3}", "{\"x\":2}", "$.x is below"},
        {"{\"minProperties\":1,\"maxProperties\":2}", "{\"x\":3}", "{}", "minProperties"},
        {"{\"items\":{\"properties\":{\"p\":{\"maximum\":5}}}}", "[{\"p\":5},{}]",
         "[{\"p\":1},{\"p\":6}]", "$[1].p is above the maximum of 5"},
        {"{\"minItems\":1,\"maxItems\":2}", "[1]", "[1,2,3]", "maxItems"},
        {"{\"minLength\":2,\"maxLength\":3}", "\"\xc3\xa9\xc3\xa9\xc3\xa9\"", "\"\xc3\xa9\"",
         "minLength"},
        {"{\"pattern\":\"^[A-Z]{3}$\"}", "\"EUR\"", "\"euro\"", "the pattern ^[A-Z]{3}$"},
        {"{\"exclusiveMinimum\":0}", "0.5", "0", "above 0"},
        {"{\"exclusiveMaximum\":9007199254740993}", "9007199254740992", "9007199254740993",
         "has to be below"},
        {"{\"multipleOf\":5}", "-10", "7", "no multiple of 5"},
        {"{\"allOf\":[{\"minimum\":1},{\"maximum\":2}]}", "1", "3", "above the maximum"},
        {"{\"anyOf\":[{\"minimum\":5},{\"maximum\":2}]}", "1", "3", "anyOf"},
        {"{\"oneOf\":[{\"minimum\":1},{\"maximum\":2}]}", "3", "2", "fits 2 of"},
        {"{\"not\":{\"type\":\"null\"}}", "3", "null", "\"not\" forbids"},
        {"{\"$ref\":\"#/$defs/m\",\"$defs\":{\"m\":{\"minimum\":1}}}", "1", "0", "below"},
        {"{\"properties\":{\"next\":{\"$ref\":\"#\"}},\"required\":[\"v\"]}",
         "{\"v\":1,\"next\":{\"v\":2}}", "{\"v\":1,\"next\":{}}", "$.next has no member \"v\""},
        {"true", "1", "{", "no JSON"},
        {"{\"properties\":{\"a\":false}}", "{\"b\":1}", "{\"a\":1}", "$.a is not allowed"},
        {"{\"title\":\"t\",\"format\":\"date\",\"type\":\"string\"}", "\"x\"", "1", "string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct stele_error err = {0};
        if (check(cases[i].schema, cases[i].good, &err) != STELE_OK) {
            check_failed(__FILE__, __LINE__, "%s refuses %s: %s", cases[i].schema, cases[i].good,
                         err.message);
        }
        CHECK_EQ(check(cases[i].schema, cases[i].bad, &err), STELE_E_INVALID);
        CHECK_TEXT_HAS(err.message, cases[i].words);
        CHECK_TEXT_HAS(err.message, "event T: ");
    }
}

TEST(a_schema_that_cannot_be_checked_whole_is_refused)
{
    static const struct {
        const char *schema, *words;
    } cases[] = {
        {"{\"type\":\"text\"}", "\"type\": is not the name of a type"},
        {"{\"patternProperties\":{}}", "patternProperties"},
        {"{\"properties\":{\"a\":{\"minimun\":1}}}", "\"minimun\": this keyword is not known"},
        {"{\"required\":\"a\"}", "list of names"},
        {"{\"items\":[1]}", "a schema has to be"},
        {"{\"pattern\":\"(\"}", "no regular expression"},
        {"{\"minLength\":-1}", "not below 0"},
        {"{\"multipleOf\":0.1}", "others are not supported"},
        {"{\"$ref\":\"#/$defs/none\"}", "and be there"},
        {"{\"anyOf\":[]}", "needs a list"},
        {"{\"type\":\"object\",}", "line 1, column"},
        {"1", "a schema has to be"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct stele_error err = {0};
        CHECK_EQ(check(cases[i].schema, "{}", &err), STELE_E_UNSUPPORTED);
        CHECK_TEXT_HAS(err.message, "the schema of T: ");
        CHECK_TEXT_HAS(err.message, cases[i].words);
    }
}

TEST(a_schema_that_refers_to_itself_ends)
{
    struct stele_error err = {0};
    CHECK_EQ(check("{\"$ref\":\"#\"}", "1", &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "deeper than");
}

TEST(a_strict_registry_knows_all_that_is_appended)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_registry *registry = NULL;
    struct stele_error err = {0};
    const struct stele_event_type types[] = {
        {.struct_size = sizeof *types, .type = "B"},
        {.struct_size = sizeof *types, .type = "A"},
    };
    CHECK_EQ(stele_registry_create(memory, types, 2, STELE_REGISTRY_STRICT, &registry, &err),
             STELE_OK);
    CHECK_EQ(stele_registry_check(registry, "A", "x", 1, &err), STELE_OK);
    CHECK_EQ(stele_registry_check(registry, "C", "{}", 2, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "C is not in the registry");
    CHECK(stele_registry_find(registry, (struct stele_text){"B", 1}) == &types[0]);
    CHECK(stele_registry_find(registry, (struct stele_text){"BB", 2}) == NULL);
    CHECK_EQ(stele_registry_create(memory, types, 2, 0, &registry, &err), STELE_OK);
    CHECK_EQ(stele_registry_check(registry, "C", "{}", 2, &err), STELE_OK);
    const struct stele_event_type twice[] = {types[0], types[0]};
    CHECK_EQ(stele_registry_create(memory, twice, 2, 0, &registry, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "named twice");
    stele_memory_destroy(memory);
}
