/* Decides an append and stages it.
 *
 * The order matters. Nothing of the store changes before the last step that can fail: first every
 * check, then the room (index, log), then the clock, then the bytes. So an outcome other than
 * STELE_OK has left nothing behind (S5). */
#include "store/store_internal.h"

#define NO_REVISION STELE_EXPECT_NO_STREAM
/* One id may stand in so many streams (in memory, and again in the runs) before an append with a
 * loose expectation can fail to find its own. */
#define SAME_ID_MAX 256

struct decision {
    struct stele_store *store;
    struct stele_prepared *prepared;
    struct stele_append_result *result;
    struct stele_error *err;
};

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

/* The revision at which the id of the request's first event stands in the stream, if it does. */
static int find_id(const struct decision *d, const struct stele_prepared_stream *stream,
                   uint64_t *out_revision)
{
    STELE_UNINITIALIZED uint64_t places[2 * SAME_ID_MAX];
    const uint8_t *id = id_of(d->prepared, stream->records_first);
    const uint64_t hash = d->prepared->records[stream->records_first].id_hash;
    size_t count = stele_index_mem_ids(d->store->index, hash, places, SAME_ID_MAX);
    const char *damaged = NULL;
    size_t older = 0;
    struct stele_index_view *view = stele_index_view_acquire(d->store->index);
    int outcome = stele_index_view_ids(view, hash, places + count, SAME_ID_MAX, &older, &damaged);
    if (outcome == STELE_E_CORRUPT) {
        outcome = stele_store__run_damaged(d->store, damaged);
    }
    stele_index_view_release(view);
    if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
        return outcome;
    }
    count += outcome == STELE_OK ? older : 0;
    for (size_t i = 0; i < count; i++) {
        struct stele_event event;
        outcome = stele_store__event(d->store, places[i], &event, d->err);
        if (outcome == STELE_NOT_FOUND) {
            continue;
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (memcmp(event.id, id, 16) == 0 &&
            stele_bytes_equal(stele_store__bytes(event.stream), stream->key.name)) {
            *out_revision = event.revision;
            return STELE_OK;
        }
    }
    return STELE_NOT_FOUND;
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
        const struct stele_prepared_record *record = &prepared->records[stream->records_first + i];
        const uint64_t revision = stream->entry->next;
        STELE_ASSERT(revision == stream->next + i);
        at->position_last = stele_position_make(at->tick, stream->partition);
        if (stream->records_first + i == 0) {
            d->result->position_first = at->position_last;
        }
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
    outcome = take_ticks(store, now_us, prepared->records_count, &at.tick);
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

static int append(const struct decision *d, int64_t now_us, struct stele_ticket *out_ticket,
                  uint64_t *revisions_last)
{
    bool ask_ids = false;
    size_t failed = 0;
    int outcome = decide(d, &ask_ids, &failed);
    if (outcome < 0 || outcome == STELE_INCOMPLETE) {
        return outcome;
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
    outcome = stele_store__check_conditions(d->store, d->prepared, &d->result->failed,
                                            &d->result->conflict_position, d->err);
    if (outcome == STELE_CONDITION_FAILED) {
        return stele_fail(d->err, outcome, 0,
                          "condition %zu: the event at position %llu matches it", d->result->failed,
                          (unsigned long long)d->result->conflict_position);
    }
    if (outcome == STELE_OK) {
        outcome = stage(d, now_us, out_ticket);
    }
    if (outcome == STELE_OK) {
        fill_result(d, revisions_last);
    }
    return outcome;
}

int stele_store_append(struct stele_store *store, struct stele_prepared *prepared, int64_t now_us,
                       struct stele_ticket *out_ticket, uint64_t *revisions_last,
                       struct stele_append_result *out_result, struct stele_error *err)
{
    STELE_ASSERT(prepared->store == store);
    STELE_ASSERT(prepared->records_count > 0);
    if (store->read_only) {
        return stele_fail(err, STELE_E_READ_ONLY, 0, "the store was opened for reading only");
    }
    if (stele_log_is_fenced(store->log)) {
        return stele_fail(err, STELE_E_FENCED, 0,
                          "an earlier write to the log failed; close and open the store again");
    }
    const int unsure = stele_store_check_index(store, err);
    if (unsure != STELE_OK) {
        return unsure;
    }
    *out_result = (struct stele_append_result){.failed = 0};
    const struct decision d = {
        .store = store, .prepared = prepared, .result = out_result, .err = err};
    const int outcome =
        store->index_ready ? append(&d, now_us, out_ticket, revisions_last) : STELE_INCOMPLETE;
    if (outcome == STELE_INCOMPLETE) {
        return STELE_STORE_INDEX;
    }
    if (outcome != STELE_OK && outcome != STELE_STORE_ROLL) {
        out_ticket->place = stele_log_end(store->log);
    }
    return outcome;
}
