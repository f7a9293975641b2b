/* Following a living writer's runs. */
#include "index/index_internal.h"

/* Is the new view worth taking? The list may have been read between two steps of the writer. */
static bool is_better(const struct stele_index_view *view, const struct stele_index *index)
{
    return view->to >= index->active->from &&
           (!stele_index_view_has_holes(view) || stele_index_view_has_holes(index->view));
}

int stele_index_refresh(struct stele_index *index, uint64_t log_end, struct stele_error *err)
{
    STELE_ASSERT(index->options.read_only);
    struct stele_index_view *view = NULL;
    const int outcome = stele_index__load(index, index->view->from, log_end, &view, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (!is_better(view, index)) {
        stele_index__view_unref(view);
        return STELE_OK;
    }
    if (view->to > index->active->from) {
        struct stele_index__memtable *rest = stele_index__memtable_rest(index->active, view->to);
        if (rest == NULL) {
            stele_index__view_unref(view);
            return stele_fail(err, STELE_E_NO_MEMORY, 0, "index: no memory to follow the runs");
        }
        stele_index__memtable_destroy(index->active);
        index->active = rest;
    }
    stele_index__view_install(index, view);
    return STELE_OK;
}
