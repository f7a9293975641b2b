/* Writes what can be read, so that import makes the same of it in another store.
 *
 * Two things cannot be carried over as they stand. Revisions: hidden events are not exported, so
 * the first visible event of a stream becomes revision 0. Therefore "$tb" (truncate before this
 * revision) is taken out of the metadata of streams: it has done its work, and in the other store
 * it would hide what should be seen. With --ignore-limits hidden events are exported too, and the
 * metadata stays as it is. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/select.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

const struct stele_cli_command stele_cli_export_command = {
    .name = "export",
    .usage = "export [options]",
    .summary = "Write events as JSON lines, from which `stele import` makes the same again",
    .text =
        "Ids, times, data, metadata, tags and the order of events are kept, byte by byte. "
        "Positions\n"
        "and, where a stream's older events are hidden or gone, revisions are given anew by the\n"
        "import. The export is of one moment: events that are appended while it runs are not in "
        "it.\n"
        "\n"
        "The format is described by `stele help json-lines`.",
    .examples = "stele export > everything.jsonl\n"
                "stele export --as-of 2026-11-20T15:00:00Z | zstd > yesterday.jsonl.zst\n"
                "stele export --category order --store a | stele import --store b\n"
                "stele export --from 2026-11-01T00:00:00Z --cloudevents",
    .run = stele_cli_export,
};

struct adapting {
    char *metadata; /* What an adapted event points to. */
};

/* Leaves "$tb" out of a stream's metadata. An object that becomes empty by that stays: it stands
 * for the end of what older metadata said. */
static void adapt_metadata(void *context, struct stele_event *event)
{
    struct adapting *const adapting = context;
    if (event->stream.size < 2 || memcmp(event->stream.data, "$$", 2) != 0) {
        return;
    }
    json_t *const object = json_loadb(event->data, event->data_size, 0, NULL);
    if (json_object_get(object, "$tb") == NULL) {
        json_decref(object);
        return;
    }
    (void)json_object_del(object, "$tb");
    free(adapting->metadata);
    adapting->metadata = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (adapting->metadata == NULL) {
        return;
    }
    event->data = adapting->metadata;
    event->data_size = strlen(adapting->metadata);
}

/* Without a bound the export of a busy store would never end. */
static void bound(struct stele *store, struct stele_cli_select *select)
{
    const uint64_t last = stele_last_position(store);
    if (select->options.as_of == 0) {
        select->options.as_of = last > 0 ? last : 1;
    }
}

int stele_cli_export(int argc, char **argv)
{
    struct stele_cli_select select = {.from = NULL};
    struct stele_cli_printing printing = {.form = STELE_CLI_EXPORT};
    struct adapting adapting = {.metadata = NULL};
    bool cloudevents = false;
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"from", "POSITION|TIME", "begin at this position or time", STELE_CLI_TEXT, &select.from},
        STELE_CLI_AS_OF_OPTION(&select),
        {"limit", "N", "at most so many events", STELE_CLI_POSITIVE, &select.limit},
        STELE_CLI_FILTER_OPTIONS(&select),
        {"skip-damage", NULL, "tell damage and go on behind it; the exit code is 4 then",
         STELE_CLI_FLAG, &printing.skip_damage},
        {"cloudevents", NULL, "CloudEvents 1.0 instead of Stele's JSON lines", STELE_CLI_FLAG,
         &cloudevents},
    };
    int code = stele_cli_parse(&stele_cli_export_command, options, STELE_COUNT_OF(options), argc,
                               argv, NULL, 0, 0, &count);
    if (code == STELE_CLI_GO_ON) {
        code = stele_cli_select(&stele_cli_export_command, "$all", &select);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct stele *store = NULL;
    code = stele_cli_open(STELE_CLI_READ, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    stele_cli_catch_interrupts();
    bound(store, &select);
    printing.form = cloudevents ? STELE_CLI_CLOUDEVENTS : STELE_CLI_EXPORT;
    printing.adapt = select.ignore_limits ? NULL : adapt_metadata;
    printing.context = &adapting;
    code = stele_cli_print_events(store, "$all", &select, &printing);
    free(adapting.metadata);
    return stele_cli_close(store, code);
}
