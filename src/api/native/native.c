/* The table's entries of the native service. */
#include "api/native/native_internal.h"

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
