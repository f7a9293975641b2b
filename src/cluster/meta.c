/* What commands change. Every command has a judge (meta_judge.c), which only looks, and a deed, here,
 * which cannot fail. */
#include "cluster/meta_internal.h"

static struct stele_meta_node *find_to_change(struct stele_meta *meta, uint64_t number)
{
    const struct stele_meta_node *const node = stele_meta_find(meta, number);
    STELE_ASSERT(node != NULL); /* The judge has seen it. */
    return &meta->nodes[node - meta->nodes];
}

/* ---- Deeds: only after the judge said DONE ---- */

static void add_node(struct stele_meta *meta, const struct stele_meta_node *newcomer,
                     enum stele_meta_state state)
{
    STELE_ASSERT(meta->nodes_count < STELE_META_NODES_MAX);
    struct stele_meta_node *const node = &meta->nodes[meta->nodes_count++];
    *node = *newcomer;
    node->number = meta->next_number++;
    node->state = state;
}

/* Whoever cannot lead any more is nobody's first choice. */
static void forget_leader(struct stele_meta *meta, uint64_t number)
{
    for (uint32_t i = 0; i < meta->partitions; i++) {
        if (meta->leaders[i] == number) {
            meta->leaders[i] = 0;
            meta->leaders_version = meta->version;
        }
    }
}

static void forget_voter(struct stele_meta *meta, uint64_t number)
{
    for (uint32_t i = 0; i < meta->partitions; i++) {
        uint64_t *const row = meta->voters[i];
        size_t kept = 0;
        for (size_t k = 0; k < STELE_META_REPLICAS_MAX; k++) {
            if (row[k] != 0 && row[k] != number) {
                row[kept++] = row[k];
            }
        }
        while (kept < STELE_META_REPLICAS_MAX) {
            row[kept++] = 0;
        }
    }
}

static void remember_removed(struct stele_meta *meta, const struct stele_meta_node *node)
{
    if (meta->removed_count == STELE_META_REMOVED_MAX) {
        meta->removed_count--;
        memmove(&meta->removed[0], &meta->removed[1],
                meta->removed_count * sizeof(meta->removed[0]));
    }
    size_t place = meta->removed_count;
    while (place > 0 && meta->removed[place - 1].number > node->number) {
        place--;
    }
    memmove(&meta->removed[place + 1], &meta->removed[place],
            (meta->removed_count - place) * sizeof(meta->removed[0]));
    meta->removed_count++;
    struct stele_meta_removed *const gone = &meta->removed[place];
    *gone = (struct stele_meta_removed){.number = node->number};
    memcpy(gone->incarnation, node->incarnation, sizeof(gone->incarnation));
    memcpy(gone->name, node->name, sizeof(gone->name));
}

static void remove_node(struct stele_meta *meta, uint64_t number)
{
    struct stele_meta_node *const node = find_to_change(meta, number);
    forget_leader(meta, number);
    forget_voter(meta, number);
    remember_removed(meta, node);
    const size_t place = (size_t)(node - meta->nodes);
    meta->nodes_count--;
    memmove(node, node + 1, (meta->nodes_count - place) * sizeof(*node));
}

static void set_setting(struct stele_meta *meta, const struct stele_meta_setting *setting)
{
    bool found = false;
    const size_t place = stele_meta__setting_place(meta, setting->key, &found);
    struct stele_meta_setting *const at = &meta->settings[place];
    if (setting->value[0] == '\0') {
        meta->settings_count--;
        memmove(at, at + 1, (meta->settings_count - place) * sizeof(*at));
        return;
    }
    if (!found) {
        memmove(at + 1, at, (meta->settings_count - place) * sizeof(*at));
        meta->settings_count++;
    }
    *at = *setting;
}

static void do_found(struct stele_meta *meta, const struct stele_meta_command *command)
{
    memcpy(meta->cluster_id, command->cluster_id, sizeof(meta->cluster_id));
    meta->format = command->format;
    meta->partitions = command->partitions;
    meta->partition_key = command->partition_key;
    meta->next_number = 1;
    add_node(meta, &command->node, STELE_META_ACTIVE);
}

static void do_update(struct stele_meta *meta, const struct stele_meta_command *command)
{
    struct stele_meta_node *const node = find_to_change(meta, command->number);
    const enum stele_meta_state state = node->state;
    *node = command->node;
    node->number = command->number;
    node->state = state;
}

static void do_place(struct stele_meta *meta, const struct stele_meta_command *command)
{
    for (uint32_t i = 0; i < meta->partitions; i++) {
        for (size_t k = 0; k < STELE_META_REPLICAS_MAX; k++) {
            const unsigned place = command->voters[i][k];
            meta->voters[i][k] = place == 0 ? 0 : meta->nodes[place - 1].number;
        }
    }
    meta->voters_version = meta->version;
}

static void do_command(struct stele_meta *meta, const struct stele_meta_command *command)
{
    meta->version++;
    switch (command->kind) {
    case STELE_META_FOUND:
        do_found(meta, command);
        break;
    case STELE_META_JOIN:
        add_node(meta, &command->node, STELE_META_JOINING);
        break;
    case STELE_META_ACTIVATE:
    case STELE_META_UNDRAIN:
        find_to_change(meta, command->number)->state = STELE_META_ACTIVE;
        break;
    case STELE_META_DRAIN:
        find_to_change(meta, command->number)->state = STELE_META_DRAINING;
        forget_leader(meta, command->number);
        break;
    case STELE_META_REMOVE:
        remove_node(meta, command->number);
        break;
    case STELE_META_REPLACE:
        remove_node(meta, command->number);
        add_node(meta, &command->node, STELE_META_JOINING);
        break;
    case STELE_META_UPDATE:
    case STELE_META_START:
        do_update(meta, command);
        break;
    case STELE_META_GATE:
        meta->gates |= command->features;
        break;
    case STELE_META_SET:
        set_setting(meta, &command->setting);
        break;
    case STELE_META_PREFER:
        memcpy(meta->leaders, command->leaders, meta->partitions * sizeof(meta->leaders[0]));
        meta->leaders_version = meta->version;
        break;
    case STELE_META_PLACE:
        do_place(meta, command);
        break;
    }
}

void stele_meta_init(struct stele_meta *meta)
{
    memset(meta, 0, sizeof(*meta));
}

int stele_meta_apply(struct stele_meta *meta, struct stele_bytes entry,
                     struct stele_meta_result *out_result)
{
    if (entry.size == 0) {
        *out_result =
            (struct stele_meta_result){.outcome = STELE_META_SAME, .version = meta->version};
        return STELE_OK;
    }
    struct stele_meta_command command;
    const int outcome = stele_meta_command_decode(entry, &command);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_meta_result result;
    stele_meta_judge_command(meta, &command, &result);
    if (result.outcome == STELE_META_DONE) {
        do_command(meta, &command);
        STELE_ASSERT(result.version == meta->version);
        stele_meta_check(meta);
    }
    *out_result = result;
    return STELE_OK;
}
