#include "cli/options.h"

#include "cli/cli.h"
#include "cli/out.h"
#include "cli/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct stele_cli_globals stele_cli_globals;

static bool help_wanted;

/* The options that every command has. */
static const struct stele_cli_option common[] = {
    {"store", "PATH", "the store's directory (default: $STELE_STORE, else ./stele-data)",
     STELE_CLI_TEXT, &stele_cli_globals.store},
    {"json", NULL, "JSON for programs instead of text for people; failures too", STELE_CLI_FLAG,
     &stele_cli_globals.json},
    {"help", NULL, "show this", STELE_CLI_FLAG, &help_wanted},
};

const char *stele_cli_store_path(void)
{
    if (stele_cli_globals.store != NULL) {
        return stele_cli_globals.store;
    }
    const char *const from_environment = getenv("STELE_STORE");
    return from_environment != NULL && *from_environment != '\0' ? from_environment : "stele-data";
}

const char *stele_cli_store_shown(void)
{
    static char shown[512];
    const char *const path = stele_cli_store_path();
    const char *const slashes = strstr(path, "://");
    if (slashes == NULL) {
        return path;
    }
    /* A password may have a '/' or '?' in it by mistake, so the last '@' counts. */
    const char *const at = strrchr(path, '@');
    const char *const hosts = at == NULL ? slashes + 3 : at + 1;
    (void)snprintf(shown, sizeof shown, "%.*s://%.*s", (int)(slashes - path), path,
                   (int)strcspn(hosts, "/?"), hosts);
    return shown;
}

const char *stele_cli_suggest(const char *word, const char *(*next)(const void *context, size_t i),
                              const void *context)
{
    const char *nearest = NULL;
    size_t nearest_distance = 3;
    const char *candidate = NULL;
    for (size_t i = 0; (candidate = next(context, i)) != NULL; i++) {
        const size_t distance = stele_cli_distance(word, candidate);
        const bool beginning = strlen(word) >= 3 && stele_cli_starts_with(candidate, word);
        if (distance < nearest_distance && distance < strlen(candidate)) {
            nearest = candidate;
            nearest_distance = distance;
        } else if (beginning && nearest == NULL) {
            nearest = candidate;
        }
    }
    return nearest;
}

struct table {
    const struct stele_cli_option *options;
    size_t count;
};

static const struct stele_cli_option *option_at(const struct table *table, size_t i)
{
    if (i < table->count) {
        return &table->options[i];
    }
    return i - table->count < STELE_COUNT_OF(common) ? &common[i - table->count] : NULL;
}

static const char *option_name_at(const void *context, size_t i)
{
    const struct stele_cli_option *const option = option_at(context, i);
    return option != NULL ? option->name : NULL;
}

static const struct stele_cli_option *find_option(const struct table *table, const char *name,
                                                  size_t size)
{
    const struct stele_cli_option *option = NULL;
    for (size_t i = 0; (option = option_at(table, i)) != NULL; i++) {
        if (strlen(option->name) == size && memcmp(option->name, name, size) == 0) {
            return option;
        }
    }
    return NULL;
}

int stele_cli_usage_error(const struct stele_cli_command *command, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    const size_t size = strlen(message);
    const bool is_question = size > 0 && message[size - 1] == '?';
    return stele_cli_fail(STELE_CLI_USAGE, "usage", "%s: %s%s `stele %s --help`", command->name,
                          message, is_question ? " See" : "; see", command->name);
}

static void out_indented(const char *text, const char *indent)
{
    while (*text != '\0') {
        const size_t size = strcspn(text, "\n");
        stele_cli_out(size > 0 ? indent : "");
        stele_cli_out_bytes(text, size);
        stele_cli_out("\n");
        text += size + (text[size] == '\n');
    }
}

static void out_option(const struct stele_cli_option *option)
{
    enum { HELP_COLUMN = 28 };
    char left[64];
    const char *const letter = strcmp(option->name, "store") == 0
                                   ? "-s, "
                                   : (strcmp(option->name, "help") == 0 ? "-h, " : "");
    const int size = snprintf(left, sizeof left, "  %s--%s%s%s", letter, option->name,
                              option->argument != NULL ? " " : "",
                              option->argument != NULL ? option->argument : "");
    stele_cli_out(left);
    const char *help = option->help;
    int column = size;
    for (;;) {
        const size_t line = strcspn(help, "\n");
        if (column >= HELP_COLUMN) {
            stele_cli_out("\n");
            column = 0;
        }
        for (; column < HELP_COLUMN; column++) {
            stele_cli_out(" ");
        }
        stele_cli_out_bytes(help, line);
        stele_cli_out("\n");
        if (help[line] == '\0') {
            return;
        }
        help += line + 1;
        column = 0;
    }
}

static void out_help(const struct stele_cli_command *command, const struct table *table)
{
    stele_cli_out("Usage: stele ");
    stele_cli_out(command->usage);
    stele_cli_out("\n\n");
    stele_cli_out(command->summary);
    stele_cli_out(".\n");
    if (command->text != NULL) {
        stele_cli_out("\n");
        stele_cli_out(command->text);
        stele_cli_out("\n");
    }
    stele_cli_out("\nOptions:\n");
    const struct stele_cli_option *option = NULL;
    for (size_t i = 0; (option = option_at(table, i)) != NULL; i++) {
        if (!command->no_store || strcmp(option->name, "store") != 0) {
            out_option(option);
        }
    }
    stele_cli_out("\nExamples:\n");
    out_indented(command->examples, "  ");
}

static int list_add(struct stele_cli_list *list, const char *item, size_t room)
{
    if (list->items == NULL) {
        list->items = stele_cli_keep(room * sizeof *list->items);
    }
    list->items[list->count++] = item;
    return STELE_CLI_GO_ON;
}

static int number_error(const struct stele_cli_command *command,
                        const struct stele_cli_option *option, const char *value,
                        enum stele_cli_number result)
{
    if (result == STELE_CLI_NUMBER_TOO_LARGE) {
        return stele_cli_usage_error(command, "--%s: '%s' is too large", option->name, value);
    }
    if (option->kind == STELE_CLI_DURATION) {
        return stele_cli_usage_error(
            command, "--%s: '%s' is no duration; give seconds, or 90s, 15m, 12h, 7d, 2w",
            option->name, value);
    }
    return stele_cli_usage_error(command, "--%s: '%s' is no whole number%s", option->name, value,
                                 option->kind == STELE_CLI_POSITIVE ? " from 1 on" : " from 0 on");
}

static int set_number(const struct stele_cli_command *command,
                      const struct stele_cli_option *option, const char *value)
{
    uint64_t number = 0;
    enum stele_cli_number result = option->kind == STELE_CLI_DURATION
                                       ? stele_cli_duration(value, &number)
                                       : stele_cli_number(value, &number);
    if (result == STELE_CLI_NUMBER_OK && option->kind == STELE_CLI_POSITIVE && number == 0) {
        result = STELE_CLI_NUMBER_NONE;
    }
    if (result != STELE_CLI_NUMBER_OK) {
        return number_error(command, option, value, result);
    }
    *(uint64_t *)option->target = number;
    return STELE_CLI_GO_ON;
}

/* room: how many values a list can get at most. */
static int set_option(const struct stele_cli_command *command,
                      const struct stele_cli_option *option, const char *value, size_t room)
{
    switch (option->kind) {
    case STELE_CLI_FLAG:
        *(bool *)option->target = true;
        return STELE_CLI_GO_ON;
    case STELE_CLI_TEXT:
        *(const char **)option->target = value;
        return STELE_CLI_GO_ON;
    case STELE_CLI_LIST:
        return list_add(option->target, value, room);
    case STELE_CLI_NUMBER:
    case STELE_CLI_POSITIVE:
    case STELE_CLI_DURATION:
        return set_number(command, option, value);
    }
    return STELE_CLI_GO_ON;
}

static int unknown_option(const struct stele_cli_command *command, const struct table *table,
                          const char *name, size_t size)
{
    char word[64];
    (void)snprintf(word, sizeof word, "%.*s", (int)(size < 60 ? size : 60), name);
    const char *const near = stele_cli_suggest(word, option_name_at, table);
    if (near != NULL) {
        return stele_cli_usage_error(command, "there is no option --%s; did you mean --%s?", word,
                                     near);
    }
    return stele_cli_usage_error(command, "there is no option --%s", word);
}

/* "-s PATH", "-sPATH" and "-h" are the only letters. */
static const struct stele_cli_option *letter_option(char letter)
{
    return letter == 's' ? &common[0] : (letter == 'h' ? &common[2] : NULL);
}

struct parser {
    const struct stele_cli_command *command;
    struct table table;
    int argc;
    char **argv;
    int at;
};

/* Takes the option at parser->at and its value. */
static int take_option(struct parser *parser)
{
    const char *const word = parser->argv[parser->at++];
    const struct stele_cli_option *option = NULL;
    const char *value = NULL;
    if (word[1] == '-') {
        const size_t size = strcspn(word + 2, "=");
        option = find_option(&parser->table, word + 2, size);
        value = word[2 + size] == '=' ? word + 2 + size + 1 : NULL;
        if (option == NULL) {
            return unknown_option(parser->command, &parser->table, word + 2, size);
        }
    } else {
        option = letter_option(word[1]);
        if (option == NULL) {
            return stele_cli_usage_error(
                parser->command, "there is no option %s; put -- before names that begin with -",
                word);
        }
        value = word[2] != '\0' ? word + 2 : NULL;
    }
    if (option->argument == NULL && value != NULL) {
        return stele_cli_usage_error(parser->command, "--%s takes no value", option->name);
    }
    if (option->argument != NULL && value == NULL) {
        if (parser->at == parser->argc) {
            return stele_cli_usage_error(parser->command, "--%s needs a value (%s)", option->name,
                                         option->argument);
        }
        value = parser->argv[parser->at++];
    }
    return set_option(parser->command, option, value, (size_t)parser->argc);
}

static int check_store(const struct stele_cli_command *command)
{
    if (stele_cli_globals.store != NULL && *stele_cli_globals.store == '\0') {
        return stele_cli_usage_error(command, "--store: the path is empty");
    }
    return STELE_CLI_GO_ON;
}

int stele_cli_parse(const struct stele_cli_command *command, const struct stele_cli_option *options,
                    size_t options_count, int argc, char **argv, const char **arguments,
                    size_t arguments_min, size_t arguments_max, size_t *out_arguments_count)
{
    struct parser parser = {command, {options, options_count}, argc, argv, 1};
    size_t count = 0;
    bool options_over = false;
    int mistake = STELE_CLI_GO_ON;
    while (parser.at < argc && mistake == STELE_CLI_GO_ON) {
        const char *const word = argv[parser.at];
        if (!options_over && strcmp(word, "--") == 0) {
            options_over = true;
            parser.at++;
        } else if (!options_over && word[0] == '-' && word[1] != '\0') {
            mistake = take_option(&parser);
        } else if (count == arguments_max) {
            mistake = stele_cli_usage_error(command, "'%s' is one argument too many", word);
        } else {
            arguments[count++] = word;
            parser.at++;
        }
    }
    if (help_wanted) {
        out_help(command, &parser.table);
        return STELE_CLI_OK;
    }
    if (mistake != STELE_CLI_GO_ON) {
        return mistake;
    }
    if (count < arguments_min) {
        return stele_cli_usage_error(command, "an argument is missing: stele %s", command->usage);
    }
    *out_arguments_count = count;
    return check_store(command);
}

int stele_cli_expected(const struct stele_cli_command *command, const char *text,
                       uint64_t otherwise, uint64_t *out_expected)
{
    static const struct {
        const char *word;
        uint64_t expected;
    } words[] = {
        {"any", STELE_EXPECT_ANY},
        {"none", STELE_EXPECT_NO_STREAM},
        {"exists", STELE_EXPECT_EXISTS},
    };
    if (text == NULL) {
        *out_expected = otherwise;
        return STELE_CLI_GO_ON;
    }
    for (size_t i = 0; i < STELE_COUNT_OF(words); i++) {
        if (strcmp(text, words[i].word) == 0) {
            *out_expected = words[i].expected;
            return STELE_CLI_GO_ON;
        }
    }
    uint64_t revision = 0;
    const enum stele_cli_number result = stele_cli_number(text, &revision);
    if (result == STELE_CLI_NUMBER_NONE) {
        return stele_cli_usage_error(
            command, "--expect: '%s' is none of any, none, exists or a revision", text);
    }
    if (result == STELE_CLI_NUMBER_TOO_LARGE || revision > STELE_REVISION_MAX) {
        return stele_cli_usage_error(command, "--expect: '%s' is too large for a revision", text);
    }
    *out_expected = revision;
    return STELE_CLI_GO_ON;
}

int stele_cli_effective(const struct stele_cli_command *command, const char *text,
                        int64_t *out_until_us)
{
    if (strcmp(text, "all") == 0) {
        *out_until_us = 0;
    } else if (strcmp(text, "now") == 0) {
        struct timespec now = {0};
        (void)clock_gettime(CLOCK_REALTIME, &now);
        *out_until_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    } else if (!stele_time_parse(text, out_until_us)) {
        return stele_cli_usage_error(command,
                                     "--effective: '%s' is none of now, all, a time like "
                                     "2026-11-20T15:00:00Z",
                                     text);
    }
    return STELE_CLI_GO_ON;
}

int stele_cli_position(const struct stele_cli_command *command, const char *option,
                       const char *text, uint64_t *out_position)
{
    uint64_t position = 0;
    int64_t time_us = 0;
    const enum stele_cli_number result = stele_cli_number(text, &position);
    if (result == STELE_CLI_NUMBER_TOO_LARGE ||
        (result == STELE_CLI_NUMBER_OK && position > STELE_POSITION_MAX)) {
        return stele_cli_usage_error(command, "--%s: '%s' is too large for a position", option,
                                     text);
    }
    if (result == STELE_CLI_NUMBER_NONE) {
        if (!stele_time_parse(text, &time_us)) {
            return stele_cli_usage_error(
                command,
                "--%s: '%s' is neither a position nor a time like 2026-11-20T15:00:00Z (with Z "
                "or an offset like +01:00)",
                option, text);
        }
        position = stele_position_at(time_us);
    }
    /* 0 would mean "no bound" to the library; nothing can stand at 1 either. */
    *out_position = position > 0 ? position : 1;
    return STELE_CLI_GO_ON;
}

int stele_cli_check_name(const struct stele_cli_command *command, const char *what,
                         const char *name, size_t size_max)
{
    if (*name == '\0') {
        return stele_cli_usage_error(command, "%s is empty", what);
    }
    if (!stele_utf8_is_valid(stele_bytes_of_text(name))) {
        return stele_cli_usage_error(command, "%s '%s' is no UTF-8", what, name);
    }
    if (strlen(name) > size_max) {
        return stele_cli_fail(STELE_CLI_LIMIT, "limit",
                              "%s: %s has %zu bytes, which is more than %zu; use a shorter one",
                              command->name, what, strlen(name), size_max);
    }
    return STELE_CLI_GO_ON;
}
