/* The native service stele.v1.EventStore (proto/stele/v1/event_store.proto), gRPC health checking and
 * server reflection. */
#ifndef STELE_API_NATIVE_NATIVE_H
#define STELE_API_NATIVE_NATIVE_H

#include "api/server.h"
#include "grpc/call.h"

/* Enters all methods into the table. */
void stele_native_register(struct stele_grpc_table *table);

#endif
