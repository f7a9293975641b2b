/* Whole calls of every method of the native service, of health and of reflection, with any bytes as
 * messages: each ends with one status, and leaves no memory behind.
 *
 *     byte  the RPC; its upper half: how the client ends
 *     then  messages: two bytes of size, and so many bytes */
#define CHECK_NO_MAIN
#include "api/native/native.h"
#include "lib/check.h"
#include "lib/memserver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const enum stele_rpc rpcs[] = {
    STELE_RPC_NATIVE_APPEND,
    STELE_RPC_NATIVE_APPEND_EVENTS,
    STELE_RPC_NATIVE_READ,
    STELE_RPC_NATIVE_READ_MANY,
    STELE_RPC_NATIVE_SUBSCRIBE_TO_STREAM,
    STELE_RPC_NATIVE_SUBSCRIBE_TO_ALL,
    STELE_RPC_NATIVE_CONDITIONS,
    STELE_RPC_NATIVE_STREAMS,
    STELE_RPC_NATIVE_META,
    STELE_RPC_NATIVE_GROUPS,
    STELE_RPC_NATIVE_CHANGE_GROUP,
    STELE_RPC_NATIVE_CONSUME,
    STELE_RPC_HEALTH_CHECK,
    STELE_RPC_HEALTH_WATCH,
    STELE_RPC_REFLECTION_V1,
    STELE_RPC_REFLECTION_V1ALPHA,
};
_Static_assert(STELE_COUNT_OF(rpcs) == 16, "four bits choose");

/* A stream, and a group of it. */
static void furnish(struct memserver *server)
{
    static const uint8_t group[] = {0x0a, 1, 'a', 0x12, 1, 'g', 0x1a, 0};
    struct stele_exchange exchange;
    (void)memengine_put(server->mem, "a", "A", "{}");
    (void)memengine_put(server->mem, "b-1", "B", "{}");
    memserver_call(server, &exchange, "/stele.v1.EventStore/ChangeGroup", "");
    memserver_send(server, &exchange, (struct stele_bytes){.data = group, .size = sizeof group});
    memserver_end(server, &exchange);
    CHECK_EQ(fake_status(&exchange), 0);
    fake_close(server->grpc, &exchange);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct memserver server;
    struct stele_exchange exchange;
    if (size == 0) {
        return 0;
    }
    memserver_open(&server, stele_native_register);
    furnish(&server);
    memserver_call(&server, &exchange, stele_auth_rpc_path(rpcs[data[0] & 15]), "");
    size_t at = 1;
    while (at + 2 <= size && !exchange.ended && exchange.reset == 0) {
        const size_t told = (size_t)data[at] | (size_t)data[at + 1] << 8;
        const size_t left = size - at - 2;
        const size_t taken = told < left ? told : left;
        memserver_send(&server, &exchange,
                       (struct stele_bytes){.data = data + at + 2, .size = taken});
        at += 2 + taken;
    }
    if ((data[0] & 16) != 0) {
        memserver_pass(&server, 1500000);
    }
    if ((data[0] & 32) == 0 && !exchange.ended && exchange.reset == 0) {
        memserver_end(&server, &exchange);
        memserver_pass(&server, 1500000);
        const enum stele_rpc rpc = rpcs[data[0] & 15];
        const bool stays = rpc == STELE_RPC_NATIVE_SUBSCRIBE_TO_STREAM ||
                           rpc == STELE_RPC_NATIVE_SUBSCRIBE_TO_ALL ||
                           rpc == STELE_RPC_HEALTH_WATCH;
        CHECK(stays || fake_status(&exchange) >= 0 || exchange.reset != 0);
    }
    fake_close(server.grpc, &exchange);
    memserver_close(&server);
    return 0;
}
