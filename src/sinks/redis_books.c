/* The books in Redis: attached to, listed, dropped. */
#include "base/hex.h"
#include "base/text.h"
#include "sinks/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So long readers that asked for the live build before a switch can go on with its keys. */
#define GRACE_S "60"
#define SCAN_COUNT "1000"

/* ---- Builds that are gone ---- */

/* Removes the keys that a SCAN found. */
static int remove_keys(struct stele_sinks_redis *sink, const redisReply *keys, bool at_once,
                       struct stele_error *err)
{
    int outcome = STELE_OK;
    for (size_t i = 0; i < keys->elements && outcome == STELE_OK; i++) {
        redisReply *reply = NULL;
        const char *const key = keys->element[i]->str;
        const char *const words[] = {at_once ? "UNLINK" : "EXPIRE", key, at_once ? NULL : GRACE_S,
                                     at_once ? NULL : "NX", NULL};
        const size_t sizes[] = {6, keys->element[i]->len, 2, 2};
        outcome = stele_sinks_redis_ask(&sink->link, at_once ? 2 : 3, words, sizes, &reply, err);
        if (reply != NULL) {
            freeReplyObject(reply);
        }
    }
    return outcome;
}

static int remove_build(struct stele_sinks_redis *sink, const char *prefix, const char *build,
                        bool at_once, struct stele_error *err)
{
    char pattern[STELE_SINKS_REDIS_BASE_SIZE + STELE_SINKS_REDIS_NUMBER_SIZE + 16];
    char cursor[32] = "0";
    int outcome = STELE_OK;
    (void)snprintf(pattern, sizeof pattern, "%s%.20s[:!]*", prefix, build);
    do {
        const char *const words[] = {"SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT, NULL};
        redisReply *reply = NULL;
        outcome = stele_sinks_redis_tell(&sink->link, words, &reply, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        (void)snprintf(cursor, sizeof cursor, "%.30s", stele_sinks__redis_text(reply, 0));
        if (reply->elements == 2) {
            outcome = remove_keys(sink, reply->element[1], at_once, err);
        }
        freeReplyObject(reply);
    } while (outcome == STELE_OK && strcmp(cursor, "0") != 0 && cursor[0] != '\0');
    return outcome;
}

int stele_sinks__redis_clean(struct stele_sinks_redis *sink, const char *prefix, bool at_once,
                             struct stele_error *err)
{
    char key[STELE_SINKS_REDIS_BASE_SIZE + 16];
    redisReply *builds = NULL;
    (void)snprintf(key, sizeof key, "%sdropped", prefix);
    const char *const ask[] = {"SMEMBERS", key, NULL};
    int outcome = stele_sinks_redis_tell(&sink->link, ask, &builds, err);
    for (size_t i = 0; outcome == STELE_OK && i < builds->elements; i++) {
        const char *const build = stele_sinks__redis_text(builds, i);
        const char *const forget[] = {"SREM", key, build, NULL};
        redisReply *reply = NULL;
        outcome = remove_build(sink, prefix, build, at_once, err);
        if (outcome == STELE_OK) {
            outcome = stele_sinks_redis_tell(&sink->link, forget, &reply, err);
        }
        if (reply != NULL) {
            freeReplyObject(reply);
        }
    }
    if (builds != NULL) {
        freeReplyObject(builds);
    }
    return outcome;
}

/* ---- Attaching ---- */

static void set_names(struct stele_sinks_redis *sink, const char *name)
{
    (void)snprintf(sink->prefix, sizeof sink->prefix, "{%.48s}:", name);
    (void)snprintf(sink->books, sizeof sink->books, "{%.48s}:stele", name);
}

static int check_request(const struct stele_sinks_redis *sink,
                         const struct stele_sink_request *request, struct stele_error *err)
{
    const struct stele_projection *const projection = request->projection;
    if (projection->c.apply != NULL || projection->language != STELE_LANGUAGE_LUA) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "%.80s:1: Redis takes a projection in Lua: `-- @language lua` says so",
                          projection->file);
    }
    if (projection->setup.text.size > 0 && !projection->setup.is_empty) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "%.80s:%u: there are no tables to be made in Redis", projection->file,
                          projection->setup.line);
    }
    if (request->lanes > 1) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "projection %s: %u lanes; Redis does one thing at a time: 1",
                          projection->name, request->lanes);
    }
    (void)sink;
    return STELE_OK;
}

/* What redis_attach.lua has answered if it found nothing to work on. */
static int refused(const struct stele_sinks_redis *sink, const struct stele_projection *projection,
                   const redisReply *reply, struct stele_error *err)
{
    const char *const why = stele_sinks__redis_text(reply, 0);
    if (strcmp(why, "none") == 0) {
        return stele_fail(err, STELE_NOT_FOUND, 0,
                          "%.200s: there is no projection %s in this database", sink->link.shown,
                          projection->name);
    }
    if (strcmp(why, "store") == 0) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "%.150s: projection %s was made of another store; use another database, "
                          "or drop it there first",
                          sink->link.shown, projection->name);
    }
    if (strcmp(why, "version") == 0) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "%.80s: this is version %llu of projection %s, the database has version "
                          "%s; a rebuild makes the new one beside it and switches over",
                          projection->file, (unsigned long long)projection->version,
                          projection->name, stele_sinks__redis_text(reply, 1));
    }
    return stele_fail(err, STELE_CONDITION_FAILED, 0,
                      "%.80s: the file was changed since version %llu of projection %s was made of "
                      "it; raise @version and rebuild",
                      projection->file, (unsigned long long)projection->version, projection->name);
}

/* Gives the script to the server, which says what is wrong with it. */
static int load_script(struct stele_sinks_redis *sink, struct stele_error *err)
{
    const char *const words[] = {"SCRIPT", "LOAD", (const char *)sink->script.data, NULL};
    redisReply *reply = NULL;
    int outcome = stele_sinks_redis_tell(&sink->link, words, &reply, err);
    if (outcome == STELE_E_INVALID && err != NULL) {
        char told[400];
        stele_sinks__redis_name_lines(sink, err->message, told, sizeof told);
        return stele_fail(err, STELE_E_INVALID, 0, "%s", told);
    }
    if (outcome == STELE_OK) {
        (void)snprintf(sink->sha, sizeof sink->sha, "%.40s", reply->str != NULL ? reply->str : "");
        freeReplyObject(reply);
    }
    return outcome;
}

static int find_build(struct stele_sinks_redis *sink, const struct stele_sink_request *request,
                      struct stele_sink_place *place, struct stele_error *err)
{
    const struct stele_projection *const projection = request->projection;
    char script[4096];
    char store[33];
    char version[STELE_SINKS_REDIS_NUMBER_SIZE];
    char effects[STELE_SINKS_REDIS_NUMBER_SIZE];
    redisReply *reply = NULL;
    STELE_ASSERT(stele_sinks__redis_attach_size < sizeof script);
    memcpy(script, stele_sinks__redis_attach, stele_sinks__redis_attach_size);
    script[stele_sinks__redis_attach_size] = '\0';
    stele_hex_encode(request->store_id, 16, store);
    (void)snprintf(version, sizeof version, "%llu", (unsigned long long)projection->version);
    (void)snprintf(effects, sizeof effects, "%llu", (unsigned long long)request->effects_after);
    const char *const words[] = {"EVAL",
                                 script,
                                 "1",
                                 sink->books,
                                 sink->prefix,
                                 projection->name,
                                 store,
                                 version,
                                 projection->source.data,
                                 effects,
                                 request->rebuild ? "1" : "0",
                                 request->must_exist ? "1" : "0",
                                 NULL};
    int outcome = stele_sinks_redis_tell(&sink->link, words, &reply, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (strcmp(stele_sinks__redis_text(reply, 0), "ok") != 0) {
        outcome = refused(sink, projection, reply, err);
    } else {
        (void)snprintf(sink->build, sizeof sink->build, "%.20s", stele_sinks__redis_text(reply, 1));
        (void)snprintf(sink->generation, sizeof sink->generation, "%.20s",
                       stele_sinks__redis_text(reply, 5));
        place->build = stele_sinks__redis_number(sink->build);
        place->building = stele_sinks__redis_text(reply, 2)[0] == '1';
        place->lanes = 1;
        place->lane[0].position = stele_sinks__redis_number(stele_sinks__redis_text(reply, 3));
        place->lane[0].effects_after = stele_sinks__redis_number(stele_sinks__redis_text(reply, 4));
    }
    freeReplyObject(reply);
    return outcome;
}

int stele_sinks__redis_open_attached(struct stele_sink *base,
                                     const struct stele_sink_request *request,
                                     struct stele_sink_place *out_place, struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    struct stele_sink_place place = {.build = 0};
    STELE_ASSERT(sink->projection == NULL);
    int outcome = check_request(sink, request, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    sink->projection = request->projection;
    set_names(sink, request->projection->name);
    outcome = stele_sinks__redis_write_script(sink, err);
    if (outcome == STELE_OK) {
        outcome = load_script(sink, err);
    }
    if (outcome == STELE_OK) {
        outcome = find_build(sink, request, &place, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_sinks__redis_clean(sink, sink->prefix, false, err);
    }
    if (outcome != STELE_OK) {
        stele_sinks__redis_detach(base);
        return outcome;
    }
    *out_place = place;
    return STELE_OK;
}

void stele_sinks__redis_detach(struct stele_sink *base)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    stele_buf_deinit(&sink->script, sink->alloc);
    sink->script = (struct stele_buf){.data = NULL};
    sink->projection = NULL;
}

/* ---- Shown ---- */

static int by_name(const void *a, const void *b)
{
    const redisReply *const *const left = a;
    const redisReply *const *const right = b;
    return strcmp((*left)->str, (*right)->str);
}

/* The names of all projections, in order; freeReplyObject() releases them. */
static int ask_names(struct stele_sinks_redis *sink, redisReply **out_names,
                     struct stele_error *err)
{
    const char *const words[] = {"SMEMBERS", "stele:projections", NULL};
    const int outcome = stele_sinks_redis_tell(&sink->link, words, out_names, err);
    if (outcome == STELE_OK && (*out_names)->elements > 0) {
        qsort((*out_names)->element, (*out_names)->elements, sizeof *(*out_names)->element,
              by_name);
    }
    return outcome;
}

/* One build in the books of a projection. *out_found: it is there. */
struct shown {
    char books[STELE_SINKS_REDIS_BASE_SIZE + 8];
    char parked[STELE_SINKS_REDIS_BASE_SIZE + 40];
    char why[STELE_SINKS_REDIS_BASE_SIZE + 40];
    char build[STELE_SINKS_REDIS_NUMBER_SIZE];
};

/* STELE_NOT_FOUND: there is no such build. state: "live" or "building". */
static int find_shown(struct stele_sinks_redis *sink, const char *name, const char *state,
                      struct shown *out_shown, struct stele_error *err)
{
    redisReply *reply = NULL;
    (void)snprintf(out_shown->books, sizeof out_shown->books, "{%.48s}:stele", name);
    const char *const words[] = {"HGET", out_shown->books, state, NULL};
    const int outcome = stele_sinks_redis_tell(&sink->link, words, &reply, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const bool found = reply->str != NULL;
    (void)snprintf(out_shown->build, sizeof out_shown->build, "%.20s", found ? reply->str : "");
    freeReplyObject(reply);
    (void)snprintf(out_shown->parked, sizeof out_shown->parked, "{%.48s}:%s!parked", name,
                   out_shown->build);
    (void)snprintf(out_shown->why, sizeof out_shown->why, "{%.48s}:%s!why", name, out_shown->build);
    return found ? STELE_OK : STELE_NOT_FOUND;
}

static int show(struct stele_sinks_redis *sink, const char *name, bool building,
                stele_project_callback on_projection, void *context, struct stele_error *err)
{
    static const char *const fields[] = {"version", "position", "events", "source"};
    struct shown shown;
    char names[STELE_COUNT_OF(fields)][STELE_SINKS_REDIS_NUMBER_SIZE + 16];
    redisReply *reply = NULL;
    redisReply *count = NULL;
    int outcome = find_shown(sink, name, building ? "building" : "live", &shown, err);
    if (outcome != STELE_OK) {
        return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
    }
    for (size_t i = 0; i < STELE_COUNT_OF(fields); i++) {
        (void)snprintf(names[i], sizeof names[i], "%s/%s", shown.build, fields[i]);
    }
    const char *const words[] = {"HMGET",  shown.books, names[0], names[1],
                                 names[2], names[3],    NULL};
    const char *const card[] = {"ZCARD", shown.parked, NULL};
    outcome = stele_sinks_redis_tell(&sink->link, words, &reply, err);
    if (outcome == STELE_OK) {
        outcome = stele_sinks_redis_tell(&sink->link, card, &count, err);
    }
    if (outcome == STELE_OK) {
        const struct stele_project_info info = {
            .name = name,
            .version = stele_sinks__redis_number(stele_sinks__redis_text(reply, 0)),
            .build = stele_sinks__redis_number(shown.build),
            .building = building ? 1 : 0,
            .lanes = 1,
            .position = stele_sinks__redis_number(stele_sinks__redis_text(reply, 1)),
            .events = stele_sinks__redis_number(stele_sinks__redis_text(reply, 2)),
            .parked = (uint64_t)count->integer,
            .source = stele_sinks__redis_text(reply, 3),
        };
        outcome = on_projection(context, &info) != 0 ? STELE_END : STELE_OK;
    }
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    if (count != NULL) {
        freeReplyObject(count);
    }
    return outcome;
}

int stele_sinks__redis_list(struct stele_sink *base, stele_project_callback on_projection,
                            void *context, struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    redisReply *names = NULL;
    int outcome = ask_names(sink, &names, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    for (size_t i = 0; i < names->elements && outcome == STELE_OK; i++) {
        const char *const name = stele_sinks__redis_text(names, i);
        outcome = show(sink, name, false, on_projection, context, err);
        if (outcome == STELE_OK) {
            outcome = show(sink, name, true, on_projection, context, err);
        }
    }
    freeReplyObject(names);
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* "stream \1 revision \1 type \1 attempts \1 reason", taken apart in place. */
static void tell_parked(const char *name, const char *member, char *why,
                        stele_parked_callback on_parked, void *context, int *out_ends)
{
    char *parts[5] = {why, why, why, why, why};
    const char *const position = strchr(member, '\1');
    for (size_t i = 1; i < STELE_COUNT_OF(parts); i++) {
        char *const end = strchr(parts[i - 1], '\1');
        if (end == NULL) {
            return;
        }
        *end = '\0';
        parts[i] = end + 1;
    }
    const struct stele_project_parked parked = {
        .name = name,
        .stream = parts[0],
        .type = parts[2],
        .revision = stele_sinks__redis_number(parts[1]),
        .position = position != NULL ? stele_sinks__redis_number(position + 1) : 0,
        .attempts = stele_sinks__redis_number(parts[3]),
        .reason = parts[4],
    };
    *out_ends = on_parked(context, &parked);
}

static int show_parked(struct stele_sinks_redis *sink, const char *name,
                       stele_parked_callback on_parked, void *context, struct stele_error *err)
{
    struct shown shown;
    redisReply *members = NULL;
    int outcome = find_shown(sink, name, "live", &shown, err);
    if (outcome != STELE_OK) {
        return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
    }
    const char *const words[] = {"ZRANGE", shown.parked, "0", "-1", NULL};
    outcome = stele_sinks_redis_tell(&sink->link, words, &members, err);
    for (size_t i = 0; outcome == STELE_OK && i < members->elements; i++) {
        const char *const member = stele_sinks__redis_text(members, i);
        const char *const position = strchr(member, '\1');
        redisReply *why = NULL;
        int ends = 0;
        const char *const ask[] = {"HGET", shown.why, position != NULL ? position + 1 : "", NULL};
        outcome = stele_sinks_redis_tell(&sink->link, ask, &why, err);
        if (outcome == STELE_OK && why->str != NULL) {
            tell_parked(name, member, why->str, on_parked, context, &ends);
            outcome = ends != 0 ? STELE_END : STELE_OK;
        }
        if (why != NULL) {
            freeReplyObject(why);
        }
    }
    if (members != NULL) {
        freeReplyObject(members);
    }
    return outcome;
}

int stele_sinks__redis_parked(struct stele_sink *base, const char *name,
                              stele_parked_callback on_parked, void *context,
                              struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    redisReply *names = NULL;
    int outcome = ask_names(sink, &names, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    for (size_t i = 0; i < names->elements && outcome == STELE_OK; i++) {
        const char *const each = stele_sinks__redis_text(names, i);
        if (name == NULL || strcmp(name, each) == 0) {
            outcome = show_parked(sink, each, on_parked, context, err);
        }
    }
    freeReplyObject(names);
    return outcome == STELE_END ? STELE_OK : outcome;
}

static int no_projection(const struct stele_sinks_redis *sink, const char *name,
                         struct stele_error *err)
{
    return stele_fail(err, STELE_NOT_FOUND, 0, "%.200s: there is no projection %s in this database",
                      sink->link.shown, name);
}

int stele_sinks__redis_position(struct stele_sink *base, const char *name, uint64_t *out_position,
                                struct stele_error *err)
{
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    struct shown shown;
    char field[STELE_SINKS_REDIS_NUMBER_SIZE + 16];
    redisReply *reply = NULL;
    int outcome = find_shown(sink, name, "live", &shown, err);
    if (outcome != STELE_OK) {
        return outcome == STELE_NOT_FOUND ? no_projection(sink, name, err) : outcome;
    }
    (void)snprintf(field, sizeof field, "%s/position", shown.build);
    const char *const words[] = {"HGET", shown.books, field, NULL};
    outcome = stele_sinks_redis_tell(&sink->link, words, &reply, err);
    if (outcome == STELE_OK) {
        /* No position: a switch came between, and the next look finds its build. */
        *out_position = reply->str != NULL ? stele_sinks__redis_number(reply->str) : 0;
        freeReplyObject(reply);
    }
    return outcome;
}

/* The number of builds stays, because keys of earlier ones may still wait for their end. */
int stele_sinks__redis_drop(struct stele_sink *base, const struct stele_projection *projection,
                            struct stele_error *err)
{
    static const char script[] =
        "local live = redis.call('HGET', KEYS[1], 'live')\n"
        "if not live then return 0 end\n"
        "local building = redis.call('HGET', KEYS[1], 'building')\n"
        "redis.call('SADD', ARGV[1] .. 'dropped', live, building or live)\n"
        "local builds = redis.call('HGET', KEYS[1], 'builds')\n"
        "redis.call('DEL', KEYS[1], ARGV[1] .. 'live')\n"
        "redis.call('HSET', KEYS[1], 'builds', builds)\n"
        "return 1\n";
    struct stele_sinks_redis *const sink = stele_sinks__redis_of(base);
    char prefix[STELE_SINKS_REDIS_BASE_SIZE];
    char books[STELE_SINKS_REDIS_BASE_SIZE + 8];
    redisReply *reply = NULL;
    (void)snprintf(prefix, sizeof prefix, "{%.48s}:", projection->name);
    (void)snprintf(books, sizeof books, "{%.48s}:stele", projection->name);
    const char *const words[] = {"EVAL", script, "1", books, prefix, NULL};
    const char *const forget[] = {"SREM", "stele:projections", projection->name, NULL};
    int outcome = stele_sinks_redis_tell(&sink->link, words, &reply, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const bool found = reply->integer != 0;
    freeReplyObject(reply);
    /* A drop that was killed half-way is finished by the next one. */
    outcome = stele_sinks__redis_clean(sink, prefix, true, err);
    reply = NULL;
    if (outcome == STELE_OK) {
        outcome = stele_sinks_redis_tell(&sink->link, forget, &reply, err);
    }
    const bool listed = reply != NULL && reply->integer != 0;
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return outcome == STELE_OK && !found && !listed ? no_projection(sink, projection->name, err)
                                                    : outcome;
}
