/* The judges of commands: what each of them needs, and the words for those that cannot be. They
 * only look, so a refusal leaves nothing, and a plan that is shown to an operator is judged by the
 * same words as the command that follows. */
#include "cluster/meta_internal.h"

#include <stele/stele.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

STELE_PRINTF(3, 4)
static void refuse(struct stele_meta_result *result, enum stele_meta_outcome outcome,
                   const char *format, ...)
{
    va_list args;
    va_start(args, format);
    result->outcome = outcome;
    (void)vsnprintf(result->words, sizeof(result->words), format, args);
    va_end(args);
}

static bool is_alive(const struct stele_meta_command *command, uint64_t number)
{
    for (size_t i = 0; i < command->alive_count; i++) {
        if (command->alive[i] == number) {
            return true;
        }
    }
    return false;
}

/* ---- Judging: newcomers ---- */

static bool judge_data(const struct stele_meta *meta, const struct stele_meta_command *command,
                       struct stele_meta_result *result)
{
    if (!stele_meta__same_id(command->cluster_id, meta->cluster_id)) {
        refuse(result, STELE_META_WRONG_CLUSTER,
               "this is another cluster than the one that \"%s\" wants to join; look at the "
               "cluster's id and at the address that it asks",
               command->node.name);
        return false;
    }
    if (command->format != meta->format) {
        const bool older = command->format < meta->format;
        refuse(result, older ? STELE_META_OLDER_FORMAT : STELE_META_NEWER_FORMAT,
               "the software of \"%s\" (%s) speaks format %" PRIu32 " of clusters, this cluster "
               "%" PRIu32 "; %s",
               command->node.name, command->node.version, command->format, meta->format,
               older ? "install the version that the other nodes run"
                     : "bring the other nodes to its version first");
        return false;
    }
    if (command->partitions != meta->partitions || command->partition_key != meta->partition_key) {
        refuse(result, STELE_META_OTHER_PARTITIONS,
               "the store of \"%s\" has %" PRIu32 " partitions by %s, this cluster's stores have "
               "%" PRIu32 " by %s, which cannot be changed; let it begin with an empty directory",
               command->node.name, command->partitions,
               command->partition_key == STELE_KEY_STREAM ? "stream" : "category", meta->partitions,
               meta->partition_key == STELE_KEY_STREAM ? "stream" : "category");
        return false;
    }
    return true;
}

static bool judge_features(const struct stele_meta *meta, const struct stele_meta_node *node,
                           struct stele_meta_result *result)
{
    if ((node->features & meta->gates) == meta->gates) {
        return true;
    }
    refuse(result, STELE_META_SOFTWARE_TOO_OLD,
           "the software of \"%s\" (%s) is too old: the cluster already uses what it does not "
           "know (features %#" PRIx64 "); install the version that the other nodes run",
           node->name, node->version, meta->gates & ~node->features);
    return false;
}

/* Name and address must be nobody's but its own: number, 0 for a newcomer. */
static bool judge_names(const struct stele_meta *meta, const struct stele_meta_node *node,
                        uint64_t number, struct stele_meta_result *result)
{
    const struct stele_meta_node *other = stele_meta_find_name(meta, node->name);
    if (other != NULL && other->number != number) {
        refuse(result, STELE_META_NAME_TAKEN,
               "the name \"%s\" belongs to node %" PRIu64 " (%s, at %s); choose another one, or, "
               "if that node's disk is lost: stele cluster replace %s",
               node->name, other->number, stele_meta_state_name(other->state),
               other->cluster_address, node->name);
        return false;
    }
    other = stele_meta__find_address(meta, node->cluster_address);
    if (other != NULL && other->number != number) {
        refuse(result, STELE_META_ADDRESS_TAKEN,
               "the address %s belongs to node %" PRIu64
               " \"%s\"; give \"%s\" one of its own, or, if "
               "it takes the other's place: stele cluster replace %s",
               node->cluster_address, other->number, other->name, node->name, other->name);
        return false;
    }
    return true;
}

/* replaced: whose name and address it may take; 0: nobody's. */
static bool judge_newcomer(const struct stele_meta *meta, const struct stele_meta_command *command,
                           uint64_t replaced, struct stele_meta_result *result)
{
    const struct stele_meta_node *const node = &command->node;
    const char *const fault = stele_meta__node_fault(node);
    if (fault != NULL) {
        refuse(result, STELE_META_INVALID, "%s", fault);
        return false;
    }
    const struct stele_meta_removed *const gone =
        stele_meta__find_removed_incarnation(meta, node->incarnation);
    if (gone != NULL) {
        refuse(result, STELE_META_REMOVED,
               "the data of \"%s\" are those of node %" PRIu64
               " \"%s\", which was removed from this "
               "cluster for good; let it begin with an empty directory",
               node->name, gone->number, gone->name);
        return false;
    }
    const struct stele_meta_node *const same =
        stele_meta__find_incarnation(meta, node->incarnation);
    if (same != NULL) {
        refuse(result, STELE_META_CLONED,
               "the data of \"%s\" are a clone of those of node %" PRIu64 " \"%s\"; a node never "
               "begins with a copy of another one: let it begin with an empty directory",
               node->name, same->number, same->name);
        return false;
    }
    return judge_data(meta, command, result) && judge_features(meta, node, result) &&
           judge_names(meta, node, replaced, result);
}

static void judge_found(const struct stele_meta *meta, const struct stele_meta_command *command,
                        struct stele_meta_result *result)
{
    if (meta->version != 0) {
        const struct stele_meta_node *const first = stele_meta_find(meta, 1);
        if (stele_meta__same_id(meta->cluster_id, command->cluster_id) && first != NULL &&
            stele_meta__same_id(first->incarnation, command->node.incarnation)) {
            result->outcome = STELE_META_SAME;
            result->number = 1;
            return;
        }
        refuse(result, STELE_META_FOUNDED_ALREADY, "this node is in a cluster already");
        return;
    }
    const char *const fault = stele_meta__node_fault(&command->node);
    if (fault != NULL) {
        refuse(result, STELE_META_INVALID, "%s", fault);
    } else if (stele_meta__is_nothing(command->cluster_id) || command->format == 0 ||
               command->partitions == 0 || command->partitions > STELE_PARTITIONS_MAX ||
               command->partition_key > STELE_KEY_CATEGORY) {
        refuse(result, STELE_META_INVALID,
               "a cluster has an id, a format, and 1 to %u partitions by stream or by category",
               STELE_PARTITIONS_MAX);
    } else {
        result->number = 1;
    }
}

static void judge_join(const struct stele_meta *meta, const struct stele_meta_command *command,
                       struct stele_meta_result *result)
{
    const struct stele_meta_node *const node = &command->node;
    const struct stele_meta_node *const same =
        stele_meta__find_incarnation(meta, node->incarnation);
    /* Who did not hear the answer asks again. */
    if (same != NULL && strcmp(same->name, node->name) == 0 &&
        strcmp(same->cluster_address, node->cluster_address) == 0) {
        if (judge_data(meta, command, result)) {
            result->outcome = STELE_META_SAME;
            result->number = same->number;
        }
        return;
    }
    if (!judge_newcomer(meta, command, 0, result)) {
        return;
    }
    if (meta->nodes_count == STELE_META_NODES_MAX) {
        refuse(result, STELE_META_FULL, "the cluster has %d nodes, which is the most there can be",
               STELE_META_NODES_MAX);
        return;
    }
    result->number = meta->next_number;
}

/* ---- Judging: nodes that are there ---- */

static const struct stele_meta_node *judge_there(const struct stele_meta *meta, uint64_t number,
                                                 struct stele_meta_result *result)
{
    const struct stele_meta_node *const node = stele_meta_find(meta, number);
    if (node != NULL) {
        result->number = number;
    } else if (number == 0 || number >= meta->next_number) {
        refuse(result, STELE_META_UNKNOWN_NODE, "there is no node %" PRIu64, number);
    } else {
        const struct stele_meta_removed *const gone = stele_meta__find_removed(meta, number);
        refuse(result, STELE_META_REMOVED, "node %" PRIu64 "%s%s%s was removed from this cluster",
               number, gone != NULL ? " \"" : "", gone != NULL ? gone->name : "",
               gone != NULL ? "\"" : "");
    }
    return node;
}

static void judge_activate(const struct stele_meta *meta, const struct stele_meta_command *command,
                           struct stele_meta_result *result)
{
    const struct stele_meta_node *const node = judge_there(meta, command->number, result);
    if (node == NULL) {
        return;
    }
    if (node->state == STELE_META_ACTIVE) {
        result->outcome = STELE_META_SAME;
    } else if (node->state == STELE_META_DRAINING) {
        refuse(result, STELE_META_WRONG_STATE,
               "node %" PRIu64 " \"%s\" is being drained; to take that back: stele cluster "
               "undrain %s",
               node->number, node->name, node->name);
    }
}

static void judge_drain(const struct stele_meta *meta, const struct stele_meta_command *command,
                        struct stele_meta_result *result)
{
    const struct stele_meta_node *const node = judge_there(meta, command->number, result);
    if (node == NULL) {
        return;
    }
    if (node->state == STELE_META_DRAINING) {
        result->outcome = STELE_META_SAME;
    } else if (node->state == STELE_META_JOINING) {
        refuse(result, STELE_META_WRONG_STATE,
               "node %" PRIu64
               " \"%s\" is still joining and leads nothing that could be moved away",
               node->number, node->name);
    } else if (stele_meta__count_active_but(meta, node->number) == 0) {
        refuse(result, STELE_META_LAST_NODE,
               "node %" PRIu64 " \"%s\" is the last one that may lead: nobody could take over",
               node->number, node->name);
    }
}

static void judge_undrain(const struct stele_meta *meta, const struct stele_meta_command *command,
                          struct stele_meta_result *result)
{
    const struct stele_meta_node *const node = judge_there(meta, command->number, result);
    if (node == NULL) {
        return;
    }
    if (node->state == STELE_META_ACTIVE) {
        result->outcome = STELE_META_SAME;
    } else if (node->state == STELE_META_JOINING) {
        refuse(result, STELE_META_WRONG_STATE,
               "node %" PRIu64 " \"%s\" is still joining and is not being drained", node->number,
               node->name);
    }
}

/* The same for each partition that has voters of its own. */
static bool judge_rest_of_voters(const struct stele_meta *meta,
                                 const struct stele_meta_command *command,
                                 const struct stele_meta_node *node,
                                 struct stele_meta_result *result)
{
    for (uint32_t i = 0; i < meta->partitions && command->alive_count > 0; i++) {
        size_t voters = 0;
        size_t alive = 0;
        uint64_t dead = 0;
        const size_t count = stele_meta_voters_count(meta, i);
        bool is_there = false;
        for (size_t k = 0; k < count; k++) {
            const uint64_t other = meta->voters[i][k];
            is_there = is_there || other == node->number;
            voters += other != node->number;
            alive += other != node->number && is_alive(command, other);
            dead = other != node->number && !is_alive(command, other) ? other : dead;
        }
        if (is_there && voters > 0 && 2 * alive <= voters) {
            refuse(result, STELE_META_NO_QUORUM,
                   "without node %" PRIu64
                   " \"%s\" only %zu of the %zu voters of partition %" PRIu32
                   " would answer, which is no majority: nothing could be stored any more; start, "
                   "replace or remove node %" PRIu64 " first",
                   node->number, node->name, alive, voters, i, dead);
            return false;
        }
    }
    return true;
}

/* Those who remain without this node must be able to decide: somebody may lead, and if it is known who answers, those
 * are a majority. Otherwise this would be the last thing that the cluster ever decided. */
static bool judge_rest(const struct stele_meta *meta, const struct stele_meta_command *command,
                       const struct stele_meta_node *node, struct stele_meta_result *result)
{
    if (stele_meta__count_active_but(meta, node->number) == 0) {
        refuse(result, STELE_META_LAST_NODE,
               "node %" PRIu64 " \"%s\" is the last one that may lead: the cluster would be gone",
               node->number, node->name);
        return false;
    }
    size_t voters = 0;
    size_t alive = 0;
    const struct stele_meta_node *dead = NULL;
    for (size_t i = 0; i < meta->nodes_count; i++) {
        const struct stele_meta_node *const other = &meta->nodes[i];
        if (other == node || !stele_meta__votes(other)) {
            continue;
        }
        voters++;
        if (is_alive(command, other->number)) {
            alive++;
        } else if (dead == NULL) {
            dead = other;
        }
    }
    if (command->alive_count > 0 && stele_meta__votes(node) && 2 * alive <= voters) {
        STELE_ASSERT(dead != NULL);
        refuse(result, STELE_META_NO_QUORUM,
               "without node %" PRIu64 " \"%s\" only %zu of %zu nodes would answer, which is no "
               "majority: nothing could be stored any more; start, replace or remove node %" PRIu64
               " \"%s\" first",
               node->number, node->name, alive, voters, dead->number, dead->name);
        return false;
    }
    return judge_rest_of_voters(meta, command, node, result);
}

static void judge_remove(const struct stele_meta *meta, const struct stele_meta_command *command,
                         struct stele_meta_result *result)
{
    const struct stele_meta_node *const node = judge_there(meta, command->number, result);
    if (node != NULL) {
        (void)judge_rest(meta, command, node, result);
    } else if (result->outcome == STELE_META_REMOVED) {
        result->outcome = STELE_META_SAME;
        result->words[0] = '\0';
        result->number = command->number;
    }
}

static void judge_replace(const struct stele_meta *meta, const struct stele_meta_command *command,
                          struct stele_meta_result *result)
{
    const struct stele_meta_node *const same =
        stele_meta__find_incarnation(meta, command->node.incarnation);
    if (same != NULL && same->number > command->number &&
        stele_meta_find(meta, command->number) == NULL &&
        strcmp(same->name, command->node.name) == 0) {
        result->outcome = STELE_META_SAME; /* Asked again. */
        result->number = same->number;
        return;
    }
    const struct stele_meta_node *const node = judge_there(meta, command->number, result);
    if (node == NULL) {
        return;
    }
    if (is_alive(command, node->number)) {
        refuse(result, STELE_META_STILL_ALIVE,
               "node %" PRIu64
               " \"%s\" at %s answers, so it is not lost; let the new one join under "
               "another name, then drain and remove \"%s\"",
               node->number, node->name, node->cluster_address, node->name);
        return;
    }
    if (judge_newcomer(meta, command, node->number, result) &&
        judge_rest(meta, command, node, result)) {
        result->number = meta->next_number;
    }
}

static bool is_same_node(const struct stele_meta_node *a, const struct stele_meta_node *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->zone, b->zone) == 0 &&
           strcmp(a->cluster_address, b->cluster_address) == 0 &&
           strcmp(a->client_address, b->client_address) == 0 &&
           strcmp(a->version, b->version) == 0 && a->features == b->features &&
           a->starts == b->starts && a->boot == b->boot;
}

/* Is it the disk that was started when the table says? Without the gate nobody can tell more than by the count. */
static void judge_past(const struct stele_meta *meta, const struct stele_meta_command *command,
                       const struct stele_meta_node *node, struct stele_meta_result *result)
{
    const bool risen = (meta->gates & STELE_META_FEATURE_PAST) != 0;
    if (command->kind == STELE_META_START && !risen) {
        refuse(result, STELE_META_SOFTWARE_TOO_OLD,
               "nodes tell of their earlier starts only when all nodes know what that is; bring "
               "them to the newest version first");
    } else if (command->kind != STELE_META_START && risen) {
        refuse(result, STELE_META_STALE,
               "node %" PRIu64 " \"%s\" has to tell of its earlier starts; it will, as soon as it "
               "knows that everybody does",
               node->number, node->name);
    } else if (risen && !stele_meta_past_may_have(&command->past, node->starts, node->boot)) {
        refuse(result, STELE_META_ROLLED_BACK,
               "node %" PRIu64 " \"%s\" was started once (number %" PRIu64 ") without its data "
               "knowing of it: they are from an earlier time (a restored copy?), or a copy runs "
               "elsewhere; stele cluster replace %s",
               node->number, node->name, node->starts, node->name);
    }
}

static void judge_update(const struct stele_meta *meta, const struct stele_meta_command *command,
                         struct stele_meta_result *result)
{
    const struct stele_meta_node *const node = judge_there(meta, command->number, result);
    if (node == NULL) {
        return;
    }
    const struct stele_meta_node *const news = &command->node;
    const char *const fault = stele_meta__node_fault(news);
    if (fault != NULL) {
        refuse(result, STELE_META_INVALID, "%s", fault);
    } else if (!stele_meta__same_id(node->incarnation, news->incarnation)) {
        refuse(result, STELE_META_WIPED,
               "node %" PRIu64
               " \"%s\" comes with other data than it was given its number for: its "
               "disk was wiped or exchanged; stele cluster replace %s",
               node->number, node->name, node->name);
    } else if (news->starts < node->starts) {
        refuse(
            result, STELE_META_ROLLED_BACK,
            "node %" PRIu64 " \"%s\" has been started %" PRIu64 " times, its data say %" PRIu64
            ": they are from an earlier time (a restored copy?), or a copy runs elsewhere; stele "
            "cluster replace %s",
            node->number, node->name, node->starts, news->starts, node->name);
    } else if (news->starts == node->starts && news->boot != node->boot) {
        refuse(result, STELE_META_CLONED,
               "two processes run with the data of node %" PRIu64 " \"%s\": stop the one that uses "
               "a copy, and let it begin with an empty directory",
               node->number, node->name);
    } else if (!judge_features(meta, news, result) ||
               !judge_names(meta, news, node->number, result)) {
        return;
    } else if (is_same_node(node, news)) {
        result->outcome = STELE_META_SAME;
    } else {
        judge_past(meta, command, node, result);
    }
}

/* ---- Judging: the rest ---- */

static void judge_gate(const struct stele_meta *meta, const struct stele_meta_command *command,
                       struct stele_meta_result *result)
{
    if ((command->features & ~meta->gates) == 0) {
        result->outcome = STELE_META_SAME;
        return;
    }
    for (size_t i = 0; i < meta->nodes_count; i++) {
        const struct stele_meta_node *const node = &meta->nodes[i];
        if ((command->features & ~node->features) != 0) {
            refuse(result, STELE_META_SOFTWARE_TOO_OLD,
                   "node %" PRIu64 " \"%s\" (%s) does not know features %#" PRIx64
                   "; bring it to the newest version first",
                   node->number, node->name, node->version, command->features & ~node->features);
            return;
        }
    }
}

static void judge_set(const struct stele_meta *meta, const struct stele_meta_command *command,
                      struct stele_meta_result *result)
{
    const char *const fault = stele_meta__setting_fault(&command->setting);
    if (fault != NULL) {
        refuse(result, STELE_META_INVALID, "%s", fault);
        return;
    }
    const char *const value = stele_meta_setting(meta, command->setting.key);
    if (strcmp(value == NULL ? "" : value, command->setting.value) == 0) {
        result->outcome = STELE_META_SAME;
    } else if (value == NULL && meta->settings_count == STELE_META_SETTINGS_MAX) {
        refuse(result, STELE_META_FULL, "there are %d settings, which is the most there can be",
               STELE_META_SETTINGS_MAX);
    }
}

static void judge_prefer(const struct stele_meta *meta, const struct stele_meta_command *command,
                         struct stele_meta_result *result)
{
    if (command->partitions != meta->partitions) {
        refuse(result, STELE_META_OTHER_PARTITIONS,
               "leaders of %" PRIu32 " partitions; there are %" PRIu32, command->partitions,
               meta->partitions);
        return;
    }
    for (uint32_t i = 0; i < meta->partitions; i++) {
        const uint64_t number = command->leaders[i];
        const struct stele_meta_node *const node =
            number == 0 ? NULL : judge_there(meta, number, result);
        result->number = 0;
        if (node == NULL && number != 0) {
            return;
        }
        if (node != NULL && node->state != STELE_META_ACTIVE) {
            refuse(result, STELE_META_WRONG_STATE,
                   "node %" PRIu64 " \"%s\" cannot lead partition %" PRIu32 ": it is %s",
                   node->number, node->name, i, stele_meta_state_name(node->state));
            return;
        }
    }
    if (memcmp(meta->leaders, command->leaders, meta->partitions * sizeof(meta->leaders[0])) == 0) {
        result->outcome = STELE_META_SAME;
    }
}

static void judge_place(const struct stele_meta *meta, const struct stele_meta_command *command,
                        struct stele_meta_result *result)
{
    if ((meta->gates & STELE_META_FEATURE_VOTERS) == 0) {
        refuse(result, STELE_META_SOFTWARE_TOO_OLD,
               "partitions get voters of their own only when all nodes know what that is; bring "
               "them to the newest version first");
        return;
    }
    if (command->if_version == 0 || command->partitions != meta->partitions) {
        refuse(result, STELE_META_INVALID,
               "voters are placed for all %" PRIu32 " partitions, and for one version of the table",
               meta->partitions);
        return;
    }
    bool same = true;
    for (uint32_t i = 0; i < meta->partitions; i++) {
        unsigned before = 0;
        for (size_t k = 0; k < STELE_META_REPLICAS_MAX; k++) {
            const unsigned place = command->voters[i][k];
            if (place > meta->nodes_count ||
                (place != 0 ? place <= before || (k > 0 && before == 0) : k == 0)) {
                refuse(result, STELE_META_INVALID,
                       "the voters of partition %" PRIu32
                       " are not nodes of the table, each once and by number",
                       i);
                return;
            }
            same = same && meta->voters[i][k] == (place == 0 ? 0 : meta->nodes[place - 1].number);
            before = place;
        }
    }
    if (same) {
        result->outcome = STELE_META_SAME;
    }
}

void stele_meta_judge_command(const struct stele_meta *meta,
                              const struct stele_meta_command *command,
                              struct stele_meta_result *out_result)
{
    *out_result = (struct stele_meta_result){.outcome = STELE_META_DONE, .version = meta->version};
    if (meta->version == 0 && command->kind != STELE_META_FOUND) {
        refuse(out_result, STELE_META_NOT_FOUNDED, "this node is in no cluster yet");
        return;
    }
    if (command->if_version != 0 && command->if_version != meta->version) {
        refuse(out_result, STELE_META_STALE,
               "the cluster has changed since this was planned (its table has version %" PRIu64
               ", the plan was for %" PRIu64 "); look at it again",
               meta->version, command->if_version);
        return;
    }
    switch (command->kind) {
    case STELE_META_FOUND:
        judge_found(meta, command, out_result);
        break;
    case STELE_META_JOIN:
        judge_join(meta, command, out_result);
        break;
    case STELE_META_ACTIVATE:
        judge_activate(meta, command, out_result);
        break;
    case STELE_META_DRAIN:
        judge_drain(meta, command, out_result);
        break;
    case STELE_META_UNDRAIN:
        judge_undrain(meta, command, out_result);
        break;
    case STELE_META_REMOVE:
        judge_remove(meta, command, out_result);
        break;
    case STELE_META_REPLACE:
        judge_replace(meta, command, out_result);
        break;
    case STELE_META_UPDATE:
    case STELE_META_START:
        judge_update(meta, command, out_result);
        break;
    case STELE_META_GATE:
        judge_gate(meta, command, out_result);
        break;
    case STELE_META_SET:
        judge_set(meta, command, out_result);
        break;
    case STELE_META_PREFER:
        judge_prefer(meta, command, out_result);
        break;
    case STELE_META_PLACE:
        judge_place(meta, command, out_result);
        break;
    }
    if (out_result->outcome == STELE_META_DONE) {
        out_result->version = meta->version + 1;
    }
}
