/* A sink on Redis: transactions.
 *
 * A transaction is gathered here and executed by one call of one script, which applies the events, parks
 * and moves the checkpoint: all of it or nothing (redis_begin.lua says how). The script compares position
 * and generation with what this lane read, so several runs do no harm; and it keeps the nonce of the
 * last transaction, so that one whose answer was lost can be sent again. */
#include "sinks/redis.h"

#include "base/text.h"
#include "io/linux.h"

#include <stele/sinks.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The server does nothing else while it works on a transaction. */
#define EVENTS_MAX 1000u
#define BYTES_MAX ((size_t)4 << 20)
/* What a switch of builds may find on top. */
#define BYTES_LAST_MAX ((size_t)256 << 20)

const char *stele_sinks__redis_text(const redisReply *reply, size_t index)
{
    if (reply->type != REDIS_REPLY_ARRAY || index >= reply->elements ||
        reply->element[index]->str == NULL) {
        return "";
    }
    return reply->element[index]->str;
}

uint64_t stele_sinks__redis_number(const char *text)
{
    return strtoull(text, NULL, 10);
}

/* ---- What a transaction holds ---- */

static void empty(struct stele_sinks_redis *sink)
{
    struct stele_sinks_redis_batch *const batch = &sink->batch;
    stele_arena_reset(&batch->arena, sink->alloc);
    batch->words.size = batch->sizes.size = 0;
    batch->bytes = batch->events = 0;
    batch->applied = 0;
    batch->bump = batch->open = false;
}

/* keep: bytes lives no longer than this call. */
static int put(struct stele_sinks_redis *sink, const void *bytes, size_t size, bool keep)
{
    struct stele_sinks_redis_batch *const batch = &sink->batch;
    const char *word = bytes;
    if (keep && size > 0) {
        char *const copy = stele_arena_allocate(&batch->arena, sink->alloc, size);
        if (copy == NULL) {
            return STELE_E_NO_MEMORY;
        }
        memcpy(copy, bytes, size);
        word = copy;
    }
    word = size > 0 ? word : "";
    batch->bytes += size;
    const int outcome =
        stele_buf_append(&batch->words, sink->alloc,
                         (struct stele_bytes){.data = (const uint8_t *)&word, .size = sizeof word});
    return outcome == STELE_OK
               ? stele_buf_append(
                     &batch->sizes, sink->alloc,
                     (struct stele_bytes){.data = (const uint8_t *)&size, .size = sizeof size})
               : outcome;
}

static int put_number(struct stele_sinks_redis *sink, uint64_t number)
{
    char text[STELE_SINKS_REDIS_NUMBER_SIZE];
    const int size = snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    return put(sink, text, (size_t)size, true);
}

/* What an item says; what is NULL or 0 does not matter to its kind. */
struct item {
    const char *kind;
    struct stele_text stream, type;
    uint64_t revision, position;
    const struct stele_event *event;
    const char *last; /* The reason, or in an event that is parked the attempts. */
    const char *created;
};

static int put_item(struct stele_sinks_redis *sink, const struct item *item)
{
    const struct stele_event *const event = item->event;
    char id[37] = "";
    if (event != NULL) {
        stele_id_to_text(event->id, id);
    }
    const struct {
        const void *bytes;
        size_t size;
        bool keep;
    } words[] = {
        {item->kind, 1, false},
        {item->stream.data, item->stream.size, true},
        {NULL, 0, false}, /* revision */
        {NULL, 0, false}, /* position */
        {item->type.data, item->type.size, true},
        {item->created, strlen(item->created), true},
        {id, strlen(id), true},
        {event != NULL && (event->flags & STELE_EVENT_JSON) != 0 ? "1" : "0", 1, false},
        {event != NULL ? event->data : NULL, event != NULL ? event->data_size : 0, true},
        {event != NULL ? event->metadata : NULL, event != NULL ? event->metadata_size : 0, true},
        {item->last, strlen(item->last), true},
    };
    int outcome = STELE_OK;
    STELE_ASSERT(sink->batch.open);
    for (size_t i = 0; i < STELE_COUNT_OF(words) && outcome == STELE_OK; i++) {
        outcome = i == 2   ? put_number(sink, item->revision)
                  : i == 3 ? put_number(sink, item->position)
                           : put(sink, words[i].bytes, words[i].size, words[i].keep);
    }
    return outcome;
}

static int no_memory(const struct stele_sinks_redis *sink, int outcome, struct stele_error *err)
{
    return outcome == STELE_OK
               ? STELE_OK
               : stele_fail(err, outcome, 0, "projection %s: no memory", sink->projection->name);
}

static int begin(struct stele_sink *base, uint32_t lane, struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    (void)lane;
    (void)err;
    empty(sink);
    sink->batch.open = true;
    return STELE_OK;
}

static void rollback(struct stele_sink *base, uint32_t lane)
{
    (void)lane;
    empty(stele_sinks__redis_of(base));
}

static bool is_full(const struct stele_sink *base, uint32_t lane)
{
    const struct stele_sinks_redis *const sink = (const void *)base;
    (void)lane;
    return sink->batch.events >= EVENTS_MAX || sink->batch.bytes >= BYTES_MAX;
}

static int apply(struct stele_sink *base, uint32_t lane, const struct stele_event *event,
                 bool replay, uint64_t *out_culprit, struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    char created[STELE_TIME_SIZE] = "";
    (void)lane;
    (void)out_culprit;
    if (sink->batch.bytes > BYTES_LAST_MAX) {
        return stele_fail(err, STELE_E_OVERLOADED, 0, "projection %s: too much at once",
                          sink->projection->name);
    }
    if (!stele_time_format(event->created_us, 6, created)) {
        created[0] = '\0';
    }
    const struct item item = {.kind = replay ? "r" : "a",
                              .stream = event->stream,
                              .type = event->type,
                              .revision = event->revision,
                              .position = event->position,
                              .event = event,
                              .last = "",
                              .created = created};
    sink->batch.events++;
    return no_memory(sink, put_item(sink, &item), err);
}

static int park(struct stele_sink *base, uint32_t lane, const struct stele_event *event,
                const char *reason, struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    (void)lane;
    const struct item item = {.kind = "p",
                              .stream = event->stream,
                              .type = event->type,
                              .revision = event->revision,
                              .position = event->position,
                              .created = reason != NULL ? "1" : "0",
                              .last = reason != NULL ? reason : ""};
    sink->batch.events++;
    return no_memory(sink, put_item(sink, &item), err);
}

/* ---- Executing ---- */

static int call_script(struct stele_sinks_redis *sink, const char *const *words,
                       const size_t *sizes, size_t count, redisReply **out_reply,
                       struct stele_error *err)
{
    int outcome = stele_sinks_redis_ask(&sink->link, count, words, sizes, out_reply, err);
    if (outcome != STELE_NOT_FOUND) {
        return outcome;
    }
    /* The server was started anew, or its scripts were flushed. */
    const char *const load[] = {"SCRIPT", "LOAD", (const char *)sink->script.data, NULL};
    outcome = stele_sinks_redis_tell(&sink->link, load, out_reply, err);
    if (outcome == STELE_OK) {
        freeReplyObject(*out_reply);
        outcome = stele_sinks_redis_ask(&sink->link, count, words, sizes, out_reply, err);
    }
    return outcome == STELE_NOT_FOUND ? STELE_E_OVERLOADED : outcome;
}

/* What the script says. */
static int judge(struct stele_sinks_redis *sink, const redisReply *reply, bool ends,
                 uint64_t *out_culprit, struct stele_error *err)
{
    const char *const what = stele_sinks__redis_text(reply, 0);
    const char *const name = sink->projection->name;
    if (strcmp(what, "ok") == 0 || strcmp(what, "done") == 0) {
        (void)snprintf(sink->generation, sizeof sink->generation, "%.20s",
                       stele_sinks__redis_text(reply, 1));
        return STELE_OK;
    }
    if (strcmp(what, "refused") == 0) {
        char words[400];
        stele_sinks__redis_name_lines(sink, stele_sinks__redis_text(reply, 3), words, sizeof words);
        *out_culprit = stele_sinks__redis_number(stele_sinks__redis_text(reply, 2));
        return stele_fail(err, STELE_E_INVALID, 0, "%s", words);
    }
    if (strcmp(what, "moved") == 0) {
        return stele_fail(err, STELE_E_OVERLOADED, 0, "projection %s: the live build has moved on",
                          name);
    }
    if (ends && strcmp(what, "fenced") == 0) {
        (void)snprintf(sink->generation, sizeof sink->generation, "%.20s",
                       stele_sinks__redis_text(reply, 1));
        return stele_fail(err, STELE_E_OVERLOADED, 0, "projection %s: somebody else retries", name);
    }
    return stele_fail(err, STELE_E_FENCED, 0, "projection %s: another process has moved it", name);
}

static int execute(struct stele_sinks_redis *sink, const char *mode, uint64_t from, uint64_t to,
                   uint64_t applied, uint64_t *out_culprit, struct stele_error *err)
{
    struct stele_sinks_redis_batch *const batch = &sink->batch;
    char numbers[3][STELE_SINKS_REDIS_NUMBER_SIZE];
    char nonce[STELE_SINKS_REDIS_NONCE_SIZE];
    const uint64_t values[] = {from, to, applied};
    for (size_t i = 0; i < STELE_COUNT_OF(values); i++) {
        (void)snprintf(numbers[i], sizeof numbers[i], "%llu", (unsigned long long)values[i]);
    }
    (void)snprintf(nonce, sizeof nonce, "%s-%llu", sink->seed, (unsigned long long)++sink->nonces);
    const char *const head[] = {"EVALSHA",
                                sink->sha,
                                "1",
                                sink->books,
                                sink->prefix,
                                sink->build,
                                mode,
                                numbers[0],
                                numbers[1],
                                sink->generation,
                                numbers[2],
                                nonce,
                                batch->bump ? "1" : "0"};
    const size_t extra = batch->words.size / sizeof(char *);
    const size_t count = STELE_COUNT_OF(head) + extra;
    const char **const words =
        stele_arena_allocate(&batch->arena, sink->alloc, count * sizeof *words);
    size_t *const sizes = stele_arena_allocate(&batch->arena, sink->alloc, count * sizeof *sizes);
    if (words == NULL || sizes == NULL) {
        return no_memory(sink, STELE_E_NO_MEMORY, err);
    }
    for (size_t i = 0; i < STELE_COUNT_OF(head); i++) {
        words[i] = head[i];
        sizes[i] = strlen(head[i]);
    }
    if (extra > 0) {
        memcpy(words + STELE_COUNT_OF(head), batch->words.data, batch->words.size);
        memcpy(sizes + STELE_COUNT_OF(head), batch->sizes.data, batch->sizes.size);
    }
    redisReply *reply = NULL;
    *out_culprit = 0;
    int outcome = call_script(sink, words, sizes, count, &reply, err);
    if (outcome == STELE_E_INVALID) {
        /* Not of an event: those are told in an answer. */
        return stele_fail(err, STELE_E_IO, 0, "%.200s: %.250s", sink->link.shown,
                          err != NULL ? err->message : "");
    }
    if (outcome == STELE_OK) {
        outcome = judge(sink, reply, mode[0] == 'e', out_culprit, err);
        freeReplyObject(reply);
    }
    if (outcome == STELE_OK) {
        empty(sink);
    }
    return outcome;
}

static int commit(struct stele_sink *base, uint32_t lane, uint64_t from, uint64_t to,
                  uint64_t applied, uint64_t *out_culprit, struct stele_error *err)
{
    (void)lane;
    return execute(stele_sinks__redis_of(base), "commit", from, to, applied, out_culprit, err);
}

static int end(struct stele_sink *base, uint64_t *out_culprit, struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    return execute(sink, "end", 0, 0, sink->batch.applied, out_culprit, err);
}

static int switch_over(struct stele_sink *base, const uint64_t *positions, uint64_t applied,
                       struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    uint64_t culprit = 0;
    const int outcome = execute(sink, "switch", 0, positions[0], applied, &culprit, err);
    if (outcome == STELE_OK) {
        /* What is left of the old build goes at the next opportunity, if not at this one. */
        (void)stele_sinks__redis_clean(sink, sink->prefix, false, NULL);
    }
    return outcome;
}

/* ---- Looking ---- */

static int get_fields(struct stele_sinks_redis *sink, const char *build, redisReply **out_reply,
                      struct stele_error *err)
{
    char names[3][STELE_SINKS_REDIS_NUMBER_SIZE + 16];
    (void)snprintf(names[0], sizeof names[0], "%s/position", build);
    (void)snprintf(names[1], sizeof names[1], "%s/effects", build);
    (void)snprintf(names[2], sizeof names[2], "%s/generation", build);
    const char *const words[] = {"HMGET", sink->books, names[0], names[1], names[2], NULL};
    return stele_sinks_redis_tell(&sink->link, words, out_reply, err);
}

static int reload(struct stele_sink *base, uint32_t lane, struct stele_sink_lane *out_lane,
                  struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    redisReply *reply = NULL;
    (void)lane;
    int outcome = get_fields(sink, sink->build, &reply, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (stele_sinks__redis_text(reply, 0)[0] == '\0') {
        outcome = stele_fail(err, STELE_NOT_FOUND, 0, "projection %s: build %s is gone",
                             sink->projection->name, sink->build);
    } else {
        out_lane->position = stele_sinks__redis_number(stele_sinks__redis_text(reply, 0));
        out_lane->effects_after = stele_sinks__redis_number(stele_sinks__redis_text(reply, 1));
        (void)snprintf(sink->generation, sizeof sink->generation, "%.20s",
                       stele_sinks__redis_text(reply, 2));
    }
    freeReplyObject(reply);
    return outcome;
}

static int parked_streams(struct stele_sink *base, uint32_t lane,
                          stele_sink_stream_callback on_stream, void *context,
                          struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    char key[STELE_SINKS_REDIS_BASE_SIZE + 40];
    redisReply *reply = NULL;
    struct stele_text last = {.data = ""};
    (void)lane;
    (void)snprintf(key, sizeof key, "%s%s!parked", sink->prefix, sink->build);
    const char *const words[] = {"ZRANGE", key, "0", "-1", NULL};
    int outcome = stele_sinks_redis_tell(&sink->link, words, &reply, err);
    for (size_t i = 0; outcome == STELE_OK && i < reply->elements; i++) {
        const char *const member = stele_sinks__redis_text(reply, i);
        const struct stele_text stream = {.data = member, .size = strcspn(member, "\1")};
        if (stream.size != last.size || memcmp(stream.data, last.data, last.size) != 0) {
            outcome = on_stream(context, stream);
        }
        last = stream;
    }
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return outcome;
}

static int live(struct stele_sink *base, bool lock, uint64_t *out_positions,
                struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    const char *const ask[] = {"HGET", sink->books, "live", NULL};
    redisReply *reply = NULL;
    (void)lock; /* The switch looks again, in the script. */
    int outcome = stele_sinks_redis_tell(&sink->link, ask, &reply, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    char build[STELE_SINKS_REDIS_NUMBER_SIZE];
    (void)snprintf(build, sizeof build, "%.20s", reply->str != NULL ? reply->str : "");
    freeReplyObject(reply);
    outcome = get_fields(sink, build, &reply, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (stele_sinks__redis_text(reply, 0)[0] == '\0' || strcmp(build, sink->build) == 0) {
        outcome = stele_fail(err, STELE_E_FENCED, 0, "projection %s: another build has taken over",
                             sink->projection->name);
    } else {
        out_positions[0] = stele_sinks__redis_number(stele_sinks__redis_text(reply, 0));
    }
    freeReplyObject(reply);
    return outcome;
}

/* ---- Parked events ---- */

static int bump(struct stele_sink *base, struct stele_error *err)
{
    (void)err;
    stele_sinks__redis_of(base)->batch.bump = true;
    return STELE_OK;
}

static int first_parked(struct stele_sink *base, const char *stream, uint64_t *out_position,
                        struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    char key[STELE_SINKS_REDIS_BASE_SIZE + 40];
    char from[1100];
    char to[1100];
    redisReply *reply = NULL;
    (void)snprintf(key, sizeof key, "%s%s!parked", sink->prefix, sink->build);
    (void)snprintf(from, sizeof from, "[%.1024s\1", stream);
    (void)snprintf(to, sizeof to, "[%.1024s\2", stream);
    const char *const words[] = {"ZRANGEBYLEX", key, from, to, "LIMIT", "0", "1", NULL};
    int outcome = stele_sinks_redis_tell(&sink->link, words, &reply, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const char *const member = stele_sinks__redis_text(reply, 0);
    const char *const position = strchr(member, '\1');
    if (position != NULL) {
        *out_position = stele_sinks__redis_number(position + 1);
    } else {
        outcome = STELE_NOT_FOUND;
    }
    freeReplyObject(reply);
    return outcome;
}

static int unpark(struct stele_sink *base, uint64_t position, uint64_t applied,
                  struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    const struct item item = {.kind = "u", .position = position, .created = "", .last = ""};
    sink->batch.applied += applied;
    return no_memory(sink, put_item(sink, &item), err);
}

static int keep_parked(struct stele_sink *base, uint64_t position, const char *reason,
                       struct stele_error *err)
{
    const struct item item = {.kind = "k", .position = position, .created = "", .last = reason};
    return no_memory(stele_sinks__redis_of(base), put_item(stele_sinks__redis_of(base), &item),
                     err);
}

/* ---- Opening and closing ---- */

static void close_redis(struct stele_sink *base)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    stele_sinks__redis_detach(base);
    stele_arena_deinit(&sink->batch.arena, sink->alloc);
    stele_buf_deinit(&sink->batch.words, sink->alloc);
    stele_buf_deinit(&sink->batch.sizes, sink->alloc);
    stele_sinks_redis_link_close(&sink->link);
    stele_release(sink->alloc, sink, sizeof *sink);
}

static const struct stele_sink_ops redis_ops = {
    .attach = stele_sinks__redis_open_attached,
    .detach = stele_sinks__redis_detach,
    .begin = begin,
    .apply = apply,
    .is_full = is_full,
    .park = park,
    .commit = commit,
    .rollback = rollback,
    .reload = reload,
    .parked_streams = parked_streams,
    .live = live,
    .switch_over = switch_over,
    .bump = bump,
    .first_parked = first_parked,
    .unpark = unpark,
    .keep_parked = keep_parked,
    .end = end,
    .list = stele_sinks__redis_list,
    .parked = stele_sinks__redis_parked,
    .position = stele_sinks__redis_position,
    .drop = stele_sinks__redis_drop,
    .close = close_redis,
};

/* What memory pressure may throw away would be missing from a read model without a trace. */
static int check_server(struct stele_sinks_redis *sink, uint32_t flags, struct stele_error *err)
{
    const char *const memory[] = {"INFO", "memory", NULL};
    const char *const there[] = {"EXISTS", "stele:projections", NULL};
    redisReply *reply = NULL;
    int outcome = stele_sinks_redis_tell(&sink->link, memory, &reply, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const bool evicts = reply->str != NULL && strstr(reply->str, "maxmemory:0\r") == NULL &&
                        strstr(reply->str, "maxmemory_policy:allkeys") != NULL;
    freeReplyObject(reply);
    if (evicts) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "%.200s: this Redis may throw away keys of a read model when its memory "
                          "is full; set maxmemory-policy to noeviction",
                          sink->link.shown);
    }
    if ((flags & STELE_SINK_NEW) == 0) {
        return STELE_OK;
    }
    outcome = stele_sinks_redis_tell(&sink->link, there, &reply, err);
    if (outcome == STELE_OK) {
        const bool found = reply->integer != 0;
        freeReplyObject(reply);
        if (found) {
            outcome = stele_fail(err, STELE_CONDITION_FAILED, 0,
                                 "%.200s: there are projections in this database already; a fresh "
                                 "one is wanted",
                                 sink->link.shown);
        }
    }
    return outcome;
}

int stele_sinks_open_redis(const char *where, uint32_t flags, struct stele_sink **out_sink,
                           struct stele_error *err)
{
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct stele_sinks_redis *const sink = stele_allocate_zeroed(alloc, sizeof *sink);
    if (sink == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "open a sink: no memory");
    }
    sink->base.ops = &redis_ops;
    sink->alloc = alloc;
    int outcome = stele_sinks_redis_link_open(&sink->link, where, err);
    if (outcome == STELE_OK) {
        outcome = stele_sinks_seed(sink->seed, err);
    }
    if (outcome == STELE_OK) {
        outcome = check_server(sink, flags, err);
    }
    if (outcome != STELE_OK) {
        close_redis(&sink->base);
        return outcome;
    }
    *out_sink = &sink->base;
    return STELE_OK;
}
