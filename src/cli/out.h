/* Standard output: buffered, coloured and aligned for people, exact for programs.
 *
 * A write that fails is remembered; nothing more is written after it. Commands that run for long
 * ask stele_cli_out_ok() now and then; main() turns what happened into an exit code. Used by one
 * thread at a time. */
#ifndef STELE_CLI_OUT_H
#define STELE_CLI_OUT_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stele.h>

enum stele_cli_color {
    STELE_CLI_PLAIN,
    STELE_CLI_DIM,
    STELE_CLI_BOLD,
    STELE_CLI_GREEN,
    STELE_CLI_YELLOW,
    STELE_CLI_CYAN,
    STELE_CLI_RED,
};

/* Looks whether standard output is a terminal and wants colour (NO_COLOR, TERM=dumb). Also makes
 * sure that descriptors 0, 1 and 2 are taken: a store's file must never become number 1. */
void stele_cli_out_init(void);

void stele_cli_out_bytes(const void *data, size_t size);
void stele_cli_out(const char *text);
STELE_PRINTF(1, 2)
void stele_cli_outf(const char *format, ...);

/* Text from outside, for people: escaped, always, also in a pipe, so that one thing stays on one
 * line. Padded with spaces to width columns. */
void stele_cli_out_safe(struct stele_text text, size_t width);
/* Starts a colour, or ends it (STELE_CLI_PLAIN); nothing where there is no colour. */
void stele_cli_out_color(enum stele_cli_color color);
/* A text of our own in a colour. */
void stele_cli_out_colored(enum stele_cli_color color, const char *text);

/* A JSON string with its quotes. What is no UTF-8 becomes U+FFFD. */
void stele_cli_out_json_text(struct stele_text text);
/* A JSON text that is valid already, on one line: line ends between its parts become spaces. On a
 * terminal, what a terminal would obey is escaped. */
void stele_cli_out_json_raw(struct stele_text json);
/* As above, for people: escaped in a pipe, too. */
void stele_cli_out_json_safe(struct stele_text json);

/* From now on what is written is only about something that has been done and cannot be undone. If
 * it cannot be written, that is told differently, and a reader that went away changes nothing. */
void stele_cli_out_done(void);

void stele_cli_out_flush(void);
/* 0: a write failed, or nobody reads any more. */
bool stele_cli_out_ok(void);
/* Flushes, says what went wrong with standard output if something did, and returns the exit code
 * of the process: code, unless it was 0 and the output did not arrive. */
int stele_cli_out_finish(int code);

#endif
