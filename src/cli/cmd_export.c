/* Writes what the store has, so that import makes the same of it in another store.
 *
 * Revisions cannot be carried over: where older events of a stream were scavenged, what is left
 * gets revisions from 0 on in the other store. "$tb" (truncate before this revision) in the
 * metadata of such a stream is lowered by as many, because it would hide what should be seen. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/select.h"
#include "cli/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const struct stele_cli_command stele_cli_export_command = {
    .name = "export",
    .usage = "export [options]",
    .summary = "Write events as JSON lines, from which `stele import` makes the same again",
    .text = "Ids, times, data, metadata, tags and the order of events are kept, byte by byte. The "
            "import\n"
            "gives positions anew and, where older events of a stream were scavenged, revisions. "
            "Streams\n"
            "that were deleted are exported with the metadata that hides them, until they are "
            "scavenged.\n"
            "The export is of one moment: events that are appended while it runs are not in it.\n"
            "\n"
            "The format is described by `stele help json-lines`.",
    .examples = "stele export > everything.jsonl\n"
                "stele export --as-of 2026-11-20T15:00:00Z | gzip > yesterday.jsonl.gz\n"
                "stele export --category order --store a | stele import --store b\n"
                "stele export --from 2026-11-01T00:00:00Z --cloudevents",
    .run = stele_cli_export,
};

struct adapting {
    struct stele *store;
    char *metadata; /* What an adapted event points to. */
};

/* How many events of the stream before a revision are still there. */
static uint64_t count_before(struct stele *store, struct stele_text stream, uint64_t revision)
{
    char name[STELE_STREAM_NAME_SIZE_MAX + 1];
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    uint64_t found = 0;
    (void)snprintf(name, sizeof name, "%.*s", (int)stream.size, stream.data);
    options.ignore_limits = 1;
    int outcome = stele_read_stream(store, name, &options, &iterator, NULL);
    while (outcome == STELE_OK || outcome == STELE_E_CORRUPT) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_iterator_next(iterator, &events, &count, NULL);
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            if (events[i].revision >= revision) {
                outcome = STELE_END;
                break;
            }
            found++;
        }
    }
    stele_iterator_destroy(iterator);
    return found;
}

/* The number that "$tb" becomes in the other store; false: there is nothing to change. */
static bool lower_truncation(struct stele *store, const struct stele_event *event,
                             const json_t *truncate_before, uint64_t *out_lowered)
{
    const struct stele_text stream = {event->stream.data + 2, event->stream.size - 2};
    const json_int_t revision = json_integer_value(truncate_before);
    if (revision <= 0) {
        return false;
    }
    *out_lowered = count_before(store, stream, (uint64_t)revision);
    struct stele_stream_info info;
    char name[STELE_STREAM_NAME_SIZE_MAX + 1];
    (void)snprintf(name, sizeof name, "%.*s", (int)stream.size, stream.data);
    if (stele_stream_info(store, name, &info, NULL) == STELE_OK &&
        (uint64_t)revision > info.revision_last + 1) {
        *out_lowered += (uint64_t)revision - info.revision_last - 1; /* Of events to come. */
    }
    return *out_lowered < (uint64_t)revision;
}

static void adapt_metadata(void *context, struct stele_event *event)
{
    struct adapting *const adapting = context;
    if (event->stream.size < 3 || memcmp(event->stream.data, "$$", 2) != 0) {
        return;
    }
    uint64_t lowered = 0;
    json_t *const object = json_loadb(event->data, event->data_size, 0, NULL);
    const json_t *const truncate_before = json_object_get(object, "$tb");
    if (truncate_before != NULL &&
        lower_truncation(adapting->store, event, truncate_before, &lowered)) {
        (void)json_object_set_new(object, "$tb", json_integer((json_int_t)lowered));
        free(adapting->metadata);
        adapting->metadata = json_dumps(object, JSON_COMPACT);
        if (adapting->metadata != NULL) {
            event->data = adapting->metadata;
            event->data_size = strlen(adapting->metadata);
        }
    }
    json_decref(object);
}

/* Without a bound the export of a busy store would never end. The bound is a time, not the position of
 * the last event: where the end of the store is damaged that is an older one's, and what is lost
 * behind it would be left out without a word. */
static void bound(struct stele *store, struct stele_cli_select *select)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    const int64_t now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    const int64_t last_us = stele_position_time(stele_last_position(store));
    if (select->options.as_of == 0) {
        select->options.as_of = stele_position_at((last_us > now_us ? last_us : now_us) + 1000);
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
    printing.adapt = adapt_metadata;
    adapting.store = store;
    printing.context = &adapting;
    code = stele_cli_print_events(store, "$all", &select, &printing);
    free(adapting.metadata);
    return stele_cli_close(store, code);
}
