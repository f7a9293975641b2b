/* What the files of the table share. */
#ifndef STELE_CLUSTER_META_INTERNAL_H
#define STELE_CLUSTER_META_INTERNAL_H

#include "cluster/meta.h"

/* ASCII without control characters. */
bool stele_meta__is_plain(const char *text);
/* NULL, or what is wrong with it, in words. */
const char *stele_meta__name_fault(const char *name);
const char *stele_meta__node_fault(const struct stele_meta_node *node);
const char *stele_meta__setting_fault(const struct stele_meta_setting *setting);

/* NULL if everything that the table claims of itself is true, else the invariant that is not. */
const char *stele_meta__fault(const struct stele_meta *meta);

const struct stele_meta_removed *stele_meta__find_removed(const struct stele_meta *meta,
                                                          uint64_t number);

/* ---- Looking things up: NULL if there is none ---- */

const struct stele_meta_node *stele_meta__find_incarnation(const struct stele_meta *meta,
                                                           const uint8_t id[STELE_META_ID_SIZE]);

const struct stele_meta_node *stele_meta__find_address(const struct stele_meta *meta,
                                                       const char *address);
const struct stele_meta_removed *
stele_meta__find_removed_incarnation(const struct stele_meta *meta,
                                     const uint8_t id[STELE_META_ID_SIZE]);
/* Where it is, or belongs. */
size_t stele_meta__setting_place(const struct stele_meta *meta, const char *key, bool *out_found);
size_t stele_meta__count_active_but(const struct stele_meta *meta, uint64_t number);
/* All zeros? */
bool stele_meta__is_nothing(const uint8_t id[STELE_META_ID_SIZE]);

static inline bool stele_meta__same_id(const uint8_t a[STELE_META_ID_SIZE],
                                       const uint8_t b[STELE_META_ID_SIZE])
{
    return memcmp(a, b, STELE_META_ID_SIZE) == 0;
}

/* Nodes whose word counts in a group. */
static inline bool stele_meta__votes(const struct stele_meta_node *node)
{
    return node->state != STELE_META_JOINING;
}

#endif
