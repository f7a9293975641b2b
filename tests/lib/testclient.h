/* An HTTP/2 client as a machine, on nghttp2, tied in memory to a connection of http/http.h: what it
 * sends is fed, what the server has is taken, until both have nothing left.
 *
 *     struct testclient client;
 *     testclient_init(&client, &loop, &limits, &events, context);   makes the connection, too
 *     int32_t id = testclient_post(&client, "/a.Service/Method", headers, 2);
 *     testclient_send(&client, id, bytes, true);                    body; true: and its end
 *     testclient_run(&client);                                      to and fro, and the loop's tasks
 *     const struct testclient_stream *stream = testclient_stream(&client, id);
 *     CHECK_EQ(stream->status, 200);  … stream->body, testclient_header(stream, "grpc-status")
 *     testclient_deinit(&client);                                   destroys the connection
 *
 * The context of the events is what the handler gets; on_output of the events is taken by the
 * client. Memory of the client is malloc()'s, so that sweeping allocation failures meets the server. */
#ifndef STELE_TESTS_LIB_TESTCLIENT_H
#define STELE_TESTS_LIB_TESTCLIENT_H

#include "http/http.h"
#include "simloop.h"

#include <nghttp2/nghttp2.h>

#define TESTCLIENT_STREAMS_MAX 4096
#define TESTCLIENT_HEADERS_MAX 32

struct testclient_field {
    char name[64];
    char value[512]; /* Cut if longer; size is the true one. */
    size_t size;
    bool trailer;
};

struct testclient_stream {
    int32_t id;
    int status; /* 0: nothing came yet. */
    struct testclient_field fields[TESTCLIENT_HEADERS_MAX];
    size_t fields_count;
    uint8_t *body; /* Everything that came. */
    size_t body_size;
    size_t body_capacity;
    size_t body_read; /* For the test: how much of it was looked at. */
    bool ended;       /* END_STREAM came. */
    bool closed;
    uint32_t error;  /* Of RST_STREAM, if closed. */
    uint32_t frames; /* DATA frames that came. */
    /* To be sent. */
    uint8_t *out;
    size_t out_size;
    size_t out_at;
    size_t out_capacity;
    bool out_end;
    bool out_deferred;
};

struct testclient {
    struct simloop *loop;
    struct stele_http_conn *conn; /* NULL once it was closed by the server. */
    struct stele_http_events events;
    const struct stele_http_events *theirs;
    void *context;
    nghttp2_session *session;
    struct testclient_stream *streams[TESTCLIENT_STREAMS_MAX]; /* By id / 2. */
    bool goaway;
    uint32_t goaway_error;
    int32_t goaway_last;
    bool output_told;
    bool reads;      /* true. false: takes nothing from the server (a peer that does not read). */
    size_t taken;    /* Bytes of the server, ever. */
    uint32_t window; /* Of each stream, for SETTINGS; 0: nghttp2's own. Set by _init_window. */
};

/* limits NULL: the default ones. */
void testclient_init(struct testclient *client, struct simloop *loop,
                     const struct stele_http_limits *limits, const struct stele_http_events *events,
                     void *context);
/* The same with windows of so many bytes, which only _window_update makes larger. */
void testclient_init_window(struct testclient *client, struct simloop *loop,
                            const struct stele_http_limits *limits,
                            const struct stele_http_events *events, void *context, uint32_t window);
void testclient_deinit(struct testclient *client);

/* Opens a stream whose body may come. Headers: name, value, name, value … count pairs. */
int32_t testclient_request(struct testclient *client, const char *method, const char *path,
                           const char *const *headers, size_t count, bool end);
/* POST with content-type: application/grpc and te: trailers, body to come. */
int32_t testclient_post(struct testclient *client, const char *path, const char *const *headers,
                        size_t count);
void testclient_send(struct testclient *client, int32_t id, struct stele_bytes bytes, bool end);
/* A gRPC message: five bytes of prefix and these. */
void testclient_send_message(struct testclient *client, int32_t id, struct stele_bytes message,
                             bool end);
/* RST_STREAM(CANCEL). */
void testclient_cancel(struct testclient *client, int32_t id);
void testclient_window_update(struct testclient *client, int32_t id, int32_t size);
/* Bytes that are no client's, fed as they are. */
void testclient_raw(struct testclient *client, struct stele_bytes bytes);
/* To and fro until nothing moves. Time stands still. */
void testclient_run(struct testclient *client);

const struct testclient_stream *testclient_stream(const struct testclient *client, int32_t id);
/* The value of a header or trailer, NULL if there is none. */
const char *testclient_header(const struct testclient_stream *stream, const char *name);
/* The next whole gRPC message of the body; false if there is none. */
bool testclient_next_message(struct testclient *client, int32_t id,
                             struct stele_bytes *out_message);

#endif
