/* Which node of a cluster a call is for. Here any node can append and read; two things still belong
 * to the leader: persistent subscriptions, and whatever a client says that it wants there
 * (requires-leader: true). Clients that are told where the leader is go there by themselves. */
#include "api/kurrent/kurrent_internal.h"

#include <stdio.h>

#define LEADER_DETAILS "kurrent.rpc.NotLeaderNodeErrorDetails"

bool stele_kurrent__wants_leader(const struct stele_call *call)
{
    return stele_linear_is_asked(call, "requires-leader");
}

/* false: none is known, or it is this node (which has not yet taken over): clients try again. */
static bool find_leader(struct stele_call *call, struct stele_cluster_leader *leader)
{
    struct stele_cluster *const cluster = stele_call_server(call)->cluster;
    if (cluster->ops->is_leader(cluster) || !cluster->ops->leader(cluster, leader)) {
        stele_call_finish(call, STELE_GRPC_UNAVAILABLE, "Server Is Not Ready");
        return false;
    }
    return true;
}

static void add_trailers(struct stele_call *call, const struct stele_cluster_leader *leader)
{
    char port[8];
    (void)snprintf(port, sizeof port, "%u", leader->port);
    stele_call_trailer(call, "exception", stele_bytes_of_text("not-leader"));
    stele_call_trailer(call, "leader-endpoint-host", stele_bytes_of_text(leader->host));
    stele_call_trailer(call, "leader-endpoint-port", stele_bytes_of_text(port));
}

void stele_kurrent__fail_not_leader(struct stele_call *call)
{
    struct stele_cluster_leader leader;
    if (find_leader(call, &leader)) {
        add_trailers(call, &leader);
        stele_call_finish(call, STELE_GRPC_NOT_FOUND, "Leader info available");
    }
}

void stele_kurrent__admit_leader(struct stele_call *call)
{
    struct stele_cluster *const cluster = stele_call_server(call)->cluster;
    if (!cluster->ops->is_leader(cluster)) {
        stele_kurrent__fail_not_leader(call);
    }
}

void stele_kurrent__admit(struct stele_call *call)
{
    if (stele_kurrent__wants_leader(call)) {
        stele_kurrent__admit_leader(call);
    }
}

/* SPEC(kurrent/v2/not-leader): the newer services say it with a detail. The trailers are there as well:
 * clients that know only them find the way, too. */
void stele_kurrent__admit_v2(struct stele_call *call)
{
    struct stele_cluster *const cluster = stele_call_server(call)->cluster;
    struct stele_cluster_leader leader;
    uint8_t value[STELE_CLUSTER_HOST_SIZE + 32];
    if (!stele_kurrent__wants_leader(call) || cluster->ops->is_leader(cluster) ||
        !find_leader(call, &leader)) {
        return;
    }
    const size_t host = strlen(leader.host);
    uint8_t *to = stele_pb_put_message(
        value, 1, stele_pb_size_bytes(1, host) + stele_pb_size_varint(2, leader.port));
    to = stele_pb_put_bytes(to, 1, leader.host, host);
    to = stele_pb_put_u64(to, 2, leader.port);
    add_trailers(call, &leader);
    stele_kurrent__fail_detailed(call, STELE_GRPC_FAILED_PRECONDITION, "Leader info available",
                                 LEADER_DETAILS, value, (size_t)(to - value));
}
