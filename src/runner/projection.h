/* A projection, taken apart: what the parser of SQL files makes and sinks use.
 *
 * Everything lies in the projection's arena and does not change once it is made. */
#ifndef STELE_RUNNER_PROJECTION_H
#define STELE_RUNNER_PROJECTION_H

#include "base/alloc.h"
#include "base/status.h"

#include <stele/project.h>

/* What a statement can ask of an event. The order is that of stele_projection_params. */
enum stele_projection_param {
    STELE_PARAM_STREAM,
    STELE_PARAM_REVISION,
    STELE_PARAM_POSITION,
    STELE_PARAM_TYPE,
    STELE_PARAM_CREATED,
    STELE_PARAM_DATA,
    STELE_PARAM_METADATA,
    STELE_PARAM_ID,
    STELE_PARAM_BYTES,
    STELE_PARAM_EFFECTIVE, /* When it counts; in effective order only, and therefore last. */
    STELE_PARAMS,
};
/* Their names, without the colon. */
extern const char *const stele_projection_params[STELE_PARAMS];

/* A statement is a row of pieces. Only names and parameters change when it is written for a
 * database; lines stay where they are, so that an error can be found again. */
enum stele_piece_kind { STELE_PIECE_TEXT, STELE_PIECE_PARAM, STELE_PIECE_NAME };
struct stele_piece {
    enum stele_piece_kind kind;
    enum stele_projection_param param;
    struct stele_text text; /* As it stands in the file. */
};

struct stele_statement {
    const struct stele_piece *pieces;
    size_t pieces_count;
    uint32_t params; /* Bit i: uses parameter i. */
    uint32_t line;
};

/* What a file is in. */
enum stele_language { STELE_LANGUAGE_SQL, STELE_LANGUAGE_LUA, STELE_LANGUAGE_JQ };

/* A piece of a file that is no SQL. */
struct stele_script {
    struct stele_text text;
    uint32_t line; /* Of its first line. */
    bool is_empty; /* Nothing but comments. */
};

/* "-- @on A, B": what runs for events of these types. */
struct stele_section {
    const struct stele_text *types;
    size_t types_count;  /* 0: for every type. */
    bool effect;         /* Not while replaying. */
    bool undo;           /* "-- @undo": runs for no event, but takes out those of a stream. */
    size_t first, count; /* Statements of the projection. */
    struct stele_script script; /* In place of statements, if it is no SQL. */
};

/* Something that the DDL section creates. */
enum stele_created_kind {
    STELE_CREATED_TABLE,
    STELE_CREATED_VIEW,
    STELE_CREATED_INDEX,
    STELE_CREATED_TRIGGER,
};
struct stele_created {
    enum stele_created_kind kind;
    struct stele_text name; /* As it is written, with its quotes. */
    uint32_t line;
};

struct stele_projection {
    struct stele_alloc *alloc;
    struct stele_arena arena;
    const char *file; /* For messages. */
    const char *name;
    uint64_t version;
    bool effective; /* Folds in the order in which events count, not in that of the store. */
    struct stele_filter filter;
    struct stele_text source; /* The whole file; empty for a projection in C. */
    enum stele_language language;
    struct stele_script setup; /* Behind @tables of a script. */

    const struct stele_created *created;
    size_t created_count;
    const struct stele_statement *tables; /* The DDL section. */
    size_t tables_count;
    const struct stele_statement *statements;
    size_t statements_count;
    const struct stele_section *sections;
    size_t sections_count;

    struct stele_projection_options c; /* apply is set in a projection in C. */
};

/* How parameters are written. */
enum stele_dialect {
    STELE_DIALECT_SQLITE,   /* ?1 … ?10: the parameter's number + 1. */
    STELE_DIALECT_POSTGRES, /* $1 …: those that are used, counted in their order. */
};

/* Writes the statement for a database, with a zero at its end that is not counted in its size. suffix
 * goes behind every name that the projection creates. STELE_OK or STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_projection_render(const struct stele_statement *statement, enum stele_dialect dialect,
                            const char *suffix, struct stele_alloc *alloc, struct stele_buf *out);
/* The name of something created, with the suffix ("" for the view's own), as SQL. */
STELE_MUST_USE
int stele_projection_render_name(struct stele_text name, const char *suffix,
                                 struct stele_alloc *alloc, struct stele_buf *out);

/* Which line of the file the offset in a rendered statement is in. */
uint32_t stele_projection_line(const struct stele_statement *statement, const char *rendered,
                               size_t offset);

/* An empty one that holds its source and its file's name. */
STELE_MUST_USE
int stele_projection__make(struct stele_text source, const char *file,
                           struct stele_projection **out_projection, struct stele_error *err);

/* Does the section run for the type? */
bool stele_section_wants(const struct stele_section *section, struct stele_text type);

#endif
