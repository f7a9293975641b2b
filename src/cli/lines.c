#include "cli/lines.h"

#include "cli/cli.h"
#include "cli/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_SIZE_FIRST ((size_t)256 * 1024)

static int open_input(const char *path, int *out_fd, const char **out_name)
{
    if (strcmp(path, "-") == 0) {
        *out_fd = STDIN_FILENO;
        *out_name = "standard input";
        return STELE_CLI_OK;
    }
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        const int error = errno;
        const int code = error == ENOENT   ? STELE_CLI_NOT_FOUND
                         : error == EACCES ? STELE_CLI_PERMISSION
                                           : STELE_CLI_IO;
        return stele_cli_fail(code, "input", "open %s: %s; check the path", path, strerror(error));
    }
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
        (void)close(fd);
        return stele_cli_fail(STELE_CLI_IO, "input", "read %s: it is a directory; give a file",
                              path);
    }
    *out_fd = fd;
    *out_name = path;
    return STELE_CLI_OK;
}

int stele_cli_lines_open(struct stele_cli_lines *lines, const char *path)
{
    *lines = (struct stele_cli_lines){.fd = -1};
    const int code = open_input(path, &lines->fd, &lines->name);
    if (code != STELE_CLI_OK) {
        return code;
    }
    lines->buffer_size = BUFFER_SIZE_FIRST;
    lines->buffer = stele_cli_alloc(lines->buffer_size);
    return STELE_CLI_OK;
}

void stele_cli_lines_close(struct stele_cli_lines *lines)
{
    if (lines->fd > STDIN_FILENO) {
        (void)close(lines->fd);
    }
    free(lines->buffer);
    lines->buffer = NULL;
    lines->fd = -1;
}

static int line_too_long(const struct stele_cli_lines *lines)
{
    (void)stele_cli_fail(STELE_CLI_LIMIT, "limit",
                         "%s:%llu: the line is longer than %zu bytes; no event can be that large",
                         lines->name, (unsigned long long)(lines->number + 1),
                         STELE_CLI_LINE_SIZE_MAX);
    return STELE_E_LIMIT;
}

/* Makes room and reads once. */
static int fill(struct stele_cli_lines *lines)
{
    if (lines->start > 0) {
        memmove(lines->buffer, lines->buffer + lines->start, lines->end - lines->start);
        lines->end -= lines->start;
        lines->start = 0;
    }
    if (lines->end == lines->buffer_size) {
        if (lines->buffer_size >= STELE_CLI_LINE_SIZE_MAX) {
            return line_too_long(lines);
        }
        lines->buffer_size *= 2;
        lines->buffer = stele_cli_realloc(lines->buffer, lines->buffer_size);
    }
    const ssize_t got =
        read(lines->fd, lines->buffer + lines->end, lines->buffer_size - lines->end);
    if (got < 0 && errno == EINTR) {
        return STELE_TIMED_OUT;
    }
    if (got < 0) {
        (void)stele_cli_fail(STELE_CLI_IO, "io", "read %s: %s; nothing after line %llu was read",
                             lines->name, strerror(errno), (unsigned long long)lines->number);
        return STELE_E_IO;
    }
    lines->at_end = got == 0;
    lines->end += (size_t)got;
    return STELE_OK;
}

/* The line end in what has been read, or NULL. */
static const char *find_end(struct stele_cli_lines *lines)
{
    const char *const from = lines->buffer + lines->start + lines->searched;
    const size_t size = lines->end - lines->start - lines->searched;
    const char *const end = size > 0 ? memchr(from, '\n', size) : NULL;
    lines->searched = end == NULL ? lines->end - lines->start : lines->searched;
    return end;
}

int stele_cli_lines_next(struct stele_cli_lines *lines, struct stele_text *out_line)
{
    const char *end = find_end(lines);
    while (end == NULL && !lines->at_end) {
        const int outcome = stele_cli_interrupted() ? STELE_TIMED_OUT : fill(lines);
        const bool go_on = outcome == STELE_TIMED_OUT && !stele_cli_interrupted();
        if (outcome != STELE_OK && !go_on) {
            return outcome;
        }
        end = find_end(lines);
    }
    if (end == NULL && lines->start == lines->end) {
        return STELE_END;
    }
    const char *const start = lines->buffer + lines->start;
    const size_t size = end != NULL ? (size_t)(end - start) : lines->end - lines->start;
    *out_line = (struct stele_text){start, size};
    lines->start += size + (end != NULL);
    lines->searched = 0;
    lines->number++;
    lines->bytes += size + (end != NULL);
    return STELE_OK;
}

bool stele_cli_lines_at_hand(struct stele_cli_lines *lines)
{
    if (lines->at_end || find_end(lines) != NULL) {
        return true;
    }
    struct pollfd poll_fd = {.fd = lines->fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) > 0;
}

int stele_cli_read_file(const char *path, size_t size_max, struct stele_text *out_content)
{
    int fd = -1;
    const char *name = NULL;
    int code = open_input(path, &fd, &name);
    if (code != STELE_CLI_OK) {
        return code;
    }
    size_t room = 64 * 1024;
    size_t size = 0;
    char *content = stele_cli_alloc(room + 1);
    for (;;) {
        const ssize_t got = read(fd, content + size, room - size);
        if (got < 0 && errno != EINTR) {
            code = stele_cli_fail(STELE_CLI_IO, "io", "read %s: %s; check the file", name,
                                  strerror(errno));
            break;
        }
        if (got == 0) {
            break;
        }
        size += got > 0 ? (size_t)got : 0;
        if (size > size_max) {
            code = stele_cli_fail(STELE_CLI_LIMIT, "limit",
                                  "read %s: it has more than %zu bytes; give less", name, size_max);
            break;
        }
        if (size == room) {
            room *= 2;
            content = stele_cli_realloc(content, room + 1);
        }
    }
    if (fd != STDIN_FILENO) {
        (void)close(fd);
    }
    if (code == STELE_CLI_OK) {
        char *const kept = stele_cli_keep(size + 1);
        memcpy(kept, content, size);
        *out_content = (struct stele_text){kept, size};
    }
    free(content);
    return code;
}
