/* Group commit with events instead of threads: take, write, sync, done.
 *
 * Several groups are under way at once; each step of each is an event of its own, so that they
 * finish in any order. Before the store's durable place is believed, the bytes of every group
 * below it are looked for on the device: this is guarantee D1. */
#include "sim.h"

#include <stdlib.h>

static struct sim_group *group_at(struct sim *sim, uint64_t number)
{
    return &sim->groups[number % SIM_GROUPS_MAX];
}

static uint64_t latency(struct sim *sim)
{
    const uint64_t mean = sim->config.latency_us;
    const uint64_t one = mean / 4 + rng_exponential(&sim->rng_schedule, mean);
    return sim->now_us < sim->slow_until_us ? one * 30 : one;
}

static void on_take(struct sim *sim, void *object, uint64_t number);

void sim_writer_kick(struct sim *sim)
{
    if (sim->store == NULL || sim->take_scheduled || !stele_store_has_staged(sim->store) ||
        stele_store_in_flight(sim->store) >= sim->config.groups_in_flight) {
        return;
    }
    const uint64_t mean = sim->config.group_delay_us;
    sim->take_scheduled = true;
    sim_after(sim, mean == 0 ? 0 : rng_exponential(&sim->rng_schedule, mean), on_take, NULL, 0);
}

/* What was acknowledged is on the device, under a name that is there too. */
static void check_on_device(struct sim *sim, const struct sim_group *group)
{
    const struct stele_bytes bytes = {.data = group->copy, .size = group->size};
    if (!simdisk_is_durable_inode(&sim->disk, group->inode, group->offset, bytes)) {
        sim_fail(
            sim,
            "D1: the store says that the log is durable up to %llu, but the group that ends at "
            "%llu is not on the device",
            (unsigned long long)stele_store_durable(sim->store),
            (unsigned long long)group->place_end);
    }
}

static void forget_group(struct sim_group *group)
{
    free(group->copy);
    *group = (struct sim_group){.id = 0};
}

/* The store was told of the end of a group: what does it make of it? */
static void check_durable(struct sim *sim)
{
    const uint64_t durable = stele_store_durable(sim->store);
    while (sim->groups_first < sim->groups_next) {
        struct sim_group *group = group_at(sim, sim->groups_first);
        const bool finished = group->done && group->outcome == STELE_OK;
        const bool believed = durable >= group->place_end;
        /* Once fenced, durable does not grow any more. */
        if (believed ? !finished : finished && !stele_store_is_fenced(sim->store)) {
            sim_fail(sim, "durable is %llu, but the group up to %llu %s",
                     (unsigned long long)durable, (unsigned long long)group->place_end,
                     finished ? "is synced and all before it are" : "is not synced");
        }
        if (!believed) {
            break;
        }
        check_on_device(sim, group);
        forget_group(group);
        sim->groups_first++;
    }
    if (sim->groups_first == sim->groups_next && durable > sim->taken_end) {
        sim_fail(sim, "durable is %llu, but only %llu was ever taken", (unsigned long long)durable,
                 (unsigned long long)sim->taken_end);
    }
    model_durable(&sim->model, durable);
}

static void finish_roll(struct sim *sim)
{
    if (!sim->rolling || !sim_writer_is_idle(sim)) {
        return;
    }
    struct stele_error err = {.outcome = 0};
    const struct sim_mark mark = sim_mark(sim);
    sim->rolling = false;
    int outcome = STELE_E_FENCED;
    if (!stele_store_is_fenced(sim->store)) {
        outcome = stele_store_roll(sim->store, sim->roll_size, &err);
        sim_trace(sim, "roll: size, outcome", sim->roll_size, (uint64_t)outcome, 0);
        sim->stats.rolls += outcome == STELE_OK;
        if (outcome != STELE_OK) {
            sim_excuse(sim, mark, outcome, "roll", &err);
        }
        if (stele_store_is_fenced(sim->store)) {
            sim->stats.fenced++; /* A name that may or may not be there. */
            sim_schedule_restart(sim, rng_exponential(&sim->rng_crash, SIM_SECOND));
        }
    }
    sim_client_rolled(sim, outcome);
    sim_writer_kick(sim);
}

static void on_finished(struct sim *sim, uint64_t number, int outcome)
{
    struct sim_group *group = group_at(sim, number);
    group->done = true;
    group->outcome = outcome;
    sim_trace(sim, "group done: id, outcome", group->id, (uint64_t)outcome, 0);
    stele_store_done(sim->store, group->id, outcome);
    if (outcome != STELE_OK && !stele_store_is_fenced(sim->store)) {
        sim_fail(sim, "a group failed and the store is not fenced");
    }
    check_durable(sim);
    sim_client_durable(sim);
    sim_writer_kick(sim);
    finish_roll(sim);
}

static void on_synced(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    struct sim_group *group = group_at(sim, number);
    struct stele_error err;
    const int outcome = simdisk_sync_end(group->sync, &err);
    group->sync = NULL;
    on_finished(sim, number, outcome);
}

static void on_write(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    struct sim_group *group = group_at(sim, number);
    struct stele_error err;
    const int outcome = sim->disk.io.ops->write(group->file, group->offset, group->bytes, &err);
    if (outcome != STELE_OK) {
        on_finished(sim, number, outcome);
        return;
    }
    group->sync = simdisk_sync_range_begin(group->file, group->offset, group->bytes.size);
    sim_after(sim, latency(sim), on_synced, NULL, number);
}

static void on_take(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    sim->take_scheduled = false;
    struct stele_log_group taken;
    if (sim->groups_next - sim->groups_first == SIM_GROUPS_MAX ||
        !stele_store_take(sim->store, &taken)) {
        return;
    }
    struct sim_group *group = group_at(sim, sim->groups_next);
    STELE_ASSERT(group->copy == NULL);
    *group = (struct sim_group){
        .id = taken.id,
        .place_end = taken.place_end,
        .file = taken.file,
        .inode = simdisk_inode_number(taken.file),
        .offset = taken.offset,
        .copy = malloc(taken.bytes.size + 1),
        .size = taken.bytes.size,
        .bytes = taken.bytes,
    };
    STELE_ASSERT(group->copy != NULL);
    memcpy(group->copy, taken.bytes.data, taken.bytes.size);
    if (taken.place_end <= sim->taken_end || taken.bytes.size == 0) {
        sim_fail(sim, "a group up to %llu was taken after one up to %llu",
                 (unsigned long long)taken.place_end, (unsigned long long)sim->taken_end);
    }
    sim->taken_end = taken.place_end;
    sim->stats.groups++;
    sim_trace(sim, "group taken: id, size, up to", taken.id, taken.bytes.size, taken.place_end);
    sim_after(sim, rng_percent(&sim->rng_schedule, 80) ? 0 : latency(sim), on_write, NULL,
              sim->groups_next);
    sim->groups_next++;
    sim_writer_kick(sim);
}

void sim_writer_roll(struct sim *sim, uint64_t size)
{
    if (!sim->rolling || size > sim->roll_size) {
        sim->roll_size = size;
    }
    sim->rolling = true;
    sim_writer_kick(sim);
    finish_roll(sim);
}

bool sim_writer_is_idle(const struct sim *sim)
{
    return sim->store == NULL || stele_store_is_fenced(sim->store) ||
           (!stele_store_has_staged(sim->store) && stele_store_in_flight(sim->store) == 0);
}

void sim_writer_crashed(struct sim *sim)
{
    for (uint64_t i = sim->groups_first; i < sim->groups_next; i++) {
        struct sim_group *group = group_at(sim, i);
        if (group->sync != NULL) {
            (void)simdisk_sync_end(group->sync, NULL);
        }
        forget_group(group);
    }
    sim->groups_first = sim->groups_next;
    sim->take_scheduled = false;
    sim->rolling = false;
}
