/* Connections between nodes: who is let in and who not, what arrives and in which order, and what is told
 * when it does not.
 *
 * Method: real sockets on 127.0.0.1, several nodes on the loop of one thread; a node is stopped by
 * destroying it. */
#include "nodes.h"

/* ---- Frames ---- */

static void start_two(void)
{
    set_up();
    (void)start(1);
    (void)start(2);
    introduce();
    run_until(all_up);
}

static uint64_t frames_wanted;
static bool frames_are_there(void)
{
    return nodes[2].frames[1][0] + nodes[2].frames[1][1] >= frames_wanted;
}

TEST(nodes_that_know_each_other_connect_on_both_lanes)
{
    set_up();
    for (uint64_t i = 1; i < NODES; i++) {
        (void)start(i);
    }
    introduce();
    run_until(all_up);
    for (uint64_t i = 1; i < NODES; i++) {
        for (uint64_t j = 1; j < NODES; j++) {
            for (int lane = 0; lane < 2 && i != j; lane++) {
                const struct stele_peers_status status =
                    status_of(&nodes[i], j, (enum stele_peers_lane)lane);
                CHECK_EQ(status.connects, 1);
                CHECK_EQ(nodes[i].ups[j][lane], 1);
                CHECK_EQ(nodes[i].downs[j][lane], 0);
                CHECK_EQ(nodes[i].inbound_ups[j][lane], 1);
            }
        }
    }
    CHECK_EQ(stele_peers_send(nodes[1].peers, 1, STELE_PEERS_CONTROL, stele_bytes_of_text("me")),
             STELE_NOT_FOUND);
    tear_down();
}

TEST(frames_arrive_whole_and_in_order)
{
    static const size_t sizes[] = {0, 1, 19, 20, 21, 1000, 65515, 65516, 65517, 300000, 5000000, 3};
    static uint8_t data[5000000];
    start_two();
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 7 + i / 251);
    }
    for (int lane = 0; lane < 2; lane++) {
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            const struct stele_bytes parts[] = {
                {.data = data, .size = sizes[s] / 3},
                {.data = NULL, .size = 0},
                {.data = data + sizes[s] / 3, .size = sizes[s] - sizes[s] / 3}};
            frames_wanted = nodes[2].frames[1][0] + nodes[2].frames[1][1] + 1;
            CHECK_EQ(
                stele_peers_send_parts(nodes[1].peers, 2, (enum stele_peers_lane)lane, parts, 3),
                STELE_OK);
            run_until(frames_are_there);
            CHECK_EQ(nodes[2].last[1][lane].size, sizes[s]);
            CHECK_BYTES_EQ(nodes[2].last[1][lane].data, data, sizes[s]);
        }
    }
    tear_down();
}

static bool send_number(uint64_t number, enum stele_peers_lane lane, size_t size)
{
    static uint8_t bytes[100000];
    stele_store_u64le(bytes, number);
    const int outcome = stele_peers_send(nodes[1].peers, 2, lane,
                                         (struct stele_bytes){.data = bytes, .size = size});
    CHECK(outcome == STELE_OK || (lane == STELE_PEERS_BULK && outcome == STELE_E_OVERLOADED));
    return outcome == STELE_OK;
}

TEST(what_is_sent_in_one_turn_arrives_in_the_order_of_sending)
{
    start_two();
    nodes[2].in_order = true;
    for (uint64_t i = 0; i < 20000; i++) {
        CHECK(send_number(i, STELE_PEERS_CONTROL, 8 + i % 100));
    }
    frames_wanted = 20000;
    run_until(frames_are_there);
    const struct stele_peers_status out = status_of(&nodes[1], 2, STELE_PEERS_CONTROL);
    const struct stele_peers_status in = status_of(&nodes[2], 1, STELE_PEERS_CONTROL);
    CHECK_EQ(out.frames_out, 20000);
    CHECK_EQ(out.frames_dropped, 0);
    CHECK_EQ(in.frames_in, 20000);
    CHECK_EQ(in.bytes_in, out.bytes_out);
    tear_down();
}

/* ---- Who is let in ---- */

static bool has_failed(void)
{
    return nodes[1].failures[2][0] > 0;
}

TEST(a_refusal_comes_with_its_kind_and_words)
{
    set_up();
    (void)start(1);
    start(2)->verdict = STELE_PEERS_WRONG_INCARNATION;
    introduce();
    run_until(has_failed);
    CHECK_EQ(nodes[1].why.cause, STELE_PEERS_REFUSED);
    CHECK_EQ(nodes[1].why.refusal, STELE_PEERS_WRONG_INCARNATION);
    CHECK_TEXT_EQ(nodes[1].words, "this is an older disk of node-1");
    CHECK_EQ(nodes[1].ups[2][0], 0);
    CHECK_EQ(nodes[2].hello.number, 1);
    CHECK_EQ(nodes[2].hello.incarnation[15], 1);
    nodes[2].verdict = STELE_PEERS_ACCEPT; /* It asks again. */
    run_until(all_up);
    tear_down();
}

TEST(who_is_not_in_the_table_is_refused)
{
    struct stele_error err = {0};
    set_up();
    (void)start(1);
    (void)start(2);
    const struct stele_peers_node two = {
        .number = 2, .name = "node-2", .host = "127.0.0.1", .port = nodes[2].port};
    CHECK_OK(stele_peers_set(nodes[1].peers, &two, 1, &err), err);
    run_until(has_failed);
    CHECK_EQ(nodes[1].why.refusal, STELE_PEERS_UNKNOWN_NODE);
    tear_down();
}

TEST(another_node_at_that_address_is_refused)
{
    struct stele_error err = {0};
    set_up();
    (void)start(1);
    (void)start(3);
    const struct stele_peers_node two = {
        .number = 2, .name = "node-2", .host = "127.0.0.1", .port = nodes[3].port};
    CHECK_OK(stele_peers_set(nodes[1].peers, &two, 1, &err), err);
    run_until(has_failed);
    CHECK_EQ(nodes[1].why.refusal, STELE_PEERS_WRONG_NODE);
    CHECK_TEXT_EQ(nodes[1].words, "node 2 is meant, and this is node 3");
    tear_down();
}

TEST(versions_that_have_nothing_in_common_are_refused_in_words)
{
    set_up();
    struct stele_peers_options options = usual_options(&nodes[2], 2);
    options.version_min = 2;
    options.version_max = 3;
    (void)start(1);
    (void)start_with(2, options);
    introduce();
    run_until(has_failed);
    CHECK_EQ(nodes[1].why.refusal, STELE_PEERS_WRONG_VERSION);
    CHECK_TEXT_HAS(nodes[1].words, "versions 2 to 3 are spoken here, and 1 to 1 there");
    tear_down();
}

/* ---- Losses ---- */

static bool one_is_down(void)
{
    return nodes[1].downs[2][0] > 0 && nodes[1].downs[2][1] > 0;
}

TEST(a_node_that_stops_is_told_and_connected_again_when_it_is_back)
{
    start_two();
    stop_node(&nodes[2]);
    run_until(one_is_down);
    CHECK_EQ(stele_peers_send(nodes[1].peers, 2, STELE_PEERS_CONTROL, stele_bytes_of_text("x")),
             STELE_E_CLOSED);
    (void)start(2);
    introduce();
    run_until(all_up);
    CHECK_EQ(nodes[1].ups[2][0], 2);
    frames_wanted = 1;
    CHECK_EQ(stele_peers_send(nodes[1].peers, 2, STELE_PEERS_CONTROL, stele_bytes_of_text("x")),
             STELE_OK);
    run_until(frames_are_there);
    tear_down();
}

TEST(a_connection_that_has_nothing_to_say_stays)
{
    start_two();
    run_for(1500000);
    for (int lane = 0; lane < 2; lane++) {
        CHECK_EQ(nodes[1].downs[2][lane], 0);
        CHECK_EQ(nodes[2].inbound_ups[1][lane], 1);
        const uint32_t rtt_us = status_of(&nodes[1], 2, (enum stele_peers_lane)lane).rtt_us;
        CHECK(rtt_us > 0);
        CHECK(rtt_us < 1000000);
    }
    tear_down();
}

/* ---- Questions ---- */

static char answer[64];
static bool is_answered;
static struct stele_peers_why answer_why;

static void on_answer(void *context, const struct stele_peers_why *why, struct stele_bytes bytes)
{
    (void)context;
    CHECK(bytes.size < sizeof answer);
    answer_why = why != NULL ? *why : (struct stele_peers_why){.cause = 0};
    if (bytes.size > 0) {
        memcpy(answer, bytes.data, bytes.size);
    }
    answer[bytes.size] = '\0';
    is_answered = true;
}
static bool has_answer(void)
{
    return is_answered;
}

TEST(who_has_no_number_asks_and_is_answered)
{
    struct stele_error err = {0};
    set_up();
    start(1)->echo = true;
    struct stele_peers_options options = usual_options(&nodes[2], 2);
    options.number = 0;
    (void)start_with(2, options);
    is_answered = false;
    CHECK_OK(stele_peers_ask(nodes[2].peers, "localhost", nodes[1].port,
                             stele_bytes_of_text("let me in"), on_answer, NULL, &err),
             err);
    run_until(has_answer);
    CHECK_EQ(answer_why.cause, 0);
    CHECK_TEXT_EQ(answer, "let me in");
    CHECK_EQ(nodes[1].hello.number, 0);
    CHECK_TEXT_EQ(nodes[1].hello.name, "node-2");
    /* With its number it is a node like all others. */
    introduce();
    stele_peers_identify(nodes[2].peers, options.cluster_id, 2, options.incarnation);
    run_until(all_up);
    tear_down();
}
