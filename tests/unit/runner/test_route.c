/* Rules and transformations, without a store: which events go where, and as what. */
#include "lib/check.h"

#include <stele/route.h>

static struct stele_memory *memory;
static struct stele_error err;

/* What came of one call: "target type data metadata\n" for each way. */
static char said[4096];

static int say(void *context, const struct stele_routed *routed)
{
    const struct stele_event *const event = routed->event;
    const size_t used = strlen(said);
    (void)context;
    (void)snprintf(said + used, sizeof said - used, "%s %.*s %.*s %.*s\n", routed->target,
                   (int)event->type.size, event->type.data, (int)event->data_size,
                   (const char *)event->data, (int)event->metadata_size,
                   (const char *)event->metadata);
    return STELE_OK;
}

static struct stele_event an_event(const char *type, const char *data, const char *metadata)
{
    return (struct stele_event){
        .position = 7,
        .type = {type, strlen(type)},
        .stream = {"user-1", 6},
        .content_type = {"application/json", 16},
        .data = data,
        .data_size = strlen(data),
        .metadata = metadata,
        .metadata_size = strlen(metadata),
    };
}

static int apply(const struct stele_routes *routes, const char *self, const char *only,
                 const char *type, const char *data, const char *metadata)
{
    const struct stele_event event = an_event(type, data, metadata);
    said[0] = '\0';
    return stele_routes_apply(routes, self, only, &event, memory, say, NULL, &err);
}

#define RULE(from, types, name, ...)                                                               \
    {                                                                                              \
        .struct_size = sizeof(struct stele_route), .source = from, .pattern = types,               \
        .targets = (const char *const[]){__VA_ARGS__},                                             \
        .targets_count = sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *),              \
        .transform = name                                                                          \
    }

static struct stele_routes *make(const struct stele_route *rules, size_t count,
                                 const struct stele_transform *transforms, size_t transforms_count)
{
    struct stele_routes *routes = NULL;
    CHECK_OK(stele_routes_create(memory, rules, count, transforms, transforms_count, &routes, &err),
             err);
    return routes;
}

static int refuse(const struct stele_route *rules, size_t count,
                  const struct stele_transform *transforms, size_t transforms_count)
{
    struct stele_routes *routes = NULL;
    const int outcome =
        stele_routes_create(memory, rules, count, transforms, transforms_count, &routes, &err);
    CHECK(routes == NULL);
    return outcome;
}

TEST(patterns_are_exact_or_open_at_one_end_or_fit_everything)
{
    memory = stele_memory_create();
    const struct stele_route rules[] = {
        RULE(NULL, "UserMoved", NULL, "exact"),
        RULE(NULL, "User*", NULL, "begin"),
        RULE(NULL, "*Moved", NULL, "end"),
        RULE("*", "*", NULL, "all"),
    };
    struct stele_routes *const routes = make(rules, 4, NULL, 0);
    CHECK_EQ(apply(routes, "crm", NULL, "UserMoved", "1", "{}"), STELE_OK);
    CHECK_TEXT_EQ(said, "exact UserMoved 1 {\"$origins\":[\"crm\"]}\n"
                        "begin UserMoved 1 {\"$origins\":[\"crm\"]}\n"
                        "end UserMoved 1 {\"$origins\":[\"crm\"]}\n"
                        "all UserMoved 1 {\"$origins\":[\"crm\"]}\n");
    CHECK_EQ(apply(routes, "crm", NULL, "User", "1", ""), STELE_OK);
    CHECK_TEXT_EQ(said, "begin User 1 {\"$origins\":[\"crm\"]}\n"
                        "all User 1 {\"$origins\":[\"crm\"]}\n");
    CHECK_EQ(apply(routes, "crm", "end", "XMoved", "1", ""), STELE_OK);
    CHECK_TEXT_EQ(said, "end XMoved 1 {\"$origins\":[\"crm\"]}\n");
    struct stele_routes *const few = make(rules, 1, NULL, 0);
    CHECK_EQ(apply(few, "crm", NULL, "UserMove", "1", ""), STELE_NOT_FOUND);
    CHECK_EQ(apply(few, "crm", NULL, "UserMovedOn", "1", ""), STELE_NOT_FOUND);
    stele_memory_destroy(memory);
}

TEST(a_target_gets_an_event_once_for_each_transformation)
{
    memory = stele_memory_create();
    const struct stele_transform transforms[] = {
        {.struct_size = sizeof transforms[0], .name = "customer", .type = "CustomerMoved"}};
    const struct stele_route rules[] = {
        RULE(NULL, "User*", NULL, "a", "b", "a"),
        RULE(NULL, "*", NULL, "b"),
        RULE(NULL, "*", "customer", "a"),
        RULE("other", "*", NULL, "c"),
    };
    struct stele_routes *const routes = make(rules, 4, transforms, 1);
    CHECK_EQ(apply(routes, "crm", NULL, "UserMoved", "1", ""), STELE_OK);
    CHECK_TEXT_EQ(said, "a UserMoved 1 {\"$origins\":[\"crm\"]}\n"
                        "b UserMoved 1 {\"$origins\":[\"crm\"]}\n"
                        "a CustomerMoved 1 {\"$origins\":[\"crm\"]}\n");
    stele_memory_destroy(memory);
}

TEST(nobody_is_passed_what_it_has_passed_on_itself)
{
    memory = stele_memory_create();
    const struct stele_route rules[] = {RULE(NULL, "*", NULL, "a", "b", "c"),
                                        RULE("b", "*", NULL, "d")};
    struct stele_routes *const routes = make(rules, 2, NULL, 0);
    CHECK_EQ(apply(routes, "a", NULL, "T", "1", "{\"x\":1,\"$origins\":[\"c\",\"b\"],\"y\":2}"),
             STELE_OK);
    CHECK_TEXT_EQ(said, "d T 1 {\"x\":1,\"y\":2,\"$origins\":[\"c\",\"b\",\"a\"]}\n");
    /* The source is who passed it on last. */
    CHECK_EQ(apply(routes, "a", "d", "T", "1", "{\"$origins\":[\"b\",\"c\"]}"), STELE_OK);
    CHECK_TEXT_EQ(said, "");
    CHECK_EQ(apply(routes, "a", NULL, "T", "1",
                   "{\"$origins\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\","
                   "\"11\",\"12\",\"13\",\"14\",\"15\",\"16\",\"17\"]}"),
             STELE_E_LIMIT);
    CHECK_TEXT_HAS(err.message, "circle");
    stele_memory_destroy(memory);
}

TEST(masked_values_go_wherever_they_are_and_nothing_else_changes)
{
    memory = stele_memory_create();
    static const char *const masked[] = {"/email", "/people/*/email"};
    static const char *const hidden[] = {"/who"};
    const struct stele_transform transforms[] = {{.struct_size = sizeof transforms[0],
                                                  .name = "anonymous",
                                                  .masked = masked,
                                                  .masked_count = 2,
                                                  .metadata_masked = hidden,
                                                  .metadata_masked_count = 1,
                                                  .mask = "***@***.***"},
                                                 {.struct_size = sizeof transforms[0],
                                                  .name = "null",
                                                  .type = "Cleaned",
                                                  .masked = masked,
                                                  .masked_count = 1}};
    const struct stele_route rules[] = {RULE(NULL, "*", "anonymous", "a"),
                                        RULE(NULL, "*", "null", "b")};
    struct stele_routes *const routes = make(rules, 2, transforms, 2);
    CHECK_EQ(apply(routes, "crm", NULL, "T",
                   "{\"sum\": 1.10, \"em\\u0061il\":\"x@y.z\",\"people\":[{\"email\":{\"a\":1}},"
                   "{\"n\":\"email\"}]}",
                   "{\"who\":\"me\"}"),
             STELE_OK);
    CHECK_TEXT_EQ(
        said, "a T {\"sum\": 1.10, \"em\\u0061il\":\"***@***.***\",\"people\":[{\"email\":"
              "\"***@***.***\"},{\"n\":\"email\"}]} "
              "{\"who\":\"***@***.***\",\"$origins\":[\"crm\"]}\n"
              "b Cleaned {\"sum\": 1.10, \"em\\u0061il\":null,\"people\":[{\"email\":{\"a\":1}},"
              "{\"n\":\"email\"}]} {\"who\":\"me\",\"$origins\":[\"crm\"]}\n");
    /* What cannot be masked is not passed on. */
    CHECK_EQ(apply(routes, "crm", NULL, "T", "email: x@y.z", ""), STELE_E_INVALID);
    CHECK_TEXT_EQ(said, "");
    CHECK_TEXT_HAS(err.message, "anonymous");
    CHECK_EQ(apply(routes, "crm", NULL, "T", "{}", "no object"), STELE_E_INVALID);
    CHECK_TEXT_EQ(said, "");
    stele_memory_destroy(memory);
}

static int keep_large(void *context, struct stele_event *event, struct stele_memory *in)
{
    (void)in;
    if (event->data_size < 2) {
        return STELE_NOT_FOUND;
    }
    if (event->data_size > 3) {
        return STELE_E_LIMIT;
    }
    event->data = context;
    event->data_size = strlen(context);
    return STELE_OK;
}

TEST(a_function_may_change_leave_out_or_refuse)
{
    memory = stele_memory_create();
    char text[] = "large";
    const struct stele_transform transforms[] = {{.struct_size = sizeof transforms[0],
                                                  .name = "large",
                                                  .transform = keep_large,
                                                  .context = text}};
    const struct stele_route rules[] = {RULE(NULL, "*", "large", "a")};
    struct stele_routes *const routes = make(rules, 1, transforms, 1);
    CHECK_EQ(apply(routes, "crm", NULL, "T", "12", ""), STELE_OK);
    CHECK_TEXT_EQ(said, "a T large {\"$origins\":[\"crm\"]}\n");
    CHECK_EQ(apply(routes, "crm", NULL, "T", "1", ""), STELE_OK);
    CHECK_TEXT_EQ(said, "");
    CHECK_EQ(apply(routes, "crm", NULL, "T", "1234", ""), STELE_E_LIMIT);
    CHECK_TEXT_HAS(err.message, "large");
    stele_memory_destroy(memory);
}

TEST(rules_that_are_not_right_are_named)
{
    memory = stele_memory_create();
    const struct stele_transform good = {
        .struct_size = sizeof good, .name = "good", .type = "Good"};
    const struct stele_transform twice[] = {good, good};
    static const char *const bad_pointer[] = {"email"};
    const struct stele_transform pointer = {
        .struct_size = sizeof pointer, .name = "mask", .masked = bad_pointer, .masked_count = 1};
    const struct stele_transform nothing = {.struct_size = sizeof nothing, .name = "nothing"};
    const struct stele_route middle[] = {RULE(NULL, "*", NULL, "a"), RULE(NULL, "A*B", NULL, "a")};
    const struct stele_route both[] = {RULE(NULL, "*A*", NULL, "a")};
    const struct stele_route unknown[] = {RULE(NULL, "*", "better", "a")};
    const struct stele_route empty[] = {RULE(NULL, "", NULL, "a")};
    const struct stele_route unnamed[] = {RULE(NULL, "*", NULL, "a", "")};
    const struct stele_route nowhere[] = {
        {.struct_size = sizeof nowhere[0], .pattern = "*", .targets_count = 0}};
    CHECK_EQ(refuse(middle, 2, NULL, 0), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "rule 1: \"A*B\"");
    CHECK_EQ(refuse(both, 1, NULL, 0), STELE_E_INVALID);
    CHECK_EQ(refuse(unknown, 1, &good, 1), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "better");
    CHECK_EQ(refuse(empty, 1, NULL, 0), STELE_E_INVALID);
    CHECK_EQ(refuse(unnamed, 1, NULL, 0), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "target 1");
    CHECK_EQ(refuse(nowhere, 1, NULL, 0), STELE_E_INVALID);
    CHECK_EQ(refuse(NULL, 0, twice, 2), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "good");
    CHECK_EQ(refuse(NULL, 0, &pointer, 1), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "\"email\"");
    CHECK_EQ(refuse(NULL, 0, &nothing, 1), STELE_E_INVALID);
    stele_memory_destroy(memory);
}
