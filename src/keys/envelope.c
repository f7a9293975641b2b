#include "keys/envelope.h"

#include <stele/stele.h>

#include <sodium.h>

#define VERSION 1
#define CIPHER 1
#define BOUND_SIZE 20 /* Bytes of the header that are associated data. */

static const char domain[] = "stele sealed 1";

#define ASSOCIATED_SIZE_MAX                                                                        \
    (sizeof domain + BOUND_SIZE + 3 * 4 + UINT8_MAX + STELE_STREAM_NAME_SIZE_MAX + 2 +             \
     STELE_ENVELOPE_PATH_SIZE_MAX + 8 + 16)

_Static_assert(STELE_ENVELOPE_KEY_SIZE == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key");
_Static_assert(STELE_ENVELOPE_NONCE_SIZE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce");
_Static_assert(STELE_ENVELOPE_TAG_SIZE == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag");
_Static_assert(BOUND_SIZE + STELE_ENVELOPE_NONCE_SIZE == STELE_ENVELOPE_HEADER_SIZE, "layout");

static size_t put(uint8_t *to, size_t at, const void *data, size_t size)
{
    if (size > 0) {
        memcpy(to + at, data, size);
    }
    return at + size;
}

/* With its size before it, so that no two places give the same bytes. */
static size_t put_sized(uint8_t *to, size_t at, struct stele_bytes bytes)
{
    stele_store_u32le(to + at, (uint32_t)bytes.size);
    return put(to, at + 4, bytes.data, bytes.size);
}

static size_t associate(const struct stele_envelope_place *place, const uint8_t *header,
                        struct stele_bytes content_type, uint8_t to[ASSOCIATED_SIZE_MAX])
{
    STELE_ASSERT(place->stream.size <= STELE_STREAM_NAME_SIZE_MAX + 2);
    STELE_ASSERT(place->path.size <= STELE_ENVELOPE_PATH_SIZE_MAX);
    STELE_ASSERT(content_type.size <= UINT8_MAX);
    size_t at = put(to, 0, domain, sizeof domain - 1);
    at = put(to, at, header, BOUND_SIZE);
    at = put_sized(to, at, content_type);
    at = put_sized(to, at, place->stream);
    at = put_sized(to, at, place->path);
    stele_store_u64le(to + at, place->revision);
    return put(to, at + 8, place->event_id, 16);
}

void stele_envelope_seal(const struct stele_envelope_place *place, uint8_t part,
                         const uint8_t key_id[16], const uint8_t key[STELE_ENVELOPE_KEY_SIZE],
                         const uint8_t nonce[STELE_ENVELOPE_NONCE_SIZE],
                         struct stele_bytes content_type, struct stele_bytes plain, uint8_t *to)
{
    STELE_UNINITIALIZED uint8_t associated[ASSOCIATED_SIZE_MAX];
    STELE_ASSERT(part <= STELE_ENVELOPE_FIELD);
    STELE_ASSERT(content_type.size <= UINT8_MAX);
    to[0] = VERSION;
    to[1] = CIPHER;
    to[2] = part;
    to[3] = (uint8_t)content_type.size;
    memcpy(to + 4, key_id, 16);
    memcpy(to + BOUND_SIZE, nonce, STELE_ENVELOPE_NONCE_SIZE);
    const size_t at = put(to, STELE_ENVELOPE_HEADER_SIZE, content_type.data, content_type.size);
    const size_t size = associate(place, to, content_type, associated);
    const int failed = crypto_aead_xchacha20poly1305_ietf_encrypt(
        to + at, NULL, plain.data, plain.size, associated, size, NULL, nonce, key);
    STELE_ASSERT(failed == 0); /* Only for sizes beyond 2^38. */
}

int stele_envelope_decode(struct stele_bytes bytes, struct stele_envelope *out_envelope)
{
    if (bytes.size < STELE_ENVELOPE_HEADER_SIZE + STELE_ENVELOPE_TAG_SIZE) {
        return STELE_E_CORRUPT;
    }
    if (bytes.data[0] != VERSION || bytes.data[1] != CIPHER) {
        return bytes.data[0] == 0 ? STELE_E_CORRUPT : STELE_E_FORMAT;
    }
    const uint8_t part = bytes.data[2];
    const size_t type_size = bytes.data[3];
    if (part > STELE_ENVELOPE_FIELD || (part != STELE_ENVELOPE_DATA && type_size > 0) ||
        bytes.size - STELE_ENVELOPE_HEADER_SIZE - STELE_ENVELOPE_TAG_SIZE < type_size) {
        return STELE_E_CORRUPT;
    }
    const size_t at = STELE_ENVELOPE_HEADER_SIZE + type_size;
    *out_envelope = (struct stele_envelope){
        .part = part,
        .key_id = bytes.data + 4,
        .nonce = bytes.data + BOUND_SIZE,
        .content_type = stele_bytes_slice(bytes, STELE_ENVELOPE_HEADER_SIZE, type_size),
        .sealed = stele_bytes_slice(bytes, at, bytes.size - at),
    };
    return STELE_OK;
}

bool stele_envelope_open(const struct stele_envelope *envelope,
                         const struct stele_envelope_place *place,
                         const uint8_t key[STELE_ENVELOPE_KEY_SIZE], uint8_t *to)
{
    STELE_UNINITIALIZED uint8_t associated[ASSOCIATED_SIZE_MAX];
    if (place->stream.size > STELE_STREAM_NAME_SIZE_MAX + 2 ||
        place->path.size > STELE_ENVELOPE_PATH_SIZE_MAX) {
        return false; /* Nothing was ever sealed for such a place. */
    }
    uint8_t header[BOUND_SIZE] = {VERSION, CIPHER, envelope->part,
                                  (uint8_t)envelope->content_type.size};
    memcpy(header + 4, envelope->key_id, 16);
    const size_t size = associate(place, header, envelope->content_type, associated);
    return crypto_aead_xchacha20poly1305_ietf_decrypt(to, NULL, NULL, envelope->sealed.data,
                                                      envelope->sealed.size, associated, size,
                                                      envelope->nonce, key) == 0;
}
