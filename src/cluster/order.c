#include "cluster/order.h"

#include "base/position.h"

struct queue {
    struct stele_ordered *first, **last;
    uint64_t closed;
    uint32_t place; /* In the heap, from 1; 0: empty. */
};

struct stele_order {
    struct stele_alloc *alloc;
    uint32_t partitions;
    uint32_t heap_count;
    uint64_t done;
    uint64_t waiting, waiting_size;
    uint64_t lowest; /* Not above the lowest closed stamp; found again when something waits. */
    uint32_t lowest_partition;
    bool lowest_stale;
    struct queue *queues;
    uint32_t *heap; /* From 1: partitions with something waiting, the lowest stamp first. */
};

int stele_order_create(struct stele_alloc *alloc, uint32_t partitions, uint64_t done,
                       struct stele_order **out_order)
{
    STELE_ASSERT(partitions > 0 && partitions <= STELE_PARTITIONS_MAX);
    struct stele_order *order = stele_allocate_zeroed(alloc, sizeof *order);
    struct queue *queues = stele_allocate_zeroed(alloc, partitions * sizeof *queues);
    uint32_t *heap = stele_allocate_zeroed(alloc, (partitions + 1) * sizeof *heap);
    if (order == NULL || queues == NULL || heap == NULL) {
        stele_release(alloc, order, sizeof *order);
        stele_release(alloc, queues, partitions * sizeof *queues);
        stele_release(alloc, heap, (partitions + 1) * sizeof *heap);
        return STELE_E_NO_MEMORY;
    }
    for (uint32_t i = 0; i < partitions; i++) {
        queues[i].last = &queues[i].first;
    }
    *order = (struct stele_order){.alloc = alloc,
                                  .partitions = partitions,
                                  .done = done,
                                  .queues = queues,
                                  .heap = heap,
                                  .lowest_stale = true};
    *out_order = order;
    return STELE_OK;
}

void stele_order_destroy(struct stele_order *order)
{
    if (order == NULL) {
        return;
    }
    for (uint32_t i = 0; i < order->partitions; i++) {
        struct stele_ordered *command = order->queues[i].first;
        while (command != NULL) {
            struct stele_ordered *next = command->next;
            stele_ordered_release(order->alloc, command);
            command = next;
        }
    }
    stele_release(order->alloc, order->queues, order->partitions * sizeof *order->queues);
    stele_release(order->alloc, order->heap, (order->partitions + 1) * sizeof *order->heap);
    stele_release(order->alloc, order, sizeof *order);
}

/* ---- The heap ---- */

static uint64_t stamp_at(const struct stele_order *order, uint32_t place)
{
    return order->queues[order->heap[place]].first->stamp;
}

static void swap(struct stele_order *order, uint32_t a, uint32_t b)
{
    const uint32_t partition = order->heap[a];
    order->heap[a] = order->heap[b];
    order->heap[b] = partition;
    order->queues[order->heap[a]].place = a;
    order->queues[order->heap[b]].place = b;
}

static void sift_up(struct stele_order *order, uint32_t place)
{
    while (place > 1 && stamp_at(order, place) < stamp_at(order, place / 2)) {
        swap(order, place, place / 2);
        place /= 2;
    }
}

static void sift_down(struct stele_order *order, uint32_t place)
{
    for (;;) {
        uint32_t least = place;
        for (uint32_t child = 2 * place; child <= 2 * place + 1; child++) {
            if (child <= order->heap_count && stamp_at(order, child) < stamp_at(order, least)) {
                least = child;
            }
        }
        if (least == place) {
            return;
        }
        swap(order, place, least);
        place = least;
    }
}

/* The first of this partition has gone, or has become another one. */
static void first_changed(struct stele_order *order, uint32_t partition)
{
    struct queue *queue = &order->queues[partition];
    if (queue->first == NULL) {
        const uint32_t place = queue->place;
        const uint32_t moved = order->heap[order->heap_count];
        queue->last = &queue->first;
        queue->place = 0;
        order->heap_count--;
        if (moved != partition) {
            order->heap[place] = moved;
            order->queues[moved].place = place;
            sift_down(order, place);
            sift_up(order, order->queues[moved].place);
        }
        return;
    }
    sift_down(order, queue->place);
}

static struct stele_ordered *take_first(struct stele_order *order, uint32_t partition)
{
    struct queue *queue = &order->queues[partition];
    struct stele_ordered *command = queue->first;
    queue->first = command->next;
    command->next = NULL;
    order->waiting--;
    order->waiting_size -= command->size;
    first_changed(order, partition);
    return command;
}

/* ---- In and out ---- */

void stele_order_close(struct stele_order *order, uint32_t partition, uint64_t stamp)
{
    STELE_ASSERT(partition < order->partitions);
    struct queue *queue = &order->queues[partition];
    STELE_ASSERT(stamp > queue->closed); /* O3, K3. */
    queue->closed = stamp;
    if (partition == order->lowest_partition) {
        order->lowest_stale = true;
    }
}

struct stele_ordered *stele_order_add(struct stele_order *order, uint64_t stamp,
                                      struct stele_bytes bytes)
{
    const uint32_t partition = stele_position_partition(stamp);
    STELE_ASSERT(partition < order->partitions);
    STELE_ASSERT(stamp > order->done); /* O1: it would come too late. */
    struct stele_ordered *command = stele_allocate(order->alloc, sizeof *command + bytes.size);
    if (command == NULL) {
        return NULL;
    }
    *command = (struct stele_ordered){.stamp = stamp, .size = bytes.size};
    if (bytes.size > 0) {
        memcpy(command->bytes, bytes.data, bytes.size);
    }
    stele_order_close(order, partition, stamp);
    struct queue *queue = &order->queues[partition];
    *queue->last = command;
    queue->last = &command->next;
    order->waiting++;
    order->waiting_size += bytes.size;
    if (queue->place == 0) {
        queue->place = ++order->heap_count;
        order->heap[queue->place] = partition;
        sift_up(order, queue->place);
    }
    return command;
}

struct stele_ordered *stele_order_next(struct stele_order *order)
{
    if (order->heap_count == 0) {
        return NULL;
    }
    const uint64_t stamp = stamp_at(order, 1);
    if (stamp > order->lowest && stamp > stele_order_closed_all(order, NULL)) {
        return NULL;
    }
    STELE_ASSERT(stamp > order->done);
    order->done = stamp;
    return take_first(order, order->heap[1]);
}

void stele_ordered_release(struct stele_alloc *alloc, struct stele_ordered *command)
{
    stele_release(alloc, command, sizeof *command + command->size);
}

void stele_order_skip(struct stele_order *order, uint64_t stamp,
                      void (*on_skipped)(void *context, struct stele_ordered *command),
                      void *context)
{
    while (order->heap_count > 0 && stamp_at(order, 1) <= stamp) {
        struct stele_ordered *command = take_first(order, order->heap[1]);
        on_skipped(context, command);
        stele_ordered_release(order->alloc, command);
    }
    if (stamp > order->done) {
        order->done = stamp;
    }
}

/* ---- Facts ---- */

uint64_t stele_order_closed(const struct stele_order *order, uint32_t partition)
{
    STELE_ASSERT(partition < order->partitions);
    return order->queues[partition].closed;
}

static void find_lowest(struct stele_order *order)
{
    uint64_t lowest = order->queues[0].closed;
    uint32_t partition = 0;
    for (uint32_t i = 1; i < order->partitions; i++) {
        if (order->queues[i].closed < lowest) {
            lowest = order->queues[i].closed;
            partition = i;
        }
    }
    STELE_ASSERT(lowest >= order->lowest);
    order->lowest = lowest;
    order->lowest_partition = partition;
    order->lowest_stale = false;
}

uint64_t stele_order_closed_all(const struct stele_order *order, uint32_t *out_partition)
{
    if (order->lowest_stale) {
        /* What is remembered is no part of what callers see. */
        struct stele_order *mutable = (struct stele_order *)(uintptr_t)order;
        find_lowest(mutable);
    }
    if (out_partition != NULL) {
        *out_partition = order->lowest_partition;
    }
    return order->lowest;
}

uint64_t stele_order_done(const struct stele_order *order)
{
    return order->done;
}

uint64_t stele_order_waiting(const struct stele_order *order)
{
    return order->waiting;
}

uint64_t stele_order_waiting_size(const struct stele_order *order)
{
    return order->waiting_size;
}

void stele_order_check(const struct stele_order *order)
{
    uint64_t waiting = 0;
    uint64_t size = 0;
    for (uint32_t i = 0; i < order->partitions; i++) {
        const struct queue *queue = &order->queues[i];
        STELE_ASSERT((queue->place == 0) == (queue->first == NULL));
        STELE_ASSERT(queue->place <= order->heap_count);
        STELE_ASSERT(queue->place == 0 || order->heap[queue->place] == i);
        uint64_t before = order->done;
        for (const struct stele_ordered *c = queue->first; c != NULL; c = c->next) {
            STELE_ASSERT(c->stamp > before);
            STELE_ASSERT(stele_position_partition(c->stamp) == i);
            before = c->stamp;
            waiting++;
            size += c->size;
        }
        STELE_ASSERT(queue->first == NULL || queue->closed >= before);
    }
    for (uint32_t place = 2; place <= order->heap_count; place++) {
        STELE_ASSERT(stamp_at(order, place / 2) < stamp_at(order, place));
    }
    STELE_ASSERT(waiting == order->waiting);
    STELE_ASSERT(size == order->waiting_size);
}
