/* Bearer tokens and key sets: any bytes are refused with words. The first byte chooses which. A token
 * that was not signed with the secret is never accepted. */
#include "auth/jwt.h"
#include "lib/testalloc.h"

static const char keys_text[] =
    "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"},{\"kty\":"
    "\"EC\","
    "\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":"
    "\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct testalloc alloc;
    struct stele_jwt_keys *keys = NULL;
    struct stele_error err = {.outcome = STELE_OK};
    testalloc_init(&alloc, 1);
    if (size == 0) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        const struct stele_bytes text = {.data = data + 1, .size = size - 1};
        const int outcome = stele_jwt_keys_create(text, &alloc.base, &keys, &err);
        STELE_ASSERT((outcome == STELE_OK) == (stele_jwt_keys_count(keys) > 0));
        STELE_ASSERT(outcome == STELE_OK || err.message[0] != '\0');
    } else {
        const struct stele_jwt_rules rules = {.now_s = 1800000000, .roles = "roles"};
        const struct stele_text token = {(const char *)data + 1, size - 1};
        struct stele_jwt_claims claims;
        const char *why = NULL;
        STELE_ASSERT(stele_jwt_keys_create(stele_bytes_of_text(keys_text), &alloc.base, &keys,
                                           &err) == STELE_OK);
        STELE_ASSERT(stele_jwt_verify(keys, &rules, token, &claims, &why) == STELE_E_PERMISSION);
        STELE_ASSERT(why != NULL);
    }
    stele_jwt_keys_destroy(keys, &alloc.base);
    STELE_ASSERT(alloc.bytes == 0);
    return 0;
}
