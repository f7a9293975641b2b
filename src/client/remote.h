/* Remote stores: the calls of <stele/stele.h> over the native service (proto/stele/v1).
 *
 * One connection and one thread a handle. The thread runs the shared loop (remote_loop.c) that owns the
 * channel (client/channel.h); API calls put requests into it and sleep until the answer is there.
 *
 *     stele_append… ─▶ encode ─▶ queue ─▶ loop: AppendEvents stream ─▶ answer ─▶ wake or callback
 *     stele_read…   ─▶ far_call: messages queue up (bounded: the request is paused) ─▶ iterator
 *
 * Lost connections: everything that is safe to repeat is repeated on the next one until its deadline.
 * Appends are safe because each draft has an id (made here if the caller gave none) and the same
 * append stores nothing twice. What may have reached the server when the deadline comes is
 * STELE_E_UNKNOWN; what did not is STELE_TIMED_OUT. Readers go on behind the last event they
 * handed out. */
#ifndef STELE_CLIENT_REMOTE_H
#define STELE_CLIENT_REMOTE_H

#include "client/channel.h"
#include "client/client.h"

struct far_text {
    char host[256];
    uint16_t port;
};

#define FAR_HOSTS_MAX 8

/* What a connection string says. */
struct far_address {
    struct far_text hosts[FAR_HOSTS_MAX];
    uint32_t hosts_count;
    char user[256];
    char password[256];
    char token[1024]; /* Bearer. */
    bool tls;
    bool verify;
    char ca_file[512];
    char cert_file[512];
    char key_file[512];
    uint32_t timeout_ms;
    uint32_t keepalive_ms;
    uint32_t keepalive_timeout_ms;
};

/* "stele://user:password@host:port,host2?option=value", kurrentdb://, kurrent://, kdb://, esdb:// and
 * each with "+discover". STELE_E_INVALID names what is wrong, never the password. */
STELE_MUST_USE
int stele_remote_parse(const char *text, struct far_address *out_address, struct stele_error *err);
bool stele_remote_is_address(const char *text);

/* ---- The loop's thread: remote_loop.c ---- */

struct far_loop;
struct far_wire_events {
    /* All on the loop's thread. */
    void (*on_connected)(void *context);
    void (*on_bytes)(void *context, struct stele_bytes bytes);
    void (*on_closed)(void *context, int os_errno, const char *why);
    /* Appends up to about max bytes to out; false: none. */
    bool (*take)(void *context, struct stele_buf *out, size_t max);
};
STELE_MUST_USE
int stele_remote_loop_create(struct stele_alloc *alloc, const struct far_address *address,
                             const struct far_wire_events *events, void *context,
                             struct far_loop **out_loop, struct stele_error *err);
/* Ends the thread; posted tasks have run. */
void stele_remote_loop_destroy(struct far_loop *loop);
struct stele_loop *stele_remote_loop_base(struct far_loop *loop);
/* Starts to connect to hosts[index]; on_connected or on_closed comes. Loop's thread. */
void stele_remote_loop_connect(struct far_loop *loop, uint32_t index);
void stele_remote_loop_disconnect(struct far_loop *loop);
/* There are bytes to take. Loop's thread. */
void stele_remote_loop_output(struct far_loop *loop);

/* ---- One remote store ---- */

struct far_append;

struct far {
    struct stele_alloc *alloc;
    struct far_address address;
    struct far_loop *loop;
    struct stele_loop *base;
    uint32_t queue_max;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* Connection state, and calls that nobody else waits for. */
    bool closing;

    /* The loop's thread only. */
    struct stele_channel *channel; /* NULL: not connected. */
    uint32_t host;                 /* The one in use, or to be tried. */
    uint32_t failures;             /* In a row. */
    struct stele_timer retry;
    struct far_call *calls;                         /* Waiting for a connection, or under way. */
    struct stele_channel_request *appends;          /* The AppendEvents call. */
    bool appends_answered;                          /* It has answered something. */
    struct far_append *first_append, **last_append; /* Not answered yet, in order. */
    struct far_append *next_append;                 /* The first that was not sent on this call. */
    struct stele_timer overdue;
    bool overdue_started;

    /* Under the lock. */
    bool connected;
    bool ever_connected;
    uint32_t queued; /* Appends not answered yet. */
    int last_errno;
    char last_error[200]; /* Why it is not connected. */
};

/* ---- Calls with one request and any number of answers: remote_call.c ---- */

struct far_message {
    struct far_message *next;
    size_t size;
    uint8_t data[];
};

struct far_call {
    struct stele_task task;
    struct far *far;
    struct far_call *next, *previous; /* In far->calls. */
    const char *path;
    struct stele_buf request_message;
    struct stele_channel_request *request; /* Loop's thread. */
    bool stays_open;                       /* Not half-closed: a subscription. */
    bool linked;
    enum { FAR_START, FAR_RESUME, FAR_STOP } deed;
    bool posted;

    /* Under far->lock. */
    pthread_cond_t changed;
    struct far_message *first, **last;
    size_t queued; /* Bytes. */
    bool paused;
    bool began; /* It was given to a connection. */
    bool ended;
    bool stopped; /* The loop does not know it any more. */
    int outcome;
    struct stele_error err;
};

/* request_message is taken over. */
struct far_call *stele_remote_call_start(struct far *far, const char *path,
                                         struct stele_buf request_message, bool stays_open,
                                         struct stele_error *err);
/* Waits for the next message, which the caller releases with stele_remote_message_release(). STELE_OK;
 * STELE_END: the call ended well; STELE_TIMED_OUT after timeout_ms (0: does not wait, negative: for
 * ever); else the error that the call ended with; STELE_E_IO with os_errno: the connection was
 * lost, and the call may be repeated. */
int stele_remote_call_next(struct far_call *call, int64_t timeout_ms,
                           struct far_message **out_message, struct stele_error *err);
void stele_remote_call_destroy(struct far_call *call); /* Cancels it if need be. NULL is fine. */
void stele_remote_message_release(struct far *far, struct far_message *message);
/* One request, one answer; repeated until the deadline while the connection is lost and repeating is
 * harmless. *out_message is released by the caller. */
int stele_remote_ask(struct far *far, const char *path, const struct stele_buf *request,
                     bool harmless, struct far_message **out_message, struct stele_error *err);

/* Loop's thread: the connection's ups and downs, for calls and appends. */
void stele_remote_calls_up(struct far *far);
void stele_remote_appends_up(struct far *far);
void stele_remote_appends_down(struct far *far);
void stele_remote_appends_fail(struct far *far, int outcome, const char *why);

/* The outcome that the end of a call stands for. */
int stele_remote_outcome(const struct stele_channel_request_end *end, struct stele_error *err);
/* Outcome of the service -> of libstele. */
int stele_remote_outcome_of(uint64_t told);

/* ---- Encoding and decoding: remote_codec.c ---- */

/* Appends fields to a growing buffer; `failed` is sticky. */
struct far_writer {
    struct stele_buf buf;
    struct stele_alloc *alloc;
    bool failed;
};
void stele_remote_put_number(struct far_writer *writer, uint32_t number,
                             uint64_t value); /* 0: none */
void stele_remote_put_bytes(struct far_writer *writer, uint32_t number, const void *data,
                            size_t size);
void stele_remote_put_text(struct far_writer *writer, uint32_t number, const char *text);
/* As an embedded store checks it, before any of it is looked at. NULL is fine. */
STELE_MUST_USE
int stele_remote_check_filter(struct far *far, const struct stele_filter *filter,
                              struct stele_error *err);
void stele_remote_put_filter(struct far_writer *writer, uint32_t number,
                             const struct stele_filter *filter);
void stele_remote_put_expected(struct far_writer *writer, uint32_t number_expectation,
                               uint32_t number_revision, uint64_t expected);

/* One AppendRequest, checked as libstele does before it is sent. */
STELE_MUST_USE
int stele_remote_encode_append(struct far *far, uint64_t correlation,
                               const struct stele_append *streams, size_t streams_count,
                               const struct stele_condition *conditions, size_t conditions_count,
                               struct stele_buf *out, struct stele_error *err);

struct far_answer {
    uint64_t correlation;
    int outcome;
    struct stele_append_result result;
    const uint8_t *revisions; /* Packed varints. */
    size_t revisions_size;
    char message[200];
};
bool stele_remote_decode_answer(struct stele_bytes message, struct far_answer *out_answer);

/* Decoded events of one message; they point into it, and their tags into memory of their own. */
struct far_events {
    struct stele_event *events;
    uint64_t *ordinals;
    size_t count, capacity;
    struct stele_arena arena;
};
/* Appends one Event. */
bool stele_remote_decode_event(struct far *far, struct stele_bytes message,
                               struct far_events *events);
void stele_remote_events_clear(struct far *far, struct far_events *events);
void stele_remote_events_deinit(struct far *far, struct far_events *events);

/* ---- What the public calls come down to ---- */

int stele_remote_open(const char *text, const struct stele_options *options,
                      struct stele **out_store, struct stele_error *err);
int stele_remote_close(struct stele *store);
int stele_remote_append(struct far *far, const struct stele_append *streams, size_t streams_count,
                        const struct stele_condition *conditions, size_t conditions_count,
                        uint64_t *revisions_last, struct stele_append_result *out_result,
                        struct stele_error *err);
int stele_remote_append_async(struct far *far, const struct stele_append *streams,
                              size_t streams_count, const struct stele_condition *conditions,
                              size_t conditions_count, stele_append_callback callback,
                              void *context, struct stele_error *err);

struct far_iterator;
int stele_remote_read(struct far *far, const char *stream, const struct stele_read_options *options,
                      struct far_iterator **out_iterator, struct stele_error *err);
int stele_remote_next(struct far_iterator *iterator, const struct stele_event **out_events,
                      size_t *out_count, struct stele_error *err);
uint64_t stele_remote_position(const struct far_iterator *iterator);
uint64_t stele_remote_scanned(const struct far_iterator *iterator);
uint64_t stele_remote_ordinal(const struct far_iterator *iterator, size_t index);
void stele_remote_iterator_destroy(struct far_iterator *iterator);
uint64_t stele_remote_last_position(struct far *far);
int stele_remote_wait(struct far *far, uint64_t after, int timeout_ms, struct stele_error *err);

struct far_subscription;
int stele_remote_subscribe(struct far *far, const char *stream,
                           const struct stele_read_options *options, stele_event_callback on_events,
                           stele_end_callback on_end, void *context,
                           struct far_subscription **out_subscription, struct stele_error *err);
void stele_remote_unsubscribe(struct far_subscription *subscription);

int stele_remote_stream_info(struct far *far, const char *stream,
                             struct stele_stream_info *out_info, struct stele_error *err);
int stele_remote_list(struct far *far, int what, const char *prefix, const char *after,
                      uint64_t limit, stele_name_callback on_name, void *context,
                      struct stele_error *err);
int stele_remote_set_metadata(struct far *far, const char *stream, uint64_t expected,
                              const char *json, size_t json_size,
                              struct stele_append_result *out_result, struct stele_error *err);
int stele_remote_get_metadata(struct far *far, const char *stream, char *buffer, size_t buffer_size,
                              size_t *out_size, uint64_t *out_revision, struct stele_error *err);
int stele_remote_delete(struct far *far, const char *stream, uint64_t expected, bool tombstone,
                        struct stele_append_result *out_result, struct stele_error *err);
int stele_remote_stats(struct far *far, struct stele_stats *out_stats, struct stele_error *err);
int stele_remote_scavenge(struct far *far, const struct stele_scavenge_options *options,
                          struct stele_scavenge_result *out_result, struct stele_error *err);
int stele_remote_verify(struct far *far, const struct stele_verify_options *options,
                        struct stele_verify_result *out_result, struct stele_error *err);
int stele_remote_digest(struct far *far, char digest[STELE_DIGEST_SIZE], struct stele_error *err);

#endif
