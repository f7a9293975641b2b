/* Input, line by line, with a bound on how long a line may be. */
#ifndef STELE_CLI_LINES_H
#define STELE_CLI_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stele.h>

/* 16 MiB of data, every byte of it written as \u0000, and room for the rest. */
#define STELE_CLI_LINE_SIZE_MAX ((size_t)128 * 1024 * 1024)

struct stele_cli_lines {
    int fd;
    const char *name; /* For messages: "events.jsonl", "standard input". */
    char *buffer;
    size_t buffer_size;
    size_t start; /* Of what is not handed out yet. */
    size_t end;
    size_t searched; /* From start: no line end in so many bytes. */
    bool at_end;     /* The file has no more than what the buffer holds. */
    uint64_t number; /* Of the last line handed out, from 1. */
    uint64_t bytes;  /* Handed out so far. */
};

/* path "-" is standard input. Tells and returns an exit code, or STELE_CLI_OK. */
int stele_cli_lines_open(struct stele_cli_lines *lines, const char *path);
void stele_cli_lines_close(struct stele_cli_lines *lines);

/* The next line without its end, valid until the next call.
 *
 * STELE_OK; STELE_END: no more; STELE_TIMED_OUT: interrupted by a signal; STELE_E_LIMIT,
 * STELE_E_IO: told already. */
int stele_cli_lines_next(struct stele_cli_lines *lines, struct stele_text *out_line);

/* 1: the next call will not have to wait for input. */
bool stele_cli_lines_at_hand(struct stele_cli_lines *lines);

/* The whole of a file, in memory that main() releases; a zero stands behind it. Tells and returns
 * an exit code, or STELE_CLI_OK. */
int stele_cli_read_file(const char *path, size_t size_max, struct stele_text *out_content);

#endif
