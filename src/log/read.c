/* Reading: single records by place, and scans over all of them in order. */
#include "log/log_internal.h"

void stele_log_reader_init(struct stele_log_reader *reader, struct stele_log_view *view,
                           struct stele_alloc *alloc, uint64_t end)
{
    STELE_ASSERT(view->count > 0);
    memset(reader, 0, sizeof *reader);
    reader->view = view;
    reader->alloc = alloc;
    reader->end = end;
}

void stele_log_reader_deinit(struct stele_log_reader *reader)
{
    if (reader->loaded != NULL) {
        stele_buf_deinit(&reader->loaded->buffer, reader->alloc);
        stele_buf_deinit(&reader->loaded->checksums, reader->alloc);
        stele_buf_deinit(&reader->loaded->spans, reader->alloc);
        stele_release(reader->alloc, reader->loaded, sizeof *reader->loaded);
        reader->loaded = NULL;
    }
    stele_log__packed_deinit(reader);
}

/* ---- One record ---- */

static int read_packed(struct stele_log_reader *reader, struct stele_log_segment *segment,
                       uint64_t place, struct stele_event *out_event)
{
    struct stele_log__piece piece;
    const int outcome = stele_log__packed_find(reader, segment, place, &piece, NULL);
    if (outcome == STELE_END || (outcome == STELE_OK && piece.place > place)) {
        return STELE_NOT_FOUND;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    size_t size = 0;
    if (piece.reduced || stele_record_decode(piece.bytes, out_event, &size) != STELE_OK) {
        return stele_log__damage(reader, segment, piece.offset, place,
                                 "the record does not verify");
    }
    return STELE_OK;
}

int stele_log_read(struct stele_log_reader *reader, uint64_t place, struct stele_event *out_event)
{
    const struct stele_log_view *const view = reader->view;
    struct stele_log_segment *const segment = view->segments[stele_log__view_find(view, place)];
    const uint64_t end = segment->limit < reader->end ? segment->limit : reader->end;
    const uint64_t offset = view->identity.header_size + (place - segment->base);
    if (place < segment->base || place >= end || place % STELE_RECORD_ALIGN != 0) {
        return stele_log__damage(reader, segment, offset, place, "no record can be here");
    }
    if (segment->packed) {
        return read_packed(reader, segment, place, out_event);
    }
    const uint8_t *const data = segment->data + offset;
    /* The checksum needs the body before it needs the header, but where the body ends stands in
     * the header: without this the misses of both would follow each other. */
    __builtin_prefetch(data + 64);
    __builtin_prefetch(data + 128);
    __builtin_prefetch(data + 192);
    size_t size = 0;
    const struct stele_bytes bytes = {.data = data, .size = (size_t)(end - place)};
    if (stele_record_decode(bytes, out_event, &size) != STELE_OK) {
        return stele_log__damage(reader, segment, offset, place, "the record does not verify");
    }
    return STELE_OK;
}

void stele_log_prefetch(const struct stele_log_reader *reader, uint64_t place)
{
    const struct stele_log_view *const view = reader->view;
    const struct stele_log_segment *const segment =
        view->segments[stele_log__view_find(view, place)];
    if (!segment->packed && place >= segment->base && place < segment->limit) {
        const uint8_t *const data =
            segment->data + view->identity.header_size + (place - segment->base);
        for (size_t line = 0; line < 5; line++) {
            __builtin_prefetch(data + line * 64);
        }
    }
}

/* ---- Scans ---- */

void stele_log_cursor_at(struct stele_log_cursor *cursor, uint64_t place)
{
    memset(cursor, 0, sizeof *cursor);
    cursor->place = place;
    cursor->arrived = STELE_LOG__NOWHERE;
}

/* Where a scan puts what it finds. */
struct batch {
    struct stele_event *events;
    uint64_t *places;
    size_t max;
    size_t count;
};

static void add_place(struct batch *batch, uint64_t place)
{
    if (batch->places != NULL) {
        batch->places[batch->count] = place;
    }
    batch->count++;
}

static uint64_t file_offset(const struct stele_log_reader *reader,
                            const struct stele_log_segment *segment, uint64_t place)
{
    return reader->view->identity.header_size + (place - segment->base);
}

/* The cursor stands at a frame of a plain segment: steps into it. */
static int plain_enter_frame(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                             struct stele_log_cursor *cursor, uint64_t *out_resume)
{
    /* Straight into the cursor, which does not look at it before it is in the frame. */
    struct stele_frame *const frame = &cursor->frame;
    const int outcome = stele_log__frame_at(reader, spot, frame, out_resume);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const uint64_t frame_end = stele_log__frame_end(frame);
    const uint64_t first = cursor->place + STELE_FRAME_HEADER_SIZE;
    const struct stele_bytes payload =
        stele_log__plain_bytes(reader->view, spot->segment, first, frame_end);
    /* If the payload does not fit its header because of a record that is damaged, the ones before it
     * can still be handed out; they lie where the header says that records begin, and each
     * verifies. */
    if (!stele_log__frame_fits(frame, payload) &&
        (frame->kind != STELE_FRAME_EVENTS || stele_log__records_are_intact(payload))) {
        *out_resume = frame_end;
        return stele_log__damage(reader, spot->segment,
                                 file_offset(reader, spot->segment, cursor->place), cursor->place,
                                 "the payload does not belong to its frame");
    }
    if (frame->kind != STELE_FRAME_EVENTS) {
        cursor->place = frame_end;
        return STELE_OK;
    }
    cursor->place = first;
    cursor->frame_end = frame_end;
    return STELE_OK;
}

/* A record inside the cursor's frame does not verify. The sizes of a frame that fits are safe, so
 * that only this record is lost; otherwise the rest of the frame is, because nothing says where
 * its records begin. */
static int plain_bad_record(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                            const struct stele_log_cursor *cursor, uint64_t *out_resume)
{
    const uint64_t first = cursor->frame.place + STELE_FRAME_HEADER_SIZE;
    const struct stele_bytes payload =
        stele_log__plain_bytes(reader->view, spot->segment, first, cursor->frame_end);
    *out_resume = cursor->frame_end;
    if (stele_log__frame_fits(&cursor->frame, payload)) {
        const uint8_t *const record = payload.data + (cursor->place - first);
        *out_resume = cursor->place + stele_load_u32le(record + STELE_LOG__RECORD_SIZE_AT);
    }
    return stele_log__damage(reader, spot->segment,
                             file_offset(reader, spot->segment, cursor->place), cursor->place,
                             "the record does not verify");
}

/* The processor guesses well what comes next, but not across pages, of which a scan crosses one
 * every dozen events. One record's worth of lines per record keeps the distance. */
#define PREFETCH_AHEAD 1536
#define PREFETCH_LINES 5

static void prefetch_ahead(const uint8_t *data)
{
    for (size_t line = 0; line < PREFETCH_LINES; line++) {
        __builtin_prefetch(data + PREFETCH_AHEAD + line * 64);
    }
}

static int scan_plain(struct stele_log_reader *reader, struct stele_log__spot *spot,
                      struct stele_log_cursor *cursor, struct batch *batch, uint64_t *out_resume)
{
    const struct stele_log_view *const view = reader->view;
    while (batch->count < batch->max) {
        if (cursor->frame_end != 0 && cursor->place >= cursor->frame_end) {
            cursor->frame_end = 0;
        }
        if (cursor->frame_end == 0) {
            if (cursor->place >= spot->end) {
                return STELE_OK;
            }
            spot->place = cursor->place;
            const int outcome = plain_enter_frame(reader, spot, cursor, out_resume);
            if (outcome != STELE_OK) {
                return outcome;
            }
            continue;
        }
        const struct stele_bytes bytes =
            stele_log__plain_bytes(view, spot->segment, cursor->place, cursor->frame_end);
        prefetch_ahead(bytes.data);
        size_t size = 0;
        if (stele_record_decode(bytes, &batch->events[batch->count], &size) != STELE_OK) {
            return plain_bad_record(reader, spot, cursor, out_resume);
        }
        add_place(batch, cursor->place);
        cursor->place += size;
    }
    return STELE_OK;
}

/* The cursor stands in a frame of a packed segment: makes the frame be the loaded one. */
static int packed_enter_frame(struct stele_log_reader *reader, struct stele_log__spot *spot,
                              struct stele_log_cursor *cursor, uint64_t *out_resume)
{
    const uint64_t place = cursor->frame_end != 0 ? cursor->frame.place : cursor->place;
    const struct stele_log__loaded *loaded = reader->loaded;
    if (loaded == NULL || loaded->segment != spot->segment || loaded->frame.place != place) {
        spot->place = place;
        const int outcome = stele_log__load(reader, spot, out_resume);
        if (outcome != STELE_OK) {
            return outcome;
        }
        loaded = reader->loaded;
    }
    if (cursor->frame_end == 0) {
        cursor->frame = loaded->frame;
        cursor->frame_end = stele_log__frame_end(&loaded->frame);
        cursor->place += STELE_FRAME_HEADER_SIZE;
    }
    return STELE_OK;
}

static void take_loaded(const struct stele_log__loaded *loaded, struct stele_log_cursor *cursor,
                        struct batch *batch)
{
    const struct stele_log__span *const spans = stele_log__loaded_spans(loaded);
    size_t low = 0;
    size_t high = loaded->spans_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (spans[middle].place < cursor->place) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    while (low < loaded->spans_count && batch->count < batch->max) {
        const struct stele_log__span *const span = &spans[low++];
        size_t size = 0;
        const struct stele_bytes bytes = stele_bytes_slice(loaded->bytes, span->offset, span->size);
        const int outcome = stele_record_decode_trusted(bytes, &batch->events[batch->count], &size);
        STELE_ASSERT(outcome == STELE_OK);
        add_place(batch, span->place);
        cursor->place = span->place + span->size;
    }
    if (low == loaded->spans_count) {
        cursor->place = cursor->frame_end;
        cursor->frame_end = 0;
    }
}

/* Does the frame at place lie wholly in the block that is unpacked? */
static bool frame_is_at_hand(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                             uint64_t place)
{
    struct stele_log_segment *const segment = spot->segment;
    struct stele_log__piece piece;
    struct stele_frame frame;
    return stele_log__packed_is_at_hand(reader, segment, place) &&
           stele_log__packed_find(reader, segment, place, &piece, NULL) == STELE_OK &&
           piece.place == place &&
           stele_log__frame_decode(piece.bytes, reader->view->identity.seed, place, &frame) ==
               STELE_OK &&
           stele_log__packed_is_at_hand(reader, segment,
                                        stele_log__frame_end(&frame) - STELE_RECORD_ALIGN);
}

static int scan_packed(struct stele_log_reader *reader, struct stele_log__spot *spot,
                       struct stele_log_cursor *cursor, struct batch *batch, uint64_t *out_resume)
{
    while (batch->count < batch->max) {
        if (cursor->frame_end == 0 && cursor->place >= spot->end) {
            return STELE_OK;
        }
        /* Loading another block would take away what the events point to. */
        if (batch->count > 0 && !frame_is_at_hand(reader, spot, cursor->place)) {
            return STELE_OK;
        }
        const int outcome = packed_enter_frame(reader, spot, cursor, out_resume);
        if (outcome != STELE_OK) {
            return outcome;
        }
        take_loaded(reader->loaded, cursor, batch);
        if (reader->loaded->is_copied) {
            return STELE_OK;
        }
    }
    return STELE_OK;
}

int stele_log_scan(struct stele_log_reader *reader, struct stele_log_cursor *cursor,
                   struct stele_event *events, uint64_t *places, size_t max, size_t *out_count)
{
    STELE_ASSERT(max > 0);
    struct batch batch = {.events = events, .places = places, .max = max};
    for (;;) {
        struct stele_log__spot spot;
        const uint64_t inside = cursor->frame_end != 0 ? cursor->frame.place : cursor->place;
        int outcome = stele_log__enter(reader, inside, cursor->arrived, &spot);
        if (outcome == STELE_END) {
            return STELE_END;
        }
        if (outcome != STELE_OK) {
            stele_log_cursor_at(cursor, spot.place);
            cursor->arrived = spot.place;
            return outcome;
        }
        if (cursor->frame_end == 0) {
            cursor->place = spot.place;
        }
        uint64_t resume = cursor->place;
        outcome = spot.segment->packed ? scan_packed(reader, &spot, cursor, &batch, &resume)
                                       : scan_plain(reader, &spot, cursor, &batch, &resume);
        if (batch.count > 0) {
            /* What stopped it comes up again in the next call. */
            *out_count = batch.count;
            return STELE_OK;
        }
        if (outcome == STELE_END) {
            /* Only zeros from here to the end of the segment, as far as can be told. */
            if (spot.index + 1 == reader->view->count) {
                return STELE_END;
            }
            stele_log_cursor_at(cursor, spot.end);
        } else if (outcome == STELE_E_CORRUPT) {
            STELE_ASSERT(resume > cursor->place);
            cursor->place = resume;
            cursor->frame_end = cursor->frame_end > resume ? cursor->frame_end : 0;
            return outcome;
        } else if (outcome != STELE_OK) {
            return outcome;
        }
    }
}

int stele_log_scan_frame(struct stele_log_reader *reader, struct stele_log_cursor *cursor,
                         struct stele_log_remains *out_remains)
{
    STELE_ASSERT(cursor->frame_end == 0);
    for (;;) {
        struct stele_log__spot spot;
        int outcome = stele_log__enter(reader, cursor->place, cursor->arrived, &spot);
        if (outcome == STELE_END) {
            return STELE_END;
        }
        if (outcome != STELE_OK) {
            stele_log_cursor_at(cursor, spot.place);
            cursor->arrived = spot.place;
            return outcome;
        }
        uint64_t resume = spot.place;
        outcome = stele_log__load(reader, &spot, &resume);
        if (outcome == STELE_OK) {
            const struct stele_log__loaded *const loaded = reader->loaded;
            stele_log_cursor_at(cursor, stele_log__frame_end(&loaded->frame));
            if (loaded->frame.kind != STELE_FRAME_EVENTS) {
                continue;
            }
            *out_remains = (struct stele_log_remains){
                .frame = loaded->frame,
                .records = loaded->bytes,
                .count = loaded->spans_count,
            };
            return STELE_OK;
        }
        if (outcome == STELE_END) {
            /* Only zeros from here to the end of the segment, as far as can be told. */
            if (spot.index + 1 == reader->view->count) {
                return STELE_END;
            }
            stele_log_cursor_at(cursor, spot.end);
        } else if (outcome == STELE_E_CORRUPT) {
            stele_log_cursor_at(cursor, resume);
            return outcome;
        } else {
            return outcome;
        }
    }
}
