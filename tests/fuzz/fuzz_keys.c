/* Envelopes, keyrings, policies, fields and erasure records: whatever comes in, reading it ends; what a keyring's
 * decoder takes is written as the same keyring again.
 *
 * The first byte chooses; 1 makes the checksum of a keyring right first, so that it keeps nothing out. */
#include "base/checksum.h"
#include "keys/envelope.h"
#include "keys/erasure.h"
#include "keys/fields.h"
#include "keys/policy.h"
#include "keys/ring.h"
#include "lib/testalloc.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct testalloc alloc;

static void read_ring(uint8_t *bytes, size_t size, bool seal)
{
    static const uint8_t master[32] = {7, 7, 7};
    const struct stele_ring_secret secret = {.key = master};
    struct stele_ring ring = {.alloc = &alloc.base};
    struct stele_error err;
    if (seal && size > 16) {
        stele_store_u32le(bytes + 12, stele_crc32c((struct stele_bytes){bytes + 16, size - 16}));
    }
    if (stele_ring_decode((struct stele_bytes){bytes, size}, &secret, &alloc.base, &ring, &err) ==
        STELE_OK) {
        const struct stele_ring_fresh fresh = {.root = {1}};
        struct stele_buf again = {.size = 0};
        STELE_ASSERT(stele_ring_encode(&ring, &fresh, &again, &err) == STELE_OK);
        STELE_ASSERT(again.size == size);
        stele_buf_deinit(&again, &alloc.base);
        stele_ring_deinit(&ring);
    }
}

static void read_envelope(struct stele_bytes bytes)
{
    static const uint8_t key[32] = {2};
    static const uint8_t id[16] = {4};
    const struct stele_envelope_place place = {stele_bytes_of_text("s"), 3, id, {NULL, 0}};
    struct stele_envelope envelope;
    if (stele_envelope_decode(bytes, &envelope) == STELE_OK) {
        const size_t size = stele_envelope_plain_size(&envelope);
        uint8_t *plain = malloc(size + 1);
        STELE_ASSERT(plain != NULL);
        (void)!stele_envelope_open(&envelope, &place, key, plain);
        free(plain);
    }
}

static bool matches(void *context, struct stele_bytes path, struct stele_bytes value)
{
    (void)context;
    (void)value;
    return stele_fields_path_matches(stele_bytes_of_text("/*/a"), path);
}

static int replace(void *context, struct stele_bytes path, struct stele_bytes value,
                   struct stele_buf *out)
{
    struct stele_buf text = {.size = 0};
    (void)context;
    (void)path;
    (void)!stele_fields_text(value, &alloc.base, &text);
    stele_buf_deinit(&text, &alloc.base);
    return stele_buf_append(out, &alloc.base, value);
}

static void read_fields(struct stele_bytes bytes)
{
    const struct stele_fields_walk walk = {matches, replace, NULL, NULL};
    struct stele_buf out = {.size = 0};
    if (stele_fields_walk(bytes, &walk, &alloc.base, &out, NULL) == STELE_OK) {
        /* Replaced by themselves: nothing may have changed. */
        STELE_ASSERT(stele_bytes_equal(bytes, (struct stele_bytes){out.data, out.size}));
    }
    stele_buf_deinit(&out, &alloc.base);
}

static void read_policy(struct stele_bytes bytes)
{
    struct stele_policy *policy = NULL;
    struct stele_error err;
    if (stele_policy_create(bytes, &alloc.base, &policy, &err) == STELE_OK) {
        (void)stele_policy_find(policy, stele_bytes_of_text("Type"));
        stele_policy_destroy(policy);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct stele_erasure_record record;
    const struct stele_bytes rest = {data + 1, size - 1};
    uint8_t *copy = malloc(size);
    STELE_ASSERT(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    testalloc_init(&alloc, 1);
    switch (data[0] % 6) {
    case 0:
    case 1:
        read_ring(copy, size - 1, data[0] % 6 == 1);
        break;
    case 2:
        read_envelope(rest);
        break;
    case 3:
        read_fields(rest);
        break;
    case 4:
        read_policy(rest);
        break;
    default:
        (void)!stele_erasure_decode(rest, &record);
        break;
    }
    STELE_ASSERT(alloc.blocks == 0);
    free(copy);
    return 0;
}
