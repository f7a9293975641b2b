/* Reads the file of a projection: of SQL the statements, names and parameters.
 *
 * Two passes: the first finds where statements begin and end and what the DDL section creates, the
 * second takes statements apart, because a statement may use what is created further down. Nothing
 * here talks to a database, which has the last word on SQL when the statements are prepared. */
#include "base/text.h"
#include "io/linux.h"
#include "runner/parse.h"

#include <stdio.h>
#include <string.h>

#define SOURCE_SIZE_MAX (1024u * 1024u)

const char *const stele_projection_params[STELE_PARAMS] = {
    "stream", "revision", "position", "type",  "created",
    "data",   "metadata", "id",       "bytes", "effective",
};

/* ---- First pass: where statements are ---- */

static int check_first_word(struct stele_parse *parse, const struct stele_sql_token *token)
{
    static const char *const events[] = {"INSERT", "UPDATE", "DELETE", "REPLACE",
                                         "WITH",   "SELECT", "MERGE"};
    static const char *const tables[] = {"CREATE", "INSERT"};
    const bool ddl = parse->place == STELE_PARSE_TABLES;
    const char *const *const words = ddl ? tables : events;
    const size_t count = ddl ? STELE_COUNT_OF(tables) : STELE_COUNT_OF(events);
    if (parse->place == STELE_PARSE_HEADER) {
        return stele_parse__bad(parse, token->line,
                                "a statement has to stand behind @tables or @on");
    }
    for (size_t i = 0; i < count; i++) {
        if (stele_sql_is(token, words[i])) {
            return STELE_OK;
        }
    }
    return stele_parse__bad(
        parse, token->line,
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

static int find_statement(struct stele_parse *parse, const struct stele_sql_token *first)
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
            return stele_parse__bad(parse, token.line, "this string, name or comment does not end");
        }
        if (token.kind == STELE_SQL_END || token.kind == STELE_SQL_DIRECTIVE) {
            return stele_parse__bad(parse, first->line,
                                    "the statement that begins here has no ; at its end");
        }
    }
    struct stele_parse_raw *const raw = stele_parse__push(parse, &parse->raws, sizeof *raw);
    if (raw == NULL) {
        return stele_parse__no_memory(parse);
    }
    const size_t size = (size_t)(token.text.data - first->text.data);
    *raw = (struct stele_parse_raw){.text = {.data = first->text.data, .size = size},
                                    .line = first->line,
                                    .table = parse->place == STELE_PARSE_TABLES};
    if (!raw->table) {
        struct stele_section *const sections = parse->sections.items;
        sections[parse->sections.count - 1].count++;
        raw->undo = sections[parse->sections.count - 1].undo;
        parse->statements++;
    }
    return STELE_OK;
}

static int find_statements(struct stele_parse *parse)
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
            outcome = stele_parse__directive(parse, &token);
            break;
        case STELE_SQL_BROKEN:
            outcome =
                stele_parse__bad(parse, token.line, "this string, name or comment does not end");
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

static int find_created(struct stele_parse *parse, const struct stele_parse_raw *raw)
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
        return stele_parse__bad(
            parse, token.line,
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
        return stele_parse__bad(parse, token.line,
                                "a plain name has to stand here, without a schema");
    }
    if (token.text.size > STELE_PROJECT_NAME_SIZE_MAX) {
        return stele_parse__bad(parse, token.line, "the name is longer than %d bytes",
                                STELE_PROJECT_NAME_SIZE_MAX);
    }
    struct stele_created *const created =
        stele_parse__push(parse, &parse->created, sizeof *created);
    if (created == NULL) {
        return stele_parse__no_memory(parse);
    }
    *created = (struct stele_created){.kind = kind, .name = token.text, .line = token.line};
    return STELE_OK;
}

static bool is_created(const struct stele_parse *parse, struct stele_text name)
{
    const struct stele_created *const created = parse->created.items;
    for (size_t i = 0; i < parse->created.count; i++) {
        if (stele_sql_same_name(created[i].name, name)) {
            return true;
        }
    }
    return false;
}

static int check_created(const struct stele_parse *parse)
{
    const struct stele_created *const created = parse->created.items;
    for (size_t i = 0; i < parse->created.count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (stele_sql_same_name(created[i].name, created[j].name)) {
                return stele_parse__bad(
                    parse, created[i].line, "%.*s was created on line %u already",
                    (int)created[i].name.size, created[i].name.data, (unsigned)created[j].line);
            }
        }
    }
    return STELE_OK;
}

/* ---- Second pass: pieces ---- */

static int unknown_param(const struct stele_parse *parse, const struct stele_sql_token *token)
{
    char names[160] = "";
    size_t used = 0;
    const size_t count = parse->projection->effective ? STELE_PARAMS : STELE_PARAM_EFFECTIVE;
    for (size_t i = 0; i < count; i++) {
        used += (size_t)snprintf(names + used, sizeof names - used, "%s:%s",
                                 i == 0           ? ""
                                 : i + 1 == count ? " and "
                                                  : ", ",
                                 stele_projection_params[i]);
    }
    return stele_parse__bad(parse, token->line, "%.*s is no parameter; there are %s",
                            (int)(token->text.size > 60 ? 60 : token->text.size), token->text.data,
                            names);
}

static int add_piece(struct stele_parse *parse, struct stele_parse_list *pieces,
                     struct stele_piece piece)
{
    struct stele_piece *const all = pieces->items;
    if (piece.kind == STELE_PIECE_TEXT && pieces->count > 0 &&
        all[pieces->count - 1].kind == STELE_PIECE_TEXT) {
        all[pieces->count - 1].text.size += piece.text.size;
        return STELE_OK;
    }
    struct stele_piece *const added = stele_parse__push(parse, pieces, sizeof *added);
    if (added == NULL) {
        return stele_parse__no_memory(parse);
    }
    *added = piece;
    return STELE_OK;
}

/* Not every parameter says something everywhere. */
static int check_param(const struct stele_parse *parse, const struct stele_parse_raw *raw,
                       const struct stele_sql_token *token, enum stele_projection_param param)
{
    if (raw->undo && param != STELE_PARAM_STREAM) {
        return stele_parse__bad(parse, token->line, "%.*s: behind @undo there is only :stream",
                                (int)token->text.size, token->text.data);
    }
    if (param == STELE_PARAM_EFFECTIVE && !parse->projection->effective) {
        return stele_parse__bad(parse, token->line,
                                ":effective is for projections with `@order effective`");
    }
    return STELE_OK;
}

static int param_of(const struct stele_parse *parse, const struct stele_parse_raw *raw,
                    const struct stele_sql_token *token, struct stele_piece *piece)
{
    const struct stele_text name = {.data = token->text.data + 1, .size = token->text.size - 1};
    if (raw->table) {
        return stele_parse__bad(parse, token->line, "%.*s: there is no event behind @tables",
                                (int)(token->text.size > 60 ? 60 : token->text.size),
                                token->text.data);
    }
    for (size_t i = 0; i < STELE_PARAMS; i++) {
        if (strlen(stele_projection_params[i]) == name.size &&
            memcmp(stele_projection_params[i], name.data, name.size) == 0) {
            piece->kind = STELE_PIECE_PARAM;
            piece->param = (enum stele_projection_param)i;
            return check_param(parse, raw, token, piece->param);
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

static bool creates_table(const struct stele_parse_raw *raw)
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

static int take_apart(struct stele_parse *parse, const struct stele_parse_raw *raw,
                      struct stele_statement *statement)
{
    struct stele_sql_scan scan = {.text = raw->text, .at = 0, .line = raw->line - 1};
    struct stele_parse_list pieces = {.items = NULL};
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
                return stele_parse__bad(
                    parse, token.line,
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

static int take_all_apart(struct stele_parse *parse)
{
    struct stele_projection *const projection = parse->projection;
    const struct stele_parse_raw *const raws = parse->raws.items;
    struct stele_parse_list tables = {.items = NULL};
    struct stele_parse_list statements = {.items = NULL};
    int outcome = STELE_OK;
    for (size_t i = 0; i < parse->raws.count && outcome == STELE_OK; i++) {
        outcome = raws[i].table ? find_created(parse, &raws[i]) : STELE_OK;
    }
    if (outcome == STELE_OK) {
        outcome = check_created(parse);
    }
    for (size_t i = 0; i < parse->raws.count && outcome == STELE_OK; i++) {
        struct stele_statement *const statement =
            stele_parse__push(parse, raws[i].table ? &tables : &statements, sizeof *statement);
        outcome = statement != NULL ? take_apart(parse, &raws[i], statement)
                                    : stele_parse__no_memory(parse);
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
static int make_filter(struct stele_parse *parse)
{
    struct stele_filter *const filter = &parse->projection->filter;
    const struct stele_section *const sections = parse->sections.items;
    /* In effective order an event of any type may correct another one. */
    bool every = parse->projection->effective;
    for (size_t i = 0; i < parse->sections.count; i++) {
        every = every || sections[i].types_count == 0;
        for (size_t j = 0; j < sections[i].types_count; j++) {
            const char **const type = stele_parse__push(parse, &parse->types, sizeof *type);
            if (type == NULL || (*type = stele_parse__keep(parse, sections[i].types[j])) == NULL) {
                return stele_parse__no_memory(parse);
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

/* What folding streams anew, again and again, does not go with. */
static int check_effective(const struct stele_parse *parse)
{
    const struct stele_section *const sections = parse->sections.items;
    if (parse->projection->language != STELE_LANGUAGE_SQL) {
        return stele_parse__bad(parse, parse->order_line,
                                "@order effective is for projections in SQL");
    }
    if (parse->tag_line != 0) {
        return stele_parse__bad(parse, parse->tag_line,
                                "@tag takes single events, and @order effective whole streams");
    }
    if (parse->effect_line != 0) {
        return stele_parse__bad(parse, parse->effect_line,
                                "@effect does not go with @order effective, which applies events "
                                "again and again: put it into a projection of its own");
    }
    for (size_t i = 0; i < parse->sections.count; i++) {
        if (sections[i].undo && sections[i].count > 0) {
            return STELE_OK;
        }
    }
    return stele_parse__bad(parse, parse->undo_line != 0 ? parse->undo_line : parse->order_line,
                            "@order effective needs statements behind an @undo, which take out "
                            "everything of the stream :stream");
}

static int check_whole(const struct stele_parse *parse)
{
    const struct stele_section *const sections = parse->sections.items;
    const bool script = parse->projection->language != STELE_LANGUAGE_SQL;
    if (parse->projection->name == NULL) {
        return stele_parse__bad(parse, 1, "there is no line `-- @projection NAME`");
    }
    if (parse->projection->version == 0) {
        return stele_parse__bad(parse, 1, "there is no line `-- @version 1`");
    }
    for (size_t i = 0; i < parse->sections.count; i++) {
        if (script || (sections[i].count > 0 && !sections[i].undo)) {
            return parse->projection->effective ? check_effective(parse) : STELE_OK;
        }
    }
    return stele_parse__bad(parse, parse->scan.line + 1,
                            "there is no statement behind an `-- @on TYPE`");
}

static int parse_all(struct stele_parse *parse)
{
    int outcome = stele_parse__language(parse);
    const bool script = parse->projection->language != STELE_LANGUAGE_SQL;
    if (outcome == STELE_OK) {
        outcome = script ? stele_parse__script(parse) : find_statements(parse);
    }
    if (outcome == STELE_OK) {
        outcome = check_whole(parse);
    }
    if (outcome == STELE_OK && !script) {
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
    struct stele_parse parse = {
        .projection = projection, .err = err, .scan = {.text = projection->source}};
    const struct stele_bytes bytes = {.data = (const uint8_t *)text, .size = size};
    if (!stele_utf8_is_valid(bytes) || (size > 0 && memchr(text, '\0', size) != NULL)) {
        outcome = stele_parse__bad(&parse, 1, "this is no text in UTF-8");
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
