/* States that are kept between commands: a table in shards, the least recently used go first. */
#include "base/checksum.h"
#include "io/linux.h"
#include "runner/command_internal.h"

void stele_kept__init(struct stele_kept_table *table, size_t states_max)
{
    for (size_t i = 0; i < STELE_KEPT_SHARDS; i++) {
        (void)pthread_mutex_init(&table->shards[i].lock, NULL);
        (void)pthread_cond_init(&table->shards[i].freed, NULL);
    }
    table->shard_max = (states_max + STELE_KEPT_SHARDS - 1) / STELE_KEPT_SHARDS;
}

void stele_kept__forget(struct stele_kept *kept)
{
    stele_memory_destroy(kept->memory);
    kept->memory = NULL;
    kept->state = NULL;
    kept->snapshot_count = 0;
    kept->snapshot_us = 0;
    kept->certain = false;
}

static void destroy(struct stele_alloc *alloc, struct stele_kept *kept)
{
    stele_kept__forget(kept);
    stele_release(alloc, kept->stream, strlen(kept->stream) + 1);
    stele_release(alloc, kept, sizeof *kept);
}

void stele_kept__deinit(struct stele_runner *runner)
{
    for (size_t i = 0; i < STELE_KEPT_SHARDS; i++) {
        struct stele_kept_shard *shard = &runner->kept.shards[i];
        for (size_t chain = 0; chain < STELE_KEPT_CHAINS; chain++) {
            struct stele_kept *kept = shard->chains[chain];
            while (kept != NULL) {
                struct stele_kept *next = kept->chain;
                STELE_ASSERT(!kept->busy);
                destroy(runner->alloc, kept);
                kept = next;
            }
        }
        (void)pthread_cond_destroy(&shard->freed);
        (void)pthread_mutex_destroy(&shard->lock);
    }
}

size_t stele_kept__count(struct stele_kept_table *table)
{
    size_t count = 0;
    for (size_t i = 0; i < STELE_KEPT_SHARDS; i++) {
        (void)pthread_mutex_lock(&table->shards[i].lock);
        count += table->shards[i].count;
        (void)pthread_mutex_unlock(&table->shards[i].lock);
    }
    return count;
}

static struct stele_kept_shard *shard_of(struct stele_runner *runner, uint64_t hash)
{
    return &runner->kept.shards[hash % STELE_KEPT_SHARDS];
}

static struct stele_kept **chain_of(struct stele_kept_shard *shard, uint64_t hash)
{
    return &shard->chains[hash / STELE_KEPT_SHARDS % STELE_KEPT_CHAINS];
}

/* ---- The list of those that nobody uses ---- */

static void unlist(struct stele_kept_shard *shard, struct stele_kept *kept)
{
    *(kept->newer != NULL ? &kept->newer->older : &shard->newest) = kept->older;
    *(kept->older != NULL ? &kept->older->newer : &shard->oldest) = kept->newer;
    kept->newer = NULL;
    kept->older = NULL;
}

static void enlist(struct stele_kept_shard *shard, struct stele_kept *kept)
{
    kept->older = shard->newest;
    kept->newer = NULL;
    *(shard->newest != NULL ? &shard->newest->newer : &shard->oldest) = kept;
    shard->newest = kept;
}

static void remove_from_table(struct stele_kept_shard *shard, struct stele_kept *kept)
{
    struct stele_kept **link = chain_of(shard, kept->hash);
    while (*link != kept) {
        link = &(*link)->chain;
    }
    *link = kept->chain;
    shard->count--;
}

/* ---- Taking and giving back ---- */

static struct stele_kept *find(struct stele_kept_shard *shard, uint64_t hash,
                               const struct stele_fold *fold, const char *stream)
{
    struct stele_kept *kept = *chain_of(shard, hash);
    while (kept != NULL &&
           (kept->hash != hash || kept->fold != fold || strcmp(kept->stream, stream) != 0)) {
        kept = kept->chain;
    }
    return kept;
}

static struct stele_kept *make(struct stele_runner *runner, uint64_t hash,
                               const struct stele_fold *fold, const char *stream)
{
    struct stele_kept *kept = stele_allocate_zeroed(runner->alloc, sizeof *kept);
    char *name = kept != NULL ? stele_command__text(runner->alloc, stream) : NULL;
    if (name == NULL) {
        stele_release(runner->alloc, kept, kept != NULL ? sizeof *kept : 0);
        return NULL;
    }
    kept->hash = hash;
    kept->fold = fold;
    kept->stream = name;
    kept->busy = true;
    kept->hidden = STELE_EXPECT_NO_STREAM;
    return kept;
}

struct stele_kept *stele_kept__take(struct stele_runner *runner, const struct stele_fold *fold,
                                    const char *stream, uint64_t held_above, bool never_waits,
                                    bool *out_busy)
{
    const uint64_t hash = stele_hash64(stele_bytes_of_text(stream), (uint64_t)(uintptr_t)fold);
    struct stele_kept_shard *shard = shard_of(runner, hash);
    (void)pthread_mutex_lock(&shard->lock);
    struct stele_kept *kept = find(shard, hash, fold, stream);
    *out_busy = kept != NULL && kept->busy;
    if (*out_busy && never_waits) {
        (void)pthread_mutex_unlock(&shard->lock);
        return NULL;
    }
    if (kept != NULL && kept->busy && hash > held_above) {
        /* It stays in the table as long as somebody waits for it. */
        kept->waiters++;
        while (kept->busy) {
            (void)pthread_cond_wait(&shard->freed, &shard->lock);
        }
        kept->waiters--;
        unlist(shard, kept);
        kept->busy = true;
        (void)pthread_mutex_unlock(&shard->lock);
        return kept;
    }
    if (kept != NULL && !kept->busy) {
        unlist(shard, kept);
        kept->busy = true;
    } else {
        const bool taken = kept != NULL;
        kept = make(runner, hash, fold, stream);
        if (kept != NULL && !taken && runner->kept.shard_max > 0) {
            struct stele_kept **chain = chain_of(shard, hash);
            kept->shared = true;
            kept->chain = *chain;
            *chain = kept;
            shard->count++;
        }
    }
    (void)pthread_mutex_unlock(&shard->lock);
    return kept;
}

void stele_kept__give_back(struct stele_runner *runner, struct stele_kept *kept)
{
    if (!kept->shared) {
        destroy(runner->alloc, kept);
        return;
    }
    if (kept->memory != NULL && stele_memory_size(kept->memory) > STELE_KEPT_SIZE_MAX) {
        stele_kept__forget(kept);
    }
    struct stele_kept_shard *shard = shard_of(runner, kept->hash);
    struct stele_kept *gone = NULL;
    (void)pthread_mutex_lock(&shard->lock);
    kept->busy = false;
    enlist(shard, kept);
    if (kept->waiters > 0) {
        /* Of those who sleep here some may wait for other states of the shard. */
        (void)pthread_cond_broadcast(&shard->freed);
    }
    if (shard->count > runner->kept.shard_max) {
        for (gone = shard->oldest; gone != NULL && gone->waiters > 0; gone = gone->newer) {
        }
        if (gone != NULL) {
            unlist(shard, gone);
            remove_from_table(shard, gone);
        }
    }
    (void)pthread_mutex_unlock(&shard->lock);
    if (gone != NULL) {
        destroy(runner->alloc, gone);
    }
}
