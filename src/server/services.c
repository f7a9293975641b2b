/* The switch from connections to services: which exchange goes where. */
#include "api/http/web.h"
#include "api/kurrent/kurrent.h"
#include "api/native/native.h"
#include "server/server_internal.h"

enum kind { KIND_GRPC = 1, KIND_HTTP = 2 };

void stele_server__register(struct stele_grpc_table *table)
{
    stele_kurrent_streams_register(table);
    stele_kurrent_v2_register(table);
    stele_kurrent_features_register(table);
    stele_kurrent_gossip_register(table);
    stele_kurrent_users_register(table);
    stele_kurrent_persistent_register(table);
    stele_kurrent_projections_register(table);
    stele_kurrent_operations_register(table);
    stele_kurrent_monitoring_register(table);
    stele_native_register(table);
}

static struct stele_grpc *grpc_of(void *context)
{
    const struct stele_server__worker *const worker = context;
    return worker->process->grpc;
}

static struct stele_web *web_of(void *context)
{
    const struct stele_server__worker *const worker = context;
    return worker->process->web;
}

static void on_request(void *context, struct stele_exchange *exchange)
{
    if (stele_grpc_wants(exchange)) {
        stele_exchange_set_kind(exchange, KIND_GRPC);
        stele_grpc_on_request(grpc_of(context), exchange);
    } else {
        stele_exchange_set_kind(exchange, KIND_HTTP);
        stele_web_on_request(web_of(context), exchange);
    }
}

static void on_body(void *context, struct stele_exchange *exchange, struct stele_bytes bytes)
{
    if (stele_exchange_kind(exchange) == KIND_GRPC) {
        stele_grpc_on_body(grpc_of(context), exchange, bytes);
    } else {
        stele_web_on_body(web_of(context), exchange, bytes);
    }
}

static void on_end(void *context, struct stele_exchange *exchange)
{
    if (stele_exchange_kind(exchange) == KIND_GRPC) {
        stele_grpc_on_end(grpc_of(context), exchange);
    } else {
        stele_web_on_end(web_of(context), exchange);
    }
}

static void on_writable(void *context, struct stele_exchange *exchange)
{
    if (stele_exchange_kind(exchange) == KIND_GRPC) {
        stele_grpc_on_writable(grpc_of(context), exchange);
    } else {
        stele_web_on_writable(web_of(context), exchange);
    }
}

static void on_close(void *context, struct stele_exchange *exchange, bool finished)
{
    if (stele_exchange_kind(exchange) == KIND_GRPC) {
        stele_grpc_on_close(grpc_of(context), exchange, finished);
    } else {
        stele_web_on_close(web_of(context), exchange, finished);
    }
}

const struct stele_http_events stele_server__events = {
    .on_request = on_request,
    .on_body = on_body,
    .on_end = on_end,
    .on_writable = on_writable,
    .on_close = on_close,
};
