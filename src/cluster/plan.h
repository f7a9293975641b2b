/* What the table of nodes asks for: who should lead each partition.
 *
 *     table of nodes, who answers ──▶ [ placement ] ──▶ leaders
 *
 * Every node computes it for itself, from the same table, and gets the same as long as it hears the same nodes. Where
 * two hear different ones for a moment, leadership may go to and fro, which costs time and nothing else.
 *
 * Pure, as placement.h, which does the computing. */
#ifndef STELE_CLUSTER_PLAN_H
#define STELE_CLUSTER_PLAN_H

#include "base/alloc.h"
#include "cluster/meta.h"

/* Sets of nodes are bits here, by their place in the table's list: valid for one version of it. */
_Static_assert(STELE_META_NODES_MAX <= 64, "a node is a bit");

/* Who should lead each partition: of the active nodes those in `able`; 0: nobody can.
 *
 * Among all active nodes leaders are spread by the ring, whoever is able at the moment; what those lead who are not
 * able goes to the others meanwhile. So a node that goes and comes moves what is its own, and nothing else. Leaders
 * that the table names (STELE_META_PREFER) are what they are as long as they are able.
 *
 * out_leaders: as many as there are partitions. STELE_OK, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_plan_leaders(struct stele_alloc *alloc, const struct stele_meta *meta, uint64_t able,
                       uint64_t *out_leaders);

#endif
