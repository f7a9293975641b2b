/* With TLS, only who holds a certificate of the cluster's authority for its own name is a node.
 *
 * Method: as test_peers, with certificates made on the spot. */
#include "lib/certificates.h"
#include "raw.h"

static struct stele_peers_tls_files files_of[NODES];

static void use_pair(uint64_t number, const char *cn, const char *names)
{
    char file[16];
    (void)snprintf(file, sizeof file, "%u", (unsigned)number);
    make_pair(file, cn, names, 100 + (long)number);
}

static void start_certified(uint64_t number)
{
    static char paths[NODES][3][128];
    (void)snprintf(paths[number][0], 128, "%s/%u.pem", folder, (unsigned)number);
    (void)snprintf(paths[number][1], 128, "%s/%u.key", folder, (unsigned)number);
    (void)snprintf(paths[number][2], 128, "%s/ca.pem", folder);
    files_of[number] = (struct stele_peers_tls_files){
        .certificate = paths[number][0], .key = paths[number][1], .ca = paths[number][2]};
    struct stele_peers_options options = usual_options(&nodes[number], number);
    options.tls = &files_of[number];
    (void)start_with(number, options);
}

static void begin(void)
{
    set_up();
    make_authority();
    use_pair(1, "node-1", "DNS:one.example.org");
    use_pair(2, "node-2", "DNS:two.example.org");
}

static void end(void)
{
    static const char *const names[] = {"1.pem", "1.key", "2.pem", "2.key"};
    tear_down();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)unlink(path(names[i]));
    }
    drop_authority();
}

static bool have_failed(void)
{
    return nodes[1].failures[2][0] > 0 && nodes[2].failures[1][0] > 0;
}

static uint64_t frames_wanted;
static bool frames_are_there(void)
{
    return nodes[2].frames[1][0] >= frames_wanted;
}

static void check_frames(void)
{
    static uint8_t bytes[300000];
    nodes[2].in_order = true;
    frames_wanted = 0;
    memset(nodes[2].frames, 0, sizeof nodes[2].frames);
    memset(nodes[2].next, 0, sizeof nodes[2].next);
    for (size_t size = 8; size < sizeof bytes; size = size * 3 / 2) {
        for (size_t i = 8; i < size; i++) {
            bytes[i] = (uint8_t)(i * 3 + size);
        }
        stele_store_u64le(bytes, frames_wanted++);
        CHECK_EQ(stele_peers_send(nodes[1].peers, 2, STELE_PEERS_CONTROL,
                                  (struct stele_bytes){.data = bytes, .size = size}),
                 STELE_OK);
    }
    run_until(frames_are_there);
    CHECK_BYTES_EQ(nodes[2].last[1][0].data + 8, bytes + 8, nodes[2].last[1][0].size - 8);
}

TEST(nodes_of_one_authority_connect_and_what_they_say_arrives)
{
    begin();
    start_certified(1);
    start_certified(2);
    introduce();
    run_until(all_up);
    check_frames();
    CHECK(stele_peers_tls_expires(nodes[1].peers) < INT64_MAX);
    run_for(1300000); /* Pings pass as well. */
    CHECK_EQ(nodes[1].downs[2][0] + nodes[1].downs[2][1], 0);
    end();
}

TEST(a_certificate_for_the_host_is_enough_and_that_of_the_authority_if_any_name_may_be)
{
    begin();
    use_pair(1, "x", "IP:127.0.0.1");
    use_pair(2, "x", "IP:127.0.0.1");
    start_certified(1);
    start_certified(2);
    introduce();
    run_until(all_up);
    tear_down();
    set_up();
    use_pair(1, "x", "IP:10.0.0.1");
    use_pair(2, "x", "IP:10.0.0.1");
    for (uint64_t i = 1; i < 3; i++) {
        start_certified(i);
        stop_node(&nodes[i]);
        nodes[i].options.any_name = true;
        (void)start_with(i, nodes[i].options);
    }
    introduce();
    run_until(all_up);
    end();
}

TEST(a_certificate_of_another_authority_is_refused)
{
    begin();
    start_certified(1);
    make_authority();
    use_pair(2, "node-2", "DNS:two.example.org");
    start_certified(2);
    introduce();
    run_until(have_failed);
    CHECK_EQ(nodes[1].why.cause, STELE_PEERS_TLS);
    CHECK_EQ(nodes[2].why.cause, STELE_PEERS_TLS);
    CHECK_TEXT_HAS(nodes[1].words, "certificate verify failed");
    CHECK_EQ(nodes[1].hellos + nodes[2].hellos, 0);
    end();
}

TEST(a_certificate_for_somebody_else_is_refused_by_both_sides)
{
    begin();
    use_pair(2, "node-3", "DNS:three.example.org");
    start_certified(1);
    start_certified(2);
    introduce();
    run_until(have_failed);
    CHECK_EQ(nodes[1].why.cause, STELE_PEERS_REFUSING);
    CHECK_EQ(nodes[1].why.refusal, STELE_PEERS_WRONG_NAME);
    CHECK_TEXT_EQ(nodes[1].words, "the certificate is not for \"node-2\"");
    CHECK_EQ(nodes[2].why.cause, STELE_PEERS_REFUSED);
    CHECK_EQ(nodes[2].why.refusal, STELE_PEERS_WRONG_NAME);
    CHECK_EQ(nodes[1].hellos, 0);
    end();
}

TEST(a_name_that_is_said_is_not_that_of_the_number)
{
    /* It is certified for what it says, but node 2 is somebody else. */
    begin();
    use_pair(2, "node-3", "DNS:three.example.org");
    start_certified(1);
    start_certified(2);
    stop_node(&nodes[2]);
    nodes[2].options.name = "node-3";
    (void)start_with(2, nodes[2].options);
    introduce();
    run_until(have_failed);
    CHECK_EQ(nodes[2].why.refusal, STELE_PEERS_WRONG_NAME);
    CHECK_EQ(nodes[1].hellos, 0);
    end();
}

TEST(plain_text_is_refused)
{
    begin();
    start_certified(1);
    (void)start(2);
    introduce();
    run_until(have_failed);
    CHECK_EQ(nodes[1].hellos + nodes[2].hellos, 0);
    struct stele_peers_counts counts;
    stele_peers_counts(nodes[1].peers, &counts);
    CHECK(counts.unshaken > 0);
    end();
}

TEST(plain_text_leaves_the_machine_only_if_the_owner_says_so)
{
    struct stele_error err = {0};
    struct sockaddr_in any = loopback(0);
    any.sin_addr.s_addr = htonl(INADDR_ANY);
    set_up();
    (void)start(1);
    CHECK_EQ(stele_peers_listen(nodes[1].peers, (const struct sockaddr *)(const void *)&any,
                                sizeof any, NULL, &err),
             STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "0.0.0.0:0: plain text");
    const struct stele_peers_node far = {
        .number = 2, .name = "node-2", .host = "192.0.2.1", .port = 1112};
    CHECK_OK(stele_peers_set(nodes[1].peers, &far, 1, &err), err);
    nodes[2].failures[1][0] = 1;
    run_until(have_failed);
    CHECK_EQ(nodes[1].why.cause, STELE_PEERS_REFUSING);
    CHECK_EQ(nodes[1].why.refusal, STELE_PEERS_NOT_ALLOWED);
    tear_down();
}

TEST(reloading_drops_nothing_and_counts_for_new_connections)
{
    struct stele_error err = {0};
    begin();
    start_certified(1);
    start_certified(2);
    introduce();
    run_until(all_up);
    use_pair(1, "node-9", "DNS:nine.example.org");
    CHECK_OK(stele_peers_reload(nodes[1].peers, &err), err);
    check_frames();
    CHECK_EQ(nodes[1].downs[2][0], 0);
    /* New connections: it is somebody else now. */
    stop_node(&nodes[2]);
    start_certified(2);
    memset(nodes[1].failures, 0, sizeof nodes[1].failures);
    memset(nodes[2].failures, 0, sizeof nodes[2].failures);
    introduce();
    run_until(have_failed);
    CHECK_EQ(nodes[2].why.refusal, STELE_PEERS_WRONG_NAME);
    /* Files that do not fit are not taken. */
    use_pair(1, "node-1", "DNS:one.example.org");
    CHECK_OK(stele_peers_reload(nodes[1].peers, &err), err);
    CHECK_EQ(rename(path("2.key"), path("1.key")), 0);
    CHECK_EQ(stele_peers_reload(nodes[1].peers, &err), STELE_E_INVALID);
    run_until(all_up);
    check_frames();
    end();
}

static bool nobody_is_left(void)
{
    struct stele_peers_counts counts;
    stele_peers_counts(nodes[1].peers, &counts);
    return counts.unshaken == 2 && counts.strangers == 0;
}

TEST(who_never_finishes_the_handshake_is_cut)
{
    begin();
    start_certified(1);
    stop_node(&nodes[1]);
    nodes[1].options.connect_ms = 100;
    (void)start_with(1, nodes[1].options);
    raw_open(nodes[1].port);
    const int fd = raw.fd;
    raw_open(nodes[1].port);
    raw_send("\x16\x03\x01\x02\x00\x01", 6);
    run_until(nobody_is_left);
    CHECK_EQ(close(fd), 0);
    raw_close();
    end();
}

TEST(without_all_files_there_is_no_beginning)
{
    struct stele_error err = {0};
    struct stele_peers *peers = NULL;
    begin();
    start_certified(1);
    struct stele_peers_options options = nodes[1].options;
    struct stele_peers_tls_files files = files_of[1];
    options.tls = &files;
    files.ca = NULL;
    CHECK_EQ(stele_peers_create(loop, &options, &events, NULL, &peers, &err), STELE_E_INVALID);
    files = files_of[1];
    files.key = path("2.key");
    CHECK_EQ(stele_peers_create(loop, &options, &events, NULL, &peers, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "2.key");
    end();
}
