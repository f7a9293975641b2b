/* Takes SQL apart as far as projections need it: words, strings, comments, parameters. It knows both
 * SQLite's and PostgreSQL's spelling and judges nothing else. */
#ifndef STELE_RUNNER_SQL_TOKEN_H
#define STELE_RUNNER_SQL_TOKEN_H

#include "base/compiler.h"

#include <stele/stele.h>

#include <stdbool.h>
#include <stdint.h>

enum stele_sql_kind {
    STELE_SQL_END,
    STELE_SQL_SPACE,     /* Also comments that are no directive. */
    STELE_SQL_WORD,      /* balance, "balance", `balance` */
    STELE_SQL_STRING,    /* 'text', E'text', $tag$text$tag$ */
    STELE_SQL_NUMBER,    /* 12, 1.5e3 */
    STELE_SQL_PARAM,     /* :name, without the colon in `name` */
    STELE_SQL_SYMBOL,    /* One character; "::" is one, too. */
    STELE_SQL_DIRECTIVE, /* A line "-- @word …", without its end of line. */
    STELE_SQL_BROKEN,    /* A string, name or comment without its end. */
};

struct stele_sql_token {
    enum stele_sql_kind kind;
    struct stele_text text;
    uint32_t line; /* Of its first character, from 1. */
};

/* A place in a text. Zero-initialised apart from the text it is at the beginning; line counts from
 * 0 there. */
struct stele_sql_scan {
    struct stele_text text;
    size_t at;
    uint32_t line;
};

struct stele_sql_token stele_sql_next(struct stele_sql_scan *scan);

/* Is it this keyword (ASCII, any case)? */
bool stele_sql_is(const struct stele_sql_token *token, const char *keyword);
/* Do two names mean the same? Quotes are taken off, case does not count. */
bool stele_sql_same_name(struct stele_text a, struct stele_text b);

#endif
