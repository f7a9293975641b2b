#include "keys/erasure.h"

#include "base/hex.h"

#include <sodium.h>
#include <stdio.h>

#define MESSAGE_SIZE (15 + 16 + 16 + 8 + 32)

static const char domain[] = "stele erasure 1";

_Static_assert(sizeof domain - 1 + 72 == MESSAGE_SIZE, "message");

static void message_of(const struct stele_erasure_record *record, uint8_t message[MESSAGE_SIZE])
{
    memcpy(message, domain, 15);
    memcpy(message + 15, record->keyring_id, 16);
    memcpy(message + 31, record->key_id, 16);
    stele_store_u64le(message + 47, (uint64_t)record->erased_us);
    memcpy(message + 55, record->subject_hash, 32);
}

void stele_erasure_sign(struct stele_erasure_record *record, const uint8_t seed[32])
{
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    uint8_t message[MESSAGE_SIZE];
    (void)crypto_sign_seed_keypair(record->public_key, secret_key, seed);
    message_of(record, message);
    (void)crypto_sign_detached(record->signature, NULL, message, sizeof message, secret_key);
    sodium_memzero(secret_key, sizeof secret_key);
}

bool stele_erasure_is_valid(const struct stele_erasure_record *record, const uint8_t public_key[32])
{
    uint8_t message[MESSAGE_SIZE];
    if (sodium_init() < 0 || sodium_memcmp(record->public_key, public_key, 32) != 0) {
        return false;
    }
    message_of(record, message);
    return crypto_sign_verify_detached(record->signature, message, sizeof message, public_key) == 0;
}

/* ---- Text ---- */

static size_t put_text(char *to, size_t at, const char *text)
{
    const size_t size = strlen(text);
    memcpy(to + at, text, size);
    return at + size;
}

static size_t put_hex(char *to, size_t at, const char *before, const uint8_t *bytes, size_t size)
{
    at = put_text(to, at, before);
    stele_hex_encode(bytes, size, to + at);
    return at + 2 * size;
}

size_t stele_erasure_encode(const struct stele_erasure_record *record,
                            char text[STELE_ERASURE_SIZE_MAX])
{
    char number[32];
    (void)snprintf(number, sizeof number, "%lld", (long long)record->erased_us);
    size_t at = put_hex(text, 0, "{\"format\":1,\"keyring\":\"", record->keyring_id, 16);
    at = put_hex(text, at, "\",\"key\":\"", record->key_id, 16);
    at = put_text(text, at, "\",\"erased_us\":");
    at = put_text(text, at, number);
    at = put_hex(text, at, ",\"subject_hash\":\"", record->subject_hash, 32);
    at = put_hex(text, at, "\",\"public_key\":\"", record->public_key, 32);
    at = put_hex(text, at, "\",\"signature\":\"", record->signature, 64);
    at = put_text(text, at, "\"}");
    STELE_ASSERT(at <= STELE_ERASURE_SIZE_MAX);
    return at;
}

struct reader {
    struct stele_bytes text;
    size_t at;
    bool good;
};

static void get_text(struct reader *reader, const char *text)
{
    const size_t size = strlen(text);
    reader->good = reader->good && reader->text.size - reader->at >= size &&
                   memcmp(reader->text.data + reader->at, text, size) == 0;
    reader->at += reader->good ? size : 0;
}

static void get_hex(struct reader *reader, const char *before, uint8_t *bytes, size_t size)
{
    get_text(reader, before);
    reader->good =
        reader->good && reader->text.size - reader->at >= 2 * size &&
        stele_hex_decode(stele_bytes_slice(reader->text, reader->at, 2 * size), bytes, size);
    reader->at += reader->good ? 2 * size : 0;
}

static void get_number(struct reader *reader, int64_t *out)
{
    uint64_t value = 0;
    size_t digits = 0;
    while (reader->good && reader->at < reader->text.size && digits < 18 &&
           reader->text.data[reader->at] >= '0' && reader->text.data[reader->at] <= '9') {
        value = value * 10 + (uint64_t)(reader->text.data[reader->at++] - '0');
        digits++;
    }
    reader->good = reader->good && digits > 0;
    *out = (int64_t)value;
}

bool stele_erasure_decode(struct stele_bytes text, struct stele_erasure_record *out_record)
{
    struct reader reader = {.text = text, .good = true};
    struct stele_erasure_record record = {.erased_us = 0};
    char again[STELE_ERASURE_SIZE_MAX];
    get_hex(&reader, "{\"format\":1,\"keyring\":\"", record.keyring_id, 16);
    get_hex(&reader, "\",\"key\":\"", record.key_id, 16);
    get_text(&reader, "\",\"erased_us\":");
    get_number(&reader, &record.erased_us);
    get_hex(&reader, ",\"subject_hash\":\"", record.subject_hash, 32);
    get_hex(&reader, "\",\"public_key\":\"", record.public_key, 32);
    get_hex(&reader, "\",\"signature\":\"", record.signature, 64);
    get_text(&reader, "\"}");
    if (!reader.good || reader.at != text.size) {
        return false;
    }
    /* One spelling: neither capital digits nor numbers with zeros before them. */
    const size_t size = stele_erasure_encode(&record, again);
    if (size != text.size || memcmp(again, text.data, size) != 0) {
        return false;
    }
    *out_record = record;
    return true;
}

void stele_erasure_event_id(const uint8_t key_id[16], uint8_t which, uint8_t id[16])
{
    uint8_t message[17];
    memcpy(message, key_id, 16);
    message[16] = which;
    (void)crypto_generichash(id, 16, message, sizeof message, (const uint8_t *)domain,
                             sizeof domain - 1);
    /* RFC 9562, section 5.8: version 8, made from whatever one likes. */
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x80);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}
