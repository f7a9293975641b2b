/* Appending and changing streams.
 *
 * POST /api/streams/NAME takes, by its content type:
 *   application/json                     one event, or a list: {"type":…,"data":…,"metadata":…,
 *                                        "id":…,"tags":[…],"content_type":…,"data_base64":…}
 *   application/cloudevents+json         one CloudEvent 1.0, structured mode
 *   application/cloudevents-batch+json   a list of them
 *   anything with ce-type, ce-id, …      one CloudEvent, binary mode: the body is the data
 *   anything with stele-type             one event whose data is the body
 * ?expect=any|none|exists|N and If-Match say what the stream must be at. */
#include "api/http/web_internal.h"
#include "base/text.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>

/* What an append is put together from; released when the engine has copied it. */
struct drafts {
    struct stele_event_draft *drafts;
    size_t count;
    json_t *json;
    struct stele_arena arena;
    struct stele_alloc *alloc;
    const char *mistake;
    size_t index; /* Of the event that is wrong. */
};

static struct stele_text header(const struct stele_web__request *request, const char *name)
{
    return stele_exchange_header(request->exchange, name);
}

static char *copy(struct drafts *drafts, const void *data, size_t size)
{
    char *to = stele_arena_allocate(&drafts->arena, drafts->alloc, size + 1);
    if (to == NULL) {
        drafts->mistake = "no memory";
        return NULL;
    }
    if (size > 0) {
        memcpy(to, data, size);
    }
    to[size] = '\0';
    return to;
}

/* A UUID, or any text, which is hashed so that the same id is the same event (RFC 9562, version 8). */
static void take_id(const char *text, const char *source, uint8_t id[16])
{
    if (stele_id_from_text(text, id) == STELE_OK) {
        return;
    }
    uint8_t hash[32];
    unsigned size = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const bool hashed = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                        EVP_DigestUpdate(context, source, strlen(source) + 1) == 1 &&
                        EVP_DigestUpdate(context, text, strlen(text)) == 1 &&
                        EVP_DigestFinal_ex(context, hash, &size) == 1;
    EVP_MD_CTX_free(context);
    if (!hashed) {
        stele_new_id(id);
        return;
    }
    memcpy(id, hash, 16);
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x80);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

static bool take_base64(struct drafts *drafts, const char *text, const void **out, size_t *out_size)
{
    const size_t size = strlen(text);
    uint8_t *to = (uint8_t *)copy(drafts, text, size);
    if (to == NULL) {
        return false;
    }
    if (!stele_base64_decode((struct stele_bytes){.data = to, .size = size}, 0, to, out_size)) {
        drafts->mistake = "data_base64 is no base64";
        return false;
    }
    *out = to;
    return true;
}

/* The value of a member as it was sent: its numbers keep their digits. One whose name is written with
 * escapes is not found that way, and written anew from what was parsed. */
static bool take_json(struct drafts *drafts, struct stele_bytes raw, const char *name,
                      const json_t *value, const void **out, size_t *out_size)
{
    const struct stele_bytes sent = stele_web__json_member(raw, name);
    if (sent.data != NULL) {
        *out = sent.data;
        *out_size = sent.size;
        return true;
    }
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    const char *kept = text == NULL ? NULL : copy(drafts, text, strlen(text));
    if (kept != NULL) {
        *out = kept;
        *out_size = strlen(kept);
    }
    free(text);
    drafts->mistake = kept == NULL ? "no memory" : drafts->mistake;
    return kept != NULL;
}

static bool take_tags(struct drafts *drafts, const json_t *tags, struct stele_event_draft *draft)
{
    const size_t count = json_array_size(tags);
    if (!json_is_array(tags) || count > STELE_TAGS_MAX) {
        drafts->mistake = "tags is a list of at most 32 names";
        return false;
    }
    const char **names =
        stele_arena_allocate(&drafts->arena, drafts->alloc, (count + 1) * sizeof *names);
    for (size_t i = 0; names != NULL && i < count; i++) {
        names[i] = json_string_value(json_array_get(tags, i));
        if (names[i] == NULL) {
            drafts->mistake = "a tag is a string";
            return false;
        }
    }
    draft->tags = names;
    draft->tags_count = names == NULL ? 0 : count;
    return names != NULL;
}

static bool is_json_type(const char *type)
{
    return type == NULL || strncmp(type, "application/json", 16) == 0 ||
           strstr(type, "+json") != NULL;
}

static const char *string_of(const json_t *object, const char *member)
{
    const json_t *text = json_object_get(object, member);
    const char *value = json_string_value(text);
    return value != NULL && strlen(value) == json_string_length(text) ? value : NULL;
}

static bool take_data(struct drafts *drafts, struct stele_bytes raw, const json_t *object,
                      struct stele_event_draft *draft)
{
    const json_t *data = json_object_get(object, "data");
    const char *base64 = string_of(object, "data_base64");
    if (base64 != NULL) {
        return take_base64(drafts, base64, &draft->data, &draft->data_size);
    }
    if (data == NULL) {
        return true;
    }
    if (!is_json_type(draft->content_type) && json_is_string(data)) {
        draft->data = json_string_value(data);
        draft->data_size = json_string_length(data);
        return true;
    }
    return take_json(drafts, raw, "data", data, &draft->data, &draft->data_size);
}

static bool take_event(struct drafts *drafts, struct stele_bytes raw, const json_t *object,
                       bool cloudevent, const char *stream, struct stele_event_draft *draft)
{
    if (!json_is_object(object)) {
        drafts->mistake = "an event is a JSON object";
        return false;
    }
    draft->type = string_of(object, "type");
    draft->content_type = string_of(object, cloudevent ? "datacontenttype" : "content_type");
    const char *id = string_of(object, "id");
    if (draft->type == NULL || draft->type[0] == '\0') {
        drafts->mistake = "\"type\" is missing";
        return false;
    }
    if (cloudevent && (id == NULL || string_of(object, "specversion") == NULL ||
                       strcmp(string_of(object, "specversion"), "1.0") != 0)) {
        drafts->mistake = "a CloudEvent has an id and the specversion 1.0";
        return false;
    }
    if (id != NULL && cloudevent) {
        const char *source = string_of(object, "source");
        take_id(id, source == NULL ? stream : source, draft->id);
    } else if (id != NULL && stele_id_from_text(id, draft->id) != STELE_OK) {
        drafts->mistake = "\"id\" is no UUID";
        return false;
    }
    const json_t *metadata = json_object_get(object, "metadata");
    const json_t *tags = json_object_get(object, "tags");
    return take_data(drafts, raw, object, draft) &&
           (metadata == NULL || take_json(drafts, raw, "metadata", metadata, &draft->metadata,
                                          &draft->metadata_size)) &&
           (tags == NULL || cloudevent || take_tags(drafts, tags, draft));
}

static bool take_list(struct drafts *drafts, const struct stele_buf *body, bool cloudevents,
                      const char *stream)
{
    json_error_t error;
    /* Integers may be larger than any type: they are not taken from here. */
    drafts->json =
        json_loadb((const char *)body->data, body->size,
                   JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
    if (drafts->json == NULL || !stele_web__is_json(body->data, body->size)) {
        drafts->mistake = "the body is no JSON";
        return false;
    }
    const bool list = json_is_array(drafts->json);
    drafts->count = list ? json_array_size(drafts->json) : 1;
    if (drafts->count == 0 || drafts->count > STELE_APPEND_EVENTS_MAX) {
        drafts->mistake = drafts->count == 0 ? "there is no event" : "there are too many events";
        return false;
    }
    const size_t size = drafts->count * sizeof *drafts->drafts;
    drafts->drafts = stele_arena_allocate(&drafts->arena, drafts->alloc, size);
    if (drafts->drafts == NULL) {
        drafts->mistake = "no memory";
        return false;
    }
    memset(drafts->drafts, 0, size);
    struct stele_bytes rest = {.data = body->data, .size = body->size};
    for (size_t i = 0; i < drafts->count; i++) {
        drafts->index = i;
        const struct stele_bytes raw = stele_web__json_item(&rest);
        const json_t *object = list ? json_array_get(drafts->json, i) : drafts->json;
        if (!take_event(drafts, raw, object, cloudevents, stream, &drafts->drafts[i])) {
            return false;
        }
    }
    return true;
}

/* One event whose data is the body. */
static bool take_binary(struct stele_web__request *request, struct drafts *drafts,
                        struct stele_text type, struct stele_text id, bool cloudevent)
{
    struct stele_event_draft *draft =
        stele_arena_allocate(&drafts->arena, drafts->alloc, sizeof *draft);
    const struct stele_text content_type = header(request, "content-type");
    const struct stele_text source = header(request, "ce-source");
    if (draft == NULL) {
        drafts->mistake = "no memory";
        return false;
    }
    *draft =
        (struct stele_event_draft){.data = request->body.data, .data_size = request->body.size};
    drafts->drafts = draft;
    drafts->count = 1;
    draft->type = copy(drafts, type.data, type.size);
    draft->content_type =
        content_type.size == 0 ? NULL : copy(drafts, content_type.data, content_type.size);
    if (id.size > 0) {
        const char *text = copy(drafts, id.data, id.size);
        const char *from =
            source.size == 0 ? request->name : copy(drafts, source.data, source.size);
        if (text == NULL || from == NULL) {
            return false;
        }
        if (cloudevent) {
            take_id(text, from, draft->id);
        } else if (stele_id_from_text(text, draft->id) != STELE_OK) {
            drafts->mistake = "the id is no UUID";
            return false;
        }
    }
    return draft->type != NULL && drafts->mistake == NULL;
}

static bool starts_with(struct stele_text text, const char *prefix)
{
    const size_t size = strlen(prefix);
    return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

static bool take_drafts(struct stele_web__request *request, struct drafts *drafts)
{
    const struct stele_text type = header(request, "content-type");
    const struct stele_text ce_type = header(request, "ce-type");
    const struct stele_text stele_type = header(request, "stele-type");
    if (ce_type.size > 0) {
        return take_binary(request, drafts, ce_type, header(request, "ce-id"), true);
    }
    if (stele_type.size > 0) {
        return take_binary(request, drafts, stele_type, header(request, "stele-id"), false);
    }
    return take_list(drafts, &request->body, starts_with(type, "application/cloudevents"),
                     request->name);
}

/* ?expect=any|none|exists|N. false: refused. */
static bool take_expected(struct stele_web__request *request, uint64_t *out)
{
    char text[32] = "any";
    const struct stele_text match = header(request, "if-match");
    if (match.size > 0 && match.size < sizeof text) {
        memcpy(text, match.data, match.size);
        text[match.size] = '\0';
    }
    (void)stele_web__query(request, "expect", text, sizeof text);
    if (strcmp(text, "any") == 0 || strcmp(text, "*") == 0) {
        *out = STELE_EXPECT_ANY;
    } else if (strcmp(text, "none") == 0) {
        *out = STELE_EXPECT_NO_STREAM;
    } else if (strcmp(text, "exists") == 0) {
        *out = STELE_EXPECT_EXISTS;
    } else {
        uint64_t number = 0;
        bool fits = text[0] != '\0' && strlen(text) < 19;
        for (const char *c = text; *c != '\0' && fits; c++) {
            fits = *c >= '0' && *c <= '9';
            number = number * 10 + (uint64_t)(*c - '0');
        }
        *out = number;
        if (!fits) {
            stele_web__refuse(request, 400, "invalid",
                              "expect is any, none, exists, or a revision");
            return false;
        }
    }
    return true;
}

static void on_done(struct stele_appending *appending)
{
    struct stele_web__request *request =
        (struct stele_web__request *)((char *)appending -
                                      offsetof(struct stele_web__request, appending));
    struct stele_append_result *result = &appending->result;
    if (appending->outcome == STELE_OK) {
        char text[320];
        (void)snprintf(text, sizeof text,
                       "{\"revision\":%llu,\"first_revision\":%llu,\"position\":\"%llu\","
                       "\"token\":\"%s\",\"idempotent\":%s}\n",
                       (unsigned long long)result->revision_last,
                       (unsigned long long)result->revision_first,
                       (unsigned long long)result->position_last, result->token,
                       result->idempotent ? "true" : "false");
        atomic_fetch_add(&request->web->appended, request->count);
        stele_web__answer(request, result->idempotent ? 200 : 201, "application/json",
                          stele_bytes_of_text(text));
    } else if (appending->outcome == STELE_WRONG_REVISION) {
        stele_web__refuse(request, 409, "wrong-revision",
                          result->revision_last == STELE_EXPECT_NO_STREAM
                              ? "the stream has no events"
                              : "the stream is at revision %llu",
                          (unsigned long long)result->revision_last);
    } else {
        stele_web__fail(request, appending->outcome, &appending->err);
    }
    stele_web__release(request);
}

static void give(struct stele_web__request *request, int outcome, const struct stele_error *err)
{
    if (outcome != STELE_OK) {
        stele_web__fail(request, outcome, err);
        stele_web__release(request);
    }
}

static void append_to(struct stele_web__request *request, const char *stream,
                      const struct stele_event_draft *drafts, size_t count, uint64_t expected)
{
    struct stele_engine *engine = request->web->server->engine;
    struct stele_error err = {.outcome = STELE_OK};
    const struct stele_append append = {
        .stream = stream, .expected = expected, .events = drafts, .count = count};
    request->count = count;
    request->appending.loop = request->loop;
    request->appending.on_done = on_done;
    stele_web__hold(request);
    give(request, engine->ops->append(engine, &request->appending, &append, 1, NULL, 0, &err),
         &err);
}

void stele_web__append(struct stele_web__request *request)
{
    uint64_t expected = 0;
    if (request->name[0] == '\0') {
        stele_web__refuse(request, 400, "invalid", "the stream's name is empty");
        return;
    }
    if (!stele_web__may(request, request->name, STELE_RIGHT_WRITE) ||
        !take_expected(request, &expected)) {
        return;
    }
    struct drafts drafts = {.alloc = request->web->alloc, .arena = {.block_size = 4096}};
    if (take_drafts(request, &drafts)) {
        append_to(request, request->name, drafts.drafts, drafts.count, expected);
    } else {
        stele_web__refuse(request, 400, "invalid", "event %zu: %s", drafts.index,
                          drafts.mistake == NULL ? "it is malformed" : drafts.mistake);
    }
    json_decref(drafts.json);
    stele_arena_deinit(&drafts.arena, drafts.alloc);
}

/* POST /streams/NAME of KurrentDB: one event, its type and id in headers. */
void stele_web__kurrent_append(struct stele_web__request *request)
{
    struct stele_text type = header(request, "es-eventtype");
    struct stele_text id = header(request, "es-eventid");
    type = type.size == 0 ? header(request, "kurrent-eventtype") : type;
    id = id.size == 0 ? header(request, "kurrent-eventid") : id;
    if (type.size == 0) {
        stele_web__refuse(request, 400, "invalid", "the header ES-EventType is missing");
        return;
    }
    if (!stele_web__may(request, request->name, STELE_RIGHT_WRITE)) {
        return;
    }
    struct drafts drafts = {.alloc = request->web->alloc, .arena = {.block_size = 4096}};
    if (take_binary(request, &drafts, type, id, false)) {
        append_to(request, request->name, drafts.drafts, drafts.count, STELE_EXPECT_ANY);
    } else {
        stele_web__refuse(request, 400, "invalid", "%s",
                          drafts.mistake == NULL ? "the event is malformed" : drafts.mistake);
    }
    stele_arena_deinit(&drafts.arena, drafts.alloc);
}

void stele_web__delete(struct stele_web__request *request)
{
    struct stele_engine *engine = request->web->server->engine;
    struct stele_error err = {.outcome = STELE_OK};
    uint64_t expected = 0;
    if (!stele_web__may(request, request->name, STELE_RIGHT_DELETE) ||
        !take_expected(request, &expected)) {
        return;
    }
    request->appending.loop = request->loop;
    request->appending.on_done = on_done;
    stele_web__hold(request);
    const bool tombstone = stele_web__query_flag(request, "tombstone");
    const int outcome =
        tombstone
            ? engine->ops->tombstone(engine, &request->appending, request->name, expected, &err)
            : engine->ops->soft_delete(engine, &request->appending, request->name, expected, &err);
    give(request, outcome, &err);
}

void stele_web__meta_get(struct stele_web__request *request)
{
    struct stele_engine *engine = request->web->server->engine;
    struct stele_alloc *alloc = request->web->alloc;
    struct stele_error err = {.outcome = STELE_OK};
    uint64_t revision = 0;
    size_t size = 0;
    if (!stele_web__may(request, request->name, STELE_RIGHT_META_READ)) {
        return;
    }
    int outcome = engine->ops->get_metadata(engine, request->name, NULL, 0, &size, &revision, &err);
    struct stele_buf json = {.data = NULL};
    if (outcome == STELE_OK) {
        outcome = stele_buf_reserve(&json, alloc, size + 1);
    }
    if (outcome == STELE_OK) {
        outcome = engine->ops->get_metadata(engine, request->name, (char *)json.data, json.capacity,
                                            &size, &revision, &err);
        json.size = size < json.capacity ? size : json.capacity;
    }
    if (outcome == STELE_OK) {
        stele_web__answer_buf(request, 200, "application/json", &json);
    } else {
        stele_web__fail(request, outcome, &err);
    }
    stele_buf_deinit(&json, alloc);
}

void stele_web__meta_set(struct stele_web__request *request)
{
    uint64_t expected = 0;
    if (!stele_web__may(request, request->name, STELE_RIGHT_META_WRITE) ||
        !take_expected(request, &expected)) {
        return;
    }
    if (!stele_web__is_json(request->body.data == NULL ? "" : (const char *)request->body.data,
                            request->body.size)) {
        stele_web__refuse(request, 400, "invalid", "metadata is a JSON object");
        return;
    }
    char name[STELE_STREAM_NAME_SIZE_MAX + 3];
    if (request->name[0] == '\0' || strlen(request->name) > STELE_STREAM_NAME_SIZE_MAX) {
        stele_web__refuse(request, 400, "invalid", "the stream's name is empty or too long");
        return;
    }
    (void)snprintf(name, sizeof name, "$$%s", request->name);
    const struct stele_event_draft draft = {
        .type = "$metadata", .data = request->body.data, .data_size = request->body.size};
    append_to(request, name, &draft, 1, expected);
}
