/* Fields of JSON text: found by their paths, replaced in place, every other byte as it was.
 *
 * A path is a JSON pointer (RFC 6901): "/customer/name", "/lines/0/note". Names are compared as they are
 * meant, not as they are spelled ("na\u006de" is "name"), because a spelling must not get around a policy;
 * of a name that is there twice, both values count. */
#ifndef STELE_KEYS_FIELDS_H
#define STELE_KEYS_FIELDS_H

#include "base/alloc.h"
#include "base/status.h"

#define STELE_FIELDS_DEPTH_MAX 64

/* Is this the value to replace? value begins where the value does, its end is not known yet. */
typedef bool (*stele_fields_match)(void *context, struct stele_bytes path,
                                   struct stele_bytes value);
/* Appends what stands in place of the value to out. Not STELE_OK ends the walk with it. */
typedef int (*stele_fields_replace)(void *context, struct stele_bytes path,
                                    struct stele_bytes value, struct stele_buf *out);
/* A member's name, as it is meant. May be NULL. Not STELE_OK ends the walk with it. */
typedef int (*stele_fields_name)(void *context, struct stele_bytes name);

struct stele_fields_walk {
    stele_fields_match match;
    stele_fields_replace replace;
    stele_fields_name name;
    void *context;
};

/* Appends json to out, with the values that match replaced. Values within a replaced one are not looked at.
 * Any bytes are safe. STELE_OK; STELE_E_INVALID: no JSON; STELE_E_LIMIT: nested deeper than the bound, or a
 * path longer than that of an envelope; STELE_E_NO_MEMORY; or what a callback said. err says where. */
STELE_MUST_USE
int stele_fields_walk(struct stele_bytes json, const struct stele_fields_walk *walk,
                      struct stele_alloc *alloc, struct stele_buf *out, struct stele_error *err);

/* Does the path match the pattern, in which "*" stands for any one name or index? */
bool stele_fields_path_matches(struct stele_bytes pattern, struct stele_bytes path);
/* A JSON pointer that is not the whole document, and no longer than a path may be. */
bool stele_fields_is_pointer(struct stele_bytes pattern);

/* Appends the text that a JSON string or number stands for. false: it is neither, or no memory. */
STELE_MUST_USE
bool stele_fields_text(struct stele_bytes value, struct stele_alloc *alloc, struct stele_buf *out);

#endif
