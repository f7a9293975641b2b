/* The life of a request: route, caller, body, handler, answer. */
#include "api/http/web_internal.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

const stele_web__handler stele_web__handlers[STELE_ROUTE_COUNT] = {
    [STELE_ROUTE_LIVE] = stele_web__live,
    [STELE_ROUTE_READY] = stele_web__ready,
    [STELE_ROUTE_PING] = stele_web__ping,
    [STELE_ROUTE_INFO] = stele_web__info,
    [STELE_ROUTE_INFO_OPTIONS] = stele_web__info_options,
    [STELE_ROUTE_STATS] = stele_web__stats,
    [STELE_ROUTE_GOSSIP] = stele_web__gossip,
    [STELE_ROUTE_CLUSTER] = stele_web__cluster,
    [STELE_ROUTE_CLUSTER_COMMAND] = stele_web__cluster_command,
    [STELE_ROUTE_METRICS] = stele_web__metrics,
    [STELE_ROUTE_OPENAPI] = stele_web__openapi,
    [STELE_ROUTE_STREAMS] = stele_web__streams,
    [STELE_ROUTE_STREAM_READ] = stele_web__read_stream,
    [STELE_ROUTE_STREAM_APPEND] = stele_web__append,
    [STELE_ROUTE_STREAM_DELETE] = stele_web__delete,
    [STELE_ROUTE_META_GET] = stele_web__meta_get,
    [STELE_ROUTE_META_SET] = stele_web__meta_set,
    [STELE_ROUTE_ALL_READ] = stele_web__read_all,
    [STELE_ROUTE_TAIL_STREAM] = stele_web__tail,
    [STELE_ROUTE_TAIL_ALL] = stele_web__tail,
    [STELE_ROUTE_CATEGORIES] = stele_web__categories,
    [STELE_ROUTE_TYPES] = stele_web__types,
    [STELE_ROUTE_GROUPS] = stele_web__groups,
    [STELE_ROUTE_GROUP_REPLAY] = stele_web__group_replay,
    [STELE_ROUTE_KURRENT_PS_LIST] = stele_web__kurrent_groups,
    [STELE_ROUTE_KURRENT_PS] = stele_web__kurrent_groups,
    [STELE_ROUTE_KURRENT_PS_POST] = stele_web__kurrent_group_post,
    [STELE_ROUTE_USERS] = stele_web__users,
    [STELE_ROUTE_USER_CREATE] = stele_web__user_create,
    [STELE_ROUTE_USER_CHANGE] = stele_web__user_change,
    [STELE_ROUTE_USER_DELETE] = stele_web__user_delete,
    [STELE_ROUTE_ME] = stele_web__me,
    [STELE_ROUTE_KURRENT_APPEND] = stele_web__kurrent_append,
    [STELE_ROUTE_KURRENT_READ] = stele_web__read_stream,
    [STELE_ROUTE_ADMIN_SHUTDOWN] = stele_web__shutdown,
    [STELE_ROUTE_ADMIN_SCAVENGE] = stele_web__scavenge,
    [STELE_ROUTE_CONSOLE] = stele_web__console,
};

/* ---- Memory ---- */

void stele_web__hold(struct stele_web__request *request)
{
    request->refs++;
}

void stele_web__release(struct stele_web__request *request)
{
    if (--request->refs > 0) {
        return;
    }
    struct stele_alloc *alloc = request->web->alloc;
    if (request->principal != NULL) {
        stele_principal_unref(request->principal);
    }
    stele_buf_deinit(&request->body, alloc);
    stele_release(alloc, request->name, request->name_size);
    stele_release(alloc, request->location, request->location_size);
    if (request->authorization != NULL) {
        explicit_bzero(request->authorization, request->authorization_size);
        stele_release(alloc, request->authorization, request->authorization_size);
    }
    stele_release(alloc, request, sizeof *request);
}

/* ---- Answers ---- */

static struct stele_text text_of(const char *text)
{
    return (struct stele_text){.data = text, .size = strlen(text)};
}

bool stele_web__is_crowded(struct stele_web__request *request, size_t size)
{
    if (size < 4096 || stele_http_conn_pending(stele_exchange_conn(request->exchange)) + size <=
                           STELE_WEB__PENDING_MAX) {
        return false;
    }
    stele_web__refuse(request, 503, "overloaded",
                      "take the answers that wait on this connection first");
    return true;
}

void stele_web__answer(struct stele_web__request *request, int status, const char *content_type,
                       struct stele_bytes body)
{
    if (request->exchange == NULL || stele_exchange_has_responded(request->exchange) ||
        stele_web__is_crowded(request, body.size)) {
        return;
    }
    char length[24];
    (void)snprintf(length, sizeof length, "%zu", body.size);
    char retry[12];
    (void)snprintf(retry, sizeof retry, "%u", (unsigned)request->retry_after_s);
    /* Pages that ask for the password themselves say so, and browsers then leave it to them. */
    const bool challenge =
        status == 401 && stele_exchange_header(request->exchange, "x-requested-with").size == 0;
    const bool elsewhere = status == 307 && request->location != NULL;
    const struct stele_http_header last = {.name = text_of(challenge       ? "www-authenticate"
                                                           : status == 405 ? "allow"
                                                           : elsewhere     ? "location"
                                                                           : "retry-after"),
                                           .value = text_of(challenge ? "Basic realm=\"stele\""
                                                            : status == 405 ? request->allow
                                                            : elsewhere     ? request->location
                                                                            : retry)};
    const struct stele_http_header headers[] = {
        {.name = text_of("content-type"), .value = text_of(content_type)},
        {.name = text_of("content-length"), .value = text_of(length)},
        {.name = text_of("cache-control"), .value = text_of("no-store")},
        {.name = text_of("x-content-type-options"), .value = text_of("nosniff")},
        last,
    };
    atomic_fetch_add(&request->web->by_class[status / 100 % 6], 1);
    const bool has_last = challenge || status == 405 || elsewhere || request->retry_after_s > 0;
    const size_t count = STELE_COUNT_OF(headers) - (has_last ? 0 : 1);
    struct stele_exchange *exchange = request->exchange;
    if (body.size == 0) {
        stele_exchange_respond(exchange, status, headers + (status == 204 ? 2 : 0),
                               count - (status == 204 ? 2 : 0), true);
        return;
    }
    stele_exchange_respond(exchange, status, headers, count, false);
    if (stele_buf_append(stele_exchange_output(exchange), request->loop->alloc, body) != STELE_OK) {
        stele_exchange_reset(exchange, 2 /* INTERNAL_ERROR */);
        return;
    }
    stele_exchange_finish(exchange, NULL, 0);
}

void stele_web__answer_buf(struct stele_web__request *request, int status, const char *content_type,
                           const struct stele_buf *body)
{
    stele_web__answer(request, status, content_type,
                      (struct stele_bytes){.data = body->data, .size = body->size});
}

void stele_web__refuse(struct stele_web__request *request, int status, const char *error,
                       const char *format, ...)
{
    char words[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    /* A name that was cut in the middle of a character would make the answer no JSON. */
    const struct stele_text said = text_of(words);
    if (!stele_utf8_is_valid((struct stele_bytes){.data = (uint8_t *)words, .size = said.size})) {
        for (size_t i = 0; i < said.size; i++) {
            words[i] = (unsigned char)words[i] < 0x80 ? words[i] : '?';
        }
    }
    struct stele_alloc *alloc = request->web->alloc;
    struct stele_buf body = {.data = NULL};
    if (stele_web__putf(&body, alloc, "{\"error\":\"%s\",\"message\":", error) &&
        stele_web__put_string(&body, alloc, said) && stele_web__put(&body, alloc, "}\n")) {
        stele_web__answer_buf(request, status, "application/json", &body);
    } else {
        stele_web__answer(request, status, "application/json", stele_bytes_of_text("{}\n"));
    }
    stele_buf_deinit(&body, alloc);
}

void stele_web__fail(struct stele_web__request *request, int outcome, const struct stele_error *err)
{
    int status = 500;
    switch (outcome) {
    case STELE_NO_STREAM:
    case STELE_NOT_FOUND:
        status = 404;
        break;
    case STELE_STREAM_DELETED:
        status = 410;
        break;
    case STELE_WRONG_REVISION:
    case STELE_CONDITION_FAILED:
    case STELE_E_ID_CONFLICT:
        status = 409;
        break;
    case STELE_E_INVALID:
        status = 400;
        break;
    case STELE_E_LIMIT:
        status = 413;
        break;
    case STELE_E_PERMISSION:
        status = 403;
        break;
    case STELE_E_OVERLOADED:
    case STELE_E_FENCED:
    case STELE_E_CLOSED:
        status = 503;
        break;
    case STELE_E_NO_SPACE:
        status = 507;
        break;
    default:
        break;
    }
    const char *name = stele_outcome_name(outcome);
    stele_web__refuse(request, status, name, "%s", err->message[0] == '\0' ? name : err->message);
}

struct stele_text stele_web__subject(const struct stele_web__request *request)
{
    const bool all = request->name[0] == '\0';
    return all ? (struct stele_text){.data = NULL, .size = 0} : text_of(request->name);
}

bool stele_web__may(struct stele_web__request *request, const char *stream, enum stele_right right)
{
    if (stele_auth_may(request->web->server->auth, request->principal, text_of(stream), right)) {
        return true;
    }
    if (request->principal->anonymous) {
        stele_web__refuse(request, 401, "unauthenticated", "say who you are");
    } else {
        stele_web__refuse(request, 403, "permission", "no right to do that with %s", stream);
    }
    return false;
}

/* ---- Requests ---- */

static bool text_is(struct stele_text text, const char *other)
{
    return text.size == strlen(other) && memcmp(text.data, other, text.size) == 0;
}

/* How well a route fits a path: SIZE_MAX exactly, otherwise the size of what stands before "*" plus
 * one; 0: not at all. */
static size_t fit(enum stele_route route, struct stele_text path)
{
    const char *pattern = stele_auth_route_path(route);
    const size_t size = strlen(pattern);
    if (pattern[size - 1] != '*') {
        return text_is(path, pattern) ? SIZE_MAX : 0;
    }
    return path.size >= size - 1 && memcmp(path.data, pattern, size - 1) == 0 ? size : 0;
}

/* The route of the longest pattern. STELE_ROUTE_COUNT: none; *out_other_method: of another method.
 *
 * That everything below "/" may be asked for with GET, because it may be one of the console's
 * documents, does not make a path one that is known: KurrentDB's clients look for 404. */
static enum stele_route find_route(struct stele_text method, struct stele_text path,
                                   bool *out_other_method)
{
    enum stele_route best = STELE_ROUTE_COUNT;
    size_t best_fit = 0;
    size_t other_fit = 0;
    const bool head = text_is(method, "HEAD");
    for (int i = 0; i < STELE_ROUTE_COUNT; i++) {
        const enum stele_route route = (enum stele_route)i;
        const size_t fits = fit(route, path);
        const char *wanted = stele_auth_route_method(route);
        if (!text_is(method, wanted) && !(head && strcmp(wanted, "GET") == 0)) {
            other_fit = fits > other_fit ? fits : other_fit;
        } else if (fits > best_fit) {
            best_fit = fits;
            best = route;
        }
    }
    *out_other_method = other_fit > best_fit && other_fit > sizeof "/*" - 1;
    return best;
}

/* ---- How much may they? ---- */

static void retry_after(struct stele_web__request *request, int64_t retry_us, const char *what)
{
    request->retry_after_s = (uint32_t)((retry_us + 999999) / 1000000);
    stele_buf_deinit(&request->body, request->web->alloc);
    stele_web__refuse(request, 429, "overloaded", "%s; try again in %u s", what,
                      (unsigned)request->retry_after_s);
}

static int64_t on_bytes(void *context, size_t bytes, int64_t now_us)
{
    const struct stele_web__request *request = context;
    return stele_quota_pay_bytes(stele_auth_quota(request->principal), bytes, now_us);
}

/* The memory of the body, to the user's quota; a little is free. false: refused. */
static bool tell_kept(struct stele_web__request *request, size_t kept)
{
    const size_t free_size = 4096;
    kept = kept <= free_size ? 0 : kept;
    if (!request->entered || kept == request->body_kept) {
        return true;
    }
    if (!stele_quota_keep(stele_auth_quota(request->principal), request->body_kept, kept)) {
        retry_after(request, 1000000, "this user has too many requests on their way");
        return false;
    }
    request->body_kept = kept;
    return true;
}

/* false: refused. */
static bool enter(struct stele_web__request *request)
{
    int64_t retry_us = 0;
    const enum stele_rule rule = stele_auth_route_rule(request->route);
    const char *what =
        stele_auth_enter(request->principal, rule, stele_loop_now_us(request->loop), &retry_us);
    if (what != NULL) {
        retry_after(request, retry_us, what);
        return false;
    }
    request->entered = rule != STELE_RULE_ANYONE;
    if (request->entered && stele_auth_quota(request->principal)->limits.bytes_per_s > 0) {
        stele_exchange_set_meter(request->exchange, on_bytes, request);
    }
    return tell_kept(request, request->body.capacity);
}

static void leave(struct stele_web__request *request)
{
    if (request->entered) {
        (void)tell_kept(request, 0);
        request->entered = false;
        stele_auth_leave(request->principal, stele_auth_route_rule(request->route));
    }
}

static void run_start(struct stele_task *task)
{
    struct stele_web__request *request =
        (struct stele_web__request *)((char *)task - offsetof(struct stele_web__request, task));
    request->posted = false;
    if (request->exchange != NULL && !stele_web__linearize(request)) {
        stele_web__handlers[request->route](request);
    }
    stele_web__release(request);
}

static void start(struct stele_web__request *request)
{
    if (request->started || !request->allowed || !request->body_ended ||
        request->exchange == NULL) {
        return;
    }
    request->started = true;
    if (!stele_web__check_query(request)) {
        return;
    }
    const stele_web__handler handler = stele_web__handlers[request->route];
    if (handler == NULL) {
        stele_web__refuse(request, 501, "unsupported", "this server does not have that yet");
        return;
    }
    if (stele_auth_route_rule(request->route) == STELE_RULE_ANYONE) {
        handler(request);
        return;
    }
    /* In the same turn of the loop, unless there are more than one turn has time for. */
    request->posted = true;
    request->task.run = run_start;
    stele_web__hold(request);
    stele_loop_post(request->loop, &request->task);
}

/* What "Allow" says: RFC 9110, section 15.5.6. */
static void list_methods(struct stele_web__request *request, struct stele_text path)
{
    size_t best = 0;
    for (int i = 0; i < STELE_ROUTE_COUNT; i++) {
        const size_t fits = fit((enum stele_route)i, path);
        const char *method = stele_auth_route_method((enum stele_route)i);
        if (fits > best) {
            best = fits;
            request->allow[0] = '\0';
        }
        if (fits > 0 && fits == best) {
            const size_t at = strlen(request->allow);
            (void)snprintf(request->allow + at, sizeof request->allow - at, "%s%s%s",
                           at == 0 ? "" : ", ", method, strcmp(method, "GET") == 0 ? ", HEAD" : "");
        }
    }
}

static void on_answer(struct stele_auth_question *question, int outcome,
                      struct stele_principal *principal)
{
    struct stele_web__request *request = (struct stele_web__request *)question;
    request->answered = true;
    if (request->exchange != NULL && request->unconsumed > 0) {
        stele_exchange_consume(request->exchange, request->unconsumed);
    }
    request->principal = outcome == STELE_OK ? principal : NULL;
    if (outcome != STELE_OK) {
        request->retry_after_s = outcome == STELE_E_OVERLOADED ? 6 : 0;
        stele_web__refuse(request, outcome == STELE_E_OVERLOADED ? 429 : 401,
                          outcome == STELE_E_OVERLOADED ? "overloaded" : "unauthenticated",
                          outcome == STELE_E_OVERLOADED ? "too many attempts; try again later"
                                                        : "wrong user or password");
    } else if (!stele_auth_may_call(principal, stele_auth_route_rule(request->route))) {
        stele_web__refuse(request, principal->anonymous ? 401 : 403,
                          principal->anonymous ? "unauthenticated" : "permission",
                          principal->anonymous ? "say who you are" : "your user may not do that");
    } else if (request->exchange != NULL && enter(request)) {
        request->allowed = true;
        start(request);
    }
    stele_web__release(request);
}

/* What "*" stands for. */
static bool take_name(struct stele_web__request *request, struct stele_text path)
{
    const char *pattern = stele_auth_route_path(request->route);
    const size_t size = strlen(pattern);
    const size_t skip = pattern[size - 1] == '*' ? size - 1 : path.size;
    const struct stele_text rest = {.data = path.data + skip, .size = path.size - skip};
    request->name_size = rest.size + 1;
    request->name = stele_allocate(request->web->alloc, request->name_size);
    if (request->name == NULL) {
        return false;
    }
    const size_t decoded = stele_web__decode(rest, false, request->name, request->name_size);
    return decoded != SIZE_MAX && stele_utf8_is_valid((struct stele_bytes){
                                      .data = (uint8_t *)request->name, .size = decoded});
}

/* Fills the question about the caller with copies. */
static bool prepare_question(struct stele_web__request *request)
{
    struct stele_exchange *exchange = request->exchange;
    const struct stele_http_peer *peer = stele_http_conn_peer(stele_exchange_conn(exchange));
    const struct stele_text given = stele_exchange_header(exchange, "authorization");
    request->question = (struct stele_auth_question){
        .loop = request->loop,
        .client_cn = peer->client_cn,
        .peer = request->peer,
        .is_tls = peer->is_tls,
        .on_answer = on_answer,
    };
    (void)snprintf(request->peer, sizeof request->peer, "%s", peer->address);
    if (given.data == NULL || given.size == 0) {
        return true;
    }
    request->authorization = stele_allocate(request->web->alloc, given.size);
    if (request->authorization == NULL) {
        return false;
    }
    request->authorization_size = given.size;
    memcpy(request->authorization, given.data, given.size);
    request->question.authorization =
        (struct stele_text){.data = request->authorization, .size = given.size};
    return true;
}

/* A browser sends what a page of another site asks for, with the rights of whoever sits before it:
 * on this machine, or behind a firewall, that may be more than the site has. It says where the page
 * came from; programs say nothing. */
static bool is_foreign(const struct stele_web__request *request)
{
    const struct stele_text origin = stele_exchange_header(request->exchange, "origin");
    const struct stele_text site = stele_exchange_header(request->exchange, "sec-fetch-site");
    const struct stele_text host = stele_exchange_authority(request->exchange);
    if (text_is(stele_exchange_method(request->exchange), "GET") ||
        text_is(stele_exchange_method(request->exchange), "HEAD")) {
        return false; /* The page does not get to see the answer. */
    }
    if (site.data != NULL && !text_is(site, "same-origin") && !text_is(site, "none")) {
        return true;
    }
    if (origin.data == NULL) {
        return false;
    }
    const char *const slashes = memmem(origin.data, origin.size, "://", 3);
    const size_t skip = slashes == NULL ? 0 : (size_t)(slashes - origin.data) + 3;
    return slashes == NULL || origin.size - skip != host.size ||
           memcmp(origin.data + skip, host.data, host.size) != 0;
}

/* A server without users believes whoever reaches it, and on loopback that is who sits at the machine.
 * A web site can make a browser there ask in its own name: it lets its name mean 127.0.0.1 (DNS
 * rebinding), and then it sees the answers, too. The browser still says which name it asked for, and a
 * name of the machine cannot be the site's. Names mean nothing over TLS, where a certificate decides,
 * on a local socket, and in gRPC: over plain text no browser speaks HTTP/2. */
static bool is_rebound(const struct stele_web__request *request)
{
    const struct stele_server *const server = request->web->server;
    const struct stele_http_peer *const peer =
        stele_http_conn_peer(stele_exchange_conn(request->exchange));
    const struct stele_text authority = stele_exchange_authority(request->exchange);
    if (!server->insecure || peer->is_tls || !peer->is_loopback ||
        strcmp(peer->address, "unix") == 0 || authority.data == NULL ||
        stele_http_host_is_plain(authority)) {
        return false;
    }
    for (size_t i = 0; i < server->names_count; i++) {
        if (server->names[i][0] != 0 && stele_http_host_is(authority, server->names[i])) {
            return false;
        }
    }
    return true;
}

void stele_web_on_request(struct stele_web *web, struct stele_exchange *exchange)
{
    struct stele_web__request *request = stele_allocate_zeroed(web->alloc, sizeof *request);
    stele_exchange_set_user(exchange, request);
    atomic_fetch_add(&web->requests, 1);
    if (request == NULL) {
        stele_exchange_respond(exchange, 503, NULL, 0, true);
        return;
    }
    request->web = web;
    request->exchange = exchange;
    request->loop = stele_exchange_loop(exchange);
    request->refs = 1;
    if (is_rebound(request)) {
        request->route = STELE_ROUTE_CONSOLE;
        stele_web__refuse(
            request, 403, "permission",
            "this machine is not known under the name that was asked for; the setting "
            "advertise-host makes it so");
        return;
    }
    struct stele_text path = stele_exchange_path(exchange);
    const char *mark = memchr(path.data, '?', path.size);
    if (mark != NULL) {
        const size_t size = (size_t)(mark - path.data);
        request->query = (struct stele_text){.data = mark + 1, .size = path.size - size - 1};
        path.size = size;
    }
    bool other_method = false;
    request->route = find_route(stele_exchange_method(exchange), path, &other_method);
    if (request->route == STELE_ROUTE_COUNT || other_method) {
        request->route = STELE_ROUTE_CONSOLE;
        list_methods(request, path);
        stele_web__refuse(request, other_method ? 405 : 404, "not-found",
                          other_method ? "that path has other methods" : "there is no such path");
        return;
    }
    if (is_foreign(request)) {
        stele_web__refuse(request, 403, "permission", "another web site asked for that");
        return;
    }
    const struct stele_text encoding = stele_exchange_header(exchange, "content-encoding");
    if (encoding.size > 0 && !text_is(encoding, "identity")) {
        stele_web__refuse(request, 415, "unsupported",
                          "send the body as it is: no Content-Encoding is understood");
        return;
    }
    if (!take_name(request, path)) {
        stele_web__refuse(request, 400, "invalid", "the path is malformed");
        return;
    }
    if (!prepare_question(request)) {
        stele_web__refuse(request, 503, "no-memory", "no memory for the request");
        return;
    }
    stele_web__hold(request);
    stele_auth_ask(web->server->auth, &request->question);
}

void stele_web_on_body(struct stele_web *web, struct stele_exchange *exchange,
                       struct stele_bytes bytes)
{
    struct stele_web__request *request = stele_exchange_user(exchange);
    if (request == NULL || request->answered) {
        stele_exchange_consume(exchange, bytes.size);
    } else {
        request->unconsumed += bytes.size;
    }
    if (request == NULL || stele_exchange_has_responded(exchange)) {
        return;
    }
    if (bytes.size > STELE_WEB__BODY_MAX - request->body.size) {
        stele_web__refuse(request, 413, "limit", "the body is larger than %zu bytes",
                          STELE_WEB__BODY_MAX);
    } else if (stele_buf_append(&request->body, web->alloc, bytes) != STELE_OK) {
        stele_web__refuse(request, 503, "no-memory", "no memory for the body");
    } else {
        (void)tell_kept(request, request->body.capacity);
    }
}

void stele_web_on_end(struct stele_web *web, struct stele_exchange *exchange)
{
    (void)web;
    struct stele_web__request *request = stele_exchange_user(exchange);
    if (request != NULL) {
        request->body_ended = true;
        if (!stele_exchange_has_responded(exchange)) {
            start(request);
        }
    }
}

void stele_web_on_writable(struct stele_web *web, struct stele_exchange *exchange)
{
    (void)web;
    struct stele_web__request *request = stele_exchange_user(exchange);
    if (request == NULL) {
        return;
    }
    if (request->reading != NULL) {
        stele_web__go_on_reading(request);
    } else if (request->follow != NULL) {
        stele_web__go_on_tailing(request);
    }
}

void stele_web_on_close(struct stele_web *web, struct stele_exchange *exchange, bool finished)
{
    (void)finished;
    struct stele_web__request *request = stele_exchange_user(exchange);
    if (request == NULL) {
        return;
    }
    request->exchange = NULL;
    if (request->reading != NULL) {
        web->server->engine->ops->read_close(request->reading);
        request->reading = NULL;
    }
    stele_web__stop_tailing(request);
    leave(request);
    stele_web__release(request);
}

int stele_web_create(struct stele_server *server, struct stele_web **out_web)
{
    struct stele_web *web = stele_allocate_zeroed(server->alloc, sizeof *web);
    if (web == NULL) {
        return STELE_E_NO_MEMORY;
    }
    web->server = server;
    web->alloc = server->alloc;
    *out_web = web;
    return STELE_OK;
}

void stele_web_destroy(struct stele_web *web)
{
    if (web != NULL) {
        stele_release(web->alloc, web, sizeof *web);
    }
}
