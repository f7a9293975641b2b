/* Policies: which events are sealed, for whom, and what of them; <stele/keys.h> has the form. */
#ifndef STELE_KEYS_POLICY_H
#define STELE_KEYS_POLICY_H

#include "base/alloc.h"
#include "base/status.h"

#define STELE_POLICY_SIZE_MAX ((size_t)1024 * 1024)
#define STELE_POLICY_RULES_MAX 1024

struct stele_policy;

/* STELE_OK; STELE_E_INVALID: err says where and why; STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_policy_create(struct stele_bytes json, struct stele_alloc *alloc,
                        struct stele_policy **out_policy, struct stele_error *err);
void stele_policy_destroy(struct stele_policy *policy);

struct stele_policy_rule {
    const char *const *types;
    size_t types_count;
    const char *subject; /* A JSON pointer, or "$stream". */
    const char *const *fields;
    size_t fields_count;
    bool metadata;
};

/* The rule that counts for a type, or NULL. It lives as long as the policy. */
const struct stele_policy_rule *stele_policy_find(const struct stele_policy *policy,
                                                  struct stele_bytes type);

/* Appends the subject that the rule finds in the data, without a zero. STELE_OK; STELE_E_INVALID: it has none;
 * STELE_E_LIMIT, STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_policy_subject(const struct stele_policy_rule *rule, struct stele_bytes type,
                         struct stele_bytes stream, struct stele_bytes data,
                         struct stele_alloc *alloc, struct stele_buf *out, struct stele_error *err);

#endif
