/* A cluster that is what a test says: three nodes, this one is the second. Everything in one thread;
 * who watches is told before fakecluster_lead() returns. */
#ifndef STELE_TESTS_LIB_FAKECLUSTER_H
#define STELE_TESTS_LIB_FAKECLUSTER_H

#include "api/cluster.h"

struct fakecluster {
    struct stele_cluster cluster;
    struct stele_cluster_view nodes; /* What view() gives. */
    bool leads;
    bool has_leader;
    struct stele_cluster_readiness ready;
    struct stele_cluster_counts numbers;

    struct stele_role_watch *watches;

    bool hold_linearizing; /* Until fakecluster_linearize(). */
    int linearize_outcome;
    struct stele_linearizing *linearizing; /* Those that are held. */
    uint32_t linearized;                   /* How many were asked for. */

    uint32_t commands;
    char command[128]; /* The last one: "verb user body". */
    int command_outcome;
};

void fakecluster_init(struct fakecluster *fake);
/* leader: 0 to 2, the node that leads; 3: none does. This node is 1. */
void fakecluster_lead(struct fakecluster *fake, size_t leader);
/* Answers what is held. */
void fakecluster_linearize(struct fakecluster *fake);

#endif
