/* Appending and changing streams. drafts.h says what an append may look like; ?expect=any|none|exists|N
 * and If-Match say what the stream must be at. */
#include "api/http/drafts.h"
#include "api/http/web_internal.h"

#include <stdio.h>

static struct stele_text header(const struct stele_web__request *request, const char *name)
{
    return stele_exchange_header(request->exchange, name);
}

/* ?expect=any|none|exists|N. false: refused. */
static bool take_expected(struct stele_web__request *request, uint64_t *out)
{
    char text[32] = "any";
    const struct stele_text match = header(request, "if-match");
    if (match.size >= sizeof text) {
        stele_web__refuse(request, 400, "invalid", "If-Match is any, none, exists, or a revision");
        return false;
    }
    if (match.size > 0) {
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
    struct stele_web__drafts drafts;
    stele_web__drafts_init(&drafts, request->web->alloc);
    if (stele_web__drafts_take(&drafts, request)) {
        append_to(request, request->name, drafts.drafts, drafts.count, expected);
    } else if (drafts.index == SIZE_MAX) {
        stele_web__refuse(request, 400, "invalid", "%s", drafts.mistake);
    } else {
        stele_web__refuse(request, 400, "invalid", "event %zu: %s", drafts.index,
                          drafts.mistake == NULL ? "it is malformed" : drafts.mistake);
    }
    stele_web__drafts_deinit(&drafts);
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
    struct stele_web__drafts drafts;
    stele_web__drafts_init(&drafts, request->web->alloc);
    if (stele_web__drafts_take_body(&drafts, request, type, id)) {
        append_to(request, request->name, drafts.drafts, drafts.count, STELE_EXPECT_ANY);
    } else {
        stele_web__refuse(request, 400, "invalid", "%s",
                          drafts.mistake == NULL ? "the event is malformed" : drafts.mistake);
    }
    stele_web__drafts_deinit(&drafts);
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
