/* The tokens of SQL. */
#include "runner/sql_token.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_word(char c)
{
    return is_word_start(c) || is_digit(c);
}

static char peek(const struct stele_sql_scan *scan, size_t ahead)
{
    return scan->at + ahead < scan->text.size ? scan->text.data[scan->at + ahead] : '\0';
}

/* Behind the quote that ends what begins at `at`, a doubled one being part of it; 0: there is none. */
static size_t end_of_quoted(struct stele_text text, size_t at, bool backslash)
{
    const char quote = text.data[at];
    for (size_t i = at + 1; i < text.size; i++) {
        if (backslash && text.data[i] == '\\') {
            i++;
        } else if (text.data[i] == quote) {
            if (i + 1 >= text.size || text.data[i + 1] != quote) {
                return i + 1;
            }
            i++;
        }
    }
    return 0;
}

static size_t end_of_line(struct stele_text text, size_t at)
{
    while (at < text.size && text.data[at] != '\n') {
        at++;
    }
    return at;
}

/* PostgreSQL's comments nest, SQLite's do not; nested ones in a file for SQLite are an error there. */
static size_t end_of_comment(struct stele_text text, size_t at)
{
    for (size_t i = at + 2; i + 1 < text.size; i++) {
        if (text.data[i] == '*' && text.data[i + 1] == '/') {
            return i + 2;
        }
    }
    return 0;
}

/* $tag$ … $tag$; 0: no such string begins here; SIZE_MAX: it does not end. */
static size_t end_of_dollars(struct stele_text text, size_t at)
{
    size_t tag = at + 1;
    while (tag < text.size && is_word(text.data[tag]) && !is_digit(text.data[at + 1])) {
        tag++;
    }
    if (tag >= text.size || text.data[tag] != '$') {
        return 0;
    }
    const size_t size = tag + 1 - at;
    for (size_t i = tag + 1; i + size <= text.size; i++) {
        if (memcmp(text.data + i, text.data + at, size) == 0) {
            return i + size;
        }
    }
    return SIZE_MAX;
}

static bool is_directive(struct stele_text text, size_t at)
{
    at += 2;
    while (at < text.size && (text.data[at] == ' ' || text.data[at] == '\t')) {
        at++;
    }
    return at < text.size && text.data[at] == '@';
}

static size_t end_of_number(struct stele_text text, size_t at)
{
    while (at < text.size && (is_word(text.data[at]) || text.data[at] == '.' ||
                              ((text.data[at] == '+' || text.data[at] == '-') &&
                               (text.data[at - 1] == 'e' || text.data[at - 1] == 'E')))) {
        at++;
    }
    return at;
}

static size_t end_of_words(struct stele_text text, size_t at)
{
    while (at < text.size && (is_word(text.data[at]) || text.data[at] == '$')) {
        at++;
    }
    return at;
}

static size_t end_of_space(struct stele_text text, size_t at)
{
    while (at < text.size && is_space(text.data[at])) {
        at++;
    }
    return at;
}

/* The kind of what begins here and behind it: 0 or SIZE_MAX if it does not end. */
static enum stele_sql_kind classify(const struct stele_sql_scan *scan, size_t *out_end)
{
    const struct stele_text text = scan->text;
    const size_t at = scan->at;
    const char c = text.data[at];
    const char next = peek(scan, 1);
    if (is_space(c)) {
        *out_end = end_of_space(text, at);
        return STELE_SQL_SPACE;
    }
    if (c == '-' && next == '-') {
        *out_end = end_of_line(text, at);
        return is_directive(text, at) ? STELE_SQL_DIRECTIVE : STELE_SQL_SPACE;
    }
    if (c == '/' && next == '*') {
        *out_end = end_of_comment(text, at);
        return STELE_SQL_SPACE;
    }
    if (c == '\'' || ((c == 'E' || c == 'e') && next == '\'')) {
        *out_end = end_of_quoted(text, at + (c == '\'' ? 0 : 1), c != '\'');
        return STELE_SQL_STRING;
    }
    if (c == '"' || c == '`') {
        *out_end = end_of_quoted(text, at, false);
        return STELE_SQL_WORD;
    }
    if (c == '$' && (*out_end = end_of_dollars(text, at)) != 0) {
        return STELE_SQL_STRING;
    }
    if (is_word_start(c)) {
        *out_end = end_of_words(text, at);
        return STELE_SQL_WORD;
    }
    if (is_digit(c)) {
        *out_end = end_of_number(text, at);
        return STELE_SQL_NUMBER;
    }
    if (c == ':' && is_word_start(next)) {
        *out_end = end_of_words(text, at + 1);
        return STELE_SQL_PARAM;
    }
    *out_end = at + (c == ':' && next == ':' ? 2 : 1);
    return STELE_SQL_SYMBOL;
}

struct stele_sql_token stele_sql_next(struct stele_sql_scan *scan)
{
    struct stele_sql_token token = {
        .kind = STELE_SQL_END,
        .text = {.data = scan->text.data + scan->at, .size = 0},
        .line = scan->line + 1,
    };
    if (scan->at >= scan->text.size) {
        return token;
    }
    size_t end = 0;
    token.kind = classify(scan, &end);
    if (end == 0 || end == SIZE_MAX) {
        token.kind = STELE_SQL_BROKEN;
        end = scan->text.size;
    }
    token.text.size = end - scan->at;
    for (size_t i = scan->at; i < end; i++) {
        scan->line += scan->text.data[i] == '\n' ? 1 : 0;
    }
    scan->at = end;
    return token;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same(struct stele_text a, struct stele_text b)
{
    if (a.size != b.size) {
        return false;
    }
    for (size_t i = 0; i < a.size; i++) {
        if (lower(a.data[i]) != lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

bool stele_sql_is(const struct stele_sql_token *token, const char *keyword)
{
    return (token->kind == STELE_SQL_WORD || token->kind == STELE_SQL_SYMBOL) &&
           same(token->text, (struct stele_text){.data = keyword, .size = strlen(keyword)});
}

static struct stele_text bare(struct stele_text name)
{
    if (name.size >= 2 && (name.data[0] == '"' || name.data[0] == '`')) {
        return (struct stele_text){.data = name.data + 1, .size = name.size - 2};
    }
    return name;
}

bool stele_sql_same_name(struct stele_text a, struct stele_text b)
{
    return same(bare(a), bare(b));
}
