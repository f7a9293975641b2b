/* Making segments.
 *
 *     spare.seg, or a new file ──▶ <base>.new: header, sync ──▶ <base>.seg, sync names
 *
 * The content is durable before the final name is, so a segment with its final name always has its
 * header. Until the last step has returned nothing is written to it, and if any step fails, either
 * it is certain that the final name cannot appear any more, or the log is fenced: an older segment
 * that went on growing behind the back of a newer one would lose what was acknowledged. */
#include "log/log_internal.h"

/* A segment of a size that was asked for may still be smaller than its own header. */
#define CAPACITY_MIN ((uint64_t)4096)

static int take_spare(struct stele_io *io, const char *name, struct stele_file **out_file,
                      struct stele_error *err)
{
    int outcome = io->ops->rename(io, STELE_LOG__SPARE, name, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->open(io, name, true, out_file, err);
    }
    return outcome;
}

static int write_header(struct stele_io *io, struct stele_file *file,
                        const struct stele_log__identity *identity,
                        const struct stele_log__facts *facts,
                        const struct stele_log_partition *partitions, struct stele_error *err)
{
    uint8_t *const header = stele_allocate(io->alloc, identity->header_size);
    if (header == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "segment: no memory");
    }
    stele_log__header_encode(header, identity, facts, partitions, false);
    const struct stele_bytes bytes = {.data = header, .size = identity->header_size};
    int outcome = io->ops->write(file, 0, bytes, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->sync(file, err);
    }
    stele_release(io->alloc, header, identity->header_size);
    return outcome;
}

/* Makes sure that no file of this name is there, and that none comes back after a power cut. */
static bool undo(struct stele_io *io, const char *name, const char *name_new)
{
    const int removed = io->ops->remove(io, name, NULL);
    /* A leftover of the other name says nothing; opening the log removes it. */
    (void)io->ops->remove(io, name_new, NULL);
    return (removed == STELE_OK || removed == STELE_NOT_FOUND) &&
           io->ops->sync_names(io, NULL) == STELE_OK;
}

int stele_log__segment_make(struct stele_io *io, const struct stele_log__identity *identity,
                            const struct stele_log__facts *facts,
                            const struct stele_log_partition *partitions, bool spare,
                            struct stele_log_segment **out_segment, bool *out_undone,
                            struct stele_error *err)
{
    char name[STELE_FILE_NAME_MAX];
    char name_new[STELE_FILE_NAME_MAX];
    stele_log__name(name, facts->base, "seg");
    stele_log__name(name_new, facts->base, "new");
    *out_undone = true;
    struct stele_file *file = NULL;
    int outcome = spare ? take_spare(io, name_new, &file, err)
                        : io->ops->create(io, name_new, identity->header_size + facts->capacity,
                                          true, &file, err);
    if (outcome == STELE_OK) {
        outcome = write_header(io, file, identity, facts, partitions, err);
        io->ops->close(file);
    }
    if (outcome != STELE_OK) {
        (void)io->ops->remove(io, name_new, NULL); /* Best effort, opening the log does the rest. */
        return outcome;
    }
    outcome = io->ops->rename(io, name_new, name, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->sync_names(io, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_log__segment_open(io, identity, facts->base, false, true, out_segment, err);
    }
    if (outcome != STELE_OK) {
        *out_undone = undo(io, name, name_new);
    }
    return outcome;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t stele_log__next_file_size(const struct stele_log *log, uint64_t size)
{
    const uint64_t header_size = log->identity.header_size;
    uint64_t file_size = log->options.segment_size_first;
    if (log->view != NULL) {
        file_size = stele_log__last(log->view)->size * 2;
    }
    file_size = min_u64(file_size, log->options.segment_size_max);
    const uint64_t needed = header_size + (size > CAPACITY_MIN ? size : CAPACITY_MIN);
    return stele_align_up(file_size > needed ? file_size : needed, STELE_LOG__HEADER_UNIT);
}

/* The view, with room for one segment more. */
static struct stele_log_view *extended(const struct stele_log *log)
{
    const struct stele_log_view *const old = log->view;
    struct stele_log_view *const view =
        stele_log__view_create(log->io, &log->identity, old->count + 1);
    if (view != NULL) {
        for (uint32_t index = 0; index < old->count; index++) {
            old->segments[index]->refs++;
            stele_log__view_put(view, index, old->segments[index]);
        }
    }
    return view;
}

int stele_log_roll(struct stele_log *log, uint64_t size, struct stele_error *err)
{
    STELE_ASSERT(!log->options.read_only);
    STELE_ASSERT(log->in_flight == 0 || log->fenced);
    STELE_ASSERT(!stele_log_has_staged(log) || log->fenced);
    if (log->fenced) {
        return stele_fail(err, STELE_E_FENCED, 0, "a write to the log failed; reopen the store");
    }
    if (size > STELE_FRAME_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "a frame group of %llu bytes is too large",
                          (unsigned long long)size);
    }
    STELE_ASSERT(log->durable == log->end);
    /* The next segment says that all before it was durable. */
    const int synced = stele_log_sync(log, err);
    if (synced != STELE_OK) {
        return synced;
    }
    /* Memory first: once the file is there, nothing may fail any more. */
    struct stele_log_view *const view = extended(log);
    if (view == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "segment: no memory");
    }
    const uint64_t header_size = log->identity.header_size;
    const bool spare = log->spare_size >= header_size + size && log->spare_size > header_size;
    const uint64_t file_size = spare ? log->spare_size : stele_log__next_file_size(log, size);
    const struct stele_log__facts facts = {
        .base = stele_log__last(log->view)->limit,
        .capacity = file_size - header_size,
        .previous_end = log->end,
        .position_before = log->position,
        .events_before = log->events,
        .previous = log->checksum_last,
        .partitions = log->identity.partitions,
    };
    struct stele_log_segment *segment = NULL;
    bool undone = true;
    int outcome = stele_log__segment_make(log->io, &log->identity, &facts, log->partitions, spare,
                                          &segment, &undone, err);
    if (spare) {
        log->spare_size = 0; /* Used, or of unknown state: its name is not trusted again. */
    }
    if (outcome == STELE_NOT_FOUND) {
        outcome = STELE_E_IO; /* Somebody took the spare away. The next call makes a file. */
    }
    if (outcome != STELE_OK) {
        log->fenced = !undone;
        stele_log_view_release(view);
        return outcome;
    }
    stele_log__view_put(view, view->count - 1, segment);
    stele_log_view_release(log->view);
    log->view = view;
    log->end = facts.base;
    log->durable = facts.base;
    log->synced = facts.base;
    return STELE_OK;
}

/* ---- The spare ---- */

bool stele_log_wants_spare(const struct stele_log *log, uint64_t *out_file_size)
{
    if (log->options.read_only || log->fenced || log->spare_size > 0) {
        return false;
    }
    const struct stele_log_segment *const last = stele_log__last(log->view);
    if (log->end - last->base < (last->limit - last->base) / 4) {
        return false;
    }
    *out_file_size = stele_log__next_file_size(log, 0);
    return true;
}

int stele_log_make_spare(struct stele_io *io, uint64_t file_size, struct stele_error *err)
{
    struct stele_file *file = NULL;
    int outcome = io->ops->create(io, STELE_LOG__SPARE_TMP, file_size, true, &file, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->sync(file, err);
        io->ops->close(file);
        if (outcome == STELE_OK) {
            outcome = io->ops->rename(io, STELE_LOG__SPARE_TMP, STELE_LOG__SPARE, err);
        }
    }
    if (outcome != STELE_OK) {
        (void)io->ops->remove(io, STELE_LOG__SPARE_TMP, NULL); /* Opening the log tries again. */
    }
    return outcome;
}

void stele_log_have_spare(struct stele_log *log, uint64_t file_size)
{
    log->spare_size = file_size;
}
