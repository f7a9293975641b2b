/* Vector clocks order what can be ordered, and nothing else; their bytes are one per clock.
 *
 * Method: nodes that write and exchange messages at random, beside them the truth as a set of events
 * that each event has in its past. The clocks have to say what the sets say. Bytes: those that are
 * kept, every prefix, every changed byte. */
#include "lib/check.h"
#include "lib/golden.h"
#include "lib/rng.h"

#include <stele/clock.h>

static struct stele_clock clock_of(const uint64_t *pairs, uint32_t count)
{
    struct stele_clock clock = {.count = 0};
    for (uint32_t i = 0; i < count; i++) {
        CHECK_EQ(stele_clock_advance(&clock, pairs[2 * i], pairs[2 * i + 1]), STELE_OK);
    }
    return clock;
}
#define CLOCK(...)                                                                                 \
    clock_of((const uint64_t[]){__VA_ARGS__},                                                      \
             sizeof((const uint64_t[]){__VA_ARGS__}) / (2 * sizeof(uint64_t)))

TEST(a_clock_is_the_same_as_itself_and_not_before)
{
    const struct stele_clock empty = {.count = 0};
    const struct stele_clock clock = CLOCK(1, 5, 7, 2);
    const struct stele_clock copy = CLOCK(7, 2, 1, 5);
    CHECK_EQ(stele_clock_compare(&empty, &empty), STELE_CLOCK_SAME);
    CHECK_EQ(stele_clock_compare(&clock, &clock), STELE_CLOCK_SAME);
    CHECK_EQ(stele_clock_compare(&clock, &copy), STELE_CLOCK_SAME);
}

TEST(the_four_answers)
{
    const struct stele_clock empty = {.count = 0};
    const struct stele_clock a = CLOCK(1, 5);
    const struct stele_clock b = CLOCK(1, 6);
    const struct stele_clock c = CLOCK(1, 5, 2, 1);
    const struct stele_clock d = CLOCK(2, 9);
    CHECK_EQ(stele_clock_compare(&empty, &a), STELE_CLOCK_BEFORE);
    CHECK_EQ(stele_clock_compare(&a, &empty), STELE_CLOCK_AFTER);
    CHECK_EQ(stele_clock_compare(&a, &b), STELE_CLOCK_BEFORE);
    CHECK_EQ(stele_clock_compare(&b, &a), STELE_CLOCK_AFTER);
    CHECK_EQ(stele_clock_compare(&a, &c), STELE_CLOCK_BEFORE);
    CHECK_EQ(stele_clock_compare(&c, &a), STELE_CLOCK_AFTER);
    CHECK_EQ(stele_clock_compare(&b, &c), STELE_CLOCK_CONCURRENT);
    CHECK_EQ(stele_clock_compare(&c, &b), STELE_CLOCK_CONCURRENT);
    CHECK_EQ(stele_clock_compare(&a, &d), STELE_CLOCK_CONCURRENT);
    CHECK_EQ(stele_clock_compare(&c, &d), STELE_CLOCK_CONCURRENT);
}

TEST(receiving_merges_and_ticks)
{
    struct stele_clock clock = CLOCK(1, 5, 3, 1);
    const struct stele_clock other = CLOCK(1, 2, 2, 8, 3, 4);
    CHECK_EQ(stele_clock_receive(&clock, 1, &other), STELE_OK);
    const struct stele_clock want = CLOCK(1, 6, 2, 8, 3, 4);
    CHECK_EQ(stele_clock_compare(&clock, &want), STELE_CLOCK_SAME);
    CHECK_EQ(stele_clock_compare(&clock, &other), STELE_CLOCK_AFTER);
}

TEST(a_log_knows_what_its_writes_have_seen)
{
    struct stele_clock clock = {.count = 0};
    CHECK_EQ(stele_clock_advance(&clock, 4, 1000), STELE_OK);
    CHECK_EQ(stele_clock_advance(&clock, 4, 1000), STELE_E_INVALID);
    CHECK_EQ(stele_clock_advance(&clock, 4, 999), STELE_E_INVALID);
    CHECK_EQ(stele_clock_advance(&clock, 5, 0), STELE_E_INVALID);
    CHECK_EQ(stele_clock_time(&clock, 4), 1000);
    CHECK_EQ(stele_clock_time(&clock, 5), 0);
    CHECK(stele_clock_covers(&clock, 4, 1000));
    CHECK(stele_clock_covers(&clock, 4, 1));
    CHECK(!stele_clock_covers(&clock, 4, 1001));
    CHECK(!stele_clock_covers(&clock, 5, 1));
}

/* ---- Against the truth ---- */

#define NODES 5
#define EVENTS 120

struct truth {
    struct stele_clock clock;
    uint64_t node;
    uint8_t past[EVENTS]; /* Event i happened before this one. */
};

/* One history: an event is a write, or the receiving of what another node had at some event. */
static void generate(struct rng *rng, struct truth *events)
{
    struct stele_clock clocks[NODES];
    uint8_t past[NODES][EVENTS];
    memset(clocks, 0, sizeof clocks);
    memset(past, 0, sizeof past);
    for (size_t i = 0; i < EVENTS; i++) {
        const uint64_t node = rng_below(rng, NODES);
        if (i > 0 && rng_percent(rng, 40)) {
            const struct truth *const from = &events[rng_below(rng, i)];
            CHECK_EQ(stele_clock_receive(&clocks[node], node, &from->clock), STELE_OK);
            for (size_t j = 0; j < EVENTS; j++) {
                past[node][j] |= from->past[j];
            }
            past[node][from - events] = 1;
        } else {
            CHECK_EQ(stele_clock_tick(&clocks[node], node), STELE_OK);
        }
        events[i].clock = clocks[node];
        events[i].node = node;
        memcpy(events[i].past, past[node], EVENTS);
        past[node][i] = 1;
    }
}

TEST(clocks_say_what_happened_before_what)
{
    static struct truth events[EVENTS];
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 0);
        generate(&rng, events);
        for (size_t i = 0; i < EVENTS; i++) {
            for (size_t j = 0; j < EVENTS; j++) {
                const int want = i == j              ? STELE_CLOCK_SAME
                                 : events[j].past[i] ? STELE_CLOCK_BEFORE
                                 : events[i].past[j] ? STELE_CLOCK_AFTER
                                                     : STELE_CLOCK_CONCURRENT;
                CHECK_EQ(stele_clock_compare(&events[i].clock, &events[j].clock), want);
                const uint64_t time = stele_clock_time(&events[i].clock, events[i].node);
                CHECK_EQ(stele_clock_covers(&events[j].clock, events[i].node, time),
                         i == j || events[j].past[i]);
            }
        }
    }
}

static struct stele_clock draw(struct rng *rng)
{
    struct stele_clock clock = {.count = 0};
    for (uint64_t count = rng_below(rng, 8); count > 0; count--) {
        (void)stele_clock_advance(&clock, rng_below(rng, 6), rng_between(rng, 1, 4));
    }
    return clock;
}

TEST(merging_is_the_least_clock_above_both)
{
    struct rng rng;
    rng_init(&rng, 7, 0);
    for (int i = 0; i < 20000; i++) {
        const struct stele_clock a = draw(&rng);
        const struct stele_clock b = draw(&rng);
        struct stele_clock ab = a;
        struct stele_clock ba = b;
        CHECK_EQ(stele_clock_merge(&ab, &b), STELE_OK);
        CHECK_EQ(stele_clock_merge(&ba, &a), STELE_OK);
        CHECK_EQ(stele_clock_compare(&ab, &ba), STELE_CLOCK_SAME);
        for (uint64_t node = 0; node < 6; node++) {
            const uint64_t one = stele_clock_time(&a, node);
            const uint64_t two = stele_clock_time(&b, node);
            CHECK_EQ(stele_clock_time(&ab, node), one > two ? one : two);
        }
        const int order = stele_clock_compare(&a, &b);
        const int back = stele_clock_compare(&b, &a);
        CHECK_EQ(back, order == STELE_CLOCK_BEFORE  ? STELE_CLOCK_AFTER
                       : order == STELE_CLOCK_AFTER ? STELE_CLOCK_BEFORE
                                                    : order);
        CHECK_EQ(stele_clock_compare(&a, &ab) == STELE_CLOCK_SAME,
                 order == STELE_CLOCK_SAME || order == STELE_CLOCK_AFTER);
    }
}

/* ---- Bounds ---- */

TEST(what_does_not_fit_changes_nothing)
{
    struct stele_clock full = {.count = 0};
    for (uint64_t node = 0; node < STELE_CLOCK_ENTRIES_MAX; node++) {
        CHECK_EQ(stele_clock_tick(&full, 2 * node), STELE_OK);
    }
    const struct stele_clock before = full;
    const struct stele_clock other = CLOCK(0, 9, 3, 1);
    CHECK_EQ(stele_clock_tick(&full, 1), STELE_E_LIMIT);
    CHECK_EQ(stele_clock_advance(&full, 1, 5), STELE_E_LIMIT);
    CHECK_EQ(stele_clock_merge(&full, &other), STELE_E_LIMIT);
    CHECK_EQ(stele_clock_receive(&full, 0, &other), STELE_E_LIMIT);
    CHECK_BYTES_EQ(&full, &before, sizeof full);
    const struct stele_clock known = CLOCK(0, 9);
    CHECK_EQ(stele_clock_receive(&full, 1, &known), STELE_E_LIMIT);
    CHECK_BYTES_EQ(&full, &before, sizeof full);
    CHECK_EQ(stele_clock_tick(&full, 0), STELE_OK);

    struct stele_clock last = CLOCK(1, UINT64_MAX);
    CHECK_EQ(stele_clock_tick(&last, 1), STELE_E_LIMIT);
    CHECK_EQ(stele_clock_receive(&last, 1, &known), STELE_E_LIMIT);
    CHECK_EQ(stele_clock_time(&last, 0), 0);
}

/* ---- Bytes ---- */

TEST(encoding_gives_the_bytes_that_are_kept)
{
    const struct stele_clock clock = CLOCK(3, 1, 1, 5, UINT64_C(0x1122334455667788), UINT64_MAX, 0,
                                           UINT64_C(0x0102030405060708));
    uint8_t bytes[STELE_CLOCK_ENCODED_SIZE_MAX];
    const size_t size = stele_clock_encode(&clock, bytes);
    CHECK_EQ(size, stele_clock_encoded_size(&clock));
    check_golden("clock", bytes, size);
}

TEST(decoding_gives_the_clock_back_and_what_follows_is_left)
{
    struct rng rng;
    rng_init(&rng, 3, 0);
    for (int i = 0; i < 2000; i++) {
        const struct stele_clock clock = draw(&rng);
        uint8_t bytes[STELE_CLOCK_ENCODED_SIZE_MAX + 3];
        memset(bytes, 0xab, sizeof bytes);
        const size_t size = stele_clock_encode(&clock, bytes);
        struct stele_clock back = {.count = 0};
        size_t used = 0;
        CHECK_EQ(stele_clock_decode(bytes, size + 3, &back, &used, NULL), STELE_OK);
        CHECK_EQ(used, size);
        CHECK_EQ(stele_clock_compare(&clock, &back), STELE_CLOCK_SAME);
        for (size_t cut = 0; cut < size; cut++) {
            struct stele_error err;
            CHECK_OUTCOME(stele_clock_decode(bytes, cut, &back, &used, &err), STELE_INCOMPLETE,
                          err);
        }
    }
}

TEST(bytes_that_no_clock_has_are_refused)
{
    const struct stele_clock clock = CLOCK(1, 5, 2, 6, 9, 1);
    uint8_t bytes[STELE_CLOCK_ENCODED_SIZE_MAX];
    const size_t size = stele_clock_encode(&clock, bytes);
    struct stele_clock out = {.count = 77};
    size_t used = 0;
    struct stele_error err;

    bytes[0] = 2;
    CHECK_OUTCOME(stele_clock_decode(bytes, size, &out, &used, &err), STELE_E_FORMAT, err);
    CHECK_TEXT_HAS(err.message, "byte 0 says version 2");
    bytes[0] = 1;
    bytes[1] = STELE_CLOCK_ENTRIES_MAX + 1;
    CHECK_OUTCOME(stele_clock_decode(bytes, size, &out, &used, &err), STELE_E_CORRUPT, err);
    CHECK_TEXT_HAS(err.message, "65 entries, and at most 64");
    bytes[1] = 3;
    bytes[2 + 16] = 1; /* Node 1 again. */
    CHECK_OUTCOME(stele_clock_decode(bytes, size, &out, &used, &err), STELE_E_CORRUPT, err);
    CHECK_TEXT_HAS(err.message, "byte 18 is out of order");
    bytes[2 + 16] = 2;
    bytes[2 + 8] = 0; /* Time 0. */
    CHECK_OUTCOME(stele_clock_decode(bytes, size, &out, &used, &err), STELE_E_CORRUPT, err);
    CHECK_TEXT_HAS(err.message, "byte 2 has time 0");
    CHECK_EQ(out.count, 77);
}

TEST(every_changed_byte_is_refused_or_is_another_clock)
{
    const struct stele_clock clock = CLOCK(1, 5, 2, 6, 9, 1);
    uint8_t bytes[STELE_CLOCK_ENCODED_SIZE_MAX];
    const size_t size = stele_clock_encode(&clock, bytes);
    for (size_t at = 0; at < size; at++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t changed[STELE_CLOCK_ENCODED_SIZE_MAX];
            memcpy(changed, bytes, size);
            changed[at] = (uint8_t)value;
            struct stele_clock out;
            size_t used = 0;
            if (changed[at] == bytes[at] ||
                stele_clock_decode(changed, size, &out, &used, NULL) != STELE_OK) {
                continue;
            }
            CHECK(stele_clock_compare(&out, &clock) != STELE_CLOCK_SAME);
            uint8_t again[STELE_CLOCK_ENCODED_SIZE_MAX];
            CHECK_EQ(stele_clock_encode(&out, again), used);
            CHECK_BYTES_EQ(again, changed, used);
        }
    }
}

TEST(a_clock_is_text_for_people)
{
    char text[64];
    const struct stele_clock clock = CLOCK(7, 2, 1, 5);
    CHECK_EQ(stele_clock_format(&clock, text, sizeof text), 10);
    CHECK_TEXT_EQ(text, "{1:5, 7:2}");
    CHECK_EQ(stele_clock_format(&clock, text, 5), 10);
    CHECK_TEXT_EQ(text, "{1:5");
    CHECK_EQ(stele_clock_format(&clock, NULL, 0), 10);
}
