/* Iterators and subscriptions over the network.
 *
 * An iterator is one Read call. When the connection is lost it asks again for what comes behind the
 * last event it has handed out; when it has ended, and is asked again, too. So it never skips and
 * never repeats. A subscription does the same with SubscribeToStream or SubscribeToAll, on a thread
 * of its own. */
#include "client/remote.h"
#include "pb/pb.h"

#include <time.h>

#define WINDOW_CREDITS 0 /* HTTP/2's flow control bounds what is under way. */

struct far_iterator {
    struct far *far;
    struct stele_buf fixed; /* Fields of the request that stay the same. */
    bool is_stream;         /* from is a revision. */
    bool by_ordinal;
    bool backwards;
    bool at_end;
    bool told_no_stream;
    uint64_t from;
    bool from_end;
    uint64_t left; /* Of the limit; UINT64_MAX: none. */
    bool over;
    uint64_t position;
    uint64_t scanned;
    struct far_call *call;
    struct far_message *message;
    struct far_events events;
};

static void pause_a_moment(long ms)
{
    const struct timespec moment = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&moment, NULL);
}

static int64_t clock_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool names_positions(const char *stream)
{
    return stream == NULL || strcmp(stream, "$all") == 0 || strncmp(stream, "$ce-", 4) == 0 ||
           strncmp(stream, "$et-", 4) == 0;
}

static struct stele_buf make_request(const struct far_iterator *iterator, bool *failed)
{
    struct far_writer writer = {.alloc = iterator->far->alloc};
    writer.failed =
        stele_buf_append(&writer.buf, writer.alloc,
                         (struct stele_bytes){.data = iterator->fixed.data,
                                              .size = iterator->fixed.size}) != STELE_OK;
    stele_remote_put_number(&writer, 2, iterator->from_end ? 0 : iterator->from);
    stele_remote_put_number(&writer, 3, iterator->from_end);
    if (iterator->left != UINT64_MAX) {
        stele_remote_put_number(&writer, 4, iterator->left);
    }
    *failed = writer.failed;
    return writer.buf;
}

static int begin_call(struct far_iterator *iterator, struct stele_error *err)
{
    bool failed = false;
    struct stele_buf request = make_request(iterator, &failed);
    if (failed) {
        stele_buf_deinit(&request, iterator->far->alloc);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "read: no memory");
    }
    iterator->call =
        stele_remote_call_start(iterator->far, "/stele.v1.EventStore/Read", request, false, err);
    return iterator->call == NULL ? STELE_E_NO_MEMORY : STELE_OK;
}

static void end_call(struct far_iterator *iterator)
{
    stele_remote_call_destroy(iterator->call);
    iterator->call = NULL;
}

static void forget_message(struct far_iterator *iterator)
{
    STELE_ASSERT(iterator != NULL);
    stele_remote_events_clear(iterator->far, &iterator->events);
    stele_remote_message_release(iterator->far, iterator->message);
    iterator->message = NULL;
}

/* Where a read goes on behind an event that was handed out. */
static void move_behind(struct far_iterator *iterator, size_t last)
{
    const struct stele_event *event = &iterator->events.events[last];
    uint64_t at = iterator->is_stream ? event->revision : event->position;
    at = iterator->by_ordinal ? iterator->events.ordinals[last] : at;
    iterator->from_end = false;
    iterator->position = event->position;
    if (iterator->backwards) {
        iterator->over = iterator->over || at == 0;
        iterator->from = at - 1;
    } else {
        iterator->from = at + 1;
    }
}

/* The End of a read: STELE_END, or what it says. */
static int take_end(struct far_iterator *iterator, struct stele_bytes message,
                    struct stele_error *err)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    int outcome = STELE_END;
    char words[200] = "";
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && !iterator->backwards && field.value > iterator->position) {
            iterator->position = field.value;
        } else if (field.number == 2 && field.value != 0) {
            outcome = stele_remote_outcome_of(field.value);
        } else if (field.number == 3 && field.value != 0) {
            outcome = STELE_NO_STREAM;
        } else if (field.number == 4) {
            const size_t size =
                field.bytes.size < sizeof words - 1 ? field.bytes.size : sizeof words - 1;
            memcpy(words, field.bytes.data, size);
            words[size] = '\0';
        }
    }
    /* Filtered reads go on behind what was looked at, not behind what was found. */
    if (outcome == STELE_END && !iterator->is_stream && !iterator->by_ordinal &&
        !iterator->backwards && iterator->position >= iterator->from) {
        iterator->from = iterator->position + 1;
        iterator->from_end = false;
    }
    if (outcome == STELE_NO_STREAM) {
        (void)stele_fail(err, outcome, 0, "the stream does not exist");
    } else if (outcome != STELE_END) {
        (void)stele_fail(err, outcome, 0, "%s", words);
    }
    return outcome;
}

/* Decodes one ReadResponse. STELE_OK: events are there, perhaps none. */
static int take_message(struct far_iterator *iterator, struct stele_error *err)
{
    struct stele_pb_reader reader = stele_pb_reader(
        (struct stele_bytes){.data = iterator->message->data, .size = iterator->message->size});
    struct stele_pb_field field;
    int outcome = STELE_OK;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 2 && field.wire == STELE_PB_BYTES) {
            if (!stele_remote_decode_event(iterator->far, field.bytes, &iterator->events)) {
                return stele_fail(err, STELE_E_IO, 0, "read: an answer is malformed, or no memory");
            }
        } else if (field.number == 3 && field.wire == STELE_PB_BYTES) {
            outcome = take_end(iterator, field.bytes, err);
        }
    }
    return reader.bad ? stele_fail(err, STELE_E_IO, 0, "read: an answer is malformed") : outcome;
}

/* One step: events, the end, or an error. Repeats lost calls until the deadline. */
static int step(struct far_iterator *iterator, struct stele_error *err)
{
    const int64_t until_ms = clock_ms() + iterator->far->address.timeout_ms;
    for (;;) {
        forget_message(iterator);
        int outcome = iterator->call == NULL ? begin_call(iterator, err) : STELE_OK;
        if (outcome == STELE_OK) {
            const int64_t left_ms = until_ms - clock_ms();
            outcome = stele_remote_call_next(iterator->call, left_ms > 0 ? left_ms : 0,
                                             &iterator->message, err);
        }
        if (outcome == STELE_OK) {
            outcome = take_message(iterator, err);
            if (outcome == STELE_OK && iterator->events.count == 0) {
                continue;
            }
            if (outcome != STELE_OK) {
                end_call(iterator);
            }
            return outcome;
        }
        end_call(iterator);
        if (outcome == STELE_E_IO && clock_ms() < until_ms) {
            pause_a_moment(20); /* The connection was lost: ask again behind what came. */
            continue;
        }
        if (outcome == STELE_TIMED_OUT) {
            return err == NULL ? STELE_E_IO : (err->outcome = STELE_E_IO);
        }
        return outcome == STELE_END
                   ? stele_fail(err, STELE_E_IO, 0, "read: the server ended without saying so")
                   : outcome;
    }
}

static int make_fixed(struct far_iterator *iterator, const char *stream,
                      const struct stele_read_options *options, struct stele_error *err)
{
    struct far_writer writer = {.alloc = iterator->far->alloc};
    stele_remote_put_text(&writer, 1,
                          stream == NULL || strcmp(stream, "$all") == 0 ? NULL : stream);
    stele_remote_put_number(&writer, 5, options->backwards != 0);
    stele_remote_put_number(&writer, 6, options->as_of);
    stele_remote_put_filter(&writer, 8, options->filter);
    stele_remote_put_text(&writer, 9, options->token);
    stele_remote_put_number(&writer, 10, options->ignore_limits != 0);
    stele_remote_put_number(&writer, 11, options->by_ordinal != 0);
    iterator->fixed = writer.buf;
    return writer.failed ? stele_fail(err, STELE_E_NO_MEMORY, 0, "read: no memory") : STELE_OK;
}

int stele_remote_read(struct far *far, const char *stream, const struct stele_read_options *options,
                      struct far_iterator **out_iterator, struct stele_error *err)
{
    if (stream != NULL && (stream[0] == '\0' || strlen(stream) > STELE_STREAM_NAME_SIZE_MAX + 2)) {
        return stele_fail(err, stream[0] == '\0' ? STELE_E_INVALID : STELE_E_LIMIT, 0,
                          "the stream's name is %s", stream[0] == '\0' ? "empty" : "too long");
    }
    int outcome = stele_remote_check_filter(far, options->filter, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct far_iterator *iterator = stele_allocate_zeroed(far->alloc, sizeof *iterator);
    if (iterator == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "read: no memory");
    }
    iterator->far = far;
    iterator->is_stream = !names_positions(stream);
    iterator->by_ordinal = options->by_ordinal != 0;
    iterator->backwards = options->backwards != 0;
    iterator->from = options->from;
    iterator->from_end = options->from == STELE_FROM_END;
    iterator->left = options->limit == 0 ? UINT64_MAX : options->limit;
    iterator->position =
        iterator->backwards || iterator->is_stream || options->from == 0 ? 0 : options->from - 1;
    outcome = make_fixed(iterator, stream, options, err);
    if (outcome == STELE_OK) {
        outcome = step(iterator, err); /* So that a missing stream is told now, as embedded. */
    }
    iterator->at_end = outcome == STELE_END;
    if (outcome != STELE_OK && outcome != STELE_END) {
        stele_remote_iterator_destroy(iterator);
        return outcome;
    }
    *out_iterator = iterator;
    return STELE_OK;
}

int stele_remote_next(struct far_iterator *iterator, const struct stele_event **out_events,
                      size_t *out_count, struct stele_error *err)
{
    if (iterator->over || iterator->left == 0) {
        return STELE_END;
    }
    if (iterator->at_end) {
        iterator->at_end = false; /* Asked again later it looks again, as an embedded one does. */
        return STELE_END;
    }
    /* Opening has fetched the first events: they are handed out by the first call. */
    const bool fetched =
        iterator->message != NULL && iterator->events.count > 0 && iterator->scanned == 0;
    const int outcome = fetched ? STELE_OK : step(iterator, err);
    if (outcome == STELE_END && iterator->backwards) {
        iterator->over = true;
    }
    if (outcome == STELE_NO_STREAM) {
        return STELE_END; /* It was deleted since. */
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    iterator->scanned += iterator->events.count;
    if (iterator->left != UINT64_MAX) {
        iterator->left -=
            iterator->events.count < iterator->left ? iterator->events.count : iterator->left;
    }
    move_behind(iterator, iterator->events.count - 1);
    *out_events = iterator->events.events;
    *out_count = iterator->events.count;
    return STELE_OK;
}

uint64_t stele_remote_position(const struct far_iterator *iterator)
{
    return iterator->position;
}

uint64_t stele_remote_scanned(const struct far_iterator *iterator)
{
    return iterator->scanned;
}

uint64_t stele_remote_ordinal(const struct far_iterator *iterator, size_t index)
{
    STELE_ASSERT(index < iterator->events.count);
    return iterator->by_ordinal ? iterator->events.ordinals[index]
                                : iterator->events.events[index].revision;
}

void stele_remote_iterator_destroy(struct far_iterator *iterator)
{
    if (iterator == NULL) {
        return;
    }
    struct far *far = iterator->far;
    end_call(iterator);
    forget_message(iterator);
    stele_remote_events_deinit(far, &iterator->events);
    stele_buf_deinit(&iterator->fixed, far->alloc);
    stele_release(far->alloc, iterator, sizeof *iterator);
}

uint64_t stele_remote_last_position(struct far *far)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.backwards = 1;
    options.from = STELE_FROM_END;
    options.limit = 1;
    struct far_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    if (stele_remote_read(far, NULL, &options, &iterator, NULL) != STELE_OK) {
        return 0;
    }
    STELE_ASSERT(iterator != NULL);
    const int outcome = stele_remote_next(iterator, &events, &count, NULL);
    const uint64_t position = outcome == STELE_OK && count > 0 ? events[0].position : 0;
    stele_remote_iterator_destroy(iterator);
    return position;
}

int stele_remote_wait(struct far *far, uint64_t after, int timeout_ms, struct stele_error *err)
{
    const int64_t until_ms = clock_ms() + timeout_ms;
    for (;;) {
        struct stele_read_options options = STELE_READ_OPTIONS_INIT;
        options.from = after + 1;
        options.limit = 1;
        struct far_iterator *iterator = NULL;
        /* Behind the last position that there can be is nothing to ask for. */
        const bool can_be = after < STELE_POSITION_MAX;
        const int outcome =
            can_be ? stele_remote_read(far, NULL, &options, &iterator, err) : STELE_OK;
        const bool found = outcome == STELE_OK && iterator != NULL && !iterator->at_end;
        stele_remote_iterator_destroy(iterator);
        if (outcome != STELE_OK || found) {
            return outcome;
        }
        if (timeout_ms >= 0 && clock_ms() >= until_ms) {
            return STELE_TIMED_OUT;
        }
        pause_a_moment(10);
    }
}

/* ---- Subscriptions ---- */

struct far_subscription {
    struct far *far;
    struct stele_buf fixed; /* Fields of Start that stay the same. */
    bool all;
    bool is_stream;
    uint64_t from;
    stele_event_callback on_events;
    stele_end_callback on_end;
    void *context;
    pthread_t thread;
    _Atomic bool stopping;
    uint64_t checkpoint;
    bool caught_up;
    struct far_events events;
};

static struct stele_buf make_start(const struct far_subscription *subscription, bool *failed)
{
    struct stele_alloc *alloc = subscription->far->alloc;
    struct far_writer start = {.alloc = alloc};
    start.failed =
        stele_buf_append(&start.buf, alloc,
                         (struct stele_bytes){.data = subscription->fixed.data,
                                              .size = subscription->fixed.size}) != STELE_OK;
    stele_remote_put_number(&start, 2, subscription->from);
    struct far_writer request = {.alloc = alloc, .failed = start.failed};
    stele_remote_put_bytes(&request, 1, start.buf.data, start.buf.size);
    *failed = start.failed || request.failed;
    stele_buf_deinit(&start.buf, alloc);
    return request.buf;
}

static bool take_heartbeat(struct far_subscription *subscription, struct stele_bytes message,
                           bool *out_tell)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    bool caught_up = false;
    uint64_t checkpoint = 0;
    while (stele_pb_next(&reader, &field)) {
        checkpoint = field.number == 1 ? field.value : checkpoint;
        caught_up = caught_up || (field.number == 2 && field.value != 0);
    }
    const bool moved = checkpoint > subscription->checkpoint;
    if (moved) {
        subscription->checkpoint = checkpoint;
        if (!subscription->is_stream) {
            subscription->from = checkpoint + 1;
        }
    }
    *out_tell = moved || (caught_up && !subscription->caught_up);
    subscription->caught_up = caught_up;
    return !reader.bad;
}

/* STELE_OK, STELE_E_CLOSED (the callback wants no more), STELE_E_IO. */
static int take_response(struct far_subscription *subscription, const struct far_message *message,
                         struct stele_error *err)
{
    struct far *far = subscription->far;
    struct stele_pb_reader reader =
        stele_pb_reader((struct stele_bytes){.data = message->data, .size = message->size});
    struct stele_pb_field field;
    bool tell = false;
    stele_remote_events_clear(far, &subscription->events);
    while (stele_pb_next(&reader, &field)) {
        const bool fine = field.number == 1 && field.wire == STELE_PB_BYTES
                              ? stele_remote_decode_event(far, field.bytes, &subscription->events)
                              : field.number != 2 || field.wire != STELE_PB_BYTES ||
                                    take_heartbeat(subscription, field.bytes, &tell);
        if (!fine) {
            return stele_fail(err, STELE_E_IO, 0, "subscribe: an answer is malformed");
        }
    }
    const size_t count = subscription->events.count;
    if (count > 0) {
        const struct stele_event *last = &subscription->events.events[count - 1];
        subscription->from = (subscription->is_stream ? last->revision : last->position) + 1;
        subscription->checkpoint = last->position;
        subscription->caught_up = false;
    }
    if (count == 0 && !tell) {
        return STELE_OK;
    }
    return subscription->on_events(subscription->context, subscription->events.events, count,
                                   subscription->checkpoint) == 0
               ? STELE_OK
               : STELE_E_CLOSED;
}

/* One call, until it ends or somebody wants it to. */
static int run_call(struct far_subscription *subscription, bool *out_moved, struct stele_error *err)
{
    struct far *far = subscription->far;
    bool failed = false;
    struct stele_buf request = make_start(subscription, &failed);
    if (failed) {
        stele_buf_deinit(&request, far->alloc);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "subscribe: no memory");
    }
    struct far_call *call =
        stele_remote_call_start(far,
                                subscription->all ? "/stele.v1.EventStore/SubscribeToAll"
                                                  : "/stele.v1.EventStore/SubscribeToStream",
                                request, true, err);
    int outcome = call == NULL ? STELE_E_NO_MEMORY : STELE_OK;
    while (outcome == STELE_OK && !atomic_load(&subscription->stopping)) {
        struct far_message *message = NULL;
        outcome = stele_remote_call_next(call, 100, &message, err);
        if (outcome == STELE_OK) {
            *out_moved = true;
            outcome = take_response(subscription, message, err);
            stele_remote_message_release(far, message);
        } else if (outcome == STELE_TIMED_OUT) {
            outcome = STELE_OK;
        }
    }
    stele_remote_call_destroy(call);
    return outcome;
}

static void *run_subscription(void *context)
{
    struct far_subscription *subscription = context;
    struct stele_error err = {.outcome = STELE_OK};
    int outcome = STELE_OK;
    long wait_ms = 20;
    while (!atomic_load(&subscription->stopping)) {
        bool moved = false;
        outcome = run_call(subscription, &moved, &err);
        const bool lost = outcome == STELE_E_IO || outcome == STELE_END;
        if (!lost || atomic_load(&subscription->stopping)) {
            break;
        }
        subscription->caught_up = false;
        wait_ms = moved ? 20 : wait_ms < 1000 ? wait_ms * 2 : wait_ms;
        pause_a_moment(wait_ms);
    }
    if (!atomic_load(&subscription->stopping) && subscription->on_end != NULL) {
        subscription->on_end(subscription->context, outcome, &err);
    }
    return NULL;
}

/* "Only what comes" has to mean the same after a reconnect: it is turned into a number now. */
static int find_end(struct far_subscription *subscription, const char *stream,
                    struct stele_error *err)
{
    if (subscription->is_stream) {
        struct stele_stream_info info;
        const int outcome = stele_remote_stream_info(subscription->far, stream, &info, err);
        subscription->from = outcome == STELE_OK ? info.revision_last + 1 : 0;
        return outcome == STELE_NO_STREAM ? STELE_OK : outcome;
    }
    subscription->from = stele_remote_last_position(subscription->far) + 1;
    subscription->checkpoint = subscription->from - 1;
    return STELE_OK;
}

int stele_remote_subscribe(struct far *far, const char *stream,
                           const struct stele_read_options *options, stele_event_callback on_events,
                           stele_end_callback on_end, void *context,
                           struct far_subscription **out_subscription, struct stele_error *err)
{
    int outcome = stele_remote_check_filter(far, options->filter, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct far_subscription *subscription = stele_allocate_zeroed(far->alloc, sizeof *subscription);
    if (subscription == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "subscribe: no memory");
    }
    subscription->far = far;
    subscription->all = stream == NULL || strcmp(stream, "$all") == 0;
    subscription->is_stream = !names_positions(stream);
    subscription->from = options->from;
    subscription->on_events = on_events;
    subscription->on_end = on_end;
    subscription->context = context;
    struct far_writer writer = {.alloc = far->alloc};
    stele_remote_put_text(&writer, 1, subscription->all ? NULL : stream);
    stele_remote_put_filter(&writer, 4, options->filter);
    stele_remote_put_text(&writer, 5, options->token);
    stele_remote_put_number(&writer, 6, WINDOW_CREDITS);
    subscription->fixed = writer.buf;
    outcome =
        writer.failed ? stele_fail(err, STELE_E_NO_MEMORY, 0, "subscribe: no memory") : STELE_OK;
    if (outcome == STELE_OK && options->from == STELE_FROM_END) {
        outcome = find_end(subscription, stream, err);
    }
    if (outcome == STELE_OK) {
        const int failed =
            pthread_create(&subscription->thread, NULL, run_subscription, subscription);
        outcome = failed == 0 ? STELE_OK
                              : stele_fail(err, STELE_E_NO_MEMORY, failed, "subscribe: no thread");
    }
    if (outcome != STELE_OK) {
        stele_buf_deinit(&subscription->fixed, far->alloc);
        stele_release(far->alloc, subscription, sizeof *subscription);
        return outcome;
    }
    *out_subscription = subscription;
    return STELE_OK;
}

void stele_remote_unsubscribe(struct far_subscription *subscription)
{
    struct far *far = subscription->far;
    atomic_store(&subscription->stopping, true);
    (void)pthread_join(subscription->thread, NULL);
    stele_remote_events_deinit(far, &subscription->events);
    stele_buf_deinit(&subscription->fixed, far->alloc);
    stele_release(far->alloc, subscription, sizeof *subscription);
}
