/* Which nodes hold which partitions, and who leads them.
 *
 *     ring ──▶ bounded loads ──▶ balancing ──▶ table
 *
 * Each node has 150 places on a ring of MurmurHash3, a partition has one, and walking on from it meets the nodes
 * in an order of its own (Karger et al., 1997). A node that has its share is passed by (bounded loads: Mirrokni,
 * Thorup, Zadimoghaddam, 2016). What is still uneven then is evened out by moving single replicas, or chains of
 * them where zones stand in the way, and by exchanging replicas of unlike partitions. A table that is there is changed as
 * little as possible.
 *
 * Replicas are votes here, since every node has every partition's events; where all nodes vote, only leaders are placed:
 * stele_placement_leaders() with replicas NULL. cluster/plan.h asks for all of it.
 *
 * Pure, integers only: the same input gives the same table everywhere, in whatever order nodes are listed.
 *
 * Invariants: P1 a row has as many nodes as it should, each once, all open (those that are not stay
 * where the others have no room). P2 no zone has two of a row while another one that could have one has none, and none has more than it must. P3 balancing never makes the table less even.
 * P4 what may stay where it is moves only for evenness, and only above the limit. P5 a leader is in its row. */
#ifndef STELE_CLUSTER_PLACEMENT_H
#define STELE_CLUSTER_PLACEMENT_H

#include "base/alloc.h"
#include "base/position.h"

#define STELE_PLACEMENT_NODES_MAX 64
#define STELE_PLACEMENT_VIRTUAL 150 /* Places of a node on the ring. */
#define STELE_PLACEMENT_BEGIN 20    /* Percent of imbalance at which rebalancing begins … */
#define STELE_PLACEMENT_END 5       /* … and ends. */
#define STELE_PLACEMENT_GAIN 5 /* So much less it has to be afterwards: else it is left as it is. */
#define STELE_PLACEMENT_NEVER 1000000 /* Percent: nothing is moved for evenness. */
#define STELE_PLACEMENT_MOVES_MAX 5   /* At once. */

struct stele_placement_node {
    uint64_t number;  /* Not 0. */
    const char *zone; /* NULL or empty: the node is a zone of its own. */
    bool open;        /* Takes replicas; false: what it has goes elsewhere (draining). */
    bool full;        /* Has no room: keeps what it has, and gets what nobody else could take. */
};

struct stele_placement {
    const struct stele_placement_node *nodes; /* In any order, numbers differ, at most 64. */
    size_t nodes_count;
    uint32_t partitions; /* 1 … 1024 */
    uint32_t replicas;   /* Of each: 1 … 64. With fewer open nodes, that many. */
    /* What each partition has, and what is done with it in a second: both are evened out, and compared with nothing
     * but themselves. NULL: all alike. */
    const uint64_t *bytes, *rates;
};

/* Tables are partitions * replicas numbers, a row for each partition: its leader, then the others by number,
 * then 0 for those that are missing. */

/* A table from nothing. STELE_OK, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_placement_spread(struct stele_alloc *alloc, const struct stele_placement *placement,
                           uint64_t *out_table);

/* A table near to another one, all of whose nodes may be unknown, missing or not open. What has to move moves, what is
 * above the limit (percent: 0 is as even as can be) is evened out. The two tables may be one. */
STELE_MUST_USE
int stele_placement_adjust(struct stele_alloc *alloc, const struct stele_placement *placement,
                           const uint64_t *table, uint32_t percent, uint64_t *out_table);

/* Leaders alone: one of each row of replicas (NULL: every node has everything), `replicas` of the input is the width of
 * the rows. leaders: those that there are, or NULL. A row without open nodes gets 0. */
STELE_MUST_USE
int stele_placement_leaders(struct stele_alloc *alloc, const struct stele_placement *placement,
                            const uint64_t *replicas, const uint64_t *leaders, uint32_t percent,
                            uint64_t *out_leaders);

struct stele_placement_move {
    uint32_t partition;
    uint64_t from; /* 0: a replica is missing. */
    uint64_t to;
};

/* What to move next, in this order, at most STELE_PLACEMENT_MOVES_MAX. What must move (it is missing, its node is
 * gone or not open, its zone has too many) comes first. Then, from 20 % of imbalance on and until 5 %, what
 * makes the table more even. *running: whether rebalancing goes on, kept by the caller, first false.
 * None: it is as it should be. */
STELE_MUST_USE
int stele_placement_plan(struct stele_alloc *alloc, const struct stele_placement *placement,
                         const uint64_t *table, bool *running,
                         struct stele_placement_move out_moves[STELE_PLACEMENT_MOVES_MAX],
                         size_t *out_count);

/* How uneven a table is, in percent, rounded up, in bytes or rates, whichever is more: how far the fullest open node is above the mean of the open ones, or the
 * emptiest below it, whichever is more (a new node is 100 % off, however many others there are). Of leaders: with
 * replicas = 1 in the input. */
uint32_t stele_placement_imbalance(const struct stele_placement *placement, const uint64_t *table);

#endif
