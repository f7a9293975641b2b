/* Copying from node to node: a chunk is verified while the one before is being written. */
#include "client/client.h"
#include "client/remote.h"

/* So many bytes may be staged and not durable. */
#define BEHIND_MAX ((uint64_t)16 * 1024 * 1024)

struct stele_client_copy {
    struct stele *store;
    struct stele_replay *replay;
};

int stele_client_export_begin(struct stele *store, uint64_t after_stamp, uint64_t after_position,
                              struct stele_export **out_export, struct stele_error *err)
{
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK) {
        STELE_ASSERT(store->far == NULL);
        (void)pthread_mutex_lock(&store->lock);
        outcome = stele_export_begin(store->core, after_stamp, after_position, out_export, err);
        (void)pthread_mutex_unlock(&store->lock);
    }
    return outcome;
}

void stele_client_export_end(struct stele *store, struct stele_export *export)
{
    (void)pthread_mutex_lock(&store->lock);
    stele_export_end(store->core, export);
    (void)pthread_mutex_unlock(&store->lock);
}

int stele_client_copy_begin(struct stele *store, struct stele_client_copy **out_copy,
                            struct stele_error *err)
{
    int outcome = stele_client__enter(store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    STELE_ASSERT(store->far == NULL);
    struct stele_client_copy *copy = stele_allocate_zeroed(store->alloc, sizeof *copy);
    if (copy == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "copy: no memory");
    }
    copy->store = store;
    outcome = stele_replay_create(store->core, &copy->replay, err);
    if (outcome == STELE_OK) {
        (void)pthread_mutex_lock(&store->lock);
        outcome = stele_client__start_writers(store, err);
        if (outcome == STELE_OK) {
            outcome = stele_replay_begin(store->core, err);
        }
        (void)pthread_mutex_unlock(&store->lock);
    }
    if (outcome != STELE_OK) {
        stele_replay_destroy(copy->replay);
        stele_release(store->alloc, copy, sizeof *copy);
        return outcome;
    }
    *out_copy = copy;
    return STELE_OK;
}

/* Called under the lock, which is released meanwhile. */
static int wait_for(struct stele *store, uint64_t place, struct stele_error *err)
{
    const int outcome = stele_client__wait_durable(store, place, err);
    (void)pthread_mutex_lock(&store->lock);
    return outcome;
}

/* Under the lock. */
static int keep_pace(struct stele *store, struct stele_error *err)
{
    const uint64_t end = stele_store_end(store->core);
    if (end - stele_store_durable(store->core) > BEHIND_MAX) {
        /* Not for all of it, so that the disk has something to do while the next chunk is verified. */
        return wait_for(store, end - BEHIND_MAX / 2, err);
    }
    if (stele_store_staged_size(store->core) > BEHIND_MAX / 4) {
        stele_client__hand_over(store);
    }
    return STELE_OK;
}

/* Under the lock. */
static int append_chunk(struct stele *store, struct stele_replay *replay, struct stele_error *err)
{
    for (;;) {
        struct stele_ticket ticket = {.place = 0};
        int outcome = store->closing
                          ? stele_fail(err, STELE_E_CLOSED, 0, "the store is being closed")
                          : stele_store_replay(store->core, replay, &ticket, err);
        if (outcome == STELE_STORE_ROLL) {
            outcome = stele_client__roll(store, ticket.roll_size, err);
        } else if (outcome == STELE_STORE_INDEX) {
            outcome = stele_client__wait_index(store, err);
        } else if (outcome == STELE_OK) {
            outcome = keep_pace(store, err);
        }
        if (outcome != STELE_OK) {
            return outcome == STELE_END ? STELE_OK : outcome;
        }
    }
}

int stele_client_copy_append(struct stele_client_copy *copy, struct stele_bytes chunk,
                             struct stele_error *err)
{
    struct stele *store = copy->store;
    int outcome = stele_replay_decode(copy->replay, chunk, err);
    if (outcome == STELE_OK) {
        (void)pthread_mutex_lock(&store->lock);
        outcome = append_chunk(store, copy->replay, err);
        stele_client__hand_over(store);
        (void)pthread_mutex_unlock(&store->lock);
    }
    return outcome;
}

void stele_client_copy_sizes(const struct stele_client_copy *copy,
                             uint64_t sizes[STELE_PARTITIONS_MAX])
{
    stele_replay_sizes(copy->replay, sizes);
}

int stele_client_copy_end(struct stele_client_copy *copy, bool complete, struct stele_error *err)
{
    struct stele *store = copy->store;
    (void)pthread_mutex_lock(&store->lock);
    int outcome = wait_for(store, stele_store_end(store->core), err);
    if (outcome == STELE_OK) {
        outcome = stele_replay_end(store->core, complete, err);
    }
    (void)pthread_mutex_unlock(&store->lock);
    stele_replay_destroy(copy->replay);
    stele_release(store->alloc, copy, sizeof *copy);
    return outcome;
}
