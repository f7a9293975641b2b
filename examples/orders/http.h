/* HTTP, as little of it as three services need that talk to each other on one machine: one request after the
 * other, text as answers, on 127.0.0.1 alone. Take a library for anything else. */
#ifndef ORDERS_HTTP_H
#define ORDERS_HTTP_H

#include <stddef.h>
#include <stdint.h>

#define HTTP_BODY_SIZE_MAX 8192
#define HTTP_WORDS_MAX 3 /* Of a path: /a/b/c. */

struct http_request {
    char method[8];
    char path[256];
    const char *words[HTTP_WORDS_MAX]; /* Parts of the path; "" where there is none. */
    char key[512];                     /* Idempotency-Key, or "". */
    char body[HTTP_BODY_SIZE_MAX + 1]; /* Ends with a zero that is not counted. */
    size_t body_size;
};

struct http_answer {
    int status;
    char text[512]; /* One line, which gets its end from us. */
};

typedef void (*http_handler)(void *context, const struct http_request *request,
                             struct http_answer *answer);

struct http_server {
    int listener;
    int signals;
};

/* Listens, and has SIGTERM and SIGINT come to http_serve(): before threads are started. 0, or an errno. */
int http_open(struct http_server *server, uint16_t port);

/* Answers requests until the process is told to end. */
void http_serve(const struct http_server *server, http_handler handle, void *context);

void http_close(struct http_server *server);

#endif
