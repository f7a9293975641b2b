/* What a follow wants: a copy of its filter, and the same compiled. */
#include "subs/subs_internal.h"

static const char *copy_text(struct want *want, struct stele_alloc *alloc, const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    const size_t size = strlen(text) + 1;
    char *copy = stele_arena_allocate(&want->arena, alloc, size);
    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

static int copy_names(struct want *want, struct stele_alloc *alloc, const char *const **names,
                      size_t count)
{
    if (count == 0) {
        *names = NULL;
        return STELE_OK;
    }
    const char **copy = stele_arena_allocate(&want->arena, alloc, count * sizeof *copy);
    for (size_t i = 0; copy != NULL && i < count; i++) {
        copy[i] = copy_text(want, alloc, (*names)[i]);
        if (copy[i] == NULL) {
            return STELE_E_NO_MEMORY;
        }
    }
    *names = copy;
    return copy != NULL ? STELE_OK : STELE_E_NO_MEMORY;
}

static int copy(struct want *want, struct stele_alloc *alloc)
{
    struct stele_filter *filter = &want->filter;
    const char *const **lists[] = {&filter->types,      &filter->type_prefixes,
                                   &filter->streams,    &filter->stream_prefixes,
                                   &filter->categories, &filter->tags};
    const size_t counts[] = {filter->types_count,      filter->type_prefixes_count,
                             filter->streams_count,    filter->stream_prefixes_count,
                             filter->categories_count, filter->tags_count};
    int outcome = STELE_OK;
    for (size_t i = 0; i < STELE_COUNT_OF(lists) && outcome == STELE_OK; i++) {
        outcome = copy_names(want, alloc, lists[i], counts[i]);
    }
    const char **texts[] = {&filter->type_regex, &filter->stream_regex};
    for (size_t i = 0; i < STELE_COUNT_OF(texts) && outcome == STELE_OK; i++) {
        if (*texts[i] != NULL) {
            *texts[i] = copy_text(want, alloc, *texts[i]);
            outcome = *texts[i] != NULL ? STELE_OK : STELE_E_NO_MEMORY;
        }
    }
    return outcome;
}

int stele_subs__want_create(struct stele_alloc *alloc, const struct stele_filter *filter,
                            struct want **out_want, struct stele_error *err)
{
    struct want *want = stele_allocate_zeroed(alloc, sizeof *want);
    if (want == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "follow: no memory");
    }
    /* Compiling looks at every name and bound first, so that copying may trust them. */
    want->arena.block_size = 512;
    want->filter = *filter;
    int outcome = stele_filter_compile(alloc, filter, &want->program, err);
    if (outcome == STELE_OK) {
        outcome = copy(want, alloc);
        outcome = outcome == STELE_OK ? outcome : stele_fail(err, outcome, 0, "follow: no memory");
    }
    if (outcome != STELE_OK) {
        stele_subs__want_destroy(alloc, want);
        return outcome;
    }
    *out_want = want;
    return STELE_OK;
}

void stele_subs__want_destroy(struct stele_alloc *alloc, struct want *want)
{
    if (want == NULL) {
        return;
    }
    if (want->program != NULL) {
        stele_filter_release(alloc, want->program);
    }
    stele_arena_deinit(&want->arena, alloc);
    stele_release(alloc, want, sizeof *want);
}
