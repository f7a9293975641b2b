/* Projections as objects: made, released, written for a database. */
#include "io/linux.h"
#include "runner/projection.h"
#include "runner/sql_token.h"

#include <stdio.h>
#include <string.h>

static struct stele_text copy(struct stele_projection *projection, struct stele_text text)
{
    char *const bytes = stele_arena_allocate(&projection->arena, projection->alloc, text.size + 1);
    if (bytes == NULL) {
        return (struct stele_text){.data = NULL, .size = 0};
    }
    if (text.size > 0) {
        memcpy(bytes, text.data, text.size);
    }
    bytes[text.size] = '\0';
    return (struct stele_text){.data = bytes, .size = text.size};
}

static struct stele_text text_of(const char *text)
{
    return (struct stele_text){.data = text, .size = strlen(text)};
}

int stele_projection__make(struct stele_text source, const char *file,
                           struct stele_projection **out_projection, struct stele_error *err)
{
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct stele_projection *const projection = stele_allocate_zeroed(alloc, sizeof *projection);
    if (projection == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "make a projection: no memory");
    }
    projection->alloc = alloc;
    projection->arena.block_size = 4096;
    projection->source = copy(projection, source);
    projection->file = copy(projection, text_of(file)).data;
    if (projection->source.data == NULL || projection->file == NULL) {
        stele_projection_destroy(projection);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "make a projection: no memory");
    }
    *out_projection = projection;
    return STELE_OK;
}

void stele_projection_destroy(struct stele_projection *projection)
{
    if (projection != NULL) {
        struct stele_alloc *const alloc = projection->alloc;
        stele_arena_deinit(&projection->arena, alloc);
        stele_release(alloc, projection, sizeof *projection);
    }
}

const char *stele_projection_name(const struct stele_projection *projection)
{
    if (projection == NULL) {
        return NULL;
    }
    return projection->name;
}

uint64_t stele_projection_version(const struct stele_projection *projection)
{
    if (projection == NULL) {
        return 0;
    }
    return projection->version;
}

/* ---- In C ---- */

static bool copy_list(struct stele_projection *projection, const char *const **list, size_t count)
{
    if (count == 0) {
        *list = NULL;
        return true;
    }
    const char **const items =
        stele_arena_allocate(&projection->arena, projection->alloc, count * sizeof *items);
    for (size_t i = 0; items != NULL && i < count; i++) {
        items[i] = copy(projection, text_of((*list)[i])).data;
        if (items[i] == NULL) {
            return false;
        }
    }
    *list = items;
    return items != NULL;
}

static bool copy_one(struct stele_projection *projection, const char **text)
{
    return *text == NULL || (*text = copy(projection, text_of(*text)).data) != NULL;
}

static bool copy_filter(struct stele_projection *projection, const struct stele_filter *filter)
{
    struct stele_filter *const own = &projection->filter;
    if (filter == NULL) {
        own->exclude_system = 1;
        return true;
    }
    *own = *filter;
    return copy_list(projection, &own->types, own->types_count) &&
           copy_list(projection, &own->type_prefixes, own->type_prefixes_count) &&
           copy_list(projection, &own->streams, own->streams_count) &&
           copy_list(projection, &own->stream_prefixes, own->stream_prefixes_count) &&
           copy_list(projection, &own->categories, own->categories_count) &&
           copy_list(projection, &own->tags, own->tags_count) &&
           copy_one(projection, &own->type_regex) && copy_one(projection, &own->stream_regex);
}

static bool copy_tables(struct stele_projection *projection,
                        const struct stele_projection_options *options)
{
    struct stele_created *const created = stele_arena_allocate(
        &projection->arena, projection->alloc, (options->tables_count + 1) * sizeof *created);
    for (size_t i = 0; created != NULL && i < options->tables_count; i++) {
        created[i] = (struct stele_created){.kind = STELE_CREATED_TABLE,
                                            .name = copy(projection, text_of(options->tables[i]))};
        if (created[i].name.data == NULL) {
            return false;
        }
    }
    projection->created = created;
    projection->created_count = options->tables_count;
    return created != NULL;
}

/* Whoever folds in effective order takes whole streams: a correction may be of any type. */
static int check_effective(const struct stele_projection_options *options, struct stele_error *err)
{
    const struct stele_filter *const filter = options->filter;
    if (options->effective_order == 0) {
        return options->undo == NULL && options->effective == NULL
                   ? STELE_OK
                   : stele_fail(err, STELE_E_INVALID, 0,
                                "create a projection: undo and effective are for effective_order");
    }
    if (options->undo == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "create a projection: effective_order needs undo, to fold a stream anew");
    }
    if (filter != NULL && (filter->types_count > 0 || filter->type_prefixes_count > 0 ||
                           filter->tags_count > 0 || filter->type_regex != NULL)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "create a projection: with effective_order the filter may choose streams "
                          "and categories, not types and tags");
    }
    return STELE_OK;
}

static bool is_name(const char *name)
{
    const size_t size = name != NULL ? strlen(name) : 0;
    return size > 0 && size <= STELE_PROJECT_NAME_SIZE_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == size;
}

int stele_projection_create(const struct stele_projection_options *options,
                            struct stele_projection **out_projection, struct stele_error *err)
{
    if (options == NULL || out_projection == NULL || options->apply == NULL ||
        options->struct_size != sizeof *options || options->version == 0 ||
        !is_name(options->name)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "create a projection: struct_size, name (letters, digits, _ and -), "
                          "version (from 1) and apply have to be set");
    }
    struct stele_projection *projection = NULL;
    const struct stele_text none = {.data = "", .size = 0};
    int outcome = check_effective(options, err);
    if (outcome == STELE_OK) {
        outcome = stele_projection__make(none, options->name, &projection, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    projection->name = projection->file;
    projection->version = options->version;
    projection->effective = options->effective_order != 0;
    projection->c = *options;
    if (!copy_filter(projection, options->filter) || !copy_tables(projection, options)) {
        stele_projection_destroy(projection);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "create a projection: no memory");
    }
    *out_projection = projection;
    return STELE_OK;
}

/* ---- Written for a database ---- */

static int put(struct stele_buf *out, struct stele_alloc *alloc, struct stele_text text)
{
    return stele_buf_append(
        out, alloc, (struct stele_bytes){.data = (const uint8_t *)text.data, .size = text.size});
}

int stele_projection_render_name(struct stele_text name, const char *suffix,
                                 struct stele_alloc *alloc, struct stele_buf *out)
{
    const bool quoted = name.size >= 2 && (name.data[0] == '"' || name.data[0] == '`');
    const struct stele_text begin = {.data = name.data, .size = name.size - (quoted ? 1 : 0)};
    const struct stele_text end = {.data = name.data + begin.size, .size = name.size - begin.size};
    int outcome = put(out, alloc, begin);
    if (outcome == STELE_OK) {
        outcome = put(out, alloc, text_of(suffix));
    }
    return outcome == STELE_OK ? put(out, alloc, end) : outcome;
}

/* PostgreSQL wants to know about every parameter up to the highest, so only used ones get numbers. */
static unsigned number_of(const struct stele_statement *statement, enum stele_dialect dialect,
                          enum stele_projection_param param)
{
    if (dialect == STELE_DIALECT_SQLITE) {
        return (unsigned)param + 1;
    }
    return (unsigned)__builtin_popcount(statement->params & ((1u << param) - 1)) + 1;
}

int stele_projection_render(const struct stele_statement *statement, enum stele_dialect dialect,
                            const char *suffix, struct stele_alloc *alloc, struct stele_buf *out)
{
    int outcome = STELE_OK;
    for (size_t i = 0; i < statement->pieces_count && outcome == STELE_OK; i++) {
        const struct stele_piece *const piece = &statement->pieces[i];
        char number[16];
        switch (piece->kind) {
        case STELE_PIECE_TEXT:
            outcome = put(out, alloc, piece->text);
            break;
        case STELE_PIECE_NAME:
            outcome = stele_projection_render_name(piece->text, suffix, alloc, out);
            break;
        case STELE_PIECE_PARAM:
            (void)snprintf(number, sizeof number, "%c%u",
                           dialect == STELE_DIALECT_SQLITE ? '?' : '$',
                           number_of(statement, dialect, piece->param));
            outcome = put(out, alloc, text_of(number));
            break;
        }
    }
    if (outcome == STELE_OK) {
        outcome = put(out, alloc, (struct stele_text){.data = "", .size = 1});
    }
    if (outcome == STELE_OK) {
        out->size--;
    }
    return outcome;
}

uint32_t stele_projection_line(const struct stele_statement *statement, const char *rendered,
                               size_t offset)
{
    uint32_t line = statement->line;
    for (size_t i = 0; i < offset && rendered[i] != '\0'; i++) {
        line += rendered[i] == '\n' ? 1 : 0;
    }
    return line;
}

bool stele_section_wants(const struct stele_section *section, struct stele_text type)
{
    for (size_t i = 0; i < section->types_count; i++) {
        if (section->types[i].size == type.size &&
            memcmp(section->types[i].data, type.data, type.size) == 0) {
            return true;
        }
    }
    return section->types_count == 0 && !section->undo;
}
