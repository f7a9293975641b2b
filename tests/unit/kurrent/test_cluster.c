/* In a cluster: gossip tells of all nodes in the words that clients choose by, and what belongs to the
 * leader is refused elsewhere with the trailers that lead clients there.
 *
 * Method: a cluster that is what the test says; this node is the second of three. */
#include "bench.h"
#include "lib/check.h"
#include "lib/fakecluster.h"
#include "subs/groups.h"

#define PS "/event_store.client.persistent_subscriptions.PersistentSubscriptions/"

static struct bench bench;
static struct fakecluster cluster;
static struct stele_exchange exchange;
static bool stopped;

static void on_stopped(struct stele_task *task)
{
    (void)task;
    stopped = true;
}

static void open_all(void)
{
    struct stele_error err;
    bench_open(&bench);
    fakecluster_init(&cluster);
    bench.server.cluster = &cluster.cluster;
    CHECK_OK(stele_groups_create(bench.engine, bench.server.cluster, bench.hubs.at[0].hub,
                                 &bench.loop.loop, &bench.alloc, &bench.server.groups, &err),
             err);
    stele_grpc_destroy(bench.grpc);
    struct stele_grpc_table table = {.methods = {NULL}};
    stele_kurrent_streams_register(&table);
    stele_kurrent_v2_register(&table);
    stele_kurrent_gossip_register(&table);
    stele_kurrent_persistent_register(&table);
    stele_kurrent_projections_register(&table);
    stele_kurrent_operations_register(&table);
    CHECK_EQ(stele_grpc_create(&bench.server, &bench.auth, &table, &bench.alloc, &bench.grpc), 0);
}

static void close_all(void)
{
    struct stele_task task = {.run = on_stopped};
    stopped = false;
    bench_rest(&bench);
    stele_groups_stop(bench.server.groups, &task);
    for (int i = 0; !stopped; i++) {
        CHECK(i < 1000);
        (void)fake_loop_wait(&bench.loop);
    }
    stele_groups_destroy(bench.server.groups);
    bench_close(&bench);
}

/* A call of a path with the header "requires-leader" (NULL: without); a message that is empty. */
static int call(const char *path, const char *requires)
{
    fake_request(&exchange, &bench.loop, path, "admin");
    if (requires != NULL) {
        fake_header(&exchange, "requires-leader", requires);
    }
    stele_grpc_on_request(bench.grpc, &exchange);
    if (!exchange.ended) {
        fake_send(bench.grpc, &exchange, "", 0);
    }
    if (!exchange.ended) {
        bench_end(&bench, &exchange);
    }
    return bench_status(&bench, &exchange);
}

static void check_not_leader(const char *host, const char *port)
{
    CHECK_EQ(fake_status(&exchange), STELE_GRPC_NOT_FOUND);
    CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"), "Leader info available");
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "not-leader");
    CHECK_TEXT_EQ(fake_answer(&exchange, "leader-endpoint-host"), host);
    CHECK_TEXT_EQ(fake_answer(&exchange, "leader-endpoint-port"), port);
}

static const char *const stream_paths[] = {STREAMS "Read", STREAMS "Append", STREAMS "BatchAppend",
                                           STREAMS "Delete", STREAMS "Tombstone"};

/* ---- */

TEST(gossip_tells_of_every_node_with_its_state)
{
    static const struct {
        enum stele_node_state state;
        EventStore__Client__Gossip__MemberInfo__VNodeState number;
    } states[] = {
        {STELE_NODE_STARTING, EVENT_STORE__CLIENT__GOSSIP__MEMBER_INFO__VNODE_STATE__Initializing},
        {STELE_NODE_CATCHING_UP, EVENT_STORE__CLIENT__GOSSIP__MEMBER_INFO__VNODE_STATE__CatchingUp},
        {STELE_NODE_LEADERLESS,
         EVENT_STORE__CLIENT__GOSSIP__MEMBER_INFO__VNODE_STATE__ReadOnlyLeaderless},
        {STELE_NODE_FOLLOWER, EVENT_STORE__CLIENT__GOSSIP__MEMBER_INFO__VNODE_STATE__Follower},
        {STELE_NODE_LEADER, EVENT_STORE__CLIENT__GOSSIP__MEMBER_INFO__VNODE_STATE__Leader},
        {STELE_NODE_DRAINING, EVENT_STORE__CLIENT__GOSSIP__MEMBER_INFO__VNODE_STATE__ShuttingDown},
        {STELE_NODE_STOPPED, EVENT_STORE__CLIENT__GOSSIP__MEMBER_INFO__VNODE_STATE__Shutdown},
    };
    EventStore__Client__Empty empty = EVENT_STORE__CLIENT__EMPTY__INIT;
    open_all();
    for (size_t i = 0; i < STELE_COUNT_OF(states); i++) {
        cluster.nodes.nodes[2].state = states[i].state;
        cluster.nodes.nodes[2].is_alive = i % 2 == 0;
        bench_call(&bench, &exchange, "/event_store.client.gossip.Gossip/Read", "");
        bench_send(&bench, &exchange, &empty);
        EventStore__Client__Gossip__ClusterInfo *info =
            bench_next(&bench, &exchange, &event_store__client__gossip__cluster_info__descriptor);
        CHECK_EQ(info->n_members, 3);
        for (size_t n = 0; n < 3; n++) {
            const EventStore__Client__Gossip__MemberInfo *member = info->members[n];
            char host[16];
            (void)snprintf(host, sizeof host, "host-%zu", n + 1);
            CHECK_TEXT_EQ(member->http_end_point->address, host);
            CHECK_EQ(member->http_end_point->port, 2001 + n);
            CHECK_EQ(member->instance_id->structured->most_significant_bits,
                     0x1111111111111111 * (int64_t)(n + 1));
            CHECK(n == 1 ? member->time_stamp > INT64_C(16000000000000000)
                         : member->time_stamp == INT64_C(16000000000000000));
        }
        CHECK_EQ(info->members[2]->state, states[i].number);
        CHECK_EQ(info->members[2]->is_alive, i % 2 == 0);
        bench_free(info);
        CHECK_EQ(bench_status(&bench, &exchange), 0);
        fake_close(bench.grpc, &exchange);
    }
    close_all();
}

TEST(a_follower_refuses_what_requires_the_leader_and_says_where_that_is)
{
    open_all();
    fakecluster_lead(&cluster, 2);
    for (size_t i = 0; i < STELE_COUNT_OF(stream_paths); i++) {
        static const char *const yes[] = {"true", "True"};
        for (size_t y = 0; y < 2; y++) {
            CHECK_EQ(call(stream_paths[i], yes[y]), STELE_GRPC_NOT_FOUND);
            check_not_leader("host-3", "2003");
            fake_close(bench.grpc, &exchange);
        }
        static const char *const no[] = {NULL, "false", "yes", ""};
        for (size_t n = 0; n < 4; n++) {
            (void)call(stream_paths[i], no[n]);
            CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "");
            fake_close(bench.grpc, &exchange);
        }
    }
    close_all();
}

TEST(the_newer_services_say_it_with_a_detail)
{
    static const char *const paths[] = {
        "/kurrentdb.protocol.v2.streams.StreamsService/AppendSession",
        "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords"};
    open_all();
    fakecluster_lead(&cluster, 0);
    for (size_t i = 0; i < STELE_COUNT_OF(paths); i++) {
        CHECK_EQ(call(paths[i], "true"), STELE_GRPC_FAILED_PRECONDITION);
        /* code 9, "Leader info available", one detail with {1: {1: "host-1", 2: 2001}}. */
        CHECK_TEXT_EQ(
            fake_answer(&exchange, "grpc-status-details-bin"),
            "CAkSFUxlYWRlciBpbmZvIGF2YWlsYWJsZRpKCjl0eXBlLmdvb2dsZWFwaXMuY29tL2t1cnJlbnQucnBj"
            "Lk5vdExlYWRlck5vZGVFcnJvckRldGFpbHMSDQoLCgZob3N0LTEQ0Q8=");
        CHECK_TEXT_EQ(fake_answer(&exchange, "leader-endpoint-host"), "host-1");
        CHECK_TEXT_EQ(fake_answer(&exchange, "leader-endpoint-port"), "2001");
        fake_close(bench.grpc, &exchange);
        CHECK(call(paths[i], "false") != STELE_GRPC_OK);
        CHECK_TEXT_EQ(fake_answer(&exchange, "leader-endpoint-host"), "");
        fake_close(bench.grpc, &exchange);
    }
    close_all();
}

TEST(persistent_subscriptions_are_on_the_leader_whatever_the_client_says)
{
    static const char *const paths[] = {
        PS "Create",
        PS "Update",
        PS "Delete",
        PS "Read",
        PS "GetInfo",
        PS "List",
        PS "ReplayParked",
        PS "TruncateParked",
        PS "RestartSubsystem",
        "/event_store.client.operations.Operations/RestartPersistentSubscriptions"};
    open_all();
    fakecluster_lead(&cluster, 0);
    for (size_t i = 0; i < STELE_COUNT_OF(paths); i++) {
        CHECK_EQ(call(paths[i], "false"), STELE_GRPC_NOT_FOUND);
        check_not_leader("host-1", "2001");
        fake_close(bench.grpc, &exchange);
    }
    fakecluster_lead(&cluster, 1);
    for (size_t i = 0; i < STELE_COUNT_OF(paths); i++) {
        (void)call(paths[i], NULL);
        CHECK_TEXT_EQ(fake_answer(&exchange, "leader-endpoint-host"), "");
        fake_close(bench.grpc, &exchange);
    }
    close_all();
}

TEST(while_nobody_leads_clients_are_told_to_try_again)
{
    open_all();
    CHECK_EQ(call(STREAMS "Read", "true"), STELE_GRPC_UNAVAILABLE);
    CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"), "Server Is Not Ready");
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "");
    fake_close(bench.grpc, &exchange);
    CHECK_EQ(call(PS "List", NULL), STELE_GRPC_UNAVAILABLE);
    fake_close(bench.grpc, &exchange);
    close_all();
}

TEST(a_consumer_is_sent_to_the_new_leader_when_this_node_leads_no_more)
{
    EventStore__Client__PersistentSubscriptions__ReadReq request =
        EVENT_STORE__CLIENT__PERSISTENT_SUBSCRIPTIONS__READ_REQ__INIT;
    EventStore__Client__PersistentSubscriptions__ReadReq__Options options =
        EVENT_STORE__CLIENT__PERSISTENT_SUBSCRIPTIONS__READ_REQ__OPTIONS__INIT;
    EventStore__Client__PersistentSubscriptions__ReadReq__Options__UUIDOption uuid =
        EVENT_STORE__CLIENT__PERSISTENT_SUBSCRIPTIONS__READ_REQ__OPTIONS__UUIDOPTION__INIT;
    EventStore__Client__StreamIdentifier identifier = EVENT_STORE__CLIENT__STREAM_IDENTIFIER__INIT;
    EventStore__Client__Empty empty = EVENT_STORE__CLIENT__EMPTY__INIT;
    open_all();
    fakecluster_lead(&cluster, 1);
    struct stele_group_settings settings = {.live_buffer_size = 50,
                                            .history_buffer_size = 50,
                                            .read_batch_size = 10,
                                            .max_checkpoint_count = 10};
    struct stele_groups_request make = {.what = STELE_GROUPS_CREATE,
                                        .stream = "s",
                                        .group = "g",
                                        .user = "admin",
                                        .settings = settings,
                                        .loop = &bench.loop.loop};
    make.on_done = stele_groups_request_deinit;
    make.outcome = -1;
    stele_groups_ask(bench.server.groups, &make);
    for (int i = 0; make.outcome == -1; i++) {
        CHECK(i < 1000);
        (void)fake_loop_wait(&bench.loop);
    }
    CHECK_EQ(make.outcome, STELE_OK);
    identifier.stream_name = (ProtobufCBinaryData){.len = 1, .data = (uint8_t *)(uintptr_t) "s"};
    options.stream_identifier = &identifier;
    options.stream_option_case =
        EVENT_STORE__CLIENT__PERSISTENT_SUBSCRIPTIONS__READ_REQ__OPTIONS__STREAM_OPTION_STREAM_IDENTIFIER;
    options.group_name = (char *)(uintptr_t) "g";
    options.buffer_size = 10;
    uuid.content_case =
        EVENT_STORE__CLIENT__PERSISTENT_SUBSCRIPTIONS__READ_REQ__OPTIONS__UUIDOPTION__CONTENT_STRING;
    uuid.string = &empty;
    options.uuid_option = &uuid;
    request.content_case = EVENT_STORE__CLIENT__PERSISTENT_SUBSCRIPTIONS__READ_REQ__CONTENT_OPTIONS;
    request.options = &options;
    bench_call(&bench, &exchange, PS "Read", "admin");
    bench_send(&bench, &exchange, &request);
    EventStore__Client__PersistentSubscriptions__ReadResp *response = bench_next(
        &bench, &exchange, &event_store__client__persistent_subscriptions__read_resp__descriptor);
    CHECK(response != NULL);
    CHECK(response->subscription_confirmation != NULL);
    bench_free(response);
    fakecluster_lead(&cluster, 2);
    (void)bench_status(&bench, &exchange);
    check_not_leader("host-3", "2003");
    fake_close(bench.grpc, &exchange);
    close_all();
}

TEST(a_read_that_requires_the_leader_waits_until_it_has_seen_what_was_acknowledged)
{
    struct bench_read read;
    open_all();
    (void)bench_append(&bench, "s", STELE_EXPECT_NO_STREAM, 1, 2);
    cluster.hold_linearizing = true;
    bench_read(&read, "s");
    for (int outcome = 1; outcome >= 0; outcome--) {
        fakecluster_lead(&cluster, 0);
        fakecluster_linearize(&cluster);
        bench_rest(&bench);
        fakecluster_lead(&cluster, 1);
        const uint32_t before = cluster.linearized; /* By the groups. */
        fake_request(&exchange, &bench.loop, STREAMS "Read", "");
        fake_header(&exchange, "requires-leader", "true");
        stele_grpc_on_request(bench.grpc, &exchange);
        bench_send(&bench, &exchange, &read.request);
        bench_end(&bench, &exchange);
        bench_rest(&bench);
        CHECK_EQ(cluster.linearized, before + 1);
        CHECK_EQ(exchange.output.size, 0);
        CHECK_EQ(fake_status(&exchange), -1);
        cluster.linearize_outcome = outcome == 0 ? STELE_OK : STELE_TIMED_OUT;
        fakecluster_linearize(&cluster);
        CHECK_EQ(bench_status(&bench, &exchange),
                 outcome == 0 ? STELE_GRPC_OK : STELE_GRPC_UNAVAILABLE);
        CHECK_EQ(exchange.output.size > 0, outcome == 0);
        fake_close(bench.grpc, &exchange);
    }
    /* Once is enough while it leads. */
    const uint32_t once = cluster.linearized;
    fake_request(&exchange, &bench.loop, STREAMS "Read", "");
    fake_header(&exchange, "requires-leader", "true");
    stele_grpc_on_request(bench.grpc, &exchange);
    bench_send(&bench, &exchange, &read.request);
    bench_end(&bench, &exchange);
    CHECK_EQ(bench_status(&bench, &exchange), 0);
    CHECK_EQ(cluster.linearized, once);
    fake_close(bench.grpc, &exchange);
    /* Whoever wants what other nodes have just acknowledged, too, waits. A client that goes meanwhile. */
    fake_request(&exchange, &bench.loop, STREAMS "Read", "");
    fake_header(&exchange, "linearizable", "true");
    stele_grpc_on_request(bench.grpc, &exchange);
    bench_send(&bench, &exchange, &read.request);
    bench_rest(&bench);
    CHECK_EQ(cluster.linearized, once + 1);
    fake_close(bench.grpc, &exchange);
    fakecluster_linearize(&cluster);
    bench_rest(&bench);
    /* Nobody waits who does not ask for it. */
    const uint32_t after = cluster.linearized;
    bench_call(&bench, &exchange, STREAMS "Read", "");
    bench_send(&bench, &exchange, &read.request);
    bench_end(&bench, &exchange);
    CHECK_EQ(bench_status(&bench, &exchange), 0);
    CHECK_EQ(cluster.linearized, after);
    fake_close(bench.grpc, &exchange);
    close_all();
}
