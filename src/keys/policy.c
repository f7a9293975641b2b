#include "keys/policy.h"

#include "keys/fields.h"

#include <jansson.h>

struct stele_policy {
    struct stele_alloc *alloc;
    struct stele_arena arena;
    struct stele_policy_rule *rules;
    size_t count;
};

struct reader {
    struct stele_policy *policy;
    struct stele_error *err;
    size_t rule; /* Its number, from 1. */
};

static int fail(const struct reader *reader, const char *what, const char *name)
{
    return stele_fail(reader->err, STELE_E_INVALID, 0, "policy: rule %zu: %s%.100s", reader->rule,
                      what, name);
}

static void *take(const struct reader *reader, size_t size)
{
    return stele_arena_allocate(&reader->policy->arena, reader->policy->alloc, size > 0 ? size : 1);
}

static int copy_text(const struct reader *reader, const json_t *value, const char *what,
                     const char **out)
{
    const size_t size = json_string_length(value);
    if (!json_is_string(value) || size == 0 || strlen(json_string_value(value)) != size) {
        return fail(reader, what, " has to be text that is not empty");
    }
    char *copy = take(reader, size + 1);
    if (copy == NULL) {
        return stele_fail(reader->err, STELE_E_NO_MEMORY, 0, "policy: no memory");
    }
    memcpy(copy, json_string_value(value), size + 1);
    *out = copy;
    return STELE_OK;
}

static int copy_texts(const struct reader *reader, const json_t *array, const char *what,
                      const char *const **out, size_t *out_count)
{
    const size_t count = json_array_size(array);
    if (!json_is_array(array) || count == 0 || count > STELE_POLICY_RULES_MAX) {
        return fail(reader, what, " has to be a list of 1 to 1024 texts");
    }
    const char **texts = take(reader, count * sizeof *texts);
    int outcome = texts == NULL ? stele_fail(reader->err, STELE_E_NO_MEMORY, 0, "policy: no memory")
                                : STELE_OK;
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        outcome = copy_text(reader, json_array_get(array, i), what, &texts[i]);
    }
    *out = texts;
    *out_count = count;
    return outcome;
}

static int check_rule(const struct reader *reader, const struct stele_policy_rule *rule)
{
    if (rule->types_count == 0 || rule->subject == NULL) {
        return fail(reader, rule->subject == NULL ? "subject" : "types", " is missing");
    }
    if (strcmp(rule->subject, "$stream") != 0 &&
        !stele_fields_is_pointer(stele_bytes_of_text(rule->subject))) {
        return fail(reader, "subject has to be \"$stream\" or a JSON pointer like /customer, not ",
                    rule->subject);
    }
    for (size_t i = 0; i < rule->fields_count; i++) {
        if (!stele_fields_is_pointer(stele_bytes_of_text(rule->fields[i]))) {
            return fail(reader, "fields: no JSON pointer like /name: ", rule->fields[i]);
        }
        /* Sealing a value from which the subject comes is allowed: the subject is known by then. */
    }
    return STELE_OK;
}

/* A member that nobody knows is a mistake: "field" for "fields" would leave data in the clear. */
static int read_rule(struct reader *reader, const json_t *object, struct stele_policy_rule *rule)
{
    const char *name = NULL;
    json_t *value = NULL;
    int outcome = json_is_object(object) ? STELE_OK : fail(reader, "it has to be an object", "");
    if (outcome != STELE_OK) {
        return outcome;
    }
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (strcmp(name, "types") == 0) {
            outcome = copy_texts(reader, value, "types", &rule->types, &rule->types_count);
        } else if (strcmp(name, "subject") == 0) {
            outcome = copy_text(reader, value, "subject", &rule->subject);
        } else if (strcmp(name, "fields") == 0) {
            outcome = copy_texts(reader, value, "fields", &rule->fields, &rule->fields_count);
        } else if (strcmp(name, "metadata") == 0 && json_is_boolean(value)) {
            rule->metadata = json_is_true(value);
        } else {
            outcome = fail(reader, "no member that is known, or a wrong value: ", name);
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return check_rule(reader, rule);
}

static int read_rules(struct stele_policy *policy, const json_t *object, struct stele_error *err)
{
    struct reader reader = {.policy = policy, .err = err};
    const json_t *rules = json_object_get(object, "seal");
    const size_t count = json_array_size(rules);
    if (!json_is_array(rules) || json_object_size(object) != 1 || count > STELE_POLICY_RULES_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "policy: it has to be {\"seal\": [rule, …]}, of at most %d rules",
                          STELE_POLICY_RULES_MAX);
    }
    policy->rules = take(&reader, count * sizeof *policy->rules);
    if (policy->rules == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "policy: no memory");
    }
    int outcome = STELE_OK;
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        reader.rule = i + 1;
        policy->rules[i] = (struct stele_policy_rule){.types_count = 0};
        outcome = read_rule(&reader, json_array_get(rules, i), &policy->rules[i]);
    }
    policy->count = count;
    return outcome;
}

int stele_policy_create(struct stele_bytes json, struct stele_alloc *alloc,
                        struct stele_policy **out_policy, struct stele_error *err)
{
    json_error_t error;
    if (json.size > STELE_POLICY_SIZE_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "policy: larger than %zu bytes",
                          STELE_POLICY_SIZE_MAX);
    }
    json_t *object = json_loadb((const char *)json.data, json.size, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "policy: line %d, column %d: %s", error.line,
                          error.column, error.text);
    }
    struct stele_policy *policy = stele_allocate_zeroed(alloc, sizeof *policy);
    int outcome =
        policy != NULL ? STELE_OK : stele_fail(err, STELE_E_NO_MEMORY, 0, "policy: no memory");
    if (outcome == STELE_OK) {
        policy->alloc = alloc;
        policy->arena.block_size = 4096;
        outcome = read_rules(policy, object, err);
    }
    json_decref(object);
    if (outcome != STELE_OK) {
        stele_policy_destroy(policy);
        return outcome;
    }
    *out_policy = policy;
    return STELE_OK;
}

void stele_policy_destroy(struct stele_policy *policy)
{
    if (policy == NULL) {
        return;
    }
    stele_arena_deinit(&policy->arena, policy->alloc);
    stele_release(policy->alloc, policy, sizeof *policy);
}

/* ---- Asking ---- */

static bool type_matches(const char *pattern, struct stele_bytes type)
{
    const struct stele_bytes want = stele_bytes_of_text(pattern);
    if (want.data[want.size - 1] == '*') {
        return stele_bytes_has_prefix(type, stele_bytes_slice(want, 0, want.size - 1));
    }
    return stele_bytes_equal(want, type);
}

const struct stele_policy_rule *stele_policy_find(const struct stele_policy *policy,
                                                  struct stele_bytes type)
{
    for (size_t i = 0; i < policy->count; i++) {
        for (size_t j = 0; j < policy->rules[i].types_count; j++) {
            if (type_matches(policy->rules[i].types[j], type)) {
                return &policy->rules[i];
            }
        }
    }
    return NULL;
}

struct finding {
    struct stele_bytes pointer;
    struct stele_bytes value;
    size_t count;
};

static bool is_wanted(void *context, struct stele_bytes path, struct stele_bytes value)
{
    (void)value;
    return stele_bytes_equal(((struct finding *)context)->pointer, path);
}

static int found(void *context, struct stele_bytes path, struct stele_bytes value,
                 struct stele_buf *out)
{
    struct finding *finding = context;
    (void)path;
    (void)out;
    finding->value = value;
    finding->count++;
    return STELE_OK;
}

int stele_policy_subject(const struct stele_policy_rule *rule, struct stele_bytes type,
                         struct stele_bytes stream, struct stele_bytes data,
                         struct stele_alloc *alloc, struct stele_buf *out, struct stele_error *err)
{
    if (rule->subject[0] == '$') {
        return stele_buf_append(out, alloc, stream);
    }
    struct finding finding = {.pointer = stele_bytes_of_text(rule->subject)};
    const struct stele_fields_walk walk = {is_wanted, found, NULL, &finding};
    struct stele_buf ignored = {.size = 0};
    const int outcome = stele_fields_walk(data, &walk, alloc, &ignored, err);
    stele_buf_deinit(&ignored, alloc);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (finding.count != 1 || !stele_fields_text(finding.value, alloc, out)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "the policy takes the subject of %.*s from %s, where its data has %s; "
                          "nothing was appended",
                          (int)type.size, (const char *)type.data, rule->subject,
                          finding.count > 1    ? "several values"
                          : finding.count == 0 ? "nothing"
                                               : "neither a text nor an integer");
    }
    return STELE_OK;
}
