/* Group commit: who writes, who sleeps, who wakes whom. */
#include "client/client.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A committer goes on with the next group so many times before it hands over and returns to its
 * own caller: handing over costs a wake-up, going on costs that caller some latency. */
#define EXTRA_GROUPS 1

/* A second group is written beside the first only when it is that large. Otherwise appends that
 * come one by one would split into a small group and a large one, in turns, and each would wait for
 * two syncs instead of one. */
#define SECOND_GROUP_SIZE ((uint64_t)64 * 1024)

/* Completions that are called under one hold of `delivering`, without taking the lock for each. */
#define DELIVERED_AT_ONCE 64

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int count)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static struct slot *slot_of(struct stele *store, uint32_t group)
{
    return &store->slots[group % SLOTS];
}

/* Has the slot's counter reached this group? Counters wrap; the difference does not matter. */
static bool has_reached(uint32_t word, uint32_t group)
{
    return (int32_t)((word & ~1U) - (group << 1)) >= 0;
}

/* Under the lock. Lets the sleepers of a finished group go. */
static void wake_group(struct stele *store, uint32_t group)
{
    struct slot *slot = slot_of(store, group);
    const uint32_t sleepers = slot->sleepers;
    slot->sleepers = 0;
    if (sleepers > 1) {
        atomic_store(&slot->others, true);
    }
    atomic_store(&slot->word, group << 1);
    if (sleepers > 0) {
        futex_wake(&slot->word, 1);
    }
}

/* Under the lock. Groups become durable in order, so those whose end has been reached are the next
 * ones. When the log is fenced everybody is let go, also those who wait for the next group. */
static void wake_groups(struct stele *store)
{
    const uint64_t durable = stele_store_durable(store->core);
    while (store->woken != store->taken &&
           durable >= store->group_end[(store->woken + 1) % SLOTS]) {
        wake_group(store, ++store->woken);
    }
    if (stele_store_is_fenced(store->core)) {
        atomic_store(&store->fenced, true);
        for (uint32_t group = store->woken + 1; group != store->taken + 2; group++) {
            wake_group(store, group);
        }
    }
}

void stele_client__hand_over(struct stele *store)
{
    if (!stele_store_has_staged(store->core) || stele_store_in_flight(store->core) > 0) {
        return;
    }
    if (store->writers_idle > 0) {
        (void)pthread_cond_signal(&store->staged);
        return;
    }
    struct slot *slot = slot_of(store, store->taken + 1);
    if (slot->sleepers > 0) {
        (void)atomic_fetch_or(&slot->word, 1U);
        futex_wake(&slot->word, 1);
    }
}

static void signal_work(struct stele *store)
{
    const uint64_t durable = stele_store_durable(store->core);
    if (durable - store->work_signalled_at >= (uint64_t)1024 * 1024) {
        store->work_signalled_at = durable;
        (void)pthread_cond_signal(&store->work);
    }
}

/* Under the lock, which is released meanwhile. */
static void tell_visible(struct stele *store)
{
    const stele_visible_callback callback = store->on_visible;
    void *const context = store->on_visible_context;
    if (callback == NULL) {
        return;
    }
    store->visible_calls++;
    (void)pthread_mutex_unlock(&store->lock);
    callback(context);
    (void)pthread_mutex_lock(&store->lock);
    store->visible_calls--;
}

bool stele_client__commit(struct stele *store)
{
    struct stele_log_group group;
    if (stele_store_is_fenced(store->core) || !stele_store_take(store->core, &group)) {
        return false;
    }
    const uint32_t number = ++store->taken;
    store->group_end[number % SLOTS] = group.place_end;
    store->taken_end = group.place_end;
    (void)pthread_mutex_unlock(&store->lock);

    struct stele_error err = {.outcome = STELE_OK};
    struct stele_file *file = group.file;
    const int outcome = stele_store_syncs_later(store->core)
                            ? file->io->ops->write(file, group.offset, group.bytes, &err)
                            : file->io->ops->write_durable(file, group.offset, group.bytes, &err);

    (void)pthread_mutex_lock(&store->lock);
    stele_store_done(store->core, group.id, outcome);
    if (outcome != STELE_OK && store->work_error.outcome == STELE_OK) {
        store->work_error = err;
    }
    if (store->live != NULL) {
        atomic_store(&store->live->durable, stele_store_durable(store->core));
    }
    wake_groups(store);
    signal_work(store);
    if (store->visible_waiters > 0) {
        (void)pthread_cond_broadcast(&store->visible);
    }
    tell_visible(store);
    (void)pthread_cond_broadcast(&store->drained);
    return true;
}

static int fail_fenced(const struct stele *store, uint64_t place, struct stele_error *err)
{
    const char *why = store->work_error.outcome == STELE_OK ? "" : store->work_error.message;
    if (place > store->taken_end) {
        return stele_fail(err, STELE_E_FENCED, store->work_error.os_errno,
                          "the log was fenced before this was written: %.300s", why);
    }
    return stele_fail(
        err, STELE_E_UNKNOWN, store->work_error.os_errno,
        "the write failed, so it is unknown whether the events are stored; reopen the "
        "store and repeat with the same ids: %.250s",
        why);
}

/* Under the lock. The group that the place belongs to. */
static uint32_t group_of(const struct stele *store, uint64_t place)
{
    uint32_t group = store->woken + 1;
    while (group != store->taken + 1 && store->group_end[group % SLOTS] < place) {
        group++;
    }
    return group;
}

/* Sleeps until the group has ended (false), or is asked to commit the next one (true). Without the
 * lock. */
static bool sleep_on(struct slot *slot, uint32_t group)
{
    for (;;) {
        uint32_t word = atomic_load(&slot->word);
        if (has_reached(word, group)) {
            if (atomic_load(&slot->others) && atomic_exchange(&slot->others, false)) {
                futex_wake(&slot->word, INT_MAX);
            }
            return false;
        }
        if ((word & 1U) != 0) {
            if (atomic_compare_exchange_strong(&slot->word, &word, word & ~1U)) {
                return true;
            }
            continue;
        }
        futex_wait(&slot->word, word);
    }
}

/* Under the lock. For callers that are no writers: asynchronous appends may have been in the group,
 * and writers that sleep do not see how it ended. */
static bool commit_for_all(struct stele *store)
{
    const bool committed = stele_client__commit(store);
    if (committed && store->ring_count > 0 && store->writers_idle > 0) {
        (void)pthread_cond_signal(&store->staged);
    }
    return committed;
}

/* Under the lock. After having committed its own group, a committer takes on the next one if it is
 * worth it, and then leaves the rest to somebody who waits for it. */
static void leave(struct stele *store)
{
    for (int i = 0;
         i < EXTRA_GROUPS && store->writers_idle == 0 && stele_store_in_flight(store->core) == 0;
         i++) {
        if (!commit_for_all(store)) {
            break;
        }
    }
    stele_client__hand_over(store);
}

int stele_client__wait_durable(struct stele *store, uint64_t place, struct stele_error *err)
{
    bool committed = false;
    while (stele_store_durable(store->core) < place) {
        if (stele_store_is_fenced(store->core)) {
            const int outcome = fail_fenced(store, place, err);
            (void)pthread_mutex_unlock(&store->lock);
            return outcome;
        }
        if (stele_store_in_flight(store->core) == 0 && commit_for_all(store)) {
            committed = true;
            continue;
        }
        const uint32_t group = group_of(store, place);
        struct slot *slot = slot_of(store, group);
        slot->sleepers++;
        (void)pthread_mutex_unlock(&store->lock);
        const bool asked = sleep_on(slot, group);
        if (!asked && !atomic_load(&store->fenced)) {
            return STELE_OK;
        }
        (void)pthread_mutex_lock(&store->lock);
        if (asked && slot->sleepers > 0) {
            slot->sleepers--;
        }
    }
    if (committed) {
        leave(store);
    } else {
        stele_client__hand_over(store);
    }
    (void)pthread_mutex_unlock(&store->lock);
    return STELE_OK;
}

int stele_client_sync(struct stele *store, struct stele_error *err)
{
    struct stele_log_sync sync;
    int outcome = STELE_OK;
    (void)pthread_mutex_lock(&store->lock);
    while (store->syncing || store->rolling) {
        (void)pthread_cond_wait(&store->drained, &store->lock);
    }
    if (stele_store_is_fenced(store->core)) {
        outcome = stele_fail(err, STELE_E_FENCED, 0, "a write to the log failed before");
    } else if (stele_store_sync_begin(store->core, &sync)) {
        struct stele_error failure = {.outcome = STELE_OK};
        store->syncing = true; /* Nobody rolls: the file stays the last one. */
        (void)pthread_mutex_unlock(&store->lock);
        outcome = sync.file->io->ops->sync(sync.file, &failure);
        (void)pthread_mutex_lock(&store->lock);
        store->syncing = false;
        stele_store_sync_end(store->core, &sync, outcome);
        if (outcome != STELE_OK && store->work_error.outcome == STELE_OK) {
            store->work_error = failure;
        }
        if (outcome != STELE_OK && err != NULL) {
            *err = failure;
        }
        wake_groups(store);
        (void)pthread_cond_broadcast(&store->drained);
        (void)pthread_cond_signal(&store->work); /* A part of the index may have waited for this. */
    }
    (void)pthread_mutex_unlock(&store->lock);
    return outcome;
}

int stele_client__roll(struct stele *store, uint64_t size, struct stele_error *err)
{
    if (store->rolling) {
        while (store->rolling) {
            (void)pthread_cond_wait(&store->drained, &store->lock);
        }
        return STELE_OK; /* Somebody else has made room, or will have failed as this one would. */
    }
    store->rolling = true;
    int outcome = STELE_OK;
    while (!stele_store_is_fenced(store->core) &&
           (stele_store_has_staged(store->core) || stele_store_in_flight(store->core) > 0 ||
            store->syncing)) {
        if (!commit_for_all(store)) {
            (void)pthread_cond_wait(&store->drained, &store->lock);
        }
    }
    if (!stele_store_is_fenced(store->core)) {
        outcome = stele_store_roll(store->core, size, err);
    }
    store->rolling = false;
    (void)pthread_cond_broadcast(&store->drained);
    (void)pthread_cond_signal(&store->work); /* For the next spare. */
    return outcome;
}

/* ---- Writers: commit what was appended asynchronously ---- */

bool stele_client__writer_may_take(const struct stele *store)
{
    const uint32_t in_flight = stele_store_in_flight(store->core);
    return (in_flight == 0 && !store->delivering) ||
           (in_flight < WRITERS && stele_store_staged_size(store->core) >= SECOND_GROUP_SIZE);
}

static void *run_writer(void *context)
{
    struct stele *store = context;
    (void)pthread_mutex_lock(&store->lock);
    for (;;) {
        /* Both let the lock go, and something may have been staged meanwhile. When there is
         * nothing to take, or enough is in flight, whoever ends the next commit goes on. */
        const bool committed = stele_client__writer_may_take(store) && stele_client__commit(store);
        const bool delivered = stele_client__deliver(store);
        if (committed || delivered) {
            continue;
        }
        if (store->closing && store->ring_count == 0 && !store->delivering) {
            break;
        }
        store->writers_idle++;
        (void)pthread_cond_wait(&store->staged, &store->lock);
        store->writers_idle--;
    }
    (void)pthread_cond_broadcast(&store->staged);
    (void)pthread_mutex_unlock(&store->lock);
    return NULL;
}

int stele_client__start_writers(struct stele *store, struct stele_error *err)
{
    while (store->writers_started < WRITERS) {
        const int failed =
            pthread_create(&store->writers[store->writers_started], NULL, run_writer, store);
        if (failed != 0) {
            return stele_fail(err, STELE_E_NO_MEMORY, failed, "no thread for asynchronous appends");
        }
        store->writers_started++;
    }
    return STELE_OK;
}

void stele_client__stop_writers(struct stele *store)
{
    (void)pthread_mutex_lock(&store->lock);
    (void)pthread_cond_broadcast(&store->staged);
    (void)pthread_mutex_unlock(&store->lock);
    for (uint32_t i = 0; i < store->writers_started; i++) {
        (void)pthread_join(store->writers[i], NULL);
    }
}

/* Under the lock. Takes the oldest completion if it is due. */
static bool take_due(struct stele *store, struct completion *out_due)
{
    if (store->ring_count == 0) {
        return false;
    }
    const struct completion *first = &store->ring[store->ring_first];
    const bool durable = stele_store_durable(store->core) >= first->place;
    if (!durable && !stele_store_is_fenced(store->core)) {
        return false;
    }
    *out_due = *first;
    if (!durable) {
        out_due->outcome = first->outcome == STELE_OK
                               ? fail_fenced(store, first->place, first->words)
                               : STELE_E_FENCED;
    }
    store->ring_first = (store->ring_first + 1) % store->ring_capacity;
    store->ring_count--;
    return true;
}

/* One thread at a time delivers, so that callbacks come in the order of completion. */
bool stele_client__deliver(struct stele *store)
{
    if (store->delivering) {
        return false;
    }
    bool delivered = false;
    store->delivering = true;
    for (;;) {
        STELE_UNINITIALIZED struct completion due[DELIVERED_AT_ONCE];
        size_t count = 0;
        while (count < DELIVERED_AT_ONCE && take_due(store, &due[count])) {
            count++;
        }
        if (count == 0) {
            break;
        }
        (void)pthread_mutex_unlock(&store->lock);
        for (size_t i = 0; i < count; i++) {
            due[i].callback(due[i].context, due[i].outcome, &due[i].result);
        }
        (void)pthread_mutex_lock(&store->lock);
        delivered = true;
    }
    store->delivering = false;
    return delivered;
}
