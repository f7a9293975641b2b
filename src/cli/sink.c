#include "cli/sink.h"

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void revision_words(uint64_t revision, char to[48])
{
    if (revision == STELE_EXPECT_NO_STREAM) {
        (void)snprintf(to, 48, "no events");
    } else if (revision == STELE_EXPECT_EXISTS) {
        (void)snprintf(to, 48, "some event");
    } else if (revision == STELE_EXPECT_ANY) {
        (void)snprintf(to, 48, "anything");
    } else {
        (void)snprintf(to, 48, "revision %llu", (unsigned long long)revision);
    }
}

static json_t *revision_json(uint64_t revision)
{
    switch (revision) {
    case STELE_EXPECT_NO_STREAM:
        return json_string("none");
    case STELE_EXPECT_EXISTS:
        return json_string("exists");
    case STELE_EXPECT_ANY:
        return json_string("any");
    default:
        return json_integer((json_int_t)revision);
    }
}

static int wrong_revision(const struct stele_cli_attempt *attempt, const char *what,
                          uint64_t actual)
{
    char expected_words[48];
    char actual_words[48];
    revision_words(attempt->expected, expected_words);
    revision_words(actual, actual_words);
    json_t *const details = json_object();
    (void)json_object_set_new(details, "stream", json_string(attempt->stream));
    (void)json_object_set_new(details, "expected", revision_json(attempt->expected));
    (void)json_object_set_new(details, "actual", revision_json(actual));
    return stele_cli_fail_with(
        details, STELE_CLI_CONFLICT, stele_outcome_name(STELE_WRONG_REVISION),
        "%s: expected %s, but the stream has %s; read what was added, decide again, repeat", what,
        expected_words, actual_words);
}

static int condition_failed(const struct stele_cli_attempt *attempt, const char *what,
                            const struct stele_append_result *result)
{
    char position[24];
    (void)snprintf(position, sizeof position, "%llu",
                   (unsigned long long)result->conflict_position);
    json_t *const details = json_object();
    (void)json_object_set_new(details, "stream", json_string(attempt->stream));
    (void)json_object_set_new(details, "condition", json_integer((json_int_t)result->failed));
    (void)json_object_set_new(details, "position", json_string(position));
    return stele_cli_fail_with(
        details, STELE_CLI_CONFLICT, stele_outcome_name(STELE_CONDITION_FAILED),
        "%s: the event at position %s matches the condition; read it, decide again, repeat", what,
        position);
}

/* Without the ids a repetition would be a second append. */
static int unknown_outcome(const struct stele_cli_attempt *attempt, const char *what,
                           const struct stele_error *err)
{
    char id[37];
    stele_id_to_text(attempt->events[0].id, id);
    json_t *const ids = json_array();
    for (size_t i = 0; i < attempt->count; i++) {
        char each[37];
        stele_id_to_text(attempt->events[i].id, each);
        (void)json_array_append_new(ids, json_string(each));
    }
    json_t *const details = json_object();
    (void)json_object_set_new(details, "stream", json_string(attempt->stream));
    (void)json_object_set_new(details, "ids", ids);
    return stele_cli_fail_with(details, STELE_CLI_UNKNOWN, stele_outcome_name(STELE_E_UNKNOWN),
                               "%s: %s (the first id is %s)", what, err->message, id);
}

int stele_cli_write_failed(const struct stele_cli_attempt *attempt, int outcome,
                           const struct stele_append_result *result, const struct stele_error *err)
{
    char what[STELE_STREAM_NAME_SIZE_MAX + 512];
    (void)snprintf(what, sizeof what, "%.400s%s%s %s", attempt->where != NULL ? attempt->where : "",
                   attempt->where != NULL ? ": " : "", attempt->verb, attempt->stream);
    if (outcome == STELE_WRONG_REVISION) {
        return wrong_revision(attempt, what, result->revision_last);
    }
    if (outcome == STELE_CONDITION_FAILED) {
        return condition_failed(attempt, what, result);
    }
    if (outcome == STELE_E_UNKNOWN && attempt->count > 0) {
        return unknown_outcome(attempt, what, err);
    }
    return stele_cli_fail_outcome(outcome, err, what);
}

/* How many of the events the stream has from revision on, one after the other. */
static int count_equal(struct stele *store, const char *stream, uint64_t revision,
                       const struct stele_event_draft *events, size_t count, size_t *out_equal,
                       struct stele_error *err)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = revision;
    options.limit = count;
    options.ignore_limits = 1;
    struct stele_iterator *iterator = NULL;
    *out_equal = 0;
    int outcome = stele_read_stream(store, stream, &options, &iterator, err);
    bool same = true;
    while (outcome == STELE_OK && same && *out_equal < count) {
        const struct stele_event *stored = NULL;
        size_t stored_count = 0;
        outcome = stele_iterator_next(iterator, &stored, &stored_count, err);
        for (size_t i = 0; outcome == STELE_OK && same && i < stored_count; i++) {
            same = *out_equal < count && stored[i].revision == revision + *out_equal &&
                   memcmp(stored[i].id, events[*out_equal].id, 16) == 0;
            *out_equal += same;
        }
    }
    stele_iterator_destroy(iterator);
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* Appends the first of the events, which alone is there or not, whatever its neighbours are; if it
 * is there, also counts those after it that are. */
static int append_first(struct stele *store, const char *stream,
                        const struct stele_event_draft *events, size_t count,
                        struct stele_cli_stored *stored, struct stele_append_result *result,
                        struct stele_error *err)
{
    int outcome = stele_append(store, stream, STELE_EXPECT_ANY, events, 1, result, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    size_t equal = 0;
    if (result->idempotent && count > 1) {
        outcome = count_equal(store, stream, result->revision_last + 1, events + 1, count - 1,
                              &equal, err);
    }
    stored->done += 1 + equal;
    stored->added += result->idempotent ? 0 : 1;
    stored->revision_last = result->revision_last + equal;
    return outcome;
}

int stele_cli_append_rest(struct stele *store, const char *stream,
                          const struct stele_event_draft *events, size_t count,
                          struct stele_cli_stored *out_stored, struct stele_append_result *result,
                          struct stele_error *err)
{
    bool one_by_one = false;
    *out_stored = (struct stele_cli_stored){.done = 0};
    while (out_stored->done < count) {
        const size_t added = out_stored->added;
        int outcome = append_first(store, stream, events + out_stored->done,
                                   count - out_stored->done, out_stored, result, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        const size_t left = count - out_stored->done;
        if (left == 0 || one_by_one || out_stored->added == added) {
            continue;
        }
        /* It was new, so what comes after it normally is. */
        outcome = stele_append(store, stream, STELE_EXPECT_ANY, events + out_stored->done, left,
                               result, err);
        if (outcome == STELE_OK) {
            out_stored->done = count;
            out_stored->added += result->idempotent ? 0 : left;
            out_stored->revision_last = result->revision_last;
        }
        /* One of them is not allowed: find out which. */
        one_by_one = outcome == STELE_E_INVALID || outcome == STELE_E_LIMIT;
        if (outcome != STELE_OK && outcome != STELE_E_ID_CONFLICT && !one_by_one) {
            return outcome;
        }
    }
    return STELE_OK;
}
