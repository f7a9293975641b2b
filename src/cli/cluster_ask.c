/* Looking after a running cluster, through any of its servers: first what would happen, then, if it is wanted, that. */
#include "base/bytes.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/out.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct stele_cli_command *const self = &stele_cli_cluster_command;

/* ---- Asking ---- */

static int ask(struct stele_cli_ask *server, const char *method, const char *path, json_t *body,
               json_t **out_json)
{
    struct stele_error err = {.outcome = STELE_OK};
    int status = 0;
    json_t *json = NULL;
    char *const text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    const int outcome = stele_cli_ask(server, method, path, text, &status, &json, &err);
    free(text);
    if (outcome == STELE_E_UNKNOWN) {
        return stele_cli_fail(STELE_CLI_UNKNOWN, "unknown",
                              "cluster: %s; it may have happened: look at `stele cluster status`",
                              err.message);
    }
    if (outcome != STELE_OK) {
        return stele_cli_fail(stele_cli_exit_of(outcome), stele_outcome_name(outcome),
                              "cluster: %s", err.message);
    }
    if (status != 200) {
        const int code = stele_cli_ask_refused("cluster", status, json);
        json_decref(json);
        return code;
    }
    *out_json = json;
    return STELE_CLI_GO_ON;
}

static int get_document(struct stele_cli_ask *server, json_t **out_document)
{
    const int code = ask(server, "GET", "/cluster", NULL, out_document);
    if (code == STELE_CLI_GO_ON && !json_is_array(json_object_get(*out_document, "nodes"))) {
        json_decref(*out_document);
        return stele_cli_fail(STELE_CLI_FORMAT, "format",
                              "cluster: the server's answer is not one that this version knows");
    }
    return code;
}

static struct stele_text text_of(const char *text)
{
    return (struct stele_text){.data = text, .size = strlen(text)};
}

static void out_json(const json_t *json)
{
    char *const text = json_dumps(json, JSON_COMPACT);
    if (text != NULL) {
        stele_cli_out_json_raw((struct stele_text){.data = text, .size = strlen(text)});
        stele_cli_out("\n");
    }
    free(text);
}

/* ---- Looking ---- */

static int show_status(struct stele_cli_ask *server, const struct stele_cli_cluster *asked)
{
    json_t *document = NULL;
    const int code = get_document(server, &document);
    (void)asked;
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    if (stele_cli_globals.json) {
        out_json(document);
    } else {
        json_t *const findings = stele_cli_cluster_findings(document);
        stele_cli_cluster_show(document);
        stele_cli_cluster_show_findings(findings);
        json_decref(findings);
    }
    json_decref(document);
    return STELE_CLI_OK;
}

static void show_check(const json_t *findings, json_t *compared)
{
    const bool good = json_array_size(findings) == 0;
    if (stele_cli_globals.json) {
        json_t *const verdict = json_pack("{s:b,s:O}", "ok", good ? 1 : 0, "findings", findings);
        if (compared != NULL) {
            (void)json_object_set(verdict, "compared", compared);
        }
        out_json(verdict);
        json_decref(verdict);
        return;
    }
    if (compared != NULL) {
        stele_cli_outf("%" PRId64 " events of %zu nodes compared, up to position %" PRId64 "\n",
                       stele_cli_cluster_number(compared, "events"),
                       json_array_size(json_object_get(compared, "nodes")),
                       stele_cli_cluster_number(compared, "through"));
    }
    if (good) {
        stele_cli_out("everything is as it should be\n");
    } else {
        stele_cli_cluster_show_findings(findings);
    }
}

static int check(struct stele_cli_ask *server, const struct stele_cli_cluster *asked)
{
    json_t *document = NULL;
    json_t *compared = NULL;
    int code = get_document(server, &document);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    json_t *const findings = stele_cli_cluster_findings(document);
    if (asked->events) {
        code = stele_cli_cluster_compare(server, document, findings, &compared);
    }
    if (code == STELE_CLI_GO_ON) {
        show_check(findings, compared);
        code = json_array_size(findings) == 0 ? STELE_CLI_OK : STELE_CLI_FAILURE;
    }
    json_decref(compared);
    json_decref(findings);
    json_decref(document);
    return code;
}

/* A position up to which everything is decided, and nothing can be added any more. */
static int show_cut(struct stele_cli_ask *server, const struct stele_cli_cluster *asked)
{
    json_t *cut = NULL;
    (void)asked;
    const int code = ask(server, "POST", "/cluster/cut", NULL, &cut);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    if (stele_cli_globals.json) {
        out_json(cut);
    } else {
        stele_cli_outf("position %" PRId64 ", complete on %zu nodes\n",
                       stele_cli_cluster_number(cut, "position"),
                       json_array_size(json_object_get(cut, "nodes")));
    }
    json_decref(cut);
    return STELE_CLI_OK;
}

static int fail_unknown(const char *name)
{
    return stele_cli_fail(STELE_CLI_NOT_FOUND, "unknown-node",
                          "cluster: there is no node %s; `stele cluster status` shows all", name);
}

/* What to do where the new node is to be: that is another machine, mostly. */
static void out_replacing(const json_t *document, const json_t *lost)
{
    size_t i = 0;
    const json_t *node = NULL;
    json_t *const seeds = json_array();
    json_array_foreach(json_object_get(document, "nodes"), i, node)
    {
        if (node != lost && json_is_true(json_object_get(node, "alive"))) {
            (void)json_array_append(seeds, json_object_get(node, "address"));
        }
    }
    if (stele_cli_globals.json) {
        json_t *const recipe = json_pack(
            "{s:O,s:O,s:O,s:O}", "replace", json_object_get(lost, "number"), "name",
            json_object_get(lost, "name"), "zone", json_object_get(lost, "zone"), "seeds", seeds);
        out_json(recipe);
        json_decref(recipe);
        json_decref(seeds);
        return;
    }
    stele_cli_out("where the new node is to be, with an empty directory:\n"
                  "  stele cluster join --store DIRECTORY --address HOST:PORT");
    stele_cli_outf(" --replace %" PRId64 " --name ", stele_cli_cluster_number(lost, "number"));
    stele_cli_out_safe(text_of(stele_cli_cluster_text(lost, "name")), 0);
    if (stele_cli_cluster_text(lost, "zone")[0] != '\0') {
        stele_cli_out(" --zone ");
        stele_cli_out_safe(text_of(stele_cli_cluster_text(lost, "zone")), 0);
    }
    json_array_foreach(seeds, i, node)
    {
        stele_cli_out(" --seed ");
        stele_cli_out_safe(text_of(json_string_value(node) == NULL ? "" : json_string_value(node)),
                           0);
    }
    stele_cli_out("\n  stele serve --store DIRECTORY\n");
    json_decref(seeds);
}

static int show_replacing(struct stele_cli_ask *server, const struct stele_cli_cluster *asked)
{
    json_t *document = NULL;
    int code = get_document(server, &document);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    const json_t *const node = stele_cli_cluster_node(document, asked->arguments[0]);
    if (node == NULL) {
        code = fail_unknown(asked->arguments[0]);
    } else if (json_is_true(json_object_get(node, "alive"))) {
        code = stele_cli_fail(STELE_CLI_CONFLICT, "still-alive",
                              "cluster: %s answers, so it is not lost: let the new node join under "
                              "another name, then drain and remove %s",
                              asked->arguments[0], asked->arguments[0]);
    } else {
        out_replacing(document, node);
        code = STELE_CLI_OK;
    }
    json_decref(document);
    return code;
}

/* ---- Changing ---- */

/* A change that is planned: what would be sent, and to whom. */
struct change {
    struct stele_cli_ask *server;
    const struct stele_cli_cluster *asked;
    json_t *document;
    const json_t *node; /* That it is about; NULL: none. */
    json_t *body;
    char path[48];
    char plan[2048];
};

static int64_t number_of(const json_t *node)
{
    return stele_cli_cluster_number(node, "number");
}

static int find_node(const struct change *change, const char *name, const json_t **out_node)
{
    *out_node = stele_cli_cluster_node(change->document, name);
    if (*out_node == NULL) {
        return fail_unknown(name);
    }
    return STELE_CLI_GO_ON;
}

static int plan_drain(struct change *change)
{
    const bool back = strcmp(change->asked->verb, "undrain") == 0;
    const int code = find_node(change, change->asked->arguments[0], &change->node);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    const char *const name = stele_cli_cluster_text(change->node, "name");
    if (back) {
        (void)snprintf(change->plan, sizeof change->plan,
                       "undrain %s: it may lead partitions again, and gets its share\n", name);
    } else {
        (void)snprintf(change->plan, sizeof change->plan,
                       "drain %s: the %" PRId64 " groups that it leads go to others; it keeps its "
                       "data, and its votes unless others can have them. Take it back with: stele "
                       "cluster undrain %s\n",
                       name, stele_cli_cluster_number(change->node, "groups_led"), name);
    }
    change->body = json_pack("{s:I}", "node", (json_int_t)number_of(change->node));
    return STELE_CLI_GO_ON;
}

static int plan_remove(struct change *change)
{
    const int code = find_node(change, change->asked->arguments[0], &change->node);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    const struct stele_cli_cluster_votes before = stele_cli_cluster_votes(change->document, NULL);
    const struct stele_cli_cluster_votes after =
        stele_cli_cluster_votes(change->document, change->node);
    const int64_t led = stele_cli_cluster_number(change->node, "groups_led");
    const int size =
        snprintf(change->plan, sizeof change->plan,
                 "remove %s (node %" PRId64 ", %s, at %s), for good: its data never count again\n"
                 "then %u of %u nodes answer, and %u more may fail (now %u)\n",
                 stele_cli_cluster_text(change->node, "name"), number_of(change->node),
                 stele_cli_cluster_text(change->node, "state"),
                 stele_cli_cluster_text(change->node, "address"), after.alive, after.voters,
                 after.spare, before.spare);
    const bool alive = json_is_true(json_object_get(change->node, "alive"));
    if (led > 0 && alive && size > 0 && (size_t)size < sizeof change->plan) {
        (void)snprintf(change->plan + size, sizeof change->plan - (size_t)size,
                       "it leads %" PRId64 " groups: drain it first, and nobody waits\n", led);
    }
    change->body = json_pack("{s:I}", "node", (json_int_t)number_of(change->node));
    return STELE_CLI_GO_ON;
}

static int partition_of(const struct change *change, int64_t *out_partition)
{
    char *end = NULL;
    const char *const text = change->asked->arguments[0];
    const unsigned long partition = strtoul(text, &end, 10);
    const int64_t partitions = stele_cli_cluster_number(change->document, "partitions");
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || (int64_t)partition >= partitions) {
        return stele_cli_usage_error(self, "%s is no partition: they are 0 to %" PRId64, text,
                                     partitions - 1);
    }
    *out_partition = (int64_t)partition;
    return STELE_CLI_GO_ON;
}

static int plan_transfer(struct change *change)
{
    int64_t partition = 0;
    int code = partition_of(change, &partition);
    code = code == STELE_CLI_GO_ON ? find_node(change, change->asked->arguments[1], &change->node)
                                   : code;
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    (void)snprintf(change->plan, sizeof change->plan,
                   "transfer: partition %" PRId64
                   " is led by %s, until the cluster spreads leaders anew\n",
                   partition, stele_cli_cluster_text(change->node, "name"));
    change->body = json_pack("{s:I,s:I}", "partition", (json_int_t)partition, "to",
                             (json_int_t)number_of(change->node));
    return STELE_CLI_GO_ON;
}

static int plan_move(struct change *change)
{
    int64_t partition = 0;
    const json_t *from = NULL;
    int code = partition_of(change, &partition);
    code = code == STELE_CLI_GO_ON ? find_node(change, change->asked->arguments[1], &from) : code;
    code = code == STELE_CLI_GO_ON ? find_node(change, change->asked->arguments[2], &change->node)
                                   : code;
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    (void)snprintf(change->plan, sizeof change->plan,
                   "move: in partition %" PRId64 " %s votes in the place of %s, as soon as it has "
                   "everything\n",
                   partition, stele_cli_cluster_text(change->node, "name"),
                   stele_cli_cluster_text(from, "name"));
    change->body =
        json_pack("{s:I,s:I,s:I}", "partition", (json_int_t)partition, "from",
                  (json_int_t)number_of(from), "to", (json_int_t)number_of(change->node));
    return STELE_CLI_GO_ON;
}

static const char *name_of(const struct change *change, const json_t *move, const char *key)
{
    char number[24];
    (void)snprintf(number, sizeof number, "%" PRId64, stele_cli_cluster_number(move, key));
    const json_t *const node = stele_cli_cluster_node(change->document, number);
    return node == NULL ? "nobody" : stele_cli_cluster_text(node, "name");
}

static double mib(int64_t bytes)
{
    return (double)bytes / (1024 * 1024);
}

/* How much moves, and how even it makes the votes. Returns the size of the text. */
static size_t plan_sizes(const json_t *answer, size_t count, char *to, size_t room)
{
    const json_t *const before = json_object_get(answer, "before");
    const json_t *const after = json_object_get(answer, "after");
    const char *const words = stele_cli_cluster_text(answer, "words");
    const int size = snprintf(
        to, room,
        "rebalance: %zu votes move, of partitions with %.1f MiB, of which %.1f MiB have to be "
        "copied\n"
        "imbalance: bytes %" PRId64 " %% -> %" PRId64 " %%, rate %" PRId64 " %% -> %" PRId64
        " %%, votes %" PRId64 " %% -> %" PRId64 " %%\n%.250s%s",
        count, mib(stele_cli_cluster_number(answer, "bytes")),
        mib(stele_cli_cluster_number(answer, "bytes_to_copy")),
        stele_cli_cluster_number(before, "bytes"), stele_cli_cluster_number(after, "bytes"),
        stele_cli_cluster_number(before, "rate"), stele_cli_cluster_number(after, "rate"),
        stele_cli_cluster_number(before, "votes"), stele_cli_cluster_number(after, "votes"), words,
        *words == 0 ? "" : "\n");
    return (size_t)size < room ? (size_t)size : room - 1;
}

/* What would move is worked out by the cluster. */
static int plan_rebalance(struct change *change)
{
    enum { SHOWN = 12 };
    json_t *answer = NULL;
    json_t *const question = json_pack("{s:b}", "dry_run", 1);
    const int code = ask(change->server, "POST", "/cluster/rebalance", question, &answer);
    json_decref(question);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    const json_t *const moves = json_object_get(answer, "moves");
    const size_t count = json_array_size(moves);
    size_t size = plan_sizes(answer, count, change->plan, sizeof change->plan);
    for (size_t i = 0; i < count && i < SHOWN; i++) {
        const json_t *const move = json_array_get(moves, i);
        size += (size_t)snprintf(change->plan + size, sizeof change->plan - size,
                                 "  partition %" PRId64 " (%.1f MiB): from %.32s to %.32s\n",
                                 stele_cli_cluster_number(move, "partition"),
                                 mib(stele_cli_cluster_number(move, "bytes")),
                                 name_of(change, move, "from"), name_of(change, move, "to"));
    }
    if (count > SHOWN) {
        (void)snprintf(change->plan + size, sizeof change->plan - size, "  and %zu more\n",
                       count - SHOWN);
    }
    const bool ends = count == 0 || change->asked->dry_run;
    if (ends && stele_cli_globals.json) {
        out_json(answer);
    } else if (ends) {
        stele_cli_out(count == 0 ? "votes are even enough: there is nothing to move\n"
                                 : change->plan);
        const char *const words = stele_cli_cluster_text(answer, "words");
        stele_cli_outf("%s%s", count == 0 ? words : "", count == 0 && *words != 0 ? "\n" : "");
    }
    change->body = json_pack("{s:O}", "if_version", json_object_get(answer, "table_version"));
    json_decref(answer);
    return ends ? STELE_CLI_OK : STELE_CLI_GO_ON;
}

static int plan_pause(struct change *change)
{
    const bool pauses = strcmp(change->asked->verb, "pause") == 0;
    (void)snprintf(change->plan, sizeof change->plan, "%s",
                   pauses ? "pause: votes stay where they are; what is missing is still filled. "
                            "Take it back with: stele cluster resume\n"
                          : "resume: votes are moved again where they are uneven\n");
    change->body = json_object();
    return STELE_CLI_GO_ON;
}

static int plan_set(struct change *change)
{
    (void)snprintf(change->plan, sizeof change->plan, "set %.32s to \"%.128s\"\n",
                   change->asked->arguments[0], change->asked->arguments[1]);
    change->body = json_pack("{s:s,s:s}", "key", change->asked->arguments[0], "value",
                             change->asked->arguments[1]);
    return change->body == NULL
               ? stele_cli_usage_error(self, "keys and values of settings are UTF-8")
               : STELE_CLI_GO_ON;
}

static void out_plan(const struct change *change)
{
    const char *line = change->plan;
    json_t *const lines = json_array();
    for (const char *end = strchr(line, '\n'); end != NULL; end = strchr(line, '\n')) {
        const struct stele_text text = {.data = line, .size = (size_t)(end - line)};
        if (!stele_cli_globals.json) {
            stele_cli_out_safe(text, 0);
            stele_cli_out("\n");
        }
        (void)json_array_append_new(lines, json_stringn(text.data, text.size));
        line = end + 1;
    }
    if (stele_cli_globals.json && !change->asked->yes) {
        json_t *const plan = json_pack("{s:b,s:O}", "done", 0, "plan", lines);
        out_json(plan);
        json_decref(plan);
    }
    json_decref(lines);
    stele_cli_out_flush();
}

/* Shows it, and asks whether it is meant. */
static int confirm(const struct change *change)
{
    out_plan(change);
    if (change->asked->yes) {
        return STELE_CLI_GO_ON;
    }
    if (!stele_cli_globals.json && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1) {
        char answer[8] = "";
        stele_cli_out("Go on? [y/N] ");
        stele_cli_out_flush();
        if (fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y')) {
            return STELE_CLI_GO_ON;
        }
    }
    stele_cli_note("nothing was changed; with --yes it is done");
    return STELE_CLI_OK;
}

static void wait_a_little(void)
{
    const struct timespec little = {.tv_nsec = 200000000};
    (void)nanosleep(&little, NULL);
}

static int64_t seconds(void)
{
    struct timespec now = {.tv_sec = 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* Until the node leads nothing any more. */
static int wait_for_drain(struct stele_cli_ask *server, const struct change *change)
{
    const int64_t end = seconds() + (int64_t)change->asked->timeout_s;
    char name[24];
    (void)snprintf(name, sizeof name, "%" PRId64, number_of(change->node));
    for (;;) {
        json_t *document = NULL;
        const int code = get_document(server, &document);
        if (code != STELE_CLI_GO_ON) {
            return code;
        }
        const json_t *const node = stele_cli_cluster_node(document, name);
        const int64_t led = node == NULL ? 0 : stele_cli_cluster_number(node, "groups_led");
        json_decref(document);
        if (led == 0) {
            return STELE_CLI_GO_ON;
        }
        if (seconds() >= end || stele_cli_interrupted()) {
            return stele_cli_fail(STELE_CLI_TIMED_OUT, "timed-out",
                                  "cluster: %s still leads %" PRId64
                                  " groups; it goes on: look at `stele cluster status`",
                                  stele_cli_cluster_text(change->node, "name"), led);
        }
        wait_a_little();
    }
}

/* Until nobody's votes change any more. How many do is told meanwhile. */
static int wait_for_moves(struct stele_cli_ask *server, const struct change *change)
{
    const int64_t end = seconds() + (int64_t)change->asked->timeout_s;
    int64_t told = -1;
    for (;;) {
        json_t *document = NULL;
        const int code = get_document(server, &document);
        if (code != STELE_CLI_GO_ON) {
            return code;
        }
        const int64_t moving = stele_cli_cluster_number(document, "moving") +
                               stele_cli_cluster_number(document, "missing");
        json_decref(document);
        if (moving == 0) {
            return STELE_CLI_GO_ON;
        }
        if (moving != told) {
            stele_cli_note("%" PRId64 " partitions are changing", moving);
            told = moving;
        }
        if (seconds() >= end || stele_cli_interrupted()) {
            return stele_cli_fail(STELE_CLI_TIMED_OUT, "timed-out",
                                  "cluster: %" PRId64 " partitions are still changing; it goes on: "
                                  "look at `stele cluster status`",
                                  moving);
        }
        wait_a_little();
    }
}

/* Until the server that is asked shows what was done, so that whoever looks next sees it; not for long. */
static void wait_until_seen(struct stele_cli_ask *server, const json_t *answer)
{
    const int64_t version = stele_cli_cluster_number(answer, "table_version");
    const int64_t end = seconds() + 3;
    int64_t shown = 0;
    while (shown < version && seconds() < end) {
        struct stele_error err = {.outcome = STELE_OK};
        int status = 0;
        json_t *document = NULL;
        if (stele_cli_ask(server, "GET", "/cluster", NULL, &status, &document, &err) != STELE_OK) {
            return; /* What was asked for is done all the same. */
        }
        shown = stele_cli_cluster_number(document, "table_version");
        json_decref(document);
        if (shown < version) {
            wait_a_little();
        }
    }
}

/* Only who leads a partition can hand it over, and nobody else knows who that is for sure: each is asked. */
static int send_transfer(const struct stele_cli_ask *server, const struct change *change,
                         json_t **out_answer)
{
    size_t i = 0;
    const json_t *node = NULL;
    struct stele_error err = {.outcome = STELE_OK};
    char *const body = json_dumps(change->body, JSON_COMPACT);
    int code = STELE_CLI_GO_ON;
    bool answered = false;
    json_array_foreach(json_object_get(change->document, "nodes"), i, node)
    {
        struct stele_cli_ask one = *server;
        char address[300];
        struct far_address parsed;
        int status = 0;
        json_t *json = NULL;
        (void)snprintf(address, sizeof address, "stele://%.262s",
                       stele_cli_cluster_text(node, "client_address"));
        if (stele_remote_parse(address, &parsed, &err) != STELE_OK) {
            continue;
        }
        one.address.hosts[0] = parsed.hosts[0];
        one.address.hosts_count = 1;
        if (stele_cli_ask(&one, "POST", change->path, body, &status, &json, &err) != STELE_OK) {
            continue;
        }
        const char *const message = stele_cli_cluster_text(json, "message");
        answered = true;
        if (status == 200) {
            *out_answer = json;
            code = STELE_CLI_GO_ON;
            break;
        }
        const bool elsewhere = status == 409 && strstr(message, "ask that one") != NULL;
        code = elsewhere ? STELE_CLI_FAILURE : stele_cli_ask_refused("cluster", status, json);
        json_decref(json);
        if (!elsewhere) {
            break;
        }
    }
    free(body);
    if (*out_answer != NULL || (code != STELE_CLI_GO_ON && code != STELE_CLI_FAILURE)) {
        return *out_answer != NULL ? STELE_CLI_GO_ON : code;
    }
    return stele_cli_fail(STELE_CLI_FAILURE, "no-leader",
                          answered ? "cluster: nobody who answers leads that partition; try again"
                                   : "cluster: none of its nodes can be reached from here");
}

static void out_result(const struct change *change, json_t *answer)
{
    stele_cli_out_done();
    if (stele_cli_globals.json) {
        out_json(answer);
    } else if (strcmp(stele_cli_cluster_text(answer, "outcome"), "same") == 0) {
        stele_cli_out("it is so already\n");
    } else {
        stele_cli_outf("%s: done\n", change->asked->verb);
    }
}

static const struct verb {
    const char *name, *arguments;
    size_t count;
    int (*look)(struct stele_cli_ask *server, const struct stele_cli_cluster *asked);
    int (*plan)(struct change *change);
    bool depends; /* On who else is there. */
} verbs[] = {
    {"status", "no arguments", 0, show_status, NULL, false},
    {"check", "no arguments", 0, check, NULL, false},
    {"cut", "no arguments", 0, show_cut, NULL, false},
    {"replace", "a node", 1, show_replacing, NULL, false},
    {"drain", "a node", 1, NULL, plan_drain, true},
    {"undrain", "a node", 1, NULL, plan_drain, false},
    {"remove", "a node", 1, NULL, plan_remove, true},
    {"transfer", "a partition and a node", 2, NULL, plan_transfer, false},
    {"move", "a partition and two nodes", 3, NULL, plan_move, true},
    {"rebalance", "no arguments", 0, NULL, plan_rebalance, false},
    {"pause", "no arguments", 0, NULL, plan_pause, false},
    {"resume", "no arguments", 0, NULL, plan_pause, false},
    {"set", "a key and a value", 2, NULL, plan_set, false},
};

static int run_change(struct stele_cli_ask *server, const struct verb *verb, struct change *change)
{
    json_t *answer = NULL;
    int code = verb->plan(change);
    code = code == STELE_CLI_GO_ON ? confirm(change) : code;
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    /* What was shown is what happens: not on a table that has changed since, where it depends on it. */
    if (verb->depends) {
        (void)json_object_set(change->body, "if_version",
                              json_object_get(change->document, "table_version"));
    }
    (void)snprintf(change->path, sizeof change->path, "/cluster/%s", verb->name);
    code = strcmp(verb->name, "transfer") == 0
               ? send_transfer(server, change, &answer)
               : ask(server, "POST", change->path, change->body, &answer);
    if (code == STELE_CLI_GO_ON && strcmp(verb->name, "drain") == 0) {
        code = wait_for_drain(server, change);
    }
    if (code == STELE_CLI_GO_ON &&
        (strcmp(verb->name, "move") == 0 || strcmp(verb->name, "rebalance") == 0)) {
        wait_until_seen(server, answer);
        code = wait_for_moves(server, change);
    }
    if (code == STELE_CLI_GO_ON) {
        wait_until_seen(server, answer);
        out_result(change, answer);
        code = STELE_CLI_OK;
    }
    json_decref(answer);
    return code;
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < STELE_COUNT_OF(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

bool stele_cli_cluster_asks(const char *verb)
{
    return find_verb(verb) != NULL;
}

int stele_cli_cluster_ask(const struct stele_cli_cluster *asked)
{
    const struct verb *const verb = find_verb(asked->verb);
    struct stele_cli_ask server;
    if (verb == NULL || asked->arguments_count != verb->count) {
        return stele_cli_usage_error(self, "%s takes %s", asked->verb,
                                     verb == NULL ? "nothing" : verb->arguments);
    }
    int code = stele_cli_ask_init(&server, self);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    if (verb->look != NULL) {
        return verb->look(&server, asked);
    }
    struct change change = {.server = &server, .asked = asked};
    code = get_document(&server, &change.document);
    if (code == STELE_CLI_GO_ON) {
        code = run_change(&server, verb, &change);
        json_decref(change.body);
        json_decref(change.document);
    }
    return code;
}
