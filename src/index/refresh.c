/* Following a living writer's runs. */
#include "index/index_internal.h"

/* Is the new view worth taking? The list may have been read between two steps of the writer. */
static bool is_better(const struct stele_index_view *view, const struct stele_index *index)
{
    return view->to >= index->active->from &&
           (!stele_index_view_has_holes(view) || stele_index_view_has_holes(index->view));
}

static bool is_same_run(const struct stele_index__header *a, const struct stele_index__header *b)
{
    return a->from == b->from && a->to == b->to && a->footer_checksum == b->footer_checksum;
}

static bool is_same(const struct stele_index_view *a, const struct stele_index_view *b)
{
    bool same = a->to == b->to && a->count == b->count;
    for (uint32_t i = 0; same && i < a->count; i++) {
        same = is_same_run(&a->runs[i]->header, &b->runs[i]->header);
    }
    return same;
}

/* Memory numbers its events behind those of the runs. What it read from the log itself may have
 * been less than the writer had when it made the runs, because segments are scavenged. So names
 * are numbered anew, except streams: their ordinals are revisions, which the log tells. */
struct renumbering {
    const struct stele_index_view *view;
    bool *changed;
};

static uint64_t base_of(const void *context, const struct stele_index_key *key, uint64_t otherwise)
{
    const struct renumbering *renumbering = context;
    struct stele_index_state state;
    struct stele_index__run *damaged = NULL;
    const struct stele_index_view *view = renumbering->view;
    if (key->space == STELE_SPACE_STREAM ||
        stele_index__view_state_below(view, key, view->to, &state, &damaged) != STELE_OK) {
        return otherwise; /* Where the runs cannot tell, nobody is answered from them either. */
    }
    *renumbering->changed = *renumbering->changed || state.next != otherwise;
    return state.next;
}

int stele_index_refresh(struct stele_index *index, uint64_t log_end, struct stele_error *err)
{
    STELE_ASSERT(index->options.read_only);
    struct stele_index_view *view = NULL;
    const int outcome = stele_index__load(index, index->view->from, log_end, &view, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (!is_better(view, index) || is_same(view, index->view)) {
        stele_index__view_unref(view);
        return STELE_OK;
    }
    bool changed = false;
    const struct renumbering renumbering = {.view = view, .changed = &changed};
    struct stele_index__memtable *rest =
        stele_index__memtable_rest(index->active, view->to, base_of, &renumbering);
    if (rest == NULL) {
        stele_index__view_unref(view);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "index: no memory to follow the runs");
    }
    stele_index__memtable_destroy(index->active);
    index->active = rest;
    index->numbering += changed ? 1 : 0;
    stele_index__view_install(index, view);
    return STELE_OK;
}
