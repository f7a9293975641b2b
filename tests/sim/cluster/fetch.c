/* Fetching: a node's store takes over what another one has executed, chunk by chunk. Either of them may die
 * at any moment, and it begins anew, perhaps with somebody else. */
#include "world.h"

#include <stdlib.h>

static void on_step(struct world *world, struct node *node, void *object, uint64_t number);

static void again(struct world *world, struct node *node, uint64_t mean_us)
{
    after(world, node, rng_exponential(&world->rng_schedule, mean_us), on_step, NULL, NULL, 0);
}

static void forget_chunk(struct fetch *fetch)
{
    free(fetch->chunk);
    fetch->chunk = NULL;
}

/* The other end is gone, or will be. */
static void leave(struct world *world, struct fetch *fetch)
{
    if (fetch->export != NULL) {
        stele_export_end(world->nodes[fetch->peer].store, fetch->export);
        fetch->export = NULL;
    }
}

static void drop(struct world *world, struct fetch *fetch)
{
    leave(world, fetch);
    stele_replay_destroy(fetch->replay);
    forget_chunk(fetch);
    *fetch = (struct fetch){.active = false};
}

void fetch_crashed(struct world *world, struct node *node)
{
    drop(world, &node->fetch);
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        struct fetch *fetch = &world->nodes[i].fetch;
        if (fetch->export != NULL && fetch->peer == node->index) {
            leave(world, fetch);
            fetch->broken = true;
        }
    }
}

void fetch_begin(struct world *world, struct node *node, uint64_t from, uint64_t stamp)
{
    node->fetch = (struct fetch){.active = true, .from = from, .stamp = stamp};
    world->stats.fetches++;
    trace(world, node, "fetch: from, stamp", from, stamp, 0);
    again(world, node, MS);
}

static bool has_commands(const struct node *node)
{
    for (size_t i = 0; i < node->answers_count; i++) {
        if (node->answers[i].stamp != 0) {
            return true;
        }
    }
    return node->first != NULL || !disks_store_is_idle(node);
}

static void give_up(struct world *world, struct node *node)
{
    struct fetch *fetch = &node->fetch;
    struct stele_error err = {.outcome = 0};
    const uint64_t stamp = fetch->stamp;
    drop(world, fetch);
    const int outcome = stele_replay_end(node->store, false, &err);
    if (outcome != STELE_OK) {
        node_failed(world, node, outcome, "giving a fetch up", &err);
        return;
    }
    *fetch = (struct fetch){.active = true, .stamp = stamp};
    again(world, node, world->config.retry_us * 4);
}

static int begin_copy(struct node *node, struct stele_error *err)
{
    const int outcome = stele_replay_begin(node->store, err);
    return outcome == STELE_OK ? stele_replay_create(node->store, &node->fetch.replay, err)
                               : outcome;
}

/* Asks somebody who is there. */
static void ask(struct world *world, struct node *node)
{
    struct fetch *fetch = &node->fetch;
    struct stele_error err = {.outcome = 0};
    uint32_t peer = (uint32_t)rng_below(&world->rng_schedule, world->nodes_count);
    if (fetch->from != 0) {
        peer = (uint32_t)fetch->from - 1;
        fetch->from = 0;
    }
    struct node *other = &world->nodes[peer];
    if (peer == node->index || !other->up || other->paused_until_us > world->now_us ||
        world->links[peer][node->index].cut_until_us > world->now_us ||
        !members_may_hear(world, other, node)) {
        again(world, node, world->config.retry_us);
        return;
    }
    int outcome = begin_copy(node, &err);
    if (outcome != STELE_OK) {
        node_failed(world, node, outcome, "beginning to fetch", &err);
        return;
    }
    struct stele_replica_counts counts;
    stele_replica_counts(other->replica, &counts);
    outcome = stele_export_begin(other->store, stele_store_ordered(node->store),
                                 stele_store_position_staged(node->store), &fetch->export, &err);
    if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
        fail(world, "node %u cannot export: %s", peer + 1, err.message);
    }
    if (outcome == STELE_NOT_FOUND) {
        give_up(world, node);
        return;
    }
    const uint64_t last = stele_export_stamp(fetch->export);
    fetch->peer = peer;
    fetch->life = other->life;
    fetch->through = last > counts.durable ? last : counts.durable;
    trace(world, node, "fetching: peer, through", peer + 1, fetch->through, 0);
    again(world, node, world->config.delay_us);
}

/* The next chunk arrives. */
static void get_chunk(struct world *world, struct node *node)
{
    struct fetch *fetch = &node->fetch;
    struct stele_error err = {.outcome = 0};
    struct stele_bytes chunk = {.data = NULL};
    const int outcome =
        stele_export_next(fetch->export, rng_log(&world->rng_schedule, 256, 65536), &chunk, &err);
    if (outcome == STELE_END) {
        fetch->ended = true;
        leave(world, fetch);
        return;
    }
    if (outcome == STELE_E_CORRUPT && world->nodes[fetch->peer].damaged) {
        leave(world, fetch);
        fetch->broken = true;
        return;
    }
    if (outcome != STELE_OK) {
        fail(world, "exporting ends with %s: %s", stele_outcome_name(outcome), err.message);
    }
    fetch->chunk = malloc(chunk.size);
    STELE_ASSERT(fetch->chunk != NULL);
    memcpy(fetch->chunk, chunk.data, chunk.size);
    const struct stele_bytes copy = {.data = fetch->chunk, .size = chunk.size};
    if (!world->calm && rng_one_in(&world->rng_fault, world->config.damage_one_in)) {
        /* On its way, past all that looks after connections. Taken all the same? Then it is what it was, in all
         * that counts. */
        fetch->chunk[rng_below(&world->rng_fault, chunk.size)] ^=
            (uint8_t)(1U << rng_below(&world->rng_fault, 8));
        world->stats.damaged_chunks++;
        if (stele_replay_decode(fetch->replay, copy, &err) != STELE_OK) {
            leave(world, fetch);
            forget_chunk(fetch);
            fetch->broken = true;
        }
        return;
    }
    if (stele_replay_decode(fetch->replay, copy, &err) != STELE_OK) {
        fail(world, "a chunk is not understood: %s", err.message);
    }
}

static void append_chunk(struct world *world, struct node *node)
{
    struct fetch *fetch = &node->fetch;
    struct stele_error err = {.outcome = 0};
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        struct stele_ticket ticket = {.place = 0};
        outcome = stele_store_replay(node->store, fetch->replay, &ticket, &err);
        world->stats.fetched += outcome == STELE_OK;
        if (outcome == STELE_STORE_ROLL) {
            node->rolling = true;
            node->roll_size = ticket.roll_size;
        }
    }
    if (outcome == STELE_END) {
        forget_chunk(fetch);
    } else if (outcome != STELE_STORE_ROLL && outcome != STELE_STORE_INDEX) {
        node_failed(world, node, outcome, "replaying", &err);
        return;
    }
    disks_pump(world, node);
}

static void finish(struct world *world, struct node *node)
{
    const uint64_t through = node->fetch.through;
    struct stele_error err = {.outcome = 0};
    drop(world, &node->fetch);
    const int outcome = stele_replay_end(node->store, true, &err);
    if (outcome != STELE_OK) {
        node_failed(world, node, outcome, "ending a fetch", &err);
        return;
    }
    node->fetching = false;
    node->promised = stele_store_ordered_durable(node->store);
    const size_t cursor = truth_after(world, through);
    node->cursor = cursor > node->cursor ? cursor : node->cursor;
    node->high = node->cursor > node->high ? node->cursor : node->high;
    stele_hashes_begin(&node->hashes, through);
    trace(world, node, "fetched: through, next", through, node->cursor, 0);
    stele_replica_fetched(node->replica, through);
    node_kick(world, node);
}

static void on_step(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct fetch *fetch = &node->fetch;
    if (fetch->broken && fetch->replay != NULL && !disks_store_is_idle(node)) {
        disks_pump(world, node);
        if (node->up) {
            again(world, node, MS);
        }
        return;
    }
    if (fetch->broken) {
        give_up(world, node);
        return;
    }
    if (fetch->replay == NULL && has_commands(node)) {
        again(world, node, 5 * MS); /* What was given to be executed comes first. */
        return;
    }
    if (fetch->replay == NULL) {
        ask(world, node);
        return;
    }
    if (fetch->ended && fetch->chunk == NULL) {
        if (disks_store_is_idle(node)) {
            finish(world, node);
        } else {
            disks_pump(world, node);
            if (node->up) {
                again(world, node, MS);
            }
        }
        return;
    }
    if (fetch->chunk == NULL) {
        get_chunk(world, node);
    }
    if (fetch->chunk != NULL && !node->rolling) {
        append_chunk(world, node);
    }
    if (node->up) {
        again(world, node, world->config.fetch_us);
    }
}
