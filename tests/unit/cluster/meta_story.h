/* What the tests of the table of nodes share: a table, and what is done to it. */
#ifndef STELE_TESTS_UNIT_CLUSTER_META_STORY_H
#define STELE_TESTS_UNIT_CLUSTER_META_STORY_H

#include "base/checksum.h"
#include "base/status.h"
#include "cluster/meta.h"
#include "lib/check.h"
#include "lib/rng.h"

#include <stele/stele.h>

#include <stdio.h>

#define PARTITIONS 8

static struct stele_meta table;

static uint8_t packed[STELE_META_SNAPSHOT_SIZE_MAX];

static uint8_t packed_again[STELE_META_SNAPSHOT_SIZE_MAX];

static struct stele_meta_result result;

static inline struct stele_bytes pack(const struct stele_meta *meta, uint8_t *to)
{
    return (struct stele_bytes){.data = to, .size = stele_meta_encode(meta, to)};
}

static inline void id_of(uint8_t id[STELE_META_ID_SIZE], uint64_t seed)
{
    memset(id, 0x5a, STELE_META_ID_SIZE);
    stele_store_u64le(id, seed);
}

static inline struct stele_meta_node node_of(const char *name, uint64_t incarnation)
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

static inline struct stele_meta_command *command_of(enum stele_meta_kind kind)
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

static inline struct stele_meta_command *about(enum stele_meta_kind kind, uint64_t number)
{
    struct stele_meta_command *const command = command_of(kind);
    command->number = number;
    return command;
}

static inline struct stele_meta_command *coming(enum stele_meta_kind kind, const char *name,
                                                uint64_t incarnation)
{
    struct stele_meta_command *const command = command_of(kind);
    command->node = node_of(name, incarnation);
    (void)stele_meta_past_add(&command->past, command->node.starts, command->node.boot);
    return command;
}

static inline enum stele_meta_outcome apply_to(struct stele_meta *meta,
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

static inline void done(const struct stele_meta_command *command)
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
static inline void nothing(const struct stele_meta_command *command,
                           enum stele_meta_outcome outcome)
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

static inline void found(void)
{
    stele_meta_init(&table);
    done(coming(STELE_META_FOUND, "a", 1));
    CHECK_EQ(result.number, 1);
}

static inline uint64_t join(const char *name, uint64_t incarnation)
{
    done(coming(STELE_META_JOIN, name, incarnation));
    return result.number;
}

/* Nodes a, b, c with numbers 1, 2, 3, all active. */
static inline void found_three(void)
{
    found();
    CHECK_EQ(join("b", 2), 2);
    CHECK_EQ(join("c", 3), 3);
    done(about(STELE_META_ACTIVATE, 2));
    done(about(STELE_META_ACTIVATE, 3));
}

static inline struct stele_meta_command *with_alive(struct stele_meta_command *command, uint64_t a,
                                                    uint64_t b)
{
    command->alive[command->alive_count++] = a;
    if (b != 0) {
        command->alive[command->alive_count++] = b;
    }
    return command;
}

static inline struct stele_meta_command *
update(uint64_t number, const char *name, uint64_t incarnation, uint64_t starts, uint64_t boot)
{
    struct stele_meta_command *const command = coming(STELE_META_UPDATE, name, incarnation);
    command->number = number;
    command->node.starts = starts;
    command->node.boot = boot;
    return command;
}

static inline void raise_past(void)
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

static inline struct stele_meta_command *set(const char *key, const char *value)
{
    struct stele_meta_command *const command = command_of(STELE_META_SET);
    (void)snprintf(command->setting.key, sizeof(command->setting.key), "%s", key);
    (void)snprintf(command->setting.value, sizeof(command->setting.value), "%s", value);
    return command;
}

/* The first `width` nodes of the table, everywhere. */
static inline struct stele_meta_command *place(uint8_t width)
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

static inline void open_gate(void)
{
    struct stele_meta_command *const command = command_of(STELE_META_GATE);
    command->features = STELE_META_FEATURE_VOTERS;
    done(command);
}

#endif
