/* Handing out what was appended after a position, for a store that has to catch up. */
#include "store/store_internal.h"

struct stele_export {
    struct stele_alloc *alloc;
    struct stele_log_reader reader;
    struct stele_log_cursor cursor;
    uint64_t after; /* Positions up to here are known there. */
    uint64_t stamp; /* Of the newest append that is handed out. */
    struct stele_buf chunk;
    /* The group that is being gathered; its head lies at group_at. */
    size_t group_at;
    struct stele_store__group group;
    uint32_t frames_used;
    bool in_group;
};

int stele_export_begin(struct stele_store *store, uint64_t after_stamp, uint64_t after_position,
                       struct stele_export **out_export, struct stele_error *err)
{
    struct stele_export *export = stele_allocate_zeroed(store->alloc, sizeof *export);
    if (export == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "export: no memory");
    }
    export->alloc = store->alloc;
    export->after = after_position;
    export->stamp = stele_log_stamp_durable(store->log);
    stele_log_reader_init(&export->reader, stele_log_view_acquire(store->log), store->alloc,
                          stele_log_durable(store->log));
    int outcome = stele_log_seek(&export->reader, after_position + 1, &export->cursor);
    if (outcome == STELE_OK &&
        (after_stamp > export->stamp || after_position > stele_log_position_durable(store->log))) {
        outcome = stele_fail(err, STELE_NOT_FOUND, 0,
                             "export: this store ends before stamp %llu, position %llu",
                             (unsigned long long)after_stamp, (unsigned long long)after_position);
    }
    if (outcome != STELE_OK) {
        stele_export_end(store, export);
        return outcome;
    }
    *out_export = export;
    return STELE_OK;
}

void stele_export_end(struct stele_store *store, struct stele_export *export)
{
    (void)store;
    if (export == NULL) {
        return;
    }
    struct stele_log_view *view = export->reader.view;
    stele_log_reader_deinit(&export->reader);
    stele_log_view_release(view);
    stele_buf_deinit(&export->chunk, export->alloc);
    stele_release(export->alloc, export, sizeof *export);
}

uint64_t stele_export_stamp(const struct stele_export *export)
{
    return export->stamp;
}

static uint8_t *head_of(const struct stele_export *export)
{
    return export->chunk.data + export->group_at;
}

/* Leaves out a group of which nothing is left. */
static void finish_group(struct stele_export *export)
{
    if (!export->in_group) {
        return;
    }
    export->in_group = false;
    if (export->group.events == 0) {
        export->chunk.size = export->group_at;
        return;
    }
    export->group.size = (uint32_t)(export->chunk.size - export->group_at);
    stele_store__group_encode(head_of(export), &export->group);
}

/* A group that is known in one of its frames is known whole: what was taken of it are frames that scavenging has
 * emptied, which do not tell by themselves. */
static void leave_group(struct stele_export *export)
{
    STELE_ASSERT(!export->in_group || export->group.events == 0);
    finish_group(export);
}

static int begin_group(struct stele_export *export, const struct stele_frame *frame)
{
    /* Frames that scavenging has emptied keep their row, so that the head's size is known now. */
    const uint32_t frames = (uint32_t)(frame->group_count - frame->group_index);
    const size_t size = stele_store__group_head_size(frames);
    const int outcome = stele_buf_reserve(&export->chunk, export->alloc, size);
    if (outcome != STELE_OK) {
        return outcome;
    }
    export->group_at = export->chunk.size;
    export->chunk.size += size;
    memset(head_of(export), 0, size);
    export->group = (struct stele_store__group){.stamp = frame->term, .frames = frames};
    export->frames_used = 0;
    export->in_group = true;
    return STELE_OK;
}

/* Positions grow in log order, so the last record tells whether the frame is known there. */
static bool is_known(const struct stele_export *export, const struct stele_log_remains *remains)
{
    uint64_t last = 0;
    size_t at = 0;
    while (at < remains->records.size) {
        struct stele_event event;
        size_t size = 0;
        const int outcome = stele_record_decode_trusted(
            stele_bytes_slice(remains->records, at, remains->records.size - at), &event, &size);
        STELE_ASSERT(outcome == STELE_OK);
        last = event.position;
        if (last > export->after) {
            return false;
        }
        at += size;
    }
    return last != 0;
}

static int add_frame(struct stele_export *export, const struct stele_log_remains *remains)
{
    const struct stele_frame *frame = &remains->frame;
    if (frame->group_index == 0 || !export->in_group) {
        finish_group(export);
        const int outcome = begin_group(export, frame);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    STELE_ASSERT(export->frames_used < export->group.frames);
    stele_store__group_put_frame(head_of(export), export->frames_used++, frame->partition,
                                 (uint32_t)remains->records.size);
    export->group.events += (uint32_t)remains->count;
    const int outcome = stele_buf_append(&export->chunk, export->alloc, remains->records);
    if (outcome == STELE_OK && frame->group_index + 1 == frame->group_count) {
        finish_group(export);
    }
    return outcome;
}

int stele_export_next(struct stele_export *export, size_t size, struct stele_bytes *out_chunk,
                      struct stele_error *err)
{
    export->chunk.size = 0;
    export->in_group = false;
    int outcome = STELE_OK;
    while (outcome == STELE_OK && (export->chunk.size < size || export->in_group)) {
        struct stele_log_remains remains;
        outcome = stele_log_scan_frame(&export->reader, &export->cursor, &remains);
        if (outcome == STELE_OK && is_known(export, &remains)) {
            leave_group(export);
        } else if (outcome == STELE_OK) {
            outcome = add_frame(export, &remains);
        }
    }
    if (outcome == STELE_E_CORRUPT) {
        /* What lies there would be missing on the other side, and never be missed. */
        return stele_store__fail_damage(err, &export->reader.damage);
    }
    if (outcome == STELE_E_NO_MEMORY) {
        return stele_fail(err, outcome, 0, "export: no memory");
    }
    finish_group(export);
    if (outcome == STELE_END && export->chunk.size == 0) {
        return STELE_END;
    }
    *out_chunk = (struct stele_bytes){.data = export->chunk.data, .size = export->chunk.size};
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* ---- Sums ---- */

struct summing {
    struct stele_export *export;
    uint64_t through, events_max, bytes_left;
    int (*on_event)(void *context, const struct stele_event *event, uint64_t hash);
    void *context;
    struct stele_export_sum *sum;
};

/* STELE_OK: go on. STELE_END: all of the range was seen. STELE_INCOMPLETE: enough for now. */
static int sum_frame(struct summing *summing, const struct stele_log_remains *remains)
{
    struct stele_export_sum *const sum = summing->sum;
    for (size_t at = 0; at < remains->records.size;) {
        struct stele_event event;
        size_t size = 0;
        const struct stele_bytes rest =
            stele_bytes_slice(remains->records, at, remains->records.size - at);
        const int decoded = stele_record_decode_trusted(rest, &event, &size);
        STELE_ASSERT(decoded == STELE_OK);
        at += size;
        if (event.position <= summing->export->after) {
            continue;
        }
        if (event.position > summing->through) {
            return STELE_END;
        }
        if (sum->events == summing->events_max || (sum->events > 0 && summing->bytes_left < size)) {
            return STELE_INCOMPLETE;
        }
        summing->bytes_left -= size < summing->bytes_left ? size : summing->bytes_left;
        const struct stele_bytes record = stele_bytes_slice(rest, 0, size);
        const uint64_t hash = stele_hash64(record, remains->frame.term);
        uint8_t bytes[8];
        stele_store_u64le(bytes, hash);
        sum->hash = stele_hash64((struct stele_bytes){.data = bytes, .size = 8}, sum->hash);
        sum->events++;
        sum->through = event.position;
        const int outcome = summing->on_event == NULL
                                ? STELE_OK
                                : summing->on_event(summing->context, &event, hash);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

int stele_export_sum(struct stele_export *export, uint64_t through, uint64_t events_max,
                     uint64_t bytes_max,
                     int (*on_event)(void *context, const struct stele_event *event, uint64_t hash),
                     void *context, struct stele_export_sum *out, struct stele_error *err)
{
    struct summing summing = {.export = export,
                              .through = through,
                              .events_max = events_max,
                              .bytes_left = bytes_max,
                              .on_event = on_event,
                              .context = context,
                              .sum = out};
    int outcome = STELE_OK;
    out->complete = false;
    while (outcome == STELE_OK) {
        struct stele_log_remains remains;
        outcome = stele_log_scan_frame(&export->reader, &export->cursor, &remains);
        if (outcome == STELE_OK) {
            outcome = sum_frame(&summing, &remains);
        }
    }
    if (outcome == STELE_END) {
        out->through = through;
        out->complete = true;
        return STELE_OK;
    }
    if (outcome == STELE_E_CORRUPT) {
        return stele_store__fail_damage(err, &export->reader.damage);
    }
    if (outcome == STELE_E_NO_MEMORY) {
        return stele_fail(err, outcome, 0, "export: no memory");
    }
    return outcome == STELE_INCOMPLETE ? STELE_OK : outcome;
}
