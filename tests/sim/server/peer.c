/* A client's end of a link: HTTP/2 by nghttp2 with windows that it opens by itself, gRPC messages put
 * together from whatever arrives, and a new connection when one is lost. */
#include "server.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>

#define RECONNECT_US (300 * SIM_MS)
#define PREFIX 5

static struct srv_call *call_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

/* nghttp2 hands its user data to callbacks; they need both. */
struct user {
    struct sim *sim;
    struct srv_peer *peer;
};

/* ---- Calls ---- */

static void unlink_call(struct srv_call *call)
{
    struct srv_call **at = &call->peer->calls;
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
    if (call->peer->session != NULL && call->owed > 0) {
        (void)nghttp2_session_consume_connection(call->peer->session, call->owed);
    }
    call->peer = NULL;
    free(call->in);
    free(call->out);
    call->in = NULL;
    call->out = NULL;
}

static size_t message_size(const uint8_t *at)
{
    return PREFIX +
           ((size_t)at[1] << 24 | (size_t)at[2] << 16 | (size_t)at[3] << 8 | (size_t)at[4]);
}

static void grow(uint8_t **bytes, size_t *capacity, size_t size)
{
    if (size > *capacity) {
        *capacity = size * 2 + 64;
        *bytes = realloc(*bytes, *capacity);
        STELE_ASSERT(*bytes != NULL);
    }
}

/* Window updates: what was taken; and everything, while no message is whole, because no window has to
 * hold one. */
static void consume(struct srv_call *call, size_t size)
{
    size = call->in_whole == 0 || size > call->owed ? call->owed : size;
    call->owed -= size;
    if (call->peer->session != NULL && size > 0) {
        (void)nghttp2_session_consume(call->peer->session, call->id, size);
    }
}

static void arrive(struct srv_call *call, const uint8_t *data, size_t size)
{
    grow(&call->in, &call->in_capacity, call->in_size + size);
    memcpy(call->in + call->in_size, data, size);
    call->in_size += size;
    call->owed += size;
    size_t at = call->in_whole;
    while (call->in_size - at >= PREFIX && call->in_size - at >= message_size(call->in + at)) {
        at += message_size(call->in + at);
    }
    call->in_whole = at;
    consume(call, 0);
}

bool srv_call_next(struct sim *sim, struct srv_call *call)
{
    if (call->peer == NULL || call->in_whole == 0) {
        return false;
    }
    const size_t size = message_size(call->in);
    uint8_t *copy = malloc(size);
    STELE_ASSERT(copy != NULL);
    memcpy(copy, call->in, size);
    memmove(call->in, call->in + size, call->in_size - size);
    call->in_size -= size;
    call->in_whole -= size;
    struct srv_peer *peer = call->peer;
    consume(call, size);
    call->on_message(sim, call, (struct stele_bytes){.data = copy + PREFIX, .size = size - PREFIX});
    free(copy);
    if (peer->session != NULL && !peer->in_callback) {
        srv_peer_flush(sim, peer);
    }
    return true;
}

/* The end is told behind the messages. */
static void finish_call(struct sim *sim, struct srv_call *call)
{
    if (call->ended && call->in_whole == 0) {
        unlink_call(call);
        call->on_end(sim, call);
    }
}

static void take_all(struct sim *sim, struct srv_call *call)
{
    while (!call->slow && srv_call_next(sim, call)) {
    }
    if (call->peer != NULL) {
        finish_call(sim, call);
    }
}

void srv_call_cancel(struct sim *sim, struct srv_call *call)
{
    if (call->peer == NULL) {
        return;
    }
    struct srv_peer *peer = call->peer;
    if (peer->session != NULL && !call->ended) {
        (void)nghttp2_session_set_stream_user_data(peer->session, call->id, NULL);
        (void)nghttp2_submit_rst_stream(peer->session, NGHTTP2_FLAG_NONE, call->id, NGHTTP2_CANCEL);
    }
    unlink_call(call);
    if (peer->session != NULL && !peer->in_callback) {
        srv_peer_flush(sim, peer);
    }
}

/* ---- nghttp2 ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *user)
{
    (void)flags;
    (void)user;
    struct srv_call *call = call_of(session, frame->hd.stream_id);
    if (call == NULL) {
        return 0;
    }
    if (name_size == 11 && memcmp(name, "grpc-status", 11) == 0) {
        call->status = (int)strtol((const char *)value, NULL, 10);
    }
    if (name_size == 13 && memcmp(name, "stele-outcome", 13) == 0) {
        const size_t size =
            value_size < sizeof call->outcome - 1 ? value_size : sizeof call->outcome - 1;
        memcpy(call->outcome, value, size);
        call->outcome[size] = '\0';
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t size, void *user)
{
    (void)flags;
    const struct user *both = user;
    struct srv_call *call = call_of(session, id);
    if (call == NULL) {
        (void)nghttp2_session_consume_connection(session, size);
        return 0;
    }
    arrive(call, data, size);
    take_all(both->sim, call);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    const struct user *both = user;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        both->peer->told_goaway = true;
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    (void)error;
    const struct user *both = user;
    struct srv_call *call = call_of(session, id);
    if (call != NULL) {
        (void)nghttp2_session_set_stream_user_data(session, id, NULL);
        call->ended = true;
        if (call->slow && call->in_whole > 0) {
            return 0; /* The rest is read first. */
        }
        finish_call(both->sim, call);
    }
    return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buffer, size_t size,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)source;
    (void)user;
    struct srv_call *call = call_of(session, id);
    if (call == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    const size_t left = call->out_size - call->out_at;
    if (left == 0 && !call->out_end) {
        call->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    const size_t count = left < size ? left : size;
    if (count > 0) {
        memcpy(buffer, call->out + call->out_at, count);
    }
    call->out_at += count;
    if (call->out_end && call->out_at == call->out_size) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)count;
}

static void start_session(struct sim *sim, struct srv_peer *peer)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    struct user *user = malloc(sizeof *user);
    STELE_ASSERT(user != NULL);
    *user = (struct user){.sim = sim, .peer = peer};
    peer->user = user;
    STELE_ASSERT(nghttp2_session_callbacks_new(&callbacks) == 0);
    STELE_ASSERT(nghttp2_option_new(&option) == 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_option_set_no_auto_window_update(option, 1);
    STELE_ASSERT(nghttp2_session_client_new2(&peer->session, callbacks, user, option) == 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    const nghttp2_settings_entry entries[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                              {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, peer->window}};
    STELE_ASSERT(nghttp2_submit_settings(peer->session, NGHTTP2_FLAG_NONE, entries, 2) == 0);
}

static void end_session(struct srv_peer *peer)
{
    nghttp2_session_del(peer->session);
    free(peer->user);
    peer->session = NULL;
    peer->user = NULL;
}

/* ---- To and fro ---- */

void srv_peer_flush(struct sim *sim, struct srv_peer *peer)
{
    while (peer->session != NULL && peer->link != NULL && srv_link_room(sim, peer->link) > 0) {
        const uint8_t *data = NULL;
        peer->in_callback = true;
        const ssize_t size = nghttp2_session_mem_send(peer->session, &data);
        peer->in_callback = false;
        if (size <= 0) {
            break;
        }
        srv_link_send(sim, peer->link, (struct stele_bytes){.data = data, .size = (size_t)size});
    }
}

void srv_peer_feed(struct sim *sim, struct srv_peer *peer, struct stele_bytes bytes)
{
    peer->in_callback = true;
    const ssize_t used = nghttp2_session_mem_recv(peer->session, bytes.data, bytes.size);
    peer->in_callback = false;
    if (used != (ssize_t)bytes.size) {
        sim_fail(sim, "peer %u does not understand what the server sends: %s", peer->number,
                 nghttp2_strerror((int)used));
    }
    if (peer->drop) {
        peer->drop = false;
        srv_peer_drop(sim, peer);
        return;
    }
    srv_peer_flush(sim, peer);
    /* After GOAWAY nothing new is begun here; a client goes elsewhere, or comes again. */
    if (peer->told_goaway && peer->calls == NULL) {
        srv_peer_drop(sim, peer);
    }
}

/* ---- Connecting ---- */

static void on_reconnect(struct sim *sim, void *object, uint64_t number)
{
    struct srv_peer *peer = object;
    (void)number;
    if (!peer->used) {
        return;
    }
    peer->again = false;
    STELE_ASSERT(peer->link == NULL);
    peer->link = srv_link_open(sim, peer);
    if (peer->link == NULL) {
        srv_peer_lost(sim, peer);
    }
}

static void come_again(struct sim *sim, struct srv_peer *peer)
{
    if (!peer->again) {
        peer->again = true;
        sim_after_always(sim, rng_exponential(&srv_of(sim)->rng_clients, RECONNECT_US),
                         on_reconnect, peer, 0);
    }
}

void srv_peer_connected(struct sim *sim, struct srv_peer *peer)
{
    peer->connected = true;
    peer->told_goaway = false;
    start_session(sim, peer);
    peer->on_connected(sim, peer->actor);
    srv_peer_flush(sim, peer);
}

/* Calls end with it: those that were read to the end as the server ended them. */
static void end_calls(struct sim *sim, struct srv_peer *peer)
{
    while (peer->calls != NULL) {
        struct srv_call *call = peer->calls;
        if (!call->ended) {
            call->status = -1;
        }
        unlink_call(call);
        call->on_end(sim, call);
    }
}

void srv_peer_lost(struct sim *sim, struct srv_peer *peer)
{
    peer->link = NULL;
    peer->connected = false;
    if (peer->session != NULL) {
        end_session(peer);
    }
    end_calls(sim, peer);
    come_again(sim, peer);
}

void srv_peer_drop(struct sim *sim, struct srv_peer *peer)
{
    if (peer->in_callback) {
        peer->drop = true;
        return;
    }
    if (peer->link != NULL && peer->connected) {
        srv_link_close(sim, peer->link);
        srv_peer_lost(sim, peer);
    }
}

struct srv_peer *srv_peer_create(struct sim *sim, uint32_t window, void *actor,
                                 void (*on_connected)(struct sim *sim, void *actor))
{
    struct srv *srv = srv_of(sim);
    for (uint32_t i = 0; i < SRV_PEERS_MAX; i++) {
        struct srv_peer *peer = &srv->peers[i];
        if (!peer->used) {
            *peer = (struct srv_peer){.used = true,
                                      .number = i,
                                      .window = window,
                                      .actor = actor,
                                      .on_connected = on_connected};
            come_again(sim, peer);
            return peer;
        }
    }
    STELE_ASSERT(false);
    return NULL;
}

void srv_peer_destroy(struct sim *sim, struct srv_peer *peer)
{
    (void)sim;
    if (peer == NULL) {
        return;
    }
    while (peer->calls != NULL) {
        unlink_call(peer->calls);
    }
    if (peer->session != NULL) {
        end_session(peer);
    }
    *peer = (struct srv_peer){.used = false};
}

/* ---- Calling ---- */

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

bool srv_call_start(struct sim *sim, struct srv_peer *peer, struct srv_call *call, const char *path)
{
    (void)sim;
    STELE_ASSERT(call->peer == NULL);
    if (!peer->connected || peer->told_goaway) {
        return false;
    }
    void *const owner = call->owner;
    const bool slow = call->slow;
    void (*const on_message)(struct sim *, struct srv_call *, struct stele_bytes) =
        call->on_message;
    void (*const on_end)(struct sim *, struct srv_call *) = call->on_end;
    *call = (struct srv_call){.peer = peer,
                              .next = peer->calls,
                              .slow = slow,
                              .status = -1,
                              .owner = owner,
                              .on_message = on_message,
                              .on_end = on_end};
    const nghttp2_nv fields[] = {field(":method", "POST"),
                                 field(":scheme", "http"),
                                 field(":authority", "node:2113"),
                                 field(":path", path),
                                 field("content-type", "application/grpc"),
                                 field("te", "trailers")};
    const nghttp2_data_provider body = {.read_callback = read_body};
    call->id =
        nghttp2_submit_request(peer->session, NULL, fields, STELE_COUNT_OF(fields), &body, call);
    if (call->id < 0) {
        call->peer = NULL;
        return false;
    }
    peer->calls = call;
    return true;
}

void srv_call_send(struct sim *sim, struct srv_call *call, struct stele_bytes message, bool end)
{
    if (call->peer == NULL || call->ended) {
        return;
    }
    const uint8_t prefix[PREFIX] = {0, (uint8_t)(message.size >> 24), (uint8_t)(message.size >> 16),
                                    (uint8_t)(message.size >> 8), (uint8_t)message.size};
    grow(&call->out, &call->out_capacity, call->out_size + PREFIX + message.size);
    memcpy(call->out + call->out_size, prefix, PREFIX);
    memcpy(call->out + call->out_size + PREFIX, message.data, message.size);
    call->out_size += PREFIX + message.size;
    call->out_end = end;
    struct srv_peer *peer = call->peer;
    if (call->deferred) {
        call->deferred = false;
        (void)nghttp2_session_resume_data(peer->session, call->id);
    }
    if (!peer->in_callback) {
        srv_peer_flush(sim, peer);
    }
}
