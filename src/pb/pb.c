#include "pb/pb.h"

#define VARINT_SIZE_MAX 10

/* protobuf.dev/programming-guides/encoding: seven bits a byte, lowest first. Bits above the 64th
 * are lost, as in every other implementation; an eleventh byte is malformed. */
static bool get_varint(struct stele_pb_reader *reader, uint64_t *out_value)
{
    const uint8_t *at = reader->at;
    const uint8_t *const end = reader->end;
    if (at < end && *at < 0x80) {
        *out_value = *at;
        reader->at = at + 1;
        return true;
    }
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 7 * VARINT_SIZE_MAX; shift += 7) {
        if (at == end) {
            return false;
        }
        const uint8_t byte = *at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out_value = value;
            reader->at = at;
            return true;
        }
    }
    return false;
}

static bool get_value(struct stele_pb_reader *reader, struct stele_pb_field *field)
{
    const size_t left = (size_t)(reader->end - reader->at);
    switch (field->wire) {
    case STELE_PB_VARINT:
        return get_varint(reader, &field->value);
    case STELE_PB_FIXED64:
        if (left < 8) {
            return false;
        }
        field->value = stele_load_u64le(reader->at);
        reader->at += 8;
        return true;
    case STELE_PB_FIXED32:
        if (left < 4) {
            return false;
        }
        field->value = stele_load_u32le(reader->at);
        reader->at += 4;
        return true;
    case STELE_PB_BYTES: {
        uint64_t size;
        if (!get_varint(reader, &size) || size > (uint64_t)(reader->end - reader->at)) {
            return false;
        }
        field->bytes = (struct stele_bytes){.data = reader->at, .size = (size_t)size};
        reader->at += size;
        return true;
    }
    }
    return false;
}

bool stele_pb_next(struct stele_pb_reader *reader, struct stele_pb_field *out_field)
{
    if (reader->at == reader->end || reader->bad) {
        return false;
    }
    /* Nearly every tag is one byte. */
    uint64_t tag = *reader->at;
    if (tag < 0x80) {
        reader->at++;
    } else if (!get_varint(reader, &tag)) {
        tag = 0;
    }
    if (tag < 8 || tag > UINT32_MAX) {
        reader->bad = true;
        return false;
    }
    out_field->number = (uint32_t)tag >> 3;
    out_field->wire = (enum stele_pb_wire)(tag & 7);
    /* Who expects another wire type than came finds nothing. */
    out_field->value = 0;
    out_field->bytes = (struct stele_bytes){.data = NULL, .size = 0};
    if (!get_value(reader, out_field)) {
        reader->bad = true;
        return false;
    }
    return true;
}
