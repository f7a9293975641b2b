#include "base/checksum.h"
#include "base/limits.h"
#include "log/log_internal.h"

#define HEADER_CHECKSUM_AT 0
#define PAYLOAD_CHECKSUM_AT 4
#define SIZE_AT 8
#define VERSION_AT 12
#define KIND_AT 13
#define PARTITION_AT 14
#define PLACE_AT 16
#define DURABLE_AT 24
#define TERM_AT 32
#define INDEX_AT 40
#define PREVIOUS_AT 48
#define COUNT_AT 52
#define GROUP_COUNT_AT 56
#define GROUP_INDEX_AT 58
#define RESERVED_AT 60

_Static_assert(RESERVED_AT + 4 == STELE_FRAME_HEADER_SIZE, "the header is full");
_Static_assert(PLACE_AT == STELE_LOG__FRAME_PLACE_AT, "the search for frames looks at the place");

uint32_t stele_log__seed(uint64_t secret)
{
    uint8_t bytes[8];
    stele_store_u64le(bytes, secret);
    return stele_crc32c((struct stele_bytes){.data = bytes, .size = sizeof bytes});
}

static uint32_t header_checksum(const uint8_t *header, uint32_t seed)
{
    return stele_crc32c_extend(
        seed, (struct stele_bytes){.data = header + PAYLOAD_CHECKSUM_AT,
                                   .size = STELE_FRAME_HEADER_SIZE - PAYLOAD_CHECKSUM_AT});
}

uint32_t stele_log__frame_encode(uint8_t *buffer, uint32_t seed, const struct stele_frame *frame)
{
    STELE_ASSERT(frame->size % STELE_RECORD_ALIGN == 0);
    STELE_ASSERT(frame->place % STELE_RECORD_ALIGN == 0);
    STELE_ASSERT(frame->group_index < frame->group_count);
    stele_store_u32le(buffer + PAYLOAD_CHECKSUM_AT, frame->payload_checksum);
    stele_store_u32le(buffer + SIZE_AT, frame->size);
    buffer[VERSION_AT] = STELE_FRAME_VERSION;
    buffer[KIND_AT] = frame->kind;
    stele_store_u16le(buffer + PARTITION_AT, frame->partition);
    stele_store_u64le(buffer + PLACE_AT, frame->place);
    stele_store_u64le(buffer + DURABLE_AT, frame->durable);
    stele_store_u64le(buffer + TERM_AT, frame->term);
    stele_store_u64le(buffer + INDEX_AT, frame->index);
    stele_store_u32le(buffer + PREVIOUS_AT, frame->previous);
    stele_store_u32le(buffer + COUNT_AT, frame->count);
    stele_store_u16le(buffer + GROUP_COUNT_AT, frame->group_count);
    stele_store_u16le(buffer + GROUP_INDEX_AT, frame->group_index);
    stele_store_u32le(buffer + RESERVED_AT, 0);
    const uint32_t checksum = header_checksum(buffer, seed);
    stele_store_u32le(buffer + HEADER_CHECKSUM_AT, checksum);
    return checksum;
}

uint32_t stele_frame_encode(uint8_t buffer[STELE_FRAME_HEADER_SIZE], uint64_t secret,
                            const struct stele_frame *frame)
{
    return stele_log__frame_encode(buffer, stele_log__seed(secret), frame);
}

static bool is_zero(const uint8_t *header)
{
    static const uint8_t zeros[STELE_FRAME_HEADER_SIZE];
    return memcmp(header, zeros, sizeof zeros) == 0;
}

int stele_log__frame_decode(struct stele_bytes bytes, uint32_t seed, uint64_t place,
                            struct stele_frame *out_frame)
{
    if (bytes.size < STELE_FRAME_HEADER_SIZE) {
        return STELE_INCOMPLETE;
    }
    const uint8_t *header = bytes.data;
    const uint32_t checksum = stele_load_u32le(header + HEADER_CHECKSUM_AT);
    if (header_checksum(header, seed) != checksum) {
        return is_zero(header) ? STELE_END : STELE_E_CORRUPT;
    }
    if (stele_load_u64le(header + PLACE_AT) != place) {
        return STELE_E_CORRUPT;
    }
    if (header[VERSION_AT] != STELE_FRAME_VERSION) {
        return header[VERSION_AT] > STELE_FRAME_VERSION ? STELE_E_FORMAT : STELE_E_CORRUPT;
    }
    const uint32_t size = stele_load_u32le(header + SIZE_AT);
    const uint8_t kind = header[KIND_AT];
    const uint16_t group_count = stele_load_u16le(header + GROUP_COUNT_AT);
    const uint16_t group_index = stele_load_u16le(header + GROUP_INDEX_AT);
    /* The checksum matches, so we wrote it; these say what we never write. */
    if (size % STELE_RECORD_ALIGN != 0 || size > STELE_FRAME_SIZE_MAX ||
        kind < STELE_FRAME_EVENTS || kind > STELE_FRAME_CONFIGURATION ||
        group_index >= group_count || stele_load_u32le(header + RESERVED_AT) != 0) {
        return STELE_E_CORRUPT;
    }
    out_frame->place = place;
    out_frame->durable = stele_load_u64le(header + DURABLE_AT);
    out_frame->term = stele_load_u64le(header + TERM_AT);
    out_frame->index = stele_load_u64le(header + INDEX_AT);
    out_frame->header_checksum = checksum;
    out_frame->payload_checksum = stele_load_u32le(header + PAYLOAD_CHECKSUM_AT);
    out_frame->size = size;
    out_frame->previous = stele_load_u32le(header + PREVIOUS_AT);
    out_frame->count = stele_load_u32le(header + COUNT_AT);
    out_frame->partition = stele_load_u16le(header + PARTITION_AT);
    out_frame->group_count = group_count;
    out_frame->group_index = group_index;
    out_frame->kind = kind;
    return STELE_OK;
}

int stele_frame_decode(struct stele_bytes bytes, uint64_t secret, uint64_t place,
                       struct stele_frame *out_frame)
{
    return stele_log__frame_decode(bytes, stele_log__seed(secret), place, out_frame);
}

uint32_t stele_frame_extend(uint32_t payload_checksum, uint32_t record_checksum)
{
    uint8_t bytes[4];
    stele_store_u32le(bytes, record_checksum);
    return stele_crc32c_extend(payload_checksum,
                               (struct stele_bytes){.data = bytes, .size = sizeof bytes});
}

bool stele_log__frame_fits(const struct stele_frame *frame, struct stele_bytes payload)
{
    STELE_ASSERT(payload.size == frame->size);
    if (frame->kind != STELE_FRAME_EVENTS) {
        return stele_crc32c(payload) == frame->payload_checksum;
    }
    uint32_t checksum = 0;
    size_t at = 0;
    for (uint32_t index = 0; index < frame->count; index++) {
        if (payload.size - at < STELE_RECORD_HEADER_SIZE) {
            return false;
        }
        const uint32_t size = stele_load_u32le(payload.data + at + STELE_LOG__RECORD_SIZE_AT);
        if (size < STELE_RECORD_HEADER_SIZE || size % STELE_RECORD_ALIGN != 0 ||
            size > payload.size - at) {
            return false;
        }
        checksum = stele_crc32c_extend(checksum,
                                       (struct stele_bytes){.data = payload.data + at, .size = 4});
        at += size;
    }
    return at == payload.size && checksum == frame->payload_checksum;
}

bool stele_log__records_are_intact(struct stele_bytes payload)
{
    size_t at = 0;
    while (at < payload.size) {
        struct stele_event event;
        size_t size = 0;
        const struct stele_bytes rest = {.data = payload.data + at, .size = payload.size - at};
        if (stele_record_decode(rest, &event, &size) != STELE_OK) {
            return false;
        }
        at += size;
    }
    return true;
}

bool stele_frame_payload_is_intact(const struct stele_frame *frame, struct stele_bytes payload)
{
    if (payload.size != frame->size || !stele_log__frame_fits(frame, payload)) {
        return false;
    }
    if (frame->kind != STELE_FRAME_EVENTS) {
        return true;
    }
    return stele_log__records_are_intact(payload);
}
