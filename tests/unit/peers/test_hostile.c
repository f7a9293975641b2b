/* Whatever comes on a connection, a node ends it in words, delivers nothing that was not sent, keeps its
 * memory within bounds, and goes on with all others.
 *
 * Method: the other end is a plain socket of the test, which says everything that nodes do not say. */
#include "raw.h"

static void start_one(void)
{
    set_up();
    (void)start(1);
    know_raw(1);
}

static void greet(enum stele_peers_lane lane, uint64_t attempt)
{
    const struct stele_peers_hello hello = raw_hello(lane, attempt);
    raw_open(nodes[1].port);
    raw_hello_out(STELE_PEERS_HELLO, &hello);
    raw_expect(STELE_PEERS_WELCOME);
}

/* ---- Frames that are none, or not here ---- */

TEST(bytes_of_other_protocols_are_refused_at_once)
{
    static const char *const others[] = {"GET / HTTP/1.1\r\n\r\n",
                                         "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                         "\x16\x03\x01\x02",
                                         "SPF2",
                                         "\n",
                                         "SPG"};
    start_one();
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        raw_open(nodes[1].port);
        raw_send(others[i], strlen(others[i]));
        CHECK_EQ(raw_expect_refusal(), STELE_PEERS_MALFORMED);
        raw_close();
    }
    struct stele_peers_counts counts;
    stele_peers_counts(nodes[1].peers, &counts);
    CHECK_EQ(counts.malformed, sizeof others / sizeof others[0]);
    CHECK_EQ(counts.strangers, 0);
    CHECK_EQ(nodes[1].hellos, 0);
    tear_down();
}

TEST(every_bit_that_is_turned_over_is_noticed)
{
    uint8_t whole[2048];
    const struct stele_peers_hello hello = raw_hello(STELE_PEERS_CONTROL, 1);
    const size_t hello_size = hello_frame(whole, STELE_PEERS_HELLO, &hello);
    const size_t size =
        hello_size + frame_of(whole + hello_size, STELE_PEERS_DATA, STELE_PEERS_CONTROL, "data", 4);
    start_one();
    for (size_t bit = 0; bit < size * 8; bit++) {
        uint8_t bytes[2048];
        memcpy(bytes, whole, size);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        raw_open(nodes[1].port);
        raw_send(bytes, size);
        const enum stele_peers_refusal refusal = raw_expect_refusal();
        /* The magic is looked at before the checksum. */
        const size_t byte = bit / 8 < hello_size ? bit / 8 : bit / 8 - hello_size;
        CHECK_EQ(refusal, byte < 4 ? STELE_PEERS_MALFORMED : STELE_PEERS_DAMAGED);
        raw_close();
        CHECK_EQ(nodes[1].hellos, bit / 8 < hello_size ? 0 : bit + 1 - hello_size * 8);
    }
    CHECK_EQ(nodes[1].frames[3][0], 0);
    tear_down();
}

TEST(frames_that_may_not_come_are_refused)
{
    static const struct {
        bool greeted;
        enum stele_peers_lane lane;
        uint8_t kind, frame_lane;
        size_t size;
        enum stele_peers_refusal want;
    } cases[] = {
        {false, STELE_PEERS_CONTROL, STELE_PEERS_DATA, 0, 4, STELE_PEERS_MALFORMED},
        {false, STELE_PEERS_CONTROL, STELE_PEERS_PING, 0, 8, STELE_PEERS_MALFORMED},
        {false, STELE_PEERS_CONTROL, STELE_PEERS_WELCOME, 0, 80, STELE_PEERS_MALFORMED},
        {false, STELE_PEERS_CONTROL, STELE_PEERS_REFUSE, 0, 4, STELE_PEERS_MALFORMED},
        {false, STELE_PEERS_CONTROL, STELE_PEERS_REQUEST, 2, 4, STELE_PEERS_MALFORMED},
        {false, STELE_PEERS_CONTROL, STELE_PEERS_HELLO, 0, 75, STELE_PEERS_MALFORMED},
        {false, STELE_PEERS_CONTROL, STELE_PEERS_HELLO, 0, 76, STELE_PEERS_MALFORMED},
        {false, STELE_PEERS_CONTROL, STELE_PEERS_HELLO, 0, 1025, STELE_PEERS_TOO_LARGE},
        {false, STELE_PEERS_CONTROL, 0, 0, 0, STELE_PEERS_MALFORMED},
        {false, STELE_PEERS_CONTROL, STELE_PEERS_KINDS_END, 0, 0, STELE_PEERS_MALFORMED},
        {true, STELE_PEERS_CONTROL, STELE_PEERS_HELLO, 0, 80, STELE_PEERS_MALFORMED},
        {true, STELE_PEERS_CONTROL, STELE_PEERS_WELCOME, 0, 80, STELE_PEERS_MALFORMED},
        {true, STELE_PEERS_CONTROL, STELE_PEERS_REFUSE, 0, 4, STELE_PEERS_MALFORMED},
        {true, STELE_PEERS_CONTROL, STELE_PEERS_CREDIT, 0, 8, STELE_PEERS_MALFORMED},
        {true, STELE_PEERS_BULK, STELE_PEERS_CREDIT, 1, 8, STELE_PEERS_MALFORMED},
        {true, STELE_PEERS_CONTROL, STELE_PEERS_REQUEST, 0, 4, STELE_PEERS_MALFORMED},
        {true, STELE_PEERS_CONTROL, STELE_PEERS_ANSWER, 0, 4, STELE_PEERS_MALFORMED},
        {true, STELE_PEERS_CONTROL, STELE_PEERS_PING, 0, 7, STELE_PEERS_MALFORMED},
        {true, STELE_PEERS_CONTROL, STELE_PEERS_PING, 0, 9, STELE_PEERS_TOO_LARGE},
        {true, STELE_PEERS_CONTROL, STELE_PEERS_DATA, 1, 4, STELE_PEERS_MALFORMED},
        {true, STELE_PEERS_BULK, STELE_PEERS_DATA, 0, 4, STELE_PEERS_MALFORMED},
        {true, STELE_PEERS_JOIN, STELE_PEERS_DATA, 2, 4, STELE_PEERS_MALFORMED},
        {true, STELE_PEERS_JOIN, STELE_PEERS_ANSWER, 2, 4, STELE_PEERS_MALFORMED},
    };
    static const uint8_t zeros[2048];
    start_one();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (cases[i].greeted) {
            greet(cases[i].lane, i);
        } else {
            raw_open(nodes[1].port);
        }
        uint8_t bytes[2048 + STELE_PEERS_HEADER_SIZE];
        raw_send(bytes, frame_of(bytes, cases[i].kind, cases[i].frame_lane, zeros, cases[i].size));
        CHECK_EQ(raw_expect_refusal(), cases[i].want);
        raw_close();
    }
    CHECK_EQ(nodes[1].frames[3][0] + nodes[1].frames[3][1], 0);
    tear_down();
}

TEST(names_that_are_none_are_refused)
{
    static const char *const names[] = {".com", "a b", "a\n", "\x7f", "\xc3\xa9", "-", "*"};
    start_one();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct stele_peers_hello hello = raw_hello(STELE_PEERS_CONTROL, i);
        (void)snprintf(hello.name, sizeof hello.name, "%s", names[i]);
        raw_open(nodes[1].port);
        raw_hello_out(STELE_PEERS_HELLO, &hello);
        CHECK_EQ(raw_expect_refusal(), STELE_PEERS_MALFORMED);
        raw_close();
    }
    CHECK_EQ(nodes[1].hellos, 0);
    tear_down();
}

TEST(hosts_that_are_none_are_refused)
{
    uint8_t payload[STELE_PEERS_HELLO_SIZE_MAX];
    struct stele_peers_hello hello = raw_hello(STELE_PEERS_CONTROL, 1);
    (void)snprintf(hello.host, sizeof hello.host, "%s", "::1");
    hello.port = 1112;
    const size_t size = stele_peers_hello_encode(&hello, payload);
    struct stele_peers_hello again;
    const struct stele_bytes whole = {.data = payload, .size = size};
    CHECK_EQ(stele_peers_hello_decode(whole, &again), STELE_OK);
    CHECK_TEXT_EQ(again.host, "::1");
    CHECK_EQ(again.port, 1112);
    for (size_t cut = 0; cut < size; cut++) {
        CHECK_EQ(stele_peers_hello_decode(stele_bytes_slice(whole, 0, cut), &again),
                 STELE_E_INVALID);
    }
    payload[size - 3] = '.';
    CHECK_EQ(stele_peers_hello_decode(whole, &again), STELE_E_INVALID);
    payload[size - 3] = ' ';
    CHECK_EQ(stele_peers_hello_decode(whole, &again), STELE_E_INVALID);
    payload[size - 3] = ':';
    stele_store_u16le(payload + size - 6, 0);
    CHECK_EQ(stele_peers_hello_decode(whole, &again), STELE_E_INVALID);
}

TEST(a_hello_is_judged_before_the_owner_sees_it)
{
    start_one();
    struct stele_peers_hello hello = raw_hello(STELE_PEERS_CONTROL, 1);
    hello.number = 1; /* That of the node itself. */
    raw_open(nodes[1].port);
    raw_hello_out(STELE_PEERS_HELLO, &hello);
    CHECK_EQ(raw_expect_refusal(), STELE_PEERS_WRONG_INCARNATION);
    raw_close();
    hello = raw_hello(STELE_PEERS_CONTROL, 1);
    hello.to = 0; /* Whoever it is: only to join. */
    raw_open(nodes[1].port);
    raw_hello_out(STELE_PEERS_HELLO, &hello);
    CHECK_EQ(raw_expect_refusal(), STELE_PEERS_WRONG_NODE);
    raw_close();
    CHECK_EQ(nodes[1].hellos, 0);
    hello = raw_hello(STELE_PEERS_CONTROL, 1);
    hello.number = 0;
    raw_open(nodes[1].port);
    raw_hello_out(STELE_PEERS_HELLO, &hello);
    CHECK_EQ(raw_expect_refusal(), STELE_PEERS_UNKNOWN_NODE);
    raw_close();
    tear_down();
}

static bool frame_came(void)
{
    return nodes[1].frames[3][0] > 0;
}

static bool third_frame_came(void)
{
    return nodes[1].frames[3][0] >= 3;
}

TEST(a_later_version_may_say_more_in_its_hello)
{
    uint8_t payload[STELE_PEERS_HELLO_SIZE_MAX] = {0};
    struct stele_peers_hello hello = raw_hello(STELE_PEERS_CONTROL, 1);
    hello.version_max = 9;
    (void)stele_peers_hello_encode(&hello, payload);
    start_one();
    raw_open(nodes[1].port);
    uint8_t bytes[2048];
    raw_send(bytes, frame_of(bytes, STELE_PEERS_HELLO, 0, payload, sizeof payload));
    raw_expect(STELE_PEERS_WELCOME);
    struct stele_peers_hello welcome;
    CHECK_EQ(stele_peers_hello_decode(raw.payload, &welcome), STELE_OK);
    CHECK_EQ(welcome.version_min, 1);
    CHECK_EQ(welcome.version_max, 1);
    CHECK_EQ(welcome.number, 1);
    CHECK_TEXT_EQ(welcome.name, "node-1");
    raw_close();
    tear_down();
}

TEST(bytes_may_come_one_by_one)
{
    uint8_t bytes[2048];
    const struct stele_peers_hello hello = raw_hello(STELE_PEERS_CONTROL, 1);
    size_t size = hello_frame(bytes, STELE_PEERS_HELLO, &hello);
    size += frame_of(bytes + size, STELE_PEERS_DATA, 0, "first", 5);
    size += frame_of(bytes + size, STELE_PEERS_DATA, 0, "", 0);
    size += frame_of(bytes + size, STELE_PEERS_DATA, 0, "third", 5);
    start_one();
    raw_open(nodes[1].port);
    for (size_t i = 0; i < size; i++) {
        raw_send(bytes + i, 1);
        run_for(0);
    }
    run_until(third_frame_came);
    CHECK_EQ(nodes[1].frames[3][0], 3);
    CHECK_EQ(nodes[1].last[3][0].size, 5);
    CHECK_BYTES_EQ(nodes[1].last[3][0].data, "third", 5);
    raw_close();
    tear_down();
}

/* ---- Bounds ---- */

static bool inbound_is_down(void)
{
    return nodes[1].inbound_downs[3][0] > 0;
}

TEST(a_promise_of_much_costs_nothing)
{
    uint8_t header[STELE_PEERS_HEADER_SIZE];
    start_one();
    greet(STELE_PEERS_CONTROL, 1);
    const uint64_t before = stele_linux_alloc_used(alloc);
    static uint8_t much[1 << 20];
    const struct stele_bytes part = {.data = much, .size = sizeof much};
    stele_peers_frame_encode(header, STELE_PEERS_DATA, 0, &part, 1);
    raw_send(header, sizeof header);
    raw_send(much, 1000);
    run_for(20000);
    CHECK(stele_linux_alloc_used(alloc) < before + 16384);
    /* The connection ends in the middle of it. */
    raw_close();
    run_until(inbound_is_down);
    CHECK_EQ(nodes[1].frames[3][0], 0);
    CHECK_EQ(nodes[1].inbound_downs[3][0], 1);
    tear_down();
}

TEST(a_frame_above_the_limit_is_refused_by_its_header)
{
    static const uint8_t much[1001];
    set_up();
    struct stele_peers_options options = usual_options(&nodes[1], 1);
    options.frame_size_max = 1000;
    (void)start_with(1, options);
    know_raw(1);
    greet(STELE_PEERS_CONTROL, 1);
    raw_frame_out(STELE_PEERS_DATA, 0, much, 1000);
    run_until(frame_came);
    raw_frame_out(STELE_PEERS_DATA, 0, much, 1001);
    CHECK_EQ(raw_expect_refusal(), STELE_PEERS_TOO_LARGE);
    raw_close();
    CHECK_EQ(stele_peers_send(nodes[1].peers, 3, STELE_PEERS_CONTROL, stele_bytes_of_text("x")),
             STELE_E_CLOSED);
    tear_down();
}

enum { PLACES = 5, MANY = 20 };

static bool most_are_evicted(void)
{
    struct stele_peers_counts counts;
    stele_peers_counts(nodes[1].peers, &counts);
    CHECK(counts.strangers <= PLACES);
    return counts.evicted >= MANY - PLACES;
}

static bool no_stranger_is_left(void)
{
    struct stele_peers_counts counts;
    stele_peers_counts(nodes[1].peers, &counts);
    return counts.strangers == 0;
}

TEST(strangers_have_their_places_and_their_time)
{
    int fds[MANY];
    set_up();
    struct stele_peers_options options = usual_options(&nodes[1], 1);
    options.strangers_max = PLACES;
    options.connect_ms = 1000; /* Enough for all of them to come. */
    (void)start_with(1, options);
    (void)start(2);
    struct stele_peers_counts counts;
    for (int i = 0; i < MANY; i++) {
        raw_open(nodes[1].port);
        raw_send("SPF1", 4); /* Promising, but no more. */
        fds[i] = raw.fd;
    }
    run_until(most_are_evicted);
    run_for(20000);
    stele_peers_counts(nodes[1].peers, &counts);
    CHECK(counts.strangers <= PLACES);
    CHECK_EQ(counts.evicted, MANY - PLACES);
    /* They do not keep nodes out. */
    introduce();
    run_until(all_up);
    run_until(no_stranger_is_left);
    stele_peers_counts(nodes[1].peers, &counts);
    CHECK_EQ(counts.strangers, 0);
    CHECK(counts.unshaken > 0);
    CHECK(all_up());
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
    tear_down();
}

/* ---- Two of one ---- */

TEST(a_newer_connection_cuts_the_older_one_before_its_first_frame)
{
    uint8_t half[64];
    const size_t size = frame_of(half, STELE_PEERS_DATA, 0, "old", 3);
    start_one();
    greet(STELE_PEERS_CONTROL, 5);
    const struct raw old = raw;
    CHECK_EQ(send(old.fd, half, size - 1, MSG_NOSIGNAL), (ssize_t)size - 1);
    greet(STELE_PEERS_CONTROL, 6);
    CHECK_EQ(nodes[1].inbound_ups[3][0], 2);
    CHECK_EQ(nodes[1].inbound_downs[3][0], 0);
    (void)send(old.fd, half + size - 1, 1, MSG_NOSIGNAL);
    raw_frame_out(STELE_PEERS_DATA, 0, "new", 3);
    run_until(frame_came);
    run_for(10000);
    CHECK_EQ(nodes[1].frames[3][0], 1);
    CHECK_BYTES_EQ(nodes[1].last[3][0].data, "new", 3);
    const int fd = raw.fd;
    raw = old;
    run_until(raw_has_ended);
    raw_close();
    /* One that was made before it, and was late. */
    struct stele_peers_hello hello = raw_hello(STELE_PEERS_CONTROL, 4);
    raw_open(nodes[1].port);
    raw_hello_out(STELE_PEERS_HELLO, &hello);
    CHECK_EQ(raw_expect_refusal(), STELE_PEERS_STALE);
    raw_close();
    /* A new process counts from the beginning. */
    hello.boot++;
    raw_open(nodes[1].port);
    raw_hello_out(STELE_PEERS_HELLO, &hello);
    raw_expect(STELE_PEERS_WELCOME);
    raw_close();
    CHECK_EQ(close(fd), 0);
    tear_down();
}

/* ---- Who is dialled ---- */

static bool raw_is_greeted(void)
{
    return raw_has_frame() && raw.frame.kind == STELE_PEERS_HELLO;
}

/* Until the lane that is wanted is dialled; the other one is left to wait for its answer. */
static void be_dialled(enum stele_peers_lane lane)
{
    struct stele_peers_hello hello = {.lane = STELE_PEERS_JOIN};
    raw_listen();
    know_raw(raw.port);
    for (;;) {
        run_until(raw_is_dialled);
        kind_wanted = STELE_PEERS_HELLO;
        run_until(raw_is_greeted);
        CHECK_EQ(stele_peers_hello_decode(raw.payload, &hello), STELE_OK);
        if (hello.lane == lane) {
            break;
        }
        CHECK_EQ(close(raw.fd), 0);
        raw.taken = raw.size = 0;
    }
}

static void answer_dial(enum stele_peers_lane lane)
{
    struct stele_peers_hello hello = raw_hello(lane, 1);
    raw_hello_out(STELE_PEERS_WELCOME, &hello);
}

static bool control_is_up(void)
{
    return nodes[1].ups[3][0] > 0;
}
static bool control_is_down(void)
{
    return nodes[1].downs[3][0] > 0;
}
static bool bulk_is_up(void)
{
    return nodes[1].ups[3][1] > 0;
}
static bool bulk_is_down(void)
{
    return nodes[1].downs[3][1] > 0;
}
static bool control_has_failed(void)
{
    return nodes[1].failures[3][0] > 0;
}

TEST(an_answer_of_somebody_else_is_refused)
{
    static const struct {
        uint16_t version;
        uint64_t number;
        const char *cluster;
        enum stele_peers_refusal want;
    } cases[] = {
        {1, 2, "the same cluster", STELE_PEERS_WRONG_NODE},
        {1, 3, "another cluster.", STELE_PEERS_WRONG_CLUSTER},
        {2, 3, "the same cluster", STELE_PEERS_WRONG_VERSION},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_up();
        (void)start(1);
        be_dialled(STELE_PEERS_CONTROL);
        nodes[1].failures[3][0] = 0;
        struct stele_peers_hello hello = raw_hello(STELE_PEERS_CONTROL, 1);
        hello.version_min = hello.version_max = cases[i].version;
        hello.number = cases[i].number;
        memcpy(hello.cluster_id, cases[i].cluster, 16);
        raw_hello_out(STELE_PEERS_WELCOME, &hello);
        run_until(control_has_failed);
        CHECK_EQ(nodes[1].why.cause, STELE_PEERS_REFUSING);
        CHECK_EQ(nodes[1].why.refusal, cases[i].want);
        raw_close();
        tear_down();
    }
}

TEST(an_answer_may_not_say_what_only_those_who_dial_say)
{
    static const uint8_t kinds[] = {STELE_PEERS_HELLO,   STELE_PEERS_DATA,   STELE_PEERS_REQUEST,
                                    STELE_PEERS_WELCOME, STELE_PEERS_ANSWER, STELE_PEERS_CREDIT};
    static const uint8_t zeros[8];
    for (size_t i = 0; i < sizeof kinds; i++) {
        set_up();
        (void)start(1);
        be_dialled(STELE_PEERS_CONTROL);
        answer_dial(STELE_PEERS_CONTROL);
        run_until(control_is_up);
        raw_frame_out(kinds[i], 0, zeros, sizeof zeros);
        run_until(control_is_down);
        CHECK_EQ(nodes[1].why.cause, STELE_PEERS_REFUSING);
        CHECK_EQ(nodes[1].why.refusal, STELE_PEERS_MALFORMED);
        raw_close();
        tear_down();
    }
}

TEST(the_words_of_a_refusal_are_made_printable)
{
    set_up();
    (void)start(1);
    be_dialled(STELE_PEERS_CONTROL);
    nodes[1].failures[3][0] = 0;
    uint8_t payload[STELE_PEERS_REFUSE_SIZE_MAX];
    const size_t size = stele_peers_refuse_encode(STELE_PEERS_NOT_NOW, "\x1b[2Jno\n", payload);
    raw_frame_out(STELE_PEERS_REFUSE, 2, payload, size);
    run_until(control_has_failed);
    CHECK_EQ(nodes[1].why.cause, STELE_PEERS_REFUSED);
    CHECK_EQ(nodes[1].why.refusal, STELE_PEERS_NOT_NOW);
    CHECK_TEXT_EQ(nodes[1].words, "?[2Jno?");
    raw_close();
    tear_down();
}

static bool nothing_is_queued(void)
{
    return status_of(&nodes[1], 3, STELE_PEERS_BULK).queued == 0;
}

TEST(credit_for_what_was_never_sent_ends_the_connection)
{
    set_up();
    (void)start(1);
    be_dialled(STELE_PEERS_BULK);
    answer_dial(STELE_PEERS_BULK);
    run_until(bulk_is_up);
    CHECK_EQ(stele_peers_send(nodes[1].peers, 3, STELE_PEERS_BULK, stele_bytes_of_text("1234")),
             STELE_OK);
    raw_number_out(STELE_PEERS_CREDIT, 1, STELE_PEERS_HEADER_SIZE + 4);
    run_until(nothing_is_queued);
    CHECK_EQ(nodes[1].downs[3][1], 0);
    raw_number_out(STELE_PEERS_CREDIT, 1, STELE_PEERS_HEADER_SIZE + 5);
    run_until(bulk_is_down);
    CHECK_EQ(nodes[1].why.refusal, STELE_PEERS_MALFORMED);
    raw_close();
    tear_down();
}

/* ---- Who does not read ---- */

static void start_impatient(void)
{
    set_up();
    struct stele_peers_options options = usual_options(&nodes[1], 1);
    options.ping_ms = 20;
    options.dead_ms = 200;
    options.control_queue_size = 100000;
    options.bulk_window = 100000;
    (void)start_with(1, options);
}

TEST(who_says_nothing_is_cut)
{
    start_impatient();
    be_dialled(STELE_PEERS_CONTROL);
    const int64_t begin_us = stele_loop_now_us(base); /* Before the last word of the other side. */
    answer_dial(STELE_PEERS_CONTROL);
    run_until(control_is_up);
    run_until(control_is_down);
    CHECK_EQ(nodes[1].why.cause, STELE_PEERS_SILENT);
    CHECK(stele_loop_now_us(base) - begin_us > 150000);
    raw_close();
    /* Also who has dialled. */
    greet(STELE_PEERS_CONTROL, 1);
    run_until(raw_has_ended);
    CHECK_EQ(nodes[1].inbound_downs[3][0], 1);
    raw_close();
    tear_down();
}

static struct stele_timer pinger;
static uint8_t pinger_lane;
static void on_pinger(struct stele_timer *timer)
{
    raw_number_out(STELE_PEERS_PING, pinger_lane, 7);
    base->ops->timer_start(base, timer, stele_loop_now_us(base) + 20000);
}

static void keep_pinging(uint8_t lane)
{
    pinger_lane = lane;
    pinger = (struct stele_timer){.on_due = on_pinger};
    base->ops->timer_start(base, &pinger, stele_loop_now_us(base));
}

static uint64_t last_number, numbers;
static bool newest_came(void)
{
    while (raw_frame()) {
        if (raw.frame.kind == STELE_PEERS_DATA) {
            const uint64_t number = stele_load_u64le(raw.payload.data);
            CHECK_EQ(raw.payload.size, 10000);
            CHECK(numbers == 0 || number > last_number);
            last_number = number;
            numbers++;
        }
    }
    return last_number == 2999;
}

TEST(who_does_not_read_gets_the_newest_of_the_urgent_lane)
{
    static uint8_t bytes[10000];
    start_impatient();
    be_dialled(STELE_PEERS_CONTROL);
    answer_dial(STELE_PEERS_CONTROL);
    run_until(control_is_up);
    keep_pinging(0);
    const uint64_t before = stele_linux_alloc_used(alloc);
    for (uint64_t i = 0; i < 3000; i++) {
        stele_store_u64le(bytes, i);
        CHECK_EQ(stele_peers_send(nodes[1].peers, 3, STELE_PEERS_CONTROL,
                                  (struct stele_bytes){.data = bytes, .size = sizeof bytes}),
                 STELE_OK);
        CHECK(status_of(&nodes[1], 3, STELE_PEERS_CONTROL).queued <= 100000 + 20000);
        if (i % 20 == 19) {
            run_for(0);
        }
    }
    /* What the socket holds comes on top. */
    CHECK(stele_linux_alloc_used(alloc) < before + 2000000);
    const uint64_t dropped = status_of(&nodes[1], 3, STELE_PEERS_CONTROL).frames_dropped;
    CHECK(dropped > 0);
    last_number = numbers = 0;
    run_until(newest_came);
    CHECK_EQ(numbers, 3000 - dropped);
    CHECK_EQ(nodes[1].downs[3][0], 0);
    base->ops->timer_stop(base, &pinger);
    raw_close();
    tear_down();
}

static bool end_came(void)
{
    while (raw_frame()) {
        if (raw.frame.kind == STELE_PEERS_DATA) {
            numbers++;
            last_number = raw.frame.size;
        }
    }
    return numbers > 0 && last_number == 9999;
}

#define LARGE 900000

static bool a_large_one_has_begun(void)
{
    return status_of(&nodes[1], 3, STELE_PEERS_CONTROL).queued < LARGE;
}

TEST(a_frame_that_has_begun_is_finished_whatever_is_dropped)
{
    static uint8_t bytes[LARGE];
    start_impatient();
    be_dialled(STELE_PEERS_CONTROL);
    answer_dial(STELE_PEERS_CONTROL);
    run_until(control_is_up);
    keep_pinging(0);
    /* Until the socket takes no more, and one of them has left in part. */
    uint64_t sent = 0;
    while (status_of(&nodes[1], 3, STELE_PEERS_CONTROL).queued == 0 || sent < 4) {
        CHECK_EQ(stele_peers_send(nodes[1].peers, 3, STELE_PEERS_CONTROL,
                                  (struct stele_bytes){.data = bytes, .size = sizeof bytes}),
                 STELE_OK);
        run_until(a_large_one_has_begun);
        sent++;
        CHECK(sent < 100);
    }
    CHECK(status_of(&nodes[1], 3, STELE_PEERS_CONTROL).queued < sizeof bytes);
    const struct stele_bytes small = {.data = bytes, .size = 9999};
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(stele_peers_send(nodes[1].peers, 3, STELE_PEERS_CONTROL, small), STELE_OK);
        sent++;
    }
    const uint64_t dropped = status_of(&nodes[1], 3, STELE_PEERS_CONTROL).frames_dropped;
    CHECK(dropped > 0);
    numbers = last_number = 0;
    /* Every byte of it is there: raw_frame() checks each header. */
    run_until(end_came);
    CHECK_EQ(numbers, sent - dropped);
    base->ops->timer_stop(base, &pinger);
    raw_close();
    tear_down();
}

TEST(who_asks_and_stays_is_shown_out)
{
    set_up();
    struct stele_peers_options options = usual_options(&nodes[1], 1);
    options.ping_ms = 20;
    options.join_ms = 100;
    (void)start_with(1, options);
    greet(STELE_PEERS_JOIN, 1);
    keep_pinging(STELE_PEERS_JOIN);
    run_until(raw_has_ended);
    base->ops->timer_stop(base, &pinger);
    raw_close();
    tear_down();
}

TEST(a_question_is_answered_once)
{
    start_one();
    greet(STELE_PEERS_JOIN, 1);
    raw_frame_out(STELE_PEERS_REQUEST, STELE_PEERS_JOIN, "?", 1);
    while (nodes[1].request == 0) {
        run_for(0);
    }
    CHECK_EQ(stele_peers_answer(nodes[1].peers, nodes[1].request, stele_bytes_of_text("yes")),
             STELE_OK);
    CHECK_EQ(stele_peers_answer(nodes[1].peers, nodes[1].request, stele_bytes_of_text("no")),
             STELE_NOT_FOUND);
    raw_expect(STELE_PEERS_ANSWER);
    CHECK_EQ(raw.payload.size, 3);
    /* Two questions at once are too many. */
    raw_frame_out(STELE_PEERS_REQUEST, STELE_PEERS_JOIN, "?", 1);
    raw_frame_out(STELE_PEERS_REQUEST, STELE_PEERS_JOIN, "?", 1);
    CHECK_EQ(raw_expect_refusal(), STELE_PEERS_MALFORMED);
    raw_close();
    tear_down();
}

static bool there_is_room(void)
{
    return nodes[1].rooms[3][1] > 0;
}

TEST(who_does_not_take_fills_the_window_of_the_large_lane)
{
    static uint8_t bytes[10000];
    start_impatient();
    be_dialled(STELE_PEERS_BULK);
    answer_dial(STELE_PEERS_BULK);
    run_until(bulk_is_up);
    keep_pinging(1);
    uint64_t sent = 0;
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        outcome = stele_peers_send(nodes[1].peers, 3, STELE_PEERS_BULK,
                                   (struct stele_bytes){.data = bytes, .size = sizeof bytes});
        sent += outcome == STELE_OK;
    }
    CHECK_EQ(outcome, STELE_E_OVERLOADED);
    CHECK_EQ(sent, 10);
    run_for(50000);
    CHECK_EQ(nodes[1].rooms[3][1], 0);
    raw_number_out(STELE_PEERS_CREDIT, 1, 5 * 10020);
    run_for(20000);
    CHECK_EQ(nodes[1].rooms[3][1], 0);
    raw_number_out(STELE_PEERS_CREDIT, 1, 6 * 10020);
    run_until(there_is_room);
    CHECK_EQ(nodes[1].rooms[3][1], 1);
    base->ops->timer_stop(base, &pinger);
    raw_close();
    tear_down();
}
