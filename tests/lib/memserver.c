#define CHECK_NO_MAIN
#include "lib/memserver.h"

#include "lib/check.h"
#include "subs/follow.h"
#include "subs/groups.h"

void memserver_open(struct memserver *server, void (*enter)(struct stele_grpc_table *table))
{
    struct stele_error err;
    *server = (struct memserver){.loop = {.now_us = 0}};
    testalloc_init(&server->calm, 1);
    testalloc_init(&server->weak, 2);
    fake_loop_init(&server->loop, &server->weak.base);
    server->mem = memengine_create(&server->loop.loop, &server->calm.base, 1);
    server->hubs.count = 1;
    server->hubs.at[0].loop = &server->loop.loop;
    CHECK_EQ(stele_hub_create(&server->mem->engine, &server->loop.loop, &server->hubs.at[0].hub),
             0);
    server->server = (struct stele_server){
        .alloc = &server->weak.base,
        .engine = &server->mem->engine,
        .auth = &server->auth,
        .hubs = &server->hubs,
        .home = &server->loop.loop,
        .instance_id = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
        .advertised_host = "node.example",
        .advertised_port = 2113,
        .append_size_max = 1u << 20,
        .event_size_max = 1u << 16,
    };
    stele_alone_init(&server->alone, &server->server);
    server->server.cluster = &server->alone.cluster;
    CHECK_OK(stele_groups_create(&server->mem->engine, server->server.cluster,
                                 server->hubs.at[0].hub, &server->loop.loop, &server->weak.base,
                                 &server->server.groups, &err),
             err);
    struct stele_grpc_table table = {.methods = {NULL}};
    enter(&table);
    CHECK_EQ(stele_grpc_create(&server->server, &server->auth, &table, &server->weak.base,
                               &server->grpc),
             0);
    (void)fake_loop_run(&server->loop);
}

static bool stopped;

static void on_stopped(struct stele_task *task)
{
    (void)task;
    stopped = true;
}

void memserver_close(struct memserver *server)
{
    struct stele_task task = {.run = on_stopped};
    server->weak.fail_at = 0;
    stopped = false;
    (void)fake_loop_run(&server->loop);
    stele_groups_stop(server->server.groups, &task);
    for (int i = 0; !stopped; i++) {
        CHECK(i < 20);
        memserver_pass(server, 1000000);
    }
    stele_groups_destroy(server->server.groups);
    stele_grpc_destroy(server->grpc);
    stele_hub_destroy(server->hubs.at[0].hub);
    (void)fake_loop_run(&server->loop);
    memengine_destroy(server->mem);
    fake_loop_deinit(&server->loop);
    CHECK_EQ(server->weak.blocks, 0);
    CHECK_EQ(server->calm.blocks, 0);
}

void memserver_call(struct memserver *server, struct stele_exchange *exchange, const char *path,
                    const char *user)
{
    fake_request(exchange, &server->loop, path, user);
    stele_grpc_on_request(server->grpc, exchange);
    (void)fake_loop_run(&server->loop);
}

void memserver_send(struct memserver *server, struct stele_exchange *exchange,
                    struct stele_bytes message)
{
    fake_send(server->grpc, exchange, message.data, message.size);
    (void)fake_loop_run(&server->loop);
}

void memserver_end(struct memserver *server, struct stele_exchange *exchange)
{
    stele_grpc_on_end(server->grpc, exchange);
    (void)fake_loop_run(&server->loop);
}

void memserver_pass(struct memserver *server, int64_t us)
{
    fake_loop_advance(&server->loop, us);
    (void)fake_loop_run(&server->loop);
}
