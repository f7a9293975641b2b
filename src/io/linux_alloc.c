#include "io/linux.h"

#include <stdatomic.h>
#include <stdlib.h>

_Static_assert(_Alignof(max_align_t) >= 16, "malloc() aligns as struct stele_alloc promises");

struct linux_alloc {
    struct stele_alloc base;
    _Atomic uint64_t used;
};

static void *linux_reallocate(struct stele_alloc *self, void *old, size_t old_size, size_t new_size)
{
    struct linux_alloc *alloc = (struct linux_alloc *)self;
    STELE_ASSERT((old == NULL) == (old_size == 0));

    void *memory = NULL;
    if (new_size == 0) {
        free(old);
    } else {
        memory = realloc(old, new_size);
        if (memory == NULL) {
            return NULL;
        }
    }
    /* Relaxed: it is a number for people, nothing is ordered by it. Unsigned arithmetic wraps, so
     * that adding the difference is right for a shrinking block, too. */
    (void)atomic_fetch_add_explicit(&alloc->used, (uint64_t)new_size - (uint64_t)old_size,
                                    memory_order_relaxed);
    return memory;
}

struct stele_alloc *stele_linux_alloc(void)
{
    static struct linux_alloc shared = {.base = {.reallocate = linux_reallocate}};
    return &shared.base;
}

struct stele_alloc *stele_linux_alloc_create(void)
{
    struct linux_alloc *alloc = malloc(sizeof *alloc);
    if (alloc == NULL) {
        return NULL;
    }
    alloc->base.reallocate = linux_reallocate;
    atomic_init(&alloc->used, 0);
    return &alloc->base;
}

uint64_t stele_linux_alloc_used(const struct stele_alloc *alloc)
{
    return atomic_load_explicit(&((const struct linux_alloc *)alloc)->used, memory_order_relaxed);
}

void stele_linux_alloc_destroy(struct stele_alloc *alloc)
{
    free(alloc);
}
