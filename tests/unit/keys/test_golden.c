/* Yesterday's bytes: envelopes, keyrings and erasure records that were written once are read for ever, and what is
 * written now is byte for byte what the formats say.
 *
 * tests/golden/keys holds the bytes; see lib/golden.h. */
#include "keys/envelope.h"
#include "keys/erasure.h"
#include "lib/golden.h"
#include "world.h"

static const uint8_t key_id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const uint8_t key[32] = {0x42};
static const uint8_t nonce[24] = {0x24};
static const uint8_t event_id[16] = {0xee};

TEST(an_envelope_has_the_bytes_it_always_had)
{
    uint8_t bytes[512];
    const struct stele_envelope_place place = {stele_bytes_of_text("customer-7"), 41, event_id,
                                               stele_bytes_of_text("/name")};
    const struct stele_envelope_place whole = {
        stele_bytes_of_text("customer-7"), 41, event_id, {NULL, 0}};
    const struct stele_bytes json = stele_bytes_of_text("application/json");
    const struct stele_bytes plain = stele_bytes_of_text("\"Ada Lovelace\"");
    stele_envelope_seal(&place, STELE_ENVELOPE_FIELD, key_id, key, nonce,
                        (struct stele_bytes){NULL, 0}, plain, bytes);
    check_golden("envelope-field", bytes, stele_envelope_size(0, plain.size));
    stele_envelope_seal(&whole, STELE_ENVELOPE_DATA, key_id, key, nonce, json, plain, bytes);
    check_golden("envelope-data", bytes, stele_envelope_size(json.size, plain.size));
}

TEST(a_keyring_has_the_bytes_it_always_had)
{
    struct stele_ring ring;
    struct stele_ring read;
    struct stele_ring_fresh fresh;
    struct stele_buf bytes = {.size = 0};
    world_ring(&ring);
    memset(&fresh, 0x5a, sizeof fresh);
    CHECK_OK(stele_ring_encode(&ring, &fresh, &bytes, &err), err);
    check_golden("keyring", bytes.data, bytes.size);
    CHECK_OK(stele_ring_decode((struct stele_bytes){bytes.data, bytes.size}, &world_secret,
                               &alloc.base, &read, &err),
             err);
    CHECK_EQ(read.count, 3);
    CHECK_EQ(read.live, 2);
    CHECK(stele_ring_find(&read, "ada")->is_erased);
    CHECK_TEXT_EQ(stele_ring_find(&read, "bob")->name, "bob");
    stele_buf_deinit(&bytes, &alloc.base);
    stele_ring_deinit(&ring);
    stele_ring_deinit(&read);
}

TEST(an_erasure_record_has_the_bytes_it_always_had)
{
    struct stele_erasure_record record = {.erased_us = INT64_C(1700000000123456)};
    struct stele_erasure_record read;
    char text[STELE_ERASURE_SIZE_MAX];
    uint8_t id[16];
    memcpy(record.keyring_id, key_id, 16);
    memset(record.key_id, 9, 16);
    memset(record.subject_hash, 8, 32);
    stele_erasure_sign(&record, key);
    const size_t size = stele_erasure_encode(&record, text);
    check_golden("erasure", (const uint8_t *)text, size);
    CHECK(stele_erasure_decode((struct stele_bytes){(const uint8_t *)text, size}, &read));
    CHECK(stele_erasure_is_valid(&read, record.public_key));
    stele_erasure_event_id(key_id, STELE_ERASURE_RECORD, id);
    check_golden("erasure-id", id, sizeof id);
}
