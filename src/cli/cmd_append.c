#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/condition.h"
#include "cli/event.h"
#include "cli/lines.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/sink.h"
#include "cli/text.h"

#include <stele/keys.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_DEFAULT 1000
#define BATCH_SIZE_MAX ((size_t)32 * 1024 * 1024) /* Bytes; well below what one append may have. */

const struct stele_cli_command stele_cli_append_command = {
    .name = "append",
    .usage = "append STREAM --type T [options]  |  append STREAM [options] < FILE",
    .summary = "Append events to a stream",
    .text =
        "With --type, one event. Without it, JSON lines from standard input, of which each has at\n"
        "least a \"type\" (`stele help json-lines`); what waits to be read is appended together, "
        "at\n"
        "most 1000 events at a time, or exactly --batch N. The events of one append are stored "
        "all\n"
        "or not at all.\n"
        "\n"
        "When the command has returned 0 the events are on stable storage. When it returns 10 "
        "nobody\n"
        "knows; repeat it with the same ids, and they are stored exactly once.\n"
        "\n"
        "Conditions: --fail-if-type and --fail-if-tag together describe events (any of the types,\n"
        "all of the tags); if one exists, after the position --after where given, nothing is\n"
        "appended and the exit code is 3. They, and --expect, are about the first append.",
    .examples =
        "stele append order-1 --type OrderPlaced --data '{\"total\": 5}'\n"
        "stele append order-1 --type OrderPaid --expect 0\n"
        "stele append user-7 --type UserRegistered --data '{\"name\": \"ada\"}' \\\n"
        "    --tag name:ada --fail-if-tag name:ada   # names are taken once\n"
        "stele append logo-1 --type LogoDrawn --content-type image/png --data-file logo.png\n"
        "stele append order-1 --batch 10 < events.jsonl",
    .run = stele_cli_append,
};

struct request {
    const char *stream;
    uint64_t expected;
    struct stele_condition conditions[2];
    size_t conditions_count;
    uint64_t batch;      /* 0: as it comes. */
    const char *subject; /* For which all of it is sealed; NULL: the policy says. */
    struct stele_cli_list fields;
    bool seals_metadata;
};

/* ---- Results ---- */

static void out_result_json(const char *stream, const struct stele_event_draft *events,
                            size_t count, const struct stele_append_result *result)
{
    stele_cli_out("{\"stream\":");
    stele_cli_out_json_text(stele_cli_text(stream));
    stele_cli_outf(",\"count\":%zu,\"revision_first\":%llu,\"revision_last\":%llu,"
                   "\"position_first\":\"%llu\",\"position_last\":\"%llu\",\"idempotent\":%s,"
                   "\"token\":\"%s\",\"ids\":[",
                   count, (unsigned long long)result->revision_first,
                   (unsigned long long)result->revision_last,
                   (unsigned long long)result->position_first,
                   (unsigned long long)result->position_last, result->idempotent ? "true" : "false",
                   result->token);
    for (size_t i = 0; i < count; i++) {
        char id[37];
        stele_id_to_text(events[i].id, id);
        stele_cli_outf("%s\"%s\"", i > 0 ? "," : "", id);
    }
    stele_cli_out("]}\n");
}

struct summary {
    uint64_t events;
    uint64_t known; /* Of them, stored by an earlier append. */
    uint64_t revision_first;
    uint64_t revision_last;
    uint64_t position_last;
};

static void out_summary(const char *stream, const struct summary *summary)
{
    stele_cli_out_color(STELE_CLI_CYAN);
    stele_cli_out_safe(stele_cli_text(stream), 0);
    stele_cli_out_color(STELE_CLI_PLAIN);
    if (summary->events == 1) {
        stele_cli_outf(": revision %llu", (unsigned long long)summary->revision_last);
    } else {
        stele_cli_outf(": %llu events, revisions %llu to %llu", (unsigned long long)summary->events,
                       (unsigned long long)summary->revision_first,
                       (unsigned long long)summary->revision_last);
    }
    stele_cli_outf(", position %llu", (unsigned long long)summary->position_last);
    if (summary->known > 0 && summary->known == summary->events) {
        stele_cli_out(" (stored before)");
    } else if (summary->known > 0) {
        stele_cli_outf(" (%llu stored before)", (unsigned long long)summary->known);
    }
    stele_cli_out("\n");
}

static void add_result(struct summary *summary, size_t count,
                       const struct stele_append_result *result)
{
    if (summary->events == 0) {
        summary->revision_first = result->revision_first;
    }
    summary->events += count;
    summary->known += result->idempotent ? count : 0;
    summary->revision_last = result->revision_last;
    summary->position_last = result->position_last;
}

/* ---- Appending ---- */

static int append_one(struct stele *store, const struct request *request,
                      const struct stele_append *one, struct stele_append_result *result,
                      struct stele_error *err)
{
    if (request->subject == NULL) {
        return stele_append_many(store, one, 1, request->conditions, request->conditions_count,
                                 NULL, result, err);
    }
    struct stele_seal *const seals = stele_cli_alloc(one->count * sizeof *seals);
    for (size_t i = 0; i < one->count; i++) {
        seals[i] = (struct stele_seal){request->subject, request->fields.items,
                                       request->fields.count, request->seals_metadata ? 1 : 0};
    }
    const struct stele_seal *const all[] = {seals};
    const int outcome = stele_append_sealed(store, one, all, 1, request->conditions,
                                            request->conditions_count, NULL, result, err);
    free(seals);
    return outcome;
}

/* Appends one batch; *request says what holds for the next one afterwards. */
static int append_batch(struct stele *store, struct request *request,
                        struct stele_event_draft *events, size_t count, const char *where,
                        struct summary *summary)
{
    struct stele_append_result result = {.failed = 0};
    struct stele_error err = {0};
    const struct stele_append one = {request->stream, request->expected, events, count};
    const int outcome = append_one(store, request, &one, &result, &err);
    if (outcome != STELE_OK) {
        const struct stele_cli_attempt attempt = {
            where, "append to", request->stream, request->expected, events, count};
        return stele_cli_write_failed(&attempt, outcome, &result, &err);
    }
    stele_cli_out_done();
    request->conditions_count = 0;
    if (request->expected != STELE_EXPECT_ANY) {
        request->expected = result.revision_last;
    }
    add_result(summary, count, &result);
    if (stele_cli_globals.json) {
        out_result_json(request->stream, events, count, &result);
        stele_cli_out_flush();
    }
    return STELE_CLI_OK;
}

struct batch {
    struct stele_cli_arena arena;
    struct stele_event_draft *events;
    size_t count;
    size_t size;
    uint64_t line_first;
};

static int take_line(struct batch *batch, const struct request *request,
                     const struct stele_cli_lines *lines, struct stele_text line)
{
    struct stele_cli_input input;
    struct stele_cli_mistake mistake;
    bool good = stele_cli_event_read(line, &batch->arena, &input, &mistake);
    if (good && input.stream != NULL && strcmp(input.stream, request->stream) != 0) {
        good = false;
        (void)snprintf(mistake.text, sizeof mistake.text,
                       "the event belongs to the stream %.100s; `stele import` appends to many "
                       "streams",
                       input.stream);
    } else if (good && input.tombstone) {
        good = false;
        (void)snprintf(mistake.text, sizeof mistake.text,
                       "a tombstone cannot be appended; use `stele delete --tombstone`");
    }
    if (!good) {
        return stele_cli_bad_line(lines->name, lines->number, &mistake);
    }
    if (!input.has_id) {
        stele_new_id(input.draft.id);
    }
    batch->line_first = batch->count == 0 ? lines->number : batch->line_first;
    batch->size += line.size;
    batch->events[batch->count++] = input.draft;
    return STELE_CLI_OK;
}

static int flush(struct stele *store, struct request *request, struct batch *batch,
                 const char *name, struct summary *summary)
{
    int code = STELE_CLI_OK;
    if (batch->count > 0) {
        char where[256];
        (void)snprintf(where, sizeof where, "%.200s:%llu", name,
                       (unsigned long long)batch->line_first);
        code = append_batch(store, request, batch->events, batch->count, where, summary);
    }
    batch->count = 0;
    batch->size = 0;
    stele_cli_arena_reset(&batch->arena);
    return code;
}

static bool is_full(const struct batch *batch, const struct request *request,
                    struct stele_cli_lines *lines)
{
    if (request->batch > 0) {
        return batch->count == request->batch;
    }
    return batch->count == BATCH_DEFAULT || batch->size >= BATCH_SIZE_MAX ||
           (batch->count > 0 && !stele_cli_lines_at_hand(lines));
}

static int append_lines(struct stele *store, struct request *request, const char *path,
                        struct summary *summary)
{
    struct stele_cli_lines lines;
    int code = stele_cli_lines_open(&lines, path);
    if (code != STELE_CLI_OK) {
        return code;
    }
    const size_t room = request->batch > 0 ? request->batch : BATCH_DEFAULT;
    struct batch batch = {.events = stele_cli_alloc(room * sizeof *batch.events)};
    while (code == STELE_CLI_OK) {
        struct stele_text line;
        const int outcome = stele_cli_lines_next(&lines, &line);
        if (outcome == STELE_E_LIMIT || outcome == STELE_E_IO) {
            code = stele_cli_exit_of(outcome);
        }
        if (outcome != STELE_OK) {
            break;
        }
        if (stele_cli_is_blank(line)) {
            continue;
        }
        code = take_line(&batch, request, &lines, line);
        if (code == STELE_CLI_OK && is_full(&batch, request, &lines)) {
            code = flush(store, request, &batch, lines.name, summary);
        }
    }
    if (code == STELE_CLI_OK) {
        code = flush(store, request, &batch, lines.name, summary);
    }
    stele_cli_arena_free(&batch.arena);
    free(batch.events);
    stele_cli_lines_close(&lines);
    return code;
}

/* ---- One event from the command line ---- */

struct one_event {
    const char *type;
    const char *data;
    const char *data_file;
    const char *metadata;
    const char *content_type;
    const char *id;
    const char *created;
    struct stele_cli_list tags;
};

static int check_json(const char *option, struct stele_text json)
{
    json_error_t error;
    json_t *const value = json_loadb(
        json.data, json.size, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    json_decref(value);
    if (value != NULL) {
        return STELE_CLI_OK;
    }
    return stele_cli_fail(
        STELE_CLI_INPUT, "input",
        "append: --%s is no JSON: line %d, column %d: %s; correct it, or say what "
        "it is with --content-type",
        option, error.line, error.column, error.text);
}

static int read_data(const struct one_event *one, struct stele_event_draft *draft)
{
    struct stele_text data = stele_cli_text(one->data != NULL ? one->data : "");
    if (one->data_file != NULL) {
        const int code = stele_cli_read_file(one->data_file, STELE_EVENT_SIZE_MAX, &data);
        if (code != STELE_CLI_OK) {
            return code;
        }
    }
    draft->data = data.data;
    draft->data_size = data.size;
    draft->content_type = one->content_type;
    const bool is_json =
        one->content_type == NULL || stele_cli_is_json_type(stele_cli_text(one->content_type));
    if (!is_json || (one->data == NULL && one->data_file == NULL)) {
        return STELE_CLI_OK;
    }
    return check_json(one->data != NULL ? "data" : "data-file", data);
}

/* Fills the draft from the options. STELE_CLI_GO_ON, or an exit code after telling. */
static int make_event(const struct one_event *one, struct stele_event_draft *draft)
{
    const struct stele_cli_command *const command = &stele_cli_append_command;
    int code = stele_cli_check_name(command, "--type", one->type, STELE_TYPE_SIZE_MAX);
    for (size_t i = 0; code == STELE_CLI_GO_ON && i < one->tags.count; i++) {
        code = stele_cli_check_name(command, "--tag", one->tags.items[i], STELE_TAG_SIZE_MAX);
    }
    if (code == STELE_CLI_GO_ON && one->content_type != NULL) {
        code = stele_cli_check_name(command, "--content-type", one->content_type,
                                    STELE_CONTENT_TYPE_SIZE_MAX);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    if (one->data != NULL && one->data_file != NULL) {
        return stele_cli_usage_error(command, "--data and --data-file exclude each other");
    }
    *draft = (struct stele_event_draft){
        .type = one->type, .tags = one->tags.items, .tags_count = one->tags.count};
    stele_new_id(draft->id);
    if (one->id != NULL && !stele_cli_id_parse(one->id, draft->id)) {
        return stele_cli_usage_error(
            command, "--id: '%s' is no UUID like 01234567-89ab-7def-8123-456789abcdef", one->id);
    }
    if (one->created != NULL && !stele_time_parse(one->created, &draft->created_us)) {
        return stele_cli_usage_error(
            command, "--created: '%s' is no time like 2026-11-20T15:00:00Z", one->created);
    }
    code = read_data(one, draft);
    if (code == STELE_CLI_OK && one->metadata != NULL) {
        draft->metadata = one->metadata;
        draft->metadata_size = strlen(one->metadata);
        code = check_json("metadata", stele_cli_text(one->metadata));
    }
    return code == STELE_CLI_OK ? STELE_CLI_GO_ON : code;
}

/* Options about one event make no sense for events that come as lines. */
static int check_lines(const struct one_event *one)
{
    if (one->data != NULL || one->data_file != NULL || one->metadata != NULL ||
        one->content_type != NULL || one->id != NULL || one->created != NULL ||
        one->tags.count > 0) {
        return stele_cli_usage_error(&stele_cli_append_command,
                                     "--type is missing: it says what happened");
    }
    if (isatty(STDIN_FILENO) == 1) {
        stele_cli_note("append: reading JSON lines from the terminal; Ctrl-D ends them");
    }
    return STELE_CLI_GO_ON;
}

static int run(struct request *request, struct stele_event_draft *draft)
{
    struct stele *store = NULL;
    struct summary summary = {.events = 0};
    int code = stele_cli_open(STELE_CLI_CREATE, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    code = draft != NULL ? append_batch(store, request, draft, 1, NULL, &summary)
                         : append_lines(store, request, "-", &summary);
    if (!stele_cli_globals.json && summary.events > 0) {
        out_summary(request->stream, &summary);
    } else if (code == STELE_CLI_OK && summary.events == 0) {
        stele_cli_note("append to %s: the input had no events; nothing was done", request->stream);
    }
    return stele_cli_close(store, code);
}

int stele_cli_append(int argc, char **argv)
{
    const struct stele_cli_command *const command = &stele_cli_append_command;
    struct request request = {.batch = 0};
    struct one_event one = {.type = NULL};
    struct stele_cli_conditions conditions = {.after = NULL};
    const char *expect = NULL;
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"type", "T", "what happened: append one event of this type", STELE_CLI_TEXT, &one.type},
        {"data", "JSON", "the event's data", STELE_CLI_TEXT, &one.data},
        {"data-file", "FILE|-", "the event's data from a file or standard input, as it is",
         STELE_CLI_TEXT, &one.data_file},
        {"content-type", "C", "what the data is (default: application/json)", STELE_CLI_TEXT,
         &one.content_type},
        {"metadata", "JSON", "about the event: who, why, correlation", STELE_CLI_TEXT,
         &one.metadata},
        {"tag", "T", "a name that conditions and filters ask for; several times", STELE_CLI_LIST,
         &one.tags},
        {"id", "UUID", "the event's id (default: a new one); makes repeating safe", STELE_CLI_TEXT,
         &one.id},
        {"created", "TIME", "when it happened (default: now)", STELE_CLI_TEXT, &one.created},
        {"expect", "E",
         "where the stream must be: any (default), none (no events),\n"
         "exists (at least one), or the revision of its last event",
         STELE_CLI_TEXT, &expect},
        {"fail-if-type", "T", "condition: no event of this type", STELE_CLI_LIST,
         &conditions.types},
        {"fail-if-tag", "T", "condition: no event with this tag; several: with all of them",
         STELE_CLI_LIST, &conditions.tags},
        {"fail-if", "JSON",
         "condition with alternatives, each of types and tags:\n"
         "[{\"types\": [\"A\"], \"tags\": [\"x\"]}, {\"tags\": [\"y\"]}]",
         STELE_CLI_TEXT, &conditions.json},
        {"after", "POSITION", "conditions: only events after this position count", STELE_CLI_TEXT,
         &conditions.after},
        {"batch", "N", "from standard input: so many lines in one append, no more, no less",
         STELE_CLI_POSITIVE, &request.batch},
        {"subject", "S", "seal the events for this data subject (`stele keys --help`)",
         STELE_CLI_TEXT, &request.subject},
        {"seal-field", "POINTER", "seal this field alone, like /name; several times",
         STELE_CLI_LIST, &request.fields},
        {"seal-metadata", NULL, "seal the metadata, too", STELE_CLI_FLAG, &request.seals_metadata},
    };
    int code = stele_cli_parse(command, options, STELE_COUNT_OF(options), argc, argv,
                               &request.stream, 1, 1, &count);
    if (code == STELE_CLI_GO_ON) {
        code = stele_cli_check_name(command, "the stream's name", request.stream,
                                    STELE_STREAM_NAME_SIZE_MAX + 2);
    }
    if (code == STELE_CLI_GO_ON) {
        code = stele_cli_expected(command, expect, STELE_EXPECT_ANY, &request.expected);
    }
    if (code == STELE_CLI_GO_ON) {
        code = stele_cli_conditions(command, &conditions, request.conditions,
                                    &request.conditions_count);
    }
    if (code == STELE_CLI_GO_ON && request.subject == NULL &&
        (request.fields.count > 0 || request.seals_metadata)) {
        code = stele_cli_usage_error(command, "--seal-field and --seal-metadata need --subject");
    }
    if (code == STELE_CLI_GO_ON && request.batch > STELE_APPEND_EVENTS_MAX) {
        code = stele_cli_usage_error(command, "--batch: one append has at most %u events",
                                     STELE_APPEND_EVENTS_MAX);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    if (one.type == NULL) {
        code = check_lines(&one);
        return code == STELE_CLI_GO_ON ? run(&request, NULL) : code;
    }
    struct stele_event_draft draft;
    code = make_event(&one, &draft);
    return code == STELE_CLI_GO_ON ? run(&request, &draft) : code;
}
