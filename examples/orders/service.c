#include "service.h"

#include <stele/saga.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int complain(const struct service *service, const char *what, const char *message)
{
    (void)fprintf(stderr, "%s: %s: %s\n", service->name, what, message);
    return 0;
}

int service_start(struct service *service, const char *name, const char *store, const char *port)
{
    struct stele_runner_options options = STELE_RUNNER_OPTIONS_INIT;
    struct stele_error err;
    char *rest = NULL;
    const unsigned long number = strtoul(port, &rest, 10);
    *service = (struct service){.name = name, .server = {.listener = -1, .signals = -1}};
    if (*rest != '\0' || number == 0 || number > UINT16_MAX) {
        return complain(service, port, "this is no port");
    }
    const int error = http_open(&service->server, (uint16_t)number);
    if (error != 0) {
        return complain(service, port, "the port cannot be listened at");
    }
    if (stele_open(store, NULL, &service->store, &err) != STELE_OK) {
        return complain(service, store, err.message);
    }
    if (stele_runner_create(service->store, &options, &service->runner, &err) != STELE_OK) {
        return complain(service, store, err.message);
    }
    return 1;
}

void service_stop(struct service *service)
{
    stele_runner_destroy(service->runner);
    (void)stele_close(service->store);
    http_close(&service->server);
}

int service_execute(struct service *service, const struct stele_decider *decider,
                    const struct service_command *asked, struct stele_error *err)
{
    struct stele_command command = {
        .struct_size = sizeof command,
        .type = asked->type,
        .stream = asked->stream,
        .data = asked->data.data,
        .data_size = asked->data.size,
    };
    struct stele_origin origin = {
        .struct_size = sizeof origin,
        .correlation_id = asked->correlation_id,
    };
    if (asked->key != NULL && asked->key[0] != '\0') {
        stele_saga_event_id(asked->key, 0, command.id);
        origin.causation_id = asked->key;
        origin.again = 1; /* Asks the store first whether this command was executed before. */
    }
    return stele_runner_execute(service->runner, decider, &command, &origin, NULL, err);
}

/* Refused: nothing has happened, and asking again will not help. Not now: nothing has happened either.
 * Anything else: nobody knows. */
static int status_of(int outcome)
{
    switch (outcome) {
    case STELE_OK:
        return 200;
    case STELE_REJECTED:
    case STELE_E_INVALID:
    case STELE_E_LIMIT:
    case STELE_E_ID_CONFLICT:
        return 409;
    case STELE_WRONG_REVISION:
    case STELE_E_OVERLOADED:
    case STELE_E_NO_SPACE:
    case STELE_E_NO_MEMORY:
        return 503;
    default:
        return 500;
    }
}

void service_answer(struct service *service, const struct stele_decider *decider, const char *type,
                    const char *stream, const struct http_request *request,
                    struct http_answer *answer)
{
    struct stele_memory *const memory = stele_memory_create();
    struct service_command command = {
        .type = type,
        .stream = stream,
        .data = {request->body, request->body_size},
        .key = request->key,
    };
    struct stele_text correlation_id;
    struct stele_error err;
    if (memory == NULL) {
        *answer = (struct http_answer){.status = 503, .text = "no memory"};
        return;
    }
    if (stele_json_string(request->body, request->body_size, "correlation_id", memory,
                          &correlation_id) == STELE_OK) {
        command.correlation_id = correlation_id.data;
    }
    (void)stele_json_member(request->body, request->body_size, "input", &command.data);
    const int outcome = service_execute(service, decider, &command, &err);
    answer->status = status_of(outcome);
    (void)snprintf(answer->text, sizeof answer->text, "%s",
                   outcome == STELE_OK ? "done" : err.message);
    stele_memory_destroy(memory);
}

void service_answer_number(struct service *service, const struct stele_fold *fold,
                           const char *stream, const char *name,
                           int64_t (*number)(const void *state), struct http_answer *answer)
{
    struct stele_memory *const memory = stele_memory_create();
    struct stele_state *state = NULL;
    struct stele_error err = {.message = "no memory"};
    *answer = (struct http_answer){.status = 503};
    if (memory == NULL ||
        stele_runner_load(service->runner, fold, stream, 0, memory, &state, &err) != STELE_OK) {
        (void)snprintf(answer->text, sizeof answer->text, "%s", err.message);
    } else {
        answer->status = 200;
        (void)snprintf(answer->text, sizeof answer->text, "%s: %lld", name,
                       (long long)number(stele_state_value(state)));
    }
    stele_memory_destroy(memory);
}
