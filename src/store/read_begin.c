/* Where a read begins: what its name stands for, what is known of it, and which event is the first. */
#include "store/read_internal.h"

#define SCAN_MAX (256 * 64) /* Events that one call looks at, unless the options say less. */

/* What is known of a name, by reading the whole log while the index has a hole. */
static int slow_state(struct stele_store *store, struct stele_read *read,
                      struct stele_index_state *out_state, struct stele_stream_limits *out_limits,
                      struct stele_error *err)
{
    uint8_t buffer[STELE_STREAM_NAME_SIZE_MAX + 2];
    const struct stele_bytes meta = stele_store__metastream(read->key.name, buffer);
    *out_state = (struct stele_index_state){.next = 0};
    *out_limits = (struct stele_stream_limits){.found = false};
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, stele_log_start(store->log));
    int outcome = STELE_OK;
    while (outcome == STELE_OK || outcome == STELE_E_CORRUPT) {
        size_t count = 0;
        outcome =
            stele_log_scan(&read->reader, &cursor, read->events, NULL, STELE_READ__BATCH, &count);
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            const struct stele_event *event = &read->events[i];
            if (stele_read__is_of_name(read, event)) {
                out_state->next = read->is_stream ? event->revision + 1 : out_state->next + 1;
                out_state->flags |=
                    (event->flags & STELE_EVENT_TOMBSTONE) != 0 ? STELE_INDEX_TOMBSTONED : 0;
            } else if (read->is_stream && meta.size > 0 &&
                       stele_bytes_equal(stele_store__bytes(event->stream), meta)) {
                outcome = stele_store__limits_parse(
                    (struct stele_bytes){.data = event->data, .size = event->data_size}, out_limits,
                    err);
            }
        }
    }
    return outcome == STELE_END ? STELE_OK : outcome;
}

static int look_up(struct stele_store *store, struct stele_read *read,
                   struct stele_index_state *out_state, struct stele_stream_limits *out_limits,
                   struct stele_error *err)
{
    /* What damage has kept from the index cannot be seen in the index: the log is asked instead. */
    int outcome =
        read->gaps ? STELE_INCOMPLETE : stele_store__state(store, &read->key, out_state, err);
    *out_limits = (struct stele_stream_limits){.found = false};
    if (outcome == STELE_OK) {
        stele_store__only_visible(store, &read->key, out_state);
        outcome = read->is_stream
                      ? stele_store__limits(store, read->key.name, false, out_limits, err)
                      : STELE_OK;
    }
    if (outcome == STELE_NOT_FOUND) {
        *out_state = (struct stele_index_state){.next = 0};
        return STELE_OK;
    }
    if (outcome == STELE_INCOMPLETE) {
        read->is_list = false;
        return slow_state(store, read, out_state, out_limits, err);
    }
    return outcome;
}

/* Where a list that begins at a position starts. */
static int seek_list(struct stele_store *store, struct stele_read *read, uint64_t next,
                     struct stele_error *err)
{
    const uint64_t bound = read->from < read->as_of || !read->backwards ? read->from : read->as_of;
    if (read->backwards ? bound >= read->end_position : read->from == 0) {
        read->ordinal = read->backwards ? next : 0;
        return STELE_OK;
    }
    if (!read->backwards && read->from > read->end_position) {
        read->ordinal = next;
        return STELE_OK;
    }
    struct stele_log_cursor cursor;
    int outcome = stele_log_seek(&read->reader, read->backwards ? bound + 1 : bound, &cursor);
    uint64_t ordinal = 0;
    if (outcome == STELE_OK) {
        outcome = stele_store__lower_bound(store, &read->key, cursor.place, &ordinal, err);
    }
    if (outcome != STELE_OK) {
        return outcome == STELE_END ? STELE_OK : outcome;
    }
    ordinal = ordinal > next ? next : ordinal;
    /* The seek may end a few frames early: backward, events up to the bound lie behind it. */
    while (read->backwards && ordinal < next) {
        uint64_t place = 0;
        size_t count = 0;
        struct stele_event event;
        outcome = stele_store__places(store, &read->key, ordinal, 1, &place, &count, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (count == 1) {
            outcome = stele_log_read(&read->reader, place, &event);
            if (outcome == STELE_OK && event.position > bound) {
                break;
            }
        }
        ordinal++;
    }
    read->ordinal = ordinal;
    return STELE_OK;
}

static void begin_by_ordinal(struct stele_read *read, uint64_t next)
{
    read->ordinals_end = next;
    if (read->backwards) {
        read->ordinal = read->from < next ? read->from + 1 : next;
        /* A later snapshot has more events of the name, which ordinals_end does not count. */
        read->as_of = read->as_of < read->end_position ? read->as_of : read->end_position;
        return;
    }
    read->from = read->from == STELE_FROM_END ? next : read->from;
    read->ordinal = read->from;
}

static int begin_list(struct stele_store *store, struct stele_read *read, bool wait_for_stream,
                      int64_t now_us, struct stele_error *err)
{
    struct stele_index_state state;
    struct stele_stream_limits limits;
    int outcome = look_up(store, read, &state, &limits, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const bool hidden = read->revision_min != UINT64_MAX &&
                        (state.next == 0 || limits.truncate_before >= state.next);
    const bool ignore_limits = read->revision_min == UINT64_MAX;
    if (read->is_stream && (state.flags & STELE_INDEX_TOMBSTONED) != 0 && !ignore_limits) {
        return stele_fail(err, STELE_STREAM_DELETED, 0, "stream %.*s was tombstoned",
                          (int)read->key.name.size, (const char *)read->key.name.data);
    }
    if (state.next == 0 && read->gaps && !wait_for_stream) {
        return stele_fail(
            err, STELE_E_CORRUPT, 0,
            "stream %.*s is not found, but a part of the log is damaged that may have "
            "held it; run `stele verify`",
            (int)read->key.name.size, (const char *)read->key.name.data);
    }
    if ((hidden || state.next == 0) && !wait_for_stream) {
        return stele_fail(err, STELE_NO_STREAM, 0, "stream %.*s does not exist",
                          (int)read->key.name.size, (const char *)read->key.name.data);
    }
    read->revision_min = 0;
    if (read->is_stream) {
        if (!ignore_limits) {
            read->revision_min = stele_store__first_revision(&limits, state.next);
            read->created_min = limits.max_age_us == 0 ? INT64_MIN : now_us - limits.max_age_us;
        }
        if (!read->backwards) {
            if (read->from == STELE_FROM_END) {
                read->from = state.next;
            }
            read->ordinal = read->from > read->revision_min ? read->from : read->revision_min;
        } else {
            read->ordinal = read->from < state.next ? read->from + 1 : state.next;
        }
    } else if (read->by_ordinal) {
        begin_by_ordinal(read, state.next);
    } else {
        if (!read->backwards && read->from == STELE_FROM_END) {
            read->from = read->end_position + 1;
        }
        outcome = seek_list(store, read, state.next, err);
    }
    if (outcome == STELE_INCOMPLETE || !read->is_list) {
        read->position = read->backwards ? UINT64_MAX : 0;
        if (!read->is_stream && !read->backwards && !read->by_ordinal) {
            read->position = read->from == 0 ? 0 : read->from - 1;
        }
        if (read->is_stream && read->backwards) {
            read->ordinal = read->from < state.next ? read->from + 1 : state.next;
        }
        return stele_read__turn_into_scan(read);
    }
    if (outcome == STELE_OK) {
        stele_read__list_refill(store, read);
    }
    return outcome;
}

static int begin_scan(struct stele_read *read, struct stele_error *err)
{
    if (!read->backwards) {
        if (read->from == STELE_FROM_END) {
            read->from = read->end_position + 1;
        }
        read->position = read->from == 0 ? 0 : read->from - 1;
        if (read->from > read->end_position) {
            stele_log_cursor_at(&read->cursor, read->end);
            return STELE_OK;
        }
        const int outcome = stele_log_seek(&read->reader, read->from, &read->cursor);
        if (outcome == STELE_END) {
            stele_log_cursor_at(&read->cursor, read->end);
            return STELE_OK;
        }
        return outcome == STELE_E_CORRUPT ? stele_read__fail_damage(read, err) : outcome;
    }
    const uint64_t bound = read->from < read->as_of ? read->from : read->as_of;
    read->before = read->end;
    if (bound >= read->end_position) {
        return STELE_OK;
    }
    struct stele_log_cursor cursor;
    int outcome = stele_log_seek(&read->reader, bound + 1, &cursor);
    if (outcome != STELE_OK) {
        return outcome == STELE_END ? STELE_OK : outcome;
    }
    /* The seek ends a few frames early at most: the events between are looked at first. */
    read->before = cursor.place;
    STELE_UNINITIALIZED struct stele_event events[16];
    size_t count = 0;
    bool within = true;
    while (outcome == STELE_OK && within) {
        outcome = stele_log_scan(&read->reader, &cursor, events, NULL, 16, &count);
        if (outcome == STELE_E_CORRUPT) {
            (void)stele_read__fail_damage(read, NULL);
            read->damage_first = true;
            outcome = STELE_OK;
            continue;
        }
        for (size_t i = 0; outcome == STELE_OK && i < count && within; i++) {
            within = events[i].position <= bound;
            outcome = within ? stele_read__push(read, &events[i]) : STELE_OK;
        }
    }
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* What the name of a stream stands for. */
static int set_key(struct stele_store *store, struct stele_read *read, uint8_t space,
                   struct stele_bytes name, struct stele_error *err)
{
    read->name_size = name.size + 1;
    read->name = stele_allocate(read->alloc, read->name_size);
    if (read->name == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "read: no memory");
    }
    memcpy(read->name, name.data, name.size);
    read->key = stele_index_key(store->superblock.seed, space,
                                (struct stele_bytes){.data = read->name, .size = name.size});
    read->is_list = true;
    read->by_name = true;
    read->is_stream = space == STELE_SPACE_STREAM;
    return STELE_OK;
}

/* $all with a filter that names exactly one of something the index lists is a list. A single
 * stream is left to the scan: its list counts in revisions. */
static int set_key_of_filter(struct stele_store *store, struct stele_read *read,
                             const struct stele_filter *filter, struct stele_error *err)
{
    if (filter == NULL) {
        return STELE_OK;
    }
    const char *name = NULL;
    uint8_t space = STELE_SPACE_TYPE;
    if (filter->tags_count > 0) {
        space = STELE_SPACE_TAG;
        name = filter->tags[0];
    } else if (filter->types_count == 1) {
        name = filter->types[0];
    } else if (filter->categories_count == 1) {
        space = STELE_SPACE_CATEGORY;
        name = filter->categories[0];
    }
    return name == NULL ? STELE_OK : set_key(store, read, space, stele_bytes_of_text(name), err);
}

static int set_key_of_name(struct stele_store *store, struct stele_read *read, const char *stream,
                           struct stele_error *err)
{
    const size_t size = strnlen(stream, STELE_STREAM_NAME_SIZE_MAX + 3);
    if (size == 0 || size > STELE_STREAM_NAME_SIZE_MAX + 2) {
        return stele_fail(err, size == 0 ? STELE_E_INVALID : STELE_E_LIMIT, 0,
                          "the stream's name is %s", size == 0 ? "empty" : "too long");
    }
    const struct stele_bytes name = {.data = (const uint8_t *)stream, .size = size};
    if (strncmp(stream, "$ce-", 4) == 0 && size > 4) {
        return set_key(store, read, STELE_SPACE_CATEGORY, stele_bytes_slice(name, 4, size - 4),
                       err);
    }
    if (strncmp(stream, "$et-", 4) == 0 && size > 4) {
        return set_key(store, read, STELE_SPACE_TYPE, stele_bytes_slice(name, 4, size - 4), err);
    }
    return set_key(store, read, STELE_SPACE_STREAM, name, err);
}

static int begin(struct stele_store *store, struct stele_read *read, const char *stream,
                 const struct stele_read_options *options, bool wait_for_stream, int64_t now_us,
                 struct stele_error *err)
{
    const bool is_all = stream == NULL || strcmp(stream, "$all") == 0;
    int outcome = STELE_OK;
    if (options->filter != NULL) { /* First, because it checks what the filter points to. */
        outcome = stele_store__filter_create(read->alloc, options->filter, &read->filter, err);
    }
    if (outcome == STELE_OK) {
        outcome = is_all ? set_key_of_filter(store, read, options->filter, err)
                         : set_key_of_name(store, read, stream, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    /* stele_read__list_refill() is called once the ordinal is known. */
    const bool is_list = read->is_list;
    read->is_list = false;
    stele_read__take_snapshot(store, read);
    read->is_list = is_list;
    if (options->by_ordinal != 0 && (is_all || read->is_stream)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "by_ordinal is for reads of \"$ce-…\" and \"$et-…\" only");
    }
    read->by_ordinal = options->by_ordinal != 0;
    if (is_list) {
        return begin_list(store, read, wait_for_stream || is_all, now_us, err);
    }
    return begin_scan(read, err);
}

int stele_read_begin(struct stele_store *store, const char *stream,
                     const struct stele_read_options *options, bool wait_for_stream, int64_t now_us,
                     struct stele_read **out_read, struct stele_error *err)
{
    struct stele_read *read = stele_allocate(store->alloc, sizeof *read);
    if (read == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "read: no memory");
    }
    memset(read, 0, offsetof(struct stele_read, places));
    read->alloc = store->alloc;
    read->backwards = options->backwards != 0;
    read->from = options->from;
    read->as_of = options->as_of == 0 ? UINT64_MAX : options->as_of;
    read->left = options->limit == 0 ? UINT64_MAX : options->limit;
    read->scan_max = options->scan_max != 0 ? options->scan_max : (uint64_t)SCAN_MAX;
    read->created_min = INT64_MIN;
    read->position = read->backwards ? UINT64_MAX : 0;
    /* UINT64_MAX asks begin_list() to leave the limits aside. */
    read->revision_min = options->ignore_limits != 0 ? UINT64_MAX : 0;
    const int outcome = begin(store, read, stream, options, wait_for_stream, now_us, err);
    if (outcome != STELE_OK) {
        stele_read_end(store, read);
        return outcome;
    }
    *out_read = read;
    return STELE_OK;
}
