/* ServerFeatures: what works here. Clients go other ways, or tell their users, for what is missing. */
#include "api/kurrent/kurrent_internal.h"

/* Clients compare it with the versions that brought a method: plain digits and dots. */
#define COMPATIBLE_VERSION "26.1.0"

static const struct {
    enum stele_rpc first, last;
    const char *features[3];
} features[] = {
    {STELE_RPC_KURRENT_STREAMS_READ, STELE_RPC_KURRENT_STREAMS_READ, {"position", "events"}},
    {STELE_RPC_KURRENT_STREAMS_BATCH_APPEND,
     STELE_RPC_KURRENT_STREAMS_BATCH_APPEND,
     {"deadline_duration"}},
    {STELE_RPC_KURRENT_PS_CREATE, STELE_RPC_KURRENT_PS_RESTART_SUBSYSTEM, {"stream", "all"}},
    {STELE_RPC_KURRENT_PROJECTIONS_CREATE,
     STELE_RPC_KURRENT_PROJECTIONS_CREATE,
     {"track_emitted_streams"}},
};

static uint8_t *put_lower(uint8_t *to, uint32_t field, const char *text, size_t size)
{
    to = stele_pb_put_message(to, field, size);
    for (size_t i = 0; i < size; i++) {
        *to++ = (uint8_t)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
    }
    return to;
}

/* SupportedMethod. */
static uint8_t *put_method(uint8_t *to, enum stele_rpc rpc)
{
    const char *service = stele_auth_rpc_path(rpc) + 1;
    const char *slash = strchr(service, '/');
    STELE_ASSERT(slash != NULL);
    to = put_lower(to, 1, slash + 1, strlen(slash + 1));
    to = put_lower(to, 2, service, (size_t)(slash - service));
    for (size_t i = 0; i < STELE_COUNT_OF(features); i++) {
        for (size_t k = 0;
             rpc >= features[i].first && rpc <= features[i].last && features[i].features[k] != NULL;
             k++) {
            to =
                stele_pb_put_bytes(to, 3, features[i].features[k], strlen(features[i].features[k]));
        }
    }
    return to;
}

static bool is_ours(const char *path)
{
    const struct stele_text text = stele_kurrent__text_of(path);
    return stele_kurrent__starts(text, "/event_store.client.") ||
           stele_kurrent__starts(text, "/kurrentdb.protocol.");
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    (void)message;
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    struct stele_buf *buf = stele_call_message_begin(call);
    const size_t room = (size_t)STELE_RPC_COUNT * 256;
    if (stele_buf_reserve(buf, alloc, room) != STELE_OK) {
        stele_call_message_cancel(call);
        stele_kurrent__fail_outcome(call, STELE_E_NO_MEMORY, "");
        return;
    }
    uint8_t *to = buf->data + buf->size;
    for (int i = 0; i < STELE_RPC_COUNT; i++) {
        uint8_t method[240];
        const enum stele_rpc rpc = (enum stele_rpc)i;
        if (stele_call_knows(call, rpc) && is_ours(stele_auth_rpc_path(rpc))) {
            const uint8_t *end = put_method(method, rpc);
            STELE_ASSERT(end <= method + sizeof method);
            to = stele_pb_put_bytes(to, 1, method, (size_t)(end - method));
        }
    }
    to = stele_pb_put_bytes(to, 2, COMPATIBLE_VERSION, strlen(COMPATIBLE_VERSION));
    STELE_ASSERT((size_t)(to - buf->data) <= buf->size + room);
    buf->size = (size_t)(to - buf->data);
    stele_call_message_end(call);
    stele_call_finish(call, STELE_GRPC_OK, "");
}

void stele_kurrent_features_register(struct stele_grpc_table *table)
{
    static const struct stele_method method = {
        .rpc = STELE_RPC_KURRENT_FEATURES,
        .message = on_message,
    };
    table->methods[method.rpc] = &method;
}
