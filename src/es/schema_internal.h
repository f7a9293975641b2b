#ifndef STELE_ES_SCHEMA_INTERNAL_H
#define STELE_ES_SCHEMA_INTERNAL_H

#include "es/schema.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>

#define STELE_SCHEMA_DEPTH_MAX 64u

struct stele_schema_pattern {
    const json_t *where; /* The schema that has it. */
    pcre2_code *code;
};

struct stele_schema {
    json_t *root;
    struct stele_schema_pattern *patterns;
    size_t patterns_count;
    size_t patterns_capacity;
};

/* What a "$ref" means; NULL if there is no such place. */
const json_t *stele_schema__resolve(const struct stele_schema *schema, const char *reference);

/* One bit per type of JSON Schema. */
#define STELE_SCHEMA_NULL 1u
#define STELE_SCHEMA_BOOLEAN 2u
#define STELE_SCHEMA_INTEGER 4u
#define STELE_SCHEMA_NUMBER 8u
#define STELE_SCHEMA_STRING 16u
#define STELE_SCHEMA_ARRAY 32u
#define STELE_SCHEMA_OBJECT 64u
/* 0: there is no type of that name. */
unsigned stele_schema__type(const char *name);

#endif
