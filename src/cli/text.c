#include "cli/text.h"

#include <stdio.h>
#include <string.h>

size_t stele_cli_escape_piece(struct stele_text text, char to[12], size_t *out_size)
{
    uint32_t c = 0;
    const size_t size = stele_utf8_decode(stele_cli_bytes(text), &c);
    if (size == 0) {
        *out_size = (size_t)snprintf(to, 12, "\\x%02x", (unsigned)(uint8_t)text.data[0]);
        return 1;
    }
    if (!stele_code_point_is_unsafe(c)) {
        memcpy(to, text.data, size);
        *out_size = size;
        return size;
    }
    if (c == '\n' || c == '\t' || c == '\r') {
        to[0] = '\\';
        to[1] = c == '\n' ? 'n' : (c == '\t' ? 't' : 'r');
        *out_size = 2;
        return size;
    }
    *out_size = (size_t)snprintf(to, 12, "\\u%04x", (unsigned)c);
    return size;
}

size_t stele_cli_escaped_width(struct stele_text text)
{
    size_t width = 0;
    while (text.size > 0) {
        char piece[12];
        size_t piece_size = 0;
        const size_t size = stele_cli_escape_piece(text, piece, &piece_size);
        width += piece[0] == '\\' ? piece_size : 1;
        text.data += size;
        text.size -= size;
    }
    return width;
}

bool stele_cli_text_is(struct stele_text text, const char *other)
{
    return text.size == strlen(other) && memcmp(text.data, other, text.size) == 0;
}

bool stele_cli_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static enum stele_cli_number parse_digits(const char **text, uint64_t *out_number)
{
    const char *at = *text;
    uint64_t number = 0;
    bool too_large = false;
    for (; *at >= '0' && *at <= '9'; at++) {
        const uint64_t digit = (uint64_t)(*at - '0');
        too_large = too_large || number > (UINT64_MAX - digit) / 10;
        number = number * 10 + digit;
    }
    if (at == *text) {
        return STELE_CLI_NUMBER_NONE;
    }
    *text = at;
    *out_number = number;
    return too_large ? STELE_CLI_NUMBER_TOO_LARGE : STELE_CLI_NUMBER_OK;
}

enum stele_cli_number stele_cli_number(const char *text, uint64_t *out_number)
{
    uint64_t number = 0;
    const enum stele_cli_number result = parse_digits(&text, &number);
    if (result == STELE_CLI_NUMBER_NONE || *text != '\0') {
        return STELE_CLI_NUMBER_NONE;
    }
    *out_number = number;
    return result;
}

enum stele_cli_number stele_cli_duration(const char *text, uint64_t *out_seconds)
{
    static const struct {
        char letter;
        uint32_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};

    uint64_t number = 0;
    const enum stele_cli_number result = parse_digits(&text, &number);
    if (result != STELE_CLI_NUMBER_OK) {
        return result;
    }
    uint64_t factor = *text == '\0' ? 1 : 0;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (text[0] == units[i].letter && text[1] == '\0') {
            factor = units[i].seconds;
        }
    }
    if (factor == 0) {
        return STELE_CLI_NUMBER_NONE;
    }
    if (number > UINT64_MAX / factor) {
        return STELE_CLI_NUMBER_TOO_LARGE;
    }
    *out_seconds = number * factor;
    return STELE_CLI_NUMBER_OK;
}

void stele_cli_size_format(uint64_t size, char to[STELE_CLI_SIZE_SIZE])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)size;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(to, STELE_CLI_SIZE_SIZE, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t stele_cli_distance(const char *a, const char *b)
{
    enum { WORD_SIZE_MAX = 31 };
    const size_t a_size = strlen(a);
    const size_t b_size = strlen(b);
    if (a_size > WORD_SIZE_MAX || b_size > WORD_SIZE_MAX) {
        return SIZE_MAX;
    }
    /* cost[i][j]: from the first i bytes of a to the first j of b. */
    size_t cost[WORD_SIZE_MAX + 1][WORD_SIZE_MAX + 1];
    for (size_t i = 0; i <= a_size; i++) {
        for (size_t j = 0; j <= b_size; j++) {
            if (i == 0 || j == 0) {
                cost[i][j] = i + j;
                continue;
            }
            cost[i][j] = smaller(smaller(cost[i - 1][j], cost[i][j - 1]) + 1,
                                 cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                cost[i][j] = smaller(cost[i][j], cost[i - 2][j - 2] + 1);
            }
        }
    }
    return cost[a_size][b_size];
}
