/* The thread of a remote store: the shared loop (io/linux_loop.h) with one socket, over TLS (net/tls.h)
 * if the address says so. */
#include "client/remote.h"
#include "io/linux_loop.h"
#include "net/tls.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <strings.h>

#define CONNECT_US INT64_C(5000000) /* Of one host, with all of its addresses and TLS. */

struct far_loop {
    struct stele_timer deadline; /* First: on_due finds the rest. */
    struct stele_alloc *alloc;
    const struct far_address *address;
    const struct far_wire_events *events;
    void *context;
    pthread_t thread;
    struct stele_linux_loop *sockets;
    struct stele_loop *base;
    struct stele_tls_context *trust; /* NULL: plain. */

    /* The thread's own. */
    struct stele_socket *socket; /* NULL: none. */
    struct stele_tls *tls;
    bool connected;              /* The owner knows of it. */
    bool feeding;                /* TLS hands out what came: it must not be destroyed. */
    struct stele_tls *discarded; /* It is as soon as that is over. */
    const char *host;
    struct addrinfo *found, *next; /* Addresses of the host; the next to be tried. */
    struct stele_buf plain;        /* What is to be encrypted. */
};

/* ---- Ends ---- */

static void forget_addresses(struct far_loop *loop)
{
    if (loop->found != NULL) {
        freeaddrinfo(loop->found);
    }
    loop->found = NULL;
    loop->next = NULL;
}

static void discard_tls(struct far_loop *loop)
{
    if (loop->feeding) {
        STELE_ASSERT(loop->discarded == NULL || loop->tls == NULL);
        loop->discarded = loop->tls != NULL ? loop->tls : loop->discarded;
    } else {
        stele_tls_destroy(loop->tls);
    }
    loop->tls = NULL;
}

void stele_remote_loop_disconnect(struct far_loop *loop)
{
    if (loop->socket != NULL) {
        stele_socket_abort(loop->socket);
        loop->socket = NULL;
    }
    discard_tls(loop);
    forget_addresses(loop);
    loop->connected = false;
    loop->base->ops->timer_stop(loop->base, &loop->deadline);
}

static void lose(struct far_loop *loop, int os_errno, const char *why)
{
    char text[200];
    const char *failure = loop->tls == NULL ? "" : stele_tls_failure(loop->tls);
    if (failure[0] != '\0') {
        (void)snprintf(text, sizeof text, "TLS: %s", failure);
        why = text;
    }
    stele_remote_loop_disconnect(loop);
    loop->events->on_closed(loop->context, os_errno, why);
}

static void on_deadline(struct stele_timer *timer)
{
    lose((struct far_loop *)(void *)timer, ETIMEDOUT, "connecting took too long");
}

/* ---- The socket ---- */

/* Bytes may go to and fro. */
static void establish(struct far_loop *loop)
{
    if (loop->tls != NULL && !stele_tls_speaks_h2(loop->tls)) {
        lose(loop, 0, "the server does not offer HTTP/2 (ALPN h2)");
        return;
    }
    loop->base->ops->timer_stop(loop->base, &loop->deadline);
    forget_addresses(loop);
    loop->connected = true;
    loop->events->on_connected(loop->context);
}

static void on_connected(void *context)
{
    struct far_loop *loop = context;
    if (loop->trust == NULL) {
        establish(loop);
        return;
    }
    if (stele_tls_create(loop->trust, loop->host, loop->alloc, &loop->tls) != STELE_OK) {
        lose(loop, ENOMEM, "TLS: no memory");
    } else if (!stele_tls_start(loop->tls)) {
        lose(loop, 0, "TLS");
    } else {
        stele_socket_want_flush(loop->socket);
    }
}

/* What TLS hands out after a disconnect is nobody's. */
static void on_plain(void *user, struct stele_bytes plain)
{
    struct far_loop *loop = user;
    if (loop->tls != NULL && !loop->connected) {
        establish(loop);
    }
    if (loop->connected && loop->tls != NULL) {
        loop->events->on_bytes(loop->context, plain);
    }
}

static void feed_tls(struct far_loop *loop, struct stele_bytes bytes)
{
    loop->feeding = true;
    const bool goes_on = stele_tls_feed(loop->tls, bytes, on_plain, loop);
    loop->feeding = false;
    stele_tls_destroy(loop->discarded);
    const bool was_discarded = loop->discarded != NULL;
    loop->discarded = NULL;
    if (was_discarded) {
        return;
    }
    if (!loop->connected && stele_tls_is_ready(loop->tls)) {
        establish(loop); /* It has not said anything yet. */
    } else if (!goes_on) {
        lose(loop, 0, "the server closed the connection");
    }
    if (loop->socket != NULL) {
        stele_socket_want_flush(loop->socket);
    }
}

static void on_bytes(void *context, struct stele_bytes bytes)
{
    struct far_loop *loop = context;
    if (loop->tls != NULL) {
        feed_tls(loop, bytes);
    } else {
        loop->events->on_bytes(loop->context, bytes);
    }
}

static void on_eof(void *context)
{
    lose(context, 0, "the server closed the connection");
}

static void on_flush(void *context, struct stele_buf *out, size_t max)
{
    struct far_loop *loop = context;
    if (loop->tls == NULL) {
        if (loop->connected) {
            (void)loop->events->take(loop->context, out, max);
        }
        return;
    }
    stele_tls_take(loop->tls, out);
    loop->plain.size = 0;
    if (loop->connected && loop->events->take(loop->context, &loop->plain, max) &&
        !stele_tls_write(loop->tls,
                         (struct stele_bytes){.data = loop->plain.data, .size = loop->plain.size},
                         out)) {
        lose(loop, 0, "the connection broke");
    }
}

static void try_next(struct far_loop *loop, int os_errno);

static void on_lost(void *context, int os_errno)
{
    struct far_loop *loop = context;
    const bool was_connected = loop->connected || loop->tls != NULL;
    loop->socket = NULL; /* It is gone already. */
    if (was_connected) {
        lose(loop, os_errno, "the connection broke");
    } else {
        try_next(loop, os_errno);
    }
}

static const struct stele_socket_events socket_events = {
    .on_connected = on_connected,
    .on_bytes = on_bytes,
    .on_eof = on_eof,
    .on_flush = on_flush,
    .on_lost = on_lost,
};

static void try_next(struct far_loop *loop, int os_errno)
{
    while (loop->next != NULL) {
        const struct addrinfo *info = loop->next;
        struct stele_error err = {.os_errno = 0};
        loop->next = info->ai_next;
        if (stele_socket_connect(loop->sockets, info->ai_addr, info->ai_addrlen, &socket_events,
                                 loop, &loop->socket, &err) == STELE_OK) {
            return;
        }
        os_errno = err.os_errno;
    }
    lose(loop, os_errno, "cannot connect");
}

void stele_remote_loop_connect(struct far_loop *loop, uint32_t index)
{
    const struct far_text *host = &loop->address->hosts[index];
    char port[8];
    (void)snprintf(port, sizeof port, "%u", host->port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    stele_remote_loop_disconnect(loop);
    int failed = getaddrinfo(host->host, port, &hints, &loop->found);
    if (failed != 0 && strcasecmp(host->host, "localhost") == 0) {
        /* A system without /etc/hosts; what it means is fixed (RFC 6761, section 6.3). */
        failed = getaddrinfo("127.0.0.1", port, &hints, &loop->found);
    }
    if (failed != 0) {
        loop->found = NULL;
        lose(loop, failed == EAI_SYSTEM ? errno : 0, gai_strerror(failed));
        return;
    }
    loop->host = host->host;
    loop->next = loop->found;
    loop->base->ops->timer_start(loop->base, &loop->deadline,
                                 stele_loop_now_us(loop->base) + CONNECT_US);
    try_next(loop, 0);
}

void stele_remote_loop_output(struct far_loop *loop)
{
    if (loop->socket != NULL && loop->connected) {
        stele_socket_want_flush(loop->socket);
    }
}

/* ---- The thread ---- */

static void *run(void *context)
{
    struct far_loop *loop = context;
    stele_linux_loop_run(loop->sockets);
    stele_remote_loop_disconnect(loop);
    return NULL;
}

struct stele_loop *stele_remote_loop_base(struct far_loop *loop)
{
    return loop->base;
}

static void release_loop(struct far_loop *loop)
{
    stele_linux_loop_destroy(loop->sockets);
    stele_tls_context_destroy(loop->trust);
    stele_buf_deinit(&loop->plain, loop->alloc);
    stele_release(loop->alloc, loop, sizeof *loop);
}

static const char *or_none(const char *path)
{
    return path[0] == '\0' ? NULL : path;
}

int stele_remote_loop_create(struct stele_alloc *alloc, const struct far_address *address,
                             const struct far_wire_events *events, void *context,
                             struct far_loop **out_loop, struct stele_error *err)
{
    struct far_loop *loop = stele_allocate_zeroed(alloc, sizeof *loop);
    if (loop == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "open: no memory");
    }
    loop->deadline.on_due = on_deadline;
    loop->alloc = alloc;
    loop->address = address;
    loop->events = events;
    loop->context = context;
    int outcome = stele_linux_loop_create(alloc, &loop->sockets, err);
    if (outcome == STELE_OK) {
        loop->base = stele_linux_loop_base(loop->sockets);
    }
    if (outcome == STELE_OK && address->tls) {
        outcome = stele_tls_context_create_client(or_none(address->ca_file), address->verify,
                                                  or_none(address->cert_file),
                                                  or_none(address->key_file), &loop->trust, err);
    }
    if (outcome == STELE_OK) {
        const int failed = pthread_create(&loop->thread, NULL, run, loop);
        outcome =
            failed == 0 ? STELE_OK : stele_fail(err, STELE_E_NO_MEMORY, failed, "open: no thread");
    }
    if (outcome != STELE_OK) {
        release_loop(loop);
        return outcome;
    }
    *out_loop = loop;
    return STELE_OK;
}

void stele_remote_loop_destroy(struct far_loop *loop)
{
    stele_linux_loop_stop(loop->sockets);
    (void)pthread_join(loop->thread, NULL);
    release_loop(loop);
}
