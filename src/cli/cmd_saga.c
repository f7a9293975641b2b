/* Looking at sagas, and deciding for those that cannot go on by themselves. Everything is read from the
 * sagas' streams, and said by appending to them: a runner that is at work sees it and goes on. */
#include "base/text.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"

#include <stele/saga.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct stele_cli_command stele_cli_saga_command = {
    .name = "saga",
    .usage = "saga status|park|resume|retry|skip|cancel|abandon [KIND [ID [STEP]]] [options]",
    .summary = "Look at sagas, and decide for those that are parked",
    .text =
        "status [KIND]    the sagas that have not ended; --all: all of them; --parked: those that\n"
        "                 wait for a person\n"
        "status KIND ID   one saga, with its steps\n"
        "park KIND ID     nothing is asked for any more; what is under way is still noted\n"
        "resume KIND ID   a parked one goes on, and tries again what had failed\n"
        "retry KIND ID STEP\n"
        "                 the same, for one step\n"
        "skip KIND ID STEP\n"
        "                 it goes on as if the step were done (or undone): somebody has seen to "
        "it\n"
        "cancel KIND ID   what was done is undone\n"
        "abandon KIND ID  a parked one ends as it is\n"
        "\n"
        "Each of these appends one event to the saga's stream, saga.KIND-ID; the runner, in your\n"
        "program, does the rest. docs/sagas.md explains sagas.",
    .examples = "stele saga status\n"
                "stele saga status order 17\n"
                "stele saga park order 17 --reason 'the customer called'\n"
                "stele saga cancel order 17 --reason 'the customer called' --json",
    .run = stele_cli_saga,
};

static const struct stele_cli_command *const self = &stele_cli_saga_command;

static const struct verb {
    const char *name;
    int input; /* 0: status. */
    size_t arguments;
    const char *done;
} VERBS[] = {
    {"status", 0, 0, ""},
    {"park", STELE_SAGA_INPUT_PARK, 2, "parked"},
    {"resume", STELE_SAGA_INPUT_RESUME, 2, "goes on"},
    {"retry", STELE_SAGA_INPUT_RETRY, 3, "goes on"},
    {"skip", STELE_SAGA_INPUT_SKIP, 3, "goes on"},
    {"cancel", STELE_SAGA_INPUT_CANCEL, 2, "is being undone"},
    {"abandon", STELE_SAGA_INPUT_ABANDON, 2, "abandoned"},
};

static struct stele_text text_of(const char *text)
{
    return (struct stele_text){text, strlen(text)};
}

/* ---- One saga ------------------------------------------------------------------------------ */

struct shown {
    char kind[STELE_SAGA_NAME_SIZE_MAX + 1];
    char id[STELE_SAGA_ID_SIZE_MAX + 1];
    struct stele_saga_plan plan;
    struct stele_saga saga;
};

static void out_json_member(const char *name, const char *value)
{
    stele_cli_outf(",\"%s\":", name);
    stele_cli_out_json_text(text_of(value));
}

static void out_time_member(const char *name, int64_t time_us)
{
    char text[STELE_TIME_SIZE];
    if (time_us != STELE_SAGA_NEVER && time_us > 0 && stele_time_format(time_us, 6, text)) {
        out_json_member(name, text);
    }
}

static const char *cause_of(const struct shown *s)
{
    return s->saga.cause < s->plan.steps_count ? s->plan.steps[s->saga.cause].name : "";
}

static void out_step_json(const struct shown *s, uint32_t i)
{
    const struct stele_saga_step_state *const step = &s->saga.steps[i];
    stele_cli_out(i > 0 ? ",{\"name\":" : "{\"name\":");
    stele_cli_out_json_text(text_of(s->plan.steps[i].name));
    out_json_member("state", stele_saga_step_state_name(step->state));
    stele_cli_outf(",\"attempt\":%u,\"failures\":%u,\"in_flight\":%s,\"skipped\":%s", step->attempt,
                   step->failures, step->in_flight ? "true" : "false",
                   step->skipped ? "true" : "false");
    out_time_member("due", step->due_us);
    stele_cli_out("}");
}

static void out_json(const struct shown *s, bool with_steps)
{
    stele_cli_out("{\"kind\":");
    stele_cli_out_json_text(text_of(s->kind));
    out_json_member("id", s->id);
    out_json_member("state", stele_saga_state_name(s->saga.state));
    if (s->saga.reason[0] != '\0') {
        out_json_member("reason", s->saga.reason);
    }
    if (cause_of(s)[0] != '\0') {
        out_json_member("step", cause_of(s));
    }
    stele_cli_outf(",\"events\":%llu", (unsigned long long)s->saga.events);
    out_time_member("started", s->saga.started_at_us);
    out_time_member("changed", s->saga.at_us);
    out_time_member("due", stele_saga_due(&s->plan, &s->saga));
    if (with_steps) {
        stele_cli_out(",\"steps\":[");
        for (uint32_t i = 0; i < s->plan.steps_count; i++) {
            out_step_json(s, i);
        }
        stele_cli_out("]");
    }
    stele_cli_out("}\n");
}

static void out_line(const struct shown *s)
{
    stele_cli_out_safe(text_of(s->kind), 0);
    stele_cli_out(" ");
    stele_cli_out_safe(text_of(s->id), 0);
    stele_cli_outf("  %s", stele_saga_state_name(s->saga.state));
    if (cause_of(s)[0] != '\0') {
        stele_cli_out("  ");
        stele_cli_out_safe(text_of(cause_of(s)), 0);
    }
    if (s->saga.reason[0] != '\0') {
        stele_cli_out(": ");
        stele_cli_out_safe(text_of(s->saga.reason), 0);
    }
    stele_cli_out("\n");
}

static void out_steps(const struct shown *s)
{
    size_t width = 0;
    for (uint32_t i = 0; i < s->plan.steps_count; i++) {
        const size_t size = strlen(s->plan.steps[i].name);
        width = size > width ? size : width;
    }
    for (uint32_t i = 0; i < s->plan.steps_count; i++) {
        const struct stele_saga_step_state *const step = &s->saga.steps[i];
        char time[STELE_TIME_SIZE];
        stele_cli_out("  ");
        stele_cli_out_safe(text_of(s->plan.steps[i].name), width);
        stele_cli_outf("  %s", step->skipped ? "skipped" : stele_saga_step_state_name(step->state));
        if (step->attempt > 1) {
            stele_cli_outf(", attempt %u", step->attempt);
        }
        if (step->due_us != STELE_SAGA_NEVER && stele_time_format(step->due_us, 3, time)) {
            stele_cli_outf(", %s %s", step->in_flight ? "answer by" : "again at", time);
        }
        stele_cli_out("\n");
    }
}

/* ---- Many of them --------------------------------------------------------------------------- */

struct listing {
    struct stele *store;
    bool all;
    bool parked;
    char **streams;
    size_t count, capacity;
};

static int on_stream(void *context, struct stele_text name, uint64_t count)
{
    struct listing *const listing = context;
    (void)count;
    if (listing->count == listing->capacity) {
        listing->capacity = listing->capacity == 0 ? 64 : listing->capacity * 2;
        listing->streams =
            stele_cli_realloc(listing->streams, listing->capacity * sizeof listing->streams[0]);
    }
    char *const copy = stele_cli_alloc(name.size + 1);
    memcpy(copy, name.data, name.size);
    copy[name.size] = '\0';
    listing->streams[listing->count++] = copy;
    return 0;
}

/* "saga.order-17" taken apart; false: it is no saga's. */
static bool read_name(const char *stream, struct shown *s)
{
    const char *const kind = stream + strlen("saga.");
    const char *const dash = strchr(kind, '-');
    if (dash == NULL || dash == kind || (size_t)(dash - kind) >= sizeof s->kind ||
        dash[1] == '\0' || strlen(dash + 1) >= sizeof s->id) {
        return false;
    }
    memcpy(s->kind, kind, (size_t)(dash - kind));
    s->kind[dash - kind] = '\0';
    memcpy(s->id, dash + 1, strlen(dash + 1) + 1);
    return true;
}

static int out_one(const struct listing *listing, const char *stream)
{
    struct shown s;
    struct stele_error err = {0};
    if (!read_name(stream, &s)) {
        return STELE_OK;
    }
    const int outcome = stele_saga_load(listing->store, s.kind, s.id, &s.plan, &s.saga, &err);
    if (outcome == STELE_E_CORRUPT || outcome == STELE_NO_STREAM) {
        stele_cli_note("%s: %s", stream, err.message);
        return STELE_OK; /* The others can be shown. */
    }
    const bool wanted = listing->parked ? s.saga.state == STELE_SAGA_PARKED
                                        : listing->all || !stele_saga_has_ended(&s.saga);
    if (outcome == STELE_OK && wanted && stele_cli_globals.json) {
        out_json(&s, false);
    } else if (outcome == STELE_OK && wanted) {
        out_line(&s);
    }
    return outcome != STELE_OK ? stele_cli_fail_outcome(outcome, &err, stream) : STELE_OK;
}

static int list(const char *kind, bool all, bool parked)
{
    struct listing listing = {.all = all, .parked = parked};
    int code = stele_cli_open(STELE_CLI_READ, &listing.store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    char prefix[STELE_SAGA_NAME_SIZE_MAX + 16];
    (void)snprintf(prefix, sizeof prefix, "saga.%s%s", kind, kind[0] != '\0' ? "-" : "");
    struct stele_error err = {0};
    const int outcome =
        stele_list(listing.store, STELE_LIST_STREAMS, prefix, NULL, 0, on_stream, &listing, &err);
    if (outcome != STELE_OK && outcome != STELE_END) {
        code = stele_cli_fail_outcome(outcome, &err, "list the sagas");
    }
    for (size_t i = 0; i < listing.count; i++) {
        if (code == STELE_CLI_OK && stele_cli_out_ok()) {
            code = out_one(&listing, listing.streams[i]);
        }
        free(listing.streams[i]);
    }
    free(listing.streams);
    return stele_cli_close(listing.store, code);
}

static int show(const char *kind, const char *id)
{
    struct stele *store = NULL;
    int code = stele_cli_open(STELE_CLI_READ, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct shown s;
    struct stele_error err = {0};
    (void)snprintf(s.kind, sizeof s.kind, "%s", kind);
    (void)snprintf(s.id, sizeof s.id, "%s", id);
    const int outcome = stele_saga_load(store, kind, id, &s.plan, &s.saga, &err);
    if (outcome != STELE_OK) {
        code = stele_cli_fail_outcome(outcome, &err, "read the saga");
    } else if (stele_cli_globals.json) {
        out_json(&s, true);
    } else {
        out_line(&s);
        out_steps(&s);
    }
    return stele_cli_close(store, code);
}

/* ---- Deciding ------------------------------------------------------------------------------- */

static int operate(const struct verb *verb, const char *const *arguments, const char *reason)
{
    struct stele *store = NULL;
    int code = stele_cli_open(STELE_CLI_WRITE, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct stele_error err = {0};
    const char *const step = verb->arguments == 3 ? arguments[2] : NULL;
    const int outcome =
        stele_saga_operate(store, arguments[0], arguments[1], verb->input, step, reason, &err);
    if (outcome == STELE_CONDITION_FAILED) {
        /* What the saga says, and not that a condition failed. */
        code = stele_cli_fail(STELE_CLI_CONFLICT, "saga-state", "%s", err.message);
    } else if (outcome != STELE_OK) {
        code = stele_cli_fail_outcome(outcome, &err, "change the saga");
    } else if (stele_cli_globals.json) {
        stele_cli_out_done();
        stele_cli_out("{\"kind\":");
        stele_cli_out_json_text(text_of(arguments[0]));
        out_json_member("id", arguments[1]);
        out_json_member("done", verb->name);
        stele_cli_out("}\n");
    } else {
        stele_cli_out_done();
        stele_cli_out_safe(text_of(arguments[0]), 0);
        stele_cli_out(" ");
        stele_cli_out_safe(text_of(arguments[1]), 0);
        stele_cli_outf(": %s\n", verb->done);
    }
    return stele_cli_close(store, code);
}

static const char *verb_at(const void *context, size_t i)
{
    (void)context;
    return i < STELE_COUNT_OF(VERBS) ? VERBS[i].name : NULL;
}

static const struct verb *find_verb(const char *name, int *out_code)
{
    for (size_t i = 0; i < STELE_COUNT_OF(VERBS); i++) {
        if (strcmp(VERBS[i].name, name) == 0) {
            return &VERBS[i];
        }
    }
    const char *const near = stele_cli_suggest(name, verb_at, NULL);
    *out_code = stele_cli_usage_error(self, "saga: \"%s\" is nothing that can be done%s%s%s", name,
                                      near != NULL ? "; did you mean " : "",
                                      near != NULL ? near : "", near != NULL ? "?" : "");
    return NULL;
}

int stele_cli_saga(int argc, char **argv)
{
    bool all = false;
    bool parked = false;
    const char *reason = NULL;
    const char *arguments[4] = {NULL};
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"all", NULL, "status: also sagas that have ended", STELE_CLI_FLAG, &all},
        {"parked", NULL, "status: only sagas that wait for a person", STELE_CLI_FLAG, &parked},
        {"reason", "TEXT", "why, for those who read the saga's stream", STELE_CLI_TEXT, &reason},
    };
    int code = stele_cli_parse(self, options, STELE_COUNT_OF(options), argc, argv, arguments, 1, 4,
                               &count);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    const struct verb *const verb = find_verb(arguments[0], &code);
    if (verb == NULL) {
        return code;
    }
    static const char *const NAMES[] = {"", "the kind", "the id", "the step"};
    for (size_t i = 1; i < count && i < STELE_COUNT_OF(NAMES) && code == STELE_CLI_GO_ON; i++) {
        code = stele_cli_check_name(self, NAMES[i], arguments[i],
                                    i == 2 ? STELE_SAGA_ID_SIZE_MAX : STELE_SAGA_NAME_SIZE_MAX);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    if (verb->input == 0) {
        return count > 3   ? stele_cli_usage_error(self, "status takes a kind and an id, no more")
               : count > 2 ? show(arguments[1], arguments[2])
                           : list(count > 1 ? arguments[1] : "", all, parked);
    }
    if (count - 1 != verb->arguments) {
        return stele_cli_usage_error(self, "%s takes a kind%s", verb->name,
                                     verb->arguments == 3 ? ", an id and a step" : " and an id");
    }
    if (reason != NULL) {
        code = stele_cli_check_name(self, "--reason", reason, STELE_SAGA_WORDS_SIZE_MAX - 1);
        if (code != STELE_CLI_GO_ON) {
            return code;
        }
    }
    return operate(verb, arguments + 1, reason);
}
