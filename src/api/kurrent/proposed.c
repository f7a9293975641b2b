#include "api/kurrent/kurrent_internal.h"

#include <jansson.h>
#include <stdlib.h>

/* One event of a batch. Texts lie in batch->bytes, which may move: places, not pointers. */
struct stele_kurrent__item {
    uint8_t id[16];
    size_t type_at;
    size_t content_type_at;  /* SIZE_MAX: JSON. */
    const uint8_t *data;     /* NULL: at data_at of batch->bytes. */
    const uint8_t *metadata; /* Likewise. */
    size_t data_at, data_size;
    size_t metadata_at, metadata_size;
};

/* ---- Reading -------------------------------------------------------------------------------- */

/* An entry of map<string, string>. */
static bool get_entry(struct stele_bytes message, struct stele_text *key, struct stele_text *value)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    *key = (struct stele_text){.data = "", .size = 0};
    *value = *key;
    while (stele_pb_next(&reader, &field)) {
        if (field.wire == STELE_PB_BYTES && field.number == 1) {
            *key = stele_kurrent__text(field.bytes);
        } else if (field.wire == STELE_PB_BYTES && field.number == 2) {
            *value = stele_kurrent__text(field.bytes);
        }
    }
    return !reader.bad;
}

bool stele_kurrent__get_proposed(struct stele_bytes message, struct stele_kurrent__proposed *out)
{
    *out = (struct stele_kurrent__proposed){.has_id = false};
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.wire != STELE_PB_BYTES) {
            continue;
        }
        struct stele_text key;
        struct stele_text value;
        switch (field.number) {
        case 1:
            if (!stele_kurrent__get_uuid(field.bytes, out->id)) {
                return false;
            }
            out->has_id = true;
            break;
        case 2:
            if (!get_entry(field.bytes, &key, &value)) {
                return false;
            }
            if (stele_kurrent__is(key, "type")) {
                out->has_type = true;
                out->type = value;
            } else if (stele_kurrent__is(key, "content-type")) {
                out->has_content_type = true;
                out->content_type = value;
            }
            break;
        case 3:
            out->metadata = field.bytes;
            break;
        case 4:
            out->data = field.bytes;
            break;
        default:
            break;
        }
    }
    return !reader.bad;
}

/* Units of UTF-16: two for what takes four bytes in UTF-8. */
static size_t utf16_size(struct stele_text text)
{
    size_t units = 0;
    for (size_t i = 0; i < text.size; i++) {
        const uint8_t byte = (uint8_t)text.data[i];
        units += (byte & 0xc0) == 0x80 ? 0 : (byte >= 0xf0 ? 2 : 1);
    }
    return 2 * units;
}

uint64_t stele_kurrent__event_size(struct stele_text type, size_t data_size, size_t metadata_size)
{
    return (uint64_t)utf16_size(type) + data_size + metadata_size;
}

/* ---- Batches -------------------------------------------------------------------------------- */

static int add_text(struct stele_kurrent__batch *batch, struct stele_alloc *alloc,
                    struct stele_text text, size_t *out_at)
{
    *out_at = batch->bytes.size;
    if (stele_buf_reserve(&batch->bytes, alloc, text.size + 1) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    uint8_t *to = batch->bytes.data + batch->bytes.size;
    if (text.size > 0) {
        memcpy(to, text.data, text.size);
    }
    to[text.size] = 0;
    batch->bytes.size += text.size + 1;
    return STELE_OK;
}

static bool has_zero(struct stele_text text)
{
    return text.size > 0 && memchr(text.data, '\0', text.size) != NULL;
}

static int add_item(struct stele_kurrent__batch *batch, struct stele_alloc *alloc,
                    const struct stele_kurrent__proposed *event, bool copy)
{
    struct stele_kurrent__item item = {
        .content_type_at = SIZE_MAX,
        .data = event->data.data,
        .data_size = event->data.size,
        .metadata = event->metadata.data,
        .metadata_size = event->metadata.size,
    };
    memcpy(item.id, event->id, sizeof item.id);
    int outcome = add_text(batch, alloc, event->type, &item.type_at);
    if (outcome == STELE_OK && !stele_kurrent__is(event->content_type, "application/json")) {
        outcome = add_text(batch, alloc, event->content_type, &item.content_type_at);
    }
    if (outcome == STELE_OK && copy) {
        outcome = add_text(batch, alloc, stele_kurrent__text(event->data), &item.data_at);
        item.data = NULL;
    }
    if (outcome == STELE_OK && copy) {
        outcome = add_text(batch, alloc, stele_kurrent__text(event->metadata), &item.metadata_at);
        item.metadata = NULL;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    return stele_buf_append(
        &batch->items, alloc,
        (struct stele_bytes){.data = (const uint8_t *)&item, .size = sizeof item});
}

enum stele_kurrent__refusal stele_kurrent__batch_add(struct stele_kurrent__batch *batch,
                                                     struct stele_alloc *alloc,
                                                     const struct stele_server *server,
                                                     const struct stele_kurrent__proposed *event,
                                                     bool copy)
{
    if (!event->has_type) {
        return REFUSAL_NO_TYPE;
    }
    if (!event->has_content_type) {
        return REFUSAL_NO_CONTENT_TYPE;
    }
    if (!event->has_id || has_zero(event->type) || has_zero(event->content_type)) {
        return REFUSAL_INVALID;
    }
    const uint64_t size =
        stele_kurrent__event_size(event->type, event->data.size, event->metadata.size);
    if (size > server->event_size_max) {
        return REFUSAL_EVENT_SIZE;
    }
    if (size > server->append_size_max - batch->size) {
        return REFUSAL_APPEND_SIZE;
    }
    if (add_item(batch, alloc, event, copy) != STELE_OK) {
        return REFUSAL_NO_MEMORY;
    }
    batch->size += size;
    return REFUSAL_NONE;
}

size_t stele_kurrent__batch_count(const struct stele_kurrent__batch *batch)
{
    return batch->items.size / sizeof(struct stele_kurrent__item);
}

const struct stele_event_draft *stele_kurrent__batch_drafts(struct stele_kurrent__batch *batch,
                                                            struct stele_alloc *alloc)
{
    const size_t count = stele_kurrent__batch_count(batch);
    STELE_ASSERT(count > 0);
    batch->drafts.size = 0;
    if (stele_buf_reserve(&batch->drafts, alloc, count * sizeof(struct stele_event_draft)) !=
        STELE_OK) {
        return NULL;
    }
    /* Memory of allocators is aligned to 16. */
    struct stele_event_draft *drafts = (struct stele_event_draft *)(void *)batch->drafts.data;
    const struct stele_kurrent__item *items =
        (const struct stele_kurrent__item *)(const void *)batch->items.data;
    const uint8_t *bytes = batch->bytes.data;
    for (size_t i = 0; i < count; i++) {
        const struct stele_kurrent__item *item = &items[i];
        struct stele_event_draft *draft = &drafts[i];
        *draft = (struct stele_event_draft){
            .type = (const char *)bytes + item->type_at,
            .data = item->data != NULL ? item->data : bytes + item->data_at,
            .data_size = item->data_size,
            .metadata = item->metadata != NULL ? item->metadata : bytes + item->metadata_at,
            .metadata_size = item->metadata_size,
            .content_type = item->content_type_at == SIZE_MAX
                                ? NULL
                                : (const char *)bytes + item->content_type_at,
        };
        memcpy(draft->id, item->id, sizeof draft->id);
        /* Any other content type is binary to this protocol, even none or one that is too long. */
        if (draft->content_type != NULL &&
            (draft->content_type[0] == '\0' ||
             strlen(draft->content_type) > STELE_CONTENT_TYPE_SIZE_MAX)) {
            draft->content_type = "application/octet-stream";
        }
    }
    batch->drafts.size = count * sizeof *drafts;
    return drafts;
}

/* The object with "$tb" at or above next, unless it has that already. */
static int add_truncation(struct stele_kurrent__batch *batch, struct stele_alloc *alloc,
                          struct stele_kurrent__item *item, uint64_t next)
{
    const void *data = item->data != NULL ? item->data : batch->bytes.data + item->data_at;
    json_t *object = json_loadb(data, item->data_size, 0, NULL);
    const json_t *before = json_object_get(object, "$tb");
    int outcome = STELE_OK;
    if (!json_is_object(object) ||
        (json_is_integer(before) && (uint64_t)json_integer_value(before) >= next)) {
        json_decref(object);
        return STELE_OK;
    }
    char *text = json_object_set_new(object, "$tb", json_integer((json_int_t)next)) == 0
                     ? json_dumps(object, JSON_COMPACT)
                     : NULL;
    if (text == NULL) {
        outcome = STELE_E_NO_MEMORY;
    } else {
        const size_t size = strlen(text);
        outcome =
            add_text(batch, alloc, (struct stele_text){.data = text, .size = size}, &item->data_at);
        item->data = NULL;
        item->data_size = size;
        free(text);
    }
    json_decref(object);
    return outcome;
}

/* SPEC(kurrent/delete/metadata-afterwards) */
int stele_kurrent__batch_keep_deleted(struct stele_kurrent__batch *batch, struct stele_alloc *alloc,
                                      struct stele_engine *engine, const char *stream)
{
    struct stele_stream_info info;
    if (strncmp(stream, "$$", 2) != 0 || stele_kurrent__batch_count(batch) == 0 ||
        engine->ops->stream_info(engine, stream + 2, &info, NULL) != STELE_OK || !info.deleted ||
        info.tombstoned) {
        return STELE_OK;
    }
    struct stele_kurrent__item *items = (struct stele_kurrent__item *)(void *)batch->items.data;
    struct stele_kurrent__item *last = &items[stele_kurrent__batch_count(batch) - 1];
    return add_truncation(batch, alloc, last, info.revision_last + 1);
}

void stele_kurrent__batch_clear(struct stele_kurrent__batch *batch)
{
    batch->items.size = 0;
    batch->bytes.size = 0;
    batch->drafts.size = 0;
    batch->size = 0;
}

void stele_kurrent__batch_deinit(struct stele_kurrent__batch *batch, struct stele_alloc *alloc)
{
    stele_buf_deinit(&batch->items, alloc);
    stele_buf_deinit(&batch->bytes, alloc);
    stele_buf_deinit(&batch->drafts, alloc);
    batch->size = 0;
}

/* ---- Expectations --------------------------------------------------------------------------- */

static bool has_metadata(struct stele_engine *engine, const char *stream)
{
    size_t size = 0;
    uint64_t revision = 0;
    return engine->ops->get_metadata(engine, stream, NULL, 0, &size, &revision, NULL) == STELE_OK;
}

uint64_t stele_kurrent__expectation(struct stele_engine *engine, const char *stream,
                                    uint64_t expected)
{
    struct stele_stream_info info;
    if (expected == STELE_EXPECT_EXISTS &&
        engine->ops->stream_info(engine, stream, &info, NULL) == STELE_NO_STREAM &&
        has_metadata(engine, stream)) {
        /* SPEC(kurrent/append/stream-exists): no events, but metadata. */
        return STELE_EXPECT_NO_STREAM;
    }
    return expected;
}

enum stele_kurrent__ending stele_kurrent__ending(struct stele_engine *engine, const char *stream,
                                                 uint64_t expected,
                                                 const struct stele_appending *appending,
                                                 uint64_t *out_current)
{
    struct stele_stream_info info;
    *out_current = appending->result.revision_last;
    switch (appending->outcome) {
    case STELE_OK:
        return ENDING_OK;
    case STELE_STREAM_DELETED:
        return ENDING_DELETED;
    case STELE_WRONG_REVISION:
        /* SPEC(kurrent/append/soft-deleted): to "exists", a soft-deleted stream is deleted. */
        if (expected == STELE_EXPECT_EXISTS &&
            engine->ops->stream_info(engine, stream, &info, NULL) == STELE_OK && info.deleted) {
            return ENDING_DELETED;
        }
        return ENDING_EXPECTED;
    case STELE_E_ID_CONFLICT:
        *out_current = STELE_EXPECT_NO_STREAM;
        if (engine->ops->stream_info(engine, stream, &info, NULL) == STELE_OK) {
            *out_current = info.revision_last;
        }
        return ENDING_EXPECTED;
    default:
        return ENDING_OTHER;
    }
}

enum stele_kurrent__ending stele_kurrent__check_only(struct stele_engine *engine,
                                                     const char *stream, uint64_t expected,
                                                     uint64_t *out_current)
{
    struct stele_stream_info info = {.revision_last = 0};
    const int outcome = engine->ops->stream_info(engine, stream, &info, NULL);
    *out_current = STELE_EXPECT_NO_STREAM;
    if (outcome == STELE_NO_STREAM) {
        const bool holds = expected == STELE_EXPECT_ANY || expected == STELE_EXPECT_NO_STREAM ||
                           (expected == STELE_EXPECT_EXISTS && has_metadata(engine, stream));
        return holds ? ENDING_OK : ENDING_EXPECTED;
    }
    if (outcome != STELE_OK) {
        return ENDING_OTHER;
    }
    if (info.tombstoned) {
        return ENDING_DELETED;
    }
    *out_current = info.revision_last;
    if (expected == STELE_EXPECT_EXISTS && info.deleted) {
        return ENDING_DELETED;
    }
    const bool holds = expected == STELE_EXPECT_ANY || expected == STELE_EXPECT_EXISTS ||
                       (expected == STELE_EXPECT_NO_STREAM && info.deleted) ||
                       expected == info.revision_last;
    return holds ? ENDING_OK : ENDING_EXPECTED;
}
