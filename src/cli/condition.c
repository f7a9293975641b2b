#include "cli/condition.h"

#include "cli/cli.h"
#include "cli/text.h"

#include <string.h>

/* The number of names and, if the value is a list of names, the names. NULL is an empty list. */
static bool take_names(const json_t *value, const char *const **out_names, size_t *out_count)
{
    const size_t count = json_array_size(value);
    if (value != NULL && !json_is_array(value)) {
        return false;
    }
    const char **const names = stele_cli_keep((count + 1) * sizeof *names);
    for (size_t i = 0; i < count; i++) {
        const json_t *const name = json_array_get(value, i);
        const size_t size = json_string_length(name);
        if (!json_is_string(name) || size == 0 || strlen(json_string_value(name)) != size) {
            return false;
        }
        char *const copy = stele_cli_keep(size + 1);
        memcpy(copy, json_string_value(name), size);
        names[i] = copy;
    }
    *out_names = names;
    *out_count = count;
    return true;
}

static bool take_item(json_t *value, struct stele_query_item *out_item)
{
    const json_t *const types = json_object_get(value, "types");
    const json_t *const tags = json_object_get(value, "tags");
    const size_t known = (size_t)(types != NULL) + (size_t)(tags != NULL);
    return json_is_object(value) && json_object_size(value) == known && known > 0 &&
           take_names(types, &out_item->types, &out_item->types_count) &&
           take_names(tags, &out_item->tags, &out_item->tags_count);
}

static int take_json(const struct stele_cli_command *command, const char *text,
                     struct stele_condition *out_condition)
{
    json_error_t error;
    json_t *const list = json_loads(text, 0, &error);
    if (list == NULL) {
        return stele_cli_fail(STELE_CLI_INPUT, "input",
                              "%s: --fail-if is no JSON: line %d, column %d: %s; correct it",
                              command->name, error.line, error.column, error.text);
    }
    const size_t count = json_array_size(list);
    struct stele_query_item *const items = stele_cli_keep((count + 1) * sizeof *items);
    bool good = json_is_array(list) && count > 0;
    for (size_t i = 0; good && i < count; i++) {
        good = take_item(json_array_get(list, i), &items[i]);
    }
    json_decref(list);
    if (!good) {
        return stele_cli_fail(
            STELE_CLI_INPUT, "input",
            "%s: --fail-if has to be a list of alternatives; write [{\"types\": [\"A\"], \"tags\": "
            "[\"x\"]}]",
            command->name);
    }
    out_condition->items = items;
    out_condition->items_count = count;
    return STELE_CLI_GO_ON;
}

static int parse_after(const struct stele_cli_command *command, const char *text,
                       uint64_t *out_after)
{
    const enum stele_cli_number result = stele_cli_number(text, out_after);
    if (result == STELE_CLI_NUMBER_OK && *out_after <= STELE_POSITION_MAX) {
        return STELE_CLI_GO_ON;
    }
    return stele_cli_usage_error(command, "--after: '%s' is no position", text);
}

int stele_cli_conditions(const struct stele_cli_command *command,
                         const struct stele_cli_conditions *conditions,
                         struct stele_condition out_conditions[2], size_t *out_count)
{
    const bool simple = conditions->types.count + conditions->tags.count > 0;
    uint64_t after = 0;
    size_t count = 0;
    if (conditions->after != NULL) {
        const int code = parse_after(command, conditions->after, &after);
        if (code != STELE_CLI_GO_ON) {
            return code;
        }
        if (!simple && conditions->json == NULL) {
            return stele_cli_usage_error(
                command, "--after needs --fail-if-type, --fail-if-tag or --fail-if");
        }
    }
    if (simple) {
        struct stele_query_item *const item = stele_cli_keep(sizeof *item);
        *item = (struct stele_query_item){conditions->types.items, conditions->types.count,
                                          conditions->tags.items, conditions->tags.count};
        out_conditions[count++] = (struct stele_condition){item, 1, after};
    }
    if (conditions->json != NULL) {
        out_conditions[count] = (struct stele_condition){.after = after};
        const int code = take_json(command, conditions->json, &out_conditions[count++]);
        if (code != STELE_CLI_GO_ON) {
            return code;
        }
    }
    *out_count = count;
    return STELE_CLI_GO_ON;
}
