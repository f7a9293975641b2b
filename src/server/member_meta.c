/* The table of nodes, and what it asks for: commands for it on their way, and the groups that are brought
 * towards it. */
#include "server/member_internal.h"

#include <stdio.h>

#define ASK_AGAIN_US 1000000
#define ASK_END_US 15000000
#define SNAPSHOT_EVERY 64
#define ANSWER_SIZE 40 /* id, outcome, meta outcome, number, version */

/* ---- Applying ---- */

void stele_member__fail(struct stele_member *member, int outcome, const char *words)
{
    (void)pthread_mutex_lock(&member->execute_lock);
    if (atomic_load(&member->failed) == STELE_OK) {
        (void)stele_fail(&member->failure, outcome, 0, "%s", words);
        atomic_store(&member->failed, outcome);
    }
    (void)pthread_mutex_unlock(&member->execute_lock);
}

static void take_out(struct stele_member *member, struct stele_member__ask *ask)
{
    struct stele_member__ask **at = &member->asks;
    while (*at != ask) {
        at = &(*at)->next;
    }
    *at = ask->next;
}

static void answer(struct stele_member *member, struct stele_member__ask *ask,
                   const struct stele_meta_result *result, int outcome)
{
    take_out(member, ask);
    if (ask->from != 0) {
        const size_t words_size = result == NULL ? 0 : strlen(result->words);
        uint8_t bytes[ANSWER_SIZE + STELE_META_WORDS_SIZE];
        memset(bytes, 0, ANSWER_SIZE);
        stele_store_u64le(bytes, ask->from_id);
        stele_store_u32le(bytes + 8, (uint32_t)outcome);
        if (result != NULL) {
            stele_store_u32le(bytes + 12, (uint32_t)result->outcome);
            stele_store_u64le(bytes + 16, result->number);
            stele_store_u64le(bytes + 24, result->version);
            memcpy(bytes + ANSWER_SIZE, result->words, words_size);
        }
        const struct stele_bytes body = {.data = bytes, .size = ANSWER_SIZE + words_size};
        (void)stele_member__send(member, ask->from, STELE_PEERS_CONTROL, STELE_MEMBER__ANSWER,
                                 body);
    } else if (ask->join_request != 0) {
        stele_member__answer_join(member, ask->join_request, result, outcome);
    } else if (ask->on_result != NULL) {
        ask->on_result(member, ask, result, outcome);
    }
    stele_release(member->alloc, ask, ask->size);
}

/* The table as it is now, for the next start: without it the node would not know whom to ask for it. */
static bool keep_table(struct stele_member *member)
{
    const size_t size_max = 8 + STELE_META_SNAPSHOT_SIZE_MAX;
    uint8_t *bytes = stele_allocate(member->alloc, size_max);
    if (bytes == NULL) {
        return false;
    }
    stele_store_u64le(bytes, member->meta_applied);
    const size_t size = 8 + stele_meta_encode(member->meta, bytes + 8);
    struct stele_error err = {.outcome = STELE_OK};
    const int outcome = stele_identity_put(member->config.store_path, "table", bytes, size, &err);
    if (outcome != STELE_OK) {
        stele_member__log(member, STELE_SERVER_ERROR, "%s", err.message);
    }
    stele_release(member->alloc, bytes, size_max);
    return outcome == STELE_OK;
}

int stele_member__table_read(struct stele_member *member, struct stele_error *err)
{
    const size_t size_max = 8 + STELE_META_SNAPSHOT_SIZE_MAX;
    uint8_t *bytes = stele_allocate(member->alloc, size_max);
    size_t size = 0;
    if (bytes == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "cluster: no memory");
    }
    int outcome =
        stele_identity_get(member->config.store_path, "table", bytes, size_max, &size, err);
    if (outcome == STELE_OK) {
        const struct stele_bytes table = {.data = bytes + 8, .size = size - 8};
        if (size < 8 || stele_meta_decode(table, member->meta) != STELE_OK) {
            outcome = stele_fail(err, STELE_E_CORRUPT, 0,
                                 "cluster/table is no table of nodes; remove the file if this is "
                                 "the only node, otherwise let a new node replace this one");
        } else {
            member->meta_applied = stele_load_u64le(bytes);
            member->meta_snapshot = member->meta_applied;
            member->peers_version = member->meta->version;
        }
    }
    stele_release(member->alloc, bytes, size_max);
    return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
}

static void table_changed(struct stele_member *member)
{
    if (member->meta->version >= member->peers_version) {
        member->peers_version = member->meta->version;
        stele_member__peers_set(member);
        (void)keep_table(member);
    }
    member->table_changed = true;
    if (stele_meta_find(member->meta, member->identity.number) == NULL) {
        for (size_t i = 0; i < member->meta->removed_count; i++) {
            if (member->meta->removed[i].number == member->identity.number) {
                stele_member__fail(member, STELE_E_CLOSED,
                                   "it was removed from the cluster; its store can still be read");
            }
        }
    }
}

void stele_member__on_meta(void *context, uint64_t index, bool own, uint64_t id,
                           struct stele_bytes body)
{
    struct stele_member *member = context;
    struct stele_meta_result result = {.outcome = STELE_META_DONE};
    if (index <= member->meta_applied) {
        return; /* The table that was kept has it. */
    }
    if (member->meta_applied == 0) {
        stele_meta_init(member->meta); /* What joining was answered with ends here. */
    }
    const uint64_t version = member->meta->version;
    const int outcome = stele_meta_apply(member->meta, body, &result);
    if (outcome != STELE_OK) {
        stele_member__fail(
            member, outcome,
            outcome == STELE_E_FORMAT
                ? "the cluster decided something that this version does not know: upgrade it"
                : "the table of nodes cannot be read");
        return;
    }
    member->meta_applied = index;
    if (member->meta->version != version) {
        table_changed(member);
    }
    for (struct stele_member__ask *ask = own ? member->asks : NULL; ask != NULL; ask = ask->next) {
        if (ask->entry_id == id) {
            answer(member, ask, &result, STELE_OK);
            break;
        }
    }
}

void stele_member__on_meta_installed(void *context, uint64_t index, struct stele_bytes data)
{
    struct stele_member *member = context;
    if (stele_meta_decode(data, member->meta) != STELE_OK) {
        stele_member__fail(member, STELE_E_CORRUPT,
                           "the table of nodes that another node sent cannot be read");
        return;
    }
    member->meta_applied = index;
    table_changed(member);
}

/* ---- Asking ---- */

struct stele_member__ask *stele_member__ask_create(struct stele_member *member,
                                                   const struct stele_meta_command *command)
{
    uint8_t *bytes = stele_allocate(member->alloc, STELE_META_COMMAND_SIZE_MAX);
    struct stele_member__ask *ask = NULL;
    if (bytes != NULL) {
        const size_t size = stele_meta_command_encode(command, bytes);
        ask = stele_allocate_zeroed(member->alloc, sizeof *ask + size);
        if (ask != NULL) {
            ask->size = sizeof *ask + size;
            memcpy(ask->bytes, bytes, size);
        }
        stele_release(member->alloc, bytes, STELE_META_COMMAND_SIZE_MAX);
    }
    return ask;
}

void stele_member__ask(struct stele_member *member, struct stele_member__ask *ask)
{
    ask->id = member->next_ask++;
    ask->since_us = stele_member__now_us(member);
    ask->next = NULL;
    struct stele_member__ask **last = &member->asks;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = ask;
}

static struct stele_bytes bytes_of(const struct stele_member__ask *ask)
{
    return (struct stele_bytes){.data = ask->bytes, .size = ask->size - sizeof *ask};
}

static void submit(struct stele_member *member, struct stele_member__ask *ask)
{
    struct stele_meta_command *command = stele_allocate(member->alloc, sizeof *command);
    struct stele_meta_result result = {.outcome = STELE_META_INVALID};
    if (command == NULL || stele_meta_command_decode(bytes_of(ask), command) != STELE_OK) {
        answer(member, ask, NULL, command == NULL ? STELE_E_NO_MEMORY : STELE_E_INVALID);
    } else {
        stele_meta_judge_command(member->meta, command, &result);
        if (result.outcome != STELE_META_DONE) {
            answer(member, ask, &result, STELE_OK);
        } else if (stele_replica_propose_meta(member->replica, bytes_of(ask), &ask->entry_id) ==
                   STELE_OK) {
            ask->sent = true;
            ask->sent_us = stele_member__now_us(member);
            stele_member__want_turn(member);
        }
    }
    if (command != NULL) {
        stele_release(member->alloc, command, sizeof *command);
    }
}

static void forward(struct stele_member *member, struct stele_member__ask *ask)
{
    uint8_t id[8];
    const uint8_t header[STELE_MEMBER__HEADER] = {STELE_MEMBER__ASK, 1};
    stele_store_u64le(id, ask->id);
    const struct stele_bytes parts[] = {
        {.data = header, .size = sizeof header}, {.data = id, .size = sizeof id}, bytes_of(ask)};
    if (stele_peers_send_parts(member->peers, member->meta_leader, STELE_PEERS_CONTROL, parts, 3) ==
        STELE_OK) {
        ask->sent = true;
        ask->sent_us = stele_member__now_us(member);
    }
}

void stele_member__asks_work(struct stele_member *member)
{
    const int64_t now_us = stele_member__now_us(member);
    struct stele_member__ask *next = NULL;
    for (struct stele_member__ask *ask = member->asks; ask != NULL; ask = next) {
        next = ask->next;
        if (now_us - ask->since_us > ASK_END_US) {
            answer(member, ask, NULL, ask->sent ? STELE_E_UNKNOWN : STELE_E_OVERLOADED);
            continue;
        }
        if (ask->sent && now_us - ask->sent_us < ASK_AGAIN_US) {
            continue;
        }
        if (member->meta_leader == member->identity.number) {
            submit(member, ask);
        } else if (ask->from != 0) {
            answer(member, ask, NULL, STELE_NOT_FOUND); /* Who asked asks the one that leads now. */
        } else if (member->meta_leader != 0) {
            forward(member, ask);
        }
    }
}

void stele_member__on_ask(struct stele_member *member, uint64_t from, struct stele_bytes message)
{
    if (message.size < 8 || message.size > 8 + STELE_META_COMMAND_SIZE_MAX) {
        return;
    }
    struct stele_member__ask *ask =
        stele_allocate_zeroed(member->alloc, sizeof *ask + message.size - 8);
    if (ask == NULL) {
        return;
    }
    ask->size = sizeof *ask + message.size - 8;
    ask->from = from;
    ask->from_id = stele_load_u64le(message.data);
    memcpy(ask->bytes, message.data + 8, message.size - 8);
    for (const struct stele_member__ask *same = member->asks; same != NULL; same = same->next) {
        if (same->from == from && same->from_id == ask->from_id) {
            stele_release(member->alloc, ask, ask->size); /* Asked again. */
            return;
        }
    }
    stele_member__ask(member, ask);
}

void stele_member__on_answer(struct stele_member *member, uint64_t from, struct stele_bytes message)
{
    (void)from;
    if (message.size < ANSWER_SIZE || message.size >= ANSWER_SIZE + STELE_META_WORDS_SIZE) {
        return;
    }
    const uint64_t id = stele_load_u64le(message.data);
    const int outcome = (int)stele_load_u32le(message.data + 8);
    struct stele_meta_result result = {
        .outcome = (enum stele_meta_outcome)stele_load_u32le(message.data + 12),
        .number = stele_load_u64le(message.data + 16),
        .version = stele_load_u64le(message.data + 24),
    };
    memcpy(result.words, message.data + ANSWER_SIZE, message.size - ANSWER_SIZE);
    for (struct stele_member__ask *ask = member->asks; ask != NULL; ask = ask->next) {
        if (ask->id != id || ask->from != 0) {
            continue;
        }
        if (outcome == STELE_NOT_FOUND) {
            ask->sent = false; /* It does not lead any more. */
            ask->sent_us = 0;
        } else {
            answer(member, ask, outcome == STELE_OK ? &result : NULL, outcome);
        }
        return;
    }
}

void stele_member__asks_end(struct stele_member *member)
{
    while (member->asks != NULL) {
        answer(member, member->asks, NULL, member->asks->sent ? STELE_E_UNKNOWN : STELE_E_CLOSED);
    }
}

/* ---- Joining ---- */

/* The answer: outcome, number, then the words of a refusal, or the table. */
void stele_member__answer_join(struct stele_member *member, uint64_t request,
                               const struct stele_meta_result *result, int outcome)
{
    enum { HEADER = 16 };
    const size_t size_max = HEADER + STELE_META_SNAPSHOT_SIZE_MAX;
    uint8_t *bytes = stele_allocate(member->alloc, size_max);
    if (bytes == NULL) {
        return; /* It asks again. */
    }
    size_t size = HEADER;
    memset(bytes, 0, HEADER);
    bytes[0] = 1;
    if (result == NULL) {
        stele_store_u32le(bytes + 4, (uint32_t)outcome);
    } else if (result->outcome == STELE_META_NOT_FOUNDED) {
        /* Nodes are often started at the same time: it asks again. */
        stele_store_u32le(bytes + 4, (uint32_t)STELE_E_OVERLOADED);
    } else if (result->outcome == STELE_META_DONE || result->outcome == STELE_META_SAME) {
        stele_store_u64le(bytes + 8, result->number);
        size += stele_meta_encode(member->meta, bytes + HEADER);
    } else {
        /* A node that has just been lost answers a moment longer, to those who look. */
        const bool may_pass =
            result->outcome == STELE_META_STILL_ALIVE || result->outcome == STELE_META_NO_QUORUM;
        stele_store_u32le(bytes + 4,
                          (uint32_t)(may_pass ? STELE_INCOMPLETE : STELE_CONDITION_FAILED));
        memcpy(bytes + HEADER, result->words, strlen(result->words));
        size += strlen(result->words);
    }
    const struct stele_bytes body = {.data = bytes, .size = size};
    const int answered = stele_peers_answer(member->peers, request, body);
    (void)answered; /* Who asked is gone. */
    stele_release(member->alloc, bytes, size_max);
}

/* ---- Looking after ---- */

static void describe_self(struct stele_member *member, struct stele_meta_node *node)
{
    *node = (struct stele_meta_node){.starts = stele_member__start(member)->starts,
                                     .boot = stele_member__start(member)->boot,
                                     .features = member->features};
    memcpy(node->incarnation, member->identity.incarnation, sizeof node->incarnation);
    (void)snprintf(node->name, sizeof node->name, "%s", member->identity.name);
    (void)snprintf(node->zone, sizeof node->zone, "%s", member->identity.zone);
    (void)snprintf(node->cluster_address, sizeof node->cluster_address, "%s",
                   member->identity.address);
    (void)snprintf(node->client_address, sizeof node->client_address, "%s",
                   member->client_address == NULL ? "" : member->client_address);
    (void)snprintf(node->version, sizeof node->version, "%s", member->version);
}

/* A node whose disk is not what the cluster knows must not speak for it any more. */
static void on_own_result(struct stele_member *member, struct stele_member__ask *ask,
                          const struct stele_meta_result *result, int outcome)
{
    (void)ask;
    if (outcome == STELE_OK && result != NULL &&
        (result->outcome == STELE_META_CLONED || result->outcome == STELE_META_WIPED ||
         result->outcome == STELE_META_ROLLED_BACK || result->outcome == STELE_META_REMOVED)) {
        stele_member__fail(member, STELE_E_CLOSED, result->words);
    }
}

static void ask_about_self(struct stele_member *member, enum stele_meta_kind kind)
{
    struct stele_meta_command *command = stele_allocate_zeroed(member->alloc, sizeof *command);
    if (command == NULL) {
        return;
    }
    command->kind = kind;
    command->number = member->identity.number;
    command->past = member->identity.past;
    command->format = STELE_META_FORMAT;
    command->partitions = member->identity.partitions;
    command->partition_key = member->identity.partition_key;
    memcpy(command->cluster_id, member->identity.cluster_id, sizeof command->cluster_id);
    describe_self(member, &command->node);
    (void)snprintf(command->setting.key, sizeof command->setting.key, "%s",
                   STELE_META_REPLICATION_FACTOR);
    (void)snprintf(command->setting.value, sizeof command->setting.value, "%u",
                   member->identity.replication_factor);
    struct stele_member__ask *ask = stele_member__ask_create(member, command);
    stele_release(member->alloc, command, sizeof *command);
    if (ask != NULL) {
        ask->on_result = on_own_result;
        stele_member__ask(member, ask);
        stele_member__asks_work(member);
    }
}

/* What `stele cluster init` was told, as long as nobody has said anything else since. */
static bool is_to_set_replicas(struct stele_member *member)
{
    return member->identity.founder && member->identity.replication_factor > 0 &&
           (member->identity.starts == 1 || member->meta->nodes_count == 1) &&
           stele_meta_setting(member->meta, STELE_META_REPLICATION_FACTOR) == NULL;
}

static void look_after_self(struct stele_member *member)
{
    const int64_t now_us = stele_member__now_us(member);
    if (member->asks != NULL || now_us - member->updated_us < 1000000) {
        return;
    }
    if (member->meta->version == 0) {
        if (member->identity.founder && member->meta_leader == member->identity.number) {
            member->updated_us = now_us;
            ask_about_self(member, STELE_META_FOUND);
        }
        return;
    }
    const struct stele_meta_node *own = stele_meta_find(member->meta, member->identity.number);
    if (own == NULL || member->meta_leader == 0) {
        return;
    }
    if (is_to_set_replicas(member)) {
        member->updated_us = now_us;
        ask_about_self(member, STELE_META_SET);
        return;
    }
    struct stele_meta_node now;
    describe_self(member, &now);
    if (own->boot != now.boot || own->starts != now.starts ||
        strcmp(own->client_address, now.client_address) != 0 ||
        strcmp(own->cluster_address, now.cluster_address) != 0 || own->features != now.features ||
        strcmp(own->version, now.version) != 0) {
        member->updated_us = now_us;
        ask_about_self(member, (member->meta->gates & STELE_META_FEATURE_PAST) != 0
                                   ? STELE_META_START
                                   : STELE_META_UPDATE);
        return;
    }
    struct stele_replica_counts counts;
    stele_replica_counts(member->replica, &counts);
    if (own->state == STELE_META_JOINING && !counts.fetching && stele_member__is_placed(member)) {
        member->updated_us = now_us;
        ask_about_self(member, STELE_META_ACTIVATE);
    }
}

void stele_member__look_after(struct stele_member *member)
{
    look_after_self(member);
    if (member->meta->version > 0) {
        stele_member__raise_gates(member);
        stele_member__place(member);
    }
    if (member->meta_applied >= member->meta_snapshot + SNAPSHOT_EVERY &&
        member->meta->version >= member->peers_version && keep_table(member)) {
        uint8_t *bytes = stele_allocate(member->alloc, STELE_META_SNAPSHOT_SIZE_MAX);
        if (bytes != NULL) {
            const struct stele_bytes data = {.data = bytes,
                                             .size = stele_meta_encode(member->meta, bytes)};
            if (stele_replica_meta_snapshot(member->replica, member->meta_applied, data, NULL) ==
                STELE_OK) {
                member->meta_snapshot = member->meta_applied;
            }
            stele_release(member->alloc, bytes, STELE_META_SNAPSHOT_SIZE_MAX);
        }
    }
    if (member->table_changed) {
        member->table_changed = false;
        stele_member__view_refresh(member);
    }
}
