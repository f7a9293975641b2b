/* Sagas' participants behind HTTP. The runner's thread puts calls into a queue; one thread of ours works
 * them off with libcurl, many at a time, and tells the runner how they ended. */
#include "base/alloc.h"
#include "base/status.h"
#include "io/linux.h"

#include <stele/saga_http.h>

#include <curl/curl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CONNECTIONS_MAX 32u
#define CALLS_MAX 10000u
#define ANSWER_SIZE_MAX (1024u * 1024u)
#define URL_SIZE_MAX 2048
#define POLL_MS 1000

struct call {
    struct call *next;
    struct stele_saga_http *http;
    CURL *curl;
    struct curl_slist *headers;
    char *body; /* free() */
    char key[STELE_SAGA_KEY_SIZE_MAX];
    uint32_t attempt;
    struct stele_buf answer;
    bool too_long;
    char words[CURL_ERROR_SIZE];
};

struct stele_saga_http {
    struct stele_alloc *alloc;
    struct stele_saga_http_options options;
    struct stele_saga_runner *runner;
    CURLM *multi;
    pthread_t thread;
    atomic_int stop;
    pthread_mutex_t lock; /* Of what follows. */
    struct call *waiting, **waiting_end;
    uint32_t count;       /* Of calls anywhere. */
    struct call *working; /* The thread's own. */
};

/* ---- A request ------------------------------------------------------------------------------ */

static void release_call(struct call *call)
{
    struct stele_alloc *const alloc = call->http->alloc;
    curl_easy_cleanup(call->curl);
    curl_slist_free_all(call->headers);
    free(call->body);
    stele_buf_deinit(&call->answer, alloc);
    stele_release(alloc, call, sizeof *call);
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    struct call *const call = context;
    const size_t more = size * count;
    if (call->answer.size + more > call->http->options.answer_size_max) {
        call->too_long = true;
        return 0;
    }
    const struct stele_bytes bytes = {(const uint8_t *)data, more};
    return stele_buf_append(&call->answer, call->http->alloc, bytes) == STELE_OK ? more : 0;
}

static void put_json(json_t *object, const char *name, struct stele_text text)
{
    if (text.size > 0) {
        json_t *const value = json_loadb(text.data, text.size, JSON_DECODE_ANY, NULL);
        (void)json_object_set_new(object, name,
                                  value != NULL ? value : json_stringn(text.data, text.size));
    }
}

static char *make_body(const struct stele_saga_call *call)
{
    json_t *const object =
        json_pack("{s:s,s:s,s:s,s:s,s:b,s:I,s:s}", "saga", call->kind, "id", call->id, "step",
                  call->step, "command", call->command, "compensation", call->compensation,
                  "attempt", (json_int_t)call->attempt, "correlation_id", call->correlation_id);
    put_json(object, "input", call->input);
    put_json(object, "result", call->result);
    char *const text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

/* The address with its "{id}" filled in. false: too long, or no memory. */
static bool make_url(CURL *curl, const char *pattern, const char *id, char to[URL_SIZE_MAX])
{
    const char *const place = strstr(pattern, "{id}");
    if (place == NULL) {
        return (size_t)snprintf(to, URL_SIZE_MAX, "%s", pattern) < URL_SIZE_MAX;
    }
    char *const escaped = curl_easy_escape(curl, id, 0);
    const bool fits =
        escaped != NULL && (size_t)snprintf(to, URL_SIZE_MAX, "%.*s%s%s", (int)(place - pattern),
                                            pattern, escaped, place + 4) < URL_SIZE_MAX;
    curl_free(escaped);
    return fits;
}

static bool add_header(struct call *call, const char *name, const char *value)
{
    char line[STELE_SAGA_KEY_SIZE_MAX * 3 + 64];
    /* Keys hold the saga's id, which may be any UTF-8: a header may not. */
    char *const safe = curl_easy_escape(call->curl, value, 0);
    size_t size = (size_t)snprintf(line, sizeof line, "%s: ", name);
    for (const char *at = safe; at != NULL && *at != '\0' && size < sizeof line - 1; at++) {
        const bool slash = strncmp(at, "%2F", 3) == 0;
        line[size++] = slash ? '/' : *at;
        at += slash ? 2 : 0;
    }
    line[size] = '\0';
    curl_free(safe);
    struct curl_slist *const list = curl_slist_append(call->headers, line);
    call->headers = list != NULL ? list : call->headers;
    return list != NULL && safe != NULL;
}

static bool add_headers(struct call *call, const struct stele_saga_call *asked)
{
    const struct stele_saga_http_options *const options = &call->http->options;
    bool whole = add_header(call, "Idempotency-Key", asked->key);
    if (asked->traceparent[0] != '\0') {
        whole = whole && add_header(call, "traceparent", asked->traceparent);
    }
    struct curl_slist *list = curl_slist_append(call->headers, "Content-Type: application/json");
    for (size_t i = 0; i < options->headers_count && list != NULL; i++) {
        call->headers = list;
        list = curl_slist_append(call->headers, options->headers[i]);
    }
    call->headers = list != NULL ? list : call->headers;
    return whole && list != NULL;
}

static bool set_options(struct call *call, const char *url, const char *method, long timeout_ms)
{
    CURL *const curl = call->curl;
    const char *const ca_file = call->http->options.ca_file;
    bool set = curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_HTTPHEADER, call->headers) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_WRITEDATA, call) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, call->words) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_PRIVATE, call) == CURLE_OK;
    return set && (ca_file == NULL || curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file) == CURLE_OK);
}

static long time_left_ms(int64_t due_us)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    const int64_t left_ms = due_us / 1000 - ((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    return left_ms < 1 ? 1 : left_ms > INT32_MAX ? INT32_MAX : (long)left_ms;
}

static const struct stele_saga_http_target *target_of(const struct stele_saga_http *http,
                                                      const char *step)
{
    for (size_t i = 0; i < http->options.targets_count; i++) {
        if (strcmp(http->options.targets[i].step, step) == 0) {
            return &http->options.targets[i];
        }
    }
    return NULL;
}

/* STELE_SAGA_DONE, or what the call ends with. */
static int take_body(struct call *call, const struct stele_saga_call *asked,
                     struct stele_saga_reply *reply)
{
    const struct stele_saga_http_options *const options = &call->http->options;
    int usual = options->body == NULL;
    if (!usual) {
        call->body = options->body(options->context, asked, reply, &usual);
        if (call->body == NULL && !usual) {
            return STELE_SAGA_NEEDS_HELP;
        }
    }
    if (usual) {
        free(call->body);
        call->body = make_body(asked);
    }
    return STELE_SAGA_DONE;
}

static bool fill_call(struct call *call, const struct stele_saga_call *asked,
                      const struct stele_saga_http_target *target)
{
    const bool own_url = asked->compensation && target->compensation_url != NULL;
    const char *const pattern = own_url ? target->compensation_url : target->url;
    const char *method = asked->compensation ? target->compensation_method : target->method;
    if (method == NULL) {
        method = asked->compensation && !own_url ? "DELETE" : "POST";
    }
    char url[URL_SIZE_MAX];
    call->curl = curl_easy_init();
    call->attempt = asked->attempt;
    (void)snprintf(call->key, sizeof call->key, "%s", asked->key);
    return call->curl != NULL && call->body != NULL &&
           make_url(call->curl, pattern, asked->id, url) && add_headers(call, asked) &&
           set_options(call, url, method, time_left_ms(asked->due_us));
}

int stele_saga_http_handle(void *context, const struct stele_saga_call *asked,
                           struct stele_saga_reply *reply)
{
    if (context == NULL || asked == NULL || reply == NULL) {
        return STELE_SAGA_NEEDS_HELP;
    }
    struct stele_saga_http *const http = context;
    const struct stele_saga_http_target *const target = target_of(http, asked->step);
    if (target == NULL) {
        (void)snprintf(reply->reason, sizeof reply->reason, "no address is known for the step");
        return STELE_SAGA_NEEDS_HELP;
    }
    struct call *const call = stele_allocate_zeroed(http->alloc, sizeof *call);
    if (call == NULL) {
        return STELE_SAGA_NOT_TRIED;
    }
    call->http = http;
    const int made = take_body(call, asked, reply);
    if (made != STELE_SAGA_DONE) {
        release_call(call);
        return made;
    }
    if (!fill_call(call, asked, target)) {
        release_call(call);
        (void)snprintf(
            reply->reason, sizeof reply->reason,
            "the request could not be made: the address is too long, or memory is short");
        return STELE_SAGA_NOT_DONE;
    }
    (void)pthread_mutex_lock(&http->lock);
    const bool full = http->count >= http->options.calls_max;
    if (!full) {
        *http->waiting_end = call;
        http->waiting_end = &call->next;
        http->count++;
    }
    (void)pthread_mutex_unlock(&http->lock);
    if (full) {
        release_call(call);
        (void)snprintf(reply->reason, sizeof reply->reason, "too many calls are under way");
        return STELE_SAGA_NOT_TRIED;
    }
    (void)curl_multi_wakeup(http->multi);
    return STELE_SAGA_LATER;
}

/* ---- An answer ------------------------------------------------------------------------------ */

static int meaning_of(long status)
{
    switch (status) {
    case 401:
    case 403:
    case 404:
    case 405:
    case 407:
    case 501:
        return STELE_SAGA_NEEDS_HELP;
    case 408:
    case 425:
    case 429:
    case 503:
        return STELE_SAGA_NOT_DONE;
    default:
        return status >= 200 && status < 300   ? STELE_SAGA_DONE
               : status >= 300 && status < 400 ? STELE_SAGA_NEEDS_HELP
               : status >= 400 && status < 500 ? STELE_SAGA_REFUSED
                                               : STELE_SAGA_UNKNOWN;
    }
}

/* Of what broke before the request can have left. */
static bool never_left(CURLcode code)
{
    return code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY ||
           code == CURLE_COULDNT_CONNECT || code == CURLE_SSL_CONNECT_ERROR ||
           code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_URL_MALFORMAT ||
           code == CURLE_UNSUPPORTED_PROTOCOL;
}

static void tell(struct call *call, CURLcode code)
{
    struct stele_saga_reply reply;
    memset(&reply, 0, sizeof reply);
    int answer = never_left(code) ? STELE_SAGA_NOT_DONE : STELE_SAGA_UNKNOWN;
    if (code == CURLE_OK) {
        long status = 0;
        curl_off_t after_s = 0;
        (void)curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &status);
        (void)curl_easy_getinfo(call->curl, CURLINFO_RETRY_AFTER, &after_s);
        answer = meaning_of(status);
        reply.retry_after_ms = (int64_t)after_s * 1000;
        const char *const body = (const char *)call->answer.data;
        const size_t size = call->answer.size;
        const char *const line = size > 0 ? memchr(body, '\n', size) : NULL;
        const size_t shown = line != NULL ? (size_t)(line - body) : size;
        if (answer == STELE_SAGA_DONE) {
            reply.result = (struct stele_text){body, size};
        } else {
            (void)snprintf(reply.reason, sizeof reply.reason, "HTTP %ld%s%.*s", status,
                           shown > 0 ? ": " : "", (int)(shown < 160 ? shown : 160),
                           shown > 0 ? body : "");
        }
    } else {
        (void)snprintf(reply.reason, sizeof reply.reason, "%.200s",
                       call->too_long           ? "the answer is too long"
                       : call->words[0] != '\0' ? call->words
                                                : curl_easy_strerror(code));
    }
    /* A queue that is full drops it: then the attempt times out, and is repeated with the same key. */
    (void)stele_saga_runner_answer(call->http->runner, call->key, call->attempt, answer, &reply);
}

/* ---- The thread ----------------------------------------------------------------------------- */

static void end_call(struct stele_saga_http *http, struct call *call)
{
    struct call **at = &http->working;
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
    (void)curl_multi_remove_handle(http->multi, call->curl);
    release_call(call);
    (void)pthread_mutex_lock(&http->lock);
    http->count--;
    (void)pthread_mutex_unlock(&http->lock);
}

static void take_waiting(struct stele_saga_http *http)
{
    (void)pthread_mutex_lock(&http->lock);
    struct call *call = http->waiting;
    http->waiting = NULL;
    http->waiting_end = &http->waiting;
    (void)pthread_mutex_unlock(&http->lock);
    while (call != NULL) {
        struct call *const next = call->next;
        call->next = http->working;
        http->working = call;
        if (curl_multi_add_handle(http->multi, call->curl) != CURLM_OK) {
            tell(call, CURLE_COULDNT_CONNECT);
            end_call(http, call);
        }
        call = next;
    }
}

static void *work(void *context)
{
    struct stele_saga_http *const http = context;
    while (atomic_load(&http->stop) == 0) {
        int running = 0;
        int left = 0;
        take_waiting(http);
        (void)curl_multi_perform(http->multi, &running);
        for (CURLMsg *m = curl_multi_info_read(http->multi, &left); m != NULL;
             m = curl_multi_info_read(http->multi, &left)) {
            if (m->msg == CURLMSG_DONE) {
                struct call *call = NULL;
                const CURLcode code = m->data.result;
                (void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &call);
                tell(call, code);
                end_call(http, call);
            }
        }
        (void)curl_multi_poll(http->multi, NULL, 0, POLL_MS, NULL);
    }
    return NULL;
}

/* ---- Making and releasing -------------------------------------------------------------------- */

static bool is_address(const char *url)
{
    return strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
}

static int check(const struct stele_saga_http_options *options, struct stele_error *err)
{
    if (options->struct_size != sizeof *options) {
        return stele_fail(
            err, STELE_E_INVALID, 0,
            "HTTP options of sagas: initialise them with STELE_SAGA_HTTP_OPTIONS_INIT");
    }
    for (size_t i = 0; i < options->targets_count; i++) {
        const struct stele_saga_http_target *const target = &options->targets[i];
        if (target->step == NULL || target->url == NULL || !is_address(target->url) ||
            (target->compensation_url != NULL && !is_address(target->compensation_url))) {
            return stele_fail(
                err, STELE_E_INVALID, 0,
                "target %zu (step \"%.60s\"): it needs a step and addresses that begin "
                "with http:// or https://",
                i, target->step != NULL ? target->step : "");
        }
    }
    return STELE_OK;
}

static void release(struct stele_saga_http *http)
{
    (void)curl_multi_cleanup(http->multi);
    (void)pthread_mutex_destroy(&http->lock);
    stele_release(http->alloc, http, sizeof *http);
    curl_global_cleanup();
}

int stele_saga_http_create(const struct stele_saga_http_options *options,
                           struct stele_saga_http **out_http, struct stele_error *err)
{
    if (options == NULL || out_http == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_saga_http_create: an argument is NULL");
    }
    const int outcome = check(options, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct stele_saga_http *const http = stele_allocate_zeroed(alloc, sizeof *http);
    if (http == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for HTTP calls");
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        stele_release(alloc, http, sizeof *http);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "libcurl does not start");
    }
    http->alloc = alloc;
    http->options = *options;
    http->waiting_end = &http->waiting;
    (void)pthread_mutex_init(&http->lock, NULL);
    struct stele_saga_http_options *const own = &http->options;
    own->connections_max = own->connections_max != 0 ? own->connections_max : CONNECTIONS_MAX;
    own->calls_max = own->calls_max != 0 ? own->calls_max : CALLS_MAX;
    own->answer_size_max = own->answer_size_max != 0 ? own->answer_size_max : ANSWER_SIZE_MAX;
    http->multi = curl_multi_init();
    if (http->multi == NULL ||
        curl_multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                          (long)own->connections_max) != CURLM_OK ||
        pthread_create(&http->thread, NULL, work, http) != 0) {
        release(http);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "the thread of HTTP calls does not start");
    }
    *out_http = http;
    return STELE_OK;
}

void stele_saga_http_attach(struct stele_saga_http *http, struct stele_saga_runner *runner)
{
    if (http == NULL || runner == NULL) {
        return;
    }
    http->runner = runner;
}

void stele_saga_http_destroy(struct stele_saga_http *http)
{
    if (http == NULL) {
        return;
    }
    atomic_store(&http->stop, 1);
    (void)curl_multi_wakeup(http->multi);
    (void)pthread_join(http->thread, NULL);
    while (http->working != NULL) {
        end_call(http, http->working);
    }
    while (http->waiting != NULL) {
        struct call *const call = http->waiting;
        http->waiting = call->next;
        release_call(call);
    }
    release(http);
}
