/* Erasure records: signed words that a key was destroyed.
 *
 *     {"format":1,"keyring":HEX,"key":HEX,"erased_us":N,"subject_hash":HEX,"public_key":HEX,"signature":HEX}
 *
 * The signature (Ed25519) is over "stele erasure 1", then in binary: keyring id (16), key id (16), erased_us
 * (8, little-endian), hash of the subject's name (32). Hex digits are small letters; the members come in this
 * order, without white space, because one spelling is all that is needed. */
#ifndef STELE_KEYS_ERASURE_H
#define STELE_KEYS_ERASURE_H

#include "base/bytes.h"
#include "base/compiler.h"

#define STELE_ERASURE_TYPE "SubjectErased"
#define STELE_ERASURE_REDACTION_TYPE "SubjectRedacted"
#define STELE_ERASURE_SIZE_MAX 640 /* Bytes of JSON. */

struct stele_erasure_record {
    uint8_t keyring_id[16];
    uint8_t key_id[16];
    int64_t erased_us;
    uint8_t subject_hash[32];
    uint8_t public_key[32];
    uint8_t signature[64];
};

/* Fills public_key and signature from the rest. */
void stele_erasure_sign(struct stele_erasure_record *record, const uint8_t seed[32]);
/* Signed by this key? public_key of the record has to be the same. */
STELE_MUST_USE
bool stele_erasure_is_valid(const struct stele_erasure_record *record,
                            const uint8_t public_key[32]);

/* Returns the size of what was written to text, without a terminating zero. */
size_t stele_erasure_encode(const struct stele_erasure_record *record,
                            char text[STELE_ERASURE_SIZE_MAX]);
/* Any bytes are safe. false: it is not what encoding gives. */
STELE_MUST_USE
bool stele_erasure_decode(struct stele_bytes text, struct stele_erasure_record *out_record);

/* Ids of the two events that belong to a key: the same whenever and by whomever they are appended. */
#define STELE_ERASURE_RECORD 1
#define STELE_ERASURE_REDACTION 2
void stele_erasure_event_id(const uint8_t key_id[16], uint8_t which, uint8_t id[16]);

#endif
