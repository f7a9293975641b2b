#include "io/linux_loop.h"

#include "io/linux_loop_internal.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 256
/* A turn gives so much time to posted tasks, and one task more. */
#define TASKS_US 500
#define TIMERS_FIRST 256
/* See spin(). */
#define SPIN_US INT64_C(60)
/* An output buffer larger than this was needed once; it is given back. */
#define OUTPUT_KEPT_MAX ((size_t)1 << 20)

static struct stele_linux_loop *self(struct stele_loop *base)
{
    return (struct stele_linux_loop *)(void *)base;
}

/* ---- Tasks ----------------------------------------------------------------------------------- */

static void wake(struct stele_linux_loop *loop)
{
    /* Whoever turns the flag over wakes; the others see a loop that is about to be awake. */
    if (atomic_load_explicit(&loop->asleep, memory_order_seq_cst) &&
        atomic_exchange_explicit(&loop->asleep, false, memory_order_seq_cst)) {
        const uint64_t one = 1;
        const ssize_t written = write(loop->wake_fd, &one, sizeof one);
        (void)written; /* Only a full counter is refused, and that wakes as well. */
    }
}

static void post(struct stele_loop *base, struct stele_task *task)
{
    struct stele_linux_loop *const loop = self(base);
    struct stele_task *first = atomic_load_explicit(&loop->posted, memory_order_relaxed);
    do {
        task->next = first;
    } while (!atomic_compare_exchange_weak_explicit(&loop->posted, &first, task,
                                                    memory_order_seq_cst, memory_order_relaxed));
    wake(loop);
}

static int64_t clock_us(clockid_t clock)
{
    struct timespec now = {.tv_sec = 0};
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Those that are there now, in the order of posting. What they post waits for the next turn, so that
 * sockets get their turn as well; so do those that are left after TASKS_US, because a thousand reads
 * that go on later are posted as quickly as one. */
static void run_tasks(struct stele_linux_loop *loop, bool all)
{
    struct stele_task *newest = atomic_exchange_explicit(&loop->posted, NULL, memory_order_acquire);
    struct stele_task *oldest = NULL;
    struct stele_task *const last = newest;
    while (newest != NULL) {
        struct stele_task *const next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    if (oldest != NULL) {
        *loop->tasks_last = oldest;
        loop->tasks_last = &last->next;
    }
    if (loop->tasks == NULL) {
        return; /* Most turns. */
    }
    const int64_t until_us = clock_us(CLOCK_MONOTONIC) + TASKS_US;
    while (loop->tasks != NULL && (all || clock_us(CLOCK_MONOTONIC) < until_us)) {
        struct stele_task *const task = loop->tasks;
        loop->tasks = task->next; /* Before it runs: it may post itself, or be freed. */
        if (loop->tasks == NULL) {
            loop->tasks_last = &loop->tasks;
        }
        task->run(task);
    }
}

/* ---- Timers: a binary heap; place is the index plus one --------------------------------------- */

static void put_timer(struct stele_linux_loop *loop, size_t index, struct stele_timer *timer)
{
    loop->timers[index] = timer;
    timer->place = index + 1;
}

static void sift_up(struct stele_linux_loop *loop, size_t index, struct stele_timer *timer)
{
    while (index > 0 && timer->due_us < loop->timers[(index - 1) / 2]->due_us) {
        put_timer(loop, index, loop->timers[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    put_timer(loop, index, timer);
}

static void sift_down(struct stele_linux_loop *loop, size_t index, struct stele_timer *timer)
{
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= loop->timers_count) {
            break;
        }
        if (child + 1 < loop->timers_count &&
            loop->timers[child + 1]->due_us < loop->timers[child]->due_us) {
            child++;
        }
        if (timer->due_us <= loop->timers[child]->due_us) {
            break;
        }
        put_timer(loop, index, loop->timers[child]);
        index = child;
    }
    put_timer(loop, index, timer);
}

static void timer_stop(struct stele_loop *base, struct stele_timer *timer)
{
    struct stele_linux_loop *const loop = self(base);
    if (timer->place == 0) {
        return;
    }
    const size_t index = timer->place - 1;
    STELE_ASSERT(index < loop->timers_count);
    STELE_ASSERT(loop->timers[index] == timer);
    timer->place = 0;
    struct stele_timer *const last = loop->timers[--loop->timers_count];
    if (last == timer) {
        return;
    }
    if (index > 0 && last->due_us < loop->timers[(index - 1) / 2]->due_us) {
        sift_up(loop, index, last);
    } else {
        sift_down(loop, index, last);
    }
}

static void timer_start(struct stele_loop *base, struct stele_timer *timer, int64_t due_us)
{
    struct stele_linux_loop *const loop = self(base);
    STELE_ASSERT(timer->on_due != NULL);
    timer_stop(base, timer);
    timer->due_us = due_us;
    if (loop->timers_count == loop->timers_capacity) {
        const size_t old = loop->timers_capacity * sizeof(struct stele_timer *);
        void *const grown =
            base->alloc->reallocate(base->alloc, (void *)loop->timers, old, old * 2);
        /* A server that cannot keep its deadlines is worse than one that is restarted. */
        STELE_ASSERT(grown != NULL);
        loop->timers = grown;
        loop->timers_capacity *= 2;
    }
    sift_up(loop, loop->timers_count++, timer);
}

static void run_timers(struct stele_linux_loop *loop)
{
    /* As many as there are now: one that starts itself for now waits for the next turn. */
    for (size_t left = loop->timers_count; left > 0 && loop->timers_count > 0; left--) {
        struct stele_timer *const timer = loop->timers[0];
        if (timer->due_us > loop->now_us) {
            break;
        }
        timer_stop(&loop->base, timer);
        timer->on_due(timer);
    }
}

/* ---- Time and chance -------------------------------------------------------------------------- */

static int64_t now_us(struct stele_loop *base)
{
    return self(base)->now_us;
}

static int64_t wall_us(struct stele_loop *base)
{
    (void)base;
    return clock_us(CLOCK_REALTIME);
}

static void random_bytes(struct stele_loop *base, void *buffer, size_t size)
{
    (void)base;
    uint8_t *at = buffer;
    while (size > 0) {
        const ssize_t got = getrandom(at, size, 0);
        STELE_ASSERT(got > 0 || errno == EINTR);
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        }
    }
}

/* ---- The loop --------------------------------------------------------------------------------- */

static const struct stele_loop_ops ops = {
    .post = post,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .now_us = now_us,
    .wall_us = wall_us,
    .random = random_bytes,
};

int stele_io__loop_watch(struct stele_linux_loop *loop, int fd, void *watched, bool output)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET | (output ? EPOLLOUT | EPOLLRDHUP : 0u),
                                .data = {.ptr = watched}};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? STELE_OK : STELE_E_IO;
}

static int open_loop(struct stele_linux_loop *loop, struct stele_error *err)
{
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->wake_fd < 0) {
        return stele_fail(err, STELE_E_IO, errno, "event loop: %s", "no more files can be opened");
    }
    /* Never read: every write is an edge, and the counter has room for all that will come. */
    return stele_io__loop_watch(loop, loop->wake_fd, &loop->wake, false);
}

int stele_linux_loop_create(struct stele_alloc *alloc, struct stele_linux_loop **out_loop,
                            struct stele_error *err)
{
    struct stele_linux_loop *const loop = stele_allocate_zeroed(alloc, sizeof *loop);
    if (loop == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "event loop: no memory");
    }
    loop->base.ops = &ops;
    loop->base.alloc = alloc;
    loop->epoll_fd = -1;
    loop->wake_fd = -1;
    loop->wake = STELE_IO__WAKE;
    loop->ready_last = &loop->ready;
    loop->tasks_last = &loop->tasks;
    loop->flush_last = &loop->flush;
    loop->now_us = clock_us(CLOCK_MONOTONIC);
    loop->pause_us = 8 * SPIN_US;
    loop->timers_capacity = TIMERS_FIRST;
    loop->timers = stele_allocate(alloc, loop->timers_capacity * sizeof(struct stele_timer *));
    loop->input = stele_allocate(alloc, STELE_SOCKET_READ_SIZE);
    int outcome = loop->timers == NULL || loop->input == NULL
                      ? stele_fail(err, STELE_E_NO_MEMORY, 0, "event loop: no memory")
                      : open_loop(loop, err);
    if (outcome != STELE_OK) {
        stele_linux_loop_destroy(loop);
        return outcome;
    }
    *out_loop = loop;
    return STELE_OK;
}

void stele_linux_loop_destroy(struct stele_linux_loop *loop)
{
    if (loop == NULL) {
        return;
    }
    struct stele_alloc *const alloc = loop->base.alloc;
    stele_io__sockets_cut(loop);
    STELE_ASSERT(loop->sockets == NULL);
    STELE_ASSERT(atomic_load(&loop->posted) == NULL);
    STELE_ASSERT(loop->tasks == NULL);
    if (loop->epoll_fd >= 0) {
        (void)close(loop->epoll_fd);
    }
    if (loop->wake_fd >= 0) {
        (void)close(loop->wake_fd);
    }
    stele_release(alloc, (void *)loop->timers,
                  loop->timers_capacity * sizeof(struct stele_timer *));
    stele_release(alloc, loop->input, STELE_SOCKET_READ_SIZE);
    stele_buf_deinit(&loop->output, alloc);
    stele_release(alloc, loop, sizeof *loop);
}

struct stele_loop *stele_linux_loop_base(struct stele_linux_loop *loop)
{
    return &loop->base;
}

uint64_t stele_linux_loop_turns(const struct stele_linux_loop *loop)
{
    return atomic_load_explicit(&loop->turns, memory_order_relaxed);
}

void stele_linux_loop_stop(struct stele_linux_loop *loop)
{
    atomic_store_explicit(&loop->stopping, true, memory_order_seq_cst);
    wake(loop);
}

static int wait_events(struct stele_linux_loop *loop, struct epoll_event *events, int64_t wait_us)
{
    struct timespec timeout = {.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
    int count =
        epoll_pwait2(loop->epoll_fd, events, EVENTS_MAX, wait_us < 0 ? NULL : &timeout, NULL);
    if (count < 0 && errno == ENOSYS) {
        /* Linux before 5.11. Rounded up: too early would turn the loop for nothing. */
        const int64_t ms = wait_us < 0 ? -1 : (wait_us + 999) / 1000;
        count = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, ms > 3600000 ? 3600000 : (int)ms);
    }
    return count;
}

/* How long nothing is to be done; -1: nothing is known. */
static int64_t time_left(struct stele_linux_loop *loop)
{
    if (loop->ready != NULL || loop->flush != NULL || loop->tasks != NULL) {
        return 0;
    }
    if (loop->timers_count == 0) {
        return -1;
    }
    const int64_t left = loop->timers[0]->due_us - clock_us(CLOCK_MONOTONIC);
    return left > 0 ? left : 0;
}

/* Looks for work again and again for a moment before the loop goes to sleep: being woken takes 30 to
 * 60 us on many machines, which is longer than most requests. Whoever else wants this processor
 * gets it meanwhile. Returns as wait_events(), 0 also if there are tasks, -1 if nothing came. */
static int spin(struct stele_linux_loop *loop, struct epoll_event *events, int64_t until_us)
{
    do {
        const int count = wait_events(loop, events, 0);
        if (count > 0) {
            return count;
        }
        if (atomic_load_explicit(&loop->posted, memory_order_relaxed) != NULL ||
            atomic_load_explicit(&loop->stopping, memory_order_relaxed)) {
            return 0;
        }
        (void)sched_yield();
    } while (clock_us(CLOCK_MONOTONIC) < until_us);
    return -1;
}

/* Spinning pays while peers come back within such a moment, on the average of the last few times: who is
 * asked seldom does not burn a processor. It does not pay while other threads post tasks: they post many
 * in a row, of which one that spins would catch the first alone, with a turn and a send for each. */
static void note_pause(struct stele_linux_loop *loop, int64_t pause_us)
{
    const int64_t most = 8 * SPIN_US;
    const bool posted = atomic_load_explicit(&loop->posted, memory_order_relaxed) != NULL;
    const int64_t weighed = posted || pause_us > most ? most : pause_us;
    loop->pause_us += (weighed - loop->pause_us) / 8;
}

static int wait_for_work(struct stele_linux_loop *loop, struct epoll_event *events)
{
    int64_t wait_us = time_left(loop);
    if (wait_us == 0 || atomic_load_explicit(&loop->posted, memory_order_relaxed) != NULL) {
        return wait_events(loop, events, 0);
    }
    const int64_t begin_us = clock_us(CLOCK_MONOTONIC);
    int count = -1;
    if (loop->pause_us < SPIN_US) {
        count =
            spin(loop, events, begin_us + (wait_us < 0 || wait_us > SPIN_US ? SPIN_US : wait_us));
    }
    if (count < 0) {
        /* Asleep first, then the look at the list: whoever posts after the look sees the flag. */
        atomic_store_explicit(&loop->asleep, true, memory_order_seq_cst);
        if (atomic_load_explicit(&loop->posted, memory_order_seq_cst) != NULL ||
            atomic_load_explicit(&loop->stopping, memory_order_seq_cst)) {
            wait_us = 0;
        }
        count = wait_events(loop, events, wait_us);
        atomic_store_explicit(&loop->asleep, false, memory_order_relaxed);
    }
    note_pause(loop, clock_us(CLOCK_MONOTONIC) - begin_us);
    return count;
}

static void wait_and_sort(struct stele_linux_loop *loop)
{
    STELE_UNINITIALIZED struct epoll_event events[EVENTS_MAX];
    const int count = wait_for_work(loop, events);
    loop->now_us = clock_us(CLOCK_MONOTONIC);
    for (int i = 0; i < count; i++) {
        switch (*(const enum stele_io__watched *)events[i].data.ptr) {
        case STELE_IO__WAKE:
            break;
        case STELE_IO__SOCKET:
            stele_io__socket_event(events[i].data.ptr, events[i].events);
            break;
        case STELE_IO__LISTENER:
            stele_io__listener_event(events[i].data.ptr);
            break;
        }
    }
}

static void turn(struct stele_linux_loop *loop)
{
    wait_and_sort(loop);
    (void)atomic_fetch_add_explicit(&loop->turns, 1, memory_order_relaxed);
    run_timers(loop);
    stele_io__sockets_read(loop);
    run_tasks(loop, false);
    stele_io__sockets_flush(loop);
    stele_io__sockets_release(loop);
    if (loop->output.capacity > OUTPUT_KEPT_MAX) {
        stele_buf_deinit(&loop->output, loop->base.alloc);
    }
}

void stele_linux_loop_run(struct stele_linux_loop *loop)
{
    while (!atomic_load_explicit(&loop->stopping, memory_order_acquire)) {
        turn(loop);
    }
    while (loop->tasks != NULL ||
           atomic_load_explicit(&loop->posted, memory_order_acquire) != NULL) {
        run_tasks(loop, true);
    }
    stele_io__sockets_flush(loop);
    stele_io__sockets_release(loop);
    atomic_store_explicit(&loop->stopping, false, memory_order_relaxed);
}
