/* The books in Elasticsearch: documents that are replaced only as they were read; builds, listings. */
#include "base/hex.h"
#include "sinks/elastic.h"

#include <stele/sinks.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTED_MAX 10000

void stele_sinks__elastic_forget(struct stele_sinks_elastic_book *book)
{
    json_decref(book->json);
    book->json = NULL;
}

uint64_t stele_sinks__elastic_number(const json_t *json, const char *name)
{
    const char *const text = json_string_value(json_object_get(json, name));
    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

void stele_sinks__elastic_set(json_t *json, const char *name, uint64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    (void)json_object_set_new(json, name, json_string(text));
}

static int no_memory(struct stele_error *err)
{
    return stele_fail(err, STELE_E_NO_MEMORY, 0, "Elasticsearch: no memory");
}

/* ---- Documents ---- */

int stele_sinks__elastic_read(struct stele_sinks_elastic *sink, const char *id,
                              struct stele_sinks_elastic_book *book, struct stele_error *err)
{
    char path[STELE_ELASTIC_NAME_SIZE + 64];
    char name[STELE_ELASTIC_NAME_SIZE];
    long status = 0;
    json_t *answer = NULL;
    (void)snprintf(name, sizeof name, "%s", id);
    (void)snprintf(path, sizeof path, STELE_ELASTIC_BOOKS "/_doc/%s", name);
    int outcome =
        stele_sinks__elastic_ask(&sink->link, "GET", path, NULL, 0, &status, &answer, err);
    if (outcome == STELE_OK && status != 200 && status != 404) {
        outcome =
            stele_sinks__elastic_refused(&sink->link, "reading its books", status, answer, err);
    }
    if (outcome == STELE_OK) {
        stele_sinks__elastic_forget(book);
        (void)snprintf(book->id, sizeof book->id, "%s", name);
        book->json = status == 200 ? json_incref(json_object_get(answer, "_source")) : NULL;
        book->number = json_integer_value(json_object_get(answer, "_seq_no"));
        book->term = json_integer_value(json_object_get(answer, "_primary_term"));
    }
    json_decref(answer);
    return outcome;
}

/* Was it this write that is there, and only its answer that was lost? */
static int after_conflict(struct stele_sinks_elastic *sink, struct stele_sinks_elastic_book *book,
                          const char *nonce, struct stele_error *err)
{
    struct stele_sinks_elastic_book there = {.json = NULL};
    int outcome = stele_sinks__elastic_read(sink, book->id, &there, err);
    if (outcome == STELE_OK) {
        const char *const last = json_string_value(json_object_get(there.json, "nonce"));
        if (last != NULL && strcmp(last, nonce) == 0) {
            stele_sinks__elastic_forget(book);
            *book = there;
            return STELE_OK;
        }
        outcome = stele_fail(err, STELE_E_FENCED, 0, "%s: another process has moved it", book->id);
    }
    stele_sinks__elastic_forget(&there);
    return outcome;
}

int stele_sinks__elastic_write(struct stele_sinks_elastic *sink,
                               struct stele_sinks_elastic_book *book, json_t *take_json,
                               struct stele_error *err)
{
    char path[STELE_ELASTIC_NAME_SIZE + 160];
    char nonce[64];
    long status = 0;
    json_t *answer = NULL;
    (void)snprintf(nonce, sizeof nonce, "%s-%llu", sink->seed, (unsigned long long)++sink->nonces);
    (void)json_object_set_new(take_json, "nonce", json_string(nonce));
    char *const body = json_dumps(take_json, JSON_COMPACT);
    if (body == NULL) {
        json_decref(take_json);
        return no_memory(err);
    }
    if (book->json == NULL) {
        (void)snprintf(path, sizeof path, STELE_ELASTIC_BOOKS "/_create/%s", book->id);
    } else {
        (void)snprintf(path, sizeof path,
                       STELE_ELASTIC_BOOKS "/_doc/%s?if_seq_no=%lld&if_primary_term=%lld", book->id,
                       (long long)book->number, (long long)book->term);
    }
    int outcome = stele_sinks__elastic_ask(&sink->link, "PUT", path, body, strlen(body), &status,
                                           &answer, err);
    free(body);
    if (outcome == STELE_OK && status == 409) {
        outcome = after_conflict(sink, book, nonce, err);
    } else if (outcome == STELE_OK && status != 200 && status != 201) {
        outcome =
            stele_sinks__elastic_refused(&sink->link, "writing its books", status, answer, err);
    } else if (outcome == STELE_OK) {
        json_decref(book->json);
        book->json = json_incref(take_json);
        book->number = json_integer_value(json_object_get(answer, "_seq_no"));
        book->term = json_integer_value(json_object_get(answer, "_primary_term"));
    }
    json_decref(answer);
    json_decref(take_json);
    return outcome;
}

/* ---- Indexes ---- */

/* One request about an index; `fine` is a status that is no mistake either. */
static int change(struct stele_sinks_elastic *sink, const char *method, const char *path,
                  const char *body, const char *what, long fine, struct stele_error *err)
{
    long status = 0;
    json_t *answer = NULL;
    int outcome = stele_sinks__elastic_ask(&sink->link, method, path, body != NULL ? body : "",
                                           body != NULL ? strlen(body) : 0, &status, &answer, err);
    if (outcome == STELE_OK && status >= 300 && status != fine) {
        outcome = stele_sinks__elastic_refused(&sink->link, what, status, answer, err);
    }
    json_decref(answer);
    return outcome;
}

/* An index that is there already (400) was made by a run that was killed, or is the books'. */
static int make_index(struct stele_sinks_elastic *sink, const char *name, const char *body,
                      struct stele_error *err)
{
    long status = 0;
    json_t *answer = NULL;
    int outcome = stele_sinks__elastic_ask(&sink->link, "PUT", name, body, strlen(body), &status,
                                           &answer, err);
    const char *const type =
        json_string_value(json_object_get(json_object_get(answer, "error"), "type"));
    if (outcome == STELE_OK && status >= 300 &&
        (type == NULL || strcmp(type, "resource_already_exists_exception") != 0)) {
        outcome = stele_sinks__elastic_refused(&sink->link, "making an index", status, answer, err);
        outcome = status == 400 ? STELE_E_INVALID : outcome;
    }
    json_decref(answer);
    return outcome;
}

static int drop_index(struct stele_sinks_elastic *sink, const char *name, const char *number,
                      struct stele_error *err)
{
    char path[STELE_ELASTIC_NAME_SIZE + 16];
    char document[STELE_ELASTIC_NAME_SIZE + 64];
    (void)snprintf(path, sizeof path, "%s__%s", name, number);
    (void)snprintf(document, sizeof document, STELE_ELASTIC_BOOKS "/_doc/%s.%s", name, number);
    const int outcome = change(sink, "DELETE", path, NULL, "removing an index", 404, err);
    return outcome == STELE_OK
               ? change(sink, "DELETE", document, NULL, "removing a build", 404, err)
               : outcome;
}

int stele_sinks__elastic_tidy(struct stele_sinks_elastic *sink, struct stele_error *err)
{
    const char *const name = sink->projection->name;
    json_t *const drops = json_object_get(sink->head.json, "drops");
    char body[600];
    (void)snprintf(body, sizeof body,
                   "{\"actions\":[{\"remove\":{\"index\":\"%s__*\",\"alias\":\"%s\",\"must_exist\":"
                   "false}},{\"add\":{\"index\":\"%s__%llu\",\"alias\":\"%s\"}}]}",
                   name, name, name,
                   (unsigned long long)stele_sinks__elastic_number(sink->head.json, "live"), name);
    int outcome = change(sink, "POST", "_aliases", body, "setting the alias", 0, err);
    for (size_t i = 0; i < json_array_size(drops) && outcome == STELE_OK; i++) {
        outcome = drop_index(sink, name, json_string_value(json_array_get(drops, i)), err);
    }
    if (outcome != STELE_OK || json_array_size(drops) == 0) {
        return outcome;
    }
    json_t *const head = json_deep_copy(sink->head.json);
    if (head == NULL || json_object_set_new(head, "drops", json_array()) != 0) {
        json_decref(head);
        return no_memory(err);
    }
    outcome = stele_sinks__elastic_write(sink, &sink->head, head, err);
    return outcome == STELE_E_FENCED ? STELE_OK : outcome; /* Then another one does it. */
}

/* ---- Attaching ---- */

static int check_request(const struct stele_sink_request *request, struct stele_error *err)
{
    const struct stele_projection *const projection = request->projection;
    if (projection->c.apply != NULL || projection->language != STELE_LANGUAGE_JQ) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "%.80s:1: Elasticsearch takes a projection in jq: `# @language jq` says "
                          "so",
                          projection->file);
    }
    if (strspn(projection->name, "abcdefghijklmnopqrstuvwxyz0123456789_-") !=
            strlen(projection->name) ||
        projection->name[0] == '_' || projection->name[0] == '-') {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "%.80s:1: %s: an index of Elasticsearch has small letters in its name, "
                          "and begins with one or a digit",
                          projection->file, projection->name);
    }
    if (request->lanes > 1) {
        return stele_fail(err, STELE_E_LIMIT, 0, "projection %s: %u lanes; Elasticsearch has 1",
                          projection->name, request->lanes);
    }
    return STELE_OK;
}

static int check_live(const struct stele_sinks_elastic *sink,
                      const struct stele_sink_request *request, const char *store,
                      const json_t *live, struct stele_error *err)
{
    const struct stele_projection *const projection = request->projection;
    const char *const owner = json_string_value(json_object_get(sink->head.json, "store"));
    const char *const source = json_string_value(json_object_get(live, "source"));
    if (owner == NULL || strcmp(owner, store) != 0) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "%.150s: projection %s was made of another store; use another server, or "
                          "drop it there first",
                          sink->link.shown, projection->name);
    }
    if (request->rebuild) {
        return STELE_OK;
    }
    if (stele_sinks__elastic_number(live, "version") != projection->version) {
        return stele_fail(
            err, STELE_CONDITION_FAILED, 0,
            "%.80s: this is version %llu of projection %s, the database has version %llu; a "
            "rebuild makes the new one beside it and switches over",
            projection->file, (unsigned long long)projection->version, projection->name,
            (unsigned long long)stele_sinks__elastic_number(live, "version"));
    }
    if (source == NULL || strcmp(source, projection->source.data) != 0) {
        return stele_fail(
            err, STELE_CONDITION_FAILED, 0,
            "%.80s: the file was changed since version %llu of projection %s was made of it; raise "
            "@version and rebuild",
            projection->file, (unsigned long long)projection->version, projection->name);
    }
    return STELE_OK;
}

static void name_build(struct stele_sinks_elastic *sink, uint64_t number)
{
    const char *const name = sink->projection->name;
    sink->number = number;
    (void)snprintf(sink->index, sizeof sink->index, "%s__%llu", name, (unsigned long long)number);
    (void)snprintf(sink->build.id, sizeof sink->build.id, "%s.%llu", name,
                   (unsigned long long)number);
}

/* The index and the document of a build that nobody uses yet. */
static int make_build(struct stele_sinks_elastic *sink, const struct stele_sink_request *request,
                      uint64_t number, bool live, struct stele_error *err)
{
    const struct stele_projection *const projection = request->projection;
    char *body = NULL;
    char id[STELE_ELASTIC_NAME_SIZE];
    name_build(sink, number);
    (void)snprintf(id, sizeof id, "%s", sink->build.id);
    int outcome = stele_sinks__elastic_docs_setup(sink->docs, &body, err);
    if (outcome == STELE_OK) {
        /* What a run that was killed has left there would be mixed with what comes. */
        outcome = change(sink, "DELETE", sink->index, NULL, "removing an index", 404, err);
    }
    if (outcome == STELE_OK) {
        outcome = make_index(sink, sink->index, body, err);
    }
    free(body);
    if (outcome == STELE_OK) {
        outcome = stele_sinks__elastic_read(sink, id, &sink->build, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    json_t *const json =
        json_pack("{s:s, s:s, s:[]}", "kind", "build", "source", projection->source.data, "parked");
    if (json == NULL) {
        return no_memory(err);
    }
    stele_sinks__elastic_set(json, "version", projection->version);
    stele_sinks__elastic_set(json, "position", 0);
    /* Everything that a rebuild sees has been seen before. */
    stele_sinks__elastic_set(json, "effects", live ? request->effects_after : (uint64_t)INT64_MAX);
    stele_sinks__elastic_set(json, "generation", 0);
    stele_sinks__elastic_set(json, "events", 0);
    return stele_sinks__elastic_write(sink, &sink->build, json, err);
}

static int first_build(struct stele_sinks_elastic *sink, const struct stele_sink_request *request,
                       const char *store, struct stele_error *err)
{
    if (request->must_exist) {
        return stele_fail(err, STELE_NOT_FOUND, 0, "%.200s: there is no projection %s there",
                          sink->link.shown, request->projection->name);
    }
    int outcome = make_index(sink, STELE_ELASTIC_BOOKS, "{\"mappings\":{\"dynamic\":false}}", err);
    if (outcome == STELE_OK) {
        outcome = make_build(sink, request, 1, true, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    json_t *const head = json_pack("{s:s, s:s, s:s, s:s, s:s, s:[]}", "kind", "head", "store",
                                   store, "live", "1", "building", "0", "builds", "1", "drops");
    return head != NULL ? stele_sinks__elastic_write(sink, &sink->head, head, err) : no_memory(err);
}

/* The build of a rebuild: one that was begun and can go on, or a new one. */
static int find_building(struct stele_sinks_elastic *sink, const struct stele_sink_request *request,
                         struct stele_error *err)
{
    const uint64_t building = stele_sinks__elastic_number(sink->head.json, "building");
    const uint64_t next = stele_sinks__elastic_number(sink->head.json, "builds") + 1;
    int outcome = STELE_OK;
    if (building != 0) {
        char id[STELE_ELASTIC_NAME_SIZE];
        name_build(sink, building);
        (void)snprintf(id, sizeof id, "%s", sink->build.id);
        outcome = stele_sinks__elastic_read(sink, id, &sink->build, err);
        const char *const source = json_string_value(json_object_get(sink->build.json, "source"));
        if (outcome != STELE_OK ||
            (source != NULL && strcmp(source, request->projection->source.data) == 0)) {
            return outcome;
        }
        stele_sinks__elastic_forget(&sink->build);
    }
    json_t *const head = json_deep_copy(sink->head.json);
    if (head == NULL) {
        return no_memory(err);
    }
    if (building != 0) {
        (void)json_array_append_new(json_object_get(head, "drops"),
                                    json_incref(json_object_get(head, "building")));
    }
    stele_sinks__elastic_set(head, "builds", next);
    stele_sinks__elastic_set(head, "building", next);
    outcome = make_build(sink, request, next, false, err);
    if (outcome != STELE_OK) {
        json_decref(head);
        return outcome;
    }
    return stele_sinks__elastic_write(sink, &sink->head, head, err);
}

static int find_build(struct stele_sinks_elastic *sink, const struct stele_sink_request *request,
                      bool *out_building, struct stele_error *err)
{
    char store[33];
    char id[STELE_ELASTIC_NAME_SIZE];
    stele_hex_encode(request->store_id, 16, store);
    int outcome = stele_sinks__elastic_read(sink, request->projection->name, &sink->head, err);
    if (outcome == STELE_OK && sink->head.json == NULL) {
        return first_build(sink, request, store, err);
    }
    if (outcome == STELE_OK && (sink->flags & STELE_SINK_NEW) != 0) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "%.200s: projection %s is there already; a fresh one is wanted",
                          sink->link.shown, request->projection->name);
    }
    if (outcome == STELE_OK) {
        name_build(sink, stele_sinks__elastic_number(sink->head.json, "live"));
        (void)snprintf(id, sizeof id, "%s", sink->build.id);
        outcome = stele_sinks__elastic_read(sink, id, &sink->build, err);
    }
    if (outcome == STELE_OK) {
        outcome = check_live(sink, request, store, sink->build.json, err);
    }
    if (outcome == STELE_OK && request->rebuild) {
        *out_building = true;
        outcome = find_building(sink, request, err);
    }
    return outcome;
}

int stele_sinks__elastic_attach(struct stele_sink *base, const struct stele_sink_request *request,
                                struct stele_sink_place *out_place, struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    bool building = false;
    STELE_ASSERT(sink->projection == NULL);
    int outcome = check_request(request, err);
    if (outcome == STELE_OK) {
        outcome = stele_sinks__elastic_docs_create(request->projection, &sink->docs, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    sink->projection = request->projection;
    outcome = find_build(sink, request, &building, err);
    if (outcome == STELE_OK) {
        outcome = stele_sinks__elastic_tidy(sink, err);
    }
    if (outcome != STELE_OK) {
        stele_sinks__elastic_detach(base);
        return outcome == STELE_E_FENCED ? STELE_E_OVERLOADED : outcome;
    }
    *out_place = (struct stele_sink_place){.build = sink->number, .building = building, .lanes = 1};
    out_place->lane[0].position = stele_sinks__elastic_number(sink->build.json, "position");
    out_place->lane[0].effects_after = stele_sinks__elastic_number(sink->build.json, "effects");
    return STELE_OK;
}

void stele_sinks__elastic_detach(struct stele_sink *base)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    stele_sinks__elastic_docs_destroy(sink->docs);
    sink->docs = NULL;
    stele_sinks__elastic_forget(&sink->head);
    stele_sinks__elastic_forget(&sink->build);
    sink->projection = NULL;
}

/* ---- Shown ---- */

/* All documents of the books. */
static int read_all(struct stele_sinks_elastic *sink, json_t **out_answer, struct stele_error *err)
{
    char body[40];
    long status = 0;
    /* A search sees what was written before the last refresh. */
    int outcome = change(sink, "POST", STELE_ELASTIC_BOOKS "/_refresh", NULL,
                         "refreshing its books", 404, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    (void)snprintf(body, sizeof body, "{\"size\":%d}", LISTED_MAX);
    outcome = stele_sinks__elastic_ask(&sink->link, "POST", STELE_ELASTIC_BOOKS "/_search", body,
                                       strlen(body), &status, out_answer, err);
    if (outcome == STELE_OK && status != 200 && status != 404) {
        outcome = stele_sinks__elastic_refused(&sink->link, "reading its books", status,
                                               *out_answer, err);
        json_decref(*out_answer);
    }
    return outcome;
}

/* The document of a build in what read_all() found. */
static const json_t *find(const json_t *hits, const char *name, uint64_t number)
{
    char id[STELE_ELASTIC_NAME_SIZE];
    (void)snprintf(id, sizeof id, "%s.%llu", name, (unsigned long long)number);
    for (size_t i = 0; i < json_array_size(hits); i++) {
        const json_t *const hit = json_array_get(hits, i);
        const char *const own = json_string_value(json_object_get(hit, "_id"));
        if (own != NULL && strcmp(own, id) == 0) {
            return json_object_get(hit, "_source");
        }
    }
    return NULL;
}

struct shown {
    const char *name;
    const json_t *build;
    uint64_t number;
    bool building;
};
typedef int (*on_shown)(void *context, const struct shown *shown);

static int by_id(const void *a, const void *b)
{
    const json_t *const *const left = a;
    const json_t *const *const right = b;
    return strcmp(json_string_value(json_object_get(*left, "_id")),
                  json_string_value(json_object_get(*right, "_id")));
}

/* Every build of every projection, by name. */
static int show_all(struct stele_sinks_elastic *sink, on_shown callback, void *context,
                    struct stele_error *err)
{
    static const char *const states[] = {"live", "building"};
    json_t *answer = NULL;
    int outcome = read_all(sink, &answer, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const json_t *const hits = json_object_get(json_object_get(answer, "hits"), "hits");
    const size_t count = json_array_size(hits);
    const json_t **const sorted = calloc(count + 1, sizeof(json_t *));
    int ends = sorted != NULL ? 0 : no_memory(err);
    for (size_t i = 0; i < count && sorted != NULL; i++) {
        sorted[i] = json_array_get(hits, i);
    }
    if (sorted != NULL) {
        qsort((void *)sorted, count, sizeof(json_t *), by_id);
    }
    for (size_t i = 0; i < count && ends == 0; i++) {
        const json_t *const head = json_object_get(sorted[i], "_source");
        const char *const kind = json_string_value(json_object_get(head, "kind"));
        for (size_t j = 0; j < 2 && ends == 0 && kind != NULL && strcmp(kind, "head") == 0; j++) {
            struct shown shown = {.name = json_string_value(json_object_get(sorted[i], "_id")),
                                  .number = stele_sinks__elastic_number(head, states[j]),
                                  .building = j == 1};
            shown.build = find(hits, shown.name, shown.number);
            ends = shown.build != NULL ? callback(context, &shown) : 0;
        }
    }
    free((void *)sorted);
    json_decref(answer);
    return ends == STELE_E_NO_MEMORY ? ends : STELE_OK;
}

struct walk {
    stele_project_callback on_projection;
    stele_parked_callback on_parked;
    const char *name;
    void *context;
};

static int tell_build(void *context, const struct shown *shown)
{
    const struct walk *const walk = context;
    const char *const source = json_string_value(json_object_get(shown->build, "source"));
    const struct stele_project_info info = {
        .name = shown->name,
        .version = stele_sinks__elastic_number(shown->build, "version"),
        .build = shown->number,
        .building = shown->building ? 1 : 0,
        .lanes = 1,
        .position = stele_sinks__elastic_number(shown->build, "position"),
        .events = stele_sinks__elastic_number(shown->build, "events"),
        .parked = json_array_size(json_object_get(shown->build, "parked")),
        .source = source != NULL ? source : "",
    };
    return walk->on_projection(walk->context, &info);
}

int stele_sinks__elastic_list(struct stele_sink *base, stele_project_callback on_projection,
                              void *context, struct stele_error *err)
{
    struct walk walk = {.on_projection = on_projection, .context = context};
    return show_all(stele_sinks__elastic_of(base), tell_build, &walk, err);
}

static int tell_parked(void *context, const struct shown *shown)
{
    const struct walk *const walk = context;
    const json_t *const all = json_object_get(shown->build, "parked");
    int ends = 0;
    if (shown->building || (walk->name != NULL && strcmp(walk->name, shown->name) != 0)) {
        return 0;
    }
    for (size_t i = 0; i < json_array_size(all) && ends == 0; i++) {
        const json_t *const item = json_array_get(all, i);
        const struct stele_project_parked parked = {
            .name = shown->name,
            .stream = json_string_value(json_object_get(item, "stream")),
            .type = json_string_value(json_object_get(item, "type")),
            .revision = (uint64_t)json_integer_value(json_object_get(item, "revision")),
            .position = stele_sinks__elastic_number(item, "position"),
            .attempts = (uint64_t)json_integer_value(json_object_get(item, "attempts")),
            .reason = json_string_value(json_object_get(item, "reason")),
        };
        ends = walk->on_parked(walk->context, &parked);
    }
    return ends;
}

int stele_sinks__elastic_parked(struct stele_sink *base, const char *name,
                                stele_parked_callback on_parked, void *context,
                                struct stele_error *err)
{
    struct walk walk = {.on_parked = on_parked, .name = name, .context = context};
    return show_all(stele_sinks__elastic_of(base), tell_parked, &walk, err);
}

static int no_projection(const struct stele_sinks_elastic *sink, const char *name,
                         struct stele_error *err)
{
    return stele_fail(err, STELE_NOT_FOUND, 0, "%.200s: there is no projection %s there",
                      sink->link.shown, name);
}

int stele_sinks__elastic_position(struct stele_sink *base, const char *name, uint64_t *out_position,
                                  struct stele_error *err)
{
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    struct stele_sinks_elastic_book head = {.json = NULL};
    struct stele_sinks_elastic_book build = {.json = NULL};
    int outcome = stele_sinks__elastic_read(sink, name, &head, err);
    if (outcome == STELE_OK && head.json == NULL) {
        outcome = no_projection(sink, name, err);
    }
    if (outcome == STELE_OK) {
        char id[STELE_ELASTIC_NAME_SIZE];
        (void)snprintf(id, sizeof id, "%.48s.%llu", name,
                       (unsigned long long)stele_sinks__elastic_number(head.json, "live"));
        outcome = stele_sinks__elastic_read(sink, id, &build, err);
    }
    if (outcome == STELE_OK) {
        *out_position = stele_sinks__elastic_number(build.json, "position");
    }
    stele_sinks__elastic_forget(&head);
    stele_sinks__elastic_forget(&build);
    return outcome;
}

/* Indexes first: a drop that was killed half-way finds the head, and goes on. */
int stele_sinks__elastic_drop(struct stele_sink *base, const struct stele_projection *projection,
                              struct stele_error *err)
{
    static const char *const states[] = {"live", "building"};
    struct stele_sinks_elastic *const sink = stele_sinks__elastic_of(base);
    struct stele_sinks_elastic_book head = {.json = NULL};
    char path[STELE_ELASTIC_NAME_SIZE + 64];
    int outcome = stele_sinks__elastic_read(sink, projection->name, &head, err);
    if (outcome == STELE_OK && head.json == NULL) {
        outcome = no_projection(sink, projection->name, err);
    }
    for (size_t i = 0; i < STELE_COUNT_OF(states) && outcome == STELE_OK; i++) {
        const char *const number = json_string_value(json_object_get(head.json, states[i]));
        if (number != NULL && strcmp(number, "0") != 0) {
            outcome = drop_index(sink, projection->name, number, err);
        }
    }
    const json_t *const drops = json_object_get(head.json, "drops");
    for (size_t i = 0; i < json_array_size(drops) && outcome == STELE_OK; i++) {
        outcome =
            drop_index(sink, projection->name, json_string_value(json_array_get(drops, i)), err);
    }
    (void)snprintf(path, sizeof path, STELE_ELASTIC_BOOKS "/_doc/%s", projection->name);
    if (outcome == STELE_OK) {
        outcome = change(sink, "DELETE", path, NULL, "removing a projection", 404, err);
    }
    stele_sinks__elastic_forget(&head);
    return outcome;
}
