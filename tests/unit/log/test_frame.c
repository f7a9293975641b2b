/* A frame header is taken for one only where it was written, unchanged, by a store with the same
 * secret; and its payload only if it is the one that was written with it. */
#include "lib/check.h"
#include "log/log_internal.h"

#define SECRET UINT64_C(0x0123456789abcdef)
#define PLACE UINT64_C(0x7000)

static struct stele_frame a_frame(void)
{
    return (struct stele_frame){
        .place = PLACE,
        .durable = 0x6ff8,
        .term = 3,
        .index = 99,
        .payload_checksum = 0xfeedbeef,
        .size = 640,
        .previous = 0xabad1dea,
        .count = 2,
        .partition = 77,
        .group_count = 4,
        .group_index = 3,
        .kind = STELE_FRAME_EVENTS,
    };
}

static int decode(const uint8_t *header, size_t size, uint64_t place, struct stele_frame *out)
{
    return stele_frame_decode((struct stele_bytes){.data = header, .size = size}, SECRET, place,
                              out);
}

TEST(every_field_of_a_header_comes_back)
{
    uint8_t header[STELE_FRAME_HEADER_SIZE];
    struct stele_frame frame = a_frame();
    frame.header_checksum = stele_frame_encode(header, SECRET, &frame);
    struct stele_frame got;
    CHECK_EQ(decode(header, sizeof header, PLACE, &got), STELE_OK);
    CHECK_EQ(got.place, frame.place);
    CHECK_EQ(got.durable, frame.durable);
    CHECK_EQ(got.term, frame.term);
    CHECK_EQ(got.index, frame.index);
    CHECK_EQ(got.header_checksum, frame.header_checksum);
    CHECK_EQ(got.payload_checksum, frame.payload_checksum);
    CHECK_EQ(got.size, frame.size);
    CHECK_EQ(got.previous, frame.previous);
    CHECK_EQ(got.count, frame.count);
    CHECK_EQ(got.partition, frame.partition);
    CHECK_EQ(got.group_count, frame.group_count);
    CHECK_EQ(got.group_index, frame.group_index);
    CHECK_EQ(got.kind, frame.kind);
}

TEST(zeros_are_the_end_and_too_few_bytes_are_incomplete)
{
    uint8_t header[STELE_FRAME_HEADER_SIZE] = {0};
    struct stele_frame frame;
    CHECK_EQ(decode(header, sizeof header, PLACE, &frame), STELE_END);
    CHECK_EQ(decode(header, sizeof header, 0, &frame), STELE_END);
    const struct stele_frame some = a_frame();
    (void)stele_frame_encode(header, SECRET, &some);
    for (size_t size = 0; size < sizeof header; size++) {
        CHECK_EQ(decode(header, size, PLACE, &frame), STELE_INCOMPLETE);
    }
}

TEST(a_header_elsewhere_or_of_another_store_is_none)
{
    uint8_t header[STELE_FRAME_HEADER_SIZE];
    const struct stele_frame some = a_frame();
    (void)stele_frame_encode(header, SECRET, &some);
    struct stele_frame frame;
    for (uint64_t place = 0; place < 2 * PLACE; place += 8) {
        CHECK_EQ(decode(header, sizeof header, place, &frame),
                 place == PLACE ? STELE_OK : STELE_E_CORRUPT);
    }
    for (int bit = 0; bit < 64; bit++) {
        const struct stele_bytes bytes = {.data = header, .size = sizeof header};
        CHECK_EQ(stele_frame_decode(bytes, SECRET ^ UINT64_C(1) << bit, PLACE, &frame),
                 STELE_E_CORRUPT);
    }
}

TEST(every_flipped_bit_of_a_header_is_noticed)
{
    uint8_t header[STELE_FRAME_HEADER_SIZE];
    const struct stele_frame some = a_frame();
    (void)stele_frame_encode(header, SECRET, &some);
    for (size_t bit = 0; bit < sizeof header * 8; bit++) {
        header[bit / 8] ^= (uint8_t)(1U << bit % 8);
        struct stele_frame frame;
        CHECK_EQ(decode(header, sizeof header, PLACE, &frame), STELE_E_CORRUPT);
        header[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

/* Puts a right checksum over whatever the header says. */
static void resign(uint8_t *header)
{
    uint8_t bytes[8 + STELE_FRAME_HEADER_SIZE - 4];
    stele_store_u64le(bytes, SECRET);
    memcpy(bytes + 8, header + 4, STELE_FRAME_HEADER_SIZE - 4);
    /* Bit by bit, so that it has nothing in common with the code under test. */
    uint32_t crc = 0xffffffff;
    for (size_t at = 0; at < sizeof bytes; at++) {
        crc ^= bytes[at];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0x82f63b78 & (0 - (crc & 1)));
        }
    }
    stele_store_u32le(header, ~crc);
}

TEST(the_checksum_is_the_one_of_the_format)
{
    uint8_t header[STELE_FRAME_HEADER_SIZE];
    const struct stele_frame some = a_frame();
    const uint32_t checksum = stele_frame_encode(header, SECRET, &some);
    resign(header);
    CHECK_EQ(stele_load_u32le(header), checksum);
}

TEST(a_newer_version_is_told_apart_from_damage)
{
    uint8_t header[STELE_FRAME_HEADER_SIZE];
    const struct stele_frame some = a_frame();
    (void)stele_frame_encode(header, SECRET, &some);
    header[12] = STELE_FRAME_VERSION + 1;
    resign(header);
    struct stele_frame frame;
    CHECK_EQ(decode(header, sizeof header, PLACE, &frame), STELE_E_FORMAT);
    header[12] = 0;
    resign(header);
    CHECK_EQ(decode(header, sizeof header, PLACE, &frame), STELE_E_CORRUPT);
}

TEST(what_is_never_written_is_not_read_even_with_a_right_checksum)
{
    const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {
        {8, 4},              /* Size not a multiple of 8. */
        {11, 0x7f},          /* Size above the limit. */
        {13, 0},             /* Kinds. */
        {13, 4},    {58, 4}, /* Index in the group not below its count. */
        {60, 1},             /* Reserved. */
        {63, 0x80},
    };
    for (size_t index = 0; index < STELE_COUNT_OF(wrong); index++) {
        uint8_t header[STELE_FRAME_HEADER_SIZE];
        const struct stele_frame some = a_frame();
        (void)stele_frame_encode(header, SECRET, &some);
        header[wrong[index].at] = wrong[index].value;
        resign(header);
        struct stele_frame frame;
        CHECK_EQ(decode(header, sizeof header, PLACE, &frame), STELE_E_CORRUPT);
    }
}

/* ---- Payloads ---- */

struct payload {
    _Alignas(8) uint8_t bytes[1024];
    struct stele_frame frame;
};

static struct payload a_payload(void)
{
    static const uint8_t id[16] = {7};
    struct payload payload = {.frame = a_frame()};
    payload.frame.payload_checksum = 0;
    payload.frame.size = 0;
    payload.frame.count = 3;
    for (uint32_t index = 0; index < payload.frame.count; index++) {
        const struct stele_record_draft draft = {
            .position = index + 1,
            .revision = index,
            .id = id,
            .stream = stele_bytes_of_text("s"),
            .type = stele_bytes_of_text("t"),
            .data = {.data = (const uint8_t *)"0123456789", .size = index * 3},
        };
        payload.frame.payload_checksum =
            stele_frame_extend(payload.frame.payload_checksum,
                               stele_record_encode(payload.bytes + payload.frame.size, &draft));
        payload.frame.size += (uint32_t)stele_record_size(&draft);
    }
    return payload;
}

static bool is_intact(const struct payload *payload)
{
    return stele_frame_payload_is_intact(
        &payload->frame, (struct stele_bytes){.data = payload->bytes, .size = payload->frame.size});
}

TEST(every_flipped_bit_of_a_payload_is_noticed)
{
    struct payload payload = a_payload();
    CHECK(is_intact(&payload));
    for (size_t bit = 0; bit < (size_t)payload.frame.size * 8; bit++) {
        payload.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        CHECK(!is_intact(&payload));
        payload.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    CHECK(is_intact(&payload));
}

TEST(a_payload_of_another_length_or_count_is_noticed)
{
    struct payload payload = a_payload();
    const uint32_t size = payload.frame.size;
    for (payload.frame.size = 0; payload.frame.size < 1024; payload.frame.size += 8) {
        CHECK_EQ(is_intact(&payload), payload.frame.size == size);
    }
    payload.frame.size = size;
    for (payload.frame.count = 0; payload.frame.count < 10; payload.frame.count++) {
        CHECK_EQ(is_intact(&payload), payload.frame.count == 3);
    }
}

TEST(records_in_another_order_are_noticed)
{
    struct payload payload = a_payload();
    uint8_t first[STELE_RECORD_HEADER_SIZE + 8];
    /* The first two records have the same size. */
    CHECK_EQ(stele_load_u32le(payload.bytes + 4), sizeof first);
    CHECK_EQ(stele_load_u32le(payload.bytes + sizeof first + 4), sizeof first);
    memcpy(first, payload.bytes, sizeof first);
    memcpy(payload.bytes, payload.bytes + sizeof first, sizeof first);
    memcpy(payload.bytes + sizeof first, first, sizeof first);
    CHECK(!is_intact(&payload));
}

TEST(a_payload_that_is_no_events_has_one_checksum)
{
    struct payload payload = a_payload();
    payload.frame.kind = STELE_FRAME_TICK;
    payload.frame.size = 0;
    payload.frame.payload_checksum = 0;
    CHECK(is_intact(&payload));
    payload.frame.kind = STELE_FRAME_CONFIGURATION;
    payload.frame.size = 16;
    CHECK(!is_intact(&payload));
}

TEST(a_search_finds_frames_only_where_they_are)
{
    static uint8_t bytes[8192];
    const uint32_t seed = stele_log__seed(SECRET);
    struct stele_frame frame = a_frame();
    for (uint64_t place = 0; place + STELE_FRAME_HEADER_SIZE <= 1024; place += 8) {
        memset(bytes, 0, sizeof bytes);
        frame.place = 0x10000 + place;
        frame.durable = 500;
        (void)stele_frame_encode(bytes + place, SECRET, &frame);
        for (uint64_t from = 0; from <= 1024; from += 8) {
            struct stele_frame found;
            const uint64_t want = from <= place ? 0x10000 + place : UINT64_MAX;
            CHECK_EQ(stele_log__search(bytes, 0x10000, 0x10000 + from, 0x10000 + sizeof bytes, seed,
                                       0, &found),
                     want);
            CHECK_EQ(stele_log__search(bytes, 0x10000, 0x10000 + from, 0x10000 + place + 56, seed,
                                       0, &found),
                     UINT64_MAX);
            CHECK_EQ(stele_log__search(bytes, 0x10000, 0x10000 + from, 0x10000 + place + 64, seed,
                                       500, &found),
                     want);
            CHECK_EQ(stele_log__search(bytes, 0x10000, 0x10000 + from, 0x10000 + place + 64, seed,
                                       501, &found),
                     UINT64_MAX);
        }
    }
}
