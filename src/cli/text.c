#include "cli/text.h"

#include <stdio.h>
#include <string.h>

uint32_t stele_cli_utf8_decode(struct stele_text text, size_t *out_size)
{
    const uint8_t *bytes = (const uint8_t *)text.data;
    *out_size = 0;
    if (bytes[0] < 0x80) {
        *out_size = 1;
        return bytes[0];
    }
    size_t size = 0;
    uint32_t code_point = 0;
    uint32_t smallest = 0;
    if ((bytes[0] & 0xe0) == 0xc0) {
        size = 2;
        code_point = bytes[0] & 0x1fu;
        smallest = 0x80;
    } else if ((bytes[0] & 0xf0) == 0xe0) {
        size = 3;
        code_point = bytes[0] & 0x0fu;
        smallest = 0x800;
    } else if ((bytes[0] & 0xf8) == 0xf0) {
        size = 4;
        code_point = bytes[0] & 0x07u;
        smallest = 0x10000;
    } else {
        return 0;
    }
    if (text.size < size) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
        code_point = code_point << 6 | (bytes[i] & 0x3fu);
    }
    if (code_point < smallest || code_point > 0x10ffff ||
        (code_point >= 0xd800 && code_point <= 0xdfff)) {
        return 0;
    }
    *out_size = size;
    return code_point;
}

bool stele_cli_utf8_valid(struct stele_text text)
{
    while (text.size > 0) {
        size_t size = 0;
        (void)stele_cli_utf8_decode(text, &size);
        if (size == 0) {
            return false;
        }
        text.data += size;
        text.size -= size;
    }
    return true;
}

size_t stele_cli_utf8_encode(uint32_t code_point, char *to)
{
    if (code_point < 0x80) {
        to[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        to[0] = (char)(0xc0 | code_point >> 6);
        to[1] = (char)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point < 0x10000) {
        to[0] = (char)(0xe0 | code_point >> 12);
        to[1] = (char)(0x80 | (code_point >> 6 & 0x3f));
        to[2] = (char)(0x80 | (code_point & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | code_point >> 18);
    to[1] = (char)(0x80 | (code_point >> 12 & 0x3f));
    to[2] = (char)(0x80 | (code_point >> 6 & 0x3f));
    to[3] = (char)(0x80 | (code_point & 0x3f));
    return 4;
}

bool stele_cli_code_point_unsafe(uint32_t c)
{
    const bool control = c < 0x20 || (c >= 0x7f && c <= 0x9f);
    /* Text that reads differently from what it is: marks and overrides of direction, invisible
     * spaces, line separators. */
    const bool disguise = (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
                          (c >= 0x2060 && c <= 0x2069) || c == 0xfeff || c == 0x061c;
    return control || disguise;
}

size_t stele_cli_escape_piece(struct stele_text text, char to[12], size_t *out_size)
{
    size_t size = 0;
    const uint32_t c = stele_cli_utf8_decode(text, &size);
    if (size == 0) {
        *out_size = (size_t)snprintf(to, 12, "\\x%02x", (unsigned)(uint8_t)text.data[0]);
        return 1;
    }
    if (!stele_cli_code_point_unsafe(c)) {
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

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t stele_cli_base64_size(size_t size)
{
    return (size + 2) / 3 * 4;
}

void stele_cli_base64_encode(const void *data, size_t size, char *to)
{
    const uint8_t *from = data;
    while (size > 0) {
        const size_t taken = size < 3 ? size : 3;
        const uint32_t bits = (uint32_t)from[0] << 16 | (taken > 1 ? (uint32_t)from[1] << 8 : 0) |
                              (taken > 2 ? (uint32_t)from[2] : 0);
        to[0] = base64_digits[bits >> 18 & 63];
        to[1] = base64_digits[bits >> 12 & 63];
        to[2] = taken > 1 ? base64_digits[bits >> 6 & 63] : '=';
        to[3] = taken > 2 ? base64_digits[bits & 63] : '=';
        to += 4;
        from += taken;
        size -= taken;
    }
}

static int base64_value(char digit)
{
    if (digit >= 'A' && digit <= 'Z') {
        return digit - 'A';
    }
    if (digit >= 'a' && digit <= 'z') {
        return digit - 'a' + 26;
    }
    if (digit >= '0' && digit <= '9') {
        return digit - '0' + 52;
    }
    return digit == '+' ? 62 : (digit == '/' ? 63 : -1);
}

bool stele_cli_base64_decode(struct stele_text text, uint8_t *to, size_t *out_size)
{
    size_t written = 0;
    if (text.size % 4 != 0) {
        return false;
    }
    for (size_t at = 0; at < text.size; at += 4) {
        const bool last = at + 4 == text.size;
        const size_t padding =
            last ? (size_t)(text.data[at + 3] == '=') +
                       (size_t)(text.data[at + 3] == '=' && text.data[at + 2] == '=')
                 : 0;
        uint32_t bits = 0;
        for (size_t i = 0; i < 4; i++) {
            const int value = i < 4 - padding ? base64_value(text.data[at + i]) : 0;
            if (value < 0) {
                return false;
            }
            bits = bits << 6 | (uint32_t)value;
        }
        /* Bits under the padding must be zero; otherwise two texts would mean the same bytes. */
        if (padding > 0 && (bits & (padding == 1 ? 0xffu : 0xffffu)) != 0) {
            return false;
        }
        for (size_t i = 0; i < 3 - padding; i++) {
            to[written++] = (uint8_t)(bits >> (16 - 8 * i));
        }
    }
    *out_size = written;
    return true;
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

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar, counted in years that
 * begin in March, so that the leap day is the last of its year. */
static int64_t days_of_date(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    const int64_t era = (year >= 0 ? year : year - 399) / 400;
    const int64_t year_of_era = year - era * 400;
    const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    const int64_t day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void date_of_days(int64_t days, int64_t *year, int64_t *month, int64_t *day)
{
    days += 719468;
    const int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    const int64_t day_of_era = days - era * 146097;
    const int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const int64_t month_from_march = (5 * day_of_year + 2) / 153;
    *day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    *month = month_from_march + (month_from_march < 10 ? 3 : -9);
    *year = year_of_era + era * 400 + (*month <= 2);
}

static bool take_digits(const char **text, int count, int64_t *out_number)
{
    int64_t number = 0;
    for (int i = 0; i < count; i++) {
        const char digit = (*text)[i];
        if (digit < '0' || digit > '9') {
            return false;
        }
        number = number * 10 + (digit - '0');
    }
    *text += count;
    *out_number = number;
    return true;
}

static bool take_char(const char **text, const char *any_of)
{
    if (**text == '\0' || strchr(any_of, **text) == NULL) {
        return false;
    }
    (*text)++;
    return true;
}

/* Digits after the second's point; more than six are cut. */
static bool take_fraction(const char **text, int64_t *out_us)
{
    int64_t us = 0;
    int64_t unit = 100000;
    const char *at = *text;
    for (; *at >= '0' && *at <= '9'; at++) {
        us += (*at - '0') * unit;
        unit /= 10;
    }
    const bool any = at != *text;
    *text = at;
    *out_us = us;
    return any;
}

static bool take_zone(const char **text, int64_t *out_offset_s)
{
    if (take_char(text, "Zz")) {
        *out_offset_s = 0;
        return true;
    }
    const int64_t sign = **text == '-' ? -1 : 1;
    int64_t hours = 0;
    int64_t minutes = 0;
    if (!take_char(text, "+-") || !take_digits(text, 2, &hours) || !take_char(text, ":") ||
        !take_digits(text, 2, &minutes) || hours > 23 || minutes > 59) {
        return false;
    }
    *out_offset_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

static int64_t days_of_month(int64_t year, int64_t month)
{
    static const int64_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

bool stele_cli_time_parse(const char *text, int64_t *out_us)
{
    int64_t year = 0;
    int64_t month = 0;
    int64_t day = 0;
    int64_t hour = 0;
    int64_t minute = 0;
    int64_t second = 0;
    int64_t fraction_us = 0;
    int64_t offset_s = 0;
    if (!take_digits(&text, 4, &year) || !take_char(&text, "-") || !take_digits(&text, 2, &month) ||
        !take_char(&text, "-") || !take_digits(&text, 2, &day) || !take_char(&text, "Tt ") ||
        !take_digits(&text, 2, &hour) || !take_char(&text, ":") ||
        !take_digits(&text, 2, &minute) || !take_char(&text, ":") ||
        !take_digits(&text, 2, &second)) {
        return false;
    }
    if (month < 1 || month > 12 || day < 1 || day > days_of_month(year, month) || hour > 23 ||
        minute > 59 || second > 60) {
        return false;
    }
    if (take_char(&text, ".") && !take_fraction(&text, &fraction_us)) {
        return false;
    }
    if (!take_zone(&text, &offset_s) || *text != '\0') {
        return false;
    }
    const int64_t seconds =
        days_of_date(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset_s;
    *out_us = seconds * 1000000 + fraction_us;
    return true;
}

bool stele_cli_time_format(int64_t time_us, char to[STELE_CLI_TIME_SIZE])
{
    const int64_t us_of_day = 86400 * (int64_t)1000000;
    const int64_t days = time_us / us_of_day - (time_us % us_of_day < 0);
    const int64_t rest = time_us % us_of_day;
    const int64_t us = rest < 0 ? rest + us_of_day : rest;
    int64_t year = 0;
    int64_t month = 0;
    int64_t day = 0;
    date_of_days(days, &year, &month, &day);
    if (year < 0 || year > 9999) {
        return false;
    }
    const int64_t s = us / 1000000;
    (void)snprintf(to, STELE_CLI_TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ", (unsigned)year,
                   (unsigned)month, (unsigned)day, (unsigned)(s / 3600), (unsigned)(s / 60 % 60),
                   (unsigned)(s % 60), (unsigned)(us % 1000000));
    return true;
}

void stele_cli_size_format(uint64_t size, char to[STELE_CLI_TIME_SIZE])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)size;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(to, STELE_CLI_TIME_SIZE, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
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
