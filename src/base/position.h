/* Positions: a hybrid logical clock in 64 bits (Kulkarni, Demirbas, Madappa, Avva, Leone: Logical
 * Physical Clocks, 2014).
 *
 *     bit 63          62 … 22                 21 … 10           9 … 0
 *     always 0   milliseconds since 2020-01-01   counter       partition
 *
 * Milliseconds and counter form one number, the tick: when the counter is full the addition
 * carries into the next millisecond, so the clock never wraps and never goes back. */
#ifndef STELE_BASE_POSITION_H
#define STELE_BASE_POSITION_H

#include "base/assert.h"
#include "base/compiler.h"
#include "base/status.h"

#include <stdint.h>

#define STELE_POSITION_PARTITION_BITS 10
#define STELE_POSITION_COUNTER_BITS 12
#define STELE_PARTITIONS_MAX (1U << STELE_POSITION_PARTITION_BITS)
#define STELE_TICK_MAX ((UINT64_C(1) << 53) - 1)
/* 2020-01-01T00:00:00Z in milliseconds since 1970. */
#define STELE_EPOCH_MS INT64_C(1577836800000)

static inline uint64_t stele_position_make(uint64_t tick, uint32_t partition)
{
    STELE_ASSERT(tick <= STELE_TICK_MAX);
    STELE_ASSERT(partition < STELE_PARTITIONS_MAX);
    return tick << STELE_POSITION_PARTITION_BITS | partition;
}

static inline uint64_t stele_position_tick(uint64_t position)
{
    return position >> STELE_POSITION_PARTITION_BITS;
}

static inline uint32_t stele_position_partition(uint64_t position)
{
    return (uint32_t)(position & (STELE_PARTITIONS_MAX - 1));
}

/* The first tick of a wall-clock time, in milliseconds since 1970; 0 before 2020. */
uint64_t stele_tick_of_ms(int64_t unix_ms);

/* The clock: the last tick that was given out or seen. */
struct stele_hlc {
    uint64_t tick;
};

/* Takes count consecutive ticks for events that happen now; *out_first is the first. Send rule.
 * STELE_E_LIMIT when the 41 bits of milliseconds are used up (2089). */
STELE_MUST_USE
int stele_hlc_take(struct stele_hlc *clock, int64_t now_ms, uint64_t count, uint64_t *out_first);

/* Takes note of a tick from elsewhere. Receive rule. STELE_E_INVALID, and nothing changed, if it
 * is more than ahead_ms_max ahead of now_ms: one broken clock must not drag all others along. */
STELE_MUST_USE
int stele_hlc_observe(struct stele_hlc *clock, int64_t now_ms, int64_t ahead_ms_max, uint64_t tick);

#endif
