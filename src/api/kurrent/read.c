/* Streams.Read with a count: pages of a stream, of a view, of all events.
 *
 * A read is pumped: events go from the engine straight into the exchange's output until that is full
 * (then `writable` goes on) or the turn has taken long enough (then a task goes on). */
#include "api/kurrent/kurrent_internal.h"
#include "subs/follow.h"
#include "subs/groups.h"

#include <stdio.h>

#define TURN_EVENTS 4096 /* Looked at before others get their turn. */
#define SCAN_MAX 1024
#define BAD_COMBINATION                                                                            \
    "The combination of (StreamOption, CountOption, ReadDirection, FilterOption) is invalid."
#define INDEX_PREFIX "$idx-"

static struct stele_kurrent__read *read_of(struct stele_call *call)
{
    return stele_call_state(call);
}

/* ---- Answers -------------------------------------------------------------------------------- */

static bool send_as_link(struct stele_kurrent__read *read, const struct stele_event *event,
                         uint64_t ordinal, struct stele_buf *buf)
{
    struct stele_alloc *alloc = stele_call_loop(read->call)->alloc;
    STELE_UNINITIALIZED struct stele_kurrent__link link;
    stele_kurrent__link(&link, read->view, read->view_name, ordinal, event);
    if (!read->resolve_links || read->view == VIEW_BY_CATEGORY) {
        return stele_kurrent__put_read_event(buf, alloc, &link.event, NULL, read->uuid) == STELE_OK;
    }
    if (!stele_auth_may(read->server->auth, stele_call_principal(read->call), event->stream,
                        STELE_RIGHT_READ)) {
        event = NULL;
    }
    return stele_kurrent__put_read_event(buf, alloc, event, &link.event, read->uuid) == STELE_OK;
}

static bool send_resolved(struct stele_kurrent__read *read, const struct stele_event *link,
                          struct stele_buf *buf)
{
    struct stele_kurrent__target target;
    stele_kurrent__target_open(read->call, link, &target);
    const int outcome = stele_kurrent__put_read_event(buf, stele_call_loop(read->call)->alloc,
                                                      target.event, link, read->uuid);
    stele_kurrent__target_close(read->call, &target);
    return outcome == STELE_OK;
}

bool stele_kurrent__send_event(struct stele_kurrent__read *read, const struct stele_event *event,
                               uint64_t ordinal)
{
    struct stele_call *call = read->call;
    struct stele_buf *buf = stele_call_message_begin(call);
    bool done;
    if (read->view != VIEW_NONE) {
        done = send_as_link(read, event, ordinal, buf);
    } else if (read->resolve_links && stele_kurrent__is(event->type, "$>")) {
        done = send_resolved(read, event, buf);
    } else {
        done = stele_kurrent__put_read_event(buf, stele_call_loop(call)->alloc, event, NULL,
                                             read->uuid) == STELE_OK;
    }
    if (!done) {
        stele_call_message_cancel(call);
        stele_kurrent__fail_outcome(call, STELE_E_NO_MEMORY, "");
        return false;
    }
    stele_call_message_end(call);
    return !stele_call_is_over(call); /* There may have been no memory for it. */
}

static struct stele_text name_of(const struct stele_kurrent__read *read)
{
    return read->view != VIEW_NONE ? read->view_name : stele_kurrent__text_of(read->name);
}

static void send_not_found(struct stele_kurrent__read *read)
{
    uint8_t message[STELE_KURRENT__NAME_SIZE + 16];
    const struct stele_text name = name_of(read);
    uint8_t *to = stele_pb_put_message(message, 4, stele_kurrent__stream_size(name.size));
    to = stele_kurrent__put_stream(to, 1, name);
    stele_call_send(read->call,
                    (struct stele_bytes){.data = message, .size = (size_t)(to - message)});
    stele_call_finish(read->call, STELE_GRPC_OK, "");
}

static void send_number(struct stele_call *call, uint32_t field, uint64_t value)
{
    uint8_t message[16];
    const uint8_t *to = stele_pb_put_u64(message, field, value);
    stele_call_send(call, (struct stele_bytes){.data = message, .size = (size_t)(to - message)});
}

/* ---- The end -------------------------------------------------------------------------------- */

static void fail_read(struct stele_kurrent__read *read, int outcome, const struct stele_error *err)
{
    if (outcome == STELE_STREAM_DELETED) {
        stele_kurrent__fail_deleted(read->call, name_of(read));
    } else {
        stele_kurrent__fail_outcome(read->call, outcome, err->message);
    }
}

/* A view without events is no stream; one that has none from here on is. */
static bool view_exists(struct stele_kurrent__read *read)
{
    struct stele_engine *engine = read->server->engine;
    if (stele_kurrent__view_is_scanned(read->view)) {
        return read->ordinal > 0 || read->sent > 0;
    }
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_reading *reading = NULL;
    const struct stele_event *events;
    size_t count = 0;
    options.limit = 1;
    if (engine->ops->read_open(engine, read->name, &options, &reading, NULL) != STELE_OK) {
        return false;
    }
    const bool exists = engine->ops->read_next(reading, &events, &count, NULL) == STELE_OK;
    engine->ops->read_close(reading);
    return exists;
}

static void finish(struct stele_kurrent__read *read)
{
    struct stele_call *call = read->call;
    struct stele_stream_info info;
    if (read->view != VIEW_NONE && read->sent == 0 && !view_exists(read)) {
        send_not_found(read);
        return;
    }
    if (read->compatibility >= 1 && read->name != NULL && read->view == VIEW_NONE &&
        read->server->engine->ops->stream_info(read->server->engine, read->name, &info, NULL) ==
            STELE_OK) {
        if (read->sent == 0 && !read->backwards && info.revision_first != read->from &&
            read->from < info.revision_first) {
            send_number(call, 5, info.revision_first);
        }
        send_number(call, 6, info.revision_last);
    }
    stele_call_finish(call, STELE_GRPC_OK, "");
}

/* ---- Pumping -------------------------------------------------------------------------------- */

static int open_reading(struct stele_kurrent__read *read, uint64_t from, struct stele_error *err)
{
    struct stele_engine *engine = read->server->engine;
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    const bool scanned = stele_kurrent__view_is_scanned(read->view);
    options.from = from;
    options.backwards = read->backwards && !read->measuring;
    options.as_of = read->as_of;
    options.limit = scanned || read->limit == UINT64_MAX ? 0 : read->limit;
    options.filter = read->filtered ? &read->filter : NULL;
    options.scan_max = SCAN_MAX;
    options.by_ordinal = read->view == VIEW_CATEGORY || read->view == VIEW_TYPE;
    return engine->ops->read_open(engine, read->name, &options, &read->reading, err);
}

static void close_reading(struct stele_kurrent__read *read)
{
    if (read->reading != NULL) {
        read->server->engine->ops->read_close(read->reading);
        read->reading = NULL;
    }
    read->events_count = 0;
    read->events_at = 0;
}

bool stele_kurrent__hides(const struct stele_kurrent__read *read, const struct stele_event *event)
{
    if (event->stream.size == 0 || event->stream.data[0] != '$' ||
        (read->name != NULL && read->view == VIEW_NONE)) {
        return false;
    }
    if (read->view == VIEW_NONE && stele_kurrent__is_hidden(event)) {
        return true;
    }
    /* Users' passwords: the right to read all events is not the right to read these. */
    return !read->sees_secrets && stele_auth_is_secret(event->stream) &&
           !stele_auth_may(read->server->auth, stele_call_principal(read->call), event->stream,
                           STELE_RIGHT_READ);
}

/* false: the call is over. */
static bool offer(struct stele_kurrent__read *read, const struct stele_event *event)
{
    uint64_t ordinal = 0;
    read->last_position = event->position;
    if (stele_kurrent__hides(read, event)) {
        read->hidden += read->view == VIEW_NONE ? 1 : 0;
        return true;
    }
    if (stele_kurrent__view_is_scanned(read->view)) {
        if (!stele_kurrent__view_has(read->view, read->view_name, event)) {
            return true;
        }
        if (read->measuring || !read->backwards) {
            ordinal = read->ordinal++;
        } else if (read->ordinal > 0) {
            ordinal = --read->ordinal;
        }
        if (read->measuring || (read->backwards ? ordinal > read->after : ordinal < read->after)) {
            return true;
        }
    } else if (read->view != VIEW_NONE) {
        ordinal = read->server->engine->ops->read_ordinal(read->reading, read->events_at);
    }
    if (!stele_kurrent__send_event(read, event, ordinal)) {
        return false;
    }
    read->sent++;
    read->limit -= read->limit == UINT64_MAX ? 0 : 1;
    if (read->backwards && stele_kurrent__view_is_scanned(read->view) && ordinal == 0) {
        read->limit = 0; /* The first one; what is before belongs to others. */
    }
    return true;
}

static void on_turn(struct stele_task *task);

static void go_on_later(struct stele_kurrent__read *read)
{
    STELE_ASSERT(!read->posted);
    read->posted = true;
    read->task.run = on_turn;
    stele_call_hold(read->call);
    stele_loop_post(stele_call_loop(read->call), &read->task);
}

/* Ordinals count from the front, so that a view that is scanned backwards has to be scanned forwards
 * first. What is appended meanwhile is left out. false: the call is over. */
static bool end_measuring(struct stele_kurrent__read *read)
{
    struct stele_error err = {.outcome = STELE_OK};
    read->measuring = false;
    read->as_of = read->server->engine->ops->read_position(read->reading);
    close_reading(read);
    if (read->ordinal == 0) {
        send_not_found(read);
        return false;
    }
    const int outcome = open_reading(read, STELE_FROM_END, &err);
    if (outcome != STELE_OK) {
        fail_read(read, outcome, &err);
        return false;
    }
    return true;
}

/* The engine has no more. false: the call is over. */
static bool take_end(struct stele_kurrent__read *read)
{
    if (read->measuring) {
        return end_measuring(read);
    }
    if (read->hidden == 0 || read->limit == 0 || read->limit == UINT64_MAX) {
        finish(read);
        return false;
    }
    /* Hidden events were counted by the engine: as many more. */
    struct stele_error err = {.outcome = STELE_OK};
    if (read->backwards && read->last_position == 0) {
        finish(read);
        return false;
    }
    close_reading(read);
    read->hidden = 0;
    const uint64_t from = read->backwards ? read->last_position - 1 : read->last_position + 1;
    const int outcome = open_reading(read, from, &err);
    if (outcome != STELE_OK) {
        fail_read(read, outcome, &err);
        return false;
    }
    return true;
}

static void pump(struct stele_kurrent__read *read)
{
    struct stele_engine *engine = read->server->engine;
    size_t budget = TURN_EVENTS;
    for (;;) {
        for (; read->events_at < read->events_count && read->limit > 0; read->events_at++) {
            if (stele_call_is_full(read->call)) {
                return;
            }
            if (!offer(read, &read->events[read->events_at])) {
                return;
            }
        }
        if (read->limit == 0) {
            finish(read);
            return;
        }
        if (budget == 0) {
            go_on_later(read);
            return;
        }
        struct stele_error err = {.outcome = STELE_OK};
        read->events_at = 0;
        read->events_count = 0;
        const int outcome =
            engine->ops->read_next(read->reading, &read->events, &read->events_count, &err);
        const size_t cost = read->events_count > 0 ? read->events_count : SCAN_MAX;
        budget -= cost < budget ? cost : budget;
        if (outcome == STELE_END) {
            read->events_count = 0;
            if (!take_end(read)) {
                return;
            }
        } else if (outcome != STELE_OK) {
            fail_read(read, outcome, &err);
            return;
        }
    }
}

static void on_turn(struct stele_task *task)
{
    struct stele_kurrent__read *read =
        (struct stele_kurrent__read *)(void *)((uint8_t *)task -
                                               offsetof(struct stele_kurrent__read, task));
    struct stele_call *call = read->call;
    read->posted = false;
    if (!stele_call_is_over(call)) {
        pump(read);
    }
    stele_call_release(call);
}

/* ---- Beginning ------------------------------------------------------------------------------- */

static char *keep_text(struct stele_kurrent__read *read, struct stele_text text)
{
    char *copy =
        stele_arena_allocate(&read->arena, stele_call_loop(read->call)->alloc, text.size + 1);
    if (copy == NULL) {
        stele_kurrent__fail_outcome(read->call, STELE_E_NO_MEMORY, "");
        return NULL;
    }
    if (text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    copy[text.size] = '\0';
    return copy;
}

static bool fail_filter(struct stele_kurrent__read *read, const char *message)
{
    stele_kurrent__fail_invalid(read->call, message);
    return false;
}

/* The prefixes of an expression as texts of their own. */
static const char **keep_prefixes(struct stele_kurrent__read *read,
                                  const struct stele_kurrent__filter *filter)
{
    const char **texts = stele_arena_allocate(&read->arena, stele_call_loop(read->call)->alloc,
                                              filter->prefixes * sizeof *texts);
    if (texts == NULL) {
        stele_kurrent__fail_outcome(read->call, STELE_E_NO_MEMORY, "");
        return NULL;
    }
    struct stele_pb_reader reader = stele_pb_reader(filter->expression);
    struct stele_pb_field field;
    size_t count = 0;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 2 && field.wire == STELE_PB_BYTES && count < filter->prefixes) {
            texts[count] = keep_text(read, stele_kurrent__text(field.bytes));
            if (texts[count++] == NULL) {
                return NULL;
            }
        }
    }
    STELE_ASSERT(count == filter->prefixes);
    return texts;
}

/* "$idx-…": an index, asked for as if it were a prefix of stream names. */
static bool take_index(struct stele_kurrent__read *read, const char *const *prefix)
{
    const char *name = *prefix + strlen(INDEX_PREFIX);
    const char **value =
        stele_arena_allocate(&read->arena, stele_call_loop(read->call)->alloc, sizeof *value);
    if (value == NULL) {
        stele_kurrent__fail_outcome(read->call, STELE_E_NO_MEMORY, "");
        return false;
    }
    *value = name + 3;
    if (strcmp(name, "all") == 0) {
        read->filter.exclude_system = 1;
    } else if (strncmp(name, "ce-", 3) == 0 && name[3] != '\0') {
        read->filter.categories = value;
        read->filter.categories_count = 1;
    } else if (strncmp(name, "et-", 3) == 0 && name[3] != '\0') {
        read->filter.types = value;
        read->filter.types_count = 1;
    } else {
        stele_call_trailer(read->call, "exception", stele_bytes_of_text("index-not-found"));
        stele_call_trailer(read->call, "index-name", stele_bytes_of_text(*prefix));
        stele_call_fail(read->call, STELE_GRPC_NOT_FOUND, "Index '%s' not found.", *prefix);
        return false;
    }
    return true;
}

static bool take_filter(struct stele_kurrent__read *read,
                        const struct stele_kurrent__read_options *options)
{
    STELE_UNINITIALIZED struct stele_kurrent__filter filter;
    if (!stele_kurrent__get_filter(options->filter, &filter)) {
        return fail_filter(read, "the filter is malformed");
    }
    if (!filter.is_stream && !filter.is_type) {
        return fail_filter(read, "the filter has no expression");
    }
    if (filter.multiplier == 0 && options->counting == COUNT_SUBSCRIPTION) {
        return fail_filter(read, "checkpointIntervalMultiplier must be greater than 0");
    }
    read->filtered = true;
    read->checkpoint_every = (uint64_t)(filter.window > 0 ? filter.window : 1) * filter.multiplier;
    if (filter.regex.size > 0) {
        const char *regex = keep_text(read, filter.regex);
        *(filter.is_stream ? &read->filter.stream_regex : &read->filter.type_regex) = regex;
        return regex != NULL;
    }
    if (filter.prefixes == 0) {
        return fail_filter(read, "the filter has neither a regex nor a prefix");
    }
    const char **prefixes = keep_prefixes(read, &filter);
    if (prefixes == NULL) {
        return false;
    }
    if (filter.is_stream && filter.prefixes == 1 &&
        strncmp(prefixes[0], INDEX_PREFIX, strlen(INDEX_PREFIX)) == 0) {
        return take_index(read, prefixes);
    }
    if (filter.is_stream) {
        read->filter.stream_prefixes = prefixes;
        read->filter.stream_prefixes_count = filter.prefixes;
    } else {
        read->filter.type_prefixes = prefixes;
        read->filter.type_prefixes_count = filter.prefixes;
    }
    return true;
}

/* What the engine is asked for: the stream itself, or what a view is made of. */
static bool take_name(struct stele_kurrent__read *read, struct stele_text name)
{
    char copy[STELE_KURRENT__NAME_SIZE];
    if (!stele_kurrent__copy_name(name, copy) || strcmp(copy, "$$") == 0) {
        stele_kurrent__fail_invalid(read->call, "the stream's name is empty or not allowed");
        return false;
    }
    char *kept = keep_text(read, name);
    if (kept == NULL) {
        return false;
    }
    read->view = stele_kurrent__view(name);
    read->view_name = (struct stele_text){.data = kept, .size = name.size};
    read->name = kept;
    if (read->view == VIEW_STREAMS || read->view == VIEW_CORRELATION) {
        read->name = NULL;
    } else if (read->view == VIEW_BY_CATEGORY) {
        const size_t skip = strlen("$category-");
        (void)snprintf(copy, sizeof copy, "$ce-%s", kept + skip);
        read->name = keep_text(read, stele_kurrent__text_of(copy));
    }
    return read->view == VIEW_STREAMS || read->view == VIEW_CORRELATION || read->name != NULL;
}

/* SPEC(kurrent/tombstone/metadata): the metadata of a tombstoned stream cannot be read either. */
static bool is_metadata_of_tombstoned(const struct stele_kurrent__read *read)
{
    struct stele_engine *engine = read->server->engine;
    struct stele_stream_info info;
    return read->name != NULL && strncmp(read->name, "$$", 2) == 0 &&
           engine->ops->stream_info(engine, read->name + 2, &info, NULL) == STELE_OK &&
           info.tombstoned;
}

/* The place of the first event for the engine. false: there is none (or the call was failed). */
static bool choose_place(struct stele_kurrent__read *read,
                         const struct stele_kurrent__read_options *options, uint64_t *out_from)
{
    switch (options->from) {
    case FROM_START:
        *out_from = 0;
        /* Backwards from the start of all events is before the first one; of a stream it is the
         * first one. */
        return !(options->has_all && options->backwards);
    case FROM_END:
        *out_from = STELE_FROM_END;
        return true;
    case FROM_PLACE:
    case FROM_UNSET:
        break;
    }
    if (!options->has_all) {
        *out_from = options->revision;
        return true;
    }
    if (options->commit < options->prepare) {
        stele_kurrent__fail_invalid(read->call, "Trying to read from an invalid position.");
        return false;
    }
    /* SPEC(kurrent/read/all-position): forwards inclusive, backwards exclusive. */
    *out_from = options->commit;
    if (options->backwards && options->commit != STELE_FROM_END) {
        *out_from = options->commit - 1;
        return options->commit > 0;
    }
    return true;
}

static void answer_nothing(struct stele_kurrent__read *read)
{
    struct stele_engine *engine = read->server->engine;
    struct stele_stream_info info;
    if (read->name == NULL || read->view != VIEW_NONE) {
        stele_call_finish(read->call, STELE_GRPC_OK, "");
        return;
    }
    const int outcome = engine->ops->stream_info(engine, read->name, &info, NULL);
    if (outcome == STELE_NO_STREAM || (outcome == STELE_OK && info.deleted)) {
        send_not_found(read);
    } else if (outcome == STELE_OK && info.tombstoned) {
        stele_kurrent__fail_deleted(read->call, name_of(read));
    } else {
        finish(read);
    }
}

static void begin_counted(struct stele_kurrent__read *read,
                          const struct stele_kurrent__read_options *options)
{
    struct stele_error err = {.outcome = STELE_OK};
    uint64_t from = 0;
    if (!choose_place(read, options, &from) || options->count == 0) {
        if (!stele_call_is_over(read->call)) {
            answer_nothing(read);
        }
        return;
    }
    read->limit = options->count;
    read->from = from;
    if (stele_kurrent__view_is_scanned(read->view)) {
        read->measuring = read->backwards;
        read->after = from;
        from = 0;
    }
    const int outcome = open_reading(read, from, &err);
    if (outcome == STELE_NO_STREAM) {
        send_not_found(read);
    } else if (outcome != STELE_OK) {
        fail_read(read, outcome, &err);
    } else if (stele_call_is_first(read->call)) {
        pump(read);
    } else {
        go_on_later(read);
    }
}

static bool is_allowed(const struct stele_kurrent__read_options *options)
{
    return (options->has_stream || options->has_all) && options->from != FROM_UNSET &&
           options->counting != COUNT_UNSET && !options->is_bad_direction &&
           !(options->has_stream && options->has_filter) &&
           !(options->counting == COUNT_SUBSCRIPTION && options->backwards);
}

static void begin(struct stele_kurrent__read *read,
                  const struct stele_kurrent__read_options *options)
{
    struct stele_call *call = read->call;
    if (!options->has_uuid) {
        stele_kurrent__fail_invalid(call, "The UuidOption is missing.");
        return;
    }
    if (!is_allowed(options)) {
        stele_kurrent__fail_invalid(call, BAD_COMBINATION);
        return;
    }
    const struct stele_text subject =
        options->has_all ? stele_kurrent__text_of("$all") : options->stream;
    read->generation = stele_auth_generation(read->server->auth);
    if (!stele_auth_may(read->server->auth, stele_call_principal(call), subject,
                        STELE_RIGHT_READ)) {
        stele_kurrent__fail_access(call);
        return;
    }
    const struct stele_principal *principal = stele_call_principal(call);
    read->sees_secrets = principal->is_admin || principal->all_rights;
    read->uuid = options->uuid;
    read->backwards = options->backwards;
    read->resolve_links = options->resolve_links;
    read->compatibility = options->compatibility;
    if ((options->has_stream && !take_name(read, options->stream)) ||
        (options->has_filter && !take_filter(read, options))) {
        return;
    }
    if (is_metadata_of_tombstoned(read)) {
        stele_kurrent__fail_deleted(call, name_of(read));
    } else if (options->counting == COUNT_SUBSCRIPTION) {
        stele_kurrent__subscribe(read, options);
    } else {
        begin_counted(read, options);
    }
}

static void on_start(struct stele_call *call)
{
    struct stele_kurrent__read *read = read_of(call);
    read->call = call;
    read->server = stele_call_server(call);
    read->arena.block_size = 1024;
    read->limit = UINT64_MAX;
    read->last_revision = STELE_EXPECT_NO_STREAM;
    const bool has_seen =
        read->server->groups != NULL && stele_groups_are_here(read->server->groups);
    if (stele_linear_is_asked(call, "linearizable") ||
        (stele_kurrent__wants_leader(call) && !has_seen)) {
        /* SPEC(kurrent/read/requires-leader): who comes to lead has seen what was acknowledged before. */
        stele_linear_begin(&read->linear, call);
    }
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    struct stele_kurrent__read *read = read_of(call);
    STELE_UNINITIALIZED struct stele_kurrent__read_options options;
    if (read->started || !stele_kurrent__get_read(message, &options)) {
        stele_kurrent__fail_invalid(call, read->started ? "only one request is expected"
                                                        : "the request is malformed");
        return;
    }
    read->started = true;
    begin(read, &options);
}

static void on_half_closed(struct stele_call *call)
{
    if (!read_of(call)->started) {
        stele_kurrent__fail_invalid(call, "the request is missing");
    }
}

static void on_writable(struct stele_call *call)
{
    struct stele_kurrent__read *read = read_of(call);
    if (read->follow != NULL) {
        stele_kurrent__subscription_writable(read);
    } else if (read->reading != NULL && !read->posted) {
        pump(read);
    }
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)reason;
    struct stele_kurrent__read *read = read_of(call);
    if (read->follow != NULL) {
        stele_follow_stop(read->follow);
        read->follow = NULL;
    }
    close_reading(read);
    stele_arena_deinit(&read->arena, stele_call_loop(call)->alloc);
}

const struct stele_method stele_kurrent__read_method = {
    .rpc = STELE_RPC_KURRENT_STREAMS_READ,
    .state_size = sizeof(struct stele_kurrent__read),
    .admit = stele_kurrent__admit,
    .start = on_start,
    .message = on_message,
    .half_closed = on_half_closed,
    .writable = on_writable,
    .closed = on_closed,
};
