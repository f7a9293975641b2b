/* The events of all nodes compared: over large ranges of positions by hashes, in smaller and smaller ones where
 * these differ, in the end event by event. Who has what a majority has is right. */
#include "base/bytes.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/cluster.h"
#include "cli/out.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIDES_MAX 64
#define ENOUGH 1000 /* Events that differ, after which no more are looked for. */
#define TRIES 50

/* Events that one question is about, from the first look to the last. */
static const int64_t steps[] = {50000, 2000, 128};
#define STEPS (sizeof steps / sizeof steps[0])

struct side {
    struct stele_cli_ask server;
    const json_t *node;
    int64_t differing, missing, first; /* Of events; the position of the first. */
    json_t *answer;                    /* To the last question. */
    size_t at;                         /* In its list. */
};

struct comparing {
    struct side *sides;
    size_t count;
    int64_t through;
    int64_t events, found, unclear;
    int64_t first_unclear;
    json_t *findings;
};

/* ---- Asking ---- */

static void wait_a_little(void)
{
    const struct timespec little = {.tv_nsec = 100000000};
    (void)nanosleep(&little, NULL);
}

static int ask_side(struct side *side, int64_t after, int64_t through, int64_t events, bool list)
{
    char body[160];
    (void)snprintf(body, sizeof body,
                   "{\"after\":%" PRId64 ",\"through\":%" PRId64 ",\"events_max\":%" PRId64
                   ",\"list\":%s}",
                   after, through, events, list ? "true" : "false");
    json_decref(side->answer);
    side->answer = NULL;
    side->at = 0;
    for (int tries = 0;; tries++) {
        struct stele_error err = {.outcome = STELE_OK};
        int status = 0;
        json_t *json = NULL;
        const int outcome =
            stele_cli_ask(&side->server, "POST", "/cluster/digest", body, &status, &json, &err);
        if (outcome == STELE_OK && status == 200) {
            side->answer = json;
            return STELE_CLI_GO_ON;
        }
        const bool busy = outcome == STELE_OK && (status == 503 || status == 429);
        if (busy && tries < TRIES && !stele_cli_interrupted()) {
            json_decref(json);
            wait_a_little();
            continue;
        }
        const int code =
            outcome == STELE_OK
                ? stele_cli_ask_refused(stele_cli_cluster_text(side->node, "name"), status, json)
                : stele_cli_fail(stele_cli_exit_of(outcome), stele_outcome_name(outcome),
                                 "cluster: %s: %s", stele_cli_cluster_text(side->node, "name"),
                                 err.message);
        json_decref(json);
        return code;
    }
}

static int64_t of(const struct side *side, const char *key)
{
    return stele_cli_cluster_number(side->answer, key);
}

/* Asks all, so that all answers are about the same range; *out_end is where it ends. */
static int ask_all(struct comparing *all, int64_t after, int64_t through, int64_t events, bool list,
                   int64_t *out_end)
{
    int64_t end = through;
    for (size_t i = 0; i < all->count; i++) {
        const int code = ask_side(&all->sides[i], after, end, events, list);
        if (code != STELE_CLI_GO_ON) {
            return code;
        }
        const int64_t its = of(&all->sides[i], "through");
        end = its < end ? its : end;
    }
    /* Who has fewer events in it went further. Lists are cut where they are compared. */
    for (size_t i = 0; i < all->count && !list; i++) {
        if (of(&all->sides[i], "through") != end) {
            const int code = ask_side(&all->sides[i], after, end, events, false);
            if (code != STELE_CLI_GO_ON) {
                return code;
            }
        }
    }
    *out_end = end;
    return STELE_CLI_GO_ON;
}

/* ---- Event by event ---- */

static const json_t *front(const struct side *side, int64_t end)
{
    const json_t *event = json_array_get(json_object_get(side->answer, "list"), side->at);
    return event != NULL && stele_cli_cluster_number(event, "position") <= end ? event : NULL;
}

static int64_t next_position(const struct comparing *all, int64_t end)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < all->count; i++) {
        const json_t *const event = front(&all->sides[i], end);
        const int64_t position =
            event == NULL ? INT64_MAX : stele_cli_cluster_number(event, "position");
        next = position < next ? position : next;
    }
    return next;
}

/* What this side has at a position; "": nothing. */
static const char *hash_at(const struct side *side, int64_t position)
{
    const json_t *const event = front(side, position);
    return event == NULL ? "" : stele_cli_cluster_text(event, "hash");
}

/* Has nobody who has it reason to have lost it? */
static bool is_kept(const struct comparing *all, int64_t position)
{
    for (size_t i = 0; i < all->count; i++) {
        const json_t *const event = front(&all->sides[i], position);
        if (event != NULL && json_is_true(json_object_get(event, "kept"))) {
            return true;
        }
    }
    return false;
}

static size_t votes_for(const struct comparing *all, const char *hash, int64_t position)
{
    size_t votes = 0;
    for (size_t i = 0; i < all->count; i++) {
        votes += strcmp(hash_at(&all->sides[i], position), hash) == 0 ? 1 : 0;
    }
    return votes;
}

static void judge(struct comparing *all, int64_t position)
{
    const char *right = NULL;
    const char *some = NULL;
    bool missing = false;
    bool alike = true;
    for (size_t i = 0; i < all->count; i++) {
        const char *const hash = hash_at(&all->sides[i], position);
        missing = missing || hash[0] == '\0';
        alike = alike && (hash[0] == '\0' || some == NULL || strcmp(hash, some) == 0);
        some = hash[0] == '\0' ? some : hash;
        right = 2 * votes_for(all, hash, position) > all->count ? hash : right;
    }
    if (alike && (!missing || !is_kept(all, position))) {
        return; /* What retention lets go may be gone on some nodes and not yet on others. */
    }
    all->found++;
    if (right == NULL) {
        all->first_unclear = all->unclear == 0 ? position : all->first_unclear;
        all->unclear++;
        return;
    }
    for (size_t i = 0; i < all->count; i++) {
        struct side *const side = &all->sides[i];
        const char *const hash = hash_at(side, position);
        if (strcmp(hash, right) != 0 && (right[0] != '\0' || hash[0] != '\0')) {
            side->first = side->differing + side->missing == 0 ? position : side->first;
            side->missing += hash[0] == '\0' ? 1 : 0;
            side->differing += hash[0] == '\0' ? 0 : 1;
        }
    }
}

static void judge_list(struct comparing *all, int64_t end)
{
    for (int64_t at = next_position(all, end); at <= end; at = next_position(all, end)) {
        judge(all, at);
        for (size_t i = 0; i < all->count; i++) {
            const json_t *const event = front(&all->sides[i], end);
            if (event != NULL && stele_cli_cluster_number(event, "position") == at) {
                all->sides[i].at++;
            }
        }
    }
}

/* ---- Ranges ---- */

static bool all_alike(const struct comparing *all)
{
    const struct side *const first = &all->sides[0];
    for (size_t i = 1; i < all->count; i++) {
        if (of(&all->sides[i], "events") != of(first, "events") ||
            strcmp(stele_cli_cluster_text(all->sides[i].answer, "hash"),
                   stele_cli_cluster_text(first->answer, "hash")) != 0) {
            return false;
        }
    }
    return true;
}

/* One level down is called at most, and that twice: lists are the last. */
static int compare_range(struct comparing *all, int64_t after, int64_t through, size_t step)
{
    const bool list = step == STEPS - 1;
    while (after < through && all->found < ENOUGH) {
        int64_t end = through;
        int code = ask_all(all, after, through, steps[step], list, &end);
        if (code == STELE_CLI_GO_ON && stele_cli_interrupted()) {
            code = stele_cli_fail(STELE_CLI_FAILURE, "interrupted", "cluster: interrupted");
        }
        if (code != STELE_CLI_GO_ON) {
            return code;
        }
        all->events += step == 0 ? of(&all->sides[0], "events") : 0;
        if (list) {
            judge_list(all, end);
        } else if (!all_alike(all)) {
            code = compare_range(all, after, end, step + 1);
            if (code != STELE_CLI_GO_ON) {
                return code;
            }
        }
        after = end;
    }
    return STELE_CLI_GO_ON;
}

/* ---- Who takes part, and what comes out ---- */

/* What the node says of itself is the newest. A node that cannot be asked is left out: others say that it
 * does not answer. */
static bool add_side(struct comparing *all, const struct stele_cli_ask *server, const json_t *node)
{
    char address[300];
    struct far_address parsed;
    struct stele_error err = {.outcome = STELE_OK};
    struct side *const side = &all->sides[all->count];
    int status = 0;
    json_t *document = NULL;
    *side = (struct side){.server = *server, .node = node};
    (void)snprintf(address, sizeof address, "stele://%.262s",
                   stele_cli_cluster_text(node, "client_address"));
    if (all->count == SIDES_MAX || stele_remote_parse(address, &parsed, &err) != STELE_OK) {
        return false;
    }
    side->server.address.hosts[0] = parsed.hosts[0];
    side->server.address.hosts_count = 1;
    if (stele_cli_ask(&side->server, "GET", "/cluster", NULL, &status, &document, &err) !=
            STELE_OK ||
        status != 200) {
        json_decref(document);
        return false;
    }
    const json_t *const own =
        stele_cli_cluster_node(document, stele_cli_cluster_text(node, "name"));
    const int64_t position = own == NULL ? 0 : stele_cli_cluster_number(own, "position");
    const bool is_it =
        stele_cli_cluster_number(document, "this") == stele_cli_cluster_number(node, "number");
    json_decref(document);
    if (!is_it) {
        return false;
    }
    all->through = position < all->through ? position : all->through;
    all->count++;
    return true;
}

static void put(json_t *findings, const json_t *node, const char *message)
{
    json_t *const finding = json_pack("{s:s,s:s}", "what", "differs", "message", message);
    if (node != NULL && finding != NULL) {
        (void)json_object_set(finding, "node", json_object_get(node, "number"));
    }
    (void)json_array_append_new(findings, finding);
}

static void tell(const struct comparing *all, json_t *findings)
{
    char words[400];
    for (size_t i = 0; i < all->count; i++) {
        const struct side *const side = &all->sides[i];
        if (side->differing + side->missing > 0) {
            (void)snprintf(words, sizeof words,
                           "%s has other events than a majority: %" PRId64 " differ, %" PRId64
                           " are missing%s, the first at position %" PRId64
                           ": stop it, and let `stele cluster repair` get them anew",
                           stele_cli_cluster_text(side->node, "name"), side->differing,
                           side->missing, all->found >= ENOUGH ? ", perhaps more" : "",
                           side->first);
            put(findings, side->node, words);
        }
    }
    if (all->unclear > 0) {
        (void)snprintf(words, sizeof words,
                       "%" PRId64 " events differ, and no majority has the same, the first at "
                       "position %" PRId64 ": look at it on each node (stele read $all --from)",
                       all->unclear, all->first_unclear);
        put(findings, NULL, words);
    }
}

int stele_cli_cluster_compare(const struct stele_cli_ask *server, const json_t *document,
                              json_t *findings, json_t **out_compared)
{
    struct comparing all = {.through = INT64_MAX};
    json_t *const names = json_array();
    const json_t *node = NULL;
    size_t i = 0;
    int code = STELE_CLI_GO_ON;
    all.sides = calloc(SIDES_MAX, sizeof *all.sides);
    if (all.sides == NULL) {
        json_decref(names);
        return stele_cli_fail(STELE_CLI_FAILURE, "no-memory", "cluster: no memory");
    }
    json_array_foreach(json_object_get(document, "nodes"), i, node)
    {
        if (strcmp(stele_cli_cluster_text(node, "state"), "joining") != 0 &&
            add_side(&all, server, node)) {
            (void)json_array_append(names, json_object_get(node, "name"));
        }
    }
    if (all.count > 1) {
        code = compare_range(&all, 0, all.through, 0);
        tell(&all, findings);
    }
    for (i = 0; i < all.count; i++) {
        json_decref(all.sides[i].answer);
    }
    free(all.sides);
    *out_compared = json_pack("{s:o,s:I,s:I}", "nodes", names, "events", (json_int_t)all.events,
                              "through", (json_int_t)(all.count > 1 ? all.through : 0));
    return code;
}
