/* Reading a store in one thread, as an engine reads it: until there is something, or there is nothing. */
#ifndef STELE_TESTS_LIB_STOREREAD_H
#define STELE_TESTS_LIB_STOREREAD_H

#include "store/store.h"

/* The next events. bounded: after one look at so many events as the read may look at, the answer may
 * be none. */
static inline int storeread_next(struct stele_store *store, struct stele_read *read, bool bounded,
                                 const struct stele_event **out_events, size_t *out_count,
                                 struct stele_error *err)
{
    size_t count = 0;
    int outcome = STELE_OK;
    bool again = true;
    while (outcome == STELE_OK && count == 0 && again) {
        outcome = stele_read_next(read, out_events, &count, err);
        again = !bounded || outcome == STELE_INCOMPLETE;
        if (outcome == STELE_INCOMPLETE) {
            count = 0;
            outcome = stele_read_refill(store, read, err);
        }
    }
    if (outcome == STELE_OK) {
        *out_count = count;
    }
    return outcome;
}

#endif
