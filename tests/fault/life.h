/* A short life of a store on a disk in memory, the same every time: appends of one and of several
 * streams, segment rolls, index runs and merges, metadata, a delete, scavenging, reopening. It
 * keeps book of what was acknowledged, so that after any fault it can be said what must be there.
 *
 * The tests beside this file run it once per call that can fail, and fail that call. */
#ifndef STELE_TESTS_FAULT_LIFE_H
#define STELE_TESTS_FAULT_LIFE_H

#include "lib/check.h"
#include "lib/memio.h"
#include "lib/testalloc.h"
#include "store/store.h"

#include <stdbool.h>

#define LIFE_STREAMS 5
#define LIFE_EVENTS_MAX 4096

struct life {
    struct memio disk;
    struct testalloc alloc;
    struct stele_store *store;
    bool compress;
    uint64_t next_number; /* Of events, from 1: their id and their data. */
    /* Acknowledged numbers of each stream, in order. */
    uint64_t kept[LIFE_STREAMS][LIFE_EVENTS_MAX];
    size_t kept_count[LIFE_STREAMS];
    /* The append that ended as unknown, if one did: then the life ends. */
    uint64_t unknown[LIFE_STREAMS][8];
    size_t unknown_count[LIFE_STREAMS];
    bool is_unknown;
    bool over; /* Fenced, or opening failed. */
    uint64_t acknowledged;
};

void life_init(struct life *life, uint64_t seed, bool compress);
void life_deinit(struct life *life);
/* Opens the store; on failure the life is over. */
void life_open(struct life *life);
/* All of it. Returns early when it is over. */
void life_run(struct life *life);
/* After a crash or kill, without faults: opens, and checks that everything that was acknowledged is
 * there once and in order, that the unknown append is there whole or not at all, that nothing else
 * is, that verify finds nothing; then appends once more, and closes. */
void life_check(struct life *life);

#endif
