/* What a server tells about itself: health, info, statistics, metrics. */
#include "api/cluster.h"
#include "api/http/web_internal.h"
#include "net/net.h"
#include "ops/config.h"

#include <stdio.h>
#include <sys/resource.h>

static struct stele_engine *engine_of(const struct stele_web__request *request)
{
    return request->web->server->engine;
}

static struct stele_text text_of(const char *text)
{
    return (struct stele_text){.data = text, .size = strlen(text)};
}

void stele_web__answer_built(struct stele_web__request *request, bool fits,
                             const char *content_type, struct stele_buf *body)
{
    if (fits) {
        stele_web__answer_buf(request, 200, content_type, body);
    } else {
        stele_web__refuse(request, 503, "no-memory", "no memory for the answer");
    }
    stele_buf_deinit(body, request->web->alloc);
}

void stele_web__live(struct stele_web__request *request)
{
    uint64_t code = 204;
    if (!stele_web__query_number(request, "liveCode", 204, &code)) {
        return;
    }
    if (code < 200 || code > 299) {
        stele_web__refuse(request, 400, "invalid", "liveCode is 200 to 299");
        return;
    }
    stele_web__answer(request, (int)code, "text/plain", (struct stele_bytes){.data = NULL});
}

void stele_web__ready(struct stele_web__request *request)
{
    struct stele_stats stats;
    struct stele_error err = {.outcome = STELE_OK};
    const int outcome = engine_of(request)->ops->stats(engine_of(request), &stats, &err);
    if (outcome != STELE_OK || stats.fenced) {
        stele_web__refuse(request, 503, "fenced", "the store takes no appends: %s",
                          outcome == STELE_OK ? "a write failed" : err.message);
        return;
    }
    struct stele_cluster *cluster = request->web->server->cluster;
    struct stele_cluster_readiness readiness;
    cluster->ops->readiness(cluster, &readiness);
    if (!readiness.is_ready) {
        stele_web__refuse(request, 503, "not-ready", "%s", readiness.why);
        return;
    }
    stele_web__answer(request, 200, "application/json",
                      stele_bytes_of_text("{\"status\":\"ready\"}\n"));
}

void stele_web__ping(struct stele_web__request *request)
{
    stele_web__answer(request, 200, "application/json",
                      stele_bytes_of_text("{\"text\":\"Ping request successfully handled\"}\n"));
}

void stele_web__info(struct stele_web__request *request)
{
    struct stele_alloc *alloc = request->web->alloc;
    struct stele_buf body = {.data = NULL};
    const bool fits = stele_web__putf(&body, alloc,
                                      "{\"name\":\"stele\",\"version\":\"%s\",\"dbVersion\":\"%s\","
                                      "\"esVersion\":\"%s\",",
                                      stele_version(), stele_version(), stele_version()) &&
                      stele_web__put_self(&body, request) &&
                      stele_web__putf(&body, alloc,
                                      ",\"features\":{\"projections\":true,\"userManagement\":true,"
                                      "\"atomPub\":false},\"authentication\":{\"type\":\"%s\","
                                      "\"properties\":{}}}\n",
                                      request->web->server->insecure ? "insecure" : "internal");
    stele_web__answer_built(request, fits, "application/json", &body);
}

static bool put_setting(struct stele_buf *body, struct stele_alloc *alloc,
                        const struct stele_config *config, enum stele_setting setting)
{
    static const char *const sources[] = {
        [STELE_CONFIG_DEFAULT] = "Default",
        [STELE_CONFIG_FILE] = "Config File",
        [STELE_CONFIG_ENVIRONMENT] = "Environment Variable",
        [STELE_CONFIG_FLAG] = "Command Line",
    };
    const struct stele_setting_row *row = stele_setting_row(setting);
    bool fits = stele_web__putf(body, alloc, "{\"name\":\"%s\",\"description\":", row->name) &&
                stele_web__put_string(body, alloc, text_of(row->help)) &&
                stele_web__put(body, alloc, ",\"group\":\"stele\",\"value\":");
    if (row->kind == STELE_SETTING_KIND_SECRET) {
        fits = fits &&
               stele_web__put(body, alloc,
                              stele_config_text(config, setting) == NULL ? "\"\"" : "\"****\"");
    } else if (row->kind == STELE_SETTING_KIND_LIST) {
        fits = fits && stele_web__put(body, alloc, "[");
        const char *item = stele_config_item(config, setting, 0);
        for (size_t i = 0; fits && item != NULL; item = stele_config_item(config, setting, ++i)) {
            fits = (i == 0 || stele_web__put(body, alloc, ",")) &&
                   stele_web__put_string(body, alloc, text_of(item));
        }
        fits = fits && stele_web__put(body, alloc, "]");
    } else if (row->kind == STELE_SETTING_KIND_FLAG) {
        fits = fits &&
               stele_web__put(body, alloc, stele_config_flag(config, setting) ? "true" : "false");
    } else {
        const char *text = stele_config_text(config, setting);
        fits = fits && stele_web__put_string(body, alloc, text_of(text == NULL ? "" : text));
    }
    return fits && stele_web__putf(body, alloc, ",\"configurationSource\":\"%s\"}",
                                   sources[stele_config_source(config, setting)]);
}

/* Every setting with its value and where that comes from; of secrets only whether they are set. */
void stele_web__info_options(struct stele_web__request *request)
{
    const struct stele_config *config = request->web->server->settings;
    struct stele_alloc *alloc = request->web->alloc;
    struct stele_buf body = {.data = NULL};
    bool fits = stele_web__put(&body, alloc, "[");
    for (int i = 0; fits && config != NULL && i < STELE_SETTING_COUNT; i++) {
        fits = (i == 0 || stele_web__put(&body, alloc, ",\n")) &&
               put_setting(&body, alloc, config, (enum stele_setting)i);
    }
    fits = fits && stele_web__put(&body, alloc, "]\n");
    stele_web__answer_built(request, fits, "application/json", &body);
}

struct stele_web__usage stele_web__read_usage(void)
{
    struct stele_web__usage usage = {.resident = 0};
    struct rusage counted;
    if (getrusage(RUSAGE_SELF, &counted) == 0) {
        usage.cpu_seconds = (double)counted.ru_utime.tv_sec + (double)counted.ru_stime.tv_sec +
                            (double)(counted.ru_utime.tv_usec + counted.ru_stime.tv_usec) / 1e6;
        usage.resident = (uint64_t)counted.ru_maxrss * 1024;
    }
    return usage;
}

void stele_web__read_counts(const struct stele_web__request *request,
                            struct stele_engine_counts *out_counts)
{
    struct stele_engine *engine = engine_of(request);
    *out_counts = (struct stele_engine_counts){.events_read = 0};
    if (engine->ops->counts != NULL) {
        engine->ops->counts(engine, out_counts);
    }
}

/* "appends_us": how long appends took, in buckets: [[50,12],[100,3],…,[null,0]]. */
static bool put_counts(struct stele_buf *body, struct stele_alloc *alloc,
                       const struct stele_web__request *request)
{
    struct stele_engine_counts counts;
    stele_web__read_counts(request, &counts);
    const struct stele_gate *gate = request->web->server->gate;
    bool fits = stele_web__putf(
        body, alloc,
        "\"appends\":%llu,\"appends_refused\":%llu,\"events_written\":%llu,"
        "\"bytes_written\":%llu,\"events_read\":%llu,\"bytes_read\":%llu,"
        "\"connections\":%u,\"appends_us\":[",
        (unsigned long long)counts.done.count, (unsigned long long)counts.refused.count,
        (unsigned long long)counts.events_written, (unsigned long long)counts.bytes_written,
        (unsigned long long)counts.events_read, (unsigned long long)counts.bytes_read,
        gate == NULL ? 0 : atomic_load(&gate->connections));
    for (size_t i = 0; fits && i < STELE_ENGINE_BOUNDS; i++) {
        fits = stele_web__putf(body, alloc, "[%llu,%llu],",
                               (unsigned long long)stele_engine_bound_us(i),
                               (unsigned long long)counts.done.at_most[i]);
    }
    return fits && stele_web__putf(body, alloc, "[null,%llu]],",
                                   (unsigned long long)counts.done.at_most[STELE_ENGINE_BOUNDS]);
}

void stele_web__stats(struct stele_web__request *request)
{
    struct stele_stats s;
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_web *web = request->web;
    const int outcome = engine_of(request)->ops->stats(engine_of(request), &s, &err);
    if (outcome != STELE_OK) {
        stele_web__fail(request, outcome, &err);
        return;
    }
    struct stele_buf body = {.data = NULL};
    const struct stele_web__usage usage = stele_web__read_usage();
    const int64_t now_us = request->loop->ops->wall_us(request->loop);
    char id[37];
    stele_id_to_text(s.store_id, id);
    const bool fits =
        stele_web__putf(&body, web->alloc,
                        "{\"store\":\"%s\",\"events\":%llu,\"streams\":%llu,"
                        "\"position\":\"%llu\",\"log_size\":%llu,\"disk_size\":%llu,"
                        "\"index_size\":%llu,\"segments\":%u,\"index_runs\":%u,"
                        "\"index_behind\":%llu,\"memory\":%llu,\"fenced\":%s,\"damage\":%llu,",
                        id, (unsigned long long)s.events, (unsigned long long)s.streams,
                        (unsigned long long)s.position_last, (unsigned long long)s.log_size,
                        (unsigned long long)s.disk_size, (unsigned long long)s.index_size,
                        s.segments, s.index_runs, (unsigned long long)s.index_behind,
                        (unsigned long long)s.memory, s.fenced ? "true" : "false",
                        (unsigned long long)s.damage) &&
        put_counts(&body, web->alloc, request) &&
        stele_web__putf(&body, web->alloc,
                        "\"partitions\":%u,\"uptime_seconds\":%.3f,\"cpu_seconds\":%.3f,"
                        "\"resident_max\":%llu,\"http_requests\":%llu,\"http_tails\":%llu}\n",
                        s.partitions, (double)(now_us - web->server->started_wall_us) / 1e6,
                        usage.cpu_seconds, (unsigned long long)usage.resident,
                        (unsigned long long)atomic_load(&web->requests),
                        (unsigned long long)atomic_load(&web->tails));
    stele_web__answer_built(request, fits, "application/json", &body);
}

void stele_web__me(struct stele_web__request *request)
{
    const struct stele_principal *me = request->principal;
    struct stele_alloc *alloc = request->web->alloc;
    struct stele_buf body = {.data = NULL};
    const bool everything = me->all_rights;
    const bool fits =
        stele_web__put(&body, alloc, "{\"name\":") &&
        stele_web__put_string(&body, alloc,
                              (struct stele_text){.data = me->name, .size = strlen(me->name)}) &&
        stele_web__putf(&body, alloc,
                        ",\"anonymous\":%s,\"admin\":%s,\"ops\":%s,\"insecure\":%s}\n",
                        me->anonymous && !everything ? "true" : "false",
                        me->is_admin || everything ? "true" : "false",
                        me->is_ops || everything ? "true" : "false",
                        request->web->server->insecure ? "true" : "false");
    stele_web__answer_built(request, fits, "application/json", &body);
}

/* ---- Lists of names ---- */

struct names {
    struct stele_web__request *request;
    struct stele_buf body;
    bool failed;
    bool first;
    bool streams;
};

static int on_name(void *context, struct stele_text name, uint64_t count)
{
    struct names *names = context;
    struct stele_alloc *alloc = names->request->web->alloc;
    const struct stele_web__request *request = names->request;
    if (names->streams &&
        !stele_auth_may(request->web->server->auth, request->principal, name, STELE_RIGHT_READ)) {
        return 0;
    }
    names->failed =
        !(stele_web__put(&names->body, alloc, names->first ? "{\"name\":" : ",{\"name\":") &&
          stele_web__put_string(&names->body, alloc, name) &&
          stele_web__putf(&names->body, alloc, ",\"count\":%llu}", (unsigned long long)count));
    names->first = false;
    return names->failed;
}

static void answer_names(struct stele_web__request *request, int what)
{
    char prefix[STELE_STREAM_NAME_SIZE_MAX + 3] = "";
    char after[STELE_STREAM_NAME_SIZE_MAX + 3] = "";
    uint64_t limit = 0;
    (void)stele_web__query(request, "prefix", prefix, sizeof prefix);
    const bool has_after = stele_web__query(request, "after", after, sizeof after);
    if (!stele_web__query_limit(request, 100, &limit)) {
        return;
    }
    if (what != STELE_LIST_STREAMS && !stele_web__may(request, "$all", STELE_RIGHT_READ)) {
        return;
    }
    struct names names = {.request = request, .first = true, .streams = what == STELE_LIST_STREAMS};
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_engine *engine = engine_of(request);
    bool fits = stele_web__put(&names.body, request->web->alloc, "[");
    const int outcome = engine->ops->list(engine, what, prefix, has_after ? after : NULL, limit,
                                          on_name, &names, &err);
    if (outcome != STELE_OK) {
        stele_buf_deinit(&names.body, request->web->alloc);
        stele_web__fail(request, outcome, &err);
        return;
    }
    fits = fits && !names.failed && stele_web__put(&names.body, request->web->alloc, "]\n");
    stele_web__answer_built(request, fits, "application/json", &names.body);
}

void stele_web__streams(struct stele_web__request *request)
{
    answer_names(request, STELE_LIST_STREAMS);
}

void stele_web__categories(struct stele_web__request *request)
{
    answer_names(request, STELE_LIST_CATEGORIES);
}

void stele_web__types(struct stele_web__request *request)
{
    answer_names(request, STELE_LIST_TYPES);
}

/* ---- Users, and orders to the server ---- */

static int on_user(void *context, const struct stele_user *user)
{
    struct names *names = context;
    struct stele_alloc *alloc = names->request->web->alloc;
    const struct stele_text login = {.data = user->login, .size = strlen(user->login)};
    const struct stele_text full_name = {.data = user->full_name, .size = strlen(user->full_name)};
    bool fits =
        stele_web__put(&names->body, alloc, names->first ? "{\"login\":" : ",{\"login\":") &&
        stele_web__put_string(&names->body, alloc, login) &&
        stele_web__put(&names->body, alloc, ",\"full_name\":") &&
        stele_web__put_string(&names->body, alloc, full_name) &&
        stele_web__putf(&names->body, alloc, ",\"disabled\":%s,\"groups\":[",
                        user->disabled ? "true" : "false");
    for (uint32_t i = 0; fits && i < user->groups_count; i++) {
        const struct stele_text group = {.data = user->groups[i], .size = strlen(user->groups[i])};
        fits = (i == 0 || stele_web__put(&names->body, alloc, ",")) &&
               stele_web__put_string(&names->body, alloc, group);
    }
    names->failed = !(fits && stele_web__put(&names->body, alloc, "]}"));
    names->first = false;
    return names->failed;
}

void stele_web__users(struct stele_web__request *request)
{
    struct names names = {.request = request, .first = true};
    struct stele_error err = {.outcome = STELE_OK};
    bool fits = stele_web__put(&names.body, request->web->alloc, "[");
    const int outcome =
        stele_auth_list_users(request->web->server->auth, NULL, on_user, &names, &err);
    if (outcome != STELE_OK) {
        stele_buf_deinit(&names.body, request->web->alloc);
        stele_web__fail(request, outcome, &err);
        return;
    }
    fits = fits && !names.failed && stele_web__put(&names.body, request->web->alloc, "]\n");
    stele_web__answer_built(request, fits, "application/json", &names.body);
}

void stele_web__shutdown(struct stele_web__request *request)
{
    struct stele_server *server = request->web->server;
    stele_web__answer(request, 202, "application/json",
                      stele_bytes_of_text("{\"status\":\"shutting down\"}\n"));
    server->shut_down(server);
}

void stele_web__scavenge(struct stele_web__request *request)
{
    struct stele_server *server = request->web->server;
    char id[37];
    char text[80];
    const int outcome = server->scavenge_start(server, id);
    if (outcome != STELE_OK) {
        stele_web__refuse(request, outcome == STELE_E_OVERLOADED ? 409 : 500,
                          stele_outcome_name(outcome), "scavenging cannot be started now");
        return;
    }
    (void)snprintf(text, sizeof text, "{\"scavengeId\":\"%s\"}\n", id);
    stele_web__answer(request, 200, "application/json", stele_bytes_of_text(text));
}
