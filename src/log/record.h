/* Records: one event as bytes, readable in place.
 *
 * On disk, integers little-endian, every record starts at a multiple of 8:
 *
 *     offset  size  field
 *          0     4  checksum       CRC-32C of the body (64 …, padding included), then of bytes 4 … 63
 *          4     4  size           bytes of the whole record, padding included, multiple of 8
 *          8     8  position
 *         16     8  revision       place in its stream, from 0
 *         24    16  id
 *         40     8  created_us     microseconds since 1970, signed
 *         48     4  data_size
 *         52     4  metadata_size
 *         56     2  stream_size
 *         58     1  type_size
 *         59     1  content_type_size   0 means application/json
 *         60     2  tags_size      bytes of the tags: for each one byte of size, then the tag
 *         62     1  tags_count
 *         63     1  flags          STELE_RECORD_…
 *         64        stream, type, content type, tags, metadata, data, zeros up to a multiple of 8
 *
 * The body comes first in the checksum because it is known before position and revision are: the
 * checksum of a large payload is computed before the writer's turn. */
#ifndef STELE_LOG_RECORD_H
#define STELE_LOG_RECORD_H

#include "base/bytes.h"
#include "base/status.h"

#include <stele/stele.h>

#define STELE_RECORD_HEADER_SIZE 64
#define STELE_RECORD_ALIGN 8
#define STELE_RECORD_TOMBSTONE 1u /* Closes its stream. */

/* What goes into a record. All borrowed. content_type NULL/empty means application/json. */
struct stele_record_draft {
    uint64_t position;
    uint64_t revision;
    const uint8_t *id; /* 16 bytes. */
    int64_t created_us;
    struct stele_bytes stream;
    struct stele_bytes type;
    struct stele_bytes content_type;
    struct stele_bytes tags; /* Encoded as above. */
    uint8_t tags_count;
    uint8_t flags;
    struct stele_bytes metadata;
    struct stele_bytes data;
};

/* Bytes that the record takes. */
size_t stele_record_size(const struct stele_record_draft *draft);

/* Writes it to buffer (stele_record_size() bytes, aligned to 8) and returns its checksum. */
uint32_t stele_record_encode(uint8_t *buffer, const struct stele_record_draft *draft);

/* The same in two steps: everything but position and revision (returns the body's checksum) …  */
uint32_t stele_record_encode_body(uint8_t *buffer, const struct stele_record_draft *draft);
/* … and then these, which completes the checksum in place and returns it. */
uint32_t stele_record_seal(uint8_t *buffer, uint32_t body_checksum, uint64_t position,
                           uint64_t revision);

/* Reads the record at the start of bytes. *out_event points into bytes. Any bytes are safe.
 *
 * STELE_OK         *out_event, *out_size (whole record) are set.
 * STELE_INCOMPLETE bytes ends before the record does.
 * STELE_E_CORRUPT  These are not the bytes that were written: checksum, or sizes that do not add up. */
STELE_MUST_USE
int stele_record_decode(struct stele_bytes bytes, struct stele_event *out_event, size_t *out_size);

/* As above without computing the checksum of the body, for bytes that were verified before. */
STELE_MUST_USE
int stele_record_decode_trusted(struct stele_bytes bytes, struct stele_event *out_event,
                                size_t *out_size);

#endif
