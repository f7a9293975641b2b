/* Scavenging: which events may go, and the walk over the sealed segments.
 *
 * First the names are gathered: every stream with metadata, every tombstoned one. That list is made
 * without the lock; the limits of each are then looked up under it, a few hundred at a time. Then
 * segment after segment is packed with what the limits leave. The last event of a stream always
 * stays, because the index must be able to learn the stream's revision from the log alone.
 *
 * The store of a cluster's node goes by the log's own time instead of the clock's, and leaves alone
 * what is younger than STELE_SCAVENGE_AGE_MS, and the newest event before: commands look at that, and
 * nodes scavenge when they like; see append.c. So the last event of the log stays too, which
 * positions go on from.
 *
 * The file "scavenge" holds the base of the segment that is being packed, so that a run that was
 * cut short goes on there:
 *
 *     offset  size  field
 *          0     8  magic "STELESCV"
 *          8     8  base
 *         16     4  checksum  CRC-32C of bytes 0 … 15 */
#include "store/store_internal.h"

#include <stdlib.h>

#define PROGRESS_NAME "scavenge"
#define PROGRESS_TEMPORARY "scavenge.tmp"
#define PROGRESS_SIZE 20
#define LOOKUPS_A_STEP 256

static const uint8_t magic[8] = {'S', 'T', 'E', 'L', 'E', 'S', 'C', 'V'};

/* What may go from one stream: revisions below first, and events older than created_min; never
 * revision `last`. */
struct rule {
    struct stele_index_key key;
    uint64_t first;
    uint64_t last;
    int64_t created_min;
    bool tombstoned;
    bool resolved;
};

struct stele_scavenge {
    struct stele_alloc *alloc;
    struct stele_arena names;
    struct rule *rules; /* Sorted by hash once all are resolved. */
    size_t rules_count, rules_capacity;
    size_t resolved;
    bool gathered, sorted;
    int64_t now_us;
    uint64_t position_min; /* Events at or above it stay. */
    uint64_t base_saved;   /* UINT64_MAX: nothing saved. */
    uint64_t seed;
};

void stele_store__scavenge_destroy(struct stele_store *store)
{
    struct stele_scavenge *scavenge = store->scavenge;
    if (scavenge != NULL) {
        stele_arena_deinit(&scavenge->names, scavenge->alloc);
        stele_release(scavenge->alloc, scavenge->rules,
                      scavenge->rules_capacity * sizeof *scavenge->rules);
        stele_release(scavenge->alloc, scavenge, sizeof *scavenge);
        store->scavenge = NULL;
    }
}

/* ---- Progress ---- */

static uint64_t load_progress(struct stele_io *io)
{
    struct stele_file *file = NULL;
    uint8_t bytes[PROGRESS_SIZE];
    size_t size = 0;
    if (io->ops->open(io, PROGRESS_NAME, false, &file, NULL) != STELE_OK) {
        return UINT64_MAX;
    }
    const int outcome = io->ops->read(file, 0, bytes, sizeof bytes, false, &size, NULL);
    io->ops->close(file);
    const struct stele_bytes covered = {.data = bytes, .size = 16};
    if (outcome != STELE_OK || size != sizeof bytes || memcmp(bytes, magic, sizeof magic) != 0 ||
        stele_load_u32le(bytes + 16) != stele_crc32c(covered)) {
        return UINT64_MAX; /* It only saves work: begin at the front. */
    }
    return stele_load_u64le(bytes + 8);
}

static int save_progress(struct stele_io *io, uint64_t base, struct stele_error *err)
{
    uint8_t bytes[PROGRESS_SIZE];
    memcpy(bytes, magic, sizeof magic);
    stele_store_u64le(bytes + 8, base);
    stele_store_u32le(bytes + 16, stele_crc32c((struct stele_bytes){.data = bytes, .size = 16}));
    struct stele_file *file = NULL;
    int outcome = io->ops->create(io, PROGRESS_TEMPORARY, PROGRESS_SIZE, false, &file, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome =
        io->ops->write(file, 0, (struct stele_bytes){.data = bytes, .size = sizeof bytes}, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->sync(file, err);
    }
    io->ops->close(file);
    return outcome == STELE_OK ? io->ops->rename(io, PROGRESS_TEMPORARY, PROGRESS_NAME, err)
                               : outcome;
}

/* ---- Gathering names (no lock) ---- */

static int add_rule(struct stele_scavenge *scavenge, struct stele_bytes name, bool tombstoned)
{
    uint8_t *copy = stele_arena_allocate(&scavenge->names, scavenge->alloc, name.size);
    if (copy == NULL ||
        stele_store__grow(scavenge->alloc, (void **)&scavenge->rules, &scavenge->rules_capacity,
                          sizeof *scavenge->rules, scavenge->rules_count + 1) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    memcpy(copy, name.data, name.size);
    scavenge->rules[scavenge->rules_count++] = (struct rule){
        .key = stele_index_key(scavenge->seed, STELE_SPACE_STREAM,
                               (struct stele_bytes){.data = copy, .size = name.size}),
        .tombstoned = tombstoned,
    };
    return STELE_OK;
}

static int gather(struct stele_work *work, struct stele_error *err)
{
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        struct stele_bytes name;
        struct stele_index_state state;
        const char *damaged = NULL;
        outcome = stele_index_list_next(work->lister, &name, &state, &damaged);
        if (outcome != STELE_OK) {
            break;
        }
        if ((state.flags & STELE_INDEX_TOMBSTONED) != 0) {
            outcome = add_rule(work->scavenge, name, true);
        } else if (stele_store__is_metastream(name)) {
            /* The list is sorted by name, so a stream may come as both: the tombstone wins. */
            outcome = add_rule(work->scavenge, stele_bytes_slice(name, 2, name.size - 2), false);
        }
    }
    if (outcome != STELE_END) {
        return stele_fail(err, outcome, 0, "scavenge: the names of streams cannot be read");
    }
    return STELE_OK;
}

/* The newest event below position_min stays as well: lowers position_min to it. */
static int lower_position_min(struct stele_work *work, struct stele_error *err)
{
    struct stele_scavenge *scavenge = work->scavenge;
    struct stele_log_cursor cursor;
    uint64_t newest = 0;
    int outcome = stele_log_seek(&work->reader, scavenge->position_min, &cursor);
    while (outcome == STELE_OK && newest == 0) {
        const uint64_t place = cursor.place;
        uint64_t passed = 0;
        while (outcome == STELE_OK && passed < scavenge->position_min) {
            struct stele_event event;
            size_t count = 0;
            outcome = stele_log_scan(&work->reader, &cursor, &event, NULL, 1, &count);
            passed = outcome == STELE_OK ? event.position : passed;
            newest = outcome == STELE_OK && passed < scavenge->position_min ? passed : newest;
        }
        if (newest == 0 && (outcome == STELE_OK || outcome == STELE_END)) {
            uint64_t before = 0;
            outcome = stele_log_frame_before(&work->reader, place, &before);
            stele_log_cursor_at(&cursor, before);
        }
    }
    if (outcome == STELE_E_CORRUPT) {
        /* What cannot be read may be the one. */
        return stele_store__fail_damage(err, &work->reader.damage);
    }
    scavenge->position_min = newest != 0 ? newest : scavenge->position_min;
    return outcome == STELE_END ? STELE_OK : outcome;
}

int stele_store__scavenge_run(struct stele_work *work, struct stele_error *err)
{
    if (work->lister != NULL) {
        const int gathered = gather(work, err);
        return gathered == STELE_OK && work->has_reader ? lower_position_min(work, err) : gathered;
    }
    const int outcome = save_progress(work->store->io, work->from, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    return stele_log_pack(&work->reader, work->from, stele_store__scavenge_keeps, work->scavenge,
                          work->compress, work->on_bytes, work->context, &work->packed, err);
}

/* ---- Resolving limits (under the lock) ---- */

static int resolve(struct stele_store *store, struct stele_scavenge *scavenge, struct rule *rule,
                   struct stele_error *err)
{
    struct stele_index_state state;
    int outcome = stele_store__state(store, &rule->key, &state, err);
    if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
        return outcome;
    }
    if (outcome == STELE_OK) {
        /* The last event that stays must not be one that a power cut can still take. */
        stele_store__only_visible(store, &rule->key, &state);
    }
    if (outcome == STELE_NOT_FOUND || state.next == 0) {
        rule->resolved = false; /* Metadata without a stream. */
        return STELE_OK;
    }
    rule->last = state.next - 1;
    rule->created_min = INT64_MIN;
    rule->resolved = true;
    rule->tombstoned = (state.flags & STELE_INDEX_TOMBSTONED) != 0;
    if (rule->tombstoned) {
        rule->first = rule->last;
        return STELE_OK;
    }
    struct stele_stream_limits limits;
    outcome = stele_store__limits(store, rule->key.name, false, &limits, err);
    rule->first = stele_store__first_revision(&limits, state.next);
    if (limits.max_age_us != 0) {
        rule->created_min = scavenge->now_us - limits.max_age_us;
    }
    return outcome;
}

static int compare_rules(const void *a, const void *b)
{
    const struct rule *x = a;
    const struct rule *y = b;
    if (x->key.hash != y->key.hash) {
        return x->key.hash < y->key.hash ? -1 : 1;
    }
    return stele_bytes_compare(x->key.name, y->key.name);
}

bool stele_store__scavenge_keeps(void *context, const struct stele_event *event)
{
    const struct stele_scavenge *scavenge = context;
    if (scavenge->rules_count == 0 || event->position >= scavenge->position_min) {
        return true;
    }
    struct rule wanted = {.key = stele_index_key(scavenge->seed, STELE_SPACE_STREAM,
                                                 stele_store__bytes(event->stream))};
    const struct rule *rule = bsearch(&wanted, scavenge->rules, scavenge->rules_count,
                                      sizeof *scavenge->rules, compare_rules);
    if (rule == NULL || !rule->resolved || event->revision >= rule->last ||
        (event->flags & STELE_EVENT_TOMBSTONE) != 0) {
        return true;
    }
    return event->revision >= rule->first && event->created_us >= rule->created_min;
}

/* ---- begin and end (under the lock) ---- */

static void go_by_log_time(const struct stele_store *store, struct stele_scavenge *scavenge)
{
    const uint64_t last = stele_log_position_durable(store->log);
    const uint64_t age = STELE_SCAVENGE_AGE_MS
                         << (STELE_POSITION_COUNTER_BITS + STELE_POSITION_PARTITION_BITS);
    scavenge->now_us = stele_order_time_us(last);
    scavenge->position_min = last > age ? last - age : 0;
}

static int begin_gathering(struct stele_store *store, int64_t now_us, struct stele_work **out_work,
                           struct stele_error *err)
{
    struct stele_scavenge *scavenge = stele_allocate_zeroed(store->alloc, sizeof *scavenge);
    if (scavenge == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "scavenge: no memory");
    }
    scavenge->alloc = store->alloc;
    scavenge->seed = store->superblock.seed;
    scavenge->now_us = now_us;
    scavenge->position_min = UINT64_MAX;
    if (store->superblock.ordered || stele_log_stamp(store->log) != 0) {
        go_by_log_time(store, scavenge);
    }
    scavenge->base_saved = load_progress(store->io);
    store->scavenge = scavenge;
    struct stele_index_lister *lister = NULL;
    const struct stele_bytes nothing = {.data = NULL, .size = 0};
    int outcome =
        stele_index_list_begin(store->index, STELE_SPACE_STREAM, nothing, nothing, &lister);
    if (outcome == STELE_OK) {
        const bool by_log_time = scavenge->position_min != UINT64_MAX;
        outcome = stele_store__work_create(store, STELE_WORK_PACK, by_log_time, out_work);
        if (outcome != STELE_OK) {
            stele_index_list_end(lister);
        }
    }
    if (outcome != STELE_OK) {
        stele_store__scavenge_destroy(store);
        return stele_fail(err, outcome, 0, "scavenge: the names of streams cannot be read");
    }
    (*out_work)->lister = lister;
    (*out_work)->scavenge = scavenge;
    return STELE_OK;
}

static int resolve_some(struct stele_store *store, struct stele_scavenge *scavenge,
                        struct stele_error *err)
{
    for (int i = 0; i < LOOKUPS_A_STEP && scavenge->resolved < scavenge->rules_count; i++) {
        const int outcome = resolve(store, scavenge, &scavenge->rules[scavenge->resolved], err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        scavenge->resolved++;
    }
    if (scavenge->resolved == scavenge->rules_count && !scavenge->sorted) {
        if (scavenge->rules_count > 0) {
            qsort(scavenge->rules, scavenge->rules_count, sizeof *scavenge->rules, compare_rules);
        }
        scavenge->sorted = true;
    }
    return STELE_OK;
}

static int begin_packing(struct stele_store *store, uint64_t base, struct stele_work **out_work,
                         struct stele_error *err)
{
    struct stele_scavenge *scavenge = store->scavenge;
    if (base == 0 && scavenge->base_saved != UINT64_MAX) {
        base = scavenge->base_saved;
        scavenge->base_saved = UINT64_MAX;
    }
    struct stele_log_view *view = stele_log_view_acquire(store->log);
    uint64_t found = 0;
    uint64_t size = 0;
    int outcome = stele_log_sealed_next(view, base, &found, &size);
    stele_log_view_release(view);
    if (outcome != STELE_OK) {
        (void)store->io->ops->remove(store->io, PROGRESS_NAME, NULL);
        stele_store__scavenge_destroy(store);
        return STELE_NOT_FOUND;
    }
    outcome = stele_store__work_create(store, STELE_WORK_PACK, true, out_work);
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "scavenge: no memory");
    }
    (*out_work)->scavenge = scavenge;
    (*out_work)->from = found;
    store->pack_running = true;
    return STELE_OK;
}

/* A step that needs nothing but the lock: its run has nothing to do. */
static int begin_nothing(struct stele_store *store, struct stele_work **out_work,
                         struct stele_error *err)
{
    struct stele_work *work = NULL;
    const int outcome = stele_store__work_create(store, STELE_WORK_MARK, false, &work);
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "scavenge: no memory");
    }
    stele_log_get_mark(store->log, &work->mark);
    *out_work = work;
    return STELE_OK;
}

int stele_scavenge_begin(struct stele_store *store, uint64_t base, bool compress, int64_t now_us,
                         int (*on_bytes)(void *context, uint64_t bytes), void *context,
                         struct stele_work **out_work, struct stele_error *err)
{
    if (store->read_only) {
        return stele_fail(err, STELE_E_READ_ONLY, 0, "the store was opened for reading only");
    }
    if (!store->index_ready) {
        return STELE_STORE_INDEX;
    }
    if (store->pack_running) {
        return stele_fail(err, STELE_E_OVERLOADED, 0,
                          "another scavenging or compression is under way; wait for its end");
    }
    int outcome = STELE_OK;
    if (store->scavenge == NULL) {
        outcome = begin_gathering(store, now_us, out_work, err);
    } else if (!store->scavenge->sorted) {
        outcome = resolve_some(store, store->scavenge, err);
        if (outcome == STELE_OK) {
            outcome = begin_nothing(store, out_work, err);
        } else {
            stele_store__scavenge_destroy(store);
        }
    } else {
        outcome = begin_packing(store, base, out_work, err);
    }
    if (outcome == STELE_OK) {
        (*out_work)->compress = compress;
        (*out_work)->on_bytes = on_bytes;
        (*out_work)->context = context;
    }
    return outcome == STELE_INCOMPLETE ? STELE_STORE_INDEX : outcome;
}

int stele_scavenge_end(struct stele_store *store, struct stele_work *work, int outcome,
                       uint64_t *out_next_base, struct stele_log_pack_result *out_result,
                       struct stele_error *err)
{
    *out_result = (struct stele_log_pack_result){.changed = false};
    const bool packing = work->has_reader;
    if (work->lister != NULL) {
        stele_index_list_end(work->lister);
        work->lister = NULL;
    } else if (packing) {
        store->pack_running = false;
        if (outcome == STELE_OK && work->packed.changed) {
            outcome = stele_log_install_packed(store->log, work->from, err);
            store->reader_stale = true;
        }
        if (outcome == STELE_OK) {
            *out_result = work->packed;
            out_result->base = work->from;
            *out_next_base = work->from + 1;
        }
    }
    if (outcome != STELE_OK) {
        stele_store__scavenge_destroy(store);
    }
    stele_store__work_destroy(work);
    return outcome;
}
