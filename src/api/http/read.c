/* Reading: a page of events as a JSON object, written piece by piece as the client takes it.
 *
 *     {"events":[…],"next":{"from":"…"},"position":"…"}
 *
 * "next" is what the next page is asked with; it is missing when there is no next one. */
#include "api/http/web_internal.h"
#include "base/text.h"

#include <stdio.h>

#define LIMIT_DEFAULT 100
#define SCAN_MAX 4096
#define PIECES_A_TURN 32
/* Of JSON that one turn of the loop makes for one request: others want to be answered, too. */
#define TURN_SIZE ((size_t)16 * 1024)

static struct stele_engine *engine_of(const struct stele_web__request *request)
{
    return request->web->server->engine;
}

static void stop(struct stele_web__request *request)
{
    if (request->reading != NULL) {
        engine_of(request)->ops->read_close(request->reading);
        request->reading = NULL;
    }
}

/* The end of the page. */
static void finish(struct stele_web__request *request, bool more)
{
    struct stele_exchange *exchange = request->exchange;
    struct stele_alloc *alloc = request->loop->alloc;
    struct stele_buf *out = stele_exchange_output(exchange);
    const uint64_t position = request->backwards
                                  ? request->last_position
                                  : engine_of(request)->ops->read_position(request->reading);
    bool fits = stele_web__put(out, alloc, "]");
    if (fits && more) {
        fits = stele_web__putf(out, alloc, ",\"next\":{\"from\":\"%llu\"}",
                               (unsigned long long)request->next_from);
    }
    fits = fits &&
           stele_web__putf(out, alloc, ",\"position\":\"%llu\"}\n", (unsigned long long)position);
    stop(request);
    if (!fits) {
        stele_exchange_reset(exchange, 2);
        return;
    }
    stele_exchange_finish(exchange, NULL, 0);
}

/* Of the events at hand, as many as the client takes and a turn allows; the rest stays at hand.
 * false: no memory; the exchange was reset. */
static bool put_events(struct stele_web__request *request, size_t *made)
{
    struct stele_alloc *alloc = request->loop->alloc;
    const struct stele_event *const events = request->events;
    while (request->events_at < request->events_count && request->left > 0 && *made < TURN_SIZE &&
           !stele_exchange_is_full(request->exchange)) {
        const size_t i = request->events_at++;
        const uint64_t at = request->is_stream ? events[i].revision : events[i].position;
        struct stele_buf *out = stele_exchange_output(request->exchange);
        const size_t before = out->size;
        if (stele_auth_hides_in(request->web->server->auth, request->principal,
                                stele_web__subject(request), events[i].stream)) {
            request->next_from = request->backwards ? at - 1 : at + 1;
            continue;
        }
        if ((!request->first && !stele_web__put(out, alloc, ",\n")) ||
            !stele_web__put_event(out, alloc, &events[i], request->cloudevents)) {
            stop(request);
            stele_exchange_reset(request->exchange, 2);
            return false;
        }
        request->first = false;
        request->left--;
        request->last_position = events[i].position;
        request->next_from = request->backwards ? at - 1 : at + 1;
        *made += out->size - before;
        stele_exchange_written(request->exchange);
    }
    return true;
}

static void run_later(struct stele_task *task)
{
    struct stele_web__request *request =
        (struct stele_web__request *)((char *)task - offsetof(struct stele_web__request, task));
    request->posted = false;
    if (request->exchange != NULL && request->reading != NULL) {
        stele_web__go_on_reading(request);
    }
    stele_web__release(request);
}

static void go_on_later(struct stele_web__request *request)
{
    if (!request->posted) {
        request->posted = true;
        request->task.run = run_later;
        stele_web__hold(request);
        stele_loop_post(request->loop, &request->task);
    }
}

void stele_web__go_on_reading(struct stele_web__request *request)
{
    size_t made = 0;
    for (int i = 0; i < PIECES_A_TURN && made < TURN_SIZE; i++) {
        struct stele_error err = {.outcome = STELE_OK};
        if (stele_exchange_is_full(request->exchange)) {
            return; /* on_writable comes. */
        }
        if (request->left == 0) {
            finish(request, request->next_from != UINT64_MAX);
            return;
        }
        if (request->events_at < request->events_count) {
            if (!put_events(request, &made)) {
                return;
            }
            continue;
        }
        request->events_at = 0;
        request->events_count = 0;
        const int outcome = engine_of(request)->ops->read_next(request->reading, &request->events,
                                                               &request->events_count, &err);
        if (outcome == STELE_END) {
            finish(request, false);
            return;
        }
        if (outcome != STELE_OK) {
            stop(
                request); /* Half an answer cannot be turned into an error: it ends without an end. */
            stele_exchange_reset(request->exchange, 2);
            return;
        }
        atomic_fetch_add(&request->web->read, request->events_count);
    }
    go_on_later(request);
}

/* "2026-11-20T15:00:00Z" or a position. */
static bool take_as_of(struct stele_web__request *request, uint64_t *out)
{
    char text[48];
    int64_t us = 0;
    *out = 0;
    if (!stele_web__query(request, "as_of", text, sizeof text)) {
        return true;
    }
    if (text[0] != '\0' && text[strspn(text, "0123456789")] == '\0') {
        const bool fits = stele_web__query_number(request, "as_of", 0, out);
        *out = *out == 0 ? 1 : *out; /* 0 would be no bound; nothing has either position. */
        return fits;
    }
    if (!stele_time_parse(text, &us)) {
        stele_web__refuse(request, 400, "invalid",
                          "as_of is a position or a time as 2026-11-20T15:00:00Z");
        return false;
    }
    const uint64_t position = stele_position_at(us);
    *out = position == 0 ? 1 : position;
    return true;
}

/* The values of a repeated member of the query ("type=A&type=B"). */
struct values {
    char room[STELE_WEB__VALUES_MAX][STELE_STREAM_NAME_SIZE_MAX + 3];
    const char *at[STELE_WEB__VALUES_MAX];
    size_t count;
};

static void take_values(const struct stele_web__request *request, const char *name,
                        struct values *values)
{
    struct stele_web__request copy = {.query = request->query};
    const size_t name_size = strlen(name);
    values->count = 0;
    while (copy.query.size > 0 && values->count < STELE_WEB__VALUES_MAX) {
        const char *end = memchr(copy.query.data, '&', copy.query.size);
        const size_t size = end == NULL ? copy.query.size : (size_t)(end - copy.query.data);
        const struct stele_web__request one = {.query = {.data = copy.query.data, .size = size}};
        if (size > name_size &&
            stele_web__query(&one, name, values->room[values->count], sizeof values->room[0])) {
            values->at[values->count] = values->room[values->count];
            values->count++;
        }
        const size_t used = end == NULL ? size : size + 1;
        copy.query.data += used;
        copy.query.size -= used;
    }
}

static void begin(struct stele_web__request *request, const char *stream)
{
    struct stele_engine *engine = engine_of(request);
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_filter filter = {.exclude_system = 0};
    struct stele_error err = {.outcome = STELE_OK};
    request->backwards = stele_web__query_flag(request, "backwards");
    const uint64_t start = request->backwards ? STELE_FROM_END : STELE_FROM_START;
    if (!stele_web__query_number(request, "from", start, &options.from) ||
        !stele_web__query_limit(request, LIMIT_DEFAULT, &request->left) ||
        !take_as_of(request, &options.as_of)) {
        return;
    }
    struct values *lists = stele_allocate_zeroed(request->web->alloc, 4 * sizeof *lists);
    if (lists == NULL) {
        stele_web__refuse(request, 503, "no-memory", "no memory for the request");
        return;
    }
    take_values(request, "type", &lists[0]);
    take_values(request, "prefix", &lists[1]);
    take_values(request, "category", &lists[2]);
    take_values(request, "tag", &lists[3]);
    filter.types = lists[0].at;
    filter.types_count = lists[0].count;
    filter.stream_prefixes = lists[1].at;
    filter.stream_prefixes_count = lists[1].count;
    filter.categories = lists[2].at;
    filter.categories_count = lists[2].count;
    filter.tags = lists[3].at;
    filter.tags_count = lists[3].count;
    filter.exclude_system =
        stream == NULL && !stele_web__query_flag(request, "include_system_events");
    options.limit = request->left;
    options.backwards = request->backwards;
    options.scan_max = SCAN_MAX;
    options.filter = &filter;
    const int outcome = engine->ops->read_open(engine, stream, &options, &request->reading, &err);
    stele_release(request->web->alloc, lists, 4 * sizeof *lists);
    if (outcome != STELE_OK) {
        stele_web__fail(request, outcome, &err);
        return;
    }
    request->first = true;
    request->cloudevents = stele_web__query_flag(request, "cloudevents");
    const struct stele_http_header headers[] = {
        {.name = {.data = "content-type", .size = 12},
         .value = {.data = "application/json", .size = 16}},
        {.name = {.data = "cache-control", .size = 13}, .value = {.data = "no-store", .size = 8}},
    };
    atomic_fetch_add(&request->web->by_class[2], 1);
    stele_exchange_respond(request->exchange, 200, headers, STELE_COUNT_OF(headers), false);
    if (!stele_web__put(stele_exchange_output(request->exchange), request->loop->alloc,
                        "{\"events\":[")) {
        stop(request);
        stele_exchange_reset(request->exchange, 2);
        return;
    }
    stele_exchange_written(request->exchange);
    /* Not at once: many requests may have come together, and each would be in the way of the others'
     * beginning. */
    go_on_later(request);
}

void stele_web__read_stream(struct stele_web__request *request)
{
    if (request->name[0] == '\0') {
        stele_web__refuse(request, 400, "invalid", "the stream's name is empty");
        return;
    }
    request->is_stream =
        strncmp(request->name, "$ce-", 4) != 0 && strncmp(request->name, "$et-", 4) != 0;
    if (stele_web__may(request, request->name, STELE_RIGHT_READ)) {
        begin(request, request->name);
    }
}

void stele_web__read_all(struct stele_web__request *request)
{
    if (stele_web__may(request, "$all", STELE_RIGHT_READ)) {
        begin(request, NULL);
    }
}
