/* Sagas and reactions in a file. */
#include "base/compiler.h"
#include "declared/file.h"

#include <stdio.h>
#include <string.h>

#define HEADER_SIZE_MAX 8192u

static const char *const ON_FAILURE[] = {"undo", "park", NULL};
static const char *const UNKNOWN[] = {"undo", "wait", NULL};
static const char *const FROM[] = {"now", "start", NULL};

/* ---- What is done -------------------------------------------------------------------------- */

static bool is_address(const char *url)
{
    return strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
}

static bool is_method(const char *method)
{
    size_t size = 0;
    while (method[size] >= 'A' && method[size] <= 'Z') {
        size++;
    }
    return size > 0 && size <= 16 && method[size] == '\0';
}

static int read_call(struct stele_declared_file *file, const yaml_node_t *node,
                     struct stele_declared_action *action, struct stele_error *err)
{
    const yaml_node_t *body = NULL;
    const struct stele_yaml_field fields[] = {
        {"url", STELE_YAML_TEXT, &action->url, true, NULL},
        {"method", STELE_YAML_TEXT, &action->method, false, NULL},
        {"body", STELE_YAML_NODE, &body, false, NULL},
    };
    const int outcome =
        stele_yaml_map(&file->yaml, node, "a call", fields, STELE_COUNT_OF(fields), err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (!is_address(action->url)) {
        return stele_yaml_fail(&file->yaml, node, err,
                               "url: %.80s does not begin with http:// or https://", action->url);
    }
    if (action->method != NULL && !is_method(action->method)) {
        return stele_yaml_fail(&file->yaml, node, err, "method: %.40s is none, like POST or PUT",
                               action->method);
    }
    return stele_declared__program(file, body, &action->body, err);
}

/* One of the two. */
static int read_action(struct stele_declared_file *file, const yaml_node_t *of,
                       const yaml_node_t *call, const yaml_node_t *append, const char *what,
                       struct stele_declared_action *action, struct stele_error *err)
{
    if ((call == NULL) == (append == NULL)) {
        return stele_yaml_fail(&file->yaml, of, err, "%s has a call, or an append%s", what,
                               call != NULL ? ", not both" : "");
    }
    return call != NULL ? read_call(file, call, action, err)
                        : stele_declared__program(file, append, &action->append, err);
}

static int read_retry(struct stele_declared_file *file, const yaml_node_t *node,
                      struct stele_saga_retry *retry, struct stele_error *err)
{
    uint64_t backoff_ms = 0;
    uint64_t backoff_max_ms = 0;
    if (node == NULL) {
        return STELE_OK;
    }
    const struct stele_yaml_field fields[] = {
        {"attempts", STELE_YAML_NUMBER, &retry->attempts_max, false, NULL},
        {"backoff", STELE_YAML_DURATION, &backoff_ms, false, NULL},
        {"backoff_max", STELE_YAML_DURATION, &backoff_max_ms, false, NULL},
    };
    const int outcome =
        stele_yaml_map(&file->yaml, node, "retry", fields, STELE_COUNT_OF(fields), err);
    retry->backoff_ms = (uint32_t)backoff_ms;
    retry->backoff_max_ms = (uint32_t)backoff_max_ms;
    return outcome;
}

/* ---- Steps --------------------------------------------------------------------------------- */

static int read_undo(struct stele_declared_file *file, const yaml_node_t *node,
                     struct stele_saga_step *step, struct stele_declared_action *action,
                     struct stele_error *err)
{
    const yaml_node_t *call = NULL;
    const yaml_node_t *append = NULL;
    const yaml_node_t *retry = NULL;
    const struct stele_yaml_field fields[] = {
        {"command", STELE_YAML_TEXT, &step->compensation, false, NULL},
        {"call", STELE_YAML_NODE, &call, false, NULL},
        {"append", STELE_YAML_NODE, &append, false, NULL},
        {"success", STELE_YAML_TEXT, &step->compensated, false, NULL},
        {"retry", STELE_YAML_NODE, &retry, false, NULL},
    };
    int outcome = stele_yaml_map(&file->yaml, node, "undo", fields, STELE_COUNT_OF(fields), err);
    if (outcome == STELE_OK) {
        step->compensation = step->compensation != NULL ? step->compensation : "undo";
        outcome = read_action(file, node, call, append, "undo", action, err);
    }
    return outcome == STELE_OK ? read_retry(file, retry, &step->compensation_retry, err) : outcome;
}

/* [a, b] becomes "a b", and [] becomes "". */
static int join(struct stele_declared_file *file, const struct stele_yaml_list *list,
                const char **out_text, struct stele_error *err)
{
    size_t size = 1;
    if (list->node == NULL) {
        return STELE_OK;
    }
    for (size_t i = 0; i < list->count; i++) {
        size += strlen(stele_yaml_text(&file->yaml, list, i)) + 1;
    }
    char *const text = stele_memory_allocate(file->memory, size);
    if (text == NULL) {
        return stele_declared__no_memory(file, err);
    }
    text[0] = '\0';
    for (size_t i = 0, at = 0; i < list->count; i++) {
        at += (size_t)snprintf(text + at, size - at, "%s%s", i > 0 ? " " : "",
                               stele_yaml_text(&file->yaml, list, i));
    }
    *out_text = text;
    return STELE_OK;
}

/* What steps and reactions have in common. */
struct common {
    const yaml_node_t *call, *append, *retry;
    uint64_t timeout_ms, delay_ms;
};

static int take_common(struct stele_declared_file *file, const yaml_node_t *node,
                       const struct common *common, const char *what, struct stele_saga_step *step,
                       struct stele_declared_step *actions, struct stele_error *err)
{
    step->timeout_ms = (uint32_t)common->timeout_ms;
    step->delay_ms = (uint32_t)common->delay_ms;
    int outcome = read_retry(file, common->retry, &step->retry, err);
    if (outcome == STELE_OK) {
        outcome =
            read_action(file, node, common->call, common->append, what, &actions->request, err);
    }
    return outcome;
}

static int read_step(struct stele_declared_file *file, const yaml_node_t *node,
                     struct stele_saga_step *step, struct stele_declared_step *actions,
                     struct stele_error *err)
{
    const yaml_node_t *undo = NULL;
    struct common common = {.call = NULL};
    struct stele_yaml_list after = {.node = NULL};
    const struct stele_yaml_field fields[] = {
        {"step", STELE_YAML_TEXT, &step->name, true, NULL},
        {"after", STELE_YAML_LIST, &after, false, NULL},
        {"command", STELE_YAML_TEXT, &step->request, false, NULL},
        {"call", STELE_YAML_NODE, &common.call, false, NULL},
        {"append", STELE_YAML_NODE, &common.append, false, NULL},
        {"success", STELE_YAML_TEXT, &step->success, false, NULL},
        {"failure", STELE_YAML_TEXT, &step->failure, false, NULL},
        {"timeout", STELE_YAML_DURATION, &common.timeout_ms, false, NULL},
        {"delay", STELE_YAML_DURATION, &common.delay_ms, false, NULL},
        {"retry", STELE_YAML_NODE, &common.retry, false, NULL},
        {"on_failure", STELE_YAML_CHOICE, &step->on_failure, false, ON_FAILURE},
        {"unknown", STELE_YAML_CHOICE, &step->unknown, false, UNKNOWN},
        {"undo", STELE_YAML_NODE, &undo, false, NULL},
    };
    int outcome = stele_yaml_map(&file->yaml, node, "a step", fields, STELE_COUNT_OF(fields), err);
    if (outcome == STELE_OK) {
        outcome = take_common(file, node, &common, "a step", step, actions, err);
    }
    if (outcome == STELE_OK && undo != NULL) {
        outcome = read_undo(file, undo, step, &actions->undo, err);
    }
    return outcome == STELE_OK ? join(file, &after, &step->after, err) : outcome;
}

static int read_steps(struct stele_declared_file *file, const yaml_node_t *node,
                      struct stele_declared_saga *saga, struct stele_error *err)
{
    size_t count = 0;
    int outcome = stele_yaml_items(&file->yaml, node, "steps", STELE_SAGA_STEPS_MAX, &count, err);
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        outcome = read_step(file, stele_yaml_item(&file->yaml, node, i), &saga->steps[i],
                            &saga->actions[i], err);
    }
    saga->table.steps_count = count;
    return outcome;
}

/* ---- Headers ------------------------------------------------------------------------------- */

/* "Bearer ${TOKEN}": what must not stand in a file comes from the environment. */
static int expand(struct stele_declared_file *file, const yaml_node_t *node, const char *text,
                  char *to, size_t size, struct stele_error *err)
{
    size_t at = strlen(to);
    for (; *text != '\0'; text++) {
        const char *const end = strncmp(text, "${", 2) == 0 ? strchr(text, '}') : NULL;
        char name[64] = "";
        const char *value = NULL;
        if (end != NULL && (size_t)(end - text) < sizeof name) {
            (void)snprintf(name, sizeof name, "%.*s", (int)(end - text - 2), text + 2);
            value = file->variable(name);
            if (value == NULL) {
                return stele_yaml_fail(&file->yaml, node, err, "the environment has no variable %s",
                                       name);
            }
            text = end;
        }
        const int more = value != NULL ? snprintf(to + at, size - at, "%s", value)
                                       : snprintf(to + at, size - at, "%c", *text);
        at += (size_t)more;
        if (at >= size) {
            return stele_yaml_fail(&file->yaml, node, err, "the header is too long");
        }
    }
    return STELE_OK;
}

static int read_header(struct stele_declared_file *file, const yaml_node_t *name,
                       const yaml_node_t *value, const char **out_header, struct stele_error *err)
{
    char line[HEADER_SIZE_MAX];
    const char *const key = stele_yaml_scalar(name);
    const char *const text = stele_yaml_scalar(value);
    if (key == NULL || text == NULL || key[0] == '\0' || strpbrk(key, ": \r\n") != NULL ||
        strlen(key) > 200) {
        return stele_yaml_fail(&file->yaml, name, err, "headers are like Name: value");
    }
    (void)snprintf(line, sizeof line, "%s: ", key);
    const int outcome = expand(file, value, text, line, sizeof line, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (strpbrk(line, "\r\n") != NULL) {
        return stele_yaml_fail(&file->yaml, value, err, "a header has no line ends");
    }
    *out_header = stele_memory_copy(file->memory, line, strlen(line));
    return *out_header != NULL ? STELE_OK : stele_declared__no_memory(file, err);
}

static int read_headers(struct stele_declared_file *file, const yaml_node_t *node,
                        struct stele_declared_saga *saga, struct stele_error *err)
{
    int outcome = STELE_OK;
    if (node == NULL) {
        return STELE_OK;
    }
    if (node->type != YAML_MAPPING_NODE) {
        return stele_yaml_fail(&file->yaml, node, err, "headers are like Name: value");
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top && outcome == STELE_OK; pair++) {
        if (saga->headers_count == STELE_DECLARED_HEADERS_MAX) {
            return stele_yaml_fail(&file->yaml, node, err, "there are more than %u headers",
                                   STELE_DECLARED_HEADERS_MAX);
        }
        outcome = read_header(file, yaml_document_get_node(&file->yaml.document, pair->key),
                              yaml_document_get_node(&file->yaml.document, pair->value),
                              &saga->headers[saga->headers_count++], err);
    }
    return outcome;
}

/* ---- Sagas --------------------------------------------------------------------------------- */

static int read_breaker(struct stele_declared_file *file, const yaml_node_t *node,
                        struct stele_breaker_config *breaker, struct stele_error *err)
{
    uint64_t window_ms = 0;
    uint64_t open_ms = 0;
    uint64_t open_max_ms = 0;
    if (node == NULL) {
        return STELE_OK;
    }
    const struct stele_yaml_field fields[] = {
        {"window", STELE_YAML_DURATION, &window_ms, false, NULL},
        {"calls", STELE_YAML_NUMBER, &breaker->calls_min, false, NULL},
        {"failures", STELE_YAML_NUMBER, &breaker->failure_percent, false, NULL},
        {"open", STELE_YAML_DURATION, &open_ms, false, NULL},
        {"open_max", STELE_YAML_DURATION, &open_max_ms, false, NULL},
    };
    const int outcome =
        stele_yaml_map(&file->yaml, node, "breaker", fields, STELE_COUNT_OF(fields), err);
    if (outcome == STELE_OK && breaker->failure_percent > 100) {
        return stele_yaml_fail(&file->yaml, node, err, "breaker: failures is a percentage");
    }
    breaker->window_ms = (uint32_t)window_ms;
    breaker->open_ms = (uint32_t)open_ms;
    breaker->open_ms_max = (uint32_t)open_max_ms;
    return outcome;
}

/* Keys of sagas and of reactions. */
struct keys {
    struct stele_yaml_list on, category;
    const yaml_node_t *when, *id, *input, *breaker, *headers, *steps;
    struct common common;
    uint64_t deadline_ms;
    int from;
    const char *ca_file;
};

static int read_keys(struct stele_declared_file *file, const yaml_node_t *node, bool reaction,
                     struct stele_declared_saga *saga, struct keys *keys, struct stele_error *err)
{
    const struct stele_yaml_field of_both[] = {
        {reaction ? "reaction" : "saga", STELE_YAML_TEXT, &saga->table.kind, true, NULL},
        {"on", STELE_YAML_LIST, &keys->on, true, NULL},
        {"category", STELE_YAML_LIST, &keys->category, false, NULL},
        {"when", STELE_YAML_NODE, &keys->when, false, NULL},
        {"from", STELE_YAML_CHOICE, &keys->from, false, FROM},
        {"breaker", STELE_YAML_NODE, &keys->breaker, false, NULL},
        {"headers", STELE_YAML_NODE, &keys->headers, false, NULL},
        {"ca", STELE_YAML_TEXT, &keys->ca_file, false, NULL},
    };
    const struct stele_yaml_field of_sagas[] = {
        {"id", STELE_YAML_NODE, &keys->id, false, NULL},
        {"input", STELE_YAML_NODE, &keys->input, false, NULL},
        {"deadline", STELE_YAML_DURATION, &keys->deadline_ms, false, NULL},
        {"steps", STELE_YAML_NODE, &keys->steps, true, NULL},
    };
    const struct stele_yaml_field of_reactions[] = {
        {"call", STELE_YAML_NODE, &keys->common.call, false, NULL},
        {"append", STELE_YAML_NODE, &keys->common.append, false, NULL},
        {"timeout", STELE_YAML_DURATION, &keys->common.timeout_ms, false, NULL},
        {"delay", STELE_YAML_DURATION, &keys->common.delay_ms, false, NULL},
        {"retry", STELE_YAML_NODE, &keys->common.retry, false, NULL},
    };
    struct stele_yaml_field fields[STELE_COUNT_OF(of_both) + STELE_COUNT_OF(of_reactions)];
    const size_t more = reaction ? STELE_COUNT_OF(of_reactions) : STELE_COUNT_OF(of_sagas);
    memcpy(fields, of_both, sizeof of_both);
    memcpy(fields + STELE_COUNT_OF(of_both), reaction ? of_reactions : of_sagas,
           more * sizeof fields[0]);
    return stele_yaml_map(&file->yaml, node, reaction ? "a reaction" : "a saga", fields,
                          STELE_COUNT_OF(of_both) + more, err);
}

static int take_lists(struct stele_declared_file *file, const yaml_node_t *node,
                      const struct keys *keys, struct stele_declared_saga *saga,
                      struct stele_error *err)
{
    if (keys->on.count == 0) {
        return stele_yaml_fail(&file->yaml, node, err, "on: names no type of event");
    }
    saga->triggers_count = keys->on.count;
    saga->categories_count = keys->category.count;
    int outcome = stele_declared__texts(file, &keys->on, &saga->triggers, err);
    if (outcome == STELE_OK && keys->category.node != NULL) {
        outcome = stele_declared__texts(file, &keys->category, &saga->categories, err);
    }
    return outcome;
}

static int take_programs(struct stele_declared_file *file, const struct keys *keys,
                         struct stele_declared_saga *saga, struct stele_error *err)
{
    int outcome = stele_declared__program(file, keys->when, &saga->when, err);
    if (outcome == STELE_OK) {
        outcome = stele_declared__program(file, keys->id, &saga->id, err);
    }
    return outcome == STELE_OK ? stele_declared__program(file, keys->input, &saga->input, err)
                               : outcome;
}

static int take_steps(struct stele_declared_file *file, const yaml_node_t *node,
                      const struct keys *keys, struct stele_declared_saga *saga,
                      struct stele_error *err)
{
    if (!saga->reaction) {
        return read_steps(file, keys->steps, saga, err);
    }
    saga->table.steps_count = 1;
    saga->steps[0].name = "do";
    saga->steps[0].on_failure = STELE_SAGA_PARK;
    const int outcome = stele_declared__identity(file, &saga->input, err); /* The whole event. */
    if (outcome != STELE_OK) {
        return outcome;
    }
    return take_common(file, node, &keys->common, "a reaction", &saga->steps[0], &saga->actions[0],
                       err);
}

/* Names, circles, limits: what the machine says of the table. */
static int check_table(struct stele_declared_file *file, const yaml_node_t *node,
                       const struct stele_declared_saga *saga, struct stele_error *err)
{
    struct stele_saga_plan plan;
    struct stele_error inner = {0};
    memset(&plan, 0, sizeof plan);
    return stele_saga_plan_init(&plan, &saga->table, &inner) == STELE_OK
               ? STELE_OK
               : stele_yaml_fail(&file->yaml, node, err, "%s", inner.message);
}

int stele_declared__saga(struct stele_declared_file *file, const yaml_node_t *node, bool reaction,
                         struct stele_declared_saga *saga, struct stele_error *err)
{
    struct keys keys = {.from = 0};
    saga->reaction = reaction;
    saga->line = stele_yaml_line(node);
    saga->table.steps = saga->steps;
    int outcome = read_keys(file, node, reaction, saga, &keys, err);
    if (outcome == STELE_OK) {
        outcome = take_lists(file, node, &keys, saga, err);
    }
    if (outcome == STELE_OK) {
        outcome = take_programs(file, &keys, saga, err);
    }
    if (outcome == STELE_OK) {
        outcome = read_breaker(file, keys.breaker, &saga->breaker, err);
    }
    if (outcome == STELE_OK) {
        outcome = read_headers(file, keys.headers, saga, err);
    }
    if (outcome == STELE_OK) {
        outcome = take_steps(file, node, &keys, saga, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    saga->table.deadline_ms = keys.deadline_ms;
    saga->from = keys.from == 0 ? STELE_FROM_END : 0;
    if (keys.ca_file != NULL) {
        saga->ca_file = stele_declared__beside(file, keys.ca_file);
        if (saga->ca_file == NULL) {
            return stele_declared__no_memory(file, err);
        }
    }
    return check_table(file, node, saga, err);
}
