/* Envelopes: bytes encrypted for one data subject, bound to the place they were written for.
 *
 *     offset  size  field
 *          0     1  version      1
 *          1     1  cipher       1: XChaCha20-Poly1305 (IETF)
 *          2     1  part         0 data, 1 metadata, 2 field
 *          3     1  type size    n; 0 unless part is 0
 *          4    16  key id
 *         20    24  nonce        random, never used twice with one key
 *         44     n  content type as the application gave it
 *       44+n        ciphertext, then a tag of 16 bytes
 *
 * The associated data holds everything that says where the bytes belong (stream, revision, event id, path of
 * the field) and bytes 0 to 19: moved, swapped or relabelled, an envelope does not open. */
#ifndef STELE_KEYS_ENVELOPE_H
#define STELE_KEYS_ENVELOPE_H

#include "base/bytes.h"
#include "base/compiler.h"

#define STELE_ENVELOPE_HEADER_SIZE 44
#define STELE_ENVELOPE_TAG_SIZE 16
#define STELE_ENVELOPE_KEY_SIZE 32
#define STELE_ENVELOPE_NONCE_SIZE 24
#define STELE_ENVELOPE_PATH_SIZE_MAX 1024

#define STELE_ENVELOPE_DATA 0
#define STELE_ENVELOPE_METADATA 1
#define STELE_ENVELOPE_FIELD 2

/* What an envelope is bound to. All borrowed. */
struct stele_envelope_place {
    struct stele_bytes stream; /* At most STELE_STREAM_NAME_SIZE_MAX + 2 bytes. */
    uint64_t revision;
    const uint8_t *event_id; /* 16 */
    struct stele_bytes path; /* JSON pointer of a field, else empty. */
};

/* A decoded envelope; points into what was decoded. */
struct stele_envelope {
    uint8_t part;
    const uint8_t *key_id; /* 16 */
    const uint8_t *nonce;
    struct stele_bytes content_type;
    struct stele_bytes sealed; /* Ciphertext and tag. */
};

static inline size_t stele_envelope_size(size_t content_type_size, size_t plain_size)
{
    return STELE_ENVELOPE_HEADER_SIZE + content_type_size + plain_size + STELE_ENVELOPE_TAG_SIZE;
}

static inline size_t stele_envelope_plain_size(const struct stele_envelope *envelope)
{
    return envelope->sealed.size - STELE_ENVELOPE_TAG_SIZE;
}

/* Writes stele_envelope_size() bytes to `to`. */
void stele_envelope_seal(const struct stele_envelope_place *place, uint8_t part,
                         const uint8_t key_id[16], const uint8_t key[STELE_ENVELOPE_KEY_SIZE],
                         const uint8_t nonce[STELE_ENVELOPE_NONCE_SIZE],
                         struct stele_bytes content_type, struct stele_bytes plain, uint8_t *to);

/* Any bytes are safe. STELE_OK; STELE_E_FORMAT: a newer version; STELE_E_CORRUPT: no envelope. */
STELE_MUST_USE
int stele_envelope_decode(struct stele_bytes bytes, struct stele_envelope *out_envelope);

/* Writes stele_envelope_plain_size() bytes to `to`. false: not what was sealed with this key for this place;
 * `to` is undefined then. */
STELE_MUST_USE
bool stele_envelope_open(const struct stele_envelope *envelope,
                         const struct stele_envelope_place *place,
                         const uint8_t key[STELE_ENVELOPE_KEY_SIZE], uint8_t *to);

#endif
