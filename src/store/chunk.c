/* Appends on their way from one store to another. A chunk is a sequence of groups; a group is what is
 * left of one append, its records as they lie in the log:
 *
 *     offset  size  field
 *          0     4  checksum   CRC-32C of bytes 4 … 23 and of the frames
 *          4     4  size       of the whole group, a multiple of 8
 *          8     8  stamp      of the command; 0: none
 *         16     4  events
 *         20     2  frames     1 or more
 *         22     2  0
 *         24     8  each frame: partition (2), 0 (2), bytes of its records (4), perhaps none
 *          …        records; each has a checksum of its own, see log/record.h
 *
 * Records keep their checksums because these cover position and revision, which are the same in every
 * store of a cluster: nothing is computed anew on the way. */
#include "store/store_internal.h"

#define CHECKSUM_AT 0
#define SIZE_AT 4
#define STAMP_AT 8
#define EVENTS_AT 16
#define FRAMES_AT 20
#define RESERVED_AT 22

static uint32_t checksum_of(const uint8_t *head, uint32_t frames)
{
    return stele_crc32c((struct stele_bytes){
        .data = head + SIZE_AT, .size = stele_store__group_head_size(frames) - SIZE_AT});
}

void stele_store__group_encode(uint8_t *head, const struct stele_store__group *group)
{
    STELE_ASSERT(group->frames > 0);
    STELE_ASSERT(group->size % STELE_RECORD_ALIGN == 0);
    stele_store_u32le(head + SIZE_AT, group->size);
    stele_store_u64le(head + STAMP_AT, group->stamp);
    stele_store_u32le(head + EVENTS_AT, group->events);
    stele_store_u16le(head + FRAMES_AT, (uint16_t)group->frames);
    stele_store_u16le(head + RESERVED_AT, 0);
    stele_store_u32le(head + CHECKSUM_AT, checksum_of(head, group->frames));
}

void stele_store__group_put_frame(uint8_t *head, uint32_t frame, uint16_t partition, uint32_t size)
{
    uint8_t *at = head + stele_store__group_head_size(frame);
    stele_store_u16le(at, partition);
    stele_store_u16le(at + 2, 0);
    stele_store_u32le(at + 4, size);
}

void stele_store__group_frame(const struct stele_store__group *group, uint32_t frame,
                              uint16_t *out_partition, uint32_t *out_size)
{
    STELE_ASSERT(frame < group->frames);
    const uint8_t *at = group->head + stele_store__group_head_size(frame);
    *out_partition = stele_load_u16le(at);
    *out_size = stele_load_u32le(at + 4);
}

int stele_store__group_decode(struct stele_bytes bytes, struct stele_store__group *out)
{
    if (bytes.size < stele_store__group_head_size(0)) {
        return STELE_E_CORRUPT;
    }
    struct stele_store__group group = {
        .head = bytes.data,
        .stamp = stele_load_u64le(bytes.data + STAMP_AT),
        .events = stele_load_u32le(bytes.data + EVENTS_AT),
        .frames = stele_load_u16le(bytes.data + FRAMES_AT),
        .size = stele_load_u32le(bytes.data + SIZE_AT),
    };
    const size_t head_size = stele_store__group_head_size(group.frames);
    if (group.size > bytes.size || group.size % STELE_RECORD_ALIGN != 0 || head_size > group.size ||
        group.frames == 0 || group.events == 0 ||
        checksum_of(bytes.data, group.frames) != stele_load_u32le(bytes.data + CHECKSUM_AT)) {
        return STELE_E_CORRUPT;
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < group.frames; i++) {
        uint16_t partition = 0;
        uint32_t size = 0;
        stele_store__group_frame(&group, i, &partition, &size);
        sum += size;
        if (size % STELE_RECORD_ALIGN != 0) {
            return STELE_E_CORRUPT;
        }
    }
    if (sum != group.size - head_size) {
        return STELE_E_CORRUPT;
    }
    group.records = stele_bytes_slice(bytes, head_size, group.size - head_size);
    *out = group;
    return STELE_OK;
}
