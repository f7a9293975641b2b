#include "api/kurrent/kurrent_internal.h"

#include <jansson.h>
#include <stdio.h>

#define CATEGORY "$ce-"
#define TYPE "$et-"
#define STREAMS "$streams"
#define BY_CATEGORY "$category-"
#define CORRELATION "$bc-"
#define HIDDEN "$persistentsubscription-$all::"

bool stele_kurrent__get_link(struct stele_bytes data, uint64_t *out_revision,
                             struct stele_text *out_stream)
{
    uint64_t revision = 0;
    size_t at = 0;
    for (; at < data.size && data.data[at] >= '0' && data.data[at] <= '9'; at++) {
        if (revision > STELE_REVISION_MAX / 10 - 1) {
            return false;
        }
        revision = revision * 10 + (uint64_t)(data.data[at] - '0');
    }
    if (at == 0 || at + 1 >= data.size || data.data[at] != '@') {
        return false;
    }
    *out_revision = revision;
    *out_stream = stele_kurrent__text(stele_bytes_slice(data, at + 1, data.size - at - 1));
    return true;
}

/* SPEC(kurrent/read/resolve-links): what cannot be found, or may not be seen, is left out. */
void stele_kurrent__target_open(struct stele_call *call, const struct stele_event *link,
                                struct stele_kurrent__target *out_target)
{
    const struct stele_server *server = stele_call_server(call);
    struct stele_engine *engine = server->engine;
    *out_target = (struct stele_kurrent__target){.event = NULL};
    uint64_t revision = 0;
    struct stele_text stream;
    char name[STELE_KURRENT__NAME_SIZE];
    const struct stele_bytes data = {.data = link->data, .size = link->data_size};
    if (!stele_kurrent__get_link(data, &revision, &stream) ||
        !stele_kurrent__copy_name(stream, name) ||
        !stele_auth_may(server->auth, stele_call_principal(call), stream, STELE_RIGHT_READ)) {
        return;
    }
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = revision;
    options.limit = 1;
    if (engine->ops->read_open(engine, name, &options, &out_target->reading, NULL) != STELE_OK) {
        out_target->reading = NULL;
        return;
    }
    const struct stele_event *events;
    size_t count = 0;
    if (engine->ops->read_next(out_target->reading, &events, &count, NULL) == STELE_OK &&
        count > 0 && events[0].revision == revision) {
        out_target->event = &events[0];
    }
}

void stele_kurrent__target_close(struct stele_call *call, struct stele_kurrent__target *target)
{
    if (target->reading != NULL) {
        stele_call_server(call)->engine->ops->read_close(target->reading);
    }
    *target = (struct stele_kurrent__target){.event = NULL};
}

/* ---- Views ---------------------------------------------------------------------------------- */

enum stele_kurrent__view stele_kurrent__view(struct stele_text stream)
{
    if (stream.size == 0 || stream.data[0] != '$') {
        return VIEW_NONE;
    }
    if (stele_kurrent__starts(stream, CATEGORY)) {
        return VIEW_CATEGORY;
    }
    if (stele_kurrent__starts(stream, TYPE)) {
        return VIEW_TYPE;
    }
    if (stele_kurrent__is(stream, STREAMS)) {
        return VIEW_STREAMS;
    }
    if (stele_kurrent__starts(stream, BY_CATEGORY)) {
        return VIEW_BY_CATEGORY;
    }
    return stele_kurrent__starts(stream, CORRELATION) ? VIEW_CORRELATION : VIEW_NONE;
}

static struct stele_text rest_of(struct stele_text text, const char *prefix)
{
    const size_t size = strlen(prefix);
    return (struct stele_text){.data = text.data + size, .size = text.size - size};
}

static struct stele_text category_of(struct stele_text stream)
{
    const char *dash = memchr(stream.data, '-', stream.size);
    if (dash == NULL || dash == stream.data) {
        return (struct stele_text){.data = stream.data, .size = 0};
    }
    return (struct stele_text){.data = stream.data, .size = (size_t)(dash - stream.data)};
}

static bool text_equal(struct stele_text a, struct stele_text b)
{
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

static bool has_correlation(const struct stele_event *event, struct stele_text id)
{
    /* Nearly no event has the id in it, and looking for it is much faster than parsing. */
    if (event->metadata_size == 0 || id.size == 0 ||
        memmem(event->metadata, event->metadata_size, id.data, id.size) == NULL) {
        return false;
    }
    json_t *metadata = json_loadb(event->metadata, event->metadata_size, 0, NULL);
    const json_t *value = json_object_get(metadata, "$correlationId");
    const bool has =
        json_is_string(value) && text_equal((struct stele_text){.data = json_string_value(value),
                                                                .size = json_string_length(value)},
                                            id);
    json_decref(metadata);
    return has;
}

bool stele_kurrent__view_has(enum stele_kurrent__view view, struct stele_text stream,
                             const struct stele_event *event)
{
    if (event->stream.size > 0 && event->stream.data[0] == '$') {
        return false;
    }
    switch (view) {
    case VIEW_STREAMS:
        return event->revision == 0;
    case VIEW_BY_CATEGORY:
        return event->revision == 0 &&
               text_equal(category_of(event->stream), rest_of(stream, BY_CATEGORY));
    case VIEW_CORRELATION:
        return !stele_kurrent__is(event->type, "$>") &&
               has_correlation(event, rest_of(stream, CORRELATION));
    case VIEW_NONE:
    case VIEW_CATEGORY:
    case VIEW_TYPE:
        break;
    }
    return true;
}

/* Links are not stored, so they have no id of their own: one that is always the same for the same
 * link, so that whoever compares ids is not surprised. Version 8 of RFC 9562: "vendor specific". */
static void make_id(uint8_t id[16], struct stele_text view, uint64_t ordinal,
                    const struct stele_event *event)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ ordinal;
    for (size_t i = 0; i < view.size; i++) {
        hash = (hash ^ (uint8_t)view.data[i]) * UINT64_C(0x100000001b3);
    }
    for (int i = 0; i < 2; i++) {
        hash ^= stele_load_u64le(event->id + 8 * (size_t)i);
        hash = (hash ^ hash >> 31) * UINT64_C(0x9e3779b97f4a7c15);
        stele_store_u64le(id + 8 * (size_t)i, hash ^ hash >> 29);
    }
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x80);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

void stele_kurrent__link(struct stele_kurrent__link *out, enum stele_kurrent__view view,
                         struct stele_text view_name, uint64_t ordinal,
                         const struct stele_event *event)
{
    STELE_ASSERT(view != VIEW_NONE);
    uint32_t size = 0;
    if (view != VIEW_BY_CATEGORY) {
        const uint64_t revision = (event->flags & STELE_EVENT_TOMBSTONE) != 0
                                      ? STELE_KURRENT__REVISION_TOMBSTONE
                                      : event->revision;
        size = stele_kurrent__decimal(revision, out->data);
        out->data[size++] = '@';
    }
    STELE_ASSERT(event->stream.size < sizeof out->data - size);
    memcpy(out->data + size, event->stream.data, event->stream.size);
    size += (uint32_t)event->stream.size;
    out->event = (struct stele_event){
        .position = event->position,
        .revision = ordinal,
        .created_us = event->created_us,
        .stream = view_name,
        .type = {.data = view == VIEW_BY_CATEGORY ? "$@" : "$>", .size = 2},
        .content_type = {.data = "application/octet-stream", .size = 24},
        .data = out->data,
        .data_size = size,
    };
    make_id(out->event.id, view_name, ordinal, event);
}

bool stele_kurrent__is_hidden(const struct stele_event *event)
{
    /* SPEC(kurrent/read/all-hides): the bookkeeping of groups that read $all would wake them. */
    return event->stream.size > sizeof HIDDEN && event->stream.data[0] == '$' &&
           stele_kurrent__starts(event->stream, HIDDEN);
}
