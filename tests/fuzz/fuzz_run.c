/* Any bytes whatever may stand in a file of the index: opening, asking, listing, verifying and
 * merging it ends, stays in bounds, and answers or says that it is damaged.
 *
 * The first byte decides: 0, the rest is the file as it is. Otherwise the rest is what stands in
 * the sections, and counts and checksums are made to fit: else nothing would ever get past them. */
#include "base/checksum.h"
#include "index/index_internal.h"
#include "index/merge.h"
#include "lib/memio.h"
#include "lib/testalloc.h"

#include <stdlib.h>

#define FROM 4096
#define FILE_SIZE_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct source {
    const uint8_t *data;
    size_t size;
};

static uint8_t take(struct source *source)
{
    if (source->size == 0) {
        return 0;
    }
    source->size--;
    return *source->data++;
}

/* A file with everything right but what stands in it. *size is 0 if it would be too large. */
static uint64_t make_file(struct source *source, const struct stele_index_options *options,
                          uint64_t to, uint8_t *file)
{
    struct stele_index__header header = {
        .seed_check = stele_index__seed_check(options->seed), .from = FROM, .to = to};
    header.keys = take(source) % 48;
    header.ids = take(source) % 48;
    header.names_size = take(source);
    header.postings = take(source);
    for (int space = 0; space < STELE_SPACES; space++) {
        header.names_first[space] = take(source);
    }
    struct stele_index__layout layout;
    stele_index__layout(&header, &layout);
    if (layout.file_size > FILE_SIZE_MAX) {
        return 0;
    }
    memset(file, 0, (size_t)layout.file_size);
    for (int section = 0; section < STELE_INDEX__CHECKSUMS; section++) {
        /* Filters full of ones let everything through, as does a directory of one bucket. */
        const bool filter = section <= STELE_INDEX__ID_FILTER;
        for (uint64_t i = 0; i < layout.size[section]; i++) {
            file[layout.offset[section] + i] = filter ? 0xff : take(source);
        }
    }
    for (uint64_t page = 0; page < layout.pages; page++) {
        const struct stele_bytes bytes = {.data = file + page * STELE_INDEX__PAGE,
                                          .size = STELE_INDEX__PAGE};
        stele_store_u32le(file + layout.offset[STELE_INDEX__CHECKSUMS] + page * 4,
                          stele_crc32c(bytes));
    }
    uint8_t *footer = file + layout.offset[STELE_INDEX__FOOTER];
    for (uint64_t i = 0; i < layout.size[STELE_INDEX__FOOTER] / 4; i++) {
        const struct stele_bytes bytes = {.data = file + layout.offset[STELE_INDEX__CHECKSUMS] +
                                                  i * STELE_INDEX__PAGE,
                                          .size = STELE_INDEX__PAGE};
        stele_store_u32le(footer + i * 4, stele_crc32c(bytes));
    }
    header.footer_checksum = stele_crc32c(
        (struct stele_bytes){.data = footer, .size = (size_t)layout.size[STELE_INDEX__FOOTER]});
    stele_index__header_encode(&header, file);
    return layout.file_size;
}

static void ask_about(const struct stele_index_view *view, const struct stele_index_key *key)
{
    const char *damaged = NULL;
    struct stele_index_state state = {.next = 0};
    uint64_t places[40];
    uint64_t ordinal = 0;
    size_t count = 0;
    if (stele_index_view_state(view, key, &state, &damaged) != STELE_OK) {
        state.next = 30;
    }
    const uint64_t lo = state.next > 20 ? state.next - 20 : 0;
    (void)stele_index_view_places(view, key, lo, 40, places, &count, &damaged);
    (void)stele_index_view_places(view, key, 0, 7, places, &count, &damaged);
    (void)stele_index_view_lower_bound(view, key, FROM + 800, &ordinal, &damaged);
    (void)stele_index_view_ids(view, key->hash, places, 40, &count, &damaged);
}

/* Every key that the run has, as it has it. */
static void ask_all(const struct stele_index_view *view)
{
    for (uint32_t i = 0; i < view->count; i++) {
        const struct stele_index__run *run = view->runs[i];
        for (uint64_t number = 0; number < run->header.keys; number++) {
            struct stele_index__key key;
            struct stele_index_key wanted;
            if (stele_index__run_key(run, number, &key) == STELE_OK &&
                stele_index__run_name(run, &key, &wanted.name) == STELE_OK) {
                wanted.space = key.space;
                wanted.hash = key.hash;
                ask_about(view, &wanted);
            }
        }
    }
}

static void list_all(struct stele_index *index)
{
    const struct stele_bytes none = {.data = NULL, .size = 0};
    for (uint8_t space = 0; space < STELE_SPACES; space++) {
        struct stele_index_lister *lister = NULL;
        if (stele_index_list_begin(index, space, none, none, &lister) != STELE_OK) {
            return;
        }
        struct stele_bytes name;
        struct stele_index_state state;
        const char *damaged = NULL;
        for (int i = 0; i < 100; i++) {
            if (stele_index_list_next(lister, &name, &state, &damaged) != STELE_OK) {
                break;
            }
        }
        stele_index_list_end(lister);
    }
}

static void merge_all(struct memio *disk, const struct stele_index_options *options,
                      struct stele_index_view *view)
{
    if (view->count == 0) {
        return;
    }
    const struct stele_index__target target = {
        .io = &disk->io, .options = options, .from = view->from, .to = view->to};
    struct stele_index__run *damaged = NULL;
    (void)stele_index__merge(view->runs, view->count, &target, &damaged, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t file[FILE_SIZE_MAX];
    struct source source = {.data = data, .size = size};
    static struct testalloc alloc;
    static struct memio disk;
    testalloc_init(&alloc, 1);
    memio_init(&disk, &alloc.base, 1);
    const struct stele_index_options options = {.seed = 7};
    const uint8_t kind = take(&source);
    const uint64_t to = kind % 3 == 1 ? FROM + (UINT64_C(33) << 30) : FROM + 4096;
    uint64_t file_size = 0;
    if (kind == 0) {
        file_size = source.size < FILE_SIZE_MAX ? source.size : FILE_SIZE_MAX;
        memcpy(file, source.data, (size_t)file_size);
    } else {
        file_size = make_file(&source, &options, to, file);
    }
    char name[STELE_FILE_NAME_MAX];
    stele_index__file_name(name, FROM, to, ".run");
    memio_put(&disk, name, (struct stele_bytes){.data = file, .size = (size_t)file_size});
    struct stele_index *index = NULL;
    if (stele_index_open(&disk.io, &options, FROM, to, &index, NULL) != STELE_OK) {
        abort();
    }
    struct stele_index_view *view = stele_index_view_acquire(index);
    const struct stele_index_key key = stele_index_key(7, 0, stele_bytes_of_text("s"));
    ask_about(view, &key);
    ask_all(view);
    list_all(index);
    uint64_t entries = 0;
    (void)stele_index_verify(view, NULL, NULL, &entries, NULL);
    merge_all(&disk, &options, view);
    stele_index_view_release(view);
    stele_index_close(index);
    memio_deinit(&disk);
    if (alloc.bytes != 0) {
        abort();
    }
    return 0;
}
