/* Files of projections that are scripts: Lua, which runs in Redis, and jq, which makes documents.
 *
 * Directives are comments of the language at the beginning of a line ("-- @word …", "# @word …"), and
 * what stands between them is kept as it is: the language itself judges it when the projection is
 * attached to its sink. */
#include "runner/parse.h"

#include <string.h>

/* The next line of the source, without its end. false: there is none. */
static bool next_line(struct stele_sql_scan *scan, struct stele_text *out_line)
{
    if (scan->at >= scan->text.size) {
        return false;
    }
    const char *const begin = scan->text.data + scan->at;
    const size_t left = scan->text.size - scan->at;
    const char *const end = memchr(begin, '\n', left);
    out_line->data = begin;
    out_line->size = end != NULL ? (size_t)(end - begin) : left;
    scan->at += out_line->size + (end != NULL ? 1 : 0);
    scan->line++;
    return true;
}

static struct stele_text without_blanks(struct stele_text line)
{
    while (line.size > 0 && (*line.data == ' ' || *line.data == '\t')) {
        line.data++;
        line.size--;
    }
    while (line.size > 0 && (line.data[line.size - 1] == ' ' || line.data[line.size - 1] == '\t' ||
                             line.data[line.size - 1] == '\r')) {
        line.size--;
    }
    return line;
}

/* Is the line a comment, and what is in it? */
static bool is_comment(struct stele_text line, const char *mark, struct stele_text *out_text)
{
    const size_t size = strlen(mark);
    line = without_blanks(line);
    if (line.size < size || memcmp(line.data, mark, size) != 0) {
        return false;
    }
    *out_text =
        without_blanks((struct stele_text){.data = line.data + size, .size = line.size - size});
    return true;
}

static bool is_text(struct stele_text text, const char *word)
{
    return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}

/* The header says it, so that a stored file needs no name to be understood. */
int stele_parse__language(struct stele_parse *parse)
{
    static const char word[] = "@language";
    static const char *const names[] = {"sql", "lua", "jq"};
    struct stele_sql_scan scan = parse->scan;
    struct stele_text line;
    struct stele_text text;
    while (next_line(&scan, &line)) {
        if (!is_comment(line, "--", &text) && !is_comment(line, "#", &text)) {
            if (without_blanks(line).size > 0) {
                return STELE_OK;
            }
            continue;
        }
        if (text.size < sizeof word || memcmp(text.data, word, sizeof word - 1) != 0) {
            continue;
        }
        const struct stele_text name = without_blanks((struct stele_text){
            .data = text.data + sizeof word - 1, .size = text.size - (sizeof word - 1)});
        for (size_t i = 0; i < STELE_COUNT_OF(names); i++) {
            if (is_text(name, names[i])) {
                parse->projection->language = (enum stele_language)i;
                return STELE_OK;
            }
        }
        return stele_parse__bad(parse, scan.line, "@language is sql, lua or jq");
    }
    return STELE_OK;
}

/* Where the text of the current place is gathered. */
static struct stele_script *place_of(struct stele_parse *parse)
{
    struct stele_section *const sections = parse->sections.items;
    return parse->place == STELE_PARSE_TABLES ? &parse->projection->setup
                                              : &sections[parse->sections.count - 1].script;
}

static int on_text(struct stele_parse *parse, struct stele_text line, const char *mark)
{
    struct stele_text comment;
    const bool something = without_blanks(line).size > 0 && !is_comment(line, mark, &comment);
    if (parse->place == STELE_PARSE_HEADER) {
        return something
                   ? stele_parse__bad(parse, parse->scan.line, "this has to stand behind an @on")
                   : STELE_OK;
    }
    struct stele_script *const script = place_of(parse);
    if (script->text.data == NULL) {
        script->text.data = line.data;
        script->line = parse->scan.line;
    }
    script->text.size = (size_t)(line.data + line.size - script->text.data);
    if (something && parse->place == STELE_PARSE_EVENTS && script->is_empty) {
        parse->statements++;
    }
    script->is_empty = script->is_empty && !something;
    return STELE_OK;
}

/* A section without a statement is one that does nothing: somebody forgot something. */
static int check_sections(const struct stele_parse *parse)
{
    const struct stele_section *const sections = parse->sections.items;
    for (size_t i = 0; i < parse->sections.count; i++) {
        if (sections[i].script.is_empty) {
            return stele_parse__bad(parse, sections[i].script.line,
                                    "there is nothing behind this directive");
        }
    }
    return parse->statements > 0
               ? STELE_OK
               : stele_parse__bad(parse, parse->scan.line + 1, "there is no `@on TYPE`");
}

int stele_parse__script(struct stele_parse *parse)
{
    const bool lua = parse->projection->language == STELE_LANGUAGE_LUA;
    const char *const mark = lua ? "--" : "#";
    struct stele_text line;
    int outcome = STELE_OK;
    while (outcome == STELE_OK && next_line(&parse->scan, &line)) {
        struct stele_text text;
        if (is_comment(line, mark, &text) && text.size > 1 && text.data[0] == '@') {
            const struct stele_sql_token token = {
                .kind = STELE_SQL_DIRECTIVE, .text = text, .line = parse->scan.line};
            outcome = stele_parse__directive(parse, &token);
        } else {
            outcome = on_text(parse, line, mark);
        }
    }
    if (outcome == STELE_OK) {
        outcome = check_sections(parse);
    }
    parse->projection->sections = parse->sections.items;
    parse->projection->sections_count = parse->sections.count;
    return outcome;
}
