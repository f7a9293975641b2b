/* The table: what its parts are called, what they have to look like, where they are, and what is
 * always true of it. */
#include "base/status.h"
#include "cluster/meta_internal.h"

#include <stele/stele.h>

/* ---- Names of things ---- */

static const char *const outcome_names[STELE_META_OUTCOMES_COUNT] = {
    [STELE_META_DONE] = "done",
    [STELE_META_SAME] = "same",
    [STELE_META_NOT_FOUNDED] = "not-founded",
    [STELE_META_FOUNDED_ALREADY] = "founded-already",
    [STELE_META_WRONG_CLUSTER] = "wrong-cluster",
    [STELE_META_OTHER_PARTITIONS] = "other-partitions",
    [STELE_META_OLDER_FORMAT] = "older-format",
    [STELE_META_NEWER_FORMAT] = "newer-format",
    [STELE_META_SOFTWARE_TOO_OLD] = "software-too-old",
    [STELE_META_NAME_TAKEN] = "name-taken",
    [STELE_META_ADDRESS_TAKEN] = "address-taken",
    [STELE_META_CLONED] = "cloned",
    [STELE_META_WIPED] = "wiped",
    [STELE_META_ROLLED_BACK] = "rolled-back",
    [STELE_META_REMOVED] = "removed",
    [STELE_META_UNKNOWN_NODE] = "unknown-node",
    [STELE_META_FULL] = "full",
    [STELE_META_LAST_NODE] = "last-node",
    [STELE_META_NO_QUORUM] = "no-quorum",
    [STELE_META_STILL_ALIVE] = "still-alive",
    [STELE_META_WRONG_STATE] = "wrong-state",
    [STELE_META_STALE] = "stale",
    [STELE_META_INVALID] = "invalid",
};

const char *stele_meta_outcome_name(enum stele_meta_outcome outcome)
{
    STELE_ASSERT((unsigned)outcome < STELE_META_OUTCOMES_COUNT);
    return outcome_names[outcome];
}

const char *stele_meta_state_name(enum stele_meta_state state)
{
    switch (state) {
    case STELE_META_JOINING:
        return "joining";
    case STELE_META_ACTIVE:
        return "active";
    case STELE_META_DRAINING:
        return "draining";
    }
    return "unknown";
}

/* ---- Is a text what it should be? ---- */

static bool is_word(const char *text, const char *others, bool capitals)
{
    for (const char *at = text; *at != '\0'; at++) {
        const bool alone = (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') ||
                           (capitals && *at >= 'A' && *at <= 'Z');
        if (!alone && (at == text || strchr(others, *at) == NULL)) {
            return false;
        }
    }
    return text[0] != '\0';
}

const char *stele_meta__name_fault(const char *name)
{
    return is_word(name, "._-", true) ? NULL
                                      : "a name consists of letters, digits, '.', '_' and '-', and "
                                        "begins with a letter or "
                                        "a digit";
}

/* host:port, [v6]:port. Whether there is such a host is not the table's business. */
static bool is_address(const char *text)
{
    const char *const colon = strrchr(text, ':');
    if (colon == NULL || colon == text) {
        return false;
    }
    uint32_t port = 0;
    for (const char *at = colon + 1; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || port > 65535) {
            return false;
        }
        port = port * 10 + (uint32_t)(*at - '0');
    }
    if (port == 0 || port > 65535 || colon[1] == '0') {
        return false;
    }
    const bool bracketed = text[0] == '[' && colon[-1] == ']' && colon - text > 2;
    for (const char *at = text + bracketed; at < colon - bracketed; at++) {
        if (*at <= ' ' || *at >= 0x7f || strchr("[]/@\"\\", *at) != NULL ||
            (*at == ':' && !bracketed)) {
            return false;
        }
    }
    return true;
}

bool stele_meta__is_plain(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text >= 0x7f) {
            return false;
        }
    }
    return true;
}

bool stele_meta__is_nothing(const uint8_t id[STELE_META_ID_SIZE])
{
    static const uint8_t nothing[STELE_META_ID_SIZE];
    return stele_meta__same_id(id, nothing);
}

const char *stele_meta__node_fault(const struct stele_meta_node *node)
{
    if (stele_meta__is_nothing(node->incarnation)) {
        return "a node's incarnation is not all zeros";
    }
    if (stele_meta__name_fault(node->name) != NULL) {
        return stele_meta__name_fault(node->name);
    }
    if (node->zone[0] != '\0' && stele_meta__name_fault(node->zone) != NULL) {
        return "a zone is called as a node is: letters, digits, '.', '_' and '-'";
    }
    if (!is_address(node->cluster_address)) {
        return "the address for nodes is not host:port";
    }
    if (!is_address(node->client_address)) {
        return "the address for clients is not host:port";
    }
    return stele_meta__is_plain(node->version) ? NULL
                                               : "the version of its software is no plain text";
}

const char *stele_meta__setting_fault(const struct stele_meta_setting *setting)
{
    if (!is_word(setting->key, "._-", false)) {
        return "a setting's key consists of small letters, digits, '.', '_' and '-'";
    }
    return stele_meta__is_plain(setting->value) ? NULL : "a setting's value is plain ASCII text";
}

/* ---- Looking things up ---- */

const struct stele_meta_node *stele_meta_find(const struct stele_meta *meta, uint64_t number)
{
    for (size_t i = 0; i < meta->nodes_count; i++) {
        if (meta->nodes[i].number == number) {
            return &meta->nodes[i];
        }
    }
    return NULL;
}

const struct stele_meta_node *stele_meta_find_name(const struct stele_meta *meta, const char *name)
{
    for (size_t i = 0; i < meta->nodes_count; i++) {
        if (strcmp(meta->nodes[i].name, name) == 0) {
            return &meta->nodes[i];
        }
    }
    return NULL;
}

const struct stele_meta_node *stele_meta__find_incarnation(const struct stele_meta *meta,
                                                           const uint8_t id[STELE_META_ID_SIZE])
{
    for (size_t i = 0; i < meta->nodes_count; i++) {
        if (stele_meta__same_id(meta->nodes[i].incarnation, id)) {
            return &meta->nodes[i];
        }
    }
    return NULL;
}

const struct stele_meta_node *stele_meta__find_address(const struct stele_meta *meta,
                                                       const char *address)
{
    for (size_t i = 0; i < meta->nodes_count; i++) {
        if (strcmp(meta->nodes[i].cluster_address, address) == 0) {
            return &meta->nodes[i];
        }
    }
    return NULL;
}

const struct stele_meta_removed *stele_meta__find_removed(const struct stele_meta *meta,
                                                          uint64_t number)
{
    for (size_t i = 0; i < meta->removed_count; i++) {
        if (meta->removed[i].number == number) {
            return &meta->removed[i];
        }
    }
    return NULL;
}

const struct stele_meta_removed *
stele_meta__find_removed_incarnation(const struct stele_meta *meta,
                                     const uint8_t id[STELE_META_ID_SIZE])
{
    for (size_t i = 0; i < meta->removed_count; i++) {
        if (stele_meta__same_id(meta->removed[i].incarnation, id)) {
            return &meta->removed[i];
        }
    }
    return NULL;
}

/* Where the key is, or where it would have to be. */
size_t stele_meta__setting_place(const struct stele_meta *meta, const char *key, bool *out_found)
{
    size_t place = 0;
    while (place < meta->settings_count && strcmp(meta->settings[place].key, key) < 0) {
        place++;
    }
    *out_found = place < meta->settings_count && strcmp(meta->settings[place].key, key) == 0;
    return place;
}

const char *stele_meta_setting(const struct stele_meta *meta, const char *key)
{
    bool found = false;
    const size_t place = stele_meta__setting_place(meta, key, &found);
    return found ? meta->settings[place].value : NULL;
}

size_t stele_meta_voters_count(const struct stele_meta *meta, uint32_t partition)
{
    size_t count = 0;
    while (count < STELE_META_REPLICAS_MAX && meta->voters[partition][count] != 0) {
        count++;
    }
    return count;
}

bool stele_meta_should_vote(const struct stele_meta *meta, uint32_t partition, uint64_t number)
{
    const size_t count = stele_meta_voters_count(meta, partition);
    bool votes = count == 0;
    for (size_t i = 0; i < count; i++) {
        votes = votes || meta->voters[partition][i] == number;
    }
    return votes;
}

uint64_t stele_meta_common_features(const struct stele_meta *meta)
{
    uint64_t common = UINT64_MAX;
    for (size_t i = 0; i < meta->nodes_count; i++) {
        common &= meta->nodes[i].features;
    }
    return common;
}

size_t stele_meta__count_active_but(const struct stele_meta *meta, uint64_t number)
{
    size_t count = 0;
    for (size_t i = 0; i < meta->nodes_count; i++) {
        count += meta->nodes[i].state == STELE_META_ACTIVE && meta->nodes[i].number != number;
    }
    return count;
}

/* ---- What is always true ---- */

static const char *nodes_fault(const struct stele_meta *meta)
{
    uint64_t before = 0;
    for (size_t i = 0; i < meta->nodes_count; i++) {
        const struct stele_meta_node *const node = &meta->nodes[i];
        if (node->number <= before || node->number >= meta->next_number) {
            return "T2: numbers grow and were given";
        }
        before = node->number;
        if (stele_meta__node_fault(node) != NULL) {
            return stele_meta__node_fault(node);
        }
        if (stele_meta__find_incarnation(meta, node->incarnation) != node ||
            stele_meta__find_removed_incarnation(meta, node->incarnation) != NULL) {
            return "T3: an incarnation is there once";
        }
        if (stele_meta_find_name(meta, node->name) != node ||
            stele_meta__find_address(meta, node->cluster_address) != node) {
            return "T4: names and addresses differ";
        }
        if ((node->features & meta->gates) != meta->gates) {
            return "T6: every node has the features of the gates";
        }
    }
    return stele_meta__count_active_but(meta, 0) == 0 ? "T5: somebody may lead" : NULL;
}

static const char *removed_fault(const struct stele_meta *meta)
{
    uint64_t before = 0;
    for (size_t i = 0; i < meta->removed_count; i++) {
        const struct stele_meta_removed *const gone = &meta->removed[i];
        if (gone->number <= before || gone->number >= meta->next_number ||
            stele_meta_find(meta, gone->number) != NULL) {
            return "T2: removed numbers grow, were given, and are nobody's";
        }
        before = gone->number;
        if (stele_meta__name_fault(gone->name) != NULL ||
            stele_meta__find_removed_incarnation(meta, gone->incarnation) != gone) {
            return "T3: a removed incarnation is there once";
        }
    }
    return NULL;
}

static const char *voters_fault(const struct stele_meta *meta)
{
    for (uint32_t i = 0; i < meta->partitions; i++) {
        const uint64_t *const row = meta->voters[i];
        for (size_t k = 0; k < STELE_META_REPLICAS_MAX && row[k] != 0; k++) {
            if (meta->voters_version == 0 || stele_meta_find(meta, row[k]) == NULL ||
                (k > 0 && row[k] <= row[k - 1])) {
                return "T9: voters are nodes of the table, by number";
            }
        }
    }
    return meta->voters_version <= meta->version ? NULL : "voters are not newer than the table";
}

static const char *rest_fault(const struct stele_meta *meta)
{
    for (size_t i = 0; i < meta->settings_count; i++) {
        const struct stele_meta_setting *const setting = &meta->settings[i];
        if (stele_meta__setting_fault(setting) != NULL || setting->value[0] == '\0' ||
            (i > 0 && strcmp(setting[-1].key, setting->key) >= 0)) {
            return "settings are sorted, sound and not empty";
        }
    }
    for (uint32_t i = 0; i < meta->partitions; i++) {
        const struct stele_meta_node *const node = stele_meta_find(meta, meta->leaders[i]);
        if (meta->leaders[i] != 0 && (node == NULL || node->state != STELE_META_ACTIVE)) {
            return "T7: leaders are active nodes";
        }
    }
    return meta->leaders_version <= meta->version ? voters_fault(meta)
                                                  : "leaders are not newer than the table";
}

const char *stele_meta__fault(const struct stele_meta *meta)
{
    if (meta->version == 0) {
        return meta->nodes_count + meta->removed_count + meta->settings_count == 0
                   ? NULL
                   : "nothing is there before the founding";
    }
    if (stele_meta__is_nothing(meta->cluster_id) || meta->format == 0 || meta->partitions == 0 ||
        meta->partitions > STELE_PARTITIONS_MAX || meta->partition_key > STELE_KEY_CATEGORY) {
        return "a cluster has an id, a format and partitions";
    }
    const char *fault = nodes_fault(meta);
    fault = fault == NULL ? removed_fault(meta) : fault;
    return fault == NULL ? rest_fault(meta) : fault;
}

void stele_meta_check(const struct stele_meta *meta)
{
    STELE_ASSERT(meta->nodes_count <= STELE_META_NODES_MAX);
    STELE_ASSERT(meta->removed_count <= STELE_META_REMOVED_MAX);
    STELE_ASSERT(meta->settings_count <= STELE_META_SETTINGS_MAX);
    STELE_ASSERT(stele_meta__fault(meta) == NULL);
}
