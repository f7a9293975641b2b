/* A replica routes each command into the log of its partition exactly once, says "not done" only of what is
 * in no log, and executes when all partitions are closed.
 *
 * Method: stories of one node, with a fake in the place of src/raft: the test says who leads, what is stored and
 * what is committed, and looks at what is submitted and sent. Whole clusters: tests/sim/cluster. */
#include "base/position.h"
#include "cluster/replica.h"
#include "lib/check.h"
#include "lib/testalloc.h"

#define PARTITIONS 2
#define ME 1
#define SECOND INT64_C(1000000)
#define WALL INT64_C(1700000000000000)
#define KEPT 64

/* ---- The fake ---- */

struct stele_raft {
    struct stele_raft_env env;
    void *context;
};

struct submitted {
    uint32_t group;
    uint64_t term;
    struct stele_entry entry;
};

static struct {
    struct stele_raft raft;
    struct submitted submitted[KEPT];
    size_t submitted_count;
    uint64_t terms[PARTITIONS + 1];
    bool leads[PARTITIONS + 1];
    uint64_t index[PARTITIONS + 1];
    uint8_t snapshots[PARTITIONS + 1][8];
    bool has_snapshot;
    uint64_t installed;
    size_t members;
} fake;

struct stele_raft_options stele_raft_options_default(void)
{
    return (struct stele_raft_options){.node = ME};
}

int stele_raft_open(struct stele_io *io, const struct stele_raft_options *options,
                    const struct stele_raft_env *env, void *context, int64_t now_ms,
                    struct stele_raft **out_raft, struct stele_error *err)
{
    (void)io, (void)options, (void)now_ms, (void)err;
    fake.raft = (struct stele_raft){.env = *env, .context = context};
    *out_raft = &fake.raft;
    return STELE_OK;
}

void stele_raft_close(struct stele_raft *raft)
{
    (void)raft;
}

int stele_raft_receive(struct stele_raft *raft, uint64_t from, struct stele_bytes frame,
                       struct stele_error *err)
{
    (void)raft, (void)from, (void)frame, (void)err;
    return STELE_OK;
}

int stele_raft_submit(struct stele_raft *raft, uint32_t group, uint64_t term,
                      struct stele_bytes payload, uint64_t *out_index)
{
    (void)raft;
    if (!fake.leads[group] || fake.terms[group] != term) {
        return STELE_NOT_FOUND;
    }
    CHECK(fake.submitted_count < KEPT);
    struct submitted *at = &fake.submitted[fake.submitted_count++];
    *at = (struct submitted){.group = group, .term = term};
    CHECK_EQ(stele_entry_decode(payload, &at->entry), STELE_OK);
    *out_index = ++fake.index[group];
    return STELE_OK;
}

int stele_raft_turn(struct stele_raft *raft, int64_t now_ms, struct stele_error *err)
{
    (void)raft, (void)now_ms, (void)err;
    return STELE_OK;
}

int64_t stele_raft_due_ms(const struct stele_raft *raft)
{
    (void)raft;
    return INT64_MAX / 2000;
}

bool stele_raft_take(struct stele_raft *raft, struct stele_wal_group *out_group)
{
    (void)raft, (void)out_group;
    return false;
}

void stele_raft_done(struct stele_raft *raft, uint64_t id, int outcome)
{
    (void)raft, (void)id, (void)outcome;
}

int stele_raft_snapshot(struct stele_raft *raft, uint32_t group, uint64_t index,
                        struct stele_bytes data, struct stele_error *err)
{
    (void)raft, (void)group, (void)index, (void)data, (void)err;
    return STELE_OK;
}

int stele_raft_installed(struct stele_raft *raft, uint32_t group, struct stele_error *err)
{
    (void)raft, (void)group, (void)err;
    fake.installed++;
    return STELE_OK;
}

int stele_raft_trim(struct stele_raft *raft, struct stele_error *err)
{
    (void)raft, (void)err;
    return STELE_OK;
}

size_t stele_raft_members(const struct stele_raft *raft, uint32_t group,
                          uint64_t nodes[STELE_RAFT_NODES_MAX],
                          enum stele_raft_member members[STELE_RAFT_NODES_MAX])
{
    (void)raft, (void)group;
    for (size_t i = 0; i < fake.members; i++) {
        nodes[i] = i + 1;
        members[i] = STELE_RAFT_VOTER;
    }
    return fake.members;
}

void stele_raft_status(const struct stele_raft *raft, uint32_t group,
                       struct stele_raft_status *out_status)
{
    (void)raft;
    *out_status = (struct stele_raft_status){.snapshot_index =
                                                 fake.has_snapshot && group < PARTITIONS ? 7 : 0};
}

struct stele_bytes stele_raft_snapshot_data(const struct stele_raft *raft, uint32_t group)
{
    (void)raft;
    return (struct stele_bytes){.data = fake.snapshots[group], .size = 8};
}

void stele_raft_check(const struct stele_raft *raft)
{
    (void)raft;
}

/* ---- The node ---- */

static struct {
    struct stele_replica *replica;
    struct testalloc alloc;
    struct stele_io io;
    struct stele_error err;
    int64_t now_us;
    uint8_t sent[KEPT][256]; /* But for times. */
    uint64_t sent_to[KEPT];
    size_t sent_count;
    uint64_t executed[KEPT]; /* Stamps. */
    const void *own[KEPT];
    size_t executed_count;
    int given_up[KEPT];
    size_t given_up_count;
    uint64_t fetches;
} node;

static int64_t wall_us(void *context)
{
    (void)context;
    return WALL;
}

static void on_send(void *context, uint64_t to, struct stele_bytes message)
{
    (void)context;
    CHECK(message.size <= sizeof node.sent[0]);
    CHECK(node.sent_count < KEPT);
    memcpy(node.sent[node.sent_count], message.data, message.size);
    node.sent_to[node.sent_count++] = to;
}

static void on_execute(void *context, struct stele_ordered *command)
{
    (void)context;
    node.executed[node.executed_count] = command->stamp;
    node.own[node.executed_count++] = command->own;
    stele_ordered_release(&node.alloc.base, command);
}

static void on_give_up(void *context, struct stele_proposal *own, int outcome, const char *words)
{
    (void)context, (void)own;
    CHECK(words[0] != 0);
    node.given_up[node.given_up_count++] = outcome;
}

static void on_fetch(void *context, uint64_t from, uint64_t stamp)
{
    (void)context, (void)from, (void)stamp;
    node.fetches++;
}

static void on_meta(void *context, uint64_t index, bool own, uint64_t id, struct stele_bytes body)
{
    (void)context, (void)index, (void)own, (void)id, (void)body;
}

static void on_meta_installed(void *context, uint64_t index, struct stele_bytes data)
{
    (void)context, (void)index, (void)data;
}

static void on_changed(void *context, uint32_t group)
{
    (void)context, (void)group;
}

static const struct stele_replica_env env = {.wall_us = wall_us,
                                             .send = on_send,
                                             .execute = on_execute,
                                             .give_up = on_give_up,
                                             .fetch = on_fetch,
                                             .meta = on_meta,
                                             .meta_installed = on_meta_installed,
                                             .changed = on_changed};

static void begin_with(bool has_snapshot, bool catching_up)
{
    memset(&fake, 0, sizeof fake);
    memset(&node, 0, sizeof node);
    fake.has_snapshot = has_snapshot;
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        stele_store_u64le(fake.snapshots[i], stele_position_make(1000, i));
    }
    testalloc_init(&node.alloc, 1);
    node.io.alloc = &node.alloc.base;
    node.now_us = SECOND;
    struct stele_replica_options options = stele_replica_options_default();
    options.partitions = PARTITIONS;
    options.boot = 77;
    options.catching_up = catching_up;
    CHECK_OK(
        stele_replica_open(&node.io, &options, &env, NULL, node.now_us, &node.replica, &node.err),
        node.err);
}

static void begin(void)
{
    begin_with(false, false);
}

static void end(void)
{
    stele_replica_close(node.replica);
    CHECK_EQ(node.alloc.bytes, 0);
}

static void turn(void)
{
    node.now_us += 2000;
    CHECK_OK(stele_replica_turn(node.replica, node.now_us, &node.err), node.err);
    stele_replica_check(node.replica);
}

static void wait_us(int64_t us)
{
    node.now_us += us;
    turn();
}

static void lead(uint32_t group, uint64_t leader, uint64_t term)
{
    const struct stele_raft_status status = {.role = leader == ME ? STELE_RAFT_LEADER
                                                                  : STELE_RAFT_FOLLOWER,
                                             .term = term,
                                             .leader = leader};
    fake.leads[group] = leader == ME;
    fake.terms[group] = term;
    fake.raft.env.changed(fake.raft.context, group, &status);
}

static uint64_t stamp_of(uint64_t tick, uint32_t group)
{
    return stele_position_make(stele_tick_of_ms(WALL / 1000) + tick, group);
}

/* A command (id > 0), a tick, or libraft's own entry (stamp 0). */
static void tell(bool committed, uint32_t group, uint64_t term, uint64_t stamp, uint64_t origin,
                 uint64_t boot, uint64_t id)
{
    const struct stele_entry entry = {.kind = id > 0 ? STELE_ENTRY_COMMAND : STELE_ENTRY_TICK,
                                      .stamp = stamp,
                                      .origin = origin,
                                      .boot = boot,
                                      .id = id};
    uint8_t bytes[STELE_ENTRY_HEADER_SIZE];
    stele_entry_encode(&entry, bytes);
    const struct stele_raft_entry raw = {
        .index = ++fake.index[group],
        .term = term,
        .payload = {.data = bytes, .size = stamp == 0 ? 0 : stele_entry_size(&entry)}};
    fake.raft.env.stored(fake.raft.context, group, &raw);
    if (committed) {
        fake.raft.env.committed(fake.raft.context, group, &raw);
    }
}

static void propose(struct stele_proposal *proposal, uint32_t group)
{
    static const uint8_t body[5] = {1, 2, 3, 4, 5};
    *proposal =
        (struct stele_proposal){.bytes = {.data = body, .size = sizeof body}, .group = group};
    CHECK_OK(stele_replica_propose(node.replica, proposal, node.now_us, &node.err), node.err);
}

/* What the last message forwards: how many, in which term, from which number on. */
static void check_forward(size_t index, uint64_t to, uint32_t count, uint64_t term, uint64_t number)
{
    CHECK_EQ(node.sent_count, index + 1);
    const uint8_t *message = node.sent[index];
    CHECK_EQ(node.sent_to[index], to);
    CHECK_EQ(message[0], 2);
    CHECK_EQ(stele_load_u32le(message + 4), count);
    CHECK_EQ(stele_load_u64le(message + 8), term);
    CHECK_EQ(stele_load_u64le(message + 16), 77);
    CHECK_EQ(stele_load_u64le(message + 24), number);
}

/* gone: up to which number none comes any more. */
static void receive_forward_after(uint64_t from, uint64_t boot, uint64_t term, uint64_t gone,
                                  uint64_t number, uint32_t count)
{
    uint8_t bytes[256] = {2, 1};
    size_t size = 40;
    stele_store_u32le(bytes + 4, count);
    stele_store_u64le(bytes + 8, term);
    stele_store_u64le(bytes + 16, boot);
    stele_store_u64le(bytes + 24, number);
    stele_store_u64le(bytes + 32, gone);
    for (uint32_t i = 0; i < count; i++) {
        stele_store_u64le(bytes + size, number + i);
        stele_store_u32le(bytes + size + 8, 1);
        size += 12 + 1;
    }
    CHECK_OK(stele_replica_receive(node.replica, from,
                                   (struct stele_bytes){.data = bytes, .size = size}, node.now_us,
                                   &node.err),
             node.err);
}

static void receive_forward(uint64_t from, uint64_t boot, uint64_t term, uint64_t number,
                            uint32_t count)
{
    receive_forward_after(from, boot, term, 0, number, count);
}

/* The last message says what this node has of somebody's commands. */
static void check_have(size_t index, uint64_t last, bool refused)
{
    CHECK_EQ(node.sent_count, index + 1);
    CHECK_EQ(node.sent[index][0], 3);
    CHECK_EQ(node.sent[index][4], refused);
    CHECK_EQ(stele_load_u64le(node.sent[index] + 24), last);
}

static void receive_have(uint64_t from, uint64_t term, uint64_t last)
{
    uint8_t bytes[32] = {3, 1};
    stele_store_u64le(bytes + 8, term);
    stele_store_u64le(bytes + 16, 77);
    stele_store_u64le(bytes + 24, last);
    CHECK_OK(stele_replica_receive(node.replica, from,
                                   (struct stele_bytes){.data = bytes, .size = sizeof bytes},
                                   node.now_us, &node.err),
             node.err);
}

/* ---- The origin ---- */

TEST(commands_are_forwarded_in_order_and_again_from_what_the_leader_has)
{
    begin();
    struct stele_proposal proposals[3];
    for (size_t i = 0; i < 3; i++) {
        propose(&proposals[i], 0);
    }
    turn();
    CHECK_EQ(node.sent_count, 0); /* To whom? */
    lead(0, 2, 5);
    turn();
    check_forward(0, 2, 3, 5, 1);
    turn();
    CHECK_EQ(node.sent_count, 1);
    receive_have(2, 5, 1);
    turn();
    check_forward(1, 2, 2, 5, 2);
    receive_have(2, 4, 3); /* Of another term. */
    wait_us(SECOND);
    check_forward(2, 2, 2, 5, 2);
    end();
    CHECK_EQ(node.given_up_count, 3);
    CHECK_EQ(node.given_up[0], STELE_E_UNKNOWN);
}

TEST(nothing_is_forwarded_again_before_an_entry_of_a_later_term_is_committed)
{
    begin();
    struct stele_proposal proposal;
    propose(&proposal, 0);
    lead(0, 2, 5);
    turn();
    check_forward(0, 2, 1, 5, 1);
    lead(0, 3, 6);
    wait_us(SECOND);
    CHECK_EQ(node.sent_count, 1);
    tell(true, 0, 5, stamp_of(1, 0), 2, 1, 9); /* The log still grows by entries of the old term. */
    turn();
    CHECK_EQ(node.sent_count, 1);
    tell(true, 0, 6, 0, 0, 0, 0);
    turn();
    check_forward(1, 3, 1, 6, 1);
    end();
}

TEST(a_command_that_was_in_the_log_of_the_old_term_is_not_forwarded_again)
{
    begin();
    struct stele_proposal proposal;
    propose(&proposal, 0);
    lead(0, 2, 5);
    turn();
    lead(0, 3, 6);
    tell(true, 0, 5, stamp_of(1, 0), ME, 77, proposal.id);
    tell(true, 0, 6, 0, 0, 0, 0);
    tell(true, 1, 1, stamp_of(2, 1), 0, 0, 0);
    turn();
    CHECK_EQ(node.sent_count, 1);
    CHECK_EQ(node.executed_count, 1);
    CHECK(node.own[0] == &proposal);
    end();
    CHECK_EQ(node.given_up_count, 0);
}

TEST(a_command_of_an_earlier_life_is_nobodys)
{
    begin();
    struct stele_proposal proposal;
    propose(&proposal, 0);
    tell(true, 0, 5, stamp_of(1, 0), ME, 76, proposal.id);
    tell(true, 1, 1, stamp_of(2, 1), 0, 0, 0);
    turn();
    CHECK_EQ(node.executed_count, 1);
    CHECK(node.own[0] == NULL);
    end();
}

TEST(what_was_never_forwarded_is_not_done_and_what_was_is_unknown)
{
    begin();
    struct stele_proposal proposals[2];
    propose(&proposals[0], 0);
    propose(&proposals[1], 1);
    lead(0, 2, 5);
    wait_us(SECOND);
    wait_us(30 * SECOND);
    CHECK_EQ(node.given_up_count, 2);
    CHECK_EQ(node.given_up[0], STELE_E_UNKNOWN);
    CHECK_EQ(node.given_up[1], STELE_E_OVERLOADED);
    end();
    CHECK_EQ(node.given_up_count, 2);
}

/* Otherwise the leader would wait for them, and take nothing of this node any more in its term. */
TEST(what_was_given_up_is_not_to_be_waited_for)
{
    begin();
    struct stele_proposal proposals[3];
    propose(&proposals[0], 0);
    propose(&proposals[1], 0);
    lead(0, 2, 5);
    turn();
    check_forward(0, 2, 2, 5, 1);
    CHECK_EQ(stele_load_u64le(node.sent[0] + 32), 0);
    for (int i = 0; i < 30 && node.given_up_count < 2; i++) {
        wait_us(SECOND);
    }
    CHECK_EQ(node.given_up_count, 2);
    const size_t sent = node.sent_count;
    propose(&proposals[2], 0);
    turn();
    check_forward(sent, 2, 1, 5, 3);
    CHECK_EQ(stele_load_u64le(node.sent[sent] + 32), 2);
    end();
}

TEST(what_may_stand_below_a_snapshot_is_unknown)
{
    begin();
    struct stele_proposal proposal;
    propose(&proposal, 0);
    lead(0, 2, 5);
    turn();
    uint8_t data[8];
    stele_store_u64le(data, stamp_of(50, 0));
    fake.raft.env.install(fake.raft.context, 0, 3, 100, 6,
                          (struct stele_bytes){.data = data, .size = sizeof data});
    lead(0, 3, 6);
    turn();
    CHECK_EQ(node.fetches, 1);
    CHECK_EQ(fake.installed, 0);
    stele_replica_fetched(node.replica, stamp_of(60, 0));
    turn();
    CHECK_EQ(fake.installed, 1);
    CHECK_EQ(node.given_up_count, 1);
    CHECK_EQ(node.given_up[0], STELE_E_UNKNOWN);
    CHECK_EQ(node.sent_count, 1); /* And it is not forwarded to the new leader. */
    end();
}

/* ---- The leader ---- */

TEST(a_leader_takes_each_number_once_and_in_its_own_term_only)
{
    begin();
    lead(0, ME, 5);
    receive_forward(2, 1, 5, 1, 2);
    CHECK_EQ(fake.submitted_count, 2);
    CHECK_EQ(fake.submitted[0].entry.origin, 2);
    CHECK_EQ(fake.submitted[1].entry.id, 2);
    CHECK(fake.submitted[1].entry.stamp > fake.submitted[0].entry.stamp);
    receive_forward(2, 1, 5, 1, 3); /* Two of them again. */
    CHECK_EQ(fake.submitted_count, 3);
    CHECK_EQ(node.sent_count, 0);
    receive_forward(2, 1, 5, 5, 1); /* The fourth is missing. */
    CHECK_EQ(fake.submitted_count, 3);
    check_have(0, 3, false);
    receive_forward(2, 1, 4, 4, 1);
    check_have(1, 0, true);
    receive_forward(2, 2, 5, 1, 1); /* Another life of the origin. */
    CHECK_EQ(fake.submitted_count, 4);
    CHECK_EQ(fake.submitted[3].entry.boot, 2);
    lead(0, 3, 6);
    receive_forward(2, 2, 5, 2, 1);
    CHECK_EQ(fake.submitted_count, 4);
    check_have(2, 0, true);
    end();
}

TEST(a_leader_does_not_wait_for_what_the_origin_has_given_up)
{
    begin();
    lead(0, ME, 5);
    receive_forward(2, 1, 5, 1, 1);
    receive_forward_after(2, 1, 5, 3, 4, 1);
    CHECK_EQ(fake.submitted_count, 2);
    CHECK_EQ(fake.submitted[1].entry.id, 4);
    CHECK_EQ(node.sent_count, 0);
    receive_forward(2, 1, 5, 2, 2); /* They come late: too late. */
    CHECK_EQ(fake.submitted_count, 2);
    receive_forward_after(2, 1, 5, 5, 7, 1); /* The sixth is still to come. */
    CHECK_EQ(fake.submitted_count, 2);
    check_have(0, 5, false);
    end();
}

TEST(stamps_are_above_all_that_is_stored)
{
    begin();
    tell(false, 1, 1, stamp_of(1000000000, 1), 2, 1, 1);
    lead(0, ME, 5);
    receive_forward(2, 1, 5, 1, 1);
    CHECK(fake.submitted[0].entry.stamp > stamp_of(1000000000, 1));
    end();
}

TEST(a_partition_without_commands_ticks_when_another_has_one_and_only_then)
{
    begin();
    lead(0, ME, 5);
    lead(1, ME, 5);
    wait_us(SECOND);
    CHECK_EQ(fake.submitted_count, 0);
    receive_forward(2, 1, 5, 1, 1);
    turn();
    CHECK_EQ(fake.submitted_count, 2);
    CHECK_EQ(fake.submitted[1].group, 1);
    CHECK_EQ(fake.submitted[1].entry.kind, STELE_ENTRY_TICK);
    CHECK(fake.submitted[1].entry.stamp > fake.submitted[0].entry.stamp);
    wait_us(SECOND);
    CHECK_EQ(fake.submitted_count, 2);
    end();
}

TEST(a_partition_ticks_for_a_command_that_only_others_have_heard_of)
{
    uint8_t bytes[24] = {4, 1};
    begin();
    lead(1, ME, 5);
    stele_store_u64le(bytes + 8, (uint64_t)WALL);
    stele_store_u64le(bytes + 16, stamp_of(7, 0));
    CHECK_OK(stele_replica_receive(node.replica, 3,
                                   (struct stele_bytes){.data = bytes, .size = sizeof bytes},
                                   node.now_us, &node.err),
             node.err);
    turn();
    CHECK_EQ(fake.submitted_count, 1);
    CHECK_EQ(fake.submitted[0].entry.kind, STELE_ENTRY_TICK);
    CHECK(fake.submitted[0].entry.stamp > stamp_of(7, 0));
    wait_us(SECOND);
    CHECK_EQ(fake.submitted_count, 1);
    end();
}

/* kind: 0: what time it is, and the highest stamp of a command; 1: stamps for commands that follow. */
static void receive_time(uint64_t from, uint8_t kind, uint64_t stamp)
{
    uint8_t bytes[24] = {4, 1, kind};
    stele_store_u64le(bytes + 8, (uint64_t)WALL);
    stele_store_u64le(bytes + 16, stamp);
    CHECK_OK(stele_replica_receive(node.replica, from,
                                   (struct stele_bytes){.data = bytes, .size = sizeof bytes},
                                   node.now_us, &node.err),
             node.err);
}

TEST(commands_for_a_leader_that_is_far_are_announced_to_all)
{
    struct stele_proposal first;
    struct stele_proposal second[2];
    begin();
    lead(0, 2, 5);
    lead(1, ME, 5);
    propose(&first, 0);
    turn();
    check_forward(0, 2, 1, 5, 1); /* How far it is, nobody knows yet. */
    CHECK_EQ(fake.submitted_count, 0);
    wait_us(SECOND / 10);
    tell(true, 0, 5, stamp_of(1, 0), ME, 77, first.id);
    turn();
    CHECK_EQ(fake.submitted_count, 1);
    fake.members = 3;
    propose(&second[0], 0);
    propose(&second[1], 0);
    turn();
    CHECK_EQ(node.sent_count, 4);
    size_t at = 1;
    while (node.sent[at][2] != 1) {
        at++;
    }
    const uint8_t *to_leader = node.sent[at];
    CHECK_EQ(node.sent_to[at], 2);
    const uint64_t wished = stele_load_u64le(to_leader + 16);
    CHECK_EQ(node.sent_to[at + 1], 3);
    const uint64_t announced = stele_load_u64le(node.sent[at + 1] + 16);
    CHECK(stele_position_tick(announced) == stele_position_tick(wished) + 1);
    CHECK_EQ(node.sent[at + 2][0], 2); /* The commands follow. */
    CHECK_EQ(fake.submitted_count, 2); /* This node's own partition ticks as well. */
    CHECK(fake.submitted[1].entry.stamp > announced);
    end();
}

TEST(a_leader_gives_the_stamps_that_were_announced_if_they_are_above_all_others)
{
    begin();
    lead(0, ME, 5);
    const uint64_t wish = stamp_of(500, 0);
    receive_time(2, 1, wish);
    receive_forward(3, 1, 5, 1, 1); /* Not those of somebody else. */
    CHECK(fake.submitted[0].entry.stamp < wish);
    receive_forward(2, 1, 5, 1, 2);
    CHECK_EQ(fake.submitted[1].entry.stamp, wish);
    CHECK_EQ(fake.submitted[2].entry.stamp, stamp_of(501, 0));
    tell(false, 1, 5, stamp_of(1000, 1), 3, 1, 1);
    receive_time(2, 1, stamp_of(1000, 0)); /* This node has seen it. */
    receive_forward(2, 1, 5, 3, 1);
    CHECK(fake.submitted[3].entry.stamp > stamp_of(1000, 1));
    receive_time(2, 1,
                 stamp_of((uint64_t)3600 * 1000 << 12, 0)); /* A clock that is out of order. */
    receive_forward(2, 1, 5, 4, 1);
    CHECK(fake.submitted[4].entry.stamp < stamp_of(2000, 0));
    receive_time(2, 1, UINT64_MAX);
    receive_forward(2, 1, 5, 5, 1);
    CHECK(fake.submitted[5].entry.stamp < stamp_of(2000, 0));
    end();
}

TEST(a_tick_that_was_taken_back_is_made_again)
{
    begin();
    lead(1, ME, 5);
    tell(true, 0, 1, stamp_of(1, 0), 2, 1, 1);
    turn();
    CHECK_EQ(fake.submitted_count, 1); /* Stored here, and nowhere else. */
    tell(false, 1, 5, fake.submitted[0].entry.stamp, 0, 0, 0);
    lead(1, 3, 6);
    tell(true, 1, 6, 0, 0, 0, 0); /* Its leader's first entry takes its place. */
    turn();
    lead(1, ME, 7);
    turn();
    CHECK_EQ(fake.submitted_count, 2);
    CHECK_EQ(node.executed_count, 0);
    tell(true, 1, 7, fake.submitted[1].entry.stamp, 0, 0, 0);
    turn();
    CHECK_EQ(node.executed_count, 1);
    end();
}

/* ---- Executing ---- */

TEST(commands_are_executed_when_all_partitions_are_closed)
{
    begin();
    tell(true, 0, 1, stamp_of(5, 0), 2, 1, 1);
    tell(true, 0, 1, stamp_of(9, 0), 2, 1, 2);
    turn();
    CHECK_EQ(node.executed_count, 0);
    tell(true, 1, 1, stamp_of(7, 1), 3, 1, 1);
    turn();
    CHECK_EQ(node.executed_count, 2);
    CHECK_EQ(node.executed[0], stamp_of(5, 0));
    CHECK_EQ(node.executed[1], stamp_of(7, 1));
    struct stele_replica_counts counts;
    stele_replica_counts(node.replica, &counts);
    CHECK_EQ(counts.durable, 0);
    stele_replica_executed(node.replica, stamp_of(7, 1));
    stele_replica_counts(node.replica, &counts);
    CHECK_EQ(counts.durable, stamp_of(7, 1));
    end();
}

TEST(what_is_closed_and_not_yet_given_out_is_not_durable)
{
    begin();
    tell(true, 0, 1, stamp_of(5, 0), 2, 1, 1);
    tell(true, 1, 1, stamp_of(7, 1), 0, 0, 0);
    struct stele_replica_counts counts;
    stele_replica_counts(node.replica, &counts);
    CHECK_EQ(counts.durable, 0);
    turn();
    stele_replica_executed(node.replica, stamp_of(5, 0));
    stele_replica_counts(node.replica, &counts);
    CHECK_EQ(counts.durable, stamp_of(5, 0)); /* The other one is closed no further. */
    end();
}

TEST(after_a_restart_idle_partitions_are_closed_as_far_as_they_were)
{
    begin_with(true, false);
    struct stele_replica_counts counts;
    stele_replica_counts(node.replica, &counts);
    CHECK_EQ(counts.closed, stele_position_make(1000, 0));
    end();
}

TEST(after_half_a_copy_fetching_comes_first)
{
    begin_with(false, true);
    tell(true, 0, 1, stamp_of(5, 0), 2, 1, 1);
    tell(true, 1, 1, stamp_of(7, 1), 3, 1, 1);
    turn();
    CHECK_EQ(node.fetches, 1);
    CHECK_EQ(node.executed_count, 0);
    stele_replica_fetched(node.replica, stamp_of(5, 0));
    turn();
    CHECK_EQ(node.fetches, 1);
    CHECK_EQ(node.executed_count, 0); /* The first came with the copy, the second is not closed. */
    tell(true, 0, 1, stamp_of(8, 0), 0, 0, 0);
    turn();
    CHECK_EQ(node.executed_count, 1);
    CHECK_EQ(node.executed[0], stamp_of(7, 1));
    end();
}
