/* The network. Raft's frames are lost, late, twice and out of order; what goes over a connection comes
 * in order until the connection breaks, and then nothing of it comes any more. */
#include "world.h"

#include <stdlib.h>

#define MESSAGE_RAFT 1 /* The first byte: see cluster/replica.c. */

struct message {
    uint32_t from, to;
    uint64_t epoch; /* Of the connection; 0: none. */
    size_t size;
    uint8_t bytes[];
};

static void on_message(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)number;
    struct message *message = object;
    struct link *link = &world->links[message->from][message->to];
    const bool broken = message->epoch != 0 && message->epoch != link->epoch;
    if (broken || link->cut_until_us > world->now_us ||
        !members_may_hear(world, &world->nodes[message->from], node)) {
        world->stats.lost++;
        free(message);
        return;
    }
    struct stele_error err = {.outcome = 0};
    const struct stele_bytes bytes = {.data = message->bytes, .size = message->size};
    const int outcome =
        stele_replica_receive(node->replica, message->from + 1, bytes, node_now(world, node), &err);
    if (outcome == STELE_E_INVALID) {
        fail(world, "node %u does not understand node %u: %s", node->index + 1, message->from + 1,
             err.message);
    }
    if (outcome != STELE_OK) {
        trace(world, node, "a message is not taken: outcome", (uint64_t)outcome, 0, 0);
    }
    free(message);
    node_kick(world, node);
}

static uint64_t delay(struct world *world)
{
    return world->config.delay_us / 4 +
           rng_exponential(&world->rng_schedule, world->config.delay_us);
}

static void deliver(struct world *world, struct node *from, struct node *to, uint64_t delay_us,
                    uint64_t epoch, struct stele_bytes bytes)
{
    struct message *message = malloc(sizeof *message + bytes.size);
    STELE_ASSERT(message != NULL);
    *message =
        (struct message){.from = from->index, .to = to->index, .epoch = epoch, .size = bytes.size};
    memcpy(message->bytes, bytes.data, bytes.size);
    after(world, to, delay_us, on_message, message, free, 0);
}

void net_send(struct world *world, struct node *from, uint64_t to, struct stele_bytes message)
{
    struct rng *rng = &world->rng_schedule;
    if (to == 0 || to > NODES_MAX || to == node_number(from)) {
        fail(world, "node %u sends to node %llu", from->index + 1, (unsigned long long)to);
    }
    struct node *target = &world->nodes[to - 1];
    struct link *link = &world->links[from->index][target->index];
    world->stats.messages++;
    if (!target->up || link->cut_until_us > world->now_us) {
        world->stats.lost++;
        return;
    }
    if (message.data[0] == MESSAGE_RAFT) {
        uint64_t delay_us = delay(world);
        if (!world->calm && rng_one_in(rng, world->config.loss_one_in)) {
            world->stats.lost++;
            return;
        }
        if (!world->calm && rng_one_in(rng, world->config.slow_one_in)) {
            delay_us *= 30;
        }
        deliver(world, from, target, delay_us, 0, message);
        if (!world->calm && rng_one_in(rng, world->config.twice_one_in)) {
            world->stats.twice++;
            deliver(world, from, target, 5 * delay(world), 0, message);
        }
        return;
    }
    uint64_t at_us = world->now_us + delay(world);
    at_us = at_us > link->last_us ? at_us : link->last_us + 5; /* More than the queue's jitter. */
    link->last_us = at_us;
    deliver(world, from, target, at_us - world->now_us, link->epoch, message);
}

void net_break(struct world *world, uint32_t a, uint32_t b)
{
    world->links[a][b].epoch++;
    world->links[b][a].epoch++;
    world->links[a][b].last_us = 0;
    world->links[b][a].last_us = 0;
}

void net_cut(struct world *world, uint32_t from, uint32_t to, uint64_t for_us)
{
    struct link *link = &world->links[from][to];
    const uint64_t until_us = world->now_us + for_us;
    link->cut_until_us = until_us > link->cut_until_us ? until_us : link->cut_until_us;
    net_break(world, from, to);
}

void net_heal(struct world *world)
{
    for (uint32_t a = 0; a < world->nodes_count; a++) {
        for (uint32_t b = 0; b < world->nodes_count; b++) {
            world->links[a][b].cut_until_us = 0;
        }
    }
}
