#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/metadata.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/select.h"
#include "cli/sink.h"
#include "cli/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct stele_cli_command stele_cli_meta_command = {
    .name = "meta",
    .usage = "meta STREAM [get | set JSON] [options]",
    .summary = "Show or change the metadata of a stream: limits, access, your own",
    .text =
        "Metadata is a JSON object. Members that mean something to the store: $maxAge and\n"
        "$cacheControl (seconds), $maxCount, $tb (truncate before this revision), $acl; others "
        "are\n"
        "yours. Events beyond a limit are hidden at once and reclaimed by `stele scavenge`.\n"
        "\n"
        "`set` replaces the object. The options change single members and keep the others; the\n"
        "value \"none\" removes one.",
    .examples = "stele meta order-1\n"
                "stele meta order-1 --max-age 7d --max-count 1000\n"
                "stele meta order-1 --max-age none\n"
                "stele meta order-1 set '{\"$maxCount\": 10, \"owner\": \"ada\"}'",
    .run = stele_cli_meta,
};

struct changes {
    const char *max_age;
    const char *max_count;
    const char *truncate_before;
    const char *cache_control;
    const char *acl;
};

static bool any(const struct changes *changes)
{
    return changes->max_age != NULL || changes->max_count != NULL ||
           changes->truncate_before != NULL || changes->cache_control != NULL ||
           changes->acl != NULL;
}

static int change_number(json_t *object, const char *option, const char *member, const char *text,
                         bool is_duration)
{
    uint64_t number = 0;
    if (text == NULL) {
        return STELE_CLI_GO_ON;
    }
    if (strcmp(text, "none") == 0) {
        (void)json_object_del(object, member);
        return STELE_CLI_GO_ON;
    }
    const enum stele_cli_number result =
        is_duration ? stele_cli_duration(text, &number) : stele_cli_number(text, &number);
    if (result == STELE_CLI_NUMBER_TOO_LARGE ||
        (result == STELE_CLI_NUMBER_OK && number > INT64_MAX)) {
        return stele_cli_usage_error(&stele_cli_meta_command, "--%s: '%s' is too large", option,
                                     text);
    }
    if (result != STELE_CLI_NUMBER_OK) {
        return stele_cli_usage_error(&stele_cli_meta_command, "--%s: '%s' is neither %s nor none",
                                     option, text,
                                     is_duration ? "a duration like 7d" : "a whole number");
    }
    (void)json_object_set_new(object, member, json_integer((json_int_t)number));
    return STELE_CLI_GO_ON;
}

static int change_acl(json_t *object, const char *text)
{
    json_error_t error;
    if (text == NULL) {
        return STELE_CLI_GO_ON;
    }
    if (strcmp(text, "none") == 0) {
        (void)json_object_del(object, "$acl");
        return STELE_CLI_GO_ON;
    }
    json_t *const acl = json_loads(text, 0, &error);
    if (acl == NULL) {
        return stele_cli_fail(STELE_CLI_INPUT, "input",
                              "meta: --acl is no JSON: line %d, column %d: %s; correct it",
                              error.line, error.column, error.text);
    }
    (void)json_object_set_new(object, "$acl", acl);
    return STELE_CLI_GO_ON;
}

static int change(json_t *object, const struct changes *changes)
{
    int code = change_number(object, "max-age", "$maxAge", changes->max_age, true);
    if (code == STELE_CLI_GO_ON) {
        code = change_number(object, "max-count", "$maxCount", changes->max_count, false);
    }
    if (code == STELE_CLI_GO_ON) {
        code = change_number(object, "truncate-before", "$tb", changes->truncate_before, false);
    }
    if (code == STELE_CLI_GO_ON) {
        code =
            change_number(object, "cache-control", "$cacheControl", changes->cache_control, true);
    }
    return code == STELE_CLI_GO_ON ? change_acl(object, changes->acl) : code;
}

static int fail(int outcome, const char *stream, const struct stele_error *err)
{
    char what[STELE_STREAM_NAME_SIZE_MAX + 32];
    (void)snprintf(what, sizeof what, "metadata of %s", stream);
    return stele_cli_fail_outcome(outcome, err, what);
}

static int get(const char *stream)
{
    struct stele *store = NULL;
    int code = stele_cli_open(STELE_CLI_READ, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct stele_text metadata = {NULL, 0};
    uint64_t revision = 0;
    struct stele_error err = {0};
    const int outcome = stele_cli_get_metadata(store, stream, &metadata, &revision, &err);
    if (outcome == STELE_OK && stele_cli_globals.json) {
        stele_cli_out("{\"stream\":");
        stele_cli_out_json_text(stele_cli_text(stream));
        stele_cli_outf(",\"revision\":%llu,\"metadata\":", (unsigned long long)revision);
        stele_cli_out_json_raw(metadata);
        stele_cli_out("}\n");
    } else if (outcome == STELE_OK) {
        stele_cli_out_json_raw(metadata);
        stele_cli_out("\n");
    } else {
        code = fail(outcome, stream, &err);
    }
    return stele_cli_close(store, code);
}

static int store_metadata(struct stele *store, const char *stream, uint64_t expected,
                          struct stele_text json)
{
    struct stele_append_result result = {.failed = 0};
    struct stele_error err = {0};
    const int outcome =
        stele_set_metadata(store, stream, expected, json.data, json.size, &result, &err);
    if (outcome != STELE_OK) {
        const struct stele_cli_attempt attempt = {
            NULL, "change metadata of", stream, expected, NULL, 0};
        return stele_cli_write_failed(&attempt, outcome, &result, &err);
    }
    stele_cli_out_done();
    if (stele_cli_globals.json) {
        stele_cli_out("{\"stream\":");
        stele_cli_out_json_text(stele_cli_text(stream));
        stele_cli_outf(",\"revision\":%llu,\"metadata\":",
                       (unsigned long long)result.revision_last);
        stele_cli_out_json_raw(json);
        stele_cli_out("}\n");
    } else {
        stele_cli_out_json_raw(json);
        stele_cli_out("\n");
    }
    return STELE_CLI_OK;
}

/* Changes members of what there is, and expects that nobody else does so in between. */
static int edit(struct stele *store, const char *stream, const struct changes *changes,
                const char *expect, uint64_t expected)
{
    struct stele_text old = {"{}", 2};
    uint64_t revision = STELE_EXPECT_NO_STREAM;
    struct stele_error err = {0};
    const int outcome = stele_cli_get_metadata(store, stream, &old, &revision, &err);
    if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
        return fail(outcome, stream, &err);
    }
    json_t *const object = json_loadb(old.data, old.size, 0, NULL);
    if (!json_is_object(object)) {
        json_decref(object);
        return stele_cli_fail(STELE_CLI_DAMAGE, "corrupt",
                              "metadata of %s: what is stored is no JSON object; replace it with "
                              "`stele meta %s set JSON`",
                              stream, stream);
    }
    int code = change(object, changes);
    char *const json = code == STELE_CLI_GO_ON ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (json != NULL) {
        code = store_metadata(store, stream, expect != NULL ? expected : revision,
                              stele_cli_text(json));
    }
    free(json);
    return code;
}

static int check_object(const char *json)
{
    json_error_t error;
    json_t *const object = json_loads(json, 0, &error);
    const bool is_json = object != NULL;
    const bool is_object = json_is_object(object);
    json_decref(object);
    if (is_object) {
        return STELE_CLI_GO_ON;
    }
    if (is_json) {
        return stele_cli_fail(
            STELE_CLI_INPUT, "input",
            "meta: the metadata is JSON, but no object; write {\"owner\": \"ada\"}");
    }
    return stele_cli_fail(STELE_CLI_INPUT, "input",
                          "meta: the metadata is no JSON: line %d, column %d: %s; correct it",
                          error.line, error.column, error.text);
}

static int write_metadata(const char *stream, const char *json, const struct changes *changes,
                          const char *expect)
{
    uint64_t expected = 0;
    int code = stele_cli_expected(&stele_cli_meta_command, expect, STELE_EXPECT_ANY, &expected);
    if (code == STELE_CLI_GO_ON && json != NULL) {
        code = check_object(json);
    }
    /* Mistyped values are told before the store is opened. */
    json_t *const trial = json_object();
    if (code == STELE_CLI_GO_ON) {
        code = change(trial, changes);
    }
    json_decref(trial);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct stele *store = NULL;
    code = stele_cli_open(STELE_CLI_WRITE, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    code = json != NULL ? store_metadata(store, stream, expected, stele_cli_text(json))
                        : edit(store, stream, changes, expect, expected);
    return stele_cli_close(store, code);
}

int stele_cli_meta(int argc, char **argv)
{
    const struct stele_cli_command *const command = &stele_cli_meta_command;
    struct changes changes = {.max_age = NULL};
    const char *expect = NULL;
    const char *arguments[3];
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"max-age", "DURATION", "hide events older than this: 90s, 12h, 7d", STELE_CLI_TEXT,
         &changes.max_age},
        {"max-count", "N", "hide all but the newest N events", STELE_CLI_TEXT, &changes.max_count},
        {"truncate-before", "N", "hide events before this revision", STELE_CLI_TEXT,
         &changes.truncate_before},
        {"cache-control", "DURATION", "how long HTTP answers may be cached", STELE_CLI_TEXT,
         &changes.cache_control},
        {"acl", "JSON", "who may do what", STELE_CLI_TEXT, &changes.acl},
        {"expect", "E", "the revision that the metadata must be at, or none", STELE_CLI_TEXT,
         &expect},
    };
    int code = stele_cli_parse(command, options, STELE_COUNT_OF(options), argc, argv, arguments, 1,
                               3, &count);
    if (code == STELE_CLI_GO_ON) {
        code = stele_cli_check_name(command, "the stream's name", arguments[0],
                                    STELE_STREAM_NAME_SIZE_MAX);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    const char *const verb = count > 1 ? arguments[1] : NULL;
    const bool is_set = verb != NULL && strcmp(verb, "set") == 0;
    if (verb != NULL && !is_set && strcmp(verb, "get") != 0) {
        return stele_cli_usage_error(command, "'%s' is neither get nor set", verb);
    }
    if (is_set != (count == 3) || (verb != NULL && any(&changes))) {
        return stele_cli_usage_error(
            command, "give one of: get; set JSON; options that change single members");
    }
    return is_set || any(&changes)
               ? write_metadata(arguments[0], is_set ? arguments[2] : NULL, &changes, expect)
               : get(arguments[0]);
}
