#include "api/http/drafts.h"

#include "base/text.h"
#include "cloud/cloud.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static struct stele_text header(const struct stele_web__request *request, const char *name)
{
    return stele_exchange_header(request->exchange, name);
}

static bool starts_with(struct stele_text text, const char *prefix)
{
    const size_t size = strlen(prefix);
    return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

static char *copy(struct stele_web__drafts *drafts, const void *data, size_t size)
{
    char *to = stele_arena_allocate(&drafts->arena, drafts->alloc, size + 1);
    if (to == NULL) {
        drafts->mistake = "no memory";
        return NULL;
    }
    if (size > 0) {
        memcpy(to, data, size);
    }
    to[size] = '\0';
    return to;
}

static bool fail(struct stele_web__drafts *drafts, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool fail(struct stele_web__drafts *drafts, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *const kept = copy(drafts, text, strlen(text));
    drafts->mistake = kept != NULL ? kept : drafts->mistake;
    return false;
}

static bool take_base64(struct stele_web__drafts *drafts, const char *name, const char *text,
                        const void **out, size_t *out_size)
{
    const size_t size = strlen(text);
    uint8_t *to = (uint8_t *)copy(drafts, text, size);
    if (to == NULL) {
        return false;
    }
    if (!stele_base64_decode((struct stele_bytes){.data = to, .size = size}, 0, to, out_size)) {
        return fail(drafts, "%s is no base64", name);
    }
    *out = to;
    return true;
}

/* The value of a member as it was sent: its numbers keep their digits. */
static bool take_json(struct stele_web__drafts *drafts, struct stele_bytes raw, const char *name,
                      const void **out, size_t *out_size)
{
    const struct stele_bytes sent = stele_web__json_member(raw, name);
    *out = sent.data;
    *out_size = sent.size;
    drafts->mistake = sent.data == NULL ? "it is malformed" : drafts->mistake;
    return sent.data != NULL;
}

static bool take_tags(struct stele_web__drafts *drafts, const json_t *tags,
                      struct stele_event_draft *draft)
{
    const size_t count = json_array_size(tags);
    if (!json_is_array(tags) || count > STELE_TAGS_MAX) {
        drafts->mistake = "tags is a list of at most 32 names";
        return false;
    }
    const char **names =
        stele_arena_allocate(&drafts->arena, drafts->alloc, (count + 1) * sizeof *names);
    for (size_t i = 0; names != NULL && i < count; i++) {
        names[i] = json_string_value(json_array_get(tags, i));
        if (names[i] == NULL) {
            drafts->mistake = "a tag is a string";
            return false;
        }
    }
    draft->tags = names;
    draft->tags_count = names == NULL ? 0 : count;
    return names != NULL;
}

static bool is_json_type(const char *type)
{
    return type == NULL || strncmp(type, "application/json", 16) == 0 ||
           strstr(type, "+json") != NULL;
}

static const char *string_of(const json_t *object, const char *member)
{
    const json_t *text = json_object_get(object, member);
    const char *value = json_string_value(text);
    return value != NULL && strlen(value) == json_string_length(text) ? value : NULL;
}

static bool take_data(struct stele_web__drafts *drafts, struct stele_bytes raw,
                      const json_t *object, struct stele_event_draft *draft)
{
    const json_t *data = json_object_get(object, "data");
    const char *base64 = string_of(object, "data_base64");
    if (base64 != NULL) {
        return take_base64(drafts, "data_base64", base64, &draft->data, &draft->data_size);
    }
    if (data == NULL) {
        return true;
    }
    if (!is_json_type(draft->content_type) && json_is_string(data)) {
        draft->data = json_string_value(data);
        draft->data_size = json_string_length(data);
        return true;
    }
    return take_json(drafts, raw, "data", &draft->data, &draft->data_size);
}

/* ---- CloudEvents ---- */

static bool check_cloudevent(struct stele_web__drafts *drafts, const json_t *object)
{
    static const char *const required[] = {"specversion", "id", "source", "type"};
    for (size_t i = 0; i < STELE_COUNT_OF(required); i++) {
        const char *const text = string_of(object, required[i]);
        if (text == NULL || *text == '\0') {
            return fail(drafts, "\"%s\" is missing: every CloudEvent has one", required[i]);
        }
    }
    if (strcmp(string_of(object, "specversion"), "1.0") != 0) {
        return fail(drafts, "the specversion of a CloudEvent has to be 1.0");
    }
    return true;
}

static bool take_time(struct stele_web__drafts *drafts, const json_t *object, const char *name,
                      struct stele_event_draft *draft)
{
    const json_t *const time = json_object_get(object, name);
    if (time == NULL || json_is_null(time)) {
        return true;
    }
    const char *const text = string_of(object, name);
    if (text == NULL || !stele_time_parse(text, &draft->created_us)) {
        return fail(drafts, "\"%s\" is no time as 2026-11-20T15:00:00Z", name);
    }
    draft->created_us = draft->created_us == 0 ? 1 : draft->created_us; /* 0 would be now. */
    return true;
}

static bool take_tags_attribute(struct stele_web__drafts *drafts, const json_t *object,
                                struct stele_event_draft *draft)
{
    const char *const text = string_of(object, "tags");
    if (text == NULL) {
        return true;
    }
    json_t *const tags = json_loads(text, 0, NULL);
    /* Its strings have to live as long as the drafts do. */
    const bool kept = tags != NULL && json_array_append_new(drafts->kept, tags) == 0;
    return kept ? take_tags(drafts, tags, draft)
                : fail(drafts, "\"tags\" of a CloudEvent is a string that holds a JSON list");
}

/* Ours has everything in it already; other attributes that have no place become metadata. */
static bool take_attributes(struct stele_web__drafts *drafts, const json_t *object,
                            const char *stream, struct stele_event_draft *draft)
{
    const char *name = NULL;
    const char *why = NULL;
    char *kept = NULL;
    const int outcome = stele_cloud_keep(object, stream, &kept, &name, &why);
    if (outcome == STELE_E_INVALID) {
        return fail(drafts, "\"%.60s\" %s", name, why);
    }
    const json_t *const metadata = json_object_get(object, "metadata");
    const char *const base64 = string_of(object, "metadatabase64");
    bool done = outcome == STELE_OK;
    if (json_is_string(metadata)) {
        draft->metadata = json_string_value(metadata);
        draft->metadata_size = json_string_length(metadata);
    } else if (base64 != NULL) {
        done =
            take_base64(drafts, "metadatabase64", base64, &draft->metadata, &draft->metadata_size);
    } else if (done && kept != NULL) {
        draft->metadata_size = strlen(kept);
        draft->metadata = copy(drafts, kept, draft->metadata_size);
        done = draft->metadata != NULL;
    }
    free(kept);
    return done;
}

/* All but the data. */
static bool take_cloudevent(struct stele_web__drafts *drafts, const json_t *object,
                            const char *stream, struct stele_event_draft *draft)
{
    if (!check_cloudevent(drafts, object)) {
        return false;
    }
    draft->type = string_of(object, "type");
    const char *const source = string_of(object, "source");
    if (stele_cloud_id(source, string_of(object, "id"), draft->id) != STELE_OK) {
        return fail(drafts, "the id of a CloudEvent has to be a UUID on this system");
    }
    return take_time(drafts, object, "time", draft) && take_tags_attribute(drafts, object, draft) &&
           take_attributes(drafts, object, stream, draft);
}

/* ---- Events ---- */

/* What was misspelt would be left out, and what was meant for another stream be appended here. A page
 * that was read can be sent as it came: revision and position are made anew. */
static bool check_members(struct stele_web__drafts *drafts, json_t *object, const char *stream)
{
    static const char *const known[] = {
        "type", "id",     "data",    "data_base64", "content_type", "metadata", "metadata_base64",
        "tags", "stream", "created", "revision",    "position",     "tombstone"};
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(object, name, value)
    {
        size_t i = 0;
        while (i < STELE_COUNT_OF(known) && strcmp(name, known[i]) != 0) {
            i++;
        }
        if (i == STELE_COUNT_OF(known)) {
            return fail(drafts, "\"%.60s\" is no member of an event", name);
        }
    }
    const char *const other = string_of(object, "stream");
    if (json_object_get(object, "stream") != NULL &&
        (other == NULL || strcmp(other, stream) != 0)) {
        return fail(drafts, "\"stream\" is another one than that of the path");
    }
    if (json_is_true(json_object_get(object, "tombstone"))) {
        return fail(drafts,
                    "a tombstone is no event to append: DELETE the stream with tombstone=true");
    }
    if ((json_object_get(object, "data") != NULL &&
         json_object_get(object, "data_base64") != NULL) ||
        (json_object_get(object, "metadata") != NULL &&
         json_object_get(object, "metadata_base64") != NULL)) {
        return fail(drafts, "a member and the same in base64 exclude each other");
    }
    return true;
}

static bool take_metadata(struct stele_web__drafts *drafts, struct stele_bytes raw,
                          const json_t *object, struct stele_event_draft *draft)
{
    const char *const base64 = string_of(object, "metadata_base64");
    if (base64 != NULL) {
        return take_base64(drafts, "metadata_base64", base64, &draft->metadata,
                           &draft->metadata_size);
    }
    return json_object_get(object, "metadata") == NULL ||
           take_json(drafts, raw, "metadata", &draft->metadata, &draft->metadata_size);
}

static bool take_own_event(struct stele_web__drafts *drafts, struct stele_bytes raw, json_t *object,
                           const char *stream, struct stele_event_draft *draft)
{
    if (!check_members(drafts, object, stream)) {
        return false;
    }
    const char *const id = string_of(object, "id");
    draft->type = string_of(object, "type");
    if (draft->type == NULL || draft->type[0] == '\0') {
        return fail(drafts, "\"type\" is missing");
    }
    if (id != NULL && stele_id_from_text(id, draft->id) != STELE_OK) {
        return fail(drafts, "\"id\" is no UUID");
    }
    const json_t *tags = json_object_get(object, "tags");
    return take_metadata(drafts, raw, object, draft) &&
           take_time(drafts, object, "created", draft) &&
           (tags == NULL || take_tags(drafts, tags, draft));
}

static bool has_texts(struct stele_web__drafts *drafts, const json_t *object)
{
    static const char *const names[] = {
        "type", "id", "content_type", "datacontenttype", "data_base64", "metadata_base64"};
    for (size_t i = 0; i < STELE_COUNT_OF(names); i++) {
        if (json_object_get(object, names[i]) != NULL && string_of(object, names[i]) == NULL) {
            return fail(drafts, "\"%s\" is a string", names[i]);
        }
    }
    return true;
}

static bool take_event(struct stele_web__drafts *drafts, struct stele_bytes raw, json_t *object,
                       bool cloudevent, const char *stream, struct stele_event_draft *draft)
{
    if (!json_is_object(object)) {
        return fail(drafts, "an event is a JSON object");
    }
    if (!has_texts(drafts, object)) {
        return false;
    }
    draft->content_type = string_of(object, cloudevent ? "datacontenttype" : "content_type");
    return (cloudevent ? take_cloudevent(drafts, object, stream, draft)
                       : take_own_event(drafts, raw, object, stream, draft)) &&
           take_data(drafts, raw, object, draft);
}

static bool take_list(struct stele_web__drafts *drafts, const struct stele_buf *body,
                      bool cloudevents, const char *stream)
{
    json_error_t error;
    /* Integers may be larger than any type: they are not taken from here. */
    drafts->json =
        json_loadb((const char *)body->data, body->size,
                   JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
    if (drafts->json == NULL || !stele_web__is_json(body->data, body->size)) {
        drafts->index = SIZE_MAX;
        return body->size == 0 ? fail(drafts, "the body is empty")
               : drafts->json == NULL
                   ? fail(drafts, "the body is no JSON object or list: line %d, column %d: %s",
                          error.line, error.column, error.text)
                   : fail(drafts, "the body is no JSON");
    }
    const bool list = json_is_array(drafts->json);
    drafts->count = list ? json_array_size(drafts->json) : 1;
    if (drafts->count == 0 || drafts->count > STELE_APPEND_EVENTS_MAX) {
        drafts->index = SIZE_MAX;
        return drafts->count == 0
                   ? fail(drafts, "there is no event in the list")
                   : fail(drafts, "there are more than %u events", STELE_APPEND_EVENTS_MAX);
    }
    const size_t size = drafts->count * sizeof *drafts->drafts;
    drafts->drafts = stele_arena_allocate(&drafts->arena, drafts->alloc, size);
    if (drafts->drafts == NULL) {
        drafts->mistake = "no memory";
        return false;
    }
    memset(drafts->drafts, 0, size);
    struct stele_bytes rest = {.data = body->data, .size = body->size};
    for (size_t i = 0; i < drafts->count; i++) {
        drafts->index = i;
        const struct stele_bytes raw = stele_web__json_item(&rest);
        json_t *object = list ? json_array_get(drafts->json, i) : drafts->json;
        if (!take_event(drafts, raw, object, cloudevents, stream, &drafts->drafts[i])) {
            return false;
        }
    }
    return true;
}

/* ---- The body is the data ---- */

static bool start_body(struct stele_web__drafts *drafts, struct stele_web__request *request)
{
    const struct stele_text content_type = header(request, "content-type");
    drafts->drafts = stele_arena_allocate(&drafts->arena, drafts->alloc, sizeof *drafts->drafts);
    if (drafts->drafts == NULL) {
        drafts->mistake = "no memory";
        return false;
    }
    drafts->count = 1;
    drafts->drafts[0] = (struct stele_event_draft){
        .data = request->body.data,
        .data_size = request->body.size,
        .content_type =
            content_type.size == 0 ? NULL : copy(drafts, content_type.data, content_type.size),
    };
    return drafts->mistake == NULL;
}

bool stele_web__drafts_take_body(struct stele_web__drafts *drafts,
                                 struct stele_web__request *request, struct stele_text type,
                                 struct stele_text id)
{
    if (!start_body(drafts, request)) {
        return false;
    }
    struct stele_event_draft *const draft = &drafts->drafts[0];
    draft->type = copy(drafts, type.data, type.size);
    const char *const text = id.size == 0 ? NULL : copy(drafts, id.data, id.size);
    if (text != NULL && stele_id_from_text(text, draft->id) != STELE_OK) {
        return fail(drafts, "the id is no UUID");
    }
    return drafts->mistake == NULL;
}

/* Attributes in headers (HTTP Protocol Binding for CloudEvents 1.0, section 3.1.3): "ce-" and a name;
 * the value is UTF-8 with %XX. */
static bool take_header(struct stele_web__drafts *drafts, struct stele_text name,
                        struct stele_text value, json_t *attributes)
{
    char *const attribute = copy(drafts, name.data + 3, name.size - 3);
    char *const text = copy(drafts, value.data, value.size);
    size_t size = 0;
    if (attribute == NULL || text == NULL) {
        return false;
    }
    const struct stele_bytes encoded = {.data = (const uint8_t *)text, .size = value.size};
    if (!stele_percent_decode(encoded, false, (uint8_t *)text, value.size, &size)) {
        return fail(drafts, "the header ce-%.60s is too long", attribute);
    }
    json_t *const decoded = json_stringn(text, size);
    if (decoded == NULL) {
        return fail(drafts, "the header ce-%.60s is no UTF-8", attribute);
    }
    return json_object_set_new(attributes, attribute, decoded) == 0;
}

static bool take_binary_cloudevent(struct stele_web__drafts *drafts,
                                   struct stele_web__request *request)
{
    json_t *const attributes = json_object();
    drafts->json = attributes;
    if (attributes == NULL || !start_body(drafts, request)) {
        return false;
    }
    struct stele_text name;
    struct stele_text value;
    for (size_t i = 0; stele_exchange_header_at(request->exchange, i, &name, &value); i++) {
        if (starts_with(name, "ce-") && !take_header(drafts, name, value, attributes)) {
            return false;
        }
    }
    return take_cloudevent(drafts, attributes, request->name, &drafts->drafts[0]);
}

bool stele_web__drafts_take(struct stele_web__drafts *drafts, struct stele_web__request *request)
{
    const struct stele_text stele_type = header(request, "stele-type");
    if (header(request, "ce-specversion").size > 0 || header(request, "ce-type").size > 0) {
        return take_binary_cloudevent(drafts, request);
    }
    if (stele_type.size > 0) {
        return stele_web__drafts_take_body(drafts, request, stele_type,
                                           header(request, "stele-id"));
    }
    return take_list(drafts, &request->body,
                     starts_with(header(request, "content-type"), "application/cloudevents"),
                     request->name);
}

void stele_web__drafts_init(struct stele_web__drafts *drafts, struct stele_alloc *alloc)
{
    *drafts = (struct stele_web__drafts){
        .alloc = alloc, .arena = {.block_size = 4096}, .kept = json_array()};
}

void stele_web__drafts_deinit(struct stele_web__drafts *drafts)
{
    json_decref(drafts->json);
    json_decref(drafts->kept);
    stele_arena_deinit(&drafts->arena, drafts->alloc);
}
