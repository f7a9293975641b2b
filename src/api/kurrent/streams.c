#include "api/kurrent/kurrent_internal.h"

void stele_kurrent_streams_register(struct stele_grpc_table *table)
{
    static const struct stele_method *const methods[] = {
        &stele_kurrent__read_method,         &stele_kurrent__append_method,
        &stele_kurrent__batch_append_method, &stele_kurrent__delete_method,
        &stele_kurrent__tombstone_method,
    };
    for (size_t i = 0; i < STELE_COUNT_OF(methods); i++) {
        table->methods[methods[i]->rpc] = methods[i];
    }
}
