/* Virtual time: a heap of events, ordered by time and then by the order of scheduling. What belongs to
 * a node that is paused waits for it. */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_before(const struct event *a, const struct event *b)
{
    return a->time != b->time ? a->time < b->time : a->sequence < b->sequence;
}

static void push(struct queue *queue, const struct event *event)
{
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity * 2 + 256;
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

static void pop(struct queue *queue, struct event *out)
{
    *out = queue->events[0];
    const struct event last = queue->events[--queue->count];
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

static void schedule(struct world *world, struct event event, uint64_t delay_us)
{
    /* Two events of the same moment may come in either order: the least jitter decides. */
    event.time = world->now_us + delay_us + rng_below(&world->rng_schedule, 3);
    event.sequence = ++world->queue.sequence;
    push(&world->queue, &event);
}

void after(struct world *world, struct node *node, uint64_t delay_us, world_handler handler,
           void *object, void (*drop)(void *object), uint64_t number)
{
    schedule(world,
             (struct event){.node = node,
                            .life = node == NULL ? 0 : node->life,
                            .handler = handler,
                            .object = object,
                            .drop = drop,
                            .number = number},
             delay_us);
}

void after_always(struct world *world, struct node *node, uint64_t delay_us, world_handler handler,
                  uint64_t number)
{
    schedule(world, (struct event){.node = node, .handler = handler, .number = number}, delay_us);
}

bool step(struct world *world, uint64_t until_us)
{
    struct event event;
    if (world->queue.count == 0 || world->queue.events[0].time > until_us) {
        return false;
    }
    pop(&world->queue, &event);
    world->now_us = event.time > world->now_us ? event.time : world->now_us;
    if (event.node != NULL && event.life != 0 && event.life != event.node->life) {
        if (event.drop != NULL) {
            event.drop(event.object);
        }
        return true;
    }
    if (event.life != 0 && event.node != NULL && event.node->paused_until_us > world->now_us) {
        event.time = event.node->paused_until_us;
        push(&world->queue, &event); /* In the order in which they came. */
        return true;
    }
    world->stats.events++;
    event.handler(world, event.node, event.object, event.number);
    return true;
}

void queue_deinit(struct world *world)
{
    for (size_t i = 0; i < world->queue.count; i++) {
        struct event *event = &world->queue.events[i];
        if (event->drop != NULL) {
            event->drop(event->object);
        }
    }
    free(world->queue.events);
    world->queue = (struct queue){.events = NULL};
}

/* ---- Tracing and failing ---- */

static void print_line(const struct trace_line *line)
{
    printf("%12.6f  ", (double)line->time / 1e6);
    if (line->node > 0) {
        printf("node %u  ", line->node);
    } else {
        printf("        ");
    }
    printf("%s: %llu %llu %llu\n", line->what, (unsigned long long)line->a,
           (unsigned long long)line->b, (unsigned long long)line->c);
}

static void mix(struct world *world, uint64_t value)
{
    world->hash = (world->hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    world->hash ^= world->hash >> 29;
}

void trace(struct world *world, const struct node *node, const char *what, uint64_t a, uint64_t b,
           uint64_t c)
{
    struct trace_line *line = &world->trace[world->traced++ % TRACE_KEPT];
    *line = (struct trace_line){.time = world->now_us,
                                .a = a,
                                .b = b,
                                .c = c,
                                .what = what,
                                .node = node == NULL ? 0 : node->index + 1};
    mix(world, line->time);
    mix(world, a);
    mix(world, b);
    mix(world, c);
    mix(world, line->node);
    if (world->run.tracing) {
        print_line(line);
    }
}

void fail(struct world *world, const char *format, ...)
{
    const uint64_t first = world->traced > TRACE_KEPT ? world->traced - TRACE_KEPT : 0;
    for (uint64_t i = first; !world->run.tracing && i < world->traced; i++) {
        print_line(&world->trace[i % TRACE_KEPT]);
    }
    config_print(&world->config);
    va_list args;
    va_start(args, format);
    printf("FAILED: ");
    (void)vprintf(format, args);
    va_end(args);
    printf("\nat %.6f s, event %llu; repeat it with: ./dev sim cluster SEED=%llu%s\n",
           (double)world->now_us / 1e6, (unsigned long long)world->stats.events,
           (unsigned long long)world->seed,
           world->run.quick   ? " --quick"
           : world->run.hours ? " --hours-long"
                              : "");
    (void)fflush(stdout);
    abort();
}
