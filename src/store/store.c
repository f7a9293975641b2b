/* Opening, closing, facts. */
#include "store/store_internal.h"

/* A tail that is longer is not read at opening, whatever index_memory is. */
#define TAIL_SIZE_MAX ((uint64_t)160 * 1024 * 1024)

static int on_log_event(void *context, const struct stele_frame *frame, uint64_t place,
                        const struct stele_event *event)
{
    (void)frame;
    struct stele_store *store = context;
    if (!store->index_ready || place < stele_index_runs_end(store->index)) {
        return STELE_OK;
    }
    const int outcome = stele_store__index_event(store, place, event, NULL);
    store->index_ready = outcome != STELE_INCOMPLETE;
    return outcome == STELE_INCOMPLETE ? STELE_OK : outcome;
}

static int refuse_empty(struct stele_error *err)
{
    return stele_fail(err, STELE_E_NOT_A_STORE, 0,
                      "the directory holds no store; create one with a write");
}

static int create(struct stele_store *store, struct stele_error *err)
{
    struct stele_io *io = store->io;
    const struct stele_options *options = &store->options.public;
    if (store->read_only || options->create == 0) {
        return refuse_empty(err);
    }
    struct stele_superblock *superblock = &store->superblock;
    *superblock = (struct stele_superblock){
        .partitions = options->partitions,
        .partition_key = options->partition_key,
        .created_us = io->ops->now_us(io),
        .ordered = store->options.ordered,
    };
    io->ops->random(io, superblock->store_id, sizeof superblock->store_id);
    io->ops->random(io, &superblock->secret, sizeof superblock->secret);
    io->ops->random(io, &superblock->seed, sizeof superblock->seed);
    superblock->store_id[6] = (uint8_t)((superblock->store_id[6] & 0x0f) | 0x40);
    superblock->store_id[8] = (uint8_t)((superblock->store_id[8] & 0x3f) | 0x80);
    return stele_store__superblock_write(io, superblock, err);
}

static int open_index(struct stele_store *store, uint64_t log_start, uint64_t log_end,
                      struct stele_error *err)
{
    struct stele_index_options options = {.seed = store->superblock.seed,
                                          .read_only = store->read_only};
    memcpy(options.store_id, store->superblock.store_id, sizeof options.store_id);
    return stele_index_open(store->io, &options, log_start, log_end, &store->index, err);
}

static int open_log(struct stele_store *store, struct stele_error *err)
{
    const struct stele_options *public = &store->options.public;
    struct stele_log_options options = {
        .secret = store->superblock.secret,
        .partitions = store->superblock.partitions,
        .segment_size_first = public->segment_size_max < STELE_SEGMENT_SIZE_FIRST
                                  ? public->segment_size_max
                                  : STELE_SEGMENT_SIZE_FIRST,
        .segment_size_max = public->segment_size_max,
        .read_only = store->read_only,
        .syncs_later = store->options.syncs_later,
    };
    memcpy(options.store_id, store->superblock.store_id, sizeof options.store_id);
    return stele_log_open(store->io, &options, stele_index_runs_end(store->index), store->live_end,
                          on_log_event, store, &store->log, err);
}

bool stele_store__has_holes(struct stele_store *store)
{
    struct stele_index_view *view = stele_index_view_acquire(store->index);
    const bool holes = stele_index_view_has_holes(view);
    stele_index_view_release(view);
    return holes;
}

/* Adds what lies between the runs' end and the log's last segment, which opening the log does not
 * read: an index that was lost, or a flush that did not finish before the segment was full. */
int stele_store__load_tail(struct stele_store *store, uint64_t from, uint64_t to,
                           struct stele_error *err)
{
    struct stele_log_reader reader;
    stele_log_reader_init(&reader, stele_log_view_acquire(store->log), store->alloc, to);
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, from);
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        STELE_UNINITIALIZED struct stele_event events[64];
        STELE_UNINITIALIZED uint64_t places[64];
        size_t count = 0;
        outcome = stele_log_scan(&reader, &cursor, events, places, 64, &count);
        if (outcome == STELE_E_CORRUPT) {
            stele_store__note_damage(store, &reader.damage);
            store->gaps = true;
            if (!store->read_only) {
                (void)stele_store__fail_damage(err, &reader.damage);
                break; /* The revisions that it held are unknown: nothing may be appended. */
            }
            outcome = STELE_OK;
            continue;
        }
        for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
            if (places[i] >= store->tail_at) {
                outcome = stele_store__index_event(store, places[i], &events[i], err);
            }
        }
    }
    /* A part of the tail must never become a run: it would look like all of it. */
    store->index_ready = outcome == STELE_END;
    if (outcome == STELE_INCOMPLETE) {
        outcome = STELE_OK;
    }
    struct stele_log_view *view = reader.view;
    stele_log_reader_deinit(&reader);
    stele_log_view_release(view);
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* The index first, because the log tells only of events that no run has. Runs that reach further
 * than the log are stale (a log restored from a backup): then both are opened once more. */
static int open_both(struct stele_store *store, struct stele_error *err)
{
    int outcome = open_index(store, 0, UINT64_MAX, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const uint64_t runs_end = stele_index_runs_end(store->index);
    if (store->live_end != UINT64_MAX && runs_end > store->live_end) {
        store->live_end = runs_end; /* Only what is durable is ever in a run. */
    }
    store->index_ready = false;
    outcome = open_log(store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const uint64_t end = stele_log_end(store->log);
    if (store->live_end != UINT64_MAX && end > store->live_end) {
        store->live_end = end; /* The writer has sealed that segment since. */
    }
    if (runs_end > end) {
        stele_index_close(store->index);
        store->index = NULL;
        outcome = open_index(store, stele_log_start(store->log), end, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    /* A tail that is too long for memory is made into runs in the background. */
    const uint64_t tail = end - stele_index_runs_end(store->index);
    if (!store->read_only && tail / 2 > store->options.public.index_memory &&
        tail > TAIL_SIZE_MAX) {
        stele_index_add_hole(store->index, end);
    }
    if (stele_store__has_holes(store)) {
        return STELE_OK; /* The tail is added when they are filled. */
    }
    store->index_ready = true;
    return stele_store__load_tail(store, stele_index_runs_end(store->index), end, err);
}

static int check_options(const struct stele_options *options, struct stele_error *err)
{
    if (options->partitions < 1 || options->partitions > STELE_PARTITIONS_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "partitions is %u; 1 to %u are allowed",
                          options->partitions, STELE_PARTITIONS_MAX);
    }
    if (options->partition_key > STELE_KEY_CATEGORY) {
        return stele_fail(err, STELE_E_INVALID, 0, "partition_key %u is none",
                          options->partition_key);
    }
    if (options->segment_size_max < STELE_SEGMENT_SIZE_MIN ||
        options->segment_size_max > STELE_SEGMENT_SIZE_MAX) {
        return stele_fail(
            err, STELE_E_INVALID, 0, "segment_size_max is %llu; %llu to %llu are allowed",
            (unsigned long long)options->segment_size_max,
            (unsigned long long)STELE_SEGMENT_SIZE_MIN, (unsigned long long)STELE_SEGMENT_SIZE_MAX);
    }
    if (options->event_size_max < 1 || options->event_size_max > STELE_EVENT_SIZE_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "event_size_max is %u; 1 to %u are allowed",
                          options->event_size_max, STELE_EVENT_SIZE_MAX);
    }
    if (options->index_memory < 4096) {
        return stele_fail(err, STELE_E_INVALID, 0, "index_memory is %llu; 4096 is the least",
                          (unsigned long long)options->index_memory);
    }
    return STELE_OK;
}

static int open_store(struct stele_store *store, struct stele_error *err)
{
    int outcome = check_options(&store->options.public, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = stele_store__superblock_read(store->io, &store->superblock, err);
    if (outcome == STELE_NOT_FOUND) {
        outcome = create(store, err);
    }
    if (outcome == STELE_OK) {
        outcome = open_both(store, err);
    }
    if (outcome == STELE_OK && store->options.ordered && !store->superblock.ordered) {
        /* Last, when nothing else can refuse: the store is the cluster's from here on. */
        store->superblock.ordered = true;
        outcome = stele_store__superblock_write(store->io, &store->superblock, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_store__load_copying(store, err);
    }
    if (outcome == STELE_OK) {
        store->clock.tick = stele_position_tick(stele_log_position(store->log));
        store->reader_stale = false;
        stele_log_reader_init(&store->reader, stele_log_view_acquire(store->log), store->alloc,
                              stele_log_durable(store->log));
        store->mark_place = 0;
        store->scrub_chain.place = stele_log_start(store->log);
    }
    return outcome;
}

int stele_store_look(struct stele_io *io, const struct stele_store_options *options,
                     bool *out_creates, struct stele_error *err)
{
    struct stele_superblock superblock;
    int outcome = check_options(&options->public, err);
    if (outcome == STELE_OK) {
        outcome = stele_store__superblock_read(io, &superblock, err);
    }
    if (outcome == STELE_NOT_FOUND) {
        const bool may_create = options->public.create != 0 && !options->read_only;
        if (!may_create) {
            return refuse_empty(err);
        }
        *out_creates = true;
        return STELE_OK;
    }
    if (outcome == STELE_OK) {
        *out_creates = false;
    }
    return outcome;
}

int stele_store_open(struct stele_io *io, const struct stele_store_options *options,
                     struct stele_store **out_store, struct stele_error *err)
{
    struct stele_store *store = stele_allocate_zeroed(io->alloc, sizeof *store);
    if (store == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "open: no memory");
    }
    store->io = io;
    store->alloc = io->alloc;
    store->options = *options;
    store->read_only = options->read_only;
    store->live_end = options->live_end;
    const int outcome = open_store(store, err);
    if (outcome != STELE_OK) {
        stele_store_close(store);
        return outcome;
    }
    *out_store = store;
    return STELE_OK;
}

void stele_store_close(struct stele_store *store)
{
    if (store == NULL) {
        return;
    }
    if (store->reader.view != NULL) {
        struct stele_log_view *view = store->reader.view;
        stele_log_reader_deinit(&store->reader);
        stele_log_view_release(view);
    }
    stele_store__scavenge_destroy(store);
    stele_store__watch_destroy(store);
    if (store->flush != NULL) {
        const int forgotten = stele_index_job_end(store->index, store->flush, STELE_E_CLOSED, NULL);
        (void)forgotten; /* What it answers is why it is given up. */
    }
    stele_index_close(store->index);
    stele_log_close(store->log);
    stele_release(store->alloc, store, sizeof *store);
}

/* ---- Following a writer ---- */

int stele_store_follow(struct stele_store *store, uint64_t live_end, struct stele_error *err)
{
    STELE_ASSERT(store->read_only);
    const uint64_t from = stele_log_end(store->log);
    if (live_end <= from) {
        return STELE_OK;
    }
    /* The log tells of its new events itself; none of them is in the memtable yet. */
    int outcome = stele_log_follow(store->log, live_end, on_log_event, store, err);
    store->live_end = stele_log_end(store->log);
    store->reader_stale = true;
    if (outcome == STELE_OK) {
        outcome = stele_index_refresh(store->index, stele_log_end(store->log), err);
    }
    return outcome;
}

/* ---- Group commit ---- */

bool stele_store_take(struct stele_store *store, struct stele_log_group *out_group)
{
    return stele_log_take(store->log, out_group);
}

void stele_store_done(struct stele_store *store, uint64_t group_id, int outcome)
{
    stele_log_done(store->log, group_id, outcome);
}

int stele_store_roll(struct stele_store *store, uint64_t size, struct stele_error *err)
{
    const int outcome = stele_log_roll(store->log, size, err);
    store->reader_stale = store->reader_stale || outcome == STELE_OK;
    return outcome;
}

bool stele_store_syncs_later(const struct stele_store *store)
{
    return store->options.syncs_later;
}

bool stele_store_sync_begin(struct stele_store *store, struct stele_log_sync *out_sync)
{
    return stele_log_sync_begin(store->log, out_sync);
}

void stele_store_sync_end(struct stele_store *store, const struct stele_log_sync *sync, int outcome)
{
    stele_log_sync_end(store->log, sync, outcome);
}

uint64_t stele_store_durable(const struct stele_store *store)
{
    return stele_log_durable(store->log);
}

bool stele_store_is_fenced(const struct stele_store *store)
{
    return stele_log_is_fenced(store->log);
}

bool stele_store_has_staged(const struct stele_store *store)
{
    return stele_log_has_staged(store->log);
}

uint64_t stele_store_staged_size(const struct stele_store *store)
{
    return stele_log_staged_size(store->log);
}

uint32_t stele_store_in_flight(const struct stele_store *store)
{
    return stele_log_in_flight(store->log);
}

uint64_t stele_store_position(const struct stele_store *store)
{
    return stele_log_position_durable(store->log);
}

uint64_t stele_store_position_staged(const struct stele_store *store)
{
    return stele_log_position(store->log);
}

uint64_t stele_store_end(const struct stele_store *store)
{
    return stele_log_end(store->log);
}

/* ---- Facts ---- */

int stele_store_check_index(const struct stele_store *store, struct stele_error *err)
{
    return store->index_unsure
               ? stele_fail(err, STELE_E_CORRUPT, 0,
                            "the log is damaged where the index has to be rebuilt from it, so the "
                            "revisions of some streams are unknown; run `stele verify`")
               : STELE_OK;
}

/* The newest durable event of a stream, through a read: so a hole in the index is worked around.
 * It is borrowed until the read ends, which *out_read is for also after a failure (or NULL). */
static int newest_by_read(struct stele_store *store, const char *stream, int64_t now_us,
                          struct stele_read **out_read, const struct stele_event **out_event,
                          struct stele_error *err)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = STELE_FROM_END;
    options.backwards = 1;
    options.limit = 1;
    options.ignore_limits = 1;
    int outcome = stele_read_begin(store, stream, &options, false, now_us, out_read, err);
    size_t count = 0;
    while (outcome == STELE_OK && count == 0) {
        outcome = stele_read_next(*out_read, out_event, &count, err);
        if (outcome == STELE_INCOMPLETE) {
            outcome = stele_read_refill(store, *out_read, err);
            count = 0;
        }
    }
    return outcome == STELE_END
               ? stele_fail(err, STELE_NO_STREAM, 0, "stream %s does not exist", stream)
               : outcome;
}

/* As stele_store__limits(), of what is durable, and without the index. */
static int limits_by_read(struct stele_store *store, struct stele_bytes stream, int64_t now_us,
                          struct stele_stream_limits *out, struct stele_error *err)
{
    uint8_t buffer[STELE_STREAM_NAME_SIZE_MAX + 2];
    char name[STELE_STREAM_NAME_SIZE_MAX + 3];
    const struct stele_bytes meta = stele_store__metastream(stream, buffer);
    *out = (struct stele_stream_limits){.found = false};
    if (meta.size == 0) {
        return STELE_OK;
    }
    memcpy(name, meta.data, meta.size);
    name[meta.size] = '\0';
    struct stele_read *read = NULL;
    const struct stele_event *event = NULL;
    int outcome = newest_by_read(store, name, now_us, &read, &event, err);
    if (outcome == STELE_OK) {
        outcome = stele_store__limits_parse(
            (struct stele_bytes){.data = event->data, .size = event->data_size}, out, err);
    }
    stele_read_end(store, read);
    return outcome == STELE_NO_STREAM ? STELE_OK : outcome;
}

int stele_store_stream_info(struct stele_store *store, const char *stream, int64_t now_us,
                            struct stele_stream_info *out_info, struct stele_error *err)
{
    const struct stele_bytes name = stele_bytes_of_text(stream);
    if (name.size == 0 || name.size > STELE_STREAM_NAME_SIZE_MAX + 2) {
        return stele_fail(err, name.size == 0 ? STELE_E_INVALID : STELE_E_LIMIT, 0,
                          "the stream's name is %s", name.size == 0 ? "empty" : "too long");
    }
    if (strcmp(stream, "$all") == 0 || strncmp(stream, "$ce-", 4) == 0 ||
        strncmp(stream, "$et-", 4) == 0) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "%s is a view of other streams: it has no revisions of its own", stream);
    }
    struct stele_read *read = NULL;
    const struct stele_event *event = NULL;
    struct stele_stream_info info;
    int outcome = newest_by_read(store, stream, now_us, &read, &event, err);
    if (outcome == STELE_OK) {
        info = (struct stele_stream_info){
            .revision_last = event->revision,
            .position_last = event->position,
            .partition = stele_store__partition(store, name),
            .tombstoned = (event->flags & STELE_EVENT_TOMBSTONE) != 0,
        };
    }
    stele_read_end(store, read);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_stream_limits limits = {.found = false};
    outcome = stele_store__limits(store, name, false, &limits, err);
    if (outcome == STELE_INCOMPLETE) {
        outcome = limits_by_read(store, name, now_us, &limits, err);
    }
    if (outcome == STELE_OK) {
        const uint64_t next = info.revision_last + 1;
        info.deleted = limits.truncate_before >= next;
        info.revision_first = stele_store__first_revision(&limits, next);
        *out_info = info;
    }
    return outcome;
}

void stele_store_stats(struct stele_store *store, struct stele_stats *out_stats)
{
    *out_stats = (struct stele_stats){
        .events = stele_log_events(store->log),
        .position_last = stele_log_position_durable(store->log),
        .log_size = stele_log_durable(store->log) - stele_log_start(store->log),
        .disk_size = stele_log_disk_size(store->log) + stele_index_disk_size(store->index),
        .index_size = stele_index_disk_size(store->index),
        .segments = stele_log_segments(store->log),
        .index_runs = stele_index_runs(store->index),
        .index_behind = stele_index_hole_bytes(store->index),
        .partitions = store->superblock.partitions,
        .fenced = stele_log_is_fenced(store->log),
        .damage = store->damages_count,
        .streams = stele_index_names(store->index, STELE_SPACE_STREAM),
    };
    memcpy(out_stats->store_id, store->superblock.store_id, sizeof out_stats->store_id);
}

int stele_store_damages(struct stele_store *store, stele_damage_callback on_damage, void *context)
{
    uint64_t at = store->damages_count;
    const uint64_t oldest = at > STELE_DAMAGES_KEPT ? at - STELE_DAMAGES_KEPT : 0;
    while (at > oldest) {
        const struct stele_log_damage *damage = &store->damages[--at % STELE_DAMAGES_KEPT];
        const struct stele_damage public = {
            .file = damage->file, .offset = damage->offset, .what = damage->what};
        on_damage(context, &public);
    }
    return STELE_OK;
}

void stele_store_check(struct stele_store *store)
{
    stele_log_check(store->log);
    stele_index_check(store->index);
    STELE_ASSERT(stele_log_durable(store->log) <= stele_log_end(store->log));
    STELE_ASSERT(stele_log_position_durable(store->log) <= stele_log_position(store->log));
    STELE_ASSERT(stele_position_tick(stele_log_position(store->log)) <= store->clock.tick);
    STELE_ASSERT(stele_index_runs_end(store->index) <= stele_log_durable(store->log) ||
                 store->live_end != UINT64_MAX);
}
