#include "workload.h"

#include "base/compiler.h"

#include <stdio.h>
#include <stdlib.h>

void workload_init(struct workload *workload, struct rng *rng)
{
    *workload = (struct workload){
        .rng = rng,
        .streams = 24,
        .types = 8,
        .tags = 12,
        .data_size = 200,
        .batch = 8,
        .tombstone_one_in = 300,
        .delete_one_in = 60,
        .metadata_one_in = 40,
        .multi_percent = 15,
        .condition_percent = 10,
        .retry_percent = 6,
        .nameless_percent = 2,
        .wrong_percent = 10,
        .next_id = 1,
    };
}

void workload_deinit(struct workload *workload)
{
    for (size_t i = 0; i < WORKLOAD_RECENT; i++) {
        workload_free(workload->recent[i]);
        workload->recent[i] = NULL;
    }
}

static void *block(struct workload_request *request, size_t size)
{
    if (request->blocks_count == request->blocks_capacity) {
        request->blocks_capacity = request->blocks_capacity * 2 + 8;
        request->blocks =
            realloc(request->blocks, request->blocks_capacity * sizeof *request->blocks);
        STELE_ASSERT(request->blocks != NULL);
    }
    void *memory = calloc(1, size + 1);
    STELE_ASSERT(memory != NULL);
    request->blocks[request->blocks_count++] = memory;
    return memory;
}

static void *keep(struct workload_request *request, const void *bytes, size_t size)
{
    void *memory = block(request, size);
    if (size > 0) {
        memcpy(memory, bytes, size);
    }
    return memory;
}

static const char *keep_text(struct workload_request *request, const char *text)
{
    return keep(request, text, strlen(text));
}

void workload_free(struct workload_request *request)
{
    if (request == NULL) {
        return;
    }
    for (size_t i = 0; i < request->blocks_count; i++) {
        free(request->blocks[i]);
    }
    free(request->blocks);
    free(request);
}

static struct workload_request *request_create(void)
{
    struct workload_request *request = calloc(1, sizeof *request);
    STELE_ASSERT(request != NULL);
    return request;
}

static void copy_item(struct workload_request *to, struct stele_query_item *item)
{
    const char **types = block(to, item->types_count * sizeof *types);
    const char **tags = block(to, item->tags_count * sizeof *tags);
    for (size_t i = 0; i < item->types_count; i++) {
        types[i] = keep_text(to, item->types[i]);
    }
    for (size_t i = 0; i < item->tags_count; i++) {
        tags[i] = keep_text(to, item->tags[i]);
    }
    item->types = types;
    item->tags = tags;
}

static void copy_draft(struct workload_request *to, struct stele_event_draft *draft)
{
    draft->type = keep_text(to, draft->type);
    draft->data = keep(to, draft->data, draft->data_size);
    draft->metadata = keep(to, draft->metadata, draft->metadata_size);
    if (draft->content_type != NULL) {
        draft->content_type = keep_text(to, draft->content_type);
    }
    const char **tags = block(to, draft->tags_count * sizeof *tags);
    for (size_t i = 0; i < draft->tags_count; i++) {
        tags[i] = keep_text(to, draft->tags[i]);
    }
    draft->tags = tags;
}

struct workload_request *workload_copy(const struct workload_request *request)
{
    struct workload_request *to = request_create();
    *to = *request;
    to->blocks = NULL;
    to->blocks_count = 0;
    to->blocks_capacity = 0;
    for (size_t i = 0; i < to->drafts_count; i++) {
        copy_draft(to, &to->drafts[i]);
    }
    for (size_t i = 0; i < to->streams_count; i++) {
        struct stele_append *append = &to->streams[i];
        append->stream = keep_text(to, append->stream);
        append->events = to->drafts + (append->events - request->drafts);
    }
    for (size_t i = 0; i < to->conditions_count; i++) {
        struct stele_condition *condition = &to->conditions[i];
        struct stele_query_item *items =
            keep(to, condition->items, condition->items_count * sizeof *items);
        for (size_t k = 0; k < condition->items_count; k++) {
            copy_item(to, &items[k]);
        }
        condition->items = items;
    }
    return to;
}

struct workload_request *workload_of(const struct stele_append *streams, size_t streams_count,
                                     const struct stele_condition *conditions,
                                     size_t conditions_count)
{
    struct workload_request borrowed = {.kind = WORKLOAD_APPEND};
    STELE_ASSERT(streams_count <= WORKLOAD_STREAMS_MAX);
    STELE_ASSERT(conditions_count <= WORKLOAD_CONDITIONS_MAX);
    for (size_t i = 0; i < streams_count; i++) {
        struct stele_append *append = &borrowed.streams[borrowed.streams_count++];
        *append = streams[i];
        append->events = borrowed.drafts + borrowed.drafts_count;
        STELE_ASSERT(borrowed.drafts_count + append->count <= WORKLOAD_EVENTS_MAX);
        for (size_t k = 0; k < append->count; k++) {
            borrowed.drafts[borrowed.drafts_count++] = streams[i].events[k];
        }
    }
    for (size_t i = 0; i < conditions_count; i++) {
        borrowed.conditions[borrowed.conditions_count++] = conditions[i];
    }
    return workload_copy(&borrowed);
}

void workload_remember(struct workload *workload, const struct workload_request *request)
{
    struct workload_request **at = &workload->recent[workload->recent_next++ % WORKLOAD_RECENT];
    workload_free(*at);
    *at = workload_copy(request);
}

/* ---- Names ---- */

static void stream_name(uint64_t number, char name[64])
{
    static const struct {
        const char *before;
        const char *after;
    } forms[] = {
        {"account-", ""}, {"order-", ""},     {"order-a-", ""}, {"invoice{customer-", "}-x"},
        {"solo", ""},     {"$settings-", ""}, {"-strange", ""}, {"konto-\xc3\xa4\xc3\xb6-", ""},
    };
    const size_t form = number % STELE_COUNT_OF(forms);
    (void)snprintf(name, 64, "%s%llu%s", forms[form].before,
                   (unsigned long long)(number / STELE_COUNT_OF(forms)), forms[form].after);
}

void workload_stream_name(struct workload *workload, char name[64])
{
    /* Some streams are used much more than others, and new ones take the place of old ones, some
     * of which are closed for ever. */
    const uint64_t bound =
        rng_percent(workload->rng, 50) ? workload->streams / 4 + 1 : workload->streams;
    if (rng_one_in(workload->rng, 100)) {
        workload->streams_first += rng_below(workload->rng, workload->streams) / 4 + 1;
    }
    stream_name(workload->streams_first + rng_below(workload->rng, bound), name);
}

static void type_name(struct workload *workload, char name[48])
{
    static const char *const types[] = {"Opened", "Deposited", "Withdrawn",   "Closed",
                                        "$audit", "Open",      "DepositedV2", "Z"};
    const uint64_t number = rng_below(workload->rng, workload->types);
    char suffix[24] = "";
    if (number >= 8) {
        (void)snprintf(suffix, sizeof suffix, "%llu", (unsigned long long)(number / 8));
    }
    (void)snprintf(name, 48, "%s%s", types[number % 8], suffix);
}

static void tag_name(struct workload *workload, char name[48])
{
    (void)snprintf(name, 48, "tag:%llu",
                   (unsigned long long)rng_below(workload->rng, workload->tags));
}

/* ---- Events ---- */

static void make_id(struct workload *workload, uint8_t id[16])
{
    uint64_t state = workload->next_id++;
    const uint64_t a = rng_mix(&state);
    stele_store_u64le(id, a);
    stele_store_u64le(id + 8, rng_mix(&state) | 1);
}

static size_t size_of_data(struct workload *workload)
{
    struct rng *rng = workload->rng;
    if (rng_one_in(rng, workload->large_one_in)) {
        return rng_below(rng, workload->large_size + 1);
    }
    return rng_percent(rng, 10) ? 0 : rng_log(rng, 1, workload->data_size);
}

static void *random_bytes(struct workload *workload, struct workload_request *request, size_t size)
{
    /* Long runs are cheap and compress; the beginning differs. */
    uint8_t *bytes = block(request, size);
    const uint64_t mark = rng_next(workload->rng);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i < 16 ? mark >> (i % 8 * 8) : (mark >> 8) + i / 7);
    }
    return bytes;
}

static void make_draft(struct workload *workload, struct workload_request *request,
                       struct stele_event_draft *draft)
{
    struct rng *rng = workload->rng;
    char name[48];
    type_name(workload, name);
    *draft = (struct stele_event_draft){.type = keep_text(request, name)};
    if (!rng_percent(rng, workload->nameless_percent)) {
        make_id(workload, draft->id);
    }
    draft->data_size = size_of_data(workload);
    draft->data = random_bytes(workload, request, draft->data_size);
    draft->metadata_size = rng_percent(rng, 70) ? 0 : rng_below(rng, 40);
    draft->metadata = random_bytes(workload, request, draft->metadata_size);
    if (rng_percent(rng, 20)) {
        draft->content_type = keep_text(request, rng_percent(rng, 50) ? "application/octet-stream"
                                                                      : "application/json");
    }
    if (rng_percent(rng, 5)) {
        draft->created_us = (int64_t)rng_between(rng, 1, UINT64_C(3000000000000000));
    }
    const size_t tags_count = rng_percent(rng, 60) ? 0 : rng_between(rng, 1, 3);
    const char **tags = block(request, tags_count * sizeof *tags);
    for (size_t i = 0; i < tags_count; i++) {
        char tag[48];
        bool repeated = false;
        tag_name(workload, tag);
        for (size_t k = 0; k < draft->tags_count; k++) {
            repeated = repeated || strcmp(tags[k], tag) == 0;
        }
        if (!repeated) {
            tags[draft->tags_count++] = keep_text(request, tag);
        }
    }
    draft->tags = tags;
}

static uint64_t make_expected(struct workload *workload, const struct model *model,
                              const char *stream)
{
    struct rng *rng = workload->rng;
    const uint64_t next = model_next(model, model_stream(model, stream), true);
    if (!rng_percent(rng, workload->wrong_percent)) {
        if (rng_percent(rng, 40)) {
            return STELE_EXPECT_ANY;
        }
        if (next == 0) {
            return STELE_EXPECT_NO_STREAM;
        }
        return rng_percent(rng, 20) ? STELE_EXPECT_EXISTS : next - 1;
    }
    switch (rng_below(rng, 5)) {
    case 0:
        return STELE_EXPECT_NO_STREAM;
    case 1:
        return STELE_EXPECT_EXISTS;
    case 2:
        return next;
    case 3:
        return next > 1 ? next - 2 : next + 1;
    default:
        return rng_below(rng, next + 3);
    }
}

/* ---- Requests ---- */

static size_t metadata_json(struct workload *workload, const struct model *model,
                            const char *stream, char json[160])
{
    struct rng *rng = workload->rng;
    const uint64_t next = model_next(model, model_stream(model, stream), true);
    size_t size = 0;
    size += (size_t)snprintf(json + size, 160 - size, "{");
    const char *comma = "";
    if (rng_percent(rng, 40)) {
        size += (size_t)snprintf(json + size, 160 - size, "%s\"$maxCount\":%llu", comma,
                                 (unsigned long long)rng_log(rng, 1, 64));
        comma = ",";
    }
    if (rng_percent(rng, 30)) {
        size += (size_t)snprintf(json + size, 160 - size, "%s\"$maxAge\":%llu", comma,
                                 (unsigned long long)rng_log(rng, 1, 100000));
        comma = ",";
    }
    if (rng_percent(rng, 30)) {
        size += (size_t)snprintf(json + size, 160 - size, "%s\"$tb\":%llu", comma,
                                 (unsigned long long)rng_below(rng, next + 2));
        comma = ",";
    }
    if (rng_percent(rng, 20)) {
        size += (size_t)snprintf(json + size, 160 - size, "%s\"mine\":[1,2]", comma);
    }
    return size + (size_t)snprintf(json + size, 160 - size, "}");
}

struct workload_request *workload_metadata(struct workload *workload, const char *stream,
                                           uint64_t expected, const void *json, size_t size)
{
    struct workload_request *request = request_create();
    char name[80];
    (void)snprintf(name, sizeof name, "$$%s", stream);
    request->drafts[0] = (struct stele_event_draft){
        .type = keep_text(request, "$metadata"),
        .data = keep(request, json, size),
        .data_size = size,
    };
    make_id(workload, request->drafts[0].id);
    request->drafts_count = 1;
    request->streams[0] = (struct stele_append){.stream = keep_text(request, name),
                                                .expected = expected,
                                                .events = request->drafts,
                                                .count = 1};
    request->streams_count = 1;
    return request;
}

static void add_stream(struct workload *workload, const struct model *model,
                       struct workload_request *request, size_t count)
{
    char name[64];
    bool repeated = true;
    for (int tries = 0; repeated; tries++) {
        if (tries == 20) {
            return;
        }
        workload_stream_name(workload, name);
        repeated = false;
        for (size_t i = 0; i < request->streams_count; i++) {
            repeated = repeated || strcmp(request->streams[i].stream, name) == 0;
        }
    }
    struct stele_append *append = &request->streams[request->streams_count++];
    *append = (struct stele_append){
        .stream = keep_text(request, name),
        .expected = make_expected(workload, model, name),
        .events = request->drafts + request->drafts_count,
        .count = count,
    };
    for (size_t i = 0; i < count; i++) {
        make_draft(workload, request, &request->drafts[request->drafts_count++]);
    }
}

static const char **name_list(struct workload *workload, struct workload_request *request,
                              size_t count, void (*make)(struct workload *, char *))
{
    const char **names = block(request, count * sizeof *names);
    for (size_t i = 0; i < count; i++) {
        char name[48];
        make(workload, name);
        names[i] = keep_text(request, name);
    }
    return names;
}

static void add_condition(struct workload *workload, const struct model *model,
                          struct workload_request *request)
{
    struct rng *rng = workload->rng;
    const size_t items_count = rng_between(rng, 1, 2);
    struct stele_query_item *items = block(request, items_count * sizeof *items);
    for (size_t i = 0; i < items_count; i++) {
        items[i].types_count = rng_below(rng, 3);
        items[i].tags_count = rng_below(rng, 3);
        items[i].types = name_list(workload, request, items[i].types_count, type_name);
        items[i].tags = name_list(workload, request, items[i].tags_count, tag_name);
    }
    uint64_t after = 0;
    if (model->count > 0 && !rng_percent(rng, 5)) {
        /* Mostly close to the end, so that about half of them hold. */
        const uint64_t back = rng_log(rng, 1, 64) - 1;
        const uint32_t at =
            back >= model->count ? 0 : (uint32_t)(model->count - 1 - (uint32_t)back);
        after = model->events[at].position;
    }
    request->conditions[request->conditions_count++] =
        (struct stele_condition){.items = items, .items_count = items_count, .after = after};
}

/* An earlier request, exactly or with a difference that matters. */
static struct workload_request *repeat(struct workload *workload, const struct model *model)
{
    struct rng *rng = workload->rng;
    const struct workload_request *before = workload->recent[rng_below(rng, WORKLOAD_RECENT)];
    if (before == NULL) {
        return NULL;
    }
    struct workload_request *request = workload_copy(before);
    struct stele_append *append = &request->streams[rng_below(rng, request->streams_count)];
    switch (rng_below(rng, 8)) {
    case 0: /* Other neighbours. */
        make_id(workload, request->drafts[request->drafts_count - 1].id);
        break;
    case 1:
        append->expected = STELE_EXPECT_ANY;
        break;
    case 2: /* The same ids in another stream. */
        if (strncmp(append->stream, "$$", 2) != 0 && request->streams_count == 1) {
            char name[64];
            workload_stream_name(workload, name);
            append->stream = keep_text(request, name);
            append->expected = make_expected(workload, model, name);
        }
        break;
    case 3: /* Only the beginning of it. */
        if (append->count > 1) {
            append->count--;
        }
        break;
    case 4:
        append->expected = make_expected(workload, model, append->stream);
        break;
    default:
        break;
    }
    return request;
}

static struct workload_request *metadata_request(struct workload *workload,
                                                 const struct model *model)
{
    char stream[64];
    char meta[80];
    char json[160];
    workload_stream_name(workload, stream);
    (void)snprintf(meta, sizeof meta, "$$%s", stream);
    const size_t size = metadata_json(workload, model, stream, json);
    return workload_metadata(workload, stream, make_expected(workload, model, meta), json, size);
}

struct workload_request *workload_request(struct workload *workload, const struct model *model)
{
    struct rng *rng = workload->rng;
    if (rng_percent(rng, workload->retry_percent)) {
        struct workload_request *request = repeat(workload, model);
        if (request != NULL) {
            return request;
        }
    }
    if (rng_one_in(rng, workload->metadata_one_in)) {
        return metadata_request(workload, model);
    }
    struct workload_request *request = request_create();
    const bool tombstone = rng_one_in(rng, workload->tombstone_one_in);
    if (tombstone || rng_one_in(rng, workload->delete_one_in)) {
        request->kind = tombstone ? WORKLOAD_TOMBSTONE : WORKLOAD_DELETE;
        add_stream(workload, model, request, 0);
        request->drafts[0] = (struct stele_event_draft){.type = "$tombstone"};
        request->streams[0].count = tombstone ? 1 : 0;
        request->drafts_count = 1;
        return request;
    }
    const size_t streams_count =
        rng_percent(rng, workload->multi_percent) ? rng_between(rng, 2, WORKLOAD_STREAMS_MAX) : 1;
    add_stream(workload, model, request,
               rng_percent(rng, 60) ? 1 : rng_log(rng, 1, workload->batch));
    for (size_t i = 1; i < streams_count; i++) {
        add_stream(workload, model, request, rng_below(rng, 4));
    }
    while (rng_percent(rng, workload->condition_percent) &&
           request->conditions_count < WORKLOAD_CONDITIONS_MAX) {
        add_condition(workload, model, request);
    }
    return request;
}

/* ---- Queries ---- */

static const char *query_text(struct workload_query *query, const char *text)
{
    STELE_ASSERT(query->texts_count < STELE_COUNT_OF(query->texts));
    char *to = query->texts[query->texts_count];
    (void)snprintf(to, sizeof query->texts[0], "%s", text);
    query->lists[query->texts_count++] = to;
    return to;
}

static void make_filter(struct workload *workload, struct workload_query *query)
{
    static const char *const regexes[] = {"^Open", "ed$", "V[0-9]", "a.*t", "[^a-z]"};
    struct rng *rng = workload->rng;
    struct stele_filter *filter = &query->filter;
    char name[64];
    const uint64_t fields = rng_between(rng, 1, 2);
    for (uint64_t i = 0; i < fields; i++) {
        const size_t first = query->texts_count;
        switch (rng_below(rng, 9)) {
        case 0:
            type_name(workload, name);
            (void)query_text(query, name);
            if (rng_percent(rng, 50)) {
                type_name(workload, name);
                (void)query_text(query, name);
            }
            filter->types = query->lists + first;
            filter->types_count = query->texts_count - first;
            break;
        case 1:
            (void)query_text(query, rng_percent(rng, 50) ? "De" : "Open");
            filter->type_prefixes = query->lists + first;
            filter->type_prefixes_count = 1;
            break;
        case 2:
            filter->type_regex = query_text(query, regexes[rng_below(rng, 5)]);
            break;
        case 3:
            workload_stream_name(workload, name);
            (void)query_text(query, name);
            filter->streams = query->lists + first;
            filter->streams_count = 1;
            break;
        case 4:
            (void)query_text(query, rng_percent(rng, 50) ? "order-" : "account");
            filter->stream_prefixes = query->lists + first;
            filter->stream_prefixes_count = 1;
            break;
        case 5:
            filter->stream_regex = query_text(query, regexes[rng_below(rng, 5)]);
            break;
        case 6:
            (void)query_text(query, rng_percent(rng, 50) ? "order" : "account");
            filter->categories = query->lists + first;
            filter->categories_count = 1;
            break;
        case 7:
            tag_name(workload, name);
            (void)query_text(query, name);
            if (rng_percent(rng, 30)) {
                tag_name(workload, name);
                (void)query_text(query, name);
            }
            filter->tags = query->lists + first;
            filter->tags_count = query->texts_count - first;
            break;
        default:
            filter->exclude_system = 1;
            break;
        }
    }
    query->options.filter = filter;
}

static uint64_t some_position(struct workload *workload, const struct model *model)
{
    if (model->count == 0) {
        return rng_below(workload->rng, 1000);
    }
    const uint32_t at = (uint32_t)rng_below(workload->rng, model->count);
    return model->events[at].position + rng_below(workload->rng, 3) - 1;
}

void workload_query(struct workload *workload, const struct model *model, bool follow,
                    struct workload_query *out)
{
    static const char *const categories[] = {"$ce-account", "$ce-order", "$ce-$settings",
                                             "$ce-none"};
    struct rng *rng = workload->rng;
    *out = (struct workload_query){.options = STELE_READ_OPTIONS_INIT};
    struct stele_read_options *options = &out->options;
    const uint64_t kind = rng_below(rng, 10);
    bool by_revision = false;
    if (kind < 4) {
        out->is_all = true;
    } else if (kind < 7) {
        by_revision = true;
        workload_stream_name(workload, out->stream);
        if (rng_percent(rng, 10)) {
            char name[64];
            memcpy(name, out->stream, sizeof name);
            (void)snprintf(out->stream, sizeof out->stream, "$$%.60s", name);
        }
    } else if (kind < 9) {
        (void)snprintf(out->stream, sizeof out->stream, "%s", categories[rng_below(rng, 4)]);
    } else {
        char type[48];
        type_name(workload, type);
        (void)snprintf(out->stream, sizeof out->stream, "$et-%s", type);
    }
    options->backwards = !follow && rng_percent(rng, 40);
    const uint64_t where = rng_below(rng, 10);
    if (where < 4) {
        options->from = options->backwards ? STELE_FROM_END : STELE_FROM_START;
    } else if (where < 5) {
        options->from = options->backwards ? STELE_FROM_START : STELE_FROM_END;
    } else if (by_revision) {
        const uint64_t next = model_next(model, model_stream(model, out->stream), true);
        options->from = rng_below(rng, next + 3);
    } else {
        options->from = some_position(workload, model);
    }
    /* Reads of everything are rare once there is much. */
    if (!follow && rng_percent(rng, model->count < 500 ? 25 : 90)) {
        options->limit = rng_log(rng, 1, 500);
    }
    if (!follow && rng_percent(rng, 15)) {
        options->as_of = some_position(workload, model);
    }
    options->ignore_limits = rng_percent(rng, 15);
    if (rng_percent(rng, out->is_all ? 50 : 15)) {
        make_filter(workload, out);
    }
}
