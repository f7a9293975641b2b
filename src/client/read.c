/* Reading. */
#include "client/client.h"
#include "client/keyring.h"
#include "client/remote.h"

#include <stdlib.h>
#include <time.h>

#define FOLLOW_POLL_MS 2

struct stele_iterator {
    struct stele *store;
    struct stele_read *read;
    bool bounded;             /* scan_max was given. */
    struct far_iterator *far; /* Of a remote store; then read is NULL. */
    struct opener *opener;    /* The store used a keyring when the read began. */
    bool backwards;
};

int stele_token_position(const char *token, uint64_t *out_position)
{
    if (token == NULL || out_position == NULL || strnlen(token, 3 + 16 + 1) != 3 + 16 ||
        strncmp(token, "s1-", 3) != 0 || strspn(token + 3, "0123456789abcdefABCDEF") != 16) {
        return STELE_E_INVALID;
    }
    const unsigned long long position = strtoull(token + 3, NULL, 16);
    if (position > STELE_POSITION_MAX) {
        return STELE_E_INVALID;
    }
    *out_position = position;
    return STELE_OK;
}

static int read_options(const struct stele_read_options *given, struct stele_read_options *out,
                        struct stele_error *err)
{
    const struct stele_read_options defaults = STELE_READ_OPTIONS_INIT;
    *out = defaults;
    if (given != NULL) {
        if (given->struct_size < sizeof(size_t) || given->struct_size > sizeof *out) {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "the options were not initialised with STELE_READ_OPTIONS_INIT");
        }
        memcpy(out, given, given->struct_size);
    }
    return STELE_OK;
}

/* Under the lock. A token that is not from this store, or from after a restored backup, cannot be
 * satisfied by waiting. */
static int check_token(struct stele *store, const char *token, struct stele_error *err)
{
    uint64_t position = 0;
    if (token == NULL) {
        return STELE_OK;
    }
    if (stele_token_position(token, &position) != STELE_OK) {
        return stele_fail(err, STELE_E_INVALID, 0, "the token %.64s is none", token);
    }
    if (position > stele_store_position(store->core)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "the token %s is ahead of this store, which ends at position %llu", token,
                          (unsigned long long)stele_store_position(store->core));
    }
    return STELE_OK;
}

/* Under the lock: sees at least what the token stands for. */
static int begin_read(struct stele *store, const char *stream,
                      const struct stele_read_options *options, bool wait_for_stream,
                      struct stele_read **out_read, struct stele_error *err)
{
    int outcome = stele_client__follow(store, err);
    if (outcome == STELE_OK) {
        outcome = check_token(store, options->token, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_read_begin(store->core, stream, options, wait_for_stream,
                                   stele_client__now_us(store), out_read, err);
    }
    return outcome;
}

int stele_client__read_plain(struct stele *store, const char *stream,
                             const struct stele_read_options *given,
                             struct stele_iterator **out_iterator, struct stele_error *err)
{
    struct stele_read_options options;
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK && out_iterator == NULL) {
        outcome = stele_fail(err, STELE_E_INVALID, 0, "read: no place for the iterator");
    }
    if (outcome == STELE_OK) {
        outcome = read_options(given, &options, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_iterator *iterator = stele_allocate_zeroed(store->alloc, sizeof *iterator);
    if (iterator == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "read: no memory");
    }
    iterator->store = store;
    iterator->bounded = options.scan_max != 0;
    iterator->backwards = options.backwards != 0;
    if (store->far != NULL) {
        outcome = stele_remote_read(store->far, stream, &options, &iterator->far, err);
        if (outcome != STELE_OK) {
            stele_release(store->alloc, iterator, sizeof *iterator);
            return outcome;
        }
        *out_iterator = iterator;
        return STELE_OK;
    }
    (void)pthread_mutex_lock(&store->lock);
    outcome = begin_read(store, stream, &options, false, &iterator->read, err);
    (void)pthread_mutex_unlock(&store->lock);
    if (outcome != STELE_OK) {
        stele_release(store->alloc, iterator, sizeof *iterator);
        return outcome;
    }
    *out_iterator = iterator;
    return STELE_OK;
}

static int begin(struct stele *store, const char *stream, const struct stele_read_options *given,
                 struct stele_iterator **out_iterator, struct stele_error *err)
{
    struct stele_iterator *iterator = NULL;
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK && out_iterator == NULL) {
        outcome = stele_fail(err, STELE_E_INVALID, 0, "read: no place for the iterator");
    }
    if (outcome == STELE_OK) {
        outcome = stele_client__read_plain(store, stream, given, &iterator, err);
    }
    if (outcome == STELE_OK && store->sealer != NULL) {
        outcome = stele_client__opener_create(store->sealer, &iterator->opener, err);
    }
    if (outcome != STELE_OK) {
        stele_iterator_destroy(iterator);
        return outcome;
    }
    *out_iterator = iterator;
    return STELE_OK;
}

int stele_read_stream(struct stele *store, const char *stream,
                      const struct stele_read_options *options,
                      struct stele_iterator **out_iterator, struct stele_error *err)
{
    if (stream == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "read: the stream's name is NULL");
    }
    return begin(store, stream, options, out_iterator, err);
}

int stele_read_all(struct stele *store, const struct stele_read_options *options,
                   struct stele_iterator **out_iterator, struct stele_error *err)
{
    return begin(store, NULL, options, out_iterator, err);
}

static int refill(struct stele_iterator *iterator, struct stele_error *err)
{
    struct stele *store = iterator->store;
    (void)pthread_mutex_lock(&store->lock);
    int outcome = stele_client__follow(store, err);
    if (outcome == STELE_OK) {
        outcome = stele_read_refill(store->core, iterator->read, err);
    }
    (void)pthread_mutex_unlock(&store->lock);
    return outcome;
}

static int next(struct stele_iterator *iterator, const struct stele_event **out_events,
                size_t *out_count, struct stele_error *err)
{
    int outcome = STELE_OK;
    size_t count = 0;
    bool again = true;
    if (iterator->far != NULL) {
        return stele_remote_next(iterator->far, out_events, out_count, err);
    }
    while (outcome == STELE_OK && count == 0 && again) {
        outcome = stele_read_next(iterator->read, out_events, &count, err);
        again = !iterator->bounded || outcome == STELE_INCOMPLETE;
        if (outcome == STELE_INCOMPLETE) {
            count = 0;
            outcome = refill(iterator, err);
        }
    }
    if (outcome == STELE_OK) {
        *out_count = count;
    }
    return outcome;
}

int stele_iterator_next(struct stele_iterator *iterator, const struct stele_event **out_events,
                        size_t *out_count, struct stele_error *err)
{
    if (iterator == NULL || out_events == NULL || out_count == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "read: the iterator, or a place for its events, is NULL");
    }
    int outcome = stele_client__enter(iterator->store, err);
    if (outcome != STELE_OK || iterator->opener == NULL) {
        return outcome != STELE_OK ? outcome : next(iterator, out_events, out_count, err);
    }
    if (!stele_client__opener_has_more(iterator->opener)) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = next(iterator, &events, &count, err);
        if (outcome != STELE_OK || count == 0) {
            stele_client__opener_give(iterator->opener, NULL, 0);
            *out_count = outcome == STELE_OK ? 0 : *out_count;
            return outcome;
        }
        stele_client__opener_give(iterator->opener, events, count);
    }
    return stele_client__opener_next(iterator->opener, out_events, out_count, err);
}

uint64_t stele_iterator_position(const struct stele_iterator *iterator)
{
    if (iterator == NULL) {
        return 0;
    }
    if (iterator->opener != NULL && stele_client__opener_has_more(iterator->opener)) {
        /* Of the batch that was read only a part has been handed out. */
        const struct stele_event *event = &iterator->opener->raw[iterator->opener->raw_at];
        return iterator->backwards ? event->position + 1 : event->position - 1;
    }
    return iterator->far != NULL ? stele_remote_position(iterator->far)
                                 : stele_read_position(iterator->read);
}

uint64_t stele_iterator_scanned(const struct stele_iterator *iterator)
{
    if (iterator == NULL) {
        return 0;
    }
    return iterator->far != NULL ? stele_remote_scanned(iterator->far)
                                 : stele_read_scanned(iterator->read);
}

uint64_t stele_iterator_ordinal(const struct stele_iterator *iterator, size_t index)
{
    if (iterator == NULL) {
        return 0;
    }
    index += iterator->opener != NULL ? iterator->opener->raw_first : 0;
    return iterator->far != NULL ? stele_remote_ordinal(iterator->far, index)
                                 : stele_read_ordinal(iterator->read, index);
}

bool stele_client_read_look(const struct stele_iterator *iterator, uint64_t *out_position,
                            bool *out_expires)
{
    if (iterator->far != NULL || iterator->opener != NULL) {
        return false;
    }
    stele_read_look(iterator->read, out_position, out_expires);
    return true;
}

int stele_client_watch(struct stele *store, struct stele_error *err)
{
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK &&
        (store->far != NULL || store->read_only || store->ordered || store->sealer != NULL)) {
        outcome = stele_fail(err, STELE_E_UNSUPPORTED, 0, "the store cannot be watched");
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    (void)pthread_mutex_lock(&store->lock);
    outcome = stele_store_watch(store->core, err);
    (void)pthread_mutex_unlock(&store->lock);
    return outcome;
}

bool stele_client_is_unchanged(const struct stele *store, const char *stream, uint64_t seen,
                               uint64_t limits_seen)
{
    if (store->sealer != NULL || stele_client__enter(store, NULL) != STELE_OK) {
        return false;
    }
    uint64_t changed = 0;
    uint64_t limits_changed = 0;
    stele_store_changed(store->core, stream, &changed, &limits_changed);
    return changed <= seen && limits_changed <= limits_seen;
}

void stele_on_visible(struct stele *store, stele_visible_callback callback, void *context)
{
    if (stele_client__enter(store, NULL) != STELE_OK || store->far != NULL) {
        return;
    }
    (void)pthread_mutex_lock(&store->lock);
    while (store->visible_calls > 0) {
        (void)pthread_cond_wait(&store->drained, &store->lock);
    }
    store->on_visible = callback;
    store->on_visible_context = context;
    (void)pthread_mutex_unlock(&store->lock);
}

void stele_iterator_destroy(struct stele_iterator *iterator)
{
    if (iterator == NULL) {
        return;
    }
    struct stele *store = iterator->store;
    if (stele_client__enter(store, NULL) != STELE_OK) {
        return; /* In a child of fork() the views belong to the parent. */
    }
    stele_client__opener_destroy(iterator->opener);
    if (iterator->far != NULL) {
        stele_remote_iterator_destroy(iterator->far);
        stele_release(store->alloc, iterator, sizeof *iterator);
        return;
    }
    (void)pthread_mutex_lock(&store->lock);
    stele_read_end(store->core, iterator->read);
    (void)pthread_mutex_unlock(&store->lock);
    stele_release(store->alloc, iterator, sizeof *iterator);
}

uint64_t stele_last_position(struct stele *store)
{
    if (stele_client__enter(store, NULL) != STELE_OK) {
        return 0;
    }
    if (store->far != NULL) {
        return stele_remote_last_position(store->far);
    }
    (void)pthread_mutex_lock(&store->lock);
    const int followed = stele_client__follow(store, NULL);
    const uint64_t position = stele_store_position(store->core);
    (void)pthread_mutex_unlock(&store->lock);
    (void)followed; /* What is known without it is an answer too. */
    return position;
}

static void add_ms(struct timespec *at, int ms)
{
    at->tv_nsec += (long)(ms % 1000) * 1000000;
    at->tv_sec += ms / 1000 + at->tv_nsec / 1000000000;
    at->tv_nsec %= 1000000000;
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Under the lock. A follower has nobody to wake it: it looks again and again. */
static void wait_once(struct stele *store, const struct timespec *until)
{
    struct timespec poll;
    (void)clock_gettime(CLOCK_MONOTONIC, &poll);
    add_ms(&poll, store->read_only ? FOLLOW_POLL_MS : 1000);
    if (until != NULL && is_before(until, &poll)) {
        poll = *until;
    }
    store->visible_waiters++;
    (void)pthread_cond_timedwait(&store->visible, &store->lock, &poll);
    store->visible_waiters--;
}

int stele_wait(struct stele *store, uint64_t after, int timeout_ms, struct stele_error *err)
{
    int outcome = stele_client__enter(store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (store->far != NULL) {
        return stele_remote_wait(store->far, after, timeout_ms, err);
    }
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    add_ms(&until, timeout_ms < 0 ? 0 : timeout_ms);
    (void)pthread_mutex_lock(&store->lock);
    for (;;) {
        outcome = stele_client__follow(store, err);
        if (outcome != STELE_OK || stele_store_position(store->core) > after) {
            break;
        }
        struct timespec now;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (store->closing) {
            outcome = stele_fail(err, STELE_E_CLOSED, 0, "the store is being closed");
            break;
        }
        if (timeout_ms >= 0 && !is_before(&now, &until)) {
            outcome = STELE_TIMED_OUT;
            break;
        }
        wait_once(store, timeout_ms < 0 ? NULL : &until);
    }
    (void)pthread_mutex_unlock(&store->lock);
    return outcome;
}

/* ---- Following ---- */

struct stele_subscription {
    struct stele *store;
    struct stele_read *read;
    stele_event_callback on_events;
    stele_end_callback on_end;
    void *context;
    pthread_t thread;
    bool stopping;                /* Under the store's lock. */
    struct far_subscription *far; /* Of a remote store. */
    /* The store used a keyring: the callbacks above are ours then. */
    struct opener *opener;
    stele_event_callback opened_on_events;
    stele_end_callback opened_on_end;
    void *opened_context;
    struct stele_error failed; /* What could not be opened, or its outcome is STELE_OK. */
};

/* Hands on what could be opened; the first event that could not be ends the subscription. */
static int on_sealed_events(void *context, const struct stele_event *events, size_t count,
                            uint64_t checkpoint)
{
    struct stele_subscription *subscription = context;
    struct opener *opener = subscription->opener;
    if (count == 0) {
        return subscription->opened_on_events(subscription->opened_context, events, count,
                                              checkpoint);
    }
    stele_client__opener_give(opener, events, count);
    while (stele_client__opener_has_more(opener)) {
        const struct stele_event *opened = NULL;
        size_t opened_count = 0;
        const int outcome =
            stele_client__opener_next(opener, &opened, &opened_count, &subscription->failed);
        if (outcome != STELE_OK) {
            subscription->failed.outcome = outcome;
            return 1;
        }
        const bool all = !stele_client__opener_has_more(opener);
        const int stop =
            subscription->opened_on_events(subscription->opened_context, opened, opened_count,
                                           all ? checkpoint : opened[opened_count - 1].position);
        if (stop != 0) {
            return stop;
        }
    }
    return 0;
}

static void on_sealed_end(void *context, int outcome, const struct stele_error *err)
{
    const struct stele_subscription *subscription = context;
    const bool failed = subscription->failed.outcome != STELE_OK;
    if (subscription->opened_on_end != NULL) {
        subscription->opened_on_end(subscription->opened_context,
                                    failed ? subscription->failed.outcome : outcome,
                                    failed ? &subscription->failed : err);
    }
}

/* The end was reached: says so once, then sleeps until there is more. */
static int wait_for_more(struct stele_subscription *subscription, bool *caught_up, uint64_t *seen,
                         struct stele_error *err)
{
    struct stele *store = subscription->store;
    if (!*caught_up) {
        *caught_up = true;
        if (subscription->on_events(subscription->context, NULL, 0,
                                    stele_read_position(subscription->read)) != 0) {
            return STELE_E_CLOSED;
        }
    }
    int outcome = STELE_OK;
    (void)pthread_mutex_lock(&store->lock);
    while (outcome == STELE_OK && !subscription->stopping && !store->closing) {
        outcome = stele_client__follow(store, err);
        if (stele_store_position(store->core) > *seen) {
            break;
        }
        wait_once(store, NULL);
    }
    *seen = stele_store_position(store->core);
    (void)pthread_mutex_unlock(&store->lock);
    return outcome;
}

static bool is_stopping(struct stele_subscription *subscription)
{
    struct stele *store = subscription->store;
    (void)pthread_mutex_lock(&store->lock);
    const bool stopping = subscription->stopping || store->closing;
    (void)pthread_mutex_unlock(&store->lock);
    return stopping;
}

static int follow(struct stele_subscription *subscription, struct stele_error *err)
{
    struct stele *store = subscription->store;
    bool caught_up = false;
    uint64_t seen = 0;
    int outcome = STELE_OK;
    while (outcome == STELE_OK && !is_stopping(subscription)) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_read_next(subscription->read, &events, &count, err);
        if (outcome == STELE_OK) {
            caught_up = caught_up && count == 0;
            if (subscription->on_events(subscription->context, events, count,
                                        stele_read_position(subscription->read)) != 0) {
                outcome = STELE_E_CLOSED;
            }
        } else if (outcome == STELE_INCOMPLETE) {
            (void)pthread_mutex_lock(&store->lock);
            outcome = stele_client__follow(store, err);
            if (outcome == STELE_OK) {
                outcome = stele_read_refill(store->core, subscription->read, err);
            }
            (void)pthread_mutex_unlock(&store->lock);
        } else if (outcome == STELE_END) {
            outcome = wait_for_more(subscription, &caught_up, &seen, err);
        }
    }
    return outcome;
}

static void *run_subscription(void *context)
{
    struct stele_subscription *subscription = context;
    struct stele_error err = {.outcome = STELE_OK};
    const int outcome = follow(subscription, &err);
    if (!is_stopping(subscription) && subscription->on_end != NULL) {
        subscription->on_end(subscription->context, outcome, &err);
    }
    return NULL;
}

static void release_subscription(struct stele_subscription *subscription)
{
    stele_client__opener_destroy(subscription->opener);
    stele_release(subscription->store->alloc, subscription, sizeof *subscription);
}

int stele_subscribe(struct stele *store, const char *stream, const struct stele_read_options *given,
                    stele_event_callback on_events, stele_end_callback on_end, void *context,
                    struct stele_subscription **out_subscription, struct stele_error *err)
{
    struct stele_read_options options;
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK) {
        outcome = read_options(given, &options, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (out_subscription == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "no place for the subscription");
    }
    if (on_events == NULL || options.backwards != 0 || options.limit != 0 || options.as_of != 0) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "a subscription needs a callback, and goes forward without a limit or a "
                          "bound");
    }
    struct stele_subscription *subscription =
        stele_allocate_zeroed(store->alloc, sizeof *subscription);
    if (subscription == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "subscribe: no memory");
    }
    *subscription = (struct stele_subscription){
        .store = store, .on_events = on_events, .on_end = on_end, .context = context};
    if (store->sealer != NULL) {
        outcome = stele_client__opener_create(store->sealer, &subscription->opener, err);
        if (outcome != STELE_OK) {
            stele_release(store->alloc, subscription, sizeof *subscription);
            return outcome;
        }
        subscription->opened_on_events = on_events;
        subscription->opened_on_end = on_end;
        subscription->opened_context = context;
        subscription->on_events = on_events = on_sealed_events;
        subscription->on_end = on_end = on_sealed_end;
        subscription->context = context = subscription;
    }
    if (store->far != NULL) {
        outcome = stele_remote_subscribe(store->far, stream, &options, on_events, on_end, context,
                                         &subscription->far, err);
        if (outcome != STELE_OK) {
            release_subscription(subscription);
            return outcome;
        }
        *out_subscription = subscription;
        return STELE_OK;
    }
    (void)pthread_mutex_lock(&store->lock);
    outcome = begin_read(store, stream, &options, true, &subscription->read, err);
    if (outcome == STELE_OK) {
        const int failed =
            pthread_create(&subscription->thread, NULL, run_subscription, subscription);
        if (failed != 0) {
            stele_read_end(store->core, subscription->read);
            outcome = stele_fail(err, STELE_E_NO_MEMORY, failed, "subscribe: no thread");
        }
    }
    (void)pthread_mutex_unlock(&store->lock);
    if (outcome != STELE_OK) {
        release_subscription(subscription);
        return outcome;
    }
    *out_subscription = subscription;
    return STELE_OK;
}

void stele_unsubscribe(struct stele_subscription *subscription)
{
    if (subscription == NULL || stele_client__enter(subscription->store, NULL) != STELE_OK) {
        return;
    }
    struct stele *store = subscription->store;
    if (subscription->far != NULL) {
        stele_remote_unsubscribe(subscription->far);
        release_subscription(subscription);
        return;
    }
    (void)pthread_mutex_lock(&store->lock);
    subscription->stopping = true;
    (void)pthread_cond_broadcast(&store->visible);
    (void)pthread_mutex_unlock(&store->lock);
    (void)pthread_join(subscription->thread, NULL);
    (void)pthread_mutex_lock(&store->lock);
    stele_read_end(store->core, subscription->read);
    (void)pthread_mutex_unlock(&store->lock);
    release_subscription(subscription);
}
