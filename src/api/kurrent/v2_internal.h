/* Inside v2.c and value.c. */
#ifndef STELE_API_KURRENT_V2_INTERNAL_H
#define STELE_API_KURRENT_V2_INTERNAL_H

#include "api/kurrent/kurrent_internal.h"

/* STELE_OK, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_kurrent__put_json_string(struct stele_buf *to, struct stele_alloc *alloc,
                                   struct stele_bytes text);
/* An entry of map<string, google.protobuf.Value> as "key":value. STELE_E_INVALID: an empty key, a
 * value without a kind, nested too deeply, malformed. */
STELE_MUST_USE
int stele_kurrent__put_json_member(struct stele_buf *to, struct stele_alloc *alloc,
                                   struct stele_bytes entry, int depth);

#endif
