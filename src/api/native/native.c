/* The table's entries of the native service. */
#include "api/native/native_internal.h"
#include "api/server.h"

#include <stdio.h>

void stele_native__linearize(struct stele_linear *linear, struct stele_call *call)
{
    if (stele_linear_is_asked(call, "linearizable")) {
        stele_linear_begin(linear, call);
    }
}

void stele_native__fail_elsewhere(struct stele_call *call)
{
    struct stele_cluster *cluster = stele_call_server(call)->cluster;
    struct stele_cluster_leader leader;
    if (cluster->ops->is_leader(cluster) || !cluster->ops->leader(cluster, &leader)) {
        stele_native__refuse(call, STELE_E_CLOSED, "no node leads at this moment; try again");
        return;
    }
    char where[STELE_CLUSTER_HOST_SIZE + 16];
    const bool is_number = strchr(leader.host, ':') != NULL;
    (void)snprintf(where, sizeof where, "%s%s%s:%u", is_number ? "[" : "", leader.host,
                   is_number ? "]" : "", leader.port);
    stele_call_trailer(call, "stele-outcome", stele_bytes_of_text("not-leader"));
    stele_call_trailer(call, "stele-leader", stele_bytes_of_text(where));
    stele_call_fail(call, STELE_GRPC_FAILED_PRECONDITION, "groups are on the node that leads: %s",
                    where);
}

void stele_native_register(struct stele_grpc_table *table)
{
    static const struct stele_method *const methods[] = {
        &stele_native__append,
        &stele_native__append_events,
        &stele_native__read,
        &stele_native__read_many,
        &stele_native__subscribe_to_stream,
        &stele_native__subscribe_to_all,
        &stele_native__conditions,
        &stele_native__streams,
        &stele_native__meta,
        &stele_native__groups,
        &stele_native__change_group,
        &stele_native__consume,
        &stele_native__admin,
        &stele_native__health_check,
        &stele_native__health_watch,
        &stele_native__reflection_v1,
        &stele_native__reflection_v1alpha,
    };
    for (size_t i = 0; i < STELE_COUNT_OF(methods); i++) {
        table->methods[methods[i]->rpc] = methods[i];
    }
}
