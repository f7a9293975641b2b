/* Answers of the native service. */
#include "api/native/native_internal.h"

uint32_t stele_native__outcome(int outcome)
{
    switch (outcome) {
    case STELE_OK:
        return 0;
    case STELE_WRONG_REVISION:
        return 1;
    case STELE_STREAM_DELETED:
        return 2;
    case STELE_CONDITION_FAILED:
        return 3;
    case STELE_E_ID_CONFLICT:
        return 4;
    case STELE_E_INVALID:
        return 5;
    case STELE_E_LIMIT:
        return 6;
    case STELE_E_NO_SPACE:
        return 7;
    case STELE_E_FENCED:
        return 8;
    case STELE_E_OVERLOADED:
        return 9;
    case STELE_E_PERMISSION:
        return 10;
    case STELE_E_UNKNOWN:
        return 11;
    case STELE_NO_STREAM:
        return 13;
    case STELE_NOT_FOUND:
        return 14;
    case STELE_E_CORRUPT:
        return 15;
    case STELE_E_NO_MEMORY:
        return 16;
    case STELE_E_IO:
        return 17;
    case STELE_E_READ_ONLY:
        return 18;
    case STELE_E_UNSUPPORTED:
        return 19;
    case STELE_E_CLOSED:
        return 20;
    default:
        return 12;
    }
}

static bool is_json(const struct stele_event *event)
{
    return (event->flags & STELE_EVENT_JSON) != 0;
}

size_t stele_native__event_size(const struct stele_event *event, uint64_t ordinal_plus_1)
{
    size_t size = stele_native__number_size(1, event->position) +
                  stele_native__number_size(2, event->revision) +
                  stele_pb_size_bytes(3, sizeof event->id) +
                  stele_native__bytes_size(4, event->stream.size) +
                  stele_native__bytes_size(5, event->type.size) +
                  stele_native__bytes_size(6, event->data_size) +
                  stele_native__bytes_size(7, event->metadata_size) +
                  stele_native__number_size(10, (uint64_t)event->created_us) +
                  stele_native__number_size(11, event->flags & STELE_EVENT_TOMBSTONE) +
                  stele_native__number_size(12, ordinal_plus_1);
    size += is_json(event) ? 0 : stele_native__bytes_size(8, event->content_type.size);
    const uint8_t *tag = event->tags;
    for (uint32_t i = 0; i < event->tags_count; i++) {
        size += stele_pb_size_bytes(9, tag[0]);
        tag += 1 + tag[0];
    }
    return size;
}

uint8_t *stele_native__put_event(uint8_t *to, const struct stele_event *event,
                                 uint64_t ordinal_plus_1)
{
    to = stele_native__put_number(to, 1, event->position);
    to = stele_native__put_number(to, 2, event->revision);
    to = stele_pb_put_bytes(to, 3, event->id, sizeof event->id);
    to = stele_native__put_bytes(to, 4, event->stream.data, event->stream.size);
    to = stele_native__put_bytes(to, 5, event->type.data, event->type.size);
    to = stele_native__put_bytes(to, 6, event->data, event->data_size);
    to = stele_native__put_bytes(to, 7, event->metadata, event->metadata_size);
    if (!is_json(event)) {
        to = stele_native__put_bytes(to, 8, event->content_type.data, event->content_type.size);
    }
    const uint8_t *tag = event->tags;
    for (uint32_t i = 0; i < event->tags_count; i++) {
        to = stele_pb_put_bytes(to, 9, tag + 1, tag[0]);
        tag += 1 + tag[0];
    }
    to = stele_native__put_number(to, 10, (uint64_t)event->created_us);
    to = stele_native__put_number(to, 11, event->flags & STELE_EVENT_TOMBSTONE);
    return stele_native__put_number(to, 12, ordinal_plus_1);
}

bool stele_native__add_event(struct stele_buf *buf, struct stele_alloc *alloc, uint32_t number,
                             const struct stele_event *event, uint64_t ordinal_plus_1)
{
    const size_t size = stele_native__event_size(event, ordinal_plus_1);
    if (stele_buf_reserve(buf, alloc, stele_pb_size_bytes(number, size)) != STELE_OK) {
        return false;
    }
    uint8_t *const begin = buf->data + buf->size;
    uint8_t *end = stele_pb_put_message(begin, number, size);
    end = stele_native__put_event(end, event, ordinal_plus_1);
    buf->size += (size_t)(end - begin);
    return true;
}

bool stele_native__add_append_response(struct stele_buf *buf, struct stele_alloc *alloc,
                                       uint64_t correlation, int outcome,
                                       const struct stele_append_result *result,
                                       const uint64_t *revisions, size_t revisions_count,
                                       const char *message)
{
    const bool stored = outcome == STELE_OK;
    const size_t message_size = stored ? 0 : strlen(message);
    size_t room = 12 * 12 + STELE_TOKEN_SIZE + message_size;
    size_t revisions_size = 0;
    for (size_t i = 0; stored && i < revisions_count; i++) {
        revisions_size += stele_pb_varint_size(revisions[i]);
    }
    room += revisions_size + 16;
    if (stele_buf_reserve(buf, alloc, room) != STELE_OK) {
        return false;
    }
    uint8_t *const begin = buf->data + buf->size;
    uint8_t *to = stele_native__put_number(begin, 1, correlation);
    to = stele_native__put_number(to, 2, stele_native__outcome(outcome));
    if (stored) {
        to = stele_native__put_number(to, 3, result->position_first);
        to = stele_native__put_number(to, 4, result->position_last);
        to = stele_native__put_number(to, 5, result->revision_first);
        to = stele_native__put_number(to, 6, result->revision_last);
        to = stele_native__put_number(to, 7, result->idempotent != 0);
        to =
            stele_native__put_bytes(to, 8, result->token, strnlen(result->token, STELE_TOKEN_SIZE));
    }
    if (revisions_size > 0) {
        to = stele_pb_put_message(to, 9, revisions_size);
        for (size_t i = 0; i < revisions_count; i++) {
            to = stele_pb_put_varint(to, revisions[i]);
        }
    }
    if (outcome == STELE_WRONG_REVISION) {
        to = stele_native__put_number(to, 6, result->revision_last);
    }
    if (outcome == STELE_WRONG_REVISION || outcome == STELE_STREAM_DELETED ||
        outcome == STELE_CONDITION_FAILED) {
        to = stele_native__put_number(to, 10, result->failed);
    }
    if (outcome == STELE_CONDITION_FAILED) {
        to = stele_native__put_number(to, 11, result->conflict_position);
    }
    to = stele_native__put_bytes(to, 12, message, message_size);
    buf->size += (size_t)(to - begin);
    return true;
}
