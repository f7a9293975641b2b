/* What calls need below and beside them, without a network: a loop with a clock of its own, exchanges
 * whose bytes lie in buffers, and callers by name.
 *
 * Link it instead of http and auth. Tasks may be posted from any thread (a store answers from its
 * own); everything else is the test's thread. */
#ifndef STELE_TESTS_LIB_FAKEGRPC_H
#define STELE_TESTS_LIB_FAKEGRPC_H

#include "grpc/call.h"
#include "http/http.h"
#include "io/loop.h"

#include <pthread.h>

#define FAKE_TIMERS 256

struct fake_loop {
    struct stele_loop loop;
    int64_t now_us;
    uint64_t random;
    pthread_mutex_t lock;
    pthread_cond_t posted;
    struct stele_task *first, **last;
    struct stele_timer *timers[FAKE_TIMERS];
};

/* alloc outlives it. */
void fake_loop_init(struct fake_loop *fake, struct stele_alloc *alloc);
void fake_loop_deinit(struct fake_loop *fake);
/* Runs posted tasks until there are none. Returns how many. */
size_t fake_loop_run(struct fake_loop *fake);
/* Waits for a task, as long as it takes unless something hangs, then runs. */
size_t fake_loop_wait(struct fake_loop *fake);
/* The same where perhaps none comes. */
size_t fake_loop_wait_for(struct fake_loop *fake, unsigned seconds);
/* Lets time pass; timers that become due on the way run, in order. */
void fake_loop_advance(struct fake_loop *fake, int64_t us);

/* One request with its response. Zero-initialise by fake_request(). */
struct stele_exchange {
    struct fake_loop *loop;
    struct stele_http_header headers[16];
    size_t headers_count;
    struct stele_text method;
    struct stele_text path;
    void *user;

    int status;          /* 0: not responded. */
    char response[4096]; /* "name: value\n" of the response's headers and trailers. */
    struct stele_buf output;
    bool ended;
    bool over;       /* The client is gone. */
    bool full;       /* What is_full() answers when more than full_at bytes are there. */
    size_t full_at;  /* 0: never. */
    size_t read_at;  /* Output before this was looked at by fake_next(). */
    size_t received; /* Bytes of body given to it. */
    size_t consumed;
    uint32_t reset;
    int64_t held_until_us;
    stele_exchange_meter meter;
    void *meter_context;
};

/* A request for a path by somebody ("" is anonymous), "" or NULL; adds what gRPC clients send. */
void fake_request(struct stele_exchange *exchange, struct fake_loop *loop, const char *path,
                  const char *user);
void fake_header(struct stele_exchange *exchange, const char *name, const char *value);
/* One message, framed. */
void fake_send(struct stele_grpc *grpc, struct stele_exchange *exchange, const void *message,
               size_t size);
/* The next message of the response; false: no more yet. The message is borrowed until the output
 * grows. */
bool fake_next(struct stele_exchange *exchange, struct stele_bytes *out_message);
/* The value in the response's headers and trailers; "" if none. Static, until the next call. */
const char *fake_answer(const struct stele_exchange *exchange, const char *name);
/* grpc-status; -1: not ended. */
int fake_status(const struct stele_exchange *exchange);
/* The client goes, or (after the end) the connection lets go of it. Releases the output. */
void fake_close(struct stele_grpc *grpc, struct stele_exchange *exchange);

/* Who calls: "authorization: NAME" without any proof. "admin" is in $admins, "ops" in $ops, "slow"
 * is answered by a task, "wrong" is not let in, "busy" is to try again, no header is anonymous with
 * the rights of all ("insecure") unless fake_anonymous_is_nobody. stele_auth_may(): everything but
 * streams that begin with "secret" for those who are not admins. */
struct stele_auth {
    bool anonymous_is_nobody;
    uint64_t generation;
    const char *closed;       /* A stream that nobody but admins may read, or NULL. */
    struct stele_quota quota; /* Of everybody. */
};

#endif
