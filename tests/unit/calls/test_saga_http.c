/* What a participant answers over HTTP is what its saga hears.
 *
 * Method: a server in a thread that answers by the first word of the path, and writes down what it was
 * asked; a saga of one step for each kind of answer, on a real store. */
#include "lib/check.h"
#include "lib/scratch.h"

#include <stele/saga_http.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>

/* ---- The server ----------------------------------------------------------------------------- */

struct server {
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_int stop;
    pthread_mutex_t lock;
    char log[8192]; /* Of requests, whole. */
    int busy;       /* How often "/busy" was asked. */
};

static const char *answer_for(struct server *server, const char *request)
{
    if (strstr(request, "/refuse") != NULL) {
        return "HTTP/1.1 409 Conflict\r\nContent-Length: 8\r\nConnection: close\r\n\r\nsold out";
    }
    if (strstr(request, "/busy") != NULL && server->busy++ == 0) {
        return "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    }
    if (strstr(request, "/broken") != NULL) {
        return "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nshort";
    }
    if (strstr(request, "/long") != NULL) {
        return "HTTP/1.1 200 OK\r\nContent-Length: 40\r\nConnection: close\r\n\r\n"
               "0123456789012345678901234567890123456789";
    }
    if (strstr(request, "/moved") != NULL) {
        return "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\nConnection: "
               "close\r\n\r\n";
    }
    if (strstr(request, "/silent") != NULL) {
        return NULL;
    }
    return "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n{\"n\":1}";
}

/* Reads until the body is there: a header says how long it is. */
static bool read_request(int fd, char *text, size_t room)
{
    size_t size = 0;
    for (;;) {
        const ssize_t got = read(fd, text + size, room - size - 1);
        if (got <= 0) {
            return false;
        }
        size += (size_t)got;
        text[size] = '\0';
        const char *const end = strstr(text, "\r\n\r\n");
        const char *const length = strcasestr(text, "content-length:");
        if (end != NULL &&
            (length == NULL || size >= (size_t)(end - text) + 4 + strtoul(length + 15, NULL, 10))) {
            return true;
        }
    }
}

static void *serve(void *context)
{
    struct server *const server = context;
    for (;;) {
        const int fd = accept(server->fd, NULL, NULL);
        if (fd < 0 || atomic_load(&server->stop) != 0) {
            (void)close(fd);
            return NULL;
        }
        char request[4096];
        if (read_request(fd, request, sizeof request)) {
            (void)pthread_mutex_lock(&server->lock);
            const size_t size = strlen(server->log);
            (void)snprintf(server->log + size, sizeof server->log - size, "%s\n", request);
            const char *const answer = answer_for(server, request);
            (void)pthread_mutex_unlock(&server->lock);
            if (answer != NULL) {
                CHECK(write(fd, answer, strlen(answer)) > 0);
            } else {
                char byte = 0;
                (void)!read(fd, &byte, 1); /* Until the other side gives up. */
            }
        }
        (void)close(fd);
    }
}

static void start_server(struct server *server)
{
    memset(server, 0, sizeof *server);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    (void)pthread_mutex_init(&server->lock, NULL);
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(server->fd >= 0);
    CHECK_EQ(bind(server->fd, (struct sockaddr *)&address, size), 0);
    CHECK_EQ(getsockname(server->fd, (struct sockaddr *)&address, &size), 0);
    CHECK_EQ(listen(server->fd, 16), 0);
    server->port = ntohs(address.sin_port);
    CHECK_EQ(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void stop_server(struct server *server)
{
    atomic_store(&server->stop, 1);
    (void)shutdown(server->fd, SHUT_RDWR);
    CHECK_EQ(pthread_join(server->thread, NULL), 0);
    (void)close(server->fd);
    (void)pthread_mutex_destroy(&server->lock);
}

/* ---- A saga --------------------------------------------------------------------------------- */

struct run {
    struct server server;
    struct scratch scratch;
    struct stele *store;
    struct stele_saga_http *http;
    struct stele_saga_runner *runner;
    struct stele_saga_plan plan;
    struct stele_saga saga;
    struct stele_error err;
};

/* One step behind this path; the state that the saga is left in: ended or parked. */
static int run_saga(struct run *run, const char *path, uint32_t timeout_ms, bool undo)
{
    static const char *const triggers[] = {"OrderPlaced"};
    static const char *const headers[] = {"Authorization: Bearer abc"};
    struct stele_saga_step steps[2];
    char url[128];
    char other[128];
    memset(run, 0, sizeof *run);
    memset(steps, 0, sizeof steps);
    start_server(&run->server);
    scratch_make(&run->scratch);
    CHECK_OK(stele_open(run->scratch.path, NULL, &run->store, &run->err), run->err);
    steps[0] = (struct stele_saga_step){.name = "pay",
                                        .request = "Pay",
                                        .timeout_ms = timeout_ms,
                                        .retry = {2, 1, 1},
                                        .unknown = STELE_SAGA_UNKNOWN_WAIT};
    steps[0].compensation = undo ? "Refund" : NULL;
    steps[1] = (struct stele_saga_step){.name = "ship", .timeout_ms = 300000};
    const struct stele_saga_table table = {"order", steps, undo ? 2 : 1, 0};
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/%s/{id}", run->server.port, path);
    (void)snprintf(other, sizeof other, "http://127.0.0.1:%u/refuse", run->server.port);
    const struct stele_saga_http_target targets[] = {{"pay", url, NULL, NULL, NULL},
                                                     {"ship", other, NULL, NULL, NULL}};
    struct stele_saga_http_options options = STELE_SAGA_HTTP_OPTIONS_INIT;
    options.targets = targets;
    options.targets_count = 2;
    options.headers = headers;
    options.headers_count = 1;
    options.answer_size_max = 30;
    CHECK_OK(stele_saga_http_create(&options, &run->http, &run->err), run->err);
    const struct stele_saga_definition definition = {
        &table, triggers, 1, NULL, stele_saga_http_handle, run->http, NULL};
    CHECK_OK(stele_saga_runner_create(run->store, &definition, NULL, &run->runner, &run->err),
             run->err);
    stele_saga_http_attach(run->http, run->runner);
    struct stele_event_draft draft;
    memset(&draft, 0, sizeof draft);
    draft.type = "OrderPlaced";
    draft.data = "{\"price\":30}";
    draft.data_size = strlen(draft.data);
    CHECK_OK(stele_append(run->store, "shop-a b", STELE_EXPECT_ANY, &draft, 1, NULL, &run->err),
             run->err);
    while (!stele_saga_has_ended(&run->saga) && run->saga.state != STELE_SAGA_PARKED) {
        int64_t due_us = 0;
        CHECK_OK(stele_saga_runner_turn(run->runner, &due_us, &run->err), run->err);
        CHECK_OK(stele_saga_load(run->store, "order", "a b", &run->plan, &run->saga, &run->err),
                 run->err);
        (void)stele_wait(run->store, stele_last_position(run->store), 1, NULL);
    }
    stele_saga_http_destroy(run->http);
    stele_saga_runner_destroy(run->runner);
    CHECK_EQ(stele_close(run->store), STELE_OK);
    scratch_remove(&run->scratch);
    stop_server(&run->server);
    return run->saga.state;
}

static struct run run;

TEST(a_good_answer_is_done_and_the_request_says_everything)
{
    CHECK_EQ(run_saga(&run, "ok", 300000, false), STELE_SAGA_COMPLETED);
    CHECK_TEXT_HAS(run.server.log, "POST /ok/a%20b HTTP/1.1");
    CHECK_TEXT_HAS(run.server.log, "Idempotency-Key: order/a%20b/pay\r\n");
    CHECK_TEXT_HAS(run.server.log, "Authorization: Bearer abc\r\n");
    CHECK_TEXT_HAS(run.server.log, "\"id\":\"a b\",\"step\":\"pay\",\"command\":\"Pay\"");
    CHECK_TEXT_HAS(run.server.log, "\"input\":{\"price\":30}");
}

TEST(a_compensation_is_a_delete_with_its_own_key_and_the_result)
{
    CHECK_EQ(run_saga(&run, "ok", 300000, true), STELE_SAGA_COMPENSATED);
    CHECK_TEXT_HAS(run.server.log, "DELETE /ok/a%20b HTTP/1.1");
    CHECK_TEXT_HAS(run.server.log, "Idempotency-Key: order/a%20b/pay/undo\r\n");
    CHECK_TEXT_HAS(run.server.log, "\"result\":{\"n\":1}");
    CHECK_TEXT_EQ(run.saga.reason, "HTTP 409: sold out");
}

TEST(a_conflict_is_a_no)
{
    CHECK_EQ(run_saga(&run, "refuse", 300000, false), STELE_SAGA_COMPENSATED);
    CHECK_EQ(run.saga.steps[0].attempt, 1);
    CHECK(!run.saga.steps[0].unknown);
}

TEST(who_is_busy_is_asked_again)
{
    CHECK_EQ(run_saga(&run, "busy", 300000, false), STELE_SAGA_COMPLETED);
    CHECK_EQ(run.saga.steps[0].attempt, 2);
    CHECK(!run.saga.steps[0].unknown);
}

TEST(a_broken_answer_and_one_that_is_too_long_leave_it_unknown)
{
    CHECK_EQ(run_saga(&run, "broken", 300000, false), STELE_SAGA_COMPENSATED);
    CHECK(run.saga.steps[0].unknown);
    CHECK_EQ(run.saga.steps[0].attempt, 2);
    CHECK_EQ(run_saga(&run, "long", 300000, false), STELE_SAGA_COMPENSATED);
    CHECK(run.saga.steps[0].unknown);
    CHECK_TEXT_EQ(run.saga.reason, "the answer is too long");
}

TEST(silence_ends_when_the_attempt_does)
{
    CHECK_EQ(run_saga(&run, "silent", 50, false), STELE_SAGA_COMPENSATED);
    CHECK(run.saga.steps[0].unknown);
}

TEST(a_redirect_parks)
{
    CHECK_EQ(run_saga(&run, "moved", 300000, false), STELE_SAGA_PARKED);
    CHECK_TEXT_HAS(run.saga.reason, "HTTP 302");
}

TEST(targets_that_cannot_be_right_are_refused)
{
    const struct stele_saga_http_target target = {"pay", "file:///etc/passwd", NULL, NULL, NULL};
    struct stele_saga_http_options options = STELE_SAGA_HTTP_OPTIONS_INIT;
    struct stele_saga_http *http = NULL;
    struct stele_error err = {0};
    options.targets = &target;
    options.targets_count = 1;
    CHECK_OUTCOME(stele_saga_http_create(&options, &http, &err), STELE_E_INVALID, err);
    CHECK_TEXT_HAS(err.message, "step \"pay\"");
    options.struct_size = 1;
    CHECK_OUTCOME(stele_saga_http_create(&options, &http, &err), STELE_E_INVALID, err);
}
