/* Reads a CloudEvent (CloudEvents 1.0, JSON event format, structured mode) into an event; cloud/cloud.h
 * says what becomes of what. */
#include "cli/cli.h"
#include "cli/event.h"
#include "cli/text.h"
#include "cloud/cloud.h"

#include <stdlib.h>
#include <string.h>

/* The attribute "stream", or what the source names. */
static bool read_stream(struct stele_cli_reader *reader, const char *source)
{
    const char *stream = NULL;
    if (!stele_cli_reader_text(reader, "stream", &stream)) {
        return false;
    }
    if (stream == NULL) {
        char *const decoded = stele_cli_arena_alloc(reader->arena, strlen(source) + 1);
        if (!stele_cloud_stream(source, decoded)) {
            return stele_cli_reader_fail(
                reader, "\"source\" is no UTF-8 once its %%XX are decoded; correct it");
        }
        stream = decoded;
    }
    reader->input->stream = stream;
    return true;
}

static bool read_cloud_id(struct stele_cli_reader *reader, const char *source, const char *id)
{
    if (stele_cloud_id(source, id, reader->input->draft.id) != STELE_OK) {
        return stele_cli_reader_fail(reader, "\"id\" is no UUID, and this system does not offer "
                                             "SHA-1 to make one of it; use UUIDs");
    }
    return true;
}

/* Attributes that have no place in an event. */
static bool keep_attributes(struct stele_cli_reader *reader)
{
    struct stele_event_draft *const draft = &reader->input->draft;
    const char *name = NULL;
    const char *why = NULL;
    char *kept = NULL;
    const int outcome = stele_cloud_keep(reader->object, reader->input->stream, &kept, &name, &why);
    if (outcome == STELE_E_INVALID) {
        return stele_cli_reader_fail(reader, "\"%.60s\" %s", name, why);
    }
    if (outcome != STELE_OK) {
        return stele_cli_reader_fail(reader, "there is no memory for its attributes");
    }
    if (kept != NULL) {
        draft->metadata_size = strlen(kept);
        draft->metadata = stele_cli_arena_copy(reader->arena, kept, draft->metadata_size);
    }
    free(kept);
    return true;
}

static bool read_metadata(struct stele_cli_reader *reader)
{
    struct stele_event_draft *const draft = &reader->input->draft;
    if (!keep_attributes(reader)) {
        return false;
    }
    const json_t *const text = json_object_get(reader->object, "metadata");
    if (json_is_string(text)) {
        /* It came from us, and has the kept attributes in it already. */
        draft->metadata =
            stele_cli_arena_copy(reader->arena, json_string_value(text), json_string_length(text));
        draft->metadata_size = json_string_length(text);
        return true;
    }
    if (json_object_get(reader->object, "metadatabase64") != NULL) {
        return stele_cli_reader_data(reader, "", "metadatabase64", "", &draft->metadata,
                                     &draft->metadata_size);
    }
    return true;
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
    input->has_id = true;
    /* Without a content type it is JSON (JSON event format, section 3.1), as in the store. */
    input->draft.content_type = content_type;
    input->tombstone = json_is_true(json_object_get(reader->object, "tombstone"));
    return read_stream(reader, source) && read_cloud_id(reader, source, id) &&
           stele_cli_reader_time(reader, "time") && read_tags(reader) && read_metadata(reader) &&
           stele_cli_reader_data(reader, "data", "data_base64",
                                 content_type != NULL ? content_type : "application/json",
                                 &input->draft.data, &input->draft.data_size);
}
