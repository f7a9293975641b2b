/* What the tests of http/ serve.
 *
 *     /ping    200 "pong"
 *     /echo    what is sent, as it comes; ends with the trailer x-size: bytes
 *     /big     so many bytes as the header "size" says, as fast as the connection takes them
 *     /hang    nothing, ever
 *     /slow    takes the request's body and does not consume it
 *     /reset   resets the exchange
 *     /early   answers before the request's end
 *     /none    204 */
#ifndef STELE_TESTS_UNIT_HTTP_HANDLER_H
#define STELE_TESTS_UNIT_HTTP_HANDLER_H

#include "http/http.h"
#include "lib/check.h"

struct handler {
    uint32_t requests, ends, closes, finished, writables;
    uint32_t open;
    size_t body; /* Bytes of all bodies. */
    size_t unconsumed_max;
    bool echo_all;   /* Every path is /echo. */
    size_t big_max;  /* Of /big; 0: as much as is asked for. */
    bool metered;    /* New requests get a byte each microsecond, 300,000 at once. */
    int64_t paid_us; /* By all of them. */
};

struct handled {
    char path[64];
    size_t left; /* Of /big. */
    size_t echoed;
    bool ended;
};

static inline struct stele_text handler_text(const char *text)
{
    return (struct stele_text){.data = text, .size = strlen(text)};
}

static inline bool handler_is(const struct stele_exchange *exchange, const char *path)
{
    const struct handled *const handled = stele_exchange_user(exchange);
    return strcmp(handled->path, path) == 0;
}

static inline void handler_write(struct stele_exchange *exchange, struct stele_bytes bytes)
{
    CHECK_EQ(stele_buf_append(stele_exchange_output(exchange), stele_exchange_loop(exchange)->alloc,
                              bytes),
             STELE_OK);
    stele_exchange_written(exchange);
}

static inline void handler_fill(struct stele_exchange *exchange)
{
    struct handled *const handled = stele_exchange_user(exchange);
    uint8_t piece[1000];
    while (handled->left > 0 && !stele_exchange_is_full(exchange)) {
        const size_t size = handled->left < sizeof piece ? handled->left : sizeof piece;
        for (size_t i = 0; i < size; i++) {
            piece[i] = (uint8_t)(handled->left - i);
        }
        handled->left -= size;
        handler_write(exchange, (struct stele_bytes){.data = piece, .size = size});
    }
    if (handled->left == 0) {
        stele_exchange_finish(exchange, NULL, 0);
    }
}

static inline int64_t handler_meter(void *context, size_t bytes, int64_t now_us)
{
    struct handler *const handler = context;
    handler->paid_us = (handler->paid_us > now_us ? handler->paid_us : now_us) + (int64_t)bytes;
    const int64_t ahead_us = handler->paid_us - now_us - 300000;
    return ahead_us > 0 ? ahead_us : 0;
}

static inline void handler_respond(struct stele_exchange *exchange, int status, bool end)
{
    const struct stele_http_header header = {.name = handler_text("content-type"),
                                             .value = handler_text("text/plain")};
    stele_exchange_respond(exchange, status, &header, 1, end);
}

static inline void handler_on_request(void *context, struct stele_exchange *exchange)
{
    struct handler *const handler = context;
    struct handled *const handled = calloc(1, sizeof *handled);
    CHECK(handled != NULL);
    const struct stele_text path = stele_exchange_path(exchange);
    (void)snprintf(handled->path, sizeof handled->path, "%.*s", (int)path.size, path.data);
    if (handler->echo_all) {
        (void)snprintf(handled->path, sizeof handled->path, "/echo");
    }
    stele_exchange_set_user(exchange, handled);
    handler->requests++;
    handler->open++;
    if (handler->metered) {
        stele_exchange_set_meter(exchange, handler_meter, handler);
    }
    if (handler_is(exchange, "/ping")) {
        handler_respond(exchange, 200, false);
        handler_write(exchange, stele_bytes_of_text("pong"));
        stele_exchange_finish(exchange, NULL, 0);
    } else if (handler_is(exchange, "/echo")) {
        handler_respond(exchange, 200, false);
    } else if (handler_is(exchange, "/big")) {
        const struct stele_text wanted = stele_exchange_header(exchange, "size");
        for (size_t i = 0; i < wanted.size && handled->left < 100000000; i++) {
            handled->left = handled->left * 10 + ((unsigned char)wanted.data[i] - '0') % 10u;
        }
        if (handler->big_max > 0 && handled->left > handler->big_max) {
            handled->left = handler->big_max;
        }
        handler_respond(exchange, 200, false);
        handler_fill(exchange);
    } else if (handler_is(exchange, "/reset")) {
        stele_exchange_reset(exchange, 7);
    } else if (handler_is(exchange, "/early")) {
        handler_respond(exchange, 403, true);
    } else if (handler_is(exchange, "/none")) {
        handler_respond(exchange, 204, true);
    } else if (!handler_is(exchange, "/hang") && !handler_is(exchange, "/slow")) {
        handler_respond(exchange, 404, true);
    }
}

static inline void handler_on_body(void *context, struct stele_exchange *exchange,
                                   struct stele_bytes bytes)
{
    struct handler *const handler = context;
    struct handled *const handled = stele_exchange_user(exchange);
    handler->body += bytes.size;
    if (handler_is(exchange, "/slow")) {
        return;
    }
    if (handler_is(exchange, "/echo")) {
        handled->echoed += bytes.size;
        handler_write(exchange, bytes);
    }
    stele_exchange_consume(exchange, bytes.size);
}

static inline void handler_on_end(void *context, struct stele_exchange *exchange)
{
    struct handler *const handler = context;
    struct handled *const handled = stele_exchange_user(exchange);
    CHECK(!handled->ended);
    handled->ended = true;
    handler->ends++;
    if (handler_is(exchange, "/echo")) {
        char number[24];
        (void)snprintf(number, sizeof number, "%zu", handled->echoed);
        const struct stele_http_header trailer = {.name = handler_text("x-size"),
                                                  .value = handler_text(number)};
        stele_exchange_finish(exchange, &trailer, 1);
    }
}

static inline void handler_on_writable(void *context, struct stele_exchange *exchange)
{
    struct handler *const handler = context;
    handler->writables++;
    if (handler_is(exchange, "/big")) {
        handler_fill(exchange);
    }
}

static inline void handler_on_close(void *context, struct stele_exchange *exchange, bool finished)
{
    struct handler *const handler = context;
    handler->closes++;
    handler->finished += finished;
    CHECK(handler->open > 0);
    handler->open--;
    free(stele_exchange_user(exchange));
}

static inline void handler_on_output(void *context, struct stele_http_conn *conn)
{
    (void)context;
    (void)conn;
}

static const struct stele_http_events handler_events = {.on_request = handler_on_request,
                                                        .on_body = handler_on_body,
                                                        .on_end = handler_on_end,
                                                        .on_writable = handler_on_writable,
                                                        .on_close = handler_on_close,
                                                        .on_output = handler_on_output};

#endif
