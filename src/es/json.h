/* Looking into a JSON object where it lies, without building a tree: no allocation, one pass. */
#ifndef STELE_ES_JSON_H
#define STELE_ES_JSON_H

#include "base/bytes.h"
#include "es/memory.h"

/* Walks the members of the outermost object. */
struct stele_json_walk {
    struct stele_bytes json;
    size_t at;
    bool begun;
};

/* STELE_OK: *out_name (raw, without quotes) and *out_value. STELE_END: the object ended and nothing
 * but white space follows. STELE_E_INVALID: this is no JSON object. */
STELE_MUST_USE
int stele_json_next(struct stele_json_walk *walk, struct stele_bytes *out_name,
                    struct stele_bytes *out_value);

/* Writes json with the members of extra that it does not have. Both are objects; a json of no bytes
 * is an empty one. STELE_OK, STELE_E_INVALID (nothing that counts was written), STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_json_add_missing(struct stele_bytes json, struct stele_bytes extra,
                           struct stele_output *output);

/* Writes json with the member set to the value, which is JSON text; the old one goes, wherever it stood.
 * A json of no bytes is an empty object. Outcomes as above. */
STELE_MUST_USE
int stele_json_set(struct stele_bytes json, const char *name, struct stele_bytes value,
                   struct stele_output *output);

#endif
