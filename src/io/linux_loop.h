/* The loop of a process (io/loop.h) on epoll, with sockets.
 *
 * One turn of the loop:
 *
 *     wait ─▶ timers ─▶ bytes of sockets ─▶ posted tasks ─▶ output of sockets
 *
 * Output comes last and is collected: whoever has something to send says so with
 * stele_socket_want_flush(), and is asked once, at the end of the turn, for everything that came up in
 * it. So all answers of a turn leave in one write per connection. Bytes are read into one buffer of
 * the loop and collected in another; a socket owns a buffer only while the kernel does not take what
 * it was given, and is asked for nothing more until it has.
 *
 * A socket whose output the kernel does not take is still read from: two ends that both wait with
 * reading until they have written would wait for each other. What must not grow meanwhile is for
 * the owner to bound, with stele_socket_pause() as the last resort.
 *
 * Sockets are edge-triggered: no system call but reading and writing itself while a connection
 * lives. A loop that is awake is not woken: posting is then one exchange on a list.
 *
 * Clients use the same: stele_socket_connect(), on_connected, then as above. Name resolution waits,
 * so it is the caller's, on a thread that may wait. */
#ifndef STELE_IO_LINUX_LOOP_H
#define STELE_IO_LINUX_LOOP_H

#include "base/status.h"
#include "io/loop.h"

#include <sys/socket.h>

struct stele_linux_loop;
struct stele_socket;
struct stele_listener;

/* One read, and about one write. */
#define STELE_SOCKET_READ_SIZE ((size_t)64 * 1024)
#define STELE_SOCKET_WRITE_SIZE ((size_t)256 * 1024)

/* alloc: of the loop and what lives on it; safe from any thread. */
STELE_MUST_USE
int stele_linux_loop_create(struct stele_alloc *alloc, struct stele_linux_loop **out_loop,
                            struct stele_error *err);
/* All sockets and listeners must be closed. NULL is fine. */
void stele_linux_loop_destroy(struct stele_linux_loop *loop);
struct stele_loop *stele_linux_loop_base(struct stele_linux_loop *loop);
/* Until stop(). What was posted before stop() is run. */
void stele_linux_loop_run(struct stele_linux_loop *loop);
/* Any thread. */
void stele_linux_loop_stop(struct stele_linux_loop *loop);
/* Any thread, for measuring: turns of the loop, and how often it slept. */
uint64_t stele_linux_loop_turns(const struct stele_linux_loop *loop);

/* ---- Sockets: on the loop's thread ---------------------------------------------------------- */

struct stele_socket_events {
    /* Of stele_socket_connect(). May be NULL for accepted ones. */
    void (*on_connected)(void *context);
    /* Borrowed. The socket may be closed from here. */
    void (*on_bytes)(void *context, struct stele_bytes bytes);
    /* The peer sends no more. */
    void (*on_eof)(void *context);
    /* Append to out what is to be sent, up to about max bytes. Asked again, in the next turn, if that
     * much came. The socket may be closed from here: what was appended is sent before. */
    void (*on_flush)(void *context, struct stele_buf *out, size_t max);
    /* The connection is lost and the socket gone; os_errno says why. The last event. */
    void (*on_lost)(void *context, int os_errno);
};

/* The connection is made later: on_connected, or on_lost. */
STELE_MUST_USE
int stele_socket_connect(struct stele_linux_loop *loop, const struct sockaddr *address,
                         socklen_t address_size, const struct stele_socket_events *events,
                         void *context, struct stele_socket **out_socket, struct stele_error *err);
/* Also before it is connected, and several times in a turn. */
void stele_socket_want_flush(struct stele_socket *socket);
/* The peer is not read from until resumed. That it is gone is noticed then, or when writing. */
void stele_socket_pause(struct stele_socket *socket);
void stele_socket_resume(struct stele_socket *socket);
/* Bytes that the kernel has not taken yet. */
size_t stele_socket_unsent(const struct stele_socket *socket);
/* No event comes any more. What was to be sent is sent, then the end; what the peer still sends is
 * read and dropped for a second, because a reset would destroy what it has not read yet. */
void stele_socket_close(struct stele_socket *socket);
/* The same, at once. */
void stele_socket_abort(struct stele_socket *socket);

/* ---- Listening ------------------------------------------------------------------------------ */

struct stele_listener_events {
    /* Sets *out_events and *out_context for the new connection; false: it is closed again. address
     * is text, "[::1]:2113" or "127.0.0.1:2113" or "unix". */
    bool (*on_accept)(void *context, struct stele_socket *socket, const char *address,
                      bool is_loopback, const struct stele_socket_events **out_events,
                      void **out_context);
};

/* Several loops may listen on the same address (SO_REUSEPORT): the kernel deals the connections out.
 * STELE_OK, STELE_E_IO (in use …), STELE_E_PERMISSION. */
STELE_MUST_USE
int stele_listener_open(struct stele_linux_loop *loop, const struct sockaddr *address,
                        socklen_t address_size, const struct stele_listener_events *events,
                        void *context, struct stele_listener **out_listener,
                        struct stele_error *err);
/* STELE_OK if nobody listens there. Sharing an address with oneself means sharing it with every other
 * process of the same user, which would get a part of the connections. */
STELE_MUST_USE
int stele_listener_probe(const struct sockaddr *address, socklen_t address_size,
                         struct stele_error *err);
/* The port that was bound, when 0 was asked for. */
uint16_t stele_listener_port(const struct stele_listener *listener);
void stele_listener_close(struct stele_listener *listener);

/* "[::1]:2113", "127.0.0.1:2113", "unix". */
void stele_socket_address_text(const struct sockaddr *address, char *text, size_t size);

#endif
