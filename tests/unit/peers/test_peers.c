/* Connections between nodes: who is let in and who not, what arrives and in which order, and what is told
 * when it does not.
 *
 * Method: real sockets on 127.0.0.1, several nodes on the loop of one thread; a node is stopped by
 * destroying it. */
#include "nodes.h"
#include "peers/peers_internal.h"

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

TEST(who_is_not_in_the_table_may_be_taken_into_it_when_it_comes)
{
    struct stele_error err = {0};
    set_up();
    (void)start(1);
    (void)start(2);
    stop_node(&nodes[1]);
    nodes[1].options.host = "127.0.0.1";
    nodes[1].options.port = nodes[1].port;
    (void)start_with(1, nodes[1].options);
    nodes[2].befriend = true;
    const struct stele_peers_node two = {
        .number = 2, .name = "node-2", .host = "127.0.0.1", .port = nodes[2].port};
    CHECK_OK(stele_peers_set(nodes[1].peers, &two, 1, &err), err);
    run_until(all_up);
    CHECK_EQ(nodes[1].failures[2][0] + nodes[1].failures[2][1], 0);
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
    const int64_t begin_us = stele_loop_now_us(base);
    run_for(1500000);
    for (int lane = 0; lane < 2; lane++) {
        CHECK_EQ(nodes[1].downs[2][lane], 0);
        CHECK_EQ(nodes[2].inbound_ups[1][lane], 1);
        const uint32_t rtt_us = status_of(&nodes[1], 2, (enum stele_peers_lane)lane).rtt_us;
        CHECK(rtt_us > 0);
        CHECK(rtt_us < stele_loop_now_us(base) - begin_us);
    }
    tear_down();
}

TEST(a_node_that_comes_back_is_dialled_at_once)
{
    set_up();
    struct stele_peers_options options = usual_options(&nodes[1], 1);
    options.retry_ms_min = options.retry_ms_max = 60000; /* It would never. */
    (void)start_with(1, options);
    (void)start(2);
    introduce();
    run_until(all_up);
    stop_node(&nodes[2]);
    run_until(one_is_down);
    (void)start(2);
    introduce();
    run_until(all_up);
    tear_down();
}

TEST(who_cannot_be_reached_is_not_dialled_without_end)
{
    struct stele_error err = {0};
    set_up();
    (void)start(1);
    (void)start(2);
    const struct stele_peers_node two = {
        .number = 2, .name = "node-2", .host = "127.0.0.1", .port = nodes[2].port};
    stop_node(&nodes[2]);
    CHECK_OK(stele_peers_set(nodes[1].peers, &two, 1, &err), err);
    const int64_t begin_us = stele_loop_now_us(base);
    run_for(500000);
    CHECK(nodes[1].failures[2][0] >= 3);
    /* Half of 20, 40, 80, 160, 320 ms at least are in between. */
    const struct stele_peers_options options = stele_peers_options_default();
    int64_t least_us = 0;
    int64_t pause_us = options.retry_ms_min * INT64_C(1000);
    for (uint32_t i = 1; i < nodes[1].failures[2][0]; i++) {
        least_us += pause_us / 2;
        pause_us = 2 * pause_us < options.retry_ms_max * INT64_C(1000)
                       ? 2 * pause_us
                       : options.retry_ms_max * INT64_C(1000);
    }
    CHECK(least_us <= stele_loop_now_us(base) - begin_us);
    CHECK_EQ(nodes[1].why.cause, STELE_PEERS_LOST);
    CHECK_EQ(nodes[1].why.os_errno, ECONNREFUSED);
    CHECK_TEXT_HAS(nodes[1].words, "cannot connect: ");
    tear_down();
}

static bool is_moved(void)
{
    return nodes[1].ups[2][0] == 2 && nodes[1].ups[2][1] == 2;
}

TEST(a_node_that_has_moved_is_dialled_at_its_new_address)
{
    start_two();
    stele_peers_destroy(nodes[2].peers);
    nodes[2].peers = NULL;
    nodes[2].port = 0;
    (void)start(2);
    introduce();
    run_until(is_moved);
    CHECK_EQ(nodes[1].downs[2][0], 1);
    CHECK_EQ(nodes[1].why.cause, STELE_PEERS_MOVED);
    CHECK(nodes[1].why.was_up);
    run_until(all_up);
    tear_down();
}

static bool is_removed(void)
{
    return nodes[2].why.refusal == STELE_PEERS_REMOVED_NODE;
}

TEST(a_node_that_is_removed_is_told_why)
{
    start_two();
    CHECK_EQ(stele_peers_set(nodes[1].peers, NULL, 0, NULL), STELE_OK);
    run_until(is_removed);
    CHECK(nodes[2].why.was_up);
    CHECK_EQ(nodes[1].downs[2][0] + nodes[1].inbound_downs[2][0], 0);
    struct stele_peers_status status;
    CHECK(!stele_peers_status(nodes[1].peers, 2, STELE_PEERS_BULK, &status));
    tear_down();
}

TEST(tables_that_make_no_sense_change_nothing)
{
    struct stele_error err = {0};
    static struct stele_peers_node many[STELE_PEERS_NODES_MAX + 1];
    static const struct stele_peers_node bad[][2] = {
        {{3, "a", "h", 1}, {3, "b", "h", 1}},  {{3, "a", "h", 1}, {0, "b", "h", 1}},
        {{3, "a", "h", 1}, {4, "", "h", 1}},   {{3, "a", "h", 1}, {4, "b", "", 1}},
        {{3, "a", "h", 1}, {4, "b", "h", 0}},  {{3, "a", "h", 1}, {4, "b", "a b", 1}},
        {{3, "a", "h", 1}, {4, ".b", "h", 1}},
    };
    start_two();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQ(stele_peers_set(nodes[1].peers, bad[i], 2, &err), STELE_E_INVALID);
    }
    CHECK_EQ(stele_peers_set(nodes[1].peers, many, STELE_PEERS_NODES_MAX + 1, &err), STELE_E_LIMIT);
    run_for(10000);
    CHECK(all_up());
    CHECK_EQ(nodes[1].ups[2][0], 1);
    tear_down();
}

static bool is_unresolved(void)
{
    return nodes[1].why.cause == STELE_PEERS_UNRESOLVED;
}

TEST(names_are_looked_up_and_those_that_say_nothing_are_tried_again)
{
    struct stele_error err = {0};
    char label[80] = "";
    memset(label, 'x', 70); /* Longer than any: nobody is asked. */
    set_up();
    (void)start(1);
    (void)start(2);
    const struct stele_peers_node table[] = {{3, "node-3", label, 1112},
                                             {2, "node-2", "localhost", nodes[2].port},
                                             {1, "node-1", "LocalHost", nodes[1].port}};
    CHECK_OK(stele_peers_set(nodes[1].peers, table, 2, &err), err);
    CHECK_OK(stele_peers_set(nodes[2].peers, table + 2, 1, &err), err);
    run_until(all_up);
    run_until(is_unresolved);
    /* In the middle of looking up, everything may end. */
    CHECK_OK(stele_peers_set(nodes[1].peers, NULL, 0, &err), err);
    CHECK_OK(stele_peers_set(nodes[1].peers, table, 2, &err), err);
    tear_down();
}

TEST(every_address_of_a_name_is_tried)
{
    set_up();
    (void)start(1);
    struct stele_peers__target target = {.peers = nodes[1].peers, .left = 3};
    target.addresses.count = 3;
    /* Both lanes fail with the first one; the second one is tried all the same. */
    stele_peers__target_failed(&target, 0);
    stele_peers__target_failed(&target, 0);
    CHECK_EQ(target.next, 1);
    CHECK_EQ(target.left, 2);
    stele_peers__target_worked(&target);
    stele_peers__target_failed(&target, 1);
    stele_peers__target_failed(&target, 2);
    CHECK_EQ(target.next, 0);
    CHECK_EQ(target.left, 1);
    stele_peers__target_failed(&target, 0);
    CHECK_EQ(target.left, 0); /* The name is looked up again. */
    tear_down();
}

/* ---- A large lane that is full ---- */

static void start_impatient(void)
{
    set_up();
    for (uint64_t i = 1; i <= 2; i++) {
        struct stele_peers_options options = usual_options(&nodes[i], i);
        options.ping_ms = 20;
        options.dead_ms = 200;
        options.bulk_window = 100000;
        (void)start_with(i, options);
    }
    introduce();
    run_until(all_up);
}

TEST(a_full_large_lane_waits_and_the_urgent_one_goes_on)
{
    start_impatient();
    nodes[2].in_order = true;
    stele_peers_pause(nodes[2].peers, 1, STELE_PEERS_BULK, true);
    uint64_t sent = 0;
    while (send_number(sent, STELE_PEERS_BULK, 50000)) {
        sent++;
        run_for(0);
    }
    CHECK(sent >= 2);
    CHECK(sent <= 4); /* The window, and what was read before. */
    run_for(500000);  /* Longer than silence may be. */
    CHECK_EQ(nodes[1].rooms[2][1], 0);
    frames_wanted = nodes[2].frames[1][1] + 1;
    CHECK(send_number(0, STELE_PEERS_CONTROL, 8));
    run_until(frames_are_there);
    stele_peers_pause(nodes[2].peers, 1, STELE_PEERS_BULK, false);
    for (; sent < 100; sent++) {
        while (!send_number(sent, STELE_PEERS_BULK, 50000)) {
            run_for(500);
        }
    }
    frames_wanted = 101;
    run_until(frames_are_there);
    CHECK(nodes[1].rooms[2][1] > 0);
    CHECK_EQ(nodes[1].downs[2][1], 0);
    CHECK_EQ(nodes[2].inbound_ups[1][1], 1);
    tear_down();
}

TEST(small_frames_do_not_wear_the_window_out)
{
    start_impatient();
    nodes[2].in_order = true;
    for (uint64_t sent = 0; sent < 20000; sent++) {
        while (!send_number(sent, STELE_PEERS_BULK, 8)) {
            run_for(0);
        }
    }
    frames_wanted = 20000;
    run_until(frames_are_there);
    run_for(20000);
    CHECK(status_of(&nodes[1], 2, STELE_PEERS_BULK).queued < 100000 / 4);
    tear_down();
}

static void take_a_nap(struct node *node, uint64_t from, enum stele_peers_lane lane)
{
    (void)node;
    (void)from;
    (void)lane;
    (void)usleep(500000);
}

TEST(a_loop_that_was_kept_waiting_does_not_blame_the_others)
{
    start_impatient();
    nodes[2].hook = take_a_nap;
    frames_wanted = 1;
    CHECK(send_number(0, STELE_PEERS_CONTROL, 8));
    run_until(frames_are_there);
    run_for(300000);
    CHECK_EQ(nodes[1].downs[2][0] + nodes[1].downs[2][1], 0);
    CHECK_EQ(nodes[2].inbound_downs[1][0] + nodes[2].inbound_downs[1][1], 0);
    tear_down();
}

/* ---- From within ---- */

static void send_if_up(struct stele_peers *peers, uint64_t node, enum stele_peers_lane lane,
                       struct stele_bytes bytes)
{
    const int outcome = stele_peers_send(peers, node, lane, bytes);
    (void)outcome;
}

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

static bool has_forgotten(void)
{
    return nodes[2].has_forgotten;
}

TEST(the_table_may_change_whenever_something_is_told)
{
    struct stele_error err = {0};
    for (int event = NEVER + 1; event < EVENTS_END; event++) {
        set_up();
        nodes[2].forget_at = (enum event)event;
        (void)start(1);
        struct stele_peers_options options = usual_options(&nodes[2], 2);
        options.bulk_window = 30000;
        (void)start_with(2, options);
        introduce();
        while (!nodes[2].has_forgotten && !all_up()) {
            run_for(0);
        }
        /* Several of everything, so that there is something left when it happens. */
        for (int i = 0; i < 3; i++) {
            send_if_up(nodes[1].peers, 2, STELE_PEERS_CONTROL, stele_bytes_of_text("x"));
            static const uint8_t bytes[20000];
            send_if_up(nodes[2].peers, 1, STELE_PEERS_BULK,
                       (struct stele_bytes){.data = bytes, .size = sizeof bytes});
        }
        if (event == JOINING) {
            is_answered = false;
            CHECK_OK(stele_peers_ask(nodes[1].peers, "127.0.0.1", nodes[2].port,
                                     stele_bytes_of_text("?"), on_answer, NULL, &err),
                     err);
        }
        if (event == DOWN || event == INBOUND_DOWN) {
            run_for(20000);
            stop_node(&nodes[1]);
        }
        run_until(has_forgotten);
        run_for(30000);
        tear_down();
    }
}

/* ---- No memory ---- */

struct failing {
    struct stele_alloc base;
    struct stele_alloc *real;
    uint64_t calls, fail_at;
};
static struct failing failing;

static void *reallocate_or_fail(struct stele_alloc *self, void *old, size_t old_size,
                                size_t new_size)
{
    struct failing *const f = (struct failing *)(void *)self;
    if (new_size > 0 && ++f->calls == f->fail_at) {
        return NULL;
    }
    return f->real->reallocate(f->real, old, old_size, new_size);
}

/* Everything that one node does. true: memory failed on the way. */
static bool live_with_failure(uint64_t fail_at)
{
    struct stele_error err = {0};
    static uint8_t bytes[200000];
    set_up();
    failing = (struct failing){.base = {.reallocate = reallocate_or_fail}, .real = alloc};
    (void)start(1);
    /* The loop's own memory is not the question here. */
    base->alloc = &failing.base;
    struct stele_peers_options options = usual_options(&nodes[2], 2);
    options.retry_ms_max = 20;
    nodes[2].options = options;
    failing.fail_at = fail_at;
    if (stele_peers_create(loop, &options, &events, &nodes[2], &nodes[2].peers, &err) == STELE_OK) {
        const struct sockaddr_in address = loopback(0);
        if (stele_peers_listen(nodes[2].peers, (const struct sockaddr *)(const void *)&address,
                               sizeof address, &nodes[2].port, &err) == STELE_OK) {
            const struct stele_peers_node one = {1, "node-1", "127.0.0.1", nodes[1].port};
            const struct stele_peers_node two = {2, "node-2", "127.0.0.1", nodes[2].port};
            while (stele_peers_set(nodes[2].peers, &one, 1, &err) != STELE_OK) {
            }
            CHECK_OK(stele_peers_set(nodes[1].peers, &two, 1, &err), err);
            run_until(all_up);
            memset(nodes[1].frames, 0, sizeof nodes[1].frames);
            for (int i = 0; i < 2; i++) {
                while (nodes[1].frames[2][0] == 0 || nodes[2].frames[1][0] == 0) {
                    const struct stele_bytes all = {.data = bytes, .size = sizeof bytes};
                    send_if_up(nodes[1].peers, 2, STELE_PEERS_CONTROL, all);
                    send_if_up(nodes[2].peers, 1, STELE_PEERS_CONTROL, all);
                    run_for(500);
                }
            }
        }
    }
    base->alloc = alloc;
    const bool failed = failing.calls >= fail_at;
    /* What was allocated there is counted in the same place. */
    tear_down();
    return failed;
}

TEST(no_call_and_no_connection_breaks_without_memory)
{
    uint64_t fail_at = 1;
    while (live_with_failure(fail_at)) {
        fail_at++;
    }
    CHECK(fail_at > 20);
}

/* ---- Questions ---- */

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

/* Again, if a busy machine used up the time for the answer. */
static void ask_in_time(const char *host, uint16_t port)
{
    struct stele_error err = {0};
    do {
        is_answered = false;
        CHECK_OK(stele_peers_ask(nodes[2].peers, host, port, stele_bytes_of_text("?"), on_answer,
                                 NULL, &err),
                 err);
        run_until(has_answer);
    } while (answer_why.cause == STELE_PEERS_SILENT);
}

TEST(a_question_that_is_not_answered_ends_in_words)
{
    struct stele_error err = {0};
    set_up();
    (void)start(1);
    struct stele_peers_options options = usual_options(&nodes[2], 2);
    options.join_ms = 200;
    (void)start_with(2, options);
    const struct stele_bytes question = stele_bytes_of_text("?");
    /* Nobody answers. */
    is_answered = false;
    CHECK_OK(stele_peers_ask(nodes[2].peers, "127.0.0.1", nodes[1].port, question, on_answer, NULL,
                             &err),
             err);
    CHECK_EQ(stele_peers_ask(nodes[2].peers, "127.0.0.1", nodes[1].port, question, on_answer, NULL,
                             &err),
             STELE_E_OVERLOADED);
    run_until(has_answer);
    CHECK_EQ(answer_why.cause, STELE_PEERS_SILENT);
    run_for(20000);
    CHECK_EQ(stele_peers_answer(nodes[1].peers, nodes[1].request, question), STELE_NOT_FOUND);
    /* It is refused. */
    nodes[1].verdict = STELE_PEERS_NOT_NOW;
    ask_in_time("127.0.0.1", nodes[1].port);
    CHECK_EQ(answer_why.cause, STELE_PEERS_REFUSED);
    CHECK_EQ(answer_why.refusal, STELE_PEERS_NOT_NOW);
    /* Nobody is there. */
    stop_node(&nodes[1]);
    ask_in_time("localhost", nodes[1].port);
    CHECK_EQ(answer_why.cause, STELE_PEERS_LOST);
    /* No host, and the end while one is looked up. */
    CHECK_EQ(stele_peers_ask(nodes[2].peers, "a b", 1, question, on_answer, NULL, &err),
             STELE_E_INVALID);
    CHECK_OK(stele_peers_ask(nodes[2].peers, "localhost", 1, question, on_answer, NULL, &err), err);
    tear_down();
}

TEST(a_question_that_was_asked_later_is_answered_later)
{
    struct stele_error err = {0};
    start_two();
    is_answered = false;
    nodes[1].request = 0;
    CHECK_OK(stele_peers_ask(nodes[2].peers, "127.0.0.1", nodes[1].port, stele_bytes_of_text("?"),
                             on_answer, NULL, &err),
             err);
    while (nodes[1].request == 0) {
        run_for(0);
    }
    run_for(1500000); /* Kept alive meanwhile. */
    CHECK(!is_answered);
    CHECK_EQ(stele_peers_answer(nodes[1].peers, nodes[1].request, stele_bytes_of_text("yes")),
             STELE_OK);
    run_until(has_answer);
    CHECK_TEXT_EQ(answer, "yes");
    tear_down();
}
