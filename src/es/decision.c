/* One decision: what a command depends on, what it causes. Pure: whoever runs it brings the states.
 *
 * decide() is called from the start each time, because a function that stops in the middle and goes
 * on later would need a stack of its own; a decision is short, and most ask for one stream. */
#include "es/decision.h"

#include "base/checksum.h"
#include "base/status.h"
#include "es/fold.h"
#include "es/json.h"
#include "es/memory.h"

#include <stdarg.h>
#include <stdio.h>

#define WANTED_MAX STELE_APPEND_STREAMS_MAX
#define REASON_SIZE 400

struct stele_decision {
    struct stele_memory *memory;
    const struct stele_decider *decider;
    const struct stele_command *command;
    struct stele_wanted *wanted;
    size_t wanted_count;
    size_t wanted_capacity;
    struct stele_emitted *emitted;
    size_t emitted_count;
    size_t emitted_capacity;
    struct stele_condition *conditions;
    size_t conditions_count;
    size_t conditions_capacity;
    struct stele_output scratch;
    /* What a call from inside of decide ended with. It ends the decision, even if decide itself does
     * not look at it. */
    int failed;
    struct stele_error failure;
    char reason[REASON_SIZE];
};

struct stele_memory *stele_decision_memory(struct stele_decision *decision)
{
    if (decision == NULL) {
        return NULL;
    }
    return decision->memory;
}

static int fail(struct stele_decision *decision, int outcome, const char *what, const char *name)
{
    if (decision->failed == STELE_OK) {
        decision->failed = stele_fail(&decision->failure, outcome, 0, "command %s: %s %s",
                                      decision->command->type, what, name);
    }
    return outcome;
}

/* ---- What it depends on ------------------------------------------------------------------- */

static char *copy_text(struct stele_decision *decision, const char *text)
{
    return stele_memory_copy(decision->memory, text, strlen(text));
}

static struct stele_wanted *add_wanted(struct stele_decision *decision,
                                       const struct stele_fold *fold)
{
    if (decision->wanted_count >= WANTED_MAX) {
        (void)fail(decision, STELE_E_LIMIT, "it asks for more streams than an append may have", "");
        return NULL;
    }
    if (stele_fold_check(fold, &decision->failure) != STELE_OK) {
        decision->failed = STELE_E_INVALID;
        return NULL;
    }
    struct stele_wanted *all =
        stele_memory_grow(decision->memory, decision->wanted, &decision->wanted_capacity,
                          decision->wanted_count + 1, sizeof *all);
    if (all == NULL) {
        (void)fail(decision, STELE_E_NO_MEMORY, "no memory", "");
        return NULL;
    }
    decision->wanted = all;
    struct stele_wanted *wanted = &all[decision->wanted_count];
    *wanted = (struct stele_wanted){.fold = fold};
    return wanted;
}

static int want_stream(struct stele_decision *decision, const char *stream,
                       const struct stele_fold *fold, struct stele_state **out_state)
{
    for (size_t i = 0; i < decision->wanted_count; i++) {
        const struct stele_wanted *wanted = &decision->wanted[i];
        if (wanted->stream != NULL && wanted->fold == fold && strcmp(wanted->stream, stream) == 0) {
            *out_state = wanted->state;
            return STELE_OK;
        }
    }
    struct stele_wanted *wanted = add_wanted(decision, fold);
    if (wanted == NULL) {
        return decision->failed;
    }
    wanted->stream = copy_text(decision, stream);
    if (wanted->stream == NULL) {
        return fail(decision, STELE_E_NO_MEMORY, "no memory", "");
    }
    decision->wanted_count++;
    *out_state = NULL;
    return STELE_OK;
}

const void *stele_decision_state(struct stele_decision *decision, const char *stream,
                                 const struct stele_fold *fold)
{
    if (decision == NULL) {
        return NULL;
    }
    struct stele_state *state = NULL;
    if (stream == NULL || stream[0] == '\0') {
        (void)fail(decision, STELE_E_INVALID, "it asks for a stream without a name", "");
        return NULL;
    }
    const int outcome = want_stream(decision, stream, fold, &state);
    return outcome == STELE_OK && state != NULL ? stele_state_value(state) : NULL;
}

uint64_t stele_decision_revision(const struct stele_decision *decision, const char *stream)
{
    if (decision == NULL) {
        return STELE_EXPECT_NO_STREAM;
    }
    for (size_t i = 0; i < decision->wanted_count; i++) {
        const struct stele_wanted *wanted = &decision->wanted[i];
        if (wanted->stream != NULL && wanted->state != NULL &&
            strcmp(wanted->stream, stream) == 0) {
            return stele_state_revision(wanted->state);
        }
    }
    return STELE_EXPECT_NO_STREAM;
}

static bool same_names(const char *const *a, size_t a_count, const char *const *b, size_t b_count)
{
    for (size_t i = 0; a_count == b_count && i < a_count; i++) {
        if (strcmp(a[i], b[i]) != 0) {
            return false;
        }
    }
    return a_count == b_count;
}

static bool same_items(const struct stele_query_item *a, size_t a_count,
                       const struct stele_query_item *b, size_t b_count)
{
    for (size_t i = 0; a_count == b_count && i < a_count; i++) {
        if (!same_names(a[i].types, a[i].types_count, b[i].types, b[i].types_count) ||
            !same_names(a[i].tags, a[i].tags_count, b[i].tags, b[i].tags_count)) {
            return false;
        }
    }
    return a_count == b_count;
}

/* NULL when there is no memory. */
static const char **copy_names(struct stele_decision *decision, const char *const *names,
                               size_t count)
{
    const char **copies = stele_memory_allocate(decision->memory, count * sizeof *copies);
    for (size_t i = 0; copies != NULL && i < count; i++) {
        copies[i] = copy_text(decision, names[i]);
        if (copies[i] == NULL) {
            return NULL;
        }
    }
    return copies;
}

static struct stele_query_item *copy_items(struct stele_decision *decision,
                                           const struct stele_query_item *items, size_t count)
{
    struct stele_query_item *copies =
        stele_memory_allocate(decision->memory, count * sizeof *copies);
    for (size_t i = 0; copies != NULL && i < count; i++) {
        copies[i] = items[i];
        copies[i].types = copy_names(decision, items[i].types, items[i].types_count);
        copies[i].tags = copy_names(decision, items[i].tags, items[i].tags_count);
        if (copies[i].types == NULL || copies[i].tags == NULL) {
            return NULL;
        }
    }
    return copies;
}

const void *stele_decision_query(struct stele_decision *decision,
                                 const struct stele_query_item *items, size_t count,
                                 const struct stele_fold *fold)
{
    if (decision == NULL) {
        return NULL;
    }
    if (items == NULL || count == 0 || count > STELE_CONDITIONS_MAX) {
        (void)fail(decision, STELE_E_INVALID, "a query needs between 1 and 64 items", "");
        return NULL;
    }
    for (size_t i = 0; i < decision->wanted_count; i++) {
        const struct stele_wanted *wanted = &decision->wanted[i];
        if (wanted->stream == NULL && wanted->fold == fold &&
            same_items(wanted->items, wanted->items_count, items, count)) {
            return wanted->state != NULL ? stele_state_value(wanted->state) : NULL;
        }
    }
    struct stele_wanted *wanted = add_wanted(decision, fold);
    if (wanted != NULL) {
        wanted->items = copy_items(decision, items, count);
        wanted->items_count = count;
        if (wanted->items == NULL) {
            (void)fail(decision, STELE_E_NO_MEMORY, "no memory", "");
        } else {
            decision->wanted_count++;
        }
    }
    return NULL;
}

int stele_decision_wanted(const struct stele_decision *decision, size_t index,
                          struct stele_wanted *out_wanted)
{
    if (decision == NULL) {
        return STELE_E_INVALID;
    }
    if (index >= decision->wanted_count) {
        return STELE_NOT_FOUND;
    }
    *out_wanted = decision->wanted[index];
    return STELE_OK;
}

int stele_decision_supply(struct stele_decision *decision, size_t index, struct stele_state *state,
                          uint64_t position)
{
    if (decision == NULL) {
        return STELE_E_INVALID;
    }
    if (index >= decision->wanted_count ||
        (state != NULL && stele_state_fold(state) != decision->wanted[index].fold)) {
        return STELE_E_INVALID;
    }
    decision->wanted[index].state = state;
    decision->wanted[index].after = position;
    return STELE_OK;
}

/* ---- What it causes ----------------------------------------------------------------------- */

/* RFC 9562, section 5.8: a form of one's own. */
void stele_decision_event_id(const struct stele_command *command, uint64_t index, uint8_t id[16])
{
    uint8_t seed[24];
    static const uint8_t none[16];
    if (memcmp(command->id, none, sizeof none) == 0) {
        return;
    }
    memcpy(seed, command->id, 16);
    stele_store_u64le(seed + 16, index);
    const struct stele_bytes bytes = {.data = seed, .size = sizeof seed};
    stele_store_u64le(id, stele_hash64(bytes, 0x5354454c45));
    stele_store_u64le(id + 8, stele_hash64(bytes, 0x636d64));
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x80);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

/* Events of a later version than the first say so in their metadata. */
static int add_version(struct stele_decision *decision, struct stele_event_draft *draft,
                       const struct stele_event_type *type)
{
    if (type == NULL || type->version < 2) {
        return STELE_OK;
    }
    char version[32];
    (void)snprintf(version, sizeof version, "{\"version\":%u}", type->version);
    stele_output_clear(&decision->scratch);
    int outcome = stele_json_add_missing(
        (struct stele_bytes){.data = draft->metadata, .size = draft->metadata_size},
        stele_bytes_of_text(version), &decision->scratch);
    if (outcome == STELE_OK) {
        draft->metadata = stele_memory_copy(decision->memory, decision->scratch.buf.data,
                                            decision->scratch.buf.size);
        draft->metadata_size = decision->scratch.buf.size;
        outcome = draft->metadata != NULL ? STELE_OK : STELE_E_NO_MEMORY;
    }
    return outcome == STELE_OK
               ? STELE_OK
               : fail(decision, outcome, "metadata that are no JSON object, of", draft->type);
}

static int copy_draft(struct stele_decision *decision, const struct stele_event_draft *from,
                      struct stele_event_draft *to)
{
    *to = *from;
    to->type = copy_text(decision, from->type);
    to->data = stele_memory_copy(decision->memory, from->data, from->data_size);
    to->metadata = stele_memory_copy(decision->memory, from->metadata, from->metadata_size);
    to->content_type = from->content_type != NULL ? copy_text(decision, from->content_type) : NULL;
    to->tags = copy_names(decision, from->tags, from->tags_count);
    const bool whole = to->type != NULL && to->data != NULL && to->metadata != NULL &&
                       to->tags != NULL && (from->content_type == NULL || to->content_type != NULL);
    return whole ? STELE_OK : fail(decision, STELE_E_NO_MEMORY, "no memory for", from->type);
}

int stele_decision_emit(struct stele_decision *decision, const char *stream,
                        const struct stele_event_draft *draft)
{
    if (decision == NULL) {
        return STELE_E_INVALID;
    }
    static const uint8_t none[16];
    if (stream == NULL || stream[0] == '\0' || draft == NULL || draft->type == NULL ||
        draft->type[0] == '\0') {
        return fail(decision, STELE_E_INVALID, "an event needs a stream and a type", "");
    }
    if (decision->emitted_count >= STELE_APPEND_EVENTS_MAX) {
        return fail(decision, STELE_E_LIMIT, "it emits more events than an append may have", "");
    }
    const struct stele_registry *registry = decision->decider->registry;
    const struct stele_event_type *type = NULL;
    if (registry != NULL) {
        const int outcome = stele_registry_check(registry, draft->type, draft->data,
                                                 draft->data_size, &decision->failure);
        if (outcome != STELE_OK) {
            decision->failed = outcome;
            return outcome;
        }
        type = stele_registry_find(
            registry, (struct stele_text){.data = draft->type, .size = strlen(draft->type)});
    }
    struct stele_emitted *all =
        stele_memory_grow(decision->memory, decision->emitted, &decision->emitted_capacity,
                          decision->emitted_count + 1, sizeof *all);
    if (all == NULL) {
        return fail(decision, STELE_E_NO_MEMORY, "no memory for", draft->type);
    }
    decision->emitted = all;
    struct stele_emitted *emitted = &all[decision->emitted_count];
    emitted->stream = copy_text(decision, stream);
    if (emitted->stream == NULL) {
        return fail(decision, STELE_E_NO_MEMORY, "no memory for", draft->type);
    }
    int outcome = copy_draft(decision, draft, &emitted->draft);
    if (outcome == STELE_OK) {
        outcome = add_version(decision, &emitted->draft, type);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (memcmp(emitted->draft.id, none, sizeof none) == 0) {
        stele_decision_event_id(decision->command, decision->emitted_count, emitted->draft.id);
    }
    decision->emitted_count++;
    return STELE_OK;
}

int stele_decision_emit_data(struct stele_decision *decision, const char *stream, const char *type,
                             const void *data, size_t size)
{
    if (decision == NULL) {
        return STELE_E_INVALID;
    }
    const struct stele_event_draft draft = {.type = type, .data = data, .data_size = size};
    return stele_decision_emit(decision, stream, &draft);
}

int stele_decision_emit_fact(struct stele_decision *decision, const char *stream, const char *type,
                             const void *fact)
{
    if (decision == NULL) {
        return STELE_E_INVALID;
    }
    const struct stele_event_type *known = NULL;
    if (decision->decider->registry != NULL && type != NULL) {
        known = stele_registry_find(decision->decider->registry,
                                    (struct stele_text){.data = type, .size = strlen(type)});
    }
    if (known == NULL || known->encode == NULL) {
        return fail(decision, STELE_E_INVALID, "the decider's registry has no encode for",
                    type != NULL ? type : "an event without a type");
    }
    stele_output_clear(&decision->scratch);
    int outcome = known->encode(known->context, fact, &decision->scratch);
    outcome = outcome != STELE_OK ? outcome : decision->scratch.failed;
    if (outcome != STELE_OK) {
        return fail(decision, outcome, "encoding", type);
    }
    return stele_decision_emit_data(decision, stream, type, decision->scratch.buf.data,
                                    decision->scratch.buf.size);
}

int stele_decision_condition(struct stele_decision *decision,
                             const struct stele_condition *condition)
{
    if (decision == NULL) {
        return STELE_E_INVALID;
    }
    if (condition == NULL || (condition->items == NULL && condition->items_count > 0)) {
        return fail(decision, STELE_E_INVALID, "a condition is NULL", "");
    }
    if (decision->conditions_count >= STELE_CONDITIONS_MAX) {
        return fail(decision, STELE_E_LIMIT, "it has more conditions than an append may have", "");
    }
    struct stele_condition *all =
        stele_memory_grow(decision->memory, decision->conditions, &decision->conditions_capacity,
                          decision->conditions_count + 1, sizeof *all);
    struct stele_query_item *items = copy_items(decision, condition->items, condition->items_count);
    if (all == NULL || items == NULL) {
        return fail(decision, STELE_E_NO_MEMORY, "no memory for a condition", "");
    }
    decision->conditions = all;
    all[decision->conditions_count++] = (struct stele_condition){
        .items = items, .items_count = condition->items_count, .after = condition->after};
    return STELE_OK;
}

int stele_decision_reject(struct stele_decision *decision, const char *format, ...)
{
    if (decision == NULL) {
        return STELE_REJECTED;
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(decision->reason, sizeof decision->reason, format, args);
    va_end(args);
    return STELE_REJECTED;
}

const struct stele_emitted *stele_decision_events(const struct stele_decision *decision,
                                                  size_t *out_count)
{
    if (decision == NULL || out_count == NULL) {
        return NULL;
    }
    *out_count = decision->emitted_count;
    return decision->emitted;
}

const struct stele_condition *stele_decision_conditions(const struct stele_decision *decision,
                                                        size_t *out_count)
{
    if (decision == NULL || out_count == NULL) {
        return NULL;
    }
    *out_count = decision->conditions_count;
    return decision->conditions;
}

const char *stele_decision_reason(const struct stele_decision *decision)
{
    return decision->reason;
}

/* ---- Running ------------------------------------------------------------------------------ */

static void release_scratch(void *output)
{
    stele_output_deinit(output);
}

static int check_command(const struct stele_decider *decider, const struct stele_command *command,
                         struct stele_error *err)
{
    if (decider == NULL || decider->struct_size < sizeof *decider || decider->decide == NULL ||
        decider->name == NULL || decider->name[0] == '\0') {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "a decider needs its struct_size, a name and decide");
    }
    if (command == NULL || command->struct_size < sizeof *command || command->type == NULL ||
        command->type[0] == '\0') {
        return stele_fail(err, STELE_E_INVALID, 0, "a command needs its struct_size and a type");
    }
    return STELE_OK;
}

int stele_decision_create(struct stele_memory *memory, const struct stele_decider *decider,
                          const struct stele_command *command, struct stele_decision **out_decision,
                          struct stele_error *err)
{
    if (memory == NULL || out_decision == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_decision_create: an argument is NULL");
    }
    int outcome = check_command(decider, command, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_decision *decision = stele_memory_allocate_zeroed(memory, sizeof *decision);
    if (decision == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "command %s: no memory", command->type);
    }
    decision->memory = memory;
    decision->decider = decider;
    decision->command = command;
    stele_output_init(&decision->scratch, stele_memory_source(memory));
    if (stele_memory_keep(memory, release_scratch, &decision->scratch) != STELE_OK) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "command %s: no memory", command->type);
    }
    struct stele_state *none;
    if (decider->fold != NULL && command->stream != NULL) {
        outcome = want_stream(decision, command->stream, decider->fold, &none);
    }
    for (size_t i = 0; outcome == STELE_OK && i < command->declared_count; i++) {
        outcome =
            want_stream(decision, command->declared[i].stream, command->declared[i].fold, &none);
    }
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "%s", decision->failure.message);
    }
    *out_decision = decision;
    return STELE_OK;
}

static bool lacks_states(const struct stele_decision *decision)
{
    for (size_t i = 0; i < decision->wanted_count; i++) {
        if (decision->wanted[i].state == NULL) {
            return true;
        }
    }
    return false;
}

int stele_decision_run(struct stele_decision *decision, struct stele_error *err)
{
    if (decision == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_decision_run: an argument is NULL");
    }
    const struct stele_decider *decider = decision->decider;
    const char *type = decision->command->type;
    if (lacks_states(decision)) {
        return STELE_INCOMPLETE;
    }
    decision->emitted_count = 0;
    decision->conditions_count = 0;
    decision->failed = STELE_OK;
    decision->reason[0] = '\0';
    const int outcome = decider->decide(decider->context, decision->command, decision);
    if (decision->failed != STELE_OK) {
        return stele_fail(err, decision->failed, 0, "%s", decision->failure.message);
    }
    if (lacks_states(decision)) {
        /* Whatever it says, it has said it without having seen all that it wanted to see. */
        return STELE_INCOMPLETE;
    }
    if (outcome == STELE_OK) {
        return STELE_OK;
    }
    if (outcome == STELE_REJECTED) {
        return stele_fail(err, outcome, 0, "%s", decision->reason);
    }
    if (outcome == STELE_INCOMPLETE) {
        return stele_fail(
            err, STELE_E_INVALID, 0,
            "command %s: decider %s answered \"incomplete\" although every state that "
            "it asked for was there",
            type, decider->name);
    }
    return stele_fail(err, outcome, 0, "command %s: decider %s ended with \"%s\"", type,
                      decider->name, stele_outcome_name(outcome));
}
