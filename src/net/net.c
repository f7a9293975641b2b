#include "net/net.h"

#include "net/tls.h"

#include <stdio.h>

#define LISTENERS_MAX 16
#define ADDRESS_SIZE 80

struct connection {
    struct stele_net *net;
    struct connection *next, *previous;
    struct stele_socket *socket;
    struct stele_tls *tls;
    struct stele_http_conn *http; /* NULL until TLS stands. */
    struct stele_timer deadline;  /* Of the handshake. */
    bool is_loopback;
    bool failed; /* To be closed once its last words are out. */
    bool paused;
    char address[ADDRESS_SIZE];
};

struct stele_net {
    struct stele_linux_loop *loop;
    struct stele_loop *base;
    struct stele_gate *gate;
    struct stele_http_events events;
    void *context;
    struct stele_listener *listeners[LISTENERS_MAX];
    size_t listeners_count;
    struct connection *connections;
    uint32_t count;
    bool draining;
    void (*on_empty)(void *context);
    void *on_empty_context;
    struct stele_buf plain; /* What is to be encrypted. */
};

static void count_up(_Atomic uint64_t *counter, uint64_t by)
{
    (void)atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void on_output(void *context, struct stele_http_conn *conn)
{
    (void)context;
    struct connection *const connection = stele_http_conn_peer(conn)->owner;
    stele_socket_want_flush(connection->socket);
}

/* Of ours; the socket is somebody else's business by now. */
static void release(struct connection *connection)
{
    struct stele_net *const net = connection->net;
    struct stele_alloc *const alloc = net->base->alloc;
    net->base->ops->timer_stop(net->base, &connection->deadline);
    stele_http_conn_destroy(connection->http);
    stele_tls_destroy(connection->tls);
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        STELE_ASSERT(net->connections == connection);
        net->connections = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    net->count--;
    (void)atomic_fetch_sub_explicit(&net->gate->connections, 1, memory_order_relaxed);
    stele_release(alloc, connection, sizeof *connection);
    if (net->draining && net->count == 0 && net->on_empty != NULL) {
        void (*const on_empty)(void *context) = net->on_empty;
        net->on_empty = NULL;
        on_empty(net->on_empty_context);
    }
}

static bool start_http(struct connection *connection)
{
    struct stele_net *const net = connection->net;
    const struct stele_http_peer peer = {
        .address = connection->address,
        .is_tls = connection->tls != NULL,
        .is_loopback = connection->is_loopback,
        .client_cn = connection->tls != NULL ? stele_tls_peer_cn(connection->tls) : NULL,
        .owner = connection,
    };
    if (stele_http_conn_create(net->base, &net->gate->limits, &net->events, net->context, &peer,
                               &connection->http) != STELE_OK) {
        return false;
    }
    if (net->draining) {
        stele_http_conn_drain(connection->http);
    }
    return true;
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

static void feed_http(void *user, struct stele_bytes plain)
{
    struct connection *const connection = user;
    if (connection->http == NULL) {
        connection->net->base->ops->timer_stop(connection->net->base, &connection->deadline);
        if (!start_http(connection)) {
            connection->failed = true;
            return;
        }
    }
    (void)stele_http_conn_feed(connection->http, plain);
}

static void on_bytes(void *context, struct stele_bytes bytes)
{
    struct connection *const connection = context;
    struct stele_gate *const gate = connection->net->gate;
    count_up(&gate->bytes_in, bytes.size);
    if (connection->tls == NULL) {
        feed_http(connection, bytes);
    } else if (!stele_tls_feed(connection->tls, bytes, feed_http, connection)) {
        if (!stele_tls_is_ready(connection->tls)) {
            count_up(&gate->failed_handshakes, 1);
        }
        connection->failed = true;
    }
    stele_socket_want_flush(connection->socket);
}

static void on_eof(void *context)
{
    struct connection *const connection = context;
    if (connection->http != NULL) {
        stele_http_conn_eof(connection->http);
    } else {
        connection->failed = true;
    }
    stele_socket_want_flush(connection->socket);
}

static void on_lost(void *context, int os_errno)
{
    (void)os_errno;
    release(context);
}

static void take_encrypted(struct connection *connection, struct stele_buf *out, size_t max)
{
    struct stele_net *const net = connection->net;
    stele_tls_take(connection->tls, out);
    if (connection->http == NULL || connection->failed) {
        return;
    }
    net->plain.size = 0;
    if (stele_http_conn_take(connection->http, &net->plain, max) &&
        !stele_tls_write(connection->tls,
                         (struct stele_bytes){.data = net->plain.data, .size = net->plain.size},
                         out)) {
        connection->failed = true;
    }
}

static void update_pause(struct connection *connection)
{
    const bool pause = connection->http != NULL && !stele_http_conn_wants_input(connection->http);
    if (pause == connection->paused) {
        return;
    }
    connection->paused = pause;
    if (pause) {
        stele_socket_pause(connection->socket);
    } else {
        stele_socket_resume(connection->socket);
    }
}

static void on_flush(void *context, struct stele_buf *out, size_t max)
{
    struct connection *const connection = context;
    const size_t before = out->size;
    if (connection->tls != NULL) {
        take_encrypted(connection, out, max);
    } else if (connection->http != NULL) {
        (void)stele_http_conn_take(connection->http, out, max);
    }
    count_up(&connection->net->gate->bytes_out, out->size - before);
    if (connection->failed ||
        (connection->http != NULL && stele_http_conn_is_over(connection->http))) {
        if (connection->tls != NULL) {
            stele_tls_close(connection->tls, out);
        }
        stele_socket_close(connection->socket);
        release(connection);
        return;
    }
    update_pause(connection);
}

static const struct stele_socket_events socket_events = {
    .on_bytes = on_bytes,
    .on_eof = on_eof,
    .on_flush = on_flush,
    .on_lost = on_lost,
};

/* ---- Listening -------------------------------------------------------------------------------- */

/* Nobody needs that long for a handshake. */
static void on_deadline(struct stele_timer *timer)
{
    struct connection *const connection =
        (struct connection *)(void *)((uint8_t *)timer - offsetof(struct connection, deadline));
    count_up(&connection->net->gate->failed_handshakes, 1);
    stele_socket_abort(connection->socket);
    release(connection);
}

static bool may_come_in(struct stele_gate *gate)
{
    const uint32_t before = atomic_fetch_add_explicit(&gate->connections, 1, memory_order_relaxed);
    if (before < gate->connections_max) {
        count_up(&gate->accepted, 1);
        return true;
    }
    (void)atomic_fetch_sub_explicit(&gate->connections, 1, memory_order_relaxed);
    count_up(&gate->refused, 1);
    return false;
}

static bool open_connection(struct connection *connection)
{
    struct stele_net *const net = connection->net;
    if (net->gate->tls == NULL) {
        return start_http(connection);
    }
    connection->deadline.on_due = on_deadline;
    net->base->ops->timer_start(net->base, &connection->deadline,
                                net->base->ops->now_us(net->base) +
                                    (int64_t)net->gate->handshake_ms * 1000);
    return stele_tls_create(net->gate->tls, NULL, net->base->alloc, &connection->tls) == STELE_OK;
}

static bool on_accept(void *context, struct stele_socket *socket, const char *address,
                      bool is_loopback, const struct stele_socket_events **out_events,
                      void **out_context)
{
    struct stele_net *const net = context;
    if (!may_come_in(net->gate)) {
        return false;
    }
    struct connection *const connection =
        stele_allocate_zeroed(net->base->alloc, sizeof *connection);
    if (connection == NULL) {
        (void)atomic_fetch_sub_explicit(&net->gate->connections, 1, memory_order_relaxed);
        return false;
    }
    connection->net = net;
    connection->socket = socket;
    connection->is_loopback = is_loopback;
    (void)snprintf(connection->address, sizeof connection->address, "%s", address);
    connection->next = net->connections;
    if (net->connections != NULL) {
        net->connections->previous = connection;
    }
    net->connections = connection;
    net->count++;
    if (!open_connection(connection)) {
        release(connection);
        return false;
    }
    *out_events = &socket_events;
    *out_context = connection;
    return true;
}

static const struct stele_listener_events listener_events = {.on_accept = on_accept};

int stele_net_create(struct stele_linux_loop *loop, struct stele_gate *gate,
                     const struct stele_http_events *events, void *context,
                     struct stele_net **out_net)
{
    struct stele_loop *const base = stele_linux_loop_base(loop);
    struct stele_net *const net = stele_allocate_zeroed(base->alloc, sizeof *net);
    if (net == NULL) {
        return STELE_E_NO_MEMORY;
    }
    net->loop = loop;
    net->base = base;
    net->gate = gate;
    net->events = *events;
    net->events.on_output = on_output;
    net->context = context;
    *out_net = net;
    return STELE_OK;
}

int stele_net_listen(struct stele_net *net, const struct sockaddr *address, socklen_t address_size,
                     uint16_t *out_port, struct stele_error *err)
{
    if (net->listeners_count == LISTENERS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "more than %d addresses to listen on",
                          LISTENERS_MAX);
    }
    struct stele_listener *listener = NULL;
    const int outcome = stele_listener_open(net->loop, address, address_size, &listener_events, net,
                                            &listener, err);
    if (outcome == STELE_OK) {
        net->listeners[net->listeners_count++] = listener;
        *out_port = stele_listener_port(listener);
    }
    return outcome;
}

void stele_net_visit(struct stele_net *net,
                     void (*visit)(void *context, struct stele_exchange *exchange), void *context)
{
    for (struct connection *c = net->connections; c != NULL; c = c->next) {
        if (c->http != NULL) {
            stele_http_conn_visit(c->http, visit, context);
        }
    }
}

uint32_t stele_net_connections(const struct stele_net *net)
{
    return net->count;
}

static void close_listeners(struct stele_net *net)
{
    for (size_t i = 0; i < net->listeners_count; i++) {
        stele_listener_close(net->listeners[i]);
    }
    net->listeners_count = 0;
}

void stele_net_drain(struct stele_net *net, void (*on_empty)(void *context), void *context)
{
    close_listeners(net);
    net->draining = true;
    if (net->count == 0) {
        on_empty(context);
        return;
    }
    net->on_empty = on_empty;
    net->on_empty_context = context;
    for (struct connection *c = net->connections; c != NULL; c = c->next) {
        if (c->http != NULL) {
            stele_http_conn_drain(c->http);
        } else {
            c->failed = true;
        }
        stele_socket_want_flush(c->socket);
    }
}

void stele_net_destroy(struct stele_net *net)
{
    if (net == NULL) {
        return;
    }
    close_listeners(net);
    net->on_empty = NULL;
    while (net->connections != NULL) {
        stele_socket_abort(net->connections->socket);
        release(net->connections);
    }
    stele_buf_deinit(&net->plain, net->base->alloc);
    stele_release(net->base->alloc, net, sizeof *net);
}
