/* Rules that say which events go where, and as what. Pure: see <stele/route.h>. */
#include "es/json.h"
#include "es/memory.h"
#include "keys/fields.h"

#include <stele/route.h>

#include <jansson.h>

struct transform {
    const struct stele_transform *given;
    struct stele_bytes mask; /* JSON. */
};

struct stele_routes {
    const struct stele_route *rules;
    size_t rules_count;
    struct transform *transforms;
    size_t transforms_count;
};

/* ---- Making them ---- */

static const struct transform *find_transform(const struct stele_routes *routes, const char *name)
{
    for (size_t i = 0; i < routes->transforms_count; i++) {
        if (strcmp(routes->transforms[i].given->name, name) == 0) {
            return &routes->transforms[i];
        }
    }
    return NULL;
}

static int check_pointers(const char *const *pointers, size_t count, const char *name,
                          struct stele_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (pointers[i] == NULL || !stele_fields_is_pointer(stele_bytes_of_text(pointers[i]))) {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "transformation %s: \"%s\" is no JSON pointer: write it as "
                              "\"/member/member\"",
                              name, pointers[i] != NULL ? pointers[i] : "");
        }
    }
    return STELE_OK;
}

static int make_transform(struct stele_routes *routes, const struct stele_transform *given,
                          struct stele_memory *memory, struct stele_error *err)
{
    if (given->struct_size != sizeof *given || given->name == NULL || given->name[0] == '\0') {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "transformation %zu needs its struct_size and a name",
                          routes->transforms_count);
    }
    if (find_transform(routes, given->name) != NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "two transformations are called %s",
                          given->name);
    }
    const bool declares =
        given->type != NULL || given->masked_count > 0 || given->metadata_masked_count > 0;
    if ((given->transform != NULL) == declares) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "transformation %s needs either a function, or a type or masks",
                          given->name);
    }
    int outcome = check_pointers(given->masked, given->masked_count, given->name, err);
    if (outcome == STELE_OK) {
        outcome =
            check_pointers(given->metadata_masked, given->metadata_masked_count, given->name, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_output text;
    stele_output_init(&text, stele_memory_source(memory));
    if (given->mask != NULL) {
        (void)stele_output_json_string(&text, given->mask, strlen(given->mask));
    } else {
        (void)stele_output_write(&text, "null", 4);
    }
    const uint8_t *const mask =
        text.failed == STELE_OK ? stele_memory_copy(memory, text.buf.data, text.buf.size) : NULL;
    const size_t size = text.buf.size;
    stele_output_deinit(&text);
    if (mask == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for routes");
    }
    routes->transforms[routes->transforms_count++] =
        (struct transform){.given = given, .mask = {mask, size}};
    return STELE_OK;
}

static int check_pattern(const char *pattern, size_t rule, struct stele_error *err)
{
    const char *const star = pattern != NULL ? strchr(pattern, '*') : NULL;
    if (pattern == NULL || pattern[0] == '\0') {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "rule %zu has no pattern: \"*\" stands for every type", rule);
    }
    const bool is_right = star == NULL || strcmp(pattern, "*") == 0 ||
                          (strchr(star + 1, '*') == NULL && (star == pattern || star[1] == '\0'));
    return is_right
               ? STELE_OK
               : stele_fail(err, STELE_E_INVALID, 0,
                            "rule %zu: \"%s\" has a \"*\" in the middle, or two: one may stand "
                            "at the beginning or at the end",
                            rule, pattern);
}

static int check_rule(const struct stele_routes *routes, size_t number, struct stele_error *err)
{
    const struct stele_route *const rule = &routes->rules[number];
    if (rule->struct_size != sizeof *rule || rule->targets == NULL || rule->targets_count == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "rule %zu needs its struct_size and a target",
                          number);
    }
    for (size_t i = 0; i < rule->targets_count; i++) {
        if (rule->targets[i] == NULL || rule->targets[i][0] == '\0') {
            return stele_fail(err, STELE_E_INVALID, 0, "rule %zu: target %zu has no name", number,
                              i);
        }
    }
    if (rule->transform != NULL && find_transform(routes, rule->transform) == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "rule %zu: there is no transformation %s",
                          number, rule->transform);
    }
    return check_pattern(rule->pattern, number, err);
}

int stele_routes_create(struct stele_memory *memory, const struct stele_route *rules,
                        size_t rules_count, const struct stele_transform *transforms,
                        size_t transforms_count, struct stele_routes **out_routes,
                        struct stele_error *err)
{
    if (memory == NULL || (rules == NULL && rules_count > 0) ||
        (transforms == NULL && transforms_count > 0) || out_routes == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_routes_create: an argument is NULL");
    }
    struct stele_routes *const routes = stele_memory_allocate_zeroed(memory, sizeof *routes);
    const bool fits = transforms_count <= SIZE_MAX / 2 / sizeof *routes->transforms;
    if (routes == NULL || !fits) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for routes");
    }
    routes->transforms =
        stele_memory_allocate(memory, transforms_count * sizeof *routes->transforms);
    if (routes->transforms == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for routes");
    }
    routes->rules = rules;
    routes->rules_count = rules_count;
    int outcome = STELE_OK;
    for (size_t i = 0; outcome == STELE_OK && i < transforms_count; i++) {
        outcome = make_transform(routes, &transforms[i], memory, err);
    }
    for (size_t i = 0; outcome == STELE_OK && i < rules_count; i++) {
        outcome = check_rule(routes, i, err);
    }
    if (outcome == STELE_OK) {
        *out_routes = routes;
    }
    return outcome;
}

/* ---- Matching ---- */

static bool matches(const char *pattern, struct stele_text type)
{
    const size_t size = strlen(pattern);
    if (pattern[0] == '*') {
        return type.size >= size - 1 &&
               memcmp(type.data + type.size - (size - 1), pattern + 1, size - 1) == 0;
    }
    if (pattern[size - 1] == '*') {
        return type.size >= size - 1 && memcmp(type.data, pattern, size - 1) == 0;
    }
    return type.size == size && memcmp(type.data, pattern, size) == 0;
}

/* Who has passed the event on so far; empty if it has no list of them. */
struct origins {
    const char *names[STELE_ROUTE_ORIGINS_MAX];
    size_t count;
};

static int read_origins(const struct stele_event *event, struct stele_memory *memory,
                        struct origins *out, struct stele_error *err)
{
    struct stele_text text;
    int outcome = stele_json_member(event->metadata, event->metadata_size, "$origins", &text);
    if (event->metadata_size > 0 && outcome == STELE_E_INVALID) {
        return stele_fail(err, outcome, 0,
                          "the metadata of %.*s are no JSON object, so nobody can see who passed "
                          "it on",
                          (int)event->type.size, event->type.data);
    }
    if (outcome != STELE_OK) {
        return STELE_OK;
    }
    json_t *const all = json_loadb(text.data, text.size, JSON_DECODE_ANY, NULL);
    size_t index;
    json_t *name;
    json_array_foreach(all, index, name)
    {
        if (out->count == STELE_ROUTE_ORIGINS_MAX) {
            outcome = stele_fail(err, STELE_E_LIMIT, 0,
                                 "%.*s has been passed on %u times: is there a circle of routers?",
                                 (int)event->type.size, event->type.data, STELE_ROUTE_ORIGINS_MAX);
            break;
        }
        const char *const value = json_string_value(name);
        out->names[out->count] =
            value != NULL ? stele_memory_copy(memory, value, strlen(value)) : "";
        if (out->names[out->count++] == NULL) {
            outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for routes");
            break;
        }
    }
    json_decref(all);
    return outcome;
}

static bool has_been_at(const struct origins *origins, const char *name)
{
    for (size_t i = 0; i < origins->count; i++) {
        if (strcmp(origins->names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- Transforming ---- */

struct masks {
    const char *const *pointers;
    size_t count;
    struct stele_bytes mask;
    struct stele_alloc *alloc;
};

static bool is_masked(void *context, struct stele_bytes path, struct stele_bytes value)
{
    const struct masks *const masks = context;
    (void)value;
    for (size_t i = 0; i < masks->count; i++) {
        if (stele_fields_path_matches(stele_bytes_of_text(masks->pointers[i]), path)) {
            return true;
        }
    }
    return false;
}

static int write_mask(void *context, struct stele_bytes path, struct stele_bytes value,
                      struct stele_buf *out)
{
    const struct masks *const masks = context;
    (void)path;
    (void)value;
    return stele_buf_append(out, masks->alloc, masks->mask);
}

static int mask(const char *const *pointers, size_t count, const struct transform *transform,
                struct stele_memory *memory, const void **data, size_t *size,
                struct stele_error *err)
{
    if (count == 0 || *size == 0) {
        return STELE_OK;
    }
    struct masks masks = {pointers, count, transform->mask, stele_memory_source(memory)};
    const struct stele_fields_walk walk = {
        .match = is_masked, .replace = write_mask, .context = &masks};
    struct stele_buf out = {.data = NULL};
    struct stele_error why;
    int outcome =
        stele_fields_walk((struct stele_bytes){*data, *size}, &walk, masks.alloc, &out, &why);
    void *const copy = outcome == STELE_OK ? stele_memory_copy(memory, out.data, out.size) : NULL;
    if (outcome == STELE_OK && copy == NULL) {
        outcome = stele_fail(&why, STELE_E_NO_MEMORY, 0, "no memory");
    }
    if (outcome == STELE_OK) {
        *data = copy;
        *size = out.size;
    } else {
        (void)stele_fail(err, outcome, 0, "transformation %s: %s", transform->given->name,
                         why.message);
    }
    stele_buf_deinit(&out, masks.alloc);
    return outcome;
}

static int transform_event(const struct transform *transform, struct stele_event *event,
                           struct stele_memory *memory, struct stele_error *err)
{
    const struct stele_transform *const given = transform->given;
    if (given->transform != NULL) {
        const int outcome = given->transform(given->context, event, memory);
        return outcome == STELE_OK || outcome == STELE_NOT_FOUND
                   ? outcome
                   : stele_fail(err, outcome, 0, "transformation %s: %s", given->name,
                                stele_outcome_name(outcome));
    }
    if (given->type != NULL) {
        event->type = (struct stele_text){given->type, strlen(given->type)};
    }
    const int outcome = mask(given->masked, given->masked_count, transform, memory, &event->data,
                             &event->data_size, err);
    return outcome != STELE_OK
               ? outcome
               : mask(given->metadata_masked, given->metadata_masked_count, transform, memory,
                      &event->metadata, &event->metadata_size, err);
}

static int add_origin(const struct origins *origins, const char *self, struct stele_event *event,
                      struct stele_memory *memory, struct stele_error *err)
{
    struct stele_alloc *const alloc = stele_memory_source(memory);
    struct stele_output list;
    struct stele_output metadata;
    stele_output_init(&list, alloc);
    stele_output_init(&metadata, alloc);
    (void)stele_output_write(&list, "[", 1);
    for (size_t i = 0; i < origins->count; i++) {
        (void)stele_output_json_string(&list, origins->names[i], strlen(origins->names[i]));
        (void)stele_output_write(&list, ",", 1);
    }
    (void)stele_output_json_string(&list, self, strlen(self));
    int outcome = stele_output_write(&list, "]", 1);
    if (outcome == STELE_OK) {
        outcome =
            stele_json_set((struct stele_bytes){event->metadata, event->metadata_size}, "$origins",
                           (struct stele_bytes){list.buf.data, list.buf.size}, &metadata);
    }
    void *const copy = outcome == STELE_OK
                           ? stele_memory_copy(memory, metadata.buf.data, metadata.buf.size)
                           : NULL;
    if (outcome == STELE_OK && copy == NULL) {
        outcome = STELE_E_NO_MEMORY;
    }
    if (outcome == STELE_OK) {
        event->metadata = copy;
        event->metadata_size = metadata.buf.size;
    } else {
        (void)stele_fail(err, outcome, 0, "the metadata of %.*s cannot be added to: %s",
                         (int)event->type.size, event->type.data,
                         outcome == STELE_E_INVALID ? "no JSON object" : "no memory");
    }
    stele_output_deinit(&list);
    stele_output_deinit(&metadata);
    return outcome;
}

/* ---- Applying ---- */

/* Is there an earlier rule, or an earlier target of this one, that says the same? */
static bool is_said_before(const struct stele_routes *routes, size_t rule, size_t target,
                           const char *source, struct stele_text type)
{
    const struct stele_route *const last = &routes->rules[rule];
    for (size_t i = 0; i <= rule; i++) {
        const struct stele_route *const one = &routes->rules[i];
        const bool is_same = one->transform == NULL || last->transform == NULL
                                 ? one->transform == last->transform
                                 : strcmp(one->transform, last->transform) == 0;
        const bool fits = one->source == NULL || strcmp(one->source, "*") == 0 ||
                          strcmp(one->source, source) == 0;
        const size_t count = i < rule ? one->targets_count : target;
        for (size_t k = 0; is_same && fits && matches(one->pattern, type) && k < count; k++) {
            if (strcmp(one->targets[k], last->targets[target]) == 0) {
                return true;
            }
        }
    }
    return false;
}

struct way {
    const struct stele_routes *routes;
    const char *self;
    const struct stele_event *event;
    struct stele_memory *memory;
    struct origins origins;
    stele_routed_callback on_routed;
    void *context;
};

static int go(const struct way *way, const char *target, const char *name, struct stele_error *err)
{
    struct stele_event event = *way->event;
    const struct transform *const transform =
        name != NULL ? find_transform(way->routes, name) : NULL;
    if (transform != NULL) {
        const int outcome = transform_event(transform, &event, way->memory, err);
        if (outcome != STELE_OK) {
            return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
        }
    }
    const int outcome = add_origin(&way->origins, way->self, &event, way->memory, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_routed routed = {.target = target, .transform = name, .event = &event};
    return way->on_routed(way->context, &routed);
}

int stele_routes_apply(const struct stele_routes *routes, const char *self, const char *only,
                       const struct stele_event *event, struct stele_memory *memory,
                       stele_routed_callback on_routed, void *context, struct stele_error *err)
{
    if (routes == NULL || event == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_routes_apply: an argument is NULL");
    }
    struct way way = {routes, self, event, memory, {.count = 0}, on_routed, context};
    int outcome = read_origins(event, memory, &way.origins, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const char *const source =
        way.origins.count > 0 ? way.origins.names[way.origins.count - 1] : self;
    bool is_known = false;
    for (size_t i = 0; outcome == STELE_OK && i < routes->rules_count; i++) {
        const struct stele_route *const rule = &routes->rules[i];
        if ((rule->source != NULL && strcmp(rule->source, "*") != 0 &&
             strcmp(rule->source, source) != 0) ||
            !matches(rule->pattern, event->type)) {
            continue;
        }
        is_known = true;
        for (size_t k = 0; outcome == STELE_OK && k < rule->targets_count; k++) {
            const char *const target = rule->targets[k];
            if ((only != NULL && strcmp(only, target) != 0) || strcmp(target, self) == 0 ||
                has_been_at(&way.origins, target) ||
                is_said_before(routes, i, k, source, event->type)) {
                continue;
            }
            outcome = go(&way, target, rule->transform, err);
        }
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    return is_known ? STELE_OK : STELE_NOT_FOUND;
}

/* ---- Passing on ---- */

struct passing {
    const struct stele_route_target *target;
    struct stele_process *process;
};

static const char *text_of(struct stele_memory *memory, struct stele_text text)
{
    return stele_memory_copy(memory, text.data, text.size);
}

static int pass_on(void *context, const struct stele_routed *routed)
{
    const struct passing *const passing = context;
    const struct stele_event *const event = routed->event;
    struct stele_memory *const memory = stele_process_memory(passing->process);
    const char *const prefix = passing->target->prefix != NULL ? passing->target->prefix : "";
    const size_t prefix_size = strlen(prefix);
    char *const stream = stele_memory_allocate(memory, prefix_size + event->stream.size + 1);
    const char **const tags =
        stele_memory_allocate(memory, (size_t)event->tags_count * sizeof *tags);
    const char *const type = text_of(memory, event->type);
    const char *const content_type = text_of(memory, event->content_type);
    if (stream == NULL || tags == NULL || type == NULL || content_type == NULL) {
        return STELE_E_NO_MEMORY;
    }
    memcpy(stream, prefix, prefix_size);
    memcpy(stream + prefix_size, event->stream.data, event->stream.size);
    stream[prefix_size + event->stream.size] = '\0';
    for (uint32_t i = 0; i < event->tags_count; i++) {
        tags[i] = text_of(memory, stele_event_tag(event, i));
        if (tags[i] == NULL) {
            return STELE_E_NO_MEMORY;
        }
    }
    const struct stele_event_draft draft = {
        .type = type,
        .data = event->data,
        .data_size = event->data_size,
        .metadata = event->metadata,
        .metadata_size = event->metadata_size,
        .content_type = content_type,
        .tags = tags,
        .tags_count = event->tags_count,
        .created_us = event->created_us,
    };
    return stele_process_emit(passing->process, stream, &draft);
}

int stele_route_handle(void *context, const struct stele_event *event, const void *state,
                       struct stele_process *process)
{
    if (context == NULL || event == NULL || process == NULL) {
        return STELE_E_INVALID;
    }
    const struct stele_route_target *const target = context;
    const struct passing passing = {target, process};
    struct stele_error err = {.outcome = STELE_OK};
    (void)state;
    if (target->struct_size != sizeof *target || target->routes == NULL || target->self == NULL ||
        target->target == NULL) {
        (void)stele_process_reject(process, "a route's target needs struct_size, routes, self and "
                                            "target");
        return STELE_E_INVALID;
    }
    const int outcome = stele_routes_apply(target->routes, target->self, target->target, event,
                                           stele_process_memory(process), pass_on,
                                           (void *)(uintptr_t)&passing, &err);
    if (outcome == STELE_OK || outcome == STELE_NOT_FOUND) {
        return STELE_OK;
    }
    if (err.outcome == outcome) {
        (void)stele_process_reject(process, "%s", err.message);
    }
    return outcome;
}
