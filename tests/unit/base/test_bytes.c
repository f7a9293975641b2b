/* Borrowed bytes compare as memcmp() does, slices stay inside, and integers are little-endian at
 * any alignment.
 *
 * Method: all strings over three letters up to a length, against a naive comparison. */
#include "base/bytes.h"
#include "base/compiler.h"
#include "lib/check.h"
#include "lib/dies.h"

#define SIZE_MAX_OF_STRINGS 4
#define STRINGS (1 + 3 + 9 + 27 + 81)

/* Number index of all strings over the letters 00, 7f, ff. */
static struct stele_bytes string_of(size_t index, uint8_t *space)
{
    static const uint8_t LETTERS[] = {0x00, 0x7f, 0xff};
    size_t size = 0;
    for (size_t count = 1; index >= count; count *= 3) {
        index -= count;
        size++;
    }
    CHECK(size <= SIZE_MAX_OF_STRINGS);
    for (size_t i = 0; i < size; i++) {
        space[i] = LETTERS[index % 3];
        index /= 3;
    }
    return (struct stele_bytes){.data = size > 0 ? space : NULL, .size = size};
}

static int naive_compare(struct stele_bytes a, struct stele_bytes b)
{
    for (size_t i = 0; i < a.size && i < b.size; i++) {
        if (a.data[i] != b.data[i]) {
            return a.data[i] < b.data[i] ? -1 : 1;
        }
    }
    return a.size == b.size ? 0 : a.size < b.size ? -1 : 1;
}

TEST(compare_equal_and_prefix_agree_with_the_naive_ones)
{
    uint8_t space_a[SIZE_MAX_OF_STRINGS];
    uint8_t space_b[SIZE_MAX_OF_STRINGS];
    for (size_t i = 0; i < STRINGS; i++) {
        const struct stele_bytes a = string_of(i, space_a);
        for (size_t j = 0; j < STRINGS; j++) {
            const struct stele_bytes b = string_of(j, space_b);
            const int order = stele_bytes_compare(a, b);
            CHECK_EQ((order > 0) - (order < 0), naive_compare(a, b));
            CHECK_EQ(stele_bytes_equal(a, b), i == j);

            const struct stele_bytes head = {a.data, a.size < b.size ? a.size : b.size};
            CHECK_EQ(stele_bytes_has_prefix(a, b), b.size <= a.size && naive_compare(head, b) == 0);
        }
    }
}

TEST(slices_are_what_lies_inside)
{
    const struct stele_bytes bytes = stele_bytes_of_text("abcdef");
    for (size_t at = 0; at <= bytes.size; at++) {
        for (size_t size = 0; size <= bytes.size - at; size++) {
            const struct stele_bytes slice = stele_bytes_slice(bytes, at, size);
            CHECK(slice.data == bytes.data + at);
            CHECK_EQ(slice.size, size);
        }
    }
}

TEST(slices_that_stick_out_are_refused)
{
    const struct stele_bytes bytes = stele_bytes_of_text("abcdef");
    CHECK_DIES((void)stele_bytes_slice(bytes, 7, 0));
    CHECK_DIES((void)stele_bytes_slice(bytes, 0, 7));
    CHECK_DIES((void)stele_bytes_slice(bytes, 6, 1));
    CHECK_DIES((void)stele_bytes_slice(bytes, 1, SIZE_MAX));
    CHECK_DIES((void)stele_bytes_slice(bytes, SIZE_MAX, 1));
}

TEST(integers_are_little_endian_at_any_alignment)
{
    static const uint8_t BYTES[] = {0x01, 0x82, 0x03, 0x84, 0x05, 0x86, 0x07, 0x88};
    uint8_t space[16];
    for (size_t at = 0; at < 8; at++) {
        memset(space, 0, sizeof space);
        memcpy(space + at, BYTES, 8);
        CHECK_EQ(stele_load_u16le(space + at), 0x8201U);
        CHECK_EQ(stele_load_u32le(space + at), 0x84038201U);
        CHECK_EQ(stele_load_u64le(space + at), UINT64_C(0x8807860584038201));

        uint8_t stored[16] = {0};
        stele_store_u64le(stored + at, UINT64_C(0x8807860584038201));
        CHECK_BYTES_EQ(stored, space, sizeof space);
        memset(stored + at, 0, 8);
        stele_store_u32le(stored + at, 0x84038201U);
        CHECK_BYTES_EQ(stored + at, BYTES, 4);
        CHECK_EQ(stored[at + 4], 0);
        stele_store_u16le(stored + at, 0xfffe);
        CHECK_EQ(stele_load_u32le(stored + at), 0x8403fffeU);
    }
}

TEST(aligning_up_gives_the_smallest_multiple_that_is_not_below)
{
    for (uint64_t align = 1; align <= 64; align *= 2) {
        for (uint64_t value = 0; value <= 200; value++) {
            uint64_t want = 0;
            while (want < value) {
                want += align;
            }
            CHECK_EQ(stele_align_up(value, align), want);
        }
    }
    CHECK_EQ(stele_align_up(UINT64_MAX - 4095, 4096), UINT64_MAX - 4095);
}
