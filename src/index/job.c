/* Background work: flushing the memtable, merging runs, filling holes.
 *
 * Whatever a job does without exclusion touches only what does not change (a frozen memtable, runs
 * and views that it has counted) and what is its own. The index changes in the end step alone. */
#include "index/flush.h"
#include "index/index_internal.h"
#include "index/merge.h"

enum job_kind { JOB_FLUSH, JOB_MERGE, JOB_FILL };

struct stele_index_job {
    enum job_kind kind;
    struct stele_io *io;
    const struct stele_index_options *options;
    uint64_t from;
    uint64_t to;
    struct stele_index__memtable *table; /* Flush: the index's frozen one. Fill: the job's own. */
    struct stele_index_view *view;       /* Merge, fill: as it was in the beginning. */
    uint32_t merge_first;                /* Merge: which of its runs. */
    uint32_t merge_count;
    uint64_t hash_mask;
    uint64_t fill_end_max;  /* Fill: where the hole ends. */
    uint64_t renumber_from; /* Fill: runs from here on were numbered with fewer events before. */
    struct stele_index__run *damaged; /* One of view's; becomes a hole in the end. */
    struct stele_index__run *result;
};

static struct stele_index_job *job_create(struct stele_index *index, enum job_kind kind)
{
    struct stele_index_job *job = stele_allocate_zeroed(index->io->alloc, sizeof *job);
    if (job != NULL) {
        job->kind = kind;
        job->io = index->io;
        job->options = &index->options;
        job->hash_mask = index->hash_mask;
        job->renumber_from = UINT64_MAX;
        index->jobs++;
    }
    return job;
}

static void job_destroy(struct stele_index *index, struct stele_index_job *job)
{
    switch (job->kind) {
    case JOB_FLUSH:
        index->flushing = false;
        break;
    case JOB_MERGE:
        for (uint32_t i = 0; i < job->merge_count; i++) {
            job->view->runs[job->merge_first + i]->busy = false;
        }
        break;
    case JOB_FILL:
        index->filling = false;
        stele_index__memtable_destroy(job->table);
        break;
    }
    if (job->view != NULL) {
        stele_index__view_unref(job->view);
    }
    if (job->result != NULL) {
        stele_index__run_unref(job->result);
    }
    index->jobs--;
    stele_release(index->io->alloc, job, sizeof *job);
}

/* ---- Replacing runs ---- */

/* A view without what lies in from … to, and with a run in its place, if not NULL. */
static struct stele_index_view *view_with(const struct stele_index_view *old, uint64_t from,
                                          uint64_t to, struct stele_index__run *run)
{
    const uint64_t reach = run != NULL && to > old->to ? to : old->to;
    struct stele_index_view *view =
        stele_index__view_create(old->alloc, old->from, reach, old->count + 1);
    if (view == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < old->count; i++) {
        struct stele_index__run *kept = old->runs[i];
        if (run != NULL && kept->header.from >= to) {
            stele_index__view_push(view, run);
            run = NULL;
        }
        if (kept->header.to <= from || kept->header.from >= to) {
            stele_index__view_push(view, kept);
        }
    }
    if (run != NULL) {
        stele_index__view_push(view, run);
    }
    return view;
}

static struct stele_index__run *find_run(const struct stele_index *index, const char *name)
{
    for (uint32_t i = 0; i < index->view->count; i++) {
        if (strcmp(index->view->runs[i]->name, name) == 0) {
            return index->view->runs[i];
        }
    }
    return NULL;
}

void stele_index_drop_run(struct stele_index *index, const char *name)
{
    const struct stele_index__run *run = find_run(index, name);
    if (run == NULL) {
        return; /* Somebody else met the damage and dropped it, or it was merged. */
    }
    struct stele_index_view *view = view_with(index->view, run->header.from, run->header.to, NULL);
    if (view == NULL) {
        return; /* It stays, and whoever meets the damage next asks again. */
    }
    char kept[STELE_FILE_NAME_MAX];
    memcpy(kept, run->name, sizeof kept);
    stele_index__view_install(index, view);
    if (!index->options.read_only) {
        (void)index->io->ops->remove(index->io, kept, NULL);
    }
}

/* ---- Beginning ---- */

int stele_index_flush_begin(struct stele_index *index, uint64_t to,
                            struct stele_index_job **out_job)
{
    if (index->flushing || (index->frozen == NULL && to == index->active->from) ||
        index->options.read_only) {
        return STELE_NOT_FOUND;
    }
    struct stele_index_job *job = job_create(index, JOB_FLUSH);
    if (job == NULL) {
        return STELE_E_NO_MEMORY;
    }
    if (index->frozen == NULL) {
        STELE_ASSERT(to >= index->active->seen);
        STELE_ASSERT(to % 8 == 0);
        struct stele_index__memtable *fresh = stele_index__memtable_create(index->io->alloc, to);
        if (fresh == NULL) {
            index->jobs--;
            stele_release(index->io->alloc, job, sizeof *job);
            return STELE_E_NO_MEMORY;
        }
        index->frozen = index->active;
        index->frozen->to = to;
        index->active = fresh;
    }
    index->flushing = true;
    job->table = index->frozen;
    job->from = index->frozen->from;
    job->to = index->frozen->to;
    *out_job = job;
    return STELE_OK;
}

int stele_index_merge_begin(struct stele_index *index, struct stele_index_job **out_job)
{
    uint32_t first = 0;
    const uint32_t count =
        index->options.read_only ? 0 : stele_index__merge_pick(index->view, &first);
    if (count == 0) {
        return STELE_NOT_FOUND;
    }
    struct stele_index_job *job = job_create(index, JOB_MERGE);
    if (job == NULL) {
        return STELE_E_NO_MEMORY;
    }
    job->view = stele_index_view_acquire(index);
    job->merge_first = first;
    job->merge_count = count;
    job->from = job->view->runs[first]->header.from;
    job->to = job->view->runs[first + count - 1]->header.to;
    for (uint32_t i = 0; i < count; i++) {
        job->view->runs[first + i]->busy = true;
    }
    *out_job = job;
    return STELE_OK;
}

/* The oldest hole. */
static bool find_hole(const struct stele_index_view *view, uint64_t *out_from, uint64_t *out_to)
{
    uint64_t reached = view->from;
    for (uint32_t i = 0; i < view->count; i++) {
        if (view->runs[i]->header.from > reached) {
            *out_from = reached;
            *out_to = view->runs[i]->header.from;
            return true;
        }
        reached = view->runs[i]->header.to;
    }
    *out_from = reached;
    *out_to = view->to;
    return reached < view->to;
}

int stele_index_fill_begin(struct stele_index *index, uint64_t piece, uint64_t *out_from,
                           uint64_t *out_to, struct stele_index_job **out_job)
{
    uint64_t from = 0;
    uint64_t to = 0;
    if (index->filling || index->options.read_only || !find_hole(index->view, &from, &to)) {
        return STELE_NOT_FOUND;
    }
    struct stele_index_job *job = job_create(index, JOB_FILL);
    if (job == NULL) {
        return STELE_E_NO_MEMORY;
    }
    index->filling = true;
    job->fill_end_max = to;
    job->from = from;
    const uint64_t wanted = piece < 8 ? 8 : piece & ~UINT64_C(7);
    job->to = wanted < to - from ? from + wanted : to;
    job->view = stele_index_view_acquire(index);
    job->table = stele_index__memtable_create(index->io->alloc, from);
    if (job->table == NULL) {
        job_destroy(index, job);
        return STELE_E_NO_MEMORY;
    }
    *out_from = job->from;
    *out_to = job->to;
    *out_job = job;
    return STELE_OK;
}

/* ---- Filling ---- */

static int fill_entry(struct stele_index_job *job, uint8_t space, struct stele_bytes name,
                      struct stele_index__entry **out_entry)
{
    struct stele_index_key key = stele_index_key(job->options->seed, space, name);
    key.hash &= job->hash_mask;
    struct stele_index__entry *entry = stele_index__memtable_find(job->table, &key);
    if (entry == NULL) {
        struct stele_index_state state;
        const int outcome =
            stele_index__view_state_below(job->view, &key, job->from, &state, &job->damaged);
        if (outcome != STELE_OK) {
            return outcome;
        }
        entry = stele_index__memtable_insert(job->table, &key, &state, UINT64_MAX);
        if (entry == NULL) {
            return STELE_E_NO_MEMORY;
        }
    }
    *out_entry = entry;
    return STELE_OK;
}

/* Revisions are told by the log. They may run ahead, where events were scavenged; there cannot be
 * more of those than the log had room for. */
static bool revision_fits(const struct stele_index_job *job,
                          const struct stele_index__entry *stream, uint64_t place,
                          uint64_t revision)
{
    const bool has_events = stream->end > stream->first;
    return revision >= stream->head.next &&
           (!has_events || revision - stream->first <= (place - job->from) / 8);
}

int stele_index_fill_add(struct stele_index_job *job, uint64_t place, const uint8_t id[16],
                         uint64_t revision, struct stele_bytes stream, struct stele_bytes category,
                         struct stele_bytes type, const uint8_t *tags, uint32_t tags_count,
                         uint32_t stream_flags)
{
    STELE_ASSERT(job->kind == JOB_FILL);
    STELE_ASSERT(tags_count <= UINT8_MAX);
    if (place >= job->fill_end_max) {
        return STELE_OK; /* Behind the hole: known there already. */
    }
    struct stele_index__entry *entries[3 + UINT8_MAX];
    const size_t count = 3 + (size_t)tags_count;
    int outcome = fill_entry(job, STELE_SPACE_STREAM, stream, &entries[0]);
    if (outcome == STELE_OK) {
        outcome = fill_entry(job, STELE_SPACE_CATEGORY, category, &entries[1]);
    }
    if (outcome == STELE_OK) {
        outcome = fill_entry(job, STELE_SPACE_TYPE, type, &entries[2]);
    }
    const uint8_t *tag = tags;
    for (size_t i = 3; i < count && outcome == STELE_OK; i++) {
        const struct stele_bytes name = {.data = tag + 1, .size = tag[0]};
        outcome = fill_entry(job, STELE_SPACE_TAG, name, &entries[i]);
        tag += 1 + (size_t)tag[0];
    }
    if (outcome == STELE_OK) {
        outcome = stele_index__memtable_reserve(job->table, 1, count);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (!revision_fits(job, entries[0], place, revision)) {
        return STELE_E_CORRUPT;
    }
    entries[0]->head.next = revision;
    entries[0]->head.flags |= stream_flags;
    const uint64_t hash = stele_index_id_hash(job->options->seed, id) & job->hash_mask;
    stele_index__memtable_begin(job->table, place, hash);
    for (size_t i = 0; i < count; i++) {
        stele_index__memtable_add(job->table, entries[i], place);
    }
    return STELE_OK;
}

void stele_index_fill_set_end(struct stele_index_job *job, uint64_t to)
{
    STELE_ASSERT(job->kind == JOB_FILL);
    STELE_ASSERT(to > job->from);
    STELE_ASSERT(to % 8 == 0);
    job->to = to < job->fill_end_max ? to : job->fill_end_max;
}

/* The next newer run that has the name begins where this one ends, or above if events are gone.
 * Below means that the log gave more than when the newer run was made: damage in it was repaired.
 * Then all from there on have to be made again, because their numbers are too low. */
static void check_name(struct stele_index_job *job, const struct stele_index__slot *slot)
{
    const struct stele_index__entry *entry = slot->entry;
    const struct stele_index_key key = {
        .space = entry->space, .hash = slot->hash, .name = stele_index__entry_name(entry)};
    int outcome = STELE_NOT_FOUND;
    for (uint32_t i = 0; i < job->view->count && outcome == STELE_NOT_FOUND; i++) {
        struct stele_index__run *run = job->view->runs[i];
        struct stele_index__key found;
        if (run->header.from < job->to) {
            continue;
        }
        outcome = stele_index__run_find(run, &key, &found);
        if (outcome == STELE_E_CORRUPT) {
            job->damaged = run;
        } else if (outcome == STELE_OK && found.first < entry->end &&
                   run->header.from < job->renumber_from) {
            job->renumber_from = run->header.from;
        }
    }
}

static void check_names(struct stele_index_job *job)
{
    for (size_t i = 0; i < job->table->slots_capacity; i++) {
        const struct stele_index__slot *slot = &job->table->slots[i];
        if (slot->entry != NULL && stele_index__entry_counts(slot->entry)) {
            check_name(job, slot);
        }
    }
}

static void drop_from(struct stele_index *index, uint64_t from)
{
    for (uint32_t i = index->view->count; i > 0; i--) {
        if (index->view->runs[i - 1]->header.from >= from) {
            stele_index_drop_run(index, index->view->runs[i - 1]->name);
        }
    }
}

/* ---- Running ---- */

int stele_index_job_run(struct stele_index_job *job, int (*on_bytes)(void *context, uint64_t bytes),
                        void *context, struct stele_error *err)
{
    STELE_ASSERT(job->result == NULL);
    const struct stele_index__target target = {
        .io = job->io,
        .options = job->options,
        .from = job->from,
        .to = job->to,
        .on_bytes = on_bytes,
        .context = context,
    };
    int outcome = STELE_OK;
    if (job->kind == JOB_MERGE) {
        outcome = stele_index__merge(job->view->runs + job->merge_first, job->merge_count, &target,
                                     &job->damaged, err);
    } else {
        outcome = stele_index__flush(job->table, &target, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = stele_index__run_open(job->io, job->options, job->from, job->to, &job->result, err);
    if (outcome == STELE_OK) {
        if (job->kind == JOB_FILL) {
            check_names(job);
        }
        return STELE_OK;
    }
    /* It was written and cannot be read: leave nothing that the next opening would believe. */
    char name[STELE_FILE_NAME_MAX];
    stele_index__file_name(name, job->from, job->to, ".run");
    (void)job->io->ops->remove(job->io, name, NULL);
    if (outcome == STELE_NOT_FOUND || outcome == STELE_E_CORRUPT || outcome == STELE_E_INVALID) {
        /* Not STELE_E_CORRUPT: that would mean that what was there before is damaged. */
        outcome = stele_fail(err, STELE_E_IO, 0, "index run %s: is not what was written", name);
    }
    return outcome;
}

/* ---- Ending ---- */

/* Is everything that the job started from still so? A merge's runs may have been dropped. */
static bool still_wanted(const struct stele_index *index, const struct stele_index_job *job)
{
    if (job->kind != JOB_MERGE) {
        return true;
    }
    uint32_t found = 0;
    for (uint32_t i = 0; i < index->view->count; i++) {
        for (uint32_t k = 0; k < job->merge_count; k++) {
            found += index->view->runs[i] == job->view->runs[job->merge_first + k];
        }
    }
    return found == job->merge_count;
}

static void remove_replaced(struct stele_index *index, const struct stele_index_job *job)
{
    for (uint32_t i = 0; i < job->merge_count; i++) {
        const struct stele_index__run *run = job->view->runs[job->merge_first + i];
        (void)index->io->ops->remove(index->io, run->name, NULL);
    }
}

static int install(struct stele_index *index, struct stele_index_job *job, struct stele_error *err)
{
    STELE_ASSERT(job->result != NULL);
    struct stele_index_view *view = NULL;
    int outcome = STELE_NOT_FOUND;
    if (still_wanted(index, job)) {
        view = view_with(index->view, job->from, job->to, job->result);
        outcome = view == NULL ? STELE_E_NO_MEMORY : STELE_OK;
    }
    if (outcome != STELE_OK) {
        (void)index->io->ops->remove(index->io, job->result->name, NULL);
        return stele_fail(err, outcome, 0, "index run %s: not taken up", job->result->name);
    }
    stele_index__view_install(index, view);
    switch (job->kind) {
    case JOB_FLUSH:
        stele_index__memtable_destroy(index->frozen);
        index->frozen = NULL;
        break;
    case JOB_MERGE:
        remove_replaced(index, job);
        break;
    case JOB_FILL:
        index->was_filled = true;
        break;
    }
    return STELE_OK;
}

int stele_index_job_end(struct stele_index *index, struct stele_index_job *job, int outcome,
                        struct stele_error *err)
{
    int result = outcome;
    if (outcome == STELE_OK) {
        result = install(index, job, err);
    } else if (job->result != NULL) {
        /* It went well, but the caller wants it no more. */
        (void)index->io->ops->remove(index->io, job->result->name, NULL);
    }
    if (job->damaged != NULL) {
        stele_index_drop_run(index, job->damaged->name);
    }
    if (result == STELE_OK) {
        drop_from(index, job->renumber_from);
    }
    job_destroy(index, job);
    return result;
}
