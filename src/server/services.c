/* The switch from connections to services: which exchange goes where. */
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
    stele_native_register(table);
}

static void answer(struct stele_exchange *exchange)
{
    const struct stele_text path = stele_exchange_path(exchange);
    const bool ping = path.size == 5 && memcmp(path.data, "/ping", 5) == 0;
    const struct stele_http_header headers[] = {
        {.name = {.data = "content-type", .size = 12}, .value = {.data = "text/plain", .size = 10}},
        {.name = {.data = "content-length", .size = 14}, .value = {.data = "4", .size = 1}}};
    if (!ping) {
        stele_exchange_respond(exchange, 404, NULL, 0, true);
        return;
    }
    static const struct stele_bytes pong = {.data = (const uint8_t *)"pong", .size = 4};
    stele_exchange_respond(exchange, 200, headers, 2, false);
    (void)!stele_buf_append(stele_exchange_output(exchange), stele_exchange_loop(exchange)->alloc,
                            pong);
    stele_exchange_finish(exchange, NULL, 0);
}

static struct stele_grpc *grpc_of(void *context)
{
    const struct stele_server__worker *const worker = context;
    return worker->process->grpc;
}

static void on_request(void *context, struct stele_exchange *exchange)
{
    if (stele_grpc_wants(exchange)) {
        stele_exchange_set_kind(exchange, KIND_GRPC);
        stele_grpc_on_request(grpc_of(context), exchange);
    } else {
        stele_exchange_set_kind(exchange, KIND_HTTP);
        answer(exchange);
    }
}

static void on_body(void *context, struct stele_exchange *exchange, struct stele_bytes bytes)
{
    if (stele_exchange_kind(exchange) == KIND_GRPC) {
        stele_grpc_on_body(grpc_of(context), exchange, bytes);
    } else {
        stele_exchange_consume(exchange, bytes.size);
    }
}

static void on_end(void *context, struct stele_exchange *exchange)
{
    if (stele_exchange_kind(exchange) == KIND_GRPC) {
        stele_grpc_on_end(grpc_of(context), exchange);
    }
}

static void on_writable(void *context, struct stele_exchange *exchange)
{
    if (stele_exchange_kind(exchange) == KIND_GRPC) {
        stele_grpc_on_writable(grpc_of(context), exchange);
    }
}

static void on_close(void *context, struct stele_exchange *exchange, bool finished)
{
    if (stele_exchange_kind(exchange) == KIND_GRPC) {
        stele_grpc_on_close(grpc_of(context), exchange, finished);
    }
}

const struct stele_http_events stele_server__events = {
    .on_request = on_request,
    .on_body = on_body,
    .on_end = on_end,
    .on_writable = on_writable,
    .on_close = on_close,
};
