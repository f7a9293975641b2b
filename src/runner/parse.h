/* What reads a projection's file: directives, then statements of SQL or the text of scripts. */
#ifndef STELE_RUNNER_PARSE_H
#define STELE_RUNNER_PARSE_H

#include "runner/projection.h"
#include "runner/sql_token.h"

/* Items of one kind, in memory that goes with the projection. */
struct stele_parse_list {
    void *items;
    size_t count, capacity;
};

/* A statement as the first pass finds it. */
struct stele_parse_raw {
    struct stele_text text;
    uint32_t line;
    bool table; /* Of the DDL section. */
    bool undo;  /* Behind @undo. */
};

enum stele_parse_place { STELE_PARSE_HEADER, STELE_PARSE_TABLES, STELE_PARSE_EVENTS };

struct stele_parse {
    struct stele_projection *projection;
    struct stele_error *err;
    struct stele_sql_scan scan;
    enum stele_parse_place place;
    bool has_tables;
    uint32_t order_line;  /* Of @order; 0: there is none. */
    uint32_t undo_line;   /* Of @undo. */
    uint32_t effect_line; /* Of the first @effect. */
    uint32_t tag_line;    /* Of the first @tag. */
    size_t statements;    /* Of event sections so far. */
    struct stele_parse_list raws, created, sections, categories, streams, prefixes, tags, types;
};

/* FILE:LINE: words. Returns STELE_E_INVALID. */
STELE_PRINTF(3, 4)
int stele_parse__bad(const struct stele_parse *parse, uint32_t line, const char *format, ...);
/* Returns STELE_E_NO_MEMORY. */
int stele_parse__no_memory(const struct stele_parse *parse);
/* Room for one more item at the end of a list; NULL: no memory, or too many. */
void *stele_parse__push(const struct stele_parse *parse, struct stele_parse_list *list,
                        size_t item_size);
/* A copy with a zero behind it; NULL: no memory. */
const char *stele_parse__keep(const struct stele_parse *parse, struct stele_text text);

/* A line with "@word …" in it. */
int stele_parse__directive(struct stele_parse *parse, const struct stele_sql_token *token);

/* What the file's header says it is in. */
int stele_parse__language(struct stele_parse *parse);
/* The sections of a file in Lua or jq. */
int stele_parse__script(struct stele_parse *parse);

#endif
