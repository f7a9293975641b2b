/* What is written is the wire format that everybody reads, and any bytes can be read.
 *
 * Method: the examples of the encoding's own description as golden bytes, every size of varint at
 * its borders, and every cut of a message that has every wire type. */
#include "lib/check.h"
#include "pb/pb.h"

static struct stele_bytes bytes_of(const void *data, size_t size)
{
    return (struct stele_bytes){.data = data, .size = size};
}

TEST(the_documented_examples_are_written_byte_for_byte)
{
    uint8_t buffer[32];
    uint8_t *end = stele_pb_put_u64(buffer, 1, 150);
    CHECK_EQ(end - buffer, 3);
    CHECK_BYTES_EQ(buffer, "\x08\x96\x01", 3);
    end = stele_pb_put_bytes(buffer, 2, "testing", 7);
    CHECK_EQ(end - buffer, 9);
    CHECK_BYTES_EQ(buffer, "\x12\x07testing", 9);
    end = stele_pb_put_message(buffer, 3, 3);
    end = stele_pb_put_u64(end, 1, 150);
    CHECK_EQ(end - buffer, 5);
    CHECK_BYTES_EQ(buffer, "\x1a\x03\x08\x96\x01", 5);
    end = stele_pb_put_u64(buffer, 16, UINT64_MAX);
    CHECK_EQ(end - buffer, 12);
    CHECK_BYTES_EQ(buffer, "\x80\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12);
}

TEST(a_varint_at_every_border_survives_and_has_the_size_told_before)
{
    for (uint32_t bits = 0; bits <= 64; bits++) {
        for (uint64_t less = 0; less < 2; less++) {
            const uint64_t value = (bits == 64 ? 0 : UINT64_C(1) << bits) - less;
            uint8_t buffer[16];
            const uint8_t *const end = stele_pb_put_u64(buffer, 5, value);
            CHECK_EQ((size_t)(end - buffer), stele_pb_size_varint(5, value));
            CHECK_EQ((size_t)(end - buffer), 1 + stele_pb_varint_size(value));
            struct stele_pb_reader reader =
                stele_pb_reader(bytes_of(buffer, (size_t)(end - buffer)));
            struct stele_pb_field field;
            CHECK(stele_pb_next(&reader, &field));
            CHECK_EQ(field.number, 5);
            CHECK_EQ(field.wire, STELE_PB_VARINT);
            CHECK_EQ(field.value, value);
            CHECK(!stele_pb_next(&reader, &field));
            CHECK(!reader.bad);
        }
    }
}

TEST(zigzag_orders_numbers_by_how_far_they_are_from_nothing)
{
    CHECK_EQ(stele_pb_zigzag_of(0), 0);
    CHECK_EQ(stele_pb_zigzag_of(-1), 1);
    CHECK_EQ(stele_pb_zigzag_of(1), 2);
    CHECK_EQ(stele_pb_zigzag_of(-2), 3);
    CHECK_EQ(stele_pb_zigzag_of(INT64_MAX), UINT64_MAX - 1);
    CHECK_EQ(stele_pb_zigzag_of(INT64_MIN), UINT64_MAX);
    const int64_t values[] = {0, 1, -1, -2, -4, -6, 4096, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < STELE_COUNT_OF(values); i++) {
        CHECK_EQ(stele_pb_zigzag(stele_pb_zigzag_of(values[i])), values[i]);
    }
}

/* 1: varint 300, 2: fixed64, 3: "abc", 4: fixed32, 1000: nothing. */
static const uint8_t every_type[] = {0x08, 0xac, 0x02, 0x11, 1,    2,    3,   4,   5,
                                     6,    7,    8,    0x1a, 3,    'a',  'b', 'c', 0x25,
                                     0x78, 0x56, 0x34, 0x12, 0xc2, 0x3e, 0};

TEST(every_wire_type_is_read)
{
    struct stele_pb_reader reader = stele_pb_reader(bytes_of(every_type, sizeof every_type));
    struct stele_pb_field field;
    CHECK(stele_pb_next(&reader, &field));
    CHECK_EQ(field.number, 1);
    CHECK_EQ(field.value, 300);
    CHECK(stele_pb_next(&reader, &field));
    CHECK_EQ(field.number, 2);
    CHECK_EQ(field.wire, STELE_PB_FIXED64);
    CHECK_EQ(field.value, 0x0807060504030201);
    CHECK(stele_pb_next(&reader, &field));
    CHECK_EQ(field.number, 3);
    CHECK_SLICE_EQ(field.bytes, "abc");
    CHECK(stele_pb_next(&reader, &field));
    CHECK_EQ(field.number, 4);
    CHECK_EQ(field.wire, STELE_PB_FIXED32);
    CHECK_EQ(field.value, 0x12345678);
    CHECK(stele_pb_next(&reader, &field));
    CHECK_EQ(field.number, 1000);
    CHECK_EQ(field.bytes.size, 0);
    CHECK(!stele_pb_next(&reader, &field));
    CHECK(!reader.bad);
}

TEST(a_message_cut_inside_of_a_field_is_bad_and_between_fields_is_not)
{
    for (size_t size = 0; size < sizeof every_type; size++) {
        struct stele_pb_reader reader = stele_pb_reader(bytes_of(every_type, size));
        struct stele_pb_field field;
        while (stele_pb_next(&reader, &field)) {
        }
        const int between = size == 0 || size == 3 || size == 12 || size == 17 || size == 22;
        CHECK_EQ(reader.bad, !between);
        CHECK(!stele_pb_next(&reader, &field)); /* And it stays so. */
    }
}

TEST(what_no_writer_sends_is_bad)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"\x00\x00", 2},                                          /* Field 0. */
        {"\x0b\x0c", 2},                                          /* A group. */
        {"\x0e\x00", 2},                                          /* Wire type 6. */
        {"\x0f\x00", 2},                                          /* Wire type 7. */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}, /* Eleven bytes. */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},     /* A length past the end. */
        {"\x88\x80\x80\x80\x80\x01\x00", 7},                      /* A tag of 36 bits. */
    };
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        struct stele_pb_reader reader = stele_pb_reader(bytes_of(cases[i].bytes, cases[i].size));
        struct stele_pb_field field;
        CHECK(!stele_pb_next(&reader, &field));
        CHECK(reader.bad);
    }
}

TEST(nothing_is_an_empty_message)
{
    struct stele_pb_reader reader = stele_pb_reader((struct stele_bytes){0});
    struct stele_pb_field field;
    CHECK(!stele_pb_next(&reader, &field));
    CHECK(!reader.bad);
}
