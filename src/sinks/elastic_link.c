/* Requests to Elasticsearch, by libcurl. All of them may be made twice. */
#include "base/text.h"
#include "io/linux.h"
#include "sinks/elastic.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define CONNECT_TIMEOUT_S 5L
#define ANSWER_TIMEOUT_S 60L
#define ANSWER_SIZE_MAX ((size_t)64 << 20)
#define AGAIN_FIRST_MS 50
#define AGAIN_LAST_MS 1000
#define PATIENCE_MS 10000

/* ---- The address ---- */

static char *keep(struct stele_sinks_elastic_link *link, const char *from, size_t size)
{
    char *const copy = stele_arena_allocate(&link->arena, link->alloc, size + 1);
    if (copy != NULL) {
        memcpy(copy, from, size);
        copy[size] = '\0';
    }
    return copy;
}

/* "USER:PASSWORD", %XX decoded, as libcurl and headers want it. */
static int set_login(struct stele_sinks_elastic_link *link, const char *from, size_t size)
{
    static const char key[] = "apikey:";
    char *const login = keep(link, from, size);
    size_t decoded = 0;
    if (login == NULL ||
        !stele_percent_decode((struct stele_bytes){.data = (const uint8_t *)from, .size = size},
                              false, (uint8_t *)login, size, &decoded)) {
        return STELE_E_NO_MEMORY;
    }
    login[decoded] = '\0';
    if (strncmp(login, key, sizeof key - 1) == 0) {
        char header[1024];
        (void)snprintf(header, sizeof header, "Authorization: ApiKey %.900s",
                       login + sizeof key - 1);
        struct curl_slist *const headers = curl_slist_append(link->headers, header);
        link->headers = headers != NULL ? headers : link->headers;
        return headers != NULL ? STELE_OK : STELE_E_NO_MEMORY;
    }
    return curl_easy_setopt(link->curl, CURLOPT_USERPWD, login) == CURLE_OK ? STELE_OK
                                                                            : STELE_E_NO_MEMORY;
}

/* "?ca=FILE" */
static int set_query(struct stele_sinks_elastic_link *link, const char *query,
                     struct stele_error *err)
{
    if (strncmp(query, "?ca=", 4) != 0 || query[4] == '\0') {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "the address of an Elasticsearch: %.100s is not known; there is ?ca=FILE",
                          query);
    }
    char *const path = keep(link, query + 4, strlen(query + 4));
    return path != NULL && curl_easy_setopt(link->curl, CURLOPT_CAINFO, path) == CURLE_OK
               ? STELE_OK
               : stele_fail(err, STELE_E_NO_MEMORY, 0, "open a sink: no memory");
}

static int parse_address(struct stele_sinks_elastic_link *link, const char *address,
                         struct stele_error *err)
{
    const char *const scheme = address + strlen("elasticsearch+");
    const char *const host = strstr(scheme, "://") + 3;
    const char *const at = strchr(host, '@');
    const char *const rest = at != NULL ? at + 1 : host;
    const char *const query = strchr(rest, '?');
    size_t size = query != NULL ? (size_t)(query - rest) : strlen(rest);
    char url[1200];
    while (size > 0 && rest[size - 1] == '/') {
        size--;
    }
    if (size == 0 || size > 1000) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "the address of an Elasticsearch is "
                          "elasticsearch+http://[USER:PASSWORD@]HOST:PORT[/PREFIX], or "
                          "elasticsearch+https://…[?ca=FILE]");
    }
    (void)snprintf(url, sizeof url, "%.*s%.*s", (int)(host - scheme), scheme, (int)size, rest);
    link->url = link->shown = keep(link, url, strlen(url));
    int outcome = link->url != NULL ? STELE_OK : STELE_E_NO_MEMORY;
    if (outcome == STELE_OK && at != NULL) {
        outcome = set_login(link, host, (size_t)(at - host));
    }
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "open a sink: no memory");
    }
    return query != NULL ? set_query(link, query, err) : STELE_OK;
}

/* ---- Requests ---- */

static size_t on_answer(char *bytes, size_t size, size_t count, void *context)
{
    struct stele_sinks_elastic_link *const link = context;
    const size_t all = size * count;
    if (link->answer.size + all > ANSWER_SIZE_MAX ||
        stele_buf_append(&link->answer, link->alloc,
                         (struct stele_bytes){.data = (const uint8_t *)bytes, .size = all}) !=
            STELE_OK) {
        return 0;
    }
    return all;
}

int stele_sinks__elastic_open(struct stele_sinks_elastic_link *link, const char *address,
                              struct stele_error *err)
{
    *link = (struct stele_sinks_elastic_link){.alloc = stele_linux_alloc()};
    link->arena.block_size = 4096;
    link->curl = curl_easy_init();
    link->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (link->curl == NULL || link->headers == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "open a sink: no memory");
    }
    (void)curl_easy_setopt(link->curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(link->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(link->curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    (void)curl_easy_setopt(link->curl, CURLOPT_TIMEOUT, ANSWER_TIMEOUT_S);
    (void)curl_easy_setopt(link->curl, CURLOPT_WRITEFUNCTION, on_answer);
    (void)curl_easy_setopt(link->curl, CURLOPT_WRITEDATA, link);
    (void)curl_easy_setopt(link->curl, CURLOPT_ERRORBUFFER, link->words);
    (void)curl_easy_setopt(link->curl, CURLOPT_ACCEPT_ENCODING, "gzip");
    return parse_address(link, address, err);
}

void stele_sinks__elastic_close(struct stele_sinks_elastic_link *link)
{
    curl_easy_cleanup(link->curl);
    curl_slist_free_all(link->headers);
    stele_buf_deinit(&link->answer, link->alloc);
    stele_arena_deinit(&link->arena, link->alloc);
}

static int64_t now_ms(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void stele_sinks__elastic_pause(unsigned ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

/* Once. STELE_E_OVERLOADED: the server says that another time is better. */
static int ask_once(struct stele_sinks_elastic_link *link, const char *method, const char *url,
                    const char *body, size_t size, long *out_status, struct stele_error *err)
{
    link->answer.size = 0;
    link->words[0] = '\0';
    (void)curl_easy_setopt(link->curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(link->curl, CURLOPT_HTTPHEADER, link->headers);
    if (body != NULL) {
        (void)curl_easy_setopt(link->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
        (void)curl_easy_setopt(link->curl, CURLOPT_POSTFIELDS, body);
    } else {
        (void)curl_easy_setopt(link->curl, CURLOPT_HTTPGET, 1L);
    }
    (void)curl_easy_setopt(link->curl, CURLOPT_CUSTOMREQUEST, method);
    const CURLcode code = curl_easy_perform(link->curl);
    if (code != CURLE_OK) {
        return stele_fail(err, STELE_E_IO, 0, "%.200s: %.200s", link->shown,
                          link->words[0] != '\0' ? link->words : curl_easy_strerror(code));
    }
    (void)curl_easy_getinfo(link->curl, CURLINFO_RESPONSE_CODE, out_status);
    if (*out_status == 429 || *out_status == 502 || *out_status == 503 || *out_status == 504) {
        return stele_fail(err, STELE_E_OVERLOADED, 0,
                          "%.200s: it has too much to do, or is starting (%ld)", link->shown,
                          *out_status);
    }
    if (*out_status == 401 || *out_status == 403) {
        return stele_fail(err, STELE_E_PERMISSION, 0, "%.200s: it does not allow this (%ld)",
                          link->shown, *out_status);
    }
    return STELE_OK;
}

int stele_sinks__elastic_ask(struct stele_sinks_elastic_link *link, const char *method,
                             const char *path, const char *body, size_t size, long *out_status,
                             json_t **out_json, struct stele_error *err)
{
    const int64_t until = now_ms() + PATIENCE_MS;
    unsigned wait_ms = AGAIN_FIRST_MS;
    char url[1600];
    int outcome;
    (void)snprintf(url, sizeof url, "%.1000s/%.500s", link->url, path);
    for (;;) {
        outcome = ask_once(link, method, url, body, size, out_status, err);
        if ((outcome != STELE_E_IO && outcome != STELE_E_OVERLOADED) || now_ms() >= until) {
            break;
        }
        stele_sinks__elastic_pause(wait_ms);
        wait_ms = wait_ms * 2 < AGAIN_LAST_MS ? wait_ms * 2 : AGAIN_LAST_MS;
    }
    if (outcome == STELE_OK) {
        *out_json = json_loadb(link->answer.size > 0 ? (const char *)link->answer.data : "",
                               link->answer.size, JSON_ALLOW_NUL, NULL);
    }
    return outcome;
}

int stele_sinks__elastic_refused(const struct stele_sinks_elastic_link *link, const char *what,
                                 long status, const json_t *answer, struct stele_error *err)
{
    const json_t *const error = json_object_get(answer, "error");
    const char *const reason = json_string_value(json_object_get(error, "reason"));
    const char *const words = reason != NULL ? reason : json_string_value(error);
    return stele_fail(err, status == 413 ? STELE_E_LIMIT : STELE_E_IO, 0,
                      "%.150s: %.60s: %ld %.200s", link->shown, what, status,
                      words != NULL ? words : "");
}
