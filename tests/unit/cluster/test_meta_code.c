/* Commands and tables come back from their bytes, and no other bytes are taken for one.
 *
 * Method: the fullest table, rich ones and each kind of command, with every cut and random damage of what is
 * encoded; and yesterday's bytes. */
#include "meta_story.h"

#include <stdlib.h>

static struct stele_meta other;

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
