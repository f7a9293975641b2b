/* KurrentDB's services, so that its official clients work unchanged. The words of that protocol stay
 * in this directory. What is supported: docs/kurrentdb-compatibility.md. */
#ifndef STELE_API_KURRENT_KURRENT_H
#define STELE_API_KURRENT_KURRENT_H

#include "grpc/call.h"

/* Streams: Read, Append, BatchAppend, Delete, Tombstone. */
void stele_kurrent_streams_register(struct stele_grpc_table *table);
/* The newer StreamsService: AppendSession, AppendRecords. */
void stele_kurrent_v2_register(struct stele_grpc_table *table);
/* ServerFeatures, which lists what the table has. */
void stele_kurrent_features_register(struct stele_grpc_table *table);
void stele_kurrent_gossip_register(struct stele_grpc_table *table);
void stele_kurrent_users_register(struct stele_grpc_table *table);
/* PersistentSubscriptions. */
void stele_kurrent_persistent_register(struct stele_grpc_table *table);
/* System projections only; others are refused. */
void stele_kurrent_projections_register(struct stele_grpc_table *table);
void stele_kurrent_operations_register(struct stele_grpc_table *table);
void stele_kurrent_monitoring_register(struct stele_grpc_table *table);

#endif
