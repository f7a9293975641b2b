/* The thread of a remote store: a loop with one socket, over TLS if the address says so. */
#include "client/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE ((size_t)64 * 1024)
#define WRITE_SIZE ((size_t)256 * 1024)
#define TIMERS_MAX 16
#define READS_A_TURN 8
#define CONNECT_MS 5000

struct far_loop {
    struct stele_loop base;
    const struct far_address *address;
    const struct far_wire_events *events;
    void *context;
    pthread_t thread;
    int wake_fd;
    pthread_mutex_t lock;
    struct stele_task *first, **last; /* Under the lock, like the next two. */
    bool stopping;
    bool asleep;

    /* The thread's own. */
    struct stele_timer *timers[TIMERS_MAX];
    size_t timers_count;
    int64_t now_us;
    int fd; /* -1: none. */
    bool connecting;
    bool handshaking;
    bool wants_write; /* TLS: the last try wanted to. */
    int64_t connect_due_us;
    SSL_CTX *tls;
    SSL *ssl;
    struct stele_buf out;
    size_t out_at;
    bool output;
    uint8_t *buffer;
};

static struct far_loop *loop_of(struct stele_loop *base)
{
    return (struct far_loop *)base;
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- The seam's functions ---- */

static void wake(const struct far_loop *loop)
{
    const uint64_t one = 1;
    const ssize_t written = write(loop->wake_fd, &one, sizeof one);
    (void)written; /* A full counter wakes as well. */
}

static void post(struct stele_loop *base, struct stele_task *task)
{
    struct far_loop *loop = loop_of(base);
    task->next = NULL;
    (void)pthread_mutex_lock(&loop->lock);
    *loop->last = task;
    loop->last = &task->next;
    const bool asleep = loop->asleep;
    loop->asleep = false;
    (void)pthread_mutex_unlock(&loop->lock);
    if (asleep) {
        wake(loop);
    }
}

static void timer_stop(struct stele_loop *base, struct stele_timer *timer)
{
    struct far_loop *loop = loop_of(base);
    if (timer->place == 0) {
        return;
    }
    const size_t at = timer->place - 1;
    loop->timers[at] = loop->timers[--loop->timers_count];
    loop->timers[at]->place = at + 1;
    timer->place = 0;
}

static void timer_start(struct stele_loop *base, struct stele_timer *timer, int64_t due_us)
{
    struct far_loop *loop = loop_of(base);
    timer->due_us = due_us;
    if (timer->place == 0) {
        STELE_ASSERT(loop->timers_count < TIMERS_MAX);
        loop->timers[loop->timers_count++] = timer;
        timer->place = loop->timers_count;
    }
}

static int64_t now_us(struct stele_loop *base)
{
    return loop_of(base)->now_us;
}

static int64_t wall_us(struct stele_loop *base)
{
    (void)base;
    return read_clock(CLOCK_REALTIME);
}

static void random_bytes(struct stele_loop *base, void *buffer, size_t size)
{
    (void)base;
    uint8_t *to = buffer;
    while (size > 0) {
        const ssize_t got = getrandom(to, size, 0);
        if (got > 0) {
            to += got;
            size -= (size_t)got;
        }
    }
}

static const struct stele_loop_ops loop_ops = {
    .post = post,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .now_us = now_us,
    .wall_us = wall_us,
    .random = random_bytes,
};

/* ---- The socket ---- */

void stele_remote_loop_disconnect(struct far_loop *loop)
{
    if (loop->ssl != NULL) {
        SSL_free(loop->ssl);
        loop->ssl = NULL;
    }
    if (loop->fd >= 0) {
        (void)close(loop->fd);
        loop->fd = -1;
    }
    loop->connecting = false;
    loop->handshaking = false;
    loop->out.size = 0;
    loop->out_at = 0;
    loop->output = false;
}

static void lose(struct far_loop *loop, int os_errno, const char *why)
{
    char text[160];
    const unsigned long code = ERR_get_error();
    if (loop->ssl != NULL && code != 0) {
        const long verified = SSL_get_verify_result(loop->ssl);
        (void)snprintf(text, sizeof text, "%s: %s", why,
                       verified != X509_V_OK ? X509_verify_cert_error_string(verified)
                                             : ERR_reason_error_string(code));
        why = text;
    }
    ERR_clear_error();
    stele_remote_loop_disconnect(loop);
    loop->events->on_closed(loop->context, os_errno, why);
}

/* The context for all connections; NULL and err set if the files of the address are of no use. */
static SSL_CTX *make_tls(const struct far_address *address, struct stele_error *err)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (tls == NULL) {
        (void)stele_fail(err, STELE_E_NO_MEMORY, 0, "TLS: no memory");
        return NULL;
    }
    (void)SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    (void)SSL_CTX_set_alpn_protos(tls, (const unsigned char *)"\2h2", 3);
    (void)SSL_CTX_set_mode(tls,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(tls, address->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    const char *bad = NULL;
    if (address->ca_file[0] != '\0') {
        bad = SSL_CTX_load_verify_locations(tls, address->ca_file, NULL) == 1 ? NULL
                                                                              : address->ca_file;
    } else {
        (void)SSL_CTX_set_default_verify_paths(tls);
    }
    if (bad == NULL && address->cert_file[0] != '\0' &&
        SSL_CTX_use_certificate_chain_file(tls, address->cert_file) != 1) {
        bad = address->cert_file;
    }
    if (bad == NULL && address->key_file[0] != '\0' &&
        SSL_CTX_use_PrivateKey_file(tls, address->key_file, SSL_FILETYPE_PEM) != 1) {
        bad = address->key_file;
    }
    if (bad != NULL) {
        (void)stele_fail(err, STELE_E_INVALID, 0, "TLS: %s cannot be used: %s", bad,
                         ERR_reason_error_string(ERR_get_error()));
        ERR_clear_error();
        SSL_CTX_free(tls);
        return NULL;
    }
    return tls;
}

static bool begin_tls(struct far_loop *loop, const char *host)
{
    loop->ssl = SSL_new(loop->tls);
    if (loop->ssl == NULL || SSL_set_fd(loop->ssl, loop->fd) != 1) {
        return false;
    }
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(loop->ssl), host) == 1) {
        return true; /* An address has no SNI (RFC 6066 section 3). */
    }
    char name[TLSEXT_MAXLEN_host_name + 1]; /* OpenSSL's macro takes no constant. */
    (void)snprintf(name, sizeof name, "%s", host);
    return SSL_set_tlsext_host_name(loop->ssl, name) == 1 && SSL_set1_host(loop->ssl, host) == 1;
}

static int try_connect(const struct addrinfo *candidates, int *out_errno)
{
    for (const struct addrinfo *info = candidates; info != NULL; info = info->ai_next) {
        const int fd =
            socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, info->ai_protocol);
        if (fd < 0) {
            *out_errno = errno;
            continue;
        }
        const int yes = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        int failed = connect(fd, info->ai_addr, info->ai_addrlen) == 0 ? 0 : errno;
        if (failed == EINPROGRESS && info->ai_next != NULL) {
            /* Another address is left to be tried, so this one is given a little time here. */
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            socklen_t size = sizeof failed;
            failed = poll(&ready, 1, 1000) == 1 &&
                             getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) == 0
                         ? failed
                         : ETIMEDOUT;
        }
        if (failed == 0 || failed == EINPROGRESS) {
            return fd;
        }
        *out_errno = failed;
        (void)close(fd);
    }
    return -1;
}

void stele_remote_loop_connect(struct far_loop *loop, uint32_t index)
{
    const struct far_text *host = &loop->address->hosts[index];
    char port[8];
    (void)snprintf(port, sizeof port, "%u", host->port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *candidates = NULL;
    const int failed = getaddrinfo(host->host, port, &hints, &candidates);
    if (failed != 0) {
        lose(loop, failed == EAI_SYSTEM ? errno : 0, gai_strerror(failed));
        return;
    }
    int os_errno = 0;
    loop->fd = try_connect(candidates, &os_errno);
    freeaddrinfo(candidates);
    if (loop->fd < 0) {
        lose(loop, os_errno, "cannot connect");
        return;
    }
    if (loop->address->tls && !begin_tls(loop, host->host)) {
        lose(loop, 0, "TLS: no memory");
        return;
    }
    loop->connecting = true;
    loop->connect_due_us = loop->now_us + (int64_t)CONNECT_MS * 1000;
}

void stele_remote_loop_output(struct far_loop *loop)
{
    loop->output = true;
}

/* What a call of OpenSSL that did not succeed means: 0: try later; -1: the connection is lost. */
static int explain_tls(struct far_loop *loop, int result)
{
    switch (SSL_get_error(loop->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_WANT_WRITE:
        loop->wants_write = true;
        return 0;
    default:
        return -1;
    }
}

static ssize_t receive(struct far_loop *loop)
{
    if (loop->ssl != NULL) {
        const int got = SSL_read(loop->ssl, loop->buffer, (int)READ_SIZE);
        if (got > 0) {
            return got;
        }
        return explain_tls(loop, got) == 0 ? -1 : 0;
    }
    const ssize_t got = recv(loop->fd, loop->buffer, READ_SIZE, 0);
    return got < 0 && errno != EAGAIN && errno != EINTR ? 0 : got;
}

static void read_on(struct far_loop *loop)
{
    for (int i = 0; i < READS_A_TURN && loop->fd >= 0; i++) {
        const ssize_t got = receive(loop);
        if (got < 0) {
            return;
        }
        if (got == 0) {
            lose(loop, errno, "the server closed the connection");
            return;
        }
        loop->events->on_bytes(loop->context,
                               (struct stele_bytes){.data = loop->buffer, .size = (size_t)got});
    }
}

static ssize_t transmit(struct far_loop *loop, const uint8_t *data, size_t size)
{
    if (loop->ssl != NULL) {
        const int written = SSL_write(loop->ssl, data, (int)size);
        if (written > 0) {
            return written;
        }
        return explain_tls(loop, written) == 0 ? 0 : -1;
    }
    const ssize_t written = send(loop->fd, data, size, MSG_NOSIGNAL);
    return written < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : written;
}

static void write_on(struct far_loop *loop)
{
    while (loop->fd >= 0) {
        if (loop->out_at == loop->out.size) {
            loop->out.size = 0;
            loop->out_at = 0;
            if (!loop->output) {
                return;
            }
            if (!loop->events->take(loop->context, &loop->out, WRITE_SIZE)) {
                loop->output = false;
                return;
            }
        }
        const ssize_t written =
            transmit(loop, loop->out.data + loop->out_at, loop->out.size - loop->out_at);
        if (written < 0) {
            lose(loop, errno, "the connection broke");
            return;
        }
        if (written == 0) {
            return;
        }
        loop->out_at += (size_t)written;
    }
}

static void shake_hands(struct far_loop *loop)
{
    const int result = SSL_connect(loop->ssl);
    if (result == 1) {
        const unsigned char *protocol = NULL;
        unsigned size = 0;
        SSL_get0_alpn_selected(loop->ssl, &protocol, &size);
        if (size != 2 || memcmp(protocol, "h2", 2) != 0) {
            lose(loop, 0, "the server does not offer HTTP/2 (ALPN h2)");
            return;
        }
        loop->handshaking = false;
        loop->events->on_connected(loop->context);
        return;
    }
    if (explain_tls(loop, result) != 0) {
        lose(loop, 0, "TLS");
    }
}

static void finish_connecting(struct far_loop *loop)
{
    int failed = 0;
    socklen_t size = sizeof failed;
    if (getsockopt(loop->fd, SOL_SOCKET, SO_ERROR, &failed, &size) != 0) {
        failed = errno;
    }
    if (failed != 0) {
        lose(loop, failed, "cannot connect");
        return;
    }
    loop->connecting = false;
    if (loop->ssl == NULL) {
        loop->events->on_connected(loop->context);
        return;
    }
    loop->handshaking = true;
    shake_hands(loop);
}

/* ---- The thread ---- */

static void run_tasks(struct far_loop *loop)
{
    (void)pthread_mutex_lock(&loop->lock);
    struct stele_task *task = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    (void)pthread_mutex_unlock(&loop->lock);
    while (task != NULL) {
        struct stele_task *next = task->next;
        task->run(task);
        task = next;
    }
}

static void run_timers(struct far_loop *loop)
{
    for (size_t i = 0; i < loop->timers_count;) {
        struct stele_timer *timer = loop->timers[i];
        if (timer->due_us > loop->now_us) {
            i++;
            continue;
        }
        timer_stop(&loop->base, timer);
        timer->on_due(timer);
        i = 0; /* It may have changed the others. */
    }
    if ((loop->connecting || loop->handshaking) && loop->now_us >= loop->connect_due_us) {
        lose(loop, ETIMEDOUT, "connecting took too long");
    }
}

/* Milliseconds until something is due; -1: nothing. */
static int time_left(const struct far_loop *loop)
{
    int64_t due_us = INT64_MAX;
    for (size_t i = 0; i < loop->timers_count; i++) {
        due_us = loop->timers[i]->due_us < due_us ? loop->timers[i]->due_us : due_us;
    }
    if ((loop->connecting || loop->handshaking) && loop->connect_due_us < due_us) {
        due_us = loop->connect_due_us;
    }
    if (due_us == INT64_MAX) {
        return -1;
    }
    const int64_t left = due_us - read_clock(CLOCK_MONOTONIC);
    return left <= 0 ? 0 : (int)((left + 999) / 1000 > 60000 ? 60000 : (left + 999) / 1000);
}

/* May the thread sleep? Marks it as asleep if so. false: there are tasks. */
static bool fall_asleep(struct far_loop *loop, bool *stopping)
{
    (void)pthread_mutex_lock(&loop->lock);
    *stopping = loop->stopping && loop->first == NULL;
    const bool idle = loop->first == NULL;
    loop->asleep = idle;
    (void)pthread_mutex_unlock(&loop->lock);
    return idle;
}

static void on_ready(struct far_loop *loop, short events)
{
    if (loop->fd < 0) {
        return;
    }
    if (loop->connecting) {
        if ((events & (POLLOUT | POLLERR | POLLHUP)) != 0) {
            finish_connecting(loop);
        }
    } else if (loop->handshaking) {
        shake_hands(loop);
    } else if ((events & (POLLIN | POLLERR | POLLHUP)) != 0) {
        read_on(loop);
    }
}

static void *run(void *context)
{
    struct far_loop *loop = context;
    for (bool stopping = false; !stopping;) {
        const bool idle = fall_asleep(loop, &stopping);
        const bool writing = loop->fd >= 0 && (loop->connecting || loop->wants_write ||
                                               loop->out_at < loop->out.size);
        struct pollfd fds[2] = {
            {.fd = loop->wake_fd, .events = POLLIN},
            {.fd = loop->fd, .events = (short)(POLLIN | (writing ? POLLOUT : 0))},
        };
        const bool pending = loop->ssl != NULL && !loop->connecting && SSL_pending(loop->ssl) > 0;
        (void)poll(fds, loop->fd >= 0 ? 2 : 1, idle && !stopping && !pending ? time_left(loop) : 0);
        (void)pthread_mutex_lock(&loop->lock);
        loop->asleep = false;
        (void)pthread_mutex_unlock(&loop->lock);
        loop->now_us = read_clock(CLOCK_MONOTONIC);
        loop->wants_write = false;
        if ((fds[0].revents & POLLIN) != 0) {
            uint64_t count;
            const ssize_t got = read(loop->wake_fd, &count, sizeof count);
            (void)got;
        }
        on_ready(loop, (short)(loop->fd == fds[1].fd && loop->fd >= 0
                                   ? fds[1].revents | (pending ? POLLIN : 0)
                                   : 0));
        run_tasks(loop);
        run_timers(loop);
        if (loop->fd >= 0 && !loop->connecting && !loop->handshaking) {
            write_on(loop);
        }
    }
    stele_remote_loop_disconnect(loop);
    return NULL;
}

struct stele_loop *stele_remote_loop_base(struct far_loop *loop)
{
    return &loop->base;
}

static void release_loop(struct far_loop *loop)
{
    struct stele_alloc *alloc = loop->base.alloc;
    if (loop->wake_fd >= 0) {
        (void)close(loop->wake_fd);
    }
    SSL_CTX_free(loop->tls);
    stele_buf_deinit(&loop->out, alloc);
    stele_release(alloc, loop->buffer, READ_SIZE);
    (void)pthread_mutex_destroy(&loop->lock);
    stele_release(alloc, loop, sizeof *loop);
}

int stele_remote_loop_create(struct stele_alloc *alloc, const struct far_address *address,
                             const struct far_wire_events *events, void *context,
                             struct far_loop **out_loop, struct stele_error *err)
{
    struct far_loop *loop = stele_allocate_zeroed(alloc, sizeof *loop);
    if (loop == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "open: no memory");
    }
    loop->base = (struct stele_loop){.ops = &loop_ops, .alloc = alloc};
    loop->address = address;
    loop->events = events;
    loop->context = context;
    loop->last = &loop->first;
    loop->fd = -1;
    loop->now_us = read_clock(CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&loop->lock, NULL);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->buffer = stele_allocate(alloc, READ_SIZE);
    int outcome = STELE_OK;
    if (loop->wake_fd < 0 || loop->buffer == NULL) {
        outcome = stele_fail(err, STELE_E_NO_MEMORY, errno, "open: no memory or no file");
    }
    if (outcome == STELE_OK && address->tls) {
        loop->tls = make_tls(address, err);
        outcome = loop->tls == NULL ? STELE_E_INVALID : STELE_OK;
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
    (void)pthread_mutex_lock(&loop->lock);
    loop->stopping = true;
    (void)pthread_mutex_unlock(&loop->lock);
    wake(loop);
    (void)pthread_join(loop->thread, NULL);
    release_loop(loop);
}
