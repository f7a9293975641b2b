/* Filters: compiled once per read, asked once per event. */
#include "store/filter.h"

#include "store/store_internal.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Bounds the work that one regular expression may cause on one name. */
#define MATCH_LIMIT 100000
#define HEAP_LIMIT_KIB 1024
#define NAMES_MAX 1024

struct names {
    struct stele_bytes *names;
    size_t count;
};

struct stele_filter_program {
    struct stele_alloc *alloc;
    struct stele_arena arena;
    struct names types, type_prefixes, streams, stream_prefixes, categories, tags;
    pcre2_general_context *context;
    pcre2_match_context *match_context;
    pcre2_code *type_regex;
    pcre2_code *stream_regex;
    pcre2_match_data *match_data;
    bool exclude_system;
    bool no_memory; /* A match could not be made. */
};

/* PCRE2 frees without saying how much: the size stands in front. */
#define PREFIX_SIZE 16

static void *regex_allocate(size_t size, void *alloc)
{
    uint8_t *memory = stele_allocate(alloc, size + PREFIX_SIZE);
    if (memory == NULL) {
        return NULL;
    }
    stele_store_u64le(memory, size + PREFIX_SIZE);
    return memory + PREFIX_SIZE;
}

static void regex_release(void *memory, void *alloc)
{
    if (memory != NULL) {
        uint8_t *begin = (uint8_t *)memory - PREFIX_SIZE;
        stele_release(alloc, begin, (size_t)stele_load_u64le(begin));
    }
}

static int copy_names(struct stele_filter_program *program, struct names *to, const char *what,
                      const char *const *names, size_t count, struct stele_error *err)
{
    if (count == 0) {
        return STELE_OK;
    }
    if (names == NULL || count > NAMES_MAX) {
        return stele_fail(err, names == NULL ? STELE_E_INVALID : STELE_E_LIMIT, 0,
                          "filter: %zu %s; at most %d are allowed", count, what, NAMES_MAX);
    }
    to->names = stele_arena_allocate(&program->arena, program->alloc, count * sizeof *to->names);
    if (to->names == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "filter: no memory");
    }
    for (size_t i = 0; i < count; i++) {
        if (names[i] == NULL) {
            return stele_fail(err, STELE_E_INVALID, 0, "filter: one of the %s is NULL", what);
        }
        const size_t size = strlen(names[i]);
        uint8_t *copy = stele_arena_allocate(&program->arena, program->alloc, size + 1);
        if (copy == NULL) {
            return stele_fail(err, STELE_E_NO_MEMORY, 0, "filter: no memory");
        }
        memcpy(copy, names[i], size + 1);
        to->names[to->count++] = (struct stele_bytes){.data = copy, .size = size};
    }
    return STELE_OK;
}

static int compile(struct stele_filter_program *program, const char *pattern, pcre2_code **out_code,
                   struct stele_error *err)
{
    if (pattern == NULL) {
        return STELE_OK;
    }
    pcre2_compile_context *context = pcre2_compile_context_create(program->context);
    if (context == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "filter: no memory");
    }
    int code = 0;
    PCRE2_SIZE at = 0;
    *out_code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                              PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &at, context);
    pcre2_compile_context_free(context);
    if (*out_code != NULL) {
        return STELE_OK;
    }
    if (code == PCRE2_ERROR_HEAP_FAILED) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "filter: no memory");
    }
    PCRE2_UCHAR words[128];
    if (pcre2_get_error_message(code, words, sizeof words) < 0) {
        words[0] = '\0';
    }
    return stele_fail(err, STELE_E_INVALID, 0, "filter: regular expression, character %zu: %s",
                      (size_t)at + 1, (const char *)words);
}

/* A match that runs into a limit counts as none: such a pattern is the caller's to mend. */
static bool matches(struct stele_filter_program *program, const pcre2_code *code,
                    struct stele_bytes name)
{
    if (code == NULL) {
        return true;
    }
    const int found =
        pcre2_match(code, name.data, name.size, 0, 0, program->match_data, program->match_context);
    program->no_memory = program->no_memory || found == PCRE2_ERROR_NOMEMORY;
    return found >= 0;
}

static int make_regexes(struct stele_filter_program *program, const struct stele_filter *filter,
                        struct stele_error *err)
{
    if (filter->type_regex == NULL && filter->stream_regex == NULL) {
        return STELE_OK;
    }
    program->context = pcre2_general_context_create(regex_allocate, regex_release, program->alloc);
    if (program->context != NULL) {
        program->match_context = pcre2_match_context_create(program->context);
        program->match_data = pcre2_match_data_create(1, program->context);
    }
    if (program->match_context == NULL || program->match_data == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "filter: no memory");
    }
    (void)pcre2_set_match_limit(program->match_context, MATCH_LIMIT);
    (void)pcre2_set_heap_limit(program->match_context, HEAP_LIMIT_KIB);
    const int outcome = compile(program, filter->type_regex, &program->type_regex, err);
    const int next = outcome == STELE_OK
                         ? compile(program, filter->stream_regex, &program->stream_regex, err)
                         : outcome;
    if (next != STELE_OK) {
        return next;
    }
    /* Makes the room that nearly all matches get along with. */
    const struct stele_bytes nothing = stele_bytes_of_text("");
    (void)matches(program, program->type_regex, nothing);
    (void)matches(program, program->stream_regex, nothing);
    return program->no_memory ? stele_fail(err, STELE_E_NO_MEMORY, 0, "filter: no memory")
                              : STELE_OK;
}

int stele_store__filter_create(struct stele_alloc *alloc, const struct stele_filter *filter,
                               struct stele_filter_program **out_program, struct stele_error *err)
{
    struct stele_filter_program *program = stele_allocate_zeroed(alloc, sizeof *program);
    if (program == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "filter: no memory");
    }
    program->alloc = alloc;
    program->arena.block_size = 1024;
    program->exclude_system = filter->exclude_system != 0;
    const struct {
        struct names *to;
        const char *what;
        const char *const *names;
        size_t count;
    } lists[] = {
        {&program->types, "types", filter->types, filter->types_count},
        {&program->type_prefixes, "type prefixes", filter->type_prefixes,
         filter->type_prefixes_count},
        {&program->streams, "streams", filter->streams, filter->streams_count},
        {&program->stream_prefixes, "stream prefixes", filter->stream_prefixes,
         filter->stream_prefixes_count},
        {&program->categories, "categories", filter->categories, filter->categories_count},
        {&program->tags, "tags", filter->tags, filter->tags_count},
    };
    int outcome = STELE_OK;
    for (size_t i = 0; i < STELE_COUNT_OF(lists) && outcome == STELE_OK; i++) {
        outcome =
            copy_names(program, lists[i].to, lists[i].what, lists[i].names, lists[i].count, err);
    }
    if (outcome == STELE_OK) {
        outcome = make_regexes(program, filter, err);
    }
    if (outcome != STELE_OK) {
        stele_store__filter_destroy(alloc, program);
        return outcome;
    }
    *out_program = program;
    return STELE_OK;
}

void stele_store__filter_destroy(struct stele_alloc *alloc, struct stele_filter_program *program)
{
    if (program == NULL) {
        return;
    }
    pcre2_code_free(program->type_regex);
    pcre2_code_free(program->stream_regex);
    pcre2_match_data_free(program->match_data);
    pcre2_match_context_free(program->match_context);
    pcre2_general_context_free(program->context);
    stele_arena_deinit(&program->arena, alloc);
    stele_release(alloc, program, sizeof *program);
}

static bool is_one_of(const struct names *names, struct stele_bytes name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (stele_bytes_equal(names->names[i], name)) {
            return true;
        }
    }
    return names->count == 0;
}

static bool has_one_prefix(const struct names *prefixes, struct stele_bytes name)
{
    for (size_t i = 0; i < prefixes->count; i++) {
        if (stele_bytes_has_prefix(name, prefixes->names[i])) {
            return true;
        }
    }
    return prefixes->count == 0;
}

bool stele_store__event_has_tag(const struct stele_event *event, struct stele_bytes tag)
{
    const uint8_t *at = event->tags;
    for (uint32_t i = 0; i < event->tags_count; i++) {
        const struct stele_bytes one = {.data = at + 1, .size = at[0]};
        if (stele_bytes_equal(one, tag)) {
            return true;
        }
        at += 1 + at[0];
    }
    return false;
}

bool stele_store__filter_matches(struct stele_filter_program *program,
                                 const struct stele_event *event)
{
    const struct stele_bytes type = stele_store__bytes(event->type);
    const struct stele_bytes stream = stele_store__bytes(event->stream);
    if (program->exclude_system &&
        (stele_store__is_system(type) || stele_store__is_system(stream))) {
        return false;
    }
    if (!is_one_of(&program->types, type) || !has_one_prefix(&program->type_prefixes, type) ||
        !is_one_of(&program->streams, stream) ||
        !has_one_prefix(&program->stream_prefixes, stream) ||
        !is_one_of(&program->categories, stele_store__category(stream))) {
        return false;
    }
    for (size_t i = 0; i < program->tags.count; i++) {
        if (!stele_store__event_has_tag(event, program->tags.names[i])) {
            return false;
        }
    }
    return matches(program, program->type_regex, type) &&
           matches(program, program->stream_regex, stream);
}

bool stele_store__filter_had_no_memory(struct stele_filter_program *program)
{
    const bool had = program->no_memory;
    program->no_memory = false;
    return had;
}

/* ---- For others ---- */

int stele_filter_compile(struct stele_alloc *alloc, const struct stele_filter *filter,
                         struct stele_filter_program **out_program, struct stele_error *err)
{
    return stele_store__filter_create(alloc, filter, out_program, err);
}

void stele_filter_release(struct stele_alloc *alloc, struct stele_filter_program *program)
{
    stele_store__filter_destroy(alloc, program);
}

int stele_filter_matches(struct stele_filter_program *program, const struct stele_event *event,
                         bool *out_matches)
{
    const bool matches = stele_store__filter_matches(program, event);
    if (stele_store__filter_had_no_memory(program)) {
        return STELE_E_NO_MEMORY;
    }
    *out_matches = matches;
    return STELE_OK;
}

struct stele_bytes stele_filter_category(struct stele_bytes stream)
{
    return stele_store__category(stream);
}
