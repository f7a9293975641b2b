/* Whole calls of every method of KurrentDB's services, with any bytes as messages in any pieces: each
 * ends with one status, and leaves no memory behind.
 *
 * The store answers at once that there is nothing, so that nothing but the services is looked at. */
#include "api/kurrent/kurrent_internal.h"
#include "api/member/alone.h"
#include "lib/fakegrpc.h"
#include "subs/follow.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t blocks;

static void *reallocate(struct stele_alloc *self, void *old, size_t old_size, size_t new_size)
{
    (void)self;
    (void)old_size;
    blocks += old == NULL && new_size > 0 ? 1 : 0;
    blocks -= old != NULL && new_size == 0 ? 1 : 0;
    if (new_size == 0) {
        free(old);
        return NULL;
    }
    return realloc(old, new_size);
}

/* ---- An engine that has nothing and forgets everything ---- */

static void run_done(struct stele_task *task)
{
    struct stele_appending *appending =
        (struct stele_appending *)(void *)((uint8_t *)task -
                                           offsetof(struct stele_appending, task));
    appending->on_done(appending);
}

static int append(struct stele_engine *engine, struct stele_appending *appending,
                  const struct stele_append *streams, size_t streams_count,
                  const struct stele_condition *conditions, size_t conditions_count,
                  struct stele_error *err)
{
    (void)engine;
    (void)conditions;
    (void)conditions_count;
    (void)err;
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < streams_count; i++) {
        STELE_ASSERT(strlen(streams[i].stream) > 0);
        if (appending->revisions_last != NULL) {
            appending->revisions_last[i] = streams[i].count;
        }
        for (size_t k = 0; k < streams[i].count; k++) {
            const struct stele_event_draft *draft = &streams[i].events[k];
            for (size_t at = 0; at < draft->data_size; at++) {
                sum = (uint8_t)(sum + ((const uint8_t *)draft->data)[at]);
            }
        }
    }
    static const int outcomes[] = {STELE_OK, STELE_WRONG_REVISION, STELE_STREAM_DELETED,
                                   STELE_E_ID_CONFLICT, STELE_E_UNKNOWN};
    appending->outcome = outcomes[strlen(streams[0].stream) % 5];
    appending->task.run = run_done;
    stele_loop_post(appending->loop, &appending->task);
    return STELE_OK;
}

static int delete (struct stele_engine *engine, struct stele_appending *appending,
                   const char *stream, uint64_t expected, struct stele_error *err)
{
    const struct stele_append one = {.stream = stream, .expected = expected};
    return append(engine, appending, &one, 1, NULL, 0, err);
}

static int read_open(struct stele_engine *engine, const char *stream,
                     const struct stele_read_options *options, struct stele_reading **out_reading,
                     struct stele_error *err)
{
    (void)engine;
    (void)stream;
    (void)options;
    (void)err;
    *out_reading = (struct stele_reading *)(void *)&blocks;
    return STELE_OK;
}

static int read_next(struct stele_reading *reading, const struct stele_event **out_events,
                     size_t *out_count, struct stele_error *err)
{
    (void)reading;
    (void)out_events;
    (void)out_count;
    (void)err;
    return STELE_END;
}

static uint64_t read_number(const struct stele_reading *reading)
{
    (void)reading;
    return 0;
}

static uint64_t read_ordinal(const struct stele_reading *reading, size_t index)
{
    (void)reading;
    return index;
}

static void read_close(struct stele_reading *reading)
{
    (void)reading;
}

static int stream_info(struct stele_engine *engine, const char *stream,
                       struct stele_stream_info *out_info, struct stele_error *err)
{
    (void)engine;
    (void)err;
    const size_t size = strlen(stream);
    *out_info = (struct stele_stream_info){
        .revision_last = size, .deleted = size % 3 == 0, .tombstoned = size % 7 == 0};
    return size % 2 == 0 ? STELE_OK : STELE_NO_STREAM;
}

static int get_metadata(struct stele_engine *engine, const char *stream, char *buffer,
                        size_t buffer_size, size_t *out_size, uint64_t *out_revision,
                        struct stele_error *err)
{
    (void)engine;
    (void)stream;
    (void)buffer;
    (void)buffer_size;
    (void)out_size;
    (void)out_revision;
    (void)err;
    return STELE_NOT_FOUND;
}

static uint64_t last_position(struct stele_engine *engine)
{
    (void)engine;
    return 7;
}

static void watch(struct stele_engine *engine, struct stele_watch *one)
{
    (void)engine;
    (void)one;
}

static const struct stele_engine_ops ops = {
    .append = append,
    .tombstone = delete,
    .soft_delete = delete,
    .read_open = read_open,
    .read_next = read_next,
    .read_position = read_number,
    .read_scanned = read_number,
    .read_ordinal = read_ordinal,
    .read_close = read_close,
    .stream_info = stream_info,
    .get_metadata = get_metadata,
    .last_position = last_position,
    .watch_start = watch,
    .watch_stop = watch,
};

static const char *const paths[] = {
    "/event_store.client.streams.Streams/Read",
    "/event_store.client.streams.Streams/Append",
    "/event_store.client.streams.Streams/BatchAppend",
    "/event_store.client.streams.Streams/Delete",
    "/event_store.client.streams.Streams/Tombstone",
    "/kurrentdb.protocol.v2.streams.StreamsService/AppendSession",
    "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords",
    "/event_store.client.server_features.ServerFeatures/GetSupportedMethods",
    "/event_store.client.gossip.Gossip/Read",
    "/unknown/Method",
};

static void play(struct stele_grpc *grpc, struct fake_loop *loop, const uint8_t *data, size_t size)
{
    struct stele_exchange exchange;
    fake_request(&exchange, loop, paths[data[0] % STELE_COUNT_OF(paths)],
                 data[0] & 0x80 ? "somebody" : "");
    if (data[0] & 0x40) {
        fake_header(&exchange, "grpc-encoding", "gzip");
    }
    stele_grpc_on_request(grpc, &exchange);
    /* A byte of length, a message, and so on; length 0: the rest as raw bytes of the body. */
    size_t at = 1;
    while (at < size) {
        const size_t length = data[at++];
        const size_t left = size - at;
        if (length == 0) {
            exchange.received += left;
            stele_grpc_on_body(grpc, &exchange,
                               (struct stele_bytes){.data = data + at, .size = left});
            break;
        }
        fake_send(grpc, &exchange, data + at, length < left ? length : left);
        at += length < left ? length : left;
        (void)fake_loop_run(loop);
    }
    stele_grpc_on_end(grpc, &exchange);
    (void)fake_loop_run(loop);
    if (data[0] & 0x20) {
        fake_loop_advance(loop, 3000000);
    }
    fake_close(grpc, &exchange);
    (void)fake_loop_run(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct stele_alloc alloc = {.reallocate = reallocate};
    struct fake_loop loop;
    struct stele_auth auth = {.anonymous_is_nobody = false};
    struct stele_engine engine = {.ops = &ops};
    struct stele_hubs hubs = {.count = 1};
    struct stele_alone alone;
    struct stele_server server = {
        .cluster = &alone.cluster,
        .alloc = &alloc,
        .engine = &engine,
        .auth = &auth,
        .hubs = &hubs,
        .append_size_max = 4096,
        .event_size_max = 1024,
    };
    struct stele_grpc_table table = {.methods = {NULL}};
    struct stele_grpc *grpc;
    blocks = 0;
    stele_alone_init(&alone, &server);
    fake_loop_init(&loop, &alloc);
    hubs.at[0].loop = &loop.loop;
    STELE_ASSERT(stele_hub_create(&engine, &loop.loop, &hubs.at[0].hub) == STELE_OK);
    stele_kurrent_streams_register(&table);
    stele_kurrent_v2_register(&table);
    stele_kurrent_features_register(&table);
    stele_kurrent_gossip_register(&table);
    STELE_ASSERT(stele_grpc_create(&server, &auth, &table, &alloc, &grpc) == STELE_OK);
    play(grpc, &loop, data, size);
    stele_grpc_destroy(grpc);
    stele_hub_destroy(hubs.at[0].hub);
    (void)fake_loop_run(&loop);
    fake_loop_deinit(&loop);
    STELE_ASSERT(blocks == 0);
    return 0;
}
