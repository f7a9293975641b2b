#include "base/checksum.h"

#include <isa-l/crc.h>
#include <limits.h>
#include <xxhash.h>

/* ISA-L takes sizes as int. A power of two keeps the pieces aligned alike. */
#define CRC_PIECE_MAX ((size_t)1 << 30)
_Static_assert(CRC_PIECE_MAX <= INT_MAX, "the size of a piece is passed as an int");

/* On processors with AVX-512, ISA-L's routine returns with the upper halves of the vector registers
 * in use, against the calling convention. Every SSE instruction that follows, which is what the
 * compiler makes of a memcpy(), then has to keep them: an append took half as long again. */
static void clear_upper_halves(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx")) {
        __asm__ volatile("vzeroupper"
                         :
                         :
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                           "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    }
#endif
}

uint32_t stele_crc32c(struct stele_bytes bytes)
{
    return stele_crc32c_extend(0, bytes);
}

uint32_t stele_crc32c_extend(uint32_t crc, struct stele_bytes bytes)
{
    STELE_ASSERT(bytes.data != NULL || bytes.size == 0);

    /* ISA-L works on the bare register. RFC 3720 starts it with all ones and inverts it at the
     * end; inverting on the way in undoes the latter, and turns 0 into the former. */
    crc = ~crc;
    while (bytes.size > 0) {
        const size_t size = bytes.size < CRC_PIECE_MAX ? bytes.size : CRC_PIECE_MAX;
        /* By way of an integer because ISA-L only reads but its interface does not say const. It
         * declares the size as an int and goes by the whole register: size has to stay a size_t,
         * whose upper half is known to be zero. */
        crc = crc32_iscsi((unsigned char *)(uintptr_t)bytes.data, (int)size, crc);
        bytes = stele_bytes_slice(bytes, size, bytes.size - size);
    }
    clear_upper_halves();
    return ~crc;
}

uint64_t stele_hash64(struct stele_bytes bytes, uint64_t seed)
{
    STELE_ASSERT(bytes.data != NULL || bytes.size == 0);
    return XXH3_64bits_withSeed(bytes.data, bytes.size, seed);
}

/* ---- MurmurHash3_x86_32, by Austin Appleby, who placed it in the public domain ------------ */

static uint32_t rotate_left(uint32_t value, int bits)
{
    return value << bits | value >> (32 - bits);
}

static uint32_t murmur3_scramble(uint32_t block)
{
    return rotate_left(block * 0xcc9e2d51U, 15) * 0x1b873593U;
}

static uint32_t murmur3_finish(uint32_t hash)
{
    hash ^= hash >> 16;
    hash *= 0x85ebca6bU;
    hash ^= hash >> 13;
    hash *= 0xc2b2ae35U;
    return hash ^ hash >> 16;
}

uint32_t stele_murmur3(struct stele_bytes bytes)
{
    STELE_ASSERT(bytes.data != NULL || bytes.size == 0);

    uint32_t hash = 0;
    const size_t whole = bytes.size / 4 * 4;
    for (size_t i = 0; i < whole; i += 4) {
        hash ^= murmur3_scramble(stele_load_u32le(bytes.data + i));
        hash = rotate_left(hash, 13) * 5 + 0xe6546b64U;
    }
    uint32_t rest = 0;
    for (size_t i = bytes.size; i > whole; i--) {
        rest = rest << 8 | bytes.data[i - 1];
    }
    hash ^= murmur3_scramble(rest); /* Nothing to do for 0: it scrambles to 0. */
    hash ^= (uint32_t)bytes.size;   /* The reference takes the size as 32 bits, too. */
    return murmur3_finish(hash);
}
