/* The table of a cluster is the same on every node, gives each number to one incarnation, and refuses with
 * words what an operator would regret.
 *
 * Method: small stories for each rule, in which every refusal is checked to leave the table byte for byte; and
 * random commands by the thousand, applied to two tables, one of which is packed and unpacked all the time. */
#include "meta_story.h"

#include <stdlib.h>

static struct stele_meta other;

/* ---- Founding and joining ---- */

TEST(nothing_happens_before_the_founding)
{
    stele_meta_init(&table);
    for (unsigned kind = STELE_META_JOIN; kind <= STELE_META_START; kind++) {
        nothing(coming((enum stele_meta_kind)kind, "a", 1), STELE_META_NOT_FOUNDED);
    }
    CHECK_EQ(table.version, 0);
}

TEST(the_founder_is_number_one_and_founding_is_once)
{
    found();
    CHECK_EQ(table.nodes[0].state, STELE_META_ACTIVE);
    CHECK_EQ(table.partitions, PARTITIONS);
    nothing(coming(STELE_META_FOUND, "a", 1), STELE_META_SAME);
    CHECK_EQ(result.number, 1);
    REFUSED(coming(STELE_META_FOUND, "a", 2), STELE_META_FOUNDED_ALREADY, "already");
    stele_meta_init(&table);
    struct stele_meta_command *command = coming(STELE_META_FOUND, "a", 1);
    command->partitions = 0;
    REFUSED(command, STELE_META_INVALID, "partitions");
    command->partitions = STELE_PARTITIONS_MAX + 1;
    nothing(command, STELE_META_INVALID);
}

TEST(who_joins_gets_a_number_and_who_asks_again_the_same)
{
    found();
    CHECK_EQ(join("b", 2), 2);
    CHECK_EQ(stele_meta_find(&table, 2)->state, STELE_META_JOINING);
    CHECK_EQ(join("c", 3), 3);
    nothing(coming(STELE_META_JOIN, "b", 2), STELE_META_SAME);
    CHECK_EQ(result.number, 2);
    done(about(STELE_META_ACTIVATE, 2));
    nothing(about(STELE_META_ACTIVATE, 2), STELE_META_SAME);
    nothing(coming(STELE_META_JOIN, "b", 2), STELE_META_SAME);
    CHECK_EQ(result.number, 2);
}

TEST(who_does_not_fit_is_told_why)
{
    found();
    CHECK_EQ(join("b", 2), 2);
    struct stele_meta_command *command = coming(STELE_META_JOIN, "b", 9);
    REFUSED(command, STELE_META_NAME_TAKEN, "stele cluster replace b");
    command = coming(STELE_META_JOIN, "d", 9);
    memcpy(command->node.cluster_address, "b.example:2114", 15);
    REFUSED(command, STELE_META_ADDRESS_TAKEN, "b.example:2114 belongs to node 2");
    command = coming(STELE_META_JOIN, "d", 9);
    command->partitions = 128;
    REFUSED(command, STELE_META_OTHER_PARTITIONS, "128 partitions");
    command = coming(STELE_META_JOIN, "d", 9);
    command->partition_key = STELE_KEY_CATEGORY;
    REFUSED(command, STELE_META_OTHER_PARTITIONS, "by category");
    command = coming(STELE_META_JOIN, "d", 9);
    command->format = STELE_META_FORMAT + 1;
    REFUSED(command, STELE_META_NEWER_FORMAT, "bring the other nodes");
    command->format = STELE_META_FORMAT - 1;
    REFUSED(command, STELE_META_OLDER_FORMAT, "install the version");
    command = coming(STELE_META_JOIN, "d", 9);
    id_of(command->cluster_id, 8);
    REFUSED(command, STELE_META_WRONG_CLUSTER, "another cluster");
    /* The data of b under another name, or at another place. */
    REFUSED(coming(STELE_META_JOIN, "d", 2), STELE_META_CLONED, "clone of those of node 2");
    command = coming(STELE_META_JOIN, "b", 2);
    memcpy(command->node.cluster_address, "x.example:2114", 15);
    nothing(command, STELE_META_CLONED);
    done(about(STELE_META_REMOVE, 2));
    REFUSED(coming(STELE_META_JOIN, "b", 2), STELE_META_REMOVED, "empty directory");
    CHECK_EQ(join("b", 4), 3);
}

TEST(names_addresses_and_texts_are_checked)
{
    static const char *const bad_addresses[] = {
        "",        "x",     "x:",     ":1",      "x:0",    "x:01", "x:65536", "x:1x",
        "x y:1",   "x/y:1", "::1:5",  "[::1:5",  "::1]:5", "[]:5", "u@x:1",   "x:99999999999",
        "x\x7f:1", "x\n:1", "[a]b:1", "\"x\":1",
    };
    static const char *const good_addresses[] = {"x:1", "10.0.0.1:65535", "[::1]:2113",
                                                 "a-b.example:2113"};
    static const char *const bad_names[] = {"", "-a", ".a", "a b", "a/b", "\xc3\xa4", "a\n"};
    found();
    for (size_t i = 0; i < STELE_COUNT_OF(bad_addresses); i++) {
        struct stele_meta_command *const command = coming(STELE_META_JOIN, "b", 2);
        (void)snprintf(command->node.cluster_address, STELE_META_ADDRESS_MAX, "%s",
                       bad_addresses[i]);
        REFUSED(command, STELE_META_INVALID, "host:port");
        command->node = node_of("b", 2);
        (void)snprintf(command->node.client_address, STELE_META_ADDRESS_MAX, "%s",
                       bad_addresses[i]);
        REFUSED(command, STELE_META_INVALID, "host:port");
    }
    for (size_t i = 0; i < STELE_COUNT_OF(good_addresses); i++) {
        struct stele_meta_command *const command = coming(STELE_META_JOIN, "b", 2);
        (void)snprintf(command->node.cluster_address, STELE_META_ADDRESS_MAX, "%s",
                       good_addresses[i]);
        struct stele_meta_result foreseen;
        stele_meta_judge_command(&table, command, &foreseen);
        CHECK_EQ(foreseen.outcome, STELE_META_DONE);
    }
    for (size_t i = 0; i < STELE_COUNT_OF(bad_names); i++) {
        struct stele_meta_command *const command = coming(STELE_META_JOIN, "b", 2);
        (void)snprintf(command->node.name, sizeof(command->node.name), "%s", bad_names[i]);
        nothing(command, STELE_META_INVALID);
        command->node = node_of("b", 2);
        (void)snprintf(command->node.zone, sizeof(command->node.zone), "%s", bad_names[i]);
        if (bad_names[i][0] != '\0') {
            REFUSED(command, STELE_META_INVALID, "zone");
        }
    }
    struct stele_meta_command *const command = coming(STELE_META_JOIN, "b", 2);
    (void)snprintf(command->node.version, sizeof(command->node.version), "1\x1b[2J");
    nothing(command, STELE_META_INVALID);
}

TEST(there_are_at_most_64_nodes)
{
    found();
    char name[16];
    for (uint64_t i = 2; i <= STELE_META_NODES_MAX; i++) {
        (void)snprintf(name, sizeof(name), "n%d", (int)i);
        CHECK_EQ(join(name, i), i);
    }
    REFUSED(coming(STELE_META_JOIN, "more", 1000), STELE_META_FULL, "64 nodes");
    done(about(STELE_META_REMOVE, 64));
    CHECK_EQ(join("more", 1000), 65);
}

/* ---- Leaving ---- */

TEST(a_number_is_never_given_again)
{
    found();
    uint64_t last = 1;
    char name[16];
    /* More than are remembered, so that the oldest is forgotten: its number is refused all the same. */
    for (uint64_t i = 0; i < STELE_META_REMOVED_MAX + 20; i++) {
        (void)snprintf(name, sizeof(name), "n%d", (int)i);
        const uint64_t number = join(name, 10 + i);
        CHECK_EQ(number, last + 1);
        last = number;
        done(about(STELE_META_REMOVE, number));
        nothing(about(STELE_META_REMOVE, number), STELE_META_SAME);
    }
    CHECK_EQ(table.removed_count, STELE_META_REMOVED_MAX);
    REFUSED(about(STELE_META_DRAIN, 2), STELE_META_REMOVED, "node 2 was removed");
    REFUSED(about(STELE_META_DRAIN, last), STELE_META_REMOVED, "\"n147\" was removed");
    REFUSED(about(STELE_META_DRAIN, last + 1), STELE_META_UNKNOWN_NODE, "no node");
    REFUSED(about(STELE_META_REMOVE, 0), STELE_META_UNKNOWN_NODE, "no node 0");
}

TEST(draining_goes_and_comes)
{
    found_three();
    done(about(STELE_META_DRAIN, 2));
    nothing(about(STELE_META_DRAIN, 2), STELE_META_SAME);
    REFUSED(about(STELE_META_ACTIVATE, 2), STELE_META_WRONG_STATE, "being drained");
    done(about(STELE_META_DRAIN, 3));
    REFUSED(about(STELE_META_DRAIN, 1), STELE_META_LAST_NODE, "last one that may lead");
    REFUSED(about(STELE_META_REMOVE, 1), STELE_META_LAST_NODE, "last one that may lead");
    done(about(STELE_META_UNDRAIN, 2));
    nothing(about(STELE_META_UNDRAIN, 2), STELE_META_SAME);
    done(about(STELE_META_DRAIN, 1));
    CHECK_EQ(join("d", 4), 4);
    REFUSED(about(STELE_META_DRAIN, 4), STELE_META_WRONG_STATE, "joining");
    REFUSED(about(STELE_META_UNDRAIN, 4), STELE_META_WRONG_STATE, "joining");
}

TEST(removing_leaves_a_majority_that_answers)
{
    /* c is dead: removing b, which lives, would leave a alone with it. */
    found_three();
    REFUSED(with_alive(about(STELE_META_REMOVE, 2), 1, 2), STELE_META_NO_QUORUM,
            "start, replace or remove node 3 \"c\" first");
    done(with_alive(about(STELE_META_REMOVE, 3), 1, 2));
    done(with_alive(about(STELE_META_REMOVE, 2), 1, 2));
    REFUSED(with_alive(about(STELE_META_REMOVE, 1), 1, 0), STELE_META_LAST_NODE, "gone");
    /* One that joins has no say yet, so it may always go. */
    CHECK_EQ(join("d", 4), 4);
    CHECK_EQ(join("e", 5), 5);
    done(about(STELE_META_ACTIVATE, 4));
    done(with_alive(about(STELE_META_REMOVE, 5), 1, 0));
    /* Nobody knows who answers: then numbers alone decide. */
    done(about(STELE_META_REMOVE, 4));
}

TEST(only_who_is_lost_is_replaced)
{
    found_three();
    struct stele_meta_command *command = coming(STELE_META_REPLACE, "c", 9);
    command->number = 3;
    REFUSED(with_alive(command, 1, 3), STELE_META_STILL_ALIVE, "answers");
    command = coming(STELE_META_REPLACE, "b", 9);
    command->number = 3;
    REFUSED(with_alive(command, 1, 2), STELE_META_NAME_TAKEN, "node 2");
    command = coming(STELE_META_REPLACE, "c", 2);
    command->number = 3;
    REFUSED(with_alive(command, 1, 2), STELE_META_CLONED, "clone");
    command = coming(STELE_META_REPLACE, "c", 9);
    command->number = 2; /* Then c's name is not free. */
    nothing(with_alive(command, 1, 3), STELE_META_NAME_TAKEN);
    command = coming(STELE_META_REPLACE, "c", 9);
    command->number = 3;
    REFUSED(with_alive(command, 1, 0), STELE_META_NO_QUORUM, "no majority");
    command = coming(STELE_META_REPLACE, "c", 9);
    command->number = 3;
    done(with_alive(command, 1, 2));
    CHECK_EQ(result.number, 4);
    CHECK(stele_meta_find(&table, 3) == NULL);
    CHECK_EQ(stele_meta_find_name(&table, "c")->number, 4);
    CHECK_EQ(stele_meta_find(&table, 4)->state, STELE_META_JOINING);
    nothing(command, STELE_META_SAME);
    CHECK_EQ(result.number, 4);
}

/* ---- Changes ---- */

TEST(a_node_that_starts_says_what_it_has_become)
{
    found_three();
    struct stele_meta_command *command = update(2, "b2", 2, 2, 55);
    (void)snprintf(command->node.cluster_address, STELE_META_ADDRESS_MAX, "elsewhere:1");
    done(command);
    nothing(command, STELE_META_SAME);
    CHECK_TEXT_EQ(stele_meta_find(&table, 2)->name, "b2");
    CHECK_TEXT_EQ(stele_meta_find(&table, 2)->cluster_address, "elsewhere:1");
    CHECK_EQ(stele_meta_find(&table, 2)->state, STELE_META_ACTIVE);
    REFUSED(update(2, "b2", 2, 1, 54), STELE_META_ROLLED_BACK, "earlier time");
    REFUSED(update(2, "b2", 2, 2, 56), STELE_META_CLONED, "two processes");
    REFUSED(update(2, "b2", 9, 3, 57), STELE_META_WIPED, "stele cluster replace b2");
    REFUSED(update(2, "a", 2, 3, 57), STELE_META_NAME_TAKEN, "node 1");
    REFUSED(update(7, "a", 2, 3, 57), STELE_META_UNKNOWN_NODE, "no node 7");
    done(about(STELE_META_REMOVE, 2));
    REFUSED(update(2, "b2", 2, 3, 57), STELE_META_REMOVED, "removed");
}

/* ---- Starts that a disk knows of ---- */

static struct stele_meta_command *start(uint64_t number, const char *name, uint64_t incarnation,
                                        const struct stele_meta_past *past)
{
    const struct stele_meta_start *const last = &past->starts[past->count - 1];
    struct stele_meta_command *const command =
        update(number, name, incarnation, last->starts, last->boot);
    command->kind = STELE_META_START;
    command->node.features = STELE_META_FEATURES;
    command->past = *past;
    return command;
}

TEST(a_past_forgets_what_is_before_a_start_that_the_table_has)
{
    struct stele_meta_past past = {.count = 0};
    CHECK(stele_meta_past_may_have(&past, 7, 70)); /* A disk of an older version tells nothing. */
    for (uint64_t i = 3; i < 3 + STELE_META_PAST_MAX; i++) {
        CHECK(stele_meta_past_add(&past, i, 10 * i));
    }
    CHECK(!stele_meta_past_add(&past, 3 + STELE_META_PAST_MAX, 9));
    CHECK(stele_meta_past_may_have(&past, 2, 1));
    CHECK(stele_meta_past_may_have(&past, 3, 30));
    CHECK(!stele_meta_past_may_have(&past, 3, 31));
    CHECK(!stele_meta_past_may_have(&past, 3 + STELE_META_PAST_MAX, 9));
    stele_meta_past_found(&past, 5, 51);
    stele_meta_past_found(&past, 2, 20);
    CHECK_EQ(past.count, STELE_META_PAST_MAX);
    stele_meta_past_found(&past, 5, 50);
    CHECK_EQ(past.count, STELE_META_PAST_MAX - 2);
    CHECK_EQ(past.starts[0].starts, 5);
    CHECK(stele_meta_past_may_have(&past, 4, 1));
    CHECK(!stele_meta_past_may_have(&past, 5, 51));
    CHECK(stele_meta_past_add(&past, 3 + STELE_META_PAST_MAX, 9));
}

TEST(a_copy_is_refused_however_often_it_is_started)
{
    struct stele_meta_past past = {.count = 0};
    found_three();
    CHECK(stele_meta_past_add(&past, 2, 20));
    REFUSED(start(2, "b", 2, &past), STELE_META_SOFTWARE_TOO_OLD, "when all nodes know");
    raise_past();
    REFUSED(update(2, "b", 2, 2, 20), STELE_META_SOFTWARE_TOO_OLD, "too old");
    struct stele_meta_command *const old = update(2, "b", 2, 2, 20);
    old->node.features = STELE_META_FEATURES;
    REFUSED(old, STELE_META_STALE, "earlier starts");
    done(start(2, "b", 2, &past));
    nothing(start(2, "b", 2, &past), STELE_META_SAME);
    stele_meta_past_found(&past, 2, 20);
    struct stele_meta_past copy = past;
    CHECK(stele_meta_past_add(&past, 3, 30));
    done(start(2, "b", 2, &past));
    for (uint64_t i = 3; i < 40; i++) {
        /* Once there is no room, it goes by the last one. */
        CHECK_EQ(stele_meta_past_add(&copy, i, 10 * i + 1), i < 18);
        const struct stele_meta_command *const command = start(2, "b", 2, &copy);
        if (i == 3) {
            REFUSED(command, STELE_META_CLONED, "two processes");
        } else {
            REFUSED(command, STELE_META_ROLLED_BACK, "(number 3) without its data knowing");
        }
    }
    /* The other one goes on, whether it has heard of its last starts or not. */
    for (uint64_t i = 4; i < 50; i++) {
        if (i % 7 == 0) {
            stele_meta_past_found(&past, stele_meta_find(&table, 2)->starts,
                                  stele_meta_find(&table, 2)->boot);
        }
        CHECK(stele_meta_past_add(&past, i, 10 * i));
        if (i % 3 != 0) {
            done(start(2, "b", 2, &past));
        }
    }
}

TEST(gates_rise_when_everybody_could_pass)
{
    found_three();
    struct stele_meta_command *command = update(2, "b", 2, 2, 55);
    command->node.features = 1;
    done(command);
    CHECK_EQ(stele_meta_common_features(&table), 1);
    command = command_of(STELE_META_GATE);
    command->features = 2;
    REFUSED(command, STELE_META_SOFTWARE_TOO_OLD,
            "node 2 \"b\" (0.1.0) does not know features 0x2");
    command->features = 1;
    done(command);
    nothing(command, STELE_META_SAME);
    CHECK_EQ(table.gates, 1);
    /* Neither comes nor goes back who does not know what is in use. */
    command = update(2, "b", 2, 3, 56);
    command->node.features = 0;
    REFUSED(command, STELE_META_SOFTWARE_TOO_OLD, "too old");
    command = coming(STELE_META_JOIN, "d", 4);
    command->node.features = 6;
    REFUSED(command, STELE_META_SOFTWARE_TOO_OLD, "features 0x1");
}

TEST(settings_are_kept_and_bounded)
{
    found();
    CHECK(stele_meta_setting(&table, "rebalance") == NULL);
    done(set("rebalance", "paused"));
    nothing(set("rebalance", "paused"), STELE_META_SAME);
    done(set("a", "1"));
    done(set("z", "2"));
    CHECK_TEXT_EQ(stele_meta_setting(&table, "rebalance"), "paused");
    done(set("rebalance", "on"));
    CHECK_TEXT_EQ(stele_meta_setting(&table, "rebalance"), "on");
    done(set("rebalance", ""));
    CHECK(stele_meta_setting(&table, "rebalance") == NULL);
    nothing(set("rebalance", ""), STELE_META_SAME);
    CHECK_TEXT_EQ(stele_meta_setting(&table, "z"), "2");
    nothing(set("", "1"), STELE_META_INVALID);
    nothing(set("A", "1"), STELE_META_INVALID);
    nothing(set("a", "\x80"), STELE_META_INVALID);
    char key[16];
    for (int i = 2; i < STELE_META_SETTINGS_MAX; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        done(set(key, "v"));
    }
    REFUSED(set("more", "v"), STELE_META_FULL, "32 settings");
    done(set("z", "3"));
}

TEST(leaders_are_active_and_forgotten_when_they_are_not)
{
    found_three();
    CHECK_EQ(join("d", 4), 4);
    struct stele_meta_command *command = command_of(STELE_META_PREFER);
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        command->leaders[i] = i % 4;
    }
    command->if_version = table.version + 1;
    REFUSED(command, STELE_META_STALE, "look at it again");
    command->if_version = table.version;
    done(command);
    CHECK_EQ(table.leaders_version, table.version);
    command->if_version = 0;
    nothing(command, STELE_META_SAME);
    command->leaders[5] = 4;
    REFUSED(command, STELE_META_WRONG_STATE, "partition 5: it is joining");
    command->leaders[5] = 5;
    nothing(command, STELE_META_UNKNOWN_NODE);
    command->partitions = 7;
    nothing(command, STELE_META_OTHER_PARTITIONS);
    done(about(STELE_META_DRAIN, 2));
    CHECK_EQ(table.leaders[2], 0);
    CHECK_EQ(table.leaders[6], 0);
    CHECK_EQ(table.leaders[3], 3);
    CHECK_EQ(table.leaders_version, table.version);
    done(about(STELE_META_REMOVE, 3));
    CHECK_EQ(table.leaders[3], 0);
    CHECK_EQ(table.leaders[1], 1);
}

/* ---- Voters ---- */

TEST(voters_are_nodes_of_the_table_and_go_with_them)
{
    found_three();
    nothing(place(2), STELE_META_SOFTWARE_TOO_OLD);
    open_gate();
    struct stele_meta_command *command = place(2);
    command->if_version = 0;
    nothing(command, STELE_META_INVALID);
    command = place(2);
    command->partitions = PARTITIONS - 1;
    nothing(command, STELE_META_INVALID);
    static const uint8_t wrong[][3] = {{2, 1, 0}, {1, 1, 0}, {1, 0, 2}, {0, 1, 0}, {1, 2, 4}, {0}};
    for (size_t i = 0; i < STELE_COUNT_OF(wrong); i++) {
        command = place(2);
        memcpy(command->voters[3], wrong[i], sizeof wrong[i]);
        nothing(command, STELE_META_INVALID);
    }
    command = place(2);
    command->if_version--;
    nothing(command, STELE_META_STALE);
    done(place(2));
    nothing(place(2), STELE_META_SAME);
    CHECK_EQ(table.voters_version, table.version);
    CHECK_EQ(stele_meta_voters_count(&table, 3), 2);
    CHECK(stele_meta_should_vote(&table, 3, 2));
    CHECK(!stele_meta_should_vote(&table, 3, 3));
    command = place(3);
    command->voters[0][0] = 2;
    command->voters[0][1] = 3;
    command->voters[0][2] = 0;
    done(command);
    done(about(STELE_META_REMOVE, 2));
    CHECK_EQ(stele_meta_voters_count(&table, 0), 1);
    CHECK_EQ(table.voters[0][0], 3);
    CHECK_EQ(stele_meta_voters_count(&table, 1), 2);
    CHECK_EQ(table.voters[1][1], 3);
}

TEST(removing_leaves_a_majority_of_each_partition_s_voters)
{
    found_three();
    CHECK_EQ(join("d", 4), 4);
    done(about(STELE_META_ACTIVATE, 4));
    CHECK_EQ(join("e", 5), 5);
    done(about(STELE_META_ACTIVATE, 5));
    open_gate();
    done(place(3));
    /* Of five nodes four answer. Without 1, two of partition 0 would be left, of which one does not. */
    struct stele_meta_command *command = with_alive(about(STELE_META_REMOVE, 1), 1, 2);
    command->alive[command->alive_count++] = 4;
    command->alive[command->alive_count++] = 5;
    nothing(command, STELE_META_NO_QUORUM);
    CHECK(strstr(result.words, "node 3") != NULL);
    command->number = 5;
    done(command);
    command->number = 3;
    done(command);
}

/* ---- Everything at random ---- */

static struct stele_meta_command *random_command(struct rng *rng)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g"};
    const enum stele_meta_kind kind = (enum stele_meta_kind)rng_between(rng, 1, STELE_META_START);
    const char *const name = names[rng_below(rng, STELE_COUNT_OF(names))];
    struct stele_meta_command *const command = coming(kind, name, rng_between(rng, 1, 30));
    command->number = rng_between(rng, 0, table.next_number);
    command->if_version = rng_one_in(rng, 10) ? table.version - rng_below(rng, 2) : 0;
    const struct stele_meta_node *const node = stele_meta_find(&table, command->number);
    const bool updates = kind == STELE_META_UPDATE || kind == STELE_META_START;
    if (updates && node != NULL && !rng_one_in(rng, 5)) {
        command->node = *node;
        command->node.starts += rng_below(rng, 3) - 1;
        command->node.boot += command->node.starts - node->starts;
        command->node.features = rng_below(rng, 16);
    } else if (kind == STELE_META_JOIN || kind == STELE_META_REPLACE) {
        command->node.features = 15;
    }
    /* Mostly it knows the last one; a random one is somebody else's. */
    const uint64_t newest = command->node.starts == 0 ? 1 : command->node.starts;
    command->node.starts = newest;
    command->past.count = 0;
    if (node != NULL && node->starts < newest) {
        (void)stele_meta_past_add(&command->past, node->starts, node->boot + rng_one_in(rng, 10));
    }
    (void)stele_meta_past_add(&command->past, newest, command->node.boot);
    const uint64_t alive = rng_below(rng, 8);
    for (uint64_t i = 0; i < alive; i++) {
        command->alive[command->alive_count++] = rng_between(rng, 1, table.next_number);
    }
    command->features = rng_below(rng, 16) & rng_next(rng);
    (void)snprintf(command->setting.key, sizeof(command->setting.key), "k%d",
                   (int)rng_below(rng, 40));
    (void)snprintf(command->setting.value, sizeof(command->setting.value), "%s",
                   rng_one_in(rng, 3) ? "" : name);
    command->if_version = kind == STELE_META_PLACE ? table.version : command->if_version;
    for (uint32_t i = 0; i < PARTITIONS && table.nodes_count > 0; i++) {
        const uint64_t width = rng_between(rng, 1, 3);
        for (uint64_t k = 0; k < width && k < table.nodes_count; k++) {
            command->voters[i][k] = (uint8_t)(k + 1 + rng_one_in(rng, 200));
        }
    }
    for (uint32_t i = 0; i < PARTITIONS && table.nodes_count > 0; i++) {
        const struct stele_meta_node *const leader =
            &table.nodes[rng_below(rng, table.nodes_count)];
        command->leaders[i] =
            rng_one_in(rng, 50) || leader->state == STELE_META_ACTIVE ? leader->number : 0;
    }
    return command;
}

TEST(two_nodes_that_apply_the_same_have_the_same)
{
    unsigned seen[STELE_META_OUTCOMES_COUNT] = {0};
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 0);
        stele_meta_init(&table);
        stele_meta_init(&other);
        uint64_t incarnation_of[600] = {0};
        for (int step = 0; step < 500; step++) {
            const struct stele_meta_command *const command = random_command(&rng);
            const uint64_t next = table.next_number;
            const enum stele_meta_outcome outcome = apply_to(&table, command);
            CHECK_EQ(apply_to(&other, command), outcome);
            seen[outcome]++;
            CHECK(outcome <= STELE_META_SAME || result.words[0] != '\0');
            CHECK(table.next_number >= next);
            if (rng_one_in(&rng, 5)) { /* Started anew from a snapshot. */
                CHECK_EQ(stele_meta_decode(pack(&other, packed), &other), STELE_OK);
            }
            for (size_t i = 0; i < table.nodes_count; i++) {
                const struct stele_meta_node *const node = &table.nodes[i];
                const uint64_t incarnation = stele_load_u64le(node->incarnation);
                CHECK(node->number < STELE_COUNT_OF(incarnation_of));
                uint64_t *const first = &incarnation_of[node->number];
                *first = *first == 0 ? incarnation : *first;
                CHECK_EQ(*first, incarnation);
            }
        }
        CHECK(stele_bytes_equal(pack(&table, packed), pack(&other, packed_again)));
    }
    /* Full tables, other kinds of stores and bad texts have stories of their own. */
    const enum stele_meta_outcome rare[] = {
        STELE_META_WRONG_CLUSTER, STELE_META_OTHER_PARTITIONS,
        STELE_META_OLDER_FORMAT,  STELE_META_NEWER_FORMAT,
        STELE_META_FULL,          STELE_META_INVALID,
        STELE_META_ADDRESS_TAKEN,
    };
    for (size_t i = 0; i < STELE_COUNT_OF(rare); i++) {
        seen[rare[i]]++;
    }
    for (size_t i = 0; i < STELE_META_OUTCOMES_COUNT; i++) {
        if (seen[i] == 0) {
            check_failed(__FILE__, __LINE__, "no command ended with %s",
                         stele_meta_outcome_name((enum stele_meta_outcome)i));
        }
    }
}
