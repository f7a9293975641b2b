/* How text is spelled: UTF-8, %XX, base64, points in time.
 *
 * Every encoding is here once, and strict: what a function would not have written it refuses to
 * read, unless its comment says otherwise. So two spellings never mean the same by accident, and
 * what one door of a server lets in is what all others understand. Nothing here allocates. */
#ifndef STELE_BASE_TEXT_H
#define STELE_BASE_TEXT_H

#include "base/bytes.h"
#include "base/compiler.h"

/* ---- UTF-8: RFC 3629, section 4 ---- */

/* The bytes that the character at the start of text (not empty) takes, and its code point; 0: this
 * is no UTF-8, and *out_code_point is untouched. Overlong forms, surrogates and everything above
 * U+10FFFF are none. */
size_t stele_utf8_decode(struct stele_bytes text, uint32_t *out_code_point);
bool stele_utf8_is_valid(struct stele_bytes text);
/* Returns how many bytes of `to` were written. The code point has to be one. */
size_t stele_utf8_encode(uint32_t code_point, uint8_t to[4]);

/* Would a terminal or a reader of a log do something else with it than show it? Control characters
 * (C0, DEL, C1), line separators, and what reorders or hides the text around it. */
bool stele_code_point_is_unsafe(uint32_t code_point);

/* ---- %XX: RFC 3986, section 2.1 ---- */

/* 0 … 15, or -1 if it is no hexadecimal digit. */
int stele_hex_value(char digit);

/* Decodes into `to`, which has room for so many bytes and may be from.data. A "%" that no two digits
 * follow stands for itself, because names that nobody encoded come by too. plus: a "+" is a space, as
 * in queries. false: it is longer, and what fitted is there. */
STELE_MUST_USE
bool stele_percent_decode(struct stele_bytes from, bool plus, uint8_t *to, size_t room,
                          size_t *out_size);

/* ---- Base64: RFC 4648, section 4 with padding, or section 5 (for URLs) ---- */

#define STELE_BASE64_URL 1u      /* "-" and "_" instead of "+" and "/". */
#define STELE_BASE64_UNPADDED 2u /* Padding may be missing. */

/* What `size` bytes take, padding included, and at most what so much text stands for. */
size_t stele_base64_size(size_t size);
size_t stele_base64_decoded_size_max(size_t size);

/* Writes stele_base64_size(from.size) bytes, which are not terminated by a zero. */
void stele_base64_encode(struct stele_bytes from, char *to);

/* false: this is no base64, or not the one spelling that encoding gives; `to` is undefined then. */
STELE_MUST_USE
bool stele_base64_decode(struct stele_bytes text, unsigned flags, uint8_t *to, size_t *out_size);

/* ---- Points in time: RFC 3339, in microseconds since 1970-01-01T00:00:00Z ---- */

/* "2026-11-20T15:00:00.25+01:00". The zone has to be there, because a guess would be an hour wrong
 * without anybody noticing. Digits behind the sixth of a fraction are cut. */
STELE_MUST_USE
bool stele_time_parse(const char *text, int64_t *out_us);

#define STELE_TIME_SIZE 28
/* "2026-11-20T15:00:00.250000Z", with so many digits of the fraction: 3 or 6. false: the year does
 * not fit into four digits. */
STELE_MUST_USE
bool stele_time_format(int64_t time_us, unsigned digits, char to[STELE_TIME_SIZE]);

#endif
