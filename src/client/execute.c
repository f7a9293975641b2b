/* Commands of a cluster, executed in order, and asynchronously: the next one is decided while the
 * last one is being written. */
#include "client/client.h"
#include "client/remote.h"

static int enter(const struct stele *store, const char *what, struct stele_error *err)
{
    const int outcome = stele_client__enter(store, err);
    return outcome == STELE_OK && store->far != NULL
               ? stele_fail(err, STELE_E_UNSUPPORTED, 0, "%s: the store is another process'", what)
               : outcome;
}

static int prepare(struct stele_prepared *prepared, const struct stele_client_command *command,
                   struct stele_error *err)
{
    const uint64_t stamp = command->order.stamp;
    if (command->kind == STELE_CLIENT_APPEND) {
        return stele_prepare_at(prepared, command->streams, command->streams_count,
                                command->conditions, command->conditions_count, stamp, err);
    }
    STELE_ASSERT(command->streams_count == 1);
    return command->kind == STELE_CLIENT_TOMBSTONE
               ? stele_prepare_tombstone_at(prepared, command->streams[0].stream,
                                            command->streams[0].expected, command->id, stamp, err)
               : STELE_OK; /* A delete is composed of what is stored. */
}

/* Under the lock. Until the core has decided, or cannot. Trying again decides nothing anew: the
 * answer follows from the command and what is stored, which nobody else changes. */
static int execute(struct stele *store, struct stele_prepared *prepared,
                   const struct stele_client_command *command, struct stele_ticket *ticket,
                   uint64_t *revisions_last, struct stele_append_result *result,
                   struct stele_error *err)
{
    for (;;) {
        int outcome = command->kind == STELE_CLIENT_DELETE
                          ? stele_store_delete_at(store->core, prepared, command->streams[0].stream,
                                                  command->streams[0].expected, command->id,
                                                  &command->order, ticket, result, err)
                          : stele_store_append_at(store->core, prepared, &command->order, ticket,
                                                  revisions_last, result, err);
        if (outcome == STELE_STORE_ROLL) {
            outcome = stele_client__roll(store, ticket->roll_size, err);
        } else if (outcome == STELE_STORE_INDEX) {
            outcome = stele_client__wait_index(store, err);
        } else {
            return outcome;
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
}

/* Under the lock. */
static int get_ready(struct stele *store, struct stele_error *err)
{
    const int outcome = store->closing
                            ? stele_fail(err, STELE_E_CLOSED, 0, "the store is being closed")
                            : stele_client__start_writers(store, err);
    return outcome == STELE_OK ? stele_client__reserve(store, err) : outcome;
}

/* What went wrong is written for whoever gets it: the callback's caller, or this call's. */
static void hand_words(struct stele_error *words, const struct stele_error *from)
{
    if (words != NULL && from->outcome != STELE_OK) {
        *words = *from;
    }
}

int stele_client_execute_stage(struct stele *store, const struct stele_client_command *command,
                               uint64_t *revisions_last, struct stele_error *words,
                               stele_append_callback callback, void *context,
                               struct stele_error *err)
{
    struct stele_prepared *prepared = NULL;
    struct stele_error said = {.outcome = STELE_OK};
    int outcome = enter(store, "execute", err);
    if (outcome == STELE_OK) {
        outcome = stele_client__prepared_acquire(store, &prepared, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct completion completion = {.callback = callback, .context = context, .words = words};
    completion.outcome = prepare(prepared, command, &said);
    if (stele_order_is_decision(completion.outcome)) {
        (void)pthread_mutex_lock(&store->lock);
        outcome = get_ready(store, err);
        if (outcome == STELE_OK) {
            struct stele_ticket ticket = {.place = stele_store_end(store->core)};
            if (completion.outcome == STELE_OK) {
                completion.outcome = execute(store, prepared, command, &ticket, revisions_last,
                                             &completion.result, &said);
            }
            completion.place = ticket.place;
            if (stele_order_is_decision(completion.outcome)) {
                hand_words(words, &said);
                stele_client__complete(store, &completion);
            } else {
                stele_client__unreserve(store);
            }
        }
        (void)pthread_mutex_unlock(&store->lock);
    }
    stele_client__prepared_release(store, prepared);
    if (outcome == STELE_OK && !stele_order_is_decision(completion.outcome)) {
        hand_words(err, &said);
        outcome = completion.outcome;
    }
    return outcome;
}

/* Under the lock. */
static int look_back(struct stele *store, struct stele_prepared *prepared, uint64_t *out_seen,
                     uint64_t *revisions_last, struct completion *completion,
                     struct stele_error *err)
{
    struct stele_ticket ticket = {.place = 0};
    for (;;) {
        int outcome = stele_store_look_back(store->core, prepared, out_seen, &ticket,
                                            revisions_last, &completion->result, err);
        if (outcome != STELE_STORE_INDEX) {
            completion->outcome = outcome;
            completion->place = ticket.place;
            return outcome;
        }
        outcome = stele_client__wait_index(store, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
}

int stele_client_look_back(struct stele *store, const struct stele_append *streams,
                           size_t streams_count, const struct stele_condition *conditions,
                           size_t conditions_count, uint64_t *out_seen, uint64_t *revisions_last,
                           struct stele_error *words, stele_append_callback callback, void *context,
                           struct stele_error *err)
{
    struct stele_prepared *prepared = NULL;
    struct stele_error said = {.outcome = STELE_OK};
    int outcome = enter(store, "look back", err);
    if (outcome == STELE_OK) {
        outcome = stele_client__prepared_acquire(store, &prepared, err);
    }
    if (outcome == STELE_OK) {
        /* Not as a command: an event may have no id yet, and its size is judged as that of any append. */
        outcome = stele_prepare(prepared, streams, streams_count, conditions, conditions_count,
                                stele_client__now_us(store), err);
    }
    if (outcome == STELE_OK) {
        struct completion completion = {.callback = callback, .context = context, .words = words};
        (void)pthread_mutex_lock(&store->lock);
        outcome = get_ready(store, err);
        if (outcome == STELE_OK) {
            outcome = look_back(store, prepared, out_seen, revisions_last, &completion, &said);
            if (outcome != STELE_NOT_FOUND && stele_order_is_decision(outcome)) {
                hand_words(words, &said);
                stele_client__complete(store, &completion);
                outcome = STELE_OK;
            } else {
                stele_client__unreserve(store);
                hand_words(outcome == STELE_NOT_FOUND ? NULL : err, &said);
            }
        }
        (void)pthread_mutex_unlock(&store->lock);
    }
    stele_client__prepared_release(store, prepared);
    return outcome;
}

void stele_client_ordered(struct stele *store, struct stele_client_ordered *out)
{
    (void)pthread_mutex_lock(&store->lock);
    *out = (struct stele_client_ordered){
        .stamp = stele_store_ordered(store->core),
        .position = stele_store_position_staged(store->core),
        .stamp_durable = stele_store_ordered_durable(store->core),
        .stamp_synced = stele_store_ordered_synced(store->core),
        .position_durable = stele_store_position(store->core),
        .is_catching_up = stele_store_is_catching_up(store->core),
    };
    (void)pthread_mutex_unlock(&store->lock);
}

uint32_t stele_client_partition(const struct stele *store, const char *stream)
{
    return stele_store_partition(store->core, stele_bytes_of_text(stream));
}
