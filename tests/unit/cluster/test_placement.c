/* A table of replicas is as even as zones allow, keeps zones apart, is the same whoever computes it, and changes
 * little when nodes come and go.
 *
 * Method: thousands of random clusters. How even a table can be is computed by other means here (how much the
 * zones can take at a given load of their nodes), and the table has to be exactly that. */
#include "base/status.h"
#include "cluster/placement.h"
#include "lib/check.h"
#include "lib/rng.h"
#include "lib/testalloc.h"

#include <stdio.h>
#include <stdlib.h>

#define REPLICAS_MAX 7
#define CELLS_MAX (STELE_PARTITIONS_MAX * REPLICAS_MAX)

static struct testalloc alloc;
static char zones[STELE_PLACEMENT_NODES_MAX + 1][8];
static struct stele_placement_node nodes[STELE_PLACEMENT_NODES_MAX + 1];
static uint64_t weights[STELE_PARTITIONS_MAX];
static struct stele_placement placement;
static uint64_t table[CELLS_MAX];
static uint64_t changed[CELLS_MAX];
static uint64_t leaders[STELE_PARTITIONS_MAX];

/* ---- Clusters ---- */

/* zones_count 0: each node is a zone of its own. */
static void set_up(struct rng *rng, size_t nodes_count, unsigned zones_count, uint32_t partitions,
                   uint32_t replicas)
{
    testalloc_init(&alloc, 1);
    for (size_t i = 0; i <= nodes_count && i <= STELE_PLACEMENT_NODES_MAX; i++) {
        nodes[i] =
            (struct stele_placement_node){.number = 3 * i + 1 + rng_below(rng, 3), .open = true};
        if (zones_count > 0) {
            (void)snprintf(zones[i], sizeof(zones[i]), "z%d", (int)rng_below(rng, zones_count));
            nodes[i].zone = zones[i];
        }
    }
    placement = (struct stele_placement){
        .nodes = nodes, .nodes_count = nodes_count, .partitions = partitions, .replicas = replicas};
}

static void set_up_any(struct rng *rng)
{
    static const uint32_t partitions[] = {1, 7, 16, 64, 128, 200};
    const bool large = rng_one_in(rng, 40);
    const size_t nodes_count = rng_between(rng, 1, large ? 40 : 10);
    const unsigned zones_count = (unsigned)rng_below(rng, 5);
    set_up(rng, nodes_count, zones_count,
           large ? 512 : partitions[rng_below(rng, STELE_COUNT_OF(partitions))],
           (uint32_t)rng_between(rng, 1, large ? 3 : REPLICAS_MAX));
}

static const struct stele_placement_node *node_of(uint64_t number)
{
    for (size_t i = 0; i < placement.nodes_count; i++) {
        if (nodes[i].number == number) {
            return &nodes[i];
        }
    }
    check_failed(__FILE__, __LINE__, "there is no node %d", (int)number);
}

static bool same_zone(const struct stele_placement_node *a, const struct stele_placement_node *b)
{
    return a == b || (a->zone != NULL && b->zone != NULL && strcmp(a->zone, b->zone) == 0);
}

static size_t count_open(void)
{
    size_t open = 0;
    for (size_t i = 0; i < placement.nodes_count; i++) {
        open += nodes[i].open;
    }
    return open;
}

/* Open nodes of the zone of node i; 0 if it is not the first of them. */
static size_t zone_size(size_t i)
{
    size_t size = 0;
    for (size_t j = 0; j < placement.nodes_count; j++) {
        if (nodes[j].open && same_zone(&nodes[i], &nodes[j])) {
            if (j < i) {
                return 0;
            }
            size++;
        }
    }
    return nodes[i].open ? size : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Replicas that fit if no zone has more than `cap` of a row and no node more than `load` of all. */
static uint64_t room(uint64_t rows, uint64_t cap, uint64_t load)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < placement.nodes_count; i++) {
        const size_t size = zone_size(i);
        sum += least(rows * least(cap, size), load * size);
    }
    return sum;
}

static uint64_t width(void)
{
    return least(placement.replicas, count_open());
}

static uint64_t cap_needed(void)
{
    uint64_t cap = 1;
    while (room(1, cap, 1) < width()) {
        cap++;
    }
    return cap;
}

/* Is every zone in every row? Then its nodes cannot have less than that. */
static uint64_t load_of_zones(void)
{
    uint64_t zones_count = 0;
    uint64_t smallest = UINT64_MAX;
    for (size_t i = 0; i < placement.nodes_count; i++) {
        const size_t size = zone_size(i);
        zones_count += size > 0;
        smallest = size > 0 ? least(smallest, size) : smallest;
    }
    return zones_count <= width() ? (placement.partitions + smallest - 1) / smallest : 0;
}

/* The load of the fullest node that cannot be helped. */
static uint64_t load_needed(void)
{
    uint64_t load = load_of_zones();
    while (room(placement.partitions, cap_needed(), load) < placement.partitions * width()) {
        load++;
    }
    return load;
}

static uint64_t load_of(const uint64_t *rows, uint64_t number)
{
    uint64_t load = 0;
    for (size_t i = 0; i < placement.partitions * placement.replicas; i++) {
        if (rows[i] == number) {
            load += placement.bytes == NULL ? 1 : placement.bytes[i / placement.replicas];
        }
    }
    return load;
}

static uint64_t load_max(const uint64_t *rows)
{
    uint64_t most = 0;
    for (size_t i = 0; i < placement.nodes_count; i++) {
        const uint64_t load = load_of(rows, nodes[i].number);
        most = load > most ? load : most;
    }
    return most;
}

/* No zone has two while another one has none. */
static void check_zones(const uint64_t *row, size_t size)
{
    uint64_t most = 0;
    uint64_t fewest = UINT64_MAX;
    for (size_t i = 0; i < placement.nodes_count; i++) {
        uint64_t count = 0;
        for (size_t k = 0; k < size && nodes[i].open; k++) {
            count += same_zone(node_of(row[k]), &nodes[i]);
        }
        most = count > most ? count : most;
        fewest = nodes[i].open ? least(fewest, count) : fewest;
    }
    CHECK(most < 2 || fewest > 0);
}

static void check_row(const uint64_t *row, uint64_t cap)
{
    size_t size = 0;
    while (size < placement.replicas && row[size] != 0) {
        const struct stele_placement_node *const node = node_of(row[size]);
        CHECK(node->open);
        CHECK(size < 2 || row[size - 1] < row[size]);
        uint64_t together = 0;
        for (size_t i = 0; i <= size; i++) {
            CHECK(i == size || row[i] != row[size]);
            together += same_zone(node_of(row[i]), node);
        }
        CHECK(together <= cap);
        size++;
    }
    CHECK_EQ(size, width());
    check_zones(row, size);
    for (; size < placement.replicas; size++) {
        CHECK_EQ(row[size], 0);
    }
}

/* P1, P2. */
static void check_table(const uint64_t *rows)
{
    const uint64_t cap = cap_needed();
    for (uint32_t i = 0; i < placement.partitions; i++) {
        check_row(rows + (size_t)i * placement.replicas, cap);
    }
    CHECK_EQ(alloc.bytes, 0);
}

static bool has(const uint64_t *row, uint64_t number)
{
    for (size_t i = 0; i < placement.replicas; i++) {
        if (row[i] == number) {
            return true;
        }
    }
    return false;
}

/* Replicas that are in one table and not in the other. onto: of these, how many on that node. */
static uint64_t count_moves(const uint64_t *from, const uint64_t *to, uint64_t onto,
                            uint64_t *out_onto)
{
    uint64_t moves = 0;
    *out_onto = 0;
    for (size_t i = 0; i < placement.partitions * placement.replicas; i++) {
        const size_t row = i / placement.replicas * placement.replicas;
        if (to[i] != 0 && !has(from + row, to[i])) {
            moves++;
            *out_onto += to[i] == onto;
        }
    }
    return moves;
}

/* Leaders that are still in their row and lead it no more. */
static uint64_t count_deposed(const uint64_t *from, const uint64_t *to)
{
    uint64_t deposed = 0;
    for (size_t i = 0; i < placement.partitions; i++) {
        const size_t row = i * placement.replicas;
        deposed += from[row] != to[row] && has(to + row, from[row]);
    }
    return deposed;
}

static void spread(uint64_t *rows)
{
    CHECK_EQ(stele_placement_spread(&alloc.base, &placement, rows), STELE_OK);
    check_table(rows);
}

static void adjust(const uint64_t *from, uint32_t percent, uint64_t *to)
{
    CHECK_EQ(stele_placement_adjust(&alloc.base, &placement, from, percent, to), STELE_OK);
    check_table(to);
}

/* ---- Claims ---- */

TEST(a_table_is_as_even_as_zones_allow_and_keeps_them_apart)
{
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 0);
        set_up_any(&rng);
        spread(table);
        CHECK_EQ(load_max(table), load_needed());
    }
}

TEST(imbalance_is_at_most_five_percent_where_nothing_stands_in_the_way)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 1);
        set_up(&rng, rng_between(&rng, 1, 9), 0, 256, (uint32_t)rng_between(&rng, 1, 3));
        spread(table);
        CHECK(stele_placement_imbalance(&placement, table) <= 5);
        /* Leaders as well, each in its row. */
        struct stele_placement alone = placement;
        for (uint32_t i = 0; i < placement.partitions; i++) {
            leaders[i] = table[(size_t)i * placement.replicas];
        }
        alone.replicas = 1;
        CHECK(stele_placement_imbalance(&alone, leaders) <= 5);
    }
}

TEST(the_order_in_which_nodes_are_listed_does_not_matter)
{
    for (uint64_t seed = 0; seed < 500; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 2);
        set_up_any(&rng);
        spread(table);
        for (size_t i = placement.nodes_count; i > 1; i--) {
            const size_t k = rng_below(&rng, i);
            const struct stele_placement_node node = nodes[i - 1];
            nodes[i - 1] = nodes[k];
            nodes[k] = node;
        }
        spread(changed);
        const size_t size = placement.partitions * placement.replicas * sizeof(table[0]);
        CHECK_BYTES_EQ(table, changed, size);
        adjust(table, 0, changed); /* And what is as it should be stays. */
        CHECK_BYTES_EQ(table, changed, size);
    }
}

TEST(who_joins_gets_its_share_and_nobody_else_anything)
{
    for (uint64_t seed = 0; seed < 500; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 3);
        const size_t size = rng_between(&rng, 1, 9);
        set_up(&rng, size, 0, (uint32_t)rng_between(&rng, 1, 200),
               (uint32_t)rng_between(&rng, 1, least(size, 4)));
        spread(table);
        placement.nodes_count++;
        const uint64_t cells = placement.partitions * width();
        const uint64_t newcomer = nodes[size].number;
        uint64_t onto = 0;
        uint64_t moves = 0;
        adjust(table, 0, changed);
        moves = count_moves(table, changed, newcomer, &onto);
        CHECK_EQ(moves, onto);
        CHECK(onto <= cells / placement.nodes_count + 1);
        CHECK_EQ(load_max(changed), load_needed());
        CHECK(count_deposed(table, changed) <= placement.partitions / placement.nodes_count + 1);
        adjust(table, STELE_PLACEMENT_END, changed);
        moves = count_moves(table, changed, newcomer, &onto);
        CHECK_EQ(moves, onto);
        CHECK(count_deposed(table, changed) <= placement.partitions / placement.nodes_count + 1);
        CHECK(onto <= cells / placement.nodes_count + 1);
    }
}

TEST(who_leaves_costs_what_it_had_and_hardly_more)
{
    uint64_t lost_all = 0;
    uint64_t more_all = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 4);
        set_up(&rng, rng_between(&rng, 3, 9), 0, (uint32_t)rng_between(&rng, 1, 200),
               (uint32_t)rng_between(&rng, 1, 2));
        spread(table);
        struct stele_placement_node *const gone = &nodes[rng_below(&rng, placement.nodes_count)];
        const uint64_t lost = load_of(table, gone->number);
        if (rng_one_in(&rng, 2)) {
            gone->open = false;
        } else {
            *gone = nodes[--placement.nodes_count];
        }
        uint64_t onto = 0;
        adjust(table, STELE_PLACEMENT_END, changed);
        const uint64_t moves = count_moves(table, changed, 0, &onto);
        CHECK(moves >= lost);
        CHECK(moves <= lost + count_open());
        lost_all += lost;
        more_all += moves - lost;
    }
    CHECK(more_all * 20 < lost_all);
}

TEST(zones_are_kept_apart_whatever_comes_and_goes)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 5);
        set_up(&rng, 8, 3, 64, (uint32_t)rng_between(&rng, 1, 4));
        spread(table);
        for (int step = 0; step < 12; step++) {
            struct stele_placement_node *const node = &nodes[rng_below(&rng, 8)];
            node->open = !node->open || count_open() == 1;
            adjust(table, rng_one_in(&rng, 2) ? 0 : STELE_PLACEMENT_END, table);
        }
        adjust(table, 0, table);
        CHECK_EQ(load_max(table), load_needed());
    }
}

TEST(unlike_partitions_are_spread_up_to_the_largest_one)
{
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 6);
        set_up(&rng, rng_between(&rng, 1, 8), 0, (uint32_t)rng_between(&rng, 1, 200),
               (uint32_t)rng_between(&rng, 1, 3));
        const uint64_t scale = UINT64_C(1) << rng_below(&rng, 40);
        uint64_t largest = 0;
        for (uint32_t i = 0; i < placement.partitions; i++) {
            weights[i] = rng_one_in(&rng, 10) ? 0 : scale * rng_log(&rng, 64, 65536);
            largest = weights[i] > largest ? weights[i] : largest;
        }
        placement.bytes = weights;
        spread(table);
        uint64_t total = 0;
        for (size_t i = 0; i < placement.nodes_count; i++) {
            total += load_of(table, nodes[i].number);
        }
        /* What partitions without weight count for, and what rounding loses: a thousandth. */
        const uint64_t mean = total / placement.nodes_count;
        CHECK(load_max(table) <= mean + largest + total / 1000 + 1);
    }
}

TEST(weights_of_any_size_do_not_overflow)
{
    struct rng rng;
    rng_init(&rng, 1, 7);
    set_up(&rng, 64, 0, 1024, 3);
    for (uint32_t i = 0; i < placement.partitions; i++) {
        weights[i] = UINT64_MAX - i;
    }
    placement.bytes = weights;
    spread(table);
    CHECK(stele_placement_imbalance(&placement, table) <= 5);
    placement.bytes = NULL;
    CHECK(stele_placement_imbalance(&placement, table) <= 5);
}

/* ---- Leaders ---- */

TEST(leaders_alone_are_spread_and_stay_where_they_are)
{
    for (uint64_t seed = 0; seed < 500; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 8);
        set_up(&rng, rng_between(&rng, 2, 7), 0, 128, 1);
        CHECK_EQ(stele_placement_leaders(&alloc.base, &placement, NULL, NULL, 0, leaders),
                 STELE_OK);
        CHECK_EQ(load_max(leaders), (128 + placement.nodes_count - 1) / placement.nodes_count);
        /* One is drained: only what it led moves. */
        struct stele_placement_node *const node = &nodes[rng_below(&rng, placement.nodes_count)];
        const uint64_t lost = load_of(leaders, node->number);
        uint64_t onto = 0;
        node->open = false;
        CHECK_EQ(stele_placement_leaders(&alloc.base, &placement, NULL, leaders,
                                         STELE_PLACEMENT_END, changed),
                 STELE_OK);
        check_table(changed);
        const uint64_t moves = count_moves(leaders, changed, node->number, &onto);
        CHECK(moves >= lost && moves <= lost + placement.nodes_count);
        CHECK_EQ(onto, 0);
        CHECK_EQ(load_of(changed, node->number), 0);
    }
}

TEST(a_leader_is_one_of_those_that_have_the_partition)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 9);
        set_up(&rng, rng_between(&rng, 2, 9), (unsigned)rng_below(&rng, 4), 100, 3);
        spread(table);
        nodes[0].open = rng_one_in(&rng, 2);
        CHECK_EQ(stele_placement_leaders(&alloc.base, &placement, table, NULL, 0, leaders),
                 STELE_OK);
        for (uint32_t i = 0; i < placement.partitions; i++) {
            CHECK(leaders[i] != 0 && has(table + (size_t)i * 3, leaders[i]));
            CHECK(node_of(leaders[i])->open);
        }
        /* Nobody who has it is open: nobody leads. */
        for (size_t i = 0; i < placement.nodes_count; i++) {
            nodes[i].open = false;
        }
        CHECK_EQ(stele_placement_leaders(&alloc.base, &placement, table, leaders, 0, leaders),
                 STELE_OK);
        for (uint32_t i = 0; i < placement.partitions; i++) {
            CHECK_EQ(leaders[i], 0);
        }
    }
}

/* ---- Plans ---- */

static struct stele_placement_move next[STELE_PLACEMENT_MOVES_MAX];

static size_t plan(bool *running)
{
    size_t size = 0;
    CHECK_EQ(stele_placement_plan(&alloc.base, &placement, table, running, next, &size), STELE_OK);
    CHECK(size <= STELE_PLACEMENT_MOVES_MAX);
    CHECK_EQ(alloc.bytes, 0);
    return size;
}

static void do_moves(size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint64_t *const row = table + (size_t)next[i].partition * placement.replicas;
        size_t at = 0;
        CHECK(!has(row, next[i].to));
        while (row[at] != next[i].from) {
            at++;
            CHECK(at < placement.replicas);
        }
        row[at] = next[i].to;
    }
}

static void sort_rows(void)
{
    for (uint32_t i = 0; i < placement.partitions; i++) {
        uint64_t *const row = table + (size_t)i * placement.replicas;
        for (size_t k = 1; k < placement.replicas; k++) {
            for (size_t j = k; j > 0 && row[j] != 0 && row[j - 1] > row[j]; j--) {
                const uint64_t number = row[j];
                row[j] = row[j - 1];
                row[j - 1] = number;
            }
        }
    }
}

TEST(a_plan_ends_five_moves_at_a_time_with_everything_in_its_place)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 10);
        set_up(&rng, rng_between(&rng, 3, 8), (unsigned)rng_below(&rng, 4), 64,
               (uint32_t)rng_between(&rng, 1, 3));
        spread(table);
        placement.nodes_count++; /* One comes, another one goes. */
        nodes[rng_below(&rng, placement.nodes_count - 1)].open = false;
        const uint64_t fullest = load_max(table);
        bool running = false;
        size_t batches = 0;
        for (size_t size = plan(&running); size > 0; size = plan(&running)) {
            do_moves(size);
            CHECK(++batches < placement.partitions * placement.replicas);
        }
        CHECK(!running);
        sort_rows();
        check_table(table);
        const uint64_t needed = load_needed();
        const uint64_t mean = placement.partitions * width() / count_open();
        CHECK(load_max(table) <= needed || load_max(table) * 100 <= mean * 105 ||
              load_max(table) <= fullest);
    }
}

TEST(rebalancing_begins_late_and_ends_early)
{
    struct rng rng;
    rng_init(&rng, 1, 11);
    set_up(&rng, 3, 0, 120, 1);
    bool running = false;
    /* 48, 36, 36: 20 %. One less, and nothing happens; what has begun goes on. */
    for (uint32_t i = 0; i < 120; i++) {
        table[i] = nodes[i < 47 ? 0 : 1 + i % 2].number;
    }
    CHECK_EQ(stele_placement_imbalance(&placement, table), 18);
    CHECK_EQ(plan(&running), 0);
    CHECK(!running);
    table[47] = nodes[0].number;
    CHECK_EQ(stele_placement_imbalance(&placement, table), 20);
    CHECK_EQ(plan(&running), 5);
    CHECK(running);
    do_moves(5);
    CHECK_EQ(stele_placement_imbalance(&placement, table), 8);
    CHECK_EQ(plan(&running), 1);
    do_moves(1);
    CHECK_EQ(stele_placement_imbalance(&placement, table), 5);
    CHECK_EQ(plan(&running), 0);
    CHECK(!running);
    /* An empty node is work to do even where the others would hardly notice. */
    set_up(&rng, 20, 0, 1000, 1);
    spread(table);
    placement.nodes_count++;
    nodes[20].number = 1000;
    CHECK_EQ(stele_placement_imbalance(&placement, table), 100);
    CHECK_EQ(plan(&running), 5);
    for (size_t i = 0; i < 5; i++) {
        CHECK_EQ(next[i].to, 1000);
    }
}

TEST(what_must_move_goes_first)
{
    struct rng rng;
    rng_init(&rng, 1, 12);
    set_up(&rng, 5, 0, 30, 2);
    spread(table);
    const uint64_t gone = nodes[2].number;
    bool running = false;
    nodes[2].open = false;
    CHECK_EQ(plan(&running), 5);
    for (size_t i = 0; i < 5; i++) {
        CHECK_EQ(next[i].from, gone);
    }
    nodes[2] = nodes[4]; /* Now nobody knows it any more: replicas are missing. */
    placement.nodes_count = 4;
    CHECK_EQ(plan(&running), 5);
    for (size_t i = 0; i < 5; i++) {
        CHECK_EQ(next[i].from, 0);
    }
}

TEST(without_memory_nothing_is_lost)
{
    struct rng rng;
    rng_init(&rng, 1, 13);
    set_up(&rng, 5, 0, 30, 2);
    bool running = false;
    size_t size = 0;
    for (uint64_t at = 1; at <= 2; at++) {
        testalloc_init(&alloc, 1);
        alloc.fail_at = at;
        CHECK_EQ(stele_placement_spread(&alloc.base, &placement, table), STELE_E_NO_MEMORY);
        CHECK_EQ(alloc.bytes, 0);
    }
    testalloc_init(&alloc, 1);
    alloc.fail_at = 1;
    alloc.fail_sticky = true;
    CHECK_EQ(stele_placement_leaders(&alloc.base, &placement, NULL, NULL, 0, leaders),
             STELE_E_NO_MEMORY);
    CHECK_EQ(stele_placement_plan(&alloc.base, &placement, table, &running, next, &size),
             STELE_E_NO_MEMORY);
    CHECK_EQ(alloc.bytes, 0);
}
