/* Reads.
 *
 * There are two ways to find events. A *list* follows the places that the index has for one name
 * (a stream, a category, a type, a tag); a *scan* goes through the log frame by frame. A list that
 * meets a hole in the index turns into a scan that picks the events of its name: slower, as right.
 *
 * A read looks at a snapshot: views of log and index, and the place up to which the log was durable
 * when they were taken. next() works on it without the lock. When it has used it up it answers
 * STELE_INCOMPLETE, and refill() takes a newer one. So nothing that is not durable is handed out
 * (S3), and the last snapshot decides where the end is. */
#include "store/store_internal.h"

#define BATCH 256
#define SCAN_MAX (256 * 64) /* Events that one call looks at, unless the options say less. */
#define PREFETCH_AHEAD 16

enum verdict { TAKE, SKIP, STOP };

struct stele_read {
    struct stele_alloc *alloc;
    bool backwards;
    bool is_list;
    bool is_stream; /* The name is a stream: ordinals are revisions, and limits apply. */
    bool by_name;   /* Only events of key: always true for lists, and for scans that replace one. */
    bool fresh;     /* The snapshot was taken after the last answer STELE_END. */
    bool memory_end; /* The last refill got everything that memory has. */
    bool gaps;       /* Of the store, when the snapshot was taken. */
    bool over;       /* Nothing can come any more: bound, limit, or start of the log. */
    bool by_ordinal; /* Of a category or type: from counts the events of the name. */

    struct stele_index_key key;
    uint8_t *name; /* What key.name points to. */
    size_t name_size;

    uint64_t from; /* Revision (streams) or position. */
    uint64_t as_of;
    uint64_t left; /* Events still to be handed out at most. */
    uint64_t revision_min;
    int64_t created_min;
    struct stele_filter_program *filter;
    uint64_t scan_max; /* Most events that one call of next() looks at. */
    uint64_t scanned;  /* Looked at so far. */

    /* The snapshot. */
    struct stele_log_reader reader;
    struct stele_index_view *view;
    uint64_t end;
    uint64_t end_position;
    uint64_t numbering; /* Of the index: what ordinals mean. */
    uint64_t position;  /* Handed out or filtered away up to here. */

    /* A list: forward, the next ordinal; backward, one above the next. */
    uint64_t ordinal;      /* Scans by ordinal count with it, too. */
    uint64_t ordinals_end; /* By ordinal: how many events the name had when the read began. */
    uint64_t memory_lo;    /* Ordinals below are the view's. */
    uint64_t places_first; /* The ordinal of places[0]. */
    size_t places_count;
    bool places_of_memory; /* They came from the last refill, not from the view. */

    /* A scan: forward, the cursor; backward, the frame before which to go on. */
    struct stele_log_cursor cursor;
    uint64_t after; /* Forward, instead of a list: events up to this position were passed. */
    uint64_t before;
    struct stele_event *stack; /* Backward: events of the frames at hand, oldest first. */
    size_t stack_count, stack_capacity;

    struct stele_arena copies; /* Events that lay in an unpacked block. */

    bool damage_pending; /* For the store to take note of. */
    bool damage_first;   /* Met while beginning: the first call of next() tells. */
    struct stele_log_damage damage;
    char damaged_run[STELE_FILE_NAME_MAX];

    /* Not cleared when a read begins: it would take longer than many a read. */
    uint64_t places[BATCH];
    uint64_t ordinals[BATCH]; /* By ordinal: those of events. */
    struct stele_event events[BATCH];
};

/* ---- Verdicts ---- */

static bool is_of_name(const struct stele_read *read, const struct stele_event *event)
{
    const struct stele_bytes stream = stele_store__bytes(event->stream);
    switch (read->key.space) {
    case STELE_SPACE_STREAM:
        return stele_bytes_equal(stream, read->key.name);
    case STELE_SPACE_CATEGORY:
        return stele_bytes_equal(stele_store__category(stream), read->key.name);
    case STELE_SPACE_TYPE:
        return stele_bytes_equal(stele_store__bytes(event->type), read->key.name);
    default:
        return stele_store__event_has_tag(event, read->key.name);
    }
}

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
    if (event->position <= read->after || (read->by_name && !is_of_name(read, event))) {
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

static bool is_visible(const struct stele_read *read, uint64_t place)
{
    return place < read->end || place == STELE_STORE__NO_PLACE;
}

/* The memory part of a list from the ordinal on, as far as it is durable. */
static void refill_list(struct stele_store *store, struct stele_read *read)
{
    uint64_t lo = read->ordinal;
    size_t max = BATCH;
    if (read->backwards) {
        lo = read->ordinal > BATCH ? read->ordinal - BATCH : 0;
        max = (size_t)(read->ordinal - lo);
    }
    read->places_count = 0;
    read->places_of_memory = true;
    read->memory_lo = UINT64_MAX;
    if (max == 0) {
        return;
    }
    const size_t count =
        stele_index_mem_places(store->index, &read->key, lo, max, read->places, &read->memory_lo);
    read->places_first = read->memory_lo > lo ? read->memory_lo : lo;
    while (read->places_count < count && is_visible(read, read->places[read->places_count])) {
        read->places_count++;
    }
    read->memory_end = read->places_count < max;
}

static void take_snapshot(struct stele_store *store, struct stele_read *read)
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
        refill_list(store, read);
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

static int fail_damage(struct stele_read *read, struct stele_error *err)
{
    read->damage = read->reader.damage;
    read->damage_pending = true;
    return stele_store__fail_damage(err, &read->damage);
}

/* ---- Lists ---- */

/* The index cannot be asked: looks for the same events in the log, from where the list stood. */
static int turn_into_scan(struct stele_read *read)
{
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, read->end);
    if (!read->backwards) {
        const uint64_t position = read->is_stream ? 0 : read->position + 1;
        const int outcome = stele_log_seek(&read->reader, position, &cursor);
        if (outcome == STELE_END) {
            stele_log_cursor_at(&cursor, read->end);
        } else if (outcome != STELE_OK) {
            return outcome; /* It is still the list that it was. */
        }
    }
    read->cursor = cursor;
    /* The seek ends a few frames early. */
    read->after = read->backwards || read->is_stream ? 0 : read->position;
    read->is_list = false;
    read->by_name = true;
    read->places_count = 0;
    /* Counting goes on behind the last event that was passed, or begins at the log's. */
    if (read->by_ordinal && read->position == (read->backwards ? UINT64_MAX : 0)) {
        read->ordinal = read->backwards ? read->ordinals_end : 0;
    }
    if (read->backwards && read->by_ordinal) {
        if (read->position != UINT64_MAX) {
            read->as_of = read->position == 0 ? 0 : read->position - 1;
        }
        read->before = read->end;
        return STELE_OK;
    }
    if (read->backwards) {
        if (read->is_stream) {
            read->from = read->ordinal == 0 ? 0 : read->ordinal - 1;
            read->over = read->over || read->ordinal == 0;
        } else if (read->position != UINT64_MAX) {
            read->from = read->position == 0 ? 0 : read->position - 1;
        }
        read->before = read->end;
        return STELE_OK;
    }
    if (read->is_stream) {
        read->from = read->ordinal > read->from ? read->ordinal : read->from;
    }
    return STELE_OK;
}

int stele_read_refill(struct stele_store *store, struct stele_read *read, struct stele_error *err)
{
    hand_over_damage(store, read);
    if (read->is_list && !read->is_stream &&
        read->numbering != stele_index_numbering(store->index)) {
        /* Where the list stood is known by position only. */
        const int outcome = turn_into_scan(read);
        if (outcome != STELE_OK) {
            return stele_fail(err, outcome, 0, "read: cannot go on where it was");
        }
    }
    take_snapshot(store, read);
    return STELE_OK;
}

/* Makes an outcome of the view ours: damage is remembered for the store, and hides the answer. */
static int view_outcome(struct stele_read *read, int outcome, const char *damaged)
{
    if (outcome == STELE_E_CORRUPT) {
        STELE_ASSERT(damaged != NULL);
        STELE_ASSERT(strlen(damaged) < sizeof read->damaged_run);
        memcpy(read->damaged_run, damaged, strlen(damaged) + 1);
        return STELE_INCOMPLETE;
    }
    return outcome;
}

/* Places of the next ordinals from the runs. STELE_NOT_FOUND: the runs have none from lo on. */
static int list_from_view(struct stele_read *read, uint64_t lo, size_t max)
{
    const char *damaged = NULL;
    size_t count = 0;
    int outcome =
        stele_index_view_places(read->view, &read->key, lo, max, read->places, &count, &damaged);
    read->places_count = 0;
    read->places_of_memory = false;
    outcome = view_outcome(read, outcome, damaged);
    if (outcome != STELE_OK) {
        return outcome;
    }
    while (count > 0 && !is_visible(read, read->places[count - 1])) {
        count--; /* A follower's runs may be ahead of what it has been told to be durable. */
    }
    read->places_first = lo;
    read->places_count = count;
    return count == 0 ? STELE_NOT_FOUND : STELE_OK;
}

/* The runs have nothing at the ordinal. Below the name's first ordinal that is because scavenging
 * came before the index was rebuilt: go on at the first. In the middle it is damage that was passed
 * over: let the log tell. STELE_OK: ordinal was moved; STELE_NOT_FOUND: the runs have no more. */
static int step_over_gap(struct stele_read *read)
{
    const char *damaged = NULL;
    struct stele_index_state state = {.next = 0};
    int outcome = view_outcome(
        read, stele_index_view_state(read->view, &read->key, &state, &damaged), damaged);
    if (outcome != STELE_OK || state.next <= read->ordinal) {
        return outcome == STELE_OK ? STELE_NOT_FOUND : outcome;
    }
    if (read->gaps) {
        return STELE_INCOMPLETE;
    }
    uint64_t first = UINT64_MAX;
    outcome = view_outcome(
        read, stele_index_view_lower_bound(read->view, &read->key, 0, &first, &damaged), damaged);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (first <= read->ordinal || first == UINT64_MAX) {
        return STELE_INCOMPLETE;
    }
    read->ordinal = first;
    return STELE_OK;
}

/* Makes places hold the next ordinal. STELE_OK; STELE_NOT_FOUND: this snapshot has no more;
 * STELE_INCOMPLETE: a hole. */
static int list_forward(struct stele_read *read)
{
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        if (read->ordinal >= read->places_first &&
            read->ordinal - read->places_first < read->places_count) {
            return STELE_OK;
        }
        if (read->ordinal >= read->memory_lo) {
            /* Memory has more than one refill brings, or the view's places took its room. */
            read->fresh = read->fresh && read->places_of_memory && read->memory_end;
            return STELE_NOT_FOUND;
        }
        const uint64_t below = read->memory_lo - read->ordinal;
        outcome = list_from_view(read, read->ordinal, below < BATCH ? (size_t)below : BATCH);
        if (outcome == STELE_NOT_FOUND) {
            outcome = step_over_gap(read);
        }
        if (outcome == STELE_NOT_FOUND && read->memory_lo != UINT64_MAX) {
            read->ordinal = read->memory_lo;
            outcome = STELE_OK;
        }
    }
    return outcome;
}

static int list_backward(struct stele_read *read)
{
    size_t chunk = BATCH;
    while (read->ordinal > read->revision_min) {
        if (read->ordinal > read->places_first &&
            read->ordinal - read->places_first <= read->places_count) {
            return STELE_OK;
        }
        if (read->ordinal > read->memory_lo) {
            read->fresh = false;
            return STELE_NOT_FOUND;
        }
        const uint64_t above = read->ordinal - read->revision_min;
        const size_t wanted = above < chunk ? (size_t)above : chunk;
        const int outcome = list_from_view(read, read->ordinal - wanted, wanted);
        if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
            return outcome;
        }
        /* A gap (see step_over_gap): go down one by one until there is something again. */
        if (read->places_count < wanted) {
            read->places_count = wanted == 1 ? 0 : read->places_count;
            read->ordinal -= wanted == 1 ? 1 : 0;
            read->places_first = UINT64_MAX;
            chunk = 1;
        }
    }
    read->over = true;
    return STELE_NOT_FOUND;
}

/* The events of a stream are scattered over the log. Their cache misses and page walks overlap if
 * many are asked for in one go; one at a time, each would wait for its own. */
static void prefetch(const struct stele_read *read, size_t at)
{
    if (at % PREFETCH_AHEAD != 0 && at != (read->backwards ? read->places_count - 1 : 0)) {
        return;
    }
    for (size_t i = 0; i < 2 * PREFETCH_AHEAD; i++) {
        if (read->backwards ? i > at : at + i >= read->places_count) {
            break;
        }
        stele_log_prefetch(&read->reader, read->places[read->backwards ? at - i : at + i]);
    }
}

/* The next event of the list: STELE_OK, STELE_NOT_FOUND, STELE_INCOMPLETE, STELE_E_CORRUPT, … */
static int list_next(struct stele_read *read, struct stele_event *event, struct stele_error *err)
{
    int outcome = STELE_NOT_FOUND;
    while (outcome == STELE_NOT_FOUND) {
        outcome = read->backwards ? list_backward(read) : list_forward(read);
        if (outcome != STELE_OK) {
            return outcome;
        }
        const uint64_t ordinal = read->backwards ? --read->ordinal : read->ordinal++;
        const size_t at = (size_t)(ordinal - read->places_first);
        prefetch(read, at);
        outcome = read->places[at] == STELE_STORE__NO_PLACE
                      ? STELE_NOT_FOUND
                      : stele_log_read(&read->reader, read->places[at], event);
        if (outcome == STELE_NOT_FOUND && read->gaps) {
            read->ordinal = read->backwards ? ordinal + 1 : ordinal;
            return STELE_INCOMPLETE;
        }
        if (outcome == STELE_E_CORRUPT) {
            return fail_damage(read, err);
        }
        if (outcome == STELE_OK &&
            (!is_of_name(read, event) || (read->is_stream && event->revision != ordinal))) {
            /* The record verifies, so it is the index that is wrong: look for ourselves. */
            read->ordinal = read->backwards ? ordinal + 1 : ordinal;
            return STELE_INCOMPLETE;
        }
        if (read->over) {
            return STELE_NOT_FOUND;
        }
    }
    return outcome;
}

/* ---- Scans ---- */

static int push(struct stele_read *read, const struct stele_event *event)
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
            return fail_damage(read, err);
        }
        if (outcome != STELE_OK) {
            return outcome == STELE_END ? STELE_OK : outcome;
        }
        for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
            if (places[i] >= place) {
                return STELE_OK;
            }
            outcome = push(read, &events[i]);
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
        return fail_damage(read, err);
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
        if (*count == BATCH || read->over) {
            return STELE_OK;
        }
        struct stele_event event;
        const uint64_t ordinal = read->ordinal;
        int outcome = list_next(read, &event, err);
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
        int outcome = stele_log_scan(&read->reader, &read->cursor, read->events, NULL,
                                     left < BATCH ? (size_t)left : BATCH, &scanned);
        if (outcome == STELE_E_CORRUPT) {
            return fail_damage(read, err);
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
    for (int scans = 0; scans < BATCH && *count < BATCH && !read->over; scans++) {
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
        while (read->stack_count > 0 && *count < BATCH && !read->over &&
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
            outcome = turn_into_scan(read);
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
    STELE_ASSERT(index < BATCH);
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

/* ---- begin ---- */

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
        outcome = stele_log_scan(&read->reader, &cursor, read->events, NULL, BATCH, &count);
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            const struct stele_event *event = &read->events[i];
            if (is_of_name(read, event)) {
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
        return turn_into_scan(read);
    }
    if (outcome == STELE_OK) {
        refill_list(store, read);
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
        return outcome == STELE_E_CORRUPT ? fail_damage(read, err) : outcome;
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
            (void)fail_damage(read, NULL);
            read->damage_first = true;
            outcome = STELE_OK;
            continue;
        }
        for (size_t i = 0; outcome == STELE_OK && i < count && within; i++) {
            within = events[i].position <= bound;
            outcome = within ? push(read, &events[i]) : STELE_OK;
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
    /* refill_list() is called once the ordinal is known. */
    const bool is_list = read->is_list;
    read->is_list = false;
    take_snapshot(store, read);
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
