/* Requests and answers of the native service, from the client's side. */
#include "client/remote.h"
#include "pb/pb.h"
#include "store/filter.h"
#include "store/store.h"

/* ---- Writing ---- */

static uint8_t *room_for(struct far_writer *writer, size_t size)
{
    writer->failed =
        writer->failed || stele_buf_reserve(&writer->buf, writer->alloc, size) != STELE_OK;
    if (writer->failed) {
        return NULL;
    }
    STELE_ASSERT(writer->buf.data != NULL);
    return writer->buf.data + writer->buf.size;
}

static void wrote(struct far_writer *writer, const uint8_t *end)
{
    writer->buf.size = (size_t)(end - writer->buf.data);
}

void stele_remote_put_number(struct far_writer *writer, uint32_t number, uint64_t value)
{
    uint8_t *to = value == 0 ? NULL : room_for(writer, stele_pb_size_varint(number, value));
    if (to != NULL) {
        wrote(writer, stele_pb_put_u64(to, number, value));
    }
}

void stele_remote_put_bytes(struct far_writer *writer, uint32_t number, const void *data,
                            size_t size)
{
    uint8_t *to = room_for(writer, stele_pb_size_bytes(number, size));
    if (to != NULL) {
        wrote(writer, stele_pb_put_bytes(to, number, data, size));
    }
}

void stele_remote_put_text(struct far_writer *writer, uint32_t number, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        stele_remote_put_bytes(writer, number, text, strlen(text));
    }
}

static void put_texts(struct far_writer *writer, uint32_t number, const char *const *texts,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        stele_remote_put_bytes(writer, number, texts[i], strlen(texts[i]));
    }
}

/* A nested message: begun with room for the longest length, closed up when its size is known. */
#define LENGTH_ROOM 5

static size_t begin_message(struct far_writer *writer, uint32_t number)
{
    uint8_t *to = room_for(writer, 5 + LENGTH_ROOM);
    if (to == NULL) {
        return 0;
    }
    wrote(writer, stele_pb_put_tag(to, number, STELE_PB_BYTES) + LENGTH_ROOM);
    return writer->buf.size;
}

static void end_message(struct far_writer *writer, size_t begin)
{
    if (writer->failed) {
        return;
    }
    const size_t size = writer->buf.size - begin;
    uint8_t *length = writer->buf.data + begin - LENGTH_ROOM;
    uint8_t *behind = stele_pb_put_varint(length, size);
    memmove(behind, writer->buf.data + begin, size);
    writer->buf.size = (size_t)(behind - writer->buf.data) + size;
}

int stele_remote_check_filter(struct far *far, const struct stele_filter *filter,
                              struct stele_error *err)
{
    struct stele_filter_program *program = NULL;
    const int outcome =
        filter == NULL ? STELE_OK : stele_filter_compile(far->alloc, filter, &program, err);
    stele_filter_release(far->alloc, program);
    return outcome;
}

void stele_remote_put_filter(struct far_writer *writer, uint32_t number,
                             const struct stele_filter *filter)
{
    if (filter == NULL) {
        return;
    }
    const size_t begin = begin_message(writer, number);
    put_texts(writer, 1, filter->types, filter->types_count);
    put_texts(writer, 2, filter->type_prefixes, filter->type_prefixes_count);
    stele_remote_put_text(writer, 3, filter->type_regex);
    put_texts(writer, 4, filter->streams, filter->streams_count);
    put_texts(writer, 5, filter->stream_prefixes, filter->stream_prefixes_count);
    stele_remote_put_text(writer, 6, filter->stream_regex);
    put_texts(writer, 7, filter->categories, filter->categories_count);
    put_texts(writer, 8, filter->tags, filter->tags_count);
    stele_remote_put_number(writer, 9, filter->exclude_system == 0);
    end_message(writer, begin);
}

void stele_remote_put_expected(struct far_writer *writer, uint32_t number_expectation,
                               uint32_t number_revision, uint64_t expected)
{
    if (expected == STELE_EXPECT_ANY) {
        return;
    }
    if (expected == STELE_EXPECT_NO_STREAM || expected == STELE_EXPECT_EXISTS) {
        stele_remote_put_number(writer, number_expectation,
                                expected == STELE_EXPECT_NO_STREAM ? 1 : 2);
        return;
    }
    stele_remote_put_number(writer, number_expectation, 3);
    stele_remote_put_number(writer, number_revision, expected);
}

static void put_draft(struct far_writer *writer, const struct stele_event_draft *draft)
{
    static const uint8_t zeros[16] = {0};
    uint8_t id[16];
    memcpy(id, draft->id, sizeof id);
    if (memcmp(id, zeros, sizeof id) == 0) {
        stele_new_id(id); /* So that the library may repeat it. */
    }
    const size_t begin = begin_message(writer, 4);
    stele_remote_put_bytes(writer, 1, id, sizeof id);
    stele_remote_put_text(writer, 2, draft->type);
    if (draft->data_size > 0) {
        stele_remote_put_bytes(writer, 3, draft->data, draft->data_size);
    }
    if (draft->metadata_size > 0) {
        stele_remote_put_bytes(writer, 4, draft->metadata, draft->metadata_size);
    }
    stele_remote_put_text(writer, 5, draft->content_type);
    put_texts(writer, 6, draft->tags, draft->tags_count);
    stele_remote_put_number(writer, 7, (uint64_t)draft->created_us);
    end_message(writer, begin);
}

int stele_remote_encode_append(struct far *far, uint64_t correlation,
                               const struct stele_append *streams, size_t streams_count,
                               const struct stele_condition *conditions, size_t conditions_count,
                               struct stele_buf *out, struct stele_error *err)
{
    const int outcome =
        stele_store_check_append(streams, streams_count, conditions, conditions_count, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct far_writer writer = {.alloc = far->alloc};
    stele_remote_put_number(&writer, 1, correlation);
    for (size_t i = 0; i < streams_count && !writer.failed; i++) {
        const size_t begin = begin_message(&writer, 2);
        stele_remote_put_text(&writer, 1, streams[i].stream);
        stele_remote_put_expected(&writer, 2, 3, streams[i].expected);
        for (size_t e = 0; e < streams[i].count && !writer.failed; e++) {
            put_draft(&writer, &streams[i].events[e]);
            if (writer.buf.size > STELE_APPEND_SIZE_MAX) {
                stele_buf_deinit(&writer.buf, far->alloc);
                return stele_fail(err, STELE_E_LIMIT, 0,
                                  "append: the request is larger than the limit of %u bytes",
                                  STELE_APPEND_SIZE_MAX);
            }
        }
        end_message(&writer, begin);
    }
    for (size_t i = 0; i < conditions_count; i++) {
        const size_t begin = begin_message(&writer, 3);
        for (size_t t = 0; t < conditions[i].items_count; t++) {
            const struct stele_query_item *item = &conditions[i].items[t];
            const size_t item_begin = begin_message(&writer, 1);
            put_texts(&writer, 1, item->types, item->types_count);
            put_texts(&writer, 2, item->tags, item->tags_count);
            end_message(&writer, item_begin);
        }
        stele_remote_put_number(&writer, 2, conditions[i].after);
        end_message(&writer, begin);
    }
    if (writer.failed) {
        stele_buf_deinit(&writer.buf, far->alloc);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "append: no memory");
    }
    *out = writer.buf;
    return STELE_OK;
}

/* ---- Reading ---- */

int stele_remote_outcome_of(uint64_t told)
{
    static const int outcomes[] = {
        STELE_OK,
        STELE_WRONG_REVISION,
        STELE_STREAM_DELETED,
        STELE_CONDITION_FAILED,
        STELE_E_ID_CONFLICT,
        STELE_E_INVALID,
        STELE_E_LIMIT,
        STELE_E_NO_SPACE,
        STELE_E_FENCED,
        STELE_E_OVERLOADED,
        STELE_E_PERMISSION,
        STELE_E_UNKNOWN,
        STELE_E_IO,
        STELE_NO_STREAM,
        STELE_NOT_FOUND,
        STELE_E_CORRUPT,
        STELE_E_NO_MEMORY,
        STELE_E_IO,
        STELE_E_READ_ONLY,
        STELE_E_UNSUPPORTED,
        STELE_E_CLOSED,
    };
    return told < STELE_COUNT_OF(outcomes) ? outcomes[told] : STELE_E_IO;
}

static void copy_text(char *to, size_t room, struct stele_bytes from)
{
    const size_t size = from.size < room - 1 ? from.size : room - 1;
    if (size > 0) {
        memcpy(to, from.data, size);
    }
    to[size] = '\0';
}

bool stele_remote_decode_answer(struct stele_bytes message, struct far_answer *answer)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_append_result *result = &answer->result;
    memset(answer, 0, sizeof *answer);
    while (stele_pb_next(&reader, &field)) {
        switch (field.number) {
        case 1:
            answer->correlation = field.value;
            break;
        case 2:
            answer->outcome = stele_remote_outcome_of(field.value);
            break;
        case 3:
            result->position_first = field.value;
            break;
        case 4:
            result->position_last = field.value;
            break;
        case 5:
            result->revision_first = field.value;
            break;
        case 6:
            result->revision_last = field.value;
            break;
        case 7:
            result->idempotent = field.value != 0;
            break;
        case 8:
            copy_text(result->token, sizeof result->token, field.bytes);
            break;
        case 9:
            answer->revisions = field.bytes.data;
            answer->revisions_size = field.bytes.size;
            break;
        case 10:
            result->failed = (size_t)field.value;
            break;
        case 11:
            result->conflict_position = field.value;
            break;
        case 12:
            copy_text(answer->message, sizeof answer->message, field.bytes);
            break;
        default:
            break;
        }
    }
    return !reader.bad;
}

void stele_remote_events_clear(struct far *far, struct far_events *events)
{
    events->count = 0;
    stele_arena_deinit(&events->arena, far->alloc);
    events->arena = (struct stele_arena){.block_size = 4096};
}

void stele_remote_events_deinit(struct far *far, struct far_events *events)
{
    stele_arena_deinit(&events->arena, far->alloc);
    stele_release(far->alloc, events->events, events->capacity * sizeof *events->events);
    stele_release(far->alloc, events->ordinals, events->capacity * sizeof *events->ordinals);
    *events = (struct far_events){.count = 0};
}

static bool grow(struct far *far, struct far_events *events)
{
    if (events->count < events->capacity) {
        return true;
    }
    const size_t capacity = events->capacity == 0 ? 64 : events->capacity * 2;
    struct stele_event *grown = far->alloc->reallocate(
        far->alloc, events->events, events->capacity * sizeof *grown, capacity * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    events->events = grown;
    uint64_t *ordinals =
        far->alloc->reallocate(far->alloc, events->ordinals, events->capacity * sizeof *ordinals,
                               capacity * sizeof *ordinals);
    if (ordinals == NULL) {
        /* The larger list of events is kept under its old count; its size is told right. */
        struct stele_event *back = far->alloc->reallocate(
            far->alloc, events->events, capacity * sizeof *grown, events->capacity * sizeof *grown);
        events->events = back != NULL ? back : events->events;
        return false;
    }
    events->ordinals = ordinals;
    events->capacity = capacity;
    return true;
}

/* Tags stand apart in the message; libstele's events have them in one piece. */
static bool take_tags(struct far *far, struct stele_bytes message, struct far_events *events,
                      struct stele_event *event, uint32_t count, size_t size)
{
    uint8_t *to = stele_arena_allocate(&events->arena, far->alloc, size);
    if (to == NULL) {
        return false;
    }
    event->tags = to;
    event->tags_count = count;
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 9 && field.wire == STELE_PB_BYTES) {
            *to++ = (uint8_t)field.bytes.size;
            memcpy(to, field.bytes.data, field.bytes.size);
            to += field.bytes.size;
        }
    }
    return true;
}

static struct stele_text text_of(struct stele_bytes bytes)
{
    return (struct stele_text){.data = (const char *)bytes.data, .size = bytes.size};
}

bool stele_remote_decode_event(struct far *far, struct stele_bytes message,
                               struct far_events *events)
{
    if (!grow(far, events)) {
        return false;
    }
    struct stele_event event = {
        .content_type = {.data = "application/json", .size = 16},
        .stream = {.data = "", .size = 0},
        .type = {.data = "", .size = 0},
        .flags = STELE_EVENT_JSON,
    };
    uint64_t ordinal = 0;
    uint32_t tags = 0;
    size_t tags_size = 0;
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        switch (field.number) {
        case 1:
            event.position = field.value;
            break;
        case 2:
            event.revision = field.value;
            break;
        case 3:
            if (field.bytes.size == sizeof event.id) {
                memcpy(event.id, field.bytes.data, sizeof event.id);
            }
            break;
        case 4:
            event.stream = text_of(field.bytes);
            break;
        case 5:
            event.type = text_of(field.bytes);
            break;
        case 6:
            event.data = field.bytes.data;
            event.data_size = field.bytes.size;
            break;
        case 7:
            event.metadata = field.bytes.data;
            event.metadata_size = field.bytes.size;
            break;
        case 8:
            event.content_type = text_of(field.bytes);
            event.flags &= ~STELE_EVENT_JSON;
            break;
        case 9:
            if (field.bytes.size > STELE_TAG_SIZE_MAX) {
                return false;
            }
            tags++;
            tags_size += 1 + field.bytes.size;
            break;
        case 10:
            event.created_us = (int64_t)field.value;
            break;
        case 11:
            event.flags |= (uint32_t)field.value & STELE_EVENT_TOMBSTONE;
            break;
        case 12:
            ordinal = field.value - 1;
            break;
        default:
            break;
        }
    }
    if (reader.bad || (tags > 0 && !take_tags(far, message, events, &event, tags, tags_size))) {
        return false;
    }
    events->ordinals[events->count] = ordinal;
    events->events[events->count++] = event;
    return true;
}
