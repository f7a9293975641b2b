/* Text is read as it is written, and nothing else is taken for it.
 *
 * Method: everything there is where that is little (all code points, all sequences of up to three
 * bytes, all texts of base64 up to four digits, all days of 10,000 years), against code that is as
 * naive as the standards' own tables; where it is much, the vectors of the standards, and what is
 * wrong in one place. */
#include "base/text.h"
#include "lib/check.h"

#include <stdio.h>
#include <time.h>

static struct stele_bytes bytes_of(const void *data, size_t size)
{
    return (struct stele_bytes){.data = data, .size = size};
}

/* ---- UTF-8 ---- */

TEST(every_code_point_comes_back)
{
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        uint8_t text[4];
        uint32_t decoded = 0;
        const size_t size = stele_utf8_encode(c, text);
        const bool surrogate = c >= 0xd800 && c <= 0xdfff;
        if (stele_utf8_decode(bytes_of(text, size), &decoded) != (surrogate ? 0 : size) ||
            decoded != (surrogate ? 0 : c)) {
            check_failed(__FILE__, __LINE__, "U+%04X", c);
        }
        if (size > 1 && stele_utf8_decode(bytes_of(text, size - 1), &decoded) != 0) {
            check_failed(__FILE__, __LINE__, "U+%04X without its last byte", c);
        }
    }
}

/* The table of RFC 3629, section 4, row by row. */
static size_t utf8_naive(const uint8_t *b, size_t size)
{
    static const uint8_t rows[][9] = {
        /* size, then the first and last of each byte */
        {1, 0x00, 0x7f},
        {2, 0xc2, 0xdf, 0x80, 0xbf},
        {3, 0xe0, 0xe0, 0xa0, 0xbf, 0x80, 0xbf},
        {3, 0xe1, 0xec, 0x80, 0xbf, 0x80, 0xbf},
        {3, 0xed, 0xed, 0x80, 0x9f, 0x80, 0xbf},
        {3, 0xee, 0xef, 0x80, 0xbf, 0x80, 0xbf},
        {4, 0xf0, 0xf0, 0x90, 0xbf, 0x80, 0xbf, 0x80, 0xbf},
        {4, 0xf1, 0xf3, 0x80, 0xbf, 0x80, 0xbf, 0x80, 0xbf},
        {4, 0xf4, 0xf4, 0x80, 0x8f, 0x80, 0xbf, 0x80, 0xbf},
    };
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        bool fits = rows[row][0] <= size;
        for (size_t i = 0; fits && i < rows[row][0]; i++) {
            fits = b[i] >= rows[row][1 + 2 * i] && b[i] <= rows[row][2 + 2 * i];
        }
        if (fits) {
            return rows[row][0];
        }
    }
    return 0;
}

TEST(what_the_standard_has_no_row_for_is_no_utf8)
{
    /* Four bytes; the last ones take the values at which something changes. */
    static const uint8_t edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90,
                                    0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    for (uint32_t first = 0; first < 0x10000; first++) {
        for (size_t i = 0; i < sizeof edges; i++) {
            for (size_t k = 0; k < sizeof edges; k++) {
                const uint8_t text[4] = {(uint8_t)(first >> 8), (uint8_t)first, edges[i], edges[k]};
                for (size_t size = 1; size <= 4; size++) {
                    uint32_t c = 0;
                    if (stele_utf8_decode(bytes_of(text, size), &c) != utf8_naive(text, size)) {
                        check_failed(__FILE__, __LINE__, "%02x %02x %02x %02x, %zu bytes", text[0],
                                     text[1], text[2], text[3], size);
                    }
                }
            }
        }
    }
}

TEST(a_text_is_valid_if_every_character_is)
{
    static const char text[] = "a\u00e4\u20ac\U0001f600z";
    CHECK(stele_utf8_is_valid(stele_bytes_of_text(text)));
    CHECK(stele_utf8_is_valid(bytes_of(NULL, 0)));
    CHECK(stele_utf8_is_valid(bytes_of("a\0b", 3)));
    for (size_t size = 0; size <= sizeof text - 1; size++) {
        const bool whole = size < 2 || size == 3 || size == 6 || size >= 10;
        CHECK_EQ(stele_utf8_is_valid(bytes_of(text, size)), whole);
    }
}

TEST(what_a_terminal_would_obey_is_unsafe)
{
    CHECK(stele_code_point_is_unsafe(0x1b));
    CHECK(stele_code_point_is_unsafe('\n'));
    CHECK(stele_code_point_is_unsafe(0x7f));
    CHECK(stele_code_point_is_unsafe(0x9b));   /* CSI in one byte. */
    CHECK(stele_code_point_is_unsafe(0x200b)); /* Invisible. */
    CHECK(stele_code_point_is_unsafe(0x2028)); /* A line's end. */
    CHECK(stele_code_point_is_unsafe(0x202e)); /* Right to left. */
    CHECK(stele_code_point_is_unsafe(0x2066));
    CHECK(stele_code_point_is_unsafe(0xfeff));
    CHECK(!stele_code_point_is_unsafe(' '));
    CHECK(!stele_code_point_is_unsafe(0xa0));
    CHECK(!stele_code_point_is_unsafe(0xe4));
    CHECK(!stele_code_point_is_unsafe(0x20ac));
    CHECK(!stele_code_point_is_unsafe(0x1f600));
}

/* ---- %XX ---- */

static const char *percent_decoded(const char *text)
{
    static char to[64];
    size_t size = 0;
    CHECK(stele_percent_decode(stele_bytes_of_text(text), false, (uint8_t *)to, sizeof to - 1,
                               &size));
    to[size] = '\0';
    return to;
}

TEST(percent_signs_with_two_digits_are_bytes_and_others_are_themselves)
{
    CHECK_TEXT_EQ(percent_decoded("a%2Fb%2fc"), "a/b/c");
    CHECK_TEXT_EQ(percent_decoded("%41"), "A");
    CHECK_TEXT_EQ(percent_decoded("%e2%82%AC"), "\u20ac");
    CHECK_TEXT_EQ(percent_decoded("100%"), "100%");
    CHECK_TEXT_EQ(percent_decoded("%4"), "%4");
    CHECK_TEXT_EQ(percent_decoded("%4g%g4%%41"), "%4g%g4%A");
    CHECK_TEXT_EQ(percent_decoded("%2541"), "%41");
    CHECK_TEXT_EQ(percent_decoded("a+b"), "a+b");
    CHECK_TEXT_EQ(percent_decoded(""), "");
    uint8_t bytes[4];
    size_t size = 0;
    CHECK(stele_percent_decode(stele_bytes_of_text("%00+"), true, bytes, 2, &size));
    CHECK_EQ(size, 2);
    CHECK_BYTES_EQ(bytes, "\0 ", 2);
}

TEST(what_does_not_fit_when_decoded_is_cut_and_told)
{
    uint8_t bytes[8];
    for (size_t room = 0; room <= 4; room++) {
        size_t size = 99;
        CHECK_EQ(stele_percent_decode(stele_bytes_of_text("%41b%43"), false, bytes, room, &size),
                 room >= 3);
        CHECK_EQ(size, room >= 3 ? 3 : room);
        CHECK_BYTES_EQ(bytes, "AbC", size);
    }
}

TEST(every_byte_has_its_two_digits)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[4];
        uint8_t decoded[3] = {0};
        (void)snprintf(text, sizeof text, byte % 2 == 0 ? "%%%02x" : "%%%02X", byte);
        size_t size = 0;
        CHECK(stele_percent_decode(stele_bytes_of_text(text), false, decoded, 1, &size));
        CHECK_EQ(size, 1);
        CHECK_EQ(decoded[0], byte);
    }
    for (int c = 0; c < 256; c++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *at = c == 0 ? NULL : strchr(digits, c);
        CHECK_EQ(stele_hex_value((char)c), at == NULL ? -1 : (at - digits) % 16);
    }
}

/* ---- Base64 ---- */

TEST(base64_gives_the_vectors_of_rfc_4648)
{
    static const char *const vectors[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        char text[16] = "";
        uint8_t data[16];
        size_t size = 99;
        const struct stele_bytes plain = stele_bytes_of_text(vectors[i][0]);
        const struct stele_bytes spelled = stele_bytes_of_text(vectors[i][1]);
        CHECK_EQ(stele_base64_size(plain.size), spelled.size);
        stele_base64_encode(plain, text);
        CHECK_TEXT_EQ(text, vectors[i][1]);
        CHECK(stele_base64_decode(spelled, 0, data, &size));
        CHECK_EQ(size, plain.size);
        CHECK_BYTES_EQ(data, plain.data, size);
    }
}

TEST(data_of_every_size_comes_back)
{
    uint8_t data[70];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 151 + 7);
    }
    for (size_t size = 0; size <= sizeof data; size++) {
        char text[96];
        uint8_t back[72 + 2];
        size_t back_size = 99;
        stele_base64_encode(bytes_of(data, size), text);
        CHECK(stele_base64_decode(bytes_of(text, stele_base64_size(size)), 0, back, &back_size));
        CHECK_EQ(back_size, size);
        CHECK_BYTES_EQ(back, data, size);
        CHECK(size <= stele_base64_decoded_size_max(stele_base64_size(size)));
        /* In place: what is written never overtakes what is read. */
        CHECK(stele_base64_decode(bytes_of(text, stele_base64_size(size)), 0, (uint8_t *)text,
                                  &back_size));
        CHECK_EQ(back_size, size);
        CHECK_BYTES_EQ(text, data, size);
    }
}

TEST(every_byte_in_every_place_is_a_digit_of_its_alphabet_or_refused)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    static const char *const more[] = {"+/", "-_"};
    for (unsigned url = 0; url < 2; url++) {
        for (size_t n = 0; n < 4 * 256; n++) {
            char text[] = "AAAAAAAA";
            uint8_t data[8];
            size_t size = 0;
            const char byte = (char)(n / 4);
            text[4 + n % 4] = byte;
            const char *const plain = byte != 0 ? strchr(digits, byte) : NULL;
            const char *const other = byte != 0 ? strchr(more[url], byte) : NULL;
            const bool good = plain != NULL || other != NULL || (byte == '=' && n % 4 == 3);
            CHECK_EQ(stele_base64_decode(bytes_of(text, 8), url != 0 ? STELE_BASE64_URL : 0, data,
                                         &size),
                     good);
            if (good && byte != '=') {
                const size_t value =
                    plain != NULL ? (size_t)(plain - digits) : 62 + (size_t)(other - more[url]);
                const uint32_t bits = (uint32_t)data[3] << 16 | (uint32_t)data[4] << 8 | data[5];
                CHECK_EQ(size, 6);
                CHECK_EQ(bits, value << (18 - 6 * (n % 4)));
            }
        }
    }
}

/* Decoding is the opposite of encoding and nothing more: of all texts of four characters of an
 * alphabet with everything that could go wrong, exactly those are read that encoding writes. */
TEST(a_text_that_encoding_would_not_write_is_no_base64)
{
    static const char alphabet[] = "AQZagw09+/-_= \n\xff";
    const size_t letters = sizeof alphabet - 1;
    size_t accepted = 0;
    for (size_t n = 0; n < letters * letters * letters * letters; n++) {
        char text[4];
        for (size_t i = 0, rest = n; i < 4; i++, rest /= letters) {
            text[i] = alphabet[rest % letters];
        }
        uint8_t data[4];
        size_t size = 0;
        if (!stele_base64_decode(bytes_of(text, 4), 0, data, &size)) {
            continue;
        }
        char again[4];
        CHECK_EQ(stele_base64_size(size), 4);
        stele_base64_encode(bytes_of(data, size), again);
        CHECK_BYTES_EQ(again, text, 4);
        accepted++;
    }
    /* Ten of these are digits: A Q Z a g w 0 9 + /. Before "=" stand those whose last
     * two bits are zero (A Q g w 0), before "==" those whose last four are (A Q g w). */
    CHECK_EQ(accepted, 10 * 10 * 10 * 10 + 10 * 10 * 5 + 10 * 4);
    uint8_t data[8];
    size_t size = 0;
    static const char *const wrong[] = {
        "Zg",    "Zg=",  "Zm8",  "=",      "====",  "Z===", "Zg==Zg==",
        "Zm9vZ", "Zh==", "Zm9=", "Zm9v\n", " Zm9v", "Zg==="};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (stele_base64_decode(stele_bytes_of_text(wrong[i]), 0, data, &size)) {
            check_failed(__FILE__, __LINE__, "%s", wrong[i]);
        }
    }
}

TEST(base64_for_urls_has_two_other_digits_and_may_lack_padding)
{
    uint8_t data[8];
    size_t size = 0;
    CHECK(!stele_base64_decode(stele_bytes_of_text("-_-_"), 0, data, &size));
    CHECK(!stele_base64_decode(stele_bytes_of_text("+/+/"), STELE_BASE64_URL, data, &size));
    CHECK(stele_base64_decode(stele_bytes_of_text("-_-_"), STELE_BASE64_URL, data, &size));
    CHECK_EQ(size, 3);
    CHECK_BYTES_EQ(data, "\xfb\xff\xbf", 3);
    CHECK(stele_base64_decode(stele_bytes_of_text("Zm8"), STELE_BASE64_UNPADDED, data, &size));
    CHECK_EQ(size, 2);
    CHECK_BYTES_EQ(data, "fo", 2);
    CHECK(stele_base64_decode(stele_bytes_of_text("Zm8="), STELE_BASE64_UNPADDED, data, &size));
    CHECK(stele_base64_decode(stele_bytes_of_text("Zg"), STELE_BASE64_UNPADDED, data, &size));
    CHECK_EQ(size, 1);
    CHECK_BYTES_EQ(data, "f", 1);
    CHECK(!stele_base64_decode(stele_bytes_of_text("Z"), STELE_BASE64_UNPADDED, data, &size));
    CHECK(!stele_base64_decode(stele_bytes_of_text("Zg="), STELE_BASE64_UNPADDED, data, &size));
    CHECK(!stele_base64_decode(stele_bytes_of_text("Zm9vZ"), STELE_BASE64_UNPADDED, data, &size));
}

/* ---- Points in time ---- */

TEST(every_day_of_ten_thousand_years_comes_back)
{
    static const int64_t us_per_day = 86400 * (int64_t)1000000;
    for (int64_t day = -719528; day <= 2932896; day += 1 + (day > 0 && day < 2900000) * 12) {
        const int64_t us = day * us_per_day + (day & 0x7fff) * 2636763 % us_per_day;
        char text[STELE_TIME_SIZE];
        char expected[64];
        int64_t back = 0;
        CHECK(stele_time_format(us, 6, text));
        const time_t at = (time_t)(us / 1000000 - (us % 1000000 < 0));
        struct tm parts;
        CHECK(gmtime_r(&at, &parts) != NULL);
        (void)snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ",
                       parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                       parts.tm_min, parts.tm_sec, (int)((us % 1000000 + 1000000) % 1000000));
        CHECK_TEXT_EQ(text, expected);
        CHECK(stele_time_parse(text, &back));
        CHECK_EQ(back, us);
    }
}

TEST(a_year_of_five_digits_is_not_written)
{
    char text[STELE_TIME_SIZE];
    CHECK(stele_time_format(INT64_C(253402300799999999), 6, text));
    CHECK_TEXT_EQ(text, "9999-12-31T23:59:59.999999Z");
    CHECK(!stele_time_format(INT64_C(253402300800000000), 6, text));
    CHECK(stele_time_format(INT64_C(-62167219200000000), 6, text));
    CHECK_TEXT_EQ(text, "0000-01-01T00:00:00.000000Z");
    CHECK(!stele_time_format(INT64_C(-62167219200000001), 6, text));
    CHECK(!stele_time_format(INT64_MAX, 6, text));
    CHECK(!stele_time_format(INT64_MIN, 6, text));
}

TEST(milliseconds_are_cut_from_microseconds)
{
    char text[STELE_TIME_SIZE];
    CHECK(stele_time_format(1999999, 3, text));
    CHECK_TEXT_EQ(text, "1970-01-01T00:00:01.999Z");
    CHECK(stele_time_format(-1, 3, text));
    CHECK_TEXT_EQ(text, "1969-12-31T23:59:59.999Z");
}

TEST(times_are_read_in_every_zone)
{
    static const struct {
        const char *text;
        int64_t us;
    } times[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00z", 0},
        {"1970-01-01 00:00:00Z", 0},
        {"1970-01-01T01:00:00+01:00", 0},
        {"1969-12-31T12:30:00-11:30", 0},
        {"1970-01-01T00:00:00.5Z", 500000},
        {"1970-01-01T00:00:00.0000019Z", 1},
        {"1970-01-01T00:00:60Z", 60000000},
        {"2000-02-29T00:00:00Z", INT64_C(951782400000000)},
        {"2026-11-20T15:00:00.25+01:00", INT64_C(1795183200250000)},
    };
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        int64_t us = -1;
        CHECK(stele_time_parse(times[i].text, &us));
        CHECK_EQ(us, times[i].us);
    }
}

TEST(what_is_no_time_is_refused_and_leaves_no_trace)
{
    static const char *const wrong[] = {
        "",
        "2026",
        "2026-11-20",
        "2026-11-20T15:00",
        "2026-11-20T15:00:00", /* No zone. */
        "2026-11-20T15:00:00+0100",
        "2026-11-20T15:00:00+24:00",
        "2026-11-20T15:00:00+01:60",
        "2026-11-20T15:00:00ZZ",
        "2026-11-20T15:00:00.Z",
        "2026-11-20T15:00:00,5Z",
        "2026-00-20T15:00:00Z",
        "2026-13-20T15:00:00Z",
        "2026-11-00T15:00:00Z",
        "2026-11-31T15:00:00Z",
        "2026-02-29T15:00:00Z",
        "1900-02-29T15:00:00Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T15:60:00Z",
        "2026-11-20T15:00:61Z",
        "26-11-20T15:00:00Z",
        "02026-11-20T15:00:00Z",
        " 2026-11-20T15:00:00Z",
        "2026-11-20T15:00:00Z ",
        "2026/11/20T15:00:00Z",
        "-026-11-20T15:00:00Z",
        "2026-11-20T1a:00:00Z",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int64_t us = 77;
        if (stele_time_parse(wrong[i], &us) || us != 77) {
            check_failed(__FILE__, __LINE__, "%s", wrong[i]);
        }
    }
}
