#include "io/linux_loop_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024
#define ACCEPTS_PER_TURN 64
#define LINGER_US INT64_C(1000000)
#define LINGER_SIZE_MAX ((size_t)1 << 20)
/* After "too many open files". */
#define ACCEPT_RETRY_US INT64_C(100000)

static struct stele_socket *socket_of_timer(struct stele_timer *timer)
{
    return (struct stele_socket *)(void *)((uint8_t *)timer - offsetof(struct stele_socket, timer));
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void put_ready(struct stele_socket *socket)
{
    struct stele_linux_loop *const loop = socket->loop;
    if (!socket->in_ready) {
        socket->in_ready = true;
        socket->next_ready = NULL;
        *loop->ready_last = socket;
        loop->ready_last = &socket->next_ready;
    }
}

static void put_flush(struct stele_socket *socket)
{
    struct stele_linux_loop *const loop = socket->loop;
    if (!socket->in_flush) {
        socket->in_flush = true;
        socket->next_flush = NULL;
        *loop->flush_last = socket;
        loop->flush_last = &socket->next_flush;
    }
}

/* Released at the end of the turn: it may be in the lists, and in what epoll gave. */
static void bury(struct stele_socket *socket)
{
    struct stele_linux_loop *const loop = socket->loop;
    STELE_ASSERT(socket->state != STELE_IO__DEAD);
    socket->state = STELE_IO__DEAD;
    loop->base.ops->timer_stop(&loop->base, &socket->timer);
    (void)close(socket->fd);
    socket->fd = -1;
    socket->next_dead = loop->dead;
    loop->dead = socket;
}

static void lose(struct stele_socket *socket, int os_errno)
{
    const bool told = socket->state == STELE_IO__CONNECTING || socket->state == STELE_IO__OPEN;
    bury(socket);
    if (told) {
        socket->events->on_lost(socket->context, os_errno);
    }
}

void stele_io__sockets_release(struct stele_linux_loop *loop)
{
    struct stele_socket **link = &loop->dead;
    while (*link != NULL) {
        struct stele_socket *const socket = *link;
        if (socket->in_ready || socket->in_flush) {
            link = &socket->next_dead; /* The next turn drops it from its lists. */
            continue;
        }
        *link = socket->next_dead;
        if (socket->previous != NULL) {
            socket->previous->next = socket->next;
        } else {
            loop->sockets = socket->next;
        }
        if (socket->next != NULL) {
            socket->next->previous = socket->previous;
        }
        stele_buf_deinit(&socket->rest, loop->base.alloc);
        stele_release(loop->base.alloc, socket, sizeof *socket);
    }
}

void stele_io__sockets_cut(struct stele_linux_loop *loop)
{
    for (struct stele_socket *socket = loop->sockets; socket != NULL; socket = socket->next) {
        socket->in_ready = false;
        socket->in_flush = false;
        if (socket->state != STELE_IO__DEAD) {
            STELE_ASSERT(socket->state != STELE_IO__OPEN);
            STELE_ASSERT(socket->state != STELE_IO__CONNECTING);
            bury(socket);
        }
    }
    stele_io__sockets_release(loop);
}

static void on_linger_over(struct stele_timer *timer)
{
    bury(socket_of_timer(timer));
}

static struct stele_socket *new_socket(struct stele_linux_loop *loop, int fd)
{
    struct stele_socket *const socket = stele_allocate_zeroed(loop->base.alloc, sizeof *socket);
    if (socket == NULL) {
        return NULL;
    }
    socket->watched = STELE_IO__SOCKET;
    socket->loop = loop;
    socket->fd = fd;
    socket->timer.on_due = on_linger_over;
    if (stele_io__loop_watch(loop, fd, socket, true) != STELE_OK) {
        stele_release(loop->base.alloc, socket, sizeof *socket);
        return NULL;
    }
    socket->next = loop->sockets;
    if (loop->sockets != NULL) {
        loop->sockets->previous = socket;
    }
    loop->sockets = socket;
    return socket;
}

/* Fails for sockets that are not TCP, which need none of it. */
static void set_options(int fd)
{
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

int stele_socket_connect(struct stele_linux_loop *loop, const struct sockaddr *address,
                         socklen_t address_size, const struct stele_socket_events *events,
                         void *context, struct stele_socket **out_socket, struct stele_error *err)
{
    char text[80];
    stele_socket_address_text(address, text, sizeof text);
    const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return stele_fail(err, STELE_E_IO, errno, "connect %s: cannot make a socket", text);
    }
    set_options(fd);
    if (connect(fd, address, address_size) != 0 && errno != EINPROGRESS) {
        const int os_errno = errno;
        (void)close(fd);
        return stele_fail(err, STELE_E_IO, os_errno, "connect %s: refused", text);
    }
    struct stele_socket *const socket = new_socket(loop, fd);
    if (socket == NULL) {
        (void)close(fd);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "connect %s: no memory", text);
    }
    socket->state = STELE_IO__CONNECTING;
    socket->events = events;
    socket->context = context;
    *out_socket = socket;
    return STELE_OK;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static void connected(struct stele_socket *socket)
{
    int os_errno = 0;
    socklen_t size = sizeof os_errno;
    if (getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &os_errno, &size) != 0) {
        os_errno = errno;
    }
    if (os_errno != 0) {
        lose(socket, os_errno);
        return;
    }
    socket->state = STELE_IO__OPEN;
    put_flush(socket);
    if (socket->events->on_connected != NULL) {
        socket->events->on_connected(socket->context);
    }
}

void stele_io__socket_event(struct stele_socket *socket, uint32_t events)
{
    if (socket->state == STELE_IO__DEAD) {
        return;
    }
    if (socket->state == STELE_IO__CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
        connected(socket);
        if (socket->state == STELE_IO__DEAD) {
            return;
        }
    }
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        socket->hung_up = true;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        socket->readable = true;
        if (!socket->paused) {
            put_ready(socket);
        }
    }
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0 && socket->blocked) {
        socket->blocked = false;
        put_flush(socket);
    }
}

static void end_of_peer(struct stele_socket *socket)
{
    socket->readable = false;
    if (socket->eof) {
        return;
    }
    socket->eof = true;
    if (socket->state == STELE_IO__OPEN) {
        socket->events->on_eof(socket->context);
    } else if (socket->state == STELE_IO__LINGER) {
        bury(socket);
    }
}

static void read_once(struct stele_socket *socket)
{
    struct stele_linux_loop *const loop = socket->loop;
    const ssize_t got = recv(socket->fd, loop->input, STELE_SOCKET_READ_SIZE, 0);
    if (got == 0) {
        end_of_peer(socket);
        return;
    }
    if (got < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            socket->readable = false;
        } else if (errno != EINTR) {
            lose(socket, errno);
        }
        return;
    }
    const size_t size = (size_t)got;
    /* Less than asked for: all of it was read, and what comes is a new edge (epoll(7)). Only the end
     * of the peer comes once, together with its last bytes. */
    socket->readable = size == STELE_SOCKET_READ_SIZE || socket->hung_up;
    if (socket->state == STELE_IO__OPEN) {
        socket->events->on_bytes(socket->context,
                                 (struct stele_bytes){.data = loop->input, .size = size});
    } else if (socket->state == STELE_IO__LINGER) {
        socket->dropped += size;
        if (socket->dropped > LINGER_SIZE_MAX) {
            bury(socket);
        }
    }
}

static bool may_read(const struct stele_socket *socket)
{
    return socket->state != STELE_IO__DEAD && socket->readable && !socket->paused;
}

/* Each socket once: who sends much does not keep the others from being heard. */
void stele_io__sockets_read(struct stele_linux_loop *loop)
{
    struct stele_socket *socket = loop->ready;
    loop->ready = NULL;
    loop->ready_last = &loop->ready;
    while (socket != NULL) {
        struct stele_socket *const next = socket->next_ready;
        socket->in_ready = false;
        if (may_read(socket)) {
            read_once(socket);
            if (may_read(socket)) {
                put_ready(socket);
            }
        }
        socket = next;
    }
}

void stele_socket_pause(struct stele_socket *socket)
{
    socket->paused = true;
}

void stele_socket_resume(struct stele_socket *socket)
{
    if (socket->paused) {
        socket->paused = false;
        if (socket->readable) {
            put_ready(socket);
        }
    }
}

/* ---- Writing --------------------------------------------------------------------------------- */

void stele_socket_want_flush(struct stele_socket *socket)
{
    if (socket->state == STELE_IO__OPEN && !socket->blocked) {
        put_flush(socket);
    }
}

size_t stele_socket_unsent(const struct stele_socket *socket)
{
    return socket->rest.size - socket->rest_at;
}

/* Returns how many of the bytes the kernel took; -1: the connection is lost. */
static ssize_t send_some(struct stele_socket *socket, const uint8_t *data, size_t size)
{
    for (;;) {
        const ssize_t sent = send(socket->fd, data, size, MSG_NOSIGNAL);
        if (sent >= 0) {
            return sent;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return 0;
        }
        if (errno != EINTR) {
            return -1;
        }
    }
}

/* What was left over the last time. true: all of it is gone. */
static bool send_rest(struct stele_socket *socket)
{
    const size_t left = socket->rest.size - socket->rest_at;
    if (left == 0) {
        return true;
    }
    const ssize_t sent = send_some(socket, socket->rest.data + socket->rest_at, left);
    if (sent < 0) {
        lose(socket, errno);
        return false;
    }
    socket->rest_at += (size_t)sent;
    socket->blocked = (size_t)sent < left;
    if (!socket->blocked) {
        stele_buf_deinit(&socket->rest, socket->loop->base.alloc);
        socket->rest_at = 0;
    }
    return !socket->blocked;
}

static void send_output(struct stele_socket *socket)
{
    struct stele_buf *const output = &socket->loop->output;
    if (output->size == 0) {
        return;
    }
    const ssize_t sent = send_some(socket, output->data, output->size);
    if (sent < 0) {
        lose(socket, errno);
        return;
    }
    const struct stele_bytes rest = {.data = output->data + sent,
                                     .size = output->size - (size_t)sent};
    if (rest.size > 0) {
        socket->blocked = true;
        if (stele_buf_append(&socket->rest, socket->loop->base.alloc, rest) != STELE_OK) {
            lose(socket, ENOMEM);
        }
    }
}

/* Everything is sent: say so to the peer, and listen for a while to what it still has to say. */
static void finish_closing(struct stele_socket *socket)
{
    struct stele_linux_loop *const loop = socket->loop;
    if (socket->eof || shutdown(socket->fd, SHUT_WR) != 0) {
        bury(socket);
        return;
    }
    socket->state = STELE_IO__LINGER;
    socket->paused = false;
    put_ready(socket);
    loop->base.ops->timer_start(&loop->base, &socket->timer, loop->now_us + LINGER_US);
}

static void flush_one(struct stele_socket *socket)
{
    struct stele_linux_loop *const loop = socket->loop;
    if (!send_rest(socket)) {
        return;
    }
    loop->output.size = 0;
    if (socket->state == STELE_IO__OPEN) {
        socket->events->on_flush(socket->context, &loop->output, STELE_SOCKET_WRITE_SIZE);
        if (socket->state == STELE_IO__DEAD) {
            return; /* Aborted. */
        }
        const bool more = loop->output.size >= STELE_SOCKET_WRITE_SIZE;
        send_output(socket);
        if (more && socket->state == STELE_IO__OPEN && !socket->blocked) {
            put_flush(socket);
        }
    }
    if (socket->state == STELE_IO__CLOSING && !socket->blocked) {
        finish_closing(socket);
    }
}

void stele_io__sockets_flush(struct stele_linux_loop *loop)
{
    struct stele_socket *socket = loop->flush;
    loop->flush = NULL;
    loop->flush_last = &loop->flush;
    while (socket != NULL) {
        struct stele_socket *const next = socket->next_flush;
        socket->in_flush = false;
        if (socket->state != STELE_IO__DEAD && socket->state != STELE_IO__LINGER &&
            socket->state != STELE_IO__CONNECTING && !socket->blocked) {
            flush_one(socket);
        }
        socket = next;
    }
}

void stele_socket_close(struct stele_socket *socket)
{
    struct stele_linux_loop *const loop = socket->loop;
    if (socket->state == STELE_IO__CONNECTING) {
        bury(socket);
        return;
    }
    STELE_ASSERT(socket->state == STELE_IO__OPEN);
    socket->state = STELE_IO__CLOSING;
    /* A peer that takes nothing does not keep the socket for ever. */
    loop->base.ops->timer_start(&loop->base, &socket->timer, loop->now_us + 5 * LINGER_US);
    if (!socket->blocked) {
        put_flush(socket);
    }
}

void stele_socket_abort(struct stele_socket *socket)
{
    bury(socket);
}

/* ---- Listening -------------------------------------------------------------------------------- */

void stele_socket_address_text(const struct sockaddr *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *const in = (const struct sockaddr_in *)(const void *)address;
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        (void)snprintf(text, size, "%s:%u", host, ntohs(in->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *const in = (const struct sockaddr_in6 *)(const void *)address;
        (void)inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        (void)snprintf(text, size, "[%s]:%u", host, ntohs(in->sin6_port));
    } else {
        (void)snprintf(text, size, "unix");
    }
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *const in = (const struct sockaddr_in *)(const void *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *const in = (const struct sockaddr_in6 *)(const void *)address;
        const uint8_t *const bytes = in->sin6_addr.s6_addr;
        return IN6_IS_ADDR_LOOPBACK(&in->sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr) && bytes[12] == 127);
    }
    return true;
}

static void accept_one(struct stele_listener *listener, int fd, const struct sockaddr *address)
{
    struct stele_linux_loop *const loop = listener->loop;
    struct stele_socket *const socket = new_socket(loop, fd);
    if (socket == NULL) {
        (void)close(fd);
        return;
    }
    char text[80];
    stele_socket_address_text(address, text, sizeof text);
    set_options(fd);
    socket->state = STELE_IO__OPEN;
    if (!listener->events->on_accept(listener->context, socket, text, is_loopback(address),
                                     &socket->events, &socket->context)) {
        bury(socket);
    }
}

static void on_retry(struct stele_timer *timer)
{
    stele_io__listener_event(
        (struct stele_listener *)(void *)((uint8_t *)timer -
                                          offsetof(struct stele_listener, retry)));
}

void stele_io__listener_event(struct stele_listener *listener)
{
    struct stele_linux_loop *const loop = listener->loop;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage storage = {.ss_family = AF_UNSPEC};
        struct sockaddr *const address = (struct sockaddr *)&storage;
        socklen_t size = sizeof storage;
        const int fd = accept4(listener->fd, address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            accept_one(listener, fd, address);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* Nothing tells when there is room again. */
            loop->base.ops->timer_start(&loop->base, &listener->retry,
                                        loop->now_us + ACCEPT_RETRY_US);
            return;
        }
    }
    /* There may be more, and no edge would say so. */
    loop->base.ops->timer_start(&loop->base, &listener->retry, loop->now_us);
}

static int listen_on(struct stele_listener *listener, const struct sockaddr *address,
                     socklen_t address_size)
{
    const int on = 1;
    const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    listener->fd = fd;
    if (fd < 0) {
        return errno;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->sa_family != AF_UNIX) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    }
    if (address->sa_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    if (bind(fd, address, address_size) != 0 || listen(fd, BACKLOG) != 0) {
        return errno;
    }
    struct sockaddr_storage bound = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &size) == 0) {
        listener->port = bound.ss_family == AF_INET
                             ? ntohs(((const struct sockaddr_in *)(const void *)&bound)->sin_port)
                         : bound.ss_family == AF_INET6
                             ? ntohs(((const struct sockaddr_in6 *)(const void *)&bound)->sin6_port)
                             : 0;
    }
    return stele_io__loop_watch(listener->loop, fd, listener, false) == STELE_OK ? 0 : errno;
}

static const char *advice(int os_errno)
{
    switch (os_errno) {
    case EADDRINUSE:
        return "another program listens there; stop it, or choose another port";
    case EACCES:
        return "that needs more rights; choose a port above 1023";
    case EADDRNOTAVAIL:
        return "this machine has no such address";
    default:
        return "the system refuses";
    }
}

static int fail_listen(const struct sockaddr *address, int os_errno, struct stele_error *err)
{
    char text[80];
    stele_socket_address_text(address, text, sizeof text);
    return stele_fail(err, os_errno == EACCES ? STELE_E_PERMISSION : STELE_E_IO, os_errno,
                      "listen on %s: %s", text, advice(os_errno));
}

int stele_listener_probe(const struct sockaddr *address, socklen_t address_size,
                         struct stele_error *err)
{
    const int on = 1;
    const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return fail_listen(address, errno, err);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->sa_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    const int os_errno = bind(fd, address, address_size) == 0 ? 0 : errno;
    (void)close(fd);
    return os_errno == 0 ? STELE_OK : fail_listen(address, os_errno, err);
}

int stele_listener_open(struct stele_linux_loop *loop, const struct sockaddr *address,
                        socklen_t address_size, const struct stele_listener_events *events,
                        void *context, struct stele_listener **out_listener,
                        struct stele_error *err)
{
    struct stele_listener *const listener =
        stele_allocate_zeroed(loop->base.alloc, sizeof *listener);
    if (listener == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "listen: no memory");
    }
    listener->watched = STELE_IO__LISTENER;
    listener->loop = loop;
    listener->events = events;
    listener->context = context;
    listener->retry.on_due = on_retry;
    const int os_errno = listen_on(listener, address, address_size);
    if (os_errno != 0) {
        stele_listener_close(listener);
        return fail_listen(address, os_errno, err);
    }
    *out_listener = listener;
    return STELE_OK;
}

uint16_t stele_listener_port(const struct stele_listener *listener)
{
    return listener->port;
}

void stele_listener_close(struct stele_listener *listener)
{
    struct stele_linux_loop *const loop = listener->loop;
    loop->base.ops->timer_stop(&loop->base, &listener->retry);
    if (listener->fd >= 0) {
        (void)close(listener->fd);
    }
    stele_release(loop->base.alloc, listener, sizeof *listener);
}
