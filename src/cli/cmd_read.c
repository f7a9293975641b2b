#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/select.h"

const struct stele_cli_command stele_cli_read_command = {
    .name = "read",
    .usage = "read STREAM [options]",
    .summary = "Read the events of a stream, or of all streams",
    .text =
        "STREAM is the name of a stream, or one of\n"
        "  '$all'           all events of the store, in the order of their positions\n"
        "  '$ce-CATEGORY'   the events of all streams of a category: $ce-order reads order-1, …\n"
        "  '$et-TYPE'       the events of a type\n"
        "Put names with $ in single quotes, because the shell would replace them otherwise.\n"
        "\n"
        "Filters: within one option any value matches; across options all have to.",
    .examples = "stele read order-1                       # everything, from the oldest event\n"
                "stele read order-1 --from 10 --limit 5   # revisions 10 to 14\n"
                "stele read order-1 --backwards --limit 1 # the newest event\n"
                "stele read order-1 --as-of 2026-11-20T15:00:00Z\n"
                "stele read '$all' --category order --type OrderPlaced --json\n"
                "stele read '$ce-order' --cloudevents > orders.jsonl\n"
                "stele read logo-1 --limit 1 --raw > logo.png",
    .run = stele_cli_read,
};

struct forms {
    bool long_form;
    bool cloudevents;
    bool raw;
};

static int choose_form(const struct forms *forms, enum stele_cli_form *out_form)
{
    const int chosen = forms->long_form + forms->cloudevents + forms->raw;
    if (chosen > 1 || (chosen == 1 && stele_cli_globals.json && !forms->cloudevents)) {
        return stele_cli_usage_error(&stele_cli_read_command,
                                     "--long, --json, --cloudevents and --raw exclude each other");
    }
    *out_form = forms->cloudevents       ? STELE_CLI_CLOUDEVENTS
                : forms->raw             ? STELE_CLI_RAW
                : forms->long_form       ? STELE_CLI_LONG
                : stele_cli_globals.json ? STELE_CLI_JSON
                                         : STELE_CLI_HUMAN;
    return STELE_CLI_GO_ON;
}

int stele_cli_read(int argc, char **argv)
{
    struct stele_cli_select select = {.from = NULL};
    struct stele_cli_printing printing = {.form = STELE_CLI_HUMAN};
    struct forms forms = {.raw = false};
    const char *arguments[1];
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"from", "N|POSITION|TIME",
         "begin at this revision of a stream; at this position or time of\n"
         "$all, $ce-…, $et-…; or at \"start\" or \"end\"",
         STELE_CLI_TEXT, &select.from},
        {"limit", "N", "at most so many events", STELE_CLI_POSITIVE, &select.limit},
        {"backwards", NULL, "from the newest to the oldest", STELE_CLI_FLAG, &select.backwards},
        STELE_CLI_AS_OF_OPTION(&select),
        STELE_CLI_FILTER_OPTIONS(&select),
        STELE_CLI_IGNORE_LIMITS_OPTION(&select),
        {"token", "TOKEN", "see at least the append that gave this causal token", STELE_CLI_TEXT,
         &select.token},
        {"skip-damage", NULL, "tell damage and go on behind it; the exit code is 4 then",
         STELE_CLI_FLAG, &printing.skip_damage},
        {"long", NULL, "everything about every event", STELE_CLI_FLAG, &forms.long_form},
        {"cloudevents", NULL, "CloudEvents 1.0, one JSON object a line", STELE_CLI_FLAG,
         &forms.cloudevents},
        {"raw", NULL, "the data alone, exactly as it is stored, with nothing between events",
         STELE_CLI_FLAG, &forms.raw},
    };
    int code = stele_cli_parse(&stele_cli_read_command, options, STELE_COUNT_OF(options), argc,
                               argv, arguments, 1, 1, &count);
    if (code == STELE_CLI_GO_ON) {
        code = choose_form(&forms, &printing.form);
    }
    if (code == STELE_CLI_GO_ON) {
        code = stele_cli_select(&stele_cli_read_command, arguments[0], &select);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct stele *store = NULL;
    code = stele_cli_open(STELE_CLI_READ, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    code = stele_cli_print_events(store, arguments[0], &select, &printing);
    return stele_cli_close(store, code);
}
