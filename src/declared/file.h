/* A file that declares what `stele run` runs: projections, sagas and reactions, in YAML.
 *
 * Everything is read, compiled and checked before anything runs; a mistake is told with file and line. */
#ifndef STELE_DECLARED_FILE_H
#define STELE_DECLARED_FILE_H

#include "declared/yaml.h"

#include <stele/jq.h>
#include <stele/saga.h>

#define STELE_DECLARED_MAX 1000u /* Of each kind in one file. */
#define STELE_DECLARED_HEADERS_MAX 32u

struct stele_declared_projection {
    const char *file; /* An SQL file. */
    const char *into; /* A database. */
    uint32_t lanes, batch;
};

/* What is done for a step, or to undo it: a call over HTTP, or events that a program makes. */
struct stele_declared_action {
    const char *url; /* NULL: no call. */
    const char *method;
    struct stele_jq *body;   /* NULL: the usual one. */
    struct stele_jq *append; /* NULL: no events. */
};

struct stele_declared_step {
    struct stele_declared_action request, undo;
};

/* A saga, or a reaction: a saga of one step, started by each event that it is about. */
struct stele_declared_saga {
    bool reaction;
    unsigned line;
    struct stele_saga_table table; /* steps: those below. */
    struct stele_saga_step steps[STELE_SAGA_STEPS_MAX];
    struct stele_declared_step actions[STELE_SAGA_STEPS_MAX];
    const char **triggers;
    size_t triggers_count;
    const char **categories;
    size_t categories_count;
    struct stele_jq *when, *id, *input; /* NULL: not said. */
    uint64_t from;                      /* STELE_FROM_END or 0. */
    struct stele_breaker_config breaker;
    const char *headers[STELE_DECLARED_HEADERS_MAX];
    size_t headers_count;
    const char *ca_file;
};

/* The value of a variable of the environment, or NULL. */
typedef const char *(*stele_declared_variable)(const char *name);

struct stele_declared_file {
    const char *path;
    const char *store;   /* NULL: not said. */
    const char *name;    /* Of this runner among those on the store; NULL: not said. */
    const char *metrics; /* HOST:PORT; NULL: not said. */
    struct stele_declared_projection *projections;
    size_t projections_count;
    struct stele_declared_saga *sagas;
    size_t sagas_count;
    stele_declared_variable variable;
    struct stele_memory *memory;
    struct stele_yaml yaml;
    struct stele_jq **programs;
    size_t programs_count;
};

/* Reads the text of a file. Paths in it are as seen from the directory of path, and are handed out as seen from
 * the working directory. Released by stele_declared_destroy().
 *
 * STELE_OK; STELE_E_INVALID with file, line and what is wrong, also of its jq programs; STELE_NOT_FOUND,
 * STELE_E_IO, STELE_E_LIMIT: of a jq file; STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_declared_read(const char *path, const void *text, size_t size,
                        stele_declared_variable variable, struct stele_declared_file **out_file,
                        struct stele_error *err);
/* NULL is fine. */
void stele_declared_destroy(struct stele_declared_file *file);

/* ---- Inside -------------------------------------------------------------------------------- */

/* A program: a text, or {file: PATH}. NULL node: none. */
int stele_declared__program(struct stele_declared_file *file, const yaml_node_t *node,
                            struct stele_jq **out_jq, struct stele_error *err);
/* The program that gives what it gets. */
int stele_declared__identity(struct stele_declared_file *file, struct stele_jq **out_jq,
                             struct stele_error *err);
/* The items of a list as an array. */
int stele_declared__texts(struct stele_declared_file *file, const struct stele_yaml_list *list,
                          const char ***out_texts, struct stele_error *err);
int stele_declared__no_memory(const struct stele_declared_file *file, struct stele_error *err);
/* A path as seen from the working directory; addresses stay as they are. NULL: no memory. */
const char *stele_declared__beside(struct stele_declared_file *file, const char *name);
int stele_declared__saga(struct stele_declared_file *file, const yaml_node_t *node, bool reaction,
                         struct stele_declared_saga *out_saga, struct stele_error *err);

#endif
