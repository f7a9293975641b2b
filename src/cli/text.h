/* Text: what may be shown on a terminal, numbers, durations, sizes. UTF-8, base64 and times are in
 * base/text.h.
 *
 * Nothing here writes anywhere or knows about events. */
#ifndef STELE_CLI_TEXT_H
#define STELE_CLI_TEXT_H

#include "base/text.h"

#include <stele.h>

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
static inline struct stele_bytes stele_cli_bytes(struct stele_text text)
{
    return (struct stele_bytes){.data = (const uint8_t *)text.data, .size = text.size};
}
static inline bool stele_cli_is_utf8(struct stele_text text)
{
    return stele_utf8_is_valid(stele_cli_bytes(text));
}
bool stele_cli_text_is(struct stele_text text, const char *other);
bool stele_cli_starts_with(const char *text, const char *prefix);

/* A whole number, decimal digits only. */
enum stele_cli_number { STELE_CLI_NUMBER_OK, STELE_CLI_NUMBER_NONE, STELE_CLI_NUMBER_TOO_LARGE };
enum stele_cli_number stele_cli_number(const char *text, uint64_t *out_number);

/* "90", "90s", "15m", "12h", "7d", "2w" in seconds. */
enum stele_cli_number stele_cli_duration(const char *text, uint64_t *out_seconds);

#define STELE_CLI_SIZE_SIZE 32
/* "1.5 GiB". */
void stele_cli_size_format(uint64_t size, char to[STELE_CLI_SIZE_SIZE]);

/* The distance of two words: insertions, deletions, replacements, swapped neighbours. Only for
 * words of at most 31 bytes; longer ones are infinitely far. */
size_t stele_cli_distance(const char *a, const char *b);

#endif
