/* Repairing a node from the others: on its own machine, while it is not served. */
#include "cli/cli.h"
#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "server/repair.h"

#include <stdio.h>
#include <string.h>

static void out_plan(const char *path, const struct stele_identity *planned, bool done)
{
    const unsigned long long number = (unsigned long long)planned->repairs;
    if (stele_cli_globals.json) {
        (void)printf(
            "{\"done\":%s,\"node\":\"%s\",\"was\":%llu,\"aside\":\"%s/cluster/damaged-%llu\"}\n",
            done ? "true" : "false", planned->name, number, path, number);
        return;
    }
    if (!done) {
        (void)printf(
            "repair %s: what node %llu has is set aside in %s/cluster/damaged-%llu; a new node "
            "with the same name and address takes its place, and gets all events from:\n",
            planned->name, number, path, number);
        for (size_t i = 0; i < planned->seeds_count; i++) {
            (void)printf("  %s\n", planned->seeds[i]);
        }
        return;
    }
    (void)printf(
        "repaired: stele serve --store %s\nwhen it has caught up: rm -r %s/cluster/damaged-%llu\n",
        path, path, number);
}

int stele_cli_cluster_repair(const struct stele_cli_list *seeds, bool yes)
{
    const char *const path = stele_cli_store_path();
    struct stele_identity planned;
    struct stele_error err = {.outcome = STELE_OK};
    if (strstr(path, "://") != NULL) {
        return stele_cli_usage_error(&stele_cli_cluster_command,
                                     "repair: --store is the directory of the node's store, on its "
                                     "own machine, and nobody serves it");
    }
    int outcome = stele_repair_plan(path, seeds->items, seeds->count, &planned, &err);
    if (outcome != STELE_OK) {
        return stele_cli_fail_outcome(outcome, &err, "repair");
    }
    if (!yes || !stele_cli_globals.json) {
        out_plan(path, &planned, false);
    }
    if (!yes) {
        stele_cli_note("nothing was changed; with --yes it is done");
        return STELE_CLI_OK;
    }
    outcome = stele_repair(path, &planned, &err);
    if (outcome != STELE_OK) {
        return stele_cli_fail_outcome(outcome, &err, "repair");
    }
    out_plan(path, &planned, true);
    return STELE_CLI_OK;
}
