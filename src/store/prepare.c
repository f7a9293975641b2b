/* Checks a request and encodes its records as far as that is possible without the store's state.
 * This runs outside of the lock, so that a large payload is copied and checksummed beside other
 * appends and not in front of them. */
#include "store/store_internal.h"

#include <limits.h>

#define JSON_TYPE "application/json"
#define TOMBSTONE_TYPE "$tombstone"
#define METADATA_TYPE "$metadata"
#define TAGS_SIZE_MAX (STELE_TAGS_MAX * (1 + STELE_TAG_SIZE_MAX))

_Static_assert(TAGS_SIZE_MAX <= UINT16_MAX, "the tags' size fits its field");
_Static_assert(STELE_TYPE_SIZE_MAX <= UINT8_MAX, "a type's size fits its field");
_Static_assert(STELE_STREAM_NAME_SIZE_MAX + 2 <= UINT16_MAX, "a name's size fits its field");

int stele_prepared_create(const struct stele_store *store, struct stele_prepared **out_prepared,
                          struct stele_error *err)
{
    struct stele_prepared *prepared =
        stele_allocate_zeroed(store->alloc, sizeof(struct stele_prepared));
    if (prepared == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "append: no memory for the request");
    }
    prepared->store = store;
    prepared->alloc = store->alloc;
    prepared->arena.block_size = 1024;
    *out_prepared = prepared;
    return STELE_OK;
}

void stele_prepared_destroy(struct stele_prepared *prepared)
{
    if (prepared == NULL) {
        return;
    }
    struct stele_alloc *alloc = prepared->alloc;
    stele_buf_deinit(&prepared->bytes, alloc);
    stele_arena_deinit(&prepared->arena, alloc);
    stele_release(alloc, prepared->streams, prepared->streams_capacity * sizeof *prepared->streams);
    stele_release(alloc, prepared->records, prepared->records_capacity * sizeof *prepared->records);
    stele_release(alloc, prepared->tags, prepared->tags_capacity * sizeof *prepared->tags);
    stele_release(alloc, prepared->tag_entries,
                  prepared->tags_capacity * sizeof *prepared->tag_entries);
    stele_release(alloc, prepared->conditions,
                  prepared->conditions_capacity * sizeof *prepared->conditions);
    stele_release(alloc, prepared->items, prepared->items_capacity * sizeof *prepared->items);
    stele_release(alloc, prepared->condition_keys,
                  prepared->condition_keys_capacity * sizeof *prepared->condition_keys);
    stele_release(alloc, prepared, sizeof *prepared);
}

bool stele_prepared_is_large(const struct stele_prepared *prepared)
{
    return prepared->bytes.capacity > (size_t)256 * 1024 || prepared->records_capacity > 1024 ||
           prepared->tags_capacity > 4096 || prepared->condition_keys_capacity > 4096;
}

void stele_prepared_event(const struct stele_prepared *prepared, size_t index,
                          struct stele_event *out_event)
{
    STELE_ASSERT(index < prepared->records_count);
    const struct stele_prepared_record *record = &prepared->records[index];
    const struct stele_prepared_stream *stream = prepared->streams;
    while (index - stream->records_first >= stream->records_count) {
        stream++;
    }
    size_t size = 0;
    const int decoded = stele_record_decode_trusted(
        (struct stele_bytes){.data = prepared->bytes.data + record->offset, .size = record->size},
        out_event, &size);
    STELE_ASSERT(decoded == STELE_OK);
    /* Place and order were decided later, and sealed into the copy that is in the log. */
    out_event->position = record->position;
    out_event->revision = stream->next + (index - stream->records_first);
}

static int fail_memory(struct stele_error *err)
{
    return stele_fail(err, STELE_E_NO_MEMORY, 0, "append: no memory for the request");
}

/* ---- Names ---- */

static int check_name(const char *what, const char *name, size_t size_max,
                      struct stele_bytes *out_name, struct stele_error *err)
{
    if (name == NULL || name[0] == '\0') {
        return stele_fail(err, STELE_E_INVALID, 0, "%s is empty", what);
    }
    const size_t size = strnlen(name, size_max + 1);
    if (size > size_max) {
        return stele_fail(err, STELE_E_LIMIT, 0, "%s is longer than %zu bytes", what, size_max);
    }
    *out_name = (struct stele_bytes){.data = (const uint8_t *)name, .size = size};
    if (!stele_store__text_is_clean(*out_name)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "%s is not UTF-8, or contains a control character", what);
    }
    return STELE_OK;
}

static bool has_text_prefix(struct stele_bytes name, const char *prefix)
{
    return stele_bytes_has_prefix(name, stele_bytes_of_text(prefix));
}

static int check_stream_name(const char *name, struct stele_bytes *out_name,
                             struct stele_error *err)
{
    /* The metadata of a stream with the longest name needs two bytes more. */
    const bool is_meta = name != NULL && strncmp(name, "$$", 2) == 0;
    const size_t size_max = STELE_STREAM_NAME_SIZE_MAX + (is_meta ? 2 : 0);
    const int outcome = check_name("the stream's name", name, size_max, out_name, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_bytes text = *out_name;
    if (stele_bytes_equal(text, stele_bytes_of_text("$all")) || has_text_prefix(text, "$ce-") ||
        has_text_prefix(text, "$et-")) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "%s is a view of other streams: it can be read, not written", name);
    }
    if (is_meta && (text.size == 2 || has_text_prefix(text, "$$$$"))) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s names no metadata of a stream", name);
    }
    return STELE_OK;
}

static int check_stream(const char *name, uint64_t expected, struct stele_bytes *out_name,
                        struct stele_error *err)
{
    const int outcome = check_stream_name(name, out_name, err);
    if (outcome == STELE_OK && expected > STELE_REVISION_MAX && expected < STELE_EXPECT_EXISTS) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "stream %s: the expected revision %llu is neither a revision nor one of "
                          "the special expectations",
                          name, (unsigned long long)expected);
    }
    return outcome;
}

static struct stele_bytes keep(struct stele_prepared *prepared, struct stele_bytes name)
{
    uint8_t *copy = stele_arena_allocate(&prepared->arena, prepared->alloc, name.size);
    if (copy == NULL) {
        return (struct stele_bytes){.data = NULL, .size = 0};
    }
    memcpy(copy, name.data, name.size);
    return (struct stele_bytes){.data = copy, .size = name.size};
}

static int add_stream(struct stele_prepared *prepared, const char *name, uint64_t expected,
                      struct stele_prepared_stream **out_stream, struct stele_error *err)
{
    struct stele_bytes text;
    const int outcome = check_stream(name, expected, &text, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_store *store = prepared->store;
    const struct stele_bytes kept = keep(prepared, text);
    if (kept.data == NULL ||
        stele_store__grow(prepared->alloc, (void **)&prepared->streams, &prepared->streams_capacity,
                          sizeof *prepared->streams, prepared->streams_count + 1) != STELE_OK) {
        return fail_memory(err);
    }
    struct stele_prepared_stream *stream = &prepared->streams[prepared->streams_count];
    *stream = (struct stele_prepared_stream){
        .key = stele_index_key(store->superblock.seed, STELE_SPACE_STREAM, kept),
        .category = stele_index_key(store->superblock.seed, STELE_SPACE_CATEGORY,
                                    stele_store__category(kept)),
        .partition = stele_store__partition(store, kept),
        .expected = expected,
        .records_first = prepared->records_count,
    };
    for (size_t i = 0; i < prepared->streams_count; i++) {
        if (prepared->streams[i].key.hash == stream->key.hash &&
            stele_bytes_equal(prepared->streams[i].key.name, kept)) {
            return stele_fail(err, STELE_E_INVALID, 0, "stream %s is named twice", name);
        }
    }
    prepared->streams_count++;
    *out_stream = stream;
    return STELE_OK;
}

/* ---- Records ---- */

static int encode_tags(const struct stele_event_draft *draft, uint8_t buffer[TAGS_SIZE_MAX],
                       struct stele_bytes *out_tags, struct stele_error *err)
{
    if (draft->tags_count > STELE_TAGS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "an event has %zu tags; at most %d are allowed",
                          draft->tags_count, STELE_TAGS_MAX);
    }
    if (draft->tags == NULL && draft->tags_count > 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "an event's tags are NULL but have a count");
    }
    size_t size = 0;
    for (size_t i = 0; i < draft->tags_count; i++) {
        struct stele_bytes tag;
        const int outcome = check_name("a tag", draft->tags[i], STELE_TAG_SIZE_MAX, &tag, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        for (size_t at = 0; at < size; at += 1 + (size_t)buffer[at]) {
            const struct stele_bytes other = {.data = buffer + at + 1, .size = buffer[at]};
            if (stele_bytes_equal(other, tag)) {
                return stele_fail(err, STELE_E_INVALID, 0, "an event has the tag %s twice",
                                  draft->tags[i]);
            }
        }
        buffer[size] = (uint8_t)tag.size;
        memcpy(buffer + size + 1, tag.data, tag.size);
        size += 1 + tag.size;
    }
    *out_tags = (struct stele_bytes){.data = buffer, .size = size};
    return STELE_OK;
}

static int check_content_type(const char *content_type, struct stele_bytes *out,
                              struct stele_error *err)
{
    *out = (struct stele_bytes){.data = NULL, .size = 0};
    if (content_type == NULL || strcmp(content_type, JSON_TYPE) == 0) {
        return STELE_OK;
    }
    return check_name("the content type", content_type, STELE_CONTENT_TYPE_SIZE_MAX, out, err);
}

static int check_sizes(size_t size_max, const struct stele_event_draft *draft,
                       struct stele_error *err)
{
    if ((draft->data == NULL && draft->data_size > 0) ||
        (draft->metadata == NULL && draft->metadata_size > 0)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "an event's data or metadata is NULL but has a size");
    }
    if (draft->data_size > size_max || draft->metadata_size > size_max - draft->data_size) {
        return stele_fail(
            err, STELE_E_LIMIT, 0,
            "an event has %zu bytes of data and %zu of metadata; at most %zu together "
            "are allowed",
            draft->data_size, draft->metadata_size, size_max);
    }
    return STELE_OK;
}

static bool id_is_zero(const uint8_t id[16])
{
    static const uint8_t zeros[16];
    return memcmp(id, zeros, sizeof zeros) == 0;
}

/* RFC 9562, section 5.7: 48 bits of milliseconds, then random bits. */
static void make_id(struct stele_io *io, int64_t now_us, uint8_t id[16])
{
    io->ops->random(io, id, 16);
    const uint64_t ms = (uint64_t)(now_us / 1000);
    for (int i = 0; i < 6; i++) {
        id[i] = (uint8_t)(ms >> (40 - 8 * i));
    }
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x70);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

static int reserve_record(struct stele_prepared *prepared, size_t size, size_t tags_count,
                          struct stele_error *err)
{
    const size_t tags = prepared->tags_count + tags_count;
    size_t entries_capacity = prepared->tags_capacity;
    if (stele_buf_reserve(&prepared->bytes, prepared->alloc, size) != STELE_OK ||
        stele_store__grow(prepared->alloc, (void **)&prepared->records, &prepared->records_capacity,
                          sizeof *prepared->records, prepared->records_count + 1) != STELE_OK ||
        /* Both arrays of tags share one capacity: the second one grows first, and if the first
         * fails, its new capacity is only known here and would be released with a wrong size. */
        stele_store__grow(prepared->alloc, (void **)&prepared->tag_entries, &entries_capacity,
                          sizeof *prepared->tag_entries, tags) != STELE_OK) {
        return fail_memory(err);
    }
    if (stele_store__grow(prepared->alloc, (void **)&prepared->tags, &prepared->tags_capacity,
                          sizeof *prepared->tags, tags) != STELE_OK) {
        stele_release(prepared->alloc, prepared->tag_entries,
                      entries_capacity * sizeof *prepared->tag_entries);
        stele_release(prepared->alloc, prepared->tags,
                      prepared->tags_capacity * sizeof *prepared->tags);
        prepared->tag_entries = NULL;
        prepared->tags = NULL;
        prepared->tags_capacity = 0;
        prepared->tags_count = 0;
        return fail_memory(err);
    }
    STELE_ASSERT(prepared->tags_capacity == entries_capacity);
    return STELE_OK;
}

static int add_record(struct stele_prepared *prepared, struct stele_prepared_stream *stream,
                      const struct stele_event_draft *draft, struct stele_bytes type, uint8_t flags,
                      int64_t now_us, struct stele_error *err)
{
    STELE_UNINITIALIZED uint8_t tags_buffer[TAGS_SIZE_MAX];
    struct stele_bytes tags;
    struct stele_bytes content_type;
    int outcome = encode_tags(draft, tags_buffer, &tags, err);
    if (outcome == STELE_OK) {
        outcome = check_content_type(draft->content_type, &content_type, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    uint8_t id[16];
    memcpy(id, draft->id, sizeof id);
    if (id_is_zero(id) && prepared->ordered) {
        return stele_fail(err, STELE_E_INVALID, 0, "an event of a command has no id");
    }
    if (id_is_zero(id)) {
        make_id(prepared->store->io, now_us, id);
    }
    const struct stele_record_draft record_draft = {
        .id = id,
        .created_us = draft->created_us != 0 ? draft->created_us : now_us,
        .stream = stream->key.name,
        .type = type,
        .content_type = content_type,
        .tags = tags,
        .tags_count = (uint8_t)draft->tags_count,
        .flags = flags,
        .metadata = {.data = draft->metadata, .size = draft->metadata_size},
        .data = {.data = draft->data, .size = draft->data_size},
    };
    const size_t size = stele_record_size(&record_draft);
    if (size > STELE_APPEND_SIZE_MAX - prepared->bytes.size) {
        return stele_fail(err, STELE_E_LIMIT, 0, "the append is larger than %u bytes; split it",
                          STELE_APPEND_SIZE_MAX);
    }
    outcome = reserve_record(prepared, size, draft->tags_count, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_prepared_record *record = &prepared->records[prepared->records_count++];
    *record = (struct stele_prepared_record){
        .offset = prepared->bytes.size,
        .size = size,
        .tags_first = prepared->tags_count,
        .tags_count = (uint32_t)draft->tags_count,
        .id_hash = stele_index_id_hash(prepared->store->superblock.seed, id),
    };
    uint8_t *bytes = prepared->bytes.data + prepared->bytes.size;
    record->body_checksum = stele_record_encode_body(bytes, &record_draft);
    prepared->bytes.size += size;
    prepared->tags_count += draft->tags_count;
    stream->records_count++;
    stream->payload_size += size;
    return STELE_OK;
}

/* The names in the keys of types and tags point into the encoded records, whose buffer has stopped
 * moving only now. */
static int make_keys(struct stele_prepared *prepared)
{
    const uint64_t seed = prepared->store->superblock.seed;
    struct stele_index_key type = {.space = STELE_SPACE_TYPE, .name = {.data = NULL, .size = 0}};
    for (size_t i = 0; i < prepared->records_count; i++) {
        struct stele_prepared_record *record = &prepared->records[i];
        const struct stele_bytes bytes = {.data = prepared->bytes.data + record->offset,
                                          .size = record->size};
        struct stele_event event;
        size_t size = 0;
        const int outcome = stele_record_decode_trusted(bytes, &event, &size);
        if (outcome != STELE_OK) {
            return outcome;
        }
        STELE_ASSERT(size == record->size);
        if (i == 0 || !stele_bytes_equal(type.name, stele_store__bytes(event.type))) {
            type = stele_index_key(seed, STELE_SPACE_TYPE, stele_store__bytes(event.type));
        }
        record->type = type;
        const uint8_t *tag = event.tags;
        for (uint32_t t = 0; t < record->tags_count; t++) {
            const struct stele_bytes name = {.data = tag + 1, .size = tag[0]};
            prepared->tags[record->tags_first + t] = stele_index_key(seed, STELE_SPACE_TAG, name);
            tag += 1 + tag[0];
        }
    }
    return STELE_OK;
}

/* Type, sizes, and that it belongs into this stream. */
static int check_event(const char *stream, bool is_meta, size_t size_max,
                       const struct stele_event_draft *draft, struct stele_bytes *out_type,
                       struct stele_error *err)
{
    int outcome = check_name("an event's type", draft->type, STELE_TYPE_SIZE_MAX, out_type, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const bool is_meta_type = strcmp(draft->type, METADATA_TYPE) == 0;
    if (strcmp(draft->type, TOMBSTONE_TYPE) == 0 || is_meta != is_meta_type) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "stream %s: an event of type %s does not belong here", stream,
                          draft->type);
    }
    outcome = check_sizes(size_max, draft, err);
    return outcome == STELE_OK && is_meta ? stele_metadata_check(draft->data, draft->data_size, err)
                                          : outcome;
}

static int add_events(struct stele_prepared *prepared, struct stele_prepared_stream *stream,
                      const struct stele_append *append, int64_t now_us, struct stele_error *err)
{
    const bool is_meta = stele_store__is_metastream(stream->key.name);
    const size_t size_max =
        prepared->ordered ? STELE_EVENT_SIZE_MAX : prepared->store->options.public.event_size_max;
    for (size_t i = 0; i < append->count; i++) {
        const struct stele_event_draft *draft = &append->events[i];
        struct stele_bytes type;
        int outcome = check_event(append->stream, is_meta, size_max, draft, &type, err);
        if (outcome == STELE_OK) {
            outcome = add_record(prepared, stream, draft, type, 0, now_us, err);
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

/* ---- Conditions ---- */

static int add_condition_key(struct stele_prepared *prepared, uint8_t space, const char *what,
                             const char *name, size_t size_max, struct stele_error *err)
{
    struct stele_bytes text;
    const int outcome = check_name(what, name, size_max, &text, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_bytes kept = keep(prepared, text);
    if (kept.data == NULL ||
        stele_store__grow(prepared->alloc, (void **)&prepared->condition_keys,
                          &prepared->condition_keys_capacity, sizeof *prepared->condition_keys,
                          prepared->condition_keys_count + 1) != STELE_OK) {
        return fail_memory(err);
    }
    prepared->condition_keys[prepared->condition_keys_count++] =
        stele_index_key(prepared->store->superblock.seed, space, kept);
    return STELE_OK;
}

static int check_item(const struct stele_query_item *item, struct stele_error *err)
{
    if (item->types_count > STELE_CONDITIONS_MAX || item->tags_count > STELE_TAGS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "a condition has %zu types and %zu tags; at most %u and %d are allowed",
                          item->types_count, item->tags_count, STELE_CONDITIONS_MAX,
                          STELE_TAGS_MAX);
    }
    if ((item->types == NULL && item->types_count > 0) ||
        (item->tags == NULL && item->tags_count > 0)) {
        return stele_fail(err, STELE_E_INVALID, 0, "a condition's types or tags are NULL");
    }
    return STELE_OK;
}

static int add_item(struct stele_prepared *prepared, const struct stele_query_item *item,
                    struct stele_error *err)
{
    int outcome = check_item(item, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (stele_store__grow(prepared->alloc, (void **)&prepared->items, &prepared->items_capacity,
                          sizeof *prepared->items, prepared->items_count + 1) != STELE_OK) {
        return fail_memory(err);
    }
    const size_t first = prepared->condition_keys_count;
    prepared->items[prepared->items_count++] = (struct stele_prepared_item){
        .types_first = first,
        .types_count = item->types_count,
        .tags_first = first + item->types_count,
        .tags_count = item->tags_count,
    };
    for (size_t i = 0; i < item->types_count && outcome == STELE_OK; i++) {
        outcome = add_condition_key(prepared, STELE_SPACE_TYPE, "a condition's type",
                                    item->types[i], STELE_TYPE_SIZE_MAX, err);
    }
    for (size_t i = 0; i < item->tags_count && outcome == STELE_OK; i++) {
        outcome = add_condition_key(prepared, STELE_SPACE_TAG, "a condition's tag", item->tags[i],
                                    STELE_TAG_SIZE_MAX, err);
    }
    return outcome;
}

static int check_condition(const struct stele_condition *condition, struct stele_error *err)
{
    if (condition->items == NULL || condition->items_count == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "a condition has no query items");
    }
    if (condition->items_count > STELE_CONDITIONS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "a condition has %zu query items; 1 to %u are allowed",
                          condition->items_count, STELE_CONDITIONS_MAX);
    }
    if (condition->after > STELE_POSITION_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "a condition's position %llu is none",
                          (unsigned long long)condition->after);
    }
    return STELE_OK;
}

static int add_condition(struct stele_prepared *prepared, const struct stele_condition *condition,
                         struct stele_error *err)
{
    int outcome = check_condition(condition, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (stele_store__grow(prepared->alloc, (void **)&prepared->conditions,
                          &prepared->conditions_capacity, sizeof *prepared->conditions,
                          prepared->conditions_count + 1) != STELE_OK) {
        return fail_memory(err);
    }
    prepared->conditions[prepared->conditions_count++] = (struct stele_prepared_condition){
        .items_first = prepared->items_count,
        .items_count = condition->items_count,
        .after = condition->after,
    };
    for (size_t i = 0; i < condition->items_count && outcome == STELE_OK; i++) {
        outcome = add_item(prepared, &condition->items[i], err);
    }
    return outcome;
}

/* ---- The request ---- */

static void reset(struct stele_prepared *prepared, bool ordered)
{
    prepared->ordered = ordered;
    prepared->bytes.size = 0;
    prepared->streams_count = 0;
    prepared->records_count = 0;
    prepared->tags_count = 0;
    prepared->conditions_count = 0;
    prepared->items_count = 0;
    prepared->condition_keys_count = 0;
    stele_arena_deinit(&prepared->arena, prepared->alloc);
    prepared->arena.block_size = 1024;
}

static int check_counts(const struct stele_append *streams, size_t streams_count,
                        const struct stele_condition *conditions, size_t conditions_count,
                        struct stele_error *err)
{
    if (streams == NULL || streams_count == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "the append names no stream");
    }
    if (streams_count > STELE_APPEND_STREAMS_MAX || conditions_count > STELE_CONDITIONS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "the append has %zu streams and %zu conditions; at most %u and %u are "
                          "allowed",
                          streams_count, conditions_count, STELE_APPEND_STREAMS_MAX,
                          STELE_CONDITIONS_MAX);
    }
    if (conditions == NULL && conditions_count > 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "the conditions are NULL");
    }
    size_t events = 0;
    for (size_t i = 0; i < streams_count; i++) {
        if (streams[i].count > STELE_APPEND_EVENTS_MAX - events) {
            return stele_fail(err, STELE_E_LIMIT, 0, "the append has more than %u events; split it",
                              STELE_APPEND_EVENTS_MAX);
        }
        if (streams[i].count > 0 && streams[i].events == NULL) {
            return stele_fail(err, STELE_E_INVALID, 0, "the events are NULL");
        }
        events += streams[i].count;
    }
    if (events == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "the append has no events");
    }
    return STELE_OK;
}

static int check_draft(const char *stream, bool is_meta, const struct stele_event_draft *draft,
                       struct stele_error *err)
{
    STELE_UNINITIALIZED uint8_t tags[TAGS_SIZE_MAX];
    struct stele_bytes text;
    int outcome = check_event(stream, is_meta, STELE_EVENT_SIZE_MAX, draft, &text, err);
    if (outcome == STELE_OK) {
        outcome = encode_tags(draft, tags, &text, err);
    }
    return outcome == STELE_OK ? check_content_type(draft->content_type, &text, err) : outcome;
}

static int check_names(const char *what, const char *const *names, size_t count, size_t size_max,
                       struct stele_error *err)
{
    struct stele_bytes text;
    int outcome = STELE_OK;
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        outcome = check_name(what, names[i], size_max, &text, err);
    }
    return outcome;
}

int stele_store_check_append(const struct stele_append *streams, size_t streams_count,
                             const struct stele_condition *conditions, size_t conditions_count,
                             struct stele_error *err)
{
    int outcome = check_counts(streams, streams_count, conditions, conditions_count, err);
    for (size_t i = 0; i < streams_count && outcome == STELE_OK; i++) {
        struct stele_bytes name;
        outcome = check_stream(streams[i].stream, streams[i].expected, &name, err);
        for (size_t e = 0; e < streams[i].count && outcome == STELE_OK; e++) {
            outcome = check_draft(streams[i].stream, stele_store__is_metastream(name),
                                  &streams[i].events[e], err);
        }
    }
    for (size_t i = 0; i < conditions_count && outcome == STELE_OK; i++) {
        outcome = check_condition(&conditions[i], err);
        for (size_t k = 0; outcome == STELE_OK && k < conditions[i].items_count; k++) {
            const struct stele_query_item *item = &conditions[i].items[k];
            outcome = check_item(item, err);
            if (outcome == STELE_OK) {
                outcome = check_names("a condition's type", item->types, item->types_count,
                                      STELE_TYPE_SIZE_MAX, err);
            }
            if (outcome == STELE_OK) {
                outcome = check_names("a condition's tag", item->tags, item->tags_count,
                                      STELE_TAG_SIZE_MAX, err);
            }
        }
    }
    return outcome;
}

int stele_store__prepare(struct stele_prepared *prepared, const struct stele_append *streams,
                         size_t streams_count, const struct stele_condition *conditions,
                         size_t conditions_count, bool ordered, int64_t now_us,
                         struct stele_error *err)
{
    reset(prepared, ordered);
    int outcome = check_counts(streams, streams_count, conditions, conditions_count, err);
    for (size_t i = 0; i < streams_count && outcome == STELE_OK; i++) {
        struct stele_prepared_stream *stream = NULL;
        outcome = add_stream(prepared, streams[i].stream, streams[i].expected, &stream, err);
        if (outcome == STELE_OK) {
            outcome = add_events(prepared, stream, &streams[i], now_us, err);
        }
    }
    for (size_t i = 0; i < conditions_count && outcome == STELE_OK; i++) {
        outcome = add_condition(prepared, &conditions[i], err);
    }
    return outcome == STELE_OK ? make_keys(prepared) : outcome;
}

int stele_prepare(struct stele_prepared *prepared, const struct stele_append *streams,
                  size_t streams_count, const struct stele_condition *conditions,
                  size_t conditions_count, int64_t now_us, struct stele_error *err)
{
    return stele_store__prepare(prepared, streams, streams_count, conditions, conditions_count,
                                false, now_us, err);
}

int stele_prepare_at(struct stele_prepared *prepared, const struct stele_append *streams,
                     size_t streams_count, const struct stele_condition *conditions,
                     size_t conditions_count, uint64_t stamp, struct stele_error *err)
{
    return stele_store__prepare(prepared, streams, streams_count, conditions, conditions_count,
                                true, stele_order_time_us(stamp), err);
}

static int prepare_tombstone(struct stele_prepared *prepared, const char *stream_name,
                             uint64_t expected, const uint8_t id[16], int64_t now_us,
                             struct stele_error *err)
{
    reset(prepared, id != NULL);
    struct stele_prepared_stream *stream = NULL;
    int outcome = add_stream(prepared, stream_name, expected, &stream, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (stele_store__is_metastream(stream->key.name)) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s: metadata cannot be tombstoned",
                          stream_name);
    }
    struct stele_event_draft draft = {.type = TOMBSTONE_TYPE};
    if (id != NULL) {
        memcpy(draft.id, id, sizeof draft.id);
    }
    stream->tombstone = true;
    outcome = add_record(prepared, stream, &draft, stele_bytes_of_text(TOMBSTONE_TYPE),
                         STELE_RECORD_TOMBSTONE, now_us, err);
    return outcome == STELE_OK ? make_keys(prepared) : outcome;
}

int stele_prepare_tombstone(struct stele_prepared *prepared, const char *stream, uint64_t expected,
                            int64_t now_us, struct stele_error *err)
{
    return prepare_tombstone(prepared, stream, expected, NULL, now_us, err);
}

int stele_prepare_tombstone_at(struct stele_prepared *prepared, const char *stream,
                               uint64_t expected, const uint8_t id[16], uint64_t stamp,
                               struct stele_error *err)
{
    return prepare_tombstone(prepared, stream, expected, id, stele_order_time_us(stamp), err);
}
