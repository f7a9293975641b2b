/* Background work: what needs to be done next, and doing it in three steps (begin and end under
 * the lock, run without it). One of each kind of job may be under way. */
#include "store/store_internal.h"

#define MARK_INTERVAL_US ((int64_t)1000000)
#define RETRY_INTERVAL_US ((int64_t)1000000)
#define SCRUB_PIECE ((uint64_t)4 * 1024 * 1024)
#define DAY_US ((int64_t)24 * 3600 * 1000000)
/* Closing writes the memtable only if reading that much log at the next opening would be felt. */
#define CLOSE_FLUSH_SIZE ((uint64_t)1024 * 1024)
#define MEMORY_MAX ((uint64_t)128 * 1024 * 1024)
#define FILL_PIECE ((uint64_t)64 * 1024 * 1024)

int stele_store__work_create(struct stele_store *store, int kind, bool with_reader,
                             struct stele_work **out_work)
{
    struct stele_work *work = stele_allocate_zeroed(store->alloc, sizeof *work);
    if (work == NULL) {
        return STELE_E_NO_MEMORY;
    }
    work->kind = kind;
    work->store = store;
    if (with_reader) {
        stele_log_reader_init(&work->reader, stele_log_view_acquire(store->log), store->alloc,
                              stele_log_durable(store->log));
        work->has_reader = true;
    }
    *out_work = work;
    return STELE_OK;
}

void stele_store__work_destroy(struct stele_work *work)
{
    if (work->has_reader) {
        struct stele_log_view *view = work->reader.view;
        stele_log_reader_deinit(&work->reader);
        stele_log_view_release(view);
    }
    if (work->view != NULL) {
        stele_index_view_release(work->view);
    }
    stele_release(work->store->alloc, work, sizeof *work);
}

int stele_work_kind(const struct stele_work *work)
{
    return work->kind;
}

/* ---- begin ---- */

/* After a failure (a full disk) work is not tried again at once. */
static bool may_try(const struct stele_store *store, int64_t now_us)
{
    return now_us >= store->retry_at_us || store->retry_at_us - now_us > 2 * RETRY_INTERVAL_US;
}

static int begin_spare(struct stele_store *store, struct stele_work **out_work)
{
    uint64_t size = 0;
    if (store->spare_running || !stele_log_wants_spare(store->log, &size)) {
        return STELE_NOT_FOUND;
    }
    const int outcome = stele_store__work_create(store, STELE_WORK_SPARE, false, out_work);
    if (outcome == STELE_OK) {
        (*out_work)->to = size;
        store->spare_running = true;
    }
    return outcome;
}

static int begin_job(struct stele_store *store, int kind, struct stele_index_job *job,
                     bool with_reader, struct stele_work **out_work)
{
    const int outcome = stele_store__work_create(store, kind, with_reader, out_work);
    if (outcome != STELE_OK) {
        const int forgotten = stele_index_job_end(store->index, job, outcome, NULL);
        (void)forgotten; /* What it answers is why it is given up. */
        return outcome;
    }
    (*out_work)->job = job;
    store->index_job_running = true;
    return STELE_OK;
}

static int begin_fill(struct stele_store *store, struct stele_work **out_work)
{
    struct stele_index_job *job = NULL;
    uint64_t from = 0;
    uint64_t to = 0;
    if (store->index_unsure) {
        return STELE_NOT_FOUND; /* It would meet the same damage again. */
    }
    int outcome = stele_index_fill_begin(store->index, FILL_PIECE, &from, &to, &job);
    if (outcome == STELE_OK) {
        outcome = begin_job(store, STELE_WORK_FILL, job, true, out_work);
    }
    if (outcome == STELE_OK) {
        (*out_work)->from = from;
        (*out_work)->to = to;
    }
    return outcome;
}

/* Only what is synced may be written to a run: a run must never know an event that the log loses.
 * So the frozen memtable waits for the log. */
static int begin_flush(struct stele_store *store, bool closing, struct stele_work **out_work)
{
    if (store->flush == NULL && store->index_ready) {
        const uint64_t span = stele_index_active_span(store->index);
        const bool due = span >= store->options.public.index_memory ||
                         stele_index_memory(store->index) > MEMORY_MAX ||
                         (closing && span >= CLOSE_FLUSH_SIZE);
        const uint64_t to = stele_log_end(store->log);
        if (!due) {
            return STELE_NOT_FOUND;
        }
        const int outcome = stele_index_flush_begin(store->index, to, &store->flush);
        if (outcome != STELE_OK) {
            store->flush = NULL;
            return outcome;
        }
        store->flush_to = to;
    }
    if (store->flush == NULL || stele_log_synced(store->log) < store->flush_to) {
        return STELE_NOT_FOUND;
    }
    struct stele_index_job *job = store->flush;
    store->flush = NULL;
    return begin_job(store, STELE_WORK_FLUSH, job, false, out_work);
}

static int begin_merge(struct stele_store *store, struct stele_work **out_work)
{
    struct stele_index_job *job = NULL;
    const int outcome = stele_index_merge_begin(store->index, &job);
    return outcome == STELE_OK ? begin_job(store, STELE_WORK_MERGE, job, false, out_work) : outcome;
}

static int begin_pack(struct stele_store *store, struct stele_work **out_work)
{
    if (store->pack_running || store->options.public.compress == 0 || store->scavenge != NULL) {
        return STELE_NOT_FOUND;
    }
    struct stele_log_view *view = stele_log_view_acquire(store->log);
    uint64_t base = 0;
    uint64_t size = 0;
    int outcome = stele_log_sealed_next(view, store->pack_next, &base, &size);
    stele_log_view_release(view);
    if (outcome != STELE_OK) {
        return STELE_NOT_FOUND;
    }
    outcome = stele_store__work_create(store, STELE_WORK_PACK, true, out_work);
    if (outcome == STELE_OK) {
        (*out_work)->from = base;
        (*out_work)->compress = true;
        store->pack_running = true;
    }
    return outcome;
}

static int begin_mark(struct stele_store *store, int64_t now_us, bool closing,
                      struct stele_work **out_work)
{
    const bool idle = !stele_log_has_staged(store->log) && stele_log_in_flight(store->log) == 0;
    const bool due =
        closing || now_us - store->mark_at_us >= MARK_INTERVAL_US || now_us < store->mark_at_us;
    if (!idle || !due || store->mark_place == stele_log_synced(store->log) ||
        stele_log_is_fenced(store->log)) {
        return STELE_NOT_FOUND;
    }
    const int outcome = stele_store__work_create(store, STELE_WORK_MARK, false, out_work);
    if (outcome == STELE_OK) {
        stele_log_get_mark(store->log, &(*out_work)->mark);
        store->mark_place = stele_log_synced(store->log);
        store->mark_at_us = now_us;
    }
    return outcome;
}

/* Pieces are due at fixed times, and the time says at which one an opening begins. Otherwise a
 * program that is ended every day would look at the beginning of its log again and again. From one
 * period to the next the times move on by one piece: somebody who is here at the same hours of each
 * week comes to all of them. */
static void schedule_scrub(struct stele_store *store, int64_t now_us, int64_t interval_us,
                           uint64_t pieces)
{
    const uint64_t slot = now_us < 0 ? 0 : (uint64_t)(now_us / interval_us) + 1;
    store->scrub_at_us = (int64_t)slot * interval_us;
    if (store->scrub_begun) {
        return;
    }
    store->scrub_begun = true;
    const uint64_t piece = (slot + slot / pieces) % pieces;
    const uint64_t start = stele_log_start(store->log);
    uint64_t base = start;
    uint64_t size = 0;
    struct stele_log_view *view = stele_log_view_acquire(store->log);
    const int found = stele_log_sealed_next(view, start + piece * SCRUB_PIECE, &base, &size);
    stele_log_view_release(view);
    if (found == STELE_OK && base > start) {
        store->scrub_chain = (struct stele_log_chain){.place = base, .begins_within = true};
    }
}

static int begin_scrub(struct stele_store *store, int64_t now_us, struct stele_work **out_work)
{
    const int64_t period_us = (int64_t)store->options.public.scrub_days * DAY_US;
    const uint64_t size = stele_log_durable(store->log) - stele_log_start(store->log);
    if (period_us == 0 || size == 0) {
        return STELE_NOT_FOUND;
    }
    const uint64_t pieces = size / SCRUB_PIECE + 1;
    const int64_t interval_us = period_us / (int64_t)pieces;
    if (store->scrub_at_us == 0 || store->scrub_at_us - now_us > interval_us) {
        /* The first one, or a clock that was set back. */
        schedule_scrub(store, now_us, interval_us, pieces);
    }
    if (now_us < store->scrub_at_us) {
        return STELE_NOT_FOUND;
    }
    const int outcome = stele_store__work_create(store, STELE_WORK_SCRUB, true, out_work);
    if (outcome == STELE_OK) {
        schedule_scrub(store, now_us, interval_us, pieces);
        (*out_work)->chain = store->scrub_chain;
        (*out_work)->view = stele_index_view_acquire(store->index);
    }
    return outcome;
}

int stele_work_begin(struct stele_store *store, int64_t now_us, bool closing,
                     struct stele_work **out_work, struct stele_error *err)
{
    if (store->read_only) {
        return STELE_NOT_FOUND;
    }
    int outcome = STELE_NOT_FOUND;
    if (!closing && may_try(store, now_us)) {
        outcome = begin_spare(store, out_work);
    }
    if (outcome == STELE_NOT_FOUND && !store->index_job_running && may_try(store, now_us)) {
        if (!closing) {
            outcome = begin_fill(store, out_work);
        }
        if (outcome == STELE_NOT_FOUND) {
            outcome = begin_flush(store, closing, out_work);
        }
        if (outcome == STELE_NOT_FOUND && !closing) {
            outcome = begin_merge(store, out_work);
        }
    }
    if (outcome == STELE_NOT_FOUND && !closing && may_try(store, now_us)) {
        outcome = begin_pack(store, out_work);
    }
    if (outcome == STELE_NOT_FOUND && may_try(store, now_us)) {
        outcome = begin_mark(store, now_us, closing, out_work);
    }
    if (outcome == STELE_NOT_FOUND && !closing) {
        outcome = begin_scrub(store, now_us, out_work);
    }
    if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
        store->retry_at_us = now_us + RETRY_INTERVAL_US;
        return stele_fail(err, outcome, 0, "background work could not be begun: %s",
                          stele_outcome_name(outcome));
    }
    return outcome;
}

/* ---- run ---- */

static int add_to_fill(struct stele_work *work, uint64_t place, const struct stele_event *event)
{
    const struct stele_bytes stream = stele_store__bytes(event->stream);
    const uint32_t flags = (event->flags & STELE_EVENT_TOMBSTONE) != 0 ? STELE_INDEX_TOMBSTONED : 0;
    return stele_index_fill_add(work->job, place, event->id, event->revision, stream,
                                stele_store__category(stream), stele_store__bytes(event->type),
                                event->tags, event->tags_count, flags);
}

/* Reads the piece event by event, so that it ends between two frames. */
static int run_fill(struct stele_work *work, struct stele_error *err)
{
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, work->from);
    uint64_t end = work->to;
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        struct stele_event event;
        uint64_t place = 0;
        size_t count = 0;
        const bool between = cursor.frame_end == 0 || cursor.place >= cursor.frame_end;
        if (between && cursor.place >= work->to) {
            end = cursor.place;
            break;
        }
        outcome = stele_log_scan(&work->reader, &cursor, &event, &place, 1, &count);
        if (outcome == STELE_E_CORRUPT) {
            /* A run without the damaged events would look whole to the next opening: streams would
             * give out revisions twice, and skip what a backup brought back. The hole stays. */
            work->damage_found = true;
            work->damage = work->reader.damage;
            return stele_store__fail_damage(err, &work->damage);
        } else if (outcome == STELE_OK && between && place >= work->to) {
            break; /* What lay between was the unused end of a segment. */
        } else if (outcome == STELE_OK) {
            outcome = add_to_fill(work, place, &event);
        }
    }
    if (outcome != STELE_OK && outcome != STELE_END) {
        return stele_fail(err, outcome, 0, "rebuilding the index: %s", stele_outcome_name(outcome));
    }
    stele_index_fill_set_end(work->job, end);
    return stele_index_job_run(work->job, NULL, NULL, err);
}

static void on_log_damage(void *context, const struct stele_log_damage *damage)
{
    struct stele_work *work = context;
    work->damage_found = true;
    work->damage = *damage;
}

static void on_index_damage(void *context, const char *file, uint64_t offset, const char *what)
{
    struct stele_work *work = context;
    work->damage_found = true;
    work->damage = (struct stele_log_damage){.offset = offset, .place = UINT64_MAX, .what = what};
    STELE_ASSERT(strlen(file) < sizeof work->damage.file);
    memcpy(work->damage.file, file, strlen(file) + 1);
}

static int run_scrub(struct stele_work *work, struct stele_error *err)
{
    int outcome = stele_log_chain_extend(&work->reader, &work->chain, work->reader.end, SCRUB_PIECE,
                                         NULL, 0, NULL, on_log_damage, work, err);
    if (outcome == STELE_END) {
        uint64_t entries = 0;
        outcome = stele_index_verify(work->view, on_index_damage, work, &entries, err);
        work->to = 1; /* The round is over. */
    }
    return outcome == STELE_E_CORRUPT ? STELE_OK : outcome;
}

int stele_work_run(struct stele_work *work, struct stele_error *err)
{
    switch (work->kind) {
    case STELE_WORK_SPARE:
        return stele_log_make_spare(work->store->io, work->to, err);
    case STELE_WORK_FLUSH:
    case STELE_WORK_MERGE:
        return stele_index_job_run(work->job, NULL, NULL, err);
    case STELE_WORK_FILL:
        return run_fill(work, err);
    case STELE_WORK_PACK:
        if (work->scavenge != NULL) {
            return stele_store__scavenge_run(work, err);
        }
        return stele_log_pack(&work->reader, work->from, NULL, NULL, work->compress, work->on_bytes,
                              work->context, &work->packed, err);
    case STELE_WORK_SCRUB:
        return run_scrub(work, err);
    default:
        STELE_ASSERT(work->kind == STELE_WORK_MARK);
        return stele_log_put_mark(work->store->io, &work->mark, err);
    }
}

/* ---- end ---- */

/* The last hole is closed: what came after the runs can be added to memory now. */
static int end_fill(struct stele_store *store, const struct stele_work *work, int outcome,
                    struct stele_error *err)
{
    store->index_unsure = store->index_unsure || work->damage_found;
    store->gaps = store->gaps || work->damage_found;
    if (outcome != STELE_OK || store->index_ready || stele_store__has_holes(store)) {
        return outcome;
    }
    store->index_ready = true;
    outcome = stele_store__load_tail(store, stele_index_runs_end(store->index),
                                     stele_log_end(store->log), err);
    store->index_unsure = store->index_unsure || outcome == STELE_E_CORRUPT;
    return outcome;
}

static void end_scrub(struct stele_store *store, const struct stele_work *work, int outcome)
{
    if (outcome != STELE_OK) {
        return;
    }
    store->scrub_chain = work->chain;
    if (work->to != 0) {
        store->scrub_chain = (struct stele_log_chain){.place = stele_log_start(store->log)};
    }
}

static int end_pack(struct stele_store *store, const struct stele_work *work, int outcome,
                    struct stele_error *err)
{
    store->pack_running = false;
    if (outcome == STELE_OK && work->packed.changed) {
        outcome = stele_log_install_packed(store->log, work->from, err);
        store->reader_stale = true;
    }
    return outcome;
}

static bool is_run(const char *file)
{
    const size_t size = strlen(file);
    return size > 4 && strcmp(file + size - 4, ".run") == 0;
}

int stele_work_end(struct stele_store *store, struct stele_work *work, int outcome,
                   struct stele_error *err)
{
    const int64_t now_us = store->io->ops->now_us(store->io);
    if (work->damage_found && work->view != NULL && is_run(work->damage.file)) {
        (void)stele_store__run_damaged(store, work->damage.file);
    } else if (work->damage_found) {
        stele_store__note_damage(store, &work->damage);
    }
    switch (work->kind) {
    case STELE_WORK_SPARE:
        store->spare_running = false;
        if (outcome == STELE_OK) {
            stele_log_have_spare(store->log, work->to);
        }
        break;
    case STELE_WORK_FLUSH:
    case STELE_WORK_MERGE:
    case STELE_WORK_FILL:
        store->index_job_running = false;
        outcome = stele_index_job_end(store->index, work->job, outcome, err);
        if (work->kind == STELE_WORK_FILL) {
            outcome = end_fill(store, work, outcome, err);
        }
        break;
    case STELE_WORK_PACK:
        outcome = end_pack(store, work, outcome, err);
        store->pack_next = work->from + 1;
        break;
    case STELE_WORK_SCRUB:
        end_scrub(store, work, outcome);
        break;
    default:
        if (outcome != STELE_OK) {
            store->mark_place = 0; /* Write it again. */
        }
        break;
    }
    if (outcome != STELE_OK) {
        store->retry_at_us = now_us + RETRY_INTERVAL_US;
    }
    stele_store__work_destroy(work);
    return outcome;
}
