/* From a table to a plan: names become numbers, defaults are filled in, circles are refused. */
#include "es/saga_internal.h"

#include <stdio.h>

#define TIMEOUT_MS 30000u
#define ATTEMPTS 5u
#define ATTEMPTS_COMPENSATION 10u
#define BACKOFF_MS 1000u
#define BACKOFF_MS_MAX 60000u

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
}

/* Copies a name of a table into its place. what names it in messages. */
static int take_name(char to[STELE_SAGA_NAME_SIZE_MAX + 1], const char *name, const char *what,
                     struct stele_error *err)
{
    const size_t size = name != NULL ? strnlen(name, STELE_SAGA_NAME_SIZE_MAX + 1) : 0;
    if (size == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s has no name", what);
    }
    if (size > STELE_SAGA_NAME_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "%s \"%.20s...\": a name has at most %u bytes",
                          what, name, STELE_SAGA_NAME_SIZE_MAX);
    }
    for (size_t i = 0; i < size; i++) {
        if (!is_name_character(name[i])) {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "%s \"%s\": a name is made of letters, digits, \"_\" and \".\"", what,
                              name);
        }
    }
    memcpy(to, name, size);
    to[size] = '\0';
    return STELE_OK;
}

int stele_saga_plan_find(const struct stele_saga_plan *plan, struct stele_text name)
{
    if (plan == NULL) {
        return -1;
    }
    for (uint32_t i = 0; i < plan->steps_count; i++) {
        if (strlen(plan->steps[i].name) == name.size &&
            memcmp(plan->steps[i].name, name.data, name.size) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static int read_after(struct stele_saga_plan *plan, uint32_t index, const char *after,
                      struct stele_error *err)
{
    struct stele_saga_plan_step *const step = &plan->steps[index];
    if (after == NULL) {
        step->after = index > 0 ? UINT32_C(1) << (index - 1) : 0;
        return STELE_OK;
    }
    const char *at = after;
    for (;;) {
        while (*at == ' ') {
            at++;
        }
        const char *const end = strchr(at, ' ');
        const size_t size = end != NULL ? (size_t)(end - at) : strlen(at);
        if (size == 0) {
            return STELE_OK;
        }
        const int found = stele_saga_plan_find(plan, (struct stele_text){at, size});
        if (found < 0) {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "saga \"%s\", step \"%s\": it comes after \"%.*s\", which is no step "
                              "of the table",
                              plan->kind, step->name, (int)size, at);
        }
        step->after |= UINT32_C(1) << found;
        at += size;
    }
}

static void fill_retry(struct stele_saga_retry *retry, uint32_t attempts)
{
    retry->attempts_max = retry->attempts_max != 0 ? retry->attempts_max : attempts;
    retry->backoff_ms = retry->backoff_ms != 0 ? retry->backoff_ms : BACKOFF_MS;
    retry->backoff_max_ms = retry->backoff_max_ms != 0 ? retry->backoff_max_ms : BACKOFF_MS_MAX;
    if (retry->backoff_max_ms < retry->backoff_ms) {
        retry->backoff_max_ms = retry->backoff_ms;
    }
}

/* The names along a circle, "a -> b -> a". open: the steps that cannot be put in order; each of them
 * waits for one of them, so that walking backwards comes round. */
static int tell_circle(const struct stele_saga_plan *plan, uint32_t open, struct stele_error *err)
{
    uint32_t path[STELE_SAGA_STEPS_MAX + 1] = {0};
    uint32_t seen = 0;
    uint32_t at = (uint32_t)__builtin_ctz(open);
    size_t count = 0;
    while ((seen & UINT32_C(1) << at) == 0) {
        seen |= UINT32_C(1) << at;
        path[count++] = at;
        const uint32_t before = plan->steps[at].after & open;
        STELE_ASSERT(before != 0);
        at = (uint32_t)__builtin_ctz(before);
    }
    size_t first = 0;
    while (first < count && path[first] != at) {
        first++;
    }
    /* The walk went against the arrows: it is told from its end. */
    char words[320];
    size_t size = (size_t)snprintf(words, sizeof words, "%s", plan->steps[at].name);
    for (size_t i = count; i-- > first && size < sizeof words;) {
        size += (size_t)snprintf(words + size, sizeof words - size, " -> %s",
                                 plan->steps[path[i]].name);
    }
    return stele_fail(err, STELE_E_INVALID, 0,
                      "saga \"%s\": its steps wait for each other in a circle: %s%s", plan->kind,
                      words, size >= sizeof words ? " ..." : "");
}

int stele_saga_plan_check(struct stele_saga_plan *plan, struct stele_error *err)
{
    if (plan == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_saga_plan_check: an argument is NULL");
    }
    if (plan->steps_count == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "saga \"%s\" has no steps", plan->kind);
    }
    if (plan->steps_count > STELE_SAGA_STEPS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "saga \"%s\" has %u steps, at most %u are possible", plan->kind,
                          plan->steps_count, STELE_SAGA_STEPS_MAX);
    }
    const uint32_t all = UINT32_MAX >> (32 - plan->steps_count);
    for (uint32_t i = 0; i < plan->steps_count; i++) {
        struct stele_saga_plan_step *const step = &plan->steps[i];
        const struct stele_text name = {step->name, strlen(step->name)};
        if (stele_saga_plan_find(plan, name) != (int)i) {
            return stele_fail(err, STELE_E_INVALID, 0, "saga \"%s\": two steps are called \"%s\"",
                              plan->kind, step->name);
        }
        if (strcmp(step->name, "undo") == 0) {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "saga \"%s\": no step can be called \"undo\", which the keys of "
                              "compensations end with",
                              plan->kind);
        }
        if ((step->after & ~all) != 0) {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "saga \"%s\", step \"%s\": it comes after a step that is not there",
                              plan->kind, step->name);
        }
        step->timeout_ms = step->timeout_ms != 0 ? step->timeout_ms : TIMEOUT_MS;
        fill_retry(&step->retry, ATTEMPTS);
        fill_retry(&step->compensation_retry, ATTEMPTS_COMPENSATION);
    }
    /* Whatever has all its predecessors in the order joins it, until nothing more can. */
    uint32_t ordered = 0;
    for (uint32_t before = UINT32_MAX; before != ordered;) {
        before = ordered;
        for (uint32_t i = 0; i < plan->steps_count; i++) {
            if ((plan->steps[i].after & ~ordered) == 0) {
                ordered |= UINT32_C(1) << i;
            }
        }
    }
    return ordered == all ? STELE_OK : tell_circle(plan, all & ~ordered, err);
}

static int copy_step(struct stele_saga_plan_step *to, const struct stele_saga_step *from,
                     const char *kind, struct stele_error *err)
{
    char what[STELE_SAGA_NAME_SIZE_MAX + 32];
    (void)snprintf(what, sizeof what, "saga \"%s\": a step", kind);
    const int outcome = take_name(to->name, from->name, what, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if ((from->on_failure != STELE_SAGA_UNDO && from->on_failure != STELE_SAGA_PARK) ||
        (from->unknown != STELE_SAGA_UNKNOWN_UNDO && from->unknown != STELE_SAGA_UNKNOWN_WAIT)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "saga \"%s\", step \"%s\": on_failure %d, unknown %d: one of them is no "
                          "choice of <stele/saga.h>",
                          kind, to->name, from->on_failure, from->unknown);
    }
    to->timeout_ms = from->timeout_ms;
    to->delay_ms = from->delay_ms;
    to->retry = from->retry;
    to->compensation_retry = from->compensation_retry;
    to->compensates = from->compensation != NULL;
    to->on_failure = from->on_failure;
    to->unknown = from->unknown;
    return STELE_OK;
}

int stele_saga_plan_init(struct stele_saga_plan *out_plan, const struct stele_saga_table *table,
                         struct stele_error *err)
{
    if (out_plan == NULL || table == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_saga_plan_init: an argument is NULL");
    }
    struct stele_saga_plan plan;
    memset(&plan, 0, sizeof plan);
    int outcome = take_name(plan.kind, table->kind, "a saga's table", err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (table->steps_count > STELE_SAGA_STEPS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "saga \"%s\" has %zu steps, at most %u are possible", plan.kind,
                          table->steps_count, STELE_SAGA_STEPS_MAX);
    }
    plan.steps_count = (uint32_t)table->steps_count;
    plan.deadline_ms = table->deadline_ms;
    for (uint32_t i = 0; i < plan.steps_count && outcome == STELE_OK; i++) {
        outcome = copy_step(&plan.steps[i], &table->steps[i], plan.kind, err);
    }
    for (uint32_t i = 0; i < plan.steps_count && outcome == STELE_OK; i++) {
        outcome = read_after(&plan, i, table->steps[i].after, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_saga_plan_check(&plan, err);
    }
    if (outcome == STELE_OK) {
        *out_plan = plan;
    }
    return outcome;
}
