/* Access control lists as KurrentDB writes them: the member "$acl" of a stream's metadata, and the
 * two default lists in the stream $settings.
 *
 *     {"$acl": {"$r": ["ada", "$ops"], "$w": "ada", "$d": [], "$mr": "$all", "$mw": "$admins"}}
 *
 * A right that is absent is that of the default list. A list that is malformed gives its right to
 * administrators only: a mistake must not open a stream. Pure. */
#ifndef STELE_AUTH_ACL_H
#define STELE_AUTH_ACL_H

#include "auth/auth.h"

#define STELE_ACL_NAMES_MAX 1024 /* Of one right. More: malformed. */

/* One allocation: sizes and names follow. NULL stands for a list without any right. */
struct stele_acl {
    size_t size; /* Of the allocation. */
    struct {
        bool is_set;
        uint32_t count;      /* Names. */
        uint32_t names_from; /* Offset in names: each ends with a zero. */
    } rights[STELE_RIGHT_COUNT];
    char names[];
};

/* STELE_OK (*out_acl NULL: no right is set), STELE_E_NO_MEMORY. Any bytes are safe; what is not a
 * JSON object is a list that gives every right to administrators only. */
STELE_MUST_USE
int stele_acl_of_metadata(struct stele_bytes json, struct stele_alloc *alloc,
                          struct stele_acl **out_acl);
/* The same for both defaults in the data of a $settings event. */
STELE_MUST_USE
int stele_acl_of_settings(struct stele_bytes json, struct stele_alloc *alloc,
                          struct stele_acl **out_user, struct stele_acl **out_system);
void stele_acl_free(struct stele_acl *acl, struct stele_alloc *alloc);

bool stele_acl_sets(const struct stele_acl *acl, enum stele_right right);
/* The right must be set. all_counts: "$all" lets this principal in. */
bool stele_acl_allows(const struct stele_acl *acl, enum stele_right right,
                      const struct stele_principal *principal, bool all_counts);
bool stele_acl_equal(const struct stele_acl *a, const struct stele_acl *b);

#endif
