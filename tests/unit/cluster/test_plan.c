/* What the table of nodes asks for changes little when nodes come and go, and is what the table says where it says
 * something.
 *
 * Method: clusters of every size; each node goes and comes, and what moves is counted. */
#include "base/status.h"
#include "cluster/plan.h"
#include "lib/check.h"
#include "lib/testalloc.h"

#include <stdio.h>

#define ALL UINT64_MAX

static struct testalloc alloc;
static struct stele_meta meta;
static uint64_t before[STELE_PARTITIONS_MAX];
static uint64_t after[STELE_PARTITIONS_MAX];

/* Numbers are not places: every third one was removed once. */
static void set_up(size_t nodes, uint32_t partitions)
{
    testalloc_init(&alloc, 1);
    stele_meta_init(&meta);
    meta.version = 1;
    meta.partitions = partitions;
    for (size_t i = 0; i < nodes; i++) {
        meta.nodes[i] =
            (struct stele_meta_node){.number = i + i / 2 + 1, .state = STELE_META_ACTIVE};
        (void)snprintf(meta.nodes[i].name, sizeof meta.nodes[i].name, "n%zu", i);
    }
    meta.nodes_count = nodes;
}

static void lead(uint64_t able, uint64_t *out_leaders)
{
    CHECK_EQ(stele_plan_leaders(&alloc.base, &meta, able, out_leaders), STELE_OK);
}

static uint32_t led_by(const uint64_t *leaders, uint64_t number)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < meta.partitions; i++) {
        count += leaders[i] == number;
    }
    return count;
}

TEST(a_node_that_goes_moves_what_it_led_and_gets_it_back)
{
    static const uint32_t partitions[] = {1, 16, 128, 1024};
    for (size_t nodes = 2; nodes <= 12; nodes++) {
        for (size_t p = 0; p < STELE_COUNT_OF(partitions); p++) {
            set_up(nodes, partitions[p]);
            lead(ALL, before);
            for (size_t gone = 0; gone < nodes; gone++) {
                lead(ALL & ~(UINT64_C(1) << gone), after);
                CHECK_EQ(led_by(after, meta.nodes[gone].number), 0);
                for (uint32_t i = 0; i < meta.partitions; i++) {
                    CHECK(after[i] != 0);
                    CHECK(before[i] == after[i] || before[i] == meta.nodes[gone].number);
                }
                lead(ALL, after);
                CHECK(memcmp(before, after, meta.partitions * sizeof before[0]) == 0);
            }
        }
    }
}

TEST(everybody_leads_as_many_as_the_others)
{
    for (size_t nodes = 1; nodes <= 12; nodes++) {
        set_up(nodes, 128);
        lead(ALL, before);
        for (size_t i = 0; i < nodes; i++) {
            const uint32_t led = led_by(before, meta.nodes[i].number);
            CHECK(led == 128 / nodes || led == 128 / nodes + 1);
        }
    }
}

TEST(a_node_that_joins_gets_its_share_and_hardly_anything_else_moves)
{
    uint32_t moved_all = 0;
    uint32_t least = 0;
    for (size_t nodes = 2; nodes <= 11; nodes++) {
        set_up(nodes, 1024);
        lead(ALL, before);
        set_up(nodes + 1, 1024);
        lead(ALL, after);
        uint32_t moved = 0;
        for (uint32_t i = 0; i < meta.partitions; i++) {
            moved += before[i] != after[i];
        }
        printf("# %zu nodes and one: %u of 1024 move, %zu at least\n", nodes, moved,
               1024 / (nodes + 1));
        moved_all += moved;
        least += 1024 / (uint32_t)(nodes + 1);
    }
    CHECK(moved_all <= 2 * least);
}

TEST(only_active_nodes_that_are_able_lead)
{
    set_up(4, 64);
    meta.nodes[0].state = STELE_META_JOINING;
    meta.nodes[1].state = STELE_META_DRAINING;
    lead(ALL, before);
    CHECK_EQ(led_by(before, meta.nodes[2].number), 32);
    CHECK_EQ(led_by(before, meta.nodes[3].number), 32);
    lead(1 << 3, after);
    CHECK_EQ(led_by(after, meta.nodes[3].number), 64);
    lead(1 << 1, after);
    CHECK_EQ(led_by(after, 0), 64);
}

TEST(whom_the_table_names_leads_as_long_as_it_is_able)
{
    set_up(3, 64);
    for (uint32_t i = 0; i < 64; i += 2) {
        meta.leaders[i] = meta.nodes[1].number;
    }
    lead(ALL, before);
    for (uint32_t i = 0; i < 64; i += 2) {
        CHECK_EQ(before[i], meta.nodes[1].number);
    }
    lead(ALL & ~UINT64_C(2), after);
    CHECK_EQ(led_by(after, meta.nodes[1].number), 0);
    CHECK_EQ(led_by(after, 0), 0);
    lead(ALL, after);
    CHECK(memcmp(before, after, 64 * sizeof before[0]) == 0);
}

TEST(without_memory_nothing_is_planned)
{
    for (uint64_t nth = 1;; nth++) {
        set_up(3, 16);
        alloc.fail_at = nth;
        const int outcome = stele_plan_leaders(&alloc.base, &meta, 3, before);
        CHECK_EQ(alloc.blocks, 0);
        if (outcome == STELE_OK) {
            CHECK(nth > 2);
            break;
        }
        CHECK_EQ(outcome, STELE_E_NO_MEMORY);
    }
}
