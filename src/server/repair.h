/* A node that is not served, whose store is damaged: sets its data aside and lets it begin anew, in its own place. */
#ifndef STELE_SERVER_REPAIR_H
#define STELE_SERVER_REPAIR_H

#include "server/identity.h"

/* Who the node will be. seeds: addresses of nodes to get the events from; none: those that it knows.
 * Changes nothing. STELE_OK; STELE_NOT_FOUND: no node; STELE_E_INVALID: it has not joined yet;
 * STELE_CONDITION_FAILED: it knows nobody else. */
int stele_repair_plan(const char *store_path, const char *const *seeds, size_t seeds_count,
                      struct stele_identity *out_identity, struct stele_error *err);
/* Does it. What was there lies in cluster/damaged-NUMBER afterwards. Cut off, it is gone on with by doing both
 * again, and the node is not served until then. STELE_E_LOCKED: somebody serves it. */
int stele_repair(const char *store_path, const struct stele_identity *planned,
                 struct stele_error *err);

#endif
