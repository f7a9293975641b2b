/* What the three services have in common: a store of their own, commands that are executed on it once for each
 * key, and what becomes of them in HTTP. */
#ifndef ORDERS_SERVICE_H
#define ORDERS_SERVICE_H

#include "http.h"

#include <stele/run.h>

struct service {
    const char *name;
    struct stele *store;
    struct stele_runner *runner;
    struct http_server server;
};

/* Listens at the port, and opens the store. false: it does not work, and was told of on standard error. */
int service_start(struct service *service, const char *name, const char *store, const char *port);

/* Closes everything. Also after a start that failed. */
void service_stop(struct service *service);

struct service_command {
    const char *type;
    const char *stream;
    struct stele_text data;
    const char *key;            /* "" or NULL: none, and then asking again is a new command. */
    const char *correlation_id; /* NULL: none. */
};

/* Executes a command. One whose key was seen before is not executed again: the ids of its events follow from the
 * key, and are stored with them, in the same append. So there is no table of keys that could be lost, or be
 * written without the events.
 *
 * STELE_OK (done, or done before), STELE_REJECTED, or any other outcome of stele_runner_execute(). */
int service_execute(struct service *service, const struct stele_decider *decider,
                    const struct service_command *command, struct stele_error *err);

/* The same for a request: data is its body, or what a saga's call has as "input"; the answer is what
 * <stele/saga_http.h> understands. */
void service_answer(struct service *service, const struct stele_decider *decider, const char *type,
                    const char *stream, const struct http_request *request,
                    struct http_answer *answer);

/* Answers with a number of a state: "ada: 3000". */
void service_answer_number(struct service *service, const struct stele_fold *fold,
                           const char *stream, const char *name,
                           int64_t (*number)(const void *state), struct http_answer *answer);

#endif
