/* Text: UTF-8, what may be shown on a terminal, base64, numbers, durations, times.
 *
 * Nothing here writes anywhere or knows about events. */
#ifndef STELE_CLI_TEXT_H
#define STELE_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stele.h>

/* The code point at the start of text, and its size in bytes; size 0: this is no UTF-8 (overlong
 * forms, surrogates and everything above U+10FFFF included). text is not empty. */
uint32_t stele_cli_utf8_decode(struct stele_text text, size_t *out_size);
bool stele_cli_utf8_valid(struct stele_text text);
/* Writes a code point, at most 4 bytes; returns how many. */
size_t stele_cli_utf8_encode(uint32_t code_point, char *to);

/* 1: a terminal might do something else with it than show it: control characters (C0, DEL, C1),
 * and those that reorder or hide text around them. */
bool stele_cli_code_point_unsafe(uint32_t code_point);

/* The safe form of the piece of text that starts at text (not empty): writes at most 12 bytes to
 * `to`, sets *out_size, and returns how many bytes of text it stands for. Everything a terminal
 * would obey instead of show, and everything that is no UTF-8, comes out as an escape. */
size_t stele_cli_escape_piece(struct stele_text text, char to[12], size_t *out_size);
/* Columns that the safe form takes, counting a code point as one. */
size_t stele_cli_escaped_width(struct stele_text text);

static inline struct stele_text stele_cli_text(const char *text)
{
    return (struct stele_text){text, __builtin_strlen(text)};
}
bool stele_cli_text_is(struct stele_text text, const char *other);
bool stele_cli_starts_with(const char *text, const char *prefix);

/* Base64 of RFC 4648 section 4, with padding. encode writes base64_size(size) bytes. decode writes
 * at most size / 4 * 3 bytes and returns false for anything that encode would not have written. */
size_t stele_cli_base64_size(size_t size);
void stele_cli_base64_encode(const void *data, size_t size, char *to);
bool stele_cli_base64_decode(struct stele_text text, uint8_t *to, size_t *out_size);

/* A whole number, decimal digits only. */
enum stele_cli_number { STELE_CLI_NUMBER_OK, STELE_CLI_NUMBER_NONE, STELE_CLI_NUMBER_TOO_LARGE };
enum stele_cli_number stele_cli_number(const char *text, uint64_t *out_number);

/* "90", "90s", "15m", "12h", "7d", "2w" in seconds. */
enum stele_cli_number stele_cli_duration(const char *text, uint64_t *out_seconds);

/* "2026-11-20T15:00:00.25+01:00" (RFC 3339) in microseconds since 1970. The zone must be there,
 * because a guess would be an hour wrong without anybody noticing. */
bool stele_cli_time_parse(const char *text, int64_t *out_us);

#define STELE_CLI_TIME_SIZE 32
/* "2026-11-20T15:00:00.250000Z". false: the year does not fit into four digits. */
bool stele_cli_time_format(int64_t time_us, char to[STELE_CLI_TIME_SIZE]);

/* "1.5 GiB". */
void stele_cli_size_format(uint64_t size, char to[STELE_CLI_TIME_SIZE]);

/* The distance of two words: insertions, deletions, replacements, swapped neighbours. Only for
 * words of at most 31 bytes; longer ones are infinitely far. */
size_t stele_cli_distance(const char *a, const char *b);

#endif
