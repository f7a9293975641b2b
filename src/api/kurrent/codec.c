#include "api/kurrent/kurrent_internal.h"

/* Field numbers stand where they are used; the messages are in proto/kurrent/. */

/* ---- Ids ------------------------------------------------------------------------------------ */

static uint64_t load_u64be(const uint8_t *from)
{
    return __builtin_bswap64(stele_load_u64le(from));
}

static void store_u64be(uint8_t *to, uint64_t value)
{
    stele_store_u64le(to, __builtin_bswap64(value));
}

static bool get_structured(struct stele_bytes message, uint8_t id[16])
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    uint64_t halves[2] = {0, 0};
    while (stele_pb_next(&reader, &field)) {
        if ((field.number == 1 || field.number == 2) && field.wire == STELE_PB_VARINT) {
            halves[field.number - 1] = field.value;
        }
    }
    store_u64be(id, halves[0]);
    store_u64be(id + 8, halves[1]);
    return !reader.bad;
}

static bool get_string(struct stele_bytes text, uint8_t id[16])
{
    char copy[37];
    if (text.size != 36) {
        return false;
    }
    memcpy(copy, text.data, 36);
    copy[36] = '\0';
    return stele_id_from_text(copy, id) == STELE_OK;
}

bool stele_kurrent__get_uuid(struct stele_bytes message, uint8_t id[16])
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    bool found = false;
    while (stele_pb_next(&reader, &field)) {
        if (field.wire == STELE_PB_BYTES && (field.number == 1 || field.number == 2)) {
            found =
                field.number == 1 ? get_structured(field.bytes, id) : get_string(field.bytes, id);
            if (!found) {
                return false;
            }
        }
    }
    return found && !reader.bad;
}

static size_t structured_size(const uint8_t id[16])
{
    const uint64_t high = load_u64be(id);
    const uint64_t low = load_u64be(id + 8);
    return (high != 0 ? stele_pb_size_varint(1, high) : 0) +
           (low != 0 ? stele_pb_size_varint(2, low) : 0);
}

size_t stele_kurrent__uuid_size(const uint8_t id[16], enum stele_kurrent__uuid form)
{
    return form == UUID_STRING ? 38 : 2 + structured_size(id);
}

uint8_t *stele_kurrent__put_uuid(uint8_t *to, const uint8_t id[16], enum stele_kurrent__uuid form)
{
    if (form == UUID_STRING) {
        char text[37];
        stele_id_to_text(id, text);
        return stele_pb_put_bytes(to, 2, text, 36);
    }
    const uint64_t high = load_u64be(id);
    const uint64_t low = load_u64be(id + 8);
    to = stele_pb_put_message(to, 1, structured_size(id));
    to = high != 0 ? stele_pb_put_u64(to, 1, high) : to;
    return low != 0 ? stele_pb_put_u64(to, 2, low) : to;
}

/* ---- Streams and positions ------------------------------------------------------------------ */

bool stele_kurrent__get_stream(struct stele_bytes message, struct stele_text *out_name)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    *out_name = (struct stele_text){.data = "", .size = 0};
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 3 && field.wire == STELE_PB_BYTES) {
            *out_name = stele_kurrent__text(field.bytes);
        }
    }
    return !reader.bad;
}

bool stele_kurrent__take_expected(const struct stele_pb_field *field, uint64_t *out_expected)
{
    switch (field->number) {
    case 2:
        *out_expected = field->value;
        return field->wire == STELE_PB_VARINT;
    case 3:
        *out_expected = STELE_EXPECT_NO_STREAM;
        return true;
    case 4:
        *out_expected = STELE_EXPECT_ANY;
        return true;
    default:
        STELE_ASSERT(field->number == 5);
        *out_expected = STELE_EXPECT_EXISTS;
        return true;
    }
}

bool stele_kurrent__copy_name(struct stele_text name, char to[STELE_KURRENT__NAME_SIZE])
{
    if (name.size == 0 || name.size >= STELE_KURRENT__NAME_SIZE ||
        memchr(name.data, '\0', name.size) != NULL) {
        return false;
    }
    memcpy(to, name.data, name.size);
    to[name.size] = '\0';
    return true;
}

uint8_t *stele_kurrent__put_position(uint8_t *to, uint32_t field, uint64_t position)
{
    to = stele_pb_put_message(to, field, stele_kurrent__position_size(position));
    if (position == 0) {
        return to;
    }
    to = stele_pb_put_u64(to, 1, position);
    return stele_pb_put_u64(to, 2, position);
}

uint8_t *stele_kurrent__put_stream(uint8_t *to, uint32_t field, struct stele_text name)
{
    to = stele_pb_put_message(to, field, stele_pb_size_bytes(3, name.size));
    return stele_pb_put_bytes(to, 3, name.data, name.size);
}

uint8_t *stele_kurrent__put_timestamp(uint8_t *to, uint32_t field, int64_t wall_us)
{
    const uint64_t seconds = (uint64_t)(wall_us / 1000000);
    const uint64_t nanos = (uint64_t)(wall_us % 1000000) * 1000;
    to = stele_pb_put_message(to, field,
                              (seconds != 0 ? stele_pb_size_varint(1, seconds) : 0) +
                                  (nanos != 0 ? stele_pb_size_varint(2, nanos) : 0));
    to = seconds != 0 ? stele_pb_put_u64(to, 1, seconds) : to;
    return nanos != 0 ? stele_pb_put_u64(to, 2, nanos) : to;
}

static void put_8_digits(char *to, uint32_t value)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313"
                                "23334353637383940414243444546474849505152535455565758596061626364"
                                "65666768697071727374757677787980818283848586878889909192939495969"
                                "79899";
    const uint32_t high = value / 10000;
    const uint32_t low = value % 10000;
    memcpy(to, pairs + high / 100 * 2, 2);
    memcpy(to + 2, pairs + high % 100 * 2, 2);
    memcpy(to + 4, pairs + low / 100 * 2, 2);
    memcpy(to + 6, pairs + low % 100 * 2, 2);
}

/* Eight digits at a time: one after the other, each division would wait for the one before it, and
 * every event that is read has such a number of 17 digits. */
uint32_t stele_kurrent__decimal(uint64_t value, char to[20])
{
    char digits[24];
    const uint64_t upper = value / 100000000;
    put_8_digits(digits, (uint32_t)(upper / 100000000));
    put_8_digits(digits + 8, (uint32_t)(upper % 100000000));
    put_8_digits(digits + 16, (uint32_t)(value % 100000000));
    uint32_t zeros = 0;
    while (zeros < sizeof digits - 1 && digits[zeros] == '0') {
        zeros++;
    }
    memcpy(to, digits + zeros, sizeof digits - zeros);
    return (uint32_t)sizeof digits - zeros;
}

/* ---- Recorded events ------------------------------------------------------------------------ */

/* Entries of map<string, string>, with the field's tag and length where all of it is constant. */
#define ENTRY_JSON                                                                                 \
    "\x32\x20\x0a\x0c"                                                                             \
    "content-type"                                                                                 \
    "\x12\x10"                                                                                     \
    "application/json"
#define ENTRY_BINARY                                                                               \
    "\x32\x28\x0a\x0c"                                                                             \
    "content-type"                                                                                 \
    "\x12\x18"                                                                                     \
    "application/octet-stream"
#define KEY_TYPE                                                                                   \
    "\x0a\x04"                                                                                     \
    "type"
#define KEY_CREATED                                                                                \
    "\x0a\x07"                                                                                     \
    "created"
_Static_assert(sizeof ENTRY_JSON - 1 == 2 + 0x20, "the length in front of the entry is right");
_Static_assert(sizeof ENTRY_BINARY - 1 == 2 + 0x28, "the length in front of the entry is right");

static size_t number_size(uint64_t value)
{
    return value == 0 ? 0 : 1 + stele_pb_varint_size(value);
}

static uint8_t *put_number(uint8_t *to, uint32_t field, uint64_t value)
{
    return value == 0 ? to : stele_pb_put_u64(to, field, value);
}

static size_t blob_size(size_t size)
{
    return size == 0 ? 0 : stele_pb_size_bytes(1, size);
}

void stele_kurrent__shape(struct stele_kurrent__shape *shape, const struct stele_event *event,
                          enum stele_kurrent__uuid form)
{
    shape->event = event;
    shape->form = form;
    shape->type = event->type;
    shape->revision = event->revision;
    if ((event->flags & STELE_EVENT_TOMBSTONE) != 0) {
        shape->type = (struct stele_text){.data = "$streamDeleted", .size = 14};
        shape->revision = STELE_KURRENT__REVISION_TOMBSTONE;
    }
    /* In units of 100 ns. */
    shape->created_size = stele_kurrent__decimal((uint64_t)event->created_us * 10, shape->created);
    shape->uuid = (uint32_t)stele_kurrent__uuid_size(event->id, form);
    shape->stream = (uint32_t)stele_pb_size_bytes(3, event->stream.size);
    shape->type_entry = (uint32_t)(sizeof KEY_TYPE - 1 + stele_pb_size_bytes(2, shape->type.size));
    shape->created_entry =
        (uint32_t)(sizeof KEY_CREATED - 1 + stele_pb_size_bytes(2, shape->created_size));
    shape->size =
        stele_pb_size_bytes(1, shape->uuid) + stele_pb_size_bytes(2, shape->stream) +
        number_size(shape->revision) + 2 * number_size(event->position) +
        stele_pb_size_bytes(6, shape->type_entry) + stele_pb_size_bytes(6, shape->created_entry) +
        ((event->flags & STELE_EVENT_JSON) != 0 ? sizeof ENTRY_JSON - 1 : sizeof ENTRY_BINARY - 1) +
        blob_size(event->metadata_size) + blob_size(event->data_size);
}

uint8_t *stele_kurrent__put_event(uint8_t *to, const struct stele_kurrent__shape *shape)
{
    const struct stele_event *event = shape->event;
    to = stele_pb_put_message(to, 1, shape->uuid);
    to = stele_kurrent__put_uuid(to, event->id, shape->form);
    to = stele_pb_put_message(to, 2, shape->stream);
    to = stele_pb_put_bytes(to, 3, event->stream.data, event->stream.size);
    to = put_number(to, 3, shape->revision);
    to = put_number(to, 4, event->position);
    to = put_number(to, 5, event->position);
    to = stele_pb_put_message(to, 6, shape->type_entry);
    memcpy(to, KEY_TYPE, sizeof KEY_TYPE - 1);
    to = stele_pb_put_bytes(to + sizeof KEY_TYPE - 1, 2, shape->type.data, shape->type.size);
    to = stele_pb_put_message(to, 6, shape->created_entry);
    memcpy(to, KEY_CREATED, sizeof KEY_CREATED - 1);
    to = stele_pb_put_bytes(to + sizeof KEY_CREATED - 1, 2, shape->created, shape->created_size);
    if ((event->flags & STELE_EVENT_JSON) != 0) {
        memcpy(to, ENTRY_JSON, sizeof ENTRY_JSON - 1);
        to += sizeof ENTRY_JSON - 1;
    } else {
        memcpy(to, ENTRY_BINARY, sizeof ENTRY_BINARY - 1);
        to += sizeof ENTRY_BINARY - 1;
    }
    if (event->metadata_size > 0) {
        to = stele_pb_put_bytes(to, 7, event->metadata, event->metadata_size);
    }
    if (event->data_size > 0) {
        to = stele_pb_put_bytes(to, 8, event->data, event->data_size);
    }
    return to;
}

/* Of the event or, if it is reached through one, of the link: one of them is always there. */
static uint64_t position_of(const struct stele_event *original)
{
    STELE_ASSERT(original != NULL);
    /* cppcheck-suppress nullPointerRedundantCheck ; asserted above, which it does not see */
    return original->position;
}

int stele_kurrent__put_read_event(struct stele_buf *buf, struct stele_alloc *alloc,
                                  const struct stele_event *event, const struct stele_event *link,
                                  enum stele_kurrent__uuid form)
{
    STELE_UNINITIALIZED struct stele_kurrent__shape event_shape;
    STELE_UNINITIALIZED struct stele_kurrent__shape link_shape;
    const uint64_t position = position_of(link != NULL ? link : event);
    size_t size = stele_pb_size_varint(3, position);
    if (event != NULL) {
        stele_kurrent__shape(&event_shape, event, form);
        size += stele_pb_size_bytes(1, event_shape.size);
    }
    if (link != NULL) {
        stele_kurrent__shape(&link_shape, link, form);
        size += stele_pb_size_bytes(2, link_shape.size);
    }
    const size_t whole = stele_pb_size_bytes(1, size);
    if (stele_buf_reserve(buf, alloc, whole) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    uint8_t *to = stele_pb_put_message(buf->data + buf->size, 1, size);
    if (event != NULL) {
        to = stele_pb_put_message(to, 1, event_shape.size);
        to = stele_kurrent__put_event(to, &event_shape);
    }
    if (link != NULL) {
        to = stele_pb_put_message(to, 2, link_shape.size);
        to = stele_kurrent__put_event(to, &link_shape);
    }
    to = stele_pb_put_u64(to, 3, position);
    STELE_ASSERT(to == buf->data + buf->size + whole);
    buf->size += whole;
    return STELE_OK;
}

/* ---- Requests ------------------------------------------------------------------------------- */

static bool get_place(struct stele_bytes message, uint64_t *out_commit, uint64_t *out_prepare)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    *out_commit = 0;
    *out_prepare = 0;
    while (stele_pb_next(&reader, &field)) {
        if (field.wire == STELE_PB_VARINT && field.number == 1) {
            *out_commit = field.value;
        } else if (field.wire == STELE_PB_VARINT && field.number == 2) {
            *out_prepare = field.value;
        }
    }
    return !reader.bad;
}

static bool get_stream_options(struct stele_bytes message, struct stele_kurrent__read_options *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            if (!stele_kurrent__get_stream(field.bytes, &out->stream)) {
                return false;
            }
        } else if (field.number == 2 && field.wire == STELE_PB_VARINT) {
            out->from = FROM_PLACE;
            out->revision = field.value;
        } else if (field.number == 3) {
            out->from = FROM_START;
        } else if (field.number == 4) {
            out->from = FROM_END;
        }
    }
    return !reader.bad;
}

static bool get_all_options(struct stele_bytes message, struct stele_kurrent__read_options *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            out->from = FROM_PLACE;
            if (!get_place(field.bytes, &out->commit, &out->prepare)) {
                return false;
            }
        } else if (field.number == 2) {
            out->from = FROM_START;
        } else if (field.number == 3) {
            out->from = FROM_END;
        }
    }
    return !reader.bad;
}

static bool get_uuid_option(struct stele_bytes message, struct stele_kurrent__read_options *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 || field.number == 2) {
            out->has_uuid = true;
            out->uuid = field.number == 1 ? UUID_STRUCTURED : UUID_STRING;
        }
    }
    return !reader.bad;
}

static bool get_control_option(struct stele_bytes message, struct stele_kurrent__read_options *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_VARINT) {
            out->compatibility = (uint32_t)field.value;
        }
    }
    return !reader.bad;
}

static bool get_read_option(const struct stele_pb_field *field,
                            struct stele_kurrent__read_options *out)
{
    if (field->wire == STELE_PB_VARINT) {
        if (field->number == 3) {
            out->backwards = field->value == 1;
            out->is_bad_direction = field->value > 1;
        } else if (field->number == 4) {
            out->resolve_links = field->value != 0;
        } else if (field->number == 5) {
            out->counting = COUNT_NUMBER;
            out->count = field->value;
        }
        return true;
    }
    if (field->wire != STELE_PB_BYTES) {
        return true;
    }
    switch (field->number) {
    case 1:
        out->has_stream = true;
        out->has_all = false;
        return get_stream_options(field->bytes, out);
    case 2:
        out->has_all = true;
        out->has_stream = false;
        return get_all_options(field->bytes, out);
    case 6:
        out->counting = COUNT_SUBSCRIPTION;
        return true;
    case 7:
        out->has_filter = true;
        out->has_no_filter = false;
        out->filter = field->bytes;
        return true;
    case 8:
        out->has_no_filter = true;
        out->has_filter = false;
        return true;
    case 9:
        return get_uuid_option(field->bytes, out);
    case 10:
        return get_control_option(field->bytes, out);
    default:
        return true;
    }
}

bool stele_kurrent__get_read(struct stele_bytes message, struct stele_kurrent__read_options *out)
{
    *out = (struct stele_kurrent__read_options){.from = FROM_UNSET};
    struct stele_pb_reader outer = stele_pb_reader(message);
    struct stele_pb_field options;
    while (stele_pb_next(&outer, &options)) {
        if (options.number != 1 || options.wire != STELE_PB_BYTES) {
            continue;
        }
        struct stele_pb_reader reader = stele_pb_reader(options.bytes);
        struct stele_pb_field field;
        while (stele_pb_next(&reader, &field)) {
            if (!get_read_option(&field, out)) {
                return false;
            }
        }
        if (reader.bad) {
            return false;
        }
    }
    return !outer.bad;
}

static bool get_expression(struct stele_bytes message, struct stele_kurrent__filter *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    out->expression = message;
    out->regex = (struct stele_text){0};
    out->prefixes = 0;
    while (stele_pb_next(&reader, &field)) {
        if (field.wire == STELE_PB_BYTES && field.number == 1) {
            out->regex = stele_kurrent__text(field.bytes);
        } else if (field.wire == STELE_PB_BYTES && field.number == 2) {
            out->prefixes++;
        }
    }
    return !reader.bad;
}

bool stele_kurrent__get_filter(struct stele_bytes message, struct stele_kurrent__filter *out)
{
    *out = (struct stele_kurrent__filter){.window = 32};
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        switch (field.number) {
        case 1:
        case 2:
            if (field.wire != STELE_PB_BYTES || !get_expression(field.bytes, out)) {
                return false;
            }
            out->is_stream = field.number == 1;
            out->is_type = field.number == 2;
            break;
        case 3:
            out->has_window = true;
            out->window = (uint32_t)field.value;
            break;
        case 4:
            out->has_window = true;
            out->window = 32;
            break;
        case 5:
            out->multiplier = (uint32_t)field.value;
            break;
        default:
            break;
        }
    }
    return !reader.bad;
}
