/* Sagas and reactions at work: which event starts which, what is asked for, and by whom. */
#include "declared/saga.h"

#include "base/compiler.h"
#include "declared/append.h"

#include <stele/saga_http.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beginnings of sagas stand in events of their own, with something around them. */
#define INPUT_SIZE_MAX ((size_t)12 * 1024 * 1024)

struct stele_declared_running {
    const struct stele_declared_saga *saga;
    struct stele *store;
    struct stele_declared_options options;
    struct stele_saga_definition definition;
    struct stele_saga_http_target targets[STELE_SAGA_STEPS_MAX];
    struct stele_saga_http *http; /* NULL: nothing is called. */
    struct stele_saga_runner *runner;
    char *input; /* The last one that was handed out. */
};

/* ---- Results of programs ------------------------------------------------------------------- */

/* The first result; there may be one only. */
struct one {
    char *text; /* free() */
    size_t size;
    size_t count;
};

static int take_one(void *context, const char *json, size_t size)
{
    struct one *const one = context;
    if (one->count++ > 0) {
        return STELE_E_LIMIT;
    }
    one->text = malloc(size + 1);
    if (one->text == NULL) {
        return STELE_E_NO_MEMORY;
    }
    memcpy(one->text, json, size);
    one->text[size] = '\0';
    one->size = size;
    return STELE_OK;
}

/* What a program's run ended with, in words; NULL: it gave one result. */
static const char *objection(int outcome, const struct one *one, const struct stele_error *err)
{
    return outcome == STELE_E_LIMIT       ? "it gives more than one result"
           : outcome == STELE_E_NO_MEMORY ? "no memory"
           : outcome != STELE_OK          ? err->message
           : one->count == 0              ? "it gives nothing"
                                          : NULL;
}

static void tell(const struct stele_declared_running *running, const struct stele_event *event,
                 const char *what, const char *words)
{
    char text[600];
    (void)snprintf(text, sizeof text, "%.*s@%llu: %s: %s",
                   (int)(event->stream.size < 200 ? event->stream.size : 200), event->stream.data,
                   (unsigned long long)event->revision, what, words);
    running->options.on_problem(running->options.context, running->saga->table.kind, "", text);
}

/* ---- Which saga ---------------------------------------------------------------------------- */

static bool is_trigger(const struct stele_declared_saga *saga, struct stele_text type)
{
    for (size_t i = 0; i < saga->triggers_count; i++) {
        if (strlen(saga->triggers[i]) == type.size &&
            memcmp(saga->triggers[i], type.data, type.size) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_of_category(const struct stele_declared_saga *saga, struct stele_text stream)
{
    const char *const dash = memchr(stream.data, '-', stream.size);
    const size_t size = dash != NULL ? (size_t)(dash - stream.data) : stream.size;
    for (size_t i = 0; i < saga->categories_count; i++) {
        if (strlen(saga->categories[i]) == size &&
            memcmp(saga->categories[i], stream.data, size) == 0) {
            return true;
        }
    }
    return saga->categories_count == 0;
}

/* null and false are no. A program that fails says nothing: *out_words is set. */
static bool is_wanted(const struct stele_declared_saga *saga, const struct stele_event *event,
                      char words[STELE_SAGA_WORDS_SIZE_MAX])
{
    struct one one = {.count = 0};
    struct stele_error err = {0};
    if (saga->when == NULL) {
        return true;
    }
    const int outcome = stele_jq_run_event(saga->when, event, take_one, &one, &err);
    const bool none = outcome == STELE_OK && one.count == 0;
    const char *const wrong = none ? NULL : objection(outcome, &one, &err);
    const bool yes =
        wrong == NULL && !none && strcmp(one.text, "null") != 0 && strcmp(one.text, "false") != 0;
    if (wrong != NULL) {
        (void)snprintf(words, STELE_SAGA_WORDS_SIZE_MAX, "%.200s", wrong);
    }
    free(one.text);
    return yes;
}

/* The stream's name behind its first "-". */
static int usual_id(const struct stele_event *event, char id[STELE_SAGA_ID_SIZE_MAX + 1])
{
    const char *const dash = memchr(event->stream.data, '-', event->stream.size);
    const size_t before = dash != NULL ? (size_t)(dash - event->stream.data) + 1 : 0;
    const size_t size = event->stream.size - before;
    if (dash == NULL || size == 0 || size > STELE_SAGA_ID_SIZE_MAX) {
        return 1;
    }
    memcpy(id, dash + 1, size);
    id[size] = '\0';
    return 0;
}

static int take_id(const struct stele_declared_running *running, const struct stele_event *event,
                   char id[STELE_SAGA_ID_SIZE_MAX + 1])
{
    struct one one = {.count = 0};
    struct stele_error err = {0};
    const int outcome = stele_jq_run_event(running->saga->id, event, take_one, &one, &err);
    const char *wrong = objection(outcome, &one, &err);
    json_t *const value =
        wrong == NULL ? json_loadb(one.text, one.size, JSON_DECODE_ANY, NULL) : NULL;
    const char *const text = json_is_integer(value) ? one.text : json_string_value(value);
    if (wrong == NULL &&
        (text == NULL || text[0] == '\0' || strlen(text) > STELE_SAGA_ID_SIZE_MAX)) {
        wrong = "it gives no text or number of 1 to 255 bytes";
    }
    if (wrong == NULL) {
        (void)snprintf(id, STELE_SAGA_ID_SIZE_MAX + 1, "%s", text);
    } else {
        tell(running, event, "id", wrong);
    }
    json_decref(value);
    free(one.text);
    return wrong == NULL ? 0 : 1;
}

static int identify(void *context, const struct stele_event *event,
                    char id[STELE_SAGA_ID_SIZE_MAX + 1])
{
    const struct stele_declared_running *const running = context;
    const struct stele_declared_saga *const saga = running->saga;
    if (is_trigger(saga, event->type)) {
        char words[STELE_SAGA_WORDS_SIZE_MAX] = "";
        if (!is_of_category(saga, event->stream)) {
            return 1;
        }
        const bool wanted = is_wanted(saga, event, words);
        if (words[0] != '\0' && !saga->reaction) {
            tell(running, event, "when", words);
        }
        /* Of a reaction, an event that nobody can judge is parked, with what was wrong: see do_it(). */
        if (!wanted && (words[0] == '\0' || !saga->reaction)) {
            return 1;
        }
    }
    if (saga->reaction) {
        stele_id_to_text(event->id, id);
        return 0;
    }
    return saga->id != NULL ? take_id(running, event, id) : usual_id(event, id);
}

static int check_size(const struct stele_declared_running *running, const struct stele_event *event,
                      size_t size)
{
    if (size > INPUT_SIZE_MAX) {
        tell(running, event, "input", "it has more than 12 MiB, and is passed over");
        return 1;
    }
    return 0;
}

/* What it is started with: what its program gives; of a reaction, the event itself. */
static int take_input(void *context, const struct stele_event *event, struct stele_text *out_input)
{
    struct stele_declared_running *const running = context;
    struct one one = {.count = 0};
    struct stele_error err = {0};
    if (running->saga->input == NULL || event->data_size > INPUT_SIZE_MAX) {
        return check_size(running, event, event->data_size); /* As it is. */
    }
    const int outcome = stele_jq_run_event(running->saga->input, event, take_one, &one, &err);
    const char *const wrong = objection(outcome, &one, &err);
    if (wrong != NULL) {
        tell(running, event, "input", wrong);
        free(one.text);
        return 1;
    }
    free(running->input);
    running->input = one.text;
    *out_input = (struct stele_text){one.text, one.size};
    return check_size(running, event, one.size);
}

/* ---- What is asked for --------------------------------------------------------------------- */

static size_t step_of(const struct stele_declared_saga *saga, const char *name)
{
    size_t i = 0;
    while (i < saga->table.steps_count && strcmp(saga->steps[i].name, name) != 0) {
        i++;
    }
    return i;
}

static void put(json_t *object, const char *name, struct stele_text text)
{
    if (text.size > 0) {
        json_t *const value = json_loadb(text.data, text.size, JSON_DECODE_ANY, NULL);
        (void)json_object_set_new(object, name,
                                  value != NULL ? value : json_stringn(text.data, text.size));
    }
}

/* What the programs of a step see; free(). NULL: no memory. */
static char *describe(const struct stele_declared_saga *saga, const struct stele_saga_call *call)
{
    if (saga->reaction) {
        const char *const from = call->input.data != NULL ? call->input.data : "null";
        const size_t size = call->input.data != NULL ? call->input.size : 4;
        char *const copy = malloc(size + 1); /* The input has no end of its own. */
        if (copy != NULL) {
            memcpy(copy, from, size);
            copy[size] = '\0';
        }
        return copy;
    }
    json_t *const results = json_object();
    for (size_t i = 0; i < saga->table.steps_count; i++) {
        put(results, saga->steps[i].name, stele_saga_call_result(call, saga->steps[i].name));
    }
    json_t *const object = json_pack(
        "{s:s,s:s,s:s,s:s,s:b,s:I,s:s,s:o}", "saga", call->kind, "id", call->id, "step", call->step,
        "command", call->command, "compensation", call->compensation, "attempt",
        (json_int_t)call->attempt, "correlation_id", call->correlation_id, "results", results);
    put(object, "input", call->input);
    put(object, "result", call->result);
    char *const text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

static const struct stele_declared_action *action_of(const struct stele_declared_saga *saga,
                                                     const struct stele_saga_call *call)
{
    const size_t index = step_of(saga, call->step);
    if (index == saga->table.steps_count) {
        return NULL;
    }
    return call->compensation ? &saga->actions[index].undo : &saga->actions[index].request;
}

static char *make_body(void *context, const struct stele_saga_call *call,
                       struct stele_saga_reply *reply, int *out_usual)
{
    const struct stele_declared_running *const running = context;
    const struct stele_declared_action *const action = action_of(running->saga, call);
    if (action == NULL || (action->body == NULL && !running->saga->reaction)) {
        *out_usual = 1;
        return NULL;
    }
    char *const text = describe(running->saga, call);
    if (action->body == NULL || text == NULL) {
        return text; /* A reaction's: the event. */
    }
    struct one one = {.count = 0};
    struct stele_error err = {0};
    const int outcome = stele_jq_run(action->body, text, strlen(text), take_one, &one, &err);
    const char *const wrong = objection(outcome, &one, &err);
    free(text);
    if (wrong != NULL) {
        (void)snprintf(reply->reason, sizeof reply->reason, "body: %.200s", wrong);
        free(one.text);
        return NULL;
    }
    return one.text;
}

static int do_append(const struct stele_declared_running *running,
                     const struct stele_declared_action *action, const struct stele_saga_call *call,
                     struct stele_saga_reply *reply)
{
    char *const text = describe(running->saga, call);
    if (text == NULL) {
        return STELE_SAGA_NOT_TRIED;
    }
    json_t *const event = running->saga->reaction ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    const char *const cause = json_string_value(json_object_get(event, "id"));
    const int answer = stele_declared_append(running->store, action->append, text, call,
                                             cause != NULL ? cause : call->causation_id, reply);
    json_decref(event);
    free(text);
    return answer;
}

/* Of a reaction whose filter failed on the event: it is asked again, since the file may be another now. */
static int judge(const struct stele_declared_running *running, const struct stele_saga_call *call,
                 struct stele_saga_reply *reply)
{
    struct stele_jq *const when = running->saga->when;
    struct one one = {.count = 0};
    struct stele_error err = {0};
    if (!running->saga->reaction || when == NULL) {
        return STELE_SAGA_DONE;
    }
    const int outcome =
        stele_jq_run(when, call->input.data, call->input.size, take_one, &one, &err);
    const char *const wrong =
        outcome == STELE_OK && one.count == 0 ? NULL : objection(outcome, &one, &err);
    free(one.text);
    if (wrong != NULL) {
        (void)snprintf(reply->reason, sizeof reply->reason, "when: %.200s", wrong);
        return STELE_SAGA_NEEDS_HELP;
    }
    return STELE_SAGA_DONE;
}

static int do_it(void *context, const struct stele_saga_call *call, struct stele_saga_reply *reply)
{
    struct stele_declared_running *const running = context;
    const struct stele_declared_action *const action = action_of(running->saga, call);
    if (action == NULL || (action->url == NULL && action->append == NULL)) {
        (void)snprintf(reply->reason, sizeof reply->reason,
                       "the file says nothing about how to %s this step",
                       call->compensation ? "undo" : "do");
        return STELE_SAGA_NEEDS_HELP;
    }
    const int judged = judge(running, call, reply);
    if (judged != STELE_SAGA_DONE) {
        return judged;
    }
    return action->append != NULL ? do_append(running, action, call, reply)
                                  : stele_saga_http_handle(running->http, call, reply);
}

/* ---- Starting and stopping ------------------------------------------------------------------ */

static int start_http(struct stele_declared_running *running, struct stele_error *err)
{
    const struct stele_declared_saga *const saga = running->saga;
    struct stele_saga_http_options options = STELE_SAGA_HTTP_OPTIONS_INIT;
    size_t count = 0;
    for (size_t i = 0; i < saga->table.steps_count; i++) {
        const struct stele_declared_action *const request = &saga->actions[i].request;
        const struct stele_declared_action *const undo = &saga->actions[i].undo;
        if (request->url != NULL || undo->url != NULL) {
            /* An address that a step does not have is not asked: do_it() looks at what it has. */
            running->targets[count++] = (struct stele_saga_http_target){
                .step = saga->steps[i].name,
                .url = request->url != NULL ? request->url : undo->url,
                .method = request->method,
                .compensation_url = undo->url,
                .compensation_method = undo->method};
        }
    }
    if (count == 0) {
        return STELE_OK;
    }
    options.targets = running->targets;
    options.targets_count = count;
    options.headers = saga->headers;
    options.headers_count = saga->headers_count;
    options.ca_file = saga->ca_file;
    options.body = make_body;
    options.context = running;
    return stele_saga_http_create(&options, &running->http, err);
}

static void on_problem(void *context, const char *id, const char *words)
{
    const struct stele_declared_running *const running = context;
    running->options.on_problem(running->options.context, running->saga->table.kind, id, words);
}

int stele_declared_start(struct stele *store, const struct stele_declared_saga *saga,
                         const struct stele_declared_options *options,
                         struct stele_declared_running **out_running, struct stele_error *err)
{
    struct stele_declared_running *const running = calloc(1, sizeof *running);
    if (running == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%s: no memory", saga->table.kind);
    }
    running->saga = saga;
    running->store = store;
    running->options = *options;
    running->definition = (struct stele_saga_definition){
        .table = &saga->table,
        .triggers = saga->triggers,
        .triggers_count = saga->triggers_count,
        .identify = identify,
        .handle = do_it,
        .context = running,
        .input = take_input,
    };
    struct stele_saga_runner_options runner = STELE_SAGA_RUNNER_OPTIONS_INIT;
    runner.name = options->name;
    runner.from = saga->from;
    runner.breaker = saga->breaker;
    runner.on_problem = on_problem;
    runner.context = running;
    int outcome = start_http(running, err);
    if (outcome == STELE_OK) {
        outcome =
            stele_saga_runner_create(store, &running->definition, &runner, &running->runner, err);
    }
    if (outcome != STELE_OK) {
        stele_declared_stop(running);
        return outcome;
    }
    if (running->http != NULL) {
        stele_saga_http_attach(running->http, running->runner);
    }
    *out_running = running;
    return STELE_OK;
}

struct stele_saga_runner *stele_declared_runner(struct stele_declared_running *running)
{
    return running->runner;
}

void stele_declared_stop(struct stele_declared_running *running)
{
    if (running != NULL) {
        stele_saga_http_destroy(running->http);
        stele_saga_runner_destroy(running->runner);
        free(running->input);
        free(running);
    }
}
