/* Persistent subscription groups: listing, one of them, and replaying what they have parked.
 *
 *     GET  /api/groups                              for the console: what lags, what is parked
 *     POST /api/groups/replay?stream=S&group=G      parked events are handed out again
 *     GET  /subscriptions[/STREAM[/GROUP[/info]]]   the same with KurrentDB's names
 *     POST /subscriptions/STREAM/GROUP/replayParked, /subscriptions/restart */
#include "subs/groups.h"

#include "api/http/web_internal.h"

struct asking {
    struct stele_groups_request request;
    struct stele_web__request *web;
    void (*on_sum)(struct stele_web__request *request, const struct stele_web__groups_sum *sum);
    bool kurrent;
    bool single; /* One object instead of a list. */
    char stream[STELE_STREAM_NAME_SIZE_MAX + 3];
    char group[STELE_STREAM_NAME_SIZE_MAX + 3];
};

static struct stele_text text_of(const char *text)
{
    return (struct stele_text){.data = text, .size = strlen(text)};
}

/* A revision as a number, a position of $all as digits; null: none yet. */
static bool put_place(struct stele_buf *body, struct stele_alloc *alloc, uint64_t place)
{
    return place == STELE_GROUP_NO_PLACE || place == UINT64_MAX
               ? stele_web__put(body, alloc, "null")
               : stele_web__putf(body, alloc, "\"%llu\"", (unsigned long long)place);
}

/* How far a group is behind. What it knows and is not done with is counted. Behind that: the rest of
 * a stream by its revisions; of $all, categories and types, which have no numbers without holes, only
 * the time is known. */
struct lag {
    uint64_t events;
    double seconds;
    bool counted; /* events is all there is. */
};

static struct lag lag_of(const struct asking *asking, const struct stele_group_info *info)
{
    const struct stele_group_stats *stats = &info->stats;
    struct stele_engine *engine = asking->web->web->server->engine;
    struct lag lag = {.events = (uint64_t)stats->waiting + stats->retrying + stats->in_flight +
                                stats->parking,
                      .counted = true};
    const bool known = stats->last_known != STELE_GROUP_NO_PLACE;
    if (info->is_live || (!known && info->start == UINT64_MAX)) {
        return lag;
    }
    struct stele_stream_info stream;
    struct stele_error err;
    if (info->stream == NULL || strncmp(info->stream, "$ce-", 4) == 0 ||
        strncmp(info->stream, "$et-", 4) == 0) {
        const uint64_t last = engine->ops->last_position(engine);
        const bool is_position = info->stream == NULL && known && last > stats->last_known;
        lag.counted = false;
        lag.seconds =
            is_position
                ? (double)(stele_position_time(last) - stele_position_time(stats->last_known)) / 1e6
                : 0;
    } else if (engine->ops->stream_info(engine, info->stream, &stream, &err) == STELE_OK) {
        const uint64_t next = known ? stats->last_known + 1 : info->start;
        lag.events += stream.revision_last >= next ? stream.revision_last - next + 1 : 0;
    }
    return lag;
}

static bool put_own(const struct asking *asking, struct stele_buf *body, struct stele_alloc *alloc,
                    const struct stele_group_info *info)
{
    const struct stele_group_stats *stats = &info->stats;
    const struct lag lag = lag_of(asking, info);
    return stele_web__put(body, alloc, "{\"stream\":") &&
           stele_web__put_string(body, alloc,
                                 text_of(info->stream == NULL ? "$all" : info->stream)) &&
           stele_web__put(body, alloc, ",\"group\":") &&
           stele_web__put_string(body, alloc, text_of(info->group)) &&
           stele_web__putf(body, alloc,
                           ",\"status\":\"%s\",\"consumers\":%zu,\"waiting\":%u,\"in_flight\":%u,"
                           "\"parked\":%llu,\"delivered\":%llu,\"per_second\":%llu,\"checkpoint\":",
                           info->is_live ? "live" : "catching up", info->consumers_count,
                           stats->waiting + stats->retrying, stats->in_flight,
                           (unsigned long long)info->parked, (unsigned long long)stats->total,
                           (unsigned long long)info->average_per_second) &&
           put_place(body, alloc, stats->last_checkpoint) &&
           stele_web__put(body, alloc, ",\"last_known\":") &&
           put_place(body, alloc, stats->last_known) &&
           stele_web__putf(
               body, alloc, ",\"lag_events\":%llu,\"lag_counted\":%s,\"lag_seconds\":%.3f}",
               (unsigned long long)lag.events, lag.counted ? "true" : "false", lag.seconds);
}

static bool put_kurrent(struct stele_buf *body, struct stele_alloc *alloc,
                        const struct stele_group_info *info)
{
    const struct stele_group_stats *stats = &info->stats;
    return stele_web__put(body, alloc, "{\"eventStreamId\":") &&
           stele_web__put_string(body, alloc,
                                 text_of(info->stream == NULL ? "$all" : info->stream)) &&
           stele_web__put(body, alloc, ",\"groupName\":") &&
           stele_web__put_string(body, alloc, text_of(info->group)) &&
           stele_web__putf(body, alloc,
                           ",\"status\":\"%s\",\"connectionCount\":%zu,"
                           "\"totalInFlightMessages\":%u,\"parkedMessageCount\":%llu,"
                           "\"totalItemsProcessed\":%llu,\"averageItemsPerSecond\":%llu,"
                           "\"lastCheckpointedEventPosition\":",
                           info->is_live ? "Live" : "Behind", info->consumers_count,
                           stats->in_flight, (unsigned long long)info->parked,
                           (unsigned long long)stats->total,
                           (unsigned long long)info->average_per_second) &&
           put_place(body, alloc, stats->last_checkpoint) &&
           stele_web__put(body, alloc, ",\"lastKnownEventPosition\":") &&
           put_place(body, alloc, stats->last_known) && stele_web__put(body, alloc, "}");
}

static void answer_infos(struct asking *asking)
{
    struct stele_web__request *web = asking->web;
    struct stele_alloc *alloc = web->web->alloc;
    const struct stele_groups_request *request = &asking->request;
    struct stele_buf body = {.data = NULL};
    bool fits = asking->single || stele_web__put(&body, alloc, "[");
    for (size_t i = 0; fits && i < request->infos_count; i++) {
        fits = (i == 0 || stele_web__put(&body, alloc, ",\n")) &&
               (asking->kurrent ? put_kurrent(&body, alloc, &request->infos[i])
                                : put_own(asking, &body, alloc, &request->infos[i]));
    }
    fits = fits && stele_web__put(&body, alloc, asking->single ? "\n" : "]\n");
    if (fits) {
        stele_web__answer_buf(web, 200, "application/json", &body);
    } else {
        stele_web__refuse(web, 503, "no-memory", "no memory for the answer");
    }
    stele_buf_deinit(&body, alloc);
}

static void sum_up(const struct asking *asking)
{
    const struct stele_groups_request *request = &asking->request;
    struct stele_web__groups_sum sum = {.groups = request->infos_count};
    for (size_t i = 0; i < request->infos_count; i++) {
        const struct stele_group_info *info = &request->infos[i];
        const struct lag lag = lag_of(asking, info);
        sum.consumers += info->consumers_count;
        sum.in_flight += info->stats.in_flight;
        sum.parked += info->parked;
        sum.lag_events += lag.events;
        sum.lag_seconds_max = lag.seconds > sum.lag_seconds_max ? lag.seconds : sum.lag_seconds_max;
    }
    asking->on_sum(asking->web, &sum);
}

static void on_done(struct stele_groups_request *request)
{
    struct asking *asking = (struct asking *)request;
    struct stele_web__request *web = asking->web;
    const bool listing = request->what == STELE_GROUPS_LIST || request->what == STELE_GROUPS_INFO;
    if (asking->on_sum != NULL) {
        sum_up(asking); /* Without an answer there are none. */
    } else if (request->outcome == STELE_NOT_FOUND && request->what == STELE_GROUPS_LIST &&
               !asking->kurrent) {
        stele_web__answer(web, 200, "application/json", stele_bytes_of_text("[]\n"));
    } else if (request->outcome == STELE_NOT_FOUND) {
        stele_web__refuse(web, 404, "not-found", "there is no such group");
    } else if (request->outcome == STELE_GROUPS_ELSEWHERE) {
        /* Pages cannot follow to another server; KurrentDB's clients do. */
        stele_web__refuse_elsewhere(web, asking->kurrent);
    } else if (request->outcome != STELE_OK) {
        stele_web__fail(web, request->outcome, &request->err);
    } else if (listing) {
        answer_infos(asking);
    } else {
        stele_web__answer(web, 200, "application/json", stele_bytes_of_text("{}\n"));
    }
    stele_groups_request_deinit(request);
    stele_release(web->web->alloc, asking, sizeof *asking);
    stele_web__release(web);
}

/* NULL: refused already. */
static struct asking *make_asking(struct stele_web__request *web, enum stele_groups_what what)
{
    if (web->web->server->groups == NULL) {
        stele_web__refuse(web, 503, "unavailable",
                          "groups are off: their stored configuration is damaged");
        return NULL;
    }
    struct asking *asking = stele_allocate_zeroed(web->web->alloc, sizeof *asking);
    if (asking == NULL) {
        stele_web__refuse(web, 503, "no-memory", "no memory for the request");
        return NULL;
    }
    asking->web = web;
    asking->request.loop = web->loop;
    asking->request.on_done = on_done;
    asking->request.what = what;
    asking->request.user = web->principal->name;
    asking->request.stop_at = UINT64_MAX;
    return asking;
}

static void ask(struct asking *asking)
{
    struct stele_web__request *web = asking->web;
    const bool all = asking->stream[0] == '\0' || strcmp(asking->stream, "$all") == 0;
    asking->request.stream = all ? NULL : asking->stream;
    asking->request.group = asking->group;
    stele_web__hold(web);
    stele_groups_ask(web->web->server->groups, &asking->request);
}

void stele_web__groups(struct stele_web__request *request)
{
    struct asking *asking = make_asking(request, STELE_GROUPS_LIST);
    if (asking != NULL) {
        asking->request.all_streams = true;
        ask(asking);
    }
}

void stele_web__sum_groups(struct stele_web__request *request,
                           void (*on_sum)(struct stele_web__request *request,
                                          const struct stele_web__groups_sum *sum))
{
    if (request->web->server->groups == NULL) {
        const struct stele_web__groups_sum none = {.groups = 0};
        on_sum(request, &none);
        return;
    }
    struct asking *asking = make_asking(request, STELE_GROUPS_LIST);
    if (asking != NULL) {
        asking->on_sum = on_sum;
        asking->request.at_once = true;
        asking->request.all_streams = true;
        ask(asking);
    }
}

void stele_web__group_replay(struct stele_web__request *request)
{
    struct asking *asking = make_asking(request, STELE_GROUPS_REPLAY);
    if (asking == NULL) {
        return;
    }
    if (!stele_web__query(request, "stream", asking->stream, sizeof asking->stream) ||
        !stele_web__query(request, "group", asking->group, sizeof asking->group)) {
        stele_release(request->web->alloc, asking, sizeof *asking);
        stele_web__refuse(request, 400, "invalid", "stream and group say which one");
        return;
    }
    ask(asking);
}

/* Cuts "stream/group/verb": a name with a slash in it has it as %2F, which is decoded by now, so the
 * last two parts are the group and the verb. */
static bool take_parts(struct asking *asking, const char *path, const char *verb)
{
    const size_t size = strlen(path);
    const size_t verb_size = strlen(verb);
    if (size <= verb_size + 1 || strcmp(path + size - verb_size, verb) != 0 ||
        path[size - verb_size - 1] != '/') {
        return false;
    }
    const size_t rest = size - verb_size - 1;
    const char *slash = memrchr(path, '/', rest);
    const size_t stream_size = slash == NULL ? 0 : (size_t)(slash - path);
    const size_t group_size = slash == NULL ? 0 : rest - stream_size - 1;
    if (stream_size == 0 || group_size == 0 || stream_size >= sizeof asking->stream ||
        group_size >= sizeof asking->group) {
        return false;
    }
    memcpy(asking->stream, path, stream_size);
    memcpy(asking->group, slash + 1, group_size);
    return true;
}

void stele_web__kurrent_groups(struct stele_web__request *request)
{
    struct asking *asking = make_asking(request, STELE_GROUPS_LIST);
    if (asking == NULL) {
        return;
    }
    asking->kurrent = true;
    if (request->name[0] == '\0') {
        asking->request.all_streams = true;
    } else if (take_parts(asking, request->name, "info")) {
        asking->request.what = STELE_GROUPS_INFO;
        asking->single = true;
    } else if (strlen(request->name) < sizeof asking->stream) {
        memcpy(asking->stream, request->name, strlen(request->name) + 1);
    }
    ask(asking);
}

void stele_web__kurrent_group_post(struct stele_web__request *request)
{
    const bool restart = strcmp(request->name, "restart") == 0;
    struct asking *asking =
        make_asking(request, restart ? STELE_GROUPS_RESTART : STELE_GROUPS_REPLAY);
    if (asking == NULL) {
        return;
    }
    asking->kurrent = true;
    if (!restart && !take_parts(asking, request->name, "replayParked")) {
        stele_release(request->web->alloc, asking, sizeof *asking);
        stele_web__refuse(request, 404, "not-found", "there is no such path");
        return;
    }
    if (!restart &&
        !stele_web__query_number(request, "stopAt", UINT64_MAX, &asking->request.stop_at)) {
        stele_release(request->web->alloc, asking, sizeof *asking);
        return;
    }
    ask(asking);
}
