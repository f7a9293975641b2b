/* `stele project status`, `wait`, `park`, `drop`. */
#include "base/text.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/project.h"
#include "cli/text.h"

#include <stele/sinks.h>

#include <stdio.h>
#include <string.h>

/* Events behind the checkpoint are counted up to here. */
#define LAG_MAX 100000u

static const struct stele_cli_command *const self = &stele_cli_project_command;

static int open_both(const struct stele_cli_project *project, uint32_t flags,
                     struct stele_sink **out_sink, struct stele **out_store)
{
    struct stele_error err = {0};
    const int outcome = stele_sink_open(project->into, flags, out_sink, &err);
    if (outcome != STELE_OK) {
        return stele_cli_project_fail(outcome, &err, "project");
    }
    return out_store != NULL ? stele_cli_open(STELE_CLI_READ, out_store) : STELE_CLI_OK;
}

static int close_both(struct stele_sink *sink, struct stele *store, int code)
{
    stele_sink_close(sink);
    return store != NULL ? stele_cli_close(store, code) : code;
}

/* ---- status ---- */

struct status {
    struct stele *store;
    const char *name;
    size_t count;
    int outcome;
    struct stele_error err;
};

static void out_status_text(const struct stele_project_info *info,
                            const struct stele_project_lag *lag, bool known)
{
    char time[STELE_TIME_SIZE] = "";
    stele_cli_out_color(STELE_CLI_BOLD);
    stele_cli_out(info->name);
    stele_cli_out_color(STELE_CLI_PLAIN);
    stele_cli_outf("  version %llu  build %llu%s  %llu events applied",
                   (unsigned long long)info->version, (unsigned long long)info->build,
                   info->building ? " (being built)" : "", (unsigned long long)info->events);
    if (info->parked > 0) {
        stele_cli_outf("  %llu parked", (unsigned long long)info->parked);
    }
    if (info->position > 0 && stele_time_format(stele_position_time(info->position), 3, time)) {
        stele_cli_outf("  at %s", time);
    }
    if (known && lag->events == 0) {
        stele_cli_out("  up to date");
    } else if (known) {
        stele_cli_outf("  behind by %s%llu event%s, %.3f s", lag->events == LAG_MAX ? "≥ " : "",
                       (unsigned long long)lag->events, lag->events == 1 ? "" : "s",
                       (double)lag->time_us / 1e6);
    }
    stele_cli_out("\n");
}

static void out_status_json(const struct stele_project_info *info,
                            const struct stele_project_lag *lag, bool known)
{
    stele_cli_out("{\"name\":");
    stele_cli_out_json_text(stele_cli_text(info->name));
    stele_cli_outf(",\"version\":%llu,\"build\":%llu,\"state\":\"%s\",\"lanes\":%u,\"position\":"
                   "\"%llu\",\"events\":%llu,\"parked\":%llu",
                   (unsigned long long)info->version, (unsigned long long)info->build,
                   info->building ? "building" : "live", info->lanes,
                   (unsigned long long)info->position, (unsigned long long)info->events,
                   (unsigned long long)info->parked);
    if (known) {
        stele_cli_outf(",\"lag_events\":%llu,\"lag_seconds\":%.6f", (unsigned long long)lag->events,
                       (double)lag->time_us / 1e6);
    }
    stele_cli_out("}\n");
}

static int on_projection(void *context, const struct stele_project_info *info)
{
    struct status *const status = context;
    struct stele_project_lag lag = {0};
    struct stele_projection *projection = NULL;
    if (status->name != NULL && strcmp(status->name, info->name) != 0) {
        return 0;
    }
    status->count++;
    /* Which events a projection in C wants, only its program knows. */
    const bool known = info->source[0] != '\0';
    if (known) {
        status->outcome = stele_projection_parse(info->name, info->source, strlen(info->source),
                                                 &projection, &status->err);
        if (status->outcome == STELE_OK) {
            status->outcome = stele_project_lag(status->store, projection, info->position, LAG_MAX,
                                                &lag, &status->err);
        }
        stele_projection_destroy(projection);
        if (status->outcome != STELE_OK) {
            return 1;
        }
    }
    if (stele_cli_globals.json) {
        out_status_json(info, &lag, known);
    } else {
        out_status_text(info, &lag, known);
    }
    return 0;
}

static int no_projection(const char *name, const char *into)
{
    return stele_cli_fail(STELE_CLI_NOT_FOUND, "not-found",
                          "%s: there is no projection %s; `stele project status --into %s` shows "
                          "all",
                          into, name, into);
}

int stele_cli_project_status(const struct stele_cli_project *project)
{
    struct status status = {.name = project->count > 0 ? project->arguments[0] : NULL};
    struct stele_sink *sink = NULL;
    int code = open_both(project, STELE_SINK_READ_ONLY, &sink, &status.store);
    if (code == STELE_CLI_OK) {
        struct stele_error err = {0};
        const int outcome = stele_project_list(sink, on_projection, &status, &err);
        if (outcome != STELE_OK) {
            code = stele_cli_project_fail(outcome, &err, "project status");
        } else if (status.outcome != STELE_OK) {
            code = stele_cli_project_fail(status.outcome, &status.err, "project status");
        } else if (status.count == 0 && status.name != NULL) {
            code = no_projection(status.name, project->into);
        }
    }
    return close_both(sink, status.store, code);
}

/* ---- wait ---- */

int stele_cli_project_wait(const struct stele_cli_project *project)
{
    struct stele_sink *sink = NULL;
    struct stele *store = NULL;
    struct stele_error err = {0};
    uint64_t position = 0;
    const uint64_t timeout_s = project->timeout_s == 0 ? 60 : project->timeout_s;
    int code = STELE_CLI_GO_ON;
    if (project->position_text != NULL) {
        code = stele_cli_position(self, "position", project->position_text, &position);
        if (code != STELE_CLI_GO_ON) {
            return code;
        }
    }
    code = open_both(project, STELE_SINK_READ_ONLY, &sink,
                     project->position_text == NULL ? &store : NULL);
    if (code == STELE_CLI_OK) {
        position = store != NULL ? stele_last_position(store) : position;
        const int outcome =
            stele_project_wait(sink, project->arguments[0], position,
                               timeout_s > 2000000 ? -1 : (int)timeout_s * 1000, &err);
        if (outcome == STELE_TIMED_OUT) {
            code = stele_cli_fail(STELE_CLI_TIMED_OUT, "timed-out",
                                  "%s: it has not come so far in time; `stele project status` says "
                                  "how far",
                                  project->arguments[0]);
        } else if (outcome != STELE_OK) {
            code = stele_cli_project_fail(outcome, &err, "project wait");
        }
    }
    return close_both(sink, store, code);
}

/* ---- park ---- */

static int on_parked(void *context, const struct stele_project_parked *parked)
{
    ++*(size_t *)context;
    if (stele_cli_globals.json) {
        stele_cli_out("{\"name\":");
        stele_cli_out_json_text(stele_cli_text(parked->name));
        stele_cli_out(",\"stream\":");
        stele_cli_out_json_text(stele_cli_text(parked->stream));
        stele_cli_outf(",\"revision\":%llu,\"position\":\"%llu\",\"type\":",
                       (unsigned long long)parked->revision, (unsigned long long)parked->position);
        stele_cli_out_json_text(stele_cli_text(parked->type));
        stele_cli_outf(",\"attempts\":%llu,\"reason\":", (unsigned long long)parked->attempts);
        stele_cli_out_json_text(stele_cli_text(parked->reason));
        stele_cli_out("}\n");
        return 0;
    }
    stele_cli_outf("%s  ", parked->name);
    stele_cli_out_safe(stele_cli_text(parked->stream), 0);
    stele_cli_outf("@%llu  ", (unsigned long long)parked->revision);
    stele_cli_out_safe(stele_cli_text(parked->type), 0);
    stele_cli_out("  ");
    if (parked->attempts == 0) {
        stele_cli_out("waits behind it");
    } else {
        stele_cli_out_safe(stele_cli_text(parked->reason), 0);
        if (parked->attempts > 1) {
            stele_cli_outf("  (tried %llu times)", (unsigned long long)parked->attempts);
        }
    }
    stele_cli_out("\n");
    return 0;
}

static int park_list(const struct stele_cli_project *project)
{
    struct stele_sink *sink = NULL;
    struct stele_error err = {0};
    size_t count = 0;
    int code = open_both(project, STELE_SINK_READ_ONLY, &sink, NULL);
    if (code == STELE_CLI_OK) {
        const int outcome = stele_project_parked(
            sink, project->count > 1 ? project->arguments[1] : NULL, on_parked, &count, &err);
        if (outcome != STELE_OK) {
            code = stele_cli_project_fail(outcome, &err, "project park list");
        }
    }
    return close_both(sink, NULL, code);
}

/* The projection that the database has under a name. */
struct wanted {
    const char *name;
    bool found;
    struct stele_projection *projection;
    int outcome;
    struct stele_error err;
};

static int on_wanted(void *context, const struct stele_project_info *info)
{
    struct wanted *const wanted = context;
    if (info->building || strcmp(info->name, wanted->name) != 0) {
        return 0;
    }
    wanted->found = true;
    if (info->source[0] != '\0') {
        wanted->outcome = stele_projection_parse(info->name, info->source, strlen(info->source),
                                                 &wanted->projection, &wanted->err);
    }
    return 1;
}

static int find_projection(const struct stele_cli_project *project, const char *name,
                           struct stele_sink *sink, struct stele_projection **out_projection)
{
    struct wanted wanted = {.name = name};
    struct stele_error err = {0};
    const int outcome = stele_project_list(sink, on_wanted, &wanted, &err);
    if (outcome != STELE_OK) {
        return stele_cli_project_fail(outcome, &err, "project");
    }
    if (!wanted.found) {
        return no_projection(name, project->into);
    }
    if (wanted.outcome != STELE_OK) {
        return stele_cli_project_fail(wanted.outcome, &wanted.err, "project");
    }
    if (wanted.projection == NULL) {
        return stele_cli_fail(STELE_CLI_FORMAT, "unsupported",
                              "%s: it is a projection in C; its own program has to do that", name);
    }
    *out_projection = wanted.projection;
    return STELE_CLI_OK;
}

static void out_retried(const struct stele_project_retried *done)
{
    stele_cli_out_done();
    if (stele_cli_globals.json) {
        stele_cli_outf("{\"applied\":%llu,\"skipped\":%llu,\"parked\":%llu}\n",
                       (unsigned long long)done->applied, (unsigned long long)done->skipped,
                       (unsigned long long)done->left);
        return;
    }
    stele_cli_outf("%llu applied, %llu skipped, %llu still parked\n",
                   (unsigned long long)done->applied, (unsigned long long)done->skipped,
                   (unsigned long long)done->left);
}

static int park_retry(const struct stele_cli_project *project, bool skip)
{
    struct stele_sink *sink = NULL;
    struct stele *store = NULL;
    struct stele_projection *projection = NULL;
    struct stele_project_retried done = {0};
    struct stele_error err = {0};
    int code = open_both(project, 0, &sink, &store);
    if (code == STELE_CLI_OK) {
        code = find_projection(project, project->arguments[1], sink, &projection);
    }
    if (code == STELE_CLI_OK) {
        const int outcome = stele_project_retry(store, projection, sink,
                                                project->count > 2 ? project->arguments[2] : NULL,
                                                skip ? 1 : 0, &done, &err);
        if (outcome == STELE_OK) {
            out_retried(&done);
        } else {
            code = stele_cli_project_fail(outcome, &err, "project park");
        }
    }
    stele_projection_destroy(projection);
    return close_both(sink, store, code);
}

int stele_cli_project_park(const struct stele_cli_project *project)
{
    const char *const what = project->arguments[0];
    if (strcmp(what, "list") == 0 && project->count <= 2) {
        return park_list(project);
    }
    if (strcmp(what, "retry") == 0 && project->count >= 2) {
        return park_retry(project, false);
    }
    if (strcmp(what, "skip") == 0 && project->count == 3) {
        return park_retry(project, true);
    }
    return stele_cli_usage_error(self,
                                 "park takes list [NAME], retry NAME [STREAM] or skip NAME STREAM");
}

/* ---- drop ---- */

int stele_cli_project_drop(const struct stele_cli_project *project)
{
    struct stele_sink *sink = NULL;
    struct stele_projection *projection = NULL;
    struct stele_error err = {0};
    int code = open_both(project, 0, &sink, NULL);
    if (code == STELE_CLI_OK) {
        code = find_projection(project, project->arguments[0], sink, &projection);
    }
    if (code == STELE_CLI_OK) {
        const int outcome = stele_project_drop(sink, projection, &err);
        if (outcome != STELE_OK) {
            code = stele_cli_project_fail(outcome, &err, "project drop");
        }
    }
    stele_projection_destroy(projection);
    return close_both(sink, NULL, code);
}
