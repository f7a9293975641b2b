/* Looking at everything, whether somebody asked for it or not. */
#include "index/index_internal.h"

struct verify {
    const struct stele_index__run *run;
    void (*on_damage)(void *context, const char *file, uint64_t offset, const char *what);
    void *context;
    bool damaged;
};

static void tell(struct verify *verify, uint64_t offset, const char *what)
{
    verify->damaged = true;
    if (verify->on_damage != NULL) {
        verify->on_damage(verify->context, verify->run->name, offset, what);
    }
}

static void verify_pages(struct verify *verify)
{
    const struct stele_index__run *run = verify->run;
    struct stele_index__header header;
    struct stele_index__layout layout;
    if (stele_index__header_decode(run->data, run->layout.file_size, &header, &layout) !=
        STELE_OK) {
        tell(verify, 0, "the header is damaged");
    }
    const uint64_t pages = stele_index__run_pages(run);
    for (uint64_t page = 1; page < pages; page++) {
        if (!stele_index__run_page_recheck(run, page)) {
            tell(verify, page * STELE_INDEX__PAGE, "a page does not match its checksum");
        }
    }
}

/* Every name is where a query looks for it, and its places rise. */
static bool key_is_right(const struct stele_index__run *run, uint64_t number)
{
    struct stele_index__key key;
    struct stele_index__key found;
    struct stele_bytes name;
    if (stele_index__run_key(run, number, &key) != STELE_OK ||
        stele_index__run_name(run, &key, &name) != STELE_OK) {
        return false;
    }
    const struct stele_index_key wanted = {.space = key.space, .hash = key.hash, .name = name};
    if (stele_index__run_find(run, &wanted, &found) != STELE_OK ||
        found.name_offset != key.name_offset || found.postings != key.postings) {
        return false;
    }
    const uint64_t step = run->layout.place_size;
    const uint8_t *bytes = stele_index__run_at(run, STELE_INDEX__POSTINGS, key.postings * step,
                                               (uint64_t)key.count * step);
    uint64_t previous = 0;
    for (uint64_t i = 0; bytes != NULL && i < key.count; i++) {
        const uint64_t value = stele_index__place_load(run, bytes + i * step);
        uint64_t place = 0;
        if (value < previous || !stele_index__place_of(run, value, &place)) {
            return false;
        }
        previous = value;
    }
    return bytes != NULL;
}

static bool order_is_right(const struct stele_index__run *run, uint64_t rank)
{
    struct stele_index__key key;
    struct stele_index__key next;
    struct stele_bytes name;
    struct stele_bytes next_name;
    if (stele_index__run_in_order(run, rank, &key, &name) != STELE_OK) {
        return false;
    }
    if (rank + 1 == run->header.keys) {
        return true;
    }
    return stele_index__run_in_order(run, rank + 1, &next, &next_name) == STELE_OK &&
           stele_index__key_compare(0, key.space, name, 0, next.space, next_name) < 0;
}

static void verify_content(struct verify *verify)
{
    const struct stele_index__run *run = verify->run;
    for (uint64_t i = 0; i < run->header.keys; i++) {
        if (!key_is_right(run, i)) {
            tell(verify, run->layout.offset[STELE_INDEX__KEYS] + i * STELE_INDEX__KEY_SIZE,
                 "a name is not indexed rightly");
            return;
        }
        if (!order_is_right(run, i)) {
            tell(verify, run->layout.offset[STELE_INDEX__ORDER] + i * 4, "names are not in order");
            return;
        }
    }
}

int stele_index_verify(struct stele_index_view *view,
                       void (*on_damage)(void *context, const char *file, uint64_t offset,
                                         const char *what),
                       void *context, uint64_t *out_entries, struct stele_error *err)
{
    uint64_t entries = 0;
    const char *damaged = NULL;
    for (uint32_t i = 0; i < view->count; i++) {
        struct verify verify = {.run = view->runs[i], .on_damage = on_damage, .context = context};
        verify_pages(&verify);
        if (!verify.damaged) {
            verify_content(&verify);
        }
        damaged = verify.damaged ? verify.run->name : damaged;
        entries += verify.run->header.postings;
    }
    *out_entries = entries;
    if (damaged != NULL) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "index run %s: damaged", damaged);
    }
    return STELE_OK;
}

void stele_index_check(const struct stele_index *index)
{
    const struct stele_index_view *view = index->view;
    STELE_ASSERT(view->refs > 0);
    uint64_t reached = view->from;
    for (uint32_t i = 0; i < view->count; i++) {
        const struct stele_index__run *run = view->runs[i];
        STELE_ASSERT(run->refs > 0);
        STELE_ASSERT(run->header.from >= reached);
        STELE_ASSERT(run->header.to > run->header.from);
        reached = run->header.to;
    }
    STELE_ASSERT(reached <= view->to);
    STELE_ASSERT(index->active->seen >= index->active->from);
    stele_index__memtable_check(index->active);
    if (index->frozen == NULL) {
        STELE_ASSERT(!index->flushing);
        STELE_ASSERT(index->active->from == view->to);
    } else {
        STELE_ASSERT(index->frozen->from == view->to);
        STELE_ASSERT(index->frozen->to == index->active->from);
        stele_index__memtable_check(index->frozen);
    }
}
