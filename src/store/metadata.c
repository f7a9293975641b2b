/* Stream metadata: a JSON object kept as events of type "$metadata" in the stream "$$" + name.
 *
 *     "$maxAge"        seconds, above 0      events older than that are not handed out
 *     "$maxCount"      above 0               only so many of the newest events are handed out
 *     "$tb"            0 or more             nothing before this revision is handed out
 *     "$cacheControl"  seconds, above 0      for HTTP answers
 *     "$acl"           object                who may do what; kept here, enforced by the server
 *
 * Other members are the application's. A soft delete is "$tb" just past the last revision: an
 * append then brings the stream back with no further write. */
#include "store/store_internal.h"

#include <jansson.h>

#define SECONDS_MAX ((json_int_t)100 * 366 * 24 * 3600) /* A hundred years. */

static int fail_member(struct stele_error *err, const char *member, const char *what)
{
    return stele_fail(err, STELE_E_INVALID, 0, "metadata: %s %s", member, what);
}

static int get_number(const json_t *object, const char *member, json_int_t min, json_int_t max,
                      uint64_t *out_value, struct stele_error *err)
{
    const json_t *value = json_object_get(object, member);
    *out_value = 0;
    if (value == NULL) {
        return STELE_OK;
    }
    if (!json_is_integer(value)) {
        return fail_member(err, member, "is not a whole number");
    }
    const json_int_t number = json_integer_value(value);
    if (number < min || number > max) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "metadata: %s is %" JSON_INTEGER_FORMAT ", but has to be from "
                          "%" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT "%s",
                          member, number, min, max, max == SECONDS_MAX ? " seconds" : "");
    }
    *out_value = (uint64_t)number;
    return STELE_OK;
}

static int check_acl(const json_t *object, struct stele_error *err)
{
    static const char *const rights[] = {"$r", "$w", "$d", "$mr", "$mw"};
    const json_t *acl = json_object_get(object, "$acl");
    if (acl == NULL) {
        return STELE_OK;
    }
    if (!json_is_object(acl)) {
        return fail_member(err, "$acl", "is not an object");
    }
    for (size_t i = 0; i < STELE_COUNT_OF(rights); i++) {
        const json_t *who = json_object_get(acl, rights[i]);
        if (who != NULL && !json_is_string(who) && !json_is_array(who)) {
            return fail_member(err, "$acl", "has a right that is neither a name nor a list");
        }
        for (size_t k = 0; k < json_array_size(who); k++) {
            if (!json_is_string(json_array_get(who, k))) {
                return fail_member(err, "$acl", "lists something that is not a name");
            }
        }
    }
    return STELE_OK;
}

static int parse(struct stele_bytes json, json_t **out_object, struct stele_stream_limits *out,
                 struct stele_error *err)
{
    json_error_t error;
    json_t *object = json_loadb((const char *)json.data, json.size, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "metadata: line %d, column %d: %s", error.line,
                          error.column, error.text);
    }
    uint64_t max_age_s = 0;
    uint64_t cache_s = 0;
    int outcome =
        json_is_object(object) ? STELE_OK : fail_member(err, "it", "is not a JSON object");
    if (outcome == STELE_OK) {
        outcome = get_number(object, "$maxAge", 1, SECONDS_MAX, &max_age_s, err);
    }
    if (outcome == STELE_OK) {
        outcome = get_number(object, "$maxCount", 1, INT64_MAX, &out->max_count, err);
    }
    if (outcome == STELE_OK) {
        outcome = get_number(object, "$tb", 0, INT64_MAX, &out->truncate_before, err);
    }
    if (outcome == STELE_OK) {
        outcome = get_number(object, "$cacheControl", 1, SECONDS_MAX, &cache_s, err);
    }
    if (outcome == STELE_OK) {
        outcome = check_acl(object, err);
    }
    out->max_age_us = (int64_t)max_age_s * 1000000;
    if (outcome == STELE_OK && out_object != NULL) {
        *out_object = object;
    } else {
        json_decref(object);
    }
    return outcome;
}

int stele_metadata_check(const char *json, size_t size, struct stele_error *err)
{
    struct stele_stream_limits limits;
    if (json == NULL || size == 0) {
        return fail_member(err, "it", "is empty; an empty object is {}");
    }
    return parse((struct stele_bytes){.data = (const uint8_t *)json, .size = size}, NULL, &limits,
                 err);
}

int stele_store__limits_parse(struct stele_bytes json, struct stele_stream_limits *out,
                              struct stele_error *err)
{
    return parse(json, NULL, out, err);
}

/* Does a decision rest on it that every node of a cluster takes? */
static bool must_not_guess(const struct stele_store *store, bool staged)
{
    return store->superblock.ordered && staged;
}

/* The newest metadata event that counts: the last one, or (staged false) the last durable one.
 * *out_exists: there ever was one. */
static int newest(struct stele_store *store, struct stele_bytes stream, bool staged,
                  bool *out_exists, struct stele_event *out_event, struct stele_error *err)
{
    *out_exists = false;
    STELE_UNINITIALIZED uint8_t buffer[STELE_STREAM_NAME_SIZE_MAX + 2];
    const struct stele_bytes name = stele_store__metastream(stream, buffer);
    if (name.size == 0) {
        return STELE_NOT_FOUND;
    }
    const struct stele_index_key key =
        stele_index_key(store->superblock.seed, STELE_SPACE_STREAM, name);
    struct stele_index_state state;
    int outcome = stele_store__state(store, &key, &state, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    *out_exists = true;
    for (uint64_t revision = state.next; revision > 0; revision--) {
        uint64_t place = 0;
        size_t count = 0;
        outcome = stele_store__places(store, &key, revision - 1, 1, &place, &count, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (count == 1 && place != STELE_STORE__NO_PLACE &&
            (staged || place < stele_log_durable(store->log))) {
            return stele_store__event(store, place, out_event, err);
        }
        if (must_not_guess(store, staged)) {
            break;
        }
    }
    return STELE_NOT_FOUND;
}

/* As newest(); but where every node must decide alike, metadata that is there and cannot be read is
 * an error, rather than older metadata or none. */
static int newest_that_counts(struct stele_store *store, struct stele_bytes stream, bool staged,
                              struct stele_event *out_event, struct stele_error *err)
{
    bool exists = false;
    const int outcome = newest(store, stream, staged, &exists, out_event, err);
    return outcome == STELE_NOT_FOUND && exists && must_not_guess(store, staged)
               ? stele_fail(err, STELE_E_CORRUPT, 0,
                            "stream %.*s: its newest metadata is not found; run `stele verify`",
                            (int)stream.size, (const char *)stream.data)
               : outcome;
}

/* What parse() refuses was checked when it was written, so only memory can be lacking. */
static int parse_that_counts(const struct stele_store *store, bool staged,
                             const struct stele_event *event, json_t **out_object,
                             struct stele_stream_limits *out, struct stele_error *err)
{
    const int outcome = parse((struct stele_bytes){.data = event->data, .size = event->data_size},
                              out_object, out, err);
    return outcome == STELE_E_INVALID && must_not_guess(store, staged)
               ? stele_fail(err, STELE_E_NO_MEMORY, 0, "metadata that was stored cannot be parsed")
               : outcome;
}

int stele_store__limits(struct stele_store *store, struct stele_bytes stream, bool staged,
                        struct stele_stream_limits *out, struct stele_error *err)
{
    *out = (struct stele_stream_limits){.found = false};
    struct stele_event event;
    int outcome = newest_that_counts(store, stream, staged, &event, err);
    if (outcome == STELE_NOT_FOUND) {
        return STELE_OK;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = parse_that_counts(store, staged, &event, NULL, out, err);
    out->found = true;
    out->revision = event.revision;
    return outcome;
}

uint64_t stele_store__first_revision(const struct stele_stream_limits *limits, uint64_t next)
{
    uint64_t first = limits->truncate_before;
    if (limits->max_count > 0 && next > limits->max_count && next - limits->max_count > first) {
        first = next - limits->max_count;
    }
    return first;
}

int stele_store_metadata(struct stele_store *store, const char *stream, struct stele_buf *out_json,
                         uint64_t *out_revision, struct stele_error *err)
{
    struct stele_event event;
    const int outcome = newest_that_counts(store, stele_bytes_of_text(stream), false, &event, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    *out_revision = event.revision;
    return stele_buf_append(out_json, store->alloc,
                            (struct stele_bytes){.data = event.data, .size = event.data_size});
}

/* The object with "$tb" set, as text. */
static int with_truncate_before(struct stele_store *store, json_t *object, uint64_t before,
                                struct stele_buf *out_json, struct stele_error *err)
{
    if (json_object_set_new(object, "$tb", json_integer((json_int_t)before)) != 0) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "delete: no memory for the metadata");
    }
    const size_t size = json_dumpb(object, NULL, 0, JSON_COMPACT);
    if (size == 0 || stele_buf_reserve(out_json, store->alloc, size) != STELE_OK) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "delete: no memory for the metadata");
    }
    out_json->size = json_dumpb(object, (char *)out_json->data, size, JSON_COMPACT);
    STELE_ASSERT(out_json->size == size);
    return STELE_OK;
}

int stele_store_delete_metadata(struct stele_store *store, const char *stream, uint64_t expected,
                                struct stele_buf *out_json, uint64_t *out_expected,
                                struct stele_append_result *out_result, struct stele_error *err)
{
    const struct stele_bytes name = stele_bytes_of_text(stream);
    const struct stele_index_key key =
        stele_index_key(store->superblock.seed, STELE_SPACE_STREAM, name);
    struct stele_index_state state;
    int outcome = stele_store__state(store, &key, &state, err);
    if (outcome != STELE_OK) {
        return outcome == STELE_NOT_FOUND
                   ? stele_fail(err, STELE_NO_STREAM, 0, "stream %s does not exist", stream)
                   : outcome;
    }
    if ((state.flags & STELE_INDEX_TOMBSTONED) != 0) {
        return stele_fail(err, STELE_STREAM_DELETED, 0, "stream %s was tombstoned", stream);
    }
    if (expected != STELE_EXPECT_ANY && expected != STELE_EXPECT_EXISTS &&
        expected != state.next - 1) {
        out_result->revision_last = state.next - 1;
        return stele_fail(err, STELE_WRONG_REVISION, 0,
                          "stream %s is at revision %llu, other than expected", stream,
                          (unsigned long long)(state.next - 1));
    }
    json_t *object = NULL;
    struct stele_stream_limits limits = {.found = false};
    struct stele_event event;
    outcome = newest_that_counts(store, name, true, &event, err);
    *out_expected = STELE_EXPECT_NO_STREAM;
    if (outcome == STELE_OK) {
        *out_expected = event.revision;
        outcome = parse_that_counts(store, true, &event, &object, &limits, err);
    } else if (outcome == STELE_NOT_FOUND) {
        object = json_object();
        outcome = object == NULL ? STELE_E_NO_MEMORY : STELE_OK;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (limits.truncate_before >= state.next) {
        outcome = stele_fail(err, STELE_NO_STREAM, 0, "stream %s is deleted already", stream);
    } else {
        outcome = with_truncate_before(store, object, state.next, out_json, err);
    }
    json_decref(object);
    return outcome;
}
