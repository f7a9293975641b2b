/* Decides an append and stages it.
 *
 * The order matters. Nothing of the store changes before the last step that can fail: first every
 * check, then the room (index, log), then the clock, then the bytes. So an outcome other than
 * STELE_OK has left nothing behind (S5).
 *
 * With an order (a command of a cluster) the decision has to be the same on every node, whatever
 * each has scavenged, flushed, packed, fetched or lost. What it depends on, and why that is the same:
 *
 *     the revision a stream is at     the log's last event of each stream is never scavenged; holes of
 *                                     the index are waited for, damage is an error
 *     tombstones                      as above: a tombstone is the last event
 *     "$tb" (is a stream hidden?)     the newest metadata is the last event of its stream; not finding
 *                                     it is an error, never "no metadata"
 *     earlier appends with these ids  only events above `seen`, none of which is scavenged anywhere
 *                                     yet; all of them, however many have an id in common
 *     conditions                      likewise; which list is walked decides nothing
 *     positions                       from the stamp and the log's last position, which is that of an
 *                                     event that scavenging keeps. Never from the clock
 *     times, ids                      in the command, or its stamp
 *     sizes                           the format's limits, not this node's options
 *
 * Everything else (damage, disk, memory) is an error that is no decision: stele_order_is_decision().
 *
 * The rest of the argument is that every event above `seen` is in every store. A command is stale, and
 * refused, if there is one that is more than STELE_SEEN_AGE_MS below the log's last position P; and
 * scavenging, at some P' that is not above P, leaves alone everything above P' less
 * STELE_SCAVENGE_AGE_MS, which is lower, and the newest event below that. So that decision is the same
 * everywhere too: the newest event that can make a command stale is still there, because either it is
 * above what scavenging ever reached, or it was the newest one below when it did. */
#include "store/store_internal.h"

#define NO_REVISION STELE_EXPECT_NO_STREAM
/* One id may stand in so many streams (in memory, and again in the runs) before an append with a
 * loose expectation can fail to find its own; one with an order looks further. */
#define SAME_ID_MAX 256

struct decision {
    struct stele_store *store;
    struct stele_prepared *prepared;
    const struct stele_order *order; /* NULL: a single node's, at the time of its clock. */
    struct stele_append_result *result;
    struct stele_error *err;
};

/* Events up to here were looked at by whoever made the command. */
static uint64_t seen_by(const struct decision *d)
{
    return d->order == NULL ? 0 : d->order->seen;
}

static uint64_t last_of(const struct stele_prepared_stream *stream)
{
    return stream->next == 0 ? NO_REVISION : stream->next - 1;
}

static const uint8_t *id_of(const struct stele_prepared *prepared, size_t record)
{
    return prepared->bytes.data + prepared->records[record].offset + 24;
}

/* ---- Checks ---- */

static int load_stream(const struct decision *d, struct stele_prepared_stream *stream)
{
    struct stele_index_state state = {.next = 0};
    const int outcome = stele_store__state(d->store, &stream->key, &state, d->err);
    if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
        return outcome;
    }
    stream->next = outcome == STELE_OK ? state.next : 0;
    stream->flags = outcome == STELE_OK ? state.flags : 0;
    return STELE_OK;
}

/* Soft-deleted: everything lies before "$tb". */
static int is_hidden(const struct decision *d, const struct stele_prepared_stream *stream,
                     bool *out_hidden)
{
    struct stele_stream_limits limits;
    const int outcome = stele_store__limits(d->store, stream->key.name, true, &limits, d->err);
    *out_hidden = outcome == STELE_OK && limits.truncate_before >= stream->next;
    return outcome;
}

/* STELE_OK, STELE_WRONG_REVISION, STELE_STREAM_DELETED or an error. */
static int check_expected(const struct decision *d, const struct stele_prepared_stream *stream)
{
    if ((stream->flags & STELE_INDEX_TOMBSTONED) != 0) {
        return STELE_STREAM_DELETED;
    }
    const uint64_t expected = stream->expected;
    if (expected == STELE_EXPECT_ANY) {
        return STELE_OK;
    }
    if (expected != STELE_EXPECT_NO_STREAM && expected != STELE_EXPECT_EXISTS) {
        return expected == last_of(stream) ? STELE_OK : STELE_WRONG_REVISION;
    }
    bool hidden = true;
    if (stream->next > 0) {
        const int outcome = is_hidden(d, stream, &hidden);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return hidden == (expected == STELE_EXPECT_NO_STREAM) ? STELE_OK : STELE_WRONG_REVISION;
}

/* ---- Idempotence ---- */

struct earlier {
    bool all; /* Every stream of the request was appended before. */
    uint64_t place_last;
    uint64_t position_first, position_last;
    uint64_t revision_first, revision_last;
};

/* Do the events of the stream from revision on have exactly the ids of the request? STELE_OK,
 * STELE_NOT_FOUND or an error. */
static int compare_ids(const struct decision *d, const struct stele_prepared_stream *stream,
                       uint64_t revision, struct earlier *earlier)
{
    STELE_UNINITIALIZED uint64_t places[64];
    size_t done = 0;
    if (revision > stream->next || stream->records_count > stream->next - revision) {
        return STELE_NOT_FOUND;
    }
    while (done < stream->records_count) {
        const size_t left = stream->records_count - done;
        const size_t max = left < 64 ? left : 64;
        size_t count = 0;
        int outcome = stele_store__places(d->store, &stream->key, revision + done, max, places,
                                          &count, d->err);
        if (outcome != STELE_OK || count == 0) {
            return outcome == STELE_OK ? STELE_NOT_FOUND : outcome;
        }
        for (size_t i = 0; i < count; i++, done++) {
            struct stele_event event;
            outcome = stele_store__event(d->store, places[i], &event, d->err);
            if (outcome != STELE_OK) {
                return outcome; /* Scavenged ones cannot be compared: not found. */
            }
            if (memcmp(event.id, id_of(d->prepared, stream->records_first + done), 16) != 0) {
                return STELE_NOT_FOUND;
            }
            if (event.position <= seen_by(d)) {
                return STELE_NOT_FOUND; /* Others may have scavenged it. */
            }
            if (done == 0) {
                earlier->position_first = event.position;
                earlier->revision_first = event.revision;
            }
            earlier->position_last = event.position;
            earlier->revision_last = event.revision;
            earlier->place_last = places[i];
        }
    }
    return STELE_OK;
}

/* Is one of these events, newest first, the one that the id of the request's first event stands for
 * in the stream? STELE_NOT_FOUND: no. *out_passed: the rest came before what counts. */
static int find_among(const struct decision *d, const struct stele_prepared_stream *stream,
                      const uint64_t *places, size_t count, uint64_t *out_revision,
                      bool *out_passed)
{
    const uint8_t *id = id_of(d->prepared, stream->records_first);
    for (size_t i = 0; i < count; i++) {
        struct stele_event event;
        const int outcome = stele_store__event(d->store, places[i], &event, d->err);
        if (outcome == STELE_NOT_FOUND) {
            continue;
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (event.position <= seen_by(d)) {
            *out_passed = true;
            return STELE_NOT_FOUND;
        }
        if (memcmp(event.id, id, 16) == 0 &&
            stele_bytes_equal(stele_store__bytes(event.stream), stream->key.name)) {
            *out_revision = event.revision;
            return STELE_OK;
        }
    }
    return STELE_NOT_FOUND;
}

/* Looks at no more than max events in memory, and as many in the runs; *out_more: there are more, and
 * they were not reached. */
static int find_id_within(const struct decision *d, const struct stele_prepared_stream *stream,
                          uint64_t *places, size_t max, uint64_t *out_revision, bool *out_more)
{
    const uint64_t hash = d->prepared->records[stream->records_first].id_hash;
    size_t count = stele_index_mem_ids(d->store->index, hash, places, max);
    bool passed = false;
    int outcome = find_among(d, stream, places, count, out_revision, &passed);
    *out_more = count == max && !passed;
    if (outcome != STELE_NOT_FOUND || passed || (*out_more && d->order != NULL)) {
        return outcome;
    }
    const char *damaged = NULL;
    struct stele_index_view *view = stele_index_view_acquire(d->store->index);
    outcome = stele_index_view_ids(view, hash, places, max, &count, &damaged);
    if (outcome == STELE_E_CORRUPT) {
        outcome = stele_store__run_damaged(d->store, damaged);
    }
    stele_index_view_release(view);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = find_among(d, stream, places, count, out_revision, &passed);
    *out_more = count == max && !passed;
    return outcome;
}

/* The revision at which the id of the request's first event stands in the stream, if it does. */
static int find_id(const struct decision *d, const struct stele_prepared_stream *stream,
                   uint64_t *out_revision)
{
    STELE_UNINITIALIZED uint64_t few[SAME_ID_MAX];
    bool more = false;
    int outcome = find_id_within(d, stream, few, SAME_ID_MAX, out_revision, &more);
    /* How many of them are in memory differs from node to node, so a command looks at all. */
    for (size_t max = 8 * (size_t)SAME_ID_MAX;
         outcome == STELE_NOT_FOUND && more && d->order != NULL; max *= 8) {
        struct stele_alloc *alloc = d->store->alloc;
        uint64_t *places = stele_allocate(alloc, max * sizeof *places);
        if (places == NULL) {
            return stele_fail(d->err, STELE_E_NO_MEMORY, 0, "append: no memory to look for an id");
        }
        outcome = find_id_within(d, stream, places, max, out_revision, &more);
        stele_release(alloc, places, max * sizeof *places);
    }
    return outcome;
}

/* Was this stream's part appended before? STELE_OK, STELE_NOT_FOUND, STELE_E_ID_CONFLICT, … */
static int find_earlier(const struct decision *d, const struct stele_prepared_stream *stream,
                        struct earlier *earlier)
{
    if (stream->expected == STELE_EXPECT_ANY || stream->expected == STELE_EXPECT_EXISTS) {
        uint64_t revision = 0;
        int outcome = find_id(d, stream, &revision);
        if (outcome != STELE_OK) {
            return outcome;
        }
        outcome = compare_ids(d, stream, revision, earlier);
        if (outcome == STELE_NOT_FOUND) {
            return stele_fail(d->err, STELE_E_ID_CONFLICT, 0,
                              "stream %.*s: the id of the first event stands at revision %llu, but "
                              "the events after it are others; give new events new ids",
                              (int)stream->key.name.size, (const char *)stream->key.name.data,
                              (unsigned long long)revision);
        }
        return outcome;
    }
    if (stream->expected != STELE_EXPECT_NO_STREAM) {
        return compare_ids(d, stream, stream->expected + 1, earlier);
    }
    /* The very first append; or that of a stream that was deleted and began again: its first append
     * came after the cut. */
    const int outcome = compare_ids(d, stream, 0, earlier);
    if (outcome != STELE_NOT_FOUND) {
        return outcome;
    }
    struct stele_stream_limits limits;
    const int found = stele_store__limits(d->store, stream->key.name, true, &limits, d->err);
    return found == STELE_OK && limits.truncate_before > 0
               ? compare_ids(d, stream, limits.truncate_before, earlier)
               : (found == STELE_OK ? STELE_NOT_FOUND : found);
}

/* All streams with events were appended before: fills the result. */
static int find_earlier_append(const struct decision *d, struct earlier *out)
{
    *out = (struct earlier){.all = false, .position_first = UINT64_MAX};
    bool first = true;
    for (size_t i = 0; i < d->prepared->streams_count; i++) {
        const struct stele_prepared_stream *stream = &d->prepared->streams[i];
        if (stream->records_count == 0) {
            continue;
        }
        struct earlier one = {.all = false};
        const int outcome = find_earlier(d, stream, &one);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (first) {
            out->revision_first = one.revision_first;
            out->revision_last = one.revision_last;
            first = false;
        }
        out->position_first =
            one.position_first < out->position_first ? one.position_first : out->position_first;
        out->position_last =
            one.position_last > out->position_last ? one.position_last : out->position_last;
        out->place_last = one.place_last > out->place_last ? one.place_last : out->place_last;
    }
    STELE_ASSERT(!first);
    out->all = true;
    return STELE_OK;
}

static int fail_expected(const struct decision *d, size_t failed, int outcome)
{
    const struct stele_prepared_stream *stream = &d->prepared->streams[failed];
    d->result->failed = failed;
    d->result->revision_last = last_of(stream);
    if (outcome == STELE_STREAM_DELETED) {
        return stele_fail(d->err, outcome, 0, "stream %.*s was tombstoned: it is closed for ever",
                          (int)stream->key.name.size, (const char *)stream->key.name.data);
    }
    if (stream->next == 0) {
        return stele_fail(d->err, outcome, 0, "stream %.*s does not exist, other than expected",
                          (int)stream->key.name.size, (const char *)stream->key.name.data);
    }
    return stele_fail(d->err, outcome, 0, "stream %.*s is at revision %llu, other than expected",
                      (int)stream->key.name.size, (const char *)stream->key.name.data,
                      (unsigned long long)last_of(stream));
}

/* ---- Staging ---- */

/* Partitions of the request in order of their first stream; each becomes one frame. */
static size_t count_frames(const struct stele_prepared *prepared)
{
    size_t frames = 0;
    for (size_t i = 0; i < prepared->streams_count; i++) {
        const struct stele_prepared_stream *stream = &prepared->streams[i];
        bool first = stream->records_count > 0;
        for (size_t k = 0; k < i && first; k++) {
            first = prepared->streams[k].records_count == 0 ||
                    prepared->streams[k].partition != stream->partition;
        }
        frames += first ? 1 : 0;
    }
    return frames;
}

static int load_entries(const struct decision *d)
{
    struct stele_store *store = d->store;
    struct stele_prepared *prepared = d->prepared;
    int outcome = stele_index_reserve(store->index, prepared->records_count,
                                      3 * prepared->records_count + prepared->tags_count);
    for (size_t i = 0; i < prepared->streams_count && outcome == STELE_OK; i++) {
        struct stele_prepared_stream *stream = &prepared->streams[i];
        if (stream->records_count == 0) {
            continue;
        }
        outcome = stele_index_entry(store->index, &stream->key, &stream->entry, d->err);
        if (outcome == STELE_OK) {
            STELE_ASSERT(stream->entry->next == stream->next);
            outcome =
                stele_index_entry(store->index, &stream->category, &stream->category_entry, d->err);
        }
    }
    const struct stele_prepared_record *before = NULL;
    for (size_t i = 0; i < prepared->records_count && outcome == STELE_OK; i++) {
        struct stele_prepared_record *record = &prepared->records[i];
        if (before != NULL && before->type.name.data == record->type.name.data) {
            record->type_entry = before->type_entry; /* The same type as the event before. */
        } else {
            outcome = stele_index_entry(store->index, &record->type, &record->type_entry, d->err);
        }
        before = record;
    }
    for (size_t i = 0; i < prepared->tags_count && outcome == STELE_OK; i++) {
        outcome =
            stele_index_entry(store->index, &prepared->tags[i], &prepared->tag_entries[i], d->err);
    }
    if (outcome == STELE_E_CORRUPT) {
        return STELE_INCOMPLETE; /* A run is damaged, and a hole by now: ask again once it is filled. */
    }
    return outcome;
}

/* Where staging stands: bytes of the log, and the next tick. */
struct staging {
    uint8_t *bytes;
    uint64_t place;
    uint64_t tick;
    uint64_t position_last;
};

static uint32_t put_stream(const struct decision *d, struct stele_prepared_stream *stream,
                           struct staging *at, uint32_t payload_checksum)
{
    struct stele_prepared *prepared = d->prepared;
    for (size_t i = 0; i < stream->records_count; i++) {
        struct stele_prepared_record *record = &prepared->records[stream->records_first + i];
        const uint64_t revision = stream->entry->next;
        STELE_ASSERT(revision == stream->next + i);
        at->position_last = stele_position_make(at->tick, stream->partition);
        if (stream->records_first + i == 0) {
            d->result->position_first = at->position_last;
        }
        record->position = at->position_last;
        memcpy(at->bytes, prepared->bytes.data + record->offset, record->size);
        const uint32_t checksum =
            stele_record_seal(at->bytes, record->body_checksum, at->position_last, revision);
        payload_checksum = stele_frame_extend(payload_checksum, checksum);
        stele_index_add(d->store->index, at->place, record->id_hash, stream->entry,
                        stream->category_entry, record->type_entry,
                        record->tags_count == 0 ? NULL : prepared->tag_entries + record->tags_first,
                        record->tags_count);
        at->bytes += record->size;
        at->place += record->size;
        at->tick++;
    }
    if (stream->tombstone) {
        stele_index_mark(stream->entry, STELE_INDEX_TOMBSTONED);
    }
    return payload_checksum;
}

/* One frame: the streams of one partition from `first` on. */
static void put_frame(const struct decision *d, size_t first, uint16_t group_index,
                      uint16_t group_count, struct staging *at)
{
    struct stele_prepared *prepared = d->prepared;
    struct stele_frame frame = {
        .kind = STELE_FRAME_EVENTS,
        .partition = (uint16_t)prepared->streams[first].partition,
        .group_index = group_index,
        .group_count = group_count,
        .term = d->order == NULL ? 0 : d->order->stamp,
    };
    uint8_t *header = at->bytes;
    const uint64_t begin = at->place + STELE_FRAME_HEADER_SIZE;
    at->bytes += STELE_FRAME_HEADER_SIZE;
    at->place = begin;
    for (size_t i = first; i < prepared->streams_count; i++) {
        struct stele_prepared_stream *stream = &prepared->streams[i];
        if (stream->partition == frame.partition && stream->records_count > 0) {
            frame.payload_checksum = put_stream(d, stream, at, frame.payload_checksum);
            frame.count += (uint32_t)stream->records_count;
        }
    }
    frame.size = (uint32_t)(at->place - begin);
    stele_log_put_frame(d->store->log, header, &frame);
}

static bool is_first_of_partition(const struct stele_prepared *prepared, size_t stream)
{
    for (size_t k = 0; k < stream; k++) {
        if (prepared->streams[k].records_count > 0 &&
            prepared->streams[k].partition == prepared->streams[stream].partition) {
            return false;
        }
    }
    return prepared->streams[stream].records_count > 0;
}

/* The same on every node, and the same again when the log had no room: nothing is taken. */
static int order_ticks(const struct decision *d, uint64_t count, uint64_t *out_tick)
{
    const uint64_t last = stele_position_tick(stele_log_position(d->store->log));
    const uint64_t stamp = stele_position_tick(d->order->stamp);
    const uint64_t first = stamp > last ? stamp : last + 1;
    if (first > STELE_TICK_MAX || count - 1 > STELE_TICK_MAX - first) {
        return STELE_E_LIMIT;
    }
    *out_tick = first;
    return STELE_OK;
}

static int take_ticks(struct stele_store *store, int64_t now_us, uint64_t count, uint64_t *out_tick)
{
#if defined(STELE_WITHOUT_ORDER)
    (void)now_us;
    *out_tick = store->clock.tick + 1;
    store->clock.tick += count;
    return STELE_OK;
#else
    return stele_hlc_take(&store->clock, now_us / 1000, count, out_tick);
#endif
}

static int stage(const struct decision *d, int64_t now_us, struct stele_ticket *out_ticket)
{
    struct stele_store *store = d->store;
    struct stele_prepared *prepared = d->prepared;
    int outcome = load_entries(d);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const size_t frames = count_frames(prepared);
    STELE_ASSERT(frames > 0);
    STELE_ASSERT(frames <= STELE_APPEND_STREAMS_MAX);
    const uint64_t size = prepared->bytes.size + frames * STELE_FRAME_HEADER_SIZE;
    /* The clock goes first: ticks that are not used are no loss, reserved room would be. */
    struct staging at = {.tick = 0};
    outcome = d->order != NULL ? order_ticks(d, prepared->records_count, &at.tick)
                               : take_ticks(store, now_us, prepared->records_count, &at.tick);
    if (outcome == STELE_OK) {
        outcome = stele_log_reserve(store->log, size, &at.bytes, &at.place);
    }
    if (outcome == STELE_INCOMPLETE) {
        out_ticket->roll_size = size;
        return STELE_STORE_ROLL;
    }
    if (outcome != STELE_OK) {
        return stele_fail(d->err, outcome, 0, "append: the log cannot take %llu bytes",
                          (unsigned long long)size);
    }
    const uint64_t end = at.place + size;
    uint16_t group_index = 0;
    for (size_t i = 0; i < prepared->streams_count; i++) {
        if (is_first_of_partition(prepared, i)) {
            put_frame(d, i, group_index++, (uint16_t)frames, &at);
        }
    }
    STELE_ASSERT(group_index == frames);
    STELE_ASSERT(at.place == end);
    stele_log_commit(store->log, at.position_last, prepared->records_count);
    if (store->clock.tick < stele_position_tick(at.position_last)) {
        store->clock.tick = stele_position_tick(at.position_last);
    }
    stele_store__watch_note(store, prepared, at.position_last);
    out_ticket->place = end;
    d->result->position_last = at.position_last;
    return STELE_OK;
}

static void fill_result(const struct decision *d, uint64_t *revisions_last)
{
    bool first = true;
    for (size_t i = 0; i < d->prepared->streams_count; i++) {
        const struct stele_prepared_stream *stream = &d->prepared->streams[i];
        const uint64_t next = stream->next + stream->records_count;
        if (revisions_last != NULL) {
            revisions_last[i] = next == 0 ? NO_REVISION : next - 1;
        }
        if (first && stream->records_count > 0) {
            d->result->revision_first = stream->next;
            d->result->revision_last = next - 1;
            first = false;
        }
    }
    stele_store__token(d->result->position_last, d->result->token);
}

/* The first append's result, for the same append again. */
static void fill_earlier(const struct decision *d, const struct earlier *earlier,
                         struct stele_ticket *out_ticket, uint64_t *revisions_last)
{
    *d->result = (struct stele_append_result){
        .position_first = earlier->position_first,
        .position_last = earlier->position_last,
        .revision_first = earlier->revision_first,
        .revision_last = earlier->revision_last,
        .idempotent = 1,
    };
    for (size_t i = 0; revisions_last != NULL && i < d->prepared->streams_count; i++) {
        revisions_last[i] = last_of(&d->prepared->streams[i]);
    }
    stele_store__token(earlier->position_last, d->result->token);
    /* It may be staged and not durable yet: then both wait. */
    out_ticket->place = earlier->place_last + STELE_RECORD_ALIGN;
}

static int decide(const struct decision *d, bool *out_ask_ids, size_t *out_failed)
{
    int first_failure = STELE_OK;
    *out_ask_ids = false;
    for (size_t i = 0; i < d->prepared->streams_count; i++) {
        struct stele_prepared_stream *stream = &d->prepared->streams[i];
        int outcome = load_stream(d, stream);
        if (outcome == STELE_OK) {
            outcome = check_expected(d, stream);
        }
        if (outcome < 0 || outcome == STELE_INCOMPLETE) {
            return outcome;
        }
        if (outcome != STELE_OK && first_failure == STELE_OK) {
            first_failure = outcome;
            *out_failed = i;
        }
        /* With an exact expectation that holds the events are new; otherwise they may be old. */
        const bool loose =
            stream->expected == STELE_EXPECT_ANY || stream->expected == STELE_EXPECT_EXISTS;
        *out_ask_ids = *out_ask_ids || (loose && stream->records_count > 0);
    }
    return first_failure;
}

static int check_conditions(const struct decision *d)
{
    const int outcome =
        stele_store__check_conditions(d->store, d->prepared, seen_by(d), &d->result->failed,
                                      &d->result->conflict_position, d->err);
    return outcome != STELE_CONDITION_FAILED
               ? outcome
               : stele_fail(d->err, outcome, 0,
                            "condition %zu: the event at position %llu matches it",
                            d->result->failed, (unsigned long long)d->result->conflict_position);
}

static int append(const struct decision *d, int64_t now_us, struct stele_ticket *out_ticket,
                  uint64_t *revisions_last)
{
    bool ask_ids = false;
    size_t failed = 0;
    int outcome = decide(d, &ask_ids, &failed);
    if (outcome < 0 || outcome == STELE_INCOMPLETE) {
        return outcome;
    }
    const bool looks = outcome != STELE_OK || ask_ids || d->prepared->conditions_count > 0;
    if (looks && d->order != NULL) {
        const int stale = stele_store__check_seen(d->store, d->order, d->err);
        if (stale != STELE_OK) {
            return stale;
        }
    }
    if (outcome == STELE_WRONG_REVISION || outcome == STELE_STREAM_DELETED || ask_ids) {
        struct earlier earlier;
        const int found = find_earlier_append(d, &earlier);
        if (found == STELE_OK) {
            fill_earlier(d, &earlier, out_ticket, revisions_last);
            return STELE_OK;
        }
        /* Whether it was stored before cannot be told: then neither can a refusal. Ids that were
         * used for something else leave the refusal as it is. */
        if (found == STELE_INCOMPLETE ||
            (found < 0 && (outcome == STELE_OK || found != STELE_E_ID_CONFLICT))) {
            return found;
        }
    }
    if (outcome != STELE_OK) {
        return fail_expected(d, failed, outcome);
    }
    outcome = check_conditions(d);
    if (outcome == STELE_OK) {
        outcome = stage(d, now_us, out_ticket);
    }
    if (outcome == STELE_OK) {
        fill_result(d, revisions_last);
    }
    return outcome;
}

/* Was it appended before, or can it never be? STELE_NOT_FOUND: neither is known. */
static int look(const struct decision *d, struct stele_ticket *out_ticket, uint64_t *revisions_last)
{
    bool ask_ids = false;
    size_t failed = 0;
    int outcome = decide(d, &ask_ids, &failed);
    if (outcome < 0 || outcome == STELE_INCOMPLETE) {
        return outcome;
    }
    if (outcome != STELE_OK || ask_ids) {
        struct earlier earlier;
        const int found = find_earlier_append(d, &earlier);
        if (found == STELE_OK) {
            fill_earlier(d, &earlier, out_ticket, revisions_last);
            return STELE_OK;
        }
        /* A stream that is not at the revision now may be when the command's turn comes. */
        if (found != STELE_NOT_FOUND && (found != STELE_E_ID_CONFLICT || outcome == STELE_OK)) {
            return found;
        }
    }
    outcome = check_conditions(d);
    return outcome == STELE_OK ? STELE_NOT_FOUND : outcome;
}

int stele_store__check_writable(const struct stele_store *store, struct stele_error *err)
{
    if (store->read_only) {
        return stele_fail(err, STELE_E_READ_ONLY, 0, "the store was opened for reading only");
    }
    if (stele_log_is_fenced(store->log)) {
        return stele_fail(err, STELE_E_FENCED, 0,
                          "an earlier write to the log failed; close and open the store again");
    }
    return stele_store_check_index(store, err);
}

/* Whatever forbids any append. */
static int check_door(const struct stele_store *store, const struct stele_prepared *prepared,
                      struct stele_error *err)
{
    STELE_ASSERT(prepared->store == store);
    STELE_ASSERT(prepared->records_count > 0);
    return stele_store__check_writable(store, err);
}

static int finish(const struct stele_store *store, int outcome, struct stele_ticket *out_ticket)
{
    if (outcome == STELE_INCOMPLETE) {
        return STELE_STORE_INDEX;
    }
    if (outcome != STELE_OK && outcome != STELE_STORE_ROLL) {
        out_ticket->place = stele_log_end(store->log);
    }
    return outcome;
}

int stele_store_append(struct stele_store *store, struct stele_prepared *prepared, int64_t now_us,
                       struct stele_ticket *out_ticket, uint64_t *revisions_last,
                       struct stele_append_result *out_result, struct stele_error *err)
{
    int outcome = check_door(store, prepared, err);
    if (outcome == STELE_OK && store->superblock.ordered) {
        outcome = stele_fail(err, STELE_E_READ_ONLY, 0,
                             "the store belongs to a node of a cluster: append through the nodes, "
                             "at the address of any of them");
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    *out_result = (struct stele_append_result){.failed = 0};
    const struct decision d = {
        .store = store, .prepared = prepared, .result = out_result, .err = err};
    outcome =
        store->index_ready ? append(&d, now_us, out_ticket, revisions_last) : STELE_INCOMPLETE;
    return finish(store, outcome, out_ticket);
}

int stele_store_append_at(struct stele_store *store, struct stele_prepared *prepared,
                          const struct stele_order *order, struct stele_ticket *out_ticket,
                          uint64_t *revisions_last, struct stele_append_result *out_result,
                          struct stele_error *err)
{
    STELE_ASSERT(store->superblock.ordered);
    STELE_ASSERT(prepared->ordered);
    STELE_ASSERT(order->stamp > stele_log_stamp(store->log));
    int outcome = check_door(store, prepared, err);
    if (outcome == STELE_OK) {
        outcome = stele_store__check_order(store, err);
    }
    if (outcome != STELE_OK) {
        out_ticket->place = stele_log_end(store->log);
        return outcome;
    }
    *out_result = (struct stele_append_result){.failed = 0};
    const struct decision d = {
        .store = store, .prepared = prepared, .order = order, .result = out_result, .err = err};
    outcome = store->index_ready ? append(&d, 0, out_ticket, revisions_last) : STELE_INCOMPLETE;
    return finish(store, outcome, out_ticket);
}

int stele_store_look_back(struct stele_store *store, struct stele_prepared *prepared,
                          uint64_t *out_seen, struct stele_ticket *out_ticket,
                          uint64_t *revisions_last, struct stele_append_result *out_result,
                          struct stele_error *err)
{
    int outcome = check_door(store, prepared, err);
    if (outcome == STELE_OK) {
        outcome = stele_store__check_order(store, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    *out_result = (struct stele_append_result){.failed = 0};
    const struct stele_order everything = {.stamp = 0, .seen = 0};
    const struct decision d = {.store = store,
                               .prepared = prepared,
                               .order = &everything,
                               .result = out_result,
                               .err = err};
    outcome = store->index_ready ? look(&d, out_ticket, revisions_last) : STELE_INCOMPLETE;
    if (outcome == STELE_NOT_FOUND) {
        *out_seen = stele_log_position(store->log);
    }
    return finish(store, outcome, out_ticket);
}
