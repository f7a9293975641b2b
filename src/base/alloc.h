/* Where memory comes from. The core allocates through this, so that tests can fail the n-th
 * allocation and the simulator can count. */
#ifndef STELE_BASE_ALLOC_H
#define STELE_BASE_ALLOC_H

#include "base/bytes.h"
#include "base/compiler.h"

/* reallocate(self, old, old_size, new_size): NULL/0 allocates, new_size 0 frees and returns NULL.
 * Returns NULL when there is no memory; old is then untouched. Safe from any thread. Memory is
 * aligned to 16. */
struct stele_alloc {
    void *(*reallocate)(struct stele_alloc *self, void *old, size_t old_size, size_t new_size);
};

static inline void *stele_allocate(struct stele_alloc *alloc, size_t size)
{
    STELE_ASSERT(size > 0);
    return alloc->reallocate(alloc, NULL, 0, size);
}

/* Zeroed. */
void *stele_allocate_zeroed(struct stele_alloc *alloc, size_t size);

static inline void stele_release(struct stele_alloc *alloc, void *memory, size_t size)
{
    if (memory != NULL) {
        (void)alloc->reallocate(alloc, memory, size, 0);
    }
}

/* Bytes that are owned and grow. Zero-initialised is empty. */
struct stele_buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

/* Makes room for extra more bytes behind size. STELE_OK or STELE_E_NO_MEMORY (nothing changed). */
STELE_MUST_USE
int stele_buf_reserve(struct stele_buf *buf, struct stele_alloc *alloc, size_t extra);
STELE_MUST_USE
int stele_buf_append(struct stele_buf *buf, struct stele_alloc *alloc, struct stele_bytes bytes);
void stele_buf_deinit(struct stele_buf *buf, struct stele_alloc *alloc);

/* Memory that is released at once. Zero-initialised is empty; blocks are block_size or larger. */
struct stele_arena_block;
struct stele_arena {
    struct stele_arena_block *blocks; /* Newest first. */
    size_t block_size;                /* 0 means 64 KiB. */
    size_t allocated;                 /* Bytes taken from alloc. */
};

/* NULL when there is no memory. Aligned to 8. */
void *stele_arena_allocate(struct stele_arena *arena, struct stele_alloc *alloc, size_t size);
/* Releases all that was allocated but keeps one ordinary block, for what comes next. */
void stele_arena_reset(struct stele_arena *arena, struct stele_alloc *alloc);
void stele_arena_deinit(struct stele_arena *arena, struct stele_alloc *alloc);

#endif
