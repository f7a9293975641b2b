#include "index/sort.h"

#define INSERTION_MAX 24
#define DIGIT_BITS 8
#define DIGITS (1u << DIGIT_BITS)

/* ---- Hashes: radix from the top, because they are spread evenly ---- */

static void sort_small(struct stele_index__hashed *things, size_t count,
                       stele_index__hashed_less less)
{
    for (size_t i = 1; i < count; i++) {
        const struct stele_index__hashed thing = things[i];
        size_t at = i;
        while (at > 0 && (thing.hash < things[at - 1].hash ||
                          (thing.hash == things[at - 1].hash && less(&thing, &things[at - 1])))) {
            things[at] = things[at - 1];
            at--;
        }
        things[at] = thing;
    }
}

static void sift_down(struct stele_index__hashed *things, size_t root, size_t count,
                      stele_index__hashed_less less)
{
    const struct stele_index__hashed thing = things[root];
    for (size_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
        if (child + 1 < count && less(&things[child], &things[child + 1])) {
            child++;
        }
        if (!less(&thing, &things[child])) {
            break;
        }
        things[root] = things[child];
        root = child;
    }
    things[root] = thing;
}

/* All hashes equal: a heap, which has no bad case. */
static void sort_equal(struct stele_index__hashed *things, size_t count,
                       stele_index__hashed_less less)
{
    for (size_t i = count / 2; i > 0; i--) {
        sift_down(things, i - 1, count, less);
    }
    for (size_t end = count; end > 1; end--) {
        const struct stele_index__hashed last = things[end - 1];
        things[end - 1] = things[0];
        things[0] = last;
        sift_down(things, 0, end - 1, less);
    }
}

/* By the digit at shift and those below it. The depth is 8 at most. */
static void sort_digits(struct stele_index__hashed *things, struct stele_index__hashed *scratch,
                        size_t count, stele_index__hashed_less less, int shift)
{
    if (count <= INSERTION_MAX) {
        sort_small(things, count, less);
        return;
    }
    if (shift < 0) {
        sort_equal(things, count, less);
        return;
    }
    size_t ends[DIGITS] = {0};
    for (size_t i = 0; i < count; i++) {
        ends[things[i].hash >> shift & (DIGITS - 1)]++;
    }
    size_t sum = 0;
    for (size_t digit = 0; digit < DIGITS; digit++) {
        const size_t here = ends[digit];
        ends[digit] = sum;
        sum += here;
    }
    for (size_t i = 0; i < count; i++) {
        scratch[ends[things[i].hash >> shift & (DIGITS - 1)]++] = things[i];
    }
    memcpy(things, scratch, count * sizeof *things);
    size_t from = 0;
    for (size_t digit = 0; digit < DIGITS; digit++) {
        sort_digits(things + from, scratch, ends[digit] - from, less, shift - DIGIT_BITS);
        from = ends[digit];
    }
}

void stele_index__sort_hashed(struct stele_index__hashed *things,
                              struct stele_index__hashed *scratch, size_t count,
                              stele_index__hashed_less less)
{
    sort_digits(things, scratch, count, less, 64 - DIGIT_BITS);
}

/* ---- Names: quicksort on 8 bytes at a time (Bentley and Sedgewick: Fast algorithms for sorting
 * and searching strings, 1997). Names of one application begin alike, and comparing whole names
 * would read the same beginning again and again. ---- */

static uint64_t bytes_at(const struct stele_index__named *thing, size_t depth)
{
    if (thing->size >= depth + 8) {
        return __builtin_bswap64(stele_load_u64le(thing->name + depth));
    }
    uint64_t value = 0;
    for (size_t i = depth; i < depth + 8; i++) {
        value = value << 8 | (i < thing->size ? thing->name[i] : 0);
    }
    return value;
}

static void fill_cache(struct stele_index__named *things, size_t count, size_t depth)
{
    for (size_t i = 0; i < count; i++) {
        things[i].cache = bytes_at(&things[i], depth);
    }
}

static void swap(struct stele_index__named *a, struct stele_index__named *b)
{
    const struct stele_index__named kept = *a;
    *a = *b;
    *b = kept;
}

static uint64_t median(uint64_t a, uint64_t b, uint64_t c)
{
    if (a > b) {
        const uint64_t kept = a;
        a = b;
        b = kept;
    }
    return c < a ? a : c > b ? b : c;
}

/* Names that are equal up to depth + 8, zeros taken for the missing end: those that have ended
 * come first, the shorter the earlier. Returns how many have. */
static size_t put_ended_first(struct stele_index__named *things, size_t count, size_t depth)
{
    size_t ended = 0;
    for (size_t i = 0; i < count; i++) {
        if (things[i].size <= depth + 8) {
            swap(&things[i], &things[ended]);
            /* At most nine, one of each size, because no two names are the same. */
            for (size_t at = ended; at > 0 && things[at].size < things[at - 1].size; at--) {
                swap(&things[at], &things[at - 1]);
            }
            ended++;
        }
    }
    return ended;
}

/* Sorts by what comes from depth on; the cache holds the first 8 bytes of it. Recursion: into the
 * smaller two of three parts at the same depth, or 8 bytes deeper. */
static void sort_names(struct stele_index__named *things, size_t count, size_t depth)
{
    while (count > 1) {
        const uint64_t pivot =
            median(things[0].cache, things[count / 2].cache, things[count - 1].cache);
        size_t below = 0;
        size_t at = 0;
        size_t above = count;
        while (at < above) {
            if (things[at].cache < pivot) {
                swap(&things[below++], &things[at++]);
            } else if (things[at].cache > pivot) {
                swap(&things[at], &things[--above]);
            } else {
                at++;
            }
        }
        const size_t ended = put_ended_first(things + below, above - below, depth);
        struct stele_index__named *deeper = things + below + ended;
        const size_t deeper_count = above - below - ended;
        if (deeper_count > 1) {
            fill_cache(deeper, deeper_count, depth + 8);
            sort_names(deeper, deeper_count, depth + 8);
        }
        /* The smaller side by recursion, the larger by going on: the depth stays logarithmic. */
        if (below < count - above) {
            sort_names(things, below, depth);
            things += above;
            count -= above;
        } else {
            sort_names(things + above, count - above, depth);
            count = below;
        }
    }
}

void stele_index__sort_named(struct stele_index__named *things, size_t count)
{
    size_t from = 0;
    for (uint8_t space = 0; from < count; space++) {
        size_t to = from;
        for (size_t i = from; i < count; i++) {
            if (things[i].space == space) {
                swap(&things[i], &things[to++]);
            }
        }
        fill_cache(things + from, to - from, 0);
        sort_names(things + from, to - from, 0);
        from = to;
    }
}
