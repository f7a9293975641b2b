#include "base/text.h"
#include "store/store_internal.h"

bool stele_store__text_is_clean(struct stele_bytes text)
{
    while (text.size > 0) {
        uint32_t c = 0;
        const size_t size = stele_utf8_decode(text, &c);
        /* Control characters would let a name write into logs and terminals. U+0080 … U+009F are
         * controls too. */
        if (size == 0 || c < 0x20 || (c >= 0x7f && c <= 0x9f)) {
            return false;
        }
        text = stele_bytes_slice(text, size, text.size - size);
    }
    return true;
}

struct stele_bytes stele_store__category(struct stele_bytes stream)
{
    const uint8_t *dash = memchr(stream.data, '-', stream.size);
    if (dash == NULL || dash == stream.data) {
        return stream;
    }
    return stele_bytes_slice(stream, 0, (size_t)(dash - stream.data));
}

uint32_t stele_store__partition(const struct stele_store *store, struct stele_bytes stream)
{
#if defined(STELE_WITHOUT_ORDER)
    (void)store;
    (void)stream;
    return 0;
#else
    struct stele_bytes key = stream;
    if (store->superblock.partition_key == STELE_KEY_CATEGORY) {
        key = stele_store__category(stream);
    } else {
        const uint8_t *open = memchr(stream.data, '{', stream.size);
        if (open != NULL) {
            const size_t begin = (size_t)(open - stream.data) + 1;
            const uint8_t *close = memchr(open, '}', stream.size - begin + 1);
            const size_t size = close == NULL ? 0 : (size_t)(close - open) - 1;
            if (size > 0) {
                key = stele_bytes_slice(stream, begin, size);
            }
        }
    }
    return stele_murmur3(key) % store->superblock.partitions;
#endif
}

uint32_t stele_store_partition(const struct stele_store *store, struct stele_bytes stream)
{
    return stele_store__partition(store, stream);
}

struct stele_bytes stele_store__metastream(struct stele_bytes stream,
                                           uint8_t buffer[STELE_STREAM_NAME_SIZE_MAX + 2])
{
    if (stele_store__is_metastream(stream) || stream.size > STELE_STREAM_NAME_SIZE_MAX) {
        return (struct stele_bytes){.data = buffer, .size = 0};
    }
    buffer[0] = '$';
    buffer[1] = '$';
    memcpy(buffer + 2, stream.data, stream.size);
    return (struct stele_bytes){.data = buffer, .size = stream.size + 2};
}

int stele_store__grow(struct stele_alloc *alloc, void **items, size_t *capacity, size_t item_size,
                      size_t count)
{
    if (count <= *capacity) {
        return STELE_OK;
    }
    size_t larger = *capacity == 0 ? 4 : *capacity * 2;
    while (larger < count) {
        larger *= 2;
    }
    void *moved = alloc->reallocate(alloc, *items, *capacity * item_size, larger * item_size);
    if (moved == NULL) {
        return STELE_E_NO_MEMORY;
    }
    *items = moved;
    *capacity = larger;
    return STELE_OK;
}

void stele_store__token(uint64_t position, char token[STELE_TOKEN_SIZE])
{
    /* By hand: every append makes one, and snprintf() took a tenth of its time. */
    static const char digits[] = "0123456789abcdef";
    _Static_assert(STELE_TOKEN_SIZE >= sizeof "s1-0123456789abcdef", "the token has to fit");
    memcpy(token, "s1-", 3);
    for (unsigned i = 0; i < 16; i++) {
        token[3 + i] = digits[position >> (60 - 4 * i) & 15];
    }
    token[19] = '\0';
}
