/* Names in order, merged over memory and runs. */
#include "index/index_internal.h"
#include "index/sort.h"

/* A copy of what memory knew of one name. */
struct item {
    struct stele_index_state state;
    size_t name_offset;
    uint16_t name_size;
};

/* A place in one run's order of names. */
struct cursor {
    uint64_t rank;
    bool ended;
    struct stele_index__key key;
    struct stele_bytes name;
};

struct stele_index_lister {
    struct stele_alloc *alloc;
    struct stele_index_view *view;
    uint8_t space;
    bool started;
    bool has_after;
    struct stele_buf prefix;
    struct stele_buf after;
    struct stele_buf names; /* Of the items. */
    struct item *items;
    struct stele_index__named *order; /* Sorted; number is an item's. */
    size_t items_count;
    size_t items_capacity;
    size_t item_at;
    struct cursor *cursors; /* One for each run of the view. */
};

static struct stele_bytes borrow(const struct stele_buf *buf)
{
    return (struct stele_bytes){.data = buf->data, .size = buf->size};
}

/* ---- Beginning: everything that needs the exclusion ---- */

static bool is_listed(const struct stele_index_lister *lister, struct stele_bytes name)
{
    return stele_bytes_has_prefix(name, borrow(&lister->prefix)) &&
           (!lister->has_after || stele_bytes_compare(name, borrow(&lister->after)) > 0);
}

static bool grow_items(struct stele_index_lister *lister)
{
    if (lister->items_count < lister->items_capacity) {
        return true;
    }
    const size_t capacity = lister->items_capacity == 0 ? 64 : lister->items_capacity * 2;
    struct item *items =
        lister->alloc->reallocate(lister->alloc, lister->items,
                                  lister->items_capacity * sizeof *items, capacity * sizeof *items);
    if (items == NULL) {
        return false;
    }
    lister->items = items;
    lister->items_capacity = capacity;
    return true;
}

static int copy_entry(struct stele_index_lister *lister, const struct stele_index__entry *entry)
{
    const size_t name_offset = lister->names.size;
    if (!grow_items(lister) || stele_buf_append(&lister->names, lister->alloc,
                                                stele_index__entry_name(entry)) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    lister->items[lister->items_count++] = (struct item){
        .state = {.next = entry->head.next, .flags = entry->head.flags},
        .name_offset = name_offset,
        .name_size = entry->name_size,
    };
    return STELE_OK;
}

/* Copies the entries of a memtable that are listed and that the newer one, if any, does not hide.
 * One pass: the index stands still meanwhile. */
static int copy_table(struct stele_index_lister *lister, const struct stele_index__memtable *table,
                      const struct stele_index__memtable *newer)
{
    for (size_t i = 0; i < table->slots_capacity; i++) {
        const struct stele_index__entry *entry = table->slots[i].entry;
        if (entry == NULL || entry->space != lister->space || entry->head.next == 0 ||
            !is_listed(lister, stele_index__entry_name(entry))) {
            continue;
        }
        const struct stele_index_key key = {.space = entry->space,
                                            .hash = table->slots[i].hash,
                                            .name = stele_index__entry_name(entry)};
        if (newer != NULL && stele_index__memtable_find(newer, &key) != NULL) {
            continue;
        }
        const int outcome = copy_entry(lister, entry);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

static int copy_memory(struct stele_index_lister *lister, const struct stele_index *index)
{
    int outcome = copy_table(lister, index->active, NULL);
    if (outcome == STELE_OK && index->frozen != NULL) {
        outcome = copy_table(lister, index->frozen, index->active);
    }
    if (outcome == STELE_OK && lister->items_count > 0) {
        lister->order = stele_allocate(lister->alloc, lister->items_count * sizeof *lister->order);
        outcome = lister->order == NULL ? STELE_E_NO_MEMORY : STELE_OK;
    }
    return outcome;
}

static int set_up(struct stele_index_lister *lister, struct stele_index *index,
                  struct stele_bytes prefix, struct stele_bytes after)
{
    const struct stele_index_view *view = lister->view;
    lister->has_after = after.data != NULL;
    if ((prefix.size > 0 && stele_buf_append(&lister->prefix, lister->alloc, prefix) != STELE_OK) ||
        (after.size > 0 && stele_buf_append(&lister->after, lister->alloc, after) != STELE_OK)) {
        return STELE_E_NO_MEMORY;
    }
    if (view->count > 0) {
        lister->cursors =
            stele_allocate_zeroed(lister->alloc, view->count * sizeof *lister->cursors);
        if (lister->cursors == NULL) {
            return STELE_E_NO_MEMORY;
        }
    }
    return copy_memory(lister, index);
}

int stele_index_list_begin(struct stele_index *index, uint8_t space, struct stele_bytes prefix,
                           struct stele_bytes after, struct stele_index_lister **out_lister)
{
    STELE_ASSERT(space < STELE_SPACES);
    if (stele_index_view_has_holes(index->view)) {
        return STELE_INCOMPLETE;
    }
    struct stele_alloc *alloc = index->io->alloc;
    struct stele_index_lister *lister = stele_allocate_zeroed(alloc, sizeof *lister);
    if (lister == NULL) {
        return STELE_E_NO_MEMORY;
    }
    lister->alloc = alloc;
    lister->space = space;
    lister->view = stele_index_view_acquire(index);
    const int outcome = set_up(lister, index, prefix, after);
    if (outcome != STELE_OK) {
        stele_index_list_end(lister);
        return outcome;
    }
    *out_lister = lister;
    return STELE_OK;
}

void stele_index_list_end(struct stele_index_lister *lister)
{
    if (lister == NULL) {
        return;
    }
    struct stele_alloc *alloc = lister->alloc;
    const size_t runs = lister->view->count;
    stele_index_view_release(lister->view);
    stele_buf_deinit(&lister->prefix, alloc);
    stele_buf_deinit(&lister->after, alloc);
    stele_buf_deinit(&lister->names, alloc);
    stele_release(alloc, lister->items, lister->items_capacity * sizeof *lister->items);
    stele_release(alloc, lister->order, lister->items_count * sizeof *lister->order);
    stele_release(alloc, lister->cursors, runs * sizeof *lister->cursors);
    stele_release(alloc, lister, sizeof *lister);
}

/* ---- Going on: without it ---- */

static void sort_items(struct stele_index_lister *lister)
{
    for (size_t i = 0; i < lister->items_count; i++) {
        lister->order[i] = (struct stele_index__named){
            .name = lister->names.data + lister->items[i].name_offset,
            .size = lister->items[i].name_size,
            .space = lister->space,
            .number = (uint32_t)i,
        };
    }
    stele_index__sort_named(lister->order, lister->items_count);
}

/* Loads the name at a cursor's rank; the cursor ends where the prefix does. */
static int load_cursor(const struct stele_index_lister *lister, uint32_t i)
{
    struct cursor *cursor = &lister->cursors[i];
    const struct stele_index__run *run = lister->view->runs[i];
    if (cursor->rank >= run->header.keys) {
        cursor->ended = true;
        return STELE_OK;
    }
    const int outcome = stele_index__run_in_order(run, cursor->rank, &cursor->key, &cursor->name);
    if (outcome != STELE_OK) {
        return outcome;
    }
    cursor->ended = cursor->key.space != lister->space ||
                    !stele_bytes_has_prefix(cursor->name, borrow(&lister->prefix));
    return STELE_OK;
}

static int start_cursor(const struct stele_index_lister *lister, uint32_t i)
{
    struct cursor *cursor = &lister->cursors[i];
    const struct stele_bytes prefix = borrow(&lister->prefix);
    const struct stele_bytes after = borrow(&lister->after);
    const bool from_after = lister->has_after && stele_bytes_compare(after, prefix) >= 0;
    int outcome = stele_index__run_rank(lister->view->runs[i], lister->space,
                                        from_after ? after : prefix, &cursor->rank);
    if (outcome == STELE_OK) {
        outcome = load_cursor(lister, i);
    }
    if (outcome == STELE_OK && from_after && !cursor->ended &&
        stele_bytes_equal(cursor->name, after)) {
        cursor->rank++;
        outcome = load_cursor(lister, i);
    }
    return outcome;
}

static int start(struct stele_index_lister *lister, const char **out_damaged)
{
    if (lister->started) {
        return STELE_OK;
    }
    sort_items(lister);
    for (uint32_t i = 0; i < lister->view->count; i++) {
        const int outcome = start_cursor(lister, i);
        if (outcome != STELE_OK) {
            *out_damaged = lister->view->runs[i]->name;
            return outcome;
        }
    }
    lister->started = true;
    return STELE_OK;
}

/* The lowest name that stands anywhere. false: there is none any more. */
static bool find_lowest(const struct stele_index_lister *lister, struct stele_bytes *out_name)
{
    bool found = lister->item_at < lister->items_count;
    if (found) {
        const struct stele_index__named *item = &lister->order[lister->item_at];
        *out_name = (struct stele_bytes){.data = item->name, .size = item->size};
    }
    for (uint32_t i = 0; i < lister->view->count; i++) {
        const struct cursor *cursor = &lister->cursors[i];
        if (!cursor->ended && (!found || stele_bytes_compare(cursor->name, *out_name) < 0)) {
            *out_name = cursor->name;
            found = true;
        }
    }
    return found;
}

/* Takes the name from everywhere. The newest that has it knows its state: memory, then the last
 * run. Name points into one of them and stays good: neither moves. */
static int take_name(struct stele_index_lister *lister, struct stele_bytes name,
                     struct stele_index_state *out_state, const char **out_damaged)
{
    struct stele_index_state state = {.next = 0};
    for (uint32_t i = 0; i < lister->view->count; i++) {
        struct cursor *cursor = &lister->cursors[i];
        if (cursor->ended || !stele_bytes_equal(cursor->name, name)) {
            continue;
        }
        state.next = cursor->key.first + cursor->key.count;
        state.flags |= cursor->key.flags;
        cursor->rank++;
        const int outcome = load_cursor(lister, i);
        if (outcome != STELE_OK) {
            cursor->rank--;
            *out_damaged = lister->view->runs[i]->name;
            return outcome;
        }
    }
    if (lister->item_at < lister->items_count) {
        const struct stele_index__named *item = &lister->order[lister->item_at];
        if (item->size == name.size && memcmp(item->name, name.data, name.size) == 0) {
            state.next = lister->items[item->number].state.next;
            state.flags |= lister->items[item->number].state.flags;
            lister->item_at++;
        }
    }
    *out_state = state;
    return STELE_OK;
}

int stele_index_list_next(struct stele_index_lister *lister, struct stele_bytes *out_name,
                          struct stele_index_state *out_state, const char **out_damaged)
{
    int outcome = start(lister, out_damaged);
    while (outcome == STELE_OK) {
        struct stele_bytes name;
        struct stele_index_state state = {.next = 0};
        if (!find_lowest(lister, &name)) {
            return STELE_END;
        }
        outcome = take_name(lister, name, &state, out_damaged);
        if (outcome == STELE_OK && state.next > 0) {
            *out_name = name;
            *out_state = state;
            return STELE_OK;
        }
    }
    return outcome;
}
