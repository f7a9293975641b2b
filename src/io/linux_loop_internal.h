/* Shared by linux_loop.c and linux_socket.c. Nobody else includes it. */
#ifndef STELE_IO_LINUX_LOOP_INTERNAL_H
#define STELE_IO_LINUX_LOOP_INTERNAL_H

#include "io/linux_loop.h"

#include <stdatomic.h>

/* What epoll gives back; the first member of what it is about. */
enum stele_io__watched { STELE_IO__WAKE, STELE_IO__SOCKET, STELE_IO__LISTENER };

enum stele_io__socket_state {
    STELE_IO__CONNECTING,
    STELE_IO__OPEN,
    STELE_IO__CLOSING, /* The owner is gone; what is left is sent. */
    STELE_IO__LINGER,  /* The end was sent; what comes is dropped. */
    STELE_IO__DEAD,    /* Released at the end of the turn. */
};

struct stele_socket {
    enum stele_io__watched watched;
    enum stele_io__socket_state state;
    struct stele_linux_loop *loop;
    const struct stele_socket_events *events;
    void *context;
    struct stele_socket *next, *previous; /* All of the loop. */
    struct stele_socket *next_ready, *next_flush, *next_dead;
    struct stele_buf rest; /* What the kernel has not taken, from rest_at on. */
    size_t rest_at;
    size_t dropped; /* Bytes, while lingering. */
    struct stele_timer timer;
    int fd;
    bool readable; /* There may be bytes. */
    bool hung_up;  /* Read until the end comes. */
    bool paused;
    bool eof;
    bool in_ready;
    bool in_flush;
    bool blocked; /* The kernel took less than it was given. */
};

struct stele_listener {
    enum stele_io__watched watched;
    struct stele_linux_loop *loop;
    const struct stele_listener_events *events;
    void *context;
    struct stele_timer retry;
    int fd;
    uint16_t port;
};

struct stele_linux_loop {
    struct stele_loop base; /* First: the seam's functions get this. */
    enum stele_io__watched wake;
    int epoll_fd;
    int wake_fd;
    int64_t now_us;
    int64_t pause_us;                       /* How long nothing was to be done, on the average. */
    _Atomic(struct stele_task *) posted;    /* Newest first. */
    struct stele_task *tasks, **tasks_last; /* Taken from there, oldest first; not run yet. */
    atomic_bool asleep;
    atomic_bool stopping;
    _Atomic uint64_t turns;
    struct stele_timer **timers; /* A heap: the one due first is at 0. */
    size_t timers_count;
    size_t timers_capacity;
    struct stele_socket *ready; /* To be read from. */
    struct stele_socket **ready_last;
    struct stele_socket *flush; /* To be asked for output. */
    struct stele_socket **flush_last;
    struct stele_socket *dead;
    struct stele_socket *sockets;
    uint8_t *input; /* STELE_SOCKET_READ_SIZE. */
    struct stele_buf output;
};

STELE_MUST_USE
int stele_io__loop_watch(struct stele_linux_loop *loop, int fd, void *watched, bool output);
void stele_io__socket_event(struct stele_socket *socket, uint32_t events);
void stele_io__listener_event(struct stele_listener *listener);
void stele_io__sockets_read(struct stele_linux_loop *loop);
void stele_io__sockets_flush(struct stele_linux_loop *loop);
void stele_io__sockets_release(struct stele_linux_loop *loop);
/* Those that their owners have closed. There must be no others. */
void stele_io__sockets_cut(struct stele_linux_loop *loop);

#endif
