/* Scavenging: each node by itself, when it likes, segment after segment, dead in the middle of it or copied
 * from meanwhile. No decision may depend on who has scavenged what, so commands leave alone what is older than an hour,
 * and scavenging what is younger than two, by the log's own time.
 *
 * The model says what may be gone: what limits have hidden at some moment, if it was old enough then. Limits change, and
 * nodes lag; so it is asked before each change of limits and before each step of scavenging. */
#include "world.h"

static void on_step(struct world *world, struct node *node, void *object, uint64_t number);

void scavenge_init(struct world *world)
{
    struct rng *rng = &world->rng_scavenge;
    rng_init(rng, world->seed, 9);
    const uint64_t beat = world->config.heartbeat_ms * MS;
    const uint64_t every_us = world->run.hours   ? rng_log(rng, 100 * beat, 1500 * beat)
                              : world->run.quick ? rng_log(rng, 4 * SECOND, 30 * SECOND)
                                                 : rng_log(rng, 10 * SECOND, 120 * SECOND);
    world->scavenge_us = rng_percent(rng, 50) && !world->run.still ? every_us : 0;
}

void scavenge_mark(struct world *world, const char *metastream)
{
    const struct model *model = &world->model;
    if (world->scavenge_us == 0 || model->count == 0) {
        return;
    }
    const uint64_t last = model->events[model->count - 1].position;
    const uint64_t age = STELE_SCAVENGE_AGE_MS
                         << (STELE_POSITION_COUNTER_BITS + STELE_POSITION_PARTITION_BITS);
    const uint32_t stream = metastream == NULL ? MODEL_NONE : model_stream(model, metastream + 2);
    if (last > age && (metastream == NULL || stream != MODEL_NONE)) {
        model_scavenge_before(&world->model, stream, stele_order_time_us(last), last - age);
    }
}

static void stop(struct node *node)
{
    node->scavenging = false;
    node->scavenge_base = 0;
}

/* A step has failed: with a reason the next scavenging goes on. */
static void failed(struct world *world, struct node *node, int outcome, const char *what,
                   const struct stele_error *err)
{
    const uint64_t reasons =
        node->store_disk.counts.errors + node->store_disk.counts.no_space + node->damaged;
    stop(node);
    if (outcome == STELE_E_CORRUPT && node->damaged) {
        node_failed(world, node, outcome, what, err);
    } else if (reasons == 0 || (outcome != STELE_E_IO && outcome != STELE_E_NO_SPACE &&
                                outcome != STELE_E_FENCED)) {
        fail(world, "node %u: %s ends with %s without a reason: %s", node->index + 1, what,
             stele_outcome_name(outcome), err->message);
    }
}

static void again(struct world *world, struct node *node, world_handler handler)
{
    after(world, node, rng_exponential(&world->rng_scavenge, 4 * world->config.latency_us + 1),
          handler, NULL, NULL, 0);
}

static void on_end(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct stele_error err = {.outcome = 0};
    struct stele_log_pack_result packed;
    struct stele_work *work = node->scavenge_work;
    node->scavenge_work = NULL;
    const int ran = node->scavenge_outcome;
    const int outcome =
        stele_scavenge_end(node->store, work, ran, &node->scavenge_base, &packed, &err);
    trace(world, node, "scavenged: outcome, removed, base", (uint64_t)outcome,
          packed.events_removed, packed.base);
    world->stats.scavenged += packed.changed;
    world->stats.scavenged_events += packed.events_removed;
    if (outcome == STELE_OK) {
        again(world, node, on_step);
    } else {
        failed(world, node, outcome, "scavenging", ran == STELE_OK ? &err : &node->scavenge_err);
    }
}

static void on_step(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct stele_error err = {.outcome = 0};
    if (node->scavenge_base == 0) {
        scavenge_mark(world, NULL); /* Limits are looked up before the first segment is packed. */
    }
    const int outcome = stele_scavenge_begin(
        node->store, node->scavenge_base, rng_percent(&world->rng_scavenge, 50),
        node->wall_us + (int64_t)world->now_us, NULL, NULL, &node->scavenge_work, &err);
    if (outcome == STELE_OK) {
        /* What it has written is made the store's later, or never. */
        node->scavenge_outcome = stele_work_run(node->scavenge_work, &node->scavenge_err);
        again(world, node, on_end);
    } else if (outcome == STELE_NOT_FOUND) {
        stop(node);
    } else if (outcome == STELE_STORE_INDEX || outcome == STELE_E_OVERLOADED) {
        again(world, node, on_step);
    } else {
        failed(world, node, outcome, "beginning to scavenge", &err);
    }
}

static void on_scavenge(struct world *world, struct node *node, void *object, uint64_t number)
{
    if (!node->scavenging) {
        node->scavenging = true;
        world->stats.scavenges++;
        on_step(world, node, object, number);
    }
    if (node->up) {
        after(world, node, rng_exponential(&world->rng_scavenge, world->scavenge_us), on_scavenge,
              NULL, NULL, 0);
    }
}

void scavenge_opened(struct world *world, struct node *node)
{
    if (world->scavenge_us != 0) {
        after(world, node, rng_exponential(&world->rng_scavenge, world->scavenge_us), on_scavenge,
              NULL, NULL, 0);
    }
}

void scavenge_crashed(struct node *node)
{
    if (node->scavenge_work != NULL) {
        struct stele_log_pack_result packed;
        (void)!stele_scavenge_end(node->store, node->scavenge_work, STELE_E_CLOSED,
                                  &node->scavenge_base, &packed, NULL);
        node->scavenge_work = NULL;
    }
    stop(node);
}
