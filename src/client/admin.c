/* Streams, metadata, deletion, and looking after a store. */
#include "client/client.h"
#include "client/remote.h"

#include <time.h>

/* ---- Streams ---- */

int stele_stream_info(struct stele *store, const char *stream, struct stele_stream_info *out_info,
                      struct stele_error *err)
{
    int outcome = stele_client__enter(store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (stream == NULL || out_info == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "the stream's name, or the place for the answer, is NULL");
    }
    if (store->far != NULL) {
        return stele_remote_stream_info(store->far, stream, out_info, err);
    }
    (void)pthread_mutex_lock(&store->lock);
    outcome = stele_client__follow(store, err);
    if (outcome == STELE_OK) {
        outcome = stele_store_stream_info(store->core, stream, stele_client__now_us(store),
                                          out_info, err);
    }
    (void)pthread_mutex_unlock(&store->lock);
    return outcome;
}

/* Under the lock. Calls a function of the core until no hole of the index is in its way. */
#define UNTIL_INDEXED(outcome, call)                                                               \
    do {                                                                                           \
        (outcome) = (call);                                                                        \
        if ((outcome) == STELE_STORE_INDEX || (outcome) == STELE_INCOMPLETE) {                     \
            (outcome) = stele_client__wait_index(store, err);                                      \
            if ((outcome) == STELE_OK) {                                                           \
                continue;                                                                          \
            }                                                                                      \
        }                                                                                          \
        break;                                                                                     \
    } while (true)

int stele_list(struct stele *store, int what, const char *prefix, const char *after, uint64_t limit,
               stele_name_callback on_name, void *context, struct stele_error *err)
{
    struct stele_list *list = NULL;
    int outcome = stele_client__enter(store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (store->far != NULL) {
        return stele_remote_list(store->far, what, prefix, after, limit, on_name, context, err);
    }
    if (on_name == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "list: the callback is NULL");
    }
    (void)pthread_mutex_lock(&store->lock);
    outcome = stele_client__follow(store, err);
    if (outcome == STELE_OK) {
        UNTIL_INDEXED(outcome, stele_list_begin(store->core, what, prefix, after,
                                                stele_client__now_us(store), &list, err));
    }
    (void)pthread_mutex_unlock(&store->lock);
    if (outcome != STELE_OK) {
        return outcome;
    }
    for (uint64_t told = 0; limit == 0 || told < limit; told++) {
        struct stele_text name;
        uint64_t count = 0;
        outcome = stele_list_next(list, &name, &count, err);
        if (outcome != STELE_OK || on_name(context, name, count) != 0) {
            break;
        }
    }
    (void)pthread_mutex_lock(&store->lock);
    stele_list_end(store->core, list);
    (void)pthread_mutex_unlock(&store->lock);
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* ---- Metadata and deletion ---- */

/* "$$" + name, in memory of the caller's. */
static int metastream_name(const char *stream, char buffer[STELE_STREAM_NAME_SIZE_MAX + 3],
                           struct stele_error *err)
{
    const size_t size = stream == NULL ? 0 : strnlen(stream, STELE_STREAM_NAME_SIZE_MAX + 1);
    if (size == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "the stream's name is empty");
    }
    if (size > STELE_STREAM_NAME_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "the stream's name is longer than %d bytes",
                          STELE_STREAM_NAME_SIZE_MAX);
    }
    if (strncmp(stream, "$$", 2) == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s is metadata itself and has none", stream);
    }
    memcpy(buffer, "$$", 2);
    memcpy(buffer + 2, stream, size + 1);
    return STELE_OK;
}

int stele_set_metadata(struct stele *store, const char *stream, uint64_t expected, const char *json,
                       size_t json_size, struct stele_append_result *out_result,
                       struct stele_error *err)
{
    char name[STELE_STREAM_NAME_SIZE_MAX + 3];
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK) {
        outcome = metastream_name(stream, name, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_event_draft draft = {
        .type = "$metadata", .data = json, .data_size = json_size};
    if (store->far != NULL) {
        const struct stele_append append = {
            .stream = name, .expected = expected, .events = &draft, .count = 1};
        outcome = stele_store_check_append(&append, 1, NULL, 0, err);
        return outcome == STELE_OK ? stele_remote_set_metadata(store->far, stream, expected, json,
                                                               json_size, out_result, err)
                                   : outcome;
    }
    return stele_append(store, name, expected, &draft, 1, out_result, err);
}

int stele_get_metadata(struct stele *store, const char *stream, char *buffer, size_t buffer_size,
                       size_t *out_size, uint64_t *out_revision, struct stele_error *err)
{
    char name[STELE_STREAM_NAME_SIZE_MAX + 3];
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK) {
        outcome = metastream_name(stream, name, err);
    }
    if (outcome == STELE_OK && (out_size == NULL || (buffer == NULL && buffer_size > 0))) {
        outcome = stele_fail(err, STELE_E_INVALID, 0, "metadata: no place for the answer");
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (store->far != NULL) {
        return stele_remote_get_metadata(store->far, stream, buffer, buffer_size, out_size,
                                         out_revision, err);
    }
    struct stele_buf json = {.data = NULL};
    uint64_t revision = 0;
    (void)pthread_mutex_lock(&store->lock);
    outcome = stele_client__follow(store, err);
    if (outcome == STELE_OK) {
        UNTIL_INDEXED(outcome, stele_store_metadata(store->core, stream, &json, &revision, err));
    }
    (void)pthread_mutex_unlock(&store->lock);
    if (outcome == STELE_OK) {
        const size_t fits = json.size < buffer_size ? json.size : buffer_size;
        if (fits > 0) {
            memcpy(buffer, json.data, fits);
        }
        *out_size = json.size;
        if (out_revision != NULL) {
            *out_revision = revision;
        }
    } else if (outcome == STELE_NOT_FOUND) {
        outcome = stele_fail(err, STELE_NOT_FOUND, 0, "stream %s has no metadata", stream);
    }
    stele_buf_deinit(&json, store->alloc);
    return outcome;
}

int stele_delete(struct stele *store, const char *stream, uint64_t expected,
                 struct stele_append_result *out_result, struct stele_error *err)
{
    char name[STELE_STREAM_NAME_SIZE_MAX + 3];
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK) {
        outcome = metastream_name(stream, name, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (store->far != NULL) {
        return stele_remote_delete(store->far, stream, expected, false, out_result, err);
    }
    /* The metadata may change between looking and writing: then look again. An event that is
     * appended between stays, as if it had been appended after the delete, unless the caller
     * expected a revision, which is then no longer the one. */
    struct stele_append_result result = {.failed = 0};
    do {
        struct stele_buf json = {.data = NULL};
        uint64_t meta_expected = 0;
        (void)pthread_mutex_lock(&store->lock);
        UNTIL_INDEXED(outcome, stele_store_delete_metadata(store->core, stream, expected, &json,
                                                           &meta_expected, &result, err));
        (void)pthread_mutex_unlock(&store->lock);
        if (outcome == STELE_OK) {
            const struct stele_event_draft draft = {
                .type = "$metadata", .data = json.data, .data_size = json.size};
            const struct stele_append parts[] = {
                {.stream = name, .expected = meta_expected, .events = &draft, .count = 1},
                {.stream = stream, .expected = expected},
            };
            outcome = stele_append_many(store, parts, 2, NULL, 0, NULL, &result, err);
        }
        stele_buf_deinit(&json, store->alloc);
    } while (outcome == STELE_WRONG_REVISION && result.failed == 0 && expected == STELE_EXPECT_ANY);
    if (out_result != NULL && outcome >= 0) {
        *out_result = result;
    }
    return outcome;
}

int stele_tombstone(struct stele *store, const char *stream, uint64_t expected,
                    struct stele_append_result *out_result, struct stele_error *err)
{
    int outcome = stele_client__enter(store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (store->far != NULL) {
        return stele_remote_delete(store->far, stream, expected, true, out_result, err);
    }
    struct stele_prepared *prepared = NULL;
    outcome = stele_client__prepared_acquire(store, &prepared, err);
    if (outcome == STELE_OK) {
        outcome =
            stele_prepare_tombstone(prepared, stream, expected, stele_client__now_us(store), err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_client__append(store, prepared, NULL, out_result, err);
    }
    stele_client__prepared_release(store, prepared);
    return outcome;
}

/* ---- Looking after a store ---- */

int stele_stats(struct stele *store, struct stele_stats *out_stats, struct stele_error *err)
{
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK && out_stats == NULL) {
        outcome = stele_fail(err, STELE_E_INVALID, 0, "stats: no place for the answer");
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (store->far != NULL) {
        return stele_remote_stats(store->far, out_stats, err);
    }
    (void)pthread_mutex_lock(&store->lock);
    outcome = stele_client__follow(store, err);
    stele_store_stats(store->core, out_stats);
    (void)pthread_mutex_unlock(&store->lock);
    out_stats->memory = stele_linux_alloc_used(store->alloc);
    return outcome;
}

int stele_damages(struct stele *store, stele_damage_callback on_damage, void *context)
{
    int outcome = stele_client__enter(store, NULL);
    if (outcome != STELE_OK || on_damage == NULL) {
        return outcome != STELE_OK ? outcome : STELE_E_INVALID;
    }
    if (store->far != NULL) {
        return STELE_E_UNSUPPORTED /* They lie with the server: ask it to verify. */;
    }
    (void)pthread_mutex_lock(&store->lock);
    outcome = stele_store_damages(store->core, on_damage, context);
    (void)pthread_mutex_unlock(&store->lock);
    return outcome;
}

/* Slows the packing down to so many bytes a second, and passes its progress on. */
struct throttle {
    uint64_t bytes_per_second;
    uint64_t bytes;
    struct timespec begin;
    stele_progress_callback on_progress;
    void *context;
    uint64_t total;
};

static int on_scavenged_bytes(void *context, uint64_t bytes)
{
    struct throttle *throttle = context;
    throttle->bytes += bytes;
    if (throttle->bytes_per_second > 0) {
        struct timespec now;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        const double elapsed = (double)(now.tv_sec - throttle->begin.tv_sec) +
                               (double)(now.tv_nsec - throttle->begin.tv_nsec) / 1e9;
        const double due = (double)throttle->bytes / (double)throttle->bytes_per_second;
        if (due > elapsed) {
            const double pause = due - elapsed;
            const struct timespec sleep = {
                .tv_sec = (time_t)pause, .tv_nsec = (long)((pause - (double)(time_t)pause) * 1e9)};
            (void)nanosleep(&sleep, NULL);
        }
    }
    return throttle->on_progress == NULL
               ? 0
               : throttle->on_progress(throttle->context, throttle->bytes, throttle->total);
}

static int scavenge_step(struct stele *store, uint64_t *base, struct throttle *throttle,
                         struct stele_scavenge_result *result, struct stele_error *err)
{
    struct stele_work *work = NULL;
    int outcome = STELE_OK;
    UNTIL_INDEXED(outcome, stele_scavenge_begin(store->core, *base, store->options.compress != 0,
                                                stele_client__now_us(store), on_scavenged_bytes,
                                                throttle, &work, err));
    if (outcome != STELE_OK) {
        return outcome;
    }
    (void)pthread_mutex_unlock(&store->lock);
    outcome = stele_work_run(work, err);
    (void)pthread_mutex_lock(&store->lock);
    struct stele_log_pack_result packed;
    const uint64_t before = *base;
    outcome = stele_scavenge_end(store->core, work, outcome, base, &packed, err);
    if (outcome == STELE_OK && *base != before) {
        result->segments++;
        result->segments_rewritten += packed.changed ? 1 : 0;
        result->events_removed += packed.changed ? packed.events_removed : 0;
        result->bytes_before += packed.changed ? packed.bytes_before : 0;
        result->bytes_after += packed.changed ? packed.bytes_after : 0;
    }
    return outcome;
}

/* Copies what a caller gave, who may have been compiled with an older, shorter struct, over the
 * defaults. */
static int read_options(void *out, size_t size, const void *given, struct stele_error *err)
{
    size_t given_size = 0;
    if (given == NULL) {
        return STELE_OK;
    }
    memcpy(&given_size, given, sizeof given_size);
    if (given_size < sizeof given_size || given_size > size) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "the options were not initialised with STELE_…_OPTIONS_INIT");
    }
    memcpy(out, given, given_size);
    return STELE_OK;
}

int stele_scavenge(struct stele *store, const struct stele_scavenge_options *given,
                   struct stele_scavenge_result *out_result, struct stele_error *err)
{
    struct stele_scavenge_options options = STELE_SCAVENGE_OPTIONS_INIT;
    struct stele_stats stats;
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK) {
        outcome = read_options(&options, sizeof options, given, err);
    }
    if (outcome == STELE_OK && store->far != NULL) {
        return stele_remote_scavenge(store->far, &options, out_result, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_stats(store, &stats, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct throttle throttle = {
        .total = stats.log_size,
        .bytes_per_second = options.bytes_per_second,
        .on_progress = options.on_progress,
        .context = options.context,
    };
    (void)clock_gettime(CLOCK_MONOTONIC, &throttle.begin);
    struct stele_scavenge_result result = {.segments = 0};
    uint64_t base = 0;
    (void)pthread_mutex_lock(&store->lock);
    if (store->scavenging) {
        /* Two of them would share one list of what is to be removed. */
        outcome = stele_fail(err, STELE_E_OVERLOADED, 0,
                             "another scavenging is under way; wait for its end");
        (void)pthread_mutex_unlock(&store->lock);
        return outcome;
    }
    store->scavenging = true;
    while (outcome == STELE_OK && !store->closing) {
        outcome = scavenge_step(store, &base, &throttle, &result, err);
        if (outcome == STELE_E_OVERLOADED) {
            /* A segment is being compressed in the background, which ends by itself. */
            outcome = stele_client__wait_index(store, err);
        }
    }
    store->scavenging = false;
    (void)pthread_mutex_unlock(&store->lock);
    if (outcome == STELE_NOT_FOUND) {
        outcome = STELE_OK;
    }
    if (out_result != NULL) {
        *out_result = result;
    }
    return outcome;
}

static int run_verify(struct stele *store, const struct stele_verify_options *options,
                      bool digest_only, struct stele_verify_result *out_result,
                      struct stele_error *err)
{
    int outcome = stele_client__enter(store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_verify *verify = NULL;
    (void)pthread_mutex_lock(&store->lock);
    outcome = stele_client__follow(store, err);
    if (outcome == STELE_OK) {
        outcome = stele_verify_begin(store->core, options->against, options->on_damage,
                                     options->context, digest_only, &verify, err);
    }
    (void)pthread_mutex_unlock(&store->lock);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_verify_result result = {.frames = 0};
    while (outcome == STELE_OK) {
        uint64_t done = 0;
        uint64_t total = 0;
        outcome = stele_verify_step(verify, &done, &total, &result, err);
        if (options->on_progress != NULL &&
            options->on_progress(options->context, done, total) != 0 && outcome == STELE_OK) {
            outcome = stele_fail(err, STELE_E_CLOSED, 0, "verify: stopped by its caller");
        }
    }
    (void)pthread_mutex_lock(&store->lock);
    stele_verify_end(store->core, verify);
    (void)pthread_mutex_unlock(&store->lock);
    if (outcome != STELE_END) {
        return outcome;
    }
    if (out_result != NULL) {
        *out_result = result;
    }
    return result.damages == 0
               ? STELE_OK
               : stele_fail(err, STELE_E_CORRUPT, 0, "verify found %llu damaged places",
                            (unsigned long long)result.damages);
}

int stele_verify(struct stele *store, const struct stele_verify_options *given,
                 struct stele_verify_result *out_result, struct stele_error *err)
{
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK) {
        outcome = read_options(&options, sizeof options, given, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    return store->far != NULL ? stele_remote_verify(store->far, &options, out_result, err)
                              : run_verify(store, &options, false, out_result, err);
}

int stele_digest(struct stele *store, char digest[STELE_DIGEST_SIZE], struct stele_error *err)
{
    const struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    struct stele_verify_result result = {.frames = 0};
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK && digest == NULL) {
        outcome = stele_fail(err, STELE_E_INVALID, 0, "digest: no place for it");
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (store->far != NULL) {
        return stele_remote_digest(store->far, digest, err);
    }
    outcome = run_verify(store, &options, true, &result, err);
    if (outcome == STELE_OK) {
        memcpy(digest, result.digest, STELE_DIGEST_SIZE);
    }
    return outcome;
}
