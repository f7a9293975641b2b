/* What names and values of settings may be, and what may have been meant by those that are not. */
#include "ops/config_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Names ---- */

#define DISTANCE_SIZE 40

static size_t min3(size_t a, size_t b, size_t c)
{
    const size_t smaller = a < b ? a : b;
    return smaller < c ? smaller : c;
}

/* Levenshtein's, of words that are not long. */
static size_t distance_of(const char *a, const char *b)
{
    size_t row[DISTANCE_SIZE + 1];
    const size_t a_size = strlen(a);
    const size_t b_size = strlen(b);
    if (a_size > DISTANCE_SIZE || b_size > DISTANCE_SIZE) {
        return SIZE_MAX;
    }
    for (size_t k = 0; k <= b_size; k++) {
        row[k] = k;
    }
    for (size_t i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t k = 1; k <= b_size; k++) {
            const size_t replaced = diagonal + (a[i - 1] != b[k - 1]);
            diagonal = row[k];
            row[k] = min3(row[k] + 1, row[k - 1] + 1, replaced);
        }
    }
    return row[b_size];
}

const char *stele_config__nearest_to(const char *name)
{
    const char *nearest = NULL;
    size_t best = strlen(name) < 6 ? 3 : 4;
    for (size_t i = 0; i < STELE_SETTING_COUNT; i++) {
        const size_t distance = distance_of(name, stele_config__rows[i].name);
        if (distance < best && distance < strlen(stele_config__rows[i].name)) {
            nearest = stele_config__rows[i].name;
            best = distance;
        }
    }
    for (size_t i = 0; i < STELE_SETTING_COUNT && nearest == NULL && strlen(name) >= 4; i++) {
        if (strncmp(stele_config__rows[i].name, name, strlen(name)) == 0 ||
            strstr(stele_config__rows[i].name, name) != NULL) {
            nearest = stele_config__rows[i].name;
        }
    }
    return nearest;
}

enum stele_setting stele_config__find(const char *name)
{
    size_t i = 0;
    for (; i < STELE_SETTING_COUNT; i++) {
        const char *a = stele_config__rows[i].name;
        const char *b = name;
        while (*a != '\0' && (*a == *b || (*a == '-' && *b == '_'))) {
            a++;
            b++;
        }
        if (*a == '\0' && *b == '\0') {
            break;
        }
    }
    return (enum stele_setting)i;
}

/* ---- Values ---- */

static bool parse_digits(const char *text, uint64_t *out_number, const char **out_rest)
{
    char *end = NULL;
    if (!isdigit((unsigned char)*text)) {
        return false;
    }
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    *out_number = number;
    *out_rest = end;
    return errno == 0;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static bool parse_with_unit(const char *text, const struct unit *units, size_t count,
                            uint64_t *out_number)
{
    const char *rest = NULL;
    uint64_t number = 0;
    if (!parse_digits(text, &number, &rest)) {
        return false;
    }
    while (*rest == ' ') {
        rest++;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rest, units[i].name) == 0) {
            return !__builtin_mul_overflow(number, units[i].factor, out_number);
        }
    }
    return false;
}

static bool parse_size(const char *text, uint64_t *out_number)
{
    static const struct unit units[] = {
        {"", 1},
        {"B", 1},
        {"kB", 1000},
        {"KB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"KiB", 1024},
        {"MiB", 1024 * 1024},
        {"GiB", 1024 * 1024 * 1024},
    };
    return parse_with_unit(text, units, STELE_COUNT_OF(units), out_number);
}

static bool parse_duration(const char *text, uint64_t *out_number)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
    };
    return parse_with_unit(text, units, STELE_COUNT_OF(units), out_number);
}

static bool parse_flag(const char *text, bool *out_flag)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < STELE_COUNT_OF(yes); i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *out_flag = strcmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static bool is_choice(const char *choices, const char *text)
{
    const size_t size = strlen(text);
    for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
        at += *at == '|';
        const size_t word = strcspn(at, "|");
        if (word == size && memcmp(at, text, size) == 0) {
            return true;
        }
    }
    return false;
}

const char *stele_config__form_of(enum stele_setting_kind kind)
{
    switch (kind) {
    case STELE_SETTING_KIND_NUMBER:
        return "a whole number";
    case STELE_SETTING_KIND_SIZE:
        return "a size like 64KiB, 16MiB or 4096";
    case STELE_SETTING_KIND_DURATION:
        return "a duration like 500ms, 10s, 5m, 1h or 7d";
    case STELE_SETTING_KIND_FLAG:
        return "true or false";
    default:
        return "a text";
    }
}

/* Written as somebody would write it: 67108864 is "64MiB". */
static void format_bound(enum stele_setting_kind kind, uint64_t number, char *text, size_t size)
{
    static const struct unit sizes[] = {
        {"GiB", 1024 * 1024 * 1024}, {"MiB", 1024 * 1024}, {"KiB", 1024}};
    static const struct unit times[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}};
    const bool is_size = kind == STELE_SETTING_KIND_SIZE;
    const struct unit *const units = is_size ? sizes : times;
    const size_t count = is_size ? STELE_COUNT_OF(sizes) : STELE_COUNT_OF(times);
    for (size_t i = 0; i < count && kind != STELE_SETTING_KIND_NUMBER && number > 0; i++) {
        if (number % units[i].factor == 0) {
            (void)snprintf(text, size, "%llu%s", (unsigned long long)(number / units[i].factor),
                           units[i].name);
            return;
        }
    }
    (void)snprintf(text, size, "%llu%s", (unsigned long long)number,
                   kind == STELE_SETTING_KIND_DURATION ? "ms" : "");
}

static int check_bounds(const struct stele_setting_row *row, const char *where, uint64_t number,
                        struct stele_error *err)
{
    char min[32];
    char max[32];
    if (number >= row->min && number <= row->max) {
        return STELE_OK;
    }
    format_bound(row->kind, row->min, min, sizeof min);
    format_bound(row->kind, row->max, max, sizeof max);
    return stele_fail(err, STELE_E_INVALID, 0, "%s: %s has to be from %s to %s", where, row->name,
                      min, max);
}

int stele_config__parse(const struct stele_setting_row *row, const char *where,
                        struct config_candidate *candidate, struct stele_error *err)
{
    const char *const text = candidate->text;
    const char *rest = NULL;
    bool good = true;
    switch (row->kind) {
    case STELE_SETTING_KIND_NUMBER:
        good = parse_digits(text, &candidate->number, &rest) && *rest == '\0';
        break;
    case STELE_SETTING_KIND_SIZE:
        good = parse_size(text, &candidate->number);
        break;
    case STELE_SETTING_KIND_DURATION:
        good = parse_duration(text, &candidate->number);
        break;
    case STELE_SETTING_KIND_FLAG:
        good = parse_flag(text, &candidate->flag);
        break;
    case STELE_SETTING_KIND_CHOICE:
        if (!is_choice(row->argument, text)) {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "%s: %s is '%.100s', but has to be one of %s", where, row->name, text,
                              row->argument);
        }
        return STELE_OK;
    case STELE_SETTING_KIND_TEXT:
    case STELE_SETTING_KIND_LIST:
    case STELE_SETTING_KIND_SECRET:
        return STELE_OK;
    }
    if (!good) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s: %s is '%.100s', but has to be %s%s", where,
                          row->name, text, stele_config__form_of(row->kind),
                          strncmp(text, "tcp://", 6) == 0
                              ? "; Kubernetes sets such variables for a service called stele: turn "
                                "enableServiceLinks off"
                              : "");
    }
    return row->kind == STELE_SETTING_KIND_FLAG ? STELE_OK
                                                : check_bounds(row, where, candidate->number, err);
}
