/* JSON that is written piece by piece, and events in it (the form of docs/json-lines.md). */
#include "api/http/web_internal.h"
#include "base/text.h"
#include "cloud/cloud.h"

#include <stdarg.h>
#include <stdio.h>

bool stele_web__put(struct stele_buf *buf, struct stele_alloc *alloc, const char *text)
{
    return stele_buf_append(buf, alloc, stele_bytes_of_text(text)) == STELE_OK;
}

bool stele_web__putf(struct stele_buf *buf, struct stele_alloc *alloc, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    const int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    STELE_ASSERT(size >= 0);
    STELE_ASSERT((size_t)size < sizeof text);
    return stele_web__put(buf, alloc, text);
}

bool stele_web__put_string(struct stele_buf *buf, struct stele_alloc *alloc, struct stele_text text)
{
    static const char digits[] = "0123456789abcdef";
    if (stele_buf_reserve(buf, alloc, text.size * 6 + 2) != STELE_OK) {
        return false;
    }
    uint8_t *to = buf->data + buf->size;
    *to++ = '"';
    for (size_t i = 0; i < text.size; i++) {
        const uint8_t c = (uint8_t)text.data[i];
        if (c == '"' || c == '\\') {
            *to++ = '\\';
            *to++ = c;
        } else if (c < 0x20 || c == 0x7f) {
            memcpy(to, "\\u00", 4);
            to[4] = (uint8_t)digits[c >> 4];
            to[5] = (uint8_t)digits[c & 15];
            to += 6;
        } else {
            *to++ = c;
        }
    }
    *to++ = '"';
    buf->size = (size_t)(to - buf->data);
    return true;
}

bool stele_web__put_base64(struct stele_buf *buf, struct stele_alloc *alloc, const void *data,
                           size_t size)
{
    if (stele_buf_reserve(buf, alloc, stele_base64_size(size) + 2) != STELE_OK) {
        return false;
    }
    buf->data[buf->size++] = '"';
    stele_base64_encode((struct stele_bytes){.data = data, .size = size},
                        (char *)buf->data + buf->size);
    buf->size += stele_base64_size(size);
    buf->data[buf->size++] = '"';
    return true;
}

/* "2026-11-20T15:00:00.250000Z" */
static bool put_time(struct stele_buf *buf, struct stele_alloc *alloc, int64_t time_us)
{
    char text[STELE_TIME_SIZE];
    return stele_time_format(time_us, 6, text)
               ? stele_web__putf(buf, alloc, "\"%s\"", text)
               : stele_web__putf(buf, alloc, "%lld", (long long)time_us);
}

static bool put_value(struct stele_buf *buf, struct stele_alloc *alloc, const char *name,
                      const void *data, size_t size, bool json, bool text)
{
    const struct stele_bytes bytes = {.data = data, .size = size};
    if (size == 0) {
        return true;
    }
    if (json && stele_web__is_json(data, size)) {
        return stele_web__putf(buf, alloc, ",\"%s\":", name) &&
               stele_buf_append(buf, alloc, bytes) == STELE_OK;
    }
    if (text && stele_utf8_is_valid(bytes)) {
        return stele_web__putf(buf, alloc, ",\"%s\":", name) &&
               stele_web__put_string(buf, alloc, (struct stele_text){.data = data, .size = size});
    }
    return stele_web__putf(buf, alloc, ",\"%s_base64\":", name) &&
           stele_web__put_base64(buf, alloc, data, size);
}

static bool has_prefix(struct stele_text text, const char *prefix)
{
    const size_t size = strlen(prefix);
    return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

static bool put_tags(struct stele_buf *buf, struct stele_alloc *alloc,
                     const struct stele_event *event)
{
    bool fits = stele_web__put(buf, alloc, "[");
    for (uint32_t i = 0; fits && i < event->tags_count; i++) {
        fits = (i == 0 || stele_web__put(buf, alloc, ",")) &&
               stele_web__put_string(buf, alloc, stele_event_tag(event, i));
    }
    return fits && stele_web__put(buf, alloc, "]");
}

struct output {
    struct stele_buf *buf;
    struct stele_alloc *alloc;
    bool fits;
};

static void put_piece(void *context, const char *text, size_t size)
{
    struct output *const output = context;
    const struct stele_bytes bytes = {.data = (const uint8_t *)text, .size = size};
    output->fits = output->fits && stele_buf_append(output->buf, output->alloc, bytes) == STELE_OK;
}

static bool put_member(struct stele_buf *buf, struct stele_alloc *alloc, const char *name,
                       struct stele_text value)
{
    return stele_web__putf(buf, alloc, ",\"%s\":", name) &&
           stele_web__put_string(buf, alloc, value);
}

static bool put_source(struct stele_buf *buf, struct stele_alloc *alloc,
                       const struct stele_event *event, const json_t *kept)
{
    const json_t *const source = json_object_get(kept, "source");
    if (json_is_string(source)) {
        return put_member(
                   buf, alloc, "source",
                   (struct stele_text){json_string_value(source), json_string_length(source)}) &&
               put_member(buf, alloc, "stream", event->stream);
    }
    struct output output = {.buf = buf, .alloc = alloc, .fits = true};
    put_piece(&output, ",\"source\":\"", 11);
    stele_cloud_source(event->stream, put_piece, &output);
    put_piece(&output, "\"", 1);
    return output.fits;
}

static bool put_kept(struct stele_buf *buf, struct stele_alloc *alloc, json_t *kept)
{
    const char *name = NULL;
    json_t *value = NULL;
    bool fits = true;
    json_object_foreach(kept, name, value)
    {
        if (!stele_cloud_is_mapped(name) && fits) {
            char *const text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
            fits = text != NULL && stele_web__put(buf, alloc, ",") &&
                   stele_web__put_string(buf, alloc, (struct stele_text){name, strlen(name)}) &&
                   stele_web__put(buf, alloc, ":") && stele_web__put(buf, alloc, text);
            free(text);
        }
    }
    return fits;
}

/* Extensions: attributes are no lists and no objects, so both are text. */
static bool put_extensions(struct stele_buf *buf, struct stele_alloc *alloc,
                           const struct stele_event *event, bool metadata)
{
    bool fits = true;
    if (event->tags_count > 0) {
        struct stele_buf tags = {.data = NULL};
        fits =
            put_tags(&tags, alloc, event) &&
            put_member(buf, alloc, "tags", (struct stele_text){(const char *)tags.data, tags.size});
        stele_buf_deinit(&tags, alloc);
    }
    const struct stele_bytes bytes = {.data = event->metadata, .size = event->metadata_size};
    if (fits && metadata && bytes.size > 0) {
        fits = stele_utf8_is_valid(bytes)
                   ? put_member(buf, alloc, "metadata",
                                (struct stele_text){event->metadata, bytes.size})
                   : stele_web__put(buf, alloc, ",\"metadatabase64\":") &&
                         stele_web__put_base64(buf, alloc, bytes.data, bytes.size);
    }
    if (fits && (event->flags & STELE_EVENT_TOMBSTONE) != 0) {
        fits = stele_web__put(buf, alloc, ",\"tombstone\":true");
    }
    return fits;
}

static bool put_cloudevent(struct stele_buf *buf, struct stele_alloc *alloc,
                           const struct stele_event *event, const char *id)
{
    const bool json = (event->flags & STELE_EVENT_JSON) != 0;
    bool only = false;
    json_t *const kept = stele_cloud_kept(event->metadata, event->metadata_size, &only);
    const json_t *const foreign = json_object_get(kept, "id");
    const struct stele_text shown =
        json_is_string(foreign)
            ? (struct stele_text){json_string_value(foreign), json_string_length(foreign)}
            : (struct stele_text){id, strlen(id)};
    bool fits =
        stele_web__put(buf, alloc, "{\"specversion\":\"1.0\"") &&
        put_member(buf, alloc, "id", shown) && put_source(buf, alloc, event, kept) &&
        put_member(buf, alloc, "type", event->type) && stele_web__put(buf, alloc, ",\"time\":") &&
        put_time(buf, alloc, event->created_us) && put_kept(buf, alloc, kept) &&
        put_extensions(buf, alloc, event, !only) &&
        stele_web__putf(buf, alloc, ",\"revision\":\"%llu\",\"position\":\"%llu\"",
                        (unsigned long long)event->revision, (unsigned long long)event->position) &&
        put_member(buf, alloc, "datacontenttype", event->content_type);
    if (fits && event->data_size > 0) {
        const bool text = has_prefix(event->content_type, "text/");
        fits = put_value(buf, alloc, "data", event->data, event->data_size, json, text);
    }
    json_decref(kept);
    return fits && stele_web__put(buf, alloc, "}");
}

bool stele_web__put_event(struct stele_buf *buf, struct stele_alloc *alloc,
                          const struct stele_event *event, bool cloudevents)
{
    char id[37];
    stele_id_to_text(event->id, id);
    if (cloudevents) {
        return put_cloudevent(buf, alloc, event, id);
    }
    const bool json = (event->flags & STELE_EVENT_JSON) != 0;
    bool fits = stele_web__put(buf, alloc, "{\"stream\":") &&
                stele_web__put_string(buf, alloc, event->stream) &&
                stele_web__putf(
                    buf, alloc, ",\"revision\":%llu,\"position\":\"%llu\",\"id\":\"%s\",\"type\":",
                    (unsigned long long)event->revision, (unsigned long long)event->position, id) &&
                stele_web__put_string(buf, alloc, event->type) &&
                stele_web__put(buf, alloc, ",\"created\":") &&
                put_time(buf, alloc, event->created_us);
    if (fits && !json) {
        fits = stele_web__put(buf, alloc, ",\"content_type\":") &&
               stele_web__put_string(buf, alloc, event->content_type);
    }
    fits = fits && put_value(buf, alloc, "data", event->data, event->data_size, json,
                             has_prefix(event->content_type, "text/"));
    fits = fits &&
           put_value(buf, alloc, "metadata", event->metadata, event->metadata_size, true, false);
    if (fits && event->tags_count > 0) {
        fits = stele_web__put(buf, alloc, ",\"tags\":") && put_tags(buf, alloc, event);
    }
    if (fits && (event->flags & STELE_EVENT_TOMBSTONE) != 0) {
        fits = stele_web__put(buf, alloc, ",\"tombstone\":true");
    }
    return fits && stele_web__put(buf, alloc, "}");
}
