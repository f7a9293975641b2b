/* What appends to a store must do: names, streams, decisions, scavenging. */
#include "base/checksum.h"
#include "base/position.h"
#include "model_internal.h"

#include <stdlib.h>

static void *grown(void *items, uint32_t count, uint32_t *capacity, size_t item_size)
{
    if (count < *capacity) {
        return items;
    }
    *capacity = *capacity == 0 ? 16 : *capacity * 2;
    void *moved = realloc(items, *capacity * item_size);
    STELE_ASSERT(moved != NULL);
    return moved;
}

void *model__copied(const void *bytes, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    STELE_ASSERT(copy != NULL);
    if (size > 0) {
        memcpy(copy, bytes, size);
    }
    copy[size] = 0;
    return copy;
}

/* ---- Names ---- */

static uint64_t hash_of(const char *name)
{
    return stele_hash64(stele_bytes_of_text(name), 1);
}

uint32_t model__name_find(const struct model_names *names, const char *name)
{
    const uint64_t hash = hash_of(name);
    for (uint32_t i = 0; i < names->count; i++) {
        if (names->hashes[i] == hash && strcmp(names->names[i], name) == 0) {
            return i;
        }
    }
    return MODEL_NONE;
}

static uint32_t name_make(struct model_names *names, const char *name)
{
    const uint32_t found = model__name_find(names, name);
    if (found != MODEL_NONE) {
        return found;
    }
    uint32_t capacity = names->capacity;
    names->names = grown(names->names, names->count, &capacity, sizeof *names->names);
    names->hashes = grown(names->hashes, names->count, &names->capacity, sizeof *names->hashes);
    names->names[names->count] = model__copied(name, strlen(name));
    names->hashes[names->count] = hash_of(name);
    return names->count++;
}

static void names_free(struct model_names *names)
{
    for (uint32_t i = 0; i < names->count; i++) {
        free(names->names[i]);
    }
    free(names->names);
    free(names->hashes);
}

static char *category_of(const char *stream)
{
    const char *dash = strchr(stream, '-');
    return model__copied(stream,
                         dash == NULL || dash == stream ? strlen(stream) : (size_t)(dash - stream));
}

static uint32_t partition_of(const struct model *model, const char *stream)
{
    struct stele_bytes key = stele_bytes_of_text(stream);
    char *category = category_of(stream);
    const char *open = strchr(stream, '{');
    const char *close = open == NULL ? NULL : strchr(open, '}');
    if (model->partition_key == STELE_KEY_CATEGORY) {
        key = stele_bytes_of_text(category);
    } else if (close != NULL && close > open + 1) {
        key = (struct stele_bytes){(const uint8_t *)open + 1, (size_t)(close - open) - 1};
    }
    const uint32_t partition = stele_murmur3(key) % model->partitions;
    free(category);
    return partition;
}

static uint32_t stream_make(struct model *model, const char *name)
{
    const uint32_t before = model->streams.count;
    const uint32_t stream = name_make(&model->streams, name);
    if (stream < before) {
        return stream;
    }
    model->stream_of =
        grown(model->stream_of, stream, &model->stream_of_capacity, sizeof *model->stream_of);
    char *category = category_of(name);
    model->stream_of[stream] = (struct model_stream){
        .category = name_make(&model->categories, category),
        .partition = partition_of(model, name),
        .metastream = MODEL_NONE,
    };
    free(category);
    /* Tie it to its metadata, whichever comes first. */
    char *meta = malloc(strlen(name) + 3);
    STELE_ASSERT(meta != NULL);
    strcpy(meta, "$$");
    strcat(meta, name);
    model->stream_of[stream].metastream = model__name_find(&model->streams, meta);
    free(meta);
    if (strncmp(name, "$$", 2) == 0) {
        const uint32_t owner = model__name_find(&model->streams, name + 2);
        if (owner != MODEL_NONE) {
            model->stream_of[owner].metastream = stream;
        }
    }
    return stream;
}

uint32_t model_stream(const struct model *model, const char *name)
{
    return model__name_find(&model->streams, name);
}

/* ---- Life ---- */

void model_init(struct model *model, uint32_t partitions, uint32_t partition_key)
{
    *model = (struct model){.partitions = partitions, .partition_key = partition_key};
}

static void event_free(struct model_event *event)
{
    free(event->tags);
    free(event->content_type);
    free(event->data);
    free(event->metadata);
}

void model_deinit(struct model *model)
{
    for (uint32_t i = 0; i < model->count; i++) {
        event_free(&model->events[i]);
    }
    for (uint32_t i = 0; i < model->streams.count; i++) {
        free(model->stream_of[i].events);
    }
    names_free(&model->streams);
    names_free(&model->types);
    names_free(&model->tags);
    names_free(&model->categories);
    free(model->stream_of);
    free(model->events);
    free(model->appends);
    *model = (struct model){.partitions = 0};
}

/* ---- Facts of streams ---- */

uint64_t model_next(const struct model *model, uint32_t stream, bool staged)
{
    if (stream == MODEL_NONE) {
        return 0;
    }
    const struct model_stream *s = &model->stream_of[stream];
    uint32_t count = s->count;
    while (!staged && count > 0 && s->events[count - 1] >= model->visible) {
        count--;
    }
    return count;
}

bool model_is_tombstoned(const struct model *model, uint32_t stream, bool staged)
{
    const uint64_t next = model_next(model, stream, staged);
    return next > 0 && (model->events[model->stream_of[stream].events[next - 1]].flags &
                        STELE_EVENT_TOMBSTONE) != 0;
}

/* The number behind "name": in a flat JSON object; 0 if it is not there. */
static uint64_t member(const struct model_event *event, const char *name)
{
    const char *at = strstr((const char *)event->data, name);
    return at == NULL ? 0 : strtoull(at + strlen(name), NULL, 10);
}

struct model_limits model_limits(const struct model *model, uint32_t stream, bool staged)
{
    struct model_limits limits = {.found = false};
    const uint32_t meta = stream == MODEL_NONE ? MODEL_NONE : model->stream_of[stream].metastream;
    const uint64_t next = model_next(model, meta, staged);
    if (next == 0) {
        return limits;
    }
    const struct model_event *event = &model->events[model->stream_of[meta].events[next - 1]];
    limits.found = true;
    limits.revision = next - 1;
    limits.max_count = member(event, "\"$maxCount\":");
    limits.truncate_before = member(event, "\"$tb\":");
    limits.max_age_us = (int64_t)member(event, "\"$maxAge\":") * 1000000;
    return limits;
}

bool model__is_hidden(const struct model *model, uint32_t stream, bool staged)
{
    return model_limits(model, stream, staged).truncate_before >= model_next(model, stream, staged);
}

int model_delete(const struct model *model, const char *stream, uint64_t expected,
                 uint64_t *out_truncate_before, uint64_t *out_expected)
{
    const uint32_t s = model_stream(model, stream);
    const uint64_t next = model_next(model, s, true);
    if (next == 0) {
        return STELE_NO_STREAM;
    }
    if (model_is_tombstoned(model, s, true)) {
        return STELE_STREAM_DELETED;
    }
    if (expected != STELE_EXPECT_ANY && expected != STELE_EXPECT_EXISTS && expected != next - 1) {
        return STELE_WRONG_REVISION;
    }
    if (model__is_hidden(model, s, true)) {
        return STELE_NO_STREAM;
    }
    const struct model_limits limits = model_limits(model, s, true);
    *out_truncate_before = next;
    *out_expected = limits.found ? limits.revision : STELE_EXPECT_NO_STREAM;
    return STELE_OK;
}

/* ---- Deciding ---- */

static bool expectation_holds(const struct model *model, uint32_t stream, uint64_t expected)
{
    const uint64_t next = model_next(model, stream, true);
    const bool visible = next > 0 && !model__is_hidden(model, stream, true);
    switch (expected) {
    case STELE_EXPECT_ANY:
        return true;
    case STELE_EXPECT_NO_STREAM:
        return !visible;
    case STELE_EXPECT_EXISTS:
        return visible;
    default:
        return next > 0 && expected == next - 1;
    }
}

/* Do the events of the stream from revision on have these ids? *uncertain if scavenged ones would
 * have to be asked. */
static bool ids_match(const struct model *model, uint32_t stream, uint64_t revision,
                      const struct stele_append *append, bool *uncertain)
{
    const uint64_t next = model_next(model, stream, true);
    bool optional = false;
    for (size_t i = 0; i < append->count; i++) {
        if (revision + i >= next) {
            return false;
        }
        const struct model_event *event =
            &model->events[model->stream_of[stream].events[revision + i]];
        if (!event->id_known || memcmp(event->id, append->events[i].id, 16) != 0) {
            return false;
        }
        optional = optional || event->optional;
    }
    *uncertain = *uncertain || optional;
    return true;
}

/* The newest event of the stream with the id of the request's first. */
static uint64_t find_id(const struct model *model, uint32_t stream,
                        const struct stele_append *append, bool *uncertain)
{
    for (uint64_t next = model_next(model, stream, true); next > 0; next--) {
        const struct model_event *event = &model->events[model->stream_of[stream].events[next - 1]];
        if (event->id_known && memcmp(event->id, append->events[0].id, 16) == 0) {
            *uncertain = *uncertain || event->optional;
            return next - 1;
        }
    }
    return UINT64_MAX;
}

/* Was this stream's part appended before, and at which revision? STELE_OK, STELE_NOT_FOUND,
 * STELE_E_ID_CONFLICT. */
static int find_earlier(const struct model *model, const struct stele_append *append,
                        uint64_t *out_revision, bool *uncertain)
{
    const uint32_t stream = model_stream(model, append->stream);
    if (append->expected == STELE_EXPECT_ANY || append->expected == STELE_EXPECT_EXISTS) {
        *out_revision = find_id(model, stream, append, uncertain);
        if (*out_revision == UINT64_MAX) {
            return STELE_NOT_FOUND;
        }
        return ids_match(model, stream, *out_revision, append, uncertain) ? STELE_OK
                                                                          : STELE_E_ID_CONFLICT;
    }
    *out_revision = append->expected + 1;
    if (append->expected == STELE_EXPECT_NO_STREAM) {
        /* The very first append; or that of a stream that was deleted and began again at the cut. */
        *out_revision = 0;
        if (!ids_match(model, stream, 0, append, uncertain)) {
            *out_revision = model_limits(model, stream, true).truncate_before;
        }
    }
    return ids_match(model, stream, *out_revision, append, uncertain) ? STELE_OK : STELE_NOT_FOUND;
}

static int find_earlier_append(const struct model *model, const struct stele_append *streams,
                               size_t count, struct model_decision *out, bool *uncertain)
{
    bool first = true;
    out->result.position_first = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        uint64_t revision = 0;
        if (streams[i].count == 0) {
            continue;
        }
        const int outcome = find_earlier(model, &streams[i], &revision, uncertain);
        if (outcome != STELE_OK) {
            return outcome;
        }
        const uint32_t *events =
            model->stream_of[model_stream(model, streams[i].stream)].events + revision;
        const struct model_event *begin = &model->events[events[0]];
        const struct model_event *end = &model->events[events[streams[i].count - 1]];
        if (first) {
            out->result.revision_first = begin->revision;
            out->result.revision_last = end->revision;
            first = false;
        }
        if (begin->position < out->result.position_first) {
            out->result.position_first = begin->position;
        }
        if (end->position > out->result.position_last) {
            out->result.position_last = end->position;
        }
        out->earlier = end->append > out->earlier ? end->append : out->earlier;
    }
    out->result.idempotent = 1;
    return STELE_OK;
}

bool model__has_tag(const struct model *model, const struct model_event *event, const char *tag)
{
    for (uint32_t i = 0; i < event->tags_count; i++) {
        if (strcmp(model->tags.names[event->tags[i]], tag) == 0) {
            return true;
        }
    }
    return false;
}

bool model__is_one_of(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return count == 0;
}

bool model__has_one_prefix(const char *const *prefixes, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return count == 0;
}

static bool item_matches(const struct model *model, const struct stele_query_item *item,
                         const struct model_event *event)
{
    if (!model__is_one_of(item->types, item->types_count, model->types.names[event->type])) {
        return false;
    }
    for (size_t i = 0; i < item->tags_count; i++) {
        if (!model__has_tag(model, event, item->tags[i])) {
            return false;
        }
    }
    return true;
}

static bool condition_matches(const struct model *model, const struct stele_condition *condition,
                              const struct model_event *event)
{
    for (size_t i = 0; i < condition->items_count; i++) {
        if (item_matches(model, &condition->items[i], event)) {
            return true;
        }
    }
    return false;
}

bool model_conflicts(const struct model *model, const struct stele_condition *condition,
                     uint64_t position)
{
    for (uint32_t i = model->count; i > 0 && model->events[i - 1].position > condition->after;
         i--) {
        const struct model_event *event = &model->events[i - 1];
        if (event->position == position) {
            return condition_matches(model, condition, event);
        }
    }
    return false;
}

/* Is the condition violated? *uncertain if only scavenged events violate it. */
static bool is_violated(const struct model *model, const struct stele_condition *condition,
                        bool *uncertain)
{
    bool optional = false;
    for (uint32_t i = model->count; i > 0 && model->events[i - 1].position > condition->after;
         i--) {
        const struct model_event *event = &model->events[i - 1];
        if (condition_matches(model, condition, event)) {
            if (!event->optional) {
                return true;
            }
            optional = true;
        }
    }
    *uncertain = *uncertain || optional;
    return optional;
}

/* Without regard to idempotence. */
static void decide_new(const struct model *model, const struct stele_append *streams,
                       size_t streams_count, const struct stele_condition *conditions,
                       size_t conditions_count, struct model_decision *out)
{
    for (size_t i = 0; i < streams_count; i++) {
        const uint32_t stream = model_stream(model, streams[i].stream);
        const bool tombstoned = model_is_tombstoned(model, stream, true);
        if (tombstoned || !expectation_holds(model, stream, streams[i].expected)) {
            const uint64_t next = model_next(model, stream, true);
            out->outcome = tombstoned ? STELE_STREAM_DELETED : STELE_WRONG_REVISION;
            out->may = tombstoned ? MODEL_MAY_FAIL_DELETED : MODEL_MAY_FAIL_REVISION;
            out->result.failed = i;
            out->result.revision_last = next == 0 ? STELE_EXPECT_NO_STREAM : next - 1;
            return;
        }
    }
    for (size_t i = 0; i < conditions_count; i++) {
        bool uncertain = false;
        if (is_violated(model, &conditions[i], &uncertain)) {
            out->may |= MODEL_MAY_FAIL_CONDITION;
            if (out->outcome == STELE_OK) {
                out->outcome = STELE_CONDITION_FAILED;
                out->result.failed = i;
            }
            if (!uncertain) {
                out->failed_last = i;
                return;
            }
        }
    }
    out->may |= MODEL_MAY_APPEND;
}

void model_decide(const struct model *model, const struct stele_append *streams,
                  size_t streams_count, const struct stele_condition *conditions,
                  size_t conditions_count, struct model_decision *out)
{
    *out = (struct model_decision){.outcome = STELE_OK, .failed_last = SIZE_MAX};
    decide_new(model, streams, streams_count, conditions, conditions_count, out);
    bool loose = false;
    for (size_t i = 0; i < streams_count; i++) {
        loose = loose || (streams[i].count > 0 && (streams[i].expected == STELE_EXPECT_ANY ||
                                                   streams[i].expected == STELE_EXPECT_EXISTS));
    }
    const bool refused = (out->may & (MODEL_MAY_FAIL_REVISION | MODEL_MAY_FAIL_DELETED)) != 0;
    if (!refused && !loose) {
        return; /* Exact expectations that hold: the events are new. */
    }
    struct model_decision earlier = {.outcome = STELE_OK, .failed_last = SIZE_MAX};
    bool uncertain = false;
    const int found = find_earlier_append(model, streams, streams_count, &earlier, &uncertain);
    /* What is left of an append that was scavenged in part may look like a conflict. */
    const uint32_t otherwise =
        uncertain ? out->may | (refused || !loose ? 0 : MODEL_MAY_FAIL_ID) : 0;
    if (found == STELE_OK) {
        *out = earlier;
        out->may = MODEL_MAY_REPEAT | otherwise;
    } else if (found == STELE_E_ID_CONFLICT && !refused) {
        out->outcome = found;
        out->may = MODEL_MAY_FAIL_ID | otherwise;
    } else if (uncertain) {
        out->may |= otherwise;
    }
}

uint32_t model_may_of(int outcome, int idempotent)
{
    switch (outcome) {
    case STELE_OK:
        return idempotent != 0 ? MODEL_MAY_REPEAT : MODEL_MAY_APPEND;
    case STELE_WRONG_REVISION:
        return MODEL_MAY_FAIL_REVISION;
    case STELE_STREAM_DELETED:
        return MODEL_MAY_FAIL_DELETED;
    case STELE_CONDITION_FAILED:
        return MODEL_MAY_FAIL_CONDITION;
    case STELE_E_ID_CONFLICT:
        return MODEL_MAY_FAIL_ID;
    default:
        return 0;
    }
}

/* ---- Applying ---- */

static struct model_event *add_event(struct model *model, uint32_t stream,
                                     const struct stele_event_draft *draft)
{
    static const uint8_t zeros[16];
    model->events = grown(model->events, model->count, &model->capacity, sizeof *model->events);
    struct model_event *event = &model->events[model->count];
    *event = (struct model_event){
        .revision = model->stream_of[stream].count,
        .id_known = memcmp(draft->id, zeros, 16) != 0,
        .stream = stream,
        .type = name_make(&model->types, draft->type),
        .tags_count = (uint32_t)draft->tags_count,
        .data = model__copied(draft->data, draft->data_size),
        .data_size = draft->data_size,
        .metadata = model__copied(draft->metadata, draft->metadata_size),
        .metadata_size = draft->metadata_size,
    };
    const char *content_type =
        draft->content_type == NULL ? "application/json" : draft->content_type;
    event->content_type = model__copied(content_type, strlen(content_type));
    event->flags = strcmp(content_type, "application/json") == 0 ? STELE_EVENT_JSON : 0;
    memcpy(event->id, draft->id, 16);
    event->tags = malloc((draft->tags_count + 1) * sizeof *event->tags);
    STELE_ASSERT(event->tags != NULL);
    for (size_t i = 0; i < draft->tags_count; i++) {
        event->tags[i] = name_make(&model->tags, draft->tags[i]);
    }
    struct model_stream *s = &model->stream_of[stream];
    s->events = grown(s->events, s->count, &s->capacity, sizeof *s->events);
    s->events[s->count++] = model->count++;
    return event;
}

static bool is_first_of_partition(const struct model *model, const struct stele_append *streams,
                                  size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (streams[i].count > 0 &&
            partition_of(model, streams[i].stream) == partition_of(model, streams[index].stream)) {
            return false;
        }
    }
    return streams[index].count > 0;
}

uint32_t model_apply(struct model *model, const struct stele_append *streams, size_t streams_count,
                     bool tombstone, int64_t now_us, uint64_t position_first, uint64_t place,
                     uint64_t durable)
{
    uint64_t tick = stele_position_tick(position_first);
    const uint32_t first = model->count;
    for (size_t p = 0; p < streams_count; p++) {
        if (!is_first_of_partition(model, streams, p)) {
            continue;
        }
        const uint32_t partition = partition_of(model, streams[p].stream);
        for (size_t i = p; i < streams_count; i++) {
            if (streams[i].count == 0 || partition_of(model, streams[i].stream) != partition) {
                continue;
            }
            const uint32_t stream = stream_make(model, streams[i].stream);
            for (size_t k = 0; k < streams[i].count; k++) {
                struct model_event *event = add_event(model, stream, &streams[i].events[k]);
                event->append = model->appends_count;
                event->position = stele_position_make(tick++, partition);
                event->created_us =
                    streams[i].events[k].created_us != 0 ? streams[i].events[k].created_us : now_us;
                event->flags |= tombstone ? STELE_EVENT_TOMBSTONE : 0;
            }
        }
    }
    model->appends = grown(model->appends, model->appends_count, &model->appends_capacity,
                           sizeof *model->appends);
    model->appends[model->appends_count] = (struct model_append){
        .first = first, .count = model->count - first, .place = place, .durable = durable};
    return model->appends_count++;
}

void model_durable(struct model *model, uint64_t place)
{
    while (model->appends_visible < model->appends_count &&
           model->appends[model->appends_visible].place <= place) {
        model->visible += model->appends[model->appends_visible++].count;
    }
}

void model_cut(struct model *model, uint32_t events, bool *out_whole)
{
    while (model->count > events) {
        struct model_event *event = &model->events[--model->count];
        model->stream_of[event->stream].count--;
        event_free(event);
    }
    while (model->appends_count > 0 && model->appends[model->appends_count - 1].first >= events) {
        model->appends_count--;
    }
    const struct model_append *last =
        model->appends_count == 0 ? NULL : &model->appends[model->appends_count - 1];
    *out_whole = events == 0 ? last == NULL : last != NULL && last->first + last->count == events;
    if (model->visible > model->count) {
        model->visible = model->count;
    }
    if (model->appends_visible > model->appends_count) {
        model->appends_visible = model->appends_count;
    }
}

/* ---- Scavenging ---- */

/* Is the event hidden from an ordinary read of its stream? */
static bool is_hidden_event(const struct model *model, const struct model_event *event,
                            int64_t now_us)
{
    const uint64_t next = model_next(model, event->stream, true);
    const struct model_limits limits = model_limits(model, event->stream, true);
    return model_is_tombstoned(model, event->stream, true) ||
           event->revision < limits.truncate_before ||
           (limits.max_count > 0 && event->revision + limits.max_count < next) ||
           (limits.max_age_us > 0 && event->created_us < now_us - limits.max_age_us);
}

void model_scavenge(struct model *model, int64_t now_us)
{
    model_scavenge_before(model, MODEL_NONE, now_us, UINT64_MAX);
}

void model_scavenge_before(struct model *model, uint32_t stream, int64_t now_us,
                           uint64_t position_min)
{
    for (uint32_t i = 0; i < model->count && model->events[i].position < position_min; i++) {
        struct model_event *event = &model->events[i];
        if (event->optional || (stream != MODEL_NONE && event->stream != stream)) {
            continue;
        }
        const struct model_stream *s = &model->stream_of[event->stream];
        const bool is_last = event->revision + 1 == s->count;
        const bool is_old_metadata =
            strncmp(model->streams.names[event->stream], "$$", 2) == 0 && !is_last;
        if (!is_last && (is_old_metadata || is_hidden_event(model, event, now_us))) {
            event->optional = true;
        }
    }
}

uint64_t model_prefix_hash(const struct model *model, uint32_t events)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < events; i++) {
        const struct model_event *event = &model->events[i];
        const uint64_t parts[] = {hash, event->position, event->revision,
                                  stele_hash64((struct stele_bytes){event->id, 16}, 0)};
        hash = stele_hash64((struct stele_bytes){(const uint8_t *)parts, sizeof parts}, 0);
    }
    return hash;
}
