/* Making segments, and giving them up.
 *
 *     <n>.spare, or a new file ──▶ <k>.new: header, sync ──▶ <k>.wal, sync names ──▶ … ──▶ trimmed
 *          ▲                                                                              │
 *          └───────────────────── rename, sync names ◀── mark: segments start behind it ◀─┘
 *
 * A segment has its final name only when its header is durable, and is written only when its name
 * is. It is given up only when the mark says durably that it does not count any more: the disk may
 * undo any of the renames in a power cut, and a gap in the numbers shall always mean a loss.
 *
 * A file that is used again was zeroed once, long ago. What it held verifies under its old number
 * only (stele_wal__seed()). */
#include "raft/wal_internal.h"

int stele_wal__segments_reserve(struct stele_wal *wal)
{
    if (wal->segments_count < wal->segments_capacity) {
        return STELE_OK;
    }
    const size_t capacity = wal->segments_capacity == 0 ? 16 : wal->segments_capacity * 2;
    struct stele_wal__segment *const segments =
        wal->alloc->reallocate(wal->alloc, wal->segments, wal->segments_capacity * sizeof *segments,
                               capacity * sizeof *segments);
    if (segments == NULL) {
        return STELE_E_NO_MEMORY;
    }
    wal->segments = segments;
    wal->segments_capacity = capacity;
    return STELE_OK;
}

/* ---- The mark ---- */

void stele_wal__mark_next(struct stele_wal *wal, uint64_t start, uint8_t *buffer,
                          uint64_t *out_offset)
{
    struct stele_wal__mark mark = {
        .sequence = ++wal->mark_sequence,
        .durable = wal->durable,
        .start = start,
    };
    memcpy(mark.owner_id, wal->options.owner_id, sizeof mark.owner_id);
    stele_wal__mark_encode(buffer, &mark);
    *out_offset = mark.sequence % 2 * STELE_WAL__MARK_STEP;
}

int stele_wal__mark_write(struct stele_wal *wal, uint64_t start, struct stele_error *err)
{
    const struct stele_io_ops *const ops = wal->io->ops;
    uint8_t bytes[STELE_WAL__MARK_SLOT];
    uint64_t offset = 0;
    stele_wal__mark_next(wal, start, bytes, &offset);
    int outcome = ops->write(wal->mark_file, offset,
                             (struct stele_bytes){.data = bytes, .size = sizeof bytes}, err);
    if (outcome == STELE_OK) {
        outcome = ops->sync(wal->mark_file, err);
    }
    /* What this slot holds is not known any more. */
    wal->fenced = wal->fenced || outcome != STELE_OK;
    return outcome;
}

/* ---- Making ---- */

static int write_header(struct stele_wal *wal, struct stele_file *file,
                        const struct stele_wal__facts *facts, struct stele_error *err)
{
    uint8_t header[STELE_WAL__SEGMENT_HEADER] = {0};
    stele_wal__facts_encode(header, facts);
    int outcome = wal->io->ops->write(
        file, 0, (struct stele_bytes){.data = header, .size = sizeof header}, err);
    if (outcome == STELE_OK) {
        outcome = wal->io->ops->sync(file, err);
    }
    return outcome;
}

/* A file of this name with a durable header. */
static int make_file(struct stele_wal *wal, const char *name, const char *spare,
                     const struct stele_wal__facts *facts, struct stele_error *err)
{
    const struct stele_io_ops *const ops = wal->io->ops;
    struct stele_file *file = NULL;
    int outcome = STELE_OK;
    if (spare != NULL) {
        outcome = ops->rename(wal->io, spare, name, err);
        if (outcome == STELE_OK) {
            outcome = ops->open(wal->io, name, true, &file, err);
        }
    } else {
        outcome = ops->create(wal->io, name, STELE_WAL__SEGMENT_HEADER + facts->capacity, true,
                              &file, err);
    }
    if (outcome == STELE_OK) {
        outcome = write_header(wal, file, facts, err);
        ops->close(file);
    }
    return outcome == STELE_NOT_FOUND ? STELE_E_IO : outcome; /* Somebody took the spare away. */
}

/* Makes sure that no segment of this name is there, and that none comes back after a power cut. */
static bool undo(struct stele_wal *wal, const char *name, const char *name_new)
{
    const struct stele_io_ops *const ops = wal->io->ops;
    const int removed = ops->remove(wal->io, name, NULL);
    /* A leftover of the other name says nothing; opening removes it. */
    (void)ops->remove(wal->io, name_new, NULL);
    return (removed == STELE_OK || removed == STELE_NOT_FOUND) &&
           ops->sync_names(wal->io, NULL) == STELE_OK;
}

static int make_segment(struct stele_wal *wal, const char *spare,
                        const struct stele_wal__facts *facts, struct stele_file **out_file,
                        struct stele_error *err)
{
    const struct stele_io_ops *const ops = wal->io->ops;
    char name[STELE_FILE_NAME_MAX];
    char name_new[STELE_FILE_NAME_MAX];
    stele_wal__name(name, facts->number, "wal");
    stele_wal__name(name_new, facts->number, "new");
    int outcome = make_file(wal, name_new, spare, facts, err);
    if (outcome != STELE_OK) {
        /* Best effort, opening does the rest. On a full disk a spare that cannot even be renamed
         * makes room for the next attempt. */
        (void)ops->remove(wal->io, name_new, NULL);
        if (spare != NULL) {
            (void)ops->remove(wal->io, spare, NULL);
        }
        return outcome;
    }
    outcome = ops->rename(wal->io, name_new, name, err);
    if (outcome == STELE_OK) {
        outcome = ops->sync_names(wal->io, err);
    }
    if (outcome == STELE_OK) {
        outcome = ops->open(wal->io, name, true, out_file, err);
    }
    if (outcome != STELE_OK && !undo(wal, name, name_new)) {
        wal->fenced = true;
    }
    return outcome == STELE_NOT_FOUND ? STELE_E_IO : outcome;
}

int stele_wal__segment_make(struct stele_wal *wal, uint64_t size, struct stele_error *err)
{
    /* Memory first: once the file is there, nothing may fail any more. */
    if (stele_wal__segments_reserve(wal) != STELE_OK) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "WAL: no memory");
    }
    const bool is_usual = size <= wal->options.segment_size;
    struct stele_wal__facts facts = {
        .secret_check = stele_wal__secret_check(wal->options.secret),
        .salt = wal->salt,
        .number = wal->segments_count == 0 ? 1 : stele_wal__last(wal)->number + 1,
        .base = wal->end,
        .capacity = is_usual ? wal->options.segment_size : size,
        .durable = wal->durable,
    };
    memcpy(facts.owner_id, wal->options.owner_id, sizeof facts.owner_id);
    char spare[STELE_FILE_NAME_MAX];
    const bool is_spare = is_usual && wal->spares_count > 0;
    if (is_spare) {
        /* Used, or of unknown state: its name is not trusted again. */
        wal->spares_count--;
        stele_wal__name(spare, wal->spares[wal->spares_count], "spare");
    }
    struct stele_file *file = NULL;
    const int outcome = make_segment(wal, is_spare ? spare : NULL, &facts, &file, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    wal->segments[wal->segments_count++] = (struct stele_wal__segment){
        .number = facts.number,
        .base = facts.base,
        .limit = facts.base + facts.capacity,
        .seed = stele_wal__seed(wal->options.secret ^ wal->salt, facts.number),
        .file = file,
    };
    return STELE_OK;
}

/* ---- Giving up ---- */

/* The file of a segment that does not count any more becomes a spare, or goes. */
static int give_up(struct stele_wal *wal, const struct stele_wal__segment *segment,
                   uint32_t *spares_new, struct stele_error *err)
{
    const struct stele_io_ops *const ops = wal->io->ops;
    char name[STELE_FILE_NAME_MAX];
    stele_wal__name(name, segment->number, "wal");
    if (segment->limit - segment->base == wal->options.segment_size &&
        wal->spares_count + *spares_new < wal->options.spares_max) {
        char spare[STELE_FILE_NAME_MAX];
        stele_wal__name(spare, segment->number, "spare");
        if (ops->rename(wal->io, name, spare, NULL) == STELE_OK) {
            wal->spares[wal->spares_count + *spares_new] = segment->number;
            ++*spares_new;
            return STELE_OK;
        }
        /* A full directory has no room for another name, but it always can lose one. */
    }
    const int outcome = ops->remove(wal->io, name, err);
    return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
}

int stele_wal_trim(struct stele_wal *wal, uint64_t place, struct stele_error *err)
{
    if (wal->fenced) {
        return stele_fail(err, STELE_E_FENCED, 0, "WAL: a write failed; reopen it");
    }
    const uint64_t needed = place < wal->durable ? place : wal->durable;
    size_t count = 0;
    while (count + 1 < wal->segments_count && wal->segments[count + 1].base <= needed) {
        count++;
    }
    /* While a mark is being written its file is another thread's: the next call will do. */
    if (count == 0 || wal->mark_id != 0) {
        return STELE_OK;
    }
    /* Both slots: if one of them rots, the other must not ask for segments that are gone. */
    const uint64_t start = wal->segments[count].number;
    const uint64_t said = wal->durable;
    int outcome = stele_wal__mark_write(wal, start, err);
    if (outcome == STELE_OK) {
        outcome = stele_wal__mark_write(wal, start, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    wal->said = said;
    /* From here on they are gone. What cannot be renamed or removed, opening removes. */
    uint32_t spares_new = 0;
    for (size_t index = 0; index < count; index++) {
        wal->io->ops->close(wal->segments[index].file);
        const int given_up = give_up(wal, &wal->segments[index], &spares_new, err);
        outcome = outcome == STELE_OK ? given_up : outcome;
    }
    wal->segments_count -= count;
    memmove(wal->segments, wal->segments + count, wal->segments_count * sizeof *wal->segments);
    const int synced = wal->io->ops->sync_names(wal->io, err);
    if (synced == STELE_OK) {
        wal->spares_count += spares_new; /* Their names stay, whatever happens. */
    }
    return outcome == STELE_OK ? synced : outcome;
}
