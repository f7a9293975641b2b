/* Nodes that executed alike are never told apart, and those that did not are, in the very window.
 *
 * Method: random commands on several nodes, each of which misses some of the beginning, is restarted,
 * fetches, and lags behind; on one of them one outcome differs. */
#include "cluster/hashes.h"
#include "lib/check.h"
#include "lib/rng.h"

#include <stdlib.h>
#include <string.h>

#define COMMANDS 4000
#define NODES 3

struct command {
    uint64_t stamp, hash;
    int outcome;
    struct stele_append_result result;
};

static void draw(struct command *commands, struct rng *rng)
{
    uint64_t stamp = UINT64_C(1) << 50;
    for (size_t i = 0; i < COMMANDS; i++) {
        stamp += 1 + (rng_next(rng) >> (12 + rng_below(rng, 40)) & ((UINT64_C(1) << 34) - 1));
        commands[i] = (struct command){.stamp = stamp, .hash = rng_next(rng)};
        commands[i].outcome = rng_below(rng, 4) == 0 ? STELE_WRONG_REVISION : STELE_OK;
        commands[i].result.position_first = stamp;
        commands[i].result.position_last = stamp + 3;
    }
}

static void add(struct stele_hashes *hashes, const struct command *command)
{
    stele_hashes_add(hashes, command->stamp, command->hash, command->outcome, &command->result);
}

/* Runs the commands; whoever is told compares. Returns how many windows were found to differ. */
static unsigned run(struct command *commands, struct rng *rng, size_t wrong,
                    struct stele_hashes_peer peers[NODES][NODES])
{
    struct stele_hashes *nodes = calloc(NODES, sizeof *nodes);
    size_t at[NODES] = {0};
    bool skip[NODES] = {false};
    unsigned found = 0;
    memset(peers, 0, sizeof(struct stele_hashes_peer) * NODES * NODES);
    while (at[0] < COMMANDS || at[1] < COMMANDS || at[2] < COMMANDS) {
        const size_t n = (size_t)rng_below(rng, NODES);
        const uint64_t dice = rng_below(rng, 200);
        if (dice == 0) {
            /* A restart: it has had some that it has not executed; some that changed nothing are executed again,
             * and some are not. */
            const size_t had = at[n] + (size_t)rng_below(rng, 5);
            const size_t back = wrong == SIZE_MAX ? (size_t)rng_below(rng, 4) : 0;
            stele_hashes_begin(&nodes[n], commands[had < COMMANDS ? had : COMMANDS - 1].stamp);
            skip[n] = at[n] > back && back > 1 && rng_below(rng, 2) == 0;
            at[n] -= at[n] > back ? back : 0;
        } else if (dice == 1 && wrong == SIZE_MAX && at[n] < COMMANDS) {
            const size_t left = COMMANDS - at[n];
            at[n] += left > 50 ? (size_t)rng_below(rng, 50) : 0;
            skip[n] = false;
            stele_hashes_begin(&nodes[n], commands[at[n]].stamp);
            at[n]++;
        } else if (dice < 100) {
            for (uint64_t k = rng_below(rng, 12); k > 0 && at[n] < COMMANDS; k--) {
                struct command command = commands[at[n]];
                command.result.position_last += n == 1 && at[n] == wrong ? 1 : 0;
                add(&nodes[n], &command);
                at[n] += skip[n] ? 2 : 1; /* Trimmed in one partition and not in another. */
                skip[n] = false;
            }
        } else {
            const size_t to = (n + 1 + (size_t)rng_below(rng, NODES - 1)) % NODES;
            uint8_t bytes[STELE_HASHES_SIZE_MAX];
            const struct stele_bytes told = {.data = bytes,
                                             .size = stele_hashes_encode(&nodes[n], bytes)};
            const unsigned now = stele_hashes_compare(&nodes[to], told, &peers[to][n]);
            if (now > 0 && wrong != SIZE_MAX) {
                CHECK(n == 1 || to == 1);
                CHECK_EQ(stele_hashes_window(peers[to][n].last.through),
                         stele_hashes_window(commands[wrong].stamp));
            }
            found += now;
        }
    }
    free(nodes);
    return found;
}

TEST(who_executed_alike_is_never_told_apart)
{
    struct command *commands = calloc(COMMANDS, sizeof *commands);
    uint64_t compared = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rng rng;
        struct stele_hashes_peer peers[NODES][NODES];
        rng_init(&rng, seed, 1);
        draw(commands, &rng);
        CHECK_EQ(run(commands, &rng, SIZE_MAX, peers), 0);
        compared += peers[0][1].compared;
    }
    CHECK(compared > 1000);
    free(commands);
}

TEST(one_other_outcome_is_found_in_its_window)
{
    struct command *commands = calloc(COMMANDS, sizeof *commands);
    unsigned found = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rng rng;
        struct stele_hashes_peer peers[NODES][NODES];
        rng_init(&rng, seed, 1);
        draw(commands, &rng);
        const size_t wrong = COMMANDS / 4 + (size_t)rng_below(&rng, COMMANDS / 2);
        found += run(commands, &rng, wrong, peers) > 0 ? 1 : 0;
    }
    /* A restart in that very second hides it, and who lags by many windows is asked too late. */
    CHECK(found > 150);
    free(commands);
}

TEST(every_fact_counts)
{
    struct command base = {.stamp = UINT64_C(1) << 50, .hash = 5, .outcome = STELE_OK};
    for (int which = 0; which <= 9; which++) {
        struct stele_hashes *one = calloc(2, sizeof *one);
        struct stele_hashes_peer peer = {.settled = 0};
        uint8_t bytes[STELE_HASHES_SIZE_MAX];
        struct command other = base;
        add(&one[0], &base);
        add(&one[1], &base);
        base.stamp += UINT64_C(1) << 33;
        other.stamp = base.stamp;
        other.hash += which == 1;
        other.outcome += which == 2;
        other.result.position_first += which == 3;
        other.result.position_last += which == 4;
        other.result.revision_first += which == 5;
        other.result.revision_last += which == 6;
        other.result.failed += which == 7;
        other.result.conflict_position += which == 8;
        other.result.idempotent += which == 9;
        add(&one[0], &base);
        add(&one[1], &other);
        const struct stele_bytes told = {.data = bytes,
                                         .size = stele_hashes_encode(&one[0], bytes)};
        CHECK_EQ(stele_hashes_compare(&one[1], told, &peer), which == 0 ? 0 : 1);
        /* It is not found twice. */
        CHECK_EQ(stele_hashes_compare(&one[1], told, &peer), 0);
        free(one);
    }
}

TEST(any_bytes_are_safe)
{
    struct stele_hashes *hashes = calloc(1, sizeof *hashes);
    struct command command = {.stamp = 1, .hash = 5, .outcome = STELE_OK};
    struct rng rng;
    rng_init(&rng, 7, 1);
    for (int i = 0; i < 1000; i++) {
        command.stamp += UINT64_C(1) << 31;
        add(hashes, &command);
        uint8_t bytes[STELE_HASHES_SIZE_MAX + 8];
        struct stele_hashes_peer peer = {.settled = 0};
        size_t size = stele_hashes_encode(hashes, bytes);
        bytes[rng_below(&rng, size)] ^= (uint8_t)(1 << rng_below(&rng, 8));
        size = rng_below(&rng, 2) == 0 ? size : (size_t)rng_below(&rng, sizeof bytes);
        (void)stele_hashes_compare(hashes, (struct stele_bytes){.data = bytes, .size = size},
                                   &peer);
        CHECK(peer.differing <= STELE_HASHES_TOLD + 1);
    }
    free(hashes);
}
