#include "ops/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const levels[] = {
    [STELE_OPS_DEBUG] = "debug",
    [STELE_OPS_INFO] = "info",
    [STELE_OPS_WARNING] = "warning",
    [STELE_OPS_ERROR] = "error",
};

static int64_t real_wall_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void stele_ops_log_init(struct stele_ops_log *log, int fd, const char *format, const char *level)
{
    *log = (struct stele_ops_log){
        .fd = fd, .level = STELE_OPS_INFO, .lines_per_s = 200, .wall_us = real_wall_us};
    log->json = strcmp(format, "json") == 0 || (strcmp(format, "auto") == 0 && isatty(fd) == 0);
    for (size_t i = 0; i < STELE_COUNT_OF(levels); i++) {
        if (strcmp(level, levels[i]) == 0) {
            log->level = (enum stele_ops_level)i;
        }
    }
    (void)pthread_mutex_init(&log->lock, NULL);
}

void stele_ops_log_deinit(struct stele_ops_log *log)
{
    (void)pthread_mutex_destroy(&log->lock);
}

/* ---- One line ---- */

struct line {
    char text[STELE_OPS_LOG_LINE_MAX];
    bool json;
    size_t size;
    size_t room; /* Below the size of text: what has to follow still fits. */
};

static bool put_bytes(struct line *line, const char *bytes, size_t size)
{
    if (size > line->room - line->size) {
        return false;
    }
    memcpy(line->text + line->size, bytes, size);
    line->size += size;
    return true;
}

static bool put(struct line *line, const char *text)
{
    return put_bytes(line, text, strlen(text));
}

/* Bytes of the well-formed UTF-8 character at text, 0 if there is none (RFC 3629, section 4). */
static size_t character_size(const unsigned char *text)
{
    static const struct {
        unsigned char first_min, first_max, second_min, second_max;
        size_t size;
    } forms[] = {
        {0x00, 0x7f, 0, 0xff, 1},    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(forms); i++) {
        if (text[0] < forms[i].first_min || text[0] > forms[i].first_max) {
            continue;
        }
        if (forms[i].size > 1 && (text[1] < forms[i].second_min || text[1] > forms[i].second_max)) {
            return 0;
        }
        for (size_t k = 2; k < forms[i].size; k++) {
            if ((text[k] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return forms[i].size;
    }
    return 0;
}

/* C0, DEL, C1, the line and paragraph separators, and what reorders or hides the text around it. */
static bool is_unsafe(const unsigned char *text, size_t size)
{
    if (size == 1) {
        return text[0] < 0x20 || text[0] == 0x7f;
    }
    if (size == 2) {
        return text[0] == 0xc2 && text[1] < 0xa0;
    }
    if (size == 3 && text[0] == 0xe2) {
        return (text[1] == 0x80 && (text[2] >= 0x8b && text[2] <= 0x8f)) ||
               (text[1] == 0x80 && (text[2] >= 0xa8 && text[2] <= 0xae)) ||
               (text[1] == 0x81 && text[2] >= 0xa0 && text[2] <= 0xaf);
    }
    return size == 3 && text[0] == 0xef && text[1] == 0xbb && text[2] == 0xbf;
}

/* One character, or the escape of it. Returns how many bytes it took, 0: no room. */
static size_t put_character(struct line *line, const unsigned char *text)
{
    const size_t size = character_size(text);
    char escape[24];
    if (size == 1 && line->json && (text[0] == '"' || text[0] == '\\')) {
        (void)snprintf(escape, sizeof escape, "\\%c", text[0]);
        return put(line, escape) ? 1 : 0;
    }
    if (size > 0 && !is_unsafe(text, size)) {
        return put_bytes(line, (const char *)text, size) ? size : 0;
    }
    /* JSON reads a text of escapes as their letters: the bytes themselves are not for readers. */
    const size_t taken = size > 0 ? size : 1;
    size_t at = 0;
    for (size_t i = 0; i < taken; i++) {
        at += (size_t)snprintf(escape + at, sizeof escape - at,
                               line->json ? "\\\\x%02x" : "\\x%02x", text[i]);
    }
    return put(line, escape) ? taken : 0;
}

static void put_text(struct line *line, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at != '\0') {
        const size_t taken = put_character(line, at);
        if (taken == 0) {
            line->room += 4;
            (void)put(line, "…");
            return;
        }
        at += taken;
    }
}

static void put_time(struct line *line, int64_t wall_us)
{
    const time_t seconds = (time_t)(wall_us / 1000000);
    struct tm parts;
    char text[64] = "";
    if (gmtime_r(&seconds, &parts) != NULL) {
        const size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
        (void)snprintf(text + size, sizeof text - size, ".%03dZ", (int)(wall_us / 1000 % 1000));
    }
    (void)put(line, text);
}

static void put_json_member(struct line *line, const char *name, const char *value)
{
    if (line->size + strlen(name) + 64 > line->room) {
        return;
    }
    (void)put(line, ",\"");
    (void)put(line, name);
    (void)put(line, "\":\"");
    put_text(line, value);
    (void)put(line, "\"");
}

static void put_field(struct line *line, const struct stele_ops_field *field)
{
    if (line->size + strlen(field->name) + 64 > line->room) {
        return;
    }
    const bool quoted = field->value[strcspn(field->value, " \"=")] != '\0';
    (void)put(line, " ");
    (void)put(line, field->name);
    (void)put(line, quoted ? "=\"" : "=");
    put_text(line, field->value);
    (void)put(line, quoted ? "\"" : "");
}

static void compose(struct line *line, bool json, int64_t wall_us, const char *level,
                    const char *message, const struct stele_ops_field *fields, size_t count)
{
    line->json = json;
    line->size = 0;
    line->room = sizeof line->text - 16;
    if (json) {
        (void)put(line, "{\"time\":\"");
        put_time(line, wall_us);
        (void)put(line, "\",\"level\":\"");
        (void)put(line, level);
        (void)put(line, "\"");
        put_json_member(line, "message", message);
    } else {
        put_time(line, wall_us);
        (void)put(line, " ");
        (void)put(line, level);
        (void)put(line, " ");
        put_text(line, message);
    }
    for (size_t i = 0; i < count; i++) {
        if (fields[i].value == NULL) {
            continue;
        }
        if (json) {
            put_json_member(line, fields[i].name, fields[i].value);
        } else {
            put_field(line, &fields[i]);
        }
    }
    line->room = sizeof line->text;
    (void)put(line, json ? "}\n" : "\n");
}

/* ---- Writing ---- */

/* Under the lock. Errors are never left out: there are few, or all is lost anyway. */
static bool within_rate(struct stele_ops_log *log, enum stele_ops_level level, int64_t now_us)
{
    if (log->lines_per_s == 0 || level >= STELE_OPS_ERROR) {
        return true;
    }
    const int64_t each_us = 1000000 / log->lines_per_s;
    if (log->debt_us < now_us || log->debt_us > now_us + 20000000) {
        log->debt_us = now_us; /* Also when the clock was set back. */
    }
    if (log->debt_us - now_us > 10000000 - each_us) {
        log->left_out++;
        return false;
    }
    log->debt_us += each_us;
    return true;
}

void stele_ops_log_write(struct stele_ops_log *log, enum stele_ops_level level, const char *message,
                         const struct stele_ops_field *fields, size_t fields_count)
{
    struct line line;
    char left_out[24] = "";
    if (level < log->level) {
        return;
    }
    const int64_t now_us = log->wall_us();
    (void)pthread_mutex_lock(&log->lock);
    const bool write_it = within_rate(log, level, now_us);
    if (write_it && log->left_out > 0) {
        (void)snprintf(left_out, sizeof left_out, "%llu", (unsigned long long)log->left_out);
        log->left_out = 0;
    }
    (void)pthread_mutex_unlock(&log->lock);
    if (!write_it) {
        return;
    }
    struct stele_ops_field all[9];
    size_t count = fields_count > 8 ? 8 : fields_count;
    if (count > 0) {
        memcpy(all, fields, count * sizeof all[0]);
    }
    if (left_out[0] != '\0') {
        all[count++] = (struct stele_ops_field){"lines_left_out", left_out};
    }
    compose(&line, log->json, now_us, levels[level], message, all, count);
    /* Nobody can be told that the log cannot be written. */
    ssize_t written = 0;
    do {
        written = write(log->fd, line.text, line.size);
    } while (written < 0 && errno == EINTR);
}
