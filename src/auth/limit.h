/* How many wrong passwords an address may send. A token bucket for each address (IPv4 whole, IPv6
 * its /64, because one customer gets a whole one), in a table of fixed size: when it is full the
 * address that is nearest to being forgiven makes room. Pure: time comes from the caller. */
#ifndef STELE_AUTH_LIMIT_H
#define STELE_AUTH_LIMIT_H

#include "base/alloc.h"
#include "base/status.h"

#define STELE_LIMIT_PEERS 1024

struct stele_limit_peer {
    uint8_t address[16]; /* All zeros: free. */
    int64_t debt_us;     /* When all of its failures will be forgiven. */
};

struct stele_limit {
    struct stele_limit_peer *peers; /* STELE_LIMIT_PEERS, hashed by seed, 8 neighbours looked at. */
    uint64_t seed;
    int64_t refill_us; /* One failure is forgiven every so many. */
    int64_t burst_us;  /* refill_us times the failures allowed in a row. */
};

STELE_MUST_USE
int stele_limit_init(struct stele_limit *limit, struct stele_alloc *alloc, uint64_t seed,
                     uint32_t failures_max, uint32_t refill_seconds);
void stele_limit_deinit(struct stele_limit *limit, struct stele_alloc *alloc);

/* peer: "1.2.3.4", "1.2.3.4:567", "[::1]:567", "::1"; others count as one address by their text. */
bool stele_limit_allows(const struct stele_limit *limit, const char *peer, int64_t now_us);
/* Do both count as one address? */
bool stele_limit_same(const char *peer, const char *other);
void stele_limit_failed(struct stele_limit *limit, const char *peer, int64_t now_us);

#endif
