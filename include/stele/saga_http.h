/* Participants of sagas behind HTTP: a handler that asks them. In the library stele-run.
 *
 * A call is a request with a JSON body and the call's key in the header Idempotency-Key, the same for
 * every attempt. What the answer means:
 *
 *     2xx                                    done; the body is the step's result
 *     400, 409, 410, 412, 422, other 4xx     refused; the body's first line is the reason
 *     408, 425, 429, 503, no connection      not done, asked again; Retry-After is respected
 *     no answer in time, a broken one,
 *     other 5xx                              nobody knows, asked again
 *     3xx, 401, 403, 404, 405, 407, 501      the saga is parked: an address or a right is wrong
 *
 * Redirects are not followed, since a request that changes something must not go where nobody meant it
 * to go. */
#ifndef STELE_SAGA_HTTP_H
#define STELE_SAGA_HTTP_H

#include <stele/saga.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef STELE_RUN_API
#define STELE_RUN_API __attribute__((visibility("default")))
#endif

/* Where a step's participant is. "{id}" in an address stands for the saga's id, percent-encoded. */
struct stele_saga_http_target {
    const char *step;
    const char *url;                 /* http:// or https:// */
    const char *method;              /* NULL: POST. */
    const char *compensation_url;    /* NULL: the same address … */
    const char *compensation_method; /* … and then DELETE; otherwise POST. */
};

struct stele_saga_http_options {
    size_t struct_size;
    const struct stele_saga_http_target *targets; /* Borrowed as long as it lives. */
    size_t targets_count;
    const char *const *headers; /* Added to every request: "Authorization: Bearer …". Borrowed. */
    size_t headers_count;
    const char *ca_file;      /* Certificates to trust; NULL: the system's. */
    uint32_t connections_max; /* Default 32; calls above it wait. */
    uint32_t calls_max; /* Under way or waiting, default 10,000; more are tried again later. */
    uint32_t answer_size_max; /* Bytes of a body, default 1 MiB; a longer one is a broken answer. */
    /* Makes the body of a request: malloc()'s memory, with a zero at its end. NULL returned: the saga is
     * parked, for the reason in reply. NULL here, or *out_usual set: the usual body. Runs on the
     * runner's thread. */
    char *(*body)(void *context, const struct stele_saga_call *call, struct stele_saga_reply *reply,
                  int *out_usual);
    void *context;
};
#define STELE_SAGA_HTTP_OPTIONS_INIT                                                               \
    {                                                                                              \
        sizeof(struct stele_saga_http_options), NULL, 0, NULL, 0, NULL, 0, 0, 0, NULL, NULL        \
    }

struct stele_saga_http;

/* Starts the thread that calls. STELE_E_INVALID names a target that cannot be right. */
STELE_RUN_API int stele_saga_http_create(const struct stele_saga_http_options *options,
                                         struct stele_saga_http **out_http,
                                         struct stele_error *err);

/* Where answers go. Before the runner's first turn. */
STELE_RUN_API void stele_saga_http_attach(struct stele_saga_http *http,
                                          struct stele_saga_runner *runner);

/* The handler of a definition; its context is the struct stele_saga_http. */
STELE_RUN_API int stele_saga_http_handle(void *http, const struct stele_saga_call *call,
                                         struct stele_saga_reply *reply);

/* Breaks off what is under way, and releases everything. Before the runner is destroyed. NULL is fine. */
STELE_RUN_API void stele_saga_http_destroy(struct stele_saga_http *http);

#ifdef __cplusplus
}
#endif

#endif
