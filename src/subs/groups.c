/* All groups: the configuration, requests, the clock. */
#include "base/text.h"
#include "subs/groups_internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

struct hosted *stele_subs__find(struct stele_groups *groups, const char *stream, const char *group)
{
    for (struct hosted *hosted = groups->first; hosted != NULL; hosted = hosted->next) {
        if (!hosted->removed && strcmp(hosted->config.group, group) == 0 &&
            is_same(hosted->config.stream, stream)) {
            return hosted;
        }
    }
    return NULL;
}

/* ---- The clock ---- */

static void keep_standing(struct stele_groups *groups);

static void on_tick(struct stele_timer *timer)
{
    struct stele_groups *groups =
        (struct stele_groups *)((char *)timer - offsetof(struct stele_groups, timer));
    keep_standing(groups);
    for (struct hosted *hosted = groups->first; hosted != NULL; hosted = hosted->next) {
        stele_subs__hosted_tick(hosted);
    }
    const bool guards = !groups->cluster->is_alone && groups->standing != GROUPS_AWAY;
    groups->ticking = (groups->first != NULL || guards) && !groups->stopped;
    if (groups->ticking) {
        groups->loop->ops->timer_start(groups->loop, timer,
                                       stele_loop_now_us(groups->loop) + TICK_US);
    }
}

static void start_ticking(struct stele_groups *groups)
{
    if (!groups->ticking) {
        groups->ticking = true;
        groups->timer.on_due = on_tick;
        groups->loop->ops->timer_start(groups->loop, &groups->timer,
                                       stele_loop_now_us(groups->loop) + TICK_US);
    }
}

/* ---- Answers ---- */

static void run_done(struct stele_task *task)
{
    struct stele_groups_request *request =
        (struct stele_groups_request *)((char *)task - offsetof(struct stele_groups_request, task));
    request->on_done(request);
}

static int elsewhere(struct stele_groups_request *request)
{
    return stele_fail(&request->err, STELE_GROUPS_ELSEWHERE, 0,
                      "persistent subscriptions are on another node, which leads");
}

static void answer(struct stele_groups_request *request, int outcome)
{
    request->outcome = outcome;
    request->task.run = run_done;
    stele_loop_post(request->loop, &request->task);
}

static int not_found(struct stele_groups_request *request)
{
    return stele_fail(&request->err, STELE_NOT_FOUND, 0, "group %s on %s does not exist",
                      request->group == NULL ? "" : request->group,
                      request->stream == NULL ? "$all" : request->stream);
}

/* ---- Changes of the configuration ---- */

static void next_change(struct stele_groups *groups);

static bool is_text(const char *text)
{
    return text == NULL || stele_utf8_is_valid(stele_bytes_of_text(text));
}

static bool are_texts(const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_text(names[i])) {
            return false;
        }
    }
    return true;
}

/* The configuration is JSON: what is no UTF-8 cannot be stored in it, and a filter that lacks a name
 * after a restart lets other events through. */
static bool is_filter_text(const struct stele_filter *filter)
{
    return filter == NULL || (are_texts(filter->types, filter->types_count) &&
                              are_texts(filter->type_prefixes, filter->type_prefixes_count) &&
                              are_texts(filter->streams, filter->streams_count) &&
                              are_texts(filter->stream_prefixes, filter->stream_prefixes_count) &&
                              are_texts(filter->categories, filter->categories_count) &&
                              are_texts(filter->tags, filter->tags_count) &&
                              is_text(filter->type_regex) && is_text(filter->stream_regex));
}

static int check(const struct stele_groups_request *request, struct stele_error *err)
{
    const struct stele_group_settings *s = &request->settings;
    const size_t stream = request->stream == NULL ? 1 : strlen(request->stream);
    const size_t group = request->group == NULL ? 0 : strlen(request->group);
    const char *wrong = stream == 0                           ? "The stream's name is empty."
                        : stream > STELE_STREAM_NAME_SIZE_MAX ? "The stream's name is too long."
                        : !is_text(request->stream)           ? "The stream's name is no UTF-8."
                        : group == 0                          ? "The group's name is empty."
                        : group > GROUP_NAME_SIZE_MAX         ? "The group's name is too long."
                        : !is_text(request->group)            ? "The group's name is no UTF-8."
                        : !is_filter_text(request->filter)    ? "The filter is no UTF-8."
                        : s->live_buffer_size < 1             ? "Live buffer size must be positive."
                        : s->read_batch_size < 1              ? "Read batch size must be positive."
                        : s->history_buffer_size < 1 ? "History buffer size must be positive."
                        : s->read_batch_size >= s->history_buffer_size
                            ? "History buffer size must be larger than the read batch size."
                        : s->max_retry_count < 0 ? "Maximum retry count must not be negative."
                        : s->max_subscriber_count < 0
                            ? "Maximum subscriber count must not be negative."
                        : s->message_timeout_us < 0  ? "Message timeout must not be negative."
                        : s->checkpoint_after_us < 0 ? "Checkpoint time must not be negative."
                        : s->min_checkpoint_count < 0 || s->max_checkpoint_count < 0
                            ? "Checkpoint counts must not be negative."
                            : NULL;
    return wrong == NULL ? STELE_OK : stele_fail(err, STELE_E_INVALID, 0, "%s", wrong);
}

/* Where the group begins, and what "the end" is at this moment. */
static int find_start(struct stele_groups *groups, struct group_config *config, bool by_ordinal,
                      struct stele_error *err)
{
    config->from = config->settings.start;
    return config->settings.start != UINT64_MAX
               ? STELE_OK
               : stele_follow_end(groups->engine, config->stream, by_ordinal ? 1 : 0, &config->from,
                                  err);
}

/* The change that is being written: what its request wants, and how to take it back. */
struct change {
    struct stele_appending appending;
    struct stele_groups *groups;
    struct stele_groups_request *request;
    struct hosted *hosted;
    uint32_t era;
    struct group_config before; /* UPDATE. */
};

static void finish_update(struct change *change)
{
    struct hosted *hosted = change->hosted;
    struct stele_groups_request *request = change->request;
    stele_subs__config_deinit(change->groups->alloc, &change->before);
    if (hosted->machine == NULL) { /* There was no memory for it, ever since it was made. */
        answer(request, stele_subs__hosted_start(hosted, &request->err));
        return;
    }
    const uint64_t place = stele_group_finished_to(hosted->machine);
    stele_subs__hosted_stop(hosted, STELE_E_CLOSED);
    answer(request, stele_subs__hosted_run(hosted, place, &request->err));
}

static void finish_change(struct change *change)
{
    struct hosted *hosted = change->hosted;
    struct stele_groups_request *request = change->request;
    int outcome = STELE_OK;
    switch (request->what) {
    case STELE_GROUPS_CREATE:
        hosted->unborn = false;
        outcome = stele_subs__hosted_start(hosted, &request->err);
        start_ticking(change->groups);
        answer(request, outcome);
        break;
    case STELE_GROUPS_UPDATE:
        finish_update(change);
        break;
    default:
        stele_subs__hosted_stop(hosted, STELE_E_CLOSED);
        stele_subs__hosted_forget(hosted);
        stele_subs__hosted_remove(hosted);
        answer(request, STELE_OK);
        break;
    }
}

static void take_back(struct change *change)
{
    struct hosted *hosted = change->hosted;
    switch (change->request->what) {
    case STELE_GROUPS_CREATE:
        stele_subs__hosted_remove(hosted);
        break;
    case STELE_GROUPS_UPDATE: {
        struct group_config refused = hosted->config;
        hosted->config = change->before;
        stele_subs__config_deinit(change->groups->alloc, &refused);
        break;
    }
    default:
        hosted->removed = false;
        break;
    }
}

static void end_change(struct change *change)
{
    struct stele_groups *groups = change->groups;
    stele_release(groups->alloc, change, sizeof *change);
    groups->changing = false;
    next_change(groups);
}

static int load(struct stele_groups *groups, struct stele_error *err);
static int load_again(struct stele_groups *groups, struct stele_error *err);
static void stand(struct stele_groups *groups, enum groups_standing standing);

/* Another node has changed the configuration, or did while it led: with what it wrote, once more. */
static void try_again(struct change *change)
{
    struct stele_groups *groups = change->groups;
    struct stele_groups_request *request = change->request;
    take_back(change);
    const int outcome = load_again(groups, &request->err);
    if (outcome != STELE_OK) {
        answer(request, outcome);
        return;
    }
    request->next = groups->changes;
    groups->changes = request;
    if (request->next == NULL) {
        groups->changes_last = &request->next;
    }
}

/* The groups went while it was being written. What is durable is true, wherever they are now. */
static void leave_change(struct change *change)
{
    struct stele_groups_request *request = change->request;
    const int outcome = change->appending.outcome;
    if (request->what == STELE_GROUPS_UPDATE) {
        stele_subs__config_deinit(change->groups->alloc, &change->before);
    }
    request->err = change->appending.err;
    answer(request, outcome == STELE_WRONG_REVISION ? elsewhere(request) : outcome);
}

static void on_written(struct stele_appending *appending)
{
    struct change *change =
        (struct change *)((char *)appending - offsetof(struct change, appending));
    struct hosted *hosted = change->hosted;
    if (change->era != change->groups->era) {
        leave_change(change);
    } else if (appending->outcome == STELE_OK) {
        change->groups->config_revision = appending->result.revision_last;
        finish_change(change); /* G5 */
    } else if (appending->outcome == STELE_WRONG_REVISION) {
        try_again(change);
    } else {
        take_back(change);
        change->request->err = appending->err;
        answer(change->request, appending->outcome);
    }
    end_change(change);
    stele_subs__unpend(hosted);
}

struct leftover {
    char name[NAME_MAX_ + 2];
    char json[96];
    struct stele_event_draft draft;
};

/* Metadata that hides what a group of the same name has left behind: one whose node failed between its
 * deletion and that of its streams. false: there is nothing to hide. */
static bool hide_old(struct stele_groups *groups, const char *stream, const char *more,
                     struct leftover *out)
{
    struct stele_engine *engine = groups->engine;
    struct stele_loop *loop = groups->loop;
    struct stele_stream_info info;
    if (engine->ops->stream_info(engine, stream, &info, NULL) != STELE_OK || info.deleted != 0 ||
        info.tombstoned != 0) {
        return false;
    }
    (void)snprintf(out->name, sizeof out->name, "$$%s", stream);
    (void)snprintf(out->json, sizeof out->json, "{%s\"$tb\":%llu}", more,
                   (unsigned long long)(info.revision_last + 1));
    out->draft = (struct stele_event_draft){
        .type = "$metadata", .data = out->json, .data_size = strlen(out->json)};
    loop->ops->random(loop, out->draft.id, sizeof out->draft.id);
    return true;
}

static int write_config(struct change *change)
{
    struct stele_groups *groups = change->groups;
    struct stele_loop *loop = groups->loop;
    struct stele_error *err = &change->request->err;
    char *json = NULL;
    if (stele_subs__config_encode(groups->first, loop->ops->wall_us(loop), change->request->user,
                                  &json) != STELE_OK) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "group: no memory");
    }
    struct stele_event_draft draft = {.type = CONFIG_TYPE, .data = json, .data_size = strlen(json)};
    loop->ops->random(loop, draft.id, sizeof draft.id);
    struct stele_append parts[3] = {{.stream = CONFIG_STREAM,
                                     .expected = groups->cluster->is_alone
                                                     ? STELE_EXPECT_ANY
                                                     : groups->config_revision, /* G8 */
                                     .events = &draft,
                                     .count = 1}};
    struct leftover old[2];
    size_t count = 1;
    if (change->request->what == STELE_GROUPS_CREATE) {
        const struct hosted *hosted = change->hosted;
        const bool has[] = {
            hide_old(groups, hosted->checkpoint_stream, "\"$maxCount\":2,", &old[0]),
            hide_old(groups, hosted->parked_stream, "", &old[1])};
        for (size_t i = 0; i < STELE_COUNT_OF(has); i++) {
            if (has[i]) {
                parts[count] = (struct stele_append){.stream = old[i].name,
                                                     .expected = STELE_EXPECT_ANY,
                                                     .events = &old[i].draft,
                                                     .count = 1};
                count++;
            }
        }
    }
    change->era = groups->era;
    change->appending.loop = loop;
    change->appending.on_done = on_written;
    const int outcome =
        groups->engine->ops->append(groups->engine, &change->appending, parts, count, NULL, 0, err);
    free(json);
    if (outcome == STELE_OK) {
        stele_subs__pend(change->hosted);
    }
    return outcome;
}

static int begin_create(struct change *change)
{
    struct stele_groups *groups = change->groups;
    struct stele_groups_request *request = change->request;
    struct group_config config;
    int outcome = stele_subs__config_copy(groups->alloc, request, &config, &request->err);
    if (outcome == STELE_OK) {
        outcome = stele_subs__host(groups, &config, &change->hosted, &request->err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    change->hosted->next = groups->first;
    change->hosted->unborn = true; /* Until its configuration is durable, nothing starts it. */
    groups->first = change->hosted;
    return find_start(groups, &change->hosted->config, change->hosted->by_ordinal, &request->err);
}

static int begin_update(struct change *change)
{
    struct stele_groups_request *request = change->request;
    struct hosted *hosted = change->hosted;
    struct group_config config;
    request->filter = hosted->config.want == NULL ? NULL : &hosted->config.want->filter;
    const int outcome =
        stele_subs__config_copy(change->groups->alloc, request, &config, &request->err);
    if (outcome != STELE_OK) {
        change->hosted = NULL;
        return outcome;
    }
    change->before = hosted->config;
    hosted->config = config;
    return find_start(change->groups, &hosted->config, hosted->by_ordinal, &request->err);
}

/* STELE_OK: it is under way. */
static int begin_change(struct change *change)
{
    struct stele_groups_request *request = change->request;
    int outcome = STELE_OK;
    if (request->what != STELE_GROUPS_DELETE) {
        outcome = check(request, &request->err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct hosted *found = stele_subs__find(change->groups, request->stream, request->group);
    if (request->what == STELE_GROUPS_CREATE) {
        if (found != NULL) {
            return stele_fail(&request->err, STELE_GROUPS_EXISTS, 0, "group %s exists",
                              request->group);
        }
        outcome = begin_create(change);
    } else if (found == NULL) {
        return not_found(request);
    } else {
        change->hosted = found;
        if (request->what == STELE_GROUPS_DELETE) {
            found->removed = true;
        } else {
            outcome = begin_update(change);
        }
    }
    return outcome == STELE_OK ? write_config(change) : outcome;
}

static void stop_all(struct stele_groups *groups, int outcome)
{
    while (groups->first != NULL) {
        stele_subs__hosted_stop(groups->first, outcome);
        stele_subs__hosted_remove(groups->first);
    }
}

static void restart(struct stele_groups *groups, struct stele_groups_request *request)
{
    answer(request, load_again(groups, &request->err));
}

static void next_change(struct stele_groups *groups)
{
    while (!groups->changing && groups->changes != NULL) {
        struct stele_groups_request *request = groups->changes;
        groups->changes = request->next;
        if (groups->changes == NULL) {
            groups->changes_last = &groups->changes;
        }
        if (request->what == STELE_GROUPS_RESTART) {
            restart(groups, request);
            continue;
        }
        struct change *change = stele_allocate_zeroed(groups->alloc, sizeof *change);
        if (change == NULL) {
            answer(request, stele_fail(&request->err, STELE_E_NO_MEMORY, 0, "group: no memory"));
            continue;
        }
        change->groups = groups;
        change->request = request;
        groups->changing = true;
        const int outcome = begin_change(change);
        if (outcome != STELE_OK) {
            if (change->hosted != NULL) {
                take_back(change);
            }
            groups->changing = false;
            stele_release(groups->alloc, change, sizeof *change);
            answer(request, outcome);
        }
    }
}

/* ---- Looking ---- */

static bool fill_consumers(struct stele_groups *groups, struct stele_groups_request *request,
                           const struct hosted *hosted, struct stele_group_info *info)
{
    if (info->stats.members == 0) {
        return true;
    }
    struct stele_group_consumer_info *consumers = stele_arena_allocate(
        &request->arena, groups->alloc, info->stats.members * sizeof *consumers);
    if (consumers == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < info->stats.members; i++) {
        if (!stele_group_member_stats(hosted->machine, i, &consumers[i].stats)) {
            break;
        }
        stele_subs__consumer_info(consumers[i].stats.member_context, &consumers[i]);
        const char **texts[] = {&consumers[i].from, &consumers[i].user,
                                &consumers[i].connection_name};
        for (size_t t = 0; t < STELE_COUNT_OF(texts); t++) {
            const char *text = *texts[t] == NULL ? "" : *texts[t];
            char *copy = stele_arena_allocate(&request->arena, groups->alloc, strlen(text) + 1);
            if (copy == NULL) {
                return false;
            }
            memcpy(copy, text, strlen(text) + 1);
            *texts[t] = copy;
        }
        info->consumers_count++;
    }
    info->consumers = consumers;
    return true;
}

static const char *copy_text(struct stele_groups *groups, struct stele_groups_request *request,
                             const char *text)
{
    char *copy = stele_arena_allocate(&request->arena, groups->alloc, strlen(text) + 1);
    if (copy != NULL) {
        memcpy(copy, text, strlen(text) + 1);
    }
    return copy;
}

static bool fill_info(struct stele_groups *groups, struct stele_groups_request *request,
                      const struct hosted *hosted, struct stele_group_info *info)
{
    *info = (struct stele_group_info){.stream = NULL};
    info->group = copy_text(groups, request, hosted->config.group);
    if (hosted->config.stream != NULL) {
        info->stream = copy_text(groups, request, hosted->config.stream);
    }
    if (info->group == NULL || (hosted->config.stream != NULL && info->stream == NULL)) {
        return false;
    }
    info->is_live = hosted->follow != NULL && stele_follow_is_live(hosted->follow);
    info->start = hosted->config.settings.start;
    info->settings = hosted->config.settings;
    info->parked = stele_subs__parked_count(hosted);
    info->parked_requests = hosted->parked_requests;
    info->parked_replays = hosted->parked_replays;
    if (hosted->machine == NULL) {
        info->stats.last_checkpoint = STELE_GROUP_NO_PLACE;
        info->stats.last_known = STELE_GROUP_NO_PLACE;
        return true;
    }
    stele_group_stats(hosted->machine, &info->stats);
    info->stats.total += hosted->total_before;
    const int64_t seconds =
        (stele_loop_now_us(groups->loop) - hosted->started_us) / INT64_C(1000000);
    info->average_per_second = info->stats.total / (seconds < 1 ? 1 : (uint64_t)seconds);
    return fill_consumers(groups, request, hosted, info);
}

static bool is_asked_for(const struct stele_groups_request *request, const struct hosted *hosted)
{
    if (hosted->removed) {
        return false;
    }
    if (request->what == STELE_GROUPS_LIST && request->all_streams) {
        return true;
    }
    return is_same(hosted->config.stream, request->stream) &&
           (request->what == STELE_GROUPS_LIST ||
            strcmp(hosted->config.group, request->group) == 0);
}

static int look(struct stele_groups *groups, struct stele_groups_request *request)
{
    size_t count = 0;
    for (const struct hosted *hosted = groups->first; hosted != NULL; hosted = hosted->next) {
        count += is_asked_for(request, hosted) ? 1 : 0;
    }
    if (count == 0) {
        return request->what == STELE_GROUPS_LIST && request->all_streams ? STELE_OK
                                                                          : not_found(request);
    }
    struct stele_group_info *infos =
        stele_arena_allocate(&request->arena, groups->alloc, count * sizeof *infos);
    bool whole = infos != NULL;
    size_t at = count; /* The newest group is the first of the list; users want the oldest first. */
    for (const struct hosted *hosted = groups->first; hosted != NULL && whole;
         hosted = hosted->next) {
        if (is_asked_for(request, hosted)) {
            whole = fill_info(groups, request, hosted, &infos[--at]);
        }
    }
    if (!whole) {
        return stele_fail(&request->err, STELE_E_NO_MEMORY, 0, "group: no memory");
    }
    request->infos = infos;
    request->infos_count = count;
    return STELE_OK;
}

/* ---- Requests ---- */

static void handle(struct stele_groups *groups, struct stele_groups_request *request)
{
    struct hosted *hosted = NULL;
    switch (request->what) {
    case STELE_GROUPS_CREATE:
    case STELE_GROUPS_UPDATE:
    case STELE_GROUPS_DELETE:
    case STELE_GROUPS_RESTART:
        request->next = NULL;
        *groups->changes_last = request;
        groups->changes_last = &request->next;
        next_change(groups);
        return;
    case STELE_GROUPS_INFO:
    case STELE_GROUPS_LIST:
        answer(request, look(groups, request));
        return;
    case STELE_GROUPS_REPLAY:
    case STELE_GROUPS_TRUNCATE:
        hosted = stele_subs__find(groups, request->stream, request->group);
        if (hosted == NULL || hosted->machine == NULL) {
            answer(request, not_found(request));
            return;
        }
        if (request->what == STELE_GROUPS_REPLAY) {
            stele_subs__replay(hosted, request->stop_at);
        } else {
            stele_subs__truncate(hosted, request->stop_at);
        }
        answer(request, STELE_OK);
        return;
    }
}

static void run_request(struct stele_task *task)
{
    struct stele_groups_request *request =
        (struct stele_groups_request *)((char *)task - offsetof(struct stele_groups_request, task));
    int outcome = STELE_OK;
    if (request->at_once && request->groups->standing != GROUPS_HERE) {
        outcome = STELE_GROUPS_ELSEWHERE;
    } else if (stele_subs__hold(request->groups, task, &outcome)) {
        return;
    }
    switch (outcome) {
    case STELE_OK:
        handle(request->groups, request);
        break;
    case STELE_E_CLOSED:
        answer(request, stele_fail(&request->err, outcome, 0, "the server is shutting down"));
        break;
    case STELE_GROUPS_ELSEWHERE:
        answer(request, elsewhere(request));
        break;
    default:
        answer(request, stele_fail(&request->err, outcome, 0,
                                   "persistent subscriptions cannot be taken over now"));
        break;
    }
}

void stele_groups_ask(struct stele_groups *groups, struct stele_groups_request *request)
{
    request->groups = groups;
    request->arena = (struct stele_arena){.block_size = 4096};
    request->infos = NULL;
    request->infos_count = 0;
    request->err.message[0] = '\0';
    request->task.run = run_request;
    stele_loop_post(groups->loop, &request->task);
}

void stele_groups_request_deinit(struct stele_groups_request *request)
{
    stele_arena_deinit(&request->arena, request->groups->alloc);
    request->infos = NULL;
    request->infos_count = 0;
}

/* ---- Beginning and end ---- */

static int on_config(void *context, struct group_config *config)
{
    struct stele_groups *groups = context;
    struct hosted *hosted = NULL;
    if (stele_subs__find(groups, config->stream, config->group) != NULL) {
        stele_subs__config_deinit(groups->alloc, config);
        return STELE_OK;
    }
    const int outcome = stele_subs__host(groups, config, &hosted, NULL);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct hosted **at = &groups->first;
    while (*at != NULL) {
        at = &(*at)->next; /* The order of the list is that of the configuration. */
    }
    *at = hosted;
    return stele_subs__hosted_start(hosted, NULL);
}

/* What the next change of the configuration has to find. */
static uint64_t revision_of_config(struct stele_groups *groups)
{
    struct stele_stream_info info;
    return groups->engine->ops->stream_info(groups->engine, CONFIG_STREAM, &info, NULL) ==
                       STELE_OK &&
                   info.deleted == 0
               ? info.revision_last
               : STELE_EXPECT_NO_STREAM;
}

static int load(struct stele_groups *groups, struct stele_error *err)
{
    if (!groups->cluster->is_alone) {
        /* Before it is read: what comes in between is found by the clock. */
        groups->config_revision = revision_of_config(groups);
    }
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = STELE_FROM_END;
    options.backwards = 1;
    options.limit = 1;
    const struct stele_engine_ops *ops = groups->engine->ops;
    struct stele_reading *reading = NULL;
    int outcome = ops->read_open(groups->engine, CONFIG_STREAM, &options, &reading, err);
    if (outcome == STELE_NO_STREAM || outcome == STELE_STREAM_DELETED) {
        return STELE_OK;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_event *events = NULL;
    size_t count = 0;
    outcome = ops->read_next(reading, &events, &count, err);
    if (outcome == STELE_OK && count > 0) {
        const struct stele_bytes json = {.data = events[0].data, .size = events[0].data_size};
        outcome = stele_subs__config_decode(groups->alloc, json, on_config, groups, err);
    }
    ops->read_close(reading);
    if (groups->first != NULL) {
        start_ticking(groups);
    }
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* In a cluster, what cannot be loaded is tried again by the clock. */
static int load_again(struct stele_groups *groups, struct stele_error *err)
{
    stop_all(groups, STELE_E_CLOSED);
    const int outcome = load(groups, err);
    if (outcome != STELE_OK && !groups->cluster->is_alone) {
        stop_all(groups, STELE_E_CLOSED);
        stand(groups, GROUPS_COMING);
        groups->coming_failed = outcome;
        start_ticking(groups);
    }
    return outcome;
}

/* ---- Who leads ---- */

static void release_held(struct stele_groups *groups)
{
    struct stele_task *task = groups->held;
    groups->held = NULL;
    groups->held_last = &groups->held;
    while (task != NULL) {
        struct stele_task *next = task->next;
        /* At once: a consumer that leaves must find that it has joined, or that it waits here. */
        task->run(task);
        task = next;
    }
}

static void on_linearized(struct stele_linearizing *linearizing);

static void stand(struct stele_groups *groups, enum groups_standing standing)
{
    groups->standing = standing;
    atomic_store(&groups->here, standing == GROUPS_HERE);
}

bool stele_groups_are_here(const struct stele_groups *groups)
{
    return atomic_load(&groups->here);
}

static void come(struct stele_groups *groups)
{
    if (!groups->is_linearizing) {
        groups->is_linearizing = true;
        groups->linearizing_era = groups->era;
        groups->linearizing.loop = groups->loop;
        groups->linearizing.on_done = on_linearized;
        groups->pending++;
        groups->cluster->ops->linearize(groups->cluster, &groups->linearizing);
    } /* Otherwise its answer finds that another one is needed. */
}

static void arrive(struct stele_groups *groups, int outcome)
{
    if (outcome == STELE_OK) {
        outcome = load(groups, NULL);
    }
    if (outcome == STELE_OK) {
        stand(groups, GROUPS_HERE);
    } else {
        stop_all(groups, STELE_E_CLOSED);
        groups->coming_failed = outcome == STELE_TIMED_OUT ? STELE_E_OVERLOADED : outcome;
    }
    release_held(groups);
}

static void on_linearized(struct stele_linearizing *linearizing)
{
    struct stele_groups *groups =
        (struct stele_groups *)((char *)linearizing - offsetof(struct stele_groups, linearizing));
    groups->is_linearizing = false;
    if (groups->standing == GROUPS_COMING && !groups->stopped) {
        if (groups->linearizing_era == groups->era) {
            arrive(groups, linearizing->outcome);
        } else {
            come(groups); /* Another node has led since this was asked. */
        }
    }
    stele_subs__unpend_groups(groups);
}

static void go(struct stele_groups *groups)
{
    stand(groups, GROUPS_AWAY);
    groups->era++;
    stop_all(groups, STELE_GROUPS_ELSEWHERE);
    while (groups->changes != NULL) {
        struct stele_groups_request *request = groups->changes;
        groups->changes = request->next;
        answer(request, elsewhere(request));
    }
    groups->changes_last = &groups->changes;
    release_held(groups);
}

static void look_who_leads(struct stele_groups *groups)
{
    if (groups->cluster->is_alone || groups->stopped) {
        return;
    }
    const bool leads = groups->cluster->ops->is_leader(groups->cluster);
    if (leads && groups->standing == GROUPS_AWAY) {
        stand(groups, GROUPS_COMING);
        groups->coming_failed = STELE_OK;
        come(groups);
        start_ticking(groups);
    } else if (!leads && groups->standing != GROUPS_AWAY) {
        go(groups);
    }
}

static void on_role_changed(struct stele_role_watch *watch)
{
    look_who_leads((struct stele_groups *)((char *)watch - offsetof(struct stele_groups, watch)));
}

/* Once a second: what has failed is tried again, and what another node has written while it still
 * believed to lead is not overlooked. */
static void keep_standing(struct stele_groups *groups)
{
    look_who_leads(groups);
    if (groups->cluster->is_alone || groups->stopped) {
        return;
    }
    if (groups->standing == GROUPS_COMING && !groups->is_linearizing) {
        groups->coming_failed = STELE_OK;
        come(groups);
    } else if (groups->standing == GROUPS_HERE && !groups->changing &&
               revision_of_config(groups) != groups->config_revision) {
        (void)load_again(groups, NULL);
    }
}

bool stele_subs__hold(struct stele_groups *groups, struct stele_task *task, int *out_outcome)
{
    look_who_leads(groups);
    if (groups->stopped || groups->standing != GROUPS_COMING) {
        *out_outcome = groups->stopped                   ? STELE_E_CLOSED
                       : groups->standing == GROUPS_AWAY ? STELE_GROUPS_ELSEWHERE
                                                         : STELE_OK;
        return false;
    }
    *out_outcome = groups->coming_failed;
    if (groups->coming_failed == STELE_OK) {
        task->next = NULL;
        *groups->held_last = task;
        groups->held_last = &task->next;
    }
    return groups->coming_failed == STELE_OK;
}

void stele_subs__unhold(struct stele_groups *groups, struct stele_task *task)
{
    STELE_ASSERT(task != NULL);
    struct stele_task **at = &groups->held;
    while (*at != NULL && *at != task) {
        at = &(*at)->next;
    }
    if (*at == task) {
        *at = task->next;
        if (groups->held_last == &task->next) {
            groups->held_last = at;
        }
    }
}

/* ---- */

int stele_groups_create(struct stele_engine *engine, struct stele_cluster *cluster,
                        struct stele_hub *hub, struct stele_loop *loop, struct stele_alloc *alloc,
                        struct stele_groups **out_groups, struct stele_error *err)
{
    struct stele_groups *groups = stele_allocate_zeroed(alloc, sizeof *groups);
    if (groups == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "groups: no memory");
    }
    groups->engine = engine;
    groups->cluster = cluster;
    groups->held_last = &groups->held;
    groups->hub = hub;
    groups->loop = loop;
    groups->alloc = alloc;
    groups->changes_last = &groups->changes;
    loop->ops->random(loop, &groups->seed, sizeof groups->seed);
    if (!cluster->is_alone) {
        groups->watch = (struct stele_role_watch){.loop = loop, .on_role_changed = on_role_changed};
        cluster->ops->watch_start(cluster, &groups->watch);
        look_who_leads(groups);
        *out_groups = groups;
        return STELE_OK;
    }
    stand(groups, GROUPS_HERE);
    const int outcome = load(groups, err);
    if (outcome != STELE_OK) {
        stele_groups_destroy(groups);
        return outcome;
    }
    *out_groups = groups;
    return STELE_OK;
}

static void stop_watching(struct stele_groups *groups)
{
    if (groups->watch.on_role_changed != NULL) {
        groups->cluster->ops->watch_stop(groups->cluster, &groups->watch);
        groups->watch.on_role_changed = NULL;
    }
}

void stele_groups_stop(struct stele_groups *groups, struct stele_task *task)
{
    groups->stopped = true;
    stop_watching(groups);
    release_held(groups);
    for (struct hosted *hosted = groups->first; hosted != NULL; hosted = hosted->next) {
        stele_subs__consumers_drop(hosted, STELE_E_CLOSED);
        stele_follow_stop(hosted->follow);
        hosted->follow = NULL;
        hosted->following_ended = true;
        if (hosted->machine != NULL) {
            stele_group_flush(hosted->machine);
        }
    }
    if (groups->pending == 0) {
        stele_loop_post(groups->loop, task);
    } else {
        groups->on_idle = task;
    }
}

void stele_groups_destroy(struct stele_groups *groups)
{
    if (groups == NULL) {
        return;
    }
    STELE_ASSERT(groups->pending == 0);
    stop_watching(groups);
    groups->loop->ops->timer_stop(groups->loop, &groups->timer);
    stop_all(groups, STELE_E_CLOSED);
    stele_release(groups->alloc, groups, sizeof *groups);
}
