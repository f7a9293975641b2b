/* From the files of a directory to a view. */
#include "index/index_internal.h"

#define LIST_ATTEMPTS 8

/* A file whose name says that it belongs to the index. */
struct candidate {
    uint64_t from;
    uint64_t to;
    struct stele_index__run *run; /* NULL: not usable. */
    bool leftover;                /* A temporary file. */
    bool hole;                    /* Damaged: its range has to be filled again. */
    bool chosen;
};

struct candidates {
    struct stele_alloc *alloc;
    struct candidate *items;
    size_t count;
    size_t capacity;
    int outcome;
};

static int add_candidate(struct candidates *all, struct candidate candidate)
{
    if (all->count == all->capacity) {
        const size_t capacity = all->capacity == 0 ? 16 : all->capacity * 2;
        struct candidate *items = all->alloc->reallocate(
            all->alloc, all->items, all->capacity * sizeof *items, capacity * sizeof *items);
        if (items == NULL) {
            all->outcome = STELE_E_NO_MEMORY;
            return all->outcome;
        }
        all->items = items;
        all->capacity = capacity;
    }
    all->items[all->count++] = candidate;
    return STELE_OK;
}

static int on_name(void *context, const char *name, uint64_t size)
{
    (void)size;
    struct candidates *all = context;
    struct candidate candidate = {.from = 0};
    if (stele_index__file_name_parse(name, ".tmp", &candidate.from, &candidate.to)) {
        candidate.leftover = true;
        return add_candidate(all, candidate);
    }
    if (stele_index__file_name_parse(name, ".run", &candidate.from, &candidate.to)) {
        return add_candidate(all, candidate);
    }
    return STELE_OK;
}

static void release_candidates(struct candidates *all)
{
    for (size_t i = 0; i < all->count; i++) {
        if (all->items[i].run != NULL) {
            stele_index__run_unref(all->items[i].run);
        }
    }
    stele_release(all->alloc, all->items, all->capacity * sizeof *all->items);
}

/* A run of this range that is open already. The file may have another content by now (dropped and
 * filled again by the writing process), but the one that is open is as good. */
static struct stele_index__run *find_open(const struct stele_index *index, uint64_t from,
                                          uint64_t to)
{
    for (uint32_t i = 0; index->view != NULL && i < index->view->count; i++) {
        struct stele_index__run *run = index->view->runs[i];
        if (run->header.from == from && run->header.to == to) {
            return run;
        }
    }
    return NULL;
}

/* Opens one; *out_vanished if the file is not there any more. */
static int open_candidate(struct stele_index *index, struct candidate *candidate,
                          bool *out_vanished, struct stele_error *err)
{
    candidate->run = find_open(index, candidate->from, candidate->to);
    if (candidate->run != NULL) {
        stele_index__run_ref(candidate->run);
        return STELE_OK;
    }
    const int outcome = stele_index__run_open(index->io, &index->options, candidate->from,
                                              candidate->to, &candidate->run, err);
    switch (outcome) {
    case STELE_NOT_FOUND:
        *out_vanished = true;
        return STELE_OK;
    case STELE_E_CORRUPT:
        candidate->hole = true;
        return STELE_OK;
    case STELE_E_INVALID:
        return STELE_OK;
    default:
        return outcome;
    }
}

static int open_candidates(struct stele_index *index, struct candidates *all, uint64_t log_start,
                           uint64_t log_end, bool *out_vanished, struct stele_error *err)
{
    for (size_t i = 0; i < all->count; i++) {
        struct candidate *candidate = &all->items[i];
        const bool possible = candidate->from < candidate->to && candidate->from >= log_start &&
                              candidate->to <= log_end;
        if (candidate->leftover || !possible) {
            continue;
        }
        const int outcome = open_candidate(index, candidate, out_vanished, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

static void sort_candidates(struct candidates *all,
                            bool (*less)(const struct candidate *a, const struct candidate *b))
{
    for (size_t i = 1; i < all->count; i++) {
        const struct candidate moving = all->items[i];
        size_t at = i;
        while (at > 0 && less(&moving, &all->items[at - 1])) {
            all->items[at] = all->items[at - 1];
            at--;
        }
        all->items[at] = moving;
    }
}

static bool is_longer(const struct candidate *a, const struct candidate *b)
{
    return a->to - a->from != b->to - b->from ? a->to - a->from > b->to - b->from
                                              : a->from < b->from;
}

static bool is_earlier(const struct candidate *a, const struct candidate *b)
{
    return a->from != b->from ? a->from < b->from : a->to < b->to;
}

/* Of runs that overlap the longest is taken: the others went into it, and a crash came before
 * they were removed. Returns the number of those chosen. */
static uint32_t choose(struct candidates *all)
{
    uint32_t chosen = 0;
    sort_candidates(all, is_longer);
    for (size_t i = 0; i < all->count; i++) {
        struct candidate *candidate = &all->items[i];
        bool free = candidate->run != NULL;
        for (size_t k = 0; k < i && free; k++) {
            const struct candidate *other = &all->items[k];
            free = !other->chosen || other->to <= candidate->from || other->from >= candidate->to;
        }
        candidate->chosen = free;
        chosen += free;
    }
    sort_candidates(all, is_earlier);
    return chosen;
}

static struct stele_index_view *make_view(struct candidates *all, uint64_t log_start)
{
    const uint32_t chosen = choose(all);
    uint64_t reached = log_start;
    for (size_t i = 0; i < all->count; i++) {
        const struct candidate *candidate = &all->items[i];
        if ((candidate->chosen || candidate->hole) && candidate->to > reached) {
            reached = candidate->to;
        }
    }
    struct stele_index_view *view =
        stele_index__view_create(all->alloc, log_start, reached, chosen);
    for (size_t i = 0; view != NULL && i < all->count; i++) {
        if (all->items[i].chosen) {
            stele_index__view_push(view, all->items[i].run);
        }
    }
    return view;
}

/* Best effort: what cannot be removed now is looked at again when the store is opened next. */
static void remove_unchosen(struct stele_index *index, const struct candidates *all)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct candidate *candidate = &all->items[i];
        if (!candidate->chosen) {
            char name[STELE_FILE_NAME_MAX];
            stele_index__file_name(name, candidate->from, candidate->to,
                                   candidate->leftover ? ".tmp" : ".run");
            (void)index->io->ops->remove(index->io, name, NULL);
        }
    }
}

static int load_once(struct stele_index *index, uint64_t log_start, uint64_t log_end,
                     struct stele_index_view **out_view, bool *out_vanished,
                     struct stele_error *err)
{
    struct candidates all = {.alloc = index->io->alloc};
    int outcome = index->io->ops->list(index->io, on_name, &all, err);
    if (all.outcome != STELE_OK) {
        outcome = stele_fail(err, all.outcome, 0, "index: no memory to list the runs");
    }
    if (outcome == STELE_OK) {
        outcome = open_candidates(index, &all, log_start, log_end, out_vanished, err);
    }
    if (outcome == STELE_OK) {
        *out_view = make_view(&all, log_start);
        if (*out_view == NULL) {
            outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "index: no memory for the runs");
        } else if (!index->options.read_only) {
            remove_unchosen(index, &all);
        }
    }
    release_candidates(&all);
    return outcome;
}

int stele_index__load(struct stele_index *index, uint64_t log_start, uint64_t log_end,
                      struct stele_index_view **out_view, struct stele_error *err)
{
    struct stele_index_view *view = NULL;
    for (int attempt = 1;; attempt++) {
        bool vanished = false;
        const int outcome = load_once(index, log_start, log_end, &view, &vanished, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        /* The writing process merged runs between list and open: look again. With this bound the
         * worst is a hole, and the log is read instead. */
        if (!vanished || attempt == LIST_ATTEMPTS) {
            *out_view = view;
            return STELE_OK;
        }
        stele_index__view_unref(view);
    }
}
