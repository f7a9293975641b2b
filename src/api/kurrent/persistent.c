/* PersistentSubscriptions: groups of competing consumers, on subs/groups.h. */
#include "api/kurrent/cold.h"
#include "subs/sight.h"

#include <stdio.h>

#define BUFFER_SIZE_MAX 2000 /* Events in flight at one consumer, whatever it asks for. */

/* ---- Refusals ------------------------------------------------------------------------------- */

static const char *shown(const char *stream)
{
    return stream == NULL ? "$all" : stream;
}

static void add_trailers(struct stele_call *call, const char *exception, const char *stream,
                         const char *group)
{
    stele_call_trailer(call, "exception", stele_bytes_of_text(exception));
    stele_call_trailer(call, "stream-name", stele_bytes_of_text(shown(stream)));
    stele_call_trailer(call, "group-name", stele_bytes_of_text(group));
}

/* SPEC(kurrent/ps/errors): the texts and trailers that clients tell them apart by. */
static void fail_group(struct stele_call *call, int outcome, const char *message,
                       const char *stream, const char *group)
{
    const char *name = shown(stream);
    switch (outcome) {
    case STELE_NOT_FOUND:
        add_trailers(call, "persistent-subscription-does-not-exist", stream, group);
        stele_call_fail(call, STELE_GRPC_NOT_FOUND,
                        "Subscription group %s on stream %s does not exist.", group, name);
        break;
    case STELE_GROUPS_EXISTS:
        add_trailers(call, "persistent-subscription-exists", stream, group);
        stele_call_fail(call, STELE_GRPC_ALREADY_EXISTS,
                        "Subscription group %s on stream %s exists.", group, name);
        break;
    case STELE_GROUPS_ELSEWHERE:
        stele_kurrent__fail_not_leader(call);
        break;
    case STELE_E_LIMIT:
        add_trailers(call, "maximum-subscribers-reached", stream, group);
        stele_call_fail(call, STELE_GRPC_FAILED_PRECONDITION,
                        "Maximum subscriptions reached for subscription group %s on stream %s.",
                        group, name);
        break;
    case STELE_E_CLOSED:
        add_trailers(call, "persistent-subscription-dropped", stream, group);
        stele_call_fail(call, STELE_GRPC_CANCELLED,
                        "Subscription group %s on stream %s was dropped.", group, name);
        break;
    case STELE_E_INVALID:
        add_trailers(call, "persistent-subscription-failed", stream, group);
        stele_call_trailer(call, "reason", stele_bytes_of_text(message));
        stele_call_fail(call, STELE_GRPC_INTERNAL,
                        "Subscription group %s on stream %s failed: '%s'", group, name, message);
        break;
    default:
        stele_kurrent__fail_outcome(call, outcome, message);
        break;
    }
}

/* ---- Requests with one answer --------------------------------------------------------------- */

struct unary {
    struct stele_groups_request request; /* First: on_done finds the rest. */
    struct stele_call *call;
    struct stele_arena arena;
    struct stele_filter filter;
    bool asked;
};

static struct unary *unary_of(struct stele_call *call)
{
    return stele_call_state(call);
}

static enum stele_groups_what what_of(const struct stele_call *call)
{
    switch (stele_call_method(call)->rpc) {
    case STELE_RPC_KURRENT_PS_CREATE:
        return STELE_GROUPS_CREATE;
    case STELE_RPC_KURRENT_PS_UPDATE:
        return STELE_GROUPS_UPDATE;
    case STELE_RPC_KURRENT_PS_DELETE:
        return STELE_GROUPS_DELETE;
    case STELE_RPC_KURRENT_PS_GET_INFO:
        return STELE_GROUPS_INFO;
    case STELE_RPC_KURRENT_PS_LIST:
        return STELE_GROUPS_LIST;
    case STELE_RPC_KURRENT_PS_REPLAY_PARKED:
        return STELE_GROUPS_REPLAY;
    case STELE_RPC_KURRENT_PS_TRUNCATE_PARKED:
        return STELE_GROUPS_TRUNCATE;
    default:
        return STELE_GROUPS_RESTART;
    }
}

static void answer_infos(struct stele_call *call, const struct stele_groups_request *request)
{
    struct stele_kurrent__out out = {.alloc = stele_call_loop(call)->alloc};
    for (size_t i = 0; i < request->infos_count; i++) {
        stele_kurrent__put_group_info(&out, &request->infos[i]);
    }
    if (stele_kurrent__out_send(&out, call)) {
        stele_call_finish(call, STELE_GRPC_OK, "");
    }
    stele_kurrent__out_deinit(&out);
}

static void on_done(struct stele_groups_request *request)
{
    struct unary *unary = (struct unary *)(void *)request;
    struct stele_call *call = unary->call;
    if (!stele_call_is_over(call)) {
        const bool looks = request->what == STELE_GROUPS_INFO || request->what == STELE_GROUPS_LIST;
        if (request->outcome != STELE_OK) {
            fail_group(call, request->outcome, request->err.message, request->stream,
                       request->group == NULL ? "" : request->group);
        } else if (looks) {
            answer_infos(call, request);
        } else {
            stele_kurrent__answer_empty(call);
        }
    }
    stele_groups_request_deinit(request);
    stele_arena_deinit(&unary->arena, stele_call_loop(call)->alloc);
    stele_call_release(call);
}

/* By name, or by number where there is no name. NULL: fine; else what is wrong. */
static const char *take_strategy(const struct stele_kurrent__group_options *options,
                                 struct stele_group_settings *settings)
{
    static const char *const names[] = {"DispatchToSingle", "RoundRobin", "Pinned",
                                        "PinnedByCorrelation"};
    if (options->strategy.size == 0) {
        settings->strategy = (enum stele_group_strategy)options->strategy_number;
        return options->strategy_number <= STELE_GROUP_PINNED ? NULL
                                                              : "Consumer strategy does not exist.";
    }
    for (size_t i = 0; i < STELE_COUNT_OF(names); i++) {
        if (stele_kurrent__is(options->strategy, names[i])) {
            settings->strategy = (enum stele_group_strategy)i;
            return NULL;
        }
    }
    return "Consumer strategy does not exist.";
}

/* STELE_OK; otherwise the call has been answered. */
static int take_names(struct stele_call *call, struct unary *unary,
                      const struct stele_kurrent__group_options *options)
{
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    struct stele_groups_request *request = &unary->request;
    const bool is_all = options->is_all || stele_kurrent__is(options->stream, "$all");
    const bool needs_stream = !is_all && !options->all_streams;
    const bool needs_group = request->what != STELE_GROUPS_LIST;
    if ((needs_stream && options->stream.size == 0) || (needs_group && options->group.size == 0) ||
        memchr(options->stream.data == NULL ? "" : options->stream.data, '\0',
               options->stream.size) != NULL ||
        memchr(options->group.data == NULL ? "" : options->group.data, '\0', options->group.size) !=
            NULL) {
        stele_kurrent__fail_invalid(call, "the stream and the group have to be named");
        return STELE_E_INVALID;
    }
    request->all_streams = options->all_streams;
    request->stream =
        needs_stream ? stele_kurrent__copy_text(&unary->arena, alloc, options->stream) : NULL;
    request->group =
        needs_group ? stele_kurrent__copy_text(&unary->arena, alloc, options->group) : NULL;
    if ((needs_stream && request->stream == NULL) || (needs_group && request->group == NULL)) {
        stele_kurrent__fail_outcome(call, STELE_E_NO_MEMORY, "");
        return STELE_E_NO_MEMORY;
    }
    return STELE_OK;
}

static int take_settings(struct stele_call *call, struct unary *unary,
                         const struct stele_kurrent__group_options *options)
{
    struct stele_groups_request *request = &unary->request;
    request->settings = options->settings;
    const char *wrong = take_strategy(options, &request->settings);
    if (wrong != NULL) {
        fail_group(call, STELE_E_INVALID, wrong, request->stream, request->group);
        return STELE_E_INVALID;
    }
    if (options->filter.data != NULL) {
        if (!stele_kurrent__get_group_filter(options->filter, &unary->arena,
                                             stele_call_loop(call)->alloc, &unary->filter)) {
            stele_kurrent__fail_invalid(call, "the filter is malformed");
            return STELE_E_INVALID;
        }
        request->filter = &unary->filter;
    }
    return STELE_OK;
}

static int take_request(struct stele_call *call, struct unary *unary, struct stele_bytes message)
{
    struct stele_groups_request *request = &unary->request;
    struct stele_kurrent__group_options options;
    request->what = what_of(call);
    if (request->what == STELE_GROUPS_RESTART) {
        return STELE_OK;
    }
    if (!stele_kurrent__get_group_request(request->what, message, &options)) {
        stele_kurrent__fail_invalid(call, "the request is malformed");
        return STELE_E_INVALID;
    }
    request->stop_at = options.stop_at;
    int outcome = take_names(call, unary, &options);
    if (outcome == STELE_OK &&
        (request->what == STELE_GROUPS_CREATE || request->what == STELE_GROUPS_UPDATE)) {
        outcome = take_settings(call, unary, &options);
    }
    return outcome;
}

static void on_unary(struct stele_call *call, struct stele_bytes message)
{
    struct unary *unary = unary_of(call);
    if (unary->asked) {
        stele_kurrent__fail_invalid(call, "only one request is expected");
        return;
    }
    unary->asked = true;
    unary->call = call;
    unary->arena.block_size = 1024;
    if (stele_call_server(call)->groups == NULL) {
        stele_call_finish(call, STELE_GRPC_UNAVAILABLE, "Server Is Not Ready");
        return;
    }
    if (take_request(call, unary, message) != STELE_OK) {
        stele_arena_deinit(&unary->arena, stele_call_loop(call)->alloc);
        return;
    }
    unary->request.user = stele_call_principal(call)->name;
    unary->request.loop = stele_call_loop(call);
    unary->request.on_done = on_done;
    stele_call_hold(call);
    stele_groups_ask(stele_call_server(call)->groups, &unary->request);
}

static void on_unary_half_closed(struct stele_call *call)
{
    if (!unary_of(call)->asked) {
        stele_kurrent__fail_invalid(call, "the request is missing");
    }
}

static void on_start(struct stele_call *call)
{
    (void)call;
}

/* ---- Consumers ------------------------------------------------------------------------------ */

struct consumer_call {
    struct stele_call *call;
    struct stele_consumer *consumer;
    struct stele_arena arena;
    const char *stream; /* NULL: $all. */
    const char *group;
    enum stele_kurrent__uuid uuid;
    uint64_t generation; /* Of the rights that were looked at. */
};

static struct consumer_call *consumer_of(struct stele_call *call)
{
    return stele_call_state(call);
}

static void on_confirmed(void *context)
{
    struct consumer_call *state = context;
    struct stele_kurrent__out out = {.alloc = stele_call_loop(state->call)->alloc};
    char id[STELE_KURRENT__NAME_SIZE + 600];
    (void)snprintf(id, sizeof id, "%s::%s", shown(state->stream), state->group);
    const size_t mark = stele_kurrent__out_begin(&out, 2);
    stele_kurrent__out_text(&out, 1, id);
    stele_kurrent__out_end(&out, mark);
    (void)stele_kurrent__out_send(&out, state->call);
    stele_kurrent__out_deinit(&out);
}

/* false: the rights were taken away meanwhile. */
static bool may_still_read(struct consumer_call *state)
{
    const struct stele_server *server = stele_call_server(state->call);
    const uint64_t generation = stele_auth_generation(server->auth);
    if (generation == state->generation) {
        return true;
    }
    state->generation = generation;
    return stele_auth_may(server->auth, stele_call_principal(state->call),
                          stele_kurrent__text_of(shown(state->stream)), STELE_RIGHT_READ);
}

static void on_event(void *context, struct stele_group_event *event, uint32_t retries)
{
    struct consumer_call *state = context;
    if (!may_still_read(state)) {
        stele_kurrent__fail_access(state->call); /* It goes back to the group. */
        return;
    }
    const bool sees = stele_group_event_is_for(event, stele_call_server(state->call)->auth,
                                               stele_call_principal(state->call));
    if (!sees && event->link.type.data == NULL) {
        static const struct stele_text why = {.data = "The consumer may not read it.", .size = 29};
        stele_consumer_nack(state->consumer, stele_group_event_id(event), 1, STELE_GROUP_NACK_PARK,
                            why);
        return;
    }
    struct stele_buf *buf = stele_call_message_begin(state->call);
    if (stele_kurrent__put_group_event(buf, stele_call_loop(state->call)->alloc, event, sees,
                                       retries, state->uuid) != STELE_OK) {
        stele_call_message_cancel(state->call);
        stele_kurrent__fail_outcome(state->call, STELE_E_NO_MEMORY, "");
        return;
    }
    stele_call_message_end(state->call);
}

static void on_end(void *context, int outcome)
{
    struct consumer_call *state = context;
    fail_group(state->call, outcome, "", state->stream, state->group);
}

static const struct stele_consumer_callbacks consumer_callbacks = {
    .on_confirmed = on_confirmed, .on_event = on_event, .on_end = on_end};

/* The name of the connection, as the client gave it. */
static const char *connection_name(struct stele_call *call, struct stele_arena *arena)
{
    const struct stele_text name = stele_call_metadata(call, "connection-name");
    const char *copy = name.size == 0 || name.size > 1024
                           ? NULL
                           : stele_kurrent__copy_text(arena, stele_call_loop(call)->alloc, name);
    return copy == NULL ? "<unknown>" : copy;
}

static void start_consumer(struct stele_call *call,
                           const struct stele_kurrent__group_options *options)
{
    struct consumer_call *state = consumer_of(call);
    struct stele_alloc *alloc = stele_call_loop(call)->alloc;
    const struct stele_server *server = stele_call_server(call);
    const bool is_all = options->is_all || stele_kurrent__is(options->stream, "$all");
    char name[STELE_KURRENT__NAME_SIZE] = "$all";
    if ((!is_all && !stele_kurrent__copy_name(options->stream, name)) || options->group.size == 0 ||
        options->group.size > 512 ||
        memchr(options->group.data, '\0', options->group.size) != NULL || !options->has_uuid) {
        stele_kurrent__fail_invalid(call, "the stream, the group and the form of ids have to be "
                                          "named");
        return;
    }
    if (!stele_auth_may(server->auth, stele_call_principal(call), stele_kurrent__text_of(name),
                        STELE_RIGHT_READ)) {
        stele_kurrent__fail_access(call);
        return;
    }
    state->generation = stele_auth_generation(server->auth);
    state->arena.block_size = 1024;
    state->stream = is_all ? NULL : stele_kurrent__copy_text(&state->arena, alloc, options->stream);
    state->group = stele_kurrent__copy_text(&state->arena, alloc, options->group);
    state->uuid = options->uuid;
    if ((!is_all && state->stream == NULL) || state->group == NULL) {
        stele_kurrent__fail_outcome(call, STELE_E_NO_MEMORY, "");
        return;
    }
    const uint32_t wanted = options->buffer_size == 0 ? 10 : options->buffer_size;
    const struct stele_consumer_options consumer = {
        .stream = state->stream,
        .group = state->group,
        .from = stele_call_peer(call),
        .user = stele_call_principal(call)->name,
        .connection_name = connection_name(call, &state->arena),
        .buffer_size = wanted < BUFFER_SIZE_MAX ? wanted : BUFFER_SIZE_MAX,
    };
    struct stele_error err;
    const int outcome = stele_consumer_start(server->groups, stele_call_loop(call), &consumer,
                                             &consumer_callbacks, state, &state->consumer, &err);
    if (outcome != STELE_OK) {
        stele_kurrent__fail_outcome(call, outcome, err.message);
    }
}

static void on_read_start(struct stele_call *call)
{
    consumer_of(call)->call = call;
    if (stele_call_server(call)->groups == NULL) {
        stele_call_finish(call, STELE_GRPC_UNAVAILABLE, "Server Is Not Ready");
    }
}

static void on_read_message(struct stele_call *call, struct stele_bytes message)
{
    struct consumer_call *state = consumer_of(call);
    struct stele_kurrent__group_options options;
    STELE_UNINITIALIZED struct stele_kurrent__ack ack;
    const enum stele_kurrent__ps_message kind = stele_kurrent__get_ps_read(message, &options, &ack);
    if (kind == PS_BAD || (kind == PS_OPTIONS) != (state->consumer == NULL)) {
        stele_kurrent__fail_invalid(call, kind == PS_BAD       ? "the request is malformed"
                                          : kind == PS_OPTIONS ? "the options come once"
                                                               : "the options have to come first");
        return;
    }
    if (kind == PS_OPTIONS) {
        start_consumer(call, &options);
    } else if (kind == PS_ACK) {
        stele_consumer_ack(state->consumer, ack.ids[0], ack.count);
    } else {
        stele_consumer_nack(state->consumer, ack.ids[0], ack.count, ack.action, ack.reason);
    }
}

/* A consumer that will acknowledge nothing any more has left. */
static void on_read_half_closed(struct stele_call *call)
{
    stele_call_finish(call, STELE_GRPC_OK, "");
}

static void on_read_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    struct consumer_call *state = consumer_of(call);
    (void)reason;
    stele_consumer_stop(state->consumer);
    state->consumer = NULL;
    stele_arena_deinit(&state->arena, stele_call_loop(call)->alloc);
}

static const struct stele_method read_method = {
    .rpc = STELE_RPC_KURRENT_PS_READ,
    .state_size = sizeof(struct consumer_call),
    .admit = stele_kurrent__admit_leader,
    .start = on_read_start,
    .message = on_read_message,
    .half_closed = on_read_half_closed,
    .closed = on_read_closed,
};

#define UNARY(name)                                                                                \
    {                                                                                              \
        .rpc = STELE_RPC_KURRENT_PS_##name, .state_size = sizeof(struct unary),                    \
        .admit = stele_kurrent__admit_leader, .start = on_start, .message = on_unary,              \
        .half_closed = on_unary_half_closed,                                                       \
    }

static const struct stele_method unary_methods[] = {
    UNARY(CREATE),        UNARY(UPDATE),          UNARY(DELETE), UNARY(GET_INFO),
    UNARY(REPLAY_PARKED), UNARY(TRUNCATE_PARKED), UNARY(LIST),   UNARY(RESTART_SUBSYSTEM),
};

void stele_kurrent_persistent_register(struct stele_grpc_table *table)
{
    table->methods[STELE_RPC_KURRENT_PS_READ] = &read_method;
    for (size_t i = 0; i < STELE_COUNT_OF(unary_methods); i++) {
        table->methods[unary_methods[i].rpc] = &unary_methods[i];
    }
}
