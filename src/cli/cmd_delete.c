#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/sink.h"
#include "cli/text.h"

const struct stele_cli_command stele_cli_delete_command = {
    .name = "delete",
    .usage = "delete STREAM [--tombstone] [options]",
    .summary = "Hide the events of a stream, or close it for ever",
    .text =
        "Its events are not handed out any more, and the next `stele scavenge` reclaims their "
        "space.\n"
        "An append brings the stream back; its revisions go on where they were. With --tombstone\n"
        "nothing can ever be appended to the stream again.",
    .examples = "stele delete order-1\n"
                "stele delete order-1 --expect 7        # only if nobody has appended since\n"
                "stele delete order-1 --tombstone",
    .run = stele_cli_delete,
};

static void out_result(const char *stream, bool tombstone, const struct stele_append_result *result)
{
    if (stele_cli_globals.json) {
        stele_cli_out("{\"stream\":");
        stele_cli_out_json_text(stele_cli_text(stream));
        stele_cli_outf(",\"tombstone\":%s,\"position\":\"%llu\",\"token\":\"%s\"}\n",
                       tombstone ? "true" : "false", (unsigned long long)result->position_last,
                       result->token);
        return;
    }
    stele_cli_out_safe(stele_cli_text(stream), 0);
    stele_cli_outf(": %s, position %llu\n", tombstone ? "closed for ever" : "deleted",
                   (unsigned long long)result->position_last);
}

int stele_cli_delete(int argc, char **argv)
{
    const struct stele_cli_command *const command = &stele_cli_delete_command;
    const char *stream = NULL;
    const char *expect = NULL;
    bool tombstone = false;
    uint64_t expected = 0;
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"tombstone", NULL, "close the stream for ever", STELE_CLI_FLAG, &tombstone},
        {"expect", "E",
         "where the stream must be: any (default), exists, or the revision\n"
         "of its last event",
         STELE_CLI_TEXT, &expect},
    };
    int code = stele_cli_parse(command, options, STELE_COUNT_OF(options), argc, argv, &stream, 1, 1,
                               &count);
    if (code == STELE_CLI_GO_ON) {
        code = stele_cli_check_name(command, "the stream's name", stream,
                                    STELE_STREAM_NAME_SIZE_MAX + 2);
    }
    if (code == STELE_CLI_GO_ON) {
        code = stele_cli_expected(command, expect, STELE_EXPECT_ANY, &expected);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct stele *store = NULL;
    code = stele_cli_open(STELE_CLI_WRITE, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct stele_append_result result = {.failed = 0};
    struct stele_error err = {0};
    const int outcome = tombstone ? stele_tombstone(store, stream, expected, &result, &err)
                                  : stele_delete(store, stream, expected, &result, &err);
    if (outcome == STELE_OK) {
        stele_cli_out_done();
        out_result(stream, tombstone, &result);
    } else {
        const struct stele_cli_attempt attempt = {
            NULL, tombstone ? "close" : "delete", stream, expected, NULL, 0};
        code = stele_cli_write_failed(&attempt, outcome, &result, &err);
    }
    return stele_cli_close(store, code);
}
