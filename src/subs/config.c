/* What groups leave in the store, encoded and decoded: the configuration, checkpoints, links.
 *
 * The names in the JSON are KurrentDB's. Two members are our own: "filter" has this form, and "from"
 * is the place that an end stood for when the group was made. */
#include "base/text.h"
#include "subs/groups_internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Copies ---- */

static char *copy_text(struct stele_alloc *alloc, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = stele_allocate(alloc, size);
    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

static void release_text(struct stele_alloc *alloc, char *text)
{
    if (text != NULL) {
        stele_release(alloc, text, strlen(text) + 1);
    }
}

void stele_subs__config_deinit(struct stele_alloc *alloc, struct group_config *config)
{
    release_text(alloc, config->stream);
    release_text(alloc, config->group);
    stele_subs__want_destroy(alloc, config->want);
    *config = (struct group_config){.stream = NULL};
}

static int config_make(struct stele_alloc *alloc, const char *stream, const char *group,
                       const struct stele_filter *filter, struct group_config *config,
                       struct stele_error *err)
{
    *config = (struct group_config){.stream = NULL};
    if (stream != NULL) {
        config->stream = copy_text(alloc, stream);
    }
    config->group = copy_text(alloc, group);
    int outcome = STELE_OK;
    if (config->group == NULL || (stream != NULL && config->stream == NULL)) {
        outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "group: no memory");
    } else if (filter != NULL) {
        outcome = stele_subs__want_create(alloc, filter, &config->want, err);
    }
    if (outcome != STELE_OK) {
        stele_subs__config_deinit(alloc, config);
    }
    return outcome;
}

int stele_subs__config_copy(struct stele_alloc *alloc, const struct stele_groups_request *request,
                            struct group_config *out_config, struct stele_error *err)
{
    const int outcome =
        config_make(alloc, request->stream, request->group,
                    request->stream == NULL ? request->filter : NULL, out_config, err);
    if (outcome == STELE_OK) {
        out_config->settings = request->settings;
    }
    return outcome;
}

/* ---- Places ---- */

size_t stele_subs__checkpoint_encode(bool is_all, uint64_t place, char text[64])
{
    const unsigned long long number = place;
    const int size = is_all ? snprintf(text, 64, "\"C:%llu/P:%llu\"", number, number)
                            : snprintf(text, 64, "\"%llu\"", number);
    STELE_ASSERT(size > 0 && size < 64);
    return (size_t)size;
}

/* Digits at *at, which moves behind them. */
static bool get_number(const char **at, const char *end, uint64_t *out_number)
{
    uint64_t number = 0;
    const char *begin = *at;
    while (*at < end && **at >= '0' && **at <= '9') {
        if (number > (UINT64_MAX - 9) / 10) {
            return false;
        }
        number = number * 10 + (uint64_t)(**at - '0');
        (*at)++;
    }
    *out_number = number;
    return *at > begin;
}

/* "12", 12 (older versions), "C:9/P:9": the commit position counts. */
bool stele_subs__checkpoint_decode(struct stele_bytes data, uint64_t *out_place)
{
    const char *at = (const char *)data.data;
    const char *end = at + data.size;
    const bool quoted = data.size >= 2 && at[0] == '"' && end[-1] == '"';
    at += quoted ? 1 : 0;
    end -= quoted ? 1 : 0;
    const bool is_pair = end - at > 2 && at[0] == 'C' && at[1] == ':';
    at += is_pair ? 2 : 0;
    uint64_t place = 0;
    if (!get_number(&at, end, &place) || place >= STELE_REVISION_MAX) {
        return false;
    }
    if (is_pair) {
        uint64_t prepare = 0;
        if (end - at < 4 || memcmp(at, "/P:", 3) != 0) {
            return false;
        }
        at += 3;
        if (!get_number(&at, end, &prepare)) {
            return false;
        }
    }
    if (at != end) {
        return false;
    }
    *out_place = place;
    return true;
}

bool stele_subs__link_decode(struct stele_bytes data, uint64_t *out_revision,
                             struct stele_text *out_stream)
{
    const char *at = (const char *)data.data;
    const char *end = at + data.size;
    if (data.size == 0 || !get_number(&at, end, out_revision) || end - at < 2 || *at != '@' ||
        end - at - 1 > STELE_STREAM_NAME_SIZE_MAX + 2 ||
        memchr(at, '\0', (size_t)(end - at)) != NULL) {
        return false;
    }
    *out_stream = (struct stele_text){.data = at + 1, .size = (size_t)(end - at - 1)};
    return true;
}

char *stele_subs__parked_encode(int64_t wall_us, const char *reason, uint64_t place)
{
    char time[STELE_TIME_SIZE];
    if (!stele_time_format(wall_us, 6, time)) {
        time[0] = '\0';
    }
    json_t *json = json_pack("{s:s,s:s,s:I}", "added", time, "reason", reason,
                             "subscriptionEventNumber", (json_int_t)place);
    if (json == NULL) { /* The reason is no UTF-8. */
        json = json_pack("{s:s,s:s,s:I}", "added", time, "reason", "", "subscriptionEventNumber",
                         (json_int_t)place);
    }
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
}

/* ---- The configuration ---- */

static const char *const strategies[] = {"DispatchToSingle", "RoundRobin", "Pinned",
                                         "PinnedByCorrelation"};

static json_t *encode_names(const char *const *names, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(array, json_string(names[i]));
    }
    return array;
}

static json_t *encode_filter(const struct stele_filter *filter)
{
    json_t *json = json_object();
    const struct {
        const char *key;
        const char *const *names;
        size_t count;
    } lists[] = {
        {"types", filter->types, filter->types_count},
        {"typePrefixes", filter->type_prefixes, filter->type_prefixes_count},
        {"streams", filter->streams, filter->streams_count},
        {"streamPrefixes", filter->stream_prefixes, filter->stream_prefixes_count},
        {"categories", filter->categories, filter->categories_count},
        {"tags", filter->tags, filter->tags_count},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(lists); i++) {
        if (lists[i].count > 0) {
            (void)json_object_set_new(json, lists[i].key,
                                      encode_names(lists[i].names, lists[i].count));
        }
    }
    if (filter->type_regex != NULL) {
        (void)json_object_set_new(json, "typeRegex", json_string(filter->type_regex));
    }
    if (filter->stream_regex != NULL) {
        (void)json_object_set_new(json, "streamRegex", json_string(filter->stream_regex));
    }
    (void)json_object_set_new(json, "excludeSystem", json_boolean(filter->exclude_system != 0));
    return json;
}

static void start_text(bool is_all, uint64_t start, char text[64])
{
    if (start == UINT64_MAX) {
        (void)snprintf(text, 64, is_all ? "C:-1/P:-1" : "-1");
    } else if (is_all) {
        (void)snprintf(text, 64, "C:%llu/P:%llu", (unsigned long long)start,
                       (unsigned long long)start);
    } else {
        (void)snprintf(text, 64, "%llu", (unsigned long long)start);
    }
}

static json_t *encode_group(const struct group_config *config)
{
    const struct stele_group_settings *s = &config->settings;
    char start[64];
    start_text(config->stream == NULL, s->start, start);
    json_t *json = json_pack(
        "{s:s,s:s,s:b,s:b,s:s,s:I,s:I,s:i,s:i,s:i,s:i,s:I,s:i,s:i,s:i,s:s}", "stream",
        config->stream == NULL ? "$all" : config->stream, "group", config->group, "resolveLinkTos",
        (int)s->resolve_links, "extraStatistics", (int)s->extra_statistics, "startPosition", start,
        "from", (json_int_t)config->from, "messageTimeout",
        (json_int_t)(s->message_timeout_us / 1000), "maxRetryCount", (int)s->max_retry_count,
        "liveBufferSize", (int)s->live_buffer_size, "historyBufferSize",
        (int)s->history_buffer_size, "readBatchSize", (int)s->read_batch_size, "checkPointAfter",
        (json_int_t)(s->checkpoint_after_us / 1000), "minCheckPointCount",
        (int)s->min_checkpoint_count, "maxCheckPointCount", (int)s->max_checkpoint_count,
        "maxSubscriberCount", (int)s->max_subscriber_count, "namedConsumerStrategy",
        strategies[s->strategy]);
    if (json != NULL && config->want != NULL) {
        (void)json_object_set_new(json, "filter", encode_filter(&config->want->filter));
    }
    return json;
}

int stele_subs__config_encode(const struct hosted *first, int64_t wall_us, const char *user,
                              char **out_json)
{
    char time[STELE_TIME_SIZE];
    if (!stele_time_format(wall_us, 6, time)) {
        time[0] = '\0';
    }
    json_t *entries = json_array();
    bool whole = entries != NULL;
    for (const struct hosted *hosted = first; hosted != NULL; hosted = hosted->next) {
        json_t *entry = hosted->removed ? NULL : encode_group(&hosted->config);
        whole = whole && (hosted->removed || json_array_append_new(entries, entry) == 0);
    }
    json_t *json = json_pack("{s:s,s:s,s:s,s:O}", "version", "2", "updated", time, "updatedBy",
                             user == NULL ? "" : user, "entries", entries);
    json_decref(entries);
    *out_json = json == NULL || !whole ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return *out_json != NULL ? STELE_OK : STELE_E_NO_MEMORY;
}

/* ---- */

struct names {
    const char **names;
    size_t count;
};

static bool decode_names(struct stele_arena *arena, struct stele_alloc *alloc, const json_t *json,
                         const char *key, const char *const **out_names, size_t *out_count)
{
    const json_t *array = json_object_get(json, key);
    const size_t count = json_array_size(array);
    *out_count = 0;
    if (count == 0) {
        return true;
    }
    const char **names = stele_arena_allocate(arena, alloc, count * sizeof *names);
    if (names == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(array, i));
        if (name != NULL) {
            names[(*out_count)++] = name;
        }
    }
    *out_names = names;
    return true;
}

static bool decode_filter(struct stele_arena *arena, struct stele_alloc *alloc, const json_t *json,
                          struct stele_filter *out)
{
    *out = (struct stele_filter){
        .type_regex = json_string_value(json_object_get(json, "typeRegex")),
        .stream_regex = json_string_value(json_object_get(json, "streamRegex")),
        .exclude_system = json_is_true(json_object_get(json, "excludeSystem")) ? 1 : 0,
    };
    return decode_names(arena, alloc, json, "types", &out->types, &out->types_count) &&
           decode_names(arena, alloc, json, "typePrefixes", &out->type_prefixes,
                        &out->type_prefixes_count) &&
           decode_names(arena, alloc, json, "streams", &out->streams, &out->streams_count) &&
           decode_names(arena, alloc, json, "streamPrefixes", &out->stream_prefixes,
                        &out->stream_prefixes_count) &&
           decode_names(arena, alloc, json, "categories", &out->categories,
                        &out->categories_count) &&
           decode_names(arena, alloc, json, "tags", &out->tags, &out->tags_count);
}

static int32_t get_int(const json_t *json, const char *key, int32_t otherwise)
{
    const json_t *value = json_object_get(json, key);
    if (!json_is_integer(value)) {
        return otherwise;
    }
    const json_int_t number = json_integer_value(value);
    return number < INT32_MIN || number > INT32_MAX ? otherwise : (int32_t)number;
}

static enum stele_group_strategy get_strategy(const json_t *json)
{
    const char *name = json_string_value(json_object_get(json, "namedConsumerStrategy"));
    for (size_t i = 0; name != NULL && i < STELE_COUNT_OF(strategies); i++) {
        if (strcmp(name, strategies[i]) == 0) {
            return (enum stele_group_strategy)i;
        }
    }
    return STELE_GROUP_ROUND_ROBIN;
}

/* "-1" and "C:-1/P:-1" are the end. */
static uint64_t get_start(const json_t *json)
{
    const char *text = json_string_value(json_object_get(json, "startPosition"));
    uint64_t place = 0;
    if (text == NULL) {
        const json_t *from = json_object_get(json, "startFrom"); /* Of older versions. */
        return json_is_integer(from) ? (uint64_t)json_integer_value(from) : UINT64_MAX;
    }
    return stele_subs__checkpoint_decode(stele_bytes_of_text(text), &place) ? place : UINT64_MAX;
}

static int decode_group(struct stele_alloc *alloc, const json_t *json, struct stele_arena *arena,
                        struct group_config *config, struct stele_error *err)
{
    const char *stream = json_string_value(json_object_get(json, "stream"));
    const char *group = json_string_value(json_object_get(json, "group"));
    if (stream == NULL || group == NULL || stream[0] == '\0' || group[0] == '\0' ||
        strlen(stream) > STELE_STREAM_NAME_SIZE_MAX || strlen(group) > GROUP_NAME_SIZE_MAX) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "the newest event of " CONFIG_STREAM " has a group without a name");
    }
    const bool is_all = strcmp(stream, "$all") == 0;
    const json_t *filter_json = json_object_get(json, "filter");
    struct stele_filter filter;
    if (json_is_object(filter_json) && !decode_filter(arena, alloc, filter_json, &filter)) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "group: no memory");
    }
    const int outcome = config_make(alloc, is_all ? NULL : stream, group,
                                    json_is_object(filter_json) ? &filter : NULL, config, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    config->settings = (struct stele_group_settings){
        .strategy = get_strategy(json),
        .resolve_links = json_is_true(json_object_get(json, "resolveLinkTos")),
        .extra_statistics = json_is_true(json_object_get(json, "extraStatistics")),
        .max_retry_count = get_int(json, "maxRetryCount", 10),
        .min_checkpoint_count = get_int(json, "minCheckPointCount", 10),
        .max_checkpoint_count = get_int(json, "maxCheckPointCount", 1000),
        .max_subscriber_count = get_int(json, "maxSubscriberCount", 0),
        .live_buffer_size = get_int(json, "liveBufferSize", 500),
        .read_batch_size = get_int(json, "readBatchSize", 20),
        .history_buffer_size = get_int(json, "historyBufferSize", 500),
        .message_timeout_us = (int64_t)get_int(json, "messageTimeout", 30000) * 1000,
        .checkpoint_after_us = (int64_t)get_int(json, "checkPointAfter", 2000) * 1000,
        .start = get_start(json),
    };
    const json_t *from = json_object_get(json, "from");
    config->from =
        json_is_integer(from) ? (uint64_t)json_integer_value(from) : config->settings.start;
    return STELE_OK;
}

int stele_subs__config_decode(struct stele_alloc *alloc, struct stele_bytes bytes,
                              int (*on_config)(void *context, struct group_config *config),
                              void *context, struct stele_error *err)
{
    json_t *json = json_loadb((const char *)bytes.data, bytes.size, 0, NULL);
    const json_t *entries = json_object_get(json, "entries");
    if (!json_is_array(entries)) {
        json_decref(json);
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "the newest event of " CONFIG_STREAM " is no list of groups");
    }
    int outcome = STELE_OK;
    struct stele_arena arena = {.block_size = 1024};
    for (size_t i = 0; i < json_array_size(entries) && outcome == STELE_OK; i++) {
        struct group_config config;
        outcome = decode_group(alloc, json_array_get(entries, i), &arena, &config, err);
        if (outcome == STELE_OK) {
            outcome = on_config(context, &config);
        }
    }
    stele_arena_deinit(&arena, alloc);
    json_decref(json);
    return outcome;
}
