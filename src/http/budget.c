#include "http/http_internal.h"

#define THOUSAND 1000

void stele_http__bucket_init(struct stele_http__bucket *bucket, uint32_t per_s, uint32_t burst,
                             int64_t now_us)
{
    bucket->capacity = (int64_t)burst * THOUSAND;
    bucket->level = bucket->capacity;
    bucket->per_s = per_s;
    bucket->filled_us = now_us;
}

static void fill(struct stele_http__bucket *bucket, int64_t now_us)
{
    STELE_ASSERT(now_us >= bucket->filled_us);
    int64_t passed_us = now_us - bucket->filled_us;
    /* After an hour every bucket is full; more would overflow the product. */
    passed_us = passed_us > INT64_C(3600000000) ? INT64_C(3600000000) : passed_us;
    bucket->level += passed_us * bucket->per_s / THOUSAND;
    bucket->filled_us = now_us;
    if (bucket->level > bucket->capacity) {
        bucket->level = bucket->capacity;
    }
}

bool stele_http__bucket_take(struct stele_http__bucket *bucket, uint32_t tokens, int64_t now_us)
{
    const int64_t wanted = (int64_t)tokens * THOUSAND;
    /* The clock is asked for only when it matters: a flood comes within one turn of the loop. */
    if (bucket->level < wanted || bucket->level < bucket->capacity / 2) {
        fill(bucket, now_us);
    }
    if (bucket->level < wanted) {
        return false;
    }
    bucket->level -= wanted;
    return true;
}

void stele_http__bucket_give(struct stele_http__bucket *bucket, uint32_t tokens)
{
    bucket->level += (int64_t)tokens * THOUSAND;
    if (bucket->level > bucket->capacity) {
        bucket->level = bucket->capacity;
    }
}
