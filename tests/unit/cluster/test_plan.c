/* What the table of nodes asks for changes little when nodes come and go, and is what the table says where it says
 * something.
 *
 * Method: clusters of every size; each node goes and comes, and what moves is counted. */
#include "base/status.h"
#include "cluster/plan.h"
#include "lib/check.h"
#include "lib/rng.h"
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

/* ---- Voters ---- */

static struct stele_meta_command command;

static void set(const char *key, const char *value)
{
    struct stele_meta_setting *setting = &meta.settings[meta.settings_count++];
    for (; setting > meta.settings && strcmp(setting[-1].key, key) > 0; setting--) {
        setting[0] = setting[-1]; /* They are sorted. */
    }
    (void)snprintf(setting->key, sizeof setting->key, "%s", key);
    (void)snprintf(setting->value, sizeof setting->value, "%s", value);
}

static void set_up_voters(size_t nodes, uint32_t partitions, const char *replicas)
{
    set_up(nodes, partitions);
    meta.gates = STELE_META_FEATURE_VOTERS;
    set(STELE_META_REPLICATION_FACTOR, replicas);
}

/* Places them. Returns how many votes are others than before. */
static uint32_t place(void)
{
    uint32_t moved = 0;
    const int outcome =
        stele_plan_voters(&alloc.base, &meta, NULL, STELE_PLACEMENT_BEGIN, &command);
    if (outcome == STELE_NOT_FOUND) {
        return 0;
    }
    CHECK_EQ(outcome, STELE_OK);
    CHECK_EQ(command.if_version, meta.version);
    meta.voters_version = ++meta.version;
    for (uint32_t i = 0; i < meta.partitions; i++) {
        uint64_t row[STELE_META_REPLICAS_MAX] = {0};
        for (size_t k = 0; k < STELE_META_REPLICAS_MAX && command.voters[i][k] != 0; k++) {
            row[k] = meta.nodes[command.voters[i][k] - 1].number;
            CHECK(k == 0 || row[k] > row[k - 1]);
            moved +=
                stele_meta_voters_count(&meta, i) == 0 || !stele_meta_should_vote(&meta, i, row[k]);
        }
        memcpy(meta.voters[i], row, sizeof row);
    }
    /* What was just placed is as it should be. */
    CHECK_EQ(stele_plan_voters(&alloc.base, &meta, NULL, STELE_PLACEMENT_BEGIN, &command),
             STELE_NOT_FOUND);
    CHECK(stele_plan_is_filled(&meta));
    return moved;
}

static uint32_t votes_of(uint64_t number)
{
    uint32_t votes = 0;
    for (uint32_t i = 0; i < meta.partitions; i++) {
        votes += stele_meta_should_vote(&meta, i, number);
    }
    return votes;
}

static void add_node(enum stele_meta_state state)
{
    const uint64_t number = meta.nodes[meta.nodes_count - 1].number + 1;
    meta.nodes[meta.nodes_count++] = (struct stele_meta_node){.number = number, .state = state};
    meta.version++;
}

TEST(a_cluster_that_grows_has_as_many_voters_as_it_should_and_moves_little)
{
    set_up_voters(1, 64, "3");
    CHECK(!stele_plan_is_filled(&meta));
    CHECK_EQ(place(), 64);
    for (size_t nodes = 2; nodes <= 9; nodes++) {
        add_node(STELE_META_JOINING);
        const uint32_t moved = place();
        const uint32_t width = nodes < 3 ? (uint32_t)nodes : 3;
        const uint32_t share = 64 * width / (uint32_t)nodes;
        CHECK(nodes <= 3 ? moved == 64 : moved <= share + 1);
        for (size_t i = 0; i < nodes; i++) {
            const uint32_t votes = votes_of(meta.nodes[i].number);
            CHECK(votes + 4 >= share && votes <= share + 4);
        }
        for (uint32_t i = 0; i < 64; i++) {
            CHECK_EQ(stele_meta_voters_count(&meta, i), width);
        }
        meta.nodes[nodes - 1].state = STELE_META_ACTIVE;
        meta.version++;
        CHECK_EQ(place(), 0);
    }
}

TEST(zones_are_kept_apart)
{
    set_up_voters(6, 64, "3");
    for (size_t i = 0; i < 6; i++) {
        (void)snprintf(meta.nodes[i].zone, sizeof meta.nodes[i].zone, "z%zu", i / 2);
    }
    (void)place();
    for (uint32_t i = 0; i < 64; i++) {
        for (size_t zone = 0; zone < 3; zone++) {
            CHECK_EQ(stele_meta_should_vote(&meta, i, meta.nodes[2 * zone].number) +
                         stele_meta_should_vote(&meta, i, meta.nodes[2 * zone + 1].number),
                     1);
        }
    }
}

TEST(who_is_drained_gives_its_votes_away_as_far_as_there_are_others)
{
    set_up_voters(4, 64, "3");
    (void)place();
    const uint32_t had = votes_of(meta.nodes[1].number);
    meta.nodes[1].state = STELE_META_DRAINING;
    meta.version++;
    CHECK_EQ(place(), had);
    CHECK_EQ(votes_of(meta.nodes[1].number), 0);
    meta.nodes[2].state = STELE_META_DRAINING;
    meta.version++;
    CHECK_EQ(place(), 0);
    CHECK_EQ(votes_of(meta.nodes[2].number), 64);
}

TEST(what_is_paused_does_not_move_and_is_filled_all_the_same)
{
    set_up_voters(3, 64, "3");
    (void)place();
    set(STELE_META_REBALANCE, "paused");
    add_node(STELE_META_ACTIVE);
    CHECK_EQ(place(), 0);
    meta.nodes[0].state = STELE_META_DRAINING;
    meta.version++;
    CHECK_EQ(place(), 0);
    /* One goes for good: that is not moving. */
    memmove(&meta.nodes[1], &meta.nodes[2], 2 * sizeof meta.nodes[0]);
    meta.nodes_count = 3;
    for (uint32_t i = 0; i < 64; i++) {
        meta.voters[i][1] = meta.voters[i][2];
        meta.voters[i][2] = 0;
    }
    meta.version++;
    CHECK(!stele_plan_is_filled(&meta));
    CHECK_EQ(place(), 64);
}

TEST(nothing_is_placed_before_all_nodes_know_what_that_is_or_if_nobody_said_how_many)
{
    set_up_voters(4, 16, "3");
    CHECK(!stele_plan_is_filled(&meta));
    meta.gates = 0;
    CHECK(stele_plan_is_filled(&meta));
    CHECK_EQ(stele_plan_voters(&alloc.base, &meta, NULL, STELE_PLACEMENT_BEGIN, &command),
             STELE_NOT_FOUND);
    set_up(4, 16);
    meta.gates = STELE_META_FEATURE_VOTERS;
    CHECK_EQ(stele_plan_voters(&alloc.base, &meta, NULL, STELE_PLACEMENT_BEGIN, &command),
             STELE_NOT_FOUND);
    CHECK_EQ(stele_plan_role(&meta, 3, meta.nodes[2].number), STELE_PLAN_VOTER);
    CHECK(stele_plan_is_replicas("") && stele_plan_is_replicas("7"));
    CHECK(!stele_plan_is_replicas("0") && !stele_plan_is_replicas("8"));
    CHECK(!stele_plan_is_replicas("33") && !stele_plan_is_replicas("x"));
}

static struct stele_error err;

static int move(uint32_t partition, uint64_t from, uint64_t to, uint64_t alive)
{
    const struct stele_placement_move wanted = {.partition = partition, .from = from, .to = to};
    err.message[0] = '\0';
    const int outcome = stele_plan_move(&alloc.base, &meta, NULL, alive, &wanted, &command, &err);
    CHECK_EQ(err.message[0] == '\0', outcome == STELE_OK);
    return outcome;
}

TEST(a_move_is_one_vote_of_one_partition)
{
    set_up_voters(4, 16, "3");
    CHECK_EQ(move(3, 1, 2, ALL), STELE_CONDITION_FAILED); /* Nothing was placed yet. */
    (void)place();
    for (uint32_t i = 0; i < 16; i++) {
        for (size_t k = 0; k < 3; k++) {
            uint64_t to = 0;
            for (size_t n = 0; n < 4; n++) {
                const uint64_t number = meta.nodes[n].number;
                to = stele_meta_should_vote(&meta, i, number) ? to : number;
            }
            CHECK_EQ(move(i, meta.voters[i][k], to, ALL), STELE_OK);
            CHECK_EQ(command.kind, STELE_META_PLACE);
            CHECK_EQ(command.if_version, meta.version);
            struct stele_placement_move moves[2];
            CHECK_EQ(stele_plan_moves(&meta, &command, moves, 2), 1);
            CHECK_EQ(moves[0].partition, i);
            CHECK_EQ(moves[0].from, meta.voters[i][k]);
            CHECK_EQ(moves[0].to, to);
            for (size_t p = 1; p < 3; p++) {
                CHECK(command.voters[i][p] > command.voters[i][p - 1]);
            }
        }
    }
}

TEST(a_move_that_cannot_be_is_refused_with_words)
{
    set_up_voters(4, 16, "3");
    (void)place();
    const uint64_t from = meta.voters[5][0];
    uint64_t to = 0;
    size_t place_of_to = 0;
    for (size_t n = 0; n < 4; n++) {
        const uint64_t number = meta.nodes[n].number;
        place_of_to = stele_meta_should_vote(&meta, 5, number) ? place_of_to : n;
        to = meta.nodes[place_of_to].number;
    }
    CHECK_EQ(move(16, from, to, ALL), STELE_E_INVALID);
    CHECK_EQ(move(5, from, 77, ALL), STELE_NOT_FOUND);
    CHECK(strstr(err.message, "77") != NULL);
    CHECK_EQ(move(5, 77, to, ALL), STELE_NOT_FOUND);
    CHECK_EQ(move(5, to, from, ALL), STELE_CONDITION_FAILED);
    CHECK(strstr(err.message, "has no vote") != NULL);
    CHECK_EQ(move(5, from, meta.voters[5][1], ALL), STELE_CONDITION_FAILED);
    CHECK(strstr(err.message, "already") != NULL);
    CHECK_EQ(move(5, from, to, ALL & ~(UINT64_C(1) << place_of_to)), STELE_CONDITION_FAILED);
    CHECK(strstr(err.message, "does not answer") != NULL);
    CHECK_EQ(move(5, from, to, UINT64_C(1) << place_of_to), STELE_CONDITION_FAILED);
    CHECK(strstr(err.message, "no majority") != NULL);
    meta.nodes[place_of_to].state = STELE_META_DRAINING;
    CHECK_EQ(move(5, from, to, ALL), STELE_CONDITION_FAILED);
    CHECK(strstr(err.message, "undrain") != NULL);
    meta.nodes[place_of_to].state = STELE_META_JOINING;
    CHECK_EQ(move(5, from, to, ALL), STELE_CONDITION_FAILED);
    CHECK(strstr(err.message, "joining") != NULL);
    meta.nodes[place_of_to].state = STELE_META_ACTIVE;
    /* One after the other to the same node, until it is full. */
    int outcome = STELE_OK;
    uint32_t moved = 0;
    for (uint32_t i = 0; i < 16 && outcome == STELE_OK; i++) {
        if (!stele_meta_should_vote(&meta, i, to)) {
            outcome = move(i, meta.voters[i][1], to, ALL);
            moved += outcome == STELE_OK;
            for (size_t k = 0; k < 3 && outcome == STELE_OK; k++) {
                meta.voters[i][k] = meta.nodes[command.voters[i][k] - 1].number;
            }
        }
    }
    CHECK_EQ(outcome, STELE_CONDITION_FAILED);
    CHECK(strstr(err.message, "has its share") != NULL);
    CHECK(moved > 0);
}

TEST(leaders_are_voters)
{
    set_up_voters(5, 128, "3");
    (void)place();
    lead(ALL, before);
    for (uint32_t i = 0; i < 128; i++) {
        CHECK(stele_meta_should_vote(&meta, i, before[i]));
    }
    for (size_t i = 0; i < 5; i++) {
        const uint32_t led = led_by(before, meta.nodes[i].number);
        CHECK(led >= 24 && led <= 27);
        lead(ALL & ~(UINT64_C(1) << i), after);
        for (uint32_t k = 0; k < 128; k++) {
            CHECK(stele_meta_should_vote(&meta, k, after[k]));
            CHECK(before[k] == after[k] || before[k] == meta.nodes[i].number);
        }
    }
    /* A name that may not vote there counts for nothing. */
    uint64_t other = 0;
    for (size_t i = 0; i < 5; i++) {
        const uint64_t number = meta.nodes[i].number;
        other = stele_meta_should_vote(&meta, 7, number) ? other : number;
    }
    meta.leaders[7] = other;
    lead(ALL, after);
    CHECK_EQ(after[7], before[7]);
}

/* ---- Steps ---- */

static uint64_t members[STELE_META_NODES_MAX];
static enum stele_plan_role roles[STELE_META_NODES_MAX];
static struct stele_plan_group group;

static void change(const struct stele_plan_step *step)
{
    size_t at = 0;
    while (at < group.count && members[at] != step->node) {
        at++;
    }
    if (step->role == STELE_PLAN_NONE) {
        CHECK(at < group.count);
        group.count--;
        memmove(&members[at], &members[at + 1], (group.count - at) * sizeof members[0]);
        memmove(&roles[at], &roles[at + 1], (group.count - at) * sizeof roles[0]);
        return;
    }
    /* Not a voter at once: it would have to get the log first. */
    CHECK(step->role != STELE_PLAN_VOTER || at < group.count);
    group.count += at == group.count ? 1 : 0;
    members[at] = step->node;
    roles[at] = step->role;
}

static size_t voters_there(void)
{
    size_t voters = 0;
    for (size_t i = 0; i < group.count; i++) {
        voters += roles[i] == STELE_PLAN_VOTER;
    }
    return voters;
}

TEST(steps_lead_to_the_table_and_never_below_it)
{
    struct rng rng;
    rng_init(&rng, 1, 0);
    set_up_voters(6, 1, "3");
    group = (struct stele_plan_group){.nodes = members, .roles = roles};
    for (size_t i = 0; i < 6; i++) {
        change(&(struct stele_plan_step){.node = meta.nodes[i].number, .role = STELE_PLAN_STANDBY});
        change(&(struct stele_plan_step){.node = meta.nodes[i].number, .role = STELE_PLAN_VOTER});
    }
    for (int round = 0; round < 2000; round++) {
        size_t count = 0;
        memset(meta.voters[0], 0, sizeof meta.voters[0]);
        for (size_t i = 0; i < 6; i++) {
            if (rng_below(&rng, 6 - i) < 3 - count) {
                meta.voters[0][count++] = meta.nodes[i].number;
            }
        }
        struct stele_plan_step step;
        /* Often the next table comes before this one was reached. */
        for (uint64_t steps = rng_below(&rng, 20); steps > 0; steps--) {
            const uint64_t alive = rng_one_in(&rng, 2) ? ALL : rng_next(&rng);
            if (stele_plan_step(&meta, &group, alive, rng_one_in(&rng, 2), rng_below(&rng, 3),
                                &step)) {
                change(&step);
            }
            CHECK(voters_there() >= 3);
        }
        if (rng_one_in(&rng, 4)) {
            while (stele_plan_step(&meta, &group, ALL, true, 0, &step)) {
                change(&step);
            }
            CHECK_EQ(group.count, 6);
            CHECK_EQ(voters_there(), 3);
            CHECK_EQ(stele_plan_state(&meta, &group, ALL), STELE_PLAN_SETTLED);
            for (size_t i = 0; i < 6; i++) {
                CHECK_EQ(roles[i], stele_plan_role(&meta, 0, members[i]));
            }
        }
    }
}

TEST(who_is_gone_leaves_before_another_votes)
{
    struct stele_plan_step step;
    set_up_voters(3, 1, "3");
    const uint64_t lost = 99;
    group = (struct stele_plan_group){.nodes = members, .roles = roles};
    for (size_t i = 0; i < 3; i++) {
        const uint64_t number = i < 2 ? meta.nodes[i].number : lost;
        change(&(struct stele_plan_step){.node = number, .role = STELE_PLAN_STANDBY});
        change(&(struct stele_plan_step){.node = number, .role = STELE_PLAN_VOTER});
        meta.voters[0][i] = meta.nodes[i].number;
    }
    /* The one in its place gets the log first, without a vote. */
    CHECK(stele_plan_step(&meta, &group, ALL, true, 0, &step));
    CHECK_EQ(step.node, meta.nodes[2].number);
    CHECK_EQ(step.role, STELE_PLAN_STANDBY);
    change(&step);
    CHECK(stele_plan_step(&meta, &group, ALL, true, 0, &step));
    CHECK_EQ(step.node, lost);
    CHECK_EQ(step.role, STELE_PLAN_NONE);
    change(&step);
    CHECK(stele_plan_step(&meta, &group, ALL, false, 0, &step));
    CHECK_EQ(step.node, meta.nodes[2].number);
    CHECK_EQ(step.role, STELE_PLAN_VOTER);
    change(&step);
    CHECK(!stele_plan_step(&meta, &group, ALL, true, 0, &step));
}

TEST(what_is_missing_does_not_wait_and_what_moves_does)
{
    struct stele_plan_step step;
    set_up_voters(4, 1, "3");
    const uint64_t n[] = {meta.nodes[0].number, meta.nodes[1].number, meta.nodes[2].number,
                          meta.nodes[3].number};
    group = (struct stele_plan_group){.nodes = members, .roles = roles};
    for (size_t i = 0; i < 4; i++) {
        change(&(struct stele_plan_step){.node = n[i], .role = STELE_PLAN_STANDBY});
    }
    for (size_t i = 0; i < 2; i++) {
        change(&(struct stele_plan_step){.node = n[i], .role = STELE_PLAN_VOTER});
        meta.voters[0][i] = n[i];
    }
    meta.voters[0][2] = n[3];
    CHECK_EQ(stele_plan_state(&meta, &group, ALL), STELE_PLAN_FILLING);
    CHECK(stele_plan_step(&meta, &group, ALL, false, 0, &step));
    CHECK_EQ(step.node, n[3]);
    CHECK_EQ(step.role, STELE_PLAN_VOTER);
    /* Who does not answer is nothing to wait for. */
    CHECK_EQ(stele_plan_state(&meta, &group, 7), STELE_PLAN_SETTLED);
    change(&(struct stele_plan_step){.node = n[2], .role = STELE_PLAN_VOTER});
    CHECK_EQ(stele_plan_state(&meta, &group, ALL), STELE_PLAN_MOVING);
    CHECK(!stele_plan_step(&meta, &group, ALL, false, 0, &step));
    CHECK(stele_plan_step(&meta, &group, ALL, true, 0, &step));
    change(&step);
    CHECK_EQ(stele_plan_state(&meta, &group, ALL), STELE_PLAN_MOVING);
    CHECK(stele_plan_step(&meta, &group, ALL, false, 0, &step));
    CHECK_EQ(step.node, n[2]);
    CHECK_EQ(step.role, STELE_PLAN_STANDBY);
}

/* All partitions go from the first three nodes to the last three, and another table comes half way. */
TEST(of_those_that_change_places_five_have_begun_at_most)
{
    enum { PARTITIONS = 16 };
    static uint64_t everybodys_members[PARTITIONS][STELE_META_NODES_MAX];
    static enum stele_plan_role everybodys_roles[PARTITIONS][STELE_META_NODES_MAX];
    struct stele_plan_group groups[PARTITIONS];
    set_up_voters(6, PARTITIONS, "3");
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        groups[i] = (struct stele_plan_group){.partition = i,
                                              .count = 6,
                                              .nodes = everybodys_members[i],
                                              .roles = everybodys_roles[i]};
        for (size_t k = 0; k < 6; k++) {
            everybodys_members[i][k] = meta.nodes[k].number;
            everybodys_roles[i][k] = k < 3 ? STELE_PLAN_VOTER : STELE_PLAN_STANDBY;
            /* At first only the later half moves. */
            if (k < 3) {
                meta.voters[i][k] = meta.nodes[i < PARTITIONS / 2 ? k : k + 3].number;
            }
        }
    }
    uint32_t most = 0;
    for (uint32_t round = 0; round < 1000; round++) {
        struct stele_plan_moving moving = {.count = 0};
        for (uint32_t i = 0; i < PARTITIONS; i++) {
            stele_plan_moving_add(&moving, &meta, &groups[i], ALL);
        }
        most = moving.begun > most ? moving.begun : most;
        CHECK(moving.begun <= STELE_PLACEMENT_MOVES_MAX);
        if (moving.count == 0) {
            CHECK(round > 3);
            CHECK_EQ(most, STELE_PLACEMENT_MOVES_MAX);
            return;
        }
        for (uint32_t i = 0; i < PARTITIONS; i++) {
            struct stele_plan_step step;
            if (!stele_plan_step(&meta, &groups[i], ALL,
                                 stele_plan_may_begin(&moving, &meta, &groups[i]), 0, &step)) {
                continue;
            }
            for (size_t k = 0; k < 6; k++) {
                if (everybodys_members[i][k] == step.node) {
                    everybodys_roles[i][k] = step.role;
                }
            }
        }
        for (uint32_t i = 0; round == 0 && i < PARTITIONS / 2; i++) {
            for (size_t k = 0; k < 3; k++) {
                meta.voters[i][k] = meta.nodes[k + 3].number;
            }
        }
    }
    CHECK(false); /* It has to end. */
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
    for (uint64_t nth = 1;; nth++) {
        set_up_voters(3, 16, "3");
        alloc.fail_at = nth;
        const int outcome =
            stele_plan_voters(&alloc.base, &meta, NULL, STELE_PLACEMENT_BEGIN, &command);
        CHECK_EQ(alloc.blocks, 0);
        if (outcome == STELE_OK) {
            CHECK(nth > 2);
            break;
        }
        CHECK_EQ(outcome, STELE_E_NO_MEMORY);
    }
}
