#include "ops/log.h"

#include "base/text.h"

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

/* One character, or the escape of it. Returns how many bytes it took, 0: no room. */
static size_t put_character(struct line *line, struct stele_bytes text)
{
    uint32_t code_point = 0;
    const size_t size = stele_utf8_decode(text, &code_point);
    char escape[24];
    if (size == 1 && line->json && (code_point == '"' || code_point == '\\')) {
        (void)snprintf(escape, sizeof escape, "\\%c", (int)code_point);
        return put(line, escape) ? 1 : 0;
    }
    if (size > 0 && !stele_code_point_is_unsafe(code_point)) {
        return put_bytes(line, (const char *)text.data, size) ? size : 0;
    }
    /* JSON reads a text of escapes as their letters: the bytes themselves are not for readers. */
    const size_t taken = size > 0 ? size : 1;
    size_t at = 0;
    for (size_t i = 0; i < taken; i++) {
        at += (size_t)snprintf(escape + at, sizeof escape - at,
                               line->json ? "\\\\x%02x" : "\\x%02x", text.data[i]);
    }
    return put(line, escape) ? taken : 0;
}

static void put_text(struct line *line, const char *text)
{
    struct stele_bytes rest = stele_bytes_of_text(text);
    while (rest.size > 0) {
        const size_t taken = put_character(line, rest);
        if (taken == 0) {
            line->room += 4;
            (void)put(line, "…");
            return;
        }
        rest = stele_bytes_slice(rest, taken, rest.size - taken);
    }
}

static void put_time(struct line *line, int64_t wall_us)
{
    char text[STELE_TIME_SIZE];
    (void)put(line, stele_time_format(wall_us, 3, text) ? text : "");
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
