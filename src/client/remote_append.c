/* Appends: one AppendEvents call for all of them, answered in order.
 *
 *     first_append ─▶ … sent, not answered … ─▶ next_append ─▶ … not sent on this call … ─▶ last
 *
 * When the call ends, next_append goes back to the first: everything is sent again on the next one.
 * The server stores nothing twice, because ids are in the encoded request. */
#include "client/remote.h"
#include "pb/pb.h"

#include <errno.h>
#include <stdio.h>

#define PATH "/stele.v1.EventStore/AppendEvents"
#define SEND_AHEAD ((size_t)8 * 1024 * 1024) /* Bytes queued on the connection. */
#define OVERDUE_US 50000

struct far_append {
    struct stele_task task;
    struct far *far;
    struct far_append *next;
    struct stele_buf request;
    uint64_t correlation;
    int64_t due_us;
    bool maybe_there; /* It was given to a connection. */
    size_t streams_count;
    stele_append_callback callback; /* NULL: somebody waits. */
    void *context;

    /* Somebody waits: under far->lock. */
    bool done;
    pthread_cond_t changed;
    uint64_t *revisions_last;
    int outcome;
    struct stele_append_result result;
    struct stele_error err;
};

static void pump(struct far *far);

/* ---- The loop's side ---- */

static void release(struct far_append *append)
{
    struct far *far = append->far;
    stele_buf_deinit(&append->request, far->alloc);
    if (append->callback == NULL) {
        (void)pthread_cond_destroy(&append->changed);
    }
    stele_release(far->alloc, append, sizeof *append);
}

/* Tells the outcome of the first append, which leaves the queue. */
static void finish_first(struct far *far, int outcome, const struct stele_append_result *result,
                         const char *words, int os_errno)
{
    struct far_append *append = far->first_append;
    far->first_append = append->next;
    if (far->first_append == NULL) {
        far->last_append = &far->first_append;
    }
    if (far->next_append == append) {
        far->next_append = append->next;
    }
    (void)pthread_mutex_lock(&far->lock);
    far->queued--;
    if (append->callback == NULL) {
        append->outcome = outcome;
        append->result = *result;
        if (outcome != STELE_OK) {
            (void)stele_fail(&append->err, outcome, os_errno, "%s", words);
        }
        append->done = true;
        (void)pthread_cond_signal(&append->changed);
        (void)pthread_mutex_unlock(&far->lock);
        return; /* Who waits releases it. */
    }
    (void)pthread_mutex_unlock(&far->lock);
    append->callback(append->context, outcome, result);
    release(append);
}

static void fail_first(struct far *far, int outcome, const char *words)
{
    const struct stele_append_result none = {.position_first = 0};
    const bool unknown = far->first_append->maybe_there;
    if (unknown && outcome != STELE_E_PERMISSION && outcome != STELE_E_UNSUPPORTED) {
        outcome = STELE_E_UNKNOWN;
    }
    finish_first(far, outcome, &none, words, 0);
}

void stele_remote_appends_fail(struct far *far, int outcome, const char *why)
{
    while (far->first_append != NULL) {
        fail_first(far, outcome, why);
    }
}

static void decode_revisions(const struct far_answer *answer, uint64_t *revisions, size_t count)
{
    struct stele_pb_reader reader = stele_pb_reader(
        (struct stele_bytes){.data = answer->revisions, .size = answer->revisions_size});
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 0;
        for (uint32_t shift = 0; reader.at < reader.end && shift < 70; shift += 7) {
            const uint8_t byte = *reader.at++;
            value |= (uint64_t)(byte & 0x7f) << (shift & 63);
            if (byte < 0x80) {
                break;
            }
        }
        revisions[i] = value;
    }
}

static void on_message(void *context, struct stele_bytes message)
{
    struct far *far = context;
    struct far_answer answer;
    struct far_append *first = far->first_append;
    far->appends_answered = true;
    if (!stele_remote_decode_answer(message, &answer) || first == NULL ||
        first == far->next_append || answer.correlation != first->correlation) {
        /* Not an answer to what was asked: nothing on this call can be trusted. */
        stele_channel_request_cancel(far->appends);
        far->appends = NULL;
        far->next_append = far->first_append;
        return;
    }
    if (answer.outcome == STELE_OK && first->revisions_last != NULL) {
        decode_revisions(&answer, first->revisions_last, first->streams_count);
    }
    finish_first(far, answer.outcome, &answer.result, answer.message, 0);
    if (far->next_append != NULL) {
        pump(far);
    }
}

static void on_end(void *context, const struct stele_channel_request_end *end)
{
    struct far *far = context;
    far->appends = NULL;
    far->next_append = far->first_append;
    struct stele_error err = {.outcome = STELE_OK};
    const int outcome = stele_remote_outcome(end, &err);
    /* A call that was refused before it answered anything would be refused again. */
    if (end->answered && !far->appends_answered &&
        (outcome == STELE_E_PERMISSION || outcome == STELE_E_UNSUPPORTED ||
         outcome == STELE_E_INVALID)) {
        stele_remote_appends_fail(far, outcome, err.message);
    }
}

static const struct stele_channel_request_events events = {.on_message = on_message,
                                                           .on_end = on_end};

/* Sends what may be sent. */
static void pump(struct far *far)
{
    if (far->channel == NULL || far->next_append == NULL) {
        return;
    }
    if (far->appends == NULL) {
        far->appends_answered = false;
        far->appends = stele_channel_request_start(far->channel, PATH, 0, &events, far);
    }
    while (far->appends != NULL && far->next_append != NULL &&
           stele_channel_request_queued(far->appends) < SEND_AHEAD) {
        struct far_append *append = far->next_append;
        const struct stele_bytes message = {.data = append->request.data,
                                            .size = append->request.size};
        if (!stele_channel_request_send(far->appends, message, false)) {
            return; /* No memory now: the overdue timer tries again. */
        }
        append->maybe_there = true;
        far->next_append = append->next;
    }
}

static void on_overdue(struct stele_timer *timer)
{
    struct far *far = (struct far *)((char *)timer - offsetof(struct far, overdue));
    const int64_t now_us = stele_loop_now_us(far->base);
    while (far->first_append != NULL && far->first_append->due_us <= now_us) {
        char words[256];
        (void)pthread_mutex_lock(&far->lock);
        (void)snprintf(words, sizeof words, "%s",
                       far->connected ? "the server has not answered in time" : far->last_error);
        (void)pthread_mutex_unlock(&far->lock);
        /* An answer that still comes would be taken for the next one's. */
        if (far->first_append != far->next_append && far->appends != NULL) {
            stele_channel_request_cancel(far->appends);
            far->appends = NULL;
            far->next_append = far->first_append;
        }
        fail_first(far, STELE_TIMED_OUT, words);
    }
    pump(far);
    far->overdue_started = far->first_append != NULL;
    if (far->overdue_started) {
        far->base->ops->timer_start(far->base, timer, now_us + OVERDUE_US);
    }
}

void stele_remote_appends_up(struct far *far)
{
    pump(far);
}

void stele_remote_appends_down(struct far *far)
{
    STELE_ASSERT(far->appends == NULL);
    far->next_append = far->first_append;
}

static void run_append(struct stele_task *task)
{
    struct far_append *append = (struct far_append *)task;
    struct far *far = append->far;
    append->due_us = stele_loop_now_us(far->base) + (int64_t)far->address.timeout_ms * 1000;
    *far->last_append = append;
    far->last_append = &append->next;
    if (far->next_append == NULL) {
        far->next_append = append;
    }
    if (!far->overdue_started) {
        far->overdue_started = true;
        far->overdue.on_due = on_overdue;
        far->base->ops->timer_start(far->base, &far->overdue,
                                    stele_loop_now_us(far->base) + OVERDUE_US);
    }
    pump(far);
}

/* ---- The caller's side ---- */

static int start(struct far *far, const struct stele_append *streams, size_t streams_count,
                 const struct stele_condition *conditions, size_t conditions_count,
                 stele_append_callback callback, void *context, uint64_t *revisions_last,
                 struct far_append **out_append, struct stele_error *err)
{
    struct far_append *append = stele_allocate_zeroed(far->alloc, sizeof *append);
    if (append == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "append: no memory");
    }
    append->task.run = run_append;
    append->far = far;
    append->callback = callback;
    append->context = context;
    append->streams_count = streams_count;
    append->revisions_last = revisions_last;
    if (callback == NULL) {
        (void)pthread_cond_init(&append->changed, NULL);
    }
    uint64_t correlation = 0;
    far->base->ops->random(far->base, &correlation, sizeof correlation);
    append->correlation = correlation | 1;
    int outcome = stele_remote_encode_append(far, append->correlation, streams, streams_count,
                                             conditions, conditions_count, &append->request, err);
    if (outcome == STELE_OK) {
        (void)pthread_mutex_lock(&far->lock);
        if (far->queued >= far->queue_max) {
            outcome = stele_fail(err, STELE_E_OVERLOADED, 0,
                                 "%u appends are under way; wait for some to end", far->queued);
        } else {
            far->queued++;
        }
        (void)pthread_mutex_unlock(&far->lock);
    }
    if (outcome != STELE_OK) {
        release(append);
        return outcome;
    }
    if (out_append != NULL) {
        *out_append = append;
    }
    stele_loop_post(far->base, &append->task);
    return STELE_OK;
}

int stele_remote_append(struct far *far, const struct stele_append *streams, size_t streams_count,
                        const struct stele_condition *conditions, size_t conditions_count,
                        uint64_t *revisions_last, struct stele_append_result *out_result,
                        struct stele_error *err)
{
    struct far_append *append = NULL;
    int outcome = start(far, streams, streams_count, conditions, conditions_count, NULL, NULL,
                        revisions_last, &append, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    STELE_ASSERT(append != NULL);
    (void)pthread_mutex_lock(&far->lock);
    while (!append->done) {
        (void)pthread_cond_wait(&append->changed, &far->lock);
    }
    (void)pthread_mutex_unlock(&far->lock);
    outcome = append->outcome;
    if (out_result != NULL && outcome >= 0) {
        *out_result = append->result;
    }
    if (outcome != STELE_OK && err != NULL) {
        *err = append->err;
    }
    release(append);
    return outcome;
}

int stele_remote_append_async(struct far *far, const struct stele_append *streams,
                              size_t streams_count, const struct stele_condition *conditions,
                              size_t conditions_count, stele_append_callback callback,
                              void *context, struct stele_error *err)
{
    if (callback == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "append: the callback is NULL");
    }
    return start(far, streams, streams_count, conditions, conditions_count, callback, context, NULL,
                 NULL, err);
}
