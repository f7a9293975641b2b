/* Bytes as hexadecimal digits. */
#ifndef STELE_BASE_HEX_H
#define STELE_BASE_HEX_H

#include "base/bytes.h"
#include "base/compiler.h"

/* Lower-case digits and a zero: 2 * size + 1 bytes. */
void stele_hex_encode(const uint8_t *bytes, size_t size, char *to);

/* Digits of either case. false: text is not 2 * size of them, and bytes holds nothing of use. */
STELE_MUST_USE
bool stele_hex_decode(struct stele_bytes text, uint8_t *bytes, size_t size);

#endif
