#include "cli/cli.h"
#include "cli/event.h"
#include "cli/out.h"
#include "cli/text.h"
#include "cloud/cloud.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WIDTH_MAX 40 /* Longer names push what follows to the right instead of everything. */

/* The type without parameters: "text/plain" of "text/plain; charset=utf-8". */
static struct stele_text essence(struct stele_text content_type)
{
    size_t size = 0;
    while (size < content_type.size && content_type.data[size] != ';') {
        size++;
    }
    while (size > 0 && content_type.data[size - 1] == ' ') {
        size--;
    }
    return (struct stele_text){content_type.data, size};
}

static bool is_same(struct stele_text text, const char *word)
{
    return text.size == strlen(word) && strncasecmp(text.data, word, text.size) == 0;
}

static bool ends_with(struct stele_text text, const char *end)
{
    const size_t size = strlen(end);
    return text.size > size && strncasecmp(text.data + text.size - size, end, size) == 0;
}

bool stele_cli_is_json_type(struct stele_text content_type)
{
    const struct stele_text type = essence(content_type);
    return is_same(type, "application/json") || ends_with(type, "+json");
}

bool stele_cli_is_text_type(struct stele_text content_type)
{
    const struct stele_text type = essence(content_type);
    return (type.size > 5 && strncasecmp(type.data, "text/", 5) == 0) ||
           is_same(type, "application/xml") || ends_with(type, "+xml");
}

bool stele_cli_json_valid(struct stele_text json)
{
    /* INT_AS_REAL: numbers of any size are fine, since nobody looks at their value here. */
    json_t *const value = json_loadb(
        json.data, json.size, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    json_decref(value);
    return value != NULL;
}

/* Between the other members of a line, JSON comes back as it is unless it has line ends or tabs
 * (which become spaces) or white space around it (which is not part of the value). */
static bool fits_into_line(struct stele_text json)
{
    for (size_t i = 0; i < json.size; i++) {
        if ((uint8_t)json.data[i] < 0x20) {
            return false;
        }
    }
    return json.data[0] != ' ' && json.data[json.size - 1] != ' ';
}

static void out_base64(const void *data, size_t size)
{
    /* Pieces of a size that 3 divides, so that padding comes only at the end. */
    const uint8_t *from = data;
    stele_cli_out("\"");
    while (size > 0) {
        char text[4096];
        const size_t piece = size < 3072 ? size : 3072;
        stele_base64_encode((struct stele_bytes){.data = from, .size = piece}, text);
        stele_cli_out_bytes(text, stele_base64_size(piece));
        from += piece;
        size -= piece;
    }
    stele_cli_out("\"");
}

static void out_member(const char *name, struct stele_text value)
{
    stele_cli_outf(",\"%s\":", name);
    stele_cli_out_json_text(value);
}

static void out_created(const char *name, int64_t created_us)
{
    char text[STELE_TIME_SIZE];
    if (stele_time_format(created_us, 6, text)) {
        stele_cli_outf(",\"%s\":\"%s\"", name, text);
    } else {
        stele_cli_outf(",\"%s\":%lld", name, (long long)created_us);
    }
}

/* exact: the very bytes have to come back from the line. What cannot goes as base64 then. */
static void out_payload(const char *name, const void *data, size_t size,
                        struct stele_text content_type, bool exact)
{
    const struct stele_text text = {data, size};
    if (size == 0) {
        return;
    }
    const bool as_json = stele_cli_is_json_type(content_type) && (!exact || fits_into_line(text)) &&
                         stele_cli_json_valid(text);
    if (as_json) {
        stele_cli_outf(",\"%s\":", name);
        stele_cli_out_json_raw(text);
    } else if (stele_cli_is_text_type(content_type) && stele_cli_is_utf8(text)) {
        out_member(name, text);
    } else {
        stele_cli_outf(",\"%s_base64\":", name);
        out_base64(data, size);
    }
}

static void out_tags(const struct stele_event *event)
{
    for (uint32_t i = 0; i < event->tags_count; i++) {
        stele_cli_out(i > 0 ? "," : "");
        stele_cli_out_json_text(stele_event_tag(event, i));
    }
}

static void out_json(const struct stele_event *event, bool exact)
{
    char id[37];
    stele_id_to_text(event->id, id);
    stele_cli_out("{\"stream\":");
    stele_cli_out_json_text(event->stream);
    /* Positions are strings: they do not fit into the 53 bits that many readers of JSON keep. */
    stele_cli_outf(",\"revision\":%llu,\"position\":\"%llu\",\"id\":\"%s\"",
                   (unsigned long long)event->revision, (unsigned long long)event->position, id);
    out_member("type", event->type);
    out_created("created", event->created_us);
    if (!stele_cli_text_is(event->content_type, "application/json")) {
        out_member("content_type", event->content_type);
    }
    out_payload("data", event->data, event->data_size, event->content_type, exact);
    out_payload("metadata", event->metadata, event->metadata_size,
                stele_cli_text("application/json"), exact);
    if (event->tags_count > 0) {
        stele_cli_out(",\"tags\":[");
        out_tags(event);
        stele_cli_out("]");
    }
    if ((event->flags & STELE_EVENT_TOMBSTONE) != 0) {
        stele_cli_out(",\"tombstone\":true");
    }
    if ((event->flags & STELE_EVENT_SHREDDED) != 0) {
        stele_cli_out(",\"shredded\":true");
    }
    stele_cli_out("}\n");
}

/* ---- CloudEvents ---- */

static void out_piece(void *context, const char *text, size_t size)
{
    (void)context;
    stele_cli_out_bytes(text, size);
}

/* What stands in a URI reference needs no escapes. */
static void out_source(struct stele_text stream)
{
    stele_cli_out("\"");
    stele_cloud_source(stream, out_piece, NULL);
    stele_cli_out("\"");
}

static void out_attribute(const char *name, const json_t *value)
{
    char *const text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text != NULL) {
        stele_cli_out(",");
        stele_cli_out_json_text(stele_cli_text(name));
        stele_cli_out(":");
        stele_cli_out_json_raw(stele_cli_text(text));
    }
    free(text);
}

static void out_tags_attribute(const struct stele_event *event)
{
    json_t *const tags = json_array();
    for (uint32_t i = 0; i < event->tags_count; i++) {
        const struct stele_text tag = stele_event_tag(event, i);
        (void)json_array_append_new(tags, json_stringn(tag.data, tag.size));
    }
    char *const text = json_dumps(tags, JSON_COMPACT);
    if (text != NULL) {
        out_member("tags", stele_cli_text(text));
    }
    free(text);
    json_decref(tags);
}

static void out_metadata_attribute(const struct stele_event *event)
{
    const struct stele_text metadata = {event->metadata, event->metadata_size};
    if (stele_cli_is_utf8(metadata)) {
        out_member("metadata", metadata);
        return;
    }
    stele_cli_out(",\"metadatabase64\":");
    out_base64(metadata.data, metadata.size);
}

void stele_cli_event_out_cloudevents(const struct stele_event *event)
{
    bool only_attributes = false;
    json_t *const kept = stele_cloud_kept(event->metadata, event->metadata_size, &only_attributes);
    const char *const source = json_string_value(json_object_get(kept, "source"));
    const char *const foreign_id = json_string_value(json_object_get(kept, "id"));
    char id[37];
    stele_id_to_text(event->id, id);

    stele_cli_out("{\"specversion\":\"1.0\"");
    out_member("id", stele_cli_text(foreign_id != NULL ? foreign_id : id));
    if (source != NULL) {
        out_member("source", stele_cli_text(source));
        out_member("stream", event->stream);
    } else {
        stele_cli_out(",\"source\":");
        out_source(event->stream);
    }
    out_member("type", event->type);
    char time[STELE_TIME_SIZE];
    if (stele_time_format(event->created_us, 6, time)) {
        out_member("time", stele_cli_text(time));
    }
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(kept, name, value)
    {
        if (!stele_cloud_is_mapped(name)) {
            out_attribute(name, value);
        }
    }
    if (event->tags_count > 0) {
        out_tags_attribute(event);
    }
    if (event->metadata_size > 0 && !only_attributes) {
        out_metadata_attribute(event);
    }
    stele_cli_outf(",\"revision\":\"%llu\",\"position\":\"%llu\"",
                   (unsigned long long)event->revision, (unsigned long long)event->position);
    if ((event->flags & STELE_EVENT_TOMBSTONE) != 0) {
        stele_cli_out(",\"tombstone\":true");
    }
    out_member("datacontenttype", event->content_type);
    out_payload("data", event->data, event->data_size, event->content_type, true);
    stele_cli_out("}\n");
    json_decref(kept);
}

/* ---- For people ---- */

static void out_time(int64_t time_us)
{
    char text[STELE_TIME_SIZE];
    /* Milliseconds are enough to look at. */
    if (!stele_time_format(time_us, 3, text)) {
        stele_cli_outf("%lldus", (long long)time_us);
        return;
    }
    stele_cli_out(text);
}

static void out_payload_human(const void *data, size_t size, struct stele_text content_type)
{
    const struct stele_text text = {data, size};
    if (stele_cli_is_json_type(content_type) && stele_cli_json_valid(text)) {
        stele_cli_out_json_safe(text);
    } else if (size > 0 && stele_cli_is_utf8(text) && memchr(data, '\0', size) == NULL) {
        stele_cli_out_safe(text, 0);
    } else if (size > 0) {
        stele_cli_outf("<%zu bytes>", size);
    }
}

static void grow(size_t *width, size_t wanted)
{
    if (wanted > WIDTH_MAX) {
        wanted = WIDTH_MAX;
    }
    *width = wanted > *width ? wanted : *width;
}

static size_t digits_of(uint64_t number)
{
    size_t digits = 1;
    while (number >= 10) {
        number /= 10;
        digits++;
    }
    return digits;
}

/* "order-1@7" where several streams are shown, "7" where one is. */
static size_t name_width(const struct stele_event *event, bool all)
{
    const size_t digits = digits_of(event->revision);
    return all ? stele_cli_escaped_width(event->stream) + 1 + digits : digits;
}

void stele_cli_columns_fit(struct stele_cli_columns *columns, const struct stele_event *events,
                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        grow(&columns->name_width, name_width(&events[i], columns->all));
        grow(&columns->type_width, stele_cli_escaped_width(events[i].type));
    }
}

static void out_human(const struct stele_event *event, const struct stele_cli_columns *columns)
{
    if (columns->all) {
        stele_cli_out_color(STELE_CLI_DIM);
        stele_cli_outf("%llu  ", (unsigned long long)event->position);
        stele_cli_out_color(STELE_CLI_CYAN);
        stele_cli_out_safe(event->stream, 0);
        stele_cli_out_color(STELE_CLI_PLAIN);
        stele_cli_outf("@%llu", (unsigned long long)event->revision);
        for (size_t used = name_width(event, true); used < columns->name_width; used++) {
            stele_cli_out(" ");
        }
    } else {
        stele_cli_outf("%*llu", (int)columns->name_width, (unsigned long long)event->revision);
    }
    stele_cli_out_color(STELE_CLI_DIM);
    stele_cli_out("  ");
    out_time(event->created_us);
    stele_cli_out("  ");
    stele_cli_out_color(STELE_CLI_GREEN);
    /* Without data nothing follows, and no line should end in spaces. */
    stele_cli_out_safe(event->type, event->data_size > 0 ? columns->type_width : 0);
    stele_cli_out_color(STELE_CLI_PLAIN);
    if (event->data_size > 0) {
        stele_cli_out("  ");
        out_payload_human(event->data, event->data_size, event->content_type);
    }
    if ((event->flags & STELE_EVENT_TOMBSTONE) != 0) {
        stele_cli_out("  ");
        stele_cli_out_colored(STELE_CLI_RED, "(closes the stream)");
    }
    if ((event->flags & STELE_EVENT_SHREDDED) != 0) {
        stele_cli_out("  ");
        stele_cli_out_colored(STELE_CLI_RED, "(shredded)");
    }
    stele_cli_out("\n");
}

static void out_field(const char *name)
{
    stele_cli_out_color(STELE_CLI_DIM);
    stele_cli_outf("  %-13s", name);
    stele_cli_out_color(STELE_CLI_PLAIN);
}

static void out_long(const struct stele_event *event)
{
    char id[37];
    stele_id_to_text(event->id, id);
    stele_cli_out_color(STELE_CLI_CYAN);
    stele_cli_out_safe(event->stream, 0);
    stele_cli_out_color(STELE_CLI_PLAIN);
    stele_cli_outf("@%llu  ", (unsigned long long)event->revision);
    stele_cli_out_color(STELE_CLI_GREEN);
    stele_cli_out_safe(event->type, 0);
    stele_cli_out_color(STELE_CLI_PLAIN);
    stele_cli_out("\n");
    out_field("position");
    stele_cli_outf("%llu\n", (unsigned long long)event->position);
    out_field("id");
    stele_cli_outf("%s\n", id);
    out_field("created");
    out_time(event->created_us);
    stele_cli_out("\n");
    out_field("content type");
    stele_cli_out_safe(event->content_type, 0);
    stele_cli_out("\n");
    for (uint32_t i = 0; i < event->tags_count; i++) {
        out_field("tag");
        stele_cli_out_safe(stele_event_tag(event, i), 0);
        stele_cli_out("\n");
    }
    if (event->data_size > 0) {
        out_field("data");
        out_payload_human(event->data, event->data_size, event->content_type);
        stele_cli_out("\n");
    }
    if (event->metadata_size > 0) {
        out_field("metadata");
        out_payload_human(event->metadata, event->metadata_size,
                          stele_cli_text("application/json"));
        stele_cli_out("\n");
    }
}

void stele_cli_event_out(const struct stele_event *event, enum stele_cli_form form,
                         struct stele_cli_columns *columns)
{
    switch (form) {
    case STELE_CLI_HUMAN:
        out_human(event, columns);
        return;
    case STELE_CLI_LONG:
        out_long(event);
        return;
    case STELE_CLI_JSON:
        out_json(event, false);
        return;
    case STELE_CLI_EXPORT:
        out_json(event, true);
        return;
    case STELE_CLI_CLOUDEVENTS:
        stele_cli_event_out_cloudevents(event);
        return;
    case STELE_CLI_RAW:
        stele_cli_out_bytes(event->data, event->data_size);
        return;
    }
}
