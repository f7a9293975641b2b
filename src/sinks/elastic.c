/* A sink on Elasticsearch: bulk requests of documents whose versions are positions, then the checkpoint.
 *
 * The checkpoint is moved when every document is in: after a crash in between, documents are sent a second
 * time, and the server finds that it has them. So each event counts once in what readers see, although
 * it may be sent twice. Parked events stand in the document of the checkpoint and move with it. */
#include "sinks/elastic.h"

#include "io/linux.h"

#include <stele/sinks.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX 2000u
#define BYTES_MAX ((size_t)5 << 20)
#define PARKED_MAX 2000u
#define ITEM_TRIES_MAX 10
#define ITEM_AGAIN_FIRST_MS 50

/* ---- What a transaction holds ---- */

static void empty(struct stele_sinks_elastic *sink)
{
    sink->lines.size = sink->items.size = 0;
    json_decref(sink->changed);
    sink->changed = NULL;
    sink->applied = 0;
    sink->events = 0;
}

static int no_memory(const struct stele_sinks_elastic *sink, struct stele_error *err)
{
    return stele_fail(err, STELE_E_NO_MEMORY, 0, "projection %s: no memory",
                      sink->projection->name);
}

static int begin(struct stele_sink *base, uint32_t lane, struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    (void)lane;
    empty(sink);
    sink->changed = json_deep_copy(sink->build.json);
    return sink->changed != NULL ? STELE_OK : no_memory(sink, err);
}

static void rollback(struct stele_sink *base, uint32_t lane)
{
    (void)lane;
    empty(stele_sinks__elastic_of(base));
}

static bool is_full(const struct stele_sink *base, uint32_t lane)
{
    const struct stele_sinks_elastic *const sink = (const void *)base;
    (void)lane;
    return sink->events >= EVENTS_MAX || sink->lines.size >= BYTES_MAX;
}

static int apply(struct stele_sink *base, uint32_t lane, const struct stele_event *event,
                 bool replay, uint64_t *out_culprit, struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    struct stele_sinks_elastic_item item = {.begin = sink->lines.size, .position = event->position};
    size_t items = 0;
    (void)lane;
    int outcome = stele_sinks__elastic_docs_add(sink->docs, event, replay, sink->index, sink->alloc,
                                                &sink->lines, &items, err);
    if (outcome != STELE_OK) {
        *out_culprit = event->position;
        return outcome;
    }
    /* An item of a deletion is one line, any other two. */
    for (size_t i = 0; i < items && outcome == STELE_OK; i++) {
        const char *const from = (const char *)sink->lines.data + item.begin;
        const char *end = (const char *)memchr(from, '\n', sink->lines.size - item.begin) + 1;
        if (strncmp(from, "{\"index\"", 8) == 0) {
            end =
                (const char *)memchr(
                    end, '\n', sink->lines.size - (size_t)(end - (const char *)sink->lines.data)) +
                1;
        }
        item.end = (size_t)(end - (const char *)sink->lines.data);
        outcome = stele_buf_append(
            &sink->items, sink->alloc,
            (struct stele_bytes){.data = (const uint8_t *)&item, .size = sizeof item});
        item.begin = item.end;
    }
    sink->events++;
    return outcome == STELE_OK ? STELE_OK : no_memory(sink, err);
}

static int park(struct stele_sink *base, uint32_t lane, const struct stele_event *event,
                const char *reason, struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    json_t *const parked = json_object_get(sink->changed, "parked");
    char position[24];
    (void)lane;
    if (json_array_size(parked) >= PARKED_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "projection %s: %u events are parked; look at `stele project park list` "
                          "whether it is the projection that is wrong",
                          sink->projection->name, PARKED_MAX);
    }
    (void)snprintf(position, sizeof position, "%llu", (unsigned long long)event->position);
    json_t *const item =
        json_pack("{s:s, s:s%, s:I, s:s%, s:i, s:s}", "position", position, "stream",
                  event->stream.data, event->stream.size, "revision", (json_int_t)event->revision,
                  "type", event->type.data, event->type.size, "attempts", reason != NULL ? 1 : 0,
                  "reason", reason != NULL ? reason : "");
    sink->events++;
    return item != NULL && json_array_append_new(parked, item) == 0 ? STELE_OK
                                                                    : no_memory(sink, err);
}

/* ---- The bulk request ---- */

/* What the server says of one item. */
enum verdict { DONE, AGAIN, REFUSED };

static enum verdict judge(const json_t *answer, const char **out_words)
{
    const json_t *item = json_object_get(answer, "index");
    item = item != NULL ? item : json_object_get(answer, "delete");
    const json_int_t status = json_integer_value(json_object_get(item, "status"));
    const json_t *const error = json_object_get(item, "error");
    const char *const reason = json_string_value(json_object_get(error, "reason"));
    *out_words = reason != NULL ? reason : "the server refuses the document";
    /* 409: it has this version or a later one. 404: what is to be deleted is not there. */
    if ((status >= 200 && status < 300) || status == 409 || (status == 404 && error == NULL)) {
        return DONE;
    }
    return status == 429 || status == 503 || status == 0 ? AGAIN : REFUSED;
}

struct bulk {
    struct stele_sinks_elastic *sink;
    struct stele_sinks_elastic_item *items; /* Those that are not done. */
    size_t count;
    struct stele_buf body;
    uint64_t *out_culprit;
    struct stele_error *err;
};

static int make_body(struct bulk *bulk, size_t from, size_t count)
{
    int outcome = STELE_OK;
    bulk->body.size = 0;
    for (size_t i = from; i < from + count && outcome == STELE_OK; i++) {
        const struct stele_sinks_elastic_item *const item = &bulk->items[i];
        outcome =
            stele_buf_append(&bulk->body, bulk->sink->alloc,
                             (struct stele_bytes){.data = bulk->sink->lines.data + item->begin,
                                                  .size = item->end - item->begin});
    }
    return outcome == STELE_OK ? STELE_OK : no_memory(bulk->sink, bulk->err);
}

/* Keeps those items, from `from` on, that are to be sent again. */
static int look(struct bulk *bulk, size_t from, size_t count, const json_t *answer,
                size_t *inout_left)
{
    const json_t *const items = json_object_get(answer, "items");
    if (json_array_size(items) != count) {
        return stele_fail(bulk->err, STELE_E_IO, 0, "%.200s: its answer is none to a bulk request",
                          bulk->sink->link.shown);
    }
    for (size_t i = 0; i < count; i++) {
        const char *words = NULL;
        const enum verdict verdict = judge(json_array_get(items, i), &words);
        if (verdict == REFUSED) {
            *bulk->out_culprit = bulk->items[from + i].position;
            return stele_fail(bulk->err, STELE_E_INVALID, 0, "%.400s", words);
        }
        if (verdict == AGAIN) {
            bulk->items[(*inout_left)++] = bulk->items[from + i];
        }
    }
    return STELE_OK;
}

/* Sends `count` items; halves what is too large for the server. */
static int send_items(struct bulk *bulk, size_t from, size_t count, size_t *inout_left)
{
    long status = 0;
    json_t *answer = NULL;
    int outcome = make_body(bulk, from, count);
    if (outcome == STELE_OK) {
        outcome = stele_sinks__elastic_ask(&bulk->sink->link, "POST", "_bulk",
                                           (const char *)bulk->body.data, bulk->body.size, &status,
                                           &answer, bulk->err);
    }
    if (outcome == STELE_OK && status == 413 && count > 1) {
        json_decref(answer);
        outcome = send_items(bulk, from, count / 2, inout_left);
        return outcome == STELE_OK
                   ? send_items(bulk, from + count / 2, count - count / 2, inout_left)
                   : outcome;
    }
    if (outcome == STELE_OK && status == 413) {
        *bulk->out_culprit = bulk->items[from].position;
        outcome = stele_fail(bulk->err, STELE_E_INVALID, 0,
                             "its document is larger than the server takes (413)");
    } else if (outcome == STELE_OK && status != 200) {
        outcome = stele_sinks__elastic_refused(&bulk->sink->link, "bulk request", status, answer,
                                               bulk->err);
    } else if (outcome == STELE_OK) {
        outcome = look(bulk, from, count, answer, inout_left);
    }
    json_decref(answer);
    return outcome;
}

/* How many items, from `from` on, one request takes. */
static size_t some(const struct bulk *bulk, size_t from)
{
    size_t count = 1;
    size_t bytes = bulk->items[from].end - bulk->items[from].begin;
    while (from + count < bulk->count && bytes < BYTES_MAX) {
        bytes += bulk->items[from + count].end - bulk->items[from + count].begin;
        count++;
    }
    return count;
}

static int send_all(struct stele_sinks_elastic *sink, uint64_t *out_culprit,
                    struct stele_error *err)
{
    struct bulk bulk = {.sink = sink,
                        .items = (void *)sink->items.data,
                        .count = sink->items.size / sizeof(struct stele_sinks_elastic_item),
                        .out_culprit = out_culprit,
                        .err = err};
    unsigned wait_ms = ITEM_AGAIN_FIRST_MS;
    int outcome = STELE_OK;
    for (int i = 0; outcome == STELE_OK && bulk.count > 0; i++) {
        size_t left = 0;
        if (i == ITEM_TRIES_MAX) {
            outcome = stele_fail(err, STELE_E_OVERLOADED, 0,
                                 "%.200s: it has too much to do for %zu documents",
                                 sink->link.shown, bulk.count);
            break;
        }
        if (i > 0) {
            stele_sinks__elastic_pause(wait_ms);
            wait_ms = wait_ms < 1000 ? wait_ms * 2 : wait_ms;
        }
        for (size_t from = 0; from < bulk.count && outcome == STELE_OK;) {
            const size_t count = some(&bulk, from);
            outcome = send_items(&bulk, from, count, &left);
            from += count;
        }
        bulk.count = left;
    }
    stele_buf_deinit(&bulk.body, sink->alloc);
    return outcome;
}

/* ---- Ending a transaction ---- */

static int finish(struct stele_sinks_elastic *sink, uint64_t applied, uint64_t *out_culprit,
                  struct stele_error *err)
{
    int outcome = send_all(sink, out_culprit, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    stele_sinks__elastic_set(sink->changed, "events",
                             stele_sinks__elastic_number(sink->changed, "events") + applied);
    outcome = stele_sinks__elastic_write(sink, &sink->build, json_incref(sink->changed), err);
    if (outcome == STELE_OK) {
        empty(sink);
    }
    return outcome;
}

static int commit(struct stele_sink *base, uint32_t lane, uint64_t from, uint64_t to,
                  uint64_t applied, uint64_t *out_culprit, struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    (void)lane;
    *out_culprit = 0;
    if (stele_sinks__elastic_number(sink->changed, "position") != from) {
        return stele_fail(err, STELE_E_FENCED, 0, "projection %s: another process has moved it",
                          sink->projection->name);
    }
    stele_sinks__elastic_set(sink->changed, "position", to);
    return finish(sink, applied, out_culprit, err);
}

static int reload(struct stele_sink *base, uint32_t lane, struct stele_sink_lane *out_lane,
                  struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    (void)lane;
    int outcome = stele_sinks__elastic_read(sink, sink->head.id, &sink->head, err);
    if (outcome == STELE_OK) {
        outcome = stele_sinks__elastic_read(sink, sink->build.id, &sink->build, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (sink->build.json == NULL ||
        (stele_sinks__elastic_number(sink->head.json, "live") != sink->number &&
         stele_sinks__elastic_number(sink->head.json, "building") != sink->number)) {
        return stele_fail(err, STELE_NOT_FOUND, 0, "projection %s: build %llu is gone",
                          sink->projection->name, (unsigned long long)sink->number);
    }
    out_lane->position = stele_sinks__elastic_number(sink->build.json, "position");
    out_lane->effects_after = stele_sinks__elastic_number(sink->build.json, "effects");
    return STELE_OK;
}

static int end(struct stele_sink *base, uint64_t *out_culprit, struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    struct stele_sink_lane lane;
    *out_culprit = 0;
    const int outcome = finish(sink, sink->applied, out_culprit, err);
    if (outcome != STELE_E_FENCED) {
        return outcome;
    }
    (void)reload(base, 0, &lane, NULL);
    return stele_fail(err, STELE_E_OVERLOADED, 0, "projection %s: somebody else works on it",
                      sink->projection->name);
}

/* ---- Builds ---- */

static int read_live(struct stele_sinks_elastic *sink, struct stele_sinks_elastic_book *live,
                     struct stele_error *err)
{
    char id[STELE_ELASTIC_NAME_SIZE];
    int outcome = stele_sinks__elastic_read(sink, sink->head.id, &sink->head, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const uint64_t number = stele_sinks__elastic_number(sink->head.json, "live");
    (void)snprintf(id, sizeof id, "%s.%llu", sink->projection->name, (unsigned long long)number);
    outcome = stele_sinks__elastic_read(sink, id, live, err);
    if (outcome == STELE_OK && (live->json == NULL || number == sink->number)) {
        outcome = stele_fail(err, STELE_E_FENCED, 0, "projection %s: another build has taken over",
                             sink->projection->name);
    }
    return outcome;
}

static int live(struct stele_sink *base, bool lock, uint64_t *out_positions,
                struct stele_error *err)
{
    struct stele_sinks_elastic_book book = {.json = NULL};
    (void)lock; /* The switch looks again. */
    const int outcome = read_live(stele_sinks__elastic_of(base), &book, err);
    if (outcome == STELE_OK) {
        out_positions[0] = stele_sinks__elastic_number(book.json, "position");
    }
    stele_sinks__elastic_forget(&book);
    return outcome;
}

/* Keeps the live build where it is: whoever has read its document cannot replace it any more. */
static int fence_live(struct stele_sinks_elastic *sink, uint64_t position, struct stele_error *err)
{
    struct stele_sinks_elastic_book book = {.json = NULL};
    int outcome = read_live(sink, &book, err);
    if (outcome == STELE_OK && stele_sinks__elastic_number(book.json, "position") != position) {
        outcome = stele_fail(err, STELE_E_OVERLOADED, 0,
                             "projection %s: the live build has moved on", sink->projection->name);
    }
    if (outcome == STELE_OK) {
        json_t *const changed = json_deep_copy(book.json);
        outcome = changed != NULL ? stele_sinks__elastic_write(sink, &book, changed, err)
                                  : no_memory(sink, err);
        outcome = outcome == STELE_E_FENCED ? STELE_E_OVERLOADED : outcome;
    }
    stele_sinks__elastic_forget(&book);
    return outcome;
}

static int switch_over(struct stele_sink *base, const uint64_t *positions, uint64_t applied,
                       struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    uint64_t culprit = 0;
    stele_sinks__elastic_set(sink->changed, "position", positions[0]);
    stele_sinks__elastic_set(sink->changed, "effects", positions[0]);
    int outcome = fence_live(sink, positions[0], err);
    if (outcome == STELE_OK) {
        outcome = finish(sink, applied, &culprit, err);
    }
    json_t *const head = outcome == STELE_OK ? json_deep_copy(sink->head.json) : NULL;
    if (outcome == STELE_OK && head == NULL) {
        outcome = no_memory(sink, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    (void)json_array_append_new(json_object_get(head, "drops"),
                                json_incref(json_object_get(head, "live")));
    stele_sinks__elastic_set(head, "live", sink->number);
    stele_sinks__elastic_set(head, "building", 0);
    outcome = stele_sinks__elastic_write(sink, &sink->head, head, err);
    /* The new build is the live one now; what is left is done by the next one to come, if need be. */
    return outcome == STELE_OK ? stele_sinks__elastic_tidy(sink, err) : outcome;
}

/* ---- Parked events ---- */

static int parked_streams(struct stele_sink *base, uint32_t lane,
                          stele_sink_stream_callback on_stream, void *context,
                          struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    const json_t *const parked = json_object_get(sink->build.json, "parked");
    int outcome = STELE_OK;
    (void)lane;
    (void)err;
    for (size_t i = 0; i < json_array_size(parked) && outcome == STELE_OK; i++) {
        const json_t *const stream = json_object_get(json_array_get(parked, i), "stream");
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++) {
            seen = json_equal(stream, json_object_get(json_array_get(parked, j), "stream")) != 0;
        }
        if (!seen) {
            outcome = on_stream(context, (struct stele_text){.data = json_string_value(stream),
                                                             .size = json_string_length(stream)});
        }
    }
    return outcome;
}

static int bump(struct stele_sink *base, struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    (void)err;
    /* Writing the document is enough to keep others out; this shows it. */
    stele_sinks__elastic_set(sink->changed, "generation",
                             stele_sinks__elastic_number(sink->changed, "generation") + 1);
    return STELE_OK;
}

static int first_parked(struct stele_sink *base, const char *stream, uint64_t *out_position,
                        struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    const json_t *const parked = json_object_get(sink->build.json, "parked");
    (void)err;
    for (size_t i = 0; i < json_array_size(parked); i++) {
        const json_t *const item = json_array_get(parked, i);
        if (strcmp(json_string_value(json_object_get(item, "stream")), stream) == 0) {
            *out_position = stele_sinks__elastic_number(item, "position");
            return STELE_OK;
        }
    }
    return STELE_NOT_FOUND;
}

/* Where a parked event is in the document that the transaction makes; as many as there are: nowhere. */
static size_t find_parked(const json_t *parked, uint64_t position)
{
    size_t i = 0;
    while (i < json_array_size(parked) &&
           stele_sinks__elastic_number(json_array_get(parked, i), "position") != position) {
        i++;
    }
    return i;
}

static int unpark(struct stele_sink *base, uint64_t position, uint64_t applied,
                  struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    json_t *const parked = json_object_get(sink->changed, "parked");
    (void)err;
    (void)json_array_remove(parked, find_parked(parked, position));
    sink->applied += applied;
    return STELE_OK;
}

static int keep_parked(struct stele_sink *base, uint64_t position, const char *reason,
                       struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    json_t *const parked = json_object_get(sink->changed, "parked");
    json_t *const item = json_array_get(parked, find_parked(parked, position));
    const json_int_t attempts = json_integer_value(json_object_get(item, "attempts"));
    if (item != NULL && (json_object_set_new(item, "reason", json_string(reason)) != 0 ||
                         json_object_set_new(item, "attempts", json_integer(attempts + 1)) != 0)) {
        return no_memory(sink, err);
    }
    return STELE_OK;
}

/* ---- Opening and closing ---- */

static void close_elastic(struct stele_sink *base)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    stele_sinks__elastic_detach(base);
    empty(sink);
    stele_buf_deinit(&sink->lines, sink->alloc);
    stele_buf_deinit(&sink->items, sink->alloc);
    stele_sinks__elastic_close(&sink->link);
    stele_release(sink->alloc, sink, sizeof *sink);
}

static const struct stele_sink_ops elastic_ops = {
    .attach = stele_sinks__elastic_attach,
    .detach = stele_sinks__elastic_detach,
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
    .list = stele_sinks__elastic_list,
    .parked = stele_sinks__elastic_parked,
    .position = stele_sinks__elastic_position,
    .drop = stele_sinks__elastic_drop,
    .close = close_elastic,
};

int stele_sinks_open_elastic(const char *where, uint32_t flags, struct stele_sink **out_sink,
                             struct stele_error *err)
{
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct stele_sinks_elastic *const sink = stele_allocate_zeroed(alloc, sizeof *sink);
    if (sink == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "open a sink: no memory");
    }
    sink->base.ops = &elastic_ops;
    sink->alloc = alloc;
    sink->flags = flags;
    int outcome = stele_sinks__elastic_open(&sink->link, where, err);
    if (outcome == STELE_OK) {
        outcome = stele_sinks_seed(sink->seed, err);
    }
    if (outcome != STELE_OK) {
        close_elastic(&sink->base);
        return outcome;
    }
    *out_sink = &sink->base;
    return STELE_OK;
}
