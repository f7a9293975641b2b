/* Clusters: makes a store that is the first node of one, or one that will join. What runs is looked after through any
 * of its servers: cluster_ask.c. */
#include "base/hex.h"
#include "cli/cli.h"
#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "server/identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

const struct stele_cli_command stele_cli_cluster_command = {
    .name = "cluster",
    .usage = "cluster init|join|VERB [arguments] [options]",
    .summary = "Make nodes of a cluster, and look after them",
    .text =
        "init makes the first node: a new store, and a new cluster that consists of it. join "
        "makes\n"
        "a store that becomes another node when it is served: it gets its number and the events\n"
        "from the nodes that are there. Nodes talk to each other at --address, clients at what\n"
        "`stele serve` listens on. Three nodes survive the loss of any one of them, five that of\n"
        "any two if all five vote (--replication-factor 5); two survive less than one does.\n"
        "\n"
        "What runs is looked after through any of its servers, as an administrator\n"
        "(STELE_STORE=stele://admin:PASSWORD@HOST:2113):\n"
        "\n"
        "  status                    who is there, and what is not as it should be\n"
        "  check                     that alone; exit code 1 if there is anything; with --events\n"
        "                            what is stored is compared, too\n"
        "  cut                       a position that is the same on all nodes, for backups\n"
        "  drain NODE                lets others lead, before a restart; waits for it\n"
        "  undrain NODE              takes that back\n"
        "  remove NODE               for good\n"
        "  transfer PARTITION NODE   lets that node lead it\n"
        "  move PARTITION FROM TO    lets TO vote there in the place of FROM\n"
        "  rebalance                 evens out votes at once; --dry-run shows what would move\n"
        "  pause, resume             whether votes are moved for evenness' sake\n"
        "  replace NODE              how to put a new node into the place of a lost one\n"
        "  set KEY VALUE             a setting of the cluster\n"
        "\n"
        "repair is for a node whose store is damaged, on its machine and while it is not served: "
        "it\n"
        "sets the data aside, and the node gets everything anew from the others when it is "
        "served.\n"
        "\n"
        "A change is shown first, and done with --yes. docs/cluster.md has the whole story.",
    .examples = "stele cluster init --store n1 --name n1 --address localhost:1112\n"
                "stele cluster join --store n2 --name n2 --address localhost:1113 --seed "
                "localhost:1112",
    .run = stele_cli_cluster,
};

static const struct stele_cli_command *const self = &stele_cli_cluster_command;

struct making {
    const char *name, *zone, *address, *client;
    struct stele_cli_list seeds;
    uint64_t partitions;
    uint64_t replicas;
    uint64_t replaces;
};

static bool is_name(const char *text)
{
    const size_t size = strlen(text);
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return size > 0 && size <= 32 && strspn(text, allowed) == size && text[0] != '.' &&
           text[0] != '_' && text[0] != '-';
}

static bool is_address(const char *text)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    if (colon == NULL || colon == text || strlen(text) > 260) {
        return false;
    }
    const unsigned long port = strtoul(colon + 1, &end, 10);
    return end != colon + 1 && *end == '\0' && port > 0 && port <= 65535;
}

static int check(const struct making *making, bool joins)
{
    if (making->name == NULL || !is_name(making->name)) {
        return stele_cli_usage_error(self, "--name NAME is wanted: letters, digits, '.', '_' and "
                                           "'-', at most 32, no other node's");
    }
    if (making->zone[0] != '\0' && !is_name(making->zone)) {
        return stele_cli_usage_error(self, "--zone is written like a name");
    }
    if (making->address == NULL || !is_address(making->address)) {
        return stele_cli_usage_error(self, "--address HOST:PORT is wanted: where other nodes reach "
                                           "this one, not the port of clients");
    }
    if (!is_address(making->client)) {
        return stele_cli_usage_error(self, "--client is HOST:PORT, where clients will find it");
    }
    if (making->partitions == 0 || making->partitions > 1024) {
        return stele_cli_usage_error(self, "--partitions is from 1 to 1024");
    }
    if (making->replicas == 0 || making->replicas > 7) {
        return stele_cli_usage_error(self, "--replication-factor is from 1 to 7");
    }
    if (joins && (making->seeds.count == 0 || making->seeds.count > STELE_IDENTITY_SEEDS_MAX)) {
        return stele_cli_usage_error(self,
                                     "--seed HOST:PORT is wanted, the --address of a node "
                                     "that is there; at most %d of them",
                                     STELE_IDENTITY_SEEDS_MAX);
    }
    for (size_t i = 0; i < making->seeds.count; i++) {
        if (!is_address(making->seeds.items[i])) {
            return stele_cli_usage_error(self, "--seed %s is not HOST:PORT",
                                         making->seeds.items[i]);
        }
    }
    return STELE_CLI_GO_ON;
}

/* A node begins with nothing: events that are there would be no one else's. */
static int check_store(const char *path)
{
    struct stele_identity old;
    struct stele_error err = {.outcome = STELE_OK};
    const int known = stele_identity_read(path, &old, &err);
    if (known == STELE_OK) {
        return stele_cli_fail(STELE_CLI_INPUT, "input",
                              "cluster: %s is the store of node %s already; give another --store",
                              path, old.name);
    }
    struct stele *store = NULL;
    struct stele_options options = STELE_OPTIONS_INIT;
    options.read_only = 1;
    const int outcome = stele_open(path, &options, &store, &err);
    if (outcome == STELE_OK) {
        (void)stele_close(store);
        return stele_cli_fail(STELE_CLI_INPUT, "input",
                              "cluster: %s is a store by itself; a node begins with an empty one. "
                              "Import into the cluster what it has (stele export, stele import)",
                              path);
    }
    return STELE_CLI_GO_ON;
}

static int make(const struct making *making, bool joins)
{
    const char *path = stele_cli_store_path();
    if (strstr(path, "://") != NULL) {
        return stele_cli_usage_error(self, "--store is the directory of the new node's store");
    }
    int code = check(making, joins);
    code = code == STELE_CLI_GO_ON ? check_store(path) : code;
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct stele_identity identity = {.founder = !joins,
                                      .number = joins ? 0 : 1,
                                      .partitions = joins ? 0 : (uint32_t)making->partitions,
                                      .replication_factor = joins ? 0 : (uint32_t)making->replicas,
                                      .replaces = making->replaces};
    if ((!joins && getrandom(identity.cluster_id, sizeof identity.cluster_id, 0) !=
                       (ssize_t)sizeof identity.cluster_id) ||
        getrandom(identity.incarnation, sizeof identity.incarnation, 0) !=
            (ssize_t)sizeof identity.incarnation) {
        return stele_cli_fail(STELE_CLI_IO, "io", "cluster: the system gives no random numbers");
    }
    (void)snprintf(identity.name, sizeof identity.name, "%s", making->name);
    (void)snprintf(identity.zone, sizeof identity.zone, "%s", making->zone);
    (void)snprintf(identity.address, sizeof identity.address, "%s", making->address);
    (void)snprintf(identity.client_address, sizeof identity.client_address, "%s", making->client);
    for (size_t i = 0; i < making->seeds.count; i++) {
        (void)snprintf(identity.seeds[identity.seeds_count++], sizeof identity.seeds[0], "%s",
                       making->seeds.items[i]);
    }
    struct stele_error err = {.outcome = STELE_OK};
    const int outcome = stele_identity_write(path, &identity, &err);
    if (outcome != STELE_OK) {
        return stele_cli_fail_outcome(outcome, &err, "make the node");
    }
    char cluster[33];
    stele_hex_encode(identity.cluster_id, 16, cluster);
    if (stele_cli_globals.json) {
        (void)printf("{\"node\":\"%s\",\"store\":\"%s\"%s%s%s}\n", identity.name, path,
                     joins ? "" : ",\"cluster\":\"", joins ? "" : cluster, joins ? "" : "\"");
    } else {
        (void)printf("node %s: stele serve --store %s\n", identity.name, path);
    }
    return STELE_CLI_OK;
}

int stele_cli_cluster(int argc, char **argv)
{
    struct making making = {
        .zone = "", .client = "localhost:2113", .partitions = 16, .replicas = 3};
    struct stele_cli_cluster asked = {.timeout_s = 60};
    const struct stele_cli_option options[] = {
        {"name", "NAME", "what the node is called", STELE_CLI_TEXT, &making.name},
        {"address", "HOST:PORT", "where other nodes reach it, and where it listens for them",
         STELE_CLI_TEXT, &making.address},
        {"client", "HOST:PORT", "where clients reach it, until it has been served once",
         STELE_CLI_TEXT, &making.client},
        {"zone", "NAME", "what fails together: a rack, a building", STELE_CLI_TEXT, &making.zone},
        {"partitions", "N",
         "of a new cluster, for ever (16): how finely leading is shared\n"
         "out; each has to say something for every append",
         STELE_CLI_NUMBER, &making.partitions},
        {"replication-factor", "N",
         "of a new cluster (3): how many nodes decide in each partition;\n"
         "all nodes have all events",
         STELE_CLI_NUMBER, &making.replicas},
        {"seed", "HOST:PORT", "join, repair: the address of a node that is there", STELE_CLI_LIST,
         &making.seeds},
        {"replace", "NUMBER", "join: in the place of this node, which is lost", STELE_CLI_NUMBER,
         &making.replaces},
        {"events", NULL, "check: compare what is stored on all nodes, event by event",
         STELE_CLI_FLAG, &asked.events},
        {"dry-run", NULL, "rebalance: show what would move, and nothing else", STELE_CLI_FLAG,
         &asked.dry_run},
        {"yes", NULL, "do what is shown", STELE_CLI_FLAG, &asked.yes},
        {"timeout", "TIME", "drain, move, rebalance: how long to wait until it is done (60s)",
         STELE_CLI_DURATION, &asked.timeout_s},
    };
    const char *arguments[4] = {NULL};
    size_t count = 0;
    const int code = stele_cli_parse(self, options, sizeof options / sizeof options[0], argc, argv,
                                     arguments, 1, 4, &count);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    const bool joins = strcmp(arguments[0], "join") == 0;
    if (joins || strcmp(arguments[0], "init") == 0) {
        return count == 1 ? make(&making, joins)
                          : stele_cli_usage_error(self, "%s takes no arguments", arguments[0]);
    }
    if (strcmp(arguments[0], "repair") == 0) {
        return count == 1 ? stele_cli_cluster_repair(&making.seeds, asked.yes)
                          : stele_cli_usage_error(self, "repair takes no arguments");
    }
    if (stele_cli_cluster_asks(arguments[0])) {
        asked.verb = arguments[0];
        asked.arguments[0] = arguments[1];
        asked.arguments[1] = arguments[2];
        asked.arguments[2] = arguments[3];
        asked.arguments_count = count - 1;
        return stele_cli_cluster_ask(&asked);
    }
    return stele_cli_usage_error(
        self,
        "'%s' is none of init, join, status, check, cut, repair, drain, undrain, "
        "remove, transfer, move, rebalance, pause, resume, replace, set",
        arguments[0]);
}
