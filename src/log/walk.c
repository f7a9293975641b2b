/* Walking over frames, one after the other, across segments of both kinds: what scans, seeks, the
 * hash chain and packing have in common. */
#include "base/checksum.h"
#include "log/log_internal.h"

uint64_t stele_log__limit_of(const struct stele_log_view *view, uint32_t index)
{
    struct stele_log_segment *const segment = view->segments[index];
    if (!segment->packed) {
        return segment->limit;
    }
    struct stele_log__facts facts;
    const char *what = NULL;
    if (stele_log__segment_facts(view, segment, &facts, &what) == STELE_OK) {
        return facts.base + facts.capacity;
    }
    return index + 1 < view->count ? view->bases[index + 1] : UINT64_MAX;
}

/* A walk arrives at the base of a segment: does it follow the one before, and does its header
 * verify? A hole in the places means that a file is gone. */
static int check_arrival(struct stele_log_reader *reader, uint32_t index)
{
    const struct stele_log_view *const view = reader->view;
    struct stele_log_segment *const segment = view->segments[index];
    if (index > 0 && stele_log__limit_of(view, index - 1) < segment->base) {
        const struct stele_log_segment *const before = view->segments[index - 1];
        return stele_log__damage(reader, before, before->size, stele_log__limit_of(view, index - 1),
                                 "the file is cut off, or the segment behind it is missing");
    }
    if (index == 0 && segment->base > 0) {
        return stele_log__damage(reader, segment, 0, 0, "the segments before it are missing");
    }
    const char *what = NULL;
    struct stele_log__facts facts;
    if (stele_log__segment_facts(view, segment, &facts, &what) != STELE_OK) {
        return stele_log__damage(reader, segment, 0, segment->base, what);
    }
    return STELE_OK;
}

int stele_log__enter(struct stele_log_reader *reader, uint64_t place, uint64_t arrived,
                     struct stele_log__spot *out_spot)
{
    const struct stele_log_view *const view = reader->view;
    struct stele_log__spot spot = {.place = place};
    spot.index = stele_log__view_find(view, place);
    if (place < view->bases[spot.index]) {
        spot.place = view->bases[spot.index];
    }
    for (;;) {
        spot.segment = view->segments[spot.index];
        if (spot.place == spot.segment->base && spot.place != arrived) {
            const int outcome = check_arrival(reader, spot.index);
            if (outcome != STELE_OK) {
                out_spot->place = spot.place;
                return outcome;
            }
        }
        spot.end = stele_log__segment_end(view, spot.index, reader->end, &spot.exact);
        if (spot.place < spot.end) {
            *out_spot = spot;
            return STELE_OK;
        }
        if (spot.index + 1 == view->count || view->bases[spot.index + 1] >= reader->end) {
            *out_spot = spot;
            return STELE_END;
        }
        spot.index++;
        spot.place = view->bases[spot.index];
    }
}

/* ---- Headers ---- */

static uint64_t offset_of(const struct stele_log_reader *reader,
                          const struct stele_log_segment *segment, uint64_t place)
{
    return reader->view->identity.header_size + (place - segment->base);
}

static int plain_frame_at(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                          struct stele_frame *out_frame, uint64_t *out_resume)
{
    const struct stele_log_view *const view = reader->view;
    const struct stele_log_segment *const segment = spot->segment;
    const char *what = "the frame header does not verify";
    uint64_t bytes_end = spot->end < segment->limit ? spot->end : segment->limit;
    if (spot->place < bytes_end) {
        const struct stele_bytes bytes =
            stele_log__plain_bytes(view, segment, spot->place, bytes_end);
        const int outcome =
            stele_log__frame_decode(bytes, view->identity.seed, spot->place, out_frame);
        if (outcome == STELE_OK && stele_log__frame_end(out_frame) <= bytes_end) {
            return STELE_OK;
        }
        if (outcome == STELE_E_FORMAT) {
            what = "the frame was written by a newer version";
        } else if (outcome == STELE_END) {
            what = "zeros where a frame was written";
        } else if (outcome == STELE_OK) {
            what = "the frame reaches beyond the end of its segment";
        }
        struct stele_frame next;
        const uint64_t found = stele_log__search(segment->data + view->identity.header_size,
                                                 segment->base, spot->place + STELE_RECORD_ALIGN,
                                                 bytes_end, view->identity.seed, 0, &next);
        if (found == UINT64_MAX && outcome == STELE_END && !spot->exact) {
            return STELE_END;
        }
        *out_resume = found == UINT64_MAX ? spot->end : found;
    } else {
        what = "the file is cut off";
        *out_resume = spot->end;
    }
    return stele_log__damage(reader, segment, offset_of(reader, segment, spot->place), spot->place,
                             what);
}

/* The first place from which a frame can be read in a packed segment, at or behind place. */
static uint64_t packed_resume(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                              uint64_t place)
{
    const struct stele_log_damage damage = reader->damage;
    while (place < spot->end) {
        struct stele_log__piece piece;
        uint64_t resume = spot->end;
        const int outcome = stele_log__packed_find(reader, spot->segment, place, &piece, &resume);
        if (outcome != STELE_OK) {
            place = outcome == STELE_E_CORRUPT ? resume : spot->end;
            continue;
        }
        if (piece.bytes.size == 0) {
            place = piece.place;
            continue;
        }
        uint64_t found = piece.place;
        if (!piece.reduced) {
            struct stele_frame frame;
            found = stele_log__search(piece.bytes.data, piece.place, piece.place,
                                      piece.place + piece.bytes.size, reader->view->identity.seed,
                                      0, &frame);
        }
        if (found != UINT64_MAX && found >= place) {
            place = found;
            break;
        }
        place =
            piece.reduced ? piece.place + STELE_FRAME_HEADER_SIZE : piece.place + piece.bytes.size;
    }
    reader->damage = damage;
    return place < spot->end ? place : spot->end;
}

static int packed_frame_at(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                           struct stele_frame *out_frame, struct stele_log__piece *out_piece,
                           uint64_t *out_resume)
{
    uint64_t resume = spot->end;
    int outcome = stele_log__packed_find(reader, spot->segment, spot->place, out_piece, &resume);
    if (outcome == STELE_E_CORRUPT) {
        *out_resume = packed_resume(reader, spot, resume);
        return outcome;
    }
    if (outcome == STELE_E_NO_MEMORY) {
        return outcome;
    }
    if (outcome == STELE_OK && out_piece->place == spot->place) {
        outcome = stele_log__frame_decode(out_piece->bytes, reader->view->identity.seed,
                                          spot->place, out_frame);
        if (outcome == STELE_OK && stele_log__frame_end(out_frame) <= spot->end) {
            return STELE_OK;
        }
    }
    outcome = stele_log__damage(reader, spot->segment,
                                outcome == STELE_END ? spot->segment->size : out_piece->offset,
                                spot->place, "a frame is missing from the packed segment");
    *out_resume = packed_resume(reader, spot, spot->place + STELE_RECORD_ALIGN);
    return outcome;
}

int stele_log__frame_at(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                        struct stele_frame *out_frame, uint64_t *out_resume)
{
    STELE_ASSERT(spot->place >= spot->segment->base);
    STELE_ASSERT(spot->place < spot->end);
    if (spot->segment->packed) {
        struct stele_log__piece piece;
        return packed_frame_at(reader, spot, out_frame, &piece, out_resume);
    }
    return plain_frame_at(reader, spot, out_frame, out_resume);
}

/* ---- Whole frames ---- */

static int loaded_create(struct stele_log_reader *reader)
{
    if (reader->loaded == NULL) {
        reader->loaded = stele_allocate_zeroed(reader->alloc, sizeof *reader->loaded);
    }
    return reader->loaded == NULL ? STELE_E_NO_MEMORY : STELE_OK;
}

static int add_span(struct stele_log_reader *reader, uint64_t place, size_t offset, size_t size)
{
    struct stele_log__loaded *const loaded = reader->loaded;
    const struct stele_log__span span = {.place = place, .offset = offset, .size = size};
    const struct stele_bytes bytes = {.data = (const uint8_t *)&span, .size = sizeof span};
    const int outcome = stele_buf_append(&loaded->spans, reader->alloc, bytes);
    loaded->spans_count += outcome == STELE_OK ? 1 : 0;
    return outcome;
}

/* Verifies each record of an intact frame and notes where it lies. *out_bad: of the first that
 * does not verify, the place. */
static int span_payload(struct stele_log_reader *reader, uint64_t *out_bad)
{
    struct stele_log__loaded *const loaded = reader->loaded;
    const uint64_t first = loaded->frame.place + STELE_FRAME_HEADER_SIZE;
    size_t at = 0;
    while (at < loaded->bytes.size) {
        struct stele_event event;
        size_t size = 0;
        const struct stele_bytes rest =
            stele_bytes_slice(loaded->bytes, at, loaded->bytes.size - at);
        if (stele_record_decode(rest, &event, &size) != STELE_OK) {
            *out_bad = first + at;
            return STELE_E_CORRUPT;
        }
        const int outcome = add_span(reader, first + at, at, size);
        if (outcome != STELE_OK) {
            return outcome;
        }
        at += size;
    }
    return STELE_OK;
}

/* The payload is at hand: does it verify? */
static int check_payload(struct stele_log_reader *reader, const char **out_what, uint64_t *out_bad)
{
    struct stele_log__loaded *const loaded = reader->loaded;
    *out_bad = loaded->frame.place;
    const bool fits = stele_log__frame_fits(&loaded->frame, loaded->bytes);
    if (loaded->frame.kind == STELE_FRAME_EVENTS) {
        *out_what = "the record does not verify";
        const int outcome = span_payload(reader, out_bad);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    *out_what = "the payload does not belong to its frame";
    return fits ? STELE_OK : STELE_E_CORRUPT;
}

static int load_plain(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                      uint64_t *out_resume)
{
    struct stele_log__loaded *const loaded = reader->loaded;
    int outcome = plain_frame_at(reader, spot, &loaded->frame, out_resume);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const uint64_t end = stele_log__frame_end(&loaded->frame);
    const struct stele_bytes whole =
        stele_log__plain_bytes(reader->view, spot->segment, spot->place, end);
    memcpy(loaded->header, whole.data, sizeof loaded->header);
    loaded->bytes = stele_bytes_slice(whole, STELE_FRAME_HEADER_SIZE, loaded->frame.size);
    uint64_t bad = 0;
    const char *what = NULL;
    outcome = check_payload(reader, &what, &bad);
    if (outcome == STELE_E_CORRUPT) {
        *out_resume = end;
        (void)stele_log__damage(reader, spot->segment, offset_of(reader, spot->segment, bad), bad,
                                what);
    }
    return outcome;
}

/* Copies the part of the log [place, end) that is left, record by record if the frame is reduced,
 * from one block after the other. */
static int gather(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                  uint64_t place, uint64_t end)
{
    struct stele_log__loaded *const loaded = reader->loaded;
    while (place < end) {
        struct stele_log__piece piece;
        const int found = stele_log__packed_find(reader, spot->segment, place, &piece, NULL);
        if (found != STELE_OK && found != STELE_END) {
            return found;
        }
        if (found == STELE_END || piece.place >= end) {
            break;
        }
        if (piece.bytes.size == 0 && loaded->reduced) {
            place = piece.place;
            continue;
        }
        if (piece.bytes.size == 0 || piece.reduced || (piece.place > place && !loaded->reduced)) {
            return stele_log__damage(reader, spot->segment, piece.offset, place,
                                     "a part of the frame is missing");
        }
        const uint64_t piece_end = piece.place + piece.bytes.size;
        const size_t size = (size_t)((piece_end < end ? piece_end : end) - piece.place);
        const struct stele_bytes part = stele_bytes_slice(piece.bytes, 0, size);
        const int outcome = stele_buf_append(&loaded->buffer, reader->alloc, part);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (loaded->reduced) {
            /* One span for the whole run for now; cut_spans() makes records of it. */
            const int added = add_span(reader, piece.place, loaded->buffer.size - size, size);
            if (added != STELE_OK) {
                return added;
            }
        }
        place = piece.place + size;
    }
    loaded->bytes = (struct stele_bytes){.data = loaded->buffer.data, .size = loaded->buffer.size};
    loaded->is_copied = true;
    return STELE_OK;
}

/* Runs become records. Each of them must be one of those whose checksums the frame lists, in
 * order: then nothing was added, and nothing changed. */
static int cut_spans(struct stele_log_reader *reader, const struct stele_log__spot *spot)
{
    struct stele_log__loaded *const loaded = reader->loaded;
    const size_t runs = loaded->spans_count;
    size_t listed = 0;
    for (size_t index = 0; index < runs; index++) {
        struct stele_log__span run = stele_log__loaded_spans(loaded)[index];
        while (run.size > 0) {
            struct stele_event event;
            size_t size = 0;
            const struct stele_bytes rest = stele_bytes_slice(loaded->bytes, run.offset, run.size);
            bool known = stele_record_decode(rest, &event, &size) == STELE_OK;
            if (known) {
                const uint8_t *const checksums = loaded->checksums.data;
                while (listed < loaded->frame.count &&
                       memcmp(checksums + listed * 4, rest.data, 4) != 0) {
                    listed++;
                }
                known = listed < loaded->frame.count;
                listed++;
            }
            if (!known) {
                return stele_log__damage(reader, spot->segment, 0, run.place,
                                         "the record does not belong to its frame");
            }
            const int outcome = add_span(reader, run.place, run.offset, size);
            if (outcome != STELE_OK) {
                return outcome;
            }
            run.place += size;
            run.offset += size;
            run.size -= size;
        }
    }
    loaded->spans_count -= runs;
    loaded->spans.size -= runs * sizeof(struct stele_log__span);
    if (runs > 0) {
        memmove(loaded->spans.data, loaded->spans.data + runs * sizeof(struct stele_log__span),
                loaded->spans.size);
    }
    return STELE_OK;
}

static int load_reduced(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                        const struct stele_log__piece *piece)
{
    struct stele_log__loaded *const loaded = reader->loaded;
    loaded->reduced = true;
    const uint64_t checksums_size = (uint64_t)loaded->frame.count * 4;
    if (loaded->frame.kind != STELE_FRAME_EVENTS ||
        piece->bytes.size !=
            STELE_LOG__REDUCED_CHECKSUMS_AT + stele_align_up(checksums_size, STELE_RECORD_ALIGN)) {
        return stele_log__damage(reader, spot->segment, piece->offset, spot->place,
                                 "the remains of the frame have a wrong size");
    }
    memcpy(loaded->hash, piece->bytes.data + STELE_LOG__REDUCED_HASH_AT, sizeof loaded->hash);
    const struct stele_bytes checksums =
        stele_bytes_slice(piece->bytes, STELE_LOG__REDUCED_CHECKSUMS_AT, (size_t)checksums_size);
    if (stele_crc32c(checksums) != loaded->frame.payload_checksum) {
        return stele_log__damage(reader, spot->segment, piece->offset, spot->place,
                                 "the remains of the frame do not verify");
    }
    int outcome = stele_buf_append(&loaded->checksums, reader->alloc, checksums);
    if (outcome == STELE_OK) {
        outcome = gather(reader, spot, spot->place + STELE_FRAME_HEADER_SIZE,
                         stele_log__frame_end(&loaded->frame));
    }
    if (outcome == STELE_OK) {
        outcome = cut_spans(reader, spot);
    }
    return outcome;
}

static int load_whole(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                      const struct stele_log__piece *piece)
{
    struct stele_log__loaded *const loaded = reader->loaded;
    const size_t size = STELE_FRAME_HEADER_SIZE + (size_t)loaded->frame.size;
    if (piece->bytes.size >= size) {
        loaded->bytes =
            stele_bytes_slice(piece->bytes, STELE_FRAME_HEADER_SIZE, loaded->frame.size);
    } else {
        const int outcome = gather(reader, spot, spot->place + STELE_FRAME_HEADER_SIZE,
                                   stele_log__frame_end(&loaded->frame));
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (loaded->bytes.size != loaded->frame.size) {
            return stele_log__damage(reader, spot->segment, piece->offset, spot->place,
                                     "the end of the frame is missing");
        }
    }
    uint64_t bad = 0;
    const char *what = NULL;
    const int outcome = check_payload(reader, &what, &bad);
    if (outcome == STELE_E_CORRUPT) {
        (void)stele_log__damage(reader, spot->segment, piece->offset, bad, what);
    }
    return outcome;
}

static int load_packed(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                       uint64_t *out_resume)
{
    struct stele_log__loaded *const loaded = reader->loaded;
    struct stele_log__piece piece;
    int outcome = packed_frame_at(reader, spot, &loaded->frame, &piece, out_resume);
    if (outcome != STELE_OK) {
        return outcome;
    }
    memcpy(loaded->header, piece.bytes.data, sizeof loaded->header);
    outcome = piece.reduced ? load_reduced(reader, spot, &piece) : load_whole(reader, spot, &piece);
    if (outcome == STELE_E_CORRUPT) {
        *out_resume = stele_log__frame_end(&loaded->frame);
    }
    return outcome;
}

int stele_log__load(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                    uint64_t *out_resume)
{
    int outcome = loaded_create(reader);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_log__loaded *const loaded = reader->loaded;
    loaded->segment = NULL;
    loaded->reduced = false;
    loaded->is_copied = false;
    loaded->bytes = (struct stele_bytes){0};
    loaded->buffer.size = 0;
    loaded->checksums.size = 0;
    loaded->spans.size = 0;
    loaded->spans_count = 0;
    outcome = spot->segment->packed ? load_packed(reader, spot, out_resume)
                                    : load_plain(reader, spot, out_resume);
    if (outcome == STELE_OK) {
        loaded->segment = spot->segment;
    }
    return outcome;
}
