/* Opening a log, and following one that another process writes. */
#include "log/open_internal.h"

/* How often a listing that is of no moment at all is made again. */
#define LIST_ATTEMPTS 8

static int make_first(struct stele_log *log, const struct stele_log__mark *mark,
                      struct stele_error *err)
{
    if (log->options.read_only) {
        return stele_fail(err, STELE_E_NOT_A_STORE, 0, "the store has no log");
    }
    if (mark->durable > 0) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "all segments of the log are missing");
    }
    const struct stele_log__facts facts = {
        .capacity = stele_log__next_file_size(log, 0) - log->identity.header_size,
        .partitions = log->identity.partitions,
    };
    struct stele_log_segment *segment = NULL;
    bool undone = false;
    log->view = stele_log__view_create(log->io, &log->identity, 1);
    if (log->view == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "log: no memory");
    }
    struct stele_log_view *const view = log->view;
    log->view = NULL;
    const int outcome = stele_log__segment_make(log->io, &log->identity, &facts, log->partitions,
                                                false, &segment, &undone, err);
    if (outcome != STELE_OK) {
        stele_log_view_release(view);
        return outcome;
    }
    stele_log__view_put(view, 0, segment);
    log->view = view;
    return STELE_OK;
}

static int open_files(struct stele_log *log, struct stele_log__listing *listing, uint64_t live_end,
                      const struct stele_log__mark *mark, struct stele_error *err)
{
    size_t count = stele_log__found_count(listing);
    while (count > 1 && stele_log__found_at(listing, count - 1)->base > live_end &&
           !stele_log__found_at(listing, count - 2)->packed) {
        /* Made by the living writer since it told us its end. If it has even packed the one before,
         * this one tells what that one did not: all before it is durable. */
        count--;
    }
    if (count == 0) {
        return make_first(log, mark, err);
    }
    log->view = stele_log__view_create(log->io, &log->identity, (uint32_t)count);
    if (log->view == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "log: no memory");
    }
    return stele_log__open_segments(log, listing, 0, log->view, 0, err);
}

/* Are there places between the segments that none of them has? Those below `first` were looked at. */
static bool has_hole(const struct stele_log_view *view, uint32_t first)
{
    for (uint32_t index = first; index < view->count; index++) {
        const uint64_t expected = index == 0 ? 0 : stele_log__limit_of(view, index - 1);
        if (expected < view->bases[index]) {
            return true;
        }
    }
    return false;
}

/* Beside a living writer a listing may be of no moment at all. What was its last file may be packed
 * before it is opened; only a plain segment can be the last one. And a segment may be missing: the
 * name of its packed form was made behind the reader of the directory, that of the plain one removed
 * before it came there. Then the list is made again. What is missing still is damage. */
static bool is_torn(const struct stele_log_view *view, uint32_t first)
{
    return stele_log__last(view)->packed || has_hole(view, first);
}

static int open_listed(struct stele_log *log, struct stele_log__listing *listing, uint64_t live_end,
                       const struct stele_log__mark *mark, struct stele_error *err)
{
    int outcome = open_files(log, listing, live_end, mark, err);
    for (int attempt = 1; attempt < LIST_ATTEMPTS && outcome == STELE_OK &&
                          live_end != UINT64_MAX && is_torn(log->view, 0);
         attempt++) {
        stele_log_view_release(log->view);
        log->view = NULL;
        stele_log__listing_deinit(listing);
        *listing = (struct stele_log__listing){.alloc = log->alloc};
        outcome = stele_log__list_files(log->io, listing, err);
        if (outcome == STELE_OK) {
            outcome = open_files(log, listing, live_end, mark, err);
        }
    }
    return outcome;
}

/* A spare that somebody prepared earlier is as good as a new one, if it has the size of one. */
static int take_up_spare(struct stele_log *log, uint64_t spare_size, struct stele_error *err)
{
    if (spare_size == 0) {
        return STELE_OK;
    }
    if (spare_size == stele_log__next_file_size(log, 0)) {
        log->spare_size = spare_size;
        return STELE_OK;
    }
    const int outcome = log->io->ops->remove(log->io, STELE_LOG__SPARE, err);
    return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
}

static int open_log(struct stele_log *log, struct stele_log__listing *listing, uint64_t events_from,
                    uint64_t live_end, stele_log_event_callback on_event, void *context,
                    struct stele_error *err)
{
    struct stele_log__mark mark;
    int outcome = stele_log__mark_read(log->io, log->identity.seed, &mark, err);
    if (outcome == STELE_OK) {
        log->mark_sequence = mark.sequence;
        outcome = stele_log__list_files(log->io, listing, err);
    }
    if (outcome == STELE_OK && !log->options.read_only) {
        /* A process that was killed may have left names that only the cache knows: of a new
         * segment, of a packed one. They are made durable before anything is removed or
         * acknowledged on their strength. */
        outcome = log->io->ops->sync_names(log->io, err);
    }
    if (outcome == STELE_OK && !log->options.read_only) {
        outcome = stele_log__remove_leftovers(log->io, listing, err);
    }
    if (outcome == STELE_OK) {
        outcome = open_listed(log, listing, live_end, &mark, err);
    }
    if (outcome == STELE_OK && !log->options.read_only) {
        /* What was removed, perhaps the plain form of a segment with events that were erased since,
         * must not come back either. */
        outcome = log->io->ops->sync_names(log->io, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_log__recover(log, &mark, events_from, live_end, on_event, context, err);
    }
    if (outcome == STELE_OK && !log->options.read_only) {
        outcome = take_up_spare(log, listing->spare_size, err);
    }
    return outcome;
}

int stele_log_open(struct stele_io *io, const struct stele_log_options *options,
                   uint64_t events_from, uint64_t live_end, stele_log_event_callback on_event,
                   void *context, struct stele_log **out_log, struct stele_error *err)
{
    STELE_ASSERT(options->partitions > 0);
    STELE_ASSERT(options->read_only || live_end == UINT64_MAX);
    struct stele_log *log = stele_allocate_zeroed(io->alloc, sizeof *log);
    if (log == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "log: no memory");
    }
    log->io = io;
    log->alloc = io->alloc;
    log->options = *options;
    log->next_id = 1;
    memcpy(log->identity.store_id, options->store_id, sizeof log->identity.store_id);
    log->identity.seed = stele_log__seed(options->secret);
    log->identity.partitions = options->partitions;
    log->identity.header_size = stele_log__header_size(options->partitions);
    log->partitions =
        stele_allocate_zeroed(io->alloc, options->partitions * sizeof *log->partitions);
    struct stele_log__listing listing = {.alloc = io->alloc};
    int outcome = log->partitions == NULL
                      ? stele_fail(err, STELE_E_NO_MEMORY, 0, "log: no memory")
                      : open_log(log, &listing, events_from, live_end, on_event, context, err);
    stele_log__listing_deinit(&listing);
    if (outcome != STELE_OK) {
        stele_log_close(log);
        return outcome;
    }
    *out_log = log;
    return STELE_OK;
}

/* ---- Following a living writer ---- */

/* Opens the segments that were made since; *out_torn: looking again may find more of them. */
static int take_up_listed(struct stele_log *log, uint64_t live_end, bool accept_torn,
                          bool *out_torn, struct stele_error *err)
{
    *out_torn = false;
    struct stele_log__listing listing = {.alloc = log->alloc};
    const uint64_t base_last = stele_log__last(log->view)->base;
    int outcome = stele_log__list_files(log->io, &listing, err);
    size_t skip = 0;
    size_t end = stele_log__found_count(&listing);
    while (skip < end && stele_log__found_at(&listing, skip)->base <= base_last) {
        skip++;
    }
    while (end > skip && stele_log__found_at(&listing, end - 1)->base > live_end) {
        end--;
    }
    if (outcome == STELE_OK && end > skip) {
        const uint32_t old = log->view->count;
        struct stele_log_view *const view =
            stele_log__view_create(log->io, &log->identity, old + (uint32_t)(end - skip));
        if (view == NULL) {
            (void)stele_fail(err, STELE_E_NO_MEMORY, 0, "log: no memory");
            outcome = STELE_E_NO_MEMORY;
        }
        for (uint32_t index = 0; outcome == STELE_OK && index < old; index++) {
            log->view->segments[index]->refs++;
            stele_log__view_put(view, index, log->view->segments[index]);
        }
        if (outcome == STELE_OK) {
            outcome = stele_log__open_segments(log, &listing, skip, view, old, err);
        }
        *out_torn = outcome == STELE_OK && is_torn(view, old);
        if (outcome == STELE_OK && (!*out_torn || accept_torn)) {
            stele_log_view_release(log->view);
            log->view = view;
        } else {
            stele_log_view_release(view);
        }
    }
    stele_log__listing_deinit(&listing);
    return outcome;
}

static int take_up_segments(struct stele_log *log, uint64_t live_end, struct stele_error *err)
{
    bool torn = true;
    int outcome = STELE_OK;
    for (int attempt = 1; attempt <= LIST_ATTEMPTS && outcome == STELE_OK && torn; attempt++) {
        outcome = take_up_listed(log, live_end, attempt == LIST_ATTEMPTS, &torn, err);
    }
    return outcome;
}

static int follow_events(struct stele_log *log, struct stele_log_reader *reader,
                         stele_log_event_callback on_event, void *context)
{
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, log->end);
    for (;;) {
        struct stele_event event;
        uint64_t place = 0;
        size_t count = 0;
        int outcome = stele_log_scan(reader, &cursor, &event, &place, 1, &count);
        if (outcome == STELE_E_CORRUPT) {
            continue; /* Readers are told of it. */
        }
        if (outcome != STELE_OK) {
            return outcome == STELE_END ? STELE_OK : outcome;
        }
        outcome = on_event(context, &cursor.frame, place, &event);
        if (outcome != STELE_OK) {
            return outcome;
        }
        log->position = event.position;
        log->events++;
        if (cursor.frame.partition < log->identity.partitions) {
            stele_log__take_up(log, &cursor.frame);
        }
        log->checksum_last = cursor.frame.header_checksum;
        if (cursor.frame_end == 0 || cursor.place == cursor.frame_end) {
            log->end = cursor.place; /* Should a later event fail, these do not come again. */
        }
    }
}

int stele_log_follow(struct stele_log *log, uint64_t live_end, stele_log_event_callback on_event,
                     void *context, struct stele_error *err)
{
    STELE_ASSERT(log->options.read_only);
    if (live_end <= log->end) {
        return STELE_OK;
    }
    /* A packed segment was never the last one for long: more has been made since it was listed. */
    const struct stele_log_segment *const last = stele_log__last(log->view);
    if (last->packed || live_end >= last->limit) {
        const int outcome = take_up_segments(log, live_end, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    struct stele_log_reader reader;
    struct stele_log_view *const view = stele_log_view_acquire(log);
    stele_log_reader_init(&reader, view, log->alloc, live_end);
    const int outcome = follow_events(log, &reader, on_event, context);
    stele_log_reader_deinit(&reader);
    stele_log_view_release(view);
    if (outcome != STELE_OK) {
        return outcome;
    }
    /* Not further than the files that were found: the rest comes with the next call. */
    const uint64_t limit = stele_log__limit_of(log->view, log->view->count - 1);
    log->end = live_end < limit ? live_end : limit;
    log->durable = log->end;
    log->position_durable = log->position;
    log->checksum_durable = log->checksum_last;
    log->stamp_durable = log->stamp;
    stele_log__all_synced(log);
    return STELE_OK;
}
