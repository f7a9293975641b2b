/* Headers of segments, their names, and the search for a segment in a view. */
#include "world.h"

static struct stele_log__identity identity_of(uint32_t partitions)
{
    return (struct stele_log__identity){
        .store_id = {9, 8, 7},
        .seed = stele_log__seed(WORLD_SECRET),
        .partitions = partitions,
        .header_size = stele_log__header_size(partitions),
    };
}

static const struct stele_log__facts some_facts = {
    .base = 0x4000,
    .capacity = 0x8000,
    .previous_end = 0x3ff8,
    .position_before = 77 << 20,
    .events_before = 123,
    .previous = 0xdeadbeef,
    .partitions = 3,
};

static int decode(const uint8_t *header, const struct stele_log__identity *identity,
                  struct stele_log__facts *out)
{
    const char *what = NULL;
    const struct stele_bytes bytes = {.data = header, .size = identity->header_size};
    const int outcome = stele_log__header_decode(bytes, identity, 0x4000, false, out, &what);
    CHECK_EQ(what == NULL, outcome == STELE_OK);
    return outcome;
}

TEST(every_field_of_a_header_comes_back)
{
    const struct stele_log__identity identity = identity_of(3);
    const struct stele_log_partition partitions[3] = {{1, 2}, {3, 4}, {UINT64_MAX, 6}};
    uint8_t header[4096];
    CHECK_EQ(identity.header_size, sizeof header);
    for (int packed = 0; packed < 2; packed++) {
        stele_log__header_encode(header, &identity, &some_facts, partitions, packed == 1);
        struct stele_log__facts facts;
        const char *what = NULL;
        const struct stele_bytes bytes = {.data = header, .size = sizeof header};
        CHECK_EQ(stele_log__header_decode(bytes, &identity, 0x4000, packed == 0, &facts, &what),
                 STELE_E_CORRUPT);
        CHECK_EQ(stele_log__header_decode(bytes, &identity, 0x4000, packed == 1, &facts, &what),
                 STELE_OK);
        CHECK_EQ(facts.base, some_facts.base);
        CHECK_EQ(facts.capacity, some_facts.capacity);
        CHECK_EQ(facts.previous_end, some_facts.previous_end);
        CHECK_EQ(facts.position_before, some_facts.position_before);
        CHECK_EQ(facts.events_before, some_facts.events_before);
        CHECK_EQ(facts.previous, some_facts.previous);
        CHECK_EQ(facts.partitions, some_facts.partitions);
        for (uint32_t index = 0; index < 3; index++) {
            struct stele_log_partition partition;
            stele_log__header_partition(header, index, &partition);
            CHECK_EQ(partition.term, partitions[index].term);
            CHECK_EQ(partition.index, partitions[index].index);
        }
    }
}

TEST(the_header_has_room_for_every_number_of_partitions)
{
    for (uint32_t partitions = 1; partitions <= 1024; partitions++) {
        const uint32_t size = stele_log__header_size(partitions);
        CHECK_EQ(size % 4096, 0);
        CHECK(size >= 80 + 16 * partitions + 4);
        CHECK(size < 80 + 16 * partitions + 4 + 4096);
    }
}

TEST(every_flipped_bit_of_a_header_is_noticed)
{
    const struct stele_log__identity identity = identity_of(3);
    const struct stele_log_partition partitions[3] = {{1, 2}, {3, 4}, {5, 6}};
    uint8_t header[4096];
    stele_log__header_encode(header, &identity, &some_facts, partitions, false);
    struct stele_log__facts facts;
    CHECK_EQ(decode(header, &identity, &facts), STELE_OK);
    for (size_t bit = 0; bit < sizeof header * 8; bit++) {
        header[bit / 8] ^= (uint8_t)(1U << bit % 8);
        CHECK_EQ(decode(header, &identity, &facts), STELE_E_CORRUPT);
        header[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

TEST(a_header_of_another_store_place_or_secret_is_noticed)
{
    const struct stele_log_partition partitions[3] = {{1, 2}, {3, 4}, {5, 6}};
    uint8_t header[4096];
    struct stele_log__identity identity = identity_of(3);
    stele_log__header_encode(header, &identity, &some_facts, partitions, false);
    struct stele_log__facts facts;
    const char *what = NULL;
    const struct stele_bytes bytes = {.data = header, .size = sizeof header};
    CHECK_EQ(stele_log__header_decode(bytes, &identity, 0x4008, false, &facts, &what),
             STELE_E_CORRUPT);
    identity.store_id[15] = 1;
    CHECK_EQ(decode(header, &identity, &facts), STELE_E_CORRUPT);
    identity = identity_of(4);
    CHECK_EQ(decode(header, &identity, &facts), STELE_E_CORRUPT);
    identity = identity_of(3);
    identity.seed ^= 1;
    CHECK_EQ(decode(header, &identity, &facts), STELE_E_CORRUPT);
    for (size_t size = 0; size < sizeof header; size += 5) {
        const struct stele_bytes part = {.data = header, .size = size};
        identity = identity_of(3);
        CHECK_EQ(stele_log__header_decode(part, &identity, 0x4000, false, &facts, &what),
                 STELE_E_CORRUPT);
    }
}

TEST(only_names_of_segments_are_taken_for_such)
{
    char name[STELE_FILE_NAME_MAX];
    uint64_t base = 0;
    stele_log__name(name, UINT64_C(0x0123456789abcdef), "seg");
    CHECK_TEXT_EQ(name, "0123456789abcdef.seg");
    CHECK(stele_log__parse_name(name, "seg", &base));
    CHECK_EQ(base, UINT64_C(0x0123456789abcdef));
    CHECK(!stele_log__parse_name(name, "pak", &base));
    static const char *const others[] = {
        "",
        "0",
        "0123456789abcde.seg",
        "0123456789abcdefg.seg",
        "0123456789ABCDEF.seg",
        "0123456789abcdef.sega",
        "0123456789abcdef.se",
        "0123456789abcdefseg",
        "0123456789abcdef-0123456789abcdef.run",
        "spare.seg",
        "mark",
    };
    for (size_t index = 0; index < STELE_COUNT_OF(others); index++) {
        CHECK(!stele_log__parse_name(others[index], "seg", &base));
    }
}

TEST(a_view_finds_the_segment_of_every_place)
{
    for (uint32_t count = 1; count < 40; count++) {
        uint64_t bases[40];
        struct stele_log_view view = {.count = count, .bases = bases};
        for (uint32_t index = 0; index < count; index++) {
            bases[index] = 100 + index * 10;
        }
        for (uint64_t place = 0; place < 100 + count * 10 + 20; place++) {
            uint32_t want = 0;
            for (uint32_t index = 0; index < count; index++) {
                want = bases[index] <= place ? index : want;
            }
            CHECK_EQ(stele_log__view_find(&view, place), want);
        }
    }
}
