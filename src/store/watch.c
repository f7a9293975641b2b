/* Where streams last changed, for those who keep what they have read of them.
 *
 * A table of positions, indexed by the hash of the stream's name. Streams that share a slot are not
 * told apart, so the answer may be too high, and then somebody reads in vain; it is never too low,
 * because it is written under the lock that the append is decided under, before anybody can be told
 * of the append. Who reads needs no lock. */
#include "store/store_internal.h"

#include <stdatomic.h>

#define STREAMS (1u << 17)
#define METADATA (1u << 12) /* Is written rarely. */

_Static_assert((STREAMS & (STREAMS - 1)) == 0, "a hash is masked to be an index");
_Static_assert((METADATA & (METADATA - 1)) == 0, "a hash is masked to be an index");

struct stele_store__watch {
    _Atomic uint64_t streams[STREAMS];
    _Atomic uint64_t metadata[METADATA];
};

int stele_store_watch(struct stele_store *store, struct stele_error *err)
{
    STELE_ASSERT(!store->read_only);
    if (store->watch == NULL) {
        store->watch = stele_allocate_zeroed(store->alloc, sizeof *store->watch);
    }
    return store->watch != NULL
               ? STELE_OK
               : stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory to note which streams change");
}

void stele_store__watch_destroy(struct stele_store *store)
{
    stele_release(store->alloc, store->watch, store->watch != NULL ? sizeof *store->watch : 0);
    store->watch = NULL;
}

void stele_store__watch_note(struct stele_store *store, const struct stele_prepared *prepared,
                             uint64_t position)
{
    struct stele_store__watch *watch = store->watch;
    for (size_t i = 0; watch != NULL && i < prepared->streams_count; i++) {
        const struct stele_prepared_stream *stream = &prepared->streams[i];
        if (stream->records_count == 0) {
            continue;
        }
        atomic_store_explicit(&watch->streams[stream->key.hash & (STREAMS - 1)], position,
                              memory_order_release);
        if (stele_store__is_metastream(stream->key.name)) {
            const struct stele_bytes name = {.data = stream->key.name.data + 2,
                                             .size = stream->key.name.size - 2};
            const uint64_t hash =
                stele_index_key(store->superblock.seed, STELE_SPACE_STREAM, name).hash;
            atomic_store_explicit(&watch->metadata[hash & (METADATA - 1)], position,
                                  memory_order_release);
        }
    }
}

void stele_store_changed(const struct stele_store *store, const char *stream, uint64_t *out_stream,
                         uint64_t *out_metadata)
{
    const struct stele_store__watch *watch = store->watch;
    STELE_ASSERT(watch != NULL);
    const uint64_t hash =
        stele_index_key(store->superblock.seed, STELE_SPACE_STREAM, stele_bytes_of_text(stream))
            .hash;
    *out_stream = atomic_load_explicit(&watch->streams[hash & (STREAMS - 1)], memory_order_acquire);
    *out_metadata =
        atomic_load_explicit(&watch->metadata[hash & (METADATA - 1)], memory_order_acquire);
}
