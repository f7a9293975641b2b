#include "log/record.h"

#include "base/checksum.h"

#define CHECKSUM_AT 0
#define SIZE_AT 4
#define POSITION_AT 8
#define REVISION_AT 16
#define ID_AT 24
#define CREATED_AT 40
#define DATA_SIZE_AT 48
#define METADATA_SIZE_AT 52
#define STREAM_SIZE_AT 56
#define TYPE_SIZE_AT 58
#define CONTENT_TYPE_SIZE_AT 59
#define TAGS_SIZE_AT 60
#define TAGS_COUNT_AT 62
#define FLAGS_AT 63

_Static_assert(FLAGS_AT + 1 == STELE_RECORD_HEADER_SIZE, "the header ends where the body begins");
_Static_assert(ID_AT + 16 == CREATED_AT, "an id has 16 bytes");

static const char content_type_json[] = "application/json";
#define CONTENT_TYPE_JSON_SIZE (sizeof content_type_json - 1)

/* JSON is what nearly everybody stores, so it takes no bytes, however the caller spells it. */
static bool is_json(struct stele_bytes content_type)
{
    return content_type.size == 0 ||
           (content_type.size == CONTENT_TYPE_JSON_SIZE &&
            memcmp(content_type.data, content_type_json, CONTENT_TYPE_JSON_SIZE) == 0);
}

static size_t size_without_padding(const struct stele_record_draft *draft)
{
    const size_t content_type_size = is_json(draft->content_type) ? 0 : draft->content_type.size;
    return STELE_RECORD_HEADER_SIZE + draft->stream.size + draft->type.size + content_type_size +
           draft->tags.size + draft->metadata.size + draft->data.size;
}

size_t stele_record_size(const struct stele_record_draft *draft)
{
    return (size_t)stele_align_up(size_without_padding(draft), STELE_RECORD_ALIGN);
}

static uint8_t *put_bytes(uint8_t *to, struct stele_bytes bytes)
{
    if (bytes.size > 0) {
        memcpy(to, bytes.data, bytes.size);
    }
    return to + bytes.size;
}

uint32_t stele_record_encode_body(uint8_t *buffer, const struct stele_record_draft *draft)
{
    STELE_ASSERT(draft->stream.size <= UINT16_MAX);
    STELE_ASSERT(draft->type.size <= UINT8_MAX);
    STELE_ASSERT(draft->content_type.size <= UINT8_MAX);
    STELE_ASSERT(draft->tags.size <= UINT16_MAX);
    STELE_ASSERT(draft->metadata.size <= UINT32_MAX);
    STELE_ASSERT(draft->data.size <= UINT32_MAX);
    const size_t size = stele_record_size(draft);
    STELE_ASSERT(size <= UINT32_MAX);

    const struct stele_bytes content_type =
        is_json(draft->content_type) ? (struct stele_bytes){0} : draft->content_type;

    memset(buffer, 0, STELE_RECORD_HEADER_SIZE);
    stele_store_u32le(buffer + SIZE_AT, (uint32_t)size);
    memcpy(buffer + ID_AT, draft->id, 16);
    stele_store_u64le(buffer + CREATED_AT, (uint64_t)draft->created_us);
    stele_store_u32le(buffer + DATA_SIZE_AT, (uint32_t)draft->data.size);
    stele_store_u32le(buffer + METADATA_SIZE_AT, (uint32_t)draft->metadata.size);
    stele_store_u16le(buffer + STREAM_SIZE_AT, (uint16_t)draft->stream.size);
    buffer[TYPE_SIZE_AT] = (uint8_t)draft->type.size;
    buffer[CONTENT_TYPE_SIZE_AT] = (uint8_t)content_type.size;
    stele_store_u16le(buffer + TAGS_SIZE_AT, (uint16_t)draft->tags.size);
    buffer[TAGS_COUNT_AT] = draft->tags_count;
    buffer[FLAGS_AT] = draft->flags;

    uint8_t *to = buffer + STELE_RECORD_HEADER_SIZE;
    to = put_bytes(to, draft->stream);
    to = put_bytes(to, draft->type);
    to = put_bytes(to, content_type);
    to = put_bytes(to, draft->tags);
    to = put_bytes(to, draft->metadata);
    to = put_bytes(to, draft->data);
    const size_t padding = (size_t)(buffer + size - to);
    STELE_ASSERT(padding < STELE_RECORD_ALIGN);
    memset(to, 0, padding);

    return stele_crc32c((struct stele_bytes){.data = buffer + STELE_RECORD_HEADER_SIZE,
                                             .size = size - STELE_RECORD_HEADER_SIZE});
}

/* The header's own part of the checksum: everything behind the checksum field. */
static uint32_t add_header(uint32_t body_checksum, const uint8_t *record)
{
    return stele_crc32c_extend(
        body_checksum,
        (struct stele_bytes){.data = record + SIZE_AT, .size = STELE_RECORD_HEADER_SIZE - SIZE_AT});
}

uint32_t stele_record_seal(uint8_t *buffer, uint32_t body_checksum, uint64_t position,
                           uint64_t revision)
{
    stele_store_u64le(buffer + POSITION_AT, position);
    stele_store_u64le(buffer + REVISION_AT, revision);
    const uint32_t checksum = add_header(body_checksum, buffer);
    stele_store_u32le(buffer + CHECKSUM_AT, checksum);
    return checksum;
}

uint32_t stele_record_encode(uint8_t *buffer, const struct stele_record_draft *draft)
{
    const uint32_t body_checksum = stele_record_encode_body(buffer, draft);
    return stele_record_seal(buffer, body_checksum, draft->position, draft->revision);
}

/* Do the tags, as their sizes say, end where their area ends? */
static bool tags_add_up(const uint8_t *tags, uint32_t size, uint32_t count)
{
    uint32_t at = 0;
    for (uint32_t index = 0; index < count; index++) {
        if (at >= size) {
            return false;
        }
        at += 1U + tags[at];
    }
    return at == size;
}

/* The sizes in the header are safe to use once their sum is the size of the record, and that is
 * inside bytes. They are right only if the checksum says so. */
static int check_sizes(struct stele_bytes bytes, size_t *out_size)
{
    if (bytes.size < STELE_RECORD_HEADER_SIZE) {
        return STELE_INCOMPLETE;
    }
    const uint8_t *record = bytes.data;
    const uint64_t sum = (uint64_t)STELE_RECORD_HEADER_SIZE +
                         stele_load_u16le(record + STREAM_SIZE_AT) + record[TYPE_SIZE_AT] +
                         record[CONTENT_TYPE_SIZE_AT] + stele_load_u16le(record + TAGS_SIZE_AT) +
                         stele_load_u32le(record + METADATA_SIZE_AT) +
                         stele_load_u32le(record + DATA_SIZE_AT);
    const uint32_t size = stele_load_u32le(record + SIZE_AT);
    if (stele_align_up(sum, STELE_RECORD_ALIGN) != size) {
        return STELE_E_CORRUPT;
    }
    if (size > bytes.size) {
        return STELE_INCOMPLETE;
    }
    *out_size = size;
    return STELE_OK;
}

static struct stele_text take_text(const uint8_t **from, size_t size)
{
    const struct stele_text text = {.data = (const char *)*from, .size = size};
    *from += size;
    return text;
}

static int read_fields(const uint8_t *record, struct stele_event *out_event)
{
    const uint32_t tags_size = stele_load_u16le(record + TAGS_SIZE_AT);
    const uint32_t tags_count = record[TAGS_COUNT_AT];
    const uint8_t *at = record + STELE_RECORD_HEADER_SIZE;
    const size_t before_tags = (size_t)stele_load_u16le(record + STREAM_SIZE_AT) +
                               record[TYPE_SIZE_AT] + record[CONTENT_TYPE_SIZE_AT];
    if (!tags_add_up(at + before_tags, tags_size, tags_count)) {
        return STELE_E_CORRUPT;
    }

    out_event->position = stele_load_u64le(record + POSITION_AT);
    out_event->revision = stele_load_u64le(record + REVISION_AT);
    memcpy(out_event->id, record + ID_AT, sizeof out_event->id);
    out_event->created_us = (int64_t)stele_load_u64le(record + CREATED_AT);
    out_event->stream = take_text(&at, stele_load_u16le(record + STREAM_SIZE_AT));
    out_event->type = take_text(&at, record[TYPE_SIZE_AT]);
    uint32_t flags = 0;
    if (record[CONTENT_TYPE_SIZE_AT] == 0) {
        out_event->content_type =
            (struct stele_text){.data = content_type_json, .size = CONTENT_TYPE_JSON_SIZE};
        flags |= STELE_EVENT_JSON;
    } else {
        out_event->content_type = take_text(&at, record[CONTENT_TYPE_SIZE_AT]);
    }
    out_event->tags = at;
    out_event->tags_count = tags_count;
    at += tags_size;
    out_event->metadata = at;
    out_event->metadata_size = stele_load_u32le(record + METADATA_SIZE_AT);
    at += out_event->metadata_size;
    out_event->data = at;
    out_event->data_size = stele_load_u32le(record + DATA_SIZE_AT);
    if ((record[FLAGS_AT] & STELE_RECORD_TOMBSTONE) != 0) {
        flags |= STELE_EVENT_TOMBSTONE;
    }
    out_event->flags = flags;
    return STELE_OK;
}

int stele_record_decode(struct stele_bytes bytes, struct stele_event *out_event, size_t *out_size)
{
    size_t size = 0;
    const int outcome = check_sizes(bytes, &size);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const uint32_t body_checksum = stele_crc32c((struct stele_bytes){
        .data = bytes.data + STELE_RECORD_HEADER_SIZE, .size = size - STELE_RECORD_HEADER_SIZE});
    if (add_header(body_checksum, bytes.data) != stele_load_u32le(bytes.data + CHECKSUM_AT)) {
        return STELE_E_CORRUPT;
    }
    /* A record whose checksum matches and whose tags do not add up was never written by us. */
    if (read_fields(bytes.data, out_event) != STELE_OK) {
        return STELE_E_CORRUPT;
    }
    *out_size = size;
    return STELE_OK;
}

int stele_record_decode_trusted(struct stele_bytes bytes, struct stele_event *out_event,
                                size_t *out_size)
{
    size_t size = 0;
    int outcome = check_sizes(bytes, &size);
    if (outcome == STELE_OK) {
        outcome = read_fields(bytes.data, out_event);
    }
    if (outcome == STELE_OK) {
        *out_size = size;
    }
    return outcome;
}
