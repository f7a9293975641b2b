/* How a node gets its number: it asks the cluster's nodes one after the other, before its store is opened. */
#include "server/member_internal.h"

#include <stdio.h>

#define PAUSE_US 1000000
#define WAITS_MAX 10

struct joining {
    const struct stele_member_config *config;
    struct stele_identity *identity;
    struct stele_alloc *alloc;
    struct stele_linux_loop *loop;
    struct stele_loop *base;
    struct stele_peers *peers;
    struct stele_timer timer;
    size_t seed;
    uint32_t waited; /* Refusals that may pass. */
    size_t refusals; /* In a row, that asking again would not change. */
    int outcome;
    struct stele_error *err;
};

static void say(struct joining *joining, enum stele_server_log level, const char *seed,
                const char *words)
{
    char text[512];
    (void)snprintf(text, sizeof text, "joining through %s: %s", seed, words);
    if (joining->config->on_log != NULL) {
        joining->config->on_log(joining->config->context, level, text);
    }
}

static void finish(struct joining *joining, int outcome)
{
    joining->outcome = outcome;
    stele_linux_loop_stop(joining->loop);
}

static void next_seed(struct joining *joining)
{
    joining->seed = (joining->seed + 1) % joining->identity->seeds_count;
    joining->base->ops->timer_start(joining->base, &joining->timer,
                                    stele_loop_now_us(joining->base) + PAUSE_US);
}

static void take_number(struct joining *joining, struct stele_bytes answer)
{
    struct stele_identity *identity = joining->identity;
    const char *seed = identity->seeds[joining->seed];
    struct stele_meta *meta = stele_allocate(joining->alloc, sizeof *meta);
    const struct stele_bytes table = stele_bytes_slice(answer, 16, answer.size - 16);
    if (meta == NULL || stele_meta_decode(table, meta) != STELE_OK) {
        say(joining, STELE_SERVER_ERROR, seed, "the answer is no table of nodes");
        next_seed(joining);
    } else {
        identity->number = stele_load_u64le(answer.data + 8);
        identity->partitions = meta->partitions;
        identity->partition_key = meta->partition_key;
        memcpy(identity->cluster_id, meta->cluster_id, sizeof identity->cluster_id);
        const size_t size = 8 + table.size;
        uint8_t *kept = stele_allocate_zeroed(joining->alloc, size);
        int outcome = STELE_E_NO_MEMORY;
        if (kept != NULL) {
            memcpy(kept + 8, table.data, table.size); /* Index 0: the log tells it again. */
            outcome =
                stele_identity_put(joining->config->store_path, "table", kept, size, joining->err);
            stele_release(joining->alloc, kept, size);
        }
        if (outcome == STELE_OK) {
            outcome = stele_identity_write(joining->config->store_path, identity, joining->err);
        }
        finish(joining, outcome);
    }
    if (meta != NULL) {
        stele_release(joining->alloc, meta, sizeof *meta);
    }
}

static void on_answer(void *context, const struct stele_peers_why *why, struct stele_bytes answer)
{
    struct joining *joining = context;
    const char *seed = joining->identity->seeds[joining->seed];
    if (why != NULL) {
        say(joining, STELE_SERVER_WARNING, seed, why->words);
        /* Nothing that passes. Another seed may be a node of the right cluster. */
        const bool is_final =
            why->refusal == STELE_PEERS_WRONG_CLUSTER || why->refusal == STELE_PEERS_WRONG_VERSION;
        joining->refusals = is_final ? joining->refusals + 1 : 0;
        if (joining->refusals == joining->identity->seeds_count) {
            finish(joining, stele_fail(joining->err, STELE_E_INVALID, 0,
                                       "the cluster refuses this node: %s: %s; see whether that is "
                                       "the right address, or begin with an empty directory",
                                       seed, why->words));
            return;
        }
        next_seed(joining);
        return;
    }
    joining->refusals = 0;
    if (answer.size < 16 || answer.data[0] != 1) {
        say(joining, STELE_SERVER_WARNING, seed, "it cannot say now");
        next_seed(joining);
        return;
    }
    const int outcome = (int)stele_load_u32le(answer.data + 4);
    if (outcome == STELE_OK) {
        take_number(joining, answer);
    } else if (outcome == STELE_INCOMPLETE && ++joining->waited < WAITS_MAX) {
        char words[STELE_META_WORDS_SIZE];
        (void)snprintf(words, sizeof words, "%.*s", (int)(answer.size - 16),
                       (const char *)answer.data + 16);
        say(joining, STELE_SERVER_WARNING, seed, words);
        next_seed(joining);
    } else if (outcome == STELE_CONDITION_FAILED || outcome == STELE_INCOMPLETE) {
        /* The cluster has decided. */
        finish(joining,
               stele_fail(joining->err, STELE_E_INVALID, 0, "the cluster refuses this node: %.*s",
                          (int)(answer.size - 16), (const char *)answer.data + 16));
    } else {
        say(joining, STELE_SERVER_WARNING, seed, "no majority of the cluster answers it");
        next_seed(joining);
    }
}

static void ask(struct stele_timer *timer)
{
    struct joining *joining =
        (struct joining *)(void *)((uint8_t *)timer - offsetof(struct joining, timer));
    const struct stele_identity *identity = joining->identity;
    struct stele_meta_command *command = stele_allocate_zeroed(joining->alloc, sizeof *command);
    uint8_t *bytes = stele_allocate(joining->alloc, STELE_META_COMMAND_SIZE_MAX);
    char host[256];
    uint16_t port = 0;
    if (command == NULL || bytes == NULL) {
        finish(joining, stele_fail(joining->err, STELE_E_NO_MEMORY, 0, "no memory"));
    } else if (!stele_member__split_address(identity->seeds[joining->seed], host, &port)) {
        finish(joining, stele_fail(joining->err, STELE_E_INVALID, 0, "the seed %s is not host:port",
                                   identity->seeds[joining->seed]));
    } else {
        command->kind = identity->replaces == 0 ? STELE_META_JOIN : STELE_META_REPLACE;
        command->number = identity->replaces;
        command->format = STELE_META_FORMAT;
        command->partitions = identity->partitions;
        command->partition_key = identity->partition_key;
        memcpy(command->cluster_id, identity->cluster_id, sizeof command->cluster_id);
        command->node.features = STELE_META_FEATURES & joining->config->features;
        memcpy(command->node.incarnation, identity->incarnation, 16);
        (void)snprintf(command->node.name, sizeof command->node.name, "%s", identity->name);
        (void)snprintf(command->node.zone, sizeof command->node.zone, "%s", identity->zone);
        (void)snprintf(command->node.cluster_address, sizeof command->node.cluster_address, "%s",
                       identity->address);
        (void)snprintf(command->node.client_address, sizeof command->node.client_address, "%s",
                       identity->client_address);
        (void)snprintf(command->node.version, sizeof command->node.version, "%s", stele_version());
        const struct stele_bytes question = {.data = bytes,
                                             .size = stele_meta_command_encode(command, bytes)};
        if (stele_peers_ask(joining->peers, host, port, question, on_answer, joining, NULL) !=
            STELE_OK) {
            next_seed(joining);
        }
    }
    stele_release(joining->alloc, command, sizeof *command);
    stele_release(joining->alloc, bytes, STELE_META_COMMAND_SIZE_MAX);
}

static enum stele_peers_refusal on_hello(void *context, const struct stele_peers_hello *hello,
                                         bool incoming, const char *address, char *words,
                                         size_t words_size)
{
    (void)context;
    (void)hello;
    (void)address;
    (void)words;
    (void)words_size;
    return incoming ? STELE_PEERS_NOT_NOW : STELE_PEERS_ACCEPT;
}

static void on_frame(void *context, uint64_t node, enum stele_peers_lane lane,
                     struct stele_bytes bytes)
{
    (void)context;
    (void)node;
    (void)lane;
    (void)bytes;
}

static void on_lane(void *context, uint64_t node, enum stele_peers_lane lane)
{
    (void)context;
    (void)node;
    (void)lane;
}

static void on_down(void *context, uint64_t node, enum stele_peers_lane lane,
                    const struct stele_peers_why *why)
{
    (void)context;
    (void)node;
    (void)lane;
    (void)why;
}

static void on_join(void *context, uint64_t request, const struct stele_peers_hello *hello,
                    struct stele_bytes bytes)
{
    (void)context;
    (void)request;
    (void)hello;
    (void)bytes;
}

int stele_member_join(const struct stele_member_config *config, struct stele_identity *identity,
                      struct stele_alloc *alloc, struct stele_error *err)
{
    static const struct stele_peers_events events = {.on_hello = on_hello,
                                                     .on_frame = on_frame,
                                                     .on_up = on_lane,
                                                     .on_down = on_down,
                                                     .on_room = on_lane,
                                                     .on_join = on_join};
    struct joining joining = {.config = config,
                              .identity = identity,
                              .alloc = alloc,
                              .err = err,
                              .timer = {.on_due = ask}};
    if (identity->seeds_count == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "joining: no seed is known");
    }
    int outcome = stele_linux_loop_create(alloc, &joining.loop, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    joining.base = stele_linux_loop_base(joining.loop);
    const struct stele_peers_tls_files tls = {
        .certificate = config->tls_certificate, .key = config->tls_key, .ca = config->tls_ca};
    struct stele_peers_options options = stele_peers_options_default();
    memcpy(options.cluster_id, identity->cluster_id, 16);
    memcpy(options.incarnation, identity->incarnation, 16);
    options.name = identity->name;
    options.tls = config->tls_certificate == NULL ? NULL : &tls;
    options.insecure = config->insecure;
    options.join_ms = 20000;
    outcome = stele_peers_create(joining.loop, &options, &events, &joining, &joining.peers, err);
    if (outcome == STELE_OK) {
        joining.base->ops->timer_start(joining.base, &joining.timer,
                                       stele_loop_now_us(joining.base));
        stele_linux_loop_run(joining.loop);
        outcome = joining.outcome;
    }
    stele_peers_destroy(joining.peers);
    stele_linux_loop_destroy(joining.loop);
    return outcome;
}
