#include "base/position.h"

#define MS_BITS 41
#define MS_MAX ((INT64_C(1) << MS_BITS) - 1)
_Static_assert(MS_BITS + STELE_POSITION_COUNTER_BITS == 53, "a tick has 53 bits");
_Static_assert(STELE_TICK_MAX >> STELE_POSITION_COUNTER_BITS == MS_MAX, "and they are these");

/* Milliseconds since 2020, not below 0, perhaps above MS_MAX. */
static int64_t ms_since_epoch(int64_t unix_ms)
{
    return unix_ms > STELE_EPOCH_MS ? unix_ms - STELE_EPOCH_MS : 0;
}

uint64_t stele_tick_of_ms(int64_t unix_ms)
{
    const int64_t ms = ms_since_epoch(unix_ms);
    return ms > MS_MAX ? STELE_TICK_MAX : (uint64_t)ms << STELE_POSITION_COUNTER_BITS;
}

int stele_hlc_take(struct stele_hlc *clock, int64_t now_ms, uint64_t count, uint64_t *out_first)
{
    STELE_ASSERT(count > 0);
    STELE_ASSERT(clock->tick <= STELE_TICK_MAX);

    /* A wall clock beyond 2089 would use up at once every tick that is left. */
    if (ms_since_epoch(now_ms) > MS_MAX) {
        return STELE_E_LIMIT;
    }
    const uint64_t now = stele_tick_of_ms(now_ms);
    const uint64_t first = now > clock->tick ? now : clock->tick + 1;
    if (first > STELE_TICK_MAX || count - 1 > STELE_TICK_MAX - first) {
        return STELE_E_LIMIT;
    }
    STELE_ASSERT(first > clock->tick);
    clock->tick = first + (count - 1);
    *out_first = first;
    return STELE_OK;
}

int stele_hlc_observe(struct stele_hlc *clock, int64_t now_ms, int64_t ahead_ms_max, uint64_t tick)
{
    STELE_ASSERT(ahead_ms_max >= 0);
    STELE_ASSERT(clock->tick <= STELE_TICK_MAX);

    if (tick > STELE_TICK_MAX) {
        return STELE_E_INVALID;
    }
    /* Subtracted rather than added: neither side can overflow, whatever the wall clock says. */
    const int64_t tick_ms = (int64_t)(tick >> STELE_POSITION_COUNTER_BITS);
    if (tick_ms - ms_since_epoch(now_ms) > ahead_ms_max) {
        return STELE_E_INVALID;
    }
    if (tick > clock->tick) {
        clock->tick = tick;
    }
    return STELE_OK;
}
