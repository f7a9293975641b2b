/* Inside members.c and losses.c. */
#ifndef STELE_TESTS_SIM_CLUSTER_MEMBERS_INTERNAL_H
#define STELE_TESTS_SIM_CLUSTER_MEMBERS_INTERNAL_H

#include "world.h"

#define NOBODY UINT32_MAX

/* What both keep. */
struct members {
    struct rng rng;
    uint64_t replace_us, meta_us, look_us;
    uint32_t copy_percent, damage_percent; /* Of crashes. */
    struct stele_meta base;                /* What every founder begins with. */
    uint64_t *hashes;                      /* Of the table, by index; 0: not known. */
    size_t hashes_capacity;
    uint64_t last;
    uint32_t lost;     /* To be replaced. */
    uint32_t impostor; /* It runs with data of an earlier time. */
    uint64_t impostor_until_us;
    uint64_t impostor_starts; /* So often it is started again. */
    bool bring_back;          /* Now, if there is one. */
    uint64_t gate_us;         /* Until then nobody tells of earlier starts. */
    struct copy {
        struct simdisk disks[2]; /* The WAL's and the store's. */
        uint32_t node;
        uint64_t starts;
        struct stele_meta_past past;
        struct kept kept;
    } copy;
};

/* ---- members.c ---- */

/* A command about a node, as its software has that name; in memory that the next call uses again. */
struct stele_meta_command *members_command_for(struct world *world, enum stele_meta_kind kind,
                                               uint32_t index, uint32_t name);
/* The node that leads the cluster and could do something about it; or NULL. */
struct node *members_leader(struct world *world);
/* false: the table would refuse it, and so it was not asked. */
bool members_propose(struct world *world, struct node *leader,
                     const struct stele_meta_command *command);
/* As servers do: what is missing is filled, what is uneven is evened out. */
bool members_place_evenly(struct world *world, struct node *leader);

/* A table as a node's disk has it. */
void members_keep_table(struct kept *kept, const struct stele_meta *meta, uint64_t applied);
void members_read_kept(struct world *world, const struct kept *kept, struct stele_meta *to);
void members_forget_copy(struct members *members);

/* ---- losses.c ---- */

/* Could this one be lost now? All others have everything that counts, and nobody else is being
 * replaced. */
bool members_can_lose(struct world *world, const struct node *node);
/* Handlers of events that ask for the next ones. */
void members_on_operator(struct world *world, struct node *node, void *object, uint64_t number);
void members_on_replace(struct world *world, struct node *node, void *object, uint64_t number);

#endif
