/* Live tails as server-sent events (html.spec.whatwg.org, section 9.2).
 *
 *     id: <position>          what Last-Event-ID brings back: the tail goes on behind it
 *     event: <type of the event>, only with ?named; otherwise "message"
 *     data: {…}
 *
 * A comment line every 15 s keeps proxies from hanging up, and tells the browser's side that the
 * connection lives. */
#include "api/http/web_internal.h"

#include <stdio.h>

#define HEARTBEAT_US ((int64_t)15 * 1000000)

static bool send_text(struct stele_web__request *request, const char *text)
{
    if (!stele_web__put(stele_exchange_output(request->exchange), request->loop->alloc, text)) {
        stele_exchange_reset(request->exchange, 2);
        return false;
    }
    stele_exchange_written(request->exchange);
    return true;
}

/* A tail lasts: its user may have been changed, and the list of its stream. What is on its way to it
 * is dropped, and the tail ends. */
static bool still_allowed(struct stele_web__request *request)
{
    struct stele_auth *auth = request->web->server->auth;
    const uint64_t generation = stele_auth_generation(auth);
    const struct stele_text subject = stele_web__subject(request);
    static const struct stele_text all = {.data = "$all", .size = 4};
    if (generation == request->generation) {
        return true;
    }
    if (stele_auth_may(auth, request->principal, subject.data == NULL ? all : subject,
                       STELE_RIGHT_READ)) {
        request->generation = generation;
        return true;
    }
    if (send_text(request, "event: end\ndata: {\"outcome\":\"permission\"}\n\n")) {
        stele_exchange_finish(request->exchange, NULL, 0);
    }
    return false;
}

static size_t on_events(void *context, const struct stele_event *events, size_t count,
                        uint64_t ordinal, struct stele_live *live)
{
    (void)ordinal;
    (void)live;
    struct stele_web__request *request = context;
    struct stele_alloc *alloc = request->loop->alloc;
    size_t taken = 0;
    if (!still_allowed(request)) {
        return count;
    }
    while (taken < count && !stele_exchange_is_full(request->exchange)) {
        const struct stele_event *event = &events[taken];
        if (stele_auth_hides_in(request->web->server->auth, request->principal,
                                stele_web__subject(request), event->stream)) {
            taken++;
            continue;
        }
        struct stele_buf *out = stele_exchange_output(request->exchange);
        const uint64_t id = request->is_stream ? event->revision : event->position;
        if (!stele_web__putf(out, alloc, "id: %llu\ndata: ", (unsigned long long)id) ||
            !stele_web__put_event(out, alloc, event, request->cloudevents) ||
            !stele_web__put(out, alloc, "\n\n")) {
            stele_exchange_reset(request->exchange, 2);
            return count;
        }
        stele_exchange_written(request->exchange);
        if (request->exchange == NULL) {
            return count;
        }
        taken++;
    }
    request->quiet = false;
    request->stalled = taken < count;
    return taken;
}

static void on_progress(void *context, uint64_t position, uint64_t scanned, bool caught_up)
{
    struct stele_web__request *request = context;
    char text[96];
    (void)scanned;
    if (caught_up && request->exchange != NULL && !stele_exchange_is_full(request->exchange)) {
        (void)snprintf(text, sizeof text, "event: caught-up\ndata: {\"position\":\"%llu\"}\n\n",
                       (unsigned long long)position);
        (void)send_text(request, text);
    }
}

static void on_end(void *context, int outcome, const struct stele_error *err)
{
    struct stele_web__request *request = context;
    stele_follow_stop(request->follow); /* Nobody else releases it. */
    request->follow = NULL;
    (void)err;
    if (request->exchange != NULL) {
        char text[96];
        (void)snprintf(text, sizeof text, "event: end\ndata: {\"outcome\":\"%s\"}\n\n",
                       stele_outcome_name(outcome));
        if (send_text(request, text) && request->exchange != NULL) {
            stele_exchange_finish(request->exchange, NULL, 0);
        }
    }
}

static const struct stele_follow_callbacks callbacks = {
    .on_events = on_events, .on_progress = on_progress, .on_end = on_end};

static void on_timer(struct stele_timer *timer)
{
    struct stele_web__request *request =
        (struct stele_web__request *)((char *)timer - offsetof(struct stele_web__request, timer));
    const bool speak = request->quiet && !stele_exchange_is_full(request->exchange);
    request->quiet = true;
    if (!still_allowed(request) || (speak && !send_text(request, ": alive\n\n"))) {
        return;
    }
    if (request->exchange != NULL) {
        request->loop->ops->timer_start(request->loop, timer,
                                        stele_loop_now_us(request->loop) + HEARTBEAT_US);
    }
}

void stele_web__go_on_tailing(struct stele_web__request *request)
{
    if (request->stalled && request->follow != NULL) {
        request->stalled = false;
        stele_follow_resume(request->follow);
    }
}

void stele_web__stop_tailing(struct stele_web__request *request)
{
    if (request->timer.on_due != NULL) {
        request->loop->ops->timer_stop(request->loop, &request->timer);
        request->timer.on_due = NULL;
        atomic_fetch_sub(&request->web->tails, 1);
    }
    if (request->follow != NULL) {
        stele_follow_stop(request->follow);
        request->follow = NULL;
    }
}

/* Where to begin: behind Last-Event-ID, at ?from, or with what comes. false: refused. */
static bool take_from(struct stele_web__request *request, uint64_t *out)
{
    const struct stele_text last = stele_exchange_header(request->exchange, "last-event-id");
    uint64_t number = 0;
    bool fits = last.size > 0 && last.size < 20;
    for (size_t i = 0; i < last.size && fits; i++) {
        fits = last.data[i] >= '0' && last.data[i] <= '9';
        number = number * 10 + (uint64_t)(last.data[i] - '0');
    }
    if (fits) {
        *out = number + 1;
        return true;
    }
    if (last.size > 0) { /* Where it had been is not known: anything else would skip events. */
        stele_web__refuse(request, 400, "invalid", "Last-Event-ID is none that this server gave");
        return false;
    }
    return stele_web__query_number(request, "from", STELE_FROM_END, out);
}

void stele_web__tail(struct stele_web__request *request)
{
    struct stele_server *server = request->web->server;
    const char *stream = request->name[0] == '\0' ? NULL : request->name;
    struct stele_filter filter = {.exclude_system =
                                      !stele_web__query_flag(request, "include_system_events")};
    char prefix[STELE_STREAM_NAME_SIZE_MAX + 3];
    const char *const prefixes[] = {prefix};
    char type[STELE_TYPE_SIZE_MAX + 1];
    const char *const types[] = {type};
    struct stele_error err = {.outcome = STELE_OK};
    uint64_t from = 0;
    if (!stele_web__may(request, stream == NULL ? "$all" : stream, STELE_RIGHT_READ) ||
        !take_from(request, &from)) {
        return;
    }
    if (stele_web__query(request, "prefix", prefix, sizeof prefix)) {
        filter.stream_prefixes = prefixes;
        filter.stream_prefixes_count = 1;
    }
    if (stele_web__query(request, "type", type, sizeof type)) {
        filter.types = types;
        filter.types_count = 1;
    }
    request->is_stream =
        stream != NULL && strncmp(stream, "$ce-", 4) != 0 && strncmp(stream, "$et-", 4) != 0;
    request->cloudevents = stele_web__query_flag(request, "cloudevents");
    request->generation = stele_auth_generation(server->auth);
    const struct stele_follow_options options = {
        .stream = stream, .from = from, .filter = stream == NULL ? &filter : NULL};
    const int outcome = stele_follow_start(stele_hub_of(server->hubs, request->loop), &options,
                                           &callbacks, request, &request->follow, &err);
    if (outcome != STELE_OK) {
        stele_web__fail(request, outcome, &err);
        return;
    }
    const struct stele_http_header headers[] = {
        {.name = {.data = "content-type", .size = 12},
         .value = {.data = "text/event-stream", .size = 17}},
        {.name = {.data = "cache-control", .size = 13}, .value = {.data = "no-store", .size = 8}},
        {.name = {.data = "x-accel-buffering", .size = 17}, .value = {.data = "no", .size = 2}},
    };
    const struct stele_text method = stele_exchange_method(request->exchange);
    atomic_fetch_add(&request->web->by_class[2], 1);
    if (method.size == 4) { /* HEAD has no body that could go on for ever. */
        stele_follow_stop(request->follow);
        request->follow = NULL;
        stele_exchange_respond(request->exchange, 200, headers, STELE_COUNT_OF(headers), true);
        return;
    }
    atomic_fetch_add(&request->web->tails, 1);
    request->timer.on_due = on_timer;
    request->loop->ops->timer_start(request->loop, &request->timer,
                                    stele_loop_now_us(request->loop) + HEARTBEAT_US);
    stele_exchange_respond(request->exchange, 200, headers, STELE_COUNT_OF(headers), false);
    (void)send_text(request, "retry: 1000\n\n");
}
