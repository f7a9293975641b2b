#include "cluster/merge.h"

#include "base/position.h"

struct queue {
    struct stele_ordered *first, **last;
    uint64_t closed;
    uint32_t place; /* In the heap, from 1; 0: empty. */
};

struct stele_merge {
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

int stele_merge_create(struct stele_alloc *alloc, uint32_t partitions, uint64_t done,
                       struct stele_merge **out_merge)
{
    STELE_ASSERT(partitions > 0 && partitions <= STELE_PARTITIONS_MAX);
    struct stele_merge *merge = stele_allocate_zeroed(alloc, sizeof *merge);
    struct queue *queues = stele_allocate_zeroed(alloc, partitions * sizeof *queues);
    uint32_t *heap = stele_allocate_zeroed(alloc, (partitions + 1) * sizeof *heap);
    if (merge == NULL || queues == NULL || heap == NULL) {
        stele_release(alloc, merge, sizeof *merge);
        stele_release(alloc, queues, partitions * sizeof *queues);
        stele_release(alloc, heap, (partitions + 1) * sizeof *heap);
        return STELE_E_NO_MEMORY;
    }
    for (uint32_t i = 0; i < partitions; i++) {
        queues[i].last = &queues[i].first;
    }
    *merge = (struct stele_merge){.alloc = alloc,
                                  .partitions = partitions,
                                  .done = done,
                                  .queues = queues,
                                  .heap = heap,
                                  .lowest_stale = true};
    *out_merge = merge;
    return STELE_OK;
}

void stele_merge_destroy(struct stele_merge *merge)
{
    if (merge == NULL) {
        return;
    }
    for (uint32_t i = 0; i < merge->partitions; i++) {
        struct stele_ordered *command = merge->queues[i].first;
        while (command != NULL) {
            struct stele_ordered *next = command->next;
            stele_ordered_release(merge->alloc, command);
            command = next;
        }
    }
    stele_release(merge->alloc, merge->queues, merge->partitions * sizeof *merge->queues);
    stele_release(merge->alloc, merge->heap, (merge->partitions + 1) * sizeof *merge->heap);
    stele_release(merge->alloc, merge, sizeof *merge);
}

/* ---- The heap ---- */

static uint64_t stamp_at(const struct stele_merge *merge, uint32_t place)
{
    return merge->queues[merge->heap[place]].first->stamp;
}

static void swap(struct stele_merge *merge, uint32_t a, uint32_t b)
{
    const uint32_t partition = merge->heap[a];
    merge->heap[a] = merge->heap[b];
    merge->heap[b] = partition;
    merge->queues[merge->heap[a]].place = a;
    merge->queues[merge->heap[b]].place = b;
}

static void sift_up(struct stele_merge *merge, uint32_t place)
{
    while (place > 1 && stamp_at(merge, place) < stamp_at(merge, place / 2)) {
        swap(merge, place, place / 2);
        place /= 2;
    }
}

static void sift_down(struct stele_merge *merge, uint32_t place)
{
    for (;;) {
        uint32_t least = place;
        for (uint32_t child = 2 * place; child <= 2 * place + 1; child++) {
            if (child <= merge->heap_count && stamp_at(merge, child) < stamp_at(merge, least)) {
                least = child;
            }
        }
        if (least == place) {
            return;
        }
        swap(merge, place, least);
        place = least;
    }
}

/* The first of this partition has gone, or has become another one. */
static void first_changed(struct stele_merge *merge, uint32_t partition)
{
    struct queue *queue = &merge->queues[partition];
    if (queue->first == NULL) {
        const uint32_t place = queue->place;
        const uint32_t moved = merge->heap[merge->heap_count];
        queue->last = &queue->first;
        queue->place = 0;
        merge->heap_count--;
        if (moved != partition) {
            merge->heap[place] = moved;
            merge->queues[moved].place = place;
            sift_down(merge, place);
            sift_up(merge, merge->queues[moved].place);
        }
        return;
    }
    sift_down(merge, queue->place);
}

static struct stele_ordered *take_first(struct stele_merge *merge, uint32_t partition)
{
    struct queue *queue = &merge->queues[partition];
    struct stele_ordered *command = queue->first;
    queue->first = command->next;
    command->next = NULL;
    merge->waiting--;
    merge->waiting_size -= command->size;
    first_changed(merge, partition);
    return command;
}

/* ---- In and out ---- */

void stele_merge_close(struct stele_merge *merge, uint32_t partition, uint64_t stamp)
{
    STELE_ASSERT(partition < merge->partitions);
    struct queue *queue = &merge->queues[partition];
    STELE_ASSERT(stamp > queue->closed); /* O3, K3. */
    queue->closed = stamp;
    if (partition == merge->lowest_partition) {
        merge->lowest_stale = true;
    }
}

struct stele_ordered *stele_merge_add(struct stele_merge *merge, uint64_t stamp,
                                      struct stele_bytes bytes)
{
    const uint32_t partition = stele_position_partition(stamp);
    STELE_ASSERT(partition < merge->partitions);
    STELE_ASSERT(stamp > merge->done); /* O1: it would come too late. */
    struct stele_ordered *command = stele_allocate(merge->alloc, sizeof *command + bytes.size);
    if (command == NULL) {
        return NULL;
    }
    *command = (struct stele_ordered){.stamp = stamp, .size = bytes.size};
    if (bytes.size > 0) {
        memcpy(command->bytes, bytes.data, bytes.size);
    }
    stele_merge_close(merge, partition, stamp);
    struct queue *queue = &merge->queues[partition];
    *queue->last = command;
    queue->last = &command->next;
    merge->waiting++;
    merge->waiting_size += bytes.size;
    if (queue->place == 0) {
        queue->place = ++merge->heap_count;
        merge->heap[queue->place] = partition;
        sift_up(merge, queue->place);
    }
    return command;
}

struct stele_ordered *stele_merge_next(struct stele_merge *merge)
{
    if (merge->heap_count == 0) {
        return NULL;
    }
    const uint64_t stamp = stamp_at(merge, 1);
    if (stamp > merge->lowest && stamp > stele_merge_closed_all(merge, NULL)) {
        return NULL;
    }
    STELE_ASSERT(stamp > merge->done);
    merge->done = stamp;
    return take_first(merge, merge->heap[1]);
}

void stele_ordered_release(struct stele_alloc *alloc, struct stele_ordered *command)
{
    stele_release(alloc, command, sizeof *command + command->size);
}

void stele_merge_skip(struct stele_merge *merge, uint64_t stamp,
                      void (*on_skipped)(void *context, struct stele_ordered *command),
                      void *context)
{
    while (merge->heap_count > 0 && stamp_at(merge, 1) <= stamp) {
        struct stele_ordered *command = take_first(merge, merge->heap[1]);
        on_skipped(context, command);
        stele_ordered_release(merge->alloc, command);
    }
    if (stamp > merge->done) {
        merge->done = stamp;
    }
}

/* ---- Facts ---- */

uint64_t stele_merge_closed(const struct stele_merge *merge, uint32_t partition)
{
    STELE_ASSERT(partition < merge->partitions);
    return merge->queues[partition].closed;
}

static void find_lowest(struct stele_merge *merge)
{
    uint64_t lowest = merge->queues[0].closed;
    uint32_t partition = 0;
    for (uint32_t i = 1; i < merge->partitions; i++) {
        if (merge->queues[i].closed < lowest) {
            lowest = merge->queues[i].closed;
            partition = i;
        }
    }
    STELE_ASSERT(lowest >= merge->lowest);
    merge->lowest = lowest;
    merge->lowest_partition = partition;
    merge->lowest_stale = false;
}

uint64_t stele_merge_closed_all(const struct stele_merge *merge, uint32_t *out_partition)
{
    if (merge->lowest_stale) {
        /* What is remembered is no part of what callers see. */
        struct stele_merge *mutable = (struct stele_merge *)(uintptr_t)merge;
        find_lowest(mutable);
    }
    if (out_partition != NULL) {
        *out_partition = merge->lowest_partition;
    }
    return merge->lowest;
}

uint64_t stele_merge_done(const struct stele_merge *merge)
{
    return merge->done;
}

uint64_t stele_merge_first(const struct stele_merge *merge)
{
    return merge->heap_count == 0 ? UINT64_MAX : stamp_at(merge, 1);
}

uint64_t stele_merge_waiting(const struct stele_merge *merge)
{
    return merge->waiting;
}

uint64_t stele_merge_waiting_size(const struct stele_merge *merge)
{
    return merge->waiting_size;
}

void stele_merge_check(const struct stele_merge *merge)
{
    uint64_t waiting = 0;
    uint64_t size = 0;
    for (uint32_t i = 0; i < merge->partitions; i++) {
        const struct queue *queue = &merge->queues[i];
        STELE_ASSERT((queue->place == 0) == (queue->first == NULL));
        STELE_ASSERT(queue->place <= merge->heap_count);
        STELE_ASSERT(queue->place == 0 || merge->heap[queue->place] == i);
        uint64_t before = merge->done;
        for (const struct stele_ordered *c = queue->first; c != NULL; c = c->next) {
            STELE_ASSERT(c->stamp > before);
            STELE_ASSERT(stele_position_partition(c->stamp) == i);
            before = c->stamp;
            waiting++;
            size += c->size;
        }
        STELE_ASSERT(queue->first == NULL || queue->closed >= before);
    }
    for (uint32_t place = 2; place <= merge->heap_count; place++) {
        STELE_ASSERT(stamp_at(merge, place / 2) < stamp_at(merge, place));
    }
    STELE_ASSERT(waiting == merge->waiting);
    STELE_ASSERT(size == merge->waiting_size);
}
