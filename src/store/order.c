/* Commands of a cluster: what is not a plain append about them. How they are decided is in append.c. */
#include "store/store_internal.h"

int64_t stele_order_time_us(uint64_t stamp)
{
    const uint64_t ms = stele_position_tick(stamp) >> STELE_POSITION_COUNTER_BITS;
    return ((int64_t)ms + STELE_EPOCH_MS) * 1000;
}

bool stele_order_is_decision(int outcome)
{
    /* These three follow from the command and what is stored; other errors from this machine. */
    return (outcome >= 0 && outcome < STELE_STORE_ROLL) || outcome == STELE_STORE_STALE ||
           outcome == STELE_E_ID_CONFLICT || outcome == STELE_E_INVALID || outcome == STELE_E_LIMIT;
}

uint64_t stele_store_ordered(const struct stele_store *store)
{
    return stele_log_stamp(store->log);
}

uint64_t stele_store_ordered_durable(const struct stele_store *store)
{
    return stele_log_stamp_durable(store->log);
}

uint64_t stele_store_ordered_synced(const struct stele_store *store)
{
    return stele_log_stamp_synced(store->log);
}

bool stele_store_is_ordered(const struct stele_store *store)
{
    return store->superblock.ordered;
}

int stele_store__check_order(const struct stele_store *store, struct stele_error *err)
{
    if (!store->superblock.ordered) {
        return stele_fail(err, STELE_E_UNSUPPORTED, 0, "the store is no node's of a cluster");
    }
    return stele_store_is_catching_up(store)
               ? stele_fail(err, STELE_E_UNSUPPORTED, 0,
                            "the store is being copied from another node and not complete yet")
               : STELE_OK;
}

/* The first position above this one that is in the log; 0: none. */
static int position_after(const struct stele_store *store, uint64_t position,
                          uint64_t *out_position, struct stele_error *err)
{
    struct stele_log_reader reader;
    struct stele_log_cursor cursor;
    *out_position = 0;
    stele_log_reader_init(&reader, stele_log_view_acquire(store->log), store->alloc,
                          stele_log_durable(store->log));
    int outcome = stele_log_seek(&reader, position + 1, &cursor);
    while (outcome == STELE_OK && *out_position == 0) {
        struct stele_event event;
        size_t count = 0;
        outcome = stele_log_scan(&reader, &cursor, &event, NULL, 1, &count);
        if (outcome == STELE_OK && event.position > position) {
            *out_position = event.position;
        }
    }
    if (outcome == STELE_END) {
        *out_position = stele_log_staged_after(store->log, position);
        outcome = STELE_OK;
    } else if (outcome == STELE_E_CORRUPT) {
        outcome = stele_store__fail_damage(err, &reader.damage);
    }
    struct stele_log_view *view = reader.view;
    stele_log_reader_deinit(&reader);
    stele_log_view_release(view);
    return outcome;
}

int stele_store__check_seen(const struct stele_store *store, const struct stele_order *order,
                            struct stele_error *err)
{
    const uint64_t age = STELE_SEEN_AGE_MS
                         << (STELE_POSITION_COUNTER_BITS + STELE_POSITION_PARTITION_BITS);
    const uint64_t last = stele_log_position(store->log);
    if (last <= age || order->seen >= last - age) {
        return STELE_OK;
    }
    /* Long ago; but did anything happen between then and an hour ago? */
    uint64_t first = 0;
    const int outcome = position_after(store, order->seen, &first, err);
    if (outcome != STELE_OK || first == 0 || first >= last - age) {
        return outcome;
    }
    return stele_fail(err, STELE_STORE_STALE, 0,
                      "the command took longer than %llu minutes of the log's time",
                      (unsigned long long)(STELE_SEEN_AGE_MS / 60000));
}

/* ---- Soft delete ---- */

/* "$$" + stream, with its zero. */
static int metastream_name(const char *stream, char name[STELE_STREAM_NAME_SIZE_MAX + 3],
                           struct stele_error *err)
{
    const size_t size = stream == NULL ? 0 : strnlen(stream, STELE_STREAM_NAME_SIZE_MAX + 1);
    if (size > STELE_STREAM_NAME_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "the stream's name is longer than %d bytes",
                          STELE_STREAM_NAME_SIZE_MAX);
    }
    if (size == 0 || strncmp(stream, "$$", 2) == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "delete: the name is empty, or metadata's");
    }
    memcpy(name, "$$", 2);
    memcpy(name + 2, stream, size + 1);
    return STELE_OK;
}

static int prepare_delete(struct stele_store *store, struct stele_prepared *prepared,
                          const char *stream, uint64_t expected, const uint8_t id[16],
                          uint64_t stamp, struct stele_append_result *out_result,
                          struct stele_error *err)
{
    char name[STELE_STREAM_NAME_SIZE_MAX + 3];
    struct stele_buf json = {.data = NULL};
    uint64_t meta_expected = 0;
    int outcome = metastream_name(stream, name, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = stele_store_delete_metadata(store, stream, expected, &json, &meta_expected,
                                          out_result, err);
    if (outcome == STELE_OK) {
        struct stele_event_draft draft = {
            .type = "$metadata", .data = json.data, .data_size = json.size};
        memcpy(draft.id, id, sizeof draft.id);
        const struct stele_append parts[] = {
            {.stream = name, .expected = meta_expected, .events = &draft, .count = 1},
            {.stream = stream, .expected = expected},
        };
        outcome = stele_prepare_at(prepared, parts, 2, NULL, 0, stamp, err);
    }
    stele_buf_deinit(&json, store->alloc);
    return outcome;
}

int stele_store_delete_at(struct stele_store *store, struct stele_prepared *prepared,
                          const char *stream, uint64_t expected, const uint8_t id[16],
                          const struct stele_order *order, struct stele_ticket *out_ticket,
                          struct stele_append_result *out_result, struct stele_error *err)
{
    *out_result = (struct stele_append_result){.failed = 0};
    out_ticket->place = stele_log_end(store->log);
    int outcome = stele_store__check_order(store, err);
    if (outcome == STELE_OK) {
        outcome = stele_store_check_index(store, err);
    }
    if (outcome == STELE_OK) {
        outcome =
            prepare_delete(store, prepared, stream, expected, id, order->stamp, out_result, err);
    }
    if (outcome != STELE_OK) {
        return outcome == STELE_INCOMPLETE ? STELE_STORE_INDEX : outcome;
    }
    return stele_store_append_at(store, prepared, order, out_ticket, NULL, out_result, err);
}
