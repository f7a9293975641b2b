#include "auth/quota.h"

#define NS_PER_US INT64_C(1000)
#define NS_PER_S INT64_C(1000000000)
/* Nobody is made to wait longer, whatever they owe. */
#define WAIT_NS_MAX (INT64_C(600) * NS_PER_S)

/* So many units at so many a second, bounded by the longest wait. */
static int64_t cost_ns(uint64_t count, uint64_t per_s)
{
    STELE_ASSERT(per_s > 0);
    const uint64_t whole_s = count / per_s;
    const uint64_t max_s = (uint64_t)(WAIT_NS_MAX / NS_PER_S);
    if (whole_s >= max_s) {
        return WAIT_NS_MAX;
    }
    const double part = (double)(count % per_s) / (double)per_s;
    return (int64_t)whole_s * NS_PER_S + (int64_t)(part * (double)NS_PER_S);
}

static int64_t wait_us(int64_t paid_ns, int64_t now_ns)
{
    const int64_t ahead_ns = paid_ns - now_ns - NS_PER_S;
    return ahead_ns <= 0 ? 0 : (ahead_ns + NS_PER_US - 1) / NS_PER_US;
}

/* Moves *paid_ns by cost; with only_if_allowed not beyond a second from now. Returns the wait. */
static int64_t pay(int64_t *paid_ns, int64_t cost, int64_t now_us, bool only_if_allowed)
{
    const int64_t now_ns = now_us * NS_PER_US;
    int64_t before = __atomic_load_n(paid_ns, __ATOMIC_RELAXED);
    for (;;) {
        const int64_t from = before > now_ns ? before : now_ns;
        int64_t after = from + cost;
        if (only_if_allowed && after > now_ns + NS_PER_S) {
            return wait_us(after, now_ns);
        }
        after = after > now_ns + WAIT_NS_MAX ? now_ns + WAIT_NS_MAX : after;
        if (__atomic_compare_exchange_n(paid_ns, &before, after, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            return only_if_allowed ? 0 : wait_us(after, now_ns);
        }
    }
}

int64_t stele_quota_request(struct stele_quota *quota, int64_t now_us)
{
    const uint64_t per_s = quota->limits.requests_per_s;
    return per_s == 0 ? 0 : pay(&quota->requests_paid_ns, cost_ns(1, per_s), now_us, true);
}

int64_t stele_quota_pay_requests(struct stele_quota *quota, uint64_t count, int64_t now_us)
{
    const uint64_t per_s = quota->limits.requests_per_s;
    return per_s == 0 ? 0 : pay(&quota->requests_paid_ns, cost_ns(count, per_s), now_us, false);
}

int64_t stele_quota_pay_bytes(struct stele_quota *quota, uint64_t size, int64_t now_us)
{
    const uint64_t per_s = quota->limits.bytes_per_s;
    return per_s == 0 ? 0 : pay(&quota->bytes_paid_ns, cost_ns(size, per_s), now_us, false);
}

int64_t stele_quota_owed(const struct stele_quota *quota, int64_t now_us)
{
    return quota->limits.bytes_per_s == 0
               ? 0
               : wait_us(__atomic_load_n(&quota->bytes_paid_ns, __ATOMIC_RELAXED),
                         now_us * NS_PER_US);
}

bool stele_quota_call_begin(struct stele_quota *quota)
{
    const uint32_t before = __atomic_fetch_add(&quota->calls, 1, __ATOMIC_RELAXED);
    if (quota->limits.calls == 0 || before < quota->limits.calls) {
        return true;
    }
    stele_quota_call_end(quota);
    return false;
}

void stele_quota_call_end(struct stele_quota *quota)
{
    const uint32_t before = __atomic_fetch_sub(&quota->calls, 1, __ATOMIC_RELAXED);
    STELE_ASSERT(before > 0);
}

bool stele_quota_keep(struct stele_quota *quota, size_t before, size_t after)
{
    if (after <= before) {
        const uint64_t was =
            __atomic_fetch_sub(&quota->memory, (uint64_t)(before - after), __ATOMIC_RELAXED);
        STELE_ASSERT(was >= before - after);
        return true;
    }
    const uint64_t more = (uint64_t)(after - before);
    const uint64_t was = __atomic_fetch_add(&quota->memory, more, __ATOMIC_RELAXED);
    if (quota->limits.memory == 0 || was + more <= quota->limits.memory) {
        return true;
    }
    (void)__atomic_fetch_sub(&quota->memory, more, __ATOMIC_RELAXED);
    return false;
}
