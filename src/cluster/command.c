#include "cluster/command.h"

#define VERSION 1
#define COMMAND_HEADER_SIZE 16
/* An append of the largest size, with everything that is said around its events. */
#define COMMAND_SIZE_MAX (STELE_APPEND_SIZE_MAX + (size_t)STELE_APPEND_EVENTS_MAX * 64)

/* ---- Entries ---- */

void stele_entry_encode(const struct stele_entry *entry, uint8_t *to)
{
    memset(to, 0, 8);
    to[0] = VERSION;
    to[1] = (uint8_t)entry->kind;
    stele_store_u64le(to + 8, entry->stamp);
    if (entry->kind == STELE_ENTRY_TICK) {
        return;
    }
    stele_store_u64le(to + 16, entry->origin);
    stele_store_u64le(to + 24, entry->boot);
    stele_store_u64le(to + 32, entry->id);
    if (entry->body.size > 0) {
        memcpy(to + STELE_ENTRY_HEADER_SIZE, entry->body.data, entry->body.size);
    }
}

int stele_entry_decode(struct stele_bytes bytes, struct stele_entry *out_entry)
{
    if (bytes.size < STELE_ENTRY_TICK_SIZE) {
        return STELE_E_INVALID;
    }
    if (bytes.data[0] != VERSION) {
        return bytes.data[0] > VERSION ? STELE_E_FORMAT : STELE_E_INVALID;
    }
    const uint8_t kind = bytes.data[1];
    *out_entry = (struct stele_entry){.kind = (enum stele_entry_kind)kind,
                                      .stamp = stele_load_u64le(bytes.data + 8)};
    if (kind == STELE_ENTRY_TICK) {
        return bytes.size == STELE_ENTRY_TICK_SIZE ? STELE_OK : STELE_E_INVALID;
    }
    if ((kind != STELE_ENTRY_COMMAND && kind != STELE_ENTRY_META) ||
        bytes.size < STELE_ENTRY_HEADER_SIZE) {
        return STELE_E_INVALID;
    }
    out_entry->origin = stele_load_u64le(bytes.data + 16);
    out_entry->boot = stele_load_u64le(bytes.data + 24);
    out_entry->id = stele_load_u64le(bytes.data + 32);
    out_entry->body =
        stele_bytes_slice(bytes, STELE_ENTRY_HEADER_SIZE, bytes.size - STELE_ENTRY_HEADER_SIZE);
    return STELE_OK;
}

/* ---- Writing ---- */

/* Without `to` it only counts. */
struct writer {
    uint8_t *to;
    size_t size;
    const struct stele_command *command;
    bool too_large; /* A size or a count did not fit where it belongs. */
};

static void put(struct writer *w, const void *data, size_t size)
{
    if (w->to != NULL && size > 0) {
        memcpy(w->to + w->size, data, size);
    }
    w->size += size;
}

static void put_u8(struct writer *w, size_t value)
{
    const uint8_t byte = (uint8_t)value;
    w->too_large = w->too_large || value > UINT8_MAX;
    put(w, &byte, 1);
}

static void put_u16(struct writer *w, size_t value)
{
    uint8_t bytes[2];
    stele_store_u16le(bytes, (uint16_t)value);
    w->too_large = w->too_large || value > UINT16_MAX;
    put(w, bytes, sizeof bytes);
}

static void put_u32(struct writer *w, size_t value)
{
    uint8_t bytes[4];
    stele_store_u32le(bytes, (uint32_t)value);
    w->too_large = w->too_large || value > UINT32_MAX;
    put(w, bytes, sizeof bytes);
}

static void put_u64(struct writer *w, uint64_t value)
{
    uint8_t bytes[8];
    stele_store_u64le(bytes, value);
    put(w, bytes, sizeof bytes);
}

static void put_text(struct writer *w, const char *text)
{
    const size_t size = text == NULL ? 0 : strlen(text);
    put_u16(w, size);
    put(w, text, size);
    put_u8(w, 0);
}

static void put_blob(struct writer *w, const void *data, size_t size)
{
    put_u32(w, size);
    put(w, data, size);
}

static void put_event(struct writer *w, const struct stele_event_draft *event)
{
    static const uint8_t none[sizeof event->id] = {0};
    uint8_t id[sizeof event->id];
    memcpy(id, event->id, sizeof id);
    if (w->to != NULL && memcmp(id, none, sizeof id) == 0) {
        w->command->make_id(id);
    }
    put(w, id, sizeof id);
    put_u64(w, (uint64_t)(event->created_us == 0 ? w->command->now_us : event->created_us));
    put_blob(w, event->data, event->data_size);
    put_blob(w, event->metadata, event->metadata_size);
    put_text(w, event->type);
    put_text(w, event->content_type);
    put_u8(w, event->tags_count);
    for (size_t i = 0; i < event->tags_count; i++) {
        put_text(w, event->tags[i]);
    }
}

static void put_condition(struct writer *w, const struct stele_condition *condition)
{
    put_u64(w, condition->after);
    put_u16(w, condition->items_count);
    for (size_t i = 0; i < condition->items_count; i++) {
        const struct stele_query_item *item = &condition->items[i];
        put_u16(w, item->types_count);
        put_u16(w, item->tags_count);
        for (size_t k = 0; k < item->types_count; k++) {
            put_text(w, item->types[k]);
        }
        for (size_t k = 0; k < item->tags_count; k++) {
            put_text(w, item->tags[k]);
        }
    }
}

static void put_command(struct writer *w, const struct stele_command *command)
{
    put_u8(w, VERSION);
    put_u8(w, (size_t)command->kind);
    put_u16(w, command->streams_count);
    put_u16(w, command->conditions_count);
    put_u16(w, 0);
    put_u64(w, command->seen);
    for (size_t i = 0; i < command->streams_count; i++) {
        const struct stele_append *stream = &command->streams[i];
        put_u64(w, stream->expected);
        put_u32(w, stream->count);
        put_text(w, stream->stream);
        for (size_t k = 0; k < stream->count; k++) {
            put_event(w, &stream->events[k]);
        }
    }
    for (size_t i = 0; i < command->conditions_count; i++) {
        put_condition(w, &command->conditions[i]);
    }
}

int stele_command_encode(const struct stele_command *command, struct stele_alloc *alloc,
                         struct stele_buf *out, struct stele_error *err)
{
    struct writer counting = {.to = NULL, .command = command};
    put_command(&counting, command);
    if (counting.size > COMMAND_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "append: %zu bytes are more than %u",
                          counting.size, STELE_APPEND_SIZE_MAX);
    }
    if (counting.too_large) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "append: a name is longer, or a list has more items, than any may");
    }
    if (stele_buf_reserve(out, alloc, counting.size) != STELE_OK) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "append: no memory for the request");
    }
    struct writer writing = {.to = out->data + out->size, .command = command};
    put_command(&writing, command);
    STELE_ASSERT(writing.size == counting.size);
    out->size += writing.size;
    return STELE_OK;
}

/* ---- Reading ---- */

struct reader {
    const uint8_t *at, *end;
    struct stele_arena *arena;
    struct stele_alloc *alloc;
    int outcome; /* The first that went wrong; from then on everything reads as nothing. */
};

static const uint8_t *take(struct reader *r, size_t size)
{
    if (r->outcome != STELE_OK || (size_t)(r->end - r->at) < size) {
        r->outcome = r->outcome == STELE_OK ? STELE_E_INVALID : r->outcome;
        return NULL;
    }
    const uint8_t *at = r->at;
    r->at += size;
    return at;
}

static size_t take_u8(struct reader *r)
{
    const uint8_t *at = take(r, 1);
    return at == NULL ? 0 : at[0];
}

static size_t take_u16(struct reader *r)
{
    const uint8_t *at = take(r, 2);
    return at == NULL ? 0 : stele_load_u16le(at);
}

static size_t take_u32(struct reader *r)
{
    const uint8_t *at = take(r, 4);
    return at == NULL ? 0 : stele_load_u32le(at);
}

static uint64_t take_u64(struct reader *r)
{
    const uint8_t *at = take(r, 8);
    return at == NULL ? 0 : stele_load_u64le(at);
}

/* A text in C's sense: no zero inside, one behind. */
static const char *take_text(struct reader *r)
{
    const size_t size = take_u16(r);
    const uint8_t *at = take(r, size + 1);
    if (at == NULL || at[size] != 0 || memchr(at, 0, size) != NULL) {
        r->outcome = r->outcome == STELE_OK ? STELE_E_INVALID : r->outcome;
        return "";
    }
    return (const char *)at;
}

static struct stele_bytes take_blob(struct reader *r)
{
    const size_t size = take_u32(r);
    return (struct stele_bytes){.data = take(r, size), .size = r->outcome == STELE_OK ? size : 0};
}

/* count items of item_size, each of which takes at least bytes_min of what is left. */
static void *take_array(struct reader *r, size_t count, size_t item_size, size_t bytes_min)
{
    if (r->outcome == STELE_OK && count > (size_t)(r->end - r->at) / bytes_min) {
        r->outcome = STELE_E_INVALID;
    }
    if (r->outcome != STELE_OK || count == 0) {
        return NULL;
    }
    void *items = stele_arena_allocate(r->arena, r->alloc, count * item_size);
    if (items == NULL) {
        r->outcome = STELE_E_NO_MEMORY;
        return NULL;
    }
    memset(items, 0, count * item_size);
    return items;
}

static const char *const *take_texts(struct reader *r, size_t count)
{
    const char **texts = take_array(r, count, sizeof *texts, 3);
    for (size_t i = 0; texts != NULL && i < count; i++) {
        texts[i] = take_text(r);
    }
    return texts;
}

static void take_event(struct reader *r, struct stele_event_draft *event)
{
    const uint8_t *id = take(r, sizeof event->id);
    if (id != NULL) {
        memcpy(event->id, id, sizeof event->id);
    }
    event->created_us = (int64_t)take_u64(r);
    const struct stele_bytes data = take_blob(r);
    const struct stele_bytes metadata = take_blob(r);
    event->data = data.data;
    event->data_size = data.size;
    event->metadata = metadata.data;
    event->metadata_size = metadata.size;
    event->type = take_text(r);
    event->content_type = take_text(r);
    event->content_type = event->content_type[0] == 0 ? NULL : event->content_type;
    event->tags_count = take_u8(r);
    event->tags = take_texts(r, event->tags_count);
}

static void take_stream(struct reader *r, struct stele_append *stream)
{
    stream->expected = take_u64(r);
    stream->count = take_u32(r);
    stream->stream = take_text(r);
    struct stele_event_draft *events = take_array(r, stream->count, sizeof *events, 39);
    stream->events = events;
    for (size_t i = 0; events != NULL && i < stream->count; i++) {
        take_event(r, &events[i]);
    }
}

static void take_condition(struct reader *r, struct stele_condition *condition)
{
    condition->after = take_u64(r);
    condition->items_count = take_u16(r);
    struct stele_query_item *items = take_array(r, condition->items_count, sizeof *items, 4);
    condition->items = items;
    for (size_t i = 0; items != NULL && i < condition->items_count; i++) {
        items[i].types_count = take_u16(r);
        items[i].tags_count = take_u16(r);
        items[i].types = take_texts(r, items[i].types_count);
        items[i].tags = take_texts(r, items[i].tags_count);
    }
}

int stele_command_decode(struct stele_bytes bytes, struct stele_arena *arena,
                         struct stele_alloc *alloc, struct stele_command *out_command,
                         struct stele_error *err)
{
    struct reader r = {
        .at = bytes.data, .end = bytes.data + bytes.size, .arena = arena, .alloc = alloc};
    const size_t version = take_u8(&r);
    const size_t kind = take_u8(&r);
    if (r.outcome == STELE_OK && version > VERSION) {
        return stele_fail(err, STELE_E_FORMAT, 0,
                          "a command of version %zu: this program knows %d; upgrade it", version,
                          VERSION);
    }
    *out_command = (struct stele_command){.kind = (enum stele_command_kind)kind};
    out_command->streams_count = take_u16(&r);
    out_command->conditions_count = take_u16(&r);
    (void)take_u16(&r);
    out_command->seen = take_u64(&r);
    struct stele_append *streams = take_array(&r, out_command->streams_count, sizeof *streams, 15);
    out_command->streams = streams;
    for (size_t i = 0; streams != NULL && i < out_command->streams_count; i++) {
        take_stream(&r, &streams[i]);
    }
    struct stele_condition *conditions =
        take_array(&r, out_command->conditions_count, sizeof *conditions, 10);
    out_command->conditions = conditions;
    for (size_t i = 0; conditions != NULL && i < out_command->conditions_count; i++) {
        take_condition(&r, &conditions[i]);
    }
    const bool fits = kind == STELE_COMMAND_NOTHING  ? out_command->streams_count == 0
                      : kind == STELE_COMMAND_APPEND ? out_command->streams_count > 0
                                                     : out_command->streams_count == 1 &&
                                                           streams != NULL && streams[0].count == 1;
    if (r.outcome == STELE_OK && (version != VERSION || r.at != r.end || !fits ||
                                  kind < STELE_COMMAND_APPEND || kind > STELE_COMMAND_NOTHING)) {
        r.outcome = STELE_E_INVALID;
    }
    if (r.outcome == STELE_E_NO_MEMORY) {
        return stele_fail(err, r.outcome, 0, "a command of %zu bytes: no memory", bytes.size);
    }
    return r.outcome == STELE_OK ? STELE_OK
                                 : stele_fail(err, r.outcome, 0,
                                              "a command of %zu bytes that says nothing that can "
                                              "be read, near byte %zu",
                                              bytes.size, (size_t)(r.at - bytes.data));
}

struct stele_bytes stele_command_first_stream(struct stele_bytes bytes)
{
    struct reader r = {.at = bytes.data, .end = bytes.data + bytes.size};
    const uint8_t *header = take(&r, COMMAND_HEADER_SIZE);
    if (header == NULL || stele_load_u16le(header + 2) == 0) {
        return (struct stele_bytes){.data = NULL, .size = 0};
    }
    (void)take(&r, 8 + 4);
    const char *name = take_text(&r);
    return (struct stele_bytes){.data = (const uint8_t *)name, .size = strlen(name)};
}
