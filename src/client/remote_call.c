/* Calls: one request, any number of answers, which wait in a queue for whoever asked.
 *
 * Two sides: the asker's thread (start, next, destroy) and the loop's (begin, messages, end). They
 * meet under far->lock; the asker asks for deeds of the loop by posting the call's task. The call is
 * freed by the asker, after the loop has said that it does not know it any more (`stopped`). */
#include "client/remote.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define QUEUE_HIGH ((size_t)4 * 1024 * 1024)
#define QUEUE_LOW ((size_t)1024 * 1024)

/* ---- The loop's side ---- */

static void end_call(struct far_call *call, int outcome, const struct stele_error *err)
{
    struct far *far = call->far;
    (void)pthread_mutex_lock(&far->lock);
    call->ended = true;
    call->outcome = outcome;
    if (err != NULL) {
        call->err = *err;
    }
    (void)pthread_cond_broadcast(&call->changed);
    (void)pthread_mutex_unlock(&far->lock);
}

static void on_message(void *context, struct stele_bytes bytes)
{
    struct far_call *call = context;
    struct far *far = call->far;
    struct far_message *message = stele_allocate(far->alloc, sizeof *message + bytes.size);
    if (message == NULL) {
        struct stele_error err;
        stele_channel_request_cancel(call->request);
        call->request = NULL;
        end_call(call, stele_fail(&err, STELE_E_NO_MEMORY, 0, "no memory for an answer"), &err);
        return;
    }
    message->next = NULL;
    message->size = bytes.size;
    if (bytes.size > 0) {
        memcpy(message->data, bytes.data, bytes.size);
    }
    (void)pthread_mutex_lock(&far->lock);
    *call->last = message;
    call->last = &message->next;
    call->queued += bytes.size;
    const bool pause = call->queued > QUEUE_HIGH && !call->paused;
    call->paused = call->paused || pause;
    (void)pthread_cond_broadcast(&call->changed);
    (void)pthread_mutex_unlock(&far->lock);
    if (pause) {
        stele_channel_request_pause(call->request, true);
    }
}

static void on_end(void *context, const struct stele_channel_request_end *end)
{
    struct far_call *call = context;
    call->request = NULL;
    struct stele_error err = {.outcome = STELE_OK};
    const int outcome = stele_remote_outcome(end, &err);
    end_call(call, outcome == STELE_OK ? STELE_END : outcome, &err);
}

static const struct stele_channel_request_events events = {.on_message = on_message,
                                                           .on_end = on_end};

static void link_call(struct far_call *call)
{
    struct far *far = call->far;
    call->previous = NULL;
    call->next = far->calls;
    if (far->calls != NULL) {
        far->calls->previous = call;
    }
    far->calls = call;
    call->linked = true;
}

static void unlink_call(struct far_call *call)
{
    if (!call->linked) {
        return;
    }
    if (call->previous != NULL) {
        call->previous->next = call->next;
    } else {
        call->far->calls = call->next;
    }
    if (call->next != NULL) {
        call->next->previous = call->previous;
    }
    call->linked = false;
}

static void begin_call(struct far_call *call)
{
    struct far *far = call->far;
    if (far->channel == NULL || call->request != NULL || call->began) {
        return;
    }
    (void)pthread_mutex_lock(&far->lock);
    call->began = true;
    (void)pthread_mutex_unlock(&far->lock);
    call->request = stele_channel_request_start(far->channel, call->path, 0, &events, call);
    const struct stele_bytes message = {.data = call->request_message.data,
                                        .size = call->request_message.size};
    if (call->request == NULL ||
        !stele_channel_request_send(call->request, message, !call->stays_open)) {
        struct stele_error err;
        if (call->request != NULL) {
            stele_channel_request_cancel(call->request);
            call->request = NULL;
        }
        end_call(call, stele_fail(&err, STELE_E_IO, ENOTCONN, "the connection is closing"), &err);
    }
}

void stele_remote_calls_up(struct far *far)
{
    for (struct far_call *call = far->calls; call != NULL; call = call->next) {
        begin_call(call);
    }
}

static void run_deed(struct stele_task *task)
{
    struct far_call *call = (struct far_call *)task;
    struct far *far = call->far;
    (void)pthread_mutex_lock(&far->lock);
    const int deed = (int)call->deed;
    call->posted = false;
    (void)pthread_mutex_unlock(&far->lock);
    if (deed == FAR_START) {
        link_call(call);
        begin_call(call);
        return;
    }
    if (deed == FAR_RESUME) {
        if (call->request != NULL) {
            stele_channel_request_pause(call->request, false);
        }
        return;
    }
    if (call->request != NULL) {
        stele_channel_request_cancel(call->request);
        call->request = NULL;
    }
    unlink_call(call);
    (void)pthread_mutex_lock(&far->lock);
    call->stopped = true;
    (void)pthread_cond_broadcast(&call->changed);
    (void)pthread_mutex_unlock(&far->lock);
}

/* ---- The asker's side ---- */

/* Under the lock. A deed that was not run yet is waited for, but for a resume, which a stop replaces. */
static void post_deed(struct far_call *call, int deed)
{
    call->deed = deed == FAR_START ? FAR_START : deed == FAR_RESUME ? FAR_RESUME : FAR_STOP;
    if (!call->posted) {
        call->posted = true;
        stele_loop_post(call->far->base, &call->task);
    }
}

struct far_call *stele_remote_call_start(struct far *far, const char *path,
                                         struct stele_buf request_message, bool stays_open,
                                         struct stele_error *err)
{
    struct far_call *call = stele_allocate_zeroed(far->alloc, sizeof *call);
    if (call == NULL) {
        stele_buf_deinit(&request_message, far->alloc);
        (void)stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a request");
        return NULL;
    }
    call->task.run = run_deed;
    call->far = far;
    call->path = path;
    call->request_message = request_message;
    call->stays_open = stays_open;
    call->last = &call->first;
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&call->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_lock(&far->lock);
    post_deed(call, FAR_START);
    (void)pthread_mutex_unlock(&far->lock);
    return call;
}

static void deadline_after(struct timespec *at, int64_t ms)
{
    (void)clock_gettime(CLOCK_MONOTONIC, at);
    at->tv_sec += (time_t)(ms / 1000);
    at->tv_nsec += (long)(ms % 1000) * 1000000;
    at->tv_sec += at->tv_nsec / 1000000000;
    at->tv_nsec %= 1000000000;
}

int stele_remote_call_next(struct far_call *call, int64_t timeout_ms,
                           struct far_message **out_message, struct stele_error *err)
{
    struct far *far = call->far;
    struct timespec until;
    int outcome = STELE_OK;
    deadline_after(&until, timeout_ms > 0 ? timeout_ms : 0);
    (void)pthread_mutex_lock(&far->lock);
    while (call->first == NULL && !call->ended && outcome == STELE_OK) {
        if (timeout_ms < 0) {
            (void)pthread_cond_wait(&call->changed, &far->lock);
        } else if (timeout_ms == 0 ||
                   pthread_cond_timedwait(&call->changed, &far->lock, &until) == ETIMEDOUT) {
            outcome = STELE_TIMED_OUT;
        }
    }
    struct far_message *message = call->first;
    if (message != NULL) {
        outcome = STELE_OK;
        call->first = message->next;
        call->last = call->first == NULL ? &call->first : call->last;
        call->queued -= message->size;
        if (call->paused && call->queued < QUEUE_LOW) {
            call->paused = false;
            post_deed(call, FAR_RESUME);
        }
        *out_message = message;
    } else if (call->ended) {
        outcome = call->outcome;
        if (outcome != STELE_END && err != NULL) {
            *err = call->err;
        }
    } else if (!far->connected) {
        (void)stele_fail(err, STELE_TIMED_OUT, far->last_errno, "%s", far->last_error);
    } else {
        (void)stele_fail(err, STELE_TIMED_OUT, 0, "the server has not answered in time");
    }
    (void)pthread_mutex_unlock(&far->lock);
    return outcome;
}

void stele_remote_message_release(struct far *far, struct far_message *message)
{
    if (message != NULL) {
        stele_release(far->alloc, message, sizeof *message + message->size);
    }
}

void stele_remote_call_destroy(struct far_call *call)
{
    if (call == NULL) {
        return;
    }
    struct far *far = call->far;
    (void)pthread_mutex_lock(&far->lock);
    /* A start that has not run yet must run first: it puts the call into the list. */
    while (call->posted && call->deed == FAR_START) {
        (void)pthread_mutex_unlock(&far->lock);
        const struct timespec moment = {.tv_nsec = 50000};
        (void)nanosleep(&moment, NULL);
        (void)pthread_mutex_lock(&far->lock);
    }
    post_deed(call, FAR_STOP);
    while (!call->stopped) {
        (void)pthread_cond_wait(&call->changed, &far->lock);
    }
    (void)pthread_mutex_unlock(&far->lock);
    while (call->first != NULL) {
        struct far_message *message = call->first;
        call->first = message->next;
        stele_remote_message_release(far, message);
    }
    stele_buf_deinit(&call->request_message, far->alloc);
    (void)pthread_cond_destroy(&call->changed);
    stele_release(far->alloc, call, sizeof *call);
}

static int64_t clock_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int stele_remote_ask(struct far *far, const char *path, const struct stele_buf *request,
                     bool harmless, struct far_message **out_message, struct stele_error *err)
{
    const int64_t until_ms = clock_ms() + far->address.timeout_ms;
    for (;;) {
        struct stele_buf copy = {.data = NULL};
        if (request->size > 0 &&
            stele_buf_append(&copy, far->alloc,
                             (struct stele_bytes){.data = request->data, .size = request->size}) !=
                STELE_OK) {
            return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a request");
        }
        struct far_call *call = stele_remote_call_start(far, path, copy, false, err);
        if (call == NULL) {
            return STELE_E_NO_MEMORY;
        }
        const int64_t left_ms = until_ms - clock_ms();
        int outcome = stele_remote_call_next(call, left_ms > 0 ? left_ms : 0, out_message, err);
        (void)pthread_mutex_lock(&far->lock);
        const bool began = call->began;
        (void)pthread_mutex_unlock(&far->lock);
        stele_remote_call_destroy(call);
        if (outcome == STELE_E_IO && (harmless || !began) && clock_ms() < until_ms) {
            const struct timespec moment = {.tv_nsec = 20000000};
            (void)nanosleep(&moment, NULL);
            continue;
        }
        if (outcome == STELE_E_IO || outcome == STELE_TIMED_OUT) {
            /* What may have happened is told so; what did not, as a failure of the connection. */
            outcome = began && !harmless ? STELE_E_UNKNOWN : STELE_E_IO;
        }
        return outcome == STELE_END
                   ? stele_fail(err, STELE_E_IO, 0, "the server has answered with nothing")
                   : outcome;
    }
}
