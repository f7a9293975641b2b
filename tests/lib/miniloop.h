/* A loop in one thread whose turns and time the test decides: one task at a time, if it likes. */
#ifndef STELE_TESTS_LIB_MINILOOP_H
#define STELE_TESTS_LIB_MINILOOP_H

#include "io/loop.h"
#include "rng.h"

#define MINILOOP_TIMERS 512

struct miniloop {
    struct stele_loop loop;
    int64_t now_us;
    struct rng rng;
    struct stele_task *first, **last;
    struct stele_timer *timers[MINILOOP_TIMERS];
};

static inline struct miniloop *miniloop_of(struct stele_loop *loop)
{
    return (struct miniloop *)((char *)loop - offsetof(struct miniloop, loop));
}

static inline void miniloop_post(struct stele_loop *loop, struct stele_task *task)
{
    struct miniloop *mini = miniloop_of(loop);
    task->next = NULL;
    *mini->last = task;
    mini->last = &task->next;
}

static inline void miniloop_timer_stop(struct stele_loop *loop, struct stele_timer *timer)
{
    if (timer->place > 0) {
        miniloop_of(loop)->timers[timer->place - 1] = NULL;
        timer->place = 0;
    }
}

static inline void miniloop_timer_start(struct stele_loop *loop, struct stele_timer *timer,
                                        int64_t due_us)
{
    miniloop_timer_stop(loop, timer);
    size_t place = 0;
    while (miniloop_of(loop)->timers[place] != NULL) {
        place++;
        STELE_ASSERT(place < MINILOOP_TIMERS);
    }
    miniloop_of(loop)->timers[place] = timer;
    timer->place = place + 1;
    timer->due_us = due_us;
}

static inline int64_t miniloop_now(struct stele_loop *loop)
{
    return miniloop_of(loop)->now_us;
}

static inline int64_t miniloop_wall(struct stele_loop *loop)
{
    return INT64_C(1750000000000000) + miniloop_of(loop)->now_us;
}

static inline void miniloop_random(struct stele_loop *loop, void *buffer, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)buffer)[i] = (uint8_t)rng_next(&miniloop_of(loop)->rng);
    }
}

static inline void miniloop_init(struct miniloop *mini, struct stele_alloc *alloc, uint64_t seed)
{
    static const struct stele_loop_ops ops = {
        .post = miniloop_post,
        .timer_start = miniloop_timer_start,
        .timer_stop = miniloop_timer_stop,
        .now_us = miniloop_now,
        .wall_us = miniloop_wall,
        .random = miniloop_random,
    };
    *mini = (struct miniloop){.loop = {.ops = &ops, .alloc = alloc}, .now_us = 1000000};
    mini->last = &mini->first;
    rng_init(&mini->rng, seed, 77);
}

/* Runs the oldest task. false: there is none. */
static inline bool miniloop_step(struct miniloop *mini)
{
    struct stele_task *task = mini->first;
    if (task == NULL) {
        return false;
    }
    mini->first = task->next;
    if (mini->first == NULL) {
        mini->last = &mini->first;
    }
    task->run(task);
    return true;
}

/* Until nothing is posted. */
static inline void miniloop_run(struct miniloop *mini)
{
    uint64_t steps = 0;
    while (miniloop_step(mini)) {
        STELE_ASSERT(++steps < 100000000);
    }
}

/* Lets time pass; timers that become due run in order, tasks in between. */
static inline void miniloop_advance(struct miniloop *mini, int64_t us)
{
    const int64_t until = mini->now_us + us;
    for (;;) {
        miniloop_run(mini);
        struct stele_timer *next = NULL;
        for (size_t i = 0; i < MINILOOP_TIMERS; i++) {
            struct stele_timer *timer = mini->timers[i];
            if (timer != NULL && timer->due_us <= until &&
                (next == NULL || timer->due_us < next->due_us)) {
                next = timer;
            }
        }
        if (next == NULL) {
            mini->now_us = until;
            return;
        }
        mini->now_us = next->due_us > mini->now_us ? next->due_us : mini->now_us;
        miniloop_timer_stop(&mini->loop, next);
        next->on_due(next);
    }
}

#endif
