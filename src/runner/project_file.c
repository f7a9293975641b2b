/* Reads an SQL file of a projection: directives ("-- @word …"), statements, names, parameters.
 *
 * Two passes: the first finds where statements begin and end and what the DDL section creates, the
 * second takes statements apart, because a statement may use what is created further down. Nothing
 * here talks to a database, which has the last word on SQL when the statements are prepared. */
#include "base/text.h"
#include "io/linux.h"
#include "runner/projection.h"
#include "runner/sql_token.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SOURCE_SIZE_MAX (1024u * 1024u)
#define ITEMS_MAX 10000u

const char *const stele_projection_params[STELE_PARAMS] = {
    "stream", "revision", "position", "type", "created", "data", "metadata", "id", "bytes",
};

/* Items of one kind, in memory that goes with the projection. */
struct list {
    void *items;
    size_t count, capacity;
};

/* A statement as the first pass finds it. */
struct raw {
    struct stele_text text;
    uint32_t line;
    bool table; /* Of the DDL section. */
};

enum place { PLACE_HEADER, PLACE_TABLES, PLACE_EVENTS };

struct parse {
    struct stele_projection *projection;
    struct stele_error *err;
    struct stele_sql_scan scan;
    enum place place;
    bool has_tables;
    size_t statements; /* Of event sections so far. */
    struct list raws, created, sections, categories, streams, prefixes, tags, types;
};

STELE_PRINTF(3, 4)
static int bad(const struct parse *parse, uint32_t line, const char *format, ...)
{
    char words[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return stele_fail(parse->err, STELE_E_INVALID, 0, "%.80s:%u: %s", parse->projection->file,
                      (unsigned)line, words);
}

static int no_memory(const struct parse *parse)
{
    return stele_fail(parse->err, STELE_E_NO_MEMORY, 0, "%.80s: no memory",
                      parse->projection->file);
}

static void *take(const struct parse *parse, size_t size)
{
    return stele_arena_allocate(&parse->projection->arena, parse->projection->alloc,
                                size > 0 ? size : 1);
}

/* Room for one more item at the end of a list; NULL: no memory, or too many. */
static void *push(const struct parse *parse, struct list *list, size_t item_size)
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

static const char *keep_text(const struct parse *parse, struct stele_text text)
{
    char *const copy = take(parse, text.size + 1);
    if (copy != NULL) {
        memcpy(copy, text.data, text.size);
        copy[text.size] = '\0';
    }
    return copy;
}

/* ---- Directives ---- */

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

static int on_name(struct parse *parse, struct stele_text rest, uint32_t line)
{
    struct stele_text value = {.size = 0};
    struct stele_text more;
    if (parse->projection->name != NULL) {
        return bad(parse, line, "@projection stands here a second time");
    }
    if (!next_value(&rest, &value) || next_value(&rest, &more)) {
        return bad(parse, line, "@projection takes one name");
    }
    bool good = value.size > 0 && value.size <= STELE_PROJECT_NAME_SIZE_MAX;
    for (size_t i = 0; i < value.size; i++) {
        const char c = value.data[i];
        good = good && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '_' || c == '-');
    }
    if (!good) {
        return bad(parse, line,
                   "\"%.*s\" is no name of a projection: letters, digits, _ and -, at most %d",
                   (int)(value.size > 80 ? 80 : value.size), value.data,
                   STELE_PROJECT_NAME_SIZE_MAX);
    }
    parse->projection->name = keep_text(parse, value);
    return parse->projection->name != NULL ? STELE_OK : no_memory(parse);
}

static int on_version(struct parse *parse, struct stele_text rest, uint32_t line)
{
    struct stele_text value = {.size = 0};
    uint64_t version = 0;
    if (parse->projection->version != 0) {
        return bad(parse, line, "@version stands here a second time");
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
        return bad(parse, line, "@version takes a number from 1 on");
    }
    parse->projection->version = version;
    return STELE_OK;
}

static int add_values(struct parse *parse, struct list *list, const char *directive,
                      struct stele_text rest, uint32_t line)
{
    struct stele_text value;
    size_t count = 0;
    while (next_value(&rest, &value)) {
        const char **const item = push(parse, list, sizeof *item);
        if (item == NULL || (*item = keep_text(parse, value)) == NULL) {
            return no_memory(parse);
        }
        count++;
    }
    return count > 0 ? STELE_OK : bad(parse, line, "%s names nothing", directive);
}

static int begin_section(struct parse *parse, bool effect, struct stele_text rest, uint32_t line)
{
    struct list types = {.items = NULL};
    struct stele_text value;
    bool every = false;
    while (next_value(&rest, &value)) {
        if (value.size == 1 && value.data[0] == '*') {
            every = true;
            continue;
        }
        struct stele_text *const type = push(parse, &types, sizeof *type);
        if (type == NULL) {
            return no_memory(parse);
        }
        *type = value;
    }
    if (!every && types.count == 0) {
        return bad(parse, line, "%s names no type of event; * is for all of them",
                   effect ? "@effect" : "@on");
    }
    if (every && types.count > 0) {
        return bad(parse, line, "* is every type already: name types, or *");
    }
    struct stele_section *const section = push(parse, &parse->sections, sizeof *section);
    if (section == NULL) {
        return no_memory(parse);
    }
    *section = (struct stele_section){.types = types.items,
                                      .types_count = types.count,
                                      .effect = effect,
                                      .first = parse->statements};
    parse->place = PLACE_EVENTS;
    return STELE_OK;
}

static int begin_tables(struct parse *parse, uint32_t line)
{
    if (parse->has_tables) {
        return bad(parse, line, "@tables stands here a second time");
    }
    parse->has_tables = true;
    parse->place = PLACE_TABLES;
    return STELE_OK;
}

static int on_directive(struct parse *parse, const struct stele_sql_token *token)
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
        struct list *list;
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
    const bool head = IS("@projection") || IS("@version");
    for (size_t i = 0; i < STELE_COUNT_OF(lists); i++) {
        if (word.size == strlen(lists[i].word) &&
            memcmp(word.data, lists[i].word, word.size) == 0) {
            return parse->place == PLACE_HEADER
                       ? add_values(parse, lists[i].list, lists[i].word, rest, token->line)
                       : bad(parse, token->line, "%s belongs before @tables and @on",
                             lists[i].word);
        }
    }
    if (!head) {
        return bad(parse, token->line,
                   "%.*s is no directive; there are @projection, @version, @category, @stream, "
                   "@stream-prefix, @tag, @tables, @on and @effect",
                   (int)(word.size > 60 ? 60 : word.size), word.data);
    }
    if (parse->place != PLACE_HEADER) {
        return bad(parse, token->line, "%.*s belongs before @tables and @on", (int)word.size,
                   word.data);
    }
    return IS("@version") ? on_version(parse, rest, token->line)
                          : on_name(parse, rest, token->line);
#undef IS
}

/* ---- First pass: where statements are ---- */

static int check_first_word(struct parse *parse, const struct stele_sql_token *token)
{
    static const char *const events[] = {"INSERT", "UPDATE", "DELETE", "REPLACE",
                                         "WITH",   "SELECT", "MERGE"};
    static const char *const tables[] = {"CREATE", "INSERT"};
    const bool ddl = parse->place == PLACE_TABLES;
    const char *const *const words = ddl ? tables : events;
    const size_t count = ddl ? STELE_COUNT_OF(tables) : STELE_COUNT_OF(events);
    if (parse->place == PLACE_HEADER) {
        return bad(parse, token->line, "a statement has to stand behind @tables or @on");
    }
    for (size_t i = 0; i < count; i++) {
        if (stele_sql_is(token, words[i])) {
            return STELE_OK;
        }
    }
    return bad(parse, token->line,
               ddl ? "%.*s: behind @tables there are only CREATE and INSERT"
                   : "%.*s: a statement begins with INSERT, UPDATE, DELETE, REPLACE, WITH, SELECT "
                     "or MERGE; the transaction is not its business",
               (int)(token->text.size > 60 ? 60 : token->text.size), token->text.data);
}

/* Where a statement ends. The body of one of SQLite's triggers has statements of its own:
 * CREATE TRIGGER … BEGIN …; …; END; */
struct ending {
    unsigned words;
    bool creates, trigger, body, ended;
    unsigned cases;
};

static bool is_end(struct ending *ending, const struct stele_sql_token *token)
{
    if (token->kind == STELE_SQL_WORD) {
        ending->creates = ending->creates || (ending->words == 0 && stele_sql_is(token, "CREATE"));
        ending->trigger = ending->trigger ||
                          (ending->creates && ending->words <= 2 && stele_sql_is(token, "TRIGGER"));
        ending->words++;
        if (ending->trigger && stele_sql_is(token, "BEGIN")) {
            ending->body = true;
        } else if (ending->body && stele_sql_is(token, "CASE")) {
            ending->cases++;
        } else if (ending->body && stele_sql_is(token, "END")) {
            ending->ended = ending->cases == 0;
            ending->cases -= ending->cases > 0 ? 1 : 0;
        }
    }
    return stele_sql_is(token, ";") && (!ending->body || ending->ended);
}

static int find_statement(struct parse *parse, const struct stele_sql_token *first)
{
    struct ending ending = {.words = 0};
    struct stele_sql_token token = *first;
    int outcome = check_first_word(parse, first);
    if (outcome != STELE_OK) {
        return outcome;
    }
    while (!is_end(&ending, &token)) {
        token = stele_sql_next(&parse->scan);
        if (token.kind == STELE_SQL_BROKEN) {
            return bad(parse, token.line, "this string, name or comment does not end");
        }
        if (token.kind == STELE_SQL_END || token.kind == STELE_SQL_DIRECTIVE) {
            return bad(parse, first->line, "the statement that begins here has no ; at its end");
        }
    }
    struct raw *const raw = push(parse, &parse->raws, sizeof *raw);
    if (raw == NULL) {
        return no_memory(parse);
    }
    const size_t size = (size_t)(token.text.data - first->text.data);
    *raw = (struct raw){.text = {.data = first->text.data, .size = size},
                        .line = first->line,
                        .table = parse->place == PLACE_TABLES};
    if (!raw->table) {
        struct stele_section *const sections = parse->sections.items;
        sections[parse->sections.count - 1].count++;
        parse->statements++;
    }
    return STELE_OK;
}

static int find_statements(struct parse *parse)
{
    for (;;) {
        const struct stele_sql_token token = stele_sql_next(&parse->scan);
        int outcome = STELE_OK;
        switch (token.kind) {
        case STELE_SQL_END:
            return STELE_OK;
        case STELE_SQL_SPACE:
            break;
        case STELE_SQL_DIRECTIVE:
            outcome = on_directive(parse, &token);
            break;
        case STELE_SQL_BROKEN:
            outcome = bad(parse, token.line, "this string, name or comment does not end");
            break;
        default:
            /* A ; alone is nothing. */
            outcome = stele_sql_is(&token, ";") ? STELE_OK : find_statement(parse, &token);
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
}

/* ---- What the DDL section creates ---- */

/* The next token that is not space. */
static struct stele_sql_token next_word(struct stele_sql_scan *scan)
{
    struct stele_sql_token token;
    do {
        token = stele_sql_next(scan);
    } while (token.kind == STELE_SQL_SPACE || token.kind == STELE_SQL_DIRECTIVE);
    return token;
}

static bool kind_of(const struct stele_sql_token *token, enum stele_created_kind *out_kind)
{
    static const char *const words[] = {"TABLE", "VIEW", "INDEX", "TRIGGER"};
    for (size_t i = 0; i < STELE_COUNT_OF(words); i++) {
        if (stele_sql_is(token, words[i])) {
            *out_kind = (enum stele_created_kind)i;
            return true;
        }
    }
    return false;
}

static struct stele_sql_token skip_if_not_exists(struct stele_sql_scan *scan,
                                                 struct stele_sql_token token)
{
    if (stele_sql_is(&token, "IF")) {
        (void)next_word(scan);
        (void)next_word(scan);
        token = next_word(scan);
    }
    return token;
}

static int find_created(struct parse *parse, const struct raw *raw)
{
    struct stele_sql_scan scan = {.text = raw->text, .at = 0, .line = raw->line - 1};
    struct stele_sql_token token = next_word(&scan);
    enum stele_created_kind kind = STELE_CREATED_TABLE;
    if (!stele_sql_is(&token, "CREATE")) {
        return STELE_OK;
    }
    token = next_word(&scan);
    if (stele_sql_is(&token, "UNIQUE") || stele_sql_is(&token, "VIRTUAL") ||
        stele_sql_is(&token, "UNLOGGED")) {
        token = next_word(&scan);
    }
    if (!kind_of(&token, &kind)) {
        return bad(parse, token.line,
                   "CREATE %.*s: a projection creates TABLE, VIEW, INDEX and TRIGGER only; make "
                   "other things before, by hand",
                   (int)(token.text.size > 60 ? 60 : token.text.size), token.text.data);
    }
    token = skip_if_not_exists(&scan, next_word(&scan));
    if (kind == STELE_CREATED_INDEX && stele_sql_is(&token, "ON")) {
        return STELE_OK; /* PostgreSQL finds a name itself. */
    }
    const struct stele_sql_token after = next_word(&scan);
    if (token.kind != STELE_SQL_WORD || stele_sql_is(&after, ".")) {
        return bad(parse, token.line, "a plain name has to stand here, without a schema");
    }
    if (token.text.size > STELE_PROJECT_NAME_SIZE_MAX) {
        return bad(parse, token.line, "the name is longer than %d bytes",
                   STELE_PROJECT_NAME_SIZE_MAX);
    }
    struct stele_created *const created = push(parse, &parse->created, sizeof *created);
    if (created == NULL) {
        return no_memory(parse);
    }
    *created = (struct stele_created){.kind = kind, .name = token.text, .line = token.line};
    return STELE_OK;
}

static bool is_created(const struct parse *parse, struct stele_text name)
{
    const struct stele_created *const created = parse->created.items;
    for (size_t i = 0; i < parse->created.count; i++) {
        if (stele_sql_same_name(created[i].name, name)) {
            return true;
        }
    }
    return false;
}

static int check_created(const struct parse *parse)
{
    const struct stele_created *const created = parse->created.items;
    for (size_t i = 0; i < parse->created.count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (stele_sql_same_name(created[i].name, created[j].name)) {
                return bad(parse, created[i].line, "%.*s was created on line %u already",
                           (int)created[i].name.size, created[i].name.data,
                           (unsigned)created[j].line);
            }
        }
    }
    return STELE_OK;
}

/* ---- Second pass: pieces ---- */

static int unknown_param(const struct parse *parse, const struct stele_sql_token *token)
{
    char names[160] = "";
    size_t used = 0;
    for (size_t i = 0; i < STELE_PARAMS; i++) {
        used += (size_t)snprintf(names + used, sizeof names - used, "%s:%s",
                                 i == 0                  ? ""
                                 : i + 1 == STELE_PARAMS ? " and "
                                                         : ", ",
                                 stele_projection_params[i]);
    }
    return bad(parse, token->line, "%.*s is no parameter; there are %s",
               (int)(token->text.size > 60 ? 60 : token->text.size), token->text.data, names);
}

static int add_piece(struct parse *parse, struct list *pieces, struct stele_piece piece)
{
    struct stele_piece *const all = pieces->items;
    if (piece.kind == STELE_PIECE_TEXT && pieces->count > 0 &&
        all[pieces->count - 1].kind == STELE_PIECE_TEXT) {
        all[pieces->count - 1].text.size += piece.text.size;
        return STELE_OK;
    }
    struct stele_piece *const added = push(parse, pieces, sizeof *added);
    if (added == NULL) {
        return no_memory(parse);
    }
    *added = piece;
    return STELE_OK;
}

static int param_of(const struct parse *parse, const struct raw *raw,
                    const struct stele_sql_token *token, struct stele_piece *piece)
{
    const struct stele_text name = {.data = token->text.data + 1, .size = token->text.size - 1};
    if (raw->table) {
        return bad(parse, token->line, "%.*s: there is no event behind @tables",
                   (int)(token->text.size > 60 ? 60 : token->text.size), token->text.data);
    }
    for (size_t i = 0; i < STELE_PARAMS; i++) {
        if (strlen(stele_projection_params[i]) == name.size &&
            memcmp(stele_projection_params[i], name.data, name.size) == 0) {
            piece->kind = STELE_PIECE_PARAM;
            piece->param = (enum stele_projection_param)i;
            return STELE_OK;
        }
    }
    return unknown_param(parse, token);
}

/* A column called as a table would be taken for the table. Columns stand behind "(" and "," of a
 * CREATE TABLE, not deeper. */
struct columns {
    bool in_table;
    int depth;
    bool expected;
};

static bool is_column(struct columns *columns, const struct stele_sql_token *token)
{
    const bool found = columns->in_table && columns->expected && columns->depth == 1 &&
                       token->kind == STELE_SQL_WORD;
    columns->expected = false;
    if (stele_sql_is(token, "(")) {
        columns->depth++;
        columns->expected = true;
    } else if (stele_sql_is(token, ")")) {
        columns->depth--;
    } else if (stele_sql_is(token, ",")) {
        columns->expected = true;
    }
    return found;
}

static bool creates_table(const struct raw *raw)
{
    struct stele_sql_scan scan = {.text = raw->text, .at = 0, .line = 0};
    struct stele_sql_token token = next_word(&scan);
    if (!stele_sql_is(&token, "CREATE")) {
        return false;
    }
    token = next_word(&scan);
    if (stele_sql_is(&token, "UNLOGGED")) {
        token = next_word(&scan);
    }
    return stele_sql_is(&token, "TABLE");
}

static int take_apart(struct parse *parse, const struct raw *raw, struct stele_statement *statement)
{
    struct stele_sql_scan scan = {.text = raw->text, .at = 0, .line = raw->line - 1};
    struct list pieces = {.items = NULL};
    struct columns columns = {.in_table = raw->table && creates_table(raw)};
    bool behind_dot = false;
    *statement = (struct stele_statement){.line = raw->line};
    for (;;) {
        const struct stele_sql_token token = stele_sql_next(&scan);
        struct stele_piece piece = {.kind = STELE_PIECE_TEXT, .text = token.text};
        int outcome = STELE_OK;
        if (token.kind == STELE_SQL_END) {
            break;
        }
        if (token.kind == STELE_SQL_PARAM) {
            outcome = param_of(parse, raw, &token, &piece);
            statement->params |= 1u << piece.param;
        } else if (token.kind == STELE_SQL_WORD && !behind_dot && is_created(parse, token.text)) {
            piece.kind = STELE_PIECE_NAME;
        }
        if (token.kind != STELE_SQL_SPACE) {
            if (is_column(&columns, &token) && piece.kind == STELE_PIECE_NAME) {
                return bad(parse, token.line,
                           "the column %.*s is called as something that @tables creates: call one "
                           "of them differently",
                           (int)token.text.size, token.text.data);
            }
            behind_dot = stele_sql_is(&token, ".");
        }
        if (outcome == STELE_OK) {
            outcome = add_piece(parse, &pieces, piece);
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    statement->pieces = pieces.items;
    statement->pieces_count = pieces.count;
    return STELE_OK;
}

static int take_all_apart(struct parse *parse)
{
    struct stele_projection *const projection = parse->projection;
    const struct raw *const raws = parse->raws.items;
    struct list tables = {.items = NULL};
    struct list statements = {.items = NULL};
    int outcome = STELE_OK;
    for (size_t i = 0; i < parse->raws.count && outcome == STELE_OK; i++) {
        outcome = raws[i].table ? find_created(parse, &raws[i]) : STELE_OK;
    }
    if (outcome == STELE_OK) {
        outcome = check_created(parse);
    }
    for (size_t i = 0; i < parse->raws.count && outcome == STELE_OK; i++) {
        struct stele_statement *const statement =
            push(parse, raws[i].table ? &tables : &statements, sizeof *statement);
        outcome = statement != NULL ? take_apart(parse, &raws[i], statement) : no_memory(parse);
    }
    projection->created = parse->created.items;
    projection->created_count = parse->created.count;
    projection->tables = tables.items;
    projection->tables_count = tables.count;
    projection->statements = statements.items;
    projection->statements_count = statements.count;
    projection->sections = parse->sections.items;
    projection->sections_count = parse->sections.count;
    return outcome;
}

/* ---- The whole ---- */

/* Only events that some section wants are read. */
static int make_filter(struct parse *parse)
{
    struct stele_filter *const filter = &parse->projection->filter;
    const struct stele_section *const sections = parse->sections.items;
    bool every = false;
    for (size_t i = 0; i < parse->sections.count; i++) {
        every = every || sections[i].types_count == 0;
        for (size_t j = 0; j < sections[i].types_count; j++) {
            const char **const type = push(parse, &parse->types, sizeof *type);
            if (type == NULL || (*type = keep_text(parse, sections[i].types[j])) == NULL) {
                return no_memory(parse);
            }
        }
    }
    filter->types = every ? NULL : parse->types.items;
    filter->types_count = every ? 0 : parse->types.count;
    filter->categories = parse->categories.items;
    filter->categories_count = parse->categories.count;
    filter->streams = parse->streams.items;
    filter->streams_count = parse->streams.count;
    filter->stream_prefixes = parse->prefixes.items;
    filter->stream_prefixes_count = parse->prefixes.count;
    filter->tags = parse->tags.items;
    filter->tags_count = parse->tags.count;
    /* Who names a system's type or stream wants it. */
    filter->exclude_system = every && filter->streams_count == 0 &&
                             filter->stream_prefixes_count == 0 && filter->categories_count == 0;
    return STELE_OK;
}

static int check_whole(const struct parse *parse)
{
    const struct stele_section *const sections = parse->sections.items;
    if (parse->projection->name == NULL) {
        return bad(parse, 1, "there is no line `-- @projection NAME`");
    }
    if (parse->projection->version == 0) {
        return bad(parse, 1, "there is no line `-- @version 1`");
    }
    for (size_t i = 0; i < parse->sections.count; i++) {
        if (sections[i].count > 0) {
            return STELE_OK;
        }
    }
    return bad(parse, parse->scan.line + 1, "there is no statement behind an `-- @on TYPE`");
}

static int parse_all(struct parse *parse)
{
    int outcome = find_statements(parse);
    if (outcome == STELE_OK) {
        outcome = check_whole(parse);
    }
    if (outcome == STELE_OK) {
        outcome = take_all_apart(parse);
    }
    return outcome == STELE_OK ? make_filter(parse) : outcome;
}

int stele_projection_parse(const char *file, const char *text, size_t size,
                           struct stele_projection **out_projection, struct stele_error *err)
{
    const struct stele_text source = {.data = text, .size = size};
    struct stele_projection *projection = NULL;
    if (file == NULL || (text == NULL && size > 0) || out_projection == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "parse a projection: an argument is NULL");
    }
    if (size > SOURCE_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "%.200s: %zu bytes; at most %u are allowed", file,
                          size, SOURCE_SIZE_MAX);
    }
    int outcome = stele_projection__make(source, file, &projection, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct parse parse = {
        .projection = projection, .err = err, .scan = {.text = projection->source}};
    const struct stele_bytes bytes = {.data = (const uint8_t *)text, .size = size};
    if (!stele_utf8_is_valid(bytes) || (size > 0 && memchr(text, '\0', size) != NULL)) {
        outcome = bad(&parse, 1, "this is no text in UTF-8");
    } else {
        outcome = parse_all(&parse);
    }
    if (outcome != STELE_OK) {
        stele_projection_destroy(projection);
        return outcome;
    }
    *out_projection = projection;
    return STELE_OK;
}
