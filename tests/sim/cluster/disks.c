/* A node's two disks: group commit of the WAL and of the store, in steps: taken, written, synced, done.
 *
 * Several writes are under way at once and end in any order. */
#include "world.h"

#include <stdlib.h>

enum which { WAL, STORE };

static struct write *writes_of(struct node *node, enum which which)
{
    return which == WAL ? node->wal_writes : node->store_writes;
}

static struct write *free_write(struct node *node, enum which which)
{
    struct write *writes = writes_of(node, which);
    for (size_t i = 0; i < WRITES_MAX; i++) {
        if (!writes[i].used) {
            return &writes[i];
        }
    }
    return NULL;
}

static uint64_t latency(struct world *world, const struct node *node)
{
    const uint64_t mean = world->config.latency_us;
    const uint64_t one = mean / 4 + rng_exponential(&world->rng_schedule, mean);
    return world->now_us < node->slow_until_us ? node->slow_until_us - world->now_us + one : one;
}

static void finish_roll(struct world *world, struct node *node)
{
    if (!node->rolling || !disks_store_is_idle(node) || node->sync != NULL) {
        return;
    }
    struct stele_error err = {.outcome = 0};
    node->rolling = false;
    const int outcome = stele_store_roll(node->store, node->roll_size, &err);
    if (outcome != STELE_OK) {
        node_failed(world, node, outcome, "rolling the store", &err);
    }
}

static void on_done(struct world *world, struct node *node, struct write *write, enum which which,
                    int outcome)
{
    const uint64_t id = write->id;
    write->used = false;
    if (which == WAL) {
        stele_replica_done(node->replica, id, outcome);
        node_kick(world, node);
    } else {
        stele_store_done(node->store, id, outcome);
        if (outcome != STELE_OK) {
            struct stele_error err = {.outcome = outcome};
            node_failed(world, node, outcome, "writing the store", &err);
            return;
        }
        execute_durable(world, node);
        finish_roll(world, node);
    }
    if (node->up) {
        disks_pump(world, node);
    }
}

/* ---- A store that is synced later ---- */

static bool which_is_written_only(const struct node *node, enum which which)
{
    return which == STORE && stele_store_syncs_later(node->store);
}

static void on_store_synced(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct stele_error err = {.outcome = 0};
    const int outcome = simdisk_sync_end(node->sync, &err);
    node->sync = NULL;
    stele_store_sync_end(node->store, &node->sync_log, outcome);
    if (outcome != STELE_OK) {
        node_failed(world, node, outcome, "syncing the store", &err);
        return;
    }
    execute_synced(node, node->sync_visible, node->sync_effect);
    node_kick(world, node);
    disks_pump(world, node);
    if (node->up) {
        disks_sync_soon(world, node);
    }
}

static void on_sync_due(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    node->sync_scheduled = false;
    node->sync_visible = node->visible;
    node->sync_effect = node->effect;
    if (stele_store_sync_begin(node->store, &node->sync_log)) {
        node->sync = simdisk_sync_begin(node->sync_log.file);
        after(world, node, latency(world, node), on_store_synced, NULL, NULL, 0);
    } else if (!stele_store_is_fenced(node->store)) {
        execute_synced(node, node->sync_visible, node->sync_effect);
        node_kick(world, node);
    }
}

void disks_sync_soon(struct world *world, struct node *node)
{
    if (!node->sync_scheduled && node->sync == NULL && stele_store_syncs_later(node->store)) {
        node->sync_scheduled = true;
        after(world, node, rng_exponential(&world->rng_schedule, world->config.sync_us),
              on_sync_due, NULL, NULL, 0);
    }
}

/* ---- Writing ---- */

static void on_synced(struct world *world, struct node *node, void *object, uint64_t number)
{
    struct write *write = object;
    const int outcome = simdisk_sync_end(write->sync, NULL);
    write->sync = NULL;
    on_done(world, node, write, (enum which)number, outcome);
}

static void on_write(struct world *world, struct node *node, void *object, uint64_t number)
{
    struct write *write = object;
    struct stele_error err;
    const int outcome = write->file->io->ops->write(write->file, write->offset, write->bytes, &err);
    if (outcome != STELE_OK) {
        /* What write_durable() answers on a full disk, too: any part may be durable. */
        on_done(world, node, write, (enum which)number, STELE_E_IO);
        return;
    }
    if (which_is_written_only(node, (enum which)number)) {
        on_done(world, node, write, STORE, STELE_OK);
        if (node->up) {
            disks_sync_soon(world, node);
        }
        return;
    }
    write->sync = simdisk_sync_range_begin(write->file, write->offset, write->bytes.size);
    after(world, node, latency(world, node), on_synced, write, NULL, number);
}

static void begin(struct world *world, struct node *node, enum which which,
                  const struct write *taken)
{
    struct write *write = free_write(node, which);
    STELE_ASSERT(write != NULL);
    *write = *taken;
    write->used = true;
    after(world, node, rng_percent(&world->rng_schedule, 80) ? 0 : latency(world, node), on_write,
          write, NULL, (uint64_t)which);
}

void disks_pump(struct world *world, struct node *node)
{
    struct stele_wal_group wal;
    while (free_write(node, WAL) != NULL && stele_replica_take(node->replica, &wal)) {
        begin(world, node, WAL,
              &(struct write){
                  .id = wal.id, .file = wal.file, .offset = wal.offset, .bytes = wal.bytes});
    }
    struct stele_log_group store;
    while (free_write(node, STORE) != NULL && !stele_store_is_fenced(node->store) &&
           stele_store_take(node->store, &store)) {
        begin(
            world, node, STORE,
            &(struct write){
                .id = store.id, .file = store.file, .offset = store.offset, .bytes = store.bytes});
    }
    finish_roll(world, node);
}

void disks_crashed(struct node *node)
{
    for (size_t i = 0; i < WRITES_MAX; i++) {
        struct write *both[] = {&node->wal_writes[i], &node->store_writes[i]};
        for (size_t k = 0; k < 2; k++) {
            if (both[k]->used && both[k]->sync != NULL) {
                (void)simdisk_sync_end(both[k]->sync, NULL);
            }
            *both[k] = (struct write){.used = false};
        }
    }
    if (node->sync != NULL) {
        (void)simdisk_sync_end(node->sync, NULL);
        node->sync = NULL;
    }
    node->sync_scheduled = false;
    node->rolling = false;
}

bool disks_store_is_idle(const struct node *node)
{
    return !stele_store_has_staged(node->store) && stele_store_in_flight(node->store) == 0;
}
