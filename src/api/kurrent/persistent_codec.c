/* The messages of PersistentSubscriptions. */
#include "api/kurrent/cold.h"

#include <stdio.h>

/* ---- Requests ------------------------------------------------------------------------------- */

/* A field whose bytes are a message of one StreamIdentifier. */
static bool get_stream(const struct stele_pb_field *field, struct stele_text *out_stream)
{
    return field->wire == STELE_PB_BYTES && stele_kurrent__get_stream(field->bytes, out_stream);
}

static bool get_text(const struct stele_pb_field *field, struct stele_text *out_text)
{
    if (field->wire != STELE_PB_BYTES) {
        return false;
    }
    *out_text = stele_kurrent__text(field->bytes);
    return true;
}

/* StreamOptions {1: identifier, 2: revision, 3: start, 4: end}. */
static bool get_stream_options(struct stele_bytes message, struct stele_kurrent__group_options *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && !get_stream(&field, &out->stream)) {
            return false;
        }
        if (field.number >= 2 && field.number <= 4) {
            out->settings.start = field.number == 2   ? field.value
                                  : field.number == 3 ? 0
                                                      : UINT64_MAX;
        }
    }
    return !reader.bad;
}

/* Position {1: commit, 2: prepare}. */
static bool get_position(struct stele_bytes message, uint64_t *out_position)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    *out_position = 0;
    while (stele_pb_next(&reader, &field)) {
        *out_position = field.number == 1 ? field.value : *out_position;
    }
    return !reader.bad;
}

/* AllOptions {1: position, 2: start, 3: end, 4: filter, 5: no_filter}. */
static bool get_all_options(struct stele_bytes message, struct stele_kurrent__group_options *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    out->is_all = true;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && !get_position(field.bytes, &out->settings.start)) {
            return false;
        }
        if (field.number == 2 || field.number == 3) {
            out->settings.start = field.number == 2 ? 0 : UINT64_MAX;
        }
        if (field.number == 4 && field.wire == STELE_PB_BYTES) {
            out->filter = field.bytes;
        }
    }
    return !reader.bad;
}

/* Times are in ticks of 100 ns or in milliseconds. */
static int64_t ticks_us(uint64_t value)
{
    return (int64_t)value / 10;
}

static int64_t ms_us(uint64_t value)
{
    return (int64_t)(int32_t)value * 1000;
}

static bool get_settings(struct stele_bytes message, struct stele_kurrent__group_options *out,
                         bool *out_has_start)
{
    struct stele_group_settings *s = &out->settings;
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        const int32_t number = (int32_t)field.value;
        switch (field.number) {
        case 1:
            s->resolve_links = field.value != 0;
            break;
        case 2: /* Where the group starts, in the older form of the request. */
            if (!*out_has_start) {
                s->start = field.value;
            }
            break;
        case 3:
            s->extra_statistics = field.value != 0;
            break;
        case 4:
            s->message_timeout_us = ticks_us(field.value);
            break;
        case 5:
            s->max_retry_count = number;
            break;
        case 6:
            s->checkpoint_after_us = ticks_us(field.value);
            break;
        case 7:
            s->min_checkpoint_count = number;
            break;
        case 8:
            s->max_checkpoint_count = number;
            break;
        case 9:
            s->max_subscriber_count = number;
            break;
        case 10:
            s->live_buffer_size = number;
            break;
        case 11:
            s->read_batch_size = number;
            break;
        case 12:
            s->history_buffer_size = number;
            break;
        case 13:
            out->strategy_number = field.value;
            break;
        case 14:
            s->message_timeout_us = ms_us(field.value);
            break;
        case 15:
            s->checkpoint_after_us = ms_us(field.value);
            break;
        case 16:
            if (!get_text(&field, &out->strategy)) {
                return false;
            }
            break;
        default:
            break;
        }
    }
    return !reader.bad;
}

/* CreateReq.Options and UpdateReq.Options. The start may stand in front of the settings or behind
 * them, or (older clients) in them. */
static bool get_change(struct stele_bytes message, struct stele_kurrent__group_options *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_bytes settings = {.data = NULL};
    bool has_start = false;
    while (stele_pb_next(&reader, &field)) {
        if (field.wire != STELE_PB_BYTES) {
            continue;
        }
        bool good = true;
        switch (field.number) {
        case 1: /* The older form; the newer one wins. */
            good = has_start || get_stream(&field, &out->stream);
            break;
        case 2:
            out->group = stele_kurrent__text(field.bytes);
            break;
        case 3:
            settings = field.bytes;
            break;
        case 4:
            has_start = true;
            good = get_stream_options(field.bytes, out);
            break;
        case 5:
            has_start = true;
            good = get_all_options(field.bytes, out);
            break;
        default:
            break;
        }
        if (!good) {
            return false;
        }
    }
    return !reader.bad && (settings.data == NULL || get_settings(settings, out, &has_start));
}

/* DeleteReq, GetInfoReq, ReplayParkedReq, TruncateParkedReq: the same things under other numbers. */
struct numbers {
    uint32_t stream, all, group, stop_at;
};

static bool get_named(struct stele_bytes message, const struct numbers *numbers,
                      struct stele_kurrent__group_options *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == numbers->stream && !get_stream(&field, &out->stream)) {
            return false;
        }
        if (field.number == numbers->group && !get_text(&field, &out->group)) {
            return false;
        }
        out->is_all = out->is_all || field.number == numbers->all;
        if (field.number == numbers->stop_at && field.wire == STELE_PB_VARINT) {
            out->stop_at = field.value;
        }
    }
    return !reader.bad;
}

/* ListReq.Options {1: all of them, 2: {1: of a stream, 2: of $all}}. */
static bool get_list(struct stele_bytes message, struct stele_kurrent__group_options *out)
{
    static const struct numbers numbers = {.stream = 1, .all = 2, .group = 99, .stop_at = 99};
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        out->all_streams = out->all_streams || field.number == 1;
        if (field.number == 2 &&
            (field.wire != STELE_PB_BYTES || !get_named(field.bytes, &numbers, out))) {
            return false;
        }
    }
    return !reader.bad;
}

bool stele_kurrent__get_group_request(enum stele_groups_what what, struct stele_bytes message,
                                      struct stele_kurrent__group_options *out)
{
    static const struct numbers delete = {.stream = 1, .all = 3, .group = 2, .stop_at = 99};
    static const struct numbers info = {.stream = 1, .all = 2, .group = 3, .stop_at = 99};
    static const struct numbers replay = {.stream = 2, .all = 3, .group = 1, .stop_at = 4};
    *out = (struct stele_kurrent__group_options){.stop_at = UINT64_MAX};
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    bool found = false;
    while (stele_pb_next(&reader, &field)) {
        if (field.number != 1 || field.wire != STELE_PB_BYTES) {
            continue;
        }
        switch (what) {
        case STELE_GROUPS_CREATE:
        case STELE_GROUPS_UPDATE:
            found = get_change(field.bytes, out);
            break;
        case STELE_GROUPS_DELETE:
            found = get_named(field.bytes, &delete, out);
            break;
        case STELE_GROUPS_INFO:
            found = get_named(field.bytes, &info, out);
            break;
        case STELE_GROUPS_LIST:
            found = get_list(field.bytes, out);
            break;
        case STELE_GROUPS_REPLAY:
        case STELE_GROUPS_TRUNCATE:
            found = get_named(field.bytes, &replay, out);
            break;
        case STELE_GROUPS_RESTART:
            break;
        }
        if (!found) {
            return false;
        }
    }
    return found && !reader.bad;
}

/* FilterOptions {1: by stream, 2: by type: Expression, 3: max, 4: count, 5: multiplier}. */
bool stele_kurrent__get_group_filter(struct stele_bytes message, struct stele_arena *arena,
                                     struct stele_alloc *alloc, struct stele_filter *out)
{
    struct stele_kurrent__filter filter;
    *out = (struct stele_filter){.types = NULL};
    if (!stele_kurrent__get_filter(message, &filter) || (!filter.is_stream && !filter.is_type)) {
        return false;
    }
    if (filter.regex.size > 0) {
        const char *regex = stele_kurrent__copy_text(arena, alloc, filter.regex);
        *(filter.is_stream ? &out->stream_regex : &out->type_regex) = regex;
        return regex != NULL;
    }
    if (filter.prefixes == 0) {
        return true;
    }
    const char **prefixes = stele_arena_allocate(arena, alloc, filter.prefixes * sizeof *prefixes);
    struct stele_pb_reader reader = stele_pb_reader(filter.expression);
    struct stele_pb_field field;
    size_t count = 0;
    while (prefixes != NULL && stele_pb_next(&reader, &field) && count < filter.prefixes) {
        if (field.number == 2 && field.wire == STELE_PB_BYTES) {
            prefixes[count] =
                stele_kurrent__copy_text(arena, alloc, stele_kurrent__text(field.bytes));
            if (prefixes[count++] == NULL) {
                return false;
            }
        }
    }
    if (filter.is_stream) {
        out->stream_prefixes = prefixes;
        out->stream_prefixes_count = count;
    } else {
        out->type_prefixes = prefixes;
        out->type_prefixes_count = count;
    }
    return prefixes != NULL;
}

/* ---- Reading -------------------------------------------------------------------------------- */

/* Options {1: stream, 5: all, 2: group, 3: buffer size, 4: {1: structured, 2: string}}. */
static bool get_read_options(struct stele_bytes message, struct stele_kurrent__group_options *out)
{
    *out = (struct stele_kurrent__group_options){.stop_at = UINT64_MAX};
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        switch (field.number) {
        case 1:
            if (!get_stream(&field, &out->stream)) {
                return false;
            }
            break;
        case 2:
            if (!get_text(&field, &out->group)) {
                return false;
            }
            break;
        case 3:
            out->buffer_size = (int32_t)field.value < 0 ? 0 : (uint32_t)field.value;
            break;
        case 4: {
            struct stele_pb_reader option = stele_pb_reader(field.bytes);
            struct stele_pb_field form;
            while (field.wire == STELE_PB_BYTES && stele_pb_next(&option, &form)) {
                out->has_uuid = form.number == 1 || form.number == 2;
                out->uuid = form.number == 2 ? UUID_STRING : UUID_STRUCTURED;
            }
            break;
        }
        case 5:
            out->is_all = true;
            break;
        default:
            break;
        }
    }
    return !reader.bad;
}

/* Ack {1: unused, 2: ids}, Nack {1: unused, 2: ids, 3: action, 4: reason}. */
static bool get_ack(struct stele_bytes message, struct stele_kurrent__ack *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    out->count = 0;
    out->action = STELE_GROUP_NACK_UNKNOWN;
    out->reason = (struct stele_text){.data = "", .size = 0};
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 2) {
            if (field.wire != STELE_PB_BYTES || out->count == STELE_COUNT_OF(out->ids) ||
                !stele_kurrent__get_uuid(field.bytes, out->ids[out->count])) {
                return false;
            }
            out->count++;
        } else if (field.number == 3) {
            out->action = field.value <= STELE_GROUP_NACK_STOP ? (enum stele_group_nack)field.value
                                                               : STELE_GROUP_NACK_UNKNOWN;
        } else if (field.number == 4 && !get_text(&field, &out->reason)) {
            return false;
        }
    }
    return !reader.bad;
}

enum stele_kurrent__ps_message
stele_kurrent__get_ps_read(struct stele_bytes message, struct stele_kurrent__group_options *options,
                           struct stele_kurrent__ack *ack)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    enum stele_kurrent__ps_message kind = PS_BAD;
    while (stele_pb_next(&reader, &field)) {
        if (field.number < 1 || field.number > 3) {
            continue;
        }
        if (field.wire != STELE_PB_BYTES ||
            !(field.number == 1 ? get_read_options(field.bytes, options)
                                : get_ack(field.bytes, ack))) {
            return PS_BAD;
        }
        kind = field.number == 1 ? PS_OPTIONS : field.number == 2 ? PS_ACK : PS_NACK;
    }
    return reader.bad ? PS_BAD : kind;
}

/* ReadResp {1: ReadEvent {1: event, 2: link, 3: commit position, 5: retry count}}. */
int stele_kurrent__put_group_event(struct stele_buf *buf, struct stele_alloc *alloc,
                                   const struct stele_group_event *event, bool with_event,
                                   uint32_t retries, enum stele_kurrent__uuid form)
{
    struct stele_kurrent__shape shape, link;
    const bool has_event = with_event && event->event.type.data != NULL;
    const bool has_link = event->link.type.data != NULL;
    const uint64_t position = has_link ? event->link.position : event->event.position;
    size_t size = stele_pb_size_varint(3, position) + stele_pb_size_varint(5, retries);
    if (has_event) {
        stele_kurrent__shape(&shape, &event->event, form);
        size += stele_pb_size_bytes(1, shape.size);
    }
    if (has_link) {
        stele_kurrent__shape(&link, &event->link, form);
        size += stele_pb_size_bytes(2, link.size);
    }
    const int outcome = stele_buf_reserve(buf, alloc, stele_pb_size_bytes(1, size));
    if (outcome != STELE_OK) {
        return outcome;
    }
    uint8_t *to = stele_pb_put_message(buf->data + buf->size, 1, size);
    if (has_event) {
        to = stele_pb_put_message(to, 1, shape.size);
        to = stele_kurrent__put_event(to, &shape);
    }
    if (has_link) {
        to = stele_pb_put_message(to, 2, link.size);
        to = stele_kurrent__put_event(to, &link);
    }
    to = stele_pb_put_u64(to, 3, position);
    to = stele_pb_put_u64(to, 5, retries);
    STELE_ASSERT(to == buf->data + buf->size + stele_pb_size_bytes(1, size));
    buf->size = (size_t)(to - buf->data);
    return STELE_OK;
}

/* ---- Answers -------------------------------------------------------------------------------- */

/* SPEC(kurrent/ps/info-positions): "12", "C:9/P:9"; -1 stands for the end and for none. */
static void out_place(struct stele_kurrent__out *out, uint32_t field, bool is_all, uint64_t place)
{
    char text[64];
    if (place == UINT64_MAX) {
        (void)snprintf(text, sizeof text, is_all ? "C:-1/P:-1" : "-1");
    } else {
        (void)snprintf(text, sizeof text, is_all ? "C:%llu/P:%llu" : "%llu",
                       (unsigned long long)place, (unsigned long long)place);
    }
    stele_kurrent__out_text(out, field, text);
}

static void out_consumer(struct stele_kurrent__out *out,
                         const struct stele_group_consumer_info *info)
{
    const size_t mark = stele_kurrent__out_begin(out, 4);
    stele_kurrent__out_text(out, 1, info->from);
    stele_kurrent__out_text(out, 2, info->user);
    stele_kurrent__out_number(out, 3, info->stats.since_tick);
    stele_kurrent__out_number(out, 4, info->stats.total);
    stele_kurrent__out_number(out, 5, info->stats.since_tick);
    for (size_t i = 0; info->stats.measured > 0 && i < STELE_GROUP_MEASUREMENTS; i++) {
        const size_t measurement = stele_kurrent__out_begin(out, 6);
        stele_kurrent__out_text(out, 1, stele_group_measurement_names[i]);
        stele_kurrent__out_number(out, 2, (uint64_t)info->stats.measurements[i]);
        stele_kurrent__out_end(out, measurement);
    }
    stele_kurrent__out_number(out, 7, info->stats.capacity - info->stats.in_flight);
    stele_kurrent__out_number(out, 8, info->stats.in_flight);
    stele_kurrent__out_text(out, 9, info->connection_name);
    stele_kurrent__out_end(out, mark);
}

void stele_kurrent__put_group_info(struct stele_kurrent__out *out,
                                   const struct stele_group_info *info)
{
    static const char *const strategies[] = {"DispatchToSingle", "RoundRobin", "Pinned",
                                             "PinnedByCorrelation"};
    const struct stele_group_settings *s = &info->settings;
    const bool is_all = info->stream == NULL;
    const size_t mark = stele_kurrent__out_begin(out, 1);
    stele_kurrent__out_text(out, 1, is_all ? "$all" : info->stream);
    stele_kurrent__out_text(out, 2, info->group);
    stele_kurrent__out_text(out, 3, info->is_live ? "Live" : "Behind");
    for (size_t i = 0; i < info->consumers_count; i++) {
        out_consumer(out, &info->consumers[i]);
    }
    stele_kurrent__out_number(out, 5, info->average_per_second);
    stele_kurrent__out_number(out, 6, info->stats.total);
    stele_kurrent__out_number(out, 7, info->stats.since_tick);
    if (info->stats.last_checkpoint != STELE_GROUP_NO_PLACE) {
        out_place(out, 8, is_all, info->stats.last_checkpoint);
    }
    if (info->stats.last_known != STELE_GROUP_NO_PLACE) {
        out_place(out, 9, is_all, info->stats.last_known);
    }
    stele_kurrent__out_number(out, 10, s->resolve_links);
    out_place(out, 11, is_all, info->start);
    stele_kurrent__out_number(out, 12, (uint64_t)(s->message_timeout_us / 1000));
    stele_kurrent__out_number(out, 13, s->extra_statistics);
    stele_kurrent__out_number(out, 14, (uint64_t)s->max_retry_count);
    stele_kurrent__out_number(out, 15, (uint64_t)s->live_buffer_size);
    stele_kurrent__out_number(out, 16, (uint64_t)s->history_buffer_size);
    stele_kurrent__out_number(out, 17, (uint64_t)s->read_batch_size);
    stele_kurrent__out_number(out, 18, (uint64_t)(s->checkpoint_after_us / 1000));
    stele_kurrent__out_number(out, 19, (uint64_t)s->min_checkpoint_count);
    stele_kurrent__out_number(out, 20, (uint64_t)s->max_checkpoint_count);
    stele_kurrent__out_number(out, 21, info->is_live ? 0 : info->stats.waiting);
    stele_kurrent__out_number(out, 22, info->is_live ? info->stats.waiting : 0);
    stele_kurrent__out_number(out, 23, info->stats.retrying);
    stele_kurrent__out_number(out, 24, info->stats.in_flight);
    stele_kurrent__out_number(out, 25, info->stats.in_flight);
    stele_kurrent__out_text(out, 26, strategies[s->strategy]);
    stele_kurrent__out_number(out, 27, (uint64_t)s->max_subscriber_count);
    stele_kurrent__out_number(out, 28, info->parked);
    stele_kurrent__out_end(out, mark);
}
