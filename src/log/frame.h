/* Frames: what the log writes as one, one partition's part of one atomic append.
 *
 *     offset  size  field
 *          0     4  header_checksum  CRC-32C of the store's secret (8 bytes), then of bytes 4 … 63
 *          4     4  payload_checksum CRC-32C of the records' checksum fields, in order (kind 1);
 *                                    of the payload itself (other kinds)
 *          8     4  size             bytes of payload, multiple of 8
 *         12     1  version          1
 *         13     1  kind             1 events; 2 tick; 3 configuration (both written by clusters)
 *         14     2  partition
 *         16     8  place            where this frame starts in the log
 *         24     8  durable          all of the log below this place was durable when this frame
 *                                    was written
 *         32     8  term             stamp of the command that wrote it; 0 on a single node
 *         40     8  index            1, 2, … in each partition
 *         48     4  previous         header_checksum of the frame before this one in the log
 *         52     4  count            events
 *         56     2  group_count      frames of the atomic append, which follow each other
 *         58     2  group_index      which of them, from 0
 *         60     4  reserved         0
 *         64        payload: records (kind 1)
 *
 * The place is stored although the reader knows it: a disk that returns the right bytes from the
 * wrong place returns a frame whose checksum is fine and whose place is not. The secret keeps a
 * payload that looks like a frame from being taken for one when the log is searched for frames.
 * `durable` separates a torn tail from damage: a frame that does not verify, at a place below the
 * `durable` of a later one, had been acknowledged. */
#ifndef STELE_LOG_FRAME_H
#define STELE_LOG_FRAME_H

#include "log/record.h"

#define STELE_FRAME_HEADER_SIZE 64
#define STELE_FRAME_VERSION 1
#define STELE_FRAME_EVENTS 1
#define STELE_FRAME_TICK 2
#define STELE_FRAME_CONFIGURATION 3

struct stele_frame {
    uint64_t place;
    uint64_t durable;
    uint64_t term;
    uint64_t index;
    uint32_t header_checksum;
    uint32_t payload_checksum;
    uint32_t size; /* Of the payload. */
    uint32_t previous;
    uint32_t count;
    uint16_t partition;
    uint16_t group_count;
    uint16_t group_index;
    uint8_t kind;
};

/* Writes the header and returns its checksum. frame->header_checksum is ignored. */
uint32_t stele_frame_encode(uint8_t buffer[STELE_FRAME_HEADER_SIZE], uint64_t secret,
                            const struct stele_frame *frame);

/* Reads a header that lies at place.
 *
 * STELE_OK          A header that was written here.
 * STELE_END         Zeros: nothing was ever written here.
 * STELE_INCOMPLETE  Less than a header.
 * STELE_E_FORMAT    A valid header of a newer version.
 * STELE_E_CORRUPT   Something else. */
STELE_MUST_USE
int stele_frame_decode(struct stele_bytes bytes, uint64_t secret, uint64_t place,
                       struct stele_frame *out_frame);

/* Does the payload belong to the header, and does every record verify? Any bytes are safe. */
bool stele_frame_payload_is_intact(const struct stele_frame *frame, struct stele_bytes payload);

/* Extends the payload checksum by one record's. Begin with 0. */
uint32_t stele_frame_extend(uint32_t payload_checksum, uint32_t record_checksum);

#endif
