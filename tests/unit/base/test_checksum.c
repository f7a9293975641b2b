/* The checksums are the published ones, because files and other programs depend on every bit.
 *
 * Method: vectors from the publications; a naive implementation for all sizes and alignments, so
 * that the fast paths of the libraries cannot differ unnoticed. */
#include "base/checksum.h"
#include "base/compiler.h"
#include "lib/check.h"

#include <xxhash.h>

static struct stele_bytes filled(uint8_t *space, size_t size)
{
    uint32_t state = 1;
    for (size_t i = 0; i < size; i++) {
        state = state * 1664525U + 1013904223U;
        space[i] = (uint8_t)(state >> 24);
    }
    return (struct stele_bytes){.data = space, .size = size};
}

static uint32_t naive_crc32c(struct stele_bytes bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.size; i++) {
        crc ^= bytes.data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0x82f63b78U & (0U - (crc & 1U)));
        }
    }
    return ~crc;
}

TEST(crc32c_gives_the_vectors_of_rfc_3720)
{
    uint8_t bytes[32];
    const struct stele_bytes all = {.data = bytes, .size = sizeof bytes};

    CHECK_EQ(stele_crc32c(stele_bytes_of_text("123456789")), 0xe3069283U);
    memset(bytes, 0, sizeof bytes);
    CHECK_EQ(stele_crc32c(all), 0x8a9136aaU);
    memset(bytes, 0xff, sizeof bytes);
    CHECK_EQ(stele_crc32c(all), 0x62a8ab43U);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)i;
    }
    CHECK_EQ(stele_crc32c(all), 0x46dd794eU);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    CHECK_EQ(stele_crc32c(all), 0x113fdb5cU);
}

TEST(crc32c_of_nothing_is_zero)
{
    CHECK_EQ(stele_crc32c((struct stele_bytes){0}), 0);
    CHECK_EQ(stele_crc32c_extend(0x12345678U, (struct stele_bytes){0}), 0x12345678U);
}

TEST(crc32c_is_the_naive_one_for_every_size_and_alignment)
{
    uint8_t space[700];
    const struct stele_bytes all = filled(space, sizeof space);
    for (size_t at = 0; at < 16; at++) {
        for (size_t size = 0; size <= sizeof space - 16; size++) {
            const struct stele_bytes bytes = stele_bytes_slice(all, at, size);
            CHECK_EQ(stele_crc32c(bytes), naive_crc32c(bytes));
        }
    }
}

TEST(crc32c_can_be_taken_in_two_parts_cut_anywhere)
{
    uint8_t space[300];
    const struct stele_bytes all = filled(space, sizeof space);
    const uint32_t whole = stele_crc32c(all);
    for (size_t cut = 0; cut <= all.size; cut++) {
        const uint32_t first = stele_crc32c(stele_bytes_slice(all, 0, cut));
        CHECK_EQ(stele_crc32c_extend(first, stele_bytes_slice(all, cut, all.size - cut)), whole);
    }
}

TEST(crc32c_sees_every_flipped_bit)
{
    uint8_t space[64];
    const struct stele_bytes all = filled(space, sizeof space);
    const uint32_t whole = stele_crc32c(all);
    for (size_t bit = 0; bit < 8 * sizeof space; bit++) {
        space[bit / 8] ^= (uint8_t)(1U << bit % 8);
        CHECK(stele_crc32c(all) != whole);
        space[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    CHECK_EQ(stele_crc32c(all), whole);
}

/* The published vectors with seed 0. */
TEST(murmur3_gives_the_published_vectors)
{
    static const struct {
        const char *text;
        uint32_t hash;
    } VECTORS[] = {
        {"", 0},
        {"test", 0xba6bd213U},
        {"Hello, world!", 0xc0363e43U},
        {"The quick brown fox jumps over the lazy dog", 0x2e4ff723U},
        {"hello", 0x248bfa47U},
        {"hello, world", 0x149bbb7fU},
        {"19 Jan 2038 at 3:14:07 AM", 0xe31e8a70U},
        {"The quick brown fox jumps over the lazy dog.", 0xd5c48bfcU},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(VECTORS); i++) {
        CHECK_EQ(stele_murmur3(stele_bytes_of_text(VECTORS[i].text)), VECTORS[i].hash);
    }
    static const uint8_t BYTES[] = {0x21, 0x43, 0x65, 0x87};
    CHECK_EQ(stele_murmur3((struct stele_bytes){.data = BYTES, .size = 4}), 0xf55b516bU);
    CHECK_EQ(stele_murmur3((struct stele_bytes){.data = BYTES, .size = 3}), 0x7e4a8634U);
    CHECK_EQ(stele_murmur3((struct stele_bytes){.data = BYTES, .size = 2}), 0xa0f7b07aU);
    CHECK_EQ(stele_murmur3((struct stele_bytes){.data = BYTES, .size = 1}), 0x72661cf4U);
    static const uint8_t ZEROS[4] = {0};
    CHECK_EQ(stele_murmur3((struct stele_bytes){.data = ZEROS, .size = 4}), 0x2362f9deU);
    CHECK_EQ(stele_murmur3((struct stele_bytes){.data = ZEROS, .size = 3}), 0x85f0b427U);
    CHECK_EQ(stele_murmur3((struct stele_bytes){.data = ZEROS, .size = 2}), 0x30f4c306U);
    CHECK_EQ(stele_murmur3((struct stele_bytes){.data = ZEROS, .size = 1}), 0x514e28b7U);
}

TEST(murmur3_is_the_same_at_any_alignment)
{
    uint8_t space[80];
    uint8_t moved[80 + 8];
    const struct stele_bytes all = filled(space, sizeof space);
    for (size_t size = 0; size <= sizeof space; size++) {
        const uint32_t want = stele_murmur3(stele_bytes_slice(all, 0, size));
        for (size_t at = 0; at < 8; at++) {
            memcpy(moved + at, space, size);
            const struct stele_bytes copy = {.data = moved + at, .size = size};
            CHECK_EQ(stele_murmur3(copy), want);
        }
    }
}

TEST(hash64_gives_the_vectors_of_xxh3)
{
    CHECK_EQ(stele_hash64((struct stele_bytes){0}, 0), UINT64_C(0x2d06800538d394c2));
    uint8_t space[300];
    const struct stele_bytes all = filled(space, sizeof space);
    for (size_t size = 0; size <= sizeof space; size++) {
        const struct stele_bytes bytes = stele_bytes_slice(all, 0, size);
        CHECK_EQ(stele_hash64(bytes, 0), XXH3_64bits(bytes.data, bytes.size));
        CHECK(stele_hash64(bytes, 1) != stele_hash64(bytes, 0));
    }
}
