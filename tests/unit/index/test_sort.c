/* Both sorts give the one right order.
 *
 * Method: random things, few and many, spread and crowded, compared with qsort() and a plain
 * comparison. */
#include "base/compiler.h"
#include "index/sort.h"
#include "lib/check.h"
#include "lib/rng.h"

#define THINGS_MAX 3000

static bool place_less(const struct stele_index__hashed *a, const struct stele_index__hashed *b)
{
    return a->of.place < b->of.place;
}

static int compare_hashed(const void *a, const void *b)
{
    const struct stele_index__hashed *left = a;
    const struct stele_index__hashed *right = b;
    if (left->hash != right->hash) {
        return left->hash < right->hash ? -1 : 1;
    }
    return left->of.place < right->of.place ? -1 : left->of.place > right->of.place;
}

static void sort_hashes(uint64_t seed, size_t count, uint64_t mask)
{
    static struct stele_index__hashed things[THINGS_MAX];
    static struct stele_index__hashed wanted[THINGS_MAX];
    static struct stele_index__hashed scratch[THINGS_MAX];
    struct rng rng;
    rng_init(&rng, seed, 0);
    for (size_t i = 0; i < count; i++) {
        things[i] =
            (struct stele_index__hashed){.hash = rng_next(&rng) & mask, .of.place = rng_next(&rng)};
    }
    memcpy(wanted, things, count * sizeof *things);
    qsort(wanted, count, sizeof *wanted, compare_hashed);
    stele_index__sort_hashed(things, scratch, count, place_less);
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(things[i].hash, wanted[i].hash);
        CHECK_EQ(things[i].of.place, wanted[i].of.place);
    }
}

TEST(things_are_sorted_by_hash_and_then_by_place)
{
    static const uint64_t masks[] = {UINT64_MAX, 0xff, 0xff00000000000000, 0x8000000000000001, 0};
    for (uint64_t seed = 0; seed < 40; seed++) {
        const uint64_t mask = masks[seed % STELE_COUNT_OF(masks)];
        sort_hashes(seed, seed % 30, mask);
        sort_hashes(seed, THINGS_MAX - seed, mask);
    }
}

static int compare_named(const void *a, const void *b)
{
    const struct stele_index__named *left = a;
    const struct stele_index__named *right = b;
    if (left->space != right->space) {
        return left->space < right->space ? -1 : 1;
    }
    return stele_bytes_compare((struct stele_bytes){.data = left->name, .size = left->size},
                               (struct stele_bytes){.data = right->name, .size = right->size});
}

/* Names of few different bytes, zeros among them, begin alike and end anywhere. */
static size_t make_names(struct rng *rng, struct stele_index__named *things, size_t count)
{
    static uint8_t bytes[THINGS_MAX][40];
    for (size_t i = 0; i < count; i++) {
        const uint16_t size = (uint16_t)rng_below(rng, 40);
        for (uint16_t k = 0; k < size; k++) {
            bytes[i][k] = rng_one_in(rng, 12) ? (uint8_t)(rng_below(rng, 3) * 127) : 'a';
        }
        things[i] = (struct stele_index__named){.name = bytes[i],
                                                .size = size,
                                                .space = (uint8_t)rng_below(rng, 4),
                                                .number = (uint32_t)i};
    }
    qsort(things, count, sizeof *things, compare_named);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || compare_named(&things[kept - 1], &things[i]) != 0) {
            things[kept++] = things[i];
        }
    }
    return kept;
}

TEST(names_are_sorted_by_space_and_bytes)
{
    static struct stele_index__named things[THINGS_MAX];
    static struct stele_index__named wanted[THINGS_MAX];
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 0);
        const size_t count = make_names(&rng, wanted, seed % 2 == 0 ? THINGS_MAX : seed);
        memcpy(things, wanted, count * sizeof *things);
        for (size_t i = count; i > 1; i--) {
            const size_t k = rng_below(&rng, i);
            const struct stele_index__named kept = things[i - 1];
            things[i - 1] = things[k];
            things[k] = kept;
        }
        stele_index__sort_named(things, count);
        for (size_t i = 0; i < count; i++) {
            CHECK_EQ(things[i].number, wanted[i].number);
        }
    }
}
