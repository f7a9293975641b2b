/* Which files of a log there are, and opening them. */
#include "log/open_internal.h"

static int note_segment(struct stele_log__listing *listing, uint64_t base, bool packed)
{
    /* The list is in byte order, so both files of one segment follow each other. */
    const size_t count = stele_log__found_count(listing);
    if (count > 0 && stele_log__found_at(listing, count - 1)->base == base) {
        stele_log__found_at(listing, count - 1)->packed |= packed;
        stele_log__found_at(listing, count - 1)->plain |= !packed;
        return STELE_OK;
    }
    STELE_ASSERT(count == 0 || stele_log__found_at(listing, count - 1)->base < base);
    const struct stele_log__found found = {.base = base, .plain = !packed, .packed = packed};
    return stele_buf_append(
        &listing->found, listing->alloc,
        (struct stele_bytes){.data = (const uint8_t *)&found, .size = sizeof found});
}

static int on_name(void *context, const char *name, uint64_t size)
{
    struct stele_log__listing *const listing = context;
    uint64_t base = 0;
    if (stele_log__parse_name(name, "seg", &base) || stele_log__parse_name(name, "pak", &base)) {
        return note_segment(listing, base, name[17] == 'p');
    }
    if (strcmp(name, STELE_LOG__SPARE) == 0) {
        listing->spare_size = size;
        return STELE_OK;
    }
    if (stele_log__parse_name(name, "new", &base) || stele_log__parse_name(name, "tmp", &base) ||
        strcmp(name, STELE_LOG__SPARE_TMP) == 0) {
        return stele_buf_append(
            &listing->leftovers, listing->alloc,
            (struct stele_bytes){.data = (const uint8_t *)name, .size = strlen(name) + 1});
    }
    return STELE_OK; /* Of the index or of the store. */
}

int stele_log__list_files(struct stele_io *io, struct stele_log__listing *listing,
                          struct stele_error *err)
{
    const int outcome = io->ops->list(io, on_name, listing, err);
    if (outcome == STELE_E_NO_MEMORY) {
        return stele_fail(err, outcome, 0, "log: no memory");
    }
    return outcome;
}

void stele_log__listing_deinit(struct stele_log__listing *listing)
{
    stele_buf_deinit(&listing->found, listing->alloc);
    stele_buf_deinit(&listing->leftovers, listing->alloc);
}

int stele_log__remove_leftovers(struct stele_io *io, const struct stele_log__listing *listing,
                                struct stele_error *err)
{
    size_t at = 0;
    while (at < listing->leftovers.size) {
        const char *const name = (const char *)listing->leftovers.data + at;
        const int outcome = io->ops->remove(io, name, err);
        if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
            return outcome;
        }
        at += strlen(name) + 1;
    }
    return STELE_OK;
}

/* A power cut between the last two steps of installing a packed segment leaves both files. The
 * packed one was durable before it got its name; unless it has rotted since, it wins. */
static int open_one_of_two(const struct stele_log *log, const struct stele_log_view *view,
                           uint64_t base, struct stele_log_segment **out_segment,
                           struct stele_error *err)
{
    struct stele_io *const io = log->io;
    struct stele_log_segment *segment = NULL;
    int outcome = stele_log__segment_open(io, &log->identity, base, true, false, &segment, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const bool packed = stele_log__packed_is_whole(view, segment);
    if (!packed) {
        stele_log__segment_unref(io, segment);
        outcome = stele_log__segment_open(io, &log->identity, base, false, !log->options.read_only,
                                          &segment, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    if (!log->options.read_only) {
        char name[STELE_FILE_NAME_MAX];
        stele_log__name(name, base, packed ? "seg" : "pak");
        outcome = io->ops->remove(io, name, err);
        if (outcome != STELE_OK) {
            stele_log__segment_unref(io, segment);
            return outcome;
        }
    }
    *out_segment = segment;
    return STELE_OK;
}

int stele_log__open_segments(const struct stele_log *log, const struct stele_log__listing *listing,
                             size_t skip, struct stele_log_view *view, uint32_t first,
                             struct stele_error *err)
{
    for (uint32_t index = first; index < view->count; index++) {
        const struct stele_log__found *const found =
            stele_log__found_at(listing, skip + index - first);
        struct stele_log_segment *segment = NULL;
        int outcome = STELE_OK;
        if (found->plain && found->packed) {
            outcome = open_one_of_two(log, view, found->base, &segment, err);
        } else {
            const bool writable = !log->options.read_only && index + 1 == view->count;
            outcome = stele_log__segment_open(log->io, &log->identity, found->base, found->packed,
                                              writable, &segment, err);
        }
        if (outcome == STELE_NOT_FOUND && log->options.read_only) {
            /* The writer has packed it since the list was made. */
            outcome = stele_log__segment_open(log->io, &log->identity, found->base, !found->packed,
                                              false, &segment, err);
        }
        if (outcome != STELE_OK) {
            return outcome == STELE_NOT_FOUND ? STELE_E_IO : outcome;
        }
        stele_log__view_put(view, index, segment);
    }
    return STELE_OK;
}
