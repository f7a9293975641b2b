/* What is told of groups and of their consumers. */
#include "subs/groups_internal.h"

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
    return stele_subs__is_same(hosted->config.stream, request->stream) &&
           (request->what == STELE_GROUPS_LIST ||
            strcmp(hosted->config.group, request->group) == 0);
}

int stele_subs__look(struct stele_groups *groups, struct stele_groups_request *request)
{
    size_t count = 0;
    for (const struct hosted *hosted = groups->first; hosted != NULL; hosted = hosted->next) {
        count += is_asked_for(request, hosted) ? 1 : 0;
    }
    if (count == 0) {
        return request->what == STELE_GROUPS_LIST && request->all_streams
                   ? STELE_OK
                   : stele_subs__fail_not_found(request);
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
