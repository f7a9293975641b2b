/* Protocol buffers: any bytes are walked to their end or refused; what was walked and is written
 * again is read as the same. */
#include "pb/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *put(uint8_t *to, const struct stele_pb_field *field)
{
    switch (field->wire) {
    case STELE_PB_BYTES:
        STELE_ASSERT(stele_pb_size_bytes(field->number, field->bytes.size) >= field->bytes.size);
        return stele_pb_put_bytes(to, field->number, field->bytes.data, field->bytes.size);
    case STELE_PB_VARINT:
    case STELE_PB_FIXED32:
    case STELE_PB_FIXED64:
        break;
    }
    return stele_pb_put_u64(to, field->number, field->value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[3 * 65536];
    size = size < 65536 ? size : 65536;
    const struct stele_bytes whole = {.data = data, .size = size};
    struct stele_pb_reader reader = stele_pb_reader(whole);
    struct stele_pb_field field;
    uint8_t *to = copy;
    while (stele_pb_next(&reader, &field)) {
        STELE_ASSERT(field.wire != STELE_PB_BYTES || field.bytes.data >= data);
        STELE_ASSERT(field.wire != STELE_PB_BYTES ||
                     field.bytes.data + field.bytes.size <= data + size);
        to = put(to, &field);
    }
    struct stele_pb_reader first = stele_pb_reader(whole);
    struct stele_pb_reader again =
        stele_pb_reader((struct stele_bytes){.data = copy, .size = (size_t)(to - copy)});
    struct stele_pb_field other;
    while (stele_pb_next(&again, &other)) {
        STELE_ASSERT(stele_pb_next(&first, &field));
        STELE_ASSERT(field.number == other.number);
        STELE_ASSERT(field.wire == STELE_PB_BYTES ? stele_bytes_equal(field.bytes, other.bytes)
                                                  : field.value == other.value);
    }
    STELE_ASSERT(!again.bad);
    return 0;
}
