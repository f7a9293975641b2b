#include "base/text.h"

#include <stele/stele.h>

#include <stdio.h>

/* ---- UTF-8 ---- */

size_t stele_utf8_decode(struct stele_bytes text, uint32_t *out_code_point)
{
    STELE_ASSERT(text.size > 0);
    const uint8_t first = text.data[0];
    if (first < 0x80) {
        *out_code_point = first;
        return 1;
    }
    /* 80 … bf go on with a character, c0 and c1 would be overlong, f5 and above too large. */
    const size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size < size) {
        return 0;
    }
    uint32_t code_point = first & (0xffu >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        if ((text.data[i] & 0xc0) != 0x80) {
            return 0;
        }
        code_point = code_point << 6 | (text.data[i] & 0x3fu);
    }
    static const uint32_t smallest[] = {[2] = 0x80, [3] = 0x800, [4] = 0x10000};
    const bool surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
    if (code_point < smallest[size] || code_point > 0x10ffff || surrogate) {
        return 0;
    }
    *out_code_point = code_point;
    return size;
}

bool stele_utf8_is_valid(struct stele_bytes text)
{
    while (text.size > 0) {
        uint32_t code_point = 0;
        const size_t size = stele_utf8_decode(text, &code_point);
        if (size == 0) {
            return false;
        }
        text = stele_bytes_slice(text, size, text.size - size);
    }
    return true;
}

size_t stele_utf8_encode(uint32_t code_point, uint8_t to[4])
{
    STELE_ASSERT(code_point <= 0x10ffff);
    if (code_point < 0x80) {
        to[0] = (uint8_t)code_point;
        return 1;
    }
    const size_t size = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--) {
        to[i] = (uint8_t)(0x80 | (code_point & 0x3f));
        code_point >>= 6;
    }
    to[0] = (uint8_t)((0xf00u >> size & 0xff) | code_point);
    return size;
}

bool stele_code_point_is_unsafe(uint32_t c)
{
    const bool control = c < 0x20 || (c >= 0x7f && c <= 0x9f);
    const bool disguise = (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
                          (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || c == 0x061c;
    return control || disguise;
}

/* ---- %XX ---- */

int stele_hex_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

bool stele_percent_decode(struct stele_bytes from, bool plus, uint8_t *to, size_t room,
                          size_t *out_size)
{
    size_t written = 0;
    for (size_t i = 0; i < from.size; i++) {
        uint8_t byte = from.data[i];
        if (byte == '%' && from.size - i > 2) {
            const int high = stele_hex_value((char)from.data[i + 1]);
            const int low = stele_hex_value((char)from.data[i + 2]);
            if (high >= 0 && low >= 0) {
                byte = (uint8_t)(high << 4 | low);
                i += 2;
            }
        } else if (byte == '+' && plus) {
            byte = ' ';
        }
        if (written == room) {
            *out_size = written;
            return false;
        }
        to[written++] = byte;
    }
    STELE_ASSERT(written <= from.size);
    *out_size = written;
    return true;
}

/* ---- Base64 ---- */

size_t stele_base64_size(size_t size)
{
    return (size + 2) / 3 * 4;
}

size_t stele_base64_decoded_size_max(size_t size)
{
    return size / 4 * 3 + 2;
}

void stele_base64_encode(struct stele_bytes from, char *to)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < from.size; i += 3) {
        const size_t left = from.size - i;
        const uint8_t *at = from.data + i;
        const uint32_t bits = (uint32_t)at[0] << 16 | (left > 1 ? (uint32_t)at[1] << 8 : 0) |
                              (left > 2 ? (uint32_t)at[2] : 0);
        *to++ = digits[bits >> 18 & 63];
        *to++ = digits[bits >> 12 & 63];
        *to++ = left > 1 ? digits[bits >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[bits & 63] : '=';
    }
}

/* What a digit is worth, and 1 more; 0: it is none. */
#define BASE64_VALUES(plus, slash)                                                                 \
    {                                                                                              \
        ['A'] = 1, ['B'] = 2, ['C'] = 3, ['D'] = 4, ['E'] = 5, ['F'] = 6, ['G'] = 7, ['H'] = 8,    \
        ['I'] = 9, ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15,         \
        ['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22,        \
        ['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29,        \
        ['d'] = 30, ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36,        \
        ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42, ['q'] = 43,        \
        ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48, ['w'] = 49, ['x'] = 50,        \
        ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56, ['4'] = 57,        \
        ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, [plus] = 63, [slash] = 64      \
    }

/* Four digits are three bytes. false: one of them is no digit. */
static bool decode_four(const uint8_t *values, const uint8_t *digits, uint8_t *to)
{
    /* A value of 0 wraps around and sets the bits above the sixth. */
    const uint32_t a = values[digits[0]] - 1u;
    const uint32_t b = values[digits[1]] - 1u;
    const uint32_t c = values[digits[2]] - 1u;
    const uint32_t d = values[digits[3]] - 1u;
    const uint32_t bits = a << 18 | b << 12 | c << 6 | d;
    to[0] = (uint8_t)(bits >> 16);
    to[1] = (uint8_t)(bits >> 8);
    to[2] = (uint8_t)bits;
    return (a | b | c | d) < 64;
}

bool stele_base64_decode(struct stele_bytes text, unsigned flags, uint8_t *to, size_t *out_size)
{
    size_t digits = text.size;
    while (digits > 0 && text.size - digits < 2 && text.data[digits - 1] == '=') {
        digits--;
    }
    const bool padded = digits < text.size;
    if ((padded || (flags & STELE_BASE64_UNPADDED) == 0) && text.size % 4 != 0) {
        return false;
    }
    /* One digit alone has no byte. */
    if (digits % 4 == 1) {
        return false;
    }
    static const uint8_t both[2][256] = {BASE64_VALUES('+', '/'), BASE64_VALUES('-', '_')};
    const uint8_t *const values = both[(flags & STELE_BASE64_URL) != 0 ? 1 : 0];
    uint32_t bits = 0;
    unsigned count = 0;
    size_t written = 0;
    size_t i = 0;
    for (; digits - i >= 4; i += 4, written += 3) {
        if (!decode_four(values, text.data + i, to + written)) {
            return false;
        }
    }
    for (; i < digits; i++) {
        const uint32_t value = values[text.data[i]] - 1u;
        if (value >= 64) {
            return false;
        }
        bits = bits << 6 | value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            to[written++] = (uint8_t)(bits >> count);
        }
    }
    /* What is left belongs to no byte. If it were not zero, two texts would mean the same. */
    if ((bits & ((1u << count) - 1)) != 0) {
        return false;
    }
    STELE_ASSERT(written <= stele_base64_decoded_size_max(text.size));
    *out_size = written;
    return true;
}

/* ---- Points in time ---- */

#define US_PER_S ((int64_t)1000000)
#define S_PER_DAY 86400

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
    int64_t unit = US_PER_S / 10;
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

bool stele_time_parse(const char *text, int64_t *out_us)
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
    /* 60 is a leap second. It is counted as the first of the next minute. */
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
        days_of_date(year, month, day) * S_PER_DAY + hour * 3600 + minute * 60 + second - offset_s;
    *out_us = seconds * US_PER_S + fraction_us;
    return true;
}

bool stele_time_format(int64_t time_us, unsigned digits, char to[STELE_TIME_SIZE])
{
    STELE_ASSERT(digits == 3 || digits == 6);
    const int64_t us_per_day = S_PER_DAY * US_PER_S;
    const int64_t days = time_us / us_per_day - (time_us % us_per_day < 0);
    const int64_t rest = time_us % us_per_day;
    const int64_t us = rest < 0 ? rest + us_per_day : rest;
    int64_t year = 0;
    int64_t month = 0;
    int64_t day = 0;
    date_of_days(days, &year, &month, &day);
    if (year < 0 || year > 9999) {
        return false;
    }
    const unsigned s = (unsigned)(us / US_PER_S);
    const unsigned fraction = (unsigned)(us % US_PER_S) / (digits == 3 ? 1000 : 1);
    const int size = snprintf(to, STELE_TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%0*uZ",
                              (unsigned)year, (unsigned)month, (unsigned)day, s / 3600, s / 60 % 60,
                              s % 60, (int)digits, fraction);
    STELE_ASSERT(size > 0);
    STELE_ASSERT(size < STELE_TIME_SIZE);
    return true;
}

/* ---- Ids: RFC 9562, section 4 ---- */

void stele_id_to_text(const uint8_t id[16], char text[37])
{
    if (id == NULL || text == NULL) {
        return;
    }
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            text[at++] = '-';
        }
        text[at++] = digits[id[i] >> 4];
        text[at++] = digits[id[i] & 0x0f];
    }
    text[at] = '\0';
}

int stele_id_from_text(const char *text, uint8_t id[16])
{
    uint8_t bytes[16];
    size_t at = 0;
    if (text == NULL || id == NULL || strnlen(text, 37) != 36) {
        return STELE_E_INVALID;
    }
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            if (text[at++] != '-') {
                return STELE_E_INVALID;
            }
        }
        const int high = stele_hex_value(text[at]);
        const int low = stele_hex_value(text[at + 1]);
        if (high < 0 || low < 0) {
            return STELE_E_INVALID;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    memcpy(id, bytes, sizeof bytes);
    return STELE_OK;
}
