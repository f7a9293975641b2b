/* Virtual time: a heap of events, ordered by time and then by the order of scheduling. */
#include "sim.h"

#include <stdlib.h>

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->time != b->time ? a->time < b->time : a->sequence < b->sequence;
}

static void push(struct sim_queue *queue, const struct sim_event *event)
{
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity * 2 + 64;
        queue->events = realloc(queue->events, queue->capacity * sizeof *queue->events);
        STELE_ASSERT(queue->events != NULL);
    }
    size_t at = queue->count++;
    while (at > 0 && is_before(event, &queue->events[(at - 1) / 2])) {
        queue->events[at] = queue->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    queue->events[at] = *event;
}

static void pop(struct sim_queue *queue, struct sim_event *out)
{
    *out = queue->events[0];
    const struct sim_event last = queue->events[--queue->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= queue->count) {
            break;
        }
        if (child + 1 < queue->count &&
            is_before(&queue->events[child + 1], &queue->events[child])) {
            child++;
        }
        if (!is_before(&queue->events[child], &last)) {
            break;
        }
        queue->events[at] = queue->events[child];
        at = child;
    }
    queue->events[at] = last;
}

static void schedule(struct sim *sim, uint64_t delay_us, uint64_t life, sim_handler handler,
                     void *object, uint64_t number)
{
    /* Two events of the same moment may come in either order: the least jitter decides. */
    const struct sim_event event = {
        .time = sim->now_us + delay_us + rng_below(&sim->rng_schedule, 3),
        .sequence = ++sim->queue.sequence,
        .life = life,
        .handler = handler,
        .object = object,
        .number = number,
    };
    push(&sim->queue, &event);
}

void sim_after(struct sim *sim, uint64_t delay_us, sim_handler handler, void *object,
               uint64_t number)
{
    schedule(sim, delay_us, sim->life, handler, object, number);
}

void sim_after_always(struct sim *sim, uint64_t delay_us, sim_handler handler, void *object,
                      uint64_t number)
{
    schedule(sim, delay_us, 0, handler, object, number);
}

bool sim_next_event(struct sim *sim, struct sim_event *out)
{
    while (sim->queue.count > 0) {
        pop(&sim->queue, out);
        if (out->life == 0 || out->life == sim->life) {
            return true;
        }
    }
    return false;
}
