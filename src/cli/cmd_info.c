#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/metadata.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/select.h"
#include "cli/table.h"
#include "cli/text.h"

#include <stdio.h>

const struct stele_cli_command stele_cli_info_command = {
    .name = "info",
    .usage = "info [STREAM] [options]",
    .summary = "Show facts about the store, or about a stream",
    .text = "\"events\" counts what was ever appended, also what was scavenged since.",
    .examples = "stele info\n"
                "stele info order-1\n"
                "stele info --store ./stele-data --json",
    .run = stele_cli_info,
};

static int show_store(struct stele *store)
{
    struct stele_stats stats;
    struct stele_error err = {0};
    const int outcome = stele_stats(store, &stats, &err);
    if (outcome != STELE_OK) {
        return stele_cli_fail_outcome(outcome, &err, "info");
    }
    char id[37];
    stele_id_to_text(stats.store_id, id);
    stele_cli_table_begin();
    stele_cli_table_text("path", stele_cli_store_shown());
    stele_cli_table_text("store id", id);
    stele_cli_table_number("events", stats.events);
    stele_cli_table_number("streams", stats.streams);
    stele_cli_table_position("position last", stats.position_last);
    stele_cli_table_number("partitions", stats.partitions);
    stele_cli_table_size("log size", stats.log_size);
    stele_cli_table_size("index size", stats.index_size);
    stele_cli_table_size("disk size", stats.disk_size);
    stele_cli_table_number("segments", stats.segments);
    stele_cli_table_number("index runs", stats.index_runs);
    stele_cli_table_size("index behind", stats.index_behind);
    stele_cli_table_size("memory", stats.memory);
    stele_cli_table_number("damage", stats.damage);
    stele_cli_table_end();
    return STELE_CLI_OK;
}

static int show_stream(struct stele *store, const char *stream)
{
    struct stele_stream_info info;
    struct stele_error err = {0};
    int outcome = stele_stream_info(store, stream, &info, &err);
    if (outcome != STELE_OK) {
        char what[STELE_STREAM_NAME_SIZE_MAX + 16];
        (void)snprintf(what, sizeof what, "info %s", stream);
        return stele_cli_fail_outcome(outcome, &err, what);
    }
    struct stele_text metadata = {NULL, 0};
    uint64_t metadata_revision = 0;
    outcome = stele_cli_get_metadata(store, stream, &metadata, &metadata_revision, &err);
    if (outcome < 0 && outcome != STELE_E_INVALID) {
        return stele_cli_fail_outcome(outcome, &err, "info");
    }
    stele_cli_table_begin();
    stele_cli_table_text("stream", stream);
    stele_cli_table_number("revision first", info.revision_first);
    stele_cli_table_number("revision last", info.revision_last);
    stele_cli_table_position("position last", info.position_last);
    stele_cli_table_number("partition", info.partition);
    stele_cli_table_bool("deleted", info.deleted != 0);
    stele_cli_table_bool("tombstoned", info.tombstoned != 0);
    if (metadata.size > 0) {
        stele_cli_table_json("metadata", metadata);
    }
    stele_cli_table_end();
    return STELE_CLI_OK;
}

int stele_cli_info(int argc, char **argv)
{
    const char *stream = NULL;
    size_t count = 0;
    int code = stele_cli_parse(&stele_cli_info_command, NULL, 0, argc, argv, &stream, 0, 1, &count);
    if (code == STELE_CLI_GO_ON && stream != NULL) {
        code = stele_cli_check_stream(&stele_cli_info_command, stream);
    }
    if (code == STELE_CLI_GO_ON && stream != NULL && stele_cli_counts_positions(stream)) {
        code = stele_cli_usage_error(&stele_cli_info_command,
                                     "%s is a view of many streams; `stele info` alone is about "
                                     "the whole store",
                                     stream);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct stele *store = NULL;
    code = stele_cli_open(STELE_CLI_READ, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    code = stream != NULL ? show_stream(store, stream) : show_store(store);
    return stele_cli_close(store, code);
}
