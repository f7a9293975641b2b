#include "cli/out.h"

#include "cli/cli.h"
#include "cli/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    char data[1 << 16];
    size_t size;
    int error; /* errno of the write that failed; 0: none has. */
    bool terminal;
    bool color;
    bool done; /* See stele_cli_out_done(). */
} out;

/* A closed descriptor is taken in the direction that the program does not use, so that using it
 * fails as it would have. */
static void take_descriptor(int fd, int flags)
{
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) {
        return;
    }
    const int taken = open("/dev/null", flags);
    if (taken >= 0 && taken != fd) {
        (void)dup2(taken, fd);
        (void)close(taken);
    }
}

void stele_cli_out_init(void)
{
    take_descriptor(STDIN_FILENO, O_WRONLY);
    take_descriptor(STDOUT_FILENO, O_RDONLY);
    take_descriptor(STDERR_FILENO, O_RDONLY);

    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    out.terminal = isatty(STDOUT_FILENO) == 1;
    out.color = out.terminal && (no_color == NULL || *no_color == '\0') && term != NULL &&
                strcmp(term, "dumb") != 0;
}

static void write_all(const char *data, size_t size)
{
    while (size > 0 && out.error == 0) {
        const ssize_t written = write(STDOUT_FILENO, data, size);
        if (written < 0 && errno != EINTR) {
            out.error = errno;
        } else if (written > 0) {
            data += written;
            size -= (size_t)written;
        }
    }
}

void stele_cli_out_flush(void)
{
    write_all(out.data, out.size);
    out.size = 0;
}

void stele_cli_out_bytes(const void *data, size_t size)
{
    if (size > sizeof out.data - out.size) {
        stele_cli_out_flush();
    }
    if (size > sizeof out.data) {
        write_all(data, size);
        return;
    }
    if (size > 0) {
        memcpy(out.data + out.size, data, size);
        out.size += size;
    }
}

void stele_cli_out(const char *text)
{
    stele_cli_out_bytes(text, strlen(text));
}

void stele_cli_outf(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    const int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* Formats are ours and short; names and data go through the functions that escape. */
    if (size > 0) {
        stele_cli_out_bytes(text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
    }
}

static void pad(size_t used, size_t width)
{
    for (; used < width; used++) {
        stele_cli_out_bytes(" ", 1);
    }
}

void stele_cli_out_safe(struct stele_text text, size_t width)
{
    const size_t used = width > 0 ? stele_cli_escaped_width(text) : 0;
    while (text.size > 0) {
        char piece[12];
        size_t piece_size = 0;
        const size_t size = stele_cli_escape_piece(text, piece, &piece_size);
        stele_cli_out_bytes(piece, piece_size);
        text.data += size;
        text.size -= size;
    }
    pad(used, width);
}

void stele_cli_out_color(enum stele_cli_color color)
{
    static const char *const codes[] = {
        [STELE_CLI_PLAIN] = "\033[0m",   [STELE_CLI_DIM] = "\033[2m",
        [STELE_CLI_BOLD] = "\033[1m",    [STELE_CLI_GREEN] = "\033[32m",
        [STELE_CLI_YELLOW] = "\033[33m", [STELE_CLI_CYAN] = "\033[36m",
        [STELE_CLI_RED] = "\033[31m",
    };
    if (out.color) {
        stele_cli_out(codes[color]);
    }
}

void stele_cli_out_colored(enum stele_cli_color color, const char *text)
{
    stele_cli_out_color(color);
    stele_cli_out(text);
    stele_cli_out_color(STELE_CLI_PLAIN);
}

/* Code points above U+FFFF take two escapes in JSON. */
static void out_json_escape(uint32_t c)
{
    if (c >= 0x10000) {
        stele_cli_outf("\\u%04x\\u%04x", (unsigned)(0xd7c0 + (c >> 10)),
                       (unsigned)(0xdc00 + (c & 0x3ff)));
        return;
    }
    stele_cli_outf("\\u%04x", (unsigned)c);
}

static void out_json_code_point(uint32_t c, const char *utf8, size_t size)
{
    static const char short_escapes[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    for (size_t i = 0; i + 1 < sizeof short_escapes; i += 2) {
        if (c == (uint32_t)short_escapes[i]) {
            stele_cli_out_bytes((char[]){'\\', short_escapes[i + 1]}, 2);
            return;
        }
    }
    if (c < 0x20 || c == 0x7f || (out.terminal && stele_code_point_is_unsafe(c))) {
        out_json_escape(c);
        return;
    }
    stele_cli_out_bytes(utf8, size);
}

void stele_cli_out_json_text(struct stele_text text)
{
    stele_cli_out_bytes("\"", 1);
    while (text.size > 0) {
        uint32_t c = 0;
        size_t size = stele_utf8_decode(stele_cli_bytes(text), &c);
        if (size == 0) {
            stele_cli_out("\xef\xbf\xbd");
            size = 1;
        } else {
            out_json_code_point(c, text.data, size);
        }
        text.data += size;
        text.size -= size;
    }
    stele_cli_out_bytes("\"", 1);
}

/* In valid JSON, raw control characters below 0x20 are white space between parts, and everything
 * else that is unsafe stands inside a string, where its escape means the same. */
static void out_json_value(struct stele_text json, bool safe)
{
    while (json.size > 0) {
        size_t plain = 0;
        while (plain < json.size && (uint8_t)json.data[plain] >= 0x20 &&
               (!safe || (uint8_t)json.data[plain] < 0x7f)) {
            plain++;
        }
        stele_cli_out_bytes(json.data, plain);
        json.data += plain;
        json.size -= plain;
        if (json.size == 0) {
            return;
        }
        uint32_t c = 0;
        size_t size = stele_utf8_decode(stele_cli_bytes(json), &c);
        if (size == 0 || c < 0x20) {
            stele_cli_out_bytes(" ", 1);
            size = 1;
        } else if (safe && stele_code_point_is_unsafe(c)) {
            out_json_escape(c);
        } else {
            stele_cli_out_bytes(json.data, size);
        }
        json.data += size;
        json.size -= size;
    }
}

void stele_cli_out_json_raw(struct stele_text json)
{
    out_json_value(json, out.terminal);
}

void stele_cli_out_json_safe(struct stele_text json)
{
    out_json_value(json, true);
}

void stele_cli_out_done(void)
{
    out.done = true;
}

bool stele_cli_out_ok(void)
{
    return out.error == 0;
}

int stele_cli_out_finish(int code)
{
    stele_cli_out_flush();
    if (out.error == 0) {
        return code;
    }
    if (out.error == EPIPE) {
        /* The reader has seen enough (`| head`). That is its right and needs no words. */
        return code == STELE_CLI_OK && !out.done ? STELE_CLI_CLOSED : code;
    }
    const bool is_full = out.error == ENOSPC || out.error == EDQUOT;
    const int exit_code = is_full ? STELE_CLI_NO_SPACE : STELE_CLI_IO;
    (void)stele_cli_fail(exit_code, is_full ? "no-space" : "io", "write to standard output: %s; %s",
                         strerror(out.error),
                         out.done ? "what was asked for has been done, only its result is not shown"
                                  : "the output is not complete");
    return code == STELE_CLI_OK ? exit_code : code;
}
