/* Listing names. */
#include "store/store_internal.h"

struct stele_list {
    struct stele_store *store;
    struct stele_index_lister *lister;
    int what;
};

int stele_list_begin(struct stele_store *store, int what, const char *prefix, const char *after,
                     int64_t now_us, struct stele_list **out_list, struct stele_error *err)
{
    static const uint8_t spaces[] = {
        [STELE_LIST_STREAMS] = STELE_SPACE_STREAM,
        [STELE_LIST_CATEGORIES] = STELE_SPACE_CATEGORY,
        [STELE_LIST_TYPES] = STELE_SPACE_TYPE,
        [STELE_LIST_TAGS] = STELE_SPACE_TAG,
    };
    (void)now_us;
    if (what < 0 || (size_t)what >= STELE_COUNT_OF(spaces)) {
        return stele_fail(err, STELE_E_INVALID, 0, "list: %d is nothing that can be listed", what);
    }
    struct stele_list *list = stele_allocate_zeroed(store->alloc, sizeof *list);
    if (list == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "list: no memory");
    }
    list->store = store;
    list->what = what;
    const int outcome =
        store->index_ready
            ? stele_index_list_begin(store->index, spaces[what],
                                     stele_bytes_of_text(prefix == NULL ? "" : prefix),
                                     stele_bytes_of_text(after == NULL ? "" : after), &list->lister)
            : STELE_STORE_INDEX;
    if (outcome != STELE_OK) {
        stele_release(store->alloc, list, sizeof *list);
        return outcome == STELE_STORE_INDEX
                   ? outcome
                   : stele_fail(err, outcome, 0, "list: the index cannot be read");
    }
    *out_list = list;
    return STELE_OK;
}

int stele_list_next(struct stele_list *list, struct stele_text *out_name, uint64_t *out_count,
                    struct stele_error *err)
{
    struct stele_bytes name;
    struct stele_index_state state = {.next = 0};
    const char *damaged = NULL;
    int outcome = STELE_OK;
    do {
        outcome = stele_index_list_next(list->lister, &name, &state, &damaged);
    } while (outcome == STELE_OK &&
             (state.next == 0 || (state.flags & STELE_INDEX_TOMBSTONED) != 0));
    if (outcome == STELE_OK) {
        *out_name = (struct stele_text){.data = (const char *)name.data, .size = name.size};
        *out_count = state.next;
    } else if (outcome != STELE_END) {
        (void)stele_fail(err, outcome, 0, "list: the index run %s cannot be read; it is rebuilt",
                         damaged == NULL ? "" : damaged);
    }
    return outcome;
}

void stele_list_end(struct stele_store *store, struct stele_list *list)
{
    if (list != NULL) {
        stele_index_list_end(list->lister);
        stele_release(store->alloc, list, sizeof *list);
    }
}
