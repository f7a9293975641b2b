/* JSON that is written piece by piece, and events in it (the form of docs/json-lines.md). */
#include "api/http/web_internal.h"
#include "base/text.h"

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

static bool put_cloudevent(struct stele_buf *buf, struct stele_alloc *alloc,
                           const struct stele_event *event, const char *id)
{
    const bool json = (event->flags & STELE_EVENT_JSON) != 0;
    bool fits =
        stele_web__putf(buf, alloc, "{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":", id) &&
        stele_web__put_string(buf, alloc, event->stream) &&
        stele_web__put(buf, alloc, ",\"type\":") &&
        stele_web__put_string(buf, alloc, event->type) &&
        stele_web__put(buf, alloc, ",\"time\":") && put_time(buf, alloc, event->created_us) &&
        stele_web__putf(buf, alloc, ",\"revision\":\"%llu\",\"position\":\"%llu\"",
                        (unsigned long long)event->revision, (unsigned long long)event->position) &&
        stele_web__put(buf, alloc, ",\"datacontenttype\":") &&
        stele_web__put_string(buf, alloc, event->content_type);
    if (fits && event->data_size > 0) {
        const bool text = has_prefix(event->content_type, "text/");
        fits = put_value(buf, alloc, "data", event->data, event->data_size, json, text);
    }
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
