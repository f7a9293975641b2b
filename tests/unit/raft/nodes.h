/* A few nodes with their disks in memory and a network that loses what it is told to lose. Time is a number that the
 * test advances; every write is durable at once unless a node's disk is held. One thread, no surprises: surprises
 * are what tests/sim/raft is for. */
#ifndef STELE_TESTS_UNIT_RAFT_NODES_H
#define STELE_TESTS_UNIT_RAFT_NODES_H

#include "lib/check.h"
#include "lib/memio.h"
#include "lib/testalloc.h"
#include "raft/raft.h"

#define NODES_MAX 8
#define GROUPS_MAX 4
#define TOLD_MAX 8192
#define TERMS_MAX 4096

struct told {
    uint64_t index, term;
    uint64_t value; /* First bytes of the payload; 0: empty. */
    size_t size;
};

struct node {
    struct nodes *all;
    uint64_t number;
    struct memio disk;
    struct stele_raft *raft;
    bool disk_held;
    struct told told[GROUPS_MAX][TOLD_MAX];
    size_t told_count[GROUPS_MAX];
    uint64_t stored_count;
    uint64_t installs;
    uint64_t install_index[GROUPS_MAX];
    uint64_t install_value[GROUPS_MAX];
    uint64_t changes;
    int failed;
};

struct flying {
    struct flying *next;
    uint64_t from, to;
    size_t size;
    uint8_t data[];
};

struct nodes {
    struct testalloc alloc;
    struct stele_raft_options options;
    struct node nodes[NODES_MAX + 1]; /* From 1 on. */
    uint64_t count;
    uint64_t founders[NODES_MAX];
    size_t founders_count;
    uint64_t cut; /* Nodes that nobody hears and that hear nobody, as bits. */
    struct flying *flying, **flying_end;
    uint64_t frames;
    int64_t now_ms;
    uint64_t leaders[GROUPS_MAX][TERMS_MAX]; /* By term, as anybody was told; 0: nobody was. */
};

static inline void on_send(void *context, uint64_t to, struct stele_bytes frame)
{
    struct node *const node = context;
    struct nodes *const all = node->all;
    struct flying *const flying = malloc(sizeof *flying + frame.size);
    CHECK(flying != NULL);
    flying->next = NULL;
    flying->from = node->number;
    flying->to = to;
    flying->size = frame.size;
    memcpy(flying->data, frame.data, frame.size);
    *all->flying_end = flying;
    all->flying_end = &flying->next;
    all->frames++;
}

static inline uint64_t value_of(struct stele_bytes payload)
{
    return payload.size >= 8 ? stele_load_u64le(payload.data) : 0;
}

static inline void on_stored(void *context, uint32_t group, const struct stele_raft_entry *entry)
{
    struct node *const node = context;
    (void)group;
    CHECK(entry->payload.size > 0);
    node->stored_count++;
}

static inline void on_committed(void *context, uint32_t group, const struct stele_raft_entry *entry)
{
    struct node *const node = context;
    const size_t count = node->told_count[group];
    CHECK(count < TOLD_MAX);
    if (count > 0) {
        CHECK_EQ(entry->index, node->told[group][count - 1].index + 1);
        CHECK(entry->term >= node->told[group][count - 1].term);
    }
    node->told[group][count] =
        (struct told){entry->index, entry->term, value_of(entry->payload), entry->payload.size};
    node->told_count[group]++;
}

static inline void on_changed(void *context, uint32_t group, const struct stele_raft_status *status)
{
    struct node *const node = context;
    CHECK(status->term < TERMS_MAX);
    uint64_t *const leader = &node->all->leaders[group][status->term];
    if (status->leader != 0 && *leader != 0) {
        CHECK_EQ(status->leader, *leader); /* A term has one, whoever asks and whenever. */
    }
    *leader = status->leader != 0 ? status->leader : *leader;
    node->changes++;
}

static inline void on_install(void *context, uint32_t group, uint64_t from, uint64_t index,
                              uint64_t term, struct stele_bytes data)
{
    struct node *const node = context;
    (void)from;
    (void)term;
    node->installs++;
    node->install_index[group] = index;
    node->install_value[group] = value_of(data);
}

static inline int node_open(struct node *node, struct stele_error *err)
{
    static const struct stele_raft_env env = {.send = on_send,
                                              .stored = on_stored,
                                              .committed = on_committed,
                                              .changed = on_changed,
                                              .install = on_install};
    struct nodes *const all = node->all;
    struct stele_raft_options options = all->options;
    options.node = node->number;
    options.wal.owner_id[0] = (uint8_t)node->number;
    options.founders = all->founders;
    options.founders_count = 0;
    for (size_t i = 0; i < all->founders_count; i++) {
        if (all->founders[i] == node->number) {
            options.founders_count = all->founders_count;
        }
    }
    memset(node->told_count, 0, sizeof node->told_count);
    node->failed = STELE_OK;
    return stele_raft_open(&node->disk.io, &options, &env, node, all->now_ms, &node->raft, err);
}

static inline void node_start(struct node *node)
{
    struct stele_error err = {0};
    const int outcome = node_open(node, &err);
    if (outcome != STELE_OK) {
        check_failed(__FILE__, __LINE__, "node %d does not open: %d %s", (int)node->number, outcome,
                     err.message);
    }
}

static inline void node_crash(struct node *node, int keep)
{
    stele_raft_close(node->raft);
    node->raft = NULL;
    memio_crash(&node->disk, keep);
}

/* count nodes, of which the first founders_count make up all groups. */
static inline void nodes_init(struct nodes *all, uint64_t count, size_t founders_count,
                              uint32_t groups_count, uint64_t seed)
{
    memset(all->leaders, 0, sizeof all->leaders);
    testalloc_init(&all->alloc, seed);
    all->options = stele_raft_options_default();
    all->options.groups_count = groups_count;
    all->options.seed = seed;
    all->options.wal.segment_size = 64 * 1024;
    all->count = count;
    all->founders_count = founders_count;
    all->cut = 0;
    all->flying = NULL;
    all->flying_end = &all->flying;
    all->frames = 0;
    all->now_ms = 5000;
    for (size_t i = 0; i < founders_count; i++) {
        all->founders[i] = i + 1;
    }
    for (uint64_t i = 1; i <= count; i++) {
        struct node *const node = &all->nodes[i];
        memset(node, 0, sizeof *node);
        node->all = all;
        node->number = i;
        memio_init(&node->disk, &all->alloc.base, seed + i);
    }
}

static inline void nodes_deinit(struct nodes *all)
{
    for (uint64_t i = 1; i <= all->count; i++) {
        stele_raft_close(all->nodes[i].raft);
        memio_deinit(&all->nodes[i].disk);
    }
    while (all->flying != NULL) {
        struct flying *const flying = all->flying;
        all->flying = flying->next;
        free(flying);
    }
    CHECK_EQ(all->alloc.blocks, 0);
}

static inline void node_write(struct node *node)
{
    struct stele_wal_group group;
    while (!node->disk_held && stele_raft_take(node->raft, &group)) {
        const int outcome =
            group.file->io->ops->write_durable(group.file, group.offset, group.bytes, NULL);
        stele_raft_done(node->raft, group.id, outcome);
    }
}

static inline void node_turn(struct node *node)
{
    if (node->raft == NULL || node->failed != STELE_OK) {
        return;
    }
    struct stele_error err = {0};
    node->failed = stele_raft_turn(node->raft, node->all->now_ms, &err);
    stele_raft_check(node->raft);
    node_write(node);
}

static inline void deliver(struct nodes *all)
{
    struct flying *flying = all->flying;
    all->flying = NULL;
    all->flying_end = &all->flying;
    while (flying != NULL) {
        struct flying *const next = flying->next;
        struct node *const to = flying->to <= all->count ? &all->nodes[flying->to] : NULL;
        if (to != NULL && to->raft != NULL && (all->cut >> flying->to & 1) == 0 &&
            (all->cut >> flying->from & 1) == 0) {
            struct stele_error err = {0};
            const int outcome = stele_raft_receive(
                to->raft, flying->from, (struct stele_bytes){flying->data, flying->size}, &err);
            if (outcome != STELE_OK) {
                check_failed(__FILE__, __LINE__, "frame refused: %s", err.message);
            }
        }
        free(flying);
        flying = next;
    }
}

/* Lets so many milliseconds pass, one by one. */
static inline void nodes_run(struct nodes *all, int64_t ms)
{
    for (int64_t i = 0; i < ms; i++) {
        all->now_ms++;
        deliver(all);
        for (uint64_t n = 1; n <= all->count; n++) {
            node_turn(&all->nodes[n]);
        }
    }
}

/* 0: there is none, of those that are connected. */
static inline uint64_t leader_of(struct nodes *all, uint32_t group)
{
    uint64_t leader = 0;
    uint64_t term = 0;
    for (uint64_t i = 1; i <= all->count; i++) {
        struct stele_raft_status status;
        if (all->nodes[i].raft == NULL || (all->cut >> i & 1) != 0) {
            continue;
        }
        stele_raft_status(all->nodes[i].raft, group, &status);
        if (status.role == STELE_RAFT_LEADER && status.term > term) {
            leader = i;
            term = status.term;
        }
    }
    return leader;
}

static inline struct node *await_leader(struct nodes *all, uint32_t group)
{
    for (int i = 0; i < 20000 && leader_of(all, group) == 0; i++) {
        nodes_run(all, 1);
    }
    CHECK(leader_of(all, group) != 0);
    return &all->nodes[leader_of(all, group)];
}

static inline int try_submit(struct node *node, uint32_t group, uint64_t value, size_t size,
                             uint64_t *out_index)
{
    static uint8_t payload[1 << 20];
    CHECK(size >= 8);
    CHECK(size <= sizeof payload);
    stele_store_u64le(payload, value);
    struct stele_raft_status status;
    stele_raft_status(node->raft, group, &status);
    return stele_raft_submit(node->raft, group, status.term, (struct stele_bytes){payload, size},
                             out_index);
}

static inline uint64_t submit(struct node *node, uint32_t group, uint64_t value, size_t size)
{
    uint64_t index = 0;
    CHECK_EQ(try_submit(node, group, value, size, &index), STELE_OK);
    return index;
}

/* What the node was told at index; NULL: nothing. */
static inline const struct told *told_at(const struct node *node, uint32_t group, uint64_t index)
{
    for (size_t i = 0; i < node->told_count[group]; i++) {
        if (node->told[group][i].index == index) {
            return &node->told[group][i];
        }
    }
    return NULL;
}

static inline bool has_told(const struct node *node, uint32_t group, uint64_t index, uint64_t value)
{
    const struct told *const told = told_at(node, group, index);
    return told != NULL && told->value == value;
}

#endif
