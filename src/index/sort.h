/* Sorting for runs. Total orders, no memory of its own but the scratch it is given. */
#ifndef STELE_INDEX_SORT_H
#define STELE_INDEX_SORT_H

#include "base/bytes.h"

struct stele_index__entry;

/* Something with a hash. */
struct stele_index__hashed {
    uint64_t hash;
    union {
        uint64_t place;
        const struct stele_index__entry *entry;
    } of;
};
typedef bool (*stele_index__hashed_less)(const struct stele_index__hashed *a,
                                         const struct stele_index__hashed *b);

/* By hash; things with the same hash by less(), which must be a total order among them. scratch
 * has room for as many. */
void stele_index__sort_hashed(struct stele_index__hashed *things,
                              struct stele_index__hashed *scratch, size_t count,
                              stele_index__hashed_less less);

/* A name and whose it is. */
struct stele_index__named {
    uint64_t cache; /* Used while sorting. */
    const uint8_t *name;
    uint32_t number;
    uint16_t size;
    uint8_t space;
};

/* By space, then name. All (space, name) must differ. */
void stele_index__sort_named(struct stele_index__named *things, size_t count);

#endif
