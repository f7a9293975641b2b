/* google.protobuf.Value, the properties of records, as JSON text. */
#include "api/kurrent/v2_internal.h"

#include <math.h>
#include <stdio.h>

#define DEPTH_MAX 32

static int put(struct stele_buf *to, struct stele_alloc *alloc, const char *text, size_t size)
{
    return stele_buf_append(to, alloc,
                            (struct stele_bytes){.data = (const uint8_t *)text, .size = size});
}

static int put_text(struct stele_buf *to, struct stele_alloc *alloc, const char *text)
{
    return put(to, alloc, text, strlen(text));
}

int stele_kurrent__put_json_string(struct stele_buf *to, struct stele_alloc *alloc,
                                   struct stele_bytes text)
{
    if (put(to, alloc, "\"", 1) != STELE_OK ||
        stele_buf_reserve(to, alloc, text.size * 6) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    for (size_t i = 0; i < text.size; i++) {
        const uint8_t byte = text.data[i];
        if (byte < 0x20) {
            char escape[8];
            (void)snprintf(escape, sizeof escape, "\\u%04x", byte);
            memcpy(to->data + to->size, escape, 6);
            to->size += 6;
            continue;
        }
        if (byte == '"' || byte == '\\') {
            to->data[to->size++] = '\\';
        }
        to->data[to->size++] = byte;
    }
    return put(to, alloc, "\"", 1);
}

static int put_number(struct stele_buf *to, struct stele_alloc *alloc, uint64_t bits)
{
    double number;
    char text[40];
    memcpy(&number, &bits, sizeof number);
    if (!isfinite(number)) {
        return put_text(
            to, alloc, isnan(number) ? "\"NaN\"" : (number > 0 ? "\"Infinity\"" : "\"-Infinity\""));
    }
    /* Whole numbers that a double holds exactly look like whole numbers. */
    if (fabs(number) < 9007199254740992.0 && trunc(number) == number) {
        (void)snprintf(text, sizeof text, "%.0f", number);
    } else {
        (void)snprintf(text, sizeof text, "%.17g", number);
    }
    return put_text(to, alloc, text);
}

static int put_value(struct stele_buf *to, struct stele_alloc *alloc, struct stele_bytes message,
                     int depth);

/* The values of a list, or the members of a struct. */
static int put_all(struct stele_buf *to, struct stele_alloc *alloc, struct stele_bytes message,
                   int depth, bool members)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    bool first = true;
    int outcome = put_text(to, alloc, members ? "{" : "[");
    while (outcome == STELE_OK && stele_pb_next(&reader, &field)) {
        if (field.number != 1 || field.wire != STELE_PB_BYTES) {
            continue;
        }
        outcome = first ? STELE_OK : put_text(to, alloc, ",");
        first = false;
        if (outcome == STELE_OK) {
            outcome = members ? stele_kurrent__put_json_member(to, alloc, field.bytes, depth + 1)
                              : put_value(to, alloc, field.bytes, depth + 1);
        }
    }
    if (outcome != STELE_OK || reader.bad) {
        return outcome != STELE_OK ? outcome : STELE_E_INVALID;
    }
    return put_text(to, alloc, members ? "}" : "]");
}

static int put_kind(struct stele_buf *to, struct stele_alloc *alloc,
                    const struct stele_pb_field *field, int depth)
{
    const bool bytes = field->wire == STELE_PB_BYTES;
    switch (field->number) {
    case 1:
        return put_text(to, alloc, "null");
    case 2:
        return field->wire == STELE_PB_FIXED64 ? put_number(to, alloc, field->value)
                                               : STELE_E_INVALID;
    case 3:
        return bytes ? stele_kurrent__put_json_string(to, alloc, field->bytes) : STELE_E_INVALID;
    case 4:
        return put_text(to, alloc, field->value != 0 ? "true" : "false");
    case 5:
        return bytes ? put_all(to, alloc, field->bytes, depth, true) : STELE_E_INVALID;
    case 6:
        return bytes ? put_all(to, alloc, field->bytes, depth, false) : STELE_E_INVALID;
    default:
        return STELE_E_INVALID;
    }
}

static int put_value(struct stele_buf *to, struct stele_alloc *alloc, struct stele_bytes message,
                     int depth)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_pb_field kind = {.number = 0};
    if (depth > DEPTH_MAX) {
        return STELE_E_INVALID;
    }
    while (stele_pb_next(&reader, &field)) {
        kind = field; /* The last one counts. */
    }
    return reader.bad ? STELE_E_INVALID : put_kind(to, alloc, &kind, depth);
}

int stele_kurrent__put_json_member(struct stele_buf *to, struct stele_alloc *alloc,
                                   struct stele_bytes entry, int depth)
{
    struct stele_pb_reader reader = stele_pb_reader(entry);
    struct stele_pb_field field;
    struct stele_bytes key = {0};
    struct stele_bytes value = {0};
    while (stele_pb_next(&reader, &field)) {
        if (field.wire == STELE_PB_BYTES && field.number == 1) {
            key = field.bytes;
        } else if (field.wire == STELE_PB_BYTES && field.number == 2) {
            value = field.bytes;
        }
    }
    if (reader.bad || key.size == 0) {
        return STELE_E_INVALID;
    }
    int outcome = stele_kurrent__put_json_string(to, alloc, key);
    if (outcome == STELE_OK) {
        outcome = put_text(to, alloc, ":");
    }
    return outcome == STELE_OK ? put_value(to, alloc, value, depth) : outcome;
}
