/* Over HTTP a node tells who is there, whether it serves, what the cluster is like; passes changes on to
 * the cluster; and sends those who want the leader there.
 *
 * Method: requests whose bytes lie in buffers, a cluster that is what the test says (this node is the
 * second of three), a store in memory. */
#include "api/http/web.h"
#include "api/member/alone.h"
#include "auth/auth.h"
#include "lib/check.h"
#include "lib/fakecluster.h"
#include "lib/fakegrpc.h"
#include "lib/memengine.h"
#include "lib/testalloc.h"
#include "subs/follow.h"
#include "subs/groups.h"

/* What lib/fakegrpc.h has no need for. */
struct stele_text stele_exchange_authority(const struct stele_exchange *exchange)
{
    (void)exchange;
    return (struct stele_text){.data = "localhost", .size = 9};
}

bool stele_exchange_header_at(const struct stele_exchange *exchange, size_t index,
                              struct stele_text *out_name, struct stele_text *out_value)
{
    (void)exchange;
    (void)index;
    (void)out_name;
    (void)out_value;
    return false;
}

size_t stele_http_conn_pending(const struct stele_http_conn *conn)
{
    (void)conn;
    return 0;
}

bool stele_http_host_is_plain(struct stele_text authority)
{
    (void)authority;
    return true;
}

bool stele_http_host_is(struct stele_text authority, const char *name)
{
    (void)authority;
    (void)name;
    return true;
}

struct world {
    struct testalloc alloc;
    struct fake_loop loop;
    struct memengine *mem;
    struct stele_hubs hubs;
    struct stele_server server;
    struct stele_alone alone;
    struct fakecluster cluster;
    struct stele_web *web;
};

static struct world world;
static struct stele_exchange exchange;
static bool stopped;

static void open_world(bool in_cluster)
{
    struct stele_error err;
    const struct stele_auth_options options = {.insecure = true, .hash_on_loop = true};
    world = (struct world){.mem = NULL};
    testalloc_init(&world.alloc, 1);
    fake_loop_init(&world.loop, &world.alloc.base);
    world.mem = memengine_create(&world.loop.loop, &world.alloc.base, 1);
    world.server = (struct stele_server){.alloc = &world.alloc.base,
                                         .engine = &world.mem->engine,
                                         .hubs = &world.hubs,
                                         .home = &world.loop.loop,
                                         .insecure = true,
                                         .advertised_host = "alone.example",
                                         .advertised_port = 2113};
    stele_alone_init(&world.alone, &world.server);
    fakecluster_init(&world.cluster);
    world.server.cluster = in_cluster ? &world.cluster.cluster : &world.alone.cluster;
    world.hubs.count = 1;
    world.hubs.at[0].loop = &world.loop.loop;
    CHECK_EQ(stele_hub_create(&world.mem->engine, &world.loop.loop, &world.hubs.at[0].hub), 0);
    CHECK_OK(
        stele_auth_create(&world.mem->engine, &world.loop.loop, &options, &world.server.auth, &err),
        err);
    CHECK_OK(stele_groups_create(&world.mem->engine, world.server.cluster, world.hubs.at[0].hub,
                                 &world.loop.loop, &world.alloc.base, &world.server.groups, &err),
             err);
    CHECK_EQ(stele_web_create(&world.server, &world.web), 0);
    (void)fake_loop_run(&world.loop);
}

static void on_stopped(struct stele_task *task)
{
    (void)task;
    stopped = true;
}

static void close_world(void)
{
    struct stele_task task = {.run = on_stopped};
    stopped = false;
    stele_groups_stop(world.server.groups, &task);
    (void)fake_loop_run(&world.loop);
    CHECK(stopped);
    stele_groups_destroy(world.server.groups);
    stele_auth_destroy(world.server.auth);
    stele_hub_destroy(world.hubs.at[0].hub);
    stele_web_destroy(world.web);
    (void)fake_loop_run(&world.loop);
    memengine_destroy(world.mem);
    fake_loop_deinit(&world.loop);
    CHECK_EQ(world.alloc.bytes, 0);
}

static void begin(const char *method, const char *path, const char *body)
{
    fake_request(&exchange, &world.loop, path, NULL);
    exchange.method = (struct stele_text){.data = method, .size = strlen(method)};
    stele_web_on_request(world.web, &exchange);
    if (body != NULL) {
        exchange.received = strlen(body);
        stele_web_on_body(world.web, &exchange, stele_bytes_of_text(body));
    }
    stele_web_on_end(world.web, &exchange);
    (void)fake_loop_run(&world.loop);
}

static void end(void)
{
    stele_web_on_close(world.web, &exchange, true);
    (void)fake_loop_run(&world.loop);
    stele_buf_deinit(&exchange.output, &world.alloc.base);
}

/* The status; the body is in the exchange's output, with a zero behind it. */
static int ask(const char *method, const char *path, const char *body)
{
    begin(method, path, body);
    CHECK(exchange.ended);
    CHECK_EQ(stele_buf_append(&exchange.output, &world.alloc.base,
                              (struct stele_bytes){.data = (const uint8_t *)"", .size = 1}),
             STELE_OK);
    return exchange.status;
}

static bool says(const char *words)
{
    return strstr((const char *)exchange.output.data, words) != NULL;
}

/* ---- */

TEST(gossip_tells_of_every_node)
{
    open_world(true);
    fakecluster_lead(&world.cluster, 2);
    world.cluster.nodes.nodes[0].is_alive = false;
    CHECK_EQ(ask("GET", "/gossip", NULL), 200);
    CHECK(says("{\"members\":[{\"instanceId\":\"11111111-1111-1111-1111-111111111111\","
               "\"timeStamp\":\"2020-09-13T12:26:40.000000Z\",\"state\":\"Follower\","
               "\"isAlive\":false,"));
    CHECK(says("\"state\":\"Leader\",\"isAlive\":true,"));
    CHECK(says("\"epochNumber\":7,"));
    CHECK(
        says("\"esVersion\":\"9.9.9\",\"httpEndPointPort\":2003,\"httpEndPointIp\":\"host-3\"}]"));
    CHECK(says("\"serverIp\":\"host-2\",\"serverPort\":2002}\n"));
    end();
    close_world();
    open_world(false);
    CHECK_EQ(ask("GET", "/gossip", NULL), 200);
    CHECK(says("\"state\":\"Leader\""));
    CHECK(says("],\"serverIp\":\"alone.example\",\"serverPort\":2113}\n"));
    CHECK(!says("},{"));
    end();
    close_world();
}

TEST(info_says_which_cluster_and_which_node)
{
    open_world(true);
    CHECK_EQ(ask("GET", "/info", NULL), 200);
    CHECK(
        says("\"state\":\"follower\",\"cluster\":{\"id\":\"cccccccc-cccc-cccc-cccc-cccccccccccc\","
             "\"node\":2,\"name\":\"n2\",\"role\":\"follower\",\"nodes\":3},"));
    end();
    fakecluster_lead(&world.cluster, 1);
    CHECK_EQ(ask("GET", "/info", NULL), 200);
    CHECK(says("\"state\":\"leader\",\"cluster\""));
    end();
    close_world();
    open_world(false);
    CHECK_EQ(ask("GET", "/info", NULL), 200);
    CHECK(says("\"state\":\"leader\",\"features\""));
    end();
    close_world();
}

TEST(a_node_that_does_not_serve_is_not_ready_and_says_why)
{
    open_world(true);
    CHECK_EQ(ask("GET", "/health/ready", NULL), 200);
    end();
    world.cluster.ready = (struct stele_cluster_readiness){.why = "catching up"};
    CHECK_EQ(ask("GET", "/health/ready", NULL), 503);
    CHECK(says("{\"error\":\"not-ready\",\"message\":\"catching up\"}"));
    end();
    CHECK_EQ(ask("GET", "/health/live", NULL), 204);
    end();
    close_world();
}

TEST(the_clusters_document_and_changes_are_the_clusters_own)
{
    open_world(true);
    CHECK_EQ(ask("GET", "/cluster", NULL), 200);
    CHECK(says("{\"fake\":true}\n"));
    end();
    CHECK_EQ(ask("POST", "/cluster/drain", "{\"node\":3}"), 200);
    CHECK(says("{}\n"));
    CHECK_TEXT_EQ(world.cluster.command, "drain  {\"node\":3}");
    end();
    CHECK_EQ(ask("POST", "/cluster/transfer", NULL), 200);
    CHECK_TEXT_EQ(world.cluster.command, "transfer  ");
    end();
    static const struct {
        int outcome, status;
    } outcomes[] = {{STELE_NOT_FOUND, 404},        {STELE_E_INVALID, 400},
                    {STELE_CONDITION_FAILED, 409}, {STELE_E_OVERLOADED, 503},
                    {STELE_E_UNKNOWN, 504},        {STELE_TIMED_OUT, 504},
                    {STELE_E_CLOSED, 503}};
    for (size_t i = 0; i < STELE_COUNT_OF(outcomes); i++) {
        world.cluster.command_outcome = outcomes[i].outcome;
        CHECK_EQ(ask("POST", "/cluster/remove", "{}"), outcomes[i].status);
        CHECK(says("the fake does not want to"));
        end();
    }
    const uint32_t before = world.cluster.commands;
    CHECK_EQ(ask("POST", "/cluster/drain", "{\"node\":"), 400);
    end();
    CHECK_EQ(ask("POST", "/cluster/abcdefghijklmnopqrstuvwxyzabcdefghijklm", NULL), 404);
    end();
    CHECK_EQ(ask("DELETE", "/cluster/drain", NULL), 405);
    end();
    /* Who goes before the answer is not missed. */
    world.cluster.command_outcome = STELE_OK;
    fake_request(&exchange, &world.loop, "/cluster/drain", NULL);
    stele_web_on_request(world.web, &exchange);
    stele_web_on_end(world.web, &exchange);
    end();
    CHECK(world.cluster.commands <= before + 1);
    close_world();
}

TEST(a_server_that_stands_alone_says_that_it_is_no_cluster)
{
    open_world(false);
    CHECK_EQ(ask("GET", "/cluster", NULL), 404);
    CHECK(says("stands alone"));
    end();
    CHECK_EQ(ask("POST", "/cluster/drain", "{}"), 404);
    CHECK(says("stands alone"));
    end();
    CHECK_EQ(ask("GET", "/metrics", NULL), 200);
    CHECK(!says("stele_cluster"));
    CHECK(says("kurrentdb_statuses{name=\"Node\",status=\"Leader\"} 1"));
    end();
    close_world();
}

TEST(groups_are_asked_for_on_the_node_that_leads)
{
    open_world(true);
    fakecluster_lead(&world.cluster, 2);
    CHECK_EQ(ask("GET", "/subscriptions/a%2Fb?x=1", NULL), 307);
    CHECK_TEXT_EQ(fake_answer(&exchange, "location"), "http://host-3:2003/subscriptions/a%2Fb?x=1");
    end();
    CHECK_EQ(ask("POST", "/subscriptions/s/g/replayParked", NULL), 307);
    CHECK_TEXT_EQ(fake_answer(&exchange, "location"),
                  "http://host-3:2003/subscriptions/s/g/replayParked");
    end();
    CHECK_EQ(ask("GET", "/api/groups", NULL), 421);
    CHECK(says("{\"error\":\"not-leader\",\"message\":\"ask the node that leads: host-3:2003\"}"));
    end();
    (void)snprintf(world.cluster.nodes.nodes[2].host, 64, "fd00::3");
    CHECK_EQ(ask("GET", "/subscriptions", NULL), 307);
    CHECK_TEXT_EQ(fake_answer(&exchange, "location"), "http://[fd00::3]:2003/subscriptions");
    end();
    fakecluster_lead(&world.cluster, 3);
    CHECK_EQ(ask("GET", "/subscriptions", NULL), 503);
    end();
    fakecluster_lead(&world.cluster, 1);
    CHECK_EQ(ask("GET", "/api/groups", NULL), 200);
    end();
    close_world();
}

TEST(metrics_have_the_clusters_numbers_also_where_groups_are_not)
{
    open_world(true);
    fakecluster_lead(&world.cluster, 2);
    world.cluster.numbers = (struct stele_cluster_counts){.nodes = 3,
                                                          .groups_led = 5,
                                                          .term_max = 77,
                                                          .closed_lag_us = 2500000,
                                                          .installs = 4,
                                                          .imbalance = 6,
                                                          .imbalance_bytes = 25,
                                                          .imbalance_leaders = 100};
    CHECK_EQ(ask("GET", "/metrics", NULL), 200);
    CHECK(says("\nstele_cluster_nodes 3\n"));
    CHECK(says("\nstele_cluster_ready 1\n"));
    CHECK(says("\nstele_cluster_leader 0\n"));
    CHECK(says("\nstele_cluster_groups_led 5\n"));
    CHECK(says("\nstele_cluster_term_max 77\n"));
    CHECK(says("\nstele_cluster_closed_lag_seconds 2.5\n"));
    CHECK(says("\nstele_cluster_installs_total 4\n"));
    CHECK(says("\nstele_cluster_imbalance_groups 6\n"));
    CHECK(says("\nstele_cluster_imbalance_votes_ratio 0\n"));
    CHECK(says("\nstele_cluster_imbalance_bytes_ratio 0.25\n"));
    CHECK(says("\nstele_cluster_imbalance_rate_ratio 0\n"));
    CHECK(says("\nstele_cluster_imbalance_leaders_ratio 1\n"));
    CHECK(says("kurrentdb_statuses{name=\"Node\",status=\"Follower\"} 1\n"));
    CHECK(says("\nstele_groups 0\n"));
    end();
    close_world();
}

TEST(a_linearizable_read_waits_until_this_node_has_seen_what_was_acknowledged)
{
    open_world(true);
    (void)memengine_put(world.mem, "s", "Happened", "{}");
    world.cluster.hold_linearizing = true;
    begin("GET", "/api/streams/s?linearizable=true", NULL);
    CHECK_EQ(exchange.status, 0);
    fakecluster_linearize(&world.cluster);
    (void)fake_loop_run(&world.loop);
    CHECK_EQ(exchange.status, 200);
    end();
    world.cluster.linearize_outcome = STELE_TIMED_OUT;
    begin("GET", "/api/all?linearizable=true", NULL);
    fakecluster_linearize(&world.cluster);
    (void)fake_loop_run(&world.loop);
    CHECK_EQ(exchange.status, 503);
    end();
    begin("GET", "/api/all?linearizable=true", NULL);
    end(); /* It went. */
    fakecluster_linearize(&world.cluster);
    (void)fake_loop_run(&world.loop);
    const uint32_t count = world.cluster.linearized;
    CHECK_EQ(ask("GET", "/api/all?linearizable=false", NULL), 200);
    end();
    CHECK_EQ(ask("GET", "/api/all", NULL), 200);
    end();
    CHECK_EQ(world.cluster.linearized, count);
    close_world();
}
