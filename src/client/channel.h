/* The client's side of gRPC over HTTP/2, as a machine: bytes in, bytes out, no sockets. The
 * counterpart of http/http.h for libstele's remote stores.
 *
 * A *channel* is one connection. A *request* is one call on it: messages out, messages in, one end.
 * After the connection is lost every request ends with STELE_GRPC_UNAVAILABLE and `sent` tells
 * whether the server may have seen it.
 *
 * Flow control: what came is given back to the server at once, except for requests that are paused:
 * their window fills and the server stops. One thread: the loop's. */
#ifndef STELE_CLIENT_CHANNEL_H
#define STELE_CLIENT_CHANNEL_H

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/status.h"
#include "io/loop.h"

#include <stele/stele.h>

struct stele_channel;

/* How a request ended. Texts are borrowed for the call. */
struct stele_channel_request_end {
    int status; /* grpc-status; 14 (UNAVAILABLE) if the connection is lost. */
    struct stele_text message;
    struct stele_text outcome; /* The trailer "stele-outcome"; data NULL if there was none. */
    bool answered;             /* The server told the status itself. */
};

struct stele_channel_request_events {
    /* One whole message, borrowed. */
    void (*on_message)(void *context, struct stele_bytes message);
    /* The last call, exactly once, unless the request was cancelled. The request is gone. */
    void (*on_end)(void *context, const struct stele_channel_request_end *end);
};

struct stele_channel_request;

struct stele_channel_options {
    const char *authority;     /* "host:2113" */
    bool is_tls;               /* For :scheme. */
    const char *authorization; /* Value of that header, or NULL. */
    uint32_t keepalive_ms;     /* A PING after this silence; 0: never. */
    uint32_t keepalive_timeout_ms;
    uint32_t message_max; /* Bytes of one message of the server. */
};

/* on_output: there are bytes to take, outside of feed(). Copies the options. */
STELE_MUST_USE
int stele_channel_create(struct stele_loop *loop, const struct stele_channel_options *options,
                         void (*on_output)(void *context), void *context,
                         struct stele_channel **out_channel);
/* Ends every request (on_end), releases. */
void stele_channel_destroy(struct stele_channel *channel);
/* false: the connection is broken or was ended by the server, and of no more use. */
bool stele_channel_feed(struct stele_channel *channel, struct stele_bytes bytes);
/* As stele_http_conn_take(). */
bool stele_channel_take(struct stele_channel *channel, struct stele_buf *out, size_t max);
bool stele_channel_is_over(const struct stele_channel *channel);

/* Starts a call of "/package.Service/Method". timeout_ms 0: no deadline. NULL: no memory, or the
 * channel is over. events must outlive the request. */
struct stele_channel_request *
stele_channel_request_start(struct stele_channel *channel, const char *path, uint32_t timeout_ms,
                            const struct stele_channel_request_events *events, void *context);
/* Queues a message (copied). last: half-closes behind it. false: no memory (nothing queued). */
bool stele_channel_request_send(struct stele_channel_request *request, struct stele_bytes message,
                                bool last);
void stele_channel_request_half_close(struct stele_channel_request *request);
/* Bytes that were queued and not handed to the connection yet. */
size_t stele_channel_request_queued(const struct stele_channel_request *request);
void stele_channel_request_pause(struct stele_channel_request *request, bool paused);
/* RST_STREAM(CANCEL); no callback comes any more. */
void stele_channel_request_cancel(struct stele_channel_request *request);

#endif
