/* What of the last segment counts, when a log is opened.
 *
 * All segments but the last were durable as a whole before the next one was made, so only the last
 * one has to be read. Its frames are taken group by group up to the first that does not verify, at
 * P. What lies there is one of two things (Alagappan et al., Protocol-Aware Recovery for
 * Consensus-Based Storage, FAST 2018):
 *
 *     torn     a write that was never acknowledged: cut off, and everything behind P is zeroed,
 *              since otherwise a later recovery might take an old frame there for a new one
 *     damaged  it had been acknowledged: known from a later frame or from the mark, which say that
 *              the log was durable beyond P. Never cut
 *
 * A group behind P may be whole although P is torn, when several were in flight. It says itself
 * that the log was not durable beyond P when it was written, so it goes too.
 *
 * Nothing is taken from the page cache that the disk does not have: after a failed sync the cache
 * may hold bytes that look written and are not. */
#include "log/open_internal.h"

#define CHUNK_SIZE ((size_t)1024 * 1024)
#define CHUNK_ALIGN ((size_t)4096)

struct recovery {
    struct stele_log *log;
    struct stele_log_segment *segment;
    struct stele_log__mark mark;
    uint64_t events_from;
    uint64_t live_end;
    uint64_t limit; /* Nothing at or above it is looked at. */
    stele_log_event_callback on_event;
    void *context;
    struct stele_error *err;

    uint64_t place;         /* Everything below has been taken. */
    bool previous_is_known; /* log->checksum_last is that of the frame before place. */
    uint64_t compared;      /* Bytes of the file that are known to be on the disk. */
    uint8_t *chunk;
    size_t chunk_size;
};

static uint64_t file_offset(const struct recovery *recovery, uint64_t place)
{
    return recovery->log->identity.header_size + (place - recovery->segment->base);
}

static int fail_damage(const struct recovery *recovery, uint64_t place, const char *what)
{
    return stele_fail(recovery->err, STELE_E_CORRUPT, 0,
                      "%s, offset %llu: %s; restore the store from a backup or open it read-only",
                      recovery->segment->file->name,
                      (unsigned long long)file_offset(recovery, place), what);
}

/* Makes sure that what the mapping shows up to this offset of the file is what the disk holds. */
static int compare_with_disk(struct recovery *recovery, uint64_t end)
{
    const struct stele_io_ops *const ops = recovery->log->io->ops;
    struct stele_file *const file = recovery->segment->file;
    const uint64_t last = file_offset(recovery, recovery->limit);
    uint8_t *const buffer =
        recovery->chunk + (CHUNK_ALIGN - (uintptr_t)recovery->chunk % CHUNK_ALIGN) % CHUNK_ALIGN;
    while (recovery->compared < end) {
        const uint64_t rest = last - recovery->compared;
        const size_t want = rest < CHUNK_SIZE ? (size_t)rest : CHUNK_SIZE;
        size_t size = 0;
        const int outcome =
            ops->read(file, recovery->compared, buffer, CHUNK_SIZE, true, &size, recovery->err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (size < want ||
            memcmp(buffer, recovery->segment->data + recovery->compared, want) != 0) {
            return stele_fail(recovery->err, STELE_E_IO, 0,
                              "%s, offset %llu: the page cache does not show what the disk holds, "
                              "as after a failed write; mount the file system anew",
                              file->name, (unsigned long long)recovery->compared);
        }
        recovery->compared += want;
    }
    return STELE_OK;
}

/* Reads the frame at place and verifies all of it.
 * STELE_OK, STELE_E_CORRUPT (no frame, a frame that is not whole), STELE_E_FORMAT, or what reading
 * the disk ended with. */
static int read_frame(struct recovery *recovery, uint64_t place, struct stele_frame *out_frame,
                      struct stele_bytes *out_payload)
{
    const struct stele_log *const log = recovery->log;
    if (recovery->limit - place < STELE_FRAME_HEADER_SIZE) {
        return STELE_E_CORRUPT;
    }
    int outcome =
        compare_with_disk(recovery, file_offset(recovery, place) + STELE_FRAME_HEADER_SIZE);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_bytes rest =
        stele_log__plain_bytes(log->view, recovery->segment, place, recovery->limit);
    outcome = stele_log__frame_decode(rest, log->identity.seed, place, out_frame);
    if (outcome == STELE_E_FORMAT) {
        return stele_fail(recovery->err, outcome, 0, "%s, offset %llu: written by a newer version",
                          recovery->segment->file->name,
                          (unsigned long long)file_offset(recovery, place));
    }
    if (outcome != STELE_OK || stele_log__frame_end(out_frame) > recovery->limit ||
        out_frame->partition >= log->identity.partitions) {
        return STELE_E_CORRUPT;
    }
    outcome = compare_with_disk(recovery, file_offset(recovery, stele_log__frame_end(out_frame)));
    if (outcome != STELE_OK) {
        return outcome;
    }
    *out_payload = stele_bytes_slice(rest, STELE_FRAME_HEADER_SIZE, out_frame->size);
    return stele_frame_payload_is_intact(out_frame, *out_payload) ? STELE_OK : STELE_E_CORRUPT;
}

/* The frame counts: passes its events on and takes up what it says. */
static int take_frame(struct recovery *recovery, const struct stele_frame *frame,
                      struct stele_bytes payload)
{
    struct stele_log *const log = recovery->log;
    const uint64_t first = frame->place + STELE_FRAME_HEADER_SIZE;
    size_t at = 0;
    while (frame->kind == STELE_FRAME_EVENTS && at < payload.size) {
        struct stele_event event;
        size_t size = 0;
        const int decoded = stele_record_decode_trusted(
            stele_bytes_slice(payload, at, payload.size - at), &event, &size);
        STELE_ASSERT(decoded == STELE_OK);
        if (first + at >= recovery->events_from) {
            const int outcome = recovery->on_event(recovery->context, frame, first + at, &event);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
        log->position = event.position;
        log->events++;
        at += size;
    }
    stele_log__take_up(log, frame);
    recovery->previous_is_known = true;
    recovery->place = stele_log__frame_end(frame);
    if (recovery->place == recovery->mark.durable &&
        recovery->mark.checksum != frame->header_checksum && !log->options.read_only) {
        return fail_damage(recovery, frame->place,
                           "this is not the frame that was acknowledged here");
    }
    return STELE_OK;
}

/* Does the frame continue the group that began with the frame first (index group_index)? */
static bool continues(const struct stele_frame *frame, const struct stele_frame *first,
                      uint16_t group_index, uint32_t checksum_before)
{
    return frame->group_count == first->group_count && frame->group_index == group_index &&
           frame->previous == checksum_before;
}

/* Verifies the group of frames at recovery->place. On STELE_OK *out_end is its end; on
 * STELE_E_CORRUPT the place of the frame that is missing. */
static int verify_group(struct recovery *recovery, uint64_t *out_end)
{
    uint64_t place = recovery->place;
    struct stele_frame first;
    struct stele_bytes payload;
    *out_end = place;
    int outcome = read_frame(recovery, place, &first, &payload);
    if (outcome != STELE_OK) {
        return outcome;
    }
    /* Behind damage a group may have lost its beginning. */
    if (recovery->previous_is_known &&
        (first.previous != recovery->log->checksum_last || first.group_index != 0)) {
        return STELE_E_CORRUPT;
    }
    uint32_t checksum = first.header_checksum;
    place = stele_log__frame_end(&first);
    for (uint32_t index = first.group_index + 1U; index < first.group_count; index++) {
        struct stele_frame frame;
        *out_end = place;
        outcome = read_frame(recovery, place, &frame, &payload);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (!continues(&frame, &first, (uint16_t)index, checksum)) {
            return STELE_E_CORRUPT;
        }
        checksum = frame.header_checksum;
        place = stele_log__frame_end(&frame);
    }
    *out_end = place;
    return STELE_OK;
}

/* Takes the frames from recovery->place to end, all of which have been verified. */
static int take_frames(struct recovery *recovery, uint64_t end)
{
    while (recovery->place < end) {
        struct stele_frame frame;
        struct stele_bytes payload;
        int outcome = read_frame(recovery, recovery->place, &frame, &payload);
        if (outcome == STELE_OK) {
            outcome = take_frame(recovery, &frame, payload);
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    STELE_ASSERT(recovery->place == end);
    return STELE_OK;
}

/* A frame at or behind from, in bytes that the disk really holds. */
static int find_frame(struct recovery *recovery, uint64_t from, uint64_t durable_min,
                      uint64_t *out_place)
{
    struct stele_frame frame;
    *out_place =
        from >= recovery->limit
            ? UINT64_MAX
            : stele_log__search(recovery->segment->data + recovery->log->identity.header_size,
                                recovery->segment->base, from, recovery->limit,
                                recovery->log->identity.seed, durable_min, &frame);
    return *out_place == UINT64_MAX
               ? STELE_OK
               : compare_with_disk(recovery,
                                   file_offset(recovery, *out_place) + STELE_FRAME_HEADER_SIZE);
}

/* Was the log ever durable beyond recovery->place? */
static int was_durable(struct recovery *recovery, bool *out_was)
{
    *out_was = recovery->mark.durable > recovery->place;
    if (*out_was) {
        return STELE_OK;
    }
    uint64_t witness = UINT64_MAX;
    const int outcome =
        find_frame(recovery, recovery->place + STELE_RECORD_ALIGN, recovery->place + 1, &witness);
    *out_was = witness != UINT64_MAX;
    if (recovery->live_end != UINT64_MAX) {
        /* The living writer says so, as far as this segment goes: with only zeros up to its end,
         * the log went on in the next one. */
        uint64_t next = UINT64_MAX;
        const int found = find_frame(recovery, recovery->place + STELE_RECORD_ALIGN, 0, &next);
        *out_was =
            *out_was || next != UINT64_MAX ||
            (recovery->place < recovery->live_end && recovery->live_end < recovery->segment->limit);
        return found;
    }
    return outcome;
}

/* A frame whose header verifies and whose payload does not. */
static bool is_only_payload_damaged(const struct recovery *recovery, uint64_t place,
                                    struct stele_frame *out_frame)
{
    const struct stele_log *const log = recovery->log;
    if (place >= recovery->limit) {
        return false;
    }
    const struct stele_bytes rest =
        stele_log__plain_bytes(log->view, recovery->segment, place, recovery->limit);
    return stele_log__frame_decode(rest, log->identity.seed, place, out_frame) == STELE_OK &&
           stele_log__frame_end(out_frame) <= recovery->limit &&
           out_frame->partition < log->identity.partitions &&
           !stele_frame_payload_is_intact(
               out_frame, stele_bytes_slice(rest, STELE_FRAME_HEADER_SIZE, out_frame->size));
}

/* Whoever goes on writing must know what the damaged frames were: how many, of which partitions.
 * That is so as long as their headers verify, and as something behind them tells the position. */
static int pass_damage_to_write(struct recovery *recovery, uint64_t bad)
{
    struct stele_log *const log = recovery->log;
    struct stele_frame frame;
    uint64_t next = UINT64_MAX;
    int outcome = STELE_OK;
    const bool known = is_only_payload_damaged(recovery, bad, &frame) &&
                       stele_log__frame_end(&frame) <= recovery->events_from;
    if (known) {
        outcome = find_frame(recovery, stele_log__frame_end(&frame), 0, &next);
    }
    if (outcome == STELE_OK && next == UINT64_MAX) {
        outcome = fail_damage(recovery, bad, "acknowledged events are damaged");
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    log->events += frame.count;
    stele_log__take_up(log, &frame);
    recovery->place = stele_log__frame_end(&frame);
    recovery->previous_is_known = false; /* The group may go on. */
    return STELE_OK;
}

/* The group at recovery->place does not verify from bad on, and had been acknowledged. */
static int pass_damage(struct recovery *recovery, uint64_t bad)
{
    struct stele_log *const log = recovery->log;
    uint64_t next = UINT64_MAX;
    int outcome = take_frames(recovery, bad); /* Of the same group, and intact. */
    if (outcome == STELE_OK && !log->options.read_only) {
        return pass_damage_to_write(recovery, bad);
    }
    if (outcome == STELE_OK) {
        outcome = find_frame(recovery, bad + STELE_RECORD_ALIGN, 0, &next);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (next == UINT64_MAX) {
        /* Nothing more that could be read; readers are told of the damage up to here. */
        uint64_t end = recovery->mark.durable > bad ? recovery->mark.durable : bad;
        end = recovery->live_end != UINT64_MAX ? recovery->live_end : end;
        recovery->place = end < recovery->limit ? end : recovery->limit;
        recovery->limit = recovery->place;
        return STELE_OK;
    }
    recovery->place = next;
    recovery->previous_is_known = false;
    return STELE_OK;
}

/* Takes groups up to where the log ends. */
static int take_groups(struct recovery *recovery)
{
    while (recovery->place < recovery->limit) {
        uint64_t end = 0;
        int outcome = verify_group(recovery, &end);
        if (outcome == STELE_OK) {
            outcome = take_frames(recovery, end);
        } else if (outcome == STELE_E_CORRUPT) {
            bool damaged = false;
            outcome = was_durable(recovery, &damaged);
            if (outcome == STELE_OK && !damaged) {
                return STELE_OK; /* The end of the log; perhaps something torn lies behind it. */
            }
            if (outcome == STELE_OK) {
                outcome = pass_damage(recovery, end);
            }
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

/* ---- The tail ---- */

#define ZERO_SIZE ((size_t)64 * 1024)

static bool is_zero(const uint8_t *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/* Zeroes what is not zero behind the end of the log. */
static int zero_tail(struct recovery *recovery)
{
    const struct stele_log *const log = recovery->log;
    struct stele_io *const io = log->io;
    uint8_t *zeros = NULL;
    int outcome = STELE_OK;
    uint64_t offset = file_offset(recovery, recovery->place);
    const uint64_t end = recovery->segment->size;
    while (outcome == STELE_OK && offset < end) {
        const size_t size = end - offset < ZERO_SIZE ? (size_t)(end - offset) : ZERO_SIZE;
        if (!is_zero(recovery->segment->data + offset, size)) {
            if (zeros == NULL) {
                zeros = stele_allocate_zeroed(log->alloc, ZERO_SIZE);
            }
            outcome = zeros == NULL
                          ? stele_fail(recovery->err, STELE_E_NO_MEMORY, 0, "log: no memory")
                          : io->ops->write(recovery->segment->file, offset,
                                           (struct stele_bytes){.data = zeros, .size = size},
                                           recovery->err);
        }
        offset += size;
    }
    if (outcome == STELE_OK && zeros != NULL) {
        outcome = io->ops->sync(recovery->segment->file, recovery->err);
    }
    stele_release(log->alloc, zeros, ZERO_SIZE);
    return outcome;
}

/* ---- Putting it together ---- */

static int take_header(struct recovery *recovery)
{
    struct stele_log *const log = recovery->log;
    struct stele_log_segment *const segment = recovery->segment;
    struct stele_log__facts facts;
    const char *what = "the last segment is packed: the one behind it is missing";
    int outcome = STELE_E_CORRUPT;
    if (!segment->packed) {
        outcome = stele_log__segment_facts(log->view, segment, &facts, &what);
    }
    if (outcome == STELE_OK && facts.base + facts.capacity != segment->limit) {
        what = "the file does not have the size that its header says";
        outcome = STELE_E_CORRUPT;
    }
    if (outcome != STELE_OK) {
        return stele_fail(recovery->err, outcome, 0, "%s, offset 0: %s", segment->file->name, what);
    }
    log->position = facts.position_before;
    log->events = facts.events_before;
    log->checksum_last = facts.previous;
    for (uint32_t partition = 0; partition < facts.partitions; partition++) {
        stele_log__header_partition(segment->data, partition, &log->partitions[partition]);
        const uint64_t stamp = log->partitions[partition].term;
        log->stamp = stamp > log->stamp ? stamp : log->stamp;
    }
    recovery->place = segment->base;
    recovery->previous_is_known = true;
    return STELE_OK;
}

static int recover_last(struct recovery *recovery)
{
    struct stele_log *const log = recovery->log;
    const struct stele_io_ops *const ops = log->io->ops;
    int outcome = STELE_OK;
    if (!log->options.read_only) {
        /* Bytes that a process left in the cache when it died become durable here, so that what is
         * counted below stays. */
        outcome = ops->sync(recovery->segment->file, recovery->err);
    }
    if (outcome == STELE_OK) {
        ops->drop_cache(recovery->segment->file);
        outcome = take_header(recovery);
    }
    if (outcome == STELE_OK) {
        outcome = compare_with_disk(recovery, log->identity.header_size);
    }
    if (outcome == STELE_OK) {
        outcome = take_groups(recovery);
    }
    if (outcome == STELE_OK && !log->options.read_only) {
        if (recovery->mark.durable > recovery->place) {
            return fail_damage(recovery, recovery->place, "acknowledged events are missing");
        }
        outcome = zero_tail(recovery);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    log->end = recovery->place;
    log->durable = log->end;
    log->position_durable = log->position;
    log->checksum_durable = log->checksum_last;
    log->stamp_durable = log->stamp;
    stele_log__all_synced(log);
    return STELE_OK;
}

int stele_log__recover(struct stele_log *log, const struct stele_log__mark *mark,
                       uint64_t events_from, uint64_t live_end, stele_log_event_callback on_event,
                       void *context, struct stele_error *err)
{
    struct stele_log_segment *const last = stele_log__last(log->view);
    live_end = live_end < last->base ? last->base : live_end;
    struct recovery recovery = {
        .log = log,
        .segment = last,
        .mark = *mark,
        .events_from = events_from,
        .live_end = live_end,
        .on_event = on_event,
        .context = context,
        .err = err,
    };
    recovery.limit = recovery.segment->limit < live_end ? recovery.segment->limit : live_end;
    if (live_end != UINT64_MAX) {
        recovery.mark.durable = 0; /* Older than what the writer says itself. */
    }
    recovery.chunk_size = CHUNK_SIZE;
    if (recovery.segment->size < CHUNK_SIZE) {
        recovery.chunk_size = (size_t)stele_align_up(recovery.segment->size, CHUNK_ALIGN);
    }
    recovery.chunk = stele_allocate(log->alloc, recovery.chunk_size + CHUNK_ALIGN);
    if (recovery.chunk == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "log: no memory");
    }
    const int outcome = recover_last(&recovery);
    stele_release(log->alloc, recovery.chunk, recovery.chunk_size + CHUNK_ALIGN);
    return outcome;
}
