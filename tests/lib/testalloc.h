/* Memory for tests: counts what is out, checks the sizes that are given back, and fails when it is
 * told to. One thread. */
#ifndef STELE_TESTS_LIB_TESTALLOC_H
#define STELE_TESTS_LIB_TESTALLOC_H

#include "base/alloc.h"
#include "rng.h"

struct testalloc {
    struct stele_alloc base;
    uint64_t bytes; /* Out now. */
    uint64_t blocks;
    uint64_t bytes_max;
    uint64_t calls;       /* That asked for memory, ever. */
    uint64_t fail_at;     /* The call with this number fails, and … */
    bool fail_sticky;     /* … all after it. 0: none. */
    uint32_t fail_one_in; /* And one in so many at random; 0: none. */
    uint64_t failures;
    struct rng rng;
};

void testalloc_init(struct testalloc *alloc, uint64_t seed);

#endif
