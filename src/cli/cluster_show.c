/* The state of a cluster, for people, and what is not as it should be. */
#include "cli/cluster.h"
#include "cli/out.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Above these a cluster is said to be behind. */
#define LAG_US_MAX INT64_C(1000000)
#define LAG_ENTRIES_MAX INT64_C(10000)

const char *stele_cli_cluster_text(const json_t *object, const char *key)
{
    const char *const text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

int64_t stele_cli_cluster_number(const json_t *object, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(object, key));
}

static bool is(const json_t *object, const char *key, const char *value)
{
    return strcmp(stele_cli_cluster_text(object, key), value) == 0;
}

static bool is_alive(const json_t *node)
{
    return json_is_true(json_object_get(node, "alive"));
}

static struct stele_text text_of(const char *text)
{
    return (struct stele_text){.data = text, .size = strlen(text)};
}

const json_t *stele_cli_cluster_node(const json_t *document, const char *name)
{
    size_t i = 0;
    const json_t *node = NULL;
    char number[24];
    json_array_foreach(json_object_get(document, "nodes"), i, node)
    {
        (void)snprintf(number, sizeof number, "%" PRId64, stele_cli_cluster_number(node, "number"));
        if (is(node, "name", name) || strcmp(number, name) == 0) {
            return node;
        }
    }
    return NULL;
}

static unsigned spare_of(unsigned voters, unsigned alive)
{
    const unsigned needed = voters / 2 + 1;
    return alive > needed ? alive - needed : 0;
}

/* Of one partition: the numbers of those who vote there. */
static unsigned spare_in(const json_t *document, const json_t *row)
{
    unsigned alive = 0;
    size_t i = 0;
    const json_t *voter = NULL;
    json_array_foreach(row, i, voter)
    {
        char number[24];
        (void)snprintf(number, sizeof number, "%" PRId64, (int64_t)json_integer_value(voter));
        const json_t *const node = stele_cli_cluster_node(document, number);
        alive += node != NULL && is_alive(node) ? 1 : 0;
    }
    return spare_of((unsigned)json_array_size(row), alive);
}

struct stele_cli_cluster_votes stele_cli_cluster_votes(const json_t *document,
                                                       const json_t *without)
{
    struct stele_cli_cluster_votes votes = {.voters = 0};
    size_t i = 0;
    const json_t *node = NULL;
    json_array_foreach(json_object_get(document, "nodes"), i, node)
    {
        if (node != without && !is(node, "state", "joining")) {
            votes.voters++;
            votes.alive += is_alive(node) ? 1 : 0;
        }
    }
    votes.spare = spare_of(votes.voters, votes.alive);
    /* Not all vote in each partition: then the one that is worst off counts. */
    const int64_t factor = stele_cli_cluster_number(document, "replication_factor");
    if (factor > 0 && (int64_t)votes.voters > factor) {
        const unsigned spare = spare_of((unsigned)factor, (unsigned)factor);
        votes.spare = spare < votes.spare ? spare : votes.spare;
    }
    const json_t *row = NULL;
    json_array_foreach(json_object_get(document, "voters"), i, row)
    {
        const unsigned spare = without == NULL ? spare_in(document, row) : votes.spare;
        votes.spare = spare < votes.spare ? spare : votes.spare;
    }
    return votes;
}

/* ---- For people ---- */

static void column(const char *text, size_t width)
{
    stele_cli_out_safe(text_of(text), width);
    stele_cli_out("  ");
}

static void show_node(const json_t *node)
{
    char number[24];
    const bool alive = is_alive(node);
    (void)snprintf(number, sizeof number, "%" PRId64, stele_cli_cluster_number(node, "number"));
    column(number, 4);
    column(stele_cli_cluster_text(node, "name"), 12);
    column(stele_cli_cluster_text(node, "state"), 8);
    if (!alive) {
        stele_cli_out_color(STELE_CLI_RED);
    }
    column(alive ? stele_cli_cluster_text(node, "role") : "no answer", 11);
    stele_cli_out_color(STELE_CLI_PLAIN);
    (void)snprintf(number, sizeof number, "%" PRId64, stele_cli_cluster_number(node, "groups_led"));
    column(alive ? number : "-", 5);
    column(stele_cli_cluster_text(node, "zone"), 8);
    column(stele_cli_cluster_text(node, "version"), 8);
    column(stele_cli_cluster_text(node, "client_address"), 22);
    stele_cli_out_safe(text_of(stele_cli_cluster_text(node, "address")), 0);
    stele_cli_out("\n");
}

void stele_cli_cluster_show(const json_t *document)
{
    size_t i = 0;
    const json_t *node = NULL;
    const struct stele_cli_cluster_votes votes = stele_cli_cluster_votes(document, NULL);
    stele_cli_out("cluster ");
    stele_cli_out_safe(text_of(stele_cli_cluster_text(document, "cluster")), 0);
    stele_cli_outf(", table %" PRId64 ", %" PRId64 " partitions\n",
                   stele_cli_cluster_number(document, "table_version"),
                   stele_cli_cluster_number(document, "partitions"));
    stele_cli_out("node  name          state     role         leads  zone      version   "
                  "clients                 nodes\n");
    json_array_foreach(json_object_get(document, "nodes"), i, node)
    {
        show_node(node);
    }
    const int64_t factor = stele_cli_cluster_number(document, "replication_factor");
    if (factor > 0 && factor < (int64_t)votes.voters) {
        stele_cli_outf("%" PRId64 " nodes vote in each partition", factor);
        const int64_t moving = stele_cli_cluster_number(document, "moving") +
                               stele_cli_cluster_number(document, "missing");
        if (moving > 0) {
            stele_cli_outf("; in %" PRId64 " of them that is changing", moving);
        }
        stele_cli_out(is(document, "rebalance", "paused") ? "; moving is paused\n" : "\n");
    }
    const json_t *const off = json_object_get(document, "imbalance_percent");
    if (off != NULL) {
        stele_cli_outf(
            "imbalance: bytes %" PRId64 " %%, rate %" PRId64 " %%, leaders %" PRId64 " %%%s\n",
            stele_cli_cluster_number(off, "bytes"), stele_cli_cluster_number(off, "rate"),
            stele_cli_cluster_number(off, "leaders"),
            is(document, "rebalance", "manual") ? "; evened out by `stele cluster rebalance` only"
                                                : "");
    }
    stele_cli_outf("%u of %u nodes answer; %u more may fail\n", votes.alive, votes.voters,
                   votes.spare);
}

/* ---- What is not as it should be ---- */

__attribute__((format(printf, 4, 5))) static void find(json_t *findings, const char *what,
                                                       const json_t *node, const char *format, ...)
{
    char words[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    json_t *const finding = json_pack("{s:s,s:s}", "what", what, "message", words);
    if (node != NULL && finding != NULL) {
        (void)json_object_set_new(finding, "node",
                                  json_integer(stele_cli_cluster_number(node, "number")));
    }
    (void)json_array_append_new(findings, finding);
}

static void find_in_node(const json_t *node, const char *version, json_t *findings)
{
    const char *const name = stele_cli_cluster_text(node, "name");
    if (!is_alive(node)) {
        find(findings, "no-answer", node, "%s at %s does not answer", name,
             stele_cli_cluster_text(node, "address"));
    } else if (is(node, "role", "stopped")) {
        find(findings, "stopped", node, "%s takes no part any more: its log says why", name);
    }
    if (json_object_get(node, "differs_since") != NULL) {
        find(findings, "differs", node,
             "%s has executed otherwise than the node that was asked since stamp %" PRId64
             ": `stele cluster check --events` tells which store is wrong",
             name, stele_cli_cluster_number(node, "differs_since"));
    }
    if (is(node, "state", "joining")) {
        find(findings, "joining", node, "%s is joining: it does not count yet", name);
    } else if (is(node, "state", "draining")) {
        find(findings, "draining", node,
             "%s is drained: it leads nothing until `stele cluster undrain %s`", name, name);
    }
    if (is_alive(node) && !is(node, "version", version)) {
        find(findings, "version", node, "%s runs version %s, others %s", name,
             stele_cli_cluster_text(node, "version"), version);
    }
}

static void find_in_votes(const json_t *document, json_t *findings)
{
    const struct stele_cli_cluster_votes votes = stele_cli_cluster_votes(document, NULL);
    if (2 * votes.alive <= votes.voters) {
        find(findings, "no-majority", NULL,
             "%u of %u nodes answer, which is no majority: nothing can be stored", votes.alive,
             votes.voters);
    } else if (votes.spare == 0 && votes.voters > 2) {
        find(findings, "no-spare", NULL, "no node may fail: %u of %u answer", votes.alive,
             votes.voters);
    }
}

json_t *stele_cli_cluster_findings(const json_t *document)
{
    json_t *const findings = json_array();
    const char *version = NULL;
    size_t i = 0;
    const json_t *node = NULL;
    json_array_foreach(json_object_get(document, "nodes"), i, node)
    {
        if (version == NULL && is_alive(node)) {
            version = stele_cli_cluster_text(node, "version");
        }
    }
    json_array_foreach(json_object_get(document, "nodes"), i, node)
    {
        find_in_node(node, version == NULL ? "" : version, findings);
    }
    find_in_votes(document, findings);
    const int64_t leaderless = stele_cli_cluster_number(document, "groups_leaderless");
    const int64_t lag_us = stele_cli_cluster_number(document, "closed_lag_us");
    const int64_t lag = stele_cli_cluster_number(document, "log_lag");
    const int64_t missing = stele_cli_cluster_number(document, "missing");
    if (missing > 0) {
        find(findings, "few-voters", NULL,
             "%" PRId64 " partitions have fewer voters than they should, and are getting more",
             missing);
    }
    if (leaderless > 0) {
        find(findings, "no-leader", NULL, "%" PRId64 " groups have no leader", leaderless);
    }
    if (!json_is_true(json_object_get(document, "ready"))) {
        find(findings, "not-ready", NULL, "the node that was asked is not ready: %s",
             stele_cli_cluster_text(document, "why"));
    }
    if (lag_us > LAG_US_MAX || lag > LAG_ENTRIES_MAX) {
        find(findings, "behind", NULL,
             "the node that was asked is %" PRId64 " ms and %" PRId64 " commands behind",
             lag_us / 1000, lag);
    }
    return findings;
}

void stele_cli_cluster_show_findings(const json_t *findings)
{
    size_t i = 0;
    const json_t *finding = NULL;
    json_array_foreach(findings, i, finding)
    {
        stele_cli_out_color(STELE_CLI_YELLOW);
        stele_cli_out_safe(text_of(stele_cli_cluster_text(finding, "message")), 0);
        stele_cli_out_color(STELE_CLI_PLAIN);
        stele_cli_out("\n");
    }
}
