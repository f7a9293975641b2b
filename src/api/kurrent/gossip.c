/* Gossip.Read: who is there. A single node is its own leader. */
#include "api/kurrent/kurrent_internal.h"

#define STATE_LEADER 8

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    (void)message;
    const struct stele_server *server = stele_call_server(call);
    struct stele_loop *loop = stele_call_loop(call);
    uint8_t member[sizeof server->advertised_host + 128];
    uint8_t answer[sizeof member + 8];
    const size_t host = strlen(server->advertised_host);
    uint8_t *to = stele_pb_put_message(
        member, 1, stele_kurrent__uuid_size(server->instance_id, UUID_STRUCTURED));
    to = stele_kurrent__put_uuid(to, server->instance_id, UUID_STRUCTURED);
    to = stele_pb_put_u64(to, 2, (uint64_t)loop->ops->wall_us(loop) * 10);
    to = stele_pb_put_u64(to, 3, STATE_LEADER);
    to = stele_pb_put_u64(to, 4, 1);
    to = stele_pb_put_message(
        to, 5, stele_pb_size_bytes(1, host) + stele_pb_size_varint(2, server->advertised_port));
    to = stele_pb_put_bytes(to, 1, server->advertised_host, host);
    to = stele_pb_put_u64(to, 2, server->advertised_port);
    STELE_ASSERT((size_t)(to - member) <= sizeof member);
    const uint8_t *end = stele_pb_put_bytes(answer, 1, member, (size_t)(to - member));
    stele_call_send(call, (struct stele_bytes){.data = answer, .size = (size_t)(end - answer)});
    stele_call_finish(call, STELE_GRPC_OK, "");
}

void stele_kurrent_gossip_register(struct stele_grpc_table *table)
{
    static const struct stele_method method = {
        .rpc = STELE_RPC_KURRENT_GOSSIP_READ,
        .message = on_message,
    };
    table->methods[method.rpc] = &method;
}
