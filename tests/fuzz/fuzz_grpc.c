/* Frames of gRPC: any bytes, in any pieces, zipped or not, paused and resumed at any time, end a call
 * exactly once; a method gets no message that is larger than it allows, and nothing after the end; what
 * a call keeps is bounded and given back.
 *
 * The first byte chooses the coding and the pieces, the second one when the method pauses, or ends it. */
#include "grpc/grpc_internal.h"
#include "lib/fakegrpc.h"
#include "lib/testalloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MESSAGE_MAX 5000
#define QUOTA 60000

static struct {
    struct stele_call *call;
    uint8_t choice;
    uint32_t messages;
    uint32_t closed;
    bool half_closed;
} noted;

static void on_start(struct stele_call *call)
{
    noted.call = call;
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    volatile uint8_t sum = 0;
    STELE_ASSERT(noted.closed == 0);
    STELE_ASSERT(!noted.half_closed);
    STELE_ASSERT(message.size <= MESSAGE_MAX);
    for (size_t i = 0; i < message.size; i++) {
        sum = (uint8_t)(sum + message.data[i]);
    }
    noted.messages++;
    if ((noted.choice & 1) != 0 && noted.messages % 3 == 0) {
        stele_call_pause(call);
    }
    if ((noted.choice & 2) != 0) {
        stele_call_send(call, message);
    }
    if ((noted.choice & 4) != 0 && noted.messages == 5) {
        stele_call_finish(call, STELE_GRPC_ABORTED, "enough");
    }
}

static void on_half_closed(struct stele_call *call)
{
    (void)call;
    STELE_ASSERT(!noted.half_closed);
    noted.half_closed = true;
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)reason;
    STELE_ASSERT(call == noted.call);
    noted.closed++;
}

static const struct stele_method method = {
    .rpc = STELE_RPC_KURRENT_STREAMS_APPEND,
    .message_max = MESSAGE_MAX,
    .start = on_start,
    .message = on_message,
    .half_closed = on_half_closed,
    .closed = on_closed,
};

static void feed(struct stele_grpc *grpc, struct stele_exchange *exchange, struct stele_bytes bytes,
                 size_t piece)
{
    while (bytes.size > 0) {
        const size_t now = bytes.size < piece ? bytes.size : piece;
        exchange->received += now;
        stele_grpc_on_body(grpc, exchange, stele_bytes_slice(bytes, 0, now));
        bytes = stele_bytes_slice(bytes, now, bytes.size - now);
        if (noted.call != NULL && noted.closed == 0 && (noted.choice & 8) != 0) {
            stele_call_resume(noted.call);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const codings[] = {NULL, "identity", "gzip", "deflate"};
    static const size_t pieces[] = {1, 3, 7, 64, 1000, 16384, SIZE_MAX, 5};
    if (size < 2) {
        return 0;
    }
    struct testalloc alloc;
    struct fake_loop loop;
    struct stele_auth auth = {.quota = {.limits = {.memory = QUOTA, .requests_per_s = 50}}};
    struct stele_grpc *grpc = NULL;
    struct stele_exchange exchange;
    struct stele_grpc_table table = {.methods = {[STELE_RPC_KURRENT_STREAMS_APPEND] = &method}};
    memset(&noted, 0, sizeof noted);
    noted.choice = data[1];
    testalloc_init(&alloc, 1);
    fake_loop_init(&loop, &alloc.base);
    STELE_ASSERT(stele_grpc_create(NULL, &auth, &table, &alloc.base, &grpc) == STELE_OK);
    fake_request(&exchange, &loop, "/event_store.client.streams.Streams/Append", "ada");
    if (codings[data[0] & 3] != NULL) {
        fake_header(&exchange, "grpc-encoding", codings[data[0] & 3]);
    }
    stele_grpc_on_request(grpc, &exchange);
    feed(grpc, &exchange, (struct stele_bytes){.data = data + 2, .size = size - 2},
         pieces[data[0] >> 2 & 7]);
    STELE_ASSERT(auth.quota.memory <= QUOTA);
    stele_grpc_on_end(grpc, &exchange);
    if (noted.call != NULL && noted.closed == 0) {
        stele_call_resume(noted.call);
    }
    fake_close(grpc, &exchange);
    (void)fake_loop_run(&loop);
    STELE_ASSERT(noted.call == NULL || noted.closed == 1);
    STELE_ASSERT(auth.quota.memory == 0);
    STELE_ASSERT(auth.quota.calls == 0);
    stele_grpc_destroy(grpc);
    fake_loop_deinit(&loop);
    STELE_ASSERT(alloc.blocks == 0);
    return 0;
}
