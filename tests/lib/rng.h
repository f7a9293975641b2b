/* Seeded random numbers, the same on every compiler: xoshiro256** (Blackman, Vigna 2018), seeded
 * through splitmix64. Integers only. */
#ifndef STELE_TESTS_LIB_RNG_H
#define STELE_TESTS_LIB_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

__extension__ typedef unsigned __int128 rng_wide;

struct rng {
    uint64_t state[4];
};

static inline uint64_t rng_mix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* stream: streams of one seed are independent, so that more draws from one reshuffle no other. */
static inline void rng_init(struct rng *rng, uint64_t seed, uint64_t stream)
{
    uint64_t state = seed;
    state = rng_mix(&state) ^ (stream + 1) * UINT64_C(0xd1342543de82ef95);
    for (int i = 0; i < 4; i++) {
        rng->state[i] = rng_mix(&state);
    }
}

static inline uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->state;
    const uint64_t x = s[1] * 5;
    const uint64_t result = (x << 7 | x >> 57) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 45 | s[3] >> 19;
    return result;
}

/* 0 … bound - 1; 0 for a bound of 0. The bias of the multiplication is far below what matters. */
static inline uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    return (uint64_t)((rng_wide)rng_next(rng) * bound >> 64);
}

/* lo … hi, both included. */
static inline uint64_t rng_between(struct rng *rng, uint64_t lo, uint64_t hi)
{
    return lo + rng_below(rng, hi - lo + 1);
}

/* True once in n times; never for n = 0. */
static inline bool rng_one_in(struct rng *rng, uint64_t n)
{
    return n != 0 && rng_below(rng, n) == 0;
}

static inline bool rng_percent(struct rng *rng, uint64_t percent)
{
    return rng_below(rng, 100) < percent;
}

/* Between lo and hi (lo > 0), each power of two equally likely: for rates and sizes. */
static inline uint64_t rng_log(struct rng *rng, uint64_t lo, uint64_t hi)
{
    unsigned octaves = 0;
    while (lo << (octaves + 1) <= hi && octaves < 62) {
        octaves++;
    }
    const uint64_t base = lo << rng_below(rng, octaves + 1);
    const uint64_t value = base + rng_below(rng, base);
    return value > hi ? hi : value;
}

/* Times between events of a Poisson process with this mean, by the inverse of a table-free
 * approximation: -ln(u) in integers, from the position of the first set bit and one linear step. */
static inline uint64_t rng_exponential(struct rng *rng, uint64_t mean)
{
    const uint64_t u = rng_next(rng) | 1;
    const unsigned zeros = (unsigned)__builtin_clzll(u);
    /* -log2(u / 2^64) = zeros + 1 - log2(1 + f), and log2(1 + f) is nearly f. */
    const uint64_t fraction = zeros == 63 ? 0 : (u << (zeros + 1)) >> 48;
    const uint64_t log2_16 = ((uint64_t)(zeros + 1) << 16) - fraction;
    /* ln 2 = 45426 / 65536. */
    return (uint64_t)((rng_wide)mean * log2_16 * 45426 >> 32);
}

#endif
