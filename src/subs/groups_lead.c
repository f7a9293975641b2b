/* The groups that the configuration names, and whether they are here: in a cluster they are at work on
 * the node that leads. */
#include "subs/groups_internal.h"

#include <stdatomic.h>

void stele_subs__stop_all(struct stele_groups *groups, int outcome)
{
    while (groups->first != NULL) {
        stele_subs__hosted_stop(groups->first, outcome);
        stele_subs__hosted_remove(groups->first);
    }
}

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

int stele_subs__load(struct stele_groups *groups, struct stele_error *err)
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
        stele_subs__start_ticking(groups);
    }
    return outcome == STELE_END ? STELE_OK : outcome;
}

int stele_subs__load_again(struct stele_groups *groups, struct stele_error *err)
{
    stele_subs__stop_all(groups, STELE_E_CLOSED);
    const int outcome = stele_subs__load(groups, err);
    if (outcome != STELE_OK && !groups->cluster->is_alone) {
        stele_subs__stop_all(groups, STELE_E_CLOSED);
        stele_subs__stand(groups, GROUPS_COMING);
        groups->coming_failed = outcome;
        stele_subs__start_ticking(groups);
    }
    return outcome;
}

void stele_subs__release_held(struct stele_groups *groups)
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

void stele_subs__stand(struct stele_groups *groups, enum groups_standing standing)
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
        outcome = stele_subs__load(groups, NULL);
    }
    if (outcome == STELE_OK) {
        stele_subs__stand(groups, GROUPS_HERE);
    } else {
        stele_subs__stop_all(groups, STELE_E_CLOSED);
        groups->coming_failed = outcome == STELE_TIMED_OUT ? STELE_E_OVERLOADED : outcome;
    }
    stele_subs__release_held(groups);
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
    stele_subs__stand(groups, GROUPS_AWAY);
    groups->era++;
    stele_subs__stop_all(groups, STELE_GROUPS_ELSEWHERE);
    while (groups->changes != NULL) {
        struct stele_groups_request *request = groups->changes;
        groups->changes = request->next;
        stele_subs__answer(request, stele_subs__fail_elsewhere(request));
    }
    groups->changes_last = &groups->changes;
    stele_subs__release_held(groups);
}

void stele_subs__look_who_leads(struct stele_groups *groups)
{
    if (groups->cluster->is_alone || groups->stopped) {
        return;
    }
    const bool leads = groups->cluster->ops->is_leader(groups->cluster);
    if (leads && groups->standing == GROUPS_AWAY) {
        stele_subs__stand(groups, GROUPS_COMING);
        groups->coming_failed = STELE_OK;
        come(groups);
        stele_subs__start_ticking(groups);
    } else if (!leads && groups->standing != GROUPS_AWAY) {
        go(groups);
    }
}

void stele_subs__keep_standing(struct stele_groups *groups)
{
    stele_subs__look_who_leads(groups);
    if (groups->cluster->is_alone || groups->stopped) {
        return;
    }
    if (groups->standing == GROUPS_COMING && !groups->is_linearizing) {
        groups->coming_failed = STELE_OK;
        come(groups);
    } else if (groups->standing == GROUPS_HERE && !groups->changing &&
               revision_of_config(groups) != groups->config_revision) {
        (void)stele_subs__load_again(groups, NULL);
    }
}

bool stele_subs__hold(struct stele_groups *groups, struct stele_task *task, int *out_outcome)
{
    stele_subs__look_who_leads(groups);
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
