#define CHECK_NO_MAIN
#include "bench.h"

#include "lib/check.h"
#include "server/engine.h"
#include "subs/follow.h"

static void *reallocate(struct stele_alloc *self, void *old, size_t old_size, size_t new_size)
{
    (void)self;
    (void)old_size;
    if (new_size == 0) {
        free(old);
        return NULL;
    }
    return realloc(old, new_size);
}

static void *reallocate_or_fail(struct stele_alloc *self, void *old, size_t old_size,
                                size_t new_size)
{
    struct bench_alloc *alloc = (struct bench_alloc *)(void *)self;
    if (new_size > 0 && ++alloc->calls == alloc->fail_at) {
        alloc->failures++;
        return NULL;
    }
    alloc->blocks += old == NULL && new_size > 0 ? 1 : 0;
    alloc->blocks -= old != NULL && new_size == 0 ? 1 : 0;
    return reallocate(self, old, old_size, new_size);
}

void bench_open(struct bench *bench)
{
    struct stele_error err;
    *bench = (struct bench){.alloc = {.reallocate = reallocate}};
    scratch_make(&bench->scratch);
    bench->of_loop.base.reallocate = reallocate_or_fail;
    fake_loop_init(&bench->loop, &bench->of_loop.base);
    CHECK_OK(stele_open(bench->scratch.path, NULL, &bench->store, &err), err);
    CHECK_OK(stele_engine_create(bench->store, &bench->alloc, &bench->engine, &err), err);
    bench->hubs.count = 1;
    bench->hubs.at[0].loop = &bench->loop.loop;
    CHECK_EQ(stele_hub_create(bench->engine, &bench->loop.loop, &bench->hubs.at[0].hub), 0);
    bench->server = (struct stele_server){
        .alloc = &bench->alloc,
        .engine = bench->engine,
        .auth = &bench->auth,
        .hubs = &bench->hubs,
        .home = &bench->loop.loop,
        .instance_id = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
        .advertised_host = "node.example",
        .advertised_port = 2113,
        .append_size_max = 1u << 20,
        .event_size_max = 1u << 16,
    };
    stele_alone_init(&bench->alone, &bench->server);
    bench->server.cluster = &bench->alone.cluster;
    struct stele_grpc_table table = {.methods = {NULL}};
    stele_kurrent_streams_register(&table);
    stele_kurrent_v2_register(&table);
    stele_kurrent_features_register(&table);
    stele_kurrent_gossip_register(&table);
    CHECK_EQ(stele_grpc_create(&bench->server, &bench->auth, &table, &bench->alloc, &bench->grpc),
             0);
}

void bench_close(struct bench *bench)
{
    bench_rest(bench);
    stele_grpc_destroy(bench->grpc);
    stele_hub_destroy(bench->hubs.at[0].hub);
    while (stele_engine_wind_down(bench->engine) > 0) {
        (void)fake_loop_wait(&bench->loop);
    }
    bench_rest(bench);
    stele_engine_destroy(bench->engine);
    CHECK_EQ(stele_close(bench->store), 0);
    fake_loop_deinit(&bench->loop);
    CHECK_EQ(bench->of_loop.blocks, 0);
    scratch_remove(&bench->scratch);
}

/* ---- Calls ---------------------------------------------------------------------------------- */

void bench_call(struct bench *bench, struct stele_exchange *exchange, const char *path,
                const char *user)
{
    fake_request(exchange, &bench->loop, path, user);
    stele_grpc_on_request(bench->grpc, exchange);
}

void bench_send(struct bench *bench, struct stele_exchange *exchange, const void *message)
{
    const size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size + 1);
    CHECK(bytes != NULL);
    CHECK_EQ(protobuf_c_message_pack(message, bytes), size);
    fake_send(bench->grpc, exchange, bytes, size);
    free(bytes);
}

void bench_end(struct bench *bench, struct stele_exchange *exchange)
{
    stele_grpc_on_end(bench->grpc, exchange);
}

void bench_rest(struct bench *bench)
{
    while (fake_loop_run(&bench->loop) > 0) {
    }
}

int bench_status(struct bench *bench, struct stele_exchange *exchange)
{
    bench_rest(bench);
    for (int i = 0; fake_status(exchange) < 0; i++) {
        CHECK(i < 1000);
        (void)fake_loop_wait(&bench->loop);
    }
    return fake_status(exchange);
}

void *bench_next(struct bench *bench, struct stele_exchange *exchange,
                 const ProtobufCMessageDescriptor *descriptor)
{
    struct stele_bytes bytes;
    bench_rest(bench);
    for (int i = 0; !fake_next(exchange, &bytes); i++) {
        if (exchange->ended) {
            return NULL;
        }
        CHECK(i < 1000);
        (void)fake_loop_wait(&bench->loop);
    }
    void *message = protobuf_c_message_unpack(descriptor, NULL, bytes.size, bytes.data);
    CHECK(message != NULL);
    return message;
}

void bench_free(void *message)
{
    protobuf_c_message_free_unpacked(message, NULL);
}

/* ---- Appending ------------------------------------------------------------------------------ */

void bench_id(uint32_t number, uint8_t id[16])
{
    memset(id, 0x80, 16);
    stele_store_u32le(id + 4, number);
}

static ProtobufCBinaryData binary(const char *text)
{
    /* protobuf-c does not write to what it packs. */
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

static char *mutable(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void send_options(struct bench *bench, struct stele_exchange *exchange, const char *stream,
                         uint64_t expected)
{
    AppendReq request = EVENT_STORE__CLIENT__STREAMS__APPEND_REQ__INIT;
    EventStore__Client__Streams__AppendReq__Options options =
        EVENT_STORE__CLIENT__STREAMS__APPEND_REQ__OPTIONS__INIT;
    EventStore__Client__StreamIdentifier identifier = EVENT_STORE__CLIENT__STREAM_IDENTIFIER__INIT;
    EventStore__Client__Empty empty = EVENT_STORE__CLIENT__EMPTY__INIT;
    identifier.stream_name = binary(stream);
    options.stream_identifier = &identifier;
    options.any = &empty; /* The same member of the union for all three. */
    switch (expected) {
    case STELE_EXPECT_ANY:
        options.expected_stream_revision_case =
            EVENT_STORE__CLIENT__STREAMS__APPEND_REQ__OPTIONS__EXPECTED_STREAM_REVISION_ANY;
        break;
    case STELE_EXPECT_NO_STREAM:
        options.expected_stream_revision_case =
            EVENT_STORE__CLIENT__STREAMS__APPEND_REQ__OPTIONS__EXPECTED_STREAM_REVISION_NO_STREAM;
        break;
    case STELE_EXPECT_EXISTS:
        options.expected_stream_revision_case =
            EVENT_STORE__CLIENT__STREAMS__APPEND_REQ__OPTIONS__EXPECTED_STREAM_REVISION_STREAM_EXISTS;
        break;
    default:
        options.expected_stream_revision_case =
            EVENT_STORE__CLIENT__STREAMS__APPEND_REQ__OPTIONS__EXPECTED_STREAM_REVISION_REVISION;
        options.revision = expected;
        break;
    }
    request.content_case = EVENT_STORE__CLIENT__STREAMS__APPEND_REQ__CONTENT_OPTIONS;
    request.options = &options;
    bench_send(bench, exchange, &request);
}

static void send_event(struct bench *bench, struct stele_exchange *exchange, uint32_t number,
                       const char *type, const char *data, const char *metadata, bool json)
{
    AppendReq request = EVENT_STORE__CLIENT__STREAMS__APPEND_REQ__INIT;
    EventStore__Client__Streams__AppendReq__ProposedMessage event =
        EVENT_STORE__CLIENT__STREAMS__APPEND_REQ__PROPOSED_MESSAGE__INIT;
    EventStore__Client__UUID uuid = EVENT_STORE__CLIENT__UUID__INIT;
    EventStore__Client__UUID__Structured structured = EVENT_STORE__CLIENT__UUID__STRUCTURED__INIT;
    EventStore__Client__Streams__AppendReq__ProposedMessage__MetadataEntry entries[2] = {
        EVENT_STORE__CLIENT__STREAMS__APPEND_REQ__PROPOSED_MESSAGE__METADATA_ENTRY__INIT,
        EVENT_STORE__CLIENT__STREAMS__APPEND_REQ__PROPOSED_MESSAGE__METADATA_ENTRY__INIT};
    EventStore__Client__Streams__AppendReq__ProposedMessage__MetadataEntry *list[2] = {&entries[0],
                                                                                       &entries[1]};
    uint8_t id[16];
    char text[37];
    bench_id(number, id);
    if (number % 2 == 0) {
        structured.most_significant_bits = (int64_t)__builtin_bswap64(stele_load_u64le(id));
        structured.least_significant_bits = (int64_t)__builtin_bswap64(stele_load_u64le(id + 8));
        uuid.value_case = EVENT_STORE__CLIENT__UUID__VALUE_STRUCTURED;
        uuid.structured = &structured;
    } else {
        stele_id_to_text(id, text);
        uuid.value_case = EVENT_STORE__CLIENT__UUID__VALUE_STRING;
        uuid.string = text;
    }
    entries[0].key = mutable("type");
    entries[0].value = mutable(type);
    entries[1].key = mutable("content-type");
    entries[1].value = mutable(json ? "application/json" : "image/png");
    event.id = &uuid;
    event.n_metadata = 2;
    event.metadata = list;
    event.data = binary(data);
    event.custom_metadata = binary(metadata);
    request.content_case = EVENT_STORE__CLIENT__STREAMS__APPEND_REQ__CONTENT_PROPOSED_MESSAGE;
    request.proposed_message = &event;
    bench_send(bench, exchange, &request);
}

static int finish_append(struct bench *bench, struct stele_exchange *exchange,
                         AppendResp **out_response)
{
    bench_end(bench, exchange);
    const int status = bench_status(bench, exchange);
    *out_response = status == 0 ? bench_next(bench, exchange,
                                             &event_store__client__streams__append_resp__descriptor)
                                : NULL;
    fake_close(bench->grpc, exchange);
    return status;
}

int bench_try_append(struct bench *bench, const char *stream, uint64_t expected, uint32_t number,
                     uint32_t count, AppendResp **out_response)
{
    struct stele_exchange exchange;
    bench_call(bench, &exchange, STREAMS "Append", "");
    send_options(bench, &exchange, stream, expected);
    for (uint32_t i = 0; i < count; i++) {
        char type[32];
        char data[32];
        char metadata[32];
        (void)snprintf(type, sizeof type, "type-%u", number + i);
        (void)snprintf(data, sizeof data, "{\"n\":%u}", number + i);
        (void)snprintf(metadata, sizeof metadata, "{\"m\":%u}", number + i);
        send_event(bench, &exchange, number + i, type, data, metadata, true);
    }
    return finish_append(bench, &exchange, out_response);
}

static uint64_t position_of(AppendResp *response)
{
    CHECK(response != NULL);
    CHECK_EQ(response->result_case, EVENT_STORE__CLIENT__STREAMS__APPEND_RESP__RESULT_SUCCESS);
    const EventStore__Client__Streams__AppendResp__Success *success = response->success;
    CHECK_EQ(success->position_option_case,
             EVENT_STORE__CLIENT__STREAMS__APPEND_RESP__SUCCESS__POSITION_OPTION_POSITION);
    CHECK_EQ(success->position->commit_position, success->position->prepare_position);
    const uint64_t position = success->position->commit_position;
    bench_free(response);
    return position;
}

uint64_t bench_append(struct bench *bench, const char *stream, uint64_t expected, uint32_t number,
                      uint32_t count)
{
    AppendResp *response = NULL;
    CHECK_EQ(bench_try_append(bench, stream, expected, number, count, &response), 0);
    return position_of(response);
}

uint64_t bench_append_one(struct bench *bench, const char *stream, uint32_t number,
                          const char *type, const char *data, const char *metadata, bool json)
{
    struct stele_exchange exchange;
    AppendResp *response = NULL;
    bench_call(bench, &exchange, STREAMS "Append", "");
    send_options(bench, &exchange, stream, STELE_EXPECT_ANY);
    send_event(bench, &exchange, number, type, data, metadata, json);
    CHECK_EQ(finish_append(bench, &exchange, &response), 0);
    return position_of(response);
}

int bench_delete(struct bench *bench, struct stele_exchange *exchange, const char *method,
                 const char *stream, uint64_t expected)
{
    char path[80];
    DeleteReq request = EVENT_STORE__CLIENT__STREAMS__DELETE_REQ__INIT;
    EventStore__Client__Streams__DeleteReq__Options options =
        EVENT_STORE__CLIENT__STREAMS__DELETE_REQ__OPTIONS__INIT;
    EventStore__Client__StreamIdentifier identifier = EVENT_STORE__CLIENT__STREAM_IDENTIFIER__INIT;
    EventStore__Client__Empty empty = EVENT_STORE__CLIENT__EMPTY__INIT;
    (void)snprintf(path, sizeof path, "%s%s", STREAMS, method);
    identifier.stream_name = binary(stream);
    options.stream_identifier = &identifier;
    options.any = &empty;
    if (expected == STELE_EXPECT_ANY) {
        options.expected_stream_revision_case =
            EVENT_STORE__CLIENT__STREAMS__DELETE_REQ__OPTIONS__EXPECTED_STREAM_REVISION_ANY;
    } else if (expected == STELE_EXPECT_NO_STREAM) {
        options.expected_stream_revision_case =
            EVENT_STORE__CLIENT__STREAMS__DELETE_REQ__OPTIONS__EXPECTED_STREAM_REVISION_NO_STREAM;
    } else if (expected == STELE_EXPECT_EXISTS) {
        options.expected_stream_revision_case =
            EVENT_STORE__CLIENT__STREAMS__DELETE_REQ__OPTIONS__EXPECTED_STREAM_REVISION_STREAM_EXISTS;
    } else {
        options.expected_stream_revision_case =
            EVENT_STORE__CLIENT__STREAMS__DELETE_REQ__OPTIONS__EXPECTED_STREAM_REVISION_REVISION;
        options.revision = expected;
    }
    request.options = &options;
    bench_call(bench, exchange, path, "");
    bench_send(bench, exchange, &request);
    bench_end(bench, exchange);
    return bench_status(bench, exchange);
}

/* ---- Reading -------------------------------------------------------------------------------- */

#define OPTIONS(name) EVENT_STORE__CLIENT__STREAMS__READ_REQ__OPTIONS__##name

void bench_read(struct bench_read *read, const char *stream)
{
    *read = (struct bench_read){
        .request = EVENT_STORE__CLIENT__STREAMS__READ_REQ__INIT,
        .options = OPTIONS(INIT),
        .stream = OPTIONS(STREAM_OPTIONS__INIT),
        .all = OPTIONS(ALL_OPTIONS__INIT),
        .position = OPTIONS(POSITION__INIT),
        .identifier = EVENT_STORE__CLIENT__STREAM_IDENTIFIER__INIT,
        .subscription = OPTIONS(SUBSCRIPTION_OPTIONS__INIT),
        .uuid = OPTIONS(UUIDOPTION__INIT),
        .control = OPTIONS(CONTROL_OPTION__INIT),
        .filter = OPTIONS(FILTER_OPTIONS__INIT),
        .expression = OPTIONS(FILTER_OPTIONS__EXPRESSION__INIT),
        .empty = EVENT_STORE__CLIENT__EMPTY__INIT,
    };
    read->request.options = &read->options;
    if (stream != NULL) {
        read->identifier.stream_name = binary(stream);
        read->stream.stream_identifier = &read->identifier;
        read->stream.revision_option_case = OPTIONS(STREAM_OPTIONS__REVISION_OPTION_START);
        read->stream.start = &read->empty;
        read->options.stream_option_case = OPTIONS(STREAM_OPTION_STREAM);
        read->options.stream = &read->stream;
    } else {
        read->all.all_option_case = OPTIONS(ALL_OPTIONS__ALL_OPTION_START);
        read->all.start = &read->empty;
        read->options.stream_option_case = OPTIONS(STREAM_OPTION_ALL);
        read->options.all = &read->all;
    }
    read->options.count_option_case = OPTIONS(COUNT_OPTION_COUNT);
    read->options.count = 1000;
    read->options.filter_option_case = OPTIONS(FILTER_OPTION_NO_FILTER);
    read->options.no_filter = &read->empty;
    read->uuid.content_case = OPTIONS(UUIDOPTION__CONTENT_STRUCTURED);
    read->uuid.structured = &read->empty;
    read->options.uuid_option = &read->uuid;
}

void bench_read_from(struct bench_read *read, uint64_t place)
{
    read->stream.revision_option_case = OPTIONS(STREAM_OPTIONS__REVISION_OPTION_REVISION);
    read->stream.revision = place;
    read->all.all_option_case = OPTIONS(ALL_OPTIONS__ALL_OPTION_POSITION);
    read->all.position = &read->position;
    read->position.commit_position = place;
    read->position.prepare_position = place;
}

void bench_read_from_end(struct bench_read *read)
{
    read->stream.revision_option_case = OPTIONS(STREAM_OPTIONS__REVISION_OPTION_END);
    read->stream.end = &read->empty;
    read->all.all_option_case = OPTIONS(ALL_OPTIONS__ALL_OPTION_END);
    read->all.end = &read->empty;
}

void bench_read_backwards(struct bench_read *read)
{
    read->options.read_direction = OPTIONS(READ_DIRECTION__Backwards);
}

void bench_read_filter(struct bench_read *read, bool by_stream, const char *regex,
                       const char *prefix)
{
    read->expression.regex = mutable(regex != NULL ? regex : "");
    if (prefix != NULL) {
        read->prefixes[0] = mutable(prefix);
        read->expression.prefix = read->prefixes;
        read->expression.n_prefix = 1;
    }
    read->filter.filter_case = by_stream ? OPTIONS(FILTER_OPTIONS__FILTER_STREAM_IDENTIFIER)
                                         : OPTIONS(FILTER_OPTIONS__FILTER_EVENT_TYPE);
    read->filter.event_type = &read->expression;
    read->filter.window_case = OPTIONS(FILTER_OPTIONS__WINDOW_MAX);
    read->filter.max = 4;
    read->filter.checkpointintervalmultiplier = 1;
    read->options.filter_option_case = OPTIONS(FILTER_OPTION_FILTER);
    read->options.filter = &read->filter;
}

void bench_read_subscribe(struct bench_read *read)
{
    read->options.count_option_case = OPTIONS(COUNT_OPTION_SUBSCRIPTION);
    read->options.subscription = &read->subscription;
}

static void say_event(const EventStore__Client__Streams__ReadResp__ReadEvent__RecordedEvent *event,
                      char *to, size_t size)
{
    (void)snprintf(to, size, "%llu@%.*s", (unsigned long long)event->stream_revision,
                   (int)event->stream_identifier->stream_name.len,
                   (const char *)event->stream_identifier->stream_name.data);
}

static void say(const ReadResp *response, char *to, size_t size)
{
    char event[128] = "";
    char link[128] = "";
    switch (response->content_case) {
    case EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_EVENT:
        if (response->event->event != NULL) {
            say_event(response->event->event, event, sizeof event);
        }
        if (response->event->link != NULL) {
            say_event(response->event->link, link, sizeof link);
        }
        (void)snprintf(to, size, "%s%s%s", link, link[0] != '\0' ? "->" : "", event);
        break;
    case EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_STREAM_NOT_FOUND:
        (void)snprintf(
            to, size, "not-found(%.*s)",
            (int)response->stream_not_found->stream_identifier->stream_name.len,
            (const char *)response->stream_not_found->stream_identifier->stream_name.data);
        break;
    case EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_FIRST_STREAM_POSITION:
        (void)snprintf(to, size, "first(%llu)",
                       (unsigned long long)response->first_stream_position);
        break;
    case EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_LAST_STREAM_POSITION:
        (void)snprintf(to, size, "last(%llu)", (unsigned long long)response->last_stream_position);
        break;
    case EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_CONFIRMATION:
        CHECK_EQ(strlen(response->confirmation->subscription_id), 36);
        (void)snprintf(to, size, "confirmed");
        break;
    case EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_CHECKPOINT:
        CHECK_EQ(response->checkpoint->commit_position, response->checkpoint->prepare_position);
        CHECK(response->checkpoint->timestamp->seconds > 1600000000);
        (void)snprintf(to, size, "checkpoint");
        break;
    case EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_CAUGHT_UP:
        CHECK(response->caught_up->timestamp->seconds > 1600000000);
        if (response->caught_up->position != NULL) {
            (void)snprintf(to, size, "caught-up(all)");
        } else if (response->caught_up->stream_revision_option_case != 0) {
            (void)snprintf(to, size, "caught-up(%lld)",
                           (long long)response->caught_up->stream_revision);
        } else {
            (void)snprintf(to, size, "caught-up");
        }
        break;
    default:
        (void)snprintf(to, size, "content-%d", (int)response->content_case);
        break;
    }
}

const char *bench_told(struct bench *bench, struct stele_exchange *exchange)
{
    static char said[512];
    ReadResp *response = NEXT_READ(bench, exchange);
    if (response == NULL) {
        (void)snprintf(said, sizeof said, "end(%d)", fake_status(exchange));
        return said;
    }
    say(response, said, sizeof said);
    bench_free(response);
    return said;
}

const char *bench_said(struct bench *bench, struct bench_read *read, const char *user)
{
    static char all[65536];
    struct stele_exchange exchange;
    size_t size = 0;
    bench_call(bench, &exchange, STREAMS "Read", user);
    bench_send(bench, &exchange, &read->request);
    bench_end(bench, &exchange);
    for (;;) {
        const char *one = bench_told(bench, &exchange);
        size += (size_t)snprintf(all + size, sizeof all - size, "%s%s", size > 0 ? " " : "", one);
        CHECK(size < sizeof all);
        if (strncmp(one, "end(", 4) == 0) {
            break;
        }
    }
    fake_close(bench->grpc, &exchange);
    return all;
}
