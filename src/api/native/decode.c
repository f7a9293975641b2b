/* Requests of the native service, decoded in place: bytes stay where they are; names get a zero
 * behind them, because libstele takes C strings. */
#include "api/native/native_internal.h"

#define FILTER_TEXTS_MAX 1024 /* Of each list of a filter. */

static int fail_malformed(struct stele_error *err, const char *what)
{
    return stele_fail(err, STELE_E_INVALID, 0, "%s is malformed", what);
}

static void *allocate(struct stele_native__room *room, size_t size, struct stele_error *err)
{
    void *memory = stele_arena_allocate(&room->arena, room->alloc, size);
    if (memory == NULL) {
        (void)stele_fail(err, STELE_E_NO_MEMORY, 0, "request: no memory");
    }
    return memory;
}

char *stele_native__text(struct stele_native__room *room, struct stele_bytes bytes,
                         const char *what, struct stele_error *err)
{
    if (bytes.size > 0 && memchr(bytes.data, '\0', bytes.size) != NULL) {
        (void)stele_fail(err, STELE_E_INVALID, 0, "%s holds a zero byte", what);
        return NULL;
    }
    char *text = allocate(room, bytes.size + 1, err);
    if (text != NULL) {
        if (bytes.size > 0) {
            memcpy(text, bytes.data, bytes.size);
        }
        text[bytes.size] = '\0';
    }
    return text;
}

uint64_t stele_native__expected(uint64_t expectation, uint64_t revision)
{
    switch (expectation) {
    case 1:
        return STELE_EXPECT_NO_STREAM;
    case 2:
        return STELE_EXPECT_EXISTS;
    case 3:
        return revision;
    default:
        return STELE_EXPECT_ANY;
    }
}

/* How often a field of bytes stands in a message. */
static size_t count_fields(struct stele_bytes message, uint32_t number)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    size_t count = 0;
    while (stele_pb_next(&reader, &field)) {
        count += field.number == number && field.wire == STELE_PB_BYTES;
    }
    return count;
}

/* The last value of a number; 0 without one. */
static uint64_t number_of(struct stele_bytes message, uint32_t number)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    uint64_t value = 0;
    while (stele_pb_next(&reader, &field)) {
        value = field.number == number && field.wire == STELE_PB_VARINT ? field.value : value;
    }
    return value;
}

/* The texts of a repeated field, at most max: what is decoded is larger than what was sent, so every
 * list has a bound before there is memory for it. */
static int decode_texts(struct stele_bytes message, uint32_t number, size_t max,
                        struct stele_native__room *room, const char *what,
                        const char *const **out_texts, size_t *out_count, struct stele_error *err)
{
    const size_t count = count_fields(message, number);
    *out_count = 0;
    *out_texts = NULL;
    if (count > max) {
        return stele_fail(err, STELE_E_LIMIT, 0, "%s is given %zu times, the limit is %zu", what,
                          count, max);
    }
    if (count == 0) {
        return STELE_OK;
    }
    const char **texts = allocate(room, count * sizeof *texts, err);
    if (texts == NULL) {
        return STELE_E_NO_MEMORY;
    }
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    size_t at = 0;
    while (at < count && stele_pb_next(&reader, &field)) {
        if (field.number == number && field.wire == STELE_PB_BYTES) {
            texts[at] = stele_native__text(room, field.bytes, what, err);
            if (texts[at++] == NULL) {
                return err->outcome;
            }
        }
    }
    *out_texts = texts;
    *out_count = count;
    return STELE_OK;
}

static int decode_draft(struct stele_bytes message, struct stele_native__room *room,
                        struct stele_event_draft *draft, struct stele_error *err)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_bytes type = {.data = NULL};
    struct stele_bytes content_type = {.data = NULL};
    bool tags = false;
    *draft = (struct stele_event_draft){.type = NULL};
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 7 && field.wire == STELE_PB_VARINT) {
            draft->created_us = (int64_t)field.value;
        }
        if (field.wire != STELE_PB_BYTES) {
            continue;
        }
        switch (field.number) {
        case 1:
            if (field.bytes.size != sizeof draft->id && field.bytes.size != 0) {
                return stele_fail(err, STELE_E_INVALID, 0, "an event's id has %zu bytes, not 16",
                                  field.bytes.size);
            }
            if (field.bytes.size != 0) {
                memcpy(draft->id, field.bytes.data, sizeof draft->id);
            }
            break;
        case 2:
            type = field.bytes;
            break;
        case 3:
            draft->data = field.bytes.data;
            draft->data_size = field.bytes.size;
            break;
        case 4:
            draft->metadata = field.bytes.data;
            draft->metadata_size = field.bytes.size;
            break;
        case 5:
            content_type = field.bytes;
            break;
        case 6:
            tags = true;
            break;
        default:
            break;
        }
    }
    if (reader.bad) {
        return fail_malformed(err, "an event");
    }
    draft->type = stele_native__text(room, type, "an event's type", err);
    if (draft->type == NULL) {
        return err->outcome;
    }
    if (content_type.size > 0) {
        draft->content_type = stele_native__text(room, content_type, "a content type", err);
        if (draft->content_type == NULL) {
            return err->outcome;
        }
    }
    return tags ? decode_texts(message, 6, STELE_TAGS_MAX, room, "a tag", &draft->tags,
                               &draft->tags_count, err)
                : STELE_OK;
}

/* events: of the whole append, so far. */
static int decode_stream_append(struct stele_bytes message, struct stele_native__room *room,
                                size_t *events, struct stele_append *append,
                                struct stele_error *err)
{
    const size_t count = count_fields(message, 4);
    struct stele_event_draft *drafts = NULL;
    *events += count;
    if (*events > STELE_APPEND_EVENTS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "an append has %zu events, the limit is %u",
                          *events, STELE_APPEND_EVENTS_MAX);
    }
    if (count > 0) {
        drafts = allocate(room, count * sizeof *drafts, err);
        if (drafts == NULL) {
            return STELE_E_NO_MEMORY;
        }
    }
    struct stele_bytes name = {.data = NULL};
    uint64_t expectation = 0;
    uint64_t revision = 0;
    size_t at = 0;
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            name = field.bytes;
        } else if (field.number == 2 && field.wire == STELE_PB_VARINT) {
            expectation = field.value;
        } else if (field.number == 3 && field.wire == STELE_PB_VARINT) {
            revision = field.value;
        } else if (field.number == 4 && field.wire == STELE_PB_BYTES && at < count) {
            const int outcome = decode_draft(field.bytes, room, &drafts[at++], err);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
    }
    if (reader.bad) {
        return fail_malformed(err, "a stream's append");
    }
    if (expectation == 3 && revision > STELE_REVISION_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "expected_revision %llu is none",
                          (unsigned long long)revision);
    }
    append->stream = stele_native__text(room, name, "a stream's name", err);
    append->expected = stele_native__expected(expectation, revision);
    append->events = drafts;
    append->count = count;
    return append->stream == NULL ? err->outcome : STELE_OK;
}

static int decode_query_item(struct stele_bytes message, struct stele_native__room *room,
                             struct stele_query_item *item, struct stele_error *err)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
    }
    if (reader.bad) {
        return fail_malformed(err, "a query");
    }
    int outcome = decode_texts(message, 1, STELE_CONDITIONS_MAX, room, "a type", &item->types,
                               &item->types_count, err);
    if (outcome == STELE_OK) {
        outcome = decode_texts(message, 2, STELE_TAGS_MAX, room, "a tag", &item->tags,
                               &item->tags_count, err);
    }
    return outcome;
}

static int decode_condition(struct stele_bytes message, struct stele_native__room *room,
                            struct stele_condition *condition, struct stele_error *err)
{
    const size_t count = count_fields(message, 1);
    struct stele_query_item *items = NULL;
    if (count > STELE_CONDITIONS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "a condition has %zu items, the limit is %u",
                          count, STELE_CONDITIONS_MAX);
    }
    if (count > 0) {
        items = allocate(room, count * sizeof *items, err);
        if (items == NULL) {
            return STELE_E_NO_MEMORY;
        }
    }
    *condition = (struct stele_condition){.items = items, .items_count = count};
    size_t at = 0;
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 2 && field.wire == STELE_PB_VARINT) {
            condition->after = field.value;
        } else if (field.number == 1 && field.wire == STELE_PB_BYTES && at < count) {
            const int outcome = decode_query_item(field.bytes, room, &items[at++], err);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
    }
    return reader.bad ? fail_malformed(err, "a condition") : STELE_OK;
}

int stele_native__decode_conditions(struct stele_bytes message, uint32_t number,
                                    struct stele_native__room *room,
                                    struct stele_condition **out_conditions, size_t *out_count,
                                    struct stele_error *err)
{
    const size_t count = count_fields(message, number);
    struct stele_condition *conditions = NULL;
    if (count > STELE_CONDITIONS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "%zu conditions, the limit is %u", count,
                          STELE_CONDITIONS_MAX);
    }
    if (count > 0) {
        conditions = allocate(room, count * sizeof *conditions, err);
        if (conditions == NULL) {
            return STELE_E_NO_MEMORY;
        }
    }
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    size_t at = 0;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == number && field.wire == STELE_PB_BYTES && at < count) {
            const int outcome = decode_condition(field.bytes, room, &conditions[at++], err);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
    }
    if (reader.bad) {
        return fail_malformed(err, "the request");
    }
    *out_conditions = conditions;
    *out_count = count;
    return STELE_OK;
}

int stele_native__decode_append(struct stele_bytes message, struct stele_native__room *room,
                                struct stele_native__append_request *request,
                                struct stele_error *err)
{
    const size_t count = count_fields(message, 2);
    /* First of all, because refusals carry it as well. */
    *request = (struct stele_native__append_request){.streams_count = count,
                                                     .correlation = number_of(message, 1)};
    if (count == 0 || count > STELE_APPEND_STREAMS_MAX) {
        return stele_fail(err, count == 0 ? STELE_E_INVALID : STELE_E_LIMIT, 0,
                          "an append names %zu streams, it may be 1 to %u", count,
                          STELE_APPEND_STREAMS_MAX);
    }
    request->streams = allocate(room, count * sizeof *request->streams, err);
    if (request->streams == NULL) {
        return STELE_E_NO_MEMORY;
    }
    bool conditions = false;
    size_t events = 0;
    size_t at = 0;
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 2 && field.wire == STELE_PB_BYTES && at < count) {
            const int outcome =
                decode_stream_append(field.bytes, room, &events, &request->streams[at++], err);
            if (outcome != STELE_OK) {
                return outcome;
            }
        } else if (field.number == 3) {
            conditions = true;
        }
    }
    if (reader.bad) {
        return fail_malformed(err, "the request");
    }
    return conditions ? stele_native__decode_conditions(message, 3, room, &request->conditions,
                                                        &request->conditions_count, err)
                      : STELE_OK;
}

int stele_native__decode_filter(struct stele_bytes message, struct stele_native__room *room,
                                struct stele_filter *filter, struct stele_error *err)
{
    *filter = (struct stele_filter){.exclude_system = 1};
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_bytes type_regex = {.data = NULL};
    struct stele_bytes stream_regex = {.data = NULL};
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 3 && field.wire == STELE_PB_BYTES) {
            type_regex = field.bytes;
        } else if (field.number == 6 && field.wire == STELE_PB_BYTES) {
            stream_regex = field.bytes;
        } else if (field.number == 9 && field.wire == STELE_PB_VARINT) {
            filter->exclude_system = field.value == 0;
        }
    }
    if (reader.bad) {
        return fail_malformed(err, "the filter");
    }
    const struct {
        uint32_t number;
        const char *what;
        const char *const **texts;
        size_t *count;
    } lists[] = {
        {1, "a type", &filter->types, &filter->types_count},
        {2, "a type's prefix", &filter->type_prefixes, &filter->type_prefixes_count},
        {4, "a stream's name", &filter->streams, &filter->streams_count},
        {5, "a stream's prefix", &filter->stream_prefixes, &filter->stream_prefixes_count},
        {7, "a category", &filter->categories, &filter->categories_count},
        {8, "a tag", &filter->tags, &filter->tags_count},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(lists); i++) {
        const int outcome = decode_texts(message, lists[i].number, FILTER_TEXTS_MAX, room,
                                         lists[i].what, lists[i].texts, lists[i].count, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    if (type_regex.size > 0) {
        filter->type_regex = stele_native__text(room, type_regex, "type_regex", err);
        if (filter->type_regex == NULL) {
            return err->outcome;
        }
    }
    if (stream_regex.size > 0) {
        filter->stream_regex = stele_native__text(room, stream_regex, "stream_regex", err);
        if (filter->stream_regex == NULL) {
            return err->outcome;
        }
    }
    return STELE_OK;
}

/* Which fields of a ReadRequest are numbers, and where they go. */
static void take_number(struct stele_native__read_request *request,
                        const struct stele_pb_field *field, bool *from_end, int64_t *as_of_us)
{
    struct stele_read_options *options = &request->options;
    switch (field->number) {
    case 2:
        options->from = field->value;
        break;
    case 3:
        *from_end = field->value != 0;
        break;
    case 4:
        options->limit = field->value;
        break;
    case 5:
        options->backwards = field->value != 0;
        break;
    case 6:
        options->as_of = field->value;
        break;
    case 7:
        *as_of_us = (int64_t)field->value;
        break;
    case 10:
        options->ignore_limits = field->value != 0;
        break;
    case 11:
        options->by_ordinal = field->value != 0;
        break;
    default:
        break;
    }
}

int stele_native__decode_read(struct stele_bytes message, struct stele_native__room *room,
                              struct stele_native__read_request *request, struct stele_error *err)
{
    *request = (struct stele_native__read_request){.options = STELE_READ_OPTIONS_INIT};
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_bytes stream = {.data = NULL};
    struct stele_bytes token = {.data = NULL};
    bool from_end = false;
    int64_t as_of_us = 0;
    while (stele_pb_next(&reader, &field)) {
        if (field.wire == STELE_PB_VARINT) {
            take_number(request, &field, &from_end, &as_of_us);
        } else if (field.wire == STELE_PB_BYTES && field.number == 1) {
            stream = field.bytes;
        } else if (field.wire == STELE_PB_BYTES && field.number == 8) {
            const int outcome =
                stele_native__decode_filter(field.bytes, room, &request->filter, err);
            if (outcome != STELE_OK) {
                return outcome;
            }
            request->options.filter = &request->filter;
        } else if (field.wire == STELE_PB_BYTES && field.number == 9) {
            token = field.bytes;
        }
    }
    if (reader.bad) {
        return fail_malformed(err, "the request");
    }
    if (stream.size > 0) {
        request->stream = stele_native__text(room, stream, "the stream's name", err);
        if (request->stream == NULL) {
            return err->outcome;
        }
    }
    if (token.size > 0) {
        request->options.token = stele_native__text(room, token, "the token", err);
        if (request->options.token == NULL) {
            return err->outcome;
        }
    }
    if (from_end) {
        request->options.from = STELE_FROM_END;
    }
    if (as_of_us != 0) {
        const uint64_t position = stele_position_at(as_of_us);
        request->options.as_of = position == 0 ? 1 : position;
    }
    return STELE_OK;
}
