#include "base/alloc.h"

#include "base/status.h"

#define BUF_CAPACITY_MIN 64
#define ARENA_BLOCK_SIZE_DEFAULT ((size_t)64 * 1024)
#define ARENA_ALIGN 8

void *stele_allocate_zeroed(struct stele_alloc *alloc, size_t size)
{
    void *memory = stele_allocate(alloc, size);
    if (memory != NULL) {
        memset(memory, 0, size);
    }
    return memory;
}

/* ---- Buffers ------------------------------------------------------------------------------ */

int stele_buf_reserve(struct stele_buf *buf, struct stele_alloc *alloc, size_t extra)
{
    STELE_ASSERT(buf->size <= buf->capacity);
    STELE_ASSERT((buf->data == NULL) == (buf->capacity == 0));

    if (extra <= buf->capacity - buf->size) {
        return STELE_OK;
    }
    if (extra > SIZE_MAX / 2 - buf->size) {
        return STELE_E_NO_MEMORY;
    }
    /* Doubling makes appending byte by byte linear. The sum is at most half of SIZE_MAX, so that
     * doubling what is smaller than it cannot overflow. */
    const size_t needed = buf->size + extra;
    size_t capacity = buf->capacity > 0 ? buf->capacity : BUF_CAPACITY_MIN;
    while (capacity < needed) {
        capacity *= 2;
    }
    uint8_t *data = alloc->reallocate(alloc, buf->data, buf->capacity, capacity);
    if (data == NULL) {
        return STELE_E_NO_MEMORY;
    }
    buf->data = data;
    buf->capacity = capacity;
    return STELE_OK;
}

int stele_buf_append(struct stele_buf *buf, struct stele_alloc *alloc, struct stele_bytes bytes)
{
    STELE_ASSERT(bytes.data != NULL || bytes.size == 0);
    /* Bytes of the buffer itself would be gone once it has moved. */
    STELE_ASSERT(bytes.size == 0 || buf->data == NULL || bytes.data + bytes.size <= buf->data ||
                 bytes.data >= buf->data + buf->capacity);

    const int outcome = stele_buf_reserve(buf, alloc, bytes.size);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (bytes.size > 0) {
        memcpy(buf->data + buf->size, bytes.data, bytes.size);
        buf->size += bytes.size;
    }
    return STELE_OK;
}

void stele_buf_deinit(struct stele_buf *buf, struct stele_alloc *alloc)
{
    stele_release(alloc, buf->data, buf->capacity);
    *buf = (struct stele_buf){0};
}

/* ---- Arenas ------------------------------------------------------------------------------- */

struct stele_arena_block {
    struct stele_arena_block *next;
    size_t size; /* Of data. */
    size_t used; /* Of data; a multiple of ARENA_ALIGN. */
    _Alignas(ARENA_ALIGN) uint8_t data[];
};

static struct stele_arena_block *arena_add_block(struct stele_arena *arena,
                                                 struct stele_alloc *alloc, size_t size)
{
    struct stele_arena_block *block = stele_allocate(alloc, sizeof *block + size);
    if (block == NULL) {
        return NULL;
    }
    block->size = size;
    block->used = 0;
    arena->allocated += sizeof *block + size;
    return block;
}

void *stele_arena_allocate(struct stele_arena *arena, struct stele_alloc *alloc, size_t size)
{
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    /* Even nothing gets an address of its own, so that NULL always means failure. */
    const size_t needed = (size_t)stele_align_up(size > 0 ? size : 1, ARENA_ALIGN);
    struct stele_arena_block *block = arena->blocks;

    if (block == NULL || needed > block->size - block->used) {
        const size_t block_size =
            arena->block_size > 0 ? arena->block_size : ARENA_BLOCK_SIZE_DEFAULT;
        const bool large = needed > block_size / 4;
        struct stele_arena_block *added =
            arena_add_block(arena, alloc, large ? needed : block_size / ARENA_ALIGN * ARENA_ALIGN);
        if (added == NULL) {
            return NULL;
        }
        /* What is large gets a block of its own size behind the first one. In front, it would
         * hide the room that the first one still has, and a mix of large and small would waste
         * most of every block. */
        struct stele_arena_block **link = large && block != NULL ? &block->next : &arena->blocks;
        added->next = *link;
        *link = added;
        block = added;
    }
    void *memory = block->data + block->used;
    block->used += needed;
    STELE_ASSERT(block->used <= block->size);
    return memory;
}

void stele_arena_reset(struct stele_arena *arena, struct stele_alloc *alloc)
{
    struct stele_arena_block *kept = NULL;
    struct stele_arena_block *block = arena->blocks;
    const size_t size = arena->block_size > 0 ? arena->block_size : ARENA_BLOCK_SIZE_DEFAULT;
    while (block != NULL) {
        struct stele_arena_block *next = block->next;
        /* What was large is not kept: the next use may need none of it. */
        if (kept == NULL && block->size <= size) {
            kept = block;
        } else {
            arena->allocated -= sizeof *block + block->size;
            stele_release(alloc, block, sizeof *block + block->size);
        }
        block = next;
    }
    if (kept != NULL) {
        kept->next = NULL;
        kept->used = 0;
    }
    arena->blocks = kept;
}

void stele_arena_deinit(struct stele_arena *arena, struct stele_alloc *alloc)
{
    struct stele_arena_block *block = arena->blocks;
    while (block != NULL) {
        struct stele_arena_block *next = block->next;
        stele_release(alloc, block, sizeof *block + block->size);
        block = next;
    }
    arena->blocks = NULL;
    arena->allocated = 0;
}
