/* Persistent subscriptions, projections, operations and monitoring answer as the clients of KurrentDB
 * expect: values, statuses, texts and trailers.
 *
 * Method: messages made and read by protobuf-c; groups on the loop that the calls live on. */
#include "bench.h"
#include "lib/check.h"
#include "subs/groups.h"

#define PS "/event_store.client.persistent_subscriptions.PersistentSubscriptions/"
#define PROJECTIONS "/event_store.client.projections.Projections/"
#define OPERATIONS "/event_store.client.operations.Operations/"
#define MONITORING "/event_store.client.monitoring.Monitoring/"
#define P(name) EventStore__Client__PersistentSubscriptions__##name
#define INIT(name) EVENT_STORE__CLIENT__PERSISTENT_SUBSCRIPTIONS__##name##__INIT
#define CASE(name) EVENT_STORE__CLIENT__PERSISTENT_SUBSCRIPTIONS__##name

static void open_all(struct bench *bench)
{
    struct stele_error err;
    bench_open(bench);
    CHECK_OK(stele_groups_create(bench->engine, bench->server.cluster, bench->hubs.at[0].hub,
                                 &bench->loop.loop, &bench->alloc, &bench->server.groups, &err),
             err);
    stele_grpc_destroy(bench->grpc);
    struct stele_grpc_table table = {.methods = {NULL}};
    stele_kurrent_streams_register(&table);
    stele_kurrent_persistent_register(&table);
    stele_kurrent_projections_register(&table);
    stele_kurrent_operations_register(&table);
    stele_kurrent_monitoring_register(&table);
    CHECK_EQ(stele_grpc_create(&bench->server, &bench->auth, &table, &bench->alloc, &bench->grpc),
             0);
}

static bool stopped;

static void on_stopped(struct stele_task *task)
{
    (void)task;
    stopped = true;
}

static void close_all(struct bench *bench)
{
    struct stele_task task = {.run = on_stopped};
    stopped = false;
    bench_rest(bench);
    stele_groups_stop(bench->server.groups, &task);
    for (int i = 0; !stopped; i++) {
        CHECK(i < 1000);
        (void)fake_loop_wait(&bench->loop);
    }
    stele_groups_destroy(bench->server.groups);
    bench_close(bench);
}

static ProtobufCBinaryData binary(const char *text)
{
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text; /* protobuf-c does not write to what it packs. */
}

/* ---- Requests ---- */

static void settings_of(P(CreateReq__Settings) * settings)
{
    settings->max_retry_count = 2;
    settings->min_checkpoint_count = 1;
    settings->max_checkpoint_count = 100;
    settings->live_buffer_size = 50;
    settings->read_batch_size = 10;
    settings->history_buffer_size = 50;
    settings->message_timeout_case = CASE(CREATE_REQ__SETTINGS__MESSAGE_TIMEOUT_MESSAGE_TIMEOUT_MS);
    settings->message_timeout_ms = 1000;
    settings->checkpoint_after_case =
        CASE(CREATE_REQ__SETTINGS__CHECKPOINT_AFTER_CHECKPOINT_AFTER_MS);
    settings->checkpoint_after_ms = 1000;
    settings->consumer_strategy = text_of("DispatchToSingle");
}

/* One call with one request; the exchange is left open for its trailers. */
static int ask(struct bench *bench, struct stele_exchange *exchange, const char *path,
               const void *request)
{
    bench_call(bench, exchange, path, "admin");
    bench_send(bench, exchange, request);
    bench_end(bench, exchange);
    return bench_status(bench, exchange);
}

static int ask_and_close(struct bench *bench, const char *path, const void *request)
{
    struct stele_exchange exchange;
    const int status = ask(bench, &exchange, path, request);
    fake_close(bench->grpc, &exchange);
    return status;
}

struct create {
    P(CreateReq) request;
    P(CreateReq__Options) options;
    P(CreateReq__Settings) settings;
    P(CreateReq__StreamOptions) stream;
    P(CreateReq__AllOptions) all;
    P(CreateReq__AllOptions__FilterOptions) filter;
    P(CreateReq__AllOptions__FilterOptions__Expression) expression;
    EventStore__Client__StreamIdentifier identifier;
    EventStore__Client__Empty empty;
    char *prefixes[1];
};

/* From the start; stream NULL: $all. */
static void create_of(struct create *create, const char *stream, const char *group)
{
    *create = (struct create){
        .request = INIT(CREATE_REQ),
        .options = INIT(CREATE_REQ__OPTIONS),
        .settings = INIT(CREATE_REQ__SETTINGS),
        .stream = INIT(CREATE_REQ__STREAM_OPTIONS),
        .all = INIT(CREATE_REQ__ALL_OPTIONS),
        .filter = INIT(CREATE_REQ__ALL_OPTIONS__FILTER_OPTIONS),
        .expression = INIT(CREATE_REQ__ALL_OPTIONS__FILTER_OPTIONS__EXPRESSION),
        .identifier = EVENT_STORE__CLIENT__STREAM_IDENTIFIER__INIT,
        .empty = EVENT_STORE__CLIENT__EMPTY__INIT,
    };
    settings_of(&create->settings);
    create->request.options = &create->options;
    create->options.group_name = text_of(group);
    create->options.settings = &create->settings;
    if (stream == NULL) {
        create->options.stream_option_case = CASE(CREATE_REQ__OPTIONS__STREAM_OPTION_ALL);
        create->options.all = &create->all;
        create->all.all_option_case = CASE(CREATE_REQ__ALL_OPTIONS__ALL_OPTION_START);
        create->all.start = &create->empty;
        return;
    }
    create->identifier.stream_name = binary(stream);
    create->options.stream_option_case = CASE(CREATE_REQ__OPTIONS__STREAM_OPTION_STREAM);
    create->options.stream = &create->stream;
    create->stream.stream_identifier = &create->identifier;
    create->stream.revision_option_case = CASE(CREATE_REQ__STREAM_OPTIONS__REVISION_OPTION_START);
    create->stream.start = &create->empty;
}

static int create(struct bench *bench, const char *stream, const char *group)
{
    struct create request;
    create_of(&request, stream, group);
    return ask_and_close(bench, PS "Create", &request.request);
}

static int drop(struct bench *bench, struct stele_exchange *exchange, const char *stream,
                const char *group)
{
    EventStore__Client__StreamIdentifier identifier = EVENT_STORE__CLIENT__STREAM_IDENTIFIER__INIT;
    P(DeleteReq) request = INIT(DELETE_REQ);
    P(DeleteReq__Options) options = INIT(DELETE_REQ__OPTIONS);
    identifier.stream_name = binary(stream);
    request.options = &options;
    options.group_name = text_of(group);
    options.stream_option_case = CASE(DELETE_REQ__OPTIONS__STREAM_OPTION_STREAM_IDENTIFIER);
    options.stream_identifier = &identifier;
    return ask(bench, exchange, PS "Delete", &request);
}

/* The information about a group; released by bench_free(). */
static P(GetInfoResp) * get_info(struct bench *bench, const char *stream, const char *group)
{
    struct stele_exchange exchange;
    EventStore__Client__StreamIdentifier identifier = EVENT_STORE__CLIENT__STREAM_IDENTIFIER__INIT;
    EventStore__Client__Empty empty = EVENT_STORE__CLIENT__EMPTY__INIT;
    P(GetInfoReq) request = INIT(GET_INFO_REQ);
    P(GetInfoReq__Options) options = INIT(GET_INFO_REQ__OPTIONS);
    request.options = &options;
    options.group_name = text_of(group);
    if (stream == NULL) {
        options.stream_option_case = CASE(GET_INFO_REQ__OPTIONS__STREAM_OPTION_ALL);
        options.all = &empty;
    } else {
        identifier.stream_name = binary(stream);
        options.stream_option_case = CASE(GET_INFO_REQ__OPTIONS__STREAM_OPTION_STREAM_IDENTIFIER);
        options.stream_identifier = &identifier;
    }
    CHECK_EQ(ask(bench, &exchange, PS "GetInfo", &request), STELE_GRPC_OK);
    P(GetInfoResp) *response =
        bench_next(bench, &exchange,
                   &event_store__client__persistent_subscriptions__get_info_resp__descriptor);
    CHECK(response != NULL && response->subscription_info != NULL);
    fake_close(bench->grpc, &exchange);
    return response;
}

/* What is parked counts when it is stored. */
static P(GetInfoResp) *
    get_info_when_parked(struct bench *bench, const char *stream, const char *group)
{
    P(GetInfoResp) *info = get_info(bench, stream, group);
    while (info->subscription_info->parked_message_count == 0 ||
           info->subscription_info->total_in_flight_messages > 0) {
        bench_free(info);
        (void)fake_loop_wait_for(&bench->loop, 1);
        info = get_info(bench, stream, group);
    }
    return info;
}

/* ---- Consumers ---- */

static void consume(struct bench *bench, struct stele_exchange *exchange, const char *stream,
                    const char *group, const char *user, int32_t buffer_size)
{
    EventStore__Client__StreamIdentifier identifier = EVENT_STORE__CLIENT__STREAM_IDENTIFIER__INIT;
    EventStore__Client__Empty empty = EVENT_STORE__CLIENT__EMPTY__INIT;
    P(ReadReq) request = INIT(READ_REQ);
    P(ReadReq__Options) options = INIT(READ_REQ__OPTIONS);
    P(ReadReq__Options__UUIDOption) uuid = INIT(READ_REQ__OPTIONS__UUIDOPTION);
    identifier.stream_name = binary(stream == NULL ? "" : stream);
    uuid.content_case = CASE(READ_REQ__OPTIONS__UUIDOPTION__CONTENT_STRING);
    uuid.string = &empty;
    options.group_name = text_of(group);
    options.buffer_size = buffer_size;
    options.uuid_option = &uuid;
    if (stream == NULL) {
        options.stream_option_case = CASE(READ_REQ__OPTIONS__STREAM_OPTION_ALL);
        options.all = &empty;
    } else {
        options.stream_option_case = CASE(READ_REQ__OPTIONS__STREAM_OPTION_STREAM_IDENTIFIER);
        options.stream_identifier = &identifier;
    }
    request.content_case = CASE(READ_REQ__CONTENT_OPTIONS);
    request.options = &options;
    bench_call(bench, exchange, PS "Read", user);
    bench_send(bench, exchange, &request);
}

static P(ReadResp) * next(struct bench *bench, struct stele_exchange *exchange)
{
    return bench_next(bench, exchange,
                      &event_store__client__persistent_subscriptions__read_resp__descriptor);
}

static void expect_confirmation(struct bench *bench, struct stele_exchange *exchange,
                                const char *id)
{
    P(ReadResp) *response = next(bench, exchange);
    CHECK(response != NULL);
    CHECK_EQ(response->content_case, CASE(READ_RESP__CONTENT_SUBSCRIPTION_CONFIRMATION));
    CHECK_TEXT_EQ(response->subscription_confirmation->subscription_id, id);
    bench_free(response);
}

/* "revision/retries", "revision/retries<-link stream" of the next event; its id is written to id. */
static const char *expect_event(struct bench *bench, struct stele_exchange *exchange, char id[37])
{
    static char said[256];
    P(ReadResp) *response = next(bench, exchange);
    CHECK(response != NULL);
    CHECK_EQ(response->content_case, CASE(READ_RESP__CONTENT_EVENT));
    const P(ReadResp__ReadEvent) *read = response->event;
    CHECK_EQ(read->count_case, CASE(READ_RESP__READ_EVENT__COUNT_RETRY_COUNT));
    CHECK_EQ(read->position_case, CASE(READ_RESP__READ_EVENT__POSITION_COMMIT_POSITION));
    const P(ReadResp__ReadEvent__RecordedEvent) *original =
        read->link != NULL ? read->link : read->event;
    CHECK_EQ(original->commit_position, read->commit_position);
    CHECK_EQ(original->id->value_case, EVENT_STORE__CLIENT__UUID__VALUE_STRING);
    (void)snprintf(id, 37, "%s", original->id->string);
    (void)snprintf(
        said, sizeof said, "%llu/%d%s%.*s", (unsigned long long)read->event->stream_revision,
        read->retry_count, read->link != NULL ? "<-" : "",
        read->link != NULL ? (int)read->link->stream_identifier->stream_name.len : 0,
        read->link != NULL ? (const char *)read->link->stream_identifier->stream_name.data : "");
    bench_free(response);
    return said;
}

static void ack(struct bench *bench, struct stele_exchange *exchange, const char *id)
{
    EventStore__Client__UUID uuid = EVENT_STORE__CLIENT__UUID__INIT;
    EventStore__Client__UUID *uuids[] = {&uuid};
    P(ReadReq) request = INIT(READ_REQ);
    P(ReadReq__Ack) one = INIT(READ_REQ__ACK);
    uuid.value_case = EVENT_STORE__CLIENT__UUID__VALUE_STRING;
    uuid.string = text_of(id);
    one.n_ids = 1;
    one.ids = uuids;
    request.content_case = CASE(READ_REQ__CONTENT_ACK);
    request.ack = &one;
    bench_send(bench, exchange, &request);
}

static void nack(struct bench *bench, struct stele_exchange *exchange, const char *id,
                 P(ReadReq__Nack__Action) action)
{
    EventStore__Client__UUID uuid = EVENT_STORE__CLIENT__UUID__INIT;
    EventStore__Client__UUID *uuids[] = {&uuid};
    P(ReadReq) request = INIT(READ_REQ);
    P(ReadReq__Nack) one = INIT(READ_REQ__NACK);
    uuid.value_case = EVENT_STORE__CLIENT__UUID__VALUE_STRING;
    uuid.string = text_of(id);
    one.n_ids = 1;
    one.ids = uuids;
    one.action = action;
    one.reason = text_of("not now");
    request.content_case = CASE(READ_REQ__CONTENT_NACK);
    request.nack = &one;
    bench_send(bench, exchange, &request);
}

/* ---- Groups ---- */

TEST(a_group_is_created_in_the_newer_and_in_the_older_form)
{
    struct bench bench;
    struct create request;
    open_all(&bench);
    CHECK_EQ(create(&bench, "s", "new"), STELE_GRPC_OK);
    create_of(&request, "s", "old");
    request.options.stream_option_case = 0;
    request.options.stream_identifier = &request.identifier;
    request.settings.revision = 7;
    request.settings.consumer_strategy = text_of("");
    request.settings.named_consumer_strategy = CASE(CREATE_REQ__CONSUMER_STRATEGY__Pinned);
    request.settings.message_timeout_case =
        CASE(CREATE_REQ__SETTINGS__MESSAGE_TIMEOUT_MESSAGE_TIMEOUT_TICKS);
    request.settings.message_timeout_ticks = 50000000;
    CHECK_EQ(ask_and_close(&bench, PS "Create", &request.request), STELE_GRPC_OK);
    P(GetInfoResp) *info = get_info(&bench, "s", "old");
    CHECK_TEXT_EQ(info->subscription_info->event_source, "s");
    CHECK_TEXT_EQ(info->subscription_info->group_name, "old");
    CHECK_TEXT_EQ(info->subscription_info->start_from, "7");
    CHECK_TEXT_EQ(info->subscription_info->named_consumer_strategy, "Pinned");
    CHECK_EQ(info->subscription_info->message_timeout_milliseconds, 5000);
    CHECK_EQ(info->subscription_info->check_point_after_milliseconds, 1000);
    CHECK_EQ(info->subscription_info->buffer_size, 50);
    CHECK_TEXT_EQ(info->subscription_info->last_known_event_position, "");
    CHECK_TEXT_EQ(info->subscription_info->last_checkpointed_event_position, "");
    bench_free(info);
    info = get_info(&bench, "s", "new");
    CHECK_TEXT_EQ(info->subscription_info->start_from, "0");
    CHECK_TEXT_EQ(info->subscription_info->named_consumer_strategy, "DispatchToSingle");
    bench_free(info);
    close_all(&bench);
}

TEST(a_maximum_of_finished_events_below_the_minimum_is_taken)
{
    struct bench bench;
    struct create request;
    open_all(&bench);
    create_of(&request, "s", "g");
    request.settings.min_checkpoint_count = 10;
    request.settings.max_checkpoint_count = 1;
    CHECK_EQ(ask_and_close(&bench, PS "Create", &request.request), STELE_GRPC_OK);
    P(GetInfoResp) *info = get_info(&bench, "s", "g");
    CHECK_EQ(info->subscription_info->min_check_point_count, 10);
    CHECK_EQ(info->subscription_info->max_check_point_count, 1);
    bench_free(info);
    close_all(&bench);
}

TEST(refusals_have_the_texts_and_trailers_that_clients_look_at)
{
    struct bench bench;
    struct stele_exchange exchange;
    struct create request;
    open_all(&bench);
    CHECK_EQ(create(&bench, "s", "g"), STELE_GRPC_OK);
    create_of(&request, "s", "g");
    CHECK_EQ(ask(&bench, &exchange, PS "Create", &request.request), STELE_GRPC_ALREADY_EXISTS);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "persistent-subscription-exists");
    CHECK_TEXT_EQ(fake_answer(&exchange, "stream-name"), "s");
    CHECK_TEXT_EQ(fake_answer(&exchange, "group-name"), "g");
    CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"),
                  "Subscription group g on stream s exists.");
    fake_close(bench.grpc, &exchange);

    create_of(&request, NULL, "bad");
    request.settings.consumer_strategy = text_of("Whatever");
    CHECK_EQ(ask(&bench, &exchange, PS "Create", &request.request), STELE_GRPC_INTERNAL);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "persistent-subscription-failed");
    CHECK_TEXT_EQ(fake_answer(&exchange, "stream-name"), "$all");
    fake_close(bench.grpc, &exchange);
    create_of(&request, "s", "bad");
    request.settings.read_batch_size = 50;
    CHECK_EQ(ask(&bench, &exchange, PS "Create", &request.request), STELE_GRPC_INTERNAL);
    CHECK_TEXT_HAS(fake_answer(&exchange, "grpc-message"),
                   "Subscription group bad on stream s failed: '");
    fake_close(bench.grpc, &exchange);

    CHECK_EQ(drop(&bench, &exchange, "s", "none"), STELE_GRPC_NOT_FOUND);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "persistent-subscription-does-not-exist");
    CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"),
                  "Subscription group none on stream s does not exist.");
    fake_close(bench.grpc, &exchange);

    consume(&bench, &exchange, "s", "none", "", 10);
    CHECK_EQ(bench_status(&bench, &exchange), STELE_GRPC_NOT_FOUND);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "persistent-subscription-does-not-exist");
    fake_close(bench.grpc, &exchange);

    consume(&bench, &exchange, "secret", "g", "ops", 10);
    CHECK_EQ(bench_status(&bench, &exchange), STELE_GRPC_PERMISSION_DENIED);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "access-denied");
    fake_close(bench.grpc, &exchange);
    close_all(&bench);
}

TEST(consumers_get_events_ack_nack_and_are_told_retries)
{
    struct bench bench;
    struct stele_exchange exchange;
    char id[37];
    char second[37];
    open_all(&bench);
    (void)bench_append(&bench, "s", STELE_EXPECT_ANY, 1, 4);
    CHECK_EQ(create(&bench, "s", "g"), STELE_GRPC_OK);
    consume(&bench, &exchange, "s", "g", "", 2);
    expect_confirmation(&bench, &exchange, "s::g");
    CHECK_TEXT_EQ(expect_event(&bench, &exchange, id), "0/0");
    CHECK_TEXT_EQ(expect_event(&bench, &exchange, second), "1/0");
    nack(&bench, &exchange, second, CASE(READ_REQ__NACK__ACTION__Retry));
    CHECK_TEXT_EQ(expect_event(&bench, &exchange, second), "1/1");
    ack(&bench, &exchange, id);
    CHECK_TEXT_EQ(expect_event(&bench, &exchange, id), "2/0");
    nack(&bench, &exchange, second, CASE(READ_REQ__NACK__ACTION__Park));
    CHECK_TEXT_EQ(expect_event(&bench, &exchange, second), "3/0");
    nack(&bench, &exchange, second, CASE(READ_REQ__NACK__ACTION__Skip));
    ack(&bench, &exchange, id);
    bench_rest(&bench);
    P(GetInfoResp) *info = get_info_when_parked(&bench, "s", "g");
    CHECK_EQ(info->subscription_info->parked_message_count, 1);
    CHECK_EQ(info->subscription_info->total_in_flight_messages, 0);
    CHECK_EQ(info->subscription_info->n_connections, 1);
    CHECK_TEXT_EQ(info->subscription_info->connections[0]->connection_name, "<unknown>");
    CHECK_EQ(info->subscription_info->connections[0]->available_slots, 2);
    CHECK_TEXT_EQ(info->subscription_info->last_known_event_position, "3");
    CHECK_TEXT_EQ(info->subscription_info->status, "Live");
    bench_free(info);
    fake_close(bench.grpc, &exchange);
    close_all(&bench);
}

TEST(a_message_that_times_out_comes_again_and_a_dropped_consumer_is_told)
{
    struct bench bench;
    struct stele_exchange exchange, other;
    char id[37];
    open_all(&bench);
    (void)bench_append(&bench, "s", STELE_EXPECT_ANY, 1, 1);
    CHECK_EQ(create(&bench, "s", "g"), STELE_GRPC_OK);
    consume(&bench, &exchange, "s", "g", "", 10);
    expect_confirmation(&bench, &exchange, "s::g");
    CHECK_TEXT_EQ(expect_event(&bench, &exchange, id), "0/0");
    fake_loop_advance(&bench.loop, 2100000);
    CHECK_TEXT_EQ(expect_event(&bench, &exchange, id), "0/1");
    CHECK_EQ(drop(&bench, &other, "s", "g"), STELE_GRPC_OK);
    fake_close(bench.grpc, &other);
    CHECK_EQ(bench_status(&bench, &exchange), STELE_GRPC_CANCELLED);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "persistent-subscription-dropped");
    CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"),
                  "Subscription group g on stream s was dropped.");
    fake_close(bench.grpc, &exchange);
    close_all(&bench);
}

TEST(a_consumer_whose_rights_are_taken_away_is_told)
{
    struct bench bench;
    struct stele_exchange exchange;
    char id[37];
    open_all(&bench);
    (void)bench_append(&bench, "s", STELE_EXPECT_ANY, 1, 1);
    CHECK_EQ(create(&bench, "s", "g"), STELE_GRPC_OK);
    consume(&bench, &exchange, "s", "g", "ops", 10);
    expect_confirmation(&bench, &exchange, "s::g");
    CHECK_TEXT_EQ(expect_event(&bench, &exchange, id), "0/0");
    bench.auth.closed = "s";
    bench.auth.generation++;
    fake_loop_advance(&bench.loop, 2100000); /* The event times out and comes again. */
    CHECK_EQ(bench_status(&bench, &exchange), STELE_GRPC_PERMISSION_DENIED);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "access-denied");
    fake_close(bench.grpc, &exchange);
    close_all(&bench);
}

TEST(a_link_is_not_followed_to_what_a_consumer_may_not_read)
{
    struct bench bench;
    struct stele_exchange exchange;
    struct create request;
    open_all(&bench);
    (void)bench_append(&bench, "secret-1", STELE_EXPECT_ANY, 1, 1);
    (void)bench_append_one(&bench, "links", 5, "$>", "0@secret-1", "", false);
    create_of(&request, "links", "g");
    request.settings.resolve_links = 1;
    CHECK_EQ(ask_and_close(&bench, PS "Create", &request.request), STELE_GRPC_OK);
    for (int admin = 0; admin < 2; admin++) {
        consume(&bench, &exchange, "links", "g", admin == 1 ? "admin" : "ops", 10);
        expect_confirmation(&bench, &exchange, "links::g");
        P(ReadResp) *response = next(&bench, &exchange);
        CHECK(response != NULL);
        CHECK(response->event->link != NULL);
        CHECK((response->event->event != NULL) == (admin == 1));
        bench_free(response);
        fake_close(bench.grpc, &exchange);
        bench_rest(&bench);
    }
    close_all(&bench);
}

TEST(one_consumer_too_many_is_refused)
{
    struct bench bench;
    struct stele_exchange first, second;
    struct create request;
    open_all(&bench);
    create_of(&request, NULL, "g");
    request.settings.max_subscriber_count = 1;
    CHECK_EQ(ask_and_close(&bench, PS "Create", &request.request), STELE_GRPC_OK);
    consume(&bench, &first, NULL, "g", "", 10);
    expect_confirmation(&bench, &first, "$all::g");
    consume(&bench, &second, NULL, "g", "", 10);
    CHECK_EQ(bench_status(&bench, &second), STELE_GRPC_FAILED_PRECONDITION);
    CHECK_TEXT_EQ(fake_answer(&second, "exception"), "maximum-subscribers-reached");
    CHECK_TEXT_EQ(fake_answer(&second, "grpc-message"),
                  "Maximum subscriptions reached for subscription group g on stream $all.");
    fake_close(bench.grpc, &second);
    fake_close(bench.grpc, &first);
    bench_rest(&bench);
    consume(&bench, &second, NULL, "g", "", 10);
    expect_confirmation(&bench, &second, "$all::g");
    fake_close(bench.grpc, &second);
    close_all(&bench);
}

TEST(a_filter_of_a_group_of_all_is_obeyed_and_parked_events_are_replayed)
{
    struct bench bench;
    struct stele_exchange exchange, other;
    struct create request;
    char id[37];
    open_all(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 1, 2);
    (void)bench_append(&bench, "b", STELE_EXPECT_ANY, 10, 2);
    create_of(&request, NULL, "g");
    request.all.filter_option_case = CASE(CREATE_REQ__ALL_OPTIONS__FILTER_OPTION_FILTER);
    request.all.filter = &request.filter;
    request.filter.filter_case = CASE(CREATE_REQ__ALL_OPTIONS__FILTER_OPTIONS__FILTER_EVENT_TYPE);
    request.filter.event_type = &request.expression;
    request.prefixes[0] = text_of("type-11");
    request.expression.n_prefix = 1;
    request.expression.prefix = request.prefixes;
    CHECK_EQ(ask_and_close(&bench, PS "Create", &request.request), STELE_GRPC_OK);
    consume(&bench, &exchange, NULL, "g", "", 10);
    expect_confirmation(&bench, &exchange, "$all::g");
    CHECK_TEXT_EQ(expect_event(&bench, &exchange, id), "1/0");
    nack(&bench, &exchange, id, CASE(READ_REQ__NACK__ACTION__Park));
    bench_rest(&bench);
    bench_free(get_info_when_parked(&bench, NULL, "g"));
    P(ReplayParkedReq) replay = INIT(REPLAY_PARKED_REQ);
    P(ReplayParkedReq__Options) options = INIT(REPLAY_PARKED_REQ__OPTIONS);
    replay.options = &options;
    options.group_name = text_of("g");
    options.stream_option_case = CASE(REPLAY_PARKED_REQ__OPTIONS__STREAM_OPTION_ALL);
    options.all = &request.empty;
    options.stop_at_option_case = CASE(REPLAY_PARKED_REQ__OPTIONS__STOP_AT_OPTION_NO_LIMIT);
    options.no_limit = &request.empty;
    CHECK_EQ(ask(&bench, &other, PS "ReplayParked", &replay), STELE_GRPC_OK);
    fake_close(bench.grpc, &other);
    CHECK_TEXT_EQ(expect_event(&bench, &exchange, id),
                  "1/0<-$persistentsubscription-$all::g-parked");
    ack(&bench, &exchange, id);
    bench_rest(&bench);
    fake_close(bench.grpc, &exchange);
    close_all(&bench);
}

TEST(a_list_of_a_stream_without_groups_is_refused_and_of_all_it_is_not)
{
    struct bench bench;
    struct stele_exchange exchange;
    EventStore__Client__Empty empty = EVENT_STORE__CLIENT__EMPTY__INIT;
    EventStore__Client__StreamIdentifier identifier = EVENT_STORE__CLIENT__STREAM_IDENTIFIER__INIT;
    P(ListReq) request = INIT(LIST_REQ);
    P(ListReq__Options) options = INIT(LIST_REQ__OPTIONS);
    P(ListReq__StreamOption) stream = INIT(LIST_REQ__STREAM_OPTION);
    open_all(&bench);
    request.options = &options;
    options.list_option_case = CASE(LIST_REQ__OPTIONS__LIST_OPTION_LIST_FOR_STREAM);
    options.list_for_stream = &stream;
    stream.stream_option_case = CASE(LIST_REQ__STREAM_OPTION__STREAM_OPTION_STREAM);
    stream.stream = &identifier;
    identifier.stream_name = binary("s");
    CHECK_EQ(ask(&bench, &exchange, PS "List", &request), STELE_GRPC_NOT_FOUND);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "persistent-subscription-does-not-exist");
    fake_close(bench.grpc, &exchange);
    CHECK_EQ(create(&bench, "s", "one"), STELE_GRPC_OK);
    CHECK_EQ(create(&bench, NULL, "two"), STELE_GRPC_OK);
    for (size_t want = 1; want <= 2; want++) {
        if (want == 2) {
            options.list_option_case = CASE(LIST_REQ__OPTIONS__LIST_OPTION_LIST_ALL_SUBSCRIPTIONS);
            options.list_all_subscriptions = &empty;
        }
        CHECK_EQ(ask(&bench, &exchange, PS "List", &request), STELE_GRPC_OK);
        P(ListResp) *list =
            bench_next(&bench, &exchange,
                       &event_store__client__persistent_subscriptions__list_resp__descriptor);
        CHECK_EQ(list->n_subscriptions, want);
        CHECK_TEXT_EQ(list->subscriptions[0]->group_name, "one");
        CHECK(want == 1 || strcmp(list->subscriptions[1]->event_source, "$all") == 0);
        CHECK(want == 1 || strcmp(list->subscriptions[1]->start_from, "C:0/P:0") == 0);
        bench_free(list);
        fake_close(bench.grpc, &exchange);
    }
    close_all(&bench);
}

TEST(malformed_messages_of_consumers_end_the_call)
{
    struct bench bench;
    struct stele_exchange exchange;
    P(ReadReq) request = INIT(READ_REQ);
    P(ReadReq__Ack) one = INIT(READ_REQ__ACK);
    open_all(&bench);
    CHECK_EQ(create(&bench, "s", "g"), STELE_GRPC_OK);
    /* An ack before the options, options twice, bytes that are no message. */
    request.content_case = CASE(READ_REQ__CONTENT_ACK);
    request.ack = &one;
    bench_call(&bench, &exchange, PS "Read", "");
    bench_send(&bench, &exchange, &request);
    CHECK_EQ(bench_status(&bench, &exchange), STELE_GRPC_INVALID_ARGUMENT);
    fake_close(bench.grpc, &exchange);
    consume(&bench, &exchange, "s", "g", "", 10);
    fake_send(bench.grpc, &exchange, "\x12\xff", 2);
    CHECK_EQ(bench_status(&bench, &exchange), STELE_GRPC_INVALID_ARGUMENT);
    fake_close(bench.grpc, &exchange);
    /* A client that sends no more has left. */
    consume(&bench, &exchange, "s", "g", "", 10);
    expect_confirmation(&bench, &exchange, "s::g");
    bench_end(&bench, &exchange);
    CHECK_EQ(bench_status(&bench, &exchange), STELE_GRPC_OK);
    fake_close(bench.grpc, &exchange);
    close_all(&bench);
}

/* ---- Projections ---- */

typedef EventStore__Client__Projections__StatisticsReq StatisticsReq;
typedef EventStore__Client__Projections__StatisticsReq__Options StatisticsOptions;
typedef EventStore__Client__Projections__StatisticsResp StatisticsResp;

static int statistics(struct bench *bench, struct stele_exchange *exchange, const char *name)
{
    EventStore__Client__Empty empty = EVENT_STORE__CLIENT__EMPTY__INIT;
    StatisticsReq request = EVENT_STORE__CLIENT__PROJECTIONS__STATISTICS_REQ__INIT;
    StatisticsOptions options = EVENT_STORE__CLIENT__PROJECTIONS__STATISTICS_REQ__OPTIONS__INIT;
    request.options = &options;
    if (name == NULL) {
        options.mode_case = EVENT_STORE__CLIENT__PROJECTIONS__STATISTICS_REQ__OPTIONS__MODE_ALL;
        options.all = &empty;
    } else {
        options.mode_case = EVENT_STORE__CLIENT__PROJECTIONS__STATISTICS_REQ__OPTIONS__MODE_NAME;
        options.name = text_of(name);
    }
    return ask(bench, exchange, PROJECTIONS "Statistics", &request);
}

static void expect_status(struct bench *bench, const char *name, const char *status)
{
    struct stele_exchange exchange;
    CHECK_EQ(statistics(bench, &exchange, name), STELE_GRPC_OK);
    StatisticsResp *response = bench_next(
        bench, &exchange, &event_store__client__projections__statistics_resp__descriptor);
    CHECK_TEXT_EQ(response->details->name, name);
    CHECK_TEXT_EQ(response->details->status, status);
    CHECK_TEXT_EQ(response->details->mode, "Continuous");
    CHECK(response->details->progress > 99.9F);
    bench_free(response);
    fake_close(bench->grpc, &exchange);
}

static int switch_to(struct bench *bench, const char *method, const char *name)
{
    EventStore__Client__Projections__EnableReq request =
        EVENT_STORE__CLIENT__PROJECTIONS__ENABLE_REQ__INIT;
    EventStore__Client__Projections__EnableReq__Options options =
        EVENT_STORE__CLIENT__PROJECTIONS__ENABLE_REQ__OPTIONS__INIT;
    request.options = &options;
    options.name = text_of(name);
    return ask_and_close(bench, method, &request);
}

TEST(system_projections_run_and_remember_that_they_were_stopped)
{
    struct bench bench;
    struct stele_exchange exchange;
    open_all(&bench);
    CHECK_EQ(statistics(&bench, &exchange, NULL), STELE_GRPC_OK);
    for (int i = 0; i < 5; i++) {
        void *response = bench_next(&bench, &exchange,
                                    &event_store__client__projections__statistics_resp__descriptor);
        CHECK(response != NULL);
        bench_free(response);
    }
    fake_close(bench.grpc, &exchange);
    expect_status(&bench, "$by_category", "Running");
    CHECK_EQ(switch_to(&bench, PROJECTIONS "Disable", "$by_category"), STELE_GRPC_OK);
    CHECK_EQ(switch_to(&bench, PROJECTIONS "Disable", "$by_category"), STELE_GRPC_OK);
    expect_status(&bench, "$by_category", "Stopped");
    expect_status(&bench, "$streams", "Running");
    CHECK_EQ(switch_to(&bench, PROJECTIONS "Reset", "$by_category"), STELE_GRPC_OK);
    CHECK_EQ(switch_to(&bench, PROJECTIONS "Enable", "$by_category"), STELE_GRPC_OK);
    expect_status(&bench, "$by_category", "Running");
    CHECK_EQ(switch_to(&bench, PROJECTIONS "Enable", "mine"), STELE_GRPC_NOT_FOUND);
    CHECK_EQ(switch_to(&bench, PROJECTIONS "Delete", "$by_category"), STELE_GRPC_PERMISSION_DENIED);
    CHECK_EQ(switch_to(&bench, PROJECTIONS "Result", "$by_category"), STELE_GRPC_OK);
    CHECK_EQ(statistics(&bench, &exchange, "mine"), STELE_GRPC_NOT_FOUND);
    CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"), "Projection 'mine' not found");
    fake_close(bench.grpc, &exchange);
    close_all(&bench);
}

TEST(projections_of_users_are_refused_with_a_reason)
{
    struct bench bench;
    struct stele_exchange exchange;
    EventStore__Client__Projections__CreateReq request =
        EVENT_STORE__CLIENT__PROJECTIONS__CREATE_REQ__INIT;
    EventStore__Client__Projections__CreateReq__Options options =
        EVENT_STORE__CLIENT__PROJECTIONS__CREATE_REQ__OPTIONS__INIT;
    EventStore__Client__Projections__CreateReq__Options__Continuous continuous =
        EVENT_STORE__CLIENT__PROJECTIONS__CREATE_REQ__OPTIONS__CONTINUOUS__INIT;
    open_all(&bench);
    request.options = &options;
    options.query = text_of("fromAll()");
    options.mode_case = EVENT_STORE__CLIENT__PROJECTIONS__CREATE_REQ__OPTIONS__MODE_CONTINUOUS;
    options.continuous = &continuous;
    continuous.name = text_of("mine");
    CHECK_EQ(ask(&bench, &exchange, PROJECTIONS "Create", &request), STELE_GRPC_UNIMPLEMENTED);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "projections-not-supported");
    CHECK_TEXT_HAS(fake_answer(&exchange, "grpc-message"), "not supported");
    fake_close(bench.grpc, &exchange);
    continuous.name = text_of("$streams");
    CHECK_EQ(ask_and_close(&bench, PROJECTIONS "Create", &request), STELE_GRPC_ALREADY_EXISTS);
    close_all(&bench);
}

/* ---- Operations ---- */

static int scavenges;
static bool shut_down;

static int start_scavenge(struct stele_server *server, char out_id[37])
{
    (void)server;
    memcpy(out_id, "0123", 5);
    return ++scavenges == 1 ? STELE_OK : STELE_E_OVERLOADED;
}

static int stop_scavenge(struct stele_server *server, const char *id)
{
    (void)server;
    return strcmp(id, "0123") == 0 ? STELE_OK : STELE_NOT_FOUND;
}

static void on_shut_down(struct stele_server *server)
{
    (void)server;
    shut_down = true;
}

typedef EventStore__Client__Operations__ScavengeResp ScavengeResp;

TEST(operations_start_and_stop_scavenging_and_shut_down)
{
    struct bench bench;
    struct stele_exchange exchange;
    EventStore__Client__Empty empty = EVENT_STORE__CLIENT__EMPTY__INIT;
    EventStore__Client__Operations__StartScavengeReq start =
        EVENT_STORE__CLIENT__OPERATIONS__START_SCAVENGE_REQ__INIT;
    EventStore__Client__Operations__StartScavengeReq__Options start_options =
        EVENT_STORE__CLIENT__OPERATIONS__START_SCAVENGE_REQ__OPTIONS__INIT;
    EventStore__Client__Operations__StopScavengeReq stop =
        EVENT_STORE__CLIENT__OPERATIONS__STOP_SCAVENGE_REQ__INIT;
    EventStore__Client__Operations__StopScavengeReq__Options stop_options =
        EVENT_STORE__CLIENT__OPERATIONS__STOP_SCAVENGE_REQ__OPTIONS__INIT;
    open_all(&bench);
    bench.server.scavenge_start = start_scavenge;
    bench.server.scavenge_stop = stop_scavenge;
    bench.server.shut_down = on_shut_down;
    start.options = &start_options;
    CHECK_EQ(ask_and_close(&bench, OPERATIONS "StartScavenge", &start),
             STELE_GRPC_INVALID_ARGUMENT);
    start_options.thread_count = 1;
    scavenges = 0;
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(ask(&bench, &exchange, OPERATIONS "StartScavenge", &start), STELE_GRPC_OK);
        ScavengeResp *response = bench_next(
            &bench, &exchange, &event_store__client__operations__scavenge_resp__descriptor);
        CHECK_TEXT_EQ(response->scavenge_id, "0123");
        CHECK_EQ(response->scavenge_result, i);
        bench_free(response);
        fake_close(bench.grpc, &exchange);
    }
    stop.options = &stop_options;
    stop_options.scavenge_id = text_of("9");
    CHECK_EQ(ask(&bench, &exchange, OPERATIONS "StopScavenge", &stop), STELE_GRPC_NOT_FOUND);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "scavenge-not-found");
    CHECK_TEXT_EQ(fake_answer(&exchange, "scavenge-id"), "9");
    fake_close(bench.grpc, &exchange);
    stop_options.scavenge_id = text_of("0123");
    CHECK_EQ(ask_and_close(&bench, OPERATIONS "StopScavenge", &stop), STELE_GRPC_OK);
    CHECK_EQ(ask_and_close(&bench, OPERATIONS "RestartPersistentSubscriptions", &empty),
             STELE_GRPC_OK);
    CHECK_EQ(ask_and_close(&bench, OPERATIONS "MergeIndexes", &empty), STELE_GRPC_OK);
    shut_down = false;
    CHECK_EQ(ask_and_close(&bench, OPERATIONS "Shutdown", &empty), STELE_GRPC_OK);
    CHECK(shut_down);
    close_all(&bench);
}

TEST(statistics_come_again_and_again_until_the_client_leaves)
{
    struct bench bench;
    struct stele_exchange exchange;
    EventStore__Client__Monitoring__StatsReq request =
        EVENT_STORE__CLIENT__MONITORING__STATS_REQ__INIT;
    open_all(&bench);
    request.refresh_time_period_in_ms = 500;
    bench_call(&bench, &exchange, MONITORING "Stats", "admin");
    bench_send(&bench, &exchange, &request);
    bench_end(&bench, &exchange);
    for (int i = 0; i < 3; i++) {
        EventStore__Client__Monitoring__StatsResp *response =
            bench_next(&bench, &exchange, &event_store__client__monitoring__stats_resp__descriptor);
        CHECK(response != NULL);
        CHECK(response->n_stats > 5);
        bench_free(response);
        fake_loop_advance(&bench.loop, 500000);
    }
    fake_close(bench.grpc, &exchange);
    close_all(&bench);
}
