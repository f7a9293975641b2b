/* How much one user may ask for: requests and bytes a second, calls at once, memory for requests that
 * are not whole yet. All principals of a name share one quota, on every loop: it is made of atomics.
 *
 * A rate is kept as one number, the time up to which everything is paid for (a "generic cell rate
 * algorithm"): it moves by what a request costs, and whoever is more than a second ahead of the clock
 * has to wait until it has caught up. A second's worth may thus come at once. Pure: time comes from
 * the caller. */
#ifndef STELE_AUTH_QUOTA_H
#define STELE_AUTH_QUOTA_H

#include "base/assert.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 0: no bound. */
struct stele_quota_limits {
    uint64_t requests_per_s;
    uint64_t bytes_per_s; /* Bodies of requests and of answers. */
    uint64_t memory;      /* Bytes of requests that are not whole yet. */
    uint32_t calls;       /* At once. */
};

struct stele_quota {
    struct stele_quota_limits limits;
    int64_t requests_paid_ns; /* Atomic, like the rest. */
    int64_t bytes_paid_ns;
    uint64_t memory;
    uint32_t calls;
};

/* One more request. Returns 0, or how many microseconds are to pass before one is allowed. */
int64_t stele_quota_request(struct stele_quota *quota, int64_t now_us);
/* These came in without being asked for, or went out. Returns how long nothing more should: 0, or
 * microseconds. */
int64_t stele_quota_pay_requests(struct stele_quota *quota, uint64_t count, int64_t now_us);
int64_t stele_quota_pay_bytes(struct stele_quota *quota, uint64_t size, int64_t now_us);
/* How long bytes will be owed. */
int64_t stele_quota_owed(const struct stele_quota *quota, int64_t now_us);

/* false: as many as are allowed are under way. */
STELE_MUST_USE
bool stele_quota_call_begin(struct stele_quota *quota);
void stele_quota_call_end(struct stele_quota *quota);

/* What one request keeps changes from before to after. false: too much is kept; nothing has changed. */
STELE_MUST_USE
bool stele_quota_keep(struct stele_quota *quota, size_t before, size_t after);

#endif
