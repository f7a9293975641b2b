#include "testalloc.h"

#include <stdlib.h>

#define TESTALLOC_MAGIC UINT64_C(0x5ac1e7a110c8b10c)

/* In front of every block. */
struct testalloc_head {
    uint64_t magic;
    uint64_t size;
};

static bool testalloc_fails(struct testalloc *alloc)
{
    alloc->calls++;
    const bool planned =
        alloc->fail_at != 0 &&
        (alloc->calls == alloc->fail_at || (alloc->fail_sticky && alloc->calls > alloc->fail_at));
    if (planned || rng_one_in(&alloc->rng, alloc->fail_one_in)) {
        alloc->failures++;
        return true;
    }
    return false;
}

static void *testalloc_reallocate(struct stele_alloc *base, void *old, size_t old_size,
                                  size_t new_size)
{
    struct testalloc *alloc = (struct testalloc *)base;
    struct testalloc_head *old_head = NULL;
    if (old != NULL) {
        old_head = (struct testalloc_head *)old - 1;
        STELE_ASSERT(old_head->magic == TESTALLOC_MAGIC);
        STELE_ASSERT(old_head->size == old_size);
    } else {
        STELE_ASSERT(old_size == 0);
    }
    struct testalloc_head *head = NULL;
    if (new_size > 0) {
        if (testalloc_fails(alloc)) {
            return NULL;
        }
        head = malloc(sizeof *head + new_size);
        STELE_ASSERT(head != NULL);
        head->magic = TESTALLOC_MAGIC;
        head->size = new_size;
        /* Always to a new place, and never zeros: whoever relied on either is found out. */
        memset(head + 1, 0xa5, new_size < 4096 ? new_size : 4096);
        if (old != NULL) {
            memcpy(head + 1, old, old_size < new_size ? old_size : new_size);
        }
        alloc->bytes += new_size;
        alloc->blocks++;
    }
    if (old_head != NULL) {
        alloc->bytes -= old_size;
        alloc->blocks--;
        old_head->magic = 0;
        free(old_head);
    }
    if (alloc->bytes > alloc->bytes_max) {
        alloc->bytes_max = alloc->bytes;
    }
    return head == NULL ? NULL : head + 1;
}

void testalloc_init(struct testalloc *alloc, uint64_t seed)
{
    *alloc = (struct testalloc){.base.reallocate = testalloc_reallocate};
    rng_init(&alloc->rng, seed, 0);
}
