/* The state of a stream: its events, folded by a program in jq. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/select.h"
#include "cli/text.h"

#include <stele/jq.h>
#include <stele/run.h>

#include <stdio.h>
#include <string.h>

const struct stele_cli_command stele_cli_state_command = {
    .name = "state",
    .usage = "state STREAM [options]",
    .summary = "Show the state of a stream: its events, folded into one value",
    .text =
        "Without --fold the data of the events are merged, one over the other: the newest value "
        "of\n"
        "each member counts. With --fold a jq program says what each event means: \".\" is the "
        "state,\n"
        "$event the event (type, data, metadata, stream, revision, position, created, id, tags), "
        "and\n"
        "what the program gives is the next state:\n"
        "\n"
        "  if   $event.type == \"Deposited\" then .cents += $event.data.cents\n"
        "  elif $event.type == \"Withdrawn\" then .cents -= $event.data.cents\n"
        "  else . end\n"
        "\n"
        "STREAM may also be '$ce-CATEGORY', '$et-TYPE' or '$all'. Numbers have 53 bits, as in jq.",
    .examples = "stele state order-1\n"
                "stele state order-1 --as-of 2026-11-20T15:00:00Z\n"
                "stele state order-1 --revision 2 --json\n"
                "stele state account-1 --fold account.jq --initial '{\"cents\": 0}'\n"
                "stele state account-1 --fold account.jq --effective 2026-03-31T23:59:59Z",
    .run = stele_cli_state,
};

static const struct stele_cli_command *const self = &stele_cli_state_command;

struct wanted {
    const char *stream;
    const char *fold_path;
    const char *initial;
    const char *as_of_text;
    const char *effective;
    uint64_t revision; /* UINT64_MAX: not said. */
    uint64_t as_of;    /* 0: no bound. */
    int64_t until_us;  /* Of --effective; 0: no bound. */
};

/* ---- Folding ------------------------------------------------------------------------------- */

struct folding {
    struct stele *store;
    const struct wanted *wanted;
    struct stele_jq_fold *fold;
    struct stele_memory *memory;
    struct stele_state *state;
};

static int fail_fold(const struct folding *folding, int outcome, const struct stele_error *err)
{
    const char *const words = stele_jq_fold_last_error(folding->fold);
    if (outcome == STELE_E_INVALID && words[0] != '\0') {
        return stele_cli_fail(STELE_CLI_INPUT, "invalid", "%s; put the program right", words);
    }
    char what[STELE_STREAM_NAME_SIZE_MAX + 16];
    (void)snprintf(what, sizeof what, "read %s", folding->wanted->stream);
    return stele_cli_fail_outcome(outcome, err, what);
}

static int begin_read(const struct folding *folding, uint64_t from, uint64_t limit,
                      struct stele_iterator **out_iterator, struct stele_error *err)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = from;
    options.limit = limit;
    options.as_of = folding->wanted->as_of;
    return strcmp(folding->wanted->stream, "$all") == 0
               ? stele_read_all(folding->store, &options, out_iterator, err)
               : stele_read_stream(folding->store, folding->wanted->stream, &options, out_iterator,
                                   err);
}

/* The position of the revision that was asked for takes the place of --as-of. */
static int find_revision(const struct folding *folding, struct wanted *wanted)
{
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    struct stele_error err = {0};
    int outcome = begin_read(folding, wanted->revision, 1, &iterator, &err);
    if (outcome == STELE_OK) {
        outcome = stele_iterator_next(iterator, &events, &count, &err);
    }
    int code = STELE_CLI_OK;
    if (outcome == STELE_END || (outcome == STELE_OK && events[0].revision != wanted->revision)) {
        code = stele_cli_fail(STELE_CLI_NOT_FOUND, "not-found",
                              "%s: there is no event %llu; `stele info %s` says which there are",
                              wanted->stream, (unsigned long long)wanted->revision, wanted->stream);
    } else if (outcome != STELE_OK) {
        code = fail_fold(folding, outcome, &err);
    } else {
        wanted->as_of = events[0].position;
    }
    stele_iterator_destroy(iterator);
    return code;
}

static void note_beginning(const struct folding *folding, const struct stele_event *first)
{
    if (first->revision > 0 && !stele_cli_counts_positions(folding->wanted->stream)) {
        stele_cli_note("%s begins with revision %llu; what was before it is not in the state",
                       folding->wanted->stream, (unsigned long long)first->revision);
    }
}

static int fold_all(struct folding *folding)
{
    struct stele_iterator *iterator = NULL;
    struct stele_error err = {0};
    bool first = true;
    int outcome =
        stele_state_create(folding->memory, stele_jq_fold_of(folding->fold), &folding->state, &err);
    if (outcome == STELE_OK) {
        outcome = begin_read(folding, 0, 0, &iterator, &err);
    }
    while (outcome == STELE_OK) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_iterator_next(iterator, &events, &count, &err);
        if (outcome == STELE_OK && count > 0) {
            if (first) {
                note_beginning(folding, events);
            }
            first = false;
            outcome = stele_state_apply(folding->state, events, count, &err);
        }
    }
    stele_iterator_destroy(iterator);
    return outcome == STELE_END ? STELE_CLI_OK : fail_fold(folding, outcome, &err);
}

static int fold_effective(struct folding *folding)
{
    struct stele_runner *runner = NULL;
    struct stele_error err = {0};
    int outcome = stele_runner_create(folding->store, NULL, &runner, &err);
    if (outcome == STELE_OK) {
        outcome = stele_runner_load_effective(runner, stele_jq_fold_of(folding->fold),
                                              folding->wanted->stream, folding->wanted->as_of,
                                              folding->wanted->until_us, folding->memory,
                                              &folding->state, &err);
    }
    stele_runner_destroy(runner);
    return outcome == STELE_OK ? STELE_CLI_OK : fail_fold(folding, outcome, &err);
}

/* ---- Showing ------------------------------------------------------------------------------- */

static int show(const struct folding *folding)
{
    struct stele_text json = {.size = 0};
    const bool text = !stele_cli_globals.json;
    const uint64_t position = stele_state_position(folding->state);
    const uint64_t revision = stele_state_revision(folding->state);
    const bool of_one = position > 0 && !stele_cli_counts_positions(folding->wanted->stream);
    if (stele_jq_fold_value(folding->fold, text, folding->memory, &json) != STELE_OK) {
        return stele_cli_fail(STELE_CLI_FAILURE, "no-memory", "state: no memory");
    }
    if (text) {
        /* The value alone, so that other programs can read it; piece by piece, because it has line ends. */
        for (size_t i = 0; i < json.size;) {
            const char *const end = memchr(json.data + i, '\n', json.size - i);
            const size_t size = end != NULL ? (size_t)(end - json.data) - i : json.size - i;
            stele_cli_out_safe((struct stele_text){json.data + i, size}, 0);
            stele_cli_out("\n");
            i += size + 1;
        }
        return STELE_CLI_OK;
    }
    stele_cli_out("{\"stream\":");
    stele_cli_out_json_text(stele_cli_text(folding->wanted->stream));
    if (of_one) {
        stele_cli_outf(",\"revision\":%llu", (unsigned long long)revision);
    }
    if (position > 0) {
        stele_cli_outf(",\"position\":\"%llu\"", (unsigned long long)position);
    }
    stele_cli_outf(",\"events\":%llu,\"state\":",
                   (unsigned long long)stele_state_count(folding->state));
    stele_cli_out_json_raw(json);
    stele_cli_out("}\n");
    return STELE_CLI_OK;
}

/* ---- The command --------------------------------------------------------------------------- */

static int check(struct wanted *wanted)
{
    const bool many = stele_cli_counts_positions(wanted->stream);
    int code = stele_cli_check_stream(self, wanted->stream);
    if (code == STELE_CLI_GO_ON && wanted->as_of_text != NULL) {
        code = stele_cli_position(self, "as-of", wanted->as_of_text, &wanted->as_of);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    if (wanted->revision != UINT64_MAX && (many || wanted->as_of_text != NULL)) {
        return stele_cli_usage_error(self, many ? "--revision counts the events of one stream; "
                                                  "--as-of takes a position"
                                                : "--revision and --as-of exclude each other");
    }
    if (wanted->effective != NULL && strcmp(wanted->stream, "$all") == 0) {
        return stele_cli_usage_error(self, "--effective takes a stream, a category or a type, not "
                                           "$all");
    }
    return wanted->effective == NULL
               ? STELE_CLI_GO_ON
               : stele_cli_effective(self, wanted->effective, &wanted->until_us);
}

static int make_fold(const struct wanted *wanted, struct stele_jq_fold **out_fold)
{
    struct stele_error err = {0};
    const int outcome = wanted->fold_path != NULL
                            ? stele_jq_fold_open(wanted->fold_path, wanted->initial, out_fold, &err)
                            : stele_jq_fold_create("merge", NULL, wanted->initial, out_fold, &err);
    if (outcome == STELE_OK) {
        return STELE_CLI_OK;
    }
    return outcome == STELE_E_INVALID
               ? stele_cli_fail(STELE_CLI_INPUT, "invalid", "%s; put it right", err.message)
               : stele_cli_fail(stele_cli_exit_of(outcome),
                                outcome == STELE_NOT_FOUND ? "not-found" : "io",
                                "%s; check the path", err.message);
}

static int fold_and_show(struct folding *folding, struct wanted *wanted)
{
    int code = STELE_CLI_OK;
    if (wanted->revision != UINT64_MAX) {
        code = find_revision(folding, wanted);
    }
    if (code == STELE_CLI_OK) {
        code = wanted->effective != NULL ? fold_effective(folding) : fold_all(folding);
    }
    return code == STELE_CLI_OK ? show(folding) : code;
}

int stele_cli_state(int argc, char **argv)
{
    struct wanted wanted = {.revision = UINT64_MAX};
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"fold", "FILE.jq", "what events mean; without it their data are merged", STELE_CLI_TEXT,
         &wanted.fold_path},
        {"initial", "JSON", "the state before the first event; default: null", STELE_CLI_TEXT,
         &wanted.initial},
        {"as-of", "TIME|POSITION",
         "nothing newer than this: a time like 2026-11-20T15:00:00Z,\nor a position",
         STELE_CLI_TEXT, &wanted.as_of_text},
        {"revision", "N", "nothing newer than this revision", STELE_CLI_NUMBER, &wanted.revision},
        {"effective", "now|all|TIME",
         "in the order in which events count (\"effective\", \"corrects\" and\n\"cancels\" in "
         "their "
         "metadata), as far as they count by then",
         STELE_CLI_TEXT, &wanted.effective},
    };
    int code = stele_cli_parse(self, options, STELE_COUNT_OF(options), argc, argv, &wanted.stream,
                               1, 1, &count);
    if (code == STELE_CLI_GO_ON) {
        code = check(&wanted);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct folding folding = {.wanted = &wanted};
    code = make_fold(&wanted, &folding.fold);
    if (code == STELE_CLI_OK) {
        code = stele_cli_open(STELE_CLI_READ, &folding.store);
    }
    if (code == STELE_CLI_OK) {
        folding.memory = stele_memory_create();
        code = folding.memory != NULL
                   ? fold_and_show(&folding, &wanted)
                   : stele_cli_fail(STELE_CLI_FAILURE, "no-memory", "state: no memory");
        stele_memory_destroy(folding.memory);
        code = stele_cli_close(folding.store, code);
    }
    stele_jq_fold_destroy(folding.fold);
    return code;
}
