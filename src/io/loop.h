/* An event loop: where the server's connections live. One thread runs it; everything that belongs
 * to a connection happens on that thread, so connections need no locks.
 *
 * The table of functions is the seam: a process gets the Linux loop (io/linux_loop.h: epoll, timers,
 * sockets), the simulator one with seeded time whose sockets are queues. Code above sees only this.
 *
 * Everything here is called on the loop's thread, except post(). */
#ifndef STELE_IO_LOOP_H
#define STELE_IO_LOOP_H

#include "base/alloc.h"
#include "base/bytes.h"

struct stele_loop;

/* Something to be done on a loop's thread. Embedded in what it is about; must stay alive and must
 * not be posted again until run() was called. run() may post it again or free it. */
struct stele_task {
    struct stele_task *next; /* The loop's. */
    void (*run)(struct stele_task *task);
};

/* Zero-initialise, set on_due. Embedded in what it is about; stop it before that goes. */
struct stele_timer {
    void (*on_due)(struct stele_timer *timer); /* Once for each start. */
    int64_t due_us;                            /* The loop's. */
    size_t place;                              /* The loop's: 0 is "not started". */
};

struct stele_loop_ops {
    /* Any thread. Runs the task on the loop's thread, soon, in the order of posting. */
    void (*post)(struct stele_loop *loop, struct stele_task *task);
    /* At the earliest at due_us of now_us(). Starting a started timer moves it. */
    void (*timer_start)(struct stele_loop *loop, struct stele_timer *timer, int64_t due_us);
    void (*timer_stop)(struct stele_loop *loop,
                       struct stele_timer *timer); /* Also if not started. */
    /* Microseconds of a clock that never goes back. The same value during one turn of the loop. */
    int64_t (*now_us)(struct stele_loop *loop);
    /* Wall clock, microseconds since 1970. */
    int64_t (*wall_us)(struct stele_loop *loop);
    void (*random)(struct stele_loop *loop, void *buffer, size_t size);
};

struct stele_loop {
    const struct stele_loop_ops *ops;
    struct stele_alloc *alloc;
};

static inline void stele_loop_post(struct stele_loop *loop, struct stele_task *task)
{
    loop->ops->post(loop, task);
}

static inline int64_t stele_loop_now_us(struct stele_loop *loop)
{
    return loop->ops->now_us(loop);
}

#endif
