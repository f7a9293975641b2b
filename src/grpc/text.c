#include "base/text.h"

#include "base/status.h"
#include "grpc/grpc_internal.h"

#define TIMEOUT_DIGITS_MAX 8

int64_t stele_grpc__timeout(struct stele_text text)
{
    if (text.size < 2 || text.size > TIMEOUT_DIGITS_MAX + 1) {
        return INT64_MAX;
    }
    int64_t value = 0;
    for (size_t i = 0; i + 1 < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return INT64_MAX;
        }
        value = value * 10 + (text.data[i] - '0');
    }
    switch (text.data[text.size - 1]) {
    case 'H':
        return value * 3600 * 1000000;
    case 'M':
        return value * 60 * 1000000;
    case 'S':
        return value * 1000000;
    case 'm':
        return value * 1000;
    case 'u':
        return value;
    case 'n':
        return (value + 999) / 1000;
    default:
        return INT64_MAX;
    }
}

int stele_grpc__put_text(struct stele_buf *buf, struct stele_alloc *alloc, struct stele_bytes text,
                         bool percent)
{
    static const char digits[] = "0123456789ABCDEF";
    if (text.size > SIZE_MAX / 8 || stele_buf_reserve(buf, alloc, text.size * 3) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    uint8_t *to = buf->data + buf->size;
    for (size_t i = 0; i < text.size; i++) {
        const uint8_t byte = text.data[i];
        if (byte >= 0x20 && byte <= 0x7e && !(percent && byte == '%')) {
            *to++ = byte;
            continue;
        }
        *to++ = '%';
        *to++ = (uint8_t)digits[byte >> 4];
        *to++ = (uint8_t)digits[byte & 15];
    }
    buf->size = (size_t)(to - buf->data);
    return STELE_OK;
}

int stele_grpc__put_base64(struct stele_buf *buf, struct stele_alloc *alloc,
                           struct stele_bytes bytes)
{
    /* The specification asks readers to accept both, and writers to leave padding away; the official
     * clients were tried with padding. */
    const size_t size = stele_base64_size(bytes.size);
    if (bytes.size > SIZE_MAX / 8 || stele_buf_reserve(buf, alloc, size) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    stele_base64_encode(bytes, (char *)buf->data + buf->size);
    buf->size += size;
    return STELE_OK;
}
