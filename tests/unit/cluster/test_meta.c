/* The table of a cluster is the same on every node, gives each number to one incarnation, and refuses with
 * words what an operator would regret.
 *
 * Method: small stories for each rule, in which every refusal is checked to leave the table byte for byte;
 * every cut and random damage of what is encoded; and random commands by the thousand, applied to two tables,
 * one of which is packed and unpacked all the time. */
#include "base/checksum.h"
#include "base/status.h"
#include "cluster/meta.h"
#include "lib/check.h"
#include "lib/rng.h"

#include <stele/stele.h>

#include <stdio.h>
#include <stdlib.h>

#define PARTITIONS 8

/* ---- A table, and what is done to it ---- */

static struct stele_meta table;
static struct stele_meta other;
static uint8_t packed[STELE_META_SNAPSHOT_SIZE_MAX];
static uint8_t packed_again[STELE_META_SNAPSHOT_SIZE_MAX];
static struct stele_meta_result result;

static struct stele_bytes pack(const struct stele_meta *meta, uint8_t *to)
{
    return (struct stele_bytes){.data = to, .size = stele_meta_encode(meta, to)};
}

static void id_of(uint8_t id[STELE_META_ID_SIZE], uint64_t seed)
{
    memset(id, 0x5a, STELE_META_ID_SIZE);
    stele_store_u64le(id, seed);
}

static struct stele_meta_node node_of(const char *name, uint64_t incarnation)
{
    struct stele_meta_node node = {.features = 3, .starts = 1, .boot = 100 + incarnation};
    id_of(node.incarnation, incarnation);
    (void)snprintf(node.name, sizeof(node.name), "%s", name);
    (void)snprintf(node.zone, sizeof(node.zone), "z%d", (int)(incarnation % 3));
    (void)snprintf(node.cluster_address, sizeof(node.cluster_address), "%s.example:2114", name);
    (void)snprintf(node.client_address, sizeof(node.client_address), "%s.example:2113", name);
    (void)snprintf(node.version, sizeof(node.version), "0.1.0");
    return node;
}

static struct stele_meta_command *command_of(enum stele_meta_kind kind)
{
    static struct stele_meta_command command;
    memset(&command, 0, sizeof(command));
    command.kind = kind;
    id_of(command.cluster_id, 7);
    command.format = STELE_META_FORMAT;
    command.partitions = PARTITIONS;
    command.partition_key = STELE_KEY_STREAM;
    return &command;
}

static struct stele_meta_command *about(enum stele_meta_kind kind, uint64_t number)
{
    struct stele_meta_command *const command = command_of(kind);
    command->number = number;
    return command;
}

static struct stele_meta_command *coming(enum stele_meta_kind kind, const char *name,
                                         uint64_t incarnation)
{
    struct stele_meta_command *const command = command_of(kind);
    command->node = node_of(name, incarnation);
    (void)stele_meta_past_add(&command->past, command->node.starts, command->node.boot);
    return command;
}

static enum stele_meta_outcome apply_to(struct stele_meta *meta,
                                        const struct stele_meta_command *command)
{
    static uint8_t bytes[STELE_META_COMMAND_SIZE_MAX];
    const size_t size = stele_meta_command_encode(command, bytes);
    struct stele_meta_result foreseen;
    stele_meta_judge_command(meta, command, &foreseen);
    CHECK_EQ(stele_meta_apply(meta, (struct stele_bytes){.data = bytes, .size = size}, &result),
             STELE_OK);
    CHECK_EQ(foreseen.outcome, result.outcome);
    CHECK_EQ(foreseen.number, result.number);
    CHECK_EQ(foreseen.version, result.version);
    CHECK_TEXT_EQ(foreseen.words, result.words);
    return result.outcome;
}

static void done(const struct stele_meta_command *command)
{
    const uint64_t before = table.version;
    const enum stele_meta_outcome outcome = apply_to(&table, command);
    if (outcome != STELE_META_DONE) {
        check_failed(__FILE__, __LINE__, "%s: %s", stele_meta_outcome_name(outcome), result.words);
    }
    CHECK_EQ(table.version, before + 1);
    CHECK_EQ(result.version, table.version);
    CHECK_TEXT_EQ(result.words, "");
}

/* Nothing is left of it, whatever became of it. */
static void nothing(const struct stele_meta_command *command, enum stele_meta_outcome outcome)
{
    const struct stele_bytes before = pack(&table, packed);
    const enum stele_meta_outcome got = apply_to(&table, command);
    const struct stele_bytes after = pack(&table, packed_again);
    if (got != outcome) {
        check_failed(__FILE__, __LINE__, "got %s, want %s: %s", stele_meta_outcome_name(got),
                     stele_meta_outcome_name(outcome), result.words);
    }
    CHECK_EQ(result.words[0] == '\0', outcome == STELE_META_SAME);
    CHECK(stele_bytes_equal(before, after));
}

/* … and the words have this in them. */
#define REFUSED(command, outcome, part)                                                            \
    do {                                                                                           \
        nothing(command, outcome);                                                                 \
        CHECK_TEXT_HAS(result.words, part);                                                        \
    } while (0)

static void found(void)
{
    stele_meta_init(&table);
    done(coming(STELE_META_FOUND, "a", 1));
    CHECK_EQ(result.number, 1);
}

static uint64_t join(const char *name, uint64_t incarnation)
{
    done(coming(STELE_META_JOIN, name, incarnation));
    return result.number;
}

/* Nodes a, b, c with numbers 1, 2, 3, all active. */
static void found_three(void)
{
    found();
    CHECK_EQ(join("b", 2), 2);
    CHECK_EQ(join("c", 3), 3);
    done(about(STELE_META_ACTIVATE, 2));
    done(about(STELE_META_ACTIVATE, 3));
}

static struct stele_meta_command *with_alive(struct stele_meta_command *command, uint64_t a,
                                             uint64_t b)
{
    command->alive[command->alive_count++] = a;
    if (b != 0) {
        command->alive[command->alive_count++] = b;
    }
    return command;
}

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

static struct stele_meta_command *update(uint64_t number, const char *name, uint64_t incarnation,
                                         uint64_t starts, uint64_t boot)
{
    struct stele_meta_command *const command = coming(STELE_META_UPDATE, name, incarnation);
    command->number = number;
    command->node.starts = starts;
    command->node.boot = boot;
    return command;
}

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

static void raise_past(void)
{
    const char *const names[] = {"a", "b", "c"};
    for (uint64_t i = 1; i <= 3; i++) {
        struct stele_meta_command *const command = update(i, names[i - 1], i, 1, 100 + i);
        command->node.features = STELE_META_FEATURES;
        done(command);
    }
    struct stele_meta_command *const command = command_of(STELE_META_GATE);
    command->features = STELE_META_FEATURES;
    done(command);
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

static struct stele_meta_command *set(const char *key, const char *value)
{
    struct stele_meta_command *const command = command_of(STELE_META_SET);
    (void)snprintf(command->setting.key, sizeof(command->setting.key), "%s", key);
    (void)snprintf(command->setting.value, sizeof(command->setting.value), "%s", value);
    return command;
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

/* ---- Bytes ---- */

/* The first `width` nodes of the table, everywhere. */
static struct stele_meta_command *place(uint8_t width)
{
    struct stele_meta_command *const command = command_of(STELE_META_PLACE);
    command->if_version = table.version;
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        for (uint8_t k = 0; k < width; k++) {
            command->voters[i][k] = (uint8_t)(k + 1);
        }
    }
    return command;
}

static void open_gate(void)
{
    struct stele_meta_command *const command = command_of(STELE_META_GATE);
    command->features = STELE_META_FEATURE_VOTERS;
    done(command);
}

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

TEST(raft_s_own_entries_change_nothing)
{
    found();
    const uint64_t before = table.version;
    CHECK_EQ(stele_meta_apply(&table, (struct stele_bytes){.data = NULL}, &result), STELE_OK);
    CHECK_EQ(result.outcome, STELE_META_SAME);
    CHECK_EQ(table.version, before);
}

TEST(a_command_is_read_as_it_was_written_and_nothing_else_is_one)
{
    for (unsigned kind = STELE_META_FOUND; kind <= STELE_META_START; kind++) {
        struct stele_meta_command *const command = coming((enum stele_meta_kind)kind, "a", 5);
        command->if_version = 17;
        command->number = 18;
        command->features = UINT64_MAX;
        command->setting = (struct stele_meta_setting){.key = "k", .value = "v"};
        command->leaders[PARTITIONS - 1] = 3;
        command->node.starts = 5;
        command->past = (struct stele_meta_past){
            .count = 2, .starts = {{.starts = 2, .boot = 1}, {.starts = 5, .boot = 105}}};
        (void)with_alive(command, 1, 2);
        uint8_t bytes[STELE_META_COMMAND_SIZE_MAX];
        uint8_t again[STELE_META_COMMAND_SIZE_MAX];
        const size_t size = stele_meta_command_encode(command, bytes);
        static struct stele_meta_command read;
        const struct stele_bytes whole = {.data = bytes, .size = size};
        CHECK_EQ(stele_meta_command_decode(whole, &read), STELE_OK);
        CHECK_EQ(read.kind, kind);
        CHECK_EQ(stele_meta_command_encode(&read, again), size);
        CHECK_BYTES_EQ(bytes, again, size);
        for (size_t cut = 0; cut < size; cut++) {
            const struct stele_bytes torn = stele_bytes_slice(whole, 0, cut);
            CHECK_EQ(stele_meta_command_decode(torn, &read), STELE_E_CORRUPT);
        }
        bytes[size] = 0;
        const struct stele_bytes longer = {.data = bytes, .size = size + 1};
        CHECK_EQ(stele_meta_command_decode(longer, &read), STELE_E_CORRUPT);
        bytes[0] = 2;
        CHECK_EQ(stele_meta_command_decode(whole, &read), STELE_E_FORMAT);
        bytes[0] = 1;
        bytes[1] = STELE_META_START + 1;
        CHECK_EQ(stele_meta_command_decode(whole, &read), STELE_E_FORMAT);
        bytes[1] = 0;
        CHECK_EQ(stele_meta_command_decode(whole, &read), STELE_E_CORRUPT);
    }
}

TEST(an_entry_that_cannot_be_understood_changes_nothing)
{
    found();
    const struct stele_bytes before = pack(&table, packed);
    const uint8_t newer[] = {1, 200, 0, 0};
    const uint8_t damaged[] = {1, 2, 0, 0, 1};
    CHECK_EQ(stele_meta_apply(&table, (struct stele_bytes){newer, sizeof(newer)}, &result),
             STELE_E_FORMAT);
    CHECK_EQ(stele_meta_apply(&table, (struct stele_bytes){damaged, sizeof(damaged)}, &result),
             STELE_E_CORRUPT);
    CHECK(stele_bytes_equal(before, pack(&table, packed_again)));
}

static void fill(char *text, size_t size, char with)
{
    memset(text, with, size);
    text[size] = '\0';
}

/* The most of everything that a table can have. */
static void fill_table(void)
{
    struct stele_meta_command *command = coming(STELE_META_FOUND, "a", 1);
    stele_meta_init(&table);
    command->partitions = STELE_PARTITIONS_MAX;
    done(command);
    for (uint64_t i = 0; i < STELE_META_REMOVED_MAX + STELE_META_NODES_MAX - 1; i++) {
        command = coming(STELE_META_JOIN, "x", 10 + i);
        command->partitions = STELE_PARTITIONS_MAX;
        struct stele_meta_node *const node = &command->node;
        fill(node->name, STELE_META_NAME_MAX, 'n');
        fill(node->zone, STELE_META_NAME_MAX, 'z');
        fill(node->cluster_address, STELE_META_ADDRESS_MAX, 'h');
        fill(node->client_address, STELE_META_ADDRESS_MAX, 'h');
        fill(node->version, STELE_META_VERSION_MAX, 'v');
        (void)snprintf(node->name, 4, "%03d", (int)i);
        node->name[3] = 'n';
        (void)snprintf(node->cluster_address, 4, "%03d", (int)i);
        node->cluster_address[3] = 'h';
        memcpy(node->cluster_address + STELE_META_ADDRESS_MAX - 6, ":65535", 6);
        memcpy(node->client_address + STELE_META_ADDRESS_MAX - 6, ":65535", 6);
        done(command);
        const uint64_t number = result.number;
        done(about(i < STELE_META_REMOVED_MAX ? STELE_META_REMOVE : STELE_META_ACTIVATE, number));
    }
    for (int i = 0; i < STELE_META_SETTINGS_MAX; i++) {
        command = set("", "");
        fill(command->setting.key, STELE_META_KEY_MAX, 'k');
        fill(command->setting.value, STELE_META_VALUE_MAX, 'v');
        (void)snprintf(command->setting.key, 3, "%02d", i);
        command->setting.key[2] = 'k';
        done(command);
    }
    command = command_of(STELE_META_PREFER);
    command->partitions = STELE_PARTITIONS_MAX;
    for (uint32_t i = 0; i < STELE_PARTITIONS_MAX; i++) {
        command->leaders[i] = table.nodes[i % table.nodes_count].number;
    }
    done(command);
    command = command_of(STELE_META_GATE);
    command->features = STELE_META_FEATURE_VOTERS;
    done(command);
    command = place(0);
    command->partitions = STELE_PARTITIONS_MAX;
    for (uint32_t i = 0; i < STELE_PARTITIONS_MAX; i++) {
        for (uint8_t k = 0; k < STELE_META_REPLICAS_MAX; k++) {
            command->voters[i][k] =
                (uint8_t)(table.nodes_count + 1 - STELE_META_REPLICAS_MAX - i % 10 + k);
        }
    }
    done(command);
}

TEST(the_fullest_table_fits_into_a_snapshot_and_comes_back)
{
    fill_table();
    const struct stele_bytes whole = pack(&table, packed);
    CHECK(whole.size > 60000);
    CHECK_EQ(stele_meta_decode(whole, &other), STELE_OK);
    CHECK(stele_bytes_equal(whole, pack(&other, packed_again)));
    for (uint32_t i = 0; i < STELE_PARTITIONS_MAX; i++) {
        CHECK_EQ(other.leaders[i], table.leaders[i]);
        CHECK(memcmp(other.voters[i], table.voters[i], sizeof other.voters[i]) == 0);
    }
}

static void make_rich(void)
{
    found_three();
    CHECK_EQ(join("d", 4), 4);
    done(about(STELE_META_REMOVE, 3));
    done(about(STELE_META_DRAIN, 2));
    done(set("rebalance", "paused"));
    struct stele_meta_command *const command = command_of(STELE_META_PREFER);
    command->leaders[3] = 1;
    done(command);
}

/* And voters as well. */
static void make_placed(void)
{
    make_rich();
    open_gate();
    struct stele_meta_command *const command = place(2);
    command->voters[5][2] = 3;
    done(command);
}

static void cut_and_flip(void)
{
    const struct stele_bytes whole = pack(&table, packed);
    for (size_t cut = 0; cut < whole.size; cut++) {
        CHECK_EQ(stele_meta_decode(stele_bytes_slice(whole, 0, cut), &other), STELE_E_CORRUPT);
    }
    for (size_t bit = 0; bit < whole.size * 8; bit++) {
        packed[bit / 8] ^= (uint8_t)(1U << bit % 8);
        CHECK(stele_meta_decode(whole, &other) != STELE_OK);
        packed[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    CHECK_EQ(stele_meta_decode(whole, &other), STELE_OK);
}

TEST(every_cut_and_every_flipped_bit_of_a_table_is_noticed)
{
    make_rich();
    cut_and_flip();
    make_placed();
    cut_and_flip();
}

static void forge(void)
{
    const size_t size = pack(&table, packed_again).size;
    struct rng rng;
    rng_init(&rng, 11, 0);
    unsigned sound = 0;
    for (int run = 0; run < 100000; run++) {
        memcpy(packed, packed_again, size);
        const uint64_t changes = rng_between(&rng, 1, 3);
        for (uint64_t i = 0; i < changes; i++) {
            const size_t at = 12 + rng_below(&rng, size - 12);
            packed[at] = rng_one_in(&rng, 2) ? (uint8_t)rng_next(&rng)
                                             : (uint8_t)(packed[at] + 1 - 2 * (int)(i % 2));
        }
        const size_t cut = rng_one_in(&rng, 4) ? rng_between(&rng, 12, size) : size;
        stele_store_u32le(packed + 8, stele_crc32c((struct stele_bytes){packed + 12, cut - 12}));
        if (stele_meta_decode((struct stele_bytes){packed, cut}, &other) == STELE_OK) {
            static uint8_t again[STELE_META_SNAPSHOT_SIZE_MAX];
            CHECK_EQ(stele_meta_encode(&other, again), cut); /* Checks its invariants. */
            CHECK_BYTES_EQ(again, packed, cut);
            sound++;
        }
    }
    CHECK(sound > 0);
}

TEST(a_forged_table_is_refused_or_as_sound_as_any)
{
    make_rich();
    forge();
    make_placed();
    forge();
}

TEST(yesterday_s_bytes_are_read)
{
    /* If this fails, the format has changed: then the layout needs a new number, and old ones a reader. */
    make_rich();
    const struct stele_bytes whole = pack(&table, packed);
    CHECK_EQ(whole.size, 415);
    CHECK_EQ(stele_crc32c(whole), 0x5411873aU);
    uint8_t bytes[STELE_META_COMMAND_SIZE_MAX];
    struct stele_meta_command *const command = coming(STELE_META_REPLACE, "a", 5);
    (void)with_alive(command, 1, 2);
    const size_t size = stele_meta_command_encode(command, bytes);
    CHECK_EQ(stele_crc32c((struct stele_bytes){bytes, size}), 0x32d2a33eU);
    make_placed();
    const struct stele_bytes placed = pack(&table, packed);
    CHECK_EQ(placed.size, 448);
    CHECK_EQ(stele_crc32c(placed), 0x143de196U);
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

/* ---- Greetings ---- */

static struct stele_meta_hello hello_of(uint64_t number, uint64_t incarnation)
{
    struct stele_meta_hello hello = {
        .number = number,
        .format = STELE_META_FORMAT,
        .partitions = PARTITIONS,
        .partition_key = STELE_KEY_STREAM,
        .features = 3,
        .starts = 1,
        .boot = 100 + incarnation,
        .version = "0.1.0",
    };
    id_of(hello.cluster_id, 7);
    id_of(hello.incarnation, incarnation);
    return hello;
}

static char words[STELE_META_WORDS_SIZE];

static void greeted(const struct stele_meta_hello *hello, const struct stele_meta_seen *seen,
                    enum stele_meta_outcome outcome, const char *part)
{
    const enum stele_meta_outcome got = stele_meta_judge_hello(&table, 1, hello, seen, words);
    if (got != outcome) {
        check_failed(__FILE__, __LINE__, "got %s, want %s: %s", stele_meta_outcome_name(got),
                     stele_meta_outcome_name(outcome), words);
    }
    CHECK_EQ(words[0] == '\0', outcome == STELE_META_DONE);
    CHECK_TEXT_HAS(words, part);
    uint8_t bytes[STELE_META_HELLO_SIZE_MAX];
    const size_t size = stele_meta_hello_encode(hello, bytes);
    struct stele_meta_hello read;
    CHECK_EQ(stele_meta_hello_decode((struct stele_bytes){bytes, size}, &read), STELE_OK);
    CHECK_EQ(stele_meta_judge_hello(&table, 1, &read, seen, words), outcome);
    for (size_t cut = 0; cut < size; cut++) {
        CHECK_EQ(stele_meta_hello_decode((struct stele_bytes){bytes, cut}, &read), STELE_E_CORRUPT);
    }
}

TEST(a_greeting_is_judged_by_the_table)
{
    stele_meta_init(&table);
    struct stele_meta_hello hello = hello_of(2, 2);
    greeted(&hello, NULL, STELE_META_NOT_FOUNDED, "no cluster");
    found_three();
    greeted(&hello, NULL, STELE_META_DONE, "");
    hello = hello_of(2, 9);
    greeted(&hello, NULL, STELE_META_WIPED, "stele cluster replace b");
    hello = hello_of(1, 1);
    greeted(&hello, NULL, STELE_META_CLONED, "itself");
    hello = hello_of(2, 2);
    id_of(hello.cluster_id, 8);
    greeted(&hello, NULL, STELE_META_WRONG_CLUSTER, "another cluster");
    hello = hello_of(2, 2);
    hello.partitions = 9;
    greeted(&hello, NULL, STELE_META_OTHER_PARTITIONS, "9 partitions");
    hello = hello_of(2, 2);
    hello.format = 0;
    greeted(&hello, NULL, STELE_META_OLDER_FORMAT, "format 0");
    hello.format = 2;
    greeted(&hello, NULL, STELE_META_NEWER_FORMAT, "format 2");
    struct stele_meta_command *const command = command_of(STELE_META_GATE);
    command->features = 2;
    done(command);
    hello = hello_of(2, 2);
    hello.features = 1;
    greeted(&hello, NULL, STELE_META_SOFTWARE_TOO_OLD, "features 0x2");
    hello = hello_of(3, 3);
    done(about(STELE_META_REMOVE, 3));
    greeted(&hello, NULL, STELE_META_REMOVED, "\"c\" was removed");
    hello = hello_of(0, 3);
    greeted(&hello, NULL, STELE_META_UNKNOWN_NODE, "join first");
}

TEST(who_was_away_lets_in_who_joined_meanwhile)
{
    found_three();
    struct stele_meta_hello hello = hello_of(9, 9);
    hello.table_version = table.version;
    greeted(&hello, NULL, STELE_META_UNKNOWN_NODE, "never given out");
    hello.table_version++;
    greeted(&hello, NULL, STELE_META_DONE, "");
}

TEST(a_disk_of_an_earlier_time_is_recognised)
{
    found_three();
    done(update(2, "b", 2, 5, 50));
    struct stele_meta_hello hello = hello_of(2, 2);
    struct stele_meta_seen seen = {0};
    hello.starts = 4;
    greeted(&hello, NULL, STELE_META_ROLLED_BACK, "started 5 times, your data say 4");
    hello.starts = 5;
    hello.boot = 51;
    greeted(&hello, NULL, STELE_META_CLONED, "another process");
    hello.boot = 50;
    hello.durable = 1000;
    greeted(&hello, NULL, STELE_META_DONE, "");
    stele_meta_seen_add(&seen, &hello);
    /* The table does not know of the next start yet; who has heard of it does. */
    hello.starts = 6;
    hello.boot = 60;
    hello.durable = 1001;
    greeted(&hello, &seen, STELE_META_DONE, "");
    stele_meta_seen_add(&seen, &hello);
    hello.boot = 61;
    greeted(&hello, &seen, STELE_META_CLONED, "another process");
    hello.starts = 5;
    hello.boot = 50;
    greeted(&hello, &seen, STELE_META_ROLLED_BACK, "started 6 times");
    /* Restored from a copy that was made while it ran: the starts cannot tell, the log can. */
    hello.starts = 7;
    hello.boot = 70;
    hello.durable = 1000;
    greeted(&hello, &seen, STELE_META_ROLLED_BACK, "ended at 1001 before");
    hello.durable = 1001;
    greeted(&hello, &seen, STELE_META_DONE, "");
}

TEST(a_disk_of_an_earlier_time_is_recognised_however_often_it_is_started)
{
    found_three();
    done(update(2, "b", 2, 5, 50));
    struct stele_meta_hello hello = hello_of(2, 2);
    struct stele_meta_seen seen = {0};
    hello.past.count = 2;
    hello.past.starts[0] = (struct stele_meta_start){.starts = 4, .boot = 40};
    hello.past.starts[1] = (struct stele_meta_start){.starts = 6, .boot = 60};
    hello.starts = 6;
    hello.boot = 60;
    greeted(&hello, NULL, STELE_META_ROLLED_BACK, "(number 5) without your data knowing of it");
    hello.past.starts[0] = (struct stele_meta_start){.starts = 5, .boot = 51};
    greeted(&hello, NULL, STELE_META_ROLLED_BACK, "stele cluster replace b");
    hello.past.starts[0].boot = 50;
    greeted(&hello, NULL, STELE_META_DONE, "");
    stele_meta_seen_add(&seen, &hello);
    /* What a peer has heard of counts as what the table has. */
    hello.past.starts[1] = (struct stele_meta_start){.starts = 7, .boot = 70};
    hello.starts = 7;
    hello.boot = 70;
    greeted(&hello, NULL, STELE_META_DONE, "");
    greeted(&hello, &seen, STELE_META_ROLLED_BACK, "(number 6) without your data knowing of it");
    /* A peer whose table is older than what this disk has forgotten cannot tell. */
    hello.past.starts[0] = (struct stele_meta_start){.starts = 6, .boot = 60};
    greeted(&hello, &seen, STELE_META_DONE, "");
}

TEST(once_everybody_tells_of_earlier_starts_who_does_not_has_to_greet_again)
{
    found_three();
    raise_past();
    struct stele_meta_hello hello = hello_of(2, 2);
    hello.features = STELE_META_FEATURES;
    hello.starts = 9;
    hello.boot = 90;
    greeted(&hello, NULL, STELE_META_STALE, "greet again");
    hello.past.count = 1;
    hello.past.starts[0] = (struct stele_meta_start){.starts = 9, .boot = 90};
    greeted(&hello, NULL, STELE_META_DONE, ""); /* Of a disk that an older version has used. */
    uint8_t bytes[STELE_META_HELLO_SIZE_MAX];
    const size_t size = stele_meta_hello_encode(&hello, bytes);
    struct stele_meta_hello read;
    bytes[size - 1] ^= 1; /* It has to end with this start. */
    CHECK_EQ(stele_meta_hello_decode((struct stele_bytes){bytes, size}, &read), STELE_E_CORRUPT);
}
