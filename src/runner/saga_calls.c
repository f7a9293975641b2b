/* Asking participants, and what they answer. */
#include "runner/saga_internal.h"

#include <stdio.h>

#define ANSWERS_MAX 65536u

static const struct stele_saga_step *table_step(const struct stele_saga_runner *runner,
                                                const char *name, size_t *out_index)
{
    const struct stele_saga_table *const table = runner->definition->table;
    for (size_t i = 0; i < table->steps_count; i++) {
        if (strcmp(table->steps[i].name, name) == 0) {
            *out_index = i;
            return &table->steps[i];
        }
    }
    return NULL;
}

static struct stele_text text_of(const struct saga_text *text)
{
    return (struct stele_text){text->data, text->size};
}

struct stele_text stele_saga_call_result(const struct stele_saga_call *call, const char *step)
{
    if (call == NULL || step == NULL) {
        return (struct stele_text){.data = NULL};
    }
    const struct saga_entry *const entry = call->of;
    const int index = stele_saga_plan_find(entry->plan, (struct stele_text){step, strlen(step)});
    return index >= 0 ? text_of(&entry->results[index]) : (struct stele_text){NULL, 0};
}

void stele_runner__saga_close_call(struct stele_saga_runner *runner, struct saga_entry *entry,
                                   uint32_t step, bool succeeded)
{
    const uint32_t bit = UINT32_C(1) << step;
    if ((entry->open & bit) == 0) {
        return;
    }
    entry->open &= ~bit;
    runner->later--;
    size_t index = 0;
    if (table_step(runner, entry->plan->steps[step].name, &index) != NULL) {
        uint64_t random = 0;
        runner->port->ops->random(runner->port, &random, sizeof random);
        stele_breaker_report(&runner->breakers[index], runner->port->ops->now_us(runner->port),
                             entry->tickets[step], succeeded, random);
    }
}

/* Does the participant work, whatever it said? */
static bool works(int answer)
{
    return answer == STELE_SAGA_DONE || answer == STELE_SAGA_REFUSED ||
           answer == STELE_SAGA_NEEDS_HELP;
}

/* Of the call under way: its answer, from wherever it came. */
static int answered(struct stele_saga_runner *runner, struct saga_entry *entry,
                    struct stele_saga_input input, struct stele_error *err)
{
    const struct stele_saga_step_state *const step = &entry->saga.steps[input.step];
    if (input.attempt == step->attempt) {
        stele_runner__saga_close_call(runner, entry, input.step, works(input.answer));
    }
    input.kind = STELE_SAGA_INPUT_ANSWER;
    const int outcome = stele_runner__saga_feed(runner, entry, input, NULL, "", err);
    if (outcome != STELE_OK) {
        /* The answer is lost with this. The participant gives it again when it is asked again. */
        entry->asked[input.step] = 0;
    }
    return outcome;
}

static int ask(struct stele_saga_runner *runner, struct saga_entry *entry, uint32_t index,
               const struct stele_saga_step *planned, struct stele_saga_reply *reply)
{
    const struct stele_saga_step_state *const step = &entry->saga.steps[index];
    const bool compensation = step->state == STELE_SAGA_STEP_COMPENSATING;
    const char *const command = compensation               ? planned->compensation
                                : planned->request != NULL ? planned->request
                                                           : planned->name;
    if (command == NULL) {
        (void)snprintf(reply->reason, sizeof reply->reason,
                       "this program's table has no compensation for the step");
        return STELE_SAGA_NEEDS_HELP;
    }
    char key[STELE_SAGA_KEY_SIZE_MAX];
    (void)stele_saga_key(runner->plan.kind, entry->id, planned->name, compensation, key);
    const struct stele_saga_call call = {.kind = runner->plan.kind,
                                         .id = entry->id,
                                         .step = planned->name,
                                         .command = command,
                                         .key = key,
                                         .compensation = compensation,
                                         .attempt = step->attempt,
                                         .due_us = step->due_us,
                                         .input = text_of(&entry->input),
                                         .result = compensation ? text_of(&entry->results[index])
                                                                : (struct stele_text){NULL, 0},
                                         .correlation_id = entry->correlation_id,
                                         .causation_id = entry->last_event_id,
                                         .traceparent = entry->traceparent,
                                         .of = entry};
    runner->stats.calls++;
    const int answer = runner->definition->handle(runner->definition->context, &call, reply);
    if (answer < STELE_SAGA_DONE || answer > STELE_SAGA_LATER) {
        (void)snprintf(reply->reason, sizeof reply->reason,
                       "the handler answered %d, which means nothing", answer);
        return STELE_SAGA_NEEDS_HELP;
    }
    reply->reason[sizeof reply->reason - 1] = '\0';
    return answer;
}

/* The circuit of the step's participant; STELE_SAGA_NOT_TRIED if it is open. */
static int ask_through_circuit(struct stele_saga_runner *runner, struct saga_entry *entry,
                               uint32_t index, struct stele_saga_reply *reply)
{
    size_t place = 0;
    const struct stele_saga_step *const planned =
        table_step(runner, entry->plan->steps[index].name, &place);
    if (planned == NULL) {
        (void)snprintf(reply->reason, sizeof reply->reason,
                       "this program's table has no such step");
        return STELE_SAGA_NEEDS_HELP;
    }
    const int64_t now_us = runner->port->ops->now_us(runner->port);
    int64_t until_us = 0;
    if (stele_breaker_permit(&runner->breakers[place], now_us, &entry->tickets[index], &until_us) !=
        STELE_OK) {
        runner->stats.not_tried++;
        reply->retry_after_ms = (until_us - now_us) / 1000 + 1;
        (void)snprintf(reply->reason, sizeof reply->reason, "the circuit is open");
        return STELE_SAGA_NOT_TRIED;
    }
    const struct stele_saga_step_state *const step = &entry->saga.steps[index];
    const bool compensation = step->state == STELE_SAGA_STEP_COMPENSATING;
    entry->asked[index] = stele_runner__saga_call_code(step);
    entry->open |= UINT32_C(1) << index;
    runner->later++;
    const int answer = ask(runner, entry, index, planned, reply);
    const char *const by_event = compensation ? planned->compensated : planned->success;
    if (answer == STELE_SAGA_DONE && by_event != NULL) {
        stele_runner__saga_close_call(runner, entry, index, true);
        return STELE_SAGA_LATER;
    }
    return answer;
}

static int call(struct stele_saga_runner *runner, struct saga_entry *entry, uint32_t index,
                struct stele_error *err)
{
    const struct stele_saga_step_state *const step = &entry->saga.steps[index];
    if (!step->in_flight || step->runner != runner->name_hash ||
        entry->asked[index] == stele_runner__saga_call_code(step)) {
        return STELE_OK;
    }
    struct stele_saga_reply reply;
    memset(&reply, 0, sizeof reply);
    const int answer = ask_through_circuit(runner, entry, index, &reply);
    if (answer == STELE_SAGA_LATER) {
        return STELE_OK;
    }
    const struct stele_saga_input input = {
        .step = index,
        .compensation = step->state == STELE_SAGA_STEP_COMPENSATING,
        .attempt = step->attempt,
        .answer = answer,
        .retry_after_ms = reply.retry_after_ms,
        .reason = {reply.reason, strlen(reply.reason)},
        .result = answer == STELE_SAGA_DONE ? reply.result : (struct stele_text){NULL, 0}};
    return answered(runner, entry, input, err);
}

int stele_runner__saga_make_calls(struct stele_saga_runner *runner, struct stele_error *err)
{
    int outcome = STELE_OK;
    /* Answers of handlers make further calls, which join the end. */
    size_t at = 0;
    while (at < runner->calls_count && outcome == STELE_OK) {
        struct saga_entry *const entry = runner->calls[at];
        if (entry->to_call == 0) {
            entry->queued = false;
            at++;
            continue;
        }
        const uint32_t index = (uint32_t)__builtin_ctz(entry->to_call);
        entry->to_call &= ~(UINT32_C(1) << index);
        outcome = call(runner, entry, index, err);
    }
    if (at > 0) {
        memmove(runner->calls, runner->calls + at,
                (runner->calls_count - at) * sizeof(struct saga_entry *));
        runner->calls_count -= at;
    }
    return outcome;
}

/* ---- Answers from other threads ------------------------------------------------------------ */

/* "order/17/payment/undo" taken apart. false: it is no key of this kind. */
static bool read_key(const struct stele_saga_runner *runner, const char *key,
                     char id[STELE_SAGA_ID_SIZE_MAX + 1], struct stele_text *out_step,
                     int *out_compensation)
{
    const size_t kind_size = strlen(runner->plan.kind);
    const char *end = key + strlen(key);
    if (strncmp(key, runner->plan.kind, kind_size) != 0 || key[kind_size] != '/') {
        return false;
    }
    key += kind_size + 1;
    *out_compensation = end - key > 5 && memcmp(end - 5, "/undo", 5) == 0;
    end -= *out_compensation ? 5 : 0;
    const char *const slash = memrchr(key, '/', (size_t)(end - key));
    if (slash == NULL || slash == key || (size_t)(slash - key) > STELE_SAGA_ID_SIZE_MAX) {
        return false;
    }
    memcpy(id, key, (size_t)(slash - key));
    id[slash - key] = '\0';
    *out_step = (struct stele_text){slash + 1, (size_t)(end - slash - 1)};
    return true;
}

int stele_saga_runner_answer(struct stele_saga_runner *runner, const char *key, uint32_t attempt,
                             int answer, const struct stele_saga_reply *reply)
{
    char id[STELE_SAGA_ID_SIZE_MAX + 1];
    struct stele_text step;
    int compensation = 0;
    if (answer < STELE_SAGA_DONE || answer > STELE_SAGA_NEEDS_HELP ||
        !read_key(runner, key, id, &step, &compensation)) {
        return STELE_E_INVALID;
    }
    const size_t key_size = strlen(key) + 1;
    const size_t result_size = reply != NULL ? reply->result.size : 0;
    const size_t size = sizeof(struct saga_answer) + key_size + result_size;
    struct saga_answer *const told = stele_allocate_zeroed(runner->alloc, size);
    if (told == NULL) {
        return STELE_E_NO_MEMORY;
    }
    told->size = size;
    told->key = (char *)(told + 1);
    memcpy(told->key, key, key_size);
    told->attempt = attempt;
    told->answer = answer;
    if (reply != NULL) {
        told->retry_after_ms = reply->retry_after_ms;
        memcpy(told->reason, reply->reason, sizeof told->reason - 1);
        told->result = (struct stele_text){told->key + key_size, result_size};
        if (result_size > 0) {
            memcpy(told->key + key_size, reply->result.data, result_size);
        }
    }
    (void)pthread_mutex_lock(&runner->lock);
    const bool full = runner->answers_count >= ANSWERS_MAX;
    if (!full) {
        *runner->answers_end = told;
        runner->answers_end = &told->next;
        runner->answers_count++;
    }
    (void)pthread_mutex_unlock(&runner->lock);
    if (full) {
        stele_release(runner->alloc, told, size);
        return STELE_E_OVERLOADED;
    }
    return STELE_OK;
}

static int take_answer(struct stele_saga_runner *runner, const struct saga_answer *told,
                       struct stele_error *err)
{
    char id[STELE_SAGA_ID_SIZE_MAX + 1];
    struct stele_text name;
    int compensation = 0;
    struct saga_entry *entry = NULL;
    const bool is_key = read_key(runner, told->key, id, &name, &compensation);
    STELE_ASSERT(is_key);
    const int outcome = stele_runner__saga_find(runner, id, &entry, err);
    if (outcome != STELE_OK || entry == NULL) {
        return outcome;
    }
    const int index = stele_saga_plan_find(entry->plan, name);
    if (index < 0) {
        return STELE_OK;
    }
    const struct stele_saga_input input = {.step = (uint32_t)index,
                                           .compensation = compensation,
                                           .attempt = told->attempt,
                                           .answer = told->answer,
                                           .retry_after_ms = told->retry_after_ms,
                                           .reason = {told->reason, strlen(told->reason)},
                                           .result = told->result};
    return answered(runner, entry, input, err);
}

int stele_runner__saga_take_answers(struct stele_saga_runner *runner, struct stele_error *err)
{
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        (void)pthread_mutex_lock(&runner->lock);
        struct saga_answer *const told = runner->answers;
        if (told != NULL) {
            runner->answers = told->next;
            runner->answers_count--;
            if (runner->answers == NULL) {
                runner->answers_end = &runner->answers;
            }
        }
        (void)pthread_mutex_unlock(&runner->lock);
        if (told == NULL) {
            break;
        }
        outcome = take_answer(runner, told, err);
        stele_release(runner->alloc, told, told->size);
    }
    return outcome;
}
