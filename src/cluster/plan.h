/* What the table of nodes asks for: who should lead each partition, who should vote in it, and what its leader does next
 * so that it becomes so.
 *
 *     table of nodes ──▶ [ placement ] ──▶ voters ──▶ into the table
 *     table, who answers ──▶ [ placement ] ──▶ leaders
 *     table, members of a group ──▶ next step of the group's leader
 *
 * Voters are part of the table: the node that leads the cluster proposes them, and the difference between the table and
 * what the groups are is all there is of a plan. So whoever leads after a crash goes on where the last one was.
 * Leaders are not: every node computes them for itself and gets the same as long as it hears the same nodes. Where two
 * hear different ones for a moment, leadership may go to and fro, which costs time and nothing else.
 *
 * Pure, as placement.h, which does the computing.
 *
 * Invariants: V1 of a node of the table the vote is taken only when everybody votes who should. V2 of partitions whose voters change places,
 * at most STELE_PLACEMENT_MOVES_MAX are begun at once. V3 what is missing is not counted as a move, and never waits. */
#ifndef STELE_CLUSTER_PLAN_H
#define STELE_CLUSTER_PLAN_H

#include "base/alloc.h"
#include "cluster/meta.h"
#include "cluster/placement.h"

/* Sets of nodes are bits here, by their place in the table's list: valid for one version of it. */
_Static_assert(STELE_META_NODES_MAX <= 64, "a node is a bit");

/* What plans are made by, besides the table. All zeros: partitions are alike, and everybody has room. */
struct stele_plan_load {
    const uint64_t *bytes, *rates; /* Of each partition: as struct stele_placement has them. */
    uint64_t full;                 /* Nodes without room, as bits: they get no votes. */
};

/* ---- Leaders ---- */

/* Who should lead each partition: of the active nodes those in `able` that may vote there; 0: nobody can.
 *
 * Among all active nodes leaders are spread by the ring, whoever is able at the moment; what those lead who are not
 * able goes to the others meanwhile. So a node that goes and comes moves what is its own, and nothing else. Leaders
 * that the table names (STELE_META_PREFER) are what they are as long as they are able.
 *
 * out_leaders: as many as there are partitions. STELE_OK, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_plan_leaders(struct stele_alloc *alloc, const struct stele_meta *meta, uint64_t able,
                       uint64_t *out_leaders);

/* Makes out_command the one that names leaders so that what is led is even by rate: STELE_META_PREFER for this version
 * of the table, where those who should lead now are uneven from STELE_PLACEMENT_BEGIN percent on, and become more
 * even by it. STELE_OK; STELE_NOT_FOUND: they are even enough, or nothing may move; STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_plan_lead(struct stele_alloc *alloc, const struct stele_meta *meta,
                    const struct stele_plan_load *load, struct stele_meta_command *out_command);

/* How uneven it is at present, in percent. */
struct stele_plan_imbalance {
    uint32_t votes, bytes,
        rate; /* Of votes: by their count, by what the partitions have, by what is done with them. */
    uint32_t leaders; /* Of those who should lead, by rate. */
};
STELE_MUST_USE
int stele_plan_imbalance(struct stele_alloc *alloc, const struct stele_meta *meta,
                         const struct stele_plan_load *load,
                         struct stele_plan_imbalance *out_imbalance);

/* ---- Voters ---- */

/* How many voters each partition should have; 0: all nodes vote, because nobody has said how many. */
uint32_t stele_plan_replicas(const struct stele_meta *meta);
/* "replication-factor": 1 … 7, or nothing. */
bool stele_plan_is_replicas(const char *value);
bool stele_plan_is_paused(const struct stele_meta *meta);
/* Does evening out wait for an operator? */
bool stele_plan_is_manual(const struct stele_meta *meta);
/* "rebalance": "paused", "manual", or nothing. */
bool stele_plan_is_rebalance(const char *value);
/* Bytes that a node has to keep free: what "disk-reserve" says, or STELE_PLAN_DISK_RESERVE. */
#define STELE_PLAN_DISK_RESERVE (UINT64_C(256) << 20)
uint64_t stele_plan_disk_reserve(const struct stele_meta *meta);
/* Bytes a second at which a node gets what it has missed: what "copy-rate" says, or STELE_PLAN_COPY_RATE. */
#define STELE_PLAN_COPY_RATE_KEY "copy-rate"
#define STELE_PLAN_COPY_RATE (UINT64_C(64) << 20)
/* Slower than this, who catches up would be taken for one that hears nothing any more. */
#define STELE_PLAN_COPY_RATE_MIN (UINT64_C(512) << 10)
uint64_t stele_plan_copy_rate(const struct stele_meta *meta);
/* A size from STELE_PLAN_COPY_RATE_MIN on, or nothing. */
bool stele_plan_is_copy_rate(const char *value);
/* "disk-reserve": "500MiB", "20GiB", bytes, or nothing. *out_size: 0 for nothing; may be NULL. */
bool stele_plan_is_size(const char *value, uint64_t *out_size);

/* Makes out_command the one that places voters as they should be, with as little change as may be: STELE_META_PLACE
 * for this version of the table. Nodes that are drained give theirs to others as far as there are others.
 * begin: the percent of unevenness, in bytes or rate, from which it is evened out, down to STELE_PLACEMENT_END if that can be
 * (STELE_PLACEMENT_BEGIN, as a rule: then it also has to gain STELE_PLACEMENT_GAIN, or is left as it is, so that loads that
 * change a little are not followed for ever). load: NULL: all alike. STELE_OK; STELE_NOT_FOUND: it is
 * so already, or not for the table to say; STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_plan_voters(struct stele_alloc *alloc, const struct stele_meta *meta,
                      const struct stele_plan_load *load, uint32_t begin,
                      struct stele_meta_command *out_command);
/* The same for one vote, as an operator asks for it: refused if it could not be, or would be taken back at once.
 * alive: who answers, as bits. STELE_OK; STELE_E_INVALID, STELE_NOT_FOUND, STELE_CONDITION_FAILED, with words. */
STELE_MUST_USE
int stele_plan_move(struct stele_alloc *alloc, const struct stele_meta *meta,
                    const struct stele_plan_load *load, uint64_t alive,
                    const struct stele_placement_move *move, struct stele_meta_command *out_command,
                    struct stele_error *err);
/* How even it would be, and if not even enough, why: "", or words. after: as stele_plan_imbalance() of the table with it. */
#define STELE_PLAN_WORDS_SIZE 256
void stele_plan_explain(const struct stele_meta *meta, const struct stele_plan_load *load,
                        const struct stele_plan_imbalance *after,
                        char words[STELE_PLAN_WORDS_SIZE]);
/* What there would be after such a command: the table with it, for stele_plan_imbalance(). */
void stele_plan_apply(struct stele_meta *meta, const struct stele_meta_command *command);
/* What such a command changes. from, to: 0 where a vote is more, or less. Returns how many they are, and writes the first. */
size_t stele_plan_moves(const struct stele_meta *meta, const struct stele_meta_command *command,
                        struct stele_placement_move *out_moves, size_t moves_max);
/* Has every partition as many voters in the table as it should? */
bool stele_plan_is_filled(const struct stele_meta *meta);

/* What a node is in a group: as enum stele_raft_member. */
enum stele_plan_role { STELE_PLAN_NONE, STELE_PLAN_STANDBY, STELE_PLAN_VOTER };

/* A group as one node sees it. The meta group is partition meta->partitions: everybody votes there. */
struct stele_plan_group {
    uint32_t partition;
    size_t count;
    const uint64_t *nodes;
    const enum stele_plan_role *roles;
};

/* What a node of the table should be in a group. */
enum stele_plan_role stele_plan_role(const struct stele_meta *meta, uint32_t partition,
                                     uint64_t number);

enum stele_plan_state {
    STELE_PLAN_SETTLED, /* It is what the table says, as far as nodes answer. */
    STELE_PLAN_FILLING, /* Somebody is missing who should vote. */
    STELE_PLAN_MOVING,  /* Others vote in the place of those who should. */
};
/* alive: who answers, as bits. */
enum stele_plan_state stele_plan_state(const struct stele_meta *meta,
                                       const struct stele_plan_group *group, uint64_t alive);

/* Which partitions change places, and which of them may begin now (V2). Begun are those in which somebody has come and
 * nobody gone yet: they count first, so that a newer table does not begin as many again. All 0; every partition is
 * added, as one node sees it, by number. */
struct stele_plan_moving {
    uint32_t count, begun, filling;
    uint32_t waiting;                          /* Of count. */
    uint32_t first[STELE_PLACEMENT_MOVES_MAX]; /* The first of those. */
};
void stele_plan_moving_add(struct stele_plan_moving *moving, const struct stele_meta *meta,
                           const struct stele_plan_group *group, uint64_t alive);
bool stele_plan_may_begin(const struct stele_plan_moving *moving, const struct stele_meta *meta,
                          const struct stele_plan_group *group);

struct stele_plan_step {
    uint64_t node;
    enum stele_plan_role role;
};
/* The next change of a group, as its leader makes it; some may have to wait, so that the one after it is asked for: `skip`
 * so many. may_begin: a place may change now (V2). false: there is none.
 * A step that takes the vote of the leader itself means that another should lead. */
bool stele_plan_step(const struct stele_meta *meta, const struct stele_plan_group *group,
                     uint64_t alive, bool may_begin, size_t skip, struct stele_plan_step *out_step);

#endif
