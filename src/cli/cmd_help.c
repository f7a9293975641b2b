/* The list of commands, the overview, and the topics that are about no single command. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"

#include <string.h>

const struct stele_cli_command stele_cli_help_command = {
    .name = "help",
    .usage = "help [COMMAND | TOPIC]",
    .summary = "Explain a command or a topic",
    .text = "Topics: exit-codes, json-lines, cloudevents, times, limits, environment.",
    .examples = "stele help\n"
                "stele help read\n"
                "stele help exit-codes",
    .run = stele_cli_help,
    .no_store = true,
};

static const struct stele_cli_command *const all_commands[] = {
    &stele_cli_append_command,   &stele_cli_read_command,    &stele_cli_state_command,
    &stele_cli_tail_command,     &stele_cli_streams_command, &stele_cli_info_command,
    &stele_cli_meta_command,     &stele_cli_delete_command,  &stele_cli_import_command,
    &stele_cli_export_command,   &stele_cli_verify_command,  &stele_cli_digest_command,
    &stele_cli_scavenge_command, &stele_cli_keys_command,    &stele_cli_shred_command,
    &stele_cli_project_command,  &stele_cli_run_command,     &stele_cli_serve_command,
    &stele_cli_cluster_command,  &stele_cli_user_command,    &stele_cli_saga_command,
    &stele_cli_bench_command,    &stele_cli_version_command, &stele_cli_help_command,
};

const struct stele_cli_command *stele_cli_command_at(size_t index)
{
    return index < STELE_COUNT_OF(all_commands) ? all_commands[index] : NULL;
}

const struct stele_cli_command *stele_cli_find_command(const char *name)
{
    for (size_t i = 0; i < STELE_COUNT_OF(all_commands); i++) {
        if (strcmp(all_commands[i]->name, name) == 0) {
            return all_commands[i];
        }
    }
    return NULL;
}

static const char *command_name_at(const void *context, size_t i)
{
    (void)context;
    const struct stele_cli_command *const command = stele_cli_command_at(i);
    return command != NULL ? command->name : NULL;
}

const char *stele_cli_near_command(const char *name)
{
    return stele_cli_suggest(name, command_name_at, NULL);
}

void stele_cli_out_overview(void)
{
    stele_cli_out("Usage: stele COMMAND [arguments] [options]\n"
                  "\n"
                  "Stele is an event store. A store is a directory; applications append events to\n"
                  "streams in it, read them back, and follow them as they come.\n"
                  "\n"
                  "Commands:\n");
    for (size_t i = 0; i < STELE_COUNT_OF(all_commands); i++) {
        stele_cli_out("  ");
        stele_cli_out_color(STELE_CLI_BOLD);
        stele_cli_outf("%-10s", all_commands[i]->name);
        stele_cli_out_color(STELE_CLI_PLAIN);
        stele_cli_out(all_commands[i]->summary);
        stele_cli_out("\n");
    }
    stele_cli_out(
        "\n"
        "Options of all commands:\n"
        "  -s, --store PATH  the store's directory (default: $STELE_STORE, else ./stele-data)\n"
        "  --json            JSON for programs instead of text for people; failures too\n"
        "  -h, --help        explain the command\n"
        "\n"
        "Begin here:\n"
        "  stele append order-1 --type OrderPlaced --data '{\"total\": 5}'\n"
        "  stele read order-1\n"
        "  stele tail '$all'\n"
        "\n"
        "`stele help TOPIC`: exit-codes, json-lines, cloudevents, times, limits, environment.\n");
}

struct topic {
    const char *name;
    const char *text;
};

static const struct topic topics[] = {
    {"exit-codes",
     "Exit codes:\n"
     "    0  done\n"
     "    1  another failure: memory ran out, too much is under way\n"
     "    2  usage: an option or an argument is not allowed\n"
     "    3  wrong expected revision, or a condition failed: read, decide again, repeat\n"
     "    4  damage: stored bytes are not the bytes that were written\n"
     "    5  not found: no store, no stream, no metadata; a stream that was deleted or closed\n"
     "    6  locked: another process writes to the store\n"
     "    7  no space on the disk\n"
     "    8  limit: something is larger than it may be\n"
     "    9  input: no JSON, a wrong member, no UUID; told with file, line and column\n"
     "   10  unknown: the append may or may not have been stored; repeat it with the same ids\n"
     "   11  permission: access denied, or the store can only be read\n"
     "   12  input or output error; also a write that failed earlier\n"
     "   13  a newer version wrote the store, or it is not possible on this system\n"
     "   14  an event id was used before, for another event\n"
     "   15  the time was over before everything that was asked for had come\n"
     "  130  interrupted by Ctrl-C\n"
     "  141  nobody reads standard output any more (`stele read … | head`)\n"
     "\n"
     "After every code but 0, 10 and 130, what was asked for has definitely not happened; import\n"
     "and append from lines say what they did before that. Where only the result of what was done\n"
     "could not be written to standard output (7 or 12), the failure says so.\n"
     "\n"
     "Failures are one line on standard error: what was tried, why it failed, what to do. With\n"
     "--json it is an object with \"error\" (a name that does not change), \"exit_code\" and\n"
     "\"message\", and what else programs may want: \"expected\" and \"actual\", \"file\" and "
     "\"line\".\n"},
    {"json-lines",
     "JSON lines: one event a line, written by read, tail and export, read by append and import.\n"
     "\n"
     "  stream        name of the stream (append: may be missing)\n"
     "  type          what happened\n"
     "  id            UUID (may be missing in input: a new one)\n"
     "  created       time with microseconds, RFC 3339 (may be missing in input: now)\n"
     "  data          JSON data as it is; for text content types, a string\n"
     "  data_base64   any other data\n"
     "  content_type  what the data is; missing means application/json\n"
     "  metadata      JSON; metadata_base64 if it is something else\n"
     "  tags          list of names\n"
     "  tombstone     true: not an event of the application; the stream is closed for ever\n"
     "  revision      number in the stream, from 0 (ignored in input)\n"
     "  position      place in the store, a string of digits (ignored in input)\n"
     "\n"
     "Members that have nothing to say are left out. Other members are refused in input. "
     "Positions\n"
     "are strings because they have up to 63 bits, of which many readers of JSON keep 53.\n"
     "Data that is JSON is never reformatted: the same bytes come out that went in.\n"},
    {"cloudevents",
     "CloudEvents 1.0 in the JSON event format, one a line: written with --cloudevents, recognised "
     "by\n"
     "import and append.\n"
     "\n"
     "  id               the event's id; one that is no UUID is hashed with source into one, and "
     "kept\n"
     "  source           the stream's name, with %XX where a URI reference needs it\n"
     "  type, time       type, created\n"
     "  datacontenttype  content type\n"
     "  data             JSON, or text for text content types\n"
     "  data_base64      any other data\n"
     "  revision         extension, a string: number in the stream\n"
     "  position         extension, a string: place in the store\n"
     "  tags             extension, a string: JSON list of names\n"
     "  metadata         extension, a string: the event's metadata; metadatabase64 if it is "
     "binary\n"
     "  tombstone        extension, true: the stream is closed for ever\n"
     "\n"
     "subject, dataschema and all other attributes of imported CloudEvents are kept in the "
     "metadata,\n"
     "as members of \"cloudevents\", and are attributes again when the event is written.\n"},
    {"times",
     "Times are RFC 3339 with a zone: 2026-11-20T15:00:00Z, 2026-11-20T16:00:00.5+01:00. Without a "
     "zone\n"
     "they are refused, because a guess would be wrong without anybody noticing.\n"
     "\n"
     "A position is a place in the order of all events of the store, and a time: every event up to "
     "a\n"
     "moment has a smaller position than every event after it. So --from (of $all, $ce-…, $et-…) "
     "and\n"
     "--as-of take either. What counts is when an event was stored here, not its \"created\".\n"
     "\n"
     "Durations: 90 or 90s, 15m, 12h, 7d, 2w.\n"},
    {"limits", "Limits:\n"
               "  name of a stream          1024 bytes of UTF-8, no control characters\n"
               "  type, tag, content type   255 bytes\n"
               "  tags of an event          32\n"
               "  data + metadata           16 MiB an event\n"
               "  one append                65536 events, 64 MiB, 1024 streams, 64 conditions\n"
               "  a line of input           128 MiB\n"},
    {"environment", "Environment:\n"
                    "  STELE_STORE  the store's directory, where --store is not given\n"
                    "  NO_COLOR     if set and not empty, no colour (https://no-color.org)\n"
                    "  TERM         \"dumb\", or not set: no colour\n"
                    "\n"
                    "Colour is used only when standard output is a terminal. Control characters in "
                    "names and data\n"
                    "are escaped for people, and on a terminal also inside JSON.\n"},
};

static const char *topic_name_at(const void *context, size_t i)
{
    (void)context;
    return i < STELE_COUNT_OF(topics) ? topics[i].name : NULL;
}

static int no_topic(const char *name)
{
    const char *near = stele_cli_near_command(name);
    near = near != NULL ? near : stele_cli_suggest(name, topic_name_at, NULL);
    if (near != NULL) {
        return stele_cli_usage_error(&stele_cli_help_command,
                                     "there is no command or topic '%s'; did you mean %s?", name,
                                     near);
    }
    return stele_cli_usage_error(&stele_cli_help_command, "there is no command or topic '%s'",
                                 name);
}

int stele_cli_help(int argc, char **argv)
{
    const char *name = NULL;
    size_t count = 0;
    const int code =
        stele_cli_parse(&stele_cli_help_command, NULL, 0, argc, argv, &name, 0, 1, &count);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    if (name == NULL) {
        stele_cli_out_overview();
        return STELE_CLI_OK;
    }
    const struct stele_cli_command *const command = stele_cli_find_command(name);
    if (command != NULL) {
        char help[] = "--help";
        char *command_argv[] = {argv[0], help, NULL};
        return command->run(2, command_argv);
    }
    for (size_t i = 0; i < STELE_COUNT_OF(topics); i++) {
        if (strcmp(topics[i].name, name) == 0) {
            stele_cli_out(topics[i].text);
            return STELE_CLI_OK;
        }
    }
    return no_topic(name);
}
