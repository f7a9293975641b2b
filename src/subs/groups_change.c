/* Groups made, changed and deleted: one change of the configuration at a time, written before it is
 * done. */
#include "base/text.h"
#include "subs/groups_internal.h"

#include <stdio.h>
#include <stdlib.h>

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
        stele_subs__answer(request, stele_subs__hosted_start(hosted, &request->err));
        return;
    }
    const uint64_t place = stele_group_finished_to(hosted->machine);
    stele_subs__hosted_stop(hosted, STELE_E_CLOSED);
    stele_subs__answer(request, stele_subs__hosted_run(hosted, place, &request->err));
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
        stele_subs__start_ticking(change->groups);
        stele_subs__answer(request, outcome);
        break;
    case STELE_GROUPS_UPDATE:
        finish_update(change);
        break;
    default:
        stele_subs__hosted_stop(hosted, STELE_E_CLOSED);
        stele_subs__hosted_forget(hosted);
        stele_subs__hosted_remove(hosted);
        stele_subs__answer(request, STELE_OK);
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
    stele_subs__next_change(groups);
}

/* Another node has changed the configuration, or did while it led: with what it wrote, once more. */
static void try_again(struct change *change)
{
    struct stele_groups *groups = change->groups;
    struct stele_groups_request *request = change->request;
    take_back(change);
    const int outcome = stele_subs__load_again(groups, &request->err);
    if (outcome != STELE_OK) {
        stele_subs__answer(request, outcome);
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
    stele_subs__answer(
        request, outcome == STELE_WRONG_REVISION ? stele_subs__fail_elsewhere(request) : outcome);
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
        stele_subs__answer(change->request, appending->outcome);
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
        return stele_subs__fail_not_found(request);
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

static void restart(struct stele_groups *groups, struct stele_groups_request *request)
{
    stele_subs__answer(request, stele_subs__load_again(groups, &request->err));
}

void stele_subs__next_change(struct stele_groups *groups)
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
            stele_subs__answer(request,
                               stele_fail(&request->err, STELE_E_NO_MEMORY, 0, "group: no memory"));
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
            stele_subs__answer(request, outcome);
        }
    }
}
