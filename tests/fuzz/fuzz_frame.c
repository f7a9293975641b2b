/* Frames: any header and payload are safe, with a wrong checksum and with a right one. */
#include "base/checksum.h"
#include "log/log_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET UINT64_C(1)

static void read_frame(const uint8_t *bytes, size_t size, uint64_t place)
{
    struct stele_frame frame;
    const struct stele_bytes whole = {.data = bytes, .size = size};
    if (stele_frame_decode(whole, SECRET, place, &frame) != STELE_OK) {
        return;
    }
    STELE_ASSERT(frame.size <= STELE_FRAME_SIZE_MAX);
    STELE_ASSERT(frame.group_index < frame.group_count);
    const size_t rest = size - STELE_FRAME_HEADER_SIZE;
    const struct stele_bytes payload = {.data = bytes + STELE_FRAME_HEADER_SIZE,
                                        .size = frame.size < rest ? frame.size : rest};
    (void)stele_frame_payload_is_intact(&frame, payload);
    uint8_t again[STELE_FRAME_HEADER_SIZE];
    STELE_ASSERT(stele_frame_encode(again, SECRET, &frame) == frame.header_checksum);
    STELE_ASSERT(memcmp(again, bytes, sizeof again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[65536];
    size = size < sizeof copy ? size : sizeof copy;
    if (size < STELE_FRAME_HEADER_SIZE) {
        read_frame(data, size, 0);
        return 0;
    }
    memcpy(copy, data, size);
    /* Places of logs do not overflow, and are multiples of 8. */
    copy[STELE_LOG__FRAME_PLACE_AT + 7] &= 0x3f;
    copy[STELE_LOG__FRAME_PLACE_AT] &= 0xf8;
    const uint64_t place = stele_load_u64le(copy + STELE_LOG__FRAME_PLACE_AT);
    read_frame(copy, size, place);
    /* The same with the checksums that belong to it. */
    const uint32_t seed = stele_log__seed(SECRET);
    uint32_t payload_checksum = 0;
    size_t at = STELE_FRAME_HEADER_SIZE;
    while (size - at >= STELE_RECORD_HEADER_SIZE) {
        const uint32_t record_size = stele_load_u32le(copy + at + STELE_LOG__RECORD_SIZE_AT);
        if (record_size < STELE_RECORD_HEADER_SIZE || record_size > size - at) {
            break;
        }
        payload_checksum = stele_frame_extend(payload_checksum, stele_load_u32le(copy + at));
        at += record_size;
    }
    stele_store_u32le(copy + 4, payload_checksum);
    stele_store_u32le(
        copy, stele_crc32c_extend(seed, (struct stele_bytes){.data = copy + 4, .size = 60}));
    read_frame(copy, size, place);
    struct stele_frame frame;
    (void)stele_log__search(copy, place, place, place + size / 8 * 8, seed, 0, &frame);
    return 0;
}
