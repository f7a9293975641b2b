/* A story: what is given, what is asked for, what came of it and what should have.
 *
 * Everything stays in the story's memory until it is destroyed: tests are short, and reports point
 * into what came before. */
#include "es/testing_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define START_US INT64_C(1767225600000000) /* 2026-01-01T00:00:00Z */
#define RUNS_MAX 1000u                     /* Of one decision, each asking for something more. */

struct stele_testing *stele_testing_create(void)
{
    struct stele_memory *const memory = stele_memory_create();
    if (memory == NULL) {
        return NULL;
    }
    struct stele_testing *const story = stele_memory_allocate_zeroed(memory, sizeof *story);
    if (story == NULL) {
        stele_memory_destroy(memory);
        return NULL;
    }
    story->memory = memory;
    story->now_us = START_US;
    stele_output_init(&story->report, stele_memory_source(memory));
    return story;
}

void stele_testing_destroy(struct stele_testing *story)
{
    if (story != NULL) {
        struct stele_memory *const memory = story->memory;
        stele_output_deinit(&story->report);
        stele_memory_destroy(memory);
    }
}

void stele_testing__fail(struct stele_testing *story, const char *format, ...)
{
    if (story->failure.outcome != STELE_OK) {
        return;
    }
    va_list args;
    va_start(args, format);
    story->failure.outcome = STELE_E_INVALID;
    (void)vsnprintf(story->failure.message, sizeof story->failure.message, format, args);
    va_end(args);
}

/* ---- Given ---- */

static void *copy(struct stele_testing *story, const void *data, size_t size)
{
    void *const copied = stele_memory_copy(story->memory, data, size);
    if (copied == NULL) {
        stele_testing__fail(story, "no memory");
    }
    return copied;
}

char *stele_testing__copy(struct stele_testing *story, const char *text)
{
    return copy(story, text, strlen(text));
}

static struct stele_text copy_text(struct stele_testing *story, const char *text)
{
    const char *const copied = stele_testing__copy(story, text != NULL ? text : "");
    return (struct stele_text){.data = copied, .size = copied != NULL ? strlen(copied) : 0};
}

static bool text_is(struct stele_text text, const char *other)
{
    return text.size == strlen(other) && memcmp(text.data, other, text.size) == 0;
}

static uint64_t next_revision(const struct stele_testing *story, const char *stream)
{
    uint64_t revision = 0;
    for (size_t i = 0; i < story->given_count; i++) {
        revision += text_is(story->given[i].stream, stream);
    }
    return revision;
}

/* Tags as events have them: size, then bytes. */
static void copy_tags(struct stele_testing *story, const struct stele_event_draft *draft,
                      struct stele_event *event)
{
    size_t size = 0;
    for (size_t i = 0; i < draft->tags_count; i++) {
        size += 1 + strlen(draft->tags[i]);
    }
    uint8_t *const tags = stele_memory_allocate(story->memory, size);
    if (tags == NULL) {
        stele_testing__fail(story, "no memory");
        return;
    }
    uint8_t *at = tags;
    for (size_t i = 0; i < draft->tags_count; i++) {
        const size_t tag_size = strlen(draft->tags[i]);
        *at++ = (uint8_t)tag_size;
        memcpy(at, draft->tags[i], tag_size);
        at += tag_size;
    }
    event->tags = tags;
    event->tags_count = (uint32_t)draft->tags_count;
}

static void fill_id(uint8_t id[16], uint64_t number)
{
    for (size_t i = 0; i < 16; i++) {
        if (id[i] != 0) {
            return;
        }
    }
    /* Version 7's places for version and variant, and a number: unlike any that is made elsewhere. */
    id[6] = 0x70;
    id[8] = 0x80;
    for (size_t i = 0; i < 6; i++) {
        id[15 - i] = (uint8_t)(number >> 8 * i);
    }
}

void stele_testing_given_draft(struct stele_testing *story, const char *stream,
                               const struct stele_event_draft *draft)
{
    if (story == NULL) {
        return;
    }
    if (stream == NULL || draft == NULL || draft->type == NULL) {
        stele_testing__fail(story, "a given event needs a stream and a type");
        return;
    }
    struct stele_event *const all = stele_memory_grow(
        story->memory, story->given, &story->given_capacity, story->given_count + 1, sizeof *all);
    if (all == NULL) {
        stele_testing__fail(story, "no memory");
        return;
    }
    story->given = all;
    const char *const content_type =
        draft->content_type != NULL ? draft->content_type : "application/json";
    struct stele_event event = {
        .position = (story->given_count + 1) * STELE_TESTING__POSITION_STEP,
        .revision = next_revision(story, stream),
        .created_us = draft->created_us != 0 ? draft->created_us : story->now_us,
        .stream = copy_text(story, stream),
        .type = copy_text(story, draft->type),
        .content_type = copy_text(story, content_type),
        .data = copy(story, draft->data, draft->data_size),
        .data_size = draft->data_size,
        .metadata = copy(story, draft->metadata, draft->metadata_size),
        .metadata_size = draft->metadata_size,
        .flags = strcmp(content_type, "application/json") == 0 ? STELE_EVENT_JSON : 0,
    };
    memcpy(event.id, draft->id, sizeof event.id);
    fill_id(event.id, story->given_count + 1);
    copy_tags(story, draft, &event);
    story->given[story->given_count++] = event;
}

void stele_testing_given(struct stele_testing *story, const char *stream, const char *type,
                         const char *data)
{
    const struct stele_event_draft draft = {
        .type = type, .data = data, .data_size = data != NULL ? strlen(data) : 0};
    stele_testing_given_draft(story, stream, &draft);
}

void stele_testing_at(struct stele_testing *story, int64_t time_us)
{
    if (story == NULL) {
        return;
    }
    story->now_us = time_us;
}

int64_t stele_testing_now(const struct stele_testing *story)
{
    if (story == NULL) {
        return 0;
    }
    return story->now_us;
}

const struct stele_event *stele_testing_events(struct stele_testing *story, size_t *out_count)
{
    if (story == NULL || out_count == NULL) {
        return NULL;
    }
    *out_count = story->given_count;
    return story->given;
}

/* ---- When ---- */

static bool is_named(struct stele_text text, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (text_is(text, names[i])) {
            return true;
        }
    }
    return count == 0;
}

static bool has_tags(const struct stele_event *event, const struct stele_query_item *item)
{
    for (size_t i = 0; i < item->tags_count; i++) {
        const uint8_t *at = event->tags;
        bool found = false;
        for (uint32_t j = 0; j < event->tags_count && !found; j++) {
            found = *at == strlen(item->tags[i]) && memcmp(at + 1, item->tags[i], *at) == 0;
            at += 1 + *at;
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

static bool is_wanted(const struct stele_event *event, const struct stele_wanted *wanted)
{
    if (wanted->stream != NULL) {
        return text_is(event->stream, wanted->stream);
    }
    for (size_t i = 0; i < wanted->items_count; i++) {
        const struct stele_query_item *const item = &wanted->items[i];
        if (is_named(event->type, item->types, item->types_count) && has_tags(event, item)) {
            return true;
        }
    }
    return false;
}

/* NULL, and the failure is kept: the fold ended with an error. */
static struct stele_state *fold_wanted(struct stele_testing *story,
                                       const struct stele_wanted *wanted)
{
    struct stele_state *state = NULL;
    int outcome = stele_state_create(story->memory, wanted->fold, &state, &story->failure);
    for (size_t i = 0; i < story->given_count && outcome == STELE_OK; i++) {
        if (is_wanted(&story->given[i], wanted)) {
            outcome = stele_state_apply(state, &story->given[i], 1, &story->failure);
        }
    }
    return outcome == STELE_OK ? state : NULL;
}

static bool supply(struct stele_testing *story, struct stele_decision *decision)
{
    struct stele_wanted wanted;
    for (size_t i = 0; stele_decision_wanted(decision, i, &wanted) == STELE_OK; i++) {
        if (wanted.state != NULL) {
            continue;
        }
        struct stele_state *const state = fold_wanted(story, &wanted);
        if (state == NULL) {
            return false;
        }
        (void)stele_decision_supply(decision, i, state,
                                    story->given_count * STELE_TESTING__POSITION_STEP);
    }
    return true;
}

void stele_testing__add(struct stele_testing *story, struct stele_testing__list *list,
                        const char *stream, const char *type, struct stele_text data)
{
    struct stele_testing__event *const all = stele_memory_grow(
        story->memory, list->events, &list->capacity, list->count + 1, sizeof *all);
    if (all == NULL) {
        stele_testing__fail(story, "no memory");
        return;
    }
    list->events = all;
    list->events[list->count++] = (struct stele_testing__event){
        .stream = stele_testing__copy(story, stream),
        .type = stele_testing__copy(story, type),
        .data = {.data = copy(story, data.data, data.size), .size = data.size},
    };
}

static void take_events(struct stele_testing *story, const struct stele_decision *decision)
{
    size_t count = 0;
    const struct stele_emitted *const emitted = stele_decision_events(decision, &count);
    for (size_t i = 0; i < count; i++) {
        const struct stele_event_draft *const draft = &emitted[i].draft;
        const struct stele_text data = {.data = draft->data, .size = draft->data_size};
        stele_testing__add(story, &story->came, emitted[i].stream, draft->type, data);
        /* So that the rest of the story sees it as it was emitted, tags and all. */
        stele_testing_given_draft(story, emitted[i].stream, draft);
    }
}

void stele_testing_when(struct stele_testing *story, const struct stele_decider *decider,
                        const struct stele_command *command)
{
    if (story == NULL || story->failure.outcome != STELE_OK) {
        return;
    }
    if (decider == NULL || command == NULL) {
        stele_testing__fail(story, "the decider or the command is NULL");
        return;
    }
    struct stele_command timed = *command;
    timed.time_us = timed.time_us != 0 ? timed.time_us : story->now_us;
    fill_id(timed.id, story->given_count + 1);
    story->command = stele_testing__copy(story, command->type != NULL ? command->type : "");
    struct stele_decision *decision = NULL;
    int outcome = stele_decision_create(story->memory, decider, &timed, &decision, &story->failure);
    if (outcome != STELE_OK) {
        return;
    }
    struct stele_error why = {.outcome = STELE_OK};
    outcome = stele_decision_run(decision, &why);
    for (unsigned i = 0; outcome == STELE_INCOMPLETE && i < RUNS_MAX; i++) {
        if (!supply(story, decision)) {
            return;
        }
        outcome = stele_decision_run(decision, &why);
    }
    if (outcome == STELE_REJECTED) {
        story->rejected_for = stele_testing__copy(story, stele_decision_reason(decision));
    } else if (outcome == STELE_OK) {
        take_events(story, decision);
    } else {
        stele_testing__fail(story, "%s",
                            outcome == STELE_INCOMPLETE ? "the decider never ends to ask for more"
                                                        : why.message);
    }
}

/* ---- Then ---- */

void stele_testing_then(struct stele_testing *story, const char *stream, const char *type,
                        const char *data)
{
    if (story == NULL) {
        return;
    }
    if (stream == NULL || type == NULL) {
        stele_testing__fail(story, "what is expected needs a stream and a type");
        return;
    }
    const struct stele_text text = {.data = data, .size = data != NULL ? strlen(data) : 0};
    stele_testing__add(story, &story->expected, stream, type, text);
}

void stele_testing_then_rejected(struct stele_testing *story, const char *words)
{
    if (story == NULL) {
        return;
    }
    if (words == NULL) {
        stele_testing__fail(story, "the words of a refusal are NULL");
        return;
    }
    story->rejection = stele_testing__copy(story, words);
}

void stele_testing_then_json(struct stele_testing *story, const char *what, const char *expected,
                             const char *actual)
{
    if (story == NULL) {
        return;
    }
    if (what == NULL || expected == NULL || actual == NULL) {
        stele_testing__fail(story, "what is compared as JSON is NULL");
        return;
    }
    char where[STELE_TESTING__WHERE_SIZE];
    const struct stele_text one = {.data = expected, .size = strlen(expected)};
    const struct stele_text two = {.data = actual, .size = strlen(actual)};
    if (!stele_testing__same_data(one, two, where)) {
        story->differs = true;
        (void)stele_output_printf(&story->report, "%s: %s\n      expected %s\n      came     %s\n",
                                  what, where, expected, actual);
    }
}

void stele_testing_then_state(struct stele_testing *story, const struct stele_fold *fold,
                              const char *stream, const char *json)
{
    if (story == NULL || story->failure.outcome != STELE_OK) {
        return;
    }
    if (fold == NULL || stream == NULL) {
        stele_testing__fail(story, "the fold or the stream of a state is NULL");
        return;
    }
    const struct stele_wanted wanted = {.stream = stream, .fold = fold};
    struct stele_state *const state = fold_wanted(story, &wanted);
    struct stele_text data;
    if (state == NULL || stele_state_encode(state, &data, &story->failure) != STELE_OK) {
        return;
    }
    const char *const text = copy(story, data.data, data.size);
    char what[160];
    (void)snprintf(what, sizeof what, "the state of %.120s", stream);
    if (text != NULL) {
        stele_testing_then_json(story, what, json, text);
    }
}

static void compare_rejection(struct stele_testing *story)
{
    const char *const want = story->rejection;
    const char *const got = story->rejected_for;
    if (want == NULL && got == NULL) {
        return;
    }
    if (want != NULL && got != NULL && memmem(got, strlen(got), want, strlen(want)) != NULL) {
        return;
    }
    story->differs = true;
    const char *const command = story->command != NULL ? story->command : "(no command)";
    if (got == NULL) {
        (void)stele_output_printf(&story->report,
                                  "%s: expected to be rejected (\"%s\"), and it was accepted\n",
                                  command, want);
    } else if (want == NULL) {
        (void)stele_output_printf(
            &story->report, "%s: expected to be accepted, and it was rejected: %s\n", command, got);
    } else {
        (void)stele_output_printf(&story->report,
                                  "%s: rejected for another reason\n      expected \"%s\" in it\n"
                                  "      came     %s\n",
                                  command, want, got);
    }
}

int stele_testing_check(struct stele_testing *story, const char **out_report)
{
    /* No memory made no story, and a test must not end well for that. */
    if (story == NULL || out_report == NULL) {
        if (out_report != NULL) {
            *out_report = "there is no story: no memory\n";
        }
        return STELE_E_INVALID;
    }
    compare_rejection(story);
    if (story->failure.outcome != STELE_OK) {
        story->differs = true;
        (void)stele_output_printf(&story->report, "the story could not go on: %s\n",
                                  story->failure.message);
    }
    if (!stele_testing__compare(&story->report, &story->expected, &story->came)) {
        story->differs = true;
    }
    const int outcome = story->differs ? STELE_CONDITION_FAILED : STELE_OK;
    const char *const text = copy(story, story->report.buf.data, story->report.buf.size);
    *out_report = text != NULL ? text : "no memory for the report\n";
    stele_output_clear(&story->report);
    story->expected.count = 0;
    story->came.count = 0;
    story->command = NULL;
    story->rejected_for = NULL;
    story->rejection = NULL;
    story->differs = false;
    return outcome;
}
