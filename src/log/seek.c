/* Finding frames: by position, and the one before another. Nothing on disk points backward, so both
 * guess a place, search for a frame from there, and walk forward. */
#include "log/log_internal.h"

/* ---- The frame before ---- */

/* How far before the target the first guess is: a few dozen frames of usual size. */
#define GUESS_BEFORE ((uint64_t)16 * 1024)

static void forget_frames(struct stele_log_reader *reader)
{
    reader->frames_count = 0;
}

/* Keeps the last ones: going backward asks for them next. */
static void note_frame(struct stele_log_reader *reader, uint64_t place)
{
    if (reader->frames_count == STELE_LOG_READER_FRAMES) {
        reader->frames_count = STELE_LOG_READER_FRAMES / 2;
        memmove(reader->frames, reader->frames + STELE_LOG_READER_FRAMES / 2,
                sizeof reader->frames / 2);
    }
    reader->frames[reader->frames_count++] = place;
}

/* A frame that begins in the segment below target, near it if possible: the base at the worst. */
static int guess(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                 uint64_t target, uint64_t *out_place)
{
    struct stele_log_segment *const segment = spot->segment;
    if (segment->packed) {
        return stele_log__packed_bisect(reader, segment, target, true, out_place);
    }
    uint64_t distance = GUESS_BEFORE;
    while (target - segment->base > distance) {
        const uint64_t from = target - distance;
        struct stele_frame frame;
        const uint64_t found =
            stele_log__search(segment->data + reader->view->identity.header_size, segment->base,
                              from, target < segment->limit ? target : segment->limit,
                              reader->view->identity.seed, 0, &frame);
        if (found != UINT64_MAX) {
            *out_place = found;
            return STELE_OK;
        }
        distance *= 4;
    }
    *out_place = segment->base;
    return STELE_OK;
}

/* Walks from a guess up to target and notes the frames. *out_place: the last one that begins below
 * target, or the guess if none verifies. */
static int walk_up_to(struct stele_log_reader *reader, struct stele_log__spot *spot,
                      uint64_t target, uint64_t *out_place)
{
    uint64_t last = spot->place;
    int damage = STELE_OK;
    forget_frames(reader);
    while (spot->place < target) {
        struct stele_frame frame;
        uint64_t resume = target;
        const int outcome = stele_log__frame_at(reader, spot, &frame, &resume);
        if (outcome == STELE_E_CORRUPT) {
            damage = outcome;
            forget_frames(reader);
            spot->place = resume;
            continue;
        }
        if (outcome != STELE_OK) {
            if (outcome == STELE_END) {
                break; /* Zeros up to the end of a segment whose end nobody knows. */
            }
            return outcome;
        }
        damage = STELE_OK;
        last = spot->place;
        note_frame(reader, last);
        spot->place = stele_log__frame_end(&frame);
    }
    *out_place = last;
    if (damage == STELE_OK && spot->place == target) {
        note_frame(reader, target);
    } else {
        forget_frames(reader);
    }
    return damage;
}

int stele_log_frame_before(struct stele_log_reader *reader, uint64_t place, uint64_t *out_place)
{
    for (uint32_t index = reader->frames_count; index > 1; index--) {
        if (reader->frames[index - 1] == place) {
            *out_place = reader->frames[index - 2];
            return STELE_OK;
        }
    }
    const struct stele_log_view *const view = reader->view;
    struct stele_log__spot spot = {.place = place < reader->end ? place : reader->end};
    for (;;) {
        if (spot.place <= view->bases[0]) {
            return STELE_END;
        }
        spot.index = stele_log__view_find(view, spot.place - 1);
        spot.segment = view->segments[spot.index];
        spot.end = stele_log__segment_end(view, spot.index, reader->end, &spot.exact);
        const uint64_t target = spot.place < spot.end ? spot.place : spot.end;
        if (target <= spot.segment->base) {
            spot.place = spot.segment->base; /* Nothing was ever written to this one. */
            continue;
        }
        int outcome = guess(reader, &spot, target, &spot.place);
        uint64_t before = spot.segment->base;
        if (outcome == STELE_OK) {
            outcome = walk_up_to(reader, &spot, target, &before);
        }
        if (outcome == STELE_OK || outcome == STELE_E_CORRUPT) {
            STELE_ASSERT(before < place);
            *out_place = before;
        }
        return outcome;
    }
}

/* ---- By position ---- */

/* Bisecting places stops here and walking begins: it is about what one search reads anyway. */
#define WALK_SIZE ((uint64_t)16 * 1024)

/* The position of the first event of a frame in a plain segment. false: it has none that can be
 * read, so that it says nothing about order. */
static bool first_position(const struct stele_log_reader *reader,
                           const struct stele_log_segment *segment, const struct stele_frame *frame,
                           uint64_t end, uint64_t *out_position)
{
    const uint64_t first = frame->place + STELE_FRAME_HEADER_SIZE;
    if (frame->kind != STELE_FRAME_EVENTS || frame->count == 0 || first >= end) {
        return false;
    }
    struct stele_event event;
    size_t size = 0;
    const struct stele_bytes bytes = stele_log__plain_bytes(reader->view, segment, first, end);
    if (stele_record_decode(bytes, &event, &size) != STELE_OK) {
        return false;
    }
    *out_position = event.position;
    return true;
}

/* The first frame in [from, to) whose first position can be read. UINT64_MAX: none. */
static uint64_t find_position(const struct stele_log_reader *reader,
                              const struct stele_log_segment *segment, uint64_t from, uint64_t to,
                              uint64_t *out_position)
{
    while (from < to) {
        struct stele_frame frame;
        const uint64_t found =
            stele_log__search(segment->data + reader->view->identity.header_size, segment->base,
                              from, to, reader->view->identity.seed, 0, &frame);
        if (found == UINT64_MAX || first_position(reader, segment, &frame, to, out_position)) {
            return found;
        }
        from = found + STELE_FRAME_HEADER_SIZE;
    }
    return UINT64_MAX;
}

/* The last frame that is known to begin with a position below this one; the base if none is. */
static uint64_t seek_plain(const struct stele_log_reader *reader,
                           const struct stele_log_segment *segment, uint64_t end, uint64_t position)
{
    uint64_t low = segment->base;
    uint64_t high = end < segment->limit ? end : segment->limit;
    while (high > low && high - low > WALK_SIZE) {
        const uint64_t middle = low + (high - low) / 2 / STELE_RECORD_ALIGN * STELE_RECORD_ALIGN;
        uint64_t found_position = 0;
        const uint64_t found = find_position(reader, segment, middle, high, &found_position);
        if (found != UINT64_MAX && found_position < position) {
            low = found;
        } else {
            high = middle;
        }
    }
    for (;;) {
        uint64_t found_position = 0;
        const uint64_t found =
            find_position(reader, segment, low + STELE_FRAME_HEADER_SIZE, high, &found_position);
        if (found == UINT64_MAX || found_position >= position) {
            return low;
        }
        low = found;
    }
}

/* The last segment of which it is known that positions before it are below this one. A header that
 * does not verify says nothing, so the scan begins before it: too early, never too late. */
static uint32_t seek_segment(const struct stele_log_reader *reader, uint64_t position)
{
    const struct stele_log_view *const view = reader->view;
    uint32_t low = 0;
    uint32_t high = stele_log__view_find(view, reader->end == 0 ? 0 : reader->end - 1);
    while (low < high) {
        const uint32_t middle = low + (high - low + 1) / 2;
        struct stele_log__facts facts;
        const char *what = NULL;
        if (stele_log__segment_facts(view, view->segments[middle], &facts, &what) == STELE_OK &&
            facts.position_before < position) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

int stele_log_seek(struct stele_log_reader *reader, uint64_t position,
                   struct stele_log_cursor *out_cursor)
{
    const struct stele_log_view *const view = reader->view;
    const uint32_t index = seek_segment(reader, position);
    struct stele_log_segment *const segment = view->segments[index];
    uint64_t place = segment->base;
    if (segment->packed) {
        const int outcome = stele_log__packed_bisect(reader, segment, position, false, &place);
        if (outcome != STELE_OK && outcome != STELE_E_CORRUPT) {
            return outcome;
        }
        /* With a damaged table the scan begins at the segment's start, and reports it there. */
    } else {
        bool exact = false;
        const uint64_t end = stele_log__segment_end(view, index, reader->end, &exact);
        place = seek_plain(reader, segment, end, position);
    }
    stele_log_cursor_at(out_cursor, place);
    return STELE_OK;
}
