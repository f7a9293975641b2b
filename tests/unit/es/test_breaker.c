/* A circuit opens when its service fails at a rate, lets one probe through, and closes when that
 * succeeds.
 *
 * Method: one machine, a clock that the test turns; at the end random calls against what must never
 * be. */
#include "lib/check.h"
#include "lib/rng.h"

#include <stele/saga.h>

#define MS INT64_C(1000)

static const struct stele_breaker_config CONFIG = {
    .window_ms = 1000, .calls_min = 4, .failure_percent = 50, .open_ms = 100, .open_ms_max = 400};

/* One call from begin to end. */
static int call(struct stele_breaker *b, int64_t now_us, int succeeds)
{
    uint64_t ticket = 0;
    int64_t until_us = 0;
    const int outcome = stele_breaker_permit(b, now_us, &ticket, &until_us);
    if (outcome == STELE_OK) {
        stele_breaker_report(b, now_us, ticket, succeeds, 0);
    } else {
        CHECK(until_us > now_us);
    }
    return outcome;
}

static void open_it(struct stele_breaker *b, int64_t now_us)
{
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(call(b, now_us, 0), STELE_OK);
    }
    CHECK_EQ(b->state, STELE_BREAKER_OPEN);
}

TEST(few_failures_decide_nothing)
{
    struct stele_breaker b;
    stele_breaker_init(&b, &CONFIG);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(call(&b, 0, 0), STELE_OK);
    }
    CHECK_EQ(b.state, STELE_BREAKER_CLOSED);
}

TEST(it_opens_at_the_rate_and_not_below_it)
{
    struct stele_breaker b;
    stele_breaker_init(&b, &CONFIG);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(call(&b, 0, 1), STELE_OK);
    }
    for (int i = 0; i < 9; i++) {
        CHECK_EQ(call(&b, 0, 0), STELE_OK);
        CHECK_EQ(b.state, STELE_BREAKER_CLOSED);
    }
    CHECK_EQ(call(&b, 0, 0), STELE_OK);
    CHECK_EQ(b.state, STELE_BREAKER_OPEN);
    CHECK_EQ(call(&b, 99 * MS, 1), STELE_E_OVERLOADED);
}

TEST(failures_fall_out_of_the_window)
{
    struct stele_breaker b;
    stele_breaker_init(&b, &CONFIG);
    for (int64_t i = 0; i < 100; i++) {
        CHECK_EQ(call(&b, i * 400 * MS, 0), STELE_OK); /* Three in any second. */
        CHECK_EQ(b.state, STELE_BREAKER_CLOSED);
    }
}

TEST(one_success_does_not_wipe_out_the_failures_before_it)
{
    struct stele_breaker b;
    stele_breaker_init(&b, &CONFIG);
    CHECK_EQ(call(&b, 0, 0), STELE_OK);
    CHECK_EQ(call(&b, 0, 0), STELE_OK);
    CHECK_EQ(call(&b, 0, 1), STELE_OK);
    CHECK_EQ(call(&b, 0, 0), STELE_OK);
    CHECK_EQ(b.state, STELE_BREAKER_OPEN);
}

TEST(half_open_lets_one_probe_through)
{
    struct stele_breaker b;
    stele_breaker_init(&b, &CONFIG);
    open_it(&b, 0);
    uint64_t ticket = 0;
    uint64_t other = 0;
    int64_t until_us = 0;
    CHECK_EQ(stele_breaker_permit(&b, 100 * MS, &ticket, &until_us), STELE_OK);
    CHECK_EQ(b.state, STELE_BREAKER_HALF_OPEN);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(stele_breaker_permit(&b, 110 * MS, &other, &until_us), STELE_E_OVERLOADED);
        CHECK_EQ(until_us, 200 * MS);
    }
    stele_breaker_report(&b, 120 * MS, ticket, 1, 0);
    CHECK_EQ(b.state, STELE_BREAKER_CLOSED);
    CHECK_EQ(call(&b, 120 * MS, 0), STELE_OK); /* With an empty window. */
    CHECK_EQ(b.state, STELE_BREAKER_CLOSED);
}

TEST(a_failed_probe_opens_it_for_twice_as_long_up_to_a_bound)
{
    struct stele_breaker b;
    stele_breaker_init(&b, &CONFIG);
    open_it(&b, 0);
    int64_t now_us = 100 * MS;
    const int64_t want_ms[] = {200, 400, 400, 400};
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(call(&b, now_us, 0), STELE_OK);
        CHECK_EQ(b.state, STELE_BREAKER_OPEN);
        CHECK_EQ(b.until_us, now_us + want_ms[i] * MS);
        now_us = b.until_us;
    }
    CHECK_EQ(call(&b, now_us, 1), STELE_OK);
    open_it(&b, now_us);
    CHECK_EQ(b.until_us, now_us + 100 * MS); /* From the beginning. */
}

TEST(a_lost_probe_is_replaced_and_its_late_report_ignored)
{
    struct stele_breaker b;
    stele_breaker_init(&b, &CONFIG);
    open_it(&b, 0);
    uint64_t lost = 0;
    uint64_t probe = 0;
    int64_t until_us = 0;
    CHECK_EQ(stele_breaker_permit(&b, 100 * MS, &lost, &until_us), STELE_OK);
    CHECK_EQ(stele_breaker_permit(&b, 200 * MS, &probe, &until_us), STELE_OK);
    stele_breaker_report(&b, 201 * MS, lost, 0, 0);
    CHECK_EQ(b.state, STELE_BREAKER_HALF_OPEN);
    stele_breaker_report(&b, 202 * MS, probe, 1, 0);
    CHECK_EQ(b.state, STELE_BREAKER_CLOSED);
}

TEST(what_began_before_it_opened_says_nothing_about_the_probe)
{
    struct stele_breaker b;
    stele_breaker_init(&b, &CONFIG);
    uint64_t old = 0;
    int64_t until_us = 0;
    CHECK_EQ(stele_breaker_permit(&b, 0, &old, &until_us), STELE_OK);
    open_it(&b, 0);
    stele_breaker_report(&b, 1, old, 1, 0);
    CHECK_EQ(b.state, STELE_BREAKER_OPEN);
    uint64_t probe = 0;
    CHECK_EQ(stele_breaker_permit(&b, 100 * MS, &probe, &until_us), STELE_OK);
    stele_breaker_report(&b, 100 * MS, old, 1, 0);
    CHECK_EQ(b.state, STELE_BREAKER_HALF_OPEN);
}

TEST(several_probes_can_be_asked_for)
{
    struct stele_breaker_config config = CONFIG;
    config.probes = 3;
    struct stele_breaker b;
    stele_breaker_init(&b, &config);
    open_it(&b, 0);
    CHECK_EQ(call(&b, 100 * MS, 1), STELE_OK);
    CHECK_EQ(call(&b, 101 * MS, 1), STELE_OK);
    CHECK_EQ(b.state, STELE_BREAKER_HALF_OPEN);
    CHECK_EQ(call(&b, 102 * MS, 1), STELE_OK);
    CHECK_EQ(b.state, STELE_BREAKER_CLOSED);
}

TEST(openings_are_spread_by_up_to_a_fifth)
{
    struct stele_breaker b;
    stele_breaker_init(&b, NULL);
    uint64_t ticket = 0;
    int64_t until_us = 0;
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(stele_breaker_permit(&b, 0, &ticket, &until_us), STELE_OK);
        stele_breaker_report(&b, 0, ticket, 0, 1000000);
    }
    CHECK_EQ(b.state, STELE_BREAKER_OPEN);
    CHECK_EQ(b.until_us, 6000 * MS);
}

TEST(random_calls_never_find_two_probes_or_a_way_through_an_open_circuit)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 0);
        struct stele_breaker b;
        stele_breaker_init(&b, &CONFIG);
        uint64_t tickets[16];
        size_t count = 0;
        int64_t now_us = 0;
        for (int i = 0; i < 1000; i++) {
            /* Also backwards: a clock may. */
            now_us += (int64_t)rng_below(&rng, 30) * MS - 5 * MS;
            int64_t until_us = 0;
            const int before = b.state;
            const int64_t open_until_us = b.until_us;
            const int was_probing = b.probing;
            if (count < 16 && rng_percent(&rng, 60)) {
                if (stele_breaker_permit(&b, now_us, &tickets[count], &until_us) == STELE_OK) {
                    count++;
                    CHECK(before != STELE_BREAKER_OPEN || now_us >= open_until_us);
                    CHECK(!was_probing || now_us >= open_until_us);
                } else {
                    CHECK(until_us > now_us);
                }
            } else if (count > 0) {
                const size_t which = rng_below(&rng, count);
                stele_breaker_report(&b, now_us, tickets[which], rng_percent(&rng, 50),
                                     rng_next(&rng));
                tickets[which] = tickets[--count];
            }
            CHECK(!b.probing || b.state == STELE_BREAKER_HALF_OPEN);
        }
    }
}
