/* A channel: a client session of nghttp2, gRPC's framing, and requests. */
#include "client/channel.h"

#include "base/text.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

#define WINDOW_OF_REQUEST (2 * 1024 * 1024)
#define WINDOW_OF_CHANNEL (16 * 1024 * 1024)
#define PREFIX_SIZE 5
#define STATUS_UNAVAILABLE 14
#define STATUS_INTERNAL 13
#define STATUS_UNKNOWN 2
#define TEXT_MAX 600

struct stele_channel_request {
    struct stele_channel_request *next, *previous;
    struct stele_channel *channel;
    const struct stele_channel_request_events *events;
    void *context;
    int32_t id;
    struct stele_buf out; /* What is still to be sent; before out_at it has been. */
    size_t out_at;
    bool half_closed;
    bool deferred; /* nghttp2 waits for more. */
    bool paused;
    bool has_status;
    bool has_outcome;
    size_t unconsumed;   /* Received while paused. */
    struct stele_buf in; /* A message that has not come whole. */
    int status;
    int http_status;
    char message[TEXT_MAX];
    char outcome[64];
    size_t message_size;
};

struct stele_channel {
    struct stele_loop *loop;
    struct stele_alloc *alloc;
    nghttp2_session *session;
    struct stele_channel_request *first;
    void (*on_output)(void *context);
    void *context;
    char authority[300];
    char authorization[1200];
    bool is_tls;
    bool over;
    bool busy; /* Inside feed() or take(): whoever called takes what there is. */
    uint32_t message_max;
    struct stele_timer timer;
    int64_t keepalive_us, timeout_us, heard_us;
    bool pinged;
};

static void tell_output(struct stele_channel *channel)
{
    if (!channel->busy && !channel->over) {
        channel->on_output(channel->context);
    }
}

/* ---- Ends ---- */

static void unlink_request(struct stele_channel_request *request)
{
    struct stele_channel *channel = request->channel;
    if (request->previous != NULL) {
        request->previous->next = request->next;
    } else {
        channel->first = request->next;
    }
    if (request->next != NULL) {
        request->next->previous = request->previous;
    }
}

static void release_request(struct stele_channel_request *request)
{
    struct stele_alloc *alloc = request->channel->alloc;
    stele_buf_deinit(&request->out, alloc);
    stele_buf_deinit(&request->in, alloc);
    stele_release(alloc, request, sizeof *request);
}

/* Takes the request off the channel and tells how it ended. */
static void end_request(struct stele_channel_request *request, bool answered)
{
    unlink_request(request);
    const struct stele_channel_request_end end = {
        .status = request->status,
        .message = {.data = request->message, .size = request->message_size},
        .outcome = {.data = request->has_outcome ? request->outcome : NULL,
                    .size = request->has_outcome ? strlen(request->outcome) : 0},
        .answered = answered,
    };
    request->events->on_end(request->context, &end);
    release_request(request);
}

static void set_message(struct stele_channel_request *request, int status, const char *message)
{
    request->status = status;
    request->message_size = strlen(message);
    memcpy(request->message, message, request->message_size + 1);
}

static void break_channel(struct stele_channel *channel, const char *why)
{
    channel->over = true;
    while (channel->first != NULL) {
        struct stele_channel_request *request = channel->first;
        if (request->id > 0) {
            (void)nghttp2_session_set_stream_user_data(channel->session, request->id, NULL);
        }
        if (request->has_status) {
            end_request(request, true);
            continue;
        }
        set_message(request, STATUS_UNAVAILABLE, why);
        end_request(request, false);
    }
}

/* ---- What the server sends ---- */

/* grpc-message is percent-encoded. */
static void take_message_text(struct stele_channel_request *request, const uint8_t *value,
                              size_t size)
{
    const struct stele_bytes encoded = {.data = value, .size = size};
    size_t at = 0;
    /* What is longer is cut: it is words for people. */
    (void)!stele_percent_decode(encoded, false, (uint8_t *)request->message,
                                sizeof request->message - 1, &at);
    request->message[at] = '\0';
    request->message_size = at;
}

static int to_number(const uint8_t *value, size_t size, int otherwise)
{
    int number = 0;
    if (size == 0 || size > 4) {
        return otherwise;
    }
    for (size_t i = 0; i < size; i++) {
        if (value[i] < '0' || value[i] > '9') {
            return otherwise;
        }
        number = number * 10 + (value[i] - '0');
    }
    return number;
}

static bool name_is(const uint8_t *name, size_t size, const char *wanted)
{
    return size == strlen(wanted) && memcmp(name, wanted, size) == 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *user)
{
    (void)flags;
    (void)user;
    struct stele_channel_request *request =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (request == NULL) {
        return 0;
    }
    if (name_is(name, name_size, "grpc-status")) {
        request->status = to_number(value, value_size, STATUS_UNKNOWN);
        request->has_status = true;
    } else if (name_is(name, name_size, "grpc-message")) {
        take_message_text(request, value, value_size);
    } else if (name_is(name, name_size, ":status")) {
        request->http_status = to_number(value, value_size, 0);
    } else if (name_is(name, name_size, "stele-outcome") && value_size < sizeof request->outcome) {
        memcpy(request->outcome, value, value_size);
        request->outcome[value_size] = '\0';
        request->has_outcome = true;
    }
    return 0;
}

/* Hands out the whole messages at the start of bytes; returns how many bytes they are. SIZE_MAX: the
 * request is gone or broken. */
static size_t deliver(struct stele_channel *channel, int32_t id, struct stele_bytes bytes)
{
    size_t at = 0;
    for (;;) {
        struct stele_channel_request *request =
            nghttp2_session_get_stream_user_data(channel->session, id);
        if (request == NULL) {
            return SIZE_MAX;
        }
        if (bytes.size - at < PREFIX_SIZE) {
            return at;
        }
        const uint8_t *prefix = bytes.data + at;
        const size_t size = (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 |
                            (size_t)prefix[3] << 8 | (size_t)prefix[4];
        if (prefix[0] != 0 || size > channel->message_max) {
            set_message(request, STATUS_INTERNAL,
                        prefix[0] != 0 ? "the server sent a compressed message"
                                       : "the server sent a message that is too large");
            request->has_status = true;
            (void)nghttp2_submit_rst_stream(channel->session, NGHTTP2_FLAG_NONE, id,
                                            NGHTTP2_INTERNAL_ERROR);
            return SIZE_MAX;
        }
        if (bytes.size - at - PREFIX_SIZE < size) {
            return at;
        }
        at += PREFIX_SIZE + size;
        request->events->on_message(
            request->context, (struct stele_bytes){.data = prefix + PREFIX_SIZE, .size = size});
    }
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t size, void *user)
{
    (void)flags;
    struct stele_channel *channel = user;
    struct stele_channel_request *request = nghttp2_session_get_stream_user_data(session, id);
    (void)nghttp2_session_consume_connection(session, size);
    if (request == NULL) {
        (void)nghttp2_session_consume_stream(session, id, size);
        return 0;
    }
    /* The window is given back before the message is handed out: the callback may pause. */
    struct stele_bytes bytes = {.data = data, .size = size};
    if (request->in.size > 0) {
        if (stele_buf_append(&request->in, channel->alloc, bytes) != STELE_OK) {
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        }
        bytes = (struct stele_bytes){.data = request->in.data, .size = request->in.size};
    }
    const size_t done = deliver(channel, id, bytes);
    request = nghttp2_session_get_stream_user_data(session, id);
    if (done == SIZE_MAX || request == NULL) {
        (void)nghttp2_session_consume_stream(session, id, size);
        return 0;
    }
    if (request->paused) {
        request->unconsumed += size;
    } else {
        (void)nghttp2_session_consume_stream(session, id, size);
    }
    if (request->in.size > 0) {
        memmove(request->in.data, request->in.data + done, request->in.size - done);
        request->in.size -= done;
        return 0;
    }
    return stele_buf_append(&request->in, channel->alloc,
                            stele_bytes_slice(bytes, done, bytes.size - done)) == STELE_OK
               ? 0
               : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* What a response without grpc-status means (grpc, doc/http-grpc-status-mapping.md). */
static int status_of_http(int http_status)
{
    switch (http_status) {
    case 400:
        return STATUS_INTERNAL;
    case 401:
        return 16;
    case 403:
        return 7;
    case 404:
        return 12;
    case 429:
    case 502:
    case 503:
    case 504:
        return STATUS_UNAVAILABLE;
    default:
        return STATUS_UNKNOWN;
    }
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    (void)user;
    struct stele_channel_request *request = nghttp2_session_get_stream_user_data(session, id);
    if (request == NULL) {
        return 0;
    }
    (void)nghttp2_session_set_stream_user_data(session, id, NULL);
    if (request->has_status) {
        end_request(request, true);
        return 0;
    }
    char text[96];
    if (error == NGHTTP2_REFUSED_STREAM) {
        set_message(request, STATUS_UNAVAILABLE, "the server refused the call; it has not begun");
    } else if (request->http_status != 0 && request->http_status != 200) {
        (void)snprintf(text, sizeof text, "the server answered with HTTP status %d",
                       request->http_status);
        set_message(request, status_of_http(request->http_status), text);
    } else {
        (void)snprintf(text, sizeof text, "the server ended the call without a status (%s)",
                       nghttp2_http2_strerror(error));
        set_message(request, STATUS_UNAVAILABLE, text);
    }
    end_request(request, false);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct stele_channel *channel = user;
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
        channel->pinged = false;
    }
    /* The server has said everything while our side was open: let go of the stream, as gRPC does. */
    const bool last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
                      (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA);
    const struct stele_channel_request *request =
        last ? nghttp2_session_get_stream_user_data(session, frame->hd.stream_id) : NULL;
    if (request != NULL && (!request->half_closed || request->out.size > request->out_at)) {
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                        NGHTTP2_NO_ERROR);
    }
    return 0;
}

/* ---- What we send ---- */

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *buffer, size_t size,
                        uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)id;
    (void)source;
    const struct stele_channel *channel = user;
    struct stele_channel_request *request = nghttp2_session_get_stream_user_data(session, id);
    if (request == NULL) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        return 0;
    }
    const size_t left = request->out.size - request->out_at;
    if (left == 0 && !request->half_closed) {
        request->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    const size_t taken = left < size ? left : size;
    if (taken > 0) {
        memcpy(buffer, request->out.data + request->out_at, taken);
    }
    request->out_at += taken;
    if (request->out_at == request->out.size) {
        request->out.size = 0;
        request->out_at = 0;
        if (request->out.capacity > (size_t)1024 * 1024) {
            stele_buf_deinit(&request->out, channel->alloc);
            request->out = (struct stele_buf){.data = NULL};
        }
        if (request->half_closed) {
            *flags |= NGHTTP2_DATA_FLAG_EOF;
        }
    }
    return (ssize_t)taken;
}

static nghttp2_nv header(const char *name, const char *value)
{
    /* nghttp2 copies both, and does not change them. */
    union {
        const char *from;
        uint8_t *to;
    } n = {.from = name}, v = {.from = value};
    return (nghttp2_nv){.name = n.to,
                        .namelen = strlen(name),
                        .value = v.to,
                        .valuelen = strlen(value),
                        .flags = NGHTTP2_NV_FLAG_NONE};
}

struct stele_channel_request *
stele_channel_request_start(struct stele_channel *channel, const char *path, uint32_t timeout_ms,
                            const struct stele_channel_request_events *events, void *context)
{
    if (channel->over) {
        return NULL;
    }
    struct stele_channel_request *request = stele_allocate_zeroed(channel->alloc, sizeof *request);
    if (request == NULL) {
        return NULL;
    }
    char timeout[16];
    (void)snprintf(timeout, sizeof timeout, "%um", timeout_ms > 99999999 ? 99999999 : timeout_ms);
    nghttp2_nv headers[9];
    size_t count = 0;
    headers[count++] = header(":method", "POST");
    headers[count++] = header(":scheme", channel->is_tls ? "https" : "http");
    headers[count++] = header(":path", path);
    headers[count++] = header(":authority", channel->authority);
    headers[count++] = header("te", "trailers");
    headers[count++] = header("content-type", "application/grpc");
    headers[count++] = header("user-agent", "libstele");
    if (channel->authorization[0] != '\0') {
        headers[count++] = header("authorization", channel->authorization);
        headers[count - 1].flags = NGHTTP2_NV_FLAG_NO_INDEX;
    }
    if (timeout_ms > 0) {
        headers[count++] = header("grpc-timeout", timeout);
    }
    const nghttp2_data_provider provider = {.read_callback = read_out};
    const int32_t id =
        nghttp2_submit_request(channel->session, NULL, headers, count, &provider, request);
    if (id < 0) {
        stele_release(channel->alloc, request, sizeof *request);
        return NULL;
    }
    request->channel = channel;
    request->events = events;
    request->context = context;
    request->id = id;
    request->next = channel->first;
    if (channel->first != NULL) {
        channel->first->previous = request;
    }
    channel->first = request;
    tell_output(channel);
    return request;
}

static void go_on(struct stele_channel_request *request)
{
    if (request->deferred) {
        request->deferred = false;
        (void)nghttp2_session_resume_data(request->channel->session, request->id);
    }
    tell_output(request->channel);
}

bool stele_channel_request_send(struct stele_channel_request *request, struct stele_bytes message,
                                bool last)
{
    struct stele_alloc *alloc = request->channel->alloc;
    STELE_ASSERT(!request->half_closed);
    if (message.size > UINT32_MAX ||
        stele_buf_reserve(&request->out, alloc, PREFIX_SIZE + message.size) != STELE_OK) {
        return false;
    }
    uint8_t *to = request->out.data + request->out.size;
    to[0] = 0;
    to[1] = (uint8_t)(message.size >> 24);
    to[2] = (uint8_t)(message.size >> 16);
    to[3] = (uint8_t)(message.size >> 8);
    to[4] = (uint8_t)message.size;
    if (message.size > 0) {
        memcpy(to + PREFIX_SIZE, message.data, message.size);
    }
    request->out.size += PREFIX_SIZE + message.size;
    request->half_closed = last;
    go_on(request);
    return true;
}

void stele_channel_request_half_close(struct stele_channel_request *request)
{
    request->half_closed = true;
    go_on(request);
}

size_t stele_channel_request_queued(const struct stele_channel_request *request)
{
    return request->out.size - request->out_at;
}

void stele_channel_request_pause(struct stele_channel_request *request, bool paused)
{
    request->paused = paused;
    if (!paused && request->unconsumed > 0) {
        (void)nghttp2_session_consume_stream(request->channel->session, request->id,
                                             request->unconsumed);
        request->unconsumed = 0;
        tell_output(request->channel);
    }
}

void stele_channel_request_cancel(struct stele_channel_request *request)
{
    struct stele_channel *channel = request->channel;
    (void)nghttp2_session_set_stream_user_data(channel->session, request->id, NULL);
    (void)nghttp2_submit_rst_stream(channel->session, NGHTTP2_FLAG_NONE, request->id,
                                    NGHTTP2_CANCEL);
    unlink_request(request);
    release_request(request);
    tell_output(channel);
}

/* ---- The channel ---- */

static void on_timer(struct stele_timer *timer)
{
    struct stele_channel *channel =
        (struct stele_channel *)((char *)timer - offsetof(struct stele_channel, timer));
    const int64_t now_us = stele_loop_now_us(channel->loop);
    const int64_t due_us =
        channel->heard_us + channel->keepalive_us + (channel->pinged ? channel->timeout_us : 0);
    if (channel->over) {
        return;
    }
    if (now_us >= due_us && channel->pinged) {
        break_channel(channel, "the server does not answer any more");
        channel->on_output(channel->context);
        return;
    }
    if (now_us >= due_us) {
        channel->pinged = true;
        (void)nghttp2_submit_ping(channel->session, NGHTTP2_FLAG_NONE, NULL);
        tell_output(channel);
    }
    const int64_t wait_us = channel->pinged ? channel->timeout_us : channel->keepalive_us;
    channel->loop->ops->timer_start(channel->loop, timer, now_us + wait_us);
}

static int make_session(struct stele_channel *channel)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        return STELE_E_NO_MEMORY;
    }
    if (nghttp2_option_new(&option) != 0) {
        nghttp2_session_callbacks_del(callbacks);
        return STELE_E_NO_MEMORY;
    }
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    const int failed = nghttp2_session_client_new2(&channel->session, callbacks, channel, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    if (failed != 0) {
        return STELE_E_NO_MEMORY;
    }
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_OF_REQUEST},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 64 * 1024},
    };
    const bool set = nghttp2_submit_settings(channel->session, NGHTTP2_FLAG_NONE, settings,
                                             STELE_COUNT_OF(settings)) == 0 &&
                     nghttp2_session_set_local_window_size(channel->session, NGHTTP2_FLAG_NONE, 0,
                                                           WINDOW_OF_CHANNEL) == 0;
    if (!set) {
        nghttp2_session_del(channel->session);
        return STELE_E_NO_MEMORY;
    }
    return STELE_OK;
}

int stele_channel_create(struct stele_loop *loop, const struct stele_channel_options *options,
                         void (*on_output)(void *context), void *context,
                         struct stele_channel **out_channel)
{
    struct stele_channel *channel = stele_allocate_zeroed(loop->alloc, sizeof *channel);
    if (channel == NULL) {
        return STELE_E_NO_MEMORY;
    }
    channel->loop = loop;
    channel->alloc = loop->alloc;
    channel->on_output = on_output;
    channel->context = context;
    channel->is_tls = options->is_tls;
    channel->message_max = options->message_max;
    channel->keepalive_us = (int64_t)options->keepalive_ms * 1000;
    channel->timeout_us = (int64_t)options->keepalive_timeout_ms * 1000;
    channel->heard_us = stele_loop_now_us(loop);
    channel->timer.on_due = on_timer;
    (void)snprintf(channel->authority, sizeof channel->authority, "%s", options->authority);
    if (options->authorization != NULL) {
        (void)snprintf(channel->authorization, sizeof channel->authorization, "%s",
                       options->authorization);
    }
    const int outcome = make_session(channel);
    if (outcome != STELE_OK) {
        stele_release(channel->alloc, channel, sizeof *channel);
        return outcome;
    }
    if (channel->keepalive_us > 0) {
        loop->ops->timer_start(loop, &channel->timer, channel->heard_us + channel->keepalive_us);
    }
    *out_channel = channel;
    return STELE_OK;
}

void stele_channel_destroy(struct stele_channel *channel)
{
    if (channel == NULL) {
        return;
    }
    break_channel(channel, "the connection was closed");
    channel->loop->ops->timer_stop(channel->loop, &channel->timer);
    nghttp2_session_del(channel->session);
    stele_release(channel->alloc, channel, sizeof *channel);
}

bool stele_channel_feed(struct stele_channel *channel, struct stele_bytes bytes)
{
    if (channel->over) {
        return false;
    }
    channel->heard_us = stele_loop_now_us(channel->loop);
    channel->busy = true;
    const ssize_t taken = nghttp2_session_mem_recv(channel->session, bytes.data, bytes.size);
    channel->busy = false;
    if (taken < 0) {
        break_channel(channel, "the server does not speak HTTP/2 as it should");
        return false;
    }
    return !stele_channel_is_over(channel);
}

bool stele_channel_take(struct stele_channel *channel, struct stele_buf *out, size_t max)
{
    bool some = false;
    channel->busy = true;
    while (out->size < max) {
        const uint8_t *data = NULL;
        const ssize_t size = nghttp2_session_mem_send(channel->session, &data);
        if (size <= 0) {
            break;
        }
        if (stele_buf_append(out, channel->alloc,
                             (struct stele_bytes){.data = data, .size = (size_t)size}) !=
            STELE_OK) {
            channel->busy = false;
            break_channel(channel, "no memory for what is to be sent");
            return some;
        }
        some = true;
    }
    channel->busy = false;
    return some;
}

bool stele_channel_is_over(const struct stele_channel *channel)
{
    return channel->over || (nghttp2_session_want_read(channel->session) == 0 &&
                             nghttp2_session_want_write(channel->session) == 0);
}
