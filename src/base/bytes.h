/* A borrowed run of bytes. It never owns what it points to; the function that hands one out says
 * until when it stays valid. */
#ifndef STELE_BASE_BYTES_H
#define STELE_BASE_BYTES_H

#include "base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct stele_bytes {
    const uint8_t *data;
    size_t size;
};

/* The bytes from offset on, size of them. The range must lie inside bytes. */
static inline struct stele_bytes stele_bytes_slice(struct stele_bytes bytes, size_t offset,
                                                   size_t size)
{
    STELE_ASSERT(offset <= bytes.size);
    STELE_ASSERT(size <= bytes.size - offset);
    /* Nothing may be at NULL, and there is no NULL + 0 in C. */
    return (struct stele_bytes){.data = offset == 0 ? bytes.data : bytes.data + offset,
                                .size = size};
}

static inline struct stele_bytes stele_bytes_of_text(const char *text)
{
    return (struct stele_bytes){.data = (const uint8_t *)text, .size = strlen(text)};
}

static inline bool stele_bytes_equal(struct stele_bytes a, struct stele_bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Byte order as memcmp(), a prefix first: negative, 0, positive. */
int stele_bytes_compare(struct stele_bytes a, struct stele_bytes b);
bool stele_bytes_has_prefix(struct stele_bytes bytes, struct stele_bytes prefix);

/* Little-endian, at any alignment. gcc and clang turn each into one instruction. */
static inline uint16_t stele_load_u16le(const uint8_t *from)
{
    return (uint16_t)(from[0] | from[1] << 8);
}

static inline uint32_t stele_load_u32le(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

static inline uint64_t stele_load_u64le(const uint8_t *from)
{
    return (uint64_t)stele_load_u32le(from) | (uint64_t)stele_load_u32le(from + 4) << 32;
}

static inline void stele_store_u16le(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
}

static inline void stele_store_u32le(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
    to[2] = (uint8_t)(value >> 16);
    to[3] = (uint8_t)(value >> 24);
}

static inline void stele_store_u64le(uint8_t *to, uint64_t value)
{
    stele_store_u32le(to, (uint32_t)value);
    stele_store_u32le(to + 4, (uint32_t)(value >> 32));
}

/* The smallest multiple of align, a power of two, that is not below value. */
static inline uint64_t stele_align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

#endif
