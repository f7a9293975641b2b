/* Messages, made and read field by field. */
#include "server.h"

static uint8_t *room(struct srv_message *message, size_t size)
{
    STELE_ASSERT(message->size + size <= sizeof message->bytes);
    return message->bytes + message->size;
}

static void written(struct srv_message *message, const uint8_t *to)
{
    message->size = (size_t)(to - message->bytes);
}

void srv_put_u64(struct srv_message *message, uint32_t field, uint64_t value)
{
    written(message, stele_pb_put_u64(room(message, 16), field, value));
}

void srv_put_bytes(struct srv_message *message, uint32_t field, const void *data, size_t size)
{
    written(message, stele_pb_put_bytes(room(message, size + 16), field, data, size));
}

void srv_put_text(struct srv_message *message, uint32_t field, const char *text)
{
    srv_put_bytes(message, field, text, strlen(text));
}

/* With a length of four bytes, to be filled in. */
size_t srv_put_begin(struct srv_message *message, uint32_t field)
{
    uint8_t *to = stele_pb_put_tag(room(message, 16), field, STELE_PB_BYTES);
    written(message, to + 4);
    return message->size;
}

void srv_put_end(struct srv_message *message, size_t mark)
{
    const size_t size = message->size - mark;
    uint8_t *to = message->bytes + mark - 4;
    to[0] = (uint8_t)(size | 0x80);
    to[1] = (uint8_t)(size >> 7 | 0x80);
    to[2] = (uint8_t)(size >> 14 | 0x80);
    to[3] = (uint8_t)(size >> 21 & 0x7f);
}

void srv_put_stream(struct srv_message *message, uint32_t field, const char *name)
{
    const size_t mark = srv_put_begin(message, field);
    srv_put_text(message, 3, name);
    srv_put_end(message, mark);
}

static uint64_t load_be(const uint8_t *from)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | from[i];
    }
    return value;
}

void srv_put_uuid(struct srv_message *message, uint32_t field, const uint8_t id[16])
{
    const size_t mark = srv_put_begin(message, field);
    const size_t inner = srv_put_begin(message, 1);
    srv_put_u64(message, 1, load_be(id));
    srv_put_u64(message, 2, load_be(id + 8));
    srv_put_end(message, inner);
    srv_put_end(message, mark);
}

struct stele_bytes srv_message(const struct srv_message *message)
{
    return (struct stele_bytes){.data = message->bytes, .size = message->size};
}

/* ---- Reading ---- */

bool srv_get(struct stele_bytes message, uint32_t number, struct stele_pb_field *out_field)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == number) {
            *out_field = field;
            return true;
        }
    }
    return false;
}

uint64_t srv_get_u64(struct stele_bytes message, uint32_t number)
{
    struct stele_pb_field field;
    return srv_get(message, number, &field) ? field.value : 0;
}

bool srv_get_uuid(struct stele_bytes message, uint8_t id[16])
{
    struct stele_pb_field field;
    if (!srv_get(message, 1, &field)) {
        return false;
    }
    const uint64_t high = srv_get_u64(field.bytes, 1);
    const uint64_t low = srv_get_u64(field.bytes, 2);
    for (int i = 0; i < 8; i++) {
        id[i] = (uint8_t)(high >> (56 - 8 * i));
        id[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
    return true;
}

uint64_t srv_get_timestamp(struct stele_bytes message)
{
    return srv_get_u64(message, 1) * 1000000 + srv_get_u64(message, 2) / 1000;
}

static bool is_text(struct stele_bytes bytes, const char *text)
{
    return bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
}

bool srv_get_recorded(struct stele_bytes message, struct srv_event *out_event)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field, key, value;
    bool has_id = false;
    *out_event = (struct srv_event){.position = 0};
    while (stele_pb_next(&reader, &field)) {
        switch (field.number) {
        case 1:
            has_id = srv_get_uuid(field.bytes, out_event->id);
            break;
        case 2:
            out_event->stream =
                srv_get(field.bytes, 3, &value) ? value.bytes : (struct stele_bytes){.size = 0};
            break;
        case 3:
            out_event->revision = field.value;
            break;
        case 5:
            out_event->position = field.value;
            break;
        case 6:
            if (srv_get(field.bytes, 1, &key) && is_text(key.bytes, "type") &&
                srv_get(field.bytes, 2, &value)) {
                out_event->type = value.bytes;
            }
            break;
        case 8:
            out_event->data = field.bytes;
            break;
        default:
            break;
        }
    }
    out_event->tombstone = out_event->revision == (uint64_t)INT64_MAX;
    return has_id && !reader.bad && out_event->stream.size > 0;
}

bool srv_get_native(struct stele_bytes message, struct srv_event *out_event)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    *out_event = (struct srv_event){.position = 0};
    while (stele_pb_next(&reader, &field)) {
        switch (field.number) {
        case 1:
            out_event->position = field.value;
            break;
        case 2:
            out_event->revision = field.value;
            break;
        case 3:
            if (field.bytes.size != 16) {
                return false;
            }
            memcpy(out_event->id, field.bytes.data, 16);
            break;
        case 4:
            out_event->stream = field.bytes;
            break;
        case 5:
            out_event->type = field.bytes;
            break;
        case 6:
            out_event->data = field.bytes;
            break;
        default:
            break;
        }
    }
    return !reader.bad && out_event->stream.size > 0;
}
