/* Looking for frames where nothing says where they begin: every header stores its own place, so
 * eight bytes tell nearly always that a place is none, and the checksum with the store's secret
 * tells for sure that it is one. */
#include "log/log_internal.h"

/* Everything that is not worth looking at in one glance: zeros are what lies behind the end. */
static bool is_zero_line(const uint8_t *data)
{
    uint64_t words[8];
    memcpy(words, data, sizeof words);
    return (words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] |
            words[7]) == 0;
}

/* The same for more at once, at the speed of memory. */
#define ZERO_BLOCK_SIZE ((size_t)4096)

static bool is_zero_block(const uint8_t *data)
{
    return data[0] == 0 && memcmp(data, data + 1, ZERO_BLOCK_SIZE - 1) == 0;
}

uint64_t stele_log__search(const uint8_t *data, uint64_t data_place, uint64_t from, uint64_t to,
                           uint32_t seed, uint64_t durable_min, struct stele_frame *out_frame)
{
    STELE_ASSERT(from % STELE_RECORD_ALIGN == 0);
    STELE_ASSERT(from >= data_place);
    uint64_t place = from;
    while (place + STELE_FRAME_HEADER_SIZE <= to) {
        const uint8_t *const header = data + (place - data_place);
        if (is_zero_line(header)) {
            /* The version, never 0, lies in the second 8 bytes of a header: the first header that
             * can follow has only its first 8 bytes in this line. */
            place += STELE_FRAME_HEADER_SIZE - STELE_RECORD_ALIGN;
            while (place + ZERO_BLOCK_SIZE <= to && is_zero_block(data + (place - data_place))) {
                place += ZERO_BLOCK_SIZE - STELE_RECORD_ALIGN;
            }
            continue;
        }
        if (stele_load_u64le(header + STELE_LOG__FRAME_PLACE_AT) == place) {
            const struct stele_bytes bytes = {.data = header, .size = STELE_FRAME_HEADER_SIZE};
            struct stele_frame frame;
            const int outcome = stele_log__frame_decode(bytes, seed, place, &frame);
            if (outcome == STELE_OK && frame.durable >= durable_min) {
                *out_frame = frame;
                return place;
            }
        }
        place += STELE_RECORD_ALIGN;
    }
    return UINT64_MAX;
}
