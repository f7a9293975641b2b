/* All groups: requests, the clock, beginning and end. */
#include "subs/groups_internal.h"

#include <stdatomic.h>

bool stele_subs__is_same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

struct hosted *stele_subs__find(struct stele_groups *groups, const char *stream, const char *group)
{
    for (struct hosted *hosted = groups->first; hosted != NULL; hosted = hosted->next) {
        if (!hosted->removed && strcmp(hosted->config.group, group) == 0 &&
            stele_subs__is_same(hosted->config.stream, stream)) {
            return hosted;
        }
    }
    return NULL;
}

/* ---- The clock ---- */

static void on_tick(struct stele_timer *timer)
{
    struct stele_groups *groups =
        (struct stele_groups *)((char *)timer - offsetof(struct stele_groups, timer));
    stele_subs__keep_standing(groups);
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

void stele_subs__start_ticking(struct stele_groups *groups)
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

int stele_subs__fail_elsewhere(struct stele_groups_request *request)
{
    return stele_fail(&request->err, STELE_GROUPS_ELSEWHERE, 0,
                      "persistent subscriptions are on another node, which leads");
}

void stele_subs__answer(struct stele_groups_request *request, int outcome)
{
    request->outcome = outcome;
    request->task.run = run_done;
    stele_loop_post(request->loop, &request->task);
}

int stele_subs__fail_not_found(struct stele_groups_request *request)
{
    return stele_fail(&request->err, STELE_NOT_FOUND, 0, "group %s on %s does not exist",
                      request->group == NULL ? "" : request->group,
                      request->stream == NULL ? "$all" : request->stream);
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
        stele_subs__next_change(groups);
        return;
    case STELE_GROUPS_INFO:
    case STELE_GROUPS_LIST:
        stele_subs__answer(request, stele_subs__look(groups, request));
        return;
    case STELE_GROUPS_REPLAY:
    case STELE_GROUPS_TRUNCATE:
        hosted = stele_subs__find(groups, request->stream, request->group);
        if (hosted == NULL || hosted->machine == NULL) {
            stele_subs__answer(request, stele_subs__fail_not_found(request));
            return;
        }
        if (request->what == STELE_GROUPS_REPLAY) {
            stele_subs__replay(hosted, request->stop_at);
        } else {
            stele_subs__truncate(hosted, request->stop_at);
        }
        stele_subs__answer(request, STELE_OK);
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
        stele_subs__answer(request,
                           stele_fail(&request->err, outcome, 0, "the server is shutting down"));
        break;
    case STELE_GROUPS_ELSEWHERE:
        stele_subs__answer(request, stele_subs__fail_elsewhere(request));
        break;
    default:
        stele_subs__answer(request,
                           stele_fail(&request->err, outcome, 0,
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

static void on_role_changed(struct stele_role_watch *watch)
{
    stele_subs__look_who_leads(
        (struct stele_groups *)((char *)watch - offsetof(struct stele_groups, watch)));
}

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
        stele_subs__look_who_leads(groups);
        *out_groups = groups;
        return STELE_OK;
    }
    stele_subs__stand(groups, GROUPS_HERE);
    const int outcome = stele_subs__load(groups, err);
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
    stele_subs__release_held(groups);
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
    stele_subs__stop_all(groups, STELE_E_CLOSED);
    stele_release(groups->alloc, groups, sizeof *groups);
}
