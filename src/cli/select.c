#include "cli/select.h"

#include "cli/cli.h"
#include "cli/out.h"
#include "cli/text.h"

#include <stdio.h>
#include <string.h>

#define POSITION_US 1000 /* Microseconds of one tick of a position's clock. */

bool stele_cli_counts_positions(const char *stream)
{
    return strcmp(stream, "$all") == 0 || stele_cli_starts_with(stream, "$ce-") ||
           stele_cli_starts_with(stream, "$et-");
}

int stele_cli_check_stream(const struct stele_cli_command *command, const char *stream)
{
    if (*stream == '\0') {
        /* What a shell makes of "$all" if nobody stops it. */
        return stele_cli_usage_error(
            command, "the stream's name is empty; if you wrote $all, put it in single quotes");
    }
    const size_t size_max =
        STELE_STREAM_NAME_SIZE_MAX + (stele_cli_starts_with(stream, "$$") ? 2 : 0);
    return stele_cli_check_name(command, "the stream's name", stream, size_max);
}

static int from_time(const struct stele_cli_command *command, const char *text, bool positions,
                     bool backwards, uint64_t *out_from)
{
    int64_t time_us = 0;
    if (!stele_time_parse(text, &time_us)) {
        return stele_cli_usage_error(command, "--from: '%s' is none of start, end, %s", text,
                                     positions ? "a position or a time like 2026-11-20T15:00:00Z"
                                               : "a revision");
    }
    if (!positions) {
        return stele_cli_usage_error(command, "--from: a stream is read from a revision, not from "
                                              "a time; --as-of takes a time");
    }
    if (backwards) {
        *out_from = stele_position_at(time_us);
        return STELE_CLI_GO_ON;
    }
    /* Behind the last position of the tick before: the first one that can have this time. */
    const uint64_t before = stele_position_at(time_us - POSITION_US);
    *out_from = before == 0 ? STELE_FROM_START : before + 1;
    return STELE_CLI_GO_ON;
}

static int parse_from(const struct stele_cli_command *command, const char *text, bool positions,
                      bool backwards, uint64_t *out_from)
{
    const char *const word = text != NULL ? text : (backwards ? "end" : "start");
    if (strcmp(word, "start") == 0 || strcmp(word, "end") == 0) {
        *out_from = word[0] == 's' ? STELE_FROM_START : STELE_FROM_END;
        return STELE_CLI_GO_ON;
    }
    const uint64_t max = positions ? STELE_POSITION_MAX : STELE_REVISION_MAX;
    uint64_t number = 0;
    const enum stele_cli_number result = stele_cli_number(word, &number);
    if (result == STELE_CLI_NUMBER_NONE) {
        return from_time(command, word, positions, backwards, out_from);
    }
    if (result == STELE_CLI_NUMBER_TOO_LARGE || number > max) {
        return stele_cli_usage_error(command, "--from: '%s' is too large for a %s", word,
                                     positions ? "position" : "revision");
    }
    *out_from = number;
    return STELE_CLI_GO_ON;
}

static int check_values(const struct stele_cli_command *command, const char *option,
                        const struct stele_cli_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (*list->items[i] == '\0' || !stele_utf8_is_valid(stele_bytes_of_text(list->items[i]))) {
            return stele_cli_usage_error(command, "--%s: '%s' is %s", option, list->items[i],
                                         *list->items[i] == '\0' ? "empty" : "no UTF-8");
        }
    }
    return STELE_CLI_GO_ON;
}

static int check_filter(const struct stele_cli_command *command,
                        const struct stele_cli_select *select)
{
    const struct {
        const char *option;
        const struct stele_cli_list *list;
    } lists[] = {
        {"type", &select->types},          {"prefix", &select->type_prefixes},
        {"stream", &select->streams},      {"stream-prefix", &select->stream_prefixes},
        {"category", &select->categories}, {"tag", &select->tags},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(lists); i++) {
        const int code = check_values(command, lists[i].option, lists[i].list);
        if (code != STELE_CLI_GO_ON) {
            return code;
        }
    }
    return STELE_CLI_GO_ON;
}

static void fill_filter(struct stele_cli_select *select)
{
    select->filter = (struct stele_filter){
        .types = select->types.items,
        .types_count = select->types.count,
        .type_prefixes = select->type_prefixes.items,
        .type_prefixes_count = select->type_prefixes.count,
        .type_regex = select->type_regex,
        .streams = select->streams.items,
        .streams_count = select->streams.count,
        .stream_prefixes = select->stream_prefixes.items,
        .stream_prefixes_count = select->stream_prefixes.count,
        .stream_regex = select->stream_regex,
        .categories = select->categories.items,
        .categories_count = select->categories.count,
        .tags = select->tags.items,
        .tags_count = select->tags.count,
        .exclude_system = select->exclude_system,
    };
}

static bool is_filtered(const struct stele_cli_select *select)
{
    return select->types.count + select->type_prefixes.count + select->streams.count +
                   select->stream_prefixes.count + select->categories.count + select->tags.count >
               0 ||
           select->type_regex != NULL || select->stream_regex != NULL || select->exclude_system;
}

int stele_cli_select(const struct stele_cli_command *command, const char *stream,
                     struct stele_cli_select *select)
{
    select->options = (struct stele_read_options)STELE_READ_OPTIONS_INIT;
    int code = stele_cli_check_stream(command, stream);
    if (code == STELE_CLI_GO_ON) {
        code = parse_from(command, select->from, stele_cli_counts_positions(stream),
                          select->backwards, &select->options.from);
    }
    if (code == STELE_CLI_GO_ON && select->as_of != NULL) {
        code = stele_cli_position(command, "as-of", select->as_of, &select->options.as_of);
    }
    if (code == STELE_CLI_GO_ON) {
        code = check_filter(command, select);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    fill_filter(select);
    select->options.limit = select->limit;
    select->options.backwards = select->backwards;
    select->options.token = select->token;
    select->options.ignore_limits = select->ignore_limits;
    select->options.filter = is_filtered(select) ? &select->filter : NULL;
    return STELE_CLI_GO_ON;
}

static void print_run(const struct stele_event *events, size_t count,
                      struct stele_cli_columns *columns, struct stele_cli_printing *printing)
{
    stele_cli_columns_fit(columns, events, count);
    for (size_t i = 0; i < count; i++) {
        struct stele_event event = events[i];
        if (printing->adapt != NULL) {
            printing->adapt(printing->context, &event);
        }
        stele_cli_event_out(&event, printing->form, columns);
        printing->events++;
    }
}

static int print_all(struct stele_iterator *iterator, struct stele_cli_columns *columns,
                     struct stele_cli_printing *printing)
{
    int code = STELE_CLI_OK;
    while (stele_cli_out_ok()) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        struct stele_error err = {0};
        const int outcome = stele_iterator_next(iterator, &events, &count, &err);
        if (outcome == STELE_OK) {
            print_run(events, count, columns, printing);
        } else if (outcome == STELE_END) {
            return code;
        } else {
            code = stele_cli_fail_outcome(outcome, &err, "read");
        }
        if (outcome != STELE_OK && !(outcome == STELE_E_CORRUPT && printing->skip_damage)) {
            return code;
        }
        if (stele_cli_interrupted()) {
            return stele_cli_fail(STELE_CLI_INTERRUPTED, "interrupted",
                                  "read: interrupted after %llu events; what was printed is right",
                                  (unsigned long long)printing->events);
        }
    }
    return code;
}

int stele_cli_print_events(struct stele *store, const char *stream,
                           const struct stele_cli_select *select,
                           struct stele_cli_printing *printing)
{
    struct stele_cli_columns columns = {.all = stele_cli_counts_positions(stream)};
    struct stele_iterator *iterator = NULL;
    struct stele_error err = {0};
    const int outcome = strcmp(stream, "$all") == 0
                            ? stele_read_all(store, &select->options, &iterator, &err)
                            : stele_read_stream(store, stream, &select->options, &iterator, &err);
    if (outcome != STELE_OK) {
        char what[STELE_STREAM_NAME_SIZE_MAX + 16];
        (void)snprintf(what, sizeof what, "read %s", stream);
        return stele_cli_fail_outcome(outcome, &err, what);
    }
    const int code = print_all(iterator, &columns, printing);
    stele_iterator_destroy(iterator);
    return code;
}
