/* Authorization headers: any bytes are a login that can be one with a password, or are refused. */
#include "auth/credentials.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stele_text rest = {NULL, 0};
    struct stele_credentials credentials;
    const struct stele_text header = {(const char *)data, size};
    const enum stele_scheme scheme = stele_credentials_scheme(header, &rest);
    STELE_ASSERT(rest.size <= size);
    STELE_ASSERT(scheme == STELE_SCHEME_OTHER || rest.size > 0);
    if (scheme != STELE_SCHEME_BASIC) {
        rest = header;
    }
    if (stele_credentials_basic(rest, &credentials) == STELE_OK) {
        STELE_ASSERT(stele_user_check_login(credentials.login, NULL) == STELE_OK);
        STELE_ASSERT(strlen(credentials.password) <= STELE_PASSWORD_SIZE_MAX);
    }
    stele_credentials_wipe(&credentials);
    return 0;
}
