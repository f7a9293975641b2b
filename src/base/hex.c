#include "base/hex.h"

#include "base/text.h"

void stele_hex_encode(const uint8_t *bytes, size_t size, char *to)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        to[2 * i] = digits[bytes[i] >> 4];
        to[2 * i + 1] = digits[bytes[i] & 0x0f];
    }
    to[2 * size] = '\0';
}

bool stele_hex_decode(struct stele_bytes text, uint8_t *bytes, size_t size)
{
    if (text.size != 2 * size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        const int high = stele_hex_value((char)text.data[2 * i]);
        const int low = stele_hex_value((char)text.data[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
