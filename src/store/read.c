/* Reads.
 *
 * There are two ways to find events. A *list* (read_list.c) follows the places that the index has for
 * one name (a stream, a category, a type, a tag); a *scan* goes through the log frame by frame. A list
 * that meets a hole in the index turns into a scan that picks the events of its name: slower, as right.
 *
 * A read looks at a snapshot: views of log and index, and the place up to which the log was durable
 * when they were taken. next() works on it without the lock. When it has used it up it answers
 * STELE_INCOMPLETE, and refill() takes a newer one. So nothing that is not durable is handed out
 * (S3), and the last snapshot decides where the end is. */
#include "store/read_internal.h"

enum verdict { TAKE, SKIP, STOP };

/* ---- Verdicts ---- */

static enum verdict judge_bounds(const struct stele_read *read, const struct stele_event *event,
                                 uint64_t ordinal)
{
    if (read->by_ordinal) {
        const bool outside = read->backwards ? ordinal > read->from : ordinal < read->from;
        return outside ? SKIP : TAKE;
    }
    if (!read->is_stream) {
        const bool outside =
            read->backwards ? event->position > read->from : event->position < read->from;
        return outside ? SKIP : TAKE;
    }
    if (event->revision < read->revision_min) {
        return read->backwards && read->is_list ? STOP : SKIP;
    }
    const bool outside =
        read->backwards ? event->revision > read->from : event->revision < read->from;
    return outside || event->created_us < read->created_min ? SKIP : TAKE;
}

/* ordinal: that of an event that a list has found; a scan counts for itself. */
static enum verdict judge(struct stele_read *read, const struct stele_event *event,
                          uint64_t *ordinal)
{
    if (event->position > read->as_of) {
        return read->backwards ? SKIP : STOP;
    }
    if (event->position <= read->after || (read->by_name && !stele_read__is_of_name(read, event))) {
        return SKIP;
    }
    if (read->by_ordinal && !read->is_list) {
        *ordinal = read->backwards ? --read->ordinal : read->ordinal++;
    }
    const enum verdict verdict = judge_bounds(read, event, *ordinal);
    if (verdict != TAKE) {
        return verdict;
    }
    return read->filter == NULL || stele_store__filter_matches(read->filter, event) ? TAKE : SKIP;
}

/* Takes note of an event that was looked at. */
static void pass(struct stele_read *read, const struct stele_event *event)
{
    read->position = event->position;
}

/* ---- Events that outlive the next call of the reader ---- */

/* A record's names and payload follow each other: one copy, and every pointer moves with it. */
static int adopt(struct stele_read *read, struct stele_event *event)
{
    if (stele_log_is_lasting(&read->reader, event->stream.data)) {
        return STELE_OK;
    }
    const uint8_t *begin = (const uint8_t *)event->stream.data;
    const uint8_t *end = (const uint8_t *)event->type.data + event->type.size;
    const struct stele_bytes parts[] = {
        stele_store__bytes(event->content_type),
        {.data = event->metadata, .size = event->metadata_size},
        {.data = event->data, .size = event->data_size},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(parts); i++) {
        if (parts[i].size > 0 && parts[i].data + parts[i].size > end &&
            !stele_log_is_lasting(&read->reader, parts[i].data)) {
            end = parts[i].data + parts[i].size;
        }
    }
    const uint8_t *tag = event->tags;
    for (uint32_t i = 0; i < event->tags_count; i++) {
        tag += 1 + tag[0];
    }
    end = event->tags_count > 0 && tag > end ? tag : end;
    uint8_t *copy = stele_arena_allocate(&read->copies, read->alloc, (size_t)(end - begin));
    if (copy == NULL) {
        return STELE_E_NO_MEMORY;
    }
    memcpy(copy, begin, (size_t)(end - begin));
#define MOVED(pointer) (copy + ((const uint8_t *)(pointer)-begin))
    /* "application/json" is a constant, not bytes of the record. */
    const bool typed = !stele_log_is_lasting(&read->reader, event->content_type.data);
    event->metadata = event->metadata_size > 0 ? MOVED(event->metadata) : NULL;
    event->data = event->data_size > 0 ? MOVED(event->data) : NULL;
    event->tags = event->tags_count > 0 ? MOVED(event->tags) : NULL;
    event->type.data = (const char *)MOVED(event->type.data);
    event->content_type.data =
        typed ? (const char *)MOVED(event->content_type.data) : event->content_type.data;
    event->stream.data = (const char *)copy;
#undef MOVED
    return STELE_OK;
}

/* ---- The snapshot ---- */

static void drop_snapshot(struct stele_read *read)
{
    if (read->reader.view != NULL) {
        struct stele_log_view *view = read->reader.view;
        stele_log_reader_deinit(&read->reader);
        stele_log_view_release(view);
        read->reader.view = NULL;
    }
    if (read->view != NULL) {
        stele_index_view_release(read->view);
        read->view = NULL;
    }
}

void stele_read__take_snapshot(struct stele_store *store, struct stele_read *read)
{
    drop_snapshot(read);
    read->end = stele_store__visible_end(store);
    read->end_position = stele_store_position(store);
    read->gaps = store->gaps;
    read->numbering = stele_index_numbering(store->index);
    read->view = stele_index_view_acquire(store->index);
    stele_log_reader_init(&read->reader, stele_log_view_acquire(store->log), read->alloc,
                          read->end);
    read->fresh = true;
    if (read->is_list) {
        stele_read__list_refill(store, read);
    }
}

static void hand_over_damage(struct stele_store *store, struct stele_read *read)
{
    if (read->damage_pending) {
        stele_store__note_damage(store, &read->damage);
        read->damage_pending = false;
    }
    if (read->damaged_run[0] != '\0') {
        (void)stele_store__run_damaged(store, read->damaged_run);
        read->damaged_run[0] = '\0';
    }
}

int stele_read__fail_damage(struct stele_read *read, struct stele_error *err)
{
    read->damage = read->reader.damage;
    read->damage_pending = true;
    return stele_store__fail_damage(err, &read->damage);
}

int stele_read_refill(struct stele_store *store, struct stele_read *read, struct stele_error *err)
{
    hand_over_damage(store, read);
    if (read->is_list && !read->is_stream &&
        read->numbering != stele_index_numbering(store->index)) {
        /* Where the list stood is known by position only. */
        const int outcome = stele_read__turn_into_scan(read);
        if (outcome != STELE_OK) {
            return stele_fail(err, outcome, 0, "read: cannot go on where it was");
        }
    }
    stele_read__take_snapshot(store, read);
    return STELE_OK;
}

/* ---- Scans ---- */

int stele_read__push(struct stele_read *read, const struct stele_event *event)
{
    const int outcome = stele_store__grow(read->alloc, (void **)&read->stack, &read->stack_capacity,
                                          sizeof *read->stack, read->stack_count + 1);
    if (outcome == STELE_OK) {
        read->stack[read->stack_count++] = *event;
        return adopt(read, &read->stack[read->stack_count - 1]);
    }
    return outcome;
}

/* Pushes the events from the cursor up to a place. */
static int push_up_to(struct stele_read *read, struct stele_log_cursor *cursor, uint64_t place,
                      struct stele_error *err)
{
    STELE_UNINITIALIZED struct stele_event events[64];
    STELE_UNINITIALIZED uint64_t places[64];
    while (cursor->place < place) {
        size_t count = 0;
        int outcome = stele_log_scan(&read->reader, cursor, events, places, 64, &count);
        if (outcome == STELE_E_CORRUPT) {
            return stele_read__fail_damage(read, err);
        }
        if (outcome != STELE_OK) {
            return outcome == STELE_END ? STELE_OK : outcome;
        }
        for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
            if (places[i] >= place) {
                return STELE_OK;
            }
            outcome = stele_read__push(read, &events[i]);
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

/* Puts the events before `before` on the stack, which is empty. */
static int scan_backward(struct stele_read *read, struct stele_error *err)
{
    uint64_t place = 0;
    const int outcome = stele_log_frame_before(&read->reader, read->before, &place);
    if (outcome == STELE_E_CORRUPT) {
        STELE_ASSERT(place < read->before);
        read->before = place; /* Passes over it. */
        return stele_read__fail_damage(read, err);
    }
    if (outcome != STELE_OK) {
        read->over = outcome == STELE_END;
        return outcome;
    }
    STELE_ASSERT(place < read->before);
    const uint64_t before = read->before;
    read->before = place;
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, place);
    return push_up_to(read, &cursor, before, err);
}

/* ---- next ---- */

static int finish(struct stele_read *read, size_t count, const struct stele_event **out_events,
                  size_t *out_count)
{
    *out_events = read->events;
    *out_count = count;
    return STELE_OK;
}

static int answer_end(struct stele_read *read)
{
    if (!read->over && !read->fresh) {
        return STELE_INCOMPLETE;
    }
    read->fresh = false;
    if (!read->over && !read->backwards && read->end_position > read->position) {
        read->position = read->end_position;
    }
    return STELE_END;
}

/* Appends to events until the batch is full. STELE_OK, or STELE_E_NO_MEMORY: the event was not
 * looked at. */
static int take(struct stele_read *read, const struct stele_event *event, uint64_t ordinal,
                size_t *count, struct stele_error *err)
{
    const uint64_t counted = read->ordinal;
    const enum verdict verdict = judge(read, event, &ordinal);
    if (read->filter != NULL && stele_store__filter_had_no_memory(read->filter)) {
        read->ordinal = counted;
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "filter: no memory");
    }
    read->scanned++;
    if (verdict == STOP) {
        read->over = true;
        return STELE_OK;
    }
    pass(read, event);
    if (verdict == TAKE) {
        read->ordinals[*count] = ordinal;
        read->events[(*count)++] = *event;
        if (--read->left == 0) {
            read->over = true;
        }
    }
    return STELE_OK;
}

static int next_of_list(struct stele_read *read, size_t *count, struct stele_error *err)
{
    for (uint64_t looked_at = 0; looked_at < read->scan_max; looked_at++) {
        if (*count == STELE_READ__BATCH || read->over) {
            return STELE_OK;
        }
        struct stele_event event;
        const uint64_t ordinal = read->ordinal;
        int outcome = stele_read__list_next(read, &event, err);
        if (outcome == STELE_OK) {
            outcome = adopt(read, &event);
        }
        if (outcome == STELE_OK) {
            outcome =
                take(read, &event, read->backwards ? read->ordinal : read->ordinal - 1, count, err);
        }
        if (outcome == STELE_NOT_FOUND || outcome == STELE_INCOMPLETE) {
            return outcome;
        }
        /* An error waits until what was found before it has been handed out; damage is passed
         * over only when it is answered, other errors never. */
        if (outcome != STELE_OK && (*count > 0 || outcome != STELE_E_CORRUPT)) {
            read->ordinal = ordinal;
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

static int next_of_scan(struct stele_read *read, size_t *count, struct stele_error *err)
{
    uint64_t left = read->scan_max;
    while (left > 0 && *count == 0 && !read->over) {
        size_t scanned = 0;
        const struct stele_log_cursor begin = read->cursor;
        int outcome =
            stele_log_scan(&read->reader, &read->cursor, read->events, NULL,
                           left < STELE_READ__BATCH ? (size_t)left : STELE_READ__BATCH, &scanned);
        if (outcome == STELE_E_CORRUPT) {
            return stele_read__fail_damage(read, err);
        }
        if (outcome != STELE_OK) {
            return outcome == STELE_END ? STELE_NOT_FOUND : outcome;
        }
        left -= scanned;
        for (size_t i = 0; i < scanned && !read->over && outcome == STELE_OK; i++) {
            outcome = take(read, &read->events[i], 0, count, err);
        }
        if (outcome != STELE_OK) {
            read->cursor = begin; /* From the event on that could not be looked at. */
            read->after = read->position > read->after ? read->position : read->after;
            return outcome;
        }
    }
    return STELE_OK;
}

static int next_of_scan_backward(struct stele_read *read, size_t *count, struct stele_error *err)
{
    const uint64_t scanned = read->scanned;
    for (int scans = 0; scans < STELE_READ__BATCH && *count < STELE_READ__BATCH && !read->over;
         scans++) {
        if (read->scanned - scanned >= read->scan_max) {
            break;
        }
        if (read->stack_count == 0) {
            if (*count > 0) {
                return STELE_OK; /* What was taken lies in copies that the next frame may reuse. */
            }
            stele_arena_deinit(&read->copies, read->alloc);
            const int outcome = scan_backward(read, err);
            if (outcome != STELE_OK) {
                return outcome == STELE_END ? STELE_NOT_FOUND : outcome;
            }
        }
        while (read->stack_count > 0 && *count < STELE_READ__BATCH && !read->over &&
               read->scanned - scanned < read->scan_max) {
            const int outcome = take(read, &read->stack[read->stack_count - 1], 0, count, err);
            if (outcome != STELE_OK) {
                return outcome;
            }
            read->stack_count--;
        }
    }
    return STELE_OK;
}

int stele_read_next(struct stele_read *read, const struct stele_event **out_events,
                    size_t *out_count, struct stele_error *err)
{
    size_t count = 0;
    int outcome = STELE_INCOMPLETE;
    if (read->damage_first) {
        read->damage_first = false;
        return stele_store__fail_damage(err, &read->damage);
    }
    if (read->over) {
        return STELE_END;
    }
    if (read->is_list) {
        stele_arena_deinit(&read->copies, read->alloc);
        outcome = next_of_list(read, &count, err);
        if (outcome == STELE_INCOMPLETE && count == 0) {
            outcome = stele_read__turn_into_scan(read);
        }
    } else {
        outcome = read->backwards ? next_of_scan_backward(read, &count, err)
                                  : next_of_scan(read, &count, err);
    }
    /* What was found before an error or the end is handed out first; both come again. */
    if (count > 0) {
        return finish(read, count, out_events, out_count);
    }
    if (outcome == STELE_NOT_FOUND || (outcome == STELE_OK && read->over)) {
        return answer_end(read);
    }
    return outcome == STELE_OK ? finish(read, 0, out_events, out_count) : outcome;
}

uint64_t stele_read_scanned(const struct stele_read *read)
{
    return read->scanned;
}

uint64_t stele_read_ordinal(const struct stele_read *read, size_t index)
{
    STELE_ASSERT(index < STELE_READ__BATCH);
    return read->by_ordinal ? read->ordinals[index] : read->events[index].revision;
}

uint64_t stele_read_position(const struct stele_read *read)
{
    return read->backwards && read->position == UINT64_MAX ? 0 : read->position;
}

void stele_read_look(const struct stele_read *read, uint64_t *out_position, bool *out_expires)
{
    STELE_ASSERT(read->is_stream);
    *out_position = read->end_position;
    *out_expires = read->created_min != INT64_MIN;
}

/* ---- end ---- */

void stele_read_end(struct stele_store *store, struct stele_read *read)
{
    if (read == NULL) {
        return;
    }
    hand_over_damage(store, read);
    drop_snapshot(read);
    stele_store__filter_destroy(read->alloc, read->filter);
    stele_arena_deinit(&read->copies, read->alloc);
    stele_release(read->alloc, read->stack, read->stack_capacity * sizeof *read->stack);
    stele_release(read->alloc, read->name, read->name_size);
    stele_release(read->alloc, read, sizeof *read);
}
