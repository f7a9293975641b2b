/* What `stele run` tells monitoring: GET /metrics in Prometheus' text format, GET /health.
 *
 * One thread answers one request after the other and hangs up. It is for a few scrapers in a trusted network, and
 * a slow one keeps the others waiting for a second, not the runners. */
#include "base/position.h"
#include "cli/run.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_SIZE_MAX 4096
#define WAIT_MS 1000
#define LOOK_MS 100 /* The end is noticed after so long. */

struct text {
    char *data;
    size_t size, room;
};

STELE_PRINTF(2, 3)
static void put(struct text *text, const char *format, ...)
{
    va_list args;
    if (text->room - text->size < 1024) {
        text->room = text->room * 2 + 4096;
        text->data = stele_cli_realloc(text->data, text->room);
    }
    va_start(args, format);
    const int more = vsnprintf(text->data + text->size, text->room - text->size, format, args);
    va_end(args);
    text->size += more > 0 && (size_t)more < text->room - text->size ? (size_t)more : 0;
}

/* ---- Figures ------------------------------------------------------------------------------- */

static const char *name_of(const struct stele_cli_runner *runner)
{
    return runner->saga != NULL ? runner->saga->table.kind
                                : stele_projection_name(runner->projection);
}

static uint64_t position_of(const struct stele_cli_runner *runner)
{
    return runner->saga != NULL ? runner->stats.position : runner->progress.position;
}

static double lag_s(const struct stele_cli_runner *runner, uint64_t last)
{
    const uint64_t position = position_of(runner);
    return position == 0 || position >= last
               ? 0
               : (double)(stele_position_time(last) - stele_position_time(position)) / 1e6;
}

static void put_head(struct text *text, const char *name, const char *type, const char *help)
{
    put(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_common(const struct stele_cli_run_world *world, uint64_t last, struct text *text)
{
    put_head(text, "eventcore_events_consumed_total", "counter",
             "Events applied to a read model, or sagas that events have started.");
    for (size_t i = 0; i < world->count; i++) {
        const struct stele_cli_runner *const runner = &world->runners[i];
        put(text, "eventcore_events_consumed_total{consumer=\"%s\"} %llu\n", name_of(runner),
            (unsigned long long)(runner->saga != NULL ? runner->stats.started
                                                      : runner->events + runner->progress.events));
    }
    put_head(text, "eventcore_event_lag_seconds", "gauge",
             "From what a consumer has looked at to the newest event of the store.");
    for (size_t i = 0; i < world->count; i++) {
        put(text, "eventcore_event_lag_seconds{consumer=\"%s\"} %.6f\n",
            name_of(&world->runners[i]), lag_s(&world->runners[i], last));
    }
    put_head(text, "eventcore_service_health", "gauge", "1: it works. 0: it has ended.");
    for (size_t i = 0; i < world->count; i++) {
        put(text, "eventcore_service_health{consumer=\"%s\"} %d\n", name_of(&world->runners[i]),
            world->runners[i].running ? 1 : 0);
    }
    put_head(text, "stele_run_failures_total", "counter", "Times a consumer had to begin again.");
    for (size_t i = 0; i < world->count; i++) {
        put(text, "stele_run_failures_total{consumer=\"%s\"} %llu\n", name_of(&world->runners[i]),
            (unsigned long long)world->runners[i].failures);
    }
}

static void put_sagas(const struct stele_cli_run_world *world, struct text *text)
{
    static const struct {
        const char *name, *type, *help;
        size_t at;
    } FIGURES[] = {
#define OF(member) offsetof(struct stele_saga_runner_stats, member)
        {"stele_sagas_active", "gauge", "Sagas at work.", OF(active)},
        {"stele_sagas_started_total", "counter", "Sagas started.", OF(started)},
        {"stele_sagas_ended_total", "counter", "Completed, compensated or abandoned.", OF(ended)},
        {"stele_sagas_parked_total", "counter", "Times a saga was parked.", OF(parked)},
        {"stele_saga_calls_total", "counter", "Times a participant was asked.", OF(calls)},
        {"stele_saga_calls_kept_back_total", "counter", "Calls that an open circuit kept back.",
         OF(not_tried)},
        {"stele_saga_timers_total", "counter", "Timers that were due.", OF(timers)},
        {"stele_saga_conflicts_total", "counter", "Decisions that others were faster with.",
         OF(conflicts)},
#undef OF
    };
    for (size_t i = 0; i < STELE_COUNT_OF(FIGURES) && world->file->sagas_count > 0; i++) {
        put_head(text, FIGURES[i].name, FIGURES[i].type, FIGURES[i].help);
        for (size_t k = 0; k < world->count; k++) {
            const struct stele_cli_runner *const runner = &world->runners[k];
            uint64_t value = 0;
            memcpy(&value, (const char *)&runner->stats + FIGURES[i].at, sizeof value);
            if (runner->saga != NULL) {
                put(text, "%s{saga=\"%s\"} %llu\n", FIGURES[i].name, name_of(runner),
                    (unsigned long long)value);
            }
        }
    }
}

static void make_metrics(struct stele_cli_run_world *world, struct text *text)
{
    const uint64_t last = stele_last_position(world->store);
    (void)pthread_mutex_lock(&world->lock);
    put_common(world, last, text);
    put_sagas(world, text);
    (void)pthread_mutex_unlock(&world->lock);
}

static bool is_healthy(struct stele_cli_run_world *world)
{
    bool healthy = true;
    (void)pthread_mutex_lock(&world->lock);
    for (size_t i = 0; i < world->count; i++) {
        healthy = healthy && world->runners[i].running;
    }
    (void)pthread_mutex_unlock(&world->lock);
    return healthy;
}

/* ---- Answering ----------------------------------------------------------------------------- */

static bool wait_for(int fd, short what, int timeout_ms)
{
    struct pollfd one = {.fd = fd, .events = what};
    return poll(&one, 1, timeout_ms) > 0;
}

static void send_all(int fd, const char *data, size_t size)
{
    while (size > 0 && wait_for(fd, POLLOUT, WAIT_MS)) {
        const ssize_t sent = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent <= 0) {
            return;
        }
        data += sent;
        size -= (size_t)sent;
    }
}

static void answer(int fd, const char *status, const char *type, const struct text *body)
{
    char head[256];
    const int size = snprintf(head, sizeof head,
                              "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                              "Connection: close\r\n\r\n",
                              status, type, body->size);
    send_all(fd, head, (size_t)size);
    send_all(fd, body->data, body->size);
}

/* The first line is all that counts; the rest of the request is read so that hanging up loses nothing. */
static bool read_request(int fd, char request[REQUEST_SIZE_MAX])
{
    size_t size = 0;
    while (size < REQUEST_SIZE_MAX - 1 && wait_for(fd, POLLIN, WAIT_MS)) {
        const ssize_t got = recv(fd, request + size, REQUEST_SIZE_MAX - 1 - size, MSG_DONTWAIT);
        if (got <= 0) {
            return false;
        }
        size += (size_t)got;
        request[size] = '\0';
        if (strstr(request, "\r\n\r\n") != NULL) {
            return true;
        }
    }
    return false;
}

static bool asks_for(const char *request, const char *path)
{
    const size_t size = strlen(path);
    return strncmp(request, "GET ", 4) == 0 && strncmp(request + 4, path, size) == 0 &&
           (request[4 + size] == ' ' || request[4 + size] == '?');
}

static void serve(struct stele_cli_run_world *world, int fd)
{
    char request[REQUEST_SIZE_MAX];
    struct text text = {.size = 0};
    if (!read_request(fd, request)) {
        return;
    }
    if (asks_for(request, "/metrics")) {
        make_metrics(world, &text);
        answer(fd, "200 OK", "text/plain; version=0.0.4", &text);
    } else if (asks_for(request, "/health")) {
        const bool healthy = is_healthy(world);
        put(&text, healthy ? "{\"status\":\"ok\"}\n" : "{\"status\":\"something has ended\"}\n");
        answer(fd, healthy ? "200 OK" : "503 Service Unavailable", "application/json", &text);
    } else {
        put(&text, "there are GET /metrics and GET /health\n");
        answer(fd, "404 Not Found", "text/plain", &text);
    }
    free(text.data);
}

static void *answer_all(void *context)
{
    struct stele_cli_run_metrics *const metrics = context;
    while (!atomic_load(&metrics->stop)) {
        if (!wait_for(metrics->fd, POLLIN, LOOK_MS)) {
            continue;
        }
        const int fd = accept4(metrics->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            serve(metrics->world, fd);
            (void)close(fd);
        }
    }
    return NULL;
}

/* ---- Starting and stopping ------------------------------------------------------------------ */

static int listen_on(const struct addrinfo *address)
{
    const int on = 1;
    const int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
                    bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, 16) != 0)) {
        const int error = errno;
        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static void tell_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    char port[16];
    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
        getnameinfo((struct sockaddr *)&address, size, NULL, 0, port, sizeof port,
                    NI_NUMERICSERV) == 0) {
        stele_cli_note("metrics are on port %s", port);
    }
}

int stele_cli_run_metrics_start(struct stele_cli_run_metrics *metrics,
                                struct stele_cli_run_world *world)
{
    const char *const where = world->file->metrics;
    char host[256] = "";
    *metrics = (struct stele_cli_run_metrics){.world = world, .fd = -1};
    if (where == NULL) {
        return STELE_CLI_OK;
    }
    const char *const colon = strrchr(where, ':');
    if (colon == NULL || colon == where || colon[1] == '\0' ||
        (size_t)(colon - where) >= sizeof host) {
        return stele_cli_fail(STELE_CLI_INPUT, "invalid",
                              "%s: metrics: %.100s; HOST:PORT is wanted, like 127.0.0.1:9464",
                              world->file->path, where);
    }
    const bool brackets = where[0] == '[' && colon[-1] == ']';
    (void)snprintf(host, sizeof host, "%.*s", (int)(colon - where) - (brackets ? 2 : 0),
                   where + (brackets ? 1 : 0));
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *address = NULL;
    const int found = getaddrinfo(host, colon + 1, &hints, &address);
    metrics->fd = found == 0 ? listen_on(address) : -1;
    const int error = errno;
    if (found == 0) {
        freeaddrinfo(address);
    }
    if (metrics->fd < 0 || pthread_create(&metrics->thread, NULL, answer_all, metrics) != 0) {
        stele_cli_run_metrics_stop(metrics);
        return stele_cli_fail(STELE_CLI_IO, "io", "metrics on %.100s: %s; choose another address",
                              where, found != 0 ? gai_strerror(found) : strerror(error));
    }
    metrics->started = true;
    tell_port(metrics->fd);
    return STELE_CLI_OK;
}

void stele_cli_run_metrics_stop(struct stele_cli_run_metrics *metrics)
{
    if (metrics->started) {
        atomic_store(&metrics->stop, true);
        (void)pthread_join(metrics->thread, NULL);
    }
    if (metrics->fd >= 0) {
        (void)close(metrics->fd);
    }
    *metrics = (struct stele_cli_run_metrics){.fd = -1};
}
