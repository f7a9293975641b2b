/* Records: any bytes are safe, and what is taken for a record is one that lies inside them. */
#include "base/assert.h"
#include "base/checksum.h"
#include "log/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct stele_bytes bytes, const struct stele_event *event, size_t size)
{
    STELE_ASSERT(size <= bytes.size);
    STELE_ASSERT(size >= STELE_RECORD_HEADER_SIZE);
    STELE_ASSERT(size % STELE_RECORD_ALIGN == 0);
    const uint8_t *const end = bytes.data + size;
    STELE_ASSERT((const uint8_t *)event->stream.data >= bytes.data);
    STELE_ASSERT((const uint8_t *)event->data + event->data_size <= end);
    STELE_ASSERT((const uint8_t *)event->metadata + event->metadata_size <= end);
    const uint8_t *tag = event->tags;
    for (uint32_t index = 0; index < event->tags_count; index++) {
        tag += 1 + tag[0];
        STELE_ASSERT(tag <= (const uint8_t *)event->metadata);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[65536];
    struct stele_event event;
    size_t out_size = 0;
    size = size < sizeof copy ? size : sizeof copy;
    if (size == 0) {
        return 0;
    }
    memcpy(copy, data, size);
    const struct stele_bytes bytes = {.data = copy, .size = size};
    if (stele_record_decode_trusted(bytes, &event, &out_size) != STELE_OK) {
        STELE_ASSERT(stele_record_decode(bytes, &event, &out_size) != STELE_OK);
        return 0;
    }
    check_inside(bytes, &event, out_size);
    /* With a right checksum it is a record: encoding what was read gives the same header. */
    uint32_t checksum = stele_crc32c(stele_bytes_slice(bytes, 64, out_size - 64));
    checksum = stele_crc32c_extend(checksum, stele_bytes_slice(bytes, 4, 60));
    stele_store_u32le(copy, checksum);
    STELE_ASSERT(stele_record_decode(bytes, &event, &out_size) == STELE_OK);
    check_inside(bytes, &event, out_size);
    copy[out_size / 2] ^= 1;
    STELE_ASSERT(stele_record_decode(bytes, &event, &out_size) != STELE_OK);
    return 0;
}
