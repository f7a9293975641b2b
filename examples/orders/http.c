#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define HEAD_SIZE_MAX 8192
#define PATIENCE_S 20 /* For a client that sends or takes nothing; the others wait meanwhile. */

/* ---- Reading a request ---- */

struct reader {
    int socket;
    char bytes[HEAD_SIZE_MAX + HTTP_BODY_SIZE_MAX + 1];
    size_t size;
    bool is_cut; /* The rest did not come. */
};

static bool read_more(struct reader *reader)
{
    const size_t room = sizeof reader->bytes - 1 - reader->size;
    ssize_t got = 0;
    if (room == 0) {
        return false;
    }
    do { /* A process that was stopped and goes on is interrupted. */
        got = recv(reader->socket, reader->bytes + reader->size, room, 0);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        reader->is_cut = true;
        return false;
    }
    reader->size += (size_t)got;
    reader->bytes[reader->size] = '\0';
    return true;
}

/* The value of a header, or NULL. head ends with a zero, and each of its lines with "\r\n". */
static const char *find_header(const char *head, const char *name, size_t *out_size)
{
    const size_t name_size = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, name_size) == 0 && line[name_size] == ':') {
            const char *const value = line + name_size + 1 + strspn(line + name_size + 1, " \t");
            *out_size = strcspn(value, "\r\n");
            return value;
        }
    }
    return NULL;
}

static bool copy(char *to, size_t room, const char *from, size_t size)
{
    if (size >= room) {
        return false;
    }
    memcpy(to, from, size);
    to[size] = '\0';
    return true;
}

/* Cuts the path of the request at its slashes, in words. */
static bool split_path(struct http_request *request, char words[sizeof request->path])
{
    size_t count = 0;
    char *rest = NULL;
    (void)snprintf(words, sizeof request->path, "%s", request->path);
    for (size_t i = 0; i < HTTP_WORDS_MAX; i++) {
        request->words[i] = "";
    }
    for (char *word = strtok_r(words, "/", &rest); word != NULL;
         word = strtok_r(NULL, "/", &rest)) {
        if (count == HTTP_WORDS_MAX) {
            return false;
        }
        request->words[count++] = word;
    }
    return true;
}

/* false: this is no request, or too long a one. */
static bool read_request(struct reader *reader, struct http_request *request, char *words)
{
    char *end = NULL;
    while ((end = strstr(reader->bytes, "\r\n\r\n")) == NULL) {
        if (reader->size > HEAD_SIZE_MAX || !read_more(reader)) {
            return false;
        }
    }
    const size_t head_size = (size_t)(end + 4 - reader->bytes);
    end[2] = '\0';
    const size_t method = strcspn(reader->bytes, " \r");
    const char *const path = reader->bytes + method + 1;
    size_t size = 0;
    if (reader->bytes[method] != ' ' ||
        !copy(request->method, sizeof request->method, reader->bytes, method) ||
        !copy(request->path, sizeof request->path, path, strcspn(path, " ?\r"))) {
        return false;
    }
    const char *const key = find_header(reader->bytes, "Idempotency-Key", &size);
    request->key[0] = '\0';
    if (key != NULL && !copy(request->key, sizeof request->key, key, size)) {
        return false;
    }
    const char *const length = find_header(reader->bytes, "Content-Length", &size);
    const unsigned long body_size = length != NULL ? strtoul(length, NULL, 10) : 0;
    if (body_size > HTTP_BODY_SIZE_MAX) {
        return false;
    }
    while (reader->size < head_size + body_size) {
        if (!read_more(reader)) {
            return false;
        }
    }
    request->body_size = body_size;
    return copy(request->body, sizeof request->body, reader->bytes + head_size, body_size) &&
           split_path(request, words);
}

/* ---- Answering ---- */

static const char *name_of(int status)
{
    static const struct {
        int status;
        const char *name;
    } names[] = {{200, "OK"},
                 {202, "Accepted"},
                 {400, "Bad Request"},
                 {404, "Not Found"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {503, "Service Unavailable"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].status == status) {
            return names[i].name;
        }
    }
    return "Internal Server Error";
}

static void send_answer(int socket, const struct http_answer *answer)
{
    char text[1024];
    int size =
        snprintf(text, sizeof text,
                 "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                 "Connection: close\r\n\r\n%s\n",
                 answer->status, name_of(answer->status), strlen(answer->text) + 1, answer->text);
    for (const char *at = text; size > 0;) {
        const ssize_t sent = send(socket, at, (size_t)size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent <= 0) {
            return; /* Whoever asked has gone, and will ask again with the same key. */
        }
        at += sent;
        size -= (int)sent;
    }
}

static void serve_one(int socket, http_handler handle, void *context)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    struct reader reader = {.socket = socket};
    struct http_request request;
    struct http_answer answer = {.status = 400, .text = "this is no request"};
    char words[sizeof request.path];
    (void)setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (read_request(&reader, &request, words)) {
        answer = (struct http_answer){.status = 404, .text = "there is no such thing"};
        handle(context, &request, &answer);
    } else if (reader.is_cut) {
        /* Not a refusal: nothing was understood, and the whole request may come yet. */
        answer = (struct http_answer){.status = 408, .text = "the request did not come whole"};
    }
    send_answer(socket, &answer);
}

/* ---- The server ---- */

int http_open(struct http_server *server, uint16_t port)
{
    const int yes = 1;
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)},
    };
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    server->signals = signalfd(-1, &signals, SFD_CLOEXEC);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server->signals < 0 || server->listener < 0 ||
        setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(server->listener, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(server->listener, SOMAXCONN) != 0) {
        const int error = errno;
        http_close(server);
        return error;
    }
    return 0;
}

void http_serve(const struct http_server *server, http_handler handle, void *context)
{
    struct pollfd fds[] = {{.fd = server->signals, .events = POLLIN},
                           {.fd = server->listener, .events = POLLIN}};
    while (fds[0].revents == 0) {
        if (poll(fds, 2, -1) < 0 || fds[1].revents == 0) {
            continue;
        }
        const int socket = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        if (socket >= 0) {
            serve_one(socket, handle, context);
            (void)close(socket);
        }
    }
}

void http_close(struct http_server *server)
{
    if (server->signals >= 0) {
        (void)close(server->signals);
    }
    if (server->listener >= 0) {
        (void)close(server->listener);
    }
}
