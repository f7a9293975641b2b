#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/event.h"
#include "cli/lines.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/pipeline.h"
#include "cli/progress.h"
#include "cli/text.h"

#include <stdio.h>
#include <unistd.h>

const struct stele_cli_command stele_cli_import_command = {
    .name = "import",
    .usage = "import [FILE...] [options]",
    .summary = "Append events of many streams from JSON lines or CloudEvents",
    .text =
        "Reads the files one after the other; none, or -, is standard input. Every line is an "
        "event\n"
        "with the name of its stream, in the form that `stele export` writes (`stele help\n"
        "json-lines`), or a CloudEvent (`stele help cloudevents`), which is recognised.\n"
        "\n"
        "Events are appended in the order of the lines. Those whose id the store has already are\n"
        "counted and left alone, so an import that was interrupted, or that failed at some line, "
        "is\n"
        "repeated with the same command. Lines without an id get a new one every time.",
    .examples = "stele import events.jsonl\n"
                "stele export --store a | stele import --store b\n"
                "gzip -dc old.jsonl.gz | stele import --store b --json\n"
                "stele import cloudevents-1.jsonl cloudevents-2.jsonl",
    .run = stele_cli_import,
};

struct totals {
    uint64_t events;
    uint64_t known;
    uint64_t tombstones;
    uint64_t streams;
    uint64_t without_id;
    bool streams_exact;
};

static void out_totals(const struct totals *totals)
{
    if (stele_cli_globals.json) {
        stele_cli_outf("{\"events\":%llu,\"added\":%llu,\"known\":%llu,\"tombstones\":%llu",
                       (unsigned long long)totals->events,
                       (unsigned long long)(totals->events - totals->known),
                       (unsigned long long)totals->known, (unsigned long long)totals->tombstones);
        stele_cli_outf(",\"without_id\":%llu}\n", (unsigned long long)totals->without_id);
        return;
    }
    stele_cli_outf("imported %llu events", (unsigned long long)(totals->events - totals->known));
    if (totals->streams_exact) {
        stele_cli_outf(" into %llu streams", (unsigned long long)totals->streams);
    }
    if (totals->known > 0) {
        stele_cli_outf(", %llu more were there already", (unsigned long long)totals->known);
    }
    if (totals->tombstones > 0) {
        stele_cli_outf(", %llu streams closed", (unsigned long long)totals->tombstones);
    }
    stele_cli_out("\n");
}

static int read_lines(struct stele_cli_lines *lines, struct stele_cli_pipeline *pipeline,
                      struct stele_cli_progress *progress)
{
    for (;;) {
        struct stele_text line;
        const int outcome = stele_cli_lines_next(lines, &line);
        if (outcome == STELE_E_LIMIT || outcome == STELE_E_IO) {
            return stele_cli_exit_of(outcome);
        }
        if (outcome != STELE_OK) {
            return STELE_CLI_OK;
        }
        if (!stele_cli_is_blank(line)) {
            const int code = stele_cli_pipeline_line(pipeline, line, lines->number);
            if (code != STELE_CLI_OK) {
                return code;
            }
        }
        if (!stele_cli_lines_at_hand(lines)) {
            /* Whoever writes the lines pauses; what there is should not wait for the next one. */
            const int code = stele_cli_pipeline_finish(pipeline);
            if (code != STELE_CLI_OK) {
                return code;
            }
        }
        stele_cli_progress_lines(progress, lines->number, lines->bytes);
        if (stele_cli_interrupted()) {
            return STELE_CLI_OK;
        }
    }
}

static int import_file(struct stele *store, const char *path, size_t batch,
                       struct stele_cli_progress *progress, struct totals *totals)
{
    struct stele_cli_lines lines;
    int code = stele_cli_lines_open(&lines, path);
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct stele_cli_pipeline *const pipeline = stele_cli_pipeline_create(store, lines.name, batch);
    code = read_lines(&lines, pipeline, progress);
    stele_cli_progress_clear(progress);
    /* What was taken in before a bad line, or before Ctrl-C, is good. */
    const int finish_code = stele_cli_pipeline_finish(pipeline);
    code = code == STELE_CLI_OK ? finish_code : code;

    const struct stele_cli_pipeline_counts counts = stele_cli_pipeline_counts(pipeline);
    totals->events += counts.events;
    totals->known += counts.known;
    totals->tombstones += counts.tombstones;
    totals->streams += counts.streams;
    totals->streams_exact = totals->streams_exact && counts.streams_exact;
    totals->without_id += stele_cli_pipeline_without_id(pipeline);
    if (code == STELE_CLI_OK && stele_cli_interrupted()) {
        code = stele_cli_fail(STELE_CLI_INTERRUPTED, "interrupted",
                              "import: interrupted after line %llu of %s; run the same command "
                              "again to go on",
                              (unsigned long long)counts.line_last, lines.name);
    }
    stele_cli_pipeline_destroy(pipeline);
    stele_cli_lines_close(&lines);
    return code;
}

static int import_files(const char *const *paths, size_t count, size_t batch)
{
    struct totals totals = {.streams_exact = count == 1};
    struct stele_cli_progress progress;
    struct stele *store = NULL;
    int code = stele_cli_open(STELE_CLI_CREATE, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    stele_cli_progress_init(&progress, "import");
    for (size_t i = 0; i < count && code == STELE_CLI_OK; i++) {
        code = import_file(store, paths[i], batch, &progress, &totals);
    }
    if (code == STELE_CLI_OK || totals.events > 0) {
        stele_cli_out_done();
        out_totals(&totals);
    }
    if (totals.without_id > 0) {
        stele_cli_note("import: %llu lines had no id; importing them again would store them again",
                       (unsigned long long)totals.without_id);
    }
    return stele_cli_close(store, code);
}

int stele_cli_import(int argc, char **argv)
{
    const struct stele_cli_command *const command = &stele_cli_import_command;
    uint64_t batch = 1000;
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"batch", "N", "at most so many events in one append (default: 1000)", STELE_CLI_POSITIVE,
         &batch},
    };
    const char **const paths = stele_cli_keep(((size_t)argc + 1) * sizeof *paths);
    int code = stele_cli_parse(command, options, STELE_COUNT_OF(options), argc, argv, paths, 0,
                               (size_t)argc, &count);
    if (code == STELE_CLI_GO_ON && batch > STELE_APPEND_EVENTS_MAX) {
        code = stele_cli_usage_error(command, "--batch: one append has at most %u events",
                                     STELE_APPEND_EVENTS_MAX);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    stele_cli_catch_interrupts();
    if (count == 0) {
        paths[count++] = "-";
        if (isatty(STDIN_FILENO) == 1) {
            stele_cli_note("import: reading JSON lines from the terminal; Ctrl-D ends them");
        }
    }
    return import_files(paths, count, (size_t)batch);
}
