/* Gossip.Read: who is there. Clients take it to choose a node by what they prefer, and come back for
 * it when that node is gone. */
#include "api/cluster.h"
#include "api/kurrent/cold.h"

/* SPEC(kurrent/gossip/states): clients connect to members that are alive and in one of 6, 8, 12 (and
 * two more that we have no use for), the leader first unless they prefer otherwise. */
static uint64_t state_number(enum stele_node_state state)
{
    switch (state) {
    case STELE_NODE_STARTING:
        return 0; /* Initializing */
    case STELE_NODE_CATCHING_UP:
        return 4; /* CatchingUp */
    case STELE_NODE_LEADERLESS:
        return 12; /* ReadOnlyLeaderless: better than nobody, for reading. */
    case STELE_NODE_FOLLOWER:
        return 6; /* Follower */
    case STELE_NODE_LEADER:
        return 8; /* Leader */
    case STELE_NODE_DRAINING:
        return 10; /* ShuttingDown: whoever chooses now chooses another. */
    case STELE_NODE_STOPPED:
        return 11; /* Shutdown */
    }
    return 2; /* Unknown */
}

static void put_member(struct stele_kurrent__out *out, const struct stele_node_seen *node,
                       int64_t wall_us)
{
    uint8_t uuid[64];
    const uint8_t *end = stele_kurrent__put_uuid(uuid, node->instance_id, UUID_STRUCTURED);
    const size_t member = stele_kurrent__out_begin(out, 1);
    stele_kurrent__out_bytes(out, 1, uuid, (size_t)(end - uuid));
    stele_kurrent__out_number(out, 2, (uint64_t)wall_us * 10);
    stele_kurrent__out_number(out, 3, state_number(node->state));
    stele_kurrent__out_number(out, 4, node->is_alive ? 1 : 0);
    const size_t end_point = stele_kurrent__out_begin(out, 5);
    stele_kurrent__out_text(out, 1, node->host);
    stele_kurrent__out_number(out, 2, node->port);
    stele_kurrent__out_end(out, end_point);
    stele_kurrent__out_end(out, member);
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    (void)message;
    struct stele_cluster *const cluster = stele_call_server(call)->cluster;
    struct stele_loop *const loop = stele_call_loop(call);
    struct stele_cluster_view *const view = stele_allocate(loop->alloc, sizeof *view);
    if (view == NULL) {
        stele_kurrent__fail_outcome(call, STELE_E_NO_MEMORY, "");
        return;
    }
    struct stele_kurrent__out out = {.alloc = loop->alloc};
    cluster->ops->view(cluster, view);
    for (size_t i = 0; i < view->count; i++) {
        const struct stele_node_seen *const node = &view->nodes[i];
        put_member(&out, node,
                   i == view->this_node ? loop->ops->wall_us(loop) : node->heard_wall_us);
    }
    stele_release(loop->alloc, view, sizeof *view);
    if (stele_kurrent__out_send(&out, call)) {
        stele_call_finish(call, STELE_GRPC_OK, "");
    }
    stele_kurrent__out_deinit(&out);
}

void stele_kurrent_gossip_register(struct stele_grpc_table *table)
{
    static const struct stele_method method = {
        .rpc = STELE_RPC_KURRENT_GOSSIP_READ,
        .message = on_message,
    };
    table->methods[method.rpc] = &method;
}
