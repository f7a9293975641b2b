/* Questions to several runs at once. */
#include "index/index_internal.h"

struct stele_index_view *stele_index__view_create(struct stele_alloc *alloc, uint64_t from,
                                                  uint64_t to, uint32_t capacity)
{
    STELE_ASSERT(from <= to);
    const size_t size =
        sizeof(struct stele_index_view) + (size_t)capacity * sizeof(struct stele_index__run *);
    struct stele_index_view *view = stele_allocate(alloc, size);
    if (view != NULL) {
        *view = (struct stele_index_view){
            .alloc = alloc, .from = from, .to = to, .refs = 1, .size = size};
    }
    return view;
}

void stele_index__view_push(struct stele_index_view *view, struct stele_index__run *run)
{
    STELE_ASSERT(sizeof *view + (view->count + 1) * sizeof run <= view->size);
    STELE_ASSERT(run->header.from >=
                 (view->count == 0 ? view->from : view->runs[view->count - 1]->header.to));
    STELE_ASSERT(run->header.to <= view->to);
    stele_index__run_ref(run);
    view->runs[view->count++] = run;
}

void stele_index__view_unref(struct stele_index_view *view)
{
    STELE_ASSERT(view->refs > 0);
    if (--view->refs > 0) {
        return;
    }
    for (uint32_t i = 0; i < view->count; i++) {
        stele_index__run_unref(view->runs[i]);
    }
    stele_release(view->alloc, view, view->size);
}

void stele_index__view_install(struct stele_index *index, struct stele_index_view *take_view)
{
    if (index->view != NULL) {
        STELE_ASSERT(index->view->from == take_view->from);
        stele_index__view_unref(index->view);
    }
    index->view = take_view;
}

struct stele_index_view *stele_index_view_acquire(struct stele_index *index)
{
    index->view->refs++;
    return index->view;
}

void stele_index_view_release(struct stele_index_view *view)
{
    stele_index__view_unref(view);
}

bool stele_index_view_has_holes(const struct stele_index_view *view)
{
    uint64_t reached = view->from;
    for (uint32_t i = 0; i < view->count; i++) {
        if (view->runs[i]->header.from != reached) {
            return true;
        }
        reached = view->runs[i]->header.to;
    }
    return reached != view->to;
}

/* Walks the runs from the newest to the oldest. */
struct walk {
    const struct stele_index_view *view;
    uint32_t left;
    uint64_t reached; /* All from here on has been walked. */
};

static struct walk walk_from(const struct stele_index_view *view, uint64_t below)
{
    struct walk walk = {.view = view, .left = view->count, .reached = view->to};
    while (walk.left > 0 && view->runs[walk.left - 1]->header.from >= below) {
        walk.left--;
        walk.reached = view->runs[walk.left]->header.from;
    }
    if (walk.reached > below) {
        walk.reached = below;
    }
    return walk;
}

/* STELE_OK and the next older run; STELE_INCOMPLETE: a hole comes first; STELE_END. */
static int walk_older(struct walk *walk, struct stele_index__run **out_run)
{
    if (walk->left == 0) {
        return walk->reached == walk->view->from ? STELE_END : STELE_INCOMPLETE;
    }
    struct stele_index__run *run = walk->view->runs[walk->left - 1];
    if (run->header.to != walk->reached) {
        return STELE_INCOMPLETE;
    }
    walk->left--;
    walk->reached = run->header.from;
    *out_run = run;
    return STELE_OK;
}

/* The next older run that has the key. */
static int walk_to_key(struct walk *walk, const struct stele_index_key *key,
                       struct stele_index__run **out_run, struct stele_index__key *out_key)
{
    for (;;) {
        int outcome = walk_older(walk, out_run);
        if (outcome != STELE_OK) {
            return outcome;
        }
        outcome = stele_index__run_find(*out_run, key, out_key);
        if (outcome != STELE_NOT_FOUND) {
            return outcome;
        }
    }
}

int stele_index__view_state_below(const struct stele_index_view *view,
                                  const struct stele_index_key *key, uint64_t below,
                                  struct stele_index_state *out_state,
                                  struct stele_index__run **out_damaged)
{
    struct walk walk = walk_from(view, below);
    struct stele_index__run *run = NULL;
    struct stele_index__key found;
    const int outcome = walk_to_key(&walk, key, &run, &found);
    if (outcome == STELE_OK) {
        *out_state =
            (struct stele_index_state){.next = found.first + found.count, .flags = found.flags};
    } else if (outcome == STELE_END) {
        *out_state = (struct stele_index_state){.next = 0};
        return STELE_OK;
    } else if (outcome == STELE_E_CORRUPT) {
        *out_damaged = run;
    }
    return outcome;
}

int stele_index_view_state(const struct stele_index_view *view, const struct stele_index_key *key,
                           struct stele_index_state *out_state, const char **out_damaged)
{
    struct stele_index__run *damaged = NULL;
    const int outcome = stele_index__view_state_below(view, key, view->to, out_state, &damaged);
    if (outcome == STELE_E_CORRUPT) {
        *out_damaged = damaged->name;
    }
    return outcome;
}

/* The part of lo … lo + count that a run has. */
static int copy_places(const struct stele_index__run *run, const struct stele_index__key *key,
                       uint64_t lo, size_t count, uint64_t *places)
{
    const uint64_t from = key->first > lo ? key->first : lo;
    const uint64_t key_end = key->first + key->count;
    const uint64_t to = key_end - lo < count ? key_end : lo + count;
    if (from >= to) {
        return STELE_OK;
    }
    return stele_index__run_places(run, key, from - key->first, (size_t)(to - from),
                                   places + (from - lo));
}

int stele_index_view_places(const struct stele_index_view *view, const struct stele_index_key *key,
                            uint64_t lo, size_t max, uint64_t *places, size_t *out_count,
                            const char **out_damaged)
{
    struct walk walk = walk_from(view, view->to);
    size_t count = 0;
    bool first = true;
    for (;;) {
        struct stele_index__run *run = NULL;
        struct stele_index__key found;
        int outcome = walk_to_key(&walk, key, &run, &found);
        if (outcome == STELE_END) {
            break; /* Ordinals below the first that is known: their events are gone. */
        }
        if (outcome == STELE_OK && found.first + found.count > lo) {
            if (first) {
                const uint64_t known = found.first + found.count - lo;
                count = known < max ? (size_t)known : max;
                /* An ordinal between two runs that neither has: its event is gone. */
                memset(places, 0xff, count * sizeof *places);
                first = false;
            }
            outcome = copy_places(run, &found, lo, count, places);
        }
        if (outcome != STELE_OK) {
            if (outcome == STELE_E_CORRUPT) {
                *out_damaged = run->name;
            }
            return outcome;
        }
        if (found.first <= lo) {
            break;
        }
    }
    *out_count = count;
    return STELE_OK;
}

/* The oldest run that ends above place, and whether nothing is missing from there on. */
static uint32_t first_run_above(const struct stele_index_view *view, uint64_t place)
{
    uint32_t lo = 0;
    uint32_t hi = view->count;
    while (lo < hi) {
        const uint32_t middle = lo + (hi - lo) / 2;
        if (view->runs[middle]->header.to <= place) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return lo;
}

int stele_index_view_lower_bound(const struct stele_index_view *view,
                                 const struct stele_index_key *key, uint64_t place,
                                 uint64_t *out_ordinal, const char **out_damaged)
{
    uint64_t reached = place > view->from ? place : view->from;
    for (uint32_t i = first_run_above(view, place); i < view->count; i++) {
        const struct stele_index__run *run = view->runs[i];
        if (run->header.from > reached) {
            return STELE_INCOMPLETE;
        }
        reached = run->header.to;
        struct stele_index__key found;
        int outcome = stele_index__run_find(run, key, &found);
        if (outcome == STELE_OK) {
            outcome = stele_index__run_lower_bound(run, &found, place, out_ordinal);
        }
        if (outcome == STELE_E_CORRUPT) {
            *out_damaged = run->name;
        }
        if (outcome != STELE_NOT_FOUND) {
            return outcome;
        }
    }
    if (reached < view->to) {
        return STELE_INCOMPLETE;
    }
    *out_ordinal = UINT64_MAX;
    return STELE_OK;
}

int stele_index_view_ids(const struct stele_index_view *view, uint64_t id_hash, uint64_t *places,
                         size_t max, size_t *out_count, const char **out_damaged)
{
    struct walk walk = walk_from(view, view->to);
    size_t count = 0;
    while (count < max) {
        struct stele_index__run *run = NULL;
        int outcome = walk_older(&walk, &run);
        if (outcome == STELE_END) {
            break;
        }
        if (outcome == STELE_OK) {
            outcome = stele_index__run_ids(run, id_hash, places, max, &count);
        }
        if (outcome == STELE_E_CORRUPT) {
            *out_damaged = run->name;
        }
        if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
            return outcome;
        }
    }
    *out_count = count;
    return STELE_OK;
}
