/* A small keyring whose every byte is known. */
#ifndef STELE_TESTS_UNIT_KEYS_WORLD_H
#define STELE_TESTS_UNIT_KEYS_WORLD_H

#include "keys/ring.h"
#include "lib/check.h"
#include "lib/testalloc.h"

static struct testalloc alloc;
static struct stele_error err;
static const uint8_t world_master[32] = {7, 7, 7};
static const struct stele_ring_secret world_secret = {.key = world_master};

/* An empty one. */
static inline void world_empty(struct stele_ring *ring)
{
    uint8_t random[128];
    testalloc_init(&alloc, 1);
    for (size_t i = 0; i < sizeof random; i++) {
        random[i] = (uint8_t)i;
    }
    CHECK_OK(stele_ring_init(ring, &alloc.base, &world_secret, random, &err), err);
}

static inline void world_add(struct stele_ring *ring, const char *subject)
{
    uint8_t random[48];
    memset(random, subject[0], sizeof random);
    CHECK_OK(stele_ring_add(ring, subject, 1000, random, &err), err);
}

/* ada (erased), bob, eve. */
static inline void world_ring(struct stele_ring *ring)
{
    world_empty(ring);
    world_add(ring, "ada");
    world_add(ring, "bob");
    world_add(ring, "eve");
    CHECK(stele_ring_erase(ring, stele_ring_find(ring, "ada")->id, 2000));
    ring->generation = 5;
    ring->written_us = 3000;
}

#endif
