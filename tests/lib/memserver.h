/* A server in one thread, without a network and without a disk: services on the store core in memory
 * (memengine), called through exchanges that are buffers (fakegrpc). Time and random numbers are the
 * loop's own, so what it answers is the same each time, byte for byte.
 *
 *     struct memserver server;
 *     memserver_open(&server, stele_native_register);
 *     struct stele_exchange exchange;
 *     memserver_call(&server, &exchange, "/stele.v1.EventStore/Append", "");
 *     memserver_send(&server, &exchange, bytes);
 *     memserver_end(&server, &exchange);
 *     … fake_next(&exchange, &message), fake_status(&exchange)
 *     fake_close(server.grpc, &exchange);
 *     memserver_close(&server);                     claims that nothing is left
 *
 * Links with http and auth replaced (fakegrpc.c). */
#ifndef STELE_TESTS_LIB_MEMSERVER_H
#define STELE_TESTS_LIB_MEMSERVER_H

#include "api/member/alone.h"
#include "api/server.h"
#include "fakegrpc.h"
#include "memengine.h"
#include "testalloc.h"

struct memserver {
    struct testalloc calm; /* Of the store. */
    struct testalloc weak; /* Of everything else: make it fail. */
    struct fake_loop loop;
    struct stele_auth auth;
    struct memengine *mem;
    struct stele_hubs hubs;
    struct stele_server server;
    struct stele_alone alone;
    struct stele_grpc *grpc;
};

void memserver_open(struct memserver *server, void (*enter)(struct stele_grpc_table *table));
/* Exchanges have been closed. */
void memserver_close(struct memserver *server);

/* Each runs what there is to run. user: see fakegrpc.h. */
void memserver_call(struct memserver *server, struct stele_exchange *exchange, const char *path,
                    const char *user);
void memserver_send(struct memserver *server, struct stele_exchange *exchange,
                    struct stele_bytes message);
void memserver_end(struct memserver *server, struct stele_exchange *exchange);
void memserver_pass(struct memserver *server, int64_t us);

#endif
