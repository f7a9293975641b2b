/* Requests of the newer StreamsService taken apart, into the streams and records of one append. */
#include "api/kurrent/v2_internal.h"

#include <stdio.h>
#include <strings.h>

static int keep(struct v2_session *session, struct stele_bytes bytes, size_t *out_at)
{
    *out_at = session->texts.size;
    if (stele_buf_reserve(&session->texts, v2_alloc_of(session), bytes.size + 1) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    uint8_t *to = session->texts.data + session->texts.size;
    if (bytes.size > 0) {
        memcpy(to, bytes.data, bytes.size);
    }
    to[bytes.size] = 0;
    session->texts.size += bytes.size + 1;
    return STELE_OK;
}

size_t stele_kurrent__v2_find_target(const struct v2_session *session, const char *name)
{
    const struct v2_target *targets = v2_targets_of(session);
    size_t i = 0;
    while (i < v2_targets_count(session) &&
           strcasecmp(v2_name_of(session, &targets[i]), name) != 0) {
        i++;
    }
    return i;
}

/* false: the call was failed. */
bool stele_kurrent__v2_add_target(struct v2_session *session, const char *name, int64_t expected,
                                  size_t check_index)
{
    struct v2_target target = {.expected = expected, .check_index = check_index};
    if (v2_targets_count(session) == STELE_APPEND_STREAMS_MAX) {
        stele_kurrent__v2_fail_request(session, "stream", "too many streams in one append");
        return false;
    }
    if (keep(session, stele_bytes_of_text(name), &target.name_at) != STELE_OK ||
        stele_buf_append(&session->targets, v2_alloc_of(session),
                         (struct stele_bytes){.data = (const uint8_t *)&target,
                                              .size = sizeof target}) != STELE_OK) {
        stele_kurrent__v2_fail_memory(session);
        return false;
    }
    return true;
}

bool stele_kurrent__v2_check_rights(struct v2_session *session, const char *stream,
                                    enum stele_right right)
{
    if (stele_auth_may(stele_call_server(session->call)->auth, stele_call_principal(session->call),
                       stele_kurrent__text_of(stream), right)) {
        return true;
    }
    stele_kurrent__v2_fail_access(session);
    return false;
}

static bool get_schema(struct stele_bytes message, struct v2_draft *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_VARINT) {
            out->format = field.value;
        } else if (field.number == 2 && field.wire == STELE_PB_BYTES) {
            out->schema_name = field.bytes;
        } else if (field.number == 3 && field.wire == STELE_PB_BYTES) {
            out->schema_id = field.bytes;
        }
    }
    return !reader.bad;
}

bool stele_kurrent__v2_get_record(struct stele_bytes message, struct v2_draft *out)
{
    *out = (struct v2_draft){.whole = message};
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.wire != STELE_PB_BYTES) {
            continue;
        }
        switch (field.number) {
        case 1:
            out->id = field.bytes;
            break;
        case 2:
            out->has_properties = true;
            break;
        case 3:
            if (!get_schema(field.bytes, out)) {
                return false;
            }
            break;
        case 4:
            out->data = field.bytes;
            break;
        case 5:
            out->stream = field.bytes;
            break;
        default:
            break;
        }
    }
    return !reader.bad;
}

/* Properties and schema as one JSON object, without its braces and with a comma at the end: what a
 * client that reads the event by the older services gets for its metadata.
 * SPEC(kurrent/append-records/schema-in-metadata) */
static int put_properties(struct v2_session *session, const struct v2_draft *draft,
                          struct stele_buf *to)
{
    static const char *const formats[] = {"", "Json", "Protobuf", "Avro", "Bytes"};
    struct stele_alloc *alloc = v2_alloc_of(session);
    struct stele_pb_reader reader = stele_pb_reader(draft->whole);
    struct stele_pb_field field;
    int outcome = STELE_OK;
    const struct stele_bytes comma = stele_bytes_of_text(",");
    while (outcome == STELE_OK && stele_pb_next(&reader, &field)) {
        if (field.number == 2 && field.wire == STELE_PB_BYTES) {
            outcome = stele_kurrent__put_json_member(to, alloc, field.bytes, 0);
            outcome = outcome == STELE_OK ? stele_buf_append(to, alloc, comma) : outcome;
        }
    }
    if (outcome == STELE_OK) {
        outcome = stele_buf_append(to, alloc, stele_bytes_of_text("\"$schema.name\":"));
        outcome = outcome == STELE_OK
                      ? stele_kurrent__put_json_string(to, alloc, draft->schema_name)
                      : outcome;
    }
    if (outcome == STELE_OK) {
        char text[48];
        (void)snprintf(text, sizeof text, ",\"$schema.format\":\"%s\",", formats[draft->format]);
        outcome = stele_buf_append(to, alloc, stele_bytes_of_text(text));
    }
    if (outcome == STELE_OK && draft->schema_id.size > 0) {
        outcome = stele_buf_append(to, alloc, stele_bytes_of_text("\"$schema.id\":"));
        outcome = outcome == STELE_OK ? stele_kurrent__put_json_string(to, alloc, draft->schema_id)
                                      : outcome;
        outcome = outcome == STELE_OK ? stele_buf_append(to, alloc, comma) : outcome;
    }
    return outcome;
}

/* [\p{L}\p{N}_.$:-]+, with everything beyond ASCII taken for letters. */
static bool is_schema_name(struct stele_bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        const uint8_t byte = name.data[i];
        const bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                            (byte >= '0' && byte <= '9') || byte >= 0x80;
        if (!letter && (byte == 0 || strchr("_.$:-", byte) == NULL)) {
            return false;
        }
    }
    return name.size > 0;
}

static bool take_id(struct v2_session *session, const struct v2_draft *draft, uint8_t id[16])
{
    char text[37] = {0};
    if (draft->id.size == 0) {
        stele_new_id(id);
        return true;
    }
    if (draft->id.size == 36) {
        memcpy(text, draft->id.data, 36);
    }
    if (stele_id_from_text(text, id) != STELE_OK) {
        stele_kurrent__v2_fail_request(session, "record_id", "The record id is not a UUID.");
        return false;
    }
    return true;
}

static bool keep_record(struct v2_session *session, const struct v2_draft *draft,
                        struct v2_record *record, const char *stream)
{
    struct stele_alloc *alloc = v2_alloc_of(session);
    struct stele_buf json = {0};
    const struct stele_server *server = stele_call_server(session->call);
    int outcome = put_properties(session, draft, &json);
    if (outcome == STELE_OK && json.size > 0) {
        json.data[json.size - 1] = '}';
    }
    const struct stele_bytes open = stele_bytes_of_text("{");
    record->data_size = draft->data.size;
    record->metadata_size = json.size > 0 ? json.size + 1 : 0;
    const uint64_t size = draft->data.size + record->metadata_size + draft->schema_name.size;
    session->size += size;
    const bool fits = size <= server->event_size_max && session->size <= server->append_size_max;
    if (outcome == STELE_OK && fits) {
        outcome = keep(session, draft->schema_name, &record->type_at);
        outcome = outcome == STELE_OK ? keep(session, draft->data, &record->data_at) : outcome;
        record->metadata_at = session->texts.size;
        outcome = outcome == STELE_OK && json.size > 0
                      ? stele_buf_append(&session->texts, alloc, open)
                      : outcome;
        outcome = outcome == STELE_OK
                      ? stele_buf_append(&session->texts, alloc,
                                         (struct stele_bytes){.data = json.data, .size = json.size})
                      : outcome;
    }
    stele_buf_deinit(&json, alloc);
    if (outcome == STELE_E_INVALID) {
        stele_kurrent__v2_fail_request(session, "properties",
                                       "A property has no key, or no value.");
    } else if (outcome != STELE_OK) {
        stele_kurrent__v2_fail_memory(session);
    } else if (size > server->event_size_max) {
        stele_kurrent__v2_fail_record_size(session, stream, record->id, size);
    } else if (!fits) {
        stele_kurrent__v2_fail_transaction_size(session);
    } else {
        return true;
    }
    return false;
}

bool stele_kurrent__v2_add_record(struct v2_session *session, const struct v2_draft *draft,
                                  size_t target)
{
    struct v2_record record = {.target = (uint32_t)target};
    char stream[STELE_KURRENT__NAME_SIZE];
    (void)snprintf(stream, sizeof stream, "%s",
                   v2_name_of(session, &v2_targets_of(session)[target]));
    if (draft->format < 1 || draft->format > 4) {
        stele_kurrent__v2_fail_request(session, "schema.format",
                                       "The schema's format is not specified.");
        return false;
    }
    if (!is_schema_name(draft->schema_name)) {
        stele_kurrent__v2_fail_request(session, "schema.name",
                                       "The schema's name is empty or not allowed.");
        return false;
    }
    record.format = (uint32_t)draft->format;
    if (!take_id(session, draft, record.id) || !keep_record(session, draft, &record, stream)) {
        return false;
    }
    if (stele_buf_append(&session->records, v2_alloc_of(session),
                         (struct stele_bytes){.data = (const uint8_t *)&record,
                                              .size = sizeof record}) != STELE_OK) {
        stele_kurrent__v2_fail_memory(session);
        return false;
    }
    v2_targets_of(session)[target].records_count++;
    return true;
}
