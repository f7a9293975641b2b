/* orders serve STORE PORT PAYMENTS INVENTORY [--parallel] [--patience MS] [--attempts N]
 * orders check ORDERS PAYMENTS INVENTORY
 *
 * serve takes orders, and runs the saga of each to its end: it asks the services at the two addresses. With
 * --parallel payment and stock are asked for at the same time; --patience says how long an answer is
 * waited for, and --attempts how often a service is asked that is away or does not answer.
 *
 *     PUT     /orders/ORDER           {"customer", "item", "quantity", "amount", "to"}
 *     GET     /orders/ORDER
 *     POST    /orders/ORDER/cancel    undoes what was done
 *     POST    /orders/ORDER/VERB      for operators: park, resume, abandon
 *
 * check proves from the three stores that everything is right (check.h). */
#include "check.h"
#include "json.h"
#include "order.h"
#include "service.h"

#include <stele/saga_http.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define URL_SIZE 512
#define PATIENCE_MS 30000
#define ATTEMPTS_MAX 100
#define START_MS 60000 /* For a saga to be started, after its order was placed. */

/* ---- The tables ---- */

/* 0.1 to 2 seconds apart: for three minutes, in which a service may be started again. */
#define RETRY                                                                                      \
    {                                                                                              \
        ATTEMPTS_MAX, 100, 2000                                                                    \
    }
/* What was done has to be undone: for half an hour, then a person is needed. */
#define INSIST                                                                                     \
    {                                                                                              \
        1000, 100, 2000                                                                            \
    }

#define STEPS 5

/* To be undone, an order is cancelled last: it is the first step. Nobody can refuse the last one, so there
 * is nothing that undoes it. */
static const struct stele_saga_step one_after_the_other[STEPS] = {
    {.name = "order",
     .request = "AcceptOrder",
     .compensation = "CancelOrder",
     .retry = RETRY,
     .compensation_retry = INSIST},
    {.name = "payment",
     .request = "ChargePayment",
     .compensation = "RefundPayment",
     .retry = RETRY,
     .compensation_retry = INSIST},
    {.name = "stock",
     .request = "ReserveStock",
     .compensation = "ReleaseStock",
     .retry = RETRY,
     .compensation_retry = INSIST},
    {.name = "shipping",
     .request = "ScheduleShipment",
     .compensation = "CancelShipment",
     .retry = RETRY,
     .compensation_retry = INSIST},
    {.name = "confirm", .request = "ConfirmOrder", .on_failure = STELE_SAGA_PARK, .retry = RETRY},
};

/* The same, but payment and stock wait for the order alone. */
static void make_parallel(struct stele_saga_step steps[STEPS])
{
    steps[2].after = "order";
    steps[3].after = "payment stock";
}

/* ---- The saga's participants ---- */

struct shop {
    struct service service;
    struct stele_saga_http *http;
    struct stele_saga_runner *runner;
};

/* Steps of the order itself are done here, all others by the services. */
static int is_done_here(const char *step)
{
    return strcmp(step, "order") == 0 || strcmp(step, "confirm") == 0;
}

static int handle_call(void *context, const struct stele_saga_call *call,
                       struct stele_saga_reply *reply)
{
    struct shop *const shop = context;
    char stream[STELE_STREAM_NAME_SIZE_MAX];
    struct stele_error err;
    if (!is_done_here(call->step)) {
        return stele_saga_http_handle(shop->http, call, reply);
    }
    (void)snprintf(stream, sizeof stream, "order-%s", call->id);
    const struct service_command command = {
        .type = call->command,
        .stream = stream,
        .key = call->key,
        .correlation_id = call->correlation_id,
    };
    const int outcome = service_execute(&shop->service, &order_decider, &command, &err);
    if (outcome == STELE_OK) {
        return STELE_SAGA_DONE;
    }
    (void)snprintf(reply->reason, sizeof reply->reason, "%.200s", err.message);
    return outcome == STELE_REJECTED    ? STELE_SAGA_REFUSED
           : outcome == STELE_E_UNKNOWN ? STELE_SAGA_UNKNOWN
                                        : STELE_SAGA_NOT_DONE;
}

static void *run_sagas(void *context)
{
    struct shop *const shop = context;
    struct stele_error err;
    if (stele_saga_runner_run(shop->runner, &err) != STELE_OK) {
        (void)fprintf(stderr, "orders: %s\n", err.message);
        (void)kill(getpid(), SIGTERM);
    }
    return NULL;
}

/* ---- Requests ---- */

/* There is no saga: the order has only just come, or does not exist. */
static void answer_unstarted(struct shop *shop, const char *id, struct http_answer *answer)
{
    struct stele_stream_info info;
    char stream[STELE_STREAM_NAME_SIZE_MAX];
    (void)snprintf(stream, sizeof stream, "order-%s", id);
    if (stele_stream_info(shop->service.store, stream, &info, NULL) == STELE_OK) {
        answer->status = 200;
        (void)snprintf(answer->text, sizeof answer->text, "%s: in progress", id);
    }
}

static void answer_state(struct shop *shop, const char *id, struct http_answer *answer)
{
    struct stele_saga_plan plan;
    struct stele_saga saga;
    struct stele_error err;
    const int outcome = stele_saga_load(shop->service.store, "order", id, &plan, &saga, &err);
    if (outcome == STELE_NO_STREAM) {
        answer_unstarted(shop, id, answer);
        return;
    }
    if (outcome != STELE_OK) {
        answer->status = 503;
        (void)snprintf(answer->text, sizeof answer->text, "%s", err.message);
        return;
    }
    const char *state = "in progress";
    state = saga.state == STELE_SAGA_COMPLETED ? "confirmed" : state;
    state = saga.state == STELE_SAGA_COMPENSATING ? "being undone" : state;
    state = saga.state == STELE_SAGA_COMPENSATED ? "cancelled" : state;
    state = saga.state == STELE_SAGA_PARKED ? "waits for an operator" : state;
    state = saga.state == STELE_SAGA_ABANDONED ? "abandoned" : state;
    answer->status = 200;
    (void)snprintf(answer->text, sizeof answer->text, "%s: %s%s%s%s", id, state,
                   saga.reason[0] != '\0' ? " (" : "", saga.reason,
                   saga.reason[0] != '\0' ? ")" : "");
}

/* An order is placed before its saga is started, so the saga may have to be waited for. */
static int operate(struct shop *shop, const char *id, int input, struct stele_error *err)
{
    struct stele *const store = shop->service.store;
    const char *const reason = input == STELE_SAGA_INPUT_CANCEL ? "cancelled by the customer" : "";
    struct stele_stream_info info;
    char stream[STELE_STREAM_NAME_SIZE_MAX];
    (void)snprintf(stream, sizeof stream, "order-%s", id);
    for (;;) {
        const uint64_t position = stele_last_position(store);
        const int outcome = stele_saga_operate(store, "order", id, input, NULL, reason, err);
        if (outcome == STELE_WRONG_REVISION) {
            continue; /* The saga has made a step meanwhile. */
        }
        if (outcome != STELE_NO_STREAM ||
            stele_stream_info(store, stream, &info, NULL) != STELE_OK ||
            stele_wait(store, position, START_MS, NULL) != STELE_OK) {
            return outcome;
        }
    }
}

static void answer_verb(struct shop *shop, const char *id, const char *verb,
                        struct http_answer *answer)
{
    static const struct {
        const char *verb;
        int input;
    } verbs[] = {{"cancel", STELE_SAGA_INPUT_CANCEL},
                 {"park", STELE_SAGA_INPUT_PARK},
                 {"resume", STELE_SAGA_INPUT_RESUME},
                 {"abandon", STELE_SAGA_INPUT_ABANDON}};
    struct stele_error err;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verb, verbs[i].verb) != 0) {
            continue;
        }
        const int outcome = operate(shop, id, verbs[i].input, &err);
        if (outcome == STELE_OK) {
            answer_state(shop, id, answer);
        } else if (outcome != STELE_NO_STREAM) {
            answer->status = outcome == STELE_CONDITION_FAILED ? 409 : 503;
            (void)snprintf(answer->text, sizeof answer->text, "%s", err.message);
        }
    }
}

static void handle(void *context, const struct http_request *request, struct http_answer *answer)
{
    struct shop *const shop = context;
    const char *const id = request->words[1];
    const char *const verb = request->words[2];
    char stream[STELE_STREAM_NAME_SIZE_MAX];
    if (strcmp(request->words[0], "orders") != 0 || !is_name(id)) {
        return;
    }
    (void)snprintf(stream, sizeof stream, "order-%s", id);
    if (verb[0] != '\0') {
        if (strcmp(request->method, "POST") == 0) {
            answer_verb(shop, id, verb, answer);
        }
    } else if (strcmp(request->method, "PUT") == 0) {
        service_answer(&shop->service, &order_decider, "Place", stream, request, answer);
        answer->status = answer->status == 200 ? 202 : answer->status;
    } else if (strcmp(request->method, "GET") == 0) {
        answer_state(shop, id, answer);
    }
}

/* ---- The program ---- */

struct arguments {
    const char *store, *port, *payments, *inventory;
    int is_parallel;
    uint32_t patience_ms, attempts_max;
};

static int parse(int argc, char **argv, struct arguments *arguments)
{
    const char **const places[] = {&arguments->store, &arguments->port, &arguments->payments,
                                   &arguments->inventory};
    size_t count = 0;
    *arguments = (struct arguments){.patience_ms = PATIENCE_MS, .attempts_max = ATTEMPTS_MAX};
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--parallel") == 0) {
            arguments->is_parallel = 1;
        } else if (strcmp(argv[i], "--patience") == 0 && i + 1 < argc) {
            arguments->patience_ms = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--attempts") == 0 && i + 1 < argc) {
            arguments->attempts_max = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else if (argv[i][0] == '-' || count == 4) {
            return 0;
        } else {
            *places[count++] = argv[i];
        }
    }
    return count == 4 && arguments->patience_ms > 0 && arguments->attempts_max > 0;
}

static int run_shop(struct shop *shop, const struct stele_saga_definition *definition,
                    struct stele_saga_http *http, struct stele_error *err)
{
    struct stele_saga_runner_options options = STELE_SAGA_RUNNER_OPTIONS_INIT;
    pthread_t thread;
    options.breaker.open_ms = 1000; /* A service that fails is tried again after a second. */
    const int outcome =
        stele_saga_runner_create(shop->service.store, definition, &options, &shop->runner, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    stele_saga_http_attach(http, shop->runner);
    if (pthread_create(&thread, NULL, run_sagas, shop) != 0) {
        (void)snprintf(err->message, sizeof err->message, "the thread of the sagas does not start");
        return STELE_E_NO_MEMORY;
    }
    http_serve(&shop->service.server, handle, shop);
    stele_saga_runner_stop(shop->runner);
    (void)pthread_join(thread, NULL);
    return STELE_OK;
}

static int serve(const struct arguments *arguments)
{
    static const char *const triggers[] = {"OrderPlaced"};
    struct stele_saga_step steps[STEPS];
    memcpy(steps, one_after_the_other, sizeof steps);
    for (size_t i = 0; i < STEPS; i++) {
        if (!is_done_here(steps[i].name)) {
            steps[i].timeout_ms = arguments->patience_ms;
            steps[i].retry.attempts_max = arguments->attempts_max;
        }
    }
    if (arguments->is_parallel) {
        make_parallel(steps);
    }
    char urls[3][URL_SIZE];
    (void)snprintf(urls[0], URL_SIZE, "%s/payments/{id}", arguments->payments);
    (void)snprintf(urls[1], URL_SIZE, "%s/reservations/{id}", arguments->inventory);
    (void)snprintf(urls[2], URL_SIZE, "%s/shipments/{id}", arguments->inventory);
    const struct stele_saga_http_target targets[] = {
        {.step = "payment", .url = urls[0], .method = "PUT"},
        {.step = "stock", .url = urls[1], .method = "PUT"},
        {.step = "shipping", .url = urls[2], .method = "PUT"},
    };
    struct stele_saga_http_options options = STELE_SAGA_HTTP_OPTIONS_INIT;
    options.targets = targets;
    options.targets_count = sizeof targets / sizeof targets[0];
    struct shop shop = {.runner = NULL};
    const struct stele_saga_table table = {.kind = "order", .steps = steps, .steps_count = STEPS};
    const struct stele_saga_definition definition = {
        .table = &table,
        .triggers = triggers,
        .triggers_count = 1,
        .handle = handle_call,
        .context = &shop,
    };
    struct stele_error err = {.message = ""};
    int outcome = STELE_E_INVALID;
    if (service_start(&shop.service, "orders", arguments->store, arguments->port)) {
        outcome = stele_saga_http_create(&options, &shop.http, &err);
        if (outcome == STELE_OK) {
            outcome = run_shop(&shop, &definition, shop.http, &err);
        }
        if (outcome != STELE_OK) {
            (void)fprintf(stderr, "orders: %s\n", err.message);
        }
        stele_saga_http_destroy(shop.http);
        stele_saga_runner_destroy(shop.runner);
    }
    service_stop(&shop.service);
    return outcome == STELE_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    if (argc == 5 && strcmp(argv[1], "check") == 0) {
        return check_stores(argv[2], argv[3], argv[4]);
    }
    if (argc < 2 || strcmp(argv[1], "serve") != 0 || !parse(argc, argv, &arguments)) {
        (void)fputs("orders serve STORE PORT PAYMENTS INVENTORY [--parallel] [--patience MS] "
                    "[--attempts N]\n"
                    "orders check ORDERS PAYMENTS INVENTORY\n",
                    stderr);
        return 2;
    }
    return serve(&arguments);
}
