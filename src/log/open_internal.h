/* Inside listing.c, recover.c and open.c: what opening a log is made of. */
#ifndef STELE_LOG_OPEN_INTERNAL_H
#define STELE_LOG_OPEN_INTERNAL_H

#include "log/log_internal.h"

/* ---- Which files there are (listing.c) ---- */

/* A segment that was found, as one file or both. */
struct stele_log__found {
    uint64_t base;
    bool plain;
    bool packed;
};

/* All files of a log; zeros but for alloc until it is filled. */
struct stele_log__listing {
    struct stele_alloc *alloc;
    struct stele_buf found;     /* Of struct stele_log__found, ascending. */
    struct stele_buf leftovers; /* Names, each with its zero. */
    uint64_t spare_size;
};

static inline size_t stele_log__found_count(const struct stele_log__listing *listing)
{
    return listing->found.size / sizeof(struct stele_log__found);
}

static inline struct stele_log__found *stele_log__found_at(const struct stele_log__listing *listing,
                                                           size_t index)
{
    return (struct stele_log__found *)(void *)listing->found.data + index;
}

STELE_MUST_USE
int stele_log__list_files(struct stele_io *io, struct stele_log__listing *listing,
                          struct stele_error *err);
void stele_log__listing_deinit(struct stele_log__listing *listing);

/* Removes what was being made when the last writer ended. */
STELE_MUST_USE
int stele_log__remove_leftovers(struct stele_io *io, const struct stele_log__listing *listing,
                                struct stele_error *err);

/* Fills the view from index first on with what is listed behind the first `skip`. */
STELE_MUST_USE
int stele_log__open_segments(const struct stele_log *log, const struct stele_log__listing *listing,
                             size_t skip, struct stele_log_view *view, uint32_t first,
                             struct stele_error *err);

/* ---- The last segment (recover.c) ---- */

/* Tells the events of the last segment from events_from on, and sets where the log ends; what is torn
 * is cut off, unless the log is read only. live_end: how far a living writer is, or UINT64_MAX.
 *
 * STELE_E_CORRUPT   What had been acknowledged is damaged. */
STELE_MUST_USE
int stele_log__recover(struct stele_log *log, const struct stele_log__mark *mark,
                       uint64_t events_from, uint64_t live_end, stele_log_event_callback on_event,
                       void *context, struct stele_error *err);

#endif
