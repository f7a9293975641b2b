/* Time, as a heap of events, and the network, which loses, doubles, delays, overtakes and damages. */
#include "raft_sim.h"

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void sim_plan(struct sim *sim, uint64_t after_us, struct event event)
{
    if (sim->heap_count == sim->heap_capacity) {
        sim->heap_capacity = sim->heap_capacity == 0 ? 1024 : sim->heap_capacity * 2;
        sim->heap = realloc(sim->heap, sim->heap_capacity * sizeof *sim->heap);
        STELE_ASSERT(sim->heap != NULL);
    }
    event.at_us = sim->now_us + after_us;
    event.order = sim->order++;
    size_t at = sim->heap_count++;
    while (at > 0 && is_before(&event, &sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = event;
}

bool sim_next(struct sim *sim, struct event *out_event)
{
    if (sim->heap_count == 0) {
        return false;
    }
    *out_event = sim->heap[0];
    const struct event last = sim->heap[--sim->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sim->heap_count) {
            break;
        }
        if (child + 1 < sim->heap_count && is_before(&sim->heap[child + 1], &sim->heap[child])) {
            child++;
        }
        if (!is_before(&sim->heap[child], &last)) {
            break;
        }
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    if (sim->heap_count > 0) {
        sim->heap[at] = last;
    }
    return true;
}

static uint64_t delay(struct sim *sim)
{
    const struct config *const config = &sim->config;
    if (!sim->calm && rng_percent(&sim->rng_net, config->late)) {
        return rng_between(&sim->rng_net, config->delay_us, config->delay_us + config->late_us);
    }
    return rng_between(&sim->rng_net, config->delay_us / 4 + 1, config->delay_us);
}

void net_send(struct sim *sim, uint64_t from, uint64_t to, struct stele_bytes frame)
{
    const struct config *const config = &sim->config;
    sim->stats->frames++;
    if (to == 0 || to > config->nodes || sim->cut[from][to] ||
        (!sim->calm && rng_percent(&sim->rng_net, config->loss))) {
        sim->stats->frames_lost++;
        return;
    }
    const int copies = !sim->calm && rng_percent(&sim->rng_net, config->twice) ? 2 : 1;
    for (int i = 0; i < copies; i++) {
        uint64_t at_us = sim->now_us + delay(sim);
        if (!config->reorder) {
            at_us = at_us < sim->fifo_us[from][to] ? sim->fifo_us[from][to] : at_us;
            sim->fifo_us[from][to] = at_us;
        }
        struct event event = {.kind = EVENT_FRAME, .node = to, .other = from, .size = frame.size};
        event.bytes = malloc(frame.size);
        STELE_ASSERT(event.bytes != NULL);
        memcpy(event.bytes, frame.data, frame.size);
        if (!sim->calm && rng_one_in(&sim->rng_net, config->damage)) {
            event.bytes[rng_below(&sim->rng_net, frame.size)] ^=
                (uint8_t)(1 << rng_below(&sim->rng_net, 8));
            event.life = 1; /* Marks it. */
            sim->stats->damaged++;
        }
        sim_plan(sim, at_us - sim->now_us, event);
    }
}
