/* Bytes come back from their digits, and what are no digits is refused.
 *
 * Method: every byte, in both cases; every character in every place of a short text. */
#include "base/hex.h"
#include "lib/check.h"

#include <ctype.h>
#include <string.h>

TEST(every_byte_comes_back_from_its_digits)
{
    uint8_t bytes[256];
    uint8_t back[sizeof bytes];
    char text[2 * sizeof bytes + 1];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)i;
    }
    stele_hex_encode(bytes, sizeof bytes, text);
    CHECK_EQ(strlen(text), 2 * sizeof bytes);
    CHECK(memcmp(text, "000102", 6) == 0);
    CHECK_TEXT_EQ(text + sizeof text - 7, "fdfeff");
    CHECK(stele_hex_decode(stele_bytes_of_text(text), back, sizeof back));
    CHECK(memcmp(back, bytes, sizeof bytes) == 0);
    for (size_t i = 0; text[i] != '\0'; i++) {
        text[i] = (char)toupper((unsigned char)text[i]);
    }
    memset(back, 0, sizeof back);
    CHECK(stele_hex_decode(stele_bytes_of_text(text), back, sizeof back));
    CHECK(memcmp(back, bytes, sizeof bytes) == 0);
}

TEST(nothing_has_no_digits)
{
    char text[1] = {'x'};
    uint8_t byte = 7;
    stele_hex_encode(&byte, 0, text);
    CHECK_EQ(text[0], '\0');
    CHECK(stele_hex_decode(stele_bytes_of_text(""), &byte, 0));
    CHECK_EQ(byte, 7);
}

TEST(what_is_not_all_digits_or_of_another_length_is_refused)
{
    uint8_t bytes[2];
    CHECK(!stele_hex_decode(stele_bytes_of_text("abc"), bytes, 2));
    CHECK(!stele_hex_decode(stele_bytes_of_text("abcde"), bytes, 2));
    for (size_t at = 0; at < 4; at++) {
        for (int c = 0; c < 256; c++) {
            uint8_t text[4] = {'0', '0', '0', '0'};
            text[at] = (uint8_t)c;
            CHECK_EQ(stele_hex_decode((struct stele_bytes){.data = text, .size = 4}, bytes, 2),
                     c < 128 && isxdigit(c) != 0);
        }
    }
}
