/* Directives of a projection's file: "-- @word …" in SQL and Lua, "# @word …" in jq. */
#include "runner/parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ITEMS_MAX 10000u

int stele_parse__bad(const struct stele_parse *parse, uint32_t line, const char *format, ...)
{
    char words[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return stele_fail(parse->err, STELE_E_INVALID, 0, "%.80s:%u: %s", parse->projection->file,
                      (unsigned)line, words);
}

int stele_parse__no_memory(const struct stele_parse *parse)
{
    return stele_fail(parse->err, STELE_E_NO_MEMORY, 0, "%.80s: no memory",
                      parse->projection->file);
}

static void *take(const struct stele_parse *parse, size_t size)
{
    return stele_arena_allocate(&parse->projection->arena, parse->projection->alloc,
                                size > 0 ? size : 1);
}

void *stele_parse__push(const struct stele_parse *parse, struct stele_parse_list *list,
                        size_t item_size)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity == 0 ? 8 : list->capacity * 2;
        char *const items = capacity <= ITEMS_MAX * 2 ? take(parse, capacity * item_size) : NULL;
        if (items == NULL) {
            return NULL;
        }
        if (list->count > 0) {
            memcpy(items, list->items, list->count * item_size);
        }
        list->items = items;
        list->capacity = capacity;
    }
    return (char *)list->items + list->count++ * item_size;
}

const char *stele_parse__keep(const struct stele_parse *parse, struct stele_text text)
{
    char *const copy = take(parse, text.size + 1);
    if (copy != NULL) {
        memcpy(copy, text.data, text.size);
        copy[text.size] = '\0';
    }
    return copy;
}

/* The next value of a directive: separated by commas or spaces, perhaps in double quotes. */
static bool next_value(struct stele_text *rest, struct stele_text *out_value)
{
    while (rest->size > 0 && (*rest->data == ' ' || *rest->data == ',' || *rest->data == '\t' ||
                              *rest->data == '\r')) {
        rest->data++;
        rest->size--;
    }
    if (rest->size == 0) {
        return false;
    }
    const bool quoted = rest->data[0] == '"';
    size_t end = quoted ? 1 : 0;
    while (end < rest->size && (quoted ? rest->data[end] != '"'
                                       : rest->data[end] != ' ' && rest->data[end] != ',' &&
                                             rest->data[end] != '\t' && rest->data[end] != '\r')) {
        end++;
    }
    out_value->data = rest->data + (quoted ? 1 : 0);
    out_value->size = end - (quoted ? 1 : 0);
    end += quoted && end < rest->size ? 1 : 0;
    rest->data += end;
    rest->size -= end;
    return true;
}

static int on_name(struct stele_parse *parse, struct stele_text rest, uint32_t line)
{
    struct stele_text value = {.size = 0};
    struct stele_text more;
    if (parse->projection->name != NULL) {
        return stele_parse__bad(parse, line, "@projection stands here a second time");
    }
    if (!next_value(&rest, &value) || next_value(&rest, &more)) {
        return stele_parse__bad(parse, line, "@projection takes one name");
    }
    bool good = value.size > 0 && value.size <= STELE_PROJECT_NAME_SIZE_MAX;
    for (size_t i = 0; i < value.size; i++) {
        const char c = value.data[i];
        good = good && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '_' || c == '-');
    }
    if (!good) {
        return stele_parse__bad(
            parse, line,
            "\"%.*s\" is no name of a projection: letters, digits, _ and -, at most %d",
            (int)(value.size > 80 ? 80 : value.size), value.data, STELE_PROJECT_NAME_SIZE_MAX);
    }
    parse->projection->name = stele_parse__keep(parse, value);
    return parse->projection->name != NULL ? STELE_OK : stele_parse__no_memory(parse);
}

static int on_version(struct stele_parse *parse, struct stele_text rest, uint32_t line)
{
    struct stele_text value = {.size = 0};
    uint64_t version = 0;
    if (parse->projection->version != 0) {
        return stele_parse__bad(parse, line, "@version stands here a second time");
    }
    const bool some = next_value(&rest, &value) && value.size <= 9;
    for (size_t i = 0; some && i < value.size; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') {
            version = 0;
            break;
        }
        version = version * 10 + (uint64_t)(value.data[i] - '0');
    }
    if (version == 0) {
        return stele_parse__bad(parse, line, "@version takes a number from 1 on");
    }
    parse->projection->version = version;
    return STELE_OK;
}

static int add_values(struct stele_parse *parse, struct stele_parse_list *list,
                      const char *directive, struct stele_text rest, uint32_t line)
{
    struct stele_text value;
    size_t count = 0;
    while (next_value(&rest, &value)) {
        const char **const item = stele_parse__push(parse, list, sizeof *item);
        if (item == NULL || (*item = stele_parse__keep(parse, value)) == NULL) {
            return stele_parse__no_memory(parse);
        }
        count++;
    }
    return count > 0 ? STELE_OK : stele_parse__bad(parse, line, "%s names nothing", directive);
}

static int on_order(struct stele_parse *parse, struct stele_text rest, uint32_t line)
{
    struct stele_text value = {.size = 0};
    struct stele_text more;
    if (parse->order_line != 0) {
        return stele_parse__bad(parse, line, "@order stands here a second time");
    }
    const bool one = next_value(&rest, &value) && !next_value(&rest, &more);
    const bool effective = one && value.size == 9 && memcmp(value.data, "effective", 9) == 0;
    if (!effective && !(one && value.size == 6 && memcmp(value.data, "stored", 6) == 0)) {
        return stele_parse__bad(parse, line, "@order is stored or effective");
    }
    parse->order_line = line;
    parse->projection->effective = effective;
    return STELE_OK;
}

/* What takes out the events of a stream, so that they can be applied in another order. */
static int begin_undo(struct stele_parse *parse, struct stele_text rest, uint32_t line)
{
    struct stele_text value;
    if (!parse->projection->effective) {
        return stele_parse__bad(parse, line,
                                "@undo belongs to a projection with `@order effective`");
    }
    if (parse->undo_line != 0) {
        return stele_parse__bad(parse, line, "@undo stands here a second time");
    }
    if (next_value(&rest, &value)) {
        return stele_parse__bad(parse, line, "@undo names no types: it takes out all of a stream");
    }
    struct stele_section *const section =
        stele_parse__push(parse, &parse->sections, sizeof *section);
    if (section == NULL) {
        return stele_parse__no_memory(parse);
    }
    *section = (struct stele_section){
        .undo = true, .script = {.line = line, .is_empty = true}, .first = parse->statements};
    parse->undo_line = line;
    parse->place = STELE_PARSE_EVENTS;
    return STELE_OK;
}

static int begin_section(struct stele_parse *parse, bool effect, struct stele_text rest,
                         uint32_t line)
{
    struct stele_parse_list types = {.items = NULL};
    struct stele_text value;
    bool every = false;
    while (next_value(&rest, &value)) {
        if (value.size == 1 && value.data[0] == '*') {
            every = true;
            continue;
        }
        struct stele_text *const type = stele_parse__push(parse, &types, sizeof *type);
        if (type == NULL) {
            return stele_parse__no_memory(parse);
        }
        *type = value;
    }
    if (!every && types.count == 0) {
        return stele_parse__bad(parse, line, "%s names no type of event; * is for all of them",
                                effect ? "@effect" : "@on");
    }
    if (every && types.count > 0) {
        return stele_parse__bad(parse, line, "* is every type already: name types, or *");
    }
    struct stele_section *const section =
        stele_parse__push(parse, &parse->sections, sizeof *section);
    if (section == NULL) {
        return stele_parse__no_memory(parse);
    }
    *section = (struct stele_section){.types = types.items,
                                      .types_count = types.count,
                                      .effect = effect,
                                      .script = {.line = line, .is_empty = true},
                                      .first = parse->statements};
    parse->effect_line = effect && parse->effect_line == 0 ? line : parse->effect_line;
    parse->place = STELE_PARSE_EVENTS;
    return STELE_OK;
}

static int begin_tables(struct stele_parse *parse, uint32_t line)
{
    if (parse->has_tables) {
        return stele_parse__bad(parse, line, "@tables stands here a second time");
    }
    parse->has_tables = true;
    parse->projection->setup = (struct stele_script){.line = line, .is_empty = true};
    parse->place = STELE_PARSE_TABLES;
    return STELE_OK;
}

int stele_parse__directive(struct stele_parse *parse, const struct stele_sql_token *token)
{
    struct stele_text rest = token->text;
    while (rest.data[0] != '@') {
        rest.data++;
        rest.size--;
    }
    struct stele_text word = {.data = rest.data, .size = 1};
    while (word.size < rest.size && rest.data[word.size] != ' ' && rest.data[word.size] != '\t' &&
           rest.data[word.size] != '\r') {
        word.size++;
    }
    rest.data += word.size;
    rest.size -= word.size;
    const struct {
        const char *word;
        struct stele_parse_list *list;
    } lists[] = {
        {"@category", &parse->categories},
        {"@stream", &parse->streams},
        {"@stream-prefix", &parse->prefixes},
        {"@tag", &parse->tags},
    };
#define IS(name) (word.size == sizeof(name) - 1 && memcmp(word.data, (name), word.size) == 0)
    if (IS("@tables")) {
        return begin_tables(parse, token->line);
    }
    if (IS("@on") || IS("@effect")) {
        return begin_section(parse, word.size != 3, rest, token->line);
    }
    if (IS("@undo")) {
        return begin_undo(parse, rest, token->line);
    }
    if (IS("@tag") && parse->tag_line == 0) {
        parse->tag_line = token->line;
    }
    const bool head = IS("@projection") || IS("@version") || IS("@language") || IS("@order");
    for (size_t i = 0; i < STELE_COUNT_OF(lists); i++) {
        if (word.size == strlen(lists[i].word) &&
            memcmp(word.data, lists[i].word, word.size) == 0) {
            return parse->place == STELE_PARSE_HEADER
                       ? add_values(parse, lists[i].list, lists[i].word, rest, token->line)
                       : stele_parse__bad(parse, token->line, "%s belongs before @tables and @on",
                                          lists[i].word);
        }
    }
    if (!head) {
        return stele_parse__bad(
            parse, token->line,
            "%.*s is no directive; there are @projection, @version, @language, @order, @category, "
            "@stream, @stream-prefix, @tag, @tables, @on, @effect and @undo",
            (int)(word.size > 60 ? 60 : word.size), word.data);
    }
    if (parse->place != STELE_PARSE_HEADER) {
        return stele_parse__bad(parse, token->line, "%.*s belongs before @tables and @on",
                                (int)word.size, word.data);
    }
    if (IS("@language")) {
        return STELE_OK; /* It was looked for first. */
    }
    if (IS("@order")) {
        return on_order(parse, rest, token->line);
    }
    return IS("@version") ? on_version(parse, rest, token->line)
                          : on_name(parse, rest, token->line);
#undef IS
}
