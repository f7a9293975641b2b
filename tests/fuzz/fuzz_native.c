/* The messages of the native service, on both sides: any bytes are refused or make sense, and nothing
 * is left behind. The first byte chooses the decoder. */
#include "api/native/native_internal.h"
#include "client/remote.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t blocks;

static void *reallocate(struct stele_alloc *self, void *old, size_t old_size, size_t new_size)
{
    (void)self;
    (void)old_size;
    blocks -= old != NULL;
    if (new_size == 0) {
        free(old);
        return NULL;
    }
    blocks++;
    void *memory = realloc(old, new_size);
    STELE_ASSERT(memory != NULL);
    return memory;
}

static struct stele_alloc alloc = {.reallocate = reallocate};

static size_t sum; /* So that what is handed out is looked at. */

static void look_at_texts(const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sum += strlen(texts[i]);
    }
}

static void look_at_conditions(const struct stele_condition *conditions, size_t count)
{
    STELE_ASSERT(count <= STELE_CONDITIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        STELE_ASSERT(conditions[i].items_count <= STELE_CONDITIONS_MAX);
        for (size_t k = 0; k < conditions[i].items_count; k++) {
            look_at_texts(conditions[i].items[k].types, conditions[i].items[k].types_count);
            look_at_texts(conditions[i].items[k].tags, conditions[i].items[k].tags_count);
        }
    }
}

static void look_at_draft(const struct stele_event_draft *draft)
{
    sum += strlen(draft->type) + (draft->content_type == NULL ? 0 : strlen(draft->content_type));
    STELE_ASSERT(draft->tags_count <= STELE_TAGS_MAX);
    look_at_texts(draft->tags, draft->tags_count);
    for (size_t i = 0; i < draft->data_size; i++) {
        sum += ((const uint8_t *)draft->data)[i];
    }
    for (size_t i = 0; i < draft->metadata_size; i++) {
        sum += ((const uint8_t *)draft->metadata)[i];
    }
}

static void try_append(struct stele_bytes bytes, struct stele_native__room *room)
{
    struct stele_native__append_request request;
    struct stele_error err;
    if (stele_native__decode_append(bytes, room, &request, &err) != STELE_OK) {
        return;
    }
    size_t events = 0;
    STELE_ASSERT(request.streams_count >= 1 && request.streams_count <= STELE_APPEND_STREAMS_MAX);
    for (size_t i = 0; i < request.streams_count; i++) {
        const struct stele_append *append = &request.streams[i];
        sum += strlen(append->stream);
        events += append->count;
        for (size_t e = 0; e < append->count; e++) {
            look_at_draft(&append->events[e]);
        }
    }
    STELE_ASSERT(events <= STELE_APPEND_EVENTS_MAX);
    look_at_conditions(request.conditions, request.conditions_count);
}

static void look_at_filter(const struct stele_filter *filter)
{
    look_at_texts(filter->types, filter->types_count);
    look_at_texts(filter->type_prefixes, filter->type_prefixes_count);
    look_at_texts(filter->streams, filter->streams_count);
    look_at_texts(filter->stream_prefixes, filter->stream_prefixes_count);
    look_at_texts(filter->categories, filter->categories_count);
    look_at_texts(filter->tags, filter->tags_count);
    sum += (filter->type_regex == NULL ? 0 : strlen(filter->type_regex)) +
           (filter->stream_regex == NULL ? 0 : strlen(filter->stream_regex));
}

static void try_read(struct stele_bytes bytes, struct stele_native__room *room)
{
    struct stele_native__read_request request;
    struct stele_error err;
    if (stele_native__decode_read(bytes, room, &request, &err) == STELE_OK) {
        sum += request.stream == NULL ? 0 : strlen(request.stream);
        sum += request.options.token == NULL ? 0 : strlen(request.options.token);
        if (request.options.filter != NULL) {
            look_at_filter(request.options.filter);
        }
    }
}

static void try_answer(struct stele_bytes bytes)
{
    static struct far_answer answer;
    if (stele_remote_decode_answer(bytes, &answer)) {
        sum += strnlen(answer.message, sizeof answer.message);
        STELE_ASSERT(strnlen(answer.message, sizeof answer.message) < sizeof answer.message);
        STELE_ASSERT(memchr(answer.result.token, '\0', sizeof answer.result.token) != NULL);
        for (size_t i = 0; i < answer.revisions_size; i++) {
            sum += answer.revisions[i];
        }
    }
}

static void try_event(struct stele_bytes bytes)
{
    struct far far = {.alloc = &alloc};
    struct far_events events = {.count = 0};
    if (stele_remote_decode_event(&far, bytes, &events)) {
        STELE_ASSERT(events.count == 1);
        const struct stele_event *event = &events.events[0];
        for (uint32_t i = 0; i < event->tags_count; i++) {
            const struct stele_text tag = stele_event_tag(event, i);
            for (size_t at = 0; at < tag.size; at++) {
                sum += (uint8_t)tag.data[at];
            }
        }
        sum += event->stream.size + event->type.size + event->data_size + event->metadata_size;
    }
    stele_remote_events_deinit(&far, &events);
}

static void try_symbol(struct stele_bytes bytes)
{
    struct stele_native__files files;
    stele_native__file_with_symbol(bytes, &files);
    STELE_ASSERT(files.count <= STELE_NATIVE__FILES_MAX);
    stele_native__file_named(bytes, &files);
    STELE_ASSERT(files.count <= STELE_NATIVE__FILES_MAX);
    sum += stele_native__is_message(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stele_native__room room = {.arena = {.block_size = 256}, .alloc = &alloc};
    struct stele_condition *conditions = NULL;
    struct stele_filter filter;
    struct stele_error err;
    size_t count = 0;
    if (size == 0) {
        return 0;
    }
    const struct stele_bytes bytes = {.data = data + 1, .size = size - 1};
    switch (data[0] % 7) {
    case 0:
        try_append(bytes, &room);
        break;
    case 1:
        try_read(bytes, &room);
        break;
    case 2:
        if (stele_native__decode_conditions(bytes, 1, &room, &conditions, &count, &err) ==
            STELE_OK) {
            look_at_conditions(conditions, count);
        }
        break;
    case 3:
        if (stele_native__decode_filter(bytes, &room, &filter, &err) == STELE_OK) {
            look_at_filter(&filter);
        }
        break;
    case 4:
        try_answer(bytes);
        break;
    case 5:
        try_event(bytes);
        break;
    default:
        try_symbol(bytes);
        break;
    }
    stele_arena_deinit(&room.arena, &alloc);
    STELE_ASSERT(blocks == 0);
    return 0;
}
