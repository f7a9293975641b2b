/* What `stele cluster` is made of. */
#ifndef STELE_CLI_CLUSTER_H
#define STELE_CLI_CLUSTER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct stele_cli_ask;
struct stele_cli_list;

/* ---- What is asked of a running cluster: cluster_ask.c ---- */

struct stele_cli_cluster {
    const char *verb; /* status, check, cut, replace, drain, undrain, remove, transfer, move, … */
    const char *arguments[3];
    size_t arguments_count;
    bool yes;
    bool dry_run;       /* rebalance: only shown. */
    bool events;        /* check: also what is stored. */
    uint64_t timeout_s; /* Of waiting for what was begun. */
};
int stele_cli_cluster_ask(const struct stele_cli_cluster *asked);
bool stele_cli_cluster_asks(const char *verb);

/* A node that is not served, from its machine: cluster_repair.c. */
int stele_cli_cluster_repair(const struct stele_cli_list *seeds, bool yes);

/* ---- What is stored on all nodes, compared: cluster_compare.c ---- */

/* Adds what it finds. *out_compared: { "nodes", "events", "through" }, which the caller releases; NULL if it fails early.
 * STELE_CLI_GO_ON, or after telling why not the exit code. */
int stele_cli_cluster_compare(const struct stele_cli_ask *server, const json_t *document,
                              json_t *findings, json_t **out_compared);

/* ---- The document of GET /cluster (docs/cluster.md), shown: cluster_show.c. Pure. ---- */

/* The node with this name or number, or NULL. */
const json_t *stele_cli_cluster_node(const json_t *document, const char *name);
const char *stele_cli_cluster_text(const json_t *object, const char *key);
int64_t stele_cli_cluster_number(const json_t *object, const char *key);

/* Nodes whose word counts, how many of them answer, and how many more may fail. */
struct stele_cli_cluster_votes {
    unsigned voters, alive, spare;
};
/* without: a node that is left out; NULL: none. */
struct stele_cli_cluster_votes stele_cli_cluster_votes(const json_t *document,
                                                       const json_t *without);

void stele_cli_cluster_show(const json_t *document);
/* What is not as it should be: an array of { "what", "node" (if it is about one), "message" }, which the caller
 * releases. Empty: nothing. */
json_t *stele_cli_cluster_findings(const json_t *document);
void stele_cli_cluster_show_findings(const json_t *findings);

#endif
