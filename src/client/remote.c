/* A remote store: opening, closing, and the ups and downs of its connection. */
#include "client/remote.h"

#include <errno.h>
#include <stdio.h>

#define RETRY_MS_MIN 20u
#define RETRY_MS_MAX 2000u

int stele_remote_outcome(const struct stele_channel_request_end *end, struct stele_error *err)
{
    if (end->status == 0) {
        return STELE_OK;
    }
    int outcome = 0;
    for (int candidate = STELE_E_CLOSED; end->outcome.data != NULL && candidate <= STELE_NOT_FOUND;
         candidate++) {
        const char *name = stele_outcome_name(candidate);
        if (strlen(name) == end->outcome.size &&
            memcmp(name, end->outcome.data, end->outcome.size) == 0) {
            outcome = candidate;
        }
    }
    const int size = (int)(end->message.size < 400 ? end->message.size : 400);
    if (outcome != 0) {
        return stele_fail(err, outcome, 0, "%.*s", size, end->message.data);
    }
    switch (end->status) {
    case 7:  /* PERMISSION_DENIED */
    case 16: /* UNAUTHENTICATED */
        return stele_fail(err, STELE_E_PERMISSION, 0,
                          "the server denies access: %.*s (user and password stand in the address: "
                          "stele://user:password@host)",
                          size, end->message.data);
    case 12: /* UNIMPLEMENTED */
        return stele_fail(err, STELE_E_UNSUPPORTED, 0, "the server does not have this call: %.*s",
                          size, end->message.data);
    case 3: /* INVALID_ARGUMENT */
        return stele_fail(err, STELE_E_INVALID, 0, "%.*s", size, end->message.data);
    case 8: /* RESOURCE_EXHAUSTED */
        return stele_fail(err, STELE_E_OVERLOADED, 0, "%.*s", size, end->message.data);
    default:
        return stele_fail(err, STELE_E_IO, end->answered ? 0 : ECONNRESET, "%.*s", size,
                          end->message.data);
    }
}

/* ---- The connection, on the loop's thread ---- */

static void on_output(void *context)
{
    struct far *far = context;
    stele_remote_loop_output(far->loop);
}

static void set_error(struct far *far, int os_errno, const char *why)
{
    const struct far_text *host = &far->address.hosts[far->host];
    char words[96] = "";
    if (os_errno != 0) {
        const char *text = strerror_r(os_errno, words, sizeof words);
        if (text != words) {
            (void)snprintf(words, sizeof words, "%s", text);
        }
    }
    (void)pthread_mutex_lock(&far->lock);
    far->connected = false;
    far->last_errno = os_errno;
    (void)snprintf(far->last_error, sizeof far->last_error, "%.80s:%u: %s%s%s", host->host,
                   host->port, why, words[0] == '\0' ? "" : ": ", words);
    (void)pthread_cond_broadcast(&far->changed);
    (void)pthread_mutex_unlock(&far->lock);
}

static void try_again(struct far *far)
{
    uint32_t wait_ms = RETRY_MS_MIN << (far->failures < 7 ? far->failures : 7);
    wait_ms = wait_ms > RETRY_MS_MAX ? RETRY_MS_MAX : wait_ms;
    uint32_t jitter = 0;
    far->base->ops->random(far->base, &jitter, sizeof jitter);
    far->failures++;
    far->host = (far->host + 1) % far->address.hosts_count;
    far->base->ops->timer_start(far->base, &far->retry,
                                stele_loop_now_us(far->base) + (int64_t)wait_ms * 1000 +
                                    (int64_t)(jitter % (wait_ms * 250 + 1)));
}

static void lose_channel(struct far *far)
{
    struct stele_channel *channel = far->channel;
    far->channel = NULL;
    stele_channel_destroy(channel); /* Tells calls and the stream of appends. */
}

static void on_closed(void *context, int os_errno, const char *why)
{
    struct far *far = context;
    set_error(far, os_errno, why);
    lose_channel(far);
    stele_remote_appends_down(far);
    try_again(far);
}

static void make_authorization(const struct far_address *address, char *out, size_t room)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out[0] = '\0';
    if (address->token[0] != '\0') {
        (void)snprintf(out, room, "Bearer %s", address->token);
        return;
    }
    if (address->user[0] == '\0') {
        return;
    }
    char plain[520];
    const int size = snprintf(plain, sizeof plain, "%s:%s", address->user, address->password);
    size_t at = (size_t)snprintf(out, room, "Basic ");
    for (int i = 0; i < size; i += 3) {
        const uint32_t left = (uint32_t)(size - i);
        const uint32_t bits = (uint32_t)(uint8_t)plain[i] << 16 |
                              (left > 1 ? (uint32_t)(uint8_t)plain[i + 1] << 8 : 0) |
                              (left > 2 ? (uint32_t)(uint8_t)plain[i + 2] : 0);
        out[at++] = digits[bits >> 18];
        out[at++] = digits[bits >> 12 & 63];
        out[at++] = left > 1 ? digits[bits >> 6 & 63] : '=';
        out[at++] = left > 2 ? digits[bits & 63] : '=';
    }
    out[at] = '\0';
    explicit_bzero(plain, sizeof plain);
}

static void on_connected(void *context)
{
    struct far *far = context;
    char authority[300];
    char authorization[1200];
    const struct far_text *host = &far->address.hosts[far->host];
    (void)snprintf(authority, sizeof authority,
                   strchr(host->host, ':') == NULL ? "%s:%u" : "[%s]:%u", host->host, host->port);
    make_authorization(&far->address, authorization, sizeof authorization);
    const struct stele_channel_options options = {
        .authority = authority,
        .is_tls = far->address.tls,
        .authorization = authorization[0] == '\0' ? NULL : authorization,
        .keepalive_ms = far->address.keepalive_ms,
        .keepalive_timeout_ms = far->address.keepalive_timeout_ms,
        .message_max = STELE_APPEND_SIZE_MAX,
    };
    const int outcome = stele_channel_create(far->base, &options, on_output, far, &far->channel);
    explicit_bzero(authorization, sizeof authorization);
    if (outcome != STELE_OK) {
        stele_remote_loop_disconnect(far->loop);
        on_closed(far, ENOMEM, "no memory");
        return;
    }
    stele_remote_loop_output(far->loop);
    (void)pthread_mutex_lock(&far->lock);
    far->connected = true;
    far->ever_connected = true;
    (void)pthread_cond_broadcast(&far->changed);
    (void)pthread_mutex_unlock(&far->lock);
    stele_remote_calls_up(far);
    stele_remote_appends_up(far);
}

static void on_bytes(void *context, struct stele_bytes bytes)
{
    struct far *far = context;
    far->failures = 0;
    const bool goes_on = stele_channel_feed(far->channel, bytes);
    stele_remote_loop_output(far->loop);
    if (!goes_on) {
        stele_remote_loop_disconnect(far->loop);
        on_closed(far, 0, "the server ended the connection");
    }
}

static bool take(void *context, struct stele_buf *out, size_t max)
{
    struct far *far = context;
    return far->channel != NULL && stele_channel_take(far->channel, out, max);
}

static const struct far_wire_events wire_events = {
    .on_connected = on_connected, .on_bytes = on_bytes, .on_closed = on_closed, .take = take};

static void on_retry(struct stele_timer *timer)
{
    struct far *far = (struct far *)((char *)timer - offsetof(struct far, retry));
    stele_remote_loop_connect(far->loop, far->host);
}

struct far_errand {
    struct stele_task task;
    struct far *far;
    bool done;
};

static void run_begin(struct stele_task *task)
{
    struct far_errand *errand = (struct far_errand *)task;
    struct far *far = errand->far;
    stele_remote_loop_connect(far->loop, far->host);
    (void)pthread_mutex_lock(&far->lock);
    errand->done = true;
    (void)pthread_cond_broadcast(&far->changed);
    (void)pthread_mutex_unlock(&far->lock);
}

static void run_end(struct stele_task *task)
{
    struct far_errand *errand = (struct far_errand *)task;
    struct far *far = errand->far;
    far->base->ops->timer_stop(far->base, &far->retry);
    stele_remote_appends_fail(far, STELE_E_CLOSED, "the store is being closed");
    far->base->ops->timer_stop(far->base, &far->overdue);
    lose_channel(far);
    stele_remote_loop_disconnect(far->loop);
    (void)pthread_mutex_lock(&far->lock);
    errand->done = true;
    (void)pthread_cond_broadcast(&far->changed);
    (void)pthread_mutex_unlock(&far->lock);
}

/* Runs something on the loop's thread and waits for it. */
static void send_errand(struct far *far, void (*run)(struct stele_task *task))
{
    struct far_errand errand = {.task = {.run = run}, .far = far};
    stele_loop_post(far->base, &errand.task);
    (void)pthread_mutex_lock(&far->lock);
    while (!errand.done) {
        (void)pthread_cond_wait(&far->changed, &far->lock);
    }
    (void)pthread_mutex_unlock(&far->lock);
}

/* ---- Opening and closing ---- */

static int wait_connected(struct far *far, struct stele_error *err)
{
    struct timespec until;
    int outcome = STELE_OK;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(far->address.timeout_ms / 1000);
    until.tv_nsec += (long)(far->address.timeout_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_mutex_lock(&far->lock);
    /* A host that refuses is told at once: whoever opens a store has not lost anything by it. */
    uint32_t hosts = far->address.hosts_count;
    char seen[sizeof far->last_error] = "";
    while (!far->ever_connected && outcome == STELE_OK) {
        const bool late = pthread_cond_timedwait(&far->changed, &far->lock, &until) == ETIMEDOUT;
        if (!far->ever_connected && far->last_error[0] != '\0' &&
            strcmp(seen, far->last_error) != 0) {
            (void)snprintf(seen, sizeof seen, "%s", far->last_error);
            hosts -= hosts > 0 ? 1 : 0;
        }
        if (!far->ever_connected && (late || hosts == 0)) {
            outcome =
                stele_fail(err, STELE_E_IO, far->last_errno,
                           "%s; is the server running there, and is tls in the address right?",
                           far->last_error[0] == '\0' ? "cannot connect" : far->last_error);
        }
    }
    (void)pthread_mutex_unlock(&far->lock);
    return outcome;
}

static void destroy(struct far *far)
{
    struct stele_alloc *alloc = far->alloc;
    if (far->loop != NULL) {
        send_errand(far, run_end);
        stele_remote_loop_destroy(far->loop);
    }
    explicit_bzero(&far->address, sizeof far->address);
    (void)pthread_cond_destroy(&far->changed);
    (void)pthread_mutex_destroy(&far->lock);
    stele_release(alloc, far, sizeof *far);
}

int stele_remote_open(const char *text, const struct stele_options *options,
                      struct stele **out_store, struct stele_error *err)
{
    struct stele_alloc *alloc = stele_linux_alloc_create();
    struct far *far = alloc == NULL ? NULL : stele_allocate_zeroed(alloc, sizeof *far);
    struct stele *store = far == NULL ? NULL : stele_allocate_zeroed(alloc, sizeof *store);
    if (store == NULL) {
        if (far != NULL) {
            stele_release(alloc, far, sizeof *far);
        }
        stele_linux_alloc_destroy(alloc);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "open: no memory");
    }
    far->alloc = alloc;
    far->queue_max = options->async_queue_max;
    far->last_append = &far->first_append;
    far->retry.on_due = on_retry;
    (void)pthread_mutex_init(&far->lock, NULL);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&far->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    int outcome = stele_remote_parse(text, &far->address, err);
    if (outcome == STELE_OK) {
        outcome =
            stele_remote_loop_create(alloc, &far->address, &wire_events, far, &far->loop, err);
    }
    if (outcome == STELE_OK) {
        far->base = stele_remote_loop_base(far->loop);
        send_errand(far, run_begin);
        outcome = wait_connected(far, err);
    }
    if (outcome != STELE_OK) {
        destroy(far);
        stele_release(alloc, store, sizeof *store);
        stele_linux_alloc_destroy(alloc);
        return outcome;
    }
    store->alloc = alloc;
    store->far = far;
    store->options = *options;
    store->read_only = options->read_only != 0;
    *out_store = store;
    return STELE_OK;
}

int stele_remote_close(struct stele *store)
{
    struct stele_alloc *alloc = store->alloc;
    destroy(store->far);
    stele_release(alloc, store, sizeof *store);
    stele_linux_alloc_destroy(alloc);
    return STELE_OK;
}
