/* Projections: run, rebuilt, watched, their parked events looked after. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/project.h"

#include <string.h>

const struct stele_cli_command stele_cli_project_command = {
    .name = "project",
    .usage = "project run|rebuild|status|wait|park|drop [arguments] [options]",
    .summary = "Keep read models in a database up to date",
    .text =
        "project run FILE.sql --into DB            applies events, and goes on with what comes\n"
        "project rebuild FILE.sql --into DB        builds it anew beside the old one, then "
        "switches\n"
        "project status --into DB                  what there is, and how far behind\n"
        "project wait NAME --into DB               until it has what the store has now\n"
        "project park list [NAME] --into DB        events that the database refused\n"
        "project park retry NAME [STREAM] --into DB\n"
        "project park skip NAME STREAM --into DB   leaves out the first one, applies the rest\n"
        "project drop NAME --into DB               removes tables, views and checkpoint\n"
        "\n"
        "FILE.sql says what events mean: see docs/projections.md. DB is a file for SQLite, or an\n"
        "address: postgresql://…, redis://… for a file in Lua, elasticsearch+https://… for one in\n"
        "jq. Read model and checkpoint change in one transaction: each event counts exactly once,\n"
        "whatever happens to the process. An event that the database refuses is parked with all\n"
        "later ones of its stream; other streams go on.",
    .examples = "stele project run totals.sql --into totals.db --once\n"
                "stele project run totals.sql --into march.db --as-of 2026-04-01T00:00:00Z\n"
                "stele project run history.sql --into march.db --effective 2026-03-31T23:59:59Z\n"
                "stele project status --into totals.db\n"
                "stele project wait totals --into totals.db --timeout 5s\n"
                "stele project park list --into totals.db\n"
                "stele project rebuild totals.sql --into totals.db",
    .run = stele_cli_project,
};

static const struct stele_cli_command *const self = &stele_cli_project_command;

static const struct verb {
    const char *name;
    int (*run)(const struct stele_cli_project *project);
    size_t min, max; /* Arguments behind the verb. */
    const char *takes;
} verbs[] = {
    {"run", stele_cli_project_run, 1, 1, "one FILE.sql"},
    {"rebuild", stele_cli_project_run, 1, 1, "one FILE.sql"},
    {"status", stele_cli_project_status, 0, 1, "at most one NAME"},
    {"wait", stele_cli_project_wait, 1, 1, "one NAME"},
    {"park", stele_cli_project_park, 1, 3, "list [NAME], retry NAME [STREAM] or skip NAME STREAM"},
    {"drop", stele_cli_project_drop, 1, 1, "one NAME"},
};

static const char *verb_name_at(const void *context, size_t i)
{
    (void)context;
    return i < STELE_COUNT_OF(verbs) ? verbs[i].name : NULL;
}

static int no_verb(const char *name)
{
    const char *const near = stele_cli_suggest(name, verb_name_at, NULL);
    return near != NULL ? stele_cli_usage_error(self,
                                                "%s: there is no such thing to do; did you "
                                                "mean %s?",
                                                name, near)
                        : stele_cli_usage_error(self, "%s: there is no such thing to do", name);
}

static int check(const struct stele_cli_project *project)
{
    const bool runs = strcmp(project->verb, "run") == 0;
    const bool rebuilds = strcmp(project->verb, "rebuild") == 0;
    if (project->into == NULL) {
        return stele_cli_usage_error(self,
                                     "--into DB is missing: a file, postgresql://… or redis://…");
    }
    if (project->as_of_text != NULL && !runs) {
        return stele_cli_usage_error(self, "--as-of belongs to `project run`");
    }
    if (project->effective_text != NULL && !runs) {
        return stele_cli_usage_error(self, "--effective belongs to `project run`");
    }
    if (project->as_of_text != NULL && project->follow) {
        return stele_cli_usage_error(self, "--as-of and --follow exclude each other");
    }
    if (project->follow && !rebuilds) {
        return stele_cli_usage_error(self, "--follow belongs to `project rebuild`");
    }
    if (project->once && !runs) {
        return stele_cli_usage_error(self, "--once belongs to `project run`");
    }
    if (project->lanes > STELE_PROJECT_LANES_MAX) {
        return stele_cli_usage_error(self, "--lanes: at most %d", STELE_PROJECT_LANES_MAX);
    }
    if (project->batch > 1000000) {
        return stele_cli_usage_error(self, "--batch: at most 1000000");
    }
    return STELE_CLI_GO_ON;
}

int stele_cli_project(int argc, char **argv)
{
    struct stele_cli_project project = {.batch = 8192};
    const char *arguments[4];
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"into", "DB", "the database: a file (SQLite), postgresql://… or redis://…", STELE_CLI_TEXT,
         &project.into},
        {"once", NULL, "run: end when everything that is there is done", STELE_CLI_FLAG,
         &project.once},
        {"as-of", "TIME|POSITION", "run: nothing newer than this, into a fresh database, and end",
         STELE_CLI_TEXT, &project.as_of_text},
        {"effective", "now|all|TIME",
         "run: nothing that counts later than this, into a fresh database,\nand end; of a "
         "projection with @order effective",
         STELE_CLI_TEXT, &project.effective_text},
        {"follow", NULL, "rebuild: go on with what comes after the switch", STELE_CLI_FLAG,
         &project.follow},
        {"lanes", "N",
         "connections that work side by side, each on streams of its own;\nSQLite has one writer",
         STELE_CLI_POSITIVE, &project.lanes},
        {"batch", "N", "events of one transaction at most (default 8192)", STELE_CLI_POSITIVE,
         &project.batch},
        {"effects", NULL,
         "run: side effects also for events that were there before the\nprojection was",
         STELE_CLI_FLAG, &project.effects},
        {"position", "TIME|POSITION", "wait: until this (default: all that the store has now)",
         STELE_CLI_TEXT, &project.position_text},
        {"timeout", "DURATION", "wait: at most so long (default 60s)", STELE_CLI_DURATION,
         &project.timeout_s},
    };
    int code = stele_cli_parse(self, options, STELE_COUNT_OF(options), argc, argv, arguments, 1, 4,
                               &count);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    project.verb = arguments[0];
    project.arguments = arguments + 1;
    project.count = count - 1;
    for (size_t i = 0; i < STELE_COUNT_OF(verbs); i++) {
        if (strcmp(verbs[i].name, project.verb) != 0) {
            continue;
        }
        if (project.count < verbs[i].min || project.count > verbs[i].max) {
            return stele_cli_usage_error(self, "%s takes %s", project.verb, verbs[i].takes);
        }
        code = check(&project);
        return code == STELE_CLI_GO_ON ? verbs[i].run(&project) : code;
    }
    return no_verb(project.verb);
}
