/* Memory and runs together, and records wherever they lie. Everything here runs under the lock. */
#include "store/store_internal.h"

int stele_store__run_damaged(struct stele_store *store, const char *name)
{
    struct stele_log_damage damage = {.place = UINT64_MAX,
                                      .what = "damaged index run; it is rebuilt"};
    STELE_ASSERT(strlen(name) < sizeof damage.file);
    memcpy(damage.file, name, strlen(name) + 1);
    stele_store__note_damage(store, &damage);
    stele_index_drop_run(store->index, damage.file);
    return STELE_INCOMPLETE;
}

int stele_store__state(struct stele_store *store, const struct stele_index_key *key,
                       struct stele_index_state *out_state, struct stele_error *err)
{
    (void)err;
    if (!store->index_ready) {
        return STELE_INCOMPLETE;
    }
    int outcome = stele_index_mem_state(store->index, key, out_state);
    if (outcome == STELE_NOT_FOUND) {
        const char *damaged = NULL;
        struct stele_index_view *view = stele_index_view_acquire(store->index);
        outcome = stele_index_view_state(view, key, out_state, &damaged);
        if (outcome == STELE_E_CORRUPT) {
            outcome = stele_store__run_damaged(store, damaged);
        }
        stele_index_view_release(view);
    }
    /* An entry without events was made by an append that was not staged in the end. */
    return outcome == STELE_OK && out_state->next == 0 ? STELE_NOT_FOUND : outcome;
}

uint64_t stele_store__visible_end(const struct stele_store *store)
{
    const uint64_t durable = stele_log_durable(store->log);
    return durable < store->live_end ? durable : store->live_end;
}

void stele_store__only_visible(const struct stele_store *store, const struct stele_index_key *key,
                               struct stele_index_state *state)
{
    const uint64_t staged =
        stele_index_mem_lower_bound(store->index, key, stele_store__visible_end(store));
    if (staged < state->next) {
        state->next = staged;
        state->flags &= ~STELE_INDEX_TOMBSTONED; /* It is the last event, and not durable. */
    }
}

int stele_store__places(struct stele_store *store, const struct stele_index_key *key, uint64_t lo,
                        size_t max, uint64_t *places, size_t *out_count, struct stele_error *err)
{
    (void)err;
    uint64_t memory_lo = UINT64_MAX;
    const size_t in_memory = stele_index_mem_places(store->index, key, lo, max, places, &memory_lo);
    if (memory_lo <= lo) {
        *out_count = in_memory;
        return STELE_OK;
    }
    /* The runs answer below memory_lo. What memory wrote is written again by the next call. */
    const uint64_t wanted = memory_lo - lo < max ? memory_lo - lo : max;
    const char *damaged = NULL;
    struct stele_index_view *view = stele_index_view_acquire(store->index);
    int outcome =
        stele_index_view_places(view, key, lo, (size_t)wanted, places, out_count, &damaged);
    if (outcome == STELE_E_CORRUPT) {
        outcome = stele_store__run_damaged(store, damaged);
    }
    stele_index_view_release(view);
    return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
}

int stele_store__lower_bound(struct stele_store *store, const struct stele_index_key *key,
                             uint64_t place, uint64_t *out_ordinal, struct stele_error *err)
{
    (void)err;
    const char *damaged = NULL;
    struct stele_index_view *view = stele_index_view_acquire(store->index);
    int outcome = stele_index_view_lower_bound(view, key, place, out_ordinal, &damaged);
    if (outcome == STELE_E_CORRUPT) {
        outcome = stele_store__run_damaged(store, damaged);
    }
    stele_index_view_release(view);
    if (outcome == STELE_NOT_FOUND || (outcome == STELE_OK && *out_ordinal == UINT64_MAX)) {
        *out_ordinal = stele_index_mem_lower_bound(store->index, key, place);
        outcome = STELE_OK;
    }
    return outcome;
}

void stele_store__note_damage(struct stele_store *store, const struct stele_log_damage *damage)
{
    /* The same place again is the same damage: readers meet it every time they pass. */
    const uint64_t kept =
        store->damages_count < STELE_DAMAGES_KEPT ? store->damages_count : STELE_DAMAGES_KEPT;
    for (uint64_t i = 0; i < kept; i++) {
        if (store->damages[i].offset == damage->offset &&
            strcmp(store->damages[i].file, damage->file) == 0) {
            return;
        }
    }
    store->damages[store->damages_count % STELE_DAMAGES_KEPT] = *damage;
    store->damages_count++;
}

int stele_store__fail_damage(struct stele_error *err, const struct stele_log_damage *damage)
{
    return stele_fail(err, STELE_E_CORRUPT, 0,
                      "%s, offset %llu: %s; run `stele verify` and restore this file from a backup",
                      damage->file, (unsigned long long)damage->offset,
                      damage->what == NULL ? "damaged" : damage->what);
}

static void refresh_reader(struct stele_store *store)
{
    if (store->reader_stale) {
        stele_log_reader_deinit(&store->reader);
        stele_log_view_release(store->reader.view);
        stele_log_reader_init(&store->reader, stele_log_view_acquire(store->log), store->alloc,
                              UINT64_MAX);
        store->reader_stale = false;
    }
    store->reader.end = stele_log_durable(store->log);
}

int stele_store__event(struct stele_store *store, uint64_t place, struct stele_event *out_event,
                       struct stele_error *err)
{
    if (place == STELE_STORE__NO_PLACE) {
        return STELE_NOT_FOUND;
    }
    if (place >= stele_log_durable(store->log)) {
        const struct stele_bytes staged = stele_log_staged(store->log, place);
        STELE_ASSERT(staged.size > 0);
        size_t size = 0;
        return stele_record_decode_trusted(staged, out_event, &size);
    }
    refresh_reader(store);
    const int outcome = stele_log_read(&store->reader, place, out_event);
    if (outcome == STELE_E_CORRUPT) {
        stele_store__note_damage(store, &store->reader.damage);
        return stele_store__fail_damage(err, &store->reader.damage);
    }
    return outcome;
}

int stele_store__index_event(struct stele_store *store, uint64_t place,
                             const struct stele_event *event, struct stele_error *err)
{
    const uint64_t seed = store->superblock.seed;
    STELE_UNINITIALIZED struct stele_index_entry *tags[UINT8_MAX];
    struct stele_index_entry *stream = NULL;
    struct stele_index_entry *category = NULL;
    struct stele_index_entry *type = NULL;
    const struct stele_bytes name = stele_store__bytes(event->stream);
    struct stele_index_key key = stele_index_key(seed, STELE_SPACE_STREAM, name);
    int outcome = stele_index_reserve(store->index, 1, 3 + (size_t)event->tags_count);
    if (outcome == STELE_OK) {
        outcome = stele_index_entry(store->index, &key, &stream, err);
    }
    if (outcome == STELE_OK) {
        key = stele_index_key(seed, STELE_SPACE_CATEGORY, stele_store__category(name));
        outcome = stele_index_entry(store->index, &key, &category, err);
    }
    if (outcome == STELE_OK) {
        key = stele_index_key(seed, STELE_SPACE_TYPE, stele_store__bytes(event->type));
        outcome = stele_index_entry(store->index, &key, &type, err);
    }
    const uint8_t *tag = event->tags;
    for (uint32_t i = 0; i < event->tags_count && outcome == STELE_OK; i++) {
        key = stele_index_key(seed, STELE_SPACE_TAG,
                              (struct stele_bytes){.data = tag + 1, .size = tag[0]});
        outcome = stele_index_entry(store->index, &key, &tags[i], err);
        tag += 1 + tag[0];
    }
    if (outcome == STELE_E_CORRUPT) {
        return STELE_INCOMPLETE; /* A run is damaged, and a hole by now. The log is not. */
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (event->revision < stream->next) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "stream %.*s: revision %llu stands in the log twice; run `stele verify`",
                          (int)event->stream.size, event->stream.data,
                          (unsigned long long)event->revision);
    }
    /* Ahead: the events between are damaged, or were scavenged. */
    stream->next = event->revision;
    if ((event->flags & STELE_EVENT_TOMBSTONE) != 0) {
        stele_index_mark(stream, STELE_INDEX_TOMBSTONED);
    }
    stele_index_add(store->index, place, stele_index_id_hash(seed, event->id), stream, category,
                    type, tags, event->tags_count);
    store->tail_at = place + 1;
    return STELE_OK;
}
