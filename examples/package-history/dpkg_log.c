#include "dpkg_log.h"

#include "../common/example.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* ---- Reading ----------------------------------------------------------------------------- */

/* gzread() hands out files that are not packed as they are. */
static bool read_file(const char *path, struct text *out_text)
{
    gzFile const file = gzopen(path, "re");
    if (file == NULL) {
        if (errno == ENOENT) {
            return false;
        }
        example_die("%s: %s", path, strerror(errno));
    }
    char buffer[65536];
    int size = 0;
    while ((size = gzread(file, buffer, sizeof buffer)) > 0) {
        text_add(out_text, buffer, (size_t)size);
    }
    int error = Z_OK;
    const char *const words = gzerror(file, &error);
    if (size < 0) {
        example_die("%s: %s", path, words);
    }
    if (gzclose(file) != Z_OK) {
        example_die("%s ends in the middle of what gzip has packed", path);
    }
    return true;
}

/* ---- Time -------------------------------------------------------------------------------- */

static bool two_digits(const char *text, int *out_value)
{
    if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9') {
        return false;
    }
    *out_value = (text[0] - '0') * 10 + (text[1] - '0');
    return true;
}

/* "2026-11-21 05:01:33 " in front of a line. In autumn an hour comes twice: then the later one is
 * taken if the earlier one would go back behind the line before. */
static bool parse_time(const char *text, int64_t previous_us, int64_t *out_time_us)
{
    struct tm parts = {.tm_isdst = -1};
    int century = 0;
    int year = 0;
    if (strlen(text) < 20 || text[4] != '-' || text[7] != '-' || text[10] != ' ' ||
        text[13] != ':' || text[16] != ':' || text[19] != ' ' || !two_digits(text, &century) ||
        !two_digits(text + 2, &year) || !two_digits(text + 5, &parts.tm_mon) ||
        !two_digits(text + 8, &parts.tm_mday) || !two_digits(text + 11, &parts.tm_hour) ||
        !two_digits(text + 14, &parts.tm_min) || !two_digits(text + 17, &parts.tm_sec)) {
        return false;
    }
    parts.tm_year = century * 100 + year - 1900;
    parts.tm_mon--;
    int64_t best_us = INT64_MIN;
    for (int summer = 1; summer >= 0; summer--) {
        struct tm guess = parts;
        guess.tm_isdst = summer;
        const int64_t guess_us = (int64_t)mktime(&guess) * 1000000;
        if (guess.tm_hour != parts.tm_hour || guess.tm_isdst != summer) {
            continue; /* Not how clocks were set then. */
        }
        if (best_us == INT64_MIN || best_us < previous_us) {
            best_us = guess_us;
        }
    }
    if (best_us == INT64_MIN) {
        best_us = (int64_t)mktime(&parts) * 1000000; /* The hour that spring leaves out. */
    }
    *out_time_us = best_us;
    return true;
}

/* ---- Lines ------------------------------------------------------------------------------- */

/* Cuts the next word off. */
static char *next_word(char **rest)
{
    char *const word = *rest;
    char *const space = strchr(word, ' ');
    if (space == NULL) {
        *rest = word + strlen(word);
    } else {
        *space = '\0';
        *rest = space + 1;
    }
    return word;
}

static const char *version_or_none(const char *word)
{
    return strcmp(word, "<none>") == 0 ? "" : word;
}

/* "curl:amd64", in the letters that dpkg allows: a name has no colon in it. */
static bool split_package(char *word, struct dpkg_line *line)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-._";
    char *const colon = strchr(word, ':');
    if (colon != NULL) {
        *colon = '\0';
    }
    line->package = word;
    line->arch = colon == NULL ? "" : colon + 1;
    return word[0] != '\0' && word[strspn(word, allowed)] == '\0' &&
           line->arch[strspn(line->arch, allowed)] == '\0';
}

static bool is_action(const char *word)
{
    static const char *const actions[] = {"install", "upgrade", "configure", "trigproc",
                                          "remove",  "purge",   "disappear"};
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(word, actions[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* words is the line after its time, ours to cut. Leaves DPKG_OTHER if it is nothing we know. */
static void parse_words(char *words, struct dpkg_line *line)
{
    char *rest = words;
    const char *const first = next_word(&rest);
    if (strcmp(first, "conffile") == 0) {
        /* The path may have spaces in it; the decision is the last word. */
        char *const space = strrchr(rest, ' ');
        if (space != NULL && rest[0] == '/') {
            *space = '\0';
            line->kind = DPKG_CONFFILE;
            line->package = rest;
            line->state = space + 1;
        }
        return;
    }
    char *const second = next_word(&rest);
    char *const third = next_word(&rest);
    char *const fourth = next_word(&rest);
    if (second[0] == '\0' || third[0] == '\0' || rest[0] != '\0') {
        return;
    }
    if (strcmp(first, "startup") == 0 && fourth[0] == '\0') {
        line->kind = DPKG_STARTUP;
        line->package = second;
        line->version = third;
    } else if (strcmp(first, "status") == 0 && fourth[0] != '\0' && split_package(third, line)) {
        line->kind = DPKG_STATUS;
        line->state = second;
        line->version = version_or_none(fourth);
    } else if (is_action(first) && fourth[0] != '\0' && split_package(second, line)) {
        line->kind = DPKG_ACTION;
        line->state = first;
        line->previous = version_or_none(third);
        line->version = version_or_none(fourth);
    }
}

static void add_line(struct dpkg_log *log, const char *text, char *words, int64_t time_us)
{
    if (log->count == log->room) {
        log->room = log->room == 0 ? 1024 : log->room * 2;
        log->lines = example_realloc(log->lines, log->room * sizeof *log->lines);
    }
    struct dpkg_line *const line = &log->lines[log->count];
    *line = (struct dpkg_line){.time_us = time_us,
                               .text = text,
                               .kind = DPKG_OTHER,
                               .state = "",
                               .package = "",
                               .arch = "",
                               .version = "",
                               .previous = ""};
    parse_words(words, line);
    /* Equal lines have equal times, so they stand within the same second. */
    for (size_t i = log->count; i > 0 && log->lines[i - 1].time_us == time_us; i--) {
        if (strcmp(log->lines[i - 1].text, text) == 0) {
            line->ordinal = log->lines[i - 1].ordinal + 1;
            break;
        }
    }
    log->count++;
}

bool dpkg_log_read(struct dpkg_log *log, const char *path)
{
    struct text whole = {0};
    if (!read_file(path, &whole)) {
        return false;
    }
    log->bytes += whole.size;
    log->files++;
    log->texts = example_realloc(log->texts, log->files * 2 * sizeof *log->texts);
    /* One copy stays as it is, the other is cut into words. */
    char *const texts = whole.data == NULL ? example_copy("", 0) : whole.data;
    char *const words = example_copy(texts, whole.size);
    log->texts[(log->files - 1) * 2] = texts;
    log->texts[(log->files - 1) * 2 + 1] = words;
    size_t at = 0;
    while (at < whole.size) {
        char *const end = memchr(texts + at, '\n', whole.size - at);
        if (end == NULL) {
            break;
        }
        const size_t size = (size_t)(end - texts) - at;
        texts[at + size] = '\0';
        words[at + size] = '\0';
        const int64_t previous_us = log->count == 0 ? 0 : log->lines[log->count - 1].time_us;
        int64_t time_us = 0;
        /* After a power cut a log may hold zeros where a line was to be. */
        if (strlen(texts + at) == size && parse_time(texts + at, previous_us, &time_us)) {
            add_line(log, texts + at, words + at + 20, time_us);
        } else {
            log->unreadable++;
        }
        at += size + 1;
    }
    return true;
}

/* The number in dpkg.log.NUMBER or dpkg.log.NUMBER.gz, 0 for dpkg.log, -1 for anything else. */
static long rotation(const char *name)
{
    if (strncmp(name, "dpkg.log", 8) != 0) {
        return -1;
    }
    if (name[8] == '\0') {
        return 0;
    }
    char *end = NULL;
    const long value = name[8] == '.' ? strtol(name + 9, &end, 10) : -1;
    return value > 0 && (end[0] == '\0' || strcmp(end, ".gz") == 0) ? value : -1;
}

static int is_log(const struct dirent *entry)
{
    return rotation(entry->d_name) >= 0;
}

static int oldest_first(const struct dirent **a, const struct dirent **b)
{
    const long left = rotation((*a)->d_name);
    const long right = rotation((*b)->d_name);
    return left < right ? 1 : left > right ? -1 : 0;
}

void dpkg_log_read_all(struct dpkg_log *log, const char *directory)
{
    struct dirent **entries = NULL;
    const int count = scandir(directory, &entries, is_log, oldest_first);
    for (int i = 0; i < count; i++) {
        struct text path = {0};
        text_addf(&path, "%s/%s", directory, entries[i]->d_name);
        (void)dpkg_log_read(log, path.data);
        text_free(&path);
        free(entries[i]);
    }
    free(entries);
}

void dpkg_log_free(struct dpkg_log *log)
{
    for (size_t i = 0; i < log->files * 2; i++) {
        free(log->texts[i]);
    }
    free(log->texts);
    free(log->lines);
    *log = (struct dpkg_log){0};
}
