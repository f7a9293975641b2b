#include "ops/config.h"

#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#define FILE_SIZE_MAX ((size_t)1024 * 1024)
#define VALUE_SIZE_MAX ((size_t)4096)
#define ITEMS_MAX 16

#define ROW(name, text, kind, otherwise, min, max, argument, help)                                 \
    {text, STELE_SETTING_KIND_##kind, otherwise, min, max, argument, help},
static const struct stele_setting_row rows[STELE_SETTING_COUNT] = {STELE_SETTINGS(ROW)};
#undef ROW

struct value {
    char *text; /* VALUE_SIZE_MAX at most; the items of a list end with a zero each. */
    size_t size;
    uint64_t number;
    bool flag;
    size_t items;
    enum stele_config_source source;
    unsigned line; /* In the file. */
};

struct stele_config {
    struct stele_alloc *alloc;
    struct value values[STELE_SETTING_COUNT];
    char path[512]; /* Of the file. */
};

const struct stele_setting_row *stele_setting_row(enum stele_setting setting)
{
    STELE_ASSERT(setting < STELE_SETTING_COUNT);
    return &rows[setting];
}

void stele_config_variable(enum stele_setting setting, char variable[64])
{
    (void)snprintf(variable, 64, "STELE_%s", rows[setting].name);
    for (char *at = variable; *at != '\0'; at++) {
        *at = (char)(*at == '-' ? '_' : toupper((unsigned char)*at));
    }
}

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

/* The name that was probably meant: few letters differ, or one begins with the other. */
static const char *nearest_to(const char *name)
{
    const char *nearest = NULL;
    size_t best = strlen(name) < 6 ? 3 : 4;
    for (size_t i = 0; i < STELE_SETTING_COUNT; i++) {
        const size_t distance = distance_of(name, rows[i].name);
        if (distance < best && distance < strlen(rows[i].name)) {
            nearest = rows[i].name;
            best = distance;
        }
    }
    for (size_t i = 0; i < STELE_SETTING_COUNT && nearest == NULL && strlen(name) >= 4; i++) {
        if (strncmp(rows[i].name, name, strlen(name)) == 0 || strstr(rows[i].name, name) != NULL) {
            nearest = rows[i].name;
        }
    }
    return nearest;
}

/* STELE_SETTING_COUNT: there is none of that name. Files may have _ for -. */
static enum stele_setting find(const char *name)
{
    size_t i = 0;
    for (; i < STELE_SETTING_COUNT; i++) {
        const char *a = rows[i].name;
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

/* What a value has to look like, for messages. */
static const char *form_of(enum stele_setting_kind kind)
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

/* A value that is checked, before it takes its place. */
struct candidate {
    const char *text;
    size_t size; /* With the zeros of a list's items. */
    uint64_t number;
    bool flag;
    size_t items;
};

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

static int parse(const struct stele_setting_row *row, const char *where,
                 struct candidate *candidate, struct stele_error *err)
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
                          row->name, text, form_of(row->kind),
                          strncmp(text, "tcp://", 6) == 0
                              ? "; Kubernetes sets such variables for a service called stele: turn "
                                "enableServiceLinks off"
                              : "");
    }
    return row->kind == STELE_SETTING_KIND_FLAG ? STELE_OK
                                                : check_bounds(row, where, candidate->number, err);
}

static void release(struct stele_config *config, struct value *value)
{
    if (value->text != NULL) {
        explicit_bzero(value->text, value->size);
        stele_release(config->alloc, value->text, value->size);
    }
}

static int put(struct stele_config *config, enum stele_setting setting,
               enum stele_config_source source, const char *where, struct candidate *candidate,
               struct stele_error *err)
{
    struct value *const value = &config->values[setting];
    const int outcome = parse(&rows[setting], where, candidate, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    char *const text = stele_allocate(config->alloc, candidate->size);
    if (text == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%s: no memory", where);
    }
    memcpy(text, candidate->text, candidate->size);
    release(config, value);
    *value = (struct value){.text = text,
                            .size = candidate->size,
                            .number = candidate->number,
                            .flag = candidate->flag,
                            .items = candidate->items,
                            .source = source};
    return STELE_OK;
}

/* Commas become zeros; blanks around items go. Returns how many bytes are used. */
static size_t split(const char *text, char *items, size_t *out_count)
{
    size_t at = 0;
    *out_count = 0;
    for (;;) {
        text += strspn(text, " ,");
        if (*text == '\0' || *out_count == ITEMS_MAX) {
            return at;
        }
        size_t size = strcspn(text, ",");
        const size_t skip = size;
        while (size > 0 && text[size - 1] == ' ') {
            size--;
        }
        memcpy(items + at, text, size);
        items[at + size] = '\0';
        at += size + 1;
        text += skip;
        ++*out_count;
    }
}

static int put_text(struct stele_config *config, enum stele_setting setting,
                    enum stele_config_source source, const char *where, const char *text,
                    struct stele_error *err)
{
    char items[VALUE_SIZE_MAX];
    struct candidate candidate = {.text = text, .size = strlen(text) + 1};
    if (candidate.size > VALUE_SIZE_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s: %s is longer than 4095 bytes", where,
                          rows[setting].name);
    }
    if (rows[setting].kind == STELE_SETTING_KIND_LIST) {
        candidate.text = items;
        candidate.size = split(text, items, &candidate.items);
        if (candidate.items == 0) {
            return stele_fail(err, STELE_E_INVALID, 0, "%s: %s has no items", where,
                              rows[setting].name);
        }
    }
    return put(config, setting, source, where, &candidate, err);
}

int stele_config_create(struct stele_alloc *alloc, struct stele_config **out_config)
{
    struct stele_config *const config = stele_allocate_zeroed(alloc, sizeof *config);
    int outcome = config == NULL ? STELE_E_NO_MEMORY : STELE_OK;
    if (config != NULL) {
        config->alloc = alloc;
    }
    for (int i = 0; i < STELE_SETTING_COUNT && outcome == STELE_OK; i++) {
        outcome = put_text(config, (enum stele_setting)i, STELE_CONFIG_DEFAULT, "the default",
                           rows[i].otherwise, NULL);
        STELE_ASSERT(outcome != STELE_E_INVALID);
    }
    if (outcome != STELE_OK) {
        stele_config_destroy(config);
        return outcome;
    }
    *out_config = config;
    return STELE_OK;
}

void stele_config_destroy(struct stele_config *config)
{
    if (config == NULL) {
        return;
    }
    for (int i = 0; i < STELE_SETTING_COUNT; i++) {
        release(config, &config->values[i]);
    }
    stele_release(config->alloc, config, sizeof *config);
}

/* ---- Flags and the environment ---- */

int stele_config_set(struct stele_config *config, enum stele_setting setting, const char *value,
                     struct stele_error *err)
{
    return put_text(config, setting, STELE_CONFIG_FLAG, "the command line", value, err);
}

/* Variables of the tools around, and of the client: no settings, and no mistakes. */
static bool is_other(const char *variable)
{
    static const char *const others[] = {"STELE_CONFIG", "STELE_LOGIN", "STELE_PASSWORD",
                                         "STELE_TOKEN"};
    for (size_t i = 0; i < STELE_COUNT_OF(others); i++) {
        if (strcmp(variable, others[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int add_variable(struct stele_config *config, const char *variable, const char *value,
                        stele_config_unknown on_unknown, void *context, struct stele_error *err)
{
    char name[64];
    char where[128];
    size_t size = 0;
    for (const char *at = variable + strlen("STELE_"); *at != '\0' && size < sizeof name - 1;
         at++) {
        name[size++] = (char)(*at == '_' ? '-' : tolower((unsigned char)*at));
    }
    name[size] = '\0';
    const enum stele_setting setting = find(name);
    if (setting == STELE_SETTING_COUNT) {
        const char *const nearest = nearest_to(name);
        if (on_unknown != NULL && !is_other(variable)) {
            on_unknown(context, variable, nearest);
        }
        return STELE_OK;
    }
    (void)snprintf(where, sizeof where, "the environment, %s", variable);
    return put_text(config, setting, STELE_CONFIG_ENVIRONMENT, where, value, err);
}

int stele_config_add_environment(struct stele_config *config, const char *const *variables,
                                 stele_config_unknown on_unknown, void *context,
                                 struct stele_error *err)
{
    int outcome = STELE_OK;
    for (; *variables != NULL && outcome == STELE_OK; variables++) {
        char variable[80];
        const size_t size = strcspn(*variables, "=");
        if (strncmp(*variables, "STELE_", 6) != 0 || (*variables)[size] == '\0' ||
            size >= sizeof variable) {
            continue;
        }
        memcpy(variable, *variables, size);
        variable[size] = '\0';
        outcome = add_variable(config, variable, *variables + size + 1, on_unknown, context, err);
    }
    return outcome;
}

/* ---- Files ---- */

struct reading {
    struct stele_config *config;
    const char *path;
    yaml_parser_t parser;
    bool seen[STELE_SETTING_COUNT];
};

/* "FILE, line N: " and the three parts. */
static int fail_line(const struct reading *reading, size_t line, struct stele_error *err,
                     const char *before, const char *name, const char *after)
{
    return stele_fail(err, STELE_E_INVALID, 0, "%.120s, line %zu: %s%s%s", reading->path, line + 1,
                      before, name, after);
}

/* Gets the next event; the caller deletes it. */
static int next(struct reading *reading, yaml_event_t *event, struct stele_error *err)
{
    if (yaml_parser_parse(&reading->parser, event) == 1) {
        return STELE_OK;
    }
    return fail_line(reading, reading->parser.problem_mark.line, err, "this is no YAML: ",
                     reading->parser.problem != NULL ? reading->parser.problem : "", "");
}

static const char *text_of(const yaml_event_t *event)
{
    return (const char *)event->data.scalar.value;
}

static bool is_text(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT && strlen(text_of(event)) == event->data.scalar.length;
}

/* "- a" lines of a list, after its beginning. */
static int read_items(struct reading *reading, enum stele_setting setting, const char *where,
                      struct stele_error *err)
{
    char items[VALUE_SIZE_MAX];
    struct candidate candidate = {.text = items};
    for (;;) {
        yaml_event_t event;
        const int outcome = next(reading, &event, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        const size_t line = event.start_mark.line;
        const bool is_end = event.type == YAML_SEQUENCE_END_EVENT;
        const bool fits = is_text(&event) && candidate.items < ITEMS_MAX &&
                          event.data.scalar.length + 1 <= sizeof items - candidate.size;
        if (fits) {
            memcpy(items + candidate.size, text_of(&event), event.data.scalar.length + 1);
            candidate.size += event.data.scalar.length + 1;
            candidate.items++;
        }
        yaml_event_delete(&event);
        if (is_end) {
            break;
        }
        if (!fits) {
            return fail_line(reading, line, err, "", rows[setting].name,
                             " lists something that is no text, or too much");
        }
    }
    if (candidate.items == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s: %s has no items", where,
                          rows[setting].name);
    }
    return put(reading->config, setting, STELE_CONFIG_FILE, where, &candidate, err);
}

static int read_value(struct reading *reading, enum stele_setting setting, size_t line,
                      struct stele_error *err)
{
    yaml_event_t event;
    char where[160];
    (void)snprintf(where, sizeof where, "%.120s, line %zu", reading->path, line + 1);
    int outcome = next(reading, &event, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (is_text(&event)) {
        outcome =
            put_text(reading->config, setting, STELE_CONFIG_FILE, where, text_of(&event), err);
    } else if (event.type == YAML_SEQUENCE_START_EVENT &&
               rows[setting].kind == STELE_SETTING_KIND_LIST) {
        outcome = read_items(reading, setting, where, err);
    } else {
        outcome = fail_line(reading, line, err, rows[setting].name, " has to be ",
                            form_of(rows[setting].kind));
    }
    yaml_event_delete(&event);
    if (outcome == STELE_OK) {
        reading->config->values[setting].line = (unsigned)line + 1;
    }
    return outcome;
}

static int read_key(struct reading *reading, const yaml_event_t *event, struct stele_error *err)
{
    const size_t line = event->start_mark.line;
    if (!is_text(event)) {
        return fail_line(reading, line, err, "the name of a setting has to be a text", "", "");
    }
    const enum stele_setting setting = find(text_of(event));
    if (setting == STELE_SETTING_COUNT) {
        const char *const nearest = nearest_to(text_of(event));
        char advice[160];
        (void)snprintf(advice, sizeof advice, "%.64s'%s%s%s", text_of(event),
                       nearest != NULL ? "; did you mean '" : "", nearest != NULL ? nearest : "",
                       nearest != NULL ? "'?" : "");
        return fail_line(reading, line, err, "there is no setting '", advice, "");
    }
    if (reading->seen[setting]) {
        return fail_line(reading, line, err, "", rows[setting].name, " is set twice");
    }
    reading->seen[setting] = true;
    return read_value(reading, setting, line, err);
}

static int read_mapping(struct reading *reading, struct stele_error *err)
{
    for (;;) {
        yaml_event_t event;
        int outcome = next(reading, &event, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        const bool is_end = event.type == YAML_MAPPING_END_EVENT;
        if (!is_end) {
            outcome = read_key(reading, &event, err);
        }
        yaml_event_delete(&event);
        if (is_end || outcome != STELE_OK) {
            return outcome;
        }
    }
}

/* Stream start, document start, one mapping. A second document is a mistake. */
static int read_stream(struct reading *reading, struct stele_error *err)
{
    bool done = false;
    for (;;) {
        yaml_event_t event;
        int outcome = next(reading, &event, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        const yaml_event_type_t type = event.type;
        const bool is_empty = type == YAML_SCALAR_EVENT && event.data.scalar.length == 0;
        if (type == YAML_MAPPING_START_EVENT && !done) {
            done = true;
            outcome = read_mapping(reading, err);
        } else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
                   type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT && !is_empty) {
            outcome = fail_line(reading, event.start_mark.line, err,
                                "expected lines of the form 'name: value'", "", "");
        }
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT || outcome != STELE_OK) {
            return outcome;
        }
    }
}

int stele_config_add_yaml(struct stele_config *config, const char *path, struct stele_bytes yaml,
                          struct stele_error *err)
{
    struct reading reading = {.config = config, .path = path};
    if (yaml_parser_initialize(&reading.parser) != 1) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%.120s: no memory", path);
    }
    yaml_parser_set_input_string(&reading.parser, yaml.data, yaml.size);
    (void)snprintf(config->path, sizeof config->path, "%s", path);
    const int outcome = read_stream(&reading, err);
    yaml_parser_delete(&reading.parser);
    return outcome;
}

static int fail_file(struct stele_error *err, const char *path, int os_errno)
{
    char words[128];
    const int outcome = os_errno == ENOENT   ? STELE_NOT_FOUND
                        : os_errno == EACCES ? STELE_E_PERMISSION
                                             : STELE_E_IO;
    return stele_fail(err, outcome, os_errno, "read %.300s: %s", path,
                      strerror_r(os_errno, words, sizeof words));
}

int stele_config_add_file(struct stele_config *config, const char *path, struct stele_error *err)
{
    FILE *const file = fopen(path, "rbe");
    if (file == NULL) {
        return fail_file(err, path, errno);
    }
    uint8_t *const bytes = stele_allocate(config->alloc, FILE_SIZE_MAX);
    int outcome = STELE_E_NO_MEMORY;
    if (bytes != NULL) {
        const size_t size = fread(bytes, 1, FILE_SIZE_MAX, file);
        if (ferror(file) != 0) {
            outcome = fail_file(err, path, errno);
        } else if (size == FILE_SIZE_MAX) {
            outcome = stele_fail(err, STELE_E_INVALID, 0, "%.300s is larger than 1 MiB", path);
        } else {
            outcome = stele_config_add_yaml(config, path,
                                            (struct stele_bytes){.data = bytes, .size = size}, err);
        }
        explicit_bzero(bytes, size);
    }
    stele_release(config->alloc, bytes, FILE_SIZE_MAX);
    (void)fclose(file);
    return outcome;
}

/* ---- Together ---- */

int stele_config_check(const struct stele_config *config, struct stele_error *err)
{
    const char *const certificate = stele_config_text(config, STELE_SETTING_TLS_CERTIFICATE);
    const char *const key = stele_config_text(config, STELE_SETTING_TLS_KEY);
    const char *const ca = stele_config_text(config, STELE_SETTING_TLS_CLIENT_CA);
    if ((certificate == NULL) != (key == NULL)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "tls-certificate and tls-key belong together: %s is missing",
                          certificate == NULL ? "tls-certificate" : "tls-key");
    }
    if (ca != NULL && certificate == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "tls-client-ca needs tls-certificate");
    }
    if (stele_config_flag(config, STELE_SETTING_TLS_CLIENT_REQUIRED) && ca == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "tls-client-required needs tls-client-ca");
    }
    if (stele_config_number(config, STELE_SETTING_EVENT_SIZE_MAX) >
        stele_config_number(config, STELE_SETTING_APPEND_SIZE_MAX)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "event-size-max is above append-size-max: no such event could be stored");
    }
    return STELE_OK;
}

/* ---- Looking ---- */

const char *stele_config_text(const struct stele_config *config, enum stele_setting setting)
{
    const char *const text = config->values[setting].text;
    return text[0] == '\0' ? NULL : text;
}

uint64_t stele_config_number(const struct stele_config *config, enum stele_setting setting)
{
    const enum stele_setting_kind kind = rows[setting].kind;
    STELE_ASSERT(kind == STELE_SETTING_KIND_NUMBER || kind == STELE_SETTING_KIND_SIZE ||
                 kind == STELE_SETTING_KIND_DURATION);
    return config->values[setting].number;
}

bool stele_config_flag(const struct stele_config *config, enum stele_setting setting)
{
    STELE_ASSERT(rows[setting].kind == STELE_SETTING_KIND_FLAG);
    return config->values[setting].flag;
}

const char *stele_config_item(const struct stele_config *config, enum stele_setting setting,
                              size_t index)
{
    const struct value *const value = &config->values[setting];
    STELE_ASSERT(rows[setting].kind == STELE_SETTING_KIND_LIST);
    const char *at = value->text;
    if (index >= value->items) {
        return NULL;
    }
    for (; index > 0; index--) {
        at += strlen(at) + 1;
    }
    return at;
}

enum stele_config_source stele_config_source(const struct stele_config *config,
                                             enum stele_setting setting)
{
    return config->values[setting].source;
}

/* ---- Printing ---- */

struct printer {
    struct stele_alloc *alloc;
    struct stele_buf *buf;
    int outcome;
};

static void out_bytes(struct printer *printer, const char *bytes, size_t size)
{
    if (printer->outcome == STELE_OK) {
        printer->outcome =
            stele_buf_append(printer->buf, printer->alloc,
                             (struct stele_bytes){.data = (const uint8_t *)bytes, .size = size});
    }
}

static void out(struct printer *printer, const char *text)
{
    out_bytes(printer, text, strlen(text));
}

/* What YAML 1.1 takes for the end of a line, or does not take at all, and what ends the scalar. */
static bool needs_escape(uint32_t point)
{
    return point < 0x20 || point == '"' || point == '\\' || (point >= 0x7f && point < 0xa0) ||
           point == 0x2028 || point == 0x2029 || point == 0xfeff || point == 0xfffe ||
           point == 0xffff;
}

/* A double-quoted scalar: any UTF-8 comes back as it was. */
static void out_quoted(struct printer *printer, const char *text)
{
    out(printer, "\"");
    for (size_t size = 0; *text != '\0'; text += size) {
        uint32_t point = 0;
        char escape[16];
        size = stele_utf8_decode(stele_bytes_of_text(text), &point);
        if (size > 0 && !needs_escape(point)) {
            out_bytes(printer, text, size);
            continue;
        }
        (void)snprintf(escape, sizeof escape, "\\u%04x",
                       size > 0 ? point : (unsigned)(unsigned char)*text);
        out(printer, escape);
        size = size > 0 ? size : 1;
    }
    out(printer, "\"");
}

static void out_value(struct printer *printer, const struct stele_config *config,
                      enum stele_setting setting)
{
    const struct value *const value = &config->values[setting];
    switch (rows[setting].kind) {
    case STELE_SETTING_KIND_FLAG:
        out(printer, value->flag ? "true" : "false");
        break;
    case STELE_SETTING_KIND_LIST:
        out(printer, "[");
        for (size_t i = 0; i < value->items; i++) {
            out(printer, i > 0 ? ", " : "");
            out_quoted(printer, stele_config_item(config, setting, i));
        }
        out(printer, "]");
        break;
    case STELE_SETTING_KIND_TEXT:
        out_quoted(printer, value->text);
        break;
    case STELE_SETTING_KIND_NUMBER:
    case STELE_SETTING_KIND_SIZE:
    case STELE_SETTING_KIND_DURATION:
    case STELE_SETTING_KIND_CHOICE:
        out(printer, value->text);
        break;
    case STELE_SETTING_KIND_SECRET:
        break;
    }
}

static void out_source(struct printer *printer, const struct stele_config *config,
                       enum stele_setting setting)
{
    const struct value *const value = &config->values[setting];
    char text[640] = "default";
    char variable[64];
    if (value->source == STELE_CONFIG_FILE) {
        (void)snprintf(text, sizeof text, "%s, line %u", config->path, value->line);
    } else if (value->source == STELE_CONFIG_ENVIRONMENT) {
        stele_config_variable(setting, variable);
        (void)snprintf(text, sizeof text, "environment, %s", variable);
    } else if (value->source == STELE_CONFIG_FLAG) {
        (void)snprintf(text, sizeof text, "command line, --%s", rows[setting].name);
    }
    out(printer, "  # ");
    for (char *at = text; *at != '\0'; at++) {
        *at = (char)((unsigned char)*at < 0x20 ? '?' : *at); /* A comment is one line. */
    }
    out(printer, text);
    out(printer, "\n");
}

int stele_config_print(const struct stele_config *config, struct stele_buf *buf,
                       struct stele_error *err)
{
    struct printer printer = {.alloc = config->alloc, .buf = buf, .outcome = STELE_OK};
    for (int i = 0; i < STELE_SETTING_COUNT; i++) {
        const enum stele_setting setting = (enum stele_setting)i;
        const bool is_secret = rows[i].kind == STELE_SETTING_KIND_SECRET;
        out(&printer, is_secret ? "# " : "");
        out(&printer, rows[i].name);
        out(&printer, ": ");
        if (is_secret) {
            out(&printer, stele_config_text(config, setting) != NULL ? "(hidden)" : "(not set)");
        }
        out_value(&printer, config, setting);
        out_source(&printer, config, setting);
    }
    return printer.outcome == STELE_OK
               ? STELE_OK
               : stele_fail(err, printer.outcome, 0, "print the configuration: no memory");
}

/* ---- Documents ---- */

static const char *value_form(const struct stele_setting_row *row)
{
    return row->argument != NULL ? row->argument : "true|false";
}

int stele_config_document_markdown(struct stele_alloc *alloc, struct stele_buf *buf)
{
    struct printer printer = {.alloc = alloc, .buf = buf, .outcome = STELE_OK};
    out(&printer, "| setting | value | default | what it is |\n|---|---|---|---|\n");
    for (size_t i = 0; i < STELE_SETTING_COUNT; i++) {
        const struct stele_setting_row *const row = &rows[i];
        out(&printer, "| `");
        out(&printer, row->name);
        out(&printer, "` | ");
        for (const char *at = value_form(row); *at != '\0'; at++) {
            out(&printer, *at == '|' ? "\\" : "");
            out_bytes(&printer, at, 1);
        }
        out(&printer, " | ");
        if (row->otherwise[0] != '\0') {
            out(&printer, "`");
            out(&printer, row->otherwise);
            out(&printer, "`");
        }
        out(&printer, " | ");
        out(&printer, row->help);
        out(&printer, row->kind == STELE_SETTING_KIND_SECRET ? " (no flag)" : "");
        out(&printer, " |\n");
    }
    return printer.outcome;
}

/* roff: a hyphen that is a minus, a backslash, and a dot or quote at the start of a line. */
static void out_roff(struct printer *printer, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '-') {
            out(printer, "\\-");
        } else if (*text == '\\') {
            out(printer, "\\e");
        } else {
            out_bytes(printer, text, 1);
        }
    }
}

int stele_config_document_man(struct stele_alloc *alloc, struct stele_buf *buf)
{
    struct printer printer = {.alloc = alloc, .buf = buf, .outcome = STELE_OK};
    for (size_t i = 0; i < STELE_SETTING_COUNT; i++) {
        const struct stele_setting_row *const row = &rows[i];
        out(&printer, ".TP\n");
        out(&printer, row->argument != NULL ? ".BI " : ".B ");
        if (row->kind != STELE_SETTING_KIND_SECRET) {
            out(&printer, "\\-\\-");
        }
        out_roff(&printer, row->name);
        if (row->argument != NULL) {
            out(&printer, " \" ");
            out_roff(&printer, row->argument);
            out(&printer, "\"");
        }
        out(&printer, "\n\\&");
        out_roff(&printer, row->help);
        if (row->otherwise[0] != '\0') {
            out(&printer, " (default: ");
            out_roff(&printer, row->otherwise);
            out(&printer, ")");
        }
        if (row->kind == STELE_SETTING_KIND_SECRET) {
            out(&printer, "; in the file or the environment only");
        }
        out(&printer, "\n");
    }
    return printer.outcome;
}
