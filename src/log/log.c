/* The log while it is open: staging frames, handing them out as groups, becoming durable. */
#include "log/log_internal.h"

/* A buffer that one huge append has made larger than this is given back afterwards. */
#define BUFFER_KEPT_MAX ((size_t)8 * 1024 * 1024)

static struct stele_log__group *group_at(struct stele_log *log, uint32_t index)
{
    return &log->groups[(log->first + index) % STELE_LOG__BUFFERS];
}

/* The group that gathers. There always is one, because one buffer more exists than may be out. */
static struct stele_log__group *gathering(struct stele_log *log)
{
    return group_at(log, log->in_flight);
}

/* ---- Facts ---- */

uint64_t stele_log_start(const struct stele_log *log)
{
    (void)log;
    return 0;
}

uint64_t stele_log_end(const struct stele_log *log)
{
    return log->end;
}

uint64_t stele_log_durable(const struct stele_log *log)
{
    return log->durable;
}

uint64_t stele_log_position(const struct stele_log *log)
{
    return log->position;
}

uint64_t stele_log_position_durable(const struct stele_log *log)
{
    return log->position_durable;
}

uint64_t stele_log_events(const struct stele_log *log)
{
    return log->events;
}

uint64_t stele_log_stamp(const struct stele_log *log)
{
    return log->stamp;
}

uint64_t stele_log_stamp_durable(const struct stele_log *log)
{
    return log->stamp_durable;
}

const struct stele_log_partition *stele_log_partition(const struct stele_log *log,
                                                      uint32_t partition)
{
    STELE_ASSERT(partition < log->identity.partitions);
    return &log->partitions[partition];
}

uint32_t stele_log_segments(const struct stele_log *log)
{
    return log->view->count;
}

uint64_t stele_log_disk_size(const struct stele_log *log)
{
    uint64_t size = log->spare_size;
    for (uint32_t index = 0; index < log->view->count; index++) {
        size += log->view->segments[index]->size;
    }
    return size;
}

bool stele_log_is_fenced(const struct stele_log *log)
{
    return log->fenced;
}

/* ---- Staging ---- */

int stele_log_reserve(struct stele_log *log, uint64_t size, uint8_t **out_bytes,
                      uint64_t *out_place)
{
    STELE_ASSERT(!log->options.read_only);
    STELE_ASSERT(log->reserved == 0);
    STELE_ASSERT(size >= STELE_FRAME_HEADER_SIZE);
    STELE_ASSERT(size % STELE_RECORD_ALIGN == 0);
    if (log->fenced) {
        return STELE_E_FENCED;
    }
    if (size > STELE_FRAME_SIZE_MAX) {
        return STELE_E_LIMIT;
    }
    const struct stele_log_segment *const last = stele_log__last(log->view);
    STELE_ASSERT(log->end <= last->limit);
    if (size > last->limit - log->end) {
        return STELE_INCOMPLETE;
    }
    struct stele_log__group *const group = gathering(log);
    const int outcome = stele_buf_reserve(&group->bytes, log->alloc, (size_t)size);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (group->bytes.size == 0) {
        group->place = log->end;
    }
    STELE_ASSERT(group->place + group->bytes.size == log->end);
    *out_bytes = group->bytes.data + group->bytes.size;
    *out_place = log->end;
    log->reserved = size;
    log->frames_place = log->end;
    return STELE_OK;
}

void stele_log_put_frame(struct stele_log *log, uint8_t *buffer, struct stele_frame *frame)
{
    STELE_ASSERT(log->reserved > 0);
    STELE_ASSERT(frame->partition < log->identity.partitions);
    frame->place = log->frames_place;
    STELE_ASSERT(stele_log__frame_end(frame) <= log->end + log->reserved);
    STELE_ASSERT(frame->term == 0 || frame->term >= log->stamp);
    frame->durable = log->synced;
    frame->previous = log->checksum_last;
    frame->index = log->partitions[frame->partition].index + 1;
    frame->header_checksum = stele_log__frame_encode(buffer, log->identity.seed, frame);
    stele_log__take_up(log, frame);
    log->frames_place = stele_log__frame_end(frame);
}

void stele_log_commit(struct stele_log *log, uint64_t position_last, uint64_t events)
{
    STELE_ASSERT(log->reserved > 0);
    STELE_ASSERT(log->frames_place == log->end + log->reserved);
    STELE_ASSERT(position_last >= log->position);
    struct stele_log__group *const group = gathering(log);
    group->bytes.size += (size_t)log->reserved;
    group->position_last = position_last;
    group->checksum_last = log->checksum_last;
    group->stamp_last = log->stamp;
    log->end += log->reserved;
    log->reserved = 0;
    log->position = position_last;
    log->events += events;
    group->place_end = log->end;
    STELE_ASSERT(group->place + group->bytes.size == group->place_end);
}

struct stele_bytes stele_log_staged(const struct stele_log *log, uint64_t place)
{
    STELE_ASSERT(place >= log->durable);
    STELE_ASSERT(place < log->end);
    for (uint32_t index = 0; index <= log->in_flight; index++) {
        const struct stele_log__group *const group =
            &log->groups[(log->first + index) % STELE_LOG__BUFFERS];
        if (place < group->place + group->bytes.size) {
            STELE_ASSERT(place >= group->place);
            const size_t offset = (size_t)(place - group->place);
            return (struct stele_bytes){.data = group->bytes.data + offset,
                                        .size = group->bytes.size - offset};
        }
    }
    STELE_ASSERT(false); /* Groups cover everything between durable and end. */
    return (struct stele_bytes){0};
}

/* The first position above `after` in the records of whole frames; 0: none. */
static uint64_t position_after(struct stele_bytes frames, uint64_t after)
{
    size_t at = 0;
    while (at < frames.size) {
        const size_t size = stele_load_u32le(frames.data + at + STELE_LOG__FRAME_SIZE_AT);
        const size_t end = at + STELE_FRAME_HEADER_SIZE + size;
        STELE_ASSERT(end <= frames.size);
        at += STELE_FRAME_HEADER_SIZE;
        while (at < end) {
            const uint8_t *const record = frames.data + at;
            const uint64_t position = stele_load_u64le(record + STELE_LOG__RECORD_POSITION_AT);
            if (position > after) {
                return position;
            }
            at += stele_load_u32le(record + STELE_LOG__RECORD_SIZE_AT);
        }
    }
    return 0;
}

uint64_t stele_log_staged_after(const struct stele_log *log, uint64_t position)
{
    STELE_ASSERT(log->reserved == 0);
    for (uint32_t index = 0; index <= log->in_flight; index++) {
        const struct stele_log__group *const group =
            &log->groups[(log->first + index) % STELE_LOG__BUFFERS];
        if (group->bytes.size > 0 && group->position_last > position) {
            return position_after(
                (struct stele_bytes){.data = group->bytes.data, .size = group->bytes.size},
                position);
        }
    }
    return 0;
}

bool stele_log_has_staged(const struct stele_log *log)
{
    return stele_log_staged_size(log) > 0;
}

uint64_t stele_log_staged_size(const struct stele_log *log)
{
    return log->groups[(log->first + log->in_flight) % STELE_LOG__BUFFERS].bytes.size;
}

uint32_t stele_log_in_flight(const struct stele_log *log)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < log->in_flight; index++) {
        count += log->groups[(log->first + index) % STELE_LOG__BUFFERS].finished ? 0 : 1;
    }
    return count;
}

bool stele_log_take(struct stele_log *log, struct stele_log_group *out_group)
{
    STELE_ASSERT(log->reserved == 0);
    struct stele_log__group *const group = gathering(log);
    if (group->bytes.size == 0 || log->in_flight == STELE_COMMITS_IN_FLIGHT_MAX || log->fenced) {
        return false;
    }
    const struct stele_log_segment *const last = stele_log__last(log->view);
    STELE_ASSERT(group->place >= last->base);
    STELE_ASSERT(group->place_end <= last->limit);
    group->id = log->next_id++;
    group->finished = false;
    log->in_flight++;
    gathering(log)->bytes.size = 0;
    *out_group = (struct stele_log_group){
        .id = group->id,
        .place_end = group->place_end,
        .file = last->file,
        .offset = log->identity.header_size + (group->place - last->base),
        .bytes = {.data = group->bytes.data, .size = group->bytes.size},
    };
    return true;
}

/* The oldest group is durable. Its buffer is free again. */
static void retire(struct stele_log *log)
{
    struct stele_log__group *const group = group_at(log, 0);
    STELE_ASSERT(group->finished);
    STELE_ASSERT(group->place == log->durable);
    log->durable = group->place_end;
    log->position_durable = group->position_last;
    log->checksum_durable = group->checksum_last;
    log->stamp_durable = group->stamp_last;
    if (!log->options.syncs_later) {
        stele_log__all_synced(log);
    }
    group->bytes.size = 0;
    if (group->bytes.capacity > BUFFER_KEPT_MAX) {
        stele_buf_deinit(&group->bytes, log->alloc);
    }
    log->first = (log->first + 1) % STELE_LOG__BUFFERS;
    log->in_flight--;
}

void stele_log_done(struct stele_log *log, uint64_t id, int outcome)
{
    bool found = false;
    for (uint32_t index = 0; index < log->in_flight; index++) {
        struct stele_log__group *const group = group_at(log, index);
        if (group->id == id) {
            STELE_ASSERT(!group->finished);
            group->finished = true;
            found = true;
        }
    }
    STELE_ASSERT(found);
    /* A group behind one that failed may have been synced: it still never counts, because what
     * lies before it may not be there. So nothing is retired any more. */
    log->fenced = log->fenced || outcome != STELE_OK;
    while (!log->fenced && log->in_flight > 0 && group_at(log, 0)->finished) {
        retire(log);
    }
}

/* ---- Syncing later ---- */

uint64_t stele_log_synced(const struct stele_log *log)
{
    return log->synced;
}

uint64_t stele_log_stamp_synced(const struct stele_log *log)
{
    return log->stamp_synced;
}

bool stele_log_sync_begin(struct stele_log *log, struct stele_log_sync *out_sync)
{
    if (log->synced == log->durable || log->fenced) {
        return false;
    }
    const struct stele_log_segment *const last = stele_log__last(log->view);
    STELE_ASSERT(log->synced >= last->base); /* Otherwise a segment was sealed too early. */
    *out_sync = (struct stele_log_sync){.file = last->file,
                                        .place = log->durable,
                                        .stamp = log->stamp_durable,
                                        .checksum = log->checksum_durable};
    return true;
}

void stele_log_sync_end(struct stele_log *log, const struct stele_log_sync *sync, int outcome)
{
    log->fenced = log->fenced || outcome != STELE_OK;
    if (log->fenced || sync->place <= log->synced) {
        return;
    }
    STELE_ASSERT(sync->place <= log->durable);
    log->synced = sync->place;
    log->stamp_synced = sync->stamp;
    log->checksum_synced = sync->checksum;
}

int stele_log_sync(struct stele_log *log, struct stele_error *err)
{
    struct stele_log_sync sync;
    if (!stele_log_sync_begin(log, &sync)) {
        return STELE_OK;
    }
    const int outcome = sync.file->io->ops->sync(sync.file, err);
    stele_log_sync_end(log, &sync, outcome);
    return outcome;
}

/* ---- Closing and checking ---- */

void stele_log_close(struct stele_log *log)
{
    if (log == NULL) {
        return;
    }
    STELE_ASSERT(log->view == NULL || log->view->refs == 1);
    stele_log_view_release(log->view);
    for (uint32_t index = 0; index < STELE_LOG__BUFFERS; index++) {
        stele_buf_deinit(&log->groups[index].bytes, log->alloc);
    }
    stele_release(log->alloc, log->partitions, log->identity.partitions * sizeof *log->partitions);
    stele_release(log->alloc, log, sizeof *log);
}

void stele_log_check(const struct stele_log *log)
{
    STELE_ASSERT(log->durable <= log->end);
    STELE_ASSERT(log->synced <= log->durable);
    STELE_ASSERT(log->synced == log->durable || log->options.syncs_later);
    STELE_ASSERT(log->stamp_synced <= log->stamp_durable);
    STELE_ASSERT(log->position_durable <= log->position);
    STELE_ASSERT(log->stamp_durable <= log->stamp);
    STELE_ASSERT(log->in_flight <= STELE_COMMITS_IN_FLIGHT_MAX);
    STELE_ASSERT(log->first < STELE_LOG__BUFFERS);
    STELE_ASSERT(log->end % STELE_RECORD_ALIGN == 0);
    uint64_t place = log->durable;
    for (uint32_t index = 0; index <= log->in_flight; index++) {
        const struct stele_log__group *const group =
            &log->groups[(log->first + index) % STELE_LOG__BUFFERS];
        STELE_ASSERT(group->bytes.size <= group->bytes.capacity);
        if (group->bytes.size > 0) {
            STELE_ASSERT(group->place == place);
            place += group->bytes.size;
        } else {
            STELE_ASSERT(index == log->in_flight);
        }
    }
    STELE_ASSERT(place == log->end);
    STELE_ASSERT(log->view->count > 0);
    STELE_ASSERT(log->view->refs > 0);
    for (uint32_t index = 0; index < log->view->count; index++) {
        const struct stele_log_segment *const segment = log->view->segments[index];
        STELE_ASSERT(segment->refs > 0);
        STELE_ASSERT(segment->base == log->view->bases[index]);
        STELE_ASSERT(index == 0 || segment->base > log->view->bases[index - 1]);
        STELE_ASSERT(segment->base % STELE_RECORD_ALIGN == 0);
    }
    const struct stele_log_segment *const last = stele_log__last(log->view);
    if (!log->options.read_only) {
        STELE_ASSERT(!last->packed);
        STELE_ASSERT(log->end >= last->base);
        STELE_ASSERT(log->end <= last->limit);
    }
}
