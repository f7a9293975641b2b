/* Reads a CloudEvent (CloudEvents 1.0, JSON event format, structured mode) into an event.
 *
 *     CloudEvent             event
 *     source                 stream, %XX decoded
 *     id                     id; one that is no UUID is hashed together with the source, which
 *                            the specification calls unique, so that the same CloudEvent gets the
 *                            same id every time
 *     type, time             type, created
 *     datacontenttype        content type
 *     data, data_base64      data
 *     tags, metadata         tags (a JSON list in a string), metadata (its text)
 *     tombstone              1: closes the stream
 *     revision, position     not taken over: they belong to the store the event came from
 *     subject, dataschema,   members of "cloudevents" in the metadata, from where they return
 *     other attributes       when the event is written as a CloudEvent again */
#include "cli/cli.h"
#include "cli/event.h"
#include "cli/text.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define METADATA_MEMBER "cloudevents"

static bool decode_source(struct stele_cli_reader *reader, const char *source)
{
    const struct stele_bytes encoded = stele_bytes_of_text(source);
    char *const stream = stele_cli_arena_alloc(reader->arena, encoded.size + 1);
    size_t used = 0;
    const bool fits = stele_percent_decode(encoded, false, (uint8_t *)stream, encoded.size, &used);
    stream[used] = '\0';
    if (!fits || strlen(stream) != used || !stele_cli_is_utf8((struct stele_text){stream, used})) {
        return stele_cli_reader_fail(
            reader, "\"source\" is no UTF-8 once its %%XX are decoded; correct it");
    }
    reader->input->stream = stream;
    return true;
}

/* UUID version 5 (RFC 9562, section 5.5) of source and id. */
static bool hash_id(struct stele_cli_reader *reader, const char *source, const char *id)
{
    /* Version 5 of "cloudevents.io" in the DNS namespace. */
    static const uint8_t namespace_id[16] = {0x3b, 0x3b, 0xdb, 0x45, 0x2e, 0xdc, 0x5a, 0xa7,
                                             0x89, 0x3b, 0xb2, 0x60, 0x4f, 0x33, 0xab, 0x20};
    uint8_t digest[EVP_MAX_MD_SIZE];
    const size_t source_size = strlen(source) + 1; /* The zero keeps the two apart. */
    const size_t id_size = strlen(id);
    uint8_t *const text =
        stele_cli_arena_alloc(reader->arena, sizeof namespace_id + source_size + id_size);
    memcpy(text, namespace_id, sizeof namespace_id);
    memcpy(text + sizeof namespace_id, source, source_size);
    memcpy(text + sizeof namespace_id + source_size, id, id_size);
    if (EVP_Digest(text, sizeof namespace_id + source_size + id_size, digest, NULL, EVP_sha1(),
                   NULL) != 1) {
        return stele_cli_reader_fail(reader, "\"id\" is no UUID, and this system does not offer "
                                             "SHA-1 to make one of it; use UUIDs");
    }
    memcpy(reader->input->draft.id, digest, 16);
    reader->input->draft.id[6] = (uint8_t)((digest[6] & 0x0f) | 0x50);
    reader->input->draft.id[8] = (uint8_t)((digest[8] & 0x3f) | 0x80);
    return true;
}

static bool is_mapped(const char *name)
{
    static const char *const mapped[] = {
        "specversion",     "source",   "id",          "type",      "time",
        "datacontenttype", "data",     "tags",        "metadata",  "metadatabase64",
        "revision",        "position", "data_base64", "tombstone",
    };
    for (size_t i = 0; i < STELE_COUNT_OF(mapped); i++) {
        if (strcmp(name, mapped[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Names of attributes consist of lower-case letters and digits (CloudEvents 1.0, section 3.1);
 * values are strings, numbers or booleans. */
static bool check_attribute(struct stele_cli_reader *reader, const char *name, const json_t *value)
{
    if (*name == '\0' || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789") != strlen(name)) {
        return stele_cli_reader_fail(
            reader, "\"%.60s\" is no name of a CloudEvents attribute; use a-z and 0-9", name);
    }
    if (json_is_object(value) || json_is_array(value)) {
        return stele_cli_reader_fail(
            reader,
            "the attribute \"%.60s\" is an object or a list; CloudEvents allow strings, "
            "whole numbers and booleans",
            name);
    }
    return true;
}

static bool keep_attributes(struct stele_cli_reader *reader, json_t *kept)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(reader->object, name, value)
    {
        if (is_mapped(name) || json_is_null(value)) {
            continue;
        }
        if (!check_attribute(reader, name, value)) {
            return false;
        }
        json_t *const copy = json_is_real(value) ? json_integer((json_int_t)json_real_value(value))
                                                 : json_incref(value);
        (void)json_object_set_new(kept, name, copy);
    }
    return true;
}

static bool read_metadata(struct stele_cli_reader *reader, const char *foreign_id)
{
    struct stele_event_draft *const draft = &reader->input->draft;
    json_t *const kept = json_object();
    if (!keep_attributes(reader, kept)) {
        json_decref(kept);
        return false;
    }
    if (foreign_id != NULL) {
        (void)json_object_set_new(kept, "id", json_string(foreign_id));
    }
    const json_t *const text = json_object_get(reader->object, "metadata");
    bool good = true;
    if (json_is_string(text)) {
        /* It came from us, and has the kept attributes in it already. */
        draft->metadata =
            stele_cli_arena_copy(reader->arena, json_string_value(text), json_string_length(text));
        draft->metadata_size = json_string_length(text);
    } else if (json_object_get(reader->object, "metadatabase64") != NULL) {
        good = stele_cli_reader_data(reader, "", "metadatabase64", "", &draft->metadata,
                                     &draft->metadata_size);
    } else if (json_object_size(kept) > 0) {
        json_t *const metadata = json_object();
        (void)json_object_set(metadata, METADATA_MEMBER, kept);
        char *const dump = json_dumps(metadata, JSON_COMPACT);
        json_decref(metadata);
        if (dump != NULL) {
            draft->metadata_size = strlen(dump);
            draft->metadata = stele_cli_arena_copy(reader->arena, dump, draft->metadata_size);
        }
        free(dump);
    }
    json_decref(kept);
    return good;
}

static bool read_tags(struct stele_cli_reader *reader)
{
    const char *text = NULL;
    if (!stele_cli_reader_text(reader, "tags", &text)) {
        return false;
    }
    if (text == NULL) {
        return true;
    }
    json_t *const tags = json_loads(text, 0, NULL);
    if (tags == NULL) {
        return stele_cli_reader_fail(
            reader, "\"tags\" holds no JSON list; write \"[\\\"one\\\",\\\"two\\\"]\"");
    }
    const bool good = stele_cli_reader_tags(reader, tags);
    json_decref(tags);
    return good;
}

static bool is_missing(const char *text)
{
    return text == NULL || *text == '\0';
}

bool stele_cli_event_read_cloudevent(struct stele_cli_reader *reader)
{
    struct stele_cli_input *const input = reader->input;
    const char *version = NULL;
    const char *source = NULL;
    const char *id = NULL;
    const char *content_type = NULL;
    if (!stele_cli_reader_text(reader, "specversion", &version) ||
        !stele_cli_reader_text(reader, "source", &source) ||
        !stele_cli_reader_text(reader, "id", &id) ||
        !stele_cli_reader_text(reader, "type", &input->draft.type) ||
        !stele_cli_reader_text(reader, "datacontenttype", &content_type)) {
        return false;
    }
    if (version == NULL || strcmp(version, "1.0") != 0) {
        return stele_cli_reader_fail(reader, "\"specversion\" is not \"1.0\"; no other version of "
                                             "CloudEvents is understood");
    }
    if (is_missing(source) || is_missing(id)) {
        return stele_cli_reader_fail(reader, "\"%s\" is missing; every CloudEvent has one",
                                     is_missing(source) ? "source" : "id");
    }
    const bool is_uuid = stele_cli_id_parse(id, input->draft.id);
    input->has_id = true;
    /* Without a content type it is JSON (JSON event format, section 3.1), as in the store. */
    input->draft.content_type = content_type;
    input->tombstone = json_is_true(json_object_get(reader->object, "tombstone"));
    return decode_source(reader, source) && (is_uuid || hash_id(reader, source, id)) &&
           stele_cli_reader_time(reader, "time") && read_tags(reader) &&
           read_metadata(reader, is_uuid ? NULL : id) &&
           stele_cli_reader_data(reader, "data", "data_base64",
                                 content_type != NULL ? content_type : "application/json",
                                 &input->draft.data, &input->draft.data_size);
}
