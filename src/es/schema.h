/* A clear part of JSON Schema (draft 2020-12), for the data of events.
 *
 * Checked: type, enum, const; properties, required, additionalProperties, minProperties,
 * maxProperties; items, minItems, maxItems; minLength, maxLength (in characters), pattern (PCRE2,
 * found anywhere); minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf (integers);
 * allOf, anyOf, oneOf, not; $ref to "#", "#/$defs/NAME" or "#/definitions/NAME"; true and false as
 * schemas. Passed over, because they only explain: title, description, default, examples, format,
 * deprecated, readOnly, writeOnly, $schema, $id, $comment.
 *
 * Every other keyword is refused when the schema is made: what would not be checked must not look as
 * if it were. */
#ifndef STELE_ES_SCHEMA_H
#define STELE_ES_SCHEMA_H

#include "base/bytes.h"
#include "es/memory.h"

struct stele_schema;

/* STELE_OK; STELE_E_INVALID: the message has line and column, or the place and the keyword. */
STELE_MUST_USE
int stele_schema_create(struct stele_memory *memory, const char *text,
                        struct stele_schema **out_schema, struct stele_error *err);

/* STELE_OK; STELE_E_INVALID: the message has the place in the data ("$.items[2].price") and what was
 * expected there. Thread-safe. */
STELE_MUST_USE
int stele_schema_check(const struct stele_schema *schema, struct stele_bytes data,
                       struct stele_error *err);

#endif
