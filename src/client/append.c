/* Appending, synchronously and not. */
#include "client/client.h"
#include "client/keyring.h"
#include "client/remote.h"

/* More than that is written by a writer, while the one who stages goes on. */
#define COMMIT_HERE_MAX ((uint64_t)256 * 1024)

int stele_client__prepared_acquire(struct stele *store, struct stele_prepared **out_prepared,
                                   struct stele_error *err)
{
    *out_prepared = NULL;
    (void)pthread_mutex_lock(&store->pool_lock);
    if (store->pool_count > 0) {
        *out_prepared = store->pool[--store->pool_count];
    }
    (void)pthread_mutex_unlock(&store->pool_lock);
    return *out_prepared != NULL ? STELE_OK : stele_prepared_create(store->core, out_prepared, err);
}

void stele_client__prepared_release(struct stele *store, struct stele_prepared *prepared)
{
    (void)pthread_mutex_lock(&store->pool_lock);
    /* A large one is not kept: one append of 64 MiB must not cost that memory for ever. */
    if (prepared != NULL && store->pool_count < POOL_MAX && !stele_prepared_is_large(prepared)) {
        store->pool[store->pool_count++] = prepared;
        prepared = NULL;
    }
    (void)pthread_mutex_unlock(&store->pool_lock);
    stele_prepared_destroy(prepared);
}

void stele_client__destroy_pool(struct stele *store)
{
    while (store->pool_count > 0) {
        stele_prepared_destroy(store->pool[--store->pool_count]);
    }
}

/* Under the lock. Asks the core until it has decided. */
static int decide(struct stele *store, struct stele_prepared *prepared, struct stele_ticket *ticket,
                  uint64_t *revisions_last, struct stele_append_result *result,
                  struct stele_error *err)
{
    for (;;) {
        int outcome = stele_store_append(store->core, prepared, stele_client__now_us(store), ticket,
                                         revisions_last, result, err);
        if (outcome == STELE_STORE_ROLL) {
            outcome = stele_client__roll(store, ticket->roll_size, err);
        } else if (outcome == STELE_STORE_INDEX) {
            outcome = stele_client__wait_index(store, err);
        } else {
            return outcome;
        }
        if (outcome != STELE_OK) {
            ticket->place = 0;
            return outcome;
        }
    }
}

int stele_client__append(struct stele *store, struct stele_prepared *prepared,
                         uint64_t *revisions_last, struct stele_append_result *out_result,
                         struct stele_error *err)
{
    struct stele_append_result result;
    struct stele_ticket ticket = {.place = 0};
    (void)pthread_mutex_lock(&store->lock);
    const int outcome = decide(store, prepared, &ticket, revisions_last, &result, err);
    /* A refusal may rest on events that are not durable yet: it is told once they are. */
    struct stele_error fenced;
    const int durable = stele_client__wait_durable(store, ticket.place, &fenced);
    if (durable != STELE_OK) {
        /* What the refusal rested on is of unknown outcome; the append itself was never staged. */
        const int known = outcome == STELE_OK ? durable : STELE_E_FENCED;
        return stele_fail(err, known, fenced.os_errno, "%s", fenced.message);
    }
    if (out_result != NULL && outcome >= 0) {
        *out_result = result;
    }
    return outcome;
}

/* ---- The public calls ---- */

int stele_client__append_plain(struct stele *store, const struct stele_append *streams,
                               size_t streams_count, const struct stele_condition *conditions,
                               size_t conditions_count, uint64_t *revisions_last,
                               struct stele_append_result *out_result, struct stele_error *err)
{
    int outcome = STELE_OK;
    if (store->far != NULL) {
        return stele_remote_append(store->far, streams, streams_count, conditions, conditions_count,
                                   revisions_last, out_result, err);
    }
    struct stele_prepared *prepared = NULL;
    outcome = stele_client__prepared_acquire(store, &prepared, err);
    if (outcome == STELE_OK) {
        outcome = stele_prepare(prepared, streams, streams_count, conditions, conditions_count,
                                stele_client__now_us(store), err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_client__append(store, prepared, revisions_last, out_result, err);
    }
    stele_client__prepared_release(store, prepared);
    return outcome;
}

int stele_append_many(struct stele *store, const struct stele_append *streams, size_t streams_count,
                      const struct stele_condition *conditions, size_t conditions_count,
                      uint64_t *revisions_last, struct stele_append_result *out_result,
                      struct stele_error *err)
{
    const int outcome = stele_client__enter(store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    return store->sealer != NULL
               ? stele_client__append_sealed(store, streams, NULL, streams_count, conditions,
                                             conditions_count, revisions_last, out_result, NULL,
                                             NULL, err)
               : stele_client__append_plain(store, streams, streams_count, conditions,
                                            conditions_count, revisions_last, out_result, err);
}

int stele_append(struct stele *store, const char *stream, uint64_t expected,
                 const struct stele_event_draft *events, size_t count,
                 struct stele_append_result *out_result, struct stele_error *err)
{
    const struct stele_append one = {
        .stream = stream, .expected = expected, .events = events, .count = count};
    return stele_append_many(store, &one, 1, NULL, 0, NULL, out_result, err);
}

int stele_client__reserve(struct stele *store, struct stele_error *err)
{
    const size_t wanted = store->ring_count + store->ring_reserved + 1;
    if (wanted > store->options.async_queue_max) {
        return stele_fail(err, STELE_E_OVERLOADED, 0,
                          "%u asynchronous appends are under way; wait for some to end",
                          store->options.async_queue_max);
    }
    if (wanted <= store->ring_capacity) {
        store->ring_reserved++;
        return STELE_OK;
    }
    const size_t capacity = store->ring_capacity == 0 ? 64 : store->ring_capacity * 2;
    struct completion *ring = stele_allocate(store->alloc, capacity * sizeof *ring);
    if (ring == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "append: no memory");
    }
    STELE_ASSERT(store->ring_count <= store->ring_capacity);
    for (size_t i = 0; i < store->ring_count && store->ring_capacity > 0; i++) {
        ring[i] = store->ring[(store->ring_first + i) % store->ring_capacity];
    }
    stele_release(store->alloc, store->ring, store->ring_capacity * sizeof *ring);
    store->ring = ring;
    store->ring_capacity = capacity;
    store->ring_first = 0;
    store->ring_reserved++;
    return STELE_OK;
}

void stele_client__unreserve(struct stele *store)
{
    STELE_ASSERT(store->ring_reserved > 0);
    store->ring_reserved--;
}

void stele_client__complete(struct stele *store, const struct completion *completion)
{
    stele_client__unreserve(store);
    store->ring[(store->ring_first + store->ring_count) % store->ring_capacity] = *completion;
    store->ring_count++;
}

static int start(struct stele *store, struct stele_prepared *prepared, uint64_t *revisions_last,
                 struct stele_error *words, stele_append_callback callback, void *context,
                 bool quiet, struct stele_error *err)
{
    (void)pthread_mutex_lock(&store->lock);
    int outcome = stele_client__start_writers(store, err);
    if (outcome == STELE_OK) {
        outcome = stele_client__reserve(store, err);
    }
    if (outcome == STELE_OK) {
        struct completion completion = {.callback = callback, .context = context, .words = words};
        struct stele_ticket ticket = {.place = 0};
        completion.outcome =
            decide(store, prepared, &ticket, revisions_last, &completion.result, words);
        completion.place = ticket.place;
        stele_client__complete(store, &completion);
        if (!quiet && store->writers_idle > 0 && stele_client__writer_may_take(store)) {
            (void)pthread_cond_signal(&store->staged);
        }
    }
    (void)pthread_mutex_unlock(&store->lock);
    return outcome;
}

static int append_async(struct stele *store, const struct stele_append *streams,
                        size_t streams_count, const struct stele_condition *conditions,
                        size_t conditions_count, uint64_t *revisions_last,
                        struct stele_error *words, stele_append_callback callback, void *context,
                        bool quiet, struct stele_error *err)
{
    int outcome = stele_client__enter(store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (callback == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "append: the callback is NULL");
    }
    if (store->far != NULL) {
        return stele_remote_append_async(store->far, streams, streams_count, conditions,
                                         conditions_count, callback, context, err);
    }
    struct stele_prepared *prepared = NULL;
    outcome = stele_client__prepared_acquire(store, &prepared, err);
    if (outcome == STELE_OK) {
        outcome = stele_prepare(prepared, streams, streams_count, conditions, conditions_count,
                                stele_client__now_us(store), err);
    }
    if (outcome == STELE_OK) {
        outcome = start(store, prepared, revisions_last, words, callback, context, quiet, err);
    }
    stele_client__prepared_release(store, prepared);
    return outcome;
}

int stele_client__append_plain_async(struct stele *store, const struct stele_append *streams,
                                     size_t streams_count, const struct stele_condition *conditions,
                                     size_t conditions_count, stele_append_callback callback,
                                     void *context, struct stele_error *err)
{
    return append_async(store, streams, streams_count, conditions, conditions_count, NULL, NULL,
                        callback, context, false, err);
}

int stele_append_async(struct stele *store, const struct stele_append *streams,
                       size_t streams_count, const struct stele_condition *conditions,
                       size_t conditions_count, stele_append_callback callback, void *context,
                       struct stele_error *err)
{
    const int outcome = stele_client__enter(store, err);
    if (outcome != STELE_OK || store->sealer == NULL || callback == NULL) {
        return outcome != STELE_OK
                   ? outcome
                   : stele_client__append_plain_async(store, streams, streams_count, conditions,
                                                      conditions_count, callback, context, err);
    }
    return stele_client__append_sealed(store, streams, NULL, streams_count, conditions,
                                       conditions_count, NULL, NULL, callback, context, err);
}

int stele_client_append_stage(struct stele *store, const struct stele_append *streams,
                              size_t streams_count, const struct stele_condition *conditions,
                              size_t conditions_count, uint64_t *revisions_last,
                              struct stele_error *words, stele_append_callback callback,
                              void *context, struct stele_error *err)
{
    return append_async(store, streams, streams_count, conditions, conditions_count, revisions_last,
                        words, callback, context, true, err);
}

/* ---- Telling what was appended ---- */

static int begin_telling(struct stele *store, const struct stele_append *streams,
                         size_t streams_count, const struct stele_condition *conditions,
                         size_t conditions_count, struct stele_prepared **out_prepared,
                         struct stele_error *err)
{
    *out_prepared = NULL;
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK && (store->far != NULL || store->sealer != NULL)) {
        outcome = stele_fail(err, STELE_E_UNSUPPORTED, 0, "append: the store uses a keyring");
    }
    if (outcome == STELE_OK) {
        outcome = stele_client__prepared_acquire(store, out_prepared, err);
    }
    return outcome == STELE_OK ? stele_prepare(*out_prepared, streams, streams_count, conditions,
                                               conditions_count, stele_client__now_us(store), err)
                               : outcome;
}

void stele_client_told(struct stele *store, struct stele_prepared *prepared)
{
    if (prepared != NULL) {
        stele_client__prepared_release(store, prepared);
    }
}

int stele_client_append_tell(struct stele *store, const struct stele_append *streams,
                             size_t streams_count, const struct stele_condition *conditions,
                             size_t conditions_count, struct stele_prepared **out_prepared,
                             struct stele_append_result *out_result, struct stele_error *err)
{
    int outcome = begin_telling(store, streams, streams_count, conditions, conditions_count,
                                out_prepared, err);
    if (outcome == STELE_OK) {
        outcome = stele_client__append(store, *out_prepared, NULL, out_result, err);
    }
    if (outcome != STELE_OK) {
        stele_client_told(store, *out_prepared);
        *out_prepared = NULL;
    }
    return outcome;
}

int stele_client_append_tell_async(struct stele *store, const struct stele_append *streams,
                                   size_t streams_count, const struct stele_condition *conditions,
                                   size_t conditions_count, struct stele_prepared **out_prepared,
                                   struct stele_error *words, stele_append_callback callback,
                                   void *context, struct stele_error *err)
{
    struct stele_prepared *prepared = NULL;
    int outcome =
        begin_telling(store, streams, streams_count, conditions, conditions_count, &prepared, err);
    *out_prepared = prepared;
    if (outcome == STELE_OK) {
        outcome = start(store, prepared, NULL, words, callback, context, false, err);
    }
    if (outcome != STELE_OK) {
        /* Nobody else has it: the callback will not be called. */
        stele_client_told(store, prepared);
        *out_prepared = NULL;
    }
    return outcome;
}

/* Under the lock. What is staged is written by this thread, if nobody else is at it. */
static void commit_here(struct stele *store)
{
    if (stele_store_in_flight(store->core) == 0 && !store->delivering && !store->closing) {
        (void)stele_client__commit(store);
        (void)stele_client__deliver(store);
    }
}

/* Under the lock. */
static void leave_to_others(struct stele *store)
{
    if (store->ring_count > 0 && store->writers_idle > 0 && stele_client__writer_may_take(store)) {
        (void)pthread_cond_signal(&store->staged);
    }
    /* Others may have gone to sleep on what they staged meanwhile, trusting in this commit's end. */
    stele_client__hand_over(store);
}

void stele_client_flush(struct stele *store, bool alone)
{
    (void)pthread_mutex_lock(&store->lock);
    if (alone && store->ring_count == 1) {
        commit_here(store);
    }
    leave_to_others(store);
    (void)pthread_mutex_unlock(&store->lock);
}

void stele_client_execute_flush(struct stele *store)
{
    (void)pthread_mutex_lock(&store->lock);
    if (stele_store_staged_size(store->core) <= COMMIT_HERE_MAX) {
        commit_here(store);
    }
    leave_to_others(store);
    (void)pthread_mutex_unlock(&store->lock);
}
