/* The wire format of protocol buffers, read and written in place (protobuf.dev/programming-guides/
 * encoding). For the hot messages: no allocation, no intermediate structs. The other messages use
 * protobuf-c.
 *
 * Reading: a cursor over a message hands out one field after the other. Any bytes are safe; what is
 * malformed ends the walk with `bad` set. Unknown fields are for the caller to ignore.
 *
 *     struct stele_pb_reader reader = stele_pb_reader(bytes);
 *     struct stele_pb_field field;
 *     while (stele_pb_next(&reader, &field)) {
 *         switch (field.number) {
 *         case 1: if (!stele_pb_is_bytes(&field)) …
 *     }
 *     if (reader.bad) …
 *
 * Writing: appends to a buffer whose room was reserved by the caller (stele_pb_reserve); nested
 * messages are begun with room for a length of fixed width (a varint padded to 4 bytes, which every
 * reader accepts) or with their exact size when it is known (preferred: canonical bytes). */
#ifndef STELE_PB_PB_H
#define STELE_PB_PB_H

#include "base/alloc.h"
#include "base/bytes.h"

enum stele_pb_wire {
    STELE_PB_VARINT = 0,
    STELE_PB_FIXED64 = 1,
    STELE_PB_BYTES = 2,
    STELE_PB_FIXED32 = 5,
};

struct stele_pb_field {
    uint32_t number;
    enum stele_pb_wire wire;
    uint64_t value;           /* VARINT, FIXED64, FIXED32. */
    struct stele_bytes bytes; /* BYTES: strings, messages. */
};

struct stele_pb_reader {
    const uint8_t *at, *end;
    bool bad;
};

static inline struct stele_pb_reader stele_pb_reader(struct stele_bytes message)
{
    /* No message at all may have no address, which nothing can be added to. */
    return (struct stele_pb_reader){
        .at = message.data, .end = message.size > 0 ? message.data + message.size : message.data};
}

/* false: the end, or bad (then *out_field may have been written). Groups (wire types 3, 4) and field
 * number 0 are bad. Of value and bytes the one that does not belong to wire is zero. */
bool stele_pb_next(struct stele_pb_reader *reader, struct stele_pb_field *out_field);

static inline int64_t stele_pb_zigzag(uint64_t value) /* sint64 */
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static inline uint64_t stele_pb_zigzag_of(int64_t value)
{
    return ((uint64_t)value << 1) ^ (0 - (uint64_t)(value < 0));
}

static inline size_t stele_pb_varint_size(uint64_t value)
{
    return (size_t)(((64 - __builtin_clzll(value | 1)) + 6) / 7);
}

/* Sizes of whole fields, tag included. */
static inline size_t stele_pb_size_varint(uint32_t number, uint64_t value)
{
    return stele_pb_varint_size((uint64_t)number << 3) + stele_pb_varint_size(value);
}

static inline size_t stele_pb_size_bytes(uint32_t number, size_t size)
{
    return stele_pb_varint_size((uint64_t)number << 3) + stele_pb_varint_size(size) + size;
}

/* All of these need room at `to` and return the place behind what they wrote. */
static inline uint8_t *stele_pb_put_varint(uint8_t *to, uint64_t value)
{
    while (value >= 0x80) {
        *to++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *to++ = (uint8_t)value;
    return to;
}

static inline uint8_t *stele_pb_put_tag(uint8_t *to, uint32_t number, enum stele_pb_wire wire)
{
    return stele_pb_put_varint(to, (uint64_t)number << 3 | wire);
}

/* With tag. */
static inline uint8_t *stele_pb_put_u64(uint8_t *to, uint32_t number, uint64_t value)
{
    return stele_pb_put_varint(stele_pb_put_tag(to, number, STELE_PB_VARINT), value);
}

/* Tag and length of a nested message whose size is known. */
static inline uint8_t *stele_pb_put_message(uint8_t *to, uint32_t number, size_t size)
{
    return stele_pb_put_varint(stele_pb_put_tag(to, number, STELE_PB_BYTES), size);
}

static inline uint8_t *stele_pb_put_bytes(uint8_t *to, uint32_t number, const void *data,
                                          size_t size)
{
    to = stele_pb_put_message(to, number, size);
    if (size > 0) {
        memcpy(to, data, size);
    }
    return to + size;
}

#endif
