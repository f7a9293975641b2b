#define CHECK_NO_MAIN
#include "simloop.h"

#include "check.h"

#include <time.h>

static struct simloop *self(struct stele_loop *loop)
{
    return (struct simloop *)(void *)loop;
}

static void post(struct stele_loop *base, struct stele_task *task)
{
    struct simloop *const loop = self(base);
    (void)pthread_mutex_lock(&loop->mutex);
    task->next = NULL;
    *loop->last = task;
    loop->last = &task->next;
    (void)pthread_cond_signal(&loop->posted);
    (void)pthread_mutex_unlock(&loop->mutex);
}

static struct stele_task *take_task(struct simloop *loop)
{
    (void)pthread_mutex_lock(&loop->mutex);
    struct stele_task *const task = loop->first;
    if (task != NULL) {
        loop->first = task->next;
        if (loop->first == NULL) {
            loop->last = &loop->first;
        }
    }
    (void)pthread_mutex_unlock(&loop->mutex);
    return task;
}

static void timer_start(struct stele_loop *base, struct stele_timer *timer, int64_t due_us)
{
    struct simloop *const loop = self(base);
    timer->due_us = due_us;
    if (timer->place != 0) {
        return;
    }
    if (loop->timers_count == loop->timers_capacity) {
        loop->timers_capacity = loop->timers_capacity * 2 + 8;
        loop->timers = realloc(loop->timers, loop->timers_capacity * sizeof(struct stele_timer *));
        CHECK(loop->timers != NULL);
    }
    loop->timers[loop->timers_count++] = timer;
    timer->place = loop->timers_count;
}

static void timer_stop(struct stele_loop *base, struct stele_timer *timer)
{
    struct simloop *const loop = self(base);
    if (timer->place == 0) {
        return;
    }
    CHECK(loop->timers[timer->place - 1] == timer);
    /* The others keep their order, which decides between timers that are due together. */
    loop->timers_count--;
    for (size_t i = timer->place - 1; i < loop->timers_count; i++) {
        loop->timers[i] = loop->timers[i + 1];
        loop->timers[i]->place = i + 1;
    }
    timer->place = 0;
}

static int64_t now_us(struct stele_loop *loop)
{
    return self(loop)->now_us;
}

static int64_t wall_us(struct stele_loop *loop)
{
    return self(loop)->wall_us + self(loop)->now_us;
}

static void random_bytes(struct stele_loop *loop, void *buffer, size_t size)
{
    uint8_t *const to = buffer;
    for (size_t i = 0; i < size; i++) {
        to[i] = (uint8_t)rng_next(&self(loop)->rng);
    }
}

static const struct stele_loop_ops ops = {
    .post = post,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .now_us = now_us,
    .wall_us = wall_us,
    .random = random_bytes,
};

void simloop_init(struct simloop *loop, struct stele_alloc *alloc, uint64_t seed)
{
    memset(loop, 0, sizeof *loop);
    loop->base.ops = &ops;
    loop->base.alloc = alloc;
    loop->now_us = 1000000;
    loop->wall_us = INT64_C(1750000000000000);
    rng_init(&loop->rng, seed, 77);
    CHECK_EQ(pthread_mutex_init(&loop->mutex, NULL), 0);
    CHECK_EQ(pthread_cond_init(&loop->posted, NULL), 0);
    loop->last = &loop->first;
}

void simloop_deinit(struct simloop *loop)
{
    CHECK(loop->first == NULL);
    CHECK_EQ(loop->timers_count, 0);
    free((void *)loop->timers);
    (void)pthread_mutex_destroy(&loop->mutex);
    (void)pthread_cond_destroy(&loop->posted);
}

/* The timer that is due first; of several, the one that was started first. */
static struct stele_timer *next_timer(const struct simloop *loop)
{
    struct stele_timer *next = NULL;
    for (size_t i = 0; i < loop->timers_count; i++) {
        if (next == NULL || loop->timers[i]->due_us < next->due_us) {
            next = loop->timers[i];
        }
    }
    return next;
}

bool simloop_step(struct simloop *loop)
{
    struct stele_task *const task = take_task(loop);
    if (task != NULL) {
        task->run(task);
        return true;
    }
    struct stele_timer *const timer = next_timer(loop);
    if (timer == NULL || timer->due_us > loop->now_us) {
        return false;
    }
    timer_stop(&loop->base, timer);
    timer->on_due(timer);
    return true;
}

int64_t simloop_due_us(const struct simloop *loop)
{
    if (loop->first != NULL) {
        return loop->now_us;
    }
    const struct stele_timer *const timer = next_timer(loop);
    return timer == NULL ? INT64_MAX : timer->due_us;
}

size_t simloop_run(struct simloop *loop)
{
    size_t count = 0;
    while (simloop_step(loop)) {
        count++;
        /* Who starts a timer for now, every time, would hang the real loop as well. */
        CHECK(count < 100000000);
    }
    return count;
}

void simloop_advance(struct simloop *loop, int64_t us)
{
    const int64_t end_us = loop->now_us + us;
    for (;;) {
        (void)simloop_run(loop);
        const struct stele_timer *const timer = next_timer(loop);
        if (timer == NULL || timer->due_us > end_us) {
            break;
        }
        loop->now_us = timer->due_us;
    }
    loop->now_us = end_us;
    (void)simloop_run(loop);
}

bool simloop_wait(struct simloop *loop, int timeout_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&loop->mutex);
    int waited = 0;
    while (loop->first == NULL && waited == 0) {
        waited = pthread_cond_timedwait(&loop->posted, &loop->mutex, &until);
    }
    const bool came = loop->first != NULL;
    (void)pthread_mutex_unlock(&loop->mutex);
    (void)simloop_run(loop);
    return came;
}
