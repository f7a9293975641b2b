#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "cli/table.h"

const struct stele_cli_command stele_cli_scavenge_command = {
    .name = "scavenge",
    .usage = "scavenge [--rate N] [options]",
    .summary = "Reclaim the space of events that were deleted or are beyond their limits",
    .text =
        "Rewrites, one after the other, those segments of the log that hold such events. "
        "Positions\n"
        "and revisions of what stays do not change. Ctrl-C stops it; the next run goes on there.\n"
        "The newest segment is left alone.",
    .examples = "stele scavenge\n"
                "stele scavenge --rate 20        # at most 20 MB a second",
    .run = stele_cli_scavenge,
};

#define MEGABYTE 1000000u

int stele_cli_scavenge(int argc, char **argv)
{
    const struct stele_cli_command *const command = &stele_cli_scavenge_command;
    uint64_t rate = 0;
    size_t count = 0;
    const struct stele_cli_option table[] = {
        {"rate", "MB/S", "read and write at most so many megabytes a second", STELE_CLI_POSITIVE,
         &rate},
    };
    int code =
        stele_cli_parse(command, table, STELE_COUNT_OF(table), argc, argv, NULL, 0, 0, &count);
    if (code == STELE_CLI_GO_ON && rate > UINT64_MAX / MEGABYTE) {
        code =
            stele_cli_usage_error(command, "--rate: '%llu' is too large", (unsigned long long)rate);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct stele *store = NULL;
    code = stele_cli_open(STELE_CLI_WRITE, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct stele_cli_progress progress;
    struct stele_scavenge_options options = STELE_SCAVENGE_OPTIONS_INIT;
    struct stele_scavenge_result result = {.segments = 0};
    struct stele_error err = {0};
    stele_cli_catch_interrupts();
    stele_cli_progress_init(&progress, "scavenge");
    options.bytes_per_second = rate * MEGABYTE;
    options.on_progress = stele_cli_on_progress;
    options.context = &progress;
    const int outcome = stele_scavenge(store, &options, &result, &err);
    stele_cli_progress_clear(&progress);
    if (stele_cli_interrupted()) {
        code = stele_cli_fail(STELE_CLI_INTERRUPTED, "interrupted",
                              "scavenge: interrupted; run it again to go on");
    } else if (outcome != STELE_OK) {
        code = stele_cli_fail_outcome(outcome, &err, "scavenge");
    }
    if (outcome == STELE_OK || result.segments > 0) {
        stele_cli_out_done();
        stele_cli_table_begin();
        stele_cli_table_number("segments", result.segments);
        stele_cli_table_number("rewritten", result.segments_rewritten);
        stele_cli_table_number("events removed", result.events_removed);
        stele_cli_table_size("bytes before", result.bytes_before);
        stele_cli_table_size("bytes after", result.bytes_after);
        stele_cli_table_end();
    }
    return stele_cli_close(store, code);
}
