/* How two lists of events differ, readably: side by side, and the first place in their JSON. */
#include "es/testing_internal.h"

#include <jansson.h>
#include <stdio.h>

#define COLUMN 46 /* Characters of one side. */
#define PATH_SIZE 240
#define VALUE_SIZE 120

/* ---- JSON ---- */

struct path {
    char text[PATH_SIZE];
    size_t size;
};

/* By a member, or (name NULL) an element. */
static void extend(struct path *path, const char *name, size_t index)
{
    char part[96];
    const int size = name != NULL ? snprintf(part, sizeof part, ".%s", name)
                                  : snprintf(part, sizeof part, "[%zu]", index);
    const size_t part_size = size < 0 ? 0 : (size_t)size < sizeof part ? (size_t)size : 95;
    if (part_size < sizeof path->text - path->size) {
        memcpy(path->text + path->size, part, part_size + 1);
        path->size += part_size;
    }
}

static void shorten(struct path *path, size_t size)
{
    path->size = size;
    path->text[size] = '\0';
}

/* A value in words, cut if it is long. */
static void show(const json_t *value, char words[VALUE_SIZE])
{
    if (value == NULL) {
        (void)snprintf(words, VALUE_SIZE, "nothing");
        return;
    }
    const size_t size =
        json_dumpb(value, words, VALUE_SIZE - 4, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    if (size > VALUE_SIZE - 4) {
        memcpy(words + VALUE_SIZE - 4, "...", 4);
    } else {
        words[size] = '\0';
    }
}

static bool find_difference(const json_t *expected, const json_t *actual, struct path *path,
                            const json_t **out_expected, const json_t **out_actual);

static bool differ_in_array(const json_t *expected, const json_t *actual, struct path *path,
                            const json_t **out_expected, const json_t **out_actual)
{
    const size_t size = path->size;
    for (size_t i = 0; i < json_array_size(expected) || i < json_array_size(actual); i++) {
        extend(path, NULL, i);
        if (find_difference(json_array_get(expected, i), json_array_get(actual, i), path,
                            out_expected, out_actual)) {
            return true;
        }
        shorten(path, size);
    }
    return false;
}

/* Members of one in its order; then those that only the other one has. */
static bool differ_in_object(json_t *of, const json_t *expected, const json_t *actual,
                             struct path *path, const json_t **out_expected,
                             const json_t **out_actual)
{
    const size_t size = path->size;
    const char *name = NULL;
    json_t *member = NULL;
    json_object_foreach(of, name, member)
    {
        extend(path, name, 0);
        if (find_difference(json_object_get(expected, name), json_object_get(actual, name), path,
                            out_expected, out_actual)) {
            return true;
        }
        shorten(path, size);
    }
    return false;
}

/* jansson's walks take what is not const, and change nothing. */
static json_t *walked(const json_t *value)
{
    union {
        const json_t *is_const;
        json_t *is_not;
    } both = {.is_const = value};
    return both.is_not;
}

/* Its depth is bounded by that of jansson's parser. */
static bool find_difference(const json_t *expected, const json_t *actual, struct path *path,
                            const json_t **out_expected, const json_t **out_actual)
{
    if (json_is_object(expected) && json_is_object(actual)) {
        return differ_in_object(walked(expected), expected, actual, path, out_expected,
                                out_actual) ||
               differ_in_object(walked(actual), expected, actual, path, out_expected, out_actual);
    }
    if (json_is_array(expected) && json_is_array(actual)) {
        return differ_in_array(expected, actual, path, out_expected, out_actual);
    }
    if (json_equal(walked(expected), walked(actual))) {
        return false;
    }
    *out_expected = expected;
    *out_actual = actual;
    return true;
}

static bool same_bytes(struct stele_text expected, struct stele_text actual,
                       char where[STELE_TESTING__WHERE_SIZE])
{
    size_t at = 0;
    while (at < expected.size && at < actual.size && expected.data[at] == actual.data[at]) {
        at++;
    }
    if (at == expected.size && at == actual.size) {
        return true;
    }
    (void)snprintf(where, STELE_TESTING__WHERE_SIZE,
                   "byte %zu: expected %zu bytes in all, came %zu", at, expected.size, actual.size);
    return false;
}

static json_t *parse(struct stele_text text)
{
    return json_loadb(text.data, text.size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
}

bool stele_testing__same_data(struct stele_text expected, struct stele_text actual,
                              char where[STELE_TESTING__WHERE_SIZE])
{
    json_t *const want = parse(expected);
    json_t *const got = parse(actual);
    bool is_same = false;
    if (want == NULL || got == NULL) {
        is_same = same_bytes(expected, actual, where);
    } else {
        struct path path = {.text = "$", .size = 1};
        const json_t *one = NULL;
        const json_t *two = NULL;
        is_same = !find_difference(want, got, &path, &one, &two);
        if (!is_same) {
            char expects[VALUE_SIZE];
            char has[VALUE_SIZE];
            show(one, expects);
            show(two, has);
            (void)snprintf(where, STELE_TESTING__WHERE_SIZE, "%s: expected %s, came %s", path.text,
                           expects, has);
        }
    }
    json_decref(want);
    json_decref(got);
    return is_same;
}

/* ---- Side by side ---- */

/* One side: so many characters, cut, or filled up where something follows. Bytes inside of a character are not counted. */
static void write_side(struct stele_output *report, const struct stele_testing__event *event,
                       bool is_filled)
{
    char line[512] = "(nothing)";
    if (event != NULL) {
        (void)snprintf(line, sizeof line, "%s %s %.*s", event->stream, event->type,
                       event->data.size < 300 ? (int)event->data.size : 300, event->data.data);
    }
    size_t size = 0;
    size_t characters = 0;
    while (line[size] != '\0' && characters < COLUMN - 1) {
        size++;
        while (((unsigned char)line[size] & 0xc0) == 0x80) {
            size++;
        }
        characters++;
    }
    const bool is_cut = line[size] != '\0';
    const int filler = is_filled ? (int)(COLUMN - characters - is_cut) : 0;
    (void)stele_output_printf(report, "%.*s%s%*s", (int)size, line, is_cut ? "~" : "", filler, "");
}

static bool same_event(const struct stele_testing__event *expected,
                       const struct stele_testing__event *came,
                       char where[STELE_TESTING__WHERE_SIZE])
{
    if (expected == NULL || came == NULL) {
        (void)snprintf(where, STELE_TESTING__WHERE_SIZE, "%s",
                       came == NULL ? "it did not come" : "it was not expected");
        return false;
    }
    if (strcmp(expected->stream, came->stream) != 0) {
        (void)snprintf(where, STELE_TESTING__WHERE_SIZE, "stream: expected %s, came %s",
                       expected->stream, came->stream);
        return false;
    }
    if (strcmp(expected->type, came->type) != 0) {
        (void)snprintf(where, STELE_TESTING__WHERE_SIZE, "type: expected %s, came %s",
                       expected->type, came->type);
        return false;
    }
    return stele_testing__same_data(expected->data, came->data, where);
}

static const struct stele_testing__event *event_of(const struct stele_testing__list *list,
                                                   size_t index)
{
    return index < list->count ? &list->events[index] : NULL;
}

/* The values whole, since columns cut them. */
static void write_whole(struct stele_output *report, const char *what,
                        const struct stele_testing__event *event)
{
    if (event != NULL) {
        (void)stele_output_printf(report, "      %-9s", what);
        (void)stele_output_write(report, event->data.data, event->data.size);
        (void)stele_output_write(report, "\n", 1);
    }
}

bool stele_testing__compare(struct stele_output *report, const struct stele_testing__list *expected,
                            const struct stele_testing__list *came)
{
    char where[STELE_TESTING__WHERE_SIZE];
    bool is_same = expected->count == came->count;
    for (size_t i = 0; i < expected->count && is_same; i++) {
        is_same = same_event(&expected->events[i], &came->events[i], where);
    }
    if (is_same) {
        return true;
    }
    (void)stele_output_printf(report, "%zu event%s expected, %zu came:\n", expected->count,
                              expected->count == 1 ? "" : "s", came->count);
    (void)stele_output_printf(report, "    %-*s %s\n", COLUMN, "expected", "came");
    bool is_first = true;
    for (size_t i = 0; i < expected->count || i < came->count; i++) {
        const struct stele_testing__event *const one = event_of(expected, i);
        const struct stele_testing__event *const two = event_of(came, i);
        const bool matches = same_event(one, two, where);
        (void)stele_output_printf(report, "  %s ",
                                  matches       ? "="
                                  : one == NULL ? "+"
                                  : two == NULL ? "-"
                                                : "!");
        write_side(report, one, true);
        (void)stele_output_write(report, " ", 1);
        write_side(report, two, false);
        (void)stele_output_write(report, "\n", 1);
        if (!matches && is_first) {
            (void)stele_output_printf(report, "      %s\n", where);
            write_whole(report, "expected", one);
            write_whole(report, "came", two);
            is_first = false;
        }
    }
    return false;
}
