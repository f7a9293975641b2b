/* Members come and go one at a time, and leadership is handed over, without anything being lost.
 *
 * Method: ask again until it is done, as the owner does; look at everybody's idea of the members afterwards. */
#include "nodes.h"
#include "raft/raft_internal.h"

static struct nodes nodes;

static void start(uint64_t count, size_t founders_count, uint64_t seed)
{
    nodes_init(&nodes, count, founders_count, 1, seed);
    for (uint64_t i = 1; i <= count; i++) {
        node_start(&nodes.nodes[i]);
    }
}

static enum stele_raft_member member_of(const struct node *node, uint64_t number)
{
    uint64_t numbers[STELE_RAFT_NODES_MAX];
    enum stele_raft_member members[STELE_RAFT_NODES_MAX];
    const size_t count = stele_raft_members(node->raft, 0, numbers, members);
    for (size_t i = 0; i < count; i++) {
        if (numbers[i] == number) {
            return members[i];
        }
    }
    return STELE_RAFT_NONE;
}

/* Asks whoever leads until it is so on all nodes that are left. */
static void make(uint64_t number, enum stele_raft_member member)
{
    for (int i = 0; i < 5000; i++) {
        struct node *const leader = await_leader(&nodes, 0);
        struct stele_error err = {0};
        const int outcome = stele_raft_configure(leader->raft, 0, number, member, &err);
        CHECK(outcome == STELE_OK || outcome == STELE_INCOMPLETE || outcome == STELE_NOT_FOUND);
        nodes_run(&nodes, 5);
        bool is_so = true;
        for (uint64_t n = 1; n <= nodes.count; n++) {
            const struct node *const node = &nodes.nodes[n];
            is_so = is_so &&
                    (node->raft == NULL || (nodes.cut >> n & 1) != 0 ||
                     (n == number && member == STELE_RAFT_NONE) ||
                     member_of(leader, n) == STELE_RAFT_NONE || member_of(node, number) == member);
        }
        if (is_so && outcome == STELE_OK) {
            return;
        }
    }
    check_failed(__FILE__, __LINE__, "node %d did not become %d", (int)number, (int)member);
}

TEST(a_cluster_grows_from_one_node_to_three)
{
    start(3, 1, 1);
    struct node *const first = await_leader(&nodes, 0);
    nodes_run(&nodes, 10);
    const uint64_t index = submit(first, 0, 11, 8);
    nodes_run(&nodes, 10);
    make(2, STELE_RAFT_VOTER);
    make(3, STELE_RAFT_VOTER);
    for (uint64_t i = 1; i <= 3; i++) {
        CHECK(has_told(&nodes.nodes[i], 0, index, 11));
        CHECK_EQ(member_of(&nodes.nodes[i], 3), STELE_RAFT_VOTER);
    }
    /* Any one of them may go now. */
    nodes.cut = UINT64_C(1) << first->number;
    nodes_run(&nodes, 2000);
    struct node *const next = await_leader(&nodes, 0);
    CHECK(next != first);
    const uint64_t later = submit(next, 0, 12, 8);
    nodes_run(&nodes, 10);
    CHECK(has_told(next, 0, later, 12));
    nodes_deinit(&nodes);
}

TEST(a_node_is_replaced_by_another)
{
    start(4, 3, 2);
    struct node *leader = await_leader(&nodes, 0);
    nodes_run(&nodes, 10);
    const uint64_t gone = leader->number == 3 ? 2 : 3;
    nodes.cut = UINT64_C(1) << gone;
    nodes_run(&nodes, 500);
    make(4, STELE_RAFT_VOTER);
    make(gone, STELE_RAFT_NONE);
    leader = await_leader(&nodes, 0);
    CHECK_EQ(member_of(leader, gone), STELE_RAFT_NONE);
    CHECK_EQ(member_of(leader, 4), STELE_RAFT_VOTER);
    const uint64_t index = submit(leader, 0, 5, 8);
    nodes_run(&nodes, 20);
    CHECK(has_told(&nodes.nodes[4], 0, index, 5));
    /* The one that is gone comes back, and disturbs nobody. */
    struct stele_raft_status before;
    stele_raft_status(leader->raft, 0, &before);
    nodes.cut = 0;
    nodes_run(&nodes, 3000);
    struct stele_raft_status after;
    stele_raft_status(leader->raft, 0, &after);
    CHECK_EQ(after.term, before.term);
    nodes_deinit(&nodes);
}

TEST(a_leader_that_is_to_go_hands_over_first)
{
    start(3, 3, 3);
    struct node *const old = await_leader(&nodes, 0);
    nodes_run(&nodes, 100);
    make(old->number, STELE_RAFT_NONE);
    struct node *const now = await_leader(&nodes, 0);
    CHECK(now != old);
    CHECK_EQ(member_of(now, old->number), STELE_RAFT_NONE);
    const uint64_t index = submit(now, 0, 5, 8);
    nodes_run(&nodes, 20);
    CHECK(has_told(now, 0, index, 5));
    nodes_deinit(&nodes);
}

TEST(three_become_one_and_the_one_starts_a_new_term_when_it_comes_back)
{
    start(3, 3, 4);
    (void)await_leader(&nodes, 0);
    nodes_run(&nodes, 100);
    make(3, STELE_RAFT_NONE);
    make(2, STELE_RAFT_NONE);
    struct node *const one = &nodes.nodes[1];
    nodes_run(&nodes, 2000);
    struct stele_raft_status before;
    stele_raft_status(one->raft, 0, &before);
    CHECK_EQ(before.role, STELE_RAFT_LEADER);
    const uint64_t index = submit(one, 0, 5, 8);
    nodes_run(&nodes, 5);
    CHECK(has_told(one, 0, index, 5));
    node_crash(one, MEMIO_KEEP_NONE);
    node_start(one);
    struct stele_raft_status after;
    stele_raft_status(one->raft, 0, &after);
    CHECK(after.term > before.term);
    nodes_run(&nodes, 5);
    CHECK(has_told(one, 0, index, 5));
    nodes_deinit(&nodes);
}

TEST(what_would_leave_no_voter_is_refused)
{
    start(2, 1, 5);
    struct node *const node = await_leader(&nodes, 0);
    nodes_run(&nodes, 10);
    struct stele_error err = {0};
    CHECK_EQ(stele_raft_configure(node->raft, 0, 1, STELE_RAFT_NONE, &err), STELE_E_INVALID);
    CHECK_EQ(stele_raft_configure(node->raft, 0, 1, STELE_RAFT_STANDBY, &err), STELE_E_INVALID);
    CHECK_EQ(stele_raft_transfer(node->raft, 0, 0, &err), STELE_E_INVALID);
    CHECK_EQ(stele_raft_transfer(node->raft, 0, 2, &err), STELE_E_INVALID);
    CHECK_EQ(stele_raft_configure(nodes.nodes[2].raft, 0, 2, STELE_RAFT_VOTER, &err),
             STELE_NOT_FOUND);
    nodes_deinit(&nodes);
}

TEST(leadership_is_handed_over_within_milliseconds)
{
    start(3, 3, 6);
    struct node *const old = await_leader(&nodes, 0);
    nodes_run(&nodes, 100);
    const uint64_t to = old->number == 1 ? 2 : 1;
    struct stele_error err = {0};
    CHECK_EQ(stele_raft_transfer(old->raft, 0, to, &err), STELE_OK);
    uint64_t index = 0;
    CHECK_EQ(try_submit(old, 0, 1, 8, &index), STELE_NOT_FOUND);
    nodes_run(&nodes, 30);
    CHECK_EQ(leader_of(&nodes, 0), to);
    index = submit(&nodes.nodes[to], 0, 2, 8);
    nodes_run(&nodes, 20);
    CHECK(has_told(old, 0, index, 2));
    nodes_deinit(&nodes);
}

/* Somebody asks for votes in a later term, as one that is cut off in the middle of an election. */
static void ask_in_term(struct node *node, uint64_t from, uint64_t term)
{
    struct stele_buf frame = {.data = NULL};
    struct stele_error err = {0};
    struct raft_message message = {
        .type = RAFT_REQUEST_VOTE,
        .request_vote = {.version = 2, .term = term, .candidate_id = from}};
    const struct stele_bytes nothing = {.data = NULL};
    CHECK_EQ(stele_raft__frame_begin(&frame, &nodes.alloc.base, from, node->number), STELE_OK);
    CHECK_EQ(stele_raft__frame_message(&frame, &nodes.alloc.base, 0, &message, nothing, nothing),
             STELE_OK);
    stele_raft__frame_end(&frame, 1);
    CHECK_EQ(
        stele_raft_receive(node->raft, from, (struct stele_bytes){frame.data, frame.size}, &err),
        STELE_OK);
    stele_buf_deinit(&frame, &nodes.alloc.base);
}

/* One has everything, the other one the later term, and the third is no more. libraft's answer to a question about a
 * vote says the term of the question. */
TEST(who_has_everything_is_elected_however_old_its_term_is)
{
    start(3, 3, 9);
    struct node *const leader = await_leader(&nodes, 0);
    struct node *const behind = &nodes.nodes[leader->number % 3 + 1];
    struct node *const whole = &nodes.nodes[behind->number % 3 + 1];
    nodes_run(&nodes, 100);
    nodes.cut = UINT64_C(1) << behind->number;
    const uint64_t index = submit(leader, 0, 7, 8);
    nodes_run(&nodes, 100);
    CHECK(has_told(whole, 0, index, 7));
    node_crash(leader, 0);
    nodes_run(&nodes, 2000);
    struct stele_raft_status status;
    stele_raft_status(behind->raft, 0, &status);
    ask_in_term(behind, leader->number, status.term + 10);
    nodes_run(&nodes, 2000);
    nodes.cut = 0;
    CHECK_EQ(await_leader(&nodes, 0)->number, whole->number);
    nodes_run(&nodes, 1000);
    CHECK(has_told(behind, 0, index, 7));
    nodes_deinit(&nodes);
}
