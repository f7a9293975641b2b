/* What the files of the replicated data types share. */
#ifndef STELE_ES_CRDT_INTERNAL_H
#define STELE_ES_CRDT_INTERNAL_H

#include "base/status.h"
#include "es/dots.h"

#include <stele/crdt.h>

#define STELE_CRDT__COUNTER_SIZE 16
#define STELE_CRDT__POSITION_SIZE 8
/* All names, and an element. */
#define STELE_CRDT__PATH_SIZE_MAX                                                                  \
    (STELE_CRDT_KEYS_MAX * (STELE_CRDT_KEY_SIZE_MAX + 3) + STELE_CRDT_ELEMENT_SIZE_MAX)
_Static_assert(STELE_CRDT__PATH_SIZE_MAX <= STELE_DOTS_PATH_SIZE_MAX, "a path fits its size");

static inline struct stele_dots stele_crdt__dots(const struct stele_crdt *crdt)
{
    return (struct stele_dots){.data = crdt->data, .size = crdt->size, .capacity = crdt->capacity};
}

static inline bool stele_crdt__is_type(int type)
{
    return type >= STELE_CRDT_COUNTER && type <= STELE_CRDT_MAP;
}

/* A path without an element, or its beginning. */
struct stele_crdt__path {
    size_t size;
    uint8_t bytes[STELE_CRDT__PATH_SIZE_MAX];
};

/* Is this operation one that a state of this type can take (root_type 0: that some state can)?
 * STELE_OK, STELE_E_INVALID, STELE_E_LIMIT; index is for the words. */
STELE_MUST_USE
int stele_crdt__check_op(int root_type, const struct stele_crdt_op *op, size_t index,
                         struct stele_error *err);

/* The path of a place that was checked. Of type 0 it ends behind the last name, before its type. */
void stele_crdt__path_of(const struct stele_crdt_place *place, struct stele_crdt__path *out_path);

/* Does what is asked for fit the state? */
bool stele_crdt__place_fits(int root_type, const struct stele_crdt_place *place);

/* The name at the start of a path, and the type it stands for; 0: there is none. Returns the bytes
 * that both take. */
size_t stele_crdt__path_key(struct stele_bytes path, struct stele_text *out_key, int *out_type);

int stele_crdt__check_record(uint8_t type, const struct stele_dots_record *record,
                             struct stele_error *err);

#endif
