/* A connection to Redis: the address, sending, errors. hiredis writes and reads the protocol; sending is
 * done here, because its own way ends the process when the server has gone (SIGPIPE). */
#include "sinks/redis_link.h"

#include "base/text.h"
#include "io/linux.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define CONNECT_TIMEOUT_S 5
#define ANSWER_TIMEOUT_S 60
#define AGAIN_FIRST_MS 20
#define AGAIN_LAST_MS 500
#define PATIENCE_MS 5000 /* A server that restarts is back by then. */
#define WORDS_MAX 16u

/* ---- The address ---- */

/* A copy of a part of the address, %XX decoded. NULL: no memory. */
static const char *part(struct stele_sinks_redis_link *link, const char *from, size_t size)
{
    char *const copy = stele_arena_allocate(&link->arena, link->alloc, size + 1);
    size_t decoded = 0;
    if (copy == NULL ||
        !stele_percent_decode((struct stele_bytes){.data = (const uint8_t *)from, .size = size},
                              false, (uint8_t *)copy, size, &decoded)) {
        return NULL;
    }
    copy[decoded] = '\0';
    return copy;
}

static bool parse_number(const char *text, size_t size, uint32_t max, uint32_t *out_number)
{
    uint32_t number = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9' || number > max) {
            return false;
        }
        number = number * 10 + (uint32_t)(text[i] - '0');
    }
    *out_number = number;
    return size > 0 && number <= max;
}

static bool parse_login(struct stele_sinks_redis_link *link, const char **rest)
{
    const char *const begin = *rest;
    const char *const at = strchr(begin, '@');
    if (at == NULL) {
        return true;
    }
    const char *const colon = memchr(begin, ':', (size_t)(at - begin));
    if (colon == NULL) {
        return false;
    }
    link->user = colon > begin ? part(link, begin, (size_t)(colon - begin)) : NULL;
    link->password = part(link, colon + 1, (size_t)(at - colon - 1));
    *rest = at + 1;
    return link->password != NULL;
}

static bool parse_socket(struct stele_sinks_redis_link *link, const char *rest)
{
    const char *const query = strchr(rest, '?');
    const size_t size = query != NULL ? (size_t)(query - rest) : strlen(rest);
    link->path = part(link, rest, size);
    return rest[0] == '/' && link->path != NULL &&
           (query == NULL || (strncmp(query, "?db=", 4) == 0 &&
                              parse_number(query + 4, strlen(query + 4), 65535, &link->database)));
}

static bool parse_host(struct stele_sinks_redis_link *link, const char *rest)
{
    const char *const slash = strchr(rest, '/');
    const char *const end = slash != NULL ? slash : rest + strlen(rest);
    const bool bracket = rest[0] == '[';
    const char *const closed = bracket ? memchr(rest, ']', (size_t)(end - rest)) : NULL;
    if (bracket && closed == NULL) {
        return false;
    }
    const char *const from = closed != NULL ? closed : rest;
    const char *const colon = memchr(from, ':', (size_t)(end - from));
    const char *host_end = colon != NULL ? colon : end;
    const char *const host = bracket ? rest + 1 : rest;
    uint32_t port = 6379;
    host_end = closed != NULL ? closed : host_end;
    if (host_end <= host ||
        (colon != NULL && !parse_number(colon + 1, (size_t)(end - colon - 1), 65535, &port)) ||
        (slash != NULL && slash[1] != '\0' &&
         !parse_number(slash + 1, strlen(slash + 1), 65535, &link->database))) {
        return false;
    }
    link->port = (int)port;
    link->host = part(link, host, (size_t)(host_end - host));
    return link->host != NULL;
}

static int parse_address(struct stele_sinks_redis_link *link, const char *address,
                         struct stele_error *err)
{
    const bool socket = strncmp(address, "redis+unix://", 13) == 0;
    const char *rest = address + (socket ? 13 : 8);
    STELE_ASSERT(socket || strncmp(address, "redis://", 8) == 0);
    const bool good =
        parse_login(link, &rest) && (socket ? parse_socket(link, rest) : parse_host(link, rest));
    if (!good) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "the address of a Redis is "
                          "redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE] or "
                          "redis+unix://[[USER]:PASSWORD@]/PATH[?db=DATABASE]");
    }
    char shown[400];
    (void)snprintf(shown, sizeof shown, "%s://%.300s", socket ? "redis+unix" : "redis", rest);
    link->shown = part(link, shown, strlen(shown));
    return link->shown != NULL ? STELE_OK
                               : stele_fail(err, STELE_E_NO_MEMORY, 0, "open a sink: no memory");
}

/* ---- Errors ---- */

static bool begins(const char *text, const char *word)
{
    return strncmp(text, word, strlen(word)) == 0;
}

/* The same a little later may go well: it starts, a script is running, it has no master. */
static bool will_pass(const char *words)
{
    return begins(words, "LOADING") || begins(words, "BUSY") || begins(words, "TRYAGAIN") ||
           begins(words, "MASTERDOWN") || begins(words, "CLUSTERDOWN") ||
           strstr(words, "Script killed") != NULL;
}

static int outcome_of(const char *words)
{
    static const struct {
        const char *word;
        int outcome;
    } known[] = {
        {"NOSCRIPT", STELE_NOT_FOUND},
        {"OOM", STELE_E_NO_SPACE},
        {"READONLY", STELE_E_READ_ONLY},
        {"MISCONF", STELE_E_IO},
        {"NOREPLICAS", STELE_E_OVERLOADED},
        {"NOAUTH", STELE_E_PERMISSION},
        {"WRONGPASS", STELE_E_PERMISSION},
        {"NOPERM", STELE_E_PERMISSION},
        {"ERR invalid password", STELE_E_PERMISSION},
        {"ERR AUTH", STELE_E_PERMISSION},
        {"MOVED", STELE_E_UNSUPPORTED},
        {"CROSSSLOT", STELE_E_UNSUPPORTED},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(known); i++) {
        if (begins(words, known[i].word)) {
            return known[i].outcome;
        }
    }
    return will_pass(words) ? STELE_E_OVERLOADED : STELE_E_INVALID;
}

static int fail_with(const struct stele_sinks_redis_link *link, const char *words,
                     struct stele_error *err)
{
    const int outcome = outcome_of(words);
    return outcome == STELE_E_INVALID
               ? stele_fail(err, outcome, 0, "%.400s", words)
               : stele_fail(err, outcome, 0, "%.120s: %.300s", link->shown, words);
}

/* ---- Sending ---- */

static void disconnect(struct stele_sinks_redis_link *link)
{
    if (link->context != NULL) {
        redisFree(link->context);
        link->context = NULL;
    }
}

static bool send_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent <= 0) {
            return false;
        }
        bytes += sent;
        size -= (size_t)sent;
    }
    return true;
}

static int lost(struct stele_sinks_redis_link *link, const char *what, struct stele_error *err)
{
    char words[200];
    (void)snprintf(words, sizeof words, "%.150s",
                   link->context != NULL && link->context->err != 0 ? link->context->errstr
                                                                    : "the connection was lost");
    disconnect(link);
    return stele_fail(err, STELE_E_IO, 0, "%.200s: %s: %s", link->shown, what, words);
}

/* Sends once and waits for the answer, whatever it is. */
static int exchange(struct stele_sinks_redis_link *link, size_t count, const char *const *words,
                    const size_t *sizes, redisReply **out_reply, struct stele_error *err)
{
    char *bytes = NULL;
    void *reply = NULL;
    /* hiredis takes the array without const and leaves it alone. */
    const int size =
        redisFormatCommandArgv(&bytes, (int)count, (const char **)(uintptr_t)words, sizes);
    if (size < 0) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%.200s: no memory", link->shown);
    }
    const bool sent = send_all(link->context->fd, bytes, (size_t)size);
    redisFreeCommand(bytes);
    if (!sent || redisGetReply(link->context, &reply) != REDIS_OK) {
        return lost(link, sent ? "waiting for an answer" : "sending", err);
    }
    *out_reply = reply;
    return STELE_OK;
}

/* One of the first commands on a connection. */
static int set_up(struct stele_sinks_redis_link *link, size_t count, const char *const *words,
                  struct stele_error *err)
{
    size_t sizes[3];
    redisReply *reply = NULL;
    for (size_t i = 0; i < count; i++) {
        sizes[i] = strlen(words[i]);
    }
    int outcome = exchange(link, count, words, sizes, &reply, err);
    if (outcome == STELE_OK && reply->type == REDIS_REPLY_ERROR) {
        outcome = fail_with(link, reply->str, err);
        outcome = outcome == STELE_E_INVALID
                      ? stele_fail(err, outcome, 0, "%.200s: %.200s", link->shown, reply->str)
                      : outcome;
        disconnect(link);
    }
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return outcome;
}

static int connect_once(struct stele_sinks_redis_link *link, struct stele_error *err)
{
    const struct timeval connect = {.tv_sec = CONNECT_TIMEOUT_S};
    const struct timeval answer = {.tv_sec = ANSWER_TIMEOUT_S};
    link->context = link->path != NULL ? redisConnectUnixWithTimeout(link->path, connect)
                                       : redisConnectWithTimeout(link->host, link->port, connect);
    if (link->context == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%.200s: no memory", link->shown);
    }
    if (link->context->err != 0 || redisSetTimeout(link->context, answer) != REDIS_OK) {
        return lost(link, "connecting", err);
    }
    int outcome = STELE_OK;
    if (link->password != NULL) {
        const char *const auth[] = {"AUTH", link->user != NULL ? link->user : link->password,
                                    link->password};
        outcome = set_up(link, link->user != NULL ? 3 : 2, auth, err);
    }
    if (outcome == STELE_OK && link->context != NULL && link->database != 0) {
        char number[16];
        (void)snprintf(number, sizeof number, "%u", link->database);
        const char *const select[] = {"SELECT", number};
        outcome = set_up(link, 2, select, err);
    }
    return outcome;
}

static int64_t now_ms(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void pause_ms(unsigned ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

/* Once. *out_again: another time may go well. */
static int ask_once(struct stele_sinks_redis_link *link, size_t count, const char *const *words,
                    const size_t *sizes, redisReply **out_reply, bool *out_again,
                    struct stele_error *err)
{
    redisReply *reply = NULL;
    int outcome = link->context != NULL ? STELE_OK : connect_once(link, err);
    if (outcome == STELE_OK) {
        outcome = exchange(link, count, words, sizes, &reply, err);
    }
    if (outcome == STELE_OK && reply->type == REDIS_REPLY_ERROR) {
        *out_again = will_pass(reply->str);
        outcome = fail_with(link, reply->str, err);
        freeReplyObject(reply);
        return outcome;
    }
    *out_again = outcome == STELE_E_IO || outcome == STELE_E_OVERLOADED;
    *out_reply = reply;
    return outcome;
}

int stele_sinks_redis_ask(struct stele_sinks_redis_link *link, size_t count,
                          const char *const *words, const size_t *sizes, redisReply **out_reply,
                          struct stele_error *err)
{
    const int64_t until = now_ms() + PATIENCE_MS;
    unsigned wait_ms = AGAIN_FIRST_MS;
    for (;;) {
        bool again = false;
        const int outcome = ask_once(link, count, words, sizes, out_reply, &again, err);
        if (outcome == STELE_OK || !again || now_ms() >= until) {
            return outcome;
        }
        pause_ms(wait_ms);
        wait_ms = wait_ms * 2 < AGAIN_LAST_MS ? wait_ms * 2 : AGAIN_LAST_MS;
    }
}

int stele_sinks_redis_tell(struct stele_sinks_redis_link *link, const char *const *words,
                           redisReply **out_reply, struct stele_error *err)
{
    size_t sizes[WORDS_MAX];
    size_t count = 0;
    while (words[count] != NULL) {
        STELE_ASSERT(count < WORDS_MAX);
        sizes[count] = strlen(words[count]);
        count++;
    }
    return stele_sinks_redis_ask(link, count, words, sizes, out_reply, err);
}

/* ---- Opening ---- */

int stele_sinks_redis_link_open(struct stele_sinks_redis_link *link, const char *address,
                                struct stele_error *err)
{
    *link = (struct stele_sinks_redis_link){.alloc = stele_linux_alloc()};
    link->arena.block_size = 4096;
    const int outcome = parse_address(link, address, err);
    /* Once only: who mistypes an address should not wait. */
    return outcome == STELE_OK ? connect_once(link, err) : outcome;
}

void stele_sinks_redis_link_close(struct stele_sinks_redis_link *link)
{
    disconnect(link);
    stele_arena_deinit(&link->arena, link->alloc);
}
