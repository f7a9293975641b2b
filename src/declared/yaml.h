/* YAML as tables of fields: what may be there, of which kind, and where it goes. Whatever does not fit is told
 * with its line.
 *
 * Texts point into the document and live as long as it does. Pure but for memory, which is libyaml's. */
#ifndef STELE_DECLARED_YAML_H
#define STELE_DECLARED_YAML_H

#include "base/status.h"

#include <stele/stele.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yaml.h>

#define STELE_YAML_SIZE_MAX (1024u * 1024u)

struct stele_yaml {
    const char *path; /* Borrowed; for messages. */
    yaml_document_t document;
};

enum stele_yaml_kind {
    STELE_YAML_TEXT,     /* const char **: a scalar that is not empty */
    STELE_YAML_LIST,     /* struct stele_yaml_list *: a list of texts, or one text */
    STELE_YAML_NUMBER,   /* uint32_t * */
    STELE_YAML_DURATION, /* uint64_t *: milliseconds, of "250ms", "5s", "10m", "2h", "7d" */
    STELE_YAML_CHOICE,   /* int *: the place in choices */
    STELE_YAML_NODE,     /* const yaml_node_t **: anything */
};

struct stele_yaml_list {
    const yaml_node_t *node; /* NULL: not said. */
    size_t count;
};

struct stele_yaml_field {
    const char *key;
    enum stele_yaml_kind kind;
    void *target; /* Unchanged when the key is not there. */
    bool required;
    const char *const *choices; /* Ends with NULL. */
};

/* Takes a text apart. path is borrowed. Released by stele_yaml_deinit() unless this fails.
 * STELE_OK; STELE_E_INVALID: file, line and what is wrong. */
STELE_MUST_USE
int stele_yaml_init(struct stele_yaml *yaml, const char *path, const void *text, size_t size,
                    struct stele_error *err);
void stele_yaml_deinit(struct stele_yaml *yaml);

/* Fails with "FILE:LINE: words", the line that of the node. Returns STELE_E_INVALID. */
STELE_PRINTF(4, 5)
int stele_yaml_fail(const struct stele_yaml *yaml, const yaml_node_t *node, struct stele_error *err,
                    const char *format, ...);
/* From 1. */
unsigned stele_yaml_line(const yaml_node_t *node);

/* Reads a mapping. what: in words, "a step". Keys that are no fields, that are there twice or that are missing
 * although required, and values of another kind are refused. */
STELE_MUST_USE
int stele_yaml_map(struct stele_yaml *yaml, const yaml_node_t *node, const char *what,
                   const struct stele_yaml_field *fields, size_t count, struct stele_error *err);

/* How many items a sequence has; refused if it is none, has none, or more than max. */
STELE_MUST_USE
int stele_yaml_items(struct stele_yaml *yaml, const yaml_node_t *node, const char *what, size_t max,
                     size_t *out_count, struct stele_error *err);
const yaml_node_t *stele_yaml_item(struct stele_yaml *yaml, const yaml_node_t *node, size_t index);

/* Text number index of a list that was read. */
const char *stele_yaml_text(struct stele_yaml *yaml, const struct stele_yaml_list *list,
                            size_t index);
/* The text of a scalar; NULL: it is none. */
const char *stele_yaml_scalar(const yaml_node_t *node);

#endif
